"""What a search says of its picks: how likely each is a particle."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.jobs import nulls
from funpipe.jobs.chance import mirrored, noise_like, phases_randomised
from funpipe.jobs.odds import false_alarms, odds_of, winners
from funpipe.jobs.preparing import masked_templates, prepare_all
from funpipe.jobs.recording import read_record
from funpipe.jobs.sweeping import Found

MOLECULE = fp.simulate.asymmetric_molecule(3, count=14, radius=3.2, sigma=0.7)
TEMPLATE = fp.simulate.blob_image(MOLECULE, (15, 15, 15), 1.0)
NUMBERS = 200.0


def found(where, evidence):
    """Return peaks of some ℓ."""
    scores = np.sqrt(1 - np.exp(-2 * np.maximum(evidence, 0) / NUMBERS))
    rows = np.zeros(len(scores), np.intp)
    return Found(where, scores, rows, (0,), 0.1, NUMBERS, 1, {})


class Said(NamedTuple):
    odds: Any
    said: np.ndarray
    false: np.ndarray


def judged_by(mine, null, distance=5.0, freedom=1.0):
    """Return the odds of a tomogram's peaks, ln of those of each, and what is false.

    Of a peak that the null wins −∞, and 1.
    """
    won, lost = winners(mine, null, distance)
    odds = odds_of([mine.take(won)], [null.take(lost)], [freedom])
    said, false = np.full(len(won), -np.inf), np.ones(len(won))
    said[won] = odds.at(mine.scores[won], mine.numbers)
    false[won] = odds.false([mine.take(won)])
    return Said(odds, said, false)


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
    odds = judged_by(mine, found(*peaks(random, 6000))).odds
    level = np.array([9.0, 11.0, 13.0, 15.0])
    true = np.log(900 / 5 / 6000) + 0.8 * (level - 8)
    scores = found(np.zeros((4, 3)), level).scores
    np.testing.assert_allclose(odds.at(scores, NUMBERS), true, atol=0.6)
    right = np.arange(len(mine.scores)) >= 6000
    for count, said, is_so in shares(odds.at(mine.scores, NUMBERS), right):
        assert count > 100 and is_so == pytest.approx(said, abs=0.1)


def test_of_a_list_as_many_are_false_as_is_said():
    said = []
    for seed in range(20):
        random = np.random.default_rng(seed)
        mine = together(peaks(random, 3000), of_particles(random, 450))
        null = found(*peaks(random, 3000))
        said.append(judged_by(mine, null).false)
    told, false = np.concatenate(said), np.tile(np.arange(3450) < 3000, 20)
    for part in (0.01, 0.02, 0.05, 0.1, 0.2, 0.4):
        assert false[told <= part].mean() == pytest.approx(part, rel=0.2)
    assert (~false)[told <= 0.1].sum() > 0.33 * 20 * 450  # 0.36 by the right list


def test_the_highest_alone_fall_off_as_those_below_them():
    random = np.random.default_rng(9)
    true = found(random.uniform(0, 1e4, (30, 3)), np.full(30, 26.0))
    null = found(*peaks(random, 400))
    said = judged_by(true, null).false
    assert len(np.unique(said)) == 1 and 0 < said[0] < 1e-5  # 400 e^-18 / 30 is true


def test_what_the_null_fits_better_is_no_pick():
    mine = found(np.array([[0.0, 0, 0], [50, 0, 0], [90, 0, 0]]), [20.0, 15.0, 15.0])
    null = found(np.array([[1.0, 0, 0], [52, 0, 0]]), [18.0, 16.0])
    verdict = judged_by(mine, null)
    assert np.isfinite(verdict.said).tolist() == [True, False, True]
    assert verdict.false[1] == 1 and verdict.said[1] == -np.inf


def test_a_nulls_peaks_at_particles_are_no_chance():
    random = np.random.default_rng(1)
    there, level = of_particles(random, 900)[0], random.normal(16.0, 1.5, 900)
    mine = together(peaks(random, 6000), (there, level))
    beside = there + random.uniform(-1, 1, there.shape)
    less = level - random.exponential(2.5, 900)
    null = together(peaks(random, 6000), (beside, less))
    said, cautious = (
        scipy.special.expit(judged_by(mine, null, away).said).sum()
        for away in (5.0, 1e-3)  # the latter as if all were elsewhere
    )
    assert said == pytest.approx(900, rel=0.1)
    assert cautious < 0.7 * 900


def test_of_a_null_that_turns_more_freely_peaks_count_less():
    random = np.random.default_rng(7)
    mine = together(peaks(random, 2000), of_particles(random, 400))
    null = found(*peaks(random, 6000))
    plainly, counted = (
        judged_by(mine, null, freedom=each).odds.by_chance(np.array([10.0, 12.0]))
        for each in (1.0, 3.0)
    )
    np.testing.assert_allclose(counted, plainly / 3, rtol=0.1)
    np.testing.assert_allclose(counted, 2000 * np.exp([-2.0, -4.0]), rtol=0.25)


def test_where_the_null_is_as_good_nothing_is_likely():
    random = np.random.default_rng(2)
    mine, null = (found(*peaks(random, 1000)) for _ in range(2))
    verdict = judged_by(mine, null)
    assert scipy.special.expit(verdict.said).sum() < 10
    assert (verdict.false <= 0.1).sum() < 10


@pytest.mark.parametrize("counts", [(0, 0), (0, 5), (5, 0)])
def test_there_may_be_no_peaks(counts):
    random = np.random.default_rng(3)
    mine, null = (found(*peaks(random, count)) for count in counts)
    verdict = judged_by(mine, null)
    assert np.isfinite(verdict.odds.at(np.array([0.1, 0.9]), NUMBERS)).all()
    assert (verdict.odds.by_chance(np.array([1.0, 90.0])) == 1).all()
    assert verdict.false.shape == verdict.said.shape == (counts[0],)


def test_odds_rise_with_the_score_in_all_tomograms_alike():
    random = np.random.default_rng(4)
    some = [found(*peaks(random, 300)) for _ in range(2)]
    null = [found(*peaks(random, 300)) for _ in range(2)]
    odds = odds_of(some, null, [1.0, 1.0])
    assert odds.slope >= 0
    both = found(np.concatenate([each.where for each in some]), [9.0] * 600)
    assert np.ptp(odds.at(both.scores, NUMBERS)) < 1e-6


def null_of(template, monkeypatch, **options):
    """Return masked templates, and what a search looks for as its null."""
    looked = []

    def spy(place, each, how, what="search"):
        looked.append(each)
        return swept(place, each, how, what)

    swept = nulls.swept
    monkeypatch.setattr(nulls, "swept", spy)
    noise = np.random.default_rng(5).standard_normal((40, 40, 40))
    with pytest.warns(UserWarning, match="found nothing"):
        fp.search(
            noise,
            template=template,
            scale=1.0,
            spacing=40.0,
            resolution=3.0,
            false_discovery_rate=1e-6,
            progress=False,
            **options,
        )
    (null,) = looked
    return masked_templates(prepare_all(template, None, 1.0)), null


def test_the_null_is_the_mirror_image_where_that_is_another_molecule(monkeypatch):
    template, null = null_of(TEMPLATE, monkeypatch, background="mirrored")
    np.testing.assert_array_equal(null.templates, mirrored(template))
    np.testing.assert_array_equal(null.background, template)


def test_the_null_is_noise_where_the_mirror_image_is_the_same(monkeypatch):
    ball = fp.from_gaussian((15.0, 15.0, 15.0), sigma=(1.5, 1.5, 3.0))(1.0)
    template, null = null_of(ball, monkeypatch)
    np.testing.assert_array_equal(null.templates, noise_like(template))


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


@pytest.mark.parametrize("hand", [1, -1])
def test_a_template_of_the_wrong_hand_is_told(hand):
    tomogram, _ = crowded(7, 0.3)
    search = fp.search(
        template=TEMPLATE[::hand, ::hand, ::hand],
        scale=1.0,
        tilt=(-60, 60),
        spacing=15.0,
        resolution=2.0,
        false_discovery_rate=0.05,
        progress=False,
    )
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        picks = search(tomogram)
    told = [str(each.message) for each in said]
    assert (len(picks) > 40) == (hand == 1)
    assert any("may be of the wrong hand" in each for each in told) == (hand == -1)


def test_a_longer_list_begins_with_as_many_that_are_hardly_false():
    tomogram, _ = crowded(7, 0.3)
    search = fp.search(
        template=TEMPLATE,
        scale=1.0,
        tilt=(-60, 60),
        spacing=15.0,
        resolution=2.0,
        progress=False,
    )
    part = 0.05
    few, many = (search(tomogram, false_discovery_rate=each) for each in (part, 0.6))
    share = many.features["false_discovery_rate"]
    assert len(many) > 1.2 * len(few) > 40 and (np.diff(share) >= 0).all()
    assert (share <= part).sum() == pytest.approx(len(few), rel=0.03)
    assert few.features["false_discovery_rate"].max() <= part


def test_picks_are_particles_at_least_as_often_as_is_said():
    made = {str(seed): crowded(seed, 0.5) for seed in range(6)}
    picks = fp.search(
        {name: each for name, (each, _) in made.items()},
        template=TEMPLATE,
        scale=1.0,
        tilt=(-60, 60),
        spacing=15.0,
        resolution=2.0,  # coarser, particles are like their mirror images
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


# What noise finds.


def test_noise_with_other_phases_has_the_power_of_each_wave():
    image = fp.simulate.tomogram(
        TEMPLATE, fp.Molecules([[15.0, 12, 14]]), (30, 25, 28), 1.0
    )
    noise, other = (phases_randomised(image, seed) for seed in (1, 2))
    F, G, H = (scipy.fft.rfftn(each) for each in (image, noise, other))
    most = np.abs(F).max()
    np.testing.assert_allclose(np.abs(G), np.abs(F), atol=1e-5 * most)
    np.testing.assert_allclose(np.abs(H), np.abs(F), atol=1e-5 * most)
    likeness = np.corrcoef([image.ravel(), noise.ravel(), other.ravel()])
    assert np.abs(likeness[np.triu_indices(3, 1)]).max() < 0.1
    np.testing.assert_array_equal(noise, phases_randomised(image, 1))


def test_false_alarms_of_known_peaks_are_as_many_as_there_are():
    random = np.random.default_rng(2)
    said = []
    for _ in range(20):
        where, evidence = peaks(random, 400)
        high = np.array([4.0, np.log(400.0), 1.0])  # 400 e^−ℓ: 7.3, 1 and 147 of them
        mine = found(np.zeros((3, 3)), 8 + high)
        said.append(false_alarms(mine, found(where, evidence)))
    usual = np.median(said, axis=0)
    np.testing.assert_allclose(usual[[0, 2]], 400 * np.exp([-4.0, -1.0]), rtol=0.15)
    assert 0.5 < usual[1] < 3  # where noise falls off sooner than is thought before
    none = found(np.zeros((0, 3)), np.zeros(0))
    assert false_alarms(none, found(where, evidence)).shape == (0,)
    assert false_alarms(mine, none).tolist() == [0, 0, 0]


IN_NOISE = fp.search(
    template=TEMPLATE,
    scale=1.0,
    tilt=(-60, 60),
    spacing=20.0,
    resolution=2.5,
    progress=False,
)


@pytest.mark.parametrize("color", [0.0, 2.0])
def test_noise_has_as_many_picks_as_are_asked_for(color):
    """Noise of each tomogram's own power is drawn, white or smooth, and searched."""
    made = {}
    for seed in range(6):
        noise = np.random.default_rng(seed).standard_normal((48, 64, 64))
        made[str(seed)] = scipy.ndimage.gaussian_filter(noise, color)
    picks = IN_NOISE(made, false_alarms=20)
    assert 60 < len(picks) < 240  # 120, each 20 by chance and by what noise had there
    few = (picks.features["false_alarms"] <= 5).sum()
    assert 12 < few < 75  # 30


