"""Every verb that works for long: killed, its workers killed, its chunks damaged.

Each run is a program of its own; what comes out in the end is that of one that nobody
has disturbed, to the last bit.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import time
from pathlib import Path

import pooled_job
import pytest
from damages import DAMAGES
from pooled_job import LONG, assert_same, saved
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

COUNT = 96  # particles, of four tomograms
KILLS = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("job")
    pooled_job.make(made, COUNT)
    return made


@pytest.fixture(scope="module")
def done(folder, tmp_path_factory) -> dict[str, Path]:
    """A folder of checkpoints of each verb, all of it finished."""
    made = tmp_path_factory.mktemp("done")
    for verb, run in LONG.items():
        run(folder, None, made / verb)
    return {verb: made / verb for verb in LONG}


@pytest.fixture(scope="module")
def expected(folder, tmp_path_factory) -> dict[str, dict]:
    """What an undisturbed run returns, in a process of its own as all others are."""
    made = tmp_path_factory.mktemp("expected")
    found = {}
    for verb in LONG:
        ran("none", folder, made / f"{verb}.npz", made / verb, verb)
        found[verb] = saved(made / f"{verb}.npz")
    return found


@needs_proc
@pytest.mark.parametrize("verb", LONG)
def test_a_run_killed_at_twenty_moments_ends_with_the_same_and_leaves_nothing(
    verb, folder, expected, places, tmp_path
):
    checkpoints, out = places
    moment = random.Random(verb)
    with started("none", folder, out, checkpoints, verb) as job:
        assert job.stdout.readline() == "starts\n"
        lasts = float(job.stdout.readline())
        finished(job)
    assert_same(saved(out), expected[verb])
    before = 0
    for kill in range(KILLS):
        if out.exists():  # it had ended: from the start
            shutil.rmtree(checkpoints)
            out.unlink()
            before = 0
        with started("none", folder, out, checkpoints, verb) as job:
            assert job.stdout.readline() == "starts\n"
            # All over what it takes: one moment in each twentieth of that.
            time.sleep((kill * 7 % KILLS + moment.random()) / KILLS * lasts)
            os.killpg(job.pid, signal.SIGKILL)
            job.communicate(timeout=PATIENCE)
        whole = kept(checkpoints)
        assert len(whole) >= before, "what was finished is lost"
        before = len(whole)
        if out.exists():
            assert_same(saved(out), expected[verb])
    ran("none", folder, out, checkpoints, verb)
    assert_same(saved(out), expected[verb])
    assert left(tmp_path) == []
    again, of_all = resumed(ran("none", folder, out, checkpoints, verb))
    assert again == of_all > 0
    assert_same(saved(out), expected[verb])


@needs_proc
@pytest.mark.parametrize(
    ("verb", "kind"),  # align: test_interrupted
    [
        *(("refine", kind) for kind in ("processes", "loky")),
        *(("search", kind) for kind in ("processes", "loky", "dask", "mpi")),
    ],
)
def test_a_worker_killed_in_the_middle_loses_nothing(
    verb, kind, folder, expected, places, tmp_path
):
    checkpoints, out = places
    with started(kind, folder, out, checkpoints, verb) as job:
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
        assert str(checkpoints) in errors, "it does not say how to go on"
    said = ran("none", folder, out, checkpoints, verb)
    assert resumed(said)[0] > 0
    assert_same(saved(out), expected[verb])
    assert left(tmp_path) == []


class Killing(pooled_job.ProcessPoolExecutor):
    """Ends its first worker at the third part."""

    parts = 0

    def submit(self, *work):
        found = super().submit(*work)
        self.parts += 1
        if self.parts == 3:
            os.kill(next(iter(self._processes)), signal.SIGKILL)
        return found


def test_without_a_checkpoint_the_error_says_what_is_lost_and_what_to_do(folder):
    with Killing(1) as pool, pytest.raises(Exception, match="terminated") as caught:
        pooled_job.aligned(folder, pool)
    (note,) = caught.value.__notes__
    assert "what was finished is lost" in note
    assert "checkpoint=" in note


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("verb", LONG)
def test_a_damaged_checkpoint_is_computed_again_and_said(
    verb, damage, folder, expected, done, tmp_path
):
    checkpoints = tmp_path / "checkpoints"
    shutil.copytree(done[verb], checkpoints)
    hurt = random.Random(damage.__name__).choice(files_in(checkpoints))
    damage(hurt)
    with pytest.warns(UserWarning, match=re.escape(hurt.name)):
        found = LONG[verb](folder, None, checkpoints)
    assert_same(found, expected[verb])
    LONG[verb](folder, None, checkpoints)  # mended: it warns no more


@needs_proc
@pytest.mark.parametrize("verb", ["refine", "search"])  # align: test_interrupted
def test_two_runs_on_one_folder_at_once(verb, folder, expected, places, tmp_path):
    checkpoints, out = places
    outs = [out, out.with_name("other.npz")]
    with (
        started("none", folder, outs[0], checkpoints, verb) as one,
        started("none", folder, outs[1], checkpoints, verb) as other,
    ):
        finished(one)
        finished(other)
    for each in outs:
        assert_same(saved(each), expected[verb])
    assert left(tmp_path) == []
    again, of_all = resumed(ran("none", folder, out, checkpoints, verb))
    assert again == of_all > 0
