"""Of weak particles the posterior mean is returned, of others the best pose."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import scipy
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.engine.amplitude import LADDER, over_ladder
from funpipe.simulate import Blobs, asymmetric_molecule, blob_image, particles, tomogram
from funpipe.space.symmetry import symmetry_group

SHAPE = (20, 20, 20)
BLOBS = asymmetric_molecule(3, radius=6.0, sigma=1.3)
TEMPLATE = blob_image(BLOBS, SHAPE, 1.0)
UNIT = float(TEMPLATE[0.1 * TEMPLATE.max() < TEMPLATE].std())
SEARCH = {
    "scale": 1.0,
    "max_shifts": 2.0,
    "rotations": ((12, 4),) * 3,
    "tilt": (-60, 60),
    "resolution": 4.0,
    "progress": False,
}


def made(count, noise, **options):
    return particles(BLOBS, SHAPE, 1.0, count, noise=noise * UNIT, **options)


def aligned(them, **options):
    return fp.align_subtomograms(
        them.boxes,
        **{"template": TEMPLATE, **SEARCH, **options},
        orientations=them.orientations,
    )


def errors(found, them):
    angles = np.degrees((them.rotations.inv() * found.rotations).magnitude())
    return angles, np.linalg.norm(found.shifts - them.shifts, axis=1)


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


def test_the_mean_is_nearer_to_the_truth_where_the_signal_is_weak():
    them = made(80, 9.0, seed=1)
    mean, mode = (aligned(them, estimate=each) for each in ("mean", "mode"))
    of_mean, of_mode = errors(mean, them), errors(mode, them)
    assert rms(of_mean[0]) < 0.85 * rms(of_mode[0])
    assert rms(of_mean[1]) < 0.95 * rms(of_mode[1])
    assert rms(of_mean[1]) == pytest.approx(rms(mean.shift_errors), rel=0.2)


class Full(NamedTuple):
    """A tomogram, where its particles are, and picks that these fill the window of."""

    tomogram: np.ndarray
    truth: fp.Molecules
    picks: fp.Molecules

    def errors(self, **options):
        """Return degrees and voxels by root mean square, and those stated."""
        found = fp.align(
            self.tomogram,
            self.picks,
            **{"template": TEMPLATE, **SEARCH, "max_shifts": 3.0, **options},
        )
        turns = (self.truth.rotations.inv() * found.rotations).magnitude()
        moves = np.linalg.norm(found.positions - self.truth.positions, axis=1)
        stated = found.features["angle_error"], found.features["shift_error"]
        return [rms(each) for each in (np.degrees(turns), moves, *stated)]


def filling_the_window(side, noise, seed):
    """Return side² particles at any pose of the window alike."""
    random, count = np.random.default_rng(seed), side**2
    places = np.stack(np.meshgrid([20], *[20.0 + 20 * np.arange(side)] * 2), -1)
    truth = fp.Molecules(places.reshape(-1, 3), Rotation.random(count, rng=random))
    shape = (40, *[20 + 20 * side] * 2)
    volume = tomogram(
        BLOBS, truth, shape, 1.0, noise=noise * UNIT, tilt=(-60, 60), seed=seed
    )
    turns = random.uniform(-12, 12, (count, 3))
    starts = truth.rotations * Rotation.from_euler("XYZ", turns, degrees=True).inv()
    moves = starts.apply(random.uniform(-3, 3, (count, 3)))
    return Full(volume, truth, fp.Molecules(truth.positions - moves, starts))


@pytest.mark.parametrize("noise", [4.0, 6.0, 9.0, 12.0])
def test_where_poses_fill_the_window_the_mean_is_as_near_as_it_says(noise):
    made = filling_the_window(10, noise, seed=3)
    turn, move, angle, shift = made.errors()
    assert turn == pytest.approx(angle, rel=0.12)
    assert move == pytest.approx(shift, rel=0.12)
    assert turn < 0.95 * made.errors(estimate="mode")[0]


@pytest.mark.parametrize(("noise", "short"), [(0.5, 1.2), (1, 1.2), (2, 1.3), (3, 1.5)])
@pytest.mark.parametrize("window", [1.0, 1.45])
def test_errors_of_poses_on_a_limit_tell_how_far_beyond_the_truth_may_be(
    noise, short, window
):
    them = made(120, noise, seed=6)
    beyond = (np.abs(them.shifts) > window).any(axis=1)
    assert 60 < beyond.sum() < 110
    found = aligned(them, max_shifts=window)
    assert found.at_limit[beyond].mean() > 0.85
    turns, moves = errors(found, them)
    on = found.at_limit
    assert 0.8 < rms(moves[on]) / rms(found.shift_errors[on]) < short
    assert 0.75 < rms(turns[on]) / rms(found.angle_errors[on]) < 1.25


def test_where_the_signal_is_strong_the_mean_is_the_mode():
    them = made(12, 1.0, seed=2)
    mean, mode = (aligned(them, estimate=each) for each in ("mean", "mode"))
    assert (mean.rotations.as_quat() == mode.rotations.as_quat()).all()
    for name in ("shifts", "scores", "shift_errors", "angle_errors", "converged"):
        assert (getattr(mean, name) == getattr(mode, name)).all()
    assert (mean.mode_weight == 1).all() and (mean.log_odds > 20).all()


def test_the_mode_says_nothing_of_odds():
    found = aligned(made(2, 9.0), estimate="mode")
    for each in (found.log_odds, found.mode_weight, found.log_evidence):
        assert np.isnan(each).all()


def test_of_boxes_with_odds_p_a_share_p_hold_a_particle():
    there = np.arange(160) >= 80
    them = made(160, 13.0, seed=3)
    faint = BLOBS._replace(weights=1e-6 * np.asarray(BLOBS.weights))
    none = particles(faint, SHAPE, 1.0, 160, noise=13.0 * UNIT, seed=3)
    boxes = np.concatenate([none.boxes[:80], them.boxes[80:]])
    found = aligned(them._replace(boxes=boxes))
    p = scipy.special.expit(found.log_odds)
    assert p.mean() == pytest.approx(0.5, abs=0.12)
    assert p[there].mean() > p[~there].mean() + 0.2
    for low, high in ((0.0, 0.3), (0.3, 0.7), (0.7, 1.0)):
        some = (p >= low) & (p <= high)
        assert some.sum() > 5
        sampling = np.sqrt(0.25 / some.sum())
        assert abs(p[some].mean() - there[some].mean()) < 0.05 + 2 * sampling


@pytest.mark.parametrize("shift", [0.3, (1.0, 2.5, 0.0)])
def test_means_keep_to_the_limits(shift):
    them = made(10, 14.0, angle=20.0, seed=4)
    found = aligned(them, max_shifts=shift, rotations=(8, 4))
    assert (np.abs(found.shifts) <= np.array(shift) + 1e-6).all()
    assert np.degrees(found.rotations.magnitude()).max() <= 8 + 1e-6
    assert np.isfinite(found.angle_errors).all()


def ring():
    """Return blobs of symmetry C4."""
    one = asymmetric_molecule(2, count=6, radius=2.5, sigma=1.3)
    moved = one.centres + np.array([0.0, 0.0, 4.0])
    centres = np.concatenate([each.apply(moved) for each in symmetry_group("C4")])
    return Blobs(centres, one.sigma, np.tile(one.weights, 4))


def test_means_of_symmetric_templates_are_not_between_rotations_that_look_the_same():
    blobs = ring()
    template = blob_image(blobs, SHAPE, 1.0)
    unit = float(template[0.1 * template.max() < template].std())
    them = particles(blobs, SHAPE, 1.0, 24, angle=45.0, noise=6 * unit, seed=5)
    options = {"template": template, "rotations": (48, 8), "symmetry": "C4"}
    mean, mode = (aligned(them, **options, estimate=e) for e in ("mean", "mode"))
    assert (mean.rotations.as_quat() != mode.rotations.as_quat()).any()

    def apart(found):
        ways = [
            (them.rotations * g).inv() * found.rotations for g in symmetry_group("C4")
        ]
        return np.degrees(np.min([each.magnitude() for each in ways], axis=0))

    assert rms(apart(mean)) < 1.02 * rms(apart(mode))


def test_the_probability_of_a_template_is_that_of_being_right():
    other = blob_image(asymmetric_molecule(9, radius=6.0, sigma=1.3), SHAPE, 1.0)
    them = made(60, 11.0, seed=6)
    found = aligned(them, template=[TEMPLATE, other])
    p = found.template_probability
    assert found.log_evidence.shape == (60, 2)
    assert ((p >= 0) & (p <= 1)).all()
    right = (found.templates == 0).mean()
    assert p.mean() == pytest.approx(right, abs=0.12)


def test_a_box_is_weighed_on_its_own():
    them = made(3, 9.0, seed=7)
    found = aligned(them)
    one = fp.align_subtomograms(
        them.boxes[1:2],
        template=TEMPLATE,
        **SEARCH,
        orientations=them.orientations[1:2],
    )
    np.testing.assert_allclose(one.shifts[0], found.shifts[1], atol=1e-3)
    apart = (one.rotations[0].inv() * found.rotations[1]).magnitude()
    assert apart < 1e-3


def test_a_grid_that_takes_too_much_memory_is_weighed_by_the_net(monkeypatch):
    from funpipe.engine import bank

    made = filling_the_window(5, 9.0, seed=8)
    whole, mode = made.errors(), made.errors(estimate="mode")
    small = bank.SETTINGS._replace(bank_bytes=0.5e6)
    monkeypatch.setattr(bank, "SETTINGS", small)
    few = made.errors()
    assert few[0] < 1.25 * whole[0]
    assert few[0] < mode[0]


def test_odds_are_those_of_the_amplitude_that_all_share():
    strength, places = 8.0, 200
    random = np.random.default_rng(0)
    there = np.arange(places) < 100
    z = random.standard_normal((places, 30))  # of 30 poses, the first the truth
    z[there, 0] += strength
    terms = z[:, None] * LADDER[:, None] - LADDER[:, None] ** 2 / 2
    evidence = scipy.special.logsumexp(terms, axis=2) - np.log(30)
    found = over_ladder(evidence[:, None], np.zeros(places, int))
    assert ((found.log_odds > 0) == there).mean() > 0.98
    p = scipy.special.expit(found.log_odds)
    assert p.mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("scatter", [0.0, 0.3])
@pytest.mark.parametrize("strength", [4.5, 6.0])
def test_odds_are_true_whether_amplitudes_scatter_or_not(strength, scatter):
    places = 20_000
    random = np.random.default_rng(1)
    there = random.random(places) < 0.4
    z = random.standard_normal((places, 30))
    amplitude = strength * np.exp(scatter * random.standard_normal(places))
    z[there, 0] += amplitude[there]
    terms = z[:, None] * LADDER[:, None] - LADDER[:, None] ** 2 / 2
    evidence = scipy.special.logsumexp(terms, axis=2) - np.log(30)
    found = over_ladder(evidence[:, None], np.zeros(places, int))
    p = scipy.special.expit(found.log_odds)
    for low in np.linspace(0, 0.8, 5):
        some = (p >= low) & (p <= low + 0.2)
        sampling = np.sqrt(0.25 / some.sum())
        assert abs(p[some].mean() - there[some].mean()) < 0.02 + 2 * sampling


def test_an_estimate_is_the_mean_or_the_mode():
    with pytest.raises(ValueError, match="estimate must be 'mean' or 'mode'"):
        aligned(made(1, 1.0), estimate="median")
