"""How few waves, rotations and shifts a search can do with.

A template T that lies a small turn ω or shift t beside the truth keeps of its score

    1 − ½ ωᵀ M ω − ½ tᵀ L t,
    M = Re Σ conj(∂T/∂ω) (∂T/∂ω)ᵀ / Σ |T|²,     L = 4π² Σ k kᵀ |T|² / Σ |T|²,

so that the waves which are searched say how far apart poses may be tried. The fewer
waves, the further apart, and the more poses are left that may be the best.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.engine.settings import SETTINGS
from funpipe.engine.spectra import Fields, sample, turning_rates
from funpipe.space.fourier import half_ball

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

    from funpipe.space.geometry import RotationGrid

__all__ = [
    "Coverage",
    "Information",
    "coverage",
    "highest_told",
    "information",
    "neighbours",
    "net",
]

Array: TypeAlias = NDArray[Any]
Window: TypeAlias = tuple[float, float, float]

_FRACTIONS = (0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)  # of a template's power
_TOGETHER = 2**16  # waves that are looked at together
_FEWEST = 50  # waves of a search
_RANK = 0.6  # of the number of shifts along an axis, the kernel's functions there


class Information(NamedTuple):
    """What the waves of a template say of its pose, the longest first, summed up."""

    power: NDArray[np.float64]
    """(N,), Σ |T|², of all: 1."""
    turning: NDArray[np.float64]
    """(N, 3, 3), Σ Re conj(∂T/∂ω) (∂T/∂ω)ᵀ, in units of all of Σ |T|²."""
    moving: NDArray[np.float64]
    """(N, 3, 3), 4π² Σ k kᵀ |T|², likewise."""


class Coverage(NamedTuple):
    """Where poses are tried, and by which waves."""

    waves: int
    """How many, the longest."""
    part: float
    """Of the template's power, theirs."""
    rotations: NDArray[np.intp]
    """Which of the grid."""
    apart: float
    """Degrees within which the nearest of them is."""
    axes: tuple[NDArray[np.float64], ...]
    """Shifts along z, y and x, voxels; all of their products are tried."""

    def shifts(self) -> NDArray[np.float64]:
        """Return the shifts, (S, 3)."""
        return np.stack(np.meshgrid(*self.axes, indexing="ij"), -1).reshape(-1, 3)


def highest_told(
    template: Array, finest: float, weights: Callable[[Array], Array]
) -> tuple[float, float]:
    """Return up to which |k| waves say something of the pose, and how much is there.

    Parameters
    ----------
    template : (z, y, x) array
        The template.
    finest : float
        The shortest period, voxels.
    weights : callable
        By which frequency vectors (3, ...) count: 1 over the noise's power.

    Returns
    -------
    length : float
        Periods per voxel: waves up to there hold nearly all, `Settings.information`,
        of Σ |∂F/∂ω|², and of Σ |∂F/∂t|².
    part : float
        What they hold of Σ |F|².
    """
    waves = half_ball(template.shape, finest)
    k = waves / np.array(template.shape)
    squares = np.square(k).sum(axis=1)
    order = np.argsort(squares, kind="stable")
    images = [template, *turning_rates(template)]
    where = tuple(waves[order].T)  # x ≥ 0, as rfftn has it
    found = [scipy.fft.rfftn(each.astype(np.float32))[where] for each in images]
    T, *rates = (
        weights(k[order].T) * (each.real.astype(float) ** 2 + each.imag**2)
        for each in found
    )
    turning, moving = np.cumsum(sum(rates)), np.cumsum(T * squares[order])
    last = max(
        _first(each, SETTINGS.information) for each in (turning, moving) if each[-1] > 0
    )
    length = math.sqrt(float(squares[order][last - 1]))
    return length, float(T[:last].sum() / T.sum())


def information(fields: Fields, k: Array, weights: Array) -> Information:
    """Sum up what waves say of the pose.

    Parameters
    ----------
    fields : Fields
        The template.
    k : (N, 3) array
        The waves in periods per voxel, the longest first.
    weights : (N,) array
        By which they count: 1 over the noise's power.
    """
    sums = np.empty((len(k), 1)), np.empty((len(k), 3, 3)), np.empty((len(k), 3, 3))
    for i in range(0, len(k), _TOGETHER):
        some = slice(i, i + _TOGETHER)
        spectra = sample(k[some], fields).astype(complex)
        T, rates = spectra[:, 0], spectra[:, 1:]
        power = (weights[some] * (T.real**2 + T.imag**2))[:, None]
        turning = (rates.conj()[:, :, None] * rates[:, None]).real
        moving = power[..., None] * (k[some, :, None] * k[some, None])
        sums[0][some] = power
        sums[1][some] = weights[some, None, None] * turning
        sums[2][some] = 4 * np.pi**2 * moving
    for each in sums:
        np.cumsum(each, axis=0, out=each)
    total = float(sums[0][-1, 0]) or 1.0
    for each in sums:
        each /= total
    return Information(sums[0][:, 0], sums[1], sums[2])


