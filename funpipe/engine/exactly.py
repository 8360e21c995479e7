"""A search that leaves out only what cannot reach a score.

With the part p_R of s_R in the functions u_j, and c its coefficients,

    score(R) √Σ |G|² = Σ_j a_Rj c_j + rest,   |rest| ≤ √(1 − p_R) √(Σ |G|² − Σ c_j²),

so that a place is left out if even with all of the rest it stays below. Of the others
all rotations are scored in full.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.engine.basis import Basis
from funpipe.engine.rescoring import Rescored, exact
from funpipe.engine.sweep import (
    Tiling,
    best_of,
    coefficients_at,
    kernels_of,
    peaks_of,
    transform_of,
)

__all__ = ["sweep_exactly"]

Array: TypeAlias = NDArray[Any]

_ROUNDING = 1e-3  # of a score
_COLUMNS = 256
_WAVES = 32


def sweep_exactly(
    tile: Array,
    wanted: Array,
    basis: Basis,
    tiles: Tiling,
    least: float,
    *,
    faint: float,
    go_on: Callable[[], None],
) -> tuple[Rescored, tuple[int, int, int, int]]:
    """Return all voxels that reach a score and are no lower than those around them.

    Also how many were looked at, left by the bound for all rotations at once, by those
    of each, and returned. See `funpipe.engine.sweep.sweep` for what is given; steps are
    one voxel.
    """
    c, _, looked, low = coefficients_at(tile, wanted, basis, tiles, go_on)
    power = _whole_power(tile, basis, tiles, go_on)[_part(low, looked.shape)]
    flat, E = c.reshape(-1, c.shape[-1]), power.ravel()
    places = np.flatnonzero(looked & (power > faint))
    counts = [len(places)]
    least_of_all = least - _ROUNDING
    held = np.square(basis.held.min())
    inside = np.minimum(np.einsum("nk,nk->n", flat, flat), E)
    beyond = np.sqrt(max(0.0, 1 - held) * (E - inside))
    floor = least_of_all * np.sqrt(E)
    places = places[(np.sqrt(inside) + beyond >= floor)[places]]
    counts.append(len(places))
    left = []
    for each in np.array_split(places, 1 + len(places) // _COLUMNS):
        go_on()
        highest, _ = best_of(flat[each], basis.coefficients)
        left.append(each[highest + beyond[each] >= floor[each]])
    places = np.concatenate(left)
    counts.append(len(places))
    where = np.stack(np.unravel_index(places, power.shape), axis=1)
    scored = [
        exact(tile, each, basis, go_on)
        for each in np.array_split(where + low, 1 + len(where) // _COLUMNS)
    ]
    found = Rescored(*map(np.concatenate, zip(*scored, strict=True)))
    field = np.full(power.shape, -1.0, np.float32)
    field[tuple(where.T)] = found.scores
    kept = peaks_of(field)[tuple(where.T)] & (found.scores >= least)
    counts.append(int(kept.sum()))
    return found.take(kept), (counts[0], counts[1], counts[2], counts[3])


def _part(low: Array, shape: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(a, a + n) for a, n in zip(low, shape, strict=True))


def _whole_power(
    tile: Array, basis: Basis, tiles: Tiling, go_on: Callable[[], None]
) -> NDArray[np.float32]:
    """Return Σ |G|² at all voxels, wave by wave."""
    spectrum = scipy.fft.rfftn(tile.astype(np.float32))
    total = np.zeros(tile.shape, np.float32)
    count = len(basis.k)
    for i in range(0, count, _WAVES):
        unit = np.eye(count, dtype=np.complex64)[i : i + _WAVES]
        for phase in (1, 1j):
            go_on()
            for each in kernels_of(unit * np.complex64(phase), basis):
                kernel = transform_of(each, tiles)
                total += np.square(scipy.fft.irfftn(spectrum * kernel, s=tile.shape))
    return total
