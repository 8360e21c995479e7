"""Alignment: pipelines resolved to arrays, boxes cut, poses put back.

`align` is three functions in a row: `subtomograms` cuts boxes in each particle's
frame, `align_subtomograms` finds each box's pose, `apply_alignment` moves the
molecules there.
"""

from __future__ import annotations

import itertools
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar, cast

import numpy as np
import toolz
from numpy.typing import NDArray

from funpipe import arguments as check
from funpipe.arguments import Image, fail
from funpipe.findings import (
    Finding,
    doubles,
    off_centre,
    scales,
    small_box,
    tight_mask,
)
from funpipe.fourier import Tilt, as_tilt
from funpipe.geometry import RotationGrid, rotation_grid
from funpipe.matching import (
    Bank,
    Match,
    masked,
    match,
    noise_power,
    template_bank,
)
from funpipe.molecules import Molecules, as_molecules
from funpipe.pipeline import ImageConverter, ImageProvider
from funpipe.stage_functions import StageFunction
from funpipe.subtomograms import check_some, parts, warn_of_leaving
from funpipe.tomograms import (
    Piece,
    Share,
    boxes_of,
    check_shares,
    common_scale,
    pieces,
    shares_of,
    warn_of_empty,
)

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = [
    "Alignment",
    "Plan",
    "Prepared",
    "align",
    "align_subtomograms",
    "apply_alignment",
    "plan",
    "prepare",
]

Array: TypeAlias = NDArray[Any]
Function = TypeVar("Function", bound=Callable[..., Any])


def _curried(function: Function) -> Function:
    """Curry a function, and let it keep its signature for type checkers."""
    return cast("Function", toolz.curry(function))


class Prepared(NamedTuple):
    """The template and the mask that an alignment uses, at its scale."""

    template: Image
    """(z, y, x), or (m, z, y, x) for several templates."""
    mask: Image
    """Of the same shape; all 1 where no mask is given."""


@dataclass(frozen=True, eq=False)
class Alignment:
    """Where the template lies in each of n boxes.

    Template point q lies in box i at ``R_i @ (q − c) + c + t_i / scale``.
    """

    rotations: Rotation
    """n rotations, template to box, on zyx vectors."""
    shifts: NDArray[np.float64]
    """(n, 3), nm, z, y, x."""
    scores: NDArray[np.float64]
    """(n,), the normalised correlation, −1 to 1."""
    templates: NDArray[np.int64]
    """(n,), which template fits best."""
    shift_errors: NDArray[np.float64]
    """(n,), nm, the root of the expected squared distance; NaN without refinement."""
    angle_errors: NDArray[np.float64]
    """(n,), degrees, likewise; NaN also where rotations were not searched."""

    def __len__(self) -> int:
        return len(self.scores)


