"""Tilt weights of |k|: in 1/nm wherever a user gives them, whatever the scale."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.engine.matching import ENGINE
from funpipe.simulate import asymmetric_molecule, blob_image, particles, tomogram

SCALE = 0.4  # nm per voxel
SHAPE = (15, 16, 17)
PERIOD = 1.5  # nm; what is finer is not measured
BLOBS = asymmetric_molecule(count=14, radius=1.4, sigma=0.35)
TEMPLATE = blob_image(BLOBS, SHAPE, SCALE)
SIZE = (34, 60, 60)
TRUTH = fp.Molecules(
    np.array([[6.7, 6.8, 6.6], [6.9, 16.9, 6.7], [6.7, 6.7, 17.0], [6.8, 17.0, 16.9]]),
    Rotation.random(4, rng=1),
)
VOLUME = tomogram(BLOBS, TRUTH, SIZE, SCALE, noise=0.5)
OPTIONS = {"template": TEMPLATE, "scale": SCALE}


def length(vectors):
    return np.linalg.norm(vectors, axis=0)


def to_the_period(vectors):
    """Measure waves of the period or longer."""
    return (length(vectors) <= 1 / PERIOD).astype(float)


ONE = 0.25 * np.array([[0.0], [0.6], [0.8]])  # 0.25 periods per voxel
asked = []


def noting_match(boxes, orientations, *, bank, tilt, go_on):
    asked.append(float(tilt(ONE)[0]))
    return ENGINE.match(boxes, orientations, bank=bank, tilt=tilt, go_on=go_on)


NOTING = ENGINE._replace(match=noting_match)


def aligned(tilt, **options):
    return fp.align(
        VOLUME, TRUTH, tilt=tilt, max_shifts=0.8, progress=False, **OPTIONS, **options
    )


def aligned_boxes(tilt, **options):
    boxes = fp.subtomograms(VOLUME, TRUTH, shape=SHAPE, scale=SCALE)
    return fp.align_subtomograms(
        boxes, tilt=tilt, max_shifts=0.8, progress=False, **OPTIONS, **options
    )


def checked(tilt, **options):
    return fp.check(VOLUME, TRUTH, tilt=tilt, rotations=(20, 20), **OPTIONS, **options)


def aligned_with_its_own(tilt, **options):
    volume = fp.Tomogram(VOLUME, scale=SCALE, tilt=tilt)
    return fp.align(
        {"a": volume},
        fp.Molecules(TRUTH.positions, TRUTH.rotations, {"tomogram": ["a"] * 4}),
        template=TEMPLATE,
        max_shifts=0.8,
        progress=False,
        **options,
    )


@pytest.mark.parametrize("job", [aligned, aligned_boxes, checked, aligned_with_its_own])
def test_an_engine_gets_weights_of_periods_per_voxel_from_weights_of_1_nm(job):
    asked.clear()
    job(length, engine=NOTING)
    assert asked
    np.testing.assert_allclose(asked, 0.25 / SCALE)


def test_a_series_that_ends_at_a_period_is_that_resolution():
    ended = aligned(to_the_period)
    coarse = aligned(None, resolution=PERIOD)
    whole = aligned(None)
    score, other, all_waves = (x.features["score"] for x in (ended, coarse, whole))
    np.testing.assert_allclose(score, other, atol=0.005)  # fields differ
    np.testing.assert_allclose(ended.positions, coarse.positions, atol=0.1 * SCALE)
    assert (np.abs(score - all_waves) > 0.05).all()


def waves_beyond(image):
    """Return the part of an image's power that is beyond the period."""
    axes = [np.fft.fftfreq(n, SCALE) for n in image.shape]
    k = np.sqrt(sum(x**2 for x in np.meshgrid(*axes, indexing="ij")))
    power = np.abs(np.fft.fftn(image)) ** 2
    return power[k > 1 / PERIOD + 1e-9].sum() / power.sum()


def test_an_average_and_simulations_hold_nothing_beyond_the_period():
    average = fp.average(VOLUME, TRUTH, shape=SHAPE, scale=SCALE, tilt=to_the_period)
    made = particles(BLOBS, SHAPE, SCALE, 1, tilt=to_the_period).boxes[0]
    volume = tomogram(BLOBS, TRUTH, SIZE, SCALE, tilt=to_the_period, noise=0.0)
    assert max(map(waves_beyond, (average, made, volume))) < 1e-9
    assert waves_beyond(TEMPLATE) > 0.01
    assert waves_beyond(fp.average(VOLUME, TRUTH, shape=SHAPE, scale=SCALE)) > 0.01


def test_lengths_and_frequencies_scale_together():
    """In units 3 times as long nothing changes but the numbers."""
    here = aligned(falling)
    there = fp.align(
        VOLUME,
        fp.Molecules(3 * TRUTH.positions, TRUTH.rotations),
        template=TEMPLATE,
        scale=3 * SCALE,
        tilt=falling_in_thirds,
        max_shifts=3 * 0.8,
        progress=False,
    )
    np.testing.assert_allclose(there.positions, 3 * here.positions, atol=1e-5)
    np.testing.assert_allclose(
        there.features["score"], here.features["score"], atol=1e-6
    )


def falling(vectors):
    return np.exp(-((2 * length(vectors)) ** 2))


def falling_in_thirds(vectors):
    return falling(3 * vectors)
