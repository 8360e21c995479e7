"""A search finds what is there, all that scores enough, and little else."""

from __future__ import annotations

import threading
import warnings
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import plain_search as plain
import pytest
import scipy
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.boxes.tiles import plan_tiles
from funpipe.engine.basis import Seen, ball_of, search_basis
from funpipe.engine.chances import limits_of, score_of_chance
from funpipe.engine.settings import SWEEP
from funpipe.engine.sweep import step_for, sweep, tiling
from funpipe.io.volumes import read_volume
from funpipe.jobs import sweeping
from funpipe.jobs.chance import noise_like
from funpipe.jobs.picking import max_shift
from funpipe.jobs.preparing import masked_templates, prepare_all
from funpipe.jobs.recording import read_record
from funpipe.jobs.score_maps import maps_folder
from funpipe.space.geometry import whole_grid
from funpipe.space.tilts import as_tilt

MOLECULE = fp.simulate.asymmetric_molecule(3, count=14, radius=3.2, sigma=0.7)
TEMPLATE = fp.simulate.blob_image(MOLECULE, (15, 15, 15), 1.0)
SCALE = 1.0
THERE = np.array(
    [[14.0, 15.0, 13.5], [15.5, 30.0, 31.0], [26.0, 14.0, 30.0], [27.5, 31.0, 15.0]]
)
TRUE = fp.Molecules(THERE, Rotation.random(len(THERE), rng=4))
SHAPE = (42, 46, 44)
OPTIONS = {
    "template": TEMPLATE,
    "scale": SCALE,
    "tilt": (-60, 60),
    "spacing": 25.0,
    "resolution": 3.0,
    "progress": False,
}


def made(molecules=TRUE, shape=SHAPE, noise=0.15, **options):
    return fp.simulate.tomogram(
        MOLECULE, molecules, shape, SCALE, noise=noise * TEMPLATE.max(), **options
    )


TOMOGRAM = made()


def matched(picks, true, within=2.0):
    """Return of each true particle the nearest pick, or −1 where there is none."""
    distance, nearest = scipy.spatial.KDTree(picks.positions).query(true.positions)
    return np.where(distance < within, nearest, -1)


def errors(picks, true):
    """Return how far picks are off, in nm and degrees."""
    found = matched(picks, true)
    turn = (picks.rotations[found].inv() * true.rotations).magnitude()
    moved = np.linalg.norm(picks.positions[found] - true.positions, axis=1)
    return moved, np.degrees(turn)


# What is found.


def test_particles_are_found_at_their_poses():
    picks = fp.search(made(noise=0.05), count=4, **OPTIONS)
    moved, turned = errors(picks, TRUE)
    assert (matched(picks, TRUE) >= 0).all()
    assert moved.max() < 0.2 and turned.max() < 6


def test_scores_and_poses_are_those_of_align():
    picks = fp.search(TOMOGRAM, count=4, **OPTIONS)
    options = {k: v for k, v in OPTIONS.items() if k != "spacing"}
    radius = ball_of(masked_templates(prepare_all(TEMPLATE, None, 1.0))).radius
    options["max_shifts"] = max_shift(radius)
    again = fp.align(TOMOGRAM, picks, rotations=(10, 5), estimate="mode", **options)
    # Where a box is turned its waves are others, and with them what noise there is.
    np.testing.assert_allclose(
        picks.features["score"], again.features["score"], atol=0.08
    )
    assert np.linalg.norm(picks.positions - again.positions, axis=1).max() < 0.1


def test_picks_come_best_first_with_their_features():
    picks = fp.search(TOMOGRAM, false_discovery_rate=0.5, **OPTIONS)
    score = picks.features["score"]
    assert (np.diff(score) <= 0).all()
    assert list(picks.features) == [
        *("score", "z_score", "false_discovery_rate", "log_odds", "template"),
        *("shift_error", "angle_error", "converged"),
    ]
    ratio = picks.features["z_score"] / score
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)
    assert (picks.features["false_discovery_rate"] <= 0.5).all()


