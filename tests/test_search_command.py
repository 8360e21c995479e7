"""The command ``search``: tomograms go in by their files, picks come out as a list."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from test_command_line import refused, run

import funpipe as fp
from funpipe.faces import command_search
from funpipe.faces.demo import pose_errors
from funpipe.io.tomogram_files import alike
from funpipe.jobs.picking import search
from funpipe.jobs.recording import read_record
from funpipe.simulate import asymmetric_molecule, blob_image, tomogram

pytest.importorskip("starfile")

BLOBS = asymmetric_molecule(3, count=12, radius=4.0)
TRUTH = {
    name: fp.Molecules(
        np.array([[14.0, 14, 14], [14, 14, 33], [14, 33, 33]])[: 3 - i],
        Rotation.random(3 - i, rng=i),
    )
    for i, name in enumerate(["TS_01", "TS_02"])
}
ANGLES = [-60.0, -30.0, 0.0, 30.0, 60.0]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Make two tomograms of 1 nm per voxel, a template of 0.5, and what goes along."""
    folder = tmp_path_factory.mktemp("made")
    for name, truth in TRUTH.items():
        volume = tomogram(BLOBS, truth, (28, 48, 48), 1.0, noise=0.2)
        fp.write_volume(folder / f"{name}.mrc", volume, scale=1.0)
        (folder / f"{name}.tlt").write_text("\n".join(map(str, ANGLES)))
    fp.write_volume(
        folder / "template.mrc", blob_image(BLOBS, (40,) * 3, 0.5), scale=0.5
    )
    labels = np.zeros((28, 48, 48), np.float32)
    labels[:, 24:] = 2
    fp.write_volume(folder / "labels.mrc", labels, scale=1.0)
    (folder / "regions").mkdir()
    for name in TRUTH:
        path = folder / "regions" / f"{name}_cell.mrc"
        fp.write_volume(path, (labels == 0).astype(np.float32), scale=1.0)
    tilts = "_rlnTomoYTilt\n" + "\n".join(map(str, ANGLES))
    titles = ["rlnTomoName", "rlnTomoSizeX", "rlnTomoSizeY", "rlnTomoSizeZ"]
    titles += [
        "rlnTomoTiltSeriesPixelSize",
        "rlnTomoHand",
        "rlnTomoReconstructedTomogram",
    ]
    rows = [f"{each}.tomostar 48 48 28 10.0 1 {each}.mrc" for each in TRUTH]
    lines = ["data_global", "loop_", *(f"_{each}" for each in titles), *rows]
    lines += [f"data_{each}.tomostar\nloop_\n{tilts}\n" for each in TRUTH]
    (folder / "tomograms.star").write_text("\n".join(lines))
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch) -> Path:
    """Be in an empty folder, with what was made in ``made``."""
    (tmp_path / "made").symlink_to(made)
    monkeypatch.chdir(tmp_path)
    return tmp_path


WHAT = (
    *("--template", "made/template.mrc", "--mask", "soft_otsu(1.0, 1.0)"),
    *("--spacing", "40", "--resolution", "4", "--no-progress"),
)
TILT = ("--tilt", "-60", "60")
ONE = ("search", "made/TS_01.mrc")
TWO = (*ONE, "made/TS_02.mrc")
MANY = ("--threshold", "0.5")


def test_search_finds_the_particles_of_several_tomograms(here, capsys):
    fine = ("--spacing", "25", "--resolution", "3", "--out", "picks.star")
    assert run(*TWO, *WHAT, *TILT, *MANY, *fine) == 0
    printed = capsys.readouterr()
    assert "5 particles found in 2 tomograms" in printed.out
    assert printed.err == ""
    picks = fp.read_molecules("picks.star")
    assert (np.diff(picks.features["score"]) <= 0).all()
    assert set(picks.features["rlnTomoTiltSeriesPixelSize"]) == {10.0}
    for name, truth in TRUTH.items():
        some = picks[picks.features["tomogram"] == name]
        nearest = [
            np.linalg.norm(truth.positions - each, axis=1).argmin()
            for each in some.positions
        ]
        assert sorted(nearest) == list(range(len(truth)))
        shift, angle = pose_errors(some, truth[nearest])
        assert shift.max() < 1.5
        assert np.median(angle) < 15


