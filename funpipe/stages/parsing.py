"""Pipelines from their source text, by a parser that runs nothing else.

The text is Python's, and `ast` reads it; what comes out is walked by hand. Calls of the
package's own stage functions, plain values and operators have a meaning, everything
else is refused. No text reaches ``eval``, and no attribute is ever looked up.
"""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from funpipe.algebra.pipeline import ImageConverter, ImageProvider, compose, identity
from funpipe.algebra.stage_functions import StageFunction
from funpipe.base.wording import describe
from funpipe.space.series import tilt_series
from funpipe.space.tilts import dual_axis, single_axis
from funpipe.stages import converters, masks, physics, providers

__all__ = ["parse_pipeline"]

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{
        name: getattr(module, name)
        for module in (providers, converters, masks, physics)
        for name in module.__all__
        if isinstance(getattr(module, name), StageFunction)
    },
    "compose": compose,
    "single_axis": single_axis,
    "dual_axis": dual_axis,
    "tilt_series": tilt_series,
}
_VALUES = {"identity": identity}

_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.MatMult: operator.matmul,
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Invert: operator.invert,
}
_OF_NUMBERS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.USub, ast.UAdd)
_LONGEST = 10_000  # characters
_DEEPEST = 100  # one in another
_LARGEST = 2**53  # whole numbers up to here are exact as floats
_HIGHEST_POWER = 64  # of a plain number

_REFUSED: dict[type[ast.AST], str] = {
    ast.Attribute: "no attributes: write the stage's name alone",
    ast.Subscript: "no subscripts",
    ast.Lambda: "no lambdas",
    ast.ListComp: "no comprehensions",
    ast.SetComp: "no comprehensions",
    ast.DictComp: "no comprehensions",
    ast.GeneratorExp: "no comprehensions",
    ast.JoinedStr: "no f-strings",
    ast.NamedExpr: "no assignments",
    ast.IfExp: "no conditions",
    ast.BoolOp: "no 'and' and 'or': write & and |",
    ast.Starred: "no stars before arguments",
    ast.Dict: "no dictionaries",
    ast.Set: "no sets",
}


def parse_pipeline(text: str) -> ImageProvider | ImageConverter:
    """Return the pipeline that a source text describes.

    Parameters
    ----------
    text : str
        What the ``repr`` of a pipeline is: calls of stage functions of this package,
        `compose`, `identity`, and the tilts of `wedge_filter`; numbers, texts, tuples,
        lists, None, True, False; and the operators ``@ + - * / ** & | ~ < <= > >=``.

    Returns
    -------
    ImageProvider or ImageConverter
        The pipeline.

    Raises
    ------
    ValueError
        If there is anything else in the text; it names the piece.
    TypeError, ValueError
        As the stage functions raise them, if an argument is wrong.

    Examples
    --------
    >>> parse_pipeline("gaussian_filter(0.5) @ from_file('x.mrc')")
    gaussian_filter(0.5) @ from_file('x.mrc')
    >>> parse_pipeline("sphere(6) & ~open('x').read()")
    Traceback (most recent call last):
    ...
    ValueError: a pipeline's text cannot hold "open('x').read()": a call must be of a
    stage function by its name
    """
    if not isinstance(text, str):
        raise TypeError(f"a pipeline's text must be a str, not {describe(text)}")
    if len(text) > _LONGEST:
        raise ValueError(
            f"a pipeline's text must have {_LONGEST} characters or fewer, not "
            f"{len(text)}"
        )
    found = _evaluated(_tree(text), 0)
    if isinstance(found, StageFunction):
        found.refuse()
    if not isinstance(found, ImageProvider | ImageConverter):
        raise ValueError(
            f"a pipeline's text must give a pipeline, but {_short(text.strip())} "
            f"gives {describe(found)}"
        )
    return found


def _tree(text: str) -> ast.expr:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes such as "\d" in a path
            return ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise ValueError(
            f"a pipeline's text must be an expression, not {_short(text.strip())}: "
            f"{error.msg}"
        ) from None
    except (RecursionError, MemoryError, ValueError) as error:
        raise ValueError(
            f"a pipeline's text cannot be read, {_short(text.strip())}: "
            f"{str(error) or 'it is nested too deep'}"
        ) from None


