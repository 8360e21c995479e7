"""How many picks of a score are there by chance: what a null search tells.

Noise that is as the templates are but for its phases, see `with_random_phases`, is
searched for in the same tomogram, by the same rotations. Of white noise a pose scores
above s with a probability that goes nearly as (1 − s²)^β, β half of the numbers that a
crop has; so the null's peaks above the lowest that are taken are as many as

    n₀(s) = n ((1 − s²) / (1 − s₀²))^β,     1 / β = mean of ln (1 − s₀²) / (1 − s²),

the likeliest β, with some peaks more of one that is known, and also beyond the
highest of them. Of n(s) picks that score s or more the
part n₀(s) / n(s) is expected to be false (Y. Benjamini and Y. Hochberg, Journal of the
Royal Statistical Society B 57, 289, 1995).
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.jobs.preparing import Prepared, masked_templates
from funpipe.space.fourier import fourier_vectors
from funpipe.space.geometry import radius

__all__ = ["Null", "false_share", "null_of", "with_random_phases"]

Array: TypeAlias = NDArray[Any]

_PRIOR = 10  # peaks, which count beside those that there are: of how numbers fall off
_LESS = 0.6  # of β, what is found in tomograms of noise
_TAIL = 300  # of the null's highest peaks, which say how it falls off


class Null(NamedTuple):
    """How many peaks there are by chance, by their score."""

    scores: NDArray[np.float64]
    """Of the null's peaks, the highest first."""
    many: float
    """n, those at ``least`` or above that the tail is made of."""
    least: float
    """s₀."""
    beta: float
    searches: int = 1
    """By how many searches of other noise its peaks are."""

    def tail(self, scores: Array) -> NDArray[np.float64]:
        """Return n₀ of some scores, as it falls off above s₀, 0 below."""
        s = np.clip(np.asarray(scores, float), 0, 1 - 1e-9)
        fall = (np.log1p(-np.square(s)) - np.log1p(-(self.least**2))) * self.beta
        return np.where(s >= self.least, self.many * np.exp(fall), 0) / self.searches

    def above(self, scores: Array) -> NDArray[np.float64]:
        """Return how many are expected at some scores or above.

        They are counted, or the tail's where that says more.
        """
        s = np.asarray(scores, float)
        counted = np.searchsorted(-self.scores, -s, side="right")
        return np.maximum(self.tail(s), counted / self.searches)


def null_of(scores: Array, least: float, numbers: float, searches: int = 1) -> Null:
    """Return the null of its peaks' scores, all that are ``least`` or more.

    ``numbers`` are those of a crop, from which β follows where there are few peaks.

    Examples
    --------
    >>> null = null_of(np.sqrt(np.linspace(0.04, 0.1, 500)), 0.2, 250)
    >>> null.above(np.array([0.2, 0.3, 0.5])).round(2)
    array([500.,  84.,   0.])
    """
    found = -np.sort(-np.asarray(scores, float))
    start = found[_TAIL - 1] if len(found) > _TAIL else least
    tail = found[found >= start]
    fallen = np.log1p(-(start**2)) - np.log1p(-np.square(tail))
    expected = _PRIOR / (_LESS * numbers / 2)
    beta = (len(tail) + _PRIOR) / max(float(fallen.sum()) + expected, 1e-9)
    return Null(found, max(float(len(tail)), 0.5), float(start), beta, searches)


def false_share(scores: Array, null: Null) -> NDArray[np.float64]:
    """Return which part of the picks down to each, the best first, are false.

    Parameters
    ----------
    scores : (n,) array
        In falling order.
    null : Null
        Of the same tomograms.
    """
    share = null.above(scores) / np.arange(1, len(scores) + 1)
    # A longer list that has fewer false ones may be cut later.
    return np.minimum(np.minimum.accumulate(share[::-1])[::-1], 1.0)


def with_random_phases(prepared: Prepared, seed: int) -> NDArray[np.float32]:
    """Return noise that is as templates are, shell by shell, (m, z, y, x).

    White noise is brought in turn to the masked template's mean square at each |k| and
    at each distance from the centre, so that only phases are those of noise: what lies
    where, how strong, and how finely it varies, is the template's. Of itself and its
    negative it is the one that is more like the template.

    Parameters
    ----------
    prepared : Prepared
        (m, z, y, x), see `funpipe.prepare`.
    seed : int
        Of the phases.
    """
    random = np.random.default_rng(seed)
    return np.stack([_like(each, random) for each in masked_templates(prepared)])


_ROUNDS = 20  # after which neither changes by 1 %


def _like(template: Array, random: np.random.Generator) -> NDArray[np.float32]:
    shape = template.shape
    k = np.sqrt(np.square(fourier_vectors(shape, 1 / max(shape))).sum(axis=0))
    shells, balls = np.rint(k).astype(int), np.rint(radius(shape)).astype(int)
    power = _mean_square(scipy.fft.rfftn(template), shells)
    square = _mean_square(template, balls)
    found = random.standard_normal(shape)
    for _ in range(_ROUNDS):
        F = scipy.fft.rfftn(found)
        F *= np.sqrt(power / np.maximum(_mean_square(F, shells), 1e-30))[shells]
        found = scipy.fft.irfftn(F, s=shape)
        found *= np.sqrt(square / np.maximum(_mean_square(found, balls), 1e-30))[balls]
    sign = -1 if float(np.vdot(found, template)) < 0 else 1
    return (sign * found).astype(np.float32)


def _mean_square(values: Array, number: Array) -> NDArray[np.float64]:
    """Return the mean of |values|² of each number."""
    flat = number.ravel()
    total = np.bincount(flat, np.square(np.abs(values)).ravel())
    return total / np.maximum(np.bincount(flat), 1)
