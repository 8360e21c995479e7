"""The settings of hypothesis for every test, and an end of what tests have started."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import sys
import threading

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "laws",
    max_examples=200,
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.load_profile("laws")

PATIENCE = 60.0
"""Seconds in which idle threads end, also on a loaded machine."""


@pytest.fixture(scope="session", autouse=True)
def interrupts_are_heard():
    """Undo what shells do to a command in the background, whose children inherit it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Return a folder for checkpoints, where results go; temporary files are seen."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    return tmp_path / "checkpoints", tmp_path / "found.npz"


@pytest.fixture(scope="session", autouse=True)
def no_thread_is_left():
    """End the threads that zarr keeps, and fail where a thread goes on.

    Left to itself, zarr waits 0.2 s for its own at exit; where the machine is slower,
    the interpreter is taken down while that thread runs.
    """
    before = set(threading.enumerate())
    yield
    end_zarr(sys.modules.get("zarr.core.sync"))
    added = [each for each in threading.enumerate() if each not in before]
    for each in added:  # of work that an error has ended, they end on their own
        if not each.daemon:
            each.join(PATIENCE)
    added = [each for each in added if each.is_alive()]
    assert [each.name for each in added if not each.daemon] == []


def end_zarr(sync):
    """End zarr's loop, which is private to it, and the threads of that loop."""
    if sync is None or sync.loop[0] is None:
        return
    loop, thread = sync.loop[0], sync.iothread[0]
    loop.call_soon_threadsafe(loop.stop)
    thread.join(PATIENCE)
    assert not thread.is_alive(), "zarr's thread goes on"
    loop.run_until_complete(
        asyncio.wait_for(loop.shutdown_default_executor(), PATIENCE)
    )
    loop.close()
    sync.loop[0] = sync.iothread[0] = None  # what its own end at exit looks at


def pytest_unconfigure():
    """Let an exit that hangs end, and say where every thread is."""
    faulthandler.dump_traceback_later(PATIENCE, exit=True)
