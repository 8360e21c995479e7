"""inspect: what is odd about where particles are, and texts that terminals obey."""

import pickle
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from real_files import DATA, needs_data

from funpipe import Molecules
from funpipe.base.errors import MissingError
from funpipe.base.wording import printable
from funpipe.faces.command_line import main
from funpipe.faces.inspect_file import inspect_file
from funpipe.io.volumes import write_mrc

RANDOM = np.random.default_rng(0)


def listed(tmp_path, size, count=20, **features) -> Path:
    """Write a list of particles that are spread over a size in nm, z y x."""
    path = tmp_path / "list.csv"
    places = RANDOM.uniform(0, 1, (count, 3))
    places[:2] = [[0, 0, 0], [1, 1, 1]]
    Molecules(places * size, features=features).to_csv(path)
    return path


def odd(text: str) -> list[str]:
    return [
        each.split("odd ", 1)[1].strip()
        for each in text.splitlines()[1:]
        if " odd " in each
    ]


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ((14, 90, 90), "spread over 90 nm, and 14 nm deep: less"),
        ((14, 600, 600), "spread over 600 nm, and 14 nm deep: less"),
        ((45, 90, 90), "spread over 90 nm, and 45 nm deep: less"),
        ((300, 2900, 2900), "2900 nm wide and 300 nm deep: more"),
        ((1400, 900, 900), "900 nm wide and 1400 nm deep: more"),
        ((1, 1, 1), "all positions are below 1 nm"),
    ],
)
def test_positions_that_are_no_tomograms_are_odd(tmp_path, size, said):
    assert any(said in each for each in odd(inspect_file(listed(tmp_path, size))))


@pytest.mark.parametrize("size", [(100, 400, 600), (25, 150, 150), (900, 1900, 1900)])
def test_positions_of_a_tomogram_are_not_odd(tmp_path, size):
    assert "nothing odd" in inspect_file(listed(tmp_path, size))


def test_few_particles_may_be_near_each_other(tmp_path):
    assert "nothing odd" in inspect_file(listed(tmp_path, (14, 9, 9), count=4))


@needs_data
@pytest.mark.parametrize("name", ["relion_3.0.star", "relion_4.0.star"])
def test_real_lists_are_not_odd(name):
    pytest.importorskip("starfile", reason="the extra star is not installed")
    assert "nothing odd" in inspect_file(DATA / "particles" / name)


def tomogram(tmp_path, name="TS_1.mrc", scale=10.0) -> Path:
    """Write a tomogram of 300 x 600 x 600 nm, at a scale in nm."""
    shape = np.round(np.array([300, 600, 600]) / scale).astype(int)
    volume = RANDOM.normal(size=shape).astype(np.float32)
    write_mrc(tmp_path / name, volume, scale)
    return tmp_path / name


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ((290, 590, 590), []),
        ((290, 590, 900), ["particles outside TS_1.mrc: is the scale right?"]),
        ((60, 120, 120), ["positions fill only 0.2 x 0.2 x 0.2 of TS_1.mrc"]),
    ],
)
def test_positions_are_compared_with_the_tomogram(tmp_path, size, said):
    path, volume = listed(tmp_path, size), tomogram(tmp_path)
    text = inspect_file(path, tomogram=volume)
    assert "TS_1.mrc, 300 x 600 x 600 nm" in text
    found = odd(text)
    assert len(found) == len(said)
    assert all(part in each for part, each in zip(said, found, strict=True))


def test_only_the_particles_of_that_tomogram_are_compared(tmp_path):
    names = ["TS_1.tomostar"] * 10 + ["TS_10.tomostar"] * 10
    path = tmp_path / "list.csv"
    places = RANDOM.uniform(0, 290, (20, 3))
    places[10:] *= 3
    Molecules(places, features={"tomogram": names}).to_csv(path)
    inside = tomogram(tmp_path, "TS_1_10.00Apx.mrc")
    assert "nothing odd" in inspect_file(path, tomogram=inside)
    outside = tomogram(tmp_path, "TS_10_10.00Apx.mrc")
    assert "outside TS_10_" in inspect_file(path, tomogram=outside)
    other = tomogram(tmp_path, "other.mrc")
    assert "several tomograms, but none" in inspect_file(path, tomogram=other)


STAR = "data_particles\n\nloop_\n{}\n{}\n"
CENTRED = [f"_rlnCenteredCoordinate{axis}Angst" for axis in "XYZ"]
PICKS = [f"_rlnCoordinate{axis}" for axis in "XYZ"]
PICKS += ["_rlnAngleRot", "_rlnAngleTilt", "_rlnAnglePsi", "_rlnAutopickFigureOfMerit"]


def star(tmp_path, titles, row) -> Path:
    pytest.importorskip("starfile", reason="the extra star is not installed")
    path = tmp_path / "list.star"
    path.write_text(STAR.format("\n".join(titles), row))
    return path


def test_centred_positions_are_compared_with_the_tomogram_too(tmp_path):
    volume = tomogram(tmp_path)
    path = star(tmp_path, CENTRED, "2900 -2900 1400")
    assert "outside" not in inspect_file(path, tomogram=volume)
    path = star(tmp_path, CENTRED, "2900 -2900 1600")
    assert "1 of 1 particles outside TS_1.mrc" in inspect_file(path, tomogram=volume)


