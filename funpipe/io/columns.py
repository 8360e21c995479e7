"""What the particle lists of columns have in common: numbers, names, kept values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.caller import warn
from funpipe.io.euler import Euler
from funpipe.molecules import Molecules

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
    ValueError: list.star: column 'x', row 2: 'two' is not a finite number
    """
    missing = [each for each in names if each not in columns]
    if missing:
        raise ValueError(
            f"{path} has no column {missing[0]!r}, but only {', '.join(columns)}"
        )
    return np.array([_number(path, each, columns[each]) for each in names]).T


def _number(path: str, name: str, values: Array) -> NDArray[np.float64]:
    found = np.array([_float(each) for each in values.tolist()], dtype=float)
    bad = np.flatnonzero(~np.isfinite(found))
    if bad.size:
        row = int(bad[0])
        raise ValueError(
            f"{path}: column {name!r}, row {row + 1}: {values.tolist()[row]!r} is not "
            "a finite number"
        )
    return found


def _float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def needed_scale(name: str, scale: float | None) -> float:
    """Return the scale, or say that it must be given."""
    if scale is None:
        raise ValueError(
            f"{name}: coordinates are in voxels, and the file does not say of what "
            "size; pass scale=... in nm per voxel"
        )
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
    if values.dtype.kind == "f" and (values == np.round(values)).all():
        values = values.astype(np.int64)
    return np.array([str(each) for each in values.tolist()], dtype=str)


def tomogram_numbers(names: Iterable[Any]) -> tuple[Array, dict[int, str]]:
    """Return a number for each name, and the names that are no numbers by number.

    Names that are whole numbers already stay those; others are counted from 1 in the
    order in which they come.

    Examples
    --------
    >>> tomogram_numbers(["17", "4"])
    (array([17,  4]), {})
    >>> tomogram_numbers(["TS_03", "TS_01", "TS_03"])
    (array([1, 2, 1]), {1: 'TS_03', 2: 'TS_01'})
    """
    texts = [str(each) for each in names]
    if all(each == str(int(each)) for each in texts if each.isdecimal()) and all(
        each.isdecimal() and len(each) < 19 for each in texts
    ):
        return np.array(list(map(int, texts)), dtype=np.int64), {}
    known = {name: i for i, name in enumerate(dict.fromkeys(texts), start=1)}
    return np.array([known[each] for each in texts]), {i: n for n, i in known.items()}


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
    first: float
    """What the program calls the centre of a tomogram's first voxel."""
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
            features["tomogram"] = tomogram_texts(columns[self.tomogram])
        return Molecules(positions, rotations, features)

    def columns(
        self, molecules: Molecules, scale: float, first: float | None = None
    ) -> tuple[dict[str, Array], dict[int, str]]:
        """Return columns as the file names them: its own pose, then all features.

        Tomograms have numbers in such a list; with the columns come the names, by
        number, of those that had another one.
        """
        first = self.first if first is None else first
        own = {after: before for before, after in self.renamed.items()}
        found = {
            own.get(name, name): values
            for name, values in molecules.features.items()
            if name != "tomogram"
        }
        coordinates = (molecules.positions / scale)[:, ::-1] + first
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
        names = molecules.features.get("tomogram", np.ones(len(molecules), dtype=int))
        found[self.tomogram], named = tomogram_numbers(names)
        return found, named

    def _poses(
        self, path: str, columns: Columns, scale: float, first: float | None
    ) -> tuple[Array, Rotation]:
        first = self.first if first is None else first
        coordinates = numbers(path, columns, self.coordinates)
        shifts = numbers(path, columns, self.shifts)
        angles = numbers(path, columns, self.angles)
        voxels = (coordinates + shifts - first)[:, ::-1]
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
