"""Transforms of crops, against sums over their voxels."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial.transform import Rotation

from funpipe.space import crops as crops_module
from funpipe.space.crops import (
    Crops,
    Support,
    boxes_of,
    crop_shape,
    lattice,
    lattice_power,
    reach_of_template,
    spectra,
    support_of,
    whole_box,
    window_power,
    windows_of,
)
from funpipe.space.fourier import half_ball
from funpipe.space.geometry import radius

BALL = Support((26.0, 26.0, 26.0), 11.0, (24, 24, 24))
BOX = Support((9.0, 12.0, 10.0), math.inf, (9, 12, 10))


def ball(shape, reach=8.0):
    return (radius(shape) <= reach).astype(float)


def window(shape, support, turn, offset):
    """What counts, voxel by voxel: 2 voxels of cosine, or the box's linear edge."""
    if math.isinf(support.radius):
        x = np.stack(np.indices(shape), -1) - (np.array(shape) - 1) / 2
        beyond = np.abs((x - offset) @ turn) - np.array(support.box) / 2
        return np.prod(np.clip(0.5 - beyond, 0, 1), axis=-1)
    beyond = np.clip((radius(shape) - support.radius - 1) / 2, 0, 1)
    return (1 + np.cos(np.pi * beyond)) / 2


def summed(crops, k, support):
    """Evaluate the definition in the module's text, with loops."""
    found = []
    for f, offset, turn in zip(*crops, strict=True):
        shape = f.shape
        w = window(shape, support, turn, offset)
        x = np.stack(np.indices(shape), -1).reshape(-1, 3)
        u = (x - (np.array(shape) - 1) / 2 - offset) @ turn  # Rᵀ on rows
        edge = w * (1 - w) if (w % 1).any() else w
        values = (w * (f - np.average(f, weights=edge))).ravel()
        found.append(np.exp(-2j * np.pi * k @ u.T) @ values)
    return np.array(found)


