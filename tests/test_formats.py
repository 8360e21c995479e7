"""Volumes of all formats, in and out."""

import bz2
import gzip
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from real_files import DATA, needs_data

import funpipe as fp
from funpipe import from_file, from_gaussian, gaussian_filter, write_volume
from funpipe.io.volumes import Volume, open_volume, read_volume
from funpipe.io.voxels import Lazy

SHAPE = (4, 5, 6)
IMAGE = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)


def mrc(path, array=IMAGE, voxel=5.0, **header):
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(array)
        file.voxel_size = voxel
        for name, value in header.items():
            file.header[name] = value
    return path


def patch(path, offset, content):
    data = bytearray(path.read_bytes())
    data[offset : offset + len(content)] = content
    path.write_bytes(data)
    return path


# MRC ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["i1", "i2", "f4", "u2", "f2"])
def test_mrc_of_every_real_mode_is_read_as_it_is(tmp_path, kind):
    array = (IMAGE - 10 if kind != "u2" else IMAGE + 40000).astype(kind)
    volume = open_volume(mrc(tmp_path / "a.mrc", array))
    np.testing.assert_array_equal(volume.array, array)
    assert volume.scale == pytest.approx(0.5)
    assert isinstance(volume.array, Lazy)


def test_mrc_of_a_transform_is_refused(tmp_path):
    path = mrc(tmp_path / "a.mrc", IMAGE.astype(np.complex64))
    with pytest.raises(ValueError, match="must hold a 3-D volume of real numbers, not"):
        open_volume(path)


@pytest.mark.parametrize(("flags", "first"), [(0, 200), (1, -56)])
def test_imods_bytes_are_unsigned_unless_its_flags_say_signed(tmp_path, flags, first):
    path = mrc(tmp_path / "a.mrc", np.full(SHAPE, -56, np.int8))
    stamp = np.array([1146047817, flags], "<i4").tobytes()
    assert open_volume(path).array[0, 0, 0] == -56
    assert open_volume(patch(path, 152, stamp)).array[0, 0, 0] == first


def test_a_file_gives_copies_of_its_blocks_and_is_never_mapped(tmp_path):
    array = open_volume(mrc(tmp_path / "a.mrc")).array
    block = array[1:3, :, 2:]
    assert type(block) is np.ndarray
    base = block
    while isinstance(base.base, np.ndarray):
        base = base.base
    assert base.flags.owndata
    np.testing.assert_array_equal(block, IMAGE[1:3, :, 2:])
    np.testing.assert_array_equal(array, IMAGE)


def test_an_extended_header_is_passed_over(tmp_path):
    path = tmp_path / "a.mrc"
    with mrcfile.new(path) as file:
        file.set_data(IMAGE)
        file.set_extended_header(np.arange(256, dtype=np.int32).view("V4"))
        file.voxel_size = 5.0
    np.testing.assert_array_equal(open_volume(path).array, IMAGE)
    packed = tmp_path / "b.mrc.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    np.testing.assert_array_equal(open_volume(packed).array, IMAGE)


@pytest.mark.parametrize(("ending", "pack"), [(".gz", gzip), (".bz2", bz2)])
def test_packed_mrc_is_the_same_image(tmp_path, ending, pack):
    path = tmp_path / f"a.mrc{ending}"
    path.write_bytes(pack.compress(mrc(tmp_path / "a.mrc").read_bytes()))
    np.testing.assert_array_equal(open_volume(path).array, IMAGE)


def test_big_endian_mrc_is_read(tmp_path):
    path = mrc(tmp_path / "a.mrc", IMAGE.astype(">f4"))
    np.testing.assert_array_equal(read_volume(path).array, IMAGE)


