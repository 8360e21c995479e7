"""Grids, centres, rotations: where the voxels of a box are, and how they turn.

Vectors are in z, y, x order; a rotation acts on such vectors. The centre of a box of
n voxels is (n − 1) / 2, so that it stays put when the box is rescaled.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.base.arguments import non_negative, shape_of, vector
from funpipe.base.wording import fail
from funpipe.space.symmetry import one_listed, one_searched, symmetry_group

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = [
    "RotationGrid",
    "as_rotation",
    "centre",
    "offsets",
    "radius",
    "rotate_image",
    "rotation_count",
    "rotation_grid",
    "rotation_vector",
    "turned_grid",
    "whole_count",
    "whole_grid",
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


_MANY_TURNS = 1e9  # degrees: beyond, a float says little of an angle


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
    found = vector(name, value)
    if max(map(abs, found)) > _MANY_TURNS:
        fail(name, f"a rotation vector of {_MANY_TURNS:g} degrees at the most", value)
    return found


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


class RotationGrid(NamedTuple):
    """The rotations that a search tries."""

    rotations: Rotation
    """On zyx vectors."""
    spacing: float | None
    """How far neighbours are apart, degrees; None where that is not known."""
    limit: float | tuple[float, float, float] | None = None
    """How far they go, degrees: the largest angle of a ball, or the largest Euler
    angles about z, y and x of a product ``Rz Ry Rx``; None where there is no limit."""
    symmetry: str = "C1"
    """Of rotations that look the same by it, about one is there."""

    def up_to(self, symmetry: str) -> RotationGrid:
        """Return, of rotations that look the same, the nearest to the identity.

        Every rotation near one of the grid's has one that looks the same near one of
        those returned.
        """
        if symmetry == "C1":
            return self
        group = symmetry_group(symmetry)
        if not self.spacing:
            some = one_listed(self.rotations, group)
            return self._replace(rotations=some, symmetry=symmetry)
        some = one_searched(
            self.rotations,
            group,
            self.spacing,
            in_ball=not isinstance(self.limit, tuple),
        )
        return self._replace(rotations=some, symmetry=symmetry)


def rotation_grid(
    rotations: Any, symmetry: str = "C1", name: str = "rotations"
) -> RotationGrid:
    """Return the rotations that a search tries.

    Parameters
    ----------
    rotations : None, "all", (maximum, step), three such pairs, or Rotation
        None is the identity alone, "all" an even covering of all rotations. One
        pair of degrees is the ball of rotations by up to the maximum, evenly the
        step apart. Three pairs, about z, y and x, are the products
        ``Rz(a) Ry(b) Rx(c)`` with each angle from −maximum to maximum in multiples
        of its step; a maximum of 0 leaves that angle at 0.
    symmetry : str
        Of the template: of rotations that make it look the same, the one nearest to
        the identity is kept.
    name : str
        The argument's name, for the error.

    Returns
    -------
    RotationGrid
        The rotations and their spacing.

    Raises
    ------
    ValueError, TypeError
        If it is something else, or a step is 0 or above its maximum, so that nothing
        would be tried.

    Examples
    --------
    >>> grids = ((12, 4),) * 3, (12, 4), "all"
    >>> [len(rotation_grid(each).rotations) for each in grids]
    [343, 123, 8595]
    >>> len(rotation_grid("all", "O").rotations)
    369
    """
    return _grid_of(rotations, name).up_to(symmetry)


def rotation_count(rotations: Any, name: str = "rotations") -> float:
    """Return about how many rotations a search tries, symmetry apart; raise likewise.

    Examples
    --------
    >>> rotation_count(((180, 1),) * 3)
    47045881.0
    """
    from scipy.spatial.transform import Rotation

    if rotations is None:
        return 1.0
    if isinstance(rotations, Rotation):
        return 1.0 if rotations.single else float(len(rotations))
    if isinstance(rotations, str) and rotations == "all":
        return whole_count(_ALL_SPACING)
    pairs = _pairs(name, rotations)
    if len(pairs) == 3:
        return math.prod(2.0 * _steps(*pair) + 1 for pair in pairs)
    maximum, step = pairs[0]
    if not maximum:
        return 1.0
    radius = maximum / step
    return max(7.0, 4 / 3 * math.pi * radius * radius * radius)  # or infinity


def _grid_of(rotations: Any, name: str) -> RotationGrid:
    from scipy.spatial.transform import Rotation

    if rotations is None:
        return RotationGrid(Rotation.identity(1), None)
    if isinstance(rotations, Rotation):
        if rotations.single:
            rotations = Rotation.from_quat(rotations.as_quat()[None])
        if len(rotations) == 0:
            fail(name, "one rotation or more", rotations)
        return RotationGrid(rotations, None)
    if isinstance(rotations, str) and rotations == "all":
        return RotationGrid(_all_rotations(_ALL_SPACING), _ALL_SPACING)
    pairs = _pairs(name, rotations)
    if len(pairs) == 1:
        ((maximum, step),) = pairs
        spacing = step if maximum else None
        return RotationGrid(_ball_of_rotations(maximum, step), spacing, maximum)
    angles = np.meshgrid(*(_angles(*pair) for pair in pairs), indexing="ij")
    products = np.stack(angles, axis=-1).reshape(-1, 3)
    grid = Rotation.from_euler("XYZ", products, degrees=True)  # axes 0, 1, 2: z, y, x
    z, y, x = (maximum for maximum, _ in pairs)
    spacing = max((step for maximum, step in pairs if maximum), default=None)
    return RotationGrid(grid, spacing, (z, y, x))


def _pairs(name: str, value: Any) -> list[tuple[float, float]]:
    """Return one or three pairs (maximum, step) of degrees, no maximum above 180."""
    shape = shape_of(value)
    if isinstance(value, str | bytes) or shape not in ((2,), (3, 2)):
        wanted = "a scipy Rotation, or pairs (maximum, step) in degrees: one or three"
        fail(name, f"None, 'all', {wanted}", value)
    try:
        pairs = [
            (non_negative(name, maximum), non_negative(name, step))
            for maximum, step in ([value] if shape == (2,) else value)
        ]
    except (TypeError, ValueError):
        wanted = "a pair (maximum, step) in degrees, 0 or more, or three such pairs"
        fail(name, wanted, value)
    for maximum, step in pairs:
        if maximum and not _steps(maximum, step):
            raise ValueError(
                f"{name} must have a step above 0 and up to its maximum, in degrees, "
                f"not {step:g} for a maximum of {maximum:g}: nothing would be turned "
                f"({(0, 0)} leaves an angle alone)"
            )
    return [(min(maximum, 180.0), step) for maximum, step in pairs]


def _steps(maximum: float, step: float) -> float:
    """Return how many whole steps go into a maximum."""
    if not step:
        return 0.0
    return float(np.floor(min(maximum, 180.0) / step + 1e-6))


_ALL_SPACING = 12.0  # degrees
_COARSE_SPACING = 20.0


def coarse_grid(symmetry: str = "C1") -> RotationGrid:
    """Return few rotations that cover all, to start a refinement from."""
    return whole_grid(_COARSE_SPACING, symmetry)


def whole_grid(spacing: float, symmetry: str = "C1") -> RotationGrid:
    """Return rotations that cover all evenly, so many degrees apart."""
    return RotationGrid(_all_rotations(spacing), spacing).up_to(symmetry)


def whole_count(spacing: float) -> float:
    """Return how many rotations cover all, so many degrees apart.

    The volume of SO(3), measured in rotation vectors, is 8π² rad³.
    """
    return 8 * math.pi**2 / math.radians(spacing) ** 3


def _all_rotations(spacing: float) -> Rotation:
    """Return rotations that cover SO(3) evenly: super-Fibonacci spirals.

    The spirals are those of M. Alexa, CVPR 2022, 8291.
    """
    from scipy.spatial.transform import Rotation

    count = math.ceil(whole_count(spacing))
    s = np.arange(count) + 0.5
    inner, outer = np.sqrt(s / count), np.sqrt(1 - s / count)
    alpha = 2 * np.pi * s / math.sqrt(2)
    beta = 2 * np.pi * s / 1.533751168755204288118041
    return Rotation.from_quat(
        np.stack(
            [
                inner * np.sin(alpha),
                inner * np.cos(alpha),
                outer * np.sin(beta),
                outer * np.cos(beta),
            ],
            axis=-1,
        )
    )


def _ball_of_rotations(maximum: float, step: float) -> Rotation:
    """Return the rotation vectors of a cubic lattice inside a ball, in degrees."""
    from scipy.spatial.transform import Rotation

    axis = _angles(maximum, step)
    vectors = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    length = np.linalg.norm(vectors, axis=1)
    return Rotation.from_rotvec(vectors[length <= maximum + 1e-6], degrees=True)


def _angles(maximum: float, step: float) -> NDArray[np.float64]:
    count = int(_steps(maximum, step))
    return np.float64(step) * np.arange(-count, count + 1)
