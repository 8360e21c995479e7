"""STAR files through starfile: named blocks of columns, or of single values."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.io.extras import require
from funpipe.io.whole import replacing

__all__ = ["Star", "read_star", "typed", "write_star"]

Columns: TypeAlias = dict[str, NDArray[Any]]
Block: TypeAlias = dict[str, Any]
"""Columns as arrays, or single values as texts."""

_WHOLE = re.compile(r"[+-]?(0|[1-9]\d*)")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|NaN|Inf)")
_PADDED = re.compile(r"[+-]?0\d")
_TEXTS = re.compile(
    r"rln\w*(Name|Image|File|VisibleFrames)|wrpSource(Name|Hash)"  # of RELION, of M
)


class Star(NamedTuple):
    """A STAR file."""

    blocks: dict[str, Block]
    version: str | None = None
    """RELION's number for the version of the format, from its comment."""


def read_star(path: str | os.PathLike[str]) -> Star:
    """Read a STAR file; numbers are exact, and a text such as 007 stays a text.

    Parameters
    ----------
    path : path-like
        The file (extra ``star``).

    Raises
    ------
    FileNotFoundError, IsADirectoryError, PermissionError
        If there is no such file, or it may not be read.
    ValueError
        If it is no STAR file, is damaged, or has a column or block twice.
    """
    starfile = require("starfile", "star", "to read STAR files")
    name = os.fspath(path)
    lines = _lines(name)
    titles = _check(name, lines)
    try:
        found = starfile.read(name, always_dict=True, parse_as_string=titles)
    except Exception as error:  # starfile and pandas fail in many ways
        raise ValueError(f"{name} is not a readable STAR file: {error}") from None
    version = next(
        (each.split()[2] for each in lines if re.match(r"# version \d+", each)), None
    )
    return Star({title: _block(each) for title, each in found.items()}, version)


def write_star(path: str | os.PathLike[str], star: Star, *, bare: bool = False) -> None:
    """Write a STAR file, whole or not at all.

    Parameters
    ----------
    path : path-like
        Where to; an existing file is replaced.
    star : Star
        Its blocks; numbers are written with all the digits that they have.
    bare : bool
        Leave out the columns' numbers (``#1``) and put an empty line before the rows,
        for programs that take a number for a part of the name.

    Raises
    ------
    ValueError
        If a name or a text has in it what a STAR file cannot hold.
    """
    starfile = require("starfile", "star", "to write STAR files")
    pandas = require("pandas", "star", "to write STAR files")
    blocks = {}
    for title, block in star.blocks.items():
        for number, (name, values) in enumerate(block.items()):
            _check_writable(name, values, starts_row=number == 0)
        loop = any(isinstance(each, np.ndarray) for each in block.values())
        blocks[title] = pandas.DataFrame(block) if loop else dict(block)
    text = starfile.to_string(blocks, float_format=None, na_rep="nan")
    if star.version:
        text = re.sub(r"(?m)^data_", f"# version {star.version}\n\ndata_", text)
    if bare:
        text = re.sub(r"(?m)^(_\S+) #\d+\n(?!_)", r"\1\n\n", text)
        text = re.sub(r"(?m)^(_\S+) #\d+$", r"\1", text)
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def typed(texts: list[str], *, as_text: bool = False) -> NDArray[Any]:
    """Return whole numbers, numbers or truth values if all texts are, else texts.

    Examples
    --------
    >>> typed(["1", "2"]), typed(["1", "2.5"]), typed(["007", "8"])
    (array([1, 2]), array([1. , 2.5]), array(['007', '8'], dtype='<U3'))
    """
    if texts and not as_text:
        if all(map(_WHOLE.fullmatch, texts)):
            numbers = list(map(int, texts))
            if max(map(abs, numbers)) < 2**63:
                return np.array(numbers, dtype=np.int64)
            return np.array(texts, dtype=str)  # all their digits
        if all(map(_NUMBER.fullmatch, texts)) and not any(map(_PADDED.match, texts)):
            return np.array(texts, dtype=float)
        if set(texts) <= {"True", "False"}:
            return np.array(texts) == "True"
    return np.array(texts, dtype=str)


def _lines(name: str) -> list[str]:
    with open(name, "rb") as file:
        content = file.read()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ValueError(f"{name} is not a readable STAR file: it is not text")
    return [each.strip() for each in text.splitlines()]


def _check(name: str, lines: list[str]) -> list[str]:
    """Check blocks, columns and rows; return the names of all columns."""
    blocks: list[str] = []
    titles: list[str] = []
    every: list[str] = []
    rows: int | None = None
    for number, line in enumerate(lines, start=1):
        if line.startswith("data_"):
            blocks.append(line)
            titles, rows = [], None
            if blocks.count(line) > 1:
                raise ValueError(f"{name}, line {number}: a second block {line!r}")
        elif line.startswith("loop_"):
            rows = 0
        elif not line or line.startswith("#"):
            continue
        elif not blocks:
            raise ValueError(
                f"{name} is not a readable STAR file: line {number} stands before "
                "any data_ block"
            )
        elif line.startswith("_") and not rows:
            title = line.split()[0][1:]
            if title in titles:
                raise ValueError(
                    f"{name}, line {number}: the column {title!r} is there twice"
                )
            titles.append(title)
            every.append(title)
        elif rows is not None:
            rows += 1
            quoted = '"' in line or "'" in line
            try:
                count = len(shlex.split(line)) if quoted else len(line.split())
            except ValueError:
                raise ValueError(
                    f"{name}, line {number}: a quotation mark that is not closed"
                ) from None
            if count != len(titles):
                raise ValueError(
                    f"{name}, line {number}: {count} values for {len(titles)} columns"
                )
    if not every:
        raise ValueError(f"{name} is not a readable STAR file: it has no data_ block")
    return every


def _block(found: Any) -> Block:
    if isinstance(found, dict):
        return dict(found)
    return {
        title: typed(
            [x if isinstance(x, str) else "nan" for x in found[title].tolist()],
            as_text=bool(_TEXTS.fullmatch(title)),
        )
        for title in map(str, found.columns)
    }


def _check_writable(name: str, values: Any, *, starts_row: bool) -> None:
    if not re.fullmatch(r"[^\s#'\"]+", name):
        raise ValueError(f"a STAR file cannot have a column of the name {name!r}")
    texts = values if np.asarray(values).dtype.kind == "U" else ()
    for each in np.atleast_1d(np.asarray(texts, dtype=str)):
        if re.search(r"[#'\"\t\r\n]", each) or (
            starts_row and re.match("data_|loop_|_", each)
        ):
            raise ValueError(
                f"column {name!r}: a STAR file cannot hold the text {str(each)!r}"
            )


def simple_columns(name: str, block: Mapping[str, Any]) -> Columns:
    """Return a block's columns, not empty; single values are columns of one row."""
    if any(np.size(each) == 0 for each in block.values()):
        raise ValueError(f"{name}: the table of {next(iter(block))!r} is empty")
    return {
        name: values if isinstance(values, np.ndarray) else typed([str(values)])
        for name, values in block.items()
    }
