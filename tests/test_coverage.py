"""A search by few waves and poses finds what the exhaustive one finds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.engine import coverage as covering
from funpipe.engine.bank import masked, template_bank
from funpipe.engine.coverage import (
    coverage,
    highest_told,
    information,
    neighbours,
    net,
)
from funpipe.engine.gauss_newton import Poses, Spectra, climb
from funpipe.engine.kernel import kernel
from funpipe.engine.limits import Limits
from funpipe.engine.settings import SETTINGS
from funpipe.engine.spectra import sample, template_fields, turning_rates
from funpipe.simulate import Blobs, asymmetric_molecule, blob_image, particles
from funpipe.space.crops import lattice, lattice_power, spectra, whole_box, whole_boxes
from funpipe.space.fourier import half_ball
from funpipe.space.geometry import RotationGrid, rotation_grid
from funpipe.space.tilts import as_tilt

SHAPE = (24, 24, 24)
BLOBS = asymmetric_molecule(3, radius=7.0, sigma=1.3)
TEMPLATE = blob_image(BLOBS, SHAPE, 1.0)


def known(template=TEMPLATE, finest=3.0):
    k = half_ball(SHAPE, finest) / np.array(SHAPE)
    k = k[np.argsort((k**2).sum(axis=1), kind="stable")]
    fields = template_fields(template, float(np.linalg.norm(k[-1])))
    return k, fields, information(fields, k, np.ones(len(k)))


def rod():
    along = np.linspace(-8.0, 8.0, 12)
    centres = np.stack([along, np.zeros(12), np.zeros(12)], axis=1)
    ends = np.array([[-8.0, 0.0, 2.5], [8.0, 2.0, 0.0]])
    return Blobs(np.concatenate([centres, ends]), 1.3, np.ones(14))


def ring():
    arm = asymmetric_molecule(2, count=6, radius=2.5, sigma=1.3)
    moved = arm.centres + np.array([0.0, 0.0, 5.0])
    turns = Rotation.from_rotvec(np.outer([0, 1, 2, 3], [np.pi / 2, 0, 0]))
    centres = np.concatenate([each.apply(moved) for each in turns])
    return Blobs(centres, arm.sigma, np.tile(arm.weights, 4))


def test_the_kernel_is_the_wave_to_the_error_that_it_may_have():
    k, _, about = known()
    power = np.diff(about.power, prepend=0)
    axes = [np.linspace(-m, m, n) for m, n in ((3.0, 5), (2.0, 3), (4.5, 7))]
    U, V = kernel(k, axes, power)
    shifts = np.array(list(itertools.product(*axes)))
    error = U.T @ V - np.exp(2j * np.pi * (k @ shifts.T))
    square = (power[:, None] * np.abs(error) ** 2).sum() / power.sum() / len(shifts)
    assert np.sqrt(square) <= 1.05 * SETTINGS.kernel_error
    assert len(U) < len(shifts)
    assert ((U.real == 0) | (U.imag == 0)).all()


def test_what_a_turn_and_a_shift_lose_is_what_the_information_says():
    k, fields, about = known()
    T = sample(k, fields, 1)[:, 0]
    random = np.random.default_rng(1)
    for _ in range(10):
        turn, shift = 0.02 * random.standard_normal(3), 0.05 * random.standard_normal(3)
        turned = sample(k @ Rotation.from_rotvec(turn).as_matrix(), fields, 1)[:, 0]
        moved = turned * np.exp(-2j * np.pi * (k @ shift))
        score = np.vdot(T, moved).real / np.linalg.norm(T) / np.linalg.norm(moved)
        power = about.power[-1]
        lost = turn @ about.turning[-1] @ turn + shift @ about.moving[-1] @ shift
        # What turn and shift do together is left out: the templates are centred.
        assert 1 - score == pytest.approx(lost / power / 2, rel=0.25)


@pytest.mark.parametrize("rotations", ["all", (30, 5), ((12, 4), (8, 4), (4, 4))])
@pytest.mark.parametrize("reach", [1.0, 9.0, 20.0, 60.0])
def test_a_net_has_a_rotation_near_every_one_of_the_grid(rotations, reach):
    grid = rotation_grid(rotations)
    chosen, apart = net(grid, reach)
    there, wanted = grid.rotations[chosen].as_quat(), grid.rotations.as_quat()[::17]
    nearest = 2 * np.arccos(np.clip(np.abs(wanted @ there.T).max(axis=1), 0, 1))
    assert np.degrees(nearest).max() <= max(reach, 1e-3)
    assert apart >= np.degrees(nearest).max() - 1e-3
    if reach > 4 * grid.spacing:
        assert len(chosen) < 0.2 * len(grid.rotations)


def test_rotations_that_were_listed_are_all_tried():
    grid = RotationGrid(Rotation.random(20, rng=0), None)
    assert len(net(grid, 60.0)[0]) == 20


def test_neighbours_are_those_within_reach_and_oneself():
    grid = rotation_grid((20, 5))
    found = neighbours(grid.rotations, 7.0)
    for i, row in enumerate(found[:20]):
        apart = np.degrees((grid.rotations[i].inv() * grid.rotations).magnitude())
        assert set(row) == set(np.flatnonzero(apart <= 7.0 + 1e-9))


@pytest.mark.parametrize("blobs", [BLOBS, rod(), ring()], ids=["blobs", "rod", "ring"])
def test_no_pose_of_the_grid_is_far_from_one_that_is_tried(blobs):
    k, fields, about = known(blob_image(blobs, SHAPE, 1.0))
    grid = rotation_grid((24, 4))
    covered = coverage([about], grid, (3.0, 3.0, 3.0))
    k = k[: covered.waves]
    tried = grid.rotations[covered.rotations]
    shifts = covered.shifts()
    random = np.random.default_rng(0)
    T = np.stack([sample(k @ R, fields, 1)[:, 0] for R in tried.as_matrix()])
    phases = np.exp(2j * np.pi * (k @ shifts.T))
    for turn in grid.rotations[random.integers(len(grid.rotations), size=30)]:
        shift = random.uniform(-3, 3, 3)
        F = sample(k @ turn.as_matrix(), fields, 1)[:, 0]
        F = F * np.exp(-2j * np.pi * (k @ shift))
        scores = (T.conj() * F) @ phases
        norms = np.linalg.norm(T, axis=1) * np.linalg.norm(F)
        assert (scores.real / norms[:, None]).max() >= 1 - 2.2 * SETTINGS.between


# Their parts, one by one.


def falling(k):
    return 1 / (0.01 + np.square(k).sum(axis=0))


def test_turning_rates_are_differences_of_turned_images():
    rates = turning_rates(TEMPLATE)
    angle = 1e-3
    for axis, rate in enumerate(rates):
        vector = angle * np.eye(3)[axis]
        turns = [Rotation.from_rotvec(sign * vector) for sign in (1, -1)]
        up, down = (blob_image(BLOBS, SHAPE, 1.0, each) for each in turns)
        change = (up - down) / (2 * angle)
        assert np.abs(rate - change).max() < 0.02 * np.abs(change).max()


def test_waves_that_say_nearly_all_are_those_of_a_loop():
    images = [TEMPLATE, *turning_rates(TEMPLATE)]
    spectra = [np.fft.rfftn(each) for each in images]
    found = []
    for z, y, x in half_ball(SHAPE, 3.0):
        k = np.array([z, y, x]) / SHAPE
        weight = falling(k[:, None])[0]
        powers = [weight * np.abs(each[z, y, x]) ** 2 for each in spectra]
        turning, moving = sum(powers[1:]), powers[0] * (k @ k)
        found.append((np.linalg.norm(k), powers[0], turning, moving))
    found = np.array(sorted(found))
    length, power, turning, moving = found.T

    def lacking(each, last):
        return each[length > last * (1 + 1e-9)].sum() / each.sum()

    last, part = highest_told(TEMPLATE, 3.0, falling)
    assert last == pytest.approx(length[np.argmin(np.abs(length - last))])
    assert part == pytest.approx(1 - lacking(power, last), abs=2e-3)
    for each in (turning, moving):
        assert lacking(each, last) <= 1 - SETTINGS.information + 1e-6
    shorter = length[length < last * (1 - 1e-6)].max()
    most = max(lacking(turning, shorter), lacking(moving, shorter))
    assert most > 1 - SETTINGS.information


@pytest.mark.parametrize("part", [0.2, 0.5, 0.8, 0.95])
def test_waves_that_say_a_part_are_those_of_a_loop(part, monkeypatch):
    monkeypatch.setattr(covering, "SETTINGS", SETTINGS._replace(information=part))
    images = [TEMPLATE, *turning_rates(TEMPLATE)]
    spectra = [np.fft.rfftn(each) for each in images]
    found = []
    for z, y, x in half_ball(SHAPE, 3.0):
        k = np.array([z, y, x]) / SHAPE
        weight = falling(k[:, None])[0]
        real, *turned = (weight * np.abs(each[z, y, x]) ** 2 for each in spectra)
        found.append((k @ k, real, sum(turned), real * (k @ k)))
    squares, power, *told = np.array(sorted(found)).T
    # Of waves of one length the first of some order is the last that is needed.
    last = max(
        squares[(np.cumsum(each) / each.sum() >= part).argmax()] for each in told
    )
    length, held = highest_told(TEMPLATE, 3.0, falling)
    assert length == pytest.approx(np.sqrt(last))
    shorter = power[squares < last * (1 - 1e-9)].sum() / power.sum()
    no_longer = power[squares < last * (1 + 1e-9)].sum() / power.sum()
    assert shorter < held <= no_longer + 1e-9


@pytest.mark.parametrize("factor", [1e-6, 1e3])
def test_what_waves_say_does_not_depend_on_the_grey_scale(factor):
    one = highest_told(TEMPLATE, 3.0, falling)
    np.testing.assert_allclose(highest_told(factor * TEMPLATE, 3.0, falling), one)


def test_information_is_summed_up_wave_by_wave(monkeypatch):
    k, fields, _ = known()
    weights = falling(k.T)
    monkeypatch.setattr(covering, "_TOGETHER", 100)  # several batches
    found = information(fields, k, weights)
    T = sample(k, fields).astype(complex)
    power, turning, moving = 0.0, np.zeros((3, 3)), np.zeros((3, 3))
    some = {0: None, 99: None, 100: None, 250: None, len(k) - 1: None}
    for i, (wave, weight) in enumerate(zip(k, weights, strict=True)):
        power += weight * np.abs(T[i, 0]) ** 2
        turning += weight * np.outer(T[i, 1:].conj(), T[i, 1:]).real
        moving += weight * 4 * np.pi**2 * np.outer(wave, wave) * np.abs(T[i, 0]) ** 2
        if i in some:
            some[i] = power, turning.copy(), moving.copy()
    for i, sums in some.items():
        for one, all_of_them in zip(sums, found, strict=True):
            wanted = one / power
            close = 1e-5 * np.abs(wanted).max()
            np.testing.assert_allclose(all_of_them[i], wanted, rtol=1e-4, atol=close)


@pytest.mark.parametrize("together", [100, 101, 1000])
def test_waves_are_looked_at_some_at_a_time(together, monkeypatch):
    k, fields, whole = known()
    counts = []

    def counting(points, fields):
        counts.append(len(points))
        return sample(points, fields)

    monkeypatch.setattr(covering, "sample", counting)
    monkeypatch.setattr(covering, "_TOGETHER", together)
    found = information(fields, k, np.ones(len(k)))
    assert counts[:-1] == [together] * (len(counts) - 1) and sum(counts) == len(k)
    for one, other in zip(found, whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)
    nothing = information(fields, k, np.zeros(len(k)))
    assert all((each == 0).all() for each in nothing)


@pytest.mark.parametrize("rotations", [(24, 4), (6, 3)])
@pytest.mark.parametrize("window", [(3.0, 3.0, 3.0), (0.0, 2.0, 5.0)])
def test_poses_that_are_tried_lose_no_more_than_they_may(rotations, window):
    """By the information of the waves: of rotation, and as much of shift."""
    _, _, about = known()
    grid = rotation_grid(rotations)
    found = coverage([about], grid, window)
    last = found.waves - 1
    power = about.power[last]
    assert found.part == pytest.approx(power / about.power[-1])
    turning = np.linalg.eigvalsh(about.turning[last])[-1] / power
    assert np.radians(found.apart) ** 2 * turning / 2 <= SETTINGS.between + 1e-9
    moved = 0.0
    for axis, most, rate in zip(
        found.axes, window, np.diag(about.moving[last]), strict=True
    ):
        assert axis[0] == -most and axis[-1] == most
        half = np.diff(axis).max() / 2 if len(axis) > 1 else most
        lost = half**2 * rate / power / 2
        assert lost <= SETTINGS.between / 3 + 1e-9
        if len(axis) > 1:  # with one less they would be too far apart
            fewer = 2 * most / max(len(axis) - 3, 1) / 2
            assert len(axis) == 3 or fewer**2 * rate / power / 2 > SETTINGS.between / 3
        moved += lost
    assert moved <= SETTINGS.between
    shifts = found.shifts()
    assert len(shifts) == np.prod([len(each) for each in found.axes])
    assert sorted(map(tuple, shifts)) == sorted(itertools.product(*found.axes))


def test_a_search_takes_the_largest_part_that_costs_no_more_than_it_should(monkeypatch):
    _, _, about = known()
    grid, window = rotation_grid((24, 4)), (3.0, 3.0, 3.0)
    parts = []
    for products in (1e9, 3e5, 1e5, 3e4, 1e3):
        settings = SETTINGS._replace(products=products)
        monkeypatch.setattr(covering, "SETTINGS", settings)
        found = coverage([about], grid, window)
        parts.append(found.part)
        cost = len(found.rotations) * found.waves
        cost *= np.prod([0.6 * len(each) for each in found.axes])
        # Of the net only about how many there are is known before.
        assert cost < 3 * products or found.waves == 50 or found.part < 0.35
    assert parts[0] == pytest.approx(0.95, abs=0.01)
    assert parts[0] >= parts[1] > parts[2] > parts[3] >= parts[4]
    assert coverage([about], grid, window).waves >= 50


def test_of_several_templates_each_is_held_and_told(monkeypatch):
    monkeypatch.setattr(covering, "SETTINGS", SETTINGS._replace(products=1e12))
    _, _, one = known()
    other = known(blob_image(rod(), SHAPE, 1.0))[2]
    grid, window = rotation_grid((24, 4)), (3.0, 3.0, 3.0)
    alone = [coverage([each], grid, window) for each in (one, other)]
    both = coverage([one, other], grid, window)
    assert both.waves == max(each.waves for each in alone)
    part = [each.power[both.waves - 1] / each.power[-1] for each in (one, other)]
    assert both.part == pytest.approx(min(part))
    assert both.apart <= max(each.apart for each in alone)
    for axis, *others in zip(both.axes, *(each.axes for each in alone), strict=True):
        assert len(axis) >= max(map(len, others))


def test_waves_of_a_wide_search_are_those_that_memory_holds(monkeypatch):
    _, _, about = known()
    grid = rotation_grid((24, 4))
    settings = SETTINGS._replace(bank_bytes=12 * 200 * 150.0)
    monkeypatch.setattr(covering, "SETTINGS", settings)
    found = coverage([about, about], grid, (3.0, 3.0, 3.0))
    most = int(settings.bank_bytes / (12 * 2 * len(found.rotations)))
    assert found.waves == max(50, most) or found.waves < most


@given(st.just(0.0) | st.floats(0.001, 9.0), st.floats(0.05, 9.0))
def test_shifts_along_an_axis_are_as_few_as_will_do(most, half):
    found = covering._along(most, half)
    assert len(found) % 2 == 1 and abs(found[len(found) // 2]) < 1e-12
    assert found[0] == -most and found[-1] == most
    count = len(found) // 2
    assert count * 2 * half >= most - 1e-6
    assert count == 0 or (count - 1) * 2 * half < most


def test_sums_reach_a_part_where_they_say():
    rising = np.array([1.0, 3.0, 6.0, 10.0])
    wanted = {0.05: 1, 0.1: 1, 0.11: 2, 0.3: 2, 0.6: 3, 0.61: 4, 1.0: 4}
    for part, count in wanted.items():
        assert covering._first(rising, part) == count
    assert covering._chord(60.0) == pytest.approx(2 * np.sin(np.radians(15)))
    assert covering._chord(300.0) == pytest.approx(np.sqrt(2))


def test_a_kernel_has_no_function_more_than_its_error_asks_for():
    k, _, about = known()
    power = np.diff(about.power, prepend=0)
    axes = [np.linspace(-m, m, n) for m, n in ((3.0, 5), (2.0, 3), (4.5, 7))]
    U, V = kernel(k, axes, power)
    np.testing.assert_allclose(V @ V.T, np.eye(len(V)), atol=1e-5)
    energy = (np.abs(U) ** 2 * power / power.sum()).sum(axis=1)
    assert (np.diff(energy) <= 1e-6).all()  # the first hold the most
    waves = np.exp(2j * np.pi * (k @ np.array(list(itertools.product(*axes))).T))

    def error(count):
        off = np.abs(U[:count].T @ V[:count] - waves) ** 2
        return np.sqrt((power[:, None] * off).sum() / power.sum() / V.shape[1])

    assert error(len(U)) <= SETTINGS.kernel_error * 1.001
    assert error(len(U) - 1) > SETTINGS.kernel_error


def test_each_axis_of_a_kernel_is_the_wave_along_it():
    random = np.random.default_rng(0)
    k, t = random.integers(-6, 7, 80) / 24, np.linspace(-4, 4, 33)
    weight = random.random(80)
    u, v = covering_axis(k, t, weight)
    np.testing.assert_allclose(v @ v.T, np.eye(len(v)), atol=1e-5)
    wave = np.exp(2j * np.pi * np.outer(k, t))
    error = (weight[:, None] * np.abs(u.T @ v - wave) ** 2).sum() / weight.sum()
    assert np.sqrt(error / len(t)) <= 3e-3 * SETTINGS.kernel_error
    assert len(v) < len(t)


def covering_axis(k, t, weight):
    from funpipe.engine.kernel import _axis

    return _axis(k, t, weight / weight.sum())


def told(power, turning, moving):
    """Return what two waves say, the second of which says it all."""
    half = np.array([0.5, 1.0])
    return covering.Information(
        half * power,
        half[:, None, None] * np.diag(turning),
        half[:, None, None] * np.diag(moving),
    )


def test_poses_are_as_far_apart_as_the_most_that_waves_say_lets_them():
    one = told(1.0, [3.0, 5.0, 4.0], [0.1, 0.2, 0.3])
    other = told(2.0, [2.0, 1.0, 16.0], [1.0, 0.1, 0.2])  # 8 a unit of power
    loss = 2 * SETTINGS.between
    for waves in (1, 2):
        reach, steps = covering._reach([one, other], waves)
        assert reach == pytest.approx(np.degrees(np.sqrt(loss / 8)))
        wanted = [np.sqrt(loss / 3 / each) for each in (0.5, 0.2, 0.3)]
        np.testing.assert_allclose(steps, wanted)
    # What does not change by rotations is found from all.
    ball = told(1.0, [0.0, 0.0, 0.0], [0.0, 0.0, 0.0])
    reach, steps = covering._reach([ball], 2)
    assert reach == pytest.approx(180.0) and min(steps) > 1e4


def test_how_many_poses_there_are_is_about_what_volumes_say():
    grid = rotation_grid((30, 5))
    count = len(grid.rotations)
    assert covering._about(grid, 15.0) == pytest.approx(count / 8)
    assert covering._about(grid, 7.5) == covering._about(grid, 5.0) == count
    assert covering._about(grid, 1e4) == 1
    for listed in (None, 0.0):
        rotations = RotationGrid(Rotation.random(9, rng=0), listed)
        assert covering._about(rotations, 60.0) == 9
    axes = np.zeros(5), np.zeros(3), np.zeros(7)
    assert covering._rank(axes) == pytest.approx(3.0 * 1.8 * 4.2)


@pytest.mark.parametrize("small", [1e9, 4e5, 1e5])
@pytest.mark.parametrize("products", [1e9, 3e5, 1e5, 3e4, 1e3])
def test_the_part_that_is_taken_is_that_of_a_loop(products, small, monkeypatch):
    settings = SETTINGS._replace(products=products, bank_bytes=small)
    monkeypatch.setattr(covering, "SETTINGS", settings)
    both = [known()[2], known(blob_image(rod(), SHAPE, 1.0))[2]]
    grid, window = rotation_grid((24, 4)), (3.0, 2.0, 3.0)
    found = coverage(both, grid, window)
    for part in (0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3):
        waves = 50
        while any(each.power[waves - 1] < part - 1e-9 for each in both):
            waves += 1
        reach, steps = covering._reach(both, waves)
        axes = [covering._along(*each) for each in zip(window, steps, strict=True)]
        rank = np.prod([0.6 * len(each) for each in axes])
        poses = 2 * covering._about(grid, reach)
        if 24 * waves * rank <= small and poses * waves * rank <= products:
            break
    for one, other in zip(found.axes, axes, strict=True):
        np.testing.assert_array_equal(one, other)
    chosen, apart = net(grid, reach)
    np.testing.assert_array_equal(found.rotations, chosen)
    assert found.apart == apart
    held = max(50, int(small / (12 * 2 * len(chosen))))
    assert found.waves == min(waves, held)
    least = min(each.power[found.waves - 1] for each in both)
    assert found.part == pytest.approx(least, rel=1e-6)


@pytest.mark.parametrize("reach", [9.0, 20.0])
def test_a_net_is_chosen_one_by_one(reach):
    """Each that no chosen one is near, nearer by what the grid leaves between."""
    grid = rotation_grid((30, 5))
    radius = np.sqrt(reach**2 - (0.75 * 5) ** 2)
    chosen = []
    for i in range(len(grid.rotations)):
        apart = grid.rotations[chosen].inv() * grid.rotations[i] if chosen else None
        if apart is None or np.degrees(apart.magnitude().min()) > radius:
            chosen.append(i)
    found, near = net(grid, reach)
    assert found.tolist() == chosen and near == reach
    whole, near = net(grid, 6.0)  # less than a spacing farther
    assert len(whole) == len(grid.rotations) and near == 3.75


def test_of_few_or_far_rotations_neighbours_are_themselves():
    two = Rotation.from_rotvec([[0, 0, 0], [0, 0, 90]], degrees=True)
    far, near = neighbours(two, 80.0), neighbours(two, 100.0)
    assert [sorted(set(each)) for each in far] == [[0], [1]]
    assert [sorted(set(each)) for each in near] == [[0, 1], [0, 1]]
    beside = Rotation.from_rotvec([[0, 0, 0], [0, 0, 0.5]], degrees=True)
    alone = neighbours(beside, 0.0)
    assert [sorted(set(each)) for each in alone] == [[0], [1]]
    many = neighbours(rotation_grid((30, 5)).rotations, 60.0)
    assert many.shape[1] == 32


SCENES = {
    "blobs": (asymmetric_molecule(3, radius=7.0, sigma=1.3),),
    "two": (
        asymmetric_molecule(3, radius=7.0, sigma=1.3),
        asymmetric_molecule(8, radius=6.0, sigma=1.3),
    ),
    "rod": (rod(),),
    "ring": (ring(),),
    "bare of long waves": (asymmetric_molecule(5, radius=7.0, sigma=1.0),),
}


def scene(name, noise, count=30):
    templates = [blob_image(each, SHAPE, 1.0) for each in SCENES[name]]
    if name.startswith("bare"):
        wide = fp.gaussian_filter(2.5)
        templates = [each - wide(each, 1.0) for each in templates]
    unit = float(templates[0][np.abs(templates[0]) > 0.1 * templates[0].max()].std())
    options = {"angle": 10.0, "shift": 2.0, "tilt": (-60, 60), "seed": 4}
    return templates, particles(
        SCENES[name][0], SHAPE, 1.0, count, noise=noise * unit, **options
    )


def climbed_from_all(templates, made, rotations):
    """Return the best score of climbs from every rotation, at its best whole shift."""
    window = (3.0, 3.0, 3.0)
    masked_all = np.stack([masked(each, np.ones(SHAPE)) for each in templates])
    grid = rotation_grid(rotations)
    bank = template_bank(
        masked_all, grid, window, 4.0, support=whole_box(SHAPE), refined=False
    )
    crops = whole_boxes(made.boxes)
    F = spectra(crops, bank.k, bank.support)
    vectors = np.einsum("nij,kj->ink", made.orientations.as_matrix(), bank.k)
    W = as_tilt("tilt", (-60, 60))(vectors).astype(np.float32)
    waves = np.exp(2j * np.pi * (bank.k @ bank.shifts.T))
    best = np.full(len(F), -np.inf)
    for m, fields in enumerate(bank.fields):
        for R in grid.rotations.as_matrix():
            T = sample(bank.k @ R, fields, 1)[:, 0]
            t = bank.shifts[((W * T.conj() * F) @ waves).real.argmax(axis=1)]
            n = len(F)
            start = Poses(
                np.arange(n), np.full(n, m), np.tile(R, (n, 1, 1)), t, np.zeros(n)
            )
            there = climb(
                start,
                Spectra(bank.k, F, W),
                bank.fields,
                Limits(window, grid.limit),
                steps=20,
            )
            best = np.maximum(best, there.poses.score)
    k = lattice(SHAPE, 4.0)
    vectors = np.einsum("nij,kj->ink", made.orientations.as_matrix(), k)
    whole = lattice_power(crops, as_tilt("tilt", (-60, 60))(vectors), 4.0, bank.support)
    used = (W * np.abs(F) ** 2).sum(axis=1)
    return best * np.sqrt(used / whole)


@pytest.mark.parametrize("noise", [0.0, 3.0])
@pytest.mark.parametrize("name", SCENES)
def test_the_search_ends_as_high_as_climbs_from_all_of_the_grid(name, noise):
    templates, made = scene(name, noise)
    found = fp.align_subtomograms(
        made.boxes,
        scale=1.0,
        template=templates,
        max_shifts=3.0,
        rotations=(10, 5),
        tilt=(-60, 60),
        orientations=made.orientations,
        resolution=4.0,
        progress=False,
    )
    best = climbed_from_all(templates, made, (10, 5))
    assert (found.scores >= best - 2e-3).mean() >= 0.96
    assert len(rotation_grid((10, 5)).rotations) > 30
