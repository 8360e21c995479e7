from __future__ import annotations

import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from real_files import DATA, needs_data

import funpipe as fp
from funpipe import Molecules
from funpipe.faces.command_line import main
from funpipe.faces.demo import pose_errors
from funpipe.faces.plots import central_slices
from funpipe.space.geometry import radius
from funpipe.space.shells import fourier_shell_correlation, resolution_at

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
    assert shift_left < shift / 8
    assert angle_left < angle / 4


def test_the_resolution_printed_is_that_of_the_averages(demo):
    folder, ran = demo
    printed = re.search(
        r"resolution of the average: ([\d.]+) nm before, ([\d.]+) nm after", ran.stdout
    )
    before, after = map(float, printed.groups())
    aligned = Molecules.from_csv(folder / "aligned.csv")
    halves = (
        fp.average(folder / "tomogram.mrc", each, shape=40, tilt=(-60, 60))
        for each in (aligned[::2], aligned[1::2])
    )
    found = resolution_at(*fourier_shell_correlation(*halves, 0.7), 0.143)
    assert found == pytest.approx(after, abs=0.006)
    # Finer than what took part in the alignment, so that the template cannot make it.
    assert after < 3.0 < before
    assert "No gold standard" in ran.stdout
    assert "finer than 3.0 nm" in ran.stdout
    [with_truth] = re.findall(r"falls\s+below 0.5 at ([\d.]+) nm", ran.stdout)
    assert float(with_truth) == pytest.approx(after, abs=0.3)


def test_the_demos_files_are_what_it_speaks_of(demo):
    folder = demo[0]
    picks = Molecules.from_csv(folder / "picks.csv")
    aligned = Molecules.from_csv(folder / "aligned.csv")
    assert len(picks) == len(aligned) == 49
    moved, turned = pose_errors(picks, aligned)
    shift, angle = errors(demo[1].stdout)["before"]
    assert np.median(moved) == pytest.approx(shift, abs=0.5)
    assert np.median(turned) == pytest.approx(angle, abs=3)
    assert (aligned.features["score"] > 0).all()
    with (
        mrcfile.open(folder / "average.mrc") as average,
        mrcfile.open(folder / "template.mrc") as template,
    ):
        assert average.voxel_size.x == pytest.approx(7)  # Å
        assert template.voxel_size.x == pytest.approx(5)
        assert average.data.shape == (40, 40, 40)
        truth = fp.from_file(folder / "template.mrc")(0.7)
        within = radius((40, 40, 40)) < 20
        # 0.82 at the true poses, which the noise allows; 0.62 at the picks
        assert np.corrcoef(average.data[within], truth[within])[0, 1] > 0.8


def test_the_noise_is_as_strong_as_it_says(demo):
    folder, ran = demo
    with mrcfile.open(folder / "tomogram.mrc") as tomogram:
        noise = tomogram.data[:5].std()  # no particle reaches there
    truth = fp.from_file(folder / "template.mrc")(0.7)
    inside = fp.soft_otsu(2.0, 1.0)(truth, 0.7) > 0.5
    assert "noise 3.4 times" in ran.stdout
    assert noise / truth[inside].std() == pytest.approx(3.4, rel=0.01)


def test_the_structure_is_packaged_small_with_its_source_beside_it():
    data = files("funpipe") / "data"
    assert (data / "30S_4v4r.mrc.gz").stat().st_size < 100_000
    text = (data / "README.md").read_text(encoding="utf-8")
    assert "PDB entry 4V4R" in text
    assert "CC0 1.0" in text


@needs_data
def test_the_structure_is_made_as_the_text_beside_it_says(tmp_path, monkeypatch):
    pytest.importorskip("gemmi")
    data = files("funpipe") / "data"
    [code] = re.findall(
        r"```python\n(.*?)```", (data / "README.md").read_text("utf-8"), re.DOTALL
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "4v4r_30S.pdb").symlink_to(DATA / "structures" / "4v4r_30S.pdb")
    exec(code, {})
    made, kept = (
        fp.from_file(folder / "30S_4v4r.mrc.gz")(0.5) for folder in (tmp_path, data)
    )
    assert made.shape == (56, 56, 56)
    assert made.max() == 100
    # A last bit may round a voxel up here and down there.
    assert abs(made - kept).max() <= 1
    assert (made != kept).mean() < 1e-3


def test_the_picture_of_the_readme_is_the_demos():
    root = Path(__file__).parents[1]
    picture = root / ".github" / "demo.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size < 150_000
    assert "](.github/demo.png)" in (root / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("columns", [False, True])
def test_slices_are_drawn_a_row_or_a_column_each(columns):
    pytest.importorskip("matplotlib")
    images = {"a": np.arange(60.0).reshape(3, 4, 5), "b": np.ones((3, 4, 5))}
    figure = central_slices(images, columns=columns)
    shapes = [each.images[0].get_array().shape for each in figure.axes]
    if columns:
        assert shapes == [(4, 5)] * 2 + [(3, 5)] * 2 + [(3, 4)] * 2
        assert [each.get_title() for each in figure.axes[:2]] == ["a", "b"]
    else:
        assert shapes == [(4, 5), (3, 5), (3, 4)] * 2
        assert [figure.axes[i].get_title() for i in (1, 4)] == ["a", "b"]


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
