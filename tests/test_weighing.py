"""Where a signal is weak, poses are the mean of all that may be true: plain sums."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy
from scipy.spatial.transform import Rotation

from funpipe.engine import weighing
from funpipe.engine.amplitude import LADDER
from funpipe.engine.bank import template_bank, with_dense
from funpipe.engine.data import seen_by
from funpipe.engine.gauss_newton import Climbed, Poses
from funpipe.engine.matching import match
from funpipe.engine.posterior import (
    Modes,
    Posterior,
    log_likelihood,
)
from funpipe.engine.prior import FLAT, Prior
from funpipe.engine.settings import SETTINGS
from funpipe.engine.turns import turns_between
from funpipe.engine.weighing import Followed
from funpipe.simulate import asymmetric_molecule, blob_image, particles
from funpipe.space.crops import whole_box, whole_boxes
from funpipe.space.geometry import rotation_grid
from funpipe.space.symmetry import symmetry_group
from funpipe.space.tilts import as_tilt

BOX = (16, 16, 16)
BLOBS = [asymmetric_molecule(seed, radius=5.0, sigma=1.3) for seed in (5, 6)]
TEMPLATES = np.stack([blob_image(each, BOX, 1.0) for each in BLOBS]).astype(np.float32)
TILT = as_tilt("tilt", (-60, 60))


def bank_of(count=1, rotations=((9, 3),) * 3, window=(1.0, 1.0, 2.0)):
    grid = rotation_grid(rotations)
    bank = template_bank(TEMPLATES[:count], grid, window, 4.0, support=whole_box(BOX))
    return with_dense(bank)


BANK = bank_of()


def made_of(count, noise, which=0, **options):
    unit = float(TEMPLATES[0][np.abs(TEMPLATES[0]) > 0.1 * TEMPLATES[0].max()].std())
    options = {"angle": 9.0, "shift": 1.0, "tilt": (-60, 60), "seed": 3, **options}
    return particles(BLOBS[which], BOX, 1.0, count, noise=noise * unit, **options)


def matched(made, bank):
    crops = whole_boxes(made.boxes)
    return match(crops, made.orientations, bank=bank, tilt=TILT)


def plain_sums(made, bank):
    """Return ln L of all poses of the grid at amplitudes, (n, J, m, r, S), by loops."""
    data, _ = seen_by(whole_boxes(made.boxes), made.orientations, TILT, bank)
    data = data.first(bank.stages[0][0])
    cells, dense = bank.dense.cells, bank.dense
    waves = np.exp(2j * np.pi * (data.k @ cells.shifts.T))
    found = []
    for F, W in zip(data.F, data.W, strict=True):
        x = ((W * F) * dense.spectra.conj() @ waves).real
        g = (np.abs(dense.spectra) ** 2) @ W
        P, N = (W * np.abs(F) ** 2).sum(), 2 * (W > 0).sum()
        m, r = dense.amplitudes.shape[1], len(cells.turns)
        each = []
        for amplitudes in dense.amplitudes:
            rho = np.repeat(amplitudes, r)[:, None]
            ln, _ = log_likelihood(x, g[:, None], P, N, rho)
            each.append(ln.reshape(m, r, -1))
        found.append(each)
    return np.array(found)


# As a whole.


@pytest.mark.parametrize("count", [1, 2])
def test_weak_particles_are_at_the_mean_over_poses_and_amplitudes(count):
    bank = bank_of(count)
    searched = bank.stages[0][0]  # by all waves that the climbs have
    bank = bank._replace(k=bank.k[:searched], stages=((searched, 1.0),) * 2)
    made = made_of(5, 12.0, seed=count)
    found = matched(made, bank)
    cells = bank.dense.cells
    ln = plain_sums(made, bank)
    share = cells.turns[:, None] * cells.moves
    evidence = scipy.special.logsumexp(ln, axis=(3, 4), b=share / cells.volume)
    assert found.log_evidence.shape == (5, count, len(LADDER))
    quaternions = cells.quaternions
    for i in range(5):
        # Those amplitudes that matter; strong ones are known less exactly.
        near = evidence[i] > evidence[i].max() - 3
        np.testing.assert_allclose(
            found.log_evidence[i].T[near], evidence[i][near], atol=0.25
        )
        weight = np.exp(ln[i] - ln[i].max()) * share
        m = weight.sum(axis=(0, 2, 3)).argmax()
        assert found.templates[i] == m
        weight = weight[:, m].sum(axis=0) / weight[:, m].sum()
        of_shifts, of_turns = weight.sum(axis=0), weight.sum(axis=1)
        t = of_shifts @ cells.shifts
        np.testing.assert_allclose(found.shifts[i], t, atol=0.15)
        spread = np.sqrt(of_shifts @ np.square(cells.shifts - t).sum(axis=1))
        assert found.shift_errors[i] == pytest.approx(spread, rel=0.15)
        q = np.linalg.eigh((quaternions.T * of_turns) @ quaternions)[1][:, 3]
        own = found.rotations[i].as_quat()
        angle = np.degrees(np.sqrt(of_turns @ turns_between(q, quaternions) ** 2))
        # The last climb goes on by a part of the error, where that is large.
        assert np.degrees(turns_between(q, own)) < 0.5 * angle
        assert found.angle_errors[i] == pytest.approx(angle, rel=0.15)
    assert (found.mode_weight > 0).all() and (found.mode_weight <= 1).all()


def test_particles_that_are_sure_are_at_their_best_pose():
    made = made_of(4, 0.2)
    found, best = matched(made, BANK), matched(made, BANK._replace(dense=None))
    for one, other in zip(found[1:8], best[1:8], strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(found.mode_weight, 1)
    # The evidence rises with the amplitude up to the particle's own.
    assert (found.log_evidence[:, 0].argmax(axis=1) > 8).all()


def test_blank_boxes_have_no_evidence_and_axes_that_are_not_searched_stay():
    made = made_of(3, 12.0)
    made.boxes[1] = 0
    bank = bank_of(window=(0.0, 1.0, 0.4))
    found = matched(made, bank)
    assert np.isnan(found.log_evidence[1]).all() and np.isnan(found.mode_weight[1])
    assert np.isfinite(found.log_evidence[[0, 2]]).all()
    assert bank.dense.cells.window.tolist() == [0, 1, 0]
    best = matched(made, bank._replace(dense=None))
    np.testing.assert_allclose(found.shifts[:, [0, 2]], best.shifts[:, [0, 2]])
    assert np.abs(found.shifts[[0, 2], 1] - best.shifts[[0, 2], 1]).max() > 1e-3


def test_batches_of_weak_particles_change_nothing(monkeypatch):
    made = made_of(4, 12.0)
    whole = matched(made, BANK)
    monkeypatch.setattr(weighing, "SETTINGS", SETTINGS._replace(batch_bytes=1.0))
    for one, other in zip(matched(made, BANK)[1:], whole[1:], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_no_more_weak_particles_are_weighed_together_than_memory_holds(monkeypatch):
    dense = BANK.dense
    of_one = 4 * len(dense.spectra) * dense.V.shape[1]
    settings = SETTINGS._replace(batch_bytes=2.5 * of_one)
    monkeypatch.setattr(weighing, "SETTINGS", settings)
    together, products = [], weighing._products

    def counting(*args):
        together.append(len(args[-1]))
        return products(*args)

    monkeypatch.setattr(weighing, "_products", counting)
    matched(made_of(5, 12.0), BANK)
    assert together == [2, 2, 1]


# Its parts.


def test_sums_over_waves_are_those_of_a_loop():
    made = made_of(3, 2.0)
    data, _ = seen_by(whole_boxes(made.boxes), made.orientations, TILT, BANK)
    data, dense = data.first(BANK.stages[0][0]), BANK.dense
    each = np.array([1.0, 0.5, 1e-6])
    sums = weighing._sums(data, each, dense)
    some = np.array([0, 1])
    products = weighing._products(data, each, sums, dense, some)
    waves = np.exp(2j * np.pi * (data.k @ dense.cells.shifts.T))
    for i in range(3):
        W, F = data.W[i], data.F[i]
        g = each[i] * (np.abs(dense.spectra) ** 2) @ W
        np.testing.assert_allclose(sums.g[i], g, rtol=1e-3)
        power = each[i] * (W * np.abs(F) ** 2).sum()
        assert sums.P[i] == pytest.approx(power, rel=1e-4)
        assert sums.N[i] == pytest.approx(max(2 * each[i] * (W > 0).sum(), 8), rel=1e-5)
        if i < 2:
            x = each[i] * ((W * F) * dense.spectra.conj() @ waves).real
            close = 0.06 * np.abs(x).max()
            np.testing.assert_allclose(products.x[:, i].T, x, atol=close)
            np.testing.assert_array_equal(products.g[i], sums.g[i])


def posterior_of(random, n, m):
    return Posterior(
        Rotation.random(n, rng=random).as_quat(),
        random.uniform(-2, 2, (n, 3)),
        random.integers(0, m, n),
        random.uniform(0.1, 1, n),
        random.uniform(1, 9, n),
        random.uniform(0, 1, n),
        random.uniform(-2, 2, (n, m)),
    )


def test_means_over_amplitudes_are_those_of_a_mixture():
    random = np.random.default_rng(0)
    n, m = 6, 2
    several = [np.arange(6), np.array([0, 2, 3, 5]), np.array([0, 3])]
    found = [(some, posterior_of(random, len(some), m)) for some in several]
    found[1][1].mode_weight[0] = np.nan  # a list's, that is all there is
    known = weighing._over_amplitudes(found, np.zeros((n, m, 4)))
    for i in range(n):
        mine = [
            (np.flatnonzero(some == i)[0], each) for some, each in found if i in some
        ]
        weights = np.array([np.exp(each.log_evidence[at]) for at, each in mine])
        template = weights.sum(axis=0).argmax()
        assert known.templates[i] == template
        part = weights[:, template] * [e.templates[at] == template for at, e in mine]
        if not part.sum():
            continue
        part = part / part.sum()
        t = sum(p * e.shifts[at] for p, (at, e) in zip(part, mine, strict=True))
        np.testing.assert_allclose(known.shifts[i], t, atol=1e-9)
        mode = [np.nan_to_num(e.mode_weight[at], nan=1.0) for at, e in mine]
        assert known.mode_weight[i] == pytest.approx(part @ mode)
        square = [
            e.shift_errors[at] ** 2 + np.square(e.shifts[at] - t).sum()
            for at, e in mine
        ]
        assert known.shift_errors[i] == pytest.approx(np.sqrt(part @ square))
        q = np.array([e.rotations[at] for at, e in mine])
        mean = np.linalg.eigh((q.T * part) @ q)[1][:, 3]
        assert turns_between(mean, known.quaternions[i]) < 1e-6
        angle = [
            e.angle_errors[at] ** 2
            + np.degrees(turns_between(mean, e.rotations[at])) ** 2
            for at, e in mine
        ]
        assert known.angle_errors[i] == pytest.approx(np.sqrt(part @ angle), rel=1e-4)


def test_modes_of_some_particles_are_numbered_anew():
    random = np.random.default_rng(1)
    particle = np.array([4, 0, 2, 4, 1, 7])
    poses = Poses(
        particle,
        np.zeros(6, int),
        Rotation.random(6, rng=2).as_matrix(),
        random.normal(size=(6, 3)),
        random.random(6),
    )
    modes = Modes(poses, np.arange(6.0), random.normal(size=(6, 6, 6)))
    found = weighing._of(modes, np.array([1, 4, 6]))
    assert found.poses.particle.tolist() == [1, 1, 0]
    assert found.g.tolist() == [0, 3, 4]
    np.testing.assert_array_equal(found.poses.t, poses.t[[0, 3, 4]])
    np.testing.assert_array_equal(found.sharpness, modes.sharpness[[0, 3, 4]])
    assert len(weighing._of(modes, np.array([9])).g) == 0


@pytest.mark.parametrize("symmetry", ["C4", "D2", "T"])
def test_of_rotations_that_look_the_same_the_nearest_is_meant(symmetry):
    group = symmetry_group(symmetry)
    dense = BANK.dense._replace(group=group.as_quat())
    rotations, best = Rotation.random(30, rng=3), Rotation.random(rng=4)
    found = weighing._images(rotations.as_quat(), best.as_quat(), dense.group)
    for one, image in zip(rotations, Rotation.from_quat(found), strict=True):
        angles = [(best.inv() * one * g).magnitude() for g in group]
        assert (best.inv() * image).magnitude() == pytest.approx(min(angles))
        assert min((image.inv() * one * g).magnitude() for g in group) < 1e-6


def followed_of(z, turn=0.5, move=0.05, angle=40.0, shift=0.0, template=0):
    """Return one particle's best pose and another, the best of significance z."""
    R = Rotation.from_rotvec([[0, 0, 0], [0, angle, 0]], degrees=True).as_matrix()
    t = np.array([[0.0, 0, 0], [shift, 0, 0]])
    poses = Poses(np.zeros(2, int), np.array([0, template]), R, t, np.array([0.8, 0.5]))
    variance = np.array([[np.radians(turn) ** 2, move**2]] * 2)
    here = np.ones(2, bool), np.zeros((2, 6, 6)), np.zeros((2, 2))
    last = Climbed(poses, variance, *here)
    none = np.zeros(1, np.intp)
    return Followed(last, last, none, none, np.array(z))


