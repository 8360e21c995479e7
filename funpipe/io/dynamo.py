"""Dynamo's tables, through dynamotable.

A particle is at (x, y, z) + (dx, dy, dz), in voxels; tdrot, tilt and narot make the
inverse of A, Rz(narot) Rx(tilt) Rz(tdrot). Its centre is voxel n // 2 of the box; see
`funpipe.io.particles`. Coordinates begin at the corner of a tomogram's first voxel,
whose centre is at 0.5 so (https://wiki.dynamo.biozentrum.unibas.ch/w/index.php/Volume_center;
RELION 4 reads tables so too, in ``dynamo_particle.cpp``). Several converters copy
coordinates as they are: read their tables with ``first=0``.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.base.errors import FileError
from funpipe.base.euler import DYNAMO
from funpipe.base.extras import in_one_line, require
from funpipe.base.molecules import Molecules
from funpipe.base.sources import read_bytes
from funpipe.base.whole import alone, replacing
from funpipe.io.columns import PixelList, needed_scale, tomogram_texts
from funpipe.io.formats import Format, warn_of_left_out
from funpipe.io.table_map import Pairs, encodes, names_of, plan, put, read_map

__all__ = ["FORMAT", "map_beside", "read", "scale_of", "write"]

Columns: TypeAlias = dict[str, NDArray[Any]]

_LIST = PixelList(
    coordinates=("x", "y", "z"),
    shifts=("dx", "dy", "dz"),
    angles=("tdrot", "tilt", "narot"),
    euler=DYNAMO,
    tomogram="tomo",
    first=0.5,
    renamed={"x": "table_x", "y": "table_y", "z": "table_z"},
)


def read(
    path: str | os.PathLike[str],
    *,
    scale: float | None = None,
    first: float | None = None,
) -> Molecules:
    """Read a table; tomo becomes ``tomogram``, x y z the features table_x, _y, _z.

    Parameters
    ----------
    path : path-like
        The table (extra ``dynamo``). Where a table map of the same name with the
        ending ``.doc`` lies beside it, tomograms get their names from that, and their
        numbers are the feature ``tomo``.
    scale : float, optional
        nm per voxel; by default what the column apix (Å) says.
    first : float
        What the table calls the centre of a tomogram's first voxel, by default 0.5.
    """
    name = os.fspath(path)
    table_map = Path(map_beside(name))
    columns, pairs = _columns_and_map(name, table_map)
    molecules = _LIST.molecules(name, columns, _scale(name, columns, scale), first)
    if pairs is None or "tomogram" not in molecules.features:
        return molecules
    numbers = molecules.features["tomogram"].tolist()
    names = names_of(table_map, pairs, numbers)
    return molecules.with_features(
        tomogram=[names[each] for each in numbers], tomo=columns["tomo"]
    )


def write(
    molecules: Molecules,
    path: str | os.PathLike[str],
    *,
    scale: float | None = None,
    first: float | None = None,
) -> None:
    """Write a table.

    Parameters
    ----------
    molecules : Molecules
        The particles. Of the features, a table holds those with the names of its
        columns, and ``score`` as cc. Where a tomogram's name is not a number, a table
        map of the same name with the ending ``.doc`` is written beside the table.
        Tomograms keep the numbers of a map that is there and those of the feature
        ``tomo``; others are numbered from 1 in the order in which they come.
    path : path-like
        Where to, ending in ``.tbl``; an existing file is replaced, whole or not at
        all.
    scale : float, optional
        nm per voxel; by default what the feature apix (Å) says.
    first : float, optional
        As in `read`.

    Raises
    ------
    ValueError
        If it cannot hold a text, or another ``.doc`` is in the map's place.

    Warns
    -----
    UserWarning
        Of the features that a table has no place for.
    """
    dynamotable = require("dynamotable", "dynamo", "to write Dynamo tables")
    pandas = require("pandas", "dynamo", "to write Dynamo tables")
    from dynamotable.utils import COLUMN_NAMES

    name = os.fspath(path)
    if not name.endswith(".tbl"):
        raise FileError(name, ": a Dynamo table's name ends in .tbl")
    known = _scale(name, molecules.features, scale)
    table_map = Path(map_beside(name))
    with alone(path):
        there = read_map(table_map)
        columns, named = _LIST.columns(molecules, known, first, there or [])
        if named and there is None and os.path.lexists(table_map):
            raise ValueError(
                f"{table_map} is no table map, and one of that name would go beside "
                f"{name}: give the table another name"
            )
        names = named or {each: str(each) for each in columns["tomo"].tolist()}
        for each in names.values():
            _word(each)
        old = _numbers_in(name) if named or there else set()
        maps = plan(table_map, there, old, names, bool(named))
        columns = _filled(columns, len(molecules), known)
        kept = {each: columns[each] for each in COLUMN_NAMES if each in columns}
        table = pandas.DataFrame({k: _written(k, each) for k, each in kept.items()})
        try:
            with replacing(path) as partial:
                dynamotable.write(table, str(partial))
                _change(table_map, maps.before, maps.between)
        except BaseException:
            _change(table_map, maps.between, maps.before)
            raise
        _change(table_map, maps.between, maps.after)
    left = _LIST.left_out(molecules, {*COLUMN_NAMES, "score"})
    warn_of_left_out(left, (), "a Dynamo table")


def _filled(columns: Columns, count: int, scale: float) -> Columns:
    """Return columns with the score, the scale, and what fresh tables have."""
    fresh = {
        "apix": np.full(count, float(f"{10 * scale:.12g}")),
        "averaged_value": np.ones(count, dtype=int),
    }
    score = {"cc": columns["score"]} if "score" in columns else {}
    return {**fresh, **columns, **score}


def map_beside(path: str | os.PathLike[str]) -> str:
    """Return the path of a table's map."""
    return str(Path(path).with_suffix(".doc"))


