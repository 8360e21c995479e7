"""Masks, against loops over pairs of voxels and against scikit-image."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.filters import threshold_otsu as skimage_threshold_otsu

import funpipe as fp
from funpipe.testing.strategies import seeds, shapes

scales = st.sampled_from([0.25, 0.27, 0.5, 1.0, 1.052])
radii = st.floats(0, 3)  # voxels


def clear(radius):
    """Tell whether no voxel's distance is almost the radius, without being it."""
    square = radius * radius
    return square == round(square) or abs(square - round(square)) > 1e-5


clear_radii = radii.filter(clear)


@st.composite
def masks(draw):
    """Masks of few or many voxels, also of none or all."""
    shape, part = draw(shapes(6)), draw(st.sampled_from([0, 0.02, 0.1, 0.5, 0.9, 1]))
    chance = np.random.default_rng(draw(seeds)).random(shape)
    return (chance < part).astype(np.float32)


def voxels(shape):
    return np.array(list(itertools.product(*map(range, shape))))


def distances(mask, scale):
    """Return each voxel's distance to the mask in nm, from all pairs of voxels."""
    inside, everywhere = np.argwhere(mask), voxels(mask.shape)
    if not len(inside):
        return np.full(mask.shape, np.inf)
    pairs = everywhere[:, None] - inside[None]
    shortest = np.sqrt((pairs**2).sum(-1).min(1))
    return scale * shortest.reshape(mask.shape)


def dilated(inside, radius):
    """Grow a mask by a radius in voxels, or shrink it, from all pairs of voxels."""
    if radius < 0:
        return ~dilated(~inside, -radius)
    return np.rint(distances(inside, 1.0) ** 2) <= radius * radius


