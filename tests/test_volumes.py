"""Volume files: real ones, ones written here, and damaged ones."""

from __future__ import annotations

import bz2
import gzip
import itertools
import math
import os
import sys
import tracemalloc

import mrcfile
import numpy as np
import pytest
from real_files import DATA, needs_data

from funpipe.io.volumes import open_volume, read_volume, write_mrc
from funpipe.io.voxels import Lazy

MAPS = DATA / "maps"
SHAPE = (4, 5, 6)


@pytest.fixture
def image():
    return np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)


@pytest.fixture
def mrc(tmp_path, image):
    """The path of a good MRC file at 0.27 nm."""
    path = tmp_path / "good.mrc"
    write_mrc(path, image, 0.27)
    return path


def set_header(path, **fields):
    with mrcfile.open(path, "r+", permissive=True) as file:
        for name, value in fields.items():
            file.header[name] = value


def write_with_mrcfile(path, data, voxel_size=2.7):
    with mrcfile.new(path) as file:
        file.set_data(data)
        file.voxel_size = voxel_size


# Real files.


@needs_data
@pytest.mark.parametrize(
    "name, shape, scale",
    [
        ("beta-tubulin.mrc", (20, 20, 20), 0.5144),
        ("EMD-3197.map", (20, 20, 20), 1.14),
        ("emd_3197.map.gz", (20, 20, 20), 1.14),
        ("emd_1832.map", (64, 64, 64), 0.57),
    ],
)
def test_real_maps_are_read_as_mrcfile_reads_them_in_nm(name, shape, scale):
    volume = read_volume(MAPS / name)
    assert volume.array.shape == shape
    assert volume.array.dtype == np.float32
    assert volume.scale == pytest.approx(scale, rel=1e-6)
    assert volume.scale_or(None, name) == volume.scale
    with mrcfile.open(MAPS / name) as file:
        np.testing.assert_array_equal(volume.array, file.data)


@needs_data
def test_a_gzipped_map_is_the_plain_one():
    plain, packed = (
        read_volume(MAPS / name) for name in ("EMD-3197.map", "emd_3197.map.gz")
    )
    np.testing.assert_array_equal(plain.array, packed.array)
    assert plain.scale == packed.scale


@needs_data
def test_other_axis_orders_are_brought_into_z_y_x():
    path = MAPS / "EMD-3001.map"
    with mrcfile.open(path) as file:
        header = file.header
        assert (header.mapc, header.mapr, header.maps) == (3, 1, 2)
        expected = np.einsum("yxz->zyx", file.data)
    array = read_volume(path).array
    np.testing.assert_array_equal(array, expected)
    gemmi = pytest.importorskip("gemmi")  # which reads it into x, y, z by itself
    gemmis = gemmi.read_ccp4_map(str(path))
    gemmis.setup(math.nan, gemmi.MapSetup.ReorderOnly)
    np.testing.assert_array_equal(array.transpose(), np.array(gemmis.grid))


@needs_data
def test_an_anisotropic_map_is_refused_with_the_reason_and_what_to_pass():
    volume = open_volume(MAPS / "EMD-3001.map")
    assert volume.scale is None
    reason = (
        r"^map: the voxel is anisotropic, 0\.4587 x 0\.3925 x 0\.4482 Å \(z, y, x\); "
        r"pass scale=\.\.\. in nm per voxel$"
    )
    with pytest.raises(ValueError, match=reason):
        volume.scale_or(None, "map")
    assert volume.scale_or(0.04, "map") == 0.04


@needs_data
def test_the_real_tomogram_has_its_scale_from_the_tiff():
    pytest.importorskip("tifffile")
    volume = open_volume(DATA / "tomograms" / "13pf_MT.tif")
    assert volume.array.shape == (36, 206, 94)
    assert volume.array.dtype == np.uint8
    assert volume.scale == pytest.approx(1.052, rel=1e-6)
    assert isinstance(volume.array, Lazy)


# MRC.


