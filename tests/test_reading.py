"""Files of volumes that change, lack something, or say absurd things of themselves."""

from __future__ import annotations

import bz2
import gc
import gzip
import itertools
import math
import os
import pickle
import subprocess
import sys
import tracemalloc
import warnings
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from written_files import hdf5, ome_zarr

import funpipe as fp
from funpipe.faces.inspect_file import inspect_file
from funpipe.io.rows import stored_array
from funpipe.io.structures import read_structure
from funpipe.io.volumes import open_volume, read_volume, write_volume
from funpipe.io.voxels import read_block

SHAPE = (12, 10, 14)
CHUNKS = (6, 5, 7)
IMAGE = np.arange(math.prod(SHAPE), dtype=np.float32).reshape(SHAPE)


def mrc(folder):
    write_volume(folder / "a.mrc", IMAGE, 0.5)
    return folder / "a.mrc"


def tiff(folder):
    tifffile = pytest.importorskip("tifffile", reason="the extra tiff is not installed")
    tifffile.imwrite(folder / "a.tif", IMAGE, photometric="minisblack")
    return folder / "a.tif"


def em(folder):
    emfile = pytest.importorskip("emfile", reason="the extra em is not installed")
    emfile.write(folder / "a.em", IMAGE)
    return folder / "a.em"


def unpacked_hdf5(folder):
    return hdf5(folder, IMAGE)


def packed_hdf5(folder):
    return hdf5(folder, IMAGE, chunks=CHUNKS, compression="gzip")


def ome_zarr_3(folder):
    return ome_zarr(folder, IMAGE, CHUNKS)


def chunk(path, version="0.5"):
    return path / "0" / ("c/1/0/1" if version == "0.5" else "1.0.1")


def one_line(caught, *words):
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    assert len(text) < 500
    for each in words:
        assert each in text, text


# Blocks of arrays that lie in a file -------------------------------------------------

PIECES = st.one_of(
    st.integers(-3, 2),
    st.slices(3),
    st.just(Ellipsis),
    st.lists(st.integers(0, 2), max_size=3),
)


@given(st.lists(PIECES, max_size=4), st.permutations((0, 1, 2)), st.sampled_from("<>"))
def test_a_stored_array_is_sliced_as_numpy_slices(tmp_path_factory, index, axes, order):
    path = tmp_path_factory.getbasetemp() / f"stored{order}"
    kept = np.arange(3 * 4 * 5, dtype=f"{order}i2").reshape(3, 4, 5)
    path.write_bytes(b"begin" + kept.tobytes())
    array = stored_array(str(path), kept.shape, kept.dtype, 5, tuple(axes))
    expected = outcome(kept.transpose(axes), tuple(index))
    found = outcome(array, tuple(index))
    assert type(found) is type(expected)
    np.testing.assert_array_equal(found, expected)


def outcome(array, index):
    try:
        return np.asarray(array[index])
    except IndexError:
        return "no such index"


@pytest.mark.parametrize("gap, scratch", [(0, 2**20), (2**14, 1), (2**14, 2**20)])
def test_a_block_is_the_same_however_its_rows_are_read(
    tmp_path, monkeypatch, gap, scratch
):
    monkeypatch.setattr("funpipe.io.rows._GAP", gap)
    monkeypatch.setattr("funpipe.io.rows._SCRATCH", scratch)
    array = open_volume(mrc(tmp_path)).array
    for box in itertools.product(
        (slice(2, 7), slice(0, 12)), (slice(3, 9), slice(0, 10)), (slice(1, 4),) * 2
    ):
        np.testing.assert_array_equal(array[box], IMAGE[box])


@pytest.mark.parametrize("write", [mrc, em, tiff, unpacked_hdf5, ome_zarr_3])
def test_an_open_volume_can_be_pickled(write, tmp_path):
    array = pickle.loads(pickle.dumps(open_volume(write(tmp_path)).array))
    np.testing.assert_array_equal(array[1:3], IMAGE[1:3])


