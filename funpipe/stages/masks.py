"""Image converters that make masks: images from 0, outside, to 1, inside.

Where a converter takes a mask, voxels of ½ and more are inside. Distances are
Euclidean, between centres of voxels, in nm.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.algebra.pipeline import ImageConverter
from funpipe.algebra.stage_functions import converter_function, derived_function
from funpipe.base import arguments as check
from funpipe.base.arguments import Image, NonNegative, Number, Positive
from funpipe.base.wording import fail
from funpipe.space.geometry import offsets

__all__ = [
    "closing",
    "cosine_edge",
    "cylinder",
    "dilation",
    "gaussian_smooth",
    "soft_otsu",
    "sphere",
    "threshold",
    "threshold_otsu",
]

Inside: TypeAlias = NDArray[np.bool_]


@converter_function
def threshold(image: Image, scale: float, level: Number) -> Image:
    """Make a mask of the voxels above a level.

    Parameters
    ----------
    level : float
        In the units of the image; voxels above it are inside.

    Returns
    -------
    ImageConverter
        Its images are 0 and 1.

    Raises
    ------
    TypeError, ValueError
        If the level is not a finite number.

    Examples
    --------
    >>> threshold(1.5)(np.arange(8).reshape(2, 2, 2)).sum()
    np.float32(6.0)
    """
    return (image > np.float64(level)).astype(np.float32)


_MOST_BINS = 2**20


def _bins(name: str, value: Any) -> int:
    bins = check.positive_integer(name, value)
    if bins > _MOST_BINS:
        fail(name, f"a whole number of bins from 1 to {_MOST_BINS}", value)
    return bins


Bins: TypeAlias = Annotated[int, _bins]


@converter_function
def threshold_otsu(image: Image, scale: float, bins: Bins = 256) -> Image:
    """Make a mask of the voxels above Otsu's threshold.

    The threshold is the bin centre that maximises the variance between the two
    classes, n₀ n₁ (μ₀ − μ₁)² (N. Otsu, IEEE Trans. Syst. Man Cybern. 9, 62, 1979).

    Parameters
    ----------
    bins : int
        Bins of the histogram.

    Returns
    -------
    ImageConverter
        Its images are 0 and 1; a constant image gives 0.

    Raises
    ------
    TypeError, ValueError
        If bins is not a whole number above 0.

    Examples
    --------
    >>> image = np.zeros((4, 4, 4)); image[1:3, 1:3, 1:3] = 5
    >>> threshold_otsu()(image).sum()
    np.float32(8.0)
    """
    return (image > _otsu_level(image.astype(np.float64), bins)).astype(np.float32)


@converter_function
def dilation(image: Image, scale: float, radius: Number) -> Image:
    """Grow a mask by a distance, or shrink it.

    Parameters
    ----------
    radius : float
        In nm. The mask gains the voxels within that distance of it, or exactly at
        it; with a negative radius it loses the voxels within that distance of the
        outside, or exactly at it. Beyond the faces of the box is no outside.

    Returns
    -------
    ImageConverter
        Its images are 0 and 1.

    Raises
    ------
    TypeError, ValueError
        If the radius is not a finite number.

    Examples
    --------
    >>> point = np.zeros((5, 5, 5)); point[2, 2, 2] = 1
    >>> dilation(1.0)(point, 0.5).sum()
    np.float32(33.0)
    >>> (dilation(-0.5) @ dilation(1.0))(point, 0.5).sum()
    np.float32(7.0)
    """
    return _grown(image >= 0.5, radius, scale).astype(np.float32)


@converter_function
def closing(image: Image, scale: float, radius: Number) -> Image:
    """Close the gaps of a mask (grow it, then shrink it), or open it (the reverse).

    Parameters
    ----------
    radius : float
        In nm, see `dilation`; a negative radius opens: parts thinner than twice
        its size go.

    Returns
    -------
    ImageConverter
        Its images are 0 and 1. Closing loses no voxel, also at the faces of the box.

    Raises
    ------
    TypeError, ValueError
        If the radius is not a finite number.

    Examples
    --------
    >>> ends = np.zeros((3, 3, 5)); ends[:, :, [1, 3]] = 1
    >>> closing(1.0)(ends)[1, 1]
    array([0., 1., 1., 1., 0.], dtype=float32)
    """
    return _closed(image >= 0.5, radius, scale).astype(np.float32)


@converter_function
def gaussian_smooth(image: Image, scale: float, sigma: NonNegative) -> Image:
    """Give a mask an edge that falls off like a Gaussian, outwards.

    Parameters
    ----------
    sigma : float
        In nm: at the distance d outside the mask the value is exp(−d² / 2σ²).

    Returns
    -------
    ImageConverter
        Its images are 1 inside the mask.

    Raises
    ------
    TypeError, ValueError
        If sigma is negative or not a number.

    Examples
    --------
    >>> point = np.zeros((1, 1, 3)); point[0, 0, 0] = 1
    >>> gaussian_smooth(1.0)(point).round(3)
    array([[[1.   , 0.607, 0.135]]], dtype=float32)
    """
    inside = image >= 0.5
    if sigma < 0.05 * scale:  # less than float32 can tell from 0 one voxel out
        return inside.astype(np.float32)
    return np.exp(-((_distance_to(inside, scale) / sigma) ** 2) / 2)


@converter_function
def cosine_edge(image: Image, scale: float, width: NonNegative) -> Image:
    """Give a mask an edge that falls off like a cosine, outwards.

    Parameters
    ----------
    width : float
        In nm: at the distance d outside the mask the value is ½ + ½ cos(π d / width),
        from the width on 0.

    Returns
    -------
    ImageConverter
        Its images are 1 inside the mask.

    Raises
    ------
    TypeError, ValueError
        If the width is negative or not a number.

    Examples
    --------
    >>> point = np.zeros((1, 1, 4)); point[0, 0, 0] = 1
    >>> cosine_edge(2.0)(point).round(3)
    array([[[1. , 0.5, 0. , 0. ]]], dtype=float32)
    """
    inside = image >= 0.5
    if width <= scale:  # it has fallen to 0 one voxel out
        return inside.astype(np.float32)
    part = np.minimum(_distance_to(inside, scale) / width, 1)
    return 0.5 + 0.5 * np.cos(np.pi * part)


@derived_function
def soft_otsu(
    sigma: NonNegative = 1.0, radius: Number = 1.0, bins: Bins = 256
) -> ImageConverter:
    """Make a soft mask, by Otsu's threshold, dilation and a Gaussian edge.

    It is ``gaussian_smooth(sigma) @ dilation(radius) @ threshold_otsu(bins)``.

    Parameters
    ----------
    sigma : float
        Fall-off of the edge in nm, see `gaussian_smooth`.
    radius : float
        How far the mask grows in nm, see `dilation`.
    bins : int
        Bins of the histogram, see `threshold_otsu`.

    Returns
    -------
    ImageConverter
        Its images lie from 0 to 1.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of the above.

    Examples
    --------
    >>> mask = soft_otsu(sigma=2.0, radius=1.0)
    >>> template = np.zeros((8, 8, 8)); template[3:5, 3:5, 3:5] = 1
    >>> mask(template, 0.5).max()
    np.float32(1.0)
    """
    return gaussian_smooth(sigma) @ dilation(radius) @ threshold_otsu(bins)


@converter_function
def sphere(
    image: Image, scale: float, radius: Positive, shift: check.Vector = (0.0, 0.0, 0.0)
) -> Image:
    """Make a ball in the box of an image, whatever its voxels hold.

    Parameters
    ----------
    radius : float
        In nm; voxels within it or exactly at it are inside.
    shift : (float, float, float)
        Where its middle lies from the centre of the box, in nm, z, y, x.

    Returns
    -------
    ImageConverter
        Its images are 0 and 1; ``cosine_edge(1.0) @ sphere(5.0)`` has a soft edge.

    Raises
    ------
    TypeError, ValueError
        If the radius is not above 0.

    Examples
    --------
    >>> sphere(1.0)(np.zeros((5, 5, 5))).sum()
    np.float32(7.0)
    """
    z, y, x = _from_middle(image, scale, shift)
    return _within(np.sqrt(z**2 + y**2 + x**2), radius).astype(np.float32)


def _axis(name: str, value: Any) -> str:
    if not isinstance(value, str) or value not in ("z", "y", "x"):
        fail(name, "'z', 'y' or 'x'", value)
    return str(value)


@converter_function
def cylinder(
    image: Image,
    scale: float,
    radius: Positive,
    height: Positive,
    axis: Annotated[Literal["z", "y", "x"], _axis] = "z",
    shift: check.Vector = (0.0, 0.0, 0.0),
) -> Image:
    """Make a cylinder in the box of an image, whatever its voxels hold.

    Parameters
    ----------
    radius, height : float
        In nm; voxels within them or exactly at them are inside.
    axis : {"z", "y", "x"}
        The axis it stands along; compose with `rotate` for others.
    shift : (float, float, float)
        Where its middle lies from the centre of the box, in nm, z, y, x.

    Returns
    -------
    ImageConverter
        Its images are 0 and 1.

    Raises
    ------
    TypeError, ValueError
        If radius or height is not above 0, or the axis another.

    Examples
    --------
    >>> cylinder(1.0, 2.0)(np.zeros((5, 5, 5))).sum()
    np.float32(15.0)
    """
    along, *across = (
        _from_middle(image, scale, shift)[i] for i in _AXES_FROM["zyx".index(axis)]
    )
    distance = np.sqrt(across[0] ** 2 + across[1] ** 2)
    inside = _within(distance, radius) & _within(np.abs(along), height / 2)
    return inside.astype(np.float32)


_AXES_FROM = ((0, 1, 2), (1, 0, 2), (2, 0, 1))


def _from_middle(image: Image, scale: float, shift: Any) -> list[NDArray[np.float64]]:
    grid = offsets(image.shape, scale)
    return [axis - middle for axis, middle in zip(grid, np.asarray(shift), strict=True)]


def _within(distance: NDArray[Any], radius: float) -> Inside:
    # A distance exactly at the radius is inside, whatever the last bits say.
    return distance <= np.float64(radius) * (1 + 1e-6)


def _distance_to(inside: Inside, scale: float) -> Image:
    """Return each voxel's distance to the mask in nm; infinity where there is none."""
    if not inside.any():
        return np.full(inside.shape, np.inf, np.float32)
    distance = scipy.ndimage.distance_transform_edt(~inside, sampling=scale)
    return np.asarray(distance, dtype=np.float32)


