"""Executors: refused if they are none; work that ends soon when it must end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import funpipe as fp
from funpipe.jobs.running import run

BLOB = fp.from_gaussian((8.0, 8.0, 8.0), sigma=(0.5, 1.0, 1.5))
BOXES = np.stack([BLOB(1.0)] * 3)
PICKS = np.array([[9.0, 9.0, 10.0]])


class Recorded:
    """An array that counts how often it is read."""

    shape, dtype, reads = (20, 20, 20), np.dtype(np.float32), 0

    def __getitem__(self, where):
        self.reads += 1
        return np.zeros(self.shape, self.dtype)[where]


@pytest.mark.parametrize(
    "executor", [4, "processes", ThreadPoolExecutor, object(), [], True]
)
def test_what_is_no_executor_is_refused_before_any_work(executor, capsys):
    tomogram, wanted = Recorded(), "executor must be None, or an executor such as"
    options = {"template": BLOB, "scale": 1.0, "executor": executor}
    with pytest.raises((TypeError, ValueError), match=wanted):
        fp.align(tomogram, PICKS, **options)
    with pytest.raises((TypeError, ValueError), match=wanted):
        fp.align_subtomograms(BOXES, **options)
    assert tomogram.reads == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("value", ["no", 1, None, np.array([True, False]), [True]])
@pytest.mark.parametrize("name", ["preflight", "progress"])
def test_what_is_no_flag_is_refused_before_any_work(name, value):
    tomogram, wanted = Recorded(), f"{name} must be True or False, not "
    options = {"template": BLOB, "scale": 1.0, name: value}
    with pytest.raises((TypeError, ValueError), match=wanted):
        fp.align(tomogram, PICKS, **options)
    assert tomogram.reads == 0
    if name == "progress":
        with pytest.raises((TypeError, ValueError), match=wanted):
            fp.align_subtomograms(BOXES, **options)


def test_flags_of_numpy_are_flags():
    options = {"template": BLOB, "scale": 1.0, "progress": np.False_}
    assert len(fp.align_subtomograms(BOXES, **options)) == 3


# Work that is called off.


def numbers(first: int, stop: int):
    return partial(_numbers, first, stop)


def _numbers(first: int, stop: int, folder: Path | None):
    yield from range(first, stop)


def slow(number: int, *, started: list[int], go_on):
    started.append(number)
    if number == 1:
        raise ValueError("the first part")
    for _ in range(1000):  # ten seconds
        go_on()
        time.sleep(0.01)


def instant(number: int, *, started: list[int], go_on):
    go_on()
    started.append(number)
    return number


def leftovers() -> list[str]:
    return [each for each in os.listdir(tempfile.gettempdir()) if "funpipe" in each]


def test_a_part_that_fails_calls_off_the_others():
    started: list[int] = []
    begin, before = time.monotonic(), leftovers()
    task = partial(slow, started=started)  # all but the first part
    with (
        ThreadPoolExecutor(2) as pool,
        pytest.raises(ValueError, match="the first part"),
    ):
        list(run(task, numbers(1, 30), pool))
    assert time.monotonic() - begin < 5
    assert len(started) < 6
    assert leftovers() == before


def first_only(number: int, *, started: list[int], go_on):
    started.append(number)
    for _ in range(1000 * number):  # ten seconds and more, or until it is called off
        go_on()
        time.sleep(0.01)
    return number


def test_a_run_that_is_closed_calls_off_what_waits():
    started: list[int] = []
    before = set(threading.enumerate())
    with ThreadPoolExecutor(1) as pool:
        results = run(partial(first_only, started=started), numbers(0, 1000), pool)
        assert next(results) == 0
        results.close()
    assert started in ([0], [0, 1])  # the second may have begun
    assert set(threading.enumerate()) <= before


class Interrupted:
    """What is interrupted as it is destroyed, which Python ignores."""

    def __del__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.raise_signal(signal.SIGINT)


def interrupted_parts(folder: Path | None):
    yield Interrupted()
    yield from range(200)


def brief(part: object, *, started: list[object], go_on):
    started.append(type(part))
    time.sleep(0.01)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("here", [True, False])
def test_an_interrupt_that_python_ignores_ends_the_work(here):
    started: list[object] = []
    before = signal.getsignal(signal.SIGINT)
    task = partial(brief, started=started)
    with ThreadPoolExecutor(1) as pool, pytest.raises(KeyboardInterrupt):
        list(run(task, interrupted_parts, None if here else pool))
    assert len(started) < 50
    assert signal.getsignal(signal.SIGINT) is before


def test_results_come_in_the_order_of_the_work():
    started: list[int] = []
    with ThreadPoolExecutor(3) as pool:
        found = list(run(partial(instant, started=started), numbers(0, 100), pool))
    assert found == list(range(100))
    assert sorted(started) == found
    assert list(run(partial(instant, started=started), numbers(5, 6), None)) == [5]


SCRIPT = """
import sys, time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
import numpy as np
import funpipe as fp

def told(kind):
    class Told(kind):
        count = 0
        def submit(self, *given, **more):
            self.count += 1
            if self.count == 6:
                print("busy", flush=True)
            return super().submit(*given, **more)
    return Told

if __name__ == "__main__":
    blob = fp.from_gaussian((24.0,) * 3, sigma=(2.0, 3.0, 4.0))
    boxes = np.random.default_rng(0).normal(size=(2000, 24, 24, 24))
    kind = {"threads": ThreadPoolExecutor, "processes": ProcessPoolExecutor}
    with told(kind[sys.argv[1]])(2) as pool:
        fp.align_subtomograms(
            boxes.astype("f4"), template=blob, scale=1.0, max_shifts=3.0,
            rotations="all", executor=pool, progress=False,
        )
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("whole_group", [False, True])
@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_an_interrupt_ends_the_work_of_an_executor(kind, whole_group, tmp_path):
    script = tmp_path / "job.py"
    places = [str(Path(fp.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    script.write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, str(script), kind],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
        start_new_session=True,
    ) as job:
        assert job.stdout.readline() == "busy\n"
        begin = time.monotonic()
        (os.killpg if whole_group else os.kill)(job.pid, signal.SIGINT)
        try:
            _, errors = job.communicate(timeout=30)
        finally:
            took = time.monotonic() - begin
            if job.poll() is None:
                os.killpg(job.pid, signal.SIGKILL)
    assert job.returncode != 0
    assert "KeyboardInterrupt" in errors
    # One second, where all that is queued takes 27; the machine may be busy.
    assert took < 8
