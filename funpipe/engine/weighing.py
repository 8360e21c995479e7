"""From the best pose of a particle to the mean of all that may be true.

Where the signal is weak the highest score is one of several, and often noise; the
expected squared distance from the truth is least for the posterior mean. Poses are
weighed at the waves of the search, see `funpipe.engine.posterior`, on the whole grid of
rotations, or on the net of the search where the grid is too large, and on shifts no
more than a voxel apart. How strong a particle is in units of the noise is not known: it
is one of a ladder of amplitudes, all as likely before, in equal steps of ln ρ.

What all waves say of the best mode beyond those of the search is added in proportion to
the mode's probability. Of shifts the mean moves by as much of how far the last climbs
moved it, both given what is known before. Of rotations, of which the waves of the
search may say little, it is weighed against what those leave open: from the mean, of
the covariance C, by

    δ = (C⁻¹ + A − A_0)⁻¹ (A p − A_0 p_0),

p and p_0 where the mode is by all waves and by those of the search, and A and A_0 how
precisely: (z² − 2 ln M) S, S the sharpness of the score there, as what is that high by
chance says nothing. Errors are stated as by the waves of the search alone, so that they
are too large where all waves say much more. Of poses on a limit how far beyond it the
climb would go is added to them, where the pose is no chance.

*Strong signals.* With z the score in standard deviations of the noise, of M poses that
are as good as independent the highest is by chance at √(2 ln M). Where z is `SURE`
above that, no other mode comes within `ALONE` of its ln L = z² / 2, and it is narrower
than the grid, the mode is the mean, or what it is given the prior, and nothing is
weighed.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.engine.bank import Bank, Dense
from funpipe.engine.cells import Cells
from funpipe.engine.gauss_newton import Climbed, Poses, Spectra
from funpipe.engine.limits import Limits
from funpipe.engine.posterior import (
    Modes,
    Posterior,
    Products,
    of_modes,
    posterior,
)
from funpipe.engine.seam import Match
from funpipe.engine.settings import SETTINGS
from funpipe.engine.turns import turned, turns_between

__all__ = ["Followed", "significance", "with_means"]

Array: TypeAlias = NDArray[Any]

_WIDEST = 1.3, 3.0  # amplitudes up to so much of z, and so much more, are weighed


_LEAST = 1e-12  # rad² and voxels², that a variance is taken to be
_SAME = 3.0  # errors: poses that are nearer to each other are one mode


class Followed(NamedTuple):
    """Poses that were followed from a search."""

    first: Climbed
    """Where they climbed by the waves of the search."""
    last: Climbed
    """Of those that went on, by all that count."""
    best: NDArray[np.intp]
    """(n,), which of the last is each particle's best."""
    origin: NDArray[np.intp]
    """(n,), and which of the first that was."""
    z: NDArray[np.float64]
    """Of the last, the score in standard deviations of the noise."""


class _Weighed(NamedTuple):
    """What is known of n particles, whatever their amplitude."""

    quaternions: NDArray[np.float64]
    """(n, 4), the mean of rotations."""
    shifts: NDArray[np.float64]
    """(n, 3), voxels."""
    templates: NDArray[np.int64]
    """(n,)."""
    shift_errors: NDArray[np.float64]
    """(n,), voxels."""
    angle_errors: NDArray[np.float64]
    """(n,), degrees."""
    mode_weight: NDArray[np.float64]
    """(n,)."""
    log_evidence: NDArray[np.float64]
    """(n, m, J), at each of the ladder's amplitudes."""


def significance(score: Array, freedom: Array) -> Array:
    """Return a score in standard deviations of the noise."""
    with np.errstate(invalid="ignore"):
        return score * np.sqrt(freedom / np.maximum(1 - score**2, 1e-6))


