"""Classes: expectation maximisation over references, at poses or with alignment.

What particles and references are, and why none is compared with itself, stands in
`funpipe.engine.classes`. A particle is measured once at its pose; iterations then are
products of matrices over all of them, in memory, or in a file where that is too much.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import closing
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
from funpipe.base.threads import one_thread
from funpipe.base.wording import fail
from funpipe.boxes.cropping import CropPiece, cropped_boxes
from funpipe.boxes.opening import (
    check_fits,
    check_inside,
    check_some,
    common_scale,
    open_tomograms,
    warn_of_empty,
    warn_of_leaving,
)
from funpipe.engine.amplitude import over_ladder
from funpipe.engine.classes import (
    FOLDS,
    Lattice,
    Measured,
    Spectrum,
    Sums,
    class_sums,
    evidence,
    lattice_of,
    measured_waves,
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
from funpipe.jobs.planning import plan
from funpipe.jobs.posing import find_planned
from funpipe.jobs.preparing import Prepared, mask_for, masked_templates, prepare_all
from funpipe.jobs.preparing import reach as reach_of
from funpipe.jobs.running import Task
from funpipe.jobs.searching import Search, sampling, search_for
from funpipe.jobs.working import Job, Result, Running, results, running
from funpipe.space.crops import Support
from funpipe.space.spectra import can_compile
from funpipe.space.transfer import per_voxel

__all__ = ["Classification", "classify"]

Array: TypeAlias = NDArray[Any]

STARTS = "variance", "random"
_STILL, _STILL_ALIGNED = 1e-3, 1e-2  # of the particles, that change class
_SAMPLE = 1000  # particles that the variance is taken of
_TRIES = 20  # clusterings, of which the closest is taken
_FEWEST = 1.0  # particles of a class
_HELD = 2**30  # bytes of particles' waves that are held in memory
_EDGE = 2.0  # voxels that a ball fades out in


@dataclass(frozen=True, eq=False)
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


@verb
def classify(
    tomogram: Any,
    molecules: Any,
    *,
    templates: Any = None,
    classes: int | None = None,
    start: str = "variance",
    mask: Any = None,
    class_mask: Any = None,
    align: bool = False,
    shape: Any = None,
    scale: float | None = None,
    max_shifts: Any = None,
    rotations: Any = None,
    tilt: Any = None,
    resolution: float | None = None,
    symmetry: str = "C1",
    whiten: bool = False,
    iterations: int = 30,
    seed: int = 0,
    tomogram_feature: str = "tomogram",
    on_iteration: Callable[[Classification], Any] | None = None,
    executor: Executor | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Molecules:
    """Sort particles into classes, by expectation maximisation over references.

    Parameters
    ----------
    tomogram, molecules, scale, tilt, resolution, tomogram_feature
        See `align`. Without ``align`` molecules are where alignment has put them.
    templates : several ImageProviders or (z, y, x) arrays, optional
        What classes start from, a template each; each is brought to the grey scale of
        the data. Later iterations compare with the classes' own averages: with
        ``iterations=1`` the templates are all that counts.
    classes : int, optional
        How many, where there are no templates.
    start : str
        Where classes start without templates: ``"variance"``, clusters of the particles
        by what they scatter most by, or ``"random"`` subsets.
    mask : ImageConverter, ImageProvider, (z, y, x) array, or None
        Where templates and averages count in alignment; see `align`. A converter is
        applied to the templates, or the average of all.
    class_mask : ImageConverter, ImageProvider, (z, y, x) array, or None
        Where classes may differ; elsewhere all have the average of all. By default
        ``mask``.
    align : bool
        Whether each iteration aligns the particles, to the references of all classes,
        around the poses that were given.
    shape : int or (int, int, int), optional
        Voxels of a box along z, y, x; by default those of the templates.
    max_shifts, rotations, symmetry, whiten
        Of the alignment, see `align`.
    iterations : int
        The most.
    seed : int
        Of what is drawn: folds, subsets, and where clusters start.
    on_iteration : callable, optional
        Called with the `Classification` that each iteration has come to.
    executor, checkpoint, progress
        See `align`.

    Returns
    -------
    Molecules
        In the same order, with the features ``class``, the most likely one, from 0 on
        as ``template`` is, and ``class_probability_0`` and so on, how likely each is;
        with ``align`` at their new poses, and with the features of that.

    Raises
    ------
    TypeError, ValueError
        Before any work starts, if an argument is wrong or two do not go together.

    Warns
    -----
    UserWarning
        If less than one particle in all is left in a class, which then has none; if
        classes still change after so many iterations; and as `align`.

    Notes
    -----
    Every particle is compared with averages of four fifths of the particles, it not
    among them (`funpipe.engine.classes`). The shares of the classes are estimated
    along with them, as is the amplitude of the particles, `align`'s ``log_odds``.

    Examples
    --------
    >>> import funpipe as fp
    >>> ball, rod = fp.from_gaussian(8.0, 1.2), fp.from_gaussian(8.0, (2.0, 1.0, 0.6))
    >>> places = [[8.0, 8, 8 + 16 * i] for i in range(4)]
    >>> tomogram = sum(
    ...     fp.simulate.tomogram(each, Molecules(some), (17, 17, 65), 1.0, noise=0.01)
    ...     for each, some in ((ball(1.0), places[:2]), (rod(1.0), places[2:]))
    ... )
    >>> sort = classify(tomogram, templates=[ball, rod], scale=1.0, progress=False)
    >>> sort(iterations=1)(places).features["class"]
    array([0, 0, 1, 1])
    """
    how = running(executor=executor, checkpoint=checkpoint, progress=progress)
    search = search_for(
        max_shifts=max_shifts,
        rotations=rotations,
        tilt=tilt,
        resolution=resolution,
        symmetry=symmetry,
        whiten=whiten,
    )
    if start not in STARTS:
        fail("start", " or ".join(map(repr, STARTS)), start)
    if not (on_iteration is None or callable(on_iteration)):
        fail("on_iteration", "a function of a Classification, or None", on_iteration)
    particles = as_molecules("molecules", molecules)
    sources, empty = open_tomograms(
        tomogram, particles, scale, search.tilt, tomogram_feature
    )
    check_some(particles)
    voxel = common_scale(sources)
    prepared = None if templates is None else prepare_all(templates, mask, voxel)
    box = _box(shape, prepared)
    check_fits(sources, box)
    count = _count(classes, prepared, len(particles))
    under = _masks(mask, class_mask, prepared, box, voxel)
    like = Prepared(np.zeros((1, *box), np.float32), np.ones((1, *box), np.float32))
    finest = sampling(search, like if prepared is None else prepared, voxel).finest
    support = _support(prepared, under, box)
    given = _Given(
        tomogram,
        scale,
        tomogram_feature,
        search,
        how,
        under,
        lattice_of(support, finest, compiled=can_compile()),
        voxel,
        class_mask is None,
        check.flag("align", align),
        start,
        check.whole_number("seed", seed),
        check.positive_integer("iterations", iterations),
        count,
    )
    leaving = check_inside(sources, box, support.radius)
    warn_of_leaving(leaving, len(particles))
    warn_of_empty(empty)
    last = None
    for last in _iterations(particles, prepared, given):
        if on_iteration is not None:
            on_iteration(last)
    assert last is not None
    if not last.converged and given.iterations > 1:
        warn(
            f"classify: after {last.number} iterations {last.changed:.2%} of the "
            "particles still change class: give more iterations, or fewer classes"
        )
    return last.molecules


class _Masks(NamedTuple):
    """Masks as arrays, or converters that wait for an average."""

    mask: Any
    """For alignment."""
    differ: Any
    """Of what may differ."""


class _Given(NamedTuple):
    """What is the same in all iterations."""

    tomogram: Any
    scale: float | None
    feature: str
    search: Search
    how: Running
    under: _Masks
    lattice: Lattice
    voxel: float
    everywhere: bool
    """Whether classes may differ wherever templates count."""
    align: bool
    start: str
    seed: int
    iterations: int
    count: int


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
    return Sums(*(each.sum(axis=0) - each for each in of_folds))


# Arguments.


def _box(shape: Any, prepared: Prepared | None) -> tuple[int, int, int]:
    if prepared is None:
        if shape is None:
            raise ValueError("shape must be given where there are no templates")
        return check.box("shape", check.shape("shape", shape))
    z, y, x = prepared.template.shape[1:]
    if shape is not None and check.shape("shape", shape) != (z, y, x):
        raise ValueError(f"shape must be that of the templates, {(z, y, x)}, not {shape}")
    return z, y, x


def _count(classes: Any, prepared: Prepared | None, particles: int) -> int:
    """Return how many classes there are to be."""
    if prepared is None:
        if classes is None:
            raise TypeError(
                "templates or classes must be given: what classes start from, or how "
                "many there are"
            )
        name, count = "classes", check.whole_number("classes", classes, 2)
    else:
        name, count = "templates", len(prepared.template)
        if count < 2:
            raise ValueError("templates must be two or more, one for each class, not 1")
        if classes is not None and check.whole_number("classes", classes, 2) != count:
            raise ValueError(
                f"classes must be {count}, as many as there are templates, not "
                f"{classes}; leave it out"
            )
    if count > particles:
        raise ValueError(
            f"{name} must be no more than there are particles, {particles}, not {count}"
        )
    return count


def _masks(
    mask: Any, class_mask: Any, prepared: Prepared | None, box: Any, scale: float
) -> _Masks:
    """Return masks as far as they are known before there is an average."""
    if prepared is not None:
        own = None if mask is None else prepared.mask
        image = prepared.template.mean(axis=0)
        if class_mask is not None:
            return _Masks(own, mask_for(class_mask, image, scale, "class_mask"))
        return _Masks(own, None if own is None else own.max(axis=0))
    empty = np.zeros(box, np.float32)
    found = [
        each
        if each is None or isinstance(each, ImageConverter)
        else mask_for(each, empty, scale, name)
        for name, each in (("mask", mask), ("class_mask", class_mask))
    ]
    return _Masks(found[0], found[0] if class_mask is None else found[1])


def _resolved(mask: Any, average: Image, name: str, scale: float) -> Any:
    """Return a mask as an array, a converter's of the average; or None."""
    if isinstance(mask, ImageConverter):
        return mask_for(mask, average, scale, name)
    return mask


