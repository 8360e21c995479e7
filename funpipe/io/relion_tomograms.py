"""RELION's tomograms files, and the sizes of the tomograms that particles are in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from funpipe.base.arguments import shape
from funpipe.base.errors import FileError
from funpipe.base.wording import listed
from funpipe.io.columns import Columns, numbers
from funpipe.io.relion_poses import APART, CENTRED, PIXEL, PIXEL_SIZES, SIZES, first_of
from funpipe.io.star import read_star, simple_columns
from funpipe.io.volumes import open_volume, volume_stem

__all__ = [
    "TomogramInfo",
    "holds_tomograms",
    "infos_of",
    "is_centred",
    "sizes_of",
    "tomogram_infos",
]


class TomogramInfo(NamedTuple):
    """What RELION's tomograms file says of a tomogram."""

    shape: tuple[int, int, int]
    """z, y, x, in voxels of the tilt series' pixel size."""
    scale: float | None = None
    """nm per such voxel."""
    hand: float | None = None
    """rlnTomoHand, −1 or 1: which way the defocus changes. No pose depends on it."""


def tomogram_infos(path: str | os.PathLike[str]) -> dict[str, TomogramInfo]:
    """Read a RELION 4 or 5 tomograms file: sizes, pixel sizes and hands by name.

    Parameters
    ----------
    path : path-like
        The STAR file (extra ``star``).

    Raises
    ------
    FileNotFoundError, IsADirectoryError, PermissionError, ValueError
        If it cannot be read, or has no column of sizes.
    """
    name = os.fspath(path)
    star = read_star(path)
    blocks = [each for each in star.blocks.values() if SIZES[0] in each]
    if not blocks:
        raise FileError(name, f" has no column {SIZES[0]!r}: no tomograms file")
    block = simple_columns(name, blocks[0])
    sizes = numbers(name, block, SIZES)
    if "rlnTomoName" not in block:
        raise FileError(name, " has no column 'rlnTomoName'")
    if (sizes < 1).any():
        raise FileError(name, ": a tomogram's size must be 1 or more")
    pixels = first_of(name, block, PIXEL_SIZES[:1])
    hands = first_of(name, block, ("rlnTomoHand",))
    return {
        str(each): TomogramInfo(
            (int(z), int(y), int(x)),
            None if pixels is None else float(pixels[i]) / 10,
            None if hands is None else float(hands[i]),
        )
        for i, (each, (x, y, z)) in enumerate(
            zip(block["rlnTomoName"].tolist(), sizes.tolist(), strict=True)
        )
    }


def holds_tomograms(path: str | os.PathLike[str]) -> bool:
    """Tell whether a STAR file is of tomograms, and not of particles in them."""
    blocks = read_star(path).blocks.values()
    kinds = [{SIZES[0], PIXEL[0], CENTRED[0]} & set(each) for each in blocks]
    return {SIZES[0]} in kinds and not any({PIXEL[0], CENTRED[0]} & k for k in kinds)


def sizes_of(
    name: str, columns: Columns, label: str | None, tomograms: Any, count: int
) -> dict[str, NDArray[Any]]:
    """Return each particle's tomogram size as columns, with what tomograms say.

    Their pixel size is among them where the columns say none of the tilt series. Where
    they do, it is the same within a hundredth, or an error.
    """
    if tomograms is None or is_centred(tomograms):
        return {}
    infos = infos_of(name, columns, label, tomograms, count)
    sizes = {
        axis: np.array([each.shape[i] for each in infos], dtype=np.int64)
        for axis, i in zip(SIZES, (2, 1, 0), strict=True)
    }
    pixels = np.array([10 * (each.scale or np.nan) for each in infos])
    stated = first_of(name, columns, PIXEL_SIZES[:1])
    if stated is not None:
        apart = np.flatnonzero(np.abs(stated - pixels) > APART * stated)
        if apart.size:
            row = int(apart[0])
            names = columns.get(label or "")
            where = "" if names is None else f" of {names.tolist()[row]!r}"
            raise FileError(
                name,
                f": row {row + 1} has a pixel size of {stated[row]:g} Å, but "
                f"tomograms says {pixels[row]:g} Å{where}: give sizes in pixels of the "
                "list's tilt series",
            )
        return sizes
    # Coordinates from the centre are in Å, whatever the images' pixel size is.
    wanted = CENTRED[0] in columns or not any(each in columns for each in PIXEL_SIZES)
    if wanted and count and np.isfinite(pixels).all():
        sizes[PIXEL_SIZES[0]] = np.round(pixels, 9)
    return sizes


def infos_of(
    name: str, columns: Columns, label: str | None, tomograms: Any, count: int
) -> list[TomogramInfo]:
    """Return what tomograms say of the one that each particle is in.

    Parameters
    ----------
    name : str
        The list, for errors.
    columns : mapping from str to (n,) array
        The list's columns.
    label : str or None
        The column of the tomograms' names; a name is also known without the ending
        ``.tomostar`` that Warp gives it.
    tomograms : path-like, mapping, or (z, y, x)
        RELION's tomograms file; a volume, for its size and scale; `TomogramInfo`,
        shapes or paths of volumes by name; or one shape for all.
    count : int
        How many particles there are.
    """
    if isinstance(tomograms, str | os.PathLike) and not _is_volume(tomograms):
        tomograms = tomogram_infos(tomograms)
    if not isinstance(tomograms, Mapping):
        return [_info(tomograms)] * count
    if label is None or label not in columns:
        raise FileError(name, " has no column 'rlnTomoName': give one shape for all")
    known: dict[str, TomogramInfo] = {}
    infos = []
    for row, each in enumerate(map(str, columns[label].tolist()), start=1):
        found = each if each in tomograms else each.removesuffix(".tomostar")
        if found not in tomograms:
            raise FileError(
                name,
                f": row {row} is in the tomogram {each!r}, but tomograms "
                f"has only {listed(sorted(map(str, tomograms)))}",
            )
        if found not in known:
            known[found] = _info(tomograms[found])
        infos.append(known[found])
    return infos


def is_centred(tomograms: Any) -> bool:
    """Tell whether positions are to be counted from the tomogram's centre."""
    return isinstance(tomograms, str) and tomograms == "centred"


def _is_volume(path: str | os.PathLike[str]) -> bool:
    return volume_stem(os.path.basename(os.fspath(path))) is not None


def _info(value: Any) -> TomogramInfo:
    if isinstance(value, TomogramInfo):
        return value
    if isinstance(value, str | os.PathLike):
        volume = open_volume(value)
        return TomogramInfo(shape("tomograms", volume.array.shape), volume.scale)
    return TomogramInfo(shape("tomograms", value))
