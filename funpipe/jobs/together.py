"""Brief parts of work, several of which go to another process together.

To send a task and to take it takes some milliseconds of both sides, whatever is in it.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeAlias

__all__ = [
    "Pace",
    "each_alone",
    "one_by_one",
    "size_of",
    "together",
    "together_at",
]

Task: TypeAlias = Callable[..., Any]  # see `funpipe.jobs.running`
Keep: TypeAlias = Callable[[int, Any], None]

_BRIEF = 0.25  # seconds that those take that go together
_MOST = 16  # of them


class _Several(NamedTuple):
    first: int
    """The number of the first part."""
    parts: list[Any]


class _Done(NamedTuple):
    """What a task returned for several parts."""

    first: int
    results: list[Any]
    seconds: float
    """Of all."""


@dataclass(frozen=True)
class Pace:
    """How long a part takes: as long as those that were finished last."""

    last: deque[float] = field(default_factory=partial(deque, [_BRIEF], maxlen=1))
    """Seconds."""

    def several(self, parts: Iterable[Any]) -> Iterator[Any]:
        """Yield parts, as many together as are brief."""
        coming, first = iter(parts), 0
        while some := list(itertools.islice(coming, together_at(self.last[0]))):
            yield _Several(first, some)
            first += len(some)

    def kept(self, keep: Keep) -> Keep:
        """Return what keeps each result of several parts, and learns their pace."""
        return partial(_keep_each, keep, self)


def together_at(seconds: float) -> int:
    """Return how many parts go together that take so long each.

    Examples
    --------
    >>> [together_at(seconds) for seconds in (1.0, 0.05, 0.0001)]
    [1, 5, 16]
    """
    return max(1, min(_MOST, int(_BRIEF / max(seconds, 1e-6))))


def _keep_each(keep: Keep, pace: Pace, number: int, done: _Done) -> None:
    pace.last.append(done.seconds / len(done.results))
    for i, result in enumerate(done.results):
        keep(done.first + i, result)


def together(task: Task) -> Task:
    """Return a task for several parts."""
    return partial(_each, task=task)


def _each(several: _Several, *, task: Task, go_on: Callable[[], None]) -> _Done:
    begin = time.perf_counter()
    results = [task(part, go_on=go_on) for part in several.parts]
    return _Done(several.first, results, time.perf_counter() - begin)


def each_alone(alone: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return what makes of several parts some that need no file."""
    return partial(_each_alone, alone)


def _each_alone(alone: Callable[[Any], Any], several: _Several) -> _Several:
    return several._replace(parts=[*map(alone, several.parts)])


def one_by_one(found: Generator[_Done, None, None]) -> Generator[Any, None, None]:
    """Yield the results of parts that went together."""
    with closing(found):
        for done in found:
            yield from done.results


def size_of(result: Any) -> int:
    """Return the bytes of a result that is a mapping to arrays, or of several."""
    if isinstance(result, _Done):
        return sum(map(size_of, result.results))
    if not isinstance(result, Mapping):
        return 1
    return sum(each.nbytes for each in result.values())
