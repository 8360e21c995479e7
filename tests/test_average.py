from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe import Molecules
from funpipe.simulate import asymmetric_molecule, blob_image, tomogram

SCALE = 0.5
SHAPE = (7, 9, 8)


def scene(count: int = 5, seed: int = 0):
    random = np.random.default_rng(seed)
    image = random.normal(size=(30, 34, 36)).astype(np.float32)
    positions = random.uniform(5, 10, (count, 3))
    return image, Molecules(positions, Rotation.random(count, rng=random))


def test_the_average_is_the_mean_of_the_boxes():
    image, molecules = scene()
    total = np.zeros(SHAPE)
    for each in molecules:
        total += fp.subtomograms(image, each, shape=SHAPE, scale=SCALE)[0]
    found = fp.average(image, molecules, shape=SHAPE, scale=SCALE)
    assert found.shape == SHAPE
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, total / len(molecules), atol=1e-6)


@pytest.mark.parametrize(
    ("tilt", "series"),
    [
        ((-30, 30), [(-30, 30, 2)]),
        (fp.single_axis((-20, 45), "x"), [(-20, 45, 1)]),
        (fp.dual_axis((-20, 20), (-30, 10)), [(-20, 20, 2), (-30, 10, 1)]),
    ],
)
def test_a_wave_is_the_mean_over_those_who_measured_it(tilt, series):
    shape = (7, 9, 5)  # odd: every wave has its mirror image
    image, molecules = scene(3)
    waves, times = np.zeros(shape, complex), np.zeros(shape)
    for each in molecules:
        box = fp.subtomograms(image, each, shape=shape, scale=SCALE)[0]
        transform = np.fft.fftn(box)
        for index in np.ndindex(*shape):
            k = [np.fft.fftfreq(n)[i] for i, n in zip(index, shape, strict=True)]
            k = each.rotations[0].apply(k)  # as the tomogram has it
            for lowest, highest, across in series:
                if k[across] < 0:
                    k = -k
                if lowest <= np.degrees(np.arctan2(k[0], k[across])) <= highest:
                    waves[index] += transform[index]
                    times[index] += 1
                    break
    assert (times == 0).any()
    assert (times == 2).any()
    expected = np.fft.ifftn(waves / np.maximum(times, 1)).real
    found = fp.average(image, molecules, shape=shape, scale=SCALE, tilt=tilt)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("flipped", [True, False])
def test_a_wave_that_a_tilt_series_has_damped_is_restored_as_wiener_does(flipped):
    shape = (7, 9, 5)
    image, molecules = scene(3)
    series = fp.tilt_series(
        range(-60, 61, 10),
        dose=np.linspace(0, 60, 13),
        defocus=2.0,
        phase_flipped=flipped,
    )
    middle = (np.array(image.shape) - 1) / 2 * SCALE
    sums, squares = np.zeros(shape, complex), np.zeros(shape)
    for each in molecules:
        box = fp.subtomograms(image, each, shape=shape, scale=SCALE)[0]
        transform = np.fft.fftn(box)
        seen = series.at(each.positions - middle, min(shape) * SCALE)
        for index in np.ndindex(*shape):
            k = [np.fft.fftfreq(n, SCALE)[i] for i, n in zip(index, shape, strict=True)]
            turned = each.rotations[0].apply(k).reshape(3, 1, 1)
            H = seen.amplitudes(turned).item()
            sums[index] += H * transform[index]
            squares[index] += H**2
    expected = np.fft.ifftn(sums / (squares + 1e-3 * squares.max())).real
    found = fp.average(image, molecules, shape=shape, scale=SCALE, tilt=series)
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


def test_a_series_that_measures_everything_gives_the_mean():
    image, molecules = scene()
    weighted = fp.average(image, molecules, shape=SHAPE, scale=SCALE, tilt=(-90, 90))
    plain = fp.average(image, molecules, shape=SHAPE, scale=SCALE)
    np.testing.assert_allclose(weighted, plain, atol=1e-6)


