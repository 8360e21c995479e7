from __future__ import annotations

import inspect
import multiprocessing
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe import Alignment, Molecules
from funpipe.io.volumes import write_mrc
from funpipe.simulate import asymmetric_molecule, blob_image, tomogram

SCALE = 0.5  # nm per voxel
BOX = (16, 17, 18)
MOLECULE = asymmetric_molecule(count=14, radius=2.0, sigma=0.55)
TEMPLATE = blob_image(MOLECULE, BOX, SCALE)
MASK = fp.soft_otsu(0.4, 0.8)
GRID = ((20, 20),) * 3
TURNS = Rotation.from_rotvec(
    [[0, 0, 0], [20, 0, 0], [0, -20, 0], [0, 0, 20]], degrees=True
)


class Refusing(Executor):
    """An executor that must not be given work."""

    def submit(self, *_, **__):
        raise AssertionError("work has started")


class Recorded:
    """An array on disk, as far as a reader can tell, that counts how often it is."""

    def __init__(self, array):
        self._array, self.reads = array, 0
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, index):
        self.reads += 1
        return self._array[index]


def waves_of(shape, turn):
    """Return all frequencies of a box, per voxel, turned: (z, y, x, 3)."""
    axes = [np.fft.fftfreq(n) for n in shape]
    vectors = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    return turn.apply(vectors.reshape(-1, 3)).reshape(vectors.shape)


def seen(shape, turn, *series):
    """Tell which waves lie on a plane that some tilt of some series measured."""
    k = waves_of(shape, turn)
    measured = np.zeros(shape, bool)
    for lowest, highest, axis in series:
        across = k[..., {"y": 2, "x": 1}[axis]]
        tilt = np.degrees(np.arctan2(k[..., 0] * np.sign(across), np.abs(across)))
        measured |= (tilt >= lowest - 1e-6) & (tilt <= highest + 1e-6)
    return measured


def through(box, waves):
    """Leave in a box only some of its waves."""
    return np.fft.ifftn(np.fft.fftn(box) * waves).real


SERIES = {
    "everything": (None, None),
    "plus and minus 60": ((-60, 60), [(-60, 60, "y")]),
    "more to one side": ((-40, 65), [(-40, 65, "y")]),
    "about x": (fp.single_axis((-50, 60), "x"), [(-50, 60, "x")]),
    "both axes": (
        fp.dual_axis((-50, 50), (-60, 30)),
        [(-50, 50, "y"), (-60, 30, "x")],
    ),
}


class Case:
    """Boxes that hold the molecule at known poses of the grid, and between voxels."""

    def __init__(self, count=5, series=None, seed=0, scale=SCALE, box=BOX):
        random = np.random.default_rng(seed)
        angles = random.integers(-1, 2, (count, 3)) * 20
        self.rotations = Rotation.from_euler("XYZ", angles, degrees=True)
        self.shifts = random.uniform(-0.7, 0.7, (count, 3))
        self.orientations = Rotation.random(count, rng=random)
        self.boxes = np.stack(
            [
                blob_image(MOLECULE, box, scale, rotation, shift)
                for rotation, shift in zip(self.rotations, self.shifts, strict=True)
            ]
        )
        if series:
            for i, turn in enumerate(self.orientations):
                self.boxes[i] = through(self.boxes[i], seen(box, turn, *series))

    def align(self, **options):
        options = {
            "template": TEMPLATE,
            "scale": SCALE,
            "max_shifts": 0.75,
            "rotations": GRID,
            "orientations": self.orientations,
            "progress": False,
            **options,
        }
        return fp.align_subtomograms(self.boxes, **options)

    def errors(self, found):
        """Return the largest errors, in voxels and in degrees."""
        shifts = np.abs(found.shifts - self.shifts).max() / SCALE
        angles = (self.rotations.inv() * found.rotations).magnitude()
        return shifts, np.degrees(angles.max())


def assert_same(left: Alignment, right: Alignment, atol: float = 1e-5) -> None:
    np.testing.assert_allclose(left.shifts, right.shifts, atol=atol)
    np.testing.assert_allclose(left.scores, right.scores, atol=atol)
    np.testing.assert_array_equal(left.templates, right.templates)
    apart = (left.rotations.inv() * right.rotations).magnitude()
    np.testing.assert_allclose(apart, 0, atol=atol)


# Finding poses in boxes.


