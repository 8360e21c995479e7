"""Picks of copick, boxes of EMAN2, datasets of cryoSPARC: what their programs mean."""

import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from funpipe import Molecules, read_molecules, write_molecules
from funpipe.base.euler import DYNAMO
from funpipe.faces.command_line import main
from funpipe.faces.inspect_file import inspect_file
from funpipe.io.json_values import read_json
from funpipe.io.particles import FORMATS, format_of, format_to_write
from funpipe.io.relion_tomograms import TomogramInfo

SHAPE = (200, 400, 300)
EYE = np.eye(4).tolist()


def picks(*points, **fields):
    """Return a file as copick writes it (`CopickPicksFile.model_dump`)."""
    said = {
        "pickable_object_name": "ribosome",
        "user_id": "ann",
        "session_id": "1",
        "run_name": "TS_01",
        "voxel_spacing": 10.0,
        "unit": "angstrom",
        "points": list(points) or [point()],
        "trust_orientation": True,
    }
    return json.dumps(said | fields)


def point(place=(100.0, 200.0, 300.0), **fields):
    location = dict(zip("xyz", place, strict=True))
    said = {
        "location": location,
        "transformation_": EYE,
        "instance_id": 3,
        "score": 0.5,
    }
    return said | fields


def info(*boxes, **fields):
    """Return an info file as EMAN2's boxer writes it."""
    said = {
        "apix_unbin": 2.5,
        "boxes_3d": [list(each) for each in boxes] or [[4.0, -8.0, 12.0, "tm", 0.5, 1]],
        "class_list": {"1": {"name": "ribosome", "boxsize": 160}},
        "tlt_params": [[0.0, 1.0, 2.0, 3.0, 4.0]],
    }
    return json.dumps(said | fields)


def written(folder, name, content):
    path = Path(folder) / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def some(count=3, **features):
    rng = np.random.default_rng(3)
    return Molecules(
        rng.uniform(0, 80, (count, 3)),
        Rotation.from_quat(rng.normal(size=(count, 4))),
        features,
    )


# copick -----------------------------------------------------------------------------


def test_copick_means_location_and_translation_in_angstrom(tmp_path):
    # As copick/util/formats.py turns a Dynamo table into picks: location = voxels,
    # translation = shifts, in Å; the matrix is Rz Rx Rz of the angles, inverted.
    angles, voxels, shift, size = [-40, 40, 120], [9, 18, 27], [1, 2, 3], 2.5
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("zxz", angles, degrees=True).inv().as_matrix()
    matrix[:3, 3] = size * np.array(shift)
    place = (size * np.array(voxels)).tolist()
    path = written(
        tmp_path, "a.json", picks(point(place, transformation_=matrix.tolist()))
    )
    molecules = read_molecules(path)
    np.testing.assert_allclose(molecules.positions, [[7.5, 5.0, 2.5]])
    apart = (molecules.rotations.inv() * DYNAMO.rotations([angles])).magnitude()
    assert apart.max() < 1e-9


def test_copick_names_object_and_run_and_keeps_its_fields(tmp_path):
    molecules = read_molecules(written(tmp_path, "a.json", picks()))
    features = {name: values.tolist() for name, values in molecules.features.items()}
    assert features == {
        "pickable_object_name": ["ribosome"],
        "user_id": ["ann"],
        "session_id": ["1"],
        "tomogram": ["TS_01"],
        "voxel_spacing": [10.0],
        "trust_orientation": [True],
        "instance_id": [3],
        "score": [0.5],
    }


def test_picks_of_several_objects_go_together(tmp_path):
    both = Molecules.concat(
        read_molecules(
            written(tmp_path, f"{name}.json", picks(pickable_object_name=name))
        )
        for name in ("ribosome", "proteasome")
    )
    assert both.features["pickable_object_name"].tolist() == ["ribosome", "proteasome"]
    with pytest.raises(ValueError, match=r"one pickable_object_name, not 2 \(proteas"):
        write_molecules(both, tmp_path / "both.json")
    assert not (tmp_path / "both.json").exists()