@pytest.mark.parametrize("packing", ["", ".gz", ".bz2"])
@pytest.mark.parametrize("ending", [".mrc", ".map", ".rec", ".ccp4", ".st", ".MRC"])
def test_every_ending_and_packing_is_read(tmp_path, mrc, image, ending, packing):
    pack = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress}[packing]
    path = tmp_path / f"a.b{ending}{packing}"
    path.write_bytes(pack(mrc.read_bytes()))
    volume = read_volume(str(path))
    np.testing.assert_array_equal(volume.array, image)
    assert volume.scale == pytest.approx(0.27)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16, np.float16])
def test_every_kind_of_real_number_becomes_float32(tmp_path, image, dtype):
    data = (10 * np.abs(image)).astype(dtype)
    write_with_mrcfile(tmp_path / "a.mrc", data)
    volume = read_volume(tmp_path / "a.mrc")
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array, data)


def test_a_big_endian_file_is_read(tmp_path, mrc, image):
    with mrcfile.open(mrc) as file:
        header = file.header.astype(file.header.dtype.newbyteorder(">"))
    header["machst"] = [0x11, 0x11, 0, 0]  # MRC2014: the stamp of big endian
    path = tmp_path / "big.mrc"
    path.write_bytes(header.tobytes() + image.astype(">f4").tobytes())
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, image)
    assert volume.array.dtype == np.dtype(np.float32)


def test_an_extended_header_is_skipped(tmp_path, image):
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(image)
        file.set_extended_header(np.frombuffer(b"text" * 20, "V1"))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.mrc").array, image)


@pytest.mark.parametrize("order", list(itertools.permutations((1, 2, 3))))
def test_every_axis_order_is_brought_into_z_y_x(mrc, image, order):
    # The file's sections, rows and columns, each 1 for x, 2 for y or 3 for z.
    set_header(mrc, maps=order[0], mapr=order[1], mapc=order[2])
    names = "".join(" xyz"[axis] for axis in order)
    expected = np.einsum(f"{names}->zyx", image)
    volume = read_volume(mrc)
    np.testing.assert_array_equal(volume.array, expected)
    assert volume.array.flags.c_contiguous


def test_an_axis_order_that_is_none_is_taken_as_usual(mrc, image):
    set_header(mrc, maps=0, mapr=0, mapc=0)
    np.testing.assert_array_equal(read_volume(mrc).array, image)


@pytest.mark.parametrize("cell", [{"cella": 0}, {"mx": 0, "my": 0, "mz": 0}])
def test_a_header_without_a_voxel_size_says_what_to_pass(mrc, cell):
    set_header(mrc, **cell)
    volume = open_volume(mrc)
    assert volume.scale is None
    message = r"^a: the header gives no voxel size; pass scale=\.\.\. in nm per voxel$"
    with pytest.raises(ValueError, match=message):
        volume.scale_or(None, "a")
    assert volume.scale_or(0.5, "a") == 0.5


def test_voxels_are_isotropic_to_a_thousandth(tmp_path, image):
    write_with_mrcfile(tmp_path / "near.mrc", image, (2.7, 2.7, 2.702))
    assert open_volume(tmp_path / "near.mrc").scale == pytest.approx(0.27, rel=1e-3)
    write_with_mrcfile(tmp_path / "far.mrc", image, (2.7, 2.7, 2.71))
    with pytest.raises(ValueError, match=r"anisotropic, 2\.71 x 2\.7 x 2\.7 Å"):
        open_volume(tmp_path / "far.mrc").scale_or(None, "far.mrc")


# Laziness.


def test_a_plain_mrc_is_opened_and_not_read(tmp_path, mrc):
    shape = (200, 1000, 1000)  # 0.8 GB, none of it on the disk
    path = tmp_path / "large.mrc"
    with mrcfile.open(mrc) as file:
        header = file.header.copy()
    header["nz"], header["ny"], header["nx"] = shape
    path.write_bytes(header.tobytes())
    os.truncate(path, 1024 + 4 * math.prod(shape))
    tracemalloc.start()
    try:
        array = open_volume(path).array
        block = np.array(array[90:98, 500:508, 500:508])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(array, Lazy)
    assert array.shape == shape
    assert not block.any()
    assert peak < 2e6


