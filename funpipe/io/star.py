"""STAR files: named blocks of columns, or of single values.

They are written through starfile, and read here: starfile 0.5.13 takes ``<NA>`` for a
number, ``'`` for ``"`` and what follows a ``#`` for a comment, within a text too, and
its time grows with the square of the number of blocks. A text that looks like a number
is written in quotation marks, and texts in quotation marks are texts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.base.errors import FileError
from funpipe.base.extras import require
from funpipe.base.sources import read_bytes
from funpipe.base.texts import MOST_COLUMNS, check_encodable, check_unique, typed
from funpipe.base.whole import replacing
from funpipe.base.wording import quoted

__all__ = ["Star", "read_star", "simple_columns", "write_star"]

Columns: TypeAlias = dict[str, NDArray[Any]]
Block: TypeAlias = dict[str, Any]
"""Columns as arrays, or single values as texts."""
Line: TypeAlias = tuple[int, str]
"""Its number in the file, and what it says."""

_BLANKS = re.compile(r"[ \t\v\f]+")  # and no other: a name may have NBSP in it
_VALUE = re.compile(r"""("[^"]*"|'[^']*'|[^ \t\v\f"']+)(?:[ \t\v\f]+|$)""")
_TEXTS = re.compile(
    r"rln\w*(Name|Image|File|VisibleFrames)|wrpSource(Name|Hash)"  # of RELION, of M
)
_UNWRITABLE = re.compile(r"[#'\"\x00-\x1f\x7f-\x9f\u2028\u2029]")


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
    # Whoever reads a list mostly writes one: what is missing is said before the work.
    require("starfile", "star", "to read STAR files")
    name = os.fspath(path)
    lines = _lines(name)
    versions = (re.match(r"# version ([0-9.]+)$", each) for each in lines)
    version = next((each[1] for each in versions if each), None)
    return Star(_blocks(name, lines), version)


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
        found = {
            name: _writable(name, values, first=number == 0, bare=bare)
            for number, (name, values) in enumerate(block.items())
        }
        loop = any(isinstance(each, np.ndarray) for each in found.values())
        blocks[title] = pandas.DataFrame(found) if loop else found
    text = starfile.to_string(blocks, float_format=None, na_rep="nan")
    if star.version:
        text = re.sub(r"(?m)^data_", f"# version {star.version}\n\ndata_", text)
    if bare:
        text = re.sub(r"(?m)^(_\S+) #\d+\n(?!_)", r"\1\n\n", text)
        text = re.sub(r"(?m)^(_\S+) #\d+$", r"\1", text)
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _lines(name: str) -> list[str]:
    try:
        text = read_bytes(name).decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise FileError(name, " is not a readable STAR file: it is not text")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [each.strip(" \t\v\f") for each in lines]


def _blocks(name: str, lines: list[str]) -> dict[str, Block]:
    """Return the blocks by title."""
    blocks: dict[str, list[Line]] = {}
    title = None
    for number, line in enumerate(lines, start=1):
        if line.startswith("data_"):
            title = line[5:]
            if title in blocks:
                raise FileError(name, f", line {number}: a second block {quoted(line)}")
            blocks[title] = []
        elif line and not line.startswith("#"):
            if title is None:
                raise FileError(
                    name,
                    f" is not a readable STAR file: line {number} stands before "
                    "any data_ block",
                )
            blocks[title].append((number, line))
    found = {title: _block(name, each) for title, each in blocks.items()}
    if not any(found.values()):
        raise FileError(name, " is not a readable STAR file: it has no data_ block")
    return found


def _block(name: str, lines: list[Line]) -> Block:
    """Return a block's columns, or its single values as texts."""
    loops = [number for number, line in lines if line.startswith("loop_")]
    if not loops:
        return _single_values(name, lines)
    if loops != [lines[0][0]]:
        raise FileError(
            name, f", line {loops[-1]}: a loop_ among other values of its block"
        )
    _, *lines = lines
    first = next((i for i, (_, line) in enumerate(lines) if line[0] != "_"), len(lines))
    titles = [_BLANKS.split(line)[0][1:] for _, line in lines[:first]]
    _check_titles(name, titles, lines)
    rows = [_values(name, each) for each in lines[first:]]
    for (number, _), row in zip(lines[first:], rows, strict=True):
        if len(row) != len(titles):
            raise FileError(
                name, f", line {number}: {len(row)} values for {len(titles)} columns"
            )
    columns = zip(*rows, strict=True) if rows else [()] * len(titles)
    return {
        title: _column(name, title, values)
        for title, values in zip(titles, columns, strict=True)
    }


