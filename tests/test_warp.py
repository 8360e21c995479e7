"""Lists of Warp and M: image series, template matching, species.

The figures are what Warp's own code makes of one particle, by hand: at 1200, 2400 and
600 Å (x, y, z), in a tomogram of 4000 x 4000 x 1000 pixels of 1.5 Å.
"""

from pathlib import Path

import numpy as np
import pytest
from written_files import TOMOGRAMS_STAR

from funpipe import Molecules, read_molecules, write_molecules
from funpipe.base.errors import MissingError
from funpipe.io.relion_tomograms import TomogramInfo
from funpipe.io.star import read_star

pytest.importorskip("starfile", reason="the extra star is not installed")

PLACE = [[60.0, 240.0, 120.0]]  # nm, z y x

# As ts_export_particles --2d --output_angpix 10 writes it: the optics table of
# Construct2DOpticsTable and the rows of TiltSeries.ReconstructParticleSeries, which
# divides by BinnedPixelSizeMean, 10 Å here.
SERIES = """
data_general

_rlnTomoSubTomosAre2DStacks  1

data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
_rlnSphericalAberration #3
_rlnVoltage #4
_rlnTomoTiltSeriesPixelSize #5
_rlnCtfDataAreCtfPremultiplied #6
_rlnImageDimensionality #7
_rlnTomoSubtomogramBinning #8
_rlnImagePixelSize #9
_rlnImageSize #10
_rlnAmplitudeContrast #11
1 opticsGroup1 2.700 300.000 1.50000 1 2 6.66667 10.00000 64 0.070
2 opticsGroup2 2.700 300.000 1.50000 1 2 3.33333 5.00000 64 0.070

data_particles

loop_
_rlnTomoName #1
_rlnTomoParticleId #2
_rlnCoordinateX #3
_rlnCoordinateY #4
_rlnCoordinateZ #5
_rlnAngleRot #6
_rlnAngleTilt #7
_rlnAnglePsi #8
_rlnTomoParticleName #9
_rlnOpticsGroup #10
_rlnImageName #11
_rlnOriginXAngst #12
_rlnOriginYAngst #13
_rlnOriginZAngst #14
_rlnTomoVisibleFrames #15
TS_1.tomostar 1 120.000 240.000 60.000 10.000 20.000 30.000 TS_1/1 1 a.mrcs 0.0 0.0 0.0 [1,1,0]
"""  # noqa: E501


def written(tmp_path, text: str, name: str = "list.star") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def second(text: str) -> str:
    """Add a particle at the same place, in an optics group of half the pixel size."""
    row = text.rstrip().splitlines()[-1]
    row = row.replace("120.000 240.000 60.000", "240.000 480.000 120.000")
    row = row.replace("TS_1", "TS_2").replace(" 1 a.mrcs", " 2 a.mrcs")
    return f"{text}{row}\n"


def test_image_series_of_warp_are_counted_in_the_images_pixels(tmp_path):
    molecules = read_molecules(written(tmp_path, SERIES))
    np.testing.assert_allclose(molecules.positions, PLACE)
    assert molecules.features["rlnImagePixelSize"].tolist() == [10.0]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("data_general\n\n_rlnTomoSubTomosAre2DStacks  1\n", ""),  # lost by an editor
        ("[1,1,0]", "?"),
        (" 1 2 6.66667", " 1 3 6.66667"),
    ],
)
def test_image_series_are_known_by_any_of_their_marks(tmp_path, old, new):
    assert old in SERIES
    molecules = read_molecules(written(tmp_path, SERIES.replace(old, new)))
    np.testing.assert_allclose(molecules.positions, PLACE)


def test_each_particle_of_warp_has_its_own_groups_pixels(tmp_path):
    path = written(tmp_path, second(SERIES))
    molecules = read_molecules(path)
    np.testing.assert_allclose(molecules.positions, PLACE * 2)
    write_molecules(molecules, tmp_path / "b.star", like=path)
    for title, block in read_star(path).blocks.items():
        again = read_star(tmp_path / "b.star").blocks[title]
        assert list(block) == list(again)
        for name in block:
            np.testing.assert_array_equal(block[name], again[name])


