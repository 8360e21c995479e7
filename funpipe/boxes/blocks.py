"""Reading what boxes need of a tomogram: blocks, each shared by neighbours.

Only these blocks are read, so that a tomogram on disk may be larger than memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from funpipe.boxes.opening import Source
from funpipe.io.voxels import read_block
from funpipe.space.precision import Levelled, levelled_values

__all__ = ["Block", "blocks", "extents", "fill_outside"]

_LARGEST = 2**25  # voxels of a block that neighbours share


class Block(NamedTuple):
    """A part of a tomogram that holds the boxes of some of its particles."""

    places: list[int]
    """Which particles, by their places among the tomogram's."""
    low: NDArray[np.intp]
    """Its first voxel, (3,)."""
    raw: NDArray[Any]
    """Its voxels, as they were read, all finite."""
    levelled: Levelled
    """They, in single precision."""


def blocks(
    source: Source, start: NDArray[np.intp], stop: NDArray[np.intp]
) -> Iterator[Block]:
    """Read what particles need; neighbours share a block.

    Parameters
    ----------
    source : Source
        An open tomogram and its particles.
    start, stop : (n, 3) arrays
        For each particle the first voxel that it needs, and the one after the last.

    Raises
    ------
    ValueError
        If there is NaN or infinity in what is read for a particle.
    """
    for group in _neighbours(start, stop):
        low, high = start[group].min(axis=0), stop[group].max(axis=0)
        raw = np.asarray(read_block(source.array, low, high))
        if not np.isfinite(raw).all():
            bad = np.argwhere(~np.isfinite(raw)) + low
            for i in group:
                if ((bad >= start[i]) & (bad < stop[i])).all(axis=1).any():
                    raise ValueError(
                        "tomogram must be finite, but has NaN or infinity near "
                        f"molecules[{source.indices[i]}] at "
                        f"{source.molecules.positions[i].round(3).tolist()} nm"
                    )
        yield Block(group, low, raw, levelled_values(raw))


def extents(
    source: Source, box: tuple[int, int, int], margin: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the first voxels around the boxes, with a margin, and those after them."""
    middle, reach = source.centres(), source.half_extents(box)
    size = np.array(source.shape)
    start = np.clip(np.floor(middle - reach).astype(int) - margin, 0, size - 1)
    stop = np.clip(np.ceil(middle + reach).astype(int) + margin + 1, 1, size)
    return start, stop


def fill_outside(boxes: NDArray[np.float32], source: Source) -> None:
    """Give voxels of boxes that lie outside the tomogram the mean of those inside."""
    box = boxes.shape[1:]
    for i in np.flatnonzero(source.leaving(box)):
        inside = source.inside(box, int(i))
        boxes[i][~inside] = boxes[i][inside].mean(dtype=np.float64)


def _neighbours(start: NDArray[np.intp], stop: NDArray[np.intp]) -> list[list[int]]:
    """Group blocks that together are no larger than one by one."""
    groups: list[list[int]] = []
    bounds: list[tuple[NDArray[np.intp], NDArray[np.intp], int]] = []
    for i in np.lexsort((start // 32).T[::-1]):
        volume = int(np.prod(stop[i] - start[i]))
        for g in range(len(groups) - 1, max(-1, len(groups) - 9), -1):
            low = np.minimum(bounds[g][0], start[i])
            high = np.maximum(bounds[g][1], stop[i])
            together = int(np.prod(high - low))
            if together <= min(bounds[g][2] + volume, _LARGEST):
                groups[g].append(int(i))
                bounds[g] = (low, high, bounds[g][2] + volume)
                break
        else:
            groups.append([int(i)])
            bounds.append((start[i], stop[i], volume))
    return groups
