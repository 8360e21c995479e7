"""Each public stage as its docstring's example calls it, for tests of all stages."""

from __future__ import annotations

import ast
import doctest
import inspect
from typing import Any

import numpy as np

import funpipe as fp
from funpipe.algebra.stage_functions import StageFunction

STAGES = {
    name: function
    for name in fp.__all__
    if isinstance(function := getattr(fp, name), StageFunction)
}


def is_converter(function: StageFunction) -> bool:
    return inspect.signature(function).return_annotation is fp.ImageConverter


def example(function: StageFunction) -> dict[str, Any]:
    """Return the arguments of the first call in a stage's docstring, and the defaults.

    An argument that is a name, of an array say, is looked up in what the example has
    set before.
    """
    name, names = function.__name__, {"np": np}
    for each in doctest.DocTestParser().get_examples(function.__doc__ or ""):
        for call in ast.walk(ast.parse(each.source)):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == name:
                call.func = ast.Name("bind", ast.Load())
                bind = inspect.signature(function).bind
                bound = eval(ast.unparse(call), {**names, "bind": bind})
                bound.apply_defaults()
                return dict(bound.arguments)
        exec(each.source, names)
    raise AssertionError(f"the docstring of {name} has no example that calls it")
