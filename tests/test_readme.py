"""The README: every block of code in it runs, and gives what its comments say."""

from __future__ import annotations

import ast
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from examples import README, blocks
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.faces.command_line import main
from funpipe.io.volumes import write_mrc
from funpipe.simulate import asymmetric_molecule, blob_image, tomogram


def run(source: str, names: dict[str, Any]) -> list[tuple[str, str]]:
    """Run a block; return what lines ``expression  # value`` gave and say they give."""
    lines, found = source.splitlines(), []
    for statement in ast.parse(source).body:
        _, sign, comment = lines[(statement.end_lineno or 0) - 1].partition("  # ")
        if isinstance(statement, ast.Expr) and sign:
            code = compile(ast.Expression(statement.value), README, "eval")
            found.append((str(eval(code, names)), comment))
        else:
            module = ast.Module([statement], type_ignores=[])
            exec(compile(module, README, "exec", dont_inherit=True), names)
    return found


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the files that the README names, in the current folder."""
    monkeypatch.chdir(tmp_path)
    blobs = asymmetric_molecule()
    write_mrc("ribosome.mrc", blob_image(blobs, (56, 56, 56), 0.5), 0.5)
    truth = fp.Molecules([[28.0, 28.0, 28.0], [28.0, 28.0, 60.0]], Rotation.identity(2))
    write_mrc("tomogram.mrc", tomogram(blobs, truth, (56, 56, 88), 1.0, noise=0.3), 1.0)
    fp.Molecules(truth.positions + 1.0).to_csv("picks.csv")


@pytest.mark.usefixtures("files")
def test_the_code_of_the_readme_gives_what_it_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = ModuleType("readme")  # from where its own stages can be pickled
    monkeypatch.setitem(sys.modules, "readme", module)
    names: dict[str, Any] = vars(module)
    code = blocks("python")
    assert len(code) == 4
    claims = [claim for block in code for claim in run(block, names)]
    assert len(claims) == 4
    for given, said in claims:
        assert given == said
    np.testing.assert_allclose(names["aligned"].positions[0], 28.0, atol=0.3)
    assert names["average"].shape == names["first"].shape == (28, 28, 28)
    finest, coarsest = names["last"].fsc.resolution_range()
    assert 2.0 <= finest <= names["last"].resolution <= coarsest
    assert len(names["kinds"]) == 2
    assert "what to distrust" in Path("report.html").read_text(encoding="utf-8").lower()


@pytest.mark.usefixtures("files")
def test_the_readmes_line_for_a_shell_aligns() -> None:
    demo, tests, line = blocks("sh")
    assert demo.endswith("funpipe demo\n")  # these two are run by .ci/run
    assert tests.endswith("pytest\n")
    python, dash_m, package, *words = shlex.split(line.replace("\\\n", ""))
    assert (python, dash_m, package) == ("python", "-m", "funpipe")
    assert main([*words, "--no-progress"]) == 0
    found = fp.read_molecules("aligned.star")
    np.testing.assert_allclose(found.positions[0], 28.0, atol=0.3)


def test_the_readme_reads_in_five_minutes_and_its_links_lead_somewhere() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 140
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) == 16
    assert [each for each in links if not (README.parent / each).exists()] == []
