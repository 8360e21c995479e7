"""STOPGAP's motive lists, STAR files, through starfile.

A particle is at orig + shift, in voxels; phi, psi and the make A = Rz(psi) Rx(the)
Rz(phi). Its centre is voxel n // 2 of the box; see `funpipe.io.particles`.
"""

from __future__ import annotations

import os

import numpy as np

from funpipe.io.columns import PixelList, tomogram_numbers
from funpipe.io.euler import STOPGAP
from funpipe.io.star import Block, Star, read_star, simple_columns, write_star
from funpipe.molecules import Molecules

__all__ = ["BLOCK", "read", "write"]

BLOCK = "stopgap_motivelist"

_LIST = PixelList(
    coordinates=("orig_x", "orig_y", "orig_z"),
    shifts=("x_shift", "y_shift", "z_shift"),
    angles=("phi", "the", "psi"),
    euler=STOPGAP,
    tomogram="tomo_num",
)
_ORDER = (
    *("motl_idx", "tomo_num", "object", "subtomo_num", "halfset"),
    *("orig_x", "orig_y", "orig_z", "score", "x_shift", "y_shift", "z_shift"),
    *("phi", "psi", "the", "class"),
)


def read(
    path: str | os.PathLike[str], *, scale: float | None = None, first: int = 0
) -> Molecules:
    """Read a motive list; tomo_num becomes ``tomogram``, the rest are features.

    Parameters
    ----------
    path : path-like
        The STAR file (extra ``star``).
    scale : float
        nm per voxel; the file does not say.
    first : int
        What the list calls the first voxel of a tomogram, 0 or 1.
    """
    name = os.fspath(path)
    columns = simple_columns(name, _block(name, read_star(path)))
    return _LIST.molecules(name, columns, needed_scale(name, scale), first)


def write(
    molecules: Molecules,
    path: str | os.PathLike[str],
    *,
    like: str | os.PathLike[str] | None = None,
    scale: float | None = None,
    first: int = 0,
) -> None:
    """Write a motive list.

    Parameters
    ----------
    molecules : Molecules
        The particles. All features are written; of STOPGAP's own columns, those that
        are not there get the values of a fresh list. Tomograms whose names are not
        numbers are numbered from 1 in the order in which they come.
    path : path-like
        Where to; an existing file is replaced, whole or not at all.
    like : path-like, optional
        A motive list to take the order of the columns from.
    scale : float
        nm per voxel.
    first : int
        What the list calls the first voxel of a tomogram, 0 or 1.
    """
    columns = _LIST.columns(molecules, needed_scale(os.fspath(path), scale), first)
    count = len(molecules)
    names = molecules.features.get("tomogram", np.ones(count, dtype=int))
    fresh = {
        "motl_idx": np.arange(1, count + 1),
        "tomo_num": tomogram_numbers(names)[0],
        "object": np.ones(count, dtype=int),
        "subtomo_num": np.arange(1, count + 1),
        "halfset": np.repeat("A", count),
        "score": np.zeros(count),
        "class": np.ones(count, dtype=int),
    }
    columns = {**fresh, **columns}
    order: tuple[str, ...] = _ORDER
    if like is not None:
        order = tuple(_block(os.fspath(like), read_star(like)))
    block = {name: columns[name] for name in order if name in columns}
    write_star(path, Star({BLOCK: {**block, **columns}}))


def needed_scale(name: str, scale: float | None) -> float:
    """Return the scale, or say that it must be given."""
    if scale is None:
        raise ValueError(
            f"{name}: coordinates are in voxels, and the file does not say of what "
            "size; pass scale=... in nm per voxel"
        )
    return scale


def _block(name: str, star: Star) -> Block:
    for block in star.blocks.values():
        if _LIST.coordinates[0] in block:
            return block
    raise ValueError(f"{name} has no column 'orig_x': no motive list of STOPGAP")
