"""OME-Zarr volumes, 0.4 and 0.5, through zarr 3."""

from __future__ import annotations

import itertools
import math
import os
import re
import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from funpipe.base.caller import warn
from funpipe.base.errors import ChangedError, FileError
from funpipe.base.extras import in_one_line, require
from funpipe.io.formats import VolumeFormat
from funpipe.io.voxels import (
    Box,
    Lazy,
    Volume,
    check_claim,
    isotropic,
    nm_per,
)

__all__ = ["VOLUME", "open_ome_zarr"]


def open_ome_zarr(name: str, at: float | None = None) -> Volume:
    """Open a level of an OME-Zarr image; it is read only where it is sliced.

    Parameters
    ----------
    name : str
        The folder.
    at : float, optional
        The scale that the image is wanted at, nm per voxel: the coarsest level that
        is no coarser is opened. By default, and where all are, the finest.
    """
    zarr = require("zarr", "zarr", "to read OME-Zarr")
    try:
        group = zarr.open_group(name, mode="r")
        attributes = dict(group.attrs)
        images = attributes.get("ome", attributes).get("multiscales")
        if not images:
            raise ValueError("it has no multiscales")
        levels = [_level(group, each, images[0]) for each in images[0]["datasets"]]
        if not levels:
            raise ValueError("its multiscales have no datasets")
        array, scale, trouble = _chosen(levels, at)
        missing = _missing(Path(name, array.path), array)
        reader = partial(_read, name, array, _newest(Path(name)), missing is None)
    except Exception as error:  # zarr meets damage with errors of many kinds
        raise FileError(
            name, f" is not a readable OME-Zarr image: {in_one_line(error)}"
        ) from None
    if missing:
        warn(f"{name}: {missing}")
    lazy = Lazy(tuple(array.shape[-3:]), array.dtype, reader)
    return Volume(lazy, scale, trouble)


class _Level(NamedTuple):
    """A level of an image."""

    array: Any
    """Zarr's."""
    scale: float | None
    """nm per voxel."""
    trouble: str | None
    """Why it is not known."""


def _chosen(levels: list[_Level], at: float | None) -> _Level:
    """Return the coarsest level that is no coarser than wanted, or the finest."""
    levels = sorted(levels, key=lambda each: -math.prod(each.array.shape[-3:]))
    fine = [
        each
        for each in levels
        if at is not None and (each.scale or math.inf) <= at * (1 + 1e-3)
    ]
    return max(fine, key=lambda each: each.scale or 0.0) if fine else levels[0]


def _missing(folder: Path, array: Any) -> str | None:
    """Say how many chunks of an array are not there; refuse one without any."""
    grid = _grid(array)
    kept = [size for key, size in _files(folder) if _is_chunk(key, grid)]
    count = math.prod(map(len, grid))
    where = f"chunks of level {array.basename}"
    if not kept:
        raise ValueError(f"none of the {count} {where} is there")
    check_claim("it", array.nbytes, sum(kept), None)
    if len(kept) >= count:
        return None
    return (
        f"{count - len(kept)} of {count} {where} are not there, and are read as "
        f"{array.fill_value}; a writer may leave out those that hold nothing else"
    )


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield the files in a folder and below, and their sizes in bytes."""
    for base, _, names in os.walk(folder):
        for each in names:
            path = Path(base, each)
            yield path.relative_to(folder).as_posix(), path.stat().st_size


def _is_chunk(key: str, grid: list[range]) -> bool:
    """Tell whether a file is a chunk's: 1.0.2 or 1/0/2, maybe with a c before it."""
    numbers = re.split("[./]", re.sub("^c[./]", "", key))
    return len(numbers) == len(grid) and all(
        re.fullmatch("[0-9]+", each) and int(each) < len(along)
        for each, along in zip(numbers, grid, strict=True)
    )


def _grid(array: Any) -> list[range]:
    """Return where the chunks that are files begin along each axis."""
    chunks = array.shards or array.chunks
    return [range(0, n, chunk) for n, chunk in zip(array.shape, chunks, strict=True)]


def _newest(folder: Path) -> int:
    """Return when the last file in a folder or below was written to, nanoseconds."""
    return max(one.stat().st_mtime_ns for one in folder.rglob("*") if one.is_file())


