"""RELION's particle lists: where RELION puts particles, and files in and out."""

from pathlib import Path

import numpy as np
import pytest
from real_files import DATA, needs_data

from funpipe import Molecules, read_molecules, write_molecules
from funpipe.base.euler import RELION, to_xyz
from funpipe.io.relion_poses import pixel_size
from funpipe.io.relion_tomograms import TomogramInfo, tomogram_infos
from funpipe.io.star import Star, read_star, write_star

pytest.importorskip("starfile", reason="the extra star is not installed")

PARTICLES = DATA / "particles"
TOMOGRAMS = PARTICLES / "R5_tutorial_run_tomograms.star"

# The file, what it does not say itself, and its count.
FILES = [
    ("ps2.star", {"scale": 0.1}, 3111),
    ("relion_3.0.star", {}, 3),
    ("relion_4.0.star", {}, 1746),
    ("R5_tutorial_run_data.star", {"tomograms": TOMOGRAMS}, 9053),
    ("run_it050_data.star", {"tomograms": (300, 800, 800)}, 5),
    ("run_it050_data.star", {"tomograms": "centred"}, 5),
]

# Pixel size 1.35 Å, coordinate (100, 200, 50), origin in Å.
PIXEL = 1.35
POSE = {
    "rlnCoordinateX": [100.0],
    "rlnCoordinateY": [200.0],
    "rlnCoordinateZ": [50.0],
    "rlnOriginXAngst": [2.7],
    "rlnOriginYAngst": [-1.35],
    "rlnOriginZAngst": [4.05],
    "rlnAngleRot": [30.0],
    "rlnAngleTilt": [40.0],
    "rlnAnglePsi": [50.0],
    "rlnTomoName": ["TS_01"],
    "rlnOpticsGroup": [1],
}
SUB = {
    "rlnTomoSubtomogramRot": [10.0],
    "rlnTomoSubtomogramTilt": [20.0],
    "rlnTomoSubtomogramPsi": [30.0],
}
OPTICS = {
    "rlnOpticsGroup": [1],
    "rlnOpticsGroupName": ["optics1"],
    "rlnVoltage": [300.0],
    "rlnTomoTiltSeriesPixelSize": [PIXEL],
}


def star(path, particles, optics=OPTICS, **blocks):
    blocks = {"optics": optics, "particles": particles, **blocks}
    arrays = {
        title: {name: np.array(values) for name, values in block.items()}
        for title, block in blocks.items()
        if block
    }
    write_star(path, Star(arrays, "50001"))
    return path


def voxels(molecules, scale=PIXEL / 10):
    """Return positions as x, y, z in voxels."""
    return molecules.positions[:, ::-1] / scale


def same_poses(left, right, angle=1e-3, voxel=1e-3, scale=0.135):
    turn = np.degrees((left.rotations.inv() * right.rotations).magnitude())
    shift = np.abs(left.positions - right.positions) / scale
    assert turn.max() < angle
    assert shift.max() < voxel


def test_the_origin_is_subtracted(tmp_path):
    molecules = read_molecules(star(tmp_path / "a.star", POSE))
    np.testing.assert_allclose(voxels(molecules), [[98, 201, 47]], atol=1e-9)


def test_the_subtomogram_turns_the_origin(tmp_path):
    molecules = read_molecules(star(tmp_path / "a.star", {**POSE, **SUB}))
    expected = [[100.093, 201.484, 46.567]]
    np.testing.assert_allclose(voxels(molecules), expected, atol=5e-4)


def test_the_subtomograms_angles_come_before_the_particles(tmp_path):
    molecules = read_molecules(star(tmp_path / "a.star", {**POSE, **SUB}))
    total = RELION.angles(molecules.rotations)
    np.testing.assert_allclose(total, [[51.948, 52.416, 74.625]], atol=5e-4)


def test_a_pixels_origin_is_subtracted_in_pixels(tmp_path):
    old = {k: v for k, v in POSE.items() if "Angst" not in k}
    old |= {"rlnOriginX": [2.0], "rlnOriginY": [-1.0], "rlnOriginZ": [3.0]}
    old |= {"rlnDetectorPixelSize": [13.5], "rlnMagnification": [1e5]}
    molecules = read_molecules(star(tmp_path / "a.star", old, None))
    np.testing.assert_allclose(voxels(molecules), [[98, 201, 47]], atol=1e-9)


