"""The parts of a search of a whole tomogram are what plain loops say."""

from __future__ import annotations

import itertools

import numpy as np
import plain_search as plain
import pytest

import funpipe as fp
from funpipe.engine.background import taken_off
from funpipe.engine.basis import Seen, ball_of, search_basis, seen_of
from funpipe.engine.chances import Limits, limits_of
from funpipe.engine.exactly import sweep_exactly
from funpipe.engine.rescoring import REACH, Rescored, exact, rescored
from funpipe.engine.rivals import best_by_chance
from funpipe.engine.settings import SWEEP
from funpipe.engine.sweep import (
    best_of,
    coefficients_at,
    kernels_of,
    step_for,
    sweep,
    tiling,
)
from funpipe.jobs.preparing import masked_templates, prepare_all
from funpipe.space.geometry import whole_grid

MOLECULE = fp.simulate.asymmetric_molecule(3, count=8, radius=3.0, sigma=0.5)
OTHER = fp.simulate.asymmetric_molecule(4, count=8, radius=3.0, sigma=0.5)
FINEST = 2.5
GRID = whole_grid(60.0)


def masked_template(blobs):
    image = fp.simulate.blob_image(blobs, (9, 9, 9), 1.0)
    return masked_templates(prepare_all(image, None, 1.0))


TEMPLATES = np.concatenate([masked_template(each) for each in (MOLECULE, OTHER)])
SUPPORT = ball_of(TEMPLATES)


def falling(k):
    return 1 / (1 + 4 * np.sqrt(np.square(k).sum(axis=0)))


def all_of_it(k):
    return np.ones(k.shape[1:])


SEEN = Seen(falling, all_of_it)
BASIS = search_basis(TEMPLATES, GRID, FINEST, support=SUPPORT, seen=SEEN)
SIDE = BASIS.side
HALF = SIDE // 2
PLACES = 24  # of a tile
TILES = tiling(BASIS, (PLACES,) * 3, all_of_it)
LOW, HIGH = HALF + 1, PLACES - HALF - 1
WAVES = plain.waves_at((SIDE,) * 3, BASIS.k)


def go_on():
    """Go on."""


def noise(seed, shape=(PLACES,) * 3, step=1.0):
    """Return noise that a grid of a step has all waves of."""
    spectrum = np.fft.fftn(np.random.default_rng(seed).standard_normal(shape))
    for axis, n in enumerate(shape):
        beyond = np.abs(np.fft.fftfreq(n)) >= 0.5 / step
        np.moveaxis(spectrum, axis, 0)[beyond] = 0
    return np.fft.ifftn(spectrum).real.astype(np.float32)


def crop_of(tile, voxel):
    return tile[tuple(slice(i - HALF, i + HALF + 1) for i in voxel)]


def real(row):
    """Return the image of a turned template's waves, in a crop."""
    return (row @ WAVES.conj()).real.reshape((SIDE,) * 3)


def whole_of(tile, voxel):
    """Return G of a crop, not of norm 1, by sums over its voxels."""
    crop = crop_of(tile, voxel).astype(float)
    edge = BASIS.window * (1.0 - BASIS.window)
    level = (crop * edge).sum() / edge.sum()
    return BASIS.g * (WAVES @ (BASIS.window * (crop - level)).ravel())


def wanted_box(low=LOW, high=HIGH):
    wanted = np.zeros((PLACES,) * 3, bool)
    wanted[low:high, low : high - 1, low + 1 : high] = True
    return wanted


# Correlations.


def test_coefficients_are_those_of_crops_one_by_one():
    tile = noise(2)
    wanted = wanted_box(LOW, LOW + 4)
    c, power, there, low = coefficients_at(tile, wanted, BASIS, TILES, go_on)
    np.testing.assert_array_equal(low, np.argwhere(wanted).min(axis=0))
    assert there.all() and there.sum() == wanted.sum()
    ratio = []
    for place in np.argwhere(there):
        G = whole_of(tile, place + low)
        plainly = (BASIS.functions.conj() @ G).real
        np.testing.assert_allclose(c[tuple(place)], plainly, atol=0.01)
        ratio.append(power[tuple(place)] / np.square(np.abs(G)).sum())
    assert np.mean(ratio) == pytest.approx(1, abs=0.15)


