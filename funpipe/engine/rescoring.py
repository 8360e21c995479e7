"""Scores as `funpipe.engine.basis` defines them, of all waves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.engine.basis import Basis, seen_of

__all__ = ["REACH", "Rescored", "exact", "nothing_scored", "rescored"]

Array: TypeAlias = NDArray[Any]


class Rescored(NamedTuple):
    """The best pose around each of n places."""

    where: NDArray[np.intp]
    """(n, 3), voxels."""
    scores: NDArray[np.float32]
    rows: NDArray[np.intp]
    """Which of the turned templates."""

    def take(self, chosen: Any) -> Rescored:
        """Return some of them."""
        return Rescored(*(each[chosen] for each in self))


def nothing_scored() -> Rescored:
    """Return no poses."""
    none = np.zeros(0, np.intp)
    return Rescored(np.zeros((0, 3), np.intp), np.zeros(0, np.float32), none)


_TOGETHER = 16  # places that are looked at at once

REACH = 2
"""Voxels that poses go from where they start, at the most, along each axis."""


def rescored(
    tile: Array,
    where: Array,
    basis: Basis,
    least: float,
    *,
    low: Array,
    high: Array,
    go_on: Callable[[], None],
) -> Rescored:
    """Return the best poses around places.

    From voxel to voxel, each time to that of 27 at which the part of the templates in
    all of the functions scores best, of what is seen about the middle one; where that
    ends all rotations are scored in full at some of those.

    Parameters
    ----------
    tile : (z, y, x) array
        Voxels.
    where : (n, 3) array
        The voxels that are nearest to the places; crops about those up to `REACH`
        beside them are inside.
    basis : Basis
        What is looked for.
    least : float
        Poses with a lower score are left out.
    low, high : (3,) array
        The first and the last voxels that poses may be at.
    go_on : callable
        Called often; what it raises ends the work.
    """
    ended, where = [np.zeros((0, _SCORED, 3), np.intp)], np.clip(where, low, high)
    scores = [np.zeros(0, np.float32)]
    for last in [False] * (REACH - 1) + [True]:
        where = np.unique(where, axis=0)
        beside = [
            _best_beside(tile, where[i : i + _TOGETHER], basis, low, high, go_on)
            for i in range(0, len(where), _TOGETHER)
        ]
        if not beside:
            break
        found, score = map(np.concatenate, zip(*beside, strict=True))
        going = (score >= _NEARLY * least) & _nearly_highest(found[:, 0], score)
        stays = last | (found[:, 0] == where).all(axis=1)
        ended.append(found[going & stays])
        scores.append(score[going & stays])
        where = found[going & ~stays, 0]
    found, score = np.concatenate(ended), np.concatenate(scores)
    found = found[_nearly_highest(found[:, 0], score)]
    return _scored(tile, found, basis, least, go_on)


def _nearly_highest(where: Array, scores: Array) -> NDArray[np.bool_]:
    """Tell which voxels have nearly the highest score of those around them."""
    if not len(where):
        return np.zeros(0, bool)
    near = scipy.spatial.KDTree(where).query_ball_point(where, _AROUND)
    highest = [scores[each].max() for each in near]
    return np.asarray(scores >= _NEARLY * np.array(highest))


def _best_beside(
    tile: Array,
    where: Array,
    basis: Basis,
    low: Array,
    high: Array,
    go_on: Callable[[], None],
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return some voxels of the 27 around each, (n, some, 3), the best first.

    And what is known of the score of the first.
    """
    go_on()
    functions = basis.all_functions.view(np.float32).T
    G = _seen_in(tile, where, basis)
    moves = np.exp(2j * np.pi * _BESIDE @ basis.k.T).astype(np.complex64)
    # Re Σ conj(u_j) G exp(2πi k·t)
    c = (G[:, None] * moves).reshape(-1, len(basis.k)).view(np.float32) @ functions
    scores = (c @ basis.all_coefficients.T).max(axis=1).reshape(len(where), -1)
    voxels = where[:, None] + _BESIDE
    scores[((voxels < low) | (voxels > high)).any(axis=2)] = -1
    order = np.argsort(-scores, axis=1)[:, :_SCORED]
    best = np.take_along_axis(voxels, order[..., None], axis=1)
    return best, np.take_along_axis(scores, order[:, :1], axis=1)[:, 0]


_BESIDE = np.stack(np.meshgrid(*[np.arange(-1, 2)] * 3, indexing="ij"), -1).reshape(
    -1, 3
)


def _scored(
    tile: Array, where: Array, basis: Basis, least: float, go_on: Callable[[], None]
) -> Rescored:
    """Return the best of some voxels each, (n, some, 3), with all that is scored."""
    voxels, which = np.unique(where.reshape(-1, 3), axis=0, return_inverse=True)
    scored = exact(tile, voxels, basis, go_on)
    which = which.reshape(where.shape[:2])
    best = np.argmax(scored.scores[which], axis=1)
    found = np.unique(which[np.arange(len(which)), best])
    return scored.take(found[scored.scores[found] >= least])


_SCORED = 8  # voxels of the 27
_AROUND = 3.0  # voxels, within which there is one peak
_NEARLY = 0.95  # of a score, what is known of it before it is scored in full


def exact(
    tile: Array, where: Array, basis: Basis, go_on: Callable[[], None]
) -> Rescored:
    """Return the best of all rotations at each of some voxels."""
    flat = basis.rows.view(np.float32)
    found = []
    for i in range(0, len(where), _TOGETHER):
        go_on()
        some = where[i : i + _TOGETHER]
        scores = _seen_in(tile, some, basis).view(np.float32) @ flat.T
        best = scores.argmax(axis=1)
        found.append(Rescored(some, scores[np.arange(len(some)), best], best))
    if not found:
        return nothing_scored()
    return Rescored(*map(np.concatenate, zip(*found, strict=True)))


def _seen_in(tile: Array, where: Array, basis: Basis) -> NDArray[np.complex64]:
    """Return what is seen of crops about voxels, see `seen_of`."""
    return seen_of(_crops(tile, where, basis.side), basis)


def _crops(tile: Array, where: Array, side: int) -> NDArray[np.float32]:
    half = side // 2
    crops = [tile[tuple(slice(i - half, i + half + 1) for i in each)] for each in where]
    return np.stack(crops)
