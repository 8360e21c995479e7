"""What concerns whoever called the package: warnings on its line, its functions."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["of_caller", "warn"]

_INSIDE = ("funpipe", "toolz", "contextlib")  # toolz calls what is curried


def warn(text: str) -> None:
    """Warn of something, on the line outside the package that led to it.

    Python shows a warning once for each line: were it one of the package's own, the
    second call of a script would be silent, however it came to be called.
    """
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and _package(frame) in _INSIDE:
        level, frame = level + 1, frame.f_back
    warnings.warn(text, stacklevel=level)


@contextmanager
def of_caller(name: str) -> Iterator[None]:
    """Note in an error of a function that an argument gave which argument that was.

    Examples
    --------
    >>> try:
    ...     with of_caller("on_iteration"):
    ...         int("x")
    ... except ValueError as error:
    ...     print(error.__notes__)
    ['in on_iteration']
    """
    try:
        yield
    except Exception as error:
        error.add_note(f"in {name}")
        raise


def _package(frame: FrameType) -> str:
    # Not by the file: generated functions, as of dataclasses, have none.
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
