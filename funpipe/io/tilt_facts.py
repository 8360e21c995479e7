"""What files say of a tilt series, each some of it, and texts as they are read.

Angles, hands and azimuths are turned into what `funpipe.space.transfer` means by
them where a format is read; each module of a format says how, and whose code shows it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.base.errors import FileError
from funpipe.base.sources import read_bytes
from funpipe.base.wording import describe

__all__ = [
    "ALIGNED",
    "AS_SET",
    "BY_THE_WAY",
    "TiltFacts",
    "TiltFormat",
    "in_micrometres",
    "table_of",
    "text_of",
]

Array: TypeAlias = NDArray[np.float64]

ALIGNED, AS_SET, BY_THE_WAY = range(3)
"""Angles as alignment found them, as the stage was set, and to name images by."""

_UNITS = {"Å": 1e-4, "nm": 1e-3, "µm": 1.0}
_MOST, _LEAST, _USUAL = 20.0, 0.02, 3.0  # µm of defocus
_LARGEST = 2**26  # bytes


@dataclass(frozen=True, eq=False)
class TiltFacts:
    """What a file says of a tilt series: of each of its n tilts, and of all."""

    path: str
    angles: Array | None = None
    """(n,), degrees: at tilt α about y the beam is n = (cos α, 0, −sin α), z, y, x."""
    rank: int = AS_SET
    """Of what kind the angles are; a lower one is nearer to the tomogram's."""
    offset: float = 0.0
    """Degrees that they are all more than those the stage was set to."""
    dose: Array | None = None
    """(n,), e/Å² before each."""
    defocus: Array | None = None
    """(n, 2), µm, more than 0 under focus, along an azimuth and across it."""
    azimuth: Array | None = None
    """(n,), degrees, that of the first, in the image, from x towards y."""
    turn: Array | None = None
    """(n,), degrees that an azimuth in the tomogram is more than in the image."""
    phase_shift: Array | None = None
    """(n,), degrees."""
    views: Array | None = None
    """(n,), which images of the stack these are, from 0; ½ lies between two."""
    total: int | None = None
    """How many images the stack has."""
    settings: Mapping[str, float] = field(default_factory=dict)
    """Arguments of `tilt_series` that are the same for all."""

    @property
    def count(self) -> int:
        """How many tilts it tells of."""
        several = (self.angles, self.dose, self.defocus, self.turn, self.phase_shift)
        found = (len(each) for each in several if each is not None)
        return next(found, self.total or 0)


class TiltFormat(NamedTuple):
    """A format of files that tell of tilt series."""

    read: Callable[[str], TiltFacts]
    """Takes the path."""
    title: str
    """Whose files these are, in a few words."""
    recognises: Callable[[bytes, str], bool]
    """Tells by a file's first bytes, and its name in lower case, whether it is one."""


def text_of(path: str | os.PathLike[str]) -> str:
    """Return the text of a file that holds some, or say what it is instead.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is empty, or not text.
    """
    name = os.fspath(path)
    content = read_bytes(name, _LARGEST)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        try:
            text = content.decode("cp1252")  # of SerialEM: µ and ° in notes
        except UnicodeDecodeError:
            text = "\0"
    if "\0" in text:
        raise FileError(name, " is not text: no file that tells of a tilt series")
    if not text.strip():
        raise FileError(name, " is empty")
    return text


def table_of(
    path: str | os.PathLike[str], columns: Mapping[int, str] | None = None
) -> list[list[float]]:
    r"""Return the numbers of each line that has any, ``#`` starting a comment.

    Parameters
    ----------
    path : path-like
        The file.
    columns : mapping from int to str, optional
        How many numbers a line may have, and what they are, for the error.

    Raises
    ------
    OSError, ValueError
        If it cannot be read, is no table of finite numbers, or has other columns.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".tlt") as file:
    ...     print("-60.0\n-57.0", file=file, flush=True)
    ...     table_of(file.name)
    [[-60.0], [-57.0]]
    """
    name = os.fspath(path)
    rows = []
    for number, line in enumerate(text_of(name).splitlines(), start=1):
        texts = line.partition("#")[0].split()
        if not texts:
            continue
        row = [_finite(each) for each in texts]
        if None in row:
            bad = texts[row.index(None)]
            raise FileError(
                name, f", line {number}: {describe(bad)} is not a finite number"
            )
        if columns is not None and len(row) not in columns:
            wanted = " or ".join(f"{n} ({what})" for n, what in columns.items())
            raise FileError(
                name, f", line {number}: {len(row)} numbers, where {wanted} must be"
            )
        rows.append([float(each) for each in row if each is not None])
    if not rows:
        raise FileError(name, " has no line of numbers")
    return rows


def _finite(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def in_micrometres(path: str, values: Any, unit: str) -> Array:
    """Return defoci in µm, or say which unit they may be in.

    Parameters
    ----------
    path : str
        The file that says them.
    values : array-like
        In the unit that this format has.
    unit : {"Å", "nm", "µm"}
        That unit.

    Examples
    --------
    >>> in_micrometres("a.star", [30000.0], "Å")
    array([3.])
    >>> in_micrometres("a.defocus", [30000.0], "nm")
    Traceback (most recent call last):
    ...
    funpipe.base.errors.FileError: a.defocus: a defocus of 30000 nm is 30 µm, and must
    be 20 or less: if it is in Å, 3000 nm is meant
    """
    found = np.asarray(values, dtype=float) * _UNITS[unit]
    sizes = np.abs(found)
    if sizes.size and (sizes.max() > _MOST or 0 < sizes.max() < _LEAST):
        at = np.unravel_index(sizes.argmax(), sizes.shape)
        value = float(np.asarray(values, dtype=float)[at])
        bound = f"{_MOST:g} or less" if sizes.max() > _MOST else f"{_LEAST:g} or more"
        raise FileError(
            path,
            f": a defocus of {value:g} {unit} is {found[at]:g} µm, and must be "
            f"{bound}{_meant(value, unit)}",
        )
    return found


def _meant(value: float, unit: str) -> str:
    """Say in which unit a defocus would be one that microscopes are set to."""
    sizes = {each: abs(value) * size for each, size in _UNITS.items()}
    _, likely = min((abs(np.log(size / _USUAL)), each) for each, size in sizes.items())
    if likely == unit or not 0.1 <= sizes[likely] <= _MOST:
        return ""
    meant = value * _UNITS[likely] / _UNITS[unit]
    return f": if it is in {likely}, {meant:g} {unit} is meant"
