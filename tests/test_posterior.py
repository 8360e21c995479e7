"""The posterior of a search is what integrating by brute force finds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import scipy
from scipy.spatial.transform import Rotation

from funpipe.engine.amplitude import fitted, log_odds
from funpipe.engine.cells import cells_of
from funpipe.engine.gauss_newton import Poses, Spectra, climb
from funpipe.engine.limits import Limits
from funpipe.engine.posterior import (
    Modes,
    Products,
    log_likelihood,
    of_modes,
    posterior,
)
from funpipe.engine.prior import FLAT, Prior, truncated
from funpipe.engine.spectra import template_fields
from funpipe.engine.turns import turns_between
from funpipe.simulate import asymmetric_molecule, blob_image, blob_spectrum
from funpipe.space.fourier import half_ball
from funpipe.space.geometry import RotationGrid, rotation_grid
from funpipe.space.tilts import single_axis

BOX = 16
K = half_ball((BOX,) * 3, 4.0) / BOX
BLOBS = asymmetric_molecule(5, radius=5.0, sigma=1.3)
OTHER = asymmetric_molecule(6, radius=5.0, sigma=1.3)
GRID = rotation_grid(((12, 4),) * 3)
WINDOW = 2.0
SIGNAL = float((np.abs(blob_spectrum(BLOBS, K, 1.0)) ** 2).sum())


class Made(NamedTuple):
    """Spectra of simulated particles, and their truth."""

    F: np.ndarray
    W: np.ndarray
    rotations: Rotation
    shifts: np.ndarray


def lattice(step=1.0):
    axis = np.arange(-WINDOW, WINDOW + step / 2, step)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)


def spectrum(rotation, shift, blobs=BLOBS):
    return blob_spectrum(blobs, K, 1.0, rotation) * np.exp(-2j * np.pi * K @ shift)


def make(count, strength, seed=0, empty=0, blobs=BLOBS):
    """Return particles that are strength standard deviations of the noise strong.

    Their poses are spread evenly over the window; the first ``empty`` are noise.
    """
    random = np.random.default_rng(seed)
    angles = random.uniform(-12, 12, (count, 3))
    rotations = Rotation.from_euler("XYZ", angles, degrees=True)
    shifts = random.uniform(-WINDOW, WINDOW, (count, 3))
    noise = random.standard_normal((2, count, len(K)))
    F = noise[0] + 1j * noise[1]
    for i in range(empty, count):
        F[i] += strength / np.sqrt(SIGNAL) * spectrum(rotations[i], shifts[i], blobs)
    tilt = single_axis((-60, 60))
    W = np.array([tilt(each.apply(K).T) for each in Rotation.random(count, rng=seed)])
    return Made(F * W, W, rotations, shifts)


def turned(grid, blobs=(BLOBS,)):
    """Return the templates' spectra at all rotations, (m · r, N)."""
    return np.array(
        [blob_spectrum(each, K, 1.0, R) for each in blobs for R in grid.rotations],
        np.complex64,
    )


def products_of(made, T, shifts):
    """Return the sums over waves by their definition."""
    waves = np.exp(-2j * np.pi * K @ shifts.T).astype(np.complex64)
    waves = np.concatenate([waves.real, waves.imag])
    x = [
        np.concatenate([each.real, each.imag], axis=1) @ waves
        for each in (T.conj() * (F * W).astype(np.complex64) for F, W in rows(made))
    ]
    return Products(
        np.array(x).transpose(2, 0, 1),
        (made.W @ (np.abs(T) ** 2).T).astype(np.float32),
        (made.W * np.abs(made.F) ** 2).sum(axis=1).astype(np.float32),
        2.0 * (made.W > 0).sum(axis=1),
    )


def rows(made):
    return zip(made.F, made.W, strict=True)


def pose_score(pose, F, W):
    T = spectrum(Rotation.from_rotvec(pose[:3]), pose[3:])
    overlap, norm = (W * T.conj() * F).sum().real, (W * np.abs(T) ** 2).sum()
    return overlap / np.sqrt(norm * (W * np.abs(F) ** 2).sum())