def some(k):
    """Return few of the waves, of all lengths: sums over voxels take long."""
    return k[:: max(1, len(k) // 150)]


def examples(shape, count=3, seed=0, reach=8.0, still=False):
    """Smooth densities within a reach of the middle, turned and off centre."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(count, *shape)) * ball(shape, reach)
    values = np.stack([gaussian_filter(each, 1.0) for each in values])
    turns = Rotation.random(count, rng=random).as_matrix()
    if still:
        turns = np.broadcast_to(np.eye(3), (count, 3, 3))
    offsets = random.uniform(-0.5, 0.5, (count, 3))
    return Crops(values.astype(np.float32), offsets, turns)


def waves(support, finest=4.0):
    count = tuple(round(each) for each in support.periods)
    return half_ball(count, finest) / np.array(count)


def off(found, expected):
    """Return the root mean square of the difference, of that expected."""
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("size", [27, 28])
def test_a_turned_crop_has_the_transform_that_the_sum_gives(size):
    k = some(waves(BALL))
    crops = examples((size,) * 3)
    found = spectra(crops, k, BALL)
    assert found.dtype == np.complex64
    assert found.shape == (3, len(k))
    assert off(found, summed(crops, k, BALL)) < 0.025


@pytest.mark.parametrize("finest", [3.0, 6.0])
@pytest.mark.parametrize("shape", [(27, 28, 27), (30, 27, 31)])
def test_a_crop_that_is_not_turned_is_transformed_exactly(shape, finest):
    k = some(waves(BALL, finest))
    crops = examples(shape, still=True)
    assert off(spectra(crops, k, BALL), summed(crops, k, BALL)) < 2e-6


def test_a_box_that_is_its_crop_counts_whole():
    crops = examples(BOX.box, still=True)._replace(offsets=np.zeros((3, 3)))
    k = some(waves(BOX))
    expected = summed(crops, k, BOX)
    assert off(spectra(crops, k, BOX), expected) < 2e-6
    np.testing.assert_allclose(window_power(crops, BOX), 9 * 12 * 10)


def test_a_turned_box_that_is_not_a_cube_has_the_transform_that_the_sum_gives():
    turns = examples((1, 1, 1)).turns
    shape = crop_shape(BOX, turns)
    crops = examples(shape, reach=4.0)._replace(turns=turns)
    k = some(waves(BOX))
    assert off(spectra(crops, k, BOX), summed(crops, k, BOX)) < 0.02


@pytest.mark.parametrize("support", [BALL, BOX])
def test_what_must_be_cut_holds_all_that_counts(support):
    turns = Rotation.random(20, rng=1).as_matrix()
    shape = crop_shape(support, turns)
    for turn in turns:
        offset = np.random.default_rng(2).uniform(-0.5, 0.5, 3)
        w = window(tuple(n + 2 for n in shape), support, turn, offset)
        assert w[1:-1, 1:-1, 1:-1].sum() == pytest.approx(w.sum(), rel=1e-9)


def test_mirrored_waves_have_conjugate_values():
    crops, k = examples((27, 27, 27)), waves(BALL)
    found = spectra(crops, np.concatenate([k, -k]), BALL)
    np.testing.assert_allclose(found[:, : len(k)], found[:, len(k) :].conj(), atol=1e-4)


@pytest.mark.parametrize("support", [BALL, BOX])
def test_a_constant_has_nothing_in_it(support):
    crops = examples((28, 28, 28))
    level = np.full_like(crops.values, 7.0)
    power = window_power(crops, support).max()
    found = spectra(crops._replace(values=level), waves(support), support)
    assert np.abs(found).max() < 1e-5 * 7 * power


def test_a_level_changes_nothing():
    crops, k = examples((27, 27, 27)), waves(BALL)
    raised = crops._replace(values=crops.values + np.float32(3.0))
    assert off(spectra(raised, k, BALL), spectra(crops, k, BALL)) < 1e-4


@pytest.mark.parametrize("support", [BALL, BOX])
@pytest.mark.parametrize("still", [True, False])
def test_a_crop_in_a_batch_is_what_it_is_alone(support, still):
    crops, k = examples((28, 27, 29), count=5, still=still), waves(support)
    W = np.ones(len(lattice((28, 27, 29), 4.0)))
    whole = spectra(crops, k, support)
    power = lattice_power(crops, W, 4.0, support)
    for i in range(5):
        alone = crops.take(slice(i, i + 1))
        np.testing.assert_array_equal(spectra(alone, k, support)[0], whole[i])
        assert lattice_power(alone, W, 4.0, support)[0] == power[i]


def test_still_and_turned_crops_go_together():
    crops, k = examples((27, 27, 27), count=4), waves(BALL)
    turns = crops.turns.copy()
    turns[[1, 3]] = np.eye(3)
    crops = crops._replace(turns=turns)
    found = spectra(crops, k, BALL)
    for i in range(4):
        alone = spectra(crops.take(slice(i, i + 1)), k, BALL)
        np.testing.assert_array_equal(found[i], alone[0])


@pytest.mark.parametrize("support", [BALL, BOX])
def test_white_noise_has_the_power_of_the_window(support):
    random = np.random.default_rng(0)
    turns = Rotation.random(40, rng=random).as_matrix()
    shape = crop_shape(support, turns)
    values = random.normal(size=(40, *shape)).astype(np.float32)
    crops = Crops(values, random.uniform(-0.5, 0.5, (40, 3)), turns)
    expected = window_power(crops, support)
    poses = zip(turns, crops.offsets, strict=True)
    w = [window(shape, support, *each) for each in poses]
    np.testing.assert_allclose(expected, np.square(w).sum(axis=(1, 2, 3)), rtol=1e-5)
    power = np.abs(spectra(crops, waves(support), support)) ** 2
    assert (power.mean(axis=1) / expected).mean() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("finest", [3.0, 5.0])
def test_the_power_on_the_crops_own_lattice_is_that_on_the_supports(finest):
    random = np.random.default_rng(1)
    turns = Rotation.random(40, rng=random).as_matrix()
    shape = crop_shape(BALL, turns)
    values = random.normal(size=(40, *shape)).astype(np.float32)
    crops = Crops(values, np.zeros((40, 3)), turns)
    there = np.abs(spectra(crops, waves(BALL, finest), BALL)) ** 2
    own = lattice_power(crops, np.ones(len(lattice(shape, finest))), finest, BALL)
    assert own.sum() == pytest.approx(there.sum(), rel=0.03)


def test_a_ball_holds_a_template_wherever_it_is_shifted():
    template = np.zeros((2, 32, 32, 32), np.float32)
    template[0, 16, 16, 16] = template[1, 16, 16, 8] = -1
    support = support_of(template, (1.0, 2.0, 2.0))
    assert support.radius == pytest.approx(math.hypot(0.5, 0.5, 7.5) + 3)
    assert support.periods == pytest.approx((2 * support.radius + 4,) * 3)
    assert max(support_of(template, (7.0, 7.0, 7.0)).periods) == 32
    assert support.box == (32, 32, 32)


def test_what_fills_its_box_counts_with_the_box():
    filament = np.zeros((1, 40, 12, 12))
    filament[0, :, 4:8, 4:8] = 1
    support = support_of(filament, (1.0, 1.0, 1.0))
    assert support == Support((40.0, 12.0, 12.0), math.inf, (40, 12, 12), 640)


def test_boxes_are_crops_turned_into_their_frames():
    shape = (31, 30, 32)
    blob = np.array([2.0, -1.0, 3.0])  # where it is in the particle's frame
    turns = Rotation.random(3, rng=3).as_matrix()
    offsets = np.random.default_rng(3).uniform(-0.5, 0.5, (3, 3))

    def image(shape, middle):
        grid = np.stack(np.indices(shape), -1) - (np.array(shape) - 1) / 2
        return np.exp(-np.square(grid - middle).sum(axis=-1) / (2 * 2.0**2))

    values = [image(shape, R @ blob + o) for R, o in zip(turns, offsets, strict=True)]
    crops = Crops(np.array(values, np.float32), offsets, turns)
    found = boxes_of(crops, (13, 15, 14))
    np.testing.assert_allclose(found, [image((13, 15, 14), blob)] * 3, atol=2e-3)


def test_the_bulk_of_templates_is_that_of_the_slimmest_whatever_their_contrast():
    z, y, x = np.indices((16, 16, 16)) - 7.5
    slim, stout = ((z**2 + y**2 + x**2 < r * r).astype(np.float32) for r in (3, 5))
    alone = support_of(slim[None], (1.0, 1.0, 1.0)).bulk
    assert alone == slim.sum()
    both = np.stack([slim, 100 * stout])
    assert support_of(both, (1.0, 1.0, 1.0)).bulk == alone


def on_its_lattice(crops, finest, support, W):
    """Sum W |F|² over waves of a crop's own lattice, times how much denser others are.

    Of each mirrored pair one wave is taken, and no wave at Nyquist's frequency.
    """
    shape, found = crops.values.shape[1:], []
    k = lattice(shape, finest)
    for i, turn in enumerate(crops.turns):
        # Of a wave along the tomogram's axes, k in the particle's frame is Rᵀ k.
        [F] = summed(crops.take(slice(i, i + 1)), k @ turn, support)
        found.append(((W if W.ndim == 1 else W[i]) * np.abs(F) ** 2).sum())
    return np.array(found) * math.prod(support.periods) / math.prod(shape)


@pytest.mark.parametrize("support", [BALL, BOX])
@pytest.mark.parametrize("each_its_own", [False, True])
def test_the_power_is_the_weighted_sum_over_the_crops_own_lattice(
    support, each_its_own
):
    shape = (13, 16, 15) if support is BOX else (27, 24, 25)
    crops = examples(shape, count=2, reach=5.0)
    count = len(lattice(shape, 4.0))
    size = (2, count) if each_its_own else (count,)
    W = np.random.default_rng(5).random(size)
    found = lattice_power(crops, W, 4.0, support)
    expected = on_its_lattice(crops, 4.0, support, W)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_lattice_is_one_of_each_pair_in_periods_per_voxel_and_cannot_be_changed():
    k = lattice((7, 8, 10), 3.0)
    np.testing.assert_array_equal(k, half_ball((7, 8, 10), 3.0) / [7, 8, 10])
    with pytest.raises(ValueError, match="read-only"):
        k[0] = 0
    other = lattice((7, 8, 10), 3.5)
    assert lattice((7, 8, 10), 3.0) is k  # made once, also for two in turn
    assert lattice((7, 8, 10), 3.5) is other


@pytest.mark.parametrize("support", [BALL, BOX])
@pytest.mark.parametrize("voxels", [1, 2 * 27 * 28 * 29, 2**30])
def test_how_many_are_worked_on_together_changes_nothing(monkeypatch, support, voxels):
    crops, k = examples((27, 28, 29), count=5), waves(support)
    turns = np.where(np.arange(5)[:, None, None] % 2, crops.turns, np.eye(3))
    crops = crops._replace(turns=turns)
    W = np.ones(len(lattice((27, 28, 29), 4.0)))
    expected = spectra(crops, k, support), lattice_power(crops, W, 4.0, support)
    monkeypatch.setattr("funpipe.space.crops._TOGETHER", voxels)
    found = spectra(crops, k, support), lattice_power(crops, W, 4.0, support)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_nothing_is_compiled_unless_that_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "funpipe.space.compiled", None)
    for still in (True, False):
        crops = examples((27, 27, 27), count=1, still=still)
        assert np.isfinite(spectra(crops, waves(BALL), BALL)).all()


@pytest.mark.parametrize("still", [True, False])
def test_what_is_compiled_is_the_same_but_for_rounding(still):
    pytest.importorskip("numba")
    for shape in ((27, 28, 29), (28, 27, 26)):
        crops, k = examples(shape, still=still), waves(BALL)
        found = spectra(crops, k, BALL, compiled=True)
        assert off(found, spectra(crops, k, BALL)) < 1e-5


def test_crops_are_taken_and_put_in_a_row():
    first, second = examples((4, 5, 6)), examples((4, 5, 6), count=2, seed=1)
    both = Crops.concat([first, second])
    for i in range(5):
        one = first.take(i) if i < 3 else second.take(i - 3)
        for each, whole in zip(one, both, strict=True):
            np.testing.assert_array_equal(each, whole[i])


@pytest.mark.parametrize("shape", [(5, 6, 7), (8, 8, 8), (1, 4, 9)])
@pytest.mark.parametrize("tail", [0.0, 0.003, 0.02])
def test_a_template_reaches_as_far_as_all_but_a_ten_thousandth_of_its_squares(
    shape, tail
):
    random = np.random.default_rng(sum(shape))
    distance = radius(shape)
    inner = distance <= 0.6 * distance.max()
    template = random.normal(size=shape) * np.where(inner, 1, tail)
    squares = template**2
    enough = [
        each
        for each in np.unique(distance)
        if squares[distance >= each].sum() >= 1e-4 * squares.sum()
    ]
    assert reach_of_template(template) == pytest.approx(max(enough))


def test_a_template_of_nothing_reaches_everywhere():
    assert reach_of_template(np.zeros((3, 4, 5))) == pytest.approx(
        radius((3, 4, 5)).max()
    )


def test_the_ball_is_as_wide_as_templates_reach_and_the_box_else():
    template = np.zeros((1, 16, 18, 20))
    template[0, 7:9, 8:10, 9:11] = 1
    reach = math.sqrt(3) / 2
    found = support_of(template, (1.0, 2.0, 3.0))
    inside = reach + math.sqrt(14)
    assert found.radius == pytest.approx(inside)
    assert found.periods == pytest.approx((2 * inside + 4,) * 3)
    assert (found.box, found.bulk) == ((16, 18, 20), 8)
    edge = 8 - reach  # the largest shift at which the box holds it
    held, beyond = (
        support_of(template, (0.0, 0.0, edge + each)) for each in (-1e-6, 1e-6)
    )
    assert held.radius == pytest.approx(8)
    assert held.periods == (16.0, 16.0, 16.0)
    assert beyond == whole_box((16, 18, 20))._replace(bulk=8)


@pytest.mark.parametrize("inside", [4.0, 7.3, 11.5])
def test_a_crop_is_no_plane_larger_than_the_ball_and_its_edge(inside):
    found = crop_shape(Support((20.0,) * 3, inside, (40,) * 3), np.eye(3)[None])
    # The voxels beside a box of n are (n + 1) / 2 from its centre.
    for n in found:
        assert n / 2 < inside + 3 <= (n + 1) / 2


def test_a_crop_is_no_plane_larger_than_the_box_however_it_is_turned():
    still, turned = np.eye(3)[None], Rotation.random(2, rng=0).as_matrix()
    assert crop_shape(BOX, still) == (10, 13, 11)
    half = np.linalg.norm([5.0, 6.5, 5.5]) + 0.5
    found = crop_shape(BOX, np.concatenate([still, turned]))
    assert found == (math.ceil(2 * half - 1),) * 3


@pytest.mark.parametrize("size", [20, 27])
def test_the_window_of_a_ball_is_that_of_its_formula_and_shared(size):
    crops = examples((size, 27, 26), count=2)
    found = windows_of(crops, BALL)
    assert found.dtype == np.float32
    assert found.shape == (1, size, 27, 26)
    expected = window((size, 27, 26), BALL, None, None)
    np.testing.assert_allclose(found[0], expected, atol=1e-6)
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 0
    other = windows_of(crops, BALL._replace(radius=10.0))
    assert windows_of(crops, BALL) is found  # made once, also for two in turn
    assert windows_of(crops, BALL._replace(radius=10.0)) is other


def test_the_window_of_a_box_is_turned_and_moved_with_it():
    crops = examples((14, 15, 16), count=3)
    poses = zip(crops.turns, crops.offsets, strict=True)
    expected = [window((14, 15, 16), BOX, *each) for each in poses]
    np.testing.assert_allclose(windows_of(crops, BOX), expected, atol=1e-5)
    there = examples(BOX.box, count=2, still=True)._replace(offsets=np.zeros((2, 3)))
    np.testing.assert_array_equal(windows_of(there, BOX), np.ones((1, *BOX.box)))
    moved = there._replace(offsets=np.array([[0.0, 0, 0], [0, 0, 0.25]]))
    assert windows_of(moved, BOX).shape == (2, *BOX.box)
    assert windows_of(moved, BOX)[1].min() == pytest.approx(0.75)


def test_boxes_are_read_off_cubic_splines_through_the_crops_voxels():
    crops = examples((9, 10, 11), count=2)
    found = boxes_of(crops, (5, 4, 6))
    box = np.stack(np.indices((5, 4, 6)), -1) - [2.0, 1.5, 2.5]
    for f, offset, turn, each in zip(*crops, found, strict=True):
        where = box @ turn.T + offset + [4.0, 4.5, 5.0]
        spline = {"order": 3, "mode": "grid-constant", "cval": f.mean()}
        wanted = map_coordinates(f.astype(float), np.moveaxis(where, -1, 0), **spline)
        inner = np.linalg.norm(box, axis=-1) < 3  # away from the faces
        np.testing.assert_allclose(each[inner], wanted[inner], atol=1e-4)


def test_beyond_a_crop_a_box_has_the_crops_mean():
    values = np.random.default_rng(0).normal(40.0, 1.0, (1, 6, 7, 8))
    crops = Crops(
        values.astype(np.float32), np.array([[1.0, -2.0, 0.0]]), np.eye(3)[None]
    )
    [found] = boxes_of(crops, (12, 15, 14))
    inside = found[2:8, 6:13, 3:11]  # 1 back, 2 on, and half of what is more
    np.testing.assert_allclose(inside, values[0], atol=1e-4)
    mean = values.mean()
    for beyond in (found[10:], found[:, :3], found[:, :, 13:]):
        np.testing.assert_allclose(beyond, mean, atol=0.02)


@pytest.mark.parametrize(("size", "together"), [(27, 13), (63, 1), (64, 1), (90, 1)])
def test_crops_are_worked_on_together_that_stay_in_the_cache(size, together):
    values = np.broadcast_to(np.float32(0), (40, size, size, size))
    some = list(crops_module._some(Crops(values, np.zeros((40, 3)), np.eye(3)[None])))
    assert max(each.stop - each.start for each in some) == together
    assert together * size**3 <= 2**18 or together == 1
    parts = [np.arange(40)[each] for each in some]
    assert np.concatenate(parts).tolist() == list(range(40))


def test_the_bulk_is_what_is_more_than_three_tenths_of_the_largest():
    template = np.zeros((1, 12, 12, 12))
    template[0, 6, 6, 4:9] = 3.0, 3.1, -10.0, -3.1, 3.0
    assert support_of(template, (1.0, 1.0, 1.0)).bulk == 3
