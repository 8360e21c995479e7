"""How much of a search's window each point of its grid stands for."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.engine.prior import FLAT, Prior
from funpipe.space.geometry import RotationGrid

__all__ = ["Cells", "cells_of"]

Array: TypeAlias = NDArray[Any]


class Cells(NamedTuple):
    """The points of a search's grid, and how much of its window is theirs."""

    quaternions: NDArray[np.float64]
    """(r, 4), of the rotations, scalar last as scipy has them."""
    turns: NDArray[np.float64]
    """(r,), rad to the power ``free``."""
    spacing: float
    """rad; 0 where the rotations are a list, and all there is."""
    free: int
    """Along how many directions rotations are sampled, 0 to 3."""
    shifts: NDArray[np.float64]
    """(S, 3), voxels, on a lattice, the last axis changing fastest."""
    moves: NDArray[np.float64]
    """(S,), voxels to the power of the axes that have more than one point."""
    window: NDArray[np.float64]
    """(3,), voxels: the largest shifts; 0 of axes that have one point."""
    prior: Prior = FLAT
    """By which poses in the window are weighed."""

    @property
    def volume(self) -> float:
        """Of the window, weighed by the prior."""
        turns = self.turns * np.exp(self.prior.of_turns(self.quaternions))
        moves = self.moves * np.exp(self.prior.of_moves(self.shifts))
        return float(turns.sum() * moves.sum())

    @property
    def widths(self) -> tuple[float, NDArray[np.float64]]:
        """Half its extent in rotation and, (3,), in shift: rad and voxels."""
        turn = float(self.turns.sum()) ** (1 / self.free) / 2 if self.free else 0.0
        return turn, self.window


def cells_of(
    grid: RotationGrid, shifts: Array, window: Any, prior: Prior = FLAT
) -> Cells:
    """Return how much of a search's window each point of its grid stands for.

    A point on a face of the window stands for half of a cell, on an edge for a
    quarter (the trapezoidal rule), beyond a face for what of its cell is inside; Euler
    angles count by cos β, in which the volume of rotations is even.

    Parameters
    ----------
    grid : RotationGrid
        r rotations. Those listed, without a spacing, are all that may be.
    shifts : (S, 3) array
        Of a lattice, z, y, x, none beyond the window by half its spacing or more.
    window : (float, float, float)
        The largest shifts.
    prior : Prior
        By which poses in it are weighed.

    Examples
    --------
    >>> from funpipe.space.geometry import rotation_grid
    >>> cells = cells_of(rotation_grid(((12, 4),) * 3), np.zeros((1, 3)), (0, 0, 0))
    >>> round(cells.volume / float(np.radians(24.0)) ** 3, 3)  # less by cos β
    0.992
    """
    quaternions = grid.rotations.as_quat()
    step = math.radians(grid.spacing or 0.0)
    turns, free = np.ones(len(quaternions)), 0
    if isinstance(grid.limit, tuple) and step:
        euler = grid.rotations.as_euler("XYZ", degrees=True)
        turns = np.cos(np.radians(euler[:, 1]))
        for angles, limit in zip(euler.T, grid.limit, strict=True):
            steps = np.diff(np.unique(np.round(angles, 6)))
            if len(steps):
                free += 1
                at_face = (np.abs(angles) > limit - 1e-6) & (limit < 180 - 1e-6)
                turns = turns * np.radians(steps.min()) * np.where(at_face, 0.5, 1)
    elif step:
        turns, free = turns * step**3, 3
    extent = np.where(np.ptp(shifts, axis=0) > 0, window, 0.0)
    moves = np.ones(len(shifts))
    for axis, limit in zip(shifts.T, extent, strict=True):
        if limit:
            apart = np.ptp(axis) / (len(np.unique(axis)) - 1)
            moves = moves * np.minimum(limit - np.abs(axis) + apart / 2, apart)
    spacing = float(np.mean(turns)) ** (1 / free) if free else 0.0
    points = shifts.astype(float), moves, extent
    return Cells(quaternions, turns, spacing, free, *points, prior)
