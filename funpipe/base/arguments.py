"""Checks of arguments: each takes a name and a value, returns the value in its
canonical form, or raises an error that names the argument, the value and what
would be right.

Stages declare them in their signatures, ``sigma: Annotated[float, non_negative]``,
and they run where the pipeline is built.
"""

from __future__ import annotations

import itertools
import math
import numbers
import os
import re
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.base.wording import fail

if TYPE_CHECKING:
    from numpy.typing import ArrayLike as ArrayLike
else:

    class ArrayLike:
        """What numpy makes an array of; numpy's own type fills a page of `help`."""


Image: TypeAlias = NDArray[np.float32]
Vector3: TypeAlias = tuple[float, float, float]


def memory() -> float:
    """Return how many bytes of memory there are; 16 GB where that is unknown.

    Those of the machine, or as many as the process may have.
    """
    try:
        most = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        import resource

        bound = resource.getrlimit(resource.RLIMIT_AS)[0]
        return most if bound == resource.RLIM_INFINITY else min(most, float(bound))
    except (AttributeError, ImportError, ValueError, OSError):  # not everywhere
        return 16e9


def processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not everywhere
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _real(name: str, wanted: str, value: Any, valid: Callable[[float], bool]) -> float:
    real = math.nan
    with suppress(Exception):  # 10**400 has no float, and an object may be broken
        if isinstance(value, np.ndarray) and value.ndim == 0 and not is_masked(value):
            value = value.item()
        if isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_):
            real = float(value)
    if not math.isfinite(real) or not valid(real):
        fail(name, wanted, value)
    return real


def _any(value: float) -> bool:
    return True


def _positive(value: float) -> bool:
    return value > 0


def _non_negative(value: float) -> bool:
    return value >= 0


def number(name: str, value: Any) -> float:
    """Return any finite number as a float."""
    return _real(name, "a finite number", value, _any)


def grey(name: str, value: Any) -> float:
    """Return a number that a voxel, a float32, can hold."""
    wanted = "a finite number that a float32 holds, within ±3.4e38"
    return _real(name, wanted, value, _single)


def _single(value: float) -> bool:
    return abs(value) <= float(np.finfo(np.float32).max)


def positive(name: str, value: Any) -> float:
    """Return a finite number above 0 as a float.

    Examples
    --------
    >>> positive("scale", 0)
    Traceback (most recent call last):
    ...
    funpipe.base.errors.WrongValueError: scale must be a number above 0, not 0
    """
    return _real(name, "a number above 0", value, _positive)


def non_negative(name: str, value: Any) -> float:
    """Return a finite number, 0 or more, as a float."""
    return _real(name, "a number of 0 or more", value, _non_negative)


def optional_positive(name: str, value: Any) -> float | None:
    """Return None, or a finite number above 0 as a float."""
    if value is None:
        return None
    return _real(name, "a number above 0, or None", value, _positive)


def whole_number(name: str, value: Any, minimum: int = 0) -> int:
    """Return a whole number of at least ``minimum`` as an int."""
    wanted = f"a whole number of {minimum} or more"
    whole = _real(name, wanted, value, _any)
    if not whole.is_integer() or whole < minimum:
        fail(name, wanted, value)
    return int(whole)


def positive_integer(name: str, value: Any) -> int:
    """Return a whole number of 1 or more as an int."""
    return whole_number(name, value, 1)


def spline_order(name: str, value: Any) -> int:
    """Return the order of a spline, 0 to 5, as an int."""
    wanted = "the order of a spline, 0 to 5"
    order = _real(name, wanted, value, _non_negative)
    if order > 5 or not order.is_integer():
        fail(name, wanted, value)
    return int(order)


def flag(name: str, value: Any) -> bool:
    """Return True or False; nothing else is taken for one of them.

    Examples
    --------
    >>> flag("refine", "no")
    Traceback (most recent call last):
    ...
    funpipe.base.errors.WrongValueError: refine must be True or False, not 'no'
    """
    if not isinstance(value, bool | np.bool_):
        fail(name, "True or False", value)
    return bool(value)


def executor(name: str, value: Any) -> Any:
    """Return None, or what work can be submitted to."""
    if value is None:
        return None
    if isinstance(value, type) or not has(value, "submit"):
        wanted = "None, or an executor such as ProcessPoolExecutor()"
        fail(name, f"{wanted} of concurrent.futures", value)
    return value


def has(value: Any, *names: str) -> bool:
    """Tell whether a value has attributes; one that raises has none."""
    try:
        return all(hasattr(value, each) for each in names)
    except Exception:
        return False