def with_means(
    match: Match,
    followed: Followed,
    data: Spectra,
    each: Array,
    limits: Limits,
    bank: Bank,
) -> Match:
    """Return posterior means where the signal is weak, and the evidence of all.

    Parameters
    ----------
    match : Match
        The best poses of n particles.
    followed : Followed
        How they were found.
    data : Spectra
        The particles at the waves of the search.
    each : (n,) array
        How many independent waves each wave is, 1 or less.
    limits : Limits
        Poses keep to them.
    bank : Bank
        Of the search, with its `Dense`.
    """
    from scipy.spatial.transform import Rotation

    dense = bank.dense
    assert dense is not None
    sums = _sums(data, each, dense)
    modes = _modes(followed.first, sums.g, dense.cells)
    evidence = of_modes(modes, sums.P, sums.N, dense.cells, dense.amplitudes)
    weight = np.ones(len(each))
    R, t = match.rotations.as_matrix(), match.shifts.copy()
    template, errors = match.templates.copy(), match.shift_errors.copy()
    turns = match.angle_errors.copy()
    # What nothing tells of has no mean; no error of it is finite.
    unknown = np.isinf(followed.last.variance[followed.best]).any(axis=1)
    known = ~(match.blank | unknown)
    prior = dense.cells.prior
    alone = _alone(followed, bank)
    sure = alone & _narrow(followed, dense)
    weak, strong = np.flatnonzero(known & ~sure), np.flatnonzero(known & sure)
    size = max(
        1, int(SETTINGS.batch_bytes / (4 * len(dense.spectra) * dense.V.shape[1]))
    )
    for i in range(0, len(weak), size):
        some = weak[i : i + size]
        products = _products(data, each, sums, dense, some)
        z = followed.z[followed.best[some]]
        found = _means(products, _of(modes, some), dense, z, evidence[some])
        mean = _means_of_all(found, followed, some, sums.N[some], bank)
        R[some], t[some] = limits.within(*mean)
        template[some] = found.templates
        beyond = np.sqrt(followed.last.beyond[followed.best[some]].T) * alone[some]
        turn, move = prior.narrowed(*beyond)
        turns[some] = np.hypot(found.angle_errors, np.degrees(turn))
        errors[some] = np.hypot(found.shift_errors, move)
        weight[some] = found.mode_weight
        evidence[some] = found.log_evidence
    changed = weak
    if not prior.flat:
        best = followed.best[strong]
        held = _held(*followed.last.at(best), followed.z[best], dense.cells)
        R[strong], t[strong] = limits.within(held.R, held.t)
        narrowed = prior.narrowed(np.radians(turns[strong]), errors[strong])
        turns[strong], errors[strong] = np.degrees(narrowed[0]), narrowed[1]
        changed = np.concatenate([weak, strong])
    evidence[match.blank] = np.nan
    rotations = match.rotations
    if len(changed):
        some_turned = rotations.as_quat()
        some_turned[changed] = Rotation.from_matrix(R[changed]).as_quat()
        rotations = Rotation.from_quat(some_turned)
    return match._replace(
        rotations=rotations,
        shifts=t,
        templates=template,
        shift_errors=errors,
        angle_errors=turns,
        log_evidence=evidence,
        mode_weight=np.where(match.blank, np.nan, weight),
    )


def _means_of_all(
    found: _Weighed, followed: Followed, some: Array, N: Array, bank: Bank
) -> tuple[Array, Array]:
    """Return mean poses by all waves, from those by the waves of the search."""
    from scipy.spatial.transform import Rotation

    assert bank.dense is not None
    cells = bank.dense.cells
    best, origin = followed.best[some], followed.origin[some]
    first, last = followed.first.at(origin), followed.last.at(best)
    z = followed.z[best]
    z_0 = significance(first[0].score, N)
    part = np.where(found.templates == last[0].template, found.mode_weight, 0.0)
    start, end = _held(*first, z_0, cells), _held(*last, z, cells)
    moved = found.shifts + part[:, None] * (end.t - start.t)
    narrow = cells.window == 0  # axes that are not weighed
    moved[:, narrow] = end.t[:, narrow]
    ends = _quaternions(last[0].R)
    mean = Rotation.from_quat(_images(found.quaternions, ends, bank.dense.group))
    p_0, p = (
        np.column_stack(
            [
                (mean.inv() * Rotation.from_matrix(each.R)).as_rotvec(),
                each.t - found.shifts,
            ]
        )
        for each in (first[0], last[0])
    )
    A_0, A = (
        np.maximum(np.maximum(each, 0) ** 2 - _by_chance(bank), 0)[:, None, None] * S
        for each, S in ((z_0, first[1]), (z, last[1]))
    )
    step = part[:, None] * _beyond(found, A_0, p_0, A, p)
    return (mean * Rotation.from_rotvec(step[:, :3])).as_matrix(), moved