def test_centred_coordinates_count_from_half_the_size(tmp_path):
    """Size 100: from voxel 50, half a voxel beyond the geometric centre 49.5."""
    centred = {k: v for k, v in POSE.items() if "Coordinate" not in k}
    centred |= {f"rlnCenteredCoordinate{axis}Angst": [0.0] for axis in "XYZ"}
    centred |= {f"rlnOrigin{axis}Angst": [0.0] for axis in "XYZ"}
    path = star(tmp_path / "a.star", centred)
    molecules = read_molecules(path, tomograms=(60, 80, 100))
    np.testing.assert_allclose(voxels(molecules), [[50, 40, 30]], atol=1e-9)
    middle = (np.array([100, 80, 60]) - 1) / 2
    np.testing.assert_allclose(voxels(molecules) - middle, 0.5, atol=1e-9)


@pytest.mark.parametrize(("voxels_in_box", "half"), [(32, 0.5), (33, 0.0)])
def test_a_box_moves_positions_from_voxel_n_over_2_to_its_centre(
    tmp_path, voxels_in_box, half
):
    path = star(tmp_path / "a.star", POSE)
    plain = read_molecules(path)
    centred = read_molecules(path, box=(voxels_in_box, 0.5))
    matrix = to_xyz(plain.rotations)[0]
    expected = voxels(plain, 1.0)[0] - matrix @ np.full(3, half * 0.5)
    np.testing.assert_allclose(voxels(centred, 1.0)[0], expected, atol=1e-12)
    write_molecules(centred, tmp_path / "b.star", like=path, box=(voxels_in_box, 0.5))
    same_columns(path, tmp_path / "b.star")


def same_columns(left, right):
    left, right = read_star(left), read_star(right)
    assert list(left.blocks) == list(right.blocks)
    assert left.version == right.version
    for title, block in left.blocks.items():
        assert list(block) == list(right.blocks[title])
        for name, values in block.items():
            np.testing.assert_array_equal(values, right.blocks[title][name], name)


@needs_data
@pytest.mark.parametrize(("name", "options", "count"), FILES)
def test_a_real_file_written_unchanged_is_equal_in_every_column(
    tmp_path, name, options, count
):
    molecules = read_molecules(PARTICLES / name, **options)
    assert len(molecules) == count
    write_molecules(molecules, tmp_path / "a.star", like=PARTICLES / name, **options)
    same_columns(PARTICLES / name, tmp_path / "a.star")
    assert read_molecules(tmp_path / "a.star", **options) == molecules


@needs_data
@pytest.mark.parametrize(("name", "options", "count"), FILES)
def test_a_real_file_needs_no_model_to_keep_its_columns(tmp_path, name, options, count):
    molecules = read_molecules(PARTICLES / name, **options)
    write_molecules(molecules, tmp_path / "a.star", **options)
    again = read_molecules(tmp_path / "a.star", **options)
    assert len(again) == count
    same_poses(again, molecules, 1e-9, 1e-9)
    for feature, values in molecules.features.items():
        np.testing.assert_array_equal(again.features[feature], values, feature)


@needs_data
@pytest.mark.parametrize(("name", "options", "count"), FILES)
def test_changed_poses_of_a_real_file_come_back(tmp_path, name, options, count):
    molecules = read_molecules(PARTICLES / name, **options)
    rng = np.random.default_rng(0)
    moved = Molecules(
        molecules.positions + rng.normal(size=(count, 3)),
        molecules.rotations * RELION.rotations(rng.uniform(-180, 180, (count, 3))),
        molecules.features,
    )
    write_molecules(moved, tmp_path / "a.star", like=PARTICLES / name, **options)
    same_poses(read_molecules(tmp_path / "a.star", **options), moved, 1e-5, 1e-5)


def test_one_particle_that_moved_leaves_the_others_as_they_were(tmp_path):
    two = {k: v * 2 for k, v in {**POSE, **SUB}.items()}
    path = star(tmp_path / "a.star", two)
    molecules = read_molecules(path)
    moved = Molecules(
        molecules.positions + np.array([[0, 0, 0], [0.1, 0.2, 0.3]]),
        molecules.rotations,
        molecules.features,
    )
    write_molecules(moved, tmp_path / "b.star", like=path)
    before = read_star(path).blocks["particles"]
    after = read_star(tmp_path / "b.star").blocks["particles"]
    for name in before:
        assert after[name][0] == before[name][0]
        changed = name.startswith("rlnOrigin")
        assert (after[name][1] != before[name][1]) == changed, name


def test_without_origins_a_particle_that_moved_gets_a_new_coordinate(tmp_path):
    bare = {k: v for k, v in POSE.items() if "Origin" not in k}
    path = star(tmp_path / "a.star", bare)
    moved = Molecules([[6.0, 5.0, 4.0]], features=read_molecules(path).features)
    write_molecules(moved, tmp_path / "b.star", like=path)
    block = read_star(tmp_path / "b.star").blocks["particles"]
    assert list(block) == list(bare)
    assert block["rlnCoordinateZ"][0] == pytest.approx(60 / PIXEL, abs=1e-6)


