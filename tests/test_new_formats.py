"""A format of lists and one of volumes, added as the recipe says: a file, a line."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import funpipe as fp
from funpipe import Molecules, read_molecules, write_molecules
from funpipe.base.errors import MissingError
from funpipe.base.whole import replacing
from funpipe.faces.command_line import main
from funpipe.io.formats import Format, VolumeFormat
from funpipe.io.particles import LISTS, format_of, known_lists
from funpipe.io.volumes import VOLUMES, Volume, open_volume, read_volume, volume_stem

# What stands in the module of a format: here, of lines of x y z in voxels.


def read(path: str, *, scale: float | None = None) -> Molecules:
    if scale is None:
        raise MissingError(path, "it counts in voxels", "scale", "in nm per voxel")
    rows = [each.split() for each in Path(path).read_text().splitlines()[1:]]
    return Molecules(np.array(rows, dtype=float)[:, ::-1] * scale)


def write(molecules: Molecules, path: str, *, scale: float | None = None) -> None:
    if scale is None:
        raise MissingError(path, "it counts in voxels", "scale", "in nm per voxel")
    rows = (molecules.positions / scale)[:, ::-1].tolist()
    with replacing(path) as partial:
        lines = ["POINTS", *(" ".join(map(repr, each)) for each in rows)]
        partial.write_text("\n".join(lines))


def recognises(head: bytes) -> bool:
    return head.startswith(b"POINTS")


FORMAT = Format(
    read, write, (".points",), frozenset({"scale"}), recognises, "points of a test"
)


def open_raw(name: str) -> Volume:
    array = np.fromfile(name, np.float32).reshape(2, 3, 4)
    return Volume(array, None, "raw voxels have no size")


VOLUME = VolumeFormat(open_raw, (".raw3",), "raw")

# What a test of a format says.

SOME = Molecules([[1.0, 2.0, 3.0], [4.0, 5.5, 6.0]])


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(LISTS, "points", f"{__name__}:FORMAT")
    monkeypatch.setitem(VOLUMES, "raw", f"{__name__}:VOLUME")


def test_a_new_format_of_lists_is_written_and_read(tmp_path):
    path = tmp_path / "a.points"
    write_molecules(SOME, path, scale=0.5)
    assert path.read_text().startswith("POINTS\n6.0 4.0 2.0")
    np.testing.assert_allclose(
        read_molecules(path, scale=0.5).positions, SOME.positions
    )


def test_a_new_format_of_lists_is_recognised_by_its_content(tmp_path):
    write_molecules(SOME, tmp_path / "a.points", scale=0.5)
    os.replace(tmp_path / "a.points", tmp_path / "a.txt")
    assert format_of(tmp_path / "a.txt") == "points"
    assert len(read_molecules(tmp_path / "a.txt", scale=1.0)) == 2


def test_errors_and_help_list_a_new_format(tmp_path, capsys):
    assert {".points,", "points"} <= set(known_lists().split())
    (tmp_path / "a.xyz").write_text("?")
    with pytest.raises(ValueError, match=r"unknown ending.* \.points.* points"):
        read_molecules(tmp_path / "a.xyz")
    with pytest.raises(ValueError, match=r"format must be one of .* points, not 'x'"):
        read_molecules(tmp_path / "a.xyz", format="x")
    with pytest.raises(ValueError, match=r"first=\.\.\. means nothing .*'points'"):
        write_molecules(SOME, tmp_path / "a.points", first=1)
    assert main(["convert", "--help"]) == 0
    said = capsys.readouterr().out
    assert ".points          points of a test" in said
    assert "parquet,points}" in said


def test_the_command_line_converts_to_a_new_format_and_inspects_it(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    SOME.to_csv("a.csv")
    assert main(["convert", "a.csv", "a.points"]) == 2
    assert "it counts in voxels; pass --out-scale in nm" in capsys.readouterr().err
    assert main(["convert", "a.csv", "a.points", "--out-scale", "0.5"]) == 0
    assert main(["convert", "a.points", "b.csv", "--scale", "0.5"]) == 0
    assert Molecules.from_csv("b.csv").positions.tolist() == SOME.positions.tolist()
    assert main(["inspect", "a.points"]) == 0
    assert "a particle list (points)" in capsys.readouterr().out


def test_a_new_format_of_volumes_is_opened_and_listed(tmp_path):
    voxels = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    voxels.tofile(tmp_path / "a.raw3")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.raw3").array, voxels)
    assert fp.from_file(tmp_path / "a.raw3", scale=1.0)(1.0).shape == (2, 3, 4)
    assert volume_stem("a.raw3") == "a"
    (tmp_path / "a.xyz").write_text("?")
    with pytest.raises(ValueError, match=r"a volume is one of .*\.raw3"):
        open_volume(tmp_path / "a.xyz")


def test_without_its_line_a_format_is_unknown(tmp_path, monkeypatch):
    monkeypatch.delitem(LISTS, "points")
    with pytest.raises(ValueError, match=r"a\.points: unknown ending"):
        write_molecules(SOME, tmp_path / "a.points", scale=0.5)
