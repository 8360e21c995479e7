"""How far two maps agree: by frequency, by direction, by place."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.algebra.verbs import verb
from funpipe.base import arguments as check
from funpipe.base.arguments import Image
from funpipe.base.wording import fail
from funpipe.jobs.halving import Halves
from funpipe.jobs.preparing import mask_for
from funpipe.space.fourier import fourier_vectors
from funpipe.space.local_shells import local_frequencies
from funpipe.space.shells import (
    Curve,
    Products,
    Shells,
    correlation,
    fisher_band,
    hemisphere,
    in_cone,
    independent_part,
    products,
    resolution_at,
    shells_of,
    transform,
    two_maps,
    with_random_phases,
    without_masks_share,
)

__all__ = ["FSC", "ConicalFSC", "conical_fsc", "fsc", "local_resolution"]

_RANDOM_BELOW = 0.8  # of the correlation without a mask: where phases become random
_DRAWS = 4  # of random phases, so that their own noise is half of the maps'
_OWN = 0x465343
_SMALLEST = 1e-300  # nm per voxel: of smaller ones the inverse may be infinite
_FEWEST = 8  # waves in a cone, of which one can say something
_MOST_DIRECTIONS = 10_000
_MIXED = 2  # shells from there on, that the mask mixes with those below


@dataclass(frozen=True, eq=False)
class FSC:
    """The Fourier shell correlation of two maps, shell by shell."""

    frequency: Curve
    """(m,), 1/nm, the middles of the shells."""
    fsc: Curve
    """(m,), of the maps under the mask, −1 to 1."""
    corrected: Curve
    """(m,), the same without what the mask alone gives; ``fsc`` where there is none."""
    waves: Curve
    """(m,), how many waves are independent, one of a mirrored pair."""
    unmasked: Curve
    """(m,), of the maps as they are."""
    randomised: Curve
    """(m,), of maps whose phases are random, under the mask; 0 without one, and in
    the shells below those."""

    def __post_init__(self) -> None:
        _freeze(self)

    def resolution(self, threshold: float = 0.143) -> float:
        """Return the period at which the corrected curve falls below a threshold.

        Parameters
        ----------
        threshold : float
            By custom 0.143 between two halves of the particles; 0.5 is stricter.

        Returns
        -------
        float
            In nm, interpolated, see `funpipe.space.shells.resolution_at`; infinity
            where the first shell is below.
        """
        at = _part("threshold", threshold)
        return resolution_at(self.frequency, self.corrected, at)

    def band(self, level: float = 0.95) -> tuple[Curve, Curve]:
        """Return between what curves the truth lies, shell by shell.

        Parameters
        ----------
        level : float
            How often it does, above 0 and below 1.

        Returns
        -------
        low, high : (m,) arrays
            Limits of the corrected curve: those of ``fsc`` for so many independent
            waves, by Fisher's transform (`funpipe.space.shells.fisher_band`),
            corrected as the curve is. Where it is, the share that is taken out has a
            noise of its own, as of four times the waves.
        """
        noisy = np.where(self.randomised != 0, 1 + 1 / _DRAWS, 1)
        limits = fisher_band(self.fsc, self.waves / noisy, _part("level", level))
        low, high = (without_masks_share(each, self.randomised) for each in limits)
        return low, high

    def resolution_range(
        self, threshold: float = 0.143, level: float = 0.95
    ) -> tuple[float, float]:
        """Return the resolutions of the band's two limits, the finer one first.

        Parameters
        ----------
        threshold, level : float
            See `resolution` and `band`.
        """
        at, (low, high) = _part("threshold", threshold), self.band(level)
        finest, coarsest = (
            resolution_at(self.frequency, each, at) for each in (high, low)
        )
        return finest, coarsest


@verb
def fsc(a: Any, b: Any, *, mask: Any = None, scale: float = 1.0, seed: int = 0) -> FSC:
    """Return how two maps correlate in each shell of Fourier space.

    Parameters
    ----------
    a, b : (z, y, x) arrays of one shape
        The maps, of halves of the particles say.
    mask : None, array, provider or converter, optional
        From 0 to 1, multiplied with both maps; a converter is applied to their mean.
        It makes maps alike by itself: the part of that is estimated and taken out.
    scale : float
        nm per voxel.
    seed : int
        Of the random phases, for that estimate.

    Returns
    -------
    FSC
        Its ``frequency``, ``fsc``, ``corrected`` and ``waves``, and methods
        ``resolution(threshold)`` and ``band(level)``.

    Raises
    ------
    TypeError, ValueError
        If the maps are not two of one shape, or the mask has another, is empty or
        holds what is not finite.

    Notes
    -----
    The formula is in `funpipe.space.shells.fourier_shell_correlation`. Under a mask,
    phases of both maps are made random from the shell on at which the maps without it
    correlate by less than 0.8, and the mask's share, that of those maps, is taken out
    (`funpipe.space.shells.without_masks_share`; S. Chen et al., Ultramicroscopy 135,
    24, 2013), two shells later, as RELION does: the mask mixes neighbouring shells.
    It is estimated from four draws of the phases.
    Where the curve never falls below 0.8, there is nothing to correct.

    How many waves are independent under a mask is said in
    `funpipe.space.shells.independent_part`.

    Examples
    --------
    >>> signal, *noise = np.random.default_rng(0).normal(size=(3, 16, 16, 16))
    >>> curve = fsc(signal + noise[0], signal + noise[1], scale=0.5)
    >>> curve.corrected.mean().round(1), curve.resolution(0.143)
    (np.float64(0.5), 1.0)
    """
    compared = _compared(a, b, mask, scale, seed)
    found, noise = compared.curves()
    return FSC(
        compared.shells.frequencies(compared.scale),
        found,
        without_masks_share(found, noise),
        compared.waves(),
        compared.unmasked,
        noise,
    )


@dataclass(frozen=True, eq=False)
class ConicalFSC:
    """The Fourier shell correlation of two maps by direction."""

    frequency: Curve
    """(m,), 1/nm, the middles of the shells."""
    directions: NDArray[np.float64]
    """(n, 3), z, y, x, of length 1, over half a sphere."""
    corrected: NDArray[np.float64]
    """(n, m), of the waves around each direction, corrected for the mask; where fewer
    than 8 are independent, as of all directions."""
    waves: NDArray[np.float64]
    """(n, m), how many of them are independent, one of a mirrored pair."""

    def __post_init__(self) -> None:
        _freeze(self)

    def resolutions(self, threshold: float = 0.5) -> NDArray[np.float64]:
        """Return the resolution along each direction, (n,), as `FSC.resolution`."""
        at = _part("threshold", threshold)
        found = [resolution_at(self.frequency, each, at) for each in self.corrected]
        return np.array(found)

    def anisotropy(self, threshold: float = 0.5) -> float:
        """Return how much the resolution differs by direction, 0 if not at all.

        It is the standard deviation over directions of the frequency that is resolved,
        over its mean. 0 also where no direction resolves any.

        Parameters
        ----------
        threshold : float
            See `FSC.resolution`.
        """
        frequencies = 1 / self.resolutions(threshold)
        return float(frequencies.std() / (frequencies.mean() or 1.0))


@verb
def conical_fsc(
    a: Any,
    b: Any,
    *,
    mask: Any = None,
    scale: float = 1.0,
    seed: int = 0,
    angle: float = 20.0,
    directions: int = 100,
) -> ConicalFSC:
    """Return how two maps correlate along directions, shell by shell.

    Parameters
    ----------
    a, b, mask, scale, seed
        See `fsc`.
    angle : float
        In degrees, 90 at the most: of a direction are the waves within it of the line
        along the direction. 20 is that of Y. Z. Tan et al., Nat. Methods 14, 793, 2017.
    directions : int
        How many, spread evenly over half a sphere.

    Returns
    -------
    ConicalFSC
        Its ``frequency``, ``directions`` and ``corrected``, and methods
        ``resolutions(threshold)`` and ``anisotropy(threshold)``.

    Raises
    ------
    TypeError, ValueError
        As of `fsc`, or if the angle is not above 0 and 90 at the most, or there is not
        one direction or more, 10,000 at the most.

    Notes
    -----
    Each direction is corrected for the mask by itself, as `fsc` does it.

    Examples
    --------
    >>> signal, *noise = np.random.default_rng(0).normal(size=(3, 16, 16, 16))
    >>> found = conical_fsc(signal + noise[0], signal + noise[1], directions=9)
    >>> found.corrected.shape, found.corrected.mean().round(1)
    ((9, 8), np.float64(0.5))
    """
    within = check.positive("angle", angle)
    if within > 90:
        fail("angle", "above 0 and 90 degrees at the most", angle)
    count = check.positive_integer("directions", directions)
    if count > _MOST_DIRECTIONS:
        fail("directions", f"{_MOST_DIRECTIONS} at the most", directions)
    compared = _compared(a, b, mask, scale, seed)
    of_all = without_masks_share(*compared.curves())
    lines = hemisphere(count)
    vectors = fourier_vectors(compared.shape, 1.0)
    corrected, waves = np.zeros((2, count, len(of_all)))
    for i, line in enumerate(lines):
        cone = in_cone(vectors, line, within)
        waves[i] = compared.waves(cone)
        curve = without_masks_share(*compared.curves(cone))
        corrected[i] = np.where(waves[i] >= _FEWEST, curve, of_all)
    frequency = compared.shells.frequencies(compared.scale)
    return ConicalFSC(frequency, lines, corrected, waves)


@verb
def local_resolution(
    a: Any,
    b: Any,
    *,
    mask: Any = None,
    scale: float = 1.0,
    window: float | None = None,
    threshold: float = 0.5,
) -> Image:
    """Return up to which period two maps agree around each voxel.

    Parameters
    ----------
    a, b : (z, y, x) arrays of one shape
        The maps, of halves of the particles say, without a mask.
    mask : None, array, provider or converter, optional
        Where it is 0 nothing is said; it is not multiplied with the maps.
    scale : float
        nm per voxel.
    window : float, optional
        In nm, the width of the window in which maps are compared, a Gaussian, at half
        its height; by default a quarter of the shortest side. Periods beyond it are
        not looked at, and within it the resolution is one.
    threshold : float
        Of the local correlation. There are few waves in a window: lower ones than 0.5
        are often exceeded by chance.

    Returns
    -------
    (z, y, x) array of float32
        In nm, from twice the scale, or just above, to the window's width; 0 outside
        the mask.

    Raises
    ------
    TypeError, ValueError
        As of `fsc`, or if the window is not from 2 voxels to the longest side, or the
        threshold not above 0 and below 1.

    Notes
    -----
    As the correlation of shells in a box that slides over the maps (G. Cardone,
    J. B. Heymann and A. C. Steven, J. Struct. Biol. 184, 226, 2013), with bands of the
    maps in place of shells, and a soft window: see
    `funpipe.space.local_shells.local_frequencies`.

    Examples
    --------
    >>> signal, noise = np.random.default_rng(0).normal(size=(2, 32, 32, 32))
    >>> noise[:16] = 0
    >>> found = local_resolution(signal, signal + 4 * noise, scale=0.5, window=3)
    >>> np.median(found[4:12]), np.median(found[20:28])
    (np.float32(1.0), np.float32(3.0))
    """
    first, second = two_maps(*_apart(a, b))
    scale = check.positive("scale", scale)
    longest = max(first.shape)
    width = check.optional_positive("window", window)
    width = max(min(first.shape) / 4, 2.0) if width is None else width / scale
    if not 2 - 1e-9 <= width <= longest + 1e-9:
        most = longest * scale
        fail("window", f"from {2 * scale:g} nm, 2 voxels, to {most:g} nm", window)
    at = _part("threshold", threshold)
    found = scale / local_frequencies(first, second, width, at)
    if mask is not None:
        found[_mask(mask, first, second, scale) == 0] = 0
    return np.asarray(found, np.float32)


# What is compared.


class _Compared(NamedTuple):
    """Two maps under a mask, and others with random phases."""

    maps: Products
    shape: tuple[int, ...]
    scale: float
    shells: Shells
    unmasked: Curve
    """The correlation without the mask."""
    random: Products | None = None
    """Sums over maps with random phases; None where there is nothing to correct."""
    first: int = 0
    """The first shell that is corrected by them."""
    part: float = 1.0
    """Of the waves that are independent under the mask."""

    def curves(self, weights: Any = 1.0) -> tuple[Curve, Curve]:
        """Return the correlation of waves, and that which is the mask's, or 0."""
        found = correlation(self.maps, self.shells, weights)
        if self.random is None:
            return found, np.zeros_like(found)
        noise = correlation(self.random, self.shells, weights)
        noise[: self.first - 1] = 0
        return found, noise

    def waves(self, weights: Any = 1.0) -> Curve:
        """Return how many waves of each shell are independent."""
        return self.part * self.shells.sums(weights) / 2


