"""Grids, centres, rotations: where the voxels of a box are, and how they turn.

Vectors are in z, y, x order; a rotation acts on such vectors. The centre of a box of
n voxels is (n − 1) / 2, so that it stays put when the box is rescaled.
"""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.arguments import fail, non_negative, vector

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = [
    "as_rotation",
    "centre",
    "offsets",
    "radius",
    "rotate_image",
    "rotation_grid",
    "rotation_vector",
    "symmetry_group",
    "turned_grid",
]

Shape: TypeAlias = tuple[int, ...]
Array: TypeAlias = NDArray[Any]


def centre(shape: Shape) -> NDArray[np.float64]:
    """Return the geometric centre of a box in voxels, (n − 1) / 2 along each axis.

    Examples
    --------
    >>> centre((4, 5, 6))
    array([1.5, 2. , 2.5])
    """
    return (np.asarray(shape) - 1) / 2


def offsets(shape: Shape, scale: float = 1.0) -> list[NDArray[np.float64]]:
    """Return the voxels' offsets from the centre as three broadcasting arrays."""
    axes = [(np.arange(n) - (n - 1) / 2) * scale for n in shape]
    return list(np.meshgrid(*axes, indexing="ij", sparse=True))


def radius(shape: Shape, scale: float = 1.0) -> NDArray[np.float64]:
    """Return each voxel's distance from the centre of the box."""
    z, y, x = offsets(shape, scale)
    return np.sqrt(z**2 + y**2 + x**2)


def turned_grid(
    shape: Shape, rotation: Rotation, spacing: float = 1.0
) -> NDArray[np.float64]:
    """Return ``R @ (q − c) · spacing`` for all voxels q, shape (3, z, y, x)."""
    grid = np.stack(np.broadcast_arrays(*offsets(shape, spacing)))
    return np.tensordot(rotation.as_matrix(), grid, axes=1)


def rotation_vector(name: str, value: Any) -> tuple[float, float, float]:
    """Check a rotation; return its vector (z, y, x) in degrees.

    Its direction is the axis and its length the angle. A scipy ``Rotation`` or
    such a vector will do.
    """
    if hasattr(value, "as_rotvec"):
        if not value.single:
            fail(name, "a single rotation", value)
        z, y, x = value.as_rotvec(degrees=True)
        return (float(z), float(y), float(x))
    if isinstance(value, numbers.Real) or getattr(value, "ndim", 1) == 0:
        fail(name, "a scipy Rotation, or its vector (z, y, x) in degrees", value)
    return vector(name, value)


def as_rotation(vector: Sequence[float]) -> Rotation:
    """Return the rotation whose vector, z, y, x, is given in degrees."""
    return scipy.spatial.transform.Rotation.from_rotvec(vector, degrees=True)


def rotate_image(image: Array, rotation: Rotation, order: int = 3) -> Array:
    """Rotate an image about its centre by spline interpolation.

    Voxel ``R @ (q − c) + c`` of the result holds voxel q of the image; what lies
    outside the box is 0.
    """
    where = turned_grid(image.shape, rotation.inv())
    where += centre(image.shape).reshape(3, 1, 1, 1)
    return scipy.ndimage.map_coordinates(
        np.asarray(image, np.float32), where, order=order, mode="grid-constant"
    )


def rotation_grid(rotations: Any, name: str = "rotations") -> Rotation:
    """Return the rotations that a search tries, as one ``Rotation`` of some length.

    Parameters
    ----------
    rotations : None, Rotation, or three pairs (maximum, step)
        None is the identity alone. Three pairs of degrees, about z, y and x, are
        the products ``Rz(a) Ry(b) Rx(c)`` with each angle from −maximum to maximum
        in multiples of its step; a step of 0 leaves that angle at 0.
    name : str
        The argument's name, for the error.

    Returns
    -------
    Rotation
        The rotations, on zyx vectors.

    Raises
    ------
    ValueError, TypeError
        If it is something else.

    Examples
    --------
    >>> len(rotation_grid(((12, 4),) * 3))
    343
    """
    from scipy.spatial.transform import Rotation

    if rotations is None:
        return Rotation.identity(1)
    if isinstance(rotations, Rotation):
        if rotations.single:
            return Rotation.from_quat(rotations.as_quat()[None])
        if len(rotations) == 0:
            fail(name, "one rotation or more", rotations)
        return rotations
    wanted = "None, a scipy Rotation, or three pairs (maximum, step) in degrees"
    try:
        pairs = [(maximum, step) for maximum, step in rotations]
    except (TypeError, ValueError):
        fail(name, wanted, rotations)
    if len(pairs) != 3:
        fail(name, wanted, rotations)
    angles = list(itertools.product(*(_angles(name, *pair) for pair in pairs)))
    return Rotation.from_euler("XYZ", angles, degrees=True)  # axes 0, 1, 2: z, y, x


def _angles(name: str, maximum: Any, step: Any) -> NDArray[np.float64]:
    maximum, step = non_negative(name, maximum), non_negative(name, step)
    count = math.floor(maximum / step + 1e-6) if step else 0
    return step * np.arange(-count, count + 1)


def symmetry_group(symmetry: str) -> Rotation:
    """Return the rotations of a point group about z, acting on zyx vectors.

    The groups are scipy's ``Rotation.create_group``, whose vectors are x, y, z:
    turning both the rows and the columns of its matrices round gives z, y, x.

    Examples
    --------
    >>> [len(symmetry_group(name)) for name in ("C1", "C7", "D7", "T", "O", "I")]
    [1, 7, 14, 12, 24, 60]
    """
    from scipy.spatial.transform import Rotation

    group = Rotation.create_group(symmetry, axis="Z")
    return Rotation.from_matrix(group.as_matrix()[:, ::-1, ::-1])
