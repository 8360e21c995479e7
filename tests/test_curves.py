"""Curves by arc length and the frames along them, against formulas and short lines."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st

from funpipe.space import curves
from funpipe.space.curves import smooth_curve

BENT = np.array(
    [[30, 10, 12], [34, 40, 20], [31, 75, 44], [36, 110, 60], [30, 150, 61.0]]
)
SHARP = np.array([[0.0, 0, 0], [0, 10, 0], [0, 10.5, 1], [0, 10, 2], [0, 0, 2.5]])
TURN = np.linspace(0, 1.5 * np.pi, 25)
CIRCLE = 20 * np.stack([0 * TURN, np.sin(TURN), np.cos(TURN)], axis=1)  # from x to y
SPIRAL = CIRCLE + np.stack([9 * TURN, 0 * TURN, 0 * TURN], axis=1)


def length_to(curve, parameter, count=20_001):
    """Return an arc length as that of many short lines."""
    points = curve.spline(np.linspace(0, parameter, count))
    return np.linalg.norm(np.diff(points, axis=0), axis=1).sum()


def cross(a, b):
    """Return the product of vectors z, y, x that is right-handed in x, y, z."""
    return -np.cross(a, b)


@pytest.mark.parametrize("points", [BENT, BENT[:3], CIRCLE, SPIRAL[::4]], ids=len)
def test_arc_lengths_are_those_of_many_short_lines(points):
    curve = smooth_curve(points)
    assert curve.knots[0] == 0
    assert curve.knots[-1] == 1
    assert (np.diff(curve.knots) > 0).all()
    assert len(curve.arcs) == len(curve.knots)
    assert type(curve.length) is float
    for knot, arc in zip(curve.knots[::7], curve.arcs[::7], strict=True):
        assert arc == pytest.approx(length_to(curve, knot), rel=1e-7, abs=1e-12)
    assert curve.length == pytest.approx(length_to(curve, 1.0), rel=1e-7)


@pytest.mark.parametrize("points", [BENT, BENT[:3], BENT[:2], SPIRAL], ids=len)
def test_points_are_as_far_along_a_curve_as_they_are_asked_for(points):
    curve = smooth_curve(points)
    arcs = np.concatenate([[0.0], np.linspace(0.01, 0.99, 12), [1.0]]) * curve.length
    arcs = np.concatenate([arcs, curve.arcs[1:4]])
    parameters = curve.parameter(arcs)
    for arc, parameter in zip(arcs, parameters, strict=True):
        assert length_to(curve, parameter) == pytest.approx(arc, rel=1e-6, abs=1e-9)
    found, along = curve.at(arcs)
    np.testing.assert_allclose(found, curve.spline(parameters), atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(along, axis=1), 1)
    step = 1e-6
    inner = (parameters > step) & (parameters < 1 - step)
    ahead, behind = (curve.spline(parameters[inner] + each) for each in (step, -step))
    ahead -= behind
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    np.testing.assert_allclose(along[inner], ahead, atol=1e-6)
    np.testing.assert_allclose(found[[0, 13]], points[[0, -1]], atol=1e-9)


def test_arc_lengths_are_found_to_rounding_where_a_curve_turns_sharply():
    curve = smooth_curve(SHARP)
    arcs = np.linspace(0, curve.length, 101)
    found = curve.parameter(arcs)
    assert (np.diff(found) > 0).all()
    lengths = curves._lengths(curve.spline, found[:-1], found[1:])
    np.testing.assert_allclose(lengths, curve.length / 100, rtol=1e-6)


@pytest.mark.parametrize("points", [SHARP, BENT, SPIRAL], ids=len)
def test_newtons_method_arrives_in_half_of_its_steps(monkeypatch, points):
    curve = smooth_curve(points)
    arcs = np.linspace(0, curve.length, 201)
    expected = curve.parameter(arcs)
    monkeypatch.setattr(curves, "_STEPS", curves._STEPS // 2)
    np.testing.assert_allclose(curve.parameter(arcs), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("points", [BENT, BENT[:2], CIRCLE], ids=len)
def test_rounding_leads_to_no_place_beyond_the_ends(points):
    curve = smooth_curve(points)
    arcs = np.array([-1e-15, curve.length * (1 + 1e-15)])
    found, _ = curve.at(arcs)
    np.testing.assert_allclose(found, points[[0, -1]], atol=1e-9)


def test_a_line_goes_through_two_points_and_a_parabola_through_three():
    line = smooth_curve(BENT[:2])
    assert line.spline.k == 1
    assert line.length == pytest.approx(math.dist(*BENT[:2]), rel=1e-12)
    points, _ = line.at(np.array([line.length / 4]))
    np.testing.assert_allclose(points[0], 0.75 * BENT[0] + 0.25 * BENT[1])
    assert smooth_curve(BENT[:3]).spline.k == 2
    assert smooth_curve(BENT[:4]).spline.k == 3
    assert smooth_curve(BENT).spline.k == 3


@pytest.mark.parametrize("smoothing", [0.5, 2.0, 5.0])
def test_a_smooth_curve_is_as_far_from_its_points_as_may_be(smoothing):
    random = np.random.default_rng(0)
    points = SPIRAL + random.normal(0, 6, SPIRAL.shape)
    curve = smooth_curve(points, smoothing)
    chords = np.linalg.norm(np.diff(points, axis=0), axis=1)
    places = np.concatenate([[0], np.cumsum(chords)]) / chords.sum()
    away = np.square(curve.spline(places) - points).sum(axis=1)
    assert math.sqrt(away.mean()) == pytest.approx(smoothing, rel=0.01)


@given(st.floats(0, 1), st.floats(0, 1))
def test_lengths_of_parts_add_up(first, second):
    curve = smooth_curve(BENT)
    low, high = sorted((first, second))
    parts = [(0.0, low), (low, high), (high, 1.0)]
    steps = [np.linspace(*each, 41) for each in parts]
    total = sum(
        curves._lengths(curve.spline, each[:-1], each[1:]).sum() for each in steps
    )
    assert total == pytest.approx(curve.length, rel=1e-7)


# Where a curve leads.


@pytest.mark.parametrize(
    ("degrees", "side"),
    [(0.0, [0, 1, 0]), (2.5, [0, 1, 0]), (2.6, [1, 0, 0]), (90.0, [1, 0, 0])],
)
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_side_of_a_curve_is_z_or_y_where_it_begins_along_z(degrees, side, sign):
    turn = math.radians(degrees)
    start = np.array([1.0, 2.0, 3.0])
    end = start + sign * 10 * np.array([math.cos(turn), 0, math.sin(turn)])
    curve = smooth_curve(np.array([start, end]))
    assert curve.side().tolist() == side


def test_a_curve_that_stands_still_has_no_tangent_there():
    assert smooth_curve(BENT).has_tangents()
    there_and_back = np.array([[0.0, 0, 0], [0, 5, 0], [0, 0, 0]])
    assert not smooth_curve(there_and_back).has_tangents()
    # Nearly back: it is slow there, and goes on.
    nearly = np.array([[0.0, 0, 0], [0, 5, 0.001], [0, 0, 0.002]])
    assert smooth_curve(nearly).has_tangents()


def test_a_curve_is_what_it_is_and_cannot_be_changed():
    curve, other = smooth_curve(BENT), smooth_curve(BENT)
    assert curve == curve
    assert curve != other
    assert len({curve, other}) == 2
    with pytest.raises(AttributeError):
        curve.knots = other.knots


# Frames.


@pytest.mark.parametrize("azimuth", [0.0, 30.0, -100.0])
def test_about_a_line_azimuths_turn_as_a_right_hand_does(azimuth):
    line = smooth_curve(np.array([[0.0, 0, 0], [10, 0, 0]]))  # along z
    arcs = np.array([0.0, 3.0, 10.0])
    found = line.outwards(arcs, np.array([5.0, 0.0, 2.0]), np.full(3, azimuth))
    turn = math.radians(azimuth)  # from x towards y
    np.testing.assert_allclose(
        found, [[0, math.sin(turn), math.cos(turn)]] * 3, atol=1e-12
    )


@pytest.mark.parametrize("points", [BENT, CIRCLE, SPIRAL], ids=len)
def test_outwards_is_across_the_curve_and_its_azimuth_about_it(points):
    curve = smooth_curve(points)
    arcs = np.linspace(0, curve.length, 30)
    azimuth = np.linspace(-200, 200, 30)
    towards = np.array([1.0, 0.5, -0.3])
    zero = curve.outwards(arcs, towards, np.zeros(30))
    found = curve.outwards(arcs, towards, azimuth)
    _, along = curve.at(arcs)
    for each in (zero, found):
        np.testing.assert_allclose(np.linalg.norm(each, axis=1), 1)
        np.testing.assert_allclose((each * along).sum(axis=1), 0, atol=1e-9)
    turn = np.radians(azimuth)[:, None]
    expected = np.cos(turn) * zero + np.sin(turn) * cross(along, zero)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    first = towards - along[0] * (towards @ along[0])
    np.testing.assert_allclose(zero[0], first / np.linalg.norm(first), atol=1e-9)


def test_in_a_plane_what_is_across_it_stays_and_the_rest_turns_with_the_curve():
    curve = smooth_curve(CIRCLE)
    arcs = np.linspace(0, curve.length, 50)
    up = curve.outwards(arcs, np.array([1.0, 0, 0]), np.zeros(50))
    np.testing.assert_allclose(up, [[1.0, 0, 0]] * 50, atol=1e-9)
    points, _ = curve.at(arcs)
    away = curve.outwards(arcs, np.array([0.0, 0, 1.0]), np.zeros(50))
    np.testing.assert_allclose(away, points / 20, atol=2e-3)


def test_along_a_spiral_a_frame_turns_back_by_its_torsion():
    fine = np.linspace(0, 1.5 * np.pi, 200)
    circle = np.stack([0 * fine, np.sin(fine), np.cos(fine)], axis=1)
    curve = smooth_curve(20 * circle + np.stack([9 * fine, 0 * fine, 0 * fine], axis=1))
    arcs = np.linspace(0, curve.length, 60)
    points, along = curve.at(arcs)
    found = curve.outwards(arcs, np.array([0.0, 0.0, 1.0]), np.zeros(60))
    outwards = points * [0, 1, 1] / np.linalg.norm(points[:, 1:], axis=1)[:, None]
    other = cross(along, outwards)
    angle = np.unwrap(
        np.arctan2((found * other).sum(axis=1), (found * outwards).sum(axis=1))
    )
    torsion = 9 / (20**2 + 9**2)  # right-handed, x to y and up
    np.testing.assert_allclose(angle - angle[0], -torsion * arcs, atol=2e-3)


def test_frames_of_many_steps_are_those_of_a_differential_equation():
    curve = smooth_curve(BENT)

    def change(arc, across):
        # What carries a vector along without a turn about the tangent.
        parameter = curve.parameter(np.array([arc]))
        first, second = (curve.spline(parameter, i)[0] for i in (1, 2))
        speed = np.linalg.norm(first)
        bend = (second - first * (first @ second) / speed**2) / speed**2
        return -(across @ bend) * first / speed

    start = curve.outwards(np.zeros(1), np.array([1.0, 0, 0]), np.zeros(1))[0]
    arcs = np.linspace(0, curve.length, 9)
    solved = scipy.integrate.solve_ivp(
        change, (0, curve.length), start, t_eval=arcs, rtol=1e-8, atol=1e-10
    )
    found = curve.outwards(arcs, np.array([1.0, 0, 0]), np.zeros(9))
    np.testing.assert_allclose(found, solved.y.T, atol=1e-4)
