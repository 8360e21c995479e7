"""Turned templates of a whole search as sums of few functions.

With G(k) = g(k) F(k) what is seen of a place, g = √W or what `Seen` says, and the
turned template as it would be seen, the score at the top of `funpipe.engine.matching`
is

    score(R) = Re Σ conj(s_R) G / √Σ |G|²,     s_R = b T_R / √Σ |b T_R|².

The s_R of all rotations lie in a space of few dimensions, as many as there are waves
times volume in a ball of the template's reach. Of its orthonormal functions u_j, the
first singular vectors of all s_R, the first K hold the part p of their power:

    Re Σ conj(s_R) G ≈ Σ_j a_Rj c_j,     c_j = Re Σ conj(u_j) G,     Σ_j a_Rj² = p_R,

and of the c_j follow the scores of all rotations, and a bound for all of them,
√Σ c_j² (A.-L. Cauchy and H. A. Schwarz), and what is left out.

Singular vectors are those of random sums of the s_R (N. Halko, P. G. Martinsson and
J. A. Tropp, SIAM Review 53, 217, 2011).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.engine.bank import turned_templates
from funpipe.engine.coverage import neighbours, net
from funpipe.engine.settings import SWEEP
from funpipe.engine.spectra import template_fields
from funpipe.space.crops import (
    Crops,
    Support,
    crop_shape,
    reach_of_template,
    windows_of,
)
from funpipe.space.fourier import half_ball
from funpipe.space.geometry import RotationGrid
from funpipe.space.spectra import can_compile

__all__ = [
    "Basis",
    "Seen",
    "ball_of",
    "of_others",
    "search_basis",
    "seen_of",
]

Array: TypeAlias = NDArray[Any]


class Seen(NamedTuple):
    """What tilt series and noise leave, as functions of vectors (3, ...), 1/voxel."""

    template: Callable[[Array], Array]
    """b, by which the template's waves are multiplied."""
    data: Callable[[Array], Array]
    """g, by which the tomogram's are; 0 where nothing was measured."""


class Basis(NamedTuple):
    """All of a search that does not depend on the place."""

    side: int
    """Voxels of a crop along each axis, odd, about the place that is looked at."""
    window: NDArray[np.float32]
    """(side, side, side), how voxels of a crop count."""
    finest: float
    """The shortest period, voxels."""
    k: NDArray[np.float64]
    """(N, 3), waves of a crop, periods per voxel."""
    g: NDArray[np.float32]
    """(N,), of the tomogram at these waves."""
    rows: NDArray[np.complex64]
    """(m · r, N), s_R, template by template."""
    functions: NDArray[np.complex64]
    """(K, N), u_j."""
    coefficients: NDArray[np.float32]
    """(m · r, K), a_Rj."""
    all_functions: NDArray[np.complex64]
    """(K or more, N), with those that only peaks are scored by."""
    all_coefficients: NDArray[np.float32]
    """(m · r, K or more)."""
    held: NDArray[np.float32]
    """(m · r,), √p_R, how s_R and its part in these functions correlate."""
    near: NDArray[np.intp]
    """(r, some), the rotations around each, and itself."""
    coarse: NDArray[np.intp]
    """Some of the rows, of which one is near each."""
    step: float = 1.0
    """Voxels between the places that are looked at first."""

    @property
    def numbers(self) -> float:
        """Return how many independent numbers a crop has at the waves that are seen.

        Waves of a window that is smaller than the crop depend on each other.
        """
        waves = 2 * np.count_nonzero(self.g)
        return float(waves * np.square(self.window).mean(dtype=np.float64))

    def around(self, rows: Array) -> NDArray[np.intp]:
        """Return rows of the same template around rows, (..., some), and themselves."""
        template, rotation = np.divmod(rows, len(self.near))
        return np.asarray(template[..., None] * len(self.near) + self.near[rotation])


def ball_of(templates: Array) -> Support:
    """Return the ball that masked templates stay in however they are turned.

    Crops of it have an odd number of voxels, and waves of their own lattice.
    """
    radius = max(reach_of_template(each) for each in templates)
    z, y, x = templates.shape[1:]
    first = Support((1.0, 1.0, 1.0), radius, (z, y, x))
    side = max(crop_shape(first, np.eye(3)[None]))
    side += 1 - side % 2
    while scipy.fft.next_fast_len(side, real=True) != side:
        side += 2
    bulk = int(
        (np.abs(templates) > 0.3 * np.abs(templates).max()).sum() / len(templates)
    )
    return Support((float(side),) * 3, radius, (z, y, x), bulk)


def search_basis(
    templates: Array,
    grid: RotationGrid,
    finest: float,
    *,
    support: Support,
    seen: Seen,
    part: float = SWEEP.part,
    compiled: bool | None = None,
) -> Basis:
    """Prepare a search.

    Parameters
    ----------
    templates : (m, z, y, x) array
        The templates, masked.
    grid : RotationGrid
        The rotations to try.
    finest : float
        The finest period that counts, in voxels.
    support : Support
        What of a place counts, from `ball_of`.
    seen : Seen
        What of it is seen.
    part : float
        Of the turned templates' power, what the functions hold.
    compiled : bool, optional
        Whether numba compiles what it can; by default if it is there.
    """
    compiled = can_compile() if compiled is None else compiled
    side = int(support.periods[0])
    k = half_ball((side,) * 3, finest) / side
    b, g = seen.template(k.T), seen.data(k.T)
    rows = _all_rows(templates, k, grid.rotations, b, compiled)
    functions, coefficients, count = _decomposed(rows, part)
    swept = np.ascontiguousarray(coefficients[:, :count])
    held = np.linalg.norm(swept, axis=1)
    coarse = _coarse(grid, len(templates))
    return Basis(
        side,
        _window(side, support),
        finest,
        k,
        g.astype(np.float32),
        rows,
        functions[:count],
        swept,
        functions,
        coefficients,
        held,
        neighbours(grid.rotations, SWEEP.around * (grid.spacing or 0.0)),
        coarse,
    )


