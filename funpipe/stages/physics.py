"""Image converters that do to an image what a microscope does to a specimen.

They make of a template what a tomogram shows of it, for pictures and for programs that
know nothing of tilt series. `align` and `average` need none of them: they take what was
done to each particle by ``tilt=``.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.algebra.stage_functions import converter_function
from funpipe.base import arguments as check
from funpipe.base.arguments import Image, NonNegative
from funpipe.base.wording import fail
from funpipe.space import microscope
from funpipe.space.fourier import filter_image, fourier_vectors
from funpipe.space.optics import Lens, dose_left, transfer
from funpipe.space.tilts import Tilt, as_tilt
from funpipe.space.transfer import part_left, placed

__all__ = ["ctf_filter", "dose_filter", "wedge_filter"]

Array: TypeAlias = NDArray[Any]


@converter_function
def ctf_filter(
    image: Image,
    scale: float,
    defocus: microscope.Defocus,
    voltage: microscope.Voltage = 300.0,
    spherical_aberration: microscope.SphericalAberration = 2.7,
    amplitude_contrast: microscope.AmplitudeContrast = 0.07,
    phase_shift: microscope.PhaseShift = 0.0,
    phase_flipped: Annotated[bool, check.flag] = True,
) -> Image:
    """Multiply an image's waves by the contrast transfer of a microscope.

    Parameters
    ----------
    defocus : float
        µm, more than 0 under focus.
    voltage : float
        kV.
    spherical_aberration : float
        mm.
    amplitude_contrast : float
        0 to 1.
    phase_shift : float
        Of a phase plate, degrees.
    phase_flipped : bool
        Whether phases are flipped, so that contrast is reversed nowhere: the absolute
        value of the contrast transfer.

    Returns
    -------
    ImageConverter
        Its images have the shape of their input, and its contrast at the lowest
        frequencies. Beyond its faces an image goes on by reflection.

    Raises
    ------
    TypeError, ValueError
        If a setting is out of its range.

    Notes
    -----
    The formula stands in `funpipe.space.optics`, with its source. A wave k of an object
    appears as far as λ |k| times the defocus away from it, at 3 µm, 300 kV and a period
    of 1 nm 6 nm: the box should be wider by that.

    Examples
    --------
    >>> point = np.zeros((9, 9, 9)); point[4, 4, 4] = 1
    >>> ctf_filter(3.0)(point, 0.5).sum().round(3)
    np.float32(0.07)
    """
    lens = Lens(voltage, spherical_aberration, amplitude_contrast, phase_shift)
    return filter_image(
        image, scale, partial(_contrast, defocus, lens, phase_flipped=phase_flipped)
    )


def _contrast(
    defocus: float, lens: Lens, frequency: Array, *, phase_flipped: bool
) -> Array:
    found = transfer(frequency, np.asarray(defocus), lens)
    return np.abs(found) if phase_flipped else found


@converter_function
def dose_filter(
    image: Image,
    scale: float,
    dose: NonNegative,
    voltage: microscope.Voltage = 300.0,
) -> Image:
    """Leave of an image's waves what a dose of electrons leaves of them.

    Parameters
    ----------
    dose : float
        e/Å² that the specimen has received.
    voltage : float
        kV.

    Returns
    -------
    ImageConverter
        Its images have the shape and the mean of their input. Beyond its faces an
        image goes on by reflection.

    Raises
    ------
    TypeError, ValueError
        If the dose is negative or not a number, or the voltage out of its range.

    Notes
    -----
    Of a wave's amplitude exp(−dose / 2 N_e) is left, N_e the critical dose of T. Grant,
    N. Grigorieff, eLife 4, e06980, 2015, see `funpipe.space.optics`.

    Examples
    --------
    >>> point = np.zeros((9, 9, 9)); point[4, 4, 4] = 1
    >>> damaged = dose_filter(60.0)(point, 0.5)
    >>> damaged.sum().round(3), damaged.max().round(3)
    (np.float32(1.0), np.float32(0.178))
    """
    return filter_image(image, scale, partial(_left, dose, voltage))


def _left(dose: float, voltage: float, frequency: Array) -> Array:
    return dose_left(frequency, dose, voltage)


def _tilt(name: str, value: Any) -> Tilt:
    if value is None:
        wanted = "two angles (lowest, highest) from −90 to 90, or tilt_series(...)"
        fail(name, wanted, value)
    return as_tilt(name, value)


@converter_function
def wedge_filter(
    image: Image, scale: float, tilt: Annotated[Any, _tilt] = (-60, 60)
) -> Image:
    """Leave of an image's waves what a tilt series measures of them.

    Parameters
    ----------
    tilt : (float, float), or tilt weights
        What the tilt series measures, in the image's own frame: lowest and highest tilt
        about y in degrees, or `single_axis`, `dual_axis`, `tilt_series`, or a function
        of frequency vectors, see `align`. Of a `tilt_series` each wave keeps what dose
        and contrast transfer leave of it, with its sign, at the tomogram's centre.

    Returns
    -------
    ImageConverter
        Its images have the shape of their input. What the tilt series spreads beyond a
        face comes in at the opposite one.

    Raises
    ------
    TypeError, ValueError
        If it is neither two angles in rising order nor gives weights.

    Examples
    --------
    >>> ball = np.pad(np.ones((5, 5, 5)), 6)
    >>> seen = wedge_filter((-60, 60))(ball, 1.0)
    >>> seen[8, 8, 2] < 0 < seen[2, 8, 8]  # elongated along the beam
    np.True_
    """
    seen = placed(tilt, np.zeros((1, 3)), extent=min(image.shape) * scale)
    part = part_left(seen, fourier_vectors(image.shape, scale)[:, None])[0]
    waves = scipy.fft.rfftn(image.astype(np.float64)) * part
    return scipy.fft.irfftn(waves, s=image.shape)
