"""Optional libraries, imported where they are used."""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = ["require"]


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
