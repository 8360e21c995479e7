"""Which of the peaks of a search are picks."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.base import arguments as check
from funpipe.base.molecules import Molecules
from funpipe.base.wording import fail
from funpipe.jobs.chance import Null, false_share, null_of
from funpipe.jobs.clustering import best_apart, tomogram_numbers
from funpipe.jobs.spacing import Apart, pairs_of
from funpipe.jobs.sweeping import Found

__all__ = ["Wanted", "best_picks", "chosen", "competing", "wanted"]

FALSE = 0.05
"""The part of all picks that may be false, where nothing else limits them."""

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


def wanted(count: Any, threshold: Any, false: Any, distance: Any) -> Wanted:
    """Check which picks are asked for, and make one value of it."""
    if count is not None:
        count = check.positive_integer("count", count)
    if threshold is not None:
        threshold = _part("threshold", "a score", threshold)
    if false is not None:
        false = _part("false_discovery_rate", "a part", false)
    elif count is None and threshold is None:
        false = FALSE
    if isinstance(distance, str):
        if distance != "mask":
            fail("distance", "a number above 0, 'mask' or None", distance)
        return Wanted(count, threshold, false, None, by_mask=True)
    apart = check.optional_positive("distance", distance)
    return Wanted(count, threshold, false, apart)


def _part(name: str, what: str, value: Any) -> float:
    found = check.number(name, value)
    if not 0 < found < 1:
        fail(name, f"{what} above 0 and below 1", value)
    return found


def competing(
    found: list[Found], nulls: list[list[Found]], distance: float
) -> tuple[list[Found], Null]:
    """Return a search's peaks that no peak of its nulls beats nearby, and their null.

    Where a particle is, the null's templates may be like it, but less so than the
    search's. Where there is none, either is as likely to have the higher peak; and so
    as many of the search's false peaks are left as of a null's (J. E. Elias and S. P.
    Gygi, Nature Methods 4, 207, 2007).

    Parameters
    ----------
    found : list of Found
        Of each tomogram the search's peaks.
    nulls : list of lists of Found
        The same of each null.
    distance : float
        Voxels, within which the higher peak is left.
    """
    left = [
        _unbeaten(theirs, mine, distance)
        for each in nulls
        for theirs, mine in zip(each, found, strict=True)
    ]
    for each in nulls:
        found = [
            _unbeaten(mine, theirs, distance)
            for mine, theirs in zip(found, each, strict=True)
        ]
    null = null_of(
        np.concatenate([each.scores for each in left]),
        max(each.least for each in (*found, *left)),
        found[0].numbers,
        len(nulls),
    )
    return found, null


def _unbeaten(some: Found, others: Found, distance: float) -> Found:
    """Return peaks than which none of the others nearby is higher."""
    if not len(some.where) or not len(others.where):
        return some
    near = scipy.spatial.KDTree(others.where).query_ball_point(some.where, distance)
    kept = [
        not len(each) or others.scores[each].max() < score
        for each, score in zip(near, some.scores, strict=True)
    ]
    return some.take(np.array(kept))


class Chosen(NamedTuple):
    """The peaks of a tomogram that are aligned."""

    found: Found
    false: NDArray[np.float64]
    """(n,), of the picks of all tomograms down to each, the part that is false; NaN
    where nobody asked."""


def chosen(found: list[Found], null: Null | None, asked: Wanted) -> list[Chosen]:
    """Return the peaks of each tomogram that go on, the best first."""
    scores = np.concatenate([each.scores for each in found])
    order = np.argsort(-scores, kind="stable")
    share = np.full(len(scores), np.nan)
    if null is not None:
        share[order] = false_share(scores[order], null)
    ends = np.cumsum([len(each.scores) for each in found])[:-1]
    result = []
    for each, false in zip(found, np.split(share, ends), strict=True):
        kept = np.arange(len(false))
        if asked.false is not None:
            kept = kept[false <= asked.false]
        if asked.most is not None:
            kept = kept[: _MORE * asked.most]
        result.append(Chosen(each.take(kept), false[kept]))
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
