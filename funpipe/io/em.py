"""EM files through emfile: volumes, and the motive lists of TOM, AV3 and kin.

In a motive list, 20 numbers a particle, a particle is at (x, y, z) + shift, in
voxels; phi, psi and theta make A = Rz(psi) Rx(theta) Rz(phi). Its centre is voxel
n // 2 of the box; see `funpipe.io.particles`. The first voxel of a tomogram is 1, as
in MATLAB, where these programs run: STOPGAP's own ``sg_motl_stopgap_to_av3`` copies
its coordinates, and its are so (`funpipe.io.stopgap`). Numbers are float32: positions
up to 4,000 voxels are good to 0.0003 voxel, angles to 0.00002°.
"""

from __future__ import annotations

import os
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from funpipe.base.errors import FileError
from funpipe.base.euler import STOPGAP
from funpipe.base.extras import require
from funpipe.base.molecules import Molecules
from funpipe.base.sources import LARGEST_LIST, check_source
from funpipe.base.whole import replacing
from funpipe.io.columns import (
    PixelList,
    needed_scale,
    warn_of_numbers,
)
from funpipe.io.formats import Format, VolumeFormat, warn_of_left_out
from funpipe.io.rows import stored_array
from funpipe.io.voxels import Volume

__all__ = ["FORMAT", "VOLUME", "open_em", "read", "write"]

_COLUMNS = (
    *("em_score", "em_geom1", "em_geom2", "em_subtomo", "tomo", "em_object"),
    *("em_geom3", "x", "y", "z", "shift_x", "shift_y", "shift_z"),
    *("em_geom4", "em_geom5", "em_geom6", "em_phi", "em_psi", "em_theta", "em_class"),
)
_LIST = PixelList(
    coordinates=("x", "y", "z"),
    shifts=("shift_x", "shift_y", "shift_z"),
    angles=("em_phi", "em_theta", "em_psi"),
    euler=STOPGAP,
    tomogram="tomo",
    first=1.0,
    whole=True,
    renamed={
        **{axis: f"em_{axis}" for axis in "xyz"},
        **{f"shift_{axis}": f"em_shift_{axis}" for axis in "xyz"},
    },
)
_TYPES = {1: "<i1", 2: "<i2", 4: "<i4", 5: "<f4", 9: "<f8"}
_HEADER = 512
_EXACT = 2**24  # whole numbers up to here are exact in float32


def read(
    path: str | os.PathLike[str],
    *,
    scale: float | None = None,
    first: float | None = None,
) -> Molecules:
    """Read a motive list; row 5 becomes ``tomogram``, the others features em_….

    Parameters
    ----------
    path : path-like
        The file (extra ``em``), 20 numbers for each particle.
    scale : float
        nm per voxel; the file does not say.
    first : float
        What the list calls the first voxel of a tomogram, by default 1.
    """
    name = os.fspath(path)
    table = _table(name)
    columns = {each: table[:, i] for i, each in enumerate(_COLUMNS)}
    return _LIST.molecules(name, columns, needed_scale(name, scale), first)


def write(
    molecules: Molecules,
    path: str | os.PathLike[str],
    *,
    scale: float | None = None,
    first: float | None = None,
) -> None:
    """Write a motive list of float32.

    Parameters
    ----------
    molecules : Molecules
        The particles. Of the features it holds those that `read` gives, and
        ``score``. Tomograms whose names are not numbers have those of the feature
        ``tomo``, or are numbered from 1 in the order in which they come.
    path : path-like
        Where to; an existing file is replaced, whole or not at all.
    scale : float
        nm per voxel.
    first : float, optional
        As in `read`.

    Raises
    ------
    ValueError
        If something is no number that float32 holds.

    Warns
    -----
    UserWarning
        Of the tomograms' numbers, where they had other names, and of the features
        that the list has no place for.
    """
    emfile = require("emfile", "em", "to write EM files")
    scale = needed_scale(os.fspath(path), scale)
    count = len(molecules)
    fresh = {"em_subtomo": np.arange(1, count + 1), "em_class": np.ones(count)}
    found, named = _LIST.columns(molecules, scale, first)
    if max(found["tomo"], default=0) > _EXACT:
        raise ValueError(
            f"tomogram: an EM list holds whole numbers up to {_EXACT}, not "
            f"{max(found['tomo'])}: give the tomograms other names"
        )
    if "score" in found:
        found["em_score"] = found["score"]
    columns = {**fresh, **found}
    empty = np.zeros(count)
    table = np.stack(
        [_float32(each, columns.get(each, empty)) for each in _COLUMNS], axis=1
    )
    warn_of_numbers(named)
    left = _LIST.left_out(molecules, {*_COLUMNS, "score"})
    warn_of_left_out(left, (), "an EM motive list")
    with replacing(path) as partial:
        emfile.write(partial, table[None], overwrite=True)


