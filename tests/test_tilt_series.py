"""Tilt series as values, and what is left of a wave against a loop over tilts."""

from __future__ import annotations

import math
import pickle
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import funpipe as fp
from funpipe.space.fourier import fourier_vectors
from funpipe.space.optics import CRITICAL, wavelength
from funpipe.space.series import tilt_series
from funpipe.space.tilts import as_tilt, dual_axis, single_axis
from funpipe.space.transfer import (
    Placed,
    TiltSeries,
    measured,
    per_voxel,
    placed,
    taken,
    transfer_of,
)

ANGLES = range(-60, 61, 3)
DOSE = 3.0 * np.arange(41)
FINE = tilt_series(ANGLES)
DAMAGED = tilt_series(ANGLES, dose=DOSE, defocus=3.0, phase_flipped=False)


@pytest.fixture(params=[False, True], ids=["plain", "compiled"])
def compiled(request, monkeypatch):
    """Both ways that H is computed in."""
    if request.param:
        pytest.importorskip("numba")
    monkeypatch.setattr("funpipe.space.transfer.can_compile", lambda: request.param)
    return request.param


def waves(count: int, finest: float = 1.0, seed: int = 0) -> np.ndarray:
    """Random vectors of up to 1 / finest nm, (3, count)."""
    return np.random.default_rng(seed).uniform(-1, 1, (3, count)) / finest / 3**0.5


# H, wave by wave and tilt by tilt.


def phase(k2: float, defocus: float, series: TiltSeries) -> float:
    wave = wavelength(series.voltage)
    angle = math.pi * wave * k2 * 1e3 * defocus
    angle -= math.pi / 2 * 1e6 * series.spherical_aberration * wave**3 * k2**2
    return (
        angle + math.radians(series.phase_shift) + math.asin(series.amplitude_contrast)
    )


def left(series: TiltSeries, i: int, k: Any, place: Any) -> float:
    """What dose and contrast transfer leave of a wave in tilt i."""
    z, y, x = (float(each) for each in k)
    a, k2 = math.radians(series.angles[i]), z**2 + y**2 + x**2
    part = 1.0
    if series.dose is not None and k2:
        scale = {300.0: 1.0, 200.0: 0.8}[series.voltage]
        slope, power, least = CRITICAL
        critical = scale * (slope * (math.sqrt(k2) / 10) ** power + least)
        part *= math.exp(-series.dose[i] / 2 / critical)
    if series.defocus is None or series.corrected:
        return part
    # The projection's own axes: the tilted specimen is turned back about the axis, so
    # that the beam is along z.
    if series.axis == "y":
        depth = place[0] * math.cos(a) - place[2] * math.sin(a)
        in_y, in_x = y, z * math.sin(a) + x * math.cos(a)
    else:
        depth = place[0] * math.cos(a) - place[1] * math.sin(a)
        in_y, in_x = z * math.sin(a) + y * math.cos(a), x
    defocus = series.defocus[i] + series.hand * depth / 1e3
    if series.astigmatism is not None:
        difference, azimuth = series.astigmatism[i]
        around = math.atan2(in_y, in_x) - math.radians(azimuth)
        # Of a wave within its plane the whole of k² lies in the projection.
        within = in_y**2 + in_x**2
        bent = difference / 2 * math.cos(2 * around) * within
        defocus += bent / k2 if k2 else 0.0
    contrast = math.sin(phase(k2, defocus, series))
    return part * (abs(contrast) if series.phase_flipped else contrast)


def naive(series: TiltSeries, vectors: np.ndarray, place: Any, extent: float) -> Any:
    """H at (3, N) vectors."""
    found = []
    for k in vectors.T:
        total = weight = 0.0
        for i, angle in enumerate(series.angles):
            a = math.radians(angle)
            beam = (
                (math.cos(a), 0.0, -math.sin(a))
                if series.axis == "y"
                else (math.cos(a), -math.sin(a), 0.0)
            )
            away = abs(sum(float(u) * v for u, v in zip(k, beam, strict=True)))
            cover = max(0.0, 1 - extent * away)
            if cover:
                total += cover * left(series, i, k, place)
                weight += cover
        found.append(total / max(1.0, weight))
    return np.array(found)


