"""What a search says of its picks: how likely each is a particle."""

from __future__ import annotations

import numpy as np
import pytest
import scipy
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.jobs.odds import odds_of
from funpipe.jobs.sweeping import Found

MOLECULE = fp.simulate.asymmetric_molecule(3, count=14, radius=3.2, sigma=0.7)
TEMPLATE = fp.simulate.blob_image(MOLECULE, (15, 15, 15), 1.0)
NUMBERS = 200.0


def found(where, evidence):
    """Return peaks of some ℓ."""
    scores = np.sqrt(1 - np.exp(-2 * np.maximum(evidence, 0) / NUMBERS))
    rows = np.zeros(len(scores), np.intp)
    return Found(where, scores, rows, (0,), 0.1, NUMBERS, 1)


def peaks(random, count):
    """Return places of peaks far apart, and by chance their ℓ."""
    return random.uniform(0, 1e4, (count, 3)), 8 + random.exponential(1.0, count)


def shares(odds, right, edges=(0.0, 0.2, 0.8, 1.0)):
    """Return of picks by their probability: how many, its mean, and what is right."""
    p = scipy.special.expit(odds)
    group = np.digitize(p, edges[1:-1])
    return [
        (int(some.sum()), float(p[some].mean()), float(right[some].mean()))
        for some in (group == i for i in range(len(edges) - 1))
    ]


def of_particles(random, count):
    """Return places and ℓ of particles: ln of the odds goes with 0.8 ℓ."""
    return random.uniform(0, 1e4, (count, 3)), 8 + random.exponential(5.0, count)


def together(*some):
    """Return peaks of several kinds."""
    return found(*map(np.concatenate, zip(*some, strict=True)))


def test_odds_are_those_with_which_peaks_were_drawn():
    random = np.random.default_rng(0)
    mine = together(peaks(random, 6000), of_particles(random, 900))
    nulls = [[found(*peaks(random, 6000))] for _ in range(2)]
    odds = odds_of([mine], nulls, 5.0)
    level = np.array([9.0, 11.0, 13.0, 15.0])
    true = np.log(900 / 5 / 6000) + 0.8 * (level - 8)
    scores = found(np.zeros((4, 3)), level).scores
    np.testing.assert_allclose(odds.at(scores, NUMBERS), true, atol=0.6)
    right = np.arange(len(mine.scores)) >= 6000
    for count, said, is_so in shares(odds.at(mine.scores, NUMBERS), right):
        assert count > 100 and is_so == pytest.approx(said, abs=0.1)


def test_a_nulls_peaks_at_particles_are_no_chance():
    random = np.random.default_rng(1)
    there, level = of_particles(random, 900)[0], random.normal(16.0, 1.5, 900)
    mine = together(peaks(random, 6000), (there, level))
    nulls = []
    for _ in range(2):
        beside = there + random.uniform(-1, 1, there.shape)
        less = level - random.exponential(2.5, 900)
        nulls.append([together(peaks(random, 6000), (beside, less))])
    odds = odds_of([mine], nulls, 5.0).at(mine.scores, NUMBERS)
    apart = odds_of([mine], nulls, 1e-3).at(mine.scores, NUMBERS)  # as if all were
    said, cautious = (scipy.special.expit(each).sum() for each in (odds, apart))
    assert pytest.approx(said, rel=0.1) == 900
    assert cautious < 0.7 * 900


def test_where_the_null_is_as_good_nothing_is_likely():
    random = np.random.default_rng(2)
    mine, *others = (found(*peaks(random, 1000)) for _ in range(3))
    odds = odds_of([mine], [[each] for each in others], 5.0)
    assert scipy.special.expit(odds.at(mine.scores, NUMBERS)).sum() < 10


@pytest.mark.parametrize("counts", [(0, 0), (0, 5), (5, 0)])
def test_there_may_be_no_peaks(counts):
    random = np.random.default_rng(3)
    mine, null = (found(*peaks(random, count)) for count in counts)
    odds = odds_of([mine], [[null]], 5.0)
    some = np.array([0.1, 0.9])
    assert np.isfinite(odds.at(some, NUMBERS)).all()
    assert np.isfinite(odds.by_chance(some, NUMBERS)).all()


def test_odds_rise_with_the_score_in_all_tomograms_alike():
    random = np.random.default_rng(4)
    some = [found(*peaks(random, 300)) for _ in range(2)]
    odds = odds_of(some, [[found(*peaks(random, 300)) for _ in range(2)]], 5.0)
    assert odds.slope >= 0
    both = found(np.concatenate([each.where for each in some]), [9.0] * 600)
    assert np.ptp(odds.at(both.scores, NUMBERS)) < 1e-6


def crowded(seed, noise, count=60, shape=(64, 120, 120)):
    """Return particles far apart in noise, and where they are."""
    random = np.random.default_rng(seed)
    axes = [np.arange(10, n - 9, 12.0) for n in shape]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    there = random.permutation(grid)[:count] + random.uniform(-1, 1, (count, 3))
    true = fp.Molecules(there, Rotation.random(count, rng=random))
    noise = noise * TEMPLATE.max()
    return fp.simulate.tomogram(
        MOLECULE, true, shape, 1.0, noise=noise, seed=seed
    ), true


def test_picks_are_particles_at_least_as_often_as_is_said():
    made = {str(seed): crowded(seed, 0.5) for seed in range(6)}
    picks = fp.search(
        {name: each for name, (each, _) in made.items()},
        template=TEMPLATE,
        scale=1.0,
        tilt=(-60, 60),
        spacing=30.0,
        resolution=3.0,
        false_discovery_rate=0.8,
        progress=False,
    )
    right = np.zeros(len(picks), bool)
    for name, (_, true) in made.items():
        mine = picks.features["tomogram"] == name
        away, _ = scipy.spatial.KDTree(true.positions).query(picks.positions[mine])
        right[mine] = away < 3.0
    found = shares(picks.features["log_odds"], right)
    for count, said, is_so in found:
        assert count > 10 and is_so > said - 0.1
    assert found[0][0] > 40 and found[2][0] > 30
