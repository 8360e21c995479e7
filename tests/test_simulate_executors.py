"""Simulations in any executor: the same bits, small tasks, an end of errors."""

from __future__ import annotations

import math
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from test_sharing import Apart, Through

import funpipe as fp
from funpipe.jobs.working import ShortageError
from funpipe.simulate import (
    asymmetric_molecule,
    blob_image,
    drawing,
    particles,
    tomogram,
)
from funpipe.simulate.crowds import Copy, Crowd
from funpipe.simulate.images import drawn, image_of, reach_of

BLOBS = asymmetric_molecule(radius=3.0)
MAP = blob_image(BLOBS, (24, 24, 24), 1.0)
SHAPE = (40, 60, 56)
COUNT = 12
SERIES = fp.tilt_series(
    range(-60, 61, 6),
    dose=np.linspace(3, 120, 21),
    defocus=np.linspace(2.5, 3.5, 21),
    astigmatism=(0.3, 25.0),
    phase_flipped=False,
)
TILTS = {"a wedge": (-60, 60), "a tilt series": SERIES}
EXTRA = {"neighbours": 2, "membranes": 1, "beads": 2, "bead_radius": 3.0}


@pytest.fixture(autouse=True)
def parts(monkeypatch):
    """Cut what is small into several parts."""
    monkeypatch.setattr(drawing, "_TOGETHER", 20_000)


def truth() -> fp.Molecules:
    """Copies side by side, of which some leave the tomogram."""
    random = np.random.default_rng(0)
    row = 15.0 * np.arange(4)
    grid = np.meshgrid([3.0], [0.0, 24.0, 48.0], row, indexing="ij")
    places = np.stack(grid, -1).reshape(-1, 3)
    moved = places + random.uniform(-0.5, 0.5, places.shape)
    return fp.Molecules(moved, Rotation.random(COUNT, rng=random))


def made(molecule=BLOBS, shape=SHAPE, **options) -> np.ndarray:
    options = {"noise": 0.3, "seed": 4, "tilt": None} | options
    return tomogram(molecule, truth(), shape, 1.0, **options)


@pytest.fixture(scope="module", params=["threads", "processes"])
def pool(request):
    if request.param == "threads":
        kind = ThreadPoolExecutor(3)
    else:
        spawn = multiprocessing.get_context("spawn")
        kind = ProcessPoolExecutor(2, mp_context=spawn)
    with kind as each:
        yield each


@pytest.mark.parametrize("molecule", [BLOBS, MAP], ids=["blobs", "a map"])
@pytest.mark.parametrize("tilt", TILTS.values(), ids=TILTS)
@pytest.mark.parametrize("extra", [{}, EXTRA], ids=["alone", "in a crowd"])
def test_any_executor_makes_the_same_tomogram(molecule, tilt, extra, pool):
    alone = made(molecule, tilt=tilt, **extra)
    there = made(molecule, tilt=tilt, executor=pool, **extra)
    assert there.tobytes() == alone.tobytes()


@pytest.mark.parametrize("tilt", TILTS.values(), ids=TILTS)
def test_an_executor_fills_what_is_given(tilt, pool):
    out = np.full(SHAPE, np.nan, np.float32)
    assert made(tilt=tilt, falling=1.0, executor=pool, out=out, **EXTRA) is out
    assert out.tobytes() == made(tilt=tilt, falling=1.0, **EXTRA).tobytes()


@pytest.mark.parametrize("molecule", [BLOBS, MAP], ids=["blobs", "a map"])
@pytest.mark.parametrize("tilt", TILTS.values(), ids=TILTS)
def test_any_executor_makes_the_same_particles(molecule, tilt, pool):
    shape, places = (18, 17, 20), 30.0 * np.random.default_rng(2).normal(size=(9, 3))
    options = {"tilt": tilt, "places": places, "noise": 0.3, "falling": 1.0, "seed": 2}
    alone, there = (
        particles(molecule, shape, 1.0, 9, executor=each, **options)
        for each in (None, pool)
    )
    assert there.boxes.tobytes() == alone.boxes.tobytes()
    assert there.shifts.tobytes() == alone.shifts.tobytes()


@pytest.mark.parametrize("tilt", TILTS.values(), ids=TILTS)
@pytest.mark.parametrize("kind", [Through, Apart])
def test_workers_need_nothing_but_what_travels(tilt, kind):
    executor = kind()
    there = made(MAP, tilt=tilt, executor=executor, **EXTRA)
    assert there.tobytes() == made(MAP, tilt=tilt, **EXTRA).tobytes()
    assert len(executor.sizes) > 2