ASTIGMATISM = [(0.1 + 0.01 * i, 7.0 * i) for i in range(41)]
SERIES = {
    "coverage": {},
    "dose": {"dose": DOSE[::-1]},
    "200 kV": {"dose": DOSE, "voltage": 200, "defocus": 2.0},
    "defocus": {"defocus": np.linspace(2, 4, 41), "spherical_aberration": 0.01},
    "flipped": {"defocus": 3.0, "phase_flipped": True, "amplitude_contrast": 0.1},
    "astigmatism": {"defocus": 3.0, "astigmatism": ASTIGMATISM},
    "hand": {"defocus": 3.0, "hand": 1, "phase_shift": 45},
    "corrected": {"defocus": 3.0, "corrected": True, "dose": DOSE},
    "all": {"dose": DOSE, "defocus": 4.0, "astigmatism": (0.3, 20), "thickness": 15},
}


@pytest.mark.parametrize("options", SERIES.values(), ids=SERIES)
@pytest.mark.parametrize("axis", ["y", "x"])
def test_what_is_left_is_the_sum_over_tilts(compiled, options, axis):
    series = tilt_series(ANGLES, axis, **{"phase_flipped": False, **options})
    places = np.array([[0.0, 0.0, 0.0], [40.0, -200.0, 300.0], [-150.0, 80.0, 20.0]])
    k = np.stack([waves(80, 1.5, seed=i) for i in range(3)], axis=1)
    found = series.at(places, 20.0).amplitudes(k)
    extent = series.thickness or 20.0
    expected = [naive(series, k[:, i], place, extent) for i, place in enumerate(places)]
    tolerance = 1e-6 if compiled else 1e-9
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
    assert np.ptp(found) > 0.5


