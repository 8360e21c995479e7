"""The engine agrees with a plain loop, and what is claimed of it holds."""

from __future__ import annotations

import numpy as np
import plain_matching as plain
import pytest
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.engine.bank import masked
from funpipe.engine.spectra import sample, template_fields
from funpipe.simulate import (
    Blobs,
    asymmetric_molecule,
    blob_image,
    blob_spectrum,
    particles,
    pose_bound,
)
from funpipe.space.fourier import half_ball
from funpipe.space.geometry import rotation_grid
from funpipe.space.symmetry import symmetry_group
from funpipe.space.tilts import as_tilt

SHAPE = (24, 24, 24)
BLOBS = asymmetric_molecule(3, radius=7.0, sigma=1.3)
TEMPLATE = blob_image(BLOBS, SHAPE, 1.0)
INSIDE = fp.threshold(0.1 * TEMPLATE.max())(TEMPLATE) > 0
UNIT = float(TEMPLATE[INSIDE].std())  # a noise of 1
TILT = (-60, 60)


def make(count, noise=0.0, **options):
    return particles(BLOBS, SHAPE, 1.0, count, noise=noise * UNIT, **options)


def aligned(made, template=TEMPLATE, **options):
    settings = {
        "template": template,
        "scale": 1.0,
        "max_shifts": 3.0,
        "rotations": ((12, 4),) * 3,
        "tilt": TILT,
        "orientations": made.orientations,
        "resolution": 4.0,
        "progress": False,
    }
    return fp.align_subtomograms(made.boxes, **{**settings, **options})


def errors(found, made):
    """Return the angles in degrees and the distances in voxels from the truth."""
    angles = np.degrees((made.rotations.inv() * found.rotations).magnitude())
    return angles, np.linalg.norm(found.shifts - made.shifts, axis=1)


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


@pytest.mark.parametrize("noise", [0.0, 2.0])
@pytest.mark.parametrize("tilt", [None, (-60, 45)])
def test_a_search_without_refinement_agrees_with_the_plain_loop(noise, tilt):
    made = make(6, noise, tilt=tilt)
    grid = rotation_grid(((8, 8),) * 3)
    found = aligned(
        made, rotations=((8, 8),) * 3, max_shifts=2.0, tilt=tilt, refine=False
    )
    template = plain.masked(TEMPLATE, np.ones(SHAPE))[None]
    bank = plain.template_bank(template, grid.rotations)
    search = {"window": (2.0, 2.0, 2.0), "tilt": as_tilt("tilt", tilt), "finest": 4.0}
    for i in range(len(found)):
        one = made.boxes[i : i + 1], made.orientations[i : i + 1]
        best = plain.match(*one, bank=bank, **search)
        apart = (grid.rotations.inv() * found.rotations[i]).magnitude()
        assert apart.min() < 1e-6  # a member of the grid
        there = plain.match(*one, bank=bank[:, [apart.argmin()]], **search)
        assert there.scores[0] >= best.scores[0] - 0.01
        # The plain loop goes on between the voxels, by less than one.
        assert np.abs(found.shifts[i] - there.shifts[0]).max() <= 1
        assert found.scores[i] <= there.scores[0] + 0.01
    assert (found.shifts == np.round(found.shifts)).all()


def test_a_refined_score_is_the_plain_score_at_the_refined_pose():
    made = make(5, 1.0)
    found = aligned(made)
    for i in range(len(found)):
        wanted = plain.match(
            made.boxes[i : i + 1],
            made.orientations[i : i + 1],
            bank=plain.template_bank(
                plain.masked(TEMPLATE, np.ones(SHAPE))[None], found.rotations[i : i + 1]
            ),
            window=(3.0, 3.0, 3.0),
            tilt=as_tilt("tilt", TILT),
            finest=4.0,
        )
        assert wanted.scores[0] == pytest.approx(found.scores[i], rel=0.01)
        np.testing.assert_allclose(wanted.shifts[0], found.shifts[i], atol=0.02)


