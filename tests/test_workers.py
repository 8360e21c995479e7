"""Where nobody says who works: processes for long jobs of files, else threads."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import funpipe as fp
from funpipe.base import threads
from funpipe.boxes.chunks import chunk_size
from funpipe.boxes.cropping import cropped_boxes
from funpipe.boxes.opening import open_tomograms
from funpipe.jobs import workers, working
from funpipe.jobs.running import run
from funpipe.jobs.workers import own_workers
from funpipe.space.crops import whole_box
from funpipe.space.tilts import no_tilt

loky = pytest.importorskip("loky")


@pytest.fixture(autouse=True)
def two_processors(monkeypatch):
    monkeypatch.setattr(workers, "processors", lambda: 2)
    monkeypatch.setattr(workers, "memory", lambda: 16e9)


def who(number, *, go_on):
    go_on()
    return os.getpid(), number


def numbers(folder):
    return range(6)


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_processes_work_apart_and_threads_here():
    here, there = (list(run(who, numbers, None, apart=each)) for each in (False, True))
    assert {pid for pid, _ in here} == {os.getpid()}
    assert os.getpid() not in {pid for pid, _ in there}
    assert [number for _, number in here] == [number for _, number in there]
    assert not any(is_running(pid) for pid, _ in there)


def test_an_executor_that_is_given_does_the_work():
    with ThreadPoolExecutor(1) as pool:
        assert {pid for pid, _ in run(who, numbers, pool, apart=True)} == {os.getpid()}


def never(*given, **options):
    raise OSError("no semaphores here")


@pytest.mark.parametrize(
    "lack",
    [
        lambda to: to.setattr(importlib.util, "find_spec", lambda name: None),
        lambda to: to.setattr(loky, "ProcessPoolExecutor", never),
        lambda to: to.setattr(workers, "memory", lambda: 3.9e9),
        lambda to: to.setattr(multiprocessing, "parent_process", lambda: 1),
    ],
    ids=["no loky", "no semaphores", "little memory", "a worker itself"],
)
def test_threads_work_where_processes_cannot(lack, monkeypatch):
    assert threads.can_limit()  # before it is not found any more
    lack(monkeypatch)
    with own_workers(True) as pool:
        assert isinstance(pool, ThreadPoolExecutor)
        assert pool._max_workers == 2


def test_there_is_a_process_for_each_processor_that_memory_is_there_for(monkeypatch):
    monkeypatch.setattr(workers, "processors", lambda: 3)
    for size, count in ((16e9, 3), (5e9, 2)):
        monkeypatch.setattr(workers, "memory", lambda size=size: size)
        with own_workers(True) as pool:
            assert pool._max_workers == count


def test_with_one_processor_or_blas_that_cannot_be_told_nobody_helps(monkeypatch):
    with monkeypatch.context() as to:
        to.setattr(workers, "can_limit", lambda: False)
        with own_workers(True) as pool:
            assert pool is None
    monkeypatch.setattr(workers, "processors", lambda: 1)
    with own_workers(True) as pool:
        assert pool is None


def lasting(number, *, go_on):
    if number:
        time.sleep(300)
    return os.getpid()


def test_no_process_goes_on_when_no_more_is_asked_for():
    results = run(lasting, numbers, None, apart=True)
    pid = next(results)
    assert is_running(pid)
    results.close()
    until = time.monotonic() + 20
    while is_running(pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not is_running(pid)


def test_long_jobs_of_files_are_worked_on_apart(tmp_path, monkeypatch):
    """Of arrays, which all workers have here, they are not; nor are short ones."""
    volume = np.random.default_rng(0).normal(size=(24, 24, 24)).astype(np.float32)
    fp.write_volume(tmp_path / "tomogram.mrc", volume, scale=1.0)
    asked = []

    def told(task, work, executor, *, apart, **options):
        asked.append(apart)
        return run(task, work, executor, apart=False, **options)

    monkeypatch.setattr(working, "run", told)
    options = {
        "template": fp.from_gaussian((8.0,) * 3, sigma=(0.5, 1.0, 1.5)),
        "rotations": None,
        "max_shifts": 1.0,
        "preflight": False,
        "progress": False,
    }
    picks = np.random.default_rng(1).uniform(9, 14, (64 * 3, 3))
    path = tmp_path / "tomogram.mrc"
    for chunks in (3, 4):
        monkeypatch.setattr(working, "_LONG", chunks)
        fp.align(path, picks, **options)
        fp.align(volume, picks, scale=1.0, **options)
    assert asked == [True, False, False, False]


def test_of_many_particles_twice_as_many_are_worked_on_together(tmp_path):
    """So that less is done between them; what fits into memory is as before."""
    volume = np.zeros((24, 24, 24), np.float32)
    fp.write_volume(tmp_path / "tomogram.mrc", volume, scale=1.0)
    support = whole_box((8, 8, 8))
    for count, most in ((8191, 64), (8192, 128)):
        picks = fp.Molecules(np.full((count, 3), 12.0))
        path = str(tmp_path / "tomogram.mrc")
        sources, _ = open_tomograms(path, picks, 1.0, no_tilt, "tomogram")
        assert len(sources) == 1
        sizes = [len(each.indices) for each in cropped_boxes(sources, support).chunks]
        assert sum(sizes) == count
        assert max(sizes) == most and min(sizes) >= most - 1
    assert chunk_size((96, 96, 96), 8192) == chunk_size((96, 96, 96))
