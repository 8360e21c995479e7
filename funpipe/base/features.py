"""Features of particles: one value for each, from arrays and columns of tables.

What is null in a column of a pandas or polars table is "" among texts and NaN among
numbers and truth values, as an empty place in a CSV file is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.base import arguments as check
from funpipe.base.arguments import ArrayLike, has
from funpipe.base.texts import check_unique, filled, text_array
from funpipe.base.wording import describe, fail, listed, quoted

__all__ = [
    "NO_FEATURES",
    "POSITION",
    "ROTATION",
    "Features",
    "Table",
    "feature_of",
    "features_of",
    "in_a_row",
    "is_table",
    "table_columns",
]

POSITION = ("z", "y", "x")
ROTATION = ("zvec", "yvec", "xvec")


class Table(Protocol):
    """What a data frame of pandas or polars has: columns by their names."""

    @property
    def columns(self) -> Any:
        """The names of its columns."""

    def __getitem__(self, key: str, /) -> Any:
        """Return a column."""


Features: TypeAlias = Mapping[str, ArrayLike] | Table
NO_FEATURES: Mapping[str, NDArray[Any]] = MappingProxyType({})


def is_table(value: Any) -> bool:
    """Tell whether a value is a data frame of pandas or polars, or like one."""
    return not isinstance(value, Mapping | type) and has(
        value, "columns", "__getitem__"
    )


def table_columns(name: str, table: Any) -> dict[str, NDArray[Any]]:
    """Return the columns of a data frame as arrays by their names.

    Raises
    ------
    ValueError
        If two columns have the same name as texts.
    """
    columns = list(table.columns)
    titles = list(map(str, columns))
    check_unique(name, titles)
    return {
        title: _without_gaps(f"{name}[{quoted(title)}]", table[each])
        for title, each in zip(titles, columns, strict=True)
    }


def features_of(value: Any, count: int) -> dict[str, NDArray[Any]]:
    """Return features as read-only arrays, from a mapping or a data frame."""
    if is_table(value):
        value = table_columns("features", value)
    if not isinstance(value, Mapping):
        fail("features", "a mapping from names to arrays, or a data frame", value)
    return {
        _feature_name(name): feature_of(f"features[{quoted(name)}]", values, count)
        for name, values in value.items()
    }


def feature_of(title: str, values: Any, count: int) -> NDArray[Any]:
    """Return the values of one feature as a read-only array of its own."""
    wanted = f"{count} numbers, truth values or texts"
    if not isinstance(values, np.ndarray) and has(values, "to_numpy", "dtype"):
        values = _without_gaps(title, values)
    array = np.array(check.as_array(title, wanted, values))
    if array.shape == (count,) and array.dtype.kind in "OU":
        array = _texts(title, wanted, values)
    if array.shape != (count,) or array.dtype.kind not in "biufU":
        fail(title, wanted, values)
    array.flags.writeable = False
    return array


def in_a_row(
    several: Sequence[Mapping[str, NDArray[Any]]], counts: Sequence[int], fill: Any
) -> dict[str, NDArray[Any]]:
    """Return features of several sets in a row; see `Molecules.concat` for ``fill``.

    Parameters
    ----------
    several : sequence of mappings from names to arrays
        At least one.
    counts : sequence of int
        How many particles each set has.
    fill : bool or mapping from names to values
        What stands where a set has no such feature.

    Examples
    --------
    >>> in_a_row([{"a": np.array([1.0])}, {}], [1, 2], True)
    {'a': array([ 1., nan, nan])}
    """
    names = {name: None for each in several for name in each}
    fills = _fills(names, fill)
    first = several[0]
    for each in several:
        if first.keys() - fills != each.keys() - fills:
            raise ValueError(
                f"several must all have the features [{listed(sorted(first))}], "
                f"not [{listed(sorted(each))}], or fill=True"
            )
    rows: dict[str, NDArray[Any]] = {}
    for name in names:
        like = next(each[name] for each in several if name in each)
        rows[name] = _joined(
            name,
            [
                each[name] if name in each else _filling(like, fills[name], count)
                for each, count in zip(several, counts, strict=True)
            ],
        )
    return rows


def _fills(names: Iterable[str], fill: Any) -> dict[str, NDArray[Any] | None]:
    """Return what is to stand for features that are missing; None for a gap."""
    if isinstance(fill, bool | np.bool_):
        return dict.fromkeys(names) if fill else {}
    if not isinstance(fill, Mapping):
        fail("fill", "True, False, or a mapping from features to values", fill)
    for name in fill:
        if name not in names:
            fail("fill", f"for features that are there, {listed(names)}", name)
    return {
        name: feature_of(f"fill[{quoted(name)}]", [value], 1)
        for name, value in fill.items()
    }


def _filling(
    like: NDArray[Any], value: NDArray[Any] | None, count: int
) -> NDArray[Any]:
    """Return a value, or what stands for none: "" among texts, else NaN."""
    if value is not None:
        return np.repeat(value, count)
    if like.dtype.kind == "U":
        return np.full(count, "")
    return np.full(count, np.nan, like.dtype if like.dtype.kind == "f" else float)


def _joined(name: str, parts: list[NDArray[Any]]) -> NDArray[Any]:
    """Return the values of a feature in a row; none becomes another value by that."""
    array = np.concatenate(parts)
    kinds = {each.dtype.kind for each in parts}
    lost = array.dtype.kind == "f" and any(
        each.dtype.kind in "iu" and ((each > 2**53) | (each < -(2**53))).any()
        for each in parts
    )
    if len(kinds) > 1 and ("U" in kinds or lost):
        types = listed({str(each.dtype): None for each in parts})
        raise ValueError(
            f"several: the feature {quoted(name)} must have one type, not {types}"
        )
    return array


def _feature_name(name: Any) -> str:
    if not isinstance(name, str) or name in (*POSITION, *ROTATION):
        fail("features", f"named by a text other than {POSITION + ROTATION}", name)
    return name


def _texts(title: str, wanted: str, values: Any) -> NDArray[Any]:
    """Return texts as an array; numbers among them do not become texts."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "U":
        return np.array(values)
    texts = list(values)
    if not all(isinstance(each, str) for each in texts):
        fail(title, wanted, values)
    try:
        return text_array(texts)
    except ValueError as error:
        raise ValueError(f"{title}: {error}") from None


def _without_gaps(title: str, column: Any) -> NDArray[Any]:
    """Return a column of a polars or pandas table; see `filled` for what is missing."""
    array = np.asarray(column)
    kind = str(getattr(column, "dtype", ""))
    values = array
    if array.dtype.kind == "f" and ("int" in kind.lower() or kind == "Null"):
        values = np.array(list(column), dtype=object)
    if kind == "Null" or array.dtype.kind == "O":
        array = filled(values.tolist())
    if array.dtype.kind == "f" and values.dtype.kind == "O":
        large = next((each for each in values if _would_change(each)), None)
        if large is not None:
            raise ValueError(
                f"{title} must have no nulls or floats beside {describe(large)}, "
                "which as a float is another number"
            )
    return array


def _would_change(value: Any) -> bool:
    return isinstance(value, int | np.integer) and abs(int(value)) > 2**53
