"""Work in parts, in this process or an executor's, that ends soon when it must end.

What an executor holds cannot all be cancelled: a pool of processes has parts on the
way to its workers that count as running. Therefore parts look from time to time
whether the work is called off.
"""

from __future__ import annotations

import itertools
import tempfile
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import (
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
    wait,
)
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeAlias

from funpipe.base.threads import one_thread
from funpipe.base.whole import scratch
from funpipe.jobs.interrupts import interrupts
from funpipe.jobs.sharing import (
    Missing,
    Parcel,
    call_off,
    go_on,
    is_process_pool,
    parcel,
    work_there,
)
from funpipe.jobs.together import Pace, each_alone, one_by_one, size_of, together
from funpipe.jobs.workers import own_workers

__all__ = ["Task", "Work", "run"]

Task: TypeAlias = Callable[..., Any]
"""Called with a part, and with ``go_on``, a function that it calls often and that
raises once the work is called off: a part has failed, the caller was interrupted, or
wants no more."""
Work: TypeAlias = Callable[[Path | None], Iterable[Any]]
"""Called with a folder, in which parts for other processes may put files, or with None,
for those who share this memory; returns the parts."""
Keep: TypeAlias = Callable[[int, Any], None]
"""Called with the number of a part and its result."""

_FEW = 16  # parts that wait for an executor
_FIRST = 64  # the most of them while nobody knows how long they take
_MANY = 4096  # and where nobody knows how many work
_BYTES = 2**28  # of parts and results that wait
_PATIENCE = 1.5  # seconds for the parts that run to see that they are called off


def _as_it_is(part: Any) -> Any:
    return part


def _nothing(*given: Any) -> None:
    """Do nothing."""


def run(
    task: Task,
    work: Work,
    executor: Executor | None,
    *,
    keep: Keep = _nothing,
    rest: Callable[[], None] = _nothing,
    alone: Callable[[Any], Any] = _as_it_is,
    beside: str | None = None,
    apart: bool = False,
) -> Generator[Any, None, None]:
    """Run a task on all work; an executor never holds more than some.

    Parameters
    ----------
    task : Task
        What is done with each part.
    work : Work
        The parts.
    executor : concurrent.futures.Executor or None
        Where they run; None: here, by as many workers as there are processors if BLAS
        can be kept to one each, else one after the other.
    keep : callable
        Called with the number of each part and its result as soon as it is there.
    rest : callable
        Called about once a second while nothing comes from an executor.
    alone : callable
        Makes of a part for other processes one that needs no file of the folder.
    beside : str, optional
        A folder in which the one for other processes is; by default the system's for
        temporary files. Where workers see it, all goes there once.
    apart : bool
        Whether workers may be processes where no executor is given.

    Yields
    ------
    object
        What the task returns, in the order of the work.
    """
    whose = own_workers(apart) if executor is None else nullcontext(executor)
    with interrupts() as heard, one_thread(), whose as pool:
        if pool is None:
            for number, part in enumerate(work(None)):
                result = task(part, go_on=go_on)
                keep(number, result)
                heard()
                yield result
        elif isinstance(pool, ThreadPoolExecutor):
            yield from _in_order(_Near(pool, task), work(None), keep, rest, heard)
        else:
            with scratch(beside or tempfile.gettempdir()) as folder:
                sent = parcel(together(task), folder / "task", pool, most=0)
                far = _Far(pool, sent, folder, each_alone(alone))
                pace = Pace()
                parts, kept = pace.several(work(folder)), pace.kept(keep)
                yield from one_by_one(_in_order(far, parts, kept, rest, heard))


class _Sent(NamedTuple):
    """A part that an executor has."""

    future: Future[Any]
    part: Any
    task: Parcel | None = None
    parcel: Parcel | None = None

    def tell(self, finished: SimpleQueue[int], number: int) -> _Sent:
        """Have its number told when it is finished; return it."""
        self.future.add_done_callback(partial(_tell, finished, number))
        return self

    @property
    def result(self) -> Any:
        """What a finished one returned; None if it failed or was cancelled."""
        failed = self.future.cancelled() or self.future.exception() is not None
        return None if failed else self.future.result()

    @property
    def size(self) -> int:
        """Bytes that it waits with."""
        return self.parcel.size if self.parcel else 1

    def remove(self) -> None:
        """Remove what it needed."""
        if self.parcel:
            self.parcel.remove()


