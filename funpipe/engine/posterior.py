"""From the scores of a search to the probabilities of all its poses.

*Likelihood.* A subtomogram at its waves is F = a T_p + noise, T_p the template at the
pose p, the noise of the variance s² in each of N independent real numbers. With
x_p = Re Σ W conj(T_p) F, g_p = Σ W |T_p|², P = Σ W |F|² and the amplitude in units of
the noise ρ = a / s,

    p(F | p, s) ∝ s^−N exp(−P / 2s² + ρ x_p / s − ρ² g_p / 2).

ρ is one number for the particles of a job, and is estimated from them, see
`funpipe.engine.amplitude`. Of s nothing is known: over
d(ln s) the exponent has its top at 1 / s = v / √P, so that
against F being noise alone (T = 0) by Laplace's method

    ln L_p = N ln(v / √N) − (v² − N) / 2 + u v − ρ² g_p / 2,
    u = ρ x_p / √P,    v = (u + √(u² + 4 N)) / 2,

which does not depend on the scale of F. Around a pose ln L changes with x by v ρ / √P.

*Prior.* All poses of the search's window are equally likely, or as a π says, see
`funpipe.engine.prior`: then L below is L π. Each point of the grid stands for its cell,
or for the part of it inside the window.

*Between the points of the grid.* ln L is smooth on the grid, but L may be a peak
narrower than a cell. Where a peak is a Gaussian of the precision A, and φ another one
about the same point of the precision B,

    ∫ L = ∫ L φ + ∫ L (1 − φ),    ∫ L φ = L_max √((2π)^d / det(A + B)):

the first part by this formula, the second, which has a hole where the peak is, as a
sum over the grid; nothing counts twice. So for each rotation over shifts, A from the
27 points around the best; and over rotations for each pose that has climbed to its
optimum, its A from Gauss–Newton's normal matrix, B the larger the better the grid
resolves the peak.

Sources: poses as hidden variables, F. Sigworth, J. Struct. Biol. 122, 328, 1998, and
S. Scheres, J. Mol. Biol. 415, 406, 2012; Laplace's method and evidence, D. MacKay,
Information Theory, Inference, and Learning Algorithms, 2003, ch. 27 and 28; the mean
of quaternions, F. L. Markley et al., J. Guid. Control Dyn. 30, 1193, 2007.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.engine.cells import Cells
from funpipe.engine.gauss_newton import Poses
from funpipe.engine.integrals import Peaks, Tops, basis_at, of_tops, over_tops
from funpipe.engine.shift_integrals import Rows, over_shifts
from funpipe.engine.turns import rotation_vectors, turns_between

__all__ = [
    "Modes",
    "Posterior",
    "Products",
    "log_likelihood",
    "of_modes",
    "posterior",
]

Array: TypeAlias = NDArray[Any]

_TINY = 1e-30


class Products(NamedTuple):
    """The sums over waves that a search makes, for n particles and m templates."""

    x: NDArray[np.float32]
    """(S, n, m · r), Re Σ W conj(T_R) F exp(2πi k·t) for S shifts and r rotations."""
    g: NDArray[np.float32]
    """(n, m · r), Σ W |T_R|²."""
    P: NDArray[np.float32]
    """(n,), Σ W |F|²."""
    N: NDArray[np.float64]
    """(n,), independent real numbers in F: twice the measured waves of white noise."""


class Modes(NamedTuple):
    """Poses that have climbed to an optimum, maybe several of a particle."""

    poses: Poses
    g: NDArray[np.float64]
    """(Q,), Σ W |T_R|² there."""
    sharpness: NDArray[np.float64]
    """(Q, 6, 6), S: by a small rotation and shift δ, rad and voxels, the score falls
    to (1 − δᵀSδ / 2) of its value."""


class Posterior(NamedTuple):
    """What is known of n particles, given the window of the search."""

    rotations: NDArray[np.float64]
    """(n, 4), quaternions of the posterior mean of rotations: its q maximises the
    expected (q · q')²."""
    shifts: NDArray[np.float64]
    """(n, 3), the posterior mean, voxels."""
    templates: NDArray[np.int64]
    """(n,), the most probable; the mean and its errors are those given it."""
    shift_errors: NDArray[np.float64]
    """(n,), voxels: the root of the expected squared distance from the mean."""
    angle_errors: NDArray[np.float64]
    """(n,), degrees: the root of the expected squared angle from the mean."""
    mode_weight: NDArray[np.float64]
    """(n,), the probability of the rotations around the best mode; NaN without modes
    and where rotations are a list."""
    log_evidence: NDArray[np.float64]
    """(n, m), ln of the likelihood averaged over the window, against noise alone."""


def log_likelihood(
    x: Any, g: Any, P: Any, N: Any, amplitude: Any
) -> tuple[Array, Array]:
    """Return ln L of poses against noise alone, and how it changes with u.

    Parameters
    ----------
    x, g, P, N : array-like
        As in `Products`, of shapes that broadcast.
    amplitude : array-like
        ρ = a / s.

    Returns
    -------
    ln L, v
        As at the top of this module.

    Examples
    --------
    >>> found, _ = log_likelihood(x=150.0, g=100.0, P=1000.0, N=1000, amplitude=1.0)
    >>> round(float(found), 1)  # x ρ / s − ρ² g / 2 = 100 with s = 1; here s < 1
    105.8
    """
    u = amplitude * x / np.sqrt(np.maximum(P, _TINY))
    v = (u + np.sqrt(u * u + 4 * N)) / 2
    free = N * np.log(v / np.sqrt(N)) - (v * v - N) / 2 + u * v
    return free - amplitude**2 * g / 2, v


def posterior(
    products: Products,
    cells: Cells,
    amplitudes: Any,
    modes: Modes | None = None,
) -> Posterior:
    """Weigh all poses of a search by their likelihood.

    Parameters
    ----------
    products : Products
        Of n particles, the sums over waves at all points of the grid.
    cells : Cells
        The grid.
    amplitudes : (m,) array
        ρ of each template, see `funpipe.engine.amplitude`.
    modes : Modes, optional
        What climbed from the best of those points; of sums over the same waves.
        Without them peaks in rotation are no narrower than the grid resolves.

    Returns
    -------
    Posterior
    """
    rho = np.asarray(amplitudes, dtype=np.float64)
    n, x = len(products.P), products.x.reshape(len(cells.shifts), -1)
    x, slope, offset, top = _linear(products, x, cells, rho)
    peaks, holes, inside = _peaks(modes, products, cells, rho)
    ceiling = _ceiling(peaks, top)
    rows = _anchored(
        over_shifts(x, slope, offset, ceiling, cells),
        peaks,
        inside,
    )

    # All on one level for each template, so that nothing overflows.
    whose = peaks.tops.whose
    level = top + rows.level
    np.maximum.at(level, whose, peaks.log_mass)
    factor = np.exp(top + rows.level - level)[..., None]
    weights = rows.mass * cells.turns * holes * factor
    mass = np.exp(peaks.log_mass - level[whose])
    whole = weights.sum(axis=2)
    np.add.at(whole, whose, mass)
    with np.errstate(divide="ignore"):
        log_evidence = level + np.log(whole / cells.volume)

    template = log_evidence.argmax(axis=1)
    own = np.flatnonzero(peaks.tops.template == template[peaks.tops.particle])
    share = (mass / whole[whose])[own]
    each = np.arange(n)
    part = weights[each, template] / whole[each, template][:, None]
    shares = _Shares(part, peaks.tops.take(own), share, peaks.spread[own])
    q, angles = _rotations(shares, cells.quaternions)
    t, distances = _shifts(
        shares, rows.mean[each, template], rows.square[each, template]
    )
    best = (part * inside[each, template]).sum(axis=1)
    _, first = np.unique(shares.tops.particle, return_index=True)  # the highest
    best[shares.tops.particle[first]] += share[first]
    return Posterior(
        q,
        t,
        template,
        distances,
        np.degrees(angles),
        np.minimum(best, 1.0),
        log_evidence,
    )


class _Shares(NamedTuple):
    """A posterior of n particles in parts: of rotations of the grid, and Gaussians."""

    part: Array
    """(n, r)."""
    tops: Tops
    share: Array
    """(Q,)."""
    spread: Array
    """(Q, 2), of each Gaussian about its top, rad² and voxels²."""

    def mean(self, of_rows: Array, of_tops: Array) -> Array:
        """Return expected values (n, ...), from (n, r, ...) and (Q, ...)."""
        found = np.einsum("nr,nr...->n...", self.part, of_rows)
        weight = self.share.reshape(-1, *(1,) * (of_tops.ndim - 1))
        np.add.at(found, self.tops.particle, weight * of_tops)
        return np.asarray(found)


def _rotations(shares: _Shares, quaternions: Array) -> tuple[Array, Array]:
    """Return mean rotations and the roots of expected squared angles from them."""
    tops = shares.tops
    squares = quaternions[:, :, None] * quaternions[:, None]
    matrix = (shares.part @ squares.reshape(-1, 16)).reshape(-1, 4, 4)
    one = tops.quaternion
    weighted = shares.share[:, None, None] * one[:, :, None] * one[:, None]
    np.add.at(matrix, tops.particle, weighted)
    q = np.linalg.eigh(matrix)[1][:, :, 3]
    q = np.where(q[:, 3:] < 0, -q, q)  # of the two that are one rotation
    angle = np.square(turns_between(q[:, None], quaternions))
    own = np.square(turns_between(q[tops.particle], one)) + shares.spread[:, 0]
    return q, np.sqrt(shares.mean(angle, own))


def _shifts(shares: _Shares, mean: Array, square: Array) -> tuple[Array, Array]:
    """Return mean shifts and the roots of expected squared distances from them."""
    at = shares.tops.t
    t = shares.mean(mean, at)
    squares = shares.mean(square, np.square(at).sum(axis=1) + shares.spread[:, 1])
    return t, np.sqrt(np.maximum(squares - np.square(t).sum(axis=1), 0.0))


def _linear(
    products: Products, x: Array, cells: Cells, rho: Array
) -> tuple[Array, Array, Array, Array]:
    """Return x, slope and offset (n, m, r) of ln L in it, about each template's best.

    And ln L there, (n, m), from which the others are counted. Where shifts are not as
    likely before, x (S, n · m · r) is more by their ln π.
    """
    shape = len(products.P), len(rho), len(cells.turns)
    turns = np.broadcast_to(cells.prior.of_turns(cells.quaternions), shape)
    best = x.max(axis=0).reshape(shape)
    slope, offset, top = _about_best(products, best, turns, turns, rho)
    if math.isfinite(cells.prior.move):
        moves = cells.prior.of_moves(cells.shifts)
        at = _more(x, moves, slope).argmax(axis=0)
        best = x[at, np.arange(len(at))].reshape(shape)
        before = turns + moves[at].reshape(shape)
        slope, offset, top = _about_best(products, best, turns, before, rho)
        x = _more(x, moves, slope)
    return x, slope, offset, top


def _more(x: Array, log_prior: Array, slope: Array) -> Array:
    return np.asarray(x + (log_prior[:, None] / slope.ravel()).astype(x.dtype))


def _about_best(
    products: Products, best: Array, turns: Array, before: Array, rho: Array
) -> tuple[Array, Array, Array]:
    """Return slope, offset and ln L of `_linear`.

    From x of each rotation's best shift, (n, m, r), ln π of the rotations, and of those
    poses.
    """
    g = products.g.reshape(best.shape)
    P, N = (each[:, None, None] for each in (products.P, products.N))
    height, v = log_likelihood(best, g, P, N, rho[:, None])
    height = height + before
    at = height.argmax(axis=2)[..., None]
    x, v, norm, known = (
        np.take_along_axis(each, at, 2) for each in (best, v, g, before)
    )
    slope = v * rho[:, None] / np.sqrt(np.maximum(P, _TINY))
    offset = slope * x + (rho**2)[:, None] * (g - norm) / 2 + (known - turns)
    top = np.take_along_axis(height, at, 2)[..., 0]
    return np.broadcast_to(slope, best.shape), offset, top


def _peaks(
    modes: Modes | None, products: Products, cells: Cells, rho: Array
) -> tuple[Peaks, Array, Array]:
    """Return the modes' Gaussians; 1 − φ and what is around the best, (n, m, r)."""
    shape = len(products.P), len(rho), len(cells.turns)
    holes, inside = np.ones(shape), np.full(shape, np.nan)
    if modes is None or not cells.free:
        nothing = [np.zeros((0, *size)) for size in ((4,), (3,), (), (6, 6))]
        none = np.zeros(0, np.int64)
        tops = Tops(none, none, *nothing)
        numbers = [np.zeros((0, *size)) for size in ((), (2,), (), (3,), ())]
        peaks = Peaks(tops, *numbers)
        return peaks._replace(nearest=none), holes, inside
    tops = _tops(modes, products.P, products.N, rho)
    window = cells.quaternions, cells.spacing, cells.free, cells.widths, cells.prior
    peaks, hole, basin = over_tops(tops, *window)
    whose = peaks.tops.whose
    np.multiply.at(holes, whose, 1 - hole)
    inside[tuple(each[::-1] for each in whose)] = basin[::-1]  # the highest stays
    return peaks, holes, inside


def _tops(modes: Modes, P: Array, N: Array, rho: Array) -> Tops:
    """Return how likely modes are and how sharp, of those where that falls."""
    height, falling = _heights(modes, P, N, rho)
    poses = modes.poses
    precision = falling[:, None, None] * modes.sharpness
    at = poses.particle, poses.template, _quaternions(poses.R), poses.t
    return Tops(*at, height, precision).take(falling > 0)


def _heights(modes: Modes, P: Array, N: Array, rho: Array) -> tuple[Array, Array]:
    """Return ln L of modes, and by what times their sharpness it falls."""
    poses = modes.poses
    P, N, amplitude = P[poses.particle], N[poses.particle], rho[poses.template]
    x = poses.score * np.sqrt(modes.g * P)
    height, v = log_likelihood(x, modes.g, P, N, amplitude)
    return height, v * amplitude * x / np.sqrt(np.maximum(P, _TINY))


def of_modes(
    modes: Modes, P: Array, N: Array, cells: Cells, amplitudes: Array
) -> NDArray[np.float64]:
    """Return ln of the evidence where each template's best mode is all there is.

    Parameters
    ----------
    modes, cells
        As for `posterior`.
    P, N : (n,) arrays
        As in `Products`.
    amplitudes : (J, m) array
        ρ of each template, J of them.

    Returns
    -------
    (n, m, J) array
        −inf without a mode.
    """
    poses = modes.poses
    q, ways = _quaternions(poses.R), np.zeros((len(modes.g), 0, 3))
    if cells.free < 3:  # else the grid's directions are all there are
        ways = rotation_vectors(q, cells.quaternions)
    basis = basis_at(ways, cells.spacing, cells.free, cells.widths)
    sharpness = basis.swapaxes(1, 2) @ modes.sharpness @ basis
    height, falling = np.stack([_heights(modes, P, N, rho) for rho in amplitudes], 1)
    before, slope, narrower = cells.prior.at(q, poses.t, basis)
    precision = np.maximum(falling, 0)[..., None, None] * sharpness  # (J, Q, d, d)
    precision += narrower
    size, count = precision.shape[-1], len(amplitudes)
    t, slope = np.tile(poses.t, (count, 1)), np.tile(slope, (count, 1))
    tops = (height + before).ravel(), precision.reshape(len(t), size, size), t
    mass = of_tops(*tops, cells.widths, slope).reshape(height.shape)
    found = np.full((len(P), *amplitudes.T.shape), -np.inf)
    np.maximum.at(found, (poses.particle, poses.template), mass.T)
    return found - math.log(cells.volume)


def _quaternions(R: Array) -> Array:
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_matrix(R).as_quat())


def _ceiling(peaks: Peaks, top: Array) -> NDArray[np.float64]:
    """Return how far above a template's best on the grid any pose can be, (n, m).

    What climbed from there is the highest, where anything did.
    """
    most = np.full(top.shape, -np.inf)
    whose = peaks.tops.whose
    np.maximum.at(most, whose, peaks.tops.height - top[whose])
    return np.where(most > -np.inf, np.maximum(most, 0.0), np.inf)


def _anchored(rows: Rows, peaks: Peaks, inside: Array) -> Rows:
    """Return rows whose shifts agree with the best mode's, where that is narrow.

    Between the voxels a row's best shift is known to some hundredths of one only, and
    rows around a mode are wrong by the same: by what that at the mode is.
    """
    whose = peaks.tops.whose
    off = peaks.shift_there - rows.mean[(*whose, peaks.nearest)]
    pull = np.zeros((*rows.level.shape, 3))
    pull[tuple(each[::-1] for each in whose)] = (peaks.narrow[:, None] * off)[::-1]
    move = pull[:, :, None] * np.nan_to_num(inside)[..., None]
    longer = (move * (2 * rows.mean + move)).sum(axis=3)
    return rows._replace(mean=rows.mean + move, square=rows.square + longer)