def test_the_power_of_a_place_is_its_formula():
    tile = noise(3)
    _, power, _, low = coefficients_at(tile, wanted_box(), BASIS, TILES, go_on)
    axes = [np.fft.fftfreq(PLACES)] * 3
    k = np.stack(np.meshgrid(*axes, indexing="ij"))
    length = np.sqrt(np.square(k).sum(axis=0))
    seen = (length <= 1 / FINEST) & (length >= 0.5 / SIDE)
    filtered = np.fft.ifftn(np.fft.fftn(tile) * seen).real
    for place in ((0, 0, 0), (2, 3, 1)):
        square = np.square(crop_of(filtered, low + place) * BASIS.window).sum()
        assert power[place] == pytest.approx(SIDE**3 / 2 * square, rel=5e-3)


@pytest.mark.parametrize("step", [1.5, 2.0])
def test_on_a_coarser_grid_coefficients_are_those_at_its_places(step):
    basis = BASIS._replace(step=step)
    coarse = (round(24 / step),) * 3
    tiles = tiling(basis, coarse, all_of_it)
    assert tiles.fine == (24, 24, 24) and tiles.coarse == coarse
    tile = noise(4, tiles.fine, step)
    wanted = np.zeros(coarse, bool)
    first, last = int(np.ceil(HALF / step)), int((23 - HALF) / step)
    wanted[first : last + 1, first : last + 1, first : last + 1] = True
    c, power, _, low = coefficients_at(tile, wanted, basis, tiles, go_on)
    ratio = []
    for place in np.argwhere(wanted)[::3]:
        if (place * step % 1).any():
            continue
        G = whole_of(tile, (place * step).astype(int))
        plainly = (basis.functions.conj() @ G).real
        found = c[tuple(place - low)]
        np.testing.assert_allclose(found, plainly, atol=0.01)
        ratio.append(power[tuple(place - low)] / np.square(np.abs(G)).sum())
    assert len(ratio) > 5
    assert np.mean(ratio) == pytest.approx(1, abs=0.2)


def test_kernels_have_no_wave_that_a_grid_cannot_tell_from_its_mirror():
    """Nyquist's, along any axis."""
    tiles = tiling(BASIS, (PLACES,) * 3, all_of_it)
    half = PLACES // 2
    for each in (tiles.kernels, tiles.window[None]):
        for axis in (1, 2, 3):
            waves = np.moveaxis(each, axis, 0)
            assert (waves[half] == 0).all()
            assert (waves[half - 1] != 0).any()