def test_spectra_between_grid_points_keep_the_score_within_a_percent():
    k = half_ball(SHAPE, 4.0) / np.array(SHAPE)
    fields = template_fields(TEMPLATE, 0.25)
    for rotation in Rotation.random(10, rng=1):
        T = sample(k @ rotation.as_matrix(), fields, 1)[:, 0]
        exact = blob_spectrum(BLOBS, k, 1.0, rotation)
        score = np.vdot(T, exact).real / np.linalg.norm(T) / np.linalg.norm(exact)
        assert abs(1 - score) < 1e-4
        assert np.linalg.norm(T - exact) < 0.01 * np.linalg.norm(exact)


def test_without_noise_poses_are_exact():
    made = make(40)
    angles, distances = errors(aligned(made), made)
    assert np.median(angles) <= 0.02
    assert np.median(distances) <= 0.002


@pytest.mark.parametrize("noise", [1.0, 3.0])
def test_errors_are_near_the_cramer_rao_bound_and_as_predicted(noise):
    made = make(250, noise, seed=5)
    found = aligned(made)
    angles, distances = errors(found, made)
    bounds = pose_bound(BLOBS, made, 1.0, resolution=4.0, noise=noise * UNIT, tilt=TILT)
    assert rms(angles) <= 1.1 * rms(bounds[0])
    assert rms(distances) <= 1.1 * rms(bounds[1])
    assert 0.8 <= rms(angles) / rms(found.angle_errors) <= 1.25
    assert 0.8 <= rms(distances) / rms(found.shift_errors) <= 1.25


def test_a_brighter_neighbour_outside_the_mask_does_not_pull():
    made = make(60, 1.0, tilt=None, shift=1.0)
    small = (40, 40, 40)
    boxes, crowded = [], []
    random = np.random.default_rng(0)
    template = blob_image(BLOBS, small, 1.0)
    mask = fp.cosine_edge(2.0)(fp.sphere(9.0)(template))
    for rotation, shift in zip(made.rotations, made.shifts, strict=True):
        noise = UNIT * random.standard_normal(small)
        alone = blob_image(BLOBS, small, 1.0, rotation, shift)
        beside = blob_image(BLOBS, small, 1.0, rotation.inv(), (0.0, 0.0, 20.0))
        boxes.append(alone + noise)
        crowded.append(alone + 2 * beside + noise)
    options = {"tilt": None, "mask": mask, "template": template}
    without = errors(aligned(made._replace(boxes=np.array(boxes)), **options), made)
    with_it = errors(aligned(made._replace(boxes=np.array(crowded)), **options), made)
    for clean, pulled in zip(without, with_it, strict=True):
        assert rms(pulled) <= 1.25 * rms(clean)


def test_an_unknown_orientation_is_found():
    made = make(60, 1.0, angle=180.0)
    angles, distances = errors(aligned(made, rotations="all"), made)
    assert np.mean(angles < 10) >= 0.98
    assert np.median(distances) < 0.2


def test_searches_wide_and_narrow_end_at_one_pose():
    made = make(30, 2.0, angle=8.0, shift=1.5, seed=11)
    wide, *others = (
        aligned(made, rotations=each, max_shifts=4.0)
        for each in ("all", (24, 6), (12, 3))
    )
    assert wide.converged.all()
    for other in others:
        assert other.converged.all()
        turned = np.degrees((wide.rotations.inv() * other.rotations).magnitude())
        moved = np.linalg.norm(wide.shifts - other.shifts, axis=1)
        free = ~other.at_limit
        assert free.mean() > 0.8
        assert (turned < 0.3 * other.angle_errors)[free].all()
        assert (moved < 0.3 * other.shift_errors)[free].all()