@pytest.mark.parametrize(
    ("offset", "content", "message"),
    [
        (208, b"PAM ", "Map ID"),
        (212, b"\0\0\0\0", "machine stamp"),
        (212, b"\x11\x11\0\0", "Machine stamp"),  # of the other byte order
    ],
)
def test_mrc_that_breaks_the_rules_is_read_with_a_warning_of_what_was_wrong(
    tmp_path, offset, content, message
):
    path = patch(mrc(tmp_path / "a.mrc"), offset, content)
    with pytest.warns(UserWarning, match=f"a.mrc breaks the rules .*{message}"):
        volume = open_volume(path)
    np.testing.assert_array_equal(volume.array, IMAGE)


@pytest.mark.parametrize("ending", [".mrc", ".mrc.gz"])
def test_data_beyond_the_end_are_left_with_a_warning_of_how_many(tmp_path, ending):
    content = mrc(tmp_path / "b.mrc").read_bytes() + b"more"
    path = tmp_path / f"a{ending}"
    path.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    with pytest.warns(UserWarning, match=r"a\.mrc.* breaks the rules .*bytes"):
        volume = open_volume(path)
    np.testing.assert_array_equal(volume.array, IMAGE)


MALFORMED = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-8]),
    "header only": lambda path: path.write_bytes(path.read_bytes()[:600]),
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"\x1f\x8b\x08garbage" * 200),
    "unknown mode": lambda path: patch(path, 12, b"\x65\0\0\0"),
    "a byte too many at its start": lambda path: path.write_bytes(
        b"\xef\xbb\xbf" + path.read_bytes()
    ),
}


@pytest.mark.parametrize("damage", MALFORMED)
def test_damaged_mrc_is_one_clear_error_and_no_warning(tmp_path, damage):
    path = mrc(tmp_path / "a.mrc")
    MALFORMED[damage](path)
    with pytest.raises(ValueError, match=r"a\.mrc is not a readable MRC file"):
        open_volume(path)


def test_packed_garbage_is_one_clear_error(tmp_path):
    for ending in (".gz", ".bz2"):
        path = tmp_path / f"a.mrc{ending}"
        path.write_bytes(b"\x1f\x8b\x08\0garbage")
        with pytest.raises(ValueError, match="is not a readable MRC file"):
            open_volume(path)


# write_volume ------------------------------------------------------------------------


def test_what_is_written_has_image_scale_and_origin(tmp_path):
    path = tmp_path / "a.mrc"
    write_volume(path, IMAGE, 0.5, origin=(1.0, 2.0, 3.0))
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, IMAGE)
    assert volume.scale == pytest.approx(0.5)
    assert volume.source is None
    with mrcfile.open(path) as file:
        assert [float(file.header.origin[axis]) for axis in "zyx"] == [10, 20, 30]
    assert mrcfile.validate(path)


@pytest.mark.parametrize("ending", ["", ".gz", ".bz2"])
def test_the_label_holds_the_source_of_the_pipeline(tmp_path, ending):
    pipeline = gaussian_filter(1.0) @ from_gaussian(4.0, (0.5, 0.75, 1.25))
    for _ in range(6):
        pipeline = gaussian_filter(0.25) @ pipeline  # more than one label
    path = tmp_path / f"a.mrc{ending}"
    write_volume(path, pipeline, 0.5)
    volume = read_volume(path)
    assert eval(volume.source, vars(fp).copy()) == pipeline
    np.testing.assert_array_equal(volume.array, pipeline(0.5))


def test_a_source_may_be_given_and_is_cut_where_it_is_too_long(tmp_path):
    write_volume(tmp_path / "a.mrc", IMAGE, 0.5, source="threshold(0.5)")
    assert open_volume(tmp_path / "a.mrc").source == "threshold(0.5)"
    write_volume(tmp_path / "a.mrc", IMAGE, 0.5, source="x" * 711)
    assert open_volume(tmp_path / "a.mrc").source == "x" * 711
    write_volume(tmp_path / "a.mrc", IMAGE, 0.5, source="x" * 712)
    assert open_volume(tmp_path / "a.mrc").source == "x" * 708 + "..."


