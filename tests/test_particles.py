"""Particle lists of all formats: poses survive chains, damage is said clearly."""

import os
import re
import sys
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import turns
from hypothesis import given, settings
from hypothesis import strategies as st
from real_files import DATA, needs_data
from scipy.spatial.transform import Rotation

from funpipe import Molecules, read_molecules, write_molecules
from funpipe.base.euler import from_xyz, to_xyz
from funpipe.io.particles import FORMATS

for library in ("starfile", "dynamotable", "emfile", "imodmodel", "pyarrow"):
    pytest.importorskip(library, reason=f"{library} is not installed")

PARTICLES = DATA / "particles"

SCALE = 0.25
# Ending, format, and how far a pose may stray: degrees and nm.
ORIENTED = {
    "relion": (".star", 2e-5, 1e-6),
    "stopgap": (".star", 2e-5, 1e-6),
    "dynamo": (".tbl", 2e-5, 1e-6),
    "em": (".em", 2e-4, 1e-4),
    "portal": (".ndjson", 1e-6, 1e-8),
    "csv": (".csv", 1e-6, 1e-12),
    "parquet": (".parquet", 1e-6, 1e-12),
}

degrees = st.sampled_from([0.0, 90.0, 180.0, -90.0, 1e-7, 179.9999999]) | st.floats(
    -180, 180
)
poses = st.tuples(st.tuples(*[st.floats(0, 900)] * 3), st.tuples(*[degrees] * 3))


def some(count=4, **features):
    rng = np.random.default_rng(1)
    return Molecules(
        rng.uniform(0, 100, (count, 3)),
        Rotation.from_quat(rng.normal(size=(count, 4))),
        {"tomogram": ["5", "4", "5", "6"][:count], **features},
    )


def stray(left, right):
    """Return the largest angle in degrees and distance in nm between two sets."""
    turn = np.degrees((left.rotations.inv() * right.rotations).magnitude())
    return turn.max(), np.abs(left.positions - right.positions).max()


def through(molecules, kind, folder):
    path = Path(folder) / f"list{ORIENTED[kind][0]}"
    write_molecules(molecules, path, format=kind, scale=SCALE)
    return read_molecules(path, scale=SCALE)


@pytest.mark.filterwarnings("ignore:.* cannot hold the features")
@settings(max_examples=60, deadline=None)
@given(
    several=st.lists(poses, min_size=1, max_size=4),
    chain=st.lists(st.sampled_from(sorted(ORIENTED)), min_size=1, max_size=3),
)
def test_any_pose_survives_any_chain_of_formats(several, chain):
    positions, angles = zip(*several, strict=True)
    molecules = Molecules(positions, from_xyz(turns.relion(*np.transpose(angles))))
    found, turn, shift = molecules, 0.0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        for kind in chain:
            found = through(found, kind, folder)
            turn += ORIENTED[kind][1]
            shift += ORIENTED[kind][2]
    assert stray(found, molecules) < (turn + 1e-4, np.inf)
    assert stray(found, molecules)[0] < turn
    assert stray(found, molecules)[1] < shift


@pytest.mark.parametrize("kind", sorted(ORIENTED))
def test_the_tomograms_name_and_the_order_survive(tmp_path, kind):
    found = through(some(), kind, tmp_path)
    assert found.features["tomogram"].tolist() == ["5", "4", "5", "6"]
    assert stray(found, some())[1] < 1e-4


@pytest.mark.parametrize("kind", sorted(ORIENTED))
def test_what_was_read_and_written_unchanged_is_the_same_file_again(tmp_path, kind):
    first = through(some(), kind, tmp_path)
    second = through(first, kind, tmp_path)
    assert stray(first, second) == pytest.approx((0, 0), abs=1e-6)
    assert set(first.features) == set(second.features)
    for name, values in first.features.items():
        np.testing.assert_array_equal(second.features[name], values, name)


