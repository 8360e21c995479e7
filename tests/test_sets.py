"""Sets of particles made from others."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import toolz
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe import Molecules

seeds = st.integers(0, 2**16)
counts = st.integers(0, 30)


def picks(seed: int, count: int) -> Molecules:
    random = np.random.default_rng(seed)
    scores = random.integers(5, size=count) / 4.0  # some are equal
    return Molecules(
        random.uniform(0, 6, (count, 3)),
        Rotation.random(count, rng=random) if count else None,
        {
            "tomogram": random.integers(2, size=count).astype(str),
            "score": np.where(random.random(count) < 0.1, np.nan, scores),
        },
    )


def apart(molecules, i, j) -> float:
    if molecules.features["tomogram"][i] != molecules.features["tomogram"][j]:
        return np.inf
    return float(np.linalg.norm(molecules.positions[i] - molecules.positions[j]))


# Duplicates.


def naive_distinct(molecules, distance) -> list[int]:
    scores = np.nan_to_num(molecules.features["score"], nan=-1.0)
    left = sorted(range(len(molecules)), key=lambda i: (-scores[i], i))
    kept = []
    while left:
        best, *rest = left
        kept.append(best)
        left = [i for i in rest if apart(molecules, best, i) > distance]
    return sorted(kept)


@given(seeds, counts, st.sampled_from([0.1, 1.0, 2.0, 20.0]))
def test_the_best_of_those_too_near_stays(seed, count, distance):
    molecules = picks(seed, count)
    found = fp.distinct(molecules, distance=distance)
    assert found == molecules[naive_distinct(molecules, distance)]
    assert fp.distinct(found, distance=distance) == found


def test_no_two_of_those_that_stay_are_near_and_a_better_one_is_near_each_that_goes():
    molecules = picks(1, 60).with_features(number=np.arange(60), other=np.arange(60))
    kept = fp.distinct(molecules, distance=1.5, score="other").features["number"]
    for i, j in itertools.combinations(kept, 2):
        assert apart(molecules, i, j) > 1.5
    for i in set(range(60)) - set(kept.tolist()):
        assert any(apart(molecules, i, j) <= 1.5 for j in kept if j > i)


# Copies by symmetry.


@pytest.mark.parametrize("symmetry", ["C1", "C13", "D3", "T", "O", "I"])
def test_copies_show_a_symmetric_template_alike(symmetry):
    molecules = picks(0, 3)
    found = fp.symmetry_expand(molecules, symmetry)
    group = Rotation.create_group(symmetry, axis="Z")
    each = len(group)
    assert found.features["copy_of"].tolist() == np.repeat([0, 1, 2], each).tolist()
    spots = group.apply([0.5, 2.0, 1.0])[:, ::-1]  # x, y, z to z, y, x
    for i, turn in enumerate(molecules.rotations):
        expected = turn.apply(spots)
        copies = found[i * each : (i + 1) * each]
        np.testing.assert_array_equal(copies.positions, [molecules.positions[i]] * each)
        first = []
        for copy in copies.rotations:
            turned = copy.apply(spots)
            apart = np.linalg.norm(turned[:, None] - expected, axis=2)
            assert apart.min(axis=1).max() < 1e-9  # the same spots, each elsewhere
            first.append(int(apart[0].argmin()))
        assert sorted(first) == list(range(each))


def test_copies_about_the_templates_z_keep_where_it_points():
    molecules = picks(0, 4)
    found = toolz.pipe(molecules, fp.symmetry_expand(symmetry="C5"))
    z = found.rotations.apply([1, 0, 0]).reshape(4, 5, 3)
    np.testing.assert_allclose(z, np.repeat(z[:, :1], 5, axis=1), atol=1e-9)
    y = found.rotations.apply([0, 1, 0]).reshape(4, 5, 3)
    np.testing.assert_allclose(y.sum(axis=1), 0, atol=1e-9)
    assert found[::5].features["score"].tolist() == pytest.approx(
        molecules.features["score"].tolist(), nan_ok=True
    )


def test_copies_stay_in_one_half_also_when_they_are_moved():
    molecules = picks(2, 8)
    moved = fp.symmetry_expand(molecules, "D2").translate([1, 2, 3], frame="particle")
    half = fp.halves(moved, together="copy_of").features["half"].reshape(8, 4)
    assert (half == half[:, :1]).all()
    again = fp.symmetry_expand(moved, "C2")
    assert again.features["copy_of"].tolist() == np.repeat(np.arange(8), 8).tolist()
    assert len(fp.symmetry_expand(np.zeros((0, 3)), "C3")) == 0


# Rotations at random.


@given(seeds, st.sampled_from([(1, 0, 0), (0, 0, -2.0), (1, 1, 1)]))
def test_turned_about_an_axis_particles_keep_it_and_nothing_else(seed, axis):
    molecules = picks(seed, 20)
    found = fp.random_rotations(molecules, about=axis, seed=seed)
    np.testing.assert_allclose(
        found.rotations.apply(axis), molecules.rotations.apply(axis), atol=1e-9
    )
    turns = (molecules.rotations.inv() * found.rotations).as_rotvec()
    assert len(np.unique(turns.round(6), axis=0)) == 20
    assert found == fp.random_rotations(molecules, about=axis, seed=seed)
    np.testing.assert_array_equal(found.positions, molecules.positions)


def test_turned_at_random_all_rotations_are_alike():
    many = Molecules(np.zeros((4000, 3)), Rotation.from_rotvec(np.full((4000, 3), 0.3)))
    found = fp.random_rotations(many, seed=1)
    angles = found.rotations.magnitude()
    # Of uniform rotations a part (θ − sin θ) / π turns by less than θ.
    for turn in (0.5, 1.0, 2.0, 3.0):
        part = (turn - np.sin(turn)) / np.pi
        assert abs(np.mean(angles < turn) - part) < 4 * np.sqrt(part / 4000)
    spun = fp.random_rotations(np.zeros((4000, 3)), about=(0, 3, 0), seed=1)
    assert abs(np.mean(spun.rotations.magnitude() < 1.0) - 1 / np.pi) < 0.03
    assert len(fp.random_rotations(np.zeros((0, 3)))) == 0


# Neighbours.


@given(seeds, counts)
def test_the_nearest_other_particle_is_that(seed, count):
    molecules = picks(seed, count)
    found = fp.neighbours(molecules)
    for i in range(count):
        away = [apart(molecules, i, j) if j != i else np.inf for j in range(count)]
        distance = found.features["neighbour_distance"][i]
        angle = found.features["neighbour_angle"][i]
        if np.isinf(min(away)):
            assert np.isnan(distance)
            assert np.isnan(angle)
        else:
            assert distance == pytest.approx(min(away))
            j = int(np.argmin(away))
            between = molecules.rotations[i].inv() * molecules.rotations[j]
            assert angle == pytest.approx(np.degrees(between.magnitude()))


@given(seeds, st.sampled_from(["C2", "C7", "D3", "T", "O", "I"]))
def test_the_angle_is_the_smallest_of_rotations_that_look_the_same(seed, symmetry):
    molecules = picks(seed, 6)
    found = fp.neighbours(molecules, symmetry=symmetry).features["neighbour_angle"]
    # Particles turned to one that looks the same have the same angles.
    random = np.random.default_rng(seed)
    copies = fp.symmetry_expand(molecules, symmetry)
    each = len(copies) // 6
    some = copies[np.arange(6) * each + random.integers(each, size=6)]
    again = fp.neighbours(some, symmetry=symmetry).features["neighbour_angle"]
    np.testing.assert_allclose(again, found, atol=1e-5)
    plain = fp.neighbours(molecules).features["neighbour_angle"]
    assert (found <= plain + 1e-6)[~np.isnan(plain)].all()


def test_neighbours_farther_apart_than_squares_can_be_are_refused():
    far = fp.Molecules([[1e200, 0.0, 0.0], [0.0, 0.0, 0.0]])
    with pytest.raises(ValueError, match="molecules must be particles less than"):
        fp.neighbours(far)


def test_particles_at_one_place_are_neighbours_at_no_distance():
    turns = Rotation.from_rotvec([[0, 0, 0], [40, 0, 0], [0, 0, 0]], degrees=True)
    molecules = Molecules([[1, 1, 1], [1, 1, 1], [5, 1, 1]], turns)
    found = fp.neighbours(molecules).features
    np.testing.assert_allclose(found["neighbour_distance"], [0, 0, 4])
    np.testing.assert_allclose(found["neighbour_angle"][:2], [40, 40])


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: fp.distinct(picks(0, 5), distance=0), "distance must be a number ab"),
        (lambda: fp.distinct(picks(0, 5)), "distance must be given"),
        (lambda: fp.distinct(picks(0, 5), distance=1, score="x"), "score must be a f"),
        (
            lambda: fp.distinct(picks(0, 5), distance=1, score="tomogram"),
            "score must be a feature of numbers, not texts",
        ),
        (lambda: fp.distinct(np.zeros((2, 3)), distance=1), "score must be a feature"),
        (
            lambda: fp.distinct(picks(0, 5), distance=1, tomogram_feature="series"),
            "tomogram_feature must be a feature that there is",
        ),
        (
            lambda: fp.random_rotations(picks(0, 5), about=(0, 0, 0)),
            r"about must be a direction \(z, y, x\), .* not \(0, 0, 0\)",
        ),
        (lambda: fp.random_rotations(picks(0, 5), about=2.0), "about must be a direct"),
        (lambda: fp.random_rotations(picks(0, 5), seed=0.5), "seed must be a whole"),
        (lambda: fp.symmetry_expand(picks(0, 5), "C0"), "symmetry must be a symmetry"),
        (lambda: fp.symmetry_expand("picks.star", "C2"), "molecules must be .*: write"),
        (lambda: fp.neighbours(picks(0, 5), symmetry="X"), "symmetry must be a symm"),
        (lambda: fp.neighbours(5), "molecules must be"),
    ],
)
def test_what_is_wrong_is_named(call, text):
    with pytest.raises((TypeError, ValueError), match=text):
        call()