@pytest.mark.parametrize(
    ("image", "scale", "message"),
    [
        (np.zeros((3, 3)), 1.0, "image must be 3-D"),
        (IMAGE, 0.0, "scale must be a number above 0"),
    ],
)
def test_what_is_no_volume_is_not_written(tmp_path, image, scale, message):
    with pytest.raises(ValueError, match=message):
        write_volume(tmp_path / "a.mrc", image, scale)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "image", "options", "message"),
    [
        ("a.tif", IMAGE, {}, r"a\.tif: what is written is MRC, so its name must end"),
        ("a.mrc", IMAGE.astype(complex), {}, "image must be a 3-D array of real numb"),
        ("a.mrc", IMAGE, {"origin": "corner"}, "origin must be"),
    ],
)
def test_what_mrc_cannot_be_is_not_written(tmp_path, name, image, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        write_volume(tmp_path / name, image, 0.5, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_volume(tmp_path, monkeypatch):
    path = tmp_path / "a.mrc"
    write_volume(path, IMAGE, 0.5)
    monkeypatch.setattr(mrcfile.mrcfile.MrcFile, "set_data", lambda *_: 1 / 0)
    with (
        warnings.catch_warnings(),
        pytest.raises(ZeroDivisionError),
    ):
        warnings.simplefilter("ignore")  # mrcfile's own, of the file cut short
        write_volume(path, IMAGE + 1, 0.5)
    np.testing.assert_array_equal(open_volume(path).array, IMAGE)
    assert list(tmp_path.iterdir()) == [path]


# EM ----------------------------------------------------------------------------------


@pytest.mark.parametrize("beyond", [0, 2, 60])
def test_a_tiff_whose_last_pages_are_cut_off_is_refused(tmp_path, beyond, capfd):
    tifffile = pytest.importorskip("tifffile")
    pages = np.arange(5 * 6 * 7, dtype=np.uint8).reshape(5, 6, 7)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in pages:
            file.write(page, contiguous=False, metadata=None)
    np.testing.assert_array_equal(open_volume(tmp_path / "a.tif").array, pages)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        fourth = file.pages[3].offset
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "b.tif").write_bytes(content[: fourth + beyond])
    with pytest.raises(ValueError, match=r"b\.tif is not a readable TIFF file"):
        open_volume(tmp_path / "b.tif")
    assert capfd.readouterr().err == ""


def test_em_is_read_where_it_is_sliced_and_needs_a_scale(tmp_path):
    emfile = pytest.importorskip("emfile", reason="the extra em is not installed")
    emfile.write(tmp_path / "a.em", IMAGE)
    volume = open_volume(tmp_path / "a.em")
    np.testing.assert_array_equal(volume.array, IMAGE)
    assert isinstance(volume.array, Lazy)
    assert from_file(tmp_path / "a.em", 0.5)(0.5).shape == SHAPE
    with pytest.raises(ValueError, match=r"gives no voxel size; pass scale=\.\.\."):
        from_file(tmp_path / "a.em")(0.5)


# HDF5 --------------------------------------------------------------------------------


def hdf5(path, array=IMAGE, apix=5.0, **attributes):
    h5py = pytest.importorskip("h5py", reason="the extra hdf5 is not installed")
    with h5py.File(path, "w") as file:
        group = file.create_group("MDF/images/0")
        group.create_dataset("image", data=array)
        for axis in "xyz":
            group.attrs[f"EMAN.apix_{axis}"] = apix
        for name, value in attributes.items():
            group.attrs[f"EMAN.{name}"] = value
    return path


@pytest.mark.parametrize("ending", [".hdf", ".h5", ".hdf5"])
def test_eman2s_hdf5_has_image_and_scale(tmp_path, ending):
    volume = read_volume(hdf5(tmp_path / f"a{ending}"))
    np.testing.assert_array_equal(volume.array, IMAGE)
    assert volume.scale == pytest.approx(0.5)


def test_eman2s_packed_numbers_are_what_they_stand_for(tmp_path):
    """EMAN2 stores (value − min) / (max − min) · (2^bits − 1)."""
    wanted = np.linspace(-2, 3, IMAGE.size).reshape(SHAPE)
    packed = np.round((wanted + 2) / 5 * 255).astype(np.uint8)
    path = hdf5(
        tmp_path / "a.hdf",
        packed,
        stored_renderbits=8,
        stored_rendermin=-2.0,
        stored_rendermax=3.0,
    )
    np.testing.assert_allclose(read_volume(path).array, wanted, atol=0.5 * 5 / 255)


def test_hdf5_that_is_none_or_holds_no_or_two_volumes_is_refused(tmp_path):
    h5py = pytest.importorskip("h5py", reason="the extra hdf5 is not installed")
    (tmp_path / "a.hdf").write_bytes(b"garbage" * 100)
    with pytest.raises(ValueError, match=r"a.hdf is not a readable HDF5 file"):
        open_volume(tmp_path / "a.hdf")
    with h5py.File(tmp_path / "b.hdf", "w") as file:
        file["flat"] = np.zeros((3, 3))
    with pytest.raises(ValueError, match="must hold one 3-D volume, but holds none"):
        open_volume(tmp_path / "b.hdf")
    with h5py.File(tmp_path / "b.hdf", "a") as file:
        file["one"], file["two"] = IMAGE, IMAGE
    with pytest.raises(ValueError, match="but holds /one, /two"):
        open_volume(tmp_path / "b.hdf")


# OME-Zarr ----------------------------------------------------------------------------


def ome_zarr(path, version="0.5", unit="angstrom", scales=(5.0, 10.0), lead=()):
    zarr = pytest.importorskip("zarr", reason="the extra zarr is not installed")
    group = zarr.open_group(path, mode="w", zarr_format=3 if version == "0.5" else 2)
    datasets = []
    for level, scale in enumerate(scales):
        array = IMAGE[:: 2**level, :: 2**level, :: 2**level]
        array = array.reshape((1,) * len(lead) + array.shape)
        group.create_array(str(level), data=array, chunks=(1,) * len(lead) + (2, 2, 2))
        sizes = [1.0] * len(lead) + [scale] * 3
        transform = {"type": "scale", "scale": sizes}
        datasets.append({"path": str(level), "coordinateTransformations": [transform]})
    axes = [{"name": name} for name in lead]
    axes += [{"name": name, "type": "space", "unit": unit} for name in "zyx"]
    image = {"axes": axes, "datasets": datasets}
    if version == "0.5":
        group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    else:
        group.attrs["multiscales"] = [image]
    return path


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("lead", [(), ("c",), ("t", "c")])
def test_ome_zarr_has_image_and_scale(tmp_path, version, lead):
    volume = read_volume(ome_zarr(tmp_path / "a.zarr", version, lead=lead))
    np.testing.assert_array_equal(volume.array, IMAGE)
    assert volume.scale == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("unit", "scale"), [("angstrom", 0.5), ("nanometer", 5.0), ("micrometer", 5000.0)]
)
def test_the_unit_of_ome_zarr_counts(tmp_path, unit, scale):
    volume = open_volume(ome_zarr(tmp_path / "a.zarr", unit=unit))
    assert volume.scale == pytest.approx(scale)


