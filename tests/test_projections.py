"""The images that a tilt series takes, against formulas and naive loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

import funpipe as fp
from funpipe.simulate import (
    Blobs,
    asymmetric_molecule,
    blob_image,
    blob_spectrum,
    projections,
)

BLOBS = asymmetric_molecule(radius=3.0)
SCALE = 1.0
SOFT = Blobs(BLOBS.centres, 1.5, BLOBS.weights)
BOX = (30, 27, 36)
ANGLES = (-60.0, -17.0, 0.0, 45.0, 70.0)


def worst(found, exact):
    """The largest difference, in parts of the largest voxel."""
    return float(abs(found - exact).max() / abs(exact).max())


def projected(blobs, shape, scale, angle, axis):
    """The sum of Gaussians along the beam: a formula, blob by blob, pixel by pixel."""
    sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    ny, nx = shape[1:]
    found = np.zeros((ny, nx))
    for (z, y, x), weight in zip(blobs.centres, blobs.weights, strict=True):
        if axis == "y":
            x = x * cosine + z * sine
        else:
            y = y * cosine + z * sine
        for row, column in np.ndindex(ny, nx):
            away = (row - (ny - 1) / 2) * scale - y, (column - (nx - 1) / 2) * scale - x
            peak = weight * blobs.sigma * math.sqrt(2 * math.pi)
            found[row, column] += peak * math.exp(
                -((math.hypot(*away) / blobs.sigma) ** 2) / 2
            )
    return found


@pytest.mark.parametrize("axis", ["y", "x"])
def test_projections_are_sums_along_the_beam(axis):
    shuffled = [ANGLES[i] for i in (3, 0, 4, 1, 2)]
    series = fp.tilt_series(shuffled, axis)
    found = projections(blob_image(SOFT, BOX, 0.8), series, 0.8)
    assert found.shape == (5, 27, 36)
    assert found.dtype == np.float32
    exact = [projected(SOFT, BOX, 0.8, each, axis) for each in shuffled]
    assert worst(found, np.array(exact)) < 1e-4


def test_waves_of_a_projection_are_those_that_its_tilt_covers():
    series = fp.tilt_series([40.0])
    (image,) = projections(blob_image(SOFT, (31, 31, 31), 0.8), series, 0.8)
    angle, up, across = math.radians(40.0), 3, 4
    k = np.array([across * math.sin(angle), up, across * math.cos(angle)]) / (31 * 0.8)
    assert series.at(np.zeros((1, 3)), 1e6).measured(k.reshape(3, 1)) == 1
    q = np.arange(31) - 15
    waves = np.exp(-2j * np.pi * (up * q[:, None] + across * q) / 31)
    found = (image * waves).sum() * 0.8**2
    exact = blob_spectrum(SOFT, k[None], 0.8)[0] * 0.8**3
    assert abs(found - exact) < 1e-3 * abs(
        blob_spectrum(SOFT, np.zeros((1, 3)), 0.8)[0]
    )


@pytest.mark.parametrize("axis", ["y", "x"])
def test_projections_are_multiplied_by_dose_and_signed_contrast_transfer(axis):
    defocus, dose, pair = (3.0, 4.0), (1.0, 6.0), (0.2, 30.0)
    optics = {"defocus": defocus, "dose": dose, "astigmatism": pair}
    tilts = fp.tilt_series([-30.0, 50.0], axis, **optics)  # phases flipped: not here
    shape = (20, 61, 61)
    small = Blobs(BLOBS.centres / 2, 0.8, BLOBS.weights)
    density = blob_image(small, shape, SCALE)
    found = projections(density, tilts, SCALE)
    plain = projections(density, fp.tilt_series([-30.0, 50.0], axis), SCALE)
    q = np.fft.fftfreq(61, SCALE)
    for i, angle in enumerate(np.radians([-30.0, 50.0])):
        left = np.empty((61, 61))
        for row, column in np.ndindex(61, 61):
            y, x = q[row], q[column]
            k2 = y * y + x * x
            # azimuth from x towards y; the largest defocus lies along 30 degrees
            bent = 0.1 * math.cos(2 * (math.atan2(y, x) - math.radians(30.0)))
            # voltage 300 kV: 1.96875 pm, C_s 2.7 mm, amplitude contrast 0.07
            wave, phase = 1.96875e-3, math.asin(0.07)
            phase += math.pi * wave * k2 * 1e3 * (defocus[i] + bent)
            phase -= math.pi / 2 * 2.7e6 * wave**3 * k2**2
            critical = 0.245 * (math.sqrt(k2) / 10) ** -1.665 + 2.81 if k2 else math.inf
            left[row, column] = math.sin(phase) * math.exp(-dose[i] / 2 / critical)
        exact = np.fft.ifft2(np.fft.fft2(plain[i]) * left).real
        assert worst(found[i], exact) < 5e-3, angle


def test_a_provider_is_projected_and_what_is_no_density_or_series_is_named():
    series = fp.tilt_series([0.0, 30.0])
    density = blob_image(SOFT, BOX, 0.8)
    found = projections(fp.from_array(density, scale=0.8), series, 0.8)
    np.testing.assert_array_equal(found, projections(density, series, 0.8))
    with pytest.raises((TypeError, ValueError), match=r"^density must be"):
        projections(np.ones((3, 3)), series, 0.8)
    with pytest.raises((TypeError, ValueError), match=r"^series must be tilt_series"):
        projections(density, (-60, 60), 0.8)
    with pytest.raises((TypeError, ValueError), match=r"^scale must be"):
        projections(density, series, 0)