@pytest.mark.parametrize("name", SERIES)
def test_a_pose_is_found_through_any_tilt_series(name):
    tilt, series = SERIES[name]
    case = Case(series=series)
    found = case.align(tilt=tilt)
    shift, angle = case.errors(found)
    assert shift < 0.01
    assert angle < 0.1
    assert (found.scores > 0.98).all()
    assert (found.scores <= 1 + 1e-6).all()


def test_a_pose_is_found_under_a_mask():
    tilt, series = SERIES["more to one side"]
    case = Case(series=series)
    found = case.align(tilt=tilt, mask=MASK, rotations=case.rotations)
    shift, angle = case.errors(found)
    # What the mask cuts off still lies in the box.
    assert shift < 0.2
    assert angle < 1


def test_the_wedge_is_seen_in_the_tomograms_frame():
    tilt, series = SERIES["about x"]
    case = Case(series=series)
    options = {"tilt": tilt, "rotations": case.rotations}
    right = case.align(**options)
    wrong = case.align(orientations=None, **options)
    assert (wrong.scores < right.scores - 0.01).all()
    untouched = Rotation.identity(len(case.boxes))
    assert_same(wrong, case.align(orientations=untouched, **options))


@pytest.mark.parametrize("name", list(SERIES)[1:])
def test_what_a_tilt_series_did_not_measure_does_not_count(name):
    tilt, series = SERIES[name]
    case = Case(series=series)
    before = case.align(tilt=tilt, rotations=TURNS)
    random = np.random.default_rng(1)
    for i, turn in enumerate(case.orientations):
        noise = random.normal(size=BOX)
        case.boxes[i] += through(noise, ~seen(BOX, turn, *series))
    assert_same(case.align(tilt=tilt, rotations=TURNS), before, atol=1e-4)
    assert (case.align(rotations=TURNS).scores < before.scores - 0.1).all()


def test_waves_finer_than_the_resolution_do_not_count():
    case = Case()
    before = case.align(resolution=2.0, rotations=TURNS)
    length = np.linalg.norm(waves_of(BOX, Rotation.identity()), axis=-1) / SCALE
    noise = np.random.default_rng(1).normal(size=case.boxes.shape)
    case.boxes += np.stack([through(each, length > 1 / 2.0) for each in noise])
    # Poses climb until a step is small, to about 1e-3 voxel.
    assert_same(case.align(resolution=2.0, rotations=TURNS), before, atol=1e-3)
    assert (case.align(rotations=TURNS).scores < before.scores - 0.1).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_score_is_the_normalised_correlation_over_all_waves(axis):
    # A pattern that does not vary along one axis lies in one plane of waves: each of
    # them, and its mirror image, counts as much as any other wave.
    flat = [n if i != axis else 1 for i, n in enumerate(BOX)]
    noise = np.random.default_rng(2).normal(size=flat) * np.ones(BOX)
    box = TEMPLATE + 0.2 * noise
    length = np.linalg.norm(waves_of(BOX, Rotation.identity()), axis=-1)
    counted = (length > 0) & (length < 0.5)
    T, F = np.fft.fftn(TEMPLATE)[counted], np.fft.fftn(box)[counted]
    expected = (T.conj() * F).real.sum() / np.linalg.norm(T) / np.linalg.norm(F)
    assert 0.5 < expected < 0.8
    options = {"template": TEMPLATE, "scale": SCALE, "progress": False}
    found = fp.align_subtomograms(box[None], max_shifts=0, **options)
    assert found.scores[0] == pytest.approx(expected, abs=0.02)


def test_the_finest_resolution_is_two_voxels():
    case = Case(2)
    finest = case.align(resolution=2 * SCALE, rotations=TURNS)
    assert_same(finest, case.align(resolution=None, rotations=TURNS), atol=0)


def test_brightness_and_contrast_of_a_box_do_not_matter():
    case = Case(3)
    before = case.align(tilt=(-60, 60), rotations=TURNS)
    case.boxes = 3 * case.boxes + 5
    assert_same(case.align(tilt=(-60, 60), rotations=TURNS), before, atol=1e-4)


def test_a_negative_of_the_template_has_a_negative_score():
    case = Case(2)
    case.boxes = -case.boxes
    best = case.align(rotations=case.rotations, max_shifts=0)
    still = case.align(template=-TEMPLATE, rotations=case.rotations)
    assert (still.scores > 0.98).all()
    assert (best.scores < 0.5).all()


