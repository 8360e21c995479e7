from __future__ import annotations

import copy
import dataclasses
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe import Molecules
from funpipe.base.molecules import as_molecules

FEATURES = {
    "score": np.array([0.5, np.nan, -1.0, 0.1]),
    "grey": np.array([0.1, 0.2, 0.3, 0.4], np.float32),
    "tube": np.array([3, 1, 2, 1]),
    "good": np.array([True, False, True, True]),
    "name": np.array(["a", "1.0", "x,y", 'say "no"\n']),
}


def some(count: int = 4, seed: int = 0) -> Molecules:
    random = np.random.default_rng(seed)
    return Molecules(
        random.uniform(-50, 50, (count, 3)),
        Rotation.random(count, rng=random),
        {name: values[:count] for name, values in FEATURES.items()},
    )


# Making them.


def test_rotations_are_the_identity_unless_given():
    molecules = Molecules([[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(molecules.rotations.magnitude(), [0, 0])
    assert molecules.positions.dtype == np.float64
    assert dict(molecules.features) == {}


def test_a_single_rotation_goes_with_a_single_position():
    turn = Rotation.from_rotvec([0.1, 0.2, 0.3])
    several = Rotation.from_quat(turn.as_quat()[None])
    assert Molecules([[1, 2, 3]], turn) == Molecules([[1, 2, 3]], several)


def test_molecules_are_frozen():
    molecules = some()
    with pytest.raises(dataclasses.FrozenInstanceError):
        molecules.positions = np.zeros((4, 3))
    with pytest.raises(ValueError, match="read-only"):
        molecules.positions[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        molecules.features["score"][0] = 0
    with pytest.raises(TypeError, match="item assignment"):
        molecules.features["score"] = np.zeros(4)


def test_molecules_do_not_follow_the_arrays_they_were_made_of():
    positions, score = np.ones((2, 3)), np.ones(2)
    molecules = Molecules(positions, features={"score": score})
    positions[:], score[:] = 7, 7
    assert molecules == Molecules(np.ones((2, 3)), features={"score": np.ones(2)})


@pytest.mark.parametrize(
    ("positions", "rotations", "features", "error", "text"),
    [
        ([1, 2, 3], None, {}, TypeError, r"positions must be an array of shape \(n, 3"),
        (np.ones((2, 2)), None, {}, ValueError, r"not an array of shape \(2, 2\)"),
        ([[1, 2, np.nan]], None, {}, ValueError, r"positions\[0\] must be finite"),
        ([["1", "2", "3"]], None, {}, TypeError, "positions must be an array"),
        (np.ones((2, 3)), Rotation.identity(3), {}, ValueError, "must be 2, .* not 3"),
        (np.ones((1, 3)), np.eye(3), {}, ValueError, "rotations must be a scipy Rot"),
        (np.ones((1, 3)), None, {"s": [1, 2]}, TypeError, r"features\['s'\] must be 1"),
        (np.ones((1, 3)), None, {"s": [None]}, TypeError, r"features\['s'\] must be"),
        (np.ones((1, 3)), None, {"z": [1]}, ValueError, "named by a text other than"),
        (np.ones((1, 3)), None, {1: [1]}, ValueError, "named by a text other than"),
        (np.ones((1, 3)), None, [1], TypeError, "features must be a mapping"),
    ],
)
def test_wrong_parts_are_named(positions, rotations, features, error, text):
    with pytest.raises(error, match=text):
        Molecules(positions, rotations, features)


ITSELF: list = []
ITSELF.append(ITSELF)
JUNK = {
    "10**400": [[10**400, 1, 2]],
    "10**5000": [[10**5000, 1, 2]],
    "itself": ITSELF,
    "itself in a row": [[ITSELF, 1, 2]],
    "ragged": [[1, 2, 3], [4, 5]],
    "objects": np.array([[None, 1, 2]]),
    "dates": np.array([["2026-01-01"] * 3], "M8[D]"),
    "complex": np.ones((1, 3)) * 1j,
    "a set": {1, 2, 3},
    "a generator": (i for i in range(3)),
    "a mask": np.ma.masked_less([[1.0, 2.0, 3.0]], 2),
    "bytes": b"123",
    "texts and numbers": [["1", 2, 3]],
}


@pytest.mark.parametrize("junk", JUNK)
def test_whatever_else_is_given_gives_one_clear_error(junk):
    value = JUNK[junk]
    row = value[0] if isinstance(value, list | np.ndarray) else value
    makes = {
        "positions": lambda: Molecules(value),
        "molecules": lambda: as_molecules("molecules", [value, value]),
        "rotations": lambda: Molecules([[1, 2, 3]], value),
        "features": lambda: Molecules(np.ones((3, 3)), features={"a": [row, row, row]}),
    }
    if junk == "a mask":
        makes["features"] = lambda: Molecules(np.ones((3, 3)), features={"a": row})
    for name, make in makes.items():
        with pytest.raises((TypeError, ValueError), match=f"^{name}") as caught:
            make()
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 300


def test_numbers_among_texts_do_not_become_texts():
    with pytest.raises(TypeError, match=r"features\['a'\] must be 2 numbers, truth"):
        Molecules(np.ones((2, 3)), features={"a": ["a", 1]})
    with pytest.raises(TypeError, match=r"features\['a'\] must be 2 numbers, truth"):
        Molecules(np.ones((2, 3))).with_features(a=["a", 1])


def test_a_text_that_an_array_would_cut_is_refused():
    with pytest.raises(ValueError, match=r"features\['a'\]: a text must not end in"):
        Molecules(np.ones((2, 3)), features={"a": ["a\0", "b"]})


@pytest.mark.parametrize("vector", [[1e308, 1e308, 0], [1e200, 0, 0]])
def test_rotations_that_are_nan_are_refused(vector, tmp_path):
    turn = Rotation.from_rotvec(vector)
    with pytest.raises(ValueError, match=r"rotations\[0\] must be finite"):
        Molecules([[1, 2, 3]], turn)
    row = ",".join(map(repr, [1, 2, 3, *vector]))
    (tmp_path / "a.csv").write_text(f"z,y,x,zvec,yvec,xvec\n{row}\n")
    with pytest.raises(ValueError, match=r"a\.csv: rotations\[0\] must be finite"):
        Molecules.from_csv(tmp_path / "a.csv")


# Being one of several values.


@pytest.mark.parametrize(
    ("index", "chosen"),
    [
        (1, [1]),
        (-1, [3]),
        (np.int64(2), [2]),
        (slice(1, None, 2), [1, 3]),
        (slice(0, 0), []),
        ([], []),
        ([2, 0, 0], [2, 0, 0]),
        (np.array([3, -4]), [3, 0]),
        (np.array([True, False, True, False]), [0, 2]),
    ],
)
def test_an_index_chooses_positions_rotations_and_features(index, chosen):
    molecules = some()
    part = molecules[index]
    assert len(part) == len(chosen)
    for place, i in enumerate(chosen):
        np.testing.assert_array_equal(part.positions[place], molecules.positions[i])
        np.testing.assert_allclose(
            part.rotations[place].as_matrix(), molecules.rotations[i].as_matrix()
        )
        for name in FEATURES:
            np.testing.assert_array_equal(
                part.features[name][place], molecules.features[name][i]
            )
            assert part.features[name].dtype == molecules.features[name].dtype


@pytest.mark.parametrize("index", [4, -5, "score", np.array([True, False])])
def test_an_index_that_chooses_nothing_is_an_error(index):
    with pytest.raises(IndexError):
        some()[index]


def test_iteration_gives_the_particles_one_by_one():
    molecules = some()
    assert list(molecules) == [molecules[i] for i in range(4)]
    assert Molecules.concat(molecules) == molecules


@pytest.mark.parametrize("cut", range(5))
def test_concat_undoes_a_cut(cut):
    molecules = some()
    assert Molecules.concat([molecules[:cut], molecules[cut:]]) == molecules


def test_concat_goes_by_the_names_of_features():
    a = Molecules([[0, 0, 0]], features={"p": [1], "q": [2]})
    b = Molecules([[1, 1, 1]], features={"q": [4], "p": [3]})
    both = Molecules.concat([a, b])
    assert both.features["p"].tolist() == [1, 3]
    assert both.features["q"].tolist() == [2, 4]


def test_concat_refuses_none_and_different_features():
    with pytest.raises(ValueError, match="several must be one or more Molecules"):
        Molecules.concat([])
    plain = Molecules([[0, 0, 0]])
    with pytest.raises(ValueError, match=r"features \[\], not \['score'\]"):
        Molecules.concat([plain, plain.with_features(score=[1])])


@pytest.mark.parametrize(
    "values",
    [
        (np.array(["a"]), np.array([1])),
        (np.array([2**53 + 1]), np.array([1], np.uint64)),
        (np.array([2**53 + 1]), np.array([0.5])),
    ],
)
def test_concat_changes_no_value_into_another(values):
    several = [Molecules([[1, 2, 3]], features={"a": each}) for each in values]
    with pytest.raises(ValueError, match="several: the feature 'a' must have one type"):
        Molecules.concat(several)


def test_concat_joins_numbers_of_several_types():
    several = [
        Molecules([[1, 2, 3]], features={"a": np.array([each], kind)})
        for each, kind in ((True, bool), (2, np.int8), (3, np.uint8), (0.5, float))
    ]
    assert Molecules.concat(several).features["a"].tolist() == [1.0, 2.0, 3.0, 0.5]


def test_equality_sees_every_part():
    molecules = some()
    moved, turned = molecules.positions.copy(), molecules.rotations
    moved[2, 1] = np.nextafter(moved[2, 1], np.inf)
    nudge = Rotation.from_rotvec(np.outer([0, 0, 0, 1], [0, 0, 1e-9]))
    assert molecules == some()
    assert molecules != Molecules(moved, turned, molecules.features)
    assert molecules != Molecules(molecules.positions, turned * nudge, FEATURES)
    assert molecules != molecules.with_features(tube=[3, 1, 2, 2])
    assert molecules != molecules.with_features(tube=[3.0, 1.0, 2.0, 1.0])
    assert molecules != molecules.with_features(more=[1, 1, 1, 1])
    assert molecules != molecules[:3]
    assert molecules != "molecules"


def test_a_rotation_equals_its_other_quaternion():
    turn = Rotation.random(3, rng=1)
    other = Rotation.from_quat(-turn.as_quat())
    assert Molecules(np.ones((3, 3)), turn) == Molecules(np.ones((3, 3)), other)


def test_molecules_cannot_be_hashed():
    with pytest.raises(TypeError, match="cannot be hashed"):
        hash(some())


def test_the_repr_says_how_many_and_which_features():
    assert repr(Molecules(np.zeros((0, 3)))) == "Molecules(0 particles)"
    assert repr(some(1)) == (
        "Molecules(1 particle, features: score, grey, tube, good, name)"
    )


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_copy_is_equal(duplicate):
    assert duplicate(some()) == some()


def test_a_pickle_comes_back_equal():
    assert pickle.loads(pickle.dumps(some())) == some()


def test_with_features_adds_and_replaces_and_leaves_the_rest():
    molecules = some()
    more = molecules.with_features(score=[1, 2, 3, 4], self=[0, 0, 0, 0])
    assert list(more.features) == [*FEATURES, "self"]
    assert more.features["score"].tolist() == [1, 2, 3, 4]
    assert molecules == some()


# Other people's molecules.


class Table:
    """A table of columns, as polars and pandas have them."""

    def __init__(self, columns):
        self._columns = columns
        self.columns = list(columns)

    def __getitem__(self, name):
        return self._columns[name]


def test_objects_with_pos_and_rotator_are_molecules():
    mine = some()
    texts = FEATURES["name"].astype(object)  # as pandas keeps texts
    theirs = SimpleNamespace(
        pos=mine.positions,
        rotator=mine.rotations,
        features=Table({**FEATURES, "name": texts}),
    )
    assert as_molecules("molecules", theirs) == mine


def test_objects_with_pos_and_rotator_need_no_features():
    mine = Molecules(np.ones((2, 3)), Rotation.random(2, rng=0))
    theirs = SimpleNamespace(pos=mine.positions, rotator=mine.rotations)
    assert as_molecules("molecules", theirs) == mine
    theirs.features = None
    assert as_molecules("molecules", theirs) == mine


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["a", None], ["a", ""]),
        (["a", np.nan], ["a", ""]),
        ([1, None], [1.0, np.nan]),
        ([True, None], [1.0, np.nan]),
        ([True, False], [True, False]),
        ([0.5, None], [0.5, np.nan]),
        ([None, None], ["", ""]),
    ],
)
def test_what_is_null_in_a_table_of_others_is_no_text_or_nan(values, expected):
    theirs = SimpleNamespace(
        pos=np.ones((2, 3)),
        rotator=Rotation.identity(2),
        features=Table({"a": np.array(values, dtype=object)}),
    )
    found = as_molecules("molecules", theirs)
    np.testing.assert_array_equal(found.features["a"], expected)
    loader = fp.SubtomogramLoader(np.ones((4, 4, 4)), theirs, scale=1.0)
    assert loader.molecules == found


def test_columns_of_others_that_are_one_as_text_are_refused():
    table = Table({1: np.ones(2), "1": np.ones(2)})
    theirs = SimpleNamespace(
        pos=np.ones((2, 3)), rotator=Rotation.identity(2), features=table
    )
    with pytest.raises(ValueError, match=r"molecules\.features has the column '1' tw"):
        as_molecules("molecules", theirs)


def test_molecules_of_acryo_are_those_of_its_csv_file(tmp_path):
    acryo = pytest.importorskip("acryo", reason="acryo is not installed")
    polars = pytest.importorskip("polars", reason="polars is not installed")
    table = polars.DataFrame(
        {
            "note": ["a", None],
            "number": [1, None],
            "good": [True, None],
            "score": [0.5, None],
            "sure": [True, False],
            "kind": polars.Series(["p", None], dtype=polars.Categorical),
            "none": polars.Series([None, None], dtype=polars.String),
        }
    )
    theirs = acryo.Molecules(np.full((2, 3), 10.0), features=table)
    theirs.to_csv(tmp_path / "a.csv")
    loader = fp.SubtomogramLoader(np.ones((4, 4, 4)), theirs, scale=1.0)
    assert loader.molecules == Molecules.from_csv(tmp_path / "a.csv")
    assert loader.molecules.features["note"].tolist() == ["a", ""]


def test_an_error_that_was_not_estimated_is_a_number_to_acryo(tmp_path):
    acryo = pytest.importorskip("acryo", reason="acryo is not installed")
    mine = Molecules(np.ones((2, 3)), features={"angle_error": [np.nan, np.nan]})
    mine.to_csv(tmp_path / "a.csv")
    theirs = acryo.Molecules.from_csv(tmp_path / "a.csv").features["angle_error"]
    assert str(theirs.dtype) == "Float64"
    assert theirs.is_nan().all()


def test_an_array_is_molecules_that_are_not_turned():
    assert as_molecules("molecules", np.ones((2, 3))) == Molecules(np.ones((2, 3)))


@pytest.mark.parametrize("value", [None, 3, "picks.csv", {"pos": 1}, np.ones(3)])
def test_what_is_no_molecules_is_named(value):
    with pytest.raises((TypeError, ValueError), match="molecules must be"):
        as_molecules("molecules", value)


def test_a_box_cut_at_an_euler_angle_is_the_one_that_acryo_cuts():
    # acryo 0.9.1: Molecules.from_euler([[6, 7, 8]], [[30, 40, 50]], seq="ZYZ",
    # degrees=True).rotator.as_matrix(), and the corners and the middle of what
    # SubtomogramLoader(z + 10 y + 100 x, molecules, scale=0.5) cuts as 3 x 3 x 3.
    matrix = [
        [0.76604444, 0.3213938, 0.5566704],
        [0.49240388, 0.26325835, -0.82959837],
        [-0.41317591, 0.90961589, 0.04341204],
    ]
    theirs = {
        (0, 0, 0): 1697.10,
        (0, 0, 2): 1690.35,
        (0, 2, 0): 1885.59,
        (2, 0, 0): 1626.08,
        (1, 1, 1): 1752.00,
        (2, 2, 2): 1806.61,
    }
    molecules = SimpleNamespace(
        pos=np.array([[6.0, 7.0, 8.0]]), rotator=Rotation.from_matrix([matrix])
    )
    z, y, x = np.mgrid[:30, :32, :34]
    box = fp.subtomograms(z + 10 * y + 100 * x, molecules, shape=3, scale=0.5)[0]
    # acryo's spline meets the edges of its smaller block and is up to 0.65 off the
    # plane that it samples; another sense of the matrix, or another order of axes,
    # would be more than 100 off at one of these voxels.
    for voxel, value in theirs.items():
        assert abs(box[voxel] - value) < 1, voxel


# CSV.

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
odd_texts = st.sampled_from(
    [
        *("1", "1.0", "1e5", "-0", " 2", "1_000", "01", "0x1", "nan", "inf", "True"),
        *("", ",", '"', '""', "'", "\n", "\r", "\r\n", "a,b", "é", "#", "\ufeff"),
    ]
)
names = (texts | st.sampled_from(["a:<f4", "b:c", ":", ":<i8", "a,b"])).filter(
    lambda name: name not in ("z", "y", "x", "zvec", "yvec", "xvec")
)
numbers = st.sampled_from(
    ["<f8", "<f4", "<f2", ">f4", "<i8", "|i1", "<u8", "|u1", ">i4", "|b1"]
)


@st.composite
def molecule_sets(draw: st.DrawFn) -> Molecules:
    count = draw(st.integers(0, 4))
    finite = st.floats(-1e9, 1e9)
    angles = draw(hnp.arrays(float, (count, 3), elements=st.floats(-7, 7)))
    features = {}
    for name in draw(st.lists(names, max_size=3, unique=True)):
        if draw(st.booleans()):
            each = draw(
                st.lists(texts | odd_texts, min_size=count, max_size=count)
                | st.lists(odd_texts, min_size=count, max_size=count)
            )
            features[name] = np.array(each, dtype=str)
        else:
            features[name] = draw(hnp.arrays(draw(numbers), count))
    return Molecules(
        draw(hnp.arrays(float, (count, 3), elements=finite)),
        Rotation.from_rotvec(angles),
        features,
    )


@settings(max_examples=200, deadline=None)
@given(molecules=molecule_sets())
def test_a_csv_file_loses_nothing(molecules, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "round_trip.csv"
    molecules.to_csv(path)
    assert Molecules.from_csv(path) == molecules


def test_a_csv_file_keeps_types_that_its_text_does_not_tell(tmp_path):
    molecules = some()
    molecules.to_csv(tmp_path / "a.csv")
    back = Molecules.from_csv(str(tmp_path / "a.csv"))
    assert {name: each.dtype for name, each in back.features.items()} == {
        name: each.dtype for name, each in FEATURES.items()
    }
    title, *_ = (tmp_path / "a.csv").read_text().splitlines()
    assert title == "z,y,x,zvec,yvec,xvec,score,grey:<f4,tube,good,name"


def test_a_csv_file_of_acryo_is_read(tmp_path):
    # Written by acryo 0.9.1's Molecules.to_csv: the rotation vector of
    # from_euler([[30, 40, 50]], seq="ZYZ", degrees=True), see above.
    (tmp_path / "a.csv").write_text(
        "z,y,x,zvec,yvec,xvec,score,name,k\n"
        "6.0000,7.0000,8.0000,1.3352,0.7446,0.1313,0.5000,a,3\n"
    )
    molecules = Molecules.from_csv(tmp_path / "a.csv")
    assert molecules.positions.tolist() == [[6, 7, 8]]
    first_row = [0.76604444, 0.3213938, 0.5566704]
    np.testing.assert_allclose(
        molecules.rotations.as_matrix()[0][0], first_row, atol=1e-4
    )
    assert {name: each.tolist() for name, each in molecules.features.items()} == {
        "score": [0.5],
        "name": ["a"],
        "k": [3],
    }


@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_a_csv_file_of_positions_alone_is_read_in_any_order(tmp_path, start):
    (tmp_path / "a.csv").write_text(f"{start}x,y,z\n1,2,3\n", encoding="utf-8")
    assert Molecules.from_csv(tmp_path / "a.csv") == Molecules([[3, 2, 1]])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is empty"),
        ("z,y\n1,2\n", "has no column 'x'"),
        ("z,y,x,zvec,xvec\n1,2,3,0,0\n", "has no column 'yvec'"),
        ("z,y,x,s,s\n1,2,3,4,5\n", "has the column 's' twice"),
        ("z,y,x\n1,2,3\n1,2,a\n", "columns z, y, x: .*'a'"),
        ("z,y,x\n1,2,nan\n", "columns z, y, x: .*finite"),
        ("z,y,x,zvec,yvec,xvec\n1,2,3,0,inf,0\n", "columns zvec, .*finite"),
        ("z,y,x,s:<f4\n1,2,3,b\n", "column 's:<f4': .*'b'"),
        ("z,y,x,s:|b1\n1,2,3,maybe\n", "column 's:|b1': 'maybe'"),
        ("z,y,x,s:|i1\n1,2,3,300\n", "column 's:|i1': .*300"),
        ("z,y,x\n1,2,3\n1,2\n", "line 3: 2 values for 3 columns"),
        ("z,y,x\n1,2,3,4\n", "line 2: 4 values for 3 columns"),
        ('z,y,x,s\n1,2,3,"a\n', "is not a CSV table"),
    ],
)
def test_a_malformed_csv_file_is_named_with_what_is_wrong(tmp_path, text, complaint):
    path = tmp_path / "picks.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"picks.csv.*{complaint}"):
        Molecules.from_csv(path)


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "picks.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ValueError, match=r"picks\.csv is not a CSV table"):
        Molecules.from_csv(tmp_path / "picks.csv")


def test_a_missing_file_and_a_folder_get_the_systems_own_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        Molecules.from_csv(tmp_path / "none.csv")
    (tmp_path / "a folder").mkdir()
    with pytest.raises(IsADirectoryError, match="a folder"):
        Molecules.from_csv(tmp_path / "a folder")
    with pytest.raises(IsADirectoryError):
        some().to_csv(tmp_path / "a folder")
    with pytest.raises(FileNotFoundError):
        some().to_csv(tmp_path / "none" / "a.csv")
    assert [each.name for each in tmp_path.rglob("*")] == ["a folder"]


def test_a_file_that_cannot_be_written_whole_is_left_as_it_was(tmp_path):
    path = tmp_path / "a.csv"
    some().to_csv(path)
    before = path.read_bytes()
    unwritable = some().with_features(name=["a", "b", "c", "\ud800"])
    with pytest.raises(UnicodeEncodeError):
        unwritable.to_csv(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
