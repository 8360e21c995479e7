"""Where the score of an alignment has its maximum, evaluated exactly.

With no grid, no interpolation and no waves left out: the particle's Fourier transform
is a sum of Gaussians, known at any wave, and the template's is taken where it is
sampled, so that the particle is turned and not the template. What is left of an error
without noise is the score's own: what a mask cuts of the template is in the data.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import scipy
from molecules import Made
from programs import Errors, first
from scipy.spatial.transform import Rotation

from funpipe.engine.bank import masked
from funpipe.simulate.images import blob_spectrum
from funpipe.space.fourier import half_ball
from funpipe.space.tilts import as_tilt

# About 1 instead of 0, so that a relative step is one in rad and voxels.
_CLOSE = {"gtol": 1e-6, "finite_diff_rel_step": 1e-4}


def exact_tops(made: Made, count: int, resolution: float, tilt: Any) -> Errors:
    """Return how far from the truth the first particles' scores are highest."""
    n, weights = len(made.template), as_tilt("tilt", tilt)
    waves = half_ball(made.template.shape, resolution)
    k = waves / n
    under = masked(made.template, made.mask).astype(np.float64)
    T = scipy.fft.rfftn(under)[tuple(waves.T)]
    T = T * np.exp(2j * np.pi * (k @ np.full(3, (n - 1) / 2)))
    them, moved = first(made.particles, count), []
    for true, orientation in zip(them.rotations, them.orientations, strict=True):
        off = partial(_lack, T, k, made.blobs, true, orientation, weights)
        found = scipy.optimize.minimize(off, np.ones(6), jac="3-point", options=_CLOSE)
        moved.append(found.x - 1)
    away = np.array(moved)
    turns = np.degrees(np.linalg.norm(away[:, :3], axis=1))
    return Errors(turns, np.linalg.norm(away[:, 3:], axis=1))


def _lack(
    T: Any, k: Any, blobs: Any, true: Any, orientation: Any, weights: Any, more: Any
) -> float:
    """Return −1 times the score of a pose, 1 more than the truth, rad and voxels."""
    away = more - 1
    there = (true * Rotation.from_rotvec(away[:3])).apply(k)  # of the box
    W = weights(orientation.apply(there).T)
    F = blob_spectrum(blobs, there, 1.0, true)
    x = (W * T.conj() * F * np.exp(2j * np.pi * (there @ away[3:]))).sum().real
    norms = (W * np.abs(T) ** 2).sum() * (W * np.abs(F) ** 2).sum()
    return float(-x / np.sqrt(norms))
