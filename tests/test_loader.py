from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe import Molecules, SubtomogramLoader
from funpipe.io.volumes import write_mrc
from funpipe.simulate import asymmetric_molecule, blob_image, tomogram

SCALE = 0.5
MOLECULE = asymmetric_molecule(count=14, radius=2.0, sigma=0.55)
TEMPLATE = fp.from_array(blob_image(MOLECULE, (28, 28, 28), 0.25), scale=0.25)
PICKS = Molecules([[8, 8, 8], [8.2, 8.1, 19]], Rotation.random(2, rng=0))
IMAGE = tomogram(MOLECULE, PICKS, (34, 34, 56), SCALE, noise=0.1)
MASK = fp.soft_otsu(0.4, 0.8)


def test_a_loader_aligns_as_align_does():
    loader = SubtomogramLoader(IMAGE, PICKS, scale=SCALE)
    options = {"max_shifts": 1.0, "tilt": (-60, 60), "progress": False}
    aligned = loader.align(template=TEMPLATE, mask=MASK, **options)
    assert isinstance(aligned, SubtomogramLoader)
    assert aligned.molecules == fp.align(
        IMAGE, PICKS, template=TEMPLATE, mask=MASK, scale=SCALE, **options
    )
    assert aligned.image is IMAGE
    assert aligned.scale == SCALE


def test_a_loader_averages_as_average_does():
    loader = SubtomogramLoader(IMAGE, PICKS, scale=SCALE)
    np.testing.assert_array_equal(
        loader.average(9), fp.average(IMAGE, PICKS, shape=9, scale=SCALE)
    )


def test_a_loaders_tilt_serves_both_unless_another_is_given():
    loader = SubtomogramLoader(IMAGE, PICKS, scale=SCALE, tilt=(-60, 60))
    wedge = {"scale": SCALE, "tilt": (-60, 60)}
    np.testing.assert_array_equal(
        loader.average(9), fp.average(IMAGE, PICKS, shape=9, **wedge)
    )
    np.testing.assert_array_equal(
        loader.average(9, tilt=None), fp.average(IMAGE, PICKS, shape=9, scale=SCALE)
    )
    options = {"template": TEMPLATE, "progress": False}
    aligned = loader.align(**options)
    assert aligned.molecules == fp.align(IMAGE, PICKS, **wedge, **options)
    assert aligned.tilt == (-60, 60)
    other = loader.align(tilt=None, **options).molecules
    assert other == fp.align(IMAGE, PICKS, scale=SCALE, **options)
    assert other != aligned.molecules


def test_a_loader_is_not_changed_by_its_use():
    loader = SubtomogramLoader(IMAGE, PICKS, scale=SCALE)
    loader.align(TEMPLATE, progress=False)
    assert loader.molecules == PICKS
    assert loader.molecules.features == {}
    with pytest.raises(dataclasses.FrozenInstanceError):
        loader.scale = 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        loader.molecules = PICKS[:1]


def test_a_file_brings_its_scale(tmp_path):
    write_mrc(tmp_path / "a.mrc", IMAGE, SCALE)
    loader = SubtomogramLoader(tmp_path / "a.mrc", PICKS)
    assert loader.scale == pytest.approx(SCALE)
    np.testing.assert_allclose(
        loader.average(9), fp.average(IMAGE, PICKS, shape=9, scale=SCALE), atol=1e-6
    )


def test_objects_with_pos_and_rotator_become_molecules():
    theirs = SimpleNamespace(pos=PICKS.positions, rotator=PICKS.rotations)
    assert SubtomogramLoader(IMAGE, theirs, scale=SCALE).molecules == PICKS


def test_the_repr_says_what_is_in_it(tmp_path):
    write_mrc(tmp_path / "a.mrc", IMAGE, SCALE)
    text = "SubtomogramLoader(34 x 34 x 56 voxels of 0.5 nm, Molecules(2 particles))"
    assert repr(SubtomogramLoader(IMAGE, PICKS, scale=SCALE)) == text
    assert repr(SubtomogramLoader(tmp_path / "a.mrc", PICKS)) == text


@pytest.mark.parametrize(
    ("image", "molecules", "scale", "text"),
    [
        (IMAGE, PICKS, None, "scale must be given, in nm per voxel"),
        (IMAGE, PICKS, -1, "scale must be a number above 0"),
        (IMAGE[0], PICKS, SCALE, "tomogram must be a path or a 3-D array"),
        (IMAGE, "picks.csv", SCALE, "molecules must be Molecules, "),
    ],
)
def test_a_wrong_part_is_named_when_the_loader_is_made(image, molecules, scale, text):
    with pytest.raises((TypeError, ValueError), match=text):
        SubtomogramLoader(image, molecules, scale)


def test_a_wrong_option_is_named():
    loader = SubtomogramLoader(IMAGE, PICKS, scale=SCALE)
    with pytest.raises(TypeError, match="shifts"):
        loader.align(TEMPLATE, shifts=1.0)
    with pytest.raises(TypeError, match="mask"):
        loader.average(9, mask=MASK)
