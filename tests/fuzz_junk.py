"""Junk: values that arguments may be given by mistake, or by an adversary.

For `tests/test_fuzz.py`.
"""

from __future__ import annotations

import io
import itertools
import warnings
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from fuzz_calls import BLOB, FOUND, IMAGE, PICKS, RNG, VOLUME
from fuzz_layouts import LAYOUTS, relaid
from scipy.spatial.transform import Rotation

import funpipe as fp


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
        lambda: np.array(["2020-01-01"] * 3, dtype="M8[s]"),
        lambda: np.array([b"1", b"2", b"3"]),
        lambda: np.array([1, None, 3], dtype=object),
        lambda: np.ma.masked_array([1.0, 2.0, 3.0]),
        lambda: np.arange(3, dtype=">i4"),
        lambda: np.broadcast_to(np.float32(2), (6, 5, 7)),
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


# What is nearly right.


def variation(value, chosen):
    """Return a value like another one, of its kind; ``chosen`` is a random.Random."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        factor = chosen.choice([1, 1, 1, -1]) * 10 ** chosen.uniform(-1, 1)
        return chosen.choice([value * factor, value + 1, value / 2, round(factor)])
    if isinstance(value, str):
        return chosen.choice([value[:-1], value.upper(), value + " ", value[::-1]])
    if isinstance(value, list | tuple) and 0 < len(value) < 100:  # and not ever longer
        changed = list(value)
        i = chosen.randrange(len(changed))
        changed[i] = variation(changed[i], chosen)
        return chosen.choice([changed, changed[:-1], changed[::-1], changed * 2])
    if isinstance(value, dict):
        return {name: variation(each, chosen) for name, each in value.items()}
    if isinstance(value, np.ndarray):
        return varied_array(value, chosen)
    if isinstance(value, fp.Molecules):
        return varied_molecules(value, chosen)
    if isinstance(value, fp.ImageProvider | fp.ImageConverter):
        factor = 10 ** chosen.uniform(-20, 20)
        return chosen.choice(
            [-value, value * factor, value > 0.5, fp.sphere(2) & value]
        )
    return chosen.choice(junk())()


NUMBERS = ["f4", "f4", "f8", ">f4", ">f8", "f2", "g", "i2", "i8", ">i4", "u1"]
OTHER_TYPES = ["?", "c8", "O", "U3", "S3", "M8[s]", [("a", "f4")]]
EXTREMES = [np.nan, np.inf, -np.inf, 3e38, -1e30, 0.0]


def varied_array(array, chosen):
    """Return an array of another type, size, content and layout; a few of each."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        changed = np.array(array, dtype=chosen.choice(NUMBERS))
        changed = changed * np.array(varied_factor(chosen)).astype(changed.dtype)
        if changed.dtype.kind == "f" and changed.size and chosen.random() < 0.2:
            changed.flat[chosen.randrange(changed.size)] = chosen.choice(EXTREMES)
        if chosen.random() < 0.15:
            changed = chosen.choice([np.zeros_like, np.ones_like, np.abs, rest])(
                changed
            )
        if chosen.random() < 0.1:
            changed = changed.astype(chosen.choice(OTHER_TYPES))
    turn = chosen.choice([np.asfortranarray, np.flip, np.transpose, np.array, np.array])
    cut = slice(chosen.choice([None] * 20 + [1] * 6 + [len(array)]), None)
    changed = turn(changed)[cut]
    if chosen.random() < 0.3:
        changed = relaid(changed, chosen.choice(sorted(LAYOUTS)))
    if chosen.random() < 0.05 and changed.size:
        changed = np.ma.masked_array(changed, np.arange(changed.size) % 7 == 0)
    elif chosen.random() < 0.05:
        changed = np.broadcast_to(changed[:1], changed.shape)
    if chosen.random() < 0.3 and type(changed) is np.ndarray:
        changed.flags.writeable = False
    return changed


def varied_factor(chosen):
    return chosen.choice([1, 1, -1, 10 ** chosen.uniform(-25, 4), 1e38])


def rest(array):
    """Return minus the absolute values."""
    return -np.abs(array)


def varied_molecules(molecules, chosen):
    away = [chosen.uniform(-12, 12) for _ in range(3)]
    order = [chosen.randrange(len(molecules)) for _ in range(chosen.randrange(1, 40))]
    moved = fp.Molecules(
        molecules.positions + away, molecules.rotations, molecules.features
    )
    return moved[order]
