"""Maps of scores and orientations, written beside the picks of a search."""

from __future__ import annotations

import itertools
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from funpipe.base.molecules import Molecules
from funpipe.boxes.opening import Tomogram
from funpipe.io.volumes import volume_stem, write_volume
from funpipe.jobs.checkpoints import check_folder
from funpipe.jobs.sweeping import Map
from funpipe.space.geometry import RotationGrid

__all__ = ["maps_folder", "write_maps"]

_LOG = logging.getLogger("funpipe")


def maps_folder(value: Any, tomogram: Any) -> str | None:
    """Return where maps go, or None: a folder that can be written to.

    Parameters
    ----------
    value : path, bool or None
        True: a folder in the working directory that is named after the tomogram.
    tomogram
        As given to `search`.

    Examples
    --------
    >>> maps_folder(True, "data/TS_01.mrc"), maps_folder(True, {"a": "a.mrc"})
    ('TS_01_search', 'tomograms_search')
    """
    if isinstance(value, bool | np.bool_):
        value = f"{_stem(tomogram)}_search" if value else None
    return check_folder("maps", value)


def _stem(tomogram: Any) -> str:
    if isinstance(tomogram, Mapping):
        return "tomograms"
    given = tomogram.array if isinstance(tomogram, Tomogram) else tomogram
    if not isinstance(given, str | os.PathLike):
        return "tomogram"
    name = Path(os.fsdecode(given)).name
    return volume_stem(name) or name or "tomogram"


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
    _LOG.info("search: maps of scores and orientations go to %s", folder)
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
