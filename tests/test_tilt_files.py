"""What programs wrote of tilt series: their numbers, and what they mean by them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from real_files import DATA, needs_data

import funpipe as fp
from funpipe.faces.command_line import main
from funpipe.space.series import tilt_series

HERE = Path(__file__).parent / "data" / "tilts"

# The first images of TS_01 of RELION 5's tutorial, from AlignTiltSeries/job005 there.
RELION_5 = """
data_TS_01

loop_
_rlnTomoNominalStageTiltAngle #1
_rlnTomoNominalTiltAxisAngle #2
_rlnMicrographPreExposure #3
_rlnDefocusU #4
_rlnDefocusV #5
_rlnDefocusAngle #6
_rlnTomoXTilt #7
_rlnTomoYTilt #8
_rlnTomoZRot #9
-56.998500 85.0 114.0 39527.781250 39418.410156  44.527622 0.0 -57.0 85.032958
-53.998900 85.0 105.0 38593.777344 38453.007812 -77.460740 0.0 -54.0 85.054501
  3.001130 85.0   3.0 39181.238281 39140.960938  12.550397 0.0   3.0 85.265627
"""
TOMOGRAMS = """
data_global

loop_
_rlnTomoName #1
_rlnVoltage #2
_rlnSphericalAberration #3
_rlnAmplitudeContrast #4
_rlnTomoHand #5
_rlnTomoTiltSeriesPixelSize #6
_rlnTomoTiltSeriesStarFile #7
_rlnTomoTomogramBinning #8
_rlnTomoSizeX #9
_rlnTomoSizeY #10
_rlnTomoSizeZ #11
_rlnTomoReconstructedTomogram #12
TS_01 300.0 2.7 0.1 {hand} 1.35 Tomograms/job006/tilt_series/TS_01.star 7.407407 \
400 300 200 Tomograms/job006/tomograms/rec_TS_01.mrc
TS_03 200.0 2.7 0.1 1.0 1.35 Tomograms/job006/tilt_series/TS_03.star 7.407407 \
400 300 200 Tomograms/job006/tomograms/rec_TS_03.mrc
"""
CTFFIND = """\
# Output from CTFFind version 4.1.14, run on 2025-12-28 18:56:33
# Input file: TS_01.st ; Number of micrographs: 3
# Pixel size: 1.400 Angstroms ; acceleration voltage: 200.0 keV ; spherical \
aberration: 1.40 mm ; amplitude contrast: 0.10
# Box size: 512 pixels ; min. res.: 30.0 Angstroms ; max. res.: 5.0 Angstroms
# Columns: #1 - micrograph number; #2 - defocus 1 [Angstroms]; #3 - defocus 2; #4 - \
azimuth of astigmatism; #5 - additional phase shift [radians]; #6 - cross correlation; \
#7 - spacing (in Angstroms) up to which CTF rings were fit successfully
1.000000 10864.138672 10575.676758 78.283111 0.000000 0.131144 4.874623
2.000000 10764.138672 10575.676758 70.283111 0.000000 0.131144 4.874623
3.000000 10664.138672 10575.676758 60.283111 0.000000 0.131144 4.874623
"""


CONTRAST = """\
<TiltSeries><Angles>-3
0
3</Angles><CTF><Param Name="Amplitude" Value="{}" /></CTF></TiltSeries>
"""


def written(folder, name, text):
    path = Path(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


@pytest.fixture
def tlt(tmp_path):
    return written(tmp_path, "TS.tlt", "-3.0\n0.0\n3.0\n")


@pytest.fixture
def xf(tmp_path):
    return written(tmp_path, "TS.xf", "0.0 1.0 -1.0 0.0 2.5 -3.5\n" * 3)


def column(series, name, which=0):
    return np.array(getattr(series, name))[:, which]


def same_axis(found, wanted):
    """Tell whether azimuths are the same; they come round at 180 degrees."""
    apart = (np.asarray(found) - wanted + 90) % 180 - 90
    return np.abs(apart).max() < 1e-3


def heights(series, place):
    """Return z cos α − x sin α of a place z, y, x, tilt by tilt."""
    angles = np.radians(series.angles)
    return place[0] * np.cos(angles) - place[2] * np.sin(angles)


# Whose sign is whose.


def printed_by_warp():
    """Return places x, y, z, tilts, U and V, and azimuths, as Warp printed them, Å."""
    return np.loadtxt(HERE / "warp_TS_1_defoci.txt")


def test_defoci_of_warp_at_seven_places_are_those_that_warp_printed():
    series = fp.read_tilts(HERE / "warp_TS_1.xml")
    for x, _, z, tilt, u, v, _ in printed_by_warp():
        i = int(tilt) - 1
        depth = heights(series, np.array([z, 0, x]) / 10)[i] / 1e3  # nm, then µm
        found = series.defocus[i] + series.hand * depth
        # 500 Å at 1.46 degrees across the axis, which is left out, are 13 Å.
        assert abs(found - (u + v) / 2e4) < 14e-4


def test_contrast_at_those_places_is_that_of_the_defoci_that_warp_printed():
    series = fp.read_tilts(HERE / "warp_TS_1.xml")
    k = np.array([0.0, 0.6, 0.0]).reshape(3, 1, 1)  # along the axis: in every tilt
    for x, y, z, tilt, u, v, _ in printed_by_warp():
        i = int(tilt) - 1
        one = {"voltage": 300, "spherical_aberration": 2.7, "phase_flipped": False}
        there = tilt_series(
            [series.angles[i]], defocus=[series.defocus[i]], hand=series.hand, **one
        )
        printed = tilt_series([0.0], defocus=(u + v) / 2e4, **one)
        place = np.array([[z, y, x]]) / 10
        found = there.at(place).amplitudes(k)[0, 0]
        wanted = printed.at(np.zeros((1, 3))).amplitudes(k)[0, 0]
        assert abs(found - wanted) < 4e-3  # 1.4 nm of defocus are as much


def test_a_hand_or_angles_turned_round_are_far_from_what_warp_printed():
    series = fp.read_tilts(HERE / "warp_TS_1.xml")
    for flip, sign in ((-1, 1), (1, -1)):
        apart = []
        for x, _, z, tilt, u, v, _ in printed_by_warp():
            i = int(tilt) - 1
            other = tilt_series(sign * np.array(series.angles))
            depth = heights(other, np.array([z, 0, x]) / 10)[i] / 1e3
            found = series.defocus[i] + flip * series.hand * depth
            apart.append(abs(found - (u + v) / 2e4))
        assert max(apart) > 0.05


def test_astigmatism_of_warp_is_what_warp_printed():
    series = fp.read_tilts(HERE / "warp_TS_1.xml")
    for *_, tilt, u, v, azimuth in printed_by_warp():
        difference, found = series.astigmatism[int(tilt) - 1]
        assert difference == pytest.approx((u - v) / 1e4, abs=1e-6)
        assert same_axis([found], azimuth - (-85.60053))


def test_settings_and_dose_of_warp():
    series = fp.read_tilts(HERE / "warp_TS_1.xml")
    assert (series.voltage, series.amplitude_contrast, series.hand) == (300.0, 0.1, 1)
    assert series.spherical_aberration == pytest.approx(3.27283443)
    assert series.angles[0] == pytest.approx(-(40.01 - 5.920115))
    assert series.dose[:3] == (120.0, 117.0, 108.0)
    assert min(series.dose) == 0.0


def test_inverted_angles_of_warp_are_a_hand_of_minus_one(tmp_path):
    text = (HERE / "warp_TS_1.xml").read_text()
    inverted = text.replace('Inverted="False"', 'Inverted="True"')
    path = written(tmp_path, "TS_1.xml", inverted)
    plain = fp.read_tilts(HERE / "warp_TS_1.xml")
    found = fp.read_tilts(path)
    assert (found.hand, plain.hand) == (-1, 1)
    assert found.angles == plain.angles


def test_tilts_that_warp_does_not_use_are_left_out(tmp_path):
    text = (HERE / "warp_TS_1.xml").read_text()
    path = written(
        tmp_path, "TS_1.xml", text.replace("<UseTilt>True", "<UseTilt>False")
    )
    plain, found = fp.read_tilts(HERE / "warp_TS_1.xml"), fp.read_tilts(path)
    for name in ("angles", "dose", "defocus", "astigmatism"):
        assert getattr(found, name) == getattr(plain, name)[1:]


def relion_4(folder):
    """Return the project of a RELION 4 file, with its volume, and its matrices."""
    name = "24jul16a_Position_27_1.tomostar"
    volume = Path(folder, "volumes", "24jul16a_Position_27_1.mrc")
    volume.parent.mkdir()
    write_volume(volume, (20, 40, 40), 15.77)
    text = (HERE / "relion4_tomograms.star").read_text()
    rows = re.findall(r"(?m)^ *((?:\[\S+\] +){4})", text)
    matrices = [
        [[float(v) for v in row.split(",")] for row in re.findall(r"\[([^]]+)\]", each)]
        for each in rows
    ]
    found = fp.read_tomograms(HERE / "relion4_tomograms.star", folder=volume.parent)
    return found[name], np.array(matrices)


def write_volume(path, shape, scale):
    with mrcfile.new(path) as file:
        file.set_data(np.zeros(shape, np.float32))
        file.voxel_size = scale * 10


def test_depths_are_those_of_the_projection_matrices_of_relion(tmp_path):
    tomogram, matrices = relion_4(tmp_path)
    series, rng = tomogram.tilt, np.random.default_rng(1)
    assert len(matrices) == len(series.angles) == 31
    for x, y, z in rng.uniform(-100, 100, (5, 3)):
        depth = matrices[:, 2, :3] @ [x, y, z]
        np.testing.assert_allclose(heights(series, (z, y, x)), depth, atol=1e-2)
    assert series.hand == -1  # rlnTomoHand: by which the depth counts in the defocus


def test_azimuths_are_those_of_the_projection_matrices_of_relion(tmp_path):
    tomogram, matrices = relion_4(tmp_path)
    text = (HERE / "relion4_tomograms.star").read_text()
    azimuth = float(re.search(r"0,1\] +\S+ +\S+ +(\S+)", text)[1])  # in the image
    flat = int(np.abs(tomogram.tilt.angles).argmin())
    a = np.radians(azimuth)
    along = matrices[flat, :2, :2].T @ [np.cos(a), np.sin(a)]  # in the tomogram, x, y
    found = tomogram.tilt.astigmatism[flat][1]
    wanted = np.degrees(np.arctan2(along[1], along[0]))
    assert abs((found - wanted + 90) % 180 - 90) < 0.05
    assert abs((azimuth - wanted + 90) % 180 - 90) > 10


def test_relion_5_says_angles_dose_and_defoci_in_angstroms(tmp_path):
    series = fp.read_tilts(written(tmp_path, "TS_01.star", RELION_5))
    assert series.angles == (-57.0, -54.0, 3.0)
    assert series.dose == (114.0, 105.0, 3.0)
    assert series.defocus[0] == pytest.approx((3.952778125 + 3.9418410156) / 2)
    difference, azimuth = series.astigmatism[0]
    assert difference == pytest.approx(0.0109371094)
    assert same_axis([azimuth], 44.527622 - 85.032958)


def test_transforms_of_imod_turn_azimuths_as_they_turn_images(tmp_path):
    ctf = CTFFIND.splitlines(keepends=True)
    head, row = "".join(ctf[:5]), ctf[5].split(maxsplit=1)[1]
    text = head + "".join(f"{i}.0 {row}" for i in range(1, 41))
    series = fp.read_tilts(
        HERE / "TS_001.tlt", HERE / "TS_001.xf", written(tmp_path, "ctf.txt", text)
    )
    transforms = np.loadtxt(HERE / "TS_001.xf")[:, :4].reshape(-1, 2, 2)
    a = np.radians(78.283111)
    x, y = (transforms @ [np.cos(a), np.sin(a)]).T
    assert same_axis(column(series, "astigmatism", 1), np.degrees(np.arctan2(y, x)))
    # RELION's tutorial has the same series, its axis at 85 degrees: images are turned
    # by about as much the other way.
    assert same_axis(np.round(column(series, "astigmatism", 1) - 78.283111, -1), -80)


def test_aretomo_turns_images_by_minus_rot(tmp_path):
    ctf = "".join(f"{i} 20000 19000 10 0.0 0.1 9.0 1\n" for i in range(1, 62))
    path = written(tmp_path, "TS_CTF.txt", aretomo_head() + ctf)
    series = fp.read_tilts(HERE / "global_no_local.aln", path)
    # CSaveXF.cpp: a21 = sin(−ROT), a11 = cos(−ROT)
    assert same_axis(column(series, "astigmatism", 1), 10 + 95.404)
    assert series.hand == 1


def aretomo_head():
    return (HERE / "aretomo3_CTF.txt").read_text().splitlines()[0] + "\n"


def test_an_angle_and_an_azimuth_that_are_turned_make_the_same_contrast(tmp_path):
    """Contrast of an image, turned as the .xf says, is that of the series."""
    plain = tilt_series([0.0], defocus=[2.0], astigmatism=[(0.4, 20.0)])
    angle = 35.0
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    ctf = "\n".join(CTFFIND.splitlines()[:5]) + "\n1.0 22000 18000 20.0 0 0.1 5.0\n"
    series = fp.read_tilts(
        written(tmp_path, "a.tlt", "0.0\n"),
        written(tmp_path, "a.xf", f"{c} {-s} {s} {c} 0 0\n"),
        written(tmp_path, "a.txt", ctf),
        voltage=300.0,
        spherical_aberration=2.7,
        amplitude_contrast=0.07,
    )
    k = np.random.default_rng(2).uniform(-0.6, 0.6, (2, 50))  # x, y in the image
    x, y = np.array([[c, -s], [s, c]]) @ k
    none = np.zeros(50)
    np.testing.assert_allclose(
        series.amplitudes(np.array([none, y, x])),
        plain.amplitudes(np.array([none, k[1], k[0]])),
        atol=1e-6,
    )


# What each format says.


def test_angles_of_imod_are_read_as_they_are():
    found = fp.read_tilts(HERE / "TS_001.tlt")
    assert found == tilt_series(np.loadtxt(HERE / "TS_001.tlt"))
    assert found.angles[0] == -57.12


def test_aligned_angles_win_over_those_of_the_stage():
    aligned, raw = HERE / "TS_001.tlt", HERE / "TS_001.rawtlt"
    assert fp.read_tilts(raw, aligned) == fp.read_tilts(aligned)
    assert fp.read_tilts(raw).angles[-1] == np.loadtxt(raw)[-1]


def test_defoci_of_imod_are_nm_of_views(tmp_path, tlt):
    two = "1 1 -3.0 -3.0 3083 2\n2\t2\t0.0\t0.0\t3084\n3 3 3.0 3.0 3147\n"
    found = fp.read_tilts(tlt, written(tmp_path, "a.defocus", two))
    assert found.defocus == pytest.approx((3.083, 3.084, 3.147))
    assert (found.hand, found.astigmatism) == (-1, None)
    alone = fp.read_tilts(written(tmp_path, "a.defocus", two))
    assert alone == found
    first, second, third = two.splitlines(keepends=True)
    turned = written(
        tmp_path, "b.defocus", third + first.replace(" 2\n", "\n") + second
    )
    assert fp.read_tilts(turned) == found


def test_defoci_of_ranges_are_interpolated_between_their_middles(tmp_path):
    angles = np.arange(-12.0, 13, 3)
    tlt = written(tmp_path, "a.tlt", "\n".join(map(str, angles)))
    ranges = "1 3 -12 -6 2000 2\n7 9 6 12 3000\n"
    found = fp.read_tilts(tlt, written(tmp_path, "a.defocus", ranges))
    wanted = np.interp(np.arange(9), [1, 7], [2.0, 3.0])
    np.testing.assert_allclose(found.defocus, wanted)


@pytest.mark.parametrize(
    ("flags", "rest", "azimuth", "phase", "hand"),
    [
        (1, "3000 2800 25.0", 25.0, 0.0, -1),
        (3, "3000 2800 0.5", np.degrees(0.5), 0.0, -1),
        (5, "3000 2800 25.0 90.0", 25.0, 90.0, -1),
        (15, "3000 2800 0.5 1.5", np.degrees(0.5), np.degrees(1.5), -1),
        (17, "3000 2800 25.0", 25.0, 0.0, 1),
        (37, "3000 2800 25.0 90.0 0.17", 25.0, 90.0, -1),
    ],
)
def test_version_3_of_imods_defoci(
    tmp_path, tlt, xf, flags, rest, azimuth, phase, hand
):
    rows = "".join(f"{i} {i} {a} {a} {rest}\n" for i, a in ((1, -3), (2, 0), (3, 3)))
    path = written(tmp_path, "a.defocus", f"{flags} 0 0.0 0.0 0.0 3\n{rows}")
    found = fp.read_tilts(tlt, xf, path)
    assert found.defocus == pytest.approx((2.9,) * 3)
    np.testing.assert_allclose(column(found, "astigmatism"), 0.2)
    assert same_axis(column(found, "astigmatism", 1), azimuth - 90)
    assert found.phase_shift == pytest.approx(phase)
    assert found.hand == hand


def test_inverted_angles_of_imods_defoci_are_the_other_hand(tmp_path, tlt):
    rows = "1 1 3.0 3.0 3083 2\n2 2 0.0 0.0 3084\n3 3 -3.0 -3.0 3147\n"
    inverted = written(tmp_path, "a.defocus", rows)
    found = fp.read_tilts(tlt, inverted)
    assert (found.hand, found.angles) == (1, (-3.0, 0.0, 3.0))
    assert found.defocus == pytest.approx((3.083, 3.084, 3.147))
    assert fp.read_tilts(tlt, inverted, hand=-1).hand == -1


def test_one_defocus_and_a_phase_shift_are_not_two_defoci(tmp_path, tlt):
    rows = "4 0 0.0 0.0 0.0 3\n1 1 -3 -3 7000 90\n2 2 0 0 7000 90\n3 3 3 3 7000 90\n"
    found = fp.read_tilts(tlt, written(tmp_path, "a.defocus", rows))
    assert (found.defocus, found.phase_shift) == ((7.0,) * 3, 90.0)


def test_astigmatism_is_left_out_with_a_word_where_nothing_says_how_images_lie(
    tmp_path, tlt
):
    path = written(tmp_path, "ctf.txt", CTFFIND)
    with pytest.warns(UserWarning, match=r"astigmatism is left out.*\.xf"):
        found = fp.read_tilts(tlt, path)
    assert found.astigmatism is None
    assert found.defocus[0] == pytest.approx(1.0719907715)


def test_ctffind_says_the_microscope(tmp_path, tlt, xf):
    found = fp.read_tilts(tlt, xf, written(tmp_path, "ctf.txt", CTFFIND))
    assert (found.voltage, found.spherical_aberration) == (200.0, 1.4)
    assert found.amplitude_contrast == 0.1
    assert column(found, "astigmatism")[0] == pytest.approx(0.0288461914)


def test_gctf_is_read_as_a_star_file(tmp_path, tlt, xf):
    text = """
