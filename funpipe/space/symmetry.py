"""Point groups, and which rotations look the same under them.

A template that a group leaves as it is looks the same turned by R and by R g, for
each g of the group. The angle of a product R g is 2 arccos |w|, with w the scalar part
of its quaternion, a bilinear form of the two: all angles are one product of matrices.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = ["one_listed", "one_searched", "symmetry_group"]

Array: TypeAlias = NDArray[Any]

_ALIKE = 1e-5  # of a quaternion's parts: rotations given twice
_CELL = 0.87  # spacings: √3 / 2, from the middle of a cube to its corners
_AT_A_TIME = 2**14  # rotations whose surroundings are looked at
_SAFE = 0.95  # of the spacing: how near the next rotation is to places looked at


def symmetry_group(symmetry: str) -> Rotation:
    """Return the rotations of a point group about z, acting on zyx vectors.

    The groups are scipy's ``Rotation.create_group``, whose vectors are x, y, z:
    turning both the rows and the columns of its matrices round gives z, y, x. In
    which order they come is not said.

    Examples
    --------
    >>> [len(symmetry_group(name)) for name in ("C1", "C7", "D7", "T", "O", "I")]
    [1, 7, 14, 12, 24, 60]
    """
    from scipy.spatial.transform import Rotation

    group = Rotation.create_group(symmetry, axis="Z")
    return Rotation.from_matrix(group.as_matrix()[:, ::-1, ::-1])


def one_listed(rotations: Rotation, group: Rotation) -> Rotation:
    """Return, of those of a list that look the same, the nearest to the identity.

    Each is taken as it is: what looks like no other in the list stays.
    """
    # What look the same have one image nearest to a rotation that is nowhere special.
    somewhere = type(group).from_rotvec([0.6, -1.1, 0.35])
    image, _ = _nearest(somewhere.inv() * rotations, group)
    same = (somewhere.inv() * rotations * group[image]).as_quat(canonical=True)
    rows = (same / _ALIKE).round() + 0.0  # no -0.0
    kind = np.unique(rows, axis=0, return_inverse=True)[1].ravel()
    order = np.lexsort((rotations.magnitude().round(9), kind))
    first = order[np.flatnonzero(np.diff(kind[order], prepend=-1))]
    return rotations[np.sort(first)]


def one_searched(
    rotations: Rotation, group: Rotation, spacing: float, *, in_ball: bool
) -> Rotation:
    """Return, of a grid of rotations, about one of those that look the same.

    Parameters
    ----------
    rotations : Rotation
        The grid.
    group : Rotation
        A group.
    spacing : float
        How far neighbours are apart, in degrees.
    in_ball : bool
        Whether the grid fills a ball about the identity, or all there is, so that
        each rotation has a neighbour at its image nearest to the identity.

    Returns
    -------
    Rotation
        Those nearest to the identity, and as many others that, up to symmetry, none
        of the grid's surroundings are farther than the spacing from all.

    Notes
    -----
    An image of a grid is not on the grid. Where images meet, halfway between the
    identity and its own images, a rotation is therefore taken back where a place that
    is nearest to it would be too far from the rest.
    """
    step = math.radians(spacing)
    angle = rotations.magnitude()
    image, nearest = _nearest(rotations, group)
    kept = angle <= nearest + 1e-9
    if in_ball:
        others = np.flatnonzero(~kept & (angle <= nearest + 2 * _CELL * step))
    else:
        kept |= ~_near(_tree(rotations), rotations * group[image], _CELL * step)
        others = np.flatnonzero(~kept)
    rest = _tree(_images(rotations[kept], group, 2 * step))
    for fineness, part in ((3, _SAFE - _CELL / 8), (5, _SAFE)):
        found = [
            _bare(rotations, some, group, step, fineness, rest, part)
            for some in np.array_split(others, 1 + len(others) // _AT_A_TIME)
        ]
        owner, left = (np.concatenate(each) for each in zip(*found, strict=True))
        others = np.unique(owner)
    while len(owner):
        most = int(np.bincount(owner).argmax())
        kept[most] = True
        alike = _images(rotations[most : most + 1], group, 2 * step).as_quat()
        away = np.abs(left @ alike.T).max(axis=1) < math.cos(_SAFE * step / 2)
        away &= owner != most  # whose places may be farther, in corners
        owner, left = owner[away], left[away]
    return rotations[kept]


def _nearest(rotations: Rotation, group: Rotation) -> tuple[Array, Array]:
    """Return for each R which g takes R g nearest to the identity; R g's angle, rad."""
    image = np.zeros(len(rotations), np.intp)
    scalar = np.zeros(len(rotations))
    for part in _batches(rotations, group):
        parts = np.abs(_scalars(rotations[part], group))
        image[part] = parts.argmax(axis=1)
        scalar[part] = parts.max(axis=1)
    return image, 2 * np.arccos(np.minimum(scalar, 1))


def _scalars(rotations: Rotation, group: Rotation) -> Array:
    """Return the scalar parts of the quaternions of R g, (R, g)."""
    return np.asarray(rotations.as_quat() @ (group.as_quat() * [-1, -1, -1, 1]).T)


def _batches(rotations: Rotation, group: Rotation) -> list[slice]:
    size = max(1, 2**20 // len(group))
    return [slice(i, i + size) for i in range(0, len(rotations), size)]


def _images(rotations: Rotation, group: Rotation, margin: float) -> Rotation:
    """Return all R g that are no farther from the identity than R and a margin."""
    found = []
    for part in _batches(rotations, group):
        some = rotations[part]
        angle = 2 * np.arccos(np.minimum(np.abs(_scalars(some, group)), 1))
        which, image = np.nonzero(angle <= some.magnitude()[:, None] + margin)
        found.append((some[which] * group[image]).as_quat())
    return type(rotations).from_quat(np.concatenate(found))


def _bare(
    rotations: Rotation,
    chosen: Array,
    group: Rotation,
    step: float,
    fineness: int,
    tree: Any,
    part: float,
) -> tuple[Array, Array]:
    """Return places around some rotations that are far from a tree's, and of which.

    They lie in cubes as wide as a step; of each the image nearest to the identity is
    returned, as a quaternion.
    """
    axis = np.linspace(-step / 2, step / 2, fineness)
    moves = type(rotations).from_rotvec(list(itertools.product(axis, repeat=3)))
    owner = np.repeat(chosen, len(moves))
    places = rotations[owner] * moves[np.tile(np.arange(len(moves)), len(chosen))]
    image, _ = _nearest(places, group)
    places = places * group[image]
    bare = ~_near(tree, places, part * step)
    return owner[bare], places.as_quat()[bare]


def _tree(rotations: Rotation) -> Any:
    """Return the quaternions, of both signs, as a tree."""
    quaternions = rotations.as_quat()
    return scipy.spatial.KDTree(np.concatenate([quaternions, -quaternions]))


def _near(tree: Any, rotations: Rotation, angle: float) -> NDArray[np.bool_]:
    """Tell which rotations have one of a tree's within an angle, in rad.

    Quaternions q and q' of rotations an angle φ apart are 2 sin(φ / 4) apart, for
    the nearer of q' and −q'.
    """
    reach = 2 * math.sin(min(angle, math.pi) / 4)
    found, _ = tree.query(rotations.as_quat(), distance_upper_bound=reach)
    return np.isfinite(found)
