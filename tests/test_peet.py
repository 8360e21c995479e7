"""PEET's motive lists beside their models, and what models keep."""

import os
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import turns
from scipy.spatial.transform import Rotation

from funpipe import Molecules, read_molecules, write_molecules
from funpipe.base.euler import to_xyz
from funpipe.faces.command_line import main

pytest.importorskip("imodmodel", reason="imodmodel is not installed")

DATA = Path(__file__).parent / "data"
SCALE = 0.5

TITLES = (
    "CCC,reserved,reserved,pIndex,wedgeWT,NA,NA,NA,NA,NA,xOffset,yOffset,zOffset,NA,NA,"
    "reserved,EulerZ(1),EulerZ(3),EulerX(2),reserved,CREATED WITH PEET Version 1.15.0"
)


def row(index, shift=(0, 0, 0), angles=(0, 0, 0), score=0.5):
    """Return a line; angles are EulerZ(1), EulerZ(3), EulerX(2), as they stand."""
    numbers = [score, 0, 0, index, 1, 0, 0, 0, 0, 0, *shift, 0, 0, 0, *angles, 0]
    return ",".join(map(str, numbers))


def model(path, points, scale=SCALE):
    """Write a model of points x, y, z, in IMOD's pixels."""
    centres = np.array(points) - [0.5, 0.5, 0]
    write_molecules(centres[:, ::-1] * scale, path, scale=scale)


def listed(path, *rows, titles=TITLES):
    path.write_text("\n".join([titles, *rows]) + "\n")
    return path


def some(count=4, **features):
    rng = np.random.default_rng(1)
    return Molecules(
        rng.uniform(0, 100, (count, 3)),
        Rotation.from_quat(rng.normal(size=(count, 4))),
        features,
    )


def stray(left, right):
    turn = np.degrees((left.rotations.inv() * right.rotations).magnitude())
    return turn.max(), np.abs(left.positions - right.positions).max()


def test_a_motive_list_is_read_as_peet_means_it(tmp_path):
    # (rot, tilt, psi) = (30, 40, 50) is EulerZ(1) = 60, EulerX(2) = 40, EulerZ(3) =
    # -140: Rz(-140) Rx(40) Rz(60) is what TomoNet's get_rot_matrix_PEET, TEMPy's
    # angles_to_rot_matrix and cylindra's reader of PEET's lists make of it.
    model(tmp_path / "a.mod", [(100, 100, 100), (9.5, 18.5, 27)])
    path = listed(tmp_path / "a_MOTL.csv", row(2, (1, 2, 3), (60, -140, 40)))
    found = read_molecules(path)
    np.testing.assert_allclose(found.positions / SCALE, [[30, 20, 10]], atol=1e-5)
    expected = turns.relion(30, 40, 50)
    np.testing.assert_allclose(to_xyz(found.rotations)[0], expected, atol=1e-9)
    listed(path, row(1, angles=(90, 0, 90)))  # z first, then x, both fixed
    expected = turns.about_x(90) @ turns.about_z(90)
    found = read_molecules(path)
    np.testing.assert_allclose(to_xyz(found.rotations)[0], expected, atol=1e-9)


def test_columns_come_along_under_their_titles(tmp_path):
    model(tmp_path / "a.mod", [(1, 2, 3)])
    found = read_molecules(listed(tmp_path / "a_MOTL.csv", row(1, score=0.25)))
    features = found.features
    assert features["CCC"].tolist() == [0.25]
    assert features["pIndex"].tolist() == features["wedgeWT"].tolist() == [1]
    assert [features[f"model_{axis}"].tolist() for axis in "xyz"] == [[1], [2], [3]]
    assert {"NA_10", "reserved_2", "class", "object", "contour"} <= set(features)


def test_positions_angles_and_order_come_back(tmp_path):
    molecules = some(object=[0, 0, 1, 1], contour=[0, 2, 0, 0], score=np.arange(4) / 8)
    write_molecules(molecules, tmp_path / "a_MOTL.csv", scale=SCALE)
    found = read_molecules(tmp_path / "a_MOTL.csv")
    assert stray(found, molecules) < (1e-4, np.inf)
    assert stray(found, molecules)[1] < 1e-4
    assert found.features["CCC"].tolist() == [0, 0.125, 0.25, 0.375]
    assert found.features["adjCCC"].tolist() == found.features["CCC"].tolist()
    assert found.features["contour"].tolist() == [0, 2, 0, 0]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.mod", "a_MOTL.csv"]


