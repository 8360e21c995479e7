"""Simulated tilt series, and crowds, against naive loops and formulas."""

from __future__ import annotations

import itertools
import math

import mrcfile
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.simulate import (
    asymmetric_molecule,
    blob_image,
    blob_spectrum,
    particles,
    pose_bound,
    tomogram,
    tomograms,
)
from funpipe.simulate.crowds import (
    Copy,
    Crowd,
    Sheet,
    add_sheet,
    beads_among,
    cut_out,
    neighbours_among,
    sheets,
)
from funpipe.simulate.images import Ball, image_of, reach_of
from funpipe.space.fourier import half_ball

BLOBS = asymmetric_molecule(radius=3.0)
SCALE = 1.0
SHAPE = (17, 19, 21)  # odd, so that every wave has its mirror image
SERIES = fp.tilt_series(
    range(-60, 61, 6),
    dose=np.linspace(3, 120, 21),
    defocus=np.linspace(2.5, 3.5, 21),
    astigmatism=(0.3, 25.0),
    phase_flipped=False,
)
PLACES = np.array([[140.0, -30.0, 90.0], [-150.0, 20.0, -80.0]])
FEW = fp.Molecules(
    [[10.2, 20.9, 15.3], [30.4, 18.8, 24.6]],
    Rotation.from_euler("ZYX", [[40, -70, 15], [5, 80, -120]], degrees=True),
)
MOVED = np.array([[25.0, 20.0, 20.0], [10.0, 22.0, 15.0]])
WHOLE = (41, 40, 45)
NONE = FEW[:0]


def worst(found, exact):
    """The largest difference, in parts of the largest voxel."""
    return float(abs(found - exact).max() / abs(exact).max())


def waves_of(shape, scale=SCALE):
    """All frequency vectors of a box, (3, z, y, x)."""
    axes = [np.fft.fftfreq(n, scale) for n in shape]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


def seen(image, series, place, extent, rotation=None):
    """An image all of whose waves, mirrored ones too, are multiplied by their H."""
    k = waves_of(image.shape).reshape(3, -1)
    if rotation is not None:
        k = rotation.as_matrix() @ k
    H = series.at(np.asarray(place)[None], extent).amplitudes(k[:, None])
    return np.fft.ifftn(np.fft.fftn(image) * H.reshape(image.shape)).real


# Particles.


def test_particles_are_images_times_the_signed_amplitude_at_their_places():
    options = {"angle": 180.0, "shift": 1.0, "tilt": SERIES, "seed": 3}
    made = particles(BLOBS, SHAPE, SCALE, 2, places=PLACES, **options)
    for i in range(2):
        image = blob_image(BLOBS, SHAPE, SCALE, made.rotations[i], made.shifts[i])
        exact = seen(image, SERIES, PLACES[i], 17.0, made.orientations[i])
        assert worst(made.boxes[i], exact) < 1e-5
    at_centre = particles(BLOBS, SHAPE, SCALE, 2, **options)
    exact = particles(BLOBS, SHAPE, SCALE, 2, places=np.zeros((2, 3)), **options)
    np.testing.assert_array_equal(at_centre.boxes, exact.boxes)
    assert worst(made.boxes, at_centre.boxes) > 0.01


def test_a_particle_further_along_the_beam_has_another_defocus():
    # hand −1: what lies 200 nm further along z is 0.2 µm less under focus
    one, other = (
        fp.tilt_series([0.0], defocus=defocus, thickness=1.0) for defocus in (2.0, 1.8)
    )
    high = particles(BLOBS, SHAPE, SCALE, 2, tilt=one, places=[[200.0, 0, 0]] * 2)
    middle = particles(BLOBS, SHAPE, SCALE, 2, tilt=other)
    assert worst(high.boxes, middle.boxes) < 1e-5


