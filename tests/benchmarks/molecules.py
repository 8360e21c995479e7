"""The molecules of the benchmark, and particles of them whose truth is exact.

The set was fixed before any result of it was seen. Constants may be chosen on `CHOSEN`;
`HELD_OUT` is reported and nothing else. Every molecule is a sum of Gaussians, so its
image at any pose is a formula. Those of structures and maps take their mass from the
file: atoms, or the densest tenth of the voxels, pooled into cells of 2.5 voxels, with
the molecule's reach scaled to `RADIUS` voxels. Lengths are in voxels; the scale is 1.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

sys.path.append(str(Path(__file__).resolve().parents[1]))

import numpy as np
from real_data import DATA

import funpipe as fp
from funpipe.simulate import Blobs, Particles, asymmetric_molecule, blob_image
from funpipe.simulate import particles as simulated

TILT = (-60, 60)
RADIUS = {24: 7.0, 32: 9.0, 48: 14.0, 64: 19.0, 96: 29.0, 128: 39.0}
SIGMA = 1.5  # of each Gaussian
CELL = 2.5  # that mass is pooled into
MOST = 1000  # Gaussians of a molecule

CHOSEN = ("simulated 0", "simulated 1", "30S", "EMD-3197")
HELD_OUT = (
    "simulated 11",
    "simulated 12",
    "simulated 13",
    "3j9i",
    "EMD-3001",
    "beta-tubulin",
)
FILES = {
    "30S": DATA / "structures" / "4v4r_30S.pdb",
    "3j9i": DATA / "structures" / "3j9i.pdb",
    "EMD-3197": DATA / "maps" / "EMD-3197.map",
    "EMD-3001": DATA / "maps" / "EMD-3001.map",
    "beta-tubulin": DATA / "maps" / "beta-tubulin.mrc",
}


class Made(NamedTuple):
    """Particles of a molecule, and what they are aligned with."""

    template: np.ndarray  # (z, y, x)
    mask: np.ndarray  # (z, y, x), 0 to 1
    particles: Particles
    blobs: Blobs
    sigma: float  # standard deviation of the noise


def available(names: tuple[str, ...] = CHOSEN + HELD_OUT) -> tuple[str, ...]:
    """Return the names of those molecules whose file, if any, is there."""
    return tuple(each for each in names if each not in FILES or FILES[each].exists())


def blobs_of(name: str, box: int) -> Blobs:
    """Return a molecule by name, as large as suits a box of so many voxels."""
    radius = RADIUS[box]
    if name not in FILES:
        seed = int(name.removeprefix("simulated "))
        return asymmetric_molecule(seed, radius=radius, sigma=SIGMA, count=32)
    places, masses = mass(name)
    places = places - np.average(places, axis=0, weights=masses)
    # So that a few loose atoms do not say how large a molecule is.
    reach = np.quantile(np.linalg.norm(places, axis=1), 0.98)
    centres, weights = pooled(places * radius / reach, masses)
    return Blobs(centres, SIGMA, weights)


@cache
def mass(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return where a file has its mass, z, y, x in nm, and how much."""
    path = FILES[name]
    if path.suffix == ".pdb":
        from funpipe.io.structures import read_structure

        return read_structure(path)
    import mrcfile

    with mrcfile.open(path, permissive=True) as file:
        header, size = file.header, file.voxel_size
        axes = [int(header[each]) for each in ("maps", "mapr", "mapc")]
        density = file.data.transpose(np.argsort(axes)[::-1]).astype(float)
        spacing = np.array([float(size[each]) for each in "zyx"]) / 10
    above = density - np.quantile(density, 0.9)
    return np.argwhere(above > 0) * spacing, above[above > 0]


def pooled(places: np.ndarray, masses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the centres of mass of the cells of a grid, and their masses, mean 1."""
    cell = CELL
    while True:
        keys = np.floor(places / cell).astype(int)
        _, index = np.unique(keys, axis=0, return_inverse=True)
        total = np.bincount(index.ravel(), masses)
        if len(total) <= MOST:
            break
        cell *= 1.1
    centres = [np.bincount(index.ravel(), masses * axis) / total for axis in places.T]
    return np.transpose(centres), total / total.mean()


def made(
    name: str,
    box: int,
    *,
    noise: float,
    count: int,
    seed: int = 0,
    reach: float = 4.0,
    **options: Any,
) -> Made:
    """Return particles of a molecule, with its template and mask.

    Parameters
    ----------
    name : str
        One of `CHOSEN` and `HELD_OUT`.
    box : int
        Voxels along each axis, a key of `RADIUS`.
    noise : float
        In standard deviations of the template inside its mask.
    count, seed : int
        How many particles, and the seed of their poses, wedges and noise.
    reach : float
        Voxels that the mask goes beyond the outline.
    **options
        Of `funpipe.simulate.particles`.
    """
    blobs, shape = blobs_of(name, box), (box,) * 3
    template = blob_image(blobs, shape, 1.0)
    mask = fp.soft_otsu(sigma=1.0, radius=reach)(template)
    sigma = noise * float(template[mask > 0.5].std())
    options = {"angle": 10.0, "shift": 2.0, "tilt": TILT, **options}
    them = simulated(blobs, shape, 1.0, count, noise=sigma, seed=seed, **options)
    return Made(template, mask, them, blobs, sigma)
