"""A tomogram swept tile by tile for turned templates, here or by an executor."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from funpipe.base import arguments as check
from funpipe.base.errors import Argument, WrongValueError
from funpipe.base.threads import one_thread
from funpipe.boxes.chunks import Chunk, chunk_keys, opened, stays
from funpipe.boxes.opening import Source, in_tomogram
from funpipe.boxes.region import Region
from funpipe.boxes.tiles import (
    Plan,
    Scan,
    Tile,
    first_place,
    nearest_voxels,
    read_tile,
    tile_chunks,
)
from funpipe.engine.background import taken_off
from funpipe.engine.basis import Basis, Seen, of_others
from funpipe.engine.chances import Limits, limits_of, score_of_chance
from funpipe.engine.exactly import sweep_exactly
from funpipe.engine.rescoring import REACH, nothing_scored, rescored
from funpipe.engine.rivals import best_by_chance
from funpipe.engine.settings import SWEEP
from funpipe.engine.sweep import Tiling, step_for, sweep, tiling
from funpipe.engine.tophat import along_lines
from funpipe.jobs.chance import phases_randomised
from funpipe.jobs.looking import LookedFor, Place, basis_for, plan_of, seen_in
from funpipe.jobs.running import Task
from funpipe.jobs.working import Job, Result, Running, results

__all__ = ["Found", "Map", "swept"]

_LOG = logging.getLogger("funpipe")


class Map(NamedTuple):
    """The best of all rotations, place by place."""

    scores: NDArray[np.float32]
    """(z, y, x), a step apart from voxel 0 on; 0 where nothing was looked at."""
    rows: NDArray[np.int32]
    """Which of the turned templates; −1 there."""
    step: float
    """Voxels."""


class Found(NamedTuple):
    """Peaks of a tomogram's scores."""

    where: NDArray[np.float64]
    """(n, 3), voxels."""
    scores: NDArray[np.float32]
    rows: NDArray[np.intp]
    """Which of the turned templates, template by template."""
    counts: tuple[int, ...]
    """Places looked at, left by the bound, by the coarse rotations, and peaks."""
    least: float
    """The least score of what is kept."""
    numbers: float
    """See `funpipe.engine.basis.Basis.numbers`."""
    functions: int
    """How many were correlated."""
    less: Mapping[str, NDArray[np.float32]]
    """(n,), what was taken off their scores, by the name of what was asked for."""
    map: Map | None = None

    def take(self, chosen: Any) -> Found:
        """Return some of the peaks."""
        where, scores, rows = (each[chosen] for each in self[:3])
        less = {name: each[chosen] for name, each in self.less.items()}
        return self._replace(where=where, scores=scores, rows=rows, less=less)