def is_sure(followed, bank=BANK):
    narrow = weighing._narrow(followed, bank.dense)
    return bool((weighing._alone(followed, bank) & narrow)[0])


def test_a_pose_is_sure_that_is_far_above_chance_and_narrow():
    chance = np.sqrt(2 * np.log(len(BANK.spectra) * len(BANK.shifts)))
    high = chance + SETTINGS.sure
    assert is_sure(followed_of([high + 0.01, 0.0]))
    assert not is_sure(followed_of([high - 0.01, 0.0]))
    turn, move = BANK.dense.cells.widths
    widest = np.degrees(SETTINGS.narrow * turn)
    assert is_sure(followed_of([40.0, 0.0], turn=0.99 * widest, angle=180.0))
    assert not is_sure(followed_of([40.0, 0.0], turn=1.01 * widest, angle=180.0))
    widest = SETTINGS.narrow * move.min()
    assert is_sure(followed_of([40.0, 0.0], move=0.99 * widest))
    assert not is_sure(followed_of([40.0, 0.0], move=1.01 * widest))


def test_an_axis_that_is_not_searched_makes_no_pose_unsure():
    chosen = BANK.dense.cells._replace(window=np.array([1.0, 0.0, 2.0]))
    bank = BANK._replace(dense=BANK.dense._replace(cells=chosen))
    assert is_sure(followed_of([40.0, 0.0], move=0.99 * SETTINGS.narrow), bank)
    assert not is_sure(followed_of([40.0, 0.0], move=1.01 * SETTINGS.narrow), bank)
    none = BANK.dense.cells._replace(window=np.zeros(3), free=0)
    bank = BANK._replace(dense=BANK.dense._replace(cells=none))
    assert is_sure(followed_of([40.0, 0.0], move=9.0, turn=90.0, angle=300.0), bank)


