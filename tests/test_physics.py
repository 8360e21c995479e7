"""Contrast transfer, dose and tilts as stages, against formulas and loops."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from images import blob, noise

import funpipe as fp
from funpipe.space.optics import wavelength
from funpipe.stages.parsing import parse_pipeline
from funpipe.testing.strategies import tilts

SCALES = st.sampled_from([0.25, 0.27, 1.0])
BALL = blob((16, 17, 18), 0.5, (0.5, -0.3, 0.2), 1.0)


def cosine(size: int, wave: int, scale: float) -> tuple[np.ndarray, float]:
    """A wave that fits into a box by halves, along x, and its frequency."""
    frequency = wave / (2 * size * scale)
    line = np.cos(2 * np.pi * frequency * (np.arange(size) + 0.5) * scale)
    return np.broadcast_to(line, (2, 3, size)), frequency


waves = st.builds(cosine, st.integers(4, 16), st.integers(0, 3), st.just(0.27))


@given(
    waves,
    st.floats(-5, 5),
    st.floats(60, 1000),
    st.floats(0, 5),
    st.floats(0, 1),
    st.floats(-180, 180),
    st.booleans(),
)
def test_ctf_filter_multiplies_a_wave_by_the_contrast_transfer(
    wave, defocus, voltage, aberration, contrast, shift, flipped
):
    image, k = wave
    length = wavelength(voltage)
    angle = math.pi * length * k**2 * 1e3 * defocus
    angle -= math.pi / 2 * 1e6 * aberration * length**3 * k**4
    angle += math.radians(shift) + math.asin(contrast)
    factor = abs(math.sin(angle)) if flipped else math.sin(angle)
    stage = fp.ctf_filter(
        defocus, voltage, aberration, contrast, shift, phase_flipped=flipped
    )
    np.testing.assert_allclose(stage(image, 0.27), factor * image, atol=3e-6)


@given(waves, st.floats(0, 200), st.sampled_from([200, 300]))
def test_dose_filter_multiplies_a_wave_by_what_the_dose_leaves(wave, dose, voltage):
    image, k = wave
    factor = 1.0
    if k:
        critical = 0.245 * (k / 10) ** -1.665 + 2.81
        factor = math.exp(-dose / 2 / (critical if voltage == 300 else 0.8 * critical))
    stage = fp.dose_filter(dose, voltage)
    np.testing.assert_allclose(stage(image, 0.27), factor * image, atol=3e-6)


@settings(max_examples=50)
@given(st.floats(0, 60), st.floats(0, 60))
def test_doses_in_turn_are_their_sum(first, second):
    in_turn = fp.dose_filter(second) @ fp.dose_filter(first)
    both = fp.dose_filter(first + second)
    np.testing.assert_allclose(in_turn(BALL, 0.5), both(BALL, 0.5), atol=1e-6)


def summed(image: np.ndarray, scale: float, part: Any) -> np.ndarray:
    """An image with each of its waves multiplied, as a sum over waves."""
    shape = image.shape
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    found = np.zeros(shape)
    for index in np.ndindex(shape):
        folded = [
            i if i <= n // 2 else i - n for i, n in zip(index, shape, strict=True)
        ]
        cycles = np.array(folded) / shape
        wave = np.exp(2j * np.pi * (grid @ cycles))
        amplitude = (image * wave.conj()).sum() / image.size
        k = cycles / scale
        factor = part(k.reshape(3, 1))[0]
        found += (factor * amplitude * wave).real
    return found


SERIES = fp.tilt_series(
    range(-60, 61, 12), dose=range(0, 33, 3), defocus=1.0, phase_flipped=False
)


@pytest.mark.parametrize(
    "tilt",
    [
        (-40, 60),
        fp.single_axis((-50, 50), "x"),
        fp.dual_axis((-30, 30), (-20, 40)),
        np.abs,
        SERIES,
    ],
    ids=str,
)
def test_wedge_filter_multiplies_each_wave_of_the_box(tilt):
    # Odd, so that no wave is its own mirror image but for the constant one.
    image, scale = noise(3, (5, 7, 9)), 0.5
    if tilt is np.abs:
        tilt = lengths
    part = fp.single_axis(tilt) if isinstance(tilt, tuple) else tilt
    if tilt is SERIES:
        part = seen_in_a_box_of_2_and_a_half_nm
    expected = summed(image, scale, part)
    found = fp.wedge_filter(tilt)(image, scale)
    np.testing.assert_allclose(found, expected, atol=3e-6)
    assert np.abs(found - image).max() > 0.1


def lengths(vectors: np.ndarray) -> np.ndarray:
    """Tilt weights of one's own."""
    return np.sqrt((vectors**2).sum(axis=0))


