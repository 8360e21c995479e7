"""Whatever texts, numbers and names a list has: they come back, or are refused."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from funpipe import Molecules, read_molecules, write_molecules

for library in ("starfile", "pyarrow"):
    pytest.importorskip(library, reason=f"{library} is not installed")

ENDINGS = (".csv", ".parquet", ".star", ".ndjson")
POSE = ("z", "y", "x", "zvec", "yvec", "xvec")
OWN = ("type", "location", "xyz_rotation_matrix")

any_text = st.text(st.characters(), max_size=8).filter(lambda x: not x.endswith("\0"))
numberlike = st.sampled_from(
    [
        *("1", "1.0", "1e5", "-0", " 2", "1_000", "01", "0x1", "+1", ".5", "5."),
        *("nan", "NaN", "NA", "<NA>", "inf", "Infinity", "null", "None", "1e999"),
        *("True", "False", "true", "false", "9" * 19, "9" * 20, "9" * 5000, "１"),
    ]
)
odd = st.sampled_from(
    [
        *("", " ", "a b", " a", "a ", "#", "a#b", "it's", '"', "a\tb", "\n", "\r"),
        *("a\xa0b", "\xa0", "a\u2028b", "\u2029", "a\x85b", "\ufeff", "\x1c", "\x0b"),
        *("data_1", "loop_", "_rlnX", "é", "\ud800", "a\0b", ",", "a,b", "\x7f"),
    ]
)
texts = any_text | numberlike | odd
kinds = st.sampled_from(
    [
        *("|b1", "|i1", "<i2", "<i4", "<i8", "|u1", "<u2", "<u4", "<u8"),
        *("<f2", "<f4", "<f8", ">f4", ">f8", ">i4", ">u8"),
    ]
)
names = (any_text | odd | st.sampled_from(["a", "a:<f4", "a:<U2", "b", "A"])).filter(
    lambda name: name not in (*POSE, *OWN)
)


def values_of(count):
    return st.one_of(
        st.lists(texts, min_size=count, max_size=count),
        st.lists(numberlike, min_size=count, max_size=count),
        st.lists(odd, min_size=count, max_size=count),
    ).map(lambda x: np.array(x, dtype=str)) | kinds.flatmap(
        lambda kind: hnp.arrays(kind, count)
    )


def tables(titles):
    return st.integers(1, 3).flatmap(
        lambda count: st.dictionaries(titles, values_of(count), max_size=3).map(
            lambda features: Molecules(np.ones((count, 3)), features=features)
        )
    )


def same(found, values):
    """Tell whether values came back: as numbers or texts as they were, and equal."""
    kinds = {found.dtype.kind, values.dtype.kind}
    if kinds & {"U", "b"}:
        return len(kinds) == 1 and (found == values).all()
    back = found.astype(values.dtype)
    return np.array_equal(back, values, equal_nan=values.dtype.kind == "f")


def check_kept_or_refused(molecules, ending):
    """Write and read; what is refused leaves the old file alone."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{ending}"
        path.write_bytes(b"old")
        options = {} if ending in (".csv", ".parquet") else {"scale": 1.0}
        try:
            write_molecules(molecules, path, **options)
        except ValueError as error:
            assert "\n" not in str(error)
            assert path.read_bytes() == b"old"
            assert [each.name for each in Path(folder).iterdir()] == [path.name]
            return False
        found = read_molecules(path, **options).features
    for name, values in molecules.features.items():
        assert same(found[name], values), name
    return True


@pytest.mark.parametrize("ending", ENDINGS)
@settings(max_examples=80)
@given(molecules=tables(st.sampled_from(["a", "b", "c"])))
def test_what_is_written_is_read_back_equal_or_refused(ending, molecules):
    check_kept_or_refused(molecules, ending)


@pytest.mark.parametrize("ending", ENDINGS)
@settings(max_examples=80)
@given(molecules=tables(names))
def test_names_come_back_or_are_refused(ending, molecules):
    check_kept_or_refused(molecules, ending)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    "text",
    ["007", "1", "1.0", "nan", "<NA>", "NA", "true", "False", "", "a\xa0b", "9" * 20],
)
def test_a_text_is_kept_whatever_it_looks_like(ending, text):
    assert check_kept_or_refused(
        Molecules(np.ones((1, 3)), features={"a": [text]}), ending
    )


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".ndjson"])
@pytest.mark.parametrize("text", ["a\u2028b", "\x85", "it's", '"', "#", "\r\n", "\x1c"])
def test_formats_that_can_hold_any_text_do(ending, text):
    assert check_kept_or_refused(
        Molecules(np.ones((1, 3)), features={"a": [text]}), ending
    )