def test_particles_too_faint_for_their_hand_are_told_from_noise():
    tomogram, true = crowded(7, 0.6)
    picks = IN_NOISE(tomogram, false_alarms=3)
    alarms = picks.features["false_alarms"]
    away, _ = scipy.spatial.KDTree(true.positions).query(picks.positions)
    assert list(picks.features)[:3] == ["score", "z_score", "false_alarms"]
    assert (alarms <= 3).all() and (away >= 3).sum() <= 9  # 3 by chance
    assert (away < 3).sum() > 0.7 * len(true)
    with pytest.warns(
        UserWarning, match="expected to be false; count, threshold or false"
    ):
        fewer = IN_NOISE(tomogram, false_discovery_rate=0.02)
    assert len(fewer) < 0.2 * len(picks)


def test_both_limits_of_chance_hold():
    tomogram, _ = crowded(7, 0.3)
    both = IN_NOISE(tomogram, false_alarms=1, false_discovery_rate=0.3, count=500)
    assert both.features["false_alarms"].max() <= 1
    assert both.features["false_discovery_rate"].max() <= 0.3
    assert len(both) > 40


@pytest.mark.parametrize("alarms", [np.int64(5), np.float32(5)])
def test_numbers_of_numpy_are_recorded_too(alarms, tmp_path):
    tomogram, _ = crowded(7, 0.3, count=4, shape=(32, 40, 40))
    IN_NOISE(tomogram, false_alarms=alarms, record=tmp_path / "record.json")
    assert read_record(tmp_path / "record.json").false_alarms == 5


def test_what_noise_has_is_kept_apart_from_what_a_tomogram_has(tmp_path):
    tomogram, _ = crowded(7, 0.3, count=12, shape=(40, 60, 60))
    once = IN_NOISE(tomogram, false_alarms=1)
    kept, again = (
        IN_NOISE(tomogram, false_alarms=1, checkpoint=tmp_path) for _ in range(2)
    )
    for each in (kept, again):
        np.testing.assert_array_equal(each.positions, once.positions)
        said = each.features["false_alarms"]
        np.testing.assert_array_equal(said, once.features["false_alarms"])
    assert len(once) >= 10
