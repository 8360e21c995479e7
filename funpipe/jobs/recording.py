"""What was searched, and what came of it: a record beside the picks."""

from __future__ import annotations

import json
import math
import os
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from funpipe.base import arguments as check
from funpipe.base.errors import FileError
from funpipe.base.whole import check_target, replacing

__all__ = ["SearchRecord", "check_record", "read_record", "write_record"]

_KIND = "funpipe search"


class SearchRecord(NamedTuple):
    """What a search was, and the scores of all of its peaks."""

    tomograms: tuple[str, ...]
    """Their names; a path, or nothing, where there is but one."""
    shapes: tuple[tuple[int, ...], ...]
    """Voxels of each, z, y, x."""
    regions: tuple[str, ...]
    """Where each was looked at."""
    scale: float
    """nm per voxel."""
    resolution: float
    """nm."""
    spacing: float | None
    """Degrees between rotations; None where they were given."""
    rotations: int
    templates: int
    symmetry: str
    whiten: bool
    exact: bool
    functions: int
    """How many were correlated for all rotations, the most of a tomogram."""
    distance: float | None
    """nm; None where it is the mask's shape."""
    counts: tuple[tuple[int, ...], ...]
    """Of each tomogram the places that were looked at, left by the bound, left by the
    first rotations, and peaks."""
    least: float
    """The least score of a peak."""
    scores: NDArray[np.float64]
    """(n,), of the peaks on the grid of voxels and rotations, the highest first."""
    picked: NDArray[np.float64]
    """(m,), those of them that were aligned."""
    false: NDArray[np.float64] | None = None
    """(n,), how likely each peak is one of chance; None where it was not estimated."""
    null: NDArray[np.float64] | None = None
    """(k,), the scores of the null's peaks, see `funpipe.jobs.chance`; likewise. Where
    both have one at a place the higher one is in its list alone. Without a null those
    in noise, where that was searched."""
    false_discovery_rate: float | None = None
    """As asked."""
    false_alarms: float | None = None
    """As asked."""
    background: str | None = None
    """What scores are corrected by."""
    how: str | None = None
    """Whether that is subtracted or they are divided."""
    tophat: float | None = None
    """nm: how long lines are along which high scores are taken off."""

    @property
    def threshold(self) -> float:
        """The lowest score that was aligned, infinite where none was."""
        return float(self.picked.min()) if len(self.picked) else math.inf


def check_record(value: Any) -> str | None:
    """Return None, or the path of a record that can be written."""
    if value is None:
        return None
    path = check.path("record", value)
    if not path.endswith(".json"):
        raise ValueError(f"record must end in .json, not {path!r}")
    check_target(path)
    return path


def write_record(record: SearchRecord, path: str | os.PathLike[str]) -> None:
    """Write a record as JSON, whole or not at all."""
    values = {
        name: each.tolist() if isinstance(each, np.ndarray) else each
        for name, each in record._asdict().items()
    }
    with replacing(path) as part:
        part.write_text(json.dumps({"kind": _KIND, **values}, indent=1))


def read_record(path: str | os.PathLike[str]) -> SearchRecord:
    """Read a record that `funpipe.search` has written.

    Raises
    ------
    FileError
        If it is none.
    OSError
        If it cannot be read.
    """
    name = check.path("path", path)
    with open(name, "rb") as file:
        content = file.read()
    try:
        values = json.loads(content)
        if values.pop("kind") != _KIND:
            raise ValueError
        for each in ("scores", "picked", "false", "null"):
            if values[each] is not None:
                values[each] = np.array(values[each], dtype=np.float64)
                if values[each].ndim != 1:
                    raise ValueError
        for each in ("tomograms", "regions"):
            values[each] = tuple(values[each])
        for each in ("shapes", "counts"):
            values[each] = tuple(map(tuple, values[each]))
        return SearchRecord(**values)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise FileError(f"{name} is no record of a search") from None