def test_search_is_the_librarys_search_with_pipelines_as_texts(here):
    template = "highpass_filter(12) @ from_file('made/template.mrc')"
    options = (*WHAT[2:], "--template", template, *TILT, "--count", 2)
    assert run(*ONE, *options, "--out", "picks.csv") == 0
    wanted = search(
        {"TS_01": "made/TS_01.mrc"},
        template=fp.highpass_filter(12) @ fp.from_file("made/template.mrc"),
        mask=fp.soft_otsu(1.0, 1.0),
        tilt=(-60, 60),
        spacing=40,
        resolution=4,
        count=2,
        progress=False,
    )
    assert fp.read_molecules("picks.csv") == wanted


def test_a_list_of_one_tomogram_says_which_too(here):
    options = (*WHAT, *TILT, "--threshold", 0.5, "--out", "picks.star")
    assert run(*ONE, *options) == 0
    picks = fp.read_molecules("picks.star")
    assert picks.features["tomogram"].tolist() == ["TS_01"] * 3


def test_a_region_is_where_picks_are(here):
    options = (*WHAT, *TILT, "--threshold", 0.5, "--out", "picks.csv")
    assert run(*ONE, *options, "--region", "made/labels.mrc", 2) == 0
    (pick,) = fp.read_molecules("picks.csv").positions
    assert np.abs(pick - [14, 33, 33]).max() < 1.5
    assert run(*TWO, *options, "--region", "made/regions") == 0
    assert (fp.read_molecules("picks.csv").positions[:, 1] < 24).all()


def test_where_nothing_is_found_nothing_is_written(here, capsys):
    options = (*WHAT, *TILT, "--threshold", 0.99, "--out", "picks.star")
    assert run(*ONE, *options) == 0
    printed = capsys.readouterr()
    assert printed.out == "0 particles found; picks.star is not written\n"
    assert "warning: search found nothing" in printed.err
    assert printed.err.count("\n") == 1
    assert not Path("picks.star").exists()


def test_a_record_and_maps_are_written_beside_the_picks(here):
    more = ("--record", "searched.json", "--maps", "maps", "--out", "picks.csv")
    assert run(*ONE, *WHAT, *TILT, "--false-discovery-rate", 0.8, *more) == 0
    record = read_record("searched.json")
    assert record.tomograms == ("TS_01",)
    assert record.false_discovery_rate == 0.8
    assert record.resolution == 4.0
    assert len(record.scores) >= len(record.picked)
    assert record.null is not None
    assert list(Path("maps").rglob("*.mrc"))


def test_it_says_how_many_peaks_noise_has(here, capsys):
    more = ("--false-alarms", 5, "--record", "searched.json", "--out", "picks.csv")
    assert run(*ONE, *WHAT, *TILT, *more) == 0
    alarms = fp.read_molecules("picks.csv").features["false_alarms"]
    assert 0 <= alarms.max() <= 5
    said = f"; noise has {alarms.max():.2g} in each that score as much; written to"
    assert said in capsys.readouterr().out
    record = read_record("searched.json")
    assert record.false_alarms == 5
    assert record.false is None and record.null is not None


# What becomes of options.


@pytest.fixture
def given(monkeypatch) -> dict[str, object]:
    """Give what search is called with, which finds a particle at once."""
    arguments: dict[str, object] = {}

    def stub(tomogram, **others):
        arguments.update(others, tomogram=tomogram)
        features = {"score": [0.5], "tomogram": list(tomogram)[:1]}
        return fp.Molecules([[14.0, 14.0, 14.0]], features=features)

    monkeypatch.setattr(command_search, "search", stub)
    return arguments


