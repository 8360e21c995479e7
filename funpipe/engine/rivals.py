"""Other templates beside those that are looked for: when do they score more?

By chance those that turn more freely do: of N independent rotations the best score in
white noise is below s with the probability Φ(s √n)^N, n the numbers of a crop. And
where a template is, with a score of z standard deviations, s √n, others do with the
probability r, the more often the more they are like it and the lower z is.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.engine.basis import Basis, seen_of
from funpipe.engine.chances import drawn, moving

__all__ = [
    "Beaten",
    "beaten",
    "best_by_chance",
    "independent_rotations",
    "likeness",
]

Array: TypeAlias = NDArray[Any]

_LOOKED_AT = 64  # rows, evenly spread


def likeness(basis: Basis, others: Basis) -> float:
    """Return how well others fit turned templates, at their best rotations: 1 is best.

    The mean of the highest Re Σ conj(s_R) o_Q over Q, o_Q the others' rows.
    """
    some = basis.rows[:: max(1, len(basis.rows) // _LOOKED_AT)].view(np.float32)
    return float((some @ others.rows.view(np.float32).T).max(axis=1).mean())


_TRIALS = 400  # places of white noise; of their mean 1 in 1000
_TOGETHER = 50


def best_by_chance(basis: Basis) -> NDArray[np.float32]:
    """Return the best scores of all rotations at some places in white noise."""
    random = np.random.default_rng(0)
    side = (basis.side,) * 3
    best = []
    for _ in range(0, _TRIALS, _TOGETHER):
        crops = random.standard_normal((_TOGETHER, *side), np.float32)
        G = seen_of(crops, basis).view(np.float32)
        best.append((G @ basis.rows.view(np.float32).T).max(axis=1))
    return np.concatenate(best)


def independent_rotations(best: Array, numbers: float) -> float:
    """Return how many independent rotations score so by chance, where that is much.

    Turned templates are alike, so that they are fewer where little is asked of them:
    what is below the upper quartile s̄ counts as s̄, and of all the likeliest N is

        −¼ / mean ln Φ(max(s, s̄) √n).

    Parameters
    ----------
    best : (t,) array
        s, from `best_by_chance`.
    numbers : float
        n, of a crop.

    Examples
    --------
    >>> noise = np.random.default_rng(0).standard_normal((20000, 40)) / 10
    >>> round(independent_rotations(noise.max(axis=1), 100.0))
    40
    """
    high = np.maximum(best, np.quantile(best, 0.75))
    return float(-0.25 / scipy.special.log_ndtr(high * math.sqrt(numbers)).mean())


class Beaten(NamedTuple):
    """r = 1 / (1 + e^−(a + b z))."""

    level: float
    """a."""
    slope: float
    """b."""

    def at(self, z: Array) -> NDArray[np.float64]:
        """Return r, one half at the most.

        Examples
        --------
        >>> Beaten(3.0, -0.7).at(np.array([4.0, 6.0, 8.0])).round(3)
        array([0.5  , 0.231, 0.069])
        """
        return np.minimum(scipy.special.expit(self.level + self.slope * z), 0.5)


_LEVELS = np.arange(3.5, 10.0)  # z, at which particles are drawn
_OF_EACH = 60
_AROUND = 2  # places along each axis that others may score at, 33 in all


def beaten(particles: Array, basis: Basis, others: Basis) -> Beaten:
    """Return how often others score more than templates where one of those is.

    Parameters
    ----------
    particles : (n, N) array
        Rows of the templates at rotations between those that are tried.
    basis, others : Basis
        What is looked for, and the others: both score as high as they can, at any
        rotation and place around particles in white noise, of places half of the
        finest period apart. Found at all voxels they score more, and so differ less by
        their noise; but in tomograms there is more noise than that.
    """
    random = np.random.default_rng(0)
    crops = random.standard_normal((_OF_EACH, *(basis.side,) * 3), np.float32)
    noise = seen_of(crops, basis)
    root, step = math.sqrt(basis.numbers), max(1.0, basis.finest / 2)
    some = [
        moving(step * random.uniform(-0.5, 0.5, (len(noise), 3)), basis.k)
        * drawn(particles, min(z / root, 0.98), noise, random)
        for z in _LEVELS
    ]
    steps = np.arange(-_AROUND, _AROUND + 1)
    around = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 3)
    around = around[np.linalg.norm(around, axis=1) <= _AROUND]
    moves = moving(step * around, basis.k)
    z, other = (
        root * _highest(np.concatenate(some), moves, each) for each in (basis, others)
    )
    return _logistic(z, other > z)


def _highest(G: Array, moves: Array, basis: Basis) -> NDArray[np.float32]:
    """Return the best score of each at all rotations and places."""
    best = np.full(len(G), -1.0, np.float32)
    for move in moves:
        c = (G * move).view(np.float32) @ basis.functions.view(np.float32).T
        best = np.maximum(best, (c @ basis.coefficients.T).max(axis=1))
    return best


def _logistic(z: Array, lost: Array) -> Beaten:
    """Return the likeliest r of what is lost at each z, which falls."""

    def unlikely(line: Array) -> tuple[float, Array]:
        g = line[0] + line[1] * z
        off = scipy.special.expit(g) - lost
        value = (np.logaddexp(0, g) - lost * g).sum() + 1e-3 * line @ line
        return float(value), np.array([off.sum(), off @ z]) + 2e-3 * line

    found = scipy.optimize.minimize(
        unlikely,
        (0.0, -0.1),
        jac=True,
        method="L-BFGS-B",
        bounds=[(None, None), (None, 0)],
    )
    return Beaten(*map(float, found.x))
