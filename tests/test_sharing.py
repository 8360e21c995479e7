"""What travels to workers: chunks that are small, and what is missed on the way."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.base.digests import digest
from funpipe.base.threads import can_limit, one_thread
from funpipe.base.whole import scratch
from funpipe.boxes.chunks import chunks, opened, stays
from funpipe.boxes.opening import open_tomograms
from funpipe.io.rows import mapped_array
from funpipe.io.voxels import read_block
from funpipe.jobs.sharing import Parcel, work_there
from funpipe.space.tilts import no_tilt, single_axis

SHAPE = (24, 40, 48)
IMAGE = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
BLOB = fp.from_gaussian((12.0, 12.0, 12.0), sigma=(0.8, 1.5, 2.0))
OPTIONS = {
    "template": [BLOB(1.0), BLOB(1.0) * np.float32(1 + 1e-7)],  # a near tie
    "scale": 1.0,
    "max_shifts": 2.0,
    "rotations": (20, 20),
    "tilt": (-60, 60),
    "progress": False,
    "preflight": False,
}


def picks(count: int = 70) -> fp.Molecules:
    random = np.random.default_rng(1)
    inside = random.uniform(10, np.array(SHAPE) - 11, (count, 3))
    names = np.array(["a rather long name of a tomogram"] * count)
    features = {"tomogram": names, **{f"f{i}": random.random(count) for i in range(40)}}
    return fp.Molecules(inside, Rotation.random(count, rng=random), features)


PICKS = picks()


@lru_cache(maxsize=1)
def expected() -> list[bytes]:
    return bits(fp.align(IMAGE, PICKS, **OPTIONS))


def bits(found: fp.Molecules) -> list[bytes]:
    values = (found.positions, found.rotations.as_quat(), *found.features.values())
    return [each.tobytes() for each in values]


class Through(Executor):
    """Runs what has been pickled, at once, and looks at it before."""

    def __init__(self, look: Callable[[tuple], None] = len):
        self.sizes: list[int] = []
        self.look = look

    def submit(self, function, /, *given, **options):
        content = pickle.dumps((function, given, options))
        self.sizes.append(len(content))
        function, given, options = pickle.loads(content)
        self.look(given)
        future: Future = Future()
        try:
            future.set_result(function(*given, **options))
        except BaseException as error:
            future.set_exception(error)
        return future


class Apart(Through):
    """An executor whose workers do not see the run's folder."""

    def submit(self, function, /, *given, **options):
        *rest, folder = given
        hidden = f"{folder}-hidden"
        os.rename(folder, hidden)
        try:
            return super().submit(function, *rest, folder, **options)
        finally:
            os.rename(hidden, folder)


class Foreign:
    """An array-like that does not pickle."""

    shape, dtype = SHAPE, IMAGE.dtype

    def __init__(self):
        self.held = threading.Lock()

    def __getitem__(self, where):
        return IMAGE[where]


def kinds(folder: Path) -> dict[str, object]:
    """Return one tomogram in many ways."""
    fp.write_volume(folder / "a.mrc", IMAGE, 1.0)
    fp.write_volume(folder / "a.mrc.gz", IMAGE, 1.0)
    np.save(folder / "a.npy", IMAGE)
    mapped = np.load(folder / "a.npy", mmap_mode="r")
    return {
        "a file": folder / "a.mrc",
        "a packed file": folder / "a.mrc.gz",
        "an array": IMAGE,
        "an array the other way round": np.asfortranarray(IMAGE),
        "a mapped array": mapped,
        "an array-like": Foreign(),
        "a file among many": {"a rather long name of a tomogram": folder / "a.mrc"},
        "an array among many": {"a rather long name of a tomogram": IMAGE},
    }


