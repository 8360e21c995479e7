"""Euler angles of other programs: known vectors, and that matrices survive."""

import numpy as np
import pytest
import turns
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from funpipe.base.euler import DYNAMO, RELION, STOPGAP, from_xyz, to_xyz

# A for RELION's (rot, tilt, psi) = (30, 40, 50): it takes xyz vectors of the reference
# to the tomogram.
ANGLES = (30, 40, 50)
A = [
    [0.043412, 0.909616, -0.413176],
    [-0.829598, 0.263258, 0.492404],
    [0.55667, 0.321394, 0.766044],
]
SAME = [(RELION, ANGLES), (DYNAMO, (-40, 40, 120)), (STOPGAP, (60, 40, -140))]

FORMULAS = [
    (RELION, turns.relion),
    (DYNAMO, turns.dynamo),
    (STOPGAP, turns.stopgap),
]

degrees = st.floats(-360, 360)
poles = st.sampled_from([0.0, 90.0, -90.0, 180.0, -180.0, 1e-9, 1e-6, 180 - 1e-7])
angles = st.tuples(degrees | poles, degrees | poles, degrees | poles)


@pytest.mark.parametrize(("convention", "angles"), SAME)
def test_known_angles_make_the_known_matrix(convention, angles):
    np.testing.assert_allclose(to_xyz(convention.rotations(angles))[0], A, atol=1e-6)


@pytest.mark.parametrize(("convention", "angles"), SAME)
def test_the_known_matrix_has_the_known_angles(convention, angles):
    np.testing.assert_allclose(convention.angles(from_xyz(A)), [angles], atol=1e-4)


@pytest.mark.parametrize(("convention", "formula"), FORMULAS)
@given(angles=angles)
def test_any_angles_make_the_matrix_of_the_formula(convention, formula, angles):
    found = to_xyz(convention.rotations(angles))[0]
    np.testing.assert_allclose(found, formula(*angles), atol=1e-9)


@pytest.mark.parametrize(("convention", "formula"), FORMULAS)
@given(angles=angles)
def test_the_angles_of_any_matrix_make_it_by_the_formula(convention, formula, angles):
    matrix = turns.relion(*angles)
    found = convention.angles(from_xyz(matrix))[0]
    np.testing.assert_allclose(formula(*found), matrix, atol=3e-7)


def test_a_rotation_acts_on_zyx_vectors_as_the_matrix_does_on_xyz():
    vector = np.array([1.0, 2.0, 3.0])
    turned = RELION.rotations(ANGLES).apply(vector[::-1])[0]
    np.testing.assert_allclose(turned[::-1], np.array(A) @ vector, atol=1e-5)


@pytest.mark.parametrize("convention", [RELION, DYNAMO, STOPGAP])
@settings(max_examples=200, deadline=None)
@given(angles=angles)
def test_any_rotation_comes_back_as_a_matrix(convention, angles):
    rotation = RELION.rotations(angles)
    again = convention.rotations(convention.angles(rotation))
    np.testing.assert_allclose(again.as_matrix(), rotation.as_matrix(), atol=3e-7)


@pytest.mark.parametrize("convention", [RELION, DYNAMO, STOPGAP])
def test_no_rotations_have_no_angles(convention):
    assert convention.angles(Rotation.identity(0)).shape == (0, 3)