def _evaluated(node: ast.AST, depth: int) -> Any:
    if depth > _DEEPEST:
        _refuse(node, f"it is nested more than {_DEEPEST} deep")
    match node:
        case ast.Constant(value=value):
            return _constant(node, value)
        case ast.Name(id=name):
            return _named(node, name)
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            return tuple(_evaluated(each, depth + 1) for each in elements)
        case ast.Call():
            return _called(node, depth)
        case ast.UnaryOp(op=sign, operand=operand):
            return _operated(node, sign, [_evaluated(operand, depth + 1)])
        case ast.BinOp(op=sign, left=left, right=right):
            return _operated(
                node, sign, [_evaluated(each, depth + 1) for each in (left, right)]
            )
        case ast.Compare(ops=[sign], left=left, comparators=[right]):
            return _operated(
                node, sign, [_evaluated(each, depth + 1) for each in (left, right)]
            )
        case ast.Compare():
            _refuse(node, "one comparison at a time")
    _refuse(node, _REFUSED.get(type(node), f"no {type(node).__name__}"))


def _constant(node: ast.AST, value: Any) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        return _number(node, value)
    _refuse(node, "a value is a number, a text, True, False or None")


def _number(node: ast.AST, value: Any) -> int | float:
    if isinstance(value, int) and abs(value) <= _LARGEST:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    _refuse(node, "the number is too large")


def _named(node: ast.AST, name: str) -> Any:
    if name in _VALUES:
        return _VALUES[name]
    if name in _FUNCTIONS:
        return _FUNCTIONS[name]
    if name == "lift":
        _refuse(node, "there are no functions to lift")
    known = ", ".join(sorted({*_FUNCTIONS, *_VALUES}))
    _refuse(node, f"unknown name; known are {known}")


def _called(node: ast.Call, depth: int) -> Any:
    if not isinstance(node.func, ast.Name) or node.func.id in _VALUES:
        _refuse(node, "a call must be of a stage function by its name")
    function = _named(node.func, node.func.id)
    arguments = [_evaluated(each, depth + 1) for each in node.args]
    by_name: dict[str, Any] = {}
    for each in node.keywords:
        if each.arg is None:
            _refuse(node, "no stars before arguments")
        if each.arg.startswith("__") or each.arg in by_name:
            _refuse(node, f"the argument {each.arg!r} is none, or is there twice")
        by_name[each.arg] = _evaluated(each.value, depth + 1)
    return function(*arguments, **by_name)


def _operated(node: ast.AST, sign: ast.AST, operands: list[Any]) -> Any:
    kind = type(sign)
    if kind not in _OPERATORS:
        _refuse(node, "the operators are @ + - * / ** & | ~ < <= > >=")
    for each in operands:
        if isinstance(each, StageFunction):
            each.refuse()
    if any(isinstance(each, ImageProvider | ImageConverter) for each in operands):
        if not all(
            isinstance(each, ImageProvider | ImageConverter | int | float)
            for each in operands
        ):
            _refuse(node, "an operator takes pipelines and numbers")
        return _applied(node, _OPERATORS[kind], operands)
    if kind not in _OF_NUMBERS or not all(
        isinstance(each, int | float) for each in operands
    ):
        _refuse(node, "the operator needs a pipeline beside it")
    if kind is ast.Pow:
        operands = [float(each) for each in operands]
        if abs(operands[1]) > _HIGHEST_POWER:
            _refuse(node, f"the power is higher than {_HIGHEST_POWER}")
    return _number(node, _applied(node, _OPERATORS[kind], operands))


def _applied(node: ast.AST, function: Callable[..., Any], operands: list[Any]) -> Any:
    try:
        with np.errstate(all="ignore"):
            return function(*operands)
    except TypeError as error:
        _refuse(node, str(error))
    except ArithmeticError as error:
        _refuse(node, str(error.args[-1]))


def _refuse(node: ast.AST, why: str) -> NoReturn:
    try:
        piece = ast.unparse(node)
    except (RecursionError, ValueError):
        piece = "..."
    raise ValueError(f"a pipeline's text cannot hold {_short(piece)}: {why}")


def _short(text: str, longest: int = 60) -> str:
    """Return a text in quotes, its middle left out where it is long."""
    if len(text) > longest:
        text = f"{text[: longest // 2]}...{text[-longest // 4 :]}"
    return repr(text)
