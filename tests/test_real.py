"""Subunits of a real microtubule, aligned to a map of tubulin.

Tomogram and map come with no list of positions: `microtubule` says where the sites of
the lattice are, from the tomogram alone, and what a patch of the wall looks like, from
the map alone. Here sites are moved at random, and aligned to the template. They have to
come back. The same sites, moved on by half a repeat and aligned in the same way, have
to fail the same assertions.

Lengths are in nm, vectors z, y, x. A site's frame has z radially outwards, y along the
tube and x across it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from microtubule import (
    BAND,
    MASK,
    PROTOFILAMENTS,
    RESOLUTION,
    RISE,
    STARTS,
    TILT,
    TOMOGRAM,
    Lattice,
    Tube,
    Wall,
    lattice_of,
    moved,
    on_wall,
    sites,
    template,
    wall_of,
)
from real_files import needs_data
from scipy.spatial.transform import Rotation

import funpipe as fp

pytestmark = needs_data
pytest.importorskip("tifffile", reason="reads a TIFF: needs the extra 'tiff'")


@pytest.fixture(scope="module")
def tube() -> Tube:
    return Tube()


@pytest.fixture(scope="module")
def wall(tube: Tube) -> Wall:
    return wall_of(tube)


@pytest.fixture(scope="module")
def lattice(wall: Wall) -> Lattice:
    return lattice_of(wall)


# Together less than half a repeat, so that from a gap no site gets to the lattice.
MOVED = 0.9  # along each axis, either way
WINDOW = 1.06  # of the search


def perturbation(count: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-MOVED, MOVED, (count, 3))


def aligned(start: fp.Molecules, image: fp.ImageProvider) -> fp.Molecules:
    return fp.align(
        TOMOGRAM,
        start,
        template=image,
        mask=MASK,
        max_shifts=WINDOW,
        tilt=TILT,
        resolution=RESOLUTION,
        progress=False,
    )


def fit_to_average(
    tube: Tube, molecules: fp.Molecules, image: fp.ImageProvider
) -> tuple[np.ndarray, float]:
    """Return where the template lies in the average of sites, and its score."""
    shape = image(tube.scale).shape
    average = fp.average(TOMOGRAM, molecules, shape=shape, tilt=TILT)
    found = fp.align_subtomograms(
        average[None],
        template=image,
        mask=MASK,
        scale=tube.scale,
        max_shifts=(1.5, 2.1, 1.5),
        resolution=RESOLUTION,
        progress=False,
    )
    return found.shifts[0], float(found.scores[0])


class Runs(NamedTuple):
    """The same perturbed sites, aligned from the lattice and from its gaps."""

    period: float
    sites: fp.Molecules
    start: fp.Molecules
    from_lattice: fp.Molecules
    from_gaps: fp.Molecules


@pytest.fixture(scope="module")
def runs(tube: Tube, lattice: Lattice) -> Runs:
    true = sites(tube, lattice)
    start = moved(true, perturbation(len(true)))
    image = template(lattice.period)
    half_a_repeat = np.array([0, lattice.period / 2, 0])
    return Runs(
        lattice.period,
        true,
        start,
        aligned(start, image),
        aligned(moved(start, half_a_repeat), image),
    )


def assert_at_lattice_phase(
    molecules: fp.Molecules, true: fp.Molecules, period: float
) -> None:
    """Claim that axial positions, modulo the repeat, cluster at the lattice's phase.

    The mean of cos(2π · distance / repeat) is 1 on the lattice, 0 anywhere, and −1 in
    the gaps; 0.85 is a spread of 0.37 nm, less than a tenth of the repeat.
    """
    away = true.rotations.inv().apply(molecules.positions - true.positions)
    assert np.cos(2 * np.pi * away[:, 1] / period).mean() > 0.85


def assert_nearer(these: fp.Molecules, those: fp.Molecules, true: fp.Molecules) -> None:
    """Claim that the median distance outwards, along and across is smaller."""
    here, there = (
        np.abs(true.rotations.inv().apply(each.positions - true.positions))
        for each in (these, those)
    )
    assert (np.median(here, axis=0) < np.median(there, axis=0)).all()


def assert_template_sits_at(shift: np.ndarray) -> None:
    """Claim that the template lies where the lattice says, to half a voxel."""
    assert np.abs(shift).max() < 0.53


def assert_scores_higher(these: fp.Molecules, those: fp.Molecules) -> None:
    """Claim that three of four subunits have the higher score among these."""
    assert (these.features["score"] > those.features["score"]).mean() > 0.75


def test_wall_has_the_waves_of_13_protofilaments_and_a_3_start_helix(wall):
    """With a wrong scale, or axes in a wrong order, there would be no such waves."""
    power = {order: np.abs(wall.wave(order, BAND)) ** 2 for order in range(-20, 21)}
    strength = {order: each.max() for order, each in power.items()}
    period = {order: 1 / BAND[np.argmax(each)] for order, each in power.items()}
    first, second = sorted(strength, key=strength.get)[-1:-3:-1]
    # 13 protofilaments sample the order −3: it comes again at −3 + 13, as strong as
    # that survives the imaging.
    assert (first, second) == (-STARTS, PROTOFILAMENTS - STARTS)
    assert RISE[0] < period[first] < RISE[1]
    assert period[second] == pytest.approx(period[first], rel=0.005)
    assert strength[first] > 500 * np.median(list(power.values()))
    around = [np.abs(wall.wave(order, np.zeros(1)))[0] for order in range(5, 21)]
    assert 5 + np.argmax(around) == PROTOFILAMENTS


def test_lattice_average_holds_the_template_at_its_centre(tube, lattice):
    """The average's sites come from the waves alone: no template has bent it."""
    true, image = sites(tube, lattice), template(lattice.period)
    shift, _ = fit_to_average(tube, true, image)
    assert_template_sits_at(shift)

    half_a_repeat = np.array([0, lattice.period / 2, 0])
    shift, _ = fit_to_average(tube, moved(true, half_a_repeat), image)
    with pytest.raises(AssertionError):
        assert_template_sits_at(shift)