def _beyond(
    found: _Weighed, A_0: Array, p_0: Array, A: Array, p: Array
) -> NDArray[np.float64]:
    """Return by how much all waves move means, (n, 6), rad and voxels, see above."""
    values, vectors = np.linalg.eigh(A - A_0)
    more = np.einsum("qij,qj,qkj->qik", vectors, np.maximum(values, 0), vectors)
    pull = np.einsum("qij,qj->qi", more, p) + np.einsum("qij,qj->qi", A_0, p - p_0)
    spread = np.radians(found.angle_errors), found.shift_errors
    known = [np.maximum(each**2 / 3, _LEAST) ** -1 for each in spread]
    inverse = np.repeat(np.stack(known, axis=1), 3, axis=1)[..., None] * np.eye(6)
    return np.asarray(np.linalg.solve(inverse + more, pull[..., None])[..., 0])


def _by_chance(bank: Bank) -> float:
    """Return 2 ln M, z² of the highest of M poses where there is only noise."""
    return 2 * math.log(len(bank.spectra) * len(bank.shifts))


def _held(poses: Poses, sharpness: Array, z: Array, cells: Cells) -> Poses:
    """Return poses moved by the prior, from where they have climbed to.

    At their tops ln L is z² / 2, z (Q,), and falls as the square of the score.
    """
    prior = cells.prior
    if prior.flat:
        return poses
    varied = np.r_[[cells.free > 0] * 3, cells.window > 0]
    basis = np.broadcast_to(np.eye(6)[:, varied], (len(z), 6, varied.sum()))
    q = _quaternions(poses.R)
    _, slope, A = prior.at(q, poses.t, basis)
    S = sharpness[:, varied][:, :, varied]
    A = A + np.square(np.maximum(z, 0))[:, None, None] * S
    A = A + 1e-9 * np.eye(varied.sum())  # of what nobody knows anything
    step = np.zeros((len(z), 6))
    step[:, varied] = -np.linalg.solve(A, slope[..., None])[..., 0]
    turns = _matrices(turned(q, step[:, :3]))
    return poses._replace(R=turns, t=poses.t + step[:, 3:])


def _narrow(followed: Followed, dense: Dense) -> NDArray[np.bool_]:
    """Tell which particles' best modes are narrow within the window."""
    turn, move = np.sqrt(followed.last.variance[followed.best].T)
    turn_width, move_width = dense.cells.widths
    narrow = np.ones(len(turn), dtype=bool)
    if dense.cells.free:
        narrow &= turn < SETTINGS.narrow * turn_width
    if move_width.any():
        narrow &= move < SETTINGS.narrow * move_width[move_width > 0].min()
    return narrow


