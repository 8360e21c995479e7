"""Contrast transfer and dose, against what other programs compute.

The numbers are those of torch-ctf 0.6.0 and torch-fourier-filter 0.6.0 (teamtomo),
computed in double precision, with torch 2.13, and of RELION 3.1's relion_project.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from funpipe.space.optics import (
    CRITICAL,
    Lens,
    critical_dose,
    dose_left,
    phase_rates,
    transfer,
    wavelength,
)
from funpipe.space.series import tilt_series

FREQUENCIES = np.linspace(0, 2, 11)  # 1/nm

# torch_ctf.calculate_ctf_1d(defocus, *Lens, pixel_size=2.5, n_samples=11, 1): defocus
# in µm, then voltage, spherical aberration, amplitude contrast, phase shift.
CONTRAST = {
    (0.5, 300, 2.7, 0.07, 0): [
        *(0.07, 0.1924965571, 0.5345957687, 0.9242873378, 0.8937286474),
        *(0.0113950101, -0.9673509306, -0.272652057, 0.9968643463),
        *(-0.3195479572, -0.6004903124),
    ],
    (2.0, 300, 2.7, 0.07, 0): [
        *(0.07, 0.5352520216, 0.888084674, -0.9813716415, 0.9928530216),
        *(-0.1579977444, -0.8592424866, -0.808608737, 0.1090526747),
        *(0.8580906564, -0.9435480713),
    ],
    (5.0, 300, 2.7, 0.07, 0): [
        *(0.07, 0.9654088612, -0.9538933447, -0.9794053414, 0.8410752385),
        *(-0.437842287, 0.524989092, -0.7633859535, -0.4673001889),
        *(-0.5675534832, -0.6670711224),
    ],
    (3.0, 300, 0.01, 0.1, 0): [
        *(0.1, 0.7462216353, 0.0725610776, 0.476592166, -0.5572238177),
        *(-0.1932633549, 0.9933243849, -0.9430101519, -0.4585354173),
        *(-0.5028713661, -0.8819055497),
    ],
    (3.0, 300, 2.7, 0.1, 90): [
        *(0.9949874371, 0.6657360788, -0.9973037364, 0.8811083979, 0.8229309017),
        *(0.9744065179, -0.0487323204, 0.213705142, -0.9650833398),
        *(-0.9822981448, -0.0249873572),
    ],
    (2.0, 200, 2.7, 0.07, 0): [
        *(0.07, 0.6444186846, 0.5243892987, -0.5218218271, -0.6464161533),
        *(-0.0529826376, -0.5903041942, -0.6575480434, 0.7637381228),
        *(0.1569428439, -0.7180196389),
    ],
    (5.0, 200, 0.01, 0.1, 90): [
        *(0.9949874371, -0.1049584611, 0.9927964794, -0.1444936848, 0.9838745364),
        *(-0.2226650558, 0.9612989586, -0.3367712857, 0.9140688333),
        *(-0.4806185646, 0.828309002),
    ],
    (-1.0, 200, 2.7, 0.1, 0): [
        *(0.1, -0.2134411262, -0.9176676707, -0.3863611733, 0.9670686633),
        *(-0.9999652142, 0.9254365059, -0.1082535791, -0.9961371368),
        *(-0.8398731521, -0.877176086),
    ],
}

# exp(−dose / 2 N_e) of torch_fourier_filter.dose_weight, its _apply_voltage_correction
# and critical_exposure: dose in e/Å², voltage.
LEFT = {
    (3, 300): [
        *(1.0, 0.9911105165, 0.9730464215, 0.950140613, 0.9249825475, 0.8993396301),
        *(0.8743628742, 0.8507400445, 0.828829148, 0.8087671613, 0.7905518633),
    ],
    (40, 300): [
        *(1.0, 0.8877577216, 0.6946736045, 0.505636513, 0.3535470199, 0.2430243282),
        *(0.1669383513, 0.1158666209, 0.0818213945, 0.0590174066, 0.0435583635),
    ],
    (120, 300): [
        *(1.0, 0.6996540868, 0.3352296255, 0.1292752192, 0.0441917848, 0.0143532171),
        *(0.0046523069, 0.0015555179, 0.000547773, 0.0002055608, 8.26446e-05),
    ],
    (3, 200): [
        *(1.0, 0.9889005205, 0.9664223158, 0.9380691476, 0.9071245553, 0.8757994421),
        *(0.8455019942, 0.8170452218, 0.7908266019, 0.7669717829, 0.7454404552),
    ],
    (120, 200): [
        *(1.0, 0.6398883732, 0.2550809289, 0.0775164908, 0.0202617489, 0.004968057),
        *(0.0012150257, 0.0003089184, 8.38013e-05, 2.46136e-05, 7.8799e-06),
    ],
}

# Waves of a projection, 1/nm along y and x.
WAVES = np.array(
    [(0, 1), (1, 0), (0, 4), (4, 0), (2, 3), (-2, 3), (3, 1), (-4, 2)]
).T.astype(float)

# torch_ctf: defocus, half of the astigmatism and its azimuth, at 0.4 · WAVES, with
# 300 kV, 2.7 mm, 0.07, through apply_astigmatism_to_defocus and
# calculate_total_phase_shift; the first of them with waves 1e6 times as long, since it
# adds the rounding error of single precision to k².
ASTIGMATIC = {
    (2.0, 0.1, 30.0): [
        *(0.8642620499, 0.9097334653, 0.7839176426, -0.6306658567),
        *(0.9732186161, -0.2513696041, 0.8664488221, -0.3348095026),
    ],
    (3.0, 0.25, -70.0): [
        *(0.2889023302, -0.0858533268, 0.3374471978, 0.1253156558),
        *(-0.8961681973, 0.976914886, -0.9241038302, 0.8918954955),
    ],
    (1.5, 0.2, 135.0): [
        *(0.9998526706, 0.9998526706, -0.998921738, -0.998921738),
        *(-0.910402637, 0.3791186373, 0.8806971248, 0.9236457452),
    ],
}

# relion_project --ctf of a point over that without, in single precision: DefocusU,
# DefocusV in Å and DefocusAngle, at 0.25 · WAVES, with 300 kV, 2.7 mm, 0.07.
RELION = {
    (21000, 19000, 30): [
        *(0.7594, 0.73369, 0.1501, -0.45096, -0.92191, -0.36117, 0.99982, 0.83791),
    ],
    (32500, 27500, -70): [
        *(0.91504, 0.96453, -0.99162, 0.80029, 0.99182, 0.20644, -0.63843, -0.03702),
    ],
}


@pytest.mark.parametrize(("setting", "expected"), CONTRAST.items(), ids=str)
def test_contrast_transfer_is_that_of_another_program(setting, expected):
    defocus, *lens = setting
    found = transfer(FREQUENCIES, np.array(defocus), Lens(*lens))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("setting", "expected"), LEFT.items(), ids=str)
def test_what_dose_leaves_is_that_of_another_program(setting, expected):
    dose, voltage = setting
    found = dose_left(FREQUENCIES, dose, voltage)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def flat(waves: np.ndarray) -> np.ndarray:
    """Waves of a projection as vectors of the tomogram at zero tilt."""
    return np.stack([np.zeros(len(waves[0])), *waves])


@pytest.mark.parametrize(("setting", "expected"), ASTIGMATIC.items(), ids=str)
@pytest.mark.parametrize("axis", ["y", "x"])
@pytest.mark.parametrize("compiled", [False, True])
def test_astigmatism_is_that_of_another_program(
    monkeypatch, setting, expected, axis, compiled
):
    if compiled:
        pytest.importorskip("numba")
    monkeypatch.setattr("funpipe.space.transfer.can_compile", lambda: compiled)
    defocus, half, azimuth = setting
    series = tilt_series(
        [0.0],
        axis,
        defocus=defocus,
        astigmatism=(2 * half, azimuth),
        phase_flipped=False,
    )
    found = series.amplitudes(flat(0.4 * WAVES))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 if compiled else 1e-9)


@pytest.mark.parametrize(("setting", "expected"), RELION.items(), ids=str)
def test_the_azimuth_is_relions(setting, expected):
    largest, smallest, azimuth = setting
    series = tilt_series(
        [0.0],
        defocus=(largest + smallest) / 2e4,
        astigmatism=((largest - smallest) / 1e4, azimuth),
        phase_flipped=False,
    )
    found = series.amplitudes(flat(0.25 * WAVES))
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-4)


def test_the_wavelength_is_the_textbooks():
    # L. Reimer, H. Kohl, Transmission Electron Microscopy, 2008, table 2.2, in pm.
    found = [1e3 * wavelength(voltage) for voltage in (100, 200, 300)]
    np.testing.assert_allclose(found, [3.701, 2.508, 1.969], atol=6e-4)


settings_of_lens = st.builds(
    Lens,
    st.floats(60, 1000),
    st.floats(0, 10),
    st.floats(0, 1),
    st.floats(-180, 180),
)


@given(settings_of_lens, st.floats(-10, 10), st.floats(0, 3))
def test_contrast_transfer_is_the_formula(lens, defocus, frequency):
    wave, k = wavelength(lens.voltage), frequency
    angle = math.pi * wave * k**2 * 1e3 * defocus
    angle -= math.pi / 2 * 1e6 * lens.spherical_aberration * wave**3 * k**4
    angle += math.radians(lens.phase_shift) + math.asin(lens.amplitude_contrast)
    found = float(transfer(np.array(frequency), np.array(defocus), lens))
    assert found == pytest.approx(math.sin(angle), abs=1e-9)
    assert len(phase_rates(lens)) == 3


@given(st.floats(0, 3), st.floats(0, 300), st.floats(0, 300), st.floats(100, 400))
def test_doses_add_up(frequency, first, second, voltage):
    k = np.array([frequency])
    both = dose_left(k, first + second, voltage)
    in_turn = dose_left(k, first, voltage) * dose_left(k, second, voltage)
    np.testing.assert_allclose(both, in_turn, rtol=1e-9, atol=1e-300)
    assert 0 <= both[0] <= 1


def test_the_critical_dose_is_the_papers():
    # Grant and Grigorieff's equation 3 at a period of 3 Å, and 20 % less at 200 kV.
    a, b, c = CRITICAL
    expected = 0.245 * (1 / 3) ** -1.665 + 2.81
    assert (a, b, c) == (0.245, -1.665, 2.81)
    found = [critical_dose(np.array([10 / 3]), each)[0] for each in (300, 200, 250)]
    np.testing.assert_allclose(found, [expected, 0.8 * expected, 0.9 * expected])
    assert critical_dose(np.zeros(1), 300)[0] == np.inf


@pytest.mark.parametrize(
    ("voltage", "as_at"), [(100, 200), (199, 200), (301, 300), (1000, 300)]
)
def test_beyond_200_and_300_kv_the_critical_dose_is_that_at_the_nearer(voltage, as_at):
    k = np.array([0.0, 0.3, 2.0])
    np.testing.assert_array_equal(critical_dose(k, voltage), critical_dose(k, as_at))


def test_waves_so_long_that_no_dose_harms_them_need_no_warning():
    k = np.array([0.0, 1e-300, 1e-200])
    np.testing.assert_array_equal(dose_left(k, 100.0, 300), [1.0, 1.0, 1.0])
    assert critical_dose(k, 300)[:2].tolist() == [math.inf, math.inf]
