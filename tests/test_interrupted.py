"""Runs that are killed, stopped or disturbed, and go on: nothing is lost, none differs.

Each run is a program of its own, of some seconds, so that there is something to stop.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pooled_job
import pytest
from pooled_job import aligned, assert_same, bits, saved
from pooled_runs import (
    PATIENCE,
    files_in,
    finished,
    kept,
    left,
    needs_proc,
    ran,
    resumed,
    session,
    started,
    until,
    workers,
)
from small_disk import fill, mounted, remount

import funpipe as fp

COUNT, CHUNKS = 480, 9
"""Particles of the long job, of some seconds, and its chunks."""
SOON = 2.0
"""Seconds in which an interrupted run ends, and what a busy machine may add."""
BUSY = 4.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("job")
    pooled_job.make(made, COUNT)
    return made


@pytest.fixture(scope="module")
def expected(folder) -> dict:
    """What an uninterrupted run without checkpoints returns."""
    return bits(aligned(folder))


@needs_proc
@pytest.mark.parametrize("kind", ["none", "apart", "processes"])
def test_a_run_killed_at_random_moments_goes_on(
    kind, folder, expected, places, tmp_path
):
    checkpoints, out = places
    moment = random.Random(f"kill {kind}")
    had = 0
    for _ in range(3):
        with started(kind, folder, out, checkpoints) as job:
            assert job.stdout.readline() == "starts\n"
            time.sleep(moment.uniform(0.2, 2.5))
            os.killpg(job.pid, signal.SIGKILL)
            said = job.communicate(timeout=PATIENCE)[1]
        again = resumed(said)[0]
        assert again >= had, "what was there before is not taken up"
        had = max(had, again)
        if out.exists():  # on a fast machine it may have ended before
            break
    said = ran(kind, folder, out, checkpoints)
    assert_same(saved(out), expected)
    assert left(tmp_path) == []
    last = ran("none", folder, out, checkpoints)
    assert resumed(last)[0] == resumed(last)[1] == CHUNKS
    assert_same(saved(out), expected)


@needs_proc
@pytest.mark.parametrize("kind", ["processes", "loky", "dask", "mpi", "apart"])
def test_a_worker_killed_in_the_middle_loses_nothing(
    kind, folder, expected, places, tmp_path
):
    checkpoints, out = places
    with started(kind, folder, out, checkpoints) as job:
        until(lambda: kept(checkpoints) or job.poll() is not None)
        at_work = workers(job.pid)
        assert at_work, f"{kind} has no workers: {job.poll()}"
        os.kill(at_work[0], signal.SIGKILL)
        _, errors = job.communicate(timeout=PATIENCE)
        until(lambda: not session(job.pid), 10.0)
    if kind == "dask":  # which starts the worker, and what it was doing, again
        assert job.returncode == 0, errors
    else:
        assert job.returncode != 0
    if kind in ("processes", "loky"):
        assert "Error" in errors.splitlines()[-1] or str(checkpoints) in errors
        assert str(checkpoints) in errors, "it does not say how to go on"
    said = ran("none", folder, out, checkpoints)
    assert resumed(said)[0] > 0
    assert_same(saved(out), expected)
    assert left(tmp_path) == []


def test_two_runs_on_one_folder_at_once(folder, expected, places, tmp_path):
    checkpoints, out = places
    outs = [out, out.with_name("other.npz")]
    with (
        started("none", folder, outs[0], checkpoints) as one,
        started("none", folder, outs[1], checkpoints) as other,
    ):
        finished(one)
        finished(other)
    for each in outs:
        assert_same(saved(each), expected)
    assert left(tmp_path) == []
    said = ran("none", folder, out, checkpoints)
    assert resumed(said)[0] == resumed(said)[1] == CHUNKS


def test_every_bit_of_a_checkpoint_counts(folder, expected, tmp_path):
    """Of one small file: flipped anywhere, it is never believed."""
    tiny = tmp_path / "tiny"
    tiny.mkdir()
    pooled_job.make(tiny, 32)
    wanted = bits(aligned(tiny, estimate="mode"))
    checkpoints = tmp_path / "checkpoints"
    aligned(tiny, estimate="mode", checkpoint=checkpoints)
    path = files_in(checkpoints)[0]
    whole = path.read_bytes()
    chance = random.Random(5)
    for _ in range(12):
        broken = bytearray(whole)
        broken[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        path.write_bytes(broken)
        with pytest.warns(UserWarning, match="damaged"):
            found = aligned(tiny, estimate="mode", checkpoint=checkpoints)
        assert_same(bits(found), wanted)


@needs_proc
@pytest.mark.parametrize("whole_group", [True, False], ids=["group", "process"])
@pytest.mark.parametrize(
    "kind", ["none", "apart", "threads", "processes", "loky", "dask"]
)
def test_an_interrupt_ends_soon_and_says_how_to_go_on(
    kind, whole_group, folder, places, tmp_path
):
    checkpoints, out = places
    with started(kind, folder, out, checkpoints) as job:
        until(lambda: kept(checkpoints) or job.poll() is not None)
        began = time.monotonic()
        (os.killpg if whole_group else os.kill)(job.pid, signal.SIGINT)
        _, errors = job.communicate(timeout=PATIENCE)
        took = time.monotonic() - began
        until(lambda: not session(job.pid), 5.0)  # no orphans
    assert job.returncode != 0
    assert "KeyboardInterrupt" in errors
    assert str(checkpoints) in errors, "it does not say how to go on"
    assert took < SOON + BUSY
    assert left(tmp_path) == []
    assert kept(checkpoints)


# Places where nothing can be kept, said before any work.


class Unread:
    """A tomogram whose reading is work that has started."""

    shape, dtype = (64, 64, 64), np.dtype(np.float32)

    def __getitem__(self, where):
        raise AssertionError("work has started")


def refused(checkpoint: object, kind: type[Exception], wanted: str) -> None:
    """Try each verb that keeps chunks."""
    picks = np.full((2, 3), 32.0)
    image = np.zeros((16, 16, 16), np.float32)
    image[6:9, 6:10, 6:11] = 1.0
    options = {"scale": 1.0, "checkpoint": checkpoint, "progress": False}
    with pytest.raises(kind, match=wanted):
        fp.align(Unread(), picks, template=image, preflight=False, **options)
    with pytest.raises(kind, match=wanted):
        fp.average(Unread(), picks, shape=16, **options)
    with pytest.raises(kind, match=wanted):
        fp.align_subtomograms(np.zeros((2, 16, 16, 16)), template=image, **options)


def test_a_checkpoint_that_is_a_file_is_refused(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("something else")
    refused(path, OSError, r"checkpoint.*notes\.txt")
    refused(path / "below", OSError, r"checkpoint.*notes\.txt")
    assert path.read_text() == "something else"


@pytest.mark.parametrize("value", [3, True, b"folder", ["folder"], ""])
def test_a_checkpoint_that_is_no_path_is_refused(value):
    refused(value, (TypeError, ValueError), "checkpoint must be ")


def test_a_checkpoint_that_may_not_be_written_is_refused(tmp_path):
    with mounted(tmp_path / "disk", "1m") as disk:
        (disk / "kept").mkdir()
        remount(disk, "ro")
        refused(disk / "kept", OSError, "checkpoint.*kept")
        refused(disk / "new", OSError, "checkpoint.*new")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_checkpoint_without_the_right_to_write_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    try:
        refused(tmp_path, OSError, "checkpoint")
        refused(tmp_path / "new", OSError, "checkpoint")
    finally:
        tmp_path.chmod(0o700)


def test_a_checkpoint_on_a_full_disk_is_refused(tmp_path):
    with mounted(tmp_path / "disk", "64k") as disk:
        (disk / "kept").mkdir()
        fill(disk / "rest")
        refused(disk / "kept", OSError, "checkpoint.*kept")
        assert files_in(disk / "kept") == []


LIMITED = """
import resource, signal, sys
from pathlib import Path
import pooled_job
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
pooled_job.aligned(Path(sys.argv[1]), checkpoint=sys.argv[2])
"""


def limited(folder: Path, checkpoints: Path, size: int) -> subprocess.CompletedProcess:
    """Run the long job where no file may be longer than some bytes."""
    command = [sys.executable, "-c", LIMITED, str(folder), str(checkpoints), str(size)]
    places = [str(Path(fp.__file__).parents[1]), str(Path(__file__).parent)]
    return subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def test_no_room_for_any_file_is_said_before_work(folder, places):
    run = limited(folder, places[0], 0)
    assert run.returncode != 0
    last = run.stderr.splitlines()[-1]
    assert "Error: " in last
    assert "checkpoint must be" in last
    assert str(places[0]) in last
    assert "_match_task" not in run.stderr


def test_a_disk_that_fills_up_ends_the_run_which_goes_on(folder, expected, tmp_path):
    with mounted(tmp_path / "disk", "100k") as disk:
        checkpoints = disk / "kept"
        with pytest.raises(OSError, match="No space") as raised:
            aligned(folder, checkpoint=checkpoints)
        assert str(checkpoints) in f"{raised.value} {raised.value.__notes__}"
        there = kept(checkpoints)
        assert there == files_in(checkpoints)
        assert there
        remount(disk, "size=10m")
        assert_same(bits(aligned(folder, checkpoint=checkpoints)), expected)
        assert set(there) <= set(kept(checkpoints))