def test_an_opened_volume_cannot_be_written_to_and_a_read_one_is_a_copy(mrc):
    with pytest.raises(ValueError, match="read-only"):
        open_volume(mrc).array[0, 0, 0] = 1
    before = mrc.read_bytes()
    read_volume(mrc).array[...] = 7
    assert mrc.read_bytes() == before


# Damage.

DAMAGE = {
    "cut off in the header": lambda raw: raw[:500],
    "cut off in the data": lambda raw: raw[:-7],
    "empty": lambda raw: b"",
    "garbage": lambda raw: np.random.default_rng(0).bytes(len(raw)),
    "text": lambda raw: b"<html>not found</html>" * 100,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("packing", ["", ".gz", ".bz2"])
def test_a_damaged_mrc_gives_one_clear_error(mrc, tmp_path, damage, packing):
    pack = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress}[packing]
    for name, content in {
        f"inside.mrc{packing}": pack(damage(mrc.read_bytes())),
        f"outside.mrc{packing}": damage(pack(mrc.read_bytes())),
    }.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} is not a readable MRC file: .+"):
            open_volume(path)


def test_a_flipped_bit_in_a_packed_file_is_found(mrc, tmp_path):
    packed = bytearray(gzip.compress(mrc.read_bytes()))
    packed[len(packed) // 2] ^= 0x10
    (tmp_path / "a.mrc.gz").write_bytes(packed)
    with pytest.raises(ValueError, match=r"a\.mrc\.gz is not a readable MRC file"):
        open_volume(tmp_path / "a.mrc.gz")


def test_a_packed_file_under_a_plain_name_is_not_taken_for_voxels(mrc, tmp_path):
    # Long enough, were its first bytes a header.
    (tmp_path / "a.mrc").write_bytes(gzip.compress(mrc.read_bytes()) + bytes(5000))
    with pytest.raises(ValueError, match=r"a\.mrc is not a readable MRC file"):
        open_volume(tmp_path / "a.mrc")


def test_a_missing_file_and_a_directory_get_the_systems_own_word(tmp_path):
    for name in ("a.mrc", "a.mrc.gz", "a.tif"):
        with pytest.raises(FileNotFoundError, match=name):
            open_volume(tmp_path / name)
        (tmp_path / name).mkdir()
        with pytest.raises(IsADirectoryError, match=name):
            open_volume(tmp_path / name)


@pytest.mark.parametrize("name", ["a", "a.txt", "a.mrcs", "a.tif.gz", "a.gz", "mrc"])
def test_an_unknown_ending_is_refused_with_those_that_are_known(tmp_path, mrc, name):
    (tmp_path / name).write_bytes(mrc.read_bytes())
    with pytest.raises(ValueError, match=r"unknown ending; .* \.mrc \.map \.rec .*tif"):
        open_volume(tmp_path / name)


@pytest.mark.parametrize(
    "data, what",
    [
        (np.zeros(SHAPE, np.complex64), r"shape \(4, 5, 6\) and type complex64"),
        (np.zeros(SHAPE[1:], np.float32), r"shape \(5, 6\) and type float32"),
        (np.zeros((1, *SHAPE), np.float32), r"shape \(1, 4, 5, 6\) and type float32"),
    ],
)
@pytest.mark.parametrize("packing", ["", ".gz"])
def test_what_is_no_volume_of_real_numbers_is_refused(tmp_path, data, what, packing):
    plain = tmp_path / "plain.mrc"
    write_with_mrcfile(plain, data)
    path = tmp_path / f"a.mrc{packing}"
    path.write_bytes((gzip.compress if packing else bytes)(plain.read_bytes()))
    message = f"must hold a 3-D volume of real numbers, not an array of {what}"
    with pytest.raises(ValueError, match=message):
        open_volume(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # mrcfile's, on writing it
def test_a_volume_with_nan_is_read_by_no_one(tmp_path, image, bad):
    image[1, 2, 3] = bad
    write_with_mrcfile(tmp_path / "a.mrc", image)
    with pytest.raises(
        ValueError, match=r"a\.mrc must be finite, but holds NaN or inf"
    ):
        read_volume(tmp_path / "a.mrc")


# TIFF.


def write_tiff(path, data, size, **metadata):
    tifffile = pytest.importorskip("tifffile")
    metadata["axes"] = "ZYX"
    per_unit = (1 / size, 1 / size)
    tifffile.imwrite(path, data, imagej=True, resolution=per_unit, metadata=metadata)


@pytest.mark.parametrize(
    "unit, size",
    [
        ("nm", 1.3),
        ("um", 1.3e-3),
        ("micron", 1.3e-3),
        ("\\u00B5m", 1.3e-3),
        ("angstrom", 13.0),
        ("\\u00C5", 13.0),
        ("mm", 1.3e-6),
    ],
)
def test_a_tiff_gives_its_scale_in_nm_whatever_its_unit(tmp_path, image, unit, size):
    write_tiff(tmp_path / "a.tif", image, size, unit=unit, spacing=size)
    volume = read_volume(tmp_path / "a.tif")
    assert volume.scale == pytest.approx(1.3, rel=1e-4)  # a fraction of integers
    np.testing.assert_array_equal(volume.array, image)


@pytest.mark.parametrize(
    "metadata", [{"unit": "nm"}, {"spacing": 1.3}, {"unit": "furlong", "spacing": 1.3}]
)
def test_a_tiff_that_does_not_tell_its_scale_says_what_to_pass(
    tmp_path, image, metadata
):
    write_tiff(tmp_path / "a.tiff", image, 1.3, **metadata)
    volume = open_volume(tmp_path / "a.tiff")
    with pytest.raises(ValueError, match=r"no voxel size; pass scale=\.\.\. in nm"):
        volume.scale_or(None, "a.tiff")


def test_an_anisotropic_tiff_is_refused(tmp_path, image):
    write_tiff(tmp_path / "a.tif", image, 1.3, unit="nm", spacing=2.0)
    with pytest.raises(ValueError, match=r"anisotropic, 20 x 13 x 13 Å \(z, y, x\)"):
        open_volume(tmp_path / "a.tif").scale_or(None, "a.tif")


def test_a_compressed_tiff_is_read(tmp_path, image):
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, image, compression="zlib", photometric="minisblack")
    np.testing.assert_array_equal(read_volume(path).array, image)


@pytest.mark.parametrize("part", [0, 0.2, 0.5])
def test_a_damaged_tiff_gives_an_error(tmp_path, image, part):
    path = tmp_path / "a.tif"
    write_tiff(path, image, 1.3, unit="nm", spacing=1.3)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(part * len(raw))])
    with pytest.raises(
        ValueError, match=r"a\.tif (is not a readable TIFF|must hold a)"
    ):
        open_volume(path)
    path.write_bytes(b"garbage" * 100)
    with pytest.raises(ValueError, match=r"a\.tif is not a readable TIFF file: .+"):
        open_volume(path)


