"""Molecules taken apart and put in order, by their features or at random.

These are methods of `Molecules`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from funpipe.base import arguments as check
from funpipe.base.wording import fail, listed

if TYPE_CHECKING:
    from funpipe.base.molecules import Molecules

__all__ = ["groupby", "sort_by", "split"]


def groupby(molecules: Molecules, feature: str) -> dict[Any, Molecules]:
    """Return the particles of each value of a feature.

    Parameters
    ----------
    feature : str
        Its name.

    Returns
    -------
    dict
        Molecules by values, these from low to high, NaN last; particles in the order
        they have.

    Raises
    ------
    TypeError, ValueError
        If there is no such feature.

    Examples
    --------
    >>> from funpipe import Molecules
    >>> several = Molecules([[1, 0, 0], [2, 0, 0], [3, 0, 0]])
    >>> groups = several.with_features(half=[2, 1, 2]).groupby("half")
    >>> {half: len(each) for half, each in groups.items()}
    {1: 1, 2: 2}
    """
    values = _values(molecules, feature)
    keys, ranks, counts = np.unique(values, return_inverse=True, return_counts=True)
    order = np.argsort(ranks, kind="stable")
    parts = np.split(order, np.cumsum(counts)[:-1]) if len(keys) else []
    return {
        key: molecules[part] for key, part in zip(keys.tolist(), parts, strict=True)
    }


def sort_by(
    molecules: Molecules, feature: str, *, descending: bool = False
) -> Molecules:
    """Return the particles by the values of a feature, low ones first.

    Parameters
    ----------
    feature : str
        Its name. Texts go by the numbers of their characters.
    descending : bool
        Whether high values come first. NaN is last in any case, and particles of the
        same value stay in the order they have.

    Raises
    ------
    TypeError, ValueError
        If there is no such feature, or ``descending`` is neither True nor False.

    Examples
    --------
    >>> from funpipe import Molecules
    >>> several = Molecules([[1, 0, 0], [2, 0, 0], [3, 0, 0]])
    >>> scored = several.with_features(score=[0.2, np.nan, 0.5])
    >>> scored.sort_by("score", descending=True).features["score"]
    array([0.5, 0.2, nan])
    """
    values = _values(molecules, feature)
    _, ranks = np.unique(values, return_inverse=True)
    ranks = -ranks if check.flag("descending", descending) else ranks
    ranks[values != values] = len(values)  # NaN
    return molecules[np.argsort(ranks, kind="stable")]


def split(
    molecules: Molecules, parts: float, *, seed: int = 0
) -> tuple[Molecules, ...]:
    """Return the particles in parts, drawn at random.

    Parameters
    ----------
    parts : int or float
        How many parts, whose sizes differ by 1 at most; or a fraction between 0 and
        1, for two parts: that fraction of the particles, rounded, and the others.
    seed : int
        Another one draws other parts; the same, of as many particles, the same.

    Returns
    -------
    tuple of Molecules
        Within each the particles are in the order they have.

    Raises
    ------
    TypeError, ValueError
        If ``parts`` is neither, or more than there are particles.

    Examples
    --------
    >>> from funpipe import Molecules
    >>> several = Molecules(np.zeros((5, 3)))
    >>> [len(each) for each in several.split(2)]
    [3, 2]
    >>> [len(each) for each in several.split(0.2, seed=1)]
    [1, 4]
    """
    random = np.random.default_rng(check.whole_number("seed", seed))
    drawn = _parts(random.permutation(len(molecules)), parts)
    return tuple(molecules[np.sort(each)] for each in drawn)


def _values(molecules: Molecules, feature: Any) -> NDArray[Any]:
    names = molecules.features
    if not isinstance(feature, str) or feature not in names:
        there = f"one of {listed(names)}" if names else "a feature, but there is none"
        fail("feature", there, feature)
    return names[feature]


def _parts(order: NDArray[Any], parts: Any) -> list[NDArray[Any]]:
    number, count = check.number("parts", parts), len(order)
    if 0 < number < 1:
        return np.split(order, [math.floor(number * count + 0.5)])
    most = max(count, 1)
    if not number.is_integer() or not 1 <= number <= most:
        fail("parts", f"a fraction below 1, or a whole number of 1 to {most}", parts)
    return np.array_split(order, int(number))
