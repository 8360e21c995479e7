"""Simulated particles and tomograms whose truth is known exactly.

A molecule is a sum of Gaussian blobs, so that its image at any pose and scale is a
formula and no interpolation; or it is a map, which is turned by splines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.base import arguments as check
from funpipe.base.molecules import Molecules
from funpipe.space.fourier import fourier_vectors, gaussian, half_ball, resample
from funpipe.space.geometry import centre, offsets, radius, turned_grid
from funpipe.space.tilts import as_tilt

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = [
    "Blobs",
    "Particles",
    "asymmetric_molecule",
    "blob_image",
    "blob_spectrum",
    "map_image",
    "particles",
    "perturbed",
    "pose_bound",
    "tomogram",
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
    return _one_spectrum(blobs, k, scale) * (waves @ blobs.weights)


def _one_spectrum(blobs: Blobs, k: NDArray[Any], scale: float) -> NDArray[np.float64]:
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
    return _image(_drawn("molecule", molecule, scale), shape, scale, rotation, shift)


def _drawn(name: str, molecule: Any, scale: float) -> Blobs | _Map:
    """Return a molecule in the form that its images are made from."""
    if isinstance(molecule, Blobs):
        return molecule
    image = check.image(name, molecule(scale) if callable(molecule) else molecule)
    reach = radius(image.shape, scale)[image != 0].max(initial=0) + scale
    fine = scipy.ndimage.spline_filter(resample(image, 2, 1), 3, output=np.float32)
    return _Map(fine, float(reach))


def _reach(molecule: Blobs | _Map) -> float:
    """Return how far a molecule goes from its centre, nm."""
    if isinstance(molecule, _Map):
        return molecule.reach
    return float(np.linalg.norm(molecule.centres, axis=1).max() + 4 * molecule.sigma)


def _image(
    molecule: Blobs | _Map,
    shape: tuple[int, int, int],
    scale: float,
    rotation: Rotation | None,
    shift: Any,
) -> NDArray[np.float32]:
    from scipy.spatial.transform import Rotation

    if isinstance(molecule, Blobs):
        return blob_image(molecule, shape, scale, rotation, shift)
    back = Rotation.identity() if rotation is None else rotation.inv()
    start = centre(molecule.splines.shape) - back.apply(np.asarray(shift) * 2 / scale)
    where = turned_grid(shape, back, 2) + start.reshape(3, 1, 1, 1)
    return np.asarray(
        scipy.ndimage.map_coordinates(molecule.splines, where, prefilter=False),
        np.float32,
    )


class Particles(NamedTuple):
    """Simulated subtomograms and their truth."""

    boxes: NDArray[np.float32]
    """(n, z, y, x)."""
    orientations: Rotation
    """n, from the particles' frames to the tomogram's."""
    rotations: Rotation
    """n, template to box."""
    shifts: NDArray[np.float64]
    """(n, 3), nm, z, y, x."""


def particles(
    molecule: Any,
    shape: tuple[int, int, int],
    scale: float,
    count: int,
    *,
    angle: float = 10.0,
    shift: float = 2.0,
    tilt: Any = (-60, 60),
    noise: float = 0.0,
    falling: float = 0.0,
    seed: int = 0,
) -> Particles:
    """Make subtomograms at random poses, with a missing wedge and noise.

    Parameters
    ----------
    molecule : Blobs, (z, y, x) array at this scale, or provider
        What is in them; a map is turned as in `map_image`.
    shape : (int, int, int)
        Voxels of a box along z, y, x.
    scale : float
        nm per voxel.
    count : int
        How many.
    angle : float
        Each is turned by up to so many degrees about a random axis; 180 makes all
        orientations equally likely.
    shift : float
        Each coordinate is moved by up to so many nm either way.
    tilt : None, (float, float), or tilt weights
        What the tilt series measures; see `align`. Particles lie in it at random.
    noise : float
        Standard deviation of the noise.
    falling : float
        The noise's amplitude falls with |k| to this power; 0 is white.
    seed : int
        Of the random numbers.
    """
    from scipy.spatial.transform import Rotation

    drawn = _drawn("molecule", molecule, scale)
    random = np.random.default_rng(seed)
    axes = random.normal(size=(count, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    angles = random.uniform(0, angle, (count, 1))
    rotations = Rotation.from_rotvec(axes * angles, degrees=True)
    if angle >= 180:
        rotations = Rotation.random(count, rng=random)
    shifts = random.uniform(-shift, shift, (count, 3))
    orientations = Rotation.random(count, rng=random)
    weights_of = as_tilt("tilt", tilt)
    k = fourier_vectors(shape, scale)
    length = np.sqrt((k**2).sum(axis=0))
    colour = np.maximum(length, length[length > 0].min()) ** -falling
    colour /= np.sqrt((colour**2).mean())
    boxes = np.empty((count, *shape), np.float32)
    for i in range(count):
        image = _image(drawn, shape, scale, rotations[i], shifts[i])
        turned = np.tensordot(orientations[i].as_matrix(), k, axes=1)
        grains = random.standard_normal(shape)
        waves = weights_of(turned) * scipy.fft.rfftn(image)
        waves += noise * colour * scipy.fft.rfftn(grains)
        boxes[i] = scipy.fft.irfftn(waves, s=shape)
    return Particles(boxes, orientations, rotations, shifts)


def pose_bound(
    blobs: Blobs,
    made: Particles,
    scale: float,
    *,
    resolution: float,
    noise: float,
    tilt: Any = (-60, 60),
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the Cramér–Rao bound of each particle's pose.

    For white noise of standard deviation σ in the voxels, so of variance s² = V σ² / 2
    in each real part of the Fourier transform of V voxels, no unbiased estimate has a
    smaller covariance than s² A⁻¹, with A = Re Σ conj(B_m) B_n over the measured
    frequencies and B the derivatives of the noise-free transform by rotation and
    shift (H. Cramér, Mathematical Methods of Statistics, 1946, ch. 32).

    Returns
    -------
    angles, shifts : (n,) arrays
        The roots of the bound on the expected squared angle in degrees, and on the
        expected squared distance in nm.
    """
    shape = made.boxes.shape[1:]
    k = half_ball(shape, resolution / scale) / (np.array(shape) * scale)
    weights_of = as_tilt("tilt", tilt)
    bounds = []
    for orientation, rotation in zip(made.orientations, made.rotations, strict=True):
        measured = weights_of(orientation.apply(k).T) > 0
        B = _pose_rates(blobs, k[measured], scale, rotation)
        A = (B.conj() @ B.T).real
        variance = np.prod(shape) * noise**2 / 2 * np.diag(np.linalg.inv(A))
        bounds.append((variance[:3].sum(), variance[3:].sum()))
    angles, shifts = np.sqrt(np.array(bounds)).T
    return np.degrees(angles), shifts