def _single_values(name: str, lines: list[Line]) -> Block:
    rows = [_values(name, each) for each in lines]
    for (number, line), row in zip(lines, rows, strict=True):
        if line[0] != "_" or len(row) != 2:
            raise FileError(
                name,
                f", line {number}: not the name of a column and one value, and "
                "in no loop_",
            )
    _check_titles(name, [each[1:] for each, _ in rows], lines)
    return {title[1:]: _unquoted(value) for title, value in rows}


def _check_titles(name: str, titles: list[str], lines: list[Line]) -> None:
    if len(titles) > MOST_COLUMNS:
        check_unique(name, titles)
    seen: set[str] = set()
    for title, (number, _) in zip(titles, lines, strict=False):
        if title in seen:
            raise FileError(
                name, f", line {number}: the column {quoted(title)} is there twice"
            )
        seen.add(title)


def _values(name: str, line: Line) -> list[str]:
    """Return the values of a line, in their quotation marks, without its comment."""
    number, text = line
    if '"' not in text and "'" not in text:
        values = _BLANKS.split(text)
    else:
        values, place = [], 0
        while place < len(text):
            found = _VALUE.match(text, place)
            if not found:
                raise FileError(
                    name,
                    f", line {number}: a quotation mark that is not closed, or "
                    "within a value",
                )
            values.append(found[1])
            place = found.end()
            if found[1].startswith("#"):
                break
    if "#" in text:
        start = next((i for i, x in enumerate(values) if x.startswith("#")), None)
        return values[:start]
    return values


def _column(name: str, title: str, values: Sequence[str]) -> NDArray[Any]:
    """Return a column's values; those in quotation marks are texts."""
    marked = any(each[0] in "\"'" for each in values)
    texts = [_unquoted(each) for each in values] if marked else values
    try:
        return typed(texts, as_text=marked or bool(_TEXTS.fullmatch(title)))
    except ValueError as error:
        raise FileError(name, f": column {quoted(title)}: {error}") from None


def _unquoted(value: str) -> str:
    return value[1:-1] if value[0] in "\"'" else value


def _writable(name: str, values: Any, *, first: bool, bare: bool) -> Any:
    """Return values as they are written, or say why they cannot be."""
    if not re.fullmatch(r"[^\s#'\"]+", name) or _UNWRITABLE.search(name):
        raise ValueError(f"a STAR file cannot have a column of the name {quoted(name)}")
    check_encodable(f"the name {name!a}", [name])
    array = np.asarray(values)
    if array.dtype.kind in "iu" and array.size and array.max() >= 2**63:
        raise ValueError(
            f"column {name!r}: a STAR file cannot hold the number {array.max()}, for "
            "it would come back as text: make it a text, or less than 2**63"
        )
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        raise ValueError(f"column {name!r}: a STAR file cannot hold {array.dtype}")
    if array.dtype.kind != "U":
        return values
    texts = np.atleast_1d(array).tolist()
    check_encodable(f"column {name!r}", texts)
    for each in texts:
        if _UNWRITABLE.search(each) or (first and re.match("data_|loop_|_", each)):
            raise ValueError(
                f"column {name!r}: a STAR file cannot hold the text {quoted(each)}"
            )
    if bare or array.ndim == 0 or _TEXTS.fullmatch(name):
        return values
    if typed(texts).dtype.kind == "U":
        return values
    return np.array([f'"{each}"' for each in texts])  # or they would be numbers


def simple_columns(name: str, block: Mapping[str, Any]) -> Columns:
    """Return a block's columns, not empty; single values are columns of one row."""
    if any(np.size(each) == 0 for each in block.values()):
        raise FileError(name, f": the table of {next(iter(block))!r} is empty")
    return {
        name: values if isinstance(values, np.ndarray) else typed([str(values)])
        for name, values in block.items()
    }
