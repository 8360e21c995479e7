"""No room for a file: the old one stays as it was, no half one, and its name is said.

On a small file system that is full, where one may be mounted; and everywhere by what
the system says when it is: of every writer, and of what verbs write.
"""

from __future__ import annotations

import ast
import errno
import os
from pathlib import Path

import numpy as np
import pooled_job
import pytest
from pooled_job import LONG, assert_same
from pooled_runs import files_in, kept
from small_disk import fill, mounted, remount

import funpipe as fp
from funpipe.io.particles import LISTS

IMAGE = np.random.default_rng(0).normal(size=(24, 24, 24)).astype(np.float32)
MANY = fp.Molecules(np.random.default_rng(0).uniform(0, 40, (4000, 3)))
BLOB = fp.from_gaussian((9.0, 9.0, 9.0), sigma=(0.8, 1.2, 1.6))
THERE = fp.Molecules([[14.0, 12.0, 14.0], [17.0, 28.0, 22.0]])

leaky = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # mrcfile leaves its file to the collector where it cannot be written


NM = ("a.csv", "a.parquet", "a.cmm", "a.bild")
"""Lists whose lengths are nm."""


def volume(path: Path) -> None:
    fp.write_volume(path, IMAGE, 1.0)


def particles(path: Path) -> None:
    options = {} if path.name in NM else {"scale": 1.0}
    if path.name == "a_info.json":
        options["tomograms"] = (64, 64, 64)
    fp.write_molecules(MANY, path, **options)


WRITERS = {
    **dict.fromkeys(("a.mrc", "a.mrc.gz", "a.mrc.bz2"), volume),
    **dict.fromkeys(("a.csv", "a.star", "a.tbl", "a.em", "a.mod"), particles),
    **dict.fromkeys(("a_info.json", "a_motl.csv"), particles),
    **dict.fromkeys(("a.parquet", "a.ndjson", "a.json", "a.cmm", "a.bild"), particles),
}


def write(name: str, folder: Path) -> Path:
    for ending, library in {
        **{".star": "starfile", ".tbl": "dynamotable", ".em": "emfile"},
        **{".mod": "imodmodel", ".parquet": "pyarrow"},
    }.items():
        if name.endswith(ending):
            pytest.importorskip(library)
    WRITERS[name](folder / name)
    return folder / name


def no_room(*given):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.filterwarnings("ignore::UserWarning")  # of what lists leave out
@pytest.mark.parametrize("name", WRITERS)
def test_where_there_is_no_room_the_old_file_stays_and_is_named(
    name, tmp_path, monkeypatch
):
    path = write(name, tmp_path)
    before = {each: each.read_bytes() for each in files_in(tmp_path)}
    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(OSError, match="No space left on device; what was") as caught:
        write(name, tmp_path)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(path)
    assert {each: each.read_bytes() for each in files_in(tmp_path)} == before


@leaky
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", [each for each in WRITERS if each != "a.mod"])
def test_on_a_full_disk_the_old_file_stays_and_is_named(name, tmp_path):
    with mounted(tmp_path / "disk", "1m") as disk:
        path = disk / name
        path.write_text("old")
        fill(disk / "rest")
        with pytest.raises(OSError, match="No space") as caught:
            write(name, disk)
        assert path.stem in Path(caught.value.filename).name
        assert caught.value.filename.startswith(str(disk))
        assert path.read_text() == "old"
        assert {each.name for each in disk.iterdir()} == {name, "rest"}


def test_every_list_that_is_written_has_been_tried():
    said = {name.partition(".")[2] for name in WRITERS}
    known = {
        "relion": "star",
        "dynamo": "tbl",
        "em": "em",
        "portal": "ndjson",
        "copick": "json",
        "mod": "mod",
        "cmm": "cmm",
        "bild": "bild",
        "csv": "csv",
        "parquet": "parquet",
    }
    by_the_same = {"stopgap", "m", "warp"}  # all STAR
    by_name = {"eman2", "peet"}
    assert set(LISTS) == {*known, *by_the_same, *by_name, "cryosparc"}
    with pytest.raises(ValueError, match=r"cryoSPARC datasets .* are not written"):
        fp.write_molecules(MANY, "a.cs", format="cryosparc")
    assert set(known.values()) <= said


# What verbs write.


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("job")
    pooled_job.make(made)
    return made


@pytest.mark.parametrize(("verb", "room"), [("refine", "60k"), ("search", "40k")])
def test_a_disk_that_fills_up_ends_a_verb_which_goes_on(verb, room, folder, tmp_path):
    with mounted(tmp_path / "disk", room) as disk:  # align: test_interrupted
        checkpoints = disk / "kept"
        with pytest.raises(OSError, match="No space") as raised:
            LONG[verb](folder, None, checkpoints)
        assert str(checkpoints) in str(raised.value)
        assert kept(checkpoints) == files_in(checkpoints)
        remount(disk, "size=20m")
        found = LONG[verb](folder, None, checkpoints)
    assert_same(found, LONG[verb](folder, None, None))


