"""Each finding: one test that provokes it, one in which the same is in order."""

from __future__ import annotations

import pickle
import warnings
from typing import NamedTuple

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe import Finding, Molecules, Tomogram
from funpipe.engine.matching import ENGINE
from funpipe.io.volumes import write_mrc
from funpipe.simulate import asymmetric_molecule, blob_image, perturbed, tomogram

SCALE = 1.0  # nm per voxel
BOX = (20, 20, 20)
SHAPE = (36, 88, 88)
MOLECULE = asymmetric_molecule(count=14, radius=4.0, sigma=1.1)
TEMPLATE = blob_image(MOLECULE, BOX, SCALE)
OPTIONS = {"template": TEMPLATE, "scale": SCALE, "tilt": (-60, 60)}


def truth() -> Molecules:
    random = np.random.default_rng(3)
    grid = np.stack(np.meshgrid([18], [18, 44, 70], [18, 44, 70], indexing="ij"), -1)
    middles = grid.reshape(-1, 3) + random.uniform(-0.3, 0.3, (9, 3))
    return Molecules(middles, Rotation.random(9, rng=random))


TRUTH = truth()
PICKS = perturbed(TRUTH, shift=0.5, angle=5.0, seed=1)
IMAGE = tomogram(MOLECULE, TRUTH, SHAPE, SCALE, tilt=(-60, 60), noise=0.4)


def names(findings: list[Finding]) -> list[str]:
    return [each.name for each in findings]


def check(image=IMAGE, picks=PICKS, **changes) -> list[Finding]:
    return fp.check(image, picks, **{**OPTIONS, **changes})


EMPTY = np.zeros((64, 88, 88), np.float32)
THREE = Molecules([[32.0, 44, 44], [32, 40, 46], [33, 46, 41]])


def cheap(**changes) -> list[Finding]:
    """Check with fewer particles than scores are compared for."""
    return check(**{"image": EMPTY, "picks": THREE, **changes})


def test_nothing_is_found_where_all_is_in_order():
    assert check() == []
    assert check(mask=fp.soft_otsu(1.0, 1.0), max_shifts=2.0, rotations=(12, 6)) == []


def test_a_finding_is_a_readable_and_frozen_record():
    finding = Finding("mask cuts template", 0.4249, "make the mask wider")
    assert repr(finding) == (
        "Finding(name='mask cuts template', figure=0.4249, advice='make the mask "
        "wider')"
    )
    assert str(finding) == "mask cuts template (0.425): make the mask wider"
    assert pickle.loads(pickle.dumps(finding)) == finding
    with pytest.raises(AttributeError):
        finding.figure = 0.5


# What align looks for too.


@pytest.mark.parametrize(("given", "found"), [(1.3, True), (1.005, False)])
def test_a_scale_that_contradicts_the_header_is_found(given, found, tmp_path):
    write_mrc(tmp_path / "a.mrc", EMPTY, SCALE)
    picks = Molecules(THREE.positions * given)
    findings = cheap(image=tmp_path / "a.mrc", picks=picks, scale=given)
    assert names(findings) == ["scale contradicts header"] * found
    if found:
        assert findings[0].figure == pytest.approx(1.3)
        assert "scale is 1.3 nm per voxel, the tomogram's file says 1:" in str(
            findings[0]
        )
    assert cheap(image=tmp_path / "a.mrc", scale=None) == []


def test_of_many_tomograms_the_one_with_another_header_is_named(tmp_path):
    write_mrc(tmp_path / "a.mrc", EMPTY, SCALE)
    write_mrc(tmp_path / "b.mrc", EMPTY, 2 * SCALE)
    both = {"a": tmp_path / "a.mrc", "b": Tomogram(tmp_path / "b.mrc", SCALE)}
    picks = THREE.with_features(tomogram=["a", "b", "a"])
    (finding,) = cheap(image=both, picks=picks)
    assert finding.figure == pytest.approx(0.5)
    assert "'b' says 2" in finding.advice


@pytest.mark.parametrize(("radius", "found"), [(3.0, True), (7.0, False)])
def test_a_mask_that_cuts_the_template_is_found(radius, found):
    findings = cheap(mask=fp.sphere(radius))
    assert names(findings) == ["mask cuts template"] * found
    if found:
        z, y, x = np.indices(BOX) - 9.5
        power = TEMPLATE.astype(float) ** 2  # 0 at the faces of its box
        outside = power[z**2 + y**2 + x**2 > radius**2].sum() / power.sum()
        assert findings[0].figure == pytest.approx(outside, abs=0.1)