def modes_by_scipy(made, products, grid=GRID):
    """Return the optimum that each particle's best grid point leads to."""
    best, g, sharpness, R, t = [], [], [], [], []
    shifts = lattice()
    for i, (F, W) in enumerate(rows(made)):
        scores = products.x[:, i] / np.sqrt(products.g[i])
        s, r = np.unravel_index(scores.argmax(), scores.shape)
        start = np.concatenate([grid.rotations[int(r)].as_rotvec(), shifts[s]])
        found = scipy.optimize.minimize(
            lambda pose, F=F, W=W: -pose_score(pose, F, W),
            start,
            method="L-BFGS-B",
            bounds=[(-0.5, 0.5)] * 3 + [(-WINDOW, WINDOW)] * 3,
        )
        rotation = Rotation.from_rotvec(found.x[:3])
        T = blob_spectrum(BLOBS, K, 1.0, rotation)
        small = Rotation.from_rotvec(1e-4 * np.eye(3))
        turned = [
            blob_spectrum(BLOBS, K, 1.0, rotation * each)
            - blob_spectrum(BLOBS, K, 1.0, rotation * each.inv())
            for each in small
        ]
        B = np.concatenate([np.array(turned) / 2e-4, -2j * np.pi * K.T * T])
        norm = (W * np.abs(T) ** 2).sum()
        best.append(-found.fun)
        g.append(norm)
        sharpness.append(((W * B.conj()) @ B.T).real / norm)
        R.append(rotation.as_matrix())
        t.append(found.x[3:])
    each = np.arange(len(best))
    poses = Poses(each, 0 * each, np.array(R), np.array(t), np.array(best))
    return Modes(poses, np.array(g), np.array(sharpness))


def by_brute_force(made, amplitude, turn_step, shift_step, prior=FLAT):
    """Return log evidence, mean shift, mean rotation and their spreads, by sums."""
    grid = rotation_grid(((12, turn_step),) * 3)
    shifts = lattice(shift_step)
    cells = cells_of(grid, shifts, (WINDOW,) * 3)
    log_turns = -np.square(grid.rotations.magnitude() / prior.turn) / 2
    log_moves = -np.square(shifts / prior.move).sum(axis=1) / 2
    cells = cells._replace(
        turns=cells.turns * np.exp(log_turns), moves=cells.moves * np.exp(log_moves)
    )
    T = turned(grid)
    results = []
    for i in range(len(made.F)):
        one = Made(made.F[[i]], made.W[[i]], made.rotations[[i]], made.shifts[[i]])
        x, g, P, N = products_of(one, T, shifts)
        ln, _ = log_likelihood(x[:, 0], g[0], P[0], N[0], np.float32(amplitude))
        top = float(ln.max())
        weight = np.exp(ln - top)
        p_shift = (weight @ cells.turns) * cells.moves
        p_turn = (cells.moves @ weight) * cells.turns
        whole = p_shift.sum()
        t = p_shift @ shifts / whole
        mean = grid.rotations.mean(p_turn)
        turns = (mean.inv() * grid.rotations).magnitude()
        results.append(
            (
                top + np.log(whole / (cells.moves.sum() * cells.turns.sum())),
                t,
                mean.as_quat(),
                np.sqrt(p_shift @ ((shifts - t) ** 2).sum(axis=1) / whole),
                np.degrees(np.sqrt(p_turn @ turns**2 / whole)),
            )
        )
    return [np.array(each) for each in zip(*results, strict=True)]


NARROW = Prior(np.radians(4.0), 0.7)
STEADY, UPRIGHT = Prior(move=0.7), Prior(np.radians(4.0))
T_GRID = turned(GRID)
CELLS = cells_of(GRID, lattice(), (WINDOW,) * 3)


def amplitude_of(strength):
    return np.array([strength / np.sqrt(SIGNAL)])


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