def test_picks_are_so_far_apart():
    picks = fp.search(TOMOGRAM, count=30, distance=9.0, **OPTIONS)
    assert len(picks) > 4
    assert scipy.spatial.distance.pdist(picks.positions).min() > 9.0


def test_a_threshold_is_the_least_score():
    many = fp.search(TOMOGRAM, count=30, **OPTIONS).features["score"]
    limit = float(many[10])
    picks = fp.search(TOMOGRAM, threshold=limit, **OPTIONS)
    assert picks.features["score"].min() >= limit
    assert len(picks) >= 9


def test_more_places_are_followed_where_all_above_a_threshold_are_asked_for(
    tmp_path, monkeypatch
):
    def peaks(brighter, **asked):
        monkeypatch.setattr(sweeping, "SWEEP", SWEEP._replace(brighter=brighter))
        record = tmp_path / "record.json"
        fp.search(TOMOGRAM, record=record, **asked, **OPTIONS)
        return read_record(record).counts[0]

    wide, narrow = (peaks(each, threshold=0.5) for each in (0.75, 1.0))
    assert wide[:2] == narrow[:2]
    assert wide[2] > narrow[2] and wide[3] > narrow[3]
    assert peaks(0.75, count=5) == peaks(1.0, count=5)


def test_boxes_about_picks_lie_in_the_tomogram():
    picks = fp.search(TOMOGRAM, count=1000, **OPTIONS)
    room = TEMPLATE.shape[0] // 2 - 1.5  # moved by so much from where it was found
    assert (picks.positions > room).all()
    assert (picks.positions < np.array(SHAPE) - 1 - room).all()


def test_of_several_templates_the_winner_is_told():
    other = fp.simulate.asymmetric_molecule(8, count=14, radius=3.2, sigma=0.7)
    image = fp.simulate.blob_image(other, (15, 15, 15), 1.0)
    both = made(TRUE[:2], noise=0) + fp.simulate.tomogram(
        other, TRUE[2:], SHAPE, SCALE, noise=0.2 * TEMPLATE.max()
    )
    options = {**OPTIONS, "template": [TEMPLATE, image]}
    picks = fp.search(both, count=4, **options)
    assert picks.features["template"][matched(picks, TRUE)].tolist() == [0, 0, 1, 1]


def test_symmetry_leaves_fewer_rotations(tmp_path):
    image = fp.symmetrize("C4")(TEMPLATE, 1.0)
    counts = []
    for group in ("C1", "C4"):
        options = {**OPTIONS, "template": image, "symmetry": group}
        fp.search(TOMOGRAM, count=1, record=tmp_path / "r.json", **options)
        counts.append(read_record(tmp_path / "r.json").rotations)
    assert 0.2 < counts[1] / counts[0] < 0.4


def test_rotations_can_be_given():
    options = {k: v for k, v in OPTIONS.items() if k != "spacing"}
    picks = fp.search(TOMOGRAM, rotations=TRUE.rotations, count=4, **options)
    assert (matched(picks, TRUE) >= 0).all()


def test_many_tomograms_are_searched_in_one_call():
    other = made(TRUE[1:3], noise=0.3, seed=7)
    picks = fp.search({"a": TOMOGRAM, "b": fp.Tomogram(other)}, count=3, **OPTIONS)
    names = picks.features["tomogram"]
    assert sorted(names.tolist()) == ["a"] * 3 + ["b"] * 3
    b = picks[names == "b"]
    assert (matched(b, TRUE[1:3]) >= 0).all()


def test_a_tilt_series_with_contrast_transfer_is_accounted_for():
    series = fp.tilt_series(range(-60, 61, 4), defocus=0.3)
    tomogram = made(noise=0.1, tilt=series)
    picks = fp.search(tomogram, count=4, **{**OPTIONS, "tilt": series})
    assert (matched(picks, TRUE) >= 0).all()


def test_whitened_noise_that_is_not_white_is_no_obstacle():
    tomogram = made(noise=0.3, falling=1.0)
    picks = fp.search(tomogram, count=4, whiten=True, **OPTIONS)
    assert (matched(picks, TRUE) >= 0).all()


