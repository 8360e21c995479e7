"""The command line: the real job from a shell, and one line for whatever goes wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from real_files import DATA, needs_data
from scipy.spatial.transform import Rotation
from written_files import TOMOGRAMS_STAR

import funpipe as fp
from funpipe.faces import command_line, command_options
from funpipe.faces.command_line import main
from funpipe.faces.demo import pose_errors
from funpipe.io.tomogram_files import tomogram_files
from funpipe.io.volumes import write_mrc
from funpipe.simulate import asymmetric_molecule, blob_image, perturbed, tomogram

TOMOGRAM = DATA / "tomograms" / "13pf_MT.tif"
MONOMER = DATA / "maps" / "beta-tubulin.mrc"

BLOBS = asymmetric_molecule(3, count=12, radius=4.0)
RELION_5 = """
data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
_rlnTomoTiltSeriesPixelSize #3
1 opticsGroup1 2.5

data_particles

loop_
_rlnTomoName #1
_rlnCenteredCoordinateXAngst #2
_rlnCenteredCoordinateYAngst #3
_rlnCenteredCoordinateZAngst #4
_rlnAngleRot #5
_rlnAngleTilt #6
_rlnAnglePsi #7
_rlnOpticsGroup #8
TS_1 10.0 -20.0 30.0 10.0 20.0 30.0 1
TS_2 15.0 25.0 -35.0 40.0 50.0 60.0 1
"""
TOMOGRAMS_TEXT = f"""{TOMOGRAMS_STAR}\
TS_1 2.5 160 160 96
TS_2 2.5 160 160 96
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, fp.Molecules]:
    """Make a tomogram of 1 nm per voxel, a template of 0.5, and picks."""
    folder = tmp_path_factory.mktemp("made")
    places = [(20, y, x) for y in (20, 43) for x in (20, 43)]
    truth = fp.Molecules(np.array(places, float), Rotation.random(4, rng=1))
    volume = tomogram(BLOBS, truth, (40, 64, 64), 1.0, noise=0.2)
    write_mrc(folder / "tomogram.mrc", volume, 1.0)
    write_mrc(folder / "template.mrc", blob_image(BLOBS, (40,) * 3, 0.5), 0.5)
    with mrcfile.new(folder / "none.mrc") as file:  # without a voxel size
        file.set_data(volume)
    perturbed(truth, shift=1.0, angle=8.0).to_csv(folder / "picks.csv")
    return folder, truth


@pytest.fixture
def here(made, tmp_path, monkeypatch) -> Path:
    """Be in an empty folder, with what was made in ``made``."""
    (tmp_path / "made").symlink_to(made[0])
    monkeypatch.chdir(tmp_path)
    return tmp_path


ALIGN = (
    *("align", "made/picks.csv", "--template", "made/template.mrc"),
    *("--mask", "soft_otsu(sigma=1.0, radius=1.0)", "--max-shift", "2"),
    *("--rotations", "8", "4", "--tilt", "-60", "60", "--no-progress"),
)
IN_ONE = (*ALIGN, "--tomogram", "made/tomogram.mrc")


def run(*arguments: object) -> int:
    return main([str(each) for each in arguments])


