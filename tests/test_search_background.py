"""Scores of a search less what a background scores at the same places."""

from __future__ import annotations

import numpy as np
import plain_search as plain
import pytest
import scipy
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.boxes.opening import open_all
from funpipe.boxes.tiles import scanned
from funpipe.engine.basis import ball_of
from funpipe.jobs.backgrounds import BACKGROUNDS, background_of
from funpipe.jobs.looking import LookedFor, Place
from funpipe.jobs.preparing import masked_templates, prepare_all
from funpipe.jobs.recording import read_record
from funpipe.jobs.regions import region_of
from funpipe.jobs.sweeping import swept
from funpipe.jobs.working import Running
from funpipe.space.geometry import whole_grid
from funpipe.space.tilts import as_tilt

MOLECULE = fp.simulate.asymmetric_molecule(3, count=14, radius=3.2, sigma=0.7)
TEMPLATE = fp.simulate.blob_image(MOLECULE, (15, 15, 15), 1.0)
PREPARED = prepare_all(TEMPLATE, None, 1.0)
OPTIONS = {
    "template": TEMPLATE,
    "scale": 1.0,
    "tilt": (-60, 60),
    "spacing": 25.0,
    "resolution": 3.0,
    "progress": False,
}


def noisy(seed=1, noise=0.2, shape=(48, 110, 110), count=25):
    """Return as many particles as balls of their density in noise, and particles."""
    random = np.random.default_rng(seed)
    axes = [np.arange(11, n - 9, 12.0) for n in shape]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    places = random.permutation(grid)[: 2 * count]
    places = places + random.uniform(-1, 1, places.shape)
    true = fp.Molecules(places[:count], Rotation.random(count, rng=random))
    tomogram = fp.simulate.tomogram(MOLECULE, true, shape, 1.0, noise=0.0)
    voxels = np.indices(shape)
    for place in places[count:]:
        away = np.sqrt(np.square(voxels - place[:, None, None, None]).sum(axis=0))
        edge = 3 * (away - random.uniform(1.5, 3.5))
        tomogram += TEMPLATE.max() * scipy.special.expit(-edge).astype(np.float32)
    grains = random.standard_normal(shape, np.float32)
    return tomogram + noise * TEMPLATE.max() * grains, true


def area(picks, true):
    """Return how often a particle's score is above that of something else."""
    away, _ = scipy.spatial.KDTree(true.positions).query(picks.positions)
    score, hit = picks.features["score"], away < 3
    return float((score[hit][:, None] > score[~hit]).mean())


@pytest.mark.parametrize(
    "background", [*BACKGROUNDS, ("mirrored", "divided"), ["random", "divided"]]
)
def test_particles_are_told_from_balls_better(background):
    tomogram, true = noisy()
    plainly, corrected = (
        fp.search(tomogram, count=100, background=each, **OPTIONS)
        for each in (None, background)
    )
    wrong = [1 - area(each, true) for each in (plainly, corrected)]
    assert wrong[0] > 0.05 and wrong[1] < 0.7 * wrong[0]


@pytest.mark.parametrize(
    ("background", "how", "exact"),
    [
        ("mirrored", "subtracted", True),
        ("random", "subtracted", False),
        ("random", "divided", False),
    ],
)
def test_scores_are_those_of_a_plain_loop(background, how, exact):
    size = 34 if exact else 46
    tomogram = noisy(shape=(size,) * 3, count=3)[0][4:-4, 4:-4, 4:-4]
    templates, grid = masked_templates(PREPARED), whole_grid(60.0)
    support, other = (
        ball_of(templates),
        background_of(background, templates),
    )
    looked = LookedFor(
        *(templates, grid, 3.0, support, False, exact, False, 1000.0, 0.3, other, how)
    )
    tilt = as_tilt("tilt", (-60, 60))
    (source,) = open_all(tomogram, 1.0, tilt)
    place = Place(source, scanned(source), region_of(None, tomogram.shape, 1.0))
    found = swept(place, looked, Running())
    side = int(support.periods[0])
    k, window = plain.waves_of(side, 3.0), plain.window_of(side, support.radius)
    weights = tilt(k.T)
    both = [
        plain.turned_rows(each[0].astype(float), grid.rotations, k, weights)
        for each in (templates, other)
    ]
    waves, half = plain.waves_at(window.shape, k), side // 2
    middle = (half, half, half)
    random, best = np.random.default_rng(5), []
    for _ in range(100):
        noise = random.standard_normal((side, side, side))
        seen = plain.seen(noise, middle, window, waves, weights)
        best.append((both[1].conj() @ seen).real.max())
    usual = np.mean(best)
    assert len(found.scores) > 3 and found.less["background"].max() > 0.05
    for voxel, score, less in zip(
        *(found.where.astype(int), found.scores, found.less["background"]), strict=True
    ):
        seen = plain.seen(tomogram.astype(float), voxel, window, waves, weights)
        s, b = ((each.conj() @ seen).real.max() for each in both)
        left = {
            "subtracted": s - max(0.0, b - usual) / 2,
            "divided": s * (usual / max(b, usual)) ** 0.25,
        }
        assert less == pytest.approx(s - left[how], abs=6e-3)
        assert score == pytest.approx(left[how], abs=8e-3)


def test_a_mirror_image_is_at_minus_q_and_has_the_same_power():
    (mirrored,) = background_of("mirrored", masked_templates(PREPARED))
    (template,) = masked_templates(PREPARED)
    for voxel in [(0, 3, 9), (7, 7, 7), (2, 12, 4)]:
        opposite = tuple(14 - i for i in voxel)
        assert mirrored[voxel] == template[opposite]
    power = [np.abs(scipy.fft.fftn(each)) for each in (mirrored, template)]
    np.testing.assert_allclose(*power, atol=1e-3 * power[0].max())


def test_what_was_subtracted_is_told_and_of_nulls_likewise(tmp_path):
    tomogram, _ = noisy()
    searched = {}
    for each in (None, "mirrored"):
        path = tmp_path / f"{each}.json"
        picks = fp.search(
            tomogram,
            false_discovery_rate=0.9,
            background=each,
            record=path,
            **OPTIONS,
        )
        searched[each] = picks, read_record(path)
    (plainly, _), (picks, record) = searched[None], searched["mirrored"]
    assert "background" not in plainly.features
    less, score = picks.features["background"], picks.features["score"]
    assert (less >= 0).all() and less.max() > 0.05
    assert (np.diff(score) <= 0).all()
    assert record.background == "mirrored"
    assert record.null.max() < searched[None][1].null.max()
    ratio = picks.features["z_score"] / score
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)
    of_align = score + less
    assert (of_align <= 1 + 1e-6).all() and (of_align > 0.1).all()


def test_an_empty_list_has_the_feature_too():
    noise = np.random.default_rng(0).standard_normal((42, 42, 42))
    with pytest.warns(UserWarning, match="found nothing"):
        picks = fp.search(noise, threshold=0.99, background="mirrored", **OPTIONS)
    assert len(picks) == 0 and "background" in picks.features


@pytest.mark.parametrize(
    "value",
    ["mirror", 1, True, ["random"], ("divided", "random"), ("random", None), ()],
)
def test_another_background_is_refused(value):
    wanted = (
        "background must be 'mirrored', 'random', or None, or one with 'subtracted' or "
        "'divided', not"
    )
    with pytest.raises((TypeError, ValueError), match=wanted):
        fp.search(np.zeros((42, 42, 42)), background=value, **OPTIONS)