@pytest.mark.parametrize(
    ("at", "scale"), [(None, 0.5), (0.2, 0.5), (0.99, 0.5), (1.0, 1.0), (3.0, 1.0)]
)
def test_the_coarsest_level_that_is_no_coarser_is_taken(tmp_path, at, scale):
    volume = open_volume(ome_zarr(tmp_path / "a.zarr"), at=at)
    assert volume.scale == pytest.approx(scale)


def test_a_template_comes_from_the_level_of_its_scale(tmp_path):
    path = ome_zarr(tmp_path / "a.zarr")
    np.testing.assert_array_equal(from_file(path)(1.0), IMAGE[::2, ::2, ::2])
    np.testing.assert_array_equal(from_file(path)(0.5), IMAGE)
    np.testing.assert_array_equal(from_file(path, 1.0)(1.0), IMAGE)


def test_ome_zarr_without_multiscales_or_unit_is_refused(tmp_path):
    zarr = pytest.importorskip("zarr", reason="the extra zarr is not installed")
    zarr.open_group(tmp_path / "a.zarr", mode="w")
    with pytest.raises(ValueError, match="it has no multiscales"):
        open_volume(tmp_path / "a.zarr")
    (tmp_path / "b.zarr").mkdir()
    with pytest.raises(ValueError, match=r"b\.zarr is not a readable OME-Zarr image"):
        open_volume(tmp_path / "b.zarr")
    with pytest.raises(ValueError, match=r"multiscales gives no voxel size; pass sc"):
        from_file(ome_zarr(tmp_path / "c.zarr", unit="parsec"))(1.0)
    lacking = ome_zarr(tmp_path / "d.zarr")
    shutil.rmtree(lacking / "1")
    with pytest.raises(ValueError, match="its level '1' is missing"):
        open_volume(lacking)


