"""Refinement: what its halves support, no more, and nothing of each other."""

from __future__ import annotations

import itertools
import pickle
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import toolz
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe import Molecules
from funpipe.jobs.halving import Halves
from funpipe.jobs.iterating import _apart
from funpipe.jobs.joining import joined
from funpipe.jobs.searching import search_for
from funpipe.jobs.wiener import half_weighted, mean_weighted, supported
from funpipe.simulate import asymmetric_molecule, blob_image, perturbed, tomogram
from funpipe.space.shells import fourier_shell_correlation, resolution_at

BOX, PITCH, EDGE, TILT = 16, 16, 24, (-60, 60)
BLOBS = asymmetric_molecule(3, radius=4.5, sigma=1.0, count=16)
TRUTH = blob_image(BLOBS, (BOX,) * 3, 1.0)
MASK = fp.soft_otsu(sigma=1.0, radius=2.0)
UNDER = fp.prepare(TRUTH, MASK, 1.0).mask
SHAPE = (2 * EDGE, 4 * PITCH + 2 * EDGE, 7 * PITCH + 2 * EDGE)
UNIT = float(TRUTH[UNDER > 0.5].std())
START = 4.0
OPTIONS = {
    "start": START,
    "scale": 1.0,
    "tilt": TILT,
    "mask": MASK,
    "max_shifts": 2.0,
    "rotations": (12, 6),
    "progress": False,
}


def grid(rows: int, columns: int) -> np.ndarray:
    places = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"))
    flat = places.reshape(2, -1).T * PITCH + EDGE
    return np.column_stack([np.full(len(flat), EDGE), flat]).astype(float)


def true(rows: int = 5, columns: int = 8) -> Molecules:
    places = grid(rows, columns)
    return Molecules(places, Rotation.random(len(places), rng=0))


@cache
def given_job(noise: float, seed: int = 1) -> tuple[np.ndarray, Molecules]:
    """Return a tomogram of 40 particles, and picks that are off."""
    truth = true()
    image = tomogram(BLOBS, truth, SHAPE, 1.0, tilt=TILT, noise=noise * UNIT, seed=seed)
    return image, perturbed(truth, 1.0, 8.0, seed=seed + 1)


def to_truth(image: np.ndarray) -> float:
    return resolution_at(*fourier_shell_correlation(image, TRUTH, 1.0), 0.5)


def mean(maps: Halves) -> np.ndarray:
    return (maps.first + maps.second) / 2


def same(one: Molecules, other: Molecules) -> bool:
    features = all(
        np.array_equal(one.features[name], other.features[name], equal_nan=True)
        for name in one.features
        if one.features[name].dtype.kind == "f"
    )
    return features and (
        np.array_equal(one.positions, other.positions)
        and np.array_equal(one.rotations.as_quat(), other.rotations.as_quat())
    )


def test_it_ends_as_good_as_averaging_at_the_true_poses():
    image, picks = given_job(2.0)
    options = {"shape": BOX, "scale": 1.0, "tilt": TILT, "progress": False}
    best = to_truth(mean(fp.half_averages(image, fp.halves(true()), **options)))
    before = to_truth(mean(fp.half_averages(image, fp.halves(picks), **options)))
    steps = list(fp.refine(image, picks, template=TRUTH, **OPTIONS))
    found = to_truth(mean(steps[-1].maps))
    assert len(steps) <= 6
    assert found <= 1.05 * best < 1.05**2 * best < before


def test_without_a_template_it_begins_with_the_averages_at_the_picks():
    image, picks = given_job(1.0)
    options = {"shape": BOX, "scale": 1.0, "tilt": TILT, "progress": False}
    best = to_truth(mean(fp.half_averages(image, fp.halves(true()), **options)))
    steps = list(fp.refine(image, picks, shape=BOX, **OPTIONS))
    assert [each.number for each in steps] == list(range(len(steps)))
    assert same(steps[0].molecules, fp.halves(picks))
    assert steps[-1].resolution < steps[0].resolution
    assert to_truth(mean(steps[-1].maps)) <= 1.1 * best