def _grown(inside: Inside, radius: float, scale: float) -> Inside:
    if radius < 0:
        return ~_grown(~inside, -radius, scale)
    return _within(_distance_to(inside, scale), radius)


def _closed(inside: Inside, radius: float, scale: float) -> Inside:
    if radius < 0:
        return ~_closed(~inside, -radius, scale)
    # So that what grows has room to shrink.
    margin = math.ceil(min(radius / scale, 1e9)) + 1
    where = f"closing at the scale {scale:.6g}: radius"
    check.box(where, [size + 2 * margin for size in inside.shape])
    grown = _grown(np.pad(inside, margin), radius, scale)
    return _grown(grown, -radius, scale)[(slice(margin, -margin),) * 3]


def _otsu_level(image: NDArray[np.float64], bins: int) -> np.float64:
    if image.min() == image.max():
        return image.max()
    counts, edges = np.histogram(image, bins)
    levels = (edges[:-1] + edges[1:]) / 2
    # Split after each bin but the last: n and μ of what lies below and above.
    below, above = np.cumsum(counts)[:-1], np.cumsum(counts[::-1])[-2::-1]
    moments = counts * levels
    mean_below = np.cumsum(moments)[:-1] / below
    mean_above = np.cumsum(moments[::-1])[-2::-1] / above
    if len(levels) == 1:
        return levels[0]
    variance = below * above * (mean_below - mean_above) ** 2
    return levels[np.argmax(variance)]
