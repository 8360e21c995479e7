"""What goes on from a search to climbs is what a loop over all of it says."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from test_steps import BLOBS, BOX, TEMPLATE, K, random_data, random_poses

from funpipe.engine import data as particles_data
from funpipe.engine import matching, weighing
from funpipe.engine.bank import template_bank
from funpipe.engine.gauss_newton import Climbed, Poses
from funpipe.engine.limits import Limits
from funpipe.engine.matching import match, whitened
from funpipe.engine.noise import Noise, believed, local_noise, sums
from funpipe.engine.settings import SETTINGS
from funpipe.engine.shells import shells_of
from funpipe.engine.spectra import template_fields
from funpipe.simulate import particles
from funpipe.space.crops import lattice, whole_box, whole_boxes, window_power
from funpipe.space.fourier import half_ball
from funpipe.space.geometry import rotation_grid
from funpipe.space.tilts import as_tilt
from funpipe.space.transfer import Transfer


def test_significance_margin_and_freedom_are_their_formulas():
    scores = np.array([0.0, 0.3, 0.9, -0.2])
    z = weighing.significance(scores, np.full(4, 400.0))
    wanted = scores * 20 / np.sqrt(1 - scores**2)
    np.testing.assert_allclose(z, wanted)
    z, part = np.array([-1.0, 0.0, 12.0]), 0.8
    error = SETTINGS.missed * np.sqrt(2 * 0.2)
    wanted = (0.2 * np.maximum(z, 0) + error) / np.sqrt(0.8)
    np.testing.assert_allclose(matching._margin(z, part), wanted)
    assert matching._margin(z, 1.0).tolist() == [0, 0, 0]
    data = random_data(2)
    found = matching._freedom(data, np.array([1.5, 1e-6]))
    np.testing.assert_allclose(found, [1.5 * (data.W[0] > 0).sum(), 8])


def test_only_poses_that_may_be_their_particles_best_go_on():
    random = np.random.default_rng(13)
    data, freedom = random_data(4), np.full(4, 2.0)
    poses = random_poses(40, random.integers(0, 4, 40))
    poses = poses._replace(score=random.uniform(0, 0.6, 40))
    found = matching._contending(poses, data, 0.6, freedom)
    assert 4 <= found.sum() < 40
    for q in range(40):
        own = poses.particle == poses.particle[q]
        n = np.maximum(2.0 * (data.W[poses.particle[q]] > 0).sum(), 8)
        z = [s * np.sqrt(n / (1 - s**2)) for s in poses.score]
        top = max(each for each, one in zip(z, own, strict=True) if one)
        lost = (0.4 * top + SETTINGS.missed * np.sqrt(0.8)) / np.sqrt(0.6)
        assert found[q] == (z[q] >= top - lost)
    best = matching._best(poses)
    for i in range(4):
        own = np.flatnonzero(poses.particle == i)
        assert best[i] == own[poses.score[own].argmax()]


def simple_bank(**options):
    grid = rotation_grid(options.pop("rotations", (20, 5)))
    return template_bank(
        TEMPLATE[None].astype(np.float32),
        grid,
        (2.0, 2.0, 2.0),
        4.0,
        support=whole_box(BOX),
        **options,
    )


def test_peaks_of_a_search_are_no_lower_than_those_around_them():
    random = np.random.default_rng(14)
    bank = simple_bank()
    r = len(bank.matrices)
    scores = random.uniform(0.2, 0.5, (3, 2 * r))  # of two templates
    scores[0, 5] = 0.9
    freedom = np.array([300.0, 40.0, 40.0])
    particle, row = matching._peaks(scores, freedom, 0.7, bank)
    assert particle.tolist() == sorted(particle) and set(particle) == {0, 1, 2}
    assert row[particle == 0].tolist() == [5]
    for i in range(3):
        peaks = []
        for m, one in itertools.product(range(2), range(r)):
            own = scores[i, m * r + one]
            if own >= scores[i, m * r + bank.neighbours[one]].max():
                z = own * np.sqrt(freedom[i] / (1 - own**2))
                peaks.append((-z, m * r + one))
        peaks.sort()
        top = -peaks[0][0]
        lost = (0.3 * top + SETTINGS.missed * np.sqrt(0.6)) / np.sqrt(0.7)
        lost += 2 * SETTINGS.between * top
        wanted = [one for z, one in peaks[: SETTINGS.candidates] if -z >= top - lost]
        assert row[particle == i].tolist() == wanted
    assert (np.bincount(particle) <= SETTINGS.candidates).all()
    whole = matching._peaks(scores, freedom, 0.7, bank._replace(refined=False))
    assert whole[1].tolist() == scores.argmax(axis=1).tolist()


def test_batches_hold_what_memory_does(monkeypatch):
    bank = simple_bank()
    C, rows, N = len(bank.U), len(bank.spectra), bank.stages[0][0]
    floats = 2 * C * N + (C + bank.neighbours.shape[1] + 4) * rows
    for count in (1, 5, 127):
        settings = SETTINGS._replace(batch_bytes=4.0 * floats * (count + 0.5))
        monkeypatch.setattr(matching, "SETTINGS", settings)
        assert matching._batch_size(bank) == count
    for size, count in ((1.0, 1), (1e15, 128)):
        monkeypatch.setattr(matching, "SETTINGS", SETTINGS._replace(batch_bytes=size))
        assert matching._batch_size(bank) == count


def made_crops(count, noise=1.0, **options):
    unit = float(TEMPLATE[np.abs(TEMPLATE) > 0.1 * TEMPLATE.max()].std())
    options = {"angle": 8.0, "shift": 1.0, "tilt": (-60, 60), "seed": 3, **options}
    made = particles(BLOBS, BOX, 1.0, count, noise=noise * unit, **options)
    return made, (whole_boxes(made.boxes), made.orientations)


def test_a_search_is_that_of_a_loop_over_all_that_is_tried():
    _, (crops, orientations) = made_crops(6)
    bank = simple_bank(rotations=(12, 6))
    seen, _ = particles_data.seen_by(crops, orientations, TILT, bank)
    part = bank.stages[0][0]
    data = seen.first(part)
    found = matching._search(data, 0.95, np.full(6, 2.0), bank)
    phases = np.exp(2j * np.pi * (bank.k[:part] @ bank.shifts.T))
    for i in range(6):
        W, F = data.W[i], data.F[i]
        power = (W * np.abs(F) ** 2).sum()
        scores = (bank.spectra.conj() * (W * F)) @ phases
        scores = scores.real / np.sqrt((bank.power @ W) * power)[:, None]
        row, shift = np.unravel_index(scores.argmax(), scores.shape)
        own = np.flatnonzero(found.particle == i)
        first = own[found.score[own].argmax()]
        assert found.score[first] == pytest.approx(scores.max(), abs=0.02)
        near = scores[:, :].max(axis=1)
        at = np.abs(bank.matrices - found.R[first]).sum(axis=(1, 2)).argmin()
        assert near[at] > scores.max() - 0.02
        if at == row:
            np.testing.assert_allclose(found.t[first], bank.shifts[shift], atol=1.01)


def test_a_search_by_a_few_scores_at_a_time_is_the_same(monkeypatch):
    _, (crops, orientations) = made_crops(3)
    bank = simple_bank(rotations=(12, 6))
    seen, _ = particles_data.seen_by(crops, orientations, TILT, bank)
    args = seen.first(bank.stages[0][0]), 0.95, np.full(3, 2.0), bank
    whole = matching._search(*args)
    for size in (1, 7 * len(bank.shifts), 2**30):
        monkeypatch.setattr(matching, "_TABLE", size)
        for one, other in zip(whole, matching._search(*args), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5)


TILT = as_tilt("tilt", (-60, 60))


def test_errors_of_what_is_not_known_are_half_a_turn_and_half_a_diagonal():
    _, (crops, orientations) = made_crops(3)
    bank = simple_bank()
    data, whole = particles_data.seen_by(crops, orientations, TILT, bank)
    whole = whole._replace(blank=np.array([False, False, True]))
    poses = random_poses(3)._replace(score=np.array([0.5, 0.4, 0.3]))
    variance = np.array([[np.inf, np.inf], [0.1**2, 0.3**2], [0.1, 0.1]])
    climbed = Climbed(
        poses, variance, np.ones(3, bool), np.zeros((3, 6, 6)), np.zeros((3, 2))
    )
    limits = Limits(bank.window, bank.grid.limit)
    found = matching._best_of(climbed, np.arange(3), whole, data, limits, bank)
    diagonal = np.linalg.norm(BOX) / 2
    np.testing.assert_allclose(found.angle_errors, [180, np.degrees(0.1), np.nan])
    np.testing.assert_allclose(found.shift_errors, [diagonal, 0.3, np.nan])
    assert found.blank.tolist() == [False, False, True]
    assert found.scores[2] == 0 and (found.shifts[2] == 0).all()
    used = (data.W * np.abs(data.F) ** 2).sum(axis=1)
    part = np.sqrt(used / whole.power / bank.stages[-1][1])
    np.testing.assert_allclose(found.scores[:2], (poses.score * part)[:2], rtol=1e-5)


def test_samples_are_thinned_evenly_where_there_are_too_many(monkeypatch):
    made, sample = made_crops(7)
    whole = [(*sample, TILT), (*sample, TILT)]
    same = matching._thinned(whole, len(K))
    assert [len(each.values) for each, _, _ in same] == [7, 7]
    monkeypatch.setattr(matching, "_HELD", 14 * len(K) // 3)
    some = matching._thinned(whole, len(K))
    counts = [len(each.values) for each, _, _ in some]
    step = 1 + (14 * len(K) - 1) // (14 * len(K) // 3)
    assert counts == [len(range(0, 7, step))] * 2
    np.testing.assert_array_equal(some[0][0].values, sample[0].values[::step])
    turns = some[0][1].inv() * made.orientations[::step]
    assert turns.magnitude().max() < 1e-9


def test_a_whitened_bank_knows_the_noise_and_finds_the_same():
    made, sample = made_crops(24, noise=0.5)
    bank = simple_bank()
    known = whitened(bank, [(*sample, TILT)])
    assert known.noise is not None and known.noise.power.shape == known.noise.fall.shape
    assert known.noise.power.mean() == pytest.approx(1)
    assert all(0 < each <= 1 for each in known.local)
    for each in (bank, known):
        found = match(*sample, bank=each, tilt=TILT)
        turns = (made.rotations.inv() * found.rotations).magnitude()
        assert np.degrees(np.sqrt(np.mean(turns**2))) < 4
        assert np.sqrt(np.square(found.shifts - made.shifts).mean()) < 0.3
    nothing = whole_boxes(np.zeros((3, *BOX), np.float32))
    blank = whitened(bank, [(nothing, made.orientations[:3], TILT)])
    assert blank.noise is None


def test_what_particles_hold_is_a_sum_over_all_waves_of_their_own_frame():
    """Their box is turned a little against the tomogram."""
    random = np.random.default_rng(15)
    boxes = random.normal(size=(3, *BOX)).astype(np.float32)
    boxes[2] = 0
    turns = Rotation.from_rotvec(0.3 * random.normal(size=(3, 3)))
    bank = simple_bank()
    data, whole = particles_data.seen_by(whole_boxes(boxes), turns, TILT, bank)
    places = np.indices(BOX).reshape(3, -1).T - 7.5
    for waves, found in ((bank.k, None), (lattice(BOX, 4.0), whole.power)):
        turned = np.exp(-2j * np.pi * places @ np.asarray(waves).T)
        for i in range(2):
            values = (boxes[i] - boxes[i].mean()) / boxes[i].std()
            F = values.ravel() @ turned
            W = TILT(turns[i].as_matrix() @ np.asarray(waves).T)
            assert 0 < W.mean() < 1
            if found is None:
                scale = np.vdot(F, data.F[i]).real / np.vdot(F, F).real
                close = 1e-4 * np.abs(F).max()
                np.testing.assert_allclose(data.F[i], scale * F, atol=close * scale)
                np.testing.assert_allclose(data.W[i], W)
            else:
                wanted = scale**2 * (W * np.abs(F) ** 2).sum()
                assert found[i] == pytest.approx(wanted, rel=1e-3)
    assert whole.blank.tolist() == [False, False, True]


@pytest.mark.parametrize("refined", [True, False])
def test_a_bank_is_whitened_by_what_its_best_poses_leave(refined):
    _, (crops, orientations) = made_crops(8, noise=1.0, falling=0.5)
    bank = simple_bank(rotations=(12, 6), refined=refined)
    sample = [(crops, orientations, TILT)]
    found = whitened(bank, sample)
    periods = bank.support.periods
    k = half_ball(periods, 4.0) / np.array(periods)
    k = k[np.argsort(np.square(k).sum(axis=1), kind="stable")].astype(np.float32)
    shells = shells_of(k, max(periods))
    seen = particles_data.sampled(*sample[0], bank, k, shells.edges)
    as_noise = Noise(shells, seen.power, np.ones(len(seen.power)))
    first = matching._with_noise(bank, as_noise)
    best = match(crops, orientations, bank=first, tilt=TILT)
    R = best.rotations.as_matrix()
    poses = Poses(np.arange(8), best.templates, R, best.shifts, best.scores)
    furthest = float(np.linalg.norm(k[-1]))
    fields = tuple(template_fields(each, furthest) for each in bank.templates)
    noise = believed(sums(poses, seen.data, fields, shells.edges), shells)
    np.testing.assert_allclose(found.noise.power, noise.power, rtol=1e-3)
    np.testing.assert_allclose(found.noise.fall, noise.fall, rtol=1e-3)
    if not refined:
        assert found.local == (1.0, 1.0)
        return
    data = seen.data.first(len(found.k))
    W = data.W * noise.weights(found.k.T)
    factors = local_noise(poses, data._replace(W=W.astype("f4")), found.fields)
    dense = window_power(crops, bank.support).mean() / np.prod(periods)
    wanted = np.minimum(factors.mean(axis=0) * dense, 1)
    assert found.local == pytest.approx(tuple(wanted), rel=1e-2)
    assert 0 < min(wanted) < 1


def test_a_score_is_as_if_all_waves_were_looked_at():
    _, (crops, orientations) = made_crops(4)
    bank = simple_bank()
    bank = bank._replace(stages=((10, 0.5), (len(bank.k), 0.81)))
    data, whole = particles_data.seen_by(crops, orientations, TILT, bank)
    poses = random_poses(6, [0, 0, 1, 1, 2, 3])
    score = np.array([0.2, 0.5, -0.3, -0.4, 0.95, 0.6])
    poses = poses._replace(score=score, template=np.array([0, 1, 0, 1, 2, 0]))
    poses.t[1] = [2.0, 0, 0]
    poses.t[4] = [0.1, 0.2, 0.3]
    poses.R[4:] = np.eye(3)
    used = (data.W * np.abs(data.F) ** 2).sum(axis=1)
    power = used * np.array([2.0, 3.0, 1.0, 4.0])
    whole = whole._replace(power=power, blank=np.arange(4) == 3)
    climbed = Climbed(
        *(poses, np.full((6, 2), 0.01), np.arange(6) % 2 > 0),
        *(np.zeros((6, 6, 6)), np.zeros((6, 2))),
    )
    limits = Limits((2.0,) * 3)
    best = np.array([1, 2, 4, 5])
    found = matching._best_of(climbed, best, whole, data, limits, bank)
    part = np.sqrt(1 / np.array([2.0, 3.0, 1.0, 4.0]) / 0.81)
    # No score is above 1; of a blank box it is 0.
    wanted = np.array([0.5, -0.3, 1 / part[2], 0]) * part
    np.testing.assert_allclose(found.scores, wanted, rtol=1e-4)
    assert found.templates.tolist() == [1, 0, 2, 0]
    assert found.at_limit.tolist() == [True, False, False, False]
    assert found.converged.tolist() == [True, False, False, False]
    assert found.blank.tolist() == [False, False, False, True]
    np.testing.assert_allclose(found.shifts[:3], poses.t[best[:3]])
    np.testing.assert_allclose(found.rotations.as_matrix()[:3], poses.R[best[:3]])
    assert (found.shifts[3] == 0).all() and found.rotations[3].magnitude() == 0


def test_what_a_transfer_left_is_undone_under_the_templates_power(monkeypatch):
    _, (crops, orientations) = made_crops(3)
    bank = simple_bank()
    plain, _ = particles_data.seen_by(crops, orientations, TILT, bank)

    def transferred(tilt, vectors):
        """Return less of waves the shorter they are, with a sign that changes."""
        length = np.sqrt(np.square(vectors).sum(axis=0))
        return Transfer(np.cos(20 * length) - 0.2, 3.0 * tilt(vectors))

    monkeypatch.setattr(particles_data, "transfer_of", transferred)
    found, _ = particles_data.seen_by(crops, orientations, TILT, bank)
    p = bank.power.mean(axis=0).astype(float)
    H = np.cos(20 * np.linalg.norm(bank.k, axis=1)) - 0.2
    for i in range(3):
        W = plain.W[i].astype(float)
        first = W[: len(p)] * p
        by = H / np.sqrt((first * H[: len(p)] ** 2).sum() / first.sum())
        np.testing.assert_allclose(found.F[i], plain.F[i] / by, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found.W[i], W * by**2, rtol=1e-4)
