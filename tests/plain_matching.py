"""Matching subtomograms to templates: arrays in, arrays out.

A subtomogram in its particle's frame is modelled as

    F(k) = a · T_R(k) · exp(−2πi k·t) · W(k) + noise,

with T_R the masked template turned by R, t the shift and W what the tilt series
measured. For white noise the best pose maximises

    score(R, t) = Re Σ W conj(T_R) F exp(2πi k·t) / √(Σ W |T_R|² · Σ W |F|²)

over the frequencies k inside the resolution limit, k = 0 left out.

Here the sums are taken one particle, one template and one rotation at a time, for
all whole-voxel shifts of the window by an inverse Fourier transform; from the best
of them t goes on to the nearest maximum between the voxels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.space.fourier import fourier_vectors, resample
from funpipe.space.geometry import centre, turned_grid
from funpipe.space.tilts import Tilt

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = ["Match", "masked", "match", "template_bank", "turned"]

Array: TypeAlias = NDArray[Any]
Window: TypeAlias = tuple[float, float, float]


class Match(NamedTuple):
    """The best pose of each of n boxes, among m templates and r rotations."""

    rotations: NDArray[np.int64]
    """(n,), which of the rotations."""
    shifts: NDArray[np.float64]
    """(n, 3), voxels, z, y, x."""
    scores: NDArray[np.float64]
    """(n,), from −1 to 1."""
    templates: NDArray[np.int64]
    """(n,), which of the templates."""


def template_bank(templates: Array, rotations: Rotation) -> Array:
    """Return the Fourier transforms of templates at all rotations.

    Parameters
    ----------
    templates : (m, z, y, x) array
        The templates, masked.
    rotations : Rotation
        r rotations.

    Returns
    -------
    (m, r, z, y, x // 2 + 1) array of complex64
        T_R, as ``scipy.fft.rfftn`` lays it out.
    """
    return np.array(
        [
            [scipy.fft.rfftn(image) for image in turned(template, rotations)]
            for template in templates
        ]
    )


def match(
    boxes: Array,
    orientations: Rotation,
    *,
    bank: Array,
    window: Window,
    tilt: Tilt,
    finest: float,
) -> Match:
    """Find the best pose of each box.

    Parameters
    ----------
    boxes : (n, z, y, x) array
        The subtomograms, each in its particle's frame.
    orientations : Rotation
        n rotations from the particles' frames to the tomogram's.
    bank : (m, r, z, y, x // 2 + 1) array
        The templates at the rotations to try, from `template_bank`.
    window : (float, float, float)
        The largest shift along z, y, x, in voxels.
    tilt : callable
        Weight of frequency vectors (3, ...) in the tomogram's frame.
    finest : float
        The finest period that counts, in voxels.

    Returns
    -------
    Match
        For box i: template point q lies at ``R @ (q − c) + c + t``.
    """
    shape = boxes.shape[1:]
    k = fourier_vectors(shape, 1.0)
    counted = _counted(k, finest)
    best = [
        _match_one(box, bank, k, counted * tilt(_turned_vectors(k, each)), window)
        for box, each in zip(boxes, orientations, strict=True)
    ]
    rotation, shift, score, template = zip(*best, strict=True)
    return Match(
        np.array(rotation), np.array(shift), np.array(score), np.array(template)
    )


def masked(template: Array, mask: Array) -> Array:
    """Return the template under its mask, with a mean of 0 there.

    Without that the mask's own outline would be matched.
    """
    mean = float((template * mask).sum() / mask.sum())
    return (template - np.float32(mean)) * mask


def turned(template: Array, rotations: Rotation) -> Iterator[Array]:
    """Yield a template at each rotation about its centre, from twice the sampling."""
    margin = 12  # voxels, in which a cubic spline's coefficients die away to 1e-7
    fine = np.pad(resample(template, 1.0, 0.5), margin)
    spline = scipy.ndimage.spline_filter(fine, order=3)
    middle = centre(fine.shape).reshape(3, 1, 1, 1)
    for rotation in rotations:
        where = turned_grid(template.shape, rotation.inv(), 2.0) + middle
        yield scipy.ndimage.map_coordinates(
            spline,
            where,
            np.float32,
            order=3,
            mode="grid-constant",
            prefilter=False,
        )


def _counted(k: Array, finest: float) -> Array:
    """Return how often each wave of the half space counts: 2 with its mirror, or 0."""
    length = np.sqrt((k**2).sum(axis=0))
    inside = (length > 0) & (length <= 1 / finest) & (length < 0.5)
    twice = np.where(k[2] > 0, 2, 1)
    return inside * twice


def _turned_vectors(k: Array, orientation: Rotation) -> Array:
    return np.tensordot(orientation.as_matrix(), k, axes=1)


def _match_one(
    box: Array, bank: Array, k: Array, weight: Array, window: Window
) -> tuple[int, Array, float, int]:
    F = scipy.fft.rfftn(box)
    power = float((weight * np.abs(F) ** 2).sum())
    best: tuple[int, Array, float, int] = (0, np.zeros(3), -np.inf, 0)
    for m, turned_templates in enumerate(bank):
        for r, T in enumerate(turned_templates):
            products = _normalised(T, F, weight, power)
            shift, score = _best_voxel(products, box.shape, window)
            if score > best[2]:
                best = (r, shift, score, m)
    r, shift, _, m = best
    products = _normalised(bank[m][r], F, weight, power)
    shift, score = _climb(products, k, shift, window)
    return r, shift, score, m


def _normalised(T: Array, F: Array, weight: Array, power: float) -> Array:
    """Return the terms of the score at zero shift."""
    norm = np.sqrt(float((weight * np.abs(T) ** 2).sum()) * power)
    return weight * T.conj() * F / (norm or 1.0)


def _best_voxel(
    products: Array, shape: tuple[int, ...], window: Window
) -> tuple[Array, float]:
    """Return the whole-voxel shift of the window with the highest score."""
    # Waves beside their mirror images are already counted twice; irfftn would double
    # them again.
    halved = products / np.where(np.arange(products.shape[2]) > 0, 2, 1)
    scores = scipy.fft.irfftn(halved, s=shape, norm="forward")
    reach = [int(each) for each in window]
    axes = [np.arange(-each, each + 1) for each in reach]
    inside = scores[np.ix_(*(axis % n for axis, n in zip(axes, shape, strict=True)))]
    peak = np.unravel_index(np.argmax(inside), inside.shape)
    return np.subtract(peak, reach).astype(float), float(inside[peak])


def _climb(
    products: Array, k: Array, shift: Array, window: Window
) -> tuple[Array, float]:
    """Go from a whole-voxel shift to the maximum beside it, inside the window."""
    used = products != 0
    waves, amplitude = 2 * np.pi * k[:, used], products[used]

    def loss(t: Array) -> tuple[float, Array]:
        turned = amplitude * np.exp(1j * (t @ waves))
        return -float(turned.real.sum()), waves @ turned.imag

    bounds = [
        (max(-limit, t - 1), min(limit, t + 1))
        for t, limit in zip(shift, window, strict=True)
    ]
    found = scipy.optimize.minimize(
        loss, shift, jac=True, method="L-BFGS-B", bounds=bounds
    )
    return found.x, -float(found.fun)
