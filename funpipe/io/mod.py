"""Points of PEET and IMOD models, through imodmodel.

A model counts in pixels of its volume: the centre of the first voxel is at x = 0.5,
y = 0.5, z = 0 (https://bio3d.colorado.edu/imod/doc/binspec.html). It holds points
only; PEET keeps rotations in a motive list beside it. Objects and contours are counted
from 0, and some may be empty.
"""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from funpipe.base.caller import warn
from funpipe.base.errors import Argument, FileError
from funpipe.base.extras import in_one_line, require
from funpipe.base.molecules import Molecules
from funpipe.base.sources import read_bytes
from funpipe.base.whole import replacing
from funpipe.base.wording import fail
from funpipe.io.columns import needed_scale
from funpipe.io.formats import Format

__all__ = [
    "FIRST",
    "FORMAT",
    "Contours",
    "indices",
    "made",
    "put",
    "read",
    "read_contours",
    "read_points",
    "recognises",
    "scale_of",
    "write",
]

FIRST = np.array([0.5, 0.5, 0.0])
"""x, y, z of the centre of the first voxel."""
_NM = {0: 0.0, -9: 1.0, -10: 0.1, -12: 1e-3, -6: 1e3, -3: 1e6, -2: 1e7}
"""Units of the pixel size: pixels, and powers of ten of a metre."""
_MOST = 9_999


_LARGEST = 2**28
"""Bytes of the largest model that is read: 20 million points."""
_PARTS = 10**6
"""Objects, contours and other parts beyond which it is not read."""


class _Model(io.BytesIO):
    """A model's bytes, whose end is an error: imodmodel would look on for ever."""

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(size)
        if size and not found:
            raise EOFError("it ends too early")
        return found


def read(path: str | os.PathLike[str], *, scale: float | None = None) -> Molecules:
    """Read the points of all contours; object and contour are features.

    Parameters
    ----------
    path : path-like
        The model (extra ``imod``).
    scale : float, optional
        nm per voxel of the volume; by default the pixel size in the header.
    """
    name = os.fspath(path)
    points, parts, known = read_points(name)
    scale = scale_needed(name, known if scale is None else scale)
    return Molecules((points - FIRST)[:, ::-1] * scale, None, parts)


def scale_needed(name: str, scale: float | None) -> float:
    """Return the scale, or say that it must be given."""
    reason = "coordinates are in pixels, and the header says no size of one"
    return needed_scale(name, scale, reason)


def scale_of(path: str | os.PathLike[str]) -> float | None:
    """Return the pixel size of a model in nm, None where it does not say."""
    return _scale(_model(os.fspath(path)))


def read_points(
    name: str,
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.int64]], float | None]:
    """Return points (n, 3), x y z in pixels, their objects and contours, the scale."""
    model = _model(name)
    found = [
        (i, j, *point)
        for i, each in enumerate(model.objects)
        for j, contour in enumerate(each.contours)
        for point in np.asarray(contour.points).tolist()
    ]
    if not found:
        raise FileError(name, " holds no points")
    table = np.array(found)
    if not np.isfinite(table).all():
        row = int(np.flatnonzero(~np.isfinite(table).all(axis=1))[0])
        raise FileError(name, f": point {row + 1} is not finite: {table[row, 2:]}")
    parts = table[:, :2].astype(np.int64)
    return table[:, 2:], {"object": parts[:, 0], "contour": parts[:, 1]}, _scale(model)


class Contours(NamedTuple):
    """The closed contours of a model that have an inside, and what it says of them."""

    points: list[NDArray[np.float64]]
    """Of each, (n, 3), x y z in pixels, three or more."""
    objects: list[int]
    """Which object each is of, from 0."""
    others: dict[str, int]
    """How many contours there are besides, by why they have no inside."""
    scale: float | None
    """nm per pixel."""
    size: tuple[int, int, int]
    """Pixels of the volume that it was drawn on, z y x, where it says so."""


def read_contours(name: str) -> Contours:
    """Return the closed contours of a model.

    A contour is closed where neither its object is of open contours or scattered
    points, nor it is open itself.
    """
    model = _model(name)
    points, objects, others = [], [], dict.fromkeys(("open", "scattered", "short"), 0)
    for i, each in enumerate(model.objects):
        flags = each.header.flags
        for j, contour in enumerate(each.contours):
            corners = np.asarray(contour.points, float)
            if not np.isfinite(corners).all():
                at = f": contour {j + 1} of object {i + 1} is not finite"
                raise FileError(name, at)
            if flags.scattered:
                others["scattered"] += 1
            elif flags.open or contour.header.flags.open:
                others["open"] += 1
            elif len(corners) < 3:
                others["short"] += len(corners) > 0
            else:
                points.append(corners)
                objects.append(i)
    size = (model.header.zmax, model.header.ymax, model.header.xmax)
    return Contours(points, objects, others, _scale(model), size)


