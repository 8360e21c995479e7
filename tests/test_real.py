"""Subunits of a real microtubule, aligned to a map of tubulin.

The tomogram is a crop of 1.052 nm per voxel that holds one microtubule of 13
protofilaments; the map is one β-tubulin monomer of 0.514 nm per voxel. Both come with
no list of positions. What is checked here therefore goes in three steps that do not
know of each other:

1. **The lattice, from the tomogram alone.** The centreline is where the tube is its
   own mirror image. The wall around it, unrolled, has one strong wave along its
   3-start helices, and one along its 13 protofilaments. Their phases say where the
   subunits are: along the tube, and around it.
2. **The template, from the map alone.** 3 × 5 copies of the monomer are put where the
   known geometry of a microtubule has them (radius, 13 protofilaments, 3-start helix).
3. **The alignment.** Sites of the lattice are moved at random, and aligned to the
   template. They have to come back. The same sites, moved on by half a repeat and
   aligned in the same way, have to fail the same assertions.

Lengths are in nm, vectors z, y, x. A site's frame has z radially outwards, y along the
tube and x across it.
"""

from __future__ import annotations

import operator
from functools import reduce
from typing import NamedTuple

import numpy as np
import pytest
import scipy
from real_files import DATA, needs_data
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.io.volumes import read_volume

TOMOGRAM = DATA / "tomograms" / "13pf_MT.tif"
MONOMER = DATA / "maps" / "beta-tubulin.mrc"
TILT = (-60, 60)  # degrees about y, says the data's source

# The microtubule as its source knows it (cylindra, tests of 13pf_MT.tif).
ON_CENTRELINE = np.array(
    [(18.97, 190.0, 28.99), (18.97, 107.8, 51.48), (18.97, 35.2, 79.90)]
)
PROTOFILAMENTS = 13
STARTS = 3
RISE = (4.08, 4.11)
RADIUS = 11.0  # where the mean density peaks

pytestmark = needs_data
pytest.importorskip("tifffile", reason="reads a TIFF: needs the extra 'tiff'")


# 1. The lattice, from the tomogram alone.


