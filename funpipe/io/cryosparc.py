"""Datasets of cryoSPARC: recognised, and refused for what they do not hold.

A ``.cs`` file is a structured array in NumPy's own format, or a stream of columns
behind a header in JSON (``NUMPY_FORMAT`` and ``CSDAT_FORMAT`` in
``cryosparc/dataset/__init__.py``, cryosparc-tools 5.0.3). A particle in it is at
``location/center_x_frac`` and ``location/center_y_frac``, fractions of the micrograph
that ``location/micrograph_path`` names, and ``alignments3D/shift`` has x and y too;
only ``alignments3D/pose``, a rotation vector, is of three dimensions. No z is known of
a particle, and none of cryosparc-tools' kinds of data is a tomogram. So such a list
has no particles of tomograms: of its positions and poses nothing is read, and an
error says what is in it.
"""

from __future__ import annotations

import json
import os
import re
from typing import NoReturn

from funpipe.base.errors import FileError
from funpipe.base.molecules import Molecules
from funpipe.base.sources import check_source
from funpipe.io.formats import Format

__all__ = ["FORMAT", "fields", "read", "recognises", "write"]

_ARRAY, _STREAM = b"\x93NUMPY", b"\x95CSDAT"
_LONGEST = 2**20
"""Bytes of the longest header that is read: thousands of fields."""


def recognises(head: bytes) -> bool:
    """Tell whether a file begins as a dataset does, in either form."""
    return head.startswith((_ARRAY, _STREAM))


def read(path: str | os.PathLike[str]) -> Molecules:
    """Say which particles a dataset holds: none of a tomogram.

    Raises
    ------
    ValueError
        Always, with what is in the file.
    """
    name = os.fspath(path)
    count, names = fields(path)
    located = "location/center_x_frac" in names
    raise FileError(
        name,
        f" is a cryoSPARC dataset of {count} rows and {len(names)} fields, "
        + (
            "whose particles are at x and y in micrographs (location/center_x_frac, "
            "location/center_y_frac)"
            if located
            else "without locations"
        )
        + ": cryoSPARC keeps no z, so these are no particles of a tomogram. Read the "
        "list that they were imported or extracted from",
    )


def write(molecules: Molecules, path: str | os.PathLike[str]) -> NoReturn:
    """Refuse to write: a dataset has no place for a particle's z."""
    raise FileError(
        os.fspath(path),
        ": cryoSPARC datasets hold no positions in tomograms, and are not written",
    )


def fields(path: str | os.PathLike[str]) -> tuple[int, tuple[str, ...]]:
    """Return how many rows a dataset has, and the names of its fields.

    Parameters
    ----------
    path : path-like
        The ``.cs`` file. Only its header is read; nothing is unpickled.

    Raises
    ------
    OSError, ValueError
        If it cannot be read, or is no dataset.
    """
    name = os.fspath(path)
    check_source(path)
    with open(path, "rb") as file:
        head = file.read(_LONGEST)
    if not recognises(head):
        raise FileError(
            name, f" is not a readable cryoSPARC dataset: it starts with {head[:6]!r}"
        )
    try:
        count, names = _of_stream(head) if head[:1] == _STREAM[:1] else _of_array(head)
    except (ValueError, TypeError, LookupError, RecursionError):
        count, names = -1, []
    if count < 0 or not names:
        raise FileError(
            name,
            f" is not a readable cryoSPARC dataset: its header does not say rows "
            f"and fields, or not in {_LONGEST} bytes",
        )
    return count, tuple(names)


def _of_array(head: bytes) -> tuple[int, list[str]]:
    """Return rows and fields of NumPy's header, by sight: nothing is evaluated."""
    start = 10 if head[6:7] == b"\x01" else 12
    header = head[start : start + int.from_bytes(head[8:start], "little")]
    shape = re.search(rb"'shape': \((\d{1,18}),\)", header)
    names = re.findall(rb"\('([^'\\]+)', ", header)
    return int(shape[1]) if shape else -1, [each.decode("latin-1") for each in names]


def _of_stream(head: bytes) -> tuple[int, list[str]]:
    header = json.loads(head[10 : 10 + int.from_bytes(head[6:10], "little")])
    count = header["length"]
    names = [each[0] for each in header["dtype"]]
    known = isinstance(count, int) and all(isinstance(each, str) for each in names)
    return count if known else -1, names


FORMAT = Format(
    read,
    write,
    (".cs",),
    frozenset(),
    recognises,
    "cryoSPARC datasets: no particles of tomograms",
)
