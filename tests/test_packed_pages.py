"""Compressed TIFF: pages are unpacked as far as they are read."""

from __future__ import annotations

import pickle
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from funpipe.base.errors import ChangedError, FileError
from funpipe.io.volumes import open_volume, read_volume

tifffile = pytest.importorskip("tifffile")

IMAGE = np.random.default_rng(0).normal(size=(6, 9, 12)).astype(np.float32)


@pytest.fixture(params=["zlib", "lzma", None])
def path(request, tmp_path):
    """A file of packed pages, or of pages that do not lie one after the other."""
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for page in IMAGE:
            options = {"compression": request.param, "metadata": None}
            file.write(page, contiguous=False, photometric="minisblack", **options)
    return path


def test_any_box_of_packed_pages_is_that_of_the_volume(path):
    for index in np.s_[2:4], np.s_[:, 2:5, 3:4], np.s_[5], np.s_[::-1, 0], np.s_[:]:
        lazy = open_volume(path).array
        np.testing.assert_array_equal(lazy[index], IMAGE[index])
        np.testing.assert_array_equal(lazy[1:3], IMAGE[1:3])  # whatever was read before
    np.testing.assert_array_equal(read_volume(path)[0], IMAGE)


def test_threads_and_other_processes_read_the_same(path):
    lazy = open_volume(path).array
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lazy.__getitem__, [*range(6)] * 5))
    np.testing.assert_array_equal(found, np.concatenate([IMAGE] * 5))
    there = pickle.loads(pickle.dumps(lazy))
    np.testing.assert_array_equal(there[2:, 1:], IMAGE[2:, 1:])


def test_to_look_through_packed_pages_takes_the_memory_of_some(tmp_path):
    path = tmp_path / "large.tif"
    page = np.zeros((512, 512), np.float32)
    tifffile.imwrite(path, np.stack([page] * 64), compression="zlib")
    tracemalloc.start()
    try:
        lazy = open_volume(path).array
        for number in range(64):
            assert not lazy[number].any()
        assert tracemalloc.get_traced_memory()[1] < 8 * page.nbytes
    finally:
        tracemalloc.stop()


def test_pages_of_a_file_that_changed_are_refused(path):
    lazy = open_volume(path).array
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ChangedError, match=r"a\.tif"):
        lazy[3]


def test_a_page_that_is_damaged_names_its_file_when_it_is_read(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, IMAGE, compression="zlib", photometric="minisblack")
    with tifffile.TiffFile(path) as file:
        where = file.pages[4].dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[where : where + 8] = b"\xff" * 8
    path.write_bytes(content)
    lazy = open_volume(path).array
    np.testing.assert_array_equal(lazy[:4], IMAGE[:4])
    with pytest.raises(FileError, match=r"a\.tif is not a readable TIFF file: "):
        lazy[4]
    with pytest.raises(FileError, match=r"a\.tif is not a readable TIFF file: "):
        read_volume(path)
