"""Packed volumes: read as they are unpacked, of bounded size, whatever their header."""

from __future__ import annotations

import bz2
import gzip
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import funpipe as fp
from funpipe.base.errors import ChangedError
from funpipe.io import mrc
from funpipe.io.packed import Packed
from funpipe.io.volumes import open_volume, read_volume, write_volume

PACK = {".gz": gzip.compress, ".bz2": bz2.compress}
IMAGE = np.random.default_rng(0).normal(size=(9, 8, 10)).astype(np.float32)


@pytest.fixture(autouse=True)
def nothing_is_small(monkeypatch):
    """Whatever its size, a packed volume is unpacked as it is read."""
    monkeypatch.setattr(mrc, "_SMALL", 0)


@pytest.fixture(params=PACK)
def path(request, tmp_path) -> Path:
    write_volume(tmp_path / f"a.mrc{request.param}", IMAGE, 0.5)
    return tmp_path / f"a.mrc{request.param}"


SLICES = {
    "all": np.s_[...],
    "planes in turn": np.s_[2:4],
    "the last": np.s_[-1],
    "backwards": np.s_[::-2],
    "a box": np.s_[1:5, 2:3, 4:],
    "none": np.s_[3:3],
}


@pytest.mark.parametrize("first", SLICES.values(), ids=SLICES)
@pytest.mark.parametrize("then", SLICES.values(), ids=SLICES)
def test_any_part_is_the_one_of_the_array_in_any_order(first, then, path):
    array = open_volume(path).array
    assert isinstance(array, Packed)
    for each in (first, then, first):
        np.testing.assert_array_equal(array[each], IMAGE[each])


def test_planes_that_are_read_in_turn_are_not_kept(path):
    array = open_volume(path).array
    for z in range(len(IMAGE)):
        np.testing.assert_array_equal(array[z : z + 1], IMAGE[z : z + 1])
    assert array.read.whole is None
    assert array.read.stream is None  # it came to its end, and its sum was right
    np.testing.assert_array_equal(array[2, 3:5], IMAGE[2, 3:5])
    assert array.read.whole is not None


def test_axes_may_lie_in_another_order(tmp_path):
    write_volume(tmp_path / "b.mrc", IMAGE, 0.5)
    raw = bytearray((tmp_path / "b.mrc").read_bytes())
    raw[64:76] = np.array([3, 1, 2], "<i4").tobytes()  # columns z, rows x, sections y
    (tmp_path / "b.mrc").write_bytes(raw)
    (tmp_path / "a.mrc.gz").write_bytes(gzip.compress(raw))
    plain, packed = (open_volume(tmp_path / each) for each in ("b.mrc", "a.mrc.gz"))
    assert packed.array.shape == plain.array.shape != IMAGE.shape
    for each in (np.s_[1:3], np.s_[:, 2:3], np.s_[...], np.s_[:, :, -1]):
        np.testing.assert_array_equal(packed.array[each], plain.array[each])


def test_it_travels_closed(path):
    array = open_volume(path).array
    array[:2]
    again = pickle.loads(pickle.dumps(array))
    np.testing.assert_array_equal(again[...], IMAGE)


def test_a_packed_tomogram_is_aligned_as_the_plain_one(path, tmp_path):
    blob = fp.from_gaussian(3.0, (0.4, 0.6, 0.8))
    image = np.random.default_rng(1).normal(size=(24, 24, 24)).astype(np.float32)
    where = np.random.default_rng(2).uniform(4, 8, (12, 3))
    options = {"template": blob, "progress": False, "preflight": False}
    found = []
    for name in ("a.mrc", path.name):
        write_volume(tmp_path / name, image, 0.5)
        found.append(fp.align(tmp_path / name, where, **options))
    np.testing.assert_array_equal(found[0].positions, found[1].positions)


@pytest.mark.parametrize("part", [0.3, 0.9, 0.999])
def test_what_is_cut_short_is_one_error_that_names_it(part, path):
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(ValueError, match=rf"{path.name} is not a readable MRC file: "):
        open_volume(path).array[...]


def test_a_bit_that_is_turned_over_is_found_at_the_end(tmp_path):
    write_volume(tmp_path / "a.mrc.gz", IMAGE, 0.5)
    content = bytearray((tmp_path / "a.mrc.gz").read_bytes())
    content[-6] ^= 1  # of the sum
    (tmp_path / "a.mrc.gz").write_bytes(content)
    array = open_volume(tmp_path / "a.mrc.gz").array
    np.testing.assert_array_equal(array[:-1], IMAGE[:-1])
    with pytest.raises(ValueError, match="is not a readable MRC file: CRC"):
        array[-1]


def test_more_than_the_header_says_is_left_with_a_warning(tmp_path):
    write_volume(tmp_path / "a.mrc", IMAGE, 0.5)
    content = (tmp_path / "a.mrc").read_bytes() + b"more"
    (tmp_path / "a.mrc.gz").write_bytes(gzip.compress(content))
    with pytest.warns(UserWarning, match=r"a\.mrc\.gz: \d+ bytes, but its header says"):
        array = open_volume(tmp_path / "a.mrc.gz").array[...]
    np.testing.assert_array_equal(array, IMAGE)