def swept(place: Place, looked: LookedFor, how: Running, what: str = "search") -> Found:
    """Return where in a tomogram templates may be, the best of each surroundings.

    Parameters
    ----------
    place : Place
        The tomogram, and where in it.
    looked : LookedFor
        What is looked for.
    how : Running
        Where the work runs, and what is kept and shown of it.
    what : str
        What it is called where it is shown.
    """
    source, scan, region = place
    with one_thread():
        seen = seen_in(place, looked)
        basis = basis_for(looked, seen)
        basis = basis._replace(step=1.0 if looked.exact else step_for(basis))
        plan = plan_of(place, looked, basis.step, REACH + 1)
        _check_room(basis, plan)
        poses = plan.places_of_all() * len(basis.rows)
        _check_places(poses, looked.support.box, source)
        least = score_of_chance(basis.numbers, poses, _POSES * looked.expected)
        least = least if looked.least is None else looked.least
        limits = limits_of(basis, least, SWEEP.missed)
        if looked.least is not None:  # all above it are asked for, not the best
            limits = limits.lowered(SWEEP.brighter)
        if looked.maps:
            limits = limits._replace(bound=0.0, coarse=-1.0)
        beside = _beside(basis, looked, seen)
    chunks = tile_chunks(source, plan)
    swept_by = Sweeper(plan, limits, least, looked, region, scan)
    job = Job(
        "search",
        chunks,
        partial(_parts, swept_by),
        partial(_task, basis, beside, seen.data, swept_by),
        partial(_alone, by=swept_by),
        partial(_facts, swept_by, chunks),
        unit="tile",
        title=what if source.name is None else f"{what} {source.name}",
    )
    with closing(results(job, how)) as found:
        parts = list(found)
    where, scores, rows, off = (
        np.concatenate([each[name] for each in parts])
        for name in ("where", "scores", "rows", "less")
    )
    counts = np.sum([each["counts"] for each in parts], axis=0).tolist()
    _LOG.info(
        "search: of %d places %d were left by the bound, %d by the first rotations, "
        "and %d peaks; one of a score of %.3g is lost with a chance of 1 in %d",
        *counts,
        swept_by.least,
        round(1 / (2 * SWEEP.missed)),
    )
    whole = _stitched(parts, plan) if _keeps_field(looked) else None
    less = {} if looked.background is None else {"background": off}
    if looked.tophat is not None and whole is not None:
        high = along_lines(whole.scores, limits.fine, looked.tophat / plan.step)
        there = nearest_voxels(where, 1 / plan.step)
        there = np.minimum(there, np.array(high.shape) - 1)
        less["tophat"] = high[tuple(there.T)]
        scores = scores - less["tophat"]
    known = swept_by.least, basis.numbers, len(basis.functions)
    whole = whole if looked.maps else None
    return Found(where, scores, rows, tuple(counts), *known, less, whole)


def _keeps_field(looked: LookedFor) -> bool:
    return looked.maps or looked.tophat is not None


class Beside(NamedTuple):
    """A background that scores are corrected by."""

    basis: Basis
    usual: float
    """What it scores in white noise."""


def _beside(basis: Basis, looked: LookedFor, seen: Seen) -> Beside | None:
    if looked.background is None:
        return None
    of_it = of_others(basis, looked.background, looked.grid, seen)
    least = 1 / math.sqrt(basis.numbers)
    return Beside(of_it, max(least, float(best_by_chance(of_it).mean())))


def _check_places(poses: int, box: tuple[int, ...], source: Source) -> None:
    """Refuse a template that fits at no place, for being as large as the tomogram."""
    if not poses:
        which = "the tomogram" if source.name is None else repr(source.name)
        raise WrongValueError(
            Argument("template"),
            f" must be smaller than {which} of {source.shape} voxels, to fit at some "
            f"place in it, but is {box} at {source.scale:.6g} nm per voxel",
            name="template",
        )


def _check_room(basis: Basis, plan: Plan) -> None:
    """Refuse correlations that do not fit into memory."""
    own = [n - 2 * m for n, m in zip(plan.places, plan.margin, strict=True)]
    of_each = math.prod(plan.places) + 2 * math.prod(own)  # kernels, and c of two tiles
    needed, there = 4 * len(basis.functions) * of_each, check.memory() / 2
    if needed > there:
        raise WrongValueError(
            Argument("resolution"),
            f" must be coarser: {len(basis.functions)} functions of tiles of "
            f"{plan.places} places take {needed / 1e9:,.1f} GB, and there are "
            f"{there / 1e9:,.0f} to spare",
            name="resolution",
        )


def _facts(by: Sweeper, chunks: list[Chunk]) -> tuple[Any, list[str]]:
    """Return what determines peaks, and of each tile."""
    return by._replace(region=by.region.facts()), chunk_keys(chunks)


def _stitched(parts: list[Result], plan: Plan) -> Map:
    """Return the map of all tiles."""
    shape = [math.floor((n - 1) / plan.step) + 1 for n in plan.shape]
    scores, rows = np.zeros(shape, np.float32), np.full(shape, -1, np.int32)
    for each in parts:
        there = tuple(
            slice(int(low), int(low) + n)
            for low, n in zip(each["low"], each["field"].shape, strict=True)
        )
        seen = each["field"] > -1
        scores[there][seen], rows[there][seen] = each["field"][seen], each["best"][seen]
    return Map(scores, rows, plan.step)


_POSES = 30.0  # that are above a limit with each peak, places and rotations around it


