"""Peaks of a search, scored with all waves, against plain loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.engine.basis import Seen, _waves_of, ball_of, search_basis
from funpipe.engine.rescoring import REACH, rescored
from funpipe.jobs.preparing import masked_templates, prepare_all
from funpipe.simulate import asymmetric_molecule, blob_image
from funpipe.space.fourier import half_ball
from funpipe.space.geometry import whole_grid


@given(
    side=st.sampled_from([5, 9, 15]),
    finest=st.floats(2.1, 4.0),
    count=st.integers(0, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_waves_of_crops_are_those_of_whole_transforms(side, finest, count, seed):
    crops = np.random.default_rng(seed).standard_normal((count, side, side, side))
    waves = half_ball((side,) * 3, finest)
    z, y, x = waves.T
    expected = scipy.fft.rfftn(crops, axes=(1, 2, 3))[:, z, y, x]
    found = _waves_of(crops.astype(np.float32), waves)
    assert found.dtype == np.complex64
    np.testing.assert_allclose(found, expected, atol=1e-5 * side**1.5)


def _ones(k):
    return np.ones(k.shape[1:])


@pytest.fixture(scope="module")
def basis():
    image = blob_image(asymmetric_molecule(8, radius=3.0, sigma=0.9), (13,) * 3, 1.0)
    templates = masked_templates(prepare_all(image, fp.soft_otsu(1.0, 1.0), 1.0))
    whole = {"support": ball_of(templates), "seen": Seen(_ones, _ones)}
    return search_basis(templates, whole_grid(60.0), 3.0, **whole)


def plain_scores(tile, places, basis):
    """Return what each rotation scores at each of some voxels, wave by wave."""
    n = np.arange(basis.side) - basis.side // 2
    y = np.stack(np.meshgrid(n, n, n, indexing="ij"), -1).reshape(-1, 3)
    edge = basis.window * (1.0 - basis.window)
    crops = []
    for voxel in places:
        crop = tile[tuple((voxel + y).T)].reshape(edge.shape)
        crops.append((crop - (crop * edge).sum() / edge.sum()) * basis.window)
    phases = np.exp(-2j * np.pi * y @ basis.k.T)
    G = basis.g * (np.reshape(crops, (len(places), -1)) @ phases)
    sizes = np.linalg.norm(G, axis=1, keepdims=True)
    return (G @ basis.rows.conj().T).real / sizes


LEAST = 0.08


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_from_all_places_all_peaks_of_a_plain_loop_are_reached(basis, seed):
    inside = basis.side // 2 + REACH + 1
    size = 8
    tile = np.random.default_rng(seed).standard_normal((size + 2 * inside,) * 3)
    tile = tile.astype(np.float32)
    low, high = np.full(3, inside), np.full(3, inside + size - 1)
    places = list(itertools.product(range(inside, inside + size), repeat=3))
    of_all = plain_scores(tile, places, basis)
    scores = np.full(tile.shape, -1.0)
    scores[tuple(np.transpose(places))] = of_all.max(axis=1)
    peaks = [
        voxel
        for voxel in places
        if scores[voxel] >= LEAST
        and scores[voxel] == scores[tuple(slice(i - 1, i + 2) for i in voxel)].max()
    ]
    where = np.array(places)
    options = {"low": low, "high": high, "go_on": lambda: None}
    found = rescored(tile, where, basis, LEAST, **options)
    assert len(peaks) >= 3
    assert sorted(map(tuple, found.where.tolist())) == peaks
    for voxel, score, row in zip(found.where, found.scores, found.rows, strict=True):
        assert score == pytest.approx(scores[tuple(voxel)], abs=1e-5)
        assert row == of_all[places.index(tuple(voxel))].argmax()


def test_a_copy_is_reached_from_all_places_two_voxels_away(basis):
    half = basis.side // 2 + REACH + 1
    size = 2 * half + 1
    turn = Rotation.random(rng=1)
    body = asymmetric_molecule(8, radius=3.0, sigma=0.9)
    one = fp.Molecules([[half] * 3], turn)
    tile = fp.simulate.tomogram(body, one, (size,) * 3, 1.0, tilt=None, noise=0.02)
    middle = np.full(3, half)
    options = {"low": middle - 2, "high": middle + 2, "go_on": lambda: None}
    for moved in itertools.product((-2, 0, 2), repeat=3):
        found = rescored(tile, middle[None] + moved, basis, 0.6, **options)
        assert found.where.tolist() == [middle.tolist()]


def test_from_no_places_nothing_is_found(basis):
    tile = np.zeros((40, 40, 40), np.float32)
    options = {"low": np.full(3, 15), "high": np.full(3, 24), "go_on": lambda: None}
    nothing = rescored(tile, np.zeros((0, 3), np.intp), basis, LEAST, **options)
    assert len(nothing.where) == len(nothing.scores) == len(nothing.rows) == 0