def test_what_copick_leaves_out_is_what_copick_takes_it_for(tmp_path):
    bare = {"location": {"x": 1, "y": 2, "z": 3}}
    null = {**bare, "transformation_": None, "instance_id": None, "score": None}
    content = json.dumps({"pickable_object_name": "a", "points": [bare, null]})
    molecules = read_molecules(written(tmp_path, "a.json", content))
    assert molecules.features["instance_id"].tolist() == [0, 0]
    assert molecules.features["score"].tolist() == [1.0, 1.0]
    assert molecules.rotations.magnitude().max() == 0
    assert "tomogram" not in molecules.features


def test_orientations_that_copick_does_not_trust_are_ignored(tmp_path):
    turned = np.diag([-1.0, -1.0, 1.0, 1.0]).tolist()
    content = picks(point(transformation_=turned), trust_orientation=False)
    path = written(tmp_path, "a.json", content)
    assert read_molecules(path).rotations.magnitude().max() == 0
    write_molecules(read_molecules(path), tmp_path / "b.json")
    assert json.loads((tmp_path / "b.json").read_text())["trust_orientation"] is False


vectors = st.tuples(*[st.floats(-500, 500).map(lambda x: round(x, 6))] * 3)
turns = st.tuples(*[st.floats(-3, 3)] * 3)


@settings(max_examples=50)
@given(st.lists(st.tuples(vectors, turns, st.integers(0, 9)), min_size=1, max_size=4))
def test_any_picks_come_back_from_copick(rows):
    places, turned, identities = zip(*rows, strict=True)
    molecules = Molecules(
        places, Rotation.from_rotvec(turned), {"instance_id": list(identities)}
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "ann_1_ribosome.json")
        write_molecules(molecules, path)
        found = read_molecules(path)
    np.testing.assert_allclose(found.positions, places, atol=1e-9)
    assert (found.rotations.inv() * molecules.rotations).magnitude().max() < 1e-7
    assert found.features["instance_id"].tolist() == list(identities)
    assert found.features["pickable_object_name"][0] == "ribosome"


def test_picks_read_and_written_are_the_same_picks(tmp_path):
    path = written(tmp_path, "ann_1_ribosome.json", picks(point(), point(score=0.25)))
    write_molecules(read_molecules(path), tmp_path / "b.json")
    assert json.loads((tmp_path / "b.json").read_text()) == json.loads(path.read_text())


def test_picks_written_like_others_are_of_their_object_and_run(tmp_path):
    model = written(tmp_path, "model.json", picks())
    write_molecules(some(), tmp_path / "b_2_c.json", like=model)
    found = read_molecules(tmp_path / "b_2_c.json").features
    assert [found[each][0] for each in ("user_id", "tomogram")] == ["ann", "TS_01"]
    assert found["voxel_spacing"][0] == 10.0


def test_the_scale_is_copicks_voxel_spacing_and_moves_nothing(tmp_path):
    write_molecules(some(), tmp_path / "a.json", scale=0.5)
    assert read_molecules(tmp_path / "a.json").features["voxel_spacing"][0] == 5.0
    found = read_molecules(tmp_path / "a.json", scale=0.75)
    assert found.features["voxel_spacing"][0] == 7.5
    np.testing.assert_allclose(found.positions, some().positions, atol=1e-9)


def test_picks_come_back_through_a_table(tmp_path):
    path = written(tmp_path, "ann_1_ribosome.json", picks(point(), point()))
    write_molecules(read_molecules(path), tmp_path / "a.csv")
    write_molecules(read_molecules(tmp_path / "a.csv"), tmp_path / "b.json")
    assert read_molecules(tmp_path / "b.json") == read_molecules(path)
    spaced = some().with_features(voxel_spacing=["wide"] * 3)
    with pytest.raises(ValueError, match="voxel_spacing must be 1 finite number"):
        write_molecules(spaced, tmp_path / "c.json")