@pytest.mark.parametrize(
    ("strength", "turn_step", "shift_step"),
    [(6.0, 3.0, 0.5), (10.0, 3.0, 1 / 3), (16.0, 3.0, 0.25)],
)
@pytest.mark.parametrize("prior", [FLAT, NARROW, STEADY, UPRIGHT], ids=str)
def test_the_posterior_is_that_of_a_fine_grid(strength, turn_step, shift_step, prior):
    made = make(4, strength, seed=1)
    products = products_of(made, T_GRID, lattice())
    modes = modes_by_scipy(made, products)
    cells = CELLS._replace(prior=prior)
    found = posterior(products, cells, amplitude_of(strength), modes)
    ln, t, q, spread, turn = by_brute_force(
        made, amplitude_of(strength)[0], turn_step, shift_step, prior
    )
    apart = np.linalg.norm(found.shifts - t, axis=1)
    turns = np.degrees(turns_between(found.rotations, q))
    assert np.abs(found.log_evidence[:, 0] - ln).max() < 1.0
    assert rms(apart) < 0.25 * rms(spread)
    assert rms(turns) < 0.2 * rms(turn)
    np.testing.assert_allclose(found.shift_errors, spread, rtol=0.25)
    np.testing.assert_allclose(found.angle_errors, turn, rtol=0.25)


def test_the_evidence_of_a_narrow_mode_is_all_there_is():
    made = make(4, 60.0, seed=2)
    products = products_of(made, T_GRID, lattice())
    modes, rho = modes_by_scipy(made, products), amplitude_of(60.0)
    ladder, found, whole = np.stack([rho, 2 * rho]), [], []
    for prior in (FLAT, NARROW):
        cells = CELLS._replace(prior=prior)
        found.append(of_modes(modes, products.P, products.N, cells, ladder)[..., 0])
        whole.append(posterior(products, cells, rho, modes).log_evidence)
    np.testing.assert_allclose(found[0], whole[0], atol=1.5)
    by_prior = found[1] - found[0]
    assert np.ptp(by_prior) > 3
    np.testing.assert_allclose(by_prior, whole[1] - whole[0], atol=0.15)


def test_a_narrow_posterior_is_the_modes_gaussian():
    made = make(4, 200.0, seed=2)
    made = made._replace(F=made.F)
    products = products_of(made, T_GRID, lattice())
    modes = modes_by_scipy(made, products)
    found = posterior(products, CELLS, amplitude_of(200.0), modes)
    inside = (np.abs(modes.poses.t) < WINDOW - 0.2).all(axis=1)
    assert inside.sum() >= 2
    R = Rotation.from_matrix(modes.poses.R)
    turns = np.degrees(turns_between(found.rotations, R.as_quat()))
    assert turns[inside].max() < 0.02
    assert np.abs(found.shifts - modes.poses.t)[inside].max() < 0.003
    covariance = np.linalg.inv(modes.sharpness * modes.g[:, None, None])
    variance = np.einsum("qii->qi", covariance) * SIGNAL / 200.0**2
    wanted = np.sqrt(variance[:, 3:].sum(axis=1))
    np.testing.assert_allclose(found.shift_errors[inside], wanted[inside], rtol=0.1)
    wanted = np.degrees(np.sqrt(variance[:, :3].sum(axis=1)))
    np.testing.assert_allclose(found.angle_errors[inside], wanted[inside], rtol=0.1)
    assert found.mode_weight[inside].min() > 0.99


def test_where_the_grid_resolves_the_posterior_it_is_a_plain_sum():
    made = make(1, 2.0, seed=3)
    products = products_of(made, T_GRID, lattice())
    found = posterior(products, CELLS, amplitude_of(2.0))
    for i in range(1):
        whole, shift = 0.0, np.zeros(3)
        for s, t in enumerate(lattice()):
            for r in range(len(GRID.rotations)):
                x, g = products.x[s, i, r], products.g[i, r]
                ln, _ = log_likelihood(
                    x, g, products.P[i], products.N[i], amplitude_of(2.0)[0]
                )
                weight = np.exp(ln) * CELLS.moves[s] * CELLS.turns[r]
                whole, shift = whole + weight, shift + weight * t
        ln = np.log(whole / CELLS.volume)
        assert found.log_evidence[i, 0] == pytest.approx(ln, abs=0.1)
        np.testing.assert_allclose(found.shifts[i], shift / whole, atol=0.08)


