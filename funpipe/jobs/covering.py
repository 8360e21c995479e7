"""Seeds over the surface of one outline, of each kind of surface."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.base import arguments as check
from funpipe.base.molecules import Molecules
from funpipe.base.wording import fail
from funpipe.jobs.outlining import FARTHEST, Outline, bounded
from funpipe.space.surfaces import (
    cloud_normals,
    on_sphere,
    on_triangles,
    sphere_through,
    spread,
    triangle_normals,
)

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = ["MOST", "refuse_many", "seeds_of"]

Array: TypeAlias = NDArray[Any]

MOST = 10**7  # particles, or points that they are chosen of
_FINE = 8  # points of a triangulated surface per spacing


_KINDS = ("points", "hull", "sphere", "tube", "triangles")


def seeds_of(kind: Any, radius: float | None, faces: Any) -> Any:
    """Return what seeds a surface of a kind."""
    if not isinstance(kind, str) or kind not in _KINDS:
        fail("kind", f"one of {', '.join(map(repr, _KINDS))}", kind)
    if (faces is not None) != (kind == "triangles"):
        raise ValueError("faces must be given for kind='triangles', and for no other")
    if radius is not None:
        bounded("radius", radius, FARTHEST)
        if kind not in ("sphere", "tube"):
            raise ValueError("radius must be left out, but for a sphere or a tube")
    if kind == "triangles":
        return partial(_over_triangles, faces=faces)
    if kind == "sphere":
        return partial(_over_sphere, radius=radius)
    if kind == "tube":
        if radius is None:
            raise ValueError("radius must be given for kind='tube'")
        return partial(_over_tube, radius=radius)
    return _over_hull if kind == "hull" else _over_points


def _over_sphere(part: Outline, spacing: float, *, radius: float | None) -> Molecules:
    centre, size = part.points[0], radius
    if size is None:
        centre, size = sphere_through(part.enough("sphere"))
        if not size < FARTHEST:  # NaN too
            raise ValueError(
                "molecules must be four points or more on a sphere, not in a plane, of "
                f"{part.name}"
            )
    count = 4 * math.pi * (size / spacing) * (size / spacing)
    if not count <= MOST:
        refuse_many(spacing)
    away = on_sphere(max(1, round(count)))
    return part.molecules(centre + size * away, _from_z(away))


def _over_tube(part: Outline, spacing: float, *, radius: float) -> Molecules:
    around = 2 * math.pi * radius / spacing
    curve = part.curve()
    if not (around + 1) * (curve.length / spacing + 1) <= MOST:
        refuse_many(spacing)
    rows = max(1, round(around))
    arc = spacing * np.arange(int(curve.length / spacing + 1e-9) + 1)
    arc, azimuth = np.repeat(arc, rows), np.tile(360 / rows * np.arange(rows), len(arc))
    points, along = curve.at(arc)
    outwards = curve.outwards(arc, curve.side(), azimuth)
    places = part.points[0] + points + radius * outwards
    turned = Molecules.from_axes(places, z=outwards, y=along)
    return part.molecules(places, turned.rotations)


def _over_points(part: Outline, spacing: float) -> Molecules:
    points = part.enough("surface")
    normals = cloud_normals(points - points[0])
    kept = spread(points, spacing)
    bad = kept[~np.isfinite(normals[kept]).all(axis=1)]
    if bad.size:
        raise ValueError(
            "molecules must lie on a surface, dense in both ways, but those about "
            f"{points[bad[0]].round(3).tolist()} nm of {part.name} are on a line: "
            "a hull or a sphere needs fewer"
        )
    return part.molecules(points[kept], _from_z(normals[kept]))


def _over_hull(part: Outline, spacing: float) -> Molecules:
    points = part.enough("hull")
    try:
        hull = scipy.spatial.ConvexHull(points - points[0])
    except scipy.spatial.QhullError:
        raise ValueError(
            f"molecules must be points of a hull, not in a plane, of {part.name}"
        ) from None
    corners = points[hull.simplices]
    inside = (triangle_normals(corners) * hull.equations[:, :3]).sum(axis=1) < 0
    corners[inside] = corners[inside][:, ::-1]
    return _on_corners(part, corners, spacing)


def _over_triangles(part: Outline, spacing: float, *, faces: Any) -> Molecules:
    wanted = f"an (m, 3) array of numbers of points, from 0 to {len(part.points) - 1}"
    numbers = check.as_array("faces", wanted, faces)
    if numbers.ndim != 2 or numbers.shape[1] != 3 or numbers.dtype.kind not in "iu":
        fail("faces", wanted, faces)
    if not numbers.size or numbers.min() < 0 or numbers.max() >= len(part.points):
        fail("faces", wanted, faces)
    return _on_corners(part, part.points[numbers], spacing)


def _on_corners(part: Outline, corners: Array, spacing: float) -> Molecules:
    """Seed triangles; normals are means of those within half a spacing, by area."""
    normals = triangle_normals(corners)
    areas = np.linalg.norm(normals, axis=1) / 2
    if not areas.any():
        raise ValueError(f"faces must have an area, of {part.name}")
    if not areas.sum() * (_FINE / spacing) ** 2 + len(corners) <= MOST:
        refuse_many(spacing)
    corners, normals = corners[areas > 0], normals[areas > 0]
    points, owner = on_triangles(corners, spacing / _FINE)
    kept = spread(points, spacing)
    shares = normals[owner] / np.bincount(owner)[owner][:, None]
    near = scipy.spatial.KDTree(points).query_ball_point(points[kept], spacing / 2)
    found = np.array([shares[each].sum(axis=0) for each in near])
    flat = np.linalg.norm(found, axis=1) < 1e-9 * np.abs(shares).max()
    found[flat] = normals[owner[kept[flat]]]
    return part.molecules(points[kept], _from_z(found))


def refuse_many(spacing: Any) -> NoReturn:
    """Refuse a spacing at which there would be too many."""
    fail("spacing", f"so wide that there are {MOST} points at the most", spacing)


def _from_z(directions: Array) -> Rotation:
    """Return the smallest rotations that take z to directions."""
    from scipy.spatial.transform import Rotation

    z = np.array([1.0, 0.0, 0.0])
    units = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    quaternions = np.column_stack([np.cross(z, units), 1 + units @ z])
    quaternions[1 + units @ z < 1e-12] = [0, 1, 0, 0]
    return Rotation.from_quat(quaternions)
