"""Scores corrected by what a background scores at the same place.

What fits any template of a size, as membranes, gold and edges do, fits a background
too: a template that no particle looks like. With s_b the background's best score of all
its rotations at a place and m the mean of that in white noise, at least one standard
deviation of a single pose, 1 / √n, a score s becomes

    subtracted:  s' = s − max(0, s_b − m) / 2,
    divided:     s' = s (m / max(m, s_b))^¼,

so that no score is higher than before. That backgrounds are subtracted is from STOPGAP
(W. Wan, S. Khavnekar and J. Wagner, Acta Crystallographica D 80, 336, 2024) and
pytom-match-pick, which subtracts all of s_b, and adds its mean over the tomogram. A
particle's own s_b is some 0.6 to 0.9 of its s, though, and has noise of its own: where
noise is strong half of it is better than none, and all of it worse; likewise its fourth
root.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.engine.basis import Basis
from funpipe.engine.rescoring import Rescored, exact

__all__ = ["CORRECTIONS", "taken_off"]

Array: TypeAlias = NDArray[Any]

_PART = 0.5
_ROOT = 0.25


def _subtracted(scores: Array, others: Array, usual: float) -> Array:
    return _PART * np.maximum(others - usual, 0)


def _divided(scores: Array, others: Array, usual: float) -> Array:
    return scores * (1 - (usual / np.maximum(others, usual)) ** _ROOT)


CORRECTIONS = {"subtracted": _subtracted, "divided": _divided}
"""What each way takes off scores."""


def taken_off(
    how: str,
    tile: Array,
    found: Rescored,
    basis: Basis,
    usual: float,
    *,
    go_on: Callable[[], None],
) -> NDArray[np.float32]:
    """Return s − s' at voxels, (n,).

    Parameters
    ----------
    how : str
        One of `CORRECTIONS`.
    tile : (z, y, x) array
        Voxels.
    found : Rescored
        s, and where; crops about those voxels are inside.
    basis : Basis
        Of the background.
    usual : float
        m.
    go_on : callable
        Called often; what it raises ends the work.
    """
    others = exact(tile, found.where, basis, go_on).scores.astype(float)
    less = CORRECTIONS[how](found.scores, others, usual)
    return np.asarray(less, np.float32)
