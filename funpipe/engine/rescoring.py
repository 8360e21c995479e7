"""Scores as `funpipe.engine.basis` defines them, of all waves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
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


_TOGETHER = 32  # voxels that are looked at at once

REACH = 3
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

    From voxel to voxel, each time to that of 27 which the part of the templates in all
    of the functions fits best; at the peaks that are reached, and at what is nearly as
    high beside them, all rotations are scored in full.

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
    known = np.full(tile.shape, _UNKNOWN, np.float32)
    peaks, where = [], np.unique(np.clip(where, low, high), axis=0)
    for last in [False] * (REACH - 1) + [True]:
        around = where[:, None] + _BESIDE
        beyond = ((around < low) | (around > high)).any(axis=2)
        unknown = np.unique(around[~beyond], axis=0)
        unknown = unknown[known[tuple(unknown.T)] == _UNKNOWN]
        known[tuple(unknown.T)] = _nearly(tile, unknown, basis, go_on)
        scores = np.where(beyond, _UNKNOWN, known[tuple(np.moveaxis(around, 2, 0))])
        highest = scores.max(axis=1, initial=_UNKNOWN)
        follows = highest >= _NEARLY * least
        there = known[tuple(where.T)] == highest
        ended = follows & (there | last)
        near = scores[ended] >= _NEARLY * highest[ended, None]
        peaks.append(around[ended][near])
        best = np.take_along_axis(around, scores.argmax(axis=1)[:, None, None], axis=1)
        where = np.unique(best[follows & ~there, 0], axis=0)
    voxels = np.unique(np.concatenate(peaks), axis=0)
    scored = exact(tile, voxels, basis, go_on)
    scored = scored.take(scored.scores >= least)
    return scored.take(_highest(scored, tile.shape))


def _highest(scored: Rescored, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Tell which voxels score no less than those beside them."""
    field = np.full(shape, _UNKNOWN, np.float32)
    field[tuple(scored.where.T)] = scored.scores
    around = tuple(np.moveaxis(scored.where[:, None] + _BESIDE, 2, 0))
    return np.asarray(scored.scores >= field[around].max(axis=1, initial=_UNKNOWN))


def _nearly(
    tile: Array, where: Array, basis: Basis, go_on: Callable[[], None]
) -> NDArray[np.float32]:
    """Return what the part of the templates in all of the functions scores, (n,)."""
    functions = basis.all_functions.view(np.float32).T
    found = np.empty(len(where), np.float32)
    for i in range(0, len(where), _TOGETHER):
        go_on()
        some = slice(i, i + _TOGETHER)
        c = _seen_in(tile, where[some], basis).view(np.float32) @ functions
        found[some] = (c @ basis.all_coefficients.T).max(axis=1)
    return found


_BESIDE = np.stack(np.meshgrid(*[np.arange(-1, 2)] * 3, indexing="ij"), -1).reshape(
    -1, 3
)
_UNKNOWN = -2.0  # lower than any score
_NEARLY = 0.97  # of a score, what is known of it before it is scored in full


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