@pytest.mark.parametrize("like", [True, False])
def test_particles_of_warp_that_moved_come_back(tmp_path, like):
    path = written(tmp_path, second(SERIES))
    molecules = read_molecules(path)
    moved = Molecules(
        molecules.positions + np.array([1, 2, 3]),
        molecules.rotations,
        molecules.features,
    )
    write_molecules(moved, tmp_path / "b.star", like=path if like else None)
    again = read_molecules(tmp_path / "b.star")
    np.testing.assert_allclose(again.positions, moved.positions, atol=1e-6)


def test_volumes_of_relion_4_are_counted_in_the_tilt_series_pixels(tmp_path):
    """Also where its tomograms have the names that Warp gave them."""
    text = SERIES.replace("Are2DStacks  1", "Are2DStacks  0").replace(
        " 1 2 6.66667", " 1 3 6.66667"
    )
    text = text.replace("_rlnTomoVisibleFrames", "_rlnMine")
    text = text.replace(" 1 2 3.33333", " 1 3 3.33333")
    molecules = read_molecules(written(tmp_path, text))
    np.testing.assert_allclose(molecules.positions, np.array(PLACE) * 0.15)


def test_equal_sizes_need_no_choice(tmp_path):
    text = SERIES.replace("1.50000", "10.00000").replace(".tomostar", "")
    molecules = read_molecules(written(tmp_path, text))
    np.testing.assert_allclose(molecules.positions, PLACE)
    assert molecules.features["rlnTomoTiltSeriesPixelSize"].tolist() == [10.0]


def test_series_that_could_be_of_either_program_are_asked_about(tmp_path):
    path = written(tmp_path, SERIES.replace(".tomostar", ""))
    with pytest.raises(MissingError, match=r"scale=\.\.\. .*0\.15 .*1 for") as caught:
        read_molecules(path)
    assert caught.value.name == "scale"
    assert str(path) in str(caught.value)
    for scale, factor in ((1.0, 1.0), (0.15, 0.15)):
        molecules = read_molecules(path, scale=scale)
        np.testing.assert_allclose(molecules.positions, np.array(PLACE) * factor)
        write_molecules(molecules, tmp_path / "b.star", like=path, scale=scale)
        again = read_star(tmp_path / "b.star").blocks
        before = read_star(path).blocks
        assert again["particles"]["rlnCoordinateX"].tolist() == [120.0]
        for name, values in before["optics"].items():
            np.testing.assert_array_equal(again["optics"][name], values)


def test_a_list_like_one_of_other_pixels_is_counted_in_those(tmp_path):
    """A list of Warp, written like one of RELION at another size."""
    warp = read_molecules(written(tmp_path, SERIES))
    relion = written(tmp_path, SERIES.replace("Dimensionality", "Mine"), "relion.star")
    text = relion.read_text().replace("Are2DStacks  1", "Are2DStacks  0")
    relion.write_text(text.replace("_rlnTomoVisibleFrames", "_rlnMine2"))
    write_molecules(warp, tmp_path / "b.star", like=relion)
    block = read_star(tmp_path / "b.star").blocks["particles"]
    assert block["rlnCoordinateX"].tolist() == [800.0]
    assert block["rlnOriginXAngst"].tolist() == [0.0]
    np.testing.assert_allclose(read_molecules(tmp_path / "b.star").positions, PLACE)


# The tomograms that a list of RELION 5 counts in.

CENTRED = """
data_particles

loop_
_rlnTomoName #1
_rlnCenteredCoordinateXAngst #2
_rlnCenteredCoordinateYAngst #3
_rlnCenteredCoordinateZAngst #4
_{size} #5
TS_1 10.0 20.0 30.0 1.35
"""
TOMOGRAMS = f"""{TOMOGRAMS_STAR}\
TS_1 {{size}} 400 400 200
"""


def test_tomograms_of_another_pixel_size_are_refused_with_both(tmp_path):
    text = CENTRED.format(size="rlnTomoTiltSeriesPixelSize")
    path = written(tmp_path, text)
    wrong = written(tmp_path, TOMOGRAMS.format(size=10.5), "wrong.star")
    said = r"row 1 .* 1\.35 Å, but tomograms says 10\.5 Å of 'TS_1'"
    with pytest.raises(ValueError, match=said):
        read_molecules(path, tomograms=wrong)
    right = written(tmp_path, TOMOGRAMS.format(size=1.3501), "right.star")
    molecules = read_molecules(path, tomograms=right)
    with pytest.raises(ValueError, match=said):
        write_molecules(molecules, tmp_path / "b.star", like=path, tomograms=wrong)
    assert not (tmp_path / "b.star").exists()