def test_it_does_what_a_plain_loop_over_the_halves_does():
    image, picks = given_job(2.0)
    where = {"scale": 1.0, "tilt": TILT, "progress": False}
    first, second, *_ = fp.refine(image, picks, template=TRUTH, **OPTIONS)
    split = fp.halves(picks, within=2 * 2.0 * np.sqrt(3))
    half = split.features["half"]
    references, finest, turns, window = [TRUTH] * 2, START, (12, 6), 2.0
    poses = split
    for step in (first, second):
        parts = {}
        for each in (1, 2):
            parts[each] = fp.align(
                image,
                poses[half == each],
                template=references[each - 1],
                mask=UNDER,
                resolution=finest,
                max_shifts=window,
                rotations=turns,
                **where,
            )
        taken = {1: iter(parts[1]), 2: iter(parts[2])}
        poses = Molecules.concat([next(taken[each]) for each in half])
        assert same(poses, step.molecules)
        averages = [fp.average(image, parts[i], shape=BOX, **where) for i in (1, 2)]
        assert np.array_equal(step.maps.first, averages[0])
        assert np.array_equal(step.maps.second, averages[1])
        curve = fp.fsc(*averages, mask=UNDER, scale=1.0)
        assert step.resolution == supported(curve)
        references = [half_weighted(each, 1.0, curve=curve) for each in averages]
        finest = max(step.resolution, 2.0)
        errors = {
            name: float(np.quantile(poses.features[name], 0.75))
            for name in ("shift_error", "angle_error")
        }
        window = min(2.0, max(1.0, 3 * errors["shift_error"]))
        turns = (3 * errors["angle_error"], errors["angle_error"])


@given(st.integers(0, 2**16), st.integers(4, 12))
def test_weights_are_those_of_wieners_filter_up_to_the_resolution(seed, size):
    signal, *noise = np.random.default_rng(seed).normal(size=(3, size, size, size))
    curve = fp.fsc(signal + noise[0], signal + noise[1])
    C = np.clip(curve.corrected, 0, 1)
    few = np.tanh(2.3263 / np.sqrt(np.maximum(2 * curve.waves - 2, 1e-9)))
    below = np.flatnonzero(curve.corrected < np.maximum(0.143, few))
    C[below[0] if below.size else len(C) :] = 0
    for filtered, weights in ((half_weighted, C), (mean_weighted, 2 * C / (1 + C))):
        # A wave along z alone is weighted by its frequency's weight.
        for wave in range(1, size):
            line = np.cos(np.pi * wave * (np.arange(size) + 0.5) / size)
            image = np.broadcast_to(line[:, None, None], (size,) * 3)
            weight = np.interp(wave / (2 * size), curve.frequency, weights)
            assert np.allclose(
                filtered(image, 1.0, curve=curve), weight * image, atol=1e-5
            )


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_of_pure_noise_nothing_is_claimed(seed):
    image = np.random.default_rng(seed).normal(size=SHAPE)
    steps = fp.refine(image.astype(np.float32), true(), template=TRUTH, **OPTIONS)
    assert all(each.resolution >= START for each in steps)


def test_of_pure_noise_nothing_is_claimed_without_a_template():
    image = np.random.default_rng(5).normal(size=SHAPE)
    steps = fp.refine(image.astype(np.float32), true(), shape=BOX, **OPTIONS)
    assert all(each.resolution >= START for each in steps)


def test_duplicates_overstate_the_resolution_unless_they_are_in_one_half():
    noise = np.random.default_rng(0).normal(size=SHAPE)
    once = true()
    twice = Molecules.concat([once, perturbed(once, 0.1, 0.1, seed=3)])

    def resolution(split: Molecules) -> float:
        maps = fp.half_averages(noise, split, shape=BOX, scale=1.0, progress=False)
        return fp.fsc(maps.first, maps.second, mask=UNDER).resolution()

    assert resolution(fp.halves(twice)) < 3.0
    assert resolution(fp.halves(twice, within=1.0)) > START


