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


_TOGETHER = 64  # places that are looked at at once
_STEPS = 4  # from voxel to voxel, at the most


def rescored(
    tile: Array, where: Array, rows: Array, basis: Basis, least: float
) -> Rescored:
    """Return the best of the voxels and rotations around places.

    From voxel to voxel: what is seen about one says which beside it, and which
    rotation, is better, and is scored in full there.

    Parameters
    ----------
    tile : (z, y, x) array
        Voxels.
    where : (n, 3) array
        The voxels that are nearest to the places; crops about those up to `REACH`
        beside them are inside.
    rows : (n, some) array
        Rotations that may be the best of each, and whose surroundings are looked at.
    basis : Basis
        What is looked for.
    least : float
        Poses with a lower score are left out.
    """
    found = [
        _climbed(tile, where[i : i + _TOGETHER], rows[i : i + _TOGETHER], basis)
        for i in range(0, len(where), _TOGETHER)
    ]
    if not found:
        return nothing_scored()
    all_of = Rescored(*map(np.concatenate, zip(*found, strict=True)))
    return all_of.take(all_of.scores >= least)


REACH = _STEPS
"""Voxels that poses go from where they start, at the most, along each axis."""


def _climbed(tile: Array, where: Array, rows: Array, basis: Basis) -> Rescored:
    axis = np.arange(-1, 2)
    shifts = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    moves = np.exp(2j * np.pi * basis.k @ shifts.T).astype(np.complex64)
    still = len(shifts) // 2
    best = Rescored(
        where.copy(), np.full(len(where), -1.0, np.float32), rows[:, 0].copy()
    )
    going, near = np.arange(len(where)), basis.around(rows).reshape(len(rows), -1)
    for _ in range(_STEPS + 1):
        here = np.arange(len(going))
        # Re Σ conj(s) G exp(2πi k·t), for rotations and shifts at once
        G = _seen_in(tile, where[going], basis)
        products = ((basis.rows[near].conj() * G[:, None]) @ moves).real
        row = products[..., still].argmax(axis=1)
        score = products[here, row, still]
        better = score > best.scores[going]
        which = going[better]
        best.where[which] = where[which]
        best.scores[which] = score[better]
        best.rows[which] = near[here, row][better]
        row, shift = np.divmod(
            products.reshape(len(going), -1).argmax(axis=1), len(shifts)
        )
        on = shift != still
        if not on.any():
            break
        near = basis.around(near[here, row][on])
        going = going[on]
        where[going] += shifts[shift[on]]
    return best


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
    half = basis.side // 2
    return seen_of(
        np.stack(
            [tile[tuple(slice(i - half, i + half + 1) for i in each)] for each in where]
        ),
        basis,
    )