def test_particles_are_cut_from_the_level_of_the_scale_that_is_given(tmp_path):
    path = ome_zarr(tmp_path / "a.zarr")
    coarse = open_volume(path, at=1.0)
    assert coarse.scale == pytest.approx(1.0)
    middle = (np.array(coarse.array.shape) - 1)[None] / 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the box leaves the small tomogram
        found, expected = (
            fp.subtomograms(each, middle, shape=2, scale=1.0)
            for each in (path, np.asarray(coarse.array))
        )
    np.testing.assert_array_equal(found, expected)


# Array-likes and the rest ------------------------------------------------------------


class OnlySliced:
    """An array-like that remembers what was read of it."""

    shape, dtype = (100, 100, 100), np.dtype(np.float32)

    def __init__(self):
        self.largest = 0

    def __getitem__(self, index):
        block = np.ones([len(range(*i.indices(100))) for i in index], np.float32)
        self.largest = max(self.largest, block.size)
        return block


def test_subtomograms_of_an_array_like_read_blocks_only():
    tomogram = OnlySliced()
    fp.subtomograms(tomogram, np.full((3, 3), 50.0), shape=8, scale=1.0)
    assert 0 < tomogram.largest <= 40**3


@pytest.mark.parametrize("kind", ["hdf5", "zarr 0.4", "zarr 0.5", "em", "mrc"])
def test_subtomograms_are_the_same_of_every_format(tmp_path, kind):
    if kind == "hdf5":
        path = hdf5(tmp_path / "a.hdf")
    elif kind == "em":
        emfile = pytest.importorskip("emfile", reason="the extra em is not installed")
        path = tmp_path / "a.em"
        emfile.write(path, IMAGE)
    elif kind == "mrc":
        path = mrc(tmp_path / "a.mrc")
    else:
        path = ome_zarr(tmp_path / "a.zarr", kind[-3:], lead=("c",))
    where = np.array([[0.75, 1.0, 1.25]])
    expected = fp.subtomograms(IMAGE, where, shape=3, scale=0.5)
    found = fp.subtomograms(path, where, shape=3, scale=0.5)
    np.testing.assert_array_equal(found, expected)


def test_an_array_like_is_a_volume_without_a_scale():
    tomogram = OnlySliced()
    assert open_volume(tomogram) == Volume(tomogram, None, "an array has no voxel size")
    with pytest.raises(TypeError, match="a path or a 3-D array of real numbers"):
        open_volume(np.zeros((3, 3)))


@pytest.mark.parametrize("ending", [".mrc", ".em", ".hdf", ".tif"])
def test_an_absent_file_and_a_folder_are_the_systems_own_errors(tmp_path, ending):
    with pytest.raises(FileNotFoundError):
        open_volume(tmp_path / f"absent{ending}")
    (tmp_path / f"folder{ending}").mkdir()
    with pytest.raises(IsADirectoryError):
        open_volume(tmp_path / f"folder{ending}")
    with pytest.raises(FileNotFoundError):
        open_volume(tmp_path / "absent.zarr")


