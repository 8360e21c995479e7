"""Simulated particles and tomograms whose truth is known exactly.

A molecule is a sum of Gaussian blobs, so that its image at any pose and scale is a
formula and no interpolation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.fourier import as_tilt, fourier_vectors
from funpipe.geometry import offsets
from funpipe.molecules import Molecules

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = ["Blobs", "asymmetric_molecule", "blob_image", "perturbed", "tomogram"]


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


def tomogram(
    blobs: Blobs,
    molecules: Molecules,
    shape: tuple[int, int, int],
    scale: float,
    *,
    tilt: Any = (-60, 60),
    noise: float = 1.0,
    seed: int = 0,
) -> NDArray[np.float32]:
    """Make a tomogram of copies of a molecule.

    Parameters
    ----------
    blobs : Blobs
        The molecule.
    molecules : Molecules
        Where its copies are, nm, and how they are turned.
    shape : (int, int, int)
        Voxels along z, y, x.
    scale : float
        nm per voxel.
    tilt : None, (float, float), or tilt weights
        What the tilt series measures of the copies; see `align`.
    noise : float
        Standard deviation of the white noise.
    seed : int
        Of the random numbers.
    """
    density = np.zeros(shape, np.float32)
    reach = int(
        np.ceil((np.linalg.norm(blobs.centres, axis=1).max() + 4 * blobs.sigma) / scale)
    )
    for position, rotation in zip(
        molecules.positions, molecules.rotations, strict=True
    ):
        voxel = np.round(position / scale).astype(int)
        box = (2 * reach + 1,) * 3
        image = blob_image(blobs, box, scale, rotation, position - voxel * scale)
        low, high = np.maximum(voxel - reach, 0), np.minimum(voxel + reach + 1, shape)
        inside = tuple(map(slice, low - voxel + reach, high - voxel + reach))
        density[tuple(map(slice, low, high))] += image[inside]
    weight = as_tilt("tilt", tilt)(fourier_vectors(shape, scale))
    measured = scipy.fft.irfftn(scipy.fft.rfftn(density) * weight, s=shape)
    random = np.random.default_rng(seed)
    return (measured + noise * random.standard_normal(shape)).astype(np.float32)


def perturbed(
    molecules: Molecules, shift: float, angle: float, seed: int = 0
) -> Molecules:
    """Return molecules moved and turned at random.

    Parameters
    ----------
    molecules : Molecules
        The truth.
    shift : float
        Each coordinate moves by up to so many nm either way.
    angle : float
        Each is turned by up to so many degrees about a random axis.
    seed : int
        Of the random numbers.
    """
    from scipy.spatial.transform import Rotation

    random = np.random.default_rng(seed)
    axes = random.normal(size=(len(molecules), 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    angles = random.uniform(0, angle, (len(molecules), 1))
    turned = molecules.rotations * Rotation.from_rotvec(axes * angles, degrees=True)
    moved = molecules.positions + random.uniform(-shift, shift, (len(molecules), 3))
    return Molecules(moved, turned, molecules.features)