def test_shifts_stay_within_their_limits_along_each_axis():
    case = Case(1)
    case.boxes = blob_image(MOLECULE, BOX, SCALE, shift=(0.6, -0.6, 0.6))[None]
    limits = (0.7, 0.2, 0.0)
    found = case.align(rotations=None, max_shifts=limits).shifts[0]
    assert (np.abs(found) <= np.array(limits) + 1e-9).all()
    assert abs(found[0] - 0.6) < 0.1
    assert found[1] == pytest.approx(-0.2, abs=0.01)
    free = case.align(rotations=None, max_shifts=(0.7, 0.7, 0.7)).shifts[0]
    np.testing.assert_allclose(free, [0.6, -0.6, 0.6], atol=0.01 * SCALE)


def test_no_shift_is_found_where_none_is_allowed():
    case = Case(3)
    found = case.align(rotations=TURNS, max_shifts=0)
    np.testing.assert_array_equal(found.shifts, 0)


def test_any_rotations_may_be_tried():
    turns = Rotation.random(6, rng=5)
    case = Case(1)
    case.boxes = np.stack([blob_image(MOLECULE, BOX, SCALE, each) for each in turns])
    case.shifts, case.rotations = np.zeros((6, 3)), turns
    found = case.align(rotations=turns, orientations=None)
    shift, angle = case.errors(found)
    assert shift < 0.01
    assert angle < 0.1
    assert found.rotations.as_quat().shape == (6, 4)


def test_one_rotation_and_none_are_rotations_to_try():
    case = Case(2)
    alone = case.align(rotations=Rotation.identity())
    assert_same(alone, case.align(rotations=None), atol=0)
    assert_same(alone, case.align(rotations=((0, 0),) * 3), atol=0)
    assert_same(alone, case.align(rotations=((0, 5),) * 3), atol=0)


def test_errors_of_a_pose_grow_as_the_noise():
    case = Case(3)
    clean, noise = case.boxes, np.random.default_rng(1).normal(size=case.boxes.shape)

    def errors(times):
        case.boxes = clean + times * 0.05 * noise
        found = case.align(rotations=TURNS)
        return np.array([found.shift_errors, found.angle_errors])

    assert (errors(1) > 0).all()
    np.testing.assert_allclose(errors(2) / errors(1), 2, rtol=0.15)


def test_an_error_that_nothing_was_done_to_find_is_not_known():
    case = Case(3)
    still = case.align(rotations=None)
    assert np.isfinite(still.shift_errors).all()
    assert np.isnan(still.angle_errors).all()
    searched = case.align(rotations=TURNS, refine=False)
    assert np.isnan(searched.shift_errors).all()
    assert np.isnan(searched.angle_errors).all()


# Lengths are nm.


@pytest.mark.parametrize("factor", [0.1, 3.0])
def test_the_same_voxels_at_another_scale_give_the_same_voxels(factor):
    case = Case(3, SERIES["plus and minus 60"][1])
    options = {"tilt": (-60, 60), "rotations": TURNS}
    one = case.align(resolution=1.4, **options)
    other = case.align(
        scale=SCALE * factor,
        max_shifts=0.75 * factor,
        resolution=1.4 * factor,
        **options,
    )
    np.testing.assert_allclose(other.shifts, one.shifts * factor, atol=1e-5 * factor)
    np.testing.assert_allclose(other.scores, one.scores, atol=1e-6)


def test_the_same_object_sampled_at_another_scale_moves_as_far():
    template = fp.from_array(blob_image(MOLECULE, (40, 40, 40), 0.25), scale=0.25)
    for scale, box in ((0.5, (20, 20, 20)), (0.4, (25, 25, 25))):
        case = Case(2, scale=scale, box=box)
        case.boxes = np.stack(
            [blob_image(MOLECULE, box, scale, None, shift) for shift in case.shifts]
        )
        found = case.align(template=template, scale=scale, rotations=None)
        np.testing.assert_allclose(found.shifts, case.shifts, atol=0.01 * scale)


# Templates and masks in all their forms.

THREE = [
    blob_image(asymmetric_molecule(seed, count=14, radius=2.0, sigma=0.55), BOX, SCALE)
    for seed in (0, 7, 8)
]


