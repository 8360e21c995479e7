"""The basis of a search: all of it that does not depend on the particles.

Turned templates at the waves of the search, see `funpipe.engine.matching`; which
waves and poses those are, `funpipe.engine.coverage` says.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.engine.amplitude import LADDER
from funpipe.engine.cells import Cells, cells_of
from funpipe.engine.coverage import (
    Coverage,
    Information,
    coverage,
    highest_told,
    information,
    neighbours,
)
from funpipe.engine.kernel import kernel
from funpipe.engine.noise import Noise
from funpipe.engine.prior import FLAT, Prior
from funpipe.engine.settings import SETTINGS
from funpipe.engine.spectra import Fields, filtered, sample, template_fields
from funpipe.space.crops import Support
from funpipe.space.fourier import half_ball
from funpipe.space.geometry import RotationGrid
from funpipe.space.spectra import can_compile
from funpipe.space.symmetry import symmetry_group

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = ["Bank", "masked", "template_bank", "turned_templates"]

Array: TypeAlias = NDArray[Any]
Window: TypeAlias = tuple[float, float, float]


class Dense(NamedTuple):
    """All poses that are weighed, of which the search tries some."""

    spectra: NDArray[np.complex64]
    """(m · r, N of the search), T_R(k) of r rotations, template by template."""
    power: NDArray[np.float32]
    """The same, |T_R(k)|²."""
    U: NDArray[np.complex64]
    """(C, N of the search), the kernel's functions of frequency."""
    V: NDArray[np.float32]
    """(C, S), the kernel's functions of shift."""
    cells: Cells
    """The r rotations and S shifts, and how much of the window is theirs."""
    group: NDArray[np.float64]
    """(g, 4), quaternions of the rotations by which templates look the same."""
    amplitudes: NDArray[np.float64]
    """(J, m), of each template at which a particle is as strong as `LADDER` says."""


class Bank(NamedTuple):
    """All of a search that does not depend on the particles."""

    support: Support
    """What of a box counts."""
    finest: float
    """The shortest period, voxels."""
    k: NDArray[np.float32]
    """(N, 3), the waves that say something of the pose, periods per voxel, the
    longest first."""
    stages: tuple[tuple[int, float], ...]
    """How many of them each stage takes, and the part of the template's power that
    those hold: first the search, then climbs."""
    spectra: NDArray[np.complex64]
    """(m · r, N of the search), T_R(k), template by template."""
    power: NDArray[np.float32]
    """The same, |T_R(k)|²."""
    matrices: NDArray[np.float32]
    """(r, 3, 3), the rotations that are tried."""
    neighbours: NDArray[np.intp]
    """(r, some), the rotations around each, and itself."""
    U: NDArray[np.complex64]
    """(C, N of the search), the kernel's functions of frequency."""
    V: NDArray[np.float32]
    """(C, S), the kernel's functions of shift."""
    shifts: NDArray[np.float64]
    """(S, 3), the shifts that are tried, voxels."""
    window: Window
    """The largest shifts, voxels."""
    grid: RotationGrid
    """The rotations that the search covers."""
    templates: NDArray[np.float32]
    """(m, z, y, x), masked, of a largest value of 1."""
    fields: tuple[Fields, ...]
    """Each template and its derivatives on a fine grid of frequencies, with the data's
    fall-off."""
    refined: bool
    """Whether poses go on from the grid."""
    compiled: bool
    """Whether what takes the most time is compiled."""
    noise: Noise | None = None
    """The noise's power and the data's fall-off; None where all waves are alike."""
    local: tuple[float, float] = (1.0, 1.0)
    """Factors of the variances of rotations and shifts, for noise where the template
    lies, see `funpipe.engine.noise.local_noise`."""
    dense: Dense | None = None
    """What is weighed; None where poses are the best ones found."""


def masked(template: Array, mask: Array) -> Array:
    """Return (template − b) · mask, b the template's value at the edge of the mask.

    Otherwise the mask's own outline, which ends with the box at the latest, would be
    matched. Of all constants, the mean of the template weighted by |∇mask|² leaves
    the least of an edge, Σ |(t − b) ∇mask|².
    """
    slopes = np.gradient(np.pad(mask.astype(np.float64), 1))
    edge = np.sum(np.square(slopes), axis=0)[1:-1, 1:-1, 1:-1]
    return (template - np.float32(np.average(template, weights=edge))) * mask


