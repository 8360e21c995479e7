"""What is searched for to learn what chance finds: templates that nothing there is of.

The best is the template's mirror image: as strong at each |k| and each radius, as free
to turn, and as like as the template to all whose hand has nothing to do with it, noise
or other molecules. Only it must not be like the template, as that of a symmetric
molecule is, which seen coarsely has no hand.

Then it is noise which has the template's mean at each radius, and about it the
template's mean square at each |k| and radius; only phases are those of noise. So it is
as like other molecules of the template's size as the template is, nearly. And it takes
as many functions as the template: noise without that mean takes a quarter of them, and
finds less by chance.

Both fit particles too, as any of their size fit each other. What noise alone finds is
learnt in noise: the tomogram's own waves with other phases (as in J. Theiler et al.,
Physica D 58, 77, 1992, of time series).
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.space.fourier import fourier_vectors
from funpipe.space.geometry import radius, rotate_image
from funpipe.space.symmetry import symmetry_group

__all__ = ["mirrored", "noise_like", "phases_randomised"]

Array: TypeAlias = NDArray[Any]


def mirrored(templates: Array) -> NDArray[np.float32]:
    """Return templates of the other hand, (m, z, y, x): at −q what was at q."""
    return np.ascontiguousarray(templates[:, ::-1, ::-1, ::-1], np.float32)


def noise_like(
    templates: Array, symmetry: str = "C1", seed: int = 0
) -> NDArray[np.float32]:
    """Return noise that is as templates are, shell by shell, (m, z, y, x).

    About the template's mean at each distance from the centre, white noise is brought
    in turn to what the template has about it, its mean square at each |k| and at each
    distance.

    Parameters
    ----------
    templates : (m, z, y, x) array
        Masked.
    symmetry : str
        The templates', which it has too: else it would fit in more ways than they do.
    seed : int
        Of the phases.
    """
    random = np.random.default_rng(seed)
    return np.stack([_like(each, symmetry, random) for each in templates])


def phases_randomised(image: Array, seed: Any) -> NDArray[np.float32]:
    """Return noise that has an image's power at each wave, (z, y, x).

    Parameters
    ----------
    image : (z, y, x) array
        A tomogram, or a tile of one.
    seed : int or sequence of int
        Of the phases.

    Examples
    --------
    >>> image = np.zeros((8, 8, 8))
    >>> image[4, 4, 4] = 8
    >>> noise = phases_randomised(image, 1)
    >>> (noise.shape, np.square(noise).sum().round(3), (noise.max() < 4).item())
    ((8, 8, 8), np.float32(64.0), True)
    """
    random = np.random.default_rng(seed)
    white = scipy.fft.rfftn(random.standard_normal(image.shape, np.float32))
    white *= np.abs(scipy.fft.rfftn(image)) / np.maximum(np.abs(white), 1e-30)
    return np.asarray(scipy.fft.irfftn(white, s=image.shape), np.float32)


_ROUNDS = 20  # after which neither changes by 1 %


def _like(
    template: Array, symmetry: str, random: np.random.Generator
) -> NDArray[np.float32]:
    shape = template.shape
    k = np.sqrt(np.square(fourier_vectors(shape, 1 / max(shape))).sum(axis=0))
    shells, balls = np.rint(k).astype(int), np.rint(radius(shape)).astype(int)
    mean = _mean(template, balls)[balls]
    power = _mean_square(scipy.fft.rfftn(template - mean), shells)
    square = _mean_square(template - mean, balls)
    white = random.standard_normal(shape)
    found = sum(rotate_image(white, each) for each in symmetry_group(symmetry))
    for _ in range(_ROUNDS):
        F = scipy.fft.rfftn(found)
        F *= np.sqrt(power / np.maximum(_mean_square(F, shells), 1e-30))[shells]
        found = scipy.fft.irfftn(F, s=shape)
        found -= _mean(found, balls)[balls]
        found *= np.sqrt(square / np.maximum(_mean_square(found, balls), 1e-30))[balls]
    return (mean + found).astype(np.float32)


def _mean_square(values: Array, number: Array) -> NDArray[np.float64]:
    """Return the mean of |values|² of each number."""
    return _mean(np.square(np.abs(values)), number)


def _mean(values: Array, number: Array) -> NDArray[np.float64]:
    flat = number.ravel()
    return np.bincount(flat, values.ravel()) / np.maximum(np.bincount(flat), 1)
