"""What a search is said to take is about what it does, and advice can be taken."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from funpipe.base import arguments
from funpipe.engine.bank import template_bank
from funpipe.engine.costs import Cost, check_cost
from funpipe.engine.settings import SETTINGS
from funpipe.simulate import asymmetric_molecule, blob_image
from funpipe.space.crops import whole_box
from funpipe.space.geometry import rotation_count, rotation_grid

USUAL = Cost((1, 64, 64, 64), (5.0, 5.0, 5.0), 3.0, refined=True)
sizes = st.tuples(st.integers(1, 3), *[st.integers(8, 200)] * 3)
windows = st.tuples(*[st.floats(0.0, 30.0)] * 3)
several = st.builds(Cost, sizes, windows, st.floats(2.0, 12.0), st.booleans())
counts = st.floats(1.0, 1e7)


def bytes_of(value):
    """Return the bytes of all arrays in what a search prepares."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, tuple):
        return sum(bytes_of(each) for each in value)
    return 0


def test_shifts_are_counted_along_each_axis():
    for window, count in (
        ((0.0, 0.0, 0.0), 1),
        ((1.0, 0.9, 2.5), 3 * 1 * 5),
        ((4.0, 3.0, 2.0), 9 * 7 * 5),
    ):
        assert USUAL._replace(window=window).shifts() == count


@given(several, counts)
def test_more_of_anything_takes_no_less(cost, rotations):
    usual = cost.bytes(rotations)
    m, z, y, x = cost.templates
    a, b, c = cost.window
    assert cost.bytes(2 * rotations) >= usual
    for larger in (
        cost._replace(templates=(m + 1, z, y, x)),
        cost._replace(templates=(m, z, y + 8, x)),
        cost._replace(window=(a, b, c + 4)),
        cost._replace(window=(a + 4, b, c)),
    ):
        assert larger.bytes(rotations) >= usual * (1 - 1e-9)
    whole = cost._replace(refined=False)
    assert whole._replace(finest=cost.finest / 1.5).bytes(rotations) >= (
        whole.bytes(rotations) * (1 - 1e-9)
    )


@given(several, counts)
def test_what_a_search_cannot_do_without_is_counted(cost, rotations):
    """All it holds at once: its batch, the templates, their rotations, the kernel."""
    m, *box = cost.templates
    least = SETTINGS.batch_bytes + SETTINGS.bank_bytes + 40.0 * np.prod(box)
    least += rotations * (1000 + 100 * m)
    waves = 2 / 3 * np.pi * np.prod(box) / cost.finest**3
    if not cost.refined:
        least += 8 * m * rotations * min(waves, np.prod(box) / 2)
    assert cost.bytes(rotations) >= least


def plainly(cost, rotations):
    """Return what a plain count of a search's arrays takes."""
    m, *box = cost.templates
    rows, voxels = m * rotations, box[0] * box[1] * box[2]
    shifts = 1
    for most in cost.window:
        shifts *= 1 + 2 * int(most)
    # Half of a ball of the radius 1 / finest, but no more than half of the box.
    waves = 4 / 3 * np.pi * (1 / cost.finest) ** 3 / 2 * voxels
    waves = min(max(waves, 1.0), voxels / 2)
    kept, period = waves, cost.finest
    if cost.refined:
        # As many as the bank holds of 12 bytes each, but no fewer than fifty.
        kept = min(waves, max(50.0, SETTINGS.bank_bytes / 12 / rows))
        period = max(cost.finest, 5.0)
        shifts = 1.0
        for most in cost.window:
            shifts *= 8 * most / period + 1
    rank = 1.0
    for most in cost.window:
        rank *= 4 * most / period + 3
    rank = min(rank, shifts)
    field = 64.0
    for n in box:
        field *= 4 * n / cost.finest + 3
    parts = {
        "rotations": 1200 * rotations + 128 * rows,
        "spectra": 20 * kept * rows,
        "kernel": SETTINGS.bank_bytes + 8 * rank * shifts,
        "batch": max(SETTINGS.batch_bytes, 4 * (rank + 32) * rows),
        "fields": m * (max(100e6, field) + 600 * waves),
        "box": 40 * voxels,
    }
    return sum(parts.values())


@pytest.mark.parametrize("refined", [True, False])
@pytest.mark.parametrize("rotations", [1.0, 1e3, 1e6])
@pytest.mark.parametrize(
    ("templates", "window", "finest"),
    [
        ((1, 32, 32, 32), (3.0, 3.0, 3.0), 4.0),
        ((3, 20, 24, 28), (0.0, 2.5, 1.0), 6.0),
        ((2, 200, 190, 180), (0.0, 0.0, 0.0), 2.2),  # of large fields
        ((1, 16, 16, 16), (30.0, 20.0, 25.0), 2.0),  # of many shifts
        ((1, 8, 8, 8), (1.0, 1.0, 1.0), 12.0),  # of less than a wave
        ((1, 40, 40, 40), (1.0, 2.0, 3.0), 1.2),  # of more waves than voxels
    ],
)
def test_what_a_search_takes_is_the_sum_of_its_arrays(
    templates, window, finest, rotations, refined
):
    cost = Cost(templates, window, finest, refined)
    assert cost.bytes(rotations) == pytest.approx(plainly(cost, rotations), rel=1e-9)