def test_particles_come_back_in_the_order_of_objects_and_contours(tmp_path):
    molecules = some(object=[1, 0, 1, 0], contour=[0, 1, 0, 0])
    write_molecules(molecules, tmp_path / "a_MOTL.csv", scale=SCALE)
    found = read_molecules(tmp_path / "a_MOTL.csv")
    assert stray(found, molecules[[3, 1, 0, 2]])[1] < 1e-4
    assert stray(found, molecules[[3, 1, 0, 2]])[0] < 1e-4


def test_what_was_read_and_written_unchanged_is_the_same_again(tmp_path):
    model(tmp_path / "a.mod", [(100, 200, 300), (400, 500, 600)])
    rows = row(1, (1.25, 0, 0), (1.5, 2.5, 3.5)), row(2, score=0.125)
    first = read_molecules(listed(tmp_path / "a_MOTL.csv", *rows))
    write_molecules(first, tmp_path / "b_MOTL.csv", like=tmp_path / "a_MOTL.csv")
    second = read_molecules(tmp_path / "b_MOTL.csv")
    assert list(first.features) == list(second.features)
    for name, values in first.features.items():
        if name != "adjCCC":
            np.testing.assert_array_equal(second.features[name], values, name)
    moved = Molecules(first.positions + 1.0, first.rotations, first.features)
    write_molecules(moved, tmp_path / "b_MOTL.csv", scale=SCALE)
    third = read_molecules(tmp_path / "b_MOTL.csv")
    np.testing.assert_array_equal(third.features["model_x"], first.features["model_x"])
    np.testing.assert_allclose(third.features["xOffset"], [3.25, 2.0], atol=1e-6)


def test_the_parameter_file_says_which_model_is_whose(tmp_path):
    model(tmp_path / "one.mod", [(1, 1, 1)])
    (tmp_path / "models").mkdir()
    model(tmp_path / "models" / "two.mod", [(2.5, 2.5, 2)])
    (tmp_path / "run.prm").write_text(
        "# fnModParticle = {'none.mod'}\nfnOutput = 'run1'\n"
        "fnModParticle = {'one.mod', ...\n 'models/two.mod'}\n"
    )
    (tmp_path / "other.prm").write_text(
        "fnOutput = 'x'\nfnModParticle = {'y.mod', 'z.mod'}\n"
    )
    path = listed(tmp_path / "run1_MOTL_Tom2_Iter3.csv", row(1))
    found = read_molecules(path)
    np.testing.assert_allclose(found.positions, [[1, 1, 1]])
    (tmp_path / "run1_MOTL_Tom2_Iter3.csv").rename(
        tmp_path / "run1_MOTL_Tom3_Iter3.csv"
    )
    with pytest.raises(ValueError, match=r"no \.prm with fnOutput = 'run1' that names"):
        read_molecules(tmp_path / "run1_MOTL_Tom3_Iter3.csv")


@pytest.mark.parametrize(
    "name", ["a_MOTL.csv", "a_initMOTL.csv", "a_MOTL_Tom1_Iter2.csv", "a.csv"]
)
def test_the_model_is_found_by_the_lists_name(tmp_path, name):
    model(tmp_path / "a.mod", [(1, 1, 1)])
    assert len(read_molecules(listed(tmp_path / name, row(1)))) == 1


