"""A posterior in its parts, and what all particles share, against plain sums."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy
from scipy.spatial.transform import Rotation

from funpipe.engine import amplitude
from funpipe.engine import posterior as likely
from funpipe.engine.amplitude import fitted, log_odds
from funpipe.engine.cells import cells_of
from funpipe.engine.gauss_newton import Poses
from funpipe.engine.integrals import Peaks, Tops
from funpipe.engine.posterior import Modes, Products, log_likelihood, posterior
from funpipe.engine.prior import Prior
from funpipe.engine.shift_integrals import Rows
from funpipe.engine.turns import turns_between
from funpipe.space.geometry import RotationGrid, rotation_grid

GRID = rotation_grid(((6, 3), (6, 3), (0, 0)))
CELLS = cells_of(
    GRID,
    np.stack(np.meshgrid(*[np.arange(-1, 2)] * 3, indexing="ij"), -1).reshape(-1, 3),
    (1.0, 1.0, 1.0),
)


def products_of(random, n, m):
    r, S = len(GRID.rotations), len(CELLS.shifts)
    smooth = np.exp(-np.square(CELLS.shifts).sum(axis=1) / 2)[:, None, None]
    x = 6 * smooth + random.standard_normal((1, n, m * r))
    g = random.uniform(90, 110, (n, m * r))
    P, N = random.uniform(900, 1100, n), random.uniform(900, 1100, n)
    assert x.shape == (S, n, m * r)
    return Products(x.astype(np.float32), g, P, N)


def test_slopes_and_offsets_are_those_of_each_templates_best():
    random = np.random.default_rng(6)
    n, m, r = 3, 2, len(GRID.rotations)
    products, rho = products_of(random, n, m), np.array([0.5, 0.8])
    best = products.x.max(axis=0).reshape(n, m, r)
    x = products.x.reshape(len(CELLS.shifts), -1)
    same, slope, offset, top = likely._linear(products, x, CELLS, rho)
    assert same is x
    for i, k in itertools.product(range(n), range(m)):
        g = products.g.reshape(n, m, r)[i, k]
        P, N = products.P[i], products.N[i]
        ln, v = log_likelihood(best[i, k], g, P, N, rho[k])
        at = ln.argmax()
        assert top[i, k] == pytest.approx(ln[at])
        np.testing.assert_allclose(slope[i, k], v[at] * rho[k] / np.sqrt(P))
        # To first order in x, ln L is what a plain evaluation gives.
        near = best[i, k] + 0.5
        wanted, _ = log_likelihood(near, g, P, N, rho[k])
        found = slope[i, k] * near - offset[i, k] + top[i, k]
        np.testing.assert_allclose(found, wanted, atol=0.05)


def test_nothing_is_higher_than_what_climbed():
    tops = Tops(
        np.array([0, 0, 1]),
        np.array([1, 1, 0]),
        *(np.zeros((3, *n)) for n in ((4,), (3,))),
        np.array([5.0, 7.0, 1.0]),
        np.zeros((3, 6, 6)),
    )
    peaks = Peaks(tops, *[np.zeros(3)] * 5)
    top = np.array([[2.0, 4.0], [3.0, 0.0]])
    found = likely._ceiling(peaks, top)
    np.testing.assert_array_equal(found, [[np.inf, 3.0], [0.0, np.inf]])


def test_shifts_around_a_mode_move_as_that_at_the_mode_does():
    random = np.random.default_rng(7)
    n, m, r = 2, 1, 4
    mean, square = random.normal(size=(n, m, r, 3)), random.uniform(5, 9, (n, m, r))
    rows = Rows(np.ones((n, m, r)), mean, square, np.zeros((n, m)))
    tops = Tops(np.array([0]), np.array([0]), *[np.zeros((1, 4))] * 4)
    there = np.array([[0.5, -0.2, 0.1]])
    peaks = Peaks(
        tops, np.zeros(1), np.zeros((1, 2)), np.array([2]), there, np.array([0.8])
    )
    inside = np.full((n, m, r), np.nan)
    inside[0, 0] = [1, 0, 1, 0]
    found = likely._anchored(rows, peaks, inside)
    move = 0.8 * (there[0] - mean[0, 0, 2])
    for i, k in itertools.product(range(n), range(r)):
        moved = move if i == 0 and k in (0, 2) else np.zeros(3)
        np.testing.assert_allclose(found.mean[i, 0, k], mean[i, 0, k] + moved)
        # Its spread about the mean stays.
        before = square[i, 0, k] - mean[i, 0, k] @ mean[i, 0, k]
        after = found.square[i, 0, k] - found.mean[i, 0, k] @ found.mean[i, 0, k]
        assert after == pytest.approx(before)


def test_a_mixtures_mean_and_spread_are_those_of_a_loop():
    random = np.random.default_rng(8)
    part = random.random((2, 5))
    share = np.array([0.3, 0.4, 0.2])
    particle = np.array([0, 1, 1])
    for i in range(2):
        part[i] *= (1 - share[particle == i].sum()) / part[i].sum()
    q, own = Rotation.random(5, rng=9).as_quat(), Rotation.random(3, rng=10).as_quat()
    at = random.normal(size=(3, 3))
    spread = random.uniform(0.1, 0.5, (3, 2))
    tops = Tops(particle, np.zeros(3, int), own, at, np.zeros(3), np.zeros((3, 6, 6)))
    shares = likely._Shares(part, tops, share, spread)
    mean, square = random.normal(size=(2, 5, 3)), random.uniform(9, 12, (2, 5))
    t, distance = likely._shifts(shares, mean, square)
    turned, angle = likely._rotations(shares, q)
    for i in range(2):
        mine = particle == i
        wanted = part[i] @ mean[i] + share[mine] @ at[mine]
        np.testing.assert_allclose(t[i], wanted)
        whole = part[i] @ square[i]
        whole += share[mine] @ (np.square(at[mine]).sum(axis=1) + spread[mine, 1])
        assert distance[i] == pytest.approx(np.sqrt(whole - wanted @ wanted))
        matrix = (q.T * part[i]) @ q + (own[mine].T * share[mine]) @ own[mine]
        best = np.linalg.eigh(matrix)[1][:, 3]
        assert turns_between(best, turned[i]) < 1e-6 and turned[i, 3] >= 0
        expected = part[i] @ turns_between(best, q) ** 2
        apart = turns_between(best, own[mine]) ** 2 + spread[mine, 0]
        assert angle[i] == pytest.approx(np.sqrt(expected + share[mine] @ apart))


def test_without_modes_a_broad_posterior_is_a_plain_sum():
    random = np.random.default_rng(11)
    products, rho = products_of(random, 3, 2), np.array([0.3, 0.35])
    found = posterior(products, CELLS, rho)
    r = len(CELLS.turns)
    x = products.x.reshape(-1, 3, 2, r).astype(float)
    for i in range(3):
        evidence = []
        for k in range(2):
            g = products.g[i].reshape(2, r)[k]
            ln, _ = log_likelihood(x[:, i, k], g, products.P[i], products.N[i], rho[k])
            weight = np.exp(ln) * CELLS.moves[:, None] * CELLS.turns
            evidence.append(np.log(weight.sum() / CELLS.volume))
            if k == found.templates[i]:
                t = weight.sum(axis=1) @ CELLS.shifts / weight.sum()
                np.testing.assert_allclose(found.shifts[i], t, atol=0.05)
        np.testing.assert_allclose(found.log_evidence[i], evidence, atol=0.25)
        assert found.templates[i] == np.argmax(evidence)


def test_of_a_list_of_rotations_each_is_as_likely():
    random = np.random.default_rng(12)
    grid = RotationGrid(Rotation.random(6, rng=1), None)
    cells = cells_of(grid, np.zeros((1, 3)), (0.0, 0.0, 0.0))
    x = random.normal(0, 40, (1, 2, 6)).astype(np.float32)
    products = Products(x, np.full((2, 6), 100.0), np.full(2, 1e3), np.full(2, 1e3))
    found = posterior(products, cells, np.array([0.5]))
    for i in range(2):
        ln, _ = log_likelihood(x[0, i].astype(float), 100.0, 1e3, 1e3, 0.5)
        chance = np.exp(ln - ln.max()) / np.exp(ln - ln.max()).sum()
        wanted = scipy.special.logsumexp(ln) - np.log(6)
        assert found.log_evidence[i, 0] == pytest.approx(wanted, abs=0.05)
        q = cells.quaternions
        mean = np.linalg.eigh((q.T * chance) @ q)[1][:, 3]
        assert turns_between(mean, found.rotations[i]) < 0.1
    assert np.isnan(found.mode_weight).all() and (found.shifts == 0).all()


def test_a_jobs_amplitude_maximises_the_likelihood_of_all_its_particles():
    random = np.random.default_rng(13)
    n, r = 40, len(CELLS.turns)
    x = random.normal(0, 10, (len(CELLS.shifts), n, r))
    x[13, :20, 4] += 80  # of half of them
    products = Products(
        x.astype(np.float32), np.full((n, r), 100.0), np.full(n, 1e3), np.full(n, 1e3)
    )
    found = fitted(products, CELLS, np.array([2.0]))
    assert found.share == pytest.approx(0.5, abs=0.06)

    def likelihood(amplitude):
        evidence = posterior(products, CELLS, np.array([amplitude])).log_evidence
        odds = np.exp(log_odds(evidence, found.share))
        return np.log1p(odds).sum() + n * np.log(1 - found.share)

    best = found.amplitudes[0]
    assert likelihood(best) > max(likelihood(1.15 * best), likelihood(best / 1.15))
    assert best == pytest.approx(0.8, rel=0.15)
    strong = products._replace(x=products.x * np.float32(0.5))
    assert fitted(strong, CELLS, np.array([2.0])).amplitudes[0] < 0.75 * best


def test_slopes_and_offsets_with_a_prior_are_those_of_each_templates_best():
    random = np.random.default_rng(16)
    n, m, r = 3, 2, len(GRID.rotations)
    products, rho = products_of(random, n, m), np.array([0.5, 0.8])
    prior = Prior(0.06, 0.7)
    cells = CELLS._replace(prior=prior)
    x = products.x.reshape(len(CELLS.shifts), -1)
    moved, slope, offset, top = likely._linear(products, x, cells, rho)
    moved = moved.reshape(-1, n, m, r).astype(float)
    turns = -np.square(GRID.rotations.magnitude() / 0.06) / 2
    moves = -np.square(np.linalg.norm(CELLS.shifts, axis=1) / 0.7) / 2
    for i, k in itertools.product(range(n), range(m)):
        whole = np.zeros((len(CELLS.shifts), r))
        for s, j in itertools.product(range(len(CELLS.shifts)), range(r)):
            g = products.g[i, k * r + j]
            at = products.P[i], products.N[i], rho[k]
            ln, _ = log_likelihood(float(products.x[s, i, k * r + j]), g, *at)
            whole[s, j] = ln + turns[j] + moves[s]
        assert top[i, k] == pytest.approx(whole.max(), abs=0.02)
        found = slope[i, k] * moved[:, i, k] - offset[i, k] + top[i, k]
        # To first order; what is much less likely does not count.
        near = whole > whole.max() - 2
        np.testing.assert_allclose(found[near], whole[near], atol=0.06)


def test_the_evidence_of_modes_with_a_prior_is_that_of_their_products():
    random = np.random.default_rng(17)
    cells = cells_of(rotation_grid((20, 8)), 3 * CELLS.shifts, np.full(3, 3.0))
    cells = cells._replace(prior=Prior(0.05, 0.4))
    R = Rotation.from_rotvec(0.04 * random.normal(size=(2, 3)))
    t, none = random.uniform(-0.4, 0.4, (2, 3)), np.zeros(2, int)
    poses = Poses(np.arange(2), none, R.as_matrix(), t, np.array([0.5, 0.4]))
    S = np.array([np.diag([90.0, 80, 70, 4, 5, 6])] * 2)
    g, P, N = np.full(2, 100.0), np.array([900.0, 1100.0]), np.array([1e3, 900.0])
    found = likely.of_modes(Modes(poses, g, S), P, N, cells, np.array([[2.0]]))
    for i in range(2):
        x = poses.score[i] * np.sqrt(g[i] * P[i])
        ln, v = log_likelihood(x, g[i], P[i], N[i], 2.0)
        a = v * 2.0 * x / np.sqrt(P[i]) * np.diag(S[i])
        p = np.array([1 / 0.05**2] * 3 + [1 / 0.4**2] * 3)
        away = np.concatenate([R[i].as_rotvec(), t[i]])
        wanted = ln + np.log(2 * np.pi / (a + p)).sum() / 2
        wanted -= (a * p / (a + p) @ away**2) / 2 + np.log(cells.volume)
        assert found[i, 0, 0] == pytest.approx(wanted, abs=0.05)


def test_the_strength_of_a_particle_is_that_at_its_best_score():
    random = np.random.default_rng(18)
    n, m, r = 4, 2, len(GRID.rotations)
    products, unit = products_of(random, n, m), np.array([0.5, 2.0])
    products = products._replace(g=random.uniform(40, 200, (n, m * r)))
    x = products.x.copy()
    x[:, 0] *= -1  # nothing there is like the template
    x[3, 1, 7] = 9e3  # more than there can be
    found = amplitude._strengths(products._replace(x=x), unit)
    for i in range(n):
        scores = x[:, i] / np.sqrt(products.g[i] * products.P[i])
        _, at = np.unravel_index(scores.argmax(), scores.shape)
        score = min(max(scores.max(), 0.01), 0.999)
        z = score * np.sqrt(products.N[i] / (1 - score**2))
        wanted = z / np.sqrt(products.g[i, at]) / unit[at // r]
        assert found[i] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_no_units_matter_to_strengths_and_likelihoods(factor):
    random = np.random.default_rng(19)
    products, unit = products_of(random, 4, 2), np.array([0.5, 2.0])
    moved = products._replace(
        x=products.x * np.float32(factor), P=products.P * factor**2
    )
    found = amplitude._strengths(moved, unit)
    np.testing.assert_allclose(found, amplitude._strengths(products, unit), rtol=1e-5)
    one, v = log_likelihood(30.0, 90.0, 900.0, 1e3, 0.5)
    other, same = log_likelihood(30.0 * factor, 90.0, 900.0 * factor**2, 1e3, 0.5)
    assert other == pytest.approx(one) and same == pytest.approx(v)
    faint = products._replace(
        x=products.x * np.float32(factor), g=products.g * factor**2
    )
    found = amplitude._strengths(faint, unit / factor)
    np.testing.assert_allclose(found, amplitude._strengths(products, unit), rtol=1e-5)
