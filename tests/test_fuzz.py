"""Junk for every argument of every public function, some thousand seeded calls.

Each call is a valid one with one or two arguments replaced. It may return, with nothing
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
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.parsing import parse_pipeline

CALLS, SEED = 12_000, 1
SLOWEST = 20  # seconds of a call, on a busy machine
MEMORY = 6 * 2**30  # bytes of address space


# Valid calls.


def provided(provider):
    return provider(1.0)


def converted(converter):
    return converter(IMAGE, 1.0), converter(IMAGE, 0.4)


def nothing_more(result):
    return result


def ramp(scale, length=3.0):
    n = round(length / scale)
    return np.arange(float(n**3)).reshape(n, n, n)


def doubled(image, scale, factor=2.0):
    return image * factor


def lifted(function, first, second):
    return fp.lift(function)(first, second)(1.0)


def composed(first, second, last):
    return fp.compose(first, second, last)(1.0)


def loader_align(**given):
    return fp.SubtomogramLoader(VOLUME, PICKS, 1.0).align(**given)


def loader_average(**given):
    return fp.SubtomogramLoader(VOLUME, PICKS, 1.0).average(**given)


def provider_called(scale):
    return BLOB(scale)


def converter_called(image, scale):
    return fp.gaussian_filter(0.5)(image, scale)


def some_of(index):
    return PICKS[index]


def with_feature(values):
    return PICKS.with_features(score=values)


RNG = np.random.default_rng(0)
IMAGE = RNG.random((6, 5, 7)).astype(np.float32)
VOLUME = RNG.normal(size=(20, 20, 20)).astype(np.float32)
PICKS = fp.Molecules(
    [[9.0, 9.0, 10.0], [10.0, 11.0, 9.0]],
    Rotation.random(2, rng=0),
    {"tomogram": ["a", "b"], "score": [0.5, 0.25]},
)
BLOB = fp.from_gaussian((6.0, 6.0, 6.0), sigma=(0.8, 1.0, 1.5))
BOXES = np.stack([BLOB(1.0)] * 2)
SEARCH = {
    "max_shifts": 1.0,
    "rotations": (20, 20),
    "tilt": (-60, 60),
    "resolution": 2.5,
    "symmetry": "C1",
    "refine": True,
    "whiten": False,
    "executor": None,
    "progress": False,
}
OF_TOMOGRAM = {
    "tomogram": VOLUME,
    "molecules": PICKS,
    "template": BLOB,
    "mask": fp.soft_otsu(0.5, 0.5),
    "scale": 1.0,
    "tomogram_feature": "tomogram",
    "preflight": False,
    **SEARCH,
}
OF_LOADER = {
    name: value
    for name, value in OF_TOMOGRAM.items()
    if name not in ("tomogram", "molecules", "scale")
}
FOUND = fp.align_subtomograms(BOXES, template=BLOB, scale=1.0, progress=False)

STAGES = {
    "from_file": {"path": "volume.mrc", "scale": None, "tol": 1e-5},
    "from_files": {"path": ["volume.mrc"] * 2, "scale": None, "tol": 1e-5},
    "from_array": {"img": IMAGE, "scale": 1.0, "tol": 1e-5},
    "from_arrays": {"imgs": [IMAGE, IMAGE], "scale": 1.0, "tol": 1e-5},
    "from_atoms": {
        "atoms": [[0.0, 0.0, -1.0], [0.0, 0.0, 1.0]],
        "weights": [1.0, 2.0],
        "center": None,
        "sigma": 0.5,
    },
    "from_gaussian": {"shape": 6.0, "sigma": 1.0, "shift": (0.0, 0.0, 0.0)},
    "from_structure": {"path": "two.pdb", "resolution": 1.0, "center": None},
    "gaussian_filter": {"sigma": 1.0, "mode": "reflect", "cval": 0.0},
    "lowpass_filter": {"cutoff": 2.0, "order": 2},
    "highpass_filter": {"cutoff": 2.0, "order": 2},
    "bandpass_filter": {"longest": 4.0, "shortest": 2.0, "order": 2},
    "shift": {"shift": (0.5, 0.0, 0.0), "order": 3, "mode": "nearest", "cval": 0.0},
    "rotate": {"rotation": (90.0, 0.0, 0.0), "order": 3},
    "center_by_mass": {"order": 3},
    "crop_or_pad": {"shape": 5.0, "cval": 0.0},
    "normalize": {},
    "invert": {},
    "symmetrize": {"symmetry": "C2"},
    "threshold": {"level": 0.5},
    "threshold_otsu": {"bins": 16},
    "dilation": {"radius": 1.0},
    "closing": {"radius": 1.0},
    "gaussian_smooth": {"sigma": 1.0},
    "cosine_edge": {"width": 2.0},
    "soft_otsu": {"sigma": 1.0, "radius": 1.0, "bins": 16},
    "sphere": {"radius": 2.0, "shift": (0.0, 0.0, 0.0)},
    "cylinder": {
        "radius": 2.0,
        "height": 2.0,
        "axis": "z",
        "shift": (0.0, 0.0, 0.0),
    },
}
LISTED = {"scale": 1.0, "tomograms": None, "first": None, "box": None}
OTHERS = {
    "align": (fp.align, OF_TOMOGRAM),
    "check": (fp.check, OF_TOMOGRAM),
    "align_subtomograms": (
        fp.align_subtomograms,
        {
            "boxes": BOXES,
            "template": BLOB,
            "mask": None,
            "scale": 1.0,
            "orientations": None,
            **SEARCH,
        },
    ),
    "apply_alignment": (fp.apply_alignment, {"molecules": PICKS, "found": FOUND}),
    "average": (
        fp.average,
        {
            "tomogram": {"a": VOLUME, "b": VOLUME},
            "molecules": PICKS,
            "shape": 5,
            "scale": 1.0,
            "tilt": (-60, 60),
            "tomogram_feature": "tomogram",
        },
    ),
    "subtomograms": (
        fp.subtomograms,
        {"tomogram": VOLUME, "molecules": PICKS, "shape": 5, "scale": 1.0},
    ),
    "prepare": (fp.prepare, {"template": BLOB, "mask": None, "scale": 1.0}),
    "single_axis": (fp.single_axis, {"tilt_range": (-60, 60), "axis": "y"}),
    "dual_axis": (fp.dual_axis, {"y_range": (-60, 60), "x_range": (-60, 60)}),
    "SubtomogramLoader": (
        fp.SubtomogramLoader,
        {
            "image": VOLUME,
            "molecules": PICKS,
            "scale": 1.0,
            "tilt": None,
            "tomogram_feature": "tomogram",
        },
    ),
    "Tomogram": (
        lambda array, scale, tilt: fp.average(
            fp.Tomogram(array, scale, tilt), PICKS, shape=4
        ),
        {"array": VOLUME, "scale": 1.0, "tilt": (-60, 60)},
    ),
    "Molecules": (
        fp.Molecules,
        {
            "positions": PICKS.positions,
            "rotations": PICKS.rotations,
            "features": {"score": [1.0, 2.0]},
        },
    ),
    "read_molecules": (
        fp.read_molecules,
        {"path": "picks.csv", "format": None, **LISTED},
    ),
    "write_molecules": (
        fp.write_molecules,
        {
            "molecules": PICKS,
            "path": "out.ndjson",
            "format": None,
            "like": None,
            **LISTED,
        },
    ),
    "write_volume": (
        fp.write_volume,
        {
            "path": "out.mrc",
            "image": IMAGE,
            "scale": 1.0,
            "origin": (0.0, 0.0, 0.0),
            "source": None,
        },
    ),
    "compose": (composed, {"first": fp.invert(), "second": fp.invert(), "last": BLOB}),
    "lift": (lifted, {"function": np.hypot, "first": BLOB, "second": 2.0}),
    "provider_function": (
        lambda function: fp.provider_function(function)()(1.0),
        {"function": ramp},
    ),
    "converter_function": (
        lambda function: fp.converter_function(function)()(IMAGE),
        {"function": doubled},
    ),
    # What is no function, but is called or given arguments all the same.
    "loader.align": (loader_align, OF_LOADER),
    "loader.average": (
        loader_average,
        {"shape": 5, "tilt": (-60, 60), "tomogram_feature": "tomogram"},
    ),
    "provider": (provider_called, {"scale": 1.0}),
    "converter": (converter_called, {"image": IMAGE, "scale": 1.0}),
    "Molecules.from_csv": (fp.Molecules.from_csv, {"path": "picks.csv"}),
    "Molecules.to_csv": (PICKS.to_csv, {"path": "out.csv"}),
    "Molecules.concat": (fp.Molecules.concat, {"several": [PICKS, PICKS]}),
    "Molecules.with_features": (with_feature, {"values": [1.0, 2.0]}),
    "parse_pipeline": (parse_pipeline, {"text": "invert()"}),
}
MADE_BY_OTHERS = {  # records that the package makes, and a pipeline; not functions
    "Alignment",
    "Finding",
    "ImageConverter",
    "ImageProvider",
    "identity",
}
OPERAND = [
    "operand",
    "operands",
    "operation",
    "pipeline",
    "converter",
    "provider",
    "converts a 3-D numeric array",
    "must return a 3-D numeric array",
]
RENAMED = {  # parameters, and what else an error may call them
    "image": ["tomogram", "converts a 3-D numeric array"],
    "scale": ["lies wholly outside"],
    "tilt": ["tilt_range"],
    "array": ["tomogram"],
    "first": OPERAND,
    "second": OPERAND,
    "last": OPERAND,
    "text": ["a pipeline's text"],
    "values": ["features['score']"],
    "molecules": ["positions"],
    "function": [
        "a stage",
        "in the stage",
        "must take",
        "must have a name",
        "must return a 3-D numeric array",
    ],
    "path": ["No such file or directory"],
    "box": ["box[0]", "box[1]"],
    "several": ["several"],
}


def valid_calls():
    calls = {}
    for name, given in STAGES.items():
        kind = provided if name.startswith("from_") else converted
        function = getattr(fp, name)
        calls[name] = (lambda f, then: lambda **g: then(f(**g)))(function, kind), given
    return {**calls, **OTHERS}


# Junk.


class Broken:
    def _raise(self, *_):
        raise RuntimeError("broken")

    __len__ = __iter__ = __repr__ = __float__ = __array__ = __fspath__ = _raise


def endless():
    found: list = []
    found.append(found)
    return found


def deep():
    found: list = []
    for _ in range(3000):
        found = [found]
    return found


def array_of(shape, value=1.0, dtype=np.float32):
    return lambda: np.full(shape, value, dtype)


def junk() -> list:
    """Return functions that make a value each."""
    plain = [
        None,
        True,
        False,
        -1,
        0,
        1,
        2,
        7,
        0.5,
        -0.0,
        1e-30,
        1e-320,
        1e30,
        1e37,
        1e300,
        10**6,
        10**400,
        -(10**30),
        float("nan"),
        float("inf"),
        float("-inf"),
        1j,
        Fraction(1, 3),
        np.float32(2.5),
        np.int8(3),
        np.float64("nan"),
        "",
        "a",
        "all",
        "C1",
        "C999999",
        "ribosome.mrc",
        "x" * 100_000,
        "a\0b",
        "\ud800",
        "a\x1b[31mb",
        b"bytes",
        [],
        (),
        {},
        set(),
        [1],
        (1, 2),
        (1.0, -1.0),
        (1, 2, 3),
        [0, 0, 0],
        (-1, 0, 1),
        (float("nan"),) * 3,
        (1e300,) * 3,
        (1e37, 0, 0),
        ((1, 2),) * 3,
        ((0, 0),) * 3,
        [[1], [2, 3]],
        [1, [2, 3], 4],
        ["a", "b"],
        [None, None],
        {"a": 1},
        {1, 2},
        object(),
        Ellipsis,
        slice(None),
        range(3),
        len,
        str,
        np.sqrt,
        ThreadPoolExecutor,
        Path("nothing.mrc"),
        Path("."),
        "nothing.star",
        "nothing.csv",
        "volume.mrc",
        "picks.csv",
        "garbage.mrc",
        "garbage.star",
        "garbage.csv",
        "garbage.tbl",
        "garbage.ndjson",
        "empty.mrc",
        "empty.csv",
        "/dev/null",
        "/dev/zero",
        "pipe.csv",
        "no/such/folder/out.csv",
        "out.star",
        PICKS,
        PICKS[:1],
        PICKS[:0],
        fp.Molecules(PICKS.positions + 1e4),
        fp.Molecules(PICKS.positions * 1e200),
        Rotation.identity(),
        Rotation.identity(3),
        Rotation.from_quat(np.zeros((0, 4))),
        BLOB,
        BLOB * 0,
        BLOB * float("nan"),
        fp.from_arrays([IMAGE, IMAGE[:-1]]),
        fp.invert(),
        fp.sphere(1e9),
        fp.dilation,
        fp.identity,
        fp.Tomogram(VOLUME, scale=-1),
        fp.Tomogram(None),
        FOUND,
        SimpleNamespace(pos=1, rotator=2),
        SimpleNamespace(shape=3, dtype="x"),
        SimpleNamespace(pos=PICKS.positions, rotator=PICKS.rotations, features=5),
        np.ma.masked,
        np.datetime64("2020-01-01"),
        warnings,
    ]
    made = [
        lambda: 10**5000,
        endless,
        deep,
        Broken,
        lambda: [Broken()] * 3,
        lambda: lambda: None,
        lambda: lambda *a, **k: a,
        lambda: lambda image, scale: None,
        lambda: lambda vectors: "x",
        lambda: lambda vectors: -np.ones(np.shape(vectors)[1:]),
        lambda: lambda vectors: np.full(np.shape(vectors)[1:], np.nan),
        lambda: (i for i in range(3)),
        lambda: itertools.count(),
        lambda: io.StringIO("text"),
        lambda: np.array(5.0),
        lambda: np.array(None),
        lambda: np.array([True, False]),
        lambda: np.array(["1", "2", "3"]),
        lambda: np.array([1, 2, 3], dtype=object),
        lambda: np.zeros((3, 2), dtype=[("a", "f4")]),
        lambda: np.ma.masked_array(
            np.ones((6, 5, 7)), np.eye(7)[:5] * np.ones((6, 1, 1))
        ),
        array_of((0,)),
        array_of((0, 3)),
        array_of((2, 3)),
        array_of((2, 3), np.nan, float),
        array_of((2, 3), 1e300, float),
        array_of((2, 3), 1e10, float),
        array_of((3, 3), 1),
        array_of((0, 6, 6)),
        array_of((1, 1, 1)),
        array_of((2, 2, 2)),
        array_of((6, 6, 6), 0.0),
        array_of((6, 6, 6), 7.0),
        array_of((6, 6, 6), np.nan),
        array_of((6, 6, 6), 1e37),
        array_of((6, 6, 6), 1e300, float),
        array_of((6, 6, 6), 1j, complex),
        array_of((6, 6, 6), True, bool),
        array_of((6, 6, 6), "a", object),
        array_of((20, 20, 20), 0.0),
        array_of((20, 20, 20), 1e37),
        array_of((1, 1, 400)),
        array_of((2, 6, 6, 6), 0.0),
        array_of((2, 6, 6, 6), np.inf),
        lambda: RNG.normal(size=(6, 6, 6)) * 1e30,
        lambda: RNG.normal(size=(6, 6, 6)) * 1e-30,
        lambda: RNG.normal(size=(6, 6, 6)).astype(np.float16),
        lambda: RNG.normal(size=(20, 20, 20)) * 1e30,
        lambda: RNG.normal(size=(20, 20, 20)) * 1e-30,
        lambda: RNG.normal(size=(20, 20, 20)).astype(">f8")[::-1],
        lambda: [RNG.normal(size=(6, 6, 6)), RNG.normal(size=(5, 6, 6))],
        lambda: {"a": VOLUME},
        lambda: {"a": VOLUME, "b": VOLUME[:10], "c": None},
        lambda: {"a": VOLUME, "b": fp.Tomogram(VOLUME, scale=2.0)},
        lambda: {"a": VOLUME, "b": fp.Tomogram(VOLUME, tilt="x")},
        lambda: {"a": np.full((20, 20, 20), np.nan), "b": VOLUME},
    ]
    return [(lambda value: lambda: value)(each) for each in plain] + made


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
        known = ("rotations", "shift_errors", "angle_errors")
        return any(
            not_finite(getattr(value, each.name))
            for each in fields(value)
            if each.name not in known
        )
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
        if each.category is not UserWarning or each.filename != __file__:
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
        which = {each: chosen.randrange(len(makers)) for each in sorted(names)}
        given = {**given, **{each: makers[j]() for each, j in which.items()}}
        print(f"{i} {name} {which}", file=sys.stderr)  # the last, if it is a crash
        with contextlib.redirect_stderr(io.StringIO()):
            kind, text = outcome(call, given, list(which))
        if "write" in name or "csv" in name:
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
        if name != "pipe.csv":
            os.remove(name)
    fp.write_volume("volume.mrc", IMAGE, 1.0)
    PICKS.to_csv("picks.csv")
    for ending in ("mrc", "star", "csv", "tbl", "ndjson"):
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
    if len(sys.argv) < 4:
        main(int(sys.argv[1]), int(sys.argv[2]))
