"""Averaging: the mean of subtomograms in their particles' frames, of all or halves."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.algebra.verbs import verb
from funpipe.base import arguments as check
from funpipe.base.arguments import Image
from funpipe.base.molecules import Molecules, as_molecules
from funpipe.base.wording import fail, listed
from funpipe.boxes.chunks import Chunk, chunk_keys, chunk_size, chunks
from funpipe.boxes.cutting import Piece, cut_piece, pieces_to_cut
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
from funpipe.jobs.sets import symmetry_expand
from funpipe.jobs.working import (
    Job,
    Result,
    Running,
    memory_for,
    results,
    running,
)
from funpipe.space.fourier import fourier_vectors, resample
from funpipe.space.tilts import as_tilt, no_tilt
from funpipe.space.transfer import Placed, TiltSeries, part_left, taken

__all__ = ["average", "half_averages"]


@verb
@memory_for("average", "a smaller shape")
def average(
    tomogram: Any,
    molecules: Any,
    *,
    shape: Any,
    scale: float | None = None,
    tilt: Any = None,
    weights: Any = None,
    symmetry: str = "C1",
    output_scale: float | None = None,
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
    weights : str or (n,) array, optional
        How much each particle counts, 0 or more: the name of a feature, or numbers.
        Each term of all these sums is multiplied by it, those of the means too, so
        that only their ratios matter.
    symmetry : str
        Of the particles, about the box's centre, see `symmetry_expand`: each is
        averaged in all its copies, waves and what was measured of them, as long as
        that many particles take.
    output_scale : float, optional
        nm per voxel of the average; by default the tomogram's. Another one is sampled
        from the average at that, about the same centre, see Notes.

    Returns
    -------
    (z, y, x) array of float32
        The average.

    Raises
    ------
    TypeError, ValueError
        Before any work starts, if an argument is wrong, there are no particles, or
        one lies wholly outside the tomogram; of many tomograms also if one that is
        named is missing, or scales differ; if all weights are 0.

    Notes
    -----
    At another scale the average has no wave finer than two of its voxels, or two of
    the tomogram's: it is `funpipe.space.fourier.resample` of a box that reaches four
    of the larger voxels farther.

    Examples
    --------
    >>> tomogram = np.arange(1000.0).reshape(10, 10, 10)
    >>> picks = np.array([[4.0, 4.0, 4.0], [6.0, 4.0, 4.0]])
    >>> average(tomogram, picks, shape=3, scale=1.0)[1, 1, 1].round(2)
    np.float32(544.0)
    >>> average(tomogram, picks, shape=3, scale=1.0, weights=[1, 3])[1, 1, 1].round(2)
    np.float32(594.0)
    """
    how = running(executor=executor, checkpoint=checkpoint, progress=progress)
    particles = as_molecules("molecules", molecules)
    wanted = _open(
        tomogram,
        particles,
        shape=shape,
        scale=scale,
        tilt=tilt,
        weights=weights,
        symmetry=symmetry,
        output_scale=output_scale,
        tomogram_feature=tomogram_feature,
    )
    found = _mean(wanted, wanted.sources, how)
    wanted.warn()
    return found


@verb
@memory_for("half_averages", "a smaller shape")
def half_averages(
    tomogram: Any,
    molecules: Any,
    *,
    shape: Any,
    scale: float | None = None,
    tilt: Any = None,
    weights: Any = None,
    symmetry: str = "C1",
    output_scale: float | None = None,
    tomogram_feature: str = "tomogram",
    executor: Executor | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Halves:
    """Average the particles of each half apart.

    Parameters
    ----------
    tomogram, molecules, shape, scale, tilt, weights, symmetry, output_scale
        See `average`; the molecules have the feature ``half`` that `halves` gives.
    tomogram_feature : str
        See `align`.
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
    wanted = _open(
        tomogram,
        particles,
        shape=shape,
        scale=scale,
        tilt=tilt,
        weights=weights,
        symmetry=symmetry,
        output_scale=output_scale,
        tomogram_feature=tomogram_feature,
    )
    both = [some_of(wanted.sources, np.flatnonzero(half == each)) for each in (1, 2)]
    for each, sources in enumerate(both, 1):
        if not sources:
            raise ValueError(
                f"weights must be above 0 for a particle of each half, but are all 0 "
                f"in half {each}"
            )
    first, second = (_mean(wanted, sources, how) for sources in both)
    wanted.warn()
    return Halves(first, second, wanted.scale)


Box: TypeAlias = tuple[int, int, int]
Weights: TypeAlias = NDArray[np.float64] | None


class _Wanted(NamedTuple):
    """What average is wanted of what particles, the arguments checked."""

    sources: list[Source]
    """With each particle in all its copies, those without a weight left out."""
    box: Box
    """That is cut, at the tomogram's scale."""
    shape: Box
    """Of the average."""
    scale: float
    """Of the average, nm per voxel."""
    weights: Weights
    """Of all particles."""
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
    *,
    shape: Any,
    scale: float | None,
    tilt: Any,
    weights: Any,
    symmetry: Any,
    output_scale: Any,
    tomogram_feature: str,
) -> _Wanted:
    left = as_tilt("tilt", tilt)
    group = check.symmetry("symmetry", symmetry)
    own = check.optional_positive("output_scale", output_scale)
    sources, empty = open_tomograms(tomogram, particles, scale, left, tomogram_feature)
    box = check.box("shape", check.shape("shape", shape))
    check_some(particles)
    counts = _weights(weights, particles)
    if counts is not None:
        sources = some_of(sources, np.flatnonzero(counts > 0))
    sources = [_in_all_copies(each, group) for each in sources]
    voxel = common_scale(sources)
    wanted = voxel if own is None else own
    cut = _around(box, wanted / voxel, _RIM)
    leaving = check_inside(sources, _around(box, wanted / voxel, 0))
    return _Wanted(sources, cut, box, wanted, counts, leaving, empty)


