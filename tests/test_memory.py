"""Too little memory is an error that says what to lower, of every verb."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import funpipe as fp
from funpipe.jobs.working import ShortageError, memory_for

pytest.importorskip("resource", reason="not on Windows")

LIMITED = """
import resource, sys
import numpy as np
import funpipe as fp
size = {"scale": 1.0, "progress": False}
small = fp.from_gaussian((8.0,) * 3, sigma=(1.0, 2.0, 3.0))
image = np.random.default_rng(0).normal(size=(100,) * 3).astype(np.float32)
where = np.stack(np.meshgrid(*[np.arange(30.0, 80.0, 16.0)] * 3), -1).reshape(-1, 3)
picks = fp.Molecules(where)
options = {"max_shifts": 4.0, "rotations": (30, 5), **size}
fp.align(image, picks[:9], template=small, preflight=False, **size)  # all is loaded
template = fp.from_gaussian((56.0,) * 3, sigma=(4.0, 6.0, 8.0))
pages = int(open("/proc/self/statm").read().split()[0])
most = pages * resource.getpagesize() + 20 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
calls = {
    "align": lambda: fp.align(image, picks, template=template, **options),
    "average": lambda: fp.average(image, picks, shape=96, **size),
    "refine": lambda: list(
        fp.refine(image, picks, template=template, start=8.0, **options)
    ),
    "search": lambda: fp.search(
        image, template=template, count=3, spacing=60, resolution=10.0, **size
    ),
}
try:
    calls[sys.argv[1]]()
except MemoryError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is as of /proc")
@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("align", "align has not enough memory"),
        ("refine", "refine has not enough memory"),
        ("average", "average has not enough memory"),
        ("search", "search has not enough memory"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_where_memory_is_short_a_verb_says_what_to_lower(verb, said):
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LIMITED, verb],
        capture_output=True,
        text=True,
        timeout=120,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(fp.__file__).parents[1]),
            "OMP_NUM_THREADS": "1",
        },
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith(f"{said} (Unable to allocate")
    assert "give a " in run.stdout
    assert "or an executor with fewer workers" in run.stdout
    assert run.stdout.count("not enough memory") == 1


def test_the_verb_that_was_called_says_it_and_notes_stay():
    with (
        pytest.raises(ShortageError, match=r"^outer has") as caught,
        memory_for("outer", "less"),
        memory_for("inner", "more"),
    ):
        error = MemoryError("Unable to allocate")
        error.add_note("in the tomogram 'a'")
        raise error
    assert str(caught.value) == (
        "outer has not enough memory (Unable to allocate): give less, "
        "or an executor with fewer workers"
    )
    assert caught.value.__notes__ == ["in the tomogram 'a'"]
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_other_errors_pass():
    with pytest.raises(ValueError, match="other"), memory_for("align", "less"):
        raise ValueError("other")
