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

import io
import json
import os
from typing import Any, NoReturn

import numpy as np

from funpipe.io.formats import Format
from funpipe.io.sources import open_unpacked
from funpipe.molecules import Molecules

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
    raise ValueError(
        f"{name} is a cryoSPARC dataset of {count} rows and {len(names)} fields, "
        + (
            "whose particles are at x and y in micrographs (location/center_x_frac, "
            "location/center_y_frac)"
            if located
            else "without locations"
        )
        + ": cryoSPARC keeps no z, so these are no particles of a tomogram. Read the "
        "list that they were imported or extracted from"
    )


def write(molecules: Molecules, path: str | os.PathLike[str]) -> NoReturn:
    """Refuse to write: a dataset has no place for a particle's z."""
    raise ValueError(
        f"{os.fspath(path)}: cryoSPARC datasets hold no positions in tomograms, and "
        "are not written"
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
    with open_unpacked(path) as file:
        head = file.read(_LONGEST + 16)
    if not recognises(head):
        raise ValueError(
            f"{name} is not a readable cryoSPARC dataset: it starts with {head[:6]!r}"
        )
    try:
        return _of_stream(head) if head.startswith(_STREAM) else _of_array(head)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        problem = str(error).splitlines()[0][:200] if str(error) else "damaged"
        raise ValueError(
            f"{name} is not a readable cryoSPARC dataset: {problem}"
        ) from None


def _of_array(head: bytes) -> tuple[int, tuple[str, ...]]:
    file = io.BytesIO(head)
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"NumPy's format {version} is not one of cryoSPARC")
    reader: Any = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, _, kind = reader(file, max_header_size=_LONGEST)
    if len(shape) != 1 or kind.names is None:
        raise ValueError("it is an array of numbers, not of rows with fields")
    return int(shape[0]), tuple(kind.names)


def _of_stream(head: bytes) -> tuple[int, tuple[str, ...]]:
    length = int.from_bytes(head[6:10], "little")
    if not 0 < length <= _LONGEST:
        raise ValueError(f"its header is of {length} bytes, not 1 to {_LONGEST}")
    header = json.loads(head[10 : 10 + length])
    if not isinstance(header, dict) or not isinstance(header["dtype"], list):
        raise ValueError("its header does not say the fields")
    return int(header["length"]), tuple(str(each[0]) for each in header["dtype"])


FORMAT = Format(read, write, (".cs",), frozenset(), recognises, "cryoSPARC datasets")
