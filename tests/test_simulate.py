"""Simulation from maps, against the exact images of blobs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.simulate import (
    asymmetric_molecule,
    blob_image,
    blob_spectrum,
    map_image,
    particles,
    pose_bound,
    tomogram,
)
from funpipe.space.fourier import half_ball
from funpipe.space.tilts import as_tilt

BLOBS = asymmetric_molecule(radius=4.0)
TURN = Rotation.from_euler("ZYX", [40, -70, 15], degrees=True)
SCALE = 0.8
SHAPE = (24, 24, 24)
MAP = blob_image(BLOBS, SHAPE, SCALE)
TRUTH = fp.Molecules(
    [[10.1, 9.7, 11.3], [9.9, 24.2, 12.0]],
    Rotation.concatenate([TURN, TURN.inv() * TURN.inv()]),
)


def worst(found: np.ndarray, exact: np.ndarray) -> float:
    """The largest difference, in parts of the largest voxel."""
    return float(abs(found - exact).max() / abs(exact).max())


@pytest.mark.parametrize("rotation", [None, TURN])
@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (0.3, -0.7, 1.1)])
def test_a_turned_map_is_the_turned_molecule(rotation, shift):
    found = map_image(MAP, SHAPE, SCALE, rotation, shift)
    assert found.dtype == np.float32
    assert worst(found, blob_image(BLOBS, SHAPE, SCALE, rotation, shift)) < 2e-3


def test_the_image_may_have_another_box_even_or_odd():
    box = (21, 26, 30)
    exact = blob_image(BLOBS, box, SCALE, TURN)
    assert worst(map_image(MAP, box, SCALE, TURN), exact) < 2e-3


def test_outside_the_maps_box_is_nothing():
    wide = map_image(np.ones((4, 4, 4)), (12, 12, 12), 1.0)
    assert wide[:3].max() == wide[9:].max() == 0
    np.testing.assert_allclose(wide[4:8, 4:8, 4:8], 1, atol=1e-5)


def test_a_tomogram_of_maps_is_that_of_blobs():
    made, exact = (
        tomogram(each, TRUTH, (26, 44, 28), SCALE, noise=0.3, seed=4)
        for each in (MAP, BLOBS)
    )
    assert worst(made, exact) < 2e-3


def test_what_leaves_the_tomogram_is_cut_off():
    edge = fp.Molecules([[1.0, 2.0, 30.0], [-3.0, 5.0, 5.0]])
    made, exact = (
        tomogram(each, edge, (16, 16, 40), SCALE, noise=0) for each in (MAP, BLOBS)
    )
    assert worst(made, exact) < 2e-3


def test_particles_of_maps_are_those_of_blobs():
    made, exact = (
        particles(each, SHAPE, SCALE, 3, shift=1.0, noise=0.2) for each in (MAP, BLOBS)
    )
    assert worst(made.boxes, exact.boxes) < 2e-3
    np.testing.assert_array_equal(made.shifts, exact.shifts)


def test_the_bound_is_that_of_spectra_at_poses_a_small_step_apart():
    made = particles(BLOBS, SHAPE, SCALE, 3, angle=50.0)
    resolution, noise, step = 4.0 * SCALE, 0.3, 1e-4
    k = half_ball(SHAPE, 4.0) / (np.array(SHAPE) * SCALE)
    expected = []
    for orientation, rotation, shift in zip(
        made.orientations, made.rotations, made.shifts, strict=True
    ):
        seen = k[as_tilt("tilt", (-60, 60))(orientation.apply(k).T) > 0]

        def spectrum(pose, rotation=rotation, shift=shift, seen=seen):
            turn = rotation * Rotation.from_rotvec(pose[:3])
            phase = np.exp(-2j * np.pi * (seen @ (shift + pose[3:])))
            return blob_spectrum(BLOBS, seen, SCALE, turn) * phase

        rates = [spectrum(each) - spectrum(-each) for each in step * np.eye(6)]
        B = np.array(rates) / (2 * step)
        s2 = np.prod(SHAPE) * noise**2 / 2
        variance = s2 * np.diag(np.linalg.inv((B.conj() @ B.T).real))
        expected.append(np.sqrt([variance[:3].sum(), variance[3:].sum()]))
    angles, distances = np.transpose(expected)
    found = pose_bound(BLOBS, made, SCALE, resolution=resolution, noise=noise)
    np.testing.assert_allclose(found, [np.degrees(angles), distances], rtol=1e-5)


def test_a_provider_is_called_with_the_scale():
    # Of 0.4 nm per voxel, half as far apart.
    provider = fp.from_array(blob_image(BLOBS, (48, 48, 48), 0.4), scale=0.4)
    made = tomogram(provider, TRUTH, (26, 44, 28), SCALE, noise=0)
    exact = tomogram(BLOBS, TRUTH, (26, 44, 28), SCALE, noise=0)
    assert worst(made, exact) < 2e-3
    again = tomogram(provider(SCALE), TRUTH, (26, 44, 28), SCALE, noise=0)
    np.testing.assert_array_equal(made, again)


def test_a_map_is_not_changed():
    image = MAP.copy()
    tomogram(image, TRUTH, (26, 44, 28), SCALE, noise=0)
    np.testing.assert_array_equal(image, MAP)


@pytest.mark.parametrize(
    "wrong", ["map.mrc", np.ones((3, 3)), np.full((3, 3, 3), np.nan), None]
)
def test_what_is_no_molecule_is_named(wrong):
    with pytest.raises((TypeError, ValueError), match="molecule must be"):
        tomogram(wrong, TRUTH, (26, 44, 28), SCALE)
