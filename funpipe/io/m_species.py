"""M's particle lists, the ``*_particles.star`` of a species, through starfile.

Facts from M's own code (github.com/warpem/warp): the columns and their units from
``ParticlesToStar`` in WarpLib/Sociology/Species.cs and ``FromMStar`` in
MTools/Commands/ParticleStarParsing.cs. Coordinates are in Å, the first voxel of a
tomogram at 0 (``GridCoords`` in WarpLib/TiltSeries/TiltSeries.ReconstructFull.cs).
wrpCoordinateX1, wrpCoordinateX2, ... are points of a path, evenly spaced in time, as
are the angles; a particle is at their mean, as M itself writes it for RELION
(``ParticlesToRelionStar``). Angles are RELION's (``Matrix3.Euler`` in WarpLib), about
the same point of the reference, voxel n // 2. A tomogram is known by wrpSourceHash, a
hash of its data that only M makes.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.base.errors import Argument, FileError, WrongValueError
from funpipe.base.euler import RELION
from funpipe.base.molecules import Molecules
from funpipe.io.columns import Columns, numbers, replace, same_place, same_turn
from funpipe.io.formats import Format
from funpipe.io.relion_poses import is_pose
from funpipe.io.star import Block, Star, read_star, simple_columns, write_star

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = ["FORMAT", "read", "recognises", "write"]

Array: TypeAlias = NDArray[Any]

_PLACE = tuple(f"wrpCoordinate{axis}" for axis in "XYZ")
_TURN = ("wrpAngleRot", "wrpAngleTilt", "wrpAnglePsi")
_NAME, _HASH, _HALF = "wrpSourceName", "wrpSourceHash", "wrpRandomSubset"


def read(path: str | os.PathLike[str]) -> Molecules:
    """Read the particles of a species, each at the mean of its path.

    Parameters
    ----------
    path : path-like
        The STAR file (extra ``star``).

    Returns
    -------
    Molecules
        All columns are features; wrpSourceName is ``tomogram``.
    """
    name = os.fspath(path)
    columns = _columns(name, read_star(path))
    places, turns = _path(name, columns)
    features = {("tomogram" if k == _NAME else k): v for k, v in columns.items()}
    if _NAME in columns:
        features["tomogram"] = features["tomogram"].astype(str)
    return Molecules(places.mean(axis=0), _mean(turns), features)


def write(
    molecules: Molecules,
    path: str | os.PathLike[str],
    *,
    like: str | os.PathLike[str] | None = None,
) -> None:
    """Write the particles of a species.

    Parameters
    ----------
    molecules : Molecules
        The particles. Features that came out of such a list are written as they are;
        of a particle that has moved or turned the whole path does. RELION's columns of
        poses are left out. Half-sets are those of wrpRandomSubset, rlnRandomSubset or
        half, else every other particle.
    path : path-like
        Where to; an existing file is replaced, whole or not at all.
    like : path-like, optional
        A list of a species: its order of columns, and the hashes of its tomograms for
        particles without one.

    Raises
    ------
    ValueError
        If a particle's tomogram has no hash.
    """
    model = {} if like is None else _columns(os.fspath(like), read_star(like))
    columns = _posed(
        molecules,
        {
            (_NAME if k == "tomogram" else k): v
            for k, v in molecules.features.items()
            if not is_pose(k)  # RELION's, which would be read instead
        },
    )
    halves = np.arange(len(molecules)) % 2 + 1
    halves = columns.get("rlnRandomSubset", columns.get("half", halves))
    columns.setdefault(_HALF, halves)
    columns.update(_sources(columns, model))
    first = [*_names(columns, _PLACE), *_names(columns, _TURN), _HALF, _NAME, _HASH]
    order = dict.fromkeys(each for each in [*model, *first, *columns])
    block: Block = {each: columns[each] for each in order if each in columns}
    write_star(path, Star({"": block}))


def recognises(head: bytes) -> bool:
    """Tell by a file's beginning whether it is a list of M.

    A list of RELION may have come from one of M, with all its columns.
    """
    kinds = (rb"(?m)^[ \t]*_wrpCoordinateX1\b", rb"(?m)^[ \t]*_rln\w*CoordinateX")
    of_m, of_relion = (re.search(each, head) for each in kinds)
    return of_m is not None and of_relion is None


FORMAT = Format(
    read,
    write,
    (".star",),
    frozenset({"box", "like"}),
    recognises,
    "M, particles of a species",
    counts_in="nm",
)


def _columns(name: str, star: Star) -> dict[str, Array]:
    for block in star.blocks.values():
        if f"{_PLACE[0]}1" in block:
            return simple_columns(name, block)
    raise FileError(name, f" has no column '{_PLACE[0]}1': no particles of M")


def _names(columns: Columns, prefixes: tuple[str, ...]) -> list[str]:
    """Return the columns of a path, point after point."""
    found: list[str] = []
    for i in range(1, len(columns) + 1):
        point = [f"{each}{i}" for each in prefixes]
        if any(each not in columns for each in point):
            break
        found += point
    return found


def _path(name: str, columns: Columns) -> tuple[Array, list[Rotation]]:
    """Return the points of all paths, (points, n, 3) in nm, zyx, and the turns."""
    found = []
    for prefixes in (_PLACE, _TURN):
        # Without even the first point the error names the column.
        names = _names(columns, prefixes) or [f"{each}1" for each in prefixes]
        values = numbers(name, columns, names)
        found.append(np.moveaxis(values.reshape(len(values), -1, 3), 1, 0))
    return found[0][..., ::-1] / 10, [RELION.rotations(each) for each in found[1]]


def _mean(turns: list[Rotation]) -> Rotation:
    """Return the rotation nearest to the mean of the matrices, for each particle."""
    from scipy.spatial.transform import Rotation

    if len(turns) == 1:
        return turns[0]
    left, _, right = np.linalg.svd(sum(each.as_matrix() for each in turns))
    left[:, :, -1] *= np.linalg.det(left @ right)[:, None]
    return Rotation.from_matrix(left @ right)


def _posed(molecules: Molecules, columns: dict[str, Array]) -> dict[str, Array]:
    """Return the columns with the molecules' poses in them."""
    names, turned_names = _names(columns, _PLACE), _names(columns, _TURN)
    if not (names and turned_names):
        names, turned_names = ([f"{each}1" for each in one] for one in (_PLACE, _TURN))
        columns = {
            k: v for k, v in columns.items() if not k.startswith((*_PLACE, *_TURN))
        }
        everywhere = np.ones(len(molecules), dtype=bool)
        replace(columns, names, 10 * molecules.positions[:, ::-1], everywhere)
        replace(columns, turned_names, RELION.angles(molecules.rotations), everywhere)
        return columns
    places, turns = _path("features", columns)
    place, turn = places.mean(axis=0), _mean(turns)
    moved = ~same_place(place, molecules.positions)
    turned = ~same_turn(turn, molecules.rotations)
    for i, each in enumerate(places):
        new = 10 * (each + molecules.positions - place)[:, ::-1]
        replace(columns, names[3 * i : 3 * i + 3], new, moved)
    for i, one in enumerate(turns):
        angles = RELION.angles(molecules.rotations * turn.inv() * one)
        replace(columns, turned_names[3 * i : 3 * i + 3], angles, turned)
    return columns


def _sources(columns: Columns, model: Columns) -> dict[str, Array]:
    """Return the tomograms' names and hashes, of the model where there are none."""
    if _NAME in columns and _HASH in columns:
        return {}
    if _NAME not in columns:
        raise ValueError("molecules have no feature 'tomogram': M has to know which")
    known: dict[str, str] = {}
    if _NAME in model and _HASH in model:
        known = dict(zip(model[_NAME].tolist(), model[_HASH].tolist(), strict=True))
    names = []
    for each in map(str, columns[_NAME].tolist()):
        name = each if each in known else f"{each}.tomostar"
        if name not in known:
            raise WrongValueError(
                f"the tomogram {each!r} has no hash, by which M knows it: pass ",
                Argument("like", "..."),
                ", particles of a species in it, or add the feature 'wrpSourceHash'",
                name="like",
            )
        names.append(name)
    return {_NAME: np.array(names), _HASH: np.array([known[each] for each in names])}
