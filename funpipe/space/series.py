"""A tilt series as people give it, checked: `tilt_series`."""

from __future__ import annotations

from typing import Any, Literal

from funpipe.base import arguments as check
from funpipe.space import microscope as given
from funpipe.space.tilts import check_axis
from funpipe.space.transfer import TiltSeries

__all__ = ["tilt_series"]


def tilt_series(
    angles: Any,
    axis: Literal["y", "x"] = "y",
    *,
    dose: Any = None,
    defocus: Any = None,
    astigmatism: Any = None,
    voltage: float = 300.0,
    spherical_aberration: float = 2.7,
    amplitude_contrast: float = 0.07,
    phase_shift: float = 0.0,
    thickness: float | None = None,
    phase_flipped: bool = True,
    corrected: bool = False,
    hand: int = -1,
) -> TiltSeries:
    """Describe a tilt series tilt by tilt: which waves it shows, and how.

    Parameters
    ----------
    angles : (i,) array-like
        The tilts in degrees, −90 to 90, in any order that the others share.
    axis : {"y", "x"}
        The tilt axis; the beam is along z at zero tilt.
    dose : (i,) array-like, optional
        e/Å² that the specimen had received when each tilt was taken.
    defocus : float or (i,) array-like, optional
        µm at the tomogram's centre, more than 0 under focus; of astigmatic ones the
        mean. None: contrast is transferred evenly.
    astigmatism : (float, float) or (i, 2) array-like, optional
        By how many µm the largest defocus is more than the smallest, and its azimuth in
        degrees, from x towards y in the tomogram at zero tilt.
    voltage : float
        kV.
    spherical_aberration : float
        mm.
    amplitude_contrast : float
        0 to 1.
    phase_shift : float
        Of a phase plate, degrees.
    thickness : float, optional
        nm; each tilt tells of waves as far as 1 / thickness from its plane. None: the
        box of what is looked at.
    phase_flipped : bool
        Whether phases were flipped before the tomogram was made, so that contrast is
        reversed nowhere.
    corrected : bool
        Whether contrast transfer was undone altogether, also in amplitude.
    hand : {-1, 1}
        1 where the defocus of what lies further along z at zero tilt is larger, −1
        where it is smaller: RELION's rlnTomoHand.

    Returns
    -------
    TiltSeries
        For ``tilt=``. A frozen value: it prints as this call, compares and pickles.

    Raises
    ------
    TypeError, ValueError
        If a value is out of its range, or there are not as many as tilts.

    Notes
    -----
    A wave keeps H(k) = Σ c q CTF / max(1, Σ c) of its amplitude, over the tilts whose
    planes cover it by c, see `funpipe.space.transfer`.

    Examples
    --------
    >>> import numpy as np
    >>> series = tilt_series(range(-60, 61, 3), dose=3 * np.arange(41), defocus=3.0)
    >>> series.amplitudes(np.array([[0.0, 0.1], [0.0, 0.0], [0.1, 0.0]])).round(3)
    array([0.239, 0.   ])
    """
    tilts = given.angles_of_tilts("angles", angles)
    count = len(tilts)
    return TiltSeries(
        tilts,
        check_axis(axis),
        None if dose is None else given.dose_of_tilts("dose", dose, count),
        None if defocus is None else given.defocus_of_tilts("defocus", defocus, count),
        None
        if astigmatism is None
        else given.astigmatism_of_tilts("astigmatism", astigmatism, count),
        given.voltage("voltage", voltage),
        given.spherical_aberration("spherical_aberration", spherical_aberration),
        given.amplitude_contrast("amplitude_contrast", amplitude_contrast),
        given.phase_shift("phase_shift", phase_shift),
        check.optional_positive("thickness", thickness),
        check.flag("phase_flipped", phase_flipped),
        check.flag("corrected", corrected),
        given.hand("hand", hand),
    )
