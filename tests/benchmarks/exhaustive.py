"""Matching by brute force: every rotation, at every voxel.

The score is that at the top of `funpipe.engine.matching`. With f a tomogram, x the
voxels of a crop about a place p, w how they count and b = Σ w (1 − w) f / Σ w (1 − w)
the level there,

    F_p(k) = Σ_x w(x) (f(p + x) − b) exp(−2πi k·x),
    score(R, p) = Re Σ conj(H T_R) g F_p / √(Σ |H T_R|² · Σ |g F_p|²),

g 1 where the tilt series measured anything, and H what it leaves; of a wedge both are
its weights. The template is turned in real space, one rotation at a time, and
correlated with the whole tomogram by a Fourier transform each way; Σ |g F_p|² is summed
up wave by wave, each of them correlated likewise. The crop's window is the package's
own, since it says what the score is; nothing else of the search is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import scipy
from scipy.spatial import cKDTree

import funpipe as fp
from funpipe.space.crops import Crops, Support, windows_of
from funpipe.space.fourier import fourier_vectors, resample
from funpipe.space.geometry import turned_grid

MARGIN = 12  # voxels, in which a cubic spline's coefficients die away to 1e-7
THREADS = 2


class Scores(NamedTuple):
    """The best of all rotations at every voxel; −1 where a crop does not fit."""

    best: np.ndarray
    """(z, y, x)."""
    rotation: np.ndarray
    """(z, y, x), which."""


def exhaustive(
    tomogram: np.ndarray,
    template: np.ndarray,
    rotations: Any,
    support: Support,
    finest: float,
    *,
    left: Callable[[np.ndarray], np.ndarray],
    measured: Callable[[np.ndarray], np.ndarray],
) -> Scores:
    """Correlate a tomogram with a template at all rotations.

    Parameters
    ----------
    tomogram : (z, y, x) array
        No axis shorter than a crop.
    template : (z, y, x) array
        Masked.
    rotations : Rotation
        All that are tried.
    support : Support
        What of a crop counts; its periods are the voxels of a crop, odd.
    finest : float
        The shortest period, voxels.
    left, measured : callable
        H and g of vectors (3, ...), periods per voxel.
    """
    side = int(support.periods[0])
    run = _Run(tomogram, side, support)
    k = fourier_vectors((side,) * 3, 1.0)
    length = np.sqrt((k**2).sum(axis=0))
    inside = (length > 0) & (length <= 1 / finest * (1 + 1e-9)) & (length < 0.5)
    g, H = measured(k) * inside, left(k) * inside
    size = np.sqrt(np.maximum(run.power(k, g), 0))
    floor = 1e-6 * float(np.median(size))
    inverse = np.where(size > floor, 1 / np.maximum(size, floor), 0).astype(np.float32)
    turned = _Turned(template, side)

    def some(part: np.ndarray) -> Scores:
        best = np.full(tomogram.shape, -1, np.float32)
        which = np.zeros(tomogram.shape, np.int32)
        for i in part:
            kernel, norm = turned.kernel(rotations[i], H, g)
            scores = run.correlated(kernel) * inverse
            scores *= np.float32(1 / norm)
            better = scores > best
            np.copyto(best, scores, where=better)
            which[better] = i
        return Scores(best, which)

    with ThreadPoolExecutor(THREADS) as pool:
        parts = np.array_split(np.arange(len(rotations)), THREADS)
        found = list(pool.map(some, parts))
    best, which = found[0]
    for each in found[1:]:
        which = np.where(each.best > best, each.rotation, which)
        best = np.maximum(each.best, best)
    fits = np.zeros(tomogram.shape, bool)
    fits[tuple(slice(side // 2, n - side // 2) for n in tomogram.shape)] = True
    return Scores(np.where(fits, best, -1), which)


class _Turned:
    """A template, to be turned in real space from twice its sampling."""

    def __init__(self, template: np.ndarray, side: int) -> None:
        fine = np.pad(resample(template, 1.0, 0.5), MARGIN)
        self.spline = scipy.ndimage.spline_filter(fine, order=3, output=np.float32)
        self.side = side

    def kernel(
        self, rotation: Any, H: np.ndarray, g: np.ndarray
    ) -> tuple[np.ndarray, float]:
        """Return Re Σ conj(H T) g exp(2πi k·x) and √Σ |H T|², sums over all waves."""
        shape = (self.side,) * 3
        middle = (np.array(self.spline.shape) - 1) / 2
        where = turned_grid(shape, rotation.inv(), 2.0) + middle.reshape(3, 1, 1, 1)
        turned = scipy.ndimage.map_coordinates(
            self.spline,
            where,
            np.float32,
            order=3,
            mode="grid-constant",
            prefilter=False,
        )
        T = scipy.fft.rfftn(turned) * H
        twice = np.where(np.arange(T.shape[2]) > 0, 2, 1)
        norm = math.sqrt(float((twice * np.abs(T) ** 2).sum()))
        return scipy.fft.irfftn(T * g, s=shape, norm="forward"), norm


class _Run:
    """A tomogram, to be correlated with what is seen of crops."""

    def __init__(self, tomogram: np.ndarray, side: int, support: Support) -> None:
        self.shape, self.side = tomogram.shape, side
        self.spectrum = scipy.fft.rfftn(tomogram.astype(np.float32))
        one = np.zeros((1, side, side, side), np.float32)
        crop = Crops(one, np.zeros((1, 3)), np.eye(3)[None])
        self.window = windows_of(crop, support)[0].astype(np.float64)
        edge = self.window * (1 - self.window)
        edge = edge if edge.any() else self.window
        self.level = edge / edge.sum()

    def correlated(self, kernel: np.ndarray) -> np.ndarray:
        """Return Σ_x kernel(x) w(x) (f(p + x) − b) at all places p."""
        seen = kernel * self.window
        seen -= seen.sum() * self.level
        padded = np.zeros(self.shape, np.float32)
        padded[tuple(map(slice, seen.shape))] = seen
        waves = self.spectrum * np.conj(scipy.fft.rfftn(padded))
        found = scipy.fft.irfftn(waves, s=self.shape)
        return np.roll(found, (self.side // 2,) * 3, axis=(0, 1, 2))

    def power(self, k: np.ndarray, g: np.ndarray) -> np.ndarray:
        """Return Σ |g F_p|² over all waves, at all places p."""
        axis = np.arange(self.side) - self.side // 2
        where = np.flatnonzero(g)
        twice = np.where(np.broadcast_to(k[2] != 0, g.shape).flat[where], 2, 1)
        vectors, weights = k.reshape(3, -1)[:, where].T, g.flat[where] ** 2 * twice

        def some(part: np.ndarray) -> np.ndarray:
            total = np.zeros(self.shape, np.float64)
            for i in part:
                z, y, x = (np.exp(2j * np.pi * axis * each) for each in vectors[i])
                wave = z[:, None, None] * y[:, None] * x
                for each in (wave.real, wave.imag):
                    total += weights[i] * self.correlated(each) ** 2
            return total

        with ThreadPoolExecutor(THREADS) as pool:
            return sum(pool.map(some, np.array_split(np.arange(len(where)), THREADS)))


def peaks(
    scores: np.ndarray,
    which: np.ndarray,
    rotations: Any,
    scale: float,
    *,
    distance: float,
    count: int,
) -> fp.Molecules:
    """Return the highest local maxima of scores, no two nearer than a distance, nm."""
    highest = scipy.ndimage.maximum_filter(scores, 3)
    places = np.argwhere((scores == highest) & (scores > -1))
    places = places[np.argsort(-scores[tuple(places.T)], kind="stable")]
    places = places[: 50 * count]
    near = cKDTree(places).query_ball_point(places, distance / scale)
    kept, out = [], np.zeros(len(places), bool)
    for i in range(len(places)):
        if not out[i]:
            kept.append(i)
            out[near[i]] = True
        if len(kept) == count:
            break
    at = tuple(places[kept].T)
    features = {"score": scores[at].astype(float)}
    return fp.Molecules(places[kept] * scale, rotations[which[at]], features)
