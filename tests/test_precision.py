"""Levels and scales that are taken off before single precision is used."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from funpipe.space.crops import Support, whole_box, whole_boxes
from funpipe.space.precision import levelled_values, normalised

NOISE = np.random.default_rng(0).uniform(-1, 1, (4, 5, 6))
NOISE[0, 0, :2] = -1, 1


def back(found):
    return found.values.astype(float) * found.unit + found.level


@pytest.mark.parametrize("level", [0.0, 1.0, -90.0, 98.9])
@pytest.mark.parametrize("size", [1e-11, 1.0, 3.0, 1e11])
def test_what_single_precision_holds_is_left_as_it_is(level, size):
    block = (NOISE + level) * size
    found = levelled_values(block)
    np.testing.assert_array_equal(found.values, block.astype(np.float32))
    assert found.values.dtype == np.float32
    assert (found.level, found.unit) == (0.0, 1.0)
    assert found.spread == pytest.approx(np.ptp(block) / 2, rel=1e-12)


@pytest.mark.parametrize("level", [0.0, 7.0, -103.0, 103.0, 1e6, -1e9])
@pytest.mark.parametrize("size", [1e-300, 1e-13, 1.0, 3.0, 1e13, 1e290])
def test_all_else_is_of_unit_size_about_its_mean(level, size):
    if abs(level) < 100 and 1e-12 < size < 1e12:
        size *= 1e-20
    block = (NOISE + level) * size
    found = levelled_values(block)
    assert found.values.dtype == np.float32
    assert np.abs(found.values).max() == pytest.approx(1, abs=1e-6)
    assert found.spread == 1.0
    assert found.level == pytest.approx(block.mean(), rel=1e-9, abs=1e-9 * size)
    assert found.unit == pytest.approx(np.abs(block - block.mean()).max(), rel=1e-6)
    np.testing.assert_allclose(back(found), block, rtol=1e-14, atol=1e-6 * size)


@pytest.mark.parametrize("level", [0.0, 1.0, 7.0, -0.3, 1e300, -1e-300])
def test_a_constant_is_its_level_and_nothing_else(level):
    found = levelled_values(np.full((3, 4, 5), level))
    assert found.values.dtype == np.float32
    assert found.values.shape == (3, 4, 5)
    np.testing.assert_array_equal(found.values, 0)
    assert found.level == pytest.approx(level, rel=1e-14)
    assert (found.unit, found.spread) == (1.0, 0.0)


def test_what_rounding_leaves_of_a_constant_is_nothing():
    block = np.full((3, 4, 5), 0.3)
    block[1] = np.nextafter(0.3, 1)
    found = levelled_values(block)
    np.testing.assert_array_equal(found.values, 0)
    assert (found.level, found.unit, found.spread) == (pytest.approx(0.3), 1.0, 0.0)
    np.testing.assert_array_equal(normalised(block[None]), 0)


def test_a_little_more_than_rounding_leaves_is_there():
    block = 1.0 + 1e-12 * NOISE
    found = levelled_values(block)
    np.testing.assert_allclose(back(found) - 1, block - 1, atol=3e-16)
    assert found.unit == pytest.approx(1e-12, rel=0.1)
    [boxes] = normalised(block[None])
    assert np.square(boxes, dtype=float).mean() == pytest.approx(1, abs=1e-6)


@given(st.floats(-1e3, 1e3), st.sampled_from([1e-300, 1e-5, 1.0, -3.0, 1e300]))
def test_boxes_are_normalised_one_by_one(level, size):
    boxes = np.stack([NOISE * size, (NOISE**2 + level) * size, 0 * NOISE + level])
    before = boxes.copy()
    found = normalised(boxes)
    assert found.dtype == np.float32
    for box, each in zip(boxes[:2] / size, found, strict=False):
        away = (box - box.mean()) * np.sign(size)
        wanted = away / np.sqrt((away**2).mean())
        np.testing.assert_allclose(each, wanted, atol=1e-6)
    np.testing.assert_array_equal(found[2], 0)
    np.testing.assert_array_equal(boxes, before)


def test_whole_numbers_will_do():
    counts = np.arange(60, dtype=np.uint8).reshape(1, 3, 4, 5)
    [found] = normalised(counts)
    wanted = (np.arange(60) - 29.5) / np.std(np.arange(60))
    np.testing.assert_allclose(found.ravel(), wanted, atol=1e-6)
    levelled = levelled_values(counts)
    np.testing.assert_array_equal(levelled.values, counts)
    assert levelled.spread == 29.5


def test_whole_boxes_are_normalised_and_where_they_are():
    boxes = np.random.default_rng(0).normal(3, 2, (2, 5, 6, 7))
    found = whole_boxes(boxes)
    np.testing.assert_allclose(found.values.mean(axis=(1, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(found.values.std(axis=(1, 2, 3)), 1, rtol=1e-6)
    np.testing.assert_array_equal(found.offsets, np.zeros((2, 3)))
    np.testing.assert_array_equal(found.turns, [np.eye(3)] * 2)
    assert whole_box((5, 6, 7)) == Support((5.0, 6.0, 7.0), math.inf, (5, 6, 7), 0)
