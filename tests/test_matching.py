"""The engine agrees with a plain loop, and its claims hold."""

from __future__ import annotations

import numpy as np
import plain_matching as plain
import pytest
import scipy
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.fourier import as_tilt, fourier_vectors, half_ball, no_tilt
from funpipe.geometry import rotation_grid
from funpipe.matching import match, noise_power, template_bank
from funpipe.simulate import asymmetric_molecule, blob_image

SHAPE = (24, 24, 24)
BLOBS = asymmetric_molecule(3, radius=7.0, sigma=1.3)
TEMPLATE = blob_image(BLOBS, SHAPE, 1.0)
INSIDE = TEMPLATE > 0.1 * TEMPLATE.max()


def particles(count, *, noise=0.0, tilt=(-60, 60), angle=10.0, shift=2.0, seed=0):
    """Return boxes, orientations, rotations and shifts of simulated particles."""
    random = np.random.default_rng(seed)
    axes = random.normal(size=(count, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    turns = Rotation.from_rotvec(
        axes * random.uniform(0, angle, (count, 1)), degrees=True
    )
    shifts = random.uniform(-shift, shift, (count, 3))
    orientations = Rotation.random(count, rng=random)
    k = fourier_vectors(SHAPE, 1.0)
    boxes = np.empty((count, *SHAPE), np.float32)
    for i in range(count):
        image = blob_image(BLOBS, SHAPE, 1.0, turns[i], shifts[i])
        weight = as_tilt("tilt", tilt)(
            np.tensordot(orientations[i].as_matrix(), k, axes=1)
        )
        boxes[i] = scipy.fft.irfftn(scipy.fft.rfftn(image) * weight, s=SHAPE)
    deviation = noise * TEMPLATE[INSIDE].std()
    return boxes + deviation * random.standard_normal(boxes.shape).astype(
        np.float32
    ), orientations, turns, shifts


def errors(found, turns, shifts):
    """Return the angles in degrees and the distances in voxels from the truth."""
    angles = np.degrees((turns.inv() * found.rotations).magnitude())
    return angles, np.linalg.norm(found.shifts - shifts, axis=1)


@pytest.mark.parametrize("noise", [0.0, 2.0])
@pytest.mark.parametrize("tilt", [None, (-60, 45)])
def test_the_grid_search_agrees_with_the_plain_loop(noise, tilt):
    boxes, orientations, _, _ = particles(6, noise=noise, tilt=tilt)
    grid = rotation_grid(((8, 8),) * 3)
    weights = as_tilt("tilt", tilt)
    bank = template_bank(TEMPLATE[None], grid, (2.0, 2.0, 2.0), 4.0, refined=False)
    found = match(boxes, orientations, bank=bank, tilt=weights)
    wanted = plain.match(
        boxes,
        orientations,
        bank=plain.template_bank(TEMPLATE[None], grid.rotations),
        window=(2.0, 2.0, 2.0),
        tilt=weights,
        finest=4.0,
    )
    same = (grid.rotations[wanted.rotations].inv() * found.rotations).magnitude()
    assert same.max() < 1e-6
    assert np.abs(found.shifts - wanted.shifts).max() <= 1  # to the next whole voxel
    assert (found.scores <= wanted.scores + 0.01).all()
