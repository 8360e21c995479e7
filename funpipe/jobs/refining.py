"""Refinement: align, average the halves apart, and go on with what they support."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from typing import Any

import numpy as np

from funpipe.algebra.pipeline import ImageConverter, ImageProvider
from funpipe.algebra.verbs import verb
from funpipe.base import arguments as check
from funpipe.base.arguments import Image
from funpipe.base.caller import of_caller
from funpipe.base.molecules import Molecules, as_molecules
from funpipe.base.wording import fail, listed
from funpipe.boxes.opening import common_scale, open_tomograms
from funpipe.jobs.aligning import ALIGNED as FEATURES
from funpipe.jobs.halving import halves, has_halves
from funpipe.jobs.iterating import Given, Iteration, iterated, reach
from funpipe.jobs.preparing import mask_for, prepare_all
from funpipe.jobs.searching import search_for
from funpipe.jobs.working import memory_for, running

__all__ = ["refine"]


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
        what is below 0, or not known, counts as 0.
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
    >>> picks = fp.Molecules([[8, 8, 8], [8, 8, 24], [8, 24, 8], [8, 24, 24]])
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
        within = reach(search)
    particles = halves(
        drawn, seed=seed, within=within, tomogram_feature=tomogram_feature
    )
    sources, _ = open_tomograms(
        tomogram, particles, scale, search.tilt, tomogram_feature
    )
    voxel = common_scale(sources)
    first, under, box = _first(template, mask, shape, voxel)
    given = Given(
        tomogram,
        sources,
        under,
        voxel,
        box,
        search,
        check.positive("start", start),
        _part(keep),
        _feature(weights, particles),
        _callable("prepare_template", "a converter", prepare_template),
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
    told = _callable("on_iteration", "a function of an Iteration", on_iteration)
    found = _enough_memory(iterated(particles, first, most, given))
    return found if told is None else _told(found, told)


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


def _part(keep: Any) -> float:
    found = check.number("keep", keep)
    if not 0 < found <= 1:
        fail("keep", "a part above 0, 1 at the most", keep)
    return found


def _feature(weights: Any, molecules: Molecules) -> str | None:
    if weights is None:
        return None
    numbers = (k for k, each in molecules.features.items() if each.dtype.kind != "U")
    there = list(dict.fromkeys([*numbers, *FEATURES]))
    if not isinstance(weights, str) or weights not in there:
        fail("weights", f"None or a feature of numbers, {listed(there)}", weights)
    return weights


def _callable(name: str, wanted: str, value: Any) -> Any:
    if isinstance(value, ImageProvider) or not (value is None or callable(value)):
        fail(name, f"{wanted}, or None", value)
    return value


def _enough_memory(found: Iterator[Iteration]) -> Iterator[Iteration]:
    with memory_for("refine", "a smaller template or shape, or a coarser resolution"):
        yield from found


def _told(
    found: Iterator[Iteration], on_iteration: Callable[[Iteration], Any]
) -> Iterator[Iteration]:
    for each in found:
        with of_caller("on_iteration"):
            on_iteration(each)
        yield each