def test_a_pose_is_sure_where_no_other_is_nearly_as_likely():
    z = 30.0
    near = np.sqrt(z**2 - 2 * SETTINGS.alone)
    assert is_sure(followed_of([z, near - 0.01]))
    assert not is_sure(followed_of([z, near + 0.01]))
    assert is_sure(followed_of([z, -z]))
    # Others are those that are farther than the errors, or of another template.
    assert is_sure(followed_of([z, z], turn=2.0, angle=5.9))
    assert not is_sure(followed_of([z, z], turn=2.0, angle=6.2))
    assert is_sure(followed_of([z, z], angle=0.0, move=0.1, shift=0.3))
    assert not is_sure(followed_of([z, z], angle=0.0, move=0.1, shift=0.32))
    assert not is_sure(followed_of([z, z], angle=0.0, template=1))


def test_a_pose_becomes_a_mode_with_the_power_of_the_nearest_rotation():
    bank = bank_of(2)
    cells = bank.dense.cells
    r = len(cells.turns)
    at = np.array([3, r - 2, 40])
    small = Rotation.from_rotvec([0.2, 0.1, -0.3], degrees=True)
    R = (Rotation.from_quat(cells.quaternions[at]) * small).as_matrix()
    poses = Poses(
        np.array([0, 1, 1]), np.array([0, 0, 1]), R, np.zeros((3, 3)), at / 99
    )
    g = np.random.default_rng(5).random((2, 2 * r))
    rest = np.ones(3, bool), np.ones((3, 6, 6)), np.zeros((3, 2))
    climbed = Climbed(poses, np.zeros((3, 2)), *rest)
    found = weighing._modes(climbed, g, cells)
    np.testing.assert_allclose(found.g, [g[0, 3], g[1, r - 2], g[1, r + 40]])


