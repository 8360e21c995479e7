from __future__ import annotations

import re
import subprocess
import sys

import mrcfile
import numpy as np
import pytest

from funpipe import Molecules
from funpipe.command_line import main
from funpipe.demo import pose_errors
from funpipe.geometry import radius

FILES = [
    *("aligned.csv", "average.mrc", "picks.csv"),
    *("slices.png", "template.mrc", "tomogram.mrc"),
]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "funpipe", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=280, check=False
    )


def errors(printed: str) -> dict[str, tuple[float, float]]:
    """Return the median errors in nm and degrees, before and after."""
    pattern = r"(before|after): median error ([\d.]+) nm, ([\d.]+) degrees"
    found = re.findall(pattern, printed)
    return {when: (float(shift), float(angle)) for when, shift, angle in found}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("demo") / "made" / "by it"
    return folder, run("demo", "--out", folder)


def test_the_demo_runs_and_writes_its_files(demo):
    folder, ran = demo
    assert ran.returncode == 0, ran.stderr
    assert sorted(each.name for each in folder.iterdir()) == FILES
    assert (folder / "slices.png").read_bytes().startswith(b"\x89PNG")
    for name in FILES:
        assert name in ran.stdout


def test_the_demo_prints_smaller_errors_after_than_before(demo):
    shift, angle = errors(demo[1].stdout)["before"]
    shift_left, angle_left = errors(demo[1].stdout)["after"]
    assert shift_left < shift / 4
    assert angle_left < angle / 1.5


def test_the_demos_files_are_what_it_speaks_of(demo):
    folder = demo[0]
    picks = Molecules.from_csv(folder / "picks.csv")
    aligned = Molecules.from_csv(folder / "aligned.csv")
    assert len(picks) == len(aligned) >= 24
    moved, turned = pose_errors(picks, aligned)
    shift, angle = errors(demo[1].stdout)["before"]
    assert np.median(moved) == pytest.approx(shift, abs=0.5)
    assert np.median(turned) == pytest.approx(angle, abs=3)
    assert (aligned.features["score"] > 0).all()
    with (
        mrcfile.open(folder / "average.mrc") as average,
        mrcfile.open(folder / "template.mrc") as template,
    ):
        assert average.voxel_size.x == pytest.approx(10)  # Å
        assert template.voxel_size.x == pytest.approx(5)
        assert average.data.shape == (28, 28, 28)
        binned = template.data.reshape(28, 2, 28, 2, 28, 2).mean(axis=(1, 3, 5))
        within = radius((28, 28, 28)) < 9
        # 0.87 at the true poses, which noise and neighbours allow; 0.60 at the picks
        assert np.corrcoef(average.data[within], binned[within])[0, 1] > 0.8


def test_without_matplotlib_the_demo_says_so_before_any_work(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["demo", "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr() == (
        "",
        "python -m funpipe demo: matplotlib is needed to draw the demo's picture: "
        "pip install 'funpipe[plot]'\n",
    )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    (tmp_path / "out").write_text("a file")
    assert main(["demo", "--out", str(tmp_path / "out")]) == 2
    assert str(tmp_path / "out") in capsys.readouterr().err


def test_without_a_command_the_usage_is_shown():
    ran = run()
    assert ran.returncode == 2
    assert "usage: python -m funpipe" in ran.stderr