def test_no_mask_cuts_nothing_and_of_several_masks_the_worst_counts():
    assert cheap(mask=None) == []
    wide, narrow = fp.sphere(7.0), fp.sphere(3.0)
    both = [(wide)(TEMPLATE, SCALE), narrow(TEMPLATE, SCALE)]
    findings = cheap(template=[TEMPLATE, TEMPLATE], mask=both)
    assert findings == cheap(mask=narrow)


WIDE = asymmetric_molecule(count=40, radius=7.0, sigma=1.1)


@pytest.mark.parametrize(("shift", "found"), [(6.0, True), (1.0, False)])
@pytest.mark.parametrize("axis", range(3))
def test_a_box_too_small_for_mask_and_shifts_is_found(shift, found, axis):
    shifts = [1.0, 1.0, 1.0]
    shifts[axis] = shift
    options = {"mask": fp.sphere(9.0), "max_shifts": shifts}
    small, large = (blob_image(WIDE, (n, n, n), SCALE) for n in (18, 28))
    findings = cheap(template=small, **options)
    assert names(findings) == ["box too small"] * found
    if found:
        assert 0.05 < findings[0].figure < 0.5
    assert cheap(template=large, **options) == []


@pytest.mark.parametrize(("off", "found"), [(4.0, True), (1.0, False)])
def test_a_template_off_centre_is_found(off, found):
    template = blob_image(MOLECULE, (28, 28, 28), SCALE, shift=(0, off, 0))
    findings = cheap(template=template)
    assert names(findings) == ["template off centre"] * found
    if found:
        assert findings[0].figure == pytest.approx(off, abs=1.0)
    centred = fp.center_by_mass()(template, SCALE)
    assert cheap(template=centred) == []


def nearly(picks: Molecules, shift: float, angle: float) -> Molecules:
    """Return molecules, and after them the first two again, moved and turned."""
    turned = picks.rotations[:2] * Rotation.from_rotvec([angle, 0, 0], degrees=True)
    moved = picks.positions[:2] + np.array([0, shift, 0])
    return Molecules.concat([picks, Molecules(moved, turned)])


@pytest.mark.parametrize(
    ("shift", "angle", "found"),
    [(0, 0, True), (0.5, 2.0, True), (0.0, 10.0, False), (1.5, 0.0, False)],
)
def test_particles_nearly_identical_are_found(shift, angle, found):
    findings = check(picks=nearly(PICKS, shift, angle))
    assert names(findings) == ["particles doubled"] * found
    if found:
        assert findings[0].figure == 4
        assert "4 of 11 particles" in findings[0].advice


def test_particles_at_one_place_of_two_tomograms_are_not_doubled():
    picks = nearly(PICKS, 0, 0)
    named = picks.with_features(tomogram=["a"] * 9 + ["b"] * 2)
    assert check({"a": IMAGE, "b": IMAGE}, named) == []


# What only check looks for.


def test_particles_outside_are_found():
    positions = PICKS.positions.copy()
    positions[:2] = [[4.0, 44, 44], [18, 44, 500]]
    findings = check(picks=Molecules(positions, PICKS.rotations))
    assert names(findings) == ["particles outside"]
    assert findings[0].figure == 2
    assert "2 of 9 boxes leave the tomogram within" in findings[0].advice
    assert "1 wholly" in findings[0].advice


def test_a_box_whose_empty_corners_leave_is_not_outside():
    # The molecule reaches 4 + 2 * 1.1 nm or so from its centre, the box 9.5.
    turned = Molecules(TRUTH.positions, Rotation.random(9, rng=5))
    low = IMAGE[6:30]  # 12 voxels below and above the middle
    lower = Molecules(turned.positions - [6, 0, 0], turned.rotations)
    assert "particles outside" not in names(check(low, lower))
    with pytest.warns(UserWarning, match="boxes leave the tomogram"):
        fp.subtomograms(low, lower, shape=20, scale=SCALE)


def test_nothing_is_aligned_where_all_lie_outside():
    findings = check(picks=Molecules(PICKS.positions + 500, PICKS.rotations))
    assert names(findings) == ["particles outside"]
    assert "9 wholly" in findings[0].advice


@pytest.mark.parametrize("rotations", [None, (12, 6), "all"])
def test_opposite_contrast_is_found(rotations):
    findings = check(-IMAGE, rotations=rotations)
    assert names(findings) == ["opposite contrast"]
    assert findings[0].figure > 0.1
    assert check(-IMAGE, template=-TEMPLATE, rotations=rotations) == []


def test_the_wrong_hand_is_found():
    other = np.ascontiguousarray(TEMPLATE[:, :, ::-1])
    findings = check(template=other)
    assert names(findings) == ["wrong hand"]
    assert 0.01 < findings[0].figure < 0.5
    assert names(check(IMAGE[::-1])) == ["wrong hand"]
    assert check(IMAGE[::-1], template=other) == []