def as_array(name: str, wanted: str, value: Any) -> NDArray[Any]:
    """Return a value as an array, or raise the error that it must be ``wanted``.

    Rows of different lengths are an error, as are masked values: what they stand for
    is not in the array.
    """
    try:
        array = np.asarray(value)
    except Exception:
        fail(name, wanted, value)
    if is_masked(value):
        raise ValueError(
            f"{name} must have no masked values: fill them, as with array.filled(0)"
        )
    return array


def shape_of(value: Any) -> tuple[int, ...] | None:
    """Return the shape of a value as an array; None where it has none.

    Examples
    --------
    >>> shape_of([(1, 2), (3, 4)]), shape_of([(1, 2), (3,)])
    ((2, 2), None)
    """
    try:
        return np.shape(value)
    except Exception:  # rows of different lengths, a list in itself, a broken object
        return None


def is_masked(value: Any) -> bool:
    """Tell whether a value is a masked array with something masked in it."""
    return isinstance(value, np.ma.MaskedArray) and bool(np.ma.is_masked(value))


def _three(name: str, wanted: str, value: Any, valid: Callable[[float], bool]) -> Any:
    array = as_array(name, wanted, value)
    if array.ndim == 0:
        value = _real(name, wanted, value, valid)
        return (value, value, value)
    if array.shape != (3,):
        fail(name, wanted, value)
    # The list's own, for of True and 2 an array makes numbers.
    each = value if isinstance(value, list | tuple) else array
    return tuple(_real(name, wanted, one, valid) for one in each)


def vector(name: str, value: Any) -> Vector3:
    """Return one number, or three as (z, y, x), as a tuple of three floats.

    Examples
    --------
    >>> vector("shift", [1, 2, 3])
    (1.0, 2.0, 3.0)
    """
    return _three(name, "one finite number or three (z, y, x)", value, _any)


def positive_vector(name: str, value: Any) -> Vector3:
    """Return one number above 0, or three as (z, y, x), as a tuple of three floats."""
    return _three(name, "one number above 0 or three (z, y, x)", value, _positive)


def non_negative_vector(name: str, value: Any) -> Vector3:
    """Return one number of 0 or more, or three as (z, y, x), as three floats."""
    wanted = "one number of 0 or more, or three (z, y, x)"
    return _three(name, wanted, value, _non_negative)


def direction(name: str, value: Any) -> Vector3:
    """Return a direction (z, y, x), of any length but 0, as one of length 1."""
    wanted = "a direction (z, y, x), three finite numbers that are not all 0"
    z, y, x = found = _three(name, wanted, value, _any)
    length = math.hypot(*found)
    if np.ndim(value) != 1 or not 0 < length < math.inf:
        fail(name, wanted, value)
    return (z / length, y / length, x / length)


def shape(name: str, value: Any) -> tuple[int, int, int]:
    """Return one whole number of voxels, or three as (z, y, x), as three ints."""
    wanted = "one number of voxels or three (z, y, x), each 1 or more"
    whole = _three(name, wanted, value, _positive)
    if any(each != int(each) for each in whole):
        fail(name, wanted, value)
    return (int(whole[0]), int(whole[1]), int(whole[2]))


LARGEST_BOX = 2**30
"""Voxels of the largest image that is made: some would fill any memory."""


def box(name: str, sizes: Any) -> tuple[int, int, int]:
    """Return how many voxels a box has along each axis, rounded, 1 at least.

    Parameters
    ----------
    name : str
        What it follows from, for the error.
    sizes : three floats
        In voxels, z, y, x.

    Raises
    ------
    ValueError
        If it has more than `LARGEST_BOX` voxels.

    Examples
    --------
    >>> box("shape", (0.2, 2.5, 3.4))
    (1, 3, 3)
    """
    z, y, x = (max(1.0, float(each)) for each in sizes)
    if not z * y * x <= LARGEST_BOX:  # NaN and infinity too
        raise ValueError(
            f"{name} must give a box of {LARGEST_BOX} voxels or fewer, which memory "
            f"holds, not of {z:.4g} x {y:.4g} x {x:.4g}"
        )
    return (math.floor(z + 0.5), math.floor(y + 0.5), math.floor(x + 0.5))


def is_image(value: object) -> bool:
    """Tell whether a value is a 3-D array of real numbers with at least one voxel."""
    return (
        isinstance(value, np.ndarray)
        and value.ndim == 3
        and value.size > 0
        and value.dtype.kind in "biuf"
    )


def image(name: str, value: Any) -> Image:
    """Return a 3-D array as a C-contiguous float32 copy that cannot be written to."""
    wanted = "a 3-D array of real numbers"
    array = as_array(name, wanted, value)
    if not is_image(array):
        fail(name, wanted, value)
    copy = as_float32(name, array)
    copy.flags.writeable = False
    return copy