def test_picks_that_can_come_to_one_place_are_in_one_half_from_the_start():
    image, picks = given_job(1.0)
    twice = Molecules.concat([picks, perturbed(picks, 1.0, 8.0, seed=9)])
    first = next(fp.refine(image, twice, template=TRUTH, **OPTIONS))
    half = first.molecules.features["half"]
    assert np.array_equal(half[: len(picks)], half[len(picks) :])
    assert first.averaged == len(twice)


def test_particles_that_came_to_the_place_of_one_of_the_other_half_are_left_out():
    image, picks = given_job(1.0)
    split = fp.halves(picks)
    some = split[:3]
    other = Molecules(
        some.positions + 0.3, some.rotations, {"half": 3 - some.features["half"]}
    )
    twice = Molecules.concat([split, other])
    with pytest.warns(UserWarning, match="3 particles have come to the place of one"):
        first = next(fp.refine(image, twice, template=TRUTH, **OPTIONS))
    assert first.averaged == len(picks)
    assert len(first.molecules) == len(twice)


def test_errors_that_say_nothing_make_no_duplicates_of_particles_far_apart():
    count = len(true())
    blind = true().with_features(
        half=np.arange(count) % 2 + 1,
        score=np.zeros(count),
        shift_error=np.full(count, 40.0),
    )
    given_ = SimpleNamespace(
        scale=1.0,
        search=search_for(max_shifts=2.0),
        where={"tomogram_feature": "tomogram"},
    )
    assert len(_apart(blind, given_)) == count


def test_from_random_orientations_all_particles_come_into_one_frame():
    image, picks = given_job(1.0)
    blind = fp.random_rotations(picks, seed=3)
    options = {**OPTIONS, "rotations": "all", "mask": fp.sphere(6.5), "start": 3.0}
    found = toolz.last(fp.refine(image, blind, shape=BOX, **options)).molecules
    # The largest eigenvalue is 1 where all are turned alike from the truth.
    turns = (true().rotations.inv() * found.rotations).as_quat()
    assert np.linalg.eigvalsh(turns.T @ turns / len(turns))[-1] > 0.99


def test_only_the_best_of_each_half_are_averaged():
    image, picks = given_job(2.0)
    first = next(fp.refine(image, picks, template=TRUTH, keep=0.7, **OPTIONS))
    assert first.averaged == 28
    score, half = (first.molecules.features[name] for name in ("score", "half"))
    for each, found in zip((1, 2), (first.maps.first, first.maps.second), strict=True):
        own = first.molecules[half == each]
        best = np.sort(np.argsort(-score[half == each])[:14])
        wanted = fp.average(
            image, own[best], shape=BOX, scale=1.0, tilt=TILT, progress=False
        )
        assert np.array_equal(found, wanted)


def test_averages_have_the_weights_and_the_symmetry_given():
    image, picks = given_job(2.0)
    options = {"weights": "score", "symmetry": "C2", **OPTIONS}
    first = next(fp.refine(image, picks, template=TRUTH, **options))
    wanted = fp.half_averages(
        image,
        first.molecules,
        weights=np.maximum(first.molecules.features["score"], 0),
        symmetry="C2",
        shape=BOX,
        scale=1.0,
        tilt=TILT,
        progress=False,
    )
    assert np.array_equal(first.maps.first, wanted.first)
    plain = next(fp.refine(image, picks, template=TRUTH, symmetry="C2", **OPTIONS))
    assert not np.array_equal(plain.maps.first, wanted.first)