def of_others(
    basis: Basis,
    templates: Array,
    grid: RotationGrid,
    seen: Seen,
    *,
    compiled: bool | None = None,
) -> Basis:
    """Return a basis whose ``rows`` are those of other templates, of the same shape."""
    compiled = can_compile() if compiled is None else compiled
    b = seen.template(basis.k.T)
    rows = _all_rows(templates, basis.k, grid.rotations, b, compiled)
    return basis._replace(rows=rows)


def _all_rows(
    templates: Array, k: Array, turns: Any, b: Array, compiled: bool
) -> NDArray[np.complex64]:
    furthest = float(np.linalg.norm(k, axis=1).max())
    units = templates / np.abs(templates).max(axis=(1, 2, 3), keepdims=True)
    some = (template_fields(each, furthest, compiled=compiled) for each in units)
    return np.concatenate([_rows(each, k, turns, b) for each in some])


def _rows(fields: Any, k: Array, turns: Any, b: Array) -> NDArray[np.complex64]:
    rows = turned_templates(fields, k, turns)
    rows *= b.astype(np.float32)
    sizes = np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= np.where(sizes > 0, sizes, 1)
    return rows


def _window(side: int, support: Support) -> NDArray[np.float32]:
    shape = (1, side, side, side)
    crops = Crops(np.zeros(shape, np.float32), np.zeros((1, 3)), np.eye(3)[None])
    return windows_of(crops, support)[0]


def _decomposed(rows: Array, part: float) -> tuple[Array, Array, int]:
    """Return functions, how much they hold, and how many hold as much as is asked."""
    X = rows.view(np.float32)
    most = min(*X.shape, SWEEP.functions)
    size = min(_FIRST, most)
    while True:
        functions, coefficients = _singular(X, size)
        held = np.cumsum(np.square(coefficients, dtype=np.float64).sum(axis=0)) / len(X)
        if held[-1] >= part or size == most:
            break
        size = min(2 * size, most)
    count = min(int(np.searchsorted(held, part)) + 1, size)
    return np.ascontiguousarray(functions).view(np.complex64), coefficients, count


_FIRST = 160  # functions that are tried


def _singular(X: Array, count: int) -> tuple[Array, Array]:
    """Return singular vectors, (count, n), and their part in rows, (m, count)."""
    random = np.random.default_rng(0)
    basis = random.standard_normal((X.shape[1], count), np.float32)
    for _ in range(SWEEP.powers):
        basis = np.linalg.qr(X.T @ (X @ basis))[0]
    coefficients = X @ basis
    gram = coefficients.T.astype(np.float64) @ coefficients
    turn = np.linalg.eigh(gram)[1][:, ::-1].astype(np.float32)
    return (basis @ turn).T, coefficients @ turn


def _coarse(grid: RotationGrid, m: int) -> NDArray[np.intp]:
    chosen, _ = net(grid, SWEEP.coarser * (grid.spacing or 0.0))
    r = len(grid.rotations)
    return (np.arange(m)[:, None] * r + chosen).ravel()


def seen_of(crops: Array, basis: Basis) -> NDArray[np.complex64]:
    """Return G / √Σ |G|² of crops, (n, side, side, side); (n, N), or 0 of nothing."""
    side, half = basis.side, basis.side // 2
    edge = basis.window * (1 - basis.window)
    levels = crops.reshape(len(crops), -1) @ (edge / edge.sum()).ravel()
    crops = crops - levels[:, None, None, None]
    crops *= basis.window
    waves = np.round(basis.k * side).astype(int)
    phase = np.exp(2j * np.pi * half * basis.k.sum(axis=1)).astype(np.complex64)
    G = _waves_of(crops, waves) * (phase * basis.g)
    size = np.linalg.norm(G, axis=1, keepdims=True)
    G = np.where(size > 0, G / np.maximum(size, 1e-30), 0)
    return np.ascontiguousarray(G, np.complex64)


def _waves_of(crops: Array, waves: Array) -> NDArray[np.complex64]:
    """Return a few of ``scipy.fft.rfftn``'s waves, (N, 3), of crops; (n, N).

    Axis by axis, of each those that are in the box of all: sooner done than the whole
    transform.
    """
    n, side = len(crops), crops.shape[1]
    most = np.abs(waves).max(axis=0)
    first = most * np.array([-1, -1, 0])
    Z, Y, X = most - first + 1
    of_z, of_y, of_x = (
        np.exp(-2j * np.pi / side * np.outer(np.arange(a, b + 1), np.arange(side)))
        for a, b in zip(first, most, strict=True)
    )
    # Real numbers times complex ones as two real ones.
    by_x = np.ascontiguousarray(of_x.T, np.complex64).view(np.float32)
    found = (crops.reshape(-1, side) @ by_x).view(np.complex64)
    found = of_z.astype(np.complex64) @ found.reshape(n, side, side * X)
    found = found.reshape(n, Z, side, X).swapaxes(1, 2).reshape(n, side, Z * X)
    found = (of_y.astype(np.complex64) @ found).reshape(n, Y, Z, X)
    i, j, k = (waves - first).T
    return found[:, j, i, k]