def _model(name: str) -> Any:
    require("imodmodel", "imod", "to read IMOD models")
    from imodmodel.parsers import parse_model

    content = read_bytes(name, _LARGEST)
    if not content.startswith(b"IMOD"):
        raise FileError(
            name, f" is not a readable IMOD model: it starts with {content[:4]!r}"
        )
    try:
        points = _points_only(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return parse_model(_Model(points))
    except Exception as error:  # imodmodel meets damage with errors of many kinds
        raise FileError(
            name, f" is not a readable IMOD model: {in_one_line(error)}"
        ) from None


def _scale(model: Any) -> float | None:
    scale = model.header.pixelsize * _NM.get(model.header.units, 0.0)
    return float(scale) if 0 < scale < np.inf else None


def _points_only(content: bytes) -> bytes:
    """Return a model without what is not of points: names, meshes, colours, views.

    Of these imodmodel does not read all that IMOD writes. Parts that say they are
    larger than the file are refused here, before room is made for them.
    """
    at, count = _START, 0
    kept = [content[:8], bytes(_NAME), content[8 + _NAME : at]]
    while content[at : at + 4] != b"IEOF":
        kind, count = content[at : at + 4], count + 1
        if at + 8 > len(content):
            raise EOFError("it ends too early")
        if count > _PARTS:
            raise ValueError(f"it has more than {_PARTS} parts")
        if kind == b"OBJT":
            end = at + 4 + 176
            kept += [kind, bytes(64), content[at + 4 + 64 : end]]
        elif kind == b"CONT":
            end = at + 4 + 16 + 12 * _size(content, at + 4)
            kept.append(content[at:end])
        elif kind == b"MESH":
            vertices, indices = (_size(content, at + each) for each in (4, 8))
            end = at + 4 + 16 + 12 * vertices + 4 * indices
        else:
            end = at + 8 + _size(content, at + 4)
        if end > len(content):
            raise EOFError(f"it ends too early: part {count}, {kind!r}, goes on")
        at = end
    return b"".join([*kept, b"IEOF"])


_START, _NAME = 240, 128
"""Bytes before the first part, and of the model's name in them, behind its version."""


def _size(content: bytes, at: int) -> int:
    size = int.from_bytes(content[at : at + 4], "big", signed=True)
    if size < 0:
        raise ValueError(f"a part of size {size}")
    return size


def write(
    molecules: Molecules, path: str | os.PathLike[str], *, scale: float | None = None
) -> None:
    """Write scattered points, in the objects and contours that the features say.

    Parameters
    ----------
    molecules : Molecules
        The particles. They come back in the order of objects and contours.
    path : path-like
        Where to; an existing file is replaced, whole or not at all.
    scale : float
        nm per voxel of the volume; the header gets it.

    Warns
    -----
    UserWarning
        If a particle is turned, or has other features: a model holds points only.
    """
    if scale is None:
        pass_scale = (": pass ", Argument("scale", "..."), " in nm per voxel")
        raise FileError(os.fspath(path), *pass_scale, name="scale")
    objects, contours = (indices(molecules, each) for each in ("object", "contour"))
    points = (molecules.positions / scale)[:, ::-1] + FIRST
    model = made(points, objects, contours, scale)
    turned = bool((molecules.rotations.magnitude() > 0).any())
    lost = ["rotations are left out"] if turned else []
    lost += [each for each in molecules.features if each not in ("object", "contour")]
    if lost:
        text = ", ".join(lost) if turned else f"left out are {', '.join(lost)}"
        warn(f"an IMOD model holds points only: {text}")
    with replacing(path) as partial:
        put(model, partial)


def made(
    points: NDArray[np.float64],
    objects: NDArray[np.int64],
    contours: NDArray[np.int64],
    scale: float,
) -> Any:
    """Return a model of scattered points, (n, 3), x y z in pixels.

    Raises
    ------
    ValueError
        If a model cannot hold such points or such a scale.
    """
    require("imodmodel", "imod", "to write IMOD models")
    from imodmodel.models import Contour, ImodModel, Object

    if not np.abs(points).max() < 2**31:
        raise ValueError(
            f"positions: an IMOD model holds less than {2**31} pixels along an axis, "
            f"not {np.abs(points).max():.6g}: they are in nm, and the scale {scale:g}"
        )
    if not _SMALLEST < scale < 1 / _SMALLEST:
        fail("scale", "one that float32 holds", scale)
    model: Any = ImodModel()
    model.header.pixelsize, model.header.units = scale, -9
    maxima = np.ceil(points.max(axis=0)).clip(1).astype(int).tolist()
    model.header.xmax, model.header.ymax, model.header.zmax = maxima
    for i in range(objects.max() + 1):
        of_object = Object()
        of_object.header.flags.scattered, of_object.header.flags.open = True, False
        here = objects == i
        of_object.contours = [
            Contour(points=points[here & (contours == j)])
            for j in range(max(contours[here], default=-1) + 1)
        ]
        model.objects.append(of_object)
    return model


_SMALLEST = 1e-30  # nm


def put(model: Any, path: Path) -> None:
    """Write a model to a file that is there for it alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # imodmodel's own, of pydantic
        model.to_file(path)


def indices(molecules: Molecules, name: str) -> NDArray[np.int64]:
    """Return a feature that counts objects or contours; all 0 where there is none."""
    values = molecules.features.get(name, np.zeros(len(molecules), dtype=int))
    whole = values.dtype.kind in "iuf" and (values == np.round(values)).all()
    if not whole or values.min() < 0 or values.max() > _MOST:
        raise ValueError(
            f"{name}: an IMOD model counts in whole numbers from 0 to {_MOST}; leave "
            f"the feature {name!r} out, or number it so (in a .csv, say, which any "
            "list can be converted to)"
        )
    return values.astype(np.int64)


def recognises(head: bytes) -> bool:
    """Tell whether a file begins as a model of IMOD."""
    return head.startswith(b"IMOD")


FORMAT = Format(
    read,
    write,
    (".mod",),
    frozenset({"scale"}),
    recognises,
    "IMOD, and points of PEET",
    scale_of,
    keeps_scale="list",
)
