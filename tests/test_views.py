"""From where particles were seen, and how evenly."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from funpipe.space.symmetry import symmetry_group
from funpipe.space.views import (
    second_moment,
    unseen,
    unseen_by_chance,
    view_directions,
)


def test_a_view_is_the_beam_in_the_particles_frame():
    turns = Rotation.random(20, rng=0)
    views = view_directions(turns)
    for turn, view in zip(turns, views, strict=True):
        np.testing.assert_allclose(np.abs(turn.apply(view)), [1, 0, 0], atol=1e-12)
        assert view[0] >= 0


def test_views_are_those_of_all_that_look_the_same():
    turns, group = Rotation.random(3, rng=1), symmetry_group("D3")
    found = view_directions(turns, "D3")
    assert found.shape == (18, 3)
    for turn in turns:
        for each in group:  # the particle turned by R g looks the same
            view = (turn * each).inv().apply([1.0, 0, 0])
            apart = np.minimum(abs(found - view), abs(found + view)).max(axis=1)
            assert apart.min() < 1e-9


def test_the_moment_tells_even_from_one_from_a_circle():
    even = view_directions(Rotation.random(20_000, rng=2))
    np.testing.assert_allclose(second_moment(even), [1 / 3] * 3, atol=0.01)
    one = np.tile([0.6, 0.0, 0.8], (5, 1))
    np.testing.assert_allclose(second_moment(one), [0, 0, 1], atol=1e-12)
    angles = np.linspace(0, np.pi, 100, endpoint=False)
    circle = np.column_stack([np.cos(angles), np.sin(angles), 0 * angles])
    np.testing.assert_allclose(second_moment(circle), [0, 0.5, 0.5], atol=1e-9)


@pytest.mark.parametrize("within", [20.0, 45.0])
def test_one_view_leaves_all_but_two_caps_unseen(within):
    view = np.array([[0.48, 0.6, 0.64]])
    expected = np.cos(np.radians(within))
    assert unseen(view, within) == pytest.approx(expected, abs=0.01)


def test_even_views_leave_what_chance_does():
    draws = [unseen(view_directions(Rotation.random(30, rng=i)), 20) for i in range(40)]
    assert np.mean(draws) == pytest.approx(unseen_by_chance(30, 20), rel=0.1)


def test_of_no_particles_there_are_no_views():
    assert view_directions(Rotation.from_quat(np.zeros((0, 4)))).shape == (0, 3)
