"""What tomograms are swept for, and how each of them shows it."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.boxes.chunks import opened
from funpipe.boxes.opening import Source
from funpipe.boxes.region import Region
from funpipe.boxes.tiles import Plan, Scan, plan_tiles, read_tile, tile_chunks
from funpipe.engine.basis import Basis, Seen, search_basis
from funpipe.engine.settings import SWEEP
from funpipe.space.crops import Support
from funpipe.space.geometry import RotationGrid
from funpipe.space.tilts import Tilt
from funpipe.space.transfer import per_voxel, placed, transfer_of

__all__ = ["LookedFor", "Place", "basis_for", "plan_of", "seen_in"]


class LookedFor(NamedTuple):
    """What tomograms are swept for; lengths in voxels."""

    templates: NDArray[np.float32]
    """Masked, (m, z, y, x)."""
    grid: RotationGrid
    finest: float
    """The shortest period."""
    support: Support
    whiten: bool
    exact: bool
    maps: bool
    """Whether all rotations are tried at all places, and their best is kept."""
    expected: float
    """How many peaks white noise may have: what scores less is not kept."""
    least: float | None
    """The least score, over that."""
    background: NDArray[np.float32] | None = None
    """Templates that scores are corrected by, see `funpipe.engine.background`."""
    how: str = "subtracted"
    """By which of its ways."""
    tophat: float | None = None
    """How long lines are along which scores are high, see `funpipe.engine.tophat`."""
    in_noise: bool = False
    """Whether in noise of their power, in place of the tomograms themselves."""


class Place(NamedTuple):
    """A tomogram, and where in it to look."""

    source: Source
    scan: Scan
    """What its voxels are like."""
    region: Region


def plan_of(place: Place, looked: LookedFor, step: float, beyond: int) -> Plan:
    """Return the tiles of a tomogram, with so many voxels beyond their crops."""
    shape = place.source.shape[0], place.source.shape[1], place.source.shape[2]
    z, y, x = looked.support.box
    half = int(looked.support.periods[0]) // 2
    return plan_tiles(shape, step, (z // 2, y // 2, x // 2), half + beyond)


def basis_for(looked: LookedFor, seen: Seen) -> Basis:
    """Return the turned templates as they are seen, and functions of theirs."""
    return search_basis(
        looked.templates,
        looked.grid,
        looked.finest,
        support=looked.support,
        seen=seen,
        part=SWEEP.exact_part if looked.exact else SWEEP.part,
    )


def seen_in(place: Place, looked: LookedFor) -> Seen:
    """Return what tilts and noise leave, as at the middle of the tomogram."""
    source = place.source
    extent = float(min(looked.support.periods)) * source.scale
    tilt = per_voxel(placed(source.tilt, np.zeros((1, 3)), extent), source.scale)
    noise = _noise(place, looked, tilt) if looked.whiten else None
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
    place: Place, looked: LookedFor, tilt: Tilt
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean power of the tomogram's waves that are seen, by |k|."""
    plan = plan_of(place, looked, 1.0, 0)
    chosen = np.unique(np.linspace(0, len(plan.first) - 1, _SAMPLE).astype(int))
    some = [tile_chunks(place.source, plan)[i] for i in chosen]
    side = looked.support.periods[0]
    edges = (np.arange(1, int(side) // 2 + 2) - 0.5) / side
    total, count = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    for each in opened(some):
        tile = read_tile(each, plan, looked.support, place.scan).values
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
