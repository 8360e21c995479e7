"""Where in a tile of a tomogram turned templates fit, at places that are a step apart.

With κ_j(y) = w(y) Re Σ g conj(u_j) exp(−2πi k·y), less its part that would see a crop's
level, the coefficients of `funpipe.engine.basis` are correlations,

    c_j(x) = Σ_y κ_j(y) V(x + y),

and what a crop has in all,

    Σ |G|² ≈ (side³ / 2) Σ_y w(y)² V_f(x + y)²,

V_f the tomogram's waves that are seen, the longest left out, of which a crop has none.
Both are band-limited, so that they are evaluated on a coarser grid than the voxels.

Of the places those go on that √Σ c_j², then the best of some coarse rotations, leaves
above the limits of `funpipe.engine.chances`; of those all rotations are tried, and the
peaks are scored in full by `funpipe.engine.rescoring`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.engine.basis import Basis
from funpipe.engine.chances import Limits
from funpipe.engine.settings import SWEEP
from funpipe.space.geometry import offsets

__all__ = [
    "Swept",
    "Tiling",
    "best_of",
    "coefficients_at",
    "kernels_of",
    "peaks_of",
    "step_for",
    "sweep",
    "tiling",
    "transform_of",
]

Array: TypeAlias = NDArray[Any]
Shape: TypeAlias = tuple[int, int, int]


class Tiling(NamedTuple):
    """Of tiles of one shape, all that does not depend on their voxels."""

    fine: Shape
    """Voxels of a tile."""
    coarse: Shape
    """Places along its axes."""
    kernels: NDArray[np.complex64]
    """(K, half of the waves), conj of the transforms of κ_j."""
    seen: NDArray[np.float32]
    """(half of the waves), g, or 0 where there is no part of a crop."""
    window: NDArray[np.complex64]
    """(half of the waves), conj of the transform of w², times side³ / 2."""
    across: tuple[NDArray[np.complex64], ...]
    """(side, waves) of each axis, by which kernels are transformed."""


class Swept(NamedTuple):
    """Places where templates may fit, the best of their surroundings."""

    where: NDArray[np.intp]
    """(n, 3), in steps from the tile's first voxel."""
    counts: tuple[int, int, int, int]
    """Places that were looked at; left by the bound; by the coarse rotations; peaks."""
    scores: NDArray[np.float32]
    """(z, y, x), the best score of each place from ``low`` on, −1 where nothing was
    tried, or only what is below the limits."""
    best: NDArray[np.intp]
    """(z, y, x), its row."""
    low: NDArray[np.intp]
    """(3,)"""


