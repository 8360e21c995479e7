"""A real microtubule's lattice, from its tomogram alone, and a patch to align to it.

The tomogram is a crop of 1.052 nm per voxel that holds one microtubule of 13
protofilaments; the map is one β-tubulin monomer of 0.514 nm per voxel. Neither knows of
the other.

1. **The lattice, from the tomogram alone.** The centreline is where the tube is its
   own mirror image. The wall around it, unrolled, has one strong wave along its
   3-start helices, and one along its 13 protofilaments. Their phases say where the
   subunits are: along the tube, and around it.
2. **The template, from the map alone.** 3 × 5 copies of the monomer are put where the
   known geometry of a microtubule has them (radius, 13 protofilaments, 3-start helix).

Lengths are in nm, vectors z, y, x. A site's frame has z radially outwards, y along the
tube and x across it.
"""

from __future__ import annotations

import operator
from functools import reduce
from typing import NamedTuple

import numpy as np
import scipy
from real_data import DATA
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


def wall_of(tube: Tube) -> Wall:
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


def lattice_of(wall: Wall) -> Lattice:
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


# 3. What is found without either's help.


class OnWall(NamedTuple):
    """Points by the tube that they are on."""

    arc: np.ndarray
    azimuth: np.ndarray
    radius: np.ndarray

    def wave(self, order: int, frequency: np.ndarray) -> np.ndarray:
        """Return |Σ exp(−i (order · azimuth + 2π frequency · arc))|² / n."""
        around = order * self.azimuth
        along = 2 * np.pi * np.multiply.outer(frequency, self.arc)
        total = np.exp(-1j * (around + along)).sum(axis=-1)
        return np.abs(total) ** 2 / len(self.arc)


def on_wall(tube: Tube, positions: np.ndarray) -> OnWall:
    """Return where points are along the centreline, around it, and how far from it."""
    arc = np.interp(positions[:, 1], tube.y, tube.arc)
    zero = np.zeros(len(arc))
    for _ in range(5):
        point, along, up = tube.frames(arc, zero)
        arc = arc + ((positions - point) * along).sum(axis=1)
    point, along, up = tube.frames(arc, zero)
    away = positions - point
    z, x = (away * up).sum(axis=1), (away * np.cross(along, up)).sum(axis=1)
    return OnWall(arc, np.arctan2(x, z), np.hypot(z, x))
