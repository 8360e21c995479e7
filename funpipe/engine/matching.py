"""The alignment engine: arrays in, arrays out.

A subtomogram in its particle's frame is modelled as

    F(k) = a · T_R(k) · exp(−2πi k·t) + noise   where W(k) > 0,

with T_R the masked template turned by R, t the shift and W what the tilt series
measured. Where a tilt series has dose or contrast transfer, F is the data over what
that leaves of a wave, see `funpipe.engine.data`. For white noise the best pose
maximises

    score(R, t) = Re Σ W conj(T_R) F exp(2πi k·t) / √(Σ W |T_R|² · Σ W |F|²)

over the frequencies k inside the resolution limit, k = 0 left out, one of each
mirrored pair. With `whitened` W is divided by the noise's power at |k|, and T is
multiplied by what the data have of it there, see `funpipe.engine.noise`.

*Units.* The score does not depend on the scale or the level of template, box and W.
So all are brought to size 1 before they become float32, the boxes' mean taken off.

*Support.* Of a subtomogram only what lies within the template's reach and the shifts
tried counts, see `funpipe.space.crops`: F is the transform of that, and k are as far
apart as its size asks for.

*Masks.* What a mask cuts off a template still lies in the box, where the model has
nothing, and is no noise: it pulls poses by as much as it looks like a small turn or
shift of what is left. That bounds how exact poses can be without noise. The mask says
what of the template to believe, so that the rest cannot be put into the model.

*Band limit.* T_R(k) = T(Rᵀk). T is evaluated once on a grid some times finer than the
box's own, and between its points by linear interpolation, see
`funpipe.engine.spectra`.

*Search.* Over the ball of frequencies and the window of shifts the kernel has low
rank, exp(2πi k·t) ≈ Σ_c U_c(k) V_c(t), see `funpipe.engine.kernel`, so that
Re Σ W conj(T_R) F exp(2πi k·t) is a product of the real and imaginary parts of W F U_c
with those of T_R, for all particles, c and R at once, and a small product with V.

*Stages.* The search takes the longest waves, which hold a part p of the template's
power, and no more poses than those tell apart (`funpipe.engine.coverage`). From its
best poses `funpipe.engine.gauss_newton` climbs on, with more waves each time, and at
last with all that say something of the pose. In units of the noise's standard
deviation let z be a pose's score with some waves, z' with all. For white noise and
given z, z' lies around z / √p, with a variance of (1 − p) / p; and that of another pose
likewise, the noise of waves left out being another. So a pose goes on while

    z ≥ z_best − ((1 − p) z_best + m √(2 (1 − p))) / √p,

z_best the highest, m standard deviations (`Settings.missed`) from which the chance that
the best is lost follows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.engine.bank import Bank, template_bank, with_dense
from funpipe.engine.data import Whole, sampled, seen_by
from funpipe.engine.gauss_newton import Climbed, Poses, Spectra, climb
from funpipe.engine.limits import Limits
from funpipe.engine.noise import Noise, Sums, believed, local_noise, sums
from funpipe.engine.seam import Engine, Match
from funpipe.engine.settings import SETTINGS
from funpipe.engine.shells import shells_of
from funpipe.engine.spectra import template_fields
from funpipe.engine.weighing import Followed, significance, with_means
from funpipe.space.crops import (
    Crops,
    window_power,
)
from funpipe.space.fourier import half_ball
from funpipe.space.tilts import Tilt
from funpipe.space.transfer import taken

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = ["ENGINE", "match", "whitened"]

Array: TypeAlias = NDArray[Any]
Window: TypeAlias = tuple[float, float, float]


def match(
    boxes: Crops,
    orientations: Rotation,
    *,
    bank: Bank,
    tilt: Tilt,
    go_on: Callable[[], None] | None = None,
) -> Match:
    """Find the best pose of each box.

    Parameters
    ----------
    boxes : Crops
        The n subtomograms.
    orientations : Rotation
        n rotations from the particles' frames to the tomogram's.
    bank : Bank
        What to look for, from `template_bank`.
    tilt : callable
        Weight of frequency vectors (3, ...) in the tomogram's frame.
    go_on : callable, optional
        Called before each step of each batch of boxes; what it raises ends the work.

    Returns
    -------
    Match
        For box i: template point q lies at ``R @ (q − c) + c + t``.
    """
    go_on = _go_on if go_on is None else go_on
    parts = []
    size = _batch_size(bank)
    for i in range(0, len(boxes.values), size):
        some = slice(i, i + size)
        batch = boxes.take(some), orientations[some], bank, taken(tilt, some)
        parts.append(_match_batch(*batch, go_on))
    return Match.concat(parts)


def _go_on() -> None:
    """Go on."""


def _batch_size(bank: Bank) -> int:
    """Return how many particles fit into the memory of a batch."""
    C, rows = len(bank.U), len(bank.spectra)
    floats = 2 * C * bank.stages[0][0] + (C + bank.neighbours.shape[1] + 4) * rows
    return max(1, min(_BATCH, int(SETTINGS.batch_bytes / (4 * floats))))


_BATCH = 128  # particles


def whitened(bank: Bank, sample: Sequence[tuple[Crops, Rotation, Tilt]]) -> Bank:
    """Return a bank that knows the noise, and what the data have of the templates.

    The sample is matched, at first as if all that is in it were noise. From what its
    best poses leave of it follow the noise's power, the fall-off, and how much less
    noise there is where the templates lie, all by shells of |k| and alike for all
    particles. Each particle counts alike, whatever its scale.

    Parameters
    ----------
    bank : Bank
        Without any of that.
    sample : sequence of (Crops, Rotation, tilt)
        Some particles of all tomograms, as `match` takes them.
    """
    k = half_ball(bank.support.periods, bank.finest) / np.array(bank.support.periods)
    k = k[np.argsort(np.square(k).sum(axis=1), kind="stable")].astype(np.float32)
    shells = shells_of(k, max(bank.support.periods))
    sample = _thinned(sample, len(k))
    seen = [sampled(*each, bank, k, shells.edges) for each in sample]
    power = np.sum([each.power for each in seen], axis=0)
    if not power.any():
        return bank
    first = _with_noise(bank, Noise(shells, power, np.ones(len(power))))
    found = [match(*each[:2], bank=first, tilt=each[2]) for each in sample]
    there = [
        (_poses(each), of_each.data)
        for each, of_each in zip(found, seen, strict=True)
        if not each.blank.all()
    ]
    if not there:
        return bank
    furthest = float(np.linalg.norm(k[-1]))
    fields = tuple(
        template_fields(each, furthest, compiled=bank.compiled)
        for each in bank.templates
    )
    compared = [sums(*each, fields, shells.edges) for each in there]
    noise = believed(
        Sums._make(map(np.concatenate, zip(*compared, strict=True))), shells
    )
    if not noise.fall.any():
        return first
    known = _with_noise(bank, noise)
    if not bank.refined:
        return known
    weights = noise.weights(known.k.T).astype(np.float32)
    factors = []
    for poses, data in there:
        data = data.first(len(known.k))  # the same waves, the longest
        data = data._replace(W=data.W * weights)
        factors.append(local_noise(poses, data, known.fields))
    windows = [window_power(crops, bank.support) for crops, _, _ in sample]
    dense = np.concatenate(windows).mean() / np.prod(bank.support.periods)
    # More than elsewhere is no noise: what the model lacks, alike in all particles.
    turning, moving = np.minimum(np.concatenate(factors).mean(axis=0) * dense, 1)
    return known._replace(local=(float(turning), float(moving)))


_HELD = 2**24  # waves of all particles of a sample


def _thinned(
    sample: Sequence[tuple[Crops, Rotation, Tilt]], waves: int
) -> list[tuple[Crops, Rotation, Tilt]]:
    """Return so many of a sample's particles, evenly spread, as memory holds."""
    count = sum(len(crops.values) for crops, _, _ in sample)
    some = slice(None, None, 1 + (count * waves - 1) // _HELD)
    return [
        (crops.take(some), orientations[some], taken(tilt, some))
        for crops, orientations, tilt in sample
    ]


def _with_noise(bank: Bank, noise: Noise) -> Bank:
    where = bank.templates, bank.grid, bank.window, bank.finest
    return template_bank(
        *where,
        support=bank.support,
        refined=bank.refined,
        noise=noise,
        compiled=bank.compiled,
    )


def _poses(found: Match) -> Poses:
    """Return the poses of those that are not blank."""
    there = np.flatnonzero(~found.blank)
    some = found.take(there)
    R = some.rotations.as_matrix()
    return Poses(there, some.templates, R, some.shifts, some.scores)


ENGINE = Engine(template_bank, match, whitened, with_dense)
"""The package's own."""


def _match_batch(
    boxes: Crops,
    orientations: Rotation,
    bank: Bank,
    tilt: Tilt,
    go_on: Callable[[], None],
) -> Match:
    go_on()
    data, whole = seen_by(boxes, orientations, tilt, bank)
    limits = Limits(bank.window, bank.grid.limit)
    # Of how many waves each one tells, where they are denser than the data ask for.
    of_window = window_power(boxes, bank.support) / np.prod(bank.support.periods)
    freedom = 2 * np.minimum(of_window, 1)
    run = partial(
        climb,
        fields=bank.fields,
        limits=limits,
        turning=len(bank.grid.rotations) > 1,
        correlation=1 / float(of_window.mean()),
    )
    searched, part = bank.stages[0]
    go_on()
    found = _search(data.first(searched), part, freedom, bank)
    if not bank.refined:
        there = run(found, data, steps=0)  # for the score without the kernel's error
        unknown = np.full(there.variance.shape, np.nan)
        never = np.zeros(len(unknown), bool)
        climbed = there._replace(variance=unknown, converged=never)
        return _best_of(climbed, _best(climbed.poses), whole, data, limits, bank)
    reached, origin = [], np.arange(len(found.score))
    for count, part in bank.stages[:-1]:
        go_on()
        some = data.first(count)
        reached.append(run(found, some, steps=SETTINGS.first_steps))
        found = reached[-1].poses
        chosen = _contending(found, some, part, freedom)
        found, origin = found.take(chosen), origin[chosen]
    go_on()
    climbed = run(found, data, steps=SETTINGS.steps)
    climbed = climbed._replace(variance=climbed.variance * bank.local)
    best = _best(climbed.poses)
    match = _best_of(climbed, best, whole, data, limits, bank)
    if bank.dense is None:
        return match
    z = significance(
        climbed.poses.score, _freedom(data, freedom)[climbed.poses.particle]
    )
    go_on()
    followed = Followed(reached[0], climbed, best, origin[best], z)
    return with_means(match, followed, data.first(searched), freedom / 2, limits, bank)


def _best(poses: Poses) -> NDArray[np.intp]:
    """Return which is each particle's best."""
    order = np.lexsort((-poses.score, poses.particle))
    return order[np.flatnonzero(np.diff(poses.particle[order], prepend=-1))]


def _search(data: Spectra, part: float, freedom: Array, bank: Bank) -> Poses:
    """Return the best poses of each particle among those that are tried."""
    W, F = data.W, data.F
    n, C, rows = len(F), len(bank.U), len(bank.spectra)
    power = (W * (F.real**2 + F.imag**2)).sum(axis=1)
    norms = np.sqrt(np.maximum((W @ bank.power.T) * power[:, None], 1e-30))
    # (C · n, 2N) by (2N, m · r): real and imaginary parts side by side
    left = (bank.U[:, None] * (W * F)).reshape(C * n, -1).view(np.float32)
    products = (left @ bank.spectra.view(np.float32).T).reshape(C, -1)
    best = np.empty(n * rows, np.float32)
    size = max(1, _TABLE // len(bank.shifts))
    for i in range(0, n * rows, size):
        some = slice(i, i + size)
        np.max(bank.V.T @ products[:, some], axis=0, out=best[some])
    scores = best.reshape(n, rows) / norms
    particle, row = _peaks(scores, _freedom(data, freedom), part, bank)
    at_peaks = bank.V.T @ products.reshape(C, n, -1)[:, particle, row]
    shift = bank.shifts[at_peaks.argmax(axis=0)]
    template, rotation = np.divmod(row, len(bank.matrices))
    return Poses(
        particle,
        template,
        bank.matrices[rotation].astype(np.float64),
        shift.astype(np.float64),
        scores[particle, row].astype(np.float64),
    )


_TABLE = 2**20  # scores at all shifts that are held at a time, in the cache


def _peaks(
    scores: Array, freedom: Array, part: float, bank: Bank
) -> tuple[Array, Array]:
    """Return which particles and rows of the search go on.

    They are better than all their neighbours, and may be the best in the end.
    """
    if not bank.refined:
        return np.arange(len(scores)), scores.argmax(axis=1)
    grid = scores.reshape(len(scores), -1, len(bank.matrices))
    highest = grid[..., bank.neighbours].max(axis=-1)
    peaks = np.where(grid >= highest, grid, -np.inf).reshape(scores.shape)
    top = np.argsort(-peaks, axis=1, kind="stable")[:, : SETTINGS.candidates]
    z = significance(np.take_along_axis(peaks, top, axis=1), freedom[:, None])
    lost = 2 * SETTINGS.between * np.maximum(z[:, :1], 0)
    chosen = z >= z[:, :1] - _margin(z[:, :1], part) - lost
    return np.nonzero(chosen)[0], top[chosen]


def _contending(poses: Poses, data: Spectra, part: float, freedom: Array) -> Array:
    """Tell which poses may still be their particle's best."""
    z = significance(poses.score, _freedom(data, freedom)[poses.particle])
    top = np.full(len(data.F), -np.inf)
    np.maximum.at(top, poses.particle, z)
    top = top[poses.particle]
    return np.asarray(z >= top - _margin(top, part))


def _freedom(data: Spectra, each: Array) -> NDArray[np.float64]:
    """Return how many independent numbers the data are, if each wave is so many."""
    return np.maximum(each * (data.W > 0).sum(axis=1), 8.0)


def _margin(z: Array, part: float) -> Array:
    """Return by how much a pose may be less significant than the best."""
    left = max(1 - part, 0.0)
    return (left * np.maximum(z, 0) + SETTINGS.missed * np.sqrt(2 * left)) / np.sqrt(
        part
    )


def _best_of(
    climbed: Climbed,
    best: Array,
    whole: Whole,
    data: Spectra,
    limits: Limits,
    bank: Bank,
) -> Match:
    """Return each particle's best pose; of a blank one the pose that it had."""
    from scipy.spatial.transform import Rotation

    poses, blank = climbed.poses, whole.blank
    R, t = poses.R[best], poses.t[best]
    R[blank], t[blank] = np.eye(3), 0.0
    used = (data.W * (data.F.real**2 + data.F.imag**2)).sum(axis=1)
    # Of the template's waves that are left out the data are taken to have as much.
    part = np.sqrt(used / np.maximum(whole.power, 1e-30) / bank.stages[-1][1])
    score = poses.score[best] * part
    turn, move = np.sqrt(climbed.variance[best] + climbed.beyond[best]).T
    furthest = np.linalg.norm(bank.support.box) / 2
    return Match(
        Rotation.from_matrix(R),
        t,
        np.where(blank, 0.0, np.clip(score, -1, 1)),
        np.where(blank, 0, poses.template[best]),
        np.where(blank, np.nan, np.minimum(move, furthest)),
        np.where(blank, np.nan, np.minimum(np.degrees(turn), 180.0)),
        ~blank & limits.reached(R, t),
        ~blank & climbed.converged[best],
        blank,
    )
