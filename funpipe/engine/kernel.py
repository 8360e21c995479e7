"""The kernel exp(2πi k·t) over waves and a grid of shifts, as a sum of few products.

    exp(2πi k·t) ≈ Σ_c U_c(k) V_c(t)

(A. Rangan et al., Inverse Problems 36, 2020). Along each axis the cosine, which is even
in t, and the sine, which is odd, are decomposed by singular vectors. Of the products
of three of them, one of each axis, those are kept that the template's waves need: the
V are orthonormal, so that what is left out is the sum of Σ |U_c|² over them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.engine.settings import SETTINGS

__all__ = ["kernel"]

Array: TypeAlias = NDArray[Any]

_PLAIN = 1e-3  # of the error that the kernel may have, what each axis adds to it


def kernel(
    k: Array, shifts: Sequence[Array], power: Array
) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
    """Return U and V with exp(2πi k·t) ≈ Σ_c U_c(k) V_c(t).

    Parameters
    ----------
    k : (N, 3) array
        Waves, periods per voxel.
    shifts : three arrays
        Shifts along z, y and x in voxels; all of their products are meant.
    power : (N,) array
        The template's power at each wave, by which errors count.

    Returns
    -------
    U : (C, N) array of complex64
        Each of it real or imaginary.
    V : (C, S) array of float32
        Of the shifts in the order of ``numpy.meshgrid(*shifts, indexing="ij")``.
    """
    weight = power / power.sum()
    axes = [_axis(k[:, i], each, weight) for i, each in enumerate(shifts)]
    (uz, vz), (uy, vy), (ux, vx) = axes
    square = [np.square(np.abs(each)) for each in (uz, uy, ux)]
    energy = np.einsum("ak,bk,ck->abc", square[0] * weight, *square[1:], optimize=True)
    order = np.argsort(energy, axis=None)
    left_out = np.cumsum(energy.ravel()[order])
    count = np.prod([len(each) for each in shifts])
    kept = order[left_out > SETTINGS.kernel_error**2 * count]
    a, b, c = np.unravel_index(kept[::-1], energy.shape)
    U = uz[a] * uy[b] * ux[c]
    V = np.einsum("ci,cj,ck->cijk", vz[a], vy[b], vx[c]).reshape(len(a), -1)
    return U, V


def _axis(k: Array, t: Array, weight: Array) -> tuple[Array, Array]:
    """Return u (c, N) and orthonormal v (c, T) with exp(2πi k t) ≈ Σ u v."""
    values, place = np.unique(k, return_inverse=True)
    root = np.sqrt(np.bincount(place, weight))[:, None]
    u, v = [], []
    for wave, unit in ((np.cos, 1), (np.sin, 1j)):
        part = wave(2 * np.pi * np.outer(values, t))
        _, singular, rows = np.linalg.svd(root * part, full_matrices=False)
        kept = rows[singular > _PLAIN * SETTINGS.kernel_error * np.sqrt(len(t))]
        u.append(unit * (part @ kept.T).T[:, place])
        v.append(kept)
    return (
        np.concatenate(u).astype(np.complex64),
        np.concatenate(v).astype(np.float32),
    )
