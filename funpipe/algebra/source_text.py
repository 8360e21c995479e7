"""Source text of values, calls and operators: the ``repr`` of a pipeline.

The text evaluates to an equal value wherever the names of numpy and funpipe are in
reach, as after ``from numpy import *`` and ``from funpipe import *``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter
from typing import Any, NamedTuple

import numpy as np

from funpipe.algebra.binding import content
from funpipe.algebra.operators import Fold, complement

__all__ = [
    "Text",
    "call_text",
    "composed_text",
    "function_text",
    "sign",
    "value_text",
]

_INFIX: dict[Any, str] = {
    operator.add: "+",
    operator.sub: "-",
    operator.mul: "*",
    operator.truediv: "/",
    operator.pow: "**",
    np.minimum: "&",
    np.maximum: "|",
    operator.lt: "<",
    operator.le: "<=",
    operator.gt: ">",
    operator.ge: ">=",
}
_PREFIX: dict[Any, str] = {operator.neg: "-", complement: "~"}


class Text(NamedTuple):
    """Source text, and whether it binds tighter than any operator."""

    text: str
    is_atom: bool = True

    def __str__(self) -> str:
        return self.text

    def as_operand(self) -> str:
        """Return the text as it stands beside an operator."""
        return self.text if self.is_atom else f"({self.text})"


def value_text(value: Any, *, shorten: bool = False) -> str:
    """Return the source text of an argument; ``shorten`` names large arrays only.

    Examples
    --------
    >>> value_text((1.0, np.zeros(2)))
    "(1.0, array([0.0, 0.0], dtype='float64'))"
    >>> value_text(np.zeros((64, 64, 64)), shorten=True)
    'array(64 x 64 x 64 float64)'
    """
    if isinstance(value, np.ndarray):
        if shorten and value.size > 8:
            return f"array({' x '.join(map(str, value.shape))} {value.dtype})"
        if not value.size:
            return f"zeros({value.shape}, dtype={str(value.dtype)!r})"
        return f"array({value.tolist()!r}, dtype={str(value.dtype)!r})"
    if isinstance(value, tuple):
        inner = ", ".join(value_text(each, shorten=shorten) for each in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if type(value) is dict:
        items = (
            f"{value_text(key)}: {value_text(each, shorten=shorten)}"
            for key, each in value.items()
        )
        return f"{{{', '.join(items)}}}"
    if callable(value) and hasattr(value, "__name__"):
        return str(value.__name__)
    return repr(value)


def call_text(
    name: str,
    parameters: Mapping[str, Parameter],
    values: Mapping[str, Any],
    defaults: Mapping[str, Any],
    *,
    shorten: bool = False,
) -> Text:
    """Return the call of a stage function: what is required, and what is not default.

    Arguments go by position up to the first that is left out, then by name.
    """
    arguments, by_name = [], False
    for key, each in parameters.items():
        text = value_text(values[key], shorten=shorten)
        by_name = by_name or each.kind is Parameter.KEYWORD_ONLY
        if key not in defaults or content(values[key]) != content(defaults[key]):
            arguments.append(f"{key}={text}" if by_name else text)
        else:
            by_name = True
    return Text(f"{name}({', '.join(arguments)})")


def function_text(function: Callable[..., Any], operands: Sequence[Text]) -> Text:
    """Return a pointwise operation: infix for the operators, else ``lift(name)(...)``.

    Examples
    --------
    >>> function_text(operator.add, [Text("p"), Text("q * 2.0", False)]).text
    'p + (q * 2.0)'
    >>> function_text(np.hypot, [Text("p"), Text("q")]).text
    'lift(hypot)(p, q)'
    """
    is_fold = isinstance(function, Fold)
    between = function.function if isinstance(function, Fold) else function
    if between in _INFIX and (is_fold or len(operands) == 2):
        written = f" {_INFIX[between]} ".join(each.as_operand() for each in operands)
        return Text(written, is_atom=False)
    if function in _PREFIX and len(operands) == 1:
        return Text(f"{_PREFIX[function]}{operands[0].as_operand()}", is_atom=False)
    return Text(f"{_lifted(function)}({', '.join(map(str, operands))})")


def sign(function: Callable[..., Any]) -> str:
    """Return an operator as it is written, ``lift(name)`` of another function.

    Examples
    --------
    >>> sign(np.minimum), sign(np.hypot)
    ('&', 'lift(hypot)')
    """
    between = function.function if isinstance(function, Fold) else function
    return _INFIX.get(between) or _PREFIX.get(function) or _lifted(function)


def _lifted(function: Callable[..., Any]) -> str:
    return f"lift({getattr(function, '__name__', repr(function))})"


def composed_text(chain: Sequence[Text]) -> Text:
    """Return ``a @ b @ c``, outermost first; ``identity`` for an empty chain."""
    if not chain:
        return Text("identity")
    if len(chain) == 1:
        return chain[0]
    return Text(" @ ".join(each.as_operand() for each in chain), is_atom=False)
