"""Subtomograms as cut along a tomogram's axes, and their Fourier transforms.

No crop is turned in real space. With x the voxels of a crop f and c + o where its
particle is, the voxel lies at u = Rᵀ (x − c − o) in the particle's frame, R the turn
from there to the crop's axes, and what is wanted at frequencies k of that frame is

    F(k) = Σ_x w (f(x) − b) exp(−2πi k·u),     b = Σ w (1 − w) f / Σ w (1 − w),

with k·u = (R k)·(x − c − o): the crop's own transform at R k, by the grid and the
gather of `funpipe.space.spectra`. Only half of the grid is evaluated, f being real.

The window w is what of a subtomogram counts, see `Support`. It is soft, so that its
edge adds little to high frequencies, and the level b at its edge is taken off, as it
is of a template at the edge of its mask: w (1 − w) goes as |∇w|². Of an isolated
particle nothing is taken off then, wherever in its window it lies.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.space.fourier import half_ball
from funpipe.space.geometry import centre, offsets, radius
from funpipe.space.precision import normalised
from funpipe.space.spectra import fine_grid, quadrants, roll_off, sample_each

__all__ = [
    "Crops",
    "Support",
    "boxes_of",
    "crop_shape",
    "lattice",
    "lattice_power",
    "reach_of_template",
    "spectra",
    "support_of",
    "whole_box",
    "whole_boxes",
    "window_power",
    "windows_of",
]

Array: TypeAlias = NDArray[Any]

_EDGE = 2.0  # voxels of the ball's soft edge
_OFFSET = 1.0  # voxels, more than particles lie from their crops' centres
_FINENESS = 2.25  # of the grid, see `funpipe.space.spectra` for the error
_BULK = 0.3  # of a template's largest value
_BEYOND = 1e-4  # of a template's Σ t², what may lie further out than it reaches
_TOGETHER = 2**18  # voxels of crops that are worked on at a time, in the cache
_STILL = 1e-12  # of a matrix: what double precision leaves of no turn


class Crops(NamedTuple):
    """Subtomograms as cut, along the tomogram's axes, each with its particle's pose."""

    values: NDArray[np.float32]
    """(n, z, y, x), each of a level and a scale of its own."""
    offsets: NDArray[np.float64]
    """(n, 3), voxels: where the particle is, from the crop's centre (n − 1) / 2."""
    turns: NDArray[np.float64]
    """(n, 3, 3), from the particle's frame to the crop's axes, on zyx vectors."""

    def take(self, chosen: Any) -> Crops:
        """Return some of them."""
        return Crops(*(each[chosen] for each in self))

    @staticmethod
    def concat(several: Sequence[Crops]) -> Crops:
        """Return several in a row, of one shape."""
        return Crops(*map(np.concatenate, zip(*several, strict=True)))


class Support(NamedTuple):
    """What of a subtomogram counts, and the lattice of waves that describes it."""

    periods: tuple[float, float, float]
    """Voxels along z, y, x of the particle's frame: waves are whole multiples of
    1 / period."""
    radius: float
    """Of a ball about the particle, voxels, which counts in full; its edge is beyond.
    Infinite where the whole box counts."""
    box: tuple[int, int, int]
    """Voxels of the template's box."""
    bulk: int = 0
    """How many voxels of the template are more than 0.3 of its largest: what is taken
    for an outlier in a tomogram has fewer."""


def support_of(templates: Array, window: tuple[float, float, float]) -> Support:
    """Return what of a subtomogram matters to templates.

    Parameters
    ----------
    templates : (m, z, y, x) array
        The templates, masked.
    window : (float, float, float)
        The largest shifts along z, y, x, in voxels.

    Returns
    -------
    Support
        The ball that all templates stay in, wherever they are turned and shifted; the
        whole box where the box does not hold what they reach. Waves are no further
        apart than those of the box, which what is beyond it can do little to: it is
        seen only by templates that are shifted as far as may be.

    Examples
    --------
    >>> template = np.zeros((1, 32, 32, 32)); template[0, 16, 16, 9:23] = 1
    >>> round(support_of(template, (1.0, 1.0, 1.0)).radius, 2)
    8.27
    >>> support_of(np.ones((1, 8, 8, 8)), (1.0, 1.0, 1.0))
    Support(periods=(8.0, 8.0, 8.0), radius=inf, box=(8, 8, 8), bulk=512)
    """
    z, y, x = templates.shape[1:]
    reach = max(reach_of_template(each) for each in templates)
    largest = np.abs(templates).max(axis=(1, 2, 3), keepdims=True)
    bulk = int((np.abs(templates) > _BULK * largest).sum(axis=(1, 2, 3)).min())
    if reach + max(window) > min(z, y, x) / 2:
        return whole_box((z, y, x))._replace(bulk=bulk)
    inside = reach + math.hypot(*window)
    around = min(2.0 * (inside + _EDGE), float(min(z, y, x)))
    return Support((around, around, around), inside, (z, y, x), bulk)


