"""What the closed contours of an IMOD model outline in a tomogram.

Contours lie in planes of the model's z. Those of one object in one plane may be nested:
what is within an odd number of them is inside, as in IMOD. Between planes the outline
is interpolated, see `funpipe.space.contours.Solid`; a plane by itself is one pixel of
the model thick. What is inside any object is inside.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.base.caller import warn
from funpipe.base.wording import fail
from funpipe.boxes.inside import extent_ratio, packed
from funpipe.boxes.region import Index, Region, refuse_empty, region_of_bits
from funpipe.io.mod import FIRST, Contours, read_contours
from funpipe.space.contours import Plane, Solid

__all__ = ["region_of_model", "warn_of_scale"]

Array: TypeAlias = NDArray[Any]

_FARTHEST = 1e6  # between the size of a pixel and that of a voxel
_UNLIKE = 0.05  # of a header's scale from what it should be


def region_of_model(path: str, shape: Index, scale: float, name: str) -> Region:
    """Return the inside of a model's closed contours.

    Parameters
    ----------
    path : str
        An IMOD model.
    shape : (int, int, int)
        Voxels of the tomogram, z, y, x.
    scale : float
        Its nm per voxel.
    name : str
        The argument, for errors.

    Raises
    ------
    ValueError, OSError
        If it is no such model, has no closed contours, or one that leaves its plane,
        or none of their inside is in the tomogram.
    """
    model = read_contours(path)
    if not model.points:
        others = [f"{count} {kind}" for kind, count in model.others.items() if count]
        raise ValueError(
            f"{name} must be a model with closed contours of three points or more, but "
            f"{path} has {', '.join(others) or 'none'}: in 3dmod, the type of "
            "an object must be closed"
        )
    text = f"the inside of {len(model.points)} closed contours of {path}"
    ratio = _model_ratio(model, path, shape, scale, name)
    solids = _solids(model, ratio, path, name)
    extents = [each.extent() for each in solids]
    low = np.clip(np.min([each for each, _ in extents], axis=0), 0, shape).astype(int)
    high = np.clip(np.max([each for _, each in extents], axis=0), 0, shape).astype(int)
    if (low >= high).any():
        refuse_empty(name, f"{text}, placed at {ratio:.6g} voxels to its pixel")
    (z, y, x), (end, bottom, right) = low.tolist(), high.tolist()
    planes = _drawn(solids, (z, y, x), (end, bottom, right), shape)
    bits = packed(planes, (end - z, bottom - y, right - x))
    return region_of_bits(bits, shape, 1.0, (z, y, x), shape, text, name)


def _model_ratio(
    model: Contours, path: str, shape: Index, scale: float, name: str
) -> float:
    """Return how many voxels of a tomogram a pixel of a model is."""
    stated = None if model.scale is None else model.scale / scale
    ratio = extent_ratio(shape, model.size, stated)
    if ratio is None:
        if stated is not None and not 1 / _FARTHEST < stated < _FARTHEST:
            what = f"a pixel size near the tomogram's {scale:.6g} nm"
            fail(name, f"a model with {what}", f"{path} with {model.scale:.6g} nm")
        return 1.0 if stated is None else stated
    if stated is not None:
        warn_of_scale(name, path, stated * scale, ratio * scale, model.size)
    return ratio


def _solids(model: Contours, ratio: float, path: str, name: str) -> list[Solid]:
    """Return what each object outlines, in voxels of the tomogram."""
    found: dict[int, dict[float, list[Array]]] = {}
    for points, i in zip(model.points, model.objects, strict=True):
        levels = np.floor(points[:, 2] - FIRST[2] + 0.5)
        if np.ptp(points[:, 2]) > 1:
            raise ValueError(
                f"{name} must be a model of contours that lie in planes of z, but in "
                f"{path} one of object {i + 1} goes from z = {points[:, 2].min():g} to "
                f"{points[:, 2].max():g}"
            )
        level = float(np.median(levels))
        corners = (points[:, 1::-1] - FIRST[1::-1] + 0.5) * ratio - 0.5
        of_object = found.setdefault(i, {})
        of_object.setdefault((math.floor(level) + 0.5) * ratio - 0.5, []).append(
            corners
        )
    half = max(1.0, ratio) / 2
    return [
        Solid([Plane(z, planes[z]) for z in sorted(planes)], half)
        for planes in found.values()
    ]


def _drawn(
    solids: list[Solid], low: Index, high: Index, shape: Index
) -> Iterator[NDArray[np.bool_]]:
    """Yield z by z what is inside any of some solids, of a part of a tomogram."""
    zs = range(low[0], high[0])
    drawn = [_window(each, zs, low, high, shape) for each in solids]
    for _ in zs:
        plane = np.zeros((high[1] - low[1], high[2] - low[2]), np.bool_)
        for into, of, slices in drawn:
            found = next(slices)
            if found is not None:
                plane[into] |= found[of]
        yield plane


def _window(solid: Solid, zs: range, low: Index, high: Index, shape: Index) -> Any:
    """Return where a solid goes, what of it, and its slices, a tomogram's width around.

    A little more than the tomogram, for depths are those to the nearest border.
    """
    size = np.array(shape[1:])
    begin, end = (each[1:] for each in solid.extent())
    first = np.clip(begin - 1, -size, 2 * size).astype(int)
    last = np.clip(end + 1, first, 2 * size).astype(int)
    start = np.clip(first, low[1:], high[1:])
    stop = np.clip(last, start, high[1:])
    into, of = (
        tuple(slice(a, b) for a, b in zip(start - each, stop - each, strict=True))
        for each in (np.array(low[1:]), first)
    )
    return into, of, solid.slices(zs, first, last)


def warn_of_scale(
    name: str, path: str, stated: float, used: float, own: tuple[int, ...]
) -> None:
    """Warn of a header's scale with which a file would not cover the tomogram."""
    if abs(stated / used - 1) > _UNLIKE:
        warn(
            f"{name}: {path} says {stated:.6g} nm per voxel, but its {own} voxels "
            f"cover the tomogram with {used:.6g} nm: they are taken to do so"
        )
