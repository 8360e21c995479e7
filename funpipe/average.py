"""Averaging: the mean of subtomograms in their particles' frames."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe import arguments as check
from funpipe.arguments import Image
from funpipe.fourier import as_tilt, fourier_vectors
from funpipe.molecules import Molecules, as_molecules
from funpipe.subtomograms import (
    Tomogram,
    check_molecules,
    cut,
    open_tomogram,
    warn_of_leaving,
)

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = ["average"]

_BATCH = 64  # boxes held at a time


def average(
    tomogram: Any,
    molecules: Any,
    *,
    shape: Any,
    scale: float | None = None,
    tilt: Any = None,
) -> Image:
    """Average the particles of a tomogram, each in its own frame.

    Parameters
    ----------
    tomogram : array-like, or path
        Axes z, y, x; of a file only the blocks that are needed are read.
    molecules : Molecules, (n, 3) array, or object with .pos and .rotator
        Where the particles are, in nm, and how they are turned.
    shape : int or (int, int, int)
        Voxels of the average along z, y, x.
    scale : float, optional
        nm per voxel; by default what the tomogram's file says.
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
        one lies wholly outside the tomogram.

    Examples
    --------
    >>> tomogram = np.arange(1000.0).reshape(10, 10, 10)
    >>> picks = np.array([[4.0, 4.0, 4.0], [6.0, 4.0, 4.0]])
    >>> average(tomogram, picks, shape=3, scale=1.0)[1, 1, 1].round(2)
    np.float32(544.0)
    """
    source = open_tomogram(tomogram, scale)
    particles = as_molecules("molecules", molecules)
    box = check.shape("shape", shape)
    weights_of = as_tilt("tilt", tilt)
    check_molecules(source, particles, box)
    if tilt is None:
        total = np.zeros(box)
        for boxes, _ in _batches(source, particles, box):
            total += boxes.sum(axis=0, dtype=np.float64)
        return np.asarray(total / len(particles), dtype=np.float32)
    k = fourier_vectors(box, source.scale)
    waves = np.zeros(k.shape[1:], np.complex128)
    weights = np.zeros(k.shape[1:])
    for boxes, rotations in _batches(source, particles, box):
        for each, rotation in zip(boxes, rotations, strict=True):
            weight = weights_of(np.tensordot(rotation.as_matrix(), k, axes=1))
            waves += weight * scipy.fft.rfftn(each)
            weights += weight
    return _inverse(waves / np.where(weights > 0, weights, 1), box)


def _batches(
    source: Tomogram, particles: Molecules, box: tuple[int, int, int]
) -> Iterator[tuple[NDArray[np.float32], Rotation]]:
    """Yield boxes and their rotations, some at a time; warn once, at the end."""
    leaving = 0
    for start in range(0, len(particles), _BATCH):
        part = np.arange(len(particles))[start : start + _BATCH]
        boxes, leaving_here = cut(source, particles, box, part)
        leaving += leaving_here
        yield boxes, particles.rotations[part]
    warn_of_leaving(leaving, len(particles), stacklevel=4)


def _inverse(waves: NDArray[Any], box: tuple[int, ...]) -> Image:
    return np.asarray(scipy.fft.irfftn(waves, s=box), dtype=np.float32)
