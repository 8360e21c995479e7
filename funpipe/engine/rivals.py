"""Templates beside others: how like they are, and how much they score by chance.

Those score more that turn more freely: of N independent rotations the best score in
white noise is below s with the probability Φ(s √n)^N, n the numbers of a crop.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.engine.basis import Basis, seen_of

__all__ = ["best_by_chance", "independent_rotations", "likeness"]

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