def refused(capsys, *arguments: object) -> str:
    """Return the one line that is said of arguments that cannot be done."""
    before = sorted(Path().rglob("*"))
    assert run(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("python -m funpipe")
    assert sorted(Path().rglob("*")) == before
    return printed.err


def shell(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "funpipe", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=280, check=False
    )


# align


def test_align_finds_the_poses(here, made, capsys):
    assert run(*IN_ONE, "--out", "aligned.csv") == 0
    printed = capsys.readouterr()
    assert "4 particles aligned" in printed.out
    assert printed.err == ""
    picks, aligned = map(fp.read_molecules, ("made/picks.csv", "aligned.csv"))
    shift, angle = pose_errors(aligned, made[1])
    assert np.median(shift) < 0.25 < np.median(pose_errors(picks, made[1])[0])
    assert np.median(angle) < 3
    assert {"score", "shift_error"} < set(aligned.features)


def test_align_is_the_librarys_align(here):
    template = "highpass_filter(8) @ from_file('made/template.mrc')"
    assert run(*IN_ONE, "--template", template, "--out", "aligned.csv") == 0
    wanted = fp.align(
        "made/tomogram.mrc",
        fp.read_molecules("made/picks.csv"),
        template=[
            fp.from_file("made/template.mrc"),
            fp.highpass_filter(8) @ fp.from_file("made/template.mrc"),
        ],
        mask=fp.soft_otsu(1.0, 1.0),
        max_shifts=2,
        rotations=(8, 4),
        tilt=(-60, 60),
        progress=False,
    )
    assert fp.read_molecules("aligned.csv") == wanted


@pytest.mark.parametrize(
    ("options", "argument", "value"),
    [
        (["--max-shift", "3"], "max_shifts", 3.0),
        (["--prior", "0.5", "4"], "prior", [0.5, 4.0]),
        (["--max-shift", "1", "2", "3"], "max_shifts", [1.0, 2.0, 3.0]),
        (["--rotations", "all"], "rotations", "all"),
        (["--rotations", "none"], "rotations", None),
        (["--rotations", "12", "6"], "rotations", (12.0, 6.0)),
        (
            ["--rotations", *["12", "6", "8", "4", "0", "0"]],
            "rotations",
            ((12.0, 6.0), (8.0, 4.0), (0.0, 0.0)),
        ),
        (["--tilt", "-50", "40"], "tilt", fp.single_axis((-50, 40))),
        (
            ["--tilt", "-50", "40", "--tilt-axis", "x"],
            "tilt",
            fp.single_axis((-50, 40), "x"),
        ),
        (["--resolution", "3"], "resolution", 3.0),
        (["--symmetry", "D2"], "symmetry", "D2"),
        (["--scale", "1.1"], "scale", 1.1),
        (["--whiten"], "whiten", True),
        (["--mask", "made/template.mrc"], "mask", fp.from_file("made/template.mrc")),
        ([], "template", fp.from_file("made/template.mrc")),
        (["--mask", "identity / 2"], "mask", fp.identity / 2),
        ([], "progress", False),
    ],
    ids=str,
)
def test_each_option_is_an_argument_of_align(
    options, argument, value, here, monkeypatch
):
    given = {}

    def stub(tomogram, molecules, **arguments):
        given.update(arguments)
        nothing = np.zeros(len(molecules))
        return molecules.with_features(score=nothing, shift=nothing, angle=nothing)

    monkeypatch.setattr(command_line, "align", stub)
    assert run(*IN_ONE, *options, "--out", "aligned.csv") == 0
    assert given[argument] == value


def test_a_star_file_is_aligned_to_one_like_it(here, made):
    pytest.importorskip("starfile")
    picks = fp.read_molecules("made/picks.csv").with_features(mark=[4, 3, 2, 1])
    fp.write_molecules(picks, "picks.star", scale=0.5)
    assert run("align", "picks.star", *IN_ONE[2:], "--out", "aligned.star") == 0
    aligned = fp.read_molecules("aligned.star")
    assert np.median(pose_errors(aligned, made[1])[0]) < 0.25
    assert aligned.features["mark"].tolist() == [4, 3, 2, 1]
    assert set(aligned.features["rlnTomoTiltSeriesPixelSize"]) == {5.0}


def test_a_list_in_nm_gets_the_tomograms_voxels_in_a_star_file(here):
    pytest.importorskip("starfile")
    assert run(*IN_ONE, "--out", "aligned.csv") == 0
    assert run(*IN_ONE, "--out", "aligned.star") == 0
    as_csv, as_star = map(fp.read_molecules, ("aligned.csv", "aligned.star"))
    assert as_star.positions == pytest.approx(as_csv.positions, abs=1e-5)
    assert set(as_star.features["rlnTomoTiltSeriesPixelSize"]) == {10.0}


@needs_data
def test_real_files_from_a_shell(tmp_path):
    """Subunits of the real microtubule to the real map of tubulin, as people would."""
    pytest.importorskip("tifffile")
    pytest.importorskip("starfile")
    # Along the centreline that the data's source gives, z y x in nm, 11 nm off it.
    y = np.arange(60.0, 160.0, 8.2)
    x = np.interp(y, [35.2, 107.8, 190.0], [79.90, 51.48, 28.99])
    places = np.stack([np.full(len(y), 18.97 - 11.0), y, x], axis=1)
    picks = tmp_path / "picks.star"
    fp.write_molecules(fp.Molecules(places), picks, scale=1.052)
    ran = shell(
        *("align", picks, "--tomogram", TOMOGRAM),
        *("--template", f"gaussian_filter(0.6) @ from_file({str(MONOMER)!r})"),
        *("--mask", "soft_otsu(sigma=0.5, radius=1.0)"),
        *("--max-shift", 1.5, "--rotations", 12, 6, "--tilt", -60, 60),
        *("--resolution", 2.5, "--out", tmp_path / "aligned.star"),
    )
    assert ran.returncode == 0, ran.stderr
    assert "13 particles aligned" in ran.stdout
    aligned = fp.read_molecules(tmp_path / "aligned.star")
    assert len(aligned) == 13
    assert (aligned.features["shift"] <= 1.5 * 3**0.5 + 0.6).all()
    assert np.median(aligned.features["score"]) > 0.2
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "aligned.star",
        "picks.star",
    ]


