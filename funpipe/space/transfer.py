"""What a tilt series did to a particle, tilt by tilt, as a value.

A tilt by α about y shows the waves of a plane through the origin, with the beam
n = (cos α, 0, −sin α), z, y, x, as its normal. Of an object of the extent L a plane
tells as far as about 1 / L: tilt i covers wave k with

    c_i(k) = max(0, 1 − L |k·n_i|),

which falls to ½ at 1 / 2L; planes that are 1 / L apart cover what is between them
evenly. What is left of a wave in a tomogram is the mean over the tilts that cover it,

    H(k) = Σ c_i q_i(k) CTF_i(k) / max(1, Σ c_i),

with q_i what dose leaves and CTF_i the contrast transfer, see `funpipe.space.optics`,
or its absolute value where phases were flipped before reconstruction. A particle at p
from the tomogram's centre lies p·n_i along the beam; the defocus there is that of the
tilt and h p·n_i, with h = ±1 the hand of the tilt series.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.space.optics import NM_PER_UM, Lens, critical_dose, phase_rates
from funpipe.space.spectra import can_compile
from funpipe.space.tilts import AXES, Tilt, check_weights, no_tilt

__all__ = [
    "Placed",
    "TiltSeries",
    "Transfer",
    "about_other_axis",
    "measured",
    "of_other_focus",
    "of_other_hand",
    "part_left",
    "per_voxel",
    "placed",
    "taken",
    "transfer_of",
]

Array: TypeAlias = NDArray[Any]
Numbers: TypeAlias = tuple[float, ...]

_EXTENT = 40.0  # nm, where nothing says how large what is looked at is
_NOTHING = 1e-3  # of an amplitude: data divided by less are left out


@dataclass(frozen=True, repr=False)
class TiltSeries:
    """A tilt series, see `funpipe.tilt_series`, whose arguments its fields are."""

    angles: Numbers
    axis: Literal["y", "x"] = "y"
    dose: Numbers | None = None
    defocus: Numbers | None = None
    astigmatism: tuple[tuple[float, float], ...] | None = None
    voltage: float = 300.0
    spherical_aberration: float = 2.7
    amplitude_contrast: float = 0.07
    phase_shift: float = 0.0
    thickness: float | None = None
    phase_flipped: bool = True
    corrected: bool = False
    hand: int = -1

    def __repr__(self) -> str:
        words = [repr(self.angles), repr(self.axis)]
        for each in fields(self)[2:]:
            value = getattr(self, each.name)
            if value != each.default:
                words.append(f"{each.name}={value!r}")
        return f"tilt_series({', '.join(words)})"

    def __call__(self, vectors: Array) -> Array:
        """Return H² at vectors (3, ...) in 1/nm, of a particle at the centre."""
        return np.square(self.amplitudes(vectors))

    def amplitudes(self, vectors: Array) -> Array:
        """Return H at vectors (3, ...) in 1/nm, of a particle at the centre."""
        flat = np.asarray(vectors, dtype=float).reshape(3, 1, -1)
        return self.at(np.zeros((1, 3))).amplitudes(flat).reshape(vectors.shape[1:])

    def at(self, places: Array, extent: float | None = None) -> Placed:
        """Return what the series did to particles.

        Parameters
        ----------
        places : (n, 3) array
            Where they are, nm from the tomogram's centre, z, y, x.
        extent : float, optional
            How large the boxes are that are looked at, nm; the series' own
            ``thickness`` wins.
        """
        return Placed(
            self, np.asarray(places, float), self.thickness or extent or _EXTENT
        )

    @property
    def transfers(self) -> bool:
        """Whether there is contrast transfer."""
        return self.defocus is not None and not self.corrected

    @property
    def lens(self) -> Lens:
        """What of contrast transfer is the same for all tilts."""
        return Lens(
            self.voltage,
            self.spherical_aberration,
            self.amplitude_contrast,
            self.phase_shift,
        )


class Transfer(NamedTuple):
    """What a tilt series did to waves."""

    amplitude: NDArray[np.float64] | None
    """H; None where it is 1 wherever the weight is not 0."""
    weight: NDArray[np.float64]
    """1 over the noise's power, relative; 0 where nothing was measured."""


