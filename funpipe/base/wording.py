"""How errors are worded: what must be, what is, and what to write instead."""

from __future__ import annotations

import numbers
import os
import reprlib
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NoReturn

import numpy as np

from funpipe.base.errors import (
    Argument,
    WrongError,
    WrongTypeError,
    WrongValueError,
)

__all__ = [
    "describe",
    "fail",
    "listed",
    "printable",
    "quoted",
    "refuse_path",
]

_LONGEST = 200  # characters of a value in an error


def fail(name: str, wanted: str, value: object, advice: str = "") -> NoReturn:
    """Raise the one error of this module: ``name`` must be ``wanted``, not ``value``.

    The advice says what to write instead. A value of a wrong kind is a TypeError, a
    wrong value of the right kind a ValueError.
    """
    kind: type[WrongError] = WrongTypeError
    argument, bracket, rest = name.partition("[")
    with suppress(Exception):  # of an object that does not say what it is
        if isinstance(value, numbers.Number | str | tuple | np.ndarray):
            kind = WrongValueError
    text = f"{bracket}{rest} must be {wanted}, not {describe(value)}"
    if advice:
        text = f"{text}: {advice}"
    raise kind(Argument(argument), text, name=name, wanted=wanted, value=value)


def refuse_path(name: str, wanted: str, value: Any, reader: str) -> None:
    """Refuse a path where what is in the file is wanted, and say what reads it."""
    if isinstance(value, str | os.PathLike):
        with suppress(Exception):  # of an object that is half a path
            value = os.fspath(value)
        fail(name, wanted, value, f"write {reader}({describe(value)})")


def describe(value: object) -> str:
    """Say in a few words what a value is, for an error message; never fail.

    Examples
    --------
    >>> describe(np.zeros((2, 3)))
    'an array of shape (2, 3) and type float64'
    >>> describe(-1.0)
    '-1.0'
    """
    try:
        if isinstance(value, np.ndarray):
            text = f"an array of shape {value.shape} and type {value.dtype}"
        else:
            text = reprlib.repr(value)
    except Exception:  # of a number of thousands of digits, or of a broken object
        text = f"an object of type {type(value).__name__}"
    return printable(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")


def printable(text: str) -> str:
    r"""Return a text whose control characters are escaped, for a terminal.

    Examples
    --------
    >>> print(printable("a\x1b[31mb"))
    a\x1b[31mb
    """
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode()
        for each in text
    )


def quoted(name: str, most: int = 60) -> str:
    """Return a name in quotation marks, the middle left out of a long one.

    What is escaped counts as it is shown.

    Examples
    --------
    >>> quoted("score"), quoted("x" * 70, 9)
    ("'score'", "'xxx...xxx'")
    """
    kept = (most - 3) // 2
    if len(name) > most:
        name = f"{name[:kept]}...{name[-kept:]}"
    shown = repr(name)
    if len(shown) > most + 2:
        shown = f"{shown[: kept + 1]}...{shown[-kept - 1 :]}"
    return shown


def listed(names: Iterable[str], most: int = 5) -> str:
    """Return names as text, the first few where there are many.

    Examples
    --------
    >>> listed(["z", "y"]), listed(map(str, range(1000)), 2)
    ("'z', 'y'", "'0', '1' and 998 others")
    """
    every = list(names)
    shown = ", ".join(map(quoted, every[:most]))
    return shown if len(every) <= most else f"{shown} and {len(every) - most} others"
