"""Scores at poses and around them, against loops over waves and against `align`."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.base import arguments
from funpipe.engine.bank import template_bank
from funpipe.engine.data import seen_by
from funpipe.jobs import scoring
from funpipe.jobs.planning import plan
from funpipe.jobs.searching import search_for
from funpipe.simulate import asymmetric_molecule, blob_image, perturbed, tomogram
from funpipe.space.geometry import rotation_grid
from funpipe.space.tilts import as_tilt

BOX, TILT, MOLECULE = (16,) * 3, (-60, 60), asymmetric_molecule(3, radius=4.0)
IMAGE = blob_image(MOLECULE, BOX, 1.0)
MASK = fp.soft_otsu(sigma=1.0, radius=1.0)
OPTIONS = {"template": IMAGE, "mask": MASK, "scale": 1.0, "tilt": TILT}
QUIET = {**OPTIONS, "progress": False}
AROUND = {"max_shifts": (1.0, 2.0, 1.0), "rotations": (8, 8)}


@pytest.fixture(name="made", scope="module")
def _made():
    places = (np.indices((2, 2, 2)).reshape(3, -1).T + 0.5) * 20.0
    true = fp.Molecules(places, Rotation.random(8, rng=0))
    volume = tomogram(MOLECULE, true, (40,) * 3, 1.0, tilt=TILT, noise=0.5, seed=1)
    return volume, perturbed(true, 0.8, 5.0, seed=2)


def by_a_loop(volume, picks, **around):
    """Return the scores of all poses, one sum over waves after the other."""
    from funpipe.boxes.cropping import cropped_boxes

    search = search_for(tilt=TILT, refine=False, **around)
    template = {"template": IMAGE, "mask": MASK}
    planned = plan(
        volume, picks, search, **template, scale=1.0, tomogram_feature="tomogram"
    )
    boxes = cropped_boxes(planned.sources, planned.support)
    (piece,) = map(boxes.cut, boxes.parts(boxes.chunks, None))
    window, grid, finest = planned.sampling
    where = planned.templates, rotation_grid(None), (0, 0, 0), finest
    bank = template_bank(*where, support=planned.support, refined=False)
    tilt = as_tilt("tilt", TILT)
    data, whole = seen_by(piece.crops, piece.orientations, tilt, bank)
    steps = [np.arange(-int(each), int(each) + 1) for each in window]
    found = np.empty((len(picks), len(grid.rotations), *map(len, steps)))
    centre, voxels = np.full(3, 7.5), np.indices(BOX).reshape(3, -1).T
    values = planned.templates[0].reshape(-1)
    for i, F in enumerate(data.F):
        W = data.W[i]
        # The engine takes it of the waves of the crop, about the same.
        power = whole.power[i]
        np.testing.assert_allclose(power, (W * np.abs(F) ** 2).sum(), rtol=0.1)
        for r, R in enumerate(grid.rotations.as_matrix()):
            T = np.exp(-2j * np.pi * (bank.k @ R) @ (voxels - centre).T) @ values
            norm = np.sqrt((W * np.abs(T) ** 2).sum() * power)
            for at in itertools.product(*(range(len(each)) for each in steps)):
                t = np.array([steps[axis][j] for axis, j in enumerate(at)])
                moved = F * np.exp(2j * np.pi * (bank.k @ t))
                found[(i, r, *at)] = (W * np.conj(T) * moved).real.sum() / norm
    return found


def test_a_score_is_that_of_a_loop_and_of_align_without_a_search(made):
    volume, picks = made
    found = fp.score(volume, picks, **QUIET)
    np.testing.assert_array_equal(found.positions, picks.positions)
    expected = by_a_loop(volume, picks, max_shifts=0.0).ravel()
    np.testing.assert_allclose(found.features["score"], expected, atol=2e-3)
    still = {"max_shifts": 0.0, "rotations": None, "refine": False}
    aligned = fp.align(volume, picks, **QUIET, **still, preflight=False)
    np.testing.assert_array_equal(found.features["score"], aligned.features["score"])


def test_of_several_templates_the_better_is_said(made):
    volume, picks = made
    both = {**QUIET, "template": [IMAGE[::-1, ::-1].copy(), IMAGE]}
    found = fp.score(volume, picks, **both)
    assert (found.features["template"] == 1).all()


def test_a_landscape_is_that_of_a_loop(made):
    volume, picks = made
    found = fp.landscape(volume, picks, **QUIET, **AROUND)
    grid = rotation_grid((8, 8)).rotations
    np.testing.assert_allclose(found.rotations.as_quat(), grid.as_quat())
    assert found.scores.shape == (8, len(grid), 3, 5, 3)
    assert found.scores.dtype == np.float32
    np.testing.assert_array_equal(found.shifts[1], [-2, -1, 0, 1, 2])
    few = by_a_loop(volume, picks[:2], **AROUND)
    np.testing.assert_allclose(found.scores[:2], few, atol=2e-3)


def test_the_highest_of_a_landscape_is_where_align_finds_the_particle(made):
    volume, picks = made
    found = fp.landscape(volume, picks, **QUIET, **AROUND)
    whole = {"refine": False, "estimate": "mode", "preflight": False}
    aligned = fp.align(volume, picks, **QUIET, **AROUND, **whole)
    flat = found.scores.reshape(8, -1)
    where = np.unravel_index(flat.argmax(axis=1), found.scores.shape[1:])
    np.testing.assert_allclose(flat.max(axis=1), aligned.features["score"], atol=5e-3)
    shifts = np.stack([found.shifts[i][where[1 + i]] for i in range(3)], axis=1)
    places = picks.positions + picks.rotations.apply(shifts)
    apart = (picks.rotations * found.rotations[where[0]]).inv() * aligned.rotations
    same = np.linalg.norm(places - aligned.positions, axis=1) < 1e-6
    assert (same & (apart.magnitude() < 1e-6)).sum() >= 7


def test_the_axes_of_a_landscape_are_nm(made):
    volume, picks = made
    half = fp.Molecules(picks.positions / 2, picks.rotations)
    options = {**QUIET, "scale": 0.5, "mask": None}
    found = fp.landscape(volume, half, max_shifts=1.0, **options)
    one = fp.landscape(volume, picks, max_shifts=2.0, **{**options, "scale": 1.0})
    np.testing.assert_allclose(found.shifts[0], [-1, -0.5, 0, 0.5, 1])
    np.testing.assert_allclose(found.scores, one.scores, atol=1e-4)


def test_a_particle_without_a_signal_has_0_everywhere():
    flat = np.zeros((24,) * 3)
    with pytest.warns(UserWarning, match="1 of 1 boxes hold nothing"):
        found = fp.score(flat, [[12.0, 12, 12]], **QUIET)
    assert found.features["score"] == 0
    assert not fp.landscape(flat, [[12.0, 12, 12]], **QUIET).scores.any()


def test_what_is_finished_is_found_again(made, tmp_path, monkeypatch):
    volume, picks = made
    options = {**QUIET, **AROUND, "checkpoint": tmp_path}
    first = fp.landscape(volume, picks, **options)

    def never(*given):
        raise AssertionError("worked again")

    monkeypatch.setattr(scoring, "all_scores", never)
    again = fp.landscape(volume, picks, **options)
    np.testing.assert_array_equal(first.scores, again.scores)
    with pytest.raises(AssertionError, match="worked again"):
        fp.landscape(volume, picks, **{**options, "resolution": 3.0})


def test_what_memory_does_not_hold_is_refused(made, monkeypatch):
    volume, picks = made
    monkeypatch.setattr(arguments, "memory", lambda: 1e9)
    monkeypatch.setattr(scoring, "_PART", 1e-5)
    with pytest.raises(ValueError, match="rotations must leave scores that fit into"):
        fp.landscape(volume, picks, **QUIET, **AROUND)


WRONG = [
    ({"template": [IMAGE, IMAGE]}, "template must be one, not 2"),
    ({"mask": np.zeros(BOX)}, "mask must be above 0 somewhere"),
    ({"mask": np.ones((8,) * 3)}, "mask must have the template's shape"),
    ({"template": np.full(BOX, np.nan)}, "template must be finite"),
    ({"max_shifts": 9.0}, "max_shifts must stay within half the box"),
    ({"resolution": 1.0}, "resolution must be 2 nm or more"),
    ({"scale": 0}, "scale must be a number above 0"),
    ({"molecules": np.zeros((0, 3))}, "molecules"),
]


@pytest.mark.parametrize("given, text", WRONG)
def test_what_is_wrong_is_said(made, given, text):
    volume, picks = made
    arguments = {"molecules": picks, **QUIET, **given}
    with pytest.raises((TypeError, ValueError), match=text):
        fp.landscape(volume, **arguments)
