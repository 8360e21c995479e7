"""Which of the peaks of a search are picks."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.base import arguments as check
from funpipe.base.molecules import Molecules
from funpipe.base.wording import fail
from funpipe.jobs.clustering import best_apart, tomogram_numbers
from funpipe.jobs.odds import Odds, false_alarms
from funpipe.jobs.spacing import Apart, pairs_of
from funpipe.jobs.sweeping import Found

__all__ = ["Wanted", "best_picks", "chosen", "of_all", "wanted"]

FALSE = 0.05
"""The part of all picks that may be false, where nothing else limits them."""

ALARMS = 100
"""The most picks of noise in a tomogram: more of its peaks are kept."""

_MORE = 2  # times as many as are wanted climb: their order may change


class Wanted(NamedTuple):
    """Which of the peaks are picks, as asked; see `funpipe.search`."""

    most: int | None
    """Of a tomogram."""
    threshold: float | None
    false: float | None
    distance: float | None
    """nm."""
    by_mask: bool = False
    """Whether the mask's shape counts in place of a distance."""
    alarms: float | None = None
    """Picks of a tomogram that may be of noise."""

    @property
    def by_chance(self) -> bool:
        """Whether what chance finds has a say."""
        return self.false is not None or self.alarms is not None


def wanted(
    count: Any, threshold: Any, false: Any, distance: Any, alarms: Any = None
) -> Wanted:
    """Check which picks are asked for, and make one value of it."""
    if count is not None:
        count = check.positive_integer("count", count)
    if threshold is not None:
        threshold = _part("threshold", "a score", threshold)
    if false is not None:
        false = _part("false_discovery_rate", "a part", false)
    elif count is None and threshold is None and alarms is None:
        false = FALSE
    if alarms is not None:
        alarms = check.number("false_alarms", alarms)
        if not 0 < alarms <= ALARMS:
            fail("false_alarms", f"above 0 and at most {ALARMS}", alarms)
    if isinstance(distance, str):
        if distance != "mask":
            fail("distance", "a number above 0, 'mask' or None", distance)
        return Wanted(count, threshold, false, None, by_mask=True, alarms=alarms)
    apart = check.optional_positive("distance", distance)
    return Wanted(count, threshold, false, apart, alarms=alarms)


def _part(name: str, what: str, value: Any) -> float:
    found = check.number(name, value)
    if not 0 < found < 1:
        fail(name, f"{what} above 0 and below 1", value)
    return found


def of_all(
    found: list[Found], odds: Odds | None
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Return the scores of all peaks, the highest first, and how likely each is false.

    1 − p, p by their odds; None where there are none.
    """
    scores = np.concatenate([each.scores for each in found]).astype(float)
    order = np.argsort(-scores, kind="stable")
    if odds is None:
        return scores[order], None
    return scores[order], scipy.special.expit(-_said(found, odds))[order]


def _said(found: list[Found], odds: Odds) -> NDArray[np.float64]:
    return np.concatenate([odds.at(each.scores, each.numbers) for each in found])


class Chosen(NamedTuple):
    """The peaks of a tomogram that are aligned."""

    found: Found
    odds: NDArray[np.float64]
    """(n,), ln of the odds that each is a particle; NaN where nobody asked."""
    false: NDArray[np.float64]
    """(n,), of the picks of all tomograms down to each, the part that is false; NaN
    likewise."""
    alarms: NDArray[np.float64]
    """(n,), how many peaks noise has in its tomogram that are as high; NaN likewise."""


def chosen(
    found: list[Found], odds: Odds | None, noise: list[Found] | None, asked: Wanted
) -> list[Chosen]:
    """Return the peaks of each tomogram that go on, the best first."""
    sizes = [len(each.scores) for each in found]
    said, false = np.full(sum(sizes), np.nan), np.full(sum(sizes), np.nan)
    if odds is not None:
        said, false = _said(found, odds), odds.false(found)
    ends = np.cumsum(sizes)[:-1]
    result = []
    parts = (np.split(values, ends) for values in (said, false))
    alarms = [np.full(size, np.nan) for size in sizes]
    if noise is not None:
        alarms = [false_alarms(*both) for both in zip(found, noise, strict=True)]
    for each, its, share, alarm in zip(found, *parts, alarms, strict=True):
        kept = np.arange(len(share))
        if asked.false is not None:
            kept = kept[share <= asked.false]
        if asked.alarms is not None:
            kept = kept[alarm[kept] <= asked.alarms]
        if asked.most is not None:
            kept = kept[: _MORE * asked.most]
        picked = (values[kept] for values in (its, share, alarm))
        result.append(Chosen(each.take(kept), *picked))
    return result


def best_picks(
    picks: Molecules, apart: Apart, scale: float, asked: Wanted
) -> Molecules:
    """Return aligned picks that are apart, as many as are wanted, the best first.

    ``scale`` is in nm per voxel, the unit of ``apart``.
    """
    score = picks.features["score"]
    owner = tomogram_numbers(picks, "tomogram")
    turns = picks.rotations.as_matrix() if len(picks) else np.zeros((0, 3, 3))
    which = np.asarray(picks.features["template"], np.intp)
    places = picks.positions / scale
    order = best_apart(score, pairs_of(apart, places, turns, which, score, owner))
    order = order[np.argsort(-score[order], kind="stable")]
    if asked.threshold is not None:
        order = order[score[order] >= asked.threshold]
    if asked.most is not None:
        rank = np.zeros(len(order), np.intp)
        for each in np.unique(owner):
            mine = owner[order] == each
            rank[mine] = np.arange(mine.sum())
        order = order[rank < asked.most]
    return picks[order]
