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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from funpipe.caller import warn
from funpipe.io.extras import require
from funpipe.io.whole import replacing
from funpipe.molecules import Molecules

__all__ = ["read", "write"]

_FIRST = np.array([0.5, 0.5, 0.0])
"""x, y, z of the centre of the first voxel."""
_NM = {0: 0.0, -9: 1.0, -10: 0.1, -12: 1e-3, -6: 1e3, -3: 1e6, -2: 1e7}
"""Units of the pixel size: pixels, and powers of ten of a metre."""
_MOST = 9_999


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
    require("imodmodel", "imod", "to read IMOD models")
    from imodmodel.parsers import parse_model

    name = os.fspath(path)
    with open(name, "rb") as file:
        content = file.read()
    if not content.startswith(b"IMOD"):
        raise ValueError(
            f"{name} is not a readable IMOD model: it starts with {content[:4]!r}"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = parse_model(_Model(content))
    except Exception as error:  # imodmodel meets damage with errors of many kinds
        raise ValueError(f"{name} is not a readable IMOD model: {error}") from None
    found = [
        (i, j, *point)
        for i, each in enumerate(model.objects)
        for j, contour in enumerate(each.contours)
        for point in np.asarray(contour.points).tolist()
    ]
    if not found:
        raise ValueError(f"{name} holds no points")
    if scale is None:
        scale = model.header.pixelsize * _NM.get(model.header.units, 0.0)
        if not 0 < scale < np.inf:
            raise ValueError(
                f"{name}: coordinates are in pixels, and the header does not say of "
                "what size; pass scale=... in nm per voxel"
            )
    table = np.array(found)
    return Molecules(
        (table[:, 2:] - _FIRST)[:, ::-1] * scale,
        None,
        {"object": table[:, 0].astype(int), "contour": table[:, 1].astype(int)},
    )


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
        If a particle is turned: a model holds points only.
    """
    require("imodmodel", "imod", "to write IMOD models")
    from imodmodel.models import Contour, ImodModel, Object

    if scale is None:
        raise ValueError(f"{os.fspath(path)}: pass scale=... in nm per voxel")
    objects, contours = (_indices(molecules, each) for each in ("object", "contour"))
    if (molecules.rotations.magnitude() > 0).any():
        warn("an IMOD model holds points only: rotations are left out")
    points = (molecules.positions / scale)[:, ::-1] + _FIRST
    model: Any = ImodModel()
    model.header.pixelsize, model.header.units = scale, -9
    maxima = np.ceil(points.max(axis=0)).clip(1).astype(int).tolist()
    model.header.xmax, model.header.ymax, model.header.zmax = maxima
    for i in range(max(objects) + 1):
        of_object = Object()
        of_object.header.flags.scattered, of_object.header.flags.open = True, False
        here = objects == i
        of_object.contours = [
            Contour(points=points[here & (contours == j)])
            for j in range(max(contours[here], default=-1) + 1)
        ]
        model.objects.append(of_object)
    with replacing(path) as partial, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # imodmodel's own, of pydantic
        model.to_file(partial)


def _indices(molecules: Molecules, name: str) -> NDArray[np.int64]:
    """Return a feature that counts objects or contours; all 0 where there is none."""
    values = molecules.features.get(name, np.zeros(len(molecules), dtype=int))
    if values.dtype.kind not in "iu" or values.min() < 0 or values.max() > _MOST:
        raise ValueError(
            f"{name}: an IMOD model counts in whole numbers from 0 to {_MOST}; leave "
            f"the feature {name!r} out, or number it so"
        )
    return values.astype(np.int64)
