"""Parts of the benchmark for `search`: how fast it is, and as complete as brute force.

The conditions were fixed before a result was seen. Molecules and noise are those of
`scenes`; voxels are of 1.379 nm, the resolution is 4 of them, tilts go to ±60° and
noise is 3. Picks are 12 nm apart at least, and right within 6 nm of a copy that no
better one is of. Beside `crowding`:

- rate: a tomogram of 250 x 478 x 462 voxels with 150 copies of the 30S, at rotations
  of 12.78°, in a process of its own: for the best 150, and with a null search for those
  of which 5 % are false. What is counted are voxels times rotations, once.
- growth: one thing at a time is changed, at 12 copies a million voxels.
- pytme: smaller ones at the same rotations as pytme has, by the same mask, a
  ball of 10 voxels.
- same: 60 copies in 128³ voxels, by brute force at rotations of 15°, see `exhaustive`.
  The peaks that are asked for are the highest 200, of which 140 are of no copy, with
  scores of 1 % less allowed: these on voxels and rotations, before they climb, as
  `threshold` finds them, which looks from 0.8 of it on.
"""

from __future__ import annotations

import math
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import molecules
import numpy as np
import scenes
from programs import rms, timed
from rivals import (
    DISTANCE,
    OPTIONS,
    WHERE,
    ball,
    by_force,
    by_pytme,
    highest,
    rotations,
)
from scenes import MASK, SCALE, Judged
from scipy.spatial import cKDTree
from whole_job import run_job

import funpipe as fp
from funpipe.io.volumes import write_mrc
from funpipe.jobs.choosing import wanted
from funpipe.jobs.recording import read_record
from funpipe.jobs.sweep_planning import Given, looked_for
from funpipe.jobs.sweeping import swept
from funpipe.jobs.working import running
from funpipe.space.geometry import radius
from funpipe.space.tilts import as_tilt

SPACING, COARSER = 12.78, 15.0  # degrees
NOISE, TILT = 3.0, (-60, 60)
LARGE = (250, 478, 462)


# By path, in a process of its own.


def write_tomogram(folder: Path, shape: Any, count: int, seed: int) -> fp.Molecules:
    """Write a tomogram of the 30S, a template and its mask; return the truth."""
    volume, true = scenes.with_one_kind("30S", count, shape, noise=NOISE, seed=seed)
    template = scenes.image(scenes.body("30S"))
    write_mrc(folder / "tomogram.mrc", volume, SCALE)
    write_mrc(folder / "template.mrc", template, SCALE)
    write_mrc(folder / "mask.mrc", scenes.mask_of(template), SCALE)
    return true


def by_path(folder: Path, true: fp.Molecules, shape: Any, **options: Any) -> Any:
    """Search a written tomogram; return the row."""
    given = {**WHERE, "spacing": SPACING, **options}
    seconds, memory = run_job("funpipe_searched", folder, len(true), **given)
    found = fp.Molecules.from_csv(folder / "found.csv")
    said = read_record(folder / "record.json")
    voxels, places = math.prod(shape), said.counts[0][0]
    right = scenes.judged(found, true)
    return {
        "shape": " x ".join(map(str, shape)),
        "voxels": voxels,
        "resolution": given["resolution"] / SCALE,
        "rotations": said.rotations,
        "functions": said.functions,
        "left by the bound": said.counts[0][1] / places,
        "left by the coarse": said.counts[0][2] / places,
        "copies": len(true),
        "s": seconds,
        "voxels x rotations / s": voxels * said.rotations / seconds,
        "tomogram MB": (folder / "tomogram.mrc").stat().st_size / 2**20,
        "memory MB": memory,
        "found": float(right.right.sum() / len(true)),
        **errors_of(right),
    }


def errors_of(right: Judged) -> dict[str, float]:
    if not right.right.any():
        return {}
    distances, angles = right.distances[right.right], right.angles[right.right]
    return {
        "rms voxels": rms(distances) / SCALE,
        "median degrees": float(np.median(angles)),
        "within 15 degrees": float(np.mean(angles < 15)),
    }