def searched(**written) -> None:
    image = fp.simulate.tomogram(BLOB(1.0), THERE, (32, 40, 36), 1.0, noise=0.1)
    options = {"scale": 1.0, "spacing": 30, "count": 2, "progress": False}
    fp.search(image, template=BLOB, **options, **written)


@pytest.mark.parametrize("what", ["record", "maps"])
def test_a_search_without_room_for_what_it_writes_leaves_what_was_there(
    what, tmp_path, monkeypatch
):
    place = tmp_path / ("a.json" if what == "record" else "maps")
    searched(**{what: place})
    before = {each: each.read_bytes() for each in files_in(tmp_path)}
    assert before
    names = ["a.json"] if what == "record" else ["score.mrc"]
    if what == "maps":
        monkeypatch.setattr("funpipe.jobs.sweep_planning.check_fits", late(monkeypatch))
    else:
        monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(OSError, match="No space left on device; what was") as caught:
        searched(**{what: place})
    assert Path(caught.value.filename).name in names
    assert {each: each.read_bytes() for each in files_in(tmp_path)} == before


def late(monkeypatch):
    """Return what fills the disk once the room for a folder has been looked at."""

    def filled(*given):
        monkeypatch.setattr(os, "fsync", no_room)

    return filled


# All files go through one door.

_DOOR = "replacing"
_METHODS = {
    *("write_text", "write_bytes", "tofile", "savefig", "imwrite", "to_parquet"),
    *("dump", "save", "savez", "savez_compressed", "savetxt"),
    *("to_json", "to_pickle", "to_excel", "new_mmap", "touch", "copyfile", "move"),
}
_LIBRARIES = {"mrcfile", "emfile", "dynamotable", "starfile", "imodmodel", "h5py"}
_LIBRARIES |= {"parquet"}
_ELSEWHERE = {
    ("base/whole.py", "open"): "the door itself",
    ("jobs/sharing.py", "write_bytes"): "a run's own folder, which is removed",
    ("jobs/sharing.py", "touch"): "likewise",
    ("io/rows.py", "tofile"): "likewise",
    ("jobs/checkpoints.py", "savez"): "into memory",
    ("faces/pages.py", "savefig"): "into memory",
    ("faces/command_line.py", "open"): "nowhere",
    ("testing/strategies.py", "write"): "a folder for a while",
    ("faces/command_lists.py", "copyfile"): "likewise",
}


def writes(tree: ast.AST) -> list[str]:
    """Return calls that write to a file outside the door, by their names."""
    found: list[str] = []

    def visit(node: ast.AST, inside: bool) -> None:
        if isinstance(node, ast.With):
            names = [
                getattr(each.context_expr.func, "id", "")
                for each in node.items
                if isinstance(each.context_expr, ast.Call)
            ]
            inside = inside or _DOOR in names
        if isinstance(node, ast.Call) and not inside and (name := _written(node)):
            found.append(name)
        for each in ast.iter_child_nodes(node):
            visit(each, inside)

    visit(tree, False)
    return found


def _written(call: ast.Call) -> str | None:
    function = call.func
    name = getattr(function, "id", getattr(function, "attr", ""))
    if name in _METHODS:
        return name
    owner = getattr(getattr(function, "value", None), "id", "")
    if owner in _LIBRARIES and name in ("write", "write_table", "new", "File"):
        modes = [each.value for each in call.args if isinstance(each, ast.Constant)]
        return None if "r" in modes else name
    if name == "open" and owner != "os":
        at = 0 if isinstance(function, ast.Attribute) and not owner else 1
        modes = [each for each in call.args[at:] if isinstance(each, ast.Constant)]
        modes += [each.value for each in call.keywords if each.arg == "mode"]
        said = "".join(str(getattr(each, "value", "w")) for each in modes)
        return name if set(said) & set("wax+") else None
    return None


def test_what_writes_is_told_from_what_reads():
    def found(text: str) -> list[str]:
        return writes(ast.parse(text))

    assert found("open(a, 'w')\nopen(a)\nopen(a, 'rb')\nopen(a, mode='x')") == [
        "open",
        "open",
    ]
    assert found("np.save(a, b)\nPath(a).write_text(b)") == ["save", "write_text"]
    assert found("with replacing(a) as b, open(b, 'w') as c:\n    np.save(c, d)") == []
    assert found("mrcfile.new(a)\nh5py.File(a, 'r')\nfile.write(a)") == ["new"]


def test_every_file_is_written_through_the_one_door():
    root = Path(fp.__file__).parent
    outside = {
        (path.relative_to(root).as_posix(), name)
        for path in sorted(root.rglob("*.py"))
        for name in writes(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert outside == set(_ELSEWHERE)
