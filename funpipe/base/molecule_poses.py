"""Where molecules are and how they are turned: moved, turned, from angles and axes.

These are methods of `Molecules`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.base import arguments as check
from funpipe.base.arguments import ArrayLike
from funpipe.base.euler import CONVENTIONS, Euler
from funpipe.base.features import NO_FEATURES, Features
from funpipe.base.wording import fail

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

    from funpipe.base.molecules import Molecules

__all__ = ["euler", "from_axes", "from_euler", "rotate", "rotations_of", "translate"]

Frame: TypeAlias = Literal["tomogram", "particle"]
Convention: TypeAlias = Literal["relion", "dynamo", "stopgap"] | Euler
_Array: TypeAlias = NDArray[np.float64]
_CROSS = {"z": ("y", "x"), "y": ("x", "z"), "x": ("z", "y")}
_PARALLEL = 1e-6  # sine of the angle between axes that say no rotation


def translate(
    molecules: Molecules, shift: ArrayLike, *, frame: Frame = "tomogram"
) -> Molecules:
    """Return the particles moved; they stay turned as they are.

    Parameters
    ----------
    shift : (3,) or (n, 3) array
        In nm, z, y, x: one for all particles, or one for each.
    frame : "tomogram" or "particle"
        Whose axes the shift is along: the tomogram's, or each particle's own.

    Raises
    ------
    TypeError, ValueError
        If the shift has another shape or is not finite, or there is no such frame.

    Examples
    --------
    >>> from scipy.spatial.transform import Rotation
    >>> from funpipe import Molecules
    >>> turned = Molecules([[1.0, 2.0, 3.0]], Rotation.from_rotvec([[0, 0, np.pi]]))
    >>> turned.translate([0, 1, 0]).positions
    array([[1., 3., 3.]])
    >>> turned.translate([0, 1, 0], frame="particle").positions
    array([[1., 1., 3.]])
    """
    moves = _vectors("shift", shift, len(molecules))
    if _is_own(frame):
        moves = np.einsum("nij,nj->ni", _matrices(molecules.rotations), moves)
    with np.errstate(over="ignore"):  # said below
        moved = molecules.positions + moves
    if not np.isfinite(moved).all():
        fail("shift", "so short that positions stay finite", shift)
    return replace(molecules, positions=moved)


def rotate(
    molecules: Molecules, rotation: Rotation, *, frame: Frame = "tomogram"
) -> Molecules:
    """Return the particles turned, each about its own position, where it stays.

    Parameters
    ----------
    rotation : scipy.spatial.transform.Rotation
        Acts on zyx vectors: one for all particles, or n.
    frame : "tomogram" or "particle"
        Whose axes it turns about: ``rotation * rotations`` about the tomogram's, as
        acryo's ``rotate_by``, or ``rotations * rotation`` about each particle's own,
        as if the template had been turned before.

    Raises
    ------
    TypeError, ValueError
        If it is no rotation, not as many, not finite, or there is no such frame.

    Examples
    --------
    >>> from scipy.spatial.transform import Rotation
    >>> from funpipe import Molecules
    >>> about_z = Rotation.from_rotvec([90, 0, 0], degrees=True)
    >>> about_y = Rotation.from_rotvec([0, 90, 0], degrees=True)
    >>> particle = Molecules([[1.0, 2.0, 3.0]], about_z)
    >>> particle.rotate(about_y).rotations.apply([1, 0, 0]).round(6) + 0.0
    array([[ 0.,  0., -1.]])
    >>> own = particle.rotate(about_y, frame="particle")
    >>> own.rotations.apply([1, 0, 0]).round(6) + 0.0
    array([[0., 1., 0.]])
    """
    turns = rotations_of("rotation", rotation, len(molecules), one=True)
    own = _is_own(frame)
    if len(molecules) == 0:
        return molecules
    rotations = molecules.rotations
    turned = rotations * turns if own else turns * rotations
    return replace(molecules, rotations=turned)


def from_euler(
    cls: type[Molecules],
    positions: ArrayLike,
    angles: ArrayLike,
    convention: Convention,
    *,
    features: Features = NO_FEATURES,
) -> Molecules:
    """Return particles that Euler angles turn.

    Parameters
    ----------
    positions : (n, 3) array
        In nm, z, y, x.
    angles : (3,) or (n, 3) array
        In degrees, in the convention's order.
    convention : "relion", "dynamo", "stopgap" or Euler
        The program whose angles they are: RELION's rot, tilt, psi (Warp's and M's
        too), Dynamo's tdrot, tilt, narot, STOPGAP's phi, theta, psi (also of EM
        motive lists). Any other is a `funpipe.base.euler.Euler` with scipy's letters
        for the axes, and which way they turn: what acryo's ``from_euler`` calls
        "ZXZ" is ``Euler("ZXZ", inverse=True)``.
    features : mapping or data frame, optional
        As `Molecules` takes them.

    Raises
    ------
    TypeError, ValueError
        If shapes do not go together, a number is not finite, or there is no such
        convention.

    Examples
    --------
    >>> from funpipe import Molecules
    >>> turned = Molecules.from_euler([[1.0, 2.0, 3.0]], [30, 40, 50], "relion")
    >>> turned.euler("dynamo").round(6)
    array([[-40.,  40., 120.]])
    """
    known = _convention(convention)
    places = check.points("positions", positions)
    degrees = _vectors("angles", angles, len(places))
    rotations = known.rotations(degrees) if len(places) else None
    return cls(places, rotations, features)


def euler(molecules: Molecules, convention: Convention) -> NDArray[np.float64]:
    """Return how the particles are turned as Euler angles.

    Parameters
    ----------
    convention : "relion", "dynamo", "stopgap" or Euler
        The program for which they are; see `from_euler`.

    Returns
    -------
    (n, 3) array
        In degrees; where many angles say the same (gimbal lock) the last one is 0.

    Raises
    ------
    TypeError, ValueError
        If there is no such convention.

    Examples
    --------
    >>> from funpipe import Molecules
    >>> Molecules([[1.0, 2.0, 3.0]]).euler("relion") + 0.0
    array([[0., 0., 0.]])
    """
    return _convention(convention).angles(molecules.rotations)


def from_axes(
    cls: type[Molecules],
    positions: ArrayLike,
    *,
    z: ArrayLike | None = None,
    y: ArrayLike | None = None,
    x: ArrayLike | None = None,
    features: Features = NO_FEATURES,
) -> Molecules:
    """Return particles of which two axes are known.

    Parameters
    ----------
    positions : (n, 3) array
        In nm, z, y, x.
    z, y, x : (3,) or (n, 3) arrays
        Two of them: where the template's axes point in the tomogram, as vectors
        z, y, x of any length. Where they are not at a right angle, y is kept, or z if
        there is no y, as in acryo; the other is turned to it in their plane.
    features : mapping or data frame, optional
        As `Molecules` takes them.

    Raises
    ------
    TypeError, ValueError
        If shapes do not go together, not two axes are given, a number is not finite,
        or the axes of a particle are parallel or of no length.

    Examples
    --------
    >>> from funpipe import Molecules
    >>> turned = Molecules.from_axes([[1.0, 2.0, 3.0]], z=[0, 2, 1], y=[0, 0, 3])
    >>> turned.rotations.as_matrix().round(6) + 0.0
    array([[[0., 0., 1.],
            [1., 0., 0.],
            [0., 1., 0.]]])
    """
    given = {
        name: axis for name, axis in (("y", y), ("z", z), ("x", x)) if axis is not None
    }
    if len(given) != 2:
        raise TypeError(f"two of z, y and x must be given, not {len(given)}")
    places = check.points("positions", positions)
    (first, second), (kept, other) = given, given.values()
    one = _unit(first, _vectors(first, kept, len(places)))
    two = _unit(second, _vectors(second, other, len(places)))
    rest = two - (one * two).sum(axis=1, keepdims=True) * one
    size = np.linalg.norm(rest, axis=1)
    if (size < _PARALLEL).any():
        i = int(np.flatnonzero(size < _PARALLEL)[0])
        raise ValueError(
            f"{first} and {second} must not be parallel, as those of particle {i} are: "
            f"{one[i]} and {two[i]}"
        )
    axes = {first: one, second: rest / size[:, None]}
    return cls(places, _from_columns(axes), features)


def rotations_of(name: str, value: Any, count: int, *, one: bool = False) -> Rotation:
    """Return ``count`` finite rotations; maybe from one that is for all."""
    from scipy.spatial.transform import Rotation

    many = f"1 or {count}" if one else f"{count}"
    if not isinstance(value, Rotation):
        fail(name, f"a scipy Rotation of length {many}", value)
    quaternions = np.atleast_2d(value.as_quat())
    if one and len(quaternions) == 1:
        quaternions = np.broadcast_to(quaternions[0], (count, 4))
    if quaternions.shape != (count, 4):
        raise ValueError(
            f"{name} must be {many}, one for each position, not {len(quaternions)}"
        )
    bad = np.flatnonzero(~np.isfinite(quaternions).all(axis=1))
    if bad.size:
        raise ValueError(f"{name}[{bad[0]}] must be finite, not NaN or without end")
    if not count or value.single or len(value) != count:
        return Rotation.from_quat(quaternions) if count else Rotation.identity(0)
    # To the last bit, which another normalisation would change of some.
    return value[np.arange(count)]


def _matrices(rotations: Rotation) -> _Array:
    return rotations.as_matrix().reshape(-1, 3, 3)


def _vectors(name: str, value: Any, count: int) -> _Array:
    """Return (count, 3) finite numbers from as many or from three for all."""
    wanted = f"three finite numbers (z, y, x), or an array of shape ({count}, 3)"
    array = check.as_array(name, wanted, value)
    if array.shape not in ((3,), (count, 3)) or array.dtype.kind not in "biuf":
        fail(name, wanted, value)
    rows = check.points(name, np.atleast_2d(array))
    return np.broadcast_to(rows, (count, 3))


def _is_own(frame: Any) -> bool:
    if not isinstance(frame, str) or frame not in ("tomogram", "particle"):
        fail("frame", "'tomogram' or 'particle'", frame)
    return frame == "particle"


def _convention(value: Any) -> Euler:
    if isinstance(value, Euler):
        _check_letters(value)
        return value
    if not isinstance(value, str) or value not in CONVENTIONS:
        names = ", ".join(map(repr, CONVENTIONS))
        fail("convention", f"{names} or an Euler of funpipe.base.euler", value)
    return CONVENTIONS[value]


def _check_letters(convention: Euler) -> None:
    letters, inverse = convention
    wanted = "three letters of xyz or of XYZ, no two alike side by side"
    if (
        not isinstance(letters, str)
        or not re.fullmatch("[xyz]{3}|[XYZ]{3}", letters)
        or letters[1] in (letters[0], letters[2])
    ):
        fail("convention", f"an Euler of {wanted}", letters)
    check.flag("convention's inverse", inverse)


def _unit(name: str, vectors: _Array) -> _Array:
    """Return vectors of length 1, whatever their length but none."""
    largest = np.abs(vectors).max(axis=1, initial=0.0, keepdims=True)
    if (largest == 0).any():
        i = int(np.flatnonzero(largest == 0)[0])
        raise ValueError(f"{name} must have a length, not 0 as that of particle {i}")
    scaled = vectors / largest  # so that no square is 0 or without end
    return scaled / np.linalg.norm(scaled, axis=1, keepdims=True)


def _from_columns(axes: Mapping[str, _Array]) -> Rotation | None:
    """Return the rotations that take axes of the template to these two of three.

    In z, y, x order a cross product has the other sign than in x, y, z.
    """
    from scipy.spatial.transform import Rotation

    missing, (a, b) = next((k, v) for k, v in _CROSS.items() if k not in axes)
    third = np.cross(axes[a], axes[b])
    matrices = np.stack([{**axes, missing: third}[name] for name in "zyx"], axis=-1)
    return Rotation.from_matrix(matrices) if len(matrices) else None
