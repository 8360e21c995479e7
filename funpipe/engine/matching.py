"""The alignment engine: arrays in, arrays out.

A subtomogram in its particle's frame is modelled as

    F(k) = a · T_R(k) · exp(−2πi k·t) · W(k) + noise,

with T_R the masked template turned by R, t the shift and W what the tilt series
measured. For white noise the best pose maximises

    score(R, t) = Re Σ W conj(T_R) F exp(2πi k·t) / √(Σ W |T_R|² · Σ W |F|²)

over the frequencies k inside the resolution limit, k = 0 left out, one of each
mirrored pair. With coloured noise W is divided by the noise's power at |k|.

*Units.* The score does not depend on the scale or the level of template, box and W.
So all are brought to size 1 before they become float32, the boxes' mean taken off.

*Band limit.* T_R(k) = T(Rᵀk). T is evaluated once, by products with matrices of
waves, on a grid some times finer than the box's own, and between its points by
linear interpolation. What that does to the template, a factor sinc²(x / L) along
each axis for a grid of period L, is divided out beforehand in real space
(gridding: J. D. O'Sullivan, IEEE Trans. Med. Imaging 4, 200, 1985).

*Search.* Over the ball of frequencies and the window of shifts the kernel has low
rank (A. Rangan et al., Inverse Problems 36, 2020; here by singular vectors),

    exp(2πi k·t) ≈ Σ_c U_c(k) V_c(t),     cos part: U real, sin part: U imaginary,

so that Re Σ W conj(T_R) F exp(2πi k·t) is a product of the real and imaginary parts
of W F U_c with those of T_R, for all particles, c and R at once, and a small product
with V. From the best few poses of each particle `funpipe.engine.gauss_newton` climbs
on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.engine.gauss_newton import Climbed, Poses, Spectra, climb
from funpipe.engine.limits import Limits
from funpipe.engine.seam import Engine, Match
from funpipe.engine.spectra import Fields, sample, template_fields
from funpipe.space.fourier import Tilt, half_ball, transform
from funpipe.space.geometry import RotationGrid, radius
from funpipe.space.precision import normalised

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = ["ENGINE", "Bank", "masked", "match", "template_bank", "whitened"]

Array: TypeAlias = NDArray[Any]
Window: TypeAlias = tuple[float, float, float]

BATCH_BYTES = 48e6  # of the largest arrays of a batch
BANK_BYTES = 150e6  # of the turned templates of a search that is refined
_KERNEL_ERROR = 1e-2  # of exp(2πi k·t), root mean square
_CANDIDATES = 4  # poses of a particle that climb, at the most
_IN_REACH = 0.85  # of the best score: whether a pose of the search may still win
_WIDE_CANDIDATES = 16  # the same two after a search at low resolution
_WIDE_IN_REACH = 0.6
_COARSE = 0.3  # of the waves, the longest: those of the first climb
_COARSE_STEPS = 4
_CONTENDING = 0.95  # of the best score: whether a pose may still win after that climb
_STEPS = 10  # of the climb over all waves
_APART = 1.8  # spacings within which rotations are neighbours
_PHASE = 0.8  # rad that half a spacing of rotations may turn the template's rim
_ROUNDING = 1e-10  # of a power spectrum's mean: what single precision leaves of none


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
        searched = min(searched, max(50, int(BANK_BYTES / (12 * rows))))
    k = (waves / np.array(shape))[:searched]
    fields = tuple(template_fields(each, float(length[-1])) for each in templates)
    shifts = _window_shifts(window)
    spectra = np.concatenate(
        [_turned_spectra(each, k, grid.rotations) for each in fields]
    )
    power = spectra.real**2 + spectra.imag**2
    if power.mean() <= _ROUNDING * np.square(templates).sum(axis=(1, 2, 3)).max():
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


def match(
    boxes: Array,
    orientations: Rotation,
    *,
    bank: Bank,
    tilt: Tilt,
    go_on: Callable[[], None] | None = None,
) -> Match:
    """Find the best pose of each box.

    Parameters
    ----------
    boxes : (n, z, y, x) array
        The subtomograms, each in its particle's frame.
    orientations : Rotation
        n rotations from the particles' frames to the tomogram's.
    bank : Bank
        What to look for, from `template_bank`.
    tilt : callable
        Weight of frequency vectors (3, ...) in the tomogram's frame.
    go_on : callable, optional
        Called before each batch of boxes; what it raises ends the work.

    Returns
    -------
    Match
        For box i: template point q lies at ``R @ (q − c) + c + t``.
    """
    size = _batch_size(bank)
    parts = []
    for i in range(0, len(boxes), size):
        if go_on is not None:
            go_on()
        some = slice(i, i + size)
        parts.append(_match_batch(boxes[some], orientations[some], bank, tilt))
    return Match.concat(parts)


def whitened(bank: Bank, boxes: Array) -> Bank:
    """Return a bank with the noise's power: that of boxes, the mean of shells of |k|.

    The template is weak against the noise in single subtomograms, so that their
    power is taken for the noise's. Each box counts alike, whatever its scale.
    """
    power = (np.abs(_box_spectra(boxes, bank)) ** 2).mean(axis=0, dtype=np.float64)
    length = np.sqrt(((bank.waves / np.array(bank.shape)) ** 2).sum(axis=1))
    shell = np.round(length * min(bank.shape)).astype(int)
    mean = np.bincount(shell, power) / np.maximum(np.bincount(shell), 1)
    return bank._replace(noise=mean[shell])


ENGINE = Engine(template_bank, match, whitened)
"""The package's own."""


