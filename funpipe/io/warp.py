"""Picks of Warp's template matching, STAR files, through starfile.

Facts from Warp's own code (github.com/warpem/warp): ``MatchFull`` in
WarpLib/TiltSeries/TiltSeries.MatchFull.cs writes rlnCoordinateX, Y and Z as positions
in Å, the first voxel at 0, divided by the physical size of the tomogram
(``VolumeDimensionsPhysical``), beside RELION's angles, rlnMicrographName, which ends in
``.tomostar``, and rlnAutopickFigureOfMerit. So a position is the coordinate times the
tomogram's size.

That size is the one in Warp's settings, in pixels of the tilt series. Its tomograms
have the nearest even number of voxels, so that with a volume in its place positions at
the far end may be off by up to a voxel. (``ts_export_particles --normalized_coords``
itself multiplies with a size that is one pixel of the tilt series smaller.)
"""

from __future__ import annotations

import os
from typing import Any, NoReturn

import numpy as np

from funpipe.base.errors import Argument, FileError, MissingError
from funpipe.base.euler import RELION
from funpipe.base.molecules import Molecules
from funpipe.io.columns import numbers
from funpipe.io.formats import HEAD, Format
from funpipe.io.relion_poses import ANGLES, NAMES, PIXEL, PIXEL_SIZES, SIZES
from funpipe.io.relion_tomograms import infos_of, is_centred
from funpipe.io.star import read_star, simple_columns

__all__ = ["FORMAT", "read", "recognises", "write"]

_MARK = "rlnAutopickFigureOfMerit"
_WANTED = (
    "as a volume of the tomogram, RELION's tomograms file, a shape (z, y, x) in voxels "
    "with ",
    Argument("scale", "..."),
    ", or a mapping from names to any of these",
)


def read(
    path: str | os.PathLike[str], *, scale: float | None = None, tomograms: Any = None
) -> Molecules:
    """Read the picks of one tomogram or of several.

    Parameters
    ----------
    path : path-like
        The STAR file (extra ``star``).
    scale : float, optional
        nm per voxel of the tomograms, where they do not say it.
    tomograms : path-like, mapping, or (z, y, x)
        The tomograms' sizes: a volume, RELION's tomograms file, shapes in voxels or
        paths of volumes by name, one shape for all.

    Returns
    -------
    Molecules
        All columns are features; rlnMicrographName is ``tomogram``. The tomograms'
        sizes come along as rlnTomoSizeX, Y, Z, and the size of their voxels.

    Raises
    ------
    MissingError
        If the tomograms' sizes or their scale are not known.
    """
    name = os.fspath(path)
    blocks = [each for each in read_star(path).blocks.values() if PIXEL[0] in each]
    if not blocks:
        raise FileError(name, f" has no column {PIXEL[0]!r}: no picks of Warp")
    columns = simple_columns(name, blocks[0])
    parts = numbers(name, columns, PIXEL)[:, ::-1]
    rotations = RELION.rotations(numbers(name, columns, ANGLES))
    reason = "coordinates are parts of the tomogram's size"
    if tomograms is None or is_centred(tomograms):
        raise MissingError(name, reason, "tomograms", *_WANTED)
    label = next((each for each in NAMES if each in columns), None)
    infos = infos_of(name, columns, label, tomograms, len(parts))
    scales = [scale or each.scale for each in infos]
    if None in scales:
        reason = f"{reason}, and tomograms say no size of a voxel"
        raise MissingError(name, reason, "scale", "in nm per voxel")
    shapes, nm = np.array([each.shape for each in infos]), np.array(scales, dtype=float)
    columns |= dict(zip(SIZES, shapes.T[::-1], strict=True))
    columns[PIXEL_SIZES[0]] = np.round(10 * nm, 9)
    if label:
        columns = {("tomogram" if k == label else k): v for k, v in columns.items()}
        columns["tomogram"] = columns["tomogram"].astype(str)
    return Molecules(parts * shapes * nm[:, None], rotations, columns)


def write(molecules: Molecules, path: str | os.PathLike[str], **_: Any) -> NoReturn:
    """Refuse: what Warp takes of others are lists of RELION."""
    raise FileError(
        os.fspath(path),
        ": picks of Warp are read only; write a list of RELION, "
        "which Warp takes with the size of its voxels (--coords_angpix)",
    )


def recognises(head: bytes) -> bool:
    r"""Tell by a file's beginning whether it holds picks of Warp.

    Those are coordinates between 0 and 1 of one table without a pixel size, with Warp's
    score or names.

    Examples
    --------
    >>> titles = [*PIXEL, *ANGLES, "rlnMicrographName", "rlnAutopickFigureOfMerit"]
    >>> text = "data_\nloop_\n" + "".join(f"_{each}\n" for each in titles)
    >>> [recognises(f"{text}{x} .4 .5 0 0 0 a 7".encode()) for x in (0.3, 300)]
    [True, False]
    """
    if f"_{PIXEL[0]}".encode() not in head:
        return False
    text = head.decode("utf-8", "replace")
    if len(head) >= HEAD:
        text = text[: text.rfind("\n")]
    lines = [each.split() for each in text.splitlines()]
    titles = [each[0][1:] for each in lines if each and each[0].startswith("_")]
    rows = [
        each for each in lines if len(each) == len(titles) and each[0][0] not in "_#"
    ]
    sizes = (*PIXEL_SIZES, "rlnPixelSize", "rlnMagnification", "rlnOpticsGroup")
    if set(sizes) & set(titles) or not {*PIXEL, *ANGLES} <= set(titles) or not rows:
        return False
    if _MARK not in titles and b".tomostar" not in head:
        return False
    try:
        found = [[float(row[titles.index(each)]) for each in PIXEL] for row in rows]
    except ValueError:
        return False
    places = np.array(found)
    return bool(
        (np.abs(places - 0.5) < 0.6).all() and (places != np.round(places)).any()
    )


FORMAT = Format(
    read,
    write,
    (),
    frozenset({"scale", "tomograms", "box"}),
    recognises,
    "Warp, picks of template matching (.star)",
    counts_in="parts",
)