def test_a_symmetric_template_needs_only_part_of_the_rotations():
    one = asymmetric_molecule(2, count=6, radius=2.5, sigma=1.3)
    ring = symmetry_group("C4")
    moved = one.centres + np.array([0.0, 0.0, 5.0])
    centres = np.concatenate([each.apply(moved) for each in ring])
    blobs = Blobs(centres, one.sigma, np.tile(one.weights, 4))
    made = particles(blobs, SHAPE, 1.0, 20, angle=180.0, noise=0.3 * UNIT)
    found = aligned(made, blob_image(blobs, SHAPE, 1.0), rotations="all", symmetry="C4")
    apart = [(made.rotations * each).inv() * found.rotations for each in ring]
    angles = np.degrees(np.min([each.magnitude() for each in apart], axis=0))
    assert np.mean(angles < 10) >= 0.95
    quarter = len(rotation_grid("all", "C4").rotations)
    assert abs(quarter / len(rotation_grid("all").rotations) - 0.25) < 0.01


def test_a_ball_of_rotations_is_as_good_as_the_product_of_three_angles():
    made = make(60, 1.0)
    product = errors(aligned(made), made)
    ball = errors(aligned(made, rotations=(12, 4)), made)
    assert rms(ball[0]) == pytest.approx(rms(product[0]), rel=0.05)


def test_whitening_lowers_the_error_under_falling_noise():
    made = make(150, 3.0, falling=1.5)
    plainly = errors(aligned(made), made)
    whitened = errors(aligned(made, whiten=True), made)
    assert rms(whitened[0]) < 0.9 * rms(plainly[0])
    assert rms(whitened[1]) < 0.9 * rms(plainly[1])


WIDER = float(np.hypot(BLOBS.sigma, 1.5))
BLURRED = Blobs(BLOBS.centres, WIDER, BLOBS.weights * (BLOBS.sigma / WIDER) ** 3)
UNLIKE = {
    "data as the template": (BLOBS, TEMPLATE, 0.0),
    "noise that falls": (BLOBS, TEMPLATE, 1.5),
    "data blurred": (BLURRED, TEMPLATE, 0.0),
    "template blurred": (BLOBS, blob_image(BLURRED, SHAPE, 1.0), 0.0),
}


@pytest.mark.parametrize("kind", UNLIKE)
def test_whitened_errors_are_as_predicted_whatever_the_data_are_like(kind):
    blobs, template, falling = UNLIKE[kind]
    made = particles(blobs, SHAPE, 1.0, 150, noise=UNIT, falling=falling, seed=8)
    found = aligned(made, template, whiten=True)
    angles, distances = errors(found, made)
    assert 0.8 <= rms(angles) / rms(found.angle_errors) <= 1.25
    assert 0.8 <= rms(distances) / rms(found.shift_errors) <= 1.25
    plainly = errors(aligned(made, template), made)
    assert rms(angles) <= 1.06 * rms(plainly[0])
    assert rms(distances) <= 1.03 * rms(plainly[1])


def crowded(made, neighbours=4):
    """Return boxes with others of the molecule around, whose centres stay outside."""
    random = np.random.default_rng(1)
    boxes = made.boxes.copy()
    for box, shift in zip(boxes, made.shifts, strict=True):
        for _ in range(neighbours):
            way = random.normal(size=3)
            away = shift + way / np.linalg.norm(way) * random.uniform(13, 16)
            turned = Rotation.random(random_state=random)
            box += blob_image(BLOBS, SHAPE, 1.0, turned, away)
    return made._replace(boxes=boxes)


def test_whitened_errors_among_neighbours_are_less_and_as_predicted():
    made = crowded(make(150, 1.0, tilt=None, seed=8))
    mask = fp.cosine_edge(2.0)(fp.sphere(9.0)(TEMPLATE))
    options = {"tilt": None, "mask": mask}
    plainly = errors(aligned(made, **options), made)
    found = aligned(made, whiten=True, **options)
    angles, distances = errors(found, made)
    assert rms(angles) <= 1.06 * rms(plainly[0])
    assert rms(distances) < 0.9 * rms(plainly[1])
    assert 0.8 <= rms(angles) / rms(found.angle_errors) <= 1.25
    assert 0.8 <= rms(distances) / rms(found.shift_errors) <= 1.25


