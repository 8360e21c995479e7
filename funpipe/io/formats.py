"""What a format of particle lists says of itself.

The module of a format ends in such a record, ``FORMAT``; `funpipe.io.particles` holds
the table of them. Nothing else has to know of a format.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["HEAD", "Format"]

HEAD = 2**20
"""Bytes from the beginning of a file that say of what format it is."""


class Format(NamedTuple):
    """A format of particle lists.

    Examples
    --------
    >>> def recognises(head: bytes) -> bool:
    ...     return head.startswith(b"MINE")
    >>> Format(list, list, (".mine",), frozenset(), recognises).recognises(b"MINE 1")
    True
    """

    read: Callable[..., Any] | str
    write: Callable[..., Any] | str
    """Functions; or where in funpipe.io they are, as "module:name"."""
    endings: tuple[str, ...]
    """In lower case; several formats may have one, and the first is then meant."""
    takes: frozenset[str]
    """Which of scale, tomograms, first, box and like mean something to it."""
    recognises: Callable[[bytes], bool] | None = None
    """Tells by a file's first `HEAD` bytes whether it is of the format."""
    title: str = ""
    """Whose lists these are, in a few words, for those who look for theirs."""