data_

loop_
_rlnMicrographName #1
_rlnDefocusU #2
_rlnDefocusV #3
_rlnDefocusAngle #4
_rlnVoltage #5
_rlnSphericalAberration #6
_rlnAmplitudeContrast #7
split.mrc.01 35268.359375 35036.406250 21.260185 300.0 2.7 0.07
split.mrc.02 34332.652344 35647.824219 10.495987 300.0 2.7 0.07
split.mrc.03 33858.722656 33047.644531 82.230835 300.0 2.7 0.07
"""
    found = fp.read_tilts(tlt, xf, written(tmp_path, "gctf.star", text))
    assert found.defocus[1] == pytest.approx(3.49902382815)
    assert column(found, "astigmatism")[1] == pytest.approx(-0.1315171875)
    assert same_axis([found.astigmatism[1][1]], 10.495987 - 90)


def test_phase_shifts_of_aretomo_are_radians_and_its_last_column_the_hand(tmp_path):
    rows = "".join(f"{i} 20000 20000 0 1.5708 0.1 9.0 -1\n" for i in range(1, 32))
    path = written(tmp_path, "a_CTF.txt", aretomo_head() + rows)
    found = fp.read_tilts(path, angles=range(-45, 46, 3))
    assert found.phase_shift == pytest.approx(90, abs=1e-3)
    assert (found.hand, found.defocus[0]) == (-1, 2.0)
    real = fp.read_tilts(
        HERE / "aretomo3_CTF.txt", angles=range(-45, 46, 3), astigmatism=(0, 0)
    )
    assert (real.hand, real.defocus[0]) == (-1, pytest.approx(2.1229045))


def test_dark_images_of_aretomo_are_left_out_of_what_is_said_of_all(tmp_path):
    alone = fp.read_tilts(HERE / "dark_images.aln")
    assert (len(alone.angles), alone.angles[0]) == (37, -27.71)
    rows = "".join(f"{i} {20000 + i} {20000 + i} 0 0 0.1 9 1\n" for i in range(1, 52))
    path = written(tmp_path, "a_CTF.txt", aretomo_head() + rows)
    found = fp.read_tilts(HERE / "dark_images.aln", path)
    np.testing.assert_allclose(found.defocus, 2 + np.arange(15, 52) / 1e4)


def test_angles_that_aretomo_offset_find_the_images_that_the_stage_was_set_for(
    tmp_path,
):
    # 51 images from −68 in steps of 2; 14 dark ones, and an offset of 12.3 degrees
    angles = np.arange(-68.0, 33, 2)
    order = np.argsort(np.abs(angles), kind="stable")
    sections = "".join(
        f"[ZValue = {z}]\nTiltAngle = {angles[i]}\nPriorRecordDose = {2.0 * z}\n\n"
        for z, i in enumerate(order)
    )
    mdoc = written(
        tmp_path, "a.mdoc", f"PixelSpacing = 1.0\nVoltage = 300\n\n{sections}"
    )
    found = fp.read_tilts(HERE / "dark_images.aln", mdoc)
    dose = dict(zip(angles[order], 2.0 * np.arange(51), strict=True))
    assert found.dose == tuple(dose[each] for each in angles[14:])


def test_an_offset_that_is_said_is_not_guessed(tmp_path):
    # 11 images from −15 in steps of 3, the first and the last dark, and an offset of 6:
    # without it the images 3 degrees off would fit as well.
    head = "# AreTomo Alignment / Priims bprmMn\n# RawSize = 100 100 11\n"
    dark = "# DarkFrame =  0 1 -15.0\n# DarkFrame =  10 11 15.0\n"
    offset = "# NumPatches = 0\n# AlphaOffset = 6.00\n# BetaOffset = 0.00\n# SEC\n"
    angles = np.arange(-15.0, 16, 3)
    rows = "".join(f"{i} 85.0 1 0 0 1 1 1 0 {angles[i] + 6}\n" for i in range(1, 10))
    aln = written(tmp_path, "a.aln", head + dark + offset + rows)
    sections = "".join(
        f"[ZValue = {i}]\nTiltAngle = {each}\nPriorRecordDose = {3.0 * i}\n\n"
        for i, each in enumerate(angles)
    )
    mdoc = written(tmp_path, "a.mdoc", f"PixelSpacing = 1.0\n\n{sections}")
    found = fp.read_tilts(aln, mdoc)
    assert found.angles == tuple(np.arange(-6.0, 19, 3))
    assert found.dose == tuple(3.0 * np.arange(1, 10))


def test_a_level_of_warp_is_an_offset_of_what_the_stage_was_set_to(tmp_path):
    text = (HERE / "warp_TS_1.xml").read_text()
    stage = -np.array(re.search(r"<Angles>([^<]*)", text)[1].split(), float)
    used = ["True"] * 41
    used[:3] = used[-3:] = ["False"] * 3
    text = re.sub(r"<Dose>[^<]*</Dose>", "", text)
    text = re.sub(r"<UseTilt>[^<]*", "<UseTilt>" + "\n".join(used), text)
    sections = "".join(
        f"[ZValue = {i}]\nTiltAngle = {each}\nPriorRecordDose = {3.0 * i}\n\n"
        for i, each in enumerate(stage)
    )
    mdoc = written(tmp_path, "a.mdoc", f"PixelSpacing = 1.0\n\n{sections}")
    found = fp.read_tilts(written(tmp_path, "a.xml", text), mdoc)
    assert found.dose == tuple(3.0 * np.arange(3, 38))


def test_an_mdoc_is_sorted_to_the_angles_of_the_stack(tmp_path):
    rows = [(0.0, "10:00:00"), (3.0, "10:01:00"), (-3.0, "10:02:00")]
    sections = "".join(
        f"[ZValue = {z}]\nTiltAngle = {a}\nExposureDose = 2.5\n"
        f"DateTime = 30-Nov-15  {t}\n\n"
        for z, (a, t) in enumerate(reversed(rows))
    )
    text = f"PixelSpacing = 5.4\nVoltage = 200\n\n{sections}"
    path = written(tmp_path, "a.mrc.mdoc", text)
    tlt = written(tmp_path, "a.tlt", "-3.2\n-0.1\n2.9\n")
    found = fp.read_tilts(tlt, path)
    assert found.angles == (-3.2, -0.1, 2.9)
    assert found.dose == (5.0, 0.0, 2.5)  # before each, in the order of the times
    assert found.voltage == 200.0
    assert fp.read_tilts(path).dose == (5.0, 2.5, 0.0)


def test_an_mdoc_without_a_calibrated_dose_says_none(capsys):
    found = fp.read_tilts(HERE / "TS_01.mrc.mdoc")
    assert found.dose is None
    assert found.angles[:2] == (0.000999877, 3.00113)
    assert capsys.readouterr() == ("", "")


def test_the_axis_of_an_mdoc_turns_azimuths_where_no_transform_does(tmp_path):
    ctf = "\n".join(CTFFIND.splitlines()[:5])
    rows = "".join(f"\n{i}.0 22000 18000 20.0 0 0.1 5.0" for i in range(1, 42))
    path = written(tmp_path, "ctf.txt", ctf + rows)
    found = fp.read_tilts(HERE / "TS_01.mrc.mdoc", path)
    assert same_axis(column(found, "astigmatism", 1), 20.0 - 85.3)


def test_a_tomostar_has_the_negative_angles(tmp_path):
    text = """
