"""The figures of an image in nm, and how well its sampling knows them.

Two samplings of one object agree in its mean density, its centre and its extent. How
closely depends on the object. A smooth one is known to a small part of a voxel; a
surface, as of a mask, lies between voxels, and is known to less than half a voxel
of either sampling.
"""

from __future__ import annotations

from functools import reduce
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Allowance", "Figures", "allowance", "figures", "has_surfaces"]

Array: TypeAlias = NDArray[Any]

# What a sampling of a smooth object leaves open: of lengths and densities this part,
# of positions this many voxels.
_PART, _VOXELS = 0.03, 0.1
_SURFACE = 0.4  # voxels of either sampling
# From which on an image has surfaces: the part of its variance in the finest details,
# and the part of its voxels that have exactly the highest value.
_DETAIL, _PLATEAU = 0.01, 0.005


class Figures(NamedTuple):
    """What an image describes, whatever its scale.

    The mean density; centre (z, y, x, from the box's centre) and extent (the root mean
    square distance from there) in nm, both weighted by the size of the density; the
    mean size of the density, and that of its gradient per nm.
    """

    density: float
    centre: Array
    extent: float
    size: float
    gradient: float


class Allowance(NamedTuple):
    """How far two samplings of one object may be apart."""

    density: float
    centre: float
    extent: float


def figures(image: Array, scale: float, box: Array) -> Figures:
    """Return the figures of an image within a box around its centre.

    Parameters
    ----------
    image : (z, y, x) array
        A voxel that a face of the box divides counts in part.
    scale : float
        In nm per voxel.
    box : (3,) array
        Size of the box in nm, z, y, x; not larger than the image.

    Examples
    --------
    >>> point = np.zeros((4, 4, 4)); point[2, 1, 1] = 8.0
    >>> found = figures(point, 0.5, np.array([2.0, 2.0, 2.0]))
    >>> found.density, found.centre.tolist(), found.extent
    (0.125, [0.25, -0.25, -0.25], 0.0)
    """
    axes = [(np.arange(n) - (n - 1) / 2) * scale for n in image.shape]
    inside = [
        np.clip((side / 2 - np.abs(axis)) / scale + 0.5, 0, 1)
        for axis, side in zip(axes, box, strict=True)
    ]
    share = reduce(np.multiply.outer, inside)
    share = share / share.sum()
    sizes = np.abs(image) * share
    total = float(sizes.sum())
    profiles = [sizes.sum(others) / (total or 1) for others in ((1, 2), (0, 2), (0, 1))]
    centre = np.array([(a * p).sum() for a, p in zip(axes, profiles, strict=True)])
    spread = [
        ((axis - middle) ** 2 * profile).sum()
        for axis, middle, profile in zip(axes, centre, profiles, strict=True)
    ]
    return Figures(
        float((image * share).sum()),
        centre,
        float(np.sqrt(sum(spread))),
        total,
        float((_gradient(image) * share).sum()) / scale,
    )


def allowance(
    first: Figures, second: Figures, scales: tuple[float, float], surfaces: bool
) -> Allowance:
    """Return how far apart the figures of two samplings of one object may be.

    Parameters
    ----------
    first, second : Figures
        Those of the two images.
    scales : (float, float)
        Those of the two images, in nm per voxel.
    surfaces : bool
        Whether the object has surfaces, see `has_surfaces`.

    Examples
    --------
    >>> ball = Figures(0.5, np.zeros(3), 2.0, 0.5, 0.25)
    >>> allowance(ball, ball, (0.5, 1.0), surfaces=False).centre
    0.1
    >>> allowance(ball, ball, (0.25, 1.0), surfaces=True).centre
    0.5
    """
    part = _PART * max(first.size, second.size)
    if not surfaces:
        extent = _PART * max(first.extent, second.extent)
        return Allowance(part, _VOXELS * max(scales), extent)
    way = _SURFACE * sum(scales)
    return Allowance(part + way * max(first.gradient, second.gradient), way, way)


def has_surfaces(image: Array) -> bool:
    """Tell whether an image is sharp, or has a plateau as masks have.

    Examples
    --------
    >>> z, y, x = np.indices((12, 12, 12)) - 5.5
    >>> smooth = np.exp(-(z**2 + y**2 + x**2) / 8)
    >>> has_surfaces(smooth), has_surfaces(smooth > 0.5)
    (False, True)
    """
    image = np.asarray(image, np.float64)
    variance = image.var()
    if variance <= 1e-12 * (image**2).mean():
        return False
    plateau = (image == image.max()).mean()
    return bool(plateau > _PLATEAU or _detail(image) > _DETAIL * variance)


def _gradient(image: Array) -> Array:
    """Return the size of the gradient per voxel."""
    slopes = [
        np.gradient(image.astype(np.float64), axis=axis)
        for axis, n in enumerate(image.shape)
        if n > 1
    ]
    return np.sqrt(sum((s**2 for s in slopes), np.zeros(image.shape)))


def _detail(image: Array) -> float:
    """Return the mean square of what a fourth difference along any axis leaves."""
    parts = [
        (np.diff(image, 4, axis=axis) ** 2).mean() / 256
        for axis, n in enumerate(image.shape)
        if n > 4
    ]
    return float(max(parts, default=np.inf))
