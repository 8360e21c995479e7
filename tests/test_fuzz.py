"""Junk for every argument of every public function, some thousand seeded calls.

Each call is a valid one with one or two arguments replaced, by junk or by what is
nearly right. It may return, with nothing
but finite numbers where NaN has no meaning, or raise an error of four kinds that names
an argument or a path; and it may warn on the line that called. All else is counted.

The calls run in a process of their own, of bounded memory: a crash of the interpreter
is then a finding too. ``python tests/test_fuzz.py 20000 7`` makes more of them, from
another seed, and prints what it finds.
"""

from __future__ import annotations

import contextlib
import faulthandler
import inspect
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from dataclasses import fields, is_dataclass
from pathlib import Path

import fuzz_calls
import numpy as np
import pytest
from fuzz_calls import (
    IMAGE,
    MADE_BY_OTHERS,
    PICKS,
    RENAMED,
    RNG,
    composed,
    lifted,
    valid_calls,
)
from fuzz_junk import junk, variation

import funpipe as fp

CALLS, SEED = 5_000, 1
SLOWEST = 20  # seconds of a call, on a busy machine
MEMORY = 6 * 2**30  # bytes of address space
OURS = [__file__, fuzz_calls.__file__]  # where what is warned of was called


TOMOGRAMS = """
data_global

loop_
_rlnTomoName #1
_rlnTomoSizeX #2
_rlnTomoSizeY #3
_rlnTomoSizeZ #4
_rlnTomoTiltSeriesPixelSize #5
_rlnTomoReconstructedTomogram #6
a 7 5 6 10.0 volume.mrc

data_a

loop_
_rlnTomoYTilt #1
-60.0
60.0
"""

# What became of a call.


