"""A tomogram swept tile by tile for turned templates, here or by an executor."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.base.threads import one_thread
from funpipe.boxes.chunks import chunk_keys, opened, stays
from funpipe.boxes.opening import Source, in_tomogram
from funpipe.boxes.tiles import (
    Plan,
    Scan,
    plan_tiles,
    read_tile,
    tile_chunks,
)
from funpipe.engine.basis import Basis, Seen, search_basis
from funpipe.engine.chances import Limits, limits_of, score_of_chance
from funpipe.engine.exactly import sweep_exactly
from funpipe.engine.rescoring import Rescored, rescored
from funpipe.engine.settings import SWEEP
from funpipe.engine.sweep import Tiling, sweep, tiling
from funpipe.jobs.regions import Region
from funpipe.jobs.working import Job, Result, Running, results
from funpipe.space.crops import Support
from funpipe.space.geometry import RotationGrid
from funpipe.space.tilts import Tilt
from funpipe.space.transfer import per_voxel, placed, transfer_of

__all__ = ["Found", "LookedFor", "swept"]

_LOG = logging.getLogger("funpipe")


class LookedFor(NamedTuple):
    """What a tomogram is swept for; lengths in voxels."""

    templates: NDArray[np.float32]
    """Masked, (m, z, y, x)."""
    grid: RotationGrid
    finest: float
    """The shortest period."""
    support: Support
    whiten: bool
    exact: bool
    expected: float
    """How many peaks white noise may have: what scores less is not kept."""
    least: float | None = None
    """The least score, over that."""


class Found(NamedTuple):
    """Peaks of a tomogram's scores."""

    where: NDArray[np.float64]
    """(n, 3), voxels."""
    scores: NDArray[np.float32]
    rows: NDArray[np.intp]
    """Which of the turned templates, template by template."""
    counts: NDArray[np.int64]
    """(4,), places looked at, left by the bound, by the coarse rotations, and peaks."""
    least: float
    """The least score of what is kept."""
    numbers: float
    """See `funpipe.engine.basis.Basis.numbers`."""
    functions: int
    """How many were correlated."""

    def take(self, chosen: Any) -> Found:
        """Return some of them."""
        where, scores, rows = (each[chosen] for each in self[:3])
        return self._replace(where=where, scores=scores, rows=rows)


