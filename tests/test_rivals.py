"""How templates compare with others: by chance, and where one of them is."""

from __future__ import annotations

import numpy as np
import pytest
import scipy
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.boxes.opening import open_all
from funpipe.boxes.tiles import scanned
from funpipe.engine.basis import Seen, ball_of, search_basis, seen_of
from funpipe.engine.rivals import (
    Beaten,
    beaten,
    best_by_chance,
    independent_rotations,
    likeness,
)
from funpipe.jobs.chance import mirrored, noise_like
from funpipe.jobs.looking import LookedFor, Place
from funpipe.jobs.preparing import masked_templates, prepare_all
from funpipe.jobs.regions import region_of
from funpipe.jobs.rivals import rival
from funpipe.jobs.spacing import Apart, peaks_apart
from funpipe.jobs.sweeping import swept
from funpipe.jobs.working import Running
from funpipe.space.geometry import whole_grid
from funpipe.space.tilts import as_tilt

FINEST, GRID = 3.0, whole_grid(30.0)
TILT = as_tilt("tilt", (-60, 60))
MOLECULE = fp.simulate.asymmetric_molecule(3, count=14, radius=3.2, sigma=0.7)


def masked(image):
    return masked_templates(prepare_all(image, None, 1.0))


TEMPLATES = masked(fp.simulate.blob_image(MOLECULE, (15, 15, 15), 1.0))
SUPPORT = ball_of(TEMPLATES)


def basis_of(templates, grid=GRID):
    def seen(vectors):
        return np.sqrt(TILT(vectors)).astype(np.float32)

    return search_basis(templates, grid, FINEST, support=SUPPORT, seen=Seen(seen, seen))


BASIS, MIRROR = basis_of(TEMPLATES), basis_of(mirrored(TEMPLATES))


def test_templates_are_like_themselves_and_less_like_others():
    assert likeness(BASIS, BASIS) == pytest.approx(1, abs=1e-5)
    noise = basis_of(noise_like(TEMPLATES))
    assert likeness(BASIS, noise) < likeness(BASIS, MIRROR) < 0.95
    some = BASIS.rows[:: max(1, len(BASIS.rows) // 64)]
    best = [max((each.conj() @ row).real for each in MIRROR.rows) for row in some]
    assert likeness(BASIS, MIRROR) == pytest.approx(np.mean(best), abs=1e-4)


def test_a_mirror_image_turns_as_freely_and_other_noise_may_more():
    n = BASIS.numbers
    own, other = (
        independent_rotations(best_by_chance(each), n) for each in (BASIS, MIRROR)
    )
    assert other == pytest.approx(own, rel=0.15)
    ball = masked(fp.from_gaussian((15, 15, 15), sigma=(1.5, 1.5, 2.5))(1.0))
    round_one = independent_rotations(best_by_chance(basis_of(ball)), n)
    assert round_one < 0.5 * own


@pytest.mark.parametrize("count", [1, 12, 300])
def test_independent_rotations_are_counted(count):
    noise = np.random.default_rng(count).standard_normal((8000, count))
    found = independent_rotations(noise.max(axis=1) / 9, 81.0)
    assert found == pytest.approx(count, rel=0.1)


def test_how_often_others_score_more_falls_with_the_score():
    z = np.array([3.0, 5.0, 7.0, 9.0, 30.0])
    r = Beaten(2.0, -0.5).at(z)
    assert r[0] == 0.5 and (np.diff(r) < 0).all() and r[-1] < 1e-4
    np.testing.assert_allclose(r[2:], 1 / (1 + np.exp(-(2 - 0.5 * z[2:]))))


def test_others_that_are_the_same_win_every_other_time():
    turned = basis_of(TEMPLATES, whole_grid(33.0))
    particles = basis_of(TEMPLATES, whole_grid(50.0)).rows
    often = beaten(particles, BASIS, turned)
    assert often.at(np.array([5.0, 7.0])) == pytest.approx(0.45, abs=0.12)


def test_how_often_others_score_more_is_what_a_search_of_particles_finds():
    """As many particles as there is room for, searched for by both templates."""
    random = np.random.default_rng(4)
    axes = [np.arange(12, n - 11, 15.0) for n in (72, 132, 132)]
    there = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    true = fp.Molecules(there, Rotation.random(len(there), rng=random))
    noise = 0.45 * TEMPLATES.max()
    shape = (72, 132, 132)
    made = fp.simulate.tomogram(MOLECULE, true, shape, 1.0, tilt=TILT, noise=noise)
    (source,) = open_all(made, 1.0, TILT)
    place = Place(source, scanned(source), region_of(None, shape, 1.0))
    options = (GRID, FINEST, SUPPORT, False, False, False, 600.0, None)
    looked, others = (
        LookedFor(each, *options) for each in (TEMPLATES, mirrored(TEMPLATES))
    )
    z = []
    for each in (looked, others):
        found = peaks_apart(swept(place, each, Running()), Apart(5.0), GRID)
        away, which = scipy.spatial.KDTree(found.where).query(true.positions)
        score = np.where(away < 4, found.scores[which], 0)
        z.append(score * np.sqrt(found.numbers))
    known = z[0] > 4.5
    said = rival(place, looked, others).beaten.at(z[0][known]).sum()
    lost = (z[1] > z[0])[known].sum()
    assert known.sum() > 150 and lost > 15
    assert said == pytest.approx(lost, rel=0.35)


def test_rows_of_noise_have_the_score_that_is_drawn():
    from funpipe.engine.chances import drawn

    random = np.random.default_rng(6)
    crops = random.standard_normal((50, *(BASIS.side,) * 3), np.float32)
    some = drawn(BASIS.rows[:1], 0.6, seen_of(crops, BASIS), random)
    scores = (some @ BASIS.rows[0].conj()).real
    np.testing.assert_allclose(scores, 0.6, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(some, axis=1), 1, atol=1e-5)
