"""Clusters of particles: which belong together, and by what.

Particles of one tomogram are linked, in pairs, by where they are, by boxes that overlap
or by a feature; a cluster is what links hold together. Links in a row say as much as
those of all pairs, and are as many as particles.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.base.arguments import Vector3
from funpipe.base.molecules import Molecules
from funpipe.base.wording import fail, listed, quoted

__all__ = [
    "Links",
    "best_apart",
    "box_links",
    "check_apart",
    "clusters",
    "feature_links",
    "near_pairs",
    "of_each",
    "place_links",
    "tomogram_numbers",
]

Array: TypeAlias = NDArray[Any]

_FARTHEST = 1e100  # nm, so that squares are numbers


class Links(NamedTuple):
    """Particles that belong together, two by two."""

    pairs: Array
    """(m, 2) numbers of particles."""
    reason: str
    """Why they belong together."""


def tomogram_numbers(molecules: Molecules, feature: Any) -> Array:
    """Return a number for each particle's tomogram, in the order of their names."""
    if not isinstance(feature, str):
        fail("tomogram_feature", "a name", feature)
    if feature not in molecules.features:
        if feature != "tomogram":
            there = listed(molecules.features) or "none"
            fail("tomogram_feature", f"a feature that there is, {there}", feature)
        return np.zeros(len(molecules), np.intp)
    names = molecules.features[feature]
    return np.unique(names.astype(str), return_inverse=True)[1]


def of_each(tomograms: Array) -> Iterator[Array]:
    """Yield the numbers of each tomogram's particles."""
    order = np.argsort(tomograms, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(tomograms[order])) + 1)


def place_links(
    molecules: Molecules, tomograms: Array, within: float | None
) -> Iterator[Links]:
    """Yield links of particles at one place, and of those that are near."""
    keys = np.column_stack([tomograms, molecules.positions])
    _, place = np.unique(keys, axis=0, return_inverse=True)
    yield Links(_rows(place.ravel()), "they are at one place")
    if within is not None:
        first = np.unique(place.ravel(), return_index=True)[1]
        near = near_pairs(molecules.positions[first], tomograms[first], within)
        yield Links(first[near], f"they are within={within:g} nm")


def check_apart(positions: Array) -> None:
    """Refuse particles that are so far apart that distances are no numbers."""
    if len(positions) and not np.ptp(positions, axis=0).max() < _FARTHEST:
        fail("molecules", f"particles less than {_FARTHEST:g} nm apart", positions)


def near_pairs(positions: Array, tomograms: Array, distance: float) -> Array:
    """Return all pairs of one tomogram no farther apart than a distance, (m, 2)."""
    check_apart(positions)
    found = [np.zeros((0, 2), np.intp)]
    for some in of_each(tomograms):
        tree = scipy.spatial.KDTree(positions[some])
        found.append(some[tree.query_pairs(distance, output_type="ndarray")])
    return np.concatenate(found)


def best_apart(values: Array, pairs: Array) -> Array:
    """Return which stay, the best and then the best of the rest, two of no pair.

    Of equal values the first is better, and NaN is the worst.
    """
    count = len(values)
    order = np.lexsort([np.arange(count), -values])  # NaN last
    rank = np.empty(count, np.intp)
    rank[order] = np.arange(count)
    better, worse = np.sort(rank[pairs], axis=1).T
    by_better = np.argsort(better, kind="stable")
    worse = worse[by_better]
    ends = np.searchsorted(better[by_better], np.arange(count + 1))
    stays = np.ones(count, bool)
    for i in range(count):
        if stays[i]:
            stays[worse[ends[i] : ends[i + 1]]] = False
    return np.sort(order[stays])


def box_links(molecules: Molecules, tomograms: Array, sides: Vector3) -> list[Links]:
    """Return links of particles whose boxes, turned as they are, overlap."""
    reach = float(np.linalg.norm(sides))
    pairs = near_pairs(molecules.positions, tomograms, reach)
    overlapping = [
        _overlap(molecules, some, np.array(sides))
        for some in np.array_split(pairs, 1 + len(pairs) // 2**16)
    ]
    shown = " x ".join(f"{each:g}" for each in sides)
    return [Links(np.concatenate(overlapping), f"their boxes of {shown} nm overlap")]


def _overlap(molecules: Molecules, pairs: Array, sides: Array) -> Array:
    """Return those of pairs whose boxes overlap in more than a face.

    Two boxes are apart if, and only if, they are so along an axis of one of them, or
    one at a right angle to an axis of each (S. Gottschalk, M. Lin and D. Manocha,
    Proc. SIGGRAPH 1996, 171).
    """
    if len(pairs) == 0:
        return pairs
    one, other = (molecules.rotations[each].as_matrix() for each in pairs.T)
    between = np.subtract(*(molecules.positions[each] for each in pairs.T))
    axes = np.concatenate(
        [
            one.transpose(0, 2, 1),
            other.transpose(0, 2, 1),
            *(
                np.cross(one[:, :, [i]], other, axis=1).transpose(0, 2, 1)
                for i in range(3)
            ),
        ],
        axis=1,
    )
    reach = sum(np.abs(axes @ each) @ (sides / 2) for each in (one, other))
    apart = np.abs(np.einsum("nai,ni->na", axes, between)) >= reach - 1e-9
    # The cross product of axes that are parallel is no axis.
    apart &= np.linalg.norm(axes, axis=2) > 1e-6
    return pairs[~apart.any(axis=1)]


def feature_links(molecules: Molecules, tomograms: Array, name: str) -> Links:
    """Return links of particles of one tomogram that share a feature's value."""
    if name not in molecules.features:
        there = listed(molecules.features) or "none"
        fail("together", f"features that there are, {there}", name)
    values = molecules.features[name]
    known = np.flatnonzero((values == values) & (values != ""))
    _, value = np.unique(values[known], return_inverse=True)
    keys = np.column_stack([tomograms[known], value])
    _, group = np.unique(keys, axis=0, return_inverse=True)
    reason = f"they share a value of {quoted(name)}"
    return Links(known[_rows(group.ravel())], reason)


def _rows(groups: Array) -> Array:
    """Return links that hold the particles of each group together in a row, (m, 2)."""
    order = np.argsort(groups, kind="stable")
    same = np.flatnonzero(np.diff(groups[order]) == 0)
    return np.column_stack([order[same], order[same + 1]])


def clusters(count: int, links: Iterable[Links]) -> Array:
    """Return a number for each particle's cluster."""
    one, other = np.concatenate([each.pairs for each in links]).T
    graph = scipy.sparse.coo_array(
        (np.ones(len(one), bool), (one, other)), shape=(count, count)
    )
    return scipy.sparse.csgraph.connected_components(graph, directed=False)[1]
