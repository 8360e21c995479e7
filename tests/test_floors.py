"""Imports of the package point down its floors, and names of modules are their own."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import funpipe as fp
from funpipe.io.particles import LISTS
from funpipe.io.volumes import VOLUMES

ROOT = Path(fp.__file__).parent
FACE = "funpipe"  # all public names

MAY_IMPORT: dict[str, set[str]] = {
    "base": set(),
    "algebra": {"base"},
    "space": {"base"},
    "io": {"base", "space"},
    "stages": {"base", "algebra", "space", "io"},
    "engine": {"base", "space"},
    "boxes": {"base", "space", "io"},
    "jobs": {"base", "algebra", "space", "io", "engine", "boxes"},
    "simulate": {"base", "space", "jobs"},
    "pipe": {"algebra", "stages"},
    "testing": {"base", "algebra", "stages", FACE},
    "faces": {
        *("base", "algebra", "space", "io", "stages", "engine", "boxes", "jobs"),
        "simulate",
    },
    "__main__": {"faces"},
    FACE: {
        *("base", "algebra", "space", "io", "stages", "engine", "boxes", "jobs"),
        *("pipe", "simulate", "faces"),
    },
}


def floor_of(path: Path, root: Path = ROOT) -> str:
    first = path.relative_to(root).parts[0]
    return FACE if first == "__init__.py" else first.removesuffix(".py")


def imported(source: str) -> Iterator[str]:
    """Yield the floors that a module imports from, also within functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{each.name}" for each in node.names]
            assert node.level == 0, "imports are absolute"
        elif isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        else:
            continue
        for name in names:
            first, _, rest = name.partition(".")
            if first == "funpipe":
                floor = rest.partition(".")[0]
                yield floor if floor in MAY_IMPORT else FACE


def upward(root: Path = ROOT) -> list[str]:
    """Return the imports that point up, or to where they may not."""
    found = []
    for path in sorted(root.rglob("*.py")):
        floor = floor_of(path, root)
        for each in imported(path.read_text(encoding="utf-8")):
            if each != floor and each not in MAY_IMPORT[floor]:
                found.append(f"{path.relative_to(root)} imports {each}")
    return found


def test_every_folder_has_a_floor():
    there = {floor_of(each) for each in ROOT.rglob("*.py")}
    assert there == set(MAY_IMPORT)


def test_imports_point_down():
    assert upward() == []


@pytest.mark.parametrize(
    ("floor", "line"),
    [
        ("base", "from funpipe.space.geometry import centre"),
        ("engine", "from funpipe.io.volumes import open_volume"),
        ("engine", "import funpipe.boxes.cutting"),
        ("io", "def f():\n    from funpipe.stages import masks"),
        ("jobs", "from funpipe import stages"),
        ("space", "import funpipe as fp"),
        ("algebra", "from funpipe import identity"),
    ],
)
def test_an_import_turned_upward_is_found(tmp_path, floor, line):
    (tmp_path / floor).mkdir()
    (tmp_path / floor / "room.py").write_text(line)
    assert len(upward(tmp_path)) == 1


def test_no_floor_may_import_one_that_may_import_it():
    for floor, below in MAY_IMPORT.items():
        for each in below - {FACE}:
            assert floor not in MAY_IMPORT[each]


def test_no_module_is_called_as_a_public_function_is():
    functions = {name for name in fp.__all__ if not inspect.isclass(getattr(fp, name))}
    modules = {each.stem for each in ROOT.rglob("*.py")} | set(MAY_IMPORT)
    assert functions & modules == set()


def in_tables() -> set[str]:
    """Return the modules that the tables of formats name, which need no other list."""
    return {each.partition(":")[0] for each in [*LISTS.values(), *VOLUMES.values()]}


def test_the_rooms_of_each_folder_are_in_its_docstring_or_a_table_of_formats():
    for folder in sorted({each.parent for each in ROOT.rglob("*.py")} - {ROOT}):
        text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
        rooms = {each.stem for each in folder.glob("*.py")} - {"__init__"}
        missing = {each for each in rooms if f"`{each}`" not in text}
        missing -= {each.removeprefix("funpipe.io.") for each in in_tables()}
        assert missing == set(), folder.name


def test_what_dir_shows_is_meant_for_users():
    shown = set(dir(fp))
    assert shown == {*fp.__all__, "__version__", "io", "pipe", "plot", "simulate"}
    assert all(hasattr(fp, each) for each in shown)


def test_no_file_holds_more_than_one_thing():
    long = {
        str(each.relative_to(ROOT)): count
        for each in ROOT.rglob("*.py")
        if (count := len(each.read_text(encoding="utf-8").splitlines())) > 530
    }
    assert long == {}
