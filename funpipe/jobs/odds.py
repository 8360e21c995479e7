"""How likely each pick is a particle: odds from the peaks of a search and its nulls.

In white noise a pose of the score s is likelier a particle of some amplitude than noise
by the factor e^ℓ, ℓ = −(n/2) ln (1 − s²), n the numbers that a crop has. So the peaks
of a search are taken to be as many, at each ℓ, as

    f(ℓ) = c f₀(ℓ) (1 + e^(a + b ℓ)),     b ≥ 0, c ≥ 1,

c f₀ those that are there by chance, and a + b ℓ is ln of the odds: particles and chance
are told apart by how many peaks there are of each score. f₀ is that of a null's peaks,
for each search; c is nearly 1. All three are those by which it is the likeliest which
peaks are the search's and which the null's, a logistic regression (local false
discovery rates by such: B. Efron et al., Journal of the American Statistical
Association 96, 1151, 2001).

Where a particle is the null has a peak too, for its templates are like any of its size.
Where there is none, the null's is as often the higher of two peaks at one place as the
lower. So of the null's peaks that are with one of the search's only the higher count,
and twice; but particles are among those, p = 1 / (1 + e^−(a + b ℓ)) by the search's
peak, and of particles the part r. So they count

    2 (1 − p r / (p r + (1 − p) / 2)),

r the mean of p among the higher by that among all, in turns with the fit.

Where there are few peaks that says little of the highest. The null's fall off as
n e^−ρ(ℓ − ℓ₀) above some ℓ₀, and no faster than all of them in white noise would, with
ρ of 0.6, found in tomograms of that. So n₀(ℓ) of chance are expected above ℓ, and of a
list of n peaks that ends there no less than n₀ / n are false.

Where particles are so faint that a null fits them nearly as well as their own template
does, these odds are too low; they are too high where there is something that only the
template is like.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.jobs.sweeping import Found

__all__ = ["Odds", "odds_of"]

Array: TypeAlias = NDArray[Any]

_ROUNDS = 200
_SETTLED = 1e-3  # of probabilities
_PRIOR = 0.1, 0.01  # of b and a, of what one peak says: they are not large
_MORE = 0.3  # of ln c
_STARTS = -6.0, -2.0
_TINY = 1e-30
_TAIL = 300  # of the null's highest peaks, which say how it falls off
_WHITE = 10, 0.6  # peaks, and their ρ, that count beside them: as in white noise


class Odds(NamedTuple):
    """ln of the odds that a peak is a particle, as it goes with its score."""

    level: float
    """a."""
    slope: float
    """b."""
    falls: tuple[tuple[float, float, float], ...] = ()
    """n, ℓ₀ and ρ: of the null's highest, and of all as in white noise."""

    def at(self, scores: Array, numbers: float) -> NDArray[np.float64]:
        """Return ln of the odds of some scores, in crops of so many numbers.

        Examples
        --------
        >>> Odds(-9.0, 0.5).at(np.array([0.2, 0.4, 0.6]), 200.0).round(1)
        array([-7. , -0.3, 13.3])
        """
        return np.asarray(self.level + self.slope * _evidence(scores, numbers))

    def by_chance(self, scores: Array, numbers: float) -> NDArray[np.float64]:
        """Return how many peaks of chance are expected at scores or above, n₀.

        Examples
        --------
        >>> odds = Odds(-9.0, 0.5, ((100.0, 5.0, 0.6),))
        >>> odds.by_chance(np.array([0.3, 0.4]), 200.0).round(2)
        array([7.  , 0.06])
        """
        x = _evidence(scores, numbers)
        found = np.zeros(len(x))
        for many, start, fall in self.falls:
            found = np.maximum(found, many * np.exp(-fall * (x - start)))
        return found


def _evidence(scores: Array, numbers: float) -> NDArray[np.float64]:
    s = np.clip(np.asarray(scores, float), 0, 1 - 1e-6)
    return np.asarray(-numbers / 2 * np.log1p(-np.square(s)))


def odds_of(found: list[Found], nulls: list[list[Found]], distance: float) -> Odds:
    """Estimate the odds of a search's peaks.

    Parameters
    ----------
    found : list of Found
        The search's peaks, of each tomogram.
    nulls : list of lists of Found
        The same of each null, as they are by themselves.
    distance : float
        Voxels, within which peaks of search and null are of one place.
    """
    mine = _all_of(found)
    theirs = np.concatenate([_all_of(each) for each in nulls])
    if not len(mine) or not len(theirs):
        return Odds(float(np.log(0.5)) if len(mine) else 0.0, 0.0)
    odds, weights = _settled(mine, theirs, _beside(found, nulls, distance), len(nulls))
    white = len(theirs) / len(nulls), float(theirs.min()), _WHITE[1]
    falls = (_fall(theirs, weights, len(nulls)), white)
    return odds._replace(falls=falls)


