"""The README's code, all examples of docstrings and some calls, as checkers see them.

What does not type-check yet stands in a list that is asserted exactly: it can only
shrink.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
from examples import ROOT, as_functions, blocks

Error: TypeAlias = tuple[Path, int, str]

CALLS = Path(__file__).with_name("typed_calls.py")
PACKAGE = ROOT / "funpipe"

OPTIONAL = "a format may have no way to be recognised, and the field says so"
REFUSED = {  # by both checkers: the line, and why
    'Format(list, list, (".mine",), frozenset(), recognises).recognises(b"MINE 1")': (
        OPTIONAL
    ),
}

CHECKERS = {
    "mypy": [
        *("mypy", "--strict", "--output", "json"),
        *("--config-file", str(ROOT / "pyproject.toml")),
        # Who writes a stage may leave its annotations out: the README's do.
        *("--allow-untyped-defs", "--allow-incomplete-defs"),
        *("funpipe", "readme.py", CALLS.name),
    ],
    "basedpyright": [
        *("basedpyright", "--outputjson", "--level", "error"),
        *("--pythonpath", sys.executable),
    ],
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay out a copy of the package, each module with its examples at its end."""
    folder = tmp_path_factory.mktemp("types")
    for path in PACKAGE.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        copy = folder / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(f"{source}\n\n{as_functions(source)}", encoding="utf-8")
    shutil.copy(PACKAGE / "py.typed", folder / "funpipe")
    (folder / "readme.py").write_text("\n".join(blocks("python")), encoding="utf-8")
    shutil.copy(CALLS, folder)
    settings = {"typeCheckingMode": "standard", "pythonVersion": "3.11"}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def own_lines(path: Path, tree: Path) -> int:
    """Return how many lines of a file are the package's own, not examples."""
    original = ROOT / path.relative_to(tree)
    if PACKAGE not in original.parents:
        return 0
    return len(original.read_text(encoding="utf-8").splitlines())


def refused(errors: Iterable[Error], tree: Path) -> dict[str, str]:
    """Return the lines of examples that are refused, each with what is said of it."""
    return {
        path.read_text(encoding="utf-8").splitlines()[line - 1].strip(): said
        for path, line, said in errors
        if line > own_lines(path, tree)
    }


@pytest.fixture(scope="module")
def running(tree: Path) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Start the checkers that are installed, side by side."""
    started = {
        name: subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=tree,
            env={**os.environ, "MYPYPATH": "", "PYTHONPATH": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name, command in CHECKERS.items()
        if importlib.util.find_spec(name)
    }
    yield started
    for each in started.values():
        each.kill()
        each.wait()


def of_mypy(text: str, tree: Path) -> Iterator[Error]:
    for line in text.splitlines():
        each = json.loads(line)
        if each["severity"] == "error":
            yield tree / each["file"], each["line"], each["message"]


def of_basedpyright(text: str, tree: Path) -> Iterator[Error]:
    found = json.loads(text)
    assert found["summary"]["filesAnalyzed"] > len(list(tree.rglob("*.py"))) - 3
    for each in found["generalDiagnostics"]:
        line = each["range"]["start"]["line"] + 1
        yield Path(each["file"]), line, each["message"]


@pytest.mark.parametrize("errors_of", [of_mypy, of_basedpyright])
def test_examples_type_check(errors_of, running, tree):
    name = errors_of.__name__.removeprefix("of_")
    if name not in running:
        pytest.skip(f"{name} is not installed")
    text, _ = running[name].communicate(timeout=300)
    assert running[name].returncode in (0, 1), text
    found = refused(errors_of(text, tree), tree)
    unknown = [f"{line}\n  {found[line]}" for line in found if line not in REFUSED]
    assert not unknown, "\n".join(unknown)
    assert [line for line in REFUSED if line not in found] == []  # mended: off the list