def template_bank(
    templates: Array,
    grid: RotationGrid,
    window: Window,
    finest: float,
    *,
    support: Support,
    refined: bool = True,
    noise: Noise | None = None,
    compiled: bool | None = None,
) -> Bank:
    """Prepare a search.

    Parameters
    ----------
    templates : (m, z, y, x) array
        The templates, masked.
    grid : RotationGrid
        The rotations to try.
    window : (float, float, float)
        The largest shift along z, y, x, in voxels.
    finest : float
        The finest period that counts, in voxels.
    support : Support
        What of a box counts.
    refined : bool
        Whether poses go on from the grid to the continuous optimum.
    noise : Noise, optional
        Of boxes; by default white, and templates are like the data.
    compiled : bool, optional
        Whether numba compiles what takes the most time; by default if it is there.
    """
    compiled = can_compile() if compiled is None else compiled
    templates = np.stack([each / np.float32(np.abs(each).max()) for each in templates])
    _check_power(templates, finest)
    weights = alike if noise is None else noise.weights
    told_by = alike if noise is None else partial(_of_filtered, noise=noise)
    highest, held = 1 / finest, 1.0
    if refined:
        told = [highest_told(each, finest, told_by) for each in templates]
        highest, held = max(told)[0], min(part for _, part in told)
    k = half_ball(support.periods, 1 / highest) / np.array(support.periods)
    k = k[np.argsort(np.square(k).sum(axis=1), kind="stable")]
    furthest = float(np.linalg.norm(k[-1]))
    fields = [template_fields(each, furthest, compiled=compiled) for each in templates]
    if noise is not None:
        fields = [filtered(each, noise.fall_off) for each in fields]
    if refined:
        known = [information(each, k, weights(k.T)) for each in fields]
        covered = coverage(known, grid, window)
        stages = _stages(known, covered, held)
    else:
        covered = _everything(len(k), grid, window)
        stages = ((len(k), 1.0),)
    rotations = grid.rotations[covered.rotations]
    searched = k[: covered.waves]
    turned = np.concatenate(
        [turned_templates(each, searched, rotations) for each in fields]
    )
    power = turned.real**2 + turned.imag**2
    counted = power.mean(axis=0, dtype=np.float64)
    if noise is not None:
        counted = counted * noise.weights(searched.T)
    U, V = kernel(searched, covered.axes, counted)
    return Bank(
        support,
        finest,
        k.astype(np.float32),
        stages,
        turned,
        power,
        rotations.as_matrix().astype(np.float32),
        neighbours(rotations, SETTINGS.alike * covered.apart),
        U,
        V,
        covered.shifts(),
        window,
        grid,
        templates,
        tuple(fields),
        refined,
        compiled,
        noise,
    )


def alike(k: Array) -> NDArray[np.float64]:
    """Return 1 for each of vectors (3, ...): white noise."""
    return np.ones(k.shape[1:])


def _of_filtered(k: Array, *, noise: Noise) -> NDArray[np.float64]:
    """Return how a template's waves count when it has the data's fall-off."""
    return noise.weights(k) * noise.fall_off(k) ** 2