# Many tomograms


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for each in names:
        (folder / each).touch()
    return folder


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (["TS_1", "TS_2"], ["TS_1.mrc", "TS_2.mrc"]),
        (["TS_1", "TS_10"], ["TS_1.mrc.gz", "TS_10.rec"]),
        (["TS_1", "TS_10"], ["rec_TS_1.mrc", "rec_TS_10.mrc"]),
        (["a/b/TS_1.tomostar.mrc", "TS_1"], ["TS_1.tomostar.mrc", "TS_1.mrc"]),
        (["TS.1"], ["TS.1_10.73Apx.mrc"]),
        (["TS_1"], ["TS_1.mrc", "TS_1_half1.mrc"]),
    ],
    ids=str,
)
def test_names_find_their_files(names, files, tmp_path):
    folder = touch(tmp_path / "rec", *files, "notes.txt", ".TS_1.mrc", "TS_1.star")
    found = tomogram_files(folder, names)
    assert {name: path.name for name, path in found.items()} == dict(
        zip(names, files[: len(names)], strict=True)
    )


@pytest.mark.parametrize(
    ("names", "files", "said"),
    [
        (["TS_1"], [], "holds no volume"),
        (["TS_1"], ["TS_10.mrc"], "'TS_1' has no file"),
        (["TS_1"], ["a_TS_1.mrc", "b_TS_1.mrc"], "2 files .*a_TS_1.mrc, b_TS_1.mrc"),
        (["TS_1"], ["TS_1.mrc", "TS_1.rec"], "could be 2 files"),
        (["TS_1", "TS"], ["TS_1.mrc"], "both TS_1.mrc"),
        ([], ["a.mrc", "b.mrc"], "no feature 'tomogram'"),
    ],
    ids=str,
)
def test_names_without_one_file_are_refused(names, files, said, tmp_path):
    folder = touch(tmp_path / "rec", *files)
    with pytest.raises(ValueError, match=said):
        tomogram_files(folder, names)


def test_one_tomogram_of_a_folder_goes_by_its_path(here, made):
    folder = here / "rec"
    folder.mkdir()
    (folder / "TS_1_bin4.mrc").symlink_to(here / "made/tomogram.mrc")
    picks = fp.read_molecules("made/picks.csv")
    picks.with_features(tomogram=["TS_1"] * 4).to_csv("picks.csv")
    options = (*ALIGN[2:], "--tomograms", "rec", "--out", "aligned.csv")
    assert run("align", "picks.csv", *options) == 0
    aligned = fp.read_molecules("aligned.csv")
    assert np.median(pose_errors(aligned, made[1])[0]) < 0.25
    assert aligned.features["tomogram"].tolist() == ["TS_1"] * 4