def test_a_file_that_changes_between_two_planes_is_an_error(path):
    array = open_volume(path).array
    array[:2]
    later = path.stat().st_mtime_ns + 10**6
    os.utime(path, ns=(later, later))
    with pytest.raises(ChangedError, match=rf"{path.name} has changed"):
        array[2:4]


# Memory, of a process of its own.

SHAPE = (612, 640, 960)  # 1.5 GB of single precision
MEASURED = """
import re, sys
from funpipe.base.sources import read_bytes
from funpipe.faces.inspect_file import inspect_file
from funpipe.io.volumes import open_volume, read_volume
def most():  # not ru_maxrss, in which that of the one who has started this counts
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
before = most()
try:
    print({})
except (ValueError, OSError) as error:
    print(error)
print(most() // 1024, (most() - before) // 1024)
"""


def measured(call: str, path: Path) -> tuple[str, int, int]:
    """Return what a call says, MB that its process took, and by how many it grew."""
    run = subprocess.run(
        [sys.executable, "-c", MEASURED.replace("{}", call), str(path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(fp.__file__).parents[1])},
    )
    assert run.returncode == 0, run.stderr
    *said, last = run.stdout.splitlines()
    most, grown = map(int, last.split())
    return "\n".join(said), most, grown


def large(folder: Path, shape: tuple[int, int, int]) -> Path:
    """Write planes that are all alike, each packed by itself."""
    write_volume(folder / "a.mrc", np.ones((1, *shape[1:])), 0.5)
    raw = bytearray((folder / "a.mrc").read_bytes())
    for word in (2, 9):  # nz, mz
        raw[4 * word : 4 * word + 4] = shape[0].to_bytes(4, "little")
    raw[48:52] = np.float32(5 * shape[0]).tobytes()  # Å along z
    plane = gzip.compress(raw[1024:], 1)
    path = folder / "a.mrc.gz"
    path.write_bytes(gzip.compress(raw[:1024]) + shape[0] * plane)
    return path


linux = pytest.mark.skipif(sys.platform != "linux", reason="memory is as of /proc")


@linux
def test_to_look_into_a_packed_volume_of_1500_mb_takes_300_at_the_most(tmp_path):
    said, most, _ = measured("inspect_file(sys.argv[1])", large(tmp_path, SHAPE))
    assert "612 x 640 x 960 voxels (z, y, x), float32" in said
    assert "0.5 nm per voxel" in said
    assert most < 300


@linux
def test_to_read_a_packed_volume_takes_little_more_than_itself(tmp_path):
    path = large(tmp_path, (200, 640, 960))
    said, _, grown = measured("read_volume(sys.argv[1]).array.nbytes", path)
    own = int(said) / 2**20
    assert own > 450
    assert grown < 1.2 * own


@linux
@pytest.mark.parametrize("ending", PACK)
def test_a_small_file_that_says_100_gb_is_refused_at_once(ending, tmp_path):
    write_volume(tmp_path / "a.mrc", np.ones((1, 2, 2)), 0.5)
    raw = bytearray((tmp_path / "a.mrc").read_bytes())
    raw[:12] = np.array([3000, 3000, 3000], "<i4").tobytes()
    path = tmp_path / f"b.mrc{ending}"
    path.write_bytes(PACK[ending](bytes(raw)))
    said, _, grown = measured("open_volume(sys.argv[1])", path)
    assert f"b.mrc{ending} says that it holds 108000001024 bytes" in said
    assert grown < 50


@linux
@pytest.mark.parametrize("ending", PACK)
def test_a_header_that_promises_what_is_not_there_takes_no_memory(ending, tmp_path):
    write_volume(tmp_path / "a.mrc", np.ones((1, 2, 2)), 0.5)
    raw = bytearray((tmp_path / "a.mrc").read_bytes())
    raw[:12] = np.array([1024, 1024, 512], "<i4").tobytes()  # 2 GB
    path = tmp_path / f"b.mrc{ending}"
    noise = np.random.default_rng(0).bytes(2**18)
    path.write_bytes(PACK[ending](bytes(raw) + noise))
    said, _, grown = measured("read_volume(sys.argv[1])", path)
    assert f"b.mrc{ending} is not a readable MRC file: " in said
    assert "but its header says 2147484672" in said
    assert grown < 50


@linux
@pytest.mark.parametrize("ending", PACK)
def test_a_list_that_unpacks_to_more_than_the_bound_is_refused(ending, tmp_path):
    """A bomb: 1 GB of zeros, packed into one of its thousandths."""
    path = tmp_path / f"a.csv{ending}"
    path.write_bytes(64 * PACK[ending](bytes(2**24)))
    said, _, grown = measured("read_bytes(sys.argv[1], 2**26)", path)
    assert f"a.csv{ending} holds more than 67108864 bytes: too many to read" in said
    assert grown < 2 * 64 + 20


def test_read_volume_is_the_image(path):
    np.testing.assert_array_equal(read_volume(path).array, IMAGE)
