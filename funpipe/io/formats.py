"""What a format of particle lists or of volumes says of itself.

The module of a format ends in such a record, ``FORMAT`` of lists, ``VOLUME`` of
volumes. The tables in `funpipe.io.particles` and `funpipe.io.volumes` name the modules;
nothing else has to know of a format.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from funpipe.base.caller import warn
from funpipe.base.errors import FileError
from funpipe.io.voxels import Volume

__all__ = [
    "HEAD",
    "Format",
    "Table",
    "VolumeFormat",
    "has_star_column",
    "only_one",
    "warn_of_left_out",
]

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

    read: Callable[..., Any]
    """Takes the path, and the options that mean something to it by their names."""
    write: Callable[..., Any]
    """Takes molecules and the path, and the options likewise."""
    endings: tuple[str, ...]
    """In lower case; several formats may have one: see `Table`."""
    takes: frozenset[str]
    """Which of scale, tomograms, first, box and like mean something to it."""
    recognises: Callable[[bytes], bool] | None = None
    """Tells by a file's first `HEAD` bytes whether it is of the format."""
    title: str = ""
    """Whose lists these are, in a few words, for those who look for theirs."""
    scale_of: Callable[[str], float | None] | None = None
    """Returns the scale that a list says of itself, in nm per voxel."""
    beside: Callable[[str], str] | None = None
    """Returns the path of the file that goes beside a list of a path."""
    counts_in: Literal["voxels", "nm", "parts"] = "voxels"
    """What positions are where no scale is given; parts are of a tomogram's size."""
    keeps_scale: Literal["", "list", "particle"] = ""
    """Whether a list that is written says one scale again, or each particle's own."""


class VolumeFormat(NamedTuple):
    """A format of volumes.

    Examples
    --------
    >>> def opened(name: str) -> Volume:
    ...     return Volume(np.zeros((2, 2, 2)), 1.0)
    >>> VolumeFormat(opened, (".mine",), "mine").open("a.mine").scale
    1.0
    """

    open: Callable[..., Volume]
    """Takes the path, and the options that mean something to it by their names."""
    endings: tuple[str, ...]
    """In lower case; each of one format."""
    title: str
    """What it is called."""
    packings: tuple[str, ...] = ()
    """Endings that may follow: of what compresses such a file."""
    takes: frozenset[str] = frozenset()
    """Whether the scale that it is wanted ``at`` means something to it."""
    holds: Callable[[Path], bool] | None = None
    """Tells of a folder whether it is such a volume; None where volumes are files."""


@dataclass(frozen=True, eq=False)
class Table(Mapping[str, Any]):
    """Formats by name, each imported from its module when it is asked for.

    They stand from the general to the special: an ending that several have means the
    first of them, and a file is of the last that recognises it.

    Examples
    --------
    >>> formats = Table({"copick": "funpipe.io.copick:FORMAT"})
    >>> list(formats), formats["copick"].endings
    (['copick'], ('.json',))
    """

    places: Mapping[str, str]
    """Where the record of each is, as "module:name"."""

    def __getitem__(self, name: str) -> Any:
        return resolve_name(self.places[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


def has_star_column(head: bytes, name: str) -> bool:
    r"""Tell whether a STAR file has a column, its name a regular expression.

    Examples
    --------
    >>> has_star_column(b"data_\n\nloop_\n_rlnCoordinateX #1\n", "rln[A-Z]")
    True
    """
    return re.search(rf"(?m)^[ \t]*_{name}".encode(), head) is not None


def only_one(path: str, name: str, values: NDArray[Any]) -> Any:
    """Return the one value of a feature that a file can hold once only.

    Examples
    --------
    >>> only_one("picks.json", "tomogram", np.array(["TS_01", "TS_02"]))
    Traceback (most recent call last):
    ...
    funpipe.base.errors.FileError: picks.json: a file holds one tomogram, not 2
    (TS_01, TS_02): write
    the particles of each to a file of its own
    """
    found = np.unique(values).tolist()
    if len(found) > 1:
        shown = ", ".join(map(str, found[:3])) + (", ..." if len(found) > 3 else "")
        raise FileError(
            path,
            f": a file holds one {name}, not {len(found)} ({shown}): write the "
            "particles of each to a file of its own",
        )
    return found[0]


def warn_of_left_out(features: Iterable[str], kept: Iterable[str], what: str) -> None:
    """Warn, where a list is written, of the features that it cannot hold."""
    left = [each for each in features if each not in set(kept)]
    if left:
        warn(f"{what} cannot hold the features {', '.join(left)}: they are left out")