@dataclass(frozen=True, eq=False)
class Placed:
    """A tilt series as particles at their places saw it."""

    series: TiltSeries
    places: NDArray[np.float64]
    """(n, 3), nm from the tomogram's centre, z, y, x."""
    extent: float
    """nm."""
    unit: float = 1.0
    """nm: vectors are in periods per so many."""

    def __call__(self, vectors: Array) -> Array:
        """Return H² at vectors (3, n, ...)."""
        return np.square(self.amplitudes(vectors))

    def amplitudes(self, vectors: Array) -> NDArray[np.float64]:
        """Return H at vectors (3, n, ...)."""
        series, k = self.series, np.asarray(vectors, dtype=float) / self.unit
        k = np.ascontiguousarray(k.reshape(3, len(self.places), -1))
        k = k[[0, AXES[series.axis], 3 - AXES[series.axis]]]
        facts = _facts(series)
        found = np.empty(k.shape[1:])
        fill = _transferred
        if can_compile():
            from funpipe.space.compiled import transferred as fill
        fill(k, _heights(self), *facts, 1 / self.extent, found)
        return found.reshape(vectors.shape[1:])

    def measured(self, vectors: Array) -> NDArray[np.float64]:
        """Return 1 where any tilt covers a vector (3, ...), 0 elsewhere."""
        k = np.asarray(vectors, dtype=float)[[0, AXES[self.series.axis]]] / self.unit
        k = k.reshape(2, -1)
        found = np.zeros(k.shape[1])
        fill = _covered
        if can_compile():
            from funpipe.space.compiled import covered as fill
        fill(k, _facts(self.series)[0], 1 / self.extent, found)
        return found.reshape(vectors.shape[1:])

    def take(self, some: Any) -> Placed:
        """Return it of some particles."""
        return replace(self, places=self.places[some])


def placed(tilt: Tilt, places: Array, extent: float) -> Tilt:
    """Return a tilt as particles saw it; one that says the same of all stays.

    Parameters
    ----------
    tilt : callable
        Tilt weights, or a `TiltSeries`.
    places, extent
        See `TiltSeries.at`.
    """
    return tilt.at(places, extent) if isinstance(tilt, TiltSeries) else tilt


def taken(tilt: Tilt, some: Any) -> Tilt:
    """Return a tilt as some of its particles saw it."""
    return tilt.take(some) if isinstance(tilt, Placed) else tilt


def about_other_axis(tilt: Tilt) -> Tilt:
    """Return a tilt about x in the place of y, and the other way round.

    Examples
    --------
    >>> import funpipe as fp
    >>> about_other_axis(fp.tilt_series([-30, 0, 30], "x"))
    tilt_series((-30.0, 0.0, 30.0), 'y')
    """
    series = _series(tilt)
    if series is not None:
        return _of_series(tilt, axis="x" if series.axis == "y" else "y")
    return tilt if tilt is no_tilt else partial(_weights_exchanged, tilt=tilt)


def _weights_exchanged(vectors: Array, tilt: Tilt) -> Array:
    return tilt(vectors[[0, 2, 1]])


def of_other_hand(tilt: Tilt) -> Tilt:
    """Return a tilt series of the other hand; a tilt without contrast transfer stays.

    Examples
    --------
    >>> import funpipe as fp
    >>> of_other_hand(fp.tilt_series([-30, 30], defocus=2.0))
    tilt_series((-30.0, 30.0), 'y', defocus=(2.0, 2.0), hand=1)
    """
    series = _series(tilt)
    if series is None or not series.transfers:
        return tilt
    return _of_series(tilt, hand=-series.hand)


def of_other_focus(tilt: Tilt) -> Tilt:
    """Return a tilt series with its defocus negated; likewise.

    Examples
    --------
    >>> import funpipe as fp
    >>> of_other_focus(fp.tilt_series([0, 30], defocus=2.0))
    tilt_series((0.0, 30.0), 'y', defocus=(-2.0, -2.0))
    """
    series = _series(tilt)
    if series is None or series.defocus is None or not series.transfers:
        return tilt
    return _of_series(tilt, defocus=tuple(-each for each in series.defocus))


def _series(tilt: Tilt) -> TiltSeries | None:
    if isinstance(tilt, Placed):
        return tilt.series
    return tilt if isinstance(tilt, TiltSeries) else None


def _of_series(tilt: Any, **changes: Any) -> Tilt:
    """Return a tilt series with some values changed, at the same places if it has."""
    if isinstance(tilt, Placed):
        return replace(tilt, series=replace(tilt.series, **changes))
    return replace(tilt, **changes)


def per_voxel(tilt: Tilt, scale: float) -> Tilt:
    """Return a tilt that takes vectors in periods per voxel, not in 1/nm.

    Parameters
    ----------
    tilt : callable
        Takes vectors in 1/nm.
    scale : float
        nm per voxel.

    Examples
    --------
    >>> size = per_voxel(np.abs, 0.5)
    >>> size(np.array([0.0, -0.25]))
    array([0. , 0.5])
    """
    if isinstance(tilt, Placed):
        return replace(tilt, unit=scale)
    return partial(_weights_per_voxel, tilt=tilt, scale=scale)


def _weights_per_voxel(vectors: Array, tilt: Tilt, scale: float) -> Array:
    return tilt(vectors / scale)


