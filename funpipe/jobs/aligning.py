"""Alignment: arguments checked, crops matched, poses put back.

`align` is what three functions do in a row: `subtomograms` cuts boxes in each
particle's frame, `align_subtomograms` finds each box's pose, `apply_alignment` moves
the molecules there. But it turns no box, see `funpipe.space.crops`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.algebra.verbs import verb
from funpipe.base import arguments as check
from funpipe.base.digests import digest
from funpipe.base.molecules import Molecules, as_molecules
from funpipe.base.wording import fail
from funpipe.boxes.chunks import chunk_size, parts
from funpipe.boxes.cropping import Boxes, CropPiece
from funpipe.boxes.opening import (
    check_inside,
    warn_of_empty,
    warn_of_leaving,
)
from funpipe.engine.matching import ENGINE
from funpipe.engine.seam import Engine
from funpipe.jobs.findings import seen, warn_of_findings
from funpipe.jobs.planning import plan
from funpipe.jobs.posing import Alignment, find_planned, find_poses
from funpipe.jobs.preparing import masked_templates, prepare_all
from funpipe.jobs.searching import sampling, search_for
from funpipe.jobs.working import memory_for, running
from funpipe.space.crops import whole_box, whole_boxes
from funpipe.space.tilts import Tilt
from funpipe.space.transfer import placed

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = [
    "ALIGNED",
    "align",
    "align_subtomograms",
    "apply_alignment",
]

ALIGNED = (
    *("score", "template", "shift", "angle", "shift_error", "angle_error"),
    *("at_limit", "converged", "log_odds", "mode_weight", "template_probability"),
)
"""The features that an alignment adds."""

Array: TypeAlias = NDArray[Any]


_LESS = "a smaller template, a coarser resolution or fewer rotations"


@verb
@memory_for("align", _LESS)
def align(
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
    refine: bool = True,
    whiten: bool = False,
    estimate: str = "mean",
    prior: Any = None,
    tomogram_feature: str = "tomogram",
    preflight: bool = True,
    engine: Engine = ENGINE,
    executor: Executor | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Molecules:
    """Align the particles of a tomogram, or of many, to a template.

    Parameters
    ----------
    tomogram : array-like, path, Tomogram, or mapping from names to such
        Axes z, y, x; of a file only the blocks that are needed are read. Of many
        tomograms all have one scale; a `Tomogram` has a scale and a tilt of its own.
    molecules : Molecules, (n, 3) array, or object with .pos and .rotator
        Where the particles are, in nm, and how they are turned.
    template : ImageProvider, (z, y, x) array, or several of them
        What is looked for; an array is taken to have the tomogram's scale. Boxes
        have its shape.
    mask : ImageConverter, ImageProvider, (z, y, x) array, or None
        Where the template counts, from 0 to 1; a converter is applied to the
        template.
    scale : float, optional
        nm per voxel; by default what the tomogram's file says.
    max_shifts : float or (float, float, float), optional
        The largest shift along z, y, x of the particle's frame, in nm; by default 1,
        or half the box where that is less.
    rotations : None, (maximum, step), three such pairs, "all", or Rotation
        The rotations to try, on top of the particles' own: none; degrees, in a ball
        of rotations by up to the maximum; degrees about z, y, x of the particle's
        frame; all there are; or any. A step says how finely poses are covered, and a
        maximum, as that of the shifts, is a limit: what is refined does not go beyond.
    tilt : None, (float, float), or tilt weights
        What the tilt series measured: all; or a range in degrees about y; or
        `single_axis`, `dual_axis`; or a `tilt_series`, with what dose and contrast
        transfer left of each wave at the particle's own height; or any function like
        those of the first two, of frequency vectors (3, ...), z, y, x of the tomogram,
        in 1/nm, whose weights are (...), 0 or more.
    resolution : float, optional
        The finest period used, in nm; by default Nyquist's, two voxels. Waves of
        which the template has nothing cost nothing.
    symmetry : str
        Of the template, ``C1`` to ``C360``, ``D1`` to ``D360``, ``T``, ``O`` or ``I``:
        of rotations that make it look the same only one is tried.
    refine : bool
        Whether poses go on from the best of the grid to the continuous optimum;
        otherwise they are exactly rotations that were tried, and whole voxels.
    whiten : bool
        Whether frequencies count by what the subtomograms themselves say of them: the
        noise that the template leaves at the best poses of a sample, and how much of
        the template they have there, both by |frequency|. Poses are better where noise
        is not white, as in tomograms, or the data are blurred; where neither is so,
        about as good, and the sample's alignment is what it costs. Errors then are
        true also of data that are not like the template and of crowded ones. Of use
        for tomograms with some tens of particles or more; off by default, so that a
        particle's pose does not depend on the others.
    estimate : str
        Of refined poses: ``"mean"``, the posterior mean of all that may be true, which
        is nearest to the truth by root mean square where the signal is weak, and the
        best pose where that is sure, or where the search is too wide to weigh all of
        it; or ``"mode"``, always the best pose.
    prior : None or (float, float)
        How near to where they are particles are thought to be, before the data say
        anything: the standard deviations of their shifts, along each axis, in nm, and
        of their rotations, about each axis, in degrees; None for one of them: within
        the limits all are as likely, as without a prior. Means, their errors and
        ``log_odds`` take it into account; a score does not.
    tomogram_feature : str
        The feature of the molecules that names each one's tomogram, where there is
        a mapping; names are compared as texts.
    preflight : bool
        Whether to warn of what looks wrong in template, mask and molecules, see
        `check`, which looks at more.
    engine : funpipe.engine.Engine
        How poses are found; `funpipe.engine.seam` says how to write another.
    executor : concurrent.futures.Executor, optional
        Where the work runs: threads, processes, or a cluster, by whatever can submit;
        by default here. Poses are the same to the last bit wherever, if BLAS can be
        kept to one thread (extra ``fast``), on processors of one kind; then all
        processors of this machine are used by default, by threads or, of many thousand
        particles in files, by processes; otherwise one.
    checkpoint : path, optional
        A folder, there or not yet, where what is finished is kept. The same call finds
        it there and goes on; with anything else changed it begins anew. Of files their
        path, size and time tell which they are, of arrays their content; a file that
        changes during a run ends it.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    Molecules
        At their new positions and rotations, in the same order, with the features
        they had and ``score``, ``template``, ``shift`` (nm moved), ``angle``
        (degrees turned), ``shift_error`` (nm) and ``angle_error`` (degrees), the
        roots of the expected squared distances from the truth, ``at_limit``,
        whether the best pose ended on a limit of the search, and ``converged``,
        whether it is at an optimum: another step would gain nothing against the noise;
        and of estimates by the mean ``log_odds``, ln of the odds that there is a
        particle, ``mode_weight``, the probability of the poses around the best, and
        ``template_probability``, that it is this template of several; otherwise NaN. A
        particle without a signal stays where it is, with a score of 0 and errors of
        NaN.

    Raises
    ------
    TypeError, ValueError
        Before any work starts, if an argument is wrong or two do not go together; of
        many tomograms also if one that is named is missing, or scales differ. Later,
        if a tomogram's file is replaced or written to meanwhile.
    MemoryError
        If there is not enough memory, with what to lower.

    Warns
    -----
    UserWarning
        If boxes leave the tomogram; if one of many tomograms has no particles; if
        preflight finds something; if there is nothing in some of the boxes; if the
        mask goes beyond 0 to 1.

    Notes
    -----
    Called without a tomogram and molecules it waits for them:
    ``align(template=t, mask=m)`` is a function of the two.

    Examples
    --------
    >>> import funpipe as fp
    >>> blob = fp.from_gaussian((8.0, 8.0, 8.0), sigma=(0.5, 1.0, 1.5))
    >>> tomogram = np.zeros((20, 20, 20)); tomogram[6:14, 6:14, 6:14] = blob(1.0)
    >>> picks = np.array([[9.0, 9.0, 10.0]])
    >>> found = align(tomogram, picks, template=blob, scale=1.0, progress=False)
    >>> found.positions.round(2)
    array([[9.5, 9.5, 9.5]])
    """
    how = running(executor=executor, checkpoint=checkpoint, progress=progress)
    preflight = check.flag("preflight", preflight)
    search = search_for(
        max_shifts=max_shifts,
        rotations=rotations,
        tilt=tilt,
        resolution=resolution,
        symmetry=symmetry,
        refine=refine,
        whiten=whiten,
        estimate=estimate,
        prior=prior,
        engine=engine,
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
    sources, box = planned.sources, planned.box
    leaving = check_inside(sources, box, planned.radius)
    warn_of_leaving(leaving, len(particles))
    warn_of_empty(planned.empty)
    if preflight:
        warn_of_findings(seen(planned))
    return apply_alignment(particles, find_planned(planned, how))


@verb
@memory_for("align_subtomograms", _LESS)
def align_subtomograms(
    boxes: Any,
    *,
    template: Any,
    mask: Any = None,
    scale: float,
    max_shifts: Any = None,
    rotations: Any = None,
    tilt: Any = None,
    orientations: Rotation | None = None,
    resolution: float | None = None,
    symmetry: str = "C1",
    refine: bool = True,
    whiten: bool = False,
    estimate: str = "mean",
    prior: Any = None,
    engine: Engine = ENGINE,
    executor: Executor | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Alignment:
    """Align subtomograms to a template.

    Parameters
    ----------
    boxes : (n, z, y, x) array
        Subtomograms, each in its particle's own frame.
    template, mask, max_shifts, rotations, tilt, resolution
        See `align`.
    symmetry, refine, whiten, estimate, prior, engine
        See `align`.
    executor, checkpoint, progress
        See `align`.
    scale : float
        nm per voxel.
    orientations : Rotation, optional
        n rotations from the particles' frames to the tomogram's, for the missing
        wedge; by default the identity.

    Returns
    -------
    Alignment
        The best pose of each box.

    Raises
    ------
    TypeError, ValueError
        Before any work starts, if an argument is wrong or two do not go together.

    Examples
    --------
    >>> import funpipe as fp
    >>> blob = fp.from_gaussian((8.0, 8.0, 8.0), sigma=(0.5, 1.0, 1.5))
    >>> moved = fp.shift((0.0, 0.0, 0.5)) @ blob
    >>> found = align_subtomograms(
    ...     moved(1.0)[None], template=blob, scale=1.0, progress=False
    ... )
    >>> found.shifts.round(2) + 0
    array([[0. , 0. , 0.5]])
    """
    how = running(executor=executor, checkpoint=checkpoint, progress=progress)
    scale = check.positive("scale", scale)
    search = search_for(
        max_shifts=max_shifts,
        rotations=rotations,
        tilt=tilt,
        resolution=resolution,
        symmetry=symmetry,
        refine=refine,
        whiten=whiten,
        estimate=estimate,
        prior=prior,
        engine=engine,
    )
    prepared = prepare_all(template, mask, scale)
    where = sampling(search, prepared, scale)
    array = _check_boxes(boxes, prepared.template.shape[1:])
    frames = _check_orientations(orientations, len(array))
    return find_poses(
        _given_boxes(array, frames, search.tilt, scale),
        search=search,
        sampling=where,
        templates=masked_templates(prepared),
        support=whole_box(array.shape[1:]),
        scale=scale,
        how=how,
    )


def apply_alignment(molecules: Any, found: Alignment) -> Molecules:
    """Move and turn molecules to where their boxes' alignment found the template.

    Parameters
    ----------
    molecules : Molecules, (n, 3) array, or object with .pos and .rotator
        The molecules whose boxes were aligned, in the same order.
    found : Alignment
        What `align_subtomograms` returned.

    Returns
    -------
    Molecules
        With ``x + O @ t`` for the position x and ``O R`` for the rotation O, and
        features as `align` says.

    Raises
    ------
    ValueError
        If their numbers differ.

    Examples
    --------
    >>> from scipy.spatial.transform import Rotation
    >>> nothing, one = np.full(1, np.nan), np.ones(1)
    >>> found = Alignment(
    ...     Rotation.identity(1),
    ...     np.array([[0, 0, 2.0]]),
    ...     scores=one,
    ...     templates=np.zeros(1, int),
    ...     shift_errors=nothing,
    ...     angle_errors=nothing,
    ...     at_limit=np.zeros(1, bool),
    ...     converged=np.ones(1, bool),
    ... )
    >>> apply_alignment(np.array([[5.0, 5.0, 5.0]]), found).positions
    array([[5., 5., 7.]])
    """
    particles = as_molecules("molecules", molecules)
    if not isinstance(found, Alignment):
        fail("found", "an Alignment, as align_subtomograms returns", found)
    if len(particles) != len(found):
        raise ValueError(
            f"molecules must be {len(found)}, as many as were aligned, "
            f"not {len(particles)}"
        )
    values = (
        found.scores,
        found.templates,
        np.linalg.norm(found.shifts, axis=1),
        np.degrees(found.rotations.magnitude()),
        found.shift_errors,
        found.angle_errors,
        found.at_limit,
        found.converged,
        found.log_odds,
        found.mode_weight,
        found.template_probability,
    )
    return Molecules(
        particles.positions + particles.rotations.apply(found.shifts),
        particles.rotations * found.rotations,
        {**particles.features, **dict(zip(ALIGNED, values, strict=True))},
    )


class _Numbered(NamedTuple):
    """A chunk of boxes that are there."""

    indices: NDArray[np.intp]


def _given_boxes(boxes: Array, frames: Rotation, tilt: Tilt, scale: float) -> Boxes:
    size = chunk_size(boxes.shape[1:])
    divided = list(map(_Numbered, parts(len(boxes), size)))
    pieces = partial(_pieces, boxes, frames, tilt, min(boxes.shape[1:]) * scale)
    return Boxes(
        divided,
        pieces,
        _as_it_is,
        partial(_some_pieces, pieces, size),
        partial(_keys, boxes, frames, tilt, divided),
    )


def _pieces(
    boxes: Array,
    frames: Rotation,
    tilt: Tilt,
    extent: float,
    some: Iterable[_Numbered],
    folder: Path | None = None,
) -> Iterator[CropPiece]:
    for (each,) in some:
        seen = placed(tilt, np.zeros((len(each), 3)), extent)
        yield CropPiece(each, whole_boxes(boxes[each]), frames[each], seen)


def _as_it_is(piece: CropPiece) -> CropPiece:
    return piece


def _some_pieces(
    pieces: Callable[[Iterable[_Numbered]], Iterator[CropPiece]],
    size: int,
    chosen: NDArray[np.intp],
) -> Iterator[CropPiece]:
    return pieces(_Numbered(chosen[each]) for each in parts(len(chosen), size))


def _keys(
    boxes: Array, frames: Rotation, tilt: Tilt, some: Iterable[_Numbered]
) -> list[str]:
    turns = frames.as_quat()
    return [digest((boxes[each], turns[each], tilt)) for (each,) in some]


def _check_boxes(boxes: Any, box: tuple[int, ...]) -> Array:
    wanted = "an array of shape (n, z, y, x)"
    array = check.as_array("boxes", wanted, boxes)
    if array.ndim != 4 or array.dtype.kind not in "biuf":
        fail("boxes", wanted, boxes)
    if len(array) == 0:
        raise ValueError("boxes must be one subtomogram or more, not none")
    if array.shape[1:] != box:
        raise ValueError(
            f"boxes must have the template's shape {box}, not {array.shape[1:]}"
        )
    finite = np.isfinite(array).all(axis=(1, 2, 3))
    if not finite.all():
        raise ValueError(
            f"boxes[{int(np.argmin(finite))}] must be finite, not with NaN or infinity"
        )
    return array


def _check_orientations(orientations: Any, count: int) -> Rotation:
    from scipy.spatial.transform import Rotation

    if orientations is None:
        return Rotation.identity(count)
    if not isinstance(orientations, Rotation) or orientations.single:
        fail("orientations", f"a Rotation of length {count}", orientations)
    if len(orientations) != count:
        raise ValueError(
            f"orientations must be {count}, one for each box, not {len(orientations)}"
        )
    return orientations