def test_several_tomograms_go_by_name(here, monkeypatch):
    given = []

    def stub(tomograms, molecules, **_):
        given.append(tomograms)
        nothing = np.zeros(len(molecules))
        return molecules.with_features(score=nothing, shift=nothing, angle=nothing)

    monkeypatch.setattr(command_line, "align", stub)
    folder = touch(here / "rec", "TS_1.mrc", "TS_2.mrc", "TS_3.mrc")
    picks = fp.read_molecules("made/picks.csv")
    picks.with_features(tomogram=["TS_2", "TS_1"] * 2).to_csv("picks.csv")
    options = (*ALIGN[2:], "--tomograms", "rec", "--out", "aligned.csv")
    assert run("align", "picks.csv", *options) == 0
    assert given == [
        {"TS_1": Path("rec/TS_1.mrc"), "TS_2": Path("rec/TS_2.mrc")},
    ]
    assert folder.is_dir()


def test_particles_of_several_tomograms_are_aligned_in_one_go(here):
    folder = here / "rec"
    folder.mkdir()
    for name in ("TS_1", "TS_2"):
        (folder / f"{name}.mrc").symlink_to(here / "made/tomogram.mrc")
    picks = fp.read_molecules("made/picks.csv")
    picks.with_features(tomogram=["TS_2", "TS_1"] * 2).to_csv("picks.csv")
    options = (*ALIGN[2:], "--tomograms", "rec", "--out", "several.csv")
    assert run("align", "picks.csv", *options) == 0
    assert run(*IN_ONE, "--out", "one.csv") == 0
    several, one = fp.read_molecules("several.csv"), fp.read_molecules("one.csv")
    np.testing.assert_allclose(several.positions, one.positions, atol=1e-3)
    assert several.features["tomogram"].tolist() == ["TS_2", "TS_1"] * 2


# convert


def test_lists_are_converted_and_back(here):
    pytest.importorskip("starfile")
    pytest.importorskip("dynamotable")
    picks = fp.read_molecules("made/picks.csv")
    assert run("convert", "made/picks.csv", "a.star", "--out-scale", 0.5) == 0
    assert run("convert", "a.star", "b.tbl") == 0
    assert run("convert", "b.tbl", "c.csv", "--scale", 0.5) == 0
    last = fp.read_molecules("c.csv")
    shift, angle = pose_errors(last, picks)
    assert shift.max() < 1e-4
    assert angle.max() < 1e-3


def test_centred_coordinates_need_the_tomograms_file(here, capsys):
    pytest.importorskip("starfile")
    Path("run_data.star").write_text(RELION_5)
    Path("tomograms.star").write_text(TOMOGRAMS_TEXT)
    assert "pass --tomograms-star" in refused(
        capsys, "convert", "run_data.star", "a.csv"
    )
    with_sizes = ("--tomograms-star", "tomograms.star")
    assert run("convert", "run_data.star", "a.csv", *with_sizes) == 0
    molecules = fp.read_molecules("a.csv")
    # size / 2 times the pixel size, z y x, and the coordinates over 10
    assert molecules.positions == pytest.approx(
        np.array([[12 + 3, 20 - 2, 20 + 1], [12 - 3.5, 20 + 2.5, 20 + 1.5]])
    )
    assert (
        run("convert", "a.csv", "b.star", "--like", "run_data.star", *with_sizes) == 0
    )
    again = fp.read_molecules("b.star", tomograms="tomograms.star")
    assert pose_errors(again, molecules)[1].max() < 1e-3
    assert again.positions == pytest.approx(molecules.positions, abs=1e-4)


def test_the_formats_can_be_told(here):
    pytest.importorskip("starfile")
    Path("picks.txt").write_bytes(Path("made/picks.csv").read_bytes())
    told = ("--format", "csv", "--out-format", "stopgap", "--out-scale", 1)
    assert run("convert", "picks.txt", "a.star", *told) == 0
    assert "_orig_x" in Path("a.star").read_text()
    assert run("convert", "a.star", "b.star", "--scale", 1) == 0
    assert "_orig_x" in Path("b.star").read_text()