def not_finite(value, depth=0) -> bool:
    """Tell whether there is NaN or infinity where it has no meaning."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "fc" and not np.isfinite(value).all()
    if isinstance(value, float):
        return not np.isfinite(value)
    if isinstance(value, fp.Molecules):
        return any(
            not_finite(each)
            for name, each in value.features.items()
            if name in ("score", "shift", "angle") and name not in PICKS.features
        )
    if isinstance(value, fp.Alignment):
        weighed = ("log_odds", "log_evidence", "mode_weight", "template_probability")
        known = ("rotations", "shift_errors", "angle_errors", *weighed)
        return any(
            not_finite(getattr(value, each.name))
            for each in fields(value)
            if each.name not in known
        )
    if isinstance(value, fp.FSC | fp.ConicalFSC | fp.Halves):
        return any(not_finite(getattr(value, each.name)) for each in fields(value))
    if isinstance(value, list | tuple) and depth < 3:
        return any(not_finite(each, depth + 1) for each in value)
    if is_dataclass(value) and hasattr(value, "molecules"):
        return not_finite(value.molecules)
    return False


def is_named(error: BaseException, names, values, given) -> bool:
    text = " ".join([str(error), *getattr(error, "__notes__", [])])
    words = [each for name in names for each in (name, *RENAMED.get(name, []))]
    if any(re.search(rf"(?<!\w){re.escape(each)}(?!\w)", text) for each in words):
        return True
    # An argument may also be wrong for what another one is.
    begin = tuple(f"{each}{end}" for each in given for end in (" ", "["))
    if re.sub(r"^\w+: ", "", text).startswith(begin):
        return True
    several = (list, dict, set, tuple)
    flat = [
        one for each in values for one in (each if type(each) in several else [each])
    ]
    paths = [str(each) for each in flat if isinstance(each, str | Path) and each]
    return any(each[:40] in text or repr(each)[1:40] in text for each in paths)


class Hang(BaseException):
    pass


def hung(*_):
    raise Hang


def outcome(call, given, names) -> tuple[str, str]:
    """Return a kind, empty for what is well, and what is to be said of it."""
    values = [given[name] for name in names]
    signal.alarm(SLOWEST)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            kind, text = "", ""
            result = call(**given)
            # Pipelines of arithmetic give NaN for NaN, as NumPy does.
            if not_finite(result) and call not in (lifted, composed):
                kind, text = "NaN", "in what is returned"
        except (TypeError, ValueError, OSError, ImportError) as error:
            if not is_named(error, names, values, given):
                kind, text = "unnamed", f"{type(error).__name__}: {error}"
        except Hang:
            kind, text = "hang", f"more than {SLOWEST} s"
        except BaseException as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            kind = "crash"
            text = f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})"
        finally:
            signal.alarm(0)
    for each in caught:
        if each.category is not UserWarning or each.filename not in OURS:
            place = f"{each.filename}:{each.lineno}"
            return "warning", f"{each.category.__name__}: {each.message} ({place})"
    return kind, text


def fuzz(count: int, seed: int) -> dict[str, list[str]]:
    """Make calls; return what is not well, by kinds."""
    found: dict[str, list[str]] = {}
    calls, makers = valid_calls(), junk()
    for call, given in calls.values():
        call(**given)
    chosen = random.Random(seed)
    every = [(name, arg) for name, (_, given) in calls.items() for arg in given]
    for i in range(count):
        # Every argument in turn, and now and then another one too.
        name, arg = every[i % len(every)]
        call, given = calls[name]
        names = {arg}
        if chosen.random() < 0.2:
            names.add(chosen.choice(list(given)))
        which = sorted(names)
        changed = {
            each: variation(given[each], chosen)
            if chosen.random() < 0.5
            else chosen.choice(makers)()
            for each in which
        }
        given = {**given, **changed}
        print(f"{i} {name} {which}", file=sys.stderr)  # the last, if it is a crash
        with contextlib.redirect_stderr(io.StringIO()):
            kind, text = outcome(call, given, which)
        if "write" in name or "csv" in name or name == "report":
            make_files()
        if kind:
            shown = ", ".join(f"{each}={shortly(given[each])}" for each in which)
            found.setdefault(kind, []).append(f"{name}({shown}): {text[:300]}")
    return found


def shortly(value) -> str:
    try:
        text = repr(value)
    except Exception:
        text = type(value).__name__
    return " ".join(text[:80].split())


def make_files() -> None:
    for name in os.listdir():
        if os.path.isdir(name):  # of checkpoints
            shutil.rmtree(name)
        elif name != "pipe.csv":
            os.remove(name)
    fp.write_volume("volume.mrc", IMAGE, 1.0)
    PICKS.to_csv("picks.csv")
    Path("angles.tlt").write_text("-60.0\n0.0\n60.0\n")
    Path("tomograms.star").write_text(TOMOGRAMS)
    for ending in ("mrc", "star", "csv", "tbl", "ndjson", "tlt"):
        Path(f"garbage.{ending}").write_bytes(RNG.bytes(3000))
        Path(f"empty.{ending}").touch()
    atom = "ATOM      {0}  CA  ALA A   {0}      1{0}.000  12.000  13.000  1.00  0.00"
    atoms = [f"{atom.format(i):78}C" for i in (1, 2)]
    Path("two.pdb").write_text("\n".join([*atoms, "END\n"]))
    if not Path("pipe.csv").exists():
        os.mkfifo("pipe.csv")


def main(count: int, seed: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    faulthandler.enable()
    signal.signal(signal.SIGALRM, hung)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        make_files()
        begin = time.monotonic()
        found = fuzz(count, seed)
        took = time.monotonic() - begin
        os.chdir("/")
    print(json.dumps({"found": found, "seconds": took}))


# The tests.


def parameters(name: str) -> set[str]:
    function = getattr(fp, name)
    return set(inspect.signature(function).parameters)


def test_every_public_function_and_each_of_its_arguments_is_tried():
    calls = valid_calls()
    assert set(fp.__all__) == (set(calls) & set(fp.__all__)) | MADE_BY_OTHERS
    for name in set(fp.__all__) - MADE_BY_OTHERS - {"compose", "lift"}:
        given = set(calls[name][1])
        assert given == parameters(name) - {"_shown"}, name


@pytest.mark.skipif(os.name == "nt", reason="alarms and bounds of POSIX")
def test_junk_finds_nothing():
    done = subprocess.run(
        [sys.executable, __file__, str(CALLS), str(SEED)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(fp.__file__).parents[1])},
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])["found"]
    assert found == {}


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