def _settled(
    mine: Array, theirs: Array, beside: Array, searches: int
) -> tuple[Odds, NDArray[np.float64]]:
    """Return the odds, and what each of the nulls' peaks counts.

    Beside each of those is ℓ of the search's peak at its place, or 0.
    """
    paired, higher = beside > 0, theirs >= beside
    odds, r, p = Odds(0.0, 0.0), 0.0, np.zeros(len(theirs))
    for _ in range(_ROUNDS):
        particles = p * r / np.maximum(p * r + (1 - p) / 2, _TINY)
        weights = np.where(paired, 2 * higher * (1 - particles), 1.0)
        odds = _fitted(mine, theirs, weights, searches)
        before, p = p, scipy.special.expit(odds.level + odds.slope * beside)
        r = min(0.5, float(p[paired & higher].sum() / (p[paired].sum() + 1)))
        if np.abs(p - before).max() < _SETTLED:
            break
    return odds, weights


def _fall(theirs: Array, weights: Array, searches: int) -> tuple[float, float, float]:
    """Return n, ℓ₀ and ρ of the likeliest that a null's peaks fall off by."""
    order = np.argsort(-theirs)
    high = order[: int(np.searchsorted(np.cumsum(weights[order]), _TAIL)) + 1]
    x, weight = theirs[high], weights[high]
    many, start = float(weight.sum()), float(x.min())
    above = float(weight @ (x - start)) + _WHITE[0] / _WHITE[1]
    return max(many, 0.5) / searches, start, (many + _WHITE[0]) / above


def _all_of(found: list[Found]) -> NDArray[np.float64]:
    return np.concatenate([_evidence(each.scores, each.numbers) for each in found])


def _beside(
    found: list[Found], nulls: list[list[Found]], distance: float
) -> NDArray[np.float64]:
    """Return of each of the nulls' peaks ℓ of the search's nearest, or 0."""
    nearest = [
        _of_nearest(mine, theirs, distance)
        for null in nulls
        for mine, theirs in zip(found, null, strict=True)
    ]
    return np.concatenate(nearest)


def _of_nearest(mine: Found, theirs: Found, distance: float) -> NDArray[np.float64]:
    if not len(mine.where) or not len(theirs.where):
        return np.zeros(len(theirs.where))
    level = _evidence(mine.scores, mine.numbers)
    away, which = scipy.spatial.KDTree(mine.where).query(theirs.where)
    return np.where(away <= distance, level[which], 0.0)


def _fitted(mine: Array, theirs: Array, weights: Array, searches: int) -> Odds:
    """Return the odds by which peaks are the likeliest whose they are."""
    total = max(float(weights.sum()), 1e-9)
    middle = float(weights @ theirs) / total
    width = np.sqrt(weights @ np.square(theirs - middle) / total) + 1e-9
    x = (np.concatenate([mine, theirs]) - middle) / width
    of_mine = np.arange(len(x)) < len(mine)
    weight = np.concatenate([np.ones(len(mine)), weights])
    prior = np.array([_PRIOR[1], _PRIOR[0], _MORE**-2])

    def unlikely(line: Array) -> tuple[float, Array]:
        g = line[0] + line[1] * x
        ratio = np.logaddexp(0, g) + line[2] - np.log(searches)
        value = weight @ (np.logaddexp(0, ratio) - of_mine * ratio)
        off = weight * (scipy.special.expit(ratio) - of_mine)
        by = off * scipy.special.expit(g)
        slope = np.array([by.sum(), by @ x, off.sum()]) + prior * line
        return float(value + prior @ np.square(line) / 2), slope

    fits = [
        scipy.optimize.minimize(
            unlikely,
            (start, 2.0, 0.0),
            jac=True,
            method="L-BFGS-B",
            bounds=[(None, None), (0, None), (0, None)],
        )
        for start in _STARTS
    ]
    best = min(fits, key=lambda each: float(each.fun))
    level, slope, _ = best.x
    return Odds(float(level - slope * middle / width), float(slope / width))
