"""Points that outline filaments and surfaces, part by part, as they are seeded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.base import arguments as check
from funpipe.base.molecules import Molecules
from funpipe.base.wording import fail, listed
from funpipe.jobs.clustering import tomogram_numbers
from funpipe.space.curves import Curve, smooth_curve

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = ["FARTHEST", "Outline", "bounded", "outlines"]

Array: TypeAlias = NDArray[Any]

FARTHEST = 1e9  # nm
_SAME = 1e-6  # nm


class Outline(NamedTuple):
    """The points of a filament or of a surface, and what else is known of it."""

    points: NDArray[np.float64]
    features: dict[str, Any]
    """One value each."""
    name: str
    """For errors."""

    def molecules(self, positions: Array, rotations: Rotation) -> Molecules:
        """Return molecules with its features."""
        count = len(positions)
        features = {name: np.full(count, each) for name, each in self.features.items()}
        return Molecules(positions, rotations, features)

    def path(self) -> NDArray[np.float64]:
        """Return points from the first on, no two in a row the same."""
        points = self.points - self.points[0]
        steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
        points = points[np.append(True, steps > _SAME)]
        if len(points) < 2:
            raise ValueError(f"molecules must be two points or more of {self.name}")
        return points

    def curve(self, smoothing: float = 0.0) -> Curve:
        """Return a smooth curve through the points, from the first on."""
        found = smooth_curve(self.path(), smoothing)
        if not found.has_tangents():
            raise ValueError(
                f"molecules must be in order along a curve, and that of {self.name} "
                "turns back at one of its points"
            )
        return found

    def enough(self, what: str) -> NDArray[np.float64]:
        """Return points that are as many as a surface needs."""
        if len(self.points) < 4:
            raise ValueError(
                f"molecules must be four points or more of a {what}, not "
                f"{len(self.points)} as of {self.name}"
            )
        return self.points


def outlines(
    molecules: Molecules,
    what: str,
    name: Any,
    known: tuple[tuple[str, ...], ...],
    tomogram_feature: Any,
    alone: bool = False,
) -> Iterator[Outline]:
    """Yield the points of each filament or surface, in the order of their first.

    Alone, each point is one.
    """
    if len(molecules) == 0:
        raise ValueError("molecules must be one point or more, not none")
    if not np.ptp(molecules.positions, axis=0).max() < FARTHEST:
        wanted = f"points in nm, less than {FARTHEST:g} apart"
        fail("molecules", wanted, molecules.positions)
    features = molecules.features
    if name is not None and (not isinstance(name, str) or name not in features):
        there = listed(features) or "none"
        fail(what, f"a feature that there is, {there}", name)
    ways = [[each for each in some if each in features] for some in known]
    chosen = [name] if name is not None else next(filter(None, ways), [])
    keys = [
        np.unique(features[each], return_inverse=True)[1].ravel() for each in chosen
    ]
    tomograms = tomogram_numbers(molecules, tomogram_feature)
    if alone:
        keys = [np.arange(len(molecules))]
    rows = np.column_stack([tomograms, *keys])
    _, first, part = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    for number, each in enumerate(np.argsort(first)):
        some = np.flatnonzero(part.ravel() == each)
        same = {
            title: values[some[0]]
            for title, values in features.items()
            if (values[some] == values[some[0]]).all()
        }
        named = f"the {what} {number}, from molecules[{some[0]}] on"
        yield Outline(molecules.positions[some], {what: number, **same}, named)


def bounded(name: str, value: Any, most: float) -> float:
    """Return a number within a bound on either side."""
    found = check.number(name, value)
    if abs(found) > most:
        fail(name, f"a number from {-most:g} to {most:g}", value)
    return found
