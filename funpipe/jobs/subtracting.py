"""Signal subtraction: boxes from which a known part of the particle is taken away."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.algebra.verbs import verb
from funpipe.base import arguments as check
from funpipe.base.arguments import Image
from funpipe.base.molecules import as_molecules
from funpipe.base.wording import fail
from funpipe.boxes.chunks import Chunk, chunk_keys, chunk_size, chunks
from funpipe.boxes.cutting import Piece, cut_piece, pieces_to_cut
from funpipe.boxes.opening import (
    Source,
    check_inside,
    check_some,
    common_scale,
    open_tomograms,
    warn_of_empty,
    warn_of_leaving,
)
from funpipe.jobs.preparing import prepare_all
from funpipe.jobs.working import Job, Result, results, running
from funpipe.space.fourier import fourier_vectors
from funpipe.space.tilts import as_tilt, no_tilt
from funpipe.space.transfer import part_left, taken

__all__ = ["subtract"]

Array: TypeAlias = NDArray[Any]

_AROUND = 2.0  # times a box: what a wedge spreads beyond it does not come back in


@verb
def subtract(
    tomogram: Any,
    molecules: Any,
    *,
    template: Any,
    mask: Any = None,
    scale: float | None = None,
    tilt: Any = None,
    amplitude: float | None = None,
    tomogram_feature: str = "tomogram",
    executor: Executor | None = None,
    progress: bool = True,
) -> NDArray[np.float32]:
    """Cut subtomograms, and subtract what a part of a template looks like in each.

    What stays can be looked at by itself: `align_subtomograms` takes the boxes, with
    the rest as a template and ``orientations=molecules.rotations``.

    Parameters
    ----------
    tomogram, molecules, scale, tilt, tomogram_feature
        See `align`.
    template : ImageProvider or (z, y, x) array
        The particle as a whole, of the contrast that the tomogram has, bright or dark.
        Boxes have its shape.
    mask : ImageConverter, ImageProvider, (z, y, x) array, or None
        The part that is subtracted, from 0 to 1; None: all. ``~mask`` of a pipeline
        keeps what the mask holds, as the mask of RELION's relion_particle_subtract.
    amplitude : float, optional
        How strong the particles are, as a multiple of the template; by default each
        one's own, see Notes.
    executor, progress
        See `align`.

    Returns
    -------
    (n, z, y, x) array of float32
        The boxes, in the order of the molecules, each in its particle's own frame.

    Raises
    ------
    TypeError, ValueError
        As `align`; also if there are several templates.

    Warns
    -----
    UserWarning
        If boxes leave the tomogram; of many tomograms, if one has no particles.

    Notes
    -----
    With P the part under the mask and Q the rest of the template, each with what the
    tilt series left of its waves, H T or W T, the particle's amplitude is the a of the
    least squares fit a P + b Q + c to all voxels of its box, and a P is subtracted. The
    rest has an amplitude of its own, so that a is right also where that is missing.

    Examples
    --------
    >>> import funpipe as fp
    >>> one, two = (fp.from_gaussian(8.0, 0.8, (0, 0, x))(1.0) for x in (-2.0, 2.0))
    >>> tomogram = np.zeros((20, 20, 20)); tomogram[6:14, 6:14, 6:14] = 3 * one + two
    >>> boxes = subtract(
    ...     tomogram,
    ...     np.array([[9.5, 9.5, 9.5]]),
    ...     template=one + two,
    ...     mask=one > two,
    ...     scale=1.0,
    ...     progress=False,
    ... )
    >>> bool(np.abs(boxes[0] - two)[one <= two].max() < 0.05 * two.max())
    True
    """
    how = running(executor=executor, progress=progress)
    given = None if amplitude is None else check.grey("amplitude", amplitude)
    particles = as_molecules("molecules", molecules)
    left = as_tilt("tilt", tilt)
    sources, empty = open_tomograms(tomogram, particles, scale, left, tomogram_feature)
    check_some(particles)
    voxel = common_scale(sources)
    whole, under = prepare_all(template, mask, voxel)
    if len(whole) > 1:
        fail("template", "one template", template)
    parts = _two_parts(whole[0], under[0], voxel)
    leaving = check_inside(sources, parts.box)
    divided = chunks(sources, chunk_size(parts.box))
    job = Job(
        "subtract",
        divided,
        partial(pieces_to_cut, parts.box),
        partial(partial, _subtracted, parts=parts, amplitude=given),
        partial(cut_piece, box=parts.box),
        partial(_facts, divided),
    )
    boxes = np.empty((len(particles), *parts.box), np.float32)
    with closing(results(job, how)) as found:
        for chunk, each in zip(divided, found, strict=True):
            boxes[chunk.indices] = each["boxes"]
    warn_of_leaving(leaving, len(particles))
    warn_of_empty(empty)
    return boxes


def _facts(divided: list[Chunk]) -> tuple[None, list[str]]:
    return None, chunk_keys(divided)


class _Parts(NamedTuple):
    """The part of a template that is subtracted, and the rest."""

    images: Image
    """(2, z, y, x)."""
    waves: NDArray[np.complex64]
    """Of the images with nothing around them."""
    around: tuple[int, int, int]
    """Voxels of an image with what is around it."""
    scale: float

    @property
    def box(self) -> tuple[int, int, int]:
        """Voxels of an image."""
        _, z, y, x = self.images.shape
        return z, y, x

    def seen(self, left: Array) -> Image:
        """Return the images with a part left of each wave."""
        waves = self.waves * left.astype(np.float32)
        images = scipy.fft.irfftn(waves, s=self.around, axes=(1, 2, 3))
        z, y, x = self.box
        return np.ascontiguousarray(images[:, :z, :y, :x])


def _two_parts(template: Image, mask: Image, scale: float) -> _Parts:
    images = np.stack([template * mask, template * (1 - mask)])
    z, y, x = (
        scipy.fft.next_fast_len(int(np.ceil(_AROUND * n)), real=True)
        for n in template.shape
    )
    waves = scipy.fft.rfftn(images, s=(z, y, x), axes=(1, 2, 3))
    return _Parts(images, waves, (z, y, x), scale)


def _subtracted(
    part: Source | Piece,
    *,
    parts: _Parts,
    amplitude: float | None,
    go_on: Callable[[], None],
) -> Result:
    """Return a part's boxes without what is subtracted."""
    _, boxes, rotations, tilt = cut_piece(part, parts.box)
    k = fourier_vectors(parts.around, parts.scale)
    found = np.empty_like(boxes)
    for i, (box, rotation) in enumerate(zip(boxes, rotations, strict=True)):
        go_on()
        images = parts.images
        if tilt is not no_tilt:
            turned = np.tensordot(rotation.as_matrix(), k, axes=1)[:, None]
            images = parts.seen(part_left(taken(tilt, [i]), turned)[0])
        a = _amplitude(box, images) if amplitude is None else amplitude
        with np.errstate(over="ignore", invalid="ignore"):  # said below
            found[i] = box - np.float32(a) * images[0]
    if amplitude is not None and not np.isfinite(found).all():
        fail("amplitude", "such that a float32 holds what is left", amplitude)
    return {"boxes": found}


def _amplitude(box: Image, images: Image) -> float:
    """Return how strong the first image is in a box, beside the second and a level."""
    flat = images.reshape(len(images), -1).astype(np.float64)
    flat -= flat.mean(axis=1, keepdims=True)
    products, theirs = flat @ flat.T, flat @ box.ravel().astype(np.float64)
    return float(np.linalg.lstsq(products, theirs, rcond=1e-9)[0][0])
