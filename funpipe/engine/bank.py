"""The basis of a search: all of it that does not depend on the particles.

Turned templates at the waves of the search, the neighbours of each rotation, and the
kernel exp(2πi k·t) as a sum of few products, see `funpipe.engine.matching`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.engine.settings import SETTINGS
from funpipe.engine.spectra import Fields, sample, template_fields
from funpipe.space.fourier import half_ball
from funpipe.space.geometry import RotationGrid, radius

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = ["Bank", "masked", "template_bank"]

Array: TypeAlias = NDArray[Any]
Window: TypeAlias = tuple[float, float, float]


class Bank(NamedTuple):
    """All of a search that does not depend on the particles."""

    shape: tuple[int, int, int]
    """Voxels of a box."""
    waves: NDArray[np.int64]
    """(N, 3), the frequencies k in periods per box; those searched first."""
    searched: int
    """How many of them the search uses: a wide one starts at low resolution."""
    spectra: NDArray[np.complex64]
    """(m · r, searched), T_R(k), template by template."""
    power: NDArray[np.float32]
    """(m · r, searched), |T_R(k)|²."""
    grid: RotationGrid
    """The r rotations."""
    matrices: NDArray[np.float32]
    """(r, 3, 3), the same."""
    neighbours: NDArray[np.intp]
    """(r, some), the rotations around each, and itself."""
    U: NDArray[np.complex64]
    """(C, searched), the kernel's functions of frequency."""
    V: NDArray[np.float32]
    """(C, S), the kernel's functions of shift."""
    shifts: NDArray[np.int64]
    """(S, 3), the whole-voxel shifts of the window."""
    window: Window
    """The largest shifts, voxels."""
    fields: tuple[Fields, ...]
    """Each template and its derivatives on a fine grid of frequencies."""
    refined: bool
    """Whether poses go on from the grid."""
    noise: NDArray[np.float64] | None = None
    """(N,), the noise's power at each wave; None where it is white."""


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
    refined: bool = True,
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
    refined : bool
        Whether poses go on from the grid to the continuous optimum.
    """
    templates = np.stack([each / np.float32(np.abs(each).max()) for each in templates])
    shape = templates.shape[1:]
    waves = half_ball(shape, finest)
    length = np.sqrt(((waves / np.array(shape)) ** 2).sum(axis=1))
    order = np.argsort(length, kind="stable")
    waves, length = waves[order], length[order]
    limit = _search_limit(templates, grid) if refined else math.inf
    searched = max(int((length <= limit).sum()), min(len(waves), 50))
    if refined:
        rows = len(templates) * len(grid.rotations)
        searched = min(searched, max(50, int(SETTINGS.bank_bytes / (12 * rows))))
    k = (waves / np.array(shape))[:searched]
    fields = tuple(template_fields(each, float(length[-1])) for each in templates)
    shifts = _window_shifts(window)
    spectra = np.concatenate(
        [_turned_spectra(each, k, grid.rotations) for each in fields]
    )
    power = spectra.real**2 + spectra.imag**2
    if (
        power.mean()
        <= SETTINGS.rounding * np.square(templates).sum(axis=(1, 2, 3)).max()
    ):
        raise ValueError(
            f"template must have waves of {finest:.3g} voxels or more, but has only "
            "shorter ones: there is nothing to align to within the resolution"
        )
    U, V = _kernel(k, shifts, power.mean(axis=0, dtype=np.float64))
    return Bank(
        shape,
        waves,
        searched,
        spectra,
        power,
        grid,
        grid.rotations.as_matrix().astype(np.float32),
        _neighbours(grid),
        U,
        V,
        shifts,
        window,
        fields,
        refined,
    )


def _turned_spectra(fields: Fields, k: Array, rotations: Rotation) -> Array:
    """Return T_R(k) for all rotations, (r, N)."""
    parts = np.array_split(rotations.as_matrix(), 1 + len(rotations) * len(k) // 2**18)
    return np.concatenate(
        [
            sample((k @ each).reshape(-1, 3), fields, 1).reshape(-1, len(k))
            for each in parts
        ]
    )


def _neighbours(grid: RotationGrid) -> NDArray[np.intp]:
    """Return the rotations within some spacings of each; itself where there are fewer.

    Quaternions q and q' of rotations an angle φ apart are 2 sin(φ / 4) apart, for
    the nearer of q' and −q'.
    """
    count = len(grid.rotations)
    quaternions = grid.rotations.as_quat()
    reach = 2 * math.sin(math.radians(SETTINGS.apart * (grid.spacing or 4.0)) / 4)
    tree = scipy.spatial.KDTree(np.concatenate([quaternions, -quaternions]))
    most = min(32, 2 * count)
    _, found = tree.query(quaternions, k=most, distance_upper_bound=reach)
    found = found.reshape(count, -1)
    return np.where(found < 2 * count, found % count, np.arange(count)[:, None])


def _window_shifts(window: Window) -> NDArray[np.int64]:
    axes = [np.arange(-int(each), int(each) + 1) for each in window]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def _kernel(k: Array, shifts: Array, power: Array) -> tuple[Array, Array]:
    """Return U (C, N) and V (C, S) with exp(2πi k·t) ≈ Σ_c U_c(k) V_c(t).

    Frequencies count by the template's power at them.
    The cosine is even in t and the sine odd, so that each is decomposed on one half
    of the window.
    """
    half = len(shifts) // 2 + 1  # of each pair t, −t the first, and t = 0
    mirror = np.arange(len(shifts))[::-1][:half]
    angle = (2 * np.pi * (k @ shifts[:half].T)).astype(np.float32)
    root = np.sqrt(power / power.mean()).astype(np.float32)[:, None]
    U, V = [], []
    for wave, sign, unit in ((np.cos, 1, 1), (np.sin, -1, 1j)):
        part = wave(angle)
        right = _main_rows(root * part)
        whole = np.empty((len(right), len(shifts)), np.float32)
        whole[:, :half] = right
        whole[:, mirror] = sign * right
        U.append(unit * (right @ part.T))
        V.append(whole)
    return np.concatenate(U).astype(np.complex64), np.concatenate(V)


def _main_rows(matrix: Array) -> Array:
    """Return orthonormal rows (C, S), as few as span an (N, S) matrix well enough.

    Those of a large matrix are sought in a random subspace that one power iteration
    has turned towards them (N. Halko et al., SIAM Review 53, 217, 2011).
    """
    size = matrix.shape[1]
    total = float((matrix**2).sum(dtype=np.float64))
    random = np.random.default_rng(0)
    count = 256
    while True:
        basis = np.eye(size, dtype=np.float32)
        if 2 * count < size:
            start = random.standard_normal((size, count), dtype=np.float32)
            basis = np.linalg.qr(matrix.T @ (matrix @ start))[0]
        inside = matrix @ basis
        power, vectors = np.linalg.eigh((inside.T @ inside).astype(np.float64))
        lost = total - power.sum() + np.cumsum(power)  # with those up to each
        kept = lost > SETTINGS.kernel_error**2 * matrix.size
        if not kept[0] or basis.shape[1] == size:
            return (basis @ vectors[:, kept][:, ::-1].astype(np.float32)).T
        count *= 2


def _search_limit(templates: Array, grid: RotationGrid) -> float:
    """Return up to which frequency a search on a grid of rotations makes sense."""
    if grid.spacing is None or grid.spacing == 0:
        return math.inf
    weight = (templates.astype(np.float64) ** 2).sum(axis=0)
    size = math.sqrt((weight * radius(templates.shape[1:]) ** 2).sum() / weight.sum())
    return SETTINGS.phase / (2 * math.pi * size * math.radians(grid.spacing) / 2)