def _compared(a: Any, b: Any, mask: Any, scale: Any, seed: Any) -> _Compared:
    first, second = two_maps(*_apart(a, b))
    voxel = check.positive("scale", scale)
    if voxel < _SMALLEST:
        fail("scale", f"{_SMALLEST:g} nm or more", scale)
    # No maps that a user simulates from the same seed have these numbers in them.
    random = np.random.default_rng([check.whole_number("seed", seed), _OWN])
    shape, shells = first.shape, shells_of(first.shape)
    F, G = transform(first), transform(second)
    of_maps = products(F, G)
    plain = correlation(of_maps, shells)
    if mask is None:
        return _Compared(of_maps, shape, voxel, shells, plain)
    under = _mask(mask, first, second, voxel).astype(np.float64)
    part = independent_part(under, shells)
    of_maps = products(transform(under * first), transform(under * second))
    found = _Compared(of_maps, shape, voxel, shells, plain, part=part)
    fallen = np.flatnonzero(plain < _RANDOM_BELOW)
    if len(fallen) == 0:
        return found
    start = int(fallen[0]) + 1
    sums: Products | None = None
    for _ in range(_DRAWS):
        mixed = (
            with_random_phases(each, start, shells, random.normal(size=shape))
            for each in (F, G)
        )
        one, other = (scipy.fft.irfftn(each, s=shape) for each in mixed)
        drawn = products(transform(under * one), transform(under * other))
        sums = drawn if sums is None else sums.plus(drawn)
    return found._replace(random=sums, first=start + _MIXED)


def _apart(a: Any, b: Any) -> tuple[Any, Any]:
    for name, value in (("a", a), ("b", b)):
        if isinstance(value, Halves):
            fail(name, "one map", value, "write fsc(pair.first, pair.second)")
    return a, b


def _mask(mask: Any, first: Image, second: Image, scale: float) -> Image:
    return mask_for(mask, first / np.float32(2) + second / np.float32(2), scale)


def _part(name: str, value: Any) -> float:
    found = check.positive(name, value)
    if found >= 1:
        fail(name, "above 0 and below 1", value)
    return found


def _freeze(record: Any) -> None:
    for each in fields(record):
        getattr(record, each.name).flags.writeable = False
