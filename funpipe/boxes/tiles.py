"""Tiles of a tomogram, which overlap, and the places in them that are looked at.

Places are a step apart, from voxel 0 on, all over the tomogram; each is in one tile,
at least a margin from its faces. A tile is a chunk of a tomogram as particles are, at
the position of its first voxel, so that it travels and is kept as those.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.base.molecules import Molecules
from funpipe.boxes.chunks import Chunk
from funpipe.boxes.cropping import without_outliers
from funpipe.boxes.opening import Source
from funpipe.io.voxels import read_block
from funpipe.space.crops import Support

__all__ = [
    "Filled",
    "Plan",
    "Scan",
    "Tile",
    "ball_diameter",
    "beads_in",
    "first_place",
    "nearest_voxels",
    "plan_tiles",
    "read_tile",
    "scanned",
    "tile_chunks",
]

Array: TypeAlias = NDArray[Any]
Shape: TypeAlias = tuple[int, int, int]

_PLACES = 64  # of a tile along an axis, where its margins leave half of that or more
_SCANNED = 2**24  # voxels that are looked at together


class Plan(NamedTuple):
    """How a tomogram is divided into tiles."""

    shape: Shape
    """Voxels of the tomogram."""
    step: float
    """Voxels between places, a multiple of ½."""
    inside: Shape
    """Voxels that places are from the tomogram's faces, at the least."""
    places: Shape
    """Of a tile, with its margins, even numbers."""
    margin: Shape
    """Of them, those at each face that are not its own."""
    first: NDArray[np.intp]
    """(t, 3), number of each tile's first place, even; negative ones are outside."""

    @property
    def voxels(self) -> Shape:
        """Return the voxels of a tile."""
        z, y, x = (round(n * self.step) for n in self.places)
        return z, y, x

    def own(self, first: Array) -> NDArray[np.bool_]:
        """Tell which places of a tile are its own, with all that they need inside."""
        found = []
        for start, n, margin, size, away in zip(
            first, self.places, self.margin, self.shape, self.inside, strict=True
        ):
            number = np.arange(n)
            voxel = nearest_voxels(start + number, self.step)
            inside = (voxel >= away) & (voxel <= size - 1 - away)
            found.append(inside & (number >= margin) & (number < n - margin))
        z, y, x = np.meshgrid(*found, indexing="ij", sparse=True)
        return np.asarray(z & y & x)

    def places_of_all(self) -> int:
        """Return how many places there are in all tiles."""
        return sum(int(self.own(each).sum()) for each in self.first)


def plan_tiles(shape: Shape, step: float, inside: Shape, around: int) -> Plan:
    """Divide a tomogram.

    Parameters
    ----------
    shape : (int, int, int)
        Its voxels.
    step : float
        Voxels between places, a multiple of ½.
    inside : (int, int, int)
        Voxels that places are from the faces, at the least.
    around : int
        Voxels about a place that are needed; outside the tomogram they are filled.

    Examples
    --------
    >>> plan = plan_tiles((40, 100, 200), 2.0, (10, 10, 10), 12)
    >>> plan.places, len(plan.first), plan.places_of_all()
    ((30, 60, 64), 2, 36000)
    >>> plan_tiles((8, 8, 8), 1.0, (4, 4, 4), 5).places_of_all()
    0
    """
    margin = 2 * math.ceil((around + 1) / step / 2)
    axes, places = [], []
    for size, away in zip(shape, inside, strict=True):
        low = 2 * math.floor(away / step / 2)
        count = math.floor((size - 1 - away) / step) - low + 1
        most = max(_PLACES, 4 * margin) - 2 * margin
        tiles = max(1, math.ceil(count / most))
        own = 2 * math.ceil(max(count, 1) / tiles / 2)
        n = own + 2 * margin
        while n % 2 or scipy.fft.next_fast_len(n, real=True) != n:
            n += 1
        own = n - 2 * margin
        axes.append(low - margin + own * np.arange(math.ceil(count / own)))
        places.append(n)
    first = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    z, y, x = places
    return Plan(shape, step, inside, (z, y, x), (margin,) * 3, first)


def tile_chunks(source: Source, plan: Plan) -> list[Chunk]:
    """Return the tiles of an open tomogram as chunks of it."""
    corners = plan.first * plan.step * source.scale
    there = source._replace(
        molecules=Molecules(corners), indices=np.arange(len(corners))
    )
    return [Chunk(there, np.array([i])) for i in range(len(corners))]


class Tile(NamedTuple):
    """The voxels of a tile."""

    values: NDArray[np.float32]
    """Of a mean of about 0 and a spread of about 1; what lies outside the tomogram or
    is not finite is 0, and so are beads of gold."""
    first: NDArray[np.intp]
    """(3,), number of its first place."""
    free: NDArray[np.bool_]
    """Of its places, those farther than the template's radius from all beads."""


def first_place(source: Source, plan: Plan) -> NDArray[np.intp]:
    """Return the number of the first place of a chunk's tile, (3,)."""
    (corner,) = source.molecules.positions
    return np.round(corner / source.scale / plan.step).astype(np.intp)


