"""Molecules as tables: CSV files, data frames, and what a notebook shows.

These are methods of `Molecules`. The columns are z, y, x in nm, the rotation vector
zvec, yvec, xvec in radians, and the features.
"""

from __future__ import annotations

import html
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from funpipe.base import arguments as check
from funpipe.base.arguments import points
from funpipe.base.csv_files import (
    column_of,
    column_to_write,
    digits,
    read_table,
    write_table,
)
from funpipe.base.errors import FileError
from funpipe.base.extras import require
from funpipe.base.features import POSITION, ROTATION, Table, is_table, table_columns
from funpipe.base.texts import check_encodable, check_unique
from funpipe.base.wording import fail, listed, quoted

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

    from funpipe.base.molecules import Molecules

__all__ = ["as_html", "from_csv", "from_dataframe", "to_csv", "to_dataframe"]

_ROWS, _COLUMNS, _CHARACTERS = 10, 20, 40  # that a notebook shows


def to_csv(molecules: Molecules, path: str | os.PathLike[str]) -> None:
    """Write a CSV file, whole or not at all.

    Parameters
    ----------
    path : path-like
        Where to; an existing file is replaced.

    Notes
    -----
    The columns are z, y, x in nm, the rotation vector zvec, yvec, xvec in
    radians, and the features. A feature whose values would not come back from
    their texts alone, such as the texts "1" and "true", has its type behind its
    name, as in ``grey:<f4``.

    Raises
    ------
    ValueError
        If a text or a name is too long, or holds half of a surrogate pair.
    """
    columns = {name: digits(values) for name, values in _pose(molecules).items()}
    columns |= dict(column_to_write(*each) for each in molecules.features.items())
    write_table(check.path("path", path), columns)


def from_csv(cls: type[Molecules], path: str | os.PathLike[str]) -> Molecules:
    """Read a CSV file: z, y, x in nm, maybe zvec, yvec, xvec, and features.

    Parameters
    ----------
    path : path-like
        A file as `to_csv` writes it, or as acryo and cylindra do.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no table, or a column of positions is missing or no numbers.

    Notes
    -----
    A column is one of whole numbers, numbers or truth values (also ``true`` and
    ``false``) if all its texts are, else of texts; 007 is a text. An empty one is
    NaN among numbers and truth values.
    """
    name = check.path("path", path)
    columns = read_table(name)
    wanted = _pose_columns(name, columns)
    pose = {each: columns.pop(each) for each in wanted}
    features = [column_of(name, *each) for each in columns.items()]
    check_unique(name, [*wanted, *(title for title, _ in features)])
    return _of_columns(cls, name, pose, dict(features))


def to_dataframe(molecules: Molecules) -> Any:
    """Return a pandas data frame, a row for each particle.

    Returns
    -------
    pandas.DataFrame
        The columns are z, y, x in nm, the rotation vector zvec, yvec, xvec in
        radians, and the features.

    Raises
    ------
    ImportError
        If pandas is not installed.
    ValueError
        If a text holds half of a surrogate pair.

    Examples
    --------
    >>> from funpipe import Molecules
    >>> table = Molecules([[1.0, 2.0, 3.0]], features={"tube": [7]}).to_dataframe()
    >>> table[["z", "y", "x", "tube"]].to_dict("records")
    [{'z': 1.0, 'y': 2.0, 'x': 3.0, 'tube': 7}]
    """
    pandas = require("pandas", "dataframe", "to make data frames")
    for name, values in molecules.features.items():
        if values.dtype.kind == "U":
            check_encodable(f"features[{quoted(name)}]", values.tolist())
    return pandas.DataFrame({**_pose(molecules), **molecules.features})


