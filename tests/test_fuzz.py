"""Junk for every argument of every public function, some thousand seeded calls.

Each call is a valid one with one or two arguments replaced, by junk or by what is
nearly right. It may return, with nothing
but finite numbers where NaN has no meaning, or raise an error of four kinds that names
an argument or a path; and it may warn on the line that called. What returns once is
now and then called again with its arrays in another layout, byte order or type, and
has to return the same. All else is counted.

The calls run in processes of their own, of bounded memory: a crash of the interpreter
is then a finding too. ``python tests/test_fuzz.py 20000 7`` makes more of them, from
another seed, and prints what it finds and how many calls came to what.
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
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
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
from fuzz_layouts import (
    KINDS,
    LAYOUTS,
    OTHER_KINDS,
    alike,
    holds_arrays,
    relaid,
    within,
)
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.engine import chances

CALLS, SEEDS = 6_000, (1, 2)  # calls from each seed
LAID = 4  # layouts that each valid call is called in
AGAIN = 0.25  # of what returns, the part that is called again in another layout
SLOWEST = 20  # seconds of this process that a call may take,
PATIENCE = 120  # and of the clock, on a busy machine
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


CLEAR, RETURNED = "clear error", "result"  # all other kinds are findings


def outcome(call, given, names) -> tuple[str, str, object]:
    """Return a kind, what is to be said of it, and the result."""
    values = [given[name] for name in names]
    signal.setitimer(signal.ITIMER_PROF, SLOWEST)
    signal.alarm(PATIENCE)
    kind, text, result = CLEAR, "", None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = call(**given)
            kind = RETURNED
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
            signal.setitimer(signal.ITIMER_PROF, 0)
    for each in caught:
        if each.category is not UserWarning or each.filename not in OURS:
            place = f"{each.filename}:{each.lineno}"
            text = f"{each.category.__name__}: {each.message} ({place})"
            return "warning", text, None
    return kind, text, result


def takes_long(spacing) -> bool:
    """Tell whether a search would honestly work for minutes."""
    return type(spacing) in (int, float) and 1 <= spacing < 10


def in_another_layout(call, given, result, layout) -> tuple[str, str]:
    """Call again with arrays in another layout; return a kind and a text, or nothing.

    What does not come out the same of the very same arguments either, as of an
    iterator, says nothing.
    """
    changed = {name: relaid(each, layout) for name, each in given.items()}
    kind, text, again = outcome(call, changed, [])
    if kind == RETURNED and alike(result, again):
        return "", ""
    _, _, repeated = outcome(call, given, [])
    if not alike(result, repeated):
        return "", ""
    return "layout", f"{layout}: another result, {kind} {text}"


def fuzz(count: int, seed: int) -> tuple[dict[str, list[str]], Counter[str]]:
    """Make calls; return what is not well, by kinds, and how many came to what."""
    found: dict[str, list[str]] = {}
    tally: Counter[str] = Counter()
    calls, makers = valid_calls(), junk()
    chosen = random.Random(seed)
    for name, (call, given) in calls.items():
        result = call(**given)
        if any(map(holds_arrays, given.values())):
            for layout in chosen.sample(sorted(LAYOUTS), LAID):
                tally["called again"] += 1
                kind, text = in_another_layout(call, given, result, layout)
                if kind:
                    found.setdefault(kind, []).append(f"{name}: {text[:300]}")
    every = [(name, arg) for name, (_, given) in calls.items() for arg in given]
    for i in range(count):
        # Every argument in turn, and now and then another one too.
        name, arg = every[(i + seed * 1009) % len(every)]
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
        if "spacing" in changed and takes_long(given["spacing"]):
            continue
        print(f"{i} {name} {which}", file=sys.stderr)  # the last, if it is a crash
        with contextlib.redirect_stderr(io.StringIO()):
            kind, text, result = outcome(call, given, which)
            tally[kind] += 1
            arrays = kind == RETURNED and any(map(holds_arrays, given.values()))
            if arrays and chosen.random() < AGAIN:
                tally["called again"] += 1
                layout = chosen.choice(sorted(LAYOUTS))
                kind, text = in_another_layout(call, given, result, layout)
        if "write" in name or "csv" in name or name == "report":
            make_files()
        if kind and kind not in (CLEAR, RETURNED):
            shown = ", ".join(f"{each}={shortly(given[each])}" for each in which)
            found.setdefault(kind, []).append(f"{name}({shown}): {text[:300]}")
    return found, tally


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

    chances._TRIALS = 100  # of 2000: they take most of the time of a search
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    faulthandler.enable()
    signal.signal(signal.SIGALRM, hung)
    signal.signal(signal.SIGPROF, hung)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        make_files()
        begin = time.monotonic()
        found, tally = fuzz(count, seed)
        took = time.monotonic() - begin
        os.chdir("/")
    print(json.dumps({"found": found, "tally": tally, "seconds": took}))


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


def test_the_junk_is_of_every_kind():
    """Also where it is as large as what it stands for, and is not refused for that."""
    chosen, makers = random.Random(1), junk()
    made = [make() for make in makers]
    lacking = {
        kind
        for kind, test in OTHER_KINDS.items()
        if not any(test(each) for each in made)
    }
    arrays = [variation(IMAGE, chosen) for _ in range(2000)]
    lacking |= {
        f"an array: {kind}"
        for kind, test in KINDS.items()
        if kind != "no dimension" and not any(test(each) for each in arrays)
    }
    arrays = [each for one in made for each in within(one)]
    assert any(KINDS["no dimension"](each) for each in arrays)
    assert lacking == set()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_array_in_another_layout_is_of_the_same_numbers(layout):
    arrays = [IMAGE, IMAGE[0, 0], np.round(5 * IMAGE), np.arange(4, dtype=np.int16)]
    assert any(facts(relaid(each, layout)) != facts(each) for each in arrays)
    for each in arrays:
        np.testing.assert_array_equal(relaid(each, layout), each)


def facts(array):
    """Return what an array is beside its numbers."""
    flags = array.flags.aligned, array.flags.writeable
    return type(array), array.dtype, array.strides, *flags


def test_results_that_differ_are_told_apart():
    changed = IMAGE.copy()
    changed[0, 0, 0] += 0.01
    for one, other in [
        (IMAGE, changed),
        (IMAGE, IMAGE.astype(float)),
        (IMAGE, IMAGE[:-1]),
        (IMAGE, IMAGE * np.float32("nan")),
        (PICKS, PICKS[:1]),
        (PICKS, PICKS.translate([0, 0, 1])),
        (PICKS, PICKS.rotate(Rotation.from_rotvec([0, 0, 0.1]))),
        (PICKS, PICKS.with_features(score=[0.5, 0.3])),
        ([1.0], [1.1]),
        ({"a": 1}, {"b": 1}),
        (fp.Halves(IMAGE, IMAGE, 1.0), fp.Halves(IMAGE, changed, 1.0)),
    ]:
        assert alike(one, one)
        assert not alike(one, other)


@pytest.mark.skipif(os.name == "nt", reason="alarms and bounds of POSIX")
def test_junk_finds_nothing():
    with ThreadPoolExecutor() as pool:
        for found in pool.map(fuzzed, SEEDS):
            assert found == {}


def fuzzed(seed: int) -> dict[str, list[str]]:
    """Return what calls find in a process of their own."""
    root = str(Path(fp.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, __file__, str(CALLS), str(seed)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
        timeout=3600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])["found"]


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