@pytest.mark.parametrize("falling", [0.0, 1.5])
def test_noise_of_particles_is_the_same_with_any_tilt(falling):
    def noise(tilt):
        options = {"tilt": tilt, "falling": falling, "seed": 5}
        noisy = particles(BLOBS, SHAPE, SCALE, 2, noise=0.3, **options)
        return noisy.boxes - particles(BLOBS, SHAPE, SCALE, 2, **options).boxes

    np.testing.assert_allclose(noise(SERIES), noise(None), atol=1e-5)


def test_the_bound_is_that_of_spectra_times_the_amplitude():
    made = particles(BLOBS, SHAPE, SCALE, 2, angle=50.0, tilt=SERIES)
    resolution, noise, step = 3.0, 0.3, 1e-4
    k = half_ball(SHAPE, 3.0) / (np.array(SHAPE) * SCALE)
    expected = []
    for i in range(2):
        vectors = made.orientations[i].apply(k)
        H = SERIES.at(PLACES[i : i + 1], 17.0).amplitudes(vectors.T[:, None])[0]

        def spectrum(pose, i=i, H=H):
            turn = made.rotations[i] * Rotation.from_rotvec(pose[:3])
            phase = np.exp(-2j * np.pi * (k @ pose[3:]))
            return H * blob_spectrum(BLOBS, k, SCALE, turn) * phase

        rates = [spectrum(each) - spectrum(-each) for each in step * np.eye(6)]
        A = np.array(
            [[(a.conj() * b).real.sum() for a in rates] for b in rates]
        ) / np.square(2 * step)
        variance = np.prod(SHAPE) * noise**2 / 2 * np.diag(np.linalg.inv(A))
        expected.append(np.sqrt([variance[:3].sum(), variance[3:].sum()]))
    angles, distances = np.transpose(expected)
    found = pose_bound(
        *(BLOBS, made, SCALE),
        resolution=resolution,
        noise=noise,
        tilt=SERIES,
        places=PLACES,
    )
    np.testing.assert_allclose(found, [np.degrees(angles), distances], rtol=1e-5)


@pytest.mark.parametrize(
    "wrong", [[[0.0, 0, 0]], [[0.0, 0]] * 2, "here", [[np.nan] * 3] * 2]
)
def test_places_that_are_not_one_for_each_particle_are_named(wrong):
    with pytest.raises((TypeError, ValueError), match=r"^places"):
        particles(BLOBS, SHAPE, SCALE, 2, places=wrong)


# Tomograms.


def test_each_copy_has_the_defocus_of_its_own_place():
    wide = (81, 81, 81)
    molecules = fp.Molecules(FEW.positions + MOVED, FEW.rotations)
    made = tomogram(BLOBS, molecules, wide, SCALE, tilt=SERIES, noise=0)
    exact = np.zeros(wide)
    for position, rotation in zip(
        molecules.positions, molecules.rotations, strict=True
    ):
        image = blob_image(BLOBS, wide, SCALE, rotation, position - 40.0)
        size = 2 * reach_of(BLOBS)
        exact += seen(image, SERIES, position - 40.0, size)
    assert worst(made, exact) < 0.01


def test_a_copy_further_along_the_beam_has_another_defocus():
    # hand −1: 100 nm further along z is 0.1 µm less under focus
    series, same = (
        fp.tilt_series([0.0], defocus=each, thickness=5.0) for each in (2.0, 1.9)
    )
    options = {"scale": SCALE, "noise": 0}
    top, middle = fp.Molecules([[220.0, 20, 20]]), fp.Molecules([[20.0, 20, 20]])
    made = tomogram(BLOBS, top, (241, 41, 41), tilt=series, **options)
    exact = tomogram(BLOBS, middle, (41, 41, 41), tilt=same, **options)
    assert worst(made[200:], exact) < 1e-3


def test_a_copy_that_leaves_the_tomogram_is_cut_off_after_the_series():
    def shown(shape, place):
        molecules = fp.Molecules([place])
        return tomogram(BLOBS, molecules, shape, SCALE, tilt=flat, noise=0)

    # without a gradient the defocus does not tell where the centre is
    flat = fp.tilt_series([0.0], defocus=1.0, thickness=20.0)
    whole = shown((61, 61, 61), (30.0, 31.0, 30.0))
    part = shown((61, 61, 40), (30.0, 31.0, 9.0))
    assert worst(part, whole[:, :, 21:]) < 0.01