@_curried
def align(
    tomogram: Any,
    molecules: Any,
    *,
    template: Any,
    mask: Any = None,
    scale: float | None = None,
    max_shifts: Any = 1.0,
    rotations: Any = None,
    tilt: Any = None,
    resolution: float | None = None,
    symmetry: str = "C1",
    refine: bool = True,
    whiten: bool = False,
    tomogram_feature: str = "tomogram",
    preflight: bool = True,
    executor: Executor | None = None,
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
    max_shifts : float or (float, float, float)
        The largest shift along z, y, x of the particle's frame, in nm.
    rotations : None, (maximum, step), three such pairs, "all", or Rotation
        The rotations to try, on top of the particles' own: none; degrees, in a ball
        of rotations by up to the maximum; degrees about z, y, x of the particle's
        frame; all there are; or any.
    tilt : None, (float, float), or tilt weights
        What the tilt series measured: all; or a range in degrees about y; or
        `single_axis`, `dual_axis`.
    resolution : float, optional
        The finest period used, in nm; by default Nyquist's, two voxels.
    symmetry : str
        Of the template, ``C1``, ``C2``, … ``D2``, … ``T``, ``O`` or ``I``: of
        rotations that make it look the same only one is tried.
    refine : bool
        Whether poses go on from the best of the grid to the continuous optimum;
        otherwise they are exactly rotations that were tried, and whole voxels.
    whiten : bool
        Whether frequencies are weighted by the inverse of the subtomograms' own
        radial power spectrum, for noise that is not white.
    tomogram_feature : str
        The feature of the molecules that names each one's tomogram, where there is
        a mapping; names are compared as texts.
    preflight : bool
        Whether to warn of what looks wrong in template, mask and molecules, see
        `check`, which looks at more.
    executor : concurrent.futures.Executor, optional
        Where the work runs; by default in this process.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    Molecules
        At their new positions and rotations, in the same order, with the features
        they had and ``score``, ``template``, ``shift`` (nm moved), ``angle``
        (degrees turned), ``shift_error`` (nm) and ``angle_error`` (degrees), the
        roots of the expected squared distances from the truth.

    Raises
    ------
    TypeError, ValueError
        Before any work starts, if an argument is wrong or two do not go together; of
        many tomograms also if one that is named is missing, or scales differ.

    Warns
    -----
    UserWarning
        If boxes leave the tomogram; if one of many tomograms has no particles; if
        preflight finds something.

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
    planned = plan(
        tomogram,
        molecules,
        template=template,
        mask=mask,
        scale=scale,
        max_shifts=max_shifts,
        rotations=rotations,
        tilt=tilt,
        resolution=resolution,
        symmetry=symmetry,
        refine=refine,
        whiten=whiten,
        tomogram_feature=tomogram_feature,
    )
    particles, shares, empty, search, prepared = planned
    box = prepared.template.shape[1:]
    leaving = check_shares(shares, particles, box, finite=True)
    warn_of_leaving(leaving, len(particles), stacklevel=4)
    warn_of_empty(empty, stacklevel=4)
    if preflight and (findings := planned.findings()):
        listed = "\n".join(f"- {each}" for each in findings)
        warnings.warn(f"preflight, see funpipe.check:\n{listed}", stacklevel=3)
    found = _align_parts(
        pieces(shares, particles, box),
        partial(boxes_of, shares, particles, box),
        particles.rotations,
        prepared,
        search,
        common_scale(shares),
        executor,
        progress,
    )
    return apply_alignment(particles, found)


@_curried
def align_subtomograms(
    boxes: Any,
    *,
    template: Any,
    mask: Any = None,
    scale: float,
    max_shifts: Any = 1.0,
    rotations: Any = None,
    tilt: Any = None,
    orientations: Rotation | None = None,
    resolution: float | None = None,
    symmetry: str = "C1",
    refine: bool = True,
    whiten: bool = False,
    executor: Executor | None = None,
    progress: bool = True,
) -> Alignment:
    """Align subtomograms to a template.

    Parameters
    ----------
    boxes : (n, z, y, x) array
        Subtomograms, each in its particle's own frame.
    template, mask, max_shifts, rotations, tilt, resolution
        See `align`.
    symmetry, refine, whiten, executor, progress
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
    scale = check.positive("scale", scale)
    search = _search(
        scale, max_shifts, rotations, symmetry, tilt, resolution, refine, whiten
    )
    prepared = _prepare_all(template, mask, scale)
    array = _check_boxes(boxes, prepared.template.shape[1:])
    _check_window(search, array.shape[1:])
    frames = _check_orientations(orientations, len(array))
    work = (
        Piece(part, array[part], search.tilt) for part in parts(np.arange(len(array)))
    )
    return _align_parts(
        work,
        array.__getitem__,
        frames,
        prepared,
        search,
        scale,
        executor,
        progress,
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
    ...     Rotation.identity(1), np.array([[0, 0, 2.0]]), one, one, nothing, nothing
    ... )
    >>> apply_alignment(np.array([[5.0, 5.0, 5.0]]), found).positions
    array([[5., 5., 7.]])
    """
    particles = as_molecules("molecules", molecules)
    if len(particles) != len(found):
        raise ValueError(
            f"molecules must be {len(found)}, as many as were aligned, "
            f"not {len(particles)}"
        )
    return Molecules(
        particles.positions + particles.rotations.apply(found.shifts),
        particles.rotations * found.rotations,
        {
            **particles.features,
            "score": found.scores,
            "template": found.templates,
            "shift": np.linalg.norm(found.shifts, axis=1),
            "angle": np.degrees(found.rotations.magnitude()),
            "shift_error": found.shift_errors,
            "angle_error": found.angle_errors,
        },
    )


def prepare(template: Any, mask: Any = None, scale: float = 1.0) -> Prepared:
    """Return the very template and mask that `align` uses at a scale.

    Parameters
    ----------
    template, mask
        See `align`.
    scale : float
        nm per voxel.

    Returns
    -------
    Prepared
        ``template`` and ``mask``, each (z, y, x) float32, or (m, z, y, x) for
        several templates.

    Raises
    ------
    TypeError, ValueError
        If one is no template or mask, their shapes differ, the mask is empty, or
        the template constant under it.

    Examples
    --------
    >>> import funpipe as fp
    >>> blob = fp.from_gaussian((8.0, 8.0, 8.0), sigma=1.0)
    >>> template, mask = prepare(blob, fp.soft_otsu(0.5, 0.5), scale=1.0)
    >>> template.shape, mask.shape
    ((8, 8, 8), (8, 8, 8))
    """
    prepared = _prepare_all(template, mask, check.positive("scale", scale))
    if len(prepared.template) == 1:
        return Prepared(prepared.template[0], prepared.mask[0])
    return prepared


class _Search(NamedTuple):
    """Where and how a pose is looked for, in voxels."""

    window: tuple[float, float, float]
    grid: RotationGrid
    tilt: Tilt
    finest: float
    refined: bool
    whitened: bool


class Plan(NamedTuple):
    """The arguments of an alignment, checked, before any tomogram is read."""

    particles: Molecules
    shares: list[Share]
    """The tomograms and their particles."""
    empty: list[str]
    """Names of tomograms without particles."""
    search: _Search
    prepared: Prepared

    def findings(self) -> list[Finding]:
        """Return what looks wrong and costs little to find."""
        template, mask = self.prepared
        return [
            *scales(self.shares),
            *tight_mask(template, mask),
            *small_box(template, mask, self.search.window),
            *off_centre(template, mask, common_scale(self.shares)),
            *doubles(self.shares, self.particles),
        ]


def plan(
    tomogram: Any,
    molecules: Any,
    *,
    template: Any,
    mask: Any,
    scale: float | None,
    max_shifts: Any,
    rotations: Any,
    tilt: Any,
    resolution: float | None,
    symmetry: str,
    refine: bool,
    whiten: bool,
    tomogram_feature: str,
) -> Plan:
    """Check the arguments of `align`, and make of them what it works with."""
    particles = as_molecules("molecules", molecules)
    shares, empty = shares_of(tomogram, particles, scale, tilt, tomogram_feature)
    voxel = common_scale(shares)
    search = _search(
        voxel, max_shifts, rotations, symmetry, tilt, resolution, refine, whiten
    )
    prepared = _prepare_all(template, mask, voxel)
    box = prepared.template.shape[1:]
    _check_window(search, box)
    _check_fits(shares, box)
    check_some(particles)
    return Plan(particles, shares, empty, search, prepared)


def _search(
    scale: float,
    max_shifts: Any,
    rotations: Any,
    symmetry: str,
    tilt: Any,
    resolution: float | None,
    refine: bool,
    whiten: bool,
) -> _Search:
    z, y, x = check.non_negative_vector("max_shifts", max_shifts)
    finest = check.optional_positive("resolution", resolution) or 2 * scale
    if finest < 2 * scale * (1 - 1e-6):
        raise ValueError(
            f"resolution must be {2 * scale:.6g} nm or more, two voxels, not {finest}"
        )
    return _Search(
        (z / scale, y / scale, x / scale),
        rotation_grid(rotations, check.symmetry("symmetry", symmetry)),
        as_tilt("tilt", tilt),
        finest / scale,
        refine,
        whiten,
    )


def _prepare_all(template: Any, mask: Any, scale: float) -> Prepared:
    templates = _template_images(template, scale)
    masks = _mask_images(mask, templates, scale)
    for image, under in zip(templates, masks, strict=True):
        if image.shape != templates[0].shape:
            raise ValueError(
                "template: several must have one shape, not "
                f"{templates[0].shape} and {image.shape}"
            )
        if under.shape != image.shape:
            raise ValueError(
                f"mask must have the template's shape {image.shape}, not {under.shape}"
            )
        if not (under > 0).any():
            raise ValueError("mask must be above 0 somewhere, but is empty")
        inside = image[under > 0]
        if np.ptp(inside) <= 1e-6 * np.abs(inside).max():
            raise ValueError(
                "template must vary under its mask, but is constant there: "
                "there is nothing to align to"
            )
    return Prepared(np.stack(templates), np.stack(masks))


def _template_images(template: Any, scale: float) -> list[Image]:
    images = _images("template", template, scale)
    if images is None:
        fail("template", "a provider, a 3-D array, or several of them", template)
    return images


def _mask_images(mask: Any, templates: list[Image], scale: float) -> list[Image]:
    if mask is None:
        return [np.ones_like(each) for each in templates]
    if isinstance(mask, ImageConverter):
        return [mask(each, scale) for each in templates]
    images = _images("mask", mask, scale)
    if images is None:
        fail("mask", "a converter, a provider, a 3-D array, or None", mask)
    if len(images) == 1:
        images = images * len(templates)
    if len(images) != len(templates):
        raise ValueError(
            f"mask must be one, or {len(templates)}, one for each template, "
            f"not {len(images)}"
        )
    return images


def _images(name: str, value: Any, scale: float) -> list[Image] | None:
    """Return the images of a provider, an array, or several; None for other things."""
    if isinstance(value, StageFunction):
        value.refuse()
    if isinstance(value, ImageProvider):
        given: Any = value(scale)
        images = given if isinstance(given, list) else [given]
        return [check.image(name, each) for each in images]
    if isinstance(value, np.ndarray) and value.ndim == 3:
        return [check.image(name, value)]
    if isinstance(value, list | tuple | np.ndarray) and len(value):
        found = [_images(f"{name}[{i}]", each, scale) for i, each in enumerate(value)]
        if all(each is not None for each in found):
            return [image for each in found if each is not None for image in each]
    return None


def _check_boxes(boxes: Any, box: tuple[int, ...]) -> Array:
    array = np.asarray(boxes)
    if array.ndim != 4 or array.dtype.kind not in "biuf":
        fail("boxes", "an array of shape (n, z, y, x)", boxes)
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
    return array.astype(np.float32, copy=False)


def _check_window(search: _Search, box: tuple[int, ...]) -> None:
    for axis, limit, size in zip("zyx", search.window, box, strict=True):
        if limit > (size - 1) / 2:
            raise ValueError(
                f"max_shifts must stay within half the box, {(size - 1) / 2:g} voxels "
                f"along {axis}, not {limit:.6g}"
            )


def _check_fits(shares: list[Share], box: tuple[int, ...]) -> None:
    for share in shares:
        if any(inner > outer for inner, outer in zip(box, share.shape, strict=True)):
            which = "the tomogram" if share.name is None else f"{share.name!r}"
            raise ValueError(
                f"template must fit into {which} of {share.shape} voxels, but is "
                f"{box} at {share.scale:.6g} nm per voxel"
            )


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


# How the work is cut: parts of the particles, a bounded number of them at a time.

_IN_FLIGHT = 16  # parts that wait for an executor
_NOISE_SAMPLE = 256  # particles, evenly spread, that the noise is estimated from


def _align_parts(
    work: Iterable[Piece],
    boxes_of: Callable[[NDArray[np.intp]], Array],
    orientations: Rotation,
    prepared: Prepared,
    search: _Search,
    scale: float,
    executor: Executor | None,
    progress: bool,
) -> Alignment:
    count = len(orientations)
    templates = np.stack([masked(*pair) for pair in zip(*prepared, strict=True)])
    bank = template_bank(
        templates, search.grid, search.window, search.finest, refined=search.refined
    )
    noise = None
    if search.whitened:
        chosen = np.unique(np.linspace(0, count - 1, _NOISE_SAMPLE).astype(np.intp))
        noise = noise_power(boxes_of(chosen), bank)
    done: list[NDArray[np.intp]] = []  # which particles, in the order of the work
    task = partial(_match_piece, bank=bank, noise=noise)
    tasks = _tasks(work, orientations, done)
    matches = list(_with_bar(_run(task, tasks, executor), count, progress))
    order = np.argsort(np.concatenate(done), kind="stable")
    return Alignment(
        _joined([each.rotations for each in matches])[order],
        np.concatenate([each.shifts for each in matches])[order] * scale,
        np.concatenate([each.scores for each in matches])[order],
        np.concatenate([each.templates for each in matches])[order],
        np.concatenate([each.shift_errors for each in matches])[order] * scale,
        np.concatenate([each.angle_errors for each in matches])[order],
    )


def _tasks(
    work: Iterable[Piece], orientations: Rotation, done: list[NDArray[np.intp]]
) -> Iterator[tuple[Array, Rotation, Tilt]]:
    for part, boxes, tilt in work:
        done.append(part)
        yield boxes, orientations[part], tilt


def _match_piece(
    boxes: Array, orientations: Rotation, tilt: Tilt, *, bank: Bank, noise: Any
) -> Match:
    return match(boxes, orientations, bank=bank, tilt=tilt, noise=noise)


def _run(
    task: Callable[..., Match], work: Iterable[Any], executor: Executor | None
) -> Iterator[Match]:
    """Run a task on all work, in order; an executor never holds more than some."""
    if executor is None:
        yield from itertools.starmap(task, work)
        return
    waiting: deque[Future[Match]] = deque()
    for each in work:
        waiting.append(executor.submit(task, *each))
        if len(waiting) >= _IN_FLIGHT:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _joined(several: list[Rotation]) -> Rotation:
    from scipy.spatial.transform import Rotation

    return Rotation.from_quat(np.concatenate([each.as_quat() for each in several]))


def _with_bar(found: Iterable[Match], count: int, progress: bool) -> Iterator[Match]:
    from tqdm import tqdm

    with tqdm(total=count, unit="particle", disable=not progress) as bar:
        for each in found:
            bar.update(len(each.scores))
            yield each
