"""Grids, centres and rotations, against loops over voxels."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from funpipe.space.geometry import (
    as_rotation,
    centre,
    offsets,
    radius,
    rotate_image,
    rotation_count,
    rotation_grid,
    rotation_vector,
    symmetry_group,
    turned_grid,
)
from funpipe.testing.strategies import seeds, shapes

scales = st.floats(0.1, 10)
rotations = seeds.map(
    lambda seed: Rotation.from_quat(np.random.default_rng(seed).normal(size=4))
)
# The 24 rotations that turn a cube of voxels onto itself.
GRID_ROTATIONS = [
    Rotation.from_matrix(each.as_matrix().round())
    for each in Rotation.create_group("O")
]


TURNS = Rotation.from_rotvec([[0, 0, 0.1], [0, 0.2, 0]])


def voxels(shape):
    return itertools.product(*map(range, shape))


def same(first, second):
    return (first * second.inv()).magnitude() < 1e-6


# Grids.


@given(shapes(6), scales)
def test_offsets_and_radius_are_those_from_the_geometric_centre(shape, scale):
    z, y, x = np.broadcast_arrays(*offsets(shape, scale))
    distance = radius(shape, scale)
    for q in voxels(shape):
        expected = [(i - (n - 1) / 2) * scale for i, n in zip(q, shape, strict=True)]
        assert (z[q], y[q], x[q]) == pytest.approx(expected)
        assert distance[q] == pytest.approx(math.hypot(*expected))


@given(shapes(6), rotations, scales)
def test_the_turned_grid_is_the_rotation_of_every_offset(shape, rotation, spacing):
    grid = turned_grid(shape, rotation, spacing)
    for q in voxels(shape):
        expected = rotation.apply(np.subtract(q, centre(shape)) * spacing)
        np.testing.assert_allclose(grid[(slice(None), *q)], expected, atol=1e-6)


# Rotating images.


@pytest.mark.parametrize("order", [0, 1, 3, 5])
@pytest.mark.parametrize("size", [4, 5])
def test_the_voxel_turned_about_the_centre_holds_what_was_there(size, order):
    image = np.random.default_rng(0).normal(size=(size,) * 3).astype(np.float32)
    middle = centre(image.shape)
    for rotation in GRID_ROTATIONS:
        rotated = rotate_image(image, rotation, order)
        for q in voxels(image.shape):
            there = rotation.apply(np.subtract(q, middle)) + middle
            there = tuple(there.round().astype(int))
            assert rotated[there] == pytest.approx(image[q], abs=1e-5)


def test_a_quarter_turn_about_z_takes_y_to_x():
    image = np.zeros((1, 5, 5))
    image[0, 4, 2] = 1
    rotated = rotate_image(image, as_rotation((90, 0, 0)))
    assert np.argwhere(rotated > 0.5).tolist() == [[0, 2, 4]]


def blob_at(peak, shape):
    axes = zip(offsets(shape), peak, (2.0, 2.5, 3.0), strict=True)
    return sum(((axis - p) / s) ** 2 for axis, p, s in axes)


@given(rotations, st.sampled_from([(25, 25, 25), (24, 24, 24), (24, 25, 26)]))
@settings(max_examples=30)
def test_any_rotation_takes_each_point_to_where_the_matrix_says(rotation, shape):
    peak = np.array([2.0, -1.0, 1.5])
    image = np.exp(-blob_at(peak, shape) / 2)
    z, y, x = turned_grid(shape, rotation.inv())  # where each voxel came from
    squares = ((z - 2) / 2.0) ** 2 + ((y + 1) / 2.5) ** 2 + ((x - 1.5) / 3.0) ** 2
    inside = radius(shape) < 9  # what stays in the box whichever way it turns
    rotated = rotate_image(image, rotation)
    np.testing.assert_allclose(rotated[inside], np.exp(-squares / 2)[inside], atol=5e-3)
    # and, without the grid: the blob's peak lies at R @ peak
    at = np.unravel_index(rotated.argmax(), shape)
    assert np.abs(at - centre(shape) - rotation.apply(peak)).max() < 0.75


@given(rotations, rotations)
@settings(max_examples=30)
def test_rotations_compose_as_their_products(first, second):
    shape = (25, 25, 25)
    image = np.exp(-blob_at((1.0, -1.0, 0.5), shape) / 2)
    twice = rotate_image(rotate_image(image, first), second)
    once = rotate_image(image, second * first)
    inside = radius(shape) < 9
    np.testing.assert_allclose(twice[inside], once[inside], atol=1e-2)


@pytest.mark.parametrize("order, leak", [(0, 0), (1, 0), (3, 1e-3)])
def test_what_comes_from_outside_the_box_is_0(order, leak):
    # A cubic spline rings past the faces, by a factor of 0.27 a voxel.
    turn = as_rotation((45, 0, 0))
    rotated = rotate_image(np.ones((33, 33, 33)), turn, order)
    assert np.abs(rotated[16, [0, 0, 32, 32], [0, 32, 0, 32]]).max() <= leak
    assert rotated[16, 16, 16] == pytest.approx(1)


# Rotations as arguments.


@given(rotations)
def test_a_rotation_survives_as_its_vector_in_degrees(rotation):
    vector = rotation_vector("rotation", rotation)
    assert all(type(each) is float for each in vector)
    assert same(as_rotation(vector), rotation)
    assert rotation_vector("rotation", list(vector)) == vector


@pytest.mark.parametrize(
    "wrong",
    [30, "z", None, (1, 2), (1, 2, math.nan), [1, [2, 3]], Rotation.identity(2)],
)
def test_what_is_no_rotation_is_named(wrong):
    with pytest.raises((ValueError, TypeError), match=r"^turn must be "):
        rotation_vector("turn", wrong)


def test_the_grid_is_the_products_of_turns_about_z_y_and_x():
    found = rotation_grid(((20, 10), (5, 5), (9, 4))).rotations
    angles = itertools.product((-20, -10, 0, 10, 20), (-5, 0, 5), (-8, -4, 0, 4, 8))
    expected = [
        as_rotation((a, 0, 0)) * as_rotation((0, b, 0)) * as_rotation((0, 0, c))
        for a, b, c in angles
    ]
    assert len(found) == len(expected) == 75
    assert all(map(same, found, expected))


def test_the_usual_grid_has_343_rotations_and_the_identity():
    found = rotation_grid(((12, 4),) * 3).rotations
    assert len(found) == 343
    assert found.magnitude().min() < 1e-9


@pytest.mark.parametrize("still", [((0, 0), (0, 4), (0, 0)), ((0, 2),) * 3, (0, 0)])
def test_a_maximum_of_0_leaves_an_angle_alone(still):
    found = rotation_grid(still)
    assert len(found.rotations) == 1
    assert found.rotations[0].magnitude() == 0
    assert found.spacing is None


@pytest.mark.parametrize(
    "still",
    [(6, 12), (10, 0), ((12, 0), (0, 4), (0, 0)), ((1, 2),) * 3, (1e-9, 1), (200, 190)],
)
def test_a_step_of_0_or_above_the_maximum_is_refused_with_both(still):
    maximum, step = np.atleast_2d(still)[0]
    text = (
        f"step above 0 and up to its maximum, in degrees, not {step:g} .* {maximum:g}"
    )
    for function in (rotation_grid, rotation_count):
        with pytest.raises(ValueError, match=f"^rotations must have a {text}:"):
            function(still)


def test_the_spacing_is_that_of_the_angles_that_turn():
    assert rotation_grid(((12, 4), (0, 30), (6, 3))).spacing == 4


@given(st.floats(3, 60), st.floats(3, 20), st.booleans())
def test_how_many_rotations_are_tried_is_known_beforehand(maximum, step, three):
    assume(step <= maximum)
    given = ((maximum, step),) * 3 if three else (maximum, step)
    count = len(rotation_grid(given).rotations)
    assert count <= rotation_count(given) * (1 if three else 1.7)
    assert count >= rotation_count(given) * (1 if three else 0.5)


def test_how_many_other_rotations_are_tried_is_known_too():
    for each in (None, Rotation.identity(), TURNS):
        assert rotation_count(each) == len(rotation_grid(each).rotations)
    assert rotation_count("all") == pytest.approx(8595, abs=1)


def test_angles_beyond_180_are_there_already():
    assert rotation_count((1e300, 10)) == rotation_count((180, 10))
    whole, more = rotation_grid((180, 30)), rotation_grid((1000, 30))
    assert len(whole.rotations) == len(more.rotations)
    assert more.limit == 180


@pytest.mark.parametrize(
    "given, limit",
    [
        (None, None),
        ("all", None),
        (Rotation.identity(3), None),
        ((12, 6), 12.0),
        (((12, 6), (0, 0), (5, 5)), (12.0, 0.0, 5.0)),
    ],
)
@pytest.mark.parametrize("symmetry", ["C1", "C3"])
def test_a_grid_says_how_far_it_goes(given, limit, symmetry):
    assert rotation_grid(given, symmetry).limit == limit


@given(st.integers(1, 60), st.floats(0.1, 3))
def test_the_maximum_is_tried_whenever_the_step_divides_it(count, step):
    found = rotation_grid(((count * step, step), (0, 0), (0, 0))).rotations
    assert len(found) == 2 * count + 1
    turned = np.abs(found.as_rotvec(degrees=True)[:, 0]).max()
    assert turned == pytest.approx(count * step)


def test_rotations_are_tried_as_they_are():
    few = Rotation.from_rotvec([[0, 0, 1], [0, 2, 0]])
    assert rotation_grid(few).rotations is few
    assert len(rotation_grid(few[0]).rotations) == 1
    assert len(rotation_grid(None).rotations) == 1
    assert rotation_grid(None).rotations[0].magnitude() == 0


def test_all_rotations_are_covered_evenly():
    grid = rotation_grid("all")
    anywhere = Rotation.random(300, rng=0)
    away = [
        np.degrees((grid.rotations.inv() * each).magnitude().min()) for each in anywhere
    ]
    assert max(away) < grid.spacing
    assert np.mean(away) > 0.3 * grid.spacing  # and not more densely than it says


@given(st.floats(2, 40), st.floats(2, 10))
def test_a_ball_holds_rotations_up_to_its_maximum_and_no_farther(maximum, step):
    assume(step <= maximum)
    angles = np.degrees(rotation_grid((maximum, step)).rotations.magnitude())
    assert angles.min() < 1e-6
    assert angles.max() <= maximum + 1e-5
    assert len(angles) == pytest.approx(
        4 / 3 * np.pi * (maximum / step) ** 3, abs=6 * (maximum / step + 1) ** 2
    )


@pytest.mark.parametrize("symmetry", ["C2", "C7", "D3", "T", "O", "I"])
def test_symmetry_leaves_one_of_the_rotations_that_look_the_same(symmetry):
    group = symmetry_group(symmetry)
    some = rotation_grid("all", symmetry).rotations
    assert len(some) == pytest.approx(
        len(rotation_grid("all").rotations) / len(group), rel=0.05
    )
    for each in Rotation.random(20, rng=1):
        nearest = min((some.inv() * each * turn).magnitude().min() for turn in group)
        assert np.degrees(nearest) < 12


@pytest.mark.parametrize(
    "wrong",
    [
        12,
        "abc",
        ((12, 4),) * 2,
        ((12, 4, 1),) * 3,
        ((-12, 4),) * 3,
        ((12, -4),) * 3,
        (("a", 4),) * 3,
        ((1, 2), (3,)),
        [[12, 4], [12], [12, 4]],
        ((12, None),) * 3,
        (None, 4),
        (math.nan, 4),
        (math.inf, 4),
        (True, 1),
        np.full((3, 2), "4"),
        np.zeros((3, 2, 2)),
        b"12",
        [[]],
        {"z": (12, 4)},
        object(),
        Rotation.from_quat(np.zeros((0, 4))),
    ],
)
def test_what_is_no_search_is_named(wrong):
    with pytest.raises((ValueError, TypeError), match=r"^rotations must be "):
        rotation_grid(wrong)


# Point groups.

GROUPS = ["C1", "C2", "C3", "C7", "D1", "D2", "D3", "D7", "T", "O", "I"]
ORDERS = [1, 2, 3, 7, 2, 4, 6, 14, 12, 24, 60]


@pytest.mark.parametrize("name, order", list(zip(GROUPS, ORDERS, strict=True)))
def test_a_symmetry_is_a_group_of_its_order(name, order):
    matrices = symmetry_group(name).as_matrix()
    assert len(matrices) == order
    products = np.einsum("aij,bjk->abik", matrices, matrices)
    for rows in products:  # each row of the table of products holds each one once
        far = np.abs(rows[:, None] - matrices).max(axis=(2, 3))
        assert ((far < 1e-9).sum(axis=0) == 1).all()


@pytest.mark.parametrize("n", [2, 3, 7])
def test_the_main_axis_is_z_and_the_twofold_axis_x(n):
    turn, half = as_rotation((360 / n, 0, 0)), as_rotation((0, 0, 180))
    cyclic, dihedral = symmetry_group(f"C{n}"), symmetry_group(f"D{n}")
    assert any(same(turn, each) for each in cyclic)
    assert not any(same(half, each) for each in cyclic)
    assert any(same(turn, each) for each in dihedral)
    assert any(same(half, each) for each in dihedral)


@pytest.mark.parametrize("name", ["T", "O", "I"])
def test_cubic_and_icosahedral_groups_are_scipys_seen_in_zyx(name):
    group, scipys = symmetry_group(name), Rotation.create_group(name)
    point = np.array([0.3, -0.7, 1.1])  # x, y, z
    for ours, theirs in zip(group, scipys, strict=True):
        np.testing.assert_allclose(ours.apply(point[::-1])[::-1], theirs.apply(point))


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_rotation_of_more_turns_than_a_float_can_tell_is_refused(sign):
    most = (0.0, sign * 1e9, 0.0)
    assert rotation_vector("turn", most) == most
    with pytest.raises(ValueError, match=r"turn must be a rotation vector of 1e\+09"):
        rotation_vector("turn", (0.0, sign * 1.001e9, 0.0))


@pytest.mark.parametrize("wrong", [30, np.float32(3), np.array(3.0), 2.5, True])
def test_a_number_alone_is_no_rotation(wrong):
    with pytest.raises((TypeError, ValueError), match="turn must be a scipy Rotation"):
        rotation_vector("turn", wrong)


def test_an_image_is_rotated_by_cubic_splines_if_nothing_is_said():
    image = np.random.default_rng(0).normal(size=(6, 7, 8))
    turn = as_rotation((10, 20, 30))
    found = rotate_image(image, turn)
    np.testing.assert_array_equal(found, rotate_image(image, turn, 3))
    assert np.abs(found - rotate_image(image, turn, 1)).max() > 0.1
    assert found.dtype == np.float32


def test_grids_are_by_themselves_of_one_voxel_a_step():
    shape, turn = (3, 4, 5), as_rotation((10, 20, 30))
    np.testing.assert_array_equal(radius(shape), radius(shape, 1.0))
    np.testing.assert_array_equal(turned_grid(shape, turn), turned_grid(shape, turn, 1))
    for one, other in zip(offsets(shape), offsets(shape, 1.0), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_step_that_turns_nothing_is_refused_with_what_would_leave_an_angle():
    said = (
        "rotations must have a step above 0 and up to its maximum, in degrees, not 9 "
        "for a maximum of 6: nothing would be turned ((0, 0) leaves an angle alone)"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        rotation_grid((6, 9))
