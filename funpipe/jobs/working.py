"""A job worked off: its chunks run, kept, shown and told of, whichever the executor.

The options of how a job runs are one value, `Running`, as those of a search are.
"""

from __future__ import annotations

import itertools
import logging
import operator
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from numpy.typing import NDArray

from funpipe.base import arguments as check
from funpipe.base.extras import in_one_line
from funpipe.jobs.checkpoints import (
    Checkpoint,
    check_folder,
    job_key,
    open_checkpoint,
)
from funpipe.jobs.running import Task, run

__all__ = [
    "Job",
    "Running",
    "ShortageError",
    "memory_for",
    "results",
    "running",
]

_LOG = logging.getLogger("funpipe")
_LONG = 64  # chunks, of which some seconds of work come

Result: TypeAlias = dict[str, NDArray[Any]]
"""What a task returns: arrays by name, so that it can be kept."""


class Running(NamedTuple):
    """How a job runs; see `funpipe.align`."""

    executor: Any = None
    checkpoint: str | None = None
    progress: bool = False


def running(
    *, executor: Any = None, checkpoint: Any = None, progress: Any = True
) -> Running:
    """Check the options of how a job runs, and make one value of them."""
    return Running(
        check.executor("executor", executor),
        check_folder("checkpoint", checkpoint),
        check.flag("progress", progress),
    )


@contextmanager
def memory_for(name: str, lower: str) -> Iterator[None]:
    """Say what to lower where there is not enough memory for a verb.

    Parameters
    ----------
    name : str
        The verb.
    lower : str
        What of its arguments makes it take less.

    Raises
    ------
    ShortageError
        With both, in the place of a MemoryError without, or of that of a verb within.

    Examples
    --------
    >>> with memory_for("average", "a smaller shape"):
    ...     raise MemoryError
    Traceback (most recent call last):
    ...
    funpipe.jobs.working.ShortageError: average has not enough memory (MemoryError):
    give a smaller shape, or an executor with fewer workers
    """
    try:
        yield
    except MemoryError as error:
        met = error.__cause__ if isinstance(error, ShortageError) else error
        text = f"{name} has not enough memory ({in_one_line(met or error)})"
        short = ShortageError(
            f"{text}: give {lower}, or an executor with fewer workers"
        )
        for each in getattr(error, "__notes__", []):
            short.add_note(each)
        raise short from error


class ShortageError(MemoryError):
    """There is not enough memory, and what to lower is said."""


@dataclass(frozen=True)
class Job:
    """What is to be done, divided into chunks."""

    name: str
    chunks: Sequence[Any]
    """Each has ``indices``, of its particles."""
    parts: Callable[[Sequence[Any], Path | None], Iterable[Any]]
    """Makes of chunks what the task is called with; of the folder see
    `funpipe.jobs.running.Work`."""
    task: Callable[[], Task]
    """Makes the task, if there is anything to do. It returns arrays by name."""
    alone: Callable[[Any], Any]
    """Makes of a part for other processes one that needs no file of the folder."""
    facts: Callable[[], tuple[Any, list[str]]]
    """Makes what determines all results, and a hash of what determines each chunk's."""
    unit: str = "particle"
    """What a chunk's indices count."""
    title: str | None = None
    """What the progress bar says that it is."""
    apart: bool = False
    """Whether processes may do it where no executor is given, if it is long."""


def results(job: Job, how: Running) -> Generator[Result, None, None]:
    """Work off a job; yield what its task returns, in the order of its chunks.

    What is finished in a checkpoint comes from there.
    """
    from tqdm import tqdm

    kept, keys = _kept(job, how)
    there = [kept is not None and each in kept for each in keys]
    todo = list(itertools.compress(job.chunks, map(operator.not_, there)))
    count = sum(len(each.indices) for each in job.chunks)
    left = sum(len(each.indices) for each in todo)
    _LOG.info("%s: %d %ss in %d chunks", job.name, count, job.unit, len(there))
    if kept is not None:
        where = f"{sum(there)} of {len(there)} chunks from {kept.folder}"
        _LOG.info("%s: resumed %s", job.name, where)
    bar = tqdm(
        desc=job.title,
        total=count,
        initial=count - left,
        unit=job.unit,
        disable=not how.progress,
    )
    missing = list(itertools.compress(keys, map(operator.not_, there)))
    keep = partial(_keep, bar, [len(each.indices) for each in todo], kept, missing)
    done: Generator[Result, None, None] = run(
        job.task() if todo else _nothing_to_do,
        partial(job.parts, todo),
        how.executor if todo else None,
        keep=keep,
        rest=_nothing_to_do if kept is None else kept.write,
        alone=job.alone,
        beside=how.checkpoint,
        apart=job.apart and len(todo) >= _LONG,
    )
    with bar, _told(job, kept), closing(done):
        for key, known in zip(keys, there, strict=True):
            yield dict(kept.result(key)) if kept and known else next(done)
        if todo:
            next(done, None)  # comes to its end, and waits for its threads
    _LOG.info("%s: finished", job.name)


def _kept(job: Job, how: Running) -> tuple[Checkpoint | None, list[str]]:
    """Return what is finished of a job, and its chunks' keys, where there is such."""
    if how.checkpoint is None:
        return None, [""] * len(job.chunks)
    facts, keys = job.facts()
    return open_checkpoint(how.checkpoint, job.name, job_key(job.name, facts)), keys


def _keep(
    bar: Any,
    counts: list[int],
    kept: Checkpoint | None,
    keys: list[str],
    number: int,
    result: Result,
) -> None:
    """Show that a chunk is finished, and keep it."""
    bar.update(counts[number])
    if kept is not None:
        kept.put(keys[number], result)


def _nothing_to_do(*given: Any, **options: Any) -> None:
    """Do nothing."""


@contextmanager
def _told(job: Job, kept: Checkpoint | None) -> Iterator[None]:
    """Write what is finished at last; say in errors how to go on from there."""
    try:
        yield
        if kept is not None:
            kept.write()
    except BaseException as error:
        if kept is not None:
            with suppress(OSError):  # it is the first error that counts
                kept.write()
            error.add_note(
                f"what is finished is kept in {kept.folder}: the same call goes on "
                "from there"
            )
        elif isinstance(error, BrokenExecutor):
            error.add_note(
                "a worker was killed, as where memory is short, and what was finished "
                "is lost: with checkpoint=... the same call goes on from there"
            )
        _LOG.info("%s: ended by %s", job.name, type(error).__name__)
        raise
