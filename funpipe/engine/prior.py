"""What is known of a pose before the data: a window, and how likely poses in it are.

A pose is normally distributed about where its particle is, the same along each axis,
by rotation vectors ω and shifts t of the standard deviations τ and σ:

    ln π = −|ω|² / 2τ² − |t|² / 2σ²,

up to a constant; flat where τ and σ are infinite. Of rotations that look the same the
smallest counts. A Gaussian of the precision A times π is one again. Where its top is p
from the start, with Π = diag(1/τ², 1/σ²), its precision is A + Π, its top moves by
−(A + Π)⁻¹ Π p, and ln of its height by −pᵀ Π p / 2 + pᵀ Π (A + Π)⁻¹ Π p / 2. From R to
R exp(δ) |ω|² grows by 2 ω·δ to first order; its second derivative is taken for that of
small rotations.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.engine.turns import rotation_vectors

__all__ = ["FLAT", "Prior", "truncated"]

Array: TypeAlias = NDArray[Any]

_LEAST = 1e-6  # rad and voxels: what is known better is as good as fixed


class Prior(NamedTuple):
    """How likely poses are before the data say anything."""

    turn: float = math.inf
    """τ, rad."""
    move: float = math.inf
    """σ, voxels."""
    around: NDArray[np.float64] = np.array([[0.0, 0.0, 0.0, 1.0]])
    """(g, 4), quaternions of the rotations that look like none."""

    def of_turns(self, quaternions: Array) -> NDArray[np.float64]:
        """Return −|ω|² / 2τ² of rotations (r, 4)."""
        return np.square(self._away(quaternions)).sum(axis=1) * self._weights[0] / -2

    def of_moves(self, t: Array) -> NDArray[np.float64]:
        """Return −|t|² / 2σ² of shifts (S, 3)."""
        return np.square(t).sum(axis=1) * self._weights[3] / -2

    def at(
        self, quaternions: Array, t: Array, basis: Array
    ) -> tuple[Array, Array, Array]:
        """Return ln π of poses, Π p and Π, (Q,), (Q, d), (Q, d, d).

        Along the orthogonal columns of ``basis``, (Q, 6, d); ``t`` is (Q, 3).
        """
        away = np.column_stack([self._away(quaternions), t])
        slope = away * self._weights
        sharpness = basis.swapaxes(1, 2) @ (self._weights[:, None] * basis)
        along = np.einsum("qid,qi->qd", basis, slope)
        return (away * slope).sum(axis=1) / -2, along, sharpness

    def narrowed(self, turns: Array, moves: Array) -> tuple[Array, Array]:
        """Return errors given this too, roots of the expected squares, rad and voxels.

        They are of three axes together, as large along each.
        """
        turn, move = (
            each / np.sqrt(1 + np.square(each) * weight / 3)
            for each, weight in zip((turns, moves), self._weights[[0, 3]], strict=True)
        )
        return turn, move

    @property
    def flat(self) -> bool:
        """Whether all poses are as likely."""
        return not self._weights.any()

    @property
    def _weights(self) -> NDArray[np.float64]:
        turn, move = (max(each, _LEAST) ** -2 for each in (self.turn, self.move))
        return np.array([turn] * 3 + [move] * 3)

    def _away(self, quaternions: Array) -> NDArray[np.float64]:
        """Return ω (r, 3) of rotations (r, 4), from the nearest that is none."""
        ways = rotation_vectors(self.around, quaternions)
        nearest = np.square(ways).sum(axis=2).argmin(axis=0)
        return np.asarray(ways[nearest, np.arange(len(quaternions))])


FLAT = Prior()
"""All poses are as likely."""


def truncated(mean: Array, variance: Array, face: Array) -> tuple[Array, Array, Array]:
    """Return the part of Gaussians from −face to face, its mean and its variance."""
    sigma = np.sqrt(variance)
    near = np.abs(mean) + 4 * sigma > face
    part, middle, rest = np.ones(mean.shape), mean.copy(), variance.copy()
    if not near.any():
        return part, middle, rest
    mean, sigma = mean[near], sigma[near]
    edge = np.broadcast_to(face, near.shape)[near]
    low, high = (-edge - mean) / sigma, (edge - mean) / sigma
    inside = np.maximum(scipy.special.ndtr(high) - scipy.special.ndtr(low), 1e-6)
    bell_low, bell_high = (
        np.exp(-(each**2) / 2) / math.sqrt(2 * math.pi) for each in (low, high)
    )
    shift = (bell_low - bell_high) / inside
    shrunk = 1 + (low * bell_low - high * bell_high) / inside - shift**2
    part[near] = inside
    middle[near] = np.clip(mean + sigma * shift, -edge, edge)
    rest[near] = sigma**2 * np.clip(shrunk, 0.0, 1.0)
    return part, middle, rest