def test_what_copick_cannot_hold_is_said(tmp_path):
    with pytest.warns(UserWarning, match="copick picks cannot hold the features shift"):
        write_molecules(some(shift=[1.0] * 3), tmp_path / "a.json")
    with pytest.raises(ValueError, match="instance_id must be"):
        write_molecules(some(instance_id=["a"] * 3), tmp_path / "a.json")


# EMAN2 ------------------------------------------------------------------------------


@pytest.mark.parametrize("binning", [1, 4])
def test_eman2_counts_unbinned_voxels_from_the_middle_voxel(tmp_path, binning):
    # e2spt_boxer22.py: voxel = box / apix * apix_unbin + n // 2, in any binning.
    path = written(tmp_path, "TS_01_info.json", info([4.0, -8.0, 12.0]))
    apix = 2.5 * binning
    shape = tuple(each // binning for each in SHAPE)
    found = read_molecules(path, tomograms={"TS_01": TomogramInfo(shape, apix / 10)})
    box, middle = np.array([12.0, -8.0, 4.0]), np.array(shape) // 2
    np.testing.assert_allclose(
        found.positions / (apix / 10), [box / apix * 2.5 + middle]
    )


def test_eman2s_classes_are_features(tmp_path):
    boxes = [1, 2, 3, "tm", 0.5, 1], [1, 2, 3, "manual", 0.0, 7, 0], [4, 5, 6]
    path = written(tmp_path, "TS_01_info.json", info(*boxes))
    features = read_molecules(path, tomograms=SHAPE).features
    assert {name: values.tolist() for name, values in features.items()} == {
        "method": ["tm", "manual", "manual"],
        "score": [0.5, 0.0, 0.0],
        "class": [1, 7, 0],
        "class_name": ["ribosome", "particles_07", "particles_00"],
        "boxsize": [160, 64, 64],
        "apix_unbin": [2.5] * 3,
        "tomogram": ["TS_01"] * 3,
    }


def test_eman2s_boxes_of_before_2018_are_voxels_from_the_first(tmp_path):
    old = json.loads(info([4.0, 8.0, 12.0]))
    del old["apix_unbin"]
    path = written(tmp_path, "TS_01_info.json", json.dumps(old))
    found = read_molecules(path, scale=0.5)
    np.testing.assert_allclose(found.positions, [[6.0, 4.0, 2.0]])
    with pytest.raises(ValueError, match=r"TS_01_info.json.* pass scale="):
        read_molecules(path)


def test_eman2_needs_the_tomograms_size_and_says_so(tmp_path):
    path = written(tmp_path, "TS_01_info.json", info())
    with pytest.raises(ValueError, match=r"TS_01_info.json.*tomograms=.*'TS_01'"):
        read_molecules(path)
    found = read_molecules(path, tomograms="centred")
    np.testing.assert_allclose(found.positions, [[3.0, -2.0, 1.0]])
    assert "counted from the tomogram's centre" in inspect_file(path)


@settings(max_examples=50)
@given(
    st.lists(st.tuples(vectors, st.integers(0, 99)), min_size=1, max_size=4),
    st.tuples(*[st.integers(1, 999)] * 3),
)
def test_any_boxes_come_back_from_eman2(rows, shape):
    places, classes = zip(*rows, strict=True)
    molecules = Molecules(places, features={"class": list(classes)})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "TS_01_info.json")
        write_molecules(molecules, path, scale=0.25, tomograms=shape)
        found = read_molecules(path, tomograms=shape)
    np.testing.assert_allclose(found.positions, places, atol=1e-6)
    assert found.features["class"].tolist() == list(classes)
    assert found.features["tomogram"][0] == "TS_01"


