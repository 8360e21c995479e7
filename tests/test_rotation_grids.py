"""Grids of rotations: how many there are, and which."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from funpipe.space.geometry import (
    coarse_grid,
    rotation_count,
    rotation_grid,
    whole_grid,
)

TURNS = Rotation.from_rotvec([[0, 0, 0.1], [0, 0.2, 0]])


@pytest.mark.parametrize("spacing", [12.0, 20.0, 37.0])
def test_all_rotations_are_those_of_super_fibonacci_spirals(spacing):
    # M. Alexa: φ = √2, and ψ with ψ⁴ = ψ + 4.
    phi, psi = math.sqrt(2), 1.5
    for _ in range(100):
        psi = (psi + 4) ** 0.25
    found = whole_grid(spacing)
    count = math.ceil(8 * math.pi**2 / math.radians(spacing) ** 3)
    assert len(found.rotations) == count
    assert (found.spacing, found.limit, found.symmetry) == (spacing, None, "C1")
    for i in range(0, count, 1 + count // 50):
        s = i + 0.5
        t, alpha, beta = s / count, 2 * math.pi * s / phi, 2 * math.pi * s / psi
        inner, outer = math.sqrt(t), math.sqrt(1 - t)
        expected = Rotation.from_quat(
            [
                inner * math.sin(alpha),
                inner * math.cos(alpha),
                outer * math.sin(beta),
                outer * math.cos(beta),
            ]
        )
        assert (found.rotations[i] * expected.inv()).magnitude() < 1e-6


def test_the_grids_that_are_there_are_12_and_20_degrees_apart():
    assert rotation_grid("all").spacing == 12.0
    assert coarse_grid().spacing == 20.0
    assert len(coarse_grid().rotations) == len(whole_grid(20.0).rotations)
    assert len(coarse_grid("D3").rotations) == len(whole_grid(20.0, "D3").rotations)
    assert coarse_grid("D3").symmetry == "D3"
    expected = 8 * math.pi**2 / math.radians(12) ** 3
    assert rotation_count("all") == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("maximum", "step"), [(20, 7), (12, 4), (30, 10), (9, 9)])
def test_a_ball_is_all_of_a_cubic_lattice_that_lies_in_it(maximum, step):
    found = rotation_grid((maximum, step))
    vectors = [
        np.multiply(each, step)
        for each in itertools.product(range(-9, 10), repeat=3)
        if math.hypot(*each) * step <= maximum + 1e-6
    ]
    degrees = found.rotations.as_rotvec(degrees=True)
    np.testing.assert_allclose(degrees, vectors, atol=1e-9)
    assert (found.spacing, found.limit) == (step, maximum)


@pytest.mark.parametrize(
    ("given", "count"),
    [
        (None, 1.0),
        (TURNS, 2.0),
        (TURNS[0], 1.0),
        ((0, 0), 1.0),
        ((0, 5), 1.0),
        ((10, 10), 7.0),
        ((12, 4), 4 / 3 * math.pi * 27),
        ((10, 3), 4 / 3 * math.pi * (10 / 3) ** 3),
        (((12, 4), (0, 0), (10, 3)), 7 * 7.0),
        (((180, 1),) * 3, 361.0**3),
        (((200, 90), (0, 7), (30, 30)), 5 * 3.0),
    ],
    ids=str,
)
def test_how_many_rotations_are_tried_is_a_number_without_making_them(given, count):
    found = rotation_count(given)
    assert type(found) is float
    assert found == pytest.approx(count, rel=1e-12)


def test_so_small_a_step_that_none_can_count_them_is_infinitely_many():
    assert rotation_count((180, 1e-300)) == math.inf


@pytest.mark.parametrize("off", [-1e-9, 0.0, 1e-9])
def test_rounding_takes_no_step_from_a_range(off):
    assert rotation_count(((0.3 + off, 0.1),) * 3) == 343
    assert len(rotation_grid(((0.3 + off, 0.1), (0, 0), (0, 0))).rotations) == 7


def test_of_what_is_listed_or_still_no_spacing_is_known():
    for each in (None, TURNS, TURNS[0], (0, 4), ((0, 4), (0, 0), (0, 1))):
        found = rotation_grid(each)
        assert found.spacing is None
        assert found.symmetry == "C1"
    found = rotation_grid(TURNS, "C2")
    assert (found.spacing, found.limit, found.symmetry) == (None, None, "C2")
    assert rotation_grid((12, 6), "C2").symmetry == "C2"


def test_up_to_no_symmetry_a_grid_is_itself():
    grid = rotation_grid((12, 6))
    assert grid.up_to("C1") is grid


def test_of_cubes_that_are_turned_a_24th_of_all_rotations_are_tried():
    assert len(rotation_grid("all", "O").rotations) == 369
    assert rotation_grid("all", "O").symmetry == "O"
