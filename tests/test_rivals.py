"""How templates compare with others: how like they are, and what chance gives both."""

from __future__ import annotations

import numpy as np
import pytest

import funpipe as fp
from funpipe.engine.basis import Seen, ball_of, search_basis
from funpipe.engine.rivals import best_by_chance, independent_rotations, likeness
from funpipe.jobs.chance import mirrored, noise_like
from funpipe.jobs.preparing import masked_templates, prepare_all
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