def many_templates(form, folder):
    if form == "files":
        for i, image in enumerate(THREE):
            write_mrc(folder / f"{i}.mrc", image, SCALE)
        return fp.from_files([folder / f"{i}.mrc" for i in range(3)])
    return {
        "list": THREE,
        "tuple": tuple(THREE),
        "array": np.stack(THREE),
        "provider of arrays": fp.from_arrays(THREE, scale=SCALE),
        "list of providers": [fp.from_array(each, scale=SCALE) for each in THREE],
        "list of both": [fp.from_array(THREE[0], scale=SCALE), *THREE[1:]],
    }[form]


FORMS = (
    *("list", "tuple", "array", "provider of arrays", "list of providers"),
    *("list of both", "files"),
)


@pytest.mark.parametrize("form", FORMS)
def test_the_template_that_fits_is_found_among_several(form, tmp_path):
    which = [2, 0, 1, 1]
    boxes = np.stack([THREE[i] for i in which])
    found = fp.align_subtomograms(
        boxes, template=many_templates(form, tmp_path), scale=SCALE, progress=False
    )
    assert found.templates.tolist() == which
    np.testing.assert_allclose(found.shifts, 0, atol=0.01 * SCALE)
    prepared = fp.prepare(many_templates(form, tmp_path), scale=SCALE)
    np.testing.assert_allclose(prepared.template, np.stack(THREE), atol=1e-6)
    assert prepared.mask.shape == (3, *BOX)


@pytest.mark.parametrize(
    "mask",
    [
        MASK,
        MASK @ fp.from_array(TEMPLATE, scale=SCALE),
        MASK(TEMPLATE, SCALE),
        [MASK(TEMPLATE, SCALE)],
    ],
    ids=["converter", "provider", "array", "list"],
)
def test_a_mask_may_be_given_in_any_form(mask):
    np.testing.assert_allclose(
        fp.prepare(TEMPLATE, mask, SCALE).mask, MASK(TEMPLATE, SCALE), atol=1e-6
    )
    case = Case(2)
    by_form = case.align(mask=mask, rotations=TURNS)
    assert_same(by_form, case.align(mask=MASK, rotations=TURNS))
    assert (by_form.scores < case.align(rotations=TURNS).scores).all()


def test_several_templates_have_each_its_mask():
    converted = fp.prepare(THREE, MASK, SCALE).mask
    np.testing.assert_array_equal(converted, [MASK(each, SCALE) for each in THREE])
    np.testing.assert_array_equal(
        fp.prepare(THREE, list(converted), SCALE).mask, converted
    )
    one_for_all = fp.prepare(THREE, converted[1], SCALE).mask
    np.testing.assert_array_equal(one_for_all, [converted[1]] * 3)


def test_prepare_returns_what_the_pipelines_make():
    template = fp.gaussian_filter(0.3) @ fp.from_array(TEMPLATE, scale=SCALE)
    prepared = fp.prepare(template, MASK, 0.8)
    np.testing.assert_array_equal(prepared.template, template(0.8))
    np.testing.assert_array_equal(prepared.mask, MASK(template(0.8), 0.8))
    np.testing.assert_array_equal(fp.prepare(template, scale=0.8).mask, 1)
    assert prepared.template.dtype == prepared.mask.dtype == np.float32


def test_prepared_arrays_align_as_the_pipelines_do():
    template = fp.gaussian_filter(0.3) @ fp.from_array(TEMPLATE, scale=SCALE)
    arrays = fp.prepare(template, MASK, SCALE)
    case = Case(2)
    assert_same(
        case.align(template=arrays.template, mask=arrays.mask, rotations=TURNS),
        case.align(template=template, mask=MASK, rotations=TURNS),
        atol=0,
    )


# The way from a tomogram to aligned molecules.


class Scene:
    """A tomogram of molecules, and picks that are off by known poses."""

    def __init__(self):
        random = np.random.default_rng(3)
        grid = np.stack(np.meshgrid([18], [18, 44], [18, 44], indexing="ij"), -1)
        middles = grid.reshape(-1, 3) * SCALE + random.uniform(-0.3, 0.3, (4, 3))
        self.truth = Molecules(middles, Rotation.random(4, rng=random))
        self.turns = TURNS[[3, 0, 1, 2]]
        self.shifts = random.uniform(-0.7, 0.7, (4, 3))
        frames = self.truth.rotations * self.turns.inv()
        self.picks = Molecules(
            middles - frames.apply(self.shifts), frames, {"tube": [4, 3, 2, 1]}
        )

    def tomogram(self, tilt=None):
        shape = (37, 62, 63)
        return tomogram(MOLECULE, self.truth, shape, SCALE, tilt=tilt, noise=0.0)


