"""Work in parts, in this process or an executor's, that ends soon when it must end.

What an executor holds cannot all be cancelled: a pool of processes has parts on the
way to its workers that count as running. Therefore parts look from time to time
whether the work is called off, which a file says: threads and processes understand
that alike.

What the parts of a pool of processes need goes through files as well. A worker that
dies, as of a terminal's Ctrl-C, while a large argument is on its way to it would leave
the pool waiting for ever.
"""

from __future__ import annotations

import itertools
import os
import pickle
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import (
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from functools import partial
from pathlib import Path
from typing import Any

__all__ = ["run"]

_IN_FLIGHT = 16  # parts that wait for an executor
_PATIENCE = 10.0  # seconds for the parts that run to see that they are called off


def run(
    task: Callable[..., Any], work: Iterable[Any], executor: Executor | None
) -> Generator[Any, None, None]:
    """Run a task on all work, in order; an executor never holds more than some.

    Parameters
    ----------
    task : callable
        Called with each element of the work as its arguments, and with ``go_on``, a
        function that it calls often and that raises once the work is called off: a
        part has failed, the caller was interrupted, or wants no more.
    work : iterable of tuples
        The parts.
    executor : concurrent.futures.Executor or None
        Where they run; None: here, each when it is asked for.

    Yields
    ------
    object
        What the task returns, in the order of the work.
    """
    if executor is None:
        yield from itertools.starmap(partial(task, go_on=_go_on), work)
        return
    with tempfile.TemporaryDirectory(prefix="funpipe") as folder:
        waiting: deque[Future[Any]] = deque()
        try:
            for part in _parts(task, work, Path(folder), executor):
                waiting.append(executor.submit(part))
                if len(waiting) >= _IN_FLIGHT:
                    yield _first(waiting)
            while waiting:
                yield _first(waiting)
        except BaseException:
            _called_off(folder).touch()
            running = list(waiting)
            if not isinstance(executor, ProcessPoolExecutor):
                running = [each for each in waiting if not each.cancel()]
            # Not of processes: a pool that breaks trips over what is cancelled.
            wait(running, timeout=_PATIENCE)
            raise


def _first(waiting: deque[Future[Any]]) -> Any:
    """Return the first result; until it is there, it is one that is waited for."""
    result = waiting[0].result()
    waiting.popleft()
    return result


def _parts(
    task: Callable[..., Any], work: Iterable[Any], folder: Path, executor: Executor
) -> Generator[Callable[[], Any], None, None]:
    """Make each part of the work a function, small where it goes to a process."""
    task = partial(task, go_on=partial(_go_on_unless, str(_called_off(folder))))
    if not isinstance(executor, ProcessPoolExecutor):
        yield from (partial(task, *each) for each in work)
        return
    stored = _stored(folder / "task", task)
    for i, each in enumerate(work):
        yield partial(_run_stored, stored, _stored(folder / f"part_{i}", each))


def _stored(path: Path, value: Any) -> Path:
    with open(path, "wb") as file:
        pickle.dump(value, file, protocol=pickle.HIGHEST_PROTOCOL)
    return path


def _run_stored(task: Path, part: Path) -> Any:
    _go_on_unless(str(_called_off(part.parent)))  # before what may be large is read
    given = pickle.loads(part.read_bytes())
    part.unlink()
    return pickle.loads(task.read_bytes())(*given)


def _called_off(folder: str | Path) -> Path:
    return Path(folder, "called_off")


def _go_on() -> None:
    """Go on."""


def _go_on_unless(path: str) -> None:
    """Raise if there is a file."""
    if os.path.exists(path):
        raise CancelledError("the work was called off")
