"""Molecules: where particles are in a tomogram, how they are turned, what is known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from funpipe.base import arguments as check
from funpipe.base import molecule_groups as groups
from funpipe.base import molecule_poses as poses
from funpipe.base import molecule_tables as tables
from funpipe.base.arguments import ArrayLike, has, points
from funpipe.base.features import (
    NO_FEATURES,
    Features,
    features_of,
    in_a_row,
    is_table,
    table_columns,
)
from funpipe.base.texts import same_values
from funpipe.base.wording import fail, refuse_path

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = ["Molecules", "as_molecules"]

_SHOWN = 20


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Molecules:
    """Positions, rotations and features of particles.

    Parameters
    ----------
    positions : (n, 3) array
        In nm, columns z, y, x; the centre of the tomogram's first voxel is at 0.
    rotations : scipy.spatial.transform.Rotation, optional
        n rotations that act on zyx vectors and take the template to the particle;
        by default all the identity.
    features : mapping from str to (n,) array, or data frame, optional
        Numbers, truth values or texts, one for each particle. What is null in a
        column of pandas or polars is "" among texts, else NaN.

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
    rotations: Rotation
    features: Mapping[str, NDArray[Any]]

    def __init__(
        self,
        positions: ArrayLike,
        rotations: Rotation | None = None,
        features: Features = NO_FEATURES,
    ) -> None:
        from scipy.spatial.transform import Rotation

        places = points("positions", positions)
        count = len(places)
        turns = Rotation.identity(count) if rotations is None else rotations
        turns = poses.rotations_of("rotations", turns, count)
        named = MappingProxyType(features_of(features, count))
        for name, value in (
            ("positions", places),
            ("rotations", turns),
            ("features", named),
        ):
            object.__setattr__(self, name, value)  # it is frozen

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
        if len(chosen) and not self.features:  # they have been checked
            return _known(self.positions[chosen], self.rotations[chosen], {})
        return Molecules(
            self.positions[chosen],
            self.rotations[chosen] if len(self) else None,  # scipy takes none of none
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
        return (_known, (self.positions, self.rotations, dict(self.features)))

    def _repr_html_(self) -> str:
        return tables.as_html(self)

    def with_features(
        self, table: Features = NO_FEATURES, /, **features: ArrayLike
    ) -> Molecules:
        """Return the same particles with features added or replaced.

        Parameters
        ----------
        table : mapping or data frame, optional
            The features by name, also those whose names are no names in Python.
        **features : (n,) arrays
            The features by name.

        Raises
        ------
        TypeError, ValueError
            If they are not one number, truth value or text for each particle.

        Examples
        --------
        >>> Molecules([[0.0, 0.0, 0.0]]).with_features({"my score": [1.0]}, tube=[3])
        Molecules(1 particle, features: my score, tube)
        """
        added = {**features_of(table, len(self)), **features}
        return Molecules(self.positions, self.rotations, {**self.features, **added})

    @classmethod
    def concat(
        cls,
        several: Iterable[Molecules],
        *,
        fill: bool | Mapping[str, Any] = False,
    ) -> Molecules:
        """Return the particles of several sets in a row.

        Parameters
        ----------
        several : iterable of Molecules
            At least one; all with the same features, unless ``fill`` is given.
        fill : bool or mapping from names to values
            What particles get for features that only other sets have. True: NaN
            among numbers and truth values, which become numbers by that, and ""
            among texts. A mapping: its values, for the features that it names.

        Raises
        ------
        TypeError, ValueError
            If there is none, their features differ and ``fill`` does not say what to
            do, or one is text in some of them and numbers in others.

        Examples
        --------
        >>> one = Molecules([[0.0, 0.0, 0.0]])
        >>> len(Molecules.concat([one, one, one]))
        3
        >>> scored = one.with_features(score=[0.5])
        >>> Molecules.concat([scored, one], fill=True).features["score"]
        array([0.5, nan])
        >>> Molecules.concat([scored, one], fill={"score": 0.0}).features["score"]
        array([0.5, 0. ])
        """
        from scipy.spatial.transform import Rotation

        given = check.elements("several", "an iterable of Molecules", several, 10**6)
        sets = [as_molecules("several", each) for each in given]
        if not sets:
            raise ValueError("several must be one or more Molecules, not none")
        features = in_a_row([each.features for each in sets], [*map(len, sets)], fill)
        quaternions = np.concatenate([each.rotations.as_quat() for each in sets])
        positions = np.concatenate([each.positions for each in sets])
        return cls(positions, Rotation.from_quat(quaternions), features)

    translate = poses.translate
    rotate = poses.rotate
    from_euler = classmethod(poses.from_euler)
    euler = poses.euler
    from_axes = classmethod(poses.from_axes)

    groupby = groups.groupby
    sort_by = groups.sort_by
    split = groups.split

    to_csv = tables.to_csv
    from_csv = classmethod(tables.from_csv)
    to_dataframe = tables.to_dataframe
    from_dataframe = classmethod(tables.from_dataframe)


def _known(
    positions: NDArray[np.float64],
    rotations: Rotation,
    features: dict[str, NDArray[Any]],
) -> Molecules:
    """Return molecules of parts that are such already, each an array of its own."""
    for each in (positions, *features.values()):
        each.flags.writeable = False
    found = object.__new__(Molecules)
    object.__setattr__(found, "positions", positions)
    object.__setattr__(found, "rotations", rotations)
    object.__setattr__(found, "features", MappingProxyType(features))
    return found


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
        features = table_columns(f"{name}.features", table) if is_table(table) else {}
        return Molecules(points(f"{name}.pos", value.pos), value.rotator, features)
    if isinstance(value, np.ndarray | list | tuple):
        return Molecules(points(name, value))
    wanted = "Molecules, an (n, 3) array, or an object with .pos and .rotator"
    refuse_path(name, wanted, value, "read_molecules")
    fail(name, wanted, value)


def _apart(left: Rotation, right: Rotation) -> float:
    """Return the largest angle in radians between rotations in pairs."""
    return float(np.max((left.inv() * right).magnitude(), initial=0.0))