def _pose_rates(
    blobs: Blobs, k: NDArray[Any], scale: float, rotation: Rotation
) -> NDArray[np.complex128]:
    """Return a transform's derivatives by rotation and shift, (6, N).

    A small turn ω before the rotation R moves a blob at c by R (ω × c).
    """
    centres = rotation.apply(blobs.centres)
    moves = np.cross(rotation.as_matrix().T[:, None], centres)  # (3, g, 3)
    peaks = blobs.weights[:, None]
    waves = np.exp(-2j * np.pi * (k @ centres.T))
    turned = [((waves @ (peaks * each)) * k).sum(axis=1) for each in moves]
    moved = k.T * (waves @ blobs.weights)
    one = _one_spectrum(blobs, k, scale)
    return -2j * np.pi * one * np.concatenate([turned, moved])


def tomogram(
    molecule: Any,
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
    molecule : Blobs, (z, y, x) array at this scale, or provider
        The molecule; a map is turned as in `map_image`.
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

    Examples
    --------
    >>> import funpipe as fp
    >>> one = Molecules([[8.0, 8.0, 8.0]])
    >>> ball = fp.from_gaussian(8.0, 1.0)  # with any converters before it
    >>> tomogram(ball, one, (16, 16, 16), 1.0, noise=0.1).shape
    (16, 16, 16)
    """
    drawn = _drawn("molecule", molecule, scale)
    density = np.zeros(shape, np.float32)
    reach = int(np.ceil(_reach(drawn) / scale))
    for position, rotation in zip(
        molecules.positions, molecules.rotations, strict=True
    ):
        voxel = np.round(position / scale).astype(int)
        box = (2 * reach + 1,) * 3
        image = _image(drawn, box, scale, rotation, position - voxel * scale)
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
