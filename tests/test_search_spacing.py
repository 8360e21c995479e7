"""Picks of a search are apart by a distance, or by the shape of the mask."""

from __future__ import annotations

import numpy as np
import scipy
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.jobs.spacing import Apart, pairs_of

LENGTH, BESIDE = 18.0, 6.0  # nm, of a rod, and between rods


def rod():
    """Return a rod along z with something on it that tells where it is."""
    random = np.random.default_rng(7)
    along = np.linspace(-LENGTH / 2, LENGTH / 2, 13)
    around = random.normal(0, 1.0, (13, 2))
    centres = np.column_stack([along, around - around.mean(axis=0)])
    return fp.simulate.Blobs(centres, 0.9, random.uniform(0.5, 1.5, 13))


def template():
    return fp.simulate.blob_image(rod(), (27, 27, 27), 1.0)


def mask():
    """Return 1 within a cylinder about the rod, with a soft edge."""
    z, y, x = np.indices((27, 27, 27)) - 13.0
    beyond = np.maximum(np.sqrt(y**2 + x**2) - 3.0, np.abs(z) - LENGTH / 2 - 1.5)
    return scipy.special.expit(-2 * beyond).astype(np.float32)


OPTIONS = {
    "scale": 1.0,
    "tilt": (-60, 60),
    "rotations": (24, 12),
    "resolution": 4.0,
    "count": 5,
    "progress": False,
}


def test_rods_side_by_side_are_all_found():
    turn = Rotation.from_rotvec([0.2, 0.1, 0.05])
    ways = turn.apply(np.arange(-2, 3)[:, None] * [[0.0, BESIDE, 0.0]])
    places = np.array([20.0, 28.0, 20.0]) + ways
    true = fp.Molecules(places, Rotation.concatenate([turn] * 5))
    noise = 0.1 * template().max()
    tomogram = fp.simulate.tomogram(rod(), true, (41, 57, 41), 1.0, noise=noise)
    options = {**OPTIONS, "template": template(), "mask": mask()}
    found = {}
    for distance in (LENGTH / 2, "mask"):
        picks = fp.search(tomogram, distance=distance, **options)
        away, _ = scipy.spatial.KDTree(picks.positions).query(true.positions)
        found[distance] = int((away < 2).sum())
    assert found["mask"] == 5
    assert found[LENGTH / 2] <= 3


def test_pairs_are_those_of_a_plain_loop():
    random = np.random.default_rng(0)
    masks = np.stack([mask(), mask().transpose(1, 0, 2)])
    n = 120
    places, turns = random.uniform(0, 30, (n, 3)), Rotation.random(n, rng=1)
    template = random.integers(2, size=n)
    scores, owner = random.uniform(size=n).round(1), random.integers(2, size=n)
    wanted = []
    for i in range(n):
        for j in range(n):
            better = scores[i] > scores[j] or (scores[i] == scores[j] and i < j)
            if not better or owner[i] != owner[j]:
                continue
            at = turns[i].inv().apply(places[j] - places[i]) + 13.0
            voxel = tuple(np.floor(at + 0.5).astype(int))
            there = min(voxel) >= 0 and max(voxel) < 27
            if there and masks[template[i]][voxel] >= 0.5:
                wanted.append((i, j))
    given = places, turns.as_matrix(), template, scores, owner
    found = pairs_of(Apart(5.0, masks), *given)
    assert len(wanted) > 50
    assert sorted(map(tuple, found.tolist())) == sorted(wanted)
    # A ball is the same as a distance.
    ball = (np.sqrt(np.square(np.indices((27, 27, 27)) - 13).sum(axis=0)) < 5.5)[None]
    same = places.round(), np.tile(np.eye(3), (n, 1, 1)), 0 * template, scores, owner
    by_mask, by_distance = (
        {tuple(sorted(each)) for each in pairs_of(apart, *same).tolist()}
        for apart in (Apart(1.0, ball.astype(np.float32)), Apart(5.49))
    )
    assert by_mask == by_distance and len(by_mask) > 50