def _match_batch(
    boxes: Array,
    orientations: Rotation,
    bank: Bank,
    tilt: Tilt,
) -> Match:
    F = _box_spectra(boxes, bank)
    k = (bank.waves / np.array(bank.shape)).astype(np.float32)
    spectra = Spectra(k, F, _weights(orientations, k, tilt, bank.noise))
    blank = _blank(spectra, bank)
    found = _search(spectra.first(bank.searched), bank)
    limits = Limits(bank.window, bank.grid.limit)
    turning = len(bank.grid.rotations) > 1
    run = partial(climb, fields=bank.fields, limits=limits, turning=turning)
    if not bank.refined:
        there = run(found, spectra, steps=0)  # for the score without the kernel's error
        unknown = np.full(there.variance.shape, np.nan)
        return _best_of(there._replace(variance=unknown), blank, limits, bank.shape)
    # First all candidates at a lower resolution, then the best of them at the full.
    coarse = spectra.first(min(bank.searched, max(50, int(_COARSE * len(k)))))
    found = _contenders(run(found, coarse, steps=_COARSE_STEPS).poses)
    return _best_of(run(found, spectra, steps=_STEPS), blank, limits, bank.shape)


def _weights(
    orientations: Rotation, k: Array, tilt: Tilt, noise: NDArray[Any] | None
) -> NDArray[np.float32]:
    """Return W, at most 1 for each particle."""
    W = np.asarray(
        tilt(np.einsum("nij,kj->ink", orientations.as_matrix(), k)), dtype=np.float64
    )
    if not (W >= 0).all() or np.isinf(W).any():
        worst = W.min() if np.isfinite(W).all() else W[~np.isfinite(W)][0]
        raise ValueError(
            f"tilt must give weights that are finite and 0 or more, not {worst:.6g}"
        )
    if noise is not None:
        there = noise > _ROUNDING * noise.mean()
        W = np.where(there, W / np.where(there, noise, 1), 0)
    largest = W.max(axis=1, keepdims=True)
    return (W / np.where(largest > 0, largest, 1)).astype(np.float32)


def _blank(spectra: Spectra, bank: Bank) -> NDArray[np.bool_]:
    """Tell which boxes have nothing in them at the waves that count."""
    power = (spectra.W * (spectra.F.real**2 + spectra.F.imag**2)).mean(axis=1)
    return np.asarray(power <= _ROUNDING * math.prod(bank.shape))


def _box_spectra(boxes: Array, bank: Bank) -> NDArray[np.complex64]:
    """Return the boxes' Fourier transforms about their centres at the bank's waves."""
    reach = np.abs(bank.waves).max(axis=0)
    z, y, x = (np.arange(-m, m + 1) for m in reach)
    x = x[reach[2] :]
    axes = [each / n for each, n in zip((z, y, x), bank.shape, strict=True)]
    cube = transform(normalised(boxes), axes)
    where = bank.waves + np.array([reach[0], reach[1], 0])
    flat = np.ravel_multi_index(tuple(where.T), cube.shape[1:])
    return cube.reshape(len(boxes), -1)[:, flat]