def coverage(
    of_templates: list[Information], grid: RotationGrid, window: Window
) -> Coverage:
    """Return where poses are tried so that a climb reaches all of the grid.

    Of the parts of the power that waves may hold, the largest is taken that costs no
    more than a search should.

    Parameters
    ----------
    of_templates : list of Information
        Of each template.
    grid : RotationGrid
        The rotations that the search has to cover.
    window : (float, float, float)
        The largest shift along z, y, x, in voxels.
    """
    for part in _FRACTIONS:
        waves = max(_first(each.power, part) for each in of_templates)
        waves = min(max(waves, _FEWEST), len(of_templates[0].power))
        reach, steps = _reach(of_templates, waves)
        axes = tuple(map(_along, window, steps))
        rows = len(of_templates) * _about(grid, reach)
        rank = _rank(axes)
        small = 24 * waves * rank <= SETTINGS.bank_bytes
        if small and rows * waves * rank <= SETTINGS.products:
            break
    chosen, apart = net(grid, reach)
    rows = len(of_templates) * len(chosen)
    waves = min(waves, max(_FEWEST, int(SETTINGS.bank_bytes / (12 * rows))))
    held = min(float(each.power[waves - 1] / each.power[-1]) for each in of_templates)
    return Coverage(waves, held, chosen, apart, axes)


def net(grid: RotationGrid, reach: float) -> tuple[NDArray[np.intp], float]:
    """Return rotations of a grid of which one is near every other, and how near.

    Parameters
    ----------
    grid : RotationGrid
        The rotations.
    reach : float
        Degrees, within which one must be of all rotations that the grid covers.
    """
    count = len(grid.rotations)
    half = 0.75 * (grid.spacing or 0.0)  # what the grid itself leaves between
    radius = math.sqrt(max(reach**2 - half**2, 0.0))
    if grid.spacing is None or radius <= grid.spacing:
        return np.arange(count), half
    tree, quaternions = _tree(grid.rotations)
    free = np.ones(count, bool)
    chosen = []
    for i in range(count):
        if free[i]:
            chosen.append(i)
            near = tree.query_ball_point(quaternions[i], _chord(radius))
            free[np.array(near) % count] = False
    return np.array(chosen), reach


def neighbours(rotations: Rotation, reach: float) -> NDArray[np.intp]:
    """Return for each rotation those within so many degrees, (r, some).

    Where there are fewer, it itself fills the row.
    """
    count = len(rotations)
    tree, quaternions = _tree(rotations)
    most = min(32, 2 * count)
    _, found = tree.query(
        quaternions, k=most, distance_upper_bound=_chord(max(reach, 1e-6))
    )
    found = found.reshape(count, -1)
    return np.where(found < 2 * count, found % count, np.arange(count)[:, None])


def _tree(rotations: Rotation) -> tuple[Any, Array]:
    quaternions = rotations.as_quat()
    return (
        scipy.spatial.KDTree(np.concatenate([quaternions, -quaternions])),
        quaternions,
    )


def _chord(angle: float) -> float:
    """Return how far quaternions of rotations are apart, the nearer of q and −q."""
    return 2 * math.sin(math.radians(min(angle, 180.0)) / 4)


def _first(rising: Array, part: float) -> int:
    """Return how many elements of a rising sum hold a part of it."""
    return 1 + int(np.searchsorted(rising, part * rising[-1] * (1 - 1e-12)))


def _reach(of_templates: list[Information], waves: int) -> tuple[float, list[float]]:
    """Return how far the nearest pose tried may be: degrees, voxels along axes."""
    turning = max(
        float(np.linalg.eigvalsh(each.turning[waves - 1])[-1] / each.power[waves - 1])
        for each in of_templates
    )
    loss = 2 * SETTINGS.between
    reach = math.degrees(math.sqrt(loss / max(turning, loss / math.pi**2)))
    moving = np.max(
        [
            np.diag(each.moving[waves - 1]) / each.power[waves - 1]
            for each in of_templates
        ],
        axis=0,
    )
    return reach, [math.sqrt(loss / 3 / max(each, 1e-12)) for each in moving]


def _along(most: float, half: float) -> NDArray[np.float64]:
    """Return shifts along an axis, one within so many voxels of all up to the most."""
    return np.linspace(-most, most, 2 * math.ceil(most / (2 * half) - 1e-9) + 1)


def _about(grid: RotationGrid, reach: float) -> float:
    """Return about how many rotations a net of a grid has."""
    count = len(grid.rotations)
    if grid.spacing is None or grid.spacing == 0:
        return count
    return max(1.0, count * min(1.0, (1.5 * grid.spacing / reach) ** 3))


def _rank(axes: tuple[Array, ...]) -> float:
    """Return about how many products the kernel of a window takes."""
    return math.prod(_RANK * len(each) for each in axes)
