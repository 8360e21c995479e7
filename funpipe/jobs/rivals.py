"""How templates compare with others, as a tomogram shows both."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from funpipe.base.threads import one_thread
from funpipe.engine.basis import of_others
from funpipe.engine.rivals import (
    Beaten,
    beaten,
    best_by_chance,
    independent_rotations,
    likeness,
)
from funpipe.jobs.looking import LookedFor, Place, basis_for, seen_in
from funpipe.space.geometry import RotationGrid

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = ["Rival", "rival"]


class Rival(NamedTuple):
    """Other templates beside those that are looked for."""

    likeness: float
    """How well they fit, see `funpipe.engine.rivals.likeness`."""
    freedom: float
    """How many times as many independent rotations they are worth."""
    beaten: Beaten
    """How often they score more where one of the templates is."""


def rival(place: Place, looked: LookedFor, others: LookedFor) -> Rival:
    """Return how others compare with what is looked for, as seen in a tomogram."""
    with one_thread():
        seen = seen_in(place, looked)
        bases = [basis_for(each, seen) for each in (looked, others)]
        theirs, own = (
            independent_rotations(best_by_chance(each), each.numbers)
            for each in bases[::-1]
        )
        between = looked.grid._replace(rotations=_between(looked.grid))
        particles = of_others(bases[0], looked.templates, between, seen).rows
        often = beaten(particles, *bases)
        return Rival(likeness(*bases), theirs / own, often)


_TURNS = 400  # of particles that are simulated


def _between(grid: RotationGrid) -> Rotation:
    """Return rotations about as far as particles' are from those that are tried."""
    from scipy.spatial.transform import Rotation

    random = np.random.default_rng(0)
    some = grid.rotations[random.integers(len(grid.rotations), size=_TURNS)]
    away = random.standard_normal((_TURNS, 3))
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    # A ball as large as the cube of one spacing.
    reach = (3 / (4 * np.pi)) ** (1 / 3) * math.radians(grid.spacing or 0.0)
    away *= reach * np.cbrt(random.uniform(size=(_TURNS, 1)))
    return some * Rotation.from_rotvec(away)
