"""How low a place may score whose best pose is beside it, and what noise alone scores.

A search looks at places a step apart and at some of the rotations first. Whether a pose
of the score s is seen there is a matter of chance: of the noise, and of where between
places and rotations it lies. Such poses are drawn, of white noise in which they have
just that score,

    G = s s_R + √(1 − s²) ν,     ν ⟂ s_R, |ν| = 1,

at any of the places' distances, and the limits are what so few of them are below.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.engine.basis import Basis, seen_of

__all__ = ["Limits", "limits_of", "score_of_chance"]

Array: TypeAlias = NDArray[Any]

_CROPS, _POSES = 500, 6  # of noise, and how many poses are put in each
_CORNERS = tuple(itertools.product((0.0, 1.0), repeat=3))  # of the places around one


class Limits(NamedTuple):
    """Scores below which places are discarded, one after the other."""

    bound: float
    """By √Σ c_j², which no rotation is above."""
    coarse: float
    """By the best of the coarse rotations."""
    fine: float
    """By the best of all."""

    def lowered(self, part: float) -> Limits:
        """Return a part of those by rotations."""
        return self._replace(coarse=part * self.coarse, fine=part * self.fine)


def limits_of(basis: Basis, least: float, missed: float) -> Limits:
    """Return limits that poses of a score are below with a chance, each.

    Parameters
    ----------
    basis : Basis
        What is looked for, and how.
    least : float
        The score, 0 to 1.
    missed : float
        The chance.
    """
    random = np.random.default_rng(0)
    crops = random.standard_normal((_CROPS, *(basis.side,) * 3), np.float32)
    noise = seen_of(crops, basis)
    seen = [_seen(basis, least, noise, random) for _ in range(_POSES)]
    bound, coarse, fine = (
        np.quantile(np.concatenate(each), missed, method="lower")
        for each in zip(*seen, strict=True)
    )
    return Limits(float(bound), float(coarse), float(fine))


def _seen(
    basis: Basis, least: float, noise: Array, random: np.random.Generator
) -> tuple[Array, Array, Array]:
    """Return what poses score, at the best of the places around them, by each limit."""
    count = len(noise)
    s = basis.rows[random.integers(len(basis.rows), size=count)]
    noise = noise - np.sum(noise * s.conj(), axis=1, keepdims=True).real * s
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    G = np.float32(least) * s + np.float32(math.sqrt(1 - least**2)) * noise
    G *= _moving(random.uniform(0, basis.step, size=(count, 3)), basis.k)
    best = np.full((3, count), -1.0)
    for corner in _moving(-np.array(_CORNERS) * basis.step, basis.k):
        c = (G * corner).view(np.float32) @ basis.functions.view(np.float32).T
        coarse = (c @ basis.coefficients[basis.coarse].T).max(axis=1)
        fine = (c @ basis.coefficients.T).max(axis=1)
        best = np.maximum(best, [np.linalg.norm(c, axis=1), coarse, fine])
    return best[0], best[1], best[2]


def _moving(shifts: Array, k: Array) -> NDArray[np.complex64]:
    """Return what waves are multiplied by where places move, (n, N)."""
    return np.exp(2j * np.pi * shifts @ k.T).astype(np.complex64)


_OFTEN = 2e-3  # of poses, where there are few of them


def score_of_chance(numbers: float, poses: float, expected: float) -> float:
    """Return the score that so many of some poses have by chance.

    Of white noise in n numbers a pose has a score above s with the probability
    ½ I_{1 − s²}((n − 1) / 2, ½), I the regularised incomplete beta function.

    Parameters
    ----------
    numbers : float
        n, of a crop.
    poses : float
        Places times rotations.
    expected : float
        How many of them shall be above, one in a thousand at the most.

    Examples
    --------
    >>> round(score_of_chance(246.0, 5e10, 3e4), 2)
    0.3
    """
    chance = min(_OFTEN, 2 * expected / poses)
    return float(
        math.sqrt(1 - scipy.special.betaincinv((numbers - 1) / 2, 0.5, chance))
    )
