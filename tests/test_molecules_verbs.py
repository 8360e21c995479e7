"""What is done with Molecules: laws, known vectors, and one error for what is wrong."""

from __future__ import annotations

import html.parser
import itertools
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation

from funpipe import Molecules
from funpipe.base.euler import CONVENTIONS, Euler

lengths = st.integers(-1000, 1000).map(lambda n: n / 8)  # sums of them are exact
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
seeds = st.integers(0, 2**32)
conventions = st.sampled_from([*CONVENTIONS, Euler("ZXZ", True), Euler("xyz", False)])
FEATURES = {
    "tube": st.integers(-3, 3),
    "score": st.sampled_from([-0.5, -0.0, 0.0, 0.25, 1.0, np.inf, np.nan]),
    "good": st.booleans(),
    "name": st.sampled_from(["", "a", "b", "ab", "é", "10", "9"]),
}
features = st.sampled_from(list(FEATURES))


def vectors(count: int):
    return hnp.arrays(float, (count, 3), elements=lengths)


def turns(count: int):
    if count == 0:
        return st.just(Rotation.identity(0))
    return seeds.map(lambda seed: Rotation.random(count, rng=seed))


@st.composite
def molecule_sets(draw, least: int = 0) -> Molecules:
    """Draw molecules whose feature number tells them apart."""
    count = draw(st.integers(least, 6))
    known = {
        name: np.array(
            draw(st.lists(each, min_size=count, max_size=count)),
            dtype=str if name == "name" else None,
        )
        for name, each in FEATURES.items()
    }
    known["number"] = np.arange(count)
    return Molecules(draw(vectors(count)), draw(turns(count)), known)


def numbers(molecules: Molecules) -> list[int]:
    return molecules.features["number"].tolist()


def assert_alike(left: Molecules, right: Molecules, tolerance: float = 1e-9) -> None:
    np.testing.assert_allclose(left.positions, right.positions, atol=tolerance)
    angles = (left.rotations.inv() * right.rotations).magnitude()
    np.testing.assert_allclose(angles, 0, atol=tolerance)
    same = Molecules(right.positions, right.rotations, left.features)
    assert same == right


SOME = Molecules(
    np.arange(12.0).reshape(4, 3),
    Rotation.random(4, rng=0),
    {"score": [0.5, np.nan, 0.25, 0.5], "name": ["b", "a", "c", "a"]},
)
ABOUT_Z = Rotation.from_rotvec([90, 0, 0], degrees=True)


# Moved and turned.


@given(molecules=molecule_sets(), data=st.data())
def test_a_shift_forth_and_back_is_the_identity(molecules, data):
    shift = data.draw(vectors(len(molecules)) | vectors(1).map(lambda rows: rows[0]))
    assert molecules.translate(shift).translate(-shift) == molecules
    own = molecules.translate(shift, frame="particle")
    assert_alike(own.translate(-shift, frame="particle"), molecules)


@given(molecules=molecule_sets(), data=st.data())
def test_two_shifts_are_one_of_their_sum(molecules, data):
    a, b = data.draw(vectors(len(molecules))), data.draw(vectors(len(molecules)))
    assert molecules.translate(a).translate(b) == molecules.translate(a + b)


@given(molecules=molecule_sets(), shift=vectors(1))
def test_one_shift_for_all_is_the_same_for_each(molecules, shift):
    each = np.repeat(shift, len(molecules), axis=0)
    for frame in ("tomogram", "particle"):
        assert molecules.translate(shift[0], frame=frame) == molecules.translate(
            each, frame=frame
        )


@given(molecules=molecule_sets(), data=st.data())
def test_a_shift_in_the_particles_frame_is_turned_into_the_tomograms(molecules, data):
    shift = data.draw(vectors(len(molecules)))
    turned = [r.apply(s) for r, s in zip(molecules.rotations, shift, strict=True)]
    moved = molecules.translate(shift, frame="particle")
    there = molecules.translate(np.reshape(turned, (-1, 3)))
    assert_alike(moved, there)


