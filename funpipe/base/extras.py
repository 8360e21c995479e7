"""Optional libraries, imported where they are used, and what they say of errors."""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = ["in_one_line", "require"]

_LONGEST = 300  # characters of what a library says


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """Import an optional library, or say which extra installs it.

    Examples
    --------
    >>> require("no_such_module", "structures", "to read atoms")
    Traceback (most recent call last):
    ...
    ImportError: no_such_module is needed to read atoms: pip install
    'funpipe[structures]'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise ImportError(
            f"{module} is needed {purpose}: pip install 'funpipe[{extra}]'"
        ) from None


def in_one_line(error: BaseException) -> str:
    r"""Return what a library says of an error in one line, the start of a long one.

    Where it says nothing, that is the kind of the error.

    Examples
    --------
    >>> in_one_line(ValueError("two\n  lines\x07"))
    'two lines'
    >>> in_one_line(EOFError())
    'EOFError'
    """
    printed = "".join(each if each.isprintable() else " " for each in str(error))
    text = " ".join(printed.split()) or type(error).__name__
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
