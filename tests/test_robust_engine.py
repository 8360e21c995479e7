"""The engine's results do not depend on units, keep to limits, and never crash."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.engine.limits import Limits
from funpipe.engine.spectra import sample, template_fields
from funpipe.engine.steps import FREE, Step, variances
from funpipe.simulate import asymmetric_molecule, blob_image, particles
from funpipe.space.geometry import radius, rotation_grid
from funpipe.space.precision import normalised

SHAPE = (20, 20, 20)
BLOBS = asymmetric_molecule(3, radius=5.0, sigma=1.3)
TEMPLATE = blob_image(BLOBS, SHAPE, 1.0)
UNIT = float(TEMPLATE[0.1 * TEMPLATE.max() < TEMPLATE].std())
OPTIONS = {
    "template": TEMPLATE,
    "scale": 1.0,
    "max_shifts": 2.0,
    "rotations": (12, 6),
    "tilt": (-60, 60),
    "resolution": 4.0,
    "progress": False,
}


def made(count=4, noise=1.0, **options):
    return particles(BLOBS, SHAPE, 1.0, count, noise=noise * UNIT, **options)


MADE = made()


def align(boxes, **options):
    return fp.align_subtomograms(
        boxes, orientations=MADE.orientations, **{**OPTIONS, **options}
    )


FOUND = align(MADE.boxes)


def assert_same(found, wanted, tolerance=1e-3):
    assert (wanted.rotations.inv() * found.rotations).magnitude().max() < tolerance
    np.testing.assert_allclose(found.shifts, wanted.shifts, atol=tolerance)
    np.testing.assert_allclose(found.scores, wanted.scores, atol=tolerance)
    for name in ("shift_errors", "angle_errors"):
        np.testing.assert_allclose(
            getattr(found, name), getattr(wanted, name), rtol=0.01
        )


decades = st.floats(-30, 30).map(lambda power: 10.0**power)
levels = st.floats(-1e9, 1e9)


# Units.


@given(unit=decades, level=levels)
@settings(max_examples=25, deadline=None)
def test_subtomograms_of_any_scale_and_level_give_the_same_poses(unit, level):
    boxes = MADE.boxes.astype(np.float64)
    assert_same(align((boxes + level * boxes.std()) * unit), FOUND)


@given(unit=decades, level=levels)
@settings(max_examples=25, deadline=None)
def test_templates_of_any_scale_and_level_give_the_same_poses(unit, level):
    template = (TEMPLATE.astype(np.float64) + level * TEMPLATE.max()) * unit
    assert_same(align(MADE.boxes, template=template), FOUND)


@given(unit=decades)
@settings(max_examples=5, deadline=None)
def test_tilt_weights_of_any_scale_give_the_same_poses(unit):
    assert_same(align(MADE.boxes, tilt=scaled_tilt(unit)), FOUND)


def scaled_tilt(unit):
    measured = fp.single_axis((-60, 60))
    return lambda vectors: measured(vectors) * unit


SCENE = np.random.default_rng(0).standard_normal((40, 40, 40)) * UNIT
SCENE[10:30, 10:30, 10:30] += TEMPLATE
PICKS = fp.Molecules([[19.0, 20.0, 20.0], [20.0, 19.0, 20.0]])


@given(unit=decades, level=levels, whiten=st.booleans())
@settings(max_examples=15, deadline=None)
def test_tomograms_of_any_scale_and_level_give_the_same_poses(unit, level, whiten):
    options = {**OPTIONS, "whiten": whiten, "preflight": False}
    found = fp.align((SCENE + level * UNIT) * unit, PICKS, **options)
    wanted = fp.align(SCENE, PICKS, **options)
    np.testing.assert_allclose(found.positions, wanted.positions, atol=2e-3)
    for name in ("score", "shift_error", "angle_error"):
        np.testing.assert_allclose(
            found.features[name], wanted.features[name], rtol=0.01
        )


@given(
    unit=decades,
    level=levels,
    kind=st.sampled_from([np.float64, np.float32, np.int64, np.int16]),
)
@settings(deadline=None)
def test_normalised_boxes_have_mean_0_and_size_1(unit, level, kind):
    values = np.arange(27.0).reshape(1, 3, 3, 3) ** 2
    if np.dtype(kind).kind == "f":
        values = values * unit + (level * unit if kind is np.float64 else 0)
    box = normalised(values.astype(kind))
    assert box.dtype == np.float32
    assert abs(box.mean()) < 1e-5 and abs(box.std() - 1) < 1e-5


@given(value=st.floats(-1e300, 1e300))
def test_a_constant_box_is_normalised_to_0(value):
    assert (normalised(np.full((1, 3, 4, 5), value)) == 0).all()


# Nothing is read outside a grid, and nothing is NaN unsaid.


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -1e9, 0.5, -0.5])
def test_no_point_is_sampled_outside_the_grid(value):
    fields = template_fields(TEMPLATE, 0.25)
    points = np.zeros((7, 3), np.float32)
    points[3] = value
    found = sample(points, fields)
    assert found.shape == (7, 4)
    assert np.isfinite(found[[0, 1, 2, 4, 5, 6]]).all()


@pytest.mark.parametrize("whiten", [False, True])
def test_particles_in_an_empty_tomogram_stay_where_they_are(whiten):
    with pytest.warns(UserWarning, match="2 of 2 boxes hold nothing"):
        found = fp.align(
            np.zeros((40, 40, 40)), PICKS, **OPTIONS, whiten=whiten, preflight=False
        )
    np.testing.assert_array_equal(found.positions, PICKS.positions)
    assert (found.features["angle"] == 0).all()
    assert (found.features["score"] == 0).all()
    assert np.isnan(found.features["shift_error"]).all()
    assert np.isnan(found.features["angle_error"]).all()
    assert not found.features["at_limit"].any()


def test_a_box_beside_a_bright_one_but_flat_is_empty():
    scene = SCENE.copy()
    scene[:, :, 22:] = 5.0
    picks = fp.Molecules([[20.0, 20.0, 10.0], [20.0, 20.0, 40.0]])
    wide = np.concatenate([scene, np.full((40, 40, 30), 5.0)], axis=2)
    with pytest.warns(UserWarning, match="1 of 2 boxes hold nothing"):
        found = fp.align(wide, picks, **OPTIONS, preflight=False)
    assert found.features["score"][1] == 0
    np.testing.assert_array_equal(found.positions[1], picks.positions[1])


def test_a_box_of_which_nothing_was_measured_stays_where_it_is():
    with pytest.warns(UserWarning, match="4 of 4 boxes hold nothing"):
        found = align(MADE.boxes, tilt=nothing_measured)
    assert (found.scores == 0).all() and (found.shifts == 0).all()


def nothing_measured(vectors):
    """Return 0 but for the vectors that are looked at before the work."""
    return np.where(np.abs(vectors).max() > 0.5, 1.0, 0.0) * np.ones(vectors.shape[1:])


@pytest.mark.parametrize("whiten", [False, True])
@pytest.mark.parametrize("value", [1e25, 1e37, -3e38])
def test_one_huge_voxel_gives_finite_results(value, whiten):
    scene = SCENE.astype(np.float32)
    scene[20, 20, 14] = value
    found = fp.align(scene, PICKS, **OPTIONS, whiten=whiten, preflight=False)
    for name in ("score", "shift", "angle", "shift_error", "angle_error"):
        assert np.isfinite(found.features[name]).all(), name
    assert (np.abs(found.features["score"]) <= 1).all()


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_weights_that_are_no_weights_are_refused(value):
    def tilt(vectors):
        return np.full(vectors.shape[1:], value)

    with pytest.raises(ValueError, match="tilt must give weights"):
        align(MADE.boxes, tilt=tilt)


def test_a_template_without_waves_of_the_resolution_is_refused():
    signs = np.where(np.indices(SHAPE).sum(axis=0) % 2, 1.0, -1.0)
    checkerboard = signs * np.exp(-(radius(SHAPE) ** 2) / 8)
    with pytest.raises(ValueError, match="template must have waves of 8 voxels"):
        align(MADE.boxes, template=checkerboard, resolution=8.0)


def test_waves_that_the_boxes_lack_do_not_count_when_whitened():
    spectrum = np.fft.rfftn(MADE.boxes, axes=(1, 2, 3))
    length = np.sqrt(
        sum(
            np.square(each)
            for each in np.meshgrid(
                *(np.fft.fftfreq(20),) * 2, np.fft.rfftfreq(20), indexing="ij"
            )
        )
    )
    smooth = np.fft.irfftn(spectrum * (length < 4.5 / 20), s=SHAPE, axes=(1, 2, 3))
    found = align(smooth, whiten=True)
    coarser = align(smooth, whiten=True, resolution=20 / 4.49)
    assert_same(found, coarser, 0.01)


@pytest.mark.parametrize("refine", [False, True])
def test_scores_stay_between_minus_1_and_1(refine):
    noiseless = made(6, 0.0, tilt=None)
    found = fp.align_subtomograms(
        noiseless.boxes,
        **{**OPTIONS, "tilt": None, "template": [TEMPLATE, TEMPLATE[::-1].copy()]},
        refine=refine,
    )
    assert (np.abs(found.scores) <= 1).all()
    itself = fp.align_subtomograms(
        TEMPLATE[None], **{**OPTIONS, "tilt": None}, refine=refine
    )
    assert 1 - 1e-4 < itself.scores[0] <= 1


@pytest.mark.parametrize("tilt", [(-3, 3), (-10, 10), (-90, 90), (0, 3)])
def test_an_error_of_a_pose_is_at_most_that_of_an_unknown_one(tilt):
    found = align(MADE.boxes, tilt=tilt)
    assert (found.angle_errors <= 180).all()
    assert (found.shift_errors <= np.linalg.norm(SHAPE) / 2).all()


def test_an_angle_that_nothing_fixes_is_unknown():
    z, y, x = np.indices(SHAPE) - 9.5
    rod = np.exp(-(x**2 + y**2) / 8 - z**2 / 60)
    noise = np.random.default_rng(1).standard_normal((3, *SHAPE)) * 0.05
    options = {**OPTIONS, "template": rod, "tilt": None}
    found = fp.align_subtomograms(rod + noise, **options, estimate="mode")
    assert (found.angle_errors > 90).all()
    assert (found.shift_errors < 2).all()
    # Of the mean it is known that it is in the window, and nothing else.
    found = fp.align_subtomograms(rod + noise, **options)
    assert (found.angle_errors > 12 / np.sqrt(5)).all()
    assert (found.shift_errors < 2).all()


# Limits.

RANGES = [(12, 6), ((12, 6), (6, 6), (0, 0)), ((6, 3), (0, 0), (12, 6))]


def limits_of(rotations):
    return Limits((2.0, 2.0, 2.0), rotation_grid(rotations).limit)


@pytest.mark.parametrize("rotations", RANGES)
@pytest.mark.parametrize("noise", [0.0, 2.0])
def test_refined_poses_keep_to_the_limits_and_say_when_they_end_on_one(
    rotations, noise
):
    far = made(40, noise, angle=25.0, shift=3.0)
    found = fp.align_subtomograms(
        far.boxes, **{**OPTIONS, "rotations": rotations}, orientations=far.orientations
    )
    assert (np.abs(found.shifts) <= 2.0 + 1e-9).all()
    if isinstance(rotations[0], tuple):
        angles = np.abs(found.rotations.as_euler("XYZ", degrees=True))
        assert (angles <= np.array(rotations)[:, 0] + 1e-6).all()
    else:
        assert (np.degrees(found.rotations.magnitude()) <= 12 + 1e-6).all()
    assert found.at_limit.any()
    inside = made(40, 0.0, angle=4.0, shift=1.0)
    free = fp.align_subtomograms(
        inside.boxes, **OPTIONS, orientations=inside.orientations
    )
    assert not free.at_limit.any()


def test_a_pose_on_a_limit_is_the_best_within_it():
    truth = Rotation.from_rotvec([[0.0, 0.0, 20.0], [14.0, 14.0, 0.0]], degrees=True)
    boxes = np.stack([blob_image(BLOBS, SHAPE, 1.0, each) for each in truth])
    options = {**OPTIONS, "tilt": None}
    found = fp.align_subtomograms(boxes, **options)
    assert found.at_limit.all()
    np.testing.assert_allclose(np.degrees(found.rotations.magnitude()), 12, atol=1e-6)
    near = Rotation.random(400, rng=0).as_rotvec()
    for i, box in enumerate(boxes):
        around = found.rotations[i] * Rotation.from_rotvec(0.03 * near)
        within = around[np.degrees(around.magnitude()) <= 12]
        others = fp.align_subtomograms(
            box[None],
            **{**options, "rotations": within, "refine": False, "max_shifts": 0.0},
        )
        centred = fp.align_subtomograms(box[None], **{**options, "max_shifts": 0.0})
        assert centred.scores[0] >= others.scores[0] - 1e-4


def test_on_the_limits_the_climb_ends_at_the_same_score_from_any_start():
    far = made(60, 0.0, angle=25.0, shift=3.0, seed=4)
    coarse, fine = (
        fp.align_subtomograms(
            far.boxes,
            **{**OPTIONS, "rotations": (12, step), "max_shifts": 1.0},
            orientations=far.orientations,
        )
        for step in (6, 2)
    )
    assert coarse.at_limit.mean() > 0.9
    assert np.quantile(np.abs(coarse.scores - fine.scores), 0.9) < 1e-4


def test_what_the_normal_matrix_says_nothing_of_has_no_bound():
    normal = 100 * np.eye(6)
    normal[:2, :2] = 100  # nothing of a turn about z against one about y
    one = np.ones(1)
    all_alike = (normal[None], normal[None], 1e-12 * normal[None])
    step = Step(one, np.zeros((1, 6)), *all_alike, 1e-12 * one, one, one)
    turn, move = variances(step, FREE)[0]
    assert turn == np.inf and move == pytest.approx(3e-14)


@given(
    vectors=st.lists(st.tuples(*[st.floats(-180, 180)] * 3), min_size=1, max_size=4),
    rotations=st.sampled_from(RANGES),
)
@settings(deadline=None)
def test_what_is_brought_within_limits_is_within_and_then_stays(vectors, rotations):
    limits = limits_of(rotations)
    R = Rotation.from_rotvec(vectors, degrees=True).as_matrix()
    t = np.array(vectors) / 20
    once = limits.within(R, t)
    again = limits.within(*once)
    for first, second in zip(once, again, strict=True):
        np.testing.assert_allclose(first, second, atol=1e-9)


@given(vector=st.tuples(*[st.floats(-25, 25)] * 3), rotations=st.sampled_from(RANGES))
@settings(deadline=None)
def test_outward_steps_are_those_that_leave_the_limits(vector, rotations):
    limits = limits_of(rotations)
    R = Rotation.from_rotvec([vector], degrees=True).as_matrix()
    R, t = limits.within(R, np.array([vector]))
    for row in limits.outward(R, t)[0]:
        length = np.linalg.norm(row)
        if length > 0:
            step = 1e-3 * row / length
            moved = (R @ Rotation.from_rotvec(step[None, :3]).as_matrix(), t + step[3:])
            back = limits.within(*moved)
            assert (
                max(np.abs(a - b).max() for a, b in zip(moved, back, strict=True)) > 0
            )


@pytest.mark.parametrize("beta", [120.0, -120.0, 170.0, -95.0, 40.0])
@pytest.mark.parametrize("alpha", [5.0, -7.0])
def test_angles_are_said_in_the_way_that_is_within_their_limits(alpha, beta):
    limits = Limits((2.0,) * 3, (10.0, 175.0, 20.0))
    angles = np.array([alpha, beta, -13.0])
    R = Rotation.from_euler("XYZ", angles, degrees=True).as_matrix()[None]
    np.testing.assert_allclose(np.degrees(limits._angles(R))[0], angles, atol=1e-9)
    beyond = angles * [3.0, 1.0, 1.0]
    R = Rotation.from_euler("XYZ", beyond, degrees=True).as_matrix()[None]
    back, _ = limits.within(R, np.zeros((1, 3)))
    nearest = np.array([10.0 * np.sign(alpha), beta, -13.0])
    wanted = Rotation.from_euler("XYZ", nearest, degrees=True).as_matrix()
    np.testing.assert_allclose(back[0], wanted, atol=1e-9)
    assert limits.reached(back, np.zeros((1, 3))).all()


@pytest.mark.parametrize("turn", [25.0, (25.0, 40.0, 35.0)])
def test_angles_change_by_a_step_as_their_limits_say(turn):
    """The rows of limits that are reached are the rates of their angles."""
    vectors = np.random.default_rng(0).normal(size=(6, 3))
    if isinstance(turn, tuple):
        angles = np.array([25.0, 40.0, -35.0])
        R = Rotation.from_euler("XYZ", angles, degrees=True)
    else:
        R = Rotation.from_rotvec([15.0, -12.0, -16.0], degrees=True)
    turn = (25.0, 40.0, 35.0) if isinstance(turn, tuple) else None
    limits = Limits((2.0,) * 3, turn or np.degrees(R.magnitude()))
    rows = limits.outward(R.as_matrix()[None], np.zeros((1, 3)))[0, :, :3]
    rows = rows[np.abs(rows).sum(axis=1) > 0]
    assert len(rows) == (3 if turn else 1)
    for way in vectors:
        up, down = (
            limits._angles((R * Rotation.from_rotvec(s * way)).as_matrix()[None])[0]
            for s in (1e-5, -1e-5)
        )
        rates = (up - down) / 2e-5
        if turn:
            rates[2] *= -1  # outward is down
        np.testing.assert_allclose(np.sort(rows @ way), np.sort(rates), atol=1e-6)


@pytest.mark.parametrize("turn", [180.0, (180.0, 90.0, 180.0), None])
def test_half_a_turn_is_no_limit(turn):
    limits = Limits((2.0,) * 3, turn)
    vectors = [[0, 180, 0], [180, 0, 0], [0, 0, 179.9999999], [100, 90, 100]]
    R = Rotation.from_rotvec(vectors, degrees=True).as_matrix()
    t = np.zeros((4, 3))
    assert not limits.reached(R, t).any()
    assert (limits.outward(R, t) == 0).all()
    np.testing.assert_array_equal(limits.within(R, t)[0], R)


def test_a_limit_is_reached_a_ten_millionth_before_it():
    for short, reached in ((0.0, True), (0.9e-7, True), (1.1e-7, False)):
        turned = Rotation.from_rotvec([[0, np.radians(20) - short, 0]]).as_matrix()
        limits = Limits((2.0, 1.0, 1.0), 20.0)
        zero, t = np.zeros((1, 3)), np.array([[-2.0 + short, 0, 0]])
        assert limits.reached(turned, zero)[0] == reached
        assert limits.outward(turned, zero).any() == reached
        still = np.eye(3)[None]
        assert limits.reached(still, t)[0] == reached
        assert limits.outward(still, t).any() == reached
