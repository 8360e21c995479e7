"""Shells of Fourier space: how far two maps agree, frequency by frequency."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.base import arguments as check
from funpipe.base.arguments import Image
from funpipe.base.wording import fail
from funpipe.space.fourier import fourier_vectors

__all__ = [
    "Curve",
    "Products",
    "Shells",
    "correlation",
    "fisher_band",
    "fourier_shell_correlation",
    "hemisphere",
    "in_cone",
    "independent_part",
    "products",
    "resolution_at",
    "shells_of",
    "transform",
    "two_maps",
    "with_random_phases",
    "without_masks_share",
]

Curve = NDArray[np.float64]


def fourier_shell_correlation(a: Any, b: Any, scale: float) -> tuple[Curve, Curve]:
    """Return how two maps correlate in each shell of Fourier space.

    With F and G their Fourier transforms, it is in each shell

        Re Σ F conj(G) / √(Σ |F|² · Σ |G|²)

    (G. Harauz and M. van Heel, Optik 73, 146, 1986). Where the maps are one signal
    and two independent noises, SNR / (1 + SNR) is expected, with SNR the ratio of
    the signal's power to that of one noise in the shell.

    Parameters
    ----------
    a, b : (z, y, x) arrays of one shape
        The maps.
    scale : float
        nm per voxel.

    Returns
    -------
    frequency : (m,) array
        Middles of the shells in 1/nm, one period per longest side of the box apart,
        from that on to Nyquist's frequency.
    fsc : (m,) array
        The correlations, −1 to 1; 0 where a map has nothing in a shell.

    Raises
    ------
    TypeError, ValueError
        If they are not two 3-D arrays of finite numbers and one shape, of 2 voxels
        or more along the longest side.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(size=(2, 16, 16, 16))
    >>> frequency, fsc = fourier_shell_correlation(noise[0], noise.sum(0), 0.5)
    >>> frequency[[0, -1]], np.round(fsc.mean(), 1)
    (array([0.125, 1.   ]), np.float64(0.7))
    """
    first, second = two_maps(a, b)
    scale = check.positive("scale", scale)
    shells = shells_of(first.shape)
    fsc = correlation(products(transform(first), transform(second)), shells)
    return shells.frequencies(scale), fsc


def two_maps(a: Any, b: Any) -> tuple[Image, Image]:
    """Return two maps that can be compared, as `fourier_shell_correlation` says."""
    first, second = check.image("a", a), check.image("b", b)
    if first.shape != second.shape:
        raise ValueError(
            f"b must have the shape of a, {first.shape}, not {second.shape}"
        )
    if max(first.shape) < 2:
        fail("a", "2 voxels or more along its longest side", first)
    return first, second


class Shells(NamedTuple):
    """Which shell each wave of ``rfftn`` lies in."""

    number: NDArray[np.intp]
    """(z, y, x // 2 + 1), from 0, the constant wave."""
    mates: NDArray[np.float64]
    """Likewise, how many waves of the whole transform it stands for: 2, but 1 where
    rfftn leaves out none."""
    longest: int
    """Voxels along the longest side."""

    @property
    def last(self) -> int:
        """The number of the last one, at Nyquist's frequency or just below."""
        return self.longest // 2

    def frequencies(self, scale: float) -> Curve:
        """Return their middles, 1/nm."""
        with np.errstate(over="ignore"):  # infinite at scales that are nearly 0
            return np.arange(1, self.last + 1) / (self.longest * scale)

    def sums(self, values: Any) -> Curve:
        """Return sums over the whole transform of values that mates share."""
        weighted = (self.mates * values).ravel()
        found = np.bincount(self.number.ravel(), weighted, self.last + 1)
        return np.asarray(found[1 : self.last + 1], np.float64)

    def waves(self) -> Curve:
        """Return how many waves each has, one of a mirrored pair."""
        return self.sums(1.0) / 2


def shells_of(shape: tuple[int, ...]) -> Shells:
    """Return the shells of a box, one period per longest side apart.

    Examples
    --------
    >>> shells_of((5, 5, 5)).waves()
    array([ 9., 31.])
    """
    longest = max(shape)
    length = np.sqrt((fourier_vectors(shape, 1 / longest) ** 2).sum(axis=0))
    number = np.ceil(length - 0.5 - 1e-9).astype(int)  # the nearest, the lower of two
    # rfftn leaves out one of each mirrored pair, save in its first and last planes.
    mates = np.full(length.shape, 2.0)
    mates[..., [0, -1] if shape[2] % 2 == 0 else [0]] = 1
    return Shells(number, mates, longest)


def transform(image: Any) -> NDArray[np.complex128]:
    """Return the waves k_x ≥ 0 of an image."""
    return scipy.fft.rfftn(np.asarray(image, np.float64))


class Products(NamedTuple):
    """Products of two maps' transforms, wave by wave, each (z, y, x // 2 + 1)."""

    cross: NDArray[np.float64]
    """Re F conj(G)."""
    power: NDArray[np.float64]
    """|F|²."""
    other: NDArray[np.float64]
    """|G|²."""

    def plus(self, more: Products) -> Products:
        """Return the sums of these and more, wave by wave."""
        return Products(*map(np.add, self, more))


def products(F: Any, G: Any) -> Products:
    """Return the products of two transforms."""
    return Products((F * G.conj()).real, abs(F) ** 2, abs(G) ** 2)


def correlation(of: Products, shells: Shells, weights: Any = 1.0) -> Curve:
    """Return the correlation in each shell, −1 to 1; 0 where a map has nothing.

    Weights, each wave's own, are 1 by default.
    """
    cross, power, other = (shells.sums(weights * each) for each in of)
    both = np.sqrt(power) * np.sqrt(other)
    fsc = np.divide(cross, both, out=np.zeros_like(cross), where=both > 0)
    return np.clip(fsc, -1, 1)


def with_random_phases(F: Any, first: int, shells: Shells, noise: Any) -> Any:
    """Return a transform whose phases from a shell on are those of noise.

    Parameters
    ----------
    F : (z, y, x // 2 + 1) array
        The transform of a map.
    first : int
        The first shell of random phases, 1 or more.
    shells : Shells
        Its shells.
    noise : (z, y, x) array
        Real noise, whose phases are as mirrored waves must have them.
    """
    phases = transform(noise)
    phases /= np.maximum(abs(phases), np.finfo(float).tiny)
    return np.where(shells.number >= first, abs(F) * phases, F)


def without_masks_share(fsc: Any, randomised: Any) -> Curve:
    """Return what of a correlation under a mask is not the mask's.

    With F_n the correlation of maps whose phases are random, and F_t that of the maps,
    both under the mask, it is

        (F_t − F_n) / (1 − F_n)

    (S. Chen et al., Ultramicroscopy 135, 24, 2013), and 0 where the mask says all.

    Parameters
    ----------
    fsc, randomised : (m,) arrays
        F_t and F_n; 0 where nothing is to be taken out.

    Examples
    --------
    >>> without_masks_share([0.9, 0.5, 0.2], [0.0, 0.2, 0.2])
    array([0.9  , 0.375, 0.   ])
    """
    masked, noise = np.asarray(fsc, float), np.asarray(randomised, float)
    left = 1 - noise
    found = np.zeros_like(masked)
    np.divide(masked - noise, left, out=found, where=left > 1e-6)
    return np.clip(found, -1, 1)


def independent_part(mask: Any, shells: Shells) -> float:
    """Return which part of a shell's waves is independent under a mask.

    Waves of white noise under a mask m, q apart, have the covariance M(q), the
    transform of m². N waves count as N² / Σ Σ |M(k − k') / M(0)|² independent ones,
    both sums over the shell. Of the waves around one in it, those at q are in it, on
    the average over directions, as often as 1 − q/2, or 1 / (2q) beyond 1, with q in
    periods per longest side, for a shell that is flat as far as M reaches. So it is

        1 / Σ |M(q) / M(0)|² · min(1 − q/2, 1 / (2q))

    Parameters
    ----------
    mask : (z, y, x) array
        From 0 to 1, not 0 everywhere.
    shells : Shells
        The shells of its box.

    Examples
    --------
    >>> mask = np.zeros((8, 8, 8)); mask[2:6] = 1
    >>> independent_part(np.ones((8, 8, 8)), shells_of(mask.shape))
    1.0
    >>> round(independent_part(mask, shells_of(mask.shape)), 2)
    0.69
    """
    squares = transform(np.asarray(mask, np.float64) ** 2)
    power = (abs(squares) / squares[0, 0, 0].real) ** 2
    q = np.sqrt((fourier_vectors(np.shape(mask), 1 / shells.longest) ** 2).sum(axis=0))
    inside = np.where(q <= 1, 1 - q / 2, 1 / (2 * np.maximum(q, 1)))
    return 1 / float((shells.mates * power * inside).sum())


def fisher_band(fsc: Any, waves: Any, level: float) -> tuple[Curve, Curve]:
    """Return between what values correlations lie, that were measured in some waves.

    The real parts and the imaginary ones of n independent waves are 2n pairs of
    numbers, of mean 0. The inverse hyperbolic tangent of their correlation is nearly
    normal, of standard deviation 1 / √(2n − 2) (R. A. Fisher, Metron 1, 3, 1921, with
    one more pair as the means are known).

    Parameters
    ----------
    fsc, waves : (m,) arrays
        The correlations, and n of each.
    level : float
        How often the truth lies between them, 0 to 1.

    Examples
    --------
    >>> low, high = fisher_band([0.5, 0.5], [1.0, 101.0], 0.95)
    >>> low.round(2), high.round(2)
    (array([-1.  ,  0.39]), array([1. , 0.6]))
    """
    pairs = np.maximum(2 * np.asarray(waves, float) - 2, 0)
    width = np.full_like(pairs, math.inf)
    np.divide(
        scipy.special.ndtri((1 + level) / 2), np.sqrt(pairs), width, where=pairs > 0
    )
    middle = np.arctanh(np.clip(fsc, -1 + 1e-15, 1 - 1e-15))
    return np.tanh(middle - width), np.tanh(middle + width)


def hemisphere(count: int) -> NDArray[np.float64]:
    """Return directions spread evenly over half a sphere, (count, 3), z, y, x.

    Along z they are evenly apart, about z by the golden angle.

    Examples
    --------
    >>> hemisphere(2).round(2)
    array([[ 0.75,  0.  ,  0.66],
           [ 0.25,  0.65, -0.71]])
    """
    z = 1 - (np.arange(count) + 0.5) / count
    about = np.arange(count) * math.pi * (3 - math.sqrt(5))
    across = np.sqrt(1 - z**2)
    return np.column_stack([z, across * np.sin(about), across * np.cos(about)])


def in_cone(vectors: Any, direction: Any, angle: float) -> NDArray[np.bool_]:
    """Tell which vectors lie within an angle of a line; the one of no length does.

    Parameters
    ----------
    vectors : (3, ...) array
        The vectors, z, y, x.
    direction : (3,) array
        Along the line, of length 1.
    angle : float
        In degrees.
    """
    along = np.abs(np.tensordot(direction, vectors, axes=1))
    length = np.sqrt((vectors**2).sum(axis=0))
    return np.asarray(along >= length * (math.cos(math.radians(angle)) - 1e-12))


def resolution_at(frequency: Any, fsc: Any, threshold: float = 0.143) -> float:
    """Return the period at which a curve of shells first falls below a threshold.

    Parameters
    ----------
    frequency, fsc : (m,) arrays
        See `fourier_shell_correlation`.
    threshold : float
        By custom 0.143 between two halves of the particles, 0.5 between a map of
        all of them and the truth (P. B. Rosenthal and R. Henderson, J. Mol. Biol.
        333, 721, 2003).

    Returns
    -------
    float
        In nm, linearly interpolated in the frequency; infinity where the first shell
        is below the threshold, the last shell's period where none is.

    Examples
    --------
    >>> resolution_at([0.1, 0.2, 0.3, 0.4], [1.0, 0.9, 0.1, 0.2], threshold=0.5)
    4.0
    """
    frequencies, correlations = np.asarray(frequency), np.asarray(fsc)
    below = np.flatnonzero(correlations < threshold)
    if len(below) == 0:
        return float(1 / frequencies[-1])
    if below[0] == 0:
        return math.inf
    around = [below[0], below[0] - 1]  # numpy.interp wants rising values
    where = np.interp(threshold, correlations[around], frequencies[around])
    return float(1 / where)
