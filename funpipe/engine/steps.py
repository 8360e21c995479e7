"""A quadratic of f about a pose: the step to its top, and what is known of the pose.

What f, A, H and B are stands at the top of `funpipe.engine.gauss_newton`.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "FREE",
    "FREE_SHIFTS",
    "SMALL",
    "TINY",
    "Move",
    "Step",
    "excess",
    "lacking",
    "solve",
    "variances",
]

Array: TypeAlias = NDArray[Any]

FREE = np.arange(6)  # rotation, shift
FREE_SHIFTS = np.arange(3, 6)
SMALL = np.array([5e-4] * 3 + [5e-3] * 3)  # a step in rad and voxels that is none
TINY = 1e-30  # far below any sum of normalised spectra
_SINGULAR = 1e-6  # of an eigenvalue of A, its diagonal scaled to 1
_FLATTEST = 0.05  # of an eigenvalue of H against A: of a step
_SUREST = 0.1  # likewise, of a variance
_CLEAR = 2.5  # standard deviations: what is farther beyond a limit is no noise


class Step(NamedTuple):
    """f about Q poses, as a function of rotation and shift."""

    score: Array
    slope: Array
    """(Q, 6), f'."""
    normal: Array
    """(Q, 6, 6), A."""
    curvature: Array
    """(Q, 6, 6), H."""
    scatter: Array
    """(Q, 6, 6), B."""
    noise: Array
    """s², of all shells."""
    norm: Array
    """a² N."""
    power: Array
    """Σ W |F|²."""


class Move(NamedTuple):
    """Steps, and what is expected of them."""

    step: Array
    """(Q, 6), rad and voxels."""
    length: Array
    """The change of the template against the template."""
    gain: Array
    """Of f."""
    whole: Array
    """Of f by the step that is not cut to its reach."""


def lacking(fall: Array, step: Array, there: Step) -> Array:
    """Return what H by rotations lacks to explain how much slopes fell by steps.

    The least change of H, symmetric, in the metric of A's diagonal (M. Powell, in
    Nonlinear Programming, 31, 1970).
    """
    unit = np.sqrt(np.maximum(np.einsum("qii->qi", there.normal)[:, :3], TINY))
    lack = (fall - _applied(there.curvature, step))[:, :3] / unit
    way = step[:, :3] * unit
    square = np.maximum(np.sum(way**2, axis=1), TINY)[:, None, None]
    outer = lack[:, :, None] * way[:, None] / square
    along = np.sum(lack * way, axis=1)[:, None, None] / square
    change = (
        outer + outer.swapaxes(1, 2) - along * way[:, :, None] * way[:, None] / square
    )
    whole = np.zeros(there.normal.shape)
    whole[:, :3, :3] = change * unit[:, :, None] * unit[:, None]
    return whole


def solve(here: Step, reach: Array, free: Array, outward: Array) -> Move:
    """Return steps no longer than their reach, and what they are to gain."""
    scale, _ = _whitening(here.normal[:, free[:, None], free])
    values, vectors = np.linalg.eigh(_within(here.curvature, scale, free))
    root = scale @ (vectors / np.sqrt(np.maximum(np.abs(values), _FLATTEST))[:, None])
    inverse = root @ root.swapaxes(1, 2)  # of H, made positive
    rows, slope = outward[..., free], here.slope[:, free]
    some = _applied(inverse, slope)
    held = np.zeros(rows.shape[:2], dtype=bool)
    for _ in range(3):  # to hold one limit may lead beyond another
        leaving = np.einsum("qmi,qi->qm", rows, some) > 1e-6 * SMALL[0]
        if not leaving.any():
            break
        held |= leaving
        bars = rows * held[..., None]
        through = bars @ inverse
        push = np.linalg.pinv(through @ bars.swapaxes(1, 2), 1e-9, hermitian=True)
        against = np.einsum("qmi,qm->qi", bars, _applied(push @ through, slope))
        some = _applied(inverse, slope - against)
    step = np.zeros(here.slope.shape)
    step[:, free] = some
    size = np.sqrt(_square(step, here.normal) / np.maximum(here.norm, TINY))
    part = np.minimum(1, reach / np.maximum(size, TINY))
    rise, bend = np.sum(step * here.slope, axis=1), _square(step, here.curvature) / 2
    gain = np.maximum(part * rise - part**2 * bend, 0)
    return Move(step * part[:, None], size * part, gain, rise / 2)


def _whitening(normal: Array) -> tuple[Array, Array]:
    """Return L with Lᵀ A L = 1, and which unknowns A says nothing of.

    Columns of L are 0 in place of combinations of which A says nothing.
    """
    diagonal = np.einsum("qii->qi", normal)
    root = np.sqrt(np.where(diagonal > TINY, diagonal, np.inf))
    values, vectors = np.linalg.eigh(normal / root[:, :, None] / root[:, None])
    known = values > _SINGULAR
    inverse = np.where(known, 1 / np.sqrt(np.where(known, values, 1)), 0)
    unknown = (np.square(vectors) * ~known[:, None]).sum(axis=2) > 1e-3
    return vectors * inverse[:, None] / root[:, :, None], unknown


def _within(matrix: Array, scale: Array, free: Array) -> Array:
    """Return Lᵀ M L."""
    return np.asarray(scale.swapaxes(1, 2) @ matrix[:, free[:, None], free] @ scale)


def _applied(matrix: Array, vector: Array) -> Array:
    return np.asarray((matrix @ vector[..., None])[..., 0])


def _square(vector: Array, matrix: Array) -> Array:
    return np.asarray(np.einsum("qi,qij,qj->q", vector, matrix, vector))


def excess(
    here: Step, noise: Array, free: Array, farthest: tuple[float, float]
) -> NDArray[np.float64]:
    """Return squares of steps A⁻¹ f', (Q, 2), rad² and voxels², that are no noise.

    Of directions that do not depend on each other those count along which a step is
    longer than `_CLEAR` standard deviations, for noise of the variance (Q,), and those
    are less than half of the farthest that a pose may go, rad and voxels; no step
    counts as more than that.
    """
    scale, _ = _whitening(here.normal[:, free[:, None], free])
    along = _applied(scale.swapaxes(1, 2), here.slope[:, free])
    most = np.repeat(np.square(farthest), 3)[free]
    part = (np.square(scale) / np.maximum(most, TINY)[:, None]).sum(axis=1)
    noise = noise[:, None]
    clear = (along**2 > _CLEAR**2 * noise) & (noise * part < 0.25)
    step = np.zeros(here.slope.shape)
    step[:, free] = _applied(scale, along * clear)
    squares = np.square(step).reshape(-1, 2, 3).sum(axis=2)
    return np.minimum(squares, np.square(farthest))


def variances(here: Step, free: Array) -> Array:
    """Return the diagonal of H⁻¹ B H⁻¹, summed over rotation and over shift."""
    scale, unknown = _whitening(here.normal[:, free[:, None], free])
    values, vectors = np.linalg.eigh(_within(here.curvature, scale, free))
    inverse = (vectors / np.maximum(values, _SUREST)[:, None]) @ vectors.swapaxes(1, 2)
    inside = inverse @ _within(here.scatter, scale, free) @ inverse
    each = np.full(here.slope.shape, np.nan)
    each[:, free] = np.where(
        unknown, np.inf, np.einsum("qim,qmn,qin->qi", scale, inside, scale)
    )
    each[here.normal.max(axis=(1, 2)) <= 0] = np.nan  # nothing to go by
    return np.stack([each[:, :3].sum(axis=1), each[:, 3:].sum(axis=1)], axis=1)
