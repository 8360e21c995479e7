"""Smooth curves through points, by arc length, and frames that do not twist.

Vectors are z, y, x. An azimuth about a curve turns as a right hand does whose thumb
points along it, where x, y and z themselves are right-handed; of components in the
order z, y, x `numpy.cross` has the other sign.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.base.caller import warn

__all__ = ["Curve", "smooth_curve"]

Array: TypeAlias = NDArray[Any]

_PARTS = 8  # of a curve between two knots of its spline, to measure it by
_ENOUGH = 0.01  # of a smoothing, how far a curve's may be from it
_STILL = 1e-9  # of a curve's greatest speed: where it stands still
_ALONG = 0.999  # cosine of about 2.5 degrees
_GAUSS = np.polynomial.legendre.leggauss(12)
_STEPS = 8  # of Newton's method; it converges in about four


@dataclass(frozen=True, eq=False)
class Curve:
    """A curve, a spline of a parameter, with its arc length."""

    spline: Any
    """From parameters (m,) to points (m, 3), nm."""
    knots: NDArray[np.float64]
    """Parameters, rising, from the curve's beginning to its end."""
    arcs: NDArray[np.float64]
    """nm, the arc length from the beginning to each of them."""

    @property
    def length(self) -> float:
        """Of the whole curve, nm."""
        return float(self.arcs[-1])

    def has_tangents(self) -> bool:
        """Tell whether it leads somewhere at every knot, and turns back at none."""
        speeds = self._speed(self.knots)
        return bool(speeds.min() > _STILL * speeds.max())

    def at(self, arc: Array) -> tuple[Array, Array]:
        """Return the points at arc lengths (m,) in nm, and the tangents, (m, 3)."""
        return self._at_parameter(self.parameter(arc))

    def side(self) -> NDArray[np.float64]:
        """Return z, or y where the curve begins along z."""
        along = self._at_parameter(self.knots[:1])[1][0]
        return np.array([0.0, 1, 0] if abs(along[0]) > _ALONG else [1.0, 0, 0])

    def parameter(self, arc: Array) -> NDArray[np.float64]:
        """Return the parameters at arc lengths from 0 to that of the curve."""
        arc = np.asarray(arc, float)
        part = np.clip(np.searchsorted(self.arcs, arc) - 1, 0, len(self.arcs) - 2)
        low, high = self.knots[part], self.knots[part + 1]
        begin, end = self.arcs[part], self.arcs[part + 1]
        found = low + (high - low) * (arc - begin) / (end - begin)
        for _ in range(_STEPS):
            missing = arc - begin - _lengths(self.spline, low, found)
            found = np.clip(found + missing / self._speed(found), low, high)
        return np.asarray(found)

    def outwards(self, arc: Array, towards: Array, azimuth: Array) -> Array:
        """Return unit vectors across the curve at arc lengths, by their azimuths.

        Parameters
        ----------
        arc : (m,) array
            nm.
        towards : (3,) array
            What azimuth 0 points to, as nearly as it can, where the curve begins; from
            there on it turns with the curve and not about it.
        azimuth : (m,) array
            Degrees.

        Notes
        -----
        The frame is carried along by double reflections (W. Wang, B. Jüttler, D. Zheng
        and Y. Liu, ACM Trans. Graphics 27(1), 2, 2008).
        """
        points, tangents = self._at_parameter(self.knots)
        across = [_unit(towards - tangents[0] * (towards @ tangents[0]))]
        for i in range(len(points) - 1):
            before, after = slice(i, i + 1), slice(i + 1, i + 2)
            ends = points[before], tangents[before], points[after], tangents[after]
            across.append(_carried(across[-1][None], *ends)[0])
        part = np.clip(np.searchsorted(self.arcs, arc) - 1, 0, len(points) - 1)
        there, along = self.at(arc)
        begun = np.array(across)[part], points[part], tangents[part]
        first = _unit(_carried(*begun, there, along))
        turn = np.radians(azimuth)[:, None]
        return np.cos(turn) * first - np.sin(turn) * np.cross(along, first)

    def _at_parameter(self, parameter: Array) -> tuple[Array, Array]:
        return self.spline(parameter), _unit(self.spline(parameter, 1))

    def _speed(self, parameter: Array) -> Array:
        return np.linalg.norm(self.spline(parameter, 1), axis=-1)


def smooth_curve(points: Array, smoothing: float = 0.0) -> Curve:
    """Return a curve through points in their order, or near them.

    Parameters
    ----------
    points : (n, 3) array
        Two or more, of which no two in a row are the same.
    smoothing : float
        How far the curve may be from the points, by root mean square; 0: it goes
        through all. Where that is not found, a warning says how far it is.

    Notes
    -----
    A cubic spline of the length of the chords between points; a parabola through three,
    a line through two.

    Examples
    --------
    >>> corner = np.array([[0.0, 0, 0], [0, 3, 0], [0, 3, 4]])
    >>> curve = smooth_curve(corner)
    >>> points, _ = curve.at(np.array([0.0, curve.length]))
    >>> round(curve.length, 3), points.round(6)[:, 1:] + 0
    (7.343, array([[0., 0.],
           [3., 4.]]))
    """
    degree = min(3, len(points) - 1)
    found, square, state, _ = scipy.interpolate.splprep(
        list(np.transpose(points)),
        k=degree,
        s=len(points) * smoothing**2,
        full_output=True,
        quiet=True,
    )
    knots, values, _ = found[0]
    near = np.sqrt(square / len(points))
    if state > 0 and abs(near - smoothing) > _ENOUGH * smoothing:
        warn(
            f"no curve through {len(points)} points is found that is {smoothing:g} nm "
            f"from them, by root mean square; it is {near:.3g} nm"
        )
    spline = scipy.interpolate.BSpline(knots, np.transpose(values), degree)
    ends = np.unique(knots)
    parts = np.arange(_PARTS) / _PARTS
    fine = np.append((ends[:-1, None] + np.diff(ends)[:, None] * parts).ravel(), 1.0)
    lengths = _lengths(spline, fine[:-1], fine[1:])
    return Curve(spline, fine, np.concatenate([[0.0], np.cumsum(lengths)]))


def _lengths(spline: Any, low: Array, high: Array) -> Array:
    """Return arc lengths between parameters, by Gauss's quadrature."""
    nodes, weights = _GAUSS
    half = (high - low) / 2
    where = (low + half)[:, None] + half[:, None] * nodes
    return half * (np.linalg.norm(spline(where, 1), axis=-1) @ weights)


def _carried(
    across: Array, point: Array, along: Array, next_point: Array, next_along: Array
) -> Array:
    """Carry vectors across a curve along it, by two reflections each, (m, 3)."""
    chord = next_point - point
    across, along = (_reflected(each, chord) for each in (across, along))
    return _reflected(across, next_along - along)


def _reflected(vectors: Array, normal: Array) -> Array:
    """Mirror vectors at planes; where there is no normal they stay, (m, 3)."""
    square = (normal**2).sum(axis=1, keepdims=True)
    part = (vectors * normal).sum(axis=1, keepdims=True)
    return vectors - 2 * part / np.where(square > 0, square, 1) * normal


def _unit(vectors: Array) -> Array:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