@pytest.mark.parametrize(
    "write", [mrc, em, tiff, unpacked_hdf5, packed_hdf5, ome_zarr_3]
)
def test_an_open_volume_holds_no_file_open(write, tmp_path):
    path = write(tmp_path)
    read_volume(path)  # what libraries keep for themselves is opened
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    volumes = [open_volume(path) for _ in range(3)]
    blocks = [each.array[2:4] for each in volumes]
    assert len(os.listdir("/proc/self/fd")) <= before
    assert all(each.shape == (2, 10, 14) for each in blocks)


# Files that are cut short while they are in use --------------------------------------

SHRUNK = """
import os, sys
import funpipe.io.volumes as volumes
array = volumes.open_volume(sys.argv[1]).array
os.truncate(sys.argv[1], os.path.getsize(sys.argv[1]) // 2)
try:
    print(array[6:12].sum())
except ValueError as error:
    print(error)
"""


@pytest.mark.parametrize("write", [mrc, em, tiff])
def test_a_file_that_is_cut_short_while_it_is_open_is_an_error_and_no_signal(
    write, tmp_path
):
    path = write(tmp_path)
    size = path.stat().st_size
    done = subprocess.run(
        [sys.executable, "-c", SHRUNK, path], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    expected = f"has changed since it was opened: it had {size} bytes, and has"
    assert f"{path} {expected} {size // 2}" in done.stdout


ALIGNED = """
import os, sys
from concurrent.futures import ProcessPoolExecutor
import numpy as np
import funpipe as fp

class Shrinking(ProcessPoolExecutor):
    def submit(self, *work):
        os.truncate(sys.argv[1], 2**16)
        return super().submit(*work)

@fp.converter_function
def shrinking(image, scale):
    os.truncate(sys.argv[1], 2**16)
    return np.ones_like(image)

if __name__ == "__main__":
    blob = fp.from_gaussian(3.0, (0.4, 0.6, 0.8))
    where = np.random.default_rng(0).uniform(8, 40, (70, 3)) * 0.5
    options = {"template": blob, "max_shifts": 0.5, "rotations": None}
    if sys.argv[2] == "pool":
        options["executor"] = Shrinking(1)
    else:
        options["mask"] = shrinking()
    try:
        fp.align(sys.argv[1], where, progress=False, **options)
    except ValueError as error:
        print(error)
"""


@pytest.mark.parametrize("executor", ["none", "pool"])
def test_a_tomogram_that_is_cut_short_during_align_is_an_error_and_no_signal(
    tmp_path, executor
):
    image = np.random.default_rng(0).normal(size=(48, 48, 48))
    write_volume(tmp_path / "a.mrc", image, 0.5)
    (tmp_path / "job.py").write_text(ALIGNED)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "job.py", "a.mrc", executor],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(fp.__file__).parents[1])},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "a.mrc has changed since it was opened" in done.stdout


MAPPED = """
import os, sys
import numpy as np
import funpipe as fp
tomogram = np.memmap(sys.argv[1], np.float32, "r", 1024, (12, 10, 14))[2:]
os.truncate(sys.argv[1], 1024)
try:
    fp.subtomograms(tomogram, np.full((1, 3), 5.0), shape=3, scale=1.0)
except ValueError as error:
    print(error)
"""


