"""One frame for two halves, each of which was aligned to itself alone.

Without a template that both began with, nothing ties the frame of one half's map to
that of the other: each may turn and drift by itself, and maps that are turned apart do
not agree, however good they are. The one rigid motion of all particles of a half has
six numbers, found at a coarse resolution; more does not pass between the halves.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy

from funpipe.base.molecules import Molecules
from funpipe.jobs.aligning import align_subtomograms
from funpipe.jobs.halving import Halves, halves_of
from funpipe.jobs.preparing import mask_for
from funpipe.jobs.searching import Search

__all__ = ["joined"]


def joined(
    molecules: Molecules, maps: Halves, *, mask: Any, finest: float, search: Search
) -> Molecules:
    """Return particles, those of half 2 moved to the frame of half 1.

    Parameters
    ----------
    molecules : Molecules
        With the feature ``half``.
    maps : Halves
        Of both halves, as they are.
    mask : converter, array or None
        A converter is applied to the first map.
    finest : float
        nm, the resolution at which maps are compared.
    search : Search
        How far apart the frames may be.

    Examples
    --------
    >>> import funpipe as fp
    >>> from funpipe.jobs.searching import search_for
    >>> blob = fp.from_gaussian((12.0, 12.0, 12.0), sigma=(0.8, 1.2, 1.6))
    >>> maps = Halves(blob(1.0), fp.shift((0, 0, 1.0))(blob(1.0)), scale=1.0)
    >>> picks = Molecules(np.zeros((2, 3)), features={"half": [1, 2]})
    >>> search = search_for(max_shifts=2.0)
    >>> joined(picks, maps, mask=None, finest=2.0, search=search).positions.round(2) + 0
    array([[0., 0., 0.],
           [0., 0., 1.]])
    """
    found = align_subtomograms(
        maps.second[None],
        template=maps.first,
        mask=None if mask is None else mask_for(mask, maps.first, maps.scale),
        scale=maps.scale,
        max_shifts=search.max_shifts,
        rotations=search.rotations,
        resolution=finest,
        symmetry=search.symmetry,
        progress=False,
    )
    turn, shift = found.rotations[0], found.shifts[0]
    rotation = scipy.spatial.transform.Rotation
    other = halves_of(molecules) == 2
    moved = molecules.rotations.apply(np.where(other[:, None], shift, 0.0))
    turns = np.where(other[:, None], turn.as_quat(), rotation.identity().as_quat())
    return Molecules(
        molecules.positions + moved,
        molecules.rotations * rotation.from_quat(turns),
        molecules.features,
    )
