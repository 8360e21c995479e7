"""The iterations of a refinement: align, average the halves apart, compare, narrow.

Each half of the particles has a reference of its own, made of that half alone: its
average, each shell weighted by how far it is to be believed, see `funpipe.jobs.wiener`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.base.arguments import Image
from funpipe.base.caller import of_caller, warn
from funpipe.base.molecules import Molecules
from funpipe.boxes.chunks import check_unchanged
from funpipe.boxes.opening import Source
from funpipe.jobs.aligning import align
from funpipe.jobs.averaging import half_averages
from funpipe.jobs.clustering import best_apart, near_pairs, tomogram_numbers
from funpipe.jobs.correlating import FSC, fsc
from funpipe.jobs.halving import ALIGNED, Halves, halves_of
from funpipe.jobs.joining import joined
from funpipe.jobs.preparing import mask_for
from funpipe.jobs.searching import SHIFT, Search
from funpipe.jobs.wiener import half_weighted, mean_weighted, supported

__all__ = ["Given", "Iteration", "iterated", "reach"]

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


class Given(NamedTuple):
    """What is the same in all iterations."""

    tomogram: Any
    sources: list[Source]
    """It, or each of them, as it was at first."""
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


def reach(search: Search) -> float:
    """Return how far apart two picks are at the most that can come to one place, nm."""
    return 2 * float(np.linalg.norm(search.max_shifts or (SHIFT,) * 3))


def iterated(
    molecules: Molecules, template: Image | None, most: int, given: Given
) -> Iterator[Iteration]:
    """Yield one iteration after the other, until nothing improves."""
    finest, best, search = given.start, np.inf, given.search
    if template is None:
        last = _averaged(0, molecules, molecules, given, time.perf_counter())
        check_unchanged(given.sources)
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
        check_unchanged(given.sources)  # or parts of it may be of another
        yield last
        settled = last.shift < _spread(aligned, "shift_error") / 2
        better = last.resolution < best * (1 - _BETTER)
        done = not np.isfinite(last.resolution) or number == most
        if done or (number > 1 and settled and not better):
            return
        best = min(best, last.resolution)
        molecules, references = aligned, _references(last, given)
        finest, search = last.resolution, _narrow(last, given)


def _aligned(
    molecules: Molecules,
    references: References,
    finest: float,
    search: Search,
    given: Given,
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


def _joined(molecules: Molecules, finest: float, given: Given) -> Molecules:
    """Bring the halves' frames together, that no template has tied."""
    return joined(
        molecules,
        _half_averages(molecules, given),
        mask=given.mask,
        finest=max(finest, given.start),
        search=given.search,
    )


def _averaged(
    number: int, before: Molecules, after: Molecules, given: Given, begun: float
) -> Iteration:
    """Average the halves, and tell how far they agree."""
    kept = after if number == 0 else _kept(_apart(after, given), given.keep)
    maps = _half_averages(kept, given)
    mean = (maps.first + maps.second) / np.float32(2)
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


def _half_averages(molecules: Molecules, given: Given) -> Halves:
    counts = molecules.features.get(given.weights or "")
    return half_averages(
        given.tomogram,
        molecules,
        shape=given.shape,
        weights=None if counts is None else np.fmax(counts, 0),
        symmetry=given.search.symmetry,
        **given.where,
    )


def _apart(molecules: Molecules, given: Given) -> Molecules:
    """Return particles without those that came to the place of one of the other half.

    The worse goes: what both have would be a signal that the halves share.
    """
    near = max(given.scale, _WIDE * _spread(molecules, "shift_error"))
    near = min(near, reach(given.search))
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


def _references(found: Iteration, given: Given) -> References:
    """Return what each half is aligned to next: its own map, as far as it supports."""
    made = found.maps.map(partial(half_weighted, curve=found.fsc))
    made = made.map(partial(_prepared, prepare=given.prepare))
    return made.first, made.second


def _prepared(
    image: Image, scale: float, prepare: Callable[[Image, float], Image] | None
) -> Image:
    if prepare is None:
        return image
    with of_caller("prepare_template"):
        return prepare(image, scale)


def _narrow(last: Iteration, given: Given) -> Search:
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
