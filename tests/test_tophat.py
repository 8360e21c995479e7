"""What scores hold along a line is taken off them: no peak of a particle is long."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.engine.tophat import along_lines
from funpipe.jobs.recording import read_record

LEVEL = 0.25


def plain(scores, level, half):
    """Return o − L by loops; ``half`` how many steps a line has on each side."""
    known = np.pad(np.maximum(scores, level), 2 * max(half.values()), mode="constant")
    known = np.maximum(known, level)
    pad, found = 2 * max(half.values()), np.full(scores.shape, level)
    for direction, n in half.items():
        step = np.array(direction)
        for place in np.ndindex(scores.shape):
            lines = (
                min(known[tuple(np.array(place) + pad + (i + j) * step)] for j in span)
                for span in [range(-n, n + 1)]
                for i in span
            )
            found[place] = max(found[place], *lines)
    return found - level


@pytest.mark.parametrize(
    ("length", "halves"), [(3.0, (1, 1, 1)), (5.2, (2, 1, 1)), (6.9, (3, 2, 1))]
)
def test_it_is_the_opening_by_lines_of_a_plain_loop(length, halves):
    scores = np.random.default_rng(0).uniform(0, 1, (5, 6, 4))
    half = {
        each: halves[np.abs(each).sum() - 1]
        for each in itertools.product((-1, 0, 1), repeat=3)
        if each > (0, 0, 0)
    }
    assert len(half) == 13
    found = along_lines(scores, LEVEL, length)
    np.testing.assert_allclose(found, plain(scores, LEVEL, half), atol=1e-6)


def test_what_is_below_the_level_may_be_anything():
    scores = np.random.default_rng(1).uniform(0, 1, (8, 8, 8))
    found = [
        along_lines(np.where(scores < LEVEL, other, scores), LEVEL, 3.0)
        for other in (-1.0, 0.0, LEVEL)
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_sheets_and_rods_are_taken_off_and_peaks_are_not():
    scores = np.zeros((15, 15, 15))
    scores[3] = 0.8  # a sheet
    scores[10, 4, :] = 0.6  # a rod
    scores[11:14, 11:14, 2:5] = 0.5  # a peak
    found = along_lines(scores, LEVEL, 7.0)
    assert np.allclose(found[3], 0.8 - LEVEL) and np.allclose(found[10, 4], 0.35)
    assert (found[11:14, 11:14, 2:5] == 0).all()


MOLECULE = fp.simulate.asymmetric_molecule(3, count=14, radius=3.2, sigma=0.7)
OPTIONS = {
    "template": fp.simulate.blob_image(MOLECULE, (15, 15, 15), 1.0),
    "scale": 1.0,
    "tilt": (-60, 60),
    "spacing": 30.0,
    "resolution": 3.0,
    "progress": False,
}


@pytest.fixture(scope="module")
def with_edges():
    """Return particles in noise, and rods twice as dense."""
    random = np.random.default_rng(2)
    axes = [np.arange(11, n - 9, 14.0) for n in (42, 90, 90)]
    there = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)[::2]
    true = fp.Molecules(there, Rotation.random(len(there), rng=random))
    noise = 0.45 * OPTIONS["template"].max()
    tomogram = fp.simulate.tomogram(MOLECULE, true, (42, 90, 90), 1.0, noise=noise)
    z, y, _ = np.indices(tomogram.shape)
    for rod in (23, 51, 79):
        away = np.hypot(z - 20, y - rod + 5)
        tomogram += 2 * OPTIONS["template"].max() * np.exp(-np.square(away / 2.0))
    return tomogram, true


def right(picks, true):
    """Return which picks are particles."""
    from scipy.spatial import KDTree

    return KDTree(true.positions).query(picks.positions)[0] < 3


def test_particles_are_told_from_rods_better(with_edges, tmp_path):
    tomogram, true = with_edges
    kept = {
        length: fp.search(
            tomogram,
            count=60,
            tophat=length,
            record=tmp_path / f"{length}.json",
            **OPTIONS,
        )
        for length in (None, 10.0)
    }
    first = {key: right(each, true)[: len(true)] for key, each in kept.items()}
    assert (~first[None]).mean() > 0.2
    assert (~first[10.0]).mean() < 0.6 * (~first[None]).mean()
    assert "tophat" not in kept[None].features
    off = kept[10.0].features["tophat"]
    assert (off >= 0).all() and off.max() > 0.05
    assert read_record(tmp_path / "10.0.json").tophat == 10.0


def test_an_empty_list_has_the_feature_too():
    noise = np.random.default_rng(0).standard_normal((42, 42, 42))
    with pytest.warns(UserWarning, match="found nothing"):
        picks = fp.search(noise, threshold=0.99, tophat=8.0, **OPTIONS)
    assert len(picks) == 0 and "tophat" in picks.features


def test_maps_are_the_same_with_it(with_edges, tmp_path):
    tomogram, _ = with_edges
    some = tomogram[:30, :40, :40]
    for name, length in (("a", None), ("b", 10.0)):
        fp.search(some, count=3, maps=tmp_path / name, tophat=length, **OPTIONS)
    plainly, with_it = (
        fp.from_file(tmp_path / name / "score.mrc")(2.0) for name in "ab"
    )
    np.testing.assert_array_equal(plainly, with_it)


@pytest.mark.parametrize("value", [0, -1.0, "8", np.nan, True, 42.5, 1e300])
def test_a_wrong_length_is_refused(value):
    with pytest.raises((TypeError, ValueError), match="tophat must be"):
        fp.search(np.zeros((42, 42, 42)), tophat=value, **OPTIONS)


def test_an_exact_search_has_none():
    with pytest.raises(ValueError, match="tophat must be None with exact=True"):
        fp.search(np.zeros((42, 42, 42)), tophat=8.0, exact=True, **OPTIONS)