@pytest.mark.parametrize("together", [1, 50_000, 2**30])
def test_copies_are_added_one_after_the_other_in_their_order(together, monkeypatch):
    """To the last bit, however they are divided."""
    monkeypatch.setattr(drawing, "_TOGETHER", together)
    near = 0.3 * truth().positions  # so that sums of many say in which order
    poses = list(zip(near, truth().rotations, strict=True))
    reach, rim = math.ceil(reach_of(BLOBS)), 40
    wide = np.zeros([n + 2 * rim for n in SHAPE], np.float32)
    for place, rotation in poses:
        voxel = np.round(place).astype(int)
        box = (2 * reach + 1,) * 3
        low = voxel - reach + rim
        there = tuple(slice(n, n + 2 * reach + 1) for n in low)
        wide[there] += image_of(BLOBS, box, 1.0, rotation, place - voxel)
    found = np.zeros(SHAPE, np.float32)
    crowd = Crowd(SHAPE, 1.0, tuple(Copy(BLOBS, *each) for each in poses))
    drawing.add_copies(found, crowd, None, None)
    assert found.tobytes() == wide[rim:-rim, rim:-rim, rim:-rim].tobytes()


# What travels.


def test_what_is_sent_is_small_however_large_volume_and_molecule_are():
    volumes, tasks = [], []

    def look(given):
        tasks.append(os.path.getsize(given[0].path))

    large = blob_image(BLOBS, (64, 64, 64), 1.0)  # all of it but 0 in a float32
    splines = drawn("molecule", large, 1.0).splines.nbytes
    for shape in (SHAPE, (80, 120, 112)):
        executor = Through(look)
        volumes.append(made(large, shape, noise=0, executor=executor).nbytes)
        assert max(executor.sizes) < 2_000
        assert len(executor.sizes) > 2
    assert splines > 5e6
    assert max(tasks) < splines + 1e5  # the molecule's splines once
    assert tasks[0] == tasks[-1]  # and nothing of the volume, 8 times as large
    assert volumes[1] == 8 * volumes[0]


@pytest.mark.parametrize("verb", ["tomogram", "particles"])
def test_a_task_of_blobs_is_below_100_kilobytes(verb):
    tasks = []
    executor = Through(lambda given: tasks.append(os.path.getsize(given[0].path)))
    if verb == "tomogram":
        made(tilt=SERIES, executor=executor, **EXTRA)
    else:
        particles(BLOBS, (32, 32, 32), 1.0, 20, tilt=SERIES, executor=executor)
    assert len(tasks) > 2
    assert max(tasks) + max(executor.sizes) < 1e5


# What goes wrong.


@pytest.mark.parametrize("executor", [4, "processes", ThreadPoolExecutor, object()])
def test_what_is_no_executor_is_refused_before_any_work(executor):
    def molecule(scale):
        raise AssertionError("it was called")

    said = r"^executor must be None, or an executor"
    with pytest.raises((TypeError, ValueError), match=said):
        made(molecule, executor=executor)
    with pytest.raises((TypeError, ValueError), match=said):
        particles(molecule, (8, 8, 8), 1.0, 2, executor=executor)


@pytest.mark.parametrize("kind", [lambda: None, lambda: ThreadPoolExecutor(1)])
def test_an_error_in_a_part_comes_out_and_calls_off_the_others(kind, monkeypatch):
    calls = []

    def broken(*given):
        calls.append(given)
        if len(calls) == 1:
            raise ArithmeticError("the first copy")
        time.sleep(0.2)
        return np.zeros(given[1], np.float32)

    monkeypatch.setattr(drawing, "_TOGETHER", 1)
    monkeypatch.setattr(drawing, "image_of", broken)
    with pytest.raises(ArithmeticError, match="the first copy"):
        made(executor=kind())
    assert len(calls) < COUNT / 2


def test_where_memory_is_short_it_is_said_what_to_lower(monkeypatch):
    def short(*given):
        raise MemoryError

    monkeypatch.setattr(drawing, "image_of", short)
    said = r"^tomogram has not enough memory .*: give a smaller shape, or an executor"
    with pytest.raises(ShortageError, match=said):
        made()