def _alone(followed: Followed, bank: Bank) -> NDArray[np.bool_]:
    """Tell of which particles no mode comes near the best, which is no chance."""
    poses, best, z = followed.last.poses, followed.best, followed.z
    alone = z[best] > math.sqrt(_by_chance(bank)) + SETTINGS.sure
    turn, move = np.sqrt(followed.last.variance[best].T)
    own = best[poses.particle]
    below = (np.square(z[own]) - np.square(np.maximum(z, 0))) / 2
    cosine = np.abs(_quaternions(poses.R) * _quaternions(poses.R[own])).sum(axis=1)
    angle = 2 * np.arccos(np.minimum(cosine, 1.0))
    distance = np.linalg.norm(poses.t - poses.t[own], axis=1)
    # Those within the errors of the best are the same.
    turn, move = (np.where(np.isfinite(each), each, 0) for each in (turn, move))
    other = angle > _SAME * turn[poses.particle] + 1e-3
    other |= distance > _SAME * move[poses.particle] + 1e-2
    other |= poses.template != poses.template[own]
    alone[poses.particle[other & (below < SETTINGS.alone)]] = False
    return np.asarray(alone)


class _Sums(NamedTuple):
    """Of `Products` those that do not depend on shifts."""

    g: Array
    P: Array
    N: Array


def _sums(data: Spectra, each: Array, dense: Dense) -> _Sums:
    W, F = data.W, data.F
    each = each.astype(np.float32)
    return _Sums(
        each[:, None] * (W @ dense.power.T),
        each * (W * (F.real**2 + F.imag**2)).sum(axis=1),
        np.maximum(2.0 * each * (W > 0).sum(axis=1), 8.0),
    )


def _products(
    data: Spectra, each: Array, sums: _Sums, dense: Dense, some: Array
) -> Products:
    """Return the sums over waves of some particles at all poses of the grid."""
    WF = data.W[some] * data.F[some] * each[some, None].astype(np.float32)
    C, rows = len(dense.U), len(dense.spectra)
    left = (dense.U[:, None] * WF).reshape(C * len(some), -1).view(np.float32)
    parts = (left @ dense.spectra.view(np.float32).T).reshape(C, -1)
    x = (dense.V.T @ parts).reshape(-1, len(some), rows)
    return Products(x, *(of_all[some] for of_all in sums))


def _modes(climbed: Climbed, g: Array, cells: Cells) -> Modes:
    """Return climbed poses as modes; Σ W |T_R|² is that of the grid's nearest."""
    poses = climbed.poses
    nearest = np.abs(_quaternions(poses.R) @ cells.quaternions.T).argmax(axis=1)
    row = poses.template * len(cells.turns) + nearest
    return Modes(poses, g[poses.particle, row].astype(float), climbed.sharpness)


def _quaternions(R: Array) -> Array:
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_matrix(R).as_quat())


def _means(
    products: Products, modes: Modes, dense: Dense, z: Array, evidence: Array
) -> _Weighed:
    """Weigh all poses and amplitudes of particles.

    Parameters
    ----------
    products, modes, dense
        Of n particles.
    z : (n,) array
        Of their best poses.
    evidence : (n, m, J) array
        ln of it, where nothing is weighed: at amplitudes that are too high.
    """
    log_evidence = evidence.copy()
    found: list[tuple[Array, Posterior]] = []
    reach = _WIDEST[0] * np.maximum(z, 0) + _WIDEST[1]
    norms = products.g.reshape(len(z), dense.amplitudes.shape[1], -1).mean(axis=2)
    for j, amplitudes in enumerate(dense.amplitudes):
        strength = (amplitudes * np.sqrt(norms)).min(axis=1)
        some = np.flatnonzero((strength <= reach) | (j == 0))
        if len(some):
            here = _posterior(products, modes, dense, amplitudes, some)
            log_evidence[some, :, j] = here.log_evidence
            found.append((some, here))
    return _over_amplitudes(found, log_evidence)