@given(molecules=molecule_sets(), data=st.data(), frame=st.sampled_from([0, 1]))
def test_a_rotation_and_its_inverse_are_the_identity(molecules, data, frame):
    frame = ("tomogram", "particle")[frame]
    turn = data.draw(turns(1) | turns(len(molecules)))
    turned = molecules.rotate(turn, frame=frame)
    np.testing.assert_array_equal(turned.positions, molecules.positions)
    back = turn.inv() if len(turn) else turn
    assert_alike(turned.rotate(back, frame=frame), molecules)


@given(molecules=molecule_sets(least=1), first=turns(1), second=turns(1))
def test_rotations_compose_from_the_left_and_from_the_right(molecules, first, second):
    both = molecules.rotate(first).rotate(second)
    assert_alike(both, molecules.rotate(second * first))
    own = molecules.rotate(first, frame="particle").rotate(second, frame="particle")
    assert_alike(own, molecules.rotate(first * second, frame="particle"))


@given(molecules=molecule_sets(), first=turns(1), second=turns(1))
def test_turning_in_one_frame_and_in_the_other_commutes(molecules, first, second):
    one = molecules.rotate(first).rotate(second, frame="particle")
    assert_alike(one, molecules.rotate(second, frame="particle").rotate(first))


def test_turning_the_tomograms_frame_turns_the_particles_axes():
    # A quarter turn about z takes y to -x where x, y, z are right-handed.
    particle = Molecules([[1.0, 2.0, 3.0]]).rotate(
        Rotation.from_rotvec([-90, 0, 0], degrees=True)
    )
    np.testing.assert_allclose(
        particle.translate([0, 1, 0], frame="particle").positions,
        [[1, 2, 2]],
        atol=1e-12,
    )


def test_turning_and_moving_are_acryos():
    acryo = pytest.importorskip("acryo", reason="acryo is not installed")
    turn, shift = Rotation.random(rng=3), [1.0, 2.0, 3.0]
    theirs = acryo.Molecules(SOME.positions, SOME.rotations)
    for mine, other in (
        (SOME.rotate(turn), theirs.rotate_by(turn)),
        (SOME.translate(shift), theirs.translate(shift)),
        (SOME.translate(shift, frame="particle"), theirs.translate_internal(shift)),
    ):
        assert_alike(mine, Molecules(other.pos, other.rotator, SOME.features), 1e-5)


# From angles and axes.


@given(molecules=molecule_sets(), convention=conventions)
def test_euler_angles_make_the_rotations_that_they_are_of(molecules, convention):
    again = Molecules.from_euler(
        molecules.positions,
        molecules.euler(convention),
        convention,
        features=molecules.features,
    )
    assert_alike(again, molecules, 1e-6)


@given(
    angles=st.tuples(st.floats(-170, 170), st.floats(5, 175), st.floats(-170, 170)),
    name=st.sampled_from(list(CONVENTIONS)),
)
def test_angles_away_from_the_poles_come_back(angles, name):
    again = Molecules.from_euler([[1, 2, 3]], angles, name).euler(name)
    np.testing.assert_allclose(again, [angles], atol=1e-6)


@pytest.mark.parametrize("pole", [0, 180])
@pytest.mark.parametrize("name", CONVENTIONS)
def test_angles_at_a_pole_make_the_same_rotation(pole, name):
    first = Molecules.from_euler([[1, 2, 3]], [30, pole, 50], name)
    assert_alike(Molecules.from_euler([[1, 2, 3]], first.euler(name), name), first)


@pytest.mark.parametrize(
    ("convention", "angles"),
    [("relion", [30, 40, 50]), ("dynamo", [-40, 40, 120]), ("stopgap", [60, 40, -140])],
)
def test_the_same_rotation_in_the_angles_of_each_program(convention, angles):
    # The matrix on vectors z, y, x that acryo 0.9.1 makes of ZYZ 30, 40, 50.
    matrix = [
        [0.76604444, 0.3213938, 0.5566704],
        [0.49240388, 0.26325835, -0.82959837],
        [-0.41317591, 0.90961589, 0.04341204],
    ]
    turned = Molecules.from_euler([[1, 2, 3]], [angles], convention)
    np.testing.assert_allclose(turned.rotations.as_matrix(), [matrix], atol=1e-7)


