"""Scores of particles at their poses, and all of those around them."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.algebra.verbs import verb
from funpipe.base import arguments as check
from funpipe.base.errors import Argument, WrongValueError
from funpipe.base.molecules import Molecules, as_molecules
from funpipe.base.threads import one_thread
from funpipe.boxes.cropping import CropPiece, cropped_boxes
from funpipe.boxes.opening import (
    check_inside,
    common_scale,
    warn_of_empty,
    warn_of_leaving,
)
from funpipe.engine.bank import template_bank
from funpipe.engine.data import seen_by
from funpipe.engine.scores import all_scores
from funpipe.jobs.planning import Plan, plan
from funpipe.jobs.posing import find_planned
from funpipe.jobs.running import Task
from funpipe.jobs.searching import search_for
from funpipe.jobs.working import Job, Result, results, running
from funpipe.space.transfer import per_voxel

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = ["Landscape", "landscape", "score"]

Array: TypeAlias = NDArray[Any]

_PART = 0.5  # of the memory, that a landscape may take


@verb
def score(
    tomogram: Any,
    molecules: Any,
    *,
    template: Any,
    mask: Any = None,
    scale: float | None = None,
    tilt: Any = None,
    resolution: float | None = None,
    tomogram_feature: str = "tomogram",
    executor: Executor | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Molecules:
    """Score particles at the poses that they have.

    Parameters
    ----------
    tomogram, molecules, template, mask, scale, tilt, resolution, tomogram_feature
        See `align`.
    executor, checkpoint, progress
        See `align`.

    Returns
    -------
    Molecules
        Where they were, with the features they had, and ``score``, the normalised
        correlation, −1 to 1, and ``template``, which of several has it. A particle
        without a signal has 0.

    Raises
    ------
    TypeError, ValueError
        Before any work starts, if an argument is wrong or two do not go together.

    Examples
    --------
    >>> import funpipe as fp
    >>> blob = fp.from_gaussian((8.0, 8.0, 8.0), sigma=(0.5, 1.0, 1.5))
    >>> tomogram = np.zeros((20, 20, 20)); tomogram[6:14, 6:14, 6:14] = blob(1.0)
    >>> picks = np.array([[9.5, 9.5, 9.5], [9.5, 9.5, 10.5]])
    >>> found = score(tomogram, picks, template=blob, scale=1.0, progress=False)
    >>> found.features["score"].round(2)
    array([0.97, 0.86])
    """
    how = running(executor=executor, checkpoint=checkpoint, progress=progress)
    search = search_for(
        max_shifts=0.0, tilt=tilt, resolution=resolution, refine=False, estimate="mode"
    )
    particles = as_molecules("molecules", molecules)
    planned = plan(
        tomogram,
        particles,
        search,
        template=template,
        mask=mask,
        scale=scale,
        tomogram_feature=tomogram_feature,
    )
    _warn(planned, len(particles))
    found = find_planned(planned, how)
    return particles.with_features(score=found.scores, template=found.templates)


def _warn(planned: Plan, count: int) -> None:
    leaving = check_inside(planned.sources, planned.box, planned.radius)
    warn_of_leaving(leaving, count)
    warn_of_empty(planned.empty)


@dataclass(frozen=True, eq=False)
class Landscape:
    """Scores around the poses of n particles."""

    scores: NDArray[np.float32]
    """(n, r, z, y, x), the normalised correlation with the template turned by each
    rotation and shifted along z, y, x; 0 of a particle without a signal."""
    rotations: Rotation
    """r rotations on top of the particles' own, template to box, on zyx vectors."""
    shifts: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
    """In nm along z, y, x of the particle's frame: whole voxels."""