def test_picks_of_warp_are_parts_until_the_tomogram_is_known(tmp_path):
    path = star(tmp_path, PICKS, "0.5 0.5 0.5 0 0 0 7")
    said = inspect_file(path)
    assert "a particle list (warp)" in said
    assert "x 0.5 to 0.5 of the tomogram's size" in said
    assert "parts of the tomogram's size: give tomograms" in said
    assert "rlnTomoSize" not in said
    said = inspect_file(path, tomogram=tomogram(tmp_path))
    assert "z 150 to 150, y 300 to 300, x 300 to 300 nm" in said


def test_lists_in_voxels_are_compared_in_voxels(tmp_path):
    volume = tomogram(tmp_path)
    path = star(tmp_path, PICKS[:3], "59 59 29")
    said = inspect_file(path, tomogram=volume)
    assert "30 x 60 x 60 voxels" in said
    assert "outside" not in said
    path = star(tmp_path, PICKS[:3], "61 59 29")
    assert "1 of 1 particles outside" in inspect_file(path, tomogram=volume)


def test_what_a_series_could_mean_is_said(tmp_path):
    titles = [*PICKS[:3], "_rlnTomoTiltSeriesPixelSize", "_rlnImagePixelSize"]
    path = star(tmp_path, [*titles, "_rlnTomoVisibleFrames"], "1 2 3 1.5 10 [1,0]")
    assert "which wrote this list cannot be told: give scale" in inspect_file(path)


def test_only_lists_are_compared_with_a_tomogram(tmp_path):
    volume = tomogram(tmp_path)
    with pytest.raises(ValueError, match="is a volume, but only a particle list"):
        inspect_file(volume, tomogram=volume)


def test_a_stack_of_images_is_called_one(tmp_path, capsys):
    path = tmp_path / "particles.mrcs"
    with mrcfile.new(path) as file:
        file.set_data(RANDOM.normal(size=(3, 4, 5)).astype(np.float32))
        file.set_image_stack()
        file.voxel_size = 2.0
    said = inspect_file(path)
    assert "a stack of 2-D images" in said
    assert "3 of 4 x 5 pixels (y, x), float32" in said
    assert main(["align", "x.csv", "--tomogram", str(path), "--template", "x"]) == 2
    with pytest.raises(ValueError, match="a stack of 2-D images, not a volume"):
        inspect_file(listed(tmp_path, (100, 100, 100)), tomogram=path)


# The scale, and texts that a terminal would obey.


@pytest.mark.parametrize("scale", ["-1", "0", "1e30", "1e-30", "nan", "inf"])
@pytest.mark.parametrize("kind", ["list.csv", "TS_1.mrc"])
def test_a_scale_of_no_voxel_is_refused(tmp_path, capsys, scale, kind):
    listed(tmp_path, (100, 200, 300))
    tomogram(tmp_path)
    assert main(["inspect", str(tmp_path / kind), "--scale", scale]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "argument --scale: " in printed.err and "must be " in printed.err
    assert printed.err.count("\n") == 1


ESCAPE = "\x1b[31mred\x1b[0m\x07"


def test_what_inspect_prints_moves_no_cursor(tmp_path):
    pytest.importorskip("starfile", reason="the extra star is not installed")
    named = tmp_path / f"{ESCAPE}.csv"
    features = {ESCAPE: [1.0, np.nan], "note": [ESCAPE, "b"], "tomogram": [ESCAPE] * 2}
    Molecules([[9, 9, 9], [5, 5, 5]], features=features).to_csv(named)
    text = inspect_file(named)
    assert r"\x1b[31mred\x1b[0m\x07" in text
    assert all(each.isprintable() for each in text.splitlines())


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", f"{ESCAPE}.mrc"],
        ["inspect", f"{ESCAPE}.xyz"],
        ["convert", f"{ESCAPE}.csv", "a.csv"],
        [ESCAPE],
        ["inspect", "a.csv", f"--{ESCAPE}"],
    ],
)
def test_what_goes_wrong_moves_no_cursor(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    Path(f"{ESCAPE}.xyz").write_text("?")
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert r"\x1b[31mred" in said
    assert said.removesuffix("\n").isprintable()


@given(st.text())
def test_whatever_is_printed_is_printable(text):
    assert printable(text).isprintable()
    if text.isprintable():
        assert printable(text) == text


@given(st.tuples(*[st.text()] * 4))
def test_what_is_missing_is_carried_by_the_error_and_by_its_pickle(said):
    error = MissingError(*said)
    again = pickle.loads(pickle.dumps(error))
    assert (again.where, again.reason, again.name, again.wanted) == said
    assert str(again) == str(error)
    assert isinstance(again, ValueError)


def test_a_list_of_places_beyond_all_distances_is_looked_into(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("z,y,x\n1e200,0,0\n0,0,0\n0,0,0\n")
    assert "1 particle within 0.1 nm of another" in odd(inspect_file(path))
