"""Particles at their waves, measured once at their poses, chunk by chunk.

They are held in memory, or in a file where that is too much.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.base.caller import warn
from funpipe.boxes.cropping import CropPiece, cropped_boxes
from funpipe.boxes.opening import Source, common_scale
from funpipe.engine.classes import Lattice, Measured, measured_waves
from funpipe.jobs.running import Task
from funpipe.jobs.working import Job, Result, Running, results
from funpipe.space.transfer import per_voxel

__all__ = ["measured"]

Array: TypeAlias = NDArray[Any]

_HELD = 2**30  # bytes of an array that is held in memory


def measured(sources: list[Source], lattice: Lattice, how: Running) -> Measured:
    """Return what all particles of tomograms are at the waves of a lattice.

    Warns
    -----
    UserWarning
        If there is nothing in some of the boxes.
    """
    scale = common_scale(sources)
    boxes = cropped_boxes(sources, lattice.support)
    job = Job(
        "classify",
        boxes.chunks,
        boxes.parts,
        partial(_task, boxes.cut, lattice, scale),
        boxes.cut,
        partial(_facts, lattice, scale, boxes.keys),
    )
    n = sum(len(each.indices) for each in sources)
    N, S = len(lattice.waves), len(lattice.edges) - 1
    data = Measured(
        _room((n, N), np.complex64),
        _room((n, N), np.float32),
        np.empty((n, S)),
        np.empty((n, S)),
        np.empty(n),
    )
    with closing(results(job, how)) as found:
        for chunk, each in zip(boxes.chunks, found, strict=True):
            for name, into in data._asdict().items():
                into[chunk.indices] = each[name]
    blank = int((data.power.sum(axis=1) <= 0).sum())
    if blank:
        warn(
            f"{blank} of {n} boxes hold nothing, or nothing that was measured: those "
            "particles are of each class as often as all are"
        )
    return data


def _room(shape: tuple[int, int], kind: Any) -> Array:
    """Return an array for particles' waves, in a file if they are many."""
    if np.dtype(kind).itemsize * float(np.prod(shape)) <= _HELD:
        return np.empty(shape, kind)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, kind, "w+", shape=shape)


def _facts(
    lattice: Lattice, scale: float, keys: Callable[[], list[str]]
) -> tuple[Any, list[str]]:
    return (lattice.support, len(lattice.waves), scale), keys()


def _task(cut: Callable[[Any], CropPiece], lattice: Lattice, scale: float) -> Task:
    return partial(_part, cut=cut, lattice=lattice, scale=scale)


def _part(
    part: Any,
    *,
    cut: Callable[[Any], CropPiece],
    lattice: Lattice,
    scale: float,
    go_on: Callable[[], None],
) -> Result:
    """Return the waves of a part's particles."""
    _, crops, orientations, tilt = cut(part)
    go_on()
    found = measured_waves(crops, orientations, per_voxel(tilt, scale), lattice)
    return found._asdict()
