"""What guided fuzzing has found stays mended, and damage of every format is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

pytest.importorskip("resource", reason="not on Windows")
for library in ("starfile", "dynamotable", "emfile", "imodmodel", "pyarrow"):
    pytest.importorskip(library, reason=f"{library} is not installed")
for library in ("mdocfile", "alnfile", "tifffile", "h5py", "zarr", "gemmi"):
    pytest.importorskip(library, reason=f"{library} is not installed")

import guided_fuzz  # noqa: E402
from guided_targets import TARGETS, Target, outcome, prepared  # noqa: E402

import funpipe as fp  # noqa: E402
from funpipe.base.errors import FileError  # noqa: E402
from funpipe.io.particles import LISTS  # noqa: E402
from funpipe.io.tilts import TILTS  # noqa: E402
from funpipe.io.volumes import VOLUMES  # noqa: E402

NEVER_READ = {"cryosparc"}  # whose particles are of micrographs, which is said
OTHER_NAMES = {  # of formats, and the targets that are theirs
    "bild": set(),  # which is written only
    "stack": {"mrc"},
    "hdf5": {"unpacked_hdf5", "packed_hdf5"},
    "ome_zarr": {"zarr attributes", "zarr array"},
    "ctf": {"ctffind", "aretomo ctf"},
    "star": {"gctf", "tilt star", "tomograms"},
}


def test_every_format_has_a_target():
    for name in (*LISTS, *VOLUMES, *TILTS):
        assert OTHER_NAMES.get(name, {name}) <= set(TARGETS), name


@pytest.mark.filterwarnings("ignore::UserWarning")  # of what is left out
@pytest.mark.parametrize("name", sorted(set(TARGETS) - NEVER_READ))
def test_the_files_that_are_damaged_are_read_where_they_are_not(name, tmp_path):
    several = guided_fuzz.seeds_of(name, tmp_path)
    path = prepared(TARGETS[name], tmp_path)
    assert several
    for content in several:
        path.write_bytes(content)
        TARGETS[name].read(path)


def unnamed(path):
    raise ValueError("no such column")


def named(path):
    raise FileError(path, " has no such column")


def of_two_lines(path):
    raise FileError(path, " has no\nsuch column")


def not_a_number(path):
    molecules = fp.Molecules([[0.0, 0, 0]], Rotation.identity(1))
    object.__setattr__(molecules, "positions", np.full((1, 3), np.nan))
    return molecules


def never(path):
    while True:
        time.process_time()


@pytest.mark.parametrize(
    ("read", "kind"),
    [
        (lambda path: path.read_bytes(), "read"),
        (lambda path: warnings.warn("of a file", stacklevel=1), "read"),
        (named, "refused"),
        (unnamed, "unnamed"),
        (of_two_lines, "unclear"),
        (lambda path: {}["column"], "crash"),
        (lambda path: np.zeros(2**62, np.int8), "memory"),
        (lambda path: np.float64(0) / np.float64(0), "warning"),
        (not_a_number, "NaN"),
        (never, "hang"),
    ],
)
def test_what_is_not_well_is_complained_of(read, kind, tmp_path, monkeypatch):
    monkeypatch.setattr("guided_targets.SLOWEST", 0.05)
    target = Target("a.star", read, lambda folder: [])
    assert outcome(target, tmp_path / "a.star", b"data_")[0] == kind


def test_what_was_found_and_damaged_files_are_read_or_refused_by_their_names():
    """In a process of bounded memory, where a crash is found too."""
    done = subprocess.run(
        [sys.executable, guided_fuzz.__file__, "replay"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(fp.__file__).parents[1])},
        timeout=3600,
    )
    assert done.stdout, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["wrong"] == {}
    kept = sum(len(guided_fuzz.kept(name)) for name in TARGETS)
    damaged = guided_fuzz.DAMAGED * len(TARGETS)
    assert found["count"]["kept"] == kept > 0
    assert found["count"]["read"] + found["count"]["refused"] == kept + damaged
    assert found["count"]["refused"] > damaged / 4
