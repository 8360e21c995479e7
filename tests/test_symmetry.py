"""Searches under a symmetry: of those that look the same one, and none forgotten."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from funpipe.space import symmetry as inside
from funpipe.space.geometry import coarse_grid, rotation_grid
from funpipe.space.symmetry import symmetry_group

CYCLIC = [f"C{n}" for n in range(1, 8)]
DIHEDRAL = [f"D{n}" for n in range(2, 8)]
GROUPS = [*CYCLIC, *DIHEDRAL, "T", "O", "I"]
BALLS = [(12, 6), (40, 10), (90, 15), (180, 20)]
PRODUCTS = [
    ((12, 6),) * 3,
    ((90, 18),) * 3,
    ((180, 20), (90, 20), (0, 0)),
    ((0, 0), (90, 9), (180, 20)),
    ((60, 10), (40, 8), (20, 5)),
]


def away(rotations: Rotation, truth: Rotation, symmetry: str = "C1") -> np.ndarray:
    """Return how far each truth is from the nearest of some, up to symmetry, degrees.

    From quaternions' distances alone, by a loop over the group.
    """
    quaternions = rotations.as_quat()
    tree = KDTree(np.concatenate([quaternions, -quaternions]))
    turned = [(truth * turn).as_quat() for turn in symmetry_group(symmetry)]
    nearest = np.min([tree.query(each)[0] for each in turned], axis=0)
    return np.degrees(4 * np.arcsin(np.minimum(nearest / 2, 1)))


def truths(given) -> Rotation:
    """Return random rotations, within what is given."""
    random = np.random.default_rng(0)
    if given == "all":
        return Rotation.random(1000, rng=random)
    if np.shape(given) == (2,):
        vectors = random.uniform(-given[0], given[0], (2000, 3))
        inside = np.linalg.norm(vectors, axis=1) <= given[0]
        return Rotation.from_rotvec(vectors[inside], degrees=True)
    angles = random.uniform(-1, 1, (1000, 3)) * [maximum for maximum, _ in given]
    return Rotation.from_euler("XYZ", angles, degrees=True)


@pytest.mark.parametrize("symmetry", GROUPS)
@pytest.mark.parametrize("given", ["all", *BALLS, *PRODUCTS], ids=str)
def test_up_to_symmetry_the_truth_is_within_the_spacing(given, symmetry):
    whole = rotation_grid(given)
    truth = truths(given)
    truth = truth[away(whole.rotations, truth) <= whole.spacing]
    assert len(truth) > 600
    some = rotation_grid(given, symmetry).rotations
    assert away(some, truth, symmetry).max() <= whole.spacing


@pytest.mark.parametrize("symmetry", ["C2", "C3", "C4", "C7", "D2", "D3", "T", "O"])
@pytest.mark.parametrize("given", ["all", (90, 15), (180, 20)], ids=str)
def test_where_images_meet_the_truth_is_within_the_spacing_too(given, symmetry):
    """Halfway between the identity and its images, where random truths are rare."""
    whole = rotation_grid(given)
    truth, group = Rotation.random(20_000, rng=1), symmetry_group(symmetry)
    angles = np.sort([(truth * each).magnitude() for each in group], axis=0)
    truth = truth[angles[1] - angles[0] < 0.02]
    truth = truth[away(whole.rotations, truth) <= whole.spacing]
    assert len(truth) > 20
    some = rotation_grid(given, symmetry).rotations
    assert away(some, truth, symmetry).max() <= whole.spacing


@pytest.mark.parametrize("symmetry", GROUPS)
@pytest.mark.parametrize("given", [*BALLS, *PRODUCTS], ids=str)
def test_a_local_search_contains_the_identity(given, symmetry):
    assert rotation_grid(given, symmetry).rotations.magnitude().min() < 1e-9


@pytest.mark.parametrize("symmetry", GROUPS)
@pytest.mark.parametrize("given", [(12, 6), ((12, 6),) * 3], ids=str)
def test_a_search_in_which_none_look_the_same_keeps_all(given, symmetry):
    whole = rotation_grid(given).rotations
    assert len(rotation_grid(given, symmetry).rotations) == len(whole)


@pytest.mark.parametrize("symmetry", GROUPS)
def test_no_rotation_searched_is_much_farther_than_one_that_looks_the_same(symmetry):
    some = rotation_grid("all", symmetry).rotations
    nearest = np.min([(some * g).magnitude() for g in symmetry_group(symmetry)], axis=0)
    excess = np.degrees(some.magnitude() - nearest)
    assert (excess < 1e-6).mean() > 0.9
    assert excess.max() < 24


@pytest.mark.parametrize("symmetry", GROUPS)
def test_the_coarse_grid_covers_all_rotations_with_a_part_of_them(symmetry):
    coarse = coarse_grid(symmetry)
    assert away(coarse.rotations, truths("all"), symmetry).max() < coarse.spacing
    part = len(coarse.rotations) / len(coarse_grid().rotations)
    assert part == pytest.approx(1 / len(symmetry_group(symmetry)), rel=0.06)


@pytest.mark.parametrize("symmetry", GROUPS)
def test_the_mirror_image_has_the_same_symmetry(symmetry):
    # So that the check of the hand may search for it up to the same.
    group = symmetry_group(symmetry)
    vectors = group.as_rotvec()  # a mirror at z = 0: the axis's x and y change sides
    mirrored = Rotation.from_rotvec(vectors * [1, -1, -1])
    assert away(group, mirrored).max() < 1e-5


# Rotations that are listed.

seeds = st.integers(0, 2**32 - 1)


def listed(seed: int, symmetry: str) -> Rotation:
    """Return some rotations, and images of some of them, in any order."""
    random = np.random.default_rng(seed)
    some, group = Rotation.random(8, rng=random), symmetry_group(symmetry)
    images = some[random.integers(0, 8, 12)] * group[random.integers(0, len(group), 12)]
    both = Rotation.concatenate([some, images])
    return both[random.permutation(20)]


@given(seeds, st.sampled_from(GROUPS[1:]))
@settings(max_examples=40, deadline=None)
def test_of_a_list_one_of_each_that_look_the_same_is_tried_the_nearest(seed, symmetry):
    whole = listed(seed, symmetry)
    some = rotation_grid(whole, symmetry).rotations
    assert len(some) == 8
    assert away(some, whole, symmetry).max() < 1e-5
    assert away(whole, some).max() < 1e-5
    for each in some:
        alike = whole[away(Rotation.concatenate([each]), whole, symmetry) < 1e-5]
        assert each.magnitude() <= alike.magnitude().min() + 1e-9


@pytest.mark.parametrize("symmetry", GROUPS)
def test_no_rotation_of_a_list_is_dropped_that_looks_like_no_other(symmetry):
    few = Rotation.from_rotvec([[100, 0, 0], [0, 170, 10], [140, 5, 0]], degrees=True)
    some = rotation_grid(few, symmetry).rotations
    assert away(some, few).max() < 1e-6


def test_of_two_listed_equally_far_the_first_is_tried():
    both = Rotation.from_rotvec([[-90, 0, 0], [90, 0, 0]], degrees=True)
    (some,) = rotation_grid(both, "C2").rotations
    assert some.as_rotvec(degrees=True) == pytest.approx([-90, 0, 0])


# Of what it is made.


def angles_of_images(rotations: Rotation, group: Rotation) -> np.ndarray:
    """Return the angles of all R g in rad, (R, g), one rotation at a time."""
    return np.array([[(R * g).magnitude() for g in group] for R in rotations])


@pytest.mark.parametrize("symmetry", ["C1", "C3", "D2", "T"])
def test_images_nearest_to_the_identity_are_found_by_their_quaternions(symmetry):
    some, group = Rotation.random(30, rng=2), symmetry_group(symmetry)
    angles = angles_of_images(some, group)
    image, nearest = inside._nearest(some, group)
    np.testing.assert_allclose(nearest, angles.min(axis=1), atol=1e-7)
    np.testing.assert_allclose(angles[np.arange(30), image], nearest, atol=1e-7)
    scalars = inside._scalars(some, group)
    np.testing.assert_allclose(2 * np.arccos(abs(scalars)), angles, atol=1e-7)


@pytest.mark.parametrize("margin", [1e-3, 0.3, 1.0])
def test_images_no_farther_than_a_margin_are_all_returned(margin):
    some, group = Rotation.random(25, rng=3), symmetry_group("D3")
    angles, own = angles_of_images(some, group), some.magnitude()
    found = inside._images(some, group, margin)
    expected = [
        (some[i] * group[j]).as_quat(canonical=True)
        for i, j in np.argwhere(angles <= own[:, None] + margin)
    ]
    np.testing.assert_allclose(found.as_quat(canonical=True), expected, atol=1e-9)


def test_more_rotations_than_are_worked_on_together_are_worked_on_all():
    group = symmetry_group("I")
    many = Rotation.random(20_000, rng=4)
    parts = inside._batches(many, group)
    assert len(parts) > 1
    assert np.concatenate([np.arange(20_000)[each] for each in parts]).tolist() == list(
        range(20_000)
    )
    image, nearest = inside._nearest(many, group)
    for i in (0, 17_475, 17_476, 17_477, 19_999):
        assert nearest[i] == pytest.approx((many[i] * group).magnitude().min())
        assert nearest[i] == pytest.approx((many[i] * group[image[i]]).magnitude())


@pytest.mark.parametrize("angle", [0.05, 0.4, 2.0, 3.2, 7.0])
def test_rotations_are_near_up_to_the_angle_between_them(angle):
    tree, some = Rotation.random(40, rng=5), Rotation.random(200, rng=6)
    some = Rotation.concatenate([some, tree[:5]])
    found = inside._near(inside._tree(tree), some, angle)
    for each, near in zip(some, found, strict=True):
        away = (tree.inv() * each).magnitude().min()
        assert near == (away < angle) or abs(away - angle) < 1e-6


@pytest.mark.parametrize("symmetry", ["C2", "C4", "D3", "O"])
@pytest.mark.parametrize("given", ["all", (90, 15), (180, 20), *PRODUCTS[1:4]], ids=str)
def test_those_nearest_to_the_identity_are_kept_and_few_others(given, symmetry):
    whole, group = rotation_grid(given), symmetry_group(symmetry)
    some, own = rotation_grid(given, symmetry).rotations, whole.rotations.magnitude()
    images = [whole.rotations * turn for turn in group]
    angles = np.array([each.magnitude() for each in images])
    quaternions = np.array([each.as_quat() for each in images])
    best = Rotation.from_quat(quaternions[angles.argmin(axis=0), np.arange(len(own))])
    must = own <= angles.min(axis=0) + 1e-7
    if np.shape(given) == (3, 2):  # at whose ends an image may have no neighbour
        must |= away(whole.rotations, best) > math.sqrt(3) / 2 * whole.spacing + 0.1
    assert away(some, whole.rotations[must]).max() < 1e-6
    assert away(whole.rotations, some).max() < 1e-6
    assert len(some) - must.sum() <= 0.06 * len(own)


@pytest.mark.parametrize("symmetry", ["C1", "D7", "I"])
def test_images_are_counted_by_the_million_at_the_most(symmetry):
    group = symmetry_group(symmetry)
    sizes = [
        (each.stop - each.start) * len(group)
        for each in inside._batches(range(3 * 2**20), group)
    ]
    assert 2**20 - len(group) < max(sizes) <= 2**20


@pytest.mark.parametrize(("count", "parts"), [(20_000, 1), (50_000, 2), (70_000, 3)])
def test_surroundings_are_looked_at_of_2_to_the_14_rotations_at_the_most(
    monkeypatch, count, parts
):
    looked_at = []

    def bare(rotations, chosen, *_):
        looked_at.append(len(chosen))
        return np.zeros(0, int), np.zeros((0, 4))

    monkeypatch.setattr(inside, "_bare", bare)
    many, group = Rotation.random(count, rng=7), symmetry_group("C2")
    kept = inside.one_searched(many, group, 20.0, in_ball=False)
    others = len(many) - len(kept)
    assert (parts - 1) * 2**14 < others < parts * 2**14
    *coarsely, finely = looked_at
    assert len(coarsely) == parts
    assert sum(coarsely) == others
    assert max(coarsely) <= 2**14
    assert finely == 0  # of those of which something is left