def test_first_voxels_of_the_lists_read_and_written_are_options(here):
    pytest.importorskip("dynamotable")
    assert run("convert", "made/picks.csv", "a.tbl", "--out-scale", 1) == 0
    assert run("convert", "a.tbl", "b.tbl", "--first", 0, "--out-first", 1) == 0
    picks, a, b = map(fp.read_molecules, ("made/picks.csv", "a.tbl", "b.tbl"))
    assert a.positions == pytest.approx(picks.positions, abs=1e-5)
    # 0.5 too far when it is read, and 0.5 too far again when it is written
    assert b.positions == pytest.approx(picks.positions + 1, abs=1e-5)


def test_a_list_whose_format_is_told_is_a_model_still(here):
    pytest.importorskip("starfile")
    Path("list.star").write_text(RELION_5)
    options = ("--format", "relion", "--tomograms-star", "centred")
    assert run("convert", "list.star", "a.star", *options) == 0
    assert "data_optics" in Path("a.star").read_text()


def test_a_box_and_a_model_are_options_of_align_too(here):
    pytest.importorskip("dynamotable")
    assert run("convert", "made/picks.csv", "a.tbl", "--out-scale", 1) == 0
    command = ("align", "a.tbl", *IN_ONE[2:], "--out")
    assert run(*command, "plain.csv") == 0
    assert run(*command, "boxed.tbl", "--box", 16, 1, "--max-shift", 3) == 0
    plain = fp.read_molecules("plain.csv")
    boxed = fp.read_molecules("boxed.tbl", box=(16, 1.0))
    assert pose_errors(boxed, plain)[0].max() < 0.3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--out", "a.txt", "--out-format", "dynamo"), "a.txt: a Dynamo table's name"),
        (("--out", "a.star"), "cannot have a column of the name 'my score'"),
        (("--out", "a.mod"), "object: an IMOD model counts in whole numbers"),
        (("--out", "own.tbl"), "./own.doc is a table map that names other tomograms"),
        (("--out", "own_MOTL.csv"), "object: an IMOD model counts in whole numbers"),
    ],
)
def test_what_could_not_be_written_is_said_before_the_work(
    here, capsys, monkeypatch, options, said
):
    for library in ("starfile", "dynamotable", "imodmodel"):
        pytest.importorskip(library)
    picks = fp.read_molecules("made/picks.csv")
    added = {"my score": np.ones(4), "object": ["a", "b", "c", "d"]}
    picks.with_features(**added).to_csv("odd.csv")
    Path("own.doc").write_text("1 TS_1\n2 TS_2\n")
    monkeypatch.setattr(command_line, "align", lambda *_, **__: pytest.fail("work"))
    assert said in refused(capsys, "align", "odd.csv", *IN_ONE[2:], *options)


def test_errors_that_were_not_estimated_go_out_as_null(here):
    options = [each for each in IN_ONE if each not in ("--rotations", "8", "4")]
    assert run(*options, "--out", "a.ndjson") == 0
    assert '"angle_error": null' in Path("a.ndjson").read_text()