def test_a_list_without_its_model_says_what_to_do(tmp_path):
    path = listed(tmp_path / "a_MOTL_Tom1_Iter1.csv", row(1))
    with pytest.raises(ValueError, match=r"put it beside the list .* as a\.mod"):
        read_molecules(path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(1), row(3)], r"'pIndex', row 2: 3 is none of the 2 points in .*a\.mod"),
        ([row(0)], "'pIndex', row 1: 0 is none of the 2"),
        ([row(1.5)], "'pIndex', row 1: 1.5 is none"),
        ([row(1), "1,2,3"], "line 3: 3 values, not 20"),
        ([row(1, ("x", 0, 0))], "'xOffset', row 1: 'x' is not a finite"),
        ([row(1, angles=("nan", 0, 0))], r"'EulerZ\(1\)', row 1: nan is not a finite"),
        ([], "holds no particles"),
        (["é"], "it is not text"),
    ],
)
def test_a_damaged_list_is_said_clearly(tmp_path, rows, message):
    model(tmp_path / "a.mod", [(1, 1, 1), (2, 2, 2)])
    with pytest.raises(ValueError, match=message) as caught:
        read_molecules(listed(tmp_path / "a_MOTL.csv", *rows))
    assert "a_MOTL.csv" in str(caught.value)


def test_particles_of_several_tomograms_are_refused(tmp_path):
    several = some(tomogram=["a", "b", "a", "b"])
    with pytest.raises(ValueError, match=r"one tomogram, not 2 \(a, b\)"):
        write_molecules(several, tmp_path / "a_MOTL.csv", scale=SCALE)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_there_without_the_list_is_not_replaced(tmp_path):
    model(tmp_path / "a.mod", [(1, 1, 1)])
    before = (tmp_path / "a.mod").read_bytes()
    with pytest.raises(ValueError, match=r"a\.mod is there without"):
        write_molecules(some(), tmp_path / "a_MOTL.csv", scale=SCALE)
    assert [each.name for each in tmp_path.iterdir()] == ["a.mod"]
    assert (tmp_path / "a.mod").read_bytes() == before


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("name", ["run1_MOTL_Tom1_Iter2.csv", "run2_MOTL_Tom2.csv"])
def test_models_of_peets_own_runs_are_not_replaced(tmp_path, name, there):
    for each in ("one.mod", "run1.mod", "run2.mod"):
        model(tmp_path / each, [(1, 1, 1)])
    prm = "fnOutput = 'run1'\nfnModParticle = {'one.mod'}\n"
    (tmp_path / "run1.prm").write_text(prm)
    if there:
        listed(tmp_path / name, row(1))
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="is the name of a list of PEET's own"):
        write_molecules(some(), tmp_path / name, format="peet", scale=SCALE)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before