def test_a_users_own_mapped_array_whose_file_is_cut_short_is_an_error(tmp_path):
    path = mrc(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", MAPPED, path], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "a.mrc has changed since it was opened: it had" in done.stdout


def test_a_file_that_is_gone_is_the_systems_own_word(tmp_path):
    path = mrc(tmp_path)
    array = open_volume(path).array
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.mrc"):
        array[0]


def test_a_block_of_another_shape_or_with_a_mask_is_an_error():
    class Odd:
        shape, dtype = SHAPE, IMAGE.dtype

        def __getitem__(self, index):
            return IMAGE[0]

    with pytest.raises(ValueError, match=r"of shape \(2, 2, 2\), not \(10, 14\)"):
        read_block(Odd(), (0, 0, 0), (2, 2, 2))
    masked = np.ma.masked_greater(IMAGE, 100)
    assert read_block(masked, (0, 0, 0), (1, 1, 1)) == 0
    with pytest.raises(ValueError, match=r"masked voxels; fill them"):
        read_block(masked, (0, 0, 0), SHAPE)


# Chunks that are missing or damaged --------------------------------------------------


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_chunks_that_a_zarr_image_misses_are_said_once_with_their_count(
    tmp_path, version
):
    path = ome_zarr(tmp_path, IMAGE, CHUNKS, version)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_volume(path)
    chunk(path, version).unlink()
    with pytest.warns(
        UserWarning, match=r"a\.zarr: 1 of 8 chunks of level 0"
    ) as caught:
        volume = read_volume(path)
    assert len(caught) == 1
    assert not volume.array[6:, :5, 7:].any()
    np.testing.assert_array_equal(volume.array[:6], IMAGE[:6])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_zarr_image_without_any_chunk_is_refused(tmp_path, version):
    path = ome_zarr(tmp_path, np.zeros(SHAPE, np.float32), CHUNKS, version)
    with pytest.raises(ValueError, match="none of the 8 chunks of level 0 is there"):
        open_volume(path)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("damage", ["cut", "half", "empty", "garbage"])
def test_a_damaged_chunk_of_a_zarr_image_is_named(tmp_path, version, damage):
    path = ome_zarr(tmp_path, IMAGE, CHUNKS, version)
    where = chunk(path, version)
    raw = where.read_bytes()
    where.write_bytes(
        {
            "cut": raw[:-3],
            "half": raw[: len(raw) // 2],
            "empty": b"",
            "garbage": bytes(range(256)),
        }[damage]
    )
    key = where.relative_to(path / "0").as_posix()
    array = open_volume(path).array
    np.testing.assert_array_equal(array[:6], IMAGE[:6])
    with pytest.raises(ValueError) as caught:
        array[5:]
    one_line(caught, f"a.zarr: chunk {key} of level 0 cannot be read: ")


def test_a_damaged_zarr_image_leaves_nothing_to_be_printed(tmp_path):
    path = ome_zarr_3(tmp_path)
    for each in (path / "0" / "c").rglob("*"):
        if each.is_file():
            each.write_bytes(b"damaged")
    job = "import sys, funpipe.io.volumes as v; v.read_volume(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", job, path], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "Task was destroyed" not in done.stderr
    assert done.stderr.count("\nfunpipe.base.errors.FileError: ") == 1


def test_a_sharded_zarr_image_is_whole(tmp_path):
    zarr = pytest.importorskip("zarr", reason="the extra zarr is not installed")
    path = ome_zarr_3(tmp_path)
    group = zarr.open_group(path, mode="a")
    group.create_array(
        "0", data=IMAGE, chunks=(3, 5, 7), shards=(6, 5, 7), overwrite=True
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(read_volume(path).array, IMAGE)
    chunk(path).write_bytes(chunk(path).read_bytes()[:-9])
    with pytest.raises(ValueError) as caught:
        read_volume(path)
    one_line(caught, "a.zarr: chunk c/1/0/1 of level 0 cannot be read: ")


def test_chunks_that_an_hdf5_file_misses_are_said_with_their_count(tmp_path):
    h5py = pytest.importorskip("h5py", reason="the extra hdf5 is not installed")
    with h5py.File(tmp_path / "a.hdf", "w") as file:
        data = file.create_dataset("image", SHAPE, "f4", chunks=(6, 5, 7))
        data[:6] = IMAGE[:6]
    with pytest.warns(UserWarning, match=r"a\.hdf: 4 of 8 chunks of /image are not"):
        array = open_volume(tmp_path / "a.hdf").array
    np.testing.assert_array_equal(array[:6], IMAGE[:6])


@pytest.mark.parametrize("options", [{}, {"chunks": (6, 5, 7)}])
def test_an_hdf5_file_of_which_nothing_is_stored_is_refused(tmp_path, options):
    h5py = pytest.importorskip("h5py", reason="the extra hdf5 is not installed")
    with h5py.File(tmp_path / "a.hdf", "w") as file:
        file.create_dataset("image", SHAPE, "f4", **options)
    with pytest.raises(ValueError, match=r"a\.hdf .*: nothing of /image is stored"):
        open_volume(tmp_path / "a.hdf")


def test_an_hdf5_file_whose_data_lie_elsewhere_is_refused(tmp_path):
    h5py = pytest.importorskip("h5py", reason="the extra hdf5 is not installed")
    layout = h5py.VirtualLayout(SHAPE, "f4")
    layout[:] = h5py.VirtualSource(str(tmp_path / "absent.hdf"), "image", SHAPE)
    with h5py.File(tmp_path / "a.hdf", "w") as file:
        file.create_virtual_dataset("image", layout)
    with pytest.raises(ValueError, match="what /image holds lies in other files"):
        open_volume(tmp_path / "a.hdf")


def test_a_damaged_chunk_of_an_hdf5_file_is_named(tmp_path):
    h5py = pytest.importorskip("h5py", reason="the extra hdf5 is not installed")
    path = packed_hdf5(tmp_path)
    with h5py.File(path) as file:
        info = file["MDF/images/0/image"].id.get_chunk_info_by_coord((6, 0, 7))
    raw = bytearray(path.read_bytes())
    raw[info.byte_offset + 9 : info.byte_offset + 20] = b"\xff" * 11
    path.write_bytes(raw)
    array = open_volume(path).array
    np.testing.assert_array_equal(array[:6], IMAGE[:6])
    with pytest.raises(ValueError) as caught:
        array[5:]
    one_line(caught, "a.hdf: the chunk at (6, 0, 7) of /MDF/images/0/image cannot be")


LOOP = """
import sys, funpipe.io.volumes as volumes
try:
    volumes.open_volume(sys.argv[1])
except ValueError as error:
    print(error)
"""


def test_an_hdf5_file_whose_free_list_is_a_ring_does_not_hang(tmp_path):
    path = unpacked_hdf5(tmp_path)
    raw = bytearray(path.read_bytes())
    heap = raw.index(b"HEAP")
    free, at = np.frombuffer(raw[heap + 16 : heap + 32], "<u8").tolist()
    raw[at + free : at + free + 8] = np.array(free, "<u8").tobytes()
    path.write_bytes(raw)
    done = subprocess.run(
        [sys.executable, "-c", LOOP, path], capture_output=True, text=True, timeout=20
    )
    assert "a heap's free list comes back to itself" in done.stdout


# What files say of themselves --------------------------------------------------------


def patched(path, at, value):
    raw = bytearray(path.read_bytes())
    content = np.array(value, "<i4").tobytes()
    raw[at : at + len(content)] = content
    path.write_bytes(raw)
    return path


BOUNDED = """
import resource, sys
limit = int(sys.argv[2])
import numpy, scipy, mrcfile, funpipe.io.volumes
with open("/proc/self/statm") as file:
    now = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + limit, now + limit))
path = sys.argv[1]
try:
    funpipe.io.volumes.read_volume(path)
except ValueError as error:
    print(error)
"""


def said(path, limit=2**28):
    """Return the error of reading a file with little memory."""
    done = subprocess.run(
        [sys.executable, "-c", BOUNDED, path, str(limit)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert str(path) in done.stdout
    return done.stdout


linux = pytest.mark.skipif(
    not os.path.exists("/proc/self/statm"), reason="memory is limited so on Linux only"
)


@linux
@pytest.mark.parametrize("ending", ["", ".gz", ".bz2"])
def test_an_extended_header_of_2_gb_that_is_not_there_takes_no_memory(tmp_path, ending):
    path = patched(mrc(tmp_path), 92, 2**31 - 1)
    if ending:
        pack = {".gz": gzip, ".bz2": bz2}[ending].compress
        path = tmp_path / f"b.mrc{ending}"
        path.write_bytes(pack((tmp_path / "a.mrc").read_bytes()))
    said(path)


@pytest.mark.parametrize("ending", [".gz", ".bz2"])
def test_a_packed_volume_that_unpacks_to_more_than_it_says_is_not_unpacked(
    tmp_path, ending
):
    plain = mrc(tmp_path).read_bytes()
    pack = {".gz": gzip, ".bz2": bz2}[ending].compress
    zeros = pack(bytes(2**24), 9) * 40
    path = tmp_path / f"b.mrc{ending}"
    path.write_bytes(pack(plain) + zeros)
    tracemalloc.start()
    try:
        with pytest.warns(UserWarning, match="bytes, but its header says"):
            array = open_volume(path).array
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(array, IMAGE)
    assert peak < 2**24


@pytest.mark.parametrize("ending", [".gz", ".bz2"])
def test_a_packed_volume_that_says_absurdly_much_is_refused_with_the_bound(
    tmp_path, ending
):
    plain = patched(mrc(tmp_path), 0, [4096] * 3).read_bytes()
    pack = {".gz": gzip, ".bz2": bz2}[ending].compress
    path = tmp_path / f"b.mrc{ending}"
    path.write_bytes(pack(plain))
    with pytest.raises(ValueError) as caught:
        open_volume(path)
    one_line(caught, f"b.mrc{ending} says that it holds 274877907968 bytes", "67108864")


def test_a_structure_that_unpacks_to_more_than_the_bound_is_refused(
    tmp_path, monkeypatch
):
    pytest.importorskip("gemmi", reason="the extra structures is not installed")
    monkeypatch.setattr("funpipe.io.structures.LARGEST", 10**6)
    path = tmp_path / "a.pdb.gz"
    path.write_bytes(gzip.compress(b"\n" * 2**21) * 40)
    with pytest.raises(ValueError) as caught:
        read_structure(path)
    one_line(caught, "a.pdb.gz", "holds more than 1000000 bytes")


@pytest.mark.parametrize("at", [0, 4, 8])
@pytest.mark.parametrize("value", [0, -4])
def test_an_mrc_of_no_voxels_is_refused(tmp_path, at, value):
    path = patched(mrc(tmp_path), at, value)
    with pytest.raises(ValueError, match=r"a\.mrc is not a readable MRC file: .*voxel"):
        open_volume(path)


def test_a_tiff_or_hdf5_of_absurd_size_is_refused_with_the_bound(tmp_path):
    tifffile = pytest.importorskip("tifffile", reason="the extra tiff is not installed")
    h5py = pytest.importorskip("h5py", reason="the extra hdf5 is not installed")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, IMAGE, compression="zlib", photometric="minisblack")
    with tifffile.TiffFile(path, mode="r+") as file:
        for page in file.pages:
            page.tags["ImageLength"].overwrite(2**30)
            page.tags["RowsPerStrip"].overwrite(2**30)
    with pytest.raises(ValueError) as caught:
        open_volume(path)
    one_line(caught, "a.tif is not a readable TIFF file", "more than the 7")
    with h5py.File(tmp_path / "a.hdf", "w") as file:
        shape = (2**30, 2**20, 2**10)
        data = file.create_dataset("image", shape, "f4", chunks=(8, 8, 8))
        data[:8, :8, :8] = 1
    with pytest.raises(ValueError) as caught:
        open_volume(tmp_path / "a.hdf")
    one_line(caught, "a.hdf is not a readable HDF5 file: it says", "more than the 1")


def test_a_tiff_that_misses_pieces_says_so(tmp_path):
    tifffile = pytest.importorskip("tifffile", reason="the extra tiff is not installed")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, IMAGE, compression="zlib", photometric="minisblack")
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags["StripByteCounts"].overwrite([0])
    with pytest.warns(UserWarning, match=r"a\.tif: 1 pieces of its pages are not"):
        open_volume(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
@pytest.mark.parametrize(
    "ending", [".mrc", ".mrc.gz", ".tif", ".em", ".hdf", ".pdb", ".cif", ".pdb.gz"]
)
def test_a_pipe_is_no_volume_and_no_structure(tmp_path, ending):
    os.mkfifo(tmp_path / f"a{ending}")
    structure = ".pdb" in ending or ending == ".cif"
    if structure:
        pytest.importorskip("gemmi", reason="the extra structures is not installed")
    with pytest.raises(OSError, match="is a device or a pipe, not a file to read"):
        (read_structure if structure else open_volume)(tmp_path / f"a{ending}")


def test_a_stack_of_images_is_called_one(tmp_path):
    (tmp_path / "a.mrcs").write_bytes(mrc(tmp_path).read_bytes())
    for read in (open_volume, fp.read_molecules, fp.from_file(tmp_path / "a.mrcs")):
        with pytest.raises(ValueError, match=r"\.mrcs is a stack of 2-D images"):
            read(1.0 if isinstance(read, fp.ImageProvider) else tmp_path / "a.mrcs")


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5), (2, 3, 4, 5)])
def test_a_stack_of_one_image_or_of_volumes_is_inspected_as_images(tmp_path, shape):
    with mrcfile.new(tmp_path / "a.mrcs") as file:
        file.set_data(np.zeros(shape, np.float32))
    count = math.prod(shape[:-2])
    said = inspect_file(tmp_path / "a.mrcs")
    assert f"{count} of 4 x 5 pixels (y, x), float32" in said