def test_an_unknown_ending_says_which_are_known(tmp_path):
    (tmp_path / "a.xyz").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"a.xyz: unknown ending.*\.mrc.*\.zarr"):
        open_volume(tmp_path / "a.xyz")


@pytest.mark.parametrize(
    ("ending", "module", "extra"),
    [(".em", "emfile", "em"), (".hdf", "h5py", "hdf5"), (".zarr", "zarr", "zarr")],
)
def test_a_missing_library_names_its_extra(
    tmp_path, monkeypatch, ending, module, extra
):
    path = tmp_path / f"a{ending}"
    path.mkdir() if ending == ".zarr" else path.write_bytes(b"x")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"{module}.*'funpipe\[{extra}\]'"):
        open_volume(path)


@needs_data
@pytest.mark.parametrize(
    ("name", "shape", "scale"),
    [
        ("maps/beta-tubulin.mrc", (20, 20, 20), 0.5144),
        ("maps/EMD-3197.map", (20, 20, 20), 1.14),
        ("maps/emd_3197.map.gz", (20, 20, 20), 1.14),
        ("maps/emd_1832.map", (64, 64, 64), 0.57),
        ("tomograms/13pf_MT.tif", (36, 206, 94), 1.052),
    ],
)
def test_real_volumes_have_their_shapes_and_scales(name, shape, scale):
    volume = open_volume(DATA / name)
    assert volume.array.shape == shape
    assert volume.scale == pytest.approx(scale, rel=1e-3)


def huge(path):
    """Write a sparse file of 64 GiB, 4096 x 4096 x 1024 float32 of zeros, 1 Å."""
    mrc(path, np.zeros((1, 1, 1), np.float32))
    size = (4096, 4096, 1024)
    for at in (0, 28):  # nx, ny, nz; mx, my, mz
        patch(path, at, np.array(size, "<i4").tobytes())
    patch(path, 40, np.array(size, "<f4").tobytes())  # the cell in Å
    with open(path, "r+b") as file:
        file.truncate(1024 + 4 * 4096 * 4096 * 1024)
    return path


# What was just written is in the system's cache, and would all be mapped.
ALIGN = """
import sys
import numpy as np
import funpipe as fp

blob = fp.from_gaussian(4.8, (0.4, 0.6, 0.8))
rng = np.random.default_rng(0)
at = rng.integers(32, (992, 4064, 4064), (50, 3))
image = blob(0.1)
with open(sys.argv[1], "r+b") as file:
    for z, y, x in at - 24:
        for i, j in np.ndindex(48, 48):
            file.seek(1024 + 4 * int(((z + i) * 4096 + y + j) * 4096 + x))
            file.write(image[i, j].tobytes())
centres = (at - 0.5) * 0.1
aligned = fp.align(
    sys.argv[1], centres + 0.1, template=blob, mask=None, max_shifts=0.3,
    rotations=None, progress=False,
)
assert np.abs(aligned.positions - centres).max() < 0.02, aligned.positions - centres
fp.average(sys.argv[1], aligned, shape=48)
with open("/proc/self/status") as file:  # rusage would count pytest, that forked it
    print(next(int(each.split()[1]) for each in file if "VmHWM" in each) // 1024)
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="only Linux tells the peak there"
)
def test_fifty_particles_of_a_tomogram_of_64_gb_need_less_than_one(tmp_path):
    path = huge(tmp_path / "huge.mrc")
    done = subprocess.run(
        [sys.executable, "-c", ALIGN, path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 1024


def test_a_tiff_whose_pages_go_in_circles_is_refused_at_once(tmp_path):
    tifffile = pytest.importorskip("tifffile", reason="the extra tiff is not installed")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((3, 4, 5), np.float32), photometric="minisblack")
    with tifffile.TiffFile(path) as file:
        first, last = file.pages[0].offset, file.pages[-1]
        end = last.offset + 2 + 12 * len(last.tags)
    content = bytearray(path.read_bytes())
    assert content[end : end + 4] == bytes(4)
    content[end : end + 4] = first.to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.tif .* page 3 leads to an earlier one"):
        open_volume(path)
