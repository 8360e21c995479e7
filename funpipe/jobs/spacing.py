"""Peaks that are apart: by a distance, or by the shape of the template's mask.

By the mask, of two peaks the better one stays if the other's centre is inside its mask
as it is turned there: where the mask is ½ or more at R⁻¹ (x − t) + c, the nearest voxel
counts. So particles side by side stay that are farther apart than half of the mask's
width, however long it is.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.jobs.clustering import best_apart, near_pairs
from funpipe.jobs.sweeping import Found
from funpipe.space.geometry import RotationGrid, centre

__all__ = ["Apart", "pairs_of", "peaks_apart"]

Array: TypeAlias = NDArray[Any]

_INSIDE = 0.5


class Apart(NamedTuple):
    """How far peaks are apart."""

    distance: float
    """Voxels: more than that; of peaks of a search and its nulls also where the shape
    is the mask's."""
    masks: NDArray[np.float32] | None = None
    """(m, z, y, x), of each template; None: the distance counts."""


def pairs_of(
    apart: Apart,
    places: Array,
    turns: Array,
    templates: Array,
    scores: Array,
    owner: Array,
) -> NDArray[np.intp]:
    """Return all pairs of which one is left out.

    Parameters
    ----------
    apart : Apart
        How far they have to be apart.
    places : (n, 3) array
        Voxels, z, y, x.
    turns : (n, 3, 3) array
        R, of each.
    templates : (n,) array of int
        Which each is of.
    scores : (n,) array
        Of equal ones the first is better.
    owner : (n,) array of int
        In which tomogram each is.

    Returns
    -------
    (p, 2) array

    Examples
    --------
    >>> mask = np.zeros((1, 9, 9, 9), np.float32); mask[:, :, 3:6, 3:6] = 1
    >>> places = np.array([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [0.0, 3.0, 0.0]])
    >>> turns, zero = np.tile(np.eye(3), (3, 1, 1)), np.zeros(3, int)
    >>> given = places, turns, zero, np.array([3.0, 2.0, 1.0]), zero
    >>> pairs_of(Apart(3.5, mask), *given).tolist()
    [[0, 1]]
    >>> pairs_of(Apart(3.5), *given).tolist()
    [[0, 1], [0, 2]]
    """
    if apart.masks is None:
        return near_pairs(places, owner, apart.distance)
    pairs = near_pairs(places, owner, _reach(apart.masks))
    first = np.sort(pairs, axis=1)
    falls = scores[first[:, 0]] < scores[first[:, 1]]
    better, worse = np.where(falls, first.T[::-1], first.T)
    away = places[worse] - places[better]
    own = np.einsum("nji,nj->ni", turns[better], away)
    inside = _inside(apart.masks, templates[better], own)
    return np.stack([better, worse], axis=1)[inside]


def _reach(masks: Array) -> float:
    where = np.argwhere((masks >= _INSIDE).any(axis=0)) - centre(masks.shape[1:])
    return float(np.linalg.norm(where, axis=1).max()) + 1


def _inside(masks: Array, which: Array, offsets: Array) -> NDArray[np.bool_]:
    """Tell which offsets from the masks' centre, voxels, are inside."""
    shape = np.array(masks.shape[1:])
    voxels = np.floor(offsets + centre(masks.shape[1:]) + 0.5).astype(np.intp)
    there = ((voxels >= 0) & (voxels < shape)).all(axis=1)
    z, y, x = np.clip(voxels, 0, shape - 1).T
    return np.asarray(there & (masks[which, z, y, x] >= _INSIDE))


def peaks_apart(found: Found, apart: Apart, grid: RotationGrid) -> Found:
    """Return the peaks of a tomogram that are apart, the best first."""
    template, turn = np.divmod(found.rows, len(grid.rotations))
    turns = np.zeros((0, 3, 3))
    if apart.masks is not None and len(turn):
        turns = grid.rotations[turn].as_matrix()
    one = np.zeros(len(found.scores), np.intp)
    pairs = pairs_of(apart, found.where, turns, template, found.scores, one)
    kept = best_apart(found.scores, pairs)
    return found.take(kept[np.argsort(-found.scores[kept], kind="stable")])
