"""Integrals of likelihoods around their maxima, by Gaussians.

What they are for, and by what formula, stands in `funpipe.engine.posterior`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.engine.prior import FLAT, Prior, truncated
from funpipe.engine.turns import rotation_vectors, turned

__all__ = ["Peaks", "Tops", "basis_at", "of_tops", "over_tops"]

Array: TypeAlias = NDArray[Any]

_TURN_HOLE = 1.0  # spacings of the rotations, of φ around a mode, at the most
# A grid resolves a Gaussian whose standard deviation is this part of its spacing; the
# power says how fast it stops to where the peak is narrower.
_RESOLVED, _POWER = 0.4, 12
_NARROW = 0.22  # voxels: peaks wider over shifts are better known from the voxels
_APART = 2.0  # standard deviations: modes nearer to each other are one
# Spacings of rotations, or voxels: what a prior moves farther is no Gaussian any more,
# and the grid is what there is.
_FARTHEST = 1.5
_BASIN = 16.3  # squared standard deviations: 99.9 % of a Gaussian's rotations


class Tops(NamedTuple):
    """Where likelihoods have a maximum, and how sharp a one."""

    particle: NDArray[np.int64]
    """(Q,)."""
    template: NDArray[np.int64]
    """(Q,)."""
    quaternion: NDArray[np.float64]
    """(Q, 4), scalar last."""
    t: NDArray[np.float64]
    """(Q, 3), voxels."""
    height: NDArray[np.float64]
    """(Q,), ln L."""
    precision: NDArray[np.float64]
    """(Q, 6, 6), A, by small rotations and shifts in rad and voxels."""

    @property
    def whose(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Particle and template."""
        return self.particle, self.template

    def take(self, chosen: Array) -> Tops:
        """Return some of them."""
        return Tops._make(each[chosen] for each in self)


class Peaks(NamedTuple):
    """Distinct maxima, the highest first, and what of them is a Gaussian's."""

    tops: Tops
    """Their shifts are those Gaussians' means inside the window."""
    log_mass: NDArray[np.float64]
    """(Q,), ln ∫ L φ; −∞ where φ is 0."""
    spread: NDArray[np.float64]
    """(Q, 2): the expected squared angle, rad², and distance, voxels²."""
    nearest: NDArray[np.intp]
    """(Q,), the grid's rotation that is nearest."""
    shift_there: NDArray[np.float64]
    """(Q, 3), the best shift with that, voxels."""
    narrow: NDArray[np.float64]
    """(Q,), from 0 to 1: how much narrower than the voxels it is over shifts."""


def over_tops(
    tops: Tops,
    rotations: Array,
    spacing: float,
    free: int,
    widths: tuple[float, Array],
    prior: Prior = FLAT,
) -> tuple[Peaks, Array, Array]:
    """Integrate the Gaussians of maxima, as far as the grid does not resolve them.

    Parameters
    ----------
    tops : Tops
        The maxima; of those that are the same only the highest counts.
    rotations : (r, 4) array
        The grid's, quaternions.
    spacing, free : float and int
        Of the grid: rad, and along how many directions it goes.
    widths : float and (3,) array
        Half the window's extent in rotation and shift, rad and voxels.
    prior : Prior
        By which poses in it are weighed.

    Returns
    -------
    peaks : Peaks
        The Q distinct ones.
    hole : (Q, r) array
        φ of each at the grid's rotations.
    basin : (Q, r) array of bool
        Which of them are around the maximum.
    """
    move = widths[1]
    axes = np.flatnonzero(move > 0)
    tops = tops.take(_distinct(tops))
    ways = rotation_vectors(tops.quaternion, rotations)
    basis = basis_at(ways, spacing, free, widths)
    least = _least(free, widths)  # where nothing else is known
    A = basis.swapaxes(1, 2) @ tops.precision @ basis + np.diag(least)
    across = A[:, :free, free:]
    moving = A[:, free:, free:]
    following = np.linalg.solve(moving, across.swapaxes(1, 2))
    over = A[:, :free, :free] - across @ following
    values, vectors = np.linalg.eigh(over)
    values = np.maximum(values, least[0])
    widest = np.minimum(1 / (np.sqrt(values) * _RESOLVED * spacing), 10.0)
    narrow = widest**_POWER * values + (_TURN_HOLE * spacing) ** -2.0
    B = np.einsum("qij,qj,qkj->qik", vectors, narrow, vectors)
    ways = ways @ basis[:, :3, :free]
    hole = np.exp(-np.einsum("qri,qij,qrj->qr", ways, B, ways) / 2)
    nearest = np.square(ways).sum(axis=2).argmin(axis=1)
    there = tops.t.copy()
    there[:, axes] -= np.einsum(
        "qij,qj->qi", following, ways[np.arange(len(ways)), nearest]
    )
    width = np.linalg.det(moving) ** (-0.5 / max(len(axes), 1))
    clear = (np.abs(tops.t[:, axes]) < move[axes] - 2 * width[:, None]).all(axis=1)
    narrow_shift = clear / (1 + (width / _NARROW) ** _POWER)
    basin = np.einsum("qri,qij,qrj->qr", ways, over, ways) < _BASIN
    A[:, :free, :free] += B
    before, slope, sharpness = prior.at(tops.quaternion, tops.t, basis)
    A += sharpness
    step = -np.linalg.solve(A, slope[..., None])[..., 0]
    height = tops.height + before - (slope * step).sum(axis=1) / 2
    there[:, axes] += step[:, free:]
    whole = _whole(height, A, tops.t[:, axes] + step[:, free:], move[axes])
    t = tops.t.copy()
    t[:, axes] = whole.middle
    way = np.einsum("qij,qj->qi", basis[:, :3, :free], step[:, :free])
    far = np.linalg.norm(way, axis=1) > _FARTHEST * spacing
    far |= (np.abs(step[:, free:]) > _FARTHEST).any(axis=1)
    hole[far] = 0.0
    spread = [whole.variance[:, :free].sum(axis=1), whole.moved.sum(axis=1)]
    return (
        Peaks(
            tops._replace(t=t, quaternion=turned(tops.quaternion, way)),
            np.where(far, -np.inf, whole.log_mass),
            np.stack(spread, axis=1),
            nearest,
            there,
            narrow_shift,
        ),
        hole,
        basin,
    )