def test_what_is_aligned_to_goes_through_the_converter_given():
    image, picks = given_job(1.0)
    seen = []

    def prepare(reference, scale):
        seen.append((reference.copy(), scale))
        return fp.gaussian_filter(1.0)(reference, scale)

    options = {"template": TRUTH, "iterations": 2, "prepare_template": prepare}
    first, _ = fp.refine(image, picks, **options, **OPTIONS)
    assert [scale for _, scale in seen] == [1.0] * 3  # one template, then two halves
    halves = [
        half_weighted(each, 1.0, curve=first.fsc)
        for each in (first.maps.first, first.maps.second)
    ]
    for (reference, _), wanted in zip(seen, [TRUTH, *halves], strict=False):
        assert np.array_equal(reference, wanted)
    plain = next(fp.refine(image, picks, template=TRUTH, **OPTIONS))
    assert not same(plain.molecules, first.molecules)


def test_halves_that_particles_have_are_kept():
    image, picks = given_job(1.0)
    half = np.tile([1, 2], len(picks) // 2)
    given_ = picks.with_features(rlnRandomSubset=half)
    first = next(fp.refine(image, given_, template=TRUTH, **OPTIONS))
    assert np.array_equal(first.molecules.features["half"], half)
    assert np.array_equal(first.molecules.features["aligned_half"], half)
    with pytest.raises(ValueError, match="aligned to references of halves"):
        fp.halves(first.molecules, redraw=True)


def test_iterations_are_values_that_come_one_by_one():
    image, picks = given_job(1.0)
    told = []
    steps = fp.refine(image, picks, template=TRUTH, on_iteration=told.append, **OPTIONS)
    assert told == []
    first = next(steps)
    assert told == [first]
    with pytest.raises(AttributeError):
        first.resolution = 1.0
    assert repr(first).startswith(f"Iteration(1: {first.resolution:.4g} nm of 40 ")
    assert pickle.loads(pickle.dumps(first)).resolution == first.resolution
    wanted = itertools.takewhile(lambda step: step.number < 2, steps)
    assert list(wanted) == []


def test_it_waits_for_its_data():
    image, picks = given_job(1.0)
    waiting = fp.refine(image, template=TRUTH, **OPTIONS)
    first = toolz.pipe(picks, waiting, next)
    assert same(first.molecules, next(waiting(picks)).molecules)


@pytest.mark.parametrize("name", ["prepare_template", "on_iteration"])
def test_an_error_of_a_function_that_was_given_says_which(name):
    def broken(*_):
        raise TypeError("too much")

    image, picks = given_job(2.0)
    with pytest.raises(TypeError, match="too much") as caught:
        next(fp.refine(image, picks, template=TRUTH, **{name: broken}, **OPTIONS))
    assert caught.value.__notes__ == [f"in {name}"]


def test_a_refinement_that_was_stopped_goes_on_to_the_same_result(tmp_path):
    image, picks = given_job(2.0)
    wanted = list(fp.refine(image, picks, template=TRUTH, iterations=2, **OPTIONS))

    def stop(step):
        raise KeyboardInterrupt

    options = {"template": TRUTH, "iterations": 2, **OPTIONS, "checkpoint": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        list(fp.refine(image, picks, on_iteration=stop, **options))
    kept = {each: each.stat().st_mtime_ns for each in tmp_path.rglob("*.npz")}
    assert kept
    found = list(fp.refine(image, picks, **options))
    assert (
        kept.items()
        <= {each: each.stat().st_mtime_ns for each in tmp_path.rglob("*.npz")}.items()
    )
    for one, other in zip(found, wanted, strict=True):
        assert same(one.molecules, other.molecules)
        assert np.array_equal(one.map, other.map)


@settings(max_examples=10)
@given(
    st.tuples(*[st.floats(-8, 8)] * 3),
    st.tuples(*[st.floats(-1.5, 1.5)] * 3),
    st.integers(0, 2**16),
)
def test_frames_of_halves_that_moved_apart_are_brought_together(turn, shift, seed):
    turned = Rotation.from_rotvec(turn, degrees=True)
    moved = BLOBS._replace(centres=turned.apply(BLOBS.centres) + shift)
    maps = Halves(TRUTH, blob_image(moved, (BOX,) * 3, 1.0), scale=1.0)
    truth = Molecules(
        np.random.default_rng(seed).uniform(0, 50, (6, 3)),
        Rotation.random(6, rng=seed),
        {"half": [1, 1, 2, 1, 2, 2]},
    )
    apart = truth.features["half"] == 2
    # The second half's frame q' = R q + t: its particles' poses are those before it.
    back = turned.inv()
    own = truth.rotations * Rotation.from_quat(
        np.where(apart[:, None], back.as_quat(), [0, 0, 0, 1])
    )
    away = own.apply(np.where(apart[:, None], -np.array(shift), 0.0))
    given_ = Molecules(truth.positions + away, own, truth.features)
    search = search_for(max_shifts=3.0, rotations=(16, 5))
    found = joined(given_, maps, mask=MASK, finest=3.0, search=search)
    assert np.abs(found.positions - truth.positions).max() < 0.02
    angles = (found.rotations.inv() * truth.rotations).magnitude()
    assert np.degrees(angles).max() < 0.3


@pytest.mark.parametrize(
    "options, text",
    [
        ({"start": 0}, "start must be a number above 0"),
        ({"keep": 0}, "keep must be a part above 0, 1 at the most, not 0"),
        ({"keep": 1.2}, "keep must be a part above 0, 1 at the most, not 1.2"),
        ({"iterations": 0}, "iterations must be"),
        (
            {"weights": "none"},
            "weights must be None or a feature of numbers, 'half', 'score'",
        ),
        ({"weights": np.ones(2)}, "weights must be None or a feature of numbers"),
        ({"prepare_template": 3}, "prepare_template must be a converter, or None"),
        (
            {"prepare_template": fp.from_gaussian((8.0, 8.0, 8.0), sigma=1.0)},
            "prepare_template must be a converter, or None, not from_gaussian",
        ),
        ({"on_iteration": 3}, "on_iteration must be a function of an Iteration, or"),
        ({"within": -1}, "within must be a number above 0, or None"),
        ({"seed": 0.5}, "seed must be a whole number"),
        ({"rotations": (10,)}, "rotations must be"),
        ({"max_shifts": -1}, "max_shifts must be"),
        ({"symmetry": "Q"}, "symmetry must be"),
        ({"resolution": 0}, "resolution must be a number above 0, or None"),
        ({"mask": np.zeros((BOX,) * 3)}, "mask must be above 0 somewhere"),
        ({"template": None}, "shape must be given where there is no template"),
        ({"shape": 8}, r"shape must be None or the template's, \(16, 16, 16\)"),
        ({"template": [TRUTH, TRUTH]}, "template must be one, not 2"),
        ({"template": Halves(TRUTH, TRUTH)}, "template must be .*Halves stay apart"),
        ({"template": TRUTH * np.nan}, "template must"),
        ({"checkpoint": 3}, "checkpoint must be"),
        ({"executor": 3}, "executor must be"),
        ({"scale": None}, "scale must be given"),
    ],
)
def test_wrong_arguments_are_refused_before_any_work(options, text):
    image = np.zeros((40, 40, 40), np.float32)
    picks = np.array([[12.0, 12, 12], [25, 25, 25]])
    with pytest.raises((TypeError, ValueError), match=f"^(refine: )?{text}"):
        fp.refine(image, picks, **{"template": TRUTH, **OPTIONS, **options})


@pytest.mark.parametrize(
    "picks, text",
    [
        (np.zeros((0, 3)), "molecules must"),
        (np.full((2, 3), 12.0), "molecules must be two clusters or more"),
        (
            Molecules(grid(1, 2), features={"half": [1, 1]}),
            "molecules.features.'half'. leaves half 2 empty",
        ),
    ],
)
def test_particles_that_make_no_halves_are_refused(picks, text):
    image = np.zeros((40, 40, 60), np.float32)
    with pytest.raises(ValueError, match=text):
        fp.refine(image, picks, template=TRUTH, **OPTIONS)
