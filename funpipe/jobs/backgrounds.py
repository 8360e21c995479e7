"""Templates that no particle looks like: what a search's scores are corrected by."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from funpipe.base.wording import fail, listed
from funpipe.engine.background import CORRECTIONS
from funpipe.jobs.chance import mirrored, noise_like

__all__ = ["BACKGROUNDS", "Background", "background_of", "check_background"]

_SEED = 100  # those of nulls are others


def _random(templates: NDArray[np.float32], symmetry: str) -> NDArray[np.float32]:
    return noise_like(templates, symmetry, _SEED)


def _mirrored(templates: NDArray[np.float32], symmetry: str) -> NDArray[np.float32]:
    return mirrored(templates)


BACKGROUNDS = {"mirrored": _mirrored, "random": _random}


class Background(NamedTuple):
    """What scores are corrected by, and how."""

    which: str
    """One of `BACKGROUNDS`."""
    how: str = next(iter(CORRECTIONS))
    """One of `funpipe.engine.background.CORRECTIONS`."""


def check_background(value: Any) -> Background | None:
    """Return None, or a background.

    Examples
    --------
    >>> check_background("mirrored")
    Background(which='mirrored', how='subtracted')
    >>> check_background(("random", "divided"))
    Background(which='random', how='divided')
    """
    if value is None:
        return None
    if isinstance(value, str) and value in BACKGROUNDS:
        return Background(value)
    if isinstance(value, tuple | list) and len(value) == 2:
        which, how = map(str, value)
        if which in BACKGROUNDS and how in CORRECTIONS:
            return Background(which, how)
    ways = " or ".join(map(repr, CORRECTIONS))
    fail("background", f"{listed(BACKGROUNDS)}, or None, or one with {ways}", value)


def background_of(
    name: str, templates: NDArray[np.float32], symmetry: str = "C1"
) -> NDArray[np.float32]:
    """Return the background of templates, (m, z, y, x), masked as they are.

    Parameters
    ----------
    name : str
        "mirrored": of the other hand; "random": noise, see `funpipe.jobs.chance`.
    templates : (m, z, y, x) array
        Masked.
    symmetry : str
        The templates', which noise has too.

    Examples
    --------
    >>> background_of("mirrored", np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2))
    array([[[[7., 6.],
             [5., 4.]],
            [[3., 2.],
             [1., 0.]]]], dtype=float32)
    """
    return BACKGROUNDS[name](templates, symmetry)
