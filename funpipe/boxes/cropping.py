"""Cutting crops: along the tomogram's axes, not turned, each of a level of its own.

What lies outside the tomogram gets the mean of what lies inside, under the window that
crops are seen through. What is far brighter or darker than all else in a crop, as beads
of gold are, is taken out: see `without_outliers`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.boxes.blocks import blocks
from funpipe.boxes.chunks import (
    Chunk,
    chunk_keys,
    chunk_size,
    chunks,
    opened,
    stays,
)
from funpipe.boxes.opening import Source, in_tomogram, some_of
from funpipe.space.crops import Crops, Support, crop_shape, windows_of
from funpipe.space.geometry import centre
from funpipe.space.tilts import Tilt
from funpipe.space.transfer import placed

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = [
    "Boxes",
    "CropPiece",
    "crop_pieces",
    "cropped_boxes",
    "crops_of",
    "without_outliers",
]

_OUTLYING = 4.0  # times what nearly all voxels are within; of Gaussian noise 8.7 σ
_RARE = 0.03  # of a crop's voxels, at the most, are outliers
_AROUND = 2  # voxels that an outlier shines into
_ENOUGH = 100  # voxels among a sample beyond the limit that nearly all are within


class CropPiece(NamedTuple):
    """Some particles of one tomogram, and their crops."""

    indices: NDArray[np.intp]
    """Which of all the particles they are."""
    crops: Crops
    """Their subtomograms."""
    orientations: Rotation
    """From their frames to the tomogram's."""
    tilt: Tilt
    """What their tilt series measured, as they saw it."""


class Boxes(NamedTuple):
    """Boxes of particles, divided into chunks, that are cut when their turn comes."""

    chunks: Sequence[Any]
    """All of them, each with ``indices``, of its particles."""
    parts: Callable[[Sequence[Any], Path | None], Iterable[Any]]
    """Makes of chunks what ``cut`` takes: with None for this process, with a folder
    for files for others."""
    cut: Callable[[Any], CropPiece]
    """Cuts the boxes of a part, in any process."""
    some_of: Callable[[NDArray[np.intp]], Iterable[CropPiece]]
    """Cuts those of some particles, given their numbers in rising order."""
    keys: Callable[[], list[str]]
    """Makes hashes of what each chunk's boxes are."""


def crop_pieces(
    sources: list[Source], support: Support, size: int
) -> Iterator[CropPiece]:
    """Cut all particles' crops, some at a time, tomogram by tomogram."""
    return map(partial(crop_piece, support=support), opened(chunks(sources, size)))


def crop_piece(chunk: Source | CropPiece, support: Support) -> CropPiece:
    """Cut the crops of a chunk, in any process; those that are cut stay as they are."""
    if isinstance(chunk, CropPiece):
        return chunk
    with in_tomogram(chunk.name):
        crops = crops_of(chunk.reopened(), support)
    extent = min(support.periods) * chunk.scale
    tilt = placed(chunk.tilt, chunk.places(), extent)
    return CropPiece(chunk.indices, crops, chunk.molecules.rotations, tilt)


def cropped_boxes(sources: list[Source], support: Support) -> Boxes:
    """Return the particles of tomograms as boxes that are cropped in their turn.

    Parameters
    ----------
    sources : list of Source
        The tomograms and their particles.
    support : Support
        What of a subtomogram counts.

    Raises
    ------
    ValueError
        If the first chunk cannot be cut. It is cut at once, so that what is wrong with
        all of them is said before there is any work.
    """
    size = chunk_size(crop_shape(support, _TURN))
    divided, crop = chunks(sources, size), partial(crop_piece, support=support)
    return Boxes(
        divided,
        partial(_parts, crop, divided[0], crop(next(opened(divided)))),
        crop,
        partial(_some, sources, support, size),
        partial(chunk_keys, divided),
    )


