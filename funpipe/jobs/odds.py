"""How likely each pick is a particle: a search and its null compete for places.

A null's template is as likely as the template to score high at a place where neither
has a particle, see `funpipe.jobs.chance`. So where both have a peak at one place the
higher counts alone, and of all that is left the null's peaks above a score are as many
as the search's that are false: n₀(ℓ) of n, the part n₀ / n of a list that ends there
(J. E. Elias and S. P. Gygi, Nature Methods 4, 207, 2007, of peptides).

- A null's template with N₀ independent rotations scores more by chance than one with N,
  see `funpipe.engine.rivals`; so each of its peaks counts N / N₀.
- Of few peaks the highest say little, so that the last 20 go on as they fall off: with
  ℓ = −(n/2) ln (1 − s²), n the numbers that a crop has, in white noise a pose of the
  score s is likelier a particle of some amplitude by the factor e^ℓ, and above the
  twentieth, at ℓ₀, n₀(ℓ) = 20 e^−ρ(ℓ − ℓ₀); two more count with ρ of 0.6, as in white
  noise.

For the odds of a single peak those of the search are taken to be as many, at each ℓ, as

    f(ℓ) = c f₀(ℓ) (1 + e^(a + b ℓ)),     b ≥ 0, c ≥ 1,

c f₀ those that are there by chance, and a + b ℓ is ln of the odds. f₀ is that of the
null's peaks; c is nearly 1. All three are those by which it is the likeliest which
peaks are the search's and which the null's, a logistic regression (local false
discovery rates by such: B. Efron et al., Journal of the American Statistical
Association 96, 1151, 2001).

Where particles are so faint that the null is often the higher peak, more is said to be
false than is; less than is where there is something that only the template is like.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.jobs.sweeping import Found

__all__ = ["Odds", "false_alarms", "odds_of", "winners"]

Array: TypeAlias = NDArray[Any]

_PRIOR = 0.1, 0.01  # of b and a, of what one peak says: they are not large
_MORE = 0.3  # of ln c
_STARTS = -6.0, -2.0
_TAIL = 20  # of the null's highest peaks, which say how it falls off
_WHITE = 2, 0.6  # peaks, and their ρ, that count beside them: as in white noise


_ONE = 1.0, 0.0, 0.0  # at any score, where nothing is known


class Odds(NamedTuple):
    """ln of the odds that a peak is a particle, and how many peaks chance has."""

    level: float
    """a."""
    slope: float
    """b."""
    null: NDArray[np.float64] = np.zeros((0, 2))
    """(k, 2), ℓ of the null's peaks, the highest first, and n₀ down to each."""
    fall: tuple[float, float, float] = (0.0, 0.0, 1.0)
    """Of those above ℓ₀: how many they are, ℓ₀ and ρ."""

    def at(self, scores: Array, numbers: float) -> NDArray[np.float64]:
        """Return ln of the odds of some scores, in crops of so many numbers.

        Examples
        --------
        >>> Odds(-9.0, 0.5).at(np.array([0.2, 0.4, 0.6]), 200.0).round(1)
        array([-7. , -0.3, 13.3])
        """
        return np.asarray(self.level + self.slope * _evidence(scores, numbers))

    def by_chance(self, level: Array) -> NDArray[np.float64]:
        """Return n₀(ℓ), how many peaks of chance are expected at ℓ or above.

        Examples
        --------
        >>> null = np.array([[12.0, 1.0], [10.0, 2.0], [9.0, 3.0]])
        >>> Odds(-9.0, 0.5, null, (2.0, 10.0, 0.6)).by_chance(np.array([12.0, 9.5]))
        array([0.60238842, 2.        ])
        """
        many, start, rate = self.fall
        counts = np.concatenate([[0.0], self.null[:, 1]])
        found = counts[np.searchsorted(-self.null[:, 0], -level, side="right")]
        high = level > start
        found[high] = many * np.exp(-rate * (level[high] - start))
        return found

    def false(self, found: list[Found]) -> NDArray[np.float64]:
        """Return the part of the list down to each peak that is false, 0 to 1.

        Of two lists of which the longer is the better the longer one counts.
        """
        level = _all_of(found)
        order = np.argsort(-level, kind="stable")
        share = self.by_chance(level[order]) / (1 + np.arange(len(order)))
        false = np.empty(len(level))
        false[order] = np.minimum.accumulate(np.minimum(share, 1)[::-1])[::-1]
        return false