def transfer_of(tilt: Tilt, vectors: Array) -> Transfer:
    """Return what a tilt did to waves of n particles, (3, n, ...).

    Amplitudes so small that data cannot be divided by them count as not measured.
    """
    if not isinstance(tilt, Placed):
        return Transfer(None, check_weights(tilt(vectors), vectors.shape[1:]))
    H = tilt.amplitudes(vectors)
    weight = (np.abs(H) > _NOTHING).astype(float)
    return Transfer(np.where(weight > 0, H, 1.0), weight)


def part_left(tilt: Tilt, vectors: Array) -> NDArray[np.float64]:
    """Return what a tilt left of the amplitudes of waves of n particles, (3, n, ...).

    H where it is that of a tilt series, with its sign, else the weights.
    """
    if isinstance(tilt, Placed):
        return tilt.amplitudes(vectors)
    return check_weights(tilt(vectors), vectors.shape[1:])


def measured(tilt: Tilt, vectors: Array) -> NDArray[np.float64]:
    """Return the weights of waves whatever was done to their amplitudes, (3, ...)."""
    if isinstance(tilt, Placed):
        return tilt.measured(vectors)
    return check_weights(tilt(vectors), vectors.shape[1:])


def _covers(along: Array, across: Array, angle: float, reach: float) -> Array:
    """Return c_i at waves, from their components along the beam and across the axis."""
    apart = np.abs(along * math.cos(angle) - across * math.sin(angle))
    return np.maximum(0, 1 - apart / reach)


def _covered(k: Array, tilts: Array, reach: float, found: Array) -> None:
    """Do as `funpipe.space.compiled.covered`, tilt by tilt."""
    for sine, cosine in tilts[:, :2]:
        found[_covers(k[0], k[1], math.atan2(sine, cosine), reach) > 0] = 1


def _heights(seen: Placed) -> NDArray[np.float64]:
    """Return h p·n_i in µm, (n, tilts), in the order of their angles."""
    angles = np.radians(np.sort(seen.series.angles))
    along, across = seen.places[:, 0], seen.places[:, AXES[seen.series.axis]]
    heights = np.outer(along, np.cos(angles)) - np.outer(across, np.sin(angles))
    return np.asarray(seen.series.hand / NM_PER_UM * heights)


_SIGNED, _FLIPPED = 1.0, 2.0


def _facts(series: TiltSeries) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what there is of each tilt, and what is the same for all.

    In the order of the tilts' angles: the sine and cosine of each, its defocus, half of
    the difference of the largest and the smallest times cosine and sine of twice the
    largest's azimuth from across the axis, and its dose. Then whether there is contrast
    transfer, and of which kind, what χ has of k² Δf, of k⁴, and of neither, and the
    critical dose over that at 300 kV.
    """
    angles = np.radians(series.angles)
    zeros = np.zeros(len(angles))
    defocus = zeros if series.defocus is None else np.array(series.defocus)
    dose = zeros if series.dose is None else np.array(series.dose)
    half, azimuth = zeros, zeros
    if series.astigmatism is not None:
        difference, degrees = np.array(series.astigmatism).T
        half, azimuth = difference / 2, np.radians(degrees)
    if series.axis == "x":
        azimuth = np.pi / 2 - azimuth
    kind = 0.0
    if series.transfers:
        kind = _FLIPPED if series.phase_flipped else _SIGNED
    one = np.ones(1)
    at_300 = critical_dose(one, series.voltage) / critical_dose(one, 300.0)
    tilts = np.stack(
        [
            *(np.sin(angles), np.cos(angles), defocus),
            *(half * np.cos(2 * azimuth), half * np.sin(2 * azimuth), dose),
        ],
        axis=1,
    )
    order = np.argsort(series.angles, kind="stable")
    return tilts[order], np.array([kind, *phase_rates(series.lens), at_300[0]])


def _transferred(
    k: Array, heights: Array, tilts: Array, rates: Array, reach: float, found: Array
) -> None:
    """Do as `funpipe.space.compiled.transferred`, tilt by tilt."""
    kind, per_defocus, fourth, constant, at_300 = rates
    total, weight = np.zeros(found.shape), np.zeros(found.shape)
    for i, (sine, cosine, defocus, half, twisted, dose) in enumerate(tilts):
        c = _covers(k[0], k[1], math.atan2(sine, cosine), reach)
        some = np.nonzero(c)
        along, across, axis = (each[some] for each in k)
        k2 = along**2 + across**2 + axis**2
        part = np.exp(-dose / (2 * at_300 * critical_dose(np.sqrt(k2), 300.0)))
        if kind:
            u = along * sine + across * cosine
            bent = (u**2 - axis**2) * half + 2 * u * axis * twisted
            path = k2 * (defocus + heights[some[0], i]) + bent
            contrast = np.sin(per_defocus * path + fourth * k2**2 + constant)
            part *= np.abs(contrast) if kind == _FLIPPED else contrast
        total[some] += c[some] * part
        weight[some] += c[some]
    np.divide(total, np.maximum(weight, 1), out=found)