class Killed(BaseException):
    """What stops a writer at once."""


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_list_never_gets_the_points_of_another_whenever_its_writer_ends(
    tmp_path, monkeypatch, own, steps
):
    path = tmp_path / "a_MOTL.csv"
    old, new, replace, left = some(3), some(4)[1:], Path.replace, iter(range(steps))
    write_molecules(old, path, scale=SCALE)
    if not own:
        listed(path, row(1), row(2), row(3))

    def until(*arguments):
        if next(left, None) is None:
            raise Killed
        return replace(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", until)
        try:
            write_molecules(new, path, scale=SCALE)
        except Killed:
            assert steps < 2
    if steps == 1:
        with pytest.raises(ValueError, match=r"a\.mod has other points than those"):
            read_molecules(path)
        return
    found = read_molecules(path)
    assert stray(found, (old, new)[steps // 2])[1] < 1e-4


def test_features_without_a_place_are_named_once(tmp_path):
    named = some(score=np.ones(4), note=["a"] * 4, tomogram=["TS_1"] * 4)
    with pytest.warns(UserWarning, match="features note, tomogram: they are left out"):
        write_molecules(named, tmp_path / "a_MOTL.csv", scale=SCALE)


def test_a_shell_converts_motive_lists_both_ways(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    molecules = some()
    write_molecules(molecules, "picks.csv")
    assert main(["convert", "picks.csv", "a_MOTL.csv", "--out-scale", "0.5"]) == 0
    assert main(["convert", "a_MOTL.csv", "b_MOTL.csv"]) == 0
    assert main(["convert", "b_MOTL.csv", "back.csv"]) == 0
    assert main(["inspect", "a_MOTL.csv"]) == 0
    assert "a particle list (peet)" in capsys.readouterr().out
    assert stray(read_molecules("back.csv"), molecules)[1] < 1e-4
    assert Path("b.mod").exists()


# Models ------------------------------------------------------------------------------


def test_a_model_keeps_its_pixel_size_like_another_and_in_a_shell(tmp_path):
    path = DATA / "imod_two_contours.mod"
    read = read_molecules(path)
    write_molecules(read, tmp_path / "a.mod", like=path)
    assert main(["convert", str(path), str(tmp_path / "b.mod")]) == 0
    assert main(["convert", str(path), str(tmp_path / "c.csv")]) == 0
    made = ["convert", str(tmp_path / "c.csv"), str(tmp_path / "d.mod")]
    assert main([*made, "--like", str(path)]) == 0
    for name in ("a.mod", "b.mod", "d.mod"):
        again = read_molecules(tmp_path / name)
        np.testing.assert_allclose(again.positions, read.positions, rtol=1e-6)
        assert again.features["contour"].tolist() == read.features["contour"].tolist()


def test_a_model_gives_its_pixel_size_to_other_lists(tmp_path):
    pytest.importorskip("dynamotable")
    path = DATA / "imod_two_contours.mod"
    with pytest.warns(UserWarning, match="object, contour: they are left out"):
        write_molecules(read_molecules(path), tmp_path / "a.tbl", like=path)
    found = read_molecules(tmp_path / "a.tbl").positions
    np.testing.assert_allclose(found, read_molecules(path).positions, atol=1e-5)


@pytest.mark.parametrize("name", ["stopgap.star", "cryocat.star"])
def test_a_list_of_stopgap_becomes_a_model(tmp_path, name):
    # cryoCAT writes whole numbers as 1.0.
    pytest.importorskip("starfile")
    out = tmp_path / "a.mod"
    assert main(["convert", str(DATA / name), str(out), "--scale", "0.5"]) == 0
    read, found = read_molecules(DATA / name, scale=0.5), read_molecules(out)
    assert len(found) == len(read)
    order = np.argsort(read.features["object"], kind="stable")
    np.testing.assert_allclose(found.positions, read.positions[order], atol=1e-3)


def test_objects_of_a_list_that_no_model_counts_are_refused_with_a_way_out(tmp_path):
    large = some(object=[1, 2, 3, 20_000])
    message = re.escape("number it so (in a .csv, say, which any list")
    with pytest.raises(ValueError, match=message):
        write_molecules(large, tmp_path / "a.mod", scale=SCALE)


def test_a_model_names_what_it_leaves_out_once(tmp_path):
    with pytest.warns(UserWarning) as caught:
        write_molecules(some(score=np.ones(4)), tmp_path / "a.mod", scale=SCALE)
    assert [str(each.message) for each in caught] == [
        "an IMOD model holds points only: rotations are left out, score"
    ]


@pytest.mark.parametrize(
    ("scale", "message"),
    [(1e-9, "positions: an IMOD model holds less than"), (1e300, "scale must be one")],
)
def test_what_a_model_cannot_hold_is_refused(tmp_path, scale, message):
    with pytest.raises(ValueError, match=message):
        write_molecules(some(), tmp_path / "a.mod", scale=scale)
    assert list(tmp_path.iterdir()) == []


def damaged(at, value):
    """Return a model of one contour with four bytes changed."""
    content = bytearray((DATA / "imod_two_contours.mod").read_bytes())
    start = content.index(b"CONT") + at
    content[start : start + 4] = value.to_bytes(4, "big")
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (damaged(4, 2**31 - 1), "it ends too early: part"),  # 26 GB of points
        (damaged(4, 2**31), "a part of size -2147483648"),
        (damaged(20, 0x7FC00000), "point 1 is not finite"),
        (b"IMODV1.2" + bytes(232) + (b"CONT" + bytes(16)) * 1_000_001, "parts"),
        (b"IMODV1.2" + bytes(232) + b"IEOF", "holds no points"),
    ],
    ids=["endless", "negative", "nan", "many", "empty"],
)
def test_a_damaged_model_is_refused_before_room_is_made(tmp_path, content, message):
    (tmp_path / "a.mod").write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_molecules(tmp_path / "a.mod", scale=1.0)
    assert "a.mod" in str(caught.value)


def test_names_and_meshes_that_imodmodel_does_not_read_do_no_harm(tmp_path):
    path = DATA / "imod_three_objects.mod"
    content = path.read_bytes()
    named = content[:8] + b"\xe9" + content[9:]
    start = content.index(b"MESH") + 4 + 16 + 12 * 72
    meshed = named[:start] + (-23).to_bytes(4, "big", signed=True) + named[start + 4 :]
    (tmp_path / "a.mod").write_bytes(meshed)
    assert read_molecules(tmp_path / "a.mod") == read_molecules(path)


# EM ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("feature", "value", "message"),
    [
        ("em_subtomo", 2**24 + 1, "em_subtomo: an EM list holds whole numbers up to"),
        (
            "em_geom1",
            "text",
            "em_geom1: an EM list holds numbers of float32, not 'text",
        ),
        ("score", 1e300, "em_score: an EM list holds numbers of float32, not 1e"),
    ],
)
def test_what_an_em_list_cannot_hold_is_refused(tmp_path, feature, value, message):
    pytest.importorskip("emfile")
    with pytest.raises(ValueError, match=message):
        write_molecules(some(1, **{feature: [value]}), tmp_path / "a.em", scale=SCALE)
    assert list(tmp_path.iterdir()) == []


def copies(content, count, seed):
    """Return damaged copies: cut, changed, and with bytes put in."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        at, end = np.sort(rng.integers(0, len(content), 2))
        some = rng.integers(0, 256, rng.integers(1, 8), dtype=np.uint8).tobytes()
        yield from (
            content[:end],
            content[:at] + some + content[at + len(some) :],
            content[:at] + some + content[at:],
            content[:at] + b"\xff" * 4 + content[at + 4 :],
        )


@pytest.mark.parametrize("name", ["a.tbl", "a.doc", "a.em", "a.mod", "b_MOTL.csv"])
def test_damaged_copies_are_read_or_refused_by_name(tmp_path, name):
    for library in ("dynamotable", "emfile"):
        pytest.importorskip(library)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for each in ("a.tbl", "a.em", "a.mod"):
            named = some(tomogram=["TS_1", "TS_2", "TS_3", "TS_1"])
            write_molecules(named, tmp_path / each, scale=SCALE)
        write_molecules(some(), tmp_path / "b_MOTL.csv", scale=SCALE)
    read = tmp_path / name.replace(".doc", ".tbl")
    for damaged in copies((tmp_path / name).read_bytes(), 40, seed=3):
        (tmp_path / name).write_bytes(damaged)
        try:
            found = read_molecules(read, scale=SCALE)
        except (ValueError, OSError) as error:
            assert name in str(error) or read.name in str(error)
            assert "\n" not in str(error)
        else:
            assert np.isfinite(found.positions).all()


@pytest.mark.parametrize("kind", ["em", "stopgap"])
def test_lists_name_the_features_that_they_leave_out_once(tmp_path, kind):
    pytest.importorskip({"em": "emfile", "stopgap": "starfile"}[kind])
    aligned = some(score=np.ones(4), shift=np.ones(4), note=["a"] * 4)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        write_molecules(aligned, tmp_path / "a", format=kind, scale=SCALE)
    (warning,) = caught
    assert "cannot hold the features shift, note: they" in str(warning.message)
    assert warning.filename == __file__


def test_a_tomogram_without_a_number_is_said(tmp_path):
    emfile = pytest.importorskip("emfile")
    rows = np.zeros((1, 2, 20), np.float32)
    rows[0, 1, 4] = np.inf
    emfile.write(tmp_path / "a.em", rows)
    with pytest.raises(ValueError, match=r"a\.em: column 'tomo', row 2: inf is not a"):
        read_molecules(tmp_path / "a.em", scale=SCALE)


@pytest.mark.parametrize("name", ["a.tbl", "a.em", "a.mod", "a_MOTL.csv"])
def test_a_pipe_is_refused_at_once(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(OSError, match="is a device or a pipe, not a file to read"):
        read_molecules(tmp_path / name, scale=SCALE)
    with pytest.raises(OSError, match="is a device or a pipe"):
        write_molecules(np.ones((1, 3)), tmp_path / name, scale=SCALE)
    with pytest.raises(OSError, match="is a device or a pipe"):
        write_molecules(np.ones((1, 3)), tmp_path / "b.tbl", like=tmp_path / name)
