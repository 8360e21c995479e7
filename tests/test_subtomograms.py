from __future__ import annotations

import warnings
from types import SimpleNamespace

import mrcfile
import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe import Molecules
from funpipe.simulate import asymmetric_molecule, blob_image


class Recorded:
    """An array on disk, as far as a reader can tell, that counts what is read."""

    def __init__(self, array):
        self._array = array
        self.shape, self.dtype = array.shape, array.dtype
        self.reads: list[tuple[int, ...]] = []

    def __getitem__(self, index):
        block = self._array[index]
        self.reads.append(block.shape)
        return block


def noise(shape=(30, 33, 36), seed: int = 0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def naive_box(tomogram, position, rotation, shape, scale):
    """Sample one box voxel by voxel from a spline of the whole tomogram."""
    matrix = rotation.as_matrix()
    where = np.zeros((3, *shape))
    for p in np.ndindex(*shape):
        from_centre = [p[i] - (shape[i] - 1) / 2 for i in range(3)]
        where[(slice(None), *p)] = position / scale + matrix @ from_centre
    return scipy.ndimage.map_coordinates(tomogram, where, order=3, mode="mirror")


# What is in a box.


@settings(max_examples=30)
@given(
    shape=st.tuples(*[st.integers(1, 7)] * 3),
    scale=st.floats(0.1, 10.0),
    seed=st.integers(0, 2**31),
)
def test_boxes_are_those_of_a_loop_over_the_whole_tomogram(shape, scale, seed):
    random = np.random.default_rng(seed)
    tomogram = noise()
    inside = random.uniform(6, np.array(tomogram.shape) - 7, (3, 3))
    molecules = Molecules(inside * scale, Rotation.random(3, rng=random))
    boxes = fp.subtomograms(tomogram, molecules, shape=shape, scale=scale)
    assert boxes.shape == (3, *shape)
    assert boxes.dtype == np.float32
    for box, position, rotation in zip(
        boxes, molecules.positions, molecules.rotations, strict=True
    ):
        expected = naive_box(tomogram, position, rotation, shape, scale)
        np.testing.assert_allclose(box, expected, atol=2e-5)


def test_a_block_in_the_middle_of_a_tomogram_has_the_splines_of_the_whole():
    tomogram = noise((80, 80, 80))
    molecules = Molecules([[40.3, 39.6, 41.2]], Rotation.random(1, rng=1))
    box = fp.subtomograms(tomogram, molecules, shape=9, scale=1.0)[0]
    turn = molecules.rotations[0]
    expected = naive_box(tomogram, molecules.positions[0], turn, (9, 9, 9), 1.0)
    np.testing.assert_allclose(box, expected, atol=2e-6)


def test_a_box_in_the_tomograms_frame_holds_its_very_voxels():
    tomogram = noise()
    odd = fp.subtomograms(tomogram, [[10, 11, 12]], shape=(3, 5, 7), scale=1.0)
    np.testing.assert_allclose(odd[0], tomogram[9:12, 9:14, 9:16], atol=1e-5)
    even = fp.subtomograms(tomogram, [[10.5, 11.5, 12.5]], shape=(4, 2, 6), scale=1.0)
    np.testing.assert_allclose(even[0], tomogram[9:13, 11:13, 10:16], atol=1e-5)


@pytest.mark.parametrize(
    ("vector", "in_box", "in_tomogram"),
    [  # about axis 0 the quarter turn takes y to x and x to -y; and so on, round
        ((90, 0, 0), (0, 2, 0), (0, 0, 2)),
        ((90, 0, 0), (1, 0, 2), (1, -2, 0)),
        ((0, 90, 0), (0, 0, 2), (2, 0, 0)),
        ((0, 90, 0), (2, 1, 0), (0, 1, -2)),
        ((0, 0, 90), (2, 0, 0), (0, 2, 0)),
        ((0, 0, 90), (0, 2, 1), (-2, 0, 1)),
    ],
)
def test_rotations_take_the_box_to_the_tomogram(vector, in_box, in_tomogram):
    tomogram = np.zeros((15, 15, 15))
    tomogram[tuple(np.add(7, in_tomogram))] = 1
    molecules = Molecules([[7, 7, 7]], Rotation.from_rotvec(vector, degrees=True))
    box = fp.subtomograms(tomogram, molecules, shape=7, scale=1.0)[0]
    assert np.unravel_index(np.argmax(box), box.shape) == tuple(np.add(3, in_box))
    assert abs(box.max() - 1) < 1e-5


def test_a_particle_in_its_own_frame_is_the_molecule_itself():
    molecule = asymmetric_molecule(sigma=1.6)
    turn, shift = Rotation.random(rng=3), np.array([0.4, -1.3, 0.7])
    tomogram = blob_image(molecule, (40, 41, 42), 0.8, turn, shift)
    middle = (np.array(tomogram.shape) - 1) / 2 * 0.8
    particle = Molecules([middle + shift], turn)
    box = fp.subtomograms(tomogram, particle, shape=(17, 18, 19), scale=0.8)[0]
    expected = blob_image(molecule, (17, 18, 19), 0.8)
    np.testing.assert_allclose(box, expected, atol=2e-3 * expected.max())


@pytest.mark.parametrize("dtype", ["i1", "u1", "<i2", ">i2", "u2", "f2", ">f4", "f8"])
def test_a_memory_map_of_any_numbers_is_a_tomogram(tmp_path, dtype):
    values = np.clip(40 * noise((20, 21, 22)), -100, 100).round()
    values = np.abs(values) if np.dtype(dtype).kind == "u" else values
    np.save(tmp_path / "a.npy", values.astype(dtype))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    molecules = Molecules([[9, 10, 11]], Rotation.random(1, rng=0))
    found = fp.subtomograms(mapped, molecules, shape=5, scale=1.0)
    expected = fp.subtomograms(values, molecules, shape=5, scale=1.0)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


def test_objects_with_pos_and_rotator_are_cut_like_molecules():
    mine = Molecules([[10, 11, 12]], Rotation.random(1, rng=0))
    theirs = SimpleNamespace(pos=mine.positions, rotator=mine.rotations)
    np.testing.assert_array_equal(
        fp.subtomograms(noise(), theirs, shape=4, scale=1.0),
        fp.subtomograms(noise(), mine, shape=4, scale=1.0),
    )


def test_nothing_given_is_changed():
    tomogram, positions = noise(), np.array([[0.0, 11, 12]])
    before = tomogram.copy()
    with pytest.warns(UserWarning, match="leave the tomogram"):
        fp.subtomograms(tomogram, positions, shape=4, scale=1.0)
    np.testing.assert_array_equal(tomogram, before)
    assert positions.tolist() == [[0, 11, 12]]


# How much is read.


def test_only_the_block_that_a_box_needs_is_read():
    tomogram = Recorded(np.zeros((150, 160, 170), np.int8))
    molecules = Molecules(
        np.random.default_rng(0).uniform(40, 110, (4, 3)), Rotation.random(4, rng=0)
    )
    fp.subtomograms(tomogram, molecules, shape=8, scale=1.0)
    # A turned box of 8 reaches 3.5 √3 voxels from its middle, and a spline of the
    # block is that of the tomogram a dozen voxels from its faces.
    largest = 2 * (3.5 * np.sqrt(3) + 13) + 1
    assert len(tomogram.reads) == 4
    assert max(max(block) for block in tomogram.reads) <= largest


@pytest.mark.parametrize("given", [0, 1])
def test_opening_a_tomogram_reads_none_of_it(given):
    tomogram = Recorded(np.zeros((20, 20, 20)))
    fp.SubtomogramLoader(tomogram, np.full((given, 3), 10.0), scale=1.0)
    assert tomogram.reads == []


# The tomogram as a file.


def test_an_mrc_file_brings_its_scale(tmp_path):
    tomogram = noise()
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(tomogram)
        file.voxel_size = 5.0  # Å
    molecules = Molecules([[5.2, 5.9, 6.1]], Rotation.random(1, rng=0))
    expected = fp.subtomograms(tomogram, molecules, shape=5, scale=0.5)
    for path in (tmp_path / "a.mrc", str(tmp_path / "a.mrc")):
        found = fp.subtomograms(path, molecules, shape=5)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    halved = Molecules(molecules.positions / 2, molecules.rotations)
    found = fp.subtomograms(tmp_path / "a.mrc", halved, shape=5, scale=0.25)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_tiff_file_brings_its_scale(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    tomogram = noise()
    tifffile.imwrite(
        tmp_path / "a.tif",
        tomogram,
        imagej=True,
        resolution=(2.0, 2.0),  # voxels per nm
        metadata={"unit": "nm", "spacing": 0.5, "axes": "ZYX"},
    )
    molecules = Molecules([[5.2, 5.9, 6.1]], Rotation.random(1, rng=0))
    np.testing.assert_allclose(
        fp.subtomograms(tmp_path / "a.tif", molecules, shape=5),
        fp.subtomograms(tomogram, molecules, shape=5, scale=0.5),
        atol=1e-5,
    )


def test_a_file_without_a_scale_asks_for_one(tmp_path):
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(noise())
    with pytest.raises(ValueError, match=r"a\.mrc: .*pass scale=\.\.\. in nm"):
        fp.subtomograms(tmp_path / "a.mrc", [[9, 9, 9]], shape=5)


# The edge of the tomogram.


@pytest.mark.parametrize("seed", range(3))
def test_what_lies_outside_is_the_mean_of_what_lies_inside(seed):
    tomogram, middle = noise(), np.array([1.0, 30.0, 20.0])
    turn = Rotation.random(1, rng=seed)
    with pytest.warns(UserWarning, match="leave the tomogram"):
        box = fp.subtomograms(tomogram, Molecules([middle], turn), shape=9, scale=1)[0]
    whole = naive_box(tomogram, middle, turn[0], (9, 9, 9), 1.0)
    grid = np.stack(np.meshgrid(*[np.arange(9) - 4] * 3, indexing="ij"), -1)
    where = turn[0].apply(grid.reshape(-1, 3)) + middle
    within = (where > -0.5) & (where < np.array(tomogram.shape) - 0.5)
    inside = within.all(axis=1).reshape(9, 9, 9)
    assert 0 < inside.sum() < inside.size
    np.testing.assert_allclose(box[inside], whole[inside], atol=2e-5)
    np.testing.assert_allclose(box[~inside], whole[inside].mean(), atol=2e-5)


def test_boxes_that_leave_are_counted_in_one_warning():
    positions = [[15, 16, 17], [0, 16, 17], [15, 33, 17], [15, 16, 14]]
    with pytest.warns(UserWarning) as caught:
        fp.subtomograms(noise(), positions, shape=5, scale=1.0)
    assert [str(each.message) for each in caught] == [
        "2 of 4 boxes leave the tomogram; what lies outside is filled with the mean "
        "of the rest of the box"
    ]
    assert caught[0].filename == __file__


def test_a_box_that_just_fits_is_no_cause_for_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        box = fp.subtomograms(noise((5, 6, 7)), [[2, 2.5, 3]], shape=(5, 6, 7), scale=1)
    np.testing.assert_allclose(box[0], noise((5, 6, 7)), atol=1e-5)


def test_a_particle_outside_is_named_before_anything_is_read():
    tomogram = Recorded(noise())
    positions = [[5, 5, 5], [5, -4, 5], [5, 5, 60]]
    with pytest.raises(ValueError) as caught:
        fp.subtomograms(tomogram, positions, shape=5, scale=0.5)
    assert str(caught.value) == (
        "molecules[1] at (5, -4, 5) nm lies wholly outside the tomogram, which spans "
        "0 to (14.5, 16, 17.5) nm"
    )
    assert tomogram.reads == []


def test_a_turned_box_that_passes_a_corner_by_is_outside_too():
    # Its bounding box overlaps the tomogram, but none of its voxels lies inside.
    turn = Rotation.from_rotvec([45, 0, 0], degrees=True)
    molecules = Molecules(
        [[15, 16, 17], [15, -4, -4]], Rotation.concatenate([turn] * 2)
    )
    with pytest.raises(ValueError, match=r"molecules\[1\] at \(15, -4, -4\) nm lies"):
        fp.subtomograms(noise(), molecules, shape=(5, 9, 9), scale=1.0)


# Wrong arguments.


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_voxel_that_is_not_finite_is_named_by_its_particle(value):
    tomogram = noise((60, 33, 36))
    tomogram[45, 10, 10] = value
    far, near = [10, 11, 12], [45, 12, 9]
    fp.subtomograms(tomogram, [far], shape=5, scale=1.0)
    with pytest.raises(
        ValueError, match=r"NaN or infinity near molecules\[1\] at \[45"
    ):
        fp.subtomograms(tomogram, [far, near], shape=5, scale=1.0)


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"molecules": np.zeros((0, 3))}, ValueError, "molecules must be one particle"),
        ({"molecules": [[1, 2]]}, TypeError, r"molecules must be an array of shape"),
        ({"scale": None}, ValueError, "scale must be given, in nm per voxel"),
        ({"scale": 0.0}, ValueError, "scale must be a number above 0, not 0.0"),
        ({"scale": -1}, ValueError, "scale must be a number above 0, not -1"),
        ({"shape": 0}, ValueError, "shape must be one number of voxels"),
        ({"shape": (4, 4)}, ValueError, "shape must be one number of voxels"),
        ({"shape": 2.5}, ValueError, "shape must be one number of voxels"),
        ({"tomogram": np.zeros((5, 5))}, TypeError, "tomogram must be a path or a 3-D"),
        ({"tomogram": np.zeros((5, 0, 5))}, TypeError, r"of shape \(5, 0, 5\)"),
        ({"tomogram": np.zeros((5,) * 3, complex)}, TypeError, "3-D array of real num"),
        ({"tomogram": [[[1.0]]]}, TypeError, "tomogram must be a path or a 3-D array"),
        ({"tomogram": "no.mrc"}, FileNotFoundError, "no.mrc"),
        ({"tomogram": __file__}, ValueError, "unknown ending"),
    ],
)
def test_a_wrong_argument_is_named(changes, error, text):
    right = {"tomogram": noise(), "molecules": [[9, 9, 9]], "shape": 3, "scale": 1.0}
    arguments = {**right, **changes}
    tomogram, molecules = arguments.pop("tomogram"), arguments.pop("molecules")
    with pytest.raises(error, match=text):
        fp.subtomograms(tomogram, molecules, **arguments)


def test_boxes_of_a_mask_are_those_of_its_numbers():
    mask = np.zeros((12, 12, 12), bool)
    mask[:6] = True
    places = [[3.0, 5.0, 5.0], [5.5, 5.0, 5.0], [9.0, 5.0, 5.0]]
    found = fp.subtomograms(mask, places, shape=3, scale=1.0)
    wanted = fp.subtomograms(mask.astype(np.float32), places, shape=3, scale=1.0)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    np.testing.assert_allclose(found[[0, 2], 0, 0, 0], [1, 0], atol=1e-6)