def test_the_middle_of_a_tomogram_is_in_its_own_pixels(tmp_path):
    """Not in those of the images, of which the list alone speaks."""
    path = written(tmp_path, CENTRED.format(size="rlnImagePixelSize"))
    tomograms = written(tmp_path, TOMOGRAMS.format(size=10.0), "tomograms.star")
    molecules = read_molecules(path, tomograms=tomograms)
    np.testing.assert_allclose(molecules.positions, [[103, 202, 201]])
    same = read_molecules(path, tomograms={"TS_1": TomogramInfo((200, 400, 400), 1.0)})
    assert same == molecules


# Picks of template matching, as MatchFull writes them: Å over the tomogram's size in Å.

PICKS = """
data_

loop_
_rlnCoordinateX #1
_rlnCoordinateY #2
_rlnCoordinateZ #3
_rlnAngleRot #4
_rlnAngleTilt #5
_rlnAnglePsi #6
_rlnMicrographName #7
_rlnAutopickFigureOfMerit #8
0.2 0.4 0.4 10 20 30 TS_1.tomostar 7.5
"""
SETTINGS = TOMOGRAMS.format(size=1.5).replace("400 400 200", "4000 4000 1000")


def volume(tmp_path, scale: float = 1.0) -> Path:
    """Write the tomogram at 10 Å: 100 x 600 x 600 voxels, of 8 bits."""
    mrcfile = pytest.importorskip("mrcfile")
    path = tmp_path / "TS_1_10.00Apx.mrc"
    with mrcfile.new_mmap(path, (150, 600, 600), mrc_mode=0) as file:
        file.voxel_size = 10 * scale
    return path


def sizes(tmp_path) -> list[dict[str, object]]:
    star = written(tmp_path, SETTINGS, "tomograms.star")
    mrc = volume(tmp_path)
    return [
        {"tomograms": star},
        {"tomograms": mrc},
        {"tomograms": str(mrc)},
        {"tomograms": {"TS_1": mrc}},
        {"tomograms": (150, 600, 600), "scale": 1.0},
        {"tomograms": {"TS_1": (1000, 4000, 4000)}, "scale": 0.15},
        {"tomograms": {"TS_1.tomostar": TomogramInfo((1000, 4000, 4000), 0.15)}},
    ]


@pytest.mark.parametrize("which", range(7))
def test_picks_of_warp_are_parts_of_the_tomograms_size(tmp_path, which):
    options = sizes(tmp_path)[which]
    molecules = read_molecules(written(tmp_path, PICKS), **options)
    np.testing.assert_allclose(molecules.positions, PLACE, rtol=1e-6)
    series = read_molecules(written(tmp_path, SERIES, "series.star"))
    assert (molecules.rotations * series.rotations.inv()).magnitude() < 1e-12
    assert molecules.features["tomogram"].tolist() == ["TS_1.tomostar"]
    assert molecules.features["rlnAutopickFigureOfMerit"].tolist() == [7.5]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "tomograms"),
        ({"tomograms": "centred"}, "tomograms"),
        ({"scale": 1.0}, "tomograms"),
        ({"tomograms": (150, 600, 600)}, "scale"),
    ],
)
def test_picks_of_warp_ask_for_what_they_need(tmp_path, options, name):
    path = written(tmp_path, PICKS)
    with pytest.raises(MissingError, match=rf"pass {name}=\.\.\.") as caught:
        read_molecules(path, **options)
    assert (caught.value.name, caught.value.where) == (name, str(path))


@pytest.mark.parametrize(
    ("old", "new", "largest"),
    [
        ("0.2 0.4 0.4", "0.2 40.4 0.4", 40.4),
        ("0.2 0.4 0.4", "0 1 1", 1.0),
        ("_rlnAutopickFigureOfMerit", "_rlnImagePixelSize", 0.4),
        ("_rlnAutopickFigureOfMerit", "_rlnPixelSize", 0.4),
    ],
)
def test_other_lists_are_not_taken_for_picks_of_warp(tmp_path, old, new, largest):
    assert old in PICKS
    molecules = read_molecules(written(tmp_path, PICKS.replace(old, new)), scale=0.5)
    assert molecules.positions.max() == largest / 2