def test_alignment_brings_subunits_back_to_the_lattice(runs):
    assert_at_lattice_phase(runs.from_lattice, runs.sites, runs.period)
    for others in (runs.start, runs.from_gaps):
        with pytest.raises(AssertionError):
            assert_at_lattice_phase(others, runs.sites, runs.period)


def test_alignment_brings_subunits_nearer_along_every_axis(runs):
    assert_nearer(runs.from_lattice, runs.start, runs.sites)
    with pytest.raises(AssertionError):
        assert_nearer(runs.from_gaps, runs.start, runs.sites)


def test_scores_are_higher_on_the_lattice_than_in_its_gaps(runs):
    assert_scores_higher(runs.from_lattice, runs.from_gaps)
    with pytest.raises(AssertionError):
        assert_scores_higher(runs.from_gaps, runs.from_lattice)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"hand": 1}, id="right-handed helix"),
        pytest.param({"turn": (0, 180, 0)}, id="inside out"),
    ],
)
def test_a_wrong_template_brings_nothing_back(runs, tube, lattice, wrong):
    """The wall's outside and the hand of its 3-start helix (left) are in the data."""
    right, image = template(lattice.period), template(lattice.period, **wrong)
    found = aligned(runs.start[::2], image)
    with pytest.raises(AssertionError):
        assert_at_lattice_phase(found, runs.sites[::2], runs.period)
    assert_scores_higher(runs.from_lattice[::2], found)
    _, of_right = fit_to_average(tube, runs.sites, right)
    _, of_wrong = fit_to_average(tube, runs.sites, image)
    assert of_right > of_wrong + 0.03


def test_polarity_shows_in_the_mean_and_not_in_each_subunit(runs, tube, lattice):
    """Turned end over end, a patch of tubulin is nearly itself.

    Both polarities find the lattice. The one that points to smaller y fits better, in
    the average and in the mean score, but about one subunit in four says otherwise.
    """
    image, other = template(lattice.period), sites(tube, lattice, polarity=1)
    _, score = fit_to_average(tube, runs.sites, image)
    _, turned_score = fit_to_average(tube, other, image)
    assert score > turned_score + 0.01

    half_turn = Rotation.from_rotvec([np.pi, 0, 0])
    start = fp.Molecules(runs.start.positions, runs.start.rotations * half_turn)
    found = aligned(start, image)
    better = runs.from_lattice.features["score"] - found.features["score"]
    # Patches overlap: of 15 subunits in a patch's reach about four are sites.
    error = better.std() / np.sqrt(len(better) / 4)
    assert better.mean() > 2 * error
    assert 0.55 < (better > 0).mean() < 0.9


# Without any sites: the tomogram is searched for the patch.


@pytest.fixture(scope="module")
def picks() -> fp.Molecules:
    return fp.search(
        TOMOGRAM,
        template=template(sum(RISE) / 2),
        mask=MASK,
        tilt=TILT,
        resolution=4.0,
        spacing=20.0,
        distance=2.5,
        count=150,
        progress=False,
    )


def test_picks_of_a_search_lie_on_the_wall(picks, tube):
    radius = on_wall(tube, picks.positions).radius
    assert len(picks) == 150
    assert 10.0 < np.median(radius) < 12.0
    assert ((radius > 9.5) & (radius < 12.5)).mean() > 0.9


def test_picks_of_a_search_have_the_layer_line_of_the_lattice(picks, tube):
    """The control has the same positions along the tube, given to others around it."""
    found = on_wall(tube, picks.positions)
    power = found.wave(-STARTS, BAND)
    assert RISE[0] - 0.04 < 1 / BAND[power.argmax()] < RISE[1] + 0.04
    random = np.random.default_rng(0)
    shuffled = [
        found._replace(arc=random.permutation(found.arc)).wave(-STARTS, BAND).max()
        for _ in range(20)
    ]
    assert power.max() > 5 * max(shuffled)


def test_picks_of_a_search_look_outwards(picks, tube):
    found = on_wall(tube, picks.positions)
    _, _, outwards = tube.frames(found.arc, found.azimuth)
    turned = (picks.rotations.apply([1, 0, 0]) * outwards).sum(axis=1)
    assert np.degrees(np.arccos(np.median(turned))) < 10
