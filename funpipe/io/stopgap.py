"""STOPGAP's motive lists, STAR files, through starfile.

A particle is at orig + shift, in voxels; phi, psi and the make A = Rz(psi) Rx(the)
Rz(phi). Its centre is voxel n // 2 of the box; see `funpipe.io.particles`. The first
voxel of a tomogram is 1: STOPGAP cuts, in MATLAB's indices, from ⌊orig⌋ − n // 2 on
(``extract_parse_subtomo_positions.m``), so that orig is written whole, and what is left
as shift. Its reader ``sg_motl_read2.m`` takes the 16 columns below and no other, by
their bare names, with whole numbers where it has them.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from funpipe.base.errors import FileError
from funpipe.base.euler import STOPGAP
from funpipe.base.molecules import Molecules
from funpipe.io.columns import (
    PixelList,
    needed_scale,
    warn_of_numbers,
)
from funpipe.io.formats import Format, has_star_column, warn_of_left_out
from funpipe.io.star import Block, Star, read_star, simple_columns, write_star

__all__ = ["BLOCK", "FORMAT", "read", "recognises", "write"]

BLOCK = "stopgap_motivelist"

_LIST = PixelList(
    coordinates=("orig_x", "orig_y", "orig_z"),
    shifts=("x_shift", "y_shift", "z_shift"),
    angles=("phi", "the", "psi"),
    euler=STOPGAP,
    tomogram="tomo_num",
    first=1.0,
    whole=True,
)
_WHOLE = ("motl_idx", "tomo_num", "object", "subtomo_num", "class")
_EXACT = 2**53
_COLUMNS = (
    *("motl_idx", "tomo_num", "object", "subtomo_num", "halfset"),
    *("orig_x", "orig_y", "orig_z", "score", "x_shift", "y_shift", "z_shift"),
    *("phi", "psi", "the", "class"),
)


def read(
    path: str | os.PathLike[str],
    *,
    scale: float | None = None,
    first: float | None = None,
) -> Molecules:
    """Read a motive list; tomo_num becomes ``tomogram``, the rest are features.

    Parameters
    ----------
    path : path-like
        The STAR file (extra ``star``).
    scale : float
        nm per voxel; the file does not say.
    first : float
        What the list calls the first voxel of a tomogram, by default 1.
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
    first: float | None = None,
) -> None:
    """Write a motive list.

    Parameters
    ----------
    molecules : Molecules
        The particles. Of the features it holds STOPGAP's own columns, and those of
        ``like``; what is not there gets the values of a fresh list. Tomograms whose
        names are not numbers have those of the feature ``tomo_num``, or are numbered
        from 1 in the order in which they come.
    path : path-like
        Where to; an existing file is replaced, whole or not at all.
    like : path-like, optional
        A motive list to take the columns and their order from.
    scale : float
        nm per voxel.
    first : float, optional
        As in `read`.

    Raises
    ------
    ValueError
        If a column of whole numbers holds another one, or a half-set is no letter.

    Warns
    -----
    UserWarning
        Of the tomograms' numbers, where they had other names, and of the features
        that the list has no place for.
    """
    scale = needed_scale(os.fspath(path), scale)
    found, named = _LIST.columns(molecules, scale, first)
    count = len(molecules)
    fresh: Block = {
        "motl_idx": np.arange(1, count + 1),
        "object": np.ones(count, dtype=int),
        "subtomo_num": np.arange(1, count + 1),
        "halfset": np.repeat("A", count),
        "score": np.zeros(count),
        "class": np.ones(count, dtype=int),
    }
    columns = {**fresh, **found}
    for name in _WHOLE:
        columns[name] = _whole(name, columns[name])
    if any(len(each) != 1 for each in columns["halfset"].astype(str).tolist()):
        raise ValueError("halfset: a motive list of STOPGAP has one letter there")
    model = {} if like is None else _block(os.fspath(like), read_star(like))
    order = [*model, *(each for each in _COLUMNS if each not in model)]
    block = {name: columns[name] for name in order if name in columns}
    warn_of_numbers(named)
    left = _LIST.left_out(molecules, order)
    warn_of_left_out(left, (), "a motive list of STOPGAP")
    write_star(path, Star({BLOCK: block}), bare=True)


def _whole(name: str, values: NDArray[Any]) -> NDArray[np.int64]:
    whole = values.dtype.kind in "biuf" and (values == np.round(values)).all()
    if not whole or np.abs(values.astype(float)).max(initial=0) > _EXACT:
        raise ValueError(f"{name}: a motive list of STOPGAP has whole numbers there")
    return values.astype(np.int64)


def _block(name: str, star: Star) -> Block:
    for block in star.blocks.values():
        if _LIST.coordinates[0] in block:
            return block
    raise FileError(name, " has no column 'orig_x': no motive list of STOPGAP")


def recognises(head: bytes) -> bool:
    """Tell by a file's beginning whether it is a list of STOPGAP.

    A list of RELION may have come from one of STOPGAP, with all its columns.
    """
    of_relion = has_star_column(head, r"rln\w*CoordinateX")
    return has_star_column(head, r"orig_x\b") and not of_relion


FORMAT = Format(
    read,
    write,
    (".star",),
    frozenset({"scale", "first", "box", "like"}),
    recognises,
    "STOPGAP, with --out-format stopgap",
)
