"""Image converters: filters, and what moves, sizes and scales an image.

Every image is float32, axes z, y, x; lengths are in nm, so that a converter means
the same at every scale.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.algebra.pipeline import ImageConverter, identity
from funpipe.algebra.stage_functions import converter_function, derived_function
from funpipe.base import arguments as check
from funpipe.base.arguments import Image, NonNegative, Positive, SplineOrder
from funpipe.base.wording import fail
from funpipe.space.fourier import butterworth, cosine_waves, filter_image, gaussian
from funpipe.space.geometry import (
    as_rotation,
    centre,
    rotate_image,
    rotation_vector,
)
from funpipe.space.symmetry import symmetry_group

__all__ = [
    "bandpass_filter",
    "center_by_mass",
    "crop_or_pad",
    "gaussian_filter",
    "highpass_filter",
    "invert",
    "lowpass_filter",
    "normalize",
    "rotate",
    "shift",
    "symmetrize",
]

Array: TypeAlias = NDArray[Any]

# numpy.pad's word for each of scipy.ndimage's ways beyond the box.
_PAD_MODES: dict[str, Any] = {
    "reflect": "symmetric",
    "constant": "constant",
    "nearest": "edge",
    "mirror": "reflect",
    "wrap": "wrap",
}
_WIDEST = 1e9  # voxels, beyond any box
ModeName: TypeAlias = Literal["reflect", "constant", "nearest", "mirror", "wrap"]


def _mode(name: str, value: Any) -> str:
    if not isinstance(value, str) or value not in _PAD_MODES:
        fail(name, f"one of {', '.join(_PAD_MODES)}", value)
    return str(value)


Mode: TypeAlias = Annotated[ModeName, _mode]


@converter_function
def gaussian_filter(
    image: Image,
    scale: float,
    sigma: NonNegative = 1.0,
    mode: Mode = "reflect",
    cval: check.Grey = 0.0,
) -> Image:
    """Blur with a Gaussian, by its exact transfer function exp(−2π²σ²f²).

    Parameters
    ----------
    sigma : float
        Standard deviation in nm.
    mode : {"reflect", "constant", "nearest", "mirror", "wrap"}
        How the image goes on beyond its faces, in the words of scipy.ndimage.
    cval : float
        The value out there in the mode "constant".

    Returns
    -------
    ImageConverter
        Its images have the shape of their input.

    Raises
    ------
    TypeError, ValueError
        If sigma is negative or not a number, or the mode another.

    Examples
    --------
    >>> point = np.zeros((9, 9, 9)); point[4, 4, 4] = 1
    >>> blurred = gaussian_filter(0.5)(point, 0.27)
    >>> round(float(blurred.sum()), 4)
    1.0
    """
    transfer = partial(gaussian, sigma=sigma)
    if mode == "reflect":  # what the cosine basis does by itself
        return filter_image(image, scale, transfer)
    margin = math.ceil(min(4 * sigma / scale, _WIDEST)) + 1
    where = f"gaussian_filter at the scale {scale:.6g}: sigma"
    check.box(where, [size + 2 * margin for size in image.shape])
    values: Any = {"constant_values": cval} if mode == "constant" else {}
    padded = np.pad(image, margin, _PAD_MODES[mode], **values)
    inside = (slice(margin, -margin),) * 3
    return filter_image(padded, scale, transfer)[inside]


@converter_function
def lowpass_filter(
    image: Image, scale: float, cutoff: Positive, order: check.PositiveInteger = 2
) -> Image:
    """Keep what is coarser than a period, by 1 / (1 + (f · cutoff)^(2 · order)).

    Parameters
    ----------
    cutoff : float
        Period in nm at which the amplitude falls to ½.
    order : int
        Beyond the cutoff the amplitude falls by 12 dB per octave and order.

    Returns
    -------
    ImageConverter
        Its images have the shape of their input. Beyond its faces an image goes on
        by reflection.

    Raises
    ------
    TypeError, ValueError
        If the cutoff is not above 0, or the order not a whole number above 0.

    Notes
    -----
    The transfer function is the squared magnitude of a Butterworth filter's
    (S. Butterworth, Wireless Engineer 7, 536, 1930), without its phase.

    Examples
    --------
    >>> lowpass_filter(2.0)(np.ones((4, 4, 4)), 0.5).round(3).min()
    np.float32(1.0)
    """
    return filter_image(image, scale, partial(butterworth, cutoff=cutoff, order=order))


@derived_function
def highpass_filter(
    cutoff: Positive, order: check.PositiveInteger = 2
) -> ImageConverter:
    """Keep what is finer than a period: 1 less `lowpass_filter`'s transfer function.

    Parameters
    ----------
    cutoff : float
        Period in nm at which the amplitude falls to ½.
    order : int
        Below the cutoff's frequency the amplitude falls by 12 dB per octave and
        order.

    Returns
    -------
    ImageConverter
        Its images have the shape of their input and a mean of 0.

    Raises
    ------
    TypeError, ValueError
        If the cutoff is not above 0, or the order not a whole number above 0.

    Examples
    --------
    >>> abs(highpass_filter(2.0)(np.ones((4, 4, 4)), 0.5)).max().round(3)
    np.float32(0.0)
    """
    return identity - lowpass_filter(cutoff, order)


@derived_function
def bandpass_filter(
    longest: Positive, shortest: Positive, order: check.PositiveInteger = 2
) -> ImageConverter:
    """Keep what lies between two periods: a high-pass and a low-pass filter in a row.

    Parameters
    ----------
    longest, shortest : float
        Periods in nm at which the amplitude falls to ½, in either order.
    order : int
        Beyond each, the amplitude falls by 12 dB per octave and order.

    Returns
    -------
    ImageConverter
        Its images have the shape of their input and a mean of 0.

    Raises
    ------
    TypeError, ValueError
        If a period is not above 0, or the order not a whole number above 0.

    Examples
    --------
    >>> bandpass_filter(20.0, 2.0)(np.eye(8)[None] * np.ones((8, 1, 1)), 0.5).shape
    (8, 8, 8)
    """
    fine, coarse = sorted((longest, shortest))
    return lowpass_filter(fine, order) @ highpass_filter(coarse, order)


@converter_function
def shift(
    image: Image,
    scale: float,
    shift: check.Vector,
    order: SplineOrder = 3,
    mode: Mode = "nearest",
    cval: check.Grey = 0.0,
) -> Image:
    """Move an image.

    Parameters
    ----------
    shift : (float, float, float)
        How far its content moves, in nm, z, y, x.
    order : int
        Order of the interpolating spline, 0 to 5.
    mode : {"reflect", "constant", "nearest", "mirror", "wrap"}
        How the image goes on beyond its faces, in the words of scipy.ndimage.
    cval : float
        The value out there in the mode "constant".

    Returns
    -------
    ImageConverter
        Its images have the shape of their input.

    Raises
    ------
    TypeError, ValueError
        If the shift is not three finite numbers, or another argument is wrong.

    Examples
    --------
    >>> image = np.zeros((3, 3, 3)); image[1, 1, 1] = 1
    >>> moved = shift((0.5, 0.0, 0.0))(image, 0.5)
    >>> np.argwhere(moved > 0.5)
    array([[2, 1, 1]])
    """
    voxels = np.asarray(shift) / scale
    if np.abs(voxels).max() > _WIDEST:  # where coordinates lose their last digits
        wanted = f"{_WIDEST * scale:g} nm or less at the scale {scale:g}"
        fail("shift: shift", wanted, shift)
    grid_mode = {"wrap": "grid-wrap", "constant": "grid-constant"}.get(mode, mode)
    return scipy.ndimage.shift(image, voxels, order=order, mode=grid_mode, cval=cval)


@converter_function
def rotate(
    image: Image,
    scale: float,
    rotation: Annotated[Any, rotation_vector],
    order: SplineOrder = 3,
) -> Image:
    """Rotate an image about the centre of its box.

    Parameters
    ----------
    rotation : Rotation or (float, float, float)
        A scipy ``Rotation`` acting on z, y, x vectors, or its rotation vector in
        degrees, z, y, x: ``(90, 0, 0)`` turns the y axis to the x axis.
    order : int
        Order of the interpolating spline, 0 to 5.

    Returns
    -------
    ImageConverter
        Its images have the shape of their input: the voxel ``R @ (q − c) + c`` holds
        what was at q; what lies outside the box is 0.

    Raises
    ------
    TypeError, ValueError
        If it is not one rotation.

    Examples
    --------
    >>> image = np.zeros((3, 3, 3)); image[1, 2, 1] = 1
    >>> np.argwhere(rotate((90, 0, 0))(image) > 0.5)
    array([[1, 1, 2]])
    """
    return rotate_image(image, as_rotation(rotation), order)


@converter_function
def center_by_mass(image: Image, scale: float, order: SplineOrder = 3) -> Image:
    """Move an image's centre of mass to the centre of its box.

    Parameters
    ----------
    order : int
        Order of the interpolating spline, 0 to 5.

    Returns
    -------
    ImageConverter
        Its images have the shape of their input; at the faces the outermost voxels
        go on.

    Raises
    ------
    ValueError
        When called, if the image's total is not positive, so that it has no centre
        of mass.

    Examples
    --------
    >>> image = np.zeros((5, 5, 5)); image[3, 2, 2] = 1
    >>> np.argwhere(center_by_mass()(image) > 0.5)
    array([[2, 2, 2]])
    """
    total = float(image.sum(dtype=np.float64))
    if total <= 1e-6 * float(np.abs(image).sum(dtype=np.float64)):
        raise ValueError(
            "center_by_mass: the image's total must be above 0 for a centre of mass, "
            f"not {total:.4g}; subtract its background or make a mask of it first"
        )
    away = np.array(scipy.ndimage.center_of_mass(image)) - centre(image.shape)
    return scipy.ndimage.shift(image, -away, order=order, mode="nearest")


@converter_function
def crop_or_pad(
    image: Image, scale: float, shape: check.PositiveVector, cval: check.Grey = 0.0
) -> Image:
    """Give an image a box of another size around the same centre.

    Parameters
    ----------
    shape : float or (float, float, float)
        Size of the box in nm, z, y, x; rounded to whole voxels.
    cval : float
        The value of voxels that the image does not reach.

    Returns
    -------
    ImageConverter
        Where the number of voxels turns from even to odd or back, the centre falls
        between voxels: there the image is first sampled half a voxel aside, in the
        cosine basis.

    Raises
    ------
    TypeError, ValueError
        If a size is not above 0.

    Examples
    --------
    >>> crop_or_pad((4.0, 2.0, 3.0))(np.ones((4, 4, 4)), 0.5).shape
    (8, 4, 6)
    """
    where = f"crop_or_pad at the scale {scale:.6g}: shape"
    sizes = check.box(where, [float(each) / scale for each in np.asarray(shape)])
    for axis, size in enumerate(sizes):
        if (image.shape[axis] - size) % 2:
            image = _between_voxels(image, axis)
        extra = (size - image.shape[axis]) // 2
        if extra < 0:
            inside: Any = [slice(None)] * 3
            inside[axis] = slice(-extra, extra)
            image = image[tuple(inside)]
        else:
            widths = [(0, 0)] * 3
            widths[axis] = (extra, extra)
            image = np.pad(image, widths, constant_values=cval)
    return image


def _between_voxels(image: Array, axis: int) -> Array:
    """Sample an image midway between its voxels along an axis; one fewer (1: 2)."""
    size = image.shape[axis]
    middles = np.arange(size - 1) + 0.5 if size > 1 else np.array([-0.5, 0.5])
    voxels = np.arange(size)
    matrix = cosine_waves(middles, size, size) @ cosine_waves(voxels, size, size).T
    return np.moveaxis(np.tensordot(matrix, image, axes=(1, axis)), 0, axis)


@converter_function
def normalize(image: Image, scale: float) -> Image:
    """Give an image a mean of 0 and a standard deviation of 1.

    Returns
    -------
    ImageConverter
        A constant image becomes 0.

    Examples
    --------
    >>> image = normalize()(np.arange(27).reshape(3, 3, 3))
    >>> abs(image.mean()) < 1e-6, abs(image.std() - 1) < 1e-6
    (np.True_, np.True_)
    """
    mean, deviation = image.mean(dtype=np.float64), image.std(dtype=np.float64)
    if deviation <= 1e-6 * abs(mean):
        return np.zeros_like(image)
    return (image - mean) / deviation  # in float64, as these two are


@derived_function
def invert() -> ImageConverter:
    """Invert the contrast: multiply by −1.

    Returns
    -------
    ImageConverter
        Bright protein becomes dark, and dark bright.

    Examples
    --------
    >>> invert()(np.ones((2, 2, 2))).max()
    np.float32(-1.0)
    """
    return -identity


@converter_function
def symmetrize(image: Image, scale: float, symmetry: check.Symmetry) -> Image:
    """Average an image over the rotations of a point group about its centre.

    Parameters
    ----------
    symmetry : str
        ``C1`` to ``C360`` and ``D1`` to ``D360`` with the main axis along z (and, for
        D, a twofold axis along x), ``T``, ``O`` or ``I``, by scipy's
        ``Rotation.create_group``.

    Returns
    -------
    ImageConverter
        Its images have the shape of their input, rotated by cubic splines.

    Raises
    ------
    TypeError, ValueError
        If there is no such group.

    Examples
    --------
    >>> image = np.zeros((3, 3, 3)); image[1, 1, 2] = 1
    >>> symmetrize("C4")(image)[1].round(2) + 0
    array([[0.  , 0.25, 0.  ],
           [0.25, 0.  , 0.25],
           [0.  , 0.25, 0.  ]], dtype=float32)
    """
    group = symmetry_group(symmetry)
    total = sum(rotate_image(image, each) for each in group)
    return np.asarray(total / len(group), dtype=np.float32)