def test_the_likelihood_is_the_integral_over_the_noise():
    N, P, g, rho = 200, 260.0, 90.0, 0.4

    def integral(x):
        def density(ln_s):
            s = np.exp(ln_s)
            return np.exp(-N * ln_s - P / (2 * s * s) + rho * x / s - rho**2 * g / 2)

        return scipy.integrate.quad(density, -2, 2, points=[0.0], limit=200)[0]

    for x in (-30.0, 10.0, 60.0):
        ln, _ = log_likelihood(x, g, P, N, rho)
        none, _ = log_likelihood(0.0, 0.0, P, N, rho)
        wanted = np.log(integral(x) / integral(0.0) * np.exp(0.0)) - rho**2 * g / 2
        assert none == pytest.approx(0.0, abs=1e-9)
        assert ln == pytest.approx(wanted, abs=0.05)


def test_the_slope_of_the_likelihood_is_its_derivative():
    N, P, rho = 300, 500.0, 0.7
    for x in (-50.0, 0.0, 120.0):
        _, v = log_likelihood(x, 40.0, P, N, rho)
        up, down = (log_likelihood(x + d, 40.0, P, N, rho)[0] for d in (1e-4, -1e-4))
        assert (up - down) / 2e-4 == pytest.approx(v * rho / np.sqrt(P), rel=1e-5)


@pytest.mark.parametrize("factor", [1e-3, 7.0])
def test_the_scale_of_the_data_does_not_matter(factor):
    made = make(3, 8.0, seed=4)
    one = products_of(made, T_GRID, lattice())
    other = one._replace(x=one.x * np.float32(factor), P=one.P * np.float32(factor**2))
    for a, b in zip(
        posterior(one, CELLS, amplitude_of(8.0)),
        posterior(other, CELLS, amplitude_of(8.0)),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3)


def test_each_particle_is_weighed_on_its_own():
    made = make(4, 8.0, seed=5)
    products = products_of(made, T_GRID, lattice())
    modes = modes_by_scipy(made, products)
    together = posterior(products, CELLS, amplitude_of(8.0), modes)
    for i in range(4):
        x, g, P, N = products
        alone = Products(x[:, [i]], g[[i]], P[[i]], N[[i]])
        mode = modes.poses.take(np.array([i]))._replace(particle=np.array([0]))
        own = Modes(mode, modes.g[[i]], modes.sharpness[[i]])
        found = posterior(alone, CELLS, amplitude_of(8.0), own)
        for one, all_of_them in zip(found, together, strict=True):
            np.testing.assert_allclose(one[0], all_of_them[i], rtol=1e-4, atol=1e-5)


def test_a_mode_given_twice_counts_once():
    made = make(3, 30.0, seed=6)
    products = products_of(made, T_GRID, lattice())
    modes = modes_by_scipy(made, products)
    twice = Modes(
        modes.poses.take(np.tile(np.arange(3), 2)),
        np.tile(modes.g, 2),
        np.tile(modes.sharpness, (2, 1, 1)),
    )
    for one, other in zip(
        posterior(products, CELLS, amplitude_of(30.0), modes),
        posterior(products, CELLS, amplitude_of(30.0), twice),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-9)


def test_the_evidence_tells_which_template_it_is():
    strength = 12.0
    T = turned(GRID, (BLOBS, OTHER))
    norms = (np.abs(T) ** 2).sum(axis=1).reshape(2, -1).mean(axis=1)
    for i, blobs in enumerate((BLOBS, OTHER)):
        made = make(6, strength, seed=7, blobs=blobs)
        products = products_of(made, T, lattice())
        found = posterior(products, CELLS, strength / np.sqrt(norms))
        assert (found.templates == i).all()
        own = found.log_evidence[:, i] - found.log_evidence[:, 1 - i]
        assert own.min() > 3


def test_the_amplitude_and_the_share_of_particles_are_found():
    for strength, empty in ((6.0, 20), (9.0, 0), (40.0, 10)):
        made = make(40, strength, seed=8, empty=empty)
        products = products_of(made, T_GRID, lattice())
        found = fitted(products, CELLS, np.array([1 / np.sqrt(SIGNAL)]))
        measured = found.amplitudes[0] * np.sqrt(SIGNAL)
        assert measured == pytest.approx(strength, rel=0.1)
        assert found.share == pytest.approx(1 - empty / 40, abs=0.1)