class Sweeper(NamedTuple):
    """All that a tile's peaks depend on, its voxels apart."""

    plan: Plan
    limits: Limits
    least: float
    looked: LookedFor
    region: Any
    scan: Scan


class ReadTile(NamedTuple):
    """A tile for those who cannot read its tomogram."""

    tile: Tile
    name: str | None


def _parts(
    by: Sweeper, some: Sequence[Chunk], folder: Path | None
) -> Iterable[Source | ReadTile]:
    found = opened(some, folder)
    if folder is None:
        return found
    return (_alone(each, by=by) if stays(each) else each for each in found)


def _alone(part: Source, *, by: Sweeper) -> ReadTile:
    with in_tomogram(part.name):
        tile = read_tile(part, by.plan, by.looked.support, by.scan)
    return ReadTile(tile, part.name)


def _task(
    basis: Basis, beside: Beside | None, data: Callable[[Any], Any], by: Sweeper
) -> Task:
    with one_thread():
        tiles = tiling(basis, by.plan.places, data)
    return partial(_sweep, basis=basis, beside=beside, tiles=tiles, by=by)


def _sweep(
    part: Source | ReadTile,
    *,
    basis: Basis,
    beside: Beside | None,
    tiles: Tiling,
    by: Sweeper,
    go_on: Callable[[], None],
) -> Result:
    """Return the peaks of a tile."""
    plan, looked = by.plan, by.looked
    first = part.tile.first if isinstance(part, ReadTile) else first_place(part, plan)
    wanted = plan.own(first) & _in_region(first, plan, by.region)
    found, counts = nothing_scored(), (0, 0, 0, 0)
    faint = _FAINT * 2 * np.count_nonzero(basis.g) * np.square(basis.window).sum()
    field, less = np.zeros((0, 0, 0), np.float32), np.zeros(0, np.float32)
    best, low = np.zeros((0, 0, 0), np.int32), np.zeros(3, np.intp)
    if wanted.any():
        if isinstance(part, Source):
            part = _alone(part.reopened(), by=by)
        go_on()
        tile = part.tile.values
        wanted &= part.tile.free
        if looked.in_noise:
            tile = phases_randomised(tile, (first % _SEEDS).tolist())
    if wanted.any() and tile.any():
        options: dict[str, Any] = {"faint": float(faint), "go_on": go_on}
        if looked.exact:
            found, counts = sweep_exactly(
                tile, wanted, basis, tiles, by.least, **options
            )
        else:
            peaks = sweep(tile, wanted, basis, tiles, by.limits, **options)
            where = nearest_voxels(peaks.where, plan.step)
            origin = nearest_voxels(first, plan.step)
            found = rescored(
                tile,
                where,
                basis,
                by.least,
                low=plan.inside - origin,
                high=np.array(plan.shape) - 1 - plan.inside - origin,
                go_on=go_on,
            )
            counts = peaks.counts
            if _keeps_field(looked):
                field, best = peaks.scores, peaks.best.astype(np.int32)
                low = first + peaks.low
        if beside is not None:
            less = taken_off(looked.how, tile, found, *beside, go_on=go_on)
            found = found._replace(scores=found.scores - less)
    return {
        "where": found.where + nearest_voxels(first, plan.step),
        "scores": found.scores,
        "rows": found.rows,
        "less": less,
        "counts": np.array(counts),
        "field": field,
        "best": best,
        "low": low,
    }


_SEEDS = 2**32  # that tiles' places, some of them negative, are numbered by
_FAINT = 1e-4  # of the power of a place, where the tomogram is white noise


def _in_region(first: Any, plan: Plan, region: Region) -> NDArray[np.bool_]:
    """Tell which places of a tile lie in a region."""
    axes = [
        nearest_voxels(start + np.arange(n), plan.step)
        for start, n in zip(first, plan.places, strict=True)
    ]
    low = [int(each[0]) for each in axes]
    high = [int(each[-1]) + 1 for each in axes]
    block = region.block(tuple(low), tuple(high))
    return block[np.ix_(*(each - each[0] for each in axes))]