def test_particles_turned_every_way_fill_each_others_wedge():
    molecule = asymmetric_molecule(count=14, radius=2.0, sigma=0.6)
    turns = Rotation.random(12, rng=1)
    middle = np.array([[8.0, 8.0, 8.0]])
    truth = blob_image(molecule, (17, 17, 17), SCALE)
    images = [
        tomogram(molecule, Molecules(middle, each), (33, 33, 33), SCALE, noise=0)
        for each in turns
    ]
    side_by_side = np.concatenate(images, axis=2)
    along = np.arange(12) * 33 * SCALE
    positions = middle + np.stack([0 * along, 0 * along, along], -1)
    molecules = Molecules(positions, turns)

    def likeness(found):
        return np.corrcoef(found.ravel(), truth.ravel())[0, 1]

    options = {"shape": 17, "scale": SCALE}
    one = fp.average(side_by_side, molecules[0], **options)
    plain = fp.average(side_by_side, molecules, **options)
    weighted = fp.average(side_by_side, molecules, tilt=(-60, 60), **options)
    assert likeness(one) < likeness(plain) < likeness(weighted)
    assert likeness(weighted) > 0.99


@pytest.mark.parametrize("tilt", [None, (-60, 60)])
def test_many_particles_are_averaged_as_few_are(tilt):
    image, molecules = scene(150)
    options = {"shape": 5, "scale": SCALE, "tilt": tilt}
    whole = fp.average(image, molecules, **options)
    backwards = fp.average(image, molecules[::-1], **options)
    np.testing.assert_allclose(whole, backwards, atol=1e-6)
    if tilt is None:
        boxes = fp.subtomograms(image, molecules, shape=5, scale=SCALE)
        np.testing.assert_allclose(whole, boxes.mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("tilt", [None, (-60, 60)])
def test_boxes_that_leave_are_counted_in_one_warning(tilt):
    image, molecules = scene(150)
    positions = molecules.positions.copy()
    positions[[3, 70, 149], 0] = 0
    with pytest.warns(UserWarning) as caught:
        fp.average(image, positions, shape=5, scale=SCALE, tilt=tilt)
    assert [str(each.message)[:34] for each in caught] == [
        "3 of 150 boxes leave the tomogram;"
    ]
    assert caught[0].filename == __file__


def test_a_particle_far_down_the_list_is_named_by_its_own_number():
    image, molecules = scene(150)
    turn = Rotation.from_rotvec([45, 0, 0], degrees=True)
    positions, turns = molecules.positions.copy(), Rotation.identity(150)
    positions[100] = [7, -2, -2]
    turned = Rotation.concatenate([turns[:100], turn, turns[101:]])
    with pytest.raises(ValueError, match=r"molecules\[100\] at \(7, -2, -2\) nm lies"):
        fp.average(image, Molecules(positions, turned), shape=(3, 9, 9), scale=SCALE)
    image[:, 2, 2] = np.nan
    positions[100] = [7, 3, 3]
    positions[:100] = positions[101:] = 15
    with pytest.raises(ValueError, match=r"NaN or infinity near molecules\[100\]"):
        fp.average(image, positions, shape=3, scale=SCALE)


def test_nothing_given_is_changed_and_nothing_warned_of():
    image, molecules = scene()
    before = image.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fp.average(image, molecules, shape=SHAPE, scale=SCALE, tilt=(-60, 60))
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"molecules": np.zeros((0, 3))}, "molecules must be one particle or more"),
        ({"molecules": [[5, 5, 99]]}, r"molecules\[0\] at \(5, 5, 99\) nm lies wholly"),
        ({"shape": 0}, "shape must be one number of voxels"),
        ({"scale": 0}, "scale must be a number above 0, not 0"),
        ({"scale": None}, "scale must be given, in nm per voxel"),
        ({"tilt": (60, -60)}, r"tilt must be None, two angles .*not \(60, -60\)"),
        ({"tilt": "wedge"}, "tilt must be None, two angles .*not 'wedge'"),
    ],
)
def test_a_wrong_argument_is_named(changes, text):
    image, molecules = scene()
    arguments = {"molecules": molecules, "shape": 5, "scale": SCALE, **changes}
    with pytest.raises(ValueError, match=text):
        fp.average(image, **arguments)