def whole_box(box: tuple[int, ...]) -> Support:
    """Return the support of boxes that count as they are, with all that is in them."""
    z, y, x = box
    return Support((float(z), float(y), float(x)), math.inf, (z, y, x))


def reach_of_template(template: Array) -> float:
    """Return the radius, in voxels, of the ball that a template fills."""
    distance = radius(template.shape).ravel()
    order = np.argsort(-distance)
    beyond = np.cumsum(np.square(template.ravel()[order], dtype=np.float64))
    within = min(np.searchsorted(beyond, _BEYOND * beyond[-1]), len(order) - 1)
    return float(distance[order[within]])


def whole_boxes(boxes: Array) -> Crops:
    """Return boxes that are in their particles' frames, of any level and scale."""
    n = len(boxes)
    turns = np.broadcast_to(np.eye(3), (n, 3, 3))
    return Crops(normalised(boxes), np.zeros((n, 3)), turns)


def crop_shape(support: Support, turns: Array) -> tuple[int, int, int]:
    """Return how many voxels hold a support, however particles are turned.

    Parameters
    ----------
    support : Support
        What counts.
    turns : (n, 3, 3) array
        From the particles' frames to the tomogram's axes. Boxes of which one is turned
        need as much as if they were turned any way, so that what a particle's crop
        is does not depend on the others.

    Examples
    --------
    >>> crop_shape(Support((26.0, 26.0, 26.0), 11.0, (32, 32, 32)), np.eye(3)[None])
    (27, 27, 27)
    >>> crop_shape(Support((8.0, 8.0, 8.0), math.inf, (8, 8, 8)), np.eye(3)[None])
    (9, 9, 9)
    """
    if not math.isinf(support.radius):
        reach = np.full(3, support.radius + _EDGE + _OFFSET)
    else:
        half = np.array(support.box) / 2 + 0.5  # where the box's edge has come to 0
        turned = not _still(turns).all()
        reach = (np.linalg.norm(half) if turned else half) + np.full(3, _OFFSET / 2)
    # of n voxels the next one outside is (n + 1) / 2 from the centre
    z, y, x = (max(1, math.ceil(2 * each - 1 - 1e-6)) for each in reach)
    return z, y, x


def spectra(
    crops: Crops, k: Array, support: Support, *, compiled: bool = False
) -> NDArray[np.complex64]:
    """Return the crops' Fourier transforms about their particles.

    Parameters
    ----------
    crops : Crops
        n subtomograms.
    k : (N, 3) array
        Frequencies in the particles' frames, z, y, x, in periods per voxel.
    support : Support
        What of the crops counts.
    compiled : bool
        See `funpipe.space.spectra.sample`.

    Returns
    -------
    (n, N) array of complex64
        Σ w (f − b) exp(−2πi k·u), as this module's text says. Exact, up to
        rounding, where a particle is not turned; else the error is that of
        interpolation, of what lies x from the centre of a crop of n voxels at the most
        (x / (2.25 n − x))² along each axis.

    Examples
    --------
    >>> values = np.zeros((1, 17, 17, 17), np.float32); values[0, 8, 8, 9] = 1
    >>> crops = Crops(values, np.zeros((1, 3)), np.eye(3)[None])
    >>> k = np.array([[0, 0, 0.25], [0, 0, 0.375]])
    >>> spectra(crops, k, Support((16.0, 16.0, 16.0), 5.0, (16, 16, 16))).round(2)
    array([[ 0.  -1.j  , -0.71-0.71j]], dtype=complex64)
    """
    result = np.empty((len(crops.values), len(k)), np.complex64)
    still = _still(crops.turns)
    for chosen, evaluate in ((still, _on_lattice), (~still, _between)):
        if chosen.any():
            some = crops if chosen.all() else crops.take(chosen)
            result[chosen] = evaluate(some, k, support, compiled=compiled)
    return result


def window_power(crops: Crops, support: Support) -> NDArray[np.float64]:
    """Return Σ w² of each crop, (n,).

    White noise of variance s² has a mean |F|² of s² times that.
    """
    windows = windows_of(crops, support)
    power = np.square(windows, dtype=np.float64).sum(axis=(1, 2, 3))
    return np.broadcast_to(power, len(crops.values))


@lru_cache(maxsize=2)
def lattice(shape: tuple[int, ...], finest: float) -> NDArray[np.float64]:
    """Return the waves of a crop's own lattice inside a resolution limit.

    Parameters
    ----------
    shape : (int, int, int)
        Voxels of the crop.
    finest : float
        The shortest period, in voxels.

    Returns
    -------
    (M, 3) array
        Periods per voxel along the tomogram's axes; one of each mirrored pair. It is
        made once for all crops, and cannot be written to.
    """
    return _shared(half_ball(shape, finest) / np.array(shape))


