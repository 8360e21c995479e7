"""Binding arguments to the parameters of a stage, when the pipeline is built.

`toolz.curry` turns a wrong or missing argument into another curry. Here arguments
are bound against the signature by name, checked, and frozen, so that a mistake
fails on the line that made it, and so that equal pipelines hold equal values.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeAlias, get_type_hints

import numpy as np

from funpipe.base.wording import describe

__all__ = [
    "bind",
    "content",
    "defaults",
    "freeze",
    "named",
    "own_parameters",
    "waiting",
    "written_parameters",
]

Parameters: TypeAlias = Mapping[str, inspect.Parameter]
Values: TypeAlias = dict[str, Any]
_UNNAMED = (
    inspect.Parameter.VAR_POSITIONAL,
    inspect.Parameter.VAR_KEYWORD,
    inspect.Parameter.POSITIONAL_ONLY,
)
_BY_POSITION = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)


@lru_cache(maxsize=256)
def own_parameters(
    function: Callable[..., Any], leading: int, *, checks: bool = True
) -> Parameters:
    """Return a stage's parameters by name, without the ``leading`` ones.

    Annotations are resolved; ``checks=False`` leaves the ``Annotated`` checks out.

    Examples
    --------
    >>> def blur(image, scale, sigma: float = 1.0): ...
    >>> list(own_parameters(blur, 2))
    ['sigma']
    """
    parameters = written_parameters(function, leading)
    try:
        hints = get_type_hints(function, include_extras=checks)
    except Exception:
        hints = {}  # annotations that only a type checker, or a reader, can resolve
    return MappingProxyType(
        {
            each.name: each.replace(annotation=hints.get(each.name, each.annotation))
            for each in parameters
        }
    )


def written_parameters(
    function: Callable[..., Any], leading: int
) -> list[inspect.Parameter]:
    """Return a stage's parameters as they are written, without the ``leading`` ones.

    Those are the image and the scale. A function that cannot be a stage is an error.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # of some of Python's own
        raise TypeError(
            f"a stage must be a function whose parameters are known, not "
            f"{describe(function)}"
        ) from None
    given = parameters[:leading]
    if len(given) < leading or any(each.kind not in _BY_POSITION for each in given):
        wanted = "the scale" if leading == 1 else "the image and the scale"
        raise TypeError(f"{function.__name__} must take {wanted} first")
    for each in parameters[leading:]:
        if each.kind in _UNNAMED:
            raise TypeError(
                f"{function.__name__}: the parameter {each} must have a name that a "
                "caller can give, since a pipeline keeps its arguments by name"
            )
    return parameters[leading:]


def bind(
    stage: str,
    parameters: Parameters,
    args: Any,
    kwargs: Any,
    accepted: Collection[str] = (),
) -> Values:
    """Return the arguments by name, each checked and frozen, but the ``accepted``.

    Examples
    --------
    >>> def blur(image, scale, sigma: float = 1.0): ...
    >>> bind("blur", own_parameters(blur, 2), (), {"sgima": 2.0})
    Traceback (most recent call last):
    ...
    TypeError: blur: got an unexpected keyword argument 'sgima'; it takes (sigma)
    """
    return {
        name: (
            value
            if name in accepted
            else _accept(f"{stage}: {name}", parameters[name], value)
        )
        for name, value in named(stage, parameters, args, kwargs).items()
    }


def named(stage: str, parameters: Parameters, args: Any, kwargs: Any) -> Values:
    """Return the arguments by name, as they are."""
    takes = f"it takes ({', '.join(parameters)})"
    positional = [
        name for name, each in parameters.items() if each.kind is not each.KEYWORD_ONLY
    ]
    if len(args) > len(positional):
        surplus = ", ".join(map(describe, args[len(positional) :]))
        raise TypeError(f"{stage}: surplus argument {surplus}; {takes}")
    signature = inspect.Signature(list(parameters.values()))
    try:
        return dict(signature.bind_partial(*args, **kwargs).arguments)
    except TypeError as error:
        raise TypeError(f"{stage}: {error}; {takes}") from None


def defaults(stage: str, parameters: Parameters) -> Values:
    """Return the defaults of the parameters that have one, checked and frozen."""
    return {
        name: _accept(f"{stage}: {name}", each, each.default)
        for name, each in parameters.items()
        if each.default is not each.empty
    }


def waiting(parameters: Parameters, values: Values) -> list[str]:
    """Return the names of the parameters that have neither a value nor a default."""
    return [
        name
        for name, each in parameters.items()
        if each.default is each.empty and name not in values
    ]


def content(value: Any) -> Any:
    """Return what stands for a value in comparisons: of arrays, their content.

    Examples
    --------
    >>> content(np.zeros(2)) == content(np.zeros(2))
    True
    """
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, tuple | list):
        return tuple(map(content, value))
    if isinstance(value, dict):
        return _ByKey({key: content(each) for key, each in value.items()})
    if isinstance(value, set):
        return frozenset(value)
    if isinstance(value, float) and math.isnan(value):
        return math.nan  # one object for all, and so equal to itself in a tuple
    return value


@dataclass(frozen=True)
class _ByKey:
    """The content of a dictionary, equal in whatever order it was filled."""

    values: Values

    def __hash__(self) -> int:
        return hash(frozenset(self.values.items()))


def _accept(name: str, parameter: inspect.Parameter, value: Any) -> Any:
    for check in getattr(parameter.annotation, "__metadata__", ()):
        if callable(check):
            value = check(name, value)
    return freeze(value)


def freeze(value: Any) -> Any:
    """Return a value that nothing outside can change: lists and sets frozen too."""
    if isinstance(value, np.ndarray) and (
        value.flags.writeable or not value.flags.owndata
    ):
        value = value.copy()
        value.flags.writeable = False
    elif isinstance(value, np.generic):
        value = value.item()
    elif type(value) in (list, tuple):
        value = tuple(map(freeze, value))
    elif type(value) is dict:
        value = {key: freeze(each) for key, each in value.items()}
    elif type(value) is set:
        value = frozenset(value)
    return value
