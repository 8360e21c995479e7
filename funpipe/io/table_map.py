"""Dynamo's table maps: the names of a table's tomograms, a number and a name a line.

A map lies beside its table, and one file takes the other's place after the other. So
in between the map names the tomograms of both, of the table that is there and of the
one to come; a number that means another tomogram in each stands there with two names,
and is refused when it is read. Whoever reads meanwhile, or after the writer was killed,
gets the names that belong to the table, or an error, never those of the other one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

from funpipe.base.errors import FileError
from funpipe.base.sources import read_bytes
from funpipe.base.whole import replacing

__all__ = ["Pairs", "Plan", "names_of", "plan", "put", "read_map"]

Pairs: TypeAlias = list[tuple[int, str]]

_LINE = re.compile(r"\s*([0-9]{1,18})\s+(\S+)\s*")
_LARGEST = 2**26  # bytes: a million tomograms


def read_map(path: Path) -> Pairs | None:
    """Return the pairs (number, name) of a table map; None where there is none.

    A file whose lines are anything else is a document of someone's, and no map.

    Raises
    ------
    OSError
        If it may not be read.
    ValueError
        If its names are not UTF-8, or it is too large.
    """
    if not path.is_file():
        return None
    try:
        with open(path, "rb") as file:
            start = file.read(4096).decode("utf-8-sig", "surrogateescape").lstrip()
        if not _LINE.fullmatch(start.split("\n", 1)[0]):
            return None
        text = read_bytes(path, _LARGEST).decode("utf-8-sig", "surrogateescape")
    except FileNotFoundError:  # a writer has just taken it away
        return None
    lines = [each for each in text.split("\n") if each.strip()]
    found = [_LINE.fullmatch(each) for each in lines]
    pairs = [(int(each[1]), each[2]) for each in found if each]
    if len(pairs) != len(lines):
        return None
    for _, name in pairs:
        if not encodes(name):
            raise FileError(path, f": the name {name!r} is not UTF-8 text")
    return pairs


def names_of(path: Path, pairs: Pairs, numbers: Iterable[str]) -> dict[str, str]:
    """Return the names of those numbers; each must have one, and only one.

    Examples
    --------
    >>> names_of(Path("a.doc"), [(1, "007"), (2, "NA")], ["2", "1"])
    {'2': 'NA', '1': '007'}
    >>> names_of(Path("a.doc"), [(1, "TS_1"), (1, "TS_2")], ["1"])
    Traceback (most recent call last):
    ...
    funpipe.base.errors.FileError: a.doc has two names for the tomogram 1, 'TS_1' and
    'TS_2': it was not
    written to its end, or is not this table's
    """
    known = _by_number(pairs)
    found = {}
    for each in dict.fromkeys(numbers):
        names = known.get(each, [])
        if not names:
            raise FileError(path, f" has no name for the tomogram {each}")
        if len(names) > 1:
            raise FileError(
                path,
                f" has two names for the tomogram {each}, {names[0]!r} and "
                f"{names[1]!r}: it was not written to its end, or is not this table's",
            )
        found[each] = names[0]
    return found


class Plan(NamedTuple):
    """What a map is while its table is replaced, and thereafter; None: not there."""

    before: Pairs | None
    between: Pairs | None
    after: Pairs | None


def plan(
    path: Path, there: Pairs | None, old: set[int], new: Mapping[int, str], needed: bool
) -> Plan:
    """Say how the map of a table changes with the table.

    Parameters
    ----------
    path : Path
        The map.
    there : list of (int, str), optional
        What it is.
    old : set of int
        Numbers of the tomograms in the table that is to be replaced.
    new : mapping from int to str
        Names by number of the tomograms in the new one.
    needed : bool
        Whether a name is not just its number.

    Raises
    ------
    ValueError
        If a map that is not the old table's alone has other names for the numbers of
        a table that needs none.
    """
    pairs = there or []
    known = _by_number(pairs)
    fits = all(known.get(str(number)) == [name] for number, name in new.items())
    if not needed and (there is None or fits):
        return Plan(there, there, there)
    numbers = {number for number, _ in pairs}
    unsettled = any(len(names) > 1 for names in known.values())
    its_own = unsettled or numbers == old
    if not needed and not its_own:
        raise FileError(
            path,
            " is a table map that names other tomograms, and it would be that "
            "of this table: give the table another name, or move the map away",
        )
    meant = [(each, str(each)) for each in sorted(old - numbers)]
    between = [*pairs, *meant, *new.items()]
    if its_own:
        kept: Pairs = []
    else:
        kept = [(number, name) for number, name in pairs if number not in new]
    after = [*kept, *new.items()] if needed else None
    return Plan(there, _once(between), None if after is None else _once(after))


def put(path: Path, pairs: Pairs | None) -> None:
    """Write a map, whole or not at all; None removes it."""
    if pairs is None:
        path.unlink(missing_ok=True)
        return
    with replacing(path) as partial:
        text = "".join(f"{number} {name}\n" for number, name in pairs)
        partial.write_bytes(text.encode())


def encodes(text: str) -> bool:
    """Tell whether a text can be written as UTF-8."""
    return not any("\ud800" <= each <= "\udfff" for each in text)


def _by_number(pairs: Pairs) -> dict[str, list[str]]:
    """Return the different names of each number."""
    found: dict[str, list[str]] = {}
    for number, name in pairs:
        names = found.setdefault(str(number), [])
        if name not in names:
            names.append(name)
    return found


def _once(pairs: Pairs) -> Pairs:
    return list(dict.fromkeys(pairs))