def test_places_are_as_far_apart_as_kernels_allow():
    for finest in (3.0, 6.0):
        basis = search_basis(TEMPLATES, GRID, finest, support=SUPPORT, seen=SEEN)
        step = step_for(basis)
        count = len(basis.functions)
        kernels = kernels_of(basis.functions[:: max(1, count // 16)], basis)
        spectra = np.fft.fftn(kernels, s=(2 * SIDE,) * 3, axes=(1, 2, 3))
        power = np.square(np.abs(spectra)).sum(axis=0)
        k = np.abs(np.fft.fftfreq(2 * SIDE))

        def beyond(step, power=power, k=k):
            some = np.ix_(*[k < 0.5 / step] * 3)
            return 1 - power[some].sum() / power.sum()

        assert step % 0.5 == 0 and step >= 1
        assert step == 1 or beyond(step) <= SWEEP.aliased + 1e-5
        coarser = step + 0.5 <= max(1, int(finest) / 2)
        assert not coarser or beyond(step + 0.5) > SWEEP.aliased - 1e-5


@pytest.mark.parametrize("finest", [3.0, 4.5])
def test_places_are_no_farther_apart_than_half_of_the_shortest_period(finest):
    """Even where templates have nothing but long waves."""
    basis = search_basis(TEMPLATES, GRID, finest, support=SUPPORT, seen=SEEN)
    long = np.linalg.norm(basis.k, axis=1) < 0.12
    smooth = basis._replace(
        g=np.where(long, basis.g, 0), window=np.ones_like(basis.window) * 0.99
    )
    assert step_for(smooth) == max(1.0, int(finest) / 2)


def test_the_best_row_of_each_place_is_that_of_a_loop():
    random = np.random.default_rng(5)
    c, a = random.standard_normal((7, 4)), random.standard_normal((9, 4))
    scores, rows = best_of(c, a)
    for i in range(7):
        each = [sum(a[j] * c[i]) for j in range(9)]
        assert scores[i] == pytest.approx(max(each))
        assert rows[i] == np.argmax(each)


# Sweeps.


@pytest.fixture(name="planted", scope="module")
def _planted():
    """Return a tile with two templates in noise, and where they are."""
    tile = 0.5 * noise(6)
    places = np.array([[10, 9, 10], [13, 13, 14]])
    for row, (z, y, x) in zip((4, len(GRID.rotations) + 9), places, strict=True):
        image = real(BASIS.rows[row])
        part = tuple(slice(i - HALF, i + HALF + 1) for i in (z, y, x))
        tile[part] += (2.0 / image.std() * image).astype(np.float32)
    return tile, places


def plain_sweep(tile, wanted, limits, faint):
    """Return what a sweep finds, place by place."""
    c, power, there, low = coefficients_at(tile, wanted, BASIS, TILES, go_on)
    counts, field = [0, 0, 0], np.full(power.shape, -1.0)
    rows = np.zeros(power.shape, int)
    for place in map(tuple, np.argwhere(there)):
        size = np.sqrt(power[place])
        if power[place] <= faint:
            continue
        counts[0] += 1
        if np.linalg.norm(c[place]) < limits.bound * size:
            continue
        counts[1] += 1
        scores = BASIS.coefficients @ c[place] / size
        if scores[BASIS.coarse].max() < limits.coarse:
            continue
        counts[2] += 1
        field[place], rows[place] = scores.max(), scores.argmax()
    found = []
    for place in np.argwhere(field >= limits.fine):
        around = tuple(slice(max(i - 1, 0), i + 2) for i in place)
        if field[tuple(place)] >= SWEEP.nearly * field[around].max():
            found.append(tuple(int(i) for i in place + low))
    return (*counts, len(found)), found, field, rows


def test_a_sweep_leaves_out_what_is_below_each_limit(planted):
    tile, _ = planted
    limits = Limits(0.55, 0.3, 0.5)
    wanted = wanted_box()
    wanted[10, 10, 10] = False
    _, power, there, _ = coefficients_at(tile, wanted, BASIS, TILES, go_on)
    faint = float(np.quantile(power[there], 0.1))
    found = sweep(tile, wanted, BASIS, TILES, limits, faint=faint, go_on=go_on)
    counts, where, field, rows = plain_sweep(tile, wanted, limits, faint)
    assert found.counts == counts
    assert wanted.sum() > counts[0] > counts[1] > counts[2] > counts[3] > 0
    assert list(map(tuple, found.where.tolist())) == where
    np.testing.assert_allclose(found.scores, field, atol=1e-4)
    np.testing.assert_array_equal(found.best, rows)
    np.testing.assert_array_equal(found.low, [LOW, LOW, LOW + 1])


def all_scores(tile, wanted):
    """Return the best score of each voxel in full, by sums over crops; −1 elsewhere."""
    scores = np.full(wanted.shape, -1.0)
    rows = np.zeros(wanted.shape, int)
    for place in map(tuple, np.argwhere(wanted)):
        G = plain.seen(tile.astype(float), place, BASIS.window, WAVES, BASIS.g**2)
        found = (BASIS.rows.conj() @ G).real
        scores[place], rows[place] = found.max(), found.argmax()
    return scores, rows


@pytest.mark.parametrize("part", [SWEEP.part, 0.7])
def test_an_exact_sweep_has_all_peaks_that_reach_a_score(planted, part):
    tile, _ = planted
    basis = search_basis(TEMPLATES, GRID, FINEST, support=SUPPORT, seen=SEEN, part=part)
    tiles = tiling(basis, (PLACES,) * 3, all_of_it)
    wanted = wanted_box()
    scores, rows = all_scores(tile, wanted)
    for least in (0.55, 0.7):
        found, counts = sweep_exactly(
            tile, wanted, basis, tiles, least, faint=0.0, go_on=go_on
        )
        expected = plain.peaks(scores, least)
        assert len(expected) >= 2
        assert sorted(map(tuple, found.where.tolist())) == sorted(expected)
        for place, score, row in zip(*found, strict=True):
            assert score == pytest.approx(scores[tuple(place)], abs=1e-3)
            assert row == rows[tuple(place)]
        assert counts[0] == wanted.sum()
        assert counts[0] >= counts[1] >= counts[2] >= counts[3] == len(expected)
        assert counts[2] >= (scores >= least).sum()
        assert part < 0.9 or counts[2] < 0.5 * counts[0]


def test_an_exact_sweep_leaves_out_places_that_are_faint(planted):
    tile, _ = planted
    wanted = wanted_box()
    places = np.argwhere(wanted)
    powers = np.sort([np.square(np.abs(whole_of(tile, each))).sum() for each in places])
    gap = np.argmax(np.diff(powers[:200]) / powers[:199])
    faint = float(powers[gap : gap + 2].mean())
    options = {"faint": faint, "go_on": go_on}
    found, counts = sweep_exactly(tile, wanted, BASIS, TILES, 0.5, **options)
    assert counts[0] == len(places) - gap - 1
    assert len(found.where) == counts[3] > 0


# Scores in full.


def test_exact_scores_are_those_of_crops_one_by_one():
    tile = noise(7)
    wanted = wanted_box(LOW, LOW + 4)
    where = np.argwhere(wanted)  # more than one batch
    scores, rows = all_scores(tile, wanted)
    found = exact(tile, where, BASIS, go_on)
    np.testing.assert_array_equal(found.where, where)
    np.testing.assert_allclose(found.scores, scores[wanted], atol=1e-4)
    np.testing.assert_array_equal(found.rows, rows[wanted])
    assert len(exact(tile, where[:0], BASIS, go_on).scores) == 0


@pytest.mark.parametrize("count", [0, 1, 32, 33, 64, 70])
def test_it_is_asked_whether_to_go_on_for_every_few_voxels(count):
    tile = noise(7)
    where = np.argwhere(wanted_box())[:count]
    asked = []
    exact(tile, where, BASIS, lambda: asked.append(1))
    assert len(asked) == -(-count // 32)
    low, high = np.full(3, LOW), np.full(3, HIGH)
    options = {"low": low, "high": high, "go_on": lambda: asked.append(1)}
    if count:
        asked.clear()
        rescored(tile, where, BASIS, 2.0, **options)  # more than any score
        assert len(asked) >= -(-count // 32)


def test_poses_near_places_go_to_the_best_voxel(planted):
    tile, places = planted
    low, high = np.full(3, LOW), np.full(3, HIGH - 1)
    scores, rows = all_scores(tile, wanted_box(LOW - 1, HIGH + 1))
    for offset in ((0, 0, 0), (1, -1, 1), (-1, 0, 1), (2, 0, 0)):
        found = rescored(
            tile, places + offset, BASIS, 0.4, low=low, high=high, go_on=go_on
        )
        assert set(map(tuple, places.tolist())) == set(map(tuple, found.where.tolist()))
        for place, score, row in zip(*found, strict=True):
            assert score == pytest.approx(scores[tuple(place)], abs=1e-3)
            assert row == rows[tuple(place)]
    least = float(found.scores.max()) - 1e-3
    one = rescored(tile, places, BASIS, least, low=low, high=high, go_on=go_on)
    assert len(one.where) == 1


def test_poses_keep_to_their_voxels_and_go_no_farther_than_their_reach(planted):
    tile, places = planted
    low, high = places[0] + [1, -2, -2], places[0] + 2
    options = {"low": low, "high": high, "go_on": go_on}
    found = rescored(tile, places[:1], BASIS, 0.0, **options)
    assert len(found.where)
    assert ((found.where >= low) & (found.where <= high)).all()
    far = places[:1] + np.array([0, 0, REACH + 1])
    options = {"low": np.full(3, HALF), "high": np.full(3, HIGH), "go_on": go_on}
    found = rescored(tile, far, BASIS, 0.0, **options)
    assert np.abs(found.where - far).max() <= REACH
    none = rescored(tile, far[:0], BASIS, 0.0, **options)
    assert none.where.shape == (0, 3)


# What noise scores.


def test_limits_of_all_functions_at_every_place_are_those_of_the_score():
    """Where nothing is left out, no pose is below its own score."""
    whole = BASIS._replace(
        step=0.0,
        functions=BASIS.all_functions,
        coefficients=BASIS.all_coefficients,
    )
    least = 0.8
    limits = limits_of(whole, least, 0.5)
    held = np.square(np.linalg.norm(whole.coefficients, axis=1)).mean()
    assert held > 0.97
    assert limits.fine == pytest.approx(least, abs=0.02)
    assert limits.coarse <= limits.fine <= limits.bound
    # Of the noise the functions hold as many of its numbers as they are.
    part = (len(whole.functions) - 1) / whole.numbers
    assert limits.bound == pytest.approx(
        np.sqrt(least**2 + (1 - least**2) * min(part, 1)), abs=0.06
    )


def test_limits_fall_with_the_chance_the_score_and_the_step():
    steps = [BASIS._replace(step=each) for each in (1.0, 2.5)]
    usual = limits_of(steps[0], 0.6, 0.05)
    for lower in (
        limits_of(steps[0], 0.6, 0.005),
        limits_of(steps[0], 0.5, 0.05),
        limits_of(steps[1], 0.6, 0.05),
    ):
        assert all(a < b for a, b in zip(lower, usual, strict=True))


def test_only_limits_by_rotations_are_lowered():
    lowered = Limits(0.5, 0.4, 0.2).lowered(0.75)
    assert lowered == pytest.approx(Limits(0.5, 0.3, 0.15))


@pytest.mark.parametrize("missed", [0.02, 0.2])
def test_so_many_poses_are_below_each_limit_as_is_asked(missed):
    """Poses of a score are made one by one, between places a step apart."""
    basis = BASIS._replace(step=1.5)
    limits = limits_of(basis, 0.6, missed)
    random = np.random.default_rng(8)
    count, below = 400, np.zeros(3)
    corners = np.array(list(itertools.product((0.0, 1.5), repeat=3)))
    flat = basis.functions
    for _ in range(count):
        s = basis.rows[random.integers(len(basis.rows))].astype(complex)
        crop = random.standard_normal((1, SIDE, SIDE, SIDE)).astype(np.float32)
        nu = seen_of(crop, basis)[0].astype(complex)
        nu = nu - np.vdot(s, nu).real * s
        G = 0.6 * s + 0.8 * nu / np.linalg.norm(nu)
        off = random.uniform(0, 1.5, 3)
        best = np.full(3, -1.0)
        for corner in corners:
            c = (flat.conj() @ (G * np.exp(2j * np.pi * basis.k @ (off - corner)))).real
            scores = basis.coefficients @ c
            each = [np.linalg.norm(c), scores[basis.coarse].max(), scores.max()]
            best = np.maximum(best, each)
        below += best < limits
    spread = 3.5 * np.sqrt(count * missed * (1 - missed) * 1.2)
    assert (np.abs(below - count * missed) < spread).all()


# Backgrounds.


def test_what_a_background_scores_by_chance_is_the_mean_of_its_best():
    random = np.random.default_rng(9)
    crops = random.standard_normal((300, SIDE, SIDE, SIDE)).astype(np.float32)
    best = [(BASIS.rows.conj() @ each).real.max() for each in seen_of(crops, BASIS)]
    error = np.std(best) * np.sqrt(1 / 300 + 1 / 400)
    assert best_by_chance(BASIS).mean() == pytest.approx(np.mean(best), abs=4 * error)


@pytest.mark.parametrize("how", ["subtracted", "divided"])
def test_what_a_background_scores_beyond_chance_is_taken_off(planted, how):
    tile, _ = planted
    where = np.argwhere(wanted_box())[::7]
    there, _ = all_scores(tile, wanted_box())
    scores = there[tuple(where.T)]
    usual = float(np.median(scores))
    own = np.linspace(0.1, 0.9, len(where), dtype=np.float32)
    some = Rescored(where, own, np.zeros(len(where), np.intp))
    found = taken_off(how, tile, some, BASIS, usual, go_on=go_on)
    for s, b, less in zip(own, scores, found, strict=True):
        left = {
            "subtracted": s - max(0, b - usual) / 2,
            "divided": s * (usual / max(b, usual)) ** 0.25,
        }
        assert s - less == pytest.approx(left[how], abs=1e-3)
    assert (found == 0).any() and (found > 0).any()
