"""What memory a search takes, told before any of it is built."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from funpipe.base import arguments as check
from funpipe.base.errors import Argument, WrongValueError
from funpipe.engine.settings import SETTINGS
from funpipe.space.geometry import rotation_count

__all__ = ["Cost", "check_cost"]

_GRID = 1200  # bytes of a rotation, most of them for those around it
_BUILT = 300  # bytes of a rotation that symmetry leaves out again
_FIELDS = 100e6  # bytes that a template's fields take while they are made
_KNOWN = 600  # bytes of a wave, for what it says of the pose
_SEARCHED = 5.0  # voxels, the shortest period of most searches that are refined
_ROOM = 1.5  # times the machine's memory: most searches take less than is estimated


class Cost(NamedTuple):
    """What the memory of a search depends on, its rotations apart."""

    templates: tuple[int, ...]
    """(m, z, y, x)."""
    window: tuple[float, float, float]
    """The largest shifts, voxels."""
    finest: float
    """The shortest period, voxels."""
    refined: bool

    def bytes(self, rotations: float) -> float:
        """Return up to how many bytes the search takes, in each process.

        Examples
        --------
        >>> cost = Cost((1, 32, 32, 32), (3.0, 3.0, 3.0), 4.0, refined=True)
        >>> f"{cost.bytes(343) / 1e6:.0f} MB, {cost.bytes(47e6) / 1e9:.0f} GB"
        '308 MB, 145 GB'
        """
        count, *box = self.templates
        rows = count * rotations
        shifts = self.shifts()
        waves = 2 / 3 * math.pi * math.prod(box) / self.finest**3
        waves = max(1.0, min(waves, math.prod(box) / 2))
        searched, shortest, tried = waves, self.finest, shifts
        if self.refined:
            searched = min(waves, max(50.0, SETTINGS.bank_bytes / (12 * rows)))
            shortest = max(self.finest, _SEARCHED)
            tried = math.prod(8 * each / shortest + 1 for each in self.window)
        # The kernel's rank: what the window holds of the band, along each axis.
        rank = math.prod(4 * each / shortest + 3 for each in self.window)
        rank = min(tried, rank)
        spectra = 20 * searched * rows
        kernel = SETTINGS.bank_bytes + 8 * rank * tried
        batch = max(SETTINGS.batch_bytes, 4 * (rank + 32) * rows)
        finest_field = 64 * math.prod(4 * n / self.finest + 3 for n in box)
        fields = count * max(_FIELDS, finest_field) + count * _KNOWN * waves
        return (
            _GRID * rotations + 128 * rows + spectra + kernel + batch + fields
        ) + 40 * math.prod(box)

    def shifts(self) -> float:
        """Return how many shifts are tried."""
        return math.prod(2.0 * math.floor(each) + 1 for each in self.window)


def check_cost(cost: Cost, given: Any, rotations: float, built: float = 0.0) -> None:
    """Refuse a search that takes more memory than there is, and say what takes less.

    Parameters
    ----------
    cost : Cost
        Of the search.
    given : rotations
        As given.
    rotations : float
        How many will be searched.
    built : float
        How many will be built before symmetry leaves some of them out.
    """
    most = _ROOM * check.memory()
    needed = max(cost.bytes(rotations), _BUILT * built)
    if needed <= most:
        return
    shifts = cost.shifts()
    if cost.bytes(1) > most:
        way = "give a smaller max_shifts, a smaller box, or a coarser resolution"
    else:
        way = _coarser(cost, given, most, rotations / max(built, rotations))
    raise WrongValueError(
        Argument("rotations"),
        f" must fit into memory: {max(rotations, built):,.0f} of them with "
        f"{shifts:,.0f} shifts take up to {needed / 1e9:,.0f} GB, of which there are "
        f"{check.memory() / 1e9:,.0f}; {way}",
        name="rotations",
        value=given,
    )


def _coarser(cost: Cost, given: Any, most: float, part: float) -> str:
    """Say which rotations of the kind given would do."""
    if np.shape(given) not in ((2,), (3, 2)):
        return "give fewer rotations, some at a time"
    for factor in range(2, 1000):
        pairs = np.atleast_2d(np.array(given, float))
        pairs[:, 1] = np.minimum(pairs[:, 1] * factor, pairs[:, 0])
        count = rotation_count(pairs if len(pairs) == 3 else pairs[0])
        if max(cost.bytes(max(1.0, count * part)), _BUILT * count) <= most:
            texts = [f"({maximum:g}, {step:g})" for maximum, step in pairs]
            text = texts[0] if len(texts) == 1 else f"({', '.join(texts)})"
            return f"take a coarser step first, such as {text}, or 'all'"
    return "take a coarser step, or 'all'"
