"""Image providers: functions of the scale that give an image.

Every image is float32, axes z, y, x, sampled at the scale (nm per voxel) that the
provider is called with, around the centre of its box.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.algebra.stage_functions import provider_function
from funpipe.base import arguments as check
from funpipe.base.arguments import (
    ArrayLike,
    Image,
    NonNegative,
    OptionalPositive,
    Path,
    Positive,
)
from funpipe.base.wording import fail
from funpipe.io.structures import read_structure
from funpipe.io.volumes import read_volume
from funpipe.space.fourier import cosine_waves, gaussian, resample
from funpipe.space.geometry import offsets

__all__ = [
    "from_array",
    "from_arrays",
    "from_atoms",
    "from_file",
    "from_files",
    "from_gaussian",
    "from_structure",
]

Points: TypeAlias = NDArray[np.float64]


@provider_function
def from_file(
    at: float, path: Path, scale: OptionalPositive = None, tol: NonNegative = 1e-5
) -> Image:
    """Provide the image in a file, rescaled.

    Parameters
    ----------
    path : path-like
        ``.mrc .map .rec .ccp4 .st``, each also with ``.gz`` or ``.bz2``, or what
        else `funpipe.io.volumes.open_volume` opens. Axes are brought into z, y, x
        order. It is read when the provider is called; of an OME-Zarr image the
        coarsest level that is no coarser than the scale asked for.
    scale : float, optional
        The file's scale in nm per voxel; by default, what its header says.
    tol : float
        Scales that differ by this fraction at the most count as the same.

    Returns
    -------
    ImageProvider
        Its images are (z, y, x) float32, resampled as `funpipe.space.fourier.resample`
        says: same centre, exact scale, mean density kept, nothing aliased.

    Raises
    ------
    FileNotFoundError, PermissionError
        When called, if the file is not there or may not be read.
    ValueError
        When called, if it is damaged, not a 3-D volume, or its header gives no
        voxel size or an anisotropic one and ``scale`` is not given.

    Examples
    --------
    >>> from_file("ribosome.mrc", scale=0.27)
    from_file('ribosome.mrc', 0.27)
    """
    volume = read_volume(path, at=at if scale is None else None)
    return _rescaled(volume.array, volume.scale_or(scale, str(path)), at, tol)


@provider_function
def from_files(
    at: float,
    path: Annotated[Any, check.paths],
    scale: OptionalPositive = None,
    tol: NonNegative = 1e-5,
) -> list[Image]:
    """Provide the images in several files, each rescaled: a list of images.

    Parameters
    ----------
    path : iterable of path-like
        The files; see `from_file`.
    scale : float, optional
        The scale of all of them in nm per voxel; by default, what each header says.
    tol : float
        Scales that differ by this fraction at the most count as the same.

    Returns
    -------
    ImageProvider
        It gives a list of (z, y, x) float32 images. Converters composed with it
        apply to each.

    Raises
    ------
    FileNotFoundError, PermissionError, ValueError
        As `from_file`.

    Examples
    --------
    >>> from_files(["open.mrc", "closed.mrc"])
    from_files(('open.mrc', 'closed.mrc'))
    """
    return [from_file(each, scale, tol)(at) for each in path]


@provider_function
def from_array(
    at: float,
    img: Annotated[ArrayLike, check.image],
    scale: Positive = 1.0,
    tol: NonNegative = 1e-5,
) -> Image:
    """Provide an array, rescaled.

    Parameters
    ----------
    img : (z, y, x) array
        The image; a float32 copy is kept.
    scale : float
        Its scale in nm per voxel.
    tol : float
        Scales that differ by this fraction at the most count as the same.

    Returns
    -------
    ImageProvider
        Its images are (z, y, x) float32, resampled as in `from_file`.

    Raises
    ------
    TypeError, ValueError
        If it is not a 3-D array of finite real numbers.

    Examples
    --------
    >>> arr = np.zeros((10, 10, 10))
    >>> from_array(arr, scale=0.18)(0.36).shape
    (5, 5, 5)
    """
    return _rescaled(np.asarray(img), scale, at, tol)


@provider_function
def from_arrays(
    at: float,
    imgs: Annotated[Any, check.images],
    scale: Positive = 1.0,
    tol: NonNegative = 1e-5,
) -> list[Image]:
    """Provide several arrays, each rescaled: a list of images.

    Parameters
    ----------
    imgs : iterable of (z, y, x) arrays
        The images; float32 copies are kept.
    scale : float
        Their scale in nm per voxel.
    tol : float
        Scales that differ by this fraction at the most count as the same.

    Returns
    -------
    ImageProvider
        It gives a list of (z, y, x) float32 images. Converters composed with it
        apply to each.

    Raises
    ------
    TypeError, ValueError
        As `from_array`.

    Examples
    --------
    >>> both = from_arrays([np.zeros((4, 4, 4)), np.ones((6, 6, 6))], scale=0.5)
    >>> [image.shape for image in both(1.0)]
    [(2, 2, 2), (3, 3, 3)]
    """
    return [_rescaled(each, scale, at, tol) for each in imgs]


@provider_function
def from_gaussian(
    at: float,
    shape: check.PositiveVector,
    sigma: check.PositiveVector = 1.0,
    shift: check.Vector = (0.0, 0.0, 0.0),
) -> Image:
    """Provide a Gaussian blob, exp(−½ Σ ((x − shift) / σ)²), x from the box's centre.

    Parameters
    ----------
    shape : float or (float, float, float)
        Size of the box in nm, z, y, x; rounded to whole voxels.
    sigma : float or (float, float, float)
        Standard deviation in nm, z, y, x.
    shift : (float, float, float)
        Where the peak lies from the centre of the box, in nm, z, y, x.

    Returns
    -------
    ImageProvider
        Its images are (z, y, x) float32 with a peak of 1.

    Raises
    ------
    TypeError, ValueError
        If a size is not positive, or a shift not a finite number.

    Examples
    --------
    >>> image = from_gaussian((5.0, 5.0, 5.0), sigma=1.0, shift=(1.0, 0.0, 0.0))(1.0)
    >>> image.shape, image[3, 2, 2], round(float(image[2, 2, 2]), 4)
    ((5, 5, 5), np.float32(1.0), 0.6065)
    """
    where = f"from_gaussian at the scale {at:.6g}: shape"
    box = check.box(where, [float(each) / at for each in np.asarray(shape)])
    deviations = (
        (axis - peak) / width
        for axis, peak, width in zip(
            offsets(box, at), np.asarray(shift), np.asarray(sigma), strict=True
        )
    )
    z, y, x = deviations
    return np.exp(-(z**2 + y**2 + x**2) / 2).astype(np.float32)


def _atoms(name: str, value: Any) -> Points:
    positions = check.points(name, value)
    if not len(positions):
        fail(name, "the positions of one atom or more", value)
    return positions


@provider_function
def from_atoms(
    at: float,
    atoms: Annotated[ArrayLike, _atoms],
    weights: Annotated[ArrayLike | None, check.optional_weights] = None,
    center: check.OptionalVector = None,
    sigma: OptionalPositive = None,
) -> Image:
    """Provide the density of atoms, in weight per nm³.

    The sum over the voxels times the voxel's volume is the sum of the weights, at
    every scale.

    Parameters
    ----------
    atoms : (n, 3) array
        Positions in nm, columns z, y, x.
    weights : (n,) array, optional
        Weights of the atoms; 1 by default.
    center : (float, float, float), optional
        The point in nm, z, y, x, that lies at the centre of the box; by default
        the atoms' mean position.
    sigma : float, optional
        Each atom is a Gaussian of this standard deviation in nm, band-limited to
        the sampling; by default each falls whole into the voxel it lies in.

    Returns
    -------
    ImageProvider
        Its images are cubes of float32, big enough to hold the atoms in every
        orientation about the centre, 4 sigma more with ``sigma``.

    Raises
    ------
    TypeError, ValueError
        If the atoms are not an (n, 3) array of finite numbers, or the weights not
        n of them.

    Examples
    --------
    >>> pair = from_atoms([[0.0, 0.0, -1.0], [0.0, 0.0, 1.0]], [2.0, 1.0])
    >>> pair(0.5).sum() * 0.5**3, pair(1.0).sum()
    (np.float32(3.0), np.float32(3.0))
    """
    positions = np.asarray(atoms)
    weight = np.ones(len(positions)) if weights is None else np.asarray(weights)
    if len(weight) != len(positions):
        raise ValueError(
            f"from_atoms: weights must be {len(positions)} numbers, one for each "
            f"atom, not {len(weight)}"
        )
    return _density(positions, weight, center, sigma, at)


@provider_function
def from_structure(
    at: float,
    path: Path,
    resolution: Positive = 1.0,
    center: check.OptionalVector = None,
) -> Image:
    """Provide the density of an atomic structure, at a resolution.

    Each atom is a Gaussian weighted by its atomic number and occupancy, with
    σ = resolution / (π√2), the convention of Chimera's ``molmap``, for which the
    Fourier transform falls to 1/e at the frequency 1 / resolution.

    Parameters
    ----------
    path : path-like
        ``.pdb .ent .cif .mmcif``, each also with ``.gz`` (extra ``structures``). It
        is read when the provider is called: its first model, without waters.
    resolution : float
        In nm.
    center : (float, float, float), optional
        The point in nm, z, y, x, that lies at the centre of the box; by default
        the centre of mass of the atoms. (0, 0, 0) keeps the file's own origin.

    Returns
    -------
    ImageProvider
        Its images are cubes of float32, in electrons per nm³.

    Raises
    ------
    FileNotFoundError, PermissionError
        When called, if the file is not there or may not be read.
    ValueError
        When called, if it is not a structure, or holds no atoms.

    Examples
    --------
    >>> from_structure("ribosome.cif", resolution=2.0)
    from_structure('ribosome.cif', 2.0)
    """
    atoms = read_structure(path)
    middle = np.average(atoms.positions, axis=0, weights=atoms.weights)
    sigma = resolution / (math.pi * math.sqrt(2))
    return _density(
        atoms.positions,
        atoms.weights,
        middle if center is None else center,
        sigma,
        at,
    )


def _rescaled(image: Image, own: float, wanted: float, tolerance: float) -> Image:
    if abs(wanted / own - 1) <= tolerance:
        return image
    ratio = own / wanted
    check.box(
        f"scale {own:.6g} of an image that is wanted at {wanted:.6g} nm per voxel",
        [size * ratio for size in image.shape],
    )
    return resample(image, own, wanted)


def _density(
    positions: Points,
    weights: NDArray[Any],
    center: ArrayLike | None,
    sigma: float | None,
    scale: float,
) -> Image:
    if center is None:
        center = positions.mean(axis=0)
    offset = positions - np.asarray(center)
    with np.errstate(over="ignore"):  # said below
        reach = float(np.sqrt((offset**2).sum(axis=1)).max())
    width = 2 * (reach + 4 * (sigma or 0)) / scale
    check.box(
        f"atoms, center, sigma or resolution at the scale {scale:.6g}", [width] * 3
    )
    size = max(1, math.ceil(width + 1e-6))
    voxels = offset / scale + (size - 1) / 2
    if sigma is None:
        edges = [np.arange(size + 1) - 0.5] * 3
        counts, _ = np.histogramdd(voxels, bins=edges, weights=weights)
        return (counts / scale**3).astype(np.float32)
    return _gaussian_sum(voxels, weights, sigma / scale, size) / np.float32(scale**3)


def _gaussian_sum(where: Points, weights: Any, sigma: float, size: int) -> Image:
    """Sum Gaussians of unit integral, band-limited, in the cosine basis.

    Their coefficients are Σ w cos(…z) cos(…y) cos(…x), times the transfer of the
    Gaussian; all lengths in voxels. Waves with a transfer below 1e-6 are left out.
    """
    frequency = np.arange(size) / (2 * size)
    transfer = gaussian(frequency, sigma)
    count = int((transfer > 1e-6).sum())
    total = np.zeros((count, count * count), np.float32)
    for part in np.array_split(np.arange(len(where)), 1 + len(where) // 512):
        z, y, x = (
            (cosine_waves(axis[part], size, count) * transfer[:count]).astype(
                np.float32
            )
            for axis in where.T
        )
        z *= weights[part, None]
        total += z.T @ (y[:, :, None] * x[:, None, :]).reshape(len(part), -1)
    waves = np.zeros((size, size, size), np.float32)
    waves[:count, :count, :count] = total.reshape(count, count, count)
    return scipy.fft.idctn(waves, norm="ortho")