def test_boxes_written_like_others_leave_the_rest_as_it_is(tmp_path):
    model = written(tmp_path, "TS_01_info.json", info())
    boxes = read_molecules(model, tomograms=SHAPE)
    path = tmp_path / "new_info.json"
    write_molecules(boxes, path, like=model, tomograms=SHAPE)
    assert json.loads(path.read_text()) == json.loads(model.read_text())


def test_eman2_says_what_it_cannot_hold(tmp_path):
    path = tmp_path / "a_info.json"
    with pytest.warns(UserWarning, match="holds no rotations"):
        write_molecules(some(), path, scale=1.0, tomograms=SHAPE)
    flat = Molecules(np.ones((2, 3)), features={"tomogram": ["a", "b"]})
    with pytest.raises(ValueError, match=r"one tomogram, not 2 \(a, b\)"):
        write_molecules(flat, path, scale=1.0, tomograms=SHAPE)
    with pytest.raises(ValueError, match=r"pass scale="):
        write_molecules(flat[0], path, tomograms=SHAPE)
    with pytest.raises(ValueError, match=r"ends in \.json"):
        write_molecules(
            flat[0], tmp_path / "a.txt", format="eman2", scale=1.0, tomograms=SHAPE
        )


def test_objects_of_copick_are_classes_of_eman2_and_back(tmp_path):
    source = read_molecules(written(tmp_path, "a.json", picks()))
    path = tmp_path / "TS_01_info.json"
    with pytest.warns(UserWarning, match="cannot hold the features user_id"):
        write_molecules(source, path, tomograms=SHAPE)
    found = read_molecules(path, tomograms=SHAPE)
    assert found.features["class_name"].tolist() == ["ribosome"]
    assert found.features["apix_unbin"].tolist() == [10.0]
    np.testing.assert_allclose(found.positions, source.positions)
    with pytest.warns(UserWarning, match="cannot hold the features method"):
        write_molecules(found, tmp_path / "b.json")
    again = read_molecules(tmp_path / "b.json").features
    assert again["pickable_object_name"].tolist() == ["ribosome"]


texts = st.text(min_size=1, max_size=8).filter(lambda text: "\0" not in text)
finite = st.floats(allow_nan=False, allow_infinity=False)
whole = st.integers(-(2**31), 2**31)


@settings(max_examples=80)
@given(texts, texts, finite, st.integers(-(2**63), 2**63 - 1))
def test_any_text_and_number_comes_back_from_copick(picked, run, score, identity):
    features = {"pickable_object_name": [picked], "tomogram": [run]}
    features |= {"score": [score], "instance_id": [identity]}
    one = Molecules(np.ones((1, 3)), features=features)
    with tempfile.TemporaryDirectory() as folder:
        write_molecules(one, Path(folder, "a.json"))
        found = read_molecules(Path(folder, "a.json")).features
    assert {name: found[name].tolist() for name in features} == features


