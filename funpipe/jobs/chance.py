"""What is searched for to learn what chance finds: templates that nothing there is of.

A template's mirror image turns into no pose of the template, and is like everything
else there as much as the template is: noise, gold, membranes, and other molecules, of
which no hand is preferred. But where it is the template's own image nearly, as of one
that is symmetric or seen by few waves, it finds its particles too. With n numbers in a
crop a particle that scores s has the score ρ s by the best pose of the mirror image, of
correlation ρ with the template, and the difference s (1 − ρ) is

    d = s √((1 − ρ) n / 2)

standard deviations, √(2 (1 − ρ) / n). Where that is less than one there is noise in its
place, which has the template's mean at each radius, and about that its mean square at
each |k| and radius; only phases are those of noise. It is not as like other molecules
as they are like each other.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.engine.basis import likeness
from funpipe.jobs.sweeping import Found, LookedFor
from funpipe.space.fourier import fourier_vectors
from funpipe.space.geometry import radius, rotate_image
from funpipe.space.symmetry import symmetry_group

__all__ = ["mirrored", "noise_like", "null_templates", "told_apart"]

Array: TypeAlias = NDArray[Any]

_HIGHEST = 10  # peaks, of which some are particles
_APART = 1.0  # standard deviations


def null_templates(
    looked: LookedFor, found: list[Found], symmetry: str, background: str | None
) -> NDArray[np.float32]:
    """Return what is searched for in place of templates, after their own peaks.

    No mirror image where scores are corrected by that.
    """
    if background == "mirrored":
        return noise_like(looked.templates, symmetry)
    other = mirrored(looked.templates)
    scores = np.concatenate([each.scores for each in found])
    score = float(np.mean(np.sort(scores)[-_HIGHEST:])) if len(scores) else 0.0
    like = likeness(looked.templates, other, looked.grid, looked.finest, looked.support)
    apart = told_apart(score, like, found[0].numbers)
    return other if apart >= _APART else noise_like(looked.templates, symmetry)


def told_apart(score: float, like: float, numbers: float) -> float:
    """Return d, at the top.

    Examples
    --------
    >>> round(told_apart(0.5, 0.93, 240.0), 2), round(told_apart(0.5, 0.998, 240.0), 2)
    (1.45, 0.24)
    """
    return score * math.sqrt(max(0.0, 1 - like) * numbers / 2)


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
