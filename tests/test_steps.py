"""Each step of a climb, and what data are taken for, against plain sums."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy
from scipy.spatial.transform import Rotation

from funpipe.engine import data as particles_data
from funpipe.engine import gauss_newton, steps
from funpipe.engine import noise as noises
from funpipe.engine.gauss_newton import Poses, Spectra
from funpipe.engine.limits import Limits
from funpipe.engine.noise import Noise, Sums, believed, sums
from funpipe.engine.shells import each_shell, noise_of, shell_edges, shells_of
from funpipe.engine.spectra import sample, template_fields
from funpipe.simulate import asymmetric_molecule, blob_image
from funpipe.space.fourier import half_ball

BOX = (16, 16, 16)
BLOBS = asymmetric_molecule(5, radius=5.0, sigma=1.3)
TEMPLATE = blob_image(BLOBS, BOX, 1.0)
WAVES = half_ball(BOX, 3.5)
WAVES = WAVES[np.argsort((WAVES**2).sum(axis=1), kind="stable")]
K = (WAVES / 16).astype(np.float32)
FIELDS = (template_fields(TEMPLATE, 1 / 3.5),)
EDGES = shell_edges(K)


def random_data(count, seed=0):
    random = np.random.default_rng(seed)
    F = random.standard_normal((count, len(K), 2)).view(complex)[..., 0]
    W = random.random((count, len(K)))
    W[:, ::5] = 0
    return Spectra(K, F.astype(np.complex64), W.astype(np.float32))


def random_poses(count, particle=None, seed=1):
    random = np.random.default_rng(seed)
    return Poses(
        np.arange(count) if particle is None else np.array(particle),
        np.zeros(count, int),
        Rotation.random(count, rng=random).as_matrix(),
        random.uniform(-2, 2, (count, 3)),
        np.zeros(count),
    )


def definite(random, count, size=6):
    root = random.standard_normal((count, size, 3 * size))
    return root @ root.swapaxes(1, 2)


def a_step(random, count):
    """Return some numbers of which steps follow; curvatures are of any sign."""
    normal = definite(random, count)
    slope = 0.1 * random.standard_normal((count, 6))
    ones = np.ones(count)
    return steps.Step(
        0.5 * ones,
        slope,
        normal,
        normal + 0.1 * definite(random, count),
        definite(random, count),
        0.01 * ones,
        3.0 * ones,
        50.0 * ones,
    )


NOT_HELD = np.zeros((4, 1, 6))


# Sums over waves.


def test_products_of_poses_are_sums_over_each_shell():
    spectra, poses = random_data(3), random_poses(4, [0, 2, 1, 2])
    data = gauss_newton._Data(spectra, FIELDS[0], EDGES, np.zeros((3, 1), int))
    gram = gauss_newton._gram(poses, data)
    shell = each_shell(EDGES)
    for q in range(4):
        i = poses.particle[q]
        points = K @ poses.R[q].astype(np.float32)
        T = sample(points, FIELDS[0]).T.astype(complex)
        D = spectra.F[i] * np.exp(2j * np.pi * (K @ poses.t[q]))
        rate = -2j * np.pi * K.T
        rows = np.array([*T, *(rate * T[0]), D])
        columns = np.array([*rows, *(rate * D)])
        for s in range(len(EDGES) - 1):
            some = shell == s
            wanted = (spectra.W[i, some] * rows[:, some].conj()) @ columns[:, some].T
            close = 2e-5 * np.abs(gram[q]).max()
            np.testing.assert_allclose(gram[q, s], wanted.real, atol=close)


def test_many_poses_are_looked_at_a_few_at_a_time(monkeypatch):
    spectra, poses = random_data(3), random_poses(7, [0, 1, 2, 0, 1, 2, 0])
    counts = np.stack([np.diff(EDGES)] * 3)
    data = gauss_newton._Data(spectra, FIELDS[0], EDGES, counts)
    whole = gauss_newton._linearise(poses, data)
    for batch in (1, 3 * len(K)):
        monkeypatch.setattr(gauss_newton, "_BATCH", batch)
        for one, other in zip(whole, gauss_newton._linearise(poses, data), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_a_pose_is_compared_by_the_formulas_of_the_module():
    spectra, poses = random_data(2), random_poses(2)
    counts = np.stack([(W > 0).sum() * np.diff(EDGES) // len(K) for W in spectra.W])
    data = gauss_newton._Data(spectra, FIELDS[0], EDGES, counts)
    found = gauss_newton._linearise(poses, data)
    shell = each_shell(EDGES)
    for q in range(2):
        W = spectra.W[q].astype(float)
        points = K @ poses.R[q].astype(np.float32)
        T, *turned = sample(points, FIELDS[0]).T.astype(complex)
        D = spectra.F[q] * np.exp(2j * np.pi * (K @ poses.t[q]))
        rates = np.array([*turned, *(-2j * np.pi * K.T * T)])

        def re(one, other, W=W):
            return float((W * one.conj() * other).sum().real)

        overlap, N, P = re(T, D), re(T, T), re(D, D)
        a = overlap / N
        assert found.score[q] == pytest.approx(overlap / np.sqrt(N * P), abs=1e-5)
        slope = [abs(a) * (re(each, D) - a * re(T, each)) for each in rates]
        np.testing.assert_allclose(found.slope[q], slope, rtol=1e-2, atol=1e-4 * P)
        out = np.array([each - T * re(T, each) / N for each in rates])
        by_shell = []
        for s in range(len(EDGES) - 1):
            some = (shell == s) * W
            by_shell.append(a**2 * (some * out.conj()) @ out.T)
        by_shell = np.real(by_shell)
        normal = by_shell.sum(axis=0)
        close = 1e-3 * np.abs(normal).max()
        np.testing.assert_allclose(found.normal[q], normal, atol=close)
        three = [
            [re(T * (shell == s), T) for s in range(len(EDGES) - 1)],
            [re(T * (shell == s), D) for s in range(len(EDGES) - 1)],
            [re(D * (shell == s), D) for s in range(len(EDGES) - 1)],
        ]
        noise = noise_of(*np.array(three)[:, None], counts[[q]])[0]
        scatter = np.einsum("s,sij->ij", noise, by_shell)
        close = 1e-3 * np.abs(scatter).max()
        np.testing.assert_allclose(found.scatter[q], scatter, atol=close)
        left = P - a * overlap
        wanted = left / (2 * counts[q].sum() - 7)
        assert found.noise[q] == pytest.approx(wanted, rel=1e-3)
        assert found.norm[q] == pytest.approx(a**2 * N, rel=1e-3)
        assert found.power[q] == pytest.approx(P, rel=1e-4)
        if a < 0:
            np.testing.assert_array_equal(found.curvature[q], found.normal[q])


@pytest.mark.parametrize("count", [1, 3, 4, 7, 10, 12])
def test_no_more_poses_are_looked_at_together_than_the_cache_holds(count, monkeypatch):
    spectra = random_data(1)
    poses = random_poses(count, [0] * count)
    data = gauss_newton._Data(spectra, FIELDS[0], EDGES, np.diff(EDGES)[None])
    together = []

    def counting(part, data):
        together.append(len(part.particle))
        return gram_of(part, data)

    gram_of = gauss_newton._gram
    monkeypatch.setattr(gauss_newton, "_gram", counting)
    for size in (1, 3, 100):
        together.clear()
        monkeypatch.setattr(gauss_newton, "_BATCH", size * len(K) + 5)
        gauss_newton._linearise(poses, data)
        assert sum(together) == count and max(together) <= size
        assert len(together) == -(-count // size)
    together.clear()
    monkeypatch.setattr(gauss_newton, "_BATCH", 1)  # less than one
    gauss_newton._linearise(poses, data)
    assert together == [1] * count


@pytest.mark.parametrize("count", [1, 32, 33, 64, 70, 97])
def test_particles_are_compared_with_a_template_some_at_a_time(count, monkeypatch):
    poses = random_poses(count + 5, [0] * (count + 5))
    poses.template[count:] = 1
    parts = noises._parts(poses)
    assert [set(each.template) for each in parts[:-1]] == [{0}] * (len(parts) - 1)
    assert len(parts[-1].template) == 5 and set(parts[-1].template) == {1}
    sizes = [len(each.template) for each in parts[:-1]]
    assert sum(sizes) == count and max(sizes) <= 32
    assert len(sizes) == -(-count // 32)
    together = []

    def counting(some, *args):
        together.append(len(some.particle))
        return products_of(some, *args)

    products_of = noises._products
    monkeypatch.setattr(noises, "_products", counting)
    both = (FIELDS[0], template_fields(TEMPLATE[::-1].copy(), 1 / 3.5))
    noises.local_noise(poses, random_data(1), both)
    assert together == [*sizes, 5]


# Steps.


def test_a_free_step_is_newtons_and_gains_what_a_parabola_does():
    here = a_step(np.random.default_rng(0), 4)
    move = steps.solve(here, np.full(4, 1e9), steps.FREE, NOT_HELD)
    for q in range(4):
        wanted = np.linalg.solve(here.curvature[q], here.slope[q])
        np.testing.assert_allclose(move.step[q], wanted, rtol=1e-6)
        gain = here.slope[q] @ wanted / 2
        assert move.gain[q] == pytest.approx(gain)
        assert move.whole[q] == pytest.approx(gain)
        length = np.sqrt(wanted @ here.normal[q] @ wanted / here.norm[q])
        assert move.length[q] == pytest.approx(length)


def test_a_step_goes_no_farther_than_its_reach():
    here = a_step(np.random.default_rng(1), 4)
    free = steps.solve(here, np.full(4, 1e9), steps.FREE, NOT_HELD)
    reach = 0.4 * free.length
    cut = steps.solve(here, reach, steps.FREE, NOT_HELD)
    np.testing.assert_allclose(cut.length, reach)
    np.testing.assert_allclose(cut.step, 0.4 * free.step)
    np.testing.assert_allclose(cut.gain, (0.8 - 0.16) * free.gain)
    np.testing.assert_allclose(cut.whole, free.whole)


def test_steps_of_shifts_alone_turn_nothing():
    here = a_step(np.random.default_rng(2), 4)
    far = np.full(4, 1e9)
    move = steps.solve(here, far, steps.FREE_SHIFTS, NOT_HELD)
    assert (move.step[:, :3] == 0).all()
    for q in range(4):
        wanted = np.linalg.solve(here.curvature[q, 3:, 3:], here.slope[q, 3:])
        np.testing.assert_allclose(move.step[q, 3:], wanted, rtol=1e-6)


def test_where_the_score_curves_up_steps_climb_all_the_same():
    random = np.random.default_rng(3)
    here = a_step(random, 4)
    here = here._replace(curvature=here.curvature - 3 * here.normal)
    move = steps.solve(here, np.full(4, 0.1), steps.FREE, NOT_HELD)
    assert (np.sum(move.step * here.slope, axis=1) > 0).all()
    for q in range(4):  # H's eigenvalues against A are made positive
        values, vectors = scipy.linalg.eigh(here.curvature[q], here.normal[q])
        size = np.maximum(np.abs(values), 0.05)
        wanted = (vectors / size) @ vectors.T @ here.slope[q]
        part = move.step[q] / wanted
        np.testing.assert_allclose(part, part[0], rtol=1e-6)


@pytest.mark.parametrize("size", [1.0, 1e-3])
def test_a_step_that_leaves_limits_is_the_best_that_does_not(size):
    random = np.random.default_rng(4)
    here = a_step(random, 4)
    here = here._replace(slope=size * here.slope)
    outward = random.standard_normal((4, 2, 6))
    far = np.full(4, 1e9)
    move = steps.solve(here, far, steps.FREE, outward)
    for q in range(4):
        assert (outward[q] @ move.step[q] <= 1e-6 * size).all()

        def loss(step, q=q):
            slope = here.slope[q] / size
            return step @ here.curvature[q] @ step / 2 - slope @ step

        bars = [
            {"type": "ineq", "fun": lambda step, n=n: -n @ step} for n in outward[q]
        ]
        best = scipy.optimize.minimize(
            loss, np.zeros(6), method="SLSQP", constraints=bars, tol=1e-12
        )
        # What is once held is not let go again.
        assert loss(move.step[q] / size) <= 0.6 * best.fun
        if (outward[q] @ np.linalg.solve(here.curvature[q], here.slope[q]) < 0).all():
            np.testing.assert_allclose(move.step[q] / size, best.x, atol=1e-5)


def test_the_reach_follows_what_was_gained_of_what_was_expected():
    reach, length = np.full(5, 0.5), np.array([0.1, 0.4, 0.3, 0.3, 0.3])
    ratio = np.array([0.9, 0.9, 0.5, 0.1, -2.0])
    found = gauss_newton._next_reach(reach, length, ratio)
    np.testing.assert_allclose(found, [0.5, 0.8, 0.5, 0.1, 0.1])


def test_what_slopes_show_of_curvature_is_put_right_and_nothing_else():
    random = np.random.default_rng(5)
    there = a_step(random, 4)
    step = np.concatenate([random.standard_normal((4, 3)), np.zeros((4, 3))], axis=1)
    fall = random.standard_normal((4, 6))
    change = steps.lacking(fall, step, there)
    np.testing.assert_allclose(change, change.swapaxes(1, 2), atol=1e-12)
    assert (change[:, 3:] == 0).all() and (change[:, :, 3:] == 0).all()
    for q in range(4):
        mended = (there.curvature[q] + change[q]) @ step[q]
        np.testing.assert_allclose(mended[:3], fall[q, :3], atol=1e-9)
        # Of all such changes it is the least, against A's diagonal.
        unit = np.sqrt(np.diag(there.normal[q])[:3])
        way = step[q, :3] * unit
        lack = (fall[q] - there.curvature[q] @ step[q])[:3] / unit
        least = change[q, :3, :3] / np.outer(unit, unit)
        basis = [np.outer(*each) for each in itertools.product(np.eye(3), repeat=2)]
        free = scipy.linalg.null_space(
            np.array([[*(B @ way), *(B - B.T).ravel()] for B in basis]).T
        )
        for other in free.T:
            moved = least + 0.1 * np.reshape(other, (3, 3))
            np.testing.assert_allclose(moved @ way, lack, atol=1e-9)
            assert np.linalg.norm(moved) > np.linalg.norm(least)


def test_expected_scores_are_those_that_gains_lead_to():
    here = a_step(np.random.default_rng(6), 4)
    here = here._replace(score=np.array([0.5, 0.5, -0.5, 0.99]))
    gain = np.array([1.0, 3.0, 1.0, 5.0])
    found = gauss_newton._expected_score(here, gain)
    f = 0.5**2 * 50 / 2
    wanted = [np.sqrt(2 * (f + 1) / 50), np.sqrt(2 * (f + 3) / 50), -0.5, 1.0]
    np.testing.assert_allclose(found, wanted)
    np.testing.assert_allclose(gauss_newton._signed_square(found[:3])[2], -0.25)


def test_variances_are_those_of_a_sandwich():
    here = a_step(np.random.default_rng(7), 4)
    found = steps.variances(here, steps.FREE)
    shifts = steps.variances(here, steps.FREE_SHIFTS)
    for q in range(4):
        inverse = np.linalg.inv(here.curvature[q])
        variance = np.diag(inverse @ here.scatter[q] @ inverse)
        wanted = [variance[:3].sum(), variance[3:].sum()]
        np.testing.assert_allclose(found[q], wanted, rtol=1e-6)
        inverse = np.linalg.inv(here.curvature[q, 3:, 3:])
        variance = np.diag(inverse @ here.scatter[q, 3:, 3:] @ inverse)
        assert np.isnan(shifts[q, 0])
        assert shifts[q, 1] == pytest.approx(variance.sum())


def test_no_variance_is_of_a_curvature_that_is_not_there():
    here = a_step(np.random.default_rng(8), 4)
    flat = here._replace(curvature=-here.normal)
    least = here._replace(curvature=0.1 * here.normal)
    np.testing.assert_allclose(
        steps.variances(flat, steps.FREE),
        steps.variances(least, steps.FREE),
    )
    nothing = here._replace(normal=0 * here.normal)
    assert np.isnan(steps.variances(nothing, steps.FREE)).all()


WIDE = (1e3, 1e3)


def test_an_excess_is_a_step_without_what_may_be_noise():
    here = a_step(np.random.default_rng(9), 4)
    quiet, loud = np.full(4, 1e-12), np.full(4, 1e3)
    found = steps.excess(here, quiet, steps.FREE, WIDE)
    shifts = steps.excess(here, quiet, steps.FREE_SHIFTS, WIDE)
    for q in range(4):
        step = np.linalg.solve(here.normal[q], here.slope[q])
        wanted = [np.sum(step[:3] ** 2), np.sum(step[3:] ** 2)]
        np.testing.assert_allclose(found[q], wanted, rtol=1e-6)
        step = np.linalg.solve(here.normal[q, 3:, 3:], here.slope[q, 3:])
        np.testing.assert_allclose(shifts[q], [0, np.sum(step**2)], rtol=1e-6)
    assert (steps.excess(here, loud, steps.FREE, WIDE) == 0).all()
    short = steps.excess(here, quiet, steps.FREE, (1e-3, 2e-3))
    np.testing.assert_allclose(short, np.minimum(found, [1e-6, 4e-6]))


def known_alone(step, root):
    """Return a step of four poses whose unknowns do not depend on each other."""
    normal = np.diag(np.square(root))
    return a_step(np.random.default_rng(10), 4)._replace(
        normal=np.stack([normal] * 4), slope=np.stack([normal @ step] * 4)
    )


def test_an_excess_counts_where_it_is_longer_than_two_and_a_half_deviations():
    step = np.array([0.2, 0.3, 0.1, 0.05, 0.1, 0.5])
    root = np.array([2.0, 3.0, 1.0, 4.0, 5.0, 1.0])
    for noise in (0.06, 0.1, 0.19):
        variance = np.full(4, noise**2)
        found = steps.excess(known_alone(step, root), variance, steps.FREE, WIDE)
        clear = np.where(step * root > 2.5 * noise, step, 0)
        assert 0 < (clear > 0).sum() < 6
        wanted = np.sum(clear[:3] ** 2), np.sum(clear[3:] ** 2)
        np.testing.assert_allclose(found, [wanted] * 4)


def test_what_is_as_wide_as_the_limits_is_no_excess():
    step, root = np.full(6, 0.4), np.array([1.0, 2.0, 4.0, 1.0, 2.0, 4.0])
    here, variance = known_alone(step, root), np.full(4, 0.01)
    for turn, move, count in ((0.21, 0.21, 3), (0.19, 0.11, 2), (0.11, 0.04, 2)):
        found = steps.excess(here, variance, steps.FREE, (turn, move))[0]
        for square, most in zip(found, (turn, move), strict=True):
            there = (0.1 / root < most / 2).sum()
            wanted = min(there * 0.16, most**2)
            assert square == pytest.approx(wanted)
        assert (0.1 / root[:3] < turn / 2).sum() == count


def test_whitening_makes_the_normal_matrix_one():
    A = definite(np.random.default_rng(9), 3) * np.outer(
        *[10.0 ** np.arange(-3, 3)] * 2
    )
    L, unknown = steps._whitening(A)
    ones = np.broadcast_to(np.eye(6), (3, 6, 6))
    np.testing.assert_allclose(L.swapaxes(1, 2) @ A @ L, ones, atol=1e-9)
    assert not unknown.any()
    A[0, 2], A[0, :, 2] = 0, 0
    A[1, 4], A[1, :, 4] = A[1, 3], A[1, :, 3]
    A[1, 4, 4] = A[1, 3, 3]
    _, unknown = steps._whitening(A)
    assert np.argwhere(unknown).tolist() == [[0, 2], [1, 3], [1, 4]]


def test_waves_are_put_in_the_order_of_their_length():
    data = random_data(2)
    assert data.in_order() is data
    mixed = np.random.default_rng(0).permutation(len(K))
    other = Spectra(K[mixed], data.F[:, mixed], data.W[:, mixed]).in_order()
    length = np.linalg.norm(other.k, axis=1)
    assert (np.diff(length) >= 0).all()
    at = {tuple(each): i for i, each in enumerate(K.tolist())}
    where = [at[tuple(each)] for each in other.k.tolist()]
    np.testing.assert_array_equal(other.F, data.F[:, where])
    np.testing.assert_array_equal(other.W, data.W[:, where])
    first = data.first(7)
    assert [len(first.k), first.F.shape[1], first.W.shape[1]] == [7, 7, 7]


# What particles are.


def test_data_under_a_transfer_are_as_if_there_were_none():
    random = np.random.default_rng(10)
    F = random.standard_normal((3, 8, 2)).view(complex)[..., 0].astype(np.complex64)
    W, H = random.random((3, 8)), random.uniform(-1, 1, (3, 8))
    power = random.random(5)
    same, weights = particles_data._undone(F, W, None, power)
    assert same is F and weights is W
    found, weights = particles_data._undone(F, W, H, power)
    for i in range(3):
        square = (W[i, :5] * power * H[i, :5] ** 2).sum() / (W[i, :5] * power).sum()
        by = H[i] / np.sqrt(square)
        np.testing.assert_allclose(found[i], F[i] / by, rtol=1e-5)
        np.testing.assert_allclose(weights[i], W[i] * by**2, rtol=1e-6)
    _, weights = particles_data._undone(F, 0 * W, H, power)
    assert (weights == 0).all()


def test_weights_are_1_at_most_and_the_power_of_shells_is_of_what_is_measured():
    random = np.random.default_rng(11)
    W = 7 * random.random((3, len(K)))
    W[1] = 0
    found = particles_data._at_most_1(W)
    np.testing.assert_allclose(found[[0, 2]].max(axis=1), 1)
    np.testing.assert_allclose(found[0] / found[0, 3], W[0] / W[0, 3], rtol=1e-5)
    assert (found[1] == 0).all()
    F = random.standard_normal((3, len(K), 2)).view(complex)[..., 0]
    power = particles_data._shell_power(F, found, EDGES)
    for s, (start, stop) in enumerate(itertools.pairwise(EDGES)):
        wanted = 0.0
        for i in (0, 2):
            w = found[i, start:stop].astype(float)
            wanted += (w * np.abs(F[i, start:stop]) ** 2).sum() / w.sum()
        assert power[s] == pytest.approx(wanted, rel=1e-4)


# Noise.


def test_sums_of_particles_are_those_of_a_loop():
    spectra, poses = random_data(5), random_poses(5)
    fields = (FIELDS[0], template_fields(TEMPLATE[::-1].copy(), 1 / 3.5))
    poses = poses._replace(template=np.array([0, 1, 1, 0, 0]))
    found = sums(poses, spectra, fields, EDGES)
    shell = each_shell(EDGES)
    rows = [0, 3, 4, 1, 2]  # template by template
    for at, q in enumerate(rows):
        points = K @ poses.R[q]
        T = sample(points, fields[poses.template[q]], 1)[:, 0].astype(complex)
        D = spectra.F[q] * np.exp(2j * np.pi * (K @ poses.t[q]))
        W = spectra.W[q]
        for s in range(len(EDGES) - 1):
            some = shell == s
            wanted = [
                (W * np.abs(T) ** 2)[some].sum(),
                (W * T.conj() * D)[some].real.sum(),
                (W * np.abs(D) ** 2)[some].sum(),
                (W > 0)[some].sum(),
            ]
            for one, each in zip(found, wanted, strict=True):
                np.testing.assert_allclose(one[at, s], each, rtol=1e-3, atol=1e-2)


def test_fall_off_and_noise_of_many_particles_are_those_that_were_made():
    random = np.random.default_rng(12)
    k = half_ball((24, 24, 24), 4.0) / 24
    k = k[np.argsort((k**2).sum(axis=1), kind="stable")]
    shells = shells_of(k, 24.0)
    length = np.linalg.norm(k, axis=1)
    truth, fall = 1 / (0.05 + length), np.exp(-20 * length**2)
    count, shell = 200, each_shell(shells.edges)
    T = random.standard_normal((count, len(k), 2)).view(complex)[..., 0]
    noise = random.standard_normal((count, len(k), 2)).view(complex)[..., 0]
    scale = random.uniform(0.5, 2, (count, 1))
    D = scale * (1.5 * fall * T + np.sqrt(truth) * noise)

    def per_shell(values):
        return np.stack(
            [values[:, shell == s].sum(axis=1) for s in range(shell[-1] + 1)], axis=1
        )

    measured = Sums(
        per_shell(np.abs(T) ** 2),
        per_shell((T.conj() * D).real),
        per_shell(np.abs(D) ** 2),
        np.tile(np.bincount(shell), (count, 1)),
    )
    found = believed(measured, shells)
    of_shells = [truth[shell == s].mean() for s in range(shell[-1] + 1)]
    np.testing.assert_allclose(found.power, of_shells / np.mean(of_shells), rtol=0.05)
    mean = [fall[shell == s].mean() for s in range(shell[-1] + 1)]
    ratio = found.fall / mean
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=0.06)
    # Their mean, weighted by the template's power, is 1.
    weight = measured.norms.sum(axis=0)
    assert np.average(found.fall, weights=weight) == pytest.approx(1, abs=0.05)
    # Of shells without any data nothing is known, and they are not noisy.
    lacking = measured._replace(
        powers=measured.powers * (np.arange(shell[-1] + 1) != 4)
    )
    without = believed(lacking, shells)
    assert without.power[4] == 0 and without.fall[4] == 1
    assert (without.weights(k[shell == 4].T) == 0).all()
    # What few particles in much noise say of the fall-off is hardly believed.
    few = Sums._make(each[:2] for each in measured)
    loud = few._replace(powers=1e4 * few.powers, overlaps=0.3 * few.overlaps)
    assert np.abs(believed(loud, shells).fall - 1).max() < 0.2


def test_noise_of_shells_of_few_waves_is_as_loud_as_that_of_many():
    random = np.random.default_rng(15)
    counts, n = np.array([1, 40, 2, 60]), 3000
    norms, overlaps, powers = np.zeros((3, n, 4))
    for s, count in enumerate(counts):
        T, noise = random.standard_normal((2, n, count, 2)).view(complex)[..., 0]
        D = T + noise
        norms[:, s] = (np.abs(T) ** 2).sum(axis=1)
        overlaps[:, s] = (T.conj() * D).real.sum(axis=1)
        powers[:, s] = (np.abs(D) ** 2).sum(axis=1)
    shells = shells_of(np.array([[i, 0, 0] for i in range(1, 5)]) / 16, 16.0)
    measured = Sums(norms, overlaps, powers, np.tile(counts, (n, 1)))
    found = believed(measured, shells)
    np.testing.assert_allclose(found.power, 1, atol=0.06)
    np.testing.assert_allclose(found.fall, 1, atol=0.06)


def test_a_fall_off_is_between_shells_along_a_line():
    shells = shells_of(np.array([[1, 0, 0], [2, 0, 0], [3, 0, 0]]) / 8, 8.0)
    noise = Noise(shells, np.ones(3), np.array([1.0, 0.5, 0.1]))
    k = np.array([[0.0, 1.0, 1.5, 2.0, 2.25, 3.0, 4.0], [0] * 7, [0] * 7]) / 8
    found = noise.fall_off(k)
    np.testing.assert_allclose(found, [1, 1, 0.75, 0.5, 0.4, 0.1, 0.1])


def test_outward_steps_of_shifts_are_those_beyond_their_window():
    limits = Limits((2.0, 0.0, 1.0))
    t = np.array([[2.0, 0.0, 0.3], [-2.0, 0.0, -1.0]])
    rows = limits.outward(np.stack([np.eye(3)] * 2), t)
    for one, ways in zip(rows, ([1, 2, -2], [-1, 2, -2, -3]), strict=True):
        there = one[np.abs(one).sum(axis=1) > 0]
        found = [int(np.sign(n.sum()) * (np.abs(n).argmax() - 2)) for n in there]
        assert sorted(found) == sorted(ways)


def test_a_limit_is_reached_that_is_not_0():
    turned = Rotation.from_rotvec([[0, 0, 0], [0, 10, 0]], degrees=True).as_matrix()
    t = np.array([[0.0, 0.0, 0.3], [0.0, 0.0, 0.3]])
    for window, turn, reached in (
        ((2.0, 0.0, 1.0), 20.0, [False, False]),
        ((2.0, 0.0, 0.3), 20.0, [True, True]),
        ((2.0, 0.0, 1.0), 10.0, [False, True]),
        ((2.0, 0.0, 1.0), None, [False, False]),
        ((2.0, 0.0, 1.0), (0.0, 10.0, 0.0), [False, True]),
        ((2.0, 0.0, 1.0), (0.0, 20.0, 0.0), [False, False]),
    ):
        found = Limits(window, turn).reached(turned, t)
        assert found.tolist() == reached
    still = Limits((2.0, 0.0, 1.0), 0.0).reached(turned[:1], t[:1])
    assert not still.any()


def test_no_pose_within_limits_is_farther_from_the_middle_than_they_say():
    for turn, radians in (
        (20.0, np.radians(20)),
        ((30.0, 0.0, 40.0), np.radians(50)),
        (None, np.pi),
        ((180.0, 90.0, 180.0), np.pi),
        (0.0, 0.0),
    ):
        limits = Limits((2.0, 3.0, 6.0), turn)
        np.testing.assert_allclose(limits.farthest, (radians, 7.0))
        R = limits.within(Rotation.random(200, rng=4).as_matrix(), np.zeros((200, 3)))
        most = Rotation.from_matrix(R[0]).magnitude().max()
        assert 0.8 * radians <= most <= radians + 1e-9


def test_noise_of_shells_is_that_of_a_loop():
    random = np.random.default_rng(17)
    waves = np.array([[1, 30, 5, 0], [3, 2, 1, 0], [0, 0, 0, 0]])
    norms, overlaps, left = random.uniform(0.1, 0.9, (3, 3, 4)) * (waves > 0)
    powers = left + overlaps**2 / np.maximum(norms, 1e-9)
    powers[0, 2] *= 0.1  # less than what is fitted, by rounding
    found = noise_of(norms, overlaps, powers, waves)
    for q in range(3):
        rest, numbers = np.zeros(4), np.zeros(4)
        for s in range(4):
            if not waves[q, s]:
                continue
            rest[s] = max(powers[q, s] - overlaps[q, s] ** 2 / norms[q, s], 0)
            # One number of each shell, and six of all of them, are fitted.
            fitted = 1 + 6 * waves[q, s] / waves[q].sum()
            numbers[s] = max(2 * waves[q, s] - fitted, 0)
        whole = rest.sum() / max(numbers.sum(), 1)
        for s in range(4):
            wanted = (rest[s] + 4 * whole) / (numbers[s] + 4)
            assert found[q, s] == pytest.approx(wanted)
    assert rest.sum() == 0 and (found[2] == 0).all()


@pytest.mark.parametrize("fewest", [1, 5, 24])
def test_shells_are_as_thick_as_they_must_be(fewest):
    random = np.random.default_rng(18)
    k = np.sort(random.uniform(0.001, 0.2, 150))[:, None] * [0.0, 0.6, 0.8]
    found = shell_edges(k, fewest=fewest)
    wanted, length = [0], np.linalg.norm(k, axis=1)
    for limit in np.arange(1, 10) * 0.02:
        count = (length <= limit).sum()
        if count - wanted[-1] >= fewest:
            wanted.append(count)
    wanted.append(len(k))
    assert found.tolist() == wanted
    assert shell_edges(k[:3]).tolist() == [0, 3]
    at_edge = np.array([[0.0, 0.0, each] for each in (0.01, 0.02, 0.03, 0.04)])
    assert shell_edges(at_edge, fewest=2).tolist() == [0, 2, 4]
    assert len(shell_edges(k)) < len(shell_edges(k, fewest=1))


def test_a_shell_is_found_of_any_length():
    k = np.array([1.0, 1.1, 2.0, 4.2])[:, None] * [0, 0, 1] / 8
    shells = shells_of(k, 8.0)
    assert shells.edges.tolist() == [0, 2, 3, 4]
    np.testing.assert_allclose(shells.length * 8, [1.05, 2.0, 4.2])
    np.testing.assert_allclose(shells.ends * 8, [1.5, 2.5, 4.5])
    lengths = np.array([0.0, 1.4, 1.6, 2.4, 2.6, 4.0, 9.0]) / 8
    assert shells.at(lengths).tolist() == [0, 0, 1, 1, 2, 2, 2]


def test_weights_lie_between_shells_in_equal_ratios():
    k = np.array([[1, 0, 0], [2, 0, 0], [3, 0, 0]]) / 8
    shells = shells_of(k, 8.0)
    noise = Noise(shells, np.array([8.0, 0.5, 2.0]), np.ones(3))
    at = np.array([0.5, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 7.0]) / 8
    wanted = [1 / 8, 1 / 8, 1 / 4, 1 / 2, 2, 1, 1 / 2, 1 / 2]
    for way in np.eye(3):
        np.testing.assert_allclose(noise.weights(way[:, None] * at), wanted)
    nothing = noise._replace(power=np.zeros(3))
    assert (nothing.weights(k.T) == 0).all()
    # What is as good as nothing lets no wave count.
    faint = noise._replace(power=np.array([8.0, 1e-11, 2.0]))
    np.testing.assert_allclose(faint.weights(k.T), [1 / 8, 0, 1 / 2])
    small = noise._replace(power=np.array([8.0, 1e-9, 2.0]))
    assert small.weights(k.T)[1] == pytest.approx(1e9)


# Units.


@pytest.mark.parametrize("template", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("data", [1e-4, 1e4])
def test_no_units_matter_to_noise_fall_off_and_steps(template, data):
    random = np.random.default_rng(16)
    T, D = random.standard_normal((2, 3, 4, 9))
    norms, overlaps, powers = (np.square(T).sum(2), (T * D).sum(2), np.square(D).sum(2))
    counts = np.full((3, 4), 9)
    scaled = norms * template**2, overlaps * template * data, powers * data**2
    noise = noise_of(norms, overlaps, powers, counts)
    np.testing.assert_allclose(noise_of(*scaled, counts), noise * data**2)
    shells = shells_of(np.array([[i, 0, 0] for i in range(1, 5)]) / 16, 16.0)
    one = believed(Sums(norms, np.abs(overlaps), powers, counts), shells)
    other = believed(Sums(scaled[0], np.abs(scaled[1]), scaled[2], counts), shells)
    np.testing.assert_allclose(other.power, one.power)
    np.testing.assert_allclose(other.fall, one.fall)
    spectra, poses = random_data(3), random_poses(3)
    whole = gauss_newton._Data(
        spectra, FIELDS[0], EDGES, np.array([np.diff(EDGES)] * 3)
    )
    gram = gauss_newton._gram(poses, whole)
    rows = np.array([template] * 7 + [data])
    columns = np.array([template] * 7 + [data] * 4)
    moved = gram * rows[:, None] * columns
    here, there = (gauss_newton._step_of(each, whole.counts) for each in (gram, moved))
    np.testing.assert_allclose(there.score, here.score)
    for one, other in zip(here[1:], there[1:], strict=True):
        close = 1e-9 * np.abs(one).max() * data**2
        order = 4 if one is here.scatter else 2
        close *= data ** (order - 2)
        np.testing.assert_allclose(other, one * data**order, rtol=1e-6, atol=close)
    move, same = (
        steps.solve(each, np.full(3, 0.5), steps.FREE, np.zeros((3, 1, 6)))
        for each in (here, there)
    )
    np.testing.assert_allclose(same.step, move.step, rtol=1e-5)
    np.testing.assert_allclose(same.length, move.length, rtol=1e-5)
    variance, alike = (steps.variances(each, steps.FREE) for each in (here, there))
    np.testing.assert_allclose(alike, variance, rtol=1e-5)
    size = gauss_newton._expected_score(there, move.gain * data**2)
    np.testing.assert_allclose(size, gauss_newton._expected_score(here, move.gain))


@pytest.mark.parametrize("factor", [1e-4, 1e4])
def test_no_units_matter_to_local_noise(factor):
    spectra, poses = random_data(3), random_poses(3)
    found = noises.local_noise(poses, spectra, FIELDS)
    moved = spectra._replace(F=spectra.F * np.float32(factor))
    np.testing.assert_allclose(
        noises.local_noise(poses, moved, FIELDS), found, rtol=1e-3
    )
    faint = (FIELDS[0]._replace(values=FIELDS[0].values * np.float32(factor)),)
    np.testing.assert_allclose(
        noises.local_noise(poses, spectra, faint), found, rtol=1e-3
    )