class Tube:
    """The microtubule's surface, by arc length along it and azimuth around it."""

    def __init__(self) -> None:
        self.image, self.scale = read_volume(TOMOGRAM)[:2]
        self.z = ON_CENTRELINE[0, 0]
        self.x_of_y = self._centreline()
        y = np.linspace(-20, 230, 5001)
        steps = np.hypot(np.diff(y), np.diff(np.polyval(self.x_of_y, y)))
        arc = np.concatenate([[0], np.cumsum(steps)])
        self.y, self.arc = y, arc - np.interp(15, y, arc)

    def _centreline(self) -> np.ndarray:
        """Return x(y), a cubic: where the projection along z is its own mirror image.

        The three points of the source, picked by eye, are up to 4 nm beside it.
        """
        flat = self.image.mean(axis=0)
        y, out = np.arange(20, 200, 5.0)[:, None], np.arange(-20, 20.1, 0.25)
        coefficients = np.polyfit(*ON_CENTRELINE.T[1:], 2)
        for _ in range(5):
            along = np.arange(-15, 15.1, 1.0)[:, None, None]
            where = np.broadcast_arrays(
                y + along, np.polyval(coefficients, y + along) + out
            )
            rows = scipy.ndimage.map_coordinates(
                flat, np.stack(where) / self.scale, order=1, mode="nearest"
            )
            rows = (rows * np.exp(-((along / 7) ** 2) / 2)).sum(axis=0)
            aside = [_mirror_centre(row, out) for row in rows]
            x = np.polyval(coefficients, y[:, 0]) + aside
            coefficients = np.polyfit(y[:, 0], x, 3)
        return coefficients

    def frames(self, arc: np.ndarray, azimuth: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return points of the centreline, and unit vectors along and outwards.

        The azimuth turns from z towards tangent × z, the products of z, y, x vectors.
        """
        y = np.interp(arc, self.arc, self.y)
        slope = np.polyval(np.polyder(self.x_of_y), y)
        point = np.stack([0 * y + self.z, y, np.polyval(self.x_of_y, y)], axis=-1)
        along = np.stack([0 * y, 0 * y + 1, slope], axis=-1)
        along /= np.linalg.norm(along, axis=-1, keepdims=True)
        up = np.array([1.0, 0.0, 0.0])
        cosine, sine = np.cos(azimuth)[..., None], np.sin(azimuth)[..., None]
        return point, along, cosine * up + sine * np.cross(along, up)


def _mirror_centre(row: np.ndarray, where: np.ndarray) -> float:
    shifts, reach = np.arange(-5, 5.01, 0.1), np.arange(0, 15, 0.25)
    alike = [
        np.corrcoef(np.interp([s - reach, s + reach], where, row))[0, 1] for s in shifts
    ]
    return float(shifts[np.argmax(alike)])


class Wall(NamedTuple):
    """The wall, unrolled: its mean density from 9 to 14 nm from the centreline."""

    density: np.ndarray  # (azimuth, arc)
    azimuth: np.ndarray
    arc: np.ndarray

    def wave(self, order: int, frequency: np.ndarray) -> np.ndarray:
        """Return Σ ρ exp(−i (order · azimuth + 2π frequency · arc)), per frequency."""
        around = np.exp(-1j * order * self.azimuth) @ self.density
        return np.exp(-2j * np.pi * np.multiply.outer(frequency, self.arc)) @ around


class Lattice(NamedTuple):
    """Where the waves of the wall have their crests."""

    period: float
    arc: float  # of the crest at azimuth 0
    azimuth: float  # of a protofilament


BAND = np.arange(1 / 5.0, 1 / 3.4, 1 / 4000)  # 1/nm


@pytest.fixture(scope="module")
def tube() -> Tube:
    return Tube()


@pytest.fixture(scope="module")
def wall(tube: Tube) -> Wall:
    arc, azimuth = np.arange(0, 196, 0.5), np.linspace(0, 2 * np.pi, 130, False)
    point, _, outwards = tube.frames(*np.broadcast_arrays(arc, azimuth[:, None]))
    spline = scipy.ndimage.spline_filter(tube.image)
    density = sum(
        scipy.ndimage.map_coordinates(
            spline,
            np.moveaxis(point + radius * outwards, -1, 0) / tube.scale,
            prefilter=False,
        )
        for radius in np.arange(9, 14.1, 0.5)
    )
    return Wall(density - density.mean(), azimuth, arc)


@pytest.fixture(scope="module")
def lattice(wall: Wall) -> Lattice:
    frequencies = np.linspace(1 / RISE[1], 1 / RISE[0], 101)
    helix = wall.wave(-STARTS, frequencies)
    best = np.argmax(np.abs(helix))
    filaments = wall.wave(PROTOFILAMENTS, np.zeros(1))
    period = 1 / frequencies[best]
    return Lattice(
        float(period),
        float(-np.angle(helix[best]) * period / (2 * np.pi)),
        float(-np.angle(filaments[0]) / PROTOFILAMENTS),
    )


def sites(tube: Tube, lattice: Lattice, polarity: int = -1) -> fp.Molecules:
    """Return every fourth subunit of the lattice whose patch lies in the tomogram.

    With the polarity −1 the template's y axis points to smaller y in the tomogram;
    the last test shows that this is the right one.
    """
    azimuths = lattice.azimuth + 2 * np.pi * np.arange(PROTOFILAMENTS) / PROTOFILAMENTS
    first = lattice.arc + lattice.period * STARTS * azimuths / (2 * np.pi)
    places = [
        (arc, azimuth)
        for start, azimuth in zip(first % lattice.period, azimuths, strict=True)
        for arc in np.arange(start, 196, lattice.period)
        if 25 <= arc <= 175
    ]
    arc, azimuth = np.array(places[::4]).T
    point, along, outwards = tube.frames(arc, azimuth)
    along = polarity * along
    axes = np.stack([outwards, along, np.cross(outwards, along)], axis=-1)
    return fp.Molecules(point + RADIUS * outwards, Rotation.from_matrix(axes))


def moved(molecules: fp.Molecules, by: np.ndarray) -> fp.Molecules:
    """Return molecules moved in their own frames."""
    return fp.Molecules(
        molecules.positions + molecules.rotations.apply(by), molecules.rotations
    )


# 2. The template, from the map alone.


def patch(period: float, hand: int = -1) -> fp.ImageConverter:
    """Put 3 x 5 copies of a monomer where a microtubule has them, as a pipeline."""
    copies = []
    for filament in (-1, 0, 1):
        turn = 2 * np.pi * filament / PROTOFILAMENTS
        step = hand * STARTS * period * filament / PROTOFILAMENTS
        z, x = RADIUS * (np.cos(turn) - 1), RADIUS * np.sin(turn)
        upright = fp.rotate((0, -np.degrees(turn), 0))
        copies += [
            fp.shift((z, step + row * period, x)) @ upright for row in range(-2, 3)
        ]
    return reduce(operator.add, copies)


def template(
    period: float, turn: tuple[float, float, float] = (0, 0, 0), hand: int = -1
) -> fp.ImageProvider:
    """Return the patch as a provider: from the file's scale to any scale."""
    monomer = fp.crop_or_pad((10.0, 24.0, 15.0)) @ fp.from_file(MONOMER)
    placed = patch(period, hand) @ fp.rotate(turn) @ monomer
    return fp.highpass_filter(8.0) @ fp.gaussian_filter(0.6) @ placed


MASK = fp.cosine_edge(1.5) @ fp.cylinder(6.0, 21.0, axis="y")
RESOLUTION = 2.5


# 3. The alignment.

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
