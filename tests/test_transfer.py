"""What dose and contrast transfer left of a wave is known to the engine, and undone."""

from __future__ import annotations

import numpy as np
import pytest
import scipy
from test_matching import BLOBS, SHAPE, TEMPLATE, UNIT, errors, make, rms

import funpipe as fp
from funpipe.simulate import blob_image, pose_bound
from funpipe.space.fourier import fourier_vectors, half_ball

SCALE = 0.5
ANGLES = range(-60, 61, 3)
SERIES = {
    "flipped": fp.tilt_series(ANGLES, dose=np.linspace(0, 120, 41), defocus=3.0),
    "signed": fp.tilt_series(ANGLES, defocus=3.0, phase_flipped=False),
    "dose": fp.tilt_series(ANGLES, dose=np.linspace(0, 120, 41)),
}
EXTENT = SHAPE[0] * SCALE


def amplitudes(series, orientations, k):
    """Return H of each particle at vectors k of its frame, (n, N)."""
    vectors = np.einsum("nij,jk->ink", orientations.as_matrix(), k)
    return series.at(np.zeros((len(orientations), 3)), EXTENT).amplitudes(vectors)


def measured(count, noise, series, seed=0):
    """Return particles of which a tilt series has left H."""
    made = make(count, 0.0, tilt=None, shift=1.5, seed=seed)
    k = fourier_vectors(SHAPE, SCALE)
    H = amplitudes(series, made.orientations, k.reshape(3, -1))
    random = np.random.default_rng(seed)
    boxes = [
        scipy.fft.irfftn(h.reshape(k.shape[1:]) * scipy.fft.rfftn(box), s=SHAPE)
        + noise * UNIT * random.standard_normal(SHAPE)
        for h, box in zip(H, made.boxes, strict=True)
    ]
    return made._replace(boxes=np.array(boxes, np.float32))


def scaled(blobs):
    """Return a molecule in nm whose lengths were in voxels."""
    return blobs._replace(centres=blobs.centres * SCALE, sigma=blobs.sigma * SCALE)


def aligned(made, tilt, **options):
    settings = {
        "template": TEMPLATE,
        "scale": SCALE,
        "max_shifts": 1.5,
        "rotations": ((12, 4),) * 3,
        "tilt": tilt,
        "orientations": made.orientations,
        "resolution": 4.0 * SCALE,
        "progress": False,
    }
    return fp.align_subtomograms(made.boxes, **{**settings, **options})


def in_voxels(made, found):
    angles, _ = errors(found, made)
    return angles, np.linalg.norm(found.shifts / SCALE - made.shifts, axis=1)


@pytest.mark.parametrize("series", SERIES.values(), ids=SERIES)
def test_the_score_is_that_of_the_model_with_amplitude_and_weight_apart(series):
    made = measured(4, 1.0, series)
    found = aligned(made, series, estimate="mode")
    k = half_ball(SHAPE, 4.0)
    H = amplitudes(series, made.orientations, (k / EXTENT).T)
    middle = np.exp(2j * np.pi * (k @ np.full(3, (SHAPE[0] - 1) / 2)) / SHAPE[0])
    where = tuple(np.where(k < 0, k + SHAPE[0], k).T)
    scores = []
    for i, box in enumerate(made.boxes):
        shift = found.shifts[i] / SCALE
        turned = blob_image(BLOBS, SHAPE, 1.0, found.rotations[i])
        edge = TEMPLATE - fp.prepare(TEMPLATE, None, SCALE)[0]
        T = np.fft.fftn(turned - edge.mean())[where] * middle
        F = (
            np.fft.fftn(box)[where]
            * middle
            * np.exp(2j * np.pi * (k @ shift) / SHAPE[0])
        )
        seen = H[i] != 0
        power = np.square(np.abs(F[seen])).sum() * np.square(np.abs(H[i] * T)).sum()
        scores.append((H[i] * T.conj() * F).real.sum() / np.sqrt(power))
    np.testing.assert_allclose(found.scores, scores, atol=4e-3)


@pytest.mark.parametrize("series", SERIES.values(), ids=SERIES)
def test_errors_reach_the_bound_of_the_same_tilt_series(series):
    made = measured(60, 2.0, series)
    angle, shift = in_voxels(made, aligned(made, series))
    extent = {"resolution": 4.0 * SCALE, "noise": 2.0 * UNIT, "tilt": series}
    bound = pose_bound(scaled(BLOBS), made, SCALE, **extent)
    assert rms(angle) < 1.15 * rms(bound[0])
    assert rms(shift) * SCALE < 1.15 * rms(bound[1])
    plain = in_voxels(made, aligned(made, (-60, 60)))
    assert rms(angle) < 0.95 * rms(plain[0])


def test_signed_transfer_misleads_a_plain_wedge_and_not_a_tilt_series():
    made = measured(30, 1.0, SERIES["signed"])
    angle, _ = in_voxels(made, aligned(made, SERIES["signed"]))
    wedge = in_voxels(made, aligned(made, (-60, 60)))
    assert rms(angle) < 0.5 * rms(wedge[0])


def test_white_noise_is_found_white_whatever_a_tilt_series_left():
    made = measured(40, 1.0, SERIES["signed"])
    angle, shift = in_voxels(made, aligned(made, SERIES["signed"]))
    whitened = in_voxels(made, aligned(made, SERIES["signed"], whiten=True))
    assert rms(whitened[0]) < 1.05 * rms(angle)
    assert rms(whitened[1]) < 1.05 * rms(shift)