@pytest.mark.parametrize("count", [1, 2, 5])
def test_whitening_by_few_particles_or_none_of_noise_does_no_harm(count):
    for noise, least in ((0.0, (0.1, 0.02)), (1.0, (3.0, 0.3))):
        made = make(count, noise, seed=8)
        angles, distances = errors(aligned(made, whiten=True), made)
        plainly = errors(aligned(made), made)
        assert rms(angles) <= max(1.25 * rms(plainly[0]), least[0])
        assert rms(distances) <= max(1.25 * rms(plainly[1]), least[1])


def test_the_best_of_several_templates_is_named():
    other = asymmetric_molecule(9, radius=7.0, sigma=1.3)
    mixed = [
        make(10, 1.0),
        particles(other, SHAPE, 1.0, 10, noise=UNIT, seed=1),
    ]
    templates = [TEMPLATE, blob_image(other, SHAPE, 1.0)]
    for kind, made in enumerate(mixed):
        found = aligned(made, templates)
        alone = aligned(made, templates[kind])
        assert (found.templates == kind).all()
        np.testing.assert_allclose(found.scores, alone.scores, atol=2e-3)


def test_the_same_input_gives_the_same_bits_and_batches_change_nothing():
    made = make(40, 1.0)
    first, again = aligned(made), aligned(made)
    assert np.array_equal(first.scores, again.scores)
    assert np.array_equal(first.rotations.as_quat(), again.rotations.as_quat())
    assert np.array_equal(first.shifts, again.shifts)
    part = made._replace(boxes=made.boxes[7:12], orientations=made.orientations[7:12])
    np.testing.assert_allclose(aligned(part).scores, first.scores[7:12], atol=1e-4)


def test_float32_suffices():
    made = make(10, 1.0)
    found = aligned(made)
    k = half_ball(SHAPE, 4.0) / np.array(SHAPE)
    offset = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in SHAPE)))
    offset = np.moveaxis(offset, 1, 2).reshape(3, -1)
    waves = np.exp(-2j * np.pi * (k @ offset))
    fields = template_fields(masked(TEMPLATE, np.ones(SHAPE)), 0.25)
    for i in range(len(found)):
        F = waves @ made.boxes[i].astype(np.float64).ravel()
        W = as_tilt("tilt", TILT)(made.orientations[i].apply(k).T)
        T = sample(k @ found.rotations[i].as_matrix(), fields, 1)[:, 0].astype(complex)
        D = F * np.exp(2j * np.pi * (k @ found.shifts[i]))
        score = (W * T.conj() * D).sum().real / np.sqrt(
            (W * np.abs(T) ** 2).sum() * (W * np.abs(F) ** 2).sum()
        )
        assert found.scores[i] == pytest.approx(score, abs=1e-5)


def test_shifts_alone_are_refined_when_no_rotations_are_tried():
    made = make(10, angle=0.0)
    found = aligned(made, rotations=None)
    assert (found.rotations.magnitude() == 0).all()
    assert np.linalg.norm(found.shifts - made.shifts, axis=1).max() < 0.01
    assert np.isnan(found.angle_errors).all()


def test_a_resolution_coarser_than_the_box_is_refused():
    with pytest.raises(ValueError, match="resolution must be finer than the box of 24"):
        aligned(make(1), resolution=25.0)


def test_a_resolution_of_the_whole_box_still_gives_a_pose():
    found = aligned(make(2), resolution=24.0, rotations=None)
    assert np.isfinite(found.shifts).all()


def test_an_empty_box_has_a_score_of_0_and_no_known_pose():
    made = make(3, 1.0)
    made.boxes[1] = 7.0
    with pytest.warns(UserWarning, match="1 of 3 boxes hold nothing"):
        found = aligned(made)
    assert found.scores[1] == 0
    assert (found.shifts[1] == 0).all() and found.rotations[1].magnitude() == 0
    assert np.isnan(found.angle_errors[1]) and np.isnan(found.shift_errors[1])
    whole = aligned(make(3, 1.0))
    np.testing.assert_allclose(found.scores[[0, 2]], whole.scores[[0, 2]], atol=1e-4)
