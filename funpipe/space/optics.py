"""What a microscope and its dose do to the waves of a projection.

*Contrast transfer.* With λ the electrons' wavelength, Δf the defocus, C_s the spherical
aberration, A the amplitude contrast and φ the phase shift of a plate,

    χ(k) = π λ k² Δf − ½ π C_s λ³ k⁴ + φ + arcsin A,

a projection's waves are multiplied by sin χ (A. Rohou, N. Grigorieff, J. Struct. Biol.
192, 216, 2015, whose −sin χ is for dark particles). Waves of the lowest frequencies
keep their sign here, so that a template has the contrast of the tomogram.

*Dose.* After N electrons per Å² the part exp(−N / 2 N_e(k)) of an amplitude is left,
with the critical dose N_e = 0.245 k^−1.665 + 2.81, k in 1/Å, at 300 kV and 0.8 of it
at 200 kV (T. Grant, N. Grigorieff, eLife 4, e06980, 2015).

Settings of the microscope have its own units: kV, mm, µm of defocus, e/Å².
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

__all__ = [
    "Lens",
    "critical_dose",
    "dose_left",
    "phase_rates",
    "transfer",
    "wavelength",
]

Array: TypeAlias = NDArray[Any]

NM_PER_UM = 1e3
NM_PER_MM = 1e6

CRITICAL = 0.245, -1.665, 2.81
"""a, b and c of the critical dose a k^b + c at 300 kV, k in 1/Å."""


class Lens(NamedTuple):
    """What of contrast transfer is the same for all tilts."""

    voltage: float = 300.0
    """kV."""
    spherical_aberration: float = 2.7
    """mm."""
    amplitude_contrast: float = 0.07
    """0 to 1."""
    phase_shift: float = 0.0
    """Degrees."""


def wavelength(voltage: float) -> float:
    """Return the wavelength of electrons in nm, λ = h / √(2 m e V (1 + e V / 2 m c²)).

    Parameters
    ----------
    voltage : float
        kV.

    Examples
    --------
    >>> round(wavelength(300), 8)
    0.00196875
    """
    h, m, e, c = (getattr(scipy.constants, name) for name in ("h", "m_e", "e", "c"))
    energy = e * voltage * 1e3
    momentum = math.sqrt(2 * m * energy * (1 + energy / (2 * m * c**2)))
    return float(1e9 * h / momentum)


def phase_rates(lens: Lens) -> tuple[float, float, float]:
    """Return what χ has of k² per µm of defocus, of k⁴, and of neither; k in 1/nm."""
    wave = wavelength(lens.voltage)
    aberration = NM_PER_MM * lens.spherical_aberration
    constant = math.radians(lens.phase_shift) + math.asin(lens.amplitude_contrast)
    return (
        math.pi * wave * NM_PER_UM,
        -math.pi / 2 * aberration * wave**3,
        constant,
    )


def transfer(frequency: Array, defocus: Array, lens: Lens) -> Array:
    """Return sin χ, the contrast transfer.

    Parameters
    ----------
    frequency : array
        |k| in 1/nm.
    defocus : array
        µm, along each wave, more than 0 under focus; goes together with frequency.
    lens : Lens
        The microscope.

    Examples
    --------
    >>> transfer(np.array([0.0, 0.5]), np.array(3.0), Lens()).round(4)
    array([ 0.07, -1.  ])
    """
    square, fourth, constant = phase_rates(lens)
    k2 = np.square(frequency)
    return np.sin(square * k2 * defocus + fourth * k2**2 + constant)


def critical_dose(frequency: Array, voltage: float) -> Array:
    """Return N_e in e/Å², infinite for a frequency of 0.

    Parameters
    ----------
    frequency : array
        |k| in 1/nm.
    voltage : float
        kV; between 200 and 300 as on a line, beyond as at the nearer one.

    Examples
    --------
    >>> critical_dose(np.array([1.0]), 300).round(2)
    array([14.14])
    """
    a, b, c = CRITICAL
    with np.errstate(divide="ignore", over="ignore"):
        at_300 = a * np.power(np.asarray(frequency) / 10, b) + c
    return np.asarray(at_300 * np.interp(voltage, [200.0, 300.0], [0.8, 1.0]))


def dose_left(frequency: Array, dose: Any, voltage: float) -> Array:
    """Return the part of an amplitude that a dose in e/Å² leaves.

    Examples
    --------
    >>> dose_left(np.array([0.0, 1.0]), 60.0, 300).round(3)
    array([1.  , 0.12])
    """
    return np.exp(-dose / (2 * critical_dose(frequency, voltage)))
