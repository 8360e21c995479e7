"""How high scores stay along a line: what is no peak of a particle.

Along a membrane, an edge or a rod of gold a template that fits at one place fits at the
next. With L the score below which places were not looked at, s̄ = max(s, L), and lines ℓ
of a length through a place, in 13 directions,

    o = max over ℓ of the opening of s̄ by ℓ,   (opening: the highest of the lowest of
                                                 all lines that go through the place)

is L where a score stands alone, for lines longer than its peak is wide: up to a
particle's diameter or two. What is taken off a score is o − L, the rest is a white
top-hat (J. Serra, Image Analysis and Mathematical Morphology, Academic Press 1982).
"""

from __future__ import annotations

import itertools
from typing import Any, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

__all__ = ["along_lines"]

Array: TypeAlias = NDArray[Any]

_DIRECTIONS = [
    each for each in itertools.product((-1, 0, 1), repeat=3) if each > (0, 0, 0)
]


def along_lines(scores: Array, level: float, length: float) -> NDArray[np.float32]:
    """Return o − L at each place.

    Parameters
    ----------
    scores : (z, y, x) array
        s; what is lower than L may be anything.
    level : float
        L.
    length : float
        Of lines, in places.

    Examples
    --------
    >>> scores = np.zeros((9, 9, 9)); scores[4, 4] = 0.5; scores[1, 1, 1] = 0.7
    >>> found = along_lines(scores, 0.2, 5.0)
    >>> found[4, 4].round(1)
    array([0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3], dtype=float32)
    >>> found[1, 1, 1]
    np.float32(0.0)
    """
    known = np.maximum(scores, np.float32(level), dtype=np.float32)
    highest = np.full_like(known, level)
    for direction in _DIRECTIONS:
        opened = scipy.ndimage.grey_opening(
            known, footprint=_line(direction, length), mode="constant", cval=level
        )
        np.maximum(highest, opened, out=highest)
    return highest - np.float32(level)


def _line(direction: tuple[int, ...], length: float) -> NDArray[np.bool_]:
    """Return a line through the middle of a box that it just fits into."""
    half = max(1, round((length / np.linalg.norm(direction) - 1) / 2))
    steps = np.arange(-half, half + 1)
    places = steps[:, None] * np.array(direction)
    found = np.zeros(2 * half * np.abs(direction) + 1, bool)
    found[tuple((places + half * np.abs(direction)).T)] = True
    return found