# (rot, tilt, psi) = (30, 40, 50) as each program gives it, at voxel x 10, y 20, z 30
# from 0; STOPGAP and EM lists count from 1, Dynamo's centres are at 0.5, 1.5, ...
A = turns.relion(30, 40, 50)


def known(molecules, scale=SCALE):
    np.testing.assert_allclose(molecules.positions / scale, [[30, 20, 10]], atol=1e-6)
    np.testing.assert_allclose(to_xyz(molecules.rotations)[0], A, atol=1e-6)


def test_a_dynamo_table_is_read_as_dynamo_means_it(tmp_path):
    row = ["0"] * 35
    row[3:9] = ["1", "2", "3", "-40", "40", "120"]
    row[19], row[23:26] = "7", ["9.5", "18.5", "27.5"]
    path = tmp_path / "a.tbl"
    path.write_text(" ".join(row) + "\n")
    molecules = read_molecules(path, scale=SCALE)
    known(molecules)
    assert molecules.features["tomogram"].tolist() == ["7"]
    assert molecules.features["table_x"].tolist() == [9.5]


def test_a_stopgap_list_is_read_as_stopgap_means_it(tmp_path):
    names = "orig_x orig_y orig_z x_shift y_shift z_shift phi psi the tomo_num"
    header = "\n".join(f"_{each}" for each in names.split())
    path = tmp_path / "a.star"
    path.write_text(
        f"data_stopgap_motivelist\n\nloop_\n{header}\n10 19 28 1 2 3 60 -140 40 7\n"
    )
    molecules = read_molecules(path, scale=SCALE)
    known(molecules)
    assert molecules.features["tomogram"].tolist() == ["7"]
    write_molecules(molecules, tmp_path / "b.star", like=path, scale=SCALE)
    known(read_molecules(tmp_path / "b.star", scale=SCALE))
    assert "data_stopgap_motivelist" in (tmp_path / "b.star").read_text()


def test_an_em_list_is_read_as_its_programs_mean_it(tmp_path):
    import emfile

    row = np.zeros(20, np.float32)
    row[4], row[7:10], row[10:13] = 7, (10, 19, 28), (1, 2, 3)
    row[16:19] = 60, -140, 40  # phi, psi, theta
    emfile.write(tmp_path / "a.em", row[None, None])
    molecules = read_molecules(tmp_path / "a.em", scale=SCALE)
    known(molecules)
    assert molecules.features["tomogram"].tolist() == ["7"]


def test_the_portals_points_are_read_as_the_portal_means_them(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_text(
        '{"type": "orientedPoint", "location": {"x": 10, "y": 20, "z": 30}, '
        f'"xyz_rotation_matrix": {A.tolist()}, "instance_id": 3}}'
    )
    molecules = read_molecules(path, scale=SCALE)
    known(molecules)
    assert molecules.features["instance_id"].tolist() == [3]


def test_nothing_known_is_null_in_the_portals_points(tmp_path):
    features = {"type": ["point", "mine"], "error": [0.5, np.nan], "name": ["a", ""]}
    molecules = Molecules(np.ones((2, 3)), features=features)
    write_molecules(molecules, tmp_path / "a.ndjson", scale=1.0)
    lines = (tmp_path / "a.ndjson").read_text().splitlines()
    assert '"error": null' in lines[1]
    assert '"type": "mine"' in lines[1]
    assert read_molecules(tmp_path / "a.ndjson", scale=1.0) == molecules
    point = POINT.strip()[:-1] % 3
    (tmp_path / "b.ndjson").write_text(
        f'{point}, "name": "a"}}\n{point}, "name": null}}\n'
    )
    names = read_molecules(tmp_path / "b.ndjson", scale=1.0).features["name"]
    assert names.tolist() == ["a", ""]


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"location": ["here"]}, "'location' has the name of a point's"),
        ({"xyz_rotation_matrix": [1.0]}, "'xyz_rotation_matrix' has the name of"),
        ({"error": [np.inf]}, "'error' is inf: JSON cannot hold that"),
    ],
)
def test_a_feature_never_takes_the_place_of_a_pose(tmp_path, features, message):
    with pytest.raises(ValueError, match=message):
        write_molecules(
            Molecules(np.ones((1, 3)), features=features),
            tmp_path / "a.ndjson",
            scale=1.0,
        )
    assert list(tmp_path.iterdir()) == []


