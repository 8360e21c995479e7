"""CONTRIBUTING's recipes, followed word for word in a copy of the package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import funpipe as fp

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    [found] = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.M)
    return found


def blocks(title: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", section(title), re.DOTALL | re.M)


def add_block(block: str, folder: Path) -> str:
    """Put a block where its first line says; return which file that is."""
    said, code = block.split("\n", 1)
    name = said.removeprefix("# ").removeprefix("at the end of ")
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    before = f"{path.read_text(encoding='utf-8')}\n\n" if "end of" in said else ""
    assert path.exists() == ("end of" in said)
    path.write_text(before + code, encoding="utf-8")
    return name


def patch(block: str, folder: Path) -> set[str]:
    """Do what a block of differences says; return the files that it changes."""
    names = set()
    for name, lines in re.findall(r"^--- (.*)\n((?:[ +].*\n)+)", block, re.M):
        path = folder / name
        text = path.read_text(encoding="utf-8")
        old = "\n".join(re.findall(r"^ (.*)", lines, re.M))
        new = "\n".join(re.findall(r"^[ +](.*)", lines, re.M))
        if "+" in lines.splitlines()[-1][0]:  # after a line, whatever it goes on with
            [old] = re.findall(rf"^{re.escape(old)}.*$", text, re.M)
            new = f"{old}\n{lines.splitlines()[-1][1:]}"
        assert text.count(f"{old}\n") == 1
        path.write_text(text.replace(f"{old}\n", f"{new}\n"), encoding="utf-8")
        names.add(name)
    return names


def follow(title: str, folder: Path) -> set[str]:
    """Follow a recipe, run the tests in it; return the files that it touches."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "funpipe", folder / "funpipe", ignore=ignored)
    names = {add_block(each, folder) for each in blocks(title, "python")}
    for each in blocks(title, "diff"):
        names |= patch(each, folder)
    modules = [each for each in names if each.startswith("funpipe/")]
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *("-W", "error", "--doctest-modules", "tests", *modules),
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return names


def test_a_stage_is_added_as_it_says(tmp_path):
    touched = follow("A stage", tmp_path)
    assert touched == {
        "funpipe/stages/masks.py",
        "tests/test_erosion.py",
    }


def test_an_engine_is_added_as_it_says(tmp_path):
    touched = follow("An engine", tmp_path)
    assert touched == {"my_engine.py", "tests/test_my_engine.py"}


def test_a_list_format_is_added_as_it_says(tmp_path):
    touched = follow("A list format", tmp_path)
    assert touched == {
        "funpipe/io/points.py",
        "funpipe/io/particles.py",
        "tests/test_points.py",
    }


def raised(code: str, names: dict[str, Any]) -> str:
    """Run a line; return the text of the error that it ends in."""
    with pytest.raises((TypeError, ValueError, OSError)) as caught:
        exec(code, names)
    error = caught.value
    notes = getattr(error, "__notes__", [])
    return "\n".join([f"{type(error).__name__}: {error}", *notes])


def test_errors_read_as_it_says():
    names = {"fp": fp, "np": np, "blob": fp.from_gaussian((16.0,) * 3, sigma=2.0)}
    [block] = blocks("Errors", "pycon")
    examples = re.findall(r">>> (.*)\n((?:(?!>>>).*\n)+)", block)
    assert len(examples) == 5
    for code, said in examples:
        given, said = raised(code, names), said.strip()
        assert given == said or (said.endswith("...") and given.startswith(said[:-3]))


def test_the_workflow_only_calls_what_everybody_can_run():
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert re.findall(r"- run: (.*)", text) == [".ci/run"]