def rate(size: Any) -> list[dict[str, Any]]:
    """Search a tomogram as large as those that others have reported."""
    if not molecules.available(("30S",)):
        return []
    shape = (48, 64, 64) if size.tiny else LARGE
    options = {"spacing": 40.0} if size.tiny else {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        true = write_tomogram(folder, shape, size.count(150), 1)
        idle = {"memory MB of the imports": run_job("idle", folder, 0)[1]}
        return [
            by_path(folder, true, shape, **options, **each)
            | idle
            | {"null": bool(each)}
            for each in ({}, {"false_discovery_rate": 0.05})
        ]


def growth(size: Any) -> list[dict[str, Any]]:
    """Change the voxels, the rotations, and with the resolution the functions."""
    if not molecules.available(("30S",)):
        return []
    middle = (128, 256, 256)
    shapes = [(64, 128, 128), middle, (192, 384, 384)]
    if size.tiny:
        shapes = [middle := (48, 64, 64)]
    spacings = (40.0,) if size.tiny else (25.0, 18.0, SPACING, 9.0)
    rows = []
    for shape in shapes:
        with tempfile.TemporaryDirectory() as name:
            run = partial(by_path, Path(name), shape=shape)
            copies = size.count(round(1.2e-5 * math.prod(shape)))
            true = write_tomogram(Path(name), shape, copies, 2)
            if shape != middle:
                rows.append(run(true) | {"changed": "voxels"})
                continue
            for each in spacings:
                rows.append(run(true, spacing=each) | {"changed": "rotations"})
            for each in () if size.tiny else (8.0, 6.0, 5.0, 3.0):
                row = run(true, resolution=each * SCALE)
                rows.append(row | {"changed": "resolution"})
    return rows


# Beside pytme.


def beside_pytme(size: Any) -> list[dict[str, Any]]:
    """Search smaller tomograms by both, with two threads each.

    What pytme imports is not in its seconds; funpipe's are with and without that, of a
    first search and of a second.
    """
    if not molecules.available(("30S",)):
        return []
    rows = []
    shape = (48, 64, 64) if size.tiny else (64, 128, 128)
    for spacing in (40.0,) if size.tiny else (19.5, SPACING):
        volume, true = scenes.with_one_kind(
            "30S", size.count(20), shape, noise=NOISE, seed=3
        )
        template = scenes.image(scenes.body("30S"), 33)
        mask = ball(template)
        search = partial(
            fp.search,
            volume,
            template=template,
            mask=mask,
            tilt=TILT,
            spacing=spacing,
            count=len(true),
            **OPTIONS,
        )
        (seconds, found), (again, _) = timed(search), timed(search)
        turns = rotations(spacing)
        row = {
            "shape": " x ".join(map(str, shape)),
            "voxels": volume.size,
            "rotations": len(turns),
            "copies": len(true),
            "s": seconds,
            "s again": again,
            "found": float(scenes.judged(found, true).right.mean()),
        }
        if size.pytme:
            theirs, picks = by_pytme(
                size, volume, template, mask, TILT, turns, len(true)
            )
            row |= {
                "pytme": theirs.version,
                "pytme s": theirs.seconds,
                "pytme MB of a process": theirs.memory,
                "pytme found": float(scenes.judged(picks, true).right.mean()),
                "pytme / funpipe": theirs.seconds / seconds,
                "pytme / funpipe again": theirs.seconds / again,
            }
        rows.append(row)
    return rows


# Beside brute force.


def same(size: Any) -> list[dict[str, Any]]:
    """Look for the peaks that brute force finds: all there, and as high?"""
    rows = []
    for name in size.names(("30S", "elongated", "in a membrane")):
        side, spacing = (64, 60.0) if size.tiny else (128, COARSER)
        volume, true = scenes.with_one_kind(
            name,
            size.count(60),
            (side,) * 3,
            noise=NOISE,
            seed=5,  # constants were chosen on 4, 6 and 7
            membranes=2 if name == "in a membrane" else 0,
        )
        template, turns = scenes.image(scenes.body(name)), rotations(spacing)
        mask = scenes.mask_of(template)
        took, scores = timed(by_force, volume, template, mask, TILT, turns)
        there = highest(scores, turns, 5 if size.tiny else 200)
        least = float(there.features["score"].min())
        for exact in (False, True):
            seconds, raw = timed(
                on_grid, volume, template, spacing, least=0.99 * least, exact=exact
            )
            rows.append(
                {
                    "molecule": name,
                    "exact": exact,
                    "rotations": len(turns),
                    "peaks": len(there),
                    "least": least,
                    "raw peaks": len(raw),
                    "s": seconds,
                    "exhaustive s": took,
                    "copies among the first": copies_first(apart(raw), true),
                    "exhaustive copies among the first": copies_first(there, true),
                    **compared(raw, there, scores.best, true),
                }
            )
    return rows


def on_grid(
    volume: np.ndarray,
    template: np.ndarray,
    spacing: float,
    *,
    least: float,
    exact: bool,
) -> fp.Molecules:
    """Return the peaks of a search from a score on, as they are before they climb."""
    how = running(progress=False)
    looked, given = looked_for(
        Given(volume, template, MASK, SCALE, as_tilt("tilt", TILT), "all", None, how),
        wanted(None, least, None, DISTANCE),
        spacing=spacing,
        resolution=WHERE["resolution"],
        symmetry="C1",
        whiten=False,
        exact=exact,
        maps=False,
        background=None,
    )
    looked = looked._replace(least=least) if exact else looked
    found = swept(given.places[0], looked, how)
    found = found.take(found.scores >= least)
    turns = looked.grid.rotations[found.rows]
    return fp.Molecules(
        found.where * SCALE, turns, {"score": found.scores.astype(float)}
    )


def apart(raw: fp.Molecules) -> fp.Molecules:
    """Return the best peaks that are a distance apart, the best first."""
    order = np.argsort(-raw.features["score"], kind="stable")
    tree, out, kept = cKDTree(raw.positions), set(), []
    for i in order.tolist():
        if i not in out:
            kept.append(i)
            out.update(tree.query_ball_point(raw.positions[i], DISTANCE))
    return raw[np.array(kept, int)]


def copies_first(picks: fp.Molecules, true: fp.Molecules) -> float:
    return float(scenes.judged(picks[: len(true)], true).right.sum() / len(true))


def compared(
    raw: fp.Molecules, there: fp.Molecules, scores: np.ndarray, true: fp.Molecules
) -> dict[str, float]:
    """Compare peaks with those of brute force.

    One is found where there is a peak within three voxels; of several the one counts
    whose score is most like it. Which are left of several that are near each other is a
    matter of single bits, so all are compared. Besides all there are those of copies,
    and of the others those that are the highest place within the distance, and no
    shoulder of a higher peak further away.
    """
    score, least = there.features["score"], np.full(len(there), np.inf)
    near = cKDTree(raw.positions).query_ball_point(there.positions, 3 * SCALE)
    for i, some in enumerate(near):
        ratios = raw.features["score"][some] / score[i] - 1
        least[i] = min(ratios, key=abs, default=np.inf)
    found = np.isfinite(least)
    copies = scenes.judged(there, true).right
    alone = ~copies & highest_around(there, scores)
    return {
        "found": part(found),
        "found, of copies": part(found[copies]),
        "others": int(alone.sum()),
        "found, of others": part(found[alone]),
        "as high within 1 %": part(abs(least[found]) < 0.01),
        "score above, median": float(np.median(least[found])),
        "score above, least": float(least[found].min()),
    }


def part(some: np.ndarray) -> float:
    return float(some.mean()) if len(some) else 1.0


def highest_around(there: fp.Molecules, scores: np.ndarray) -> np.ndarray:
    """Tell which peaks are the highest place within the distance."""
    reach = math.ceil(DISTANCE / SCALE)
    padded = np.pad(scores, reach, constant_values=-1)
    side = 2 * reach + 1
    inside = radius((side,) * 3) <= DISTANCE / SCALE
    voxels = np.round(there.positions / SCALE).astype(int)
    blocks = [padded[tuple(slice(i, i + side) for i in at)] for at in voxels]
    tops = np.array([block[inside].max() for block in blocks])
    return tops <= there.features["score"] * (1 + 1e-6)
