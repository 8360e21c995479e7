"""The Fourier shell correlation, and the resolution where it falls."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st

from funpipe.space.fourier import fourier_vectors
from funpipe.space.local_shells import local_frequencies
from funpipe.space.shells import (
    Products,
    correlation,
    fisher_band,
    fourier_shell_correlation,
    hemisphere,
    in_cone,
    independent_part,
    products,
    resolution_at,
    shells_of,
    transform,
    two_maps,
    with_random_phases,
    without_masks_share,
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


@pytest.mark.parametrize("size", [1e-12, 1e-4, 1e9])
def test_the_size_of_maps_does_not_matter(size):
    a, b = noise(7, 2, 8, 9, 7)
    expected = fourier_shell_correlation(a, a + b, 1.0)[1]
    for pair in ((size * a, size * (a + b)), (size * a, a + b), (a, size * (a + b))):
        found = fourier_shell_correlation(*pair, 1.0)[1]
        np.testing.assert_allclose(found, expected, atol=1e-9)


def test_a_wave_halfway_between_two_shells_is_of_the_lower():
    # Of 6 voxels in a box 9 long the first wave has a length of 1.5.
    shells = shells_of((6, 9, 4))
    assert shells.number[1, 0, 0] == 1
    assert shells.number[0, 2, 0] == 2
    assert shells.number[2, 0, 0] == 3
    wave = np.broadcast_to(np.cos(np.pi * np.arange(6) / 3)[:, None, None], (6, 9, 4))
    fsc = fourier_shell_correlation(wave, wave, 1.0)[1]
    assert fsc[0] == pytest.approx(1)


@settings(max_examples=30)
@given(shapes, seeds)
def test_sums_over_shells_are_those_over_the_whole_transform(shape, seed):
    longest = max(shape)
    shells, values = shells_of(shape), np.random.default_rng(seed).random(shape)
    # Values that mates share: those of a wave and its mirror image.
    at = np.stack(np.indices(shape))
    mirrored = tuple(-each % n for each, n in zip(at, shape, strict=True))
    values = values + values[mirrored]
    expected = np.zeros(longest // 2)
    for index in np.ndindex(shape):
        k = [np.fft.fftfreq(n)[i] * longest for n, i in zip(shape, index, strict=True)]
        shell = math.ceil(math.hypot(*k) - 0.5 - 1e-9)
        if 1 <= shell <= longest // 2:
            expected[shell - 1] += values[index]
    found = shells.sums(values[..., : shape[2] // 2 + 1])
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert (shells.longest, shells.last) == (longest, longest // 2)
    np.testing.assert_allclose(
        shells.frequencies(0.3), [i / longest / 0.3 for i in range(1, len(found) + 1)]
    )


def test_weights_of_waves_count_in_a_correlation():
    a, b = noise(8, 2, 7, 8, 9)
    F, G, shells = transform(a), transform(a + b), shells_of(a.shape)
    weights = np.random.default_rng(9).random(F.shape)
    found = correlation(products(F, G), shells, weights)
    for shell, each in enumerate(found, 1):
        here = shells.number == shell
        w = (shells.mates * weights)[here]
        f, g = F[here], G[here]
        cross = (w * (f * g.conj()).real).sum()
        both = (w * abs(f) ** 2).sum() * (w * abs(g) ** 2).sum()
        assert each == pytest.approx(cross / math.sqrt(both), abs=1e-12)
    more = products(F, G).plus(products(G, F))
    assert isinstance(more, Products)
    np.testing.assert_allclose(more.power, abs(F) ** 2 + abs(G) ** 2)
    np.testing.assert_allclose(more.cross, 2 * (F * G.conj()).real)


def test_where_noise_has_nothing_its_phases_leave_nothing_and_no_warning():
    image, nothing = noise(10, 2, 4, 5, 6)
    shells, F = shells_of(image.shape), transform(image)
    mixed = with_random_phases(F, 1, shells, 0 * nothing)
    np.testing.assert_array_equal(mixed[shells.number >= 1], 0)
    assert mixed[0, 0, 0] == F[0, 0, 0]
    other = with_random_phases(F, 2, shells, nothing)
    high = shells.number >= 2
    phases = transform(nothing)
    phases /= abs(phases)
    np.testing.assert_allclose(other[high], (abs(F) * phases)[high])


@pytest.mark.parametrize(
    ("masked", "noise_alone", "left"),
    [
        (0.9, 0.0, 0.9),
        (0.9, 0.5, 0.8),
        (0.9, -0.25, 0.92),
        (0.2, 0.5, -0.6),
        (-0.9, 0.5, -1.0),
        (1.0, 1.0, 0.0),
        (0.5, 1 - 1e-7, 0.0),
        (1.0, 1 - 1e-5, 1.0),
    ],
)
def test_the_masks_share_is_taken_out_by_the_formula(masked, noise_alone, left):
    [found] = without_masks_share([masked], [noise_alone])
    assert found == pytest.approx(left, abs=1e-9)


@pytest.mark.parametrize("shape", [(6, 6, 6), (4, 6, 7)])
def test_the_independent_part_is_the_sum_over_differences_of_waves(shape):
    mask = np.random.default_rng(11).random(shape) ** 3
    M = np.fft.fftn(mask**2)
    total = 0.0
    for index in np.ndindex(shape):
        q = math.hypot(
            *(
                np.fft.fftfreq(n)[i] * max(shape)
                for n, i in zip(shape, index, strict=True)
            )
        )
        often = 1 - q / 2 if q <= 1 else 1 / (2 * q)
        total += abs(M[index] / M[0, 0, 0]) ** 2 * often
    found = independent_part(mask, shells_of(shape))
    assert found == pytest.approx(1 / total, rel=1e-9)
    assert type(found) is float


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
def test_the_band_is_fishers(level):
    width = scipy.stats.norm.ppf((1 + level) / 2)
    fsc, waves = [0.5, -0.2, 0.9, 0.0, 0.999], [5.0, 51.0, 1.5, 1e4, 3.0]
    low, high = fisher_band(fsc, waves, level)
    for i, (r, n) in enumerate(zip(fsc, waves, strict=True)):
        away = width / math.sqrt(2 * n - 2)
        assert low[i] == pytest.approx(math.tanh(math.atanh(r) - away), abs=1e-9)
        assert high[i] == pytest.approx(math.tanh(math.atanh(r) + away), abs=1e-9)


@pytest.mark.parametrize("waves", [0.0, 0.5, 1.0])
def test_of_one_wave_nothing_is_known(waves):
    low, high = fisher_band([0.9], [waves], 0.5)
    assert (low[0], high[0]) == (-1, 1)


def test_of_maps_that_are_the_same_the_band_ends_at_1():
    low, high = fisher_band([1.0, -1.0], [1e3, 1e3], 0.95)
    np.testing.assert_allclose([low, high], [[1, -1], [1, -1]], atol=1e-12)


@pytest.mark.parametrize("count", [1, 2, 25])
def test_directions_of_half_a_sphere_are_the_formulas(count):
    for i, (z, y, x) in enumerate(hemisphere(count)):
        about, height = i * math.pi * (3 - math.sqrt(5)), 1 - (i + 0.5) / count
        across = math.sqrt(1 - height**2)
        expected = height, across * math.sin(about), across * math.cos(about)
        assert (z, y, x) == pytest.approx(expected, abs=1e-9)


@given(seeds, st.floats(0, 90))
def test_a_cone_holds_what_is_within_its_angle_of_its_line(seed, angle):
    random = np.random.default_rng(seed)
    line, vectors = random.normal(size=3), random.normal(size=(3, 4, 5))
    line /= np.linalg.norm(line)
    found = in_cone(vectors, line, angle)
    for at in np.ndindex(4, 5):
        v = vectors[(slice(None), *at)]
        away = math.degrees(math.acos(min(1, abs(line @ v) / np.linalg.norm(v))))
        assert found[at] == (away <= angle) or abs(away - angle) < 1e-6


def test_a_cones_own_surface_and_the_vector_of_no_length_are_in_it():
    vectors = np.array([[0.0, 0, 0], [3, 0, 4], [4, 3, 0], [-3, 4, 0], [1, 0, 0]]).T
    angle = math.degrees(math.acos(0.6))
    found = in_cone(vectors, [1.0, 0, 0], angle)
    assert found.tolist() == [True, True, True, True, True]
    inside = in_cone(vectors, [1.0, 0, 0], angle - 1e-6)
    assert inside.tolist() == [True, False, True, False, True]


def test_a_resolution_is_by_itself_at_a_seventh():
    frequency, fsc = [0.1, 0.2, 0.3], [0.9, 0.143, 0.1429]
    assert resolution_at(frequency, fsc) == resolution_at(frequency, fsc, 0.143)
    assert resolution_at(frequency, fsc) == pytest.approx(5.0)
    assert resolution_at([0.1, 0.2], [0.143, 0.1]) == pytest.approx(10.0)


@pytest.mark.parametrize("shape", [(2, 1, 1), (1, 1, 2), (1, 2, 1)])
def test_two_voxels_along_the_longest_side_will_do(shape):
    first, _ = two_maps(np.ones(shape), np.zeros(shape))
    assert first.shape == shape
    frequency, fsc = fourier_shell_correlation(noise(1, *shape), noise(2, *shape), 2.0)
    assert frequency.tolist() == [0.25]
    assert abs(fsc[0]) == pytest.approx(1)


def local_correlation(a, b, width, band):
    """The text of `local_frequencies`, with sums over the whole box."""
    z, y, x = (np.fft.fftfreq(n) * width for n in a.shape)
    length = np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)
    away = abs(length - band)
    keep = np.where(away < 1, np.cos(np.pi / 2 * away) ** 2, 0)
    f, g = (np.fft.ifftn(np.fft.fftn(each) * keep).real for each in (a, b))
    sigma, found = width / (2 * math.sqrt(2 * math.log(2))), np.zeros(a.shape)
    for at in np.ndindex(a.shape):
        square = sum(
            np.expand_dims((np.arange(n) - i) ** 2, [j for j in range(3) if j != axis])
            for axis, (n, i) in enumerate(zip(a.shape, at, strict=True))
        )
        w = np.exp(-square / (2 * sigma**2))
        both = math.sqrt((w * f * f).sum() * (w * g * g).sum())
        found[at] = (w * f * g).sum() / both if both else 0
    return found


@pytest.mark.parametrize("width", [1.5, 2.0, 3.9, 4 - 1e-12, 6.2])
@pytest.mark.parametrize("threshold", [0.143, 0.5, 0.9])
def test_up_to_where_maps_agree_is_read_off_band_by_band(width, threshold):
    a, b = noise(12, 2, 7, 8, 9)
    b = a + 0.4 * b
    count = {1.5: 1, 2.0: 1, 3.9: 1, 6.2: 3}.get(width, 2)
    bands = [local_correlation(a, b, width, 1 + i) for i in range(count)]
    found = local_frequencies(a, b, width, threshold)
    assert found.dtype == np.float32
    for at in np.ndindex(a.shape):
        values = [each[at] for each in bands]
        below = [i for i, each in enumerate(values) if each < threshold]
        expected = float(count)
        if below and below[0] == 0:
            expected = 1.0
        elif below:
            before, after = values[below[0] - 1], values[below[0]]
            expected = below[0] + (before - threshold) / (before - after)
        assert found[at] * width == pytest.approx(expected, abs=0.01)


@given(shapes, seeds)
def test_rounding_takes_no_correlation_beyond_1(shape, seed):
    a = noise(seed, *shape)
    for sign in (1, -1):
        fsc = fourier_shell_correlation(a, 3 * sign * a, 1.0)[1]
        assert np.abs(fsc).max() <= 1
