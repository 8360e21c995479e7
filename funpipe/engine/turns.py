"""Angles and vectors between rotations, as quaternions, scalar last."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["rotation_vectors", "turned", "turns_between"]

Array: TypeAlias = NDArray[Any]


def rotation_vectors(start: Array, end: Array) -> NDArray[np.float64]:
    """Return ω (Q, r, 3), R_end = R_start exp(ω), of quaternions (Q, 4) and (r, 4)."""
    v, w = start[:, None, :3], start[:, None, 3:]
    u, s = end[None, :, :3], end[None, :, 3:]
    vector = w * u - s * v - np.cross(v, u)
    scalar = w * s + (v * u).sum(axis=2, keepdims=True)
    vector = np.where(scalar < 0, -vector, vector)
    sine = np.linalg.norm(vector, axis=2, keepdims=True)
    angle = 2 * np.arctan2(sine, np.abs(scalar))
    return np.asarray(
        vector * np.where(sine > 1e-12, angle / np.maximum(sine, 1e-12), 2)
    )


def turned(quaternions: Array, ways: Array) -> NDArray[np.float64]:
    """Return R exp(ω), (Q, 4), of R and ω (Q, 3)."""
    v, w = quaternions[:, :3], quaternions[:, 3:]
    angle = np.linalg.norm(ways, axis=1, keepdims=True)
    u, s = ways * np.sinc(angle / (2 * np.pi)) / 2, np.cos(angle / 2)
    scalar = w * s - (v * u).sum(axis=1, keepdims=True)
    return np.concatenate([w * u + s * v + np.cross(v, u), scalar], axis=1)


def turns_between(one: Array, other: Array) -> NDArray[np.float64]:
    """Return angles in rad between rotations, quaternions (..., 4) that broadcast.

    Examples
    --------
    >>> turns_between(np.array([0, 0, 0, 1.0]), np.array([0, 0, 1.0, 0])).round(3)
    np.float64(3.142)
    """
    along = np.abs((one * other).sum(axis=-1))
    return np.asarray(2 * np.arccos(np.minimum(along, 1.0)))
