"""What executors, chunks and checkpoints cost, and what a second worker gains.

    python tests/benchmarks/executors.py --particles 6000 --repeats 3

Each figure is of a process of its own, with one BLAS thread a worker: wall seconds of
one alignment from a tomogram's file, after the pool has started and aligned a few
particles. Kinds take turns, so that a busy machine disturbs all of them alike; ratios
are of the medians. ``--only`` names parts: workers, tasks, checkpoint, chunks, million.
"""

from __future__ import annotations

import os

for name in ("OPENBLAS", "OMP", "MKL", "NUMEXPR"):
    os.environ.setdefault(f"{name}_NUM_THREADS", "1")

import argparse
import json
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from conditions import conditions_of_run
from pooled_job import POOLS, command_of, has, variables_of
from results import Result, write_result
from whole_job import write_job

BOX, SIDE, CHUNK = 32, 6, 32
KINDS = ("threads", "processes", "loky", "dask", "mpi")


class Measuring(Executor):
    """Runs each task where it is, as if it had travelled; keeps what it weighed."""

    def __init__(self) -> None:
        self.there: list[int] = []
        self.back: list[int] = []
        self.seconds: list[float] = []

    def submit(self, function, /, *args, **kwargs):
        task = pickle.dumps((function, args, kwargs), pickle.HIGHEST_PROTOCOL)
        function, args, kwargs = pickle.loads(task)
        start = time.perf_counter()
        future: Future[Any] = Future()
        future.set_result(function(*args, **kwargs))
        self.seconds.append(time.perf_counter() - start)
        self.there.append(len(task))
        self.back.append(len(pickle.dumps(future.result(), pickle.HIGHEST_PROTOCOL)))
        return future


def aligned(
    folder: Path, count: int, executor: Executor | None, **options: Any
) -> float:
    """Align the first picks; return the seconds it took."""
    import funpipe as fp

    picks = fp.Molecules.from_csv(folder / "picks.csv")[:count]
    start = time.perf_counter()
    fp.align(
        folder / "tomogram.mrc",
        picks,
        template=fp.from_file(folder / "template.mrc"),
        mask=fp.soft_otsu(1.0, 4.0),
        max_shifts=3.0,
        rotations=((12, 4),) * 3,
        resolution=4.0,
        tilt=(-60, 60),
        preflight=False,
        executor=executor,
        progress=False,
        **options,
    )
    return time.perf_counter() - start


def one_alignment(kind: str, workers: int, folder: Path, count: int) -> float:
    """Return the seconds of the job in a pool that has been at work before."""
    if kind == "none":
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:workers]))
    with POOLS[kind](workers) as pool:
        aligned(folder, 256 * workers, pool)  # so that each has imported all it needs
        return aligned(folder, count, pool)


def one_checkpoint(kind: str, workers: int, folder: Path, count: int) -> float:
    """Return the seconds of the job that keeps its chunks, without an executor."""
    aligned(folder, 64, None)
    with tempfile.TemporaryDirectory(dir=folder) as kept:
        return aligned(folder, count, None, checkpoint=kept)


def one_row_of_chunks(kind: str, workers: int, folder: Path, count: int) -> float:
    """Return the seconds that a chunk of nothing takes."""
    with POOLS[kind](workers) as pool:
        list(nothing(folder, 32 * 64, 1, pool, None))
        start = time.perf_counter()
        done = sum(1 for _ in nothing(folder, 32 * count, 1, pool, None))
        return (time.perf_counter() - start) / done


def measured(one: str, kind: str, workers: int, folder: Path, count: int) -> Any:
    """Run one measurement in a process of its own."""
    words = ("--one", json.dumps([one, kind, workers, str(folder), count]))
    run = subprocess.run(
        command_of(kind, __file__, *words, ranks=workers + 1),
        env=variables_of(kind),
        capture_output=True,
        text=True,
    )
    if run.returncode:
        raise RuntimeError(f"{one} {kind} {workers}\n{run.stdout}{run.stderr}")
    return json.loads(run.stdout.splitlines()[-1])


def in_turns(
    cases: list[tuple[str, str, int]], folder: Path, count: int, repeats: int
) -> dict[tuple[str, str, int], list[float]]:
    """Measure all cases, one after the other, several times."""
    found: dict[tuple[str, str, int], list[float]] = {each: [] for each in cases}
    for _ in range(repeats):
        for each in cases:
            found[each].append(measured(*each, folder, count))
            print(*each, shown(found[each][-1]), file=sys.stderr)
    return found


def of_workers(folder: Path, count: int, repeats: int) -> Iterator[dict[str, Any]]:
    """Return a row a kind: one worker, two, the gain, and none beside the best."""
    kinds = [each for each in ("none", *KINDS) if has(each)]
    cases = [("one_alignment", kind, n) for kind in kinds for n in (1, 2)]
    found = in_turns(cases, folder, count, repeats)
    medians = {each[1:]: statistics.median(times) for each, times in found.items()}
    best = min(medians[kind, 2] for kind in kinds if kind != "none")
    for kind in kinds:
        yield {
            "part": "workers",
            "kind": kind,
            "particles": count,
            "s, 1 worker": medians[kind, 1],
            "s, 2 workers": medians[kind, 2],
            "gain": medians[kind, 1] / medians[kind, 2],
            "over the best": medians[kind, 2] / best,
            "ms a particle": 1e3 * medians[kind, 1] / count,
        }


def of_tasks(folder: Path, count: int, repeats: int) -> Iterator[dict[str, Any]]:
    """Return what tasks weigh, there and back, and how long they take."""
    executor = Measuring()
    aligned(folder, min(count, 320), executor)
    yield {
        "part": "tasks",
        "tasks": len(executor.there),
        "kB there, most": max(executor.there) / 1e3,
        "kB back, most": max(executor.back) / 1e3,
        "s, median": statistics.median(executor.seconds),
    }