# What is the same, however it is done.


def test_an_exact_search_is_that_of_all_voxels_and_rotations():
    tomogram = TOMOGRAM[2:28, 2:27, 2:28]
    templates = masked_templates(prepare_all(TEMPLATE, None, 1.0))
    support = ball_of(templates)
    side, grid = int(support.periods[0]), whole_grid(40.0)
    k = plain.waves_of(side, 3.0)
    weights = as_tilt("tilt", (-60, 60))(k.T)
    rows = plain.turned_rows(templates[0].astype(float), grid.rotations, k, weights)
    window = plain.window_of(side, support.radius)
    values = tomogram.astype(float)
    scores, _ = plain.best_scores(values, rows, window, k, weights)
    inner = scores[scores > 0]
    least = float(np.quantile(inner, 0.4))
    wanted = plain.peaks(scores, least)
    assert len(wanted) > 3
    found = _grid_peaks(tomogram, exact=True, spacing=40.0, least=least)
    assert sorted(map(tuple, found.where.tolist())) == sorted(wanted)
    np.testing.assert_allclose(
        found.scores, [scores[tuple(each)] for each in found.where], atol=5e-3
    )


def _grid_peaks(tomogram, *, exact, spacing, least):
    """Return the peaks before any is aligned or left out for another."""
    from funpipe.boxes.opening import open_all
    from funpipe.boxes.tiles import scanned
    from funpipe.jobs.looking import LookedFor, Place
    from funpipe.jobs.regions import region_of
    from funpipe.jobs.sweeping import swept
    from funpipe.jobs.working import Running

    (source,) = open_all(tomogram, 1.0, as_tilt("tilt", (-60, 60)))
    templates = masked_templates(prepare_all(TEMPLATE, None, 1.0))
    looked = LookedFor(
        templates,
        whole_grid(spacing),
        3.0,
        ball_of(templates),
        whiten=False,
        exact=exact,
        maps=False,
        expected=1000.0,
        least=least,
    )
    place = Place(source, scanned(source), region_of(None, tomogram.shape, 1.0))
    return swept(place, looked, Running())


def test_the_quick_search_has_the_peaks_of_the_exact_one():
    random = np.random.default_rng(2)
    grid = np.stack(
        np.meshgrid([14, 34], [14, 34, 54], [14, 34, 54], indexing="ij"), -1
    )
    places = grid.reshape(-1, 3) + random.uniform(-2, 2, (18, 3))
    many = fp.Molecules(places, Rotation.random(18, rng=3))
    tomogram = made(many, shape=(48, 68, 68), noise=0.45)
    exact = _grid_peaks(tomogram, exact=True, spacing=30.0, least=0.46)
    quick = _grid_peaks(tomogram, exact=False, spacing=30.0, least=0.46)
    distance, nearest = scipy.spatial.KDTree(quick.where).query(exact.where)
    # Of two peaks beside each other one is enough.
    near = scipy.spatial.KDTree(exact.where).query_ball_point(exact.where, 5.0)
    best = exact.scores >= np.array([exact.scores[each].max() for each in near])
    assert best.sum() >= 15
    assert (distance[best] <= 1.5).all()
    part = quick.scores[nearest[best]] / exact.scores[best]
    assert (part <= 1 + 1e-6).all() and (part > 0.99).mean() > 0.9


def test_limits_miss_poses_as_seldom_as_they_say():
    templates = masked_templates(prepare_all(TEMPLATE, None, 1.0))
    basis = search_basis(
        templates,
        whole_grid(30.0),
        3.0,
        support=ball_of(templates),
        seen=Seen(_all_of_it, _all_of_it),
    )
    basis = basis._replace(step=step_for(basis))
    limits = limits_of(basis, 0.5, 0.02)
    tiles = tiling(basis, (32, 32, 32), _all_of_it)
    random = np.random.default_rng(5)
    wanted = np.zeros((32,) * 3, bool)
    wanted[15:18, 15:18, 15:18] = True
    lost = 0
    for _ in range(150):
        row = int(random.integers(len(basis.rows)))
        tile = _with_score(basis, row, 0.5, random, tiles.fine)
        found = sweep(tile, wanted, basis, tiles, limits, faint=0.0, go_on=lambda: None)
        lost += not len(found.where)
    assert lost <= 12  # each of three limits 2 %: 9 in 150 at the most