def as_float32(name: str, array: NDArray[Any]) -> Image:
    """Return an array of real numbers as a C-contiguous float32 copy, all finite."""
    with np.errstate(over="ignore"):  # said below
        copy = np.array(array, dtype=np.float32, order="C")
    if not np.isfinite(copy).all():
        if np.isfinite(array).all():
            raise ValueError(f"{name} must be within ±3.4e38, what a float32 holds")
        raise ValueError(f"{name} must be finite, not with NaN or infinity in it")
    return copy


def images(name: str, value: Any) -> tuple[Image, ...]:
    """Return one or more 3-D arrays as a tuple of read-only float32 copies."""
    several = elements(name, "several 3-D arrays", value)
    each = tuple(image(f"{name}[{i}]", array) for i, array in enumerate(several))
    if not each:
        fail(name, "one or more 3-D arrays", value)
    return each


def elements(name: str, wanted: str, value: Any, most: int = 10_000) -> list[Any]:
    """Return what an iterable gives; one without an end, or text, is refused."""
    if isinstance(value, str | bytes | os.PathLike):
        fail(name, wanted, value)
    try:
        found = list(itertools.islice(value, most + 1))
    except Exception:
        fail(name, wanted, value)
    if len(found) > most:
        raise ValueError(f"{name} must be {wanted}, {most} at the most")
    return found


def points(name: str, value: Any) -> NDArray[np.float64]:
    """Return an (n, 3) array of finite numbers as a read-only float64 copy."""
    wanted = "an array of shape (n, 3), columns z, y, x"
    array = as_array(name, wanted, value)
    if array.ndim != 2 or array.shape[1] != 3 or array.dtype.kind not in "biuf":
        fail(name, wanted, value)
    with np.errstate(over="ignore"):  # of longer floats; said below
        array = array.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if bad.size:
        raise ValueError(f"{name}[{bad[0]}] must be finite, not {array[bad[0]]}")
    array.flags.writeable = False
    return array


def optional_vector(name: str, value: Any) -> Vector3 | None:
    """Return None, or three finite numbers (z, y, x) as a tuple of floats."""
    return None if value is None else vector(name, value)


def optional_weights(name: str, value: Any) -> NDArray[np.float64] | None:
    """Return None, or a 1-D array of finite numbers as a read-only float64 copy."""
    if value is None:
        return None
    wanted = "None, or one number for each atom"
    array = as_array(name, wanted, value)
    if array.ndim != 1 or array.dtype.kind not in "biuf":
        fail(name, wanted, value)
    with np.errstate(over="ignore"):  # of longer floats; said below
        array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, not with NaN or infinity in it")
    array.flags.writeable = False
    return array


def path(name: str, value: Any) -> str:
    """Return a path as text."""
    text: Any = None
    with suppress(Exception):  # of an object that is half a path
        text = os.fspath(value)
        os.fsencode(text)  # half a pair of surrogates has no bytes
        if isinstance(text, str) and text and "\0" not in text:
            return text
    fail(name, "a path to a file", value)


def paths(name: str, value: Any) -> tuple[str, ...]:
    """Return one or more paths as a tuple of texts."""
    several = elements(name, "several paths", value)
    each = tuple(path(f"{name}[{i}]", one) for i, one in enumerate(several))
    if not each:
        fail(name, "one or more paths", value)
    return each


_HIGHEST_SYMMETRY = 360


def symmetry(name: str, value: Any) -> str:
    """Return the name of a rotation group: C1 … C360, D1 … D360, T, O or I."""
    found = isinstance(value, str) and re.fullmatch(
        "T|O|I|[CD]([1-9][0-9]{0,2})", value
    )
    if not found or int(found[1] or 1) > _HIGHEST_SYMMETRY:
        many = _HIGHEST_SYMMETRY
        wanted = f"a symmetry 'C1' to 'C{many}', 'D1' to 'D{many}', 'T', 'O' or 'I'"
        fail(name, wanted, value)
    return str(value)


Number: TypeAlias = Annotated[float, number]
Grey: TypeAlias = Annotated[float, grey]
Positive: TypeAlias = Annotated[float, positive]
NonNegative: TypeAlias = Annotated[float, non_negative]
OptionalPositive: TypeAlias = Annotated[float | None, optional_positive]
PositiveInteger: TypeAlias = Annotated[int, positive_integer]
SplineOrder: TypeAlias = Annotated[int, spline_order]
Vector: TypeAlias = Annotated[float | Vector3 | ArrayLike, vector]
OptionalVector: TypeAlias = Annotated[Vector3 | ArrayLike | None, optional_vector]
PositiveVector: TypeAlias = Annotated[float | Vector3 | ArrayLike, positive_vector]
Path: TypeAlias = Annotated[str | os.PathLike[str], path]
Symmetry: TypeAlias = Annotated[str, symmetry]
