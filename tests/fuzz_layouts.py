"""The same numbers in another layout, byte order or type, and results compared.

For `tests/test_fuzz.py`: what an array looks like in memory must not show in a result.
"""

from __future__ import annotations

import io
import itertools
import warnings
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

import funpipe as fp


class Named(np.ndarray):
    """A subclass, as pandas, astropy and mrcfile have theirs."""


def spread(array):
    """Return a view of every other element, backwards, of twice as many."""
    wide = np.zeros([2 * n for n in array.shape], array.dtype)
    view = wide[(slice(None, None, -2),) * array.ndim]
    view[...] = array
    return view


def unaligned(array):
    raw = np.zeros(array.nbytes + 1, np.uint8)[1:]
    view = raw.view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def read_only(array):
    copy = array.copy()
    copy.flags.writeable = False
    return copy


def swapped(array):
    return array.astype(array.dtype.newbyteorder())


def of_type(dtype):
    def turned(array):
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = array.astype(dtype)
            nan = array.dtype.kind == "f"
            same = np.array_equal(found, array, equal_nan=nan)
        return found if same else array  # where it holds these numbers

    return turned


LAYOUTS = {
    "fortran": np.asfortranarray,
    "spread": spread,
    "unaligned": unaligned,
    "read-only": read_only,
    "other byte order": swapped,
    "float64": of_type(np.float64),
    "big-endian float64": of_type(">f8"),
    "long double": of_type(np.longdouble),
    "float32": of_type(np.float32),
    "integer": of_type(np.int64),
    "unsigned": of_type(np.uint16),
    "subclass": lambda array: array.view(Named),
    "nothing masked": lambda array: np.ma.masked_array(array),
}


def relaid(value: Any, layout: str) -> Any:
    """Return a value whose arrays of numbers, also those within, are laid otherwise."""
    if isinstance(value, np.ndarray):
        plain = value.dtype.kind in "iuf" and not isinstance(value, np.ma.MaskedArray)
        return LAYOUTS[layout](value) if plain and value.ndim else value
    if type(value) in (list, tuple):
        return type(value)(relaid(each, layout) for each in value)
    if type(value) is dict:
        return {name: relaid(each, layout) for name, each in value.items()}
    if isinstance(value, fp.Tomogram) and isinstance(value.array, np.ndarray):
        return value._replace(array=relaid(value.array, layout))
    return value


