"""What is finished is kept, found again, and never taken for something else."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.engine import Engine, Match
from funpipe.engine.matching import ENGINE
from funpipe.jobs.checkpoints import open_checkpoint

BLOB = fp.from_gaussian((8.0, 8.0, 8.0), sigma=(0.5, 1.0, 1.5))
SHAPE = (24, 40, 48)
IMAGE = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
COUNT, CHUNKS = 300, 5


def picks(seed: int = 1) -> fp.Molecules:
    random = np.random.default_rng(seed)
    inside = random.uniform(6, np.array(SHAPE) - 7, (COUNT, 3))
    return fp.Molecules(inside, Rotation.random(COUNT, rng=random))


PICKS = picks()
OPTIONS = {"template": BLOB, "scale": 1.0, "progress": False, "preflight": False}


# An engine that counts, and ends where it is told to.


def prepare(templates, grid, window, finest, *, support, refined):
    return templates


def match(crops, orientations, *, bank, tilt, go_on):
    n = len(crops.values)
    with open(os.environ["FUNPIPE_TEST_CALLS"], "a") as file:
        file.write(f"{n}\n")
    if calls() > int(os.environ.get("FUNPIPE_TEST_ENDS", "1000")):
        raise KeyboardInterrupt
    scores = crops.values.mean(axis=(1, 2, 3), dtype=np.float64) + bank.sum()
    unknown, no = np.full(n, np.nan), np.zeros(n, bool)
    found = Rotation.from_rotvec(0.01 * crops.offsets), crops.offsets, scores
    return Match(*found, np.zeros(n, int), unknown, unknown, no, ~no, no)


PLAIN = Engine(prepare, match)


@pytest.fixture(autouse=True)
def counted(tmp_path, monkeypatch):
    monkeypatch.setenv("FUNPIPE_TEST_CALLS", str(tmp_path / "calls"))


def calls() -> int:
    """Return how many chunks were matched, all in all."""
    path = Path(os.environ["FUNPIPE_TEST_CALLS"])
    return len(path.read_text().split()) if path.exists() else 0


def align(checkpoint=None, tomogram=IMAGE, molecules=PICKS, **changes):
    options = {**OPTIONS, "engine": PLAIN, "checkpoint": checkpoint, **changes}
    return fp.align(tomogram, molecules, **options)


def assert_same(one: fp.Molecules, other: fp.Molecules) -> None:
    """Compare bit by bit."""
    assert list(one.features) == list(other.features)
    pairs = [
        (one.positions, other.positions),
        (one.rotations.as_quat(), other.rotations.as_quat()),
        *((one.features[name], other.features[name]) for name in one.features),
    ]
    for mine, yours in pairs:
        assert mine.tobytes() == yours.tobytes()


def files(folder: Path) -> list[Path]:
    return sorted(each for each in folder.rglob("*") if each.is_file())


@pytest.mark.parametrize("engine", [ENGINE, PLAIN])
def test_what_is_kept_is_what_was_found(engine, tmp_path):
    plain = align(engine=engine)
    kept = [align(tmp_path / "kept", engine=engine) for _ in range(2)]
    assert_same(kept[0], plain)
    assert_same(kept[1], plain)
    assert calls() == (2 * CHUNKS if engine is PLAIN else 0)


def test_boxes_and_averages_are_kept_too(tmp_path):
    folder = tmp_path / "kept"
    boxes = fp.subtomograms(IMAGE, PICKS, shape=8, scale=1.0)
    options = {"template": BLOB, "scale": 1.0, "progress": False, "engine": PLAIN}
    plain = fp.align_subtomograms(boxes, **options)
    for _ in range(2):
        found = fp.align_subtomograms(boxes, checkpoint=folder, **options)
        assert found.scores.tobytes() == plain.scores.tobytes()
    assert calls() == 2 * CHUNKS
    fp.align_subtomograms(boxes + 1, checkpoint=folder, **options)
    assert calls() == 3 * CHUNKS
    for tilt in (None, (-60, 60)):
        given = {"shape": 8, "scale": 1.0, "tilt": tilt, "progress": False}
        alone = fp.average(IMAGE, PICKS, **given)
        for _ in range(2):
            kept = fp.average(IMAGE, PICKS, checkpoint=folder, **given)
            assert kept.tobytes() == alone.tobytes()
    assert len({each.parent for each in files(folder)}) == 3


def test_a_run_that_ended_goes_on_where_it_was(tmp_path, monkeypatch, caplog):
    folder, plain = tmp_path / "kept", align()
    before = calls()
    monkeypatch.setenv("FUNPIPE_TEST_ENDS", str(before + 3))
    with ThreadPoolExecutor(1) as pool, pytest.raises(KeyboardInterrupt) as ended:
        align(folder, executor=pool)
    assert any(str(folder) in each for each in ended.value.__notes__)
    monkeypatch.setenv("FUNPIPE_TEST_ENDS", "1000")
    done = calls()
    with caplog.at_level(logging.INFO, "funpipe"):
        assert_same(align(folder), plain)
    assert calls() - done == CHUNKS - 3
    assert f"resumed 3 of {CHUNKS} chunks" in caplog.text
    assert "finished" in caplog.text


CHANGES = {
    "template": {"template": 2 * BLOB},
    "mask": {"mask": fp.soft_otsu(0.5, 0.5)},
    "max_shifts": {"max_shifts": 2.0},
    "rotations": {"rotations": (10, 5)},
    "tilt": {"tilt": (-60, 60)},
    "resolution": {"resolution": 3.0},
    "symmetry": {"symmetry": "C2", "rotations": (60, 20)},
    "refine": {"refine": False},
    "estimate": {"estimate": "mode"},
    "prior": {"prior": (0.5, 5.0), "engine": ENGINE},
    "engine": {"engine": PLAIN._replace(match=ENGINE.match, prepare=ENGINE.prepare)},
    "scale": {"scale": 1.0 + 1e-6},
    "an image": {"tomogram": IMAGE + np.float32(1e-6)},
    "poses": {"molecules": picks(2)},
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_results_changes_what_they_are_kept_under(change, tmp_path):
    align(tmp_path / "kept")
    before = len(files(tmp_path / "kept"))
    align(tmp_path / "kept", **CHANGES[change])
    assert len(files(tmp_path / "kept")) > before


def test_what_changes_no_result_is_found_again(tmp_path):
    align(tmp_path / "kept")
    named = PICKS.with_features(other=np.arange(COUNT))
    align(str(tmp_path / "kept"), molecules=named, preflight=True)
    align(tmp_path / "kept", tomogram=np.asfortranarray(IMAGE))
    assert calls() == CHUNKS


def test_a_file_is_known_by_its_size_and_time(tmp_path):
    path, folder = tmp_path / "a.mrc", tmp_path / "kept"
    fp.write_volume(path, IMAGE, 1.0)
    align(folder, tomogram=path)
    align(folder, tomogram=os.path.relpath(path))
    assert calls() == CHUNKS
    later = os.stat(path).st_mtime_ns + 10**9
    os.utime(path, ns=(later, later))
    align(folder, tomogram=path)
    assert calls() == 2 * CHUNKS


def test_noise_of_all_makes_poses_depend_on_all(tmp_path):
    names = np.where(np.arange(COUNT) < 140, "a", "b")
    molecules = PICKS.with_features(tomogram=names)
    options = {"engine": ENGINE, "molecules": molecules, "whiten": True}
    tomograms = {"a": IMAGE, "b": IMAGE[::-1].copy()}
    align(tmp_path / "kept", tomogram=tomograms, **options)
    before = len(files(tmp_path / "kept"))
    changed = {**tomograms, "b": IMAGE[:, ::-1].copy()}
    found = align(tmp_path / "kept", tomogram=changed, **options)
    assert len({each.parent for each in files(tmp_path / "kept")}) == 2
    assert len(files(tmp_path / "kept")) > before
    assert_same(found, align(tomogram=changed, **options))


# Damage.


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes, at: int) -> bytes:
    changed = bytearray(content)
    changed[at % len(changed)] ^= 16
    return bytes(changed)


@pytest.mark.parametrize("damage", ["cut", "empty", *range(12)])
def test_a_damaged_file_is_said_and_its_chunks_are_found_again(damage, tmp_path):
    plain, folder = align(tmp_path / "kept"), tmp_path / "kept"
    path = files(folder)[0]
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(cut(content))
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        where = np.random.default_rng(damage).integers(len(content))
        path.write_bytes(flipped(content, int(where)))
    with pytest.warns(UserWarning, match=rf"{path.name} is damaged") as warned:
        assert_same(align(folder), plain)
    assert [each.filename for each in warned] == [__file__]
    assert not path.exists() or path.read_bytes() == content
    done = calls()
    assert_same(align(folder), plain)
    assert calls() == done


def test_what_is_not_its_own_is_left_alone(tmp_path):
    folder = tmp_path / "kept"
    align(folder)
    own = files(folder)[0].parent / "notes.txt"
    own.write_text("mine")
    align(folder)
    assert own.read_text() == "mine"


# Where nothing can be written.


class Unread:
    """An array that must not be read."""

    shape, dtype = SHAPE, np.dtype(np.float32)

    def __getitem__(self, where):
        raise AssertionError("work has started")


@pytest.mark.parametrize("below", [False, True])
def test_a_file_in_the_place_of_the_folder_is_said_before_any_work(below, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("here")
    given = path / "kept" if below else path
    text = f"checkpoint must be a folder to write to, not {given}: .*a.txt is a file"
    for call in (
        lambda: align(given, tomogram=Unread()),
        lambda: fp.average(Unread(), PICKS, shape=4, scale=1.0, checkpoint=given),
    ):
        with pytest.raises(NotADirectoryError, match=text):
            call()
    assert path.read_text() == "here"


@pytest.mark.parametrize("value", [5, "", "a\0b", ["kept"], b"kept"])
def test_what_is_no_path_is_said_before_any_work(value):
    with pytest.raises((TypeError, ValueError), match="checkpoint must be a path"):
        align(value, tomogram=Unread())


def test_a_folder_that_is_full_is_said_before_any_work(tmp_path, monkeypatch):
    def no_room(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_room)
    text = "checkpoint must be a folder to write to, not .*: No space left on device"
    with pytest.raises(OSError, match=text):
        align(tmp_path / "kept", tomogram=Unread())
    assert files(tmp_path) == []


# Several runs, and those that were killed.


def test_what_killed_runs_left_is_removed(tmp_path):
    folder = tmp_path / "kept"
    align(folder)
    job = files(folder)[0].parent
    partial = job / f".funpipe-{'0' * 16}.partial.npz"
    partial.touch()
    scratch = folder / f"funpipe-{'0' * 16}"
    scratch.mkdir()
    (scratch / "task").write_text("of a run that was killed")
    align(folder)
    assert not partial.exists()
    assert not scratch.exists()


def test_chunks_come_to_the_disk_in_time(tmp_path, monkeypatch):
    kept = open_checkpoint(str(tmp_path), "job", "0" * 64)
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for number in range(40):
        kept.put(f"{number:064x}", {"a": np.full(3, number)})
        now[0] += 0.1
    many = len(files(tmp_path))
    assert 5 <= many <= 9  # in 4 seconds
    kept.write()
    again = open_checkpoint(str(tmp_path), "job", "0" * 64)
    for number in range(40):
        found = again.result(f"{number:064x}")
        np.testing.assert_array_equal(found["a"], np.full(3, number))
    assert f"{41:064x}" not in again


def test_arrays_of_any_shape_come_back(tmp_path):
    random = np.random.default_rng(0)
    chunks = {
        f"{number:064x}": {
            "none": np.zeros((0, 4)),
            "one": np.array(number),
            "some": random.normal(size=(number, 2, 3)),
            "complex": random.normal(size=(2, number)) * 1j,
            "true": random.random(number) > 0.5,
        }
        for number in range(5)
    }
    kept = open_checkpoint(str(tmp_path), "job", "0" * 64)
    kept.waiting.update(chunks)
    kept.write()
    kept = open_checkpoint(str(tmp_path), "job", "0" * 64)
    for key, expected in chunks.items():
        found = kept.result(key)
        assert list(found) == list(expected)
        for name, each in expected.items():
            assert found[name].dtype == each.dtype
            np.testing.assert_array_equal(found[name], each)


KILLED = """
import sys
import test_checkpoints as t
print("begins", flush=True)
t.align(sys.argv[1], tomogram=sys.argv[2], engine=t.ENGINE, rotations=(30, 10))
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_run_that_is_killed_goes_on_and_leaves_nothing(tmp_path):
    path, folder = tmp_path / "a.mrc", tmp_path / "kept"
    fp.write_volume(path, IMAGE, 1.0)
    places = [str(Path(fp.__file__).parents[1]), str(Path(__file__).parent)]
    job = [sys.executable, "-c", KILLED, str(folder), str(path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    with subprocess.Popen(job, env=environment, stdout=subprocess.PIPE) as process:
        end = time.monotonic() + 60
        while not files(folder) and process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert files(folder)
    options = {"tomogram": path, "engine": ENGINE, "rotations": (30, 10)}
    assert_same(align(folder, **options), align(**options))
    assert all(each.name.startswith("chunks-") for each in files(folder))