def test_optics_and_other_blocks_come_from_the_model(tmp_path):
    path = star(tmp_path / "a.star", POSE, general={"rlnTomoSubTomosAre2DStacks": [1]})
    write_molecules(np.ones((2, 3)), tmp_path / "b.star", like=path)
    blocks = read_star(tmp_path / "b.star").blocks
    assert blocks["optics"]["rlnVoltage"].tolist() == [300.0]
    assert blocks["general"]["rlnTomoSubTomosAre2DStacks"].tolist() == [1]
    assert blocks["particles"]["rlnOpticsGroup"].tolist() == [1, 1]
    again = read_molecules(tmp_path / "b.star")
    np.testing.assert_allclose(again.positions, np.ones((2, 3)), atol=1e-7)


def test_unknown_columns_and_new_features_go_out_under_their_names(tmp_path):
    path = star(tmp_path / "a.star", {**POSE, "myOwn": ["007"]})
    molecules = read_molecules(path).with_features(score=[0.25])
    assert molecules.features["myOwn"].tolist() == ["007"]
    write_molecules(molecules, tmp_path / "b.star", like=path)
    again = read_molecules(tmp_path / "b.star").features
    assert again["myOwn"].tolist() == ["007"]
    assert again["score"].tolist() == [0.25]
    assert set(again) == set(molecules.features)


@pytest.mark.parametrize("label", ["rlnTomoName", "rlnMicrographName"])
def test_the_tomograms_name_becomes_tomogram_and_goes_back(tmp_path, label):
    named = {(label if k == "rlnTomoName" else k): v for k, v in POSE.items()}
    path = star(tmp_path / "a.star", named)
    molecules = read_molecules(path)
    assert molecules.features["tomogram"].tolist() == ["TS_01"]
    write_molecules(molecules, tmp_path / "b.star", like=path)
    same_columns(path, tmp_path / "b.star")


def test_a_tomogram_named_by_a_number_stays_a_text(tmp_path):
    path = star(tmp_path / "a.star", {**POSE, "rlnTomoName": ["17"]})
    assert read_molecules(path).features["tomogram"].tolist() == ["17"]


def test_each_particle_has_the_pixel_size_of_its_optics_group(tmp_path):
    two = {k: v * 2 for k, v in POSE.items()} | {"rlnOpticsGroup": [2, 1]}
    optics = {k: v * 2 for k, v in OPTICS.items()}
    optics |= {"rlnOpticsGroup": [1, 2], "rlnTomoTiltSeriesPixelSize": [1.35, 2.7]}
    path = star(tmp_path / "a.star", two, optics)
    x = read_molecules(path).positions[:, 2]
    np.testing.assert_allclose(x, [27.0 - 0.27, 13.5 - 0.27], atol=1e-9)
    write_molecules(read_molecules(path), tmp_path / "b.star", like=path)
    same_columns(path, tmp_path / "b.star")
    write_molecules(read_molecules(path), tmp_path / "c.star")
    assert read_molecules(tmp_path / "c.star").positions[:, 2] == pytest.approx(x)


def test_the_first_of_optics_groups_of_one_number_is_meant(tmp_path):
    groups, sizes = [7, 3, 9, 3], [1.0, 2.0, 4.0, 8.0]
    members = np.random.default_rng(0).choice(groups, 50).tolist()
    particles = {k: v * 50 for k, v in POSE.items()} | {"rlnOpticsGroup": members}
    optics = {k: v * 4 for k, v in OPTICS.items()}
    optics |= {"rlnOpticsGroup": groups, "rlnTomoTiltSeriesPixelSize": sizes}
    found = read_molecules(star(tmp_path / "a.star", particles, optics)).features
    naive = [sizes[groups.index(each)] for each in members]
    assert found["rlnTomoTiltSeriesPixelSize"].tolist() == naive
    particles["rlnOpticsGroup"][30:] = [5] * 20
    with pytest.raises(ValueError, match=r"row 31 is in the optics group 5, .* '7'"):
        read_molecules(star(tmp_path / "b.star", particles, optics))


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"rlnTomoTiltSeriesPixelSize": 1.0, "rlnImagePixelSize": 2.0}, 1.0),
        ({"rlnMicrographPixelSize": 3.0, "rlnImagePixelSize": 2.0}, 3.0),
        ({"rlnImagePixelSize": 2.0, "rlnPixelSize": 4.0}, 2.0),
        ({"rlnDetectorPixelSize": 5.0, "rlnMagnification": 1e4}, 5.0),
        ({"rlnPixelSize": 4.0}, 4.0),
    ],
)
def test_the_pixel_size_is_the_one_that_coordinates_are_counted_in(columns, expected):
    columns = {name: np.array([value]) for name, value in columns.items()}
    assert pixel_size("a.star", columns).tolist() == [expected]


