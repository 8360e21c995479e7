"""Files are never run, and what stands in them leads to no place that is written to."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest
from written_files import TOMOGRAMS_STAR, hdf5, ome_zarr

import funpipe as fp
from funpipe.io.volumes import open_volume
from funpipe.jobs.score_maps import write_maps
from funpipe.jobs.sweeping import Map
from funpipe.space.geometry import rotation_grid

IMAGE = np.random.default_rng(0).normal(size=(6, 8, 10)).astype(np.float32)

# Nothing is evaluated.

_RUN = {"eval", "exec", "compile", "__import__", "literal_eval", "import_module"}
_LOAD = {"load", "loads", "Unpickler", "read_pickle", "unsafe_load", "full_load"}
_LOADERS = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "yaml"}
_ALLOWED = {
    ("base/extras.py", "import_module"): "libraries whose names stand in the package",
    ("jobs/sharing.py", "import_module"): "cloudpickle",
    ("jobs/sharing.py", "pickle.loads"): "what a run itself has sent to its workers",
    ("testing/laws.py", "pickle.loads"): "a law: what was pickled the line before",
    ("testing/laws.py", "eval"): "a law: the text of a pipeline that is there",
}


def trusting(tree: ast.AST) -> list[str]:
    """Return calls that may run what they are given, by their names."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        name = getattr(function, "id", getattr(function, "attr", ""))
        owner = getattr(getattr(function, "value", None), "id", "")
        if name in _RUN and owner != "re":
            found.append(name)
        if owner in _LOADERS and name in _LOAD:
            found.append(f"{owner}.{name}")
        for each in node.keywords:
            value = getattr(each.value, "value", None)
            if each.arg == "allow_pickle" and value is not False:
                found.append("allow_pickle")
    return found


def test_what_runs_its_input_is_found():
    text = "eval(a)\npickle.load(b)\nnp.load(c, allow_pickle=True)\nre.compile(d)\n"
    assert trusting(ast.parse(text)) == ["eval", "pickle.load", "allow_pickle"]
    assert trusting(ast.parse("np.load(c, allow_pickle=False)\njson.loads(d)")) == []


def test_nothing_that_is_read_is_evaluated_or_unpickled():
    root = Path(fp.__file__).parent
    found = {
        (path.relative_to(root).as_posix(), name)
        for path in sorted(root.rglob("*.py"))
        for name in trusting(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == set(_ALLOWED)


def test_every_numpy_file_is_opened_without_pickle():
    root = Path(fp.__file__).parent
    calls = [
        each
        for path in root.rglob("*.py")
        for each in re.findall(
            r"np\.(?:load|save|savez)\(.*", path.read_text(encoding="utf-8")
        )
    ]
    assert calls
    assert all("allow_pickle=False" in each for each in calls)


# Names that lists hold: a list's own files are read wherever they are.


def listed(folder: Path, volume: str) -> Path:
    """Write RELION's tomograms file, which names a volume."""
    pytest.importorskip("starfile", reason="the extra tilts is not installed")
    path = folder / "Tomograms" / "job001" / "tomograms.star"
    path.parent.mkdir(parents=True)
    columns = "_rlnTomoTomogramBinning #6\n_rlnTomoReconstructedTomogram #7\n"
    rows = f"{TOMOGRAMS_STAR}{columns}TS_01 5.0 10 8 6 1.0 {volume}\n"
    tilts = "\ndata_TS_01\n\nloop_\n_rlnTomoYTilt #1\n-30\n0\n30\n"
    path.write_text(rows.replace("data_\n", "data_global\n") + tilts)
    return path


@pytest.mark.parametrize("kind", ["of the project", "absolute", "above"])
def test_a_volume_that_a_list_names_is_read_where_it_is(kind, tmp_path):
    project, away = tmp_path / "project", tmp_path / "away"
    project.mkdir()
    away.mkdir()
    place, name = {
        "of the project": (project, "a.mrc"),
        "absolute": (away, str(away / "a.mrc")),
        "above": (away, "../away/a.mrc"),
    }[kind]
    fp.write_volume(place / "a.mrc", IMAGE, 0.5)
    found = fp.read_tomograms(listed(project, name))
    assert Path(found["TS_01"].array).resolve() == (place / "a.mrc").resolve()


def test_what_is_named_and_no_volume_is_refused(tmp_path):
    (tmp_path / "passwd").write_text("root:x:0:0")
    path = listed(tmp_path, str(tmp_path / "passwd"))
    with pytest.raises(ValueError, match="unknown ending"):
        fp.read_tomograms(path)


# Metadata of a store leads to nothing outside of it.


@pytest.mark.parametrize("away", ["../b.zarr/0", "absolute"])
def test_a_level_of_an_image_lies_in_its_store(away, tmp_path):
    zarr = pytest.importorskip("zarr", reason="the extra zarr is not installed")
    other = ome_zarr(tmp_path, IMAGE, (3, 4, 5)).rename(tmp_path / "b.zarr")
    path = ome_zarr(tmp_path, IMAGE, (3, 4, 5))
    group = zarr.open_group(path, mode="r+")
    said = dict(group.attrs["ome"])
    to = str(other / "0") if away == "absolute" else away
    said["multiscales"][0]["datasets"][0]["path"] = to
    group.attrs["ome"] = said
    with pytest.raises(ValueError, match=r"a\.zarr is not a readable OME-Zarr image"):
        open_volume(path)


def test_a_dataset_of_hdf5_lies_in_its_file(tmp_path):
    h5py = pytest.importorskip("h5py", reason="the extra hdf5 is not installed")
    other = hdf5(tmp_path, IMAGE).rename(tmp_path / "b.hdf")
    with h5py.File(tmp_path / "a.hdf", "w") as file:
        file["image"] = h5py.ExternalLink(str(other), "MDF/images/0/image")
    with pytest.raises(ValueError, match=r"a\.hdf must hold one 3-D volume, but holds"):
        open_volume(tmp_path / "a.hdf")


# What is written is written where it was said.

NAMES = ["TS_01", "..", ".", "../up", "/etc/x", "a b", "a/b", "", "a\\b", "TS_01/.."]


def test_folders_of_maps_are_in_the_folder_given_whatever_tomograms_are_called(
    tmp_path,
):
    folder = tmp_path / "in" / "maps"
    folder.mkdir(parents=True)
    grid = rotation_grid((10, 10))
    maps = [Map(IMAGE + i, IMAGE.astype(np.int32), 1.0) for i in range(len(NAMES))]
    write_maps(str(folder), NAMES, maps, grid, 1.0)
    found = sorted(tmp_path.rglob("score.mrc"))
    assert len(found) == len(NAMES)  # none in the place of another
    assert {each.parent.parent for each in found} == {folder}
    seen = {round(float(open_volume(each).array[0, 0, 0]), 3) for each in found}
    assert len(seen) == len(NAMES)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of what lists leave out
@pytest.mark.parametrize("name", ["../up", "/etc/x", ".."])
def test_no_name_of_a_tomogram_leads_a_list_anywhere_else(name, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    molecules = fp.Molecules(
        IMAGE.reshape(-1, 3)[:4] + 9, None, {"tomogram": [name] * 4}
    )
    for ending in ("csv", "cmm", "bild"):
        fp.write_molecules(molecules, folder / f"a.{ending}")
    for ending, library in {"star": "starfile", "tbl": "dynamotable"}.items():
        pytest.importorskip(library)
        fp.write_molecules(molecules, folder / f"a.{ending}", scale=1.0)
    assert {each.parent for each in tmp_path.rglob("*.*")} == {folder}
