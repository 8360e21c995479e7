"""Tomograms of many kinds of molecules whose truth is known, and picks judged by it.

The conditions were fixed before a search of any of them was seen. Molecules are sums
of Gaussians of one voxel, at their true size but for two: the 30S and the 20S
proteasome (3j9i) have the mass of their atoms, the others are as dense at the most as
the proteasome. Copies are balls that hold 98 % of a molecule's mass, and a voxel more;
they lie at random, do not touch, and are turned at random; those that are looked for
lie where a box about them is whole, which they did not have to at first. Of a crowded
tomogram:

    30S            100 copies, ball of 11.8 nm
    3j9i           200                 9.2
    EMD-3197        60                16.3
    EMD-3001       400                 6.3    its map drawn larger, to a reach of 6 nm
    simulated 11   300                 8.0

in 128 x 256 x 256 voxels of 1.379 nm, a sixth of the volume, with 3 membranes as
`funpipe.simulate.tomogram` has them and 6 beads of gold. A tilt series sees it: 41
tilts of 3 degrees, 120 e/Å², 3 µm under focus, phases as they were; the defocus is
that of the slab of 32 voxels that a body lies in. Noise is white, and in units of the
standard deviation of the 30S inside its mask as the tilt series leaves it.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import molecules
import numpy as np
import scipy
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from tilts import series

import funpipe as fp
from funpipe.simulate import Blobs, asymmetric_molecule, blob_image, tomogram
from funpipe.simulate.crowds import Copy, Crowd, add_sheet, cut_out, overlap, sheets
from funpipe.simulate.images import Ball, image_of, reach_of
from funpipe.simulate.seen import left
from funpipe.space.fourier import fourier_vectors

SCALE = 1.379  # nm a voxel
BOX = 32
WHOLE = (BOX / 2 + 1) * SCALE  # nm from a tomogram's face, where a box is whole
TEMPLATES = "30S", "3j9i"  # of the crowd, that are looked for
MASK = fp.soft_otsu(sigma=SCALE, radius=2 * SCALE)
SHAPE = (128, 256, 256)
CROWD = {
    "30S": 100,
    "3j9i": 200,
    "EMD-3197": 60,
    "EMD-3001": 400,
    "simulated 11": 300,
}
DRAWN = {"EMD-3001": 6.0}  # nm, the reach of maps that are drawn at another size
MEMBRANES, BEADS = 3, 6
GOLD = Ball(5.0, 10.0)  # nm, and in units of the 30S where that is densest
SLAB = 32  # voxels
EXTENT = 30.0  # nm, of bodies: how wide a tilt's plane is
NEAR = 6.0  # nm, of a pick from the copy that it is of
TRIES = 10_000


class Scene(NamedTuple):
    """A tomogram without noise, and what is in it."""

    signal: np.ndarray
    """(z, y, x)."""
    copies: dict[str, fp.Molecules]
    """By kind."""
    beads: np.ndarray
    """(n, 3), nm."""
    tilt: Any
    unit: float
    """Of noise."""

    def image(self, noise: float, seed: int) -> np.ndarray:
        """Return it with noise."""
        grains = np.random.default_rng(seed).standard_normal(
            self.signal.shape, np.float32
        )
        return self.signal + np.float32(noise * self.unit) * grains


# Molecules.


def body(name: str) -> Blobs:
    """Return a molecule in nm: of the files, or made here."""
    return _bodies()[name] if name in CROWD else _made(name)


@cache
def _bodies() -> dict[str, Blobs]:
    """Return the kinds of the crowd, as dense as they are beside each other."""
    found = {name: _drawn(name) for name in CROWD}
    level = densest(found["3j9i"])
    for name in set(found) - {"30S", "3j9i"}:
        each = found[name]
        found[name] = each._replace(weights=each.weights * (level / densest(each)))
    unit = densest(found["30S"])
    return {key: e._replace(weights=e.weights / unit) for key, e in found.items()}


def _drawn(name: str) -> Blobs:
    if name not in molecules.FILES:
        seed = int(name.removeprefix("simulated "))
        return asymmetric_molecule(seed, radius=6.5, sigma=SCALE, count=32)
    places, masses = molecules.mass(name)
    places = places - np.average(places, axis=0, weights=masses)
    if name in DRAWN:
        distances = np.linalg.norm(places, axis=1)
        places = places * (DRAWN[name] / np.quantile(distances, 0.98))
    centres, weights = molecules.pooled(places / SCALE, masses)
    return Blobs(centres * SCALE, SCALE, weights * masses.sum() / weights.sum())


def _made(name: str) -> Blobs:
    """Return a molecule that no file has: a long one, or one in a membrane."""
    random = np.random.default_rng(31)
    if name == "elongated":
        made = asymmetric_molecule(31, radius=1.0, sigma=SCALE, count=60)
        centres = made.centres * (3.0, 3.5, 12.0)
        return Blobs(centres - centres.mean(axis=0), SCALE, made.weights)
    if name != "in a membrane":
        raise KeyError(name)
    outside = asymmetric_molecule(32, radius=4.0, sigma=SCALE, count=30)
    axis = np.arange(-9.0, 9.1, SCALE)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    disc = grid[(np.linalg.norm(grid, axis=1) < 9) & (np.linalg.norm(grid, axis=1) > 2)]
    disc = disc + random.uniform(-0.1, 0.1, disc.shape)
    leaflets = [np.column_stack([np.full(len(disc), z), disc]) for z in (-8.0, -4.0)]
    centres = np.concatenate([outside.centres, *leaflets])
    weights = np.concatenate([outside.weights, np.full(2 * len(disc), 0.3)])
    middle = np.average(centres, axis=0, weights=weights)
    return Blobs(centres - middle, SCALE, weights)


def densest(blobs: Blobs) -> float:
    return float(image(blobs, 48).max())


def image(blobs: Blobs, box: int = BOX) -> np.ndarray:
    return blob_image(blobs, (box,) * 3, SCALE)


def ball_of(blobs: Blobs) -> float:
    """Return the radius, nm, of the ball that a copy takes for itself."""
    away = np.linalg.norm(blobs.centres, axis=1)
    order = np.argsort(away)
    within = np.cumsum(blobs.weights[order]) / blobs.weights.sum()
    return float(away[order][np.searchsorted(within, 0.98)] + SCALE)


def mask_of(template: np.ndarray) -> np.ndarray:
    return np.asarray(MASK(template, SCALE))


def unit_of(template: np.ndarray) -> float:
    """Return the standard deviation of a template inside its mask."""
    return float(template[mask_of(template) > 0.5].std())


# Scenes.


def placed(
    balls: Any, margins: Any, shape: tuple[int, ...], random: np.random.Generator
) -> np.ndarray:
    """Return centres, nm, of balls that do not touch each other.

    Margins are those of their centres to the tomogram's faces.
    """
    size = (np.array(shape) - 1) * SCALE
    places = np.empty((len(balls), 3))
    for i, (radius, margin) in enumerate(zip(balls, margins, strict=True)):
        for _ in range(TRIES):
            place = random.uniform(margin, size - margin)
            away = np.linalg.norm(places[:i] - place, axis=1)
            if (away >= np.array(balls[:i]) + radius).all():
                break
        else:
            raise ValueError(f"no room for ball {i} of {len(balls)}")
        places[i] = place
    return places


def with_one_kind(
    name: str,
    count: int,
    shape: tuple[int, int, int],
    *,
    noise: float,
    seed: int,
    tilt: Any = (-60, 60),
    membranes: int = 0,
) -> tuple[np.ndarray, fp.Molecules]:
    """Return a tomogram of one kind of molecule under a wedge, and its copies.

    Noise is in units of the template's standard deviation inside its mask.
    """
    blobs, random = body(name), np.random.default_rng(seed)
    places = placed([ball_of(blobs)] * count, [WHOLE] * count, shape, random)
    true = fp.Molecules(places, Rotation.random(count, rng=random))
    sigma = noise * unit_of(image(blobs))
    options = {"tilt": tilt, "noise": sigma, "seed": seed, "membranes": membranes}
    return tomogram(blobs, true, shape, SCALE, **options), true


def crowded(seed: int, shape: tuple[int, int, int] = SHAPE, part: float = 1.0) -> Scene:
    """Return a crowded tomogram, or one of a part of its copies in another shape."""
    names = molecules.available(tuple(CROWD))
    counts = {name: max(1, round(part * CROWD[name])) for name in names}
    balls = {name: ball_of(body(name)) for name in names}
    beads = max(1, round(part * BEADS))
    random = np.random.default_rng(seed)
    order = sorted(names, key=balls.__getitem__, reverse=True)  # large ones first
    kinds = [name for name in order for _ in range(counts[name])]
    radii = [balls[name] for name in kinds] + [GOLD.radius + SCALE] * beads
    margins = [WHOLE if name in TEMPLATES else balls[name] for name in kinds]
    margins += radii[len(kinds) :]
    places = placed(radii, margins, shape, random)
    copies, start = {}, 0
    for name in order:
        there = places[start : start + counts[name]]
        start += len(there)
        copies[name] = fp.Molecules(there, Rotation.random(len(there), rng=random))
    gold = places[start:]
    density = np.zeros((-(-shape[0] // SLAB), *shape), np.float32)
    for name, them in copies.items():
        for place, turn in zip(them.positions, them.rotations, strict=True):
            _add(density, body(name), place, turn)
    for place in gold:
        _add(density, GOLD, place, None)
    balls_there = zip(radii, places, strict=True)
    crowd = Crowd(shape, SCALE, tuple(Copy(Ball(r, 0.0), at) for r, at in balls_there))
    clear = cut_out(crowd)
    for sheet in sheets(crowd, body("30S"), max(1, round(part * MEMBRANES)), random):
        whole = np.zeros(shape, np.float32)
        add_sheet(whole, sheet, SCALE, clear)
        for i, slab in enumerate(density):
            some = slice(i * SLAB, (i + 1) * SLAB)
            slab[some] += whole[some]
    tilt = series(phase_flipped=False)
    unit = unit_of_seen(tilt)
    return Scene(_seen(density, tilt), copies, gold, tilt, unit)


def _add(density: np.ndarray, what: Any, place: np.ndarray, turn: Any) -> None:
    """Add a body to the slab that it lies in."""
    voxel = np.round(place / SCALE).astype(int)
    half = int(np.ceil(reach_of(what) / SCALE))
    drawn = image_of(what, (2 * half + 1,) * 3, SCALE, turn, place - voxel * SCALE)
    there, here = overlap(voxel, (half,) * 3, density.shape[1:])
    slab = min(max(voxel[0], 0) // SLAB, len(density) - 1)
    density[slab][there] += drawn[here]


def _seen(density: np.ndarray, tilt: Any) -> np.ndarray:
    """Return what a tilt series leaves of slabs, each of its height's defocus."""
    shape = density.shape[1:]
    k, middle = fourier_vectors(shape, SCALE), (shape[0] - 1) / 2
    waves = 0
    for i, slab in enumerate(density):
        height = ((i + 0.5) * SLAB - 0.5 - middle) * SCALE
        H = left(tilt.at(np.array([[height, 0.0, 0.0]]), EXTENT), k)
        waves = waves + scipy.fft.rfftn(slab) * H.astype(np.float32)
    return scipy.fft.irfftn(waves, s=shape).astype(np.float32)


