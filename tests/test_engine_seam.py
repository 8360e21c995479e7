"""Poses are found by any engine: here by the plain loop."""

from __future__ import annotations

import pickle
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import numpy as np
import plain_matching as plain
import pytest

import funpipe as fp
from funpipe.engine import Engine, Match
from funpipe.engine.matching import ENGINE
from funpipe.simulate import asymmetric_molecule, blob_image, particles
from funpipe.space.crops import boxes_of
from funpipe.space.geometry import RotationGrid

SHAPE = (16, 16, 16)
BLOBS = asymmetric_molecule(3, radius=5.0, sigma=1.3)
TEMPLATE = blob_image(BLOBS, SHAPE, 1.0)
MADE = particles(
    BLOBS, SHAPE, 1.0, 6, noise=0.5 * float(TEMPLATE.std()), tilt=(-60, 60)
)
SEARCH = {
    "template": TEMPLATE,
    "scale": 1.0,
    "max_shifts": 2.0,
    "rotations": (10, 10),
    "tilt": (-60, 60),
    "resolution": 4.0,
}
WHOLE = {"rotations": None, "tilt": None}


class Bank(NamedTuple):
    spectra: np.ndarray
    grid: RotationGrid
    window: tuple[float, float, float]
    finest: float


def prepare(templates, grid, window, finest, *, support, refined):
    return Bank(plain.template_bank(templates, grid.rotations), grid, window, finest)


def match(crops, orientations, *, bank, tilt, go_on):
    go_on()
    boxes = boxes_of(crops, SHAPE)
    found = plain.match(
        boxes,
        orientations,
        bank=bank.spectra,
        window=bank.window,
        tilt=tilt,
        finest=bank.finest,
    )
    unknown, no = np.full(len(boxes), np.nan), np.zeros(len(boxes), bool)
    return Match(
        bank.grid.rotations[found.rotations],
        *(found.shifts, found.scores, found.templates, unknown, unknown),
        *(no, no, no),
    )


def too_few(crops, orientations, **others):
    return match(crops.take(slice(1)), orientations[:1], **others)


PLAIN = Engine(prepare, match)


def scene():
    """Return a tomogram and the picks of its particles, in two rows."""
    made = particles(BLOBS, SHAPE, 1.0, 6, angle=0.0, shift=1.0, tilt=None, seed=2)
    blocks = made.boxes.reshape(2, 3, *SHAPE)
    rows = [np.concatenate(list(row), axis=2) for row in blocks]
    z, y, x = (each.ravel() for each in np.indices((1, 2, 3)))
    return np.concatenate(rows, axis=1), np.stack([z, y, x], axis=1) * 16 + 7.5


def align_boxes(engine, **options):
    given = {**SEARCH, "orientations": MADE.orientations, "progress": False, **options}
    return fp.align_subtomograms(MADE.boxes, engine=engine, **given)


def test_align_subtomograms_finds_the_same_by_the_plain_loop():
    ours, theirs = align_boxes(ENGINE, refine=False), align_boxes(PLAIN, refine=False)
    assert ((ours.rotations.inv() * theirs.rotations).magnitude() < 1e-6).mean() > 0.8
    # The plain loop goes on between the voxels, by less than one.
    assert np.abs(ours.shifts - theirs.shifts).max() <= 1
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=0.03)


def test_align_finds_the_same_by_the_plain_loop():
    tomogram, picks = scene()
    options = {**SEARCH, **WHOLE, "progress": False, "preflight": False}
    ours = fp.align(tomogram, picks, **options)
    theirs = fp.align(tomogram, picks, engine=PLAIN, **options)
    np.testing.assert_allclose(theirs.positions, ours.positions, atol=0.1)
    score = ours.features["score"]
    np.testing.assert_allclose(theirs.features["score"], score, atol=0.01)
    assert score.min() > 0.8
    assert np.isnan(theirs.features["shift_error"]).all()


def test_check_asks_the_engine_given():
    tomogram, picks = scene()
    options = {**SEARCH, **WHOLE}
    assert fp.check(tomogram, picks, engine=PLAIN, **options) == []
    (finding,) = fp.check(-tomogram, picks, engine=PLAIN, **options)
    assert finding.name == "opposite contrast"


def test_an_engine_goes_to_other_processes():
    assert pickle.loads(pickle.dumps(PLAIN)) == PLAIN
    assert pickle.loads(pickle.dumps(ENGINE)) == ENGINE
    here = align_boxes(PLAIN)
    with ProcessPoolExecutor(1) as pool:
        there = align_boxes(PLAIN, executor=pool)
    np.testing.assert_array_equal(there.shifts, here.shifts)
    np.testing.assert_array_equal(there.scores, here.scores)


@pytest.mark.parametrize(
    "engine", [None, "plain", match, (prepare, match), Engine(prepare, 3)]
)
def test_what_is_no_engine_is_refused(engine):
    wanted = r"engine must be a funpipe.engine.Engine of functions prepare and match"
    for verb in (fp.align, fp.check):
        with pytest.raises((TypeError, ValueError), match=wanted):
            verb(*scene(), engine=engine, **SEARCH)
    with pytest.raises((TypeError, ValueError), match=wanted):
        align_boxes(engine)


def test_an_engine_that_cannot_whiten_is_not_asked_to():
    with pytest.raises(ValueError, match="whiten must be False: the engine given"):
        align_boxes(PLAIN, whiten=True)


def test_an_engine_that_leaves_boxes_out_is_refused():
    with pytest.raises(ValueError, match="engine must match each box: 1 poses of 6"):
        align_boxes(Engine(prepare, too_few))