def _support(
    prepared: Prepared | None, under: _Masks, box: tuple[int, int, int]
) -> Support:
    """Return the ball that holds what counts, or the largest that a box holds."""
    largest = max(1.0, min(box) / 2 - _EDGE)
    radius, bulk = largest, np.prod(box)
    if prepared is not None and under.mask is not None:
        known = [*masked_templates(prepared)]
        if under.differ is not None:
            known.append(under.differ)
        radius = min(largest, reach_of(np.stack(known)))
    return Support((*map(float, box),), radius, box, int(bulk))


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


def _iterations(
    molecules: Molecules, prepared: Prepared | None, given: _Given
) -> Iterator[Classification]:
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
            before = np.full_like(found.p, 1 / given.count)
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


def _state(molecules: Molecules, folds: _Folds, given: _Given) -> _State:
    """Measure particles at their poses."""
    data = _measured(molecules, given)
    with one_thread():
        whole = class_sums(data, folds.split(np.ones(len(molecules))))
        of_all = _sum(whole)
        spectrum = spectrum_of(data, of_all, given.lattice.edges)
        average = _average(of_all, spectrum, given)
    mask = _resolved(given.under.differ, average, "class_mask", given.voxel)
    return _State(molecules, data, whole, spectrum, mask)


def _sum(of_folds: Sums) -> Sums:
    return Sums(*(each.sum(axis=0) for each in of_folds))