def test_picks_of_warp_become_a_list_of_relion(tmp_path):
    molecules = read_molecules(written(tmp_path, PICKS), tomograms=volume(tmp_path))
    write_molecules(molecules, tmp_path / "b.star")
    block = read_star(tmp_path / "b.star").blocks["particles"]
    assert block["rlnCoordinateY"].tolist() == [240.0]
    np.testing.assert_allclose(read_molecules(tmp_path / "b.star").positions, PLACE)
    with pytest.raises(ValueError, match="picks of Warp are read only"):
        write_molecules(molecules, tmp_path / "c.star", format="warp")


# Particles of a species, as ParticlesToStar writes them: Å, "F5".

SPECIES = """
data_

loop_
_wrpCoordinateX1 #1
_wrpCoordinateY1 #2
_wrpCoordinateZ1 #3
_wrpCoordinateX2 #4
_wrpCoordinateY2 #5
_wrpCoordinateZ2 #6
_wrpAngleRot1 #7
_wrpAngleTilt1 #8
_wrpAnglePsi1 #9
_wrpRandomSubset #10
_wrpSourceName #11
_wrpSourceHash #12
1190.00000 2395.00000 598.00000 1210.00000 2405.00000 602.00000 10.00000 20.00000 30.00000 1 TS_1.tomostar 00172A
1190.00000 2395.00000 598.00000 1210.00000 2405.00000 602.00000 10.00000 20.00000 30.00000 2 007 0123456789012345
"""  # noqa: E501


def test_particles_of_m_are_at_the_mean_of_their_path_in_angstroms(tmp_path):
    molecules = read_molecules(written(tmp_path, SPECIES))
    np.testing.assert_allclose(molecules.positions, PLACE * 2)
    series = read_molecules(written(tmp_path, SERIES, "series.star"))
    turn = molecules.rotations[0] * series.rotations[0].inv()
    assert turn.magnitude() < 1e-12
    assert molecules.features["tomogram"].tolist() == ["TS_1.tomostar", "007"]
    hashes = molecules.features["wrpSourceHash"].tolist()
    assert hashes == ["00172A", "0123456789012345"]


def test_turns_in_time_have_their_mean_also_across_180_degrees(tmp_path):
    text = SPECIES
    for axis, name in zip("XYZ", ("Rot", "Tilt", "Psi"), strict=True):
        text = text.replace(f"_wrpCoordinate{axis}2", f"_wrpAngle{name}2")
    path = "1210.00000 2405.00000 602.00000 10.00000 20.00000 30.00000"
    assert path in text
    text = text.replace(path, "0.0 0.0 178.0 0.0 0.0 -178.0")
    turns = read_molecules(written(tmp_path, text)).rotations
    assert np.degrees(turns.magnitude()) == pytest.approx(180, abs=1e-9)


def test_a_species_written_unchanged_is_equal_in_every_column(tmp_path):
    path = written(tmp_path, SPECIES)
    for like in (path, None):
        write_molecules(
            read_molecules(path), tmp_path / "b.star", like=like, format="m"
        )
        before, after = (
            read_star(each).blocks[""] for each in (path, tmp_path / "b.star")
        )
        assert list(before) == list(after)
        for name in before:
            np.testing.assert_array_equal(before[name], after[name])


def test_the_whole_path_of_a_particle_moves_and_turns(tmp_path):
    path = written(tmp_path, SPECIES)
    molecules = read_molecules(path)
    step = np.array([[0, 0, 0], [1.0, 2.0, 3.0]])
    turned = molecules.rotations[[0, 0]] * molecules.rotations[[0, 0]]
    moved = Molecules(molecules.positions + step, turned, molecules.features)
    write_molecules(moved, tmp_path / "b.star", like=path)
    again = read_molecules(tmp_path / "b.star")
    np.testing.assert_allclose(again.positions, moved.positions, atol=1e-6)
    assert (again.rotations.inv() * turned).magnitude().max() < 1e-6
    x1, x2 = (again.features[f"wrpCoordinateX{i}"].tolist() for i in (1, 2))
    assert (x1, x2) == ([1190.0, 1220.0], [1210.0, 1240.0])


