"""From a pose of the search to the continuous optimum, and its uncertainty.

With D(k) = exp(2πi k·t) F(k), the subtomogram moved back onto the template, the
weighted squares Σ W |D − a T_R|² are lowered over amplitude a, rotation ω (R becomes
R exp(ω)) and shift t. The best amplitude at a pose is a = O / N with the overlap
O = Re Σ W conj(T_R) D and the norm N = Σ W |T_R|². What is left to raise is a function
of the pose alone, f = O² / 2N = ½ score² Σ W |F|² (variable projection: G. Golub,
V. Pereyra, SIAM J. Numer. Anal. 10, 413, 1973), with

    slope       f'  = a (O' − ½ a N')
    curvature   −f″ = H = −a O″ + ½ a² N″ − (O' − a N') (O' − a N')ᵀ / N.

Shifts change D by 2πi k and leave N alone, so that their part of H, and what it has in
common with rotations, is as exact as the slope. O″ and N″ by rotations alone would ask
for second derivatives of the template. The data are taken for the template there, each
shell of |k| at an amplitude of its own, b; an integration by parts then makes of
it Σ b a Σ W Re conj(∂T/∂ω_m) ∂T/∂ω_n, the outer sum over shells. With b = a, data
just like the template, H is Gauss–Newton's matrix A. Where the template is blurred
against the data or they against it, it is not, and steps by A⁻¹ crawl or overshoot.

What H still lacks there, the fall of the slope from step to step tells.

A step is H⁻¹ f', H's eigenvalues against A brought to positive ones, and no longer
than the template stays like itself. For noise of the variance s² in each real part of
√W F, B the slope's covariance, Σ s² times each shell's part of A with s² the shell's
own, the covariance of the pose is H⁻¹ B H⁻¹ (P. Huber, Proc. 5th Berkeley Symp. 1, 221,
1967). Where the model is true it is s² A⁻¹, the Cramér–Rao bound. What A says nothing
of has no bound.

Poses keep to limits: from a step that leaves one that has been reached, what leaves it
is taken away. How far beyond it the truth may be, A⁻¹ f' tells.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.engine.limits import Limits
from funpipe.engine.shells import noise_of, per_shell, shell_edges
from funpipe.engine.spectra import Fields, sample
from funpipe.engine.steps import (
    FREE,
    FREE_SHIFTS,
    SMALL,
    TINY,
    Step,
    excess,
    lacking,
    solve,
    variances,
)

__all__ = ["Climbed", "Poses", "Spectra", "climb"]

Array: TypeAlias = NDArray[Any]

_BATCH = 12_000  # waves of poses at a time, whose arrays stay in the processor's cache
# A step is the last, taken without a look at where it ends, when it is no larger than
# SMALL, or when the logarithm of the likelihood is to gain no more than this: half of
# the pose's uncertainty, of which the next step would be a tenth.
_LAST = 0.1
_ROUNDING = 1e-6  # of a score in single precision
_RIPPLE = 1e-5  # of a score, where the template is interpolated
_REACH = 0.5  # change of the template by a first step, against the template
_SHORT = 0.08  # likewise, of a step along which the slope falls evenly


class Spectra(NamedTuple):
    """Subtomograms at N waves."""

    k: NDArray[np.float32]
    """(N, 3), periods per voxel, z, y, x."""
    F: NDArray[np.complex64]
    """(n, N), Fourier transforms about the centre of the box."""
    W: NDArray[np.float32]
    """(n, N), weights."""

    def in_order(self) -> Spectra:
        """Return the same in the order of rising |k|."""
        squares = np.square(self.k).sum(axis=1)
        if (np.diff(squares) >= -1e-6 * squares.max(initial=0)).all():
            return self
        order = np.argsort(squares, kind="stable")
        return Spectra(self.k[order], self.F[:, order], self.W[:, order])

    def first(self, count: int) -> Spectra:
        """Return the same at the first waves only."""
        return Spectra(self.k[:count], self.F[:, :count], self.W[:, :count])


class Poses(NamedTuple):
    """Poses of particles, maybe several of one."""

    particle: NDArray[np.int64]
    """(Q,)."""
    template: NDArray[np.int64]
    """(Q,)."""
    R: NDArray[np.float64]
    """(Q, 3, 3)."""
    t: NDArray[np.float64]
    """(Q, 3), voxels."""
    score: NDArray[np.float64]
    """(Q,)."""

    def take(self, chosen: Array | slice) -> Poses:
        """Return some of them."""
        return Poses._make(each[chosen] for each in self)


class Climbed(NamedTuple):
    """Poses at their optimum."""

    poses: Poses
    variance: NDArray[np.float64]
    """(Q, 2): expected squared errors, of rotations in rad², of shifts in voxels².

    Infinite where nothing is known of one, NaN where it was not estimated.
    """
    converged: NDArray[np.bool_]
    """(Q,): whether another step would gain nothing against the noise."""
    sharpness: NDArray[np.float64]
    """(Q, 6, 6), S: by a small rotation and shift δ, rad and voxels, the score falls
    to (1 − δᵀSδ / 2) of its value if the data are just like the template."""
    beyond: NDArray[np.float64]
    """(Q, 2), rad² and voxels²: of poses on a limit, how far beyond it the truth is."""

    def at(self, some: Array) -> tuple[Poses, NDArray[np.float64]]:
        """Return some poses and their sharpness."""
        return self.poses.take(some), self.sharpness[some]


class _Data(NamedTuple):
    """What poses of one template are compared with."""

    spectra: Spectra
    field: Fields
    edges: NDArray[np.intp]
    """(S + 1,), the shells."""
    counts: NDArray[np.int64]
    """(n, S), the waves of each that count."""


def climb(
    poses: Poses,
    spectra: Spectra,
    fields: tuple[Fields, ...],
    limits: Limits,
    *,
    steps: int,
    turning: bool = True,
    correlation: float = 1.0,
) -> Climbed:
    """Climb from poses to the nearest maximum of the score.

    Parameters
    ----------
    poses : Poses
        Where to start.
    spectra : Spectra
        The particles.
    fields : tuple of Fields
        The templates.
    limits : Limits
        Poses keep to them.
    steps : int
        The most steps.
    turning : bool
        Whether rotations change, or shifts alone.
    correlation : float
        Of how many waves one tells as much as all of them, 1 where they are those of
        the data's own box. On a finer lattice, of periods L for data under a window w,
        it is Π L / Σ w².

    Returns
    -------
    Climbed
        The poses in their order, the score at each. After a last step that was not
        looked at it is the expected one.
    """
    spectra = spectra.in_order()
    edges = shell_edges(spectra.k)
    counts = per_shell((spectra.W > 0).astype(np.int64), edges)
    done = Climbed(
        Poses._make(each.copy() for each in poses),
        np.full((len(poses.particle), 2), np.nan),
        np.zeros(len(poses.particle), dtype=bool),
        np.zeros((len(poses.particle), 6, 6)),
        np.zeros((len(poses.particle), 2)),
    )
    for template in np.unique(poses.template):
        part = np.flatnonzero(poses.template == template)
        data = _Data(spectra, fields[template], edges, counts)
        some = _climb(poses.take(part), data, limits, steps, turning, correlation)
        _put(done.poses, part, some.poses)
        done.variance[part] = some.variance
        done.converged[part] = some.converged
        done.sharpness[part] = some.sharpness
        done.beyond[part] = some.beyond
    return done


def _climb(
    poses: Poses,
    data: _Data,
    limits: Limits,
    steps: int,
    turning: bool,
    correlation: float,
) -> Climbed:
    """Climb from poses of one template."""
    free = FREE if turning else FREE_SHIFTS
    here = _linearise(poses, data)
    poses = poses._replace(score=here.score)
    reach = np.full(len(poses.score), _REACH)
    missing = np.zeros((len(poses.score), 6, 6))  # of H, as slopes have shown
    converged = np.zeros(len(poses.score), dtype=bool)
    active = np.arange(len(poses.score))
    for _ in range(steps):
        start, now = poses.take(active), Step._make(each[active] for each in here)
        now = now._replace(curvature=now.curvature + missing[active])
        move = solve(now, reach[active], free, limits.outward(start.R, start.t))
        moved = _moved(start, move.step, limits)
        last = (np.abs(move.step) <= SMALL).all(axis=1) | (
            move.whole <= _LAST * correlation * now.noise
        )
        expected = moved._replace(score=_expected_score(now, move.gain))
        _put(poses, active[last], expected.take(last))
        converged[active[last]] = True
        active, moved = active[~last], moved.take(~last)
        if not len(active):
            break
        there = _linearise(moved, data)
        old = poses.score[active]
        better = there.score >= old - _ROUNDING
        won = active[better]
        short = move.length[~last] < _SHORT
        missing[active] += short[:, None, None] * lacking(
            now.slope[~last] - there.slope,
            move.step[~last],
            there._replace(curvature=there.curvature + missing[active]),
        )
        _put(poses, won, moved._replace(score=there.score).take(better))
        _put(here, won, Step._make(each[better] for each in there))
        gained = (_signed_square(there.score) - _signed_square(old)) * there.power / 2
        reach[active] = _next_reach(
            reach[active], move.length[~last], gained / (move.gain[~last] + TINY)
        )
        # Where the score falls by no more than the interpolation's ripple is the top.
        top = ~better & (there.score >= old - _RIPPLE)
        converged[active[top]] = True
        active = active[~top]
    sharpness = here.normal / np.maximum(here.norm, TINY)[:, None, None]
    variance = correlation * variances(here, free)
    held = limits.reached(poses.R, poses.t)
    beyond = excess(here, correlation * here.noise, free, limits.farthest)
    beyond[~held] = 0.0
    return Climbed(poses, variance, converged, sharpness, beyond)


def _expected_score(here: Step, gain: Array) -> Array:
    """Return the score where f has risen; one that is negative stays as it is."""
    square = here.score**2 + 2 * gain / np.maximum(here.power, TINY)
    return np.where(here.score > 0, np.sqrt(np.minimum(square, 1)), here.score)


def _signed_square(score: Array) -> Array:
    return score * np.abs(score)


def _next_reach(reach: Array, length: Array, ratio: Array) -> Array:
    """Return how far the next step may go, by what was gained of what was expected."""
    wider = np.where(ratio > 0.75, np.maximum(reach, 2 * length), reach)
    return np.where(ratio < 0.25, length / 3, wider)


def _put(whole: Any, where: Array, part: Any) -> None:
    """Set some elements of all arrays of a tuple."""
    for into, each in zip(whole, part, strict=True):
        into[where] = each


def _linearise(poses: Poses, data: _Data) -> Step:
    """Return f about poses."""
    count = len(poses.particle)
    size = max(1, _BATCH // len(data.spectra.k))
    many = 1 + (count - 1) // size
    ends = [i * (count // many) + min(i, count % many) for i in range(many + 1)]
    parts = itertools.starmap(slice, itertools.pairwise(ends))
    gram = np.concatenate([_gram(poses.take(part), data) for part in parts])
    return _step_of(gram, data.counts[poses.particle])


def _gram(poses: Poses, data: _Data) -> NDArray[np.float64]:
    """Return the products of √W T, √W ∂T/∂ω, −2πi k √W T and √W D, shell by shell.

    (Q, S, 8, 11): the last three of the last axis are those with −2πi k √W D.
    """
    k, F, W = data.spectra
    count = len(poses.particle)
    T = sample(np.matmul(k, poses.R.astype(np.float32)), data.field)
    T = T.reshape(count, len(k), 4)
    phase = poses.t.astype(np.float32) @ (2 * np.pi * k.T)
    D = np.empty(phase.shape, np.complex64)
    np.cos(phase, out=D.real)
    np.sin(phase, out=D.imag)
    np.multiply(F[poses.particle], D, out=D)
    gram = np.zeros((count, len(data.edges) - 1, 8, 11))
    products = _products
    if data.field.compiled:
        from funpipe.engine.compiled import products
    parts = T.view(np.float32), D[..., None].view(np.float32)
    products(*parts, W, poses.particle, k, data.edges, gram)
    return gram


def _products(
    T: Array, D: Array, W: Array, particle: Array, k: Array, edges: Array, gram: Array
) -> None:
    """Do as `funpipe.engine.compiled.products`, by products of matrices."""
    root = np.sqrt(W[particle])
    rates = (-2j * np.pi * k.T).astype(np.complex64)
    columns = np.empty((len(T), 11, len(k)), np.complex64)
    np.multiply(np.moveaxis(T.view(np.complex64), 2, 1), root[:, None], columns[:, :4])
    np.multiply(columns[:, :1], rates, out=columns[:, 4:7])
    np.multiply(D.view(np.complex64)[..., 0], root, out=columns[:, 7])
    np.multiply(columns[:, 7:8], rates, out=columns[:, 8:])
    real = columns.view(np.float32)
    for i, (start, stop) in enumerate(itertools.pairwise(2 * edges)):
        some = real[:, :, start:stop]
        gram[:, i] = np.matmul(some[:, :8], some.swapaxes(1, 2))


def _step_of(gram: Array, counts: Array) -> Step:
    """Return f from the products by shells, and the waves of each."""
    total = gram.sum(axis=1)
    norm = np.maximum(total[:, 0, 0], TINY)
    overlap, power = total[:, 0, 7], total[:, 7, 7]
    a = overlap / norm
    rates, products = total[:, 0, 1:7], total[:, 1:7, 7]  # ½ N' and O'
    norms, overlaps = gram[..., 0, 0], gram[..., 0, 7]
    noise = noise_of(norms, overlaps, gram[..., 7, 7], counts)
    left = np.maximum(power - a * overlap, 0)
    inner = a[:, None, None, None] ** 2 * _without_template(gram, rates / norm[:, None])
    normal = inner.sum(axis=1)
    return Step(
        overlap / np.sqrt(np.maximum(norm * power, TINY)),
        np.abs(a)[:, None] * (products - a[:, None] * rates),
        normal,
        # Below a score of 0, far from where H means anything, A.
        np.where((a > 0)[:, None, None], _curvature(gram, total, a, norm), normal),
        np.einsum("qs,qsij->qij", noise, inner),
        left / np.maximum(2 * counts.sum(axis=1) - 7, 1),
        a**2 * norm,
        power,
    )


def _without_template(gram: Array, part: Array) -> Array:
    """Return products of ∂T − part · T, (Q, S, 6, 6)."""
    part = part[:, None]
    beside = gram[..., 1:7, 0, None] * part[..., None, :]
    square = part[..., :, None] * part[..., None, :]
    return np.asarray(
        gram[..., 1:7, 1:7]
        - beside
        - beside.swapaxes(2, 3)
        + gram[..., :1, :1] * square
    )


def _curvature(gram: Array, total: Array, a: Array, norm: Array) -> Array:
    """Return H."""
    b = gram[..., 0, 7] / np.maximum(gram[..., 0, 0], TINY)
    turns = np.einsum("qs,qsij->qij", a[:, None] * b, gram[..., 1:4, 1:4])
    shifts = a[:, None, None] * total[:, 1:7, 8:]
    cross = total[:, 1:7, 7] - 2 * a[:, None] * total[:, 0, 1:7]  # O' − a N'
    H = -cross[:, :, None] * cross[:, None] / norm[:, None, None]
    H[:, :3, :3] += turns
    H[:, :, 3:] += shifts
    H[:, 3:, :3] += shifts[:, :3].swapaxes(1, 2)
    return H


def _moved(poses: Poses, step: Array, limits: Limits) -> Poses:
    from scipy.spatial.transform import Rotation

    turned = poses.R @ Rotation.from_rotvec(step[:, :3]).as_matrix()
    R, t = limits.within(turned, poses.t + step[:, 3:])
    return poses._replace(R=R, t=t)