@settings(max_examples=80)
@given(texts, texts, finite, whole, st.integers(1, 2**31))
def test_any_text_and_number_comes_back_from_eman2(method, name, score, number, size):
    features = {"method": [method], "class_name": [name], "score": [score]}
    features |= {"class": [number], "boxsize": [size]}
    one = Molecules(np.ones((1, 3)), features=features)
    with tempfile.TemporaryDirectory() as folder:
        write_molecules(one, Path(folder, "a_info.json"), scale=1.0, tomograms=SHAPE)
        found = read_molecules(Path(folder, "a_info.json"), tomograms=SHAPE).features
    assert {name: found[name].tolist() for name in features} == features


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"class": [0.5, 1.0]}, "class must be whole numbers"),
        ({"class": [2**40, 1]}, "class must be whole numbers"),
        ({"boxsize": [0, 1]}, "boxsize must be whole numbers"),
        ({"class": [1, 1], "class_name": ["a", "b"]}, "class 1 has one class_name"),
        ({"score": [np.inf, 1.0]}, "score must be finite"),
    ],
)
def test_what_would_not_come_back_from_eman2_is_refused(tmp_path, features, message):
    two = Molecules(np.ones((2, 3)), features=features)
    with pytest.raises(ValueError, match=message):
        write_molecules(two, tmp_path / "a_info.json", scale=1.0, tomograms=SHAPE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.json", "a_info.json"])
def test_positions_beyond_all_numbers_are_refused(tmp_path, name):
    far = Molecules(np.full((1, 3), 1e308))
    options = {"tomograms": SHAPE} if name == "a_info.json" else {}
    with pytest.raises(ValueError, match="are not finite"):
        write_molecules(far, tmp_path / name, scale=0.01, **options)


# cryoSPARC --------------------------------------------------------------------------

FIELDS = np.dtype(
    [
        ("uid", "<u8"),
        ("location/micrograph_path", "S32"),
        ("location/center_x_frac", "<f4"),
        ("location/center_y_frac", "<f4"),
        ("alignments3D/pose", "<f4", (3,)),
        ("alignments3D/shift", "<f4", (2,)),
    ]
)


def dataset(folder, kind=FIELDS):
    path = Path(folder, "a.cs")
    with open(path, "wb") as file:  # np.save would call it a.cs.npy
        np.save(file, np.zeros(5, kind), allow_pickle=kind.hasobject)
    return path


def stream(header=None, length=None):
    """Return the newer form, CSDAT: a header in JSON, then columns."""
    fields = [("uid", "<u8"), ("location/center_x_frac", "<f4")]
    said = {"length": 5, "dtype": fields, "compression": None, "compressed_fields": []}
    text = json.dumps(said).encode() if header is None else header
    size = len(text) if length is None else length
    return b"\x95CSDAT" + size.to_bytes(4, "little") + text + bytes(60)


def test_particles_of_micrographs_are_refused_with_what_is_missing(tmp_path):
    message = r"a\.cs is a cryoSPARC dataset of 5 rows and 6 fields, .*keeps no z"
    with pytest.raises(ValueError, match=message):
        read_molecules(dataset(tmp_path))
    with pytest.raises(ValueError, match=r"b\.cs is .* 5 rows and 2 fields.*no z"):
        read_molecules(written(tmp_path, "b.cs", stream()))
    poses = np.dtype([("uid", "<u8"), ("alignments3D/pose", "<f4", (3,))])
    with pytest.raises(ValueError, match=r"a\.cs .* without locations"):
        read_molecules(dataset(tmp_path, poses))


def test_no_dataset_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"a\.cs: cryoSPARC .* not written"):
        write_molecules(some(), tmp_path / "a.cs")
    assert list(tmp_path.iterdir()) == []


