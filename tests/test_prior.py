"""What is thought of poses before the data: where it counts, and by how much."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.engine.cells import cells_of
from funpipe.engine.integrals import Tops, basis_at, of_tops, over_tops
from funpipe.engine.matching import ENGINE
from funpipe.engine.prior import FLAT, Prior, truncated
from funpipe.engine.turns import rotation_vectors, turned, turns_between
from funpipe.simulate import Blobs, asymmetric_molecule, blob_image, tomogram
from funpipe.space.crops import whole_box
from funpipe.space.geometry import rotation_grid
from funpipe.space.symmetry import symmetry_group

SHAPE = (20, 20, 20)
BLOBS = asymmetric_molecule(3, radius=6.0, sigma=1.3)
TEMPLATE = blob_image(BLOBS, SHAPE, 1.0)
UNIT = float(TEMPLATE[0.1 * TEMPLATE.max() < TEMPLATE].std())
SEARCH = {
    "template": TEMPLATE,
    "scale": 1.0,
    "max_shifts": 3.0,
    "rotations": ((12, 4),) * 3,
    "tilt": (-60, 60),
    "resolution": 4.0,
    "progress": False,
}


class Made(NamedTuple):
    """A tomogram, where its particles are, and picks about there."""

    tomogram: np.ndarray
    truth: fp.Molecules
    picks: fp.Molecules


def near_the_start(side, noise, turn, move, seed=0):
    """Return side² particles; picks are normally distributed about the truth."""
    random = np.random.default_rng(seed)
    places = np.stack(np.meshgrid([20], *[20.0 + 20 * np.arange(side)] * 2), -1)
    truth = fp.Molecules(places.reshape(-1, 3), Rotation.random(side**2, rng=random))
    shape, tilt = (40, *[20 + 20 * side] * 2), (-60, 60)
    volume = tomogram(
        BLOBS, truth, shape, 1.0, noise=noise * UNIT, tilt=tilt, seed=seed
    )
    turns = random.normal(scale=np.radians(turn), size=(side**2, 3))
    moves = np.clip(random.normal(scale=move, size=(side**2, 3)), -2.9, 2.9)
    picks = fp.Molecules(
        truth.positions - truth.rotations.apply(moves),
        truth.rotations * Rotation.from_rotvec(turns),
    )
    return Made(volume, truth, picks)


def aligned(made, **options):
    return fp.align(made.tomogram, made.picks, **{**SEARCH, **options})


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


def errors(found, made):
    """Return degrees and voxels by root mean square, and those stated."""
    turns = (made.truth.rotations.inv() * found.rotations).magnitude()
    moves = np.linalg.norm(found.positions - made.truth.positions, axis=1)
    stated = found.features["angle_error"], found.features["shift_error"]
    return [rms(each) for each in (np.degrees(turns), moves, *stated)]


@pytest.mark.parametrize(("noise", "known"), [(6.0, (0.8, 4.0)), (12.0, (0.4, 2.0))])
def test_what_is_known_of_weak_particles_helps_and_errors_stay_true(noise, known):
    made = near_the_start(9, noise, known[1], known[0], seed=1)
    turn, move, *_ = errors(aligned(made), made)
    nearer, closer, angle, shift = errors(aligned(made, prior=known), made)
    assert nearer < 0.85 * turn and closer < 0.9 * move
    assert nearer < 1.05 * known[1] * math.sqrt(3)  # no worse than staying there
    assert nearer == pytest.approx(angle, rel=0.2)
    assert closer == pytest.approx(shift, rel=0.2)


def test_a_prior_of_one_leaves_the_other_as_it_is():
    made = near_the_start(8, 9.0, 2.0, 0.8, seed=2)
    flat, turn, move = (
        errors(aligned(made, prior=prior), made)[:2]
        for prior in ((None, None), (None, 2.0), (0.8, None))
    )
    assert turn[0] < 0.9 * flat[0] and turn[1] == pytest.approx(flat[1], rel=0.1)
    assert move[1] < 0.9 * flat[1] and move[0] == pytest.approx(flat[0], rel=0.1)


def test_where_nothing_is_known_a_prior_changes_nothing():
    made = near_the_start(2, 9.0, 4.0, 0.8, seed=3)
    one, same, wide = (
        aligned(made, prior=prior) for prior in (None, (None, None), (1e4, 1e5))
    )
    assert one == same
    np.testing.assert_allclose(wide.positions, one.positions, atol=1e-4)
    turns = (one.rotations.inv() * wide.rotations).magnitude()
    assert np.degrees(turns).max() < 1e-3
    for name in ("shift_error", "angle_error", "log_odds", "mode_weight"):
        np.testing.assert_allclose(wide.features[name], one.features[name], rtol=1e-3)


@pytest.mark.parametrize("noise", [0.5, 9.0])
@pytest.mark.parametrize("least", [1e-3, 1e-300])
def test_particles_that_are_known_to_be_there_stay(least, noise):
    made = near_the_start(2, noise, 4.0, 0.8, seed=4)
    found = aligned(made, prior=(least, least))
    assert found.features["angle"].max() < 0.2
    assert found.features["shift"].max() < 0.02
    assert found.features["angle_error"].max() < 0.2
    assert found.features["shift_error"].max() < 0.02


def test_a_strong_signal_outweighs_what_was_thought():
    made = near_the_start(3, 0.5, 4.0, 0.8, seed=5)
    one, other = aligned(made), aligned(made, prior=(1.6, 8.0))
    moved = np.linalg.norm(one.positions - other.positions, axis=1)
    assert (moved < 0.2 * one.features["shift_error"]).all()
    turns = np.degrees((one.rotations.inv() * other.rotations).magnitude())
    assert (turns < 0.2 * one.features["angle_error"]).all()
    for name, spread in (("shift_error", 1.6), ("angle_error", 8.0)):
        wanted = np.hypot(1 / one.features[name], 1 / spread / np.sqrt(3)) ** -1
        np.testing.assert_allclose(other.features[name], wanted)
    assert (one.features["score"] == other.features["score"]).all()


def test_a_prior_is_in_nm_and_degrees():
    made = near_the_start(3, 9.0, 4.0, 0.8, seed=6)
    one = aligned(made, prior=(0.8, 4.0))
    half = {"scale": 0.5, "max_shifts": 1.5, "resolution": 2.0, "prior": (0.4, 4.0)}
    smaller = fp.Molecules(made.picks.positions / 2, made.picks.rotations)
    other = aligned(made._replace(picks=smaller), **half)
    np.testing.assert_allclose(one.positions, 2 * other.positions, atol=1e-3)
    turns = (one.rotations.inv() * other.rotations).magnitude()
    assert np.degrees(turns).max() < 0.01


@pytest.mark.parametrize("rotations", [None, Rotation.from_rotvec([[0.1, 0, 0]])])
def test_what_is_not_searched_does_not_move(rotations):
    made = near_the_start(2, 3.0, 4.0, 0.8, seed=8)
    limits = {"rotations": rotations, "max_shifts": (0.0, 2.0, 2.0)}
    found = aligned(made, prior=(0.8, 4.0), **limits)
    moves = found.positions - made.picks.positions
    ways = made.picks.rotations.inv()
    np.testing.assert_allclose(ways.apply(moves)[:, 0], 0, atol=1e-9)
    if rotations is None:
        assert (ways * found.rotations).magnitude().max() < 1e-9


def test_of_symmetric_particles_the_nearest_start_counts():
    one = asymmetric_molecule(2, count=6, radius=2.5, sigma=1.3)
    group, moved = symmetry_group("C4"), one.centres + np.array([0.0, 0.0, 4.0])
    centres = np.concatenate([each.apply(moved) for each in group])
    template = blob_image(Blobs(centres, one.sigma, np.tile(one.weights, 4)), SHAPE, 1)
    made = near_the_start(4, 25.0, 4.0, 0.8, seed=9)
    options = {"template": template, "rotations": (100, 8), "symmetry": "C4"}
    free, held = (aligned(made, **options, prior=e) for e in (None, (None, 5.0)))
    for found, least, most in ((free, 15, 90), (held, 0, 5 * np.sqrt(3))):
        ways = made.picks.rotations.inv() * found.rotations
        turns = np.min([(ways * each).magnitude() for each in group], axis=0)
        assert least < np.degrees(rms(turns)) < most


def test_every_start_that_looks_the_same_is_one():
    grid = rotation_grid((100, 20), "C4")
    where = {"support": whole_box(SHAPE), "refined": True}
    bank = ENGINE.prepare(TEMPLATE[None], grid, (0.0,) * 3, 6.0, **where)
    cells = ENGINE.weigh(bank, prior=(1.0, 0.2)).dense.cells
    for each in symmetry_group("C4"):
        images = cells._replace(quaternions=(grid.rotations * each).as_quat())
        assert images.volume == pytest.approx(cells.volume, rel=1e-6)


@given(st.sampled_from(["C1", "C4", "D2", "O"]), st.integers(0, 1000))
def test_rotations_that_look_the_same_are_as_likely(symmetry, seed):
    group = symmetry_group(symmetry)
    prior = Prior(0.3, 1.0, group.as_quat())
    R = Rotation.random(5, rng=seed)
    for each in group:
        found = prior.of_turns((R * each).as_quat())
        np.testing.assert_allclose(found, prior.of_turns(R.as_quat()), atol=1e-9)
    angles = [(R * each).magnitude() for each in group]
    wanted = -np.square(np.min(angles, axis=0) / 0.3) / 2
    np.testing.assert_allclose(prior.of_turns(R.as_quat()), wanted, atol=1e-9)


def test_how_a_prior_falls_is_its_derivative():
    random = np.random.default_rng(8)
    prior = Prior(0.2, 1.5)
    q, t = Rotation.from_rotvec(random.normal(size=(4, 3)) / 5).as_quat(), np.ones(3)
    t = random.normal(size=(4, 3)) * t
    basis = np.broadcast_to(np.eye(6), (4, 6, 6))
    level, slope, _ = prior.at(q, t, basis)
    np.testing.assert_allclose(level, prior.of_turns(q) + prior.of_moves(t))
    for i, step in enumerate(1e-5 * np.eye(6)):
        up, down = (
            prior.of_turns(turned(q, np.tile(s * step[:3], (4, 1))))
            + prior.of_moves(t + s * step[3:])
            for s in (1, -1)
        )
        np.testing.assert_allclose((down - up) / 2e-5, slope[:, i], rtol=1e-4)


def test_a_small_turn_is_a_product_of_rotations():
    random = np.random.default_rng(9)
    R, ways = Rotation.random(6, rng=random), random.normal(size=(6, 3))
    ways[0] = 0
    found = turned(R.as_quat(), ways)
    wanted = (R * Rotation.from_rotvec(ways)).as_matrix()
    np.testing.assert_allclose(Rotation.from_quat(found).as_matrix(), wanted)
    assert (found[0] == R.as_quat()[0]).all()
    back = rotation_vectors(R.as_quat(), found)[np.arange(6), np.arange(6)]
    np.testing.assert_allclose(back, ways, atol=1e-9)


def test_the_gaussian_of_a_peak_and_a_prior_is_their_product():
    """Narrower than the grid, with rotations and shifts that depend on each other."""
    random = np.random.default_rng(10)
    axis = np.arange(-3.0, 4.0)
    shifts = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    cells = cells_of(rotation_grid((20, 8)), shifts, np.full(3, 3.0))
    prior = Prior(0.02, 0.03)
    values = np.r_[random.uniform(2e3, 9e3, 3), random.uniform(1e3, 3e3, 3)]
    axes = np.linalg.qr(random.normal(size=(6, 6)))[0]
    A = (axes * values) @ axes.T
    R, t = Rotation.from_rotvec([[0.03, 0.01, -0.02]]), np.array([[0.05, -0.02, 0.04]])
    whose = np.zeros(1, int), np.zeros(1, int)
    tops = Tops(*whose, R.as_quat(), t, np.array([5.0]), A[None])
    window = cells.quaternions, cells.spacing, cells.free, cells.widths
    peaks, _, _ = over_tops(tops, *window, prior)
    weights = np.array([1 / 0.02**2] * 3 + [1 / 0.03**2] * 3)
    p = np.r_[R.as_rotvec()[0], t[0]]
    both = A + np.diag(weights)
    step = -np.linalg.solve(both, weights * p)
    np.testing.assert_allclose(peaks.tops.t[0], t[0] + step[3:], atol=1e-4)
    q = (R * Rotation.from_rotvec(step[:3])).as_quat()
    np.testing.assert_allclose(np.abs(peaks.tops.quaternion @ q[0]), 1, atol=1e-7)
    height = 5 - (weights * p) @ p / 2 - (weights * p) @ step / 2
    wanted = height + 3 * np.log(2 * np.pi) - np.linalg.slogdet(both)[1] / 2
    assert peaks.log_mass[0] == pytest.approx(wanted, abs=0.1)
    free, _, _ = over_tops(tops, *window)
    moved = peaks.shift_there - free.shift_there
    np.testing.assert_allclose(moved[0], step[3:], atol=1e-3)


def test_the_mass_of_a_peak_and_a_prior_is_that_of_their_product():
    cells = cells_of(rotation_grid((20, 8)), np.zeros((1, 3)), np.full(3, 9.0))
    widths, prior = (2.0, np.full(3, 90.0)), Prior(0.05, 1.5)
    A = np.diag([900.0, 400.0, 100.0, 4.0, 1.0, 2.0])[None]
    R = Rotation.from_rotvec([[0.02, -0.03, 0.05]])
    t = np.array([[0.5, -1.0, 2.0]])
    basis = basis_at(np.zeros((1, 0, 3)), cells.spacing, 3, widths)
    before, slope, narrower = prior.at(R.as_quat(), t, basis)
    found = of_tops(before, A + narrower, t, widths, slope)
    away = np.array([*R.as_rotvec()[0], *t[0]])
    a, p = np.diag(A[0]), np.array([1 / 0.05**2] * 3 + [1 / 1.5**2] * 3)
    wanted = np.log(2 * np.pi / (a + p)).sum() / 2 - (a * p / (a + p) @ away**2) / 2
    assert found[0] == pytest.approx(wanted, abs=0.02)


@pytest.mark.parametrize("prior", [FLAT, Prior(0.1, 1.0), Prior(move=0.7)])
def test_a_window_is_as_large_as_it_is_likely(prior):
    axes = np.arange(-2.0, 3.0), np.arange(-1.0, 2.0), np.zeros(1)
    shifts = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    grid = rotation_grid((12, 6))
    cells = cells_of(grid, shifts, (2.2, 0.8, 0.3), prior)
    turns = moves = 0.0
    for vector in grid.rotations.as_rotvec():
        likely = np.exp(-(vector @ vector) / 2 / prior.turn**2)
        turns += np.radians(6) ** 3 * likely
    for z, y, x in shifts:
        # Voxels at the faces reach no farther than the window.
        part = min(2.2 - abs(z) + 0.5, 1) * min(0.8 - abs(y) + 0.5, 1)
        moves += part * np.exp(-(z**2 + y**2 + x**2) / 2 / prior.move**2)
    assert cells.volume == pytest.approx(turns * moves)
    np.testing.assert_array_equal(cells.window, [2.2, 0.8, 0])
    turn, move = cells.widths
    whole = len(grid.rotations) * np.radians(6) ** 3
    assert turn == pytest.approx(np.cbrt(whole) / 2)
    np.testing.assert_array_equal(move, cells.window)


def test_a_prior_is_no_narrower_than_a_millionth():
    R, t = Rotation.from_rotvec([[2e-6, 0, 0]]).as_quat(), np.array([[0, 3e-6, 0]])
    for least in (1e-6, 1e-9, 1e-300):
        prior = Prior(least, least)
        assert prior.of_turns(R)[0] == pytest.approx(-2.0, rel=1e-4)
        assert prior.of_moves(t)[0] == pytest.approx(-4.5)
    wider = Prior(4e-6, 1.5e-6)
    assert wider.of_turns(R)[0] == pytest.approx(-1 / 8, rel=1e-4)
    assert wider.of_moves(t)[0] == pytest.approx(-2.0)


def test_a_prior_along_some_directions_is_of_those():
    random = np.random.default_rng(11)
    prior = Prior(0.2, 1.5)
    R, t = Rotation.from_rotvec(random.normal(size=(3, 3)) / 5), np.ones((3, 3))
    basis = np.array([np.linalg.qr(random.normal(size=(6, 4)))[0] for _ in range(3)])
    level, slope, sharpness = prior.at(R.as_quat(), t, basis)
    for i, vector in enumerate(R.as_rotvec()):
        away = np.concatenate([vector, t[i]])
        P = np.diag([1 / 0.2**2] * 3 + [1 / 1.5**2] * 3)
        assert level[i] == pytest.approx(-away @ P @ away / 2)
        np.testing.assert_allclose(slope[i], basis[i].T @ P @ away)
        np.testing.assert_allclose(sharpness[i], basis[i].T @ P @ basis[i])


def test_gaussians_far_from_faces_are_whole_and_beyond_them_on_them():
    mean, sigma, face = np.array([[0.5, -1.2, 2.5]]), 0.3, np.array([2.0, 2.5, 2.0])
    part, middle, variance = truncated(mean, np.full((1, 3), sigma**2), face)
    np.testing.assert_array_equal(part[0, :2], 1)
    np.testing.assert_array_equal(middle[0, :2], mean[0, :2])
    np.testing.assert_array_equal(variance[0, :2], sigma**2)
    x = np.linspace(-2, 2, 400_001)
    bell = np.exp(-np.square((x - 2.5) / sigma) / 2)
    bell /= sigma * math.sqrt(2 * math.pi)
    inside = bell.sum() * (x[1] - x[0])
    assert part[0, 2] == pytest.approx(inside, rel=1e-3)
    m = np.average(x, weights=bell)
    assert middle[0, 2] == pytest.approx(m, rel=1e-4)
    wanted = np.average(np.square(x - m), weights=bell)
    assert variance[0, 2] == pytest.approx(wanted, rel=1e-3)
    # What is all beyond is at the face, and is not lost altogether.
    for far in (9.0, -9.0):
        part, middle, variance = truncated(np.full((1, 1), far), np.ones((1, 1)), 2.0)
        assert part[0, 0] == 1e-6 and middle[0, 0] == math.copysign(2.0, far)
        assert 0 <= variance[0, 0] <= 1


def test_angles_between_rotations_are_up_to_half_a_turn():
    one = np.array([0.0, 0, 0, 1])
    for degrees in (0, 1, 90, 179, 180, 181, 359):
        vector = np.radians([degrees, 0, 0])
        other = Rotation.from_rotvec(vector).as_quat()
        wanted = np.radians(min(degrees, 360 - degrees))
        for sign in (1, -1):
            found = turns_between(one, sign * other)
            assert found == pytest.approx(wanted, abs=1e-7)
    beyond = turns_between(one * (1 + 1e-9), one)  # by rounding
    assert beyond == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prior": 3.0}, r"prior must be None or two numbers \(nm, degrees\), each"),
        ({"prior": (1.0, 2.0, 3.0)}, r"prior must be None or two numbers"),
        ({"prior": (0.0, 2.0)}, r"prior\[0\] must be a number above 0, or None, not 0"),
        ({"prior": (1.0, np.nan)}, r"prior\[1\] must be a number above 0, or None"),
        ({"prior": (1, 2), "estimate": "mode"}, "prior must be None with estimate='mo"),
        ({"prior": (1, 2), "refine": False}, "prior must be None with refine=False"),
        (
            {"prior": (1, 2), "engine": ENGINE._replace(weigh=None)},
            "prior must be None: the engine given weighs no poses",
        ),
        (
            {"prior": (1, 2), "rotations": ("all"), "max_shifts": 9.0},
            "prior must be None: with these rotations and max_shifts there are more",
        ),
    ],
)
def test_a_prior_that_cannot_be_taken_into_account_is_refused(options, message):
    boxes = np.zeros((1, *SHAPE), np.float32)
    boxes[0, 8:12, 8:12, 8:12] = 1
    with pytest.raises((TypeError, ValueError), match=message):
        fp.align_subtomograms(boxes, **{**SEARCH, **options})


def test_nothing_is_known_where_nothing_is_said():
    assert FLAT.flat and not Prior(turn=1.0).flat and not Prior(move=1.0).flat
    assert (FLAT.of_moves(np.ones((2, 3))) == 0).all()