@pytest.mark.parametrize("tilt", [(-60, 60), SERIES], ids=["wedge", "series"])
def test_a_copy_wholly_outside_is_not_there(tilt):
    far = fp.Molecules([[-90.0, 20.0, 20.0], [20.0, 150.0, 20.0]])
    assert not tomogram(BLOBS, far, WHOLE, SCALE, tilt=tilt, noise=0).any()


@pytest.mark.parametrize("corrected", [False, True])
def test_without_contrast_transfer_the_whole_is_multiplied_at_once(corrected):
    defocus = 3.0 if corrected else None
    series = fp.tilt_series(
        [-40, -5, 20], "x", dose=[50, 3, 90], defocus=defocus, corrected=corrected
    )
    made = tomogram(BLOBS, FEW, (41, 41, 45), SCALE, tilt=series, noise=0)
    plain = tomogram(BLOBS, FEW, (41, 41, 45), SCALE, tilt=None, noise=0)
    exact = seen(plain, series, np.zeros(3), 2 * reach_of(BLOBS))
    assert worst(made, exact) < 1e-5


def test_noise_may_be_of_a_colour():
    options = {"tilt": None, "seed": 6}
    white = tomogram(BLOBS, NONE, (15, 17, 19), SCALE, **options)
    found = tomogram(
        BLOBS, NONE, (15, 17, 19), SCALE, noise=2.0, falling=1.2, **options
    )
    length = np.sqrt(np.square(waves_of((15, 17, 19))).sum(axis=0))
    length[0, 0, 0] = np.sort(length.ravel())[1]
    ratio = np.abs(np.fft.fftn(found)) / np.abs(np.fft.fftn(white)) * length**1.2
    np.testing.assert_allclose(ratio, ratio[0, 0, 0], rtol=1e-4)
    assert found.std() == pytest.approx(2.0, rel=0.1)


ALL = {"neighbours": 2, "membranes": 1, "beads": 2, "bead_radius": 2.0}


@pytest.mark.parametrize("tilt", [(-60, 60), SERIES], ids=["wedge", "series"])
def test_the_same_seed_gives_the_same_tomogram(tilt):
    def made(seed):
        options = {**ALL, "tilt": tilt, "falling": 1.0}
        return tomogram(BLOBS, FEW, WHOLE, SCALE, seed=seed, **options)

    np.testing.assert_array_equal(made(4), made(4))
    assert worst(made(4), made(5)) > 0.1


@pytest.mark.parametrize("option", ["neighbours", "membranes", "beads"])
@pytest.mark.parametrize("tilt", [(-60, 60), SERIES], ids=["wedge", "series"])
def test_an_option_adds_something_and_leaves_the_copies_and_the_noise(option, tilt):
    def added(noise):
        options = {"tilt": tilt, "noise": noise, "seed": 2}
        more = tomogram(BLOBS, FEW, WHOLE, SCALE, **{option: 1}, **options)
        return more - tomogram(BLOBS, FEW, WHOLE, SCALE, **options)

    with_noise, without = added(0.5), added(0.0)
    np.testing.assert_allclose(with_noise, without, atol=1e-4)
    assert abs(without).max() > 0.1


def test_what_is_added_is_seen_through_the_tilt_series():
    # what the beam cannot see of a flat whole: its mean is left by H(0) alone
    series = fp.tilt_series([0.0], defocus=2.0, phase_flipped=False, thickness=1e-3)
    for option in ("neighbours", "membranes", "beads"):
        options = {option: 1, "noise": 0, "seed": 8}
        plain = tomogram(BLOBS, NONE, (41, 41, 41), SCALE, tilt=None, **options)
        dark = tomogram(BLOBS, NONE, (41, 41, 41), SCALE, tilt=series, **options)
        spectrum, damped = np.fft.fftn(plain), np.fft.fftn(dark)
        assert abs(damped[0, 0, 0]) < 0.2 * abs(spectrum[0, 0, 0])


