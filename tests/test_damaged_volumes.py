"""Damaged copies of volumes and structures: what is read of them, or what is said."""

from __future__ import annotations

import gzip
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from written_files import hdf5, ome_zarr

from funpipe.io.structures import read_structure
from funpipe.io.volumes import open_volume, write_volume

resource = pytest.importorskip("resource", reason="not on Windows")

IMAGE = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
COPIES = 1000 if os.environ.get("CI") else 300  # of each format
MEMORY = 2**29  # bytes more than before
PACKED = {".gz"}

PDB = """\
ATOM      1  N   THR A   1      17.047  14.099   3.625  1.00 13.79           N
ATOM      2  CA  THR A   1      16.967 -12.784   4.338  0.50 10.80           C
HETATM    3 ZN    ZN A   2    -100.125   0.000 999.999  1.00 10.80          ZN
END
"""


def mrc(folder):
    write_volume(folder / "a.mrc", IMAGE, 0.5)
    return folder / "a.mrc"


def packed_mrc(folder):
    write_volume(folder / "a.mrc.gz", IMAGE, 0.5)
    return folder / "a.mrc.gz"


def tiff(folder, **options):
    tifffile = pytest.importorskip("tifffile", reason="the extra tiff is not installed")
    options.setdefault("photometric", "minisblack")
    tifffile.imwrite(folder / "a.tif", IMAGE, **options)
    return folder / "a.tif"


def packed_tiff(folder):
    return tiff(folder, compression="zlib")


def imagej_tiff(folder):
    metadata = {"axes": "ZYX", "unit": "nm", "spacing": 0.5}
    return tiff(folder, imagej=True, resolution=(2, 2), metadata=metadata)


def em(folder):
    emfile = pytest.importorskip("emfile", reason="the extra em is not installed")
    emfile.write(folder / "a.em", IMAGE)
    return folder / "a.em"


def unpacked_hdf5(folder):
    return hdf5(folder, IMAGE)


def packed_hdf5(folder):
    return hdf5(folder, IMAGE, chunks=(2, 3, 3), compression="gzip")


def ome_zarr_3(folder):
    return ome_zarr(folder, IMAGE, (2, 3, 3))


def ome_zarr_2(folder):
    return ome_zarr(folder, IMAGE, (2, 3, 3), "0.4")


def pdb(folder):
    (folder / "a.pdb").write_text(PDB)
    return folder / "a.pdb"


def packed_pdb(folder):
    (folder / "a.pdb.gz").write_bytes(gzip.compress(PDB.encode()))
    return folder / "a.pdb.gz"


def cif(folder):
    gemmi = pytest.importorskip("gemmi", reason="the extra structures is not installed")
    document = gemmi.read_pdb_string(PDB).make_mmcif_document()
    (folder / "a.cif").write_text(document.as_string())
    return folder / "a.cif"


WRITERS = (
    mrc,
    packed_mrc,
    tiff,
    packed_tiff,
    imagej_tiff,
    em,
    unpacked_hdf5,
    packed_hdf5,
)
WRITERS += (ome_zarr_3, ome_zarr_2, pdb, packed_pdb, cif)


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Flip bytes, cut, put zeros in, or exchange two blocks."""
    raw = bytearray(content)
    at, other = sorted(int(each) for each in rng.integers(0, len(raw), 2))
    length = 1 + int(rng.integers(0, 16))
    match rng.integers(0, 5):
        case 0:
            for each in rng.integers(0, len(raw), length):
                raw[each] = rng.integers(0, 256)
        case 1:  # where headers are
            raw[at % min(len(raw), 256)] ^= 1 << int(rng.integers(0, 8))
        case 2:
            del raw[at:]
        case 3:
            raw[at:at] = bytes(length)
        case _:
            first, second = raw[at : at + length], raw[other : other + length]
            raw[at : at + length], raw[other : other + length] = second, first
    return bytes(raw)


def read(path):
    """Return what a file holds, as one array or two."""
    if ".pdb" in path.suffixes or path.suffix == ".cif":
        pytest.importorskip("gemmi", reason="the extra structures is not installed")
        return tuple(read_structure(path))
    volume = open_volume(path)
    if np.prod(volume.array.shape) * volume.array.dtype.itemsize > 2**26:
        return (volume.array[0, 0],)  # as jobs do: a part of what is very large
    return (np.array(volume.array),)


@pytest.mark.parametrize("write", WRITERS, ids=lambda each: each.__name__)
def test_a_damaged_copy_is_read_or_refused_with_one_line_that_names_it(
    write, tmp_path, capfd
):
    path = write(tmp_path)
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    before = read(path)
    rng = np.random.default_rng(1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = []
    for i in range(COPIES):
        victim = files[i % len(files)]
        content = victim.read_bytes()
        victim.write_bytes(damaged(content, rng))
        outcomes.append(outcome_of(path, before))
        victim.write_bytes(content)
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak)
    assert grown < MEMORY
    assert outcomes.count("refused") > COPIES // 10
    if PACKED & set(path.suffixes):  # there is a checksum
        assert set(outcomes) <= {"refused", "same"}
    assert capfd.readouterr().err == ""


def outcome_of(path: Path, before: tuple[np.ndarray, ...]) -> str:
    """Return what became of reading a damaged file: nothing but these."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = read(path)
        except ValueError as error:
            text = str(error)
            assert path.name in text and len(text.splitlines()) == 1, text
            return "refused"
    for each in caught:
        assert each.category is UserWarning, each
        assert path.name in str(each.message)
    same = all(np.array_equal(a, b) for a, b in zip(found, before, strict=True))
    return "warned" if caught else "same" if same else "changed"