@pytest.mark.parametrize(
    "angles", [[0.0], [-90.0, 90.0], [0, 0, 0], [60, -60, 0, 30, -30], [-90, 0, 45, 90]]
)
def test_few_tilts_in_any_order(compiled, angles):
    dose = np.arange(len(angles)) * 10.0
    series = tilt_series(angles, dose=dose, defocus=2.0, phase_flipped=False)
    k = waves(300, 2.0)
    k[:, :3] = [[0, 0.3, 0], [0, 0, 0], [0, 0, 0.3]]
    found = series.at(np.zeros((1, 3)), 10.0).amplitudes(k[:, None])[0]
    expected = naive(series, k, np.zeros(3), 10.0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_where_nothing_is_said_an_extent_of_40_nm_is_meant(compiled):
    k = waves(200, 3.0)
    found = DAMAGED.amplitudes(k)
    expected = naive(DAMAGED, k, np.zeros(3), 40.0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(DAMAGED(k), found**2)


def test_the_order_of_the_tilts_does_not_matter(compiled):
    order = np.random.default_rng(0).permutation(41)
    defocus, twist = np.linspace(2, 4, 41), np.array(ASTIGMATISM)
    angles = np.array(ANGLES)
    one, other = (
        tilt_series(
            angles[each],
            dose=DOSE[each],
            defocus=defocus[each],
            astigmatism=twist[each],
        ).amplitudes(waves(200, 2.0))
        for each in (slice(None), order)
    )
    np.testing.assert_allclose(one, other, atol=1e-12)


random_series = st.builds(
    lambda angles, axis, seed, flipped, hand: tilt_series(
        angles,
        axis,
        dose=np.random.default_rng(seed).uniform(0, 120, len(angles)),
        defocus=np.random.default_rng(seed).uniform(1, 5, len(angles)),
        astigmatism=np.random.default_rng(seed).uniform(
            (0, 0), (1, 180), (len(angles), 2)
        ),
        phase_flipped=flipped,
        hand=hand,
    ),
    st.lists(st.integers(-90, 90).map(float), min_size=1, max_size=9).filter(
        lambda angles: len(angles) < 6 or max(map(abs, angles)) > 2
    ),
    st.sampled_from(["y", "x"]),
    st.integers(0, 100),
    st.booleans(),
    st.sampled_from([-1, 1]),
)


@settings(max_examples=60)
@given(random_series, st.integers(0, 1000))
def test_compiled_equals_plain(series, seed):
    pytest.importorskip("numba")
    random = np.random.default_rng(seed)
    k, places = random.uniform(-0.5, 0.5, (3, 2, 50)), random.uniform(-99, 99, (2, 3))
    seen, found = series.at(places, 15.0), []
    for each in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("funpipe.space.transfer.can_compile", lambda each=each: each)
            found.append(
                (seen.amplitudes(k), seen.measured(k[:, 0]), seen.measured(k[:, 1]))
            )
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


@settings(max_examples=60)
@given(random_series, st.integers(0, 1000))
def test_what_is_left_is_even_real_and_no_more_than_all(series, seed):
    k = np.random.default_rng(seed).uniform(-0.7, 0.7, (3, 100))
    found = series.amplitudes(k)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, series.amplitudes(-k), atol=1e-6)
    assert (abs(found) <= 1 + 1e-6).all()
    assert not series.phase_flipped or (found >= 0).all()


def test_vectors_may_have_any_shape(compiled):
    k = waves(24)
    found = DAMAGED.amplitudes(k.reshape(3, 2, 3, 4))
    assert found.shape == (2, 3, 4)
    np.testing.assert_array_equal(found.ravel(), DAMAGED.amplitudes(k))


# What is covered.


def test_a_fine_series_shows_all_but_the_missing_wedge(compiled):
    extent, k = 10.0, waves(4000, 1.0)
    k = k[:, np.linalg.norm(k, axis=0) < 0.9]
    # 3 degrees apart, planes are closer than 1 / extent up to 1.9 1/nm.
    found = FINE.at(np.zeros((1, 3)), extent).amplitudes(k[:, None])[0]
    angle = np.degrees(np.arctan2(k[0], k[2]))
    angle = np.abs((angle + 90) % 180 - 90)
    edge = np.radians(60)
    beyond = np.abs(k[0]) * np.cos(edge) - np.abs(k[2]) * np.sin(edge)
    assert (found[beyond >= 1 / extent] == 0).all()
    assert (beyond >= 1 / extent).sum() > 300
    inside = angle <= 60
    assert inside.sum() > 1000
    np.testing.assert_allclose(found[inside], 1, atol=0.01)


def test_coverage_falls_to_a_half_where_waves_of_the_box_do():
    k = np.array([[0.0, 0.5, 1.0, 1.5], [0.0] * 4, [0.7] * 4]) / 20
    found = tilt_series([0]).at(np.zeros((1, 3)), 20.0).amplitudes(k[:, None])[0]
    np.testing.assert_allclose(found, [1, 0.5, 0, 0], atol=1e-7)


def test_measured_is_where_any_tilt_covers(compiled):
    series = tilt_series([-40, 0, 12, 60], "x")
    seen = series.at(np.zeros((1, 3)), 20.0)
    k = waves(2000)
    covered = naive(series, k, np.zeros(3), 20.0) > 0
    np.testing.assert_array_equal(seen.measured(k), covered)
    assert 0.1 < covered.mean() < 0.9


def test_about_x_is_about_y_with_x_and_y_exchanged(compiled):
    options = {"dose": DOSE, "defocus": np.linspace(2, 4, 41), "phase_flipped": False}
    twist = np.array(ASTIGMATISM)
    exchanged = np.stack([twist[:, 0], 90 - twist[:, 1]], axis=1)
    about_y = tilt_series(ANGLES, "y", astigmatism=twist, **options)
    about_x = tilt_series(ANGLES, "x", astigmatism=exchanged, **options)
    place, k = np.array([[30.0, -50.0, 70.0]]), waves(300, 1.5)
    one = about_y.at(place, 20.0).amplitudes(k[:, None])
    other = about_x.at(place[:, [0, 2, 1]], 20.0).amplitudes(k[[0, 2, 1]][:, None])
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize("hand", [-1, 1])
def test_what_lies_higher_has_another_defocus(hand):
    k = np.array([[0.0, 0.0], [0.0, 0.0], [0.3, 0.5]])
    options: Any = {"hand": hand, "phase_flipped": False}
    high = tilt_series([0], defocus=2.0, **options).at(np.array([[100.0, 0, 0]]))
    level = tilt_series([0], defocus=2.0 + 0.1 * hand, **options)
    np.testing.assert_allclose(
        high.amplitudes(k[:, None])[0], level.amplitudes(k), atol=1e-6
    )


# Particles.


def test_what_is_placed_is_a_series_at_places():
    places = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    seen = placed(DAMAGED, places, 20.0)
    assert isinstance(seen, Placed)
    assert seen.extent == 20.0
    weights = single_axis()
    assert placed(weights, places, 20.0) is weights
    assert taken(weights, [0]) is weights
    k = np.stack([waves(9)] * 2, axis=1)
    np.testing.assert_array_equal(
        taken(seen, [1]).amplitudes(k[:, 1:])[0], seen.amplitudes(k)[1]
    )


def test_per_voxel_takes_periods_per_voxel():
    k = waves(50)[:, None]
    seen = DAMAGED.at(np.zeros((1, 3)), 20.0)
    np.testing.assert_allclose(
        per_voxel(seen, 0.5).amplitudes(0.5 * k), seen.amplitudes(k), atol=1e-6
    )
    wedge = single_axis()
    np.testing.assert_array_equal(per_voxel(wedge, 0.5)(0.5 * k), wedge(k))


def test_where_nothing_is_left_the_weight_is_0():
    k = waves(3000)[:, None]
    seen = DAMAGED.at(np.zeros((1, 3)), 20.0)
    H, found = seen.amplitudes(k), transfer_of(seen, k)
    known = np.abs(H) > 1e-3
    np.testing.assert_array_equal(found.weight, known)
    np.testing.assert_array_equal(found.amplitude, np.where(known, H, 1))
    assert 0.1 < known.mean() < 0.9
    np.testing.assert_array_equal(measured(seen, k[:, 0]), seen.measured(k[:, 0]))


def test_weights_have_no_amplitudes():
    k = waves(100)[:, None]
    found = transfer_of(single_axis(), k)
    assert found.amplitude is None
    np.testing.assert_array_equal(found.weight, single_axis()(k))
    np.testing.assert_array_equal(measured(single_axis(), k), found.weight)


def test_a_series_is_taken_for_tilt_weights():
    k = fourier_vectors((8, 8, 8), 1.0)
    assert as_tilt("tilt", DAMAGED) is DAMAGED
    assert as_tilt("tilt", DAMAGED)(k).shape == k.shape[1:]


# Values.


def numbers(lowest: float, highest: float) -> st.SearchStrategy[float]:
    """Numbers without −0.0, which equals 0.0 and prints otherwise."""
    return st.floats(lowest, highest).map(lambda each: each + 0.0)


whole_angles = st.integers(-89, 89).map(float)
values = st.one_of(
    random_series,
    st.builds(
        tilt_series,
        st.lists(whole_angles, min_size=1, max_size=4),
        st.sampled_from(["y", "x"]),
        defocus=st.none() | numbers(-20, 20),
        voltage=st.sampled_from([200, 300.0]),
        spherical_aberration=numbers(0, 5),
        amplitude_contrast=numbers(0, 1),
        phase_shift=numbers(-180, 180),
        thickness=st.none() | st.floats(1, 500),
        corrected=st.booleans(),
    ),
    st.builds(
        lambda ends, axis: single_axis((min(ends), max(ends)), axis),
        st.lists(whole_angles, min_size=2, max_size=2, unique=True),
        st.sampled_from(["y", "x"]),
    ),
    st.builds(
        lambda y, x: dual_axis((-abs(y) - 1, 60), (-50, abs(x) + 1)),
        whole_angles,
        whole_angles,
    ),
)


@given(values)
def test_a_tilt_prints_as_what_makes_it_compares_and_pickles(value):
    again = eval(repr(value), vars(fp))
    assert again == value
    assert hash(again) == hash(value)
    assert repr(again) == repr(value)
    assert pickle.loads(pickle.dumps(value)) == value


@given(values, values)
def test_tilts_are_equal_where_they_print_alike(one, other):
    assert (one == other) == (repr(one) == repr(other))


@pytest.mark.parametrize(
    "other",
    [
        {"axis": "x"},
        {"dose": DOSE + 1},
        {"defocus": 3.1},
        {"astigmatism": (0.1, 10)},
        {"voltage": 200},
        {"spherical_aberration": 2.6},
        {"amplitude_contrast": 0.1},
        {"phase_shift": 1},
        {"thickness": 100},
        {"phase_flipped": True},
        {"corrected": True},
        {"hand": 1},
    ],
    ids=str,
)
def test_each_argument_makes_another_series(other):
    same = {"dose": DOSE, "defocus": 3.0, "phase_flipped": False}
    series = tilt_series(ANGLES, **{**same, **other})
    assert tilt_series(ANGLES, **same) == DAMAGED
    assert series != DAMAGED
    assert all(f"{name}" in repr(series) or name == "axis" for name in other) or (
        other == {"phase_flipped": True}  # which is what it is by itself
    )


def test_a_series_cannot_be_changed():
    with pytest.raises(AttributeError):
        DAMAGED.hand = 1
    angles = np.array(ANGLES, float)
    series = tilt_series(angles)
    angles[0] = 0
    assert series == FINE


@pytest.mark.parametrize(
    "angles", [ANGLES, list(ANGLES), np.array(ANGLES), np.array(ANGLES, np.float32)]
)
def test_angles_may_come_in_any_sequence(angles):
    assert tilt_series(angles) == FINE
    assert FINE.angles[:2] == (-60.0, -57.0)


def test_one_defocus_or_astigmatism_is_that_of_all_tilts():
    series = tilt_series([0, 10], defocus=3, astigmatism=(0.1, 20))
    each = tilt_series([0, 10], defocus=[3, 3], astigmatism=[(0.1, 20)] * 2)
    assert series == each
    assert series.defocus == (3.0, 3.0)
    assert series.astigmatism == ((0.1, 20.0), (0.1, 20.0))


# Bad input.


class Broken:
    """What cannot be made an array."""

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("broken")


@pytest.mark.parametrize(
    ("angles", "options", "said"),
    [
        ([], {}, "angles must be one or more tilts in degrees"),
        (30.0, {}, "angles must be one or more tilts in degrees"),
        ([[0, 1]], {}, "angles must be one or more tilts in degrees"),
        ("0 1 2", {}, "angles must be one or more tilts in degrees"),
        (None, {}, "angles must be one or more tilts in degrees"),
        (Broken(), {}, "angles must be one or more tilts in degrees"),
        ([True, False], {}, "angles must be one or more tilts in degrees"),
        ([0, math.nan], {}, "angles must be one or more tilts in degrees"),
        ([0, math.inf], {}, "angles must be one or more tilts in degrees"),
        ([0, 91], {}, "angles must be degrees from −90 to 90, not 91"),
        ([-600, 0], {}, "angles must be degrees from −90 to 90, not -600"),
        (
            np.radians(ANGLES),
            {},
            "angles must be degrees, but are all within 1.05: if they are radians, "
            "np.degrees(angles) is meant",
        ),
        ([0], {"axis": "z"}, "axis must be 'y' or 'x', not 'z'"),
        ([0], {"axis": 1}, "axis must be 'y' or 'x', not 1"),
        (
            ANGLES,
            {"dose": DOSE[:3]},
            "dose must be one number for each of the 41 tilts",
        ),
        (ANGLES, {"dose": 3.0}, "dose must be one number for each of the 41"),
        ([0, 1], {"dose": [0, -1]}, "dose must be e/Å² of 0 or more, not -1"),
        ([0, 1], {"dose": [0, math.nan]}, "dose must be one number for each tilt"),
        (
            [0, 1],
            {"defocus": [3, 3, 3]},
            "defocus must be one number for each",
        ),
        (
            [0],
            {"defocus": 30000},
            "defocus must be µm from −20 to 20, not 30000: if that is in Å, 3 is meant",
        ),
        (
            [0, 1],
            {"defocus": [-25000.0, -26000]},
            "defocus must be µm from −20 to 20, not -25000: if that is in Å, "
            "-2.5 is meant",
        ),
        (
            [0],
            {"defocus": 3000},
            "defocus must be µm from −20 to 20, not 3000: if that is in nm, 3 is meant",
        ),
        ([0], {"defocus": "3"}, "defocus must be one number for each tilt"),
        ([0], {"defocus": math.nan}, "defocus must be one number for each tilt"),
        (
            [0],
            {"astigmatism": 0.1},
            "astigmatism must be (µm, degrees), for all tilts or for each of the 1",
        ),
        (
            [0, 1],
            {"astigmatism": [(1, 2)] * 3},
            "astigmatism must be (µm, degrees), for all tilts or for each of the 2",
        ),
        (
            [0],
            {"astigmatism": (1000, 20)},
            "astigmatism must be µm from −20 to 20, not 1000: if that is in nm, "
            "1 is meant",
        ),
        ([0], {"voltage": 300000}, "voltage must be kV, from 50 to 1,500, not 300000"),
        ([0], {"voltage": None}, "voltage must be a finite number, not None"),
        (
            [0],
            {"spherical_aberration": -1},
            "spherical_aberration must be mm, from 0 to 20, not -1",
        ),
        (
            [0],
            {"amplitude_contrast": 7},
            "amplitude_contrast must be a part, from 0 to 1, not 7",
        ),
        (
            [0],
            {"phase_shift": 400},
            "phase_shift must be degrees, from −360 to 360, not 400",
        ),
        ([0], {"thickness": 0}, "thickness must be a number above 0, or None, not 0"),
        ([0], {"phase_flipped": 1}, "phase_flipped must be True or False, not 1"),
        ([0], {"corrected": "no"}, "corrected must be True or False, not 'no'"),
        ([0], {"hand": 0}, "hand must be 1 or −1, not 0"),
        ([0], {"hand": True}, "hand must be 1 or −1, not True"),
        ([0], {"hand": "left"}, "hand must be 1 or −1, not 'left'"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(angles, options, said):
    with pytest.raises((TypeError, ValueError), match=re.escape(said)):
        tilt_series(angles, **options)


def test_few_angles_may_be_small():
    assert tilt_series([-1.5, -1, 0, 1, 1.5]).angles == (-1.5, -1.0, 0.0, 1.0, 1.5)
    assert tilt_series(np.linspace(-2, 2, 9)).angles[0] == -2.0


@pytest.mark.parametrize("hand", [np.array([1, 1]), [1], None, 1.5, np.True_])
def test_a_hand_that_is_no_number_is_named(hand):
    with pytest.raises((TypeError, ValueError), match="hand must be 1 or −1"):
        tilt_series([0], hand=hand)
