"""Tilts as values: what they are by themselves, what is refused, and others of them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from funpipe.space import microscope
from funpipe.space.optics import Lens
from funpipe.space.series import tilt_series
from funpipe.space.tilts import (
    as_tilt,
    check_axis,
    check_weights,
    dual_axis,
    no_tilt,
    single_axis,
)
from funpipe.space.transfer import (
    TiltSeries,
    about_other_axis,
    of_other_focus,
    of_other_hand,
    part_left,
    per_voxel,
)

ANGLES = (-40.0, 0.0, 20.0, 50.0)
FOCUSED = tilt_series(ANGLES, defocus=[1.0, 2, 3, 4], phase_flipped=False)
PLACES = np.array([[30.0, -50.0, 70.0], [0.0, 10.0, -20.0]])
K = np.random.default_rng(0).uniform(-0.4, 0.4, (3, 2, 60))


# What is meant where nothing is said.


def test_a_tilt_series_is_by_itself_what_its_text_says():
    found = tilt_series(ANGLES)
    assert found == TiltSeries(ANGLES)
    assert found == tilt_series(
        ANGLES,
        "y",
        dose=None,
        defocus=None,
        astigmatism=None,
        voltage=300.0,
        spherical_aberration=2.7,
        amplitude_contrast=0.07,
        phase_shift=0.0,
        thickness=None,
        phase_flipped=True,
        corrected=False,
        hand=-1,
    )
    assert found.lens == Lens() == Lens(300.0, 2.7, 0.07, 0.0)
    for name in ("phase_flipped", "corrected"):
        assert type(getattr(TiltSeries(ANGLES), name)) is bool


def test_a_wedge_is_by_itself_of_60_degrees_on_both_sides():
    assert single_axis() == single_axis((-60.0, 60.0), "y")
    assert dual_axis() == dual_axis((-60.0, 60.0), (-60.0, 60.0))
    assert as_tilt("tilt", (-60, 60)) == single_axis()
    assert as_tilt("tilt", None) is no_tilt
    assert no_tilt(K).tolist() == np.ones((2, 60)).tolist()


@pytest.mark.parametrize("make", [single_axis, lambda each: as_tilt("tilt", each)])
def test_a_wedge_cannot_be_changed(make):
    wedge = make((-50, 60))
    with pytest.raises(AttributeError):
        wedge.axis = "x"
    assert len({wedge, make((-50, 60)), make((-50, 61))}) == 2
    both = dual_axis((-50, 60), (-40, 30))
    with pytest.raises(AttributeError):
        both.y_range = (0, 1)
    assert len({both, dual_axis((-50, 60), (-40, 30)), dual_axis()}) == 2


@pytest.mark.parametrize("length", [1e-3, 1.0, 1e3])
def test_waves_on_the_faces_of_a_wedge_are_measured(length):
    for angle in (-50.0, 33.0):
        turn = math.radians(angle)
        on = length * np.array([math.sin(turn), 0.3, math.cos(turn)])
        assert single_axis((-50, 33))(on[:, None]) == 1
        beyond = math.radians(angle + math.copysign(0.01, angle))
        out = length * np.array([math.sin(beyond), 0.3, math.cos(beyond)])
        assert single_axis((-50, 33))(out[:, None]) == 0


# Others of them.


def amplitudes(tilt):
    return tilt.at(PLACES, 20.0).amplitudes(K)


def test_about_the_other_axis_y_is_x_and_x_is_y():
    about_x = tilt_series(ANGLES, "x", defocus=[1.0, 2, 3, 4], phase_flipped=False)
    assert about_other_axis(FOCUSED) == about_x
    assert about_other_axis(about_x) == FOCUSED
    seen = about_other_axis(FOCUSED.at(PLACES, 20.0))
    np.testing.assert_array_equal(seen.amplitudes(K), amplitudes(about_x))
    np.testing.assert_array_equal(seen.places, PLACES)


def test_weights_about_the_other_axis_have_y_and_x_exchanged():
    found, k = about_other_axis(single_axis((-50, 30))), K.reshape(3, -1)
    np.testing.assert_array_equal(found(k), single_axis((-50, 30), "x")(k))
    assert about_other_axis(no_tilt) is no_tilt


def test_of_the_other_hand_a_series_with_contrast_transfer_is_another():
    other = of_other_hand(FOCUSED)
    assert other.hand == 1
    assert of_other_hand(other) == FOCUSED
    seen = of_other_hand(FOCUSED.at(PLACES, 20.0))
    np.testing.assert_array_equal(seen.amplitudes(K), amplitudes(other))
    assert np.abs(amplitudes(other) - amplitudes(FOCUSED)).max() > 0.05


def test_of_the_other_focus_each_tilt_has_its_defocus_negated():
    other = of_other_focus(FOCUSED)
    assert other.defocus == (-1.0, -2.0, -3.0, -4.0)
    assert of_other_focus(other) == FOCUSED
    seen = of_other_focus(FOCUSED.at(PLACES, 20.0))
    np.testing.assert_array_equal(seen.amplitudes(K), amplitudes(other))


@pytest.mark.parametrize("change", [of_other_hand, of_other_focus])
@pytest.mark.parametrize(
    "tilt",
    [
        no_tilt,
        single_axis(),
        tilt_series(ANGLES, dose=range(4)),
        tilt_series(ANGLES, defocus=2.0, corrected=True),
    ],
    ids=str,
)
def test_what_has_no_contrast_transfer_stays(change, tilt):
    assert change(tilt) is tilt


def test_what_is_left_of_a_wave_is_the_amplitude_or_the_weight():
    seen = FOCUSED.at(PLACES, 20.0)
    np.testing.assert_array_equal(part_left(seen, K), seen.amplitudes(K))
    assert (part_left(seen, K) < 0).any()
    wedge = single_axis((-50, 30))
    np.testing.assert_array_equal(part_left(wedge, K), wedge(K))
    with pytest.raises(ValueError, match="tilt must give weights of 0 or more"):
        part_left(lambda vectors: -np.ones(vectors.shape[1:]), K)


@pytest.mark.parametrize("scale", [0.25, 1.5])
def test_per_voxel_also_tells_what_is_measured(scale):
    seen, k = FOCUSED.at(PLACES, 20.0), K[:, 0]
    found = per_voxel(seen, scale)
    np.testing.assert_array_equal(found.measured(scale * k), seen.measured(k))
    np.testing.assert_allclose(found(scale * K), amplitudes(FOCUSED) ** 2, atol=1e-6)
    assert found.unit == scale
    assert found.take([1]).unit == scale


def test_a_placed_series_is_what_it_is_and_cannot_be_changed():
    seen = FOCUSED.at(PLACES, 20.0)
    assert len({seen, FOCUSED.at(PLACES, 20.0)}) == 2
    assert seen.unit == 1.0
    with pytest.raises(AttributeError):
        seen.extent = 30.0


# Weights that are given.


def test_weights_are_tried_with_vectors_of_all_kinds_and_shapes():
    tried = []

    def weights(vectors):
        tried.append(np.array(vectors))
        return np.ones(vectors.shape[1:])

    assert as_tilt("tilt", weights) is weights
    assert [each.shape for each in tried] == [(3, 1), (3, 27), (3, 3, 27)]
    one, ways, many = tried
    np.testing.assert_array_equal(one, 1)
    every = {(z, y, x) for z in (-1, 0, 1) for y in (-1, 0, 1) for x in (-1, 0, 1)}
    assert {tuple(each) for each in ways.T} == every
    np.testing.assert_allclose(many, ways[:, None] * np.c_[[0.01, 0.1, 0.5]])


def test_what_fails_in_weights_says_with_which_vectors():
    def weights(vectors):
        return np.ones(vectors.shape[1:]) if vectors.ndim == 2 else 1 / 0

    with pytest.raises(ZeroDivisionError) as caught:
        as_tilt("wedge", weights)
    said = "in wedge, called with vectors of shape (3, 3, 27)"
    assert caught.value.__notes__ == [said]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.ones(3), "wedge must be weights: one number for each of the vectors"),
        (np.ones((1, 2)), "wedge must be weights: one number for each of the vectors"),
        (np.ones(2, complex), "wedge must be weights: one number for each"),
        (["a", "b"], "wedge"),
        ([0.5, -1e-300], "wedge must give weights of 0 or more, finite, not -1e-300"),
        ([math.inf, 1.0], "wedge must give weights of 0 or more, finite, not inf"),
        ([1.0, math.nan], "wedge must give weights of 0 or more, finite, not nan"),
        ([-1, -2], "wedge must give weights of 0 or more, finite, not -1"),
    ],
)
def test_what_are_no_weights_is_said(given, said):
    with pytest.raises((TypeError, ValueError), match=said):
        check_weights(given, (2,), "wedge")


@pytest.mark.parametrize(
    "given", [[0, 1], [True, False], np.array([0, 3], np.uint8), [0.0, 0.5]]
)
def test_weights_of_any_real_type_become_floats(given):
    found = check_weights(given, (2,))
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, given)


@pytest.mark.parametrize(
    ("lowest", "highest"), [(-90, 90), (0, 1e-9), (-90, -89), (89, 90.0)]
)
def test_a_range_may_reach_as_far_as_90_degrees(lowest, highest):
    assert single_axis((lowest, highest)).tilt_range == (lowest, highest)


@pytest.mark.parametrize("wrong", [(-90.1, 0), (0, 90.1), (5, 5), (5, 4), (-91, 91)])
def test_a_range_that_reaches_farther_or_not_up_is_refused(wrong):
    with pytest.raises(ValueError, match="tilt_range must be None, two angles"):
        single_axis(wrong)


def test_an_axis_is_returned_as_it_is():
    assert [check_axis(each) for each in ("y", "x")] == ["y", "x"]


# What settings of a microscope may be.


BOUNDS = {
    microscope.voltage: (50.0, 1500.0),
    microscope.spherical_aberration: (0.0, 20.0),
    microscope.amplitude_contrast: (0.0, 1.0),
    microscope.phase_shift: (-360.0, 360.0),
    microscope.defocus: (-20.0, 20.0),
}


@pytest.mark.parametrize(("check", "bounds"), BOUNDS.items())
def test_a_setting_may_be_as_small_and_as_large_as_is_said(check, bounds):
    for bound, way in zip(bounds, (-1, 1), strict=True):
        assert check("it", bound) == bound
        assert type(check("it", int(bound))) is float
        with pytest.raises(ValueError, match="it must be"):
            check("it", bound + 1e-6 * way)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (20.5, "if that is in nm, 0.0205 is meant"),
        (-4999, "if that is in nm, -4.999 is meant"),
        (5000, "if that is in Å, 0.5 is meant"),
        (-5000, "if that is in Å, -0.5 is meant"),
    ],
)
def test_a_defocus_in_another_unit_is_told_from_its_size(value, said):
    with pytest.raises(ValueError, match=said):
        microscope.defocus("defocus", value)
    with pytest.raises(ValueError, match=said):
        microscope.defocus_of_tilts("defocus", [1.0, value], 2)


def test_no_other_unit_is_guessed_of_what_is_no_defocus():
    with pytest.raises(ValueError, match=r"not 30000$"):
        microscope.voltage("voltage", 30000)
    with pytest.raises(ValueError, match=r"not -30000$"):
        microscope.dose_of_tilts("dose", [-30000.0], 1)


def test_numbers_of_tilts_may_be_as_small_and_as_large_as_is_said():
    assert microscope.angles_of_tilts("angles", [-90, 90]) == (-90.0, 90.0)
    assert microscope.dose_of_tilts("dose", [0, 1e6], 2) == (0.0, 1e6)
    assert microscope.defocus_of_tilts("defocus", [-20, 20], 2) == (-20.0, 20.0)
    twist = [(-20, 1e3), (20, -1e3)]
    assert microscope.astigmatism_of_tilts("it", twist, 2) == (
        (-20.0, 1000.0),
        (20.0, -1000.0),
    )
    for check, wrong in (
        (microscope.dose_of_tilts, [0, -1e-9]),
        (microscope.defocus_of_tilts, [20.001, 0]),
        (microscope.defocus_of_tilts, [-20.001, 0]),
        (microscope.astigmatism_of_tilts, [(-20.001, 0), (0, 0)]),
    ):
        with pytest.raises(ValueError, match="it must be"):
            check("it", wrong, 2)
    for wrong in ([-90.001, 0], [0, 90.001]):
        with pytest.raises(ValueError, match="it must be"):
            microscope.angles_of_tilts("it", wrong)


def test_six_angles_within_a_quarter_turn_of_radians_are_taken_for_radians():
    right = np.linspace(0, math.pi / 2, 6)
    with pytest.raises(ValueError, match="if they are radians"):
        microscope.angles_of_tilts("angles", right)
    assert len(microscope.angles_of_tilts("angles", right[:5])) == 5
    assert len(microscope.angles_of_tilts("angles", 1.0001 * right)) == 6


@pytest.mark.parametrize("given", [1, -1, 1.0, np.int8(-1), np.array(1)])
def test_a_hand_becomes_a_whole_number(given):
    assert microscope.hand("hand", given) == given
    assert type(microscope.hand("hand", given)) is int


def test_of_two_tilts_two_numbers_of_astigmatism_are_those_of_both():
    found = microscope.astigmatism_of_tilts("it", (0.5, 30), 2)
    assert found == ((0.5, 30.0), (0.5, 30.0))
    assert all(type(each) is float for pair in found for each in pair)
