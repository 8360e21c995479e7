"""RELION's STAR files of particles, 3.0 to 5, through starfile.

Where RELION puts a particle, and how it is turned: `funpipe.io.relion_poses`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.base.errors import Argument, FileError, WrongValueError
from funpipe.base.molecules import Molecules
from funpipe.base.wording import listed, printable
from funpipe.io.columns import Columns
from funpipe.io.formats import Format
from funpipe.io.relion_poses import (
    CENTRED,
    NAMES,
    PIXEL,
    PIXEL_SIZES,
    SIZES,
    STACKS,
    pixel_size,
    posed,
    poses,
    rescaled,
    size_label,
    wanted_columns,
    with_pixel_size,
)
from funpipe.io.relion_tomograms import is_centred, sizes_of
from funpipe.io.star import Block, Star, read_star, simple_columns, write_star

__all__ = ["FORMAT", "read", "recognises", "scale_of", "write"]

Array: TypeAlias = NDArray[Any]


class _List(NamedTuple):
    """A list of particles as its file has it."""

    title: str
    """Of its block."""
    block: dict[str, Array]
    optics: Columns | None
    size: str | None
    """The column, of the particles or the optics groups, of the voxels' size."""


def read(
    path: str | os.PathLike[str], *, scale: float | None = None, tomograms: Any = None
) -> Molecules:
    """Read a list of particles; see the module for where RELION puts them.

    Parameters
    ----------
    path : path-like
        The STAR file (extra ``star``).
    scale : float, optional
        nm per voxel of the coordinates; by default what `pixel_size` finds.
    tomograms : path-like, mapping, (z, y, x) or 'centred', optional
        The sizes of the tomograms, for centred coordinates: RELION's tomograms file,
        `TomogramInfo`, shapes or volumes by name, one shape or volume for all; or
        ``'centred'``, and positions are counted from the tomogram's centre.

    Returns
    -------
    Molecules
        Every column comes along as a feature; rlnTomoName, or else
        rlnMicrographName, becomes ``tomogram``. The pixel size comes along too, and
        the tomograms' sizes as rlnTomoSizeX, Y, Z.
    """
    name = os.fspath(path)
    found = _particles(name, read_star(path), scale)
    columns = _with_optics(name, found.block, found.optics, [found.size])
    label = next((each for each in NAMES if each in columns), None)
    count = len(next(iter(columns.values())))
    columns.update(sizes_of(name, columns, label, tomograms, count))
    positions, rotations = poses(name, columns, scale, centred=is_centred(tomograms))
    if label and "tomogram" not in columns:
        columns = {("tomogram" if k == label else k): v for k, v in columns.items()}
        columns["tomogram"] = columns["tomogram"].astype(str)
    return Molecules(positions, rotations, columns)


def write(
    molecules: Molecules,
    path: str | os.PathLike[str],
    *,
    like: str | os.PathLike[str] | None = None,
    scale: float | None = None,
    tomograms: Any = None,
) -> None:
    """Write a list of particles.

    Parameters
    ----------
    molecules : Molecules
        The particles. Features that hold the columns of a RELION file are written
        as they are where the pose is still what they say. A particle that has moved
        keeps its coordinate and gets a new origin if there are origins; one that has
        turned keeps its rlnTomoSubtomogram angles and gets new rlnAngle ones. A
        feature half is also written as rlnRandomSubset, where there is none.
    path : path-like
        Where to; an existing file is replaced, whole or not at all.
    like : path-like, optional
        A RELION file to write one like: its kind of coordinates, its columns in
        their order as far as the molecules have them, its other blocks (optics).
        Without one there is one table, as RELION 4 and 5 import coordinates.
    scale : float, optional
        nm per voxel of the coordinates, which the file then says; by default what
        the features or ``like`` say.
    tomograms : path-like, mapping, (z, y, x) or 'centred', optional
        As in `read`, for centred coordinates.
    """
    features = dict(molecules.features)
    if "half" in features:  # as `halves` calls it
        features.setdefault("rlnRandomSubset", features["half"])
    if like is None:
        size = size_label("features", features, scale)
        model, old = Star({}), _List("particles", {}, None, size)
    else:
        model = read_star(like)
        old = _particles(os.fspath(like), model, scale)
    block, optics = old.block, old.optics
    label = next((each for each in NAMES if each in block), NAMES[0])
    renamed = {} if label in features else {"tomogram": label}
    columns = {renamed.get(k, k): v for k, v in features.items()}
    if optics is not None:
        columns.update(_optics_group(columns, block, optics, len(molecules)))
        # What the optics groups of the model say goes before what came along.
        keep = {*block, "rlnOpticsGroup"}
        columns = {k: v for k, v in columns.items() if k in keep or k not in optics}
    known = _with_optics("features", columns, optics, [old.size])
    known.update(sizes_of("features", known, label, tomograms, len(molecules)))
    wanted = wanted_columns(columns, block, known)
    stated = pixel_size("features", known, scale)
    contradicted = _contradicted(stated, scale, fresh=like is None)
    if contradicted and optics is not None and _is_of_images(old):
        raise WrongValueError(
            Argument("scale", f"{scale:g}"),
            f" nm contradicts the images of {like}: coordinates are in their pixels "
            f"({old.size}); leave scale out, or write to a list without ",
            Argument("like", "..."),
            name="scale",
            value=scale,
        )
    after = 10 * scale if scale is not None and contradicted else stated
    came = pixel_size("features", features, scale)
    before = stated if came is None else came
    if before is not None and after is not None and not np.allclose(before, after):
        known = rescaled(known, before, after, molecules.positions)
        columns = {k: known.get(k, v) for k, v in columns.items()}
    found = posed(molecules, columns, known, wanted, scale, is_centred(tomograms))
    blocks: dict[str, Block] = dict(model.blocks)
    if scale is not None and contradicted:
        if optics is not None and old.size in optics:
            optics = with_pixel_size(optics, scale, old.size)
            blocks["optics"] = dict(optics)
        else:
            found = with_pixel_size(found, scale, old.size)
    first = [label, *wanted] if like is None else list(block)
    come_along = {*SIZES, *(optics or {})} - {*first, "rlnOpticsGroup"}
    found = {k: v for k, v in found.items() if k not in come_along}
    order = [*(k for k in first if k in found), *(k for k in found if k not in first)]
    blocks[old.title] = {name: found[name] for name in order}
    write_star(path, Star(blocks, model.version))