class Trap:
    def __reduce__(self):
        return (os.mkdir, ("trap",))


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open("a.cs", "wb") as file:
        np.save(file, np.array([Trap()], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"a\.cs is not a readable cryoSPARC dataset"):
        read_molecules("a.cs")
    assert not Path("trap").exists()


# All of them ------------------------------------------------------------------------

DEEP = "[" * 100_000
MALFORMED = {
    "cut.json": (picks()[:-20], "cut.json is not readable JSON"),
    "deep.json": ('{"pickable_object_name": ' + DEEP, "nests too deeply"),
    "deep_info.json": ('{"boxes_3d": ' + DEEP, "nests too deeply"),
    "twice.json": ('{"pickable_object_name": 1, "a": 1, "a": 2}', "'a' is there twice"),
    "other.json": ('{"a": 1}', "has no field 'pickable_object_name'"),
    "array.json": ("[1, 2]", "must hold a JSON object"),
    "packed.json": (b"\x1f\x8b\x08\x00\xff\xfe", "it is not text"),
    "unit.json": (picks(unit="pixel"), "the unit must be 'angstrom', not 'pixel'"),
    "none.json": (picks(points=[]), "holds no points"),
    "null.json": (picks(points=None), "holds no points"),
    "place.json": (picks({"location": [1, 2, 3]}), "point 1: location must be"),
    "text.json": (picks(point((1, 2, "3"))), "point 1: location must be 3 finite"),
    "nan.json": (picks(point((1, 2, float("nan")))), "must be 3 finite numbers"),
    "huge.json": (picks(point((1, 2, 10**400))), "must be 3 finite numbers"),
    "digits.json": (picks().replace("10.0", "1" * 5000), "not readable JSON"),
    "rows.json": (picks(point(transformation_=EYE[:3])), "must be 4 rows of 4 numbers"),
    "row.json": (picks(point(transformation_=[[1.0]] * 4)), "must be 4 finite numbers"),
    "last.json": (picks(point(transformation_=[EYE[0]] * 4)), "the last row must be"),
    "skew.json": (
        picks(point(transformation_=[EYE[0]] * 3 + EYE[3:])),
        "point 1: transformation_ is not a rotation",
    ),
    "mirror.json": (
        picks(point(transformation_=np.diag([1.0, 1, -1, 1]).tolist())),
        "is not a rotation",
    ),
    "large.json": (picks(point(instance_id=2**70)), "instance_id must be of the kind"),
    "score.json": (picks(point(score="1")), "score must be of the kind float"),
    "name.json": (picks(user_id=7), "user_id must be of the kind str"),
    "none_info.json": (info(boxes_3d=[]), "there are no boxes"),
    "flat_info.json": (info(boxes_3d=[1, 2, 3]), "box 1 must be x, y, z"),
    "short_info.json": (info([1, 2]), "box 1 must be x, y, z"),
    "text_info.json": (info([1, 2, "3"]), "box 1 must be 5 finite numbers"),
    "class_info.json": (info([1, 2, 3, "tm", 0.0, 0.5]), "class a whole number"),
    "apix_info.json": (info(apix_unbin="x"), "apix_unbin must be a number above 0"),
    "list_info.json": (
        info(class_list={"a": {}}),
        "class_list, class 'a' must be a number",
    ),
    "size_info.json": (
        info(class_list={"1": {"boxsize": "b"}}),
        "class '1' must be 1 finite",
    ),
    "text.cs": ("uid", "starts with b'uid'"),
    "empty.cs": ("", "starts with b''"),
    "cut.cs": (b"\x93NUMPY\x01\x00v\x00{'descr'", "does not say rows and fields"),
    "later.cs": (b"\x93NUMPY\x03\x00", "does not say rows and fields"),
    "long.cs": (stream(length=2**32 - 1), "does not say rows and fields"),
    "deep.cs": (stream(DEEP.encode()), "not a readable cryoSPARC dataset"),
    "wrong.cs": (stream(b'{"length": [], "dtype": []}'), "not a readable cryoSPARC"),
    "numbers.cs": (b"\x93NUMPY\x01\x00\x46\x00" + b"1" * 70, "not a readable"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_list_gives_one_clear_error(tmp_path, name):
    content, message = MALFORMED[name]
    path = written(tmp_path, name, content)
    options = {"tomograms": "centred"} if name.endswith("_info.json") else {}
    pattern = message.replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(ValueError, match=pattern) as caught:
        read_molecules(path, **options)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000


@pytest.mark.parametrize("name", ["a.json", "a_info.json", "a.cs"])
def test_damaged_copies_are_read_or_refused_by_name(tmp_path, name):
    whole = {"a.json": picks(), "a_info.json": info()}.get(name, "").encode()
    whole = whole or dataset(tmp_path).read_bytes()
    rng = np.random.default_rng(7)
    options = {"tomograms": "centred"} if name == "a_info.json" else {}
    for _ in range(500):
        damaged = bytearray(whole)
        for at in rng.integers(len(whole), size=rng.integers(1, 4)):
            damaged[at] = rng.integers(256)
        path = written(
            tmp_path, name, bytes(damaged[: rng.integers(1, 2 * len(whole))])
        )
        try:
            read_molecules(path, format=format_of(path), **options)
        except ValueError as error:
            assert name in str(error)


def test_a_list_that_is_too_large_is_refused_before_it_is_read(tmp_path):
    path = written(tmp_path, "a.json", picks())
    with pytest.raises(ValueError, match=r"a\.json holds more than 100 bytes"):
        read_json(path, most=100)


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.json", picks(), "copick"),
        ("a.txt", picks(), "copick"),
        ("a_info.json", info(), "eman2"),
        ("a.json", info(), "eman2"),
        ("a.txt", stream(), "cryosparc"),
        ("a.json", '{"location": {"x": 1, "y": 2, "z": 3}}', "portal"),
    ],
)
def test_content_says_what_a_list_is(tmp_path, name, content, kind):
    assert format_of(written(tmp_path, name, content)) == kind


def test_the_longest_ending_says_what_is_written_and_then_the_model():
    assert format_to_write("a.json") == "copick"
    assert format_to_write("a_info.json") == "eman2"
    assert format_to_write("A_INFO.JSON", "copick") == "eman2"
    assert format_to_write("a.star", "stopgap") == "stopgap"


def test_of_an_unknown_file_all_that_is_known_is_listed(tmp_path):
    path = written(tmp_path, "a.xyz", "1 2 3\n")
    endings = {one for each in FORMATS.values() for one in each.endings}
    for look in (read_molecules, inspect_file):
        with pytest.raises(ValueError, match=r"a\.xyz") as caught:
            look(path)
        said = str(caught.value).replace(",", "").split()
        assert [each for each in (*endings, *FORMATS) if each not in said] == []


@pytest.mark.parametrize(
    ("name", "content", "scale"),
    [("a.json", picks(), 1.0), ("a_info.json", info(), 0.25)],
)
def test_other_lists_have_their_scale_from_picks_and_boxes(
    tmp_path, name, content, scale
):
    pytest.importorskip("dynamotable")
    model = written(tmp_path, name, content)
    write_molecules(some(), tmp_path / "a.tbl", like=model)
    found = read_molecules(tmp_path / "a.tbl")
    assert found.features["apix"][0] == 10 * scale
    np.testing.assert_allclose(found.positions, some().positions, atol=1e-5)


@pytest.mark.parametrize("name", [n for n in FORMATS if FORMATS[n].title])
def test_a_format_that_describes_itself_is_in_the_help_of_convert(capsys, name):
    assert main(["convert", "--help"]) == 0
    assert FORMATS[name].title in capsys.readouterr().out


def test_convert_turns_boxes_into_picks_and_tables(tmp_path, capsys):
    pytest.importorskip("starfile")
    path = str(written(tmp_path, "TS_01_info.json", info()))
    for out in ("a.csv", "a.star", "a.ndjson"):
        arguments = [
            "convert",
            path,
            str(tmp_path / out),
            "--tomograms-star",
            "centred",
        ]
        assert main(arguments) == 0, capsys.readouterr().err
    found = read_molecules(tmp_path / "a.star")
    np.testing.assert_allclose(found.positions, [[3.0, -2.0, 1.0]])


def test_the_size_of_a_tomogram_may_be_said_in_a_shell(tmp_path, capsys):
    path = str(written(tmp_path, "TS_01_info.json", info()))
    arguments = ["convert", path, str(tmp_path / "a.csv"), "--tomograms-star"]
    assert main([*arguments, "200,400,300"]) == 0, capsys.readouterr().err
    found = read_molecules(tmp_path / "a.csv")
    np.testing.assert_allclose(found.positions, [[28.0, 48.0, 38.5]])