SCENE = Scene()
OPTIONS = {
    "template": TEMPLATE,
    "scale": SCALE,
    "max_shifts": 0.75,
    "rotations": TURNS,
    "progress": False,
}


@pytest.fixture(scope="module")
def whole():
    return SCENE.tomogram()


@pytest.fixture(scope="module")
def wedged():
    return SCENE.tomogram((-60, 60))


def pose_errors(found: Molecules) -> tuple[float, float]:
    """Return the largest errors, in voxels and in degrees."""
    shift = np.linalg.norm(found.positions - SCENE.truth.positions, axis=1)
    angle = (SCENE.truth.rotations.inv() * found.rotations).magnitude()
    return shift.max() / SCALE, np.degrees(angle.max())


def test_molecules_are_put_where_they_are(whole):
    found = fp.align(whole, SCENE.picks, **OPTIONS)
    shift, angle = pose_errors(found)
    assert shift < 0.05  # of a voxel: the neighbours' tails, and the spline
    assert angle < 0.5


def test_molecules_are_put_where_they_are_through_a_missing_wedge(wedged):
    found = fp.align(wedged, SCENE.picks, tilt=(-60, 60), **OPTIONS)
    shift, angle = pose_errors(found)
    assert shift < 0.2  # the wedge smears each over its neighbours
    assert angle < 2.0


def test_features_are_kept_and_the_results_added(whole):
    found = fp.align(whole, SCENE.picks, **OPTIONS)
    assert list(found.features) == [
        *("tube", "score", "template", "shift"),
        *("angle", "shift_error", "angle_error", "at_limit", "converged"),
        *("log_odds", "mode_weight", "template_probability"),
    ]
    assert found.features["tube"].tolist() == [4, 3, 2, 1]
    assert found.features["template"].tolist() == [0, 0, 0, 0]
    assert (found.features["score"] > 0.95).all()
    moved = np.linalg.norm(found.positions - SCENE.picks.positions, axis=1)
    np.testing.assert_allclose(found.features["shift"], moved, atol=1e-9)
    turned = (SCENE.picks.rotations.inv() * found.rotations).magnitude()
    np.testing.assert_allclose(found.features["angle"], np.degrees(turned), atol=1e-6)


def test_align_is_its_three_functions_in_a_row(wedged):
    options = {**OPTIONS, "tilt": (-60, 60), "mask": MASK}
    boxes = fp.subtomograms(wedged, SCENE.picks, shape=BOX, scale=SCALE)
    found = fp.align_subtomograms(boxes, orientations=SCENE.picks.rotations, **options)
    in_a_row = fp.apply_alignment(SCENE.picks, found)
    at_once = fp.align(wedged, SCENE.picks, **options)
    # Boxes were turned by splines there, and end at their faces.
    apart = np.linalg.norm(at_once.positions - in_a_row.positions, axis=1)
    turned = (at_once.rotations.inv() * in_a_row.rotations).magnitude()
    assert apart.max() < 0.1 * SCALE
    assert np.degrees(turned).max() < 1.0
    assert list(at_once.features) == list(in_a_row.features)


def test_the_order_of_molecules_is_kept_and_does_not_matter(whole):
    forth = fp.align(whole, SCENE.picks, **OPTIONS)
    back = fp.align(whole, SCENE.picks[::-1], **OPTIONS)[::-1]
    np.testing.assert_allclose(forth.positions, back.positions, atol=1e-6)
    assert forth.features["tube"].tolist() == back.features["tube"].tolist()


def test_align_waits_for_a_tomogram_and_molecules(whole):
    waiting = fp.align(template=TEMPLATE, mask=MASK)
    options = {name: OPTIONS[name] for name in OPTIONS if name != "template"}
    at_once = fp.align(whole, SCENE.picks, mask=MASK, **OPTIONS)
    assert waiting(whole, SCENE.picks, **options) == at_once
    assert waiting(**options)(whole)(SCENE.picks) == at_once
    names = list(inspect.signature(fp.align).parameters)
    assert names[:4] == ["tomogram", "molecules", "template", "mask"]


def test_a_misspelt_option_is_an_error(whole):
    with pytest.raises(TypeError, match="tepmlate"):
        fp.align(whole, SCENE.picks, tepmlate=TEMPLATE, **OPTIONS)


