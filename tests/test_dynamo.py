"""Dynamo's tables and their maps: names are texts, numbers stay, none is mixed up."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from funpipe import Molecules, read_molecules, write_molecules
from funpipe.base import whole
from funpipe.io import dynamo, table_map
from funpipe.io.table_map import put, read_map

pytest.importorskip("dynamotable", reason="dynamotable is not installed")

TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Z", "Cc"]), min_size=1
)


def of(*names, **features):
    """Return a particle for each name of a tomogram."""
    positions = np.arange(3.0 * len(names)).reshape(-1, 3)
    return Molecules(positions, features={"tomogram": list(names), **features})


def written(molecules, path):
    write_molecules(molecules, path, scale=1.0)
    return path


def tomograms(path):
    return read_molecules(path).features["tomogram"].tolist()


def numbers(path):
    return [int(line.split()[19]) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    "names", [["007", "7", "07"], ["NA", "nan", "1e5"], ["1.0", "TRUE", "é/ü.rec"]]
)
def test_names_of_a_table_map_are_texts(tmp_path, names):
    (tmp_path / "a.doc").write_text(
        "".join(f"{i}\t {name} \r\n" for i, name in enumerate(names, start=4)), "utf-8"
    )
    path = tmp_path / "a.tbl"
    row = ["0"] * 35
    path.write_text(
        "".join(" ".join([*row[:19], str(i), *row[20:]]) + "\n" for i in (5, 4, 6))
    )
    found = read_molecules(path, scale=1.0)
    order = [names[1], names[0], names[2]]
    assert found.features["tomogram"].tolist() == order
    assert found.features["tomo"].tolist() == [5, 4, 6]


@settings(max_examples=40)
@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_any_names_come_back_as_they_were(tmp_path_factory, names):
    path = tmp_path_factory.mktemp("maps") / "a.tbl"
    assert tomograms(written(of(*names), path)) == names


@settings(max_examples=40)
@given(st.text(min_size=1))
@example("\0")
@example("a\0b")
def test_any_name_comes_back_or_is_refused(tmp_path_factory, name):
    path = tmp_path_factory.mktemp("maps") / "a.tbl"
    if name.endswith("\0"):  # no molecules hold it, whatever they are written to
        with pytest.raises(ValueError, match="must not end in the character"):
            of(name)
        return
    try:
        written(of(name), path)
    except ValueError as error:
        assert "cannot hold the text" in str(error)
        assert list(path.parent.iterdir()) == []
    else:
        assert tomograms(path) == of(name).features["tomogram"].tolist()


def test_the_numbers_of_tomograms_stay_from_table_to_table(tmp_path):
    (tmp_path / "a.doc").write_text("3 TS_1\n17 TS_9\n5 7\n")
    row = " ".join(["0"] * 19) + " {} " + " ".join(["0"] * 15) + "\n"
    (tmp_path / "a.tbl").write_text("".join(row.format(i) for i in (17, 3, 5)))
    read = read_molecules(tmp_path / "a.tbl", scale=1.0)
    path = written(read, tmp_path / "b.tbl")
    assert numbers(path) == [17, 3, 5]
    assert tomograms(path) == ["TS_9", "TS_1", "7"]
    written(read[:1], path)
    assert numbers(path) == [17]
    write_molecules(read, tmp_path / "c.csv")
    written(read_molecules(tmp_path / "c.csv"), tmp_path / "c.tbl")
    assert numbers(tmp_path / "c.tbl") == [17, 3, 5]


def test_numbers_that_do_not_go_with_the_names_are_made_anew(tmp_path):
    mixed = of("TS_1", "TS_2", "TS_1", tomo=[4, 4, 4])
    assert numbers(written(mixed, tmp_path / "a.tbl")) == [1, 2, 1]
    some = of("TS_1", "TS_2", tomo=[np.nan, 2])
    assert numbers(written(some, tmp_path / "b.tbl")) == [1, 2]


@pytest.mark.parametrize("kind", ["em", "stopgap"])
def test_numbers_of_tomograms_stay_in_lists_without_names(tmp_path, kind):
    pytest.importorskip({"em": "emfile", "stopgap": "starfile"}[kind])
    column = {"em": "tomo", "stopgap": "tomo_num"}[kind]
    some = of("TS_1", "TS_2", **{column: [17, 3]})
    path = tmp_path / "a.list"
    with pytest.warns(UserWarning, match="left out: 17 TS_1, 3 TS_2"):
        write_molecules(some, path, format=kind, scale=1.0)
    found = read_molecules(path, format=kind, scale=1.0)
    assert found.features["tomogram"].tolist() == ["17", "3"]


def test_a_map_of_many_tomograms_keeps_its_lines_and_gives_its_numbers(tmp_path):
    doc = tmp_path / "a.doc"
    doc.write_text("1 TS_1\n2 TS_2\n3 TS_3\n")  # of a whole project
    path = written(of("TS_3", "TS_9", "TS_3"), tmp_path / "a.tbl")
    assert numbers(path) == [3, 4, 3]
    assert read_map(doc) == [(1, "TS_1"), (2, "TS_2"), (3, "TS_3"), (4, "TS_9")]


@pytest.mark.parametrize("there", [False, True])
def test_a_users_own_map_is_not_removed(tmp_path, there):
    path, doc = tmp_path / "a.tbl", tmp_path / "a.doc"
    if there:
        written(of("5", "6"), path)
    doc.write_text("1 TS_1\n2 TS_2\n3 TS_3\n")
    before = path.read_bytes() if there else None
    with pytest.raises(ValueError, match=r"a\.doc is a table map that names other"):
        written(of("1", "5"), path)
    assert doc.read_text() == "1 TS_1\n2 TS_2\n3 TS_3\n"
    assert (path.read_bytes() if path.exists() else None) == before


def test_a_map_whose_names_are_the_numbers_may_stay(tmp_path):
    (tmp_path / "a.doc").write_text("1 1\n2 2\n")
    assert tomograms(written(of("2", "1"), tmp_path / "a.tbl")) == ["2", "1"]
    assert (tmp_path / "a.doc").read_text() == "1 1\n2 2\n"


LISTS = {
    "numbers": of("1", "2"),
    "other numbers": of("3", "2", "1"),
    "names": of("TS_2", "TS_1"),
    "other names": of("TS_7", "TS_8", "TS_9"),
    "some of the names": of("TS_1"),
    "own numbers": of("TS_5", "TS_6", tomo=[2, 1]),
}


class Killed(BaseException):
    """What stops a writer at once."""


@pytest.mark.parametrize("old", LISTS)
@pytest.mark.parametrize("new", LISTS)
def test_a_table_never_gets_the_names_of_another_whenever_its_writer_ends(
    tmp_path, monkeypatch, old, new
):
    """After each step of the writer: the old list, the new one, or an error."""
    states = []
    for steps in range(5):
        folder = tmp_path / str(steps)
        folder.mkdir()
        path = written(LISTS[old], folder / "a.tbl")
        left = iter(range(steps))

        def stop(function, left=left):
            def step(*arguments, **options):
                if next(left, None) is None:
                    raise Killed
                return function(*arguments, **options)

            return step

        with monkeypatch.context() as patched:
            # After a kill nothing is put back.
            patched.setattr(Path, "replace", stop(Path.replace))
            patched.setattr(Path, "unlink", lambda *_, **__: None)
            patched.setattr(dynamo, "put", stop(table_map.put))
            try:
                written(LISTS[new], path)
            except Killed:
                states.append("killed")
        if new.endswith("numbers") and new != "own numbers" and steps == 4:
            continue
        try:
            found = tomograms(path)
        except ValueError as error:
            assert "two names for the tomogram" in str(error)
            states.append("refused")
        else:
            assert found in [
                LISTS[each].features["tomogram"].tolist() for each in (old, new)
            ]
    assert "killed" in states


def test_what_was_not_written_to_its_end_can_be_written_again(tmp_path):
    path, doc = written(of("1", "2"), tmp_path / "a.tbl"), tmp_path / "a.doc"
    put(doc, [(1, "1"), (2, "2"), (1, "TS_1")])  # the old numbers, and a new name
    with pytest.raises(ValueError, match="two names for the tomogram 1, '1' and 'TS_"):
        read_molecules(path)
    assert tomograms(written(of("TS_3", "TS_1"), path)) == ["TS_3", "TS_1"]
    put(doc, [(1, "1"), (2, "2"), (1, "TS_1")])
    assert tomograms(written(of("1", "2"), path)) == ["1", "2"]
    assert not doc.exists()


def test_a_failed_write_leaves_the_table_and_its_map(tmp_path, monkeypatch):
    path = written(of("TS_1", "TS_2"), tmp_path / "a.tbl")
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    replace = Path.replace

    def full(self, target):
        if target.suffix == ".tbl":
            raise OSError("No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        written(of("TS_9"), path)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before
    with pytest.raises(OSError, match="No space"):
        written(of("TS_9"), tmp_path / "b.tbl")
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before


WRITER = """
import sys
from funpipe import Molecules, write_molecules

