"""Settings of a microscope as people give them: their units, and what they may be.

Each check takes a name and a value, and returns the value or raises, as those of
`funpipe.base.arguments`. Where people are known to go wrong, in the unit of a defocus
say, the error says what may be meant.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, NamedTuple, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.base import arguments as check
from funpipe.base.errors import Argument, WrongValueError
from funpipe.base.wording import describe, fail

__all__ = [
    "AmplitudeContrast",
    "Defocus",
    "PhaseShift",
    "SphericalAberration",
    "Voltage",
    "amplitude_contrast",
    "angles_of_tilts",
    "astigmatism_of_tilts",
    "defocus",
    "defocus_of_tilts",
    "dose_of_tilts",
    "hand",
    "phase_shift",
    "spherical_aberration",
    "voltage",
]

Numbers: TypeAlias = tuple[float, ...]


class _Range(NamedTuple):
    """What numbers may be."""

    wanted: str
    lowest: float
    highest: float


_ANGLES = _Range("degrees from −90 to 90", -90, 90)
_DOSE = _Range("e/Å² of 0 or more", 0, math.inf)
_DEFOCUS = _Range("µm from −20 to 20", -20, 20)
_VOLTAGE = _Range("kV, from 50 to 1,500", 50, 1500)
_ABERRATION = _Range("mm, from 0 to 20", 0, 20)
_CONTRAST = _Range("a part, from 0 to 1", 0, 1)
_SHIFT = _Range("degrees, from −360 to 360", -360, 360)
_FEW = 5  # angles that may all be within 2 degrees


# One number.


def voltage(name: str, value: Any) -> float:
    """Return a voltage in kV."""
    return _within(name, value, _VOLTAGE)


def spherical_aberration(name: str, value: Any) -> float:
    """Return a spherical aberration in mm."""
    return _within(name, value, _ABERRATION)


def amplitude_contrast(name: str, value: Any) -> float:
    """Return an amplitude contrast, a part."""
    return _within(name, value, _CONTRAST)


def phase_shift(name: str, value: Any) -> float:
    """Return a phase plate's shift in degrees."""
    return _within(name, value, _SHIFT)


def defocus(name: str, value: Any) -> float:
    """Return a defocus in µm.

    Examples
    --------
    >>> defocus("defocus", 30000)
    Traceback (most recent call last):
    ...
    funpipe.base.errors.WrongValueError: defocus must be µm from −20 to 20, not 30000:
    if that is in Å, 3 is meant
    """
    return _within(name, value, _DEFOCUS)


def hand(name: str, value: Any) -> int:
    """Return the hand of a tilt series, 1 or −1."""
    one = check.shape_of(value) == () and not isinstance(value, bool | np.bool_)
    if not one or value not in (-1, 1):
        fail(name, "1 or −1", value)
    return int(value)


def _within(name: str, value: Any, allowed: _Range) -> float:
    found = check.number(name, value)
    if not allowed.lowest <= found <= allowed.highest:
        fail(name, allowed.wanted, value, _guess(found, allowed))
    return found


def _guess(value: float, allowed: _Range) -> str:
    """Return what a defocus in another unit may be meant to be."""
    if allowed is not _DEFOCUS:
        return ""
    unit, size = ("Å", 1e4) if abs(value) >= 5e3 else ("nm", 1e3)
    return f"if that is in {unit}, {value / size:g} is meant"


# One number for each tilt.


def angles_of_tilts(name: str, value: Any) -> Numbers:
    """Return one or more tilts in degrees; what must be radians is refused."""
    wanted = "one or more tilts in degrees"
    found = _numbers(name, value, wanted)
    if found.ndim != 1 or not found.size:
        fail(name, wanted, value)
    _check_range(name, found, _ANGLES)
    if len(found) > _FEW and np.abs(found).max() <= math.pi / 2:
        _refuse(
            name,
            f"degrees, but are all within {np.abs(found).max():.3g}: "
            f"if they are radians, np.degrees({name}) is meant",
        )
    return tuple(found.tolist())


def dose_of_tilts(name: str, value: Any, count: int) -> Numbers:
    """Return a dose in e/Å² for each tilt."""
    return _each(name, value, count, _DOSE, one_for_all=False)


def defocus_of_tilts(name: str, value: Any, count: int) -> Numbers:
    """Return a defocus in µm for each tilt, from one for all or for each."""
    return _each(name, value, count, _DEFOCUS, one_for_all=True)


def astigmatism_of_tilts(
    name: str, value: Any, count: int
) -> tuple[tuple[float, float], ...]:
    """Return for each tilt a difference of defocus in µm, and an azimuth in degrees."""
    wanted = "(µm, degrees), for all tilts or for each"
    found = _numbers(name, value, wanted)
    if found.shape == (2,):
        found = np.tile(found, (count, 1))
    if found.shape != (count, 2):
        fail(name, f"{wanted} of the {count}", value)
    _check_range(name, found[:, 0], _DEFOCUS)
    return tuple((float(each), float(angle)) for each, angle in found)


def _each(
    name: str, value: Any, count: int, allowed: _Range, *, one_for_all: bool
) -> Numbers:
    found = _numbers(name, value, f"one number for each tilt, {allowed.wanted}")
    if found.ndim == 0 and one_for_all:
        found = np.full(count, found)
    if found.shape != (count,):
        _refuse(
            name,
            f"one number for each of the {count} tilts, {allowed.wanted}, "
            f"not {describe(value)}",
        )
    _check_range(name, found, allowed)
    return tuple(found.tolist())


def _numbers(name: str, value: Any, wanted: str) -> NDArray[np.float64]:
    if isinstance(value, range):
        value = list(value)
    found = check.as_array(name, wanted, value)
    if found.dtype.kind not in "iuf" or not np.isfinite(found).all():
        fail(name, wanted, value)
    return found.astype(np.float64)


def _check_range(name: str, found: NDArray[Any], allowed: _Range) -> None:
    bad = found[(found < allowed.lowest) | (found > allowed.highest)]
    if bad.size:
        guess = _guess(bad[0], allowed)
        said = f"{allowed.wanted}, not {bad[0]:g}"
        _refuse(name, f"{said}: {guess}" if guess else said)


def _refuse(name: str, said: str) -> NoReturn:
    raise WrongValueError(Argument(name), f" must be {said}", name=name)


AmplitudeContrast: TypeAlias = Annotated[float, amplitude_contrast]
Defocus: TypeAlias = Annotated[float, defocus]
PhaseShift: TypeAlias = Annotated[float, phase_shift]
SphericalAberration: TypeAlias = Annotated[float, spherical_aberration]
Voltage: TypeAlias = Annotated[float, voltage]
