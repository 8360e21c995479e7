"""Values known again by their content, also in another process and on another day.

Not by their pickle: which parts of it are shared depends on how a value was made.
"""

from __future__ import annotations

import functools
import hashlib
import math
import os
import types
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from funpipe.base.errors import ChangedError

__all__ = ["array_digest", "check_state", "digest", "file_state", "unchanged"]

_OURS = "funpipe"
_DEEPEST = 50


def digest(value: Any) -> str:
    """Return a hash of a value: of equal values of equal types it is the same.

    Parameters
    ----------
    value : object
        Numbers, texts, arrays, containers, functions, classes, and whatever pickles. Of
        a function outside the package its code counts, but not what it calls.

    Raises
    ------
    TypeError
        If something in it does not pickle, or it holds itself.

    Examples
    --------
    >>> digest((1, "a", np.zeros(3))) == digest((1, "a", np.zeros(3)))
    True
    >>> digest((1, 2.0)) == digest((1, 2))
    False
    """
    found = hashlib.sha256()
    for each in _parts(value, 0):
        found.update(len(each).to_bytes(8, "little"))
        found.update(each)
    return found.hexdigest()


def array_digest(array: Any) -> str:
    """Return a hash of an array-like's content, read plane by plane.

    Examples
    --------
    >>> image = np.arange(24.0).reshape(2, 3, 4)
    >>> array_digest(image) == array_digest(np.asfortranarray(image))
    True
    """
    found = hashlib.sha256(repr((tuple(array.shape), str(array.dtype))).encode())
    for z in range(array.shape[0]):
        found.update(np.array(array[z : z + 1], order="C").data)
    return found.hexdigest()


def file_state(path: str | os.PathLike[str]) -> str:
    """Return a hash of a file's size and the time at which it was last written to.

    Of a folder, those of all that is in it.
    """
    whole = Path(path)
    files = sorted(each for each in whole.rglob("*")) if whole.is_dir() else [whole]
    facts = [(each.relative_to(whole).as_posix(), os.stat(each)) for each in files]
    return digest([(name, one.st_size, one.st_mtime_ns) for name, one in facts])


def check_state(path: str, known: str | None) -> None:
    """Refuse a file whose state is another than the known one; None: none is known.

    Raises
    ------
    ChangedError
        If it was replaced or written to.
    """
    if known is not None and file_state(path) != known:
        raise ChangedError(path, "it was replaced or written to")


@contextmanager
def unchanged(path: str, known: str | None) -> Iterator[None]:
    """Refuse a file whose state is another one before or after what is done with it."""
    check_state(path, known)
    yield
    check_state(path, known)


def _parts(value: Any, depth: int) -> Iterator[bytes]:
    """Yield the bytes that tell a value from others."""
    if depth > _DEEPEST:
        raise TypeError("a value that holds itself has no digest")
    kind = type(value)
    yield f"{kind.__module__}.{kind.__qualname__}".encode()
    if value is None or isinstance(value, bool | int | str | complex):
        yield repr(value).encode("utf-8", "surrogatepass")
    elif isinstance(value, float):
        yield (value.hex() if math.isfinite(value) else repr(value)).encode()
    elif isinstance(value, bytes | bytearray):
        yield bytes(value)
    elif isinstance(value, np.ndarray) and value.dtype.kind != "O":
        yield repr((value.shape, value.dtype.str)).encode()
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, type | types.BuiltinFunctionType | np.ufunc):
        yield getattr(value, "__qualname__", value.__name__).encode()
        yield str(getattr(value, "__module__", "")).encode()
    elif isinstance(value, types.FunctionType):
        yield from _of_function(value, depth)
    elif isinstance(value, types.CodeType):
        yield from _of_code(value, depth)
    else:
        yield from _of_container(value, depth)


def _of_container(value: Any, depth: int) -> Iterator[bytes]:
    if isinstance(value, tuple | list):
        yield from _of_all(value, depth)
    elif isinstance(value, Mapping):
        yield from _of_all(value.items(), depth)
    elif isinstance(value, set | frozenset):
        yield from _of_all(sorted(map(digest, value)), depth)
    elif isinstance(value, functools.partial):
        yield from _of_all((value.func, value.args, value.keywords), depth)
    elif isinstance(value, types.MethodType):
        yield from _of_all((value.__func__, value.__self__), depth)
    else:
        made = value.__reduce_ex__(4)
        if isinstance(made, str):
            yield made.encode()
            return
        function, given, *rest = made
        yield from _of_all((function, given), depth)
        for each in rest:
            yield from _of_all(each if isinstance(each, Iterator) else (each,), depth)


def _of_all(values: Iterable[Any], depth: int) -> Iterator[bytes]:
    several = list(values)
    for each in several:
        yield from _parts(each, depth + 1)
    yield b"%d in all" % len(several)


def _of_function(function: types.FunctionType, depth: int) -> Iterator[bytes]:
    yield f"{function.__module__}.{function.__qualname__}".encode()
    if function.__module__.partition(".")[0] != _OURS:
        cells = [each.cell_contents for each in function.__closure__ or ()]
        defaults = function.__defaults__, function.__kwdefaults__
        yield from _of_all((function.__code__, defaults, cells), depth)


def _of_code(code: types.CodeType, depth: int) -> Iterator[bytes]:
    yield from _of_all((code.co_code, code.co_names, code.co_consts), depth)
