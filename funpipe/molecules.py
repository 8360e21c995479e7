"""Molecules: where particles are in a tomogram, how they are turned, what is known."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from funpipe.arguments import as_array, describe, fail, has, points, refuse_path
from funpipe.arguments import path as as_path
from funpipe.io.whole import replacing

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = ["Molecules", "as_molecules"]

_POSITION = ("z", "y", "x")
_ROTATION = ("zvec", "yvec", "xvec")
_TYPED = re.compile(r"(.*):([<>|][biufU]\d+)", re.DOTALL)  # as in "grey:<f4"


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
        names = f", features: {', '.join(self.features)}" if self.features else ""
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
                _same(values, other.features[name])
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
        added: dict[str, Any] = dict(features)
        return replace(self, features={**self.features, **added})

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
            If there is none, or their features differ.

        Examples
        --------
        >>> one = Molecules([[0.0, 0.0, 0.0]])
        >>> len(Molecules.concat([one, one, one]))
        3
        """
        from scipy.spatial.transform import Rotation

        if not isinstance(several, Iterable) or isinstance(several, Mapping | str):
            fail("several", "an iterable of Molecules", several)
        sets = [as_molecules("several", each) for each in several]
        if not sets:
            raise ValueError("several must be one or more Molecules, not none")
        names = list(sets[0].features)
        for each in sets:
            if set(each.features) != set(names):
                raise ValueError(
                    f"several must all have the features {sorted(names)}, "
                    f"not {sorted(each.features)}"
                )
        return cls(
            np.concatenate([each.positions for each in sets]),
            Rotation.from_quat(
                np.concatenate([each.rotations.as_quat() for each in sets])
            ),
            {
                name: np.concatenate([each.features[name] for each in sets])
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
        radians, and the features. A feature whose type would not come back from
        its text alone has it behind its name, as in ``grey:<f4``.
        """
        path = as_path("path", path)
        vectors = self.rotations.as_rotvec().reshape(-1, 3)
        columns: dict[str, list[str]] = {
            name: list(map(repr, values.tolist()))
            for name, values in zip(
                (*_POSITION, *_ROTATION), [*self.positions.T, *vectors.T], strict=True
            )
        }
        for name, values in self.features.items():
            texts = list(map(str, values.tolist()))
            plain = _same(_inferred(texts), values) and not _TYPED.fullmatch(name)
            columns[name if plain else f"{name}:{values.dtype.str}"] = texts
        with (
            replacing(path) as partial,
            open(partial, "w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))

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
        """
        from scipy.spatial.transform import Rotation

        name = as_path("path", path)
        with open(name, newline="", encoding="utf-8-sig") as file:
            try:
                lines = list(csv.reader(file, strict=True))
            except (ValueError, csv.Error) as error:
                raise ValueError(f"{name} is not a CSV table: {error}") from None
        while lines and not lines[-1]:
            lines.pop()
        if not lines:
            raise ValueError(f"{name} is empty, not a CSV table")
        header, *rows = lines
        _check_table(name, header, rows)
        columns = {each: [row[i] for row in rows] for i, each in enumerate(header)}
        rotations = None
        if all(each in columns for each in _ROTATION):
            vectors = _numbers(name, columns, _ROTATION)
            rotations = Rotation.from_rotvec(vectors.copy())  # scipy wants to own it
        features = dict(
            _typed(name, title, texts)
            for title, texts in columns.items()
            if title not in (*_POSITION, *_ROTATION)
        )
        return cls(_numbers(name, columns, _POSITION), rotations, features)


def as_molecules(name: str, value: Any) -> Molecules:
    """Return molecules from Molecules, an (n, 3) array, or what has .pos and .rotator.

    The last is how acryo's ``Molecules`` name what is here ``positions`` and
    ``rotations``, in the same units, order and sense.
    """
    if isinstance(value, Molecules):
        return value
    if has(value, "pos", "rotator"):
        table: Any = getattr(value, "features", None)
        columns = getattr(table, "columns", ())
        features = {str(each): np.asarray(table[each]) for each in columns}
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
    return Rotation.from_quat(quaternions)


def _feature_name(name: Any) -> str:
    if not isinstance(name, str) or name in (*_POSITION, *_ROTATION):
        fail("features", f"named by a text other than {_POSITION + _ROTATION}", name)
    return name


def _feature(name: str, values: Any, count: int) -> NDArray[Any]:
    wanted = f"{count} numbers, truth values or texts"
    array = np.array(as_array(f"features[{name!r}]", wanted, values))
    if array.dtype.kind == "O" and all(isinstance(each, str) for each in array.flat):
        array = array.astype(str)
    if array.shape != (count,) or array.dtype.kind not in "biufU":
        fail(f"features[{name!r}]", wanted, values)
    array.flags.writeable = False
    return array


def _same(left: NDArray[Any], right: NDArray[Any]) -> bool:
    return left.dtype == right.dtype and np.array_equal(
        left, right, equal_nan=left.dtype.kind == "f"
    )


def _apart(left: Rotation, right: Rotation) -> float:
    """Return the largest angle in radians between rotations in pairs."""
    return float(np.max((left.inv() * right).magnitude(), initial=0.0))


def _inferred(texts: list[str]) -> NDArray[Any]:
    """Return whole numbers, numbers or truth values if all texts are, else texts.

    Among numbers an empty text is NaN.
    """
    for kind in (int, float, _truth, _number_or_nan):
        if kind is _number_or_nan and not any(texts):
            continue
        try:
            array = np.array([kind(each) for each in texts])
        except (ValueError, OverflowError):
            continue
        if array.dtype.kind in "bif" and texts:
            return array
    return np.array(texts, dtype=str)


def _number_or_nan(text: str) -> float:
    return float(text) if text else np.nan


def _truth(text: str) -> bool:
    if text not in ("True", "False"):
        raise ValueError(f"{text!r} is neither True nor False")
    return text == "True"


def _typed(path: str, title: str, texts: list[str]) -> tuple[str, NDArray[Any]]:
    typed = _TYPED.fullmatch(title)
    if not typed:
        return title, _inferred(texts)
    name, kind = typed.groups()
    try:
        if kind.endswith("b1"):
            return name, np.array([_truth(each) for each in texts], dtype=kind)
        return name, np.array(texts).astype(kind)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{path}: column {title!r}: {error}") from None


def _numbers(
    path: str, columns: dict[str, list[str]], names: tuple[str, ...]
) -> NDArray[np.float64]:
    try:
        texts = zip(*(columns[name] for name in names), strict=True)
        return points("values", np.array(list(texts), dtype=float).reshape(-1, 3))
    except ValueError as error:
        raise ValueError(f"{path}: columns {', '.join(names)}: {error}") from None


def _check_table(path: str, header: list[str], rows: list[list[str]]) -> None:
    turned = any(each in header for each in _ROTATION)
    wanted = _POSITION + _ROTATION if turned else _POSITION
    missing = [each for each in wanted if each not in header]
    if missing:
        raise ValueError(f"{path} has no column {missing[0]!r}, but only {header}")
    twice = sorted({each for each in header if header.count(each) > 1})
    if twice:
        raise ValueError(f"{path} has the column {twice[0]!r} twice")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise ValueError(
                f"{path}, line {number}: {len(row)} values for {len(header)} columns, "
                f"{describe(row)}"
            )