def lattice_power(
    crops: Crops, W: Array, finest: float, support: Support
) -> NDArray[np.float64]:
    """Return Σ W |F|² over all waves of the support's lattice, (n,), without a turn.

    The sum is taken over the crop's own lattice, times how much denser the support's
    is. In the tomogram's frame W there is the same for all its particles.

    Parameters
    ----------
    crops : Crops
        n subtomograms.
    W : (M,) or (n, M) array
        The weights of the waves of ``lattice(shape, finest)``.
    finest : float
        The shortest period, in voxels.
    support : Support
        What of the crops counts.
    """
    shape = crops.values.shape[1:]
    density = math.prod(support.periods) / math.prod(shape)
    where = _places(shape, finest)
    half = math.prod((*shape[:2], shape[2] // 2 + 1))
    weights = np.zeros((*W.shape[:-1], half, 2), np.float32)
    weights[..., where, :] = W[..., None]
    flat = weights.reshape(*W.shape[:-1], -1)
    of_each = np.broadcast_to(flat, (len(crops.values), flat.shape[-1]))
    sums = list(map(np.dot, _squares(crops, support), of_each))
    return np.array(sums, np.float64) * density


def _squares(crops: Crops, support: Support) -> Iterator[NDArray[np.float32]]:
    """Yield of each crop (Re F)² and (Im F)² of ``scipy.fft.rfftn``, side by side."""
    for windowed in _windowed(crops, _weights(crops, support)):
        found = scipy.fft.rfftn(windowed, axes=(1, 2, 3))
        parts = found.reshape(len(found), -1).view(np.float32)
        yield from np.square(parts, out=parts)


@lru_cache(maxsize=2)
def _places(shape: tuple[int, ...], finest: float) -> NDArray[np.intp]:
    """Return where in that the waves of `lattice` are; x ≥ 0 of all of them."""
    waves = half_ball(shape, finest)
    half = (*shape[:2], shape[2] // 2 + 1)
    return _shared(np.ravel_multi_index(tuple((waves % shape).T), half))


def boxes_of(crops: Crops, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Turn crops into boxes in their particles' frames, by cubic splines.

    Parameters
    ----------
    crops : Crops
        n subtomograms.
    shape : (int, int, int)
        Voxels of a box along z, y, x.

    Returns
    -------
    (n, z, y, x) array of float32
        What lies outside a crop is its mean.
    """
    result = np.empty((len(crops.values), *shape), np.float32)
    middle = centre(crops.values.shape[1:]) + crops.offsets
    corner = middle - crops.turns @ centre(shape)
    for values, turn, first, into in zip(
        crops.values, crops.turns, corner, result, strict=True
    ):
        level = values.mean(dtype=np.float64).astype(np.float32)
        scipy.ndimage.affine_transform(
            values - level,
            turn,
            first,
            output_shape=shape,
            output=into,
            order=3,
            mode="grid-constant",
        )
        into += level
    return result


# Windows.


def windows_of(crops: Crops, support: Support) -> NDArray[np.float32]:
    """Return w of crops, (n, z, y, x), or (1, z, y, x) where it is the same for all."""
    shape = crops.values.shape[1:]
    if not math.isinf(support.radius):
        return _soft_ball(shape, support.radius)
    if crops.values.shape[1:] == support.box and _in_place(crops):
        return np.ones((1, *shape), np.float32)
    half = np.array(support.box) / 2 + 0.5
    windows = np.empty(crops.values.shape, np.float32)
    grid = [each.astype(np.float32) for each in offsets(shape)]
    for turn, offset, window in zip(crops.turns, crops.offsets, windows, strict=True):
        window[...] = 1
        for axis in range(3):
            along = sum(
                (grid[j] - np.float32(offset[j])) * np.float32(turn[j, axis])
                for j in range(3)
            )
            window *= np.clip(np.float32(half[axis]) - np.abs(along), 0, 1)
    return windows


@lru_cache(maxsize=2)
def _soft_ball(shape: tuple[int, ...], inside: float) -> NDArray[np.float32]:
    """Return the window of a ball, (1, z, y, x), which is made once for all crops."""
    beyond = (radius(shape) - (inside + _OFFSET)) / _EDGE
    soft = np.cos(np.pi / 2 * np.clip(beyond, 0, 1)) ** 2
    return _shared(soft[None].astype(np.float32))


def _shared(array: Array) -> Array:
    """Return an array that nobody can write to."""
    array.setflags(write=False)
    return array


def _still(turns: Array) -> NDArray[np.bool_]:
    """Tell which turns are none."""
    return np.asarray(np.abs(turns - np.eye(3)).max(axis=(1, 2)) <= _STILL)


def _in_place(crops: Crops) -> bool:
    """Tell whether no crop is moved or turned."""
    return not crops.offsets.any() and bool((crops.turns == np.eye(3)).all())


class _Weights(NamedTuple):
    """How crops are weighted, (1, voxels) or (n, voxels)."""

    level: NDArray[np.float32]
    """Of sum 1: what is taken for a crop's level."""
    window: NDArray[np.float32]
    """With whatever else multiplies voxels."""


def _weights(crops: Crops, support: Support, factor: Any = 1) -> _Weights:
    windows = windows_of(crops, support)
    edge = windows * (1 - windows)
    edge = np.where(edge.any(axis=(1, 2, 3), keepdims=True), edge, windows)
    level = edge.reshape(len(edge), -1)
    window = (windows * factor).astype(np.float32, copy=False).reshape(level.shape)
    return _Weights(level / level.sum(axis=1, keepdims=True), window)


def _windowed(crops: Crops, weights: _Weights) -> Iterator[NDArray[np.float32]]:
    """Yield w (f − b) of crops, some at a time, overwritten by the next ones."""
    flat = crops.values.reshape(len(crops.values), -1)
    levels, windows = (np.broadcast_to(each, flat.shape) for each in weights)
    result = np.empty((_together(crops), flat.shape[1]), np.float32)
    for some in _some(crops):
        values = flat[some]
        into = result[: len(values)]
        level = np.array([[b] for b in map(np.dot, values, levels[some])])
        np.subtract(values, level, out=into)
        into *= windows[some]
        yield into.reshape(-1, *crops.values.shape[1:])


def _some(crops: Crops) -> Iterator[slice]:
    """Yield which crops are worked on at a time, as many as stay in the cache."""
    many = _together(crops)
    for i in range(0, len(crops.values), many):
        yield slice(i, i + many)


def _together(crops: Crops) -> int:
    return max(1, _TOGETHER // math.prod(crops.values.shape[1:]))


# Transforms.


def _on_lattice(
    crops: Crops, k: Array, support: Support, *, compiled: bool
) -> NDArray[np.complex64]:
    """Evaluate crops that are not turned, at frequencies on a lattice: exactly."""
    upper = np.where(k[:, :1] < 0, -1, 1) * k  # the others are their conjugates
    axes = [np.unique(each) for each in np.abs(upper).T]
    quadrant = (upper[:, 1:] < 0).astype(np.intp)
    points = [
        np.searchsorted(*each) for each in zip(axes, np.abs(upper).T, strict=True)
    ]
    sizes = (2, 2, *map(len, axes))
    where = np.ravel_multi_index((*quadrant.T, *points), sizes)
    windowed = _windowed(crops, _weights(crops, support))
    F = _phases(k, crops.offsets)
    shape = crops.values.shape[1:]
    transforms = quadrants(windowed, shape, axes, compiled=compiled)
    signs = np.where(k[:, 0] < 0, np.float32(-1), np.float32(1))
    for each, some in zip(transforms, _some(crops), strict=True):
        found = each.reshape(len(each), -1)[:, where]
        found.imag *= signs
        np.multiply(found, F[some], out=F[some])
    return F


def _between(
    crops: Crops, k: Array, support: Support, *, compiled: bool
) -> NDArray[np.complex64]:
    """Evaluate turned crops, from a fine grid."""
    shape = crops.values.shape[1:]
    z, y, x = (round(_FINENESS * each) for each in shape)
    highest = math.sqrt(float(np.square(k).sum(axis=1).max(initial=0)))
    grid = fine_grid((z, y, x), highest)
    weights = _weights(crops, support, 1 / roll_off(shape, grid.periods))
    q = np.matmul(k, crops.turns.swapaxes(1, 2))
    F = _phases(q, crops.offsets)
    points = q.astype(np.float32) if compiled else q
    windowed = _windowed(crops, weights)
    transforms = quadrants(windowed, shape, grid.axes(), compiled=compiled)
    for each, some in zip(transforms, _some(crops), strict=True):
        values = each.reshape(len(each), -1)
        found = sample_each(points[some], values, grid, compiled=compiled)
        np.multiply(found, F[some], out=F[some])
    return F


def _phases(q: Array, offsets: Array) -> NDArray[np.complex64]:
    """Return exp(2πi q·o) for frequencies (N, 3) or (n, N, 3), offsets (n, 3)."""
    angle = (2 * np.pi * np.matmul(q, offsets[..., None])[..., 0]).astype(np.float32)
    phases = np.empty(angle.shape, np.complex64)
    np.cos(angle, out=phases.real)
    np.sin(angle, out=phases.imag)
    return phases
