"""Scores as `funpipe.engine.basis` defines them, of all waves."""

from __future__ import annotations

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


_TOGETHER = 16  # places that are looked at at once

REACH = 2
"""Voxels that poses go from where they start, at the most, along each axis."""


def rescored(
    tile: Array,
    where: Array,
    basis: Basis,
    least: float,
) -> Rescored:
    """Return the best pose around places.

    From voxel to voxel, each time to that of 27 at which the part of the templates in
    the basis scores best, of what is seen about the middle one; at last all rotations
    are scored in full at some of those.

    Parameters
    ----------
    tile : (z, y, x) array
        Voxels.
    where : (n, 3) array
        The voxels that are nearest to the places; crops about those up to `REACH`
        beside them, and one more, are inside.
    basis : Basis
        What is looked for.
    least : float
        Poses with a lower score are left out.
    """
    parts = [slice(i, i + _TOGETHER) for i in range(0, len(where), _TOGETHER)]
    some = [_climbed(tile, where[i], _NEARLY * least, basis) for i in parts]
    found = [_best(tile, each, basis) for each in some if len(each)]
    if not found:
        return nothing_scored()
    all_of = Rescored(*map(np.concatenate, zip(*found, strict=True)))
    return all_of.take(all_of.scores >= least)


def _climbed(tile: Array, where: Array, floor: float, basis: Basis) -> NDArray[np.intp]:
    """Return the best voxels around some, (n, `_SCORED`, 3).

    Those with nothing above the floor are left out.
    """
    axis = np.arange(-1, 2)
    beside = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    moves = np.exp(2j * np.pi * beside @ basis.k.T).astype(np.complex64)
    functions = basis.functions.view(np.float32).T
    where, going = where.copy(), np.arange(len(where))
    found = np.repeat(where[:, None], _SCORED, axis=1)
    high = np.ones(len(where), bool)
    for _ in range(REACH):
        G = _seen_in(tile, where[going], basis)
        # Re Σ conj(u_j) G exp(2πi k·t)
        c = (G[:, None] * moves).reshape(-1, len(basis.k)).view(np.float32) @ functions
        scores = (c @ basis.coefficients.T).max(axis=1).reshape(len(going), -1)
        order = np.argsort(-scores, axis=1)[:, :_SCORED]
        found[going] = where[going, None] + beside[order]
        high[going] = scores.max(axis=1) >= floor
        best = found[going, 0]
        on = (best != where[going]).any(axis=1) & high[going]
        where[going] = best
        going = going[on]
        if not len(going):
            break
    return found[high]


def _best(tile: Array, where: Array, basis: Basis) -> Rescored:
    """Return the best of some voxels each, (n, some, 3), with all that is scored."""
    scored = exact(tile, where.reshape(-1, 3), basis)
    which = scored.scores.reshape(where.shape[:2]).argmax(axis=1)
    return scored.take(which + where.shape[1] * np.arange(len(where)))


_SCORED = 4  # voxels of the 27
_NEARLY = 0.95  # of a score, what is known of it before it is scored in full


def exact(tile: Array, where: Array, basis: Basis) -> Rescored:
    """Return the best of all rotations at each of some voxels."""
    flat = basis.rows.view(np.float32)
    found = []
    for i in range(0, len(where), _TOGETHER):
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
