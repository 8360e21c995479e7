"""Images of which a test knows what they are, and the figures of any image."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from funpipe.space.geometry import offsets


class Moments(NamedTuple):
    """Of an image: its integral; mean and deviations of the positions, nm, z, y, x."""

    mass: float
    centre: np.ndarray
    widths: np.ndarray

    @property
    def extent(self) -> float:
        """The root mean square distance from the centre, in nm."""
        return float(np.sqrt((self.widths**2).sum()))


def noise(seed, shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def blob(shape, scale=1.0, peak=(0.0, 0.0, 0.0), sigma=1.5):
    """Return a Gaussian of height 1; peak (from the box's centre) and sigma in nm."""
    axes = zip(offsets(shape, scale), peak, np.broadcast_to(sigma, 3), strict=True)
    return np.exp(-sum(((axis - p) / s) ** 2 for axis, p, s in axes) / 2)


def moments(image, scale):
    grid = offsets(image.shape, scale)
    mass = image.sum(dtype=float)
    centre = np.array([(image * axis).sum(dtype=float) / mass for axis in grid])
    squares = [
        (image * (axis - middle) ** 2).sum(dtype=float) / mass
        for axis, middle in zip(grid, centre, strict=True)
    ]
    # Below a voxel the ripples of the band limit may leave less than nothing.
    widths = np.sqrt(np.maximum(squares, 0))
    return Moments(mass * scale**3, centre, widths)