@pytest.mark.parametrize("sequence", ["ZXZ", "ZYZ", "XYZ", "zyx"])
def test_a_sequence_of_acryo_is_an_inverse_euler(sequence):
    acryo = pytest.importorskip("acryo", reason="acryo is not installed")
    angles, place = [[30, 40, 50]], [[1, 2, 3]]
    theirs = acryo.Molecules.from_euler(place, angles, sequence, degrees=True)
    mine = Molecules.from_euler(place, angles, Euler(sequence, inverse=True))
    assert_alike(mine, Molecules(place, theirs.rotator))


@given(molecules=molecule_sets(), names=st.sampled_from(["zy", "zx", "yx"]))
def test_two_of_their_axes_make_the_rotations(molecules, names):
    matrices = molecules.rotations.as_matrix().reshape(-1, 3, 3)
    axes = {name: matrices[:, :, "zyx".index(name)] for name in names}
    again = Molecules.from_axes(
        molecules.positions, **axes, features=molecules.features
    )
    assert_alike(again, molecules)


@given(
    kept=vectors(1),
    other=vectors(1),
    names=st.sampled_from(["yz", "zx", "yx"]),
    size=st.sampled_from([1e-200, 1.0, 1e200]),
)
def test_y_or_else_z_is_kept_and_the_other_is_at_a_right_angle(
    kept, other, names, size
):
    kept, other = kept[0], other[0]
    assume(np.linalg.norm(np.cross(kept, other)) > 1e-3)
    first, second = names
    turned = Molecules.from_axes(
        [[0, 0, 0]], **{first: kept * size, second: other * size}
    )
    (matrix,) = turned.rotations.as_matrix()
    found = dict(zip("zyx", matrix.T, strict=True))
    np.testing.assert_allclose(found[first], kept / np.linalg.norm(kept), atol=1e-9)
    assert found[second] @ other > 0
    assert abs(np.linalg.det(np.stack([kept, other, found[second]]))) < 1e-6 * (
        np.linalg.norm(kept) * np.linalg.norm(other)
    )


def test_axes_are_right_handed_as_x_y_z():
    # x × y = z: template's z along y and y along x leave x along z.
    turned = Molecules.from_axes([[0, 0, 0]], z=[0, 1, 0], y=[0, 0, 1])
    np.testing.assert_allclose(turned.rotations.apply([0, 0, 1]), [[1, 0, 0]])


@pytest.mark.parametrize("names", ["zy", "zx", "yx"])
def test_axes_are_those_of_acryo(names):
    acryo = pytest.importorskip("acryo", reason="acryo is not installed")
    pair = np.array([[[1.0, 2.0, 3.0]], [[0.0, 1.0, 0.5]]])  # at no right angle
    axes = dict(zip(names, pair, strict=True))
    theirs = acryo.Molecules.from_axes([[1, 2, 3]], **axes)
    mine = Molecules.from_axes([[1, 2, 3]], **axes)
    assert_alike(mine, Molecules([[1, 2, 3]], theirs.rotator), 1e-6)


# In groups, in order, in parts, together.


@given(molecules=molecule_sets(), feature=features)
def test_groups_are_a_partition_by_value(molecules, feature):
    groups = molecules.groupby(feature)
    for value, group in groups.items():
        assert len(group) > 0
        np.testing.assert_array_equal(group.features[feature], value)
        assert group == molecules[numbers(group)]
        assert numbers(group) == sorted(numbers(group))
    found = [each for group in groups.values() for each in numbers(group)]
    assert sorted(found) == numbers(molecules)
    assert len(groups) == len(np.unique(molecules.features[feature]))


@given(molecules=molecule_sets(least=1), feature=features)
def test_groups_in_a_row_are_the_particles_in_order(molecules, feature):
    row = Molecules.concat(molecules.groupby(feature).values())
    assert row == molecules.sort_by(feature)


