"""Averaging: the mean of subtomograms in their particles' frames, of all or halves."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy

from funpipe.algebra.verbs import verb
from funpipe.base import arguments as check
from funpipe.base.arguments import Image
from funpipe.base.molecules import Molecules, as_molecules
from funpipe.boxes.chunks import Chunk, chunk_keys, chunk_size, chunks, opened, stays
from funpipe.boxes.cutting import Piece, cut_piece
from funpipe.boxes.opening import (
    Source,
    check_inside,
    check_some,
    common_scale,
    open_tomograms,
    some_of,
    warn_of_empty,
    warn_of_leaving,
)
from funpipe.jobs.halving import Halves, halves_of
from funpipe.jobs.running import Task
from funpipe.jobs.working import Job, Result, Running, results, running
from funpipe.space.fourier import fourier_vectors
from funpipe.space.tilts import as_tilt, no_tilt
from funpipe.space.transfer import Placed, TiltSeries, part_left, taken

__all__ = ["average", "half_averages"]


@verb
def average(
    tomogram: Any,
    molecules: Any,
    *,
    shape: Any,
    scale: float | None = None,
    tilt: Any = None,
    tomogram_feature: str = "tomogram",
    executor: Executor | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Image:
    """Average the particles of a tomogram, or of many, each in its own frame.

    Parameters
    ----------
    tomogram, molecules, scale, tomogram_feature
        See `align`.
    executor, checkpoint, progress
        See `align`.
    shape : int or (int, int, int)
        Voxels of the average along z, y, x.
    tilt : None, (float, float), or tilt weights
        What the tilt series measured, see `align`. None gives the plain mean of
        the boxes; otherwise each wave of the mean is the weighted mean
        Σ W F / Σ W over the particles that measured it, and 0 if none did. With a
        `tilt_series`, which leaves the part H of a wave, it is Wiener's sum
        Σ H F / (Σ H² + ε), ε a thousandth of the largest Σ H²: waves that one
        defocus takes out come from particles of another.

    Returns
    -------
    (z, y, x) array of float32
        The average.

    Raises
    ------
    TypeError, ValueError
        Before any work starts, if an argument is wrong, there are no particles, or
        one lies wholly outside the tomogram; of many tomograms also if one that is
        named is missing, or scales differ.

    Examples
    --------
    >>> tomogram = np.arange(1000.0).reshape(10, 10, 10)
    >>> picks = np.array([[4.0, 4.0, 4.0], [6.0, 4.0, 4.0]])
    >>> average(tomogram, picks, shape=3, scale=1.0)[1, 1, 1].round(2)
    np.float32(544.0)
    """
    how = running(executor=executor, checkpoint=checkpoint, progress=progress)
    particles = as_molecules("molecules", molecules)
    opened = _open(tomogram, particles, shape, scale, tilt, tomogram_feature)
    found = _mean(opened.sources, opened.box, how)
    opened.warn()
    return found


@verb
def half_averages(
    tomogram: Any,
    molecules: Any,
    *,
    shape: Any,
    scale: float | None = None,
    tilt: Any = None,
    tomogram_feature: str = "tomogram",
    executor: Executor | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Halves:
    """Average the particles of each half apart.

    Parameters
    ----------
    tomogram, molecules, shape, scale, tilt, tomogram_feature
        See `average`; the molecules have the feature ``half`` that `halves` gives.
    executor, checkpoint, progress
        See `align`.

    Returns
    -------
    Halves
        The averages of halves 1 and 2, each as `average` gives it.

    Raises
    ------
    TypeError, ValueError
        As `average`; also if there is no feature ``half``, a half is empty, or a
        feature ``aligned_half``, the half whose reference a particle was aligned to,
        says otherwise: the halves are not independent then.

    Examples
    --------
    >>> tomogram = np.arange(1000.0).reshape(10, 10, 10)
    >>> picks = Molecules([[4, 4, 4], [6, 4, 4]], features={"half": [1, 2]})
    >>> half_averages(tomogram, picks, shape=3, scale=1.0)
    Halves(two maps of 3 x 3 x 3 voxels of 1 nm)
    """
    how = running(executor=executor, checkpoint=checkpoint, progress=progress)
    particles = as_molecules("molecules", molecules)
    check_some(particles)
    half = halves_of(particles)
    opened = _open(tomogram, particles, shape, scale, tilt, tomogram_feature)
    first, second = (
        _mean(some_of(opened.sources, np.flatnonzero(half == each)), opened.box, how)
        for each in (1, 2)
    )
    opened.warn()
    return Halves(first, second, common_scale(opened.sources))


Box: TypeAlias = tuple[int, int, int]


class _Opened(NamedTuple):
    """What is averaged, its arguments checked."""

    sources: list[Source]
    box: Box
    leaving: int
    """How many boxes leave the tomograms."""
    empty: list[str]
    """Tomograms without particles."""

    def warn(self) -> None:
        warn_of_leaving(self.leaving, sum(len(each.indices) for each in self.sources))
        warn_of_empty(self.empty)


def _open(
    tomogram: Any,
    particles: Molecules,
    shape: Any,
    scale: float | None,
    tilt: Any,
    feature: str,
) -> _Opened:
    weights = as_tilt("tilt", tilt)
    sources, empty = open_tomograms(tomogram, particles, scale, weights, feature)
    box = check.box("shape", check.shape("shape", shape))
    check_some(particles)
    return _Opened(sources, box, check_inside(sources, box), empty)


def _mean(sources: list[Source], box: Box, how: Running) -> Image:
    """Return the mean of all boxes."""
    weighted = any(each.tilt is not no_tilt for each in sources)
    voxel = common_scale(sources) if weighted else None
    divided = chunks(sources, chunk_size(box))
    job = Job(
        "average",
        divided,
        partial(_parts, box),
        partial(_task, box, voxel),
        partial(cut_piece, box=box),
        partial(_facts, divided, box, voxel),
    )
    with closing(results(job, how)) as found:
        total = _total(found)
    if weighted:
        mean = scipy.fft.irfftn(_restored(total, sources), s=box)
    else:
        mean = total["boxes"] / sum(len(each.indices) for each in sources)
    return np.asarray(mean, dtype=np.float32)


def _facts(
    divided: list[Chunk], box: Box, scale: float | None
) -> tuple[Any, list[str]]:
    return (box, scale), chunk_keys(divided)


def _parts(
    box: Box, some: Iterable[Chunk], folder: Path | None
) -> Iterator[Source | Piece]:
    for each in opened(some, folder):
        yield cut_piece(each, box) if folder is not None and stays(each) else each


def _task(box: Box, scale: float | None) -> Task:
    """Return what sums the boxes of a part, weighted if there is a scale."""
    if scale is None:
        return partial(_sum, box=box)
    return partial(_weighted_sum, box=box, scale=scale)


def _sum(part: Source | Piece, *, box: Box, go_on: Callable[[], None]) -> Result:
    """Return the sum of a part's boxes."""
    return {"boxes": cut_piece(part, box).boxes.sum(axis=0, dtype=np.float64)}