# What else is in them.


def crowd_of(molecules, shape=WHOLE):
    poses = zip(molecules.positions, molecules.rotations, strict=True)
    return Crowd(shape, SCALE, tuple(Copy(BLOBS, *each) for each in poses))


def test_neighbours_and_beads_touch_nothing():
    crowd = crowd_of(FEW, (60, 60, 60))
    random = np.random.default_rng(1)
    crowd = neighbours_among(crowd, BLOBS, 4, random)
    crowd = beads_among(crowd, Ball(3.0, 10.0), 5, random)
    assert len(crowd.copies) == 11
    for one, other in itertools.combinations(crowd.copies, 2):
        apart = math.dist(one.position, other.position)
        assert apart >= reach_of(one.body) + reach_of(other.body)
    np.testing.assert_array_equal(
        [each.position for each in crowd.copies[:2]], FEW.positions
    )
    assert all((each.position >= 0).all() for each in crowd.copies)
    assert all((each.position <= 59).all() for each in crowd.copies)


def test_neighbours_are_as_strong_as_the_molecule_and_of_other_kinds():
    crowd = neighbours_among(crowd_of(NONE), BLOBS, 3, np.random.default_rng(1))
    powers, kinds = [], []
    for each in crowd.copies:
        image = image_of(each.body, (31, 31, 31), SCALE, each.rotation, np.zeros(3))
        powers.append(np.square(image).sum())
        kinds.append(each.body.centres)
    own = np.square(blob_image(BLOBS, (31, 31, 31), SCALE)).sum()
    np.testing.assert_allclose(powers, own, rtol=0.02)
    assert not np.allclose(kinds[0], kinds[1])


def test_a_neighbour_is_in_the_tomogram_where_the_crowd_has_it():
    seed = np.random.SeedSequence(9).spawn(3)[0]
    crowd = neighbours_among(crowd_of(FEW), BLOBS, 1, np.random.default_rng(seed))
    options = {"tilt": None, "noise": 0, "seed": 9}
    more = tomogram(BLOBS, FEW, WHOLE, SCALE, neighbours=1, **options)
    plain = tomogram(BLOBS, FEW, WHOLE, SCALE, **options)
    other = crowd.copies[-1]
    middle = (np.array(WHOLE) - 1) / 2
    exact = image_of(
        *(other.body, WHOLE, SCALE, other.rotation, other.position - middle)
    )
    assert worst(more - plain, exact) < 1e-3


def test_a_bead_is_a_ball():
    found = image_of(Ball(2.5, 4.0), (9, 9, 9), 0.8, None, np.array([0.3, -0.2, 0.1]))
    for place in np.ndindex(9, 9, 9):
        away = math.dist((np.array(place) - 4) * 0.8, (0.3, -0.2, 0.1))
        inside = min(1.0, max(0.0, (2.5 - away) / 0.8 + 0.5))
        assert found[place] == pytest.approx(4.0 * inside, abs=1e-6)


def test_beads_have_their_contrast_and_size():
    options = {"tilt": None, "noise": 0, "seed": 1}
    options |= {"beads": 3, "bead_radius": 4.0, "bead_contrast": 7.0}
    made = tomogram(BLOBS, NONE, (61, 61, 61), SCALE, **options)
    largest = blob_image(BLOBS, (31, 31, 31), SCALE).max()
    assert made.max() == pytest.approx(7.0 * largest, rel=1e-3)
    balls = made.sum() / (7.0 * largest * 4 / 3 * np.pi * 4.0**3)
    assert 1.5 < balls < 3.05  # half of one may be beyond each edge