def test_a_flat_or_coloured_tiff_is_refused(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    flat, coloured = tmp_path / "flat.tif", tmp_path / "coloured.tif"
    tifffile.imwrite(flat, np.zeros((5, 6), np.uint8))
    with pytest.raises(ValueError, match=r"must hold a 3-D volume .* shape \(5, 6\)"):
        open_volume(flat)
    tifffile.imwrite(coloured, np.zeros((5, 6, 3), np.uint8), photometric="rgb")
    with pytest.raises(ValueError, match="its pixels are colours, not numbers"):
        open_volume(coloured)


def test_without_tifffile_the_error_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "a.tif").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    message = r"tifffile is needed to read TIFF: pip install 'funpipe\[tiff\]'"
    with pytest.raises(ImportError, match=message):
        open_volume(tmp_path / "a.tif")


# Writing.


def test_what_is_written_is_read_back_with_its_scale(tmp_path, image):
    write_mrc(tmp_path / "a.mrc", image, 0.5144)
    volume = read_volume(tmp_path / "a.mrc")
    np.testing.assert_array_equal(volume.array, image)
    assert volume.scale == pytest.approx(0.5144, rel=1e-6)
    assert mrcfile.validate(tmp_path / "a.mrc")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, mrc):
    before = mrc.read_bytes()
    with pytest.raises((TypeError, ValueError), match="real numbers"):
        write_mrc(mrc, np.full(SHAPE, "text"), 1.0)
    assert mrc.read_bytes() == before
    assert list(tmp_path.iterdir()) == [mrc]