def test_amplitudes_that_a_score_rules_out_are_not_weighed():
    made = made_of(2, 12.0)
    crops = whole_boxes(made.boxes)
    data, _ = seen_by(crops, made.orientations, TILT, BANK)
    data, each = data.first(BANK.stages[0][0]), np.ones(2)
    sums = weighing._sums(data, each, BANK.dense)
    products = weighing._products(data, each, sums, BANK.dense, np.arange(2))
    nothing = Poses(*(np.zeros((0, *n)) for n in ((), (), (3, 3), (3,), ())))
    nothing = nothing._replace(particle=np.zeros(0, int), template=np.zeros(0, int))
    modes = Modes(nothing, np.zeros(0), np.zeros((0, 6, 6)))
    told = np.full((2, 1, len(LADDER)), -77.0)
    z = np.array([2.0, -5.0])
    found = weighing._means(products, modes, BANK.dense, z, told)
    g = products.g.mean(axis=1)
    for i, j in itertools.product(range(2), range(len(LADDER))):
        strength = BANK.dense.amplitudes[j, 0] * np.sqrt(g[i])
        weighed = j == 0 or strength <= 1.3 * max(z[i], 0) + 3
        assert (found.log_evidence[i, 0, j] == -77) != weighed


PRIOR = Prior(0.1, 0.8)


