"""Numbers of any level and scale, in single precision.

Single precision holds seven digits and sizes from 1e-38 to 3e38. What an image shows
may lie beyond, or be a small part of its level: level and scale are taken off first.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Levelled", "levelled_values", "normalised"]

_SMALLEST = 1e-12  # a spread, and the inverse of one, that needs no other unit
_HIGH = 100.0  # spreads: a level that costs single precision two of its seven digits


class Levelled(NamedTuple):
    """An array as ``values · unit + level``, in single precision."""

    values: NDArray[np.float32]
    level: float
    unit: float
    spread: float
    """How far the values reach from their middle."""


def levelled_values(block: NDArray[Any]) -> Levelled:
    """Take off a block's level and scale where single precision needs that."""
    low, high = float(block.min()), float(block.max())
    largest, spread = max(abs(low), abs(high)), high / 2 - low / 2
    if _SMALLEST < spread < 1 / _SMALLEST and largest < _HIGH * spread:
        return Levelled(block.astype(np.float32), 0.0, 1.0, spread)
    values = block.astype(np.float64) / (largest or 1.0)
    level = float(values.mean())
    values -= level
    spread = float(np.abs(values).max())
    if spread <= 1e-14:  # what rounding leaves of a constant
        return Levelled(np.zeros(block.shape, np.float32), level * largest, 1.0, 0.0)
    values /= spread
    return Levelled(values.astype(np.float32), level * largest, largest * spread, 1.0)


def normalised(boxes: NDArray[Any]) -> NDArray[np.float32]:
    """Return boxes with their means taken off and a root mean square of 1.

    Parameters
    ----------
    boxes : (n, z, y, x) array
        Finite numbers of any type and size.

    Returns
    -------
    (n, z, y, x) array of float32
        A constant box is all 0.
    """
    result = np.empty(boxes.shape, np.float32)
    for box, into in zip(boxes, result, strict=True):
        values = box.astype(np.float64)
        largest = np.abs(values).max()
        values /= largest or 1.0  # or squares may be beyond double precision
        values -= values.mean()
        size = math.sqrt(np.square(values).mean())
        # What rounding leaves of a constant is nothing.
        into[...] = values / size if size > 1e-14 else 0.0
    return result
