"""Halves: what belongs together is in one, and nothing mixes them."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
import toolz
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe import Molecules
from funpipe.jobs.clustering import box_links, tomogram_numbers

SCALE = 0.5


def picks(seed: int, count: int, *, tomograms: int = 2, tubes: int = 4) -> Molecules:
    random = np.random.default_rng(seed)
    return Molecules(
        random.uniform(0, 10, (count, 3)).round(1),
        Rotation.random(count, rng=random),
        {
            "tomogram": random.integers(tomograms, size=count).astype(str),
            "tube": random.integers(tubes, size=count),
        },
    )


def naive_clusters(molecules, within, tubes) -> list[set[int]]:
    """Join the clusters of each two particles that belong together, one by one."""
    clusters = [{i} for i in range(len(molecules))]
    for i, j in itertools.combinations(range(len(molecules)), 2):
        apart = np.linalg.norm(molecules.positions[i] - molecules.positions[j])
        same = {k: each[i] == each[j] for k, each in molecules.features.items()}
        if same["tomogram"] and (apart <= within or (tubes and same["tube"])):
            one, other = (next(c for c in clusters if k in c) for k in (i, j))
            if one is not other:
                one |= other
                clusters.remove(other)
    return clusters


seeds = st.integers(0, 2**16)
counts = st.integers(2, 40)


@given(seeds, counts, st.sampled_from([None, 0.5, 1.5, 3.0]), st.booleans(), seeds)
def test_what_belongs_together_is_in_one_half_and_halves_are_balanced(
    seed, count, within, tubes, draw
):
    molecules = picks(seed, count)
    clusters = naive_clusters(molecules, within or 0.0, tubes)
    split = fp.halves(within=within, together="tube" if tubes else None, seed=draw)
    if len(clusters) < 2:
        with pytest.raises(ValueError, match=f"all {count} belong together"):
            split(molecules)
        return
    half = split(molecules).features["half"]
    assert half.dtype.kind == "i"
    assert all(len({half[i] for i in each}) == 1 for each in clusters)
    assert set(half.tolist()) == {1, 2}
    # The largest first to the smaller half leaves no more than the last one over.
    first, second = np.bincount(half)[1:]
    assert abs(first - second) <= max(map(len, clusters))
    if within is None and not tubes and len(clusters) == count:
        assert abs(first - second) <= 1


@given(seeds, counts, st.sampled_from([None, 1.5]), st.randoms())
def test_the_order_of_the_particles_does_not_matter(seed, count, within, random):
    molecules = picks(seed, count, tomograms=3)
    molecules = molecules.with_features(number=np.arange(count))
    shuffled = list(range(count))
    random.shuffle(shuffled)
    try:
        one = fp.halves(molecules, within=within, seed=3)
    except ValueError:
        return  # one cluster
    other = fp.halves(molecules[shuffled], within=within, seed=3).sort_by("number")
    np.testing.assert_array_equal(one.features["half"], other.features["half"])


def test_the_seed_says_which_halves():
    molecules = picks(0, 40)
    draws = {
        tuple(fp.halves(molecules, seed=seed).features["half"]) for seed in range(8)
    }
    assert len(draws) == 8
    again = fp.halves(molecules, seed=3)
    assert again == fp.halves(molecules, seed=3)
    # Neither half is preferred, and no particle has its half whatever the seed.
    mean = np.mean(
        [fp.halves(molecules, seed=s).features["half"] for s in range(200)], 0
    )
    assert (abs(mean - 1.5) < 0.2).all()


def test_of_equal_clusters_each_half_gets_as_many():
    ends = np.repeat(np.arange(10) * 20.0, 3)
    positions = np.stack([ends + np.tile([0, 1, 2], 10), 0 * ends, 0 * ends], -1)
    half = fp.halves(positions, within=1.0).features["half"]
    assert np.bincount(half).tolist() == [0, 15, 15]


def test_particles_at_one_place_are_one_particle():
    positions = np.repeat([[1.0, 2, 3], [1, 2, -0.0], [1, 2, 0.0]], 5, axis=0)
    for seed in range(10):
        half = fp.halves(positions, seed=seed).features["half"]
        assert set(half[:5]) ^ set(half[5:]) == {1, 2}


def test_tomograms_do_not_meet():
    molecules = Molecules(np.zeros((2, 3)), features={"tomogram": ["a", "b"]})
    assert sorted(fp.halves(molecules, within=5.0).features["half"]) == [1, 2]
    series = Molecules(np.zeros((2, 3)), features={"series": ["a", "b"]})
    with pytest.raises(ValueError, match="all 2 belong together"):
        fp.halves(series, within=5.0)
    found = fp.halves(series, within=5.0, tomogram_feature="series")
    assert sorted(found.features["half"]) == [1, 2]


def test_values_that_are_missing_hold_nothing_together():
    positions = np.arange(12.0).reshape(4, 3)
    tubes = {"tube": [1.0, 1.0, np.nan, np.nan], "lattice": ["", "", "", ""]}
    molecules = Molecules(positions, features=tubes)
    for seed in range(10):
        split = fp.halves(molecules, together=["tube", "lattice"], seed=seed)
        half = split.features["half"]
        assert half[0] == half[1] != half[2] == half[3]  # two to each
    with_b = molecules.with_features(lattice=["", "b", "b", ""])
    half = fp.halves(with_b, together=("tube", "lattice")).features["half"]
    assert half[0] == half[1] == half[2] != half[3]


def boxes_meet(one, other, turns, sides) -> bool:
    """Whether two boxes share a point, by linear programming over its coordinates."""
    rows, limits = [], []
    for centre, turn in zip((one, other), turns.as_matrix(), strict=True):
        for axis, side in zip(turn.T, sides, strict=True):
            rows += [axis, -axis]
            limits += [axis @ centre + side / 2, -(axis @ centre) + side / 2]
    found = linprog(np.zeros(3), rows, limits, bounds=[(None, None)] * 3)
    return found.status == 0


@settings(max_examples=50)
@given(seeds)
def test_boxes_overlap_where_they_share_a_point(seed):
    random = np.random.default_rng(seed)
    sides = random.uniform(0.5, 3, 3)
    positions = random.uniform(0, 4, (6, 3))
    molecules = Molecules(positions, Rotation.random(6, rng=random))
    (links,) = box_links(molecules, np.zeros(6, int), tuple(sides))
    found = {tuple(sorted(each)) for each in links.pairs.tolist()}
    expected = {
        (i, j)
        for i, j in itertools.combinations(range(6), 2)
        if boxes_meet(*positions[[i, j]], molecules.rotations[[i, j]], sides)
    }
    assert found == expected


def test_boxes_side_by_side_do_not_overlap():
    positions = np.array([[0.0, 0, 0], [4, 0, 0], [8, 0, 0]])
    assert len(np.unique(fp.halves(positions, box=4.0).features["half"])) == 2
    with pytest.raises(ValueError, match="all 3 belong together"):
        fp.halves(positions, box=4.1)
    assert len(np.unique(fp.halves(positions, box=(3.9, 9, 9)).features["half"])) == 2


# Halves that a list has already.


def test_random_subsets_are_taken_over_and_said_again():
    molecules = picks(1, 6).with_features(rlnRandomSubset=[1.0, 2, 2, 1, 2, 1])
    half = fp.halves(molecules, seed=9).features["half"]
    assert half.tolist() == [1, 2, 2, 1, 2, 1]
    drawn = fp.halves(molecules, redraw=True, seed=5)
    assert drawn.features["half"].tolist() != half.tolist()
    for each in ("half", "rlnRandomSubset"):
        np.testing.assert_array_equal(drawn.features[each], drawn.features["half"])
    assert fp.halves(drawn, seed=1) == drawn


def test_a_cluster_torn_apart_is_said():
    positions = np.array([[0.0, 0, 0], [9, 0, 0], [0, 0, 1]])
    subsets = Molecules(positions, features={"rlnRandomSubset": [1, 1, 2]})
    text = (
        r"'rlnRandomSubset'\] puts molecules\[0\] into half 1 and molecules\[2\] into "
        r"half 2, but they belong together: they are within=1.5 nm \(1 pairs"
    )
    with pytest.raises(ValueError, match=text):
        fp.halves(subsets, within=1.5)
    with pytest.raises(ValueError, match="their boxes of 2 x 2 x 2 nm overlap"):
        fp.halves(subsets, box=2)
    tubes = subsets.with_features(tube=[1, 2, 1])
    with pytest.raises(ValueError, match="they share a value of 'tube'"):
        fp.halves(tubes, together="tube")
    half = fp.halves(subsets, within=1.5, redraw=True).features["half"]
    assert half[0] == half[2] != half[1]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (
            [1, 2, 0],
            r"'half'\] must be 1 or 2 for each particle, not 0 as for mol.*\[2\]",
        ),
        ([1.0, 2.0, np.nan], "not nan as for"),
        (["1", "2", "1"], "not texts: redraw=True draws halves anew"),
        ([2, 2, 2], "leaves half 1 empty: redraw=True"),
    ],
)
def test_halves_that_are_none_are_refused(values, text):
    molecules = picks(0, 3).with_features(half=values)
    with pytest.raises(ValueError, match=text):
        fp.halves(molecules)
    assert set(fp.halves(molecules, redraw=True).features["half"]) == {1, 2}


def test_particles_that_are_aligned_are_not_drawn_anew():
    molecules = fp.halves(picks(0, 8))
    aligned = molecules.with_features(aligned_half=molecules.features["half"])
    assert fp.halves(aligned, seed=4) == aligned
    with pytest.raises(ValueError, match="have been aligned to references of halves"):
        fp.halves(aligned, redraw=True)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"molecules": np.zeros((0, 3))}, "molecules must be one particle or more"),
        ({"molecules": np.zeros((1, 3))}, "all 1 belong together"),
        ({"molecules": "picks.star"}, "molecules must be"),
        ({"seed": 0.5}, "seed must be a whole number of 0 or more, not 0.5"),
        ({"seed": None}, "seed must be"),
        ({"within": 0}, "within must be a number above 0, or None, not 0"),
        ({"within": -1.0}, "within must be"),
        ({"box": 0}, "box must be one number above 0 or three"),
        ({"together": "lattice"}, "together must be features that there are, 'tomo"),
        ({"together": 5}, "together must be None, the name of a feature, or several"),
        ({"together": ["tube", 5]}, "together must be None"),
        ({"redraw": 1}, "redraw must be True or False"),
        ({"tomogram_feature": "series"}, "tomogram_feature must be a feature that"),
        ({"tomogram_feature": None}, "tomogram_feature must be a name"),
        ({"within": 100.0}, "all 9 belong together: give a smaller within or box"),
    ],
)
def test_a_wrong_argument_is_named(changes, text):
    arguments = {"molecules": picks(0, 9, tomograms=1), **changes}
    with pytest.raises((TypeError, ValueError), match=text):
        fp.halves(**arguments)


def test_tomograms_are_numbered_by_name():
    molecules = Molecules(np.zeros((3, 3)), features={"tomogram": ["b", "a", "b"]})
    assert tomogram_numbers(molecules, "tomogram").tolist() == [1, 0, 1]


@pytest.mark.parametrize("name", ["relion", "m"])
def test_halves_go_to_other_programs_and_come_back(tmp_path, name):
    pytest.importorskip("starfile")
    molecules = picks(4, 9)
    molecules = molecules.with_features(wrpSourceHash=["00172A"] * 9)
    split = fp.halves(molecules, within=1.0, seed=2)
    options = {"scale": 0.5} if name == "relion" else {}
    fp.write_molecules(split, tmp_path / "a.star", format=name, **options)
    found = fp.read_molecules(tmp_path / "a.star", **options)
    without = {k: v for k, v in found.features.items() if k != "half"}
    assert {"rlnRandomSubset", "wrpRandomSubset"} & without.keys()
    again = fp.halves(Molecules(found.positions, found.rotations, without))
    np.testing.assert_array_equal(again.features["half"], split.features["half"])


# Averages of halves.


@pytest.fixture(name="scene", scope="module")
def _scene():
    random = np.random.default_rng(0)
    image = random.normal(size=(30, 34, 36)).astype(np.float32)
    positions = random.uniform(5, 10, (7, 3))
    return image, Molecules(positions, Rotation.random(7, rng=random))


@pytest.mark.parametrize("tilt", [None, (-60, 60)])
def test_each_average_is_that_of_its_half_alone(scene, tilt):
    image, molecules = scene
    split = fp.halves(molecules)
    options = {"shape": (5, 7, 6), "scale": SCALE, "tilt": tilt, "progress": False}
    pair = toolz.pipe(split, fp.half_averages(image, **options))
    for half, found in ((1, pair.first), (2, pair.second)):
        alone = split[split.features["half"] == half]
        expected = fp.average(image, alone, **options)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert pair.scale == SCALE


def test_many_tomograms_are_averaged_in_halves_with_one_warning(scene, tmp_path):
    image, molecules = scene
    named = molecules.with_features(tomogram=[*"aaaabbb"], half=[1, 1, 1, 1, 2, 2, 2])
    tomograms = {"a": image, "b": -image, "c": image}
    options = {"shape": 5, "scale": SCALE, "progress": False, "checkpoint": tmp_path}
    with pytest.warns(UserWarning) as caught:
        pair = fp.half_averages(tomograms, named, **options)
    text = "no particles lie in 1 of the tomograms: 'c'"
    assert [str(each.message) for each in caught] == [text]
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="no particles"):
        again = fp.half_averages(tomograms, named, **options)  # from the checkpoint
    np.testing.assert_array_equal(pair.second, again.second)
    with pytest.raises(ValueError, match=r"molecules\[6\] at .* lies wholly outside"):
        outside = np.append(molecules.positions[:6], [[99.0, 0, 0]], axis=0)
        fp.half_averages(
            tomograms, Molecules(outside, features=named.features), **options
        )


def test_averages_want_halves_that_are_independent(scene):
    image, molecules = scene
    options = {"shape": 5, "scale": SCALE}
    with pytest.raises(ValueError, match="no feature 'half': write halves"):
        fp.half_averages(image, molecules, **options)
    with pytest.raises(ValueError, match="leaves half 2 empty"):
        fp.half_averages(image, molecules.with_features(half=[1] * 7), **options)
    with pytest.raises(ValueError, match="molecules must be one particle or more"):
        fp.half_averages(image, np.zeros((0, 3)), **options)
    half = np.array([1, 2, 1, 2, 1, 2, 1])
    aligned = molecules.with_features(half=half, aligned_half=half)
    fp.half_averages(image, aligned, **options)
    text = (
        r"molecules\[3\] is in half 1, but was aligned to the reference of half 2 .*, "
        "as 2 of 7 were: the halves are not independent"
    )
    mixed = aligned.with_features(half=[1, 2, 1, 1, 1, 1, 1])
    with pytest.raises(ValueError, match=text):
        fp.half_averages(image, mixed, **options)


# The pair of maps.

PAIR = fp.Halves(np.zeros((4, 4, 4)), np.ones((4, 4, 4)), scale=0.5)
MIXTURES = [
    lambda: PAIR + PAIR,
    lambda: 1 + PAIR,
    lambda: np.ones((4, 4, 4)) * PAIR,
    lambda: np.float64(2) * PAIR,
    lambda: PAIR / 2,
    lambda: -PAIR,
    lambda: sum(PAIR),
    lambda: np.mean(PAIR),
    lambda: np.mean(PAIR, axis=0),
    lambda: np.add(PAIR, PAIR),
    lambda: np.asarray(PAIR),
    lambda: np.stack(PAIR),
    lambda: PAIR[0],
]


@pytest.mark.parametrize("number", range(len(MIXTURES)))
def test_halves_are_not_mixed(number):
    with pytest.raises(
        TypeError, match=r"Halves stay apart: .* take .first or .second"
    ):
        MIXTURES[number]()


def test_a_pair_is_no_template():
    for template in (PAIR, [PAIR], [PAIR.first, PAIR]):
        with pytest.raises(
            TypeError, match=r"template.* must be .*: Halves stay apart"
        ):
            fp.prepare(template)
    with pytest.raises(TypeError, match=r"template.*: Halves stay apart"):
        fp.align(np.zeros((9, 9, 9)), [[4, 4, 4.0]], template=PAIR, scale=0.5)


def test_a_pair_is_mapped_side_by_side():
    twice = PAIR.map(fp.identity * 2 + 1)
    assert (twice.first == 1).all()
    assert (twice.second == 3).all()
    assert twice.scale == 0.5


def test_a_pair_is_frozen_and_pickled():
    with pytest.raises(AttributeError):
        PAIR.first = PAIR.second
    with pytest.raises(ValueError, match="read-only"):
        PAIR.first[0] = 1
    again = pickle.loads(pickle.dumps(PAIR))
    np.testing.assert_array_equal(again.second, PAIR.second)
    assert repr(again) == "Halves(two maps of 4 x 4 x 4 voxels of 0.5 nm)"
    assert bool(PAIR)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((np.zeros((4, 4)), PAIR.first), "first must be a 3-D array"),
        ((PAIR.first, np.full((4, 4, 4), np.nan)), "second must be finite"),
        ((PAIR.first, np.zeros((4, 4, 5))), "second must have the shape of first"),
        ((PAIR.first, PAIR.second, 0), "scale must be a number above 0"),
    ],
)
def test_what_is_no_pair_is_refused(arguments, text):
    with pytest.raises((TypeError, ValueError), match=text):
        fp.Halves(*arguments)


# What it is for.


def test_picks_that_are_doubled_overstate_the_agreement_unless_they_stay_together():
    """In noise alone: every third pick once more, a tenth of a voxel off."""
    random = np.random.default_rng(0)
    noise = random.normal(size=(48, 48, 48)).astype(np.float32)
    once = random.uniform(4.5, 19, (60, 3))
    doubled = np.concatenate([once, once[:20] + random.normal(size=(20, 3)) * 0.05])
    options = {"shape": 17, "scale": SCALE, "progress": False}

    def agreement(seed, **cluster):
        split = fp.halves(doubled, seed=seed, **cluster)
        pair = fp.half_averages(noise, split, **options)
        curve = fp.fsc(pair.first, pair.second, scale=pair.scale)
        return np.average(curve.fsc, weights=curve.waves)

    leaking = np.mean([agreement(seed) for seed in range(8)])
    apart = np.mean([agreement(seed, within=0.5) for seed in range(8)])
    assert leaking > 0.1  # half of 20 pairs of 80 are torn apart: Σ of 10 in 40
    assert abs(apart) < 0.05
