"""Transforms of crops, against sums over their voxels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from funpipe.space.crops import (
    Crops,
    Support,
    boxes_of,
    crop_shape,
    lattice,
    lattice_power,
    spectra,
    support_of,
    window_power,
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
