"""Tables of acryo and cylindra, CSV and Parquet: z y x zvec yvec xvec and features.

Positions are in nm, rotation vectors in radians and in z, y, x order, as here: nothing
is converted. CSV is `Molecules.to_csv` and `from_csv`; Parquet goes through pyarrow.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from funpipe.base.errors import FileError
from funpipe.base.extras import in_one_line, require
from funpipe.base.features import POSITION, ROTATION
from funpipe.base.molecules import Molecules
from funpipe.base.sources import check_source
from funpipe.base.texts import check_encodable, check_unique, text_array
from funpipe.base.whole import replacing
from funpipe.base.wording import quoted
from funpipe.io.columns import numbers
from funpipe.io.formats import Format

__all__ = ["CSV", "PARQUET", "read_csv", "read_parquet", "write_csv", "write_parquet"]

_MOST_VALUES = 2**28
"""Of a Parquet file, whose size says little: a column of one value takes no room."""


def read_csv(path: str | os.PathLike[str], *, scale: float | None = None) -> Molecules:
    """Read a CSV table; with a scale its positions are in voxels, else in nm.

    Parameters
    ----------
    path : path-like
        The file; see `Molecules.from_csv`.
    scale : float, optional
        nm per voxel, where the table counts in voxels.
    """
    molecules = Molecules.from_csv(path)
    return _checked(os.fspath(path), molecules, scale)


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
        The file (extra ``parquet``). Missing numbers become NaN, missing texts "".
    scale : float, optional
        nm per voxel, where the table counts in voxels.
    """
    from scipy.spatial.transform import Rotation

    parquet = require("pyarrow.parquet", "parquet", "to read Parquet")
    name = os.fspath(path)
    check_source(path)
    try:
        with parquet.ParquetFile(name) as file:
            titles = [str(each) for each in file.schema_arrow.names]
            check_unique(name, titles)
            if file.metadata.num_rows * len(titles) > _MOST_VALUES:
                raise FileError(
                    name,
                    f" holds {file.metadata.num_rows} rows of {len(titles)} "
                    f"columns, more than {_MOST_VALUES} values: too many to read",
                )
            table = file.read()
    except FileError:
        raise
    except Exception as error:  # pyarrow has errors of many kinds
        raise FileError(
            name, f" is not a readable Parquet file: {in_one_line(error)}"
        ) from None
    columns = {each: _values(name, each, table.column(each)) for each in titles}
    rotations = None
    positions = numbers(name, columns, POSITION).reshape(-1, 3)
    if any(each in columns for each in ROTATION):
        vectors = numbers(name, columns, ROTATION).reshape(-1, 3)
        rotations = Rotation.from_rotvec(vectors)
    features = {
        title: values
        for title, values in columns.items()
        if title not in (*POSITION, *ROTATION)
    }
    return _checked(name, Molecules(positions, rotations, features), scale)


def write_parquet(
    molecules: Molecules, path: str | os.PathLike[str], *, scale: float | None = None
) -> None:
    """Write a Parquet table; with a scale its positions are in voxels, else in nm."""
    arrow = require("pyarrow", "parquet", "to write Parquet")
    parquet = require("pyarrow.parquet", "parquet", "to write Parquet")
    molecules = _scaled(molecules, scale)
    vectors = molecules.rotations.as_rotvec().reshape(-1, 3)
    columns: dict[str, Any] = {
        **dict(zip(POSITION, molecules.positions.T, strict=True)),
        **dict(zip(ROTATION, vectors.T, strict=True)),
    }
    for name, values in molecules.features.items():
        columns[name] = _for_arrow(name, values)
    with replacing(path) as partial:
        parquet.write_table(arrow.table(columns), partial)


def _scaled(molecules: Molecules, scale: float | None) -> Molecules:
    if scale is None:
        return molecules
    return Molecules(
        molecules.positions / scale, molecules.rotations, molecules.features
    )


def _checked(name: str, molecules: Molecules, scale: float | None) -> Molecules:
    if len(molecules) == 0:
        raise FileError(name, ": the table is empty")
    if scale is None:
        return molecules
    return replace(molecules, positions=molecules.positions * scale)


def _for_arrow(name: str, values: NDArray[Any]) -> Any:
    """Return a feature as pyarrow takes it, or say why it cannot be written."""
    title = f"features[{quoted(name)}]"
    check_encodable(title, [name])
    if values.dtype.kind == "U":
        texts = values.tolist()
        check_encodable(title, texts)
        return texts
    if values.dtype.itemsize > 8:
        raise ValueError(f"{title}: a Parquet file cannot hold {values.dtype}")
    return values.astype(values.dtype.newbyteorder("="))


def _values(name: str, title: str, column: Any) -> NDArray[Any]:
    """Return a column's values; missing numbers are NaN, missing texts ""."""
    types = require("pyarrow.types", "parquet", "to read Parquet")
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind):
        if not column.null_count:
            return column.to_numpy()
        known = [np.nan if each is None else each for each in column.to_pylist()]
        return np.array(known, dtype=float)
    if types.is_null(kind):
        return np.full(len(column), np.nan)
    if str(kind) in ("string", "large_string", "string_view"):
        try:
            return text_array([each or "" for each in column.to_pylist()])
        except ValueError as error:
            raise FileError(name, f": column {quoted(title)}: {error}") from None
    raise FileError(
        name,
        f": column {quoted(title)} holds {str(kind)[:60]}, not numbers, truth "
        "values or texts",
    )


def _is_parquet(head: bytes) -> bool:
    return head.startswith(b"PAR1")


CSV = Format(
    read_csv,
    write_csv,
    (".csv",),
    frozenset({"scale"}),
    title="acryo, cylindra, or plain, in nm",
    counts_in="nm",
)

PARQUET = Format(
    read_parquet,
    write_parquet,
    (".parquet", ".pq"),
    frozenset({"scale"}),
    _is_parquet,
    "acryo, cylindra, or plain, in nm",
    counts_in="nm",
)
