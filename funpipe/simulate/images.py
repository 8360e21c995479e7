"""Molecules and their images.

A molecule is a sum of Gaussian blobs, so that its image at any pose and scale is a
formula and no interpolation; or it is a map, which is turned by splines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.base import arguments as check
from funpipe.space.fourier import gaussian, resample
from funpipe.space.geometry import centre, offsets, radius, turned_grid

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = [
    "Ball",
    "Blobs",
    "Body",
    "asymmetric_molecule",
    "blob_image",
    "blob_spectrum",
    "drawn",
    "image_of",
    "map_image",
    "one_blob",
    "reach_of",
]


class Blobs(NamedTuple):
    """A molecule made of Gaussians."""

    centres: NDArray[np.float64]
    """(g, 3), nm from the molecule's centre, z, y, x."""
    sigma: float
    """Standard deviation of each, nm."""
    weights: NDArray[np.float64]
    """(g,), their peaks."""


def asymmetric_molecule(
    seed: int = 0, *, count: int = 24, radius: float = 6.0, sigma: float = 1.0
) -> Blobs:
    """Make a molecule without symmetry.

    Parameters
    ----------
    seed : int
        Of the random numbers.
    count : int
        Number of blobs.
    radius : float
        Of the ball that their centres lie in, nm.
    sigma : float
        Standard deviation of each, nm.
    """
    random = np.random.default_rng(seed)
    directions = random.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    centres = radius * random.uniform(size=(count, 1)) ** (1 / 3) * directions
    weights = random.uniform(0.5, 1.0, count)
    centres -= np.average(centres, axis=0, weights=weights)
    return Blobs(centres, sigma, weights)


def blob_image(
    blobs: Blobs,
    shape: tuple[int, int, int],
    scale: float,
    rotation: Rotation | None = None,
    shift: Any = (0.0, 0.0, 0.0),
) -> NDArray[np.float32]:
    """Return a molecule's image at a pose, exactly.

    Parameters
    ----------
    blobs : Blobs
        The molecule.
    shape : (int, int, int)
        Voxels of the box along z, y, x.
    scale : float
        nm per voxel.
    rotation : Rotation, optional
        Turns the molecule about the centre of the box.
    shift : (float, float, float)
        Moves it after that, nm, z, y, x.

    Examples
    --------
    >>> blob_image(asymmetric_molecule(), (8, 8, 8), 2.0).shape
    (8, 8, 8)
    """
    turned = blobs.centres if rotation is None else rotation.apply(blobs.centres)
    z, y, x = (
        np.exp(-(((axis.reshape(-1, 1) - middle) / blobs.sigma) ** 2) / 2)
        for axis, middle in zip(
            offsets(shape, scale), (turned + np.asarray(shift)).T, strict=True
        )
    )
    return np.einsum("ag,bg,cg->abc", z * blobs.weights, y, x, optimize=True).astype(
        np.float32
    )


def blob_spectrum(
    blobs: Blobs, k: NDArray[Any], scale: float, rotation: Rotation | None = None
) -> NDArray[np.complex128]:
    """Return a molecule's Fourier transform, Σ image(q) exp(−2πi k·(q − c)).

    Parameters
    ----------
    blobs : Blobs
        The molecule.
    k : (N, 3) array
        Frequencies in 1/nm, z, y, x.
    scale : float
        nm per voxel of the image.
    rotation : Rotation, optional
        Turns the molecule.
    """
    centres = blobs.centres if rotation is None else rotation.apply(blobs.centres)
    waves = np.exp(-2j * np.pi * (k @ centres.T))
    return one_blob(blobs, k, scale) * (waves @ blobs.weights)


def one_blob(blobs: Blobs, k: NDArray[Any], scale: float) -> NDArray[np.float64]:
    """Return the transform of one blob of peak 1 at the centre."""
    volume = (2 * np.pi * (blobs.sigma / scale) ** 2) ** 1.5
    return volume * gaussian(np.sqrt((k**2).sum(axis=1)), blobs.sigma)


class _Map(NamedTuple):
    """A molecule made of voxels, ready to be turned."""

    splines: NDArray[np.float32]
    """Coefficients of cubic splines, on a grid of half the spacing."""
    reach: float
    """How far its voxels that are not 0 are from the centre, nm."""


def map_image(
    molecule: Any,
    shape: tuple[int, int, int],
    scale: float,
    rotation: Rotation | None = None,
    shift: Any = (0.0, 0.0, 0.0),
) -> NDArray[np.float32]:
    """Return a map's image at a pose.

    The map is sampled twice as finely, exactly, and cubic splines go through that: at
    half of Nyquist's frequency they keep a wave to 1 in 1,000.

    Parameters
    ----------
    molecule : (z, y, x) array, or provider
        The map, its array at the scale; it turns about the centre of its box, and
        outside its box is nothing.
    shape : (int, int, int)
        Voxels of the image along z, y, x.
    scale : float
        nm per voxel, of both.
    rotation : Rotation, optional
        Turns the map about the centre of the box.
    shift : (float, float, float)
        Moves it after that, nm, z, y, x.

    Raises
    ------
    TypeError, ValueError
        If it is neither a 3-D array of finite numbers nor a provider of one.

    Examples
    --------
    >>> import funpipe as fp
    >>> map_image(fp.from_gaussian(8.0, 1.0), (12, 12, 12), 0.5).shape
    (12, 12, 12)
    """
    return image_of(drawn("molecule", molecule, scale), shape, scale, rotation, shift)


def drawn(name: str, molecule: Any, scale: float) -> Blobs | _Map:
    """Return a molecule in the form that its images are made from."""
    if isinstance(molecule, Blobs):
        return molecule
    image = check.image(name, molecule(scale) if callable(molecule) else molecule)
    reach = radius(image.shape, scale)[image != 0].max(initial=0) + scale
    fine = scipy.ndimage.spline_filter(resample(image, 2, 1), 3, output=np.float32)
    return _Map(fine, float(reach))


class Ball(NamedTuple):
    """A ball of even density, such as a bead of gold."""

    radius: float
    """nm."""
    density: float


Body: TypeAlias = Blobs | _Map | Ball


def reach_of(body: Body) -> float:
    """Return how far a body goes from its centre, nm."""
    if isinstance(body, Blobs):
        return float(np.linalg.norm(body.centres, axis=1).max() + 4 * body.sigma)
    return body.reach if isinstance(body, _Map) else body.radius


def image_of(
    body: Body,
    shape: tuple[int, int, int],
    scale: float,
    rotation: Rotation | None,
    shift: Any,
) -> NDArray[np.float32]:
    """Return a body's image at a pose, see `blob_image`."""
    from scipy.spatial.transform import Rotation

    if isinstance(body, Blobs):
        return blob_image(body, shape, scale, rotation, shift)
    if isinstance(body, Ball):
        moved = zip(offsets(shape, scale), np.asarray(shift), strict=True)
        z, y, x = (np.square(axis - middle) for axis, middle in moved)
        depth = (body.radius - np.sqrt(z + y + x)) / scale
        return (body.density * np.clip(depth + 0.5, 0, 1)).astype(np.float32)
    back = Rotation.identity() if rotation is None else rotation.inv()
    start = centre(body.splines.shape) - back.apply(np.asarray(shift) * 2 / scale)
    where = turned_grid(shape, back, 2) + start.reshape(3, 1, 1, 1)
    return np.asarray(
        scipy.ndimage.map_coordinates(body.splines, where, prefilter=False),
        np.float32,
    )
