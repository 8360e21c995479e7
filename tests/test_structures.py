"""Structure files: real ones, ones written here, and damaged ones."""

from __future__ import annotations

import gzip
import sys

import numpy as np
import pytest
from real_files import DATA, needs_data

from funpipe.io.structures import read_structure

pytest.importorskip("gemmi")
STRUCTURES = DATA / "structures"

# Columns after the PDB format 3.3: x 31-38, y 39-46, z 47-54, occupancy 55-60,
# element 77-78.
PDB = """\
MODEL        1
ATOM      1  N   THR A   1      17.047  14.099   3.625  1.00 13.79           N
ATOM      2  CA  THR A   1      16.967 -12.784   4.338  0.50 10.80           C
HETATM    3 ZN    ZN A   2    -100.125   0.000 999.999  1.00 10.80          ZN
HETATM    4  O   HOH A   3       1.000   2.000   3.000  1.00 10.80           O
ENDMDL
MODEL        2
ATOM      1  N   THR A   1       0.000   0.000   0.000  1.00 13.79           N
ENDMDL
END
"""


@pytest.fixture
def pdb(tmp_path):
    path = tmp_path / "good.pdb"
    path.write_text(PDB)
    return path


def columns(path):
    """Read a PDB file's atoms by its columns, without gemmi."""
    lines = [line for line in path.read_text().splitlines() if line[:4] == "ATOM"]
    lines += [line for line in path.read_text().splitlines() if line[:6] == "HETATM"]
    lines = [line for line in lines if line[17:20] != "HOH"]
    return np.array([[line[46:54], line[38:46], line[30:38]] for line in lines], float)


def test_positions_are_z_y_x_in_nm_and_weights_number_times_occupancy(pdb):
    atoms = read_structure(pdb)
    expected = [
        [0.3625, 1.4099, 1.7047],
        [0.4338, -1.2784, 1.6967],
        [99.9999, 0.0, -10.0125],
    ]
    np.testing.assert_allclose(atoms.positions, expected, atol=1e-9)
    np.testing.assert_allclose(atoms.weights, [7, 3, 30])  # N, ½ C, Zn; no water


def test_a_gzipped_structure_is_the_plain_one(pdb, tmp_path):
    packed = tmp_path / "good.pdb.gz"
    packed.write_bytes(gzip.compress(pdb.read_bytes()))
    for part, expected in zip(
        read_structure(packed), read_structure(str(pdb)), strict=True
    ):
        np.testing.assert_array_equal(part, expected)


@needs_data
@pytest.mark.parametrize(
    "name, count", [("1crn.pdb", 327), ("4v4r_30S.pdb", 51918), ("3j9i.pdb", 46228)]
)
def test_real_structures_have_their_atoms_where_the_columns_say(name, count):
    atoms = read_structure(STRUCTURES / name)
    assert len(atoms.positions) == len(atoms.weights) == count
    expected = columns(STRUCTURES / name) / 10
    near = np.sort(atoms.positions, axis=0) - np.sort(expected, axis=0)
    assert np.abs(near).max() < 1e-6


@needs_data
def test_pdb_and_mmcif_give_the_same_atoms():
    pdb = read_structure(STRUCTURES / "1crn.pdb")
    cif = read_structure(STRUCTURES / "1CRN.cif")
    np.testing.assert_allclose(pdb.positions, cif.positions, atol=1e-9)
    np.testing.assert_array_equal(pdb.weights, cif.weights)


# Damage.


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.pdb", b"", "a.pdb holds no atoms"),
        ("a.pdb", b"garbage\n", "a.pdb holds no atoms"),
        ("a.cif", b"", "a.cif is not a readable structure: "),
        ("a.cif", b"garbage\n", "a.cif is not a readable structure: "),
        ("a.cif", b"data_a\n", "a.cif holds no atoms"),
        ("a.pdb.gz", b"", "a.pdb.gz holds no atoms"),
        ("a.pdb.gz", b"garbage\n", "a.pdb.gz is not a readable structure: "),
        ("a.xyz", b"1\n", "a.xyz is not a readable structure: "),
        ("a", b"1\n", "a is not a readable structure: "),
    ],
)
def test_what_is_no_structure_gives_one_clear_error(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_structure(path)


@needs_data
def test_a_structure_that_was_cut_off_is_not_taken_for_a_whole_one(tmp_path):
    text = (STRUCTURES / "1CRN.cif").read_bytes()
    (tmp_path / "a.cif").write_bytes(text[: len(text) // 2])
    packed = gzip.compress((STRUCTURES / "1crn.pdb").read_bytes())
    (tmp_path / "a.pdb.gz").write_bytes(packed[: len(packed) // 2])
    for name in ("a.cif", "a.pdb.gz"):
        with pytest.raises(ValueError, match=f"{name} is not a readable structure: "):
            read_structure(tmp_path / name)


def test_atoms_without_occupancy_are_none(tmp_path):
    path = tmp_path / "a.pdb"
    path.write_text(PDB.replace("  1.00 1", "  0.00 1").replace("  0.50 1", "  0.00 1"))
    with pytest.raises(ValueError, match="holds no atoms with an occupancy above 0"):
        read_structure(path)


def test_a_missing_file_and_a_directory_get_the_systems_own_word(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.pdb"):
        read_structure(tmp_path / "a.pdb")
    (tmp_path / "a.pdb").mkdir()
    with pytest.raises(IsADirectoryError, match=r"a\.pdb"):
        read_structure(tmp_path / "a.pdb")


def test_without_gemmi_the_error_names_the_extra(pdb, monkeypatch):
    monkeypatch.setitem(sys.modules, "gemmi", None)
    message = r"gemmi is needed to read atomic structures: pip install 'funpipe\[struct"
    with pytest.raises(ImportError, match=message):
        read_structure(pdb)