def _weights(weights: Any, particles: Molecules) -> Weights:
    """Return a number for each particle, or None where all count alike."""
    if weights is None:
        return None
    if isinstance(weights, str):
        there = listed(particles.features) or "none"
        if weights not in particles.features:
            fail("weights", f"a feature that there is, {there}", weights)
        values, name = particles.features[weights], f"weights={weights!r}"
    else:
        wanted = f"the name of a feature, or {len(particles)} numbers"
        values, name = check.as_array("weights", wanted, weights), "weights"
        if values.shape != (len(particles),):
            fail("weights", wanted, weights)
    if values.dtype.kind not in "biuf":
        fail("weights", "numbers, not texts", weights)
    with np.errstate(over="ignore"):  # of longer floats; said below
        found = values.astype(np.float64)
    bad = np.flatnonzero(~(np.isfinite(found) & (found >= 0)))
    if bad.size:
        text = f"{name} must be 0 or more, finite, not {found[bad[0]]:g}"
        raise ValueError(f"{text} as of molecules[{bad[0]}]")
    if not found.any():
        raise ValueError(f"{name} must be above 0 for a particle, but are all 0")
    return found / found.max()


def _in_all_copies(source: Source, symmetry: str) -> Source:
    """Return a tomogram with each particle turned by every rotation of a group."""
    if symmetry == "C1":
        return source
    bare = Molecules(source.molecules.positions, source.molecules.rotations)
    copies = symmetry_expand(bare, symmetry)
    return source._replace(
        molecules=copies, indices=source.indices[copies.features["copy_of"]]
    )


_RIM = 4  # voxels, of the larger ones, so that faces do not mirror into the average


def _around(shape: Box, ratio: float, rim: int) -> Box:
    """Return the box of a scale that holds one of another, their ratio, and a rim."""
    if ratio == 1:
        return shape
    sizes = np.multiply(shape, ratio) + 2 * rim * max(1.0, ratio)
    return check.box("output_scale", np.ceil(sizes))


def _mean(wanted: _Wanted, sources: list[Source], how: Running) -> Image:
    """Return the mean of some particles' boxes, as it is wanted."""
    box, weights = wanted.box, wanted.weights
    weighted = any(each.tilt is not no_tilt for each in sources)
    voxel = common_scale(sources) if weighted else None
    divided = chunks(sources, chunk_size(box))
    job = Job(
        "average",
        divided,
        partial(pieces_to_cut, box),
        partial(_task, box, voxel, weights),
        partial(cut_piece, box=box),
        partial(_facts, divided, box, voxel, weights),
    )
    with closing(results(job, how)) as found:
        total = _total(found)
    if weighted:
        mean = scipy.fft.irfftn(_restored(total, sources), s=box)
    else:
        mean = total["boxes"] / sum(_count(each, weights) for each in sources)
    if wanted.scale != common_scale(sources):
        mean = resample(mean, common_scale(sources), wanted.scale, wanted.shape)
    return np.asarray(mean, dtype=np.float32)


def _count(source: Source, weights: Weights) -> float:
    return len(source.indices) if weights is None else weights[source.indices].sum()


def _facts(
    divided: list[Chunk], box: Box, scale: float | None, weights: Weights
) -> tuple[Any, list[str]]:
    facts = (box, scale) if weights is None else (box, scale, weights)
    return facts, chunk_keys(divided)


def _task(box: Box, scale: float | None, weights: Weights) -> Task:
    """Return what sums the boxes of a part, by waves if there is a scale."""
    if scale is None:
        return partial(_sum, box=box, weights=weights)
    return partial(_sum_of_waves, box=box, scale=scale, weights=weights)


def _sum(
    part: Source | Piece, *, box: Box, weights: Weights, go_on: Callable[[], None]
) -> Result:
    """Return the sum of a part's boxes."""
    piece = cut_piece(part, box)
    if weights is None:
        return {"boxes": piece.boxes.sum(axis=0, dtype=np.float64)}
    total = np.zeros(box)
    for each, weight in zip(piece.boxes, weights[piece.indices], strict=True):
        total += weight * each.astype(np.float64)
    return {"boxes": total}


def _sum_of_waves(
    part: Source | Piece,
    *,
    box: Box,
    scale: float,
    weights: Weights,
    go_on: Callable[[], None],
) -> Result:
    """Return Σ w W F and Σ w W over a part, each particle's W turned into its frame.

    Of a tilt series they are Σ w H F and Σ w H².
    """
    indices, boxes, rotations, tilt = cut_piece(part, box)
    k = fourier_vectors(box, scale)
    waves = np.zeros(k.shape[1:], np.complex128)
    total = np.zeros(k.shape[1:])
    for i, (each, rotation) in enumerate(zip(boxes, rotations, strict=True)):
        go_on()
        turned = np.tensordot(rotation.as_matrix(), k, axes=1)[:, None]
        left = part_left(taken(tilt, [i]), turned)[0]
        counted = left if weights is None else left * weights[indices[i]]
        waves += counted * scipy.fft.rfftn(each.astype(np.float64))
        total += counted * left if isinstance(tilt, Placed) else counted
    return {"waves": waves, "weights": total}


_NOISE = 1e-3  # of the largest Σ w H²


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