def _all_of_it(k):
    return np.ones(k.shape[1:])


def _with_score(basis, row, score, random, shape):
    """Return noise in which a turned template has a score, near the middle."""
    half = basis.side // 2
    tile = random.standard_normal(shape).astype(np.float32)
    middle = np.array(shape) // 2
    kernel = _real(basis.rows[row], basis)
    part = tuple(slice(i - half, i + half + 1) for i in middle)
    lowest, highest = -50.0, 50.0
    noise = tile[part].copy()
    for _ in range(30):
        much = (lowest + highest) / 2
        tile[part] = noise + much * kernel
        where = middle[None]
        found = rescored_at(tile, where, basis, row)
        lowest, highest = (much, highest) if found < score else (lowest, much)
    return tile


def rescored_at(tile, where, basis, row):
    from funpipe.engine.basis import seen_of

    half = basis.side // 2
    crops = np.stack(
        [tile[tuple(slice(i - half, i + half + 1) for i in each)] for each in where]
    )
    return float((basis.rows[row].conj() @ seen_of(crops, basis)[0]).real)


def _real(row, basis):
    """Return a real image of some waves about its centre, of a largest value of 1."""
    axis = np.arange(basis.side) - basis.side // 2
    places = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    image = (np.exp(2j * np.pi * places @ basis.k.T) @ row).real
    return (image / np.abs(image).max()).reshape((basis.side,) * 3).astype(np.float32)


def test_peaks_do_not_depend_on_how_the_work_is_done(tmp_path):
    tomogram = made(shape=(42, 90, 92), noise=0.6)
    options = {**OPTIONS, "count": 12}
    first = fp.search(tomogram, **options)
    fp.write_volume(tmp_path / "t.mrc", tomogram, SCALE)
    del options["scale"]
    assert fp.search(tmp_path / "t.mrc", **options) == first
    with ProcessPoolExecutor(2) as pool:
        assert fp.search(tmp_path / "t.mrc", executor=pool, **options) == first