def _average(whole: Sums, spectrum: Spectrum, given: _Given) -> Image:
    (average,) = references(
        Sums(*(each[None] for each in whole)), whole, spectrum, given.lattice, None
    )
    return to_image(average, given.lattice).astype(np.float32)


def _step(
    state: _State, found: _Found, folds: _Folds, given: _Given
) -> _Found:
    """Return what particles are likely to be, by references made of the others."""
    T = _of_others(state, found, folds, given)
    log_evidence = _evidence(state, T, folds.of_each, given)
    return _weighed(log_evidence, found.shares)


def _of_others(state: _State, found: _Found, folds: _Folds, given: _Given) -> Array:
    """Return the references for each fold, (folds, K, N)."""
    sums = class_sums(state.data, folds.split(found.p))
    others = _others(sums), _others(state.whole)
    return references(*others, state.spectrum, given.lattice, state.mask)


def _evidence(state: _State, T: Array, fold: Array, given: _Given) -> Array:
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
    for k in np.flatnonzero((total < _FEWEST) & before.any(axis=0)):
        warn(
            f"classify: class {k} is empty from iteration {number} on: all "
            f"{len(found.p)} particles together make {total[k]:.2g} of it; give fewer "
            "classes, or other templates"
        )
    kept = np.where(total < _FEWEST, 0.0, found.p)
    p = kept / kept.sum(axis=1, keepdims=True)
    return found._replace(p=p, shares=p.mean(axis=0))


