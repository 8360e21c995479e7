"""Particles sorted into classes, iteration by iteration; see `funpipe.classify`.

What references are, and why no particle is compared with itself, stands in
`funpipe.engine.classes`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.algebra.pipeline import ImageConverter
from funpipe.base.arguments import Image
from funpipe.base.caller import warn
from funpipe.base.molecules import Molecules
from funpipe.base.threads import one_thread
from funpipe.boxes.opening import open_tomograms
from funpipe.engine.amplitude import over_ladder
from funpipe.engine.classes import (
    FOLDS,
    Lattice,
    Measured,
    Spectrum,
    Sums,
    class_sums,
    evidence,
    part_of_average,
    probabilities,
    references,
    scaled,
    scattered,
    spectrum_of,
    to_image,
    to_waves,
)
from funpipe.jobs.aligning import apply_alignment
from funpipe.jobs.measuring import measured
from funpipe.jobs.planning import plan
from funpipe.jobs.posing import find_planned
from funpipe.jobs.preparing import Prepared, mask_for, masked_templates
from funpipe.jobs.searching import Search
from funpipe.jobs.working import Running

__all__ = ["STARTS", "Classification", "Masks", "Sorting", "sorted_into"]

Array: TypeAlias = NDArray[Any]

STARTS = "variance", "random"
"""Where classes start without templates."""
_STILL, _STILL_ALIGNED = 1e-3, 1e-2  # of the particles, that change class
_SAMPLE = 1000  # particles that the variance is taken of
_TRIES = 20  # clusterings, of which the closest is taken
_FEWEST = 0.5  # particles of a class
_TINY = 1e-100
_ROUNDS = 5  # of estimates that the templates' amplitudes and shares take


@dataclass(frozen=True, eq=False, repr=False)
class Classification:
    """What an iteration of `classify` has come to."""

    number: int
    """From 1 on."""
    molecules: Molecules
    """With the features that `classify` adds."""
    maps: Image
    """(K, z, y, x), the classes' averages, each shell weighted by how far it is to be
    believed, in a grey scale of their own."""
    shares: NDArray[np.float64]
    """(K,), of the particles that are of each class."""
    changed: float
    """How much of the particles has changed class, half of Σ |p − p before| / n."""
    log_likelihood: float
    """Mean over particles of ln of their likelihood, against noise alone, by references
    without themselves."""
    converged: bool
    """Whether no more than a thousandth has changed; with alignment, a hundredth."""
    seconds: float
    """Its time."""

    def __repr__(self) -> str:
        parts = ", ".join(f"{100 * each:.3g} %" for each in self.shares)
        return (
            f"Classification({self.number}: {parts} of {len(self.molecules)} "
            f"particles, {100 * self.changed:.3g} % changed class, "
            f"{self.seconds:.3g} s)"
        )


class Masks(NamedTuple):
    """Masks as arrays, or converters that wait for an average."""

    mask: Any
    """For alignment."""
    differ: Any
    """Of what may differ."""


class Sorting(NamedTuple):
    """What is the same in all iterations."""

    tomogram: Any
    scale: float | None
    feature: str
    search: Search
    how: Running
    under: Masks
    lattice: Lattice
    voxel: float
    align: bool
    start: str
    """One of `STARTS`."""
    seed: int
    iterations: int
    classes: int


class _Folds(NamedTuple):
    """Which particles are compared with what the others say."""

    of_each: NDArray[np.intp]
    """(n,)."""

    def split(self, weights: Array) -> Array:
        """Return weights (n, ...) by fold, (n, folds, ...), 0 in all but the own."""
        own = np.eye(FOLDS)[self.of_each]
        return own.reshape(*own.shape, *[1] * (weights.ndim - 1)) * weights[:, None]


def _others(of_folds: Sums) -> Sums:
    """Return the sums over all other folds, for each."""
    return Sums(
        of_folds.S.sum(axis=0) - of_folds.S, of_folds.Q.sum(axis=0) - of_folds.Q
    )


# Iterations.


class _State(NamedTuple):
    """Particles at their poses, and what all of them together are."""

    molecules: Molecules
    data: Measured
    whole: Sums
    """Of all, by fold, (folds, N)."""
    spectrum: Spectrum
    mask: Any
    """Of what may differ, an array or None."""


class _Found(NamedTuple):
    """What particles are taken for."""

    p: NDArray[np.float64]
    """(n, K), how likely each is of each class."""
    shares: NDArray[np.float64]
    """(K,)."""
    log_likelihood: float = np.nan


def sorted_into(
    molecules: Molecules, prepared: Prepared | None, given: Sorting
) -> Iterator[Classification]:
    """Yield what each iteration comes to, the last one once little changes."""
    random = np.random.default_rng(given.seed)
    folds = _Folds(random.permutation(len(molecules)) % FOLDS)
    begun, last = time.perf_counter(), None
    if prepared is None:
        state = _state(molecules, folds, given)
        with one_thread():
            found = _drawn(state, random, given)
    for number in range(1, given.iterations + 1):
        if number == 1 and prepared is not None:
            state, found = _by_templates(molecules, prepared, folds, given)
            before = np.full_like(found.p, 1 / given.classes)
        else:
            if given.align:
                aligned = _aligned(molecules, state, found, folds, given)
                state = _state(aligned, folds, given)
            before = found.p
            with one_thread():
                found = _step(state, found, folds, given)
        found = _without_empty(found, before, number)
        last = _told(number, state, found, before, begun, given)
        yield last
        if last.converged:
            return
        begun = time.perf_counter()


def _state(molecules: Molecules, folds: _Folds, given: Sorting) -> _State:
    """Measure particles at their poses."""
    sources, _ = open_tomograms(
        given.tomogram, molecules, given.scale, given.search.tilt, given.feature
    )
    data = measured(sources, given.lattice, given.how)
    with one_thread():
        whole = class_sums(data, folds.split(np.ones(len(molecules))))
        of_all = _sum(whole)
        spectrum = spectrum_of(data, of_all, given.lattice.edges)
        average = _average(of_all, spectrum, given)
    mask = _resolved(given.under.differ, average, "class_mask", given.voxel)
    return _State(molecules, data, whole, spectrum, mask)


def _sum(of_folds: Sums) -> Sums:
    return Sums(of_folds.S.sum(axis=0), of_folds.Q.sum(axis=0))


def _average(whole: Sums, spectrum: Spectrum, given: Sorting) -> Image:
    of_one = Sums(whole.S[None], whole.Q[None])
    (average,) = references(of_one, whole, spectrum, given.lattice, None)
    return to_image(average, given.lattice).astype(np.float32)


def _step(state: _State, found: _Found, folds: _Folds, given: Sorting) -> _Found:
    """Return what particles are likely to be, by references made of the others."""
    T = _of_others(state, found, folds, given)
    log_evidence = _evidence(state, T, folds.of_each, given)
    return _weighed(log_evidence, found.shares)


def _of_others(state: _State, found: _Found, folds: _Folds, given: Sorting) -> Array:
    """Return the references for each fold, (folds, K, N)."""
    sums = class_sums(state.data, folds.split(found.p))
    others = _others(sums), _others(state.whole)
    return references(*others, state.spectrum, given.lattice, state.mask)


def _evidence(state: _State, T: Array, fold: Array, given: Sorting) -> Array:
    """Return ln of the likelihood of each class, (n, K), the amplitude estimated."""
    by_amplitude = evidence(state.data, T, fold, state.spectrum, given.lattice)
    return over_ladder(by_amplitude, np.zeros(len(fold), np.intp)).log_evidence


def _weighed(log_evidence: Array, shares: Array) -> _Found:
    p = probabilities(log_evidence, shares)
    known = ~np.isnan(log_evidence).any(axis=1)
    best = log_evidence[known].max(axis=1, keepdims=True)
    mean = np.log(np.exp(log_evidence[known] - best) @ shares) + best[:, 0]
    return _Found(p, p.mean(axis=0), float(mean.mean()) if known.any() else np.nan)


def _without_empty(found: _Found, before: Array, number: int) -> _Found:
    """Return it without the classes that have run empty just now; say so."""
    total = found.p.sum(axis=0)
    alive = (total >= _FEWEST) | (total == total.max())
    for k in np.flatnonzero(~alive & before.any(axis=0)):
        warn(
            f"classify: class {k} is empty from iteration {number} on: all "
            f"{len(found.p)} particles together make {total[k]:.2g} of it; give fewer "
            "classes, or other templates"
        )
    # Those that were sure of a class that is gone are of the others as often as all.
    kept = np.where(alive, np.maximum(found.p, _TINY * found.shares), 0.0)
    p = kept / kept.sum(axis=1, keepdims=True)
    return found._replace(p=p, shares=p.mean(axis=0))


def _told(
    number: int,
    state: _State,
    found: _Found,
    before: Array,
    begun: float,
    given: Sorting,
) -> Classification:
    with one_thread():
        sums = class_sums(state.data, found.p)
        T = references(
            sums, _sum(state.whole), state.spectrum, given.lattice, state.mask
        )
        maps = to_image(T, given.lattice).astype(np.float32)
    changed = float(np.abs(found.p - before).sum() / 2 / len(before))
    names = {f"class_probability_{k}": each for k, each in enumerate(found.p.T)}
    return Classification(
        number,
        state.molecules.with_features({"class": found.p.argmax(axis=1), **names}),
        maps,
        found.shares,
        changed,
        found.log_likelihood,
        changed <= (_STILL_ALIGNED if given.align else _STILL),
        time.perf_counter() - begun,
    )


# Where it starts.


def _by_templates(
    molecules: Molecules, prepared: Prepared, folds: _Folds, given: Sorting
) -> tuple[_State, _Found]:
    """Compare particles with templates, brought to the grey scale of the data."""
    if given.align:
        molecules = _found_by(molecules, _mean_of(prepared), given.under.mask, given)
    state = _state(molecules, folds, given)
    whole, n = _sum(state.whole), len(molecules)
    alike = np.full(given.classes, 1 / given.classes)
    found = _Found(np.tile(alike, (n, 1)), alike)
    with one_thread():
        waves = to_waves(masked_templates(prepared), given.lattice)
        for _ in range(_ROUNDS):
            sums = class_sums(state.data, found.p)
            T = scaled(waves, sums, state.spectrum, given.lattice.edges)
            T = part_of_average(T, whole, state.spectrum, given.lattice, state.mask)
            log_evidence = _evidence(state, T[None], np.zeros(n, np.intp), given)
            found = _weighed(log_evidence, found.shares)
    return state, found


def _drawn(state: _State, random: np.random.Generator, given: Sorting) -> _Found:
    """Return random subsets, or clusters of a sample, as classes to start from."""
    n, count = len(state.molecules), given.classes
    chosen = np.arange(n)
    if given.start == "random":
        label = random.permutation(n) % count
    else:
        chosen = np.sort(random.permutation(n)[:_SAMPLE])
        whole, data = _sum(state.whole), state.data.take(chosen)
        where = state.spectrum, given.lattice, state.mask
        label = _clusters(scattered(data, whole, *where, count), count, random)
    p = np.zeros((n, count))
    p[chosen, label] = 1
    return _Found(p, p.sum(axis=0) / len(chosen))


def _clusters(places: Array, count: int, random: np.random.Generator) -> Array:
    """Return the cluster of each place, (n,), by k-means from several starts."""
    from scipy.cluster.vq import ClusterError, kmeans2

    best, least = np.arange(len(places)) % count, np.inf
    if len(np.unique(places, axis=0)) < count:  # nothing to tell them apart by
        return best
    for _ in range(_TRIES):
        try:
            middles, label = kmeans2(
                places, count, minit="++", missing="raise", rng=random
            )
        except ClusterError:  # one has run empty
            continue
        left = float(np.square(places - middles[label]).sum())
        if left < least and len(np.unique(label)) == count:
            best, least = label, left
    return best


# Alignment.


def _mean_of(prepared: Prepared) -> Image:
    """Return the mean of templates, (z, y, x), each as strong as the others."""
    squares = np.square(masked_templates(prepared)).sum(axis=(1, 2, 3), keepdims=True)
    return np.asarray((prepared.template / np.sqrt(squares)).mean(axis=0))


def _aligned(
    molecules: Molecules, state: _State, found: _Found, folds: _Folds, given: Sorting
) -> Molecules:
    """Align each fold to the mean of the references of the others, from the picks on.

    To each reference on its own a particle would be fitted better by the one whose
    pose it is given, by its noise.
    """
    with one_thread():
        T = _of_others(state, found, folds, given)
        average = _average(_sum(state.whole), state.spectrum, given)
        means = to_image(np.moveaxis(T, 1, -1) @ found.shares, given.lattice)
    mask = _resolved(given.under.mask, average, "mask", given.voxel)
    parts, order = [], []
    for fold in np.unique(folds.of_each):
        some = np.flatnonzero(folds.of_each == fold)
        image = means[fold].astype(np.float32)
        parts.append(_found_by(molecules[some], image, mask, given))
        order.append(some)
    return Molecules.concat(parts)[np.argsort(np.concatenate(order))]


def _found_by(
    molecules: Molecules, image: Image, mask: Any, given: Sorting
) -> Molecules:
    """Return molecules aligned to an image."""
    planned = plan(
        given.tomogram,
        molecules,
        given.search,
        template=image,
        mask=mask,
        scale=given.scale,
        tomogram_feature=given.feature,
    )
    return apply_alignment(molecules, find_planned(planned, given.how))


def _resolved(mask: Any, average: Image, name: str, scale: float) -> Any:
    """Return a mask as an array, a converter's of the average; or None."""
    if isinstance(mask, ImageConverter):
        return mask_for(mask, average, scale, name)
    return mask