def _read(name: str, array: Any, newest: int, complete: bool, box: Box) -> NDArray[Any]:
    """Read a box chunk by chunk: so an error is of one, and nothing else is under way.

    Of an array the axes before the last three have one element each. No chunk may be
    newer than any file was when the image was opened, nor one be gone of all.
    """
    extent = [each.stop - each.start for each in box]
    block: NDArray[Any] = np.empty(extent, array.dtype)
    before = (0,) * (array.ndim - 3)
    for corner in _corners(array.chunks[-3:], box):
        extents = list(zip(corner, array.chunks[-3:], box, strict=True))
        part = tuple(
            slice(max(start, each.start), min(start + length, each.stop))
            for start, length, each in extents
        )
        place = tuple(
            slice(own.start - each.start, own.stop - each.start)
            for own, each in zip(part, box, strict=True)
        )
        key = _key(array, (*before, *corner))
        try:
            path = Path(name, array.path, key)
            _check_blosc(path, array)
            block[place] = array[(*before, *part)]
            _check_same(path, newest, complete)
        except FileError:
            raise
        except Exception as error:  # zarr meets damage with errors of many kinds
            raise FileError(
                name,
                f": chunk {key} of level {array.basename} cannot be read: "
                f"{in_one_line(error)}",
            ) from None
    return block


def _check_same(path: Path, newest: int, complete: bool) -> None:
    """Refuse a chunk that was written to, or is gone, since its image was opened."""
    try:
        changed = path.stat().st_mtime_ns > newest
    except FileNotFoundError:
        changed = complete
    if changed:
        raise ChangedError(path, "it was written to, or is gone")


def _corners(chunks: tuple[int, ...], box: Box) -> Iterator[tuple[int, ...]]:
    """Yield the first voxels of the chunks that a box needs."""
    return itertools.product(
        *(
            range(each.start // chunk * chunk, each.stop, chunk)
            for each, chunk in zip(box, chunks, strict=True)
        )
    )


def _key(array: Any, corner: tuple[int, ...]) -> str:
    chunks = array.shards or array.chunks
    coordinates = (at // chunk for at, chunk in zip(corner, chunks, strict=True))
    return str(array.metadata.encode_chunk_key(tuple(coordinates)))


def _check_blosc(path: Path, array: Any) -> None:
    """Refuse a chunk that Blosc would read beyond the end of.

    The header of its frames says, in bytes 4 to 7, how many bytes they unpack to, and
    in bytes 12 to 15, how many they have.
    """
    if array.shards or not any(
        type(each).__name__.startswith("Blosc") for each in array.compressors
    ):
        return
    try:
        with open(path, "rb") as file:
            start, size = file.read(16), os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return  # it is read as the fill value
    if len(start) < 16:
        raise ValueError(f"it has {size} bytes")
    unpacked, _, packed = struct.unpack("<4xIII", start)
    wanted = math.prod(array.chunks) * array.dtype.itemsize
    if packed != size or unpacked != wanted:
        raise ValueError(
            f"it has {size} bytes, and says {packed}, for {unpacked} of {wanted}"
        )


def _level(group: Any, dataset: dict[str, Any], image: dict[str, Any]) -> _Level:
    """Return a level of an image, and how its voxels measure."""
    if dataset["path"] not in group:
        raise ValueError(f"its level {dataset['path']!r} is missing")
    array = group[dataset["path"]]
    before = array.shape[:-3]
    if array.ndim < 3 or any(each != 1 for each in before):
        raise ValueError(
            f"{dataset['path']} must hold one 3-D volume, but has the shape "
            f"{tuple(array.shape)}"
        )
    size = [1.0] * array.ndim
    for source in (dataset, image):
        for each in source.get("coordinateTransformations", []):
            if each.get("type") == "scale":
                if len(each["scale"]) != array.ndim:
                    raise ValueError(
                        f"its scale {each['scale']} is not of {array.ndim} axes"
                    )
                size = [a * b for a, b in zip(size, each["scale"], strict=True)]
    axes = image.get("axes") or []
    units = [each.get("unit", "") if isinstance(each, dict) else "" for each in axes]
    units = ([""] * array.ndim + units)[-array.ndim :]
    names = [each.get("name") if isinstance(each, dict) else each for each in axes]
    if names and names[-3:] != ["z", "y", "x"]:
        raise ValueError(f"its axes must end in z, y, x, not {names}")
    nm = [length * nm_per(unit) for length, unit in zip(size, units, strict=True)]
    return _Level(array, *isotropic(nm[-3:], "multiscales"))


def _holds(folder: Path) -> bool:
    """Tell whether a folder is called so, or has a group's own file in it."""
    marks = ("zarr.json", ".zgroup")
    return folder.suffix.lower() == ".zarr" or any(
        (folder / each).exists() for each in marks
    )


VOLUME = VolumeFormat(
    open_ome_zarr,
    (".zarr",),
    "OME-Zarr, a folder",
    takes=frozenset({"at"}),
    holds=_holds,
)
