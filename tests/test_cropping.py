"""Crops cut from tomograms: their voxels, their level, and what is taken out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe import Molecules
from funpipe.boxes.cropping import crop_pieces, cropped_boxes, crops_of
from funpipe.boxes.opening import open_tomogram, open_tomograms
from funpipe.simulate import asymmetric_molecule, blob_image, tomogram
from funpipe.space.crops import (
    Crops,
    Support,
    boxes_of,
    crop_shape,
    spectra,
    support_of,
    windows_of,
)
from funpipe.space.fourier import half_ball
from funpipe.space.tilts import no_tilt

SCALE = 0.5
SHAPE = (40, 44, 48)
BALL = Support((26.0, 26.0, 26.0), 11.0, (24, 24, 24))
BEADS_OUT = BALL._replace(bulk=1000)
BOX = Support((12.0, 9.0, 10.0), math.inf, (12, 9, 10))
MOLECULE = asymmetric_molecule(count=14, radius=3.0, sigma=0.7)


def noise(shape=SHAPE, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def cut(image, molecules, support=BALL, scale=SCALE):
    return crops_of(open_tomogram(image, molecules, scale), support)


def picks(count=4, seed=0, turned=True):
    random = np.random.default_rng(seed)
    positions = random.uniform(9, 11, (count, 3))
    return Molecules(
        positions,
        Rotation.random(count, rng=random) if turned else Rotation.identity(count),
    )


@pytest.mark.parametrize("support", [BALL, BOX])
def test_a_crop_holds_the_tomograms_voxels_and_where_the_particle_is(support):
    image, molecules = noise(), picks()
    crops = cut(image, molecules, support)
    for values, offset, position in zip(
        crops.values, crops.offsets, molecules.positions, strict=True
    ):
        assert np.abs(offset).max() <= 0.5
        middle = (np.array(values.shape) - 1) / 2
        first = position / SCALE - offset - middle
        np.testing.assert_allclose(first, first.round(), atol=1e-9)
        low = first.round().astype(int)
        there = image[tuple(map(slice, low, low + values.shape))]
        slope = np.polyfit(there.ravel(), values.ravel(), 1)
        np.testing.assert_allclose(np.polyval(slope, there), values, atol=1e-5)
    np.testing.assert_array_equal(crops.turns, molecules.rotations.as_matrix())


@pytest.mark.parametrize("support", [BALL, Support((24.0,) * 3, math.inf, (24,) * 3)])
def test_a_crop_has_the_transform_of_the_molecule_itself(support):
    molecules = picks()
    copies = [
        tomogram(MOLECULE, each, SHAPE, SCALE, noise=0, tilt=None) for each in molecules
    ]
    k = half_ball((24,) * 3, 3.0) / 24
    shape = crop_shape(support, np.eye(3)[None])
    itself = blob_image(MOLECULE, shape, SCALE)[None]
    frame = Crops(itself, np.zeros((1, 3)), np.eye(3)[None])
    expected = spectra(frame, k, support)[0]
    for image, each in zip(copies, molecules, strict=True):
        found = spectra(cut(image, each, support), k, support)[0]
        found *= np.vdot(found, expected).real / np.vdot(found, found).real
        assert np.linalg.norm(found - expected) < 0.01 * np.linalg.norm(expected)


def test_crops_have_a_level_and_a_scale_of_their_own():
    crops = cut(noise(), picks())
    w = windows_of(crops, BALL)
    mean = (w * crops.values).sum(axis=(1, 2, 3)) / w.sum()
    square = (w * crops.values**2).sum(axis=(1, 2, 3)) / w.sum()
    np.testing.assert_allclose(mean, 0, atol=1e-5)
    np.testing.assert_allclose(square, 1, rtol=1e-4)


@pytest.mark.parametrize(("level", "size"), [(3e8, 1.0), (1e30, 1e28), (-5e-30, 1e-31)])
def test_levels_and_scales_of_tomograms_do_not_matter(level, size):
    image, molecules = noise().astype(np.float64), picks()
    expected = cut(image, molecules).values
    found = cut(image * size + level, molecules).values
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("level", [0.0, 7.1, -3e30])
def test_a_crop_of_nothing_is_all_0(level):
    assert not cut(np.full(SHAPE, level), picks()).values.any()


@pytest.mark.parametrize("support", [BALL, BOX])
def test_what_lies_outside_has_the_weighted_mean_of_what_lies_inside(support):
    image = noise() + 5
    molecules = picks(2)
    molecules = Molecules([[1.0, 10.0, 10.0], [10.0, 10.0, 22.0]], molecules.rotations)
    crops = cut(image, molecules, support)
    outside = crops.values == 0
    assert (outside.mean(axis=(1, 2, 3)) > 0.1).all()
    w = windows_of(crops, support)
    inside = np.where(outside, 0, w)
    np.testing.assert_allclose(
        (inside * crops.values).sum(axis=(1, 2, 3)), 0, atol=0.02
    )


@pytest.mark.parametrize("support", [BALL, BOX])
def test_a_particle_alone_has_the_crop_that_it_has_among_others(support):
    image, molecules = noise(), picks(40)
    places = molecules.positions.copy()
    places[10:14] = 1.0, 10.0, 10.0  # all leave the tomogram alike
    image[10, 12, 14] = 1e3
    molecules = Molecules(places, molecules.rotations)
    together = cut(image, molecules, support)
    for i in (0, 10, 11, 13, 17, 39):
        alone = cut(image, molecules[i : i + 1], support)
        np.testing.assert_array_equal(alone.values[0], together.values[i])


def test_pieces_are_all_particles_tomogram_by_tomogram():
    images = {"a": noise(seed=1), "b": noise(seed=2)}
    molecules = picks(70)
    names = np.where(np.arange(70) % 3 == 0, "a", "b")
    molecules = Molecules(molecules.positions, molecules.rotations, {"tomogram": names})
    sources, _ = open_tomograms(images, molecules, SCALE, no_tilt, "tomogram")
    found = list(crop_pieces(sources, BALL, 32))
    indices = np.concatenate([each.indices for each in found])
    assert sorted(indices) == list(range(70))
    for piece in found:
        (name,) = set(names[piece.indices])
        expected = cut(images[name], molecules[piece.indices])
        np.testing.assert_array_equal(piece.crops.values, expected.values)
    some = list(cropped_boxes(sources, BALL).some_of(np.array([3, 4, 5])))
    assert sorted(np.concatenate([each.indices for each in some])) == [3, 4, 5]
    for piece in some:
        for values, i in zip(piece.crops.values, piece.indices, strict=True):
            alone = cut(images[names[i]], molecules[[i]])
            np.testing.assert_array_equal(values, alone.values[0])


def test_nan_is_said_once_with_the_particle_that_needs_it():
    image, molecules = noise(), picks(3)
    molecules = Molecules([[10, 10, 8], [10, 10, 10], [10, 10, 12]])
    image[20, 20, 37] = np.nan
    with pytest.raises(ValueError, match=r"NaN or infinity near molecules\[2\]"):
        cut(image, molecules)


# Outliers.


def ball(shape, middle, radius):
    grid = np.stack(np.indices(shape), -1)
    away = np.sqrt(np.square(grid - middle).sum(axis=-1))
    return np.clip(radius + 0.5 - away, 0, 1)


def test_gaussian_noise_has_no_outliers():
    image = noise((60, 60, 60))
    random = np.random.default_rng(0)
    molecules = Molecules(random.uniform(14, 45, (30, 3)))
    crops = cut(image, molecules, BEADS_OUT, 1.0)
    first = np.rint(molecules.positions - crops.offsets - 13).astype(int)
    for values, low in zip(crops.values, first, strict=True):
        there = image[tuple(map(slice, low, low + values.shape))]
        assert np.corrcoef(there.ravel(), values.ravel())[0, 1] > 1 - 1e-6


def test_without_noise_a_small_particle_is_no_outlier():
    molecule = asymmetric_molecule(count=6, radius=1.0, sigma=0.6)
    one = Molecules([[10.0, 11.0, 12.0]])
    image = tomogram(molecule, one, SHAPE, SCALE, noise=0, tilt=None)
    support = support_of(blob_image(molecule, (24,) * 3, SCALE)[None], (9.0, 9.0, 9.0))
    (values,) = cut(image, one, support).values
    assert (values > values.max() / 2).mean() < 0.03
    there = image[tuple(slice(None, n) for n in values.shape)]
    assert values.max() / values.std() == pytest.approx(there.max() / there.std(), 0.3)


def test_a_bead_of_gold_is_taken_out():
    image, one = noise(), Molecules([[10.0, 11.0, 12.0]])
    bead = ball(SHAPE, (20, 22, 33), 3.0)
    with_bead = cut(image + 50 * np.float32(bead), one, BEADS_OUT).values[0]
    without = cut(image, one, BEADS_OUT).values[0]
    assert np.abs(with_bead).max() < 9
    assert np.corrcoef(with_bead.ravel(), without.ravel())[0, 1] > 0.97


def test_a_bead_of_gold_beside_a_particle_moves_it_by_less_than_its_error():
    box = (32, 32, 32)
    template = blob_image(MOLECULE, box, SCALE)
    mask = fp.soft_otsu(0.3, 0.6)
    random = np.random.default_rng(4)
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    positions = (grid * 34 + 24.0) * SCALE + random.uniform(-0.4, 0.4, (27, 3))
    molecules = Molecules(positions, Rotation.random(27, rng=random))
    shape = (3 * 34 + 14,) * 3
    image = tomogram(MOLECULE, molecules, shape, SCALE, noise=1.0, tilt=None)
    masked = template * mask(template, SCALE)
    support = support_of(masked[None], (2.0, 2.0, 2.0))
    outline = support.radius - math.hypot(2, 2, 2)
    beads = np.zeros(shape)
    ways = Rotation.random(27, rng=random).apply([0, 0, 1])
    for position, way in zip(positions / SCALE, ways, strict=True):
        bead = ball(shape, position + way * (outline + 3), 2.5)
        beads = np.maximum(beads, bead)
    assert beads.sum() > 27 * 60
    signal = np.float32(50 * template.max())

    def poses(image):
        crops = crops_of(open_tomogram(image, molecules, SCALE), support)
        return fp.align_subtomograms(
            boxes_of(crops, box),
            template=template,
            mask=mask,
            scale=SCALE,
            max_shifts=1.0,
            rotations=((10, 5),) * 3,
            resolution=2.0,
            progress=False,
        )

    plain, beside = poses(image), poses(image + signal * np.float32(beads))
    moved = np.linalg.norm(plain.shifts - beside.shifts, axis=1)
    turned = np.degrees((plain.rotations.inv() * beside.rotations).magnitude())
    assert (moved < plain.shift_errors).all()
    assert (turned < plain.angle_errors).all()
