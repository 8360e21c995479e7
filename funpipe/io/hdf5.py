"""HDF5 volumes, as EMAN2 writes them, through h5py."""

from __future__ import annotations

import itertools
import math
import os
import re
import struct
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from funpipe.base.caller import warn
from funpipe.base.errors import FileError
from funpipe.base.extras import in_one_line, require
from funpipe.base.sources import State, state_of
from funpipe.io.formats import VolumeFormat
from funpipe.io.voxels import Box, Lazy, Volume, check_claim, isotropic

__all__ = ["VOLUME", "open_hdf5"]

_SCANNED = 2**20  # bytes at the begin and the end of a file
_LARGEST_BITS = 32  # that a number may be packed into


def open_hdf5(name: str) -> Volume:
    """Open the one volume of an HDF5 file; it is read only where it is sliced.

    EMAN2's is MDF/images/0/image, with the voxel size in Å in the attributes
    EMAN.apix_x, _y, _z of its group, and, where its numbers were packed into few
    bits, what they stand for in EMAN.stored_renderbits, _rendermin, _rendermax.
    """
    h5py = require("h5py", "hdf5", "to read HDF5")
    found: list[Any] = []
    try:
        _check_heaps(name)
        with h5py.File(name, "r") as file:
            file.visititems(lambda _, each: _collect(found, each, h5py))
            names = [each.name for each in found]
            if len(found) == 1:
                volume, missing = _opened(name, found[0])
    except Exception as error:  # h5py meets damage with errors of many kinds
        raise FileError(
            name, f" is not a readable HDF5 file: {in_one_line(error)}"
        ) from None
    if len(names) != 1:
        raise FileError(
            name, f" must hold one 3-D volume, but holds {', '.join(names) or 'none'}"
        )
    if missing:
        warn(f"{name}: {missing}")
    return volume


def _check_heaps(name: str) -> None:
    """Refuse a file with a free list that comes back to itself.

    The library would follow it for ever. The heaps that hold the names in a group
    begin with HEAP, and say how long they are, where their free list begins and where
    in the file they are; of a free piece the first number is where the next one is.
    """
    with open(name, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        for start in sorted({0, max(0, size - _SCANNED)}):
            file.seek(start)
            part = file.read(_SCANNED)
            for match in re.finditer(rb"HEAP\0\0\0\0(.{24})", part, re.DOTALL):
                length, free, address = struct.unpack("<QQQ", match[1])
                if length <= _SCANNED and address < size:
                    file.seek(address)
                    _check_free_list(file.read(length), free)


def _check_free_list(heap: bytes, free: int) -> None:
    seen: set[int] = set()
    while free + 8 <= len(heap):
        if free in seen:
            raise ValueError("a heap's free list comes back to itself")
        seen.add(free)
        (free,) = struct.unpack_from("<Q", heap, free)


def _collect(found: list[Any], each: Any, h5py: Any) -> None:
    if (
        isinstance(each, h5py.Dataset)
        and each.ndim == 3
        and each.dtype.kind in "biuf"
        and each.size
    ):
        found.append(each)


def _opened(name: str, data: Any) -> tuple[Volume, str | None]:
    """Return a dataset's volume, and what is missing of it."""
    missing = _missing(name, data)
    attributes = {**data.parent.attrs, **data.attrs}
    size = [_attribute(attributes, f"apix_{axis}") / 10 for axis in "zyx"]
    factor, offset = _packing(attributes)
    plain = factor == 1.0 and offset == 0.0
    lazy = Lazy(
        data.shape,
        data.dtype if plain else np.dtype(np.float32),
        partial(_read, name, state_of(name), data.name, factor, offset),
    )
    return Volume(lazy, *isotropic(size)), missing


def _missing(name: str, data: Any) -> str | None:
    """Say which part of a dataset is not stored; refuse one that is not at all."""
    if data.is_virtual or data.external:
        raise ValueError(f"what {data.name} holds lies in other files")
    stored = data.id.get_storage_size()
    if not stored:
        raise ValueError(f"nothing of {data.name} is stored")
    check_claim("it", data.nbytes, os.stat(name).st_size, None)
    if data.chunks is None:
        if stored < data.nbytes:
            raise ValueError(
                f"{data.name} has {stored} bytes, and should have {data.nbytes}"
            )
        return None
    count = math.prod(map(len, _grid(data.shape, data.chunks)))
    kept = data.id.get_num_chunks()
    if kept >= count:
        return None
    return (
        f"{count - kept} of {count} chunks of {data.name} are not stored, and are read "
        f"as {data.fillvalue}"
    )


def _packing(attributes: dict[str, Any]) -> tuple[float, float]:
    """Return what numbers are to be multiplied with, and what added."""
    bits = int(_attribute(attributes, "stored_renderbits"))
    low = _attribute(attributes, "stored_rendermin")
    high = _attribute(attributes, "stored_rendermax")
    if bits <= 0 or high <= low:
        return 1.0, 0.0
    if bits > _LARGEST_BITS:
        raise ValueError(f"its numbers are packed into {bits} bits")
    return (high - low) / (2**bits - 1), low


def _attribute(attributes: dict[str, Any], name: str) -> float:
    """Return one of EMAN2's numbers; 0 where it is not there."""
    value = float(attributes.get(f"EMAN.{name}", 0.0))
    if not math.isfinite(value):
        raise ValueError(f"EMAN.{name} is {value}")
    return value


def _read(
    name: str,
    state: State,
    path: str,
    factor: float,
    offset: float,
    box: Box,
) -> NDArray[Any]:
    """Read a box of a dataset."""
    h5py = require("h5py", "hdf5", "to read HDF5")
    chunk = None
    try:
        with state.unchanged(name), h5py.File(name, "r") as file:
            data = file[path]
            try:
                block = data[box]
            except Exception:
                chunk = _unreadable_chunk(data, box)
                raise
    except (FileNotFoundError, FileError):
        raise
    except Exception as error:
        where = path if chunk is None else f"the chunk at {chunk} of {path}"
        raise FileError(
            name, f": {where} cannot be read: {in_one_line(error)}"
        ) from None
    if factor == 1.0 and offset == 0.0:
        return np.asarray(block)
    return np.asarray(block.astype(np.float32) * factor + offset)


def _unreadable_chunk(data: Any, box: Box) -> tuple[int, ...] | None:
    """Return the first voxel of the first chunk in a box that cannot be read."""
    for corner in itertools.product(*_grid(data.shape, data.chunks or data.shape)):
        extents = zip(corner, data.chunks or data.shape, box, strict=True)
        part = [
            (max(start, each.start), min(start + length, each.stop))
            for start, length, each in extents
        ]
        if all(start < stop for start, stop in part):
            try:
                data[tuple(slice(*each) for each in part)]
            except Exception:
                return corner
    return None


def _grid(shape: tuple[int, ...], chunks: tuple[int, ...]) -> list[range]:
    """Return where chunks begin along each axis."""
    return [range(0, n, chunk) for n, chunk in zip(shape, chunks, strict=True)]


VOLUME = VolumeFormat(open_hdf5, (".hdf", ".h5", ".hdf5"), "HDF5")