def _tell(finished: SimpleQueue[int], number: int, future: Future[Any]) -> None:
    finished.put(number)


@dataclass(frozen=True)
class _Near:
    """An executor of threads, which share what is here."""

    executor: Executor
    task: Task
    called_off: threading.Event = field(default_factory=threading.Event)

    def send(self, number: int, part: Any) -> _Sent:
        check = partial(_go_on_unless, self.called_off)
        return _Sent(self.executor.submit(self.task, part, go_on=check), part)

    def again(self, number: int, sent: _Sent, missing: Missing) -> _Sent:
        return self.send(number, sent.part)

    def call_off(self) -> None:
        self.called_off.set()


@dataclass(frozen=True)
class _Far:
    """An executor of processes, of which some may not see the folder."""

    executor: Executor
    task: Parcel
    folder: Path
    alone: Callable[[Any], Any]

    def send(self, number: int, part: Any) -> _Sent:
        return self._send(part, self.task, self._parcel(number, part))

    def again(self, number: int, sent: _Sent, missing: Missing) -> _Sent:
        part, task, packed = sent.part, sent.task or self.task, sent.parcel
        if missing.path == task.path:
            task = task.at_hand()
        elif packed is not None and missing.path == packed.path:
            packed = packed.at_hand()
        else:
            part = self.alone(part)
            packed = self._parcel(number, part).at_hand()
        return self._send(part, task, packed)

    def _parcel(self, number: int, part: Any) -> Parcel:
        return parcel(part, self.folder / f"part_{number}", self.executor)

    def _send(self, part: Any, task: Parcel, packed: Parcel | None) -> _Sent:
        submit: Callable[..., Future[Any]] = self.executor.submit
        future = submit(work_there, task, packed, str(self.folder))
        return _Sent(future, part, task, packed)

    def call_off(self) -> None:
        call_off(self.folder)


def _in_order(
    there: _Near | _Far,
    parts: Iterable[Any],
    keep: Keep,
    rest: Callable[[], None],
    heard: Callable[[], None],
) -> Generator[Any, None, None]:
    """Send parts, as many as may wait, and yield results in the order of the parts."""
    sent: dict[int, _Sent] = {}
    done: dict[int, Future[Any]] = {}
    finished: SimpleQueue[int] = SimpleQueue()
    coming, first, largest, known = enumerate(parts), 0, 1, False
    try:
        while True:
            most = _most(there.executor, largest)
            room = min(most, most if known else _FIRST) - len(sent) - len(done)
            for number, part in itertools.islice(coming, max(0, room)):
                sent[number] = there.send(number, part).tell(finished, number)
                largest = max(largest, sent[number].size)
            if first in done:
                yield done.pop(first).result()
                first += 1
            elif sent:
                number = _next(finished, rest, heard)
                each = sent.pop(number)
                result = each.result
                if isinstance(result, Missing):
                    again = there.again(number, each, result)
                    sent[number] = again.tell(finished, number)
                    continue
                each.remove()
                done[number], known = each.future, True
                largest = max(largest, size_of(result))
                if result is not None:
                    keep(number, result)
            else:
                return
    except BaseException:
        there.call_off()
        running = [each.future for each in sent.values()]
        if not is_process_pool(there.executor):
            running = [each for each in running if not each.cancel()]
        # Not of processes: a pool that breaks trips over what is cancelled.
        wait(running, timeout=_PATIENCE)
        for number, each in sent.items():
            result = each.result if each.future.done() else None
            if not (result is None or isinstance(result, Missing)):
                with suppress(OSError):  # it is the first error that counts
                    keep(number, result)
        raise


def _next(
    finished: SimpleQueue[int], rest: Callable[[], None], heard: Callable[[], None]
) -> int:
    """Wait for the number of a part that is finished."""
    while True:
        heard()
        with suppress(Empty):
            return finished.get(timeout=1.0)
        rest()


def _most(executor: Executor, largest: int) -> int:
    """Return how many parts may wait: enough for all who work, that memory holds."""
    workers = getattr(executor, "_max_workers", None)
    many = 4 * workers if isinstance(workers, int) else _MANY
    return max(_FEW, min(many, _BYTES // largest))


def _go_on_unless(called_off: threading.Event) -> None:
    if called_off.is_set():
        raise CancelledError("the work was called off")
