"""The Fourier shell correlation, and the resolution where it falls."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st

from funpipe.space.fourier import fourier_vectors
from funpipe.space.shells import (
    fisher_band,
    fourier_shell_correlation,
    resolution_at,
)

shapes = st.tuples(*[st.integers(2, 9)] * 3)
seeds = st.integers(0, 2**16)


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def naive(a: np.ndarray, b: np.ndarray) -> list[float]:
    """The formula, one wave of the whole transform at a time."""
    F, G = (np.fft.fftn(each.astype(float)) for each in (a, b))
    longest = max(a.shape)
    sums = np.zeros((2 * longest, 3))
    for index in np.ndindex(a.shape):
        k = [
            np.fft.fftfreq(n)[i] * longest for n, i in zip(a.shape, index, strict=True)
        ]
        f, g = F[index], G[index]
        shell = round(math.hypot(*k) - 1e-6)
        sums[shell] += (f * g.conjugate()).real, abs(f) ** 2, abs(g) ** 2
    cross, first, second = sums[1 : longest // 2 + 1].T
    return list(cross / np.sqrt(first * second))


@settings(max_examples=50)
@given(shapes, seeds)
def test_it_is_the_formula(shape, seed):
    a, b = noise(seed, 2, *shape).astype(np.float32)
    b += a
    _, fsc = fourier_shell_correlation(a, b, 1.0)
    np.testing.assert_allclose(fsc, naive(a, b), atol=1e-9)


@given(shapes, seeds, st.floats(0.1, 10), st.floats(-5, 5))
def test_a_map_correlates_with_itself_however_scaled_and_raised(shape, seed, by, up):
    a = noise(seed, *shape)
    np.testing.assert_allclose(
        fourier_shell_correlation(a, by * a + up, 1.0)[1], 1, atol=1e-4
    )
    np.testing.assert_allclose(
        fourier_shell_correlation(a, -by * a, 1.0)[1], -1, atol=1e-6
    )


@given(shapes, seeds)
def test_it_is_symmetric(shape, seed):
    a, b = noise(seed, 2, *shape)
    one, other = (fourier_shell_correlation(*each, 0.5)[1] for each in ((a, b), (b, a)))
    np.testing.assert_array_equal(one, other)


def test_independent_noises_do_not_correlate():
    a, b = noise(1, 2, 48, 48, 48)
    frequency, fsc = fourier_shell_correlation(a, b, 0.5)
    waves = 4 * np.pi * (frequency * 24) ** 2 / 2  # in half a shell, roughly
    assert (abs(fsc) < 4 / np.sqrt(waves)).all()
    assert 0 < np.sqrt((fsc**2 * waves).mean()) < 1.5


def signal_and_noise(seed: int, amplitude) -> list[np.ndarray]:
    """Two maps, white noises in both, and a signal of an amplitude that falls."""
    signal, *noises = noise(seed, 3, 64, 64, 64)
    k = np.sqrt((fourier_vectors(signal.shape, 0.5) ** 2).sum(axis=0))
    waves = amplitude(k) * scipy.fft.rfftn(signal)
    return [scipy.fft.irfftn(waves, s=signal.shape) + each for each in noises]


def test_a_signal_in_two_noises_gives_snr_over_1_plus_snr():
    a, b = signal_and_noise(2, lambda k: np.sqrt(10) * np.exp(-2 * k))
    frequency, fsc = fourier_shell_correlation(a, b, 0.5)
    snr = 10 * np.exp(-4 * frequency)
    np.testing.assert_allclose(fsc[4:], (snr / (1 + snr))[4:], atol=0.05)


@pytest.mark.parametrize(("shape", "count"), [((8, 8, 8), 4), ((7, 4, 10), 5)])
def test_shells_are_a_period_per_longest_side_apart_up_to_nyquist(shape, count):
    frequency, fsc = fourier_shell_correlation(noise(3, *shape), noise(4, *shape), 0.5)
    step = 1 / (0.5 * max(shape))
    np.testing.assert_allclose(frequency, step * np.arange(1, count + 1))
    assert fsc.shape == frequency.shape


def test_it_compares_wave_by_wave_what_lies_in_one_shell():
    z, y, _ = np.indices((16, 16, 16))
    wave, other = np.cos(2 * np.pi * 3 * z / 16), np.cos(2 * np.pi * 3 * y / 16)
    added = fourier_shell_correlation(wave, wave + other, 1.0)[1]
    assert added[2] == pytest.approx(math.sqrt(0.5), abs=1e-5)
    assert fourier_shell_correlation(wave, other, 1.0)[1][2] == pytest.approx(0)


def test_a_map_with_nothing_in_it_correlates_with_nothing():
    _, fsc = fourier_shell_correlation(np.zeros((6, 6, 6)), noise(5, 6, 6, 6), 1.0)
    np.testing.assert_array_equal(fsc, 0)


def test_inputs_are_not_changed_and_lists_and_integers_will_do():
    a = np.arange(64).reshape(4, 4, 4)
    before = a.copy()
    np.testing.assert_allclose(fourier_shell_correlation(a, a.tolist(), 1)[1], 1)
    np.testing.assert_array_equal(a, before)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((np.ones((4, 4)), np.ones((4, 4)), 1.0), "a must be a 3-D array"),
        ((np.ones((4, 4, 4)), np.ones((4, 4, 5)), 1.0), "b must have the shape of a"),
        ((np.ones((4, 4, 4)), np.full((4, 4, 4), np.nan), 1.0), "b must be finite"),
        ((np.ones((4, 4, 4)), np.ones((4, 4, 4)), 0), "scale must be"),
        ((np.ones((1, 1, 1)), np.ones((1, 1, 1)), 1.0), "a must be 2 voxels or more"),
    ],
)
def test_wrong_maps_are_named(arguments, said):
    with pytest.raises((TypeError, ValueError), match=said):
        fourier_shell_correlation(*arguments)


CURVE = [0.1, 0.2, 0.3, 0.4], [1.0, 0.9, 0.1, 0.2]


@pytest.mark.parametrize(
    ("threshold", "frequency"),
    [(0.5, 0.25), (0.143, 0.2 + 0.1 * (0.9 - 0.143) / 0.8), (0.9, 0.2), (0.95, 0.15)],
)
def test_the_resolution_is_interpolated_where_the_curve_first_falls(
    threshold, frequency
):
    assert resolution_at(*CURVE, threshold) == pytest.approx(1 / frequency)


def test_a_curve_that_rises_again_has_its_first_crossing():
    fsc = [1.0, 0.1, 0.9, 0.1]
    assert resolution_at(CURVE[0], fsc, 0.5) == pytest.approx(1 / (0.1 + 0.05 / 0.9))


def test_beyond_the_ends_it_is_infinite_or_the_last_period():
    assert resolution_at([0.1, 0.2], [0.1, 0.9]) == math.inf
    assert resolution_at([0.1, 0.2], [0.9, 0.5]) == 5.0


def test_the_resolution_is_where_the_signals_power_is_a_sixth_of_the_noises():
    a, b = signal_and_noise(6, lambda k: 5 * np.exp(-5 * k**2))
    found = resolution_at(*fourier_shell_correlation(a, b, 0.5))
    power = 0.143 / 0.857  # = 25 exp(−10 k²)
    assert found == pytest.approx(1 / math.sqrt(math.log(25 / power) / 10), rel=0.03)


def test_the_band_of_an_fsc_below_0_mirrors_that_above():
    low, high = fisher_band(np.array([0.6, 0.2]), np.array([51.0, 81.0]), 0.9)
    below = fisher_band(np.array([-0.6, -0.2]), np.array([51.0, 81.0]), 0.9)
    np.testing.assert_allclose(below, [-high, -low], atol=1e-9)
