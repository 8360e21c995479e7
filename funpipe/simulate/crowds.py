"""What else is in a tomogram: other molecules, membranes, beads of gold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.simulate.images import (
    Ball,
    Blobs,
    Body,
    asymmetric_molecule,
    image_of,
    reach_of,
)

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = [
    "Copy",
    "Crowd",
    "Sheet",
    "add_sheet",
    "beads_among",
    "cut_out",
    "densest",
    "neighbours_among",
    "overlap",
    "sheets",
]

Array: TypeAlias = NDArray[Any]
Shape: TypeAlias = tuple[int, int, int]

_TRIES = 1000  # of places for each body, before there is said to be no room
_BLOBS = 24  # of another molecule
_CURVED = 40.0, 150.0  # nm, radii of membranes
_LEAFLET = 2.0  # nm, of a membrane's middle from where its lipids' heads are
_THIN = 0.6  # nm, standard deviation of a leaflet
_FAINT = 0.5  # of the molecule's largest density, a membrane's
_EDGE = 1.0  # nm, over which membranes end where a body is


class Copy(NamedTuple):
    """A body at a pose."""

    body: Body
    position: NDArray[np.float64]
    """nm from the first voxel's centre, z, y, x."""
    rotation: Rotation | None = None


class Crowd(NamedTuple):
    """What bodies are put among."""

    shape: Shape
    """Voxels of the tomogram."""
    scale: float
    copies: tuple[Copy, ...]
    """That are there, and not touched."""


class Sheet(NamedTuple):
    """A membrane: two leaflets of a sphere."""

    point: NDArray[np.float64]
    """nm from the first voxel's centre, on it."""
    normal: NDArray[np.float64]
    """There, from the sphere's centre outwards."""
    radius: float
    """nm."""
    density: float
    """The largest of a leaflet."""


def neighbours_among(
    crowd: Crowd, body: Body, count: int, random: np.random.Generator
) -> Crowd:
    """Add molecules as large and as strong as a body, each of another kind.

    They lie at random, do not touch what is there or each other, and as images at the
    scale have the body's sum of squares.
    """
    from scipy.spatial.transform import Rotation

    power = np.linalg.norm(_whole_image(body, crowd.scale))
    for _ in range(count):
        other = _other_molecule(body, crowd.scale, int(random.integers(2**32)))
        strength = power / np.linalg.norm(_whole_image(other, crowd.scale))
        other = other._replace(weights=other.weights * strength)
        rotation = Rotation.random(rng=random)
        crowd = _put("neighbours", count, crowd, Copy(other, _CORNER, rotation), random)
    return crowd


def beads_among(
    crowd: Crowd, bead: Ball, count: int, random: np.random.Generator
) -> Crowd:
    """Add beads at random, which do not touch what is there or each other."""
    for _ in range(count):
        crowd = _put("beads", count, crowd, Copy(bead, _CORNER), random)
    return crowd


_CORNER = np.zeros(3)


def _put(
    name: str, count: int, crowd: Crowd, copy: Copy, random: np.random.Generator
) -> Crowd:
    """Add a copy where there is room."""
    size = (np.array(crowd.shape) - 1) * crowd.scale
    there = np.array([each.position for each in crowd.copies]).reshape(-1, 3)
    reaches = np.array([reach_of(each.body) for each in crowd.copies])
    for _ in range(_TRIES):
        place = random.uniform(0, size)
        away = np.linalg.norm(there - place, axis=1)
        if (away >= reaches + reach_of(copy.body)).all():
            return crowd._replace(copies=(*crowd.copies, copy._replace(position=place)))
    raise ValueError(
        f"{name} must be as many as there is room for without touching what is "
        f"there: no place was found for all {count} in {_TRIES:,} tries for each"
    )


def _other_molecule(body: Body, scale: float, seed: int) -> Blobs:
    reach = reach_of(body)
    sigma = max(scale, reach / 10)
    return asymmetric_molecule(
        seed, count=_BLOBS, radius=max(0.0, reach - 4 * sigma), sigma=sigma
    )


def densest(body: Body, scale: float) -> float:
    """Return a body's largest density, of either sign."""
    return float(np.abs(_whole_image(body, scale)).max())


def _whole_image(body: Body, scale: float) -> Array:
    size = 2 * int(np.ceil(reach_of(body) / scale)) + 1
    return image_of(body, (size,) * 3, scale, None, _CORNER)


def sheets(
    crowd: Crowd, body: Body, count: int, random: np.random.Generator
) -> tuple[Sheet, ...]:
    """Return membranes through random points, half as dense as a body at the most."""
    density = _FAINT * densest(body, crowd.scale)
    size = (np.array(crowd.shape) - 1) * crowd.scale
    found = []
    for _ in range(count):
        normal = random.normal(size=3)
        normal /= np.linalg.norm(normal)
        point, radius = random.uniform(0, size), random.uniform(*_CURVED)
        found.append(Sheet(point, normal, radius, density))
    return tuple(found)


def add_sheet(density: Array, sheet: Sheet, scale: float, clear: Array) -> None:
    """Add a membrane to a density, times how clear of bodies each voxel is."""
    nz, ny, nx = density.shape
    middle = sheet.point - sheet.radius * sheet.normal
    sigma = max(_THIN, 0.7 * scale)
    y = (np.arange(ny) * scale - middle[1])[:, None]
    x = np.arange(nx) * scale - middle[2]
    for i in range(nz):
        z = i * scale - middle[0]
        depth = np.sqrt(z**2 + y**2 + x**2) - sheet.radius
        leaflets = sum(
            np.exp(-np.square((depth - side) / sigma) / 2)
            for side in (-_LEAFLET, _LEAFLET)
        )
        density[i] += sheet.density * clear[i] * leaflets


def cut_out(crowd: Crowd) -> NDArray[np.float32]:
    """Return 0 where bodies reach, 1 elsewhere, and the way between them."""
    clear = np.ones(crowd.shape, np.float32)
    for each in crowd.copies:
        reach = reach_of(each.body)
        half = int(np.ceil((reach + _EDGE) / crowd.scale))
        voxel = np.round(each.position / crowd.scale).astype(int)
        there, here = overlap(voxel, (half,) * 3, crowd.shape)
        grid = (np.arange(-half, half + 1) * crowd.scale for _ in range(3))
        away = np.meshgrid(*grid, indexing="ij", sparse=True)
        beside = each.position - voxel * crowd.scale
        z, y, x = (np.square(a - b) for a, b in zip(away, beside, strict=True))
        free = np.clip((np.sqrt(z + y + x) - reach) / _EDGE, 0, 1)
        clear[there] = np.minimum(clear[there], free[here])
    return clear


def overlap(
    voxel: Array, half: Sequence[int], shape: Sequence[int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return where a box of 2 half + 1 about a voxel lies, and which part of it.

    Examples
    --------
    >>> overlap(np.array([0]), [2], [10])
    ((slice(0, 3, None),), (slice(2, 5, None),))
    """
    reach = np.asarray(half)
    low, high = np.maximum(voxel - reach, 0), np.minimum(voxel + reach + 1, shape)
    high = np.maximum(low, high)  # nothing, where it lies outside
    first, last = (low - voxel + reach).tolist(), (high - voxel + reach).tolist()
    there = tuple(map(slice, low.tolist(), high.tolist()))
    return there, tuple(map(slice, first, last))