def _change(table_map: Path, before: Pairs | None, after: Pairs | None) -> None:
    if before != after:
        put(table_map, after)


def _numbers_in(name: str) -> set[int]:
    """Return the numbers of the tomograms in a table; none where there is no table."""
    try:
        texts = tomogram_texts(_columns(name)["tomo"]).tolist()
    except (KeyError, OSError, ValueError):
        return set()
    return {int(each) for each in texts if each.isdecimal()}


def scale_of(path: str | os.PathLike[str]) -> float | None:
    """Return the scale of a table in nm per voxel, None where it does not say."""
    return _apix(_columns(os.fspath(path)))


def _columns_and_map(name: str, table_map: Path) -> tuple[Columns, Pairs | None]:
    """Return a table and its map, of one time though both are being replaced."""
    for _ in range(_TRIES):
        before = read_map(table_map)
        columns = _columns(name)
        if read_map(table_map) == before:
            return columns, before
    raise FileError(name, f" and {table_map} are being replaced: read them later")


_TRIES = 100


def _columns(name: str) -> Columns:
    dynamotable = require("dynamotable", "dynamo", "to read Dynamo tables")
    content = read_bytes(name)
    shape = _check(name, content)
    try:
        table = dynamotable.read(io.BytesIO(content))
    except Exception as error:  # pandas fails in many ways
        raise FileError(
            name, f" is not a readable Dynamo table: {in_one_line(error)}"
        ) from None
    if table.shape != shape:  # quotation marks, which mean nothing to Dynamo
        raise FileError(name, " is not a readable Dynamo table: it holds '\"'")
    return {str(each): _exact(table[each].to_numpy()) for each in table.columns}


def _check(name: str, content: bytes) -> tuple[int, int]:
    """Return how many rows and columns; refuse what is not text, empty, or ragged."""
    if b"\0" in content or not content.isascii():
        raise FileError(name, " is not a readable Dynamo table: it is not text")
    count = rows = 0
    for number, line in enumerate(content.splitlines(), start=1):
        values = len(line.split(None, _MOST))
        if not values:
            continue
        count, rows = count or values, rows + 1
        if values != count:
            raise FileError(
                name, f", line {number}: {values} values, but {count} in the first line"
            )
    if count == 0:
        raise FileError(name, " is empty")
    if not 26 <= count <= 42:
        raise FileError(
            name,
            f" is not a readable Dynamo table: it has {count} columns, not 26 to 42",
        )
    return rows, count


_MOST = 1000
"""Columns beyond which they are no longer counted."""


def _exact(values: NDArray[Any]) -> NDArray[Any]:
    """Return numbers as their text has them: pandas reads some off by a last bit."""
    if values.dtype.kind == "f":
        return np.array([float(f"{each:.15g}") for each in values.tolist()])
    if values.dtype.kind in "bi":
        return values
    return np.array([str(each) for each in values.tolist()], dtype=str)


def _apix(columns: Any) -> float | None:
    """Return the one scale that the column apix says, in nm."""
    values = np.asarray(columns.get("apix", 0.0))
    if values.dtype.kind not in "if" or not (values > 0).all() or np.ptp(values) > 1e-6:
        return None
    return float(values.flat[0]) / 10


def _scale(name: str, columns: Any, scale: float | None) -> float:
    found = _apix(columns) if scale is None else scale
    reason = "coordinates are in voxels, and no column apix says of what size"
    return needed_scale(name, found, reason)


def _written(name: str, values: NDArray[Any]) -> NDArray[Any]:
    """Return values as they are written: NaN in MATLAB's word, not left out."""
    if values.dtype.kind == "U":
        for each in values.tolist():
            _word(each, name)
            if not each.isascii() or '"' in each:
                raise ValueError(
                    f"{name}: a Dynamo table cannot hold the text {each!r}"
                )
    if values.dtype.kind == "f" and np.isnan(values).any():
        texts = [str(each) for each in values.tolist()]
        return np.array(["NaN" if each == "nan" else each for each in texts])
    return values


def _word(text: str, name: str = "tomogram") -> None:
    if len(text.split()) != 1 or text.split()[0] != text or not encodes(text):
        raise ValueError(f"{name}: a Dynamo table cannot hold the text {text!r}")


FORMAT = Format(
    read,
    write,
    (".tbl",),
    frozenset({"scale", "first", "box"}),
    title="Dynamo",
    scale_of=scale_of,
    beside=map_beside,
    keeps_scale="list",
)
