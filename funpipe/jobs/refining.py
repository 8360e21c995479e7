"""Refinement: align, average the halves apart, and go on with what they support.

Each half of the particles has a reference of its own, made of that half alone: its
average, each shell weighted by how far it is to be believed, see `funpipe.jobs.wiener`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.algebra.pipeline import ImageConverter
from funpipe.algebra.verbs import verb
from funpipe.base import arguments as check
from funpipe.base.arguments import Image
from funpipe.base.caller import warn
from funpipe.base.molecules import Molecules, as_molecules
from funpipe.base.wording import fail, listed
from funpipe.boxes.opening import common_scale, open_tomograms
from funpipe.jobs.aligning import ALIGNED as FEATURES
from funpipe.jobs.aligning import align
from funpipe.jobs.averaging import half_averages
from funpipe.jobs.clustering import best_apart, near_pairs, tomogram_numbers
from funpipe.jobs.correlating import FSC, fsc
from funpipe.jobs.halving import ALIGNED, Halves, halves, halves_of, has_halves
from funpipe.jobs.joining import joined
from funpipe.jobs.preparing import mask_for, prepare_all
from funpipe.jobs.searching import SHIFT, Search, search_for
from funpipe.jobs.wiener import half_weighted, mean_weighted, supported
from funpipe.jobs.working import running

__all__ = ["Iteration", "refine"]

_WIDE = 3.0  # times the stated errors, how far poses are looked for
_FINE = 3.0  # steps within that
_UNKNOWN = 30.0  # degrees of that: too many steps to be called local
_BETTER = 0.01  # of a resolution

References: TypeAlias = tuple[Image, Image]


@dataclass(frozen=True, eq=False, repr=False)
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
    """nm, down to which the halves agree: where that falls below 0.143, or below what
    chance gives in so few waves; infinity where they do not agree at all."""
    shift: float
    """nm, the root mean square of how far particles have moved."""
    angle: float
    """Degrees, likewise."""
    averaged: int
    """Of how many particles the maps are."""
    seconds: float
    """Its time."""

    def __repr__(self) -> str:
        return (
            f"Iteration({self.number}: {self.resolution:.4g} nm of {self.averaged} "
            f"particles, moved by {self.shift:.3g} nm and {self.angle:.3g} degrees, "
            f"{self.seconds:.3g} s)"
        )


@verb
def refine(
    tomogram: Any,
    molecules: Any,
    *,
    start: float,
    template: Any = None,
    mask: Any = None,
    shape: Any = None,
    scale: float | None = None,
    max_shifts: Any = None,
    rotations: Any = (10.0, 5.0),
    tilt: Any = None,
    resolution: float | None = None,
    symmetry: str = "C1",
    whiten: bool = False,
    keep: float = 1.0,
    weights: str | None = None,
    prepare_template: Callable[[Image, float], Image] | None = None,
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
    tomogram, molecules, scale, tilt, resolution, whiten, tomogram_feature
        See `align`. Particles that have halves, see `halves`, keep them.
    start : float
        nm: nothing finer of the template, or of the picks' averages, is used at first.
    template : ImageProvider, (z, y, x) array, or None
        What the first iteration aligns to. None: the halves' averages at the picks;
        their frames are brought together, see `funpipe.jobs.joining`.
    mask : ImageConverter, ImageProvider, (z, y, x) array, or None
        Of alignment and of `fsc`; a converter is applied to the template, or where
        there is none to each mean of both halves.
    shape : int or (int, int, int), optional
        Without a template: voxels of the averages along z, y, x. With one they have
        the template's.
    max_shifts, rotations
        Of the first iteration, see `align`; later ones look around the poses as far as
        three times their errors, and no farther than the first.
    symmetry : str
        Of the particles: of searches, see `align`, and of averages, see `average`.
    keep : float
        The part of each half that is averaged: the best by score.
    weights : str, optional
        A feature, ``score`` or ``mode_weight`` say, that particles are averaged by;
        what is below 0 counts as 0.
    prepare_template : ImageConverter, optional
        What is done to each reference before it is aligned to, the template too.
    iterations : int
        The most.
    within : float, optional
        nm: particles no farther apart are in one half, see `halves`; by default, for
        particles without halves, those that ``max_shifts`` lets come to one place.
    seed : int
        Of `halves`, where they are drawn.
    on_iteration : callable, optional
        Called with each `Iteration`.
    executor, checkpoint, progress
        See `align`; of a refinement that was stopped the same call goes on where it
        was.

    Yields
    ------
    Iteration
        One after the other; the last one once the resolution has not become better
        by 1 % and particles have moved by less than half their shifts' error, once the
        halves do not agree at all, or after ``iterations``.

    Raises
    ------
    TypeError, ValueError
        Before any work starts, if an argument is wrong.

    Warns
    -----
    UserWarning
        If particles of different halves have come to one place: the worse is left out
        of the averages.

    Notes
    -----
    What is aligned to is each half's average times the corrected correlation of the
    halves, `fsc`, shell by shell, and 0 from the first shell on in which that is below
    0.143 or below what noise alone exceeds once in a hundred times.
    Of errors the one is taken that three of four particles are within.

    Examples
    --------
    >>> import funpipe as fp
    >>> blob = fp.from_gaussian((8.0, 8.0, 8.0), sigma=(0.8, 1.2, 1.6))
    >>> picks = Molecules([[8, 8, 8], [8, 8, 24.0], [8, 24, 8], [8, 24, 24]])
    >>> tomogram = fp.simulate.tomogram(blob(1.0), picks, (17, 33, 33), 1.0, noise=0)
    >>> *_, last = refine(
    ...     tomogram, picks, template=blob, start=3.0, scale=1.0, progress=False
    ... )
    >>> last.resolution, len(last.molecules), last.averaged
    (2.0, 4, 4)
    """
    search = search_for(
        max_shifts=max_shifts,
        rotations=rotations,
        tilt=tilt,
        resolution=resolution,
        symmetry=symmetry,
        whiten=whiten,
    )
    running(executor=executor, checkpoint=checkpoint, progress=progress)  # its errors
    drawn = as_molecules("molecules", molecules)
    if within is None and not has_halves(drawn):
        within = _reach(search)
    particles = halves(
        drawn, seed=seed, within=within, tomogram_feature=tomogram_feature
    )
    sources, _ = open_tomograms(
        tomogram, particles, scale, search.tilt, tomogram_feature
    )
    voxel = common_scale(sources)
    first, under, box = _first(template, mask, shape, voxel)
    given = _Given(
        tomogram,
        under,
        voxel,
        box,
        search,
        check.positive("start", start),
        _part(keep),
        _feature(weights, particles),
        _converter(prepare_template),
        {
            "scale": scale,
            "tilt": tilt,
            "tomogram_feature": tomogram_feature,
            "executor": executor,
            "checkpoint": checkpoint,
            "progress": progress,
        },
    )
    most = check.positive_integer("iterations", iterations)
    found = _iterations(particles, first, most, given)
    return found if on_iteration is None else _told(found, on_iteration)