def test_a_file_brings_its_scale(whole, tmp_path):
    write_mrc(tmp_path / "a.mrc", whole, SCALE)
    found = fp.align(tmp_path / "a.mrc", SCENE.picks, **{**OPTIONS, "scale": None})
    assert found == fp.align(whole, SCENE.picks, **OPTIONS)


def test_objects_with_pos_and_rotator_are_aligned(whole):
    theirs = SimpleNamespace(pos=SCENE.picks.positions, rotator=SCENE.picks.rotations)
    found = fp.align(whole, theirs, **OPTIONS)
    mine = fp.align(whole, SCENE.picks, **OPTIONS)
    np.testing.assert_array_equal(found.positions, mine.positions)


def test_nothing_given_is_changed(whole):
    given = {
        "tomogram": whole.copy(),
        "template": TEMPLATE.copy(),
        "mask": MASK(TEMPLATE, SCALE),
    }
    before = {name: each.copy() for name, each in given.items()}
    picks = Molecules(SCENE.picks.positions, SCENE.picks.rotations)
    fp.align(molecules=picks, **{**OPTIONS, **given})
    for name, each in given.items():
        np.testing.assert_array_equal(each, before[name])
    assert picks == Molecules(SCENE.picks.positions, SCENE.picks.rotations)
    case = Case(2)
    boxes = case.boxes.copy()
    case.align(tilt=(-60, 60), rotations=TURNS)
    np.testing.assert_array_equal(case.boxes, boxes)


def test_an_executor_changes_nothing():
    case = Case(4)
    options = {"tilt": (-60, 60), "rotations": TURNS, "mask": MASK}
    alone = case.align(**options)
    with ThreadPoolExecutor(2) as pool:
        assert_same(case.align(executor=pool, **options), alone)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        assert_same(case.align(executor=pool, **options), alone)


def test_there_is_one_progress_bar_or_none(whole, capsys):
    fp.align(whole, SCENE.picks, **{**OPTIONS, "progress": True})
    shown = capsys.readouterr()
    assert "4/4" in shown.err
    assert shown.err.count("\n") == 1  # a bar ends with one
    assert shown.out == ""
    fp.align(whole, SCENE.picks, **OPTIONS)
    assert capsys.readouterr() == ("", "")


# Putting molecules where their boxes' alignment says.


def some_alignment(count, seed=0):
    random = np.random.default_rng(seed)
    return Alignment(
        rotations=Rotation.random(count, rng=random),
        shifts=random.normal(size=(count, 3)),
        scores=random.uniform(size=count),
        templates=random.integers(0, 3, count),
        shift_errors=random.uniform(size=count),
        angle_errors=random.uniform(size=count),
        at_limit=random.uniform(size=count) < 0.5,
        converged=random.uniform(size=count) < 0.5,
    )


def test_a_point_of_the_template_lands_where_the_box_held_it():
    found = some_alignment(5)
    picks = Molecules(np.ones((5, 3)), Rotation.random(5, rng=1))
    aligned = fp.apply_alignment(picks, found)
    point = np.array([0.3, -0.2, 0.9])  # nm from the template's centre
    for i in range(5):
        in_box = found.rotations[i].apply(point) + found.shifts[i]
        in_tomogram = picks.rotations[i].apply(in_box) + picks.positions[i]
        by_new_pose = aligned.rotations[i].apply(point) + aligned.positions[i]
        np.testing.assert_allclose(by_new_pose, in_tomogram, atol=1e-12)
    for name in ("scores", "templates", "shift_errors", "angle_errors"):
        np.testing.assert_array_equal(
            aligned.features[name.removesuffix("s")], getattr(found, name)
        )


def test_an_alignment_of_other_molecules_is_refused():
    with pytest.raises(ValueError, match="molecules must be 3, as many as were align"):
        fp.apply_alignment(np.ones((2, 3)), some_alignment(3))


# Wrong arguments are named before any work starts.

FLAT = np.ones(BOX, np.float32)
HALF = np.concatenate([np.ones((8, 17, 18)), TEMPLATE[8:]])
TOP = np.concatenate([np.ones((8, 17, 18)), np.zeros((8, 17, 18))])

