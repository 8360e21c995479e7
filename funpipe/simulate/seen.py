"""What a tilt leaves of images, and noise of a colour."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.base import arguments as check
from funpipe.jobs.sharing import go_on
from funpipe.space.fourier import fourier_vectors
from funpipe.space.tilts import Tilt
from funpipe.space.transfer import Placed, placed

__all__ = ["colour", "left", "seen_at", "seen_through"]

Array: TypeAlias = NDArray[Any]

_AT_ONCE = 2**21  # waves


def seen_at(tilt: Tilt, places: Any, count: int, extent: float) -> Tilt:
    """Return a tilt as particles saw it, at the tomogram's centre where places is None.

    Raises
    ------
    TypeError, ValueError
        If places are not as many as particles.
    """
    if places is None:
        return placed(tilt, np.zeros((count, 3)), extent)
    found = check.points("places", places)
    if len(found) != count:
        raise ValueError(
            f"places must be one (z, y, x) for each of the {count} particles, "
            f"not {len(found)}"
        )
    return placed(tilt, found, extent)


def left(
    tilt: Tilt, vectors: Array, go_on: Callable[[], None] = go_on
) -> NDArray[np.float64]:
    """Return what a tilt leaves of one particle's waves, (3, ...): H, or the weight.

    H is computed for some waves at a time, and it is asked before each whether to go
    on.
    """
    if not isinstance(tilt, Placed):
        return tilt(vectors)
    flat = vectors.reshape(3, 1, -1)
    found = np.empty(flat.shape[2])
    for start in range(0, len(found), _AT_ONCE):
        go_on()
        some = slice(start, start + _AT_ONCE)
        found[some] = tilt.amplitudes(flat[:, :, some])[0]
    return found.reshape(vectors.shape[1:])


def seen_through(
    tilt: Tilt, density: Array, scale: float, go_on: Callable[[], None] = go_on
) -> NDArray[np.float64]:
    """Return what a tilt leaves of a density."""
    waves = scipy.fft.rfftn(density)
    waves = waves * left(tilt, fourier_vectors(density.shape, scale), go_on)
    go_on()
    return np.asarray(scipy.fft.irfftn(waves, s=density.shape))


def colour(k: Array, falling: float) -> NDArray[np.float64]:
    """Return |k|^−falling at waves, (3, ...), of a mean square of 1; 0 as the next."""
    length = np.sqrt((k**2).sum(axis=0))
    found = np.maximum(length, length[length > 0].min()) ** -falling
    return found / np.sqrt((found**2).mean())
