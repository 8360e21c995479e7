"""From where particles were seen: directions on a sphere, and how evenly they lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.space.shells import hemisphere
from funpipe.space.symmetry import symmetry_group

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = ["second_moment", "unseen", "unseen_by_chance", "view_directions"]

_BEAM = (1.0, 0.0, 0.0)  # z, y, x
_LINES = 2000


def view_directions(rotations: Rotation, symmetry: str = "C1") -> NDArray[np.float64]:
    """Return from where each particle is seen at no tilt, in its own frame.

    That is R⁻¹ z, with z the beam. A view from behind is the mirror image of one from
    the front and says the same: of each pair of opposite directions that is returned
    whose z is 0 or more.

    Parameters
    ----------
    rotations : Rotation
        n rotations, from the template to the particle.
    symmetry : str
        Of the template, of m rotations: seen from one direction, it is seen from each
        that those make of it.

    Returns
    -------
    (n · m, 3) array
        z, y, x, of length 1.

    Examples
    --------
    >>> from scipy.spatial.transform import Rotation
    >>> turned = Rotation.from_rotvec([[0, np.pi / 2, 0], [0, 0, np.pi]])
    >>> view_directions(turned).round(3) + 0
    array([[0., 0., 1.],
           [1., 0., 0.]])
    """
    if len(rotations) == 0:
        return np.zeros((0, 3))
    own = rotations.inv().apply(_BEAM).reshape(-1, 3)
    views = np.concatenate([each.apply(own) for each in symmetry_group(symmetry)])
    return np.where(views[:, :1] < 0, -views, views)


def second_moment(views: NDArray[Any]) -> NDArray[np.float64]:
    """Return the eigenvalues of the mean of v vᵀ over directions, the smallest first.

    Their sum is 1: each is ⅓ where directions lie evenly, the last is 1 where all are
    one, the first 0 where all lie on a great circle.

    Examples
    --------
    >>> second_moment(np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]))
    array([0. , 0.5, 0.5])
    """
    moment = np.einsum("ni,nj->ij", views, views) / len(views)
    return np.clip(np.linalg.eigvalsh(moment), 0, 1)


def unseen(views: NDArray[Any], within: float) -> float:
    """Return the part of the sphere that has no view within some degrees of it.

    Examples
    --------
    >>> round(unseen(np.array([[1.0, 0.0, 0.0]]), 60.0), 2)  # cos 60°
    0.5
    """
    lines = hemisphere(_LINES)
    both = scipy.spatial.KDTree(np.concatenate([views, -views]))
    apart, _ = both.query(lines)
    return float(np.mean(apart > 2 * np.sin(np.radians(within) / 2)))


def unseen_by_chance(count: int, within: float) -> float:
    """Return what `unseen` is on average for so many even and independent views.

    Examples
    --------
    >>> round(unseen_by_chance(1, 60.0), 2)
    0.5
    """
    return float(np.cos(np.radians(within)) ** count)
