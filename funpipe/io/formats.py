"""What a format of particle lists says of itself.

The module of a format ends in such a record, ``FORMAT``; `funpipe.io.particles` holds
the table of them. Nothing else has to know of a format.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from funpipe.base.caller import warn

__all__ = ["HEAD", "Format", "only_one", "warn_of_left_out"]

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
    scale_of: Callable[[str], float | None] | str | None = None
    """Returns the scale that a list says of itself, in nm per voxel."""
    beside: Callable[[str], str] | str | None = None
    """Returns the path of the file that goes beside a list of a path."""


def only_one(path: str, name: str, values: NDArray[Any]) -> Any:
    """Return the one value of a feature that a file can hold once only.

    Examples
    --------
    >>> only_one("picks.json", "tomogram", np.array(["TS_01", "TS_02"]))
    Traceback (most recent call last):
    ...
    ValueError: picks.json: a file holds one tomogram, not 2 (TS_01, TS_02): write
    the particles of each to a file of its own
    """
    found = np.unique(values).tolist()
    if len(found) > 1:
        shown = ", ".join(map(str, found[:3])) + (", ..." if len(found) > 3 else "")
        raise ValueError(
            f"{path}: a file holds one {name}, not {len(found)} ({shown}): write the "
            "particles of each to a file of its own"
        )
    return found[0]


def warn_of_left_out(features: Iterable[str], kept: Iterable[str], what: str) -> None:
    """Warn, where a list is written, of the features that it cannot hold."""
    left = [each for each in features if each not in set(kept)]
    if left:
        warn(f"{what} cannot hold the features {', '.join(left)}: they are left out")