def of_checkpoint(folder: Path, count: int, repeats: int) -> Iterator[dict[str, Any]]:
    """Return what keeping all chunks adds to a job, in per cent."""
    cases = [("one_alignment", "none", 2), ("one_checkpoint", "none", 2)]
    found = in_turns(cases, folder, count, max(repeats, 3))
    without, kept = (statistics.median(found[each]) for each in cases)
    yield {
        "part": "checkpoint",
        "particles": count,
        "s without": without,
        "s kept": kept,
        "per cent": 100 * (kept / without - 1),
    }


def of_chunks(folder: Path, count: int, repeats: int) -> Iterator[dict[str, Any]]:
    """Return what a chunk costs in each kind of pool, beyond its work."""
    kinds = [each for each in ("none", *KINDS) if has(each)]
    cases = [("one_row_of_chunks", kind, 2) for kind in kinds]
    for (_, kind, _), times in in_turns(cases, folder, 2000, repeats).items():
        yield {
            "part": "chunks",
            "kind": kind,
            "ms a chunk": 1e3 * statistics.median(times),
        }


def nothing_found(part: Any, *, go_on: Any) -> dict[str, Any]:
    """Return what an alignment would, of poses that are as they were."""
    import numpy as np

    go_on()
    n = len(part.indices)
    return {"poses": np.zeros((n, 7)), "scores": np.zeros((n, 9))}


def nothing(
    folder: Path, particles: int, tomograms: int, executor: Any, checkpoint: Any
) -> Iterator[dict[str, Any]]:
    """Run null tasks through chunks, their order and checkpoints; yield results."""
    import numpy as np

    import funpipe as fp
    from funpipe.boxes.chunks import chunk_keys, chunks, opened
    from funpipe.boxes.opening import open_tomograms
    from funpipe.jobs.working import Job, results, running
    from funpipe.space.tilts import no_tilt

    names = np.arange(particles) % tomograms
    picks = fp.Molecules(np.full((particles, 3), 30.0) + names[:, None] * 1e-6)
    many = {name: str(folder / "tomogram.mrc") for name in range(tomograms)}
    sources, _ = open_tomograms(
        many, picks.with_features(tomogram=names), 1.0, no_tilt, "tomogram"
    )
    some = chunks(sources, CHUNK)
    job = Job(
        name="nothing",
        chunks=some,
        parts=opened,
        task=lambda: nothing_found,
        alone=lambda part: part,
        facts=lambda: ("nothing", chunk_keys(some)),
    )
    how = running(executor=executor, checkpoint=checkpoint, progress=False)
    return results(job, how)


def one_million(kind: str, workers: int, folder: Path, count: int) -> list[float]:
    """Return particles a second, made and taken up again, and MB beyond the start."""
    before, rates = memory(), []
    with POOLS[kind](workers) as pool, tempfile.TemporaryDirectory(dir=folder) as kept:
        for _ in range(2):
            start = time.perf_counter()
            found = nothing(folder, count, max(1, count // 1000), pool, kept)
            done = sum(len(each["poses"]) for each in found)
            rates.append(done / (time.perf_counter() - start))
            assert done == count
        files = [each for each in Path(kept).rglob("*") if each.is_file()]
        size = sum(each.stat().st_size for each in files) / 1e6
    return [*rates, memory() - before, len(files), size]


def of_million(folder: Path, count: int, repeats: int) -> Iterator[dict[str, Any]]:
    """Return how fast null tasks of a million particles go through."""
    for kind in ("none", "threads"):
        first, again, grown, files, size = measured(
            "one_million", kind, 2, folder, 1_000_000
        )
        yield {
            "part": "million",
            "kind": kind,
            "particles a second": first,
            "resumed, particles a second": again,
            "memory MB": grown,
            "files": int(files),
            "kept MB": size,
        }


def memory() -> float:
    """Return the most MB that this process has had, as Linux knows it."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return float(status.split("VmHWM:")[1].split()[0]) / 1024


ONES = {
    each.__name__: each
    for each in (one_alignment, one_checkpoint, one_row_of_chunks, one_million)
}


PARTS = {
    "workers": of_workers,
    "tasks": of_tasks,
    "checkpoint": of_checkpoint,
    "chunks": of_chunks,
    "million": of_million,
}


def names_of_parts(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        raise argparse.ArgumentTypeError(
            f"{', '.join(unknown)}: no such part; there are {', '.join(PARTS)}"
        )
    return names


def shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--particles", type=int, default=6000)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument(
        "--only", type=names_of_parts, default=list(PARTS), help="NAME[,NAME]"
    )
    parser.add_argument("--results", type=Path, help="folder to keep a CSV file in")
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args(words)
    if given.one:
        name, kind, workers, folder, count = given.one
        print(json.dumps(ONES[name](kind, workers, Path(folder), count)))
        return
    rows = []
    with conditions_of_run() as conditions, tempfile.TemporaryDirectory() as name:
        repeated = -(-given.particles // SIDE**3)
        write_job(Path(name), BOX, SIDE, repeated, 1.0)
        for part in given.only:
            for row in PARTS[part](Path(name), given.particles, given.repeats):
                rows.append(row)
                print(", ".join(f"{key}: {shown(each)}" for key, each in row.items()))
                sys.stdout.flush()
    result = Result("executors", dict(conditions), rows)
    for key, value in result.conditions.items():
        print(f"    {key}: {value}")
    if given.results:
        write_result(given.results, result)


if __name__ == "__main__":
    main()