def read_tile(source: Source, plan: Plan, support: Support, scan: Scan) -> Tile:
    """Read the tile that a tomogram's one particle is at."""
    first = first_place(source, plan)
    start = nearest_voxels(first, plan.step)
    low = np.maximum(start, 0)
    high = np.minimum(start + plan.voxels, plan.shape)
    tile = np.zeros(plan.voxels, np.float32)
    block = np.asarray(read_block(source.array, low, high))
    known = np.where(np.isfinite(block), block, scan.mean).astype(np.float64)
    inside = tuple(map(slice, low - start, high - start))
    tile[inside] = (known - scan.mean) / scan.spread
    beads = beads_in(tile, support)
    tile[beads] = 0
    return Tile(tile, first, _away_from(beads, plan, support.radius))


def beads_in(tile: NDArray[np.float32], support: Support) -> NDArray[np.bool_]:
    """Tell which voxels are of beads, (z, y, x).

    They are those that are outliers, see `funpipe.boxes.cropping`, of all boxes about
    them, of which one holds any particle as a whole.
    """
    found = np.zeros(tile.shape, bool)
    if without_outliers(tile, tile.size) is tile:
        return found
    seen, side = np.zeros(tile.shape, bool), int(support.periods[0])
    starts = (range(0, max(1, n - side), side // 2) for n in tile.shape)
    for corner in itertools.product(*starts):
        part = tuple(slice(i, i + side + side // 2) for i in corner)
        clean = without_outliers(tile[part], support.bulk)
        outlying = clean != tile[part]
        found[part] = outlying & (found[part] | ~seen[part])
        seen[part] = True
    return found


def _away_from(beads: Array, plan: Plan, reach: float) -> NDArray[np.bool_]:
    """Tell which places of a tile are farther than so many voxels from all beads."""
    if not beads.any():
        return np.ones(plan.places, bool)
    away = scipy.ndimage.distance_transform_edt(~beads) > reach
    axes = [
        np.minimum(nearest_voxels(np.arange(n), plan.step), size - 1)
        for n, size in zip(plan.places, plan.voxels, strict=True)
    ]
    return np.asarray(away[np.ix_(*axes)])


def ball_diameter(voxels: float) -> float:
    """Return the diameter of a ball of so many voxels.

    Examples
    --------
    >>> round(ball_diameter(113.1), 2)
    6.0
    """
    return float(2 * (3 * max(voxels, 1) / (4 * math.pi)) ** (1 / 3))


def nearest_voxels(numbers: Any, step: float) -> NDArray[np.intp]:
    """Return the voxels nearest to places, by their numbers; halves go up."""
    return np.floor(np.asarray(numbers) * step + 0.5).astype(np.intp)


class Scan(NamedTuple):
    """What a tomogram's voxels are like."""

    mean: float
    spread: float
    """Their standard deviation, beads and all, or 1 where they are all alike."""
    bad: tuple[Array, Array] | None
    """The first and the last voxel of a box that holds all that are not finite."""
    bad_voxels: int
    """How many those are."""


@dataclass(frozen=True)
class Filled:
    """A volume with a number in place of what is not finite."""

    array: Any
    value: float

    @property
    def shape(self) -> Any:
        """Return its voxels, z, y, x."""
        return self.array.shape

    @property
    def dtype(self) -> Any:
        """Return the type of its numbers."""
        return self.array.dtype

    def __getitem__(self, where: Any) -> NDArray[Any]:
        block = np.asarray(self.array[where])
        return np.where(np.isfinite(block), block, block.dtype.type(self.value))


def scanned(source: Source) -> Scan:
    """Look at all voxels of a tomogram, some sections at a time."""
    size = max(1, _SCANNED // math.prod(source.shape[1:]))
    total = square = 0.0
    count = bad = 0
    lows, highs = [], []
    origin = None
    for z in range(0, source.shape[0], size):
        high = (min(z + size, source.shape[0]), *source.shape[1:])
        block = np.asarray(read_block(source.array, (z, 0, 0), high))
        finite = np.isfinite(block)
        if not finite.all():
            where = np.argwhere(~finite)
            bad += len(where)
            lows.append(where.min(axis=0) + np.array([z, 0, 0]))
            highs.append(where.max(axis=0) + np.array([z, 0, 0]))
            block = block[finite]
        if not block.size:
            continue
        values = block.astype(np.float64)
        origin = float(values.flat[0]) if origin is None else origin
        values -= origin
        total += float(values.sum())
        square += float(np.square(values).sum())
        count += values.size
    box = (np.min(lows, axis=0), np.max(highs, axis=0)) if lows else None
    mean = total / max(count, 1)
    variance = max(square / max(count, 1) - mean**2, 0.0)
    known = math.sqrt(variance) > 1e-12 * abs(mean + (origin or 0.0))
    spread = math.sqrt(variance) if known else 1.0
    return Scan(mean + (origin or 0.0), spread or 1.0, box, bad)