def test_of_places_with_odds_p_a_share_p_are_particles():
    made = make(240, 4.5, seed=9, empty=120)
    products = products_of(made, T_GRID, lattice())
    x, g, P, N = products  # some of them, spread over all
    some = Products(x[:, ::4], g[::4], P[::4], N[::4])
    signal = fitted(some, CELLS, np.array([1 / np.sqrt(SIGNAL)]))
    found = posterior(products, CELLS, signal.amplitudes)
    p = scipy.special.expit(log_odds(found.log_evidence, signal.share))
    there = np.arange(240) >= 120
    assert p.mean() == pytest.approx(0.5, abs=0.08)
    for low, high in ((0.0, 0.1), (0.1, 0.5), (0.5, 0.9), (0.9, 1.0)):
        some = (p >= low) & (p <= high)
        assert some.sum() > 8  # so that there is something to tell
        sampling = np.sqrt(p[some].mean() * (1 - p[some].mean()) / some.sum())
        assert abs(p[some].mean() - there[some].mean()) < 0.05 + 2 * sampling


def test_the_mean_is_nearer_to_the_truth_than_the_mode_where_the_signal_is_weak():
    made = make(60, 6.0, seed=10)
    products = products_of(made, T_GRID, lattice())
    found = posterior(products, CELLS, amplitude_of(6.0))
    scores = (products.x / np.sqrt(products.g)).transpose(1, 2, 0).reshape(60, -1)
    r, s = np.divmod(scores.argmax(axis=1), len(lattice()))
    of_mean = np.linalg.norm(found.shifts - made.shifts, axis=1)
    of_mode = np.linalg.norm(lattice()[s] - made.shifts, axis=1)
    assert rms(of_mean) < 0.9 * rms(of_mode)
    assert rms(of_mean) == pytest.approx(rms(found.shift_errors), rel=0.2)
    truth = made.rotations.as_quat()
    of_mean = np.degrees(turns_between(found.rotations, truth))
    of_mode = np.degrees(turns_between(GRID.rotations[r].as_quat(), truth))
    assert rms(of_mean) < 0.8 * rms(of_mode)
    assert rms(of_mean) == pytest.approx(rms(found.angle_errors), rel=0.2)


@pytest.mark.parametrize("rotations", [None, ((12, 4), (0, 0), (0, 0)), (12, 4)])
@pytest.mark.parametrize("still", [True, False])
def test_any_grid_will_do(rotations, still):
    grid = rotation_grid(rotations)
    made = make(3, 10.0, seed=11)
    shifts = np.zeros((1, 3)) if still else lattice()
    cells = cells_of(grid, shifts, (0.0,) * 3 if still else (WINDOW,) * 3)
    products = products_of(made, turned(grid), shifts)
    found = posterior(products, cells, amplitude_of(10.0))
    for each in found._replace(mode_weight=np.zeros(3)):
        assert np.isfinite(each).all()
    if still:
        assert (found.shifts == 0).all() and (found.shift_errors == 0).all()
    if rotations is None:
        assert (found.angle_errors < 1e-5).all()


def test_nothing_in_a_box_leaves_the_window():
    products = products_of(make(2, 5.0), T_GRID, lattice())
    none = products._replace(x=0 * products.x, P=0 * products.P)
    found = posterior(none, CELLS, amplitude_of(5.0))
    assert np.abs(found.shifts).max() < 1e-3
    assert np.isfinite(found.log_evidence).all()


def test_cells_fill_the_window():
    assert CELLS.moves.sum() == pytest.approx((2 * WINDOW) ** 3)
    sine = 2 * np.sin(np.radians(12)) * np.radians(24) ** 2
    assert CELLS.turns.sum() == pytest.approx(sine, rel=0.01)
    whole = cells_of(rotation_grid("all"), np.zeros((1, 3)), (0, 0, 0))
    assert whole.volume == pytest.approx(8 * np.pi**2, rel=1e-3)
    listed = RotationGrid(Rotation.random(7, rng=0), None)
    assert cells_of(listed, np.zeros((1, 3)), (0, 0, 0)).free == 0


def test_a_list_of_rotations_has_no_width():
    listed = RotationGrid(Rotation.random(7, rng=0), None)
    shifts = np.array([[0.0, 0, -1], [0, 0, 0], [0, 0, 1]])
    cells = cells_of(listed, shifts, (0.4, 0.0, 1.3))
    turn, move = cells.widths
    assert turn == 0 and cells.spacing == 0
    np.testing.assert_array_equal(move, [0, 0, 1.3])
    np.testing.assert_allclose(cells.moves, [0.8, 1, 0.8])
    assert cells.volume == pytest.approx(7 * 2.6)