lists = [["TS_1", "TS_2"], ["1", "2"], ["TS_7", "TS_8", "TS_9"]]
several = [Molecules([[0, 0, 0]] * len(x), features={"tomogram": x}) for x in lists]
print("ready", flush=True)
for i in range(10**6):
    write_molecules(several[i % 3], sys.argv[1], scale=1.0)
"""
WRITTEN = [["TS_1", "TS_2"], ["1", "2"], ["TS_7", "TS_8", "TS_9"]]


def test_whoever_reads_while_another_writes_gets_the_names_of_the_table(tmp_path):
    path = written(of("TS_1", "TS_2"), tmp_path / "a.tbl")
    command = [sys.executable, "-c", WRITER, str(path)]
    seen = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "ready\n"
        try:
            end = time.monotonic() + 10
            while len(seen) < 20 or (len({*map(len, seen)}) < 2):
                assert time.monotonic() < end
                try:
                    seen.append(tomograms(path))
                except ValueError as error:
                    assert "two names for the" in str(error) or "being" in str(error)
        finally:
            writer.send_signal(signal.SIGKILL)
    assert all(each in WRITTEN for each in seen)


SEVERAL = """
import sys
from funpipe import Molecules, write_molecules

count = int(sys.argv[2])
names = [f"TS_{count}_{i}" for i in range(count)]
some = Molecules([[0, 0, 0]] * count, features={"tomogram": names})
print("ready", flush=True)
sys.stdin.readline()  # all begin at once
for _ in range(8):
    write_molecules(some, sys.argv[1], scale=1.0)
