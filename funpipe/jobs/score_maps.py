"""Maps of scores and orientations, written beside the picks of a search."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from funpipe.base.molecules import Molecules
from funpipe.io.volumes import write_volume
from funpipe.jobs.sweeping import Map
from funpipe.space.geometry import RotationGrid

__all__ = ["write_maps"]


def write_maps(
    folder: str,
    names: Sequence[str | None],
    maps: Sequence[Map | None],
    grid: RotationGrid,
    scale: float,
) -> None:
    """Write ``score.mrc``, ``orientation.mrc`` and ``orientations.csv`` of tomograms.

    Parameters
    ----------
    folder : str
        Where to; made if it is not there.
    names : sequence of str or None
        Of the tomograms: each has a folder of its own; None where there is but one.
    maps : sequence of Map
        Theirs. Of several templates the number of an orientation goes on from one to
        the next.
    grid : RotationGrid
        The orientations.
    scale : float
        The tomograms', nm per voxel.
    """
    for name, each in zip(_folders(names), maps, strict=True):
        if each is None:
            continue
        here = Path(folder, name)
        os.makedirs(here, exist_ok=True)
        step = each.step * scale
        write_volume(here / "score.mrc", each.scores, step)
        write_volume(here / "orientation.mrc", each.rows.astype(np.float32), step)
        number = np.arange(len(grid.rotations))
        turns = Molecules(
            np.zeros((len(number), 3)), grid.rotations, {"orientation": number}
        )
        turns.to_csv(here / "orientations.csv")


def _folders(names: Sequence[str | None]) -> list[str]:
    """Return a folder for each tomogram, that leads nowhere else and is no other's.

    Examples
    --------
    >>> _folders([None]), _folders(["TS_01", "../a", "..", "b c", "b/c"])
    ([''], ['TS_01', '.._a', '__', 'b_c', 'b_c-2'])
    """
    found: list[str] = []
    for name in names:
        plain = "" if name is None else re.sub(r"[^\w.-]", "_", name)
        if name is not None and not plain.strip("."):
            plain = "_" * max(1, len(plain))  # . and .. are other folders
        several = (f"{plain}-{number}" for number in itertools.count(2))
        while plain in found:
            plain = next(several)
        found.append(plain)
    return found