def scale_of(path: str | os.PathLike[str]) -> float | None:
    """Return the one scale of a list in nm per voxel, None where it has none or two."""
    name = os.fspath(path)
    found = _particles(name, read_star(path))
    columns = _with_optics(name, found.block, found.optics, [found.size])
    sizes = pixel_size(name, columns)
    if sizes is None or np.ptp(sizes) > 1e-6 * sizes.max():
        return None
    return float(sizes[0]) / 10


def _particles(name: str, star: Star, scale: float | None = None) -> _List:
    """Return the list of particles in a file."""
    lists = {
        title: block
        for title, block in star.blocks.items()
        if PIXEL[0] in block or CENTRED[0] in block
    }
    if not lists:
        raise FileError(
            name,
            f" has no particles: no column {PIXEL[0]!r} or {CENTRED[0]!r} of "
            "RELION and Warp, 'orig_x' of STOPGAP or 'wrpCoordinateX1' of M",
        )
    title = "particles" if "particles" in lists else next(iter(lists))
    block = simple_columns(name, lists[title])
    optics = star.blocks.get("optics")
    if optics is not None:
        optics = simple_columns(name, optics)
        if "rlnOpticsGroup" not in optics:
            raise FileError(name, ": the optics table has no column 'rlnOpticsGroup'")
    known = dict(block)
    if "rlnOpticsGroup" in block or not set(PIXEL_SIZES) & set(block):
        says = [*PIXEL_SIZES, "rlnImageDimensionality"]
        known = _with_optics(name, block, optics, says)
    general = star.blocks.get("general", {})
    if STACKS in general:
        count = len(next(iter(block.values())))
        known[STACKS] = np.repeat(np.atleast_1d(general[STACKS])[:1], count)
    return _List(title, block, optics, size_label(name, known, scale))


def _with_optics(
    name: str,
    columns: Mapping[str, Array],
    optics: Columns | None,
    labels: Iterable[str | None],
) -> dict[str, Array]:
    """Return the columns, and by these labels what each particle's optics say."""
    found = dict(columns)
    added = [each for each in labels if each in (optics or {}) and each not in found]
    if optics is None or not set(added) & set(PIXEL_SIZES):
        return found
    if "rlnOpticsGroup" not in found:
        raise FileError(name, " has no column 'rlnOpticsGroup', but optics groups")
    groups = optics["rlnOpticsGroup"].tolist()
    places = dict(zip(reversed(groups), reversed(range(len(groups))), strict=True))
    of_rows = found["rlnOpticsGroup"].tolist()
    index = [places.get(group, -1) for group in of_rows]
    if -1 in index:
        row = index.index(-1)
        shown = printable(str(of_rows[row])[:60])
        raise FileError(
            name,
            f": row {row + 1} is in the optics group {shown}, but there are "
            f"only {listed(map(str, groups))}",
        )
    return {**found, **{each: optics[each][index] for each in added if each}}


def _optics_group(
    columns: Columns, block: Columns, optics: Columns, count: int
) -> dict[str, Array]:
    """Return an optics group for each particle that comes without one."""
    if "rlnOpticsGroup" in columns:
        return {}
    label = next((each for each in NAMES if each in columns), "")
    groups = optics["rlnOpticsGroup"]
    if len(groups) == 1:
        return {"rlnOpticsGroup": np.repeat(groups, count)}
    if label in block and "rlnOpticsGroup" in block:
        pairs = set(
            zip(block[label].tolist(), block["rlnOpticsGroup"].tolist(), strict=True)
        )
        known = dict(pairs)
        names = columns[label].tolist()
        if len(known) == len(pairs) and all(each in known for each in names):
            return {"rlnOpticsGroup": np.array([known[each] for each in names])}
    raise ValueError(
        "molecules have no feature 'rlnOpticsGroup', and the file to write one like "
        f"has {len(groups)} optics groups: add it with molecules.with_features"
    )


def _is_of_images(found: _List) -> bool:
    """Tell whether coordinates are in the images' pixels, not in the tilt series'."""
    return found.size == PIXEL_SIZES[-1] and PIXEL_SIZES[0] in (found.optics or {})


def _contradicted(stated: Array | None, scale: float | None, *, fresh: bool) -> bool:
    """Tell whether the pixel size that a file would say is not the scale."""
    if scale is None:
        return False
    if stated is None:
        return fresh
    return bool((np.abs(stated - 10 * scale) > 1e-6 * stated).any())


def recognises(head: bytes) -> bool:
    """Tell whether a file begins as a STAR file, which no other program's list is."""
    lines = (each.strip() for each in head.splitlines())
    kept = (each for each in lines if each and not each.startswith(b"#"))
    return next(kept, b"").startswith(b"data_")


FORMAT = Format(
    read,
    write,
    (".star",),
    frozenset({"scale", "tomograms", "box", "like"}),
    recognises,
    "RELION 3.0 to 5",
    scale_of,
    keeps_scale="particle",
)