@pytest.mark.parametrize(
    ("ending", "number"),
    [(x, n) for x in ENDINGS for n in (-(2**63), 2**63 - 1, 0)]
    + [(x, n) for x in ENDINGS if x != ".star" for n in (2**63, 2**64 - 1)],
)
def test_whole_numbers_of_64_bits_come_back_exactly(ending, number):
    kind = np.int64 if number < 2**63 else np.uint64
    assert check_kept_or_refused(
        Molecules(np.ones((1, 3)), features={"a": np.array([number], kind)}), ending
    )


@pytest.mark.parametrize(
    ("ending", "feature", "message"),
    [
        (".star", ["a\u2028b"], "'a': a STAR file cannot hold the text"),
        (".star", ["\ud800"], "'a' has half of a pair there"),
        (".star", np.array([2**63], np.uint64), "cannot hold the number 9223372036854"),
        (".star", np.ones(1, np.longdouble), "cannot hold float128"),
        (".parquet", np.ones(1, np.longdouble), "cannot hold float128"),
        (".ndjson", np.ones(1, np.longdouble), "is float128: JSON cannot hold that"),
        (".parquet", ["\ud800"], r"features\['a'\] has half of a pair there"),
        (".csv", ["\ud800"], r"features\['a'\] has half of a pair there"),
        (".csv", ["x" * 131073], r"\['a'\]: a CSV file cannot hold a text of 131073"),
    ],
)
def test_what_a_format_cannot_hold_is_named_and_the_old_file_kept(
    tmp_path, ending, feature, message
):
    if "float128" in message and np.dtype(np.longdouble).name != "float128":
        pytest.skip("no numbers of 16 bytes here")
    (tmp_path / f"a{ending}").write_text("old")
    molecules = Molecules(np.ones((1, 3)), features={"a": feature})
    options = {} if ending in (".csv", ".parquet") else {"scale": 1.0}
    with pytest.raises(ValueError, match=message):
        write_molecules(molecules, tmp_path / f"a{ending}", **options)
    assert (tmp_path / f"a{ending}").read_text() == "old"


# CSV.


def csv_features(tmp_path, text):
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    return {
        name: (each.dtype.kind, each.tolist())
        for name, each in Molecules.from_csv(tmp_path / "a.csv").features.items()
    }


def test_a_width_in_a_header_cuts_no_text(tmp_path):
    found = csv_features(tmp_path, "z,y,x,a:<U2\n1,2,3,abcdef\n")
    assert found == {"a": ("U", ["abcdef"])}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("a:<f8,a", "a.csv has the column 'a' twice"),
        ("a:<f8,a:<i8", "a.csv has the column 'a' twice"),
        ("z:<f8,a", "a.csv has the column 'z' twice"),
        ("zvec:<f8,a", "a.csv: features must be named by a text other than"),
        ("a:<U500000000,b", "a.csv: column 'a:<U500000000': texts have 1000000 char"),
        ("a:<f999,b", "a.csv: column 'a:<f999': "),
        ("a:<f4,b", "a.csv: column 'a:<f4': overflow"),
    ],
)
def test_a_type_in_a_header_that_cannot_be_is_refused(tmp_path, header, message):
    with pytest.raises(ValueError, match=message):
        csv_features(tmp_path, f"z,y,x,{header}\n1,2,3,1e300,2\n")


def test_texts_of_a_foreign_table_are_read_as_acryo_writes_them(tmp_path):
    table = "z,y,x,t,g,n,s,k,u\n1,2,3,true,true,1,007,1_0,١\n1,2,3,false,,,8,2,1\n"
    assert csv_features(tmp_path, table) == {
        "t": ("b", [True, False]),
        "g": ("f", [1.0, pytest.approx(np.nan, nan_ok=True)]),
        "n": ("f", [1.0, pytest.approx(np.nan, nan_ok=True)]),
        "s": ("U", ["007", "8"]),
        "k": ("U", ["1_0", "2"]),
        "u": ("U", ["١", "1"]),
    }


def test_digits_beyond_64_bits_are_kept_as_text(tmp_path):
    table = f"z,y,x,a,b\n1,2,3,{2**63},{2**53 + 1}\n1,2,3,1,\n"
    assert csv_features(tmp_path, table) == {
        "a": ("U", [str(2**63), "1"]),
        "b": ("U", [str(2**53 + 1), ""]),
    }


