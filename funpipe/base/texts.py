"""What the texts of a table say, and which texts a file can hold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from funpipe.base.errors import FileError
from funpipe.base.wording import quoted

__all__ = [
    "MOST_COLUMNS",
    "check_encodable",
    "check_unique",
    "filled",
    "same_values",
    "text_array",
    "typed",
]

MOST_COLUMNS = 100_000
"""Columns beyond which a table is no particle list."""
_MOST_CHARACTERS = 2**27
"""That an array of texts may take: each of them takes as much as the longest."""
_BLANKS = " \t"
_WHOLE = re.compile(r"[+-]?(0|[1-9][0-9]*)")
_NUMBER = re.compile(
    r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?"
    r"|[+-]?(nan|NaN|inf|Inf|infinity|Infinity)"
)
_PADDED = re.compile(r"[+-]?0[0-9]")
_TRUTH = {"True": True, "False": False}
_TRUTH_OF_POLARS = {**_TRUTH, "true": True, "false": False}
_LONGEST = 20  # characters of a whole number below 2**63, and one for its sign


def typed(
    texts: Sequence[str], *, as_text: bool = False, gaps: bool = False
) -> NDArray[Any]:
    """Return whole numbers, numbers or truth values if all texts are, else texts.

    Parameters
    ----------
    texts : sequence of str
        The values of a column.
    as_text : bool
        Whether they are texts, whatever they look like.
    gaps : bool
        Whether an empty text among numbers or truth values is NaN, blanks around
        them do not count, and ``true`` and ``false`` are truth values too, as in CSV.

    Examples
    --------
    >>> typed(["1", "2"]), typed(["1", "2.5"]), typed(["007", "8"])
    (array([1, 2]), array([1. , 2.5]), array(['007', '8'], dtype='<U3'))
    >>> typed(["1", ""], gaps=True), typed(["1", ""])
    (array([ 1., nan]), array(['1', ''], dtype='<U1'))
    """
    values = [each.strip(_BLANKS) for each in texts] if gaps else texts
    known = [each for each in values if each] if gaps else values
    if as_text or not known:
        return text_array(texts)
    whole = len(known) == len(values)
    if all(map(_WHOLE.fullmatch, known)):
        if max(map(len, known)) <= _LONGEST:
            numbers = list(map(int, known))
            if whole and min(numbers) >= -(2**63) and max(numbers) < 2**63:
                return np.array(numbers, np.int64)
            if not whole and max(map(abs, numbers)) <= 2**53:
                return _floats(values)
        return text_array(texts)  # all their digits
    if all(map(_NUMBER.fullmatch, known)) and not any(map(_PADDED.match, known)):
        return _floats(values)
    truth = _TRUTH_OF_POLARS if gaps else _TRUTH
    if all(each in truth for each in known):
        if whole:
            return np.array([truth[each] for each in known])
        return np.array([truth[each] if each else np.nan for each in values], float)
    return text_array(texts)


def _floats(values: Sequence[str]) -> NDArray[np.float64]:
    return np.array([float(each or "nan") for each in values])


def text_array(texts: Sequence[str]) -> NDArray[np.str_]:
    r"""Return texts as an array, or say why it could not hold them.

    Examples
    --------
    >>> text_array(["a", "b\0"])
    Traceback (most recent call last):
    ...
    ValueError: a text must not end in the character '\x00': 'b\x00'
    """
    longest = max(map(len, texts), default=0)
    if longest * len(texts) > _MOST_CHARACTERS:
        raise ValueError(
            f"{len(texts)} texts of up to {longest} characters are more than "
            f"{_MOST_CHARACTERS} characters"
        )
    for each in texts:
        if each.endswith("\0"):  # an array would drop it
            raise ValueError(
                f"a text must not end in the character '\\x00': {each[-20:]!r}"
            )
    return np.array(texts, dtype=str)


def filled(values: Sequence[Any]) -> NDArray[Any]:
    """Return values as an array; what is missing is "" among texts, else NaN.

    Missing are None, NaN among texts, and pandas' NA. Where nothing is known there
    are texts, as in the CSV file of such a column.

    Examples
    --------
    >>> filled(["a", None]), filled([1, None])
    (array(['a', ''], dtype='<U1'), array([ 1., nan]))
    """
    known = [each for each in values if not _is_missing(each)]
    if all(isinstance(each, str) for each in known):
        return text_array(["" if _is_missing(each) else each for each in values])
    if all(isinstance(each, bool | int | float | np.number) for each in known):
        return np.array([np.nan if _is_missing(each) else each for each in values])
    return np.array(values, dtype=object)


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ == "NAType":
        return True
    return isinstance(value, float) and value != value


def same_values(left: NDArray[Any], right: NDArray[Any]) -> bool:
    """Tell whether two arrays have the same type and values; NaN equals NaN."""
    if left.dtype.kind == right.dtype.kind == "U":  # of whatever width
        return np.array_equal(left, right)
    return left.dtype == right.dtype and np.array_equal(
        left, right, equal_nan=left.dtype.kind == "f"
    )


def check_encodable(name: str, texts: Iterable[str]) -> None:
    """Refuse texts with half a surrogate pair in them: no file can hold that."""
    for each in texts:
        try:
            each.encode("utf-8")
        except UnicodeEncodeError as error:
            raise UnicodeEncodeError(
                error.encoding,
                error.object,
                error.start,
                error.end,
                f"{name} has half of a pair there",
            ) from None


def check_unique(path: str, names: Sequence[str]) -> None:
    """Refuse a table with too many columns, or one twice.

    Examples
    --------
    >>> check_unique("picks.csv", ["x", "y", "x"])
    Traceback (most recent call last):
    ...
    funpipe.base.errors.FileError: picks.csv has the column 'x' twice
    """
    if len(names) > MOST_COLUMNS:
        raise FileError(
            path,
            f" has {len(names)} columns; a particle list has at most {MOST_COLUMNS}",
        )
    seen: set[str] = set()
    for each in names:
        if each in seen:
            raise FileError(path, f" has the column {quoted(each)} twice")
        seen.add(each)