class _Given(NamedTuple):
    """What is the same in all iterations."""

    tomogram: Any
    mask: Any
    """An array where there is a template, as given where not, or None."""
    scale: float
    shape: tuple[int, int, int]
    search: Search
    """The first."""
    start: float
    keep: float
    weights: str | None
    prepare: Callable[[Image, float], Image] | None
    where: dict[str, Any]


def _first(
    template: Any, mask: Any, shape: Any, scale: float
) -> tuple[Image | None, Any, tuple[int, int, int]]:
    """Return the template if there is one, the mask, and the box of averages."""
    if template is None:
        if shape is None:
            raise ValueError("shape must be given where there is no template")
        box = check.box("shape", check.shape("shape", shape))
        if mask is not None and not isinstance(mask, ImageConverter):
            mask = mask_for(mask, np.zeros(box, np.float32), scale)
        return None, mask, box
    prepared = prepare_all(template, mask, scale)
    if len(prepared.template) > 1:
        raise ValueError(
            f"template must be one, not {len(prepared.template)}: see funpipe.classify"
        )
    z, y, x = prepared.template.shape[1:]
    if shape is not None and check.shape("shape", shape) != (z, y, x):
        fail("shape", f"None or the template's, {(z, y, x)}", shape)
    return prepared.template[0], None if mask is None else prepared.mask[0], (z, y, x)


def _reach(search: Search) -> float:
    """Return how far apart two picks are at the most that can come to one place, nm."""
    return 2 * float(np.linalg.norm(search.max_shifts or (SHIFT,) * 3))


def _part(keep: Any) -> float:
    found = check.number("keep", keep)
    if not 0 < found <= 1:
        fail("keep", "a part above 0, 1 at the most", keep)
    return found


def _feature(weights: Any, molecules: Molecules) -> str | None:
    there = (*molecules.features, *FEATURES)
    if weights is not None and weights not in there:
        fail("weights", f"None or a feature, {listed(there)}", weights)
    return weights


def _converter(prepare: Any) -> Any:
    if prepare is not None and not callable(prepare):
        fail("prepare_template", "a converter or None", prepare)
    return prepare


def _told(
    found: Iterator[Iteration], on_iteration: Callable[[Iteration], Any]
) -> Iterator[Iteration]:
    for each in found:
        on_iteration(each)
        yield each


def _iterations(
    molecules: Molecules, template: Image | None, most: int, given: _Given
) -> Iterator[Iteration]:
    finest, best, search = given.start, np.inf, given.search
    if template is None:
        last = _averaged(0, molecules, molecules, given, time.perf_counter())
        yield last
        if not np.isfinite(last.resolution):
            return
        finest = max(given.start, last.resolution)
        references = _references(last, given)
    else:
        template = _prepared(template, given.scale, prepare=given.prepare)
        references = (template, template)
    for number in range(1, most + 1):
        begun = time.perf_counter()
        aligned = _aligned(molecules, references, finest, search, given)
        if template is None:
            aligned = _joined(aligned, finest, given)
        last = _averaged(number, molecules, aligned, given, begun)
        yield last
        settled = last.shift < _spread(aligned, "shift_error") / 2
        better = last.resolution < best * (1 - _BETTER)
        if not np.isfinite(last.resolution) or (number > 1 and settled and not better):
            return
        best = min(best, last.resolution)
        molecules, references = aligned, _references(last, given)
        finest, search = last.resolution, _narrow(last, given)