def test_nobody_needs_to_read_all_that_is_said(here):
    listing = f"{sys.executable} -m funpipe inspect made/picks.csv"
    ran = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{listing} | head -n 1 && sleep 0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stderr == ""
    closed = subprocess.run(
        ["bash", "-c", f"{listing} | true; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (closed.returncode, closed.stderr) == (0, "")


# inspect


def inspected(capsys, path: object, *options: object) -> str:
    assert run("inspect", path, *options) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    return printed.out


def test_inspect_says_what_a_volume_is(here, capsys):
    text = inspected(capsys, "made/tomogram.mrc")
    for each in ("40 x 64 x 64 voxels (z, y, x), float32", "1 nm per voxel", "mean"):
        assert each in text
    assert "nothing odd" in text
    volume = np.random.default_rng(0).random((5, 6, 7)).astype(np.float32)
    write_mrc("volume.mrc", volume, 2.0)
    said = inspected(capsys, "volume.mrc")
    assert f"mean {volume.mean():.4g}, standard deviation {volume.std():.4g}" in said


def test_inspect_says_what_is_odd_about_a_volume(here, capsys):
    write_mrc("flat.mrc", np.ones((4, 4, 4), np.float32), 100.0)
    said = inspected(capsys, "flat.mrc")
    assert "all voxels are the same" in said
    assert "100 nm per voxel is not one of cryo-ET" in said
    assert "gives no voxel size" in inspected(capsys, "made/none.mrc")
    assert "0.5 nm per voxel" in inspected(capsys, "made/none.mrc", "--scale", 0.5)
    with mrcfile.new("holey.mrc") as file, np.errstate(all="ignore"):
        file.set_data(np.zeros((4, 4, 4), np.float32))
        file.data[0, 0, :3] = np.nan
    assert "3 voxels are NaN or infinite" in inspected(capsys, "holey.mrc")


def test_inspect_says_what_a_list_is_and_what_is_odd(here, capsys):
    places = np.array([[1.0, 2, 3], [1, 2, 3.01], [-9, 5, 5]])
    marks = {"tomogram": ["a", "a", "b"], "mark": [1.5, np.nan, 2.5]}
    fp.Molecules(places, features=marks).to_csv("list.csv")
    said = inspected(capsys, "list.csv")
    for each in (
        "a particle list (csv)",
        "particles    3",
        "2: a (2), b (1)",
        "z -9 to 1, y 2 to 5, x 3 to 5 nm",
        "all the identity",
        "1 particle within 0.1 nm of another",
        "1 particle before the tomogram's first voxel",
        "column mark has 1 values NaN",
    ):
        assert each in said


def test_inspect_reads_relions_files_without_their_tomograms(here, capsys):
    pytest.importorskip("starfile")
    Path("run_data.star").write_text(RELION_5)
    Path("tomograms.star").write_text(TOMOGRAMS_TEXT)
    said = inspected(capsys, "run_data.star")
    assert "a particle list (relion)" in said
    assert "counted from the tomogram's centre" in said
    assert "96 x 160 x 160 voxels (z, y, x), 0.25 nm" in inspected(
        capsys, "tomograms.star"
    )


REAL = {
    "particles/R5_tutorial_run_data.star": "9053",
    "particles/R5_tutorial_run_tomograms.star": "2000 x 4000 x 4000",
    "particles/ps2.star": "3111",
    "particles/run_it050_data.star": "5",
    "particles/t_double.tbl": "300",
    "maps/EMD-3001.map": "anisotropic",
    "tomograms/13pf_MT.tif": "36 x 206 x 94",
    "structures/1crn.pdb": "327",
}


@needs_data
@pytest.mark.parametrize("name", REAL)
def test_inspect_reads_real_files(name, capsys):
    for module in ("starfile", "dynamotable", "tifffile", "gemmi"):
        pytest.importorskip(module)
    assert REAL[name] in inspected(capsys, DATA / name)


# What goes wrong.


@pytest.mark.parametrize("command", ["align", "search", "convert", "inspect", "demo"])
def test_the_help_of_each_command_tells_all_its_options(command, capsys):
    assert run(command, "--help") == 0
    text = capsys.readouterr().out
    parser = command_options.parser()
    options = parser._subparsers._group_actions[0].choices[command]._actions
    assert len(options) >= 2
    for each in options:
        assert each.help
        assert all(name in text for name in each.option_strings)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([*IN_ONE], "required: --out"),
        ([*ALIGN, "--out", "a.csv"], "--tomogram --tomograms is required"),
        ([*IN_ONE, "--tomograms", ".", "--out", "a.csv"], "not allowed with"),
        ([*IN_ONE, "--out", "a.csv", "--foo"], "--foo"),
        ([*IN_ONE, "--out", "a.csv", "--scale", "x"], "--scale"),
        ([*IN_ONE, "--out", "a.csv", "--scale", "0"], "scale must be"),
        ([*IN_ONE, "--out", "a.csv", "--max-shift", "1", "2"], "--max-shift must"),
        ([*IN_ONE, "--out", "a.csv", "--rotations", "1"], "--rotations must be"),
        ([*IN_ONE, "--out", "a.csv", "--rotations", "x", "y"], "--rotations must be"),
        ([*IN_ONE, "--out", "a.csv", "--tilt", "60", "-60"], "--tilt must"),
        ([*IN_ONE, "--out", "a.csv", "--symmetry", "Q"], "symmetry must be"),
        ([*IN_ONE, "--out", "a.csv", "--resolution", "0.1"], "resolution must be"),
        ([*IN_ONE, "--out", "a.csv", "--mask", "soft_otsu(sgima=1)"], "--mask: "),
        ([*IN_ONE, "--out", "a.csv", "--mask", "open('x')"], "unknown name"),
        ([*IN_ONE, "--out", "a.csv", "--mask", "no.mrc"], "no file 'no.mrc'"),
        ([*IN_ONE, "--out", "a.csv", "--mask", "a/no"], "no file 'a/no'"),
        ([*IN_ONE, "--out", "a.csv", "--mask", "sphere(0.1)"], "mask"),
        ([*IN_ONE, "--out", "a.csv", "--template", "sphere(3)"], "template"),
        (
            [*IN_ONE, "--out", "a.csv", "--template", "from_file('no.mrc')"],
            "in the stage from_file('no.mrc')",
        ),
        ([*IN_ONE, "--out", "a.csv", "--template", "from_gaussian(1e6)"], "memory"),
        ([*IN_ONE, "--out", "no/a.csv"], "there is no folder no"),
        ([*IN_ONE, "--out", "made"], "is a folder"),
        ([*IN_ONE, "--out", "a.xyz"], "unknown ending"),
        ([*ALIGN, "--tomogram", "no.mrc", "--out", "a.csv"], "No such file"),
        ([*ALIGN, "--tomogram", "made/none.mrc", "--out", "a.csv"], "pass --scale"),
        ([*ALIGN, "--tomogram", "made", "--out", "a.csv"], "made"),
        ([*ALIGN, "--tomograms", "no", "--out", "a.csv"], "No such file"),
        ([*ALIGN, "--tomograms", "made", "--out", "a.csv"], "no feature 'tomogram'"),
        (["align", "no.csv", *IN_ONE[2:], "--out", "a.csv"], "No such file"),
        (["align", "made", *IN_ONE[2:], "--out", "a.csv"], "made"),
        (["align", "short.csv", *IN_ONE[2:], "--out", "a.csv"], "short.csv"),
        (["align", "two.csv", *IN_ONE[2:], "--out", "a.csv"], "of 2 tomograms, a, b"),
        (["align", "list.ndjson", *IN_ONE[2:], "--out", "a.csv"], "--list-scale"),
        (["convert", "no.csv", "a.csv"], "No such file"),
        (["convert", "made/picks.csv"], "required: OUT"),
        (["convert", "made/picks.csv", "a.mod"], "--out-scale"),
        (["convert", "made/picks.csv", "a.xyz"], "--out-format says"),
        (["convert", "made/picks.csv", "a.csv", "--first", "1"], "--first means"),
        (["convert", "made/picks.csv", "a.csv", "--out-first", "1"], "--out-first me"),
        (["convert", "made/picks.csv", "a.csv", "--first", "2"], "invalid choice"),
        (["convert", "made/picks.csv", "a.csv", "--box", "8", "1"], "--box means"),
        (["convert", "made/picks.csv", "a.csv", "--like", "no.csv"], "No such file"),
        (["convert", "made/picks.csv", "a.csv", "--format", "x"], "invalid choice"),
        (["convert", "short.csv", "a.csv"], "short.csv"),
        (["inspect", "no.mrc"], "No such file"),
        (["inspect", "short.mrc"], "short.mrc"),
        (["inspect", "short.csv"], "short.csv"),
        (["inspect", "x.xyz"], "unknown ending"),
        (["inspect", "made"], "made"),
        (["inspect"], "required: FILE"),
        (["nonsense"], "nonsense"),
    ],
    ids=lambda each: " ".join(each[-3:]) if isinstance(each, list) else "",
)
def test_what_goes_wrong_is_one_line(options, said, here, capsys):
    Path("short.csv").write_text("z,y,x\n1,2\n")
    Path("short.mrc").write_bytes(b"MRC?")
    Path("x.xyz").write_text("?")
    Path("list.ndjson").write_text(
        '{"type": "point", "location": {"x": 1, "y": 2, "z": 3}}'
    )
    places = fp.Molecules(np.full((2, 3), 9.0), features={"tomogram": ["a", "b"]})
    places.to_csv("two.csv")
    assert said in refused(capsys, *options)