def test_numbers_that_are_nan_are_numbers_to_other_readers(tmp_path):
    molecules = Molecules(
        np.ones((2, 3)),
        features={"error": [np.nan, np.nan], "some": [np.nan, -np.inf]},
    )
    molecules.to_csv(tmp_path / "a.csv")
    rows = (tmp_path / "a.csv").read_text().splitlines()
    assert rows[1].endswith(",NaN,NaN")
    assert rows[2].endswith(",NaN,-inf")
    polars = pytest.importorskip("polars", reason="polars is not installed")
    table = polars.read_csv(tmp_path / "a.csv")
    assert [table[each].dtype for each in ("error", "some")] == [polars.Float64] * 2


# STAR.


STAR = "data_\n\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n"


def star_features(tmp_path, text, **options):
    path = tmp_path / "a.star"
    path.write_text(text, encoding="utf-8", **options)
    found = read_molecules(path, scale=1.0).features
    return {k: v.tolist() for k, v in found.items() if not k.startswith("rln")}


def test_values_of_star_files_are_read_as_they_stand(tmp_path):
    head = STAR + "_na\n_hash\n_space\n_quoted\n"
    rows = '1 2 3 <NA> a#b a\xa0b \'1\'\n1 2 3 NaN c "d e" "2" # a comment\n'
    assert star_features(tmp_path, head + rows) == {
        "na": ["<NA>", "NaN"],
        "hash": ["a#b", "c"],
        "space": ["a\xa0b", "d e"],
        "quoted": ["1", "2"],
    }


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_of_star_files_end_as_any_system_ends_them(tmp_path, end):
    head = STAR + "_note\n1 2 3 a\u2028b\n1 2 3 \x85\n"
    found = star_features(tmp_path, head, newline=end)
    assert found == {"note": ["a\u2028b", "\x85"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (STAR + "1 2 3\nloop_\n_a\n1\n", "line 8: a loop_ among other values"),
        ("data_\n_a 1\nloop_\n_b\n1\n", "line 3: a loop_ among other values"),
        ("data_\n_a 1 2\n", "line 2: not the name of a column and one value"),
        ("data_\n_a 1\nb\n", "line 3: not the name of a column and one value"),
        (STAR + "1 2 it's'\n", "line 7: a quotation mark that is not closed"),
        (STAR + "1 2 #3\n", "line 7: 2 values for 3 columns"),
    ],
)
def test_a_star_file_of_another_shape_is_refused_with_its_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=rf"a\.star, {message}"):
        star_features(tmp_path, text)


def test_a_list_that_was_mended_is_read_anew(tmp_path):
    with pytest.raises(ValueError, match="'three' is not a finite number"):
        star_features(tmp_path, STAR + "1 2 three\n")
    assert star_features(tmp_path, STAR + "_a\n1 2 3 4\n") == {"a": [4]}


def test_points_with_a_line_separator_in_a_text_are_read(tmp_path):
    point = '{"type": "a\u2028b", "location": {"x": 1, "y": 2, "z": 3}}\r\n'
    (tmp_path / "a.ndjson").write_text("\ufeff" + point, encoding="utf-8")
    found = read_molecules(tmp_path / "a.ndjson", scale=1.0)
    assert found.features["type"].tolist() == ["a\u2028b"]


# Parquet.


def test_columns_of_parquet_are_read_by_their_type(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    pose = {axis: [1.0, 2.0] for axis in "zyx"}
    columns = {
        "text": pyarrow.array([None, None], pyarrow.string()),
        "large": pyarrow.array(["a", None], pyarrow.large_string()),
        "kind": pyarrow.array(["b", "c"]).dictionary_encode(),
        "good": pyarrow.array([True, None]),
        "none": pyarrow.array([None, None], pyarrow.float64()),
    }
    parquet.write_table(pyarrow.table({**pose, **columns}), tmp_path / "a.parquet")
    found = read_molecules(tmp_path / "a.parquet").features
    assert found["text"].tolist() == ["", ""]
    assert found["large"].tolist() == ["a", ""]
    assert found["kind"].tolist() == ["b", "c"]
    np.testing.assert_array_equal(found["good"], [1.0, np.nan])
    np.testing.assert_array_equal(found["none"], [np.nan, np.nan])


@pytest.mark.parametrize("kind", ["list", "date"])
def test_columns_of_parquet_that_are_no_features_are_named(tmp_path, kind):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    values = {"list": [[1.0]], "date": np.array(["2026-01-01"], "M8[s]")}[kind]
    table = pyarrow.table({"z": [1.0], "y": [1.0], "x": [1.0], "odd": values})
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a\.parquet: column 'odd' holds"):
        read_molecules(tmp_path / "a.parquet")


def test_long_doubles_come_back_from_csv_alone():
    values = np.array([1 / 3], np.longdouble) / 7
    molecules = Molecules(np.ones((1, 3)), features={"a": values})
    assert check_kept_or_refused(molecules, ".csv")
