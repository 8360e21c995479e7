"""Brief parts of work go to another process several together."""

from __future__ import annotations

import time
from concurrent.futures import Executor, Future
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from funpipe.jobs.running import run
from funpipe.jobs.together import Pace, one_by_one, size_of, together, together_at


class Elsewhere(Executor):
    """Works at once, as if in another process; counts what it was given."""

    def __init__(self) -> None:
        self.count = 0

    def submit(self, function, /, *args, **kwargs):
        self.count += 1
        future: Future[object] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except ValueError as error:
            future.set_exception(error)
        return future


def numbers(folder: Path | None, *, count: int):
    yield from range(count)


def squared(number: int, *, seconds: float, go_on):
    go_on()
    time.sleep(seconds)
    if number == 700:
        raise ValueError("the part of 700")
    return {"square": np.full(3, number**2)}


def found(count: int, seconds: float) -> tuple[list[int], list[int], int]:
    """Return results, the numbers of those that were kept, and what was sent."""
    pool, kept = Elsewhere(), []
    task, work = partial(squared, seconds=seconds), partial(numbers, count=count)
    results = run(task, work, pool, keep=lambda number, result: kept.append(number))
    return [int(each["square"][0]) for each in results], kept, pool.count


def test_brief_parts_go_together_and_come_one_by_one():
    squares, kept, sent = found(600, 0.0)
    assert squares == [i**2 for i in range(600)]
    assert sorted(kept) == list(range(600))
    assert sent < 64 + 600 / 8  # at first one by one, then up to 16 together


def test_parts_that_take_long_go_alone():
    squares, _, sent = found(6, 0.3)
    assert squares == [0, 1, 4, 9, 16, 25]
    assert sent == 6


def test_a_part_that_fails_among_several_ends_the_work():
    pool, results = Elsewhere(), []
    task, work = partial(squared, seconds=0.0), partial(numbers, count=2000)
    with pytest.raises(ValueError, match="the part of 700"):
        results.extend(run(task, work, pool))
    assert 600 / 16 < pool.count < 400


def test_as_many_parts_go_together_as_take_a_quarter_of_a_second():
    assert [together_at(each) for each in (9.0, 0.13, 0.12, 0.02)] == [1, 1, 2, 12]
    pace = Pace()
    pace.last.append(0.1)
    parts = pace.several("abcdefg")
    assert next(parts).parts == ["a", "b"]
    pace.last.append(0.07)
    assert [(each.first, each.parts) for each in parts] == [
        (2, ["c", "d", "e"]),
        (5, ["f", "g"]),
    ]


def test_the_size_of_results_is_that_of_their_arrays():
    pace = Pace()
    pace.last.append(0.01)
    (some,) = pace.several([1, 2, 3])
    done = together(partial(squared, seconds=0.0))(some, go_on=lambda: None)
    assert size_of(done) == 3 * 3 * 8 and size_of(None) == 1
    assert [each["square"][0] for each in one_by_one(each for each in [done])] == [
        1,
        4,
        9,
    ]