def unit_of_seen(tilt: Any) -> float:
    """Return the standard deviation of the 30S inside its mask, after a tilt series."""
    template = image(body("30S"), 64)
    H = left(tilt.at(np.zeros((1, 3)), EXTENT), fourier_vectors((64,) * 3, SCALE))
    seen = scipy.fft.irfftn(scipy.fft.rfftn(template) * H, s=template.shape)
    return float(seen[mask_of(template) > 0.5].std())


# Picks.


class Judged(NamedTuple):
    """Picks beside the truth, in the order of the picks."""

    right: np.ndarray
    """Whether each is of a copy that no better one is of."""
    copy: np.ndarray
    """Of which, −1 of none."""
    distances: np.ndarray
    """nm, from the copy; NaN of none."""
    angles: np.ndarray
    """Degrees, likewise."""
    count: int
    """Of all copies."""

    def precision_recall(self) -> tuple[np.ndarray, np.ndarray]:
        found = np.cumsum(self.right)
        return found / np.arange(1, len(found) + 1), found / self.count

    def best_f1(self) -> tuple[float, float, float]:
        """Return F1 at the best threshold, and precision and recall there."""
        if not self.right.any():
            return 0.0, 0.0, 0.0
        precision, recall = self.precision_recall()
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
        best = int(np.argmax(f1))
        return float(f1[best]), float(precision[best]), float(recall[best])