@verb
def landscape(
    tomogram: Any,
    molecules: Any,
    *,
    template: Any,
    mask: Any = None,
    scale: float | None = None,
    max_shifts: Any = None,
    rotations: Any = None,
    tilt: Any = None,
    resolution: float | None = None,
    symmetry: str = "C1",
    tomogram_feature: str = "tomogram",
    executor: Executor | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Landscape:
    """Score particles at all poses around those that they have.

    Parameters
    ----------
    tomogram, molecules, mask, scale, tilt, resolution, tomogram_feature
        See `align`.
    template : ImageProvider or (z, y, x) array
        What is looked for: one template.
    max_shifts, rotations, symmetry
        Which poses, see `align`: all rotations, and all shifts by whole voxels.
    executor, checkpoint, progress
        See `align`.

    Returns
    -------
    Landscape
        The scores, with what their axes mean.

    Raises
    ------
    TypeError, ValueError
        Before any work starts, if an argument is wrong, two do not go together, or
        memory does not hold the scores.

    Examples
    --------
    >>> import funpipe as fp
    >>> blob = fp.from_gaussian((8.0, 8.0, 8.0), sigma=(0.5, 1.0, 1.5))
    >>> tomogram = np.zeros((20, 20, 20)); tomogram[6:14, 6:14, 6:14] = blob(1.0)
    >>> found = landscape(
    ...     tomogram, [[9.5, 9.5, 8.5]], template=blob, scale=1.0, progress=False
    ... )
    >>> found.scores.shape, found.shifts[2]
    ((1, 1, 3, 3, 3), array([-1.,  0.,  1.]))
    >>> found.scores[0, 0, 1, 1].round(2)
    array([0.62, 0.89, 1.  ], dtype=float32)
    """
    how = running(executor=executor, checkpoint=checkpoint, progress=progress)
    search = search_for(
        max_shifts=max_shifts,
        rotations=rotations,
        tilt=tilt,
        resolution=resolution,
        symmetry=symmetry,
        refine=False,
        estimate="mode",
    )
    particles = as_molecules("molecules", molecules)
    planned = plan(
        tomogram,
        particles,
        search,
        template=template,
        mask=mask,
        scale=scale,
        tomogram_feature=tomogram_feature,
    )
    if len(planned.templates) != 1:
        raise ValueError(
            f"template must be one, not {len(planned.templates)}: call landscape for "
            "each of them"
        )
    axes = _whole_voxels(planned.sampling.window)
    grid = planned.sampling.grid.rotations
    shape = len(particles), len(grid), *map(len, axes)
    _check_room(shape)
    _warn(planned, len(particles))
    boxes = cropped_boxes(planned.sources, planned.support)
    voxel = common_scale(planned.sources)
    facts = planned.templates, planned.sampling, planned.support, voxel
    job = Job(
        "landscape",
        boxes.chunks,
        boxes.parts,
        partial(_task, boxes.cut, *facts),
        boxes.cut,
        partial(_facts, facts, boxes.keys),
    )
    scores = np.empty(shape, np.float32)
    with closing(results(job, how)) as found:
        for chunk, each in zip(boxes.chunks, found, strict=True):
            scores[chunk.indices] = each["scores"].reshape(-1, *shape[1:])
    z, y, x = (voxel * each for each in axes)
    return Landscape(scores, grid, (z, y, x))


def _whole_voxels(window: tuple[float, float, float]) -> list[Array]:
    return [np.arange(-int(each), int(each) + 1.0) for each in window]


def _check_room(shape: tuple[int, ...]) -> None:
    needed = 4.0 * np.prod(np.array(shape, float))
    most = _PART * check.memory()
    if needed > most:
        n, r, z, y, x = shape
        raise WrongValueError(
            Argument("rotations"),
            f" must leave scores that fit into memory: those of {n:,} particles at "
            f"{r:,} rotations and {z * y * x:,} shifts take {needed / 1e9:,.1f} GB, of "
            f"which there may be {most / 1e9:,.1f}; give fewer, or some particles at "
            "a time",
            name="rotations",
            value=r,
        )


def _facts(facts: Any, keys: Callable[[], list[str]]) -> tuple[Any, list[str]]:
    return facts, keys()


def _task(
    cut: Callable[[Any], CropPiece],
    templates: Array,
    sampling: Any,
    support: Any,
    scale: float,
) -> Task:
    """Return what scores the boxes of a part."""
    window, grid, finest = sampling
    with one_thread():
        bank = template_bank(
            templates, grid, window, finest, support=support, refined=False
        )
    return partial(_scores, cut=cut, bank=bank, scale=scale)


def _scores(
    part: Any,
    *,
    cut: Callable[[Any], CropPiece],
    bank: Any,
    scale: float,
    go_on: Callable[[], None],
) -> Result:
    _, crops, orientations, tilt = cut(part)
    go_on()
    data, whole = seen_by(crops, orientations, per_voxel(tilt, scale), bank)
    return {"scores": all_scores(data, whole, bank, go_on)}