def test_a_template_that_is_its_own_mirror_image_has_no_hand():
    flat = fp.from_gaussian(BOX, sigma=(1.0, 2.0, 3.0))
    picks, image = TRUTH, np.zeros(SHAPE, np.float32)
    image += 0.2 * np.random.default_rng(0).standard_normal(SHAPE)
    for position, turn in zip(picks.positions, picks.rotations, strict=True):
        grid = (np.indices(SHAPE).reshape(3, -1).T - position) @ turn.as_matrix()
        image += np.exp(-((grid / (1, 2, 3)) ** 2).sum(1) / 2).reshape(SHAPE)
    assert check(image, picks, template=flat, symmetry="D2") == []


@pytest.mark.parametrize("seed", range(3))
def test_in_noise_alone_neither_contrast_nor_hand_is_found(seed):
    noise = np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)
    assert check(noise) == []


def test_of_three_particles_neither_contrast_nor_hand_is_said():
    assert check(-IMAGE, PICKS[:3]) == []


def test_the_sample_goes_through_all_tomograms_with_their_tilts():
    names_ = ["a", "b", "c"] * 3
    picks = PICKS.with_features(tomogram=names_)
    negative = {each: Tomogram(-IMAGE, SCALE, (-60, 60)) for each in "abc"}
    assert names(check(negative, picks, tilt=None)) == ["opposite contrast"]


class Seen(NamedTuple):
    """An engine's match that notes how many particles it is given."""

    counts: list[int]

    def __call__(self, crops, *args, **options):
        self.counts.append(len(crops.values))
        return ENGINE.match(crops, *args, **options)


@pytest.mark.parametrize(("sign", "aligned"), [(1, 6 * 9), (-1, 4 * 18)])
def test_where_the_first_score_clearly_worse_the_others_are_not_aligned(sign, aligned):
    match = Seen([])
    engine = ENGINE._replace(match=match)
    picks = Molecules.concat(
        [perturbed(TRUTH, shift=0.5, angle=5.0, seed=seed) for seed in (1, 2)]
    )
    findings = check(IMAGE * sign, picks, engine=engine, max_shifts=1.0, rotations=None)
    wanted = [] if sign > 0 else ["opposite contrast"]
    assert [each for each in names(findings) if each != "particles doubled"] == wanted
    assert sum(match.counts) == aligned


def test_large_sets_are_sampled():
    several = np.tile(PICKS.positions, (40, 1))
    turns = Rotation.concatenate([PICKS.rotations] * 40)
    random = Rotation.from_rotvec(np.random.default_rng(0).normal(0, 0.5, (360, 3)))
    reads = []

    class Recorded:
        shape, dtype = IMAGE.shape, np.dtype("i1")

        def __getitem__(self, index):
            block = -IMAGE[index]
            reads.append(block.shape)
            return block

    findings = check(Recorded(), Molecules(several, turns * random))
    assert "opposite contrast" in names(findings)
    assert len(reads) <= 32


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"mask": np.zeros(BOX)}, ValueError, "mask must be above 0 somewhere"),
        ({"template": None}, TypeError, "template must be a provider"),
        ({"max_shifts": 12.0}, ValueError, "max_shifts must stay within half the box"),
        ({"picks": np.zeros((0, 3))}, ValueError, "molecules must be one particle"),
    ],
)
def test_wrong_arguments_are_errors_as_of_align(changes, error, text):
    with pytest.raises(error, match=text):
        check(**changes)


# In align.


def wrong_options() -> dict[str, object]:
    return {**OPTIONS, "mask": fp.sphere(3.0), "max_shifts": 1.0, "progress": False}


def test_align_warns_of_what_it_finds_once_and_at_the_callers_line():
    picks = nearly(PICKS, 0, 0)
    with pytest.warns(UserWarning) as warned:
        fp.align(IMAGE, picks, **wrong_options())
    (warning,) = warned
    assert warning.filename == __file__
    first, *lines = str(warning.message).splitlines()
    assert first == "preflight, see funpipe.check:"
    assert [line.partition(" (")[0] for line in lines] == [
        "- mask cuts template",
        "- particles doubled",
    ]


def test_without_preflight_align_does_the_same_and_says_nothing():
    quiet = fp.align(IMAGE, PICKS, preflight=False, **wrong_options())
    with pytest.warns(UserWarning, match="preflight"):
        assert fp.align(IMAGE, PICKS, **wrong_options()) == quiet


def test_align_itself_aligns_no_sample():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = fp.align(-IMAGE, PICKS, progress=False, **OPTIONS)
    assert found.features["score"].mean() < 0.2