@needs_data
def test_a_scale_that_contradicts_centred_coordinates_is_refused(tmp_path):
    name, options = PARTICLES / "R5_tutorial_run_data.star", {"tomograms": TOMOGRAMS}
    with pytest.raises(ValueError, match=r"contradicts the pixel size .*leave scale"):
        read_molecules(name, scale=0.5, **options)
    molecules = read_molecules(name, **options)
    with pytest.raises(ValueError, match=r"contradicts the pixel size .*leave scale"):
        write_molecules(molecules, tmp_path / "a.star", scale=0.5)
    assert list(tmp_path.iterdir()) == []


def test_without_a_model_there_is_one_table_as_relion_imports_it(tmp_path):
    molecules = Molecules([[3.0, 2.0, 1.0]], features={"mine": [7], "tomogram": ["a"]})
    write_molecules(molecules, tmp_path / "a.star", scale=0.5)
    blocks = read_star(tmp_path / "a.star").blocks
    assert list(blocks) == ["particles"]
    assert list(blocks["particles"]) == [
        *("rlnTomoName", "rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ"),
        *("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"),
        *("mine", "rlnTomoTiltSeriesPixelSize"),
    ]
    assert blocks["particles"]["rlnTomoTiltSeriesPixelSize"].tolist() == [5.0]


def test_another_scale_replaces_the_pixel_size_that_came_along(tmp_path):
    molecules = read_molecules(star(tmp_path / "a.star", POSE))
    write_molecules(molecules, tmp_path / "b.star", scale=0.27)
    again = read_molecules(tmp_path / "b.star")
    same_poses(again, molecules)
    assert again.features["rlnTomoTiltSeriesPixelSize"].tolist() == [2.7]


RELION_3 = {"rlnDetectorPixelSize": [5.0], "rlnMagnification": [37037.037]}


@pytest.mark.parametrize(
    ("particles", "optics"),
    [
        (POSE, OPTICS),
        (POSE | {"rlnImagePixelSize": [PIXEL]}, {"rlnOpticsGroup": [1]}),
        ({k: v for k, v in POSE.items() if "Optics" not in k} | RELION_3, {}),
    ],
)
def test_a_scale_that_is_given_is_said_in_a_file_like_another(
    tmp_path, particles, optics
):
    path = star(tmp_path / "a.star", particles, optics)
    molecules = read_molecules(path)
    write_molecules(molecules, tmp_path / "b.star", like=path, scale=0.5)
    same_poses(read_molecules(tmp_path / "b.star"), molecules)
    block = read_star(tmp_path / "b.star").blocks["particles"]
    # The origin stays; coordinate and origin make the position.
    assert block["rlnCoordinateX"][0] == pytest.approx(100 * PIXEL / 5, abs=1e-3)
    wrong = read_molecules(path, scale=1.0)
    write_molecules(wrong, tmp_path / "c.star", like=path, scale=1.0)
    same_poses(read_molecules(tmp_path / "c.star"), wrong)


def test_a_column_that_is_called_tomogram_stays_beside_the_tomograms_name(tmp_path):
    path = star(tmp_path / "a.star", {**POSE, "tomogram": ["mine"]})
    write_molecules(read_molecules(path), tmp_path / "b.star", like=path)
    same_columns(path, tmp_path / "b.star")


def test_a_relion_list_from_a_stopgap_list_is_of_relion(tmp_path):
    name = Path(__file__).parent / "data/stopgap.star"
    molecules = read_molecules(name, scale=0.5)
    write_molecules(molecules, tmp_path / "a.star", format="relion", scale=0.5)
    assert "_orig_x" in (tmp_path / "a.star").read_text()
    moved = Molecules(molecules.positions + 1, molecules.rotations, molecules.features)
    write_molecules(moved, tmp_path / "b.star", format="relion", scale=0.5)
    same_poses(read_molecules(tmp_path / "b.star"), moved)


@needs_data
def test_the_tomograms_file_gives_size_scale_and_hand():
    found = tomogram_infos(TOMOGRAMS)
    assert list(found) == ["TS_01", "TS_03", "TS_43", "TS_45", "TS_54"]
    assert found["TS_01"] == TomogramInfo((2000, 4000, 4000), 0.135, -1.0)


