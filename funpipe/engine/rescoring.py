"""Scores as `funpipe.engine.basis` defines them, of all waves."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.engine.basis import Basis, seen_of

__all__ = ["Rescored", "exact", "nothing_scored", "rescored"]

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


def rescored(
    tile: Array, where: Array, rows: Array, basis: Basis, least: float
) -> Rescored:
    """Return the best of the voxels and rotations around places.

    Parameters
    ----------
    tile : (z, y, x) array
        Voxels.
    where : (n, 3) array
        The voxels that are nearest to the places; crops about them and those a step
        around them are inside.
    rows : (n,) array
        The best rotation of each.
    basis : Basis
        What is looked for.
    least : float
        Poses with a lower score are left out.

    Returns
    -------
    Rescored
        With scores as of crops about their own voxels.
    """
    reach = math.ceil(basis.step / 2)
    axis = np.arange(-reach, reach + 1)
    shifts = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    moves = np.exp(2j * np.pi * basis.k @ shifts.T).astype(np.complex64)
    found = []
    for i in range(0, len(where), _TOGETHER):
        some, near = where[i : i + _TOGETHER], _around(rows[i : i + _TOGETHER], basis)
        G = _seen_in(tile, some, basis)
        # Re Σ conj(s) G exp(2πi k·t), for rotations and shifts at once
        products = (basis.rows[near].conj() * G[:, None]) @ moves
        best = products.real.reshape(len(some), -1).argmax(axis=1)
        which, shift = np.divmod(best, len(shifts))
        some = some + shifts[shift]
        here = np.arange(len(some))
        near = _around(near[here, which], basis)
        G = _seen_in(tile, some, basis)
        scores = np.einsum("nrk,nk->nr", basis.rows[near].conj(), G).real
        which = scores.argmax(axis=1)
        found.append(Rescored(some, scores[here, which], near[here, which]))
    if not found:
        return nothing_scored()
    all_of = Rescored(*map(np.concatenate, zip(*found, strict=True)))
    return all_of.take(all_of.scores >= least)


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


def _around(rows: Array, basis: Basis) -> NDArray[np.intp]:
    """Return rows of the same template around rows, (n, some), and themselves."""
    template, rotation = np.divmod(rows, len(basis.near))
    return np.asarray(template[:, None] * len(basis.near) + basis.near[rotation])


def _seen_in(tile: Array, where: Array, basis: Basis) -> NDArray[np.complex64]:
    """Return what is seen of crops about voxels, see `seen_of`."""
    half = basis.side // 2
    return seen_of(
        np.stack(
            [tile[tuple(slice(i - half, i + half + 1) for i in each)] for each in where]
        ),
        basis,
    )
