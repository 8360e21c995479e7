"""Lists of Warp and M: image series, template matching, species.

The figures are what Warp's own code makes of one particle, by hand: at 1200, 2400 and
600 Å (x, y, z), in a tomogram of 4000 x 4000 x 1000 pixels of 1.5 Å.
"""

from pathlib import Path

import numpy as np
import pytest

from funpipe import Molecules, read_molecules, write_molecules
from funpipe.arguments import MissingError
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
        molecules.positions + [1, 2, 3], molecules.rotations, molecules.features
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
TOMOGRAMS = """
data_global

loop_
_rlnTomoName #1
_rlnTomoTiltSeriesPixelSize #2
_rlnTomoSizeX #3
_rlnTomoSizeY #4
_rlnTomoSizeZ #5
TS_1 {size} 400 400 200
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