def with_dense(bank: Bank, prior: tuple[float, float] | None = None) -> Bank:
    """Return a bank with all the poses that are weighed, where poses are refined.

    Those are the grid's; where they would take too much memory or time, those of the
    search, each with the part of the grid that is nearest to it; and none at all where
    those are still too many. ``prior`` are σ and τ of `Prior`, voxels and rad.
    """
    from scipy.spatial.transform import Rotation

    if not bank.refined:
        return bank
    waves = bank.k[: bank.stages[0][0]].astype(float)
    axes = tuple(_weighed(each) for each in bank.window)
    shifts = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    group = symmetry_group(bank.grid.symmetry).as_quat()
    before = FLAT if prior is None else Prior(prior[1], prior[0], group)
    cells = cells_of(bank.grid, shifts, bank.window, before)
    m = len(bank.templates)
    of_row = max(12 * len(waves), 4 * len(shifts))
    most = min(SETTINGS.bank_bytes / of_row, SETTINGS.weighed / len(shifts)) / m
    if len(cells.turns) > most:
        tried = Rotation.from_matrix(bank.matrices)
        if len(tried) > 2 * most:
            if before.flat:
                return bank
            raise ValueError(
                "prior must be None: with these rotations and max_shifts there are "
                "more poses than can be weighed"
            )
        cells = _of_fewer(cells, tried)
    rotations = Rotation.from_quat(cells.quaternions)
    turned = np.concatenate(
        [turned_templates(each, waves, rotations) for each in bank.fields]
    )
    power = turned.real**2 + turned.imag**2
    weights = np.ones(len(waves))
    if bank.noise is not None:
        weights = bank.noise.weights(waves.T)
        # As those of particles, of which the largest is 1.
        weights /= bank.noise.weights(bank.k.T).max() or 1.0
    U, V = kernel(waves, axes, power.mean(axis=0, dtype=np.float64) * weights)
    size = (power * weights).sum(axis=1, dtype=np.float64).reshape(m, -1).mean(axis=1)
    amplitudes = LADDER[:, None] / np.sqrt(np.maximum(size, 1e-30))
    return bank._replace(dense=Dense(turned, power, U, V, cells, group, amplitudes))


def _weighed(most: float) -> NDArray[np.float64]:
    """Return shifts along an axis, a voxel apart or less, from face to face.

    Of half a voxel or less there is one.
    """
    count = math.ceil(most - 1e-9) if most > 0.5 else 0
    return np.linspace(-most, most, 2 * count + 1) if count else np.zeros(1)


def _of_fewer(cells: Cells, rotations: Rotation) -> Cells:
    """Return cells of some rotations, each with those that are nearest to it."""
    quaternions = rotations.as_quat()
    near = np.concatenate(
        [
            np.abs(some @ quaternions.T).argmax(axis=1)
            for some in np.array_split(cells.quaternions, 1 + len(cells.turns) // 2**10)
        ]
    )
    turns = np.bincount(near, cells.turns, len(quaternions)).astype(float)
    spacing = float(turns.mean()) ** (1 / cells.free) if cells.free else 0.0
    return cells._replace(quaternions=quaternions, turns=turns, spacing=spacing)


def _check_power(templates: Array, finest: float) -> None:
    """Refuse templates that have nothing at the waves that count."""
    waves = tuple(half_ball(templates.shape[1:], finest).T)
    F = [scipy.fft.rfftn(each)[waves] for each in templates]
    power = max(float(np.square(np.abs(each)).mean()) for each in F)
    if power <= SETTINGS.rounding * np.square(templates).sum(axis=(1, 2, 3)).max():
        raise ValueError(
            f"template must have waves of {finest:.3g} voxels or more, but has only "
            "shorter ones: there is nothing to align to within the resolution"
        )


def _stages(
    known: list[Information], covered: Coverage, held: float
) -> tuple[tuple[int, float], ...]:
    """Return the waves of the search and the climbs, and their part of the power.

    ``held`` is the part of all of them.
    """
    counts, whole = [covered.waves], len(known[0].power)
    while counts[-1] * SETTINGS.widening < whole:
        counts.append(int(counts[-1] * SETTINGS.widening))
    counts.append(whole)
    parts = [
        held * min(float(each.power[count - 1] / each.power[-1]) for each in known)
        for count in counts
    ]
    return tuple(zip(counts, parts, strict=True))


def _everything(waves: int, grid: RotationGrid, window: Window) -> Coverage:
    """Return all of a grid, all waves, and all whole-voxel shifts."""
    axes = [np.arange(-int(each), int(each) + 1.0) for each in window]
    return Coverage(waves, 1.0, np.arange(len(grid.rotations)), 0.0, tuple(axes))


def turned_templates(fields: Fields, k: Array, rotations: Rotation) -> Array:
    """Return T_R(k) for all rotations, (r, N)."""
    parts = np.array_split(rotations.as_matrix(), 1 + len(rotations) * len(k) // 2**18)
    return np.concatenate(
        [sample(k @ each, fields, 1).reshape(-1, len(k)) for each in parts]
    )
