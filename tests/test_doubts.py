"""What is found to distrust: each finding where it is so, and not where it is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.jobs.doubts import Seen, coverage, distrusted
from funpipe.space.tilts import as_tilt

RNG = np.random.default_rng(0)
PLACES = 20.0 * np.stack(np.meshgrid(*[np.arange(4.0)] * 3), -1).reshape(-1, 3)
EVEN = fp.Molecules(PLACES, Rotation.random(64, rng=0))
REFINED = EVEN.with_features(
    score=RNG.uniform(0.3, 0.5, 64),
    half=np.arange(64) % 2 + 1,
    aligned_half=np.arange(64) % 2 + 1,
    at_limit=np.zeros(64, bool),
    converged=np.ones(64, bool),
    log_odds=np.full(64, 9.0),
    shift_error=np.full(64, 0.2),
)
SIGNAL, FIRST, SECOND = RNG.normal(size=(3, 32, 32, 32))
SIGNAL = fp.gaussian_filter(1.5)(SIGNAL) * 12
A, B = SIGNAL + FIRST, SIGNAL + SECOND
GOOD = Seen(REFINED, fp.fsc(A, B), fp.conical_fsc(A, B, directions=40), near=5.0)


def names(seen):
    return [each.name for each in distrusted(seen)]


def only(seen):
    (found,) = distrusted(seen)
    return found


def test_in_a_good_result_nothing_is_found():
    assert names(GOOD) == []
    assert names(GOOD._replace(tilt=as_tilt("tilt", (-60, 60)), moved=0.1)) == []


def without(molecules, name):
    features = {key: each for key, each in molecules.features.items() if key != name}
    return fp.Molecules(molecules.positions, molecules.rotations, features)


def test_one_template_for_all_is_a_bias():
    found = only(GOOD._replace(molecules=without(REFINED, "aligned_half")))
    assert (found.name, found.figure) == ("template bias", 64)
    assert "halves that were aligned to one template agree" in found.advice
    alone = Seen(EVEN.with_features(score=np.ones(64)))
    assert "halves that" not in only(alone).advice
    assert names(Seen(EVEN)) == []  # picks, not aligned


@pytest.mark.parametrize(("apart", "pairs"), [(4.9, 1), (5.1, 0)])
def test_duplicates_are_pairs_nearer_than_a_distance(apart, pairs):
    places = PLACES.copy()
    places[1] = places[0] + [0, 0, apart]
    picks = fp.Molecules(places, EVEN.rotations, dict(REFINED.features))
    found = distrusted(GOOD._replace(molecules=picks))
    assert [each.figure for each in found if each.name == "duplicates"] == [1] * pairs
    if pairs:
        assert "1 of them with one in each half" in found[0].advice
        same = picks.with_features(half=[1, 1, *[1, 2] * 31])
        (within,) = distrusted(GOOD._replace(molecules=same))
        assert "in each half" not in within.advice


def test_particles_of_two_tomograms_are_no_duplicates():
    places = np.repeat(PLACES[:32], 2, axis=0)
    names_of = ["a", "b"] * 32
    features = {**REFINED.features, "tomogram": names_of}
    picks = fp.Molecules(places, EVEN.rotations, features)
    assert names(GOOD._replace(molecules=picks)) == []


def test_a_curve_that_does_not_fall_is_found():
    shared = RNG.normal(size=(32, 32, 32))
    found = only(GOOD._replace(curve=fp.fsc(A + shared, B + shared), cones=None))
    assert found.name == "FSC does not fall to zero"
    assert 0.4 < found.figure < 0.6  # noise of one variance shared, of one not


def test_a_curve_that_rises_again_is_found():
    curve = fp.fsc(A, B)
    risen = curve.corrected.copy()
    risen[8:11], risen[11] = 0.0, 0.5
    curve = replace(curve, fsc=risen, corrected=risen)
    found = only(GOOD._replace(curve=curve, cones=None))
    assert (found.name, found.figure) == ("FSC rises again", 0.5)


def test_halves_without_a_common_signal_are_found():
    curve = fp.fsc(FIRST, -FIRST)
    assert only(GOOD._replace(curve=curve, cones=None)).name == "halves do not agree"
    assert only(GOOD._replace(resolution=np.inf)).name == "halves do not agree"
    assert names(GOOD._replace(resolution=4.0)) == []


def test_a_resolution_that_differs_by_direction_is_found():
    def smeared(image):
        waves = np.fft.fftn(image)
        z, y, x = np.meshgrid(*[np.fft.fftfreq(32)] * 3, indexing="ij")
        return np.fft.ifftn(waves * (abs(z) < 0.6 * np.hypot(y, x))).real

    a, b = smeared(SIGNAL) + FIRST, smeared(SIGNAL) + SECOND
    cones = fp.conical_fsc(a, b, directions=40)
    found = only(GOOD._replace(cones=cones))
    assert found.name == "resolution differs by direction"
    assert found.figure == cones.anisotropy() > 0.2
    assert "directions none" in found.advice or "nm. State" in found.advice


def seen_from(axes):
    """Return particles whose z axes stand along vectors (z, y, x)."""
    turned = fp.Molecules.from_axes(PLACES, z=axes, x=RNG.normal(size=(64, 3)))
    return fp.Molecules(PLACES, turned.rotations, dict(REFINED.features))


def test_views_along_one_axis_are_found():
    top = seen_from(np.tile([1.0, 0, 0], (64, 1)) + RNG.normal(0, 0.1, (64, 3)))
    found = only(GOOD._replace(molecules=top))
    assert found.name == "preferred orientation" and found.figure > 0.7
    assert "second moments are 0.0" in found.advice
    assert names(GOOD._replace(molecules=top[:10])) == []  # too few to say


def test_with_the_tilts_known_it_is_the_waves_that_count():
    top = seen_from(np.tile([1.0, 0, 0], (64, 1)))
    tilt = as_tilt("tilt", (-60, 60))
    found = only(GOOD._replace(molecules=top, tilt=tilt))
    assert found.name == "preferred orientation"
    assert found.figure < 0.05  # along z nothing is measured
    side = seen_from(np.column_stack([np.zeros(64), RNG.normal(size=(64, 2))]))
    assert "preferred orientation" in names(GOOD._replace(molecules=side))
    # of filaments, seen all around, every wave is measured
    assert names(GOOD._replace(molecules=side, tilt=tilt)) == []


def test_what_is_covered_is_the_mean_over_particles():
    tilt = as_tilt("tilt", (-50, 50))
    some = EVEN[:7]
    from funpipe.space.shells import hemisphere

    lines = hemisphere(500)
    covered = np.zeros(500)
    for turn in some.rotations:  # a naive loop
        for i, line in enumerate(lines):
            covered[i] += tilt(0.1 * turn.apply(line).reshape(3, 1))[0]
    np.testing.assert_allclose(coverage(some, tilt), covered / 7)


def test_of_each_that_looks_the_same_the_waves_count_too():
    tilt, three = as_tilt("tilt", (-50, 50)), fp.symmetry_expand(EVEN[:9], "C3")
    np.testing.assert_allclose(coverage(EVEN[:9], tilt, "C3"), coverage(three, tilt))


@pytest.mark.parametrize("count", [20, 64, 300])
@pytest.mark.parametrize("tilt", [None, (-60, 60), (-40, 40)])
def test_even_orientations_are_not_blamed_for_what_chance_does(count, tilt):
    given = None if tilt is None else as_tilt("tilt", tilt)
    found = 0
    for seed in range(20):
        even = fp.Molecules(np.zeros((count, 3)), Rotation.random(count, rng=seed))
        even = even.with_features(tomogram=np.arange(count).astype(str))
        found += "preferred orientation" in names(Seen(even, tilt=given))
    assert found <= 2


@pytest.mark.parametrize(
    ("feature", "bad", "name"),
    [
        ("at_limit", True, "poses at limits"),
        ("converged", False, "not converged"),
        ("log_odds", -1.0, "noise among particles"),
    ],
)
@pytest.mark.parametrize(("count", "found"), [(3, False), (4, True)])
def test_a_part_of_the_particles_above_one_in_twenty(feature, bad, name, count, found):
    values = REFINED.features[feature].copy()
    values[:count] = bad
    changed = GOOD._replace(molecules=REFINED.with_features({feature: values}))
    assert names(changed) == [name] * found
    if found:
        assert only(changed).figure == count / 64


def test_a_refinement_that_still_moves_is_found():
    found = only(GOOD._replace(moved=0.5))
    assert (found.name, found.figure) == ("still moving", 0.5)


def test_every_finding_says_its_figure_and_what_to_do():
    bad = fp.Molecules.concat([REFINED] * 2).with_features(
        at_limit=np.ones(128, bool), converged=np.zeros(128, bool)
    )
    for each in distrusted(GOOD._replace(molecules=without(bad, "aligned_half"))):
        assert np.isfinite(each.figure) and len(each.advice) > 40
        assert "\n" not in each.advice
