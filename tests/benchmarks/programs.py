"""Alignments of the same arrays by funpipe, acryo and RELION, and what they are worth.

Lengths are in voxels, angles in degrees. All searches are of 343 rotations, up to 12
degrees about each axis, and shifts of up to 3 voxels, unless a function says otherwise.
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from molecules import RADIUS, TILT, Made
from relion import relion_aligned

import funpipe as fp
from funpipe.simulate import Particles, pose_bound

GRID = ((12, 4),) * 3
WINDOW = 3.0
RESOLUTION = 4.0


class Errors(NamedTuple):
    """How far poses are from the truth, one number a particle."""

    angles: np.ndarray
    distances: np.ndarray


def timed(function: Any, *args: Any, **options: Any) -> tuple[float, Any]:
    start = time.perf_counter()
    result = function(*args, **options)
    return time.perf_counter() - start, result


def rms(values: Any) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def first(them: Particles, count: int) -> Particles:
    return Particles(*(each[:count] for each in them))


def errors(rotations: Any, shifts: np.ndarray, them: Particles) -> Errors:
    angles = np.degrees((them.rotations.inv() * rotations).magnitude())
    return Errors(angles, np.linalg.norm(shifts - them.shifts, axis=1))


def summary(found: Errors) -> dict[str, float]:
    return {
        "rms angle": rms(found.angles),
        "rms distance": rms(found.distances),
        "median angle": float(np.median(found.angles)),
        "median distance": float(np.median(found.distances)),
    }


def named(prefix: str, row: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix} {key}": value for key, value in row.items()}


def aligned(made: Made, **options: Any) -> fp.Alignment:
    settings = {
        "template": made.template,
        "mask": made.mask,
        "scale": 1.0,
        "max_shifts": WINDOW,
        "rotations": GRID,
        "tilt": TILT,
        "orientations": made.particles.orientations,
        "resolution": RESOLUTION,
        "progress": False,
    }
    return fp.align_subtomograms(made.particles.boxes, **{**settings, **options})


def against_bound(made: Made, found: fp.Alignment, resolution: float) -> dict[str, Any]:
    """Return errors, and their ratios to the bound and to what is stated."""
    ours = errors(found.rotations, found.shifts, made.particles)
    angles, distances = pose_bound(
        made.blobs,
        made.particles,
        1.0,
        resolution=resolution,
        noise=made.sigma,
        tilt=TILT,
    )
    return summary(ours) | {
        "bound angle": rms(angles),
        "bound distance": rms(distances),
        "angle / bound": rms(ours.angles) / rms(angles),
        "distance / bound": rms(ours.distances) / rms(distances),
        **against_stated(ours, found),
    }


def against_stated(ours: Errors, found: fp.Alignment) -> dict[str, float]:
    """Return errors' ratios to what is stated."""
    return {
        "angle / stated": rms(ours.angles) / rms(found.angle_errors),
        "distance / stated": rms(ours.distances) / rms(found.shift_errors),
    }


def acryo_poses(
    made: Made, rotations: Any = GRID, window: float = WINDOW
) -> tuple[list[float], np.ndarray, np.ndarray]:
    """Return acryo's seconds for each particle, and its quaternions and shifts.

    The first particle's seconds hold the making of the turned templates.
    """
    from acryo.alignment import ZNCCAlignment
    from acryo.tilt import single_axis

    model = ZNCCAlignment.with_params(
        rotations=rotations, cutoff=1 / RESOLUTION, tilt=single_axis(TILT)
    )(made.template, made.mask)
    seconds, found = zip(
        *(
            timed(model.align, box, (window,) * 3, quaternion=orientation.as_quat())
            for box, orientation in zip(
                made.particles.boxes, made.particles.orientations, strict=True
            )
        ),
        strict=True,
    )
    quaternions = np.array([one.quat for one in found])
    return list(seconds), quaternions, np.array([one.shift for one in found])


def each_of_many(seconds: list[float], count: int) -> float:
    """Return the seconds a particle, were there ``count`` of them."""
    each = float(np.median(seconds[1:] or seconds))
    return each + max(0.0, seconds[0] - each) / count


def acryo_errors(made: Made, count: int) -> Errors:
    """Return the errors of the first particles, found by two processes."""
    from scipy.spatial.transform import Rotation

    few = first(made.particles, count)
    halves = [
        made._replace(particles=Particles(*(each[i::2] for each in few)))
        for i in range(2)
    ]
    with ProcessPoolExecutor(2) as pool:
        done = list(pool.map(acryo_poses, halves))
    found = [
        errors(Rotation.from_quat(quaternions), shifts, half.particles)
        for (_, quaternions, shifts), half in zip(done, halves, strict=True)
    ]
    return Errors(*map(np.concatenate, zip(*found, strict=True)))


def relion_found(made: Made, count: int, order: int) -> dict[str, float]:
    """Return RELION's time and errors of the first particles."""
    few, box = first(made.particles, count), len(made.template)
    found = relion_aligned(
        made.template,
        made.mask,
        few,
        tilt=TILT,
        resolution=RESOLUTION,
        window=WINDOW,
        diameter=2 * RADIUS[box] + 8,
        order=order,
    )
    found_errors = errors(found.rotations, found.shifts, few)
    return summary(found_errors) | {
        "ms": 1e3 * found.seconds / len(few.boxes),
        "processor ms": 1e3 * found.cpu_seconds / len(few.boxes),
    }


def sgemm_rate(size: int = 2000) -> float:
    """Return the GFLOP a second of one large product of float32 matrices."""
    large = np.random.default_rng(0).standard_normal((size, size), dtype=np.float32)
    seconds = [timed(np.matmul, large, large)[0] for _ in range(4)]
    return 2e-9 * size**3 / float(np.median(seconds[1:]))
