"""Dynamo's tables, through dynamotable.

A particle is at (x, y, z) + (dx, dy, dz), in voxels; tdrot, tilt and narot make the
inverse of A, Rz(narot) Rx(tilt) Rz(tdrot). Its centre is voxel n // 2 of the box; see
`funpipe.io.particles`. Coordinates begin at the corner of a tomogram's first voxel,
whose centre is at 0.5 so (https://wiki.dynamo.biozentrum.unibas.ch/w/index.php/Volume_center;
RELION 4 reads tables so too, in ``dynamo_particle.cpp``). Several converters copy
coordinates as they are: read their tables with ``first=0``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from funpipe.arguments import MissingError
from funpipe.io.columns import PixelList
from funpipe.io.euler import DYNAMO
from funpipe.io.extras import in_one_line, require
from funpipe.io.whole import replacing
from funpipe.molecules import Molecules

__all__ = ["read", "scale_of", "write"]

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
        ending ``.doc`` lies beside it, tomograms get their names from that.
    scale : float, optional
        nm per voxel; by default what the column apix (Å) says.
    first : float
        What the table calls the centre of a tomogram's first voxel, by default 0.5.
    """
    name = os.fspath(path)
    columns = _columns(name)
    molecules = _LIST.molecules(name, columns, _scale(name, columns, scale), first)
    table_map = Path(name).with_suffix(".doc")
    if _is_table_map(table_map) and "tomogram" in molecules.features:
        names = _table_map(str(table_map))
        numbers = molecules.features["tomogram"].tolist()
        missing = [each for each in numbers if each not in names]
        if missing:
            raise ValueError(f"{table_map} has no name for the tomogram {missing[0]}")
        return molecules.with_features(tomogram=[names[each] for each in numbers])
    return molecules


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
        columns, and ``score`` as cc. Tomograms whose names are not numbers are
        numbered from 1 in the order in which they come, and a table map of the same
        name with the ending ``.doc`` is written beside the table.
    path : path-like
        Where to, ending in ``.tbl``; an existing file is replaced, whole or not at
        all.
    scale : float, optional
        nm per voxel; by default what the feature apix (Å) says.
    first : float
        What the table calls the centre of a tomogram's first voxel, by default 0.5.
    """
    dynamotable = require("dynamotable", "dynamo", "to write Dynamo tables")
    pandas = require("pandas", "dynamo", "to write Dynamo tables")
    from dynamotable.utils import COLUMN_NAMES

    name = os.fspath(path)
    if not name.endswith(".tbl"):
        raise ValueError(f"{name}: a Dynamo table's name ends in .tbl")
    known = _scale(name, molecules.features, scale)
    columns, named = _LIST.columns(molecules, known, first)
    count = len(molecules)
    if "score" in columns:
        columns["cc"] = columns["score"]
    columns.setdefault("apix", np.full(count, float(f"{10 * known:.12g}")))
    columns.setdefault("averaged_value", np.ones(count, dtype=int))
    for each in COLUMN_NAMES:
        if each in columns and columns[each].dtype.kind == "U":
            _check_text(each, columns[each])
    table = pandas.DataFrame({k: v for k, v in columns.items() if k in COLUMN_NAMES})
    table_map = Path(name).with_suffix(".doc")
    lines = [f"{number} {_word(each)}\n" for number, each in named.items()]
    if named and table_map.exists() and not _is_table_map(table_map):
        raise ValueError(
            f"{table_map} is no table map, and one of that name would go beside "
            f"{name}: give the table another name"
        )
    with replacing(path) as partial:
        dynamotable.write(table, str(partial))
        if named:
            with replacing(table_map) as partial_map:
                partial_map.write_text("".join(lines), encoding="utf-8")
        elif _is_table_map(table_map):  # of an older table
            table_map.unlink()


def scale_of(path: str | os.PathLike[str]) -> float | None:
    """Return the scale of a table in nm per voxel, None where it does not say."""
    return _apix(_columns(os.fspath(path)))


def _columns(name: str) -> dict[str, NDArray[Any]]:
    dynamotable = require("dynamotable", "dynamo", "to read Dynamo tables")
    _check(name)
    try:
        table = dynamotable.read(name)
    except Exception as error:  # pandas fails in many ways
        raise ValueError(
            f"{name} is not a readable Dynamo table: {in_one_line(error)}"
        ) from None
    return {str(each): _exact(table[each].to_numpy()) for each in table.columns}


def _check(name: str) -> None:
    """Refuse what is not text, is empty, or has rows of different lengths."""
    with open(name, "rb") as file:
        content = file.read()
    if b"\0" in content or not content.isascii():
        raise ValueError(f"{name} is not a readable Dynamo table: it is not text")
    count = 0
    for number, line in enumerate(content.decode().splitlines(), start=1):
        values = len(line.split())
        if not values:
            continue
        count = count or values
        if values != count:
            raise ValueError(
                f"{name}, line {number}: {values} values, but {count} in the first line"
            )
    if count == 0:
        raise ValueError(f"{name} is empty")
    if not 26 <= count <= 42:
        raise ValueError(
            f"{name} is not a readable Dynamo table: it has {count} columns, not 26 "
            "to 42"
        )


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
    if found is None:
        reason = "coordinates are in voxels, and no column apix says of what size"
        raise MissingError(name, reason, "scale", "in nm per voxel")
    return found


def _is_table_map(path: Path) -> bool:
    """Tell whether a file is there in which each line is a number and a name."""
    if not path.is_file():
        return False
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = [each for each in file.read(2**20).splitlines() if each.strip()]
    return bool(lines) and all(re.fullmatch(r"\s*\d+\s+\S+\s*", x) for x in lines)


def _table_map(name: str) -> dict[str, str]:
    import dynamotable.io as dynamotable

    try:
        table = dynamotable.read_table_map(name)
    except Exception as error:  # pandas fails in many ways
        raise ValueError(f"{name} is not a readable table map: {error}") from None
    pairs = zip(table["tomo"].tolist(), table["tomo_file"].tolist(), strict=True)
    return {str(number): str(each) for number, each in pairs}


def _check_text(name: str, values: NDArray[Any]) -> None:
    for each in values.tolist():
        _word(each, name)


def _word(text: str, name: str = "tomogram") -> str:
    if not text or len(text.split()) != 1 or not text.isascii():
        raise ValueError(f"{name}: a Dynamo table cannot hold the text {text!r}")
    return text