_TURN = np.array([[[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]])


def _parts(
    crop: Callable[[Source], CropPiece],
    first: Chunk,
    piece: CropPiece,
    some: Sequence[Chunk],
    folder: Path | None,
) -> Iterator[Source | CropPiece]:
    """Yield chunks, the first as it was cut; for others all that travel to be cut."""
    if folder is None:
        yield from (piece for each in some[:1] if each is first)
        yield from opened(each for each in some if each is not first)
    else:
        yield from (
            crop(each) if stays(each) else each for each in opened(some, folder)
        )


def _some(
    sources: list[Source], support: Support, size: int, chosen: NDArray[np.intp]
) -> Iterator[CropPiece]:
    return crop_pieces(some_of(sources, chosen), support, size)


def crops_of(source: Source, support: Support) -> Crops:
    """Cut the crops of all of a tomogram's particles.

    Parameters
    ----------
    source : Source
        An open tomogram and its particles.
    support : Support
        What of a subtomogram counts.

    Returns
    -------
    Crops
        Of mean 0 and a root mean square of 1 under their windows, or all 0. A box of
        the support is as large as a turned one may be.

    Raises
    ------
    ValueError
        If the tomogram has NaN or infinity where a crop needs it.
    """
    turns = source.molecules.rotations.as_matrix()
    shape = crop_shape(support, turns)
    middle, size = source.centres(), np.array(source.shape)
    # Halves go up, also where rounding has left a little less.
    first = np.floor(middle - centre(shape) + 0.5 + 1e-6).astype(np.intp)
    offsets = middle - (first + centre(shape))
    start: NDArray[np.intp] = np.clip(first, 0, size - 1)
    stop: NDArray[np.intp] = np.clip(first + np.array(shape), 1, size)
    crops = Crops(np.zeros((len(turns), *shape), np.float32), offsets, turns)
    leaving = np.asarray((first < 0) | (first + shape > size)).any(axis=1)
    windows = _windows(crops, support, np.asarray(leaving))
    for block in blocks(source, start, stop):
        for i in block.places:
            there = _slices(start[i] - block.low, stop[i] - block.low)
            inside = _slices(start[i] - first[i], stop[i] - first[i])
            values = without_outliers(block.levelled.values[there], support.bulk)
            w = windows[min(i, len(windows) - 1)][inside]
            crops.values[i][inside] = _settled(values, w)
    return crops


def _windows(
    crops: Crops, support: Support, leaving: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return what the crops are weighted with; turned boxes that leave need their own.

    The level of others does not matter: it is taken off with each transform.
    """
    if not math.isinf(support.radius):
        return windows_of(crops.take(slice(1)), support)
    whole = np.ones((1, *crops.values.shape[1:]), np.float32)
    if not leaving.any():
        return whole
    windows = np.repeat(whole, len(leaving), axis=0)
    for i in np.flatnonzero(leaving):
        windows[i] = windows_of(crops.take(slice(i, i + 1)), support)[0]
    return windows


def _slices(start: NDArray[Any], stop: NDArray[Any]) -> tuple[slice, ...]:
    return tuple(map(slice, np.maximum(start, 0), stop))


def _settled(values: NDArray[np.float32], w: NDArray[np.float32]) -> NDArray[Any]:
    """Return values with a weighted mean of 0 and a weighted mean square of 1."""
    weight = float(w.sum())
    values = values - values.flat[0]  # of a constant nothing is left, not rounding
    if not weight:
        return np.zeros_like(values)
    w = w.reshape(-1)
    values -= np.float32(np.dot(values.reshape(-1), w) / weight)
    square = float(np.dot(np.square(values).reshape(-1), w)) / weight
    return values / np.float32(math.sqrt(square)) if square > 0 else values


def without_outliers(values: NDArray[np.float32], bulk: int) -> NDArray[np.float32]:
    """Return values with the median in place of outliers, and close around them.

    Outliers are further from the median than four times the limit that all but 3 % of
    the voxels are within. Of Gaussian noise that is 8.7 standard deviations, so that
    none is met in any tomogram; a bead of gold in it is 20 to 100. Without noise, a
    small particle is all that there is: so the limit is never such that more voxels
    are beyond it than the ``bulk`` of the template's that are more than 0.3 of its
    largest, and the template itself stays within four times it.

    The limit is that of a sample, where a sample tells.
    """
    flat = values.reshape(-1)
    rare = min(_RARE, bulk / flat.size)
    step = max(1, int(rare * flat.size / _ENOUGH))
    while math.gcd(step, values.shape[2]) > 1:  # or only some columns were looked at
        step -= 1
    sample = np.ascontiguousarray(flat[::step])
    median = np.partition(sample, sample.size // 2)[sample.size // 2]
    apart = np.abs(sample - median)
    nearly = sample.size - 1 - int(rare * sample.size)
    limit = np.float32(_OUTLYING) * np.partition(apart, nearly)[nearly]
    if limit == 0 or max(flat.max() - median, median - flat.min()) <= limit:
        return values
    outlying = np.abs(values - median) > limit
    around = scipy.ndimage.binary_dilation(outlying, iterations=_AROUND)
    return np.where(around, median, values)
