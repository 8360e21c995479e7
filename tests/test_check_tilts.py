"""`check` finds a tilt axis, a hand or a defocus that is not that of the data."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.simulate import asymmetric_molecule, blob_image, tomogram

SCALE = 0.35
SHAPE = (400, 36, 58)  # high, so that defocus differs: by 0.14 µm
MOLECULE = asymmetric_molecule(5, count=40, radius=2.2, sigma=0.25)
TEMPLATE = blob_image(MOLECULE, (20, 20, 20), SCALE)
ANGLES = range(-60, 61, 3)
SERIES = fp.tilt_series(ANGLES, defocus=1.5, phase_flipped=False)


def picks(seed=0):
    grid = np.meshgrid(*(np.arange(14, n - 8, 22) for n in SHAPE), indexing="ij")
    places = np.stack(grid, -1).reshape(-1, 3) * SCALE
    return fp.Molecules(places, Rotation.random(len(places), rng=seed))


def found(image, given):
    names = {
        each.name
        for each in fp.check(
            image,
            picks(),
            template=TEMPLATE,
            scale=SCALE,
            max_shifts=SCALE,
            rotations=(6, 6),
            tilt=given,
        )
    }
    return names & {"wrong tilt axis", "wrong hand of tilts", "wrong sign of defocus"}


def made(tilt):
    return tomogram(MOLECULE, picks(), SHAPE, SCALE, tilt=tilt, noise=0.2, seed=1)


@pytest.fixture(scope="module")
def image():
    return made(SERIES)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({}, None),
        ({"axis": "x"}, "wrong tilt axis"),
        ({"hand": 1}, "wrong hand of tilts"),
        ({"defocus": -1.5}, "wrong sign of defocus"),
    ],
)
def test_what_is_wrong_of_a_tilt_series_is_found_and_nothing_else(image, change, name):
    given = {"defocus": 1.5, "phase_flipped": False, **change}
    assert found(image, fp.tilt_series(ANGLES, **given)) == ({name} if name else set())


def test_a_wedge_about_the_other_axis_is_found():
    image = made((-50, 50))
    assert found(image, (-50, 50)) == set()
    assert found(image, fp.single_axis((-50, 50), "x")) == {"wrong tilt axis"}


def test_without_a_tilt_there_is_no_axis():
    assert found(made(None), None) == set()
