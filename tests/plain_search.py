"""A search of all voxels and rotations in plain NumPy: what `search` must equal.

The score is the one at the top of `funpipe.engine.matching`, of a crop about each voxel
under the window of `funpipe.space.crops`, written out once more: template waves by sums
over its voxels, crops one by one.
"""

from __future__ import annotations

import numpy as np


def window_of(side, radius):
    """Return 1 within a radius and one voxel more, a cosine over 2 voxels, then 0."""
    axis = np.arange(side) - side // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    beyond = (np.sqrt(z**2 + y**2 + x**2) - (radius + 1)) / 2
    return np.cos(np.pi / 2 * np.clip(beyond, 0, 1)) ** 2


def waves_of(side, finest):
    """Return the waves of a crop, one of each mirrored pair, periods per voxel."""
    reach = int(side / finest)
    axis = np.arange(-reach, reach + 1)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    short = np.linalg.norm(grid, axis=1) <= side / finest * (1 + 1e-9)
    kept = [k for k in grid[short].tolist() if tuple(k[::-1]) > (0, 0, 0)]
    return np.array(kept) / side


def waves_at(shape, k):
    """Return exp(−2πi k·x) of waves at voxels from the centre, (N, voxels)."""
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    places = places.reshape(-1, 3) - (np.array(shape) - 1) / 2
    return np.exp(-2j * np.pi * k @ places.T)


def turned_rows(template, rotations, k, weights):
    """Return √W T_R of all rotations, each of norm 1."""
    rows = np.stack(
        [
            waves_at(template.shape, k @ R) @ template.ravel()
            for R in rotations.as_matrix()
        ]
    )
    rows = rows * np.sqrt(weights)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def seen(tomogram, voxel, window, waves, weights):
    """Return √W F of the crop about a voxel, of norm 1."""
    half = len(window) // 2
    crop = tomogram[tuple(slice(i - half, i + half + 1) for i in voxel)]
    edge = window * (1 - window)
    level = (crop * edge).sum() / edge.sum()
    F = waves @ (window * (crop - level)).ravel() * np.sqrt(weights)
    return F / np.linalg.norm(F)


def best_scores(tomogram, rows, window, k, weights):
    """Return the best score of all rotations at each voxel, and which; 0 at faces."""
    half = len(window) // 2
    scores = np.zeros(tomogram.shape)
    best = np.zeros(tomogram.shape, int)
    waves = waves_at(window.shape, k)
    inner = [range(half, n - half) for n in tomogram.shape]
    for voxel in np.stack(np.meshgrid(*inner, indexing="ij"), -1).reshape(-1, 3):
        found = (rows.conj() @ seen(tomogram, voxel, window, waves, weights)).real
        scores[tuple(voxel)] = found.max()
        best[tuple(voxel)] = found.argmax()
    return scores, best


def peaks(scores, least):
    """Return voxels that score so much, and no less than the 26 around them."""
    found = []
    for z, y, x in np.argwhere(scores >= least):
        around = scores[z - 1 : z + 2, y - 1 : y + 2, x - 1 : x + 2]
        if scores[z, y, x] >= around.max():
            found.append((int(z), int(y), int(x)))
    return found
