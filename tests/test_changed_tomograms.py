"""Tomograms replaced, cut short or gone during a run: said by name, never mixed."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pooled_job
import pytest
from pooled_job import LONG, assert_same
from pooled_runs import files_in
from written_files import hdf5, ome_zarr

import funpipe as fp
from funpipe.base.errors import ChangedError
from funpipe.io.volumes import open_volume

COUNT = 96
IMAGE = np.random.default_rng(0).normal(size=(6, 8, 10)).astype(np.float32)


@pytest.fixture
def folder(tmp_path) -> Path:
    made = tmp_path / "job"
    made.mkdir()
    pooled_job.make(made, COUNT)
    return made


def replaced(path: Path) -> None:
    """Put another tomogram of the same size in its place, as one who writes whole."""
    other = path.with_name("other.mrc")
    image = open_volume(path).array[...]
    fp.write_volume(other, image[::-1], scale=pooled_job.SCALE)
    other.replace(path)


def overwritten(path: Path) -> None:
    """Write into it, where it is."""
    with open(path, "r+b") as file:
        file.seek(2000)
        file.write(bytes(400))


def shortened(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def removed(path: Path) -> None:
    path.unlink()


def unreadable(path: Path) -> None:
    """Make it what nobody can read, root neither."""
    path.unlink()
    path.mkdir()


CHANGES = (replaced, overwritten, shortened, removed, unreadable)


def changing(kind, change, path: Path):
    """Return an executor that changes a file when it has been given some parts."""

    class Changing(kind):
        given = 0

        def submit(self, *work, **more):
            self.given += 1
            if self.given == 3:
                change(path)
            return super().submit(*work, **more)

    return Changing(1)


CASES = [
    *(("align", ThreadPoolExecutor, change) for change in CHANGES),
    *(("align", ProcessPoolExecutor, change) for change in (replaced, shortened)),
    *(("refine", ThreadPoolExecutor, change) for change in (replaced, shortened)),
    *(("search", ThreadPoolExecutor, change) for change in (replaced, shortened)),
    *((verb, ProcessPoolExecutor, replaced) for verb in ("refine", "search")),
]


@pytest.mark.parametrize(("verb", "kind", "change"), CASES)
def test_a_tomogram_that_changes_during_a_run_is_an_error_that_names_it(
    verb, kind, change, folder, tmp_path
):
    path = folder / "TS_03.mrc"
    before = shutil.copy2(path, tmp_path / "before.mrc")
    checkpoints = tmp_path / "kept"
    with (
        changing(kind, change, path) as executor,
        pytest.raises((ChangedError, OSError)) as caught,
    ):
        LONG[verb](folder, executor, checkpoints)
    said = str(caught.value)
    assert "TS_03.mrc" in said
    if isinstance(caught.value, ChangedError):
        assert "call again" in said
    notes = " ".join(getattr(caught.value, "__notes__", []))
    assert "in the tomogram 'TS_03'" in notes
    if verb == "align":  # put back as it was, it goes on; else it is another job
        if path.is_dir():
            path.rmdir()
        shutil.copy2(before, path)
        found = LONG[verb](folder, None, checkpoints)
        assert_same(found, LONG[verb](folder, None, None))


def test_what_is_kept_of_the_old_file_is_not_taken_for_the_new_one(folder, tmp_path):
    path, checkpoints = folder / "TS_03.mrc", tmp_path / "kept"
    with (
        changing(ThreadPoolExecutor, replaced, path) as pool,
        pytest.raises(ChangedError),
    ):
        LONG["align"](folder, pool, checkpoints)
    assert files_in(checkpoints)
    found = LONG["align"](folder, None, checkpoints)
    assert_same(found, LONG["align"](folder, None, None))


def test_a_refinement_is_of_one_tomogram_from_its_first_iteration_to_its_last(folder):
    tomograms, picks = pooled_job.given(folder)
    options = pooled_job.search(folder)
    steps = fp.refine(
        tomograms,
        picks,
        start=4.0,
        template=options["template"][0],
        max_shifts=2.0,
        rotations=(12, 6),
        iterations=3,
        progress=False,
    )
    assert next(steps).number == 1
    replaced(folder / "TS_02.mrc")
    with pytest.raises(ChangedError, match=r"TS_02\.mrc has changed") as caught:
        next(steps)
    assert "in the tomogram 'TS_02'" in caught.value.__notes__


# Files that are open.


def mrc(folder: Path) -> Path:
    fp.write_volume(folder / "a.mrc", IMAGE, 1.0)
    return folder / "a.mrc"


def plain_hdf5(folder: Path) -> Path:
    return hdf5(folder, IMAGE)


def zarr(folder: Path) -> Path:
    return ome_zarr(folder, IMAGE, (3, 4, 5))


@pytest.mark.parametrize("write", [mrc, plain_hdf5])
def test_an_open_file_that_is_replaced_by_one_of_its_size_is_an_error(write, tmp_path):
    path = write(tmp_path)
    array = open_volume(path).array
    np.testing.assert_array_equal(array[2], IMAGE[2])
    later = path.stat().st_mtime_ns + 10**6
    os.utime(path, ns=(later, later))
    with pytest.raises(ChangedError, match=rf"{path.name} has changed since it was op"):
        array[2]


@pytest.mark.parametrize("gone", [False, True])
def test_a_chunk_of_an_open_image_that_is_written_to_or_gone_is_an_error(
    gone, tmp_path
):
    path = zarr(tmp_path)
    array = open_volume(path).array
    np.testing.assert_array_equal(array[:3], IMAGE[:3])
    for chunk in (each for each in files_in(path) if "json" not in each.name):
        later = chunk.stat().st_mtime_ns + 10**9
        os.utime(chunk, ns=(later, later))
        if gone:
            chunk.unlink()
    with pytest.raises(ChangedError, match="has changed since it was opened"):
        array[:3]


def test_a_volume_that_is_replaced_while_it_is_read_whole_is_read_again(
    tmp_path, monkeypatch
):
    path = mrc(tmp_path)
    opened, volumes = [], fp.io.volumes

    def late(name, **options):
        found = open_volume(name, **options)
        if not opened:
            replaced(path)
        opened.append(name)
        return found

    monkeypatch.setattr(volumes, "open_volume", late)
    np.testing.assert_array_equal(volumes.read_volume(path).array, IMAGE[::-1])
    assert len(opened) == 2