def from_dataframe(cls: type[Molecules], table: Table) -> Molecules:
    """Return the particles of a data frame of pandas or polars, a row for each.

    Parameters
    ----------
    table : data frame
        With columns z, y, x in nm, maybe the rotation vector zvec, yvec, xvec in
        radians; all others are features. What is null in them is "" among texts, NaN
        among numbers and truth values. An index does not come along.

    Raises
    ------
    TypeError, ValueError
        If it is no data frame, has a column twice, a column of positions is missing
        or no finite numbers, or a feature is neither of numbers, truth values nor
        texts.

    Examples
    --------
    >>> import pandas
    >>> from funpipe import Molecules
    >>> table = pandas.DataFrame({"x": [3.0], "y": [2.0], "z": [1.0], "tube": [7]})
    >>> Molecules.from_dataframe(table)
    Molecules(1 particle, features: tube)
    """
    if not is_table(table):
        fail("table", "a data frame of pandas or polars", table)
    columns = table_columns("table", table)
    wanted = _pose_columns("table", columns)
    pose = {each: columns.pop(each) for each in wanted}
    return _of_columns(cls, "table", pose, columns)


def as_html(molecules: Molecules) -> str:
    """Return the first particles as a table in HTML, as notebooks show them."""
    count, names = len(molecules), [*POSITION, *ROTATION, *molecules.features]
    first = molecules[:_ROWS]
    columns = {**_pose(first), **first.features}
    shown = names[:_COLUMNS]
    rows = zip(*(map(_cell, columns[name].tolist()) for name in shown), strict=True)
    body = "".join(_row("td", each) for each in rows)
    particles = f"{count} particle{'s' * (count != 1)}"
    notes = [
        f"{particles}; z, y, x in nm, zvec, yvec, xvec in radians",
        *([f"{count - _ROWS} more particles"] if count > _ROWS else []),
        *([f"{len(names) - _COLUMNS} more features"] if len(names) > _COLUMNS else []),
    ]
    return (
        f"<table><caption>{'; '.join(notes)}</caption>"
        f"<thead>{_row('th', map(_cell, shown))}</thead><tbody>{body}</tbody></table>"
    )


def _row(tag: str, cells: Iterable[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{each}</{tag}>' for each in cells)}</tr>"


def _cell(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    short = text if len(text) <= _CHARACTERS else f"{text[: _CHARACTERS - 1]}…"
    return html.escape(short.encode(errors="replace").decode())


def _pose(molecules: Molecules) -> dict[str, NDArray[np.float64]]:
    vectors = molecules.rotations.as_rotvec().reshape(-1, 3)
    columns = [*molecules.positions.T, *vectors.T]
    return dict(zip((*POSITION, *ROTATION), columns, strict=True))


def _pose_columns(path: str, columns: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the columns that say the pose, or which one is missing."""
    turned = any(each in columns for each in ROTATION)
    wanted = POSITION + ROTATION if turned else POSITION
    missing = [each for each in wanted if each not in columns]
    if missing:
        raise FileError(
            path, f" has no column {missing[0]!r}, but only {listed(columns)}"
        )
    return wanted


def _of_columns(
    cls: type[Molecules],
    path: str,
    pose: Mapping[str, Any],
    features: dict[str, NDArray[Any]],
) -> Molecules:
    from scipy.spatial.transform import Rotation

    positions = _numbers(path, pose, POSITION)
    rotations: Rotation | None = None
    if len(pose) > len(POSITION):
        vectors = _numbers(path, pose, ROTATION)
        rotations = Rotation.from_rotvec(vectors.copy())  # scipy wants to own it
    try:
        return cls(positions, rotations, features)
    except ValueError as error:
        raise FileError(path, f": {error}") from None


def _numbers(
    path: str, columns: Mapping[str, Any], names: Sequence[str]
) -> NDArray[np.float64]:
    try:
        table = np.array([columns[name] for name in names], dtype=float)
        return points("values", table.T.reshape(-1, 3))
    except (TypeError, ValueError) as error:
        raise FileError(path, f": columns {', '.join(names)}: {error}") from None
