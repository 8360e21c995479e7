"""Scores less part of what a background scores at the same place.

What fits any template of a size, as membranes, gold and edges do, fits a background
too: a template that no particle looks like. With s_b the background's best score of all
its rotations at a place and m the mean of that in white noise, a score s becomes

    s' = s − max(0, s_b − m) / 2,

so that no score is higher than before. That backgrounds are subtracted is from STOPGAP
(W. Wan, S. Khavnekar and J. Wagner, Acta Crystallographica D 80, 336, 2024) and
pytom-match-pick, which subtracts all of s_b, and adds its mean over the tomogram. A
particle's own s_b is some 0.6 to 0.9 of its s, though, and has noise of its own: where
noise is strong half of it is better than none, and all of it worse.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.engine.basis import Basis, seen_of
from funpipe.engine.rescoring import exact

__all__ = ["best_by_chance", "subtracted"]

Array: TypeAlias = NDArray[Any]

_PART = 0.5
_TRIALS = 400  # places of white noise; of their mean 1 in 1000
_TOGETHER = 50


def best_by_chance(basis: Basis) -> float:
    """Return the mean best score of all rotations in white noise, m.

    Parameters
    ----------
    basis : Basis
        Of the background.
    """
    random = np.random.default_rng(0)
    side = (basis.side,) * 3
    best = []
    for _ in range(0, _TRIALS, _TOGETHER):
        crops = random.standard_normal((_TOGETHER, *side), np.float32)
        G = seen_of(crops, basis).view(np.float32)
        best.append((G @ basis.rows.view(np.float32).T).max(axis=1))
    return float(np.mean(best))


def subtracted(
    tile: Array,
    where: Array,
    basis: Basis,
    usual: float,
    *,
    go_on: Callable[[], None],
) -> NDArray[np.float32]:
    """Return max(0, s_b − m) / 2 at voxels.

    Parameters
    ----------
    tile : (z, y, x) array
        Voxels.
    where : (n, 3) array
        Which; crops about them are inside.
    basis : Basis
        Of the background.
    usual : float
        m.
    go_on : callable
        Called often; what it raises ends the work.
    """
    beyond = exact(tile, where, basis, go_on).scores - np.float32(usual)
    return np.float32(_PART) * np.maximum(beyond, 0)