@pytest.mark.parametrize("refined", [True, False])
@pytest.mark.parametrize("rotations", [(16, 4), (20, 10)])
def test_a_bank_takes_no_more_than_is_said_and_not_a_hundredth_of_it(
    refined, rotations
):
    shape, window = (24, 24, 24), (2.0, 2.0, 2.0)
    blobs = asymmetric_molecule(3, radius=7.0, sigma=1.3)
    template = blob_image(blobs, shape, 1.0)[None].astype(np.float32)
    grid = rotation_grid(rotations)
    bank = template_bank(
        template, grid, window, 3.0, support=whole_box(shape), refined=refined
    )
    cost = Cost((1, *shape), window, 3.0, refined)
    said = cost.bytes(len(grid.rotations))
    fixed = SETTINGS.bank_bytes + SETTINGS.batch_bytes
    assert bytes_of(bank) <= said
    # Beside the room that all searches are given, it is of its size.
    assert said - fixed < 100e6 + 20 * bytes_of(bank)


def test_a_search_of_all_waves_takes_its_spectra_and_their_products():
    """Most of a large search is what a plain count of its arrays says."""
    cost = Cost((2, 100, 100, 100), (3.0, 3.0, 3.0), 4.0, refined=False)
    rotations = 1e6
    waves = 2 / 3 * np.pi * 100**3 / 4**3
    spectra = 2 * rotations * waves * (8 + 4)  # complex, and their powers
    assert spectra < cost.bytes(rotations) < 2 * spectra
    refined = cost._replace(refined=True)
    kept = 2 * rotations * 50 * 12  # no fewer than fifty waves
    assert kept < refined.bytes(rotations) < 12 * kept


def test_a_search_fits_or_says_how_much_it_takes(monkeypatch):
    needed = USUAL.bytes(1e6)
    for memory, fits in ((needed / 1.49, True), (needed / 1.51, False)):
        monkeypatch.setattr(arguments, "memory", lambda memory=memory: memory)
        if fits:
            check_cost(USUAL, (180, 2), 1e6)
            continue
        with pytest.raises(ValueError, match=r"^rotations must fit") as error:
            check_cost(USUAL, (180, 2), 1e6)
        text = str(error.value)
        assert "1,000,000 of them with 1,331 shifts" in text
        said = re.search(r"up to ([\d,]+) GB, of which there are ([\d,]+);", text)
        assert said is not None
        found = [float(each.replace(",", "")) for each in said.groups()]
        assert found == [round(needed / 1e9), round(memory / 1e9)]


def test_rotations_that_are_built_and_left_out_count_too(monkeypatch):
    monkeypatch.setattr(arguments, "memory", lambda: 8e9)
    check_cost(USUAL, (180, 4), 100.0, built=3.9e7)
    with pytest.raises(ValueError, match=r"41,000,000 of them .* up to 12 GB"):
        check_cost(USUAL, (180, 4), 100.0, built=4.1e7)


@pytest.mark.parametrize(
    "given_rotations",
    [(180, 1), (90, 0.5), ((180, 2), (90, 2), (180, 2)), ((180, 1), (10, 1), (0, 0))],
)
@pytest.mark.parametrize("part", [1.0, 0.25])
def test_the_step_that_is_advised_fits_and_a_finer_one_does_not(
    given_rotations, part, monkeypatch
):
    built = rotation_count(given_rotations)
    most = max(USUAL.bytes(built * part / 40), 0.0)
    monkeypatch.setattr(arguments, "memory", lambda: most / 1.5)
    with pytest.raises(ValueError, match="take a coarser step first") as error:
        check_cost(USUAL, given_rotations, built * part, built=built)
    text = str(error.value).rpartition("such as ")[2].partition(", or 'all'")[0]
    numbers = [float(each) for each in re.findall(r"[\d.]+", text)]
    pairs = np.array(numbers).reshape(-1, 2)
    wanted = np.atleast_2d(np.array(given_rotations, float))
    np.testing.assert_array_equal(pairs[:, 0], wanted[:, 0])
    factor = round(float((pairs[:, 1] / np.maximum(wanted[:, 1], 1e-9)).max()))

    def fits(factor):
        steps = np.minimum(wanted[:, 1] * factor, wanted[:, 0])
        tried = np.stack([wanted[:, 0], steps], axis=1)
        count = rotation_count(tried if len(tried) == 3 else tried[0])
        try:
            check_cost(USUAL, given_rotations, max(1.0, count * part), built=count)
        except ValueError:
            return False
        return True

    assert factor > 1 and fits(factor) and not fits(factor - 1)
    assert ("((" in text) == (len(wanted) == 3)


def test_what_no_step_helps_is_said(monkeypatch):
    monkeypatch.setattr(arguments, "memory", lambda: USUAL.bytes(1) / 1.5 * 1.01)
    with pytest.raises(ValueError, match="give fewer rotations, some at a time"):
        check_cost(USUAL, "all", 1e6)
    with pytest.raises(ValueError, match="take a coarser step, or 'all'"):
        check_cost(USUAL, (180, 0.001), rotation_count((180, 0.001)))
    monkeypatch.setattr(arguments, "memory", lambda: USUAL.bytes(1) / 1.5 * 0.99)
    with pytest.raises(ValueError, match="give a smaller max_shifts, a smaller box"):
        check_cost(USUAL, "all", 1.0)


@pytest.mark.parametrize("rotations", [0.95, 1.05])
def test_rotations_are_to_blame_where_one_of_them_fits(rotations, monkeypatch):
    monkeypatch.setattr(arguments, "memory", lambda: USUAL.bytes(rotations) / 1.5)
    way = "fewer rotations" if rotations > 1 else "a smaller max_shifts"
    with pytest.raises(ValueError, match=f"; give {way}"):
        check_cost(USUAL, "all", 1e6)
