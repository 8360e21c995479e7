"""RELION's STAR files of tilt series, and which tomogram each is of.

RELION puts what lies at x, z from the tomogram's centre at the depth z cos α − x sin α
in an image, with α = rlnTomoYTilt (Tomogram::setProjectionMatrix, tomogram.cpp), so
that angles are taken as they are; and adds hand × depth to the defocus there
(Tomogram::getCtf), with the hand rlnTomoHand. RELION 4 has the projection's matrix,
whose third row says the same. rlnMicrographPreExposure is e/Å² before the tilt; defoci
are Å, azimuths in the image, which is turned by rlnTomoZRot: in the tomogram they are
so much less. Gctf's STAR files have defoci alone, a line for each image of the stack.
Warp's .tomostar has wrpAngleTilt, the negative of RELION's, see
`funpipe.io.warp_tilts`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from funpipe.base.errors import FileError
from funpipe.base.wording import quoted
from funpipe.io.columns import Columns, numbers
from funpipe.io.formats import has_star_column
from funpipe.io.relion_tomograms import TomogramInfo, holds_tomograms, tomogram_infos
from funpipe.io.star import Star, read_star, simple_columns
from funpipe.io.tilt_facts import (
    ALIGNED,
    AS_SET,
    TiltFacts,
    TiltFormat,
    in_micrometres,
)
from funpipe.io.warp_tilts import warn_of_other_axis

__all__ = ["FORMAT", "ListedTomogram", "find_named", "listed_tomograms"]

_TILT, _NOMINAL, _STAGE = "rlnTomoYTilt", "rlnTomoNominalStageTiltAngle", "wrpAngleTilt"
_MATRIX = ("rlnTomoProjX", "rlnTomoProjY", "rlnTomoProjZ")
_DEFOCI = ("rlnDefocusU", "rlnDefocusV")
_SETTINGS = {
    "rlnVoltage": "voltage",
    "rlnSphericalAberration": "spherical_aberration",
    "rlnAmplitudeContrast": "amplitude_contrast",
    "rlnTomoHand": "hand",
}
_VOLUMES = (
    "rlnTomoReconstructedTomogram",
    "rlnTomoReconstructedTomogramDenoised",
    "rlnTomoReconstructedTomogramHalf1",
)
_SERIES = "rlnTomoTiltSeriesStarFile"


class ListedTomogram(NamedTuple):
    """What a tomograms file says of one."""

    info: TomogramInfo
    volume: str | None
    """The path of its volume, as it is written there."""
    binning: float | None
    """Pixels of the tilt series in the width of a voxel."""
    tilts: TiltFacts


def listed_tomograms(path: str | os.PathLike[str]) -> dict[str, ListedTomogram]:
    """Read RELION's tomograms file with all tilt series that it names.

    Parameters
    ----------
    path : path-like
        Of RELION 5, with a STAR file for each tilt series, whose path is from a folder
        above; or of RELION 4, with tables of that name in itself (extra ``tilts``).

    Raises
    ------
    OSError, ValueError
        If one cannot be read, does not say the tilts, or has other numbers of them.
    """
    name = os.fspath(path)
    infos = tomogram_infos(name)
    star = read_star(name)
    rows = simple_columns(name, _global(star))
    found = {}
    for i, each in enumerate(infos):
        row = {title: values[[i]] for title, values in rows.items()}
        found[each] = ListedTomogram(
            infos[each],
            next((str(row[v][0]) for v in _VOLUMES if v in row and row[v][0]), None),
            _first(name, row, "rlnTomoTomogramBinning"),
            _series(name, star, each, row),
        )
    return found


def _global(star: Star) -> Mapping[str, Any]:
    return next(each for each in star.blocks.values() if "rlnTomoSizeX" in each)


def _first(name: str, columns: Columns, title: str) -> float | None:
    return float(numbers(name, columns, [title])[0, 0]) if title in columns else None


def _series(name: str, star: Star, tomogram: str, row: Columns) -> TiltFacts:
    """Return the tilts of a tomogram, with its settings."""
    if _SERIES in row:
        where = find_named(name, str(row[_SERIES][0]), "tilt series")
        table = _only_table(where, read_star(where))
    elif tomogram in star.blocks:
        where = name
        table = simple_columns(name, star.blocks[tomogram])
    else:
        raise FileError(
            name,
            f" has neither {_SERIES!r} nor a table of {quoted(tomogram)}: no tilts",
        )
    facts = _facts(where, table, {**_settings(name, row), **_settings(where, table)})
    count = _first(name, row, "rlnTomoFrameCount")
    if count is not None and count != facts.count:
        raise FileError(
            where,
            f" has {facts.count} tilts of {quoted(tomogram)}, but {name} says "
            f"{count:g}",
        )
    return facts


def find_named(name: str, written: str, what: str) -> str:
    """Return where a file is that a list names from some folder above itself.

    Raises
    ------
    FileNotFoundError
        If it is nowhere.
    """
    for folder in Path(name).resolve().parents:
        if (folder / written).is_file():
            return str(folder / written)
    raise FileNotFoundError(
        errno.ENOENT, f"no folder above {name} has the {what} that it names", written
    )


def _only_table(name: str, star: Star) -> Columns:
    tables = [each for each in star.blocks.values() if each]
    if len(tables) != 1:
        raise FileError(name, f" has {len(tables)} tables, not that of a tilt series")
    return simple_columns(name, tables[0])


def _read(path: str) -> TiltFacts:
    """Read the STAR file of a tilt series, or of the defoci of its images."""
    if holds_tomograms(path):
        raise FileError(
            path,
            " is of tomograms: write read_tomograms(...), and each has its tilt series",
        )
    table = _only_table(path, read_star(path))
    return _facts(path, table, _settings(path, table))


def _settings(name: str, columns: Columns) -> dict[str, float]:
    """Return what is the same for all tilts."""
    found = {}
    for title, ours in _SETTINGS.items():
        if title in columns:
            values = np.unique(numbers(name, columns, [title]))
            if len(values) > 1:
                raise FileError(name, f": column {title!r} must be one value for all")
            found[ours] = float(values[0])
    if "hand" in found and abs(found["hand"]) != 1:
        raise FileError(name, f": rlnTomoHand must be 1 or −1, not {found['hand']:g}")
    return {**found, **({"hand": int(found["hand"])} if "hand" in found else {})}


def _facts(path: str, columns: Columns, settings: dict[str, float]) -> TiltFacts:
    angles, turn, rank = _angles(path, columns)
    if angles is None and _DEFOCI[0] not in columns:
        raise FileError(
            path, f" has neither {_TILT!r} nor {_DEFOCI[0]!r}: not of a tilt series"
        )
    defocus = azimuth = None
    if all(each in columns for each in _DEFOCI):
        defocus = in_micrometres(path, numbers(path, columns, _DEFOCI), "Å")
        azimuth = _one(path, columns, "rlnDefocusAngle")
    return TiltFacts(
        path,
        angles=angles,
        rank=rank,
        dose=_either(path, columns, "rlnMicrographPreExposure", "wrpDose"),
        defocus=defocus,
        azimuth=azimuth,
        turn=turn,
        phase_shift=_one(path, columns, "rlnPhaseShift"),
        settings=settings,
    )


def _one(path: str, columns: Columns, title: str) -> NDArray[np.float64] | None:
    return numbers(path, columns, [title])[:, 0] if title in columns else None


def _either(path: str, columns: Columns, *titles: str) -> NDArray[np.float64] | None:
    found = (_one(path, columns, each) for each in titles)
    return next((each for each in found if each is not None), None)


def _angles(path: str, columns: Columns) -> tuple[Any, Any, int]:
    """Return tilts, the turns of azimuths, and of what kind the tilts are."""
    if _TILT in columns:
        across = _either(path, columns, "rlnTomoXTilt")
        if across is not None:
            warn_of_other_axis(path, across[np.abs(across).argmax()])
        turn = _either(path, columns, "rlnTomoZRot", "rlnTomoNominalTiltAxisAngle")
        return (
            _one(path, columns, _TILT),
            None if turn is None else -turn,
            ALIGNED,
        )
    if all(each in columns for each in _MATRIX):
        return *_of_matrices(path, columns), ALIGNED
    for title, sign, axis in (
        (_NOMINAL, 1, "rlnTomoNominalTiltAxisAngle"),
        (_STAGE, -1, "wrpAxisAngle"),
    ):
        if title in columns:
            turn = _one(path, columns, axis)
            angles = numbers(path, columns, [title])[:, 0]
            return sign * angles, None if turn is None else -turn, AS_SET
    return None, None, AS_SET


def _of_matrices(path: str, columns: Columns) -> tuple[Any, Any]:
    """Return tilts and the turns of azimuths, as Tomogram::getProjectionAngles does."""
    rows = [
        [_vector(path, title, each) for each in columns[title]] for title in _MATRIX
    ]
    A = np.array(rows).transpose(1, 0, 2)[:, :, :3]
    A /= np.linalg.norm(A, axis=2, keepdims=True)
    across = np.degrees(np.arctan2(A[:, 2, 1], A[:, 2, 2]))
    warn_of_other_axis(path, across[np.abs(across).argmax()])
    tilts = np.degrees(np.arcsin(np.clip(-A[:, 2, 0], -1, 1)))
    return tilts, -np.degrees(np.arctan2(A[:, 1, 0], A[:, 0, 0]))


def _vector(path: str, title: str, value: Any) -> list[float]:
    """Return a row of a matrix, written as "[a,b,c,d]"."""
    try:
        found = [float(each) for each in str(value).strip("[] ").split(",")]
    except ValueError:
        found = []
    if len(found) != 4 or not np.isfinite(found).all() or not np.any(found[:3]):
        raise FileError(
            path, f": column {title!r}: {quoted(str(value))} is no row [a,b,c,d]"
        )
    return found


def _is_star(head: bytes, name: str) -> bool:
    known = has_star_column(head, "(rln|wrp)")
    return known or name.endswith((".star", ".tomostar"))


FORMAT = TiltFormat(_read, "STAR files of RELION, Gctf and Warp", _is_star)
