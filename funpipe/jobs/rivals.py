"""How templates compare with others, as a tomogram shows both."""

from __future__ import annotations

from typing import NamedTuple

from funpipe.base.threads import one_thread
from funpipe.engine.basis import of_others
from funpipe.engine.rivals import best_by_chance, independent_rotations, likeness
from funpipe.jobs.looking import LookedFor, Place, basis_for, seen_in

__all__ = ["Rival", "rival"]


class Rival(NamedTuple):
    """Other templates beside those that are looked for."""

    likeness: float
    """How well they fit, see `funpipe.engine.rivals.likeness`."""
    freedom: float
    """How many times as many independent rotations they are worth."""


def rival(place: Place, looked: LookedFor, others: LookedFor) -> Rival:
    """Return how others compare with what is looked for, as seen in a tomogram."""
    with one_thread():
        seen = seen_in(place, looked)
        basis = basis_for(looked, seen)
        other = of_others(basis, others.templates, looked.grid, seen)
        own, theirs = (
            independent_rotations(best_by_chance(each), basis.numbers)
            for each in (basis, other)
        )
        return Rival(likeness(basis, other), theirs / own)
