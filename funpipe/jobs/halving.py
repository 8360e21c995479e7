"""Halves of the particles that share nothing, and pairs of maps that stay apart.

Two halves agree by their signal alone only where no particle, and no part of one, is in
both. What may share something, picks of one particle, boxes that overlap, the parts of
one filament, is a cluster, and a cluster goes to one half.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.algebra.verbs import verb
from funpipe.base import arguments as check
from funpipe.base.arguments import Image
from funpipe.base.molecules import Molecules, as_molecules
from funpipe.base.wording import fail, listed
from funpipe.boxes.opening import check_some
from funpipe.jobs.clustering import (
    Links,
    box_links,
    clusters,
    feature_links,
    place_links,
    tomogram_numbers,
)

__all__ = ["ALIGNED", "WHY_APART", "Halves", "halves", "halves_of", "has_halves"]

Array: TypeAlias = NDArray[Any]

HALF, ALIGNED = "half", "aligned_half"
_SUBSETS = ("rlnRandomSubset", "wrpRandomSubset")  # as RELION and M name them


@verb
def halves(
    molecules: Any,
    *,
    seed: int = 0,
    within: float | None = None,
    box: Any = None,
    together: Any = None,
    redraw: bool = False,
    tomogram_feature: str = "tomogram",
) -> Molecules:
    """Put each particle into one of two halves, those that belong together into one.

    Particles of one tomogram belong together if they are at the very same place or one
    of the following holds, and by way of others that belong together with both.

    Parameters
    ----------
    molecules : Molecules, (n, 3) array, or an object with .pos and .rotator
        The particles.
    seed : int
        Another one draws other halves.
    within : float, optional
        In nm: particles no farther apart belong together, as two picks of one do.
    box : float or (float, float, float), optional
        Sides in nm along each particle's own z, y, x: particles whose boxes overlap
        belong together.
    together : str or several, optional
        Names of features: particles of one tomogram that share a value of one of them
        belong together, as those of a filament or a lattice. NaN and "" are no values.
    redraw : bool
        Whether halves that the particles have already are drawn anew. If not, they
        are taken over: the feature half, rlnRandomSubset of RELION, or wrpRandomSubset
        of M, the first that there is.
    tomogram_feature : str
        The feature that names each particle's tomogram; without a feature "tomogram"
        all lie in one.

    Returns
    -------
    Molecules
        With the feature ``half``, 1 or 2. Features rlnRandomSubset and wrpRandomSubset,
        where there are such, say the same.

    Raises
    ------
    TypeError, ValueError
        If there are no particles, an argument is wrong, a half would be empty, or
        halves that are taken over tear apart what belongs together; with ``redraw``
        also if particles have been aligned to their halves' references (the feature
        ``aligned_half``): they know of these halves.

    Notes
    -----
    Clusters go, the largest first, to the half that is smaller by then; the seed draws
    the order of those of one size, and the half where both are as large. So the halves
    differ in number by the size of the last cluster at the most. What comes out depends
    on the seed and on tomograms, positions and clusters, not on the particles' order.

    Examples
    --------
    >>> picks = np.array([[0, 0, 0], [0, 0, 1], [0, 0, 9], [0, 9, 0.0]])
    >>> halves(picks, within=2.0).features["half"]
    array([1, 1, 2, 2])
    """
    particles = as_molecules("molecules", molecules)
    seed = check.whole_number("seed", seed)
    check_some(particles)
    tomograms = tomogram_numbers(particles, tomogram_feature)
    links = [
        *place_links(particles, tomograms, check.optional_positive("within", within))
    ]
    if box is not None:
        sides = check.positive_vector("box", box)
        links += box_links(particles, tomograms, sides)
    for name in _names(together):
        links.append(feature_links(particles, tomograms, name))
    given = None if check.flag("redraw", redraw) else _given(particles)
    if given is None:
        _refuse_aligned(particles)
        half = _drawn(particles, tomograms, clusters(len(particles), links), seed)
    else:
        half = given.values
        _check_whole(given, links)
    same = {name: half for name in _SUBSETS if name in particles.features}
    return particles.with_features({HALF: half, **same})


def _names(together: Any) -> list[str]:
    if together is None:
        return []
    if isinstance(together, str):
        return [together]
    wanted = "None, the name of a feature, or several"
    names = check.elements("together", wanted, together)
    if not all(isinstance(each, str) for each in names):
        fail("together", wanted, together)
    return names


# Which half.


def _drawn(
    molecules: Molecules, tomograms: Array, cluster_of: Array, seed: int
) -> Array:
    """Return the half of each particle, clusters balanced in number."""
    order = np.lexsort([*molecules.positions.T[::-1], tomograms])
    _, first, cluster = np.unique(
        cluster_of[order], return_index=True, return_inverse=True
    )
    if len(first) < 2:
        raise ValueError(
            f"molecules must be two clusters or more, one for each half, but all "
            f"{len(molecules)} belong together: give a smaller within or box, or fewer "
            "features of together"
        )
    rank = np.argsort(np.argsort(first))[cluster]  # by tomogram and place
    half = np.empty(len(molecules), np.int64)
    half[order] = _balanced(np.bincount(rank), seed)[rank]
    return half


def _balanced(sizes: Array, seed: int) -> Array:
    """Return a half, 1 or 2, for each cluster, by their sizes."""
    random = np.random.default_rng(seed)
    drawn = random.permutation(len(sizes))
    coins = random.integers(2, size=len(sizes))
    found, count = np.empty(len(sizes), np.int64), [0, 0]
    for each in drawn[np.argsort(-sizes[drawn], kind="stable")]:
        side = int(coins[each]) if count[0] == count[1] else int(count[1] < count[0])
        count[side] += int(sizes[each])
        found[each] = side + 1
    return found


class _Given(NamedTuple):
    name: str
    values: Array


def _given(molecules: Molecules) -> _Given | None:
    """Return the halves that particles have already."""
    for name in (HALF, *_SUBSETS):
        if name in molecules.features:
            advice = "redraw=True draws halves anew"
            return _Given(name, _one_or_two(molecules, name, advice))
    return None


def _one_or_two(molecules: Molecules, name: str, advice: str) -> Array:
    """Return a feature that says which half, as 1 and 2, both of them there."""
    values = molecules.features[name]
    if values.dtype.kind == "U":
        raise ValueError(
            f"molecules.features[{name!r}] must be 1 or 2 for each particle, not "
            f"texts: {advice}"
        )
    wrong = np.flatnonzero((values != 1) & (values != 2))
    if wrong.size:
        raise ValueError(
            f"molecules.features[{name!r}] must be 1 or 2 for each particle, not "
            f"{values[wrong[0]]} as for molecules[{wrong[0]}]: {advice}"
        )
    halves_there = np.unique(values)
    if len(halves_there) < 2:
        empty = 3 - int(halves_there[0])
        raise ValueError(
            f"molecules.features[{name!r}] leaves half {empty} empty: {advice}"
        )
    return values.astype(np.int64)


def _check_whole(given: _Given, links: Iterable[Links]) -> None:
    """Refuse halves that tear apart what belongs together."""
    for pairs, reason in links:
        torn = pairs[np.diff(given.values[pairs], axis=1).ravel() != 0]
        if len(torn):
            i, j = sorted(torn[0].tolist())
            raise ValueError(
                f"molecules.features[{given.name!r}] puts molecules[{i}] into half "
                f"{given.values[i]} and molecules[{j}] into half {given.values[j]}, "
                f"but they belong together: {reason} ({len(torn)} pairs are torn "
                "apart so); redraw=True draws halves anew"
            )


def _refuse_aligned(molecules: Molecules) -> None:
    if ALIGNED in molecules.features:
        raise ValueError(
            f"molecules have been aligned to references of halves (feature {ALIGNED!r})"
            ": drawn anew, each half would know of the other; draw before aligning"
        )


def has_halves(molecules: Molecules) -> bool:
    """Return whether particles have halves already, drawn here or elsewhere."""
    return any(name in molecules.features for name in (HALF, *_SUBSETS))


def halves_of(molecules: Molecules) -> Array:
    """Return the half of each particle, 1 or 2, if halves are there and apart.

    Raises
    ------
    ValueError
        If there is no feature ``half``, it is not 1 and 2, or ``aligned_half``, which
        half's reference a particle was aligned to, says otherwise.

    Examples
    --------
    >>> picks = Molecules(np.zeros((2, 3)), features={"half": [1, 2]})
    >>> halves_of(picks)
    array([1, 2])
    """
    if HALF not in molecules.features:
        there = listed(molecules.features) or "none"
        raise ValueError(
            f"molecules have no feature {HALF!r}: write halves(molecules, within=...); "
            f"their features are {there}"
        )
    half = _one_or_two(molecules, HALF, "write halves(molecules, redraw=True)")
    if ALIGNED in molecules.features:
        mixed = np.flatnonzero(molecules.features[ALIGNED] != half)
        if mixed.size:
            i = int(mixed[0])
            raise ValueError(
                f"molecules[{i}] is in half {half[i]}, but was aligned to the "
                f"reference of half {molecules.features[ALIGNED][i]} (feature "
                f"{ALIGNED!r}), as {mixed.size} of {len(half)} were: the halves are "
                "not independent; align each half to its own reference"
            )
    return half


# Two maps.

WHY_APART = (
    "Halves stay apart: a map made from both shows noise that both share, and what is "
    "aligned to it is not independent; take .first or .second, or use .map(function)"
)


def _refuse(self: Halves, *_: Any, **__: Any) -> NoReturn:
    raise TypeError(WHY_APART)


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Halves:
    """Maps of two halves of the particles, that nothing mixes by accident.

    Sums, means and other operations on the pair are a TypeError, and a pair is no
    template: what one half is aligned to has to come from that half alone.

    Parameters
    ----------
    first, second : (z, y, x) arrays of one shape
        The maps of halves 1 and 2.
    scale : float
        nm per voxel.

    Raises
    ------
    TypeError, ValueError
        If they are no maps of one shape, or the scale is not above 0.

    Examples
    --------
    >>> pair = Halves(np.zeros((4, 5, 6)), np.ones((4, 5, 6)), scale=0.5)
    >>> pair
    Halves(two maps of 4 x 5 x 6 voxels of 0.5 nm)
    >>> pair + pair
    Traceback (most recent call last):
    ...
    TypeError: Halves stay apart: ...
    """

    first: Image
    second: Image
    scale: float

    def __init__(self, first: Any, second: Any, scale: float = 1.0) -> None:
        first, second = check.image("first", first), check.image("second", second)
        if first.shape != second.shape:
            raise ValueError(
                f"second must have the shape of first, {first.shape}, not "
                f"{second.shape}"
            )
        scale = check.positive("scale", scale)
        for name, value in (("first", first), ("second", second), ("scale", scale)):
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        sides = " x ".join(map(str, self.first.shape))
        return f"Halves(two maps of {sides} voxels of {self.scale:.6g} nm)"

    def map(self, function: Callable[[Image, float], Any]) -> Halves:
        """Return what a function makes of each map alone.

        Parameters
        ----------
        function : callable
            Of an image and its scale, as a converter is.

        Examples
        --------
        >>> import funpipe as fp
        >>> pair = Halves(np.zeros((4, 4, 4)), np.ones((4, 4, 4)), scale=0.5)
        >>> pair.map(fp.gaussian_filter(1.0)).second.mean()
        np.float32(1.0)
        """
        made = [function(each, self.scale) for each in (self.first, self.second)]
        return Halves(made[0], made[1], self.scale)

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refuse
    __truediv__ = __rtruediv__ = __matmul__ = __rmatmul__ = __pow__ = _refuse
    __neg__ = __abs__ = __iter__ = __getitem__ = _refuse
    __array__ = __array_ufunc__ = __array_function__ = _refuse