def judged(picks: fp.Molecules, true: fp.Molecules, near: float = NEAR) -> Judged:
    """Compare picks, the best first, with copies; a copy is found once."""
    n = len(picks)
    right, copy = np.zeros(n, bool), np.full(n, -1)
    distances, angles = np.full(n, np.nan), np.full(n, np.nan)
    if not n:
        return Judged(right, copy, distances, angles, len(true))
    away, which = cKDTree(true.positions).query(picks.positions)
    taken: set[int] = set()
    for i in np.flatnonzero(away <= near):
        if which[i] not in taken:
            taken.add(int(which[i]))
            right[i], copy[i], distances[i] = True, which[i], away[i]
    turns = true.rotations[copy[right]].inv() * picks.rotations[right]
    angles[right] = np.degrees(turns.magnitude())
    return Judged(right, copy, distances, angles, len(true))


def of_what(picks: fp.Molecules, scene: Scene, template: str) -> np.ndarray:
    """Say of each pick what lies there: a kind, gold, or nothing."""
    found = np.full(len(picks), "nothing", object)
    kinds = {
        name: (e.positions, ball_of(body(name))) for name, e in scene.copies.items()
    }
    kinds |= {"gold": (scene.beads, GOLD.radius + 2 * SCALE)}
    for name, (places, radius) in kinds.items():
        away = cKDTree(places).query(picks.positions)[0]
        found[away <= radius] = "a copy twice" if name == template else name
    return found