def test_a_point_that_has_turned_is_an_oriented_point(tmp_path):
    turned = Rotation.from_rotvec([[0, 0, 0], [0, 0, 1.0]])
    points = Molecules(np.ones((2, 3)), turned, {"type": ["point", "point"]})
    write_molecules(points, tmp_path / "a.ndjson", scale=1.0)
    found = (tmp_path / "a.ndjson").read_text().splitlines()
    assert '"type": "point"' in found[0]
    assert '"type": "orientedPoint"' in found[1]


def test_points_without_a_rotation_stay_points(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_text('{"type": "point", "location": {"x": 10, "y": 20, "z": 30}}\n')
    molecules = read_molecules(path, scale=SCALE)
    write_molecules(molecules, tmp_path / "b.ndjson", scale=SCALE)
    assert "xyz_rotation_matrix" not in (tmp_path / "b.ndjson").read_text()
    assert read_molecules(tmp_path / "b.ndjson", scale=SCALE) == molecules


def test_a_model_counts_from_the_corner_in_x_and_y_and_the_middle_in_z(tmp_path):
    import imodmodel
    import pandas

    table = pandas.DataFrame({"x": [10.5], "y": [20.5], "z": [30.0]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pydantic's
        imodmodel.write(table, tmp_path / "a.mod")
    molecules = read_molecules(tmp_path / "a.mod", scale=SCALE)
    np.testing.assert_allclose(molecules.positions, [[7.5, 5.0, 2.5]])


def test_a_model_keeps_points_contours_and_scale(tmp_path):
    molecules = Molecules(
        some().positions, features={"object": [0, 0, 1, 1], "contour": [0, 1, 0, 0]}
    )
    write_molecules(molecules, tmp_path / "a.mod", scale=SCALE)
    again = read_molecules(tmp_path / "a.mod")
    assert stray(again, molecules)[1] < 1e-4
    assert again.features["contour"].tolist() == [0, 1, 0, 0]


def test_a_model_warns_that_it_holds_no_rotations(tmp_path):
    with pytest.warns(UserWarning, match="rotations are left out"):
        write_molecules(some(), tmp_path / "a.mod", scale=SCALE)


@needs_data
def test_a_real_dynamo_table_is_equal_in_every_column(tmp_path):
    molecules = read_molecules(PARTICLES / "t_double.tbl", scale=SCALE)
    assert len(molecules) == 300
    write_molecules(molecules, tmp_path / "a.tbl", scale=SCALE)
    before = np.loadtxt(PARTICLES / "t_double.tbl")
    after = np.loadtxt(tmp_path / "a.tbl")
    np.testing.assert_array_equal(after[:, : before.shape[1]], before)


@needs_data
def test_a_real_dynamo_table_agrees_with_its_numbers():
    table = np.loadtxt(PARTICLES / "t_double.tbl")
    molecules = read_molecules(PARTICLES / "t_double.tbl", scale=SCALE)
    expected = (table[:, 23:26] + table[:, 3:6] - 0.5)[:, ::-1] * SCALE
    np.testing.assert_allclose(molecules.positions, expected, atol=1e-9)
    turned = turns.dynamo(*table[:, 6:9].T)
    np.testing.assert_allclose(to_xyz(molecules.rotations), turned, atol=1e-12)
    shifted = read_molecules(PARTICLES / "t_double.tbl", scale=SCALE, first=1)
    np.testing.assert_allclose(shifted.positions, expected - SCALE / 2, atol=1e-9)


def test_a_dynamo_table_keeps_names_in_its_map_and_the_scale_in_apix(tmp_path):
    named = some(tomogram=["TS_3", "TS_1", "TS_3", "TS_2"])
    write_molecules(named, tmp_path / "a.tbl", scale=SCALE)
    again = read_molecules(tmp_path / "a.tbl")
    assert again.features["tomogram"].tolist() == ["TS_3", "TS_1", "TS_3", "TS_2"]
    assert stray(again, named)[1] < 1e-6
    write_molecules(some(), tmp_path / "a.tbl", scale=SCALE)
    assert not (tmp_path / "a.doc").exists()


def test_a_document_beside_a_table_is_no_table_map(tmp_path):
    document = tmp_path / "a.doc"
    document.write_bytes(b"\xd0\xcf\x11\xe0 Dear colleague")
    write_molecules(some(), tmp_path / "a.tbl", scale=SCALE)
    assert read_molecules(tmp_path / "a.tbl").features["tomogram"][0] == "5"
    with pytest.raises(ValueError, match=r"a\.doc is no table map"):
        write_molecules(
            some(tomogram=["TS_3", "TS_1", "TS_3", "TS_2"]), tmp_path / "a.tbl", scale=1
        )
    assert document.read_bytes().endswith(b"colleague")


@pytest.mark.parametrize(
    ("kind", "feature"), [("dynamo", "cc"), ("em", "em_score"), ("stopgap", "score")]
)
def test_the_score_goes_where_the_program_has_it(tmp_path, kind, feature):
    read = through(some(), kind, tmp_path)
    found = through(read.with_features(score=np.arange(4.0)), kind, tmp_path)
    assert found.features[feature].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("kind", "shifts"),
    [
        ("dynamo", ("dx", "dy", "dz")),
        ("stopgap", ("x_shift", "y_shift", "z_shift")),
        ("em", ("em_shift_x", "em_shift_y", "em_shift_z")),
    ],
)
def test_coordinates_are_rewritten_in_voxels_of_another_size(tmp_path, kind, shifts):
    read = through(some(), kind, tmp_path)
    path = tmp_path / f"binned{ORIENTED[kind][0]}"
    write_molecules(read, path, format=kind, scale=4 * SCALE)
    binned = read_molecules(path, scale=4 * SCALE)
    assert stray(binned, read)[1] < 1e-4
    for each in shifts:
        assert np.abs(binned.features[each]).max() <= 0.5


@pytest.mark.parametrize("kind", ["em", "stopgap"])
def test_tomograms_that_become_numbers_are_named_in_a_warning(tmp_path, kind):
    named = some(tomogram=["TS_3", "TS_1", "TS_3", "TS_2"])
    with pytest.warns(UserWarning, match="names are left out: 1 TS_3, 2 TS_1, 3 TS_2"):
        found = through(named, kind, tmp_path)
    assert found.features["tomogram"].tolist() == ["1", "2", "1", "3"]


def test_tomograms_that_an_em_list_cannot_tell_apart_are_refused(tmp_path):
    dates = some(tomogram=["20240613001", "20240613002"] * 2)
    with pytest.raises(
        ValueError, match="whole numbers up to 16777216, not 2024061300"
    ):
        write_molecules(dates, tmp_path / "a.em", scale=SCALE)


def test_a_particle_of_a_table_that_moved_keeps_its_crop(tmp_path):
    write_molecules(some(), tmp_path / "a.tbl", scale=SCALE)
    read = read_molecules(tmp_path / "a.tbl")
    moved = Molecules(read.positions + 1.0, read.rotations, read.features)
    write_molecules(moved, tmp_path / "b.tbl")
    again = read_molecules(tmp_path / "b.tbl")
    assert stray(again, moved)[1] < 1e-6
    np.testing.assert_array_equal(again.features["table_x"], read.features["table_x"])
    np.testing.assert_allclose(again.features["dx"], 1 / SCALE, atol=1e-6)


def test_scale_may_come_from_a_list_of_another_format(tmp_path):
    write_molecules(some(), tmp_path / "a.tbl", scale=SCALE)
    write_molecules(some(), tmp_path / "b.ndjson", like=tmp_path / "a.tbl")
    assert stray(read_molecules(tmp_path / "b.ndjson", scale=SCALE), some())[1] < 1e-6


def test_features_of_all_kinds_survive_parquet(tmp_path):
    features = {
        "score": np.array([0.5, np.nan, 1.5, 2.0]),
        "number": np.array([1, 2, 3, 4]),
        "good": np.array([True, False, True, True]),
        "note": np.array(["a", "", "007", "1.0"]),
        "small": np.array([1, 2, 3, 4], dtype=np.float32),
    }
    molecules = some(**features)
    write_molecules(molecules, tmp_path / "a.parquet")
    assert read_molecules(tmp_path / "a.parquet") == molecules


def test_missing_values_of_parquet_become_nan_and_no_text(tmp_path):
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table(
        {**{axis: [1.0, 2.0] for axis in "zyx"}, "a": [None, 2], "b": [None, "b"]}
    )
    parquet.write_table(table, tmp_path / "a.parquet")
    features = read_molecules(tmp_path / "a.parquet").features
    np.testing.assert_array_equal(features["a"], [np.nan, 2.0])
    assert features["b"].tolist() == ["", "b"]


def test_truth_values_of_polars_are_truth_values(tmp_path):
    (tmp_path / "a.csv").write_text("z,y,x,good\n1,2,3,true\n4,5,6,false\n")
    assert read_molecules(tmp_path / "a.csv").features["good"].tolist() == [True, False]


def test_a_gap_among_numbers_is_nan_and_a_last_line_may_be_empty(tmp_path):
    (tmp_path / "a.csv").write_text("z,y,x,cc,note\n1,2,3,0.5,\n4,5,6,,b\n\n")
    features = read_molecules(tmp_path / "a.csv").features
    np.testing.assert_array_equal(features["cc"], [0.5, np.nan])
    assert features["note"].tolist() == ["", "b"]


def test_star_texts_and_large_numbers_stay_as_they_are(tmp_path):
    title = STAR + "_note\n_large\n"
    rows = "1 2 3 a 9223372036854775807\n1 2 3 b 9223372036854775808\n"
    (tmp_path / "a.star").write_text(title + rows, encoding="utf-8-sig")
    large = read_molecules(tmp_path / "a.star", scale=1.0).features["large"]
    assert large.tolist() == ["9223372036854775807", "9223372036854775808"]


def test_a_table_may_count_in_voxels(tmp_path):
    (tmp_path / "a.csv").write_text("x,y,z\n10,20,30\n")
    molecules = read_molecules(tmp_path / "a.csv", scale=SCALE)
    np.testing.assert_allclose(molecules.positions, [[7.5, 5.0, 2.5]])


def test_content_goes_before_the_ending(tmp_path):
    write_molecules(some(), tmp_path / "a.parquet")
    (tmp_path / "a.parquet").rename(tmp_path / "a.csv")
    assert stray(read_molecules(tmp_path / "a.csv"), some())[1] < 1e-9


def test_formats_are_those_of_the_documentation():
    known = (
        "relion stopgap dynamo em portal copick eman2 cryosparc peet mod csv parquet"
    )
    assert set(known.split()) <= set(FORMATS)
    said = re.findall(r"\w+", read_molecules.__doc__)
    assert [each for each in FORMATS if each not in said] == []


# Damage ------------------------------------------------------------------------------

STAR = "data_\n\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n"
ROW = " ".join(["1"] * 35) + "\n"
GARBAGE = b"\x1f\x8b\x08\x00\xff\xfe\x00\x01garbage"
POINT = '{"type": "point", "location": {"x": 1, "y": 2, "z": %s}}\n'


def em_bytes(count, machine=6, swap=False, dims=None):
    header = np.zeros(512, np.uint8)
    header[:4] = machine, 0, 0, 5
    sizes = np.array(dims or (20, count, 1), dtype=">i4" if swap else "<i4")
    header[4:16] = sizes.view(np.uint8)
    return header.tobytes() + bytes(80 * count)


def model_bytes():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.mod"
        write_molecules(np.ones((3, 3)), path, scale=1.0)
        return path.read_bytes()


def parquet_bytes(names=("z", "y", "x"), values=(1.0,)):
    import pyarrow
    from pyarrow import parquet

    sink = pyarrow.BufferOutputStream()
    columns = [pyarrow.array(list(values)) for _ in names]
    parquet.write_table(pyarrow.Table.from_arrays(columns, names=list(names)), sink)
    return sink.getvalue().to_pybytes()


MALFORMED = {
    # RELION and STOPGAP
    "truncated.star": (STAR + "1 2 3\n4 5\n", "line 8: 2 values for 3 columns"),
    "text.star": (STAR + "1 2 three\n", "row 1: 'three' is not a finite number"),
    "missing.star": (STAR.replace("_rlnCoordinateX\n", "") + "1 2\n", "no particles"),
    "twice.star": (STAR + "_rlnCoordinateX\n1 2 3 4\n", "'rlnCoordinateX' is there tw"),
    "blocks.star": (STAR + "1 2 3\n" + STAR + "1 2 3\n", "a second block 'data_'"),
    "empty.star": (STAR, "the table of 'rlnCoordinateX' is empty"),
    "nothing.star": ("", "no data_ block"),
    "packed.star": (GARBAGE, "not text"),
    "prose.star": ("Dear colleague,\n", "line 1 stands before any data_ block"),
    "own.star": (STAR + "_z\n1 2 3 4\n", "features must be named by a text other than"),
    "quote.star": (STAR + "_note\n1 2 3 t'1\n", "line 8: a quotation mark that is not"),
    "half.star": (
        "data_stopgap_motivelist\nloop_\n_orig_x\n_orig_y\n1 2\n",
        "no column 'orig_z'",
    ),
    # Dynamo
    "truncated.tbl": (ROW + ROW[:20], "line 2: 10 values, but 35 in the first line"),
    "text.tbl": (ROW + ROW.replace("1", "one"), "column 'x', row 2: 'one' is not a"),
    "missing.tbl": ("1 2 3\n", "it has 3 columns, not 26 to 42"),
    "empty.tbl": ("\n", "is empty"),
    "packed.tbl": (GARBAGE, "not text"),
    "nan.tbl": (ROW.replace("1", "nan"), "row 1: nan is not a finite number"),
    # EM
    "truncated.em": (em_bytes(4)[:-8], "bytes, but its header says"),
    "short.em": (b"\x06\0\0\x05", "shorter than its header"),
    "swapped.em": (em_bytes(4, 5, swap=True), "big-endian"),
    "packed.em": (GARBAGE * 60, "not a readable EM file"),
    "volume.em": (em_bytes(4, dims=(4, 20, 1)), "is no motive list"),
    # Portal
    "truncated.ndjson": (POINT % 3 + (POINT % 3)[:30], "line 2 is not readable JSON"),
    "text.ndjson": (POINT % '"three"', "location must be 3 finite numbers"),
    "missing.ndjson": ('{"type": "point"}', "location must be an object of x, y, z"),
    "row.ndjson": ('{"location": [1, 2, 3]}', "location must be an object of x, y, z"),
    "half.ndjson": ('{"location": {"x": 1}}', "location must be 3 finite numbers"),
    "twice.ndjson": ('{"type": "point", "type": "point"}', "'type' is there twice"),
    "empty.ndjson": ("\n", "is empty"),
    "packed.ndjson": (GARBAGE, "not text"),
    "list.ndjson": ("[1, 2]", "must be a JSON object"),
    "deep.ndjson": ('{"a":' + "[" * 100_000, "line 1 is not readable JSON"),
    "mixed.ndjson": (
        (POINT % 3).replace("}}", '}, "a": 1}')
        + (POINT % 3).replace("}}", '}, "a": "b"}'),
        "line 2: 'a' must be a number, truth value or text, of one kind",
    ),
    "large.ndjson": (
        (POINT % 3).replace("}}", f'}}, "a": {2**64}}}'),
        "'a' must be a number",
    ),
    "flat.ndjson": (
        (POINT % 3).replace("}}", '}, "xyz_rotation_matrix": [1, 2, 3]}'),
        "must be 9 finite numbers",
    ),
    "skewed.ndjson": (
        (POINT % 3).replace("}}", '}, "xyz_rotation_matrix": %s}' % ([[1, 0, 0]] * 3)),
        "is not a rotation",
    ),
    # IMOD
    "truncated.mod": (lambda: model_bytes()[:-20], "not a readable IMOD model"),
    **{
        f"cut_{count}.mod": (
            lambda count=count: model_bytes()[:-count],
            "ends too early",
        )
        for count in (1, 2, 4)
    },
    "packed.mod": (GARBAGE, "not a readable IMOD model"),
    "swapped.mod": (lambda: b"DOMI" + model_bytes()[4:], "starts with b'DOMI'"),
    # CSV
    "truncated.csv": ("z,y,x\n1,2,3\n4,5\n", "line 3: 2 values for 3 columns"),
    "text.csv": ("z,y,x\n1,2,three\n", "could not convert string to float: 'three'"),
    "missing.csv": ("z,y\n1,2\n", "no column 'x'"),
    "twice.csv": ("z,y,x,x\n1,2,3,4\n", "the column 'x' twice"),
    "empty.csv": ("z,y,x\n", "the table is empty"),
    "nothing.csv": ("", "not a CSV table"),
    "packed.csv": (GARBAGE, "not a CSV table|not text|no column"),
    # Parquet
    "truncated.parquet": (lambda: parquet_bytes()[:-30], "not a readable Parquet"),
    "text.parquet": (lambda: parquet_bytes(values=["three"]), "'three' is not a finit"),
    "missing.parquet": (lambda: parquet_bytes("zy"), "no column 'x'"),
    "twice.parquet": (lambda: parquet_bytes("zyxx"), "the column 'x' twice"),
    "empty.parquet": (lambda: parquet_bytes(values=np.zeros(0)), "the table is empty"),
    "packed.parquet": (GARBAGE, "not a readable Parquet file"),
    # None of them
    "list.xyz": ("1 2 3\n", "unknown ending"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_file_gives_one_clear_error(tmp_path, name):
    content, message = MALFORMED[name]
    content = content() if callable(content) else content
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    options = {} if path.suffix == ".parquet" else {"scale": 1.0}
    with pytest.raises(ValueError, match=message) as caught:
        read_molecules(path, **options)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value).strip()
    assert [each.name for each in tmp_path.iterdir()] == [name]


ENDINGS = [".star", ".tbl", ".em", ".ndjson", ".mod", ".csv", ".parquet"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_folder_and_an_absent_file_are_the_systems_own_errors(tmp_path, ending):
    folder = tmp_path / f"folder{ending}"
    folder.mkdir()
    with pytest.raises(IsADirectoryError):
        read_molecules(folder)
    with pytest.raises(FileNotFoundError):
        read_molecules(tmp_path / f"absent{ending}")
    with pytest.raises(IsADirectoryError):
        write_molecules(np.ones((1, 3)), folder, scale=1.0)
    with pytest.raises(FileNotFoundError):
        write_molecules(np.ones((1, 3)), tmp_path / f"no/list{ending}", scale=1.0)
    assert list(tmp_path.rglob("*")) == [folder]


@contextmanager
def ordinary_user():
    """Be someone whom permissions bind, where the tests run as root."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("ending", ENDINGS)
def test_without_permission_nothing_is_read_or_written(tmp_path, ending):
    folder = tmp_path / "mine"
    folder.mkdir()
    path = folder / f"list{ending}"
    options = {} if ending in (".csv", ".parquet") else {"scale": 1.0}
    write_molecules(np.ones((1, 3)), path, **options)
    before = sorted(folder.iterdir())
    path.chmod(0o000)
    folder.chmod(0o555)
    try:
        with ordinary_user():
            with pytest.raises(PermissionError):
                read_molecules(path)
            with pytest.raises(PermissionError):
                write_molecules(np.ones((1, 3)), folder / f"b{ending}", **options)
    finally:
        folder.chmod(0o755)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path, ending, monkeypatch
):
    path = tmp_path / f"list{ending}"
    write_molecules(np.ones((1, 3)), path, scale=1.0)
    before = path.read_bytes()

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_molecules(np.zeros((2, 3)), path, scale=1.0)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_a_link_and_a_file_keeps_its_mode(tmp_path):
    (tmp_path / "a.csv").write_text("old")
    (tmp_path / "a.csv").chmod(0o640)
    (tmp_path / "link.csv").symlink_to("a.csv")
    write_molecules(some(), tmp_path / "link.csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "a.csv").stat().st_mode & 0o777 == 0o640
    assert stray(read_molecules(tmp_path / "a.csv"), some())[1] < 1e-9


def test_a_pipe_or_a_device_is_not_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(OSError, match=r"a\.csv is a device or a pipe"):
        write_molecules(some(), tmp_path / "a.csv")
    assert (tmp_path / "a.csv").is_fifo()


def test_a_file_that_may_not_be_written_stays(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("precious")
    path.chmod(0o444)
    tmp_path.chmod(0o777)
    with ordinary_user(), pytest.raises(PermissionError, match=r"a\.csv"):
        write_molecules(some(), path)
    assert path.read_text() == "precious"


@pytest.mark.parametrize("ending", [".tbl", ".em", ".ndjson", ".mod", ".star"])
def test_a_list_in_voxels_needs_a_scale_and_says_so(tmp_path, ending):
    with pytest.raises(ValueError, match=r"pass scale=\.\.\. in nm per voxel"):
        write_molecules(np.ones((1, 3)), tmp_path / f"a{ending}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "relion6"}, "format must be one of relion stopgap"),
        ({"scale": -1.0}, "scale must be a number above 0"),
        ({"first": 2}, "first must be 0, 0.5 or 1"),
        ({"box": (0, 1.0)}, r"box\[0\] must be"),
        ({"tomograms": (1, 2, 3)}, r"tomograms=\.\.\. means nothing to .* 'dynamo'"),
    ],
)
def test_an_option_that_cannot_be_is_refused(tmp_path, options, message):
    (tmp_path / "a.tbl").write_text(ROW)
    with pytest.raises(ValueError, match=message):
        read_molecules(tmp_path / "a.tbl", **{"scale": 1.0, **options})


def test_no_particles_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="one particle or more"):
        write_molecules(np.zeros((0, 3)), tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("ending", "module", "extra"),
    [
        (".star", "starfile", "star"),
        (".tbl", "dynamotable", "dynamo"),
        (".em", "emfile", "em"),
        (".mod", "imodmodel", "imod"),
        (".parquet", "pyarrow", "parquet"),
    ],
)
def test_a_missing_library_names_its_extra(
    tmp_path, monkeypatch, ending, module, extra
):
    path = tmp_path / f"list{ending}"
    write_molecules(np.ones((1, 3)), path, scale=1.0)
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, f"{module}.parquet", None)
    with pytest.raises(ImportError, match=rf"{module}.*'funpipe\[{extra}\]'"):
        read_molecules(path, scale=1.0)
    with pytest.raises(ImportError, match=rf"'funpipe\[{extra}\]'"):
        write_molecules(np.ones((1, 3)), tmp_path / f"b{ending}", scale=1.0)