@given(
    molecules=molecule_sets(),
    feature=features,
    descending=st.booleans(),
)
def test_a_sorted_row_is_a_stable_permutation(molecules, feature, descending):
    row = molecules.sort_by(feature, descending=descending)
    order = numbers(row)
    assert row == molecules[order]
    assert sorted(order) == numbers(molecules)
    values = row.features[feature].tolist()
    for a, b, i, j in zip(values, values[1:], order, order[1:], strict=False):
        if b != b:
            assert a == a or i < j
        else:
            assert (a > b if descending else a < b) or (a == b and i < j)
    assert row.sort_by(feature, descending=descending) == row


@given(molecules=molecule_sets(least=1), seed=seeds, data=st.data())
def test_a_split_is_a_partition_in_order_and_the_seeds(molecules, seed, data):
    count = len(molecules)
    parts = data.draw(st.integers(1, count) | st.floats(0.01, 0.99))
    found = molecules.split(parts, seed=seed)
    assert all(numbers(each) == sorted(numbers(each)) for each in found)
    assert all(each == molecules[numbers(each)] for each in found)
    assert sorted(itertools.chain(*map(numbers, found))) == numbers(molecules)
    again = molecules.split(parts, seed=seed)
    assert list(map(numbers, again)) == list(map(numbers, found))
    sizes = list(map(len, found))
    if parts >= 1:
        assert len(sizes) == parts and max(sizes) - min(sizes) <= 1
    else:
        assert len(sizes) == 2 and abs(sizes[0] - parts * count) <= 0.5


def test_a_split_is_at_random():
    many = Molecules(np.zeros((100, 3)), features={"number": np.arange(100)})
    drawn = [numbers(many.split(2, seed=seed)[0]) for seed in range(200)]
    assert len(set(map(tuple, drawn))) == 200
    times = Counter(itertools.chain(*drawn))  # 100 ± 7 each
    assert min(times.values()) > 60 and max(times.values()) < 140


@given(molecules=molecule_sets(), more=molecule_sets(), name=features)
def test_what_is_not_known_is_filled(molecules, more, name):
    rest = {k: v for k, v in more.features.items() if k != name}
    fewer = Molecules(more.positions, more.rotations, rest)
    both = Molecules.concat([molecules, fewer], fill=True)
    count = len(molecules)
    assert list(both.features) == list(molecules.features)
    known, unknown = np.split(both.features[name], [count])
    np.testing.assert_array_equal(known, molecules.features[name])
    gaps = unknown == "" if name == "name" else np.isnan(unknown)
    assert gaps.all()
    for each in rest:
        np.testing.assert_array_equal(both.features[each][count:], rest[each])


@given(molecules=molecule_sets(), more=molecule_sets())
def test_nothing_is_filled_where_nothing_is_missing(molecules, more):
    both = Molecules.concat([molecules, more])
    assert Molecules.concat([molecules, more], fill=True) == both
    assert Molecules.concat([molecules, more], fill={"tube": 7}) == both


def test_a_value_that_is_given_fills_and_keeps_the_type():
    plain = Molecules([[0, 0, 0]])
    known = plain.with_features(tube=[3], name=["a"], good=[True])
    fill = {"tube": -1, "name": "none", "good": False}
    both = Molecules.concat([known, plain, plain], fill=fill)
    assert {name: each.tolist() for name, each in both.features.items()} == {
        "tube": [3, -1, -1],
        "name": ["a", "none", "none"],
        "good": [True, False, False],
    }


@pytest.mark.parametrize("index", [[], slice(0, 0), np.zeros(0, bool)])
def test_none_of_none_are_none(index):
    assert Molecules(np.zeros((0, 3)))[index] == Molecules(np.zeros((0, 3)))


# Data frames.

dtypes = st.sampled_from(["f8", "f4", "i8", "i1", "u8", "?"])


@given(
    data=st.data(),
    count=st.integers(0, 4),
    names=st.lists(
        texts.filter(lambda t: t not in "zyx" and "vec" not in t), max_size=3
    ),
)
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_data_frame_loses_nothing(library, data, count, names):
    frames = pytest.importorskip(library, reason=f"{library} is not installed")
    known = {}
    for name in set(names):
        known[name] = np.array(
            data.draw(
                st.lists(texts, min_size=count, max_size=count).map(
                    lambda each: np.array(each, dtype=str)
                )
                | hnp.arrays(data.draw(dtypes), count)
            )
        )
    molecules = Molecules(data.draw(vectors(count)), data.draw(turns(count)), known)
    pytest.importorskip("pandas", reason="pandas is not installed")
    table = molecules.to_dataframe()
    if library == "polars":
        table = frames.DataFrame(
            {
                name: molecules.features.get(name, table[name].to_numpy())
                for name in table
            }
        )
    assert Molecules.from_dataframe(table) == molecules


