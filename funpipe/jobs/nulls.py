"""A null beside a search: what is looked for, and what it says of the peaks found."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from funpipe.base.caller import warn
from funpipe.jobs.chance import mirrored, noise_like
from funpipe.jobs.looking import LookedFor, Place
from funpipe.jobs.odds import Odds, odds_of, winners
from funpipe.jobs.rivals import rival
from funpipe.jobs.spacing import Apart, peaks_apart
from funpipe.jobs.sweeping import Found, swept
from funpipe.jobs.working import Running

__all__ = ["compared", "in_noise"]

_HANDED = 0.97  # of a template, what its mirror image may be to be told from it
_HIGHEST, _MOST = 50, 42  # peaks; of two likenesses equally good one in a million


class Null(NamedTuple):
    """What is looked for to learn what chance finds."""

    looked: LookedFor
    freedom: list[float]
    """How many times as many independent rotations it is worth, in each tomogram."""
    mirrored: bool
    """Whether it is their mirror image, see `funpipe.jobs.chance`."""


def compared(
    found: list[Found],
    looked: LookedFor,
    places: tuple[Place, ...],
    how: Running,
    symmetry: str,
    apart: Apart,
    near: float,
) -> tuple[list[Found], list[Found], Odds]:
    """Search for a null too; return what each wins of the places, and the odds.

    Parameters
    ----------
    found : list of Found
        The search's peaks, of each tomogram.
    looked, places, how
        What it looked for, where, and how it ran.
    symmetry : str
        The templates'.
    apart : Apart
        How far peaks are apart.
    near : float
        Voxels, within which peaks of search and null are of one place.

    Warns
    -----
    UserWarning
        If the mirror image is found rather than the template.
    """
    null = _null(looked, places, symmetry)
    theirs = [
        peaks_apart(swept(each, null.looked, how, "null of search"), apart, looked.grid)
        for each in places
    ]
    both = [winners(*each, near) for each in zip(found, theirs, strict=True)]
    found = [each.take(won) for each, (won, _) in zip(found, both, strict=True)]
    theirs = [each.take(won) for each, (_, won) in zip(theirs, both, strict=True)]
    if null.mirrored:
        _warn_of_hand(found, theirs)
    return found, theirs, odds_of(found, theirs, null.freedom)


def in_noise(
    looked: LookedFor, places: tuple[Place, ...], how: Running, apart: Apart
) -> list[Found]:
    """Return what is found in noise that has the power of each tomogram."""
    other = looked._replace(exact=False, maps=False, least=None, in_noise=True)
    return [
        peaks_apart(swept(each, other, how, "noise of search"), apart, looked.grid)
        for each in places
    ]


def _warn_of_hand(found: list[Found], null: list[Found]) -> None:
    """Warn if the mirror image is found rather than the template."""
    mine, theirs = (
        np.concatenate([each.scores * math.sqrt(each.numbers) for each in some])
        for some in (found, null)
    )
    order = np.argsort(-np.concatenate([mine, theirs]), kind="stable")
    count = int((order[:_HIGHEST] >= len(mine)).sum())
    if count >= _MOST:
        warn(
            f"in {count} of the highest {_HIGHEST} peaks the template's mirror image "
            "scores more than the template: one of template and tomogram may be of the "
            "wrong hand"
        )


def _null(looked: LookedFor, places: tuple[Place, ...], symmetry: str) -> Null:
    looked = looked._replace(exact=False, maps=False, least=None)
    beside = None if looked.background is None else mirrored(looked.background)
    other = looked._replace(templates=mirrored(looked.templates), background=beside)
    if max(rival(each, looked, other).likeness for each in places) <= _HANDED:
        return Null(other, [1.0] * len(places), mirrored=True)
    other = looked._replace(templates=noise_like(looked.templates, symmetry))
    freedom = [rival(each, looked, other).freedom for each in places]
    return Null(other, freedom, mirrored=False)
