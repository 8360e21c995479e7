"""Resampling, transfer functions and tilt weights, against what defines them."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import scipy
from hypothesis import example, given, settings
from hypothesis import strategies as st
from images import blob, moments, noise
from scipy.spatial.transform import Rotation

from funpipe.space.fourier import (
    butterworth,
    cosine_waves,
    filter_image,
    fourier_vectors,
    gaussian,
    half_ball,
    resample,
    rescaled_size,
)
from funpipe.space.tilts import as_tilt, dual_axis, single_axis
from funpipe.testing.strategies import seeds, shapes

# Resampling.


@st.composite
def blobs(draw):
    """Blobs that both samplings hold whole, by any ratio from a half to twice."""
    scale = draw(st.floats(0.2, 2))
    ratio = draw(st.floats(0.5, 2))
    shape = draw(st.tuples(*[st.integers(38, 43)] * 3))
    coarser = scale * max(1, 1 / ratio)
    sigma = draw(st.tuples(*[st.floats(1.3, 1.5)] * 3))
    peak = draw(st.tuples(*[st.floats(-1.5, 1.5)] * 3))
    return (
        scale,
        scale / ratio,
        shape,
        np.array(sigma) * coarser,
        np.array(peak) * (scale),
    )


@given(blobs())
@settings(max_examples=60)
def test_resampling_gives_the_same_object_on_the_new_grid(case):
    scale, new_scale, shape, sigma, peak = case
    image = resample(blob(shape, scale, peak, sigma), scale, new_scale)
    assert image.shape == tuple(rescaled_size(n, scale / new_scale) for n in shape)
    assert image.dtype == np.float32
    # At 1.3 voxels the blob itself holds exp(-2 pi² 1.3² / 4) = 2.4e-4 at Nyquist.
    expected = blob(image.shape, new_scale, peak, sigma)
    np.testing.assert_allclose(image, expected, atol=1e-3)


@given(blobs())
@settings(max_examples=60)
def test_resampling_keeps_centre_of_mass_extent_and_mass(case):
    scale, new_scale, shape, sigma, peak = case
    image = resample(blob(shape, scale, peak, sigma), scale, new_scale)
    mass, middle, widths = moments(image, new_scale)
    assert np.abs(middle - peak).max() < 0.01 * min(scale, new_scale)
    np.testing.assert_allclose(widths, sigma, rtol=2e-3)
    assert mass == pytest.approx((2 * math.pi) ** 1.5 * sigma.prod(), rel=1e-3)


@pytest.mark.parametrize("size", [64, 63])
@pytest.mark.parametrize("new_size", [16, 17, 31, 32, 100, 127])
def test_the_centre_stays_between_odd_and_even_boxes(size, new_size):
    ratio = new_size / size
    sigma = [1.5 * max(1, 1 / ratio), 1, 1]
    image = np.repeat(blob((size, 1, 1), 1.0, (1.0, 0.0, 0.0), sigma), 2, axis=1)
    _, middle, widths = moments(resample(image, 1.0, 1 / ratio), 1 / ratio)
    assert abs(middle[0] - 1.0) < 0.01 * min(1, 1 / ratio)
    assert widths[0] == pytest.approx(sigma[0], rel=2e-3)


@st.composite
def whole_ratios(draw):
    """Boxes of which a ratio makes whole voxels."""
    ratio = draw(st.fractions(Fraction(1, 5), Fraction(5), max_denominator=5))
    times = draw(st.tuples(*[st.integers(1, 4)] * 3))
    shape = tuple(ratio.denominator * t for t in times)
    return noise(draw(seeds), shape), ratio


@given(whole_ratios())
def test_resampling_keeps_the_mean(case):
    image, ratio = case
    resampled = resample(image, 1.0, 1 / float(ratio))
    assert resampled.shape == tuple(n * ratio for n in image.shape)
    assert resampled.mean(dtype=float) == pytest.approx(image.mean(), abs=1e-6)


@given(whole_ratios())
def test_resampling_loses_the_variance_of_the_band_and_no_other(case):
    # Parseval: the mean square is that of the orthonormal cosine waves over n.
    image, ratio = case
    waves = scipy.fft.dctn(image, norm="ortho")
    kept = waves[tuple(slice(int(n * min(ratio, 1))) for n in image.shape)]
    square = np.square(resample(image, 1.0, 1 / float(ratio)), dtype=float).mean()
    assert square == pytest.approx(np.square(kept).sum() / image.size, rel=1e-4)


@pytest.mark.parametrize("ratio", [0.25, 0.4037, 0.5, 0.61, 0.8021])
def test_white_noise_loses_the_variance_that_the_band_limit_takes(ratio):
    # Voxels of white noise are independent: the variance that comes out of it is the
    # sum of the squares that single voxels become. It is the ratio, per axis, within
    # one of the box's 150 waves; at the faces the waves are in phase.
    power = sum(
        np.square(resample(voxel[:, None, None], 1.0, 1 / ratio)[:, 0, 0])
        for voxel in np.eye(150)
    )
    inner = slice(len(power) // 5, -(len(power) // 5))
    assert power[inner].mean() == pytest.approx(ratio, abs=1 / 150)
    # So it is the ratio's cube in 3-D.
    resampled = resample(noise(0, (48, 48, 48)), 1.0, 1 / ratio)
    inner = slice(len(resampled) // 5, -(len(resampled) // 5))
    fewest, most = ((ratio + one) ** 3 for one in (-1 / 48, 1 / 48))
    assert fewest < np.square(resampled[inner, inner, inner]).mean() < most


@given(st.integers(2, 30), st.data())
def test_a_wave_survives_whole_or_not_at_all(size, data):
    wave = data.draw(st.integers(0, size - 1))
    new_size = data.draw(st.integers(1, 2 * size))
    ratio = new_size / size
    image = np.cos(np.pi * wave * (np.arange(size) + 0.5) / size)[:, None, None]
    resampled = resample(np.repeat(image, 2, 1).repeat(2, 2), 1.0, 1 / ratio)
    there = np.cos(np.pi * wave * (np.arange(new_size) + 0.5) / new_size)
    expected = there if wave < new_size else np.zeros(new_size)  # its Nyquist wave
    np.testing.assert_allclose(resampled[:, 0, 0], expected, atol=1e-5)


@given(seeds, shapes(9), st.floats(0.3, 3))
def test_a_constant_stays_constant(seed, shape, new_scale):
    level = np.random.default_rng(seed).normal()
    resampled = resample(np.full(shape, level), 1.0, new_scale)
    np.testing.assert_allclose(resampled, level, rtol=1e-5)


@given(seeds, shapes(9), st.floats(0.1, 10))
def test_resampling_to_the_own_scale_changes_nothing(seed, shape, scale):
    image = noise(seed, shape)
    np.testing.assert_allclose(resample(image, scale, scale), image, atol=1e-5)


@given(seeds, shapes(9), st.integers(1, 3))
def test_refining_by_a_whole_ratio_loses_nothing(seed, shape, ratio):
    image = noise(seed, shape)
    there = resample(image, float(ratio), 1.0)
    np.testing.assert_allclose(resample(there, 1.0, float(ratio)), image, atol=1e-5)


@given(seeds, shapes(9), st.floats(0.3, 3))
def test_resampling_is_linear_and_mirrors_with_the_image(seed, shape, ratio):
    first, second = noise(seed, (2, *shape))
    both = resample(2 * first + second, 1.0, 1 / ratio)
    parts = 2 * resample(first, 1.0, 1 / ratio) + resample(second, 1.0, 1 / ratio)
    np.testing.assert_allclose(both, parts, atol=1e-4)
    mirrored = resample(first[::-1, :, ::-1], 1.0, 1 / ratio)
    expected = resample(first, 1.0, 1 / ratio)[::-1, :, ::-1]
    np.testing.assert_allclose(mirrored, expected, atol=1e-5)


@given(st.integers(1, 20))
def test_cosine_waves_are_scipys_orthonormal_ones(size):
    waves = cosine_waves(np.arange(size), size, size)
    image = noise(size, (size,)).astype(float)
    expected = scipy.fft.dct(image, norm="ortho")
    np.testing.assert_allclose(waves.T @ image, expected, atol=1e-10)


@given(st.integers(1, 10_000), st.floats(0.01, 10))
def test_sizes_are_rounded_to_the_nearest(size, ratio):
    assert rescaled_size(size, ratio) >= 1
    assert abs(rescaled_size(size, ratio) - max(1, size * ratio)) <= 0.5 + 1e-9


def summed(image, ratio, shape):
    """The definition: cosine waves below both Nyquist frequencies, along each axis."""
    found = np.asarray(image, float)
    for axis, (n, m) in enumerate(zip(image.shape, shape, strict=True)):
        rows = []
        for j in range(m):
            x = (j - (m - 1) / 2) / ratio + (n - 1) / 2
            row = np.full(n, 1 / n)  # the mean
            for k in range(1, n):
                if k < n * ratio - 1e-9:  # k / 2n below ratio / 2
                    there = 2 / n * math.cos(math.pi * k * (x + 0.5) / n)
                    row += there * np.cos(np.pi * k * (np.arange(n) + 0.5) / n)
            rows.append(row)
        found = np.moveaxis(np.tensordot(rows, found, axes=(1, axis)), 0, axis)
    return found


@given(seeds, shapes(7), st.floats(0.1, 3) | st.sampled_from([0.25, 0.5, 1.0, 2.0]))
def test_resampling_is_the_sum_of_the_waves_at_the_new_voxels(seed, shape, ratio):
    image = noise(seed, shape)
    found = resample(image, 0.5 * ratio, 0.5)
    assert found.shape == tuple(max(1, math.floor(n * ratio + 0.5)) for n in shape)
    np.testing.assert_allclose(found, summed(image, ratio, found.shape), atol=1e-5)
    some = tuple(max(1, n - 1) for n in found.shape)
    part = resample(image, 0.5 * ratio, 0.5, some)
    assert part.shape == some
    np.testing.assert_allclose(part, summed(image, ratio, some), atol=1e-5)
    assert part.flags.c_contiguous


@pytest.mark.parametrize(
    ("size", "ratio", "wanted"),
    [(5, 0.5, 3), (5, 0.49, 2), (1, 0.01, 1), (3, 0.5, 2), (10, 0.25, 3), (7, 3, 21)],
)
def test_half_a_voxel_is_a_voxel(size, ratio, wanted):
    assert rescaled_size(size, ratio) == wanted


# Filters.


@given(seeds, shapes(9), st.floats(0.1, 3), st.data())
def test_a_wave_is_multiplied_by_the_transfer_at_its_frequency(
    seed, shape, scale, data
):
    waves = [data.draw(st.integers(0, n - 1)) for n in shape]
    phases = [
        np.pi * k * (np.arange(n) + 0.5) / n for k, n in zip(waves, shape, strict=True)
    ]
    z, y, x = np.meshgrid(*phases, indexing="ij")
    image = np.cos(z) * np.cos(y) * np.cos(x)
    # k half periods over n voxels
    frequency = math.hypot(
        *(k / (2 * n * scale) for k, n in zip(waves, shape, strict=True))
    )
    filtered = filter_image(image, scale, lambda f: np.exp(-f))
    np.testing.assert_allclose(filtered, math.exp(-frequency) * image, atol=1e-6)


@given(st.floats(0.05, 100), st.integers(1, 12))
def test_the_roll_off_is_half_at_the_cutoff_and_12_db_an_octave(cutoff, order):
    frequency = np.array([0, 1, 1024, 2048]) / cutoff
    none, half, *far = butterworth(frequency, cutoff, order)
    assert (none, half) == (1, pytest.approx(0.5))
    decibels = 20 * math.log10(far[0] / far[1])
    assert decibels == pytest.approx(12.04 * order, rel=1e-3)


def test_a_steep_roll_off_far_out_is_0_without_a_warning():
    assert butterworth(np.array([1e5]), 1e4, 100) == 0


@given(st.floats(0.5, 3))
def test_the_gaussian_transfer_is_the_gaussians_fourier_transform(sigma):
    frequency = np.linspace(0, 0.5, 7)
    x = np.linspace(-10 * sigma, 10 * sigma, 4001)
    density = np.exp(-((x / sigma) ** 2) / 2) / (sigma * math.sqrt(2 * math.pi))
    expected = (density * np.cos(2 * np.pi * frequency[:, None] * x)).sum(1)
    expected *= x[1] - x[0]
    np.testing.assert_allclose(gaussian(frequency, sigma), expected, atol=1e-7)


# The half of Fourier space.


@given(shapes(9), st.floats(0.1, 3), st.data())
def test_fourier_vectors_name_the_waves_of_rfftn(shape, scale, data):
    vectors = fourier_vectors(shape, scale)
    index = tuple(data.draw(st.integers(0, n - 1)) for n in vectors.shape[1:])
    z, y, x = (np.arange(n) * scale for n in shape)
    fz, fy, fx = vectors[(slice(None), *index)]
    phase = fz * z[:, None, None] + fy * y[:, None] + fx * x
    spectrum = np.abs(scipy.fft.rfftn(np.cos(2 * np.pi * phase)))
    assert spectrum.shape == vectors.shape[1:]
    assert spectrum[index] == pytest.approx(spectrum.max())


def upper(k):
    """Tell whether a wave is the one of its mirrored pair, by x, then y, then z."""
    first = next((each for each in k[::-1] if each), 0)
    return first > 0


@given(shapes(9), st.floats(1.2, 12) | st.sampled_from([2.0, 2.5, 3.0, 4.0]))
@example((1, 9, 8), 2.5)
@example((9, 2, 1), 2.0)
@example((7, 5, 3), 5.0)
def test_the_half_ball_holds_one_of_each_pair_of_waves_up_to_the_finest(shape, finest):
    expected = []
    for k in itertools.product(range(-9, 10), repeat=3):
        below_nyquist = all(2 * abs(i) < n for i, n in zip(k, shape, strict=True))
        length = math.hypot(*(i / n for i, n in zip(k, shape, strict=True)))
        if below_nyquist and upper(k) and length <= (1 + 1e-9) / finest:
            expected.append(k)
    found = half_ball(shape, finest)
    assert found.shape == (len(expected), 3)
    assert list(map(tuple, found.tolist())) == expected


def test_periods_of_a_half_ball_need_not_be_whole():
    found = half_ball((7.5, 4.9, 3.0), 2.4)
    expected = [
        k
        for k in itertools.product(range(-5, 6), repeat=3)
        if upper(k) and math.hypot(k[0] / 7.5, k[1] / 4.9, k[2] / 3) <= 1 / 2.4
    ]
    assert list(map(tuple, found.tolist())) == expected


# Tilt weights.

# numpy.packbits of the boolean masks of acryo 0.9.1, in numpy.fft.fftn's order:
# acryo.tilt.single_axis((-60, 40), axis).create_mask(rotation, (6, 5, 7)), and
# dual_axis((-60, 40), (-30, 50)), which takes the range about y first.
TURNED = Rotation.from_rotvec([0.3, -0.7, 0.2])
ACRYO = [
    ("y", None, "ffffffffe7cf9f3e7c70e1c3870810204083870e1c38f9f3e7cf80"),
    ("y", TURNED, "fffff5ffee3c7830e1c78f061c070c1a3870e1c3478e1c3868f1c0"),
    ("x", None, "ffffffffe03ffffffc000fffff8001fc00001fffff0003ffffffc0"),
    ("x", TURNED, "819fffff2c39fff7e0c38ffe5c040d1f3840c1f3ff0e0e3f7ffcc0"),
]
ACRYO_DUAL = "ffffffffe7fffffe7c70efe3870810204083870e7f38f9f7ffffc0"


def fft_vectors(shape):
    axes = map(np.fft.fftfreq, shape)
    return np.stack(np.meshgrid(*axes, indexing="ij"))


def from_hex(text, shape):
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8))
    return bits[: math.prod(shape)].reshape(shape)


@pytest.mark.parametrize("axis, rotation, mask", ACRYO)
def test_tilt_weights_are_those_of_acryo(axis, rotation, mask):
    shape = (6, 5, 7)
    vectors = fft_vectors(shape)
    if rotation is not None:  # from the particle's frame to the tomogram's
        vectors = np.tensordot(rotation.as_matrix(), vectors, axes=1)
    measured = single_axis((-60, 40), axis)(vectors)
    np.testing.assert_array_equal(measured, from_hex(mask, shape))


def test_dual_axis_weights_are_those_of_acryo():
    shape = (6, 5, 7)
    measured = dual_axis((-60, 40), (-30, 50))(fft_vectors(shape))
    np.testing.assert_array_equal(measured, from_hex(ACRYO_DUAL, shape))


angles = st.floats(-90, 90)
tilt_ranges = st.tuples(angles, angles).map(sorted).filter(lambda r: r[1] - r[0] > 1)


@given(tilt_ranges, angles, st.sampled_from("yx"), st.floats(-1, 1))
def test_a_projection_measures_its_central_slice(tilt_range, tilt, axis, along):
    # At tilt a the plane holds the tilt axis and the direction k_z = k tan a.
    across = math.cos(math.radians(tilt))
    beam = math.sin(math.radians(tilt))
    vector = [beam, along, across] if axis == "y" else [beam, across, along]
    lowest, highest = tilt_range
    if min(abs(tilt - lowest), abs(tilt - highest)) < 0.01:
        return  # on the wedge's face
    measured = single_axis(tilt_range, axis)(np.array(vector)[:, None])
    assert measured == (lowest < tilt < highest)


@given(tilt_ranges, tilt_ranges)
def test_weights_are_one_on_the_tilt_axis_and_those_of_either_series(first, second):
    vectors = fft_vectors((5, 4, 5))
    about_y, about_x = single_axis(first, "y")(vectors), single_axis(second, "x")
    assert about_y[0, :, 0].all()
    either = dual_axis(first, second)(vectors)
    np.testing.assert_array_equal(either, np.maximum(about_y, about_x(vectors)))


def test_a_full_range_and_no_tilt_measure_everything():
    vectors = fft_vectors((5, 4, 6))
    assert single_axis((-90, 90))(vectors).all()
    assert as_tilt("tilt", None)(vectors).all()


def test_a_pair_of_angles_is_a_series_about_y():
    vectors = fft_vectors((5, 4, 6))
    expected = single_axis((-50, 60), "y")(vectors)
    np.testing.assert_array_equal(as_tilt("tilt", [-50, 60])(vectors), expected)
    weights = dual_axis()
    assert as_tilt("tilt", weights) is weights


@pytest.mark.parametrize(
    "wrong", [(60, -60), (-91, 60), (-60, 91), (1, 1), (1, 2, 3), 60, "ab", (0, "x")]
)
def test_a_wrong_tilt_range_is_named(wrong):
    with pytest.raises((ValueError, TypeError), match=r"^tilt_range must be"):
        single_axis(wrong)
    with pytest.raises((ValueError, TypeError), match=r"^x_range must be"):
        dual_axis((-60, 60), wrong)
    with pytest.raises((ValueError, TypeError), match=r"^tilt must be"):
        as_tilt("tilt", wrong)


@pytest.mark.parametrize("wrong", ["z", None, 1, ["y"]])
def test_a_wrong_tilt_axis_is_named(wrong):
    with pytest.raises((ValueError, TypeError), match=r"^axis must be 'y' or 'x'"):
        single_axis((-60, 60), wrong)


@pytest.mark.parametrize(("axis", "waves"), [(0, 1), (1, 3), (2, 7)])
def test_a_filter_multiplies_a_wave_by_its_value_at_the_waves_frequency(axis, waves):
    shape, scale = (6, 8, 10), 0.4
    n = shape[axis]
    line = np.cos(np.pi * waves * (np.arange(n) + 0.5) / n)
    wave = np.ones(shape) * np.moveaxis(line[:, None, None], 0, axis)
    frequency = waves / (2 * n * scale)  # half waves over the box
    found = filter_image(wave, scale, lambda f: 1 / (1 + f))
    np.testing.assert_allclose(found, wave / (1 + frequency), atol=1e-6)


def test_a_gaussians_transfer_is_that_of_its_formula():
    for frequency, sigma in [(0.0, 1.0), (0.5, 1.0), (1.0, 0.3), (-1.0, 0.3)]:
        wanted = np.exp(-2 * np.pi**2 * sigma**2 * frequency**2)
        np.testing.assert_allclose(gaussian(np.array(frequency), sigma), wanted)