def _aligned(
    molecules: Molecules,
    references: References,
    finest: float,
    search: Search,
    given: _Given,
) -> Molecules:
    """Align each half to its own reference."""
    finest = max(finest, 2 * given.scale, search.resolution or 0)
    half = halves_of(molecules)
    parts, order = [], []
    for each, reference in zip((1, 2), references, strict=True):
        some = np.flatnonzero(half == each)
        found = align(
            given.tomogram,
            molecules[some],
            template=reference,
            mask=given.mask,
            max_shifts=search.max_shifts,
            rotations=search.rotations,
            resolution=finest,
            symmetry=search.symmetry,
            whiten=search.whiten,
            preflight=False,
            **given.where,
        )
        parts.append(found.with_features({ALIGNED: np.full(len(some), each)}))
        order.append(some)
    return Molecules.concat(parts)[np.argsort(np.concatenate(order))]


def _joined(molecules: Molecules, finest: float, given: _Given) -> Molecules:
    """Bring the halves' frames together, that no template has tied."""
    return joined(
        molecules,
        half_averages(given.tomogram, molecules, shape=given.shape, **given.where),
        mask=given.mask,
        finest=max(finest, given.start),
        search=given.search,
    )


def _averaged(
    number: int, before: Molecules, after: Molecules, given: _Given, begun: float
) -> Iteration:
    """Average the halves, and tell how far they agree."""
    kept = after if number == 0 else _kept(_apart(after, given), given.keep)
    maps = half_averages(
        given.tomogram,
        kept,
        shape=given.shape,
        **given.where,
    )
    mean = (maps.first + maps.second) / 2
    mask = None if given.mask is None else mask_for(given.mask, mean, given.scale)
    curve = fsc(maps.first, maps.second, mask=mask, scale=given.scale)
    moved = np.linalg.norm(after.positions - before.positions, axis=1)
    turned = np.degrees((before.rotations.inv() * after.rotations).magnitude())
    return Iteration(
        number,
        after,
        maps,
        mean_weighted(mean, given.scale, curve=curve),
        curve,
        supported(curve),
        _rms(moved),
        _rms(turned),
        len(kept),
        time.perf_counter() - begun,
    )


def _apart(molecules: Molecules, given: _Given) -> Molecules:
    """Return particles without those that came to the place of one of the other half.

    The worse goes: what both have would be a signal that the halves share.
    """
    near = max(given.scale, _WIDE * _spread(molecules, "shift_error"))
    near = min(near, _reach(given.search))
    tomograms = tomogram_numbers(molecules, given.where["tomogram_feature"])
    pairs = near_pairs(molecules.positions, tomograms, near)
    torn = pairs[np.diff(halves_of(molecules)[pairs], axis=1).ravel() != 0]
    stay = best_apart(molecules.features["score"], torn)
    if len(stay) < len(molecules):
        warn(
            f"{len(molecules) - len(stay)} particles have come to the place of one of "
            f"the other half, within {near:.3g} nm, and are left out of the averages: "
            "give a larger within, so that duplicates are in one half"
        )
    return molecules[stay]


def _kept(molecules: Molecules, keep: float) -> Molecules:
    """Return the best of each half, by their scores."""
    half, score = halves_of(molecules), molecules.features["score"]
    kept = []
    for each in (1, 2):
        own = np.flatnonzero(half == each)
        best = own[np.argsort(-score[own], kind="stable")]
        kept.append(best[: max(1, round(keep * len(own)))])
    return molecules[np.sort(np.concatenate(kept))]


def _references(found: Iteration, given: _Given) -> References:
    """Return what each half is aligned to next: its own map, as far as it supports."""
    made = found.maps.map(partial(half_weighted, curve=found.fsc))
    made = made.map(partial(_prepared, prepare=given.prepare))
    return made.first, made.second


def _prepared(
    image: Image, scale: float, prepare: Callable[[Image, float], Image] | None
) -> Image:
    return image if prepare is None else prepare(image, scale)


def _narrow(last: Iteration, given: _Given) -> Search:
    """Return a search around poses, as wide as their errors ask for.

    While particles still turn about, their errors are those in a wrong map.
    """
    molecules = last.molecules
    shift = max(given.scale, _WIDE * _spread(molecules, "shift_error"))
    angle = _WIDE * _spread(molecules, "angle_error")
    z, y, x = (min(shift, each) for each in given.search.max_shifts or (SHIFT,) * 3)
    found = given.search._replace(max_shifts=(z, y, x))
    if max(angle, last.angle) < _UNKNOWN:
        found = found._replace(rotations=(angle, angle / _FINE))
    return found


def _spread(molecules: Molecules, error: str) -> float:
    """Return the error that three of four particles are within."""
    values = molecules.features[error]
    known = values[np.isfinite(values)]
    return float(np.quantile(known, 0.75)) if known.size else 0.0


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