def test_an_older_list_stays_where_alignment_fails(here, capsys):
    Path("aligned.csv").write_text("precious")
    said = refused(capsys, *IN_ONE, "--symmetry", "Q", "--out", "aligned.csv")
    assert "symmetry" in said
    assert Path("aligned.csv").read_text() == "precious"


def test_a_missing_extra_is_named(here, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "starfile", None)
    Path("list.star").write_text(RELION_5)
    said = refused(capsys, "convert", "list.star", "a.csv")
    assert "pip install 'funpipe[star]'" in said


def test_what_the_library_warns_of_is_one_line_too(here, capsys):
    places = fp.read_molecules("made/picks.csv")
    near = fp.Molecules(places.positions - [0, 17, 0], places.rotations)
    near.to_csv("near.csv")
    assert run("align", "near.csv", *IN_ONE[2:], "--out", "aligned.csv") == 0
    warned = capsys.readouterr().err
    assert warned.startswith("python -m funpipe align: warning: ")
    assert warned.count("\n") == 1


def test_from_a_shell_an_error_has_status_2_and_no_traceback(tmp_path):
    ran = shell("align", tmp_path / "no.star", "--tomogram", "no.mrc")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.count("\n") == 1
    ran = shell("inspect", tmp_path / "no.star")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.count("\n") == 1
    assert os.fspath(tmp_path) in ran.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", ["-1", "0", "1e30", "1e-30", "nan", "inf", "x"])
