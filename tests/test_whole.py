"""Files are written whole or not at all, by however many, and whoever is killed."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import funpipe as fp
from funpipe.base import whole
from funpipe.base.whole import replacing
from funpipe.io.volumes import read_volume

# Writes volumes or lists of one number, over and over.
WRITER = """
import sys, threading
import numpy as np
import funpipe as fp

path, number = sys.argv[1], int(sys.argv[2])
some = fp.Molecules(np.full((2000 + number, 3), float(number)))
ended = []
print("ready", flush=True)
sys.stdin.readline()  # all begin at once
threading.Thread(target=lambda: ended.append(sys.stdin.readline())).start()
while not ended:
    if path.endswith(".mrc"):
        fp.write_volume(path, np.full((24, 24, 24), number, np.float32), scale=1.0)
    else:
        fp.write_molecules(some, path)
"""
# Writes half of a file and waits to be killed.
DOOMED = """
import sys, time
from funpipe.base.whole import replacing

with replacing(sys.argv[1]) as partial, open(partial, "w") as file:
    file.write("half")
    file.flush()
    print("ready", flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def running(source, *arguments):
    """Run a program that says when it is ready; it is gone at the end."""
    command = [sys.executable, "-c", source, *map(str, arguments)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as started:
        assert started.stdout.readline() == "ready\n"
        try:
            yield started
        finally:
            started.kill()


def names(folder):
    return sorted(each.name for each in folder.iterdir())


def of_one_writer(path):
    """Read what the writers write; tell whether all of it is of one of them."""
    if path.suffix == ".mrc":
        return len(np.unique(read_volume(path).array)) == 1
    positions = fp.read_molecules(path).positions
    return (positions == len(positions) - 2000).all()


_READ = 30  # times, while they write


@pytest.mark.parametrize("name", ["a.csv", "a.mrc"])
def test_of_several_writers_of_one_path_a_reader_always_sees_a_whole_file(
    tmp_path, name
):
    path = tmp_path / name
    if path.suffix == ".mrc":
        fp.write_volume(path, np.ones((24, 24, 24), np.float32), scale=1.0)
    else:
        fp.write_molecules(np.ones((2001, 3)), path)
    with (
        running(WRITER, path, 1) as one,
        running(WRITER, path, 2) as two,
        running(WRITER, path, 3) as three,
    ):
        writers = (one, two, three)
        for each in writers:
            each.stdin.write("begin\n")
            each.stdin.flush()
        for _ in range(_READ):
            assert of_one_writer(path)
        assert [each.poll() for each in writers] == [None] * 3  # all the while
        for each in writers:
            each.stdin.write("end\n")
            each.stdin.flush()
        assert [each.wait() for each in writers] == [0, 0, 0]
    assert names(tmp_path) == [name]


def test_threads_that_write_one_path_do_not_meet(tmp_path):
    path, failed = tmp_path / "a.txt", []

    def write(number):
        try:
            for _ in range(50):
                with replacing(path) as partial:
                    partial.write_text(str(number) * 1000)
                assert len(set(path.read_text())) == 1
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert failed == []
    assert names(tmp_path) == ["a.txt"]


def test_a_killed_writer_leaves_the_old_file_and_the_next_one_tidies_up(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("old")
    for _ in range(2):
        with running(DOOMED, path) as doomed:
            assert len(names(tmp_path)) == 2
            doomed.send_signal(signal.SIGKILL)
            doomed.wait()
        assert path.read_text() == "old"
        assert len(names(tmp_path)) == 2  # what the one before left is gone
    with replacing(path) as partial:
        partial.write_text("new")
    assert names(tmp_path) == ["a.csv"]


def test_a_writer_that_lives_keeps_its_file(tmp_path):
    with running(DOOMED, tmp_path / "slow.csv"):
        (half,) = tmp_path.iterdir()
        os.utime(half, (0, 0))  # however old
        with replacing(tmp_path / "quick.csv") as partial:
            partial.write_text("new")
        assert half.read_text() == "half"


def test_what_is_not_ours_is_never_removed_nor_followed(tmp_path):
    mine, target = tmp_path / ".a.partial.csv", tmp_path / "a.csv"
    mine.write_text("mine")
    (tmp_path / "precious").write_text("mine")
    linked = f".funpipe-{'0' * 16}.partial.csv"
    (tmp_path / linked).symlink_to("precious")
    (tmp_path / f".funpipe-{'1' * 16}.partial.csv").mkdir()
    os.mkfifo(tmp_path / f".funpipe-{'2' * 16}.partial.csv")
    (tmp_path / ".funpipe-notes.partial.csv").write_text("mine")
    before = names(tmp_path)
    fp.write_molecules(np.ones((2, 3)), target)
    assert names(tmp_path) == sorted([*before, "a.csv"])
    assert mine.read_text() == (tmp_path / "precious").read_text() == "mine"


def test_where_there_are_no_locks_what_is_a_day_old_was_left(tmp_path, monkeypatch):
    monkeypatch.setattr(whole, "fcntl", None)
    old, new = (tmp_path / f".funpipe-{each * 16}.partial.csv" for each in "01")
    old.write_text("half")
    new.write_text("half")
    os.utime(old, (time.time() - 2 * 86400,) * 2)
    with replacing(tmp_path / "a.csv") as partial:
        partial.write_text("new")
    assert names(tmp_path) == [new.name, "a.csv"]


def test_a_partial_file_that_is_taken_for_a_left_one_is_made_anew(
    tmp_path, monkeypatch
):
    stolen, lock = [], whole._locked

    def late(handle):
        if not stolen:
            stolen.extend(tmp_path.iterdir())
            stolen[0].unlink()
        return lock(handle)

    monkeypatch.setattr(whole, "_locked", late)
    with replacing(tmp_path / "a.csv") as partial:
        assert partial != stolen[0]
        partial.write_text("new")
    assert names(tmp_path) == ["a.csv"]


@pytest.mark.parametrize("ending", [".csv", ".mrc", ".mrc.gz", ".tbl", ".em", ".mod"])
def test_a_name_may_be_as_long_as_the_system_takes(tmp_path, ending):
    path = tmp_path / ("n" * (255 - len(ending)) + ending)
    if ending.startswith(".mrc"):
        fp.write_volume(path, np.ones((2, 2, 2), np.float32), scale=1.0)
    else:
        for module in ("dynamotable", "emfile", "imodmodel"):
            pytest.importorskip(module)
        fp.write_molecules(np.ones((2, 3)), path, scale=1.0)
    assert names(tmp_path) == [path.name]


def test_an_ending_may_be_as_long_as_a_name(tmp_path):
    path = tmp_path / ("n." + "e" * 253)
    with replacing(path) as partial:
        partial.write_text("new")
    assert names(tmp_path) == [path.name]


def test_the_content_is_on_the_disk_before_it_has_the_name(tmp_path, monkeypatch):
    done, replace = [], Path.replace
    monkeypatch.setattr(os, "fsync", lambda _: done.append("on the disk"))
    monkeypatch.setattr(
        Path, "replace", lambda *each: (done.append("named"), replace(*each))
    )
    with replacing(tmp_path / "a.csv") as partial:
        partial.write_text("new")
    assert done == ["on the disk", "named"]


def test_a_new_file_has_the_mode_that_the_user_gives_new_files(tmp_path):
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "a.csv") as partial:
            partial.write_text("new")
    finally:
        os.umask(before)
    assert (tmp_path / "a.csv").stat().st_mode & 0o777 == 0o640
