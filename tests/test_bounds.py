"""What is large, deep, endless or no file is read in linear time, or refused."""

import bz2
import gc
import gzip
import json
import os
import time
from contextlib import contextmanager

import numpy as np
import pytest

from funpipe import Molecules, read_molecules, write_molecules
from funpipe.base.sources import read_bytes
from funpipe.base.wording import describe, listed

for library in ("starfile", "pyarrow"):
    pytest.importorskip(library, reason=f"{library} is not installed")

POSE = ("rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ")
POINT = {"type": "point", "location": {"x": 1, "y": 2, "z": 3}}


@contextmanager
def within(seconds):
    """Fail where this process takes longer; other processes do not count."""
    start = time.process_time()
    yield
    assert time.process_time() - start < seconds


def star(names, rows, title=""):
    head = "".join(f"_{each}\n" for each in names)
    return f"data_{title}\n\nloop_\n{head}{rows}\n"


def csv_of(names):
    return f"{','.join(names)}\n{','.join(['1'] * len(names))}\n"


def numbered(count):
    return [f"c{i}" for i in range(count)]


# Many columns, blocks, keys, and long lines.

# How each is made, of which size.
MANY = {
    "columns.csv": (lambda n: csv_of([*"zyx", *numbered(n - 3)]), 100_000),
    "columns.star": (
        lambda n: star([*POSE, *numbered(n - 3)], " ".join(["1"] * n)),
        100_000,
    ),
    "blocks.star": (
        lambda n: "".join(star(POSE, "1 2 3", i) for i in range(n)),
        20_000,
    ),
    "keys.ndjson": (
        lambda n: json.dumps(POINT | dict.fromkeys(numbered(n), 1)),
        50_000,
    ),
    "lines.star": (lambda n: "\n" * n + star(POSE, "1 2 3") + "\n" * n, 200_000),
    "quoted.star": (lambda n: star([*POSE, "a"], f'1 2 3 "{"a " * n}"'), 2_000_000),
    "digits.star": (lambda n: star([*POSE, "a"], f"1 2 3 {'1' * n}x"), 1_000_000),
    "digits.csv": (lambda n: f"z,y,x,a\n1,2,3,{'1' * n}x\n", 130_000),
    "number.csv": (lambda n: f"z,y,x,a\n1,2,3,{'1' * n}\n", 130_000),
}


def seconds_to_read(path):
    """Return how long this process takes to read a list of one particle.

    Without the collector, which walks all that earlier tests left behind.
    """
    gc.collect()
    gc.disable()
    try:
        start = time.process_time()
        assert len(read_molecules(path, scale=1.0)) == 1
        return time.process_time() - start
    finally:
        gc.enable()


