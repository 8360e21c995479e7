"""From a pose of the search to the continuous optimum, and its uncertainty.

With D(k) = exp(2πi k·t) F(k), the subtomogram moved back onto the template, the
weighted squares Σ W |D − a T_R|² are lowered over amplitude a, rotation ω (R becomes
R exp(ω)) and shift t by Gauss–Newton steps with Levenberg's damping. Their columns are

    ∂/∂a: T_R        ∂/∂ω: a ∂T/∂ω (Rᵀk)        ∂/∂t: −2πi k a T_R,

A = Re Σ W conj(B_m) B_n is the normal matrix, and for noise of the variance s² in
each real part s² A⁻¹ the covariance of the pose (the Cramér–Rao bound where s² is
the true one); s² comes from the residual. What A says nothing of has no bound.

Poses keep to limits: along a direction n that leaves one that has been reached, a
step gets a stiffness n nᵀ beside which A is nothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.engine.limits import Limits
from funpipe.engine.spectra import Fields, sample

__all__ = ["Climbed", "Poses", "Spectra", "climb"]

Array: TypeAlias = NDArray[Any]

_BATCH = 16  # poses at a time, so that their arrays stay in the processor's cache
# A step is the last when it is as small as this, in rad and voxels, or against the
# pose's uncertainty.
_SMALL = np.array([5e-4] * 3 + [5e-3] * 3)
_SMALL_PART = 0.05
_ROUNDING = 1e-6  # of a score in single precision
_TINY = 1e-30  # far below any sum of normalised spectra
_STIFF = 1e8  # of the largest element of A
_SINGULAR = 1e-6  # of an eigenvalue of A, its diagonal scaled to 1


class Spectra(NamedTuple):
    """Subtomograms at N waves."""

    k: NDArray[np.float32]
    """(N, 3), periods per voxel, z, y, x."""
    F: NDArray[np.complex64]
    """(n, N), Fourier transforms about the centre of the box."""
    W: NDArray[np.float32]
    """(n, N), weights."""

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

    def take(self, chosen: Array) -> Poses:
        """Return some of them."""
        return Poses._make(each[chosen] for each in self)


class Climbed(NamedTuple):
    """Poses at their optimum."""

    poses: Poses
    variance: NDArray[np.float64]
    """(Q, 2): expected squared errors, of rotations in rad², of shifts in voxels².

    Infinite where nothing is known of one, NaN where it was not estimated.
    """


class _Step(NamedTuple):
    score: Array
    normal: Array
    slope: Array
    noise: Array
    """s², variance of each real part of the data, from the residual."""


def climb(
    poses: Poses,
    spectra: Spectra,
    fields: tuple[Fields, ...],
    limits: Limits,
    *,
    steps: int,
    turning: bool = True,
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
    """
    done = Climbed(
        Poses._make(each.copy() for each in poses),
        np.full((len(poses.particle), 2), np.nan),
    )
    order = np.argsort(poses.template, kind="stable")
    cuts = np.flatnonzero(np.diff(poses.template[order])) + 1
    for group in np.split(order, cuts):
        for part in np.array_split(group, 1 + (len(group) - 1) // _BATCH):
            some = _climb(poses.take(part), spectra, fields, limits, steps, turning)
            for whole, each in zip(done.poses, some.poses, strict=True):
                whole[part] = each
            done.variance[part] = some.variance
    return done


def _climb(
    poses: Poses,
    spectra: Spectra,
    fields: tuple[Fields, ...],
    limits: Limits,
    steps: int,
    turning: bool,
) -> Climbed:
    """Climb from poses of one template."""
    free = _FREE if turning else _FREE_SHIFTS
    field = fields[poses.template[0]]
    here = _linearise(poses, spectra, field)
    poses = poses._replace(score=here.score)
    damping = np.full(len(poses.score), 1e-3)
    active = np.arange(len(poses.score))
    for _ in range(steps):
        outward = limits.outward(poses.R, poses.t)
        step = _solve(here, damping, free, outward)[active]
        moved = _moved(poses.take(active), step, limits)
        last = _is_last(step, here, active)
        _put(poses, active[last], moved.take(last))
        active, moved = active[~last], moved.take(~last)
        if not len(active):
            break
        there = _linearise(moved, spectra, field)
        better = there.score >= here.score[active] - _ROUNDING
        won = active[better]
        _put(poses, won, moved._replace(score=there.score).take(better))
        _put(here, won, _Step._make(each[better] for each in there))
        damping[won] /= 10
        damping[active[~better]] *= 10
    return Climbed(poses, _variance(here, free))


def _is_last(step: Array, here: _Step, active: Array) -> Array:
    within = np.einsum("qi,qij,qj->q", step, here.normal[active], step)
    return (np.abs(step[:, 1:]) <= _SMALL).all(axis=1) | (
        within <= _SMALL_PART**2 * here.noise[active]
    )


def _put(whole: Any, where: Array, part: Any) -> None:
    """Set some elements of all arrays of a tuple."""
    for into, each in zip(whole, part, strict=True):
        into[where] = each


def _linearise(poses: Poses, spectra: Spectra, field: Fields) -> _Step:
    """Return score, normal matrix, slope and noise at poses of one template.

    All are parts of the Gram matrix of √W times T, ∂T/∂ω, −2πi k T and D.
    """
    k = spectra.k
    count = len(poses.particle)
    root = np.sqrt(spectra.W[poses.particle])
    columns = np.empty((count, 8, len(k)), np.complex64)
    values = sample(np.matmul(k, poses.R).reshape(-1, 3), field)
    values = np.moveaxis(values.reshape(count, len(k), 4), 2, 1)
    np.multiply(values, root[:, None], out=columns[:, :4])
    np.multiply(columns[:, :1], (-2j * np.pi * k).T, out=columns[:, 4:7])
    phase = poses.t.astype(np.float32) @ (2 * np.pi * k.T)
    turn = np.empty(phase.shape, np.complex64)
    np.cos(phase, out=turn.real)
    np.sin(phase, out=turn.imag)
    np.multiply(spectra.F[poses.particle], turn, out=turn)
    np.multiply(turn, root, out=columns[:, 7])
    real = columns.view(np.float32)
    gram = np.matmul(real, real.swapaxes(1, 2)).astype(np.float64)
    norm, overlap, power = gram[:, 0, 0], gram[:, 0, 7], gram[:, 7, 7]
    a = overlap / np.maximum(norm, _TINY)
    factors = np.repeat(a[:, None], 7, axis=1)
    factors[:, 0] = 1
    freedom = 2 * (root > 0).sum(axis=1) - 7
    return _Step(
        overlap / np.sqrt(np.maximum(norm * power, _TINY)),
        gram[:, :7, :7] * factors[:, :, None] * factors[:, None, :],
        (gram[:, :7, 7] - a[:, None] * gram[:, :7, 0]) * factors,
        np.maximum(power - a * overlap, 0) / np.maximum(freedom, 1),
    )


_FREE = np.arange(7)  # amplitude, rotation, shift
_FREE_SHIFTS = np.array([0, 4, 5, 6])


def _solve(here: _Step, damping: Array, free: Array, outward: Array) -> Array:
    normal = here.normal[:, free[:, None], free].copy()
    diagonal = np.einsum("qii->qi", normal)
    diagonal *= 1 + damping[:, None]
    largest = diagonal.max(axis=1, keepdims=True)
    diagonal += 1e-12 * largest + _TINY
    rows = outward[..., free[1:] - 1]
    step = np.zeros(here.slope.shape)
    for _ in range(3):  # to hold one limit may lead beyond another
        step[:, free] = np.linalg.solve(normal, here.slope[:, free, None])[..., 0]
        leaving = np.einsum("qmi,qi->qm", rows, step[:, free[1:]]) > 1e-6 * _SMALL[0]
        if not leaving.any():
            break
        held = _STIFF * largest[..., None] * leaving[..., None] * rows
        normal[:, 1:, 1:] += rows.swapaxes(1, 2) @ held
        # So that what changes nothing, as of a flat box, is not lost beside it.
        diagonal += 1e-14 * _STIFF * largest * leaving.any(axis=1, keepdims=True)
    return step


def _moved(poses: Poses, step: Array, limits: Limits) -> Poses:
    from scipy.spatial.transform import Rotation

    turned = poses.R @ Rotation.from_rotvec(step[:, 1:4]).as_matrix()
    R, t = limits.within(turned, poses.t + step[:, 4:])
    return poses._replace(R=R, t=t)


def _variance(here: _Step, free: Array) -> Array:
    """Return s² times the diagonal of A⁻¹, summed over rotation and over shift."""
    normal = here.normal[:, free[:, None], free]
    diagonal = np.einsum("qii->qi", normal)
    root = np.sqrt(np.where(diagonal > _TINY, diagonal, np.inf))
    values, vectors = np.linalg.eigh(normal / root[:, :, None] / root[:, None])
    known = values > _SINGULAR
    inverse = np.where(known, 1 / np.where(known, values, 1), 0)[:, None]
    squares = np.square(vectors)
    each = np.full(here.slope.shape, np.nan)
    each[:, free] = np.where(
        (squares * ~known[:, None]).sum(axis=2) > 1e-3,
        np.inf,
        (squares * inverse).sum(axis=2) * here.noise[:, None] / np.square(root),
    )
    each[here.normal[:, 1:, 1:].max(axis=(1, 2)) <= 0] = np.nan  # nothing to go by
    return np.stack([each[:, 1:4].sum(axis=1), each[:, 4:].sum(axis=1)], axis=1)