def softened(inside, sigma, scale):
    """Let a mask fall off like a Gaussian, by the distances of all pairs of voxels."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        fall = np.exp(-((distances(inside, scale) / sigma) ** 2) / 2)
    return np.where(inside, 1, fall)


# Otsu's threshold.


@given(seeds, st.sampled_from([2, 3, 17, 256, 1000]))
def test_otsu_makes_the_mask_of_scikit_image(seed, bins):
    random = np.random.default_rng(seed)
    image = random.normal(size=(6, 7, 8)).astype(np.float32)
    image[random.random(image.shape) < random.random()] += 10 * random.random()
    image = image * np.float32(10.0 ** random.integers(-4, 5))
    level = skimage_threshold_otsu(image.astype(np.float64), bins)
    mask = fp.threshold_otsu(bins)(image)
    np.testing.assert_array_equal(mask, image > level)
    assert 0 < mask.sum() < mask.size


@given(seeds, st.floats(0.1, 1e4), st.floats(-1e3, 1e3))
def test_otsu_does_not_ask_for_units(seed, gain, offset):
    # Two clear classes. The level is the centre of the last bin below the gap.
    image = np.random.default_rng(seed).choice([0, 1, 10, 11], (5, 5, 5))
    image.flat[:2] = 0, 11
    scaled = fp.threshold_otsu()(gain * image + gain * offset)
    np.testing.assert_array_equal(scaled, image > 5)


@pytest.mark.parametrize("level", [0, 1, -1e6, 1e-6, 3e38])
def test_otsu_finds_one_voxel_that_differs_by_one_bit(level):
    image = np.full((3, 3, 3), level, np.float32)
    image[1, 2, 0] = np.nextafter(np.float32(level), np.float32(np.inf))
    mask = fp.threshold_otsu()(image)
    assert np.argwhere(mask).tolist() == [[1, 2, 0]]


@given(seeds, st.floats(-2, 2, width=32))
def test_the_threshold_is_exclusive(seed, level):
    image = np.random.default_rng(seed).normal(size=(3, 4, 5)).astype(np.float32)
    image[0, 0, 0] = level
    np.testing.assert_array_equal(fp.threshold(level)(image), image > level)


# Growing and shrinking.


@given(masks(), clear_radii, scales)
def test_dilation_takes_all_voxels_within_the_radius(mask, radius, scale):
    expected = dilated(mask > 0, radius)
    np.testing.assert_array_equal(fp.dilation(radius * scale)(mask, scale), expected)


@given(masks(), st.integers(0, 12), scales)
def test_a_distance_of_exactly_the_radius_is_inside(mask, square, scale):
    voxels_away = np.rint(distances(mask, 1.0) ** 2)
    grown = fp.dilation(math.sqrt(square) * scale)(mask, scale)
    np.testing.assert_array_equal(grown, voxels_away <= square)
    shrunk = fp.dilation(-math.sqrt(square) * scale)(1 - mask, scale)
    lost = voxels_away <= square if square else mask > 0
    np.testing.assert_array_equal(shrunk, ~lost)


@given(masks(), radii, scales)
def test_erosion_is_the_complement_of_the_dilated_complement(mask, radius, scale):
    radius = radius * scale
    shrunk = fp.dilation(-radius)(mask, scale)
    grown = (~fp.dilation(radius) @ ~fp.identity)(mask, scale)
    np.testing.assert_array_equal(shrunk, grown)


@given(masks(), radii, radii, scales)
def test_dilation_grows_with_its_radius(mask, radius, more, scale):
    small = fp.dilation(radius * scale)(mask, scale)
    large = fp.dilation((radius + more) * scale)(mask, scale)
    assert (mask <= small).all()
    assert (small <= large).all()


@given(masks(), radii)
def test_the_radius_is_a_length_in_nm(mask, radius):
    fine = fp.dilation(radius * 0.5)(mask, 0.5)
    np.testing.assert_array_equal(fine, fp.dilation(radius)(mask, 1.0))


def within(radius):
    reach = math.ceil(radius) + 1
    ball = itertools.product(range(-reach, reach + 1), repeat=3)
    return [q for q in ball if sum(x * x for x in q) <= radius * radius]


def naive_closing(mask, radius):
    """Close by the definition, voxel by voxel, in endless space."""
    inside = set(map(tuple, np.argwhere(mask).tolist()))
    ball = within(radius)
    grown = {(a + z, b + y, c + x) for a, b, c in inside for z, y, x in ball}
    closed = np.zeros_like(mask)
    for a, b, c in voxels(mask.shape).tolist():
        closed[a, b, c] = all((a + z, b + y, c + x) in grown for z, y, x in ball)
    return closed


@given(masks(), st.sampled_from([1, 1.5, 2, 3]) | clear_radii, scales)
def test_closing_is_the_definition_in_endless_space(mask, radius, scale):
    closed = fp.closing(radius * scale)(mask, scale)
    np.testing.assert_array_equal(closed, naive_closing(mask, radius))
    opened = fp.closing(-radius * scale)(1 - mask, scale)
    np.testing.assert_array_equal(opened, 1 - naive_closing(mask, radius))


@given(masks(), radii, scales)
def test_closing_loses_nothing_and_twice_is_once(mask, radius, scale):
    close = fp.closing(radius * scale)
    closed = close(mask, scale)
    assert (closed >= mask).all()
    np.testing.assert_array_equal(close(closed, scale), closed)


@given(masks(), radii, scales)
def test_opening_gains_nothing_and_twice_is_once(mask, radius, scale):
    open_ = fp.closing(-radius * scale)
    opened = open_(mask, scale)
    assert (opened <= mask).all()
    np.testing.assert_array_equal(open_(opened, scale), opened)


def test_closing_fills_a_hole_and_opening_removes_a_speck():
    block = np.zeros((9, 9, 9))
    block[3:8, 3:8, 3:8] = 1
    holed, specked = block.copy(), block.copy()
    holed[5, 5, 5] = 0
    specked[1, 1, 1] = 1
    np.testing.assert_array_equal(fp.closing(1.0)(holed), block)
    opened = fp.closing(-1.0)(specked)
    np.testing.assert_array_equal(opened, fp.closing(-1.0)(block))
    assert opened.sum() == 125 - 44  # the 12 edges of 5 voxels, 8 corners shared by 3


@given(masks(), radii)
def test_voxels_of_a_half_and_more_are_inside(mask, radius):
    soft = np.where(mask > 0, 0.5, np.nextafter(np.float32(0.5), np.float32(0)))
    for stage in (fp.dilation(radius), fp.closing(radius), fp.gaussian_smooth(radius)):
        np.testing.assert_array_equal(stage(soft), stage(mask))


# Soft edges.


@given(masks(), st.floats(0, 3), scales)
def test_gaussian_smooth_falls_off_with_the_distance(mask, sigma, scale):
    sigma = sigma * scale
    expected = softened(mask > 0, sigma, scale)
    smooth = fp.gaussian_smooth(sigma)(mask, scale)
    np.testing.assert_allclose(smooth, expected, atol=1e-6)


@given(masks(), st.floats(0, 5), scales)
def test_the_cosine_edge_falls_off_with_the_distance(mask, width, scale):
    width = width * scale
    away = distances(mask, scale)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        fall = 0.5 + 0.5 * np.cos(np.pi * np.minimum(away / width, 1))
        expected = np.where(mask > 0, 1, np.where(away < width, fall, 0))
    edge = fp.cosine_edge(width)(mask, scale)
    np.testing.assert_allclose(edge, expected, atol=1e-6)


@pytest.mark.parametrize("soften", [fp.gaussian_smooth, fp.cosine_edge])
@pytest.mark.parametrize("width", [0.0, 5e-324, 1e-30, 1e-3])
def test_an_edge_thinner_than_a_voxel_is_none(soften, width):
    mask = np.eye(4)[None] * np.ones((3, 1, 1))
    np.testing.assert_array_equal(soften(width)(mask), mask)


signed_radii = clear_radii | clear_radii.map(lambda radius: -radius)


@given(seeds, st.floats(0, 2), signed_radii, st.integers(2, 300), scales)
def test_soft_otsu_is_a_threshold_grown_by_the_radius_that_falls_off(
    seed, sigma, radius, bins, scale
):
    image = np.random.default_rng(seed).normal(size=(5, 6, 7)).astype(np.float32)
    inside = image > skimage_threshold_otsu(image.astype(np.float64), bins)
    expected = softened(dilated(inside, radius), sigma, scale)
    mask = fp.soft_otsu(sigma, radius * scale, bins)(image, scale)
    np.testing.assert_allclose(mask, expected, atol=1e-6)


def test_a_mask_describes_the_same_object_at_several_scales():
    ball = fp.from_gaussian(18.0, sigma=3.0)
    mask = fp.soft_otsu(sigma=0.5, radius=1.0) @ ball
    volumes = [mask(scale).sum() * scale**3 for scale in (0.25, 0.4, 0.5)]
    radii = np.cbrt(0.75 / math.pi * np.array(volumes))
    # Distances are between centres of voxels: half a voxel at the surface is open.
    assert np.ptp(radii) < 0.5 / 2
    assert radii.min() > 5


# Bodies.

points = st.tuples(*[st.floats(-2, 2)] * 3)


@given(shapes(6), scales, st.floats(0.01, 3), points)
def test_a_sphere_holds_what_is_within_its_radius(shape, scale, radius, shift):
    ball = fp.sphere(radius, shift)(np.zeros(shape), scale)
    for q in voxels(shape):
        away = (q - (np.array(shape) - 1) / 2) * scale - shift
        if abs(np.linalg.norm(away) - radius) > 1e-5:
            assert ball[tuple(q)] == (np.linalg.norm(away) < radius)


@given(shapes(6), scales, st.floats(0.01, 3), st.floats(0.01, 5), points, st.data())
def test_a_cylinder_holds_what_is_within_its_radius_and_height(
    shape, scale, radius, height, shift, data
):
    axis = data.draw(st.sampled_from("zyx"))
    body = fp.cylinder(radius, height, axis, shift)(np.zeros(shape), scale)
    for q in voxels(shape):
        away = (q - (np.array(shape) - 1) / 2) * scale - shift
        along = abs(away["zyx".index(axis)])
        across = np.linalg.norm(np.delete(away, "zyx".index(axis)))
        if abs(across - radius) > 1e-5 and abs(along - height / 2) > 1e-5:
            assert body[tuple(q)] == (across < radius and along < height / 2)


@pytest.mark.parametrize("scale", [0.1, 0.27, 0.3, 0.7, 1.052])
def test_the_surface_of_a_body_belongs_to_it(scale):
    box = np.zeros((9, 9, 9))
    ball = fp.sphere(3 * scale)(box, scale)  # 3² = 2² + 2² + 1²
    assert ball[4, 4, 7] == ball[6, 6, 5] == 1
    assert ball.sum() == sum(np.square(q - 4).sum() <= 9 for q in voxels(box.shape))
    rod = fp.cylinder(3 * scale, 6 * scale)(box, scale)
    assert rod[7, 4, 7] == 1
    assert rod.sum() == 7 * 29  # lattice points in a disc of radius 3: OEIS A000328


# All of them.

STAGES = [
    fp.threshold(0.5),
    fp.threshold_otsu(),
    fp.dilation(1.0),
    fp.dilation(-1.0),
    fp.closing(1.0),
    fp.closing(-1.0),
    fp.gaussian_smooth(1.0),
    fp.gaussian_smooth(0.0),
    fp.cosine_edge(1.0),
    fp.cosine_edge(0.0),
    fp.soft_otsu(),
    fp.soft_otsu(0.0, -1.0, 1),
]


@pytest.mark.parametrize("stage", STAGES, ids=repr)
@given(st.floats(-1e30, 1e30) | st.sampled_from([0, 0.5, 1]), shapes(6), scales)
@settings(max_examples=30)
def test_a_constant_image_gives_a_constant_finite_mask(stage, level, shape, scale):
    mask = stage(np.full(shape, level), scale)
    assert mask.shape == shape
    assert mask.dtype == np.float32
    assert mask.flat[0] in (0, 1)
    assert (mask == mask.flat[0]).all()


@pytest.mark.parametrize("stage", [*STAGES, fp.sphere(1.0), fp.cylinder(1.0, 1.0)])
@given(seeds, shapes(6), scales)
@settings(max_examples=20)
def test_a_mask_lies_from_0_to_1_and_leaves_its_input_alone(stage, seed, shape, scale):
    image = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    before = image.copy()
    mask = stage(image, scale)
    assert (mask >= 0).all()
    assert (mask <= 1).all()
    assert not np.shares_memory(mask, image)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    "make, name",
    [
        (lambda: fp.threshold("high"), "threshold: level"),
        (lambda: fp.threshold(math.nan), "threshold: level"),
        (lambda: fp.threshold_otsu(0), "threshold_otsu: bins"),
        (lambda: fp.threshold_otsu(2.5), "threshold_otsu: bins"),
        (lambda: fp.threshold_otsu(True), "threshold_otsu: bins"),
        (lambda: fp.dilation(math.inf), "dilation: radius"),
        (lambda: fp.dilation((1, 2, 3)), "dilation: radius"),
        (lambda: fp.closing(None), "closing: radius"),
        (lambda: fp.gaussian_smooth(-1), "gaussian_smooth: sigma"),
        (lambda: fp.cosine_edge(-0.1), "cosine_edge: width"),
        (lambda: fp.cosine_edge([1.0]), "cosine_edge: width"),
        (lambda: fp.soft_otsu(sigma=-1), "soft_otsu: sigma"),
        (lambda: fp.soft_otsu(radius="1"), "soft_otsu: radius"),
        (lambda: fp.soft_otsu(bins=0), "soft_otsu: bins"),
        (lambda: fp.sphere(0), "sphere: radius"),
        (lambda: fp.sphere(1, (1, 2)), "sphere: shift"),
        (lambda: fp.cylinder(-1, 1), "cylinder: radius"),
        (lambda: fp.cylinder(1, 0), "cylinder: height"),
        (lambda: fp.cylinder(1, 1, "w"), "cylinder: axis"),
        (lambda: fp.cylinder(1, 1, ["z"]), "cylinder: axis"),
        (lambda: fp.cylinder(1, 1, "z", (1, math.nan, 1)), "cylinder: shift"),
    ],
)
def test_a_wrong_argument_is_named_with_its_stage(make, name):
    with pytest.raises((TypeError, ValueError), match=f"^{name} must be .*, not "):
        make()