def _search(spectra: Spectra, bank: Bank) -> Poses:
    """Return the best few poses of each particle, from the grid."""
    W, F = spectra.W, spectra.F
    n, C = len(F), len(bank.U)
    power = (W * (F.real**2 + F.imag**2)).sum(axis=1)
    norms = np.sqrt(np.maximum((W @ bank.power.T) * power[:, None], 1e-30))
    # (C · n, 2N) by (2N, m · r): real and imaginary parts side by side
    left = (bank.U[:, None] * (W * F)).reshape(C * n, -1).view(np.float32)
    products = (left @ bank.spectra.view(np.float32).T).reshape(C, -1)
    best = (bank.V.T @ products).max(axis=0).reshape(n, -1) / norms
    particle, row = _peaks(best, bank)
    at_peaks = bank.V.T @ products.reshape(C, n, -1)[:, particle, row]
    shift = bank.shifts[at_peaks.argmax(axis=0)]
    template, rotation = np.divmod(row, len(bank.matrices))
    return Poses(
        particle,
        template,
        bank.matrices[rotation].astype(np.float64),
        shift.astype(np.float64),
        best[particle, row].astype(np.float64),
    )


def _peaks(best: Array, bank: Bank) -> tuple[Array, Array]:
    """Return which particles and rows of the search are to be refined.

    They are better than all their neighbours, and may be the best after refinement.
    """
    if not bank.refined:
        return np.arange(len(best)), best.argmax(axis=1)
    wide = bank.searched < len(bank.waves)
    reach, most = (
        (_WIDE_IN_REACH, _WIDE_CANDIDATES) if wide else (_IN_REACH, _CANDIDATES)
    )
    grid = best.reshape(len(best), -1, len(bank.matrices))
    highest = grid[..., bank.neighbours].max(axis=-1)
    peaks = np.where(grid >= highest, grid, -np.inf).reshape(best.shape)
    top = np.argsort(-peaks, axis=1, kind="stable")[:, :most]
    scores = np.take_along_axis(peaks, top, axis=1)
    chosen = scores >= _below(scores[:, :1], reach)
    return np.nonzero(chosen)[0], top[chosen]


def _contenders(poses: Poses) -> Poses:
    """Return the poses that may still be their particle's best."""
    top = np.full(poses.particle.max() + 1, -np.inf)
    np.maximum.at(top, poses.particle, poses.score)
    return poses.take(poses.score >= _below(top, _CONTENDING)[poses.particle])


def _below(score: Any, part: float) -> Any:
    """Return a part of a score, or as much less of a negative one."""
    return score - (1 - part) * np.abs(score)


def _best_of(
    climbed: Climbed, blank: Array, limits: Limits, shape: tuple[int, ...]
) -> Match:
    """Return each particle's best pose; of a blank one the pose that it had."""
    from scipy.spatial.transform import Rotation

    poses = climbed.poses
    order = np.lexsort((-poses.score, poses.particle))
    best = order[np.flatnonzero(np.diff(poses.particle[order], prepend=-1))]
    R, t = poses.R[best], poses.t[best]
    R[blank], t[blank] = np.eye(3), 0.0
    turn, move = np.sqrt(climbed.variance[best].T)
    furthest = np.linalg.norm(shape) / 2
    return Match(
        Rotation.from_matrix(R),
        t,
        np.where(blank, 0.0, np.clip(poses.score[best], -1, 1)),
        np.where(blank, 0, poses.template[best]),
        np.where(blank, np.nan, np.minimum(move, furthest)),
        np.where(blank, np.nan, np.minimum(np.degrees(turn), 180.0)),
        ~blank & limits.reached(R, t),
        blank,
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
    reach = 2 * math.sin(math.radians(_APART * (grid.spacing or 4.0)) / 4)
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
        kept = lost > _KERNEL_ERROR**2 * matrix.size
        if not kept[0] or basis.shape[1] == size:
            return (basis @ vectors[:, kept][:, ::-1].astype(np.float32)).T
        count *= 2


def _search_limit(templates: Array, grid: RotationGrid) -> float:
    """Return up to which frequency a search on a grid of rotations makes sense."""
    if grid.spacing is None or grid.spacing == 0:
        return math.inf
    weight = (templates.astype(np.float64) ** 2).sum(axis=0)
    size = math.sqrt((weight * radius(templates.shape[1:]) ** 2).sum() / weight.sum())
    return _PHASE / (2 * math.pi * size * math.radians(grid.spacing) / 2)


def _batch_size(bank: Bank) -> int:
    """Return how many particles fit into the memory of a batch."""
    floats = 2 * len(bank.U) * bank.searched
    floats += (len(bank.U) + len(bank.shifts)) * len(bank.spectra)
    return max(1, min(64, int(BATCH_BYTES / (4 * floats))))
