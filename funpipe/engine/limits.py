"""Limits of a search, which poses that climb from its grid keep too.

Shifts t stay in a window. Rotations stay in a ball, |R| ≤ θ, or in a box of Euler
angles R = R_z(α) R_y(β) R_x(γ), |α| ≤ α_max and so on, intrinsic and in that order.

Where R becomes R exp(ω), the angle of R grows by n·ω, n its axis. For Euler angles
ω = R_x(−γ) R_y(−β) e_z dα + R_x(−γ) e_y dβ + e_x dγ.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Limits"]

Array: TypeAlias = NDArray[Any]

_NEAR = 1e-7  # rad and voxels: what is this near to a limit has reached it


class Limits(NamedTuple):
    """How far poses may go."""

    window: tuple[float, float, float]
    """The largest shifts along z, y, x, in voxels."""
    turn: float | tuple[float, float, float] | None = None
    """Degrees: the largest angle; or those about z, y, x; None where all may be."""

    def outward(self, R: Array, t: Array) -> NDArray[np.float64]:
        """Return the directions of rotation and shift that leave the limits.

        Parameters
        ----------
        R : (Q, 3, 3) array
            Rotations on zyx vectors.
        t : (Q, 3) array
            Shifts, voxels.

        Returns
        -------
        (Q, m, 6) array
            Rows n, so that a step (ω, dt) goes beyond a limit that a pose has reached
            if n · (ω, dt) > 0; 0 for a limit that it has not. Where a limit is 0
            there are both n and −n.
        """
        most, angles = self._most(), self._angles(R)
        most = np.where(most < math.pi, most, math.inf)
        turning = np.zeros((len(R), 0, 3))
        if (np.abs(angles) >= most - _NEAR).any():
            rates = _axes(R)[:, None] if len(most) == 1 else _rates_of_euler(angles)
            turning = _both_ways(angles, most, rates)
        moving = _both_ways(t, np.array(self.window), np.eye(3))
        rows = np.zeros((len(R), turning.shape[1] + moving.shape[1], 6))
        rows[:, : turning.shape[1], :3] = turning
        rows[:, turning.shape[1] :, 3:] = moving
        return rows

    def within(self, R: Array, t: Array) -> tuple[Array, Array]:
        """Return the poses, those beyond the limits brought back to them."""
        window = np.array(self.window)
        return self._turned_back(R), np.clip(t, -window, window)

    def reached(self, R: Array, t: Array) -> NDArray[np.bool_]:
        """Tell which poses are on a limit that is not 0."""
        window = np.array(self.window)
        moved = (np.abs(t) >= window - _NEAR) & (window > 0)
        angles = np.abs(self._angles(R))
        most = self._most()
        turned = (angles >= most - _NEAR) & (most > 0) & (most < math.pi)
        return np.asarray(moved.any(axis=1) | turned.any(axis=1))

    @property
    def farthest(self) -> tuple[float, float]:
        """How far a pose within them may be from the middle, rad and voxels."""
        most = self._most()
        turn = math.hypot(*np.where(most < math.pi, most, math.pi))
        return min(turn, math.pi), math.hypot(*self.window)

    def _most(self) -> NDArray[np.float64]:
        """Return the largest angles in rad: of the ball, or of each Euler angle."""
        most = math.inf if self.turn is None else self.turn
        return np.atleast_1d(np.radians(np.array(most, dtype=float)))

    def _angles(self, R: Array) -> NDArray[np.float64]:
        """Return the angles that are limited, (Q, 1) or (Q, 3), in rad."""
        if self.turn is None:
            return np.zeros((len(R), 1))
        most = self._most()
        return _lengths(R)[:, None] if len(most) == 1 else _euler(R, most)

    def _turned_back(self, R: Array) -> Array:
        from scipy.spatial.transform import Rotation

        most, angles = self._most(), self._angles(R)
        beyond = (np.abs(angles) > most).any(axis=1)
        if not beyond.any():
            return R
        if len(most) == 1:
            nearest = Rotation.from_rotvec(_axes(R[beyond]) * most)
        else:
            nearest = Rotation.from_euler("XYZ", np.clip(angles[beyond], -most, most))
        back = R.copy()
        back[beyond] = nearest.as_matrix()
        return back


def _both_ways(values: Array, most: Array, rates: Array) -> NDArray[np.float64]:
    """Return how values that have reached ± their limit change beyond it, as rows."""
    up = (values >= most - _NEAR)[..., None] * rates
    down = (values <= _NEAR - most)[..., None] * -rates
    return np.concatenate([up, down], axis=1)


def _lengths(R: Array) -> NDArray[np.float64]:
    """Return the angles of rotations, in rad."""
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_matrix(R).magnitude())


def _axes(R: Array) -> NDArray[np.float64]:
    """Return the axes of rotations, unit vectors; of the identity, 0."""
    from scipy.spatial.transform import Rotation

    vectors = Rotation.from_matrix(R).as_rotvec()
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-300))


def _euler(R: Array, most: Array) -> NDArray[np.float64]:
    """Return α, β, γ in rad; of the two ways to say R, the one less beyond limits."""
    beta = np.arcsin(np.clip(R[:, 0, 2], -1, 1))
    alpha = np.arctan2(-R[:, 1, 2], R[:, 2, 2])
    gamma = np.arctan2(-R[:, 0, 1], R[:, 0, 0])
    one = np.stack([alpha, beta, gamma], axis=1)
    other = np.array([1, -1, 1]) * one + np.pi
    other = (other + np.pi) % (2 * np.pi) - np.pi
    excess = [
        np.maximum(np.abs(each) - most, 0).sum(axis=1, keepdims=True)
        for each in (one, other)
    ]
    return np.where(excess[0] <= excess[1], one, other)


def _rates_of_euler(angles: Array) -> NDArray[np.float64]:
    """Return ∂(α, β, γ)/∂ω, (Q, 3, 3), rows α, β, γ."""
    _, beta, gamma = angles.T
    zero, one = np.zeros(len(angles)), np.ones(len(angles))
    cos_b, sin_b, cos_c, sin_c = (
        np.cos(beta),
        np.sin(beta),
        np.cos(gamma),
        np.sin(gamma),
    )
    columns = np.array(
        [
            [cos_b * cos_c, sin_c, zero],
            [-cos_b * sin_c, cos_c, zero],
            [sin_b, zero, one],
        ]
    )
    return np.linalg.pinv(np.moveaxis(columns, 2, 0))
