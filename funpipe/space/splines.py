"""Cubic splines through an image's voxels, compiled where numba is installed.

Beyond its faces an image is mirrored about its first and its last voxel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.space.spectra import can_compile

__all__ = ["fill_from_splines", "spline_coefficients"]


def spline_coefficients(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a spline's coefficients, in the place of an image's values.

    Parameters
    ----------
    values : (z, y, x) array of float32
        Contiguous; it is overwritten.

    Examples
    --------
    >>> np.ptp(spline_coefficients(np.ones((4, 4, 4), np.float32))).round(6)
    np.float32(0.0)
    """
    if can_compile():
        from funpipe.space.compiled_splines import prefiltered

        prefiltered(values)
        return values
    found = scipy.ndimage.spline_filter(values, order=3, mode="mirror", output=values)
    return np.asarray(found)


def fill_from_splines(
    coefficients: NDArray[np.float32],
    turn: NDArray[np.float64],
    corner: NDArray[np.float64],
    image: NDArray[Any],
) -> None:
    """Set an image to a spline at ``corner + turn @ index``.

    Parameters
    ----------
    coefficients : (z, y, x) array of float32
        Of the spline.
    turn : (3, 3) array
        Takes an index of the image to voxels of the coefficients.
    corner : (3,) array
        Where its first voxel is among them.
    image : (z, y, x) array of float32
        What is filled.
    """
    if can_compile():
        from funpipe.space.compiled_splines import splined

        splined(coefficients, turn, corner, image)
        return
    scipy.ndimage.affine_transform(
        coefficients,
        turn,
        corner,
        output_shape=image.shape,
        output=image,
        order=3,
        mode="mirror",
        prefilter=False,
    )