@needs_data
def test_relion_5_through_dynamo_and_back_keeps_every_pose(tmp_path):
    pytest.importorskip("dynamotable", reason="the extra dynamo is not installed")
    source = PARTICLES / "R5_tutorial_run_data.star"
    first = read_molecules(source, tomograms=TOMOGRAMS)
    with pytest.warns(UserWarning, match="cannot hold the features rlnTomoSubtomo"):
        write_molecules(first, tmp_path / "a.tbl")
    second = read_molecules(tmp_path / "a.tbl")
    write_molecules(second, tmp_path / "b.star", like=source, tomograms=TOMOGRAMS)
    third = read_molecules(tmp_path / "b.star", tomograms=TOMOGRAMS)
    same_poses(second, first)
    same_poses(third, first)
    for each in (second, third):
        names = each.features["tomogram"]
        np.testing.assert_array_equal(names, first.features["tomogram"])


def lacking(*names):
    return {k: v for k, v in POSE.items() if k not in names}


@pytest.mark.parametrize(
    ("particles", "optics", "message"),
    [
        (POSE, None, r"pass scale=\.\.\. in nm per voxel"),
        (lacking("rlnCoordinateX"), OPTICS, "no column 'rlnCoordinateX'"),
        (lacking("rlnCoordinateZ"), OPTICS, "no column 'rlnCoordinateZ'"),
        (lacking("rlnAngleTilt"), OPTICS, "no column 'rlnAngleTilt'"),
        (lacking("rlnOriginYAngst"), OPTICS, "no column 'rlnOriginYAngst'"),
        (lacking("rlnOpticsGroup"), OPTICS, "no column 'rlnOpticsGroup'"),
        ({**POSE, "rlnOpticsGroup": [3]}, OPTICS, r"row 1 .* optics group 3"),
        (
            {**POSE, "rlnAngleRot": ["west"]},
            OPTICS,
            "column 'rlnAngleRot', row 1: 'west' is not a finite number",
        ),
        ({**POSE, "rlnAngleRot": [np.nan]}, OPTICS, "row 1: nan is not a finite"),
        (POSE, {**OPTICS, "rlnTomoTiltSeriesPixelSize": [0.0]}, "must be above 0"),
    ],
)
def test_a_list_that_lacks_something_says_what(tmp_path, particles, optics, message):
    path = star(tmp_path / "a.star", particles, optics)
    with pytest.raises(ValueError, match=message):
        read_molecules(path)


@needs_data
def test_centred_coordinates_without_tomograms_say_what_to_pass():
    with pytest.raises(ValueError, match=r"pass tomograms=\.\.\."):
        read_molecules(PARTICLES / "run_it050_data.star")


@needs_data
def test_a_tomogram_that_is_not_in_the_tomograms_file_is_named():
    with pytest.raises(ValueError, match="row 1 is in the tomogram 'TS_01'"):
        read_molecules(
            PARTICLES / "run_it050_data.star", tomograms={"TS_09": (1, 2, 3)}
        )


def test_a_particle_list_is_no_tomograms_file(tmp_path):
    path = star(tmp_path / "a.star", POSE)
    with pytest.raises(ValueError, match="no column 'rlnTomoSizeX'"):
        read_molecules(path, tomograms=path)


def test_several_optics_groups_need_the_particles_to_name_theirs(tmp_path):
    optics = {k: v * 2 for k, v in OPTICS.items()} | {"rlnOpticsGroup": [1, 2]}
    path = star(tmp_path / "a.star", POSE, optics)
    with pytest.raises(ValueError, match="no feature 'rlnOpticsGroup'"):
        write_molecules(np.ones((1, 3)), tmp_path / "b.star", like=path)
    assert not (tmp_path / "b.star").exists()


@pytest.mark.parametrize("text", ["a#b", "it's", "two\nlines", 'a "quote"'])
def test_a_text_that_star_cannot_hold_is_refused_and_nothing_written(tmp_path, text):
    molecules = Molecules([[1.0, 2.0, 3.0]], features={"note": [text]})
    with pytest.raises(ValueError, match="cannot hold the text"):
        write_molecules(molecules, tmp_path / "a.star", scale=1.0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["two words", "", "a#"])
def test_a_name_that_star_cannot_hold_is_refused(tmp_path, name):
    molecules = Molecules([[1.0, 2.0, 3.0]], features={name: [1]})
    with pytest.raises(ValueError, match="cannot have a column"):
        write_molecules(molecules, tmp_path / "a.star", scale=1.0)