@pytest.mark.parametrize("name", MANY)
def test_what_is_large_is_read_in_linear_time(tmp_path, name):
    make, size = MANY[name]
    (tmp_path / name).write_text(make(size))
    (tmp_path / f"quarter_{name}").write_text(make(size // 4))

    def is_linear():
        # 4 times as long were linear and 16 times quadratic, whatever the machine's
        # pace, which is that of one moment for both.
        # The other bound is for a reader that is slow at every size.
        quarter = seconds_to_read(tmp_path / f"quarter_{name}")
        whole = seconds_to_read(tmp_path / name)
        return whole < min(10 * quarter + 0.05, 6.0)

    assert any(is_linear() for _ in range(5))


def test_many_features_are_written_in_linear_time(tmp_path):
    features = {key: [1.5] for key in numbered(20000)}
    with within(2.0):
        Molecules(np.ones((1, 3)), features=features).to_csv(tmp_path / "a.csv")


TOO_MANY = {
    "columns.csv": (lambda: csv_of(numbered(10**6)), "1000000 columns; .* at most 100"),
    "same.csv": (
        lambda: csv_of([*numbered(50_000), "c49999"]),
        "the column 'c49999' twice",
    ),
    "quoted.csv": (lambda: f'z,y,x,a\n1,2,3,"{"a" * 2 * 10**7}"\n', "field limit"),
    "lines.csv": (lambda: 'z,y,x,a\n1,2,3,"' + "a\n" * 10**7, "field limit"),
    "wide.csv": (
        lambda: f"z,y,x,a\n1,2,3,{'a' * 130_000}\n" + "1,2,3,b\n" * 5000,
        "column 'a': 5001 texts of up to 130000 characters are more than",
    ),
    "same.star": (
        lambda: star([*numbered(50_000), "c49999"], "1"),
        "column 'c49999' is there",
    ),
    "columns.star": (
        lambda: star(numbered(200_000), "1"),
        "200000 columns; a particle list has at most 100000",
    ),
    "open.star": (
        lambda: star([*POSE, "a"], f'1 2 3 "{"a " * 2_000_000}'),
        "line 8: a quotation mark that is not closed",
    ),
    "wide.star": (
        lambda: star([*POSE, "a"], f"1 2 3 {'a' * 10**6}" + "\n1 2 3 b" * 1000),
        "column 'a': 1001 texts of up to 1000000 characters are more than",
    ),
    "keys.ndjson": (
        lambda: json.dumps(POINT | dict.fromkeys(numbered(200_000), 1)),
        "200002 columns; a particle list has at most 100000",
    ),
    "same.ndjson": (
        lambda: "{" + ",".join(f'"{x}":1' for x in numbered(50_000)) + ',"c49999":1}',
        "'c49999' is there twice",
    ),
    "deep.ndjson": (
        lambda: json.dumps(POINT)[:-1] + f', "a": {"[" * 10**6}{"]" * 10**6}}}',
        "line 1 is not readable JSON",
    ),
    "nested.ndjson": (
        lambda: json.dumps(POINT)[:-1] + f', "a": {"[" * 400}{"]" * 400}}}',
        "'a' must be a number, truth value or text",
    ),
    "place.ndjson": (
        lambda: f'{{"location": {"[" * 400}{"]" * 400}}}',
        "location must be an object of x, y, z",
    ),
    "places.ndjson": (
        lambda: json.dumps({"location": {"x": 10**400, "y": 1, "z": 1}}),
        "location must be 3 finite numbers",
    ),
    "number.ndjson": (
        lambda: json.dumps(POINT | {"a": 10**400}),
        "line 1: 'a' must be a number that 64 bits hold, not 1000",
    ),
}


@pytest.mark.parametrize("name", TOO_MANY)
def test_what_is_too_large_is_refused_with_its_bound(tmp_path, name):
    make, message = TOO_MANY[name]
    (tmp_path / name).write_text(make())
    with within(2.0), pytest.raises(ValueError, match=message) as caught:
        read_molecules(tmp_path / name, scale=1.0)
    assert name in str(caught.value)
    assert len(str(caught.value)) < 400


def test_whole_numbers_beside_null_lose_no_digits(tmp_path):
    rows = [POINT | {"a": 2**53 + 1}, POINT | {"a": None}]
    (tmp_path / "a.ndjson").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(ValueError, match="line 1: 'a' must be a number that 64 bits"):
        read_molecules(tmp_path / "a.ndjson", scale=1.0)


def test_a_parquet_file_of_few_bytes_and_many_rows_is_refused(tmp_path):
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table({each: pyarrow.nulls(10**8) for each in "zyx"})
    parquet.write_table(table, tmp_path / "a.parquet")
    with (
        within(1.0),
        pytest.raises(ValueError, match=r"a\.parquet holds 100000000 rows of 3 col"),
    ):
        read_molecules(tmp_path / "a.parquet")


def test_a_model_that_counts_points_beyond_its_end_is_refused(tmp_path):
    pytest.importorskip("imodmodel", reason="imodmodel is not installed")
    path = tmp_path / "a.mod"
    write_molecules(np.ones((2, 3)), path, scale=1.0)
    place = path.read_bytes().index(b"CONT") + 4
    content = bytearray(path.read_bytes())
    content[place : place + 4] = (2**27).to_bytes(4, "big")
    path.write_bytes(content)
    message = r"a\.mod is not a readable IMOD model: it ends too early"
    with within(1.0), pytest.raises(ValueError, match=message):
        read_molecules(path)


# Files that are none, and packed ones.


@pytest.mark.parametrize(
    "ending", [".star", ".tbl", ".em", ".ndjson", ".mod", ".csv", ".parquet"]
)
def test_a_pipe_is_not_waited_for(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    os.mkfifo(path)
    message = f"a{ending} is a device or a pipe, not a file to read"
    with pytest.raises(OSError, match=message):
        read_molecules(path, scale=1.0)
    with pytest.raises(OSError, match=message):
        write_molecules(np.ones((1, 3)), tmp_path / "b.star", like=path, scale=1.0)


def test_neither_a_pipe_nor_a_device_is_a_csv_file(tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(OSError, match=r"a\.csv is a device or a pipe"):
        Molecules.from_csv(tmp_path / "a.csv")
    with pytest.raises(OSError, match="/dev/zero is a device or a pipe"):
        read_molecules("/dev/zero", format="csv")


@pytest.mark.parametrize(("ending", "pack"), [(".gz", gzip), (".bz2", bz2), ("", None)])
def test_a_file_is_read_up_to_a_bound(tmp_path, ending, pack):
    path = tmp_path / f"a.csv{ending}"
    content = b"0" * 10**6
    path.write_bytes(pack.compress(content) if pack else content)
    assert read_bytes(path) == content
    with pytest.raises(ValueError, match=rf"a\.csv{ending} holds more than 999999 byt"):
        read_bytes(path, 999_999)


def test_a_packed_table_is_read_and_a_damaged_one_named(tmp_path):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"z,y,x\n1,2,3\n"))
    assert Molecules.from_csv(path) == Molecules([[1, 2, 3]])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"a\.csv\.gz cannot be unpacked"):
        Molecules.from_csv(path)


# Errors.


def test_names_in_errors_are_few_and_short():
    assert listed(["z", "y"]) == "'z', 'y'"
    assert listed(numbered(10**6)) == "'c0', 'c1', 'c2', 'c3', 'c4' and 999995 others"
    assert len(listed(["x" * 10**6] * 9)) < 400
    assert listed(["a\x1b[31m"]) == r"'a\x1b[31m'"


def test_a_number_too_long_to_print_is_described():
    assert describe(10**5000) == "an object of type int"
    assert len(describe([10**5000])) < 100


@pytest.mark.parametrize("name", ["a.csv", "a.star", "a.parquet"])
def test_a_missing_column_is_named_beside_a_few_of_those_there(tmp_path, name):
    path, names = tmp_path / name, numbered(5000)
    if name.endswith("csv"):
        path.write_text(csv_of(names))
    elif name.endswith("star"):
        path.write_text(star([POSE[0], *names], " ".join(["1"] * 5001)))
    else:
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.table({key: [1.0] for key in names}), path)
    with pytest.raises(ValueError, match=r"but only .* and 49.. others") as caught:
        read_molecules(path, scale=1.0)
    assert len(str(caught.value)) < 400


def test_the_repr_of_many_features_is_short():
    features = {key: [1] for key in numbered(1000)}
    assert repr(Molecules([[1, 2, 3]], features=features)).endswith("and 980 others)")
    several = [Molecules([[1, 2, 3]], features=features), Molecules([[1, 2, 3]])]
    with pytest.raises(ValueError, match="and 995 others") as caught:
        Molecules.concat(several)
    assert len(str(caught.value)) < 200
