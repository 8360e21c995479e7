"""JSON files as they are read and written: bounded, each field once, finite numbers."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from funpipe.base.errors import FileError
from funpipe.base.sources import read_bytes
from funpipe.base.whole import replacing
from funpipe.base.wording import describe

__all__ = ["finite_numbers", "parsed", "read_json", "rotation_matrix", "write_json"]

_LARGEST = 2**27
"""Bytes of the largest document, which takes some ten times as much in memory."""


def read_json(path: str | os.PathLike[str], most: int = _LARGEST) -> dict[str, Any]:
    """Return the JSON object that a file holds.

    Parameters
    ----------
    path : path-like
        An ordinary file, in UTF-8.
    most : int
        Bytes beyond which it is refused.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is too large, is not JSON, nests too deeply, is another thing than an
        object, or has a field twice.
    """
    name = os.fspath(path)
    content = read_bytes(path, most)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FileError(name, " is not readable JSON: it is not text") from None
    found = parsed(name, text)
    if not isinstance(found, dict):
        raise FileError(name, " must hold a JSON object")
    return found


def parsed(where: str, text: str) -> Any:
    """Return what a JSON text says, or say that what stands there is none.

    Examples
    --------
    >>> parsed("picks.json", '{"x": 1, "x": 2}')
    Traceback (most recent call last):
    ...
    funpipe.base.errors.FileError: picks.json is not readable JSON: the field 'x' is
    there twice
    """
    try:
        return json.loads(text, object_pairs_hook=_once)
    except RecursionError:
        raise FileError(where, " is not readable JSON: it nests too deeply") from None
    except ValueError as error:
        raise FileError(where, f" is not readable JSON: {error}") from None


def write_json(path: str | os.PathLike[str], content: dict[str, Any]) -> None:
    """Write a JSON object of finite numbers, whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(
            json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8"
        )


def finite_numbers(where: str, values: Any, count: int) -> list[float]:
    """Return a list of so many numbers as floats, or say where it is another thing.

    Examples
    --------
    >>> finite_numbers("picks.json: location", [1, 2.5, None], 3)
    Traceback (most recent call last):
    ...
    funpipe.base.errors.FileError: picks.json: location must be 3 finite numbers, not
    [1, 2.5, None]
    """
    known = values if isinstance(values, list) else []
    found = [float(each) for each in known if _is_number(each)]
    if len(known) != count or not len(found) == count == np.isfinite(found).sum():
        raise FileError(
            where, f" must be {count} finite numbers, not {describe(values)}"
        )
    return found


def rotation_matrix(where: str, rows: Any) -> NDArray[np.float64]:
    """Return the matrix of a proper rotation that three lists of numbers say."""
    nested = isinstance(rows, list) and all(isinstance(each, list) for each in rows)
    flat = [each for row in rows for each in row] if nested else rows
    matrix = np.reshape(finite_numbers(where, flat, 9), (3, 3))
    turns = np.abs(matrix).max() < 2 and np.linalg.det(matrix) > 0
    if not turns or np.abs(matrix @ matrix.T - np.eye(3)).max() > 1e-3:
        raise FileError(where, f" is not a rotation: {describe(rows)}")
    return matrix


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, float) or (
        isinstance(value, int) and abs(value) < 2**1000  # as large as a float can be
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the fields of a JSON object, or say which is there twice."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the field {name[:80]!r} is there twice")
        found[name] = value
    return found
