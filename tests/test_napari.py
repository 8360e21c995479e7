"""What napari is given: layers in nm, and a manifest that says where they are from."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.faces.viewing import layers, reader_of, sample
from funpipe.io.particles import FORMATS
from funpipe.io.volumes import volume_stem

ROOT = Path(fp.__file__).parents[1]
MANIFEST = ROOT / "funpipe" / "napari.yaml"
PICKS = fp.Molecules(
    [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], Rotation.random(2, rng=0), {"score": [0.5, 0.2]}
)


def test_a_volume_is_an_image_of_its_scale(tmp_path):
    volume = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    fp.write_volume(tmp_path / "TS_01.mrc", volume, 0.5)
    ((data, options, kind),) = layers(str(tmp_path / "TS_01.mrc"))
    np.testing.assert_array_equal(data, volume)
    assert options == {"name": "TS_01", "scale": (0.5,) * 3} and kind == "image"


def test_a_list_is_points_and_arrows_along_z(tmp_path):
    fp.write_molecules(PICKS, tmp_path / "picks.csv")
    points, arrows = layers(str(tmp_path / "picks.csv"))
    np.testing.assert_allclose(points[0], PICKS.positions)
    assert points[1]["features"]["score"].tolist() == [0.5, 0.2]
    assert (points[2], arrows[2]) == ("points", "vectors")
    for i, turn in enumerate(PICKS.rotations):
        np.testing.assert_allclose(arrows[0][i, 0], PICKS.positions[i])
        np.testing.assert_allclose(arrows[0][i, 1], 10 * turn.apply([1.0, 0, 0]))


def test_several_files_are_no_stack():
    assert reader_of(["a.mrc", "b.mrc"]) is None


def test_the_sample_is_the_demos_map():
    ((data, options, kind),) = sample()
    assert data.shape == (56, 56, 56) and kind == "image"
    np.testing.assert_allclose(options["scale"], 0.5, rtol=1e-3)


def test_the_package_says_where_its_manifest_is():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    entries = project["project"]["entry-points"]["napari.manifest"]
    assert entries == {"funpipe": "funpipe:napari.yaml"}
    assert "napari.yaml" in project["tool"]["setuptools"]["package-data"]["funpipe"]


def test_all_that_the_manifest_names_is_there():
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    manifest = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))
    parts = manifest["contributions"]
    names = {each["id"]: each["python_name"] for each in parts["commands"]}
    assert {name: resolve_name(each) for name, each in names.items()} == {
        "funpipe.read": reader_of,
        "funpipe.sample": sample,
    }
    (reader,), (example,) = parts["readers"], parts["sample_data"]
    assert (reader["command"], example["command"]) == ("funpipe.read", "funpipe.sample")
    endings = {each.removeprefix("*") for each in reader["filename_patterns"]}
    lists = {one for each in FORMATS.values() for one in each.endings}
    assert all(each in lists or volume_stem(f"a{each}") for each in endings)


THROUGH_NPE2 = """
import sys, npe2
manifest = npe2.PluginManifest.from_file(sys.argv[1])
manifest.validate_imports()
npe2.PluginManager.instance().register(manifest)
found, reader = npe2.io_utils.read_get_reader(
    [sys.argv[2]], plugin_name="funpipe", stack=False
)
assert reader.command == "funpipe.read"
assert [each[2] for each in found] == ["points", "vectors"], found
(example,) = manifest.contributions.sample_data
assert example.open()[0][0].shape == (56, 56, 56)
"""


def test_npe2_reads_through_the_manifest(tmp_path):
    if importlib.util.find_spec("npe2") is None:
        pytest.skip("npe2 is not installed")
    fp.write_molecules(PICKS, tmp_path / "picks.csv")
    # By itself: the warnings of npe2's own import are not this package's.
    command = [sys.executable, "-c", THROUGH_NPE2, MANIFEST, tmp_path / "picks.csv"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