@pytest.mark.parametrize(
    ("options", "argument", "value"),
    [
        ([], "rotations", "all"),
        (["--rotations", "12", "6"], "rotations", (12.0, 6.0)),
        (["--spacing", "9"], "spacing", 9.0),
        (["--resolution", "3"], "resolution", 3.0),
        (["--symmetry", "D2"], "symmetry", "D2"),
        (["--distance", "12.5"], "distance", 12.5),
        (["--distance", "mask"], "distance", "mask"),
        (["--count", "30"], "count", 30),
        (["--threshold", "0.4"], "threshold", 0.4),
        (["--false-discovery-rate", "0.1"], "false_discovery_rate", 0.1),
        (["--false-alarms", "2.5"], "false_alarms", 2.5),
        (["--region", "made/labels.mrc"], "region", "made/labels.mrc"),
        (["--region", "made/labels.mrc", "2"], "region", ("made/labels.mrc", 2)),
        (["--region", "cell.mod", "2", "3"], "region", ("cell.mod", [2, 3])),
        (["--region", "5", "20.5"], "region", (5.0, 20.5)),
        (["--region", "-5", "20"], "region", (-5.0, 20.0)),
        (
            ["--region", "made/regions", "1"],
            "region",
            {"TS_01": ("made/regions/TS_01_cell.mrc", 1)},
        ),
        (["--background", "mirrored"], "background", "mirrored"),
        (
            ["--background", "random", "divided"],
            "background",
            ["random", "divided"],
        ),
        (["--tophat", "12"], "tophat", 12.0),
        (["--whiten"], "whiten", True),
        (["--exact"], "exact", True),
        (["--scale", "1.1"], "scale", 1.1),
        (["--tilt", "-50", "40", "--tilt-axis", "x"], "tilt", (-50, 40)),
        (["--tilts", "made/TS_01.tlt"], "tilt", fp.tilt_series(ANGLES)),
        (["--checkpoint", "kept"], "checkpoint", "kept"),
        (["--record", "searched.json"], "record", "searched.json"),
        (["--maps", "maps"], "maps", "maps"),
        (["--maps"], "maps", True),
        (["--mask", "identity / 2"], "mask", fp.identity / 2),
        ([], "template", fp.from_file("made/template.mrc")),
        (
            ["--template", "made/labels.mrc"],
            "template",
            [fp.from_file("made/template.mrc"), fp.from_file("made/labels.mrc")],
        ),
        ([], "progress", False),
        ([], "tomogram", {"TS_01": "made/TS_01.mrc"}),
    ],
    ids=str,
)
def test_each_option_is_an_argument_of_search(options, argument, value, here, given):
    assert run(*ONE, *WHAT, *options, "--out", "picks.csv") == 0
    if options[:1] == ["--tilt"]:
        value = fp.single_axis(value, "x")
    assert given[argument] == value


def test_what_is_not_asked_for_is_searchs_own_default(here, given):
    assert run(*ONE, *WHAT[:4], "--out", "picks.csv") == 0
    defaults = inspect.unwrap(search).__kwdefaults__
    taken = {name: each for name, each in given.items() if name in defaults}
    known = {"template": 1, "mask": 1}
    assert {**taken, **known} == {
        **{name: each for name, each in defaults.items() if name in taken},
        **known,
    }


SERIES = fp.tilt_series(ANGLES)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (
            ("--tilts", "made/TS_01.tlt", "--tilts", "made/TS_02.tlt"),
            ["TS_01", "TS_02"],
        ),
        (("--tilts", "made/tomograms.star"), ["TS_01.tomostar", "TS_02.tomostar"]),
    ],
)
def test_each_tomogram_has_the_tilts_of_its_name(options, names, here, given):
    assert run(*TWO, *WHAT, *options, "--out", "picks.csv") == 0
    found = given["tomogram"]
    assert list(found) == names
    for name, each in found.items():
        assert each.array == f"made/{name[:5]}.mrc"
        assert each.tilt.angles == SERIES.angles
    assert given["tilt"] is None