class _Whole(NamedTuple):
    """Of Gaussians of the precision A, what is inside the window."""

    log_mass: NDArray[np.float64]
    """(Q,), ln of it."""
    variance: Array
    """(Q, d), inside and outside."""
    middle: Array
    """(Q, axes), the mean shift."""
    moved: Array
    """(Q, axes), the variance of shifts."""


def _whole(height: Array, A: Array, t: Array, face: Array) -> _Whole:
    """Return integrals of Gaussians; shifts t, (Q, axes), are the last of A's.

    ``height``, (Q,), is ln of their tops.
    """
    _, logarithm = np.linalg.slogdet(A)
    variance = np.einsum("qii->qi", np.linalg.inv(A))
    size = A.shape[1]
    inside, middle, moved = truncated(t, variance[:, size - len(face) :], face)
    log_mass = height + (size * math.log(2 * math.pi) - logarithm) / 2
    return _Whole(log_mass + np.log(inside).sum(axis=1), variance, middle, moved)


def of_tops(
    height: Array,
    precision: Array,
    t: Array,
    widths: tuple[float, Array],
    slope: Array | float = 0.0,
) -> NDArray[np.float64]:
    """Return ln of the whole integrals of Gaussians, (Q,).

    Parameters
    ----------
    height, t : (Q,) and (Q, 3) arrays
        ln L at their tops, and shifts there, voxels.
    precision : (Q, d, d) array
        Along what a grid varies, see `basis_at`, shifts last.
    widths
        As for `over_tops`.
    slope : (Q, d) array
        By which ln L falls there, where those are not quite their tops.
    """
    axes = np.flatnonzero(widths[1] > 0)
    free = precision.shape[1] - len(axes)
    A = precision + np.diag(_least(free, widths))
    slope = np.broadcast_to(slope, precision.shape[:2])
    step = -np.linalg.solve(A, slope[..., None])[..., 0]
    height = height - (slope * step).sum(axis=1) / 2
    return _whole(height, A, t[:, axes] + step[:, free:], widths[1][axes]).log_mass


def basis_at(
    ways: Array, spacing: float, free: int, widths: tuple[float, Array]
) -> NDArray[np.float64]:
    """Return along which directions of pose a grid varies, (Q, 6, d).

    Ways (Q, r, 3) lead from Q rotations to the grid's; where all directions are free
    r may be 0. The rest is as for `over_tops`.
    """
    axes = np.flatnonzero(widths[1] > 0)
    basis = np.zeros((len(ways), 6, free + len(axes)))
    if free:
        basis[:, :3, :free] = _directions(ways, spacing, free)
    basis[:, 3 + axes, free + np.arange(len(axes))] = 1.0
    return basis


def _least(free: int, widths: tuple[float, Array]) -> NDArray[np.float64]:
    """Return the precision of what is as wide as the window, (d,)."""
    turn, move = widths
    extent = np.concatenate([np.full(free, turn), move[move > 0]])
    return np.asarray(math.pi / 2 / extent**2)


def _distinct(tops: Tops) -> NDArray[np.intp]:
    """Return which maxima are not the same as a higher one, the highest first."""
    kept: list[int] = []
    owned: dict[tuple[int, int], list[int]] = {}
    for i in np.argsort(-tops.height, kind="stable").tolist():
        others = owned.setdefault((int(tops.particle[i]), int(tops.template[i])), [])
        if others:
            q = tops.quaternion
            way = np.column_stack(
                [rotation_vectors(q[others], q[[i]])[:, 0], tops.t[i] - tops.t[others]]
            )
            apart = np.einsum("qi,qij,qj->q", way, tops.precision[others], way)
            if apart.min() < _APART**2:
                continue
        others.append(i)
        kept.append(i)
    return np.array(kept, dtype=np.intp)


def _directions(ways: Array, spacing: float, free: int) -> NDArray[np.float64]:
    """Return along which directions (Q, 3, free) a grid goes around rotations.

    Parameters
    ----------
    ways : (Q, r, 3) array
        From each rotation to the grid's, as vectors.
    spacing : float
        Of the grid, rad.
    free : int
        Along how many directions it goes.
    """
    if free == 3:
        return np.broadcast_to(np.eye(3), (len(ways), 3, 3))
    lengths = (ways**2).sum(axis=2)
    nearest = lengths.min(axis=1, keepdims=True)
    weight = np.exp((nearest - lengths) / (2 * (1.5 * spacing) ** 2))
    matrix = np.einsum("qr,qri,qrj->qij", weight, ways, ways)
    return np.asarray(np.linalg.eigh(matrix)[1][:, :, 3 - free :])