def step_for(basis: Basis) -> float:
    """Return the distance of places that kernels allow, a multiple of ½ voxel.

    A coarser grid has waves up to 1 / 2 step along each axis alone. Kernels have some
    beyond those of the resolution, more the fewer voxels they are seen through.
    """
    step = max(1.0, math.floor(basis.finest) / 2)
    some = basis.functions[:: max(1, len(basis.functions) // _LOOKED_AT)]
    shape = (2 * basis.side,) * 3
    spectra = scipy.fft.rfftn(kernels_of(some, basis), s=shape, axes=(1, 2, 3))
    power = np.square(np.abs(spectra)).sum(axis=0)
    power[..., 1:] *= 2
    axes = np.meshgrid(*_axes(shape), indexing="ij", sparse=True)
    while step > 1:
        z, y, x = (np.abs(axis) < 0.5 / step for axis in axes)
        if power[~(z & y & x)].sum() <= SWEEP.aliased * power.sum():
            break
        step -= 0.5
    return step


_LOOKED_AT = 16  # functions, evenly spread


def tiling(basis: Basis, coarse: Shape, data: Callable[[Array], Array]) -> Tiling:
    """Prepare the correlations of tiles of a shape.

    Parameters
    ----------
    basis : Basis
        What is looked for.
    coarse : (int, int, int)
        Places along the tile's axes, even.
    data : callable
        g of frequency vectors (3, ...), periods per voxel.
    """
    z, y, x = (round(n * basis.step) for n in coarse)
    fine = (z, y, x)
    axes = _waves(coarse, fine)
    half = np.stack(np.meshgrid(*axes, indexing="ij"))
    length = np.sqrt(np.square(half).sum(axis=0))
    counted = (length <= 1 / basis.finest) & (length >= 0.5 / basis.side)
    seen = np.where(counted, data(half), 0).astype(np.float32)
    across = tuple(
        np.exp(2j * np.pi * np.outer(offset.ravel(), axis)).astype(np.complex64)
        for offset, axis in zip(offsets((basis.side,) * 3), axes, strict=True)
    )
    nothing = np.zeros((0, *seen.shape), np.complex64)
    empty = Tiling(fine, coarse, nothing, seen, nothing, across)
    square = np.square(basis.window) * np.float32(basis.side**3 / 2)
    kernels = [transform_of(each, empty) for each in kernels_of(basis.functions, basis)]
    return empty._replace(kernels=np.stack(kernels), window=transform_of(square, empty))


def _waves(coarse: Shape, fine: Shape) -> list[NDArray[np.float64]]:
    """Return the waves of a coarse grid, periods per voxel, x ≥ 0 alone."""
    steps = (fine[i] / coarse[i] for i in range(3))
    return [axis / step for axis, step in zip(_axes(coarse), steps, strict=True)]


def _axes(shape: Shape) -> list[NDArray[np.float64]]:
    """Return ``scipy.fft.rfftn``'s frequencies, periods per voxel."""
    z, y, x = shape
    found = np.fft.fftfreq(z), np.fft.fftfreq(y), np.fft.rfftfreq(x)
    return [np.asarray(axis, float) for axis in found]


def _within(coarse: Shape) -> NDArray[np.bool_]:
    """Tell which waves are below Nyquist's of the coarse grid."""
    axes = [np.abs(axis) < 0.5 for axis in _axes(coarse)]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    return np.asarray(z & y & x)


def transform_of(kernel: Array, tiles: Tiling) -> NDArray[np.complex64]:
    """Return conj of a kernel's transform, at the waves of tiles."""
    for axis in tiles.across:
        kernel = np.tensordot(kernel, axis, axes=(0, 0))
    kernel[~_within(tiles.coarse)] = 0
    return kernel.astype(np.complex64)


def kernels_of(functions: Array, basis: Basis) -> NDArray[np.float32]:
    """Return κ_j of functions u_j, (K, side, side, side)."""
    side = basis.side
    whole = np.round(basis.k * side).astype(int)
    spectra = np.zeros((len(functions), side, side, side // 2 + 1), np.complex64)
    z, y, x = whole.T
    # Re Σ conj(u g) exp(−2πi k·y) over one of each mirrored pair is half of the inverse
    # transform of u g over both.
    spectra[:, z % side, y % side, x] = functions * basis.g
    flat = x == 0
    spectra[:, -z[flat] % side, -y[flat] % side, 0] = (
        functions[:, flat] * basis.g[flat]
    ).conj()
    found = scipy.fft.irfftn(spectra, s=(side,) * 3, axes=(1, 2, 3)) * (side**3 / 2)
    found = np.roll(found, side // 2, axis=(1, 2, 3)) * basis.window
    edge = basis.window * (1 - basis.window)
    level = edge / edge.sum()
    return (found - found.sum(axis=(1, 2, 3), keepdims=True) * level).astype(np.float32)


_COLUMNS = 1024  # places that are multiplied together


def sweep(
    tile: Array,
    wanted: Array,
    basis: Basis,
    tiles: Tiling,
    limits: Limits,
    *,
    faint: float,
    go_on: Callable[[], None],
) -> Swept:
    """Find places of a tile where templates may fit.

    Parameters
    ----------
    tile : (z, y, x) array
        Its voxels.
    wanted : (z, y, x) array of bool
        Of the places, those that are looked at, one or more; crops about them are
        inside the tile.
    basis, tiles
        What is looked for.
    limits : Limits
        What is discarded.
    faint : float
        Places with no more in all, Σ |G|², are left out: nothing is there.
    go_on : callable
        Called often; what it raises ends the work.
    """
    c, power, looked, low = coefficients_at(tile, wanted, basis, tiles, go_on)
    size = np.sqrt(np.maximum(power, 1e-30)).ravel()
    flat = c.reshape(-1, c.shape[-1])
    places = np.flatnonzero(looked & (power > faint))
    counts = [len(places)]
    length = np.einsum("nk,nk->n", flat, flat)
    places = places[length[places] >= np.square(limits.bound * size[places])]
    counts.append(len(places))
    some = basis.coefficients[basis.coarse]
    kept = []
    for each in np.array_split(places, 1 + len(places) // _COLUMNS):
        go_on()
        kept.append(each[best_of(flat[each], some)[0] >= limits.coarse * size[each]])
    places = np.concatenate(kept)
    counts.append(len(places))
    scores, best = np.full(len(size), -1.0, np.float32), np.zeros(len(size), np.intp)
    for each in np.array_split(places, 1 + len(places) // (_COLUMNS // 4)):
        go_on()
        highest, best[each] = best_of(flat[each], basis.coefficients)
        scores[each] = highest / size[each]
    field, rows = scores.reshape(power.shape), best.reshape(power.shape)
    where = np.argwhere(peaks_of(field) & (field >= limits.fine))
    left = (counts[0], counts[1], counts[2], len(where))
    return Swept(where + low, left, field, rows, low)


def peaks_of(scores: Array) -> NDArray[np.bool_]:
    """Tell which places are no lower than those around them."""
    return np.asarray(scores == scipy.ndimage.maximum_filter(scores, 3))


def coefficients_at(
    tile: Array, wanted: Array, basis: Basis, tiles: Tiling, go_on: Callable[[], None]
) -> tuple[Array, Array, Array, Array]:
    """Return c_j and Σ |G|² in a box of places, which of them are wanted, and where."""
    there = np.argwhere(wanted)
    low, high = there.min(axis=0), there.max(axis=0) + 1
    part = tuple(map(slice, low, high))
    spectrum = _coarser(scipy.fft.rfftn(tile.astype(np.float32)), tiles)
    power = _power(spectrum, tiles)[part]
    c = np.empty((*power.shape, len(tiles.kernels)), np.float32)
    for j, kernel in enumerate(tiles.kernels):
        go_on()
        c[..., j] = scipy.fft.irfftn(spectrum * kernel, s=tiles.coarse)[part]
    return c, power, wanted[part], low


def best_of(c: Array, coefficients: Array) -> tuple[Array, Array]:
    """Return the highest Σ_j a_Rj c_j of each place, and its row; (n, K) and (r, K)."""
    scores = c @ coefficients.T
    rows = scores.argmax(axis=1)
    return scores[np.arange(len(c)), rows], rows


def _coarser(spectrum: Array, tiles: Tiling) -> NDArray[np.complex64]:
    """Return the waves of a tile that its coarse grid has, for that."""
    found = spectrum
    for axis, n in enumerate(tiles.coarse[:2]):
        m = found.shape[axis]
        found = np.take(found, [*range(n // 2), *range(m - n // 2, m)], axis=axis)
    scale = math.prod(tiles.coarse) / math.prod(tiles.fine)
    found = found[..., : tiles.coarse[2] // 2 + 1]
    return (found * np.float32(scale)).astype(np.complex64)


def _power(spectrum: Array, tiles: Tiling) -> NDArray[np.float32]:
    seen = scipy.fft.irfftn(spectrum * tiles.seen, s=tiles.coarse)
    square = scipy.fft.rfftn(np.square(seen))
    return np.maximum(scipy.fft.irfftn(square * tiles.window, s=tiles.coarse), 0)
