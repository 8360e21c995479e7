"""Templates that no particle looks like: what a search's scores are corrected by."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from funpipe.base.wording import fail, listed
from funpipe.jobs.chance import mirrored, noise_like

__all__ = ["BACKGROUNDS", "background_of", "check_background"]

_SEED = 100  # those of nulls are others


def _random(templates: NDArray[np.float32], symmetry: str) -> NDArray[np.float32]:
    return noise_like(templates, symmetry, _SEED)


def _mirrored(templates: NDArray[np.float32], symmetry: str) -> NDArray[np.float32]:
    return mirrored(templates)


BACKGROUNDS = {"mirrored": _mirrored, "random": _random}


def check_background(value: Any) -> str | None:
    """Return None, or the name of a background.

    Examples
    --------
    >>> check_background("mirrored")
    'mirrored'
    """
    if value is None or (isinstance(value, str) and value in BACKGROUNDS):
        return value
    fail("background", f"{listed(BACKGROUNDS)}, or None", value)


def background_of(
    name: str | None, templates: NDArray[np.float32], symmetry: str = "C1"
) -> NDArray[np.float32] | None:
    """Return the background of templates, (m, z, y, x), masked as they are.

    Parameters
    ----------
    name : str or None
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
    return None if name is None else BACKGROUNDS[name](templates, symmetry)
