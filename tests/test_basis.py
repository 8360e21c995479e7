"""The functions of a search of a whole tomogram hold the templates they are of."""

from __future__ import annotations

import numpy as np
import plain_search as plain
import pytest
import scipy
from test_sweep import (
    BASIS,
    FINEST,
    GRID,
    HALF,
    SEEN,
    SIDE,
    SUPPORT,
    TEMPLATES,
    crop_of,
    falling,
    noise,
    whole_of,
)

from funpipe.engine.basis import ball_of, of_others, search_basis, seen_of
from funpipe.engine.settings import SWEEP
from funpipe.space.geometry import whole_grid


def test_rows_are_templates_that_are_turned_by_plain_sums():
    k = BASIS.k
    weights = np.square(falling(k.T))
    for m, template in enumerate(TEMPLATES):
        turns = GRID.rotations[::7]
        wanted = plain.turned_rows(template.astype(float), turns, k, weights)
        found = BASIS.rows.reshape(2, -1, len(k))[m, ::7]
        assert np.abs((wanted.conj() * found).sum(axis=1).real - 1).max() < 5e-3
    np.testing.assert_allclose(np.linalg.norm(BASIS.rows, axis=1), 1, rtol=1e-5)


def test_functions_are_orthonormal_and_hold_as_much_as_is_asked():
    flat = BASIS.all_functions.view(np.float32).astype(float)
    np.testing.assert_allclose(flat @ flat.T, np.eye(len(flat)), atol=1e-4)
    rows = BASIS.rows.view(np.float32)
    np.testing.assert_allclose(rows @ flat.T, BASIS.all_coefficients, atol=1e-4)
    count = len(BASIS.functions)
    np.testing.assert_array_equal(BASIS.functions, BASIS.all_functions[:count])
    np.testing.assert_array_equal(BASIS.coefficients, BASIS.all_coefficients[:, :count])
    held = np.square(BASIS.all_coefficients, dtype=float).sum(axis=0).cumsum()
    held = held / len(rows)
    assert held[count - 2] < SWEEP.part <= held[count - 1]
    of_rows = np.sqrt(np.square(BASIS.coefficients, dtype=float).sum(axis=1))
    np.testing.assert_allclose(BASIS.held, of_rows, rtol=1e-5)


def test_functions_hold_about_as_much_as_as_many_singular_vectors():
    basis = search_basis(TEMPLATES, GRID, FINEST, support=SUPPORT, seen=SEEN)
    singular = np.linalg.svd(basis.rows.view(np.float32).astype(float))[1]
    best = np.square(singular).cumsum() / np.square(singular).sum()
    wanted = 1 + np.searchsorted(best, SWEEP.part)
    assert wanted <= len(basis.functions) <= 1.05 * wanted + 1


def test_rows_around_others_are_of_their_template_and_near():
    r = len(GRID.rotations)
    rows = np.array([3, r + 5])
    for row, found in zip(rows, BASIS.around(rows), strict=True):
        template, rotation = divmod(row, r)
        turn = GRID.rotations[int(rotation)].inv() * GRID.rotations
        near = np.degrees(turn.magnitude()) <= SWEEP.around * GRID.spacing + 1e-6
        assert set(found.tolist()) == set(template * r + np.flatnonzero(near))


def test_a_coarse_row_of_its_template_is_near_each():
    grid = whole_grid(20.0)
    basis = search_basis(TEMPLATES, grid, FINEST, support=SUPPORT, seen=SEEN)
    r = len(grid.rotations)
    template, rotation = np.divmod(basis.coarse, r)
    assert (np.bincount(template) == len(basis.coarse) / 2).all()
    assert len(basis.coarse) < 0.2 * len(basis.rows)
    for m in (0, 1):
        some = grid.rotations[rotation[template == m]].as_quat()
        along = np.abs(grid.rotations.as_quat() @ some.T).max(axis=1)
        apart = np.degrees(2 * np.arccos(np.minimum(along, 1)))
        assert apart.max() <= SWEEP.coarser * grid.spacing


def test_numbers_of_a_crop_are_those_that_its_window_and_waves_leave():
    half = BASIS._replace(g=np.where(np.arange(len(BASIS.g)) % 2, BASIS.g, 0))
    seen = 2 * np.count_nonzero(half.g)
    assert half.numbers == pytest.approx(
        seen * np.mean(BASIS.window.astype(float) ** 2)
    )


def test_a_basis_of_others_has_their_rows_and_all_else_of_its_own():
    other = of_others(BASIS, TEMPLATES[::-1], GRID, SEEN)
    r = len(GRID.rotations)
    np.testing.assert_allclose(other.rows[:r], BASIS.rows[r:], atol=1e-6)
    np.testing.assert_array_equal(other.functions, BASIS.functions)


def test_what_is_seen_of_crops_is_a_plain_sum_and_nothing_of_none():
    tile = noise(1)
    places = [(HALF, HALF + 1, HALF + 2), (HALF + 3, HALF, HALF)]
    crops = np.stack([crop_of(tile, each) for each in places])
    found = seen_of(crops, BASIS)
    for one, place in zip(found, places, strict=True):
        G = whole_of(tile, place)
        np.testing.assert_allclose(one, G / np.linalg.norm(G), atol=1e-4)
    assert (seen_of(np.zeros((1, SIDE, SIDE, SIDE), "f4"), BASIS) == 0).all()


def test_a_ball_is_a_crop_of_odd_and_quick_size_that_holds_the_templates():
    assert SIDE % 2 == 1
    assert scipy.fft.next_fast_len(SIDE, real=True) == SIDE
    assert SUPPORT.periods == (float(SIDE),) * 3
    offsets = np.indices((9, 9, 9)) - 4.0
    reach = np.sqrt(np.square(offsets).sum(axis=0))
    there = np.abs(TEMPLATES) > 1e-3 * np.abs(TEMPLATES).max()
    assert (reach * there).max() <= SUPPORT.radius + 1
    assert SUPPORT.radius + 1 <= SIDE / 2 + 1e-9
    loud = np.abs(TEMPLATES) > 0.3 * np.abs(TEMPLATES).max()
    assert SUPPORT.bulk == int(loud.sum() / 2)


@pytest.mark.parametrize("factor", [1e-3, 1.0, 50.0])
def test_the_bulk_of_templates_is_what_is_dense_in_them_on_average(factor):
    one, other = np.zeros((2, 15, 15, 15), np.float32)
    one[5:8, 6:9, 6:8] = 1.0
    one[9, 9, 5:9] = -0.4
    one[4, 4, 4:9] = 0.2
    other[6:8, 6:8, 6:8] = 0.9
    other[9:11, 7, 7] = -0.25
    assert ball_of(factor * np.stack([one, other])).bulk == (18 + 4 + 8) // 2
    assert ball_of(factor * one[None]).bulk == 22


@pytest.mark.parametrize("factor", [1e-6, 1e4])
def test_no_grey_scale_matters_to_what_is_seen(factor):
    crops = np.random.default_rng(3).standard_normal((2, SIDE, SIDE, SIDE))
    one, other = (seen_of((by * crops).astype("f4"), BASIS) for by in (1.0, factor))
    np.testing.assert_allclose(other, one, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(other, axis=1), 1, rtol=1e-5)