data_

loop_
_wrpMovieName #1
_wrpAngleTilt #2
_wrpAxisAngle #3
_wrpDose #4
a.tif 10.0 -85.6 6.0
b.tif 0.02 -85.6 0.0
"""
    found = fp.read_tilts(written(tmp_path, "TS_1.tomostar", text))
    assert (found.angles, found.dose) == ((-10.0, -0.02), (6.0, 0.0))


# Merging.


def test_options_win_over_files_and_files_over_those_behind(tmp_path, tlt, xf):
    ctf = written(tmp_path, "ctf.txt", CTFFIND)
    defocus = "1 1 -3 -3 3000 2\n2 2 0 0 3000\n3 3 3 3 3000\n"
    imod = written(tmp_path, "a.defocus", defocus)
    assert fp.read_tilts(tlt, xf, imod, ctf).defocus == (3.0,) * 3
    assert fp.read_tilts(tlt, xf, ctf, imod).defocus[0] == pytest.approx(1.0719907715)
    found = fp.read_tilts(
        *(tlt, xf, ctf),
        defocus=2.0,
        voltage=300.0,
        dose=[2, 0, 4],
        hand=1,
        phase_flipped=False,
    )
    assert found.defocus == (2.0,) * 3
    assert found.astigmatism is None
    assert (found.voltage, found.dose, found.hand) == (300.0, (2.0, 0.0, 4.0), 1)
    assert not found.phase_flipped
    turned = fp.read_tilts(tlt, xf, ctf, angles=[3, 0, -3])
    assert turned.angles == (3.0, 0.0, -3.0)
    assert turned.defocus == fp.read_tilts(tlt, xf, ctf).defocus


def test_an_axis_along_x_turns_azimuths_with_it(tmp_path, tlt, xf):
    ctf = written(tmp_path, "ctf.txt", CTFFIND)
    y, x = fp.read_tilts(tlt, xf, ctf), fp.read_tilts(tlt, xf, ctf, axis="x")
    assert x.axis == "x"
    k = np.random.default_rng(0).uniform(-0.3, 0.3, (3, 40))
    # about x a tomogram is as about y, turned by 90 degrees: x to y, y to −x
    np.testing.assert_allclose(
        x.amplitudes(np.array([k[0], k[2], -k[1]])), y.amplitudes(k), atol=1e-9
    )


# Errors.


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.tlt", "", "is empty"),
        ("a.tlt", " \n\n", "is empty"),
        ("a.tlt", "# none\n", "has no line of numbers"),
        ("a.tlt", "-60\nminus\n", "line 2: 'minus' is not a finite number"),
        ("a.tlt", "-60\nnan\n", "line 2: 'nan' is not a finite number"),
        ("a.tlt", "-60 3\n-57 6\n", "2 numbers, where 1 (an angle) must be"),
        ("a.tlt", "-60\n-97\n", "angles must be degrees from −90 to 90, not -97"),
        ("a.tlt", "-1.0\n-.7\n-.3\n0.1\n.4\n.8\n1.0\n", "if they are radians"),
        ("a.xf", "1 0 0 1 0\n", "5 numbers, where 6 (of a transform) must be"),
        ("a.xf", "1 0 0 -1 0 0\n", "transform 1 is not of a turned and scaled image"),
        ("a.xf", "1 0 0 1 0 0\n", "no file says the tilt angles"),
        ("a.defocus", "1 1 -3 -3 3000 4\n", "6 numbers for the range of views 1"),
        ("a.defocus", "1 0 0.0 0.0 0.0 9\n", "version 9"),
        ("a.defocus", "1 0 0.0 0.0 0.0 3\n", "has no line of views"),
        ("a.defocus", "1 0 0 0 0 3\n1 1 -3 -3 30\n", "5 numbers for the range"),
        ("a.defocus", "0 0 -3 -3 3000\n", "views are counted from 1"),
        ("a.defocus", "1 1 -3 -3 30000 2\n", "30000 nm is 30 µm"),
        ("a.mdoc", "PixelSpacing = 1.0\n\n[ZValue = 0]\nTiltAngle = x\n", "readable"),
        ("a.mdoc", "PixelSpacing = 1.0\n\n[ZValue = 0]\nStageZ = 1\n", "TiltAngle"),
        ("a.aln", "# AreTomo Alignment\n# SEC\n 1 2 3\n", "not a readable .aln"),
        ("a.xml", "<TiltSeries><Angles>1", "not a readable .xml file"),
        ("a.xml", CONTRAST.format(1.1), "amplitude_contrast must be a part, from 0"),
        ("a.xml", "<Movie/>", "<Movie>, and not <TiltSeries>"),
        ("a.xml", "<TiltSeries><Angles>1\ntwo</Angles></TiltSeries>", "<Angles>"),
        ("a.star", "data_\n\nloop_\n_rlnVoltage #1\n300\n", "rlnTomoYTilt"),
        ("a.star", "data_\n\nloop_\n", "not a readable STAR file"),
        ("a.txt", "1 2 3\n", "is of no format that tells of a tilt series"),
        ("ctf.txt", CTFFIND.replace("200.0", "200.0.0"), "its voltage is '200.0.0'"),
        ("ctf.txt", CTFFIND + "4.0 10000\n", "as many columns in every line"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, name, content, said):
    path = written(tmp_path, name, content)
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        fp.read_tilts(path)
    assert str(caught.value).startswith(path)


@pytest.mark.parametrize(
    "ending", [".tlt", ".xf", ".defocus", ".mdoc", ".aln", ".xml", ".star", ".txt"]
)
def test_junk_is_refused(tmp_path, ending):
    path = Path(tmp_path, f"junk{ending}")
    rng = np.random.default_rng(5)
    for size in (1, 40, 5000):
        path.write_bytes(rng.bytes(size))
        with pytest.raises(ValueError, match=re.escape(str(path))):
            fp.read_tilts(path)


@pytest.mark.parametrize("file", ["TS_01.mrc.mdoc", "global_no_local.aln"])
def test_a_file_cut_short_is_refused_or_shorter_and_never_something_else(
    tmp_path, file
):
    content = (HERE / file).read_bytes()
    path = Path(tmp_path, file)
    whole = fp.read_tilts(HERE / file)
    for cut in np.linspace(20, len(content) - 30, 12).astype(int):
        path.write_bytes(content[:cut])
        try:
            found = fp.read_tilts(path)
        except ValueError as error:
            assert str(path) in str(error)
        else:
            assert file.endswith("mdoc")
            assert found.angles[:-1] == whole.angles[: len(found.angles) - 1]


def test_entities_are_refused(tmp_path):
    text = (
        '<?xml version="1.0"?>\n<!DOCTYPE a [<!ENTITY b "1"><!ENTITY c "&b;&b;">]>\n'
        "<TiltSeries><Angles>&c;</Angles></TiltSeries>"
    )
    with pytest.raises(ValueError, match="declares a document type"):
        fp.read_tilts(written(tmp_path, "a.xml", text))


def test_other_numbers_of_tilts_are_refused(tmp_path, tlt):
    short = written(tmp_path, "short.xf", "1 0 0 1 0 0\n" * 2)
    with pytest.raises(ValueError, match=r"short\.xf is of 2 images, but must be of 3"):
        fp.read_tilts(tlt, short)
    late = written(tmp_path, "a.defocus", "4 4 6.0 6.0 3000 2\n")
    with pytest.raises(ValueError, match=r"is of view 4, but .* has only 3"):
        fp.read_tilts(tlt, late)
    with pytest.raises(ValueError, match=r"angles must be one for each of the 3 tilts"):
        fp.read_tilts(tlt, angles=[0, 3])
    with pytest.raises(ValueError, match="dose must be one number for each of the 3"):
        fp.read_tilts(tlt, dose=[1, 2])


def test_a_stack_of_other_images_is_refused(tmp_path, tlt):
    for count in (3, 4):
        write_volume(tmp_path / f"{count}.st", (count, 8, 9), 0.2)
    assert fp.read_tilts(tlt, tmp_path / "3.st") == fp.read_tilts(tlt)
    with pytest.raises(ValueError, match=r"4\.st is of 4 images, but must be of 3"):
        fp.read_tilts(tlt, tmp_path / "4.st")
    dark = HERE / "dark_images.aln"
    write_volume(tmp_path / "all.st", (51, 8, 9), 0.2)
    assert fp.read_tilts(dark, tmp_path / "all.st") == fp.read_tilts(dark)
    with pytest.raises(ValueError, match=r"of 37, or 51 with those left out"):
        fp.read_tilts(dark, tmp_path / "4.st")


def test_other_tilts_are_refused(tmp_path):
    xml = HERE / "warp_TS_1.xml"
    many = written(tmp_path, "a.tlt", "\n".join(map(str, np.linspace(-60, 60, 41))))
    with pytest.raises(ValueError, match=r"a\.tlt is of other tilts than .*xml"):
        fp.read_tilts(xml, many)
    few = written(tmp_path, "b.rawtlt", "-3\n0\n3\n")
    with pytest.raises(ValueError, match=r"is of 3 tilts, but must be of 41"):
        fp.read_tilts(xml, few)
    more = written(tmp_path, "c.rawtlt", "\n".join(map(str, np.arange(-70, 70, 3))))
    with pytest.raises(ValueError, match=r"among which are not the 41"):
        fp.read_tilts(xml, more)
    angles = np.arange(-39.0, 42, 3)
    rows = "".join(
        f"{i} {i} {a} {a} 3000\n" for i, a in enumerate(angles**2 / 40, start=1)
    )
    tlt = written(tmp_path, "d.tlt", "\n".join(map(str, angles)))
    with pytest.raises(ValueError, match=r"d\.defocus is of other tilts"):
        fp.read_tilts(tlt, written(tmp_path, "d.defocus", rows))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            "3.0 2.9",
            "a defocus of 3 Å is 0.0003 µm, and must be 0.02 or more: if it is ",
        ),
        ("300000 300000", "a defocus of 300000 Å is 30 µm, and must be 20 or less"),
    ],
)
def test_a_defocus_in_another_unit_is_named(tmp_path, tlt, row, said):
    text = f"data_\n\nloop_\n_rlnDefocusU #1\n_rlnDefocusV #2\n{row}\n{row}\n{row}\n"
    with pytest.raises(ValueError, match=re.escape(said)):
        fp.read_tilts(tlt, written(tmp_path, "a.star", text))
    xml = (HERE / "warp_TS_1.xml").read_text().replace('Value="2.', 'Value="2000.')
    with pytest.raises(ValueError, match=r"µm, and must be 20 or less: if it is in nm"):
        fp.read_tilts(written(tmp_path, "a.xml", xml))


def test_no_file_and_what_is_no_path_are_refused(tmp_path):
    with pytest.raises(ValueError, match="paths must be one or more files"):
        fp.read_tilts()
    with pytest.raises(ValueError, match="paths must be a path to a file, not 3"):
        fp.read_tilts(3)
    with pytest.raises(FileNotFoundError, match="missing"):
        fp.read_tilts(tmp_path / "missing.tlt")
    with pytest.raises(TypeError, match="unexpected keyword argument 'doze'"):
        fp.read_tilts(HERE / "TS_001.tlt", doze=3)


@pytest.mark.parametrize(
    ("library", "file"),
    [("mdocfile", "TS_01.mrc.mdoc"), ("alnfile", "global_no_local.aln")],
)
def test_a_missing_library_names_the_extra(monkeypatch, library, file):
    for name in [each for each in sys.modules if each.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=r"pip install 'funpipe\[tilts\]'"):
        fp.read_tilts(HERE / file)


# RELION's tomograms.


@pytest.fixture
def project(tmp_path):
    job = tmp_path / "Tomograms" / "job006"
    for name in ("TS_01", "TS_03"):
        text = RELION_5.replace("TS_01", name)
        written(job, f"tilt_series/{name}.star", text)
        (job / "tomograms").mkdir(exist_ok=True)
        write_volume(job / "tomograms" / f"rec_{name}.mrc", (27, 41, 54), 1.0)
    written(job, "tomograms.star", TOMOGRAMS.format(hand=-1.0))
    return job


def test_tomograms_of_relion_have_scale_hand_and_tilts(project):
    found = fp.read_tomograms(project / "tomograms.star")
    assert list(found) == ["TS_01", "TS_03"]
    first, second = found.values()
    assert first.array == str(project / "tomograms" / "rec_TS_01.mrc")
    assert first.scale == pytest.approx(0.135 * 7.407407)
    assert (first.tilt.hand, second.tilt.hand) == (-1, 1)
    assert (first.tilt.voltage, second.tilt.voltage) == (300.0, 200.0)
    assert first.tilt.amplitude_contrast == 0.1
    assert first.tilt.dose == (114.0, 105.0, 3.0)
    flat = fp.read_tilts(project / "tilt_series" / "TS_01.star")
    assert first.tilt.astigmatism == flat.astigmatism


def test_options_are_for_all_tomograms(project):
    found = fp.read_tomograms(project / "tomograms.star", corrected=True)
    assert all(each.tilt.corrected for each in found.values())


def test_volumes_may_be_in_a_folder(project, tmp_path):
    here = tmp_path / "other"
    here.mkdir()
    for name in ("TS_01", "TS_03"):
        write_volume(here / f"{name}_bin4.mrc", (50, 75, 100), 0.54)
    found = fp.read_tomograms(project / "tomograms.star", folder=here)
    assert found["TS_03"].array == str(here / "TS_03_bin4.mrc")
    assert found["TS_03"].scale == pytest.approx(0.54, rel=1e-5)


@pytest.mark.parametrize(
    ("shape", "scale", "said"),
    [
        ((27, 54, 41), 1.0, "is of (27, 54, 41) voxels (z, y, x), but"),
        ((27, 41, 54), 0.54, "has 0.54 nm per voxel, but"),
    ],
)
def test_a_volume_that_is_not_the_listed_one_is_refused(project, shape, scale, said):
    write_volume_over = project / "tomograms" / "rec_TS_03.mrc"
    write_volume_over.unlink()
    write_volume(write_volume_over, shape, scale)
    with pytest.raises(ValueError, match=re.escape(said)):
        fp.read_tomograms(project / "tomograms.star")


def test_what_tomograms_lack_is_said(project, tmp_path):
    star = project / "tomograms.star"
    (project / "tomograms" / "rec_TS_03.mrc").unlink()
    with pytest.raises(FileNotFoundError, match="the volume that it names"):
        fp.read_tomograms(star)
    (project / "tilt_series" / "TS_03.star").unlink()
    with pytest.raises(FileNotFoundError, match=r"tilt series .*TS_03\.star"):
        fp.read_tomograms(star)
    with pytest.raises(ValueError, match=r"write read_tomograms\(\.\.\.\)"):
        fp.read_tilts(star)
    star.write_text(TOMOGRAMS.format(hand=2.0))
    with pytest.raises(ValueError, match="rlnTomoHand must be 1 or −1, not 2"):
        fp.read_tomograms(star)
    with pytest.raises(ValueError, match=r"pass folder=\.\.\. where they are"):
        fp.read_tomograms(HERE / "relion4_tomograms.star")


def test_a_tilt_about_a_third_axis_is_left_out_with_a_word(tmp_path):
    text = RELION_5.replace(" 0.0 -57.0", " 6.5 -57.0")
    with pytest.warns(UserWarning, match=r"also tilted by 6\.5 degrees across"):
        fp.read_tilts(written(tmp_path, "TS_01.star", text))


@needs_data
def test_the_tutorials_file_without_its_project_says_what_is_missing():
    path = DATA / "particles" / "R5_tutorial_run_tomograms.star"
    with pytest.raises(FileNotFoundError, match=r"tilt_series/TS_01\.star"):
        fp.read_tomograms(path)


# The command line.


def job(folder, names):
    """Return the arguments of an alignment of a particle in each tomogram."""
    blob = fp.from_gaussian((8.0, 8.0, 8.0), sigma=1.2)
    rng = np.random.default_rng(0)
    centre = (np.array([27, 41, 54]) - 1) / 2
    where = []
    for name in names:
        box = np.asarray(blob(1.0))
        image = rng.normal(0, 0.02, (27, 41, 54)).astype(np.float32)
        start = (centre - (np.array(box.shape) - 1) / 2).astype(int)
        z, y, x = (slice(i, i + n) for i, n in zip(start, box.shape, strict=True))
        image[z, y, x] += box
        with mrcfile.new(folder / f"rec_{name}.mrc", overwrite=True) as file:
            file.set_data(image)
            file.voxel_size = 10.0
        where.append(start + (np.array(box.shape) - 1) / 2)
    picks = fp.Molecules(where, features={"tomogram": np.array(names)})
    fp.write_molecules(picks, folder / "picks.csv")
    fp.write_volume(folder / "map.mrc", blob(1.0), 1.0)
    return [
        *("align", str(folder / "picks.csv"), "--template", str(folder / "map.mrc")),
        *("--out", str(folder / "out.csv"), "--max-shift", "1", "--no-progress"),
    ]


def test_the_command_line_takes_files_of_one_tilt_series(tmp_path, tlt, xf, capsys):
    asked = [*job(tmp_path, ["TS_01"]), "--tomogram", str(tmp_path / "rec_TS_01.mrc")]
    ctf = written(tmp_path, "ctf.txt", CTFFIND)
    assert main([*asked, "--tilts", tlt, "--tilts", xf, "--tilts", ctf]) == 0
    found = fp.read_molecules(tmp_path / "out.csv")
    same = fp.align(
        str(tmp_path / "rec_TS_01.mrc"),
        fp.read_molecules(tmp_path / "picks.csv"),
        template=fp.from_file(str(tmp_path / "map.mrc")),
        tilt=fp.read_tilts(tlt, xf, ctf),
        max_shifts=1,
        progress=False,
    )
    np.testing.assert_allclose(
        found.features["score"], same.features["score"], atol=1e-6
    )
    capsys.readouterr()
    assert main([*asked, "--tilts", tlt, "--tilt", "-60", "60"]) == 2
    assert "not allowed with argument" in capsys.readouterr().err
    assert main([*asked, "--tilts", str(tmp_path / "picks.csv")]) == 2
    assert "is of no format that tells of a tilt series" in capsys.readouterr().err


def test_the_command_line_takes_the_tilts_of_many_tomograms(project, tmp_path, capsys):
    folder = tmp_path / "volumes"
    folder.mkdir()
    asked = [*job(folder, ["TS_01", "TS_03"]), "--tomograms", str(folder)]
    (folder / "map.mrc").rename(tmp_path / "map.mrc")
    asked[asked.index(str(folder / "map.mrc"))] = str(tmp_path / "map.mrc")
    star = str(project / "tomograms.star")
    assert main([*asked, "--tilts", star]) == 0
    capsys.readouterr()
    one = str(project / "tilt_series" / "TS_01.star")
    assert main([*asked, "--tilts", one]) == 2
    assert "is of one tilt series, but" in capsys.readouterr().err
    text = Path(star).read_text().replace("TS_03 200", "TS_05 200")
    Path(star).write_text(text)
    assert main([*asked, "--tilts", star]) == 2
    assert "but the particles are in 'TS_03'" in capsys.readouterr().err


def test_files_of_a_test_have_their_licence_beside_them():
    readme = (HERE.parent / "README.md").read_text()
    for each in HERE.iterdir():
        assert f"tilts/{each.name}" in readme
