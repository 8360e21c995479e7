"""Warnings, blamed on the line of whoever called the package."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import toolz

__all__ = ["warn"]

# Curried functions are called by toolz.
_INSIDE = tuple(f"{Path(each).parent}{os.sep}" for each in (__file__, toolz.__file__))


def warn(text: str) -> None:
    """Warn of something, on the line outside the package that led to it.

    Python shows a warning once for each line: were it one of the package's own, the
    second call of a script would be silent, however it came to be called.
    """
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_INSIDE):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, stacklevel=level)
