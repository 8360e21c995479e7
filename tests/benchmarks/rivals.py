"""Matching by brute force and by pytme, of what `search` is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import scenes
import scipy
from exhaustive import Scores, exhaustive, peaks
from pytme_matching import Found, pytme_matched
from scenes import SCALE

import funpipe as fp
from funpipe.engine.bank import masked
from funpipe.engine.basis import ball_of
from funpipe.space.fourier import fourier_vectors
from funpipe.space.geometry import radius, whole_grid
from funpipe.space.tilts import as_tilt
from funpipe.space.transfer import TiltSeries, per_voxel

FINEST = 4.0  # voxels
DISTANCE = 12.0  # nm
BALL = 10.0  # voxels
WHERE = {"scale": SCALE, "resolution": FINEST * SCALE, "distance": DISTANCE}
OPTIONS = {**WHERE, "rotations": "all", "progress": False}


def ball(template: np.ndarray) -> np.ndarray:
    """Return the mask that pytme has, and others beside it."""
    return np.clip(BALL + 0.5 - radius(template.shape), 0, 1).astype(np.float32)


def rotations(spacing: float) -> Any:
    """Return what "all" is at a spacing."""
    return whole_grid(spacing).rotations


def by_pytme(
    size: Any, volume: Any, template: Any, mask: Any, tilt: Any, turns: Any, count: int
) -> tuple[Found, fp.Molecules]:
    """Match by pytme, all waves that count and no others, in both.

    What is done to the tomogram before is not in the time.
    """
    left, measured = seen_of(tilt)

    def within(k: np.ndarray) -> np.ndarray:
        return np.square(k).sum(axis=0) <= FINEST**-2

    whole = fourier_vectors(volume.shape, 1.0)
    waves = scipy.fft.rfftn(volume.astype(np.float32)) * (
        measured(whole) * within(whole)
    )
    axes = [np.fft.fftfreq(n) for n in template.shape]
    k = np.stack(np.meshgrid(*axes, indexing="ij"))
    found = pytme_matched(
        size.pytme,
        scipy.fft.irfftn(waves, s=volume.shape),
        masked(template, mask),
        mask,
        turns.as_matrix(),
        left(k) * within(k),
    )
    scores = Scores(where_whole(found.best, template.shape), found.rotation)
    return found, highest(scores, turns, count)


def where_whole(scores: np.ndarray, box: tuple[int, ...]) -> np.ndarray:
    """Return scores of places where a box is whole, as `search` looks at; −1 others."""
    kept = np.full_like(scores, -1)
    whole = tuple(
        slice(m // 2, n - m // 2) for n, m in zip(scores.shape, box, strict=True)
    )
    kept[whole] = scores[whole]
    return kept


def highest(scores: Scores, turns: Any, count: int) -> fp.Molecules:
    return peaks(*scores, turns, SCALE, distance=DISTANCE, count=count)


def seen_of(tilt: Any) -> tuple[Any, Any]:
    """Return what a tilt leaves at the centre, and what it measures, by 1/voxel."""
    weights = as_tilt("tilt", tilt)
    if not isinstance(weights, TiltSeries):
        wedge = per_voxel(weights, SCALE)
        return wedge, wedge
    there = weights.at(np.zeros((1, 3)), scenes.EXTENT)

    def left(k: np.ndarray) -> np.ndarray:
        flat = k.reshape(3, 1, -1) / SCALE
        return there.amplitudes(flat).reshape(k.shape[1:])

    return left, per_voxel(there, SCALE).measured


def by_force(volume: Any, template: Any, mask: Any, tilt: Any, turns: Any) -> Scores:
    left, measured = seen_of(tilt)
    under = masked(template, mask)
    options = {"left": left, "measured": measured}
    found = exhaustive(volume, under, turns, ball_of(under[None]), FINEST, **options)
    return found._replace(best=where_whole(found.best, template.shape))
