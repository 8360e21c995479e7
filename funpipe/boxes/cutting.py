"""Cutting subtomograms: boxes sampled from a tomogram in each particle's own frame.

Box voxel p of a particle at x with rotation R holds the tomogram at
x + R @ (p − c) · scale, where c = (n − 1) / 2 is the centre of the box.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from funpipe.base import arguments as check
from funpipe.base.molecules import as_molecules
from funpipe.boxes.blocks import blocks, extents, fill_outside
from funpipe.boxes.chunks import Chunk, chunk_size, chunks, opened, stays
from funpipe.boxes.opening import (
    Source,
    check_inside,
    check_some,
    in_tomogram,
    open_tomogram,
    warn_of_leaving,
)
from funpipe.space.geometry import centre
from funpipe.space.splines import fill_from_splines, spline_coefficients
from funpipe.space.tilts import Tilt
from funpipe.space.transfer import placed

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = ["Piece", "cut_piece", "pieces", "pieces_to_cut", "subtomograms"]

# The spline's prefilter forgets by 0.27 a voxel: at 12 voxels from the edge of a
# block the coefficients are those of the whole tomogram to 1e-7.
_MARGIN = 12
_FAINT = 1e-4  # of a block's spread: more than splines leave of it in a flat box


class Piece(NamedTuple):
    """Some particles of one tomogram, and their boxes."""

    indices: NDArray[np.intp]
    """Which of all the particles they are."""
    boxes: NDArray[np.float32]
    """Their subtomograms, (n, z, y, x)."""
    rotations: Rotation
    """From their frames to the tomogram's."""
    tilt: Tilt
    """What their tilt series measured, as they saw it."""


def subtomograms(
    tomogram: Any, molecules: Any, *, shape: Any, scale: float | None = None
) -> NDArray[np.float32]:
    """Cut subtomograms, each in its particle's own frame, by cubic splines.

    Between voxels a cubic spline keeps 98.6 % of a wave of 4 voxels along an axis,
    94 % of one of 3, 83 % of one of 2.5 (M. Unser, IEEE Signal Processing Magazine
    16(6), 22, 1999); at the tomogram's own voxels all.

    Parameters
    ----------
    tomogram : array-like, path, or Tomogram
        Axes z, y, x; of a file only the blocks that are needed are read.
    molecules : Molecules, (n, 3) array, or object with .pos and .rotator
        Where the particles are, in nm, and how they are turned.
    shape : int or (int, int, int)
        Voxels of a box along z, y, x.
    scale : float, optional
        nm per voxel; by default what the tomogram's file says.

    Returns
    -------
    (n, z, y, x) array of float32
        The boxes.

    Raises
    ------
    ValueError
        If there are no particles, one's box lies wholly outside the tomogram, or
        the tomogram has NaN or infinity where a box needs it.

    Warns
    -----
    UserWarning
        If boxes leave the tomogram; their voxels out there are the mean of those
        inside.

    Examples
    --------
    >>> tomogram = np.arange(1000.0).reshape(10, 10, 10)
    >>> boxes = subtomograms(tomogram, np.array([[5.0, 5.0, 5.0]]), shape=3, scale=1.0)
    >>> boxes[0, 1, 1].round(3)
    array([554., 555., 556.], dtype=float32)
    """
    particles = as_molecules("molecules", molecules)
    source = open_tomogram(tomogram, particles, scale)
    box = check.box("shape", check.shape("shape", shape))
    check_some(particles)
    warn_of_leaving(check_inside([source], box), len(particles))
    return np.concatenate([each.boxes for each in pieces([source], box)])


def pieces(sources: list[Source], box: tuple[int, int, int]) -> Iterator[Piece]:
    """Cut all particles' boxes, some at a time, tomogram by tomogram."""
    cut = partial(cut_piece, box=box, threads=check.processors())
    return map(cut, opened(chunks(sources, chunk_size(box))))


def pieces_to_cut(
    box: tuple[int, int, int], some: Iterable[Chunk], folder: Path | None
) -> Iterator[Source | Piece]:
    """Yield chunks that whoever works on them cuts; those that stay here are cut."""
    for each in opened(some, folder):
        yield cut_piece(each, box) if folder is not None and stays(each) else each


def cut_piece(
    chunk: Source | Piece, box: tuple[int, int, int], threads: int = 1
) -> Piece:
    """Cut the boxes of a chunk, in any process; those that are cut stay as they are."""
    if isinstance(chunk, Piece):
        return chunk
    with in_tomogram(chunk.name):
        boxes = _cut(chunk.reopened(), box, threads)
    tilt = placed(chunk.tilt, chunk.places(), min(box) * chunk.scale)
    return Piece(chunk.indices, boxes, chunk.molecules.rotations, tilt)


def _cut(
    source: Source, box: tuple[int, int, int], threads: int
) -> NDArray[np.float32]:
    """Cut the boxes of all of a tomogram's particles, (n, z, y, x), by cubic splines.

    Neighbours share a block that is read and filtered once; threads interpolate.
    """
    turns = source.molecules.rotations.as_matrix()
    boxes = np.empty((len(turns), *box), np.float32)
    corner = source.centres() - turns @ centre(box)
    start, stop = extents(source, box, 0)
    with ThreadPoolExecutor(threads) as pool:
        each_by = pool.map if threads > 1 else map
        for block in blocks(source, *extents(source, box, _MARGIN)):
            places, low, raw, (values, level, unit, spread) = block
            _check_held(level, unit * spread)
            coefficients = spline_coefficients(values)
            list(
                each_by(
                    partial(fill_from_splines, coefficients),
                    turns[places],
                    corner[places] - low,
                    [boxes[i] for i in places],
                )
            )
            for each in places:
                around = tuple(map(slice, start[each] - low, stop[each] - low))
                there = raw[around]
                flat = there.min() == there.max()  # of booleans too
                if flat and np.ptp(boxes[each]) <= _FAINT * spread:
                    boxes[each] = boxes[each].mean(dtype=np.float64)
                if (level, unit) != (0.0, 1.0):
                    values = boxes[each].astype(np.float64) * unit + level
                    _check_held(0.0, float(np.abs(values).max()))  # splines overshoot
                    boxes[each] = values
    fill_outside(boxes, source)
    return boxes


def _check_held(level: float, spread: float) -> None:
    """Refuse values that boxes of single precision cannot hold at their own scale."""
    largest = abs(level) + spread
    if largest > float(np.finfo(np.float32).max):
        raise ValueError(
            "tomogram must have values that single precision holds, up to 3e38, not "
            f"{largest:.3g}"
        )
