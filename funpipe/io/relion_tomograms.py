"""RELION's tomograms files, and the sizes of the tomograms that particles are in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from funpipe.arguments import listed, shape
from funpipe.io.columns import Columns, numbers
from funpipe.io.relion_poses import PIXEL_SIZES, SIZES, first_of
from funpipe.io.star import read_star, simple_columns

__all__ = ["TomogramInfo", "is_centred", "read_tomograms", "sizes_of"]


class TomogramInfo(NamedTuple):
    """What RELION's tomograms file says of a tomogram."""

    shape: tuple[int, int, int]
    """z, y, x, in voxels of the tilt series' pixel size."""
    scale: float | None = None
    """nm per such voxel."""
    hand: float | None = None
    """rlnTomoHand, −1 or 1: which way the defocus changes. No pose depends on it."""


def read_tomograms(path: str | os.PathLike[str]) -> dict[str, TomogramInfo]:
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
        raise ValueError(f"{name} has no column {SIZES[0]!r}: no tomograms file")
    block = simple_columns(name, blocks[0])
    sizes = numbers(name, block, SIZES)
    if "rlnTomoName" not in block:
        raise ValueError(f"{name} has no column 'rlnTomoName'")
    if (sizes < 1).any():
        raise ValueError(f"{name}: a tomogram's size must be 1 or more")
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


def sizes_of(
    name: str, columns: Columns, label: str | None, tomograms: Any, count: int
) -> dict[str, NDArray[Any]]:
    """Return each particle's tomogram size as columns, with what tomograms say."""
    if tomograms is None or is_centred(tomograms):
        return {}
    if isinstance(tomograms, str | os.PathLike):
        tomograms = read_tomograms(tomograms)
    if not isinstance(tomograms, Mapping):
        infos = [_info(tomograms)] * count
    elif label is None or label not in columns:
        raise ValueError(f"{name} has no column 'rlnTomoName': give one shape for all")
    else:
        infos = []
        for row, each in enumerate(columns[label].tolist(), start=1):
            if str(each) not in tomograms:
                raise ValueError(
                    f"{name}: row {row} is in the tomogram {each!r}, but tomograms "
                    f"has only {listed(sorted(map(str, tomograms)))}"
                )
            infos.append(_info(tomograms[str(each)]))
    sizes = {
        axis: np.array([each.shape[i] for each in infos], dtype=np.int64)
        for axis, i in zip(SIZES, (2, 1, 0), strict=True)
    }
    if infos and all(each.scale is not None for each in infos):
        scales = [10 * (each.scale or 0.0) for each in infos]
        if not any(each in columns for each in PIXEL_SIZES):
            sizes[PIXEL_SIZES[0]] = np.round(scales, 9)
    return sizes


def is_centred(tomograms: Any) -> bool:
    """Tell whether positions are to be counted from the tomogram's centre."""
    return isinstance(tomograms, str) and tomograms == "centred"


def _info(value: Any) -> TomogramInfo:
    if isinstance(value, TomogramInfo):
        return value
    return TomogramInfo(shape("tomograms", value))