def test_a_membrane_is_two_leaflets_of_a_sphere_that_end_where_molecules_are():
    crowd = crowd_of(FEW[:1], (20, 22, 24))
    (sheet,) = sheets(crowd, BLOBS, 1, np.random.default_rng(3))
    assert np.linalg.norm(sheet.normal) == pytest.approx(1.0)
    sheet = Sheet(FEW.positions[0] + 4.0, sheet.normal, sheet.radius, 2.0)
    found = np.zeros((20, 22, 24), np.float32)
    add_sheet(found, sheet, SCALE, cut_out(crowd))
    reach = reach_of(BLOBS)
    for place in np.ndindex(20, 22, 24):
        away = math.dist(place, sheet.point - sheet.radius * sheet.normal)
        depth = away - sheet.radius
        both = (math.exp(-(((depth - side) / 0.7) ** 2) / 2) for side in (-2.0, 2.0))
        clear = min(1.0, max(0.0, math.dist(place, FEW.positions[0]) - reach))
        assert found[place] == pytest.approx(2.0 * clear * sum(both), abs=1e-5)
    assert found.max() > 1.5


def test_a_membrane_is_seen_with_the_defocus_of_its_point():
    options = {"tilt": SERIES, "noise": 0, "seed": 9}
    more = tomogram(BLOBS, FEW, (41, 41, 45), SCALE, membranes=1, **options)
    plain = tomogram(BLOBS, FEW, (41, 41, 45), SCALE, **options)
    crowd, seed = crowd_of(FEW, (41, 41, 45)), np.random.SeedSequence(9).spawn(3)[1]
    (sheet,) = sheets(crowd, BLOBS, 1, np.random.default_rng(seed))
    density = np.zeros(crowd.shape, np.float32)
    add_sheet(density, sheet, SCALE, cut_out(crowd))
    place = sheet.point - (np.array(crowd.shape) - 1) / 2
    exact = seen(density, SERIES, place, 2 * reach_of(BLOBS))
    assert worst(more - plain, exact) < 1e-4


def test_no_room_is_said():
    with pytest.raises(ValueError, match="neighbours must be as many as there is room"):
        tomogram(BLOBS, FEW, (30, 40, 40), SCALE, neighbours=50)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("neighbours", -1),
        ("membranes", 1.5),
        ("beads", "many"),
        ("bead_radius", 0.0),
        ("bead_contrast", None),
        ("falling", "white"),
        ("shape", (0, 3, 3)),
        ("out", "a.mrc"),
        ("out", np.zeros((3, 3, 3))),
        ("out", np.zeros(WHOLE, np.int16)),
    ],
)
def test_a_wrong_value_is_named(option, value):
    arguments = {"shape": WHOLE, option: value}
    with pytest.raises((TypeError, ValueError), match=rf"^{option} must"):
        tomogram(BLOBS, FEW, scale=SCALE, **arguments)


# Straight to a file.


def test_sections_that_are_filled_by_parts_are_those_made_at_once(monkeypatch):
    once = tomogram(BLOBS, FEW, WHOLE, SCALE, tilt=SERIES, seed=7)
    monkeypatch.setattr(tomograms, "_SLAB", 3 * WHOLE[1] * WHOLE[2] + 1)
    out = np.full(WHOLE, np.nan, np.float32)
    assert tomogram(BLOBS, FEW, WHOLE, SCALE, tilt=SERIES, seed=7, out=out) is out
    np.testing.assert_array_equal(out, once)


def test_a_tomogram_is_written_straight_to_a_file(tmp_path):
    path = tmp_path / "made.mrc"
    options = {**ALL, "seed": 7, "falling": 1.0}
    with mrcfile.new_mmap(path, WHOLE, mrc_mode=2) as file:
        tomogram(BLOBS, FEW, WHOLE, SCALE, out=file.data, **options)
        file.voxel_size = 10 * SCALE
        file.update_header_stats()
    exact = tomogram(BLOBS, FEW, WHOLE, SCALE, **options)
    with mrcfile.open(path) as file:
        np.testing.assert_array_equal(file.data, exact)
    out = np.zeros(WHOLE, np.float32)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out must be an array that can be written to"):
        tomogram(BLOBS, FEW, WHOLE, SCALE, out=out)
