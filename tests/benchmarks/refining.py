"""Parts of the benchmark for refinement: how far it gets, and whether it says so.

The conditions were fixed before a result was seen: the 30S at 1 nm a voxel in a box of
32, as Gaussians of one voxel; tilts of ±60°; noise in units of the template's standard
deviation inside its mask, which reaches 2 nm beyond the outline. It begins at 4 nm.
Particles are on a lattice as wide as their box. The truth is where the correlation of
the mean of both halves with the molecule falls below 0.5, as √(2 C / (1 + C)) does at
C = 0.143: under the mask where it is compared with what is reported, else without.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import molecules
import numpy as np
from programs import rms
from scipy.spatial.transform import Rotation
from tilts import ribosome

import funpipe as fp
from funpipe.simulate import blob_image, perturbed, tomogram
from funpipe.space.shells import resolution_at

SCALE, PITCH, EDGE, TILT = 1.0, 32, 32, (-60, 60)
MASK = fp.soft_otsu(sigma=1.0, radius=2.0)
OPTIONS = {"start": 4.0, "scale": SCALE, "tilt": TILT, "progress": False}
NEAR = {"max_shifts": 3.0, "rotations": ((15, 5),) * 3}
WHERE = {"scale": SCALE, "tilt": TILT, "progress": False}


class Framed(NamedTuple):
    """A result in the molecule's frame."""

    maps: fp.Halves
    angle: float
    """Degrees, the root mean square of its errors."""
    distance: float
    """nm, likewise."""


class Case:
    """The 30S in a tomogram, and its mask."""

    def __init__(self, layers: int, side: int, box: int) -> None:
        self.blobs = ribosome(SCALE, box)
        self.template = blob_image(self.blobs, (box,) * 3, SCALE)
        self.mask = fp.prepare(self.template, MASK, SCALE).mask
        self.unit = float(self.template[self.mask > 0.5].std())
        sides = layers, side, side
        grid = np.stack(np.meshgrid(*map(np.arange, sides), indexing="ij"), -1)
        places = grid.reshape(-1, 3) * PITCH + EDGE
        self.shape = tuple((each - 1) * PITCH + 2 * EDGE for each in sides)
        self.true = fp.Molecules(places, Rotation.random(len(places), rng=0))

    def tomogram(self, noise: float, seed: int) -> np.ndarray:
        return tomogram(
            self.blobs,
            self.true,
            self.shape,
            SCALE,
            tilt=TILT,
            noise=noise * self.unit,
            seed=seed,
        )

    def truth(self, maps: fp.Halves, mask: Any) -> float:
        """Return the resolution that a comparison with the molecule gives."""
        mean = (maps.first + maps.second) / 2
        curve = fp.fsc(mean, self.template, mask=mask, scale=SCALE)
        return resolution_at(curve.frequency, curve.fsc, 0.5)

    def frame_of(self, last: fp.Iteration, image: np.ndarray) -> Framed:
        """Return the last result in the molecule's frame, whatever its own was."""
        found, true = last.molecules, self.true
        turns = (true.rotations.inv() * found.rotations).as_quat()
        frame = Rotation.from_quat(np.linalg.eigh(turns.T @ turns)[1][:, -1])
        found = found.rotate(frame.inv(), frame="particle")
        away = found.rotations.inv().apply(found.positions - true.positions)
        found = found.translate(-away.mean(axis=0), frame="particle")
        angles = (true.rotations.inv() * found.rotations).magnitude()
        return Framed(
            fp.half_averages(image, found, shape=self.template.shape, **WHERE),
            rms(np.degrees(angles)),
            rms(np.linalg.norm(found.positions - true.positions, axis=1)),
        )

    def ideal(self, image: np.ndarray) -> fp.Halves:
        """Return averages at the true poses."""
        split = fp.halves(self.true)
        return fp.half_averages(image, split, shape=self.template.shape, **WHERE)


def refined(image: Any, picks: Any, **options: Any) -> tuple[list[fp.Iteration], float]:
    start = time.perf_counter()
    steps = list(fp.refine(image, picks, **{**OPTIONS, **options}))
    return steps, time.perf_counter() - start


