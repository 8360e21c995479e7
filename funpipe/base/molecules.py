"""Molecules: where particles are in a tomogram, how they are turned, what is known."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from funpipe.base import arguments as check
from funpipe.base.arguments import has, points
from funpipe.base.csv_files import (
    column_of,
    column_to_write,
    digits,
    read_table,
    write_table,
)
from funpipe.base.texts import check_unique, filled, same_values, text_array
from funpipe.base.wording import fail, listed, quoted, refuse_path

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = ["Molecules", "as_molecules"]

_POSITION = ("z", "y", "x")
_ROTATION = ("zvec", "yvec", "xvec")
_SHOWN = 20


@dataclass(frozen=True, eq=False, repr=False)
class Molecules:
    """Positions, rotations and features of particles.

    Parameters
    ----------
    positions : (n, 3) array
        In nm, columns z, y, x; the centre of the tomogram's first voxel is at 0.
    rotations : scipy.spatial.transform.Rotation, optional
        n rotations that act on zyx vectors and take the template to the particle;
        by default all the identity.
    features : mapping from str to (n,) array, optional
        Numbers, truth values or texts, one for each particle.

    Raises
    ------
    TypeError, ValueError
        If the shapes do not go together, or a number is not finite.

    Examples
    --------
    >>> molecules = Molecules([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    >>> molecules.with_features(score=[0.5, 0.75])
    Molecules(2 particles, features: score)
    >>> molecules[1].positions
    array([[4., 5., 6.]])
    """

    positions: NDArray[np.float64]
    rotations: Rotation = None
    features: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        positions = points("positions", self.positions)
        object.__setattr__(self, "positions", positions)
        rotations = _rotations(self.rotations, len(positions))
        object.__setattr__(self, "rotations", rotations)
        if not isinstance(self.features, Mapping):
            fail("features", "a mapping from names to arrays", self.features)
        features = {
            _feature_name(name): _feature(name, values, len(positions))
            for name, values in self.features.items()
        }
        object.__setattr__(self, "features", MappingProxyType(features))

    def __len__(self) -> int:
        return len(self.positions)

    def __repr__(self) -> str:
        shown = ", ".join(list(self.features)[:_SHOWN])
        more = len(self.features) - _SHOWN
        names = f", features: {shown}" if self.features else ""
        names += f" and {more} others" if more > 0 else ""
        return f"Molecules({len(self)} particle{'s' * (len(self) != 1)}{names})"

    def __iter__(self) -> Iterator[Molecules]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Any) -> Molecules:
        """Return some of the particles: by number, slice, array of numbers or mask."""
        chosen = np.atleast_1d(np.arange(len(self))[index])
        return Molecules(
            self.positions[chosen],
            self.rotations[chosen],
            {name: values[chosen] for name, values in self.features.items()},
        )

    def __eq__(self, other: object) -> bool:
        """Compare positions and features exactly, rotations to 1e-12 rad."""
        if not isinstance(other, Molecules):
            return NotImplemented
        return (
            np.array_equal(self.positions, other.positions)
            and list(self.features) == list(other.features)
            and all(
                same_values(values, other.features[name])
                for name, values in self.features.items()
            )
            and _apart(self.rotations, other.rotations) <= 1e-12
        )

    def __hash__(self) -> int:
        raise TypeError("Molecules hold arrays and cannot be hashed")

    def __reduce__(self) -> tuple[Any, ...]:
        return (Molecules, (self.positions, self.rotations, dict(self.features)))

    def with_features(self, /, **features: ArrayLike) -> Molecules:
        """Return the same particles with features added or replaced.

        Parameters
        ----------
        **features : (n,) arrays
            The features by name.
        """
        changed: Any = {**self.features, **features}
        return replace(self, features=changed)

    @classmethod
    def concat(cls, several: Any) -> Molecules:
        """Return the particles of several sets in a row.

        Parameters
        ----------
        several : iterable of Molecules
            At least one; all with the same features.

        Raises
        ------
        ValueError
            If there is none, their features differ, or one is text in some of them
            and numbers in others.

        Examples
        --------
        >>> one = Molecules([[0.0, 0.0, 0.0]])
        >>> len(Molecules.concat([one, one, one]))
        3
        """
        from scipy.spatial.transform import Rotation

        given = check.elements("several", "an iterable of Molecules", several, 10**6)
        sets = [as_molecules("several", each) for each in given]
        if not sets:
            raise ValueError("several must be one or more Molecules, not none")
        names = list(sets[0].features)
        for each in sets:
            if set(each.features) != set(names):
                raise ValueError(
                    f"several must all have the features [{listed(sorted(names))}], "
                    f"not [{listed(sorted(each.features))}]"
                )
        return cls(
            np.concatenate([each.positions for each in sets]),
            Rotation.from_quat(
                np.concatenate([each.rotations.as_quat() for each in sets])
            ),
            {
                name: _joined(name, [each.features[name] for each in sets])
                for name in names
            },
        )

    def to_csv(self, path: str | os.PathLike[str]) -> None:
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
        vectors = self.rotations.as_rotvec().reshape(-1, 3)
        pose = zip(
            (*_POSITION, *_ROTATION), [*self.positions.T, *vectors.T], strict=True
        )
        columns = {name: digits(values) for name, values in pose}
        columns |= dict(column_to_write(*each) for each in self.features.items())
        write_table(check.path("path", path), columns)

    @classmethod
    def from_csv(cls, path: str | os.PathLike[str]) -> Molecules:
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
        from scipy.spatial.transform import Rotation

        name = check.path("path", path)
        columns = read_table(name)
        turned = any(each in columns for each in _ROTATION)
        wanted = _POSITION + _ROTATION if turned else _POSITION
        missing = [each for each in wanted if each not in columns]
        if missing:
            raise ValueError(
                f"{name} has no column {missing[0]!r}, but only {listed(columns)}"
            )
        rotations = None
        if turned:
            vectors = _numbers(name, columns, _ROTATION)
            rotations = Rotation.from_rotvec(vectors.copy())  # scipy wants to own it
        positions = _numbers(name, columns, _POSITION)
        features = [
            column_of(name, title, texts)
            for title, texts in columns.items()
            if title not in (*_POSITION, *_ROTATION)
        ]
        check_unique(name, [*wanted, *(title for title, _ in features)])
        try:
            return cls(positions, rotations, dict(features))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None


def as_molecules(name: str, value: Any) -> Molecules:
    """Return molecules from Molecules, an (n, 3) array, or what has .pos and .rotator.

    The last is how acryo's ``Molecules`` name what is here ``positions`` and
    ``rotations``, in the same units, order and sense. What is null in their features
    is "" among texts and NaN among numbers, as in acryo's own CSV files.
    """
    if isinstance(value, Molecules):
        return value
    if has(value, "pos", "rotator"):
        table: Any = getattr(value, "features", None)
        columns = list(getattr(table, "columns", ()))
        check_unique(f"{name}.features", list(map(str, columns)))
        features = {str(each): _without_gaps(table[each]) for each in columns}
        return Molecules(points(f"{name}.pos", value.pos), value.rotator, features)
    if isinstance(value, np.ndarray | list | tuple):
        return Molecules(points(name, value))
    wanted = "Molecules, an (n, 3) array, or an object with .pos and .rotator"
    refuse_path(name, wanted, value, "read_molecules")
    fail(name, wanted, value)


def _rotations(value: Any, count: int) -> Rotation:
    from scipy.spatial.transform import Rotation

    if value is None:
        return Rotation.identity(count)
    if not isinstance(value, Rotation):
        fail("rotations", f"a scipy Rotation of length {count}", value)
    quaternions = np.atleast_2d(value.as_quat())
    if len(quaternions) != count:
        raise ValueError(
            f"rotations must be {count}, one for each position, not {len(quaternions)}"
        )
    bad = np.flatnonzero(~np.isfinite(quaternions).all(axis=1))
    if bad.size:
        raise ValueError(f"rotations[{bad[0]}] must be finite, not NaN or without end")
    return Rotation.from_quat(quaternions)


def _feature_name(name: Any) -> str:
    if not isinstance(name, str) or name in (*_POSITION, *_ROTATION):
        fail("features", f"named by a text other than {_POSITION + _ROTATION}", name)
    return name


def _feature(name: str, values: Any, count: int) -> NDArray[Any]:
    title = f"features[{quoted(name)}]"
    wanted = f"{count} numbers, truth values or texts"
    array = np.array(check.as_array(title, wanted, values))
    if array.shape == (count,) and array.dtype.kind in "OU":
        array = _texts(title, wanted, values)
    if array.shape != (count,) or array.dtype.kind not in "biufU":
        fail(title, wanted, values)
    array.flags.writeable = False
    return array


def _joined(name: str, parts: list[NDArray[Any]]) -> NDArray[Any]:
    """Return the values of a feature in a row; none becomes another value by that."""
    joined = np.concatenate(parts)
    kinds = {each.dtype.kind for each in parts}
    lost = joined.dtype.kind == "f" and any(
        each.dtype.kind in "iu" and ((each > 2**53) | (each < -(2**53))).any()
        for each in parts
    )
    if len(kinds) > 1 and ("U" in kinds or lost):
        types = listed({str(each.dtype): None for each in parts})
        raise ValueError(
            f"several: the feature {quoted(name)} must have one type, not {types}"
        )
    return joined


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


def _without_gaps(column: Any) -> NDArray[Any]:
    """Return a column of a polars or pandas table; see `filled` for what is missing."""
    array = np.asarray(column)
    return filled(array.tolist()) if array.dtype.kind == "O" else array


def _apart(left: Rotation, right: Rotation) -> float:
    """Return the largest angle in radians between rotations in pairs."""
    return float(np.max((left.inv() * right).magnitude(), initial=0.0))


def _numbers(
    path: str, columns: dict[str, tuple[str, ...]], names: tuple[str, ...]
) -> NDArray[np.float64]:
    try:
        table = np.array([columns[name] for name in names], dtype=float)
        return points("values", table.T.reshape(-1, 3))
    except ValueError as error:
        raise ValueError(f"{path}: columns {', '.join(names)}: {error}") from None
