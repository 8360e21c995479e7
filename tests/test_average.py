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


# Weights.

SERIES = fp.tilt_series(range(-60, 61, 10), defocus=2.0)
TILTS = pytest.mark.parametrize("tilt", [None, (-40, 40), SERIES])


@TILTS
def test_weights_are_how_often_a_particle_is_given(tilt):
    image, molecules = scene(4)
    times = [3, 0, 1, 2]
    options = {"shape": SHAPE, "scale": SCALE, "tilt": tilt}
    found = fp.average(image, molecules, weights=times, **options)
    repeated = molecules[np.repeat(np.arange(4), times)]
    expected = fp.average(image, repeated, **options)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(found - fp.average(image, molecules, **options)).max() > 0.1
    named = molecules.with_features(posterior=7 * np.array(times))
    by_name = fp.average(image, named, weights="posterior", **options)
    np.testing.assert_allclose(by_name, found, atol=1e-6)


def test_a_wave_is_the_weighted_mean_over_those_who_measured_it():
    shape = (7, 9, 5)
    image, molecules = scene(3)
    weights = [0.5, 2.0, 0.25]
    sums, all_weights = np.zeros(shape, complex), np.zeros(shape)
    for each, weight in zip(molecules, weights, strict=True):
        box = fp.subtomograms(image, each, shape=shape, scale=SCALE)[0]
        transform = np.fft.fftn(box)
        for index in np.ndindex(*shape):
            k = [np.fft.fftfreq(n)[i] for i, n in zip(index, shape, strict=True)]
            z, _, x = each.rotations[0].apply(k)
            if abs(z) <= np.tan(np.radians(30)) * abs(x) + 1e-9:
                sums[index] += weight * transform[index]
                all_weights[index] += weight
    expected = np.fft.ifftn(sums / np.where(all_weights > 0, all_weights, 1)).real
    options = {"shape": shape, "scale": SCALE, "tilt": (-30, 30)}
    found = fp.average(image, molecules, weights=weights, **options)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_particle_without_a_weight_is_not_looked_at():
    image, _ = scene()
    image[:, 2, 2] = np.nan
    near = Molecules([[7, 12, 12], [7, 11, 11], [7, 2, 2]])
    options = {"shape": 5, "scale": SCALE}
    with pytest.raises(ValueError, match=r"molecules\[2\]"):
        fp.average(image, near, **options)
    found = fp.average(image, near, weights=[1, 1, 0], **options)
    np.testing.assert_array_equal(
        found, fp.average(image, near, weights=[2, 2, 0], **options)
    )


def test_halves_are_weighted_apart():
    image, molecules = scene(4)
    split = molecules.with_features(half=[1, 2, 1, 2])
    options = {"shape": 5, "scale": SCALE, "tilt": (-60, 60)}
    pair = fp.half_averages(image, split, weights=[1, 2, 3, 4], **options)
    for found, some, weights in (
        (pair.first, [0, 2], [1, 3]),
        (pair.second, [1, 3], [2, 4]),
    ):
        expected = fp.average(image, molecules[some], weights=weights, **options)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    with pytest.raises(ValueError, match=r"weights must be above 0 .* 0 in half 2"):
        fp.half_averages(image, split, weights=[1, 0, 3, 0], **options)


def test_a_checkpoint_of_other_weights_is_not_taken_over(tmp_path):
    image, molecules = scene(4)
    options = {"shape": 5, "scale": SCALE, "checkpoint": tmp_path, "progress": False}
    one, other = (
        fp.average(image, molecules, weights=each, **options)
        for each in ([1, 2, 3, 4], [4, 3, 2, 1])
    )
    assert np.abs(one - other).max() > 0.1


# Symmetry.


@TILTS
@pytest.mark.parametrize("symmetry", ["C13", "D2"])
def test_an_average_with_symmetry_is_that_of_all_copies(tilt, symmetry):
    image, molecules = scene(3)
    options = {"shape": SHAPE, "scale": SCALE, "tilt": tilt}
    found = fp.average(image, molecules, symmetry=symmetry, **options)
    copies = fp.symmetry_expand(molecules, symmetry)
    expected = fp.average(image, copies, **options)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(found - fp.average(image, molecules, **options)).max() > 0.1


def test_four_quarter_turns_of_one_box_are_averaged():
    image, _ = scene()
    pick, options = np.array([[7.0, 7.0, 7.5]]), {"shape": 9, "scale": SCALE}
    box = fp.subtomograms(image, pick, **options)[0]
    expected = np.mean([np.rot90(box, i, axes=(1, 2)) for i in range(4)], axis=0)
    found = fp.average(image, pick, symmetry="C4", **options)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_what_a_particles_copies_measured_fills_its_wedge():
    molecule = asymmetric_molecule(count=14, radius=2.0, sigma=0.6)
    one = Molecules([[8.0, 8.0, 8.0]], Rotation.from_euler("y", [40], degrees=True))
    truth = fp.symmetrize("C3")(blob_image(molecule, (17, 17, 17), SCALE), SCALE)
    image = tomogram(
        fp.from_array(truth, SCALE), one, (33,) * 3, SCALE, tilt=(-50, 50), noise=0
    )
    options = {"shape": 17, "scale": SCALE, "tilt": (-50, 50)}
    plain = fp.average(image, one, **options)
    found = fp.average(image, one, symmetry="C3", **options)
    likeness = [
        np.corrcoef(each.ravel(), truth.ravel())[0, 1] for each in (plain, found)
    ]
    assert likeness[0] < 0.93 < 0.97 < likeness[1]