def holds_arrays(value: Any, depth: int = 0) -> bool:
    """Tell whether there is something to lay otherwise."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "iuf" and bool(value.ndim)
    if type(value) in (list, tuple) and depth < 3:
        return any(holds_arrays(each, depth + 1) for each in value[:50])
    if type(value) is dict and depth < 3:
        return any(holds_arrays(each, depth + 1) for each in value.values())
    return isinstance(value, fp.Tomogram) and isinstance(value.array, np.ndarray)


def alike(one: Any, other: Any, tolerance: float = 1e-5) -> bool:
    """Tell whether two results are the same, but for what rounding does.

    What is neither made of numbers and texts nor a record of such is of one kind.
    """
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return arrays_alike(one, other, tolerance)
    if isinstance(one, float):
        return arrays_alike(np.array(one), np.array(other), tolerance)
    if isinstance(one, Rotation):
        return rotations_alike(one, other, tolerance)
    if isinstance(one, fp.Molecules):
        several = [
            (each.positions, each.rotations, dict(each.features))
            for each in (one, other)
        ]
        return alike(*several, tolerance)
    if isinstance(one, dict):
        return list(one) == list(other) and all(
            alike(one[each], other[each], tolerance) for each in one
        )
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(
            alike(a, b, tolerance) for a, b in zip(one, other, strict=True)
        )
    if isinstance(one, str | int | Path | fp.ImageProvider | fp.ImageConverter):
        return bool(one == other)
    if is_dataclass(one):
        return all(
            alike(getattr(one, each.name), getattr(other, each.name), tolerance)
            for each in fields(one)
        )
    return True


def arrays_alike(one, other, tolerance):
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.dtype.kind not in "fc":
        return bool((one == other).all())
    unit = float(np.max(np.abs(one), where=np.isfinite(one), initial=0.0))
    return np.allclose(one, other, tolerance, tolerance * unit, equal_nan=True)


def rotations_alike(one, other, tolerance):
    if np.shape(one.as_quat()) != np.shape(other.as_quat()):
        return False
    if not np.size(one.as_quat()):
        return True
    return bool(np.max((one.inv() * other).magnitude()) <= 10 * tolerance)


# What kinds of values the junk is made of.


def within(value: Any) -> list[np.ndarray]:
    """Return the arrays in a value."""
    if isinstance(value, np.ndarray):
        return [value]
    if type(value) in (list, tuple) and len(value) < 50:
        return [each for one in value for each in within(one)] if flat(value) else []
    if type(value) is dict:
        return [each for one in value.values() for each in within(one)]
    return []


def flat(value) -> bool:
    return all(type(each) is not list for each in itertools.islice(value, 50))


def numbers(test):
    """Return a test of arrays of numbers, of others false."""
    return lambda array: bool(
        array.dtype.kind in "iuf"
        and array.size
        and test(np.array(array, np.longdouble))
    )


def largest(array):
    return np.max(np.abs(array), where=np.isfinite(array), initial=0)


def overlapping(array):
    return array.size > 1 and 0 in array.strides


KINDS = {  # of arrays
    "NaN": numbers(lambda array: np.isnan(array).any()),
    "infinity": numbers(lambda array: np.isinf(array).any()),
    "zeros": numbers(lambda array: not array.any()),
    "one value": numbers(
        lambda array: array.size > 1 and (array == array.flat[0]).all()
    ),
    "negative": numbers(lambda array: (array < 0).all()),
    "huge": numbers(lambda array: largest(array) > 1e30),
    "tiny": numbers(lambda array: 0 < largest(array) < 1e-20),
    "empty": lambda array: not array.size,
    "no dimension": lambda array: not array.ndim,
    "Fortran's order": lambda array: array.flags.fnc,
    "not contiguous": lambda array: not array.flags.forc,
    "backwards": lambda array: min(array.strides, default=0) < 0,
    "overlapping": overlapping,
    "unaligned": lambda array: not array.flags.aligned,
    "big-endian": lambda array: array.dtype.byteorder == ">",
    "read-only": lambda array: not array.flags.writeable,
    "integer": lambda array: array.dtype.kind == "i",
    "unsigned": lambda array: array.dtype.kind == "u",
    "boolean": lambda array: array.dtype.kind == "b",
    "half precision": lambda array: array.dtype == np.float16,
    "long double": lambda array: array.dtype.itemsize == 16 and array.dtype.kind == "f",
    "complex": lambda array: array.dtype.kind == "c",
    "object": lambda array: array.dtype.kind == "O",
    "text": lambda array: array.dtype.kind == "U",
    "bytes": lambda array: array.dtype.kind == "S",
    "time": lambda array: array.dtype.kind == "M",
    "structured": lambda array: array.dtype.kind == "V",
    "masked": lambda array: bool(np.ma.is_masked(array)),
    "nothing masked": lambda array: (
        isinstance(array, np.ma.MaskedArray) and not np.ma.is_masked(array)
    ),
    "subclass": lambda array: isinstance(array, Named),
}

OTHER_KINDS = {  # of what is no array
    "nothing": lambda value: value is None,
    "a number": lambda value: type(value) is float and np.isfinite(value),
    "NaN": lambda value: type(value) is float and np.isnan(value),
    "infinity": lambda value: type(value) is float and np.isinf(value),
    "zero": lambda value: type(value) is int and value == 0,
    "a negative number": lambda value: type(value) in (int, float) and value < 0,
    "a huge number": lambda value: type(value) is int and value > 2**100,
    "a flag": lambda value: type(value) is bool,
    "a text": lambda value: type(value) is str,
    "bytes": lambda value: type(value) is bytes,
    "a path": lambda value: isinstance(value, Path),
    "a function": lambda value: callable(value),
    "an iterator": lambda value: hasattr(value, "__next__"),
    "a file": lambda value: isinstance(value, io.IOBase),
    "rows of different lengths": lambda value: (
        type(value) is list and value == [[1], [2, 3]]
    ),
    "an empty list": lambda value: type(value) is list and not value,
    "particles": lambda value: isinstance(value, fp.Molecules),
    "no particles": lambda value: isinstance(value, fp.Molecules) and not len(value),
    "a rotation": lambda value: isinstance(value, Rotation),
    "a pipeline": lambda value: isinstance(value, fp.ImageProvider),
    "a converter": lambda value: isinstance(value, fp.ImageConverter),
}
