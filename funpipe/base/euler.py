"""Euler angles of other programs, through rotation matrices.

The programs give the matrix A that takes vectors (x, y, z) of the reference to the
tomogram, or its inverse. A rotation here acts on vectors (z, y, x): its matrix is A
with its rows and its columns turned round.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = ["CONVENTIONS", "DYNAMO", "RELION", "STOPGAP", "Euler", "from_xyz", "to_xyz"]


class Euler(NamedTuple):
    """A convention: how three angles make the matrix A.

    Examples
    --------
    The same rotation, as RELION (rot, tilt, psi), Dynamo (tdrot, tilt, narot) and
    STOPGAP (phi, theta, psi) give it:

    >>> rotation = RELION.rotations([[30, 40, 50]])
    >>> DYNAMO.angles(rotation).round(6).tolist()
    [[-40.0, 40.0, 120.0]]
    >>> STOPGAP.angles(rotation).round(6).tolist()
    [[60.0, 40.0, -140.0]]
    """

    sequence: str
    """In scipy's letters: capitals turn about the turned axes."""
    inverse: bool
    """Whether the angles make the inverse of A."""

    def rotations(self, angles: ArrayLike) -> Rotation:
        """Return the rotations on zyx vectors of (n, 3) angles in degrees."""
        from scipy.spatial.transform import Rotation

        angles = np.asarray(angles, dtype=float).reshape(-1, 3)
        found = Rotation.from_euler(self.sequence, angles, degrees=True)
        return from_xyz((found.inv() if self.inverse else found).as_matrix())

    def angles(self, rotations: Rotation) -> NDArray[np.float64]:
        """Return (n, 3) angles in degrees; at gimbal lock the last one is 0."""
        from scipy.spatial.transform import Rotation

        if len(rotations) == 0:
            return np.zeros((0, 3))
        found = Rotation.from_matrix(to_xyz(rotations))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Gimbal lock", UserWarning)
            return (found.inv() if self.inverse else found).as_euler(
                self.sequence, degrees=True
            )


RELION = Euler("ZYZ", inverse=True)
"""rot, tilt, psi; acryo takes the same angles as they are."""
DYNAMO = Euler("zxz", inverse=True)
"""tdrot, tilt, narot."""
STOPGAP = Euler("zxz", inverse=False)
"""phi, theta, psi; EM motive lists have the same, stored as phi, psi, theta."""
CONVENTIONS = {"relion": RELION, "dynamo": DYNAMO, "stopgap": STOPGAP}


def from_xyz(matrices: ArrayLike) -> Rotation:
    """Return rotations on zyx vectors from (n, 3, 3) matrices on xyz vectors."""
    from scipy.spatial.transform import Rotation

    array = np.asarray(matrices, dtype=float).reshape(-1, 3, 3)
    return Rotation.from_matrix(array[:, ::-1, ::-1])


def to_xyz(rotations: Rotation) -> NDArray[Any]:
    """Return (n, 3, 3) matrices on xyz vectors from rotations on zyx vectors.

    Examples
    --------
    >>> to_xyz(RELION.rotations([30, 40, 50]))[0].round(6)
    array([[ 0.043412,  0.909616, -0.413176],
           [-0.829598,  0.263258,  0.492404],
           [ 0.55667 ,  0.321394,  0.766044]])
    """
    return rotations.as_matrix().reshape(-1, 3, 3)[:, ::-1, ::-1]
