"""One knob: any executor, any number of threads, and the same bits come out.

Pools are the real ones, of processes of their own; of MPI those that mpirun starts.
"""

from __future__ import annotations

from pathlib import Path

import pooled_job
import pytest
from pooled_job import POOLS, VERBS, assert_same, saved
from pooled_runs import needs, ran

HERE = ("apart", "threads", "processes", "loky", "dask")
ELSEWHERE = ("mpi", "executorlib")
"""Those that this process cannot start, or not without warnings."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("job")
    pooled_job.make(made)
    return made


@pytest.fixture(scope="module")
def expected(folder) -> dict[str, dict]:
    """What every verb returns without an executor."""
    return {name: verb(folder, None) for name, verb in VERBS.items()}


def flat(found: dict[str, dict]) -> dict:
    return {
        f"{name}: {part}": array
        for name, parts in found.items()
        for part, array in parts.items()
    }


@pytest.fixture(scope="module", params=HERE)
def pool(request):
    needs(request.param)
    with POOLS[request.param](2) as made:
        yield made


@pytest.mark.parametrize("name", VERBS)
def test_any_executor_gives_the_same_bits(name, pool, folder, expected):
    assert_same(VERBS[name](folder, pool), expected[name])


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_any_executor_elsewhere_gives_the_same_bits(kind, folder, expected, tmp_path):
    ran(kind, folder, tmp_path / "found.npz")
    assert_same(saved(tmp_path / "found.npz"), flat(expected))


@pytest.mark.parametrize("threads", ["1", "2"])
def test_any_number_of_threads_gives_the_same_bits(threads, folder, expected, tmp_path):
    variables = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
    ran("none", folder, tmp_path / "found.npz", **variables)
    assert_same(saved(tmp_path / "found.npz"), flat(expected))


def test_the_job_has_near_ties(expected):
    """Or the tests above would be easier than they are meant to be."""
    assert 0.2 < expected["align"]["feature template"].mean() < 0.8
    sure = expected["align"]["feature template_probability"]
    assert (abs(sure - 0.5) < 1e-3).all()