def test_a_data_frame_has_the_columns_of_the_csv_file():
    pytest.importorskip("pandas", reason="pandas is not installed")
    table = SOME.to_dataframe()
    assert list(table) == ["z", "y", "x", "zvec", "yvec", "xvec", "score", "name"]
    np.testing.assert_array_equal(table[["z", "y", "x"]], SOME.positions)


NULLS = {
    "number": ([1, None], [1.0, np.nan]),
    "score": ([0.5, None], [0.5, np.nan]),
    "good": ([True, None], [1.0, np.nan]),
    "sure": ([True, False], [True, False]),
    "name": (["a", None], ["a", ""]),
    "none": ([None, None], ["", ""]),
}


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("name", NULLS)
def test_nulls_in_features_are_no_text_or_nan(library, name):
    frames = pytest.importorskip(library, reason=f"{library} is not installed")
    values, expected = NULLS[name]
    table = frames.DataFrame({name: values})
    if library == "pandas" and name == "none":
        table = table.astype("string")
    plain = Molecules([[1, 2, 3], [4, 5, 6]])
    wanted = Molecules(plain.positions, features={name: np.array(expected)})
    for found in (
        Molecules(plain.positions, features=table),
        Molecules(plain.positions, features={name: table[name]}),
        plain.with_features(table),
        plain.with_features(**{name: table[name]}),
    ):
        assert found == wanted


@pytest.mark.parametrize("kind", ["Int64", "boolean", "string", "category"])
def test_extension_types_of_pandas_are_features(kind):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    values = {
        "Int64": ([2, None], [2, np.nan]),
        "boolean": ([True, None], [1, np.nan]),
        "string": (["a", None], ["a", ""]),
        "category": (["a", None], ["a", ""]),
    }
    given, expected = values[kind]
    series = pandas.Series(given, dtype=kind, index=[7, 3])
    found = Molecules(np.zeros((2, 3)), features={"a": series}).features["a"]
    np.testing.assert_array_equal(found, expected)


def test_typed_columns_of_polars_are_features():
    polars = pytest.importorskip("polars", reason="polars is not installed")
    series = polars.Series("a", [None, None], dtype=polars.Int8)
    found = Molecules(np.zeros((2, 3)), features={"a": series}).features["a"]
    assert np.isnan(found).all()
    for kind in (polars.Categorical, polars.Enum(["a", "b"]), polars.String):
        series = polars.Series("a", ["b", None], dtype=kind)
        found = Molecules(np.zeros((2, 3)), features={"a": series}).features["a"]
        assert found.tolist() == ["b", ""]


@pytest.mark.parametrize("kind", ["Int64", "int64[pyarrow]", "polars"])
def test_a_whole_number_that_a_null_would_change_is_refused(kind):
    library = "polars" if kind == "polars" else "pandas"
    frames = pytest.importorskip(library, reason=f"{library} is not installed")
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    values = [2**53 + 1, None]
    series = (
        frames.Series("a", values, dtype=frames.Int64)
        if kind == "polars"
        else frames.Series(values, dtype=kind)
    )
    with pytest.raises(ValueError, match=r"features\['a'\] must have no nulls or"):
        Molecules(np.zeros((2, 3)), features={"a": series})


def test_without_pandas_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pandas is needed .*funpipe\[dataframe\]"):
        SOME.to_dataframe()


# What a notebook shows.