def test_relions_tomograms_file_names_tomograms_and_tilts(here, given):
    options = (*WHAT, "--out", "picks.star")
    assert run("search", "made/tomograms.star", *options) == 0
    found = given["tomogram"]
    assert list(found) == ["TS_01.tomostar", "TS_02.tomostar"]
    assert [each.tilt.angles for each in found.values()] == [SERIES.angles] * 2
    assert {each.scale for each in found.values()} == {1.0}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("TS_1", ["a"]),
        ("TS_1_half1", ["a"]),
        ("TS_1_2_bin4", ["b"]),
        ("TS_11", []),
        ("TS", ["a", "b"]),
        ("rec", ["c"]),
        ("x", []),
    ],
)
def test_a_name_means_the_longest_in_it_or_those_it_is_in(name, found):
    assert alike(name, {"TS_1": "a", "TS_1_2": "b", "rec_5": "c"}) == found


# What goes wrong.

OF_LABELS = ("search", "made/labels.mrc", *WHAT, "--out", "a.csv")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((*ONE, *WHAT), "required: --out"),
        (("search", *WHAT, "--out", "a.csv"), "required: TOMOGRAM"),
        ((*ONE, "--out", "a.csv"), "required: --template"),
        ((*ONE, *WHAT, "--out", "a.xyz"), "unknown ending"),
        ((*ONE, *WHAT, "--out", "no/a.csv"), "there is no folder no"),
        ((*ONE, *WHAT, "--out", "made"), "is a folder"),
        ((*ONE, *WHAT, "--out", "a.ndjson", "--first", "1"), "--first"),
        ((*ONE, "made/regions/../TS_01.mrc", *WHAT, "--out", "a.csv"), "both 'TS_01'"),
        (("search", "no.mrc", *WHAT, "--out", "a.csv"), "No such file"),
        (("search", "no.star", *WHAT, "--out", "a.csv"), "No such file"),
        (("search", "made", *WHAT, "--out", "a.csv"), "made"),
        ((*ONE, *WHAT, "--out", "a.csv", "--mask", "sphere(0.1)"), "mask"),
        ((*ONE, *WHAT, "--out", "a.csv", "--mask", "no.mrc"), "no file 'no.mrc'"),
        ((*ONE, *WHAT, "--out", "a.csv", "--template", "x("), "--template: "),
        ((*ONE, *WHAT, "--out", "a.csv", "--rotations", "x"), "--rotations must be"),
        ((*ONE, *WHAT, "--out", "a.csv", "--count", "x"), "--count: must be a whole"),
        ((*ONE, *WHAT, "--out", "a.csv", "--count", "0"), "count must be"),
        ((*ONE, *WHAT, "--out", "a.csv", "--threshold", "2"), "--threshold must be"),
        ((*ONE, *WHAT, "--out", "a.csv", "--threshold", "nan"), "--threshold: must be"),
        (
            (*ONE, *WHAT, "--out", "a.csv", "--false-discovery-rate", "0"),
            "--false-discovery-rate must be a part above 0 and below 1, not 0",
        ),
        (
            (*ONE, *WHAT, "--out", "a.csv", "--false-alarms", "1000"),
            "--false-alarms must be above 0 and at most 100, not 1000",
        ),
        ((*ONE, *WHAT, "--out", "a.csv", "--background", "x"), "--background: invalid"),
        (
            (*ONE, *WHAT, "--out", "a.csv", "--background", "divided"),
            "--background must be 'mirrored', 'random', or None, or one with",
        ),
        ((*ONE, *WHAT, "--out", "a.csv", "--tophat", "0"), "--tophat must be"),
        ((*ONE, *WHAT, "--out", "a.csv", "--distance", "-1"), "--distance must be"),
        ((*ONE, *WHAT, "--out", "a.csv", "--distance", "x"), "--distance: must be"),
        ((*ONE, *WHAT, "--out", "a.csv", "--spacing", "0"), "--spacing must be"),
        ((*ONE, *WHAT, "--out", "a.csv", "--resolution", "0.1"), "resolution must be"),
        ((*ONE, *WHAT, "--out", "a.csv", "--symmetry", "Q"), "symmetry must be"),
        ((*ONE, *WHAT, "--out", "a.csv", "--region", "a", "b"), "--region must be a"),
        ((*ONE, *WHAT, "--out", "a.csv", "--region", "1", "2", "x"), "--region must"),
        ((*ONE, *WHAT, "--out", "a.csv", "--region", "no.mrc"), "no.mrc"),
        ((*ONE, *WHAT, "--out", "a.csv", "--region", "90", "99"), "region"),
        (
            (*OF_LABELS, "--region", "made/regions"),
            "'labels' has no file in made/regions",
        ),
        ((*TWO, *WHAT, "--out", "a.csv", "--tilts", "made/TS_01.tlt"), "also 'TS_02'"),
        (
            (*OF_LABELS, "--tilts", "made/tomograms.star"),
            "none could be that of made/labels.mrc",
        ),
        (
            ("search", "made/tomograms.star", *WHAT, "--out", "a.csv", *TILT),
            "--tilt must be left out: made/tomograms.star tells of the tilts",
        ),
        (
            (*ONE, *WHAT, "--out", "a.star", "--like", "no.star"),
            "No such file",
        ),
        (
            (*ONE, *WHAT, *TILT, "--out", "a.csv", "--record", "no/a.json"),
            "no folder no",
        ),
    ],
    ids=lambda each: " ".join(each[-3:]) if isinstance(each, tuple) else "",
)
def test_what_goes_wrong_is_one_line(options, said, here, capsys):
    assert said in refused(capsys, *options)


