"""Templates that no particle looks like: what a search's scores are corrected by."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from funpipe.base.wording import fail, listed
from funpipe.jobs.chance import with_random_phases
from funpipe.jobs.preparing import Prepared, masked_templates

__all__ = ["BACKGROUNDS", "background_of", "check_background"]

_SEED = 0  # those of nulls are others


def _mirrored(prepared: Prepared) -> NDArray[np.float32]:
    """Return masked templates of the other hand: at −q what was at q."""
    return np.ascontiguousarray(masked_templates(prepared)[:, ::-1, ::-1, ::-1])


def _random(prepared: Prepared) -> NDArray[np.float32]:
    return with_random_phases(prepared, _SEED)


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


def background_of(name: str | None, prepared: Prepared) -> NDArray[np.float32] | None:
    """Return the background of templates, (m, z, y, x), masked as they are.

    Parameters
    ----------
    name : str or None
        "mirrored": of the other hand, with the same amplitude at each wave; "random":
        noise of the same power and extent, see `with_random_phases`.
    prepared : Prepared
        (m, z, y, x), see `funpipe.prepare`.

    Examples
    --------
    >>> template = np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2)
    >>> found = background_of("mirrored", Prepared(template, np.ones_like(template)))
    >>> bool((found[0, 0, 0] == -found[0, 1, 1, ::-1]).all())
    True
    """
    return None if name is None else BACKGROUNDS[name](prepared)
