"""How well the poses of simulated particles can be known at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from funpipe.simulate.boxes import Particles
from funpipe.simulate.images import Blobs, one_blob
from funpipe.simulate.seen import left, seen_at
from funpipe.space.fourier import half_ball
from funpipe.space.tilts import as_tilt
from funpipe.space.transfer import Placed, taken

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = ["pose_bound"]


def pose_bound(
    blobs: Blobs,
    made: Particles,
    scale: float,
    *,
    resolution: float,
    noise: float,
    tilt: Any = (-60, 60),
    places: Any = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the Cramér–Rao bound of each particle's pose.

    For white noise of standard deviation σ in the voxels, so of variance s² = V σ² / 2
    in each real part of the Fourier transform of V voxels, no unbiased estimate has a
    smaller covariance than s² A⁻¹, with A = Re Σ conj(B_m) B_n over the measured
    frequencies and B the derivatives of the noise-free transform by rotation and
    shift (H. Cramér, Mathematical Methods of Statistics, 1946, ch. 32). After a
    `tilt_series` the derivatives are H B, so that A = Re Σ H² conj(B_m) B_n.

    Parameters
    ----------
    blobs : Blobs
        The molecule.
    made : Particles
        Of `particles`.
    scale : float
        nm per voxel.
    resolution : float
        The shortest period that is used, nm.
    noise : float
        σ.
    tilt, places
        As in `particles`.

    Returns
    -------
    angles, shifts : (n,) arrays
        The roots of the bound on the expected squared angle in degrees, and on the
        expected squared distance in nm.
    """
    shape = made.boxes.shape[1:]
    k = half_ball(shape, resolution / scale) / (np.array(shape) * scale)
    extent = min(shape) * scale
    seen = seen_at(as_tilt("tilt", tilt), places, len(made.boxes), extent)
    bounds = []
    for i, (orientation, rotation) in enumerate(
        zip(made.orientations, made.rotations, strict=True)
    ):
        H = left(taken(seen, [i]), orientation.apply(k).T)
        if isinstance(seen, Placed):
            B = H * _pose_rates(blobs, k, scale, rotation)
        else:
            B = _pose_rates(blobs, k[H > 0], scale, rotation)
        A = (B.conj() @ B.T).real
        variance = np.prod(shape) * noise**2 / 2 * np.diag(np.linalg.inv(A))
        bounds.append((variance[:3].sum(), variance[3:].sum()))
    angles, shifts = np.sqrt(np.array(bounds)).T
    return np.degrees(angles), shifts


def _pose_rates(
    blobs: Blobs, k: NDArray[Any], scale: float, rotation: Rotation
) -> NDArray[np.complex128]:
    """Return a transform's derivatives by rotation and shift, (6, N).

    A small turn ω before the rotation R moves a blob at c by R (ω × c).
    """
    centres = rotation.apply(blobs.centres)
    moves = np.cross(rotation.as_matrix().T[:, None], centres)  # (3, g, 3)
    peaks = blobs.weights[:, None]
    waves = np.exp(-2j * np.pi * (k @ centres.T))
    turned = [((waves @ (peaks * each)) * k).sum(axis=1) for each in moves]
    moved = k.T * (waves @ blobs.weights)
    one = one_blob(blobs, k, scale)
    return -2j * np.pi * one * np.concatenate([turned, moved])
