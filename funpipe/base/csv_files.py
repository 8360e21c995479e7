"""CSV files as columns of texts, and what the texts of a column stand for.

A column whose values would not come back from their texts alone has its type behind
its name, as in ``grey:<f4``; so do texts that look like numbers or truth values.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from funpipe.base.errors import FileError
from funpipe.base.sources import read_bytes
from funpipe.base.texts import (
    check_encodable,
    check_unique,
    same_values,
    text_array,
    typed,
)
from funpipe.base.whole import replacing
from funpipe.base.wording import describe, quoted

__all__ = ["column_of", "column_to_write", "digits", "read_table", "write_table"]

_TYPED = re.compile(r"(.*):([<>|][biufU][0-9]+)", re.DOTALL)
_LONGEST = 10**6  # characters of a text whose type says so many


def read_table(path: str) -> dict[str, tuple[str, ...]]:
    """Read a CSV file, as texts by the titles of their columns.

    Raises
    ------
    OSError, ValueError
        If it cannot be read, is no table, or has a column twice.
    """
    content = read_bytes(path)
    try:
        text = io.StringIO(content.decode("utf-8-sig"), newline="")
    except UnicodeDecodeError:
        raise FileError(path, " is not a CSV table: it is not text") from None
    reader = csv.reader(text, strict=True)
    rows, lines = [], []
    try:
        for row in reader:
            rows.append(row)
            lines.append(reader.line_num)
    except csv.Error as error:
        raise FileError(
            path, f", line {reader.line_num}, is not a CSV table: {error}"
        ) from None
    while rows and not rows[-1]:
        rows.pop()
    if not rows:
        raise FileError(path, " is empty, not a CSV table")
    header = rows[0]
    check_unique(path, header)
    for line, row in zip(lines, rows, strict=False):
        if len(row) != len(header):
            raise FileError(
                path,
                f", line {line}: {len(row)} values for {len(header)} columns, "
                f"{describe(row)}",
            )
    columns = zip(*rows[1:], strict=True) if rows[1:] else [()] * len(header)
    return dict(zip(header, columns, strict=True))


def write_table(path: str, columns: Mapping[str, Sequence[str]]) -> None:
    """Write columns of texts as a CSV file, whole or not at all."""
    with (
        replacing(path) as partial,
        open(partial, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def column_to_write(name: str, values: NDArray[Any]) -> tuple[str, list[str]]:
    """Return the title and the texts of a column, from which it comes back.

    Examples
    --------
    >>> column_to_write("good", np.array(["true", "false"]))
    ('good:<U5', ['true', 'false'])
    >>> column_to_write("error", np.array([0.5, np.nan]))
    ('error', ['0.5', 'NaN'])

    Raises
    ------
    ValueError
        If a text or the name is too long, or holds half of a surrogate pair.
    """
    texts = digits(values)
    plain = same_values(typed(texts, gaps=True), values)
    title = name
    if not plain or _TYPED.fullmatch(name):
        title = f"{name}:{values.dtype.str}"
    _check_writable(name, [title, *texts])
    return title, texts


def column_of(
    path: str, title: str, texts: tuple[str, ...]
) -> tuple[str, NDArray[Any]]:
    """Return the name and the values of a column, of the type behind its name.

    Examples
    --------
    >>> column_of("picks.csv", "good", ("true", "false"))
    ('good', array([ True, False]))
    """
    known = _TYPED.fullmatch(title)
    name, kind = known.groups() if known else (title, "")
    try:
        return name, _cast(texts, kind) if kind else typed(texts, gaps=True)
    except (ArithmeticError, TypeError, ValueError) as error:
        raise FileError(path, f": column {quoted(title)}: {error}") from None


def digits(values: NDArray[Any]) -> list[str]:
    """Return values as texts; NaN as polars and pandas write it."""
    if values.dtype.kind == "U":
        return values.tolist()
    texts = list(map(str, values.tolist()))
    if values.dtype.kind == "f" and np.isnan(values).any():
        return ["NaN" if each == "nan" else each for each in texts]
    return texts


def _check_writable(name: str, texts: list[str]) -> None:
    title, most = f"features[{quoted(name)}]", csv.field_size_limit()
    longest = max(map(len, texts))
    if longest > most:
        raise ValueError(
            f"{title}: a CSV file cannot hold a text of {longest} characters, but of "
            f"{most} at most"
        )
    check_encodable(title, texts)


def _cast(texts: tuple[str, ...], kind: str) -> NDArray[Any]:
    if kind[1] == "U":  # the width is no limit: texts come back whole
        if len(kind) > len(f"<U{_LONGEST}"):
            raise ValueError(f"texts have {_LONGEST} characters at most")
        return text_array(texts)
    if kind[1:] == "b1":
        wrong = next((x for x in texts if x not in ("True", "False")), None)
        if wrong is not None:
            raise ValueError(f"{wrong!r} is neither True nor False")
        return np.array([each == "True" for each in texts], dtype=bool)
    with np.errstate(over="raise"):
        return np.array(texts, dtype=str).astype(kind)
