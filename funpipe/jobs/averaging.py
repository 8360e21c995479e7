"""Averaging: the mean of subtomograms in their particles' frames."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.algebra.verbs import verb
from funpipe.base import arguments as check
from funpipe.base.arguments import Image
from funpipe.base.molecules import as_molecules
from funpipe.boxes.cutting import Piece, pieces
from funpipe.boxes.opening import (
    check_inside,
    check_some,
    common_scale,
    open_tomograms,
    warn_of_empty,
    warn_of_leaving,
)
from funpipe.space.fourier import as_tilt, check_weights, fourier_vectors, no_tilt

__all__ = ["average"]


@verb
def average(
    tomogram: Any,
    molecules: Any,
    *,
    shape: Any,
    scale: float | None = None,
    tilt: Any = None,
    tomogram_feature: str = "tomogram",
) -> Image:
    """Average the particles of a tomogram, or of many, each in its own frame.

    Parameters
    ----------
    tomogram, molecules, scale, tomogram_feature
        See `align`.
    shape : int or (int, int, int)
        Voxels of the average along z, y, x.
    tilt : None, (float, float), or tilt weights
        What the tilt series measured, see `align`. None gives the plain mean of
        the boxes; otherwise each wave of the mean is the weighted mean
        Σ W F / Σ W over the particles that measured it, and 0 if none did.

    Returns
    -------
    (z, y, x) array of float32
        The average.

    Raises
    ------
    TypeError, ValueError
        Before any work starts, if an argument is wrong, there are no particles, or
        one lies wholly outside the tomogram; of many tomograms also if one that is
        named is missing, or scales differ.

    Examples
    --------
    >>> tomogram = np.arange(1000.0).reshape(10, 10, 10)
    >>> picks = np.array([[4.0, 4.0, 4.0], [6.0, 4.0, 4.0]])
    >>> average(tomogram, picks, shape=3, scale=1.0)[1, 1, 1].round(2)
    np.float32(544.0)
    """
    particles = as_molecules("molecules", molecules)
    weights = as_tilt("tilt", tilt)
    sources, empty = open_tomograms(
        tomogram, particles, scale, weights, tomogram_feature
    )
    box = check.box("shape", check.shape("shape", shape))
    check_some(particles)
    leaving = check_inside(sources, box)
    work = pieces(sources, box)
    if all(each.tilt is no_tilt for each in sources):
        total = np.zeros(box)
        for piece in work:
            total += piece.boxes.sum(axis=0, dtype=np.float64)
        mean = total / len(particles)
    else:
        mean = _weighted_mean(work, box, common_scale(sources))
    warn_of_leaving(leaving, len(particles))
    warn_of_empty(empty)
    return np.asarray(mean, dtype=np.float32)


def _weighted_mean(
    work: Iterable[Piece], box: tuple[int, int, int], scale: float
) -> NDArray[Any]:
    """Return Σ W F / Σ W, each particle's W turned into its frame."""
    k = fourier_vectors(box, scale)
    waves = np.zeros(k.shape[1:], np.complex128)
    weights = np.zeros(k.shape[1:])
    for _, boxes, rotations, weights_of in work:
        for each, rotation in zip(boxes, rotations, strict=True):
            turned = np.tensordot(rotation.as_matrix(), k, axes=1)
            weight = check_weights(weights_of(turned), turned.shape[1:])
            waves += weight * scipy.fft.rfftn(each.astype(np.float64))
            weights += weight
    mean = scipy.fft.irfftn(waves / np.where(weights > 0, weights, 1), s=box)
    return np.asarray(mean)
