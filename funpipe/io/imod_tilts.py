"""IMOD's files of a tilt series: tilt angles, transforms and defoci.

*Angles* (``.tlt``, ``.rawtlt``). In a tomogram that was turned about x after it was
made, as etomo does it by default (``trimvol -rx``), a view at tilt α shows
x cos α + z sin α at its x. So it is in RELION's import of such projects
(``ImodImport::loadTiltProjections`` with its flip of y and z, imod_import.cpp), and
RELION 5 writes the very angles into rlnTomoYTilt. So they are taken as they are. In a
tomogram whose y and z were swapped (``trimvol -yz``), which mirrors it, α is −α.

*Transforms* (``.xf``) take an image's x, y to A x, y in the aligned one, a line
A₁₁ A₁₂ A₂₁ A₂₂ and shifts for each view: an azimuth grows by atan2(A₂₁, A₁₁).

*Defoci* (``.defocus``) are nm, for ranges of views counted from 1, and interpolated
between the middles of ranges. Version 3 says in a line before them what columns there
are, as flags: 1 a second defocus and the first's azimuth, 2 in radians, 4 a phase
shift, 8 in radians, 16 that tilt angles are to be inverted, 32 a cut-on frequency.
(AreTomo's ``_CTF_Imod.txt`` has the smaller defocus first and the larger's azimuth,
CSaveCtfResults.cpp: give its ``_CTF.txt``.) ctfphaseflip puts the defocus of what lies
at x from the tilt axis to D + x tan α (ctfphaseflip.cpp), which is −1 times its depth
z cos α − x sin α: the hand is −1, as where no file says one. It is 1 with inverted tilt
angles: by the flag, or where those in the file are the negative of the ``.tlt``'s, as
ctfplotter writes them with -invert.
"""

from __future__ import annotations

import re
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.base.errors import FileError
from funpipe.io.tilt_facts import (
    ALIGNED,
    AS_SET,
    BY_THE_WAY,
    TiltFacts,
    TiltFormat,
    in_micrometres,
    table_of,
)

__all__ = ["ANGLES", "DEFOCUS", "TRANSFORMS"]

Array: TypeAlias = NDArray[np.float64]

_TURNED = 0.05  # how far a transform may be from a rotation and a scale
_TWO, _RADIANS, _PHASE, _PHASE_RADIANS, _INVERTED, _CUT_ON = 1, 2, 4, 8, 16, 32


def _read_angles(path: str) -> TiltFacts:
    """Read tilt angles, a line each."""
    angles = np.array(table_of(path, {1: "an angle"}))[:, 0]
    raw = path.lower().endswith(".rawtlt")
    return TiltFacts(path, angles=angles, rank=AS_SET if raw else ALIGNED)


def _read_transforms(path: str) -> TiltFacts:
    """Read how images are turned."""
    rows = np.array(table_of(path, {6: "of a transform"}))
    a, b, c, d = rows[:, :4].T
    size = np.hypot(a, c)
    bad = (np.abs(a - d) > _TURNED * size) | (np.abs(b + c) > _TURNED * size)
    if bad.any() or not size.all():
        row = int(np.flatnonzero(bad | (size == 0))[0])
        raise FileError(
            path, f": the transform {row + 1} is not of a turned and scaled image"
        )
    return TiltFacts(path, turn=np.degrees(np.arctan2(c, a)))


def _read_defocus(path: str) -> TiltFacts:
    """Read defoci of views, versions 1 to 3."""
    rows = table_of(path)
    flags = 0
    if len(rows[0]) == 6 and rows[0][1:5] == [0, 0, 0, 0]:
        flags = int(rows[0][0])
        if rows[0][5] != 3:
            raise FileError(
                path, f": version {rows[0][5]:g} of defocus files is not known"
            )
        rows = rows[1:]
    elif len(rows[0]) == 6 and rows[0][5] == 2:
        rows[0] = rows[0][:5]
    _check_widths(path, rows, flags)
    values = np.array(rows).reshape(len(rows), -1)
    starts, ends = values[:, 0] - 1, values[:, 1] - 1
    if (starts < 0).any() or (ends < starts).any():
        raise FileError(path, ": views are counted from 1, the first before the last")
    views = (starts + ends) / 2
    order = np.argsort(views, kind="stable")
    defocus, azimuth, phase = _columns(values[order], flags)
    return TiltFacts(
        path,
        angles=values[order, 2:4].mean(axis=1),
        rank=BY_THE_WAY,
        defocus=in_micrometres(path, defocus, "nm"),
        azimuth=azimuth,
        phase_shift=phase,
        views=views[order],
        settings={"hand": 1} if flags & _INVERTED else {},
    )


def _check_widths(path: str, rows: list[list[float]], flags: int) -> None:
    wanted = 5 + 2 * bool(flags & _TWO) + bool(flags & _PHASE) + bool(flags & _CUT_ON)
    if not rows:
        raise FileError(path, " has no line of views and their defocus")
    for number, row in enumerate(rows, start=1):
        if len(row) != wanted:
            raise FileError(
                path,
                f": {len(row)} numbers for the range of views {number}, where "
                f"{wanted} must be (two views, two angles, defocus ...)",
            )


def _columns(values: Array, flags: int) -> tuple[Array, Array | None, Array | None]:
    """Return defoci, the azimuth of the first, and phase shifts."""
    rest = values[:, 4:]
    defocus, azimuth, phase = rest[:, [0, 0]], None, None
    rest = rest[:, 1:]
    if flags & _TWO:
        defocus = np.stack([defocus[:, 0], rest[:, 0]], axis=1)
        azimuth = np.degrees(rest[:, 1]) if flags & _RADIANS else rest[:, 1]
        rest = rest[:, 2:]
    if flags & _PHASE:
        phase = np.degrees(rest[:, 0]) if flags & _PHASE_RADIANS else rest[:, 0]
    return defocus, azimuth, phase


def _is_angles(head: bytes, name: str) -> bool:
    return name.endswith((".tlt", ".rawtlt"))


def _is_transforms(head: bytes, name: str) -> bool:
    return name.endswith(".xf")


def _is_defocus(head: bytes, name: str) -> bool:
    named = re.match(rb"\s*\d+\s+0\s+0\.0*\s+0\.0*\s+0\.0*\s+3\s", head)
    return name.endswith(".defocus") or named is not None


ANGLES = TiltFormat(_read_angles, "IMOD's tilt angles (.tlt, .rawtlt)", _is_angles)
TRANSFORMS = TiltFormat(_read_transforms, "IMOD's transforms (.xf)", _is_transforms)
DEFOCUS = TiltFormat(_read_defocus, "IMOD's defoci (.defocus)", _is_defocus)