def test_a_tomogram_without_a_voxel_size_asks_for_the_option(here, capsys):
    mrcfile = pytest.importorskip("mrcfile")
    with mrcfile.new("none.mrc") as file:
        file.set_data(np.zeros((28, 48, 48), np.float32))
    said = refused(capsys, "search", "none.mrc", *WHAT, "--out", "a.csv")
    assert "pass --scale" in said
    assert "in the tomogram 'none'" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--out", "a.txt", "--out-format", "dynamo"), "a.txt: a Dynamo table's name"),
        (("--out", "a.json", "--like", "made/TS_01.mrc"), "made/TS_01.mrc"),
    ],
)
def test_what_could_not_be_written_is_said_before_the_work(
    here, capsys, monkeypatch, options, said
):
    pytest.importorskip("dynamotable")
    monkeypatch.setattr(command_search, "search", lambda *_, **__: pytest.fail("work"))
    assert said in refused(capsys, *ONE, *WHAT, *options)


def test_an_older_list_stays_where_the_search_fails(here, capsys):
    Path("a.csv").write_text("precious")
    assert "count" in refused(capsys, *ONE, *WHAT, "--out", "a.csv", "--count", 0)
    assert Path("a.csv").read_text() == "precious"


def test_a_checkpoint_is_kept_and_found_again(here):
    command = (*ONE, *WHAT, *TILT, *MANY, "--checkpoint", "kept", "--out")
    assert run(*command, "first.csv") == 0
    files = {each: each.stat().st_mtime_ns for each in Path("kept").rglob("*.npz")}
    assert files
    assert run(*command, "second.csv") == 0
    assert Path("first.csv").read_bytes() == Path("second.csv").read_bytes()
    assert files == {e: e.stat().st_mtime_ns for e in Path("kept").rglob("*.npz")}