KINDS = (
    *("a file", "a packed file", "an array", "an array the other way round"),
    *("a mapped array", "an array-like", "a file among many", "an array among many"),
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("executor", [None, ThreadPoolExecutor, Through, Apart])
def test_a_tomogram_of_any_kind_gives_the_same_anywhere(kind, executor, tmp_path):
    tomogram = kinds(tmp_path)[kind]
    if executor is ThreadPoolExecutor:
        with ThreadPoolExecutor(3) as pool:
            found = fp.align(tomogram, PICKS, executor=pool, **OPTIONS)
        assert bits(found) == expected()
        return
    made = executor and executor()
    found = fp.align(tomogram, PICKS, executor=made, **OPTIONS)
    assert bits(found) == expected()
    if executor is Through:
        assert max(made.sizes) < 100_000
        assert len(made.sizes) == 2
    options = {"shape": 8, "scale": 1.0, "tilt": (-50, 60), "progress": False}
    average = fp.average(tomogram, PICKS, executor=made, **options)
    assert average.tobytes() == fp.average(IMAGE, PICKS, **options).tobytes()


def test_boxes_that_are_there_travel_too():
    boxes = fp.subtomograms(IMAGE, PICKS, shape=12, scale=1.0)
    options = {name: each for name, each in OPTIONS.items() if name != "preflight"}
    alone = fp.align_subtomograms(boxes, **options)
    for executor in (Through(), Apart()):
        found = fp.align_subtomograms(boxes, executor=executor, **options)
        assert found.scores.tobytes() == alone.scores.tobytes()
        assert found.log_evidence.tobytes() == alone.log_evidence.tobytes()


def test_check_finds_the_same_anywhere():
    options = {"template": -BLOB, "scale": 1.0, "max_shifts": 2.0}
    alone = fp.check(IMAGE, PICKS, **options)
    assert fp.check(IMAGE, PICKS, executor=Through(), **options) == alone


def test_the_bank_goes_along_once_where_no_folder_is_shared():
    sizes = {}
    for kind in (Through, Apart):
        executor = kind()
        changed = {**OPTIONS, "resolution": 2.0 + (kind is Apart) * 1e-9}  # another
        fp.align(IMAGE, PICKS, executor=executor, **changed)
        sizes[kind] = executor.sizes
    assert max(sizes[Through]) < 100_000
    assert sum(each > 100_000 for each in sizes[Apart]) >= 1
    again = Apart()
    fp.align(IMAGE, PICKS, executor=again, **changed)
    assert max(again.sizes) < max(sizes[Apart])  # this process has it already


def test_a_file_that_a_worker_misses_is_an_error(tmp_path):
    path = tmp_path / "a.mrc"
    fp.write_volume(path, IMAGE, 1.0)
    gone = Through(look=lambda given: path.unlink(missing_ok=True))
    with pytest.raises(FileNotFoundError, match=r"a\.mrc"):
        fp.align(path, PICKS, executor=gone, **OPTIONS)


def test_parts_that_wait_for_a_run_that_has_ended_are_not_worked_on(tmp_path):
    task = Parcel("of this test", "nowhere", pickle.dumps(_as_it_is))
    part = Parcel("1", "nowhere", pickle.dumps(1))
    with scratch(tmp_path) as folder:
        assert work_there(task, part, str(folder)) == 1
    with pytest.raises(CancelledError):
        work_there(task, part, str(folder))  # it knows the task, and has the part


def _as_it_is(part: int, *, go_on: Callable[[], None]) -> int:
    return part


OWN = """
import sys
sys.path[:0] = sys.argv[1:]
import numpy as np
from concurrent.futures import ThreadPoolExecutor
import funpipe as fp
import test_sharing as t

def measured(k):
    return np.where(np.abs(k[2]) < 0.3, 1.0, 0.5)

class Elsewhere(t.Through):
    def submit(self, function, task, part, folder):
        del measured.__globals__["measured"]  # as where this script does not run
        try:
            return super().submit(function, task, part, folder)
        finally:
            globals()["measured"] = kept

kept = measured
options = {**t.OPTIONS, "tilt": measured}
here = fp.align(t.IMAGE, t.PICKS, **options)
there = fp.align(t.IMAGE, t.PICKS, executor=Elsewhere(), **options)
assert t.bits(here) == t.bits(there)
print("same")
"""


def test_what_a_script_defines_goes_along_where_it_does_not_run(tmp_path):
    pytest.importorskip("cloudpickle", reason="comes with dask and loky")
    (tmp_path / "job.py").write_text(OWN)
    places = [str(Path(fp.__file__).parents[1]), str(Path(__file__).parent)]
    done = subprocess.run(
        [sys.executable, "job.py", *places],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "same\n", done.stderr


# Chunks.


def test_division_depends_on_numbers_alone():
    sources, _ = open_tomograms({"a": IMAGE, "b": IMAGE}, named(), 1.0, no_tilt, "of")
    divided = chunks(sources, 32)
    assert [len(each.indices) for each in divided] == [32, 31, 31, 6]
    together = np.concatenate([each.indices for each in divided])
    assert sorted(together) == list(range(100))
    assert chunks([], 32) == []


def named() -> fp.Molecules:
    names = np.where(np.arange(100) < 94, "a", "b")
    return fp.Molecules(picks(100).positions, None, {"of": names})


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_chunk_holds_its_particles_to_the_last_bit(elsewhere, tmp_path):
    sources, _ = open_tomograms(IMAGE, PICKS, 1.0, single_axis((-60, 60)), "of")
    divided = chunks(sources, 32)
    found = list(opened(divided, tmp_path if elsewhere else None))
    assert not any(map(stays, found))
    if elsewhere:
        content = pickle.dumps(found[0])
        assert len(content) < 10_000
        found = [pickle.loads(pickle.dumps(each)) for each in found]
    for chunk, each in zip(divided, found, strict=True):
        quaternions = PICKS.rotations.as_quat()[chunk.indices]
        assert each.molecules.rotations.as_quat().tobytes() == quaternions.tobytes()
        np.testing.assert_array_equal(each.indices, chunk.indices)
        assert each.molecules.features == {}
        np.testing.assert_array_equal(read_block(each.array, (0, 0, 0), SHAPE), IMAGE)


def test_a_mapped_array_is_read_where_it_lies(tmp_path):
    path = tmp_path / "a.raw"
    IMAGE.tofile(path)
    whole = np.memmap(path, np.float32, "r", shape=SHAPE)
    for part in (whole, whole[3:], whole[5:9], whole.T, whole.transpose(1, 0, 2)):
        lazy = mapped_array(part)
        assert lazy is not None
        np.testing.assert_array_equal(np.asarray(lazy), part)
    own = np.memmap(path, np.float32, "c", shape=SHAPE)
    for part in (whole[:, 2:], whole[::2], whole[::-1], whole + 1, IMAGE, own):
        assert mapped_array(part) is None
    with_header = np.memmap(path, np.float32, "r", 4 * 1000, (2, 3, 4))
    np.testing.assert_array_equal(np.asarray(mapped_array(with_header)), with_header)


# Digests.


def plus(x, *, y=1):
    return x + y


def another(x, *, y=1):
    return x + y


def test_a_digest_tells_values_apart():
    values = [
        *(None, True, 1, 1.0, 1j, "1", b"1", float("nan"), (1,), [1], {1: 2}, {1}),
        *(np.zeros(3), np.zeros(3, np.float32), np.zeros((3, 1)), np.zeros(4)),
        *(Rotation.identity(), Rotation.identity(1), fp.gaussian_filter(1.0)),
        *(fp.gaussian_filter(2.0), plus, another, no_tilt, single_axis((-60, 60))),
        *(single_axis((-60, 61)), np.add, np.sin, len, str, fp.Molecules, PICKS),
        *((1, (2, 3)), ((1, 2), 3), ("ab", "c"), ("a", "bc"), Path("a"), -0.0, 0.0),
    ]
    found = [digest(each) for each in values]
    assert len(set(found)) == len(values)
    again = [digest(pickle.loads(pickle.dumps(each))) for each in values]
    assert again == found


def test_a_digest_is_the_same_in_another_process():
    job = (
        "import sys, test_sharing as t\n"
        "from funpipe.base.digests import digest\n"
        "print(digest((t.plus, t.PICKS, t.BLOB, t.single_axis((-60, 60)))))"
    )
    places = [str(Path(fp.__file__).parents[1]), str(Path(__file__).parent)]
    done = subprocess.run(
        [sys.executable, "-c", job],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
        capture_output=True,
        text=True,
    )
    expected = digest((plus, PICKS, BLOB, single_axis((-60, 60))))
    assert done.stdout.strip() == expected, done.stderr


def test_the_code_of_a_function_counts():
    made = [{"__name__": "script"} for _ in range(3)]  # as a script that was changed
    for scope, text in zip(made, ("x + 1", "x + 1", "x + 2"), strict=True):
        exec(f"def f(x):\n    return {text}", scope)
    one, same, other = (digest(scope["f"]) for scope in made)
    assert one == same != other


def test_a_value_that_holds_itself_has_no_digest():
    value: list = []
    value.append(value)
    with pytest.raises(TypeError, match="holds itself"):
        digest(value)


# Threads of BLAS, and folders for a while.


def threads_of_blas() -> set[int]:
    import threadpoolctl

    found = threadpoolctl.threadpool_info()
    return {each["num_threads"] for each in found if each["user_api"] == "blas"}


@pytest.mark.skipif(not can_limit(), reason="the extra fast is not installed")
def test_blas_has_one_thread_until_the_last_one_leaves():
    import threadpoolctl

    with threadpoolctl.threadpool_limits(2, "blas"):
        before = threads_of_blas()
        first, second = one_thread(), one_thread()
        first.__enter__()
        second.__enter__()
        assert threads_of_blas() == {1}
        first.__exit__(None, None, None)
        assert threads_of_blas() == {1}
        second.__exit__(None, None, None)
        assert threads_of_blas() == before
        fp.align(IMAGE, PICKS[:3], **OPTIONS)
        assert threads_of_blas() == before


def test_folders_for_a_while_are_gone_and_those_of_others_stay(tmp_path):
    with scratch(tmp_path) as one, scratch(tmp_path) as other:
        assert one != other
        (one / "a").touch()
        assert one.is_dir()
        mine = tmp_path / "funpipe-of-mine"
        mine.mkdir()
    assert list(tmp_path.iterdir()) == [mine]