def test_gaussians_between_walls_are_scipys():
    mean = np.array([[0.0, 1.9, -2.3]])
    sigma = np.array([[0.5, 0.4, 0.6]])
    part, middle, variance = truncated(mean, sigma**2, np.full(3, 2.0))
    for i in range(3):
        m, s = mean[0, i], sigma[0, i]
        wanted = scipy.stats.truncnorm((-2 - m) / s, (2 - m) / s, m, s)
        whole = scipy.stats.norm(m, s)
        inside = whole.cdf(2) - whole.cdf(-2)
        assert part[0, i] == pytest.approx(inside, rel=1e-3)
        assert middle[0, i] == pytest.approx(wanted.mean(), abs=1e-3)
        assert variance[0, i] == pytest.approx(wanted.var(), rel=1e-2)


def test_the_climb_gives_the_sharpness_of_the_score():
    made = make(2, 1e3, seed=12)
    products = products_of(made, T_GRID, lattice())
    modes = modes_by_scipy(made, products)
    template = blob_image(BLOBS, (BOX,) * 3, 1.0)
    fields = (template_fields(template, 0.25),)
    F, W = made.F / np.maximum(made.W, 1e-9), made.W
    data = Spectra(K.astype(np.float32), F.astype(np.complex64), W.astype(np.float32))
    limits = Limits((WINDOW,) * 3, 30.0)
    found = climb(modes.poses, data, fields, limits, steps=5).sharpness
    np.testing.assert_allclose(
        found, modes.sharpness, rtol=0.1, atol=0.03 * modes.sharpness.max()
    )


def placed(strength, shift, seed=0):
    """Return one particle at the identity, that is a point of every grid."""
    made = make(1, strength, seed, empty=1)
    at = strength / np.sqrt(SIGNAL) * spectrum(Rotation.identity(), np.array(shift))
    return made._replace(F=made.F + made.W * at)


def test_a_narrow_peak_at_a_point_of_the_grid_counts_once():
    made = placed(60.0, (0.0, 0.0, 0.0))
    products = products_of(made, T_GRID, lattice())
    modes = modes_by_scipy(made, products)
    rho = amplitude_of(60.0)
    found = posterior(products, CELLS, rho, modes)
    x = modes.poses.score * np.sqrt(modes.g * products.P)
    ln, v = log_likelihood(x, modes.g, products.P, products.N, rho)
    precision = (v * rho * x / np.sqrt(products.P))[0] * modes.sharpness[0]
    _, logarithm = np.linalg.slogdet(precision)
    wanted = ln[0] + 3 * np.log(2 * np.pi) - logarithm / 2 - np.log(CELLS.volume)
    assert found.log_evidence[0, 0] == pytest.approx(wanted, abs=0.5)


def test_shifts_between_voxels_are_as_exact_as_the_mode_where_rotations_are_broad():
    grid = rotation_grid(((6, 2),) * 3)
    cells = cells_of(grid, lattice(), (WINDOW,) * 3)
    fine = lattice(0.2)
    fine_cells = cells_of(grid, fine, (WINDOW,) * 3)
    T = turned(grid)
    apart, spread = [], []
    for seed in range(6):
        made = placed(24.0, (0.4, -0.4, 0.3), seed)
        products = products_of(made, T, lattice())
        modes = modes_by_scipy(made, products, grid)
        found = posterior(products, cells, amplitude_of(24.0), modes)
        x, g, P, N = products_of(made, T, fine)
        ln, _ = log_likelihood(x[:, 0], g[0], P[0], N[0], amplitude_of(24.0)[0])
        weight = (np.exp(ln - ln.max()) @ cells.turns) * fine_cells.moves
        mean = weight @ fine / weight.sum()
        apart.append(np.linalg.norm(found.shifts[0] - mean))
        square = weight @ ((fine - mean) ** 2).sum(axis=1) / weight.sum()
        spread.append(np.sqrt(square))
    assert rms(apart) < 0.1 * rms(spread)