def seen_in_a_box_of_2_and_a_half_nm(vectors: np.ndarray) -> np.ndarray:
    seen = SERIES.at(np.zeros((1, 3)), 2.5)
    return seen.amplitudes(vectors[:, None])[0]


def test_a_wedge_takes_nothing_from_what_it_shows_and_leaves_nothing_elsewhere():
    once = fp.wedge_filter((-60, 60))(BALL, 0.5)
    twice = fp.wedge_filter((-60, 60))(once, 0.5)
    np.testing.assert_allclose(once, twice, atol=1e-6)
    line = np.cos(2 * np.pi * np.arange(16) / 8)
    along_beam = np.broadcast_to(line[:, None, None], (16, 4, 4))
    across = np.broadcast_to(line, (4, 4, 16))
    assert abs(fp.wedge_filter()(along_beam, 1.0)).max() < 1e-6
    np.testing.assert_allclose(fp.wedge_filter()(across, 1.0), across, atol=1e-6)


def test_a_series_without_dose_and_contrast_is_near_its_wedge():
    # Planes that show what is within 0.01 1/nm of them, up to 0.009 1/nm apart.
    fine = fp.tilt_series(np.arange(-60, 60.5, 0.5), thickness=100.0)
    found = fp.wedge_filter(fine)(BALL, 0.5)
    wedge = fp.wedge_filter((-60, 60))(BALL, 0.5)
    np.testing.assert_allclose(found, wedge, atol=0.01 * np.ptp(wedge))
    assert np.abs(found - BALL).max() > 0.1


@settings(max_examples=50)
@given(tilts)
def test_tilts_are_read_from_text(tilt):
    stage = fp.wedge_filter(tilt)
    assert parse_pipeline(repr(stage)) == stage
    assert eval(repr(stage), dict(vars(fp))) == stage


def test_angles_and_weights_that_say_the_same_are_one_stage():
    assert fp.wedge_filter((-60, 60)) == fp.wedge_filter(fp.single_axis((-60, 60)))
    assert fp.wedge_filter() == fp.wedge_filter([-60.0, 60.0])
    assert fp.wedge_filter() != fp.wedge_filter((-60, 59))


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (
            lambda: fp.ctf_filter(30000),
            "ctf_filter: defocus must be µm from −20 to 20, not 30000: if that is in "
            "Å, 3 is meant",
        ),
        (
            lambda: fp.ctf_filter(3, 3e5),
            "ctf_filter: voltage must be kV, from 50 to 1,500",
        ),
        (lambda: fp.ctf_filter("3"), "ctf_filter: defocus must be a finite number"),
        (lambda: fp.ctf_filter([3, 4]), "ctf_filter: defocus must be a finite number"),
        (
            lambda: fp.ctf_filter(3, amplitude_contrast=7),
            "ctf_filter: amplitude_contrast must be a part, from 0 to 1, not 7",
        ),
        (
            lambda: fp.ctf_filter(3, phase_flipped=1),
            "ctf_filter: phase_flipped must be True or False, not 1",
        ),
        (
            lambda: fp.dose_filter(-1),
            "dose_filter: dose must be a number of 0 or more, not -1",
        ),
        (lambda: fp.dose_filter(1, 0), "dose_filter: voltage must be kV"),
        (
            lambda: fp.wedge_filter(None),
            "wedge_filter: tilt must be two angles (lowest, highest) from −90 to 90",
        ),
        (lambda: fp.wedge_filter((60, -60)), "wedge_filter: tilt must be"),
        (lambda: fp.wedge_filter(60), "wedge_filter: tilt must be"),
        (lambda: fp.wedge_filter(np.negative), "tilt must be weights"),
    ],
)
def test_what_is_wrong_is_named(made, said):
    with pytest.raises((TypeError, ValueError), match=re.escape(said)):
        made()
