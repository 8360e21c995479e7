"""Runs of the small job as programs of their own, and what becomes of their processes.

Processes are found in ``/proc``: where that is not, tests that need it skip.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pooled_job
import pytest
from pooled_job import command_of, has, variables_of

PATIENCE = 120.0
"""Seconds that a run may take, on a busy machine."""

needs_proc = pytest.mark.skipif(
    not os.path.exists("/proc/self/stat"), reason="processes are found in /proc"
)


def needs(kind: str) -> None:
    """Skip where what an executor needs is not there."""
    if not has(kind):
        pytest.skip(f"{kind} needs what is not installed")


@contextlib.contextmanager
def started(
    kind: str, folder: Path, out: Path, *more: object, **variables: str
) -> Iterator[subprocess.Popen[str]]:
    """Start the job with an executor of a kind; end all of it at last."""
    needs(kind)
    with subprocess.Popen(
        command_of(kind, pooled_job.__file__, folder, kind, out, *more),
        env=variables_of(kind) | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as job:
        try:
            yield job
        finally:
            for each in session(job.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)
            if job.poll() is None:
                job.kill()


def finished(job: subprocess.Popen[str]) -> str:
    """Wait for a run that ends well, and return what it said."""
    said, errors = job.communicate(timeout=PATIENCE)
    assert job.returncode == 0, said + errors
    return errors


def ran(kind: str, folder: Path, out: Path, *more: object, **variables: str) -> str:
    """Run the job to its end, and return what it said."""
    with started(kind, folder, out, *more, **variables) as job:
        return finished(job)


def until(holds: Callable[[], object], patience: float = PATIENCE) -> None:
    """Wait until something holds."""
    end = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.01)


def _stat(pid: int) -> list[str]:
    """Return state, parent, group, session, ... of a process; of none when it is gone.

    The name, which may hold anything, stands before the last bracket.
    """
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []


def _processes() -> dict[int, list[str]]:
    with_stat = ((int(n), _stat(int(n))) for n in os.listdir("/proc") if n.isdigit())
    return {pid: stat for pid, stat in with_stat if stat and stat[0] not in "ZX"}


def session(leader: int) -> list[int]:
    """Return the processes that live in a session."""
    if not os.path.exists("/proc/self/stat"):
        return []
    return [pid for pid, stat in _processes().items() if int(stat[3]) == leader]


def workers(leader: int) -> list[int]:
    """Return those of a run's processes that do the work."""
    return [pid for pid in session(leader) if pid != leader and _works(pid)]


def _works(pid: int) -> bool:
    with contextlib.suppress(OSError):
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        if (
            b"resource_tracker" in command
        ):  # which only clean up when all others have ended
            return False
        if b"spawn_main" in command or b"popen_loky" in command:
            return True
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        ranks = {each for each in variables if each.startswith(b"OMPI_COMM_WORLD_RANK")}
        return bool(ranks - {b"OMPI_COMM_WORLD_RANK=0"})
    return False


def files_in(folder: Path) -> list[Path]:
    """Return all files below a folder, whatever they are called."""
    return sorted(each for each in folder.rglob("*") if not each.is_dir())


def left(tmp_path: Path) -> list[str]:
    """Return temporary files, of killed runs too: all but results and checkpoints.

    Checkpoints and temporary files are where the fixture ``places`` has them.
    """
    checkpoints = files_in(tmp_path / "checkpoints")
    partial = [each for each in checkpoints if "partial" in each.name]
    made = [
        each
        for each in (tmp_path / "temporary").iterdir()
        if each.name.startswith("funpipe")
    ]
    return [str(each) for each in partial + made]


def kept(checkpoints: Path) -> list[Path]:
    """Return files of finished chunks, which have their place."""
    return [each for each in files_in(checkpoints) if each.name.startswith("chunks-")]


def resumed(said: str) -> tuple[int, int]:
    """Return how many chunks a run says that it takes up again, and of how many.

    Of a verb that works off several jobs they are those of all.
    """
    found = re.findall(r"resumed (\d+) of (\d+) chunks", said)
    return sum(int(a) for a, _ in found), sum(int(b) for _, b in found)
