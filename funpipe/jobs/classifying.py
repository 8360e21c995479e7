"""Classes: expectation maximisation over references, at poses or with alignment.

Iterations are `funpipe.jobs.sorting`'s; what references are, and why no particle is
compared with itself, stands in `funpipe.engine.classes`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.algebra.pipeline import ImageConverter
from funpipe.algebra.verbs import verb
from funpipe.base import arguments as check
from funpipe.base.caller import of_caller, warn
from funpipe.base.molecules import Molecules, as_molecules
from funpipe.base.wording import fail
from funpipe.boxes.opening import (
    check_fits,
    check_inside,
    check_some,
    common_scale,
    open_tomograms,
    warn_of_empty,
    warn_of_leaving,
)
from funpipe.engine.classes import lattice_of
from funpipe.jobs.preparing import Prepared, mask_for, masked_templates, prepare_all
from funpipe.jobs.preparing import reach as reach_of
from funpipe.jobs.searching import sampling, search_for
from funpipe.jobs.sorting import STARTS, Classification, Masks, Sorting, sorted_into
from funpipe.jobs.working import running
from funpipe.space.crops import Support, whole_box
from funpipe.space.spectra import can_compile

__all__ = ["Classification", "classify"]

Array: TypeAlias = NDArray[Any]

_EDGE = 2.0  # voxels that a ball fades out in


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
        Whether each iteration aligns the particles, around the poses that were given,
        to the mean of the references: a pose then favours no class. Of molecules that
        are not alike, ``align(template=[...])`` finds poses, and this sorts them there
        without ``align``.
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
        If less than half a particle in all is left in a class, which then has none; if
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
    >>> found = classify(
    ...     tomogram,
    ...     places,
    ...     templates=[ball, rod],
    ...     scale=1.0,
    ...     iterations=1,
    ...     progress=False,
    ... )
    >>> found.features["class"]
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
    if not (isinstance(start, str) and start in STARTS):
        fail("start", " or ".join(map(repr, STARTS)), start)
    if not (on_iteration is None or callable(on_iteration)):
        fail("on_iteration", "a function of a Classification, or None", on_iteration)
    particles = as_molecules("molecules", molecules)
    sources, empty = open_tomograms(
        tomogram, particles, scale, search.tilt, tomogram_feature
    )
    check_some(particles)
    voxel = common_scale(sources)
    prepared = (
        None if templates is None else prepare_all(templates, mask, voxel, "templates")
    )
    box = _box(shape, prepared)
    check_fits(sources, box)
    count = _count(classes, prepared, len(particles))
    under = _masks(mask, class_mask, prepared, box, voxel)
    like = Prepared(np.zeros((1, *box), np.float32), np.ones((1, *box), np.float32))
    finest = sampling(search, like if prepared is None else prepared, voxel).finest
    support = _support(prepared, under, box)
    given = Sorting(
        tomogram,
        scale,
        tomogram_feature,
        search,
        how,
        under,
        lattice_of(support, finest, compiled=can_compile()),
        voxel,
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
    for last in sorted_into(particles, prepared, given):
        if on_iteration is not None:
            with of_caller("on_iteration"):
                on_iteration(last)
    assert last is not None
    if not last.converged and given.iterations > 1:
        warn(
            f"classify: after {last.number} iterations {last.changed:.2%} of the "
            "particles still change class: give more iterations, or fewer classes"
        )
    return last.molecules


# Arguments.


def _box(shape: Any, prepared: Prepared | None) -> tuple[int, int, int]:
    if prepared is None:
        if shape is None:
            raise ValueError("shape must be given where there are no templates")
        return check.box("shape", check.shape("shape", shape))
    z, y, x = prepared.template.shape[1:]
    if shape is not None and check.shape("shape", shape) != (z, y, x):
        raise ValueError(
            f"shape must be that of the templates, {(z, y, x)}, not {shape}"
        )
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
) -> Masks:
    """Return masks as far as they are known before there is an average."""
    if prepared is not None:
        own = None if mask is None else prepared.mask.max(axis=0)
        image = prepared.template.mean(axis=0)
        if class_mask is None:
            return Masks(own, own)
        return Masks(own, mask_for(class_mask, image, scale, "class_mask"))
    empty = np.zeros(box, np.float32)
    found = [
        each
        if each is None or isinstance(each, ImageConverter)
        else mask_for(each, empty, scale, name)
        for name, each in (("mask", mask), ("class_mask", class_mask))
    ]
    return Masks(found[0], found[0] if class_mask is None else found[1])


def _support(
    prepared: Prepared | None, under: Masks, box: tuple[int, int, int]
) -> Support:
    """Return the ball that holds what counts, or the largest that a box holds."""
    largest = max(1.0, min(box) / 2 - _EDGE)
    radius, bulk = largest, np.prod(box)
    if prepared is not None and under.mask is not None:
        known = [*masked_templates(prepared)]
        if under.differ is not None:
            known.append(under.differ)
        radius = min(largest, reach_of(np.stack(known)))
    return whole_box(box)._replace(radius=radius, bulk=int(bulk))
