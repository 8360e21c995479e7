"""Solids outlined plane by plane, against the rules they are said to follow."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from funpipe.space.contours import Plane, Solid, signed_depth, within

SIZE = 14


def depth(inside):
    """How deep each point lies, by a loop over all points."""
    if inside.all() or not inside.any():
        return np.full(
            inside.shape, math.hypot(*inside.shape) * (1 if inside[0, 0] else -1)
        )
    found = np.empty(inside.shape)
    for at in np.ndindex(inside.shape):
        others = np.argwhere(inside != inside[at])
        away = np.linalg.norm(others - at, axis=1).min() - 0.5
        found[at] = away if inside[at] else -away
    return found


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("shape", [(3, 4), (5, 12), (1, 1)])
def test_where_all_is_one_side_each_point_is_as_deep_as_the_grid_is_large(
    inside, shape
):
    found = signed_depth(np.full(shape, inside))
    assert found.dtype == np.float32
    far = math.hypot(*shape) * (1 if inside else -1)
    np.testing.assert_allclose(found, np.full(shape, far), rtol=1e-6)


@given(st.integers(0, 2**16), st.floats(0, 1))
def test_depth_is_said_of_every_point(seed, share):
    inside = np.random.default_rng(seed).random((5, 7)) < share
    found = signed_depth(inside)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, depth(inside), atol=1e-5)


corners = st.lists(
    st.tuples(*[st.floats(-2, SIZE + 1)] * 2), min_size=3, max_size=5
).map(np.array)
ZS = st.lists(
    st.floats(-2, 12) | st.integers(-2, 12).map(float),
    min_size=1,
    max_size=5,
    unique=True,
).map(sorted)


@st.composite
def solids(draw):
    planes = [
        Plane(z, draw(st.lists(corners, min_size=1, max_size=2))) for z in draw(ZS)
    ]
    return Solid(planes, draw(st.floats(0.5, 2) | st.sampled_from([0.5, 1.0, 2.0])))


def at_height(solid, z):
    """How far inside points are at a height, as a solid's text says; or None.

    A border halfway between two planes is of the plane above it.
    """
    zs = [each.z for each in solid.planes]
    filled = [within(each.polygons, (0, 0), (SIZE, SIZE)) for each in solid.planes]
    below = max((i for i in range(len(zs)) if zs[i] <= z), default=None)
    above = min((i for i in range(len(zs)) if zs[i] > z), default=None)
    if below is not None and zs[below] == z:
        return filled[below] - 0.5
    if below is not None and above is not None:
        last, next_ = filled[below], filled[above]
        if (last & next_).any():
            w = (z - zs[below]) / (zs[above] - zs[below])
            return (1 - w) * depth(last) + w * depth(next_)
    if below is not None and z - zs[below] < solid.half:
        return filled[below] - 0.5
    if above is not None and zs[above] - z <= solid.half:
        return filled[above] - 0.5
    return None


@given(solids(), st.integers(-4, 6), st.sampled_from([1, 2, 3, 7]))
def test_each_plane_of_voxels_is_what_the_planes_about_it_make(solid, first, step):
    zs = range(first, 15, step)
    found = list(solid.slices(zs, (0, 0), (SIZE, SIZE)))
    assert len(found) == len(zs)
    for z, each in zip(zs, found, strict=True):
        wanted = at_height(solid, z)
        assert (each is None) == (wanted is None)
        if wanted is not None:
            assert each.dtype == bool
            sure = np.abs(wanted) > 1e-4
            np.testing.assert_array_equal(each[sure], wanted[sure] > 0)


@given(solids())
def test_a_solid_lies_within_its_extent_and_fills_it(solid):
    low, high = solid.extent()
    every = np.concatenate([each for one in solid.planes for each in one.polygons])
    first, last = solid.planes[0].z - solid.half, solid.planes[-1].z + solid.half
    bounds = zip(
        (first, *every.min(axis=0)), (last, *every.max(axis=0)), low, high, strict=True
    )
    for smallest, largest, begin, end in bounds:
        assert begin <= smallest < begin + 1
        assert end - 2 < largest <= end - 1


def test_a_border_between_two_outlines_is_where_their_depths_cancel():
    wide = np.array([(-1, -1), (-1, 9.5), (20, 9.5), (20, -1)])  # x up to 9
    slim = np.array([(-1, -1), (-1, 3.5), (20, 3.5), (20, -1)])  # x up to 3
    solid = Solid([Plane(0.0, [wide]), Plane(4.0, [slim])], 0.5)
    found = solid.slices(range(5), (0, 0), (SIZE, SIZE))
    # Depths fall by 1 a voxel: the border goes from 9.5 over 8, 6.5 and 5 to 3.5, and
    # what lies on it is outside.
    assert [int(each[5].sum()) for each in found] == [10, 8, 7, 5, 4]


def test_planes_that_are_passed_over_change_nothing():
    z = (0.0, 1.0, 1.5, 2.0, 6.0)
    random = np.random.default_rng(0)
    solid = Solid([Plane(each, [random.uniform(0, 13, (5, 2))]) for each in z], 0.7)
    whole = dict(enumerate(solid.slices(range(9), (0, 0), (SIZE, SIZE))))
    for zs in (range(0, 9, 2), range(1, 9, 3), range(5, 9), range(8, 9)):
        for at, each in zip(zs, solid.slices(zs, (0, 0), (SIZE, SIZE)), strict=True):
            assert (each is None) == (whole[at] is None)
            assert each is None or np.array_equal(each, whole[at])


def test_each_plane_that_is_asked_for_is_filled_once(monkeypatch):
    filled = []

    def noting(polygons, low, high):
        filled.append(polygons[0][0, 0])
        return within(polygons, low, high)

    monkeypatch.setattr("funpipe.space.contours.within", noting)
    square = np.array([(0.0, 3), (0, 9), (8, 9), (8, 3)])
    planes = [Plane(float(z), [np.add(square, (z, 0))]) for z in range(1, 6)]
    list(Solid(planes, 0.5).slices(range(9), (0, 0), (SIZE, SIZE)))
    assert filled == [1, 2, 3, 4, 5]


def test_of_a_part_of_the_grid_it_is_that_part():
    square = np.array([(2.5, 3.5), (2.5, 9.5), (8.5, 9.5), (8.5, 3.5)])
    whole = within([square], (0, 0), (SIZE, SIZE))
    part = within([square], (4, 1), (12, 8))
    np.testing.assert_array_equal(part, whole[4:12, 1:8])
    assert part.flags.c_contiguous
    far = within([square], (20, 20), (24, 23))
    assert far.shape == (4, 3)
    assert not far.any()
