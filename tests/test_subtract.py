"""What is subtracted is gone, and what stays is as if it had been there alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.simulate import Blobs, asymmetric_molecule, blob_image, tomogram

SCALE = 1.0
BOX = 22
SERIES = fp.tilt_series(range(-60, 61, 6), defocus=3.0, thickness=22.0)


def domain(seed: int, x: float) -> Blobs:
    made = asymmetric_molecule(seed=seed, count=10, radius=2.0, sigma=0.9)
    return made._replace(centres=made.centres + np.array([0, 0, x]))


def together(one: Blobs, other: Blobs, strength: float = 1.0) -> Blobs:
    return one._replace(
        centres=np.concatenate([one.centres, other.centres]),
        weights=np.concatenate([one.weights, strength * other.weights]),
    )


ONE, OTHER = domain(3, -5.0), domain(4, 5.0)
WHOLE = blob_image(together(ONE, OTHER), (BOX,) * 3, SCALE)
MASK = np.zeros_like(WHOLE)
MASK[:, :, : BOX // 2] = 1  # where the one domain is
PICKS = fp.Molecules(
    [[20.3, 20.7 + 30 * i, 21.1] for i in range(4)], Rotation.random(4, rng=2)
)
SHAPE = (42, 132, 42)
OPTIONS = {"template": WHOLE, "mask": MASK, "scale": SCALE, "progress": False}


def seen(molecule: Blobs, tilt, noise: float = 0.0) -> np.ndarray:
    return tomogram(molecule, PICKS, SHAPE, SCALE, tilt=tilt, noise=noise)


def boxes_of(image: np.ndarray) -> np.ndarray:
    return fp.subtomograms(image, PICKS, shape=BOX, scale=SCALE)


def sizes(boxes: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(boxes).sum(axis=(1, 2, 3)))


# What a wedge with sharp edges spreads reaches beyond any box.
@pytest.mark.parametrize(
    ("tilt", "left"), [(None, 0.03), ((-60, 60), 0.1), (SERIES, 0.04)]
)
@pytest.mark.parametrize("strength", [1.0, 0.0])
def test_of_two_domains_the_other_is_left_as_if_alone(tilt, left, strength):
    image = seen(together(ONE, OTHER, strength), tilt)
    alone = boxes_of(seen(OTHER._replace(weights=strength * OTHER.weights), tilt))
    before = np.linalg.norm(boxes_of(image) - alone)
    found = fp.subtract(image, PICKS, tilt=tilt, **OPTIONS)
    assert found.shape == (4, BOX, BOX, BOX)
    assert found.dtype == np.float32
    assert np.linalg.norm(found - alone) < left * before
    if tilt is not None:  # a particle that is seen otherwise than is said
        wrong = fp.subtract(image, PICKS, **OPTIONS)
        assert np.linalg.norm(wrong - alone) > 2 * left * before


@pytest.mark.parametrize("tilt", [None, (-50, 50), SERIES])
def test_it_is_the_box_less_what_is_left_of_the_part(tilt):
    """A loop, wave by wave, with an amplitude that is given."""
    picks = PICKS[:2]
    image = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    found = fp.subtract(image, picks, tilt=tilt, amplitude=0.7, **OPTIONS)
    middle = (np.array(SHAPE) - 1) / 2 * SCALE
    around = (scipy.fft.next_fast_len(2 * BOX, real=True),) * 3
    part = np.fft.fftn(WHOLE * MASK, s=around, axes=(0, 1, 2))
    k = np.stack(
        np.meshgrid(*(np.fft.fftfreq(n, SCALE) for n in around), indexing="ij")
    )
    for each, box in zip(picks, found, strict=True):
        turned = np.tensordot(each.rotations[0].as_matrix(), k, axes=1)
        if tilt is None:
            left = np.ones(around)
        elif tilt is SERIES:
            left = tilt.at(each.positions - middle).amplitudes(turned[:, None])[0]
        else:
            z, _, x = turned
            left = np.abs(z) <= np.tan(np.radians(50)) * np.abs(x) + 1e-9
        # Waves at Nyquist's frequency have one mirror image in a box, not two.
        expected = np.fft.ifftn(part * left).real[:BOX, :BOX, :BOX]
        whole = fp.subtomograms(image, each, shape=BOX, scale=SCALE)[0]
        difference = whole - 0.7 * expected - box
        assert np.abs(difference).max() < 2e-3 * np.abs(expected).max()


def test_each_particle_has_its_own_amplitude():
    strengths = np.array([1.0, 0.5, -2.0, 3.0])  # one is dark
    image = sum(
        strength * tomogram(ONE, each, SHAPE, SCALE, tilt=None, noise=0)
        for strength, each in zip(strengths, PICKS, strict=True)
    )
    before = sizes(boxes_of(image))
    assert (sizes(fp.subtract(image, PICKS, **OPTIONS)) < 0.03 * before).all()
    same = fp.subtract(image, PICKS, amplitude=1.0, **OPTIONS)
    assert (sizes(same)[1:] > 0.3 * before[1:]).all()


def test_what_stays_is_aligned_without_what_was_there():
    moved = np.array([0.0, 1.5, 0.5])  # of the other domain, against the one
    image = seen(
        together(ONE, OTHER._replace(centres=OTHER.centres + moved)), (-60, 60)
    )
    boxes = fp.subtract(image, PICKS, tilt=(-60, 60), **OPTIONS)
    found = fp.align_subtomograms(
        boxes,
        template=WHOLE * (1 - MASK),
        scale=SCALE,
        max_shifts=3.0,
        tilt=(-60, 60),
        orientations=PICKS.rotations,
        progress=False,
    )
    np.testing.assert_allclose(found.shifts, np.tile(moved, (4, 1)), atol=0.1)


def test_without_a_mask_all_is_subtracted_and_a_mask_turned_over_keeps_it():
    image = seen(together(ONE, OTHER), None)
    nothing = fp.subtract(image, PICKS, **{**OPTIONS, "mask": None})
    assert np.linalg.norm(nothing) < 0.03 * np.linalg.norm(boxes_of(image))
    mask = fp.from_array(MASK, SCALE)
    provided = {**OPTIONS, "template": fp.from_array(WHOLE, SCALE), "mask": ~mask}
    kept = fp.subtract(image, PICKS, **provided)
    alone = boxes_of(seen(ONE, None))
    assert np.linalg.norm(kept - alone) < 0.03 * np.linalg.norm(alone)


def test_many_tomograms_many_particles_and_threads_give_the_same():
    image = seen(together(ONE, OTHER), (-60, 60), noise=0.2)
    options = {"tilt": (-60, 60), **OPTIONS}
    expected = fp.subtract(image, PICKS, **options)
    named = fp.Molecules.concat([PICKS[[2, 3]], PICKS[[0, 1]]]).with_features(
        tomogram=["b", "a", "a", "b"]
    )
    several = {"a": image, "b": fp.Tomogram(image, SCALE)}
    found = fp.subtract(several, named, **options)
    np.testing.assert_allclose(found, expected[[2, 3, 0, 1]], atol=1e-6)
    many = PICKS[np.arange(150) % 4]
    small = {**options, "template": WHOLE[7:-7, 7:-7], "mask": MASK[7:-7, 7:-7]}
    with ThreadPoolExecutor(2) as pool:
        found = fp.subtract(image, many, executor=pool, **small)
    four = fp.subtract(image, PICKS, **small)
    np.testing.assert_allclose(found, four[np.arange(150) % 4], atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"molecules": np.zeros((0, 3))}, "molecules must be one particle or more"),
        ({"template": [WHOLE, WHOLE]}, "template must be one template"),
        ({"template": 0 * WHOLE}, "template must vary under its mask"),
        ({"mask": 0 * MASK}, "mask must be above 0 somewhere, but is empty"),
        ({"mask": MASK[1:]}, "mask must have the template's shape"),
        ({"amplitude": np.nan}, "amplitude must be a finite number"),
        ({"amplitude": 1e300}, "amplitude must be a finite number that a float32"),
        ({"amplitude": 3e38, "template": 100 * WHOLE}, "amplitude must be such that"),
        ({"scale": None}, "scale must be given, in nm per voxel"),
        ({"tilt": (60, -60)}, "tilt must be None, two angles"),
        ({"molecules": [[5, 5, 999]]}, r"molecules\[0\] at .* lies wholly outside"),
    ],
)
def test_a_wrong_argument_is_named(changes, text):
    given = {"molecules": PICKS, **OPTIONS, **changes}
    with pytest.raises((TypeError, ValueError), match=text):
        fp.subtract(np.zeros(SHAPE, np.float32), **given)


def test_it_waits_for_molecules_and_warns_of_boxes_that_leave():
    waiting = fp.subtract(np.zeros(SHAPE, np.float32), **OPTIONS)
    assert repr(waiting) == "<subtract, waiting for molecules>"
    with pytest.warns(UserWarning, match="1 of 1 boxes leave the tomogram") as caught:
        waiting(np.array([[20.0, 20.0, 1.0]]))
    assert caught[0].filename == __file__