def _evidence(scores: Array, numbers: float) -> NDArray[np.float64]:
    """Return ℓ of scores."""
    s = np.clip(np.asarray(scores, float), 0, 1 - 1e-6)
    return np.asarray(-numbers / 2 * np.log1p(-np.square(s)))


def winners(
    mine: Found, theirs: Found, distance: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell which peaks of a search, and which of its null, no other's are above.

    Parameters
    ----------
    mine, theirs : Found
        The peaks of both in a tomogram.
    distance : float
        Voxels, within which peaks of both are of one place.
    """
    above, below = _highest_near(mine, theirs, distance)
    return _level(mine) >= above, _level(theirs) > below


def odds_of(found: list[Found], null: list[Found], freedom: list[float]) -> Odds:
    """Return the odds of a search's peaks from those of a null, both those that won.

    Parameters
    ----------
    found, null : list of Found
        The peaks of each tomogram.
    freedom : list of float
        N₀ / N, of each.
    """
    level, chance = _all_of(found), _all_of(null)
    if not len(level) or not len(chance):
        return Odds(float(np.log(0.5)) if len(level) else 0.0, 0.0, fall=_ONE)
    count = np.repeat(1 / np.array(freedom), [len(each.scores) for each in null])
    order = np.argsort(-chance, kind="stable")
    down = np.stack([chance[order], np.cumsum(count[order])], axis=1)
    return _fitted(level, chance, count)._replace(null=down, fall=_fall(down))


def false_alarms(found: Found, noise: Found) -> NDArray[np.float64]:
    """Return how many peaks noise has that are as high as each of a search's, n₀(ℓ)."""
    level = -np.sort(-_level(noise))
    if not len(level):
        return np.zeros(len(found.scores))
    down = np.stack([level, 1.0 + np.arange(len(level))], axis=1)
    return Odds(0.0, 0.0, down, _fall(down)).by_chance(_level(found))


def _fall(null: Array) -> tuple[float, float, float]:
    """Return n, ℓ₀ and ρ of the likeliest that a null's highest peaks fall off by."""
    level, counted = null.T
    last = min(int(np.searchsorted(counted, _TAIL)), len(level) - 1)
    many, start = float(counted[last]), float(level[last])
    weight = np.diff(counted[: last + 1], prepend=0.0)
    above = float(weight @ (level[: last + 1] - start)) + _WHITE[0] / _WHITE[1]
    return many, start, (many + _WHITE[0]) / above


def _level(found: Found) -> NDArray[np.float64]:
    return _evidence(found.scores, found.numbers)


def _all_of(found: list[Found]) -> NDArray[np.float64]:
    return np.concatenate([_level(each) for each in found])


def _highest_near(
    mine: Found, theirs: Found, distance: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return of peaks of each the highest ℓ of the other's at their place, or −∞."""
    above, below = (np.full(len(each.where), -np.inf) for each in (mine, theirs))
    if len(mine.where) and len(theirs.where):
        here, there = (scipy.spatial.KDTree(each.where) for each in (mine, theirs))
        near = here.sparse_distance_matrix(there, distance, output_type="ndarray")
        i, j = near["i"], near["j"]
        np.maximum.at(above, i, _level(theirs)[j])
        np.maximum.at(below, j, _level(mine)[i])
    return above, below


def _fitted(mine: Array, theirs: Array, weights: Array) -> Odds:
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
        ratio = np.logaddexp(0, g) + line[2]
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