class Opaque:
    """An array-like that does not pickle."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.lock = threading.Lock()

    def __getitem__(self, where):
        with self.lock:
            return self.array[where]


def test_what_does_not_travel_is_read_here():
    options = {**OPTIONS, "count": 4}
    first = fp.search(TOMOGRAM, **options)
    with ProcessPoolExecutor(1) as pool:
        assert fp.search(Opaque(TOMOGRAM), executor=pool, **options) == first


def test_a_search_that_was_stopped_goes_on(tmp_path):
    options = {**OPTIONS, "count": 4, "checkpoint": tmp_path / "kept"}
    first = fp.search(TOMOGRAM, **options)
    files = sorted((tmp_path / "kept").rglob("*.npz"))
    assert files
    assert fp.search(TOMOGRAM, **options) == first
    assert sorted((tmp_path / "kept").rglob("*.npz")) == files


@pytest.mark.parametrize("shape", [(30, 130, 131), (60, 61, 260)])
@pytest.mark.parametrize("step", [1.0, 1.5, 2.0, 2.5])
def test_tiles_hold_each_place_once(shape, step):
    plan = plan_tiles(shape, step, (9, 9, 9), 14)
    seen = np.zeros([int((n - 1) / step) + 1 for n in shape], int)
    for first in plan.first:
        own = np.argwhere(plan.own(first)) + first
        np.add.at(seen, tuple(own.T), 1)
    expected = np.zeros_like(seen)
    inside = []
    for n, count in zip(shape, seen.shape, strict=True):
        voxel = np.floor(np.arange(count) * step + 0.5)
        inside.append(np.flatnonzero((voxel >= 9) & (voxel <= n - 10)))
    expected[np.ix_(*inside)] = 1
    np.testing.assert_array_equal(seen, expected)


# How many are there by chance.


def test_in_noise_alone_nothing_is_found():
    found = 0
    for seed in range(4):
        noise = np.random.default_rng(seed).standard_normal(SHAPE)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "search found nothing")
            found += len(fp.search(noise, **OPTIONS))
    assert found <= 1


def test_an_empty_list_has_the_features_too():
    noise = np.random.default_rng(0).standard_normal(SHAPE)
    with pytest.warns(UserWarning, match="found nothing"):
        picks = fp.search(noise, threshold=0.99, **OPTIONS)
    assert len(picks) == 0 and "score" in picks.features


def test_null_noise_has_the_templates_power_and_extent():
    (template,) = masked_templates(prepare_all(TEMPLATE, None, 1.0))
    (other,) = noise_like(template[None], seed=3)
    assert np.square(other).sum() == pytest.approx(np.square(template).sum(), rel=0.02)
    z, y, x = np.indices(template.shape) - 7.0
    away = np.rint(np.sqrt(z**2 + y**2 + x**2)).astype(int).ravel()
    for power in (1, 2):
        mine, its = (
            np.bincount(away, each.ravel() ** power) for each in (template, other)
        )
        np.testing.assert_allclose(its, mine, atol=0.02 * np.abs(mine).max())
    correlation = np.vdot(template, other) / np.square(template).sum()
    assert correlation < 0.95


def test_null_noise_is_as_symmetric_as_the_template():
    templates = np.stack([fp.symmetrize("C4")(TEMPLATE, SCALE)])
    (other,) = noise_like(templates, "C4")
    turned = np.rot90(other, axes=(1, 2))
    assert np.abs(turned - other).max() < 0.02 * np.abs(other).max()


def test_chance_scores_what_white_noise_does():
    random = np.random.default_rng(0)
    noise = random.standard_normal((200_000, 60), np.float32)
    scores = noise[:, 0] / np.linalg.norm(noise, axis=1)
    limit = score_of_chance(60, 200_000, 200)
    assert (scores > limit).sum() == pytest.approx(200, abs=45)


def test_chance_scores_are_those_of_the_sphere():
    """Of two numbers an arc is above a score, of three a cap, of four a closed form."""
    for expected in (1.0, 20.0):
        chance = 2 * expected / 1e5  # above s, or below −s
        found = [score_of_chance(n, 1e5, expected) for n in (2, 3, 4)]
        assert found[0] == pytest.approx(np.cos(np.pi * chance / 2))
        assert found[1] == pytest.approx(1 - chance)
        angle = np.arccos(found[2])
        assert 2 / np.pi * (angle - np.sin(angle) * found[2]) == pytest.approx(chance)
    # One in a thousand at the most.
    assert score_of_chance(3, 1e5, 1e4) == pytest.approx(1 - 2e-3)
    few, many = (score_of_chance(n, 1e9, 10.0) for n in (11, 12))
    for n, score in ((11, few), (12, many)):
        t = score * np.sqrt((n - 1) / (1 - score**2))  # Student's
        assert scipy.stats.t(n - 1).sf(t) == pytest.approx(1e-8, rel=1e-4)


# Where it is looked.


def test_regions_of_no_tomogram_are_none():
    options = {**OPTIONS, "spacing": 40.0, "count": 2}
    assert fp.search(TOMOGRAM, region={}, **options) == fp.search(TOMOGRAM, **options)


def test_only_a_region_is_looked_at():
    picks = fp.search(TOMOGRAM, count=10, region=(20.0, 40.0), **OPTIONS)
    assert len(picks) > 2 and (picks.positions[:, 0] > 19.5).all()
    mask = np.zeros(SHAPE, bool)
    mask[:, :, 22:] = True
    picks = fp.search(TOMOGRAM, count=10, region=mask, **OPTIONS)
    assert len(picks) > 2 and (picks.positions[:, 2] > 21.5).all()


def test_what_is_not_finite_is_said_unless_it_is_left_out():
    tomogram = TOMOGRAM.copy()
    tomogram[38:] = np.nan
    with pytest.raises(
        ValueError, match=r"NaN or infinity in .* z 38 to 41, .* region"
    ):
        fp.search(tomogram, count=4, **OPTIONS)
    picks = fp.search(tomogram, count=4, region=(0.0, 37.0), **OPTIONS)
    assert (matched(picks, TRUE) >= 0).all()


@pytest.mark.parametrize("level", [0.0, 300.0])
def test_there_are_no_picks_in_padding(level):
    tomogram = np.full((42, 46, 90), level, np.float32)
    tomogram[:, :, :44] = TOMOGRAM + level
    picks = fp.search(tomogram, count=30, **OPTIONS)
    assert (matched(picks, TRUE) >= 0).all()
    assert (picks.positions[:, 2] < 50).all()


def test_beads_of_gold_are_no_picks():
    tomogram = made(noise=0.3)
    z, y, x = np.indices(SHAPE)
    bead = (z - 21) ** 2 + (y - 23) ** 2 + (x - 22) ** 2 <= 4
    tomogram[bead] += 40 * TEMPLATE.max()
    picks = fp.search(tomogram, count=5, **OPTIONS)
    assert (matched(picks, TRUE) >= 0).all()
    assert np.linalg.norm(picks.positions - [21, 23, 22], axis=1).min() > 4


def test_a_level_and_a_scale_change_nothing():
    first = fp.search(TOMOGRAM, count=4, **OPTIONS)
    other = fp.search(TOMOGRAM.astype(float) * 1e7 - 5e8, count=4, **OPTIONS)
    assert np.linalg.norm(first.positions - other.positions, axis=1).max() < 1e-2


# What is written beside.


def test_a_record_says_what_was_searched(tmp_path):
    path = tmp_path / "search.json"
    picks = fp.search(TOMOGRAM, false_discovery_rate=0.1, record=path, **OPTIONS)
    record = read_record(path)
    assert record.shapes == (SHAPE,) and record.scale == SCALE
    assert record.spacing == 25.0 and record.resolution == 3.0
    assert len(record.picked) >= len(picks) >= 4
    assert record.threshold == record.picked.min()
    assert (np.diff(record.scores) <= 0).all() and len(record.null) > 10
    (counts,) = record.counts
    assert counts[0] >= counts[1] >= counts[2] >= counts[3] > 0


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kind": "funpipe search"}', "\0"])
def test_what_is_no_record_is_said(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"a\.json is no record of a search"):
        read_record(tmp_path / "a.json")


def test_maps_hold_the_best_score_of_each_place(tmp_path):
    fp.search(made(noise=0.02), count=4, maps=tmp_path / "maps", **OPTIONS)
    score = read_volume(tmp_path / "maps" / "score.mrc")
    number = read_volume(tmp_path / "maps" / "orientation.mrc")
    step = score.scale / SCALE
    turns = fp.read_molecules(tmp_path / "maps" / "orientations.csv", scale=1.0)
    for position, turn in zip(TRUE.positions, TRUE.rotations, strict=True):
        place = np.rint(position / step).astype(int)
        around = score.array[tuple(slice(i - 1, i + 2) for i in place)]
        assert around.max() > 0.6 * score.array.max()
        best = np.unravel_index(around.argmax(), around.shape) + place - 1
        found = turns.rotations[int(number.array[tuple(best)])]
        assert np.degrees((found.inv() * turn).magnitude()) < 40
    assert (number.array >= -1).all() and (score.array[0] == 0).all()


def test_maps_have_a_folder_named_after_the_tomogram(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    fp.write_volume("TS_1.mrc", TOMOGRAM, SCALE)
    options = {key: each for key, each in OPTIONS.items() if key != "scale"}
    with caplog.at_level("INFO", "funpipe"):
        fp.search("TS_1.mrc", count=1, maps=True, **options)
    assert (tmp_path / "TS_1_search" / "score.mrc").exists()
    assert "go to TS_1_search" in caplog.text
    before = sorted(tmp_path.iterdir())
    fp.search("TS_1.mrc", count=1, maps=False, **options)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("tomogram", "folder"),
    [
        ("a/TS_1.mrc.gz", "TS_1_search"),
        (fp.Tomogram("b/x.rec"), "x_search"),
        (TOMOGRAM, "tomogram_search"),
        ({"a": TOMOGRAM}, "tomograms_search"),
    ],
)
def test_what_true_means_for_maps(tomogram, folder):
    assert maps_folder(True, tomogram) == folder
    assert maps_folder(False, tomogram) is None


# What is wrong.


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"count": 0}, "count must be"),
        ({"threshold": 2.0}, "threshold must be a score above 0 and below 1"),
        ({"false_discovery_rate": 5}, "false_discovery_rate must be a part above 0"),
        ({"false_alarms": 0}, "false_alarms must be above 0 and at most 100, not 0"),
        ({"false_alarms": np.inf}, "false_alarms must be a finite number"),
        ({"false_alarms": "1"}, "false_alarms must be a finite number"),
        ({"distance": 0.0}, "distance must be"),
        ({"distance": "box"}, "distance must be a number above 0, 'mask' or None"),
        ({"distance": "mask"}, "distance must be .* None where there is no mask"),
        ({"spacing": 0.1}, "spacing must be from 1 to 90 degrees"),
        ({"rotations": (20, 10)}, "spacing must be None where rotations are not 'all'"),
        ({"resolution": 1.0}, "resolution must be 2 nm or more, two voxels"),
        ({"resolution": 40.0}, "resolution must be .* nm or less"),
        ({"record": "a.txt"}, r"record must end in \.json"),
        ({"region": (500.0, 600.0)}, "region"),
        ({"region": {"a": None}}, "region"),
        ({"template": fp.from_gaussian((60.0,) * 3, sigma=9.0)}, "must fit into"),
        ({"spacing": 1.0, "resolution": 2.0}, "resolution must be coarser"),
        ({"mask": np.zeros((15, 15, 15))}, "mask must be above 0 somewhere"),
    ],
)
def test_bad_arguments_are_refused_before_any_work(options, text, monkeypatch):
    from funpipe.base import arguments

    monkeypatch.setattr(arguments, "memory", lambda: 4e9)
    with pytest.raises(ValueError, match=text):
        fp.search(TOMOGRAM, **{**OPTIONS, **options})


def test_a_templates_contrast_does_not_matter_however_great_it_is():
    volume = np.random.default_rng(3).normal(size=(24, 24, 24)).astype(np.float32)
    template = fp.from_gaussian((9.0,) * 3, sigma=(1.0, 1.5, 2.0))
    how = {"scale": 1.0, "count": 3, "spacing": 60.0, "distance": 3.0}
    found = fp.search(volume, template=template, **how)
    for factor in (1e25, 1e-25):
        other = fp.search(volume, template=factor * template, **how)
        np.testing.assert_allclose(other.positions, found.positions, atol=1e-3)


def test_a_template_as_large_as_the_tomogram_fits_at_no_place():
    tomogram = np.random.default_rng(0).normal(size=(8, 9, 8)).astype(np.float32)
    template = fp.from_gaussian((8.0,) * 3, sigma=1.5)
    with pytest.raises(ValueError, match=r"template must be smaller than the tomogram"):
        fp.search(tomogram, template=template, scale=1.0, count=1, spacing=90.0)


def test_tiles_that_do_not_fit_into_memory_are_refused(monkeypatch):
    from funpipe.base import arguments

    monkeypatch.setattr(arguments, "memory", lambda: 2e7)
    with pytest.raises(ValueError, match=r"resolution must be coarser: \d+ functions"):
        fp.search(TOMOGRAM, count=1, **OPTIONS)


def test_a_scale_that_contradicts_the_header_is_said(tmp_path):
    fp.write_volume(tmp_path / "t.mrc", TOMOGRAM, 1.0)
    options = {**OPTIONS, "scale": 2.0, "resolution": 6.0}
    with pytest.warns(UserWarning, match="scale is 2 nm per voxel"):
        fp.search(tmp_path / "t.mrc", count=4, **options)