def test_a_species_needs_the_hashes_that_only_m_makes(tmp_path):
    path = written(tmp_path, SPECIES)
    fresh = Molecules([[1.0, 2.0, 3.0]], features={"tomogram": ["TS_1"]})
    with pytest.raises(ValueError, match="'TS_1' has no hash"):
        write_molecules(fresh, tmp_path / "b.star", format="m")
    with pytest.raises(ValueError, match="no feature 'tomogram'"):
        write_molecules([[1.0, 2.0, 3.0]], tmp_path / "b.star", format="m")
    assert not (tmp_path / "b.star").exists()
    write_molecules(fresh, tmp_path / "b.star", like=path)
    block = read_star(tmp_path / "b.star").blocks[""]
    assert block["wrpSourceName"].tolist() == ["TS_1.tomostar"]
    assert block["wrpSourceHash"].tolist() == ["00172A"]
    assert block["wrpCoordinateX1"].tolist() == [30.0]
    assert block["wrpRandomSubset"].tolist() == [1]


@pytest.mark.parametrize("name", ["wrpCoordinateZ1", "wrpAngleTilt1"])
def test_a_species_that_lacks_a_column_says_which(tmp_path, name):
    path = written(tmp_path, SPECIES.replace(name, "wrpOther"))
    with pytest.raises(ValueError, match=f"no column '{name}'"):
        read_molecules(path)


def test_a_box_moves_particles_of_m_as_it_does_those_of_relion(tmp_path):
    at_voxel = read_molecules(written(tmp_path, SPECIES))
    at_middle = read_molecules(written(tmp_path, SPECIES), box=(32, 0.5))
    offset = at_voxel.rotations.apply([-0.25] * 3)
    np.testing.assert_allclose(at_middle.positions - at_voxel.positions, offset)


def test_a_scale_cannot_contradict_the_images_of_warp(tmp_path):
    path = written(tmp_path, SERIES)
    molecules = read_molecules(path)
    with pytest.raises(ValueError, match=r"scale=0\.5 nm contradicts the images"):
        write_molecules(molecules, tmp_path / "b.star", like=path, scale=0.5)
    assert not (tmp_path / "b.star").exists()
    write_molecules(molecules, tmp_path / "b.star", like=path, scale=1.0)
    assert read_molecules(tmp_path / "b.star") == molecules


def test_a_star_file_of_no_known_kind_says_what_is_known(tmp_path):
    path = written(tmp_path, "data_\n\nloop_\n_xmippX #1\n1\n")
    with pytest.raises(ValueError, match=r"'rlnCoordinateX'.*'orig_x'.*'wrpCoordin"):
        read_molecules(path)


@pytest.mark.parametrize("text", [SERIES, PICKS, SPECIES], ids=["2d", "picks", "m"])
def test_a_damaged_list_is_read_or_refused_by_its_name(tmp_path, text):
    random = np.random.default_rng(0)
    options = {"tomograms": (150, 600, 600)} if text is PICKS else {}
    refused = 0
    for _ in range(100):
        bytes_ = bytearray(text.encode())
        for at in random.integers(len(bytes_), size=random.integers(1, 4)):
            bytes_[at] = random.integers(256)
        path = tmp_path / "list.star"
        path.write_bytes(bytes_[: random.integers(len(bytes_) // 2, 2 * len(bytes_))])
        try:
            read_molecules(path, format="warp" if options else None, **options)
        except ValueError as error:
            refused += 1
            assert str(path) in str(error)
    assert refused > 20


def test_lists_of_m_and_relion_made_of_each_other_are_not_taken_for_them(tmp_path):
    """Though the columns of the one come along in the other."""
    path = written(tmp_path, SPECIES)
    molecules = read_molecules(path)
    moved = Molecules(molecules.positions + 1, molecules.rotations, molecules.features)
    write_molecules(moved, tmp_path / "b.star", format="relion", scale=1.0)
    assert "_wrpCoordinateX1" in (tmp_path / "b.star").read_text()
    relion = read_molecules(tmp_path / "b.star")
    np.testing.assert_allclose(relion.positions, moved.positions, atol=1e-6)
    again = Molecules(relion.positions + 1, relion.rotations, relion.features)
    write_molecules(again, tmp_path / "c.star", like=path)
    m = read_molecules(tmp_path / "c.star")
    np.testing.assert_allclose(m.positions, again.positions, atol=1e-6)
    assert "wrpCoordinateX2" in m.features
