"""What the particle lists of columns have in common: numbers, names, kept values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, filterfalse
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.base.caller import warn
from funpipe.base.errors import FileError, MissingError
from funpipe.base.euler import Euler
from funpipe.base.molecules import Molecules
from funpipe.base.wording import describe, listed

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = [
    "PixelList",
    "needed_scale",
    "numbers",
    "same_place",
    "same_turn",
    "tomogram_numbers",
    "tomogram_texts",
    "warn_of_numbers",
]

Columns: TypeAlias = Mapping[str, NDArray[Any]]
Array: TypeAlias = NDArray[Any]

_PLACE = 1e-7
"""nm: below what a list prints, a position counts as unchanged."""
_TURN = 2e-8
"""rad, likewise."""
_LARGE = 10.0
"""Voxels: coordinates beyond tell the scale that they are in,"""
_APART = 0.05
"""to about so much, though particles have moved."""


def numbers(path: str, columns: Columns, names: Sequence[str]) -> NDArray[np.float64]:
    """Return columns as an (n, len(names)) array, or say what is wrong with them.

    Examples
    --------
    >>> numbers("list.star", {"x": np.array(["1", "two"])}, ["x"])
    Traceback (most recent call last):
    ...
    funpipe.base.errors.FileError: list.star: column 'x', row 2: 'two' is not a finite
    number
    """
    missing = [each for each in names if each not in columns]
    if missing:
        raise FileError(
            path, f" has no column {missing[0]!r}, but only {listed(columns)}"
        )
    return np.array([_number(path, each, columns[each]) for each in names]).T


def _number(path: str, name: str, values: Array) -> NDArray[np.float64]:
    found = np.array([_float(each) for each in values.tolist()], dtype=float)
    bad = np.flatnonzero(~np.isfinite(found))
    if bad.size:
        row = int(bad[0])
        raise FileError(
            path,
            f": column {name!r}, row {row + 1}: "
            f"{describe(values[row].item())} is not a finite number",
        )
    return found


def _float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def needed_scale(
    name: str,
    scale: float | None,
    reason: str = "coordinates are in voxels, and the file does not say of what size",
) -> float:
    """Return the scale, or say why it must be given."""
    if scale is None:
        raise MissingError(name, reason, "scale", "in nm per voxel")
    return scale


def same_place(left: Array, right: Array) -> NDArray[np.bool_]:
    """Tell which of two sets of positions in nm agree within what a list prints."""
    return (np.abs(left - right) <= _PLACE).all(axis=1)


def same_turn(left: Rotation, right: Rotation) -> NDArray[np.bool_]:
    """Tell which of two sets of rotations agree within what a list prints."""
    if len(left) == 0:
        return np.zeros(0, dtype=bool)
    return (left.inv() * right).magnitude() <= _TURN


def tomogram_texts(values: Array) -> Array:
    """Return tomograms' names as texts; whole numbers without a decimal point.

    Examples
    --------
    >>> tomogram_texts(np.array([5.0, 4.0]))
    array(['5', '4'], dtype='<U1')
    """
    texts = values.tolist()
    if values.dtype.kind == "f" and all(map(float.is_integer, texts)):
        texts = list(map(int, texts))
    return np.array([str(each) for each in texts], dtype=str)


def tomogram_numbers(
    names: Iterable[Any],
    own: Array | None = None,
    known: Sequence[tuple[int, str]] | None = None,
) -> tuple[Array, dict[int, str]]:
    """Return a number for each name, and the names that are no numbers by number.

    Names that are whole numbers already stay those. Others keep the number that a
    list had for them, and the rest are counted from 1 in the order in which they come.

    Parameters
    ----------
    names : iterable
        For each particle the name of its tomogram.
    own : (n,) array, optional
        For each particle the number that a list had for that tomogram.
    known : sequence of (int, str), optional
        Numbers that tomograms have beside the list, if names can be kept there: those
        named there have that number, and no other gets one.

    Examples
    --------
    >>> tomogram_numbers(["17", "4"])
    (array([17,  4]), {})
    >>> tomogram_numbers(["TS_03", "TS_01", "TS_03"])
    (array([1, 2, 1]), {1: 'TS_03', 2: 'TS_01'})
    >>> tomogram_numbers(["TS_03", "TS_01"], np.array([3, 1]))
    (array([3, 1]), {3: 'TS_03', 1: 'TS_01'})
    """
    texts = [str(each) for each in names]
    kept = {} if own is None else _numbers_of(texts, own)
    taken = Counter(number for number, _ in known or ())
    there = {name: each for each, name in known or () if taken[each] == 1}
    if all(each.isdecimal() and len(each) < 19 for each in texts) and all(
        each == str(int(each)) for each in texts
    ):
        apart = {**kept, **there}
        if known is None or all(apart.get(x, int(x)) == int(x) for x in texts):
            return np.array(list(map(int, texts)), dtype=np.int64), {}
    found = {name: there[name] for name in texts if name in there}
    for name, number in kept.items():
        if name not in there and number not in taken:
            found[name] = number
    free = filterfalse({*taken, *found.values()}.__contains__, count(1))
    found = {
        name: found[name] if name in found else next(free)
        for name in dict.fromkeys(texts)
    }
    numbers = np.array([found[each] for each in texts], dtype=np.int64)
    return numbers, {number: name for name, number in found.items()}


def _numbers_of(names: list[str], own: Array) -> dict[str, int]:
    """Return the number that goes with each name, if each has one of its own."""
    if own.dtype.kind not in "iuf":
        return {}
    pairs = set(zip(names, own.tolist(), strict=True))
    found = {name: int(each) for name, each in pairs if float(each).is_integer()}
    apart = len(pairs) == len(set(names)) == len(set(found.values()))
    return found if apart and all(0 < each < 2**53 for each in found.values()) else {}


def warn_of_numbers(named: Mapping[int, str]) -> None:
    """Warn of the numbers that a list has for tomograms with other names."""
    if named:
        shown = ", ".join(f"{number} {name}" for number, name in named.items())
        warn(f"tomograms have numbers in this list, their names are left out: {shown}")


@dataclass(frozen=True)
class PixelList:
    """A list with coordinates and shifts in voxels, x y z, and three Euler angles.

    A particle is at coordinate + shift. The columns come along as features under
    their own names, or as ``renamed`` says, since Molecules keep z, y and x for
    themselves. When they are written, a pose that is still what the columns say is
    written with those very values; one that has moved keeps its coordinate and gets
    a new shift, and one that has turned gets new angles.
    """

    coordinates: tuple[str, str, str]
    shifts: tuple[str, str, str]
    angles: tuple[str, str, str]
    """In the order of the convention."""
    euler: Euler
    tomogram: str
    first: float | tuple[float, float, float]
    """What the program calls the centre of a tomogram's first voxel, also as x y z."""
    whole: bool = False
    """Whether the program cuts at whole coordinates: what is left is then a shift."""
    renamed: Mapping[str, str] = field(default_factory=dict)

    def molecules(
        self, path: str, columns: Columns, scale: float, first: float | None = None
    ) -> Molecules:
        """Return the particles of columns as the file names them.

        Parameters
        ----------
        path : str
            The file, for errors.
        columns : mapping from str to (n,) array
            The file's columns.
        scale : float
            nm per voxel.
        first : float, optional
            What the list calls the centre of the first voxel, if not what its program
            does.
        """
        positions, rotations = self._poses(path, columns, scale, first)
        features = {
            self.renamed.get(name, name): values
            for name, values in columns.items()
            if name != self.tomogram
        }
        if self.tomogram in columns:
            tomograms = columns[self.tomogram]
            if tomograms.dtype.kind == "f":
                numbers(path, columns, [self.tomogram])  # NaN names none
            features["tomogram"] = tomogram_texts(tomograms)
        return Molecules(positions, rotations, features)

    def columns(
        self,
        molecules: Molecules,
        scale: float,
        first: float | None = None,
        known: Sequence[tuple[int, str]] | None = None,
    ) -> tuple[dict[str, Array], dict[int, str]]:
        """Return columns as the file names them: its own pose, then all features.

        Tomograms have numbers in such a list; with the columns come the names, by
        number, of those that had another one. See `tomogram_numbers` for ``known``.
        """
        begin = np.asarray(self.first if first is None else first)
        own = {after: before for before, after in self.renamed.items()}
        found = {
            own.get(name, name): values
            for name, values in molecules.features.items()
            if name != "tomogram"
        }
        coordinates = (molecules.positions / scale)[:, ::-1] + begin
        pose = (*self.coordinates, *self.shifts, *self.angles)
        if all(name in found for name in pose) and not _rescaled(
            sum(
                numbers("features", found, each)
                for each in (self.coordinates, self.shifts)
            ),
            coordinates,
        ):
            positions, rotations = self._poses("features", found, scale, first)
            moved = ~same_place(positions, molecules.positions)
            turned = ~same_turn(rotations, molecules.rotations)
            shifts = coordinates - numbers("features", found, self.coordinates)
        else:
            moved = turned = np.ones(len(molecules), dtype=bool)
            found = {k: v for k, v in found.items() if k not in pose}
            voxels = np.round(coordinates) if self.whole else coordinates
            shifts = coordinates - voxels
            replace(found, self.coordinates, voxels, moved)
        replace(found, self.shifts, shifts, moved)
        replace(found, self.angles, self.euler.angles(molecules.rotations), turned)
        given = found.get(self.tomogram)
        names = molecules.features.get("tomogram", np.ones(len(molecules), dtype=int))
        found[self.tomogram], named = tomogram_numbers(names, given, known)
        return found, named

    def left_out(self, molecules: Molecules, kept: Container[str]) -> list[str]:
        """Return the features whose columns are not among those that are kept."""
        own = {after: before for before, after in self.renamed.items()}
        return [
            name
            for name in molecules.features
            if name != "tomogram" and own.get(name, name) not in kept
        ]

    def _poses(
        self, path: str, columns: Columns, scale: float, first: float | None
    ) -> tuple[Array, Rotation]:
        begin = np.asarray(self.first if first is None else first)
        coordinates = numbers(path, columns, self.coordinates)
        shifts = numbers(path, columns, self.shifts)
        angles = numbers(path, columns, self.angles)
        voxels = (coordinates + shifts - begin)[:, ::-1]
        return voxels * scale, self.euler.rotations(angles)


def _rescaled(before: Any, after: Array) -> bool:
    """Tell whether coordinates are in voxels of another size than before."""
    large = np.abs(before) > _LARGE
    return bool(large.any() and abs(np.median((after / before)[large]) - 1) > _APART)


def replace(
    columns: dict[str, Array], names: Sequence[str], values: Array, where: Array
) -> None:
    """Put values, rounded to six decimals, into columns where they have changed."""
    for name, new in zip(names, values.T, strict=True):
        if name not in columns:
            columns[name] = np.round(new, 6) + 0.0
        elif where.any():
            columns[name] = np.where(where, np.round(new, 6) + 0.0, columns[name])