def _table(name: str) -> NDArray[Any]:
    """Return the numbers of a motive list, (n, 20), of one reading of the file."""
    emfile = require("emfile", "em", "to read EM files")
    check_source(name)
    with open(name, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        _check_size(name, size)
        if size > LARGEST_LIST:
            raise FileError(name, f" holds more than {LARGEST_LIST} bytes, as no list")
        shape, data = _shape(name, size, emfile.read(_again(file), header_only=True)[0])
        z, y, x = shape
        if z != 1 or x != len(_COLUMNS):
            raise FileError(
                name,
                f" is no motive list: it is {x} x {y} x {z} (x, y, z), not 20 x n x 1",
            )
        table: NDArray[Any] = emfile.read(_again(file))[1][0]
    return table.astype(data.newbyteorder("="))


def _again(file: IO[bytes]) -> int:
    """Return the file from its start, as another handle for emfile to close."""
    file.seek(0)
    return os.dup(file.fileno())


def _float32(name: str, values: NDArray[Any]) -> NDArray[np.float32]:
    """Return what a list holds of values, or say that it cannot."""
    whole = values.dtype.kind in "iu"
    most = _EXACT if whole else float(np.finfo(np.float32).max)
    finite = values[np.isfinite(values)] if values.dtype.kind in "biuf" else values
    if values.dtype.kind == "U" or np.abs(finite, dtype=float).max(initial=0) > most:
        kind = f"whole numbers up to {_EXACT}" if whole else "numbers of float32"
        raise ValueError(f"{name}: an EM list holds {kind}, not {values.tolist()[0]!r}")
    return values.astype(np.float32)


def open_em(name: str) -> Volume:
    """Open an EM file; it says nothing of a scale."""
    emfile = require("emfile", "em", "to read EM files")
    size = os.stat(name).st_size
    _check_size(name, size)
    shape, data = _shape(name, size, emfile.read(name, header_only=True)[0])
    array = stored_array(name, shape, data, _HEADER)
    return Volume(array, None, "an EM file gives no voxel size")


def _check_size(name: str, size: int) -> None:
    if size < _HEADER:
        raise FileError(
            name, f" is not a readable EM file: {size} bytes, shorter than its header"
        )


def _shape(
    name: str, size: int, header: dict[str, Any]
) -> tuple[list[int], np.dtype[Any]]:
    """Return shape and type of what a header says that a file of that size holds."""
    shape = [header[f"{axis}dim"] for axis in "zyx"]
    code = header["dtype"]
    if code not in _TYPES:
        raise FileError(
            name, f" is not a readable EM file of real numbers: type {code}"
        )
    data = np.dtype(_TYPES[code])
    if _bytes(shape, data) != size:
        turned = [int(np.int32(each).byteswap()) for each in shape]
        if _bytes(turned, data) == size:
            raise FileError(
                name, " is written in big-endian order, which emfile does not read"
            )
        raise FileError(
            name,
            f" is not a readable EM file: {size} bytes, but its header says "
            f"{' x '.join(map(str, shape))} (z, y, x) of {data.name}",
        )
    return shape, data


def _bytes(shape: list[int], data: np.dtype[Any]) -> int:
    z, y, x = shape
    return _HEADER + z * y * x * data.itemsize if min(shape) > 0 else -1


FORMAT = Format(
    read,
    write,
    (".em",),
    frozenset({"scale", "first", "box"}),
    title="EM motive lists of TOM, AV3 and kin",
)

VOLUME = VolumeFormat(open_em, (".em",), "EM")