class Cells(html.parser.HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1

    def handle_data(self, data):
        self.words.append(data)


def test_a_notebook_shows_the_first_particles_and_how_many_there_are():
    many = Molecules(np.arange(90.0).reshape(30, 3), features={"tube": [7] * 30})
    cells = Cells(many._repr_html_())
    assert cells.tags == Counter(
        table=1, caption=1, thead=1, tbody=1, tr=11, th=7, td=70
    )
    assert cells.words[0].startswith("30 particles; ")
    assert cells.words[0].endswith("20 more particles")
    assert cells.words[1:8] == ["z", "y", "x", "zvec", "yvec", "xvec", "tube"]
    assert cells.words[8:15] == ["0", "1", "2", "0", "0", "0", "7"]


@given(name=texts, text=texts)
def test_a_notebook_shows_texts_as_they_are(name, text):
    name, text = name[:20] + "<b>&", "</td>" + text[:20]
    shown = Molecules([[1, 2, 3]], features={name: [text]})._repr_html_()
    cells = Cells(shown)
    assert cells.tags["td"] == cells.tags["th"] == 7 and "b" not in cells.tags
    for each in (name, text):
        assert html.escape(each) in shown


def test_a_notebook_shows_few_columns_and_short_texts():
    wide = Molecules([[1, 2, 3]], features={f"f{i}": ["y" * 10**5] for i in range(99)})
    shown = wide._repr_html_()
    assert Cells(shown).tags["td"] == 20
    assert "85 more features" in shown and len(shown) < 3000
    odd = Molecules([[1, 2, 3]], features={"a": ["\ud800"]})
    odd._repr_html_().encode()
    assert Cells(Molecules(np.zeros((0, 3)))._repr_html_()).tags["td"] == 0


# One error, that names the argument.

AXES = {"z": [1, 0, 0], "y": [0, 1, 0]}
WRONG = {
    "shift: text": (lambda: SOME.translate("a"), "shift must be three finite"),
    "shift: one number": (lambda: SOME.translate(1.0), "shift must be three finite"),
    "shift: rows": (lambda: SOME.translate(np.ones((3, 3))), r"of shape \(4, 3\)"),
    "shift: nan": (
        lambda: SOME.translate([0, np.nan, 0]),
        r"shift\[0\] must be finite",
    ),
    "shift: frame": (lambda: SOME.translate([0, 0, 1], frame="own"), "frame must be"),
    "shift: far": (
        lambda: SOME.translate([1e308, 0, 0]).translate([1e308, 0, 0]),
        "shift must be so short",
    ),
    "rotation: array": (lambda: SOME.rotate(np.eye(3)), "rotation must be a scipy Rot"),
    "rotation: three": (
        lambda: SOME.rotate(Rotation.identity(3)),
        "rotation must be 1 or 4, .* not 3",
    ),
    "rotation: nan": (
        lambda: SOME.rotate(Rotation.from_rotvec([1e308, 1e308, 0])),
        r"rotation\[0\] must be finite",
    ),
    "rotation: frame": (lambda: SOME.rotate(ABOUT_Z, frame=None), "frame must be"),
    "angles: two": (
        lambda: Molecules.from_euler([[1, 2, 3]], [1, 2], "relion"),
        "angles must be three",
    ),
    "angles: convention": (
        lambda: Molecules.from_euler([[1, 2, 3]], [1, 2, 3], "ZYZ"),
        "convention must be 'relion', 'dynamo', 'stopgap' or an Euler.*not 'ZYZ'",
    ),
    "euler: convention": (lambda: SOME.euler(["relion"]), "convention must be"),
    "euler: letters": (
        lambda: SOME.euler(Euler("ZZY", inverse=False)),
        "convention must be .* letters",
    ),
    "euler: no letters": (
        lambda: Molecules.from_euler([[1, 2, 3]], [1, 2, 3], Euler(3, inverse=False)),
        "convention must be .* letters",
    ),
    "axes: one": (
        lambda: Molecules.from_axes([[1, 2, 3]], z=[1, 0, 0]),
        "two of z, y and x must be given, not 1",
    ),
    "axes: three": (
        lambda: Molecules.from_axes([[1, 2, 3]], **AXES, x=[0, 0, 1]),
        "two of z, y and x must be given, not 3",
    ),
    "axes: parallel": (
        lambda: Molecules.from_axes(
            [[1, 2, 3]] * 2, z=[1, 0, 0], x=[[0, 0, 1], [-2, 0, 0]]
        ),
        "z and x must not be parallel, as those of particle 1",
    ),
    "axes: none": (
        lambda: Molecules.from_axes([[1, 2, 3]], z=[1, 0, 0], y=[0, 0, 0]),
        "y must have a length, not 0",
    ),
    "axes: shape": (
        lambda: Molecules.from_axes([[1, 2, 3]], z=[1, 0, 0], y=[1, 0]),
        "y must be three finite",
    ),
    "groupby": (lambda: SOME.groupby("tube"), "feature must be one of 'score', 'name'"),
    "groupby: none": (
        lambda: Molecules([[1, 2, 3]]).groupby("score"),
        "feature must be a feature, but there is none",
    ),
    "sort_by": (lambda: SOME.sort_by(["score"]), "feature must be one of"),
    "sort_by: flag": (
        lambda: SOME.sort_by("score", descending=1),
        "descending must be",
    ),
    "split: none": (lambda: SOME.split(0), "parts must be a fraction below 1, or"),
    "split: many": (lambda: SOME.split(5), "whole number of 1 to 4, not 5"),
    "split: parts and a bit": (lambda: SOME.split(1.5), "parts must be a fraction"),
    "split: text": (lambda: SOME.split("2"), "parts must be"),
    "split: seed": (lambda: SOME.split(2, seed=-1), "seed must be a whole number"),
    "concat: fill": (lambda: Molecules.concat([SOME], fill="no"), "fill must be True"),
    "concat: typo": (
        lambda: Molecules.concat([SOME], fill={"scor": 1}),
        "fill must be for features that are there, 'score', 'name', not 'scor'",
    ),
    "concat: value": (
        lambda: Molecules.concat([SOME], fill={"score": None}),
        r"fill\['score'\] must be",
    ),
    "concat: not all": (
        lambda: Molecules.concat([SOME, Molecules([[1, 2, 3]])], fill={"score": 0.0}),
        r"several must all have the features \['name', 'score'\], not \[\]",
    ),
    "concat: text for numbers": (
        lambda: Molecules.concat(
            [SOME, Molecules([[1, 2, 3]])], fill={"score": "none", "name": ""}
        ),
        "the feature 'score' must have one type",
    ),
    "concat: large": (
        lambda: Molecules.concat(
            [
                Molecules([[1, 2, 3]], features={"a": [2**53 + 1]}),
                Molecules([[1, 2, 3]]),
            ],
            fill=True,
        ),
        "the feature 'a' must have one type",
    ),
    "table: array": (
        lambda: Molecules.from_dataframe(np.ones((2, 6))),
        "table must be a data frame",
    ),
    "table: class": (
        lambda: Molecules.from_dataframe(Molecules),
        "table must be a data",
    ),
    "features: list": (
        lambda: SOME.with_features([1, 2, 3, 4]),
        "features must be a mapping from names to arrays, or a data frame",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_in_one_error(case):
    call, text = WRONG[case]
    with pytest.raises((TypeError, ValueError), match=text) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"z": [1.0], "y": [1.0]}, "table has no column 'x'"),
        ({"z": [1.0], "y": [1.0], "x": [np.nan]}, "table: columns z, .*finite"),
        ({"z": [1.0], "y": [1.0], "x": ["a"]}, "table: columns z, y, x: .*'a'"),
        (
            {"z": [1.0], "y": [1.0], "x": [1.0], "zvec": [1.0], "yvec": [0.0]},
            "table has no column 'xvec'",
        ),
        (
            {"z": [1.0], "y": [1.0], "x": [1.0], "a": [[1, 2]]},
            r"features\['a'\] must be 1 numbers",
        ),
    ],
)
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_data_frame_of_no_molecules_is_named(library, columns, text):
    frames = pytest.importorskip(library, reason=f"{library} is not installed")
    with pytest.raises((TypeError, ValueError), match=text):
        Molecules.from_dataframe(frames.DataFrame(columns))


def test_a_data_frame_with_a_column_twice_is_refused():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    table = pandas.DataFrame([[1.0, 2.0, 3.0, 4.0]], columns=["z", "y", "x", "x"])
    with pytest.raises(ValueError, match="table has the column 'x' twice"):
        Molecules.from_dataframe(table)