def test_numbers_beyond_single_precision_are_an_error_and_no_warning(tmp_path):
    h5py = pytest.importorskip("h5py", reason="the extra hdf5 is not installed")
    with h5py.File(tmp_path / "a.hdf", "w") as file:
        file["image"] = np.full(SHAPE, 1e300)
    with pytest.raises(ValueError, match=r"a\.hdf must be within what float32 holds"):
        read_volume(tmp_path / "a.hdf")


@pytest.mark.parametrize("number", ["1e300", "nan", "1e7"])
def test_atoms_beyond_all_bounds_are_refused(tmp_path, number):
    gemmi = pytest.importorskip("gemmi", reason="the extra structures is not installed")
    line = (
        "ATOM      1  N   THR A   1      17.047  14.099   3.625  1.00 13.79           N"
    )
    text = gemmi.read_pdb_string(line).make_mmcif_document().as_string()
    (tmp_path / "a.cif").write_text(text.replace("17.047", number))
    with pytest.raises(
        ValueError, match=r"a\.cif (has atoms beyond|is not a readable)"
    ):
        read_structure(tmp_path / "a.cif")


# What is written can be read ---------------------------------------------------------


@pytest.mark.parametrize(
    "image, scale, origin, message",
    [
        (np.nan, 1.0, 0.0, "image must be finite and within what float32 holds"),
        (np.inf, 1.0, 0.0, "image must be finite and within what float32 holds"),
        (1e300, 1.0, 0.0, "image must be finite and within what float32 holds"),
        (1.0, 1e300, 0.0, "scale must be a number from 1.18e-39 to"),
        (1.0, 1e37, 0.0, "scale must be a number from 1.18e-39 to"),
        (1.0, 1e-320, 0.0, "scale must be a number from 1.18e-39 to"),
        (1.0, 1.0, 1e38, "origin must be lengths up to 3.4e\\+37 nm"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(
    tmp_path, image, scale, origin, message
):
    with pytest.raises(ValueError, match=message):
        write_volume(tmp_path / "a.mrc", np.full(SHAPE, image), scale, origin=origin)
    assert list(tmp_path.iterdir()) == []


def test_a_masked_image_is_not_written_without_its_mask(tmp_path):
    with pytest.raises(ValueError, match="image has masked voxels; fill them"):
        write_volume(tmp_path / "a.mrc", np.ma.masked_greater(IMAGE, 100), 1.0)


@given(
    st.floats(allow_nan=False, width=32),
    st.floats(0, exclude_min=True, allow_infinity=False),
    st.floats(allow_nan=False, allow_infinity=False),
)
def test_what_is_written_is_read_back_whatever_its_size(
    tmp_path_factory, value, scale, origin
):
    path = tmp_path_factory.getbasetemp() / "any.mrc"
    image = np.array([0.0, value]).reshape(1, 1, 2)
    try:
        write_volume(path, image, scale, origin=origin)
    except ValueError:
        return
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, image.astype(np.float32))
    assert volume.scale == pytest.approx(scale, rel=1e-5)
    with mrcfile.open(path) as file:
        assert float(file.header.origin.x) == pytest.approx(10 * origin, 1e-6, 1e-37)