WRONG = {
    "mask of another shape": (
        {"mask": np.ones((4, 4, 4))},
        ValueError,
        r"mask must have the template's shape \(16, 17, 18\), not \(4, 4, 4\)",
    ),
    "mask provider of another shape": (
        {"mask": fp.from_gaussian((4.0, 4.0, 4.0))},
        ValueError,
        r"mask must have the template's shape \(16, 17, 18\), not \(8, 8, 8\)",
    ),
    "templates of different shapes": (
        {"template": [TEMPLATE, np.eye(4)[None] * np.ones((4, 1, 1))]},
        ValueError,
        r"several must have one shape, not \(16, 17, 18\) and \(4, 4, 4\)",
    ),
    "number of masks": (
        {"template": THREE, "mask": [FLAT, FLAT]},
        ValueError,
        "mask must be one, or 3, one for each template, not 2",
    ),
    "empty mask": (
        {"mask": np.zeros(BOX)},
        ValueError,
        "mask must be above 0 somewhere, but is empty",
    ),
    "constant template": ({"template": FLAT}, ValueError, "template must vary under"),
    "template constant under its mask": (
        {"template": HALF, "mask": TOP},
        ValueError,
        "template must vary under its mask, but is constant there",
    ),
    "template with NaN": (
        {"template": np.full(BOX, np.nan)},
        ValueError,
        "template must be finite",
    ),
    "one of the templates with NaN": (
        {"template": [TEMPLATE, np.full(BOX, np.nan)]},
        ValueError,
        r"template\[1\] must be finite",
    ),
    "template too big": (
        {"template": np.random.default_rng(0).normal(size=(38, 8, 8))},
        ValueError,
        r"template must fit into the tomogram of \(37, 62, 63\) voxels, but is "
        r"\(38, 8, 8\) at 0.5 nm per voxel",
    ),
    "template too big at this scale": (
        {"template": fp.from_array(TEMPLATE, scale=1.25)},
        ValueError,
        r"template must fit into .* but is \(40, 43, 45\)",
    ),
    "waiting template": (
        {"template": fp.from_file},
        TypeError,
        "from_file is not a pipeline yet, but waiting for path",
    ),
    "waiting template among others": (
        {"template": [TEMPLATE, fp.from_array]},
        TypeError,
        "from_array is not a pipeline yet, but waiting for",
    ),
    "waiting mask": (
        {"mask": fp.dilation},
        TypeError,
        "dilation is not a pipeline yet, but waiting for radius",
    ),
    "mask not called": (
        {"mask": fp.soft_otsu},
        TypeError,
        "soft_otsu is not a pipeline yet, but waiting for its call",
    ),
    "converter as template": (
        {"template": fp.gaussian_filter(2.0)},
        TypeError,
        r"template must be a provider, a 3-D array.*not gaussian_filter\(2.0\)",
    ),
    "path as template": (
        {"template": "ribosome.mrc"},
        ValueError,
        "template must be a provider, .*not 'ribosome.mrc'",
    ),
    "no template": ({"template": None}, TypeError, "template must be a provider"),
    "no templates": ({"template": []}, TypeError, "template must be a provider"),
    "flat template": ({"template": np.eye(4)}, ValueError, "template must be a prov"),
    "text as mask": (
        {"mask": "otsu"},
        ValueError,
        "mask must be a converter, .*'otsu'",
    ),
    "no molecules": (
        {"molecules": np.zeros((0, 3))},
        ValueError,
        "molecules must be one particle or more, not none",
    ),
    "path as molecules": (
        {"molecules": "picks.csv"},
        ValueError,
        "molecules must be Molecules, .*not 'picks.csv'",
    ),
    "molecule outside": (
        {"molecules": [[5, 5, 5], [5, 5, 99]]},
        ValueError,
        r"molecules\[1\] at \(5, 5, 99\) nm lies wholly outside",
    ),
    "no scale": ({"scale": None}, ValueError, "scale must be given, in nm per voxel"),
    "scale of 0": ({"scale": 0}, ValueError, "scale must be a number above 0, not 0"),
    "scale below 0": ({"scale": -0.5}, ValueError, "scale must be a number above 0"),
    "scale not a number": ({"scale": np.nan}, ValueError, "scale must be a number"),
    "shifts beyond the box": (
        {"max_shifts": (1.0, 1.0, 4.3)},
        ValueError,
        "max_shifts must stay within half the box, 8.5 voxels along x, not 8.6",
    ),
    "shift below 0": ({"max_shifts": -1}, ValueError, "max_shifts must be one number"),
    "two shifts": ({"max_shifts": (1, 1)}, ValueError, "max_shifts must be one number"),
    "tilt falling": ({"tilt": (60, -60)}, ValueError, r"tilt must be .*\(60, -60\)"),
    "tilt over 90": ({"tilt": (-60, 95)}, ValueError, r"tilt must be .*\(-60, 95\)"),
    "tilt by name": ({"tilt": "wedge"}, ValueError, "tilt must be None, two angles"),
    "one tilt": ({"tilt": 60}, ValueError, "tilt must be None, two angles"),
    "tilt not called": (
        {"tilt": fp.single_axis},
        ValueError,
        r"tilt_range must be .* not an array of shape \(3, 1\)",
    ),
    "tilt of another kind": (
        {"tilt": np.linalg.norm},
        TypeError,
        r"tilt must be weights: one number for each of the vectors \(3, \.\.\.\)",
    ),
    "resolution too fine": (
        {"resolution": 0.9},
        ValueError,
        "resolution must be 1 nm or more, two voxels, not 0.9",
    ),
    "resolution of 0": ({"resolution": 0}, ValueError, "resolution must be a number"),
    "rotations by name": ({"rotations": "some"}, ValueError, "rotations must be None,"),
    "two rotations": ({"rotations": ((9, 3),) * 2}, ValueError, "rotations must be N"),
    "step below 0": ({"rotations": ((9, -3),) * 3}, ValueError, "rotations must be a"),
    "no rotations": ({"rotations": TURNS[:0]}, TypeError, "rotations must be one rot"),
    "flat tomogram": (
        {"tomogram": np.ones((20, 20))},
        TypeError,
        "tomogram must be a path or a 3-D array",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_argument_is_named_before_any_work(name, whole, capsys):
    changes, error, text = WRONG[name]
    tomogram = Recorded(whole)
    arguments = {
        "tomogram": tomogram,
        "molecules": SCENE.picks,
        "executor": Refusing(),
        **OPTIONS,
        "progress": True,
        **changes,
    }
    with pytest.raises(error, match=text):
        fp.align(**arguments)
    assert tomogram.reads == 0
    assert capsys.readouterr().err == ""


def test_nan_in_the_tomogram_is_named_before_the_matching(whole, capsys):
    tomogram = whole.copy()
    tomogram[18, 55, 55] = np.nan
    options = {**OPTIONS, "progress": True}
    with pytest.raises(ValueError, match=r"NaN or infinity near molecules\[3\] at \["):
        fp.align(tomogram, SCENE.picks, executor=Refusing(), **options)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("boxes", "changes", "error", "text"),
    [
        (TEMPLATE, {}, ValueError, r"boxes must be an array of shape \(n, z, y, x\)"),
        (TEMPLATE[None] * 1j, {}, ValueError, "boxes must be an array of shape"),
        (TEMPLATE[None][:0], {}, ValueError, "boxes must be one subtomogram or more"),
        (TEMPLATE[None, 1:], {}, ValueError, r"shape \(16, 17, 18\), not \(15, 17, 18"),
        (np.stack([FLAT, FLAT * np.nan]), {}, ValueError, r"boxes\[1\] must be fin"),
        (TEMPLATE[None], {"orientations": TURNS}, ValueError, "must be 1, .* not 4"),
        (TEMPLATE[None], {"orientations": np.eye(3)}, ValueError, "must be a Rotation"),
        (TEMPLATE[None], {"orientations": TURNS[0]}, TypeError, "must be a Rotation"),
        (TEMPLATE[None], {"scale": 0.0}, ValueError, "scale must be a number above 0"),
        (TEMPLATE[None], {"max_shifts": 9}, ValueError, "max_shifts must stay within"),
        (TEMPLATE[None], {"mask": FLAT[1:]}, ValueError, "mask must have the template"),
        (TEMPLATE[None], {"tilt": (9, 9)}, ValueError, "tilt must be None, two angles"),
    ],
)
def test_wrong_boxes_are_named_before_any_work(boxes, changes, error, text, capsys):
    options = {**OPTIONS, "progress": True, **changes}
    with pytest.raises(error, match=text):
        fp.align_subtomograms(boxes, executor=Refusing(), **options)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("scale", [0, -1.0, np.nan])
def test_prepare_refuses_a_scale_that_is_none(scale):
    with pytest.raises(ValueError, match="scale must be a number above 0"):
        fp.prepare(TEMPLATE, None, scale)