def _posterior(
    products: Products, modes: Modes, dense: Dense, amplitudes: Array, some: Array
) -> Posterior:
    """Return the posterior of some particles; by symmetry, each by the grid around."""
    parts = [some] if len(dense.group) == 1 else [some[[i]] for i in range(len(some))]
    found = []
    for part in parts:
        x, g, P, N = products
        cells, own = dense.cells, _of(modes, part)
        if len(dense.group) > 1 and len(own.g):
            all_of_them = _quaternions(own.poses.R)
            z = significance(own.poses.score, products.N[part])
            likely = np.sign(z) * z**2 / 2 + cells.prior.of_turns(all_of_them)
            top = np.array([likely.argmax()])
            held = _held(own.poses.take(top), own.sharpness[top], z[top], cells)
            best = _quaternions(held.R)[0]
            folded = _images(all_of_them, best, dense.group)
            poses = own.poses._replace(R=_matrices(folded))
            own = own._replace(poses=poses)
            cells = cells._replace(
                quaternions=_images(cells.quaternions, best, dense.group)
            )
        one = Products(x[:, part], g[part], P[part], N[part])
        found.append(posterior(one, cells, amplitudes, own))
    return Posterior._make(map(np.concatenate, zip(*found, strict=True)))


def _of(modes: Modes, some: Array) -> Modes:
    """Return the modes of some particles, numbered anew."""
    number = np.full(max(modes.poses.particle.max(initial=0), some.max()) + 1, -1)
    number[some] = np.arange(len(some))
    new = number[modes.poses.particle]
    kept = new >= 0
    poses = modes.poses._replace(particle=new).take(kept)
    return Modes(poses, modes.g[kept], modes.sharpness[kept])


def _images(quaternions: Array, near: Array, group: Array) -> Array:
    """Return, of rotations (n, 4) that look the same, those nearest to (n, 4) or (4,).

    ``group``, (g, 4), are the rotations that look like none.
    """
    from scipy.spatial.transform import Rotation

    if len(group) == 1:
        return quaternions
    rotations = Rotation.from_quat(quaternions)
    images = np.stack([(rotations * g).as_quat() for g in Rotation.from_quat(group)])
    nearest = np.abs((images * near).sum(axis=2)).argmax(axis=0)
    return np.asarray(images[nearest, np.arange(len(quaternions))])


def _matrices(quaternions: Array) -> Array:
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_quat(quaternions).as_matrix())


def _over_amplitudes(
    found: list[tuple[Array, Posterior]], log_evidence: Array
) -> _Weighed:
    """Return means over amplitudes, of the template that is the most probable."""
    n, m, _ = log_evidence.shape
    weights = np.zeros((n, m, len(found)))
    level = np.full(n, -np.inf)
    for some, each in found:
        np.maximum.at(level, some, each.log_evidence.max(axis=1))
    for i, (some, each) in enumerate(found):
        weights[some, :, i] = np.exp(each.log_evidence - level[some, None])
    template = weights.sum(axis=2).argmax(axis=1)
    share = np.zeros((n, len(found)))
    for i, (some, each) in enumerate(found):
        own = weights[some, template[some], i]
        share[some, i] = np.where(each.templates == template[some], own, 0)
    share /= np.maximum(share.sum(axis=1, keepdims=True), 1e-300)
    matrix, t, weight = np.zeros((n, 4, 4)), np.zeros((n, 3)), np.zeros(n)
    square = np.zeros(n)
    for i, (some, each) in enumerate(found):
        part, q = share[some, i], each.rotations
        matrix[some] += part[:, None, None] * q[:, :, None] * q[:, None]
        t[some] += part[:, None] * each.shifts
        weight[some] += part * np.nan_to_num(each.mode_weight, nan=1.0)
        moved = each.shift_errors**2 + np.square(each.shifts).sum(axis=1)
        square[some] += part * moved
    q = np.linalg.eigh(matrix)[1][:, :, 3]
    angle = np.zeros(n)
    for i, (some, each) in enumerate(found):
        apart = turns_between(q[some], each.rotations)
        turned = np.radians(each.angle_errors) ** 2 + apart**2
        angle[some] += share[some, i] * turned
    distance = np.sqrt(np.maximum(square - np.square(t).sum(axis=1), 0))
    turn = np.degrees(np.sqrt(angle))
    return _Weighed(q, t, template, distance, turn, weight, log_evidence)
