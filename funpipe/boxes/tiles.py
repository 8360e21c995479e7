"""Tiles of a tomogram, which overlap, and the places in them that are looked at.

Places are a step apart, from voxel 0 on, all over the tomogram; each is in one tile,
at least a margin from its faces. A tile is a chunk of a tomogram as particles are, at
the position of its first voxel, so that it travels and is kept as those.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.base.molecules import Molecules
from funpipe.boxes.chunks import Chunk
from funpipe.boxes.opening import Source
from funpipe.io.voxels import read_block

__all__ = [
    "Filled",
    "Plan",
    "Scan",
    "Tile",
    "ball_diameter",
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
    half: int
    """Voxels about a place that have to be there."""
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
        for start, n, margin, size in zip(
            first, self.places, self.margin, self.shape, strict=True
        ):
            number = np.arange(n)
            voxel = nearest_voxels(start + number, self.step)
            inside = (voxel >= self.half) & (voxel <= size - 1 - self.half)
            found.append(inside & (number >= margin) & (number < n - margin))
        z, y, x = np.meshgrid(*found, indexing="ij", sparse=True)
        return np.asarray(z & y & x)

    def places_of_all(self) -> int:
        """Return how many places there are in all tiles."""
        return sum(int(self.own(each).sum()) for each in self.first)


def plan_tiles(shape: Shape, step: float, half: int, reach: int = 1) -> Plan:
    """Divide a tomogram.

    Parameters
    ----------
    shape : (int, int, int)
        Its voxels, more than 2 half along each axis.
    step : float
        Voxels between places, a multiple of ½.
    half : int
        Voxels about a place that have to be there.
    reach : int
        Voxels from a place to others that are looked at from there.

    Examples
    --------
    >>> plan = plan_tiles((40, 100, 200), 2.0, 10)
    >>> plan.places, len(plan.first), plan.places_of_all()
    ((24, 54, 60), 2, 36000)
    """
    margin = 2 * math.ceil((half + 1 + reach) / step / 2)
    axes, places = [], []
    for size in shape:
        low = 2 * math.floor(half / step / 2)
        count = math.floor((size - 1 - half) / step) - low + 1
        most = max(_PLACES, 4 * margin) - 2 * margin
        tiles = math.ceil(count / most)
        own = 2 * math.ceil(count / tiles / 2)
        n = own + 2 * margin
        while n % 2 or scipy.fft.next_fast_len(n, real=True) != n:
            n += 1
        own = n - 2 * margin
        axes.append(low - margin + own * np.arange(math.ceil(count / own)))
        places.append(n)
    first = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    z, y, x = places
    nz, ny, nx = shape
    return Plan((nz, ny, nx), step, half, (z, y, x), (margin,) * 3, first)


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
    is not finite is 0."""
    first: NDArray[np.intp]
    """(3,), number of its first place."""


def read_tile(source: Source, plan: Plan, scan: Scan) -> Tile:
    """Read the tile that a tomogram's one particle is at."""
    (corner,) = source.molecules.positions
    first = np.round(corner / source.scale / plan.step).astype(np.intp)
    start = nearest_voxels(first, plan.step)
    low = np.maximum(start, 0)
    high = np.minimum(start + plan.voxels, plan.shape)
    tile = np.zeros(plan.voxels, np.float32)
    block = np.asarray(read_block(source.array, low, high))
    known = np.where(np.isfinite(block), block, scan.mean).astype(np.float64)
    inside = tuple(map(slice, low - start, high - start))
    tile[inside] = (known - scan.mean) / scan.spread
    return Tile(tile, first)


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
