"""Files that other programs wrote are read as those programs mean them."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from funpipe import read_molecules, write_molecules
from funpipe.base.euler import to_xyz
from funpipe.io.volumes import open_volume

for library in ("starfile", "dynamotable", "emfile", "imodmodel", "zarr"):
    pytest.importorskip(library, reason=f"{library} is not installed")

DATA = Path(__file__).parent / "data"
POSES = np.loadtxt(DATA / "poses.csv", delimiter=",", skiprows=1)
SCALE = 0.25
# What cryoCAT's lists call the first voxel is what it copied, here 0.
LISTS = {
    "cryocat.star": 0,
    "cryocat.em": 0,
    "cryocat.tbl": 0,
    "stopgap.star": 1,
    "stopgap.em": 1,
}
GRID = np.arange(8)[:, None, None] * 100 + np.arange(10)[:, None] * 10 + np.arange(12)


@pytest.mark.parametrize("name", LISTS)
def test_a_list_holds_the_poses_that_its_program_says(name):
    first = LISTS[name]
    molecules = read_molecules(DATA / name, scale=SCALE, first=first)
    expected = (POSES[:, 3:0:-1] - first) * SCALE
    np.testing.assert_allclose(molecules.positions, expected, atol=1e-5)
    turned = Rotation.from_matrix(to_xyz(molecules.rotations))
    stated = Rotation.from_matrix(POSES[:, 4:].reshape(-1, 3, 3))
    assert np.degrees((turned * stated.inv()).magnitude()).max() < 1e-4
    numbers = [str(int(each)) for each in POSES[:, 0]]
    assert molecules.features["tomogram"].tolist() == numbers


@pytest.mark.parametrize(
    ("name", "first"), [("stopgap.star", 1), ("stopgap.em", 1), ("cryocat.tbl", 0.5)]
)
def test_the_first_voxel_is_by_default_what_the_program_calls_it(name, first):
    stated = read_molecules(DATA / name, scale=SCALE, first=first)
    assert read_molecules(DATA / name, scale=SCALE) == stated


def test_stopgap_cuts_a_particle_of_ours_where_it_is(tmp_path):
    # STOPGAP cuts, in indices from 1, from floor(orig) - floor(n / 2) on, and its
    # centre is voxel n // 2 of that box: index orig, which is orig - 1 from 0.
    write_molecules([[3.2, 4.7, 7.0]], tmp_path / "a.star", format="stopgap", scale=1.0)
    row = (tmp_path / "a.star").read_text().split("_class")[1].split()
    orig = np.array(row[5:8], dtype=float)
    np.testing.assert_allclose(np.array(row[9:12], dtype=float), [0, -0.3, 0.2])
    volume = np.zeros((12, 12, 12))  # x, y, z, as in MATLAB
    volume[7, 5, 3] = 1
    n = 4
    start = np.floor(orig).astype(int) - n // 2 - 1
    box = volume[tuple(slice(each, each + n) for each in start)]
    assert box[n // 2, n // 2, n // 2] == 1


def test_a_stopgap_list_is_laid_out_as_stopgap_lays_it_out(tmp_path):
    molecules = read_molecules(DATA / "stopgap.star", scale=SCALE)
    scored = molecules.with_features(shift=np.ones(12))
    with pytest.warns(UserWarning, match="cannot hold the features shift: "):
        write_molecules(scored, tmp_path / "a.star", format="stopgap", scale=SCALE)
    ours, theirs = (
        [
            " ".join(line.split())
            for line in path.read_text().split("data_", 1)[1].rstrip().splitlines()
        ]
        for path in (tmp_path / "a.star", DATA / "stopgap.star")
    )
    header = theirs.index("_class") + 2
    assert ours[:header] == theirs[:header]
    for mine, other in zip(ours[header:], theirs[header:], strict=True):
        for left, right in zip(mine.split(), other.split(), strict=True):
            assert left == right or float(left) == float(right)
            assert ("." in left) == ("." in right)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"halfset": ["A", "half2"]}, "halfset: .* one letter"),
        ({"class": [1.0, 1.5]}, "class: .* whole numbers"),
        ({"object": ["a", "b"]}, "object: .* whole numbers"),
    ],
)
def test_what_stopgap_could_not_read_is_not_written(tmp_path, features, message):
    molecules = read_molecules(DATA / "stopgap.star", scale=SCALE)[:2]
    with pytest.raises(ValueError, match=message):
        write_molecules(
            molecules.with_features(**features),
            tmp_path / "a.star",
            format="stopgap",
            scale=SCALE,
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "count", "scale", "objects", "contours"),
    [
        ("imod_two_contours.mod", 25, 0.448, {0}, {0, 1}),
        ("imod_three_objects.mod", 6, 1.9733333587646484, {1, 2}, {0}),
    ],
)
def test_a_model_of_imod_keeps_its_points_objects_and_contours(
    tmp_path, name, count, scale, objects, contours
):
    import imodmodel

    molecules = read_molecules(DATA / name)
    table = imodmodel.read(DATA / name)
    assert len(molecules) == len(table) == count
    voxels = table[["z", "y", "x"]].to_numpy() - [0, 0.5, 0.5]
    np.testing.assert_allclose(molecules.positions / scale, voxels, rtol=1e-6)
    write_molecules(molecules, tmp_path / "a.mod", scale=scale)
    again = read_molecules(tmp_path / "a.mod")
    np.testing.assert_allclose(again.positions, molecules.positions, rtol=1e-6)
    for feature, found in (("object", objects), ("contour", contours)):
        assert set(molecules.features[feature].tolist()) == found
        np.testing.assert_array_equal(
            again.features[feature], molecules.features[feature]
        )


@pytest.mark.parametrize("numbers", [[0, -1], [0, 10_000], ["a", "b"], [0.5, 1.0]])
def test_objects_that_a_model_cannot_count_are_refused(tmp_path, numbers):
    molecules = read_molecules(DATA / "imod_two_contours.mod")[:2]
    with pytest.raises(ValueError, match="object: an IMOD model counts in whole"):
        write_molecules(
            molecules.with_features(object=numbers), tmp_path / "a.mod", scale=1.0
        )
    assert list(tmp_path.iterdir()) == []


def test_an_em_volume_of_stopgap_is_the_image():
    volume = open_volume(DATA / "stopgap_volume.em")
    np.testing.assert_array_equal(volume.array, GRID)


@pytest.mark.parametrize("name", ["mrc2omezarr.zarr", "ome_zarr.zarr"])
def test_an_ome_zarr_of_other_programs_has_image_levels_and_scale(name):
    volume = open_volume(DATA / name)
    np.testing.assert_array_equal(volume.array, GRID)
    assert volume.scale == pytest.approx(1.348)
    coarse = open_volume(DATA / name, at=3.0)
    assert coarse.scale == pytest.approx(2.696)
    means = GRID.reshape(4, 2, 5, 2, 6, 2).mean((1, 3, 5))
    np.testing.assert_allclose(coarse.array, means)