def poses_near(count, seed=6):
    random = np.random.default_rng(seed)
    turns = Rotation.from_rotvec(0.15 * random.normal(size=(count, 3)))
    none = np.zeros(count, int)
    shifts = random.uniform(-1, 1, (count, 3))
    return Poses(none, none, turns.as_matrix(), shifts, np.full(count, 0.5))


def test_poses_are_held_by_a_prior_where_both_are_likeliest():
    random = np.random.default_rng(7)
    poses, z = poses_near(4), np.array([3.0, 8.0, 20.0, -4.0])
    root = random.normal(size=(4, 6, 9))
    S = root @ root.swapaxes(1, 2)
    cells = BANK.dense.cells._replace(prior=PRIOR)
    found = weighing._held(poses, S, z, cells)
    P = np.diag([1 / 0.1**2] * 3 + [1 / 0.8**2] * 3)
    for q in range(4):
        R = Rotation.from_matrix(poses.R[q])
        p = np.concatenate([R.as_rotvec(), poses.t[q]])
        A = P + max(z[q], 0) ** 2 * S[q]  # nothing of what is below the noise
        step = -np.linalg.solve(A, P @ p)
        np.testing.assert_allclose(found.t[q], poses.t[q] + step[3:], atol=1e-6)
        wanted = (R * Rotation.from_rotvec(step[:3])).as_matrix()
        np.testing.assert_allclose(found.R[q], wanted, atol=1e-6)
    flat = weighing._held(poses, S, z, BANK.dense.cells)
    assert flat is poses