@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["inspect", "made/none.mrc", "--scale"], "--scale"),
        (["convert", "made/picks.csv", "a.star", "--scale"], "--scale"),
        (["convert", "made/picks.csv", "a.star", "--out-scale"], "--out-scale"),
        ([*IN_ONE, "--out", "a.csv", "--list-scale"], "--list-scale"),
        ([*IN_ONE, "--out", "a.csv", "--scale"], "--scale"),
    ],
)
def test_a_scale_that_is_none_is_refused_by_its_option(words, option, value, capsys):
    assert main([*words, value]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert re.search(rf"argument {option}: .*must be .*{re.escape(value)}", error)
    assert error.count("\n") == 1


@pytest.mark.parametrize("option", ["--max-shift", "--resolution", "--tilt"])
def test_numbers_that_are_not_finite_are_refused_by_their_option(option, capsys):
    values = ["nan", "nan"] if option == "--tilt" else ["inf"]
    assert main([*IN_ONE, "--out", "a.csv", option, *values]) == 2
    assert f"argument {option}: must be a finite number" in capsys.readouterr().err


def test_what_memory_does_not_hold_is_said_to_be_that():
    assert command_line._one_line(MemoryError("4 GB")) == "out of memory: 4 GB"


def test_terminal_escapes_in_what_is_given_are_not_printed(capsys):
    for words in (["convert", "a\x1b[31m.star", "b.csv"], ["inspect", "--\x1b[2J"]):
        assert main(words) == 2
        assert "\x1b" not in capsys.readouterr().err


def test_a_checkpoint_is_kept_and_found_again(here):
    first, second = Path("first.csv"), Path("second.csv")
    assert run(*IN_ONE, "--checkpoint", "kept", "--out", first) == 0
    files = {each: each.stat().st_mtime_ns for each in Path("kept").rglob("*.npz")}
    assert files
    assert run(*IN_ONE, "--checkpoint", "kept", "--out", second) == 0
    assert first.read_bytes() == second.read_bytes()
    assert files == {e: e.stat().st_mtime_ns for e in Path("kept").rglob("*.npz")}


def test_a_checkpoint_that_is_a_file_is_refused(here, capsys):
    Path("kept").touch()
    said = refused(capsys, *IN_ONE, "--checkpoint", "kept", "--out", "first.csv")
    assert "checkpoint must be a folder to write to, not kept" in said