def test_a_copy_is_weighted_and_named_as_its_particle():
    image, molecules = scene(2)
    options = {"shape": 5, "scale": SCALE, "symmetry": "C3"}
    found = fp.average(image, molecules, weights=[0, 1], **options)
    expected = fp.average(image, molecules[1], **options)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    away = np.array([[7.0, 7.0, 7.0], [7.0, 7.0, 99.0]])
    with pytest.raises(ValueError, match=r"molecules\[1\] at \(7, 7, 99\) nm lies"):
        fp.average(image, away, **options)


# Another scale.

MOLECULE = asymmetric_molecule(count=14, radius=2.5, sigma=1.4)
MIDDLE = Molecules([[17.3, 17.6, 17.9]], Rotation.random(1, rng=4))


@pytest.fixture(name="blobs", scope="module")
def _blobs():
    return tomogram(MOLECULE, MIDDLE, (72, 72, 72), SCALE, tilt=None, noise=0)


@pytest.mark.parametrize(
    ("scale", "shape"), [(0.8, (14, 15, 16)), (1.3, 9), (0.27, (41, 30, 44))]
)
def test_an_average_at_another_scale_shows_the_molecule_there(blobs, scale, shape):
    found = fp.average(blobs, MIDDLE, shape=shape, scale=SCALE, output_scale=scale)
    box = (shape,) * 3 if isinstance(shape, int) else shape
    expected = blob_image(MOLECULE, box, scale)
    assert found.shape == box
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 0.01 * expected.max()


def test_an_average_at_the_tomograms_own_scale_is_the_same(blobs):
    options = {"shape": 13, "scale": SCALE, "tilt": (-60, 60)}
    found = fp.average(blobs, MIDDLE, output_scale=SCALE, **options)
    np.testing.assert_array_equal(found, fp.average(blobs, MIDDLE, **options))


def test_waves_too_fine_for_a_scale_do_not_come_again_as_others():
    image = np.broadcast_to(np.cos(2 * np.pi * np.arange(60) / 3), (60, 60, 60))
    options = {"shape": 11, "scale": 1.0}
    pick = np.array([[29.5, 29.5, 29.5]])
    found = fp.average(image + 1, pick, output_scale=2.0, **options)
    assert np.abs(found[3:-3, 3:-3, 3:-3] - 1).max() < 0.05
    assert np.ptp(fp.average(image, pick, **options)) > 1.2


def test_halves_know_the_scale_of_their_averages():
    image, molecules = scene(4)
    split = molecules.with_features(half=[1, 2, 1, 2])
    options = {"shape": 5, "scale": SCALE, "output_scale": 0.7}
    pair = fp.half_averages(image, split, **options)
    assert (pair.scale, pair.first.shape) == (0.7, (5, 5, 5))
    np.testing.assert_allclose(
        pair.second, fp.average(image, molecules[[1, 3]], **options), atol=1e-6
    )


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
        ({"weights": "mass"}, "weights must be a feature that there is, none, not 'm"),
        ({"weights": (1, 2)}, "weights must be the name of a feature, or 5 numbers"),
        ({"weights": [1, 2, 3, 4, -1]}, r"weights must be 0 or .* molecules\[4\]"),
        ({"weights": [1, np.nan, 3, 4, 1]}, r"not nan as of molecules\[1\]"),
        ({"weights": np.zeros(5)}, "weights must be above 0 for a particle, but are"),
        ({"symmetry": "C0"}, "symmetry must be a symmetry 'C1' to 'C360'"),
        ({"output_scale": 0}, "output_scale must be a number above 0, or None, not 0"),
        ({"output_scale": 1e9}, "output_scale must give a box of .* voxels or fewer"),
    ],
)
def test_a_wrong_argument_is_named(changes, text):
    image, molecules = scene()
    arguments = {"molecules": molecules, "shape": 5, "scale": SCALE, **changes}
    with pytest.raises(ValueError, match=text):
        fp.average(image, **arguments)


def test_splines_that_overshoot_single_precision_are_refused():
    sign = np.where(np.random.default_rng(0).random((24, 24, 24)) > 0.5, 1, -1)
    there = fp.Molecules([[11.5, 12.0, 12.0]])
    with pytest.raises(ValueError, match="tomogram must have values that single"):
        fp.average(3.3e38 * sign, there, scale=1.0, shape=8, progress=False)
