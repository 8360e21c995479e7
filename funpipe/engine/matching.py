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
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.engine.bank import Bank, template_bank
from funpipe.engine.gauss_newton import Climbed, Poses, Spectra, climb
from funpipe.engine.limits import Limits
from funpipe.engine.seam import Engine, Match
from funpipe.engine.settings import SETTINGS
from funpipe.space.fourier import Tilt, check_weights, transform
from funpipe.space.precision import normalised

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = ["ENGINE", "match", "whitened"]

Array: TypeAlias = NDArray[Any]
Window: TypeAlias = tuple[float, float, float]


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
    coarse = spectra.first(min(bank.searched, max(50, int(SETTINGS.coarse * len(k)))))
    found = _contenders(run(found, coarse, steps=SETTINGS.coarse_steps).poses)
    return _best_of(
        run(found, spectra, steps=SETTINGS.steps), blank, limits, bank.shape
    )


def _weights(
    orientations: Rotation, k: Array, tilt: Tilt, noise: NDArray[Any] | None
) -> NDArray[np.float32]:
    """Return W, at most 1 for each particle."""
    vectors = np.einsum("nij,kj->ink", orientations.as_matrix(), k)
    W = check_weights(tilt(vectors), vectors.shape[1:])
    if noise is not None:
        there = noise > SETTINGS.rounding * noise.mean()
        W = np.where(there, W / np.where(there, noise, 1), 0)
    largest = W.max(axis=1, keepdims=True)
    return (W / np.where(largest > 0, largest, 1)).astype(np.float32)


def _blank(spectra: Spectra, bank: Bank) -> NDArray[np.bool_]:
    """Tell which boxes have nothing in them at the waves that count."""
    power = (spectra.W * (spectra.F.real**2 + spectra.F.imag**2)).mean(axis=1)
    return np.asarray(power <= SETTINGS.rounding * math.prod(bank.shape))


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
        (SETTINGS.wide_in_reach, SETTINGS.wide_candidates)
        if wide
        else (SETTINGS.in_reach, SETTINGS.candidates)
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
    return poses.take(poses.score >= _below(top, SETTINGS.contending)[poses.particle])


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


def _batch_size(bank: Bank) -> int:
    """Return how many particles fit into the memory of a batch."""
    floats = 2 * len(bank.U) * bank.searched
    floats += (len(bank.U) + len(bank.shifts)) * len(bank.spectra)
    return max(1, min(64, int(SETTINGS.batch_bytes / (4 * floats))))
