"""Where in a tomogram particles are looked for: one value for what may be given."""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from funpipe.base import arguments as check
from funpipe.base.digests import file_state
from funpipe.base.errors import FileError
from funpipe.base.sources import check_source
from funpipe.base.wording import describe, fail
from funpipe.boxes.inside import Marked, extent_ratio, packed
from funpipe.boxes.region import (
    Index,
    Region,
    extent_of,
    naming,
    planes_of,
    region_of_bits,
)
from funpipe.io.mod import recognises
from funpipe.io.rows import mapped_array
from funpipe.io.volumes import is_volume, open_volume
from funpipe.jobs.contoured import region_of_model, warn_of_scale

__all__ = ["Region", "region_of"]

_WANTED = (
    "None, a path to a volume or an IMOD model, a 3-D array, a pair of one of these "
    "and a label, or a pair of numbers, the lowest and the highest z in nm"
)
_SAME = 1e-6  # of a voxel


def region_of(
    region: Any, shape: tuple[int, ...], scale: float, name: str = "region"
) -> Region:
    """Return the part of a tomogram that is looked at.

    Parameters
    ----------
    region : None, array-like, path, (array-like or path, label), or (float, float)
        None is everywhere. Of an array-like (z, y, x), or of a volume in a file, the
        voxels are inside that are not 0, or that are the label, a whole number, or one
        of several of these. It covers what the tomogram covers, maybe with voxels of
        another size: see `funpipe.boxes.inside`. Of an IMOD model it is the inside of
        its closed contours: see Notes. Two numbers are the lowest and the highest z in
        nm, where the centre of the first voxel is at 0; voxels of which the centre is
        between them are inside.
    shape : (int, int, int)
        Voxels of the tomogram, z, y, x.
    scale : float
        Its nm per voxel.
    name : str
        The argument, for errors.

    Returns
    -------
    Region
        Of an array in memory it keeps one bit a voxel; anything else is not read yet.

    Raises
    ------
    TypeError, ValueError, OSError
        If it is no such thing, does not fit the tomogram, or nothing is inside. Of a
        volume in a file, and of an array-like that is sliced lazily, `Region.block`
        and `Region.count` tell what is wrong with its voxels.

    Warns
    -----
    UserWarning
        If a file has the tomogram's extent by its number of voxels, but not by their
        size in its header: the number counts.

    Notes
    -----
    How contours become a solid is said in `funpipe.jobs.contoured`. The model's pixels
    relate to the tomogram's voxels as an array's would of the size that it was drawn
    on, which the model says; if that does not fit, by the pixel size, and where there
    is none they are the tomogram's voxels.

    Examples
    --------
    >>> mask = np.zeros((5, 4, 4), np.uint8)
    >>> mask[2:4] = 7
    >>> region_of((mask, 7), (10, 8, 8), 1.0).bounds
    ((4, 0, 0), (8, 8, 8))
    >>> region_of(mask, (10, 8, 12), 1.0)
    Traceback (most recent call last):
    ...
    ValueError: region must have the tomogram's shape (10, 8, 12), or cover the same
    with voxels of another size, not an array of shape (5, 4, 4) and type uint8
    """
    z, y, x = (int(each) for each in shape)
    extent = (z, y, x)
    if region is None:
        return Region(extent, (0, 0, 0), extent, None, "everywhere", name)
    labels = None
    if isinstance(region, tuple | list) and len(region) == 2 and _is_source(region[0]):
        region, labels = region[0], _labels(f"{name}[1]", region[1])
    if isinstance(region, str | os.PathLike):
        path = check.path(name, region)
        with _in(name):
            if _is_model(path):
                if labels is not None:
                    _refuse_label(path, name)
                return region_of_model(path, extent, scale, name)
            return _of_file(path, labels, extent, scale, name)
    if is_volume(region):
        return _of_array(region, labels, extent, name)
    if isinstance(region, str | bytes) or check.shape_of(region) != (2,):
        fail(name, _WANTED, region)
    return _of_slab(region, extent, scale, name)


# Slabs.


def _of_slab(region: Any, shape: Index, scale: float, name: str) -> Region:
    lowest, highest = (check.number(f"{name}[{i}]", region[i]) for i in (0, 1))
    if not lowest < highest:
        wanted = "the lowest z and then the highest, in nm"
        turned = f"write ({highest:g}, {lowest:g})" if lowest > highest else ""
        fail(name, wanted, region, turned)
    top = (shape[0] - 1) * scale
    spans = f"the tomogram, whose voxels span 0 to {top:.6g} nm along z"
    if highest < -scale / 2 or lowest > top + scale / 2:
        fail(name, f"z in nm within {spans}", (lowest, highest))
    begin = max(0, math.ceil(max(lowest / scale, -1.0) - _SAME))
    end = min(shape[0], math.floor(min(highest / scale, 1.0 * shape[0]) + _SAME) + 1)
    if begin >= end:
        wanted = f"z in nm with the centre of a voxel between them, each {scale:.6g} nm"
        fail(name, f"{wanted}, in {spans}", (lowest, highest))
    text = f"z from {lowest:g} to {highest:g} nm"
    return Region(shape, (begin, 0, 0), (end, *shape[1:]), None, text, name)


