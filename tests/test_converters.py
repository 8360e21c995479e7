"""Filters and what moves, sizes and scales an image, against their definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st
from images import blob, moments, noise
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.space.geometry import centre, radius
from funpipe.space.symmetry import symmetry_group
from funpipe.testing.strategies import seeds, shapes

scales = st.sampled_from([0.25, 0.27, 1.0, 1.052])
cutoffs = st.floats(0.3, 20)
orders = st.integers(1, 8)


# Filters.


@st.composite
def waves(draw):
    """Plane waves that fit in a box by halves, their scale and their frequency."""
    scale = draw(scales)
    size = draw(st.integers(4, 16))
    wave = draw(st.integers(0, size - 1))
    axis = draw(st.integers(0, 2))
    x = (np.arange(size) + 0.5) * scale  # nm from the box's face
    frequency = wave / (2 * size * scale)
    shape = [2, 3, 4]
    shape[axis] = size
    line = np.cos(2 * np.pi * frequency * x)
    image = np.broadcast_to(
        np.expand_dims(line, [0, 1, 2][:axis] + [1, 2][axis:]), shape
    )
    return image, scale, frequency


def check_transfer(stage, wave, factor):
    image, scale, _ = wave
    np.testing.assert_allclose(stage(image, scale), factor * image, atol=2e-6)


@given(waves(), st.floats(0, 5))
def test_gaussian_filter_multiplies_a_wave_by_its_transfer(wave, sigma):
    factor = math.exp(-2 * (math.pi * sigma * wave[2]) ** 2)
    check_transfer(fp.gaussian_filter(sigma), wave, factor)


@given(waves(), cutoffs, orders)
def test_lowpass_filter_multiplies_a_wave_by_its_transfer(wave, cutoff, order):
    factor = 1 / (1 + (wave[2] * cutoff) ** (2 * order))
    check_transfer(fp.lowpass_filter(cutoff, order), wave, factor)


@given(waves(), cutoffs, orders)
def test_highpass_filter_multiplies_a_wave_by_its_transfer(wave, cutoff, order):
    factor = 1 - 1 / (1 + (wave[2] * cutoff) ** (2 * order))
    check_transfer(fp.highpass_filter(cutoff, order), wave, factor)


@given(waves(), cutoffs, cutoffs, orders)
def test_bandpass_filter_multiplies_a_wave_by_its_transfer(wave, one, other, order):
    low = 1 / (1 + (wave[2] * min(one, other)) ** (2 * order))
    high = 1 - 1 / (1 + (wave[2] * max(one, other)) ** (2 * order))
    check_transfer(fp.bandpass_filter(one, other, order), wave, low * high)


@given(st.integers(1, 8), st.floats(0.5, 20), st.sampled_from(["low", "high", "gauss"]))
def test_a_cutoff_means_the_same_at_every_scale(half_periods, length, kind):
    # One wave in a box of 12 nm, sampled at 1 nm and at 0.375 nm.
    stage = {
        "low": fp.lowpass_filter(length),
        "high": fp.highpass_filter(length),
        "gauss": fp.gaussian_filter(length / 10),
    }[kind]
    gains = []
    for scale in (1.0, 0.375):
        x = (np.arange(12 / scale) + 0.5) * scale
        wave = np.cos(np.pi * half_periods * x / 12)[None, None]
        gains.append((stage(wave, scale) * wave).sum() / (wave**2).sum())
    assert gains[0] == pytest.approx(gains[1], abs=1e-5)


@given(st.floats(0.3, 20), orders)
def test_the_amplitude_is_half_at_the_cutoff(cutoff, order):
    # A box of 8 periods of the cutoff, 8 voxels each.
    wave = np.cos(2 * np.pi * (np.arange(64) + 0.5) / 8)[:, None, None]
    scale = cutoff / 8
    for stage in (fp.lowpass_filter(cutoff, order), fp.highpass_filter(cutoff, order)):
        np.testing.assert_allclose(stage(wave, scale), wave / 2, atol=1e-5)


@given(seeds, shapes(8), scales, cutoffs, orders)
def test_lowpass_and_highpass_add_up_to_the_image(seed, shape, scale, cutoff, order):
    both = fp.lowpass_filter(cutoff, order) + fp.highpass_filter(cutoff, order)
    image = noise(seed, shape)
    np.testing.assert_allclose(both(image, scale), image, atol=1e-5)


@given(seeds, shapes(8), scales, cutoffs, cutoffs)
def test_bandpass_is_both_filters_in_either_order(seed, shape, scale, one, other):
    image = noise(seed, shape)
    fine, coarse = sorted((one, other))
    expected = (fp.lowpass_filter(fine) @ fp.highpass_filter(coarse))(image, scale)
    for band in (fp.bandpass_filter(one, other), fp.bandpass_filter(other, one)):
        np.testing.assert_allclose(band(image, scale), expected, atol=1e-6)


@given(seeds, shapes(8), scales, cutoffs)
def test_filters_keep_the_mean_or_take_it_away(seed, shape, scale, cutoff):
    image = noise(seed, shape) + 1
    mean = image.mean(dtype=float)
    for stage in (fp.gaussian_filter(cutoff), fp.lowpass_filter(cutoff)):
        assert stage(image, scale).mean(dtype=float) == pytest.approx(mean, abs=1e-5)
    for stage in (fp.highpass_filter(cutoff), fp.bandpass_filter(cutoff, 1.0)):
        assert stage(image, scale).mean(dtype=float) == pytest.approx(0, abs=1e-5)


MODES = ["reflect", "constant", "nearest", "mirror", "wrap"]


@pytest.mark.parametrize("mode", MODES)
@given(seeds, st.tuples(*[st.integers(2, 12)] * 3), st.floats(1.5, 4), scales)
@settings(max_examples=25)
def test_gaussian_filter_is_scipys_where_that_samples_its_kernel_well(
    mode, seed, shape, sigma, scale
):
    image = noise(seed, shape)
    expected = scipy.ndimage.gaussian_filter(
        image, sigma, mode=mode, cval=0.5, truncate=8
    )
    # The image goes on for 4 sigma, beyond which 6e-5 of a Gaussian lies.
    blurred = fp.gaussian_filter(sigma * scale, mode, 0.5)(image, scale)
    np.testing.assert_allclose(blurred, expected, atol=5e-4)


def test_gaussian_filter_by_nothing_changes_nothing():
    image = noise(0, (5, 6, 7))
    for mode in MODES:
        blurred = fp.gaussian_filter(0, mode)(image)
        np.testing.assert_allclose(blurred, image, atol=1e-6)


# Moving.

_NUMPY_MODES = ["symmetric", "constant", "edge", "reflect", "wrap"]


@pytest.mark.parametrize(
    "mode, numpy_mode", list(zip(MODES, _NUMPY_MODES, strict=True))
)
@given(seeds, st.tuples(*[st.integers(-4, 4)] * 3), st.integers(0, 5), scales)
@settings(max_examples=40)
def test_shift_moves_the_content_by_nm(mode, numpy_mode, seed, voxels, order, scale):
    image = noise(seed, (5, 6, 7))
    values = {"constant_values": 0.5} if mode == "constant" else {}
    padded = np.pad(image, 4, numpy_mode, **values)
    there = tuple(
        slice(4 - v, 4 - v + n) for v, n in zip(voxels, image.shape, strict=True)
    )
    nm = [v * scale for v in voxels]
    moved = fp.shift(nm, order, mode, 0.5)(image, scale)
    np.testing.assert_allclose(moved, padded[there], atol=2e-3)


@given(st.tuples(*[st.floats(-1.5, 1.5)] * 3), scales)
@settings(max_examples=50)
def test_shift_moves_by_parts_of_a_voxel(voxels, scale):
    shape = (23, 24, 25)
    moved = fp.shift(np.multiply(voxels, scale))(blob(shape, sigma=2.5), scale)
    expected = blob(shape, peak=voxels, sigma=2.5)
    np.testing.assert_allclose(moved, expected, atol=2e-3)  # what the spline misses


def test_shift_takes_its_order():
    step = np.zeros((1, 1, 6))
    step[..., 3:] = 1
    nearest = fp.shift((0, 0, 0.4), order=0)(step)
    linear = fp.shift((0, 0, 0.4), order=1)(step)
    np.testing.assert_allclose(nearest, step)
    np.testing.assert_allclose(linear[0, 0], [0, 0, 0, 0.6, 1, 1], atol=1e-6)


@given(st.tuples(*[st.floats(-2.5, 2.5)] * 3), scales)
@settings(max_examples=50)
def test_center_by_mass_brings_the_mass_to_the_centre(peak, scale):
    shape = (29, 30, 31)
    centred = fp.center_by_mass()(blob(shape, peak=peak, sigma=2.5), scale)
    np.testing.assert_allclose(moments(centred, 1.0).centre, 0, atol=0.01)
    np.testing.assert_allclose(centred, blob(shape, sigma=2.5), atol=3e-3)


@pytest.mark.parametrize("image", [np.zeros((3, 3, 3)), -np.ones((3, 3, 3))])
def test_what_has_no_centre_of_mass_is_refused(image):
    with pytest.raises(ValueError, match=r"^center_by_mass: .* must be above 0 .* not"):
        fp.center_by_mass()(image)
    with pytest.raises(ValueError, match="center_by_mass"):
        (fp.center_by_mass() @ fp.normalize())(noise(0, (4, 4, 4)))


@pytest.mark.parametrize("size", [6, 7])
def test_rotate_puts_at_the_turned_place_what_was_there(size):
    image = noise(1, (size,) * 3)
    middle = centre(image.shape)
    for each in Rotation.create_group("O"):
        rotation = Rotation.from_matrix(each.as_matrix().round())
        rotated = fp.rotate(rotation)(image)
        for q in itertools.product(range(size), repeat=3):
            there = rotation.apply(np.subtract(q, middle)) + middle
            there = tuple(there.round().astype(int))
            assert rotated[there] == pytest.approx(image[q], abs=1e-5)


@given(seeds)
@settings(max_examples=25)
def test_rotate_takes_the_peak_to_r_of_it_and_composes(seed):
    first, second = Rotation.from_quat(np.random.default_rng(seed).normal(size=(2, 4)))
    peak = np.array([3.0, -2.0, 1.0])
    image = blob((24, 25, 25), 1.0, peak, 2.0)
    rotated = fp.rotate(first)(image)
    np.testing.assert_allclose(
        moments(rotated, 1.0).centre, first.apply(peak), atol=0.01
    )
    twice = (fp.rotate(second) @ fp.rotate(first))(image)
    once = fp.rotate(second * first)(image)
    np.testing.assert_allclose(twice, once, atol=1e-2)


def test_rotate_takes_a_vector_in_degrees():
    image = noise(2, (5, 5, 5))
    turn = Rotation.from_rotvec([0, 90, 0], degrees=True)
    expected = fp.rotate(turn)(image)
    np.testing.assert_allclose(fp.rotate((0, 90, 0))(image), expected, atol=1e-5)


# Sizing.

parities = pytest.mark.parametrize(
    "size, new_size",
    [*itertools.product([24, 25], [18, 19, 30, 31]), (24, 25), (25, 24)],
)


@parities
@pytest.mark.parametrize("scale", [0.27, 1.0])
def test_crop_or_pad_keeps_the_centre_in_its_place(size, new_size, scale):
    peak = (0.6 * scale, -1.2 * scale, 0.0)
    image = blob((size, 24, 25), scale, peak, 1.5 * scale)
    sized = fp.crop_or_pad(new_size * scale)(image, scale)
    expected = blob((new_size,) * 3, scale, peak, 1.5 * scale)
    np.testing.assert_allclose(sized, expected, atol=2e-4)


@given(
    seeds, shapes(8), st.tuples(*[st.integers(0, 6)] * 3), st.floats(-5, 5, width=32)
)
def test_crop_undoes_pad_by_whole_voxels(seed, shape, more, cval):
    image = noise(seed, shape)
    larger = tuple(n + 2 * m for n, m in zip(shape, more, strict=True))
    padded = fp.crop_or_pad(larger, cval)(image)
    widths = [(m, m) for m in more]
    np.testing.assert_array_equal(padded, np.pad(image, widths, constant_values=cval))
    np.testing.assert_array_equal(fp.crop_or_pad(shape)(padded), image)


@given(seeds, shapes(8), shapes(8), scales)
def test_crop_or_pad_gives_the_size_asked_for(seed, shape, wanted, scale):
    image = noise(seed, shape)
    sized = fp.crop_or_pad([n * scale for n in wanted])(image, scale)
    assert sized.shape == wanted
    assert sized.dtype == np.float32
    assert np.isfinite(sized).all()


def test_crop_or_pad_rounds_to_whole_voxels_and_takes_one_number():
    image = np.zeros((4, 4, 4))
    assert fp.crop_or_pad(1.3)(image, 0.5).shape == (3, 3, 3)
    assert fp.crop_or_pad((0.1, 1.2, 3.0))(image, 0.5).shape == (1, 2, 6)


# Values.


@given(seeds, shapes(8), st.floats(-1e4, 1e4), st.floats(0.1, 1e4))
def test_normalize_gives_a_mean_of_0_and_a_deviation_of_1(seed, shape, offset, gain):
    image = (gain * noise(seed, (*shape[:2], shape[2] + 1)) + offset).astype(np.float32)
    normal = fp.normalize()(image)
    assert normal.mean(dtype=float) == pytest.approx(0, abs=1e-5)
    assert normal.std(dtype=float) == pytest.approx(1, abs=1e-5)
    expected = (image - image.mean(dtype=float)) / image.std(dtype=float)
    np.testing.assert_allclose(normal, expected, rtol=1e-5, atol=1e-5)


@given(shapes(8), st.floats(-1e30, 1e30))
def test_normalize_makes_a_constant_0(shape, level):
    assert not fp.normalize()(np.full(shape, level)).any()


@given(seeds, shapes(8))
def test_invert_is_the_negative_and_its_own_inverse(seed, shape):
    image = noise(seed, shape)
    np.testing.assert_array_equal(fp.invert()(image), -image)
    np.testing.assert_array_equal((fp.invert() @ fp.invert())(image), image)


# Symmetry.


def particle(shape):
    """Return an asymmetric group of blobs that stays in the box when it turns."""
    peaks = [(0, 0, 6), (3, -4, 2), (-5, 1, -1), (0.5, 5, 3)]
    return sum(blob(shape, 1.0, p, 2.0) * (i + 1) for i, p in enumerate(peaks))


@pytest.mark.parametrize(
    "name", ["C1", "C2", "C3", "C4", "C5", "C6", "C7", "D2", "D3", "D7", "T", "O", "I"]
)
@pytest.mark.parametrize("shape", [(28, 28, 28), (29, 29, 29)])
def test_what_was_symmetrized_looks_alike_after_each_rotation(name, shape):
    image = particle(shape)
    symmetric = fp.symmetrize(name)(image)
    group = symmetry_group(name)
    inside = radius(shape) < 12
    for rotation in group[:: max(1, len(group) // 5)]:
        turned = fp.rotate(rotation)(symmetric)
        np.testing.assert_allclose(turned[inside], symmetric[inside], atol=0.02)
    if name != "C1":  # which the image itself is not
        turned = fp.rotate(group[-1])(image)
        assert np.abs(turned - image).max() > 0.5


@pytest.mark.parametrize("name", ["C3", "D2", "T"])
def test_symmetrize_is_the_mean_of_the_rotations_and_keeps_the_mass(name):
    image = particle((28, 28, 28))
    rotated = [fp.rotate(each)(image) for each in symmetry_group(name)]
    symmetric = fp.symmetrize(name)(image)
    np.testing.assert_allclose(symmetric, np.mean(rotated, axis=0), atol=1e-5)
    assert symmetric.sum() == pytest.approx(image.sum(), rel=1e-3)


def test_symmetrize_by_c1_changes_nothing():
    image = noise(3, (5, 6, 7))
    np.testing.assert_allclose(fp.symmetrize("C1")(image), image, atol=1e-5)


# All of them.

STAGES = [
    *[fp.gaussian_filter(1.0, mode) for mode in MODES],
    fp.lowpass_filter(2.0),
    fp.highpass_filter(2.0),
    fp.bandpass_filter(5.0, 2.0),
    fp.shift((0.5, 0.0, -1.0)),
    fp.rotate((10, 20, 30)),
    fp.center_by_mass() @ abs(fp.identity),
    fp.crop_or_pad(3.0),
    fp.normalize(),
    fp.invert(),
    fp.symmetrize("C3"),
]


@pytest.mark.parametrize("stage", STAGES, ids=str)
@given(seeds, shapes(8), scales)
@settings(max_examples=20)
def test_a_converter_gives_a_finite_float32_image_of_its_own(stage, seed, shape, scale):
    image = noise(seed, shape)
    before = image.copy()
    result = stage(image, scale)
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    assert np.isfinite(result).all()
    assert not np.shares_memory(result, image)
    np.testing.assert_array_equal(image, before)
    if "crop_or_pad" not in str(stage):
        assert result.shape == image.shape


@pytest.mark.parametrize(
    "make, name",
    [
        (lambda: fp.gaussian_filter(-1), "gaussian_filter: sigma"),
        (lambda: fp.gaussian_filter("1"), "gaussian_filter: sigma"),
        (lambda: fp.gaussian_filter(1, "periodic"), "gaussian_filter: mode"),
        (lambda: fp.gaussian_filter(1, ["wrap"]), "gaussian_filter: mode"),
        (lambda: fp.gaussian_filter(1, cval=None), "gaussian_filter: cval"),
        (lambda: fp.lowpass_filter(0), "lowpass_filter: cutoff"),
        (lambda: fp.lowpass_filter(1, 0), "lowpass_filter: order"),
        (lambda: fp.lowpass_filter(1, 1.5), "lowpass_filter: order"),
        (lambda: fp.highpass_filter(-2), "highpass_filter: cutoff"),
        (lambda: fp.highpass_filter(math.inf), "highpass_filter: cutoff"),
        (lambda: fp.highpass_filter(1, "2"), "highpass_filter: order"),
        (lambda: fp.bandpass_filter(0, 1), "bandpass_filter: longest"),
        (lambda: fp.bandpass_filter(1, 0), "bandpass_filter: shortest"),
        (lambda: fp.bandpass_filter(2, 1, -1), "bandpass_filter: order"),
        (lambda: fp.shift((1, 2)), "shift: shift"),
        (lambda: fp.shift((1, 2, math.nan)), "shift: shift"),
        (lambda: fp.shift([1, [2, 3], 4]), "shift: shift"),
        (lambda: fp.shift("abc"), "shift: shift"),
        (lambda: fp.shift((1, 2, 3), 6), "shift: order"),
        (lambda: fp.shift((1, 2, 3), "3"), "shift: order"),
        (lambda: fp.shift((1, 2, 3), [3]), "shift: order"),
        (lambda: fp.shift((1, 2, 3), 3, "grid-wrap"), "shift: mode"),
        (lambda: fp.shift((1, 2, 3), cval="0"), "shift: cval"),
        (lambda: fp.rotate(30), "rotate: rotation"),
        (lambda: fp.rotate((1, 2)), "rotate: rotation"),
        (lambda: fp.rotate(Rotation.identity(2)), "rotate: rotation"),
        (lambda: fp.rotate((1, 2, 3), -1), "rotate: order"),
        (lambda: fp.center_by_mass(2.5), "center_by_mass: order"),
        (lambda: fp.crop_or_pad(0), "crop_or_pad: shape"),
        (lambda: fp.crop_or_pad((1, 2, -3)), "crop_or_pad: shape"),
        (lambda: fp.crop_or_pad(1, "a"), "crop_or_pad: cval"),
        (lambda: fp.symmetrize("C0"), "symmetrize: symmetry"),
        (lambda: fp.symmetrize("c3"), "symmetrize: symmetry"),
        (lambda: fp.symmetrize("I1"), "symmetrize: symmetry"),
        (lambda: fp.symmetrize(4), "symmetrize: symmetry"),
    ],
)
def test_a_wrong_argument_is_named_with_its_stage(make, name):
    with pytest.raises((TypeError, ValueError), match=f"^{name} must be .*, not "):
        make()


@pytest.mark.parametrize(
    "stage, name",
    [
        (fp.gaussian_filter(1e6, mode="constant"), "sigma"),
        (fp.gaussian_filter(1e300, mode="wrap"), "sigma"),
        (fp.crop_or_pad(1e6), "shape"),
        (fp.closing(1e6), "radius"),
        (fp.closing(-1e300), "radius"),
    ],
    ids=repr,
)
def test_what_asks_for_a_box_of_too_many_voxels_is_refused(stage, name):
    image = np.arange(64.0).reshape(4, 4, 4)
    with pytest.raises(ValueError, match=f"{name} must give a box of .* voxels or few"):
        stage(image)


@pytest.mark.parametrize("bins", [10**12, 2**20 + 1])
def test_more_bins_than_a_histogram_has_use_for_are_refused(bins):
    for stage in (fp.threshold_otsu, fp.soft_otsu):
        with pytest.raises(ValueError, match=r"bins must be .* from 1 to 1048576"):
            stage(bins=bins)


@pytest.mark.parametrize("scale", [1e-6, 1e-300])
def test_a_scale_that_asks_for_a_box_of_too_many_voxels_is_refused(scale):
    with pytest.raises(ValueError, match=r"scale .* must give a box of .* or fewer"):
        fp.from_array(np.eye(4)[None], scale=1.0)(scale)
