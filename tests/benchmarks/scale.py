"""What preparing a search costs: processor seconds, and memory beyond the imports.

Each case is run in a process of its own, on data that are handed to it.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from molecules import TILT, made
from scipy.spatial.transform import Rotation
from whole_job import write_job

import funpipe as fp
from funpipe.engine import matching
from funpipe.engine.bank import masked, template_bank
from funpipe.space.crops import support_of, whole_boxes
from funpipe.space.geometry import rotation_grid
from funpipe.space.tilts import no_tilt


class Case(NamedTuple):
    """A search to prepare; lengths in voxels."""

    box: int
    rotations: Any
    window: float
    resolution: float
    templates: int = 1
    particles: int = 1


CASES = (
    Case(48, None, 8.0, 2.0),
    Case(64, ((12, 4),) * 3, 10.0, 2.0),
    Case(128, ((12, 4),) * 3, 3.0, 4.0),
    Case(32, ((12, 4),) * 3, 3.0, 4.0, particles=64),
    Case(32, ((12, 4),) * 3, 3.0, 4.0, templates=10, particles=64),
)


def prepared(case: Case, templates: np.ndarray, boxes: np.ndarray) -> dict[str, float]:
    """Prepare a search and align with it; return what each took of a processor."""
    window, grid = (case.window,) * 3, rotation_grid(case.rotations)
    support = support_of(templates, window)
    start = time.process_time()
    bank = template_bank(templates, grid, window, case.resolution, support=support)
    there = time.process_time()
    at = Rotation.identity(len(boxes))
    matching.match(whole_boxes(boxes), at, bank=bank, tilt=no_tilt)
    each = (time.process_time() - there) / len(boxes)
    return {"s of preparation": there - start, "ms": 1e3 * each}


def checked(folder: Path, window: float, rotations: Any) -> dict[str, float]:
    """Check picks before they are aligned, of all rotations too."""
    start = time.process_time()
    fp.check(
        folder / "tomogram.mrc",
        fp.Molecules.from_csv(folder / "picks.csv"),
        template=fp.from_file(folder / "template.mrc"),
        mask=fp.soft_otsu(1.0, 4.0),
        max_shifts=window,
        rotations=rotations,
        tilt=TILT,
    )
    return {"s": time.process_time() - start}


def with_memory(function: Callable[..., dict[str, float]], *args: Any) -> Any:
    """Return what a function does, and the MB that it needs beyond what is there."""
    before = memory("VmRSS")
    row = function(*args)
    return row | {"memory MB": memory("VmHWM") - before}


def memory(name: str) -> float:
    """Return the MB that Linux knows of this process."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return float(status.split(f"{name}:")[1].split()[0]) / 1024


def alone(function: Callable[..., dict[str, float]], *args: Any) -> dict[str, float]:
    """Run a function in a process that has done nothing before."""
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawned) as pool:
        return pool.submit(with_memory, function, *args).result()


def of_case(case: Case) -> dict[str, Any]:
    """Return the row of a search."""
    all_made = [
        made(
            f"simulated {i}", case.box, noise=0.0, count=case.particles if not i else 1
        )
        for i in range(case.templates)
    ]
    templates = np.stack([masked(each.template, each.mask) for each in all_made])
    row = {
        "box": case.box,
        "rotations": len(rotation_grid(case.rotations).rotations),
        "window": case.window,
        "resolution": case.resolution,
        "templates": case.templates,
        "particles": case.particles,
    }
    return row | alone(prepared, case, templates, all_made[0].particles.boxes)


def of_check(box: int, side: int, window: float, rotations: Any) -> dict[str, Any]:
    """Return the row of `check`, which prepares four searches and aligns 32 picks."""
    with tempfile.TemporaryDirectory() as name:
        count = write_job(Path(name), box, side, 2, 1.0)
        row = {
            "box": box,
            "rotations": len(rotation_grid(rotations).rotations),
            "window": window,
            "resolution": 2.0,
            "particles": min(count, 32),
        }
        return row | alone(checked, Path(name), window, rotations)


def of_cases(cases: tuple[Case, ...], check_box: int, rotations: Any) -> list[Any]:
    """Return a row a search, the last beside the one before it, and `check`."""
    rows = [of_case(case) for case in cases]
    one, several = rows[-2:]
    several["times one template"] = several["ms"] / one["ms"]
    return [*rows, of_check(check_box, 3, 9.0, rotations)]