def swept(
    source: Source, scan: Scan, looked: LookedFor, region: Region, how: Running
) -> Found:
    """Return where in a tomogram templates may be, the best of each surroundings.

    Parameters
    ----------
    source : Source
        The tomogram, open.
    scan : Scan
        What its voxels are like.
    looked : LookedFor
        What is looked for.
    region : Region
        Where.
    how : Running
        Where the work runs, and what is kept and shown of it.
    """
    side = int(looked.support.periods[0])
    step = 1.0 if looked.exact else max(1.0, math.floor(looked.finest) / 2)
    z, y, x = source.shape
    plan = plan_tiles((z, y, x), step, side // 2)
    chunks = tile_chunks(source, plan)
    with one_thread():
        seen = _seen(source, scan, looked, plan)
        basis = search_basis(
            looked.templates,
            looked.grid,
            looked.finest,
            support=looked.support,
            seen=seen,
            step=step,
            part=SWEEP.exact_part if looked.exact else SWEEP.part,
        )
        poses = plan.count() * len(basis.rows)
        least = score_of_chance(basis.numbers, poses, _POSES * looked.expected)
        least = least if looked.least is None else looked.least
        limits = limits_of(basis, least, SWEEP.missed)
    job = Job(
        "search",
        chunks,
        partial(_parts, plan),
        partial(_task, basis, plan, seen.data, limits, least, looked, region, scan),
        _alone,
        lambda: ((looked, region, scan, plan), chunk_keys(chunks)),
        unit="tile",
    )
    with closing(results(job, how)) as found:
        parts = list(found)
    joined = {name: np.concatenate([each[name] for each in parts]) for name in _ARRAYS}
    counts = np.sum([each["counts"] for each in parts], axis=0)
    _LOG.info(
        "search: of %d places %d were left by the bound, %d by the first rotations; "
        "%d peaks, of which one of a score of %.3g is missed with a chance of 1 in %d",
        *counts,
        least,
        round(1 / (2 * SWEEP.missed)),
    )
    return Found(
        joined["where"],
        joined["scores"],
        joined["rows"],
        counts,
        least,
        basis.numbers,
        len(basis.functions),
    )


_ARRAYS = "where", "scores", "rows"
_POSES = 30.0  # that are above a limit with each peak, places and rotations around it


def _seen(source: Source, scan: Scan, looked: LookedFor, plan: Plan) -> Seen:
    """Return what tilts and noise leave, as at the middle of the tomogram."""
    extent = float(min(looked.support.periods)) * source.scale
    tilt = per_voxel(placed(source.tilt, np.zeros((1, 3)), extent), source.scale)
    noise = _noise(source, scan, looked, plan, tilt) if looked.whiten else None
    return Seen(partial(_part_of, tilt, noise, 0), partial(_part_of, tilt, noise, 1))


def _part_of(tilt: Tilt, noise: Any, which: int, vectors: Any) -> Any:
    """Return b or g of `funpipe.engine.basis` at vectors (3, ...)."""
    flat = vectors.reshape(3, 1, -1)
    done = transfer_of(tilt, flat)
    if done.amplitude is None:
        found = np.sqrt(done.weight)
    else:
        found = (done.amplitude * done.weight, done.weight)[which]
    if noise is not None:
        length = np.sqrt(np.square(flat).sum(axis=0))
        found = found / np.sqrt(np.interp(length, *noise))
    return found.reshape(vectors.shape[1:])


_SAMPLE = 8  # tiles that the noise is measured in


def _noise(
    source: Source, scan: Scan, looked: LookedFor, plan: Plan, tilt: Tilt
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean power of the tomogram's waves that are seen, by |k|."""
    chosen = np.unique(np.linspace(0, len(plan.first) - 1, _SAMPLE).astype(int))
    some = [tile_chunks(source, plan)[i] for i in chosen]
    edges = np.arange(1, int(looked.support.periods[0]) // 2 + 2)
    edges = (edges - 0.5) / looked.support.periods[0]
    total, count = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    for each in opened(some):
        tile, _ = read_tile(each, plan, looked.support, scan)
        tapered = tile
        for axis, n in enumerate(tile.shape):
            taper = np.hanning(n + 2)[1:-1].astype(np.float32)
            tapered = tapered * taper.reshape(
                [-1 if i == axis else 1 for i in range(3)]
            )
        power = np.square(np.abs(scipy.fft.rfftn(tapered)))
        axes = [*map(np.fft.fftfreq, tile.shape[:2]), np.fft.rfftfreq(tile.shape[2])]
        k = np.stack(np.meshgrid(*axes, indexing="ij"))
        seen = _part_of(tilt, None, 1, k) > 0
        shell = np.digitize(np.sqrt(np.square(k).sum(axis=0)), edges) - 1
        inside = seen & (shell >= 0) & (shell < len(total))
        total += np.bincount(shell[inside], power[inside], len(total))
        count += np.bincount(shell[inside], minlength=len(count))
    mean = total / np.maximum(count, 1)
    mean = np.maximum(mean, 1e-6 * mean.max() or 1.0)
    return (edges[1:] + edges[:-1]) / 2, mean / mean.max()


def _parts(plan: Plan, some: Any, folder: Path | None) -> Any:
    found = opened(some, folder)
    if folder is None:
        return found
    return (_alone(each) if stays(each) else each for each in found)


def _alone(part: Source) -> Source:
    """Return a tile that can be read anywhere, with its whole tomogram."""
    return part._replace(array=np.asarray(part.array[:, :, :]))


def _task(
    basis: Basis,
    plan: Plan,
    data: Callable[[Any], Any],
    limits: Limits,
    least: float,
    looked: LookedFor,
    region: Region,
    scan: Scan,
) -> Callable[..., Result]:
    with one_thread():
        tiles = tiling(basis, plan.places, data)
    return partial(
        _sweep,
        basis=basis,
        tiles=tiles,
        plan=plan,
        limits=limits,
        least=least,
        looked=looked,
        region=region,
        scan=scan,
    )


def _sweep(
    part: Source,
    *,
    basis: Basis,
    tiles: Tiling,
    plan: Plan,
    limits: Limits,
    least: float,
    looked: LookedFor,
    region: Region,
    scan: Scan,
    go_on: Callable[[], None],
) -> Result:
    """Return the peaks of a tile."""
    with in_tomogram(part.name):
        tile, first = read_tile(part.reopened(), plan, looked.support, scan)
    go_on()
    wanted = plan.own(first) & _in_region(first, plan, region)
    counts = (0, 0, 0, 0)
    none = np.zeros(0, np.intp)
    found = Rescored(np.zeros((0, 3), np.intp), np.zeros(0, np.float32), none)
    corner = np.round(first * plan.step).astype(np.intp)
    faint = _FAINT * 2 * np.count_nonzero(basis.g) * np.square(basis.window).sum()
    if wanted.any() and tile.any():
        if looked.exact:
            found, counts = sweep_exactly(
                tile, wanted, basis, tiles, least, faint=faint, go_on=go_on
            )
        else:
            peaks = sweep(tile, wanted, basis, tiles, limits, faint=faint, go_on=go_on)
            where = np.floor(peaks.where * plan.step + 0.5).astype(np.intp)
            found = rescored(tile, where, peaks.rows, basis, least)
            counts = peaks.counts
    return {
        "where": found.where + corner,
        "scores": found.scores,
        "rows": found.rows,
        "counts": np.array(counts),
    }


_FAINT = 1e-4  # of the power of a place, where the tomogram is white noise


def _in_region(first: Any, plan: Plan, region: Region) -> NDArray[np.bool_]:
    """Tell which places of a tile lie in a region."""
    axes = [
        np.floor((start + np.arange(n)) * plan.step + 0.5).astype(np.intp)
        for start, n in zip(first, plan.places, strict=True)
    ]
    inside = [
        (axis >= 0) & (axis < n) for axis, n in zip(axes, plan.shape, strict=True)
    ]
    found = np.zeros(plan.places, bool)
    if not all(each.any() for each in inside):
        return found
    some = [axis[each] for axis, each in zip(axes, inside, strict=True)]
    low = [int(each[0]) for each in some]
    high = [int(each[-1]) + 1 for each in some]
    block = region.block(low, high)
    picked = block[np.ix_(*(each - each[0] for each in some))]
    found[np.ix_(*inside)] = picked
    return found