def test_what_is_not_varied_is_not_held():
    poses, z = poses_near(2), np.array([0.0, 0.0])
    cells = BANK.dense.cells._replace(prior=PRIOR)
    S = np.broadcast_to(np.eye(6), (2, 6, 6))
    still = cells._replace(window=np.array([1.0, 0.0, 2.0]), free=0)
    found = weighing._held(poses, S, z, still)
    np.testing.assert_allclose(found.R, poses.R, atol=1e-12)
    np.testing.assert_array_equal(found.t[:, 1], poses.t[:, 1])
    # Where nothing is measured they are where they were thought to be.
    np.testing.assert_allclose(found.t[:, [0, 2]], 0, atol=1e-6)
    unknown = cells._replace(prior=Prior(turn=0.1))  # of shifts nobody knows anything
    found = weighing._held(poses, 0 * S, z, unknown)
    np.testing.assert_allclose(found.t, poses.t, atol=1e-9)
    assert Rotation.from_matrix(found.R).magnitude().max() < 1e-6


@pytest.mark.parametrize("prior", [FLAT, PRIOR])
def test_a_mean_moves_with_its_mode_as_far_as_that_is_likely(prior):
    cells = BANK.dense.cells._replace(prior=prior, window=np.array([1.0, 0.0, 2.0]))
    first, last = poses_near(3), poses_near(3, seed=8)
    own = np.arange(3)
    first, last = (each._replace(particle=own) for each in (first, last))
    last = last._replace(template=np.array([0, 1, 0]))
    S = np.broadcast_to(9.0 * np.eye(6), (3, 6, 6))
    rest = np.ones((3, 2)), np.ones(3, bool), S, np.zeros((3, 2))
    z, N = np.array([10.0, 12.0, 13.0]), np.array([200.0, 300.0, 400.0])
    followed = Followed(Climbed(first, *rest), Climbed(last, *rest), own, own, z)
    mean = Rotation.from_rotvec(0.05 * np.ones((3, 3)))
    weight = np.array([0.7, 0.9, 0.2])
    shifts = np.array([[0.3, 0.2, 0.1]] * 3)
    known = weighing._Weighed(
        *(mean.as_quat(), shifts, np.zeros(3, int), np.ones(3), np.ones(3)),
        *(weight, np.zeros((3, 1, 1))),
    )
    bank = BANK._replace(dense=BANK.dense._replace(cells=cells))
    R, t = weighing._means_of_all(known, followed, own, N, bank)
    chance = 2 * np.log(len(BANK.spectra) * len(BANK.shifts))
    inverse = np.diag([3 / np.radians(1.0) ** 2] * 3 + [3.0] * 3)
    at_first = 0.5 * np.sqrt(N / (1 - 0.5**2))  # z of a score
    start = weighing._held(first, S, at_first, cells)
    end = weighing._held(last, S, z, cells)
    for i, part in enumerate([0.7, 0.0, 0.2]):  # the second is of another template
        p_0, p = (
            np.r_[(mean[i].inv() * Rotation.from_matrix(e.R[i])).as_rotvec(), e.t[i]]
            - np.r_[np.zeros(3), shifts[i]]
            for e in (first, last)
        )
        A_0, A = ((each[i] ** 2 - chance) * S[i] for each in (at_first, z))
        step = np.linalg.solve(inverse + A - A_0, A @ p - A_0 @ p_0)
        way = Rotation.from_rotvec(part * step[:3])
        np.testing.assert_allclose(R[i], (mean[i] * way).as_matrix(), atol=1e-9)
        moved = shifts[i] + part * (end.t[i] - start.t[i])
        moved[1] = end.t[i, 1]  # along an axis that is not weighed
        np.testing.assert_allclose(t[i], moved, atol=1e-9)