"""


def test_of_several_writers_one_list_stays_with_its_own_names(tmp_path):
    path, writers = tmp_path / "a.tbl", []
    with contextlib.ExitStack() as stack:
        for count in ("2", "3", "4"):
            command = [sys.executable, "-c", SEVERAL, str(path), count]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            writers.append(stack.enter_context(subprocess.Popen(command, **pipes)))
        for each in writers:
            assert each.stdout.readline() == "ready\n"
        for each in writers:
            each.stdin.write("begin\n")
            each.stdin.flush()
        while any(each.poll() is None for each in writers):
            with contextlib.suppress(FileNotFoundError):
                found = tomograms(path)
                assert found == [f"TS_{len(found)}_{i}" for i in range(len(found))]
    assert [each.returncode for each in writers] == [0, 0, 0]
    assert tomograms(path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.doc", "a.tbl"]


def test_a_table_and_its_map_are_of_one_writer(tmp_path, monkeypatch):
    first = threading.Event()

    def slow(path, pairs):
        table_map.put(path, pairs)
        if threading.current_thread().name == "slow":
            first.set()
            time.sleep(0.2)  # the other one's map would come in between

    monkeypatch.setattr(dynamo, "put", slow)
    path = tmp_path / "a.tbl"
    other = threading.Thread(target=written, args=(of("TS_1"), path), name="slow")
    other.start()
    first.wait()
    written(of("TS_2"), path)
    other.join()
    assert tomograms(path) == ["TS_2"]


def test_a_writer_that_waits_too_long_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(whole, "_WAIT", 0.05)
    with (
        whole.alone(tmp_path / "a.tbl"),
        pytest.raises(TimeoutError, match=r"a\.tbl: another has been writing there"),
    ):
        written(of("TS_1"), tmp_path / "a.tbl")
    written(of("TS_1"), tmp_path / "a.tbl")


def test_a_map_is_a_file_of_bounded_size_in_utf_8(tmp_path):
    path = written(of("TS_1"), tmp_path / "a.tbl")
    (tmp_path / "a.doc").write_bytes(b"1 \xe9\n")
    with pytest.raises(ValueError, match=r"a\.doc: the name .* is not UTF-8"):
        read_molecules(path)
    (tmp_path / "a.doc").unlink()
    os.mkfifo(tmp_path / "a.doc")
    assert tomograms(path) == ["1"]
    (tmp_path / "a.doc").unlink()
    with open(tmp_path / "a.doc", "wb") as file:
        file.write(b"1 TS_1\n")
        file.truncate(2**40)
    with pytest.raises(ValueError, match=r"a\.doc holds more than 67108864 bytes"):
        read_molecules(path)


# Tables ------------------------------------------------------------------------------


def test_a_score_that_is_not_known_is_written_as_matlab_has_it(tmp_path):
    path = written(of("1", "1", score=[0.5, np.nan]), tmp_path / "a.tbl")
    found = read_molecules(path).features["cc"]
    np.testing.assert_array_equal(found, [0.5, np.nan])
    assert path.read_text().split("\n")[1].split()[9] == "NaN"


def test_a_quotation_mark_does_not_join_values(tmp_path):
    row = ["0"] * 35
    row[10], row[11] = '"1', '2"'
    path = tmp_path / "a.tbl"
    path.write_text(" ".join(row) + "\n")
    with pytest.raises(ValueError, match=r"a\.tbl is not a readable Dynamo table"):
        read_molecules(path, scale=1.0)


def test_a_tomogram_that_is_no_number_is_said(tmp_path):
    row = " ".join(["0"] * 19) + " {} " + " ".join(["0"] * 15) + "\n"
    path = tmp_path / "a.tbl"
    path.write_text(row.format(1) + row.format("NA"))
    with pytest.raises(ValueError, match=r"a\.tbl: column 'tomo', row 2: nan is not"):
        read_molecules(path, scale=1.0)


def test_a_line_of_a_million_values_is_refused_at_once(tmp_path):
    path = tmp_path / "a.tbl"
    path.write_bytes(b"1 " * 10**6)
    with pytest.raises(ValueError, match=r"a\.tbl is not a readable Dynamo table"):
        read_molecules(path, scale=1.0)


def test_features_without_a_column_are_named_once(tmp_path):
    some = of("1", score=[0.5], shift=[1.0], my_note=["x"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        written(some, tmp_path / "a.tbl")
    assert [str(each.message) for each in caught] == [
        "a Dynamo table cannot hold the features shift, my_note: they are left out"
    ]
    assert read_molecules(tmp_path / "a.tbl").features["cc"].tolist() == [0.5]
