"""Tilt weights: what a tilt series measures.

They are functions of frequency vectors, and values: they print as what makes them,
compare, and pickle. By the central-slice theorem a projection at tilt α measures the
plane with k_z = k_x tan α (about y) or k_z = k_y tan α (about x).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.base.arguments import as_array, number, shape_of
from funpipe.base.wording import describe, fail

__all__ = [
    "AXES",
    "Tilt",
    "as_tilt",
    "check_axis",
    "check_weights",
    "dual_axis",
    "no_tilt",
    "single_axis",
]

Array: TypeAlias = NDArray[Any]
Tilt: TypeAlias = Callable[[Array], Array]

AXES = {"y": 2, "x": 1}
"""Tilt axes, and which component of a vector (z, y, x) lies across each."""


@dataclass(frozen=True)
class SingleAxis:
    """What a tilt series about one axis measures, see `single_axis`."""

    tilt_range: tuple[float, float]
    axis: Literal["y", "x"]

    def __call__(self, vectors: Array) -> Array:
        """Return 1 where lowest ≤ atan(k_z / k_across) ≤ highest, 0 elsewhere."""
        along_beam, across_axis = vectors[0], vectors[AXES[self.axis]]
        sides = [
            along_beam * math.cos(math.radians(angle))
            - across_axis * math.sin(math.radians(angle))
            for angle in self.tilt_range
        ]
        tolerance = 1e-9 * np.square(vectors).max()
        return (sides[0] * sides[1] <= tolerance).astype(float)

    def __repr__(self) -> str:
        return f"single_axis({self.tilt_range}, {self.axis!r})"


@dataclass(frozen=True)
class DualAxis:
    """What two tilt series measure, see `dual_axis`."""

    y_range: tuple[float, float]
    x_range: tuple[float, float]

    def __call__(self, vectors: Array) -> Array:
        """Return the larger of two weights."""
        first, second = SingleAxis(self.y_range, "y"), SingleAxis(self.x_range, "x")
        return np.maximum(first(vectors), second(vectors))

    def __repr__(self) -> str:
        return f"dual_axis({self.y_range}, {self.x_range})"


def single_axis(
    tilt_range: tuple[float, float] = (-60.0, 60.0), axis: Literal["y", "x"] = "y"
) -> Tilt:
    """Describe a tilt series about one axis.

    Parameters
    ----------
    tilt_range : (float, float)
        Lowest and highest tilt in degrees, between −90 and 90.
    axis : {"y", "x"}
        The tilt axis; the beam is along z at zero tilt.

    Returns
    -------
    callable
        The weight of each frequency vector, (3, ...) in z, y, x order in the
        tomogram's frame, in 1/nm: 1 where the series measures, 0 in the missing wedge.
        Any function of such vectors with weights of 0 or more may take its place. By
        the central-slice theorem a projection at tilt α measures the plane with
        k_z = k_x tan α (about y) or k_z = k_y tan α (about x).

    Raises
    ------
    ValueError, TypeError
        If the range is not two angles in rising order, or the axis another.

    Examples
    --------
    >>> measured = single_axis((-60, 60), "y")
    >>> measured(np.array([[1.0, 1.0], [0.0, 0.0], [0.1, 1.0]]))
    array([0., 1.])
    """
    return SingleAxis(_tilt_range("tilt_range", tilt_range), check_axis(axis))


def dual_axis(
    y_range: tuple[float, float] = (-60.0, 60.0),
    x_range: tuple[float, float] = (-60.0, 60.0),
) -> Tilt:
    """Describe two tilt series of one specimen, about y and about x.

    Parameters
    ----------
    y_range, x_range : (float, float)
        Lowest and highest tilt about each axis, in degrees.

    Returns
    -------
    callable
        As of `single_axis`: 1 where either series measures.

    Examples
    --------
    >>> measured = dual_axis((-60, 60), (-45, 45))
    >>> measured(np.array([[1.0, 1.0], [0.0, 1.0], [0.1, 0.0]]))
    array([0., 1.])
    """
    return DualAxis(_tilt_range("y_range", y_range), _tilt_range("x_range", x_range))


def as_tilt(name: str, tilt: Any) -> Tilt:
    """Return tilt weights from None, a range of angles about y, or such weights.

    Weights are tried with a few vectors first, so that what they get wrong is said
    before work starts.
    """
    if tilt is None:
        return no_tilt
    if callable(tilt):
        for vectors in _probes():
            try:
                weights = tilt(vectors)
            except Exception as error:
                where = f"in {name}, called with vectors of shape {vectors.shape}"
                error.add_note(where)
                raise
            check_weights(weights, vectors.shape[1:], name)
        return tilt
    return SingleAxis(_tilt_range(name, tilt), "y")


def check_weights(
    weights: Any, shape: tuple[int, ...], name: str = "tilt"
) -> NDArray[np.float64]:
    """Return tilt weights as an array, or refuse what are none.

    Parameters
    ----------
    weights : array-like
        What tilt weights gave for vectors (3, ...).
    shape : tuple of int
        The shape of those vectors, its first 3 left out.
    name : str
        The argument's name, for the error.

    Raises
    ------
    TypeError, ValueError
        If their shape is another, or one is negative, NaN or infinite.

    Examples
    --------
    >>> check_weights([1, 0.5], (2,))
    array([1. , 0.5])
    >>> check_weights([1, -0.5], (2,))
    Traceback (most recent call last):
    ...
    ValueError: tilt must give weights of 0 or more, finite, not -0.5
    """
    wanted = "weights: one number for each of the vectors (3, ...)"
    found = as_array(f"{name}(vectors)", wanted, weights)
    if found.shape != shape or found.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be {wanted}, not what gives {describe(found)}")
    bad = ~(np.isfinite(found) & (found >= 0))
    if bad.any():
        first = found[bad].flat[0]
        raise ValueError(f"{name} must give weights of 0 or more, finite, not {first}")
    return found.astype(np.float64, copy=False)


def _probes() -> list[Array]:
    """Return vectors that tilt weights are tried with: of all kinds, and shapes."""
    ways = np.array(list(itertools.product((-1.0, 0.0, 1.0), repeat=3))).T
    lengths = np.array([0.01, 0.1, 0.5]).reshape(3, 1)
    return [np.ones((3, 1)), ways, ways[:, None] * lengths]


def no_tilt(vectors: Array) -> Array:
    """Return 1 for every frequency vector: nothing is missing."""
    return np.ones(vectors.shape[1:])


def check_axis(axis: Any) -> Literal["y", "x"]:
    """Return a tilt axis, or refuse what is none."""
    if not isinstance(axis, str) or axis not in AXES:
        fail("axis", "'y' or 'x'", axis)
    return "y" if axis == "y" else "x"


def _tilt_range(name: str, value: Any) -> tuple[float, float]:
    wanted = "None, two angles (lowest, highest) from −90 to 90, or single_axis(...)"
    if isinstance(value, str | bytes) or shape_of(value) != (2,):
        fail(name, wanted, value)
    try:
        lowest, highest = (number(name, each) for each in value)
    except (TypeError, ValueError):
        fail(name, wanted, value)
    if not -90 <= lowest < highest <= 90:
        fail(name, wanted, value)
    return lowest, highest
