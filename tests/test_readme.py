"""The README: every block of code in it runs, and gives what its comments say."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from examples import README, blocks
from scipy.spatial.transform import Rotation

import funpipe as fp
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


def raised(code: str, names: dict[str, Any]) -> str:
    """Run a line; return the text of the error that it ends in."""
    with pytest.raises((TypeError, ValueError, OSError)) as caught:
        exec(code, names)
    error = caught.value
    notes = getattr(error, "__notes__", [])
    return "\n".join([f"{type(error).__name__}: {error}", *notes])


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the files that the README names, in the current folder."""
    monkeypatch.chdir(tmp_path)
    blobs = asymmetric_molecule()
    write_mrc("ribosome.mrc", blob_image(blobs, (56, 56, 56), 0.5), 0.5)
    truth = fp.Molecules([[28.0, 28.0, 28.0], [28.0, 28.0, 60.0]], Rotation.identity(2))
    write_mrc("tomogram.mrc", tomogram(blobs, truth, (56, 56, 88), 1.0, noise=0.3), 1.0)
    fp.Molecules(truth.positions + 1.0).to_csv("picks.csv")


@pytest.mark.filterwarnings("ignore:a Dynamo table cannot hold the features")
@pytest.mark.usefixtures("files")
def test_the_code_of_the_readme_gives_what_it_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = ModuleType("readme")  # from where its own stages can be pickled
    monkeypatch.setitem(sys.modules, "readme", module)
    names: dict[str, Any] = vars(module)
    claims = [claim for block in blocks("python") for claim in run(block, names)]
    assert len(claims) >= 10
    for given, said in claims:
        assert given == said
    np.testing.assert_allclose(names["good"].positions[0], 28.0, atol=0.3)
    for block in blocks("pycon"):
        for code, said in re.findall(r">>> (.*)\n((?:(?!>>>).*\n)+)", block):
            given, said = raised(code, names), said.strip()
            assert given == said or (
                said.endswith("...") and given.startswith(said[:-3])
            )
