"""Cutting crops: along the tomogram's axes, not turned, each of a level of its own.

What lies outside the tomogram gets the mean of what lies inside, under the window that
crops are seen through. What is far brighter or darker than all else in a crop, as beads
of gold are, is taken out: see `without_outliers`.
"""

from __future__ import annotations

import itertools
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
_TOGETHER = 2**18  # voxels of crops that are worked on at a time, in the cache
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
    apart: bool = False
    """Whether they are cut from files alone, which any process opens."""


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
    count = sum(len(each.indices) for each in sources)
    size = chunk_size(crop_shape(support, _TURN), count)
    divided, crop = chunks(sources, size), partial(crop_piece, support=support)
    return Boxes(
        divided,
        partial(_parts, crop, divided[0], crop(next(opened(divided)))),
        crop,
        partial(_some, sources, support, size),
        partial(chunk_keys, divided),
        all(each.path is not None for each in sources),
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
            crops.values[i][inside] = block.levelled.values[there]
    many = 1 if len(windows) > 1 else max(1, _TOGETHER // math.prod(shape))
    for some, inside in _alike(start - first, stop - first, many):
        w = windows[min(some.start, len(windows) - 1)][inside]
        values = without_outliers(crops.values[some, *inside], support.bulk)
        crops.values[some, *inside] = _settled(values, w)
    return crops


def _alike(
    start: NDArray[np.intp], stop: NDArray[np.intp], most: int
) -> Iterator[tuple[slice, tuple[slice, ...]]]:
    """Yield which crops in a row have the same voxels in the tomogram, and these."""
    bounds = np.concatenate([start, stop], axis=1).tolist()
    for bound, several in itertools.groupby(range(len(bounds)), bounds.__getitem__):
        inside = _slices(np.array(bound[:3]), np.array(bound[3:]))
        numbers = list(several)
        for i in range(0, len(numbers), most):
            some = numbers[i : i + most]
            yield slice(some[0], some[-1] + 1), inside


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
    """Return crops with a weighted mean of 0 and a weighted mean square of 1.

    Where it can be, in the place of what is given.
    """
    weight = float(w.sum())
    if not weight:
        return np.zeros_like(values)
    flat, w = values.reshape(len(values), -1), w.reshape(-1)
    flat -= flat[:, :1].copy()  # of a constant nothing is left, not rounding
    flat -= _dots(flat, w) / weight
    square = _dots(np.square(flat), w).astype(np.float64) / weight
    flat /= np.sqrt(np.where(square > 0, square, 1)).astype(np.float32)
    return flat.reshape(values.shape)


def _dots(rows: NDArray[np.float32], w: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return Σ w f of rows, (n, 1), each as if it were alone."""
    return np.array([[np.dot(each, w)] for each in rows])


def without_outliers(values: NDArray[np.float32], bulk: int) -> NDArray[np.float32]:
    """Return crops with the median in place of outliers, and close around them.

    Outliers are further from the median than four times the limit that all but 3 % of
    the voxels are within. Of Gaussian noise that is 8.7 standard deviations, so that
    none is met in any tomogram; a bead of gold in it is 20 to 100. Without noise, a
    small particle is all that there is: so the limit is never such that more voxels
    are beyond it than the ``bulk`` of the template's that are more than 0.3 of its
    largest, and the template itself stays within four times it.

    The limit is that of a sample, where a sample tells.

    Parameters
    ----------
    values : (..., z, y, x) array
        Each crop is looked at by itself.
    bulk : int
        Of the template, see `Support`.

    Returns
    -------
    (..., z, y, x) array
        What was given, itself, where there are no outliers.
    """
    shape = values.shape[-3:]
    flat = values.reshape(-1, math.prod(shape))
    size = flat.shape[1]
    rare = min(_RARE, bulk / size)
    step = max(1, int(rare * size / _ENOUGH))
    while math.gcd(step, shape[2]) > 1:  # or only some columns were looked at
        step -= 1
    sample = np.ascontiguousarray(flat[:, ::step])
    count = sample.shape[1]
    median = np.partition(sample, count // 2, axis=1)[:, count // 2, None]
    apart = np.abs(sample - median)
    nearly = count - 1 - int(rare * count)
    within = np.partition(apart, nearly, axis=1)[:, nearly, None]
    limit = np.float32(_OUTLYING) * within
    highest, lowest = (
        of_rows(flat, axis=1, keepdims=True) for of_rows in (np.max, np.min)
    )
    reached = np.maximum(highest - median, median - lowest)
    some = np.flatnonzero((limit != 0) & (reached > limit))
    if not len(some):
        return values
    result = flat.reshape(-1, *shape).copy()
    for i in some:
        outlying = np.abs(result[i] - median[i]) > limit[i]
        around = scipy.ndimage.binary_dilation(outlying, iterations=_AROUND)
        result[i][around] = median[i]
    return result.reshape(values.shape)
