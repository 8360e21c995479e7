"""Tables of acryo and cylindra, CSV and Parquet: z y x zvec yvec xvec and features.

Positions are in nm, rotation vectors in radians and in z, y, x order, as here: nothing
is converted. CSV is `Molecules.to_csv` and `from_csv`; Parquet goes through pyarrow.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from funpipe.io.columns import numbers
from funpipe.io.extras import require
from funpipe.io.whole import replacing
from funpipe.molecules import Molecules

__all__ = ["read_csv", "read_parquet", "write_csv", "write_parquet"]

_POSITION = ("z", "y", "x")
_ROTATION = ("zvec", "yvec", "xvec")


def read_csv(path: str | os.PathLike[str], *, scale: float | None = None) -> Molecules:
    """Read a CSV table; with a scale its positions are in voxels, else in nm.

    Parameters
    ----------
    path : path-like
        The file; see `Molecules.from_csv`.
    scale : float, optional
        nm per voxel, where the table counts in voxels.
    """
    name = os.fspath(path)
    try:
        molecules = Molecules.from_csv(path)
    except UnicodeDecodeError:
        raise ValueError(f"{name} is not a CSV table: it is not text") from None
    features = {
        title: values == "true" if set(values.tolist()) <= {"true", "false"} else values
        for title, values in molecules.features.items()
    }
    return _checked(name, molecules.positions, molecules.rotations, features, scale)


def write_csv(
    molecules: Molecules, path: str | os.PathLike[str], *, scale: float | None = None
) -> None:
    """Write a CSV table; with a scale its positions are in voxels, else in nm."""
    _scaled(molecules, scale).to_csv(path)


def read_parquet(
    path: str | os.PathLike[str], *, scale: float | None = None
) -> Molecules:
    """Read a Parquet table; with a scale its positions are in voxels, else in nm.

    Parameters
    ----------
    path : path-like
        The file (extra ``parquet``). MissingError numbers become NaN, missing texts "".
    scale : float, optional
        nm per voxel, where the table counts in voxels.
    """
    from scipy.spatial.transform import Rotation

    parquet = require("pyarrow.parquet", "parquet", "to read Parquet")
    name = os.fspath(path)
    with open(name, "rb"):  # the system's own word where it cannot be read
        pass
    try:
        table = parquet.ParquetFile(name).read()
    except Exception as error:  # pyarrow has errors of many kinds
        raise ValueError(f"{name} is not a readable Parquet file: {error}") from None
    titles = table.column_names
    twice = [each for each in titles if titles.count(each) > 1]
    if twice:
        raise ValueError(f"{name} has the column {twice[0]!r} twice")
    columns = {each: _values(name, each, table.column(each)) for each in titles}
    rotations = None
    positions = numbers(name, columns, _POSITION).reshape(-1, 3)
    if any(each in columns for each in _ROTATION):
        vectors = numbers(name, columns, _ROTATION).reshape(-1, 3)
        rotations = Rotation.from_rotvec(vectors)
    features = {
        title: values
        for title, values in columns.items()
        if title not in (*_POSITION, *_ROTATION)
    }
    return _checked(name, positions, rotations, features, scale)


def write_parquet(
    molecules: Molecules, path: str | os.PathLike[str], *, scale: float | None = None
) -> None:
    """Write a Parquet table; with a scale its positions are in voxels, else in nm."""
    arrow = require("pyarrow", "parquet", "to write Parquet")
    parquet = require("pyarrow.parquet", "parquet", "to write Parquet")
    molecules = _scaled(molecules, scale)
    vectors = molecules.rotations.as_rotvec().reshape(-1, 3)
    columns: dict[str, Any] = {
        **dict(zip(_POSITION, molecules.positions.T, strict=True)),
        **dict(zip(_ROTATION, vectors.T, strict=True)),
    }
    for name, values in molecules.features.items():
        columns[name] = values.tolist() if values.dtype.kind == "U" else values
    with replacing(path) as partial:
        parquet.write_table(arrow.table(columns), partial)


def _scaled(molecules: Molecules, scale: float | None) -> Molecules:
    if scale is None:
        return molecules
    return Molecules(
        molecules.positions / scale, molecules.rotations, molecules.features
    )


def _checked(
    name: str, positions: Any, rotations: Any, features: Any, scale: float | None
) -> Molecules:
    if len(positions) == 0:
        raise ValueError(f"{name}: the table is empty")
    return Molecules(positions * (scale or 1.0), rotations, features)


def _values(name: str, title: str, column: Any) -> NDArray[Any]:
    values = column.to_pylist()
    known = [each for each in values if each is not None]
    if all(isinstance(each, str) for each in known) and known:
        return np.array([each or "" for each in values], dtype=str)
    if all(isinstance(each, bool | int | float) for each in known):
        if len(known) == len(values):
            array = column.to_numpy()
            return array if array.dtype != object else np.array(values)
        return np.array([np.nan if each is None else each for each in values], float)
    raise ValueError(
        f"{name}: column {title!r} holds {column.type}, not numbers, truth values or "
        "texts"
    )