def _weighted_sum(
    part: Source | Piece, *, box: Box, scale: float, go_on: Callable[[], None]
) -> Result:
    """Return Σ W F and Σ W over a part, each particle's W turned into its frame.

    Of a tilt series they are Σ H F and Σ H².
    """
    _, boxes, rotations, tilt = cut_piece(part, box)
    k = fourier_vectors(box, scale)
    waves = np.zeros(k.shape[1:], np.complex128)
    weights = np.zeros(k.shape[1:])
    for i, (each, rotation) in enumerate(zip(boxes, rotations, strict=True)):
        go_on()
        turned = np.tensordot(rotation.as_matrix(), k, axes=1)[:, None]
        left = part_left(taken(tilt, [i]), turned)[0]
        waves += left * scipy.fft.rfftn(each.astype(np.float64))
        weights += left**2 if isinstance(tilt, Placed) else left
    return {"waves": waves, "weights": weights}


_NOISE = 1e-3  # of the largest Σ H²


def _restored(total: Result, sources: list[Source]) -> Any:
    """Return the waves of the mean from sums over all particles."""
    waves, weights = total["waves"], total["weights"]
    if any(isinstance(each.tilt, TiltSeries) for each in sources):
        return waves / (weights + _NOISE * (weights.max() or 1.0))
    return waves / np.where(weights > 0, weights, 1)


def _total(found: Iterable[Result]) -> Result:
    """Add up results, in their order."""
    total: Result = {}
    for each in found:
        total = {name: total.get(name, 0) + values for name, values in each.items()}
    return total