def reach(size: Any) -> list[dict[str, Any]]:
    """Refine 300 particles from a template, from their picks, and from nothing."""
    if not molecules.available(("30S",)):
        return []
    case = Case(1, 2, size.box(32)) if size.tiny else Case(3, 10, 32)
    shape = len(case.template)
    alone = {"shape": shape, "mask": case.mask}
    rows = []
    for begin, noise, angle, options in (
        ("a template at 4 nm", 3.0, 10.0, {"template": case.template, "mask": MASK}),
        ("picks off by up to 30°", 3.0, 30.0, alone),
        ("random orientations", 1.0, None, alone),
    ):
        image = case.tomogram(noise, seed=1)
        near = perturbed(case.true, 2.0, angle or 0.0, seed=2)
        search = {"max_shifts": 4.0, "rotations": (40, 8) if angle == 30 else (15, 5)}
        if angle is None:
            near = fp.random_rotations(near, seed=3)
            search["rotations"] = size.turns if size.tiny else "all"
        steps, seconds = refined(image, near, **options, **search)
        ours, best = case.frame_of(steps[-1], image), case.ideal(image)
        rows.append(
            {
                "from": begin,
                "noise": noise,
                "particles": len(near),
                "iterations": sum(each.number > 0 for each in steps),
                "s": seconds,
                "resolution": steps[-1].resolution,
                "truth": case.truth(ours.maps, None),
                "at true poses": case.truth(best, None),
                "rms angle": ours.angle,
                "rms distance": ours.distance,
            }
        )
    return rows


def honest(size: Any) -> list[dict[str, Any]]:
    """Compare what is reported with the truth, run by run."""
    if not molecules.available(("30S",)):
        return []
    case = Case(1, 2, size.box(32)) if size.tiny else Case(1, 10, 32)
    options = {"template": case.template, "mask": MASK, "iterations": 4, **NEAR}
    rows = []
    for noise, runs, part in ((3.0, 8, 0.0), (6.0, 8, 0.0), (6.0, 8, 0.3)):
        over, inside, torn = [], [], []
        for seed in range(size.count(runs)):
            image = case.tomogram(noise, seed=10 + seed)
            picks = perturbed(with_twins(case.true, part), 1.0, 10.0, seed=seed)
            steps, _ = refined(image, picks, **options)
            for step in steps:
                true = case.truth(step.maps, case.mask)
                over.append(true / step.resolution)
                finest, coarsest = step.fsc.resolution_range()
                inside.append(finest <= true <= coarsest)
            if part:
                last = steps[-1].molecules
                torn.append(true / split_at_random(image, last, case, seed))
        row = {
            "case": f"noise {noise:g}" + (", 30 % picked twice" if part else ""),
            "runs": size.count(runs),
            "iterations": len(over),
            "truth / reported, median": float(np.median(over)),
            "largest": max(over),
            "more than 1.05": float(np.mean(np.array(over) > 1.05)),
            "truth in the band of 95 %": float(np.mean(inside)),
        }
        if part:
            row["with the twins torn apart, median"] = float(np.median(torn))
        rows.append(row)
    runs = size.count(20)
    claims = []
    for seed in range(runs):
        noise = np.random.default_rng(seed).normal(size=case.shape)
        steps, _ = refined(noise.astype(np.float32), case.true, **options)
        claims.append(min(each.resolution for each in steps))
    row = {"case": "pure noise", "runs": runs}
    row["finest claim, nm"] = min(claims)
    row["claims beyond the start"] = sum(each < OPTIONS["start"] for each in claims)
    return [*rows, row]


def with_twins(picks: fp.Molecules, part: float) -> fp.Molecules:
    return fp.Molecules.concat([picks, picks[: round(part * len(picks))]])


def split_at_random(image: Any, found: fp.Molecules, case: Case, seed: int) -> float:
    """Return what halves would report that do not know of duplicates."""
    half = np.random.default_rng(seed).permutation(np.arange(len(found)) % 2 + 1)
    blind = fp.Molecules(found.positions, found.rotations, {"half": half})
    maps = fp.half_averages(image, blind, shape=case.template.shape, **WHERE)
    curve = fp.fsc(maps.first, maps.second, mask=case.mask, scale=SCALE)
    return curve.resolution(0.143)
