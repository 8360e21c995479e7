"""Who works where nobody says: processes for what lasts, threads, or this one alone.

Threads start at once and share what is here, but between NumPy's calls one waits for
another. Processes do not; they take a second to start, and memory each.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from funpipe.base.arguments import memory, processors
from funpipe.base.threads import can_limit

__all__ = ["own_workers"]

_EACH = 1e9  # bytes of memory that a process is to have, of half of all there are


@contextmanager
def own_workers(apart: bool) -> Iterator[Executor | None]:
    """Give as many workers as there are processors, if BLAS can be kept to one each.

    Parameters
    ----------
    apart : bool
        Whether they may be processes; where those cannot be had they are threads.

    Yields
    ------
    Executor or None
        None where there would be one worker, or no room for more.
    """
    count = processors()
    if count == 1 or not can_limit():
        yield None
        return
    pool = (_processes(count) if apart else None) or _threads(count)
    try:
        yield pool
    except BaseException:  # also where no more is asked for: nobody waits then
        _end(pool)
        raise
    if pool is not None:
        pool.shutdown()


def _processes(count: int) -> Any:
    """Return processes of loky, which run no script again; None where they cannot be.

    Nor where this is a worker itself: others are at work on the other processors.
    """
    count = min(count, int(memory() / 2 / _EACH))
    itself = multiprocessing.parent_process() is not None
    if count < 2 or itself or importlib.util.find_spec("loky") is None:
        return None
    try:
        from loky import ProcessPoolExecutor

        pool = ProcessPoolExecutor(count)
        pool.submit(os.getpid).result()
    except Exception:  # of many kinds, where a system has no semaphores, say
        return None
    return pool


def _threads(count: int) -> ThreadPoolExecutor | None:
    """Return threads that have started; None where there is no room for them all."""
    threads = ThreadPoolExecutor(count, thread_name_prefix="funpipe")
    begin = threading.Event()
    try:
        for _ in range(count):
            threads.submit(begin.wait)
    except RuntimeError:  # a thread cannot start where memory is short
        threads.shutdown(wait=False, cancel_futures=True)
        return None
    finally:
        begin.set()
    return threads


def _end(pool: Any) -> None:
    """Leave workers that nobody waits for."""
    if isinstance(pool, ThreadPoolExecutor):
        pool.shutdown(wait=False, cancel_futures=True)
    elif pool is not None:
        pool.shutdown(wait=False, kill_workers=True)
