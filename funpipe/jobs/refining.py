"""Refinement: align, average the halves apart, and go on with what they support.

Each half of the particles has a reference of its own, made of that half alone: its
average, each shell weighted by how far it is to be believed. With the Fourier shell
correlation C of the halves, which is SNR / (1 + SNR) of one of them, Wiener's filter of
a half is C itself (P. B. Rosenthal, R. Henderson, J. Mol. Biol. 333, 721, 2003), and of
the mean of both 2 C / (1 + C). What is finer than C ≥ 0.143 supports is not used.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from funpipe.algebra.verbs import verb
from funpipe.base import arguments as check
from funpipe.base.arguments import Image
from funpipe.base.molecules import Molecules, as_molecules
from funpipe.base.wording import fail
from funpipe.boxes.opening import common_scale, open_tomograms
from funpipe.jobs.aligning import align
from funpipe.jobs.averaging import half_averages
from funpipe.jobs.correlating import FSC, fsc
from funpipe.jobs.halving import ALIGNED, Halves, halves, halves_of
from funpipe.jobs.preparing import mask_for, prepare_all
from funpipe.space.fourier import filter_image
from funpipe.space.tilts import as_tilt

__all__ = ["Iteration", "refine"]

_WIDE = 3.0  # times the stated errors, how far poses are looked for
_FINE = 3.0  # steps within that
_BETTER = 0.01  # of a resolution
_THRESHOLD = 0.143


@dataclass(frozen=True, eq=False)
class Iteration:
    """What a refinement has come to."""

    number: int
    """From 1 on; 0 is where it starts from, without a template."""
    molecules: Molecules
    """With the features ``half`` and ``aligned_half``, and those of `align`."""
    maps: Halves
    """The averages of both halves, as they are."""
    map: Image
    """Their mean, each shell weighted by how far it is to be believed."""
    fsc: FSC
    """Of the halves, under the mask."""
    resolution: float
    """nm, where that falls below 0.143."""
    shift: float
    """nm, the root mean square of how far particles have moved."""
    angle: float
    """Degrees, likewise."""
    seconds: float
    """Its time."""


@verb
def refine(
    tomogram: Any,
    molecules: Any,
    *,
    template: Any = None,
    mask: Any = None,
    start: float,
    shape: Any = None,
    scale: float | None = None,
    max_shifts: Any = None,
    rotations: Any = (10.0, 5.0),
    tilt: Any = None,
    symmetry: str = "C1",
    whiten: bool = False,
    keep: float = 1.0,
    prepare_template: Any = None,
    iterations: int = 6,
    within: float | None = None,
    seed: int = 0,
    tomogram_feature: str = "tomogram",
    on_iteration: Callable[[Iteration], Any] | None = None,
    executor: Executor | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Iterator[Iteration]:
    """Align particles to what their own halves make of them, until nothing improves.

    Parameters
    ----------
    tomogram, molecules, mask, scale, tilt, symmetry, whiten, tomogram_feature
        See `align`; a mask that is a converter is applied to the template, and to the
        mean of both halves where there is none. Halves are those that the particles
        have, or drawn by `halves`.
    template : ImageProvider, (z, y, x) array, or None
        What the first iteration aligns to. None: the halves' averages at the picks.
    start : float
        nm: nothing finer of the template, or of the picks' averages, is used.
    shape : int or (int, int, int), optional
        Voxels of the averages along z, y, x; by default the template's.
    max_shifts, rotations
        Of the first iteration, see `align`; later ones look around the poses as far as
        their errors ask for.
    keep : float
        The part of each half that is averaged: the best by score.
    prepare_template : ImageConverter, optional
        What is done to each half's reference before it is aligned to.
    iterations : int
        The most.
    within, seed
        Of `halves`.
    on_iteration : callable, optional
        Called with each `Iteration`.
    executor, checkpoint, progress
        See `align`.

    Yields
    ------
    Iteration
        One after the other; the last one once neither the resolution nor the poses
        have changed by more than is worth it.

    Raises
    ------
    TypeError, ValueError
        Before any work starts, if an argument is wrong.
    """
    particles = halves(
        as_molecules("molecules", molecules),
        seed=seed,
        within=within,
        tomogram_feature=tomogram_feature,
    )
    sources, _ = open_tomograms(
        tomogram, particles, scale, as_tilt("tilt", tilt), tomogram_feature
    )
    voxel = common_scale(sources)
    given = _Given(
        tomogram,
        mask,
        voxel,
        _box(shape, template, voxel),
        check.positive("start", start),
        _part(keep),
        prepare_template,
        {
            "scale": scale,
            "tilt": tilt,
            "tomogram_feature": tomogram_feature,
            "executor": executor,
            "checkpoint": checkpoint,
            "progress": progress,
        },
        {"symmetry": symmetry, "whiten": whiten, "preflight": False},
    )
    wide = {"max_shifts": max_shifts, "rotations": rotations}
    most = check.positive_integer("iterations", iterations)
    found = _iterations(particles, template, wide, most, given)
    return found if on_iteration is None else _told(found, on_iteration)


class _Given(NamedTuple):
    """What is the same in all iterations."""

    tomogram: Any
    mask: Any
    scale: float
    shape: tuple[int, int, int]
    start: float
    keep: float
    prepare: Any
    where: dict[str, Any]
    how: dict[str, Any]


def _box(shape: Any, template: Any, scale: float) -> tuple[int, int, int]:
    if shape is not None:
        return check.box("shape", check.shape("shape", shape))
    if template is None:
        raise ValueError("shape must be given where there is no template")
    z, y, x = prepare_all(template, None, scale).template.shape[1:]
    return z, y, x


def _part(keep: Any) -> float:
    found = check.number("keep", keep)
    if not 0 < found <= 1:
        fail("keep", "a part above 0, 1 at the most", keep)
    return found


def _told(
    found: Iterator[Iteration], on_iteration: Callable[[Iteration], Any]
) -> Iterator[Iteration]:
    for each in found:
        on_iteration(each)
        yield each


def _iterations(
    molecules: Molecules, template: Any, wide: dict[str, Any], most: int, given: _Given
) -> Iterator[Iteration]:
    finest, best = given.start, np.inf
    if template is None:
        first = _averaged(0, molecules, molecules, given, time.perf_counter())
        yield first
        if not np.isfinite(first.resolution):
            return
        references = _references(first, given)
        finest = max(given.start, first.resolution)
    else:
        references = (template, template)
    for number in range(1, most + 1):
        begun = time.perf_counter()
        aligned = _aligned(molecules, references, finest, wide, given)
        last = _averaged(number, molecules, aligned, given, begun)
        yield last
        still = last.shift < _spread(aligned, "shift_error") / 2
        worse = last.resolution > best * (1 - _BETTER)
        if not np.isfinite(last.resolution) or (number > 1 and worse and still):
            return
        best = min(best, last.resolution)
        molecules, references = aligned, _references(last, given)
        finest, wide = last.resolution, _narrow(aligned, wide, given)


def _aligned(
    molecules: Molecules,
    references: tuple[Any, Any],
    finest: float,
    search: dict[str, Any],
    given: _Given,
) -> Molecules:
    """Align each half to its own reference."""
    half = halves_of(molecules)
    parts, order = [], []
    for each, reference in zip((1, 2), references, strict=True):
        some = np.flatnonzero(half == each)
        found = align(
            given.tomogram,
            molecules[some],
            template=reference,
            mask=given.mask,
            resolution=max(finest, 2 * given.scale),
            **search,
            **given.where,
            **given.how,
        )
        parts.append(found.with_features({ALIGNED: np.full(len(some), each)}))
        order.append(some)
    return Molecules.concat(parts)[np.argsort(np.concatenate(order))]


def _averaged(
    number: int, before: Molecules, after: Molecules, given: _Given, begun: float
) -> Iteration:
    """Average the halves, and tell how far they agree."""
    maps = half_averages(
        given.tomogram, _kept(after, given.keep), shape=given.shape, **given.where
    )
    mean = (maps.first + maps.second) / 2
    mask = mask_for(given.mask, mean, given.scale)
    curve = fsc(maps.first, maps.second, mask=mask, scale=given.scale)
    moved = np.linalg.norm(after.positions - before.positions, axis=1)
    turned = np.degrees((before.rotations.inv() * after.rotations).magnitude())
    return Iteration(
        number,
        after,
        maps,
        _weighted(mean, curve, given.scale, both=True),
        curve,
        curve.resolution(_THRESHOLD),
        _rms(moved),
        _rms(turned),
        time.perf_counter() - begun,
    )


def _kept(molecules: Molecules, keep: float) -> Molecules:
    """Return the best of each half, by their scores."""
    if keep == 1 or "score" not in molecules.features:
        return molecules
    half, score = halves_of(molecules), molecules.features["score"]
    kept = []
    for each in (1, 2):
        own = np.flatnonzero(half == each)
        best = own[np.argsort(-score[own], kind="stable")]
        kept.append(best[: max(1, round(keep * len(own)))])
    return molecules[np.sort(np.concatenate(kept))]


def _references(found: Iteration, given: _Given) -> tuple[Image, Image]:
    """Return what each half is aligned to next: its own map, as far as it supports."""
    filtered = found.maps.map(partial(_filtered, curve=found.fsc))
    if given.prepare is not None:
        filtered = filtered.map(given.prepare)
    return filtered.first, filtered.second


def _filtered(image: Image, scale: float, curve: FSC) -> Image:
    return _weighted(image, curve, scale, both=False)


def _weighted(image: Image, curve: FSC, scale: float, *, both: bool) -> Image:
    """Return an image by Wiener's filter, nothing finer than the resolution."""
    C = np.clip(curve.corrected, 0, 1)
    weights = 2 * C / (1 + C) if both else C
    below = np.flatnonzero(curve.corrected < _THRESHOLD)
    if below.size:
        weights[below[0] :] = 0
    return filter_image(
        image, scale, partial(np.interp, xp=curve.frequency, fp=weights)
    )


def _narrow(
    molecules: Molecules, wide: dict[str, Any], given: _Given
) -> dict[str, Any]:
    """Return a search around poses, as wide as their errors ask for."""
    shift = _WIDE * _spread(molecules, "shift_error")
    angle = _WIDE * _spread(molecules, "angle_error")
    limits = wide["max_shifts"]
    shift = max(shift, given.scale)
    if limits is not None:
        shift = np.minimum(shift, limits)
    return {"max_shifts": shift, "rotations": (angle, angle / _FINE)}


def _spread(molecules: Molecules, error: str) -> float:
    """Return the error that three of four particles are within."""
    values = molecules.features[error]
    return float(np.quantile(values[np.isfinite(values)], 0.75))


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