def _told(
    number: int,
    state: _State,
    found: _Found,
    before: Array,
    begun: float,
    given: _Given,
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

_ROUNDS = 5  # of the templates' grey scales


def _by_templates(
    molecules: Molecules, prepared: Prepared, folds: _Folds, given: _Given
) -> tuple[_State, _Found]:
    """Compare particles with templates, brought to the grey scale of the data."""
    by_search = None
    if given.align:
        where = prepared.template, given.under.mask, given
        molecules, by_search = _found_by(molecules, *where)
    state = _state(molecules, folds, given)
    whole, n = _sum(state.whole), len(molecules)
    if by_search is not None and given.everywhere and np.isfinite(by_search).any():
        # Of templates that are sharp the evidence has to know of the poses' errors.
        shares = np.full(given.count, 1 / given.count)
        for _ in range(_ROUNDS):
            found = _weighed(by_search, shares)
            shares = found.shares
        return state, found
    found = _Found(*np.split(np.full((n + 1, given.count), 1 / given.count), [n]))
    found = found._replace(shares=found.shares[0])
    with one_thread():
        waves = to_waves(masked_templates(prepared), given.lattice)
        for _ in range(_ROUNDS):
            sums = class_sums(state.data, found.p)
            T = scaled(waves, sums, state.spectrum, given.lattice.edges)
            T = part_of_average(T, whole, state.spectrum, given.lattice, state.mask)
            log_evidence = _evidence(state, T[None], np.zeros(n, np.intp), given)
            found = _weighed(log_evidence, found.shares)
    return state, found


def _drawn(state: _State, random: np.random.Generator, given: _Given) -> _Found:
    """Return random subsets, or clusters of a sample, as classes to start from."""
    n, count = len(state.molecules), given.count
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


def _aligned(
    molecules: Molecules, state: _State, found: _Found, folds: _Folds, given: _Given
) -> Molecules:
    """Align each fold to the references that the others make, from the picks on."""
    with one_thread():
        T = _of_others(state, found, folds, given)
        whole = _sum(state.whole)
        average = _average(whole, state.spectrum, given)
    mask = _resolved(given.under.mask, average, "mask", given.voxel)
    alive = found.shares > 0
    parts, order = [], []
    for fold in np.unique(folds.of_each):
        some = np.flatnonzero(folds.of_each == fold)
        images = to_image(T[fold][alive], given.lattice).astype(np.float32)
        aligned, _ = _found_by(molecules[some], images, _some_of(mask, alive), given)
        parts.append(aligned)
        order.append(some)
    return Molecules.concat(parts)[np.argsort(np.concatenate(order))]


def _some_of(mask: Any, alive: Array) -> Any:
    """Return the masks of some classes, where each has its own."""
    return mask[alive] if mask is not None and mask.ndim == 4 else mask


def _found_by(
    molecules: Molecules, images: Any, mask: Any, given: _Given
) -> tuple[Molecules, Array]:
    """Return molecules aligned to images, and ln of their likelihood by each."""
    planned = plan(
        given.tomogram,
        molecules,
        given.search,
        template=images,
        mask=mask,
        scale=given.scale,
        tomogram_feature=given.feature,
    )
    found = find_planned(planned, given.how)
    return apply_alignment(molecules, found), found.log_evidence


# Particles at their waves.


def _measured(molecules: Molecules, given: _Given) -> Measured:
    """Measure all particles, chunk by chunk."""
    lattice, search = given.lattice, given.search
    sources, _ = open_tomograms(
        given.tomogram, molecules, given.scale, search.tilt, given.feature
    )
    boxes = cropped_boxes(sources, lattice.support)
    job = Job(
        "classify",
        boxes.chunks,
        boxes.parts,
        partial(_task, boxes.cut, lattice, given.voxel),
        boxes.cut,
        partial(_facts, lattice, given.voxel, boxes.keys),
    )
    n, N, S = len(molecules), len(lattice.waves), len(lattice.edges) - 1
    data = Measured(
        _room((n, N), np.complex64),
        _room((n, N), np.float32),
        np.empty((n, S)),
        np.empty((n, S)),
        np.empty(n),
    )
    with closing(results(job, given.how)) as found:
        for chunk, each in zip(boxes.chunks, found, strict=True):
            for name, into in data._asdict().items():
                into[chunk.indices] = each[name]
    blank = int((data.power.sum(axis=1) <= 0).sum())
    if blank:
        warn(
            f"{blank} of {n} boxes hold nothing, or nothing that was measured: those "
            "particles are of each class as often as all are"
        )
    return data


def _room(shape: tuple[int, int], kind: Any) -> Array:
    """Return an array for particles' waves, in a file if they are many."""
    if np.dtype(kind).itemsize * float(np.prod(shape)) <= _HELD:
        return np.empty(shape, kind)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, kind, "w+", shape=shape)


def _facts(
    lattice: Lattice, scale: float, keys: Callable[[], list[str]]
) -> tuple[Any, list[str]]:
    return (lattice.support, len(lattice.waves), scale), keys()


def _task(cut: Callable[[Any], CropPiece], lattice: Lattice, scale: float) -> Task:
    return partial(_part, cut=cut, lattice=lattice, scale=scale)


def _part(
    part: Any,
    *,
    cut: Callable[[Any], CropPiece],
    lattice: Lattice,
    scale: float,
    go_on: Callable[[], None],
) -> Result:
    """Return the waves of a part's particles."""
    _, crops, orientations, tilt = cut(part)
    go_on()
    found = measured_waves(crops, orientations, per_voxel(tilt, scale), lattice)
    return found._asdict()
