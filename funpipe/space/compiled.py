"""Parts of `funpipe.space.spectra` and tilt series, compiled by numba (extra ``fast``).

What it computes is said there. Loops are written out, in single precision throughout:
a literal would make its neighbours double.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from funpipe.base.extras import require
from funpipe.space.optics import CRITICAL

__all__ = [
    "ORDER",
    "compiled",
    "compiled_within",
    "covered",
    "folded",
    "interpolated",
    "interpolated_each",
    "put_together",
    "transferred",
]

Function = TypeVar("Function", bound=Callable[..., Any])

ORDER = "contract", "reassoc", "nsz", "arcp"
"""Sums may be in any order, but what is not a number stays so."""


def compiled(function: Function) -> Function:
    """Compile a function for arrays, kept on disk where there is a place for it."""
    try:
        return _njit(cache=True)(function)
    except RuntimeError:  # no place that can be written to
        return _njit()(function)


def compiled_within(function: Function) -> Function:
    """Compile a function as a part of each one that calls it.

    As a function of its own it would be compiled twice, by itself and with its caller,
    whose sums may be in another order: which of both is called depends on whether the
    caller comes from disk, and with it the last bits of what comes out.
    """
    return _njit(inline="always")(function)


def _njit(**more: Any) -> Any:
    numba = require("numba", "fast", "to compile what takes the most time")
    return numba.njit(nogil=True, fastmath=set(ORDER), error_model="numpy", **more)


@compiled
def interpolated(points: Any, values: Any, grid: Any, found: Any) -> None:
    """Set ``found``, (N, 2 count), from values at the points of a grid, see `sample`.

    ``grid`` is an array of a `FineGrid`: its periods, then its shape.
    """
    _interpolate(points, values, grid, found)


@compiled
def interpolated_each(points: Any, values: Any, grid: Any, found: Any) -> None:
    """Do so for each of several, along the first axes, see `sample_each`."""
    for i in range(len(points)):
        _interpolate(points[i], values[i], grid, found[i])


@compiled_within
def _interpolate(points: Any, values: Any, grid: Any, found: Any) -> None:
    one = np.float32(1)
    size_z, size_y, size_x = grid[1]
    period_z, period_y, period_x = grid[0].astype(np.float32)
    up, out = size_x, size_y * size_x
    for n in range(len(points)):
        z, y, x = points[n]
        mirrored = z < 0
        if mirrored:
            z, y, x = -z, -y, -x
        quadrant = 0
        if y < 0:
            y, quadrant = -y, 2
        if x < 0:
            x, quadrant = -x, quadrant + 1
        z, y, x = z * period_z, y * period_y, x * period_x
        c_z = max(0, min(int(z), size_z - 2))
        c_y = max(0, min(int(y), size_y - 2))
        c_x = max(0, min(int(x), size_x - 2))
        z, y, x = z - np.float32(c_z), y - np.float32(c_y), x - np.float32(c_x)
        i = ((quadrant * size_z + c_z) * size_y + c_y) * size_x + c_x
        w00, w01 = (one - z) * (one - y), (one - z) * y
        w10, w11 = z * (one - y), z * y
        for j in range(found.shape[1]):
            at_0 = w00 * values[i, j] + w01 * values[i + up, j]
            at_0 += w10 * values[i + out, j] + w11 * values[i + out + up, j]
            at_1 = w00 * values[i + 1, j] + w01 * values[i + up + 1, j]
            at_1 += w10 * values[i + out + 1, j] + w11 * values[i + out + up + 1, j]
            found[n, j] = (one - x) * at_0 + x * at_1
        if mirrored:
            for j in range(1, found.shape[1], 2):
                found[n, j] = -found[n, j]


@compiled
def folded(images: Any, parts: Any) -> None:
    """Set ``parts``, (n, 2, 2, 2, h, h, h), to sums and differences of halves."""
    for i in range(len(images)):
        _fold(images[i], parts[i])


@compiled_within
def _fold(image: Any, parts: Any) -> None:
    size_z, size_y, size_x = image.shape
    for z in range(parts.shape[3]):
        for y in range(parts.shape[4]):
            after_z, before_z = size_z // 2 + z, (size_z - 1) // 2 - z
            after_y, before_y = size_y // 2 + y, (size_y - 1) // 2 - y
            for x in range(parts.shape[5]):
                after, before = size_x // 2 + x, (size_x - 1) // 2 - x
                a, b = image[after_z, after_y, after], image[after_z, after_y, before]
                aa, ab = a + b, a - b
                a, b = image[after_z, before_y, after], image[after_z, before_y, before]
                ba, bb = a + b, a - b
                up_00, up_01, up_10, up_11 = aa + ba, ab + bb, aa - ba, ab - bb
                a, b = image[before_z, after_y, after], image[before_z, after_y, before]
                aa, ab = a + b, a - b
                a = image[before_z, before_y, after]
                b = image[before_z, before_y, before]
                ba, bb = a + b, a - b
                low_00, low_01, low_10, low_11 = aa + ba, ab + bb, aa - ba, ab - bb
                parts[0, 0, 0, z, y, x] = up_00 + low_00
                parts[0, 0, 1, z, y, x] = up_01 + low_01
                parts[0, 1, 0, z, y, x] = up_10 + low_10
                parts[0, 1, 1, z, y, x] = up_11 + low_11
                parts[1, 0, 0, z, y, x] = up_00 - low_00
                parts[1, 0, 1, z, y, x] = up_01 - low_01
                parts[1, 1, 0, z, y, x] = up_10 - low_10
                parts[1, 1, 1, z, y, x] = up_11 - low_11


@compiled
def put_together(parts: Any, into: Any) -> None:
    """Set ``into``, (n, 4, M), from the eight products, (n, 2, 2, 2, M)."""
    for i in range(len(parts)):
        _put_together(parts[i], into[i])


@compiled_within
def _put_together(parts: Any, into: Any) -> None:
    for i in range(parts.shape[3]):
        ccc, ccs = parts[0, 0, 0, i], parts[0, 0, 1, i]
        csc, css = parts[0, 1, 0, i], parts[0, 1, 1, i]
        scc, scs = parts[1, 0, 0, i], parts[1, 0, 1, i]
        ssc, sss = parts[1, 1, 0, i], parts[1, 1, 1, i]
        u, v, s, d = ccc - scs, ccc + scs, css + ssc, css - ssc
        p, q, r, t = scc + ccs, ccs - scc, sss - csc, csc + sss
        into[0, i] = complex(u - s, r - p)
        into[1, i] = complex(v + d, q - t)
        into[2, i] = complex(u + s, -(p + r))
        into[3, i] = complex(v - d, q + t)


@compiled
def transferred(
    k: Any, heights: Any, tilts: Any, rates: Any, reach: float, found: Any
) -> None:
    """Set ``found`` to H of `funpipe.space.transfer`, wave by wave.

    Of tilts in the order of their angles those that cover a wave are next to each
    other, the last and the first too.

    Parameters
    ----------
    k : (3, n, N) array
        Waves of n particles, 1/nm: along the beam, across the tilt axis, along it.
    heights : (n, tilts) array
        µm of defocus that each has more than the tilt.
    tilts, rates : (tilts, 6) and (5,) arrays
        What is known of the series, see there.
    reach : float
        1/nm, how far from its plane a tilt tells something.
    found : (n, N) array
        H.
    """
    at_300 = rates[4]
    a, b, c = CRITICAL
    count = len(tilts)
    dosed = tilts[:, 5].max() > 0
    half_critical = np.float32(0)
    for p in range(found.shape[0]):
        for j in range(found.shape[1]):
            wave = k[0, p, j], k[1, p, j], k[2, p, j]
            if dosed:
                k2 = wave[0] * wave[0] + wave[1] * wave[1] + wave[2] * wave[2]
                power = np.float32(k2 / 100) ** np.float32(b / 2)
                half_critical = np.float32(0.5 / (at_300 * (a * power + c)))
            first = _first_above(tilts, wave)
            total = weight = 0.0
            last = first + count
            for step in range(first, last):
                i = step - count if step >= count else step
                cover = reach - abs(wave[0] * tilts[i, 1] - wave[1] * tilts[i, 0])
                if cover <= 0:
                    last = step
                    break
                left = _left(wave, tilts, i, heights[p, i], rates, half_critical)
                total += cover * left
                weight += cover
            for step in range(first - 1, last - count - 1, -1):
                i = step + count if step < 0 else step
                cover = reach - abs(wave[0] * tilts[i, 1] - wave[1] * tilts[i, 0])
                if cover <= 0:
                    break
                left = _left(wave, tilts, i, heights[p, i], rates, half_critical)
                total += cover * left
                weight += cover
            found[p, j] = total / max(weight, reach)


@compiled
def covered(k: Any, tilts: Any, reach: float, found: Any) -> None:
    """Set ``found``, (N,), to 1 where a tilt covers a wave, see `transferred`."""
    count = len(tilts)
    for j in range(len(found)):
        wave = k[0, j], k[1, j], 0.0
        above = _first_above(tilts, wave)
        for i in (above % count, above - 1):
            if abs(wave[0] * tilts[i, 1] - wave[1] * tilts[i, 0]) < reach:
                found[j] = 1.0


@compiled_within
def _first_above(tilts: Any, wave: Any) -> Any:
    """Return which tilt is the first of those at a wave's angle or above it."""
    along, across, _ = wave
    if across < 0:
        along, across = -along, -across
    low, high = 0, len(tilts)
    while low < high:
        middle = (low + high) // 2
        if tilts[middle, 0] * across < along * tilts[middle, 1]:
            low = middle + 1
        else:
            high = middle
    return low


@compiled_within
def _left(
    wave: Any, tilts: Any, i: int, height: float, rates: Any, half_critical: Any
) -> Any:
    """Return what dose and contrast transfer leave of a wave in a tilt."""
    left = np.float32(1)
    if half_critical > 0:
        left = np.exp(-np.float32(tilts[i, 5]) * half_critical)
    if rates[0] == 0:
        return left
    along, across, axis = wave
    u = along * tilts[i, 0] + across * tilts[i, 1]
    k2 = along * along + across * across + axis * axis
    path = k2 * (tilts[i, 2] + height) + (u * u - axis * axis) * tilts[i, 3]
    path += 2 * u * axis * tilts[i, 4]
    phase = rates[1] * path + rates[2] * k2 * k2 + rates[3]
    phase -= 2 * np.pi * np.floor(phase / (2 * np.pi) + 0.5)  # then single is enough
    contrast = np.sin(np.float32(phase))
    return left * (abs(contrast) if rates[0] == 2 else contrast)
