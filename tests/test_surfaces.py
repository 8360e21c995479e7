"""Surfaces and what is spread over them, against formulas and plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from funpipe.space.surfaces import (
    cloud_normals,
    on_sphere,
    on_triangles,
    sphere_through,
    spread,
    triangle_normals,
)

seeds = st.integers(0, 2**16)
TURN = Rotation.from_rotvec([0.4, -1.1, 0.7])


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_directions_lie_on_fibonaccis_spiral(count):
    golden = (1 + math.sqrt(5)) / 2
    for i, (z, y, x) in enumerate(on_sphere(count)):
        assert z == pytest.approx(1 - (2 * i + 1) / count, abs=1e-12)
        turn = 2 * math.pi * golden * i
        across = math.sqrt(1 - z * z)
        assert y == pytest.approx(across * math.sin(turn), abs=1e-9)
        assert x == pytest.approx(across * math.cos(turn), abs=1e-9)


@given(seeds, st.floats(0.01, 100), st.floats(-1000, 1000))
def test_a_sphere_goes_through_four_points_of_it(seed, radius, away):
    random = np.random.default_rng(seed)
    middle = random.normal(size=3) * away
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    points = middle + radius * Rotation.random(rng=random).apply(corners) / math.sqrt(3)
    centre, found = sphere_through(points)
    tolerance = 1e-9 * (abs(away) + radius)
    assert found == pytest.approx(radius, rel=1e-6, abs=tolerance)
    np.testing.assert_allclose(centre, middle, atol=1e-6 * radius + tolerance)


def test_of_points_beside_a_sphere_it_is_the_one_of_least_squares():
    random = np.random.default_rng(0)
    away = random.normal(size=(50, 3))
    points = 10 * away / np.linalg.norm(away, axis=1, keepdims=True)
    points = points + random.normal(0, 0.3, points.shape) + [5, -3, 40]
    centre, radius = sphere_through(points)

    def misfit(centre, radius):
        return ((((points - centre) ** 2).sum(axis=1) - radius**2) ** 2).sum()

    least = misfit(centre, radius)
    for step in 0.01 * np.concatenate([np.eye(3), -np.eye(3)]):
        assert misfit(centre + step, radius) > least
    assert min(misfit(centre, radius + each) for each in (0.01, -0.01)) > least


@pytest.mark.parametrize("thick", [0.0, 1e-9, 1e-7])
def test_points_in_a_plane_but_for_rounding_are_on_no_sphere(thick):
    random = np.random.default_rng(1)
    flat = random.uniform(-1, 1, (20, 3)) * [1, 1, thick]
    _, radius = sphere_through(TURN.apply(flat) + 1)
    assert math.isnan(radius)


# Triangles.


@given(seeds)
def test_a_normal_is_as_long_as_twice_the_area_and_points_to_who_sees_it_turn_left(
    seed,
):
    corners = np.random.default_rng(seed).normal(size=(4, 3, 3))
    for (a, b, c), found in zip(corners, triangle_normals(corners), strict=True):
        u, v = (b - a)[::-1], (c - a)[::-1]  # x, y, z
        wanted = [
            u[1] * v[2] - u[2] * v[1],
            u[2] * v[0] - u[0] * v[2],
            u[0] * v[1] - u[1] * v[0],
        ]
        np.testing.assert_allclose(found[::-1], wanted, atol=1e-9)


def covered(corners, step):
    """Cut each edge into as many parts as make the longest no longer than a step."""
    found = []
    for owner, (a, b, c) in enumerate(corners):
        longest = max(math.dist(a, b), math.dist(b, c), math.dist(c, a))
        count = max(1, math.ceil(longest / step))
        for i in range(count + 1):
            for j in range(count + 1 - i):
                point = (i * a + j * b + (count - i - j) * c) / count
                found.append((owner, *point.round(6)))
    return sorted(found)


@given(seeds, st.floats(0.3, 4))
def test_triangles_are_covered_by_points_a_step_or_less_apart(seed, step):
    corners = np.random.default_rng(seed).uniform(-1, 1, (5, 3, 3))
    corners[2:] *= 0.1
    points, owner = on_triangles(corners, step)
    rows = [(int(i), *each.round(6)) for i, each in zip(owner, points, strict=True)]
    np.testing.assert_allclose(sorted(rows), covered(corners, step), atol=2e-6)


# Points that stay.


@given(seeds, st.floats(0.1, 2))
def test_each_stays_that_is_not_too_near_to_one_that_stays(seed, spacing):
    points = np.random.default_rng(seed).integers(0, 4, (40, 3)) * 0.5
    chosen = []
    away = np.linalg.norm(points - points[0], axis=1)
    for i in sorted(range(40), key=lambda i: (round(away[i], 9), i)):
        if all(math.dist(points[i], points[j]) >= spacing - 1e-9 for j in chosen):
            chosen.append(i)
    assert spread(points, spacing).tolist() == sorted(chosen)


def test_points_a_spacing_apart_stay_but_for_rounding():
    line = np.stack([np.arange(20) * 0.1, np.zeros(20), np.zeros(20)], axis=1)
    assert spread(line, 0.1).tolist() == list(range(20))
    assert spread(line, 0.1 * (1 + 1e-6)).tolist() == list(range(0, 20, 2))


# Clouds of points.


def sheet(size=7, step=1.0):
    y, x = (each.ravel() * step for each in np.indices((size, size)))
    return np.stack([0 * y, y, x], axis=1)


def one_side(normals, wanted):
    """Assert that normals are all the wanted ones, or all the opposite."""
    sign = np.sign((normals[0] * wanted[0]).sum())
    np.testing.assert_allclose(normals, sign * wanted, atol=1e-9)


@pytest.mark.parametrize("count", [3, 4, 20])
def test_points_in_a_plane_have_its_normal(count):
    flat = np.random.default_rng(2).uniform(-1, 1, (count, 3)) * [0, 1, 1]
    found = cloud_normals(TURN.apply(flat) + 5)
    one_side(found, np.tile(TURN.apply([1.0, 0, 0]), (count, 1)))


def test_a_sheet_about_its_middle_has_one_normal_of_length_1():
    # Away from the middle is along the sheet: neither side is farther.
    one_side(cloud_normals(sheet()), np.tile([1.0, 0, 0], (49, 1)))


@pytest.mark.parametrize("count", [1, 2, 5, 20])
def test_points_on_a_line_have_no_normal(count):
    line = np.arange(count)[:, None] * [1.0, 2.0, 3.0]
    found = cloud_normals(line)
    assert found.shape == (count, 3)
    assert np.isnan(found).all()


@pytest.mark.parametrize(("width", "known"), [(0.04, False), (0.06, True)])
@pytest.mark.parametrize("size", [0.01, 1.0, 100.0])
def test_a_ribbon_that_is_too_narrow_has_no_normal(width, known, size):
    # Twelve points that go from side to side, by a part of what they vary along it.
    along = np.linspace(-1, 1, 12)
    across = width * np.sqrt(np.mean(along**2)) * (-1.0) ** np.arange(12)
    points = size * np.stack([0 * along, across, along], axis=1)
    found = cloud_normals(points)
    assert np.isfinite(found).all() == known
    assert np.isnan(found).all() != known
    if known:
        one_side(found, np.tile([1.0, 0, 0], (12, 1)))


def test_each_normal_is_that_across_which_its_twelve_nearest_vary_least():
    random = np.random.default_rng(3)
    y, x = random.uniform(-4, 4, (2, 300))
    points = np.stack([0.1 * y**2 - 0.05 * x**2, y, x], axis=1)
    found = cloud_normals(points)
    for at, normal in zip(points, found, strict=True):
        near = points[np.argsort(np.linalg.norm(points - at, axis=1))[:12]]
        around = near - near.mean(axis=0)
        values, vectors = np.linalg.eigh(around.T @ around)
        assert abs(normal @ vectors[:, 0]) == pytest.approx(1, abs=1e-9)
        assert values[0] <= values[1]
    # All to one side, and at the farthest from the middle away from there.
    assert len(set(np.sign(found[:, 0]))) == 1
    away = points - points.mean(axis=0)
    farthest = (away**2).sum(axis=1).argmax()
    assert found[farthest] @ away[farthest] > 0


@pytest.mark.parametrize("seed", range(4))
def test_each_of_two_spheres_apart_has_normals_that_point_outwards(seed):
    random = np.random.default_rng(seed)
    directions = Rotation.random(rng=random).apply(on_sphere(150))
    both = [5 * directions, 3 * directions + [0, 0, 30]]
    order = random.permutation(300)
    found = cloud_normals(np.concatenate(both)[order])
    # Of the smaller the middle of all lies outside: all agree with one of its points.
    outwards = (found * np.tile(directions, (2, 1))[order]).sum(axis=1)
    assert np.abs(outwards).min() > 0.95
    for part in (order < 150, order >= 150):
        assert len(set(np.sign(outwards[part]))) == 1


def test_a_closed_surface_has_normals_that_point_outwards():
    for squeeze in ([1, 1, 1], [1, 1, 3], [2, 1, 0.7]):
        points = on_sphere(400) * squeeze * 10.0
        found = cloud_normals(TURN.apply(points) + 7)
        assert (found * TURN.apply(on_sphere(400) / squeeze)).sum(axis=1).min() > 0
