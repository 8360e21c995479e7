"""What a run was made with, and what ran beside it."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import resource
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from programs import sgemm_rate

LIBRARIES = ("numpy", "scipy", "numba", "acryo")


@contextmanager
def conditions_of_run() -> Iterator[dict[str, str]]:
    """Give a dict that holds the conditions of what was run, once that is over."""
    found: dict[str, str] = {}
    load, rate, start, used = _load(), sgemm_rate(), time.perf_counter(), _processor()
    yield found
    wall = time.perf_counter() - start
    found |= {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "funpipe": _version(),
        **{name: _installed(name) for name in LIBRARIES},
        "relion": _relion(),
        "python": platform.python_version(),
        "processor": _model(),
        "cores": str(os.cpu_count()),
        "threads": os.environ.get("OPENBLAS_NUM_THREADS", "not set"),
        "load before": load,
        "load after": _load(),
        "sgemm GFLOP/s before": f"{rate:.1f}",
        "sgemm GFLOP/s after": f"{sgemm_rate():.1f}",
        "wall seconds": f"{wall:.1f}",
        "processor seconds": f"{_processor() - used:.1f}",
    }


def _load() -> str:
    """Return the mean number of processes that ran or waited, of the last minute."""
    return f"{os.getloadavg()[0]:.2f}"


def _processor() -> float:
    """Return the processor seconds of this process and of those that it ran."""
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        used = resource.getrusage(who)
        total += used.ru_utime + used.ru_stime
    return total


def _version() -> str:
    """Return the commit, which says more than a version between two releases."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
    )
    return done.stdout.strip() or _installed("funpipe")


def _installed(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _relion() -> str:
    try:
        done = subprocess.run(
            ["relion_refine", "--version"], capture_output=True, text=True
        )
    except OSError:
        return "not installed"
    return (done.stdout or done.stderr).strip().splitlines()[0]


def _model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