# Volumes.


def _of_file(
    path: str, labels: tuple[int, ...] | None, shape: Index, scale: float, name: str
) -> Region:
    source = os.path.abspath(path)
    known = file_state(source)
    volume = open_volume(path, at=scale)
    own = extent_of(volume.array)
    stated = None if volume.scale is None else volume.scale / scale
    ratio = extent_ratio(shape, own, stated)
    if ratio is None:
        what = f"{path} of shape {own}"
        if volume.scale is not None:
            what += f" and {volume.scale:.6g} nm per voxel"
        _refuse_shape(name, shape, what)
    if stated is not None:
        warn_of_scale(name, path, stated * scale, ratio * scale, own)
    marked = Marked(source, own, ratio, labels, float(scale), known=known)
    return Region(shape, (0, 0, 0), shape, marked, _labelled(path, labels), name)


def _of_array(
    region: Any, labels: tuple[int, ...] | None, shape: Index, name: str
) -> Region:
    if check.is_masked(region):
        raise ValueError(
            f"{name} must have no masked voxels: fill them, as with array.filled(0)"
        )
    own = extent_of(region)
    text = _labelled(f"an array of {' x '.join(map(str, own))} voxels", labels)
    ratio = extent_ratio(shape, own)
    if ratio is None:
        kind = f"an array of shape {own} and type {np.dtype(region.dtype)}"
        _refuse_shape(name, shape, kind)
    source = mapped_array(region) if isinstance(region, np.memmap) else region
    if isinstance(source, np.ndarray) or source is None:
        with naming(name):
            bits = packed(planes_of(region, labels), own)
        _refuse_missing(name, region, labels)
        return region_of_bits(bits, own, ratio, (0, 0, 0), shape, text, name)
    marked = Marked(source, own, ratio, labels)
    return Region(shape, (0, 0, 0), shape, marked, text, name)


# What is given, and what is wrong with it.


def _is_source(value: Any) -> bool:
    return isinstance(value, str | os.PathLike) or is_volume(value)


def _is_model(path: str) -> bool:
    if Path(path).is_dir():
        return False
    check_source(path)
    with open(path, "rb") as file:
        return recognises(file.read(4)) or Path(path).suffix.lower() == ".mod"


def _labels(name: str, value: Any) -> tuple[int, ...]:
    """Return one label or several, in rising order."""
    wanted = "a whole number, the label of voxels, or several of them"
    alone = isinstance(value, numbers.Number | str) or check.shape_of(value) == ()
    alone = alone and not isinstance(value, set | frozenset)
    each = [value] if alone else check.elements(name, wanted, value)
    found = set()
    for one in each:
        real = check.number(name, one)
        if not real.is_integer() or abs(real) > 2**53:
            fail(name, wanted, value)
        found.add(int(real))
    if not found:
        fail(name, wanted, value)
    return tuple(sorted(found))


def _refuse_label(path: str, name: str) -> NoReturn:
    raise ValueError(
        f"{name} must be a volume where it has a label, not {path}: of an IMOD model "
        f"all closed contours count; pass {name}={describe(path)}"
    )


def _labelled(what: str, labels: tuple[int, ...] | None) -> str:
    if labels is None:
        return what
    several = "label" if len(labels) == 1 else "labels"
    return f"{several} {', '.join(map(str, labels))} of {what}"


def _refuse_shape(name: str, shape: Index, what: str) -> NoReturn:
    raise ValueError(
        f"{name} must have the tomogram's shape {shape}, or cover the same with voxels "
        f"of another size, not {what}"
    )


def _refuse_missing(name: str, array: Any, labels: tuple[int, ...] | None) -> None:
    """Refuse a label that an array in memory does not have."""
    missing = set(labels or ())
    for plane in array:
        missing -= {each for each in missing if (plane == each).any()}
        if not missing:
            return
    there = [f"{each:.16g}" for each in np.unique(array).tolist()]
    more = f" and {len(there) - 9} others" if len(there) > 9 else ""
    wanted = f"a label that there is, {', '.join(there[:9])}{more}"
    fail(f"{name}[1]", wanted, min(missing))


@contextmanager
def _in(name: str) -> Iterator[None]:
    """Say in errors of files which argument gave them."""
    try:
        yield
    except Exception as error:
        if isinstance(error, FileError | OSError | ImportError):
            error.add_note(f"in {name}")
        raise
