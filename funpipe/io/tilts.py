"""What programs wrote of tilt series, read: `read_tilts`, and how files are merged.

Each format says of itself what it is, by a record `TiltFormat`; the table here names
their modules.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from funpipe.base import arguments as check
from funpipe.base.caller import warn
from funpipe.base.errors import FileError, WrongError
from funpipe.base.sources import open_unpacked
from funpipe.base.wording import describe, fail
from funpipe.io.formats import Table
from funpipe.io.tilt_facts import BY_THE_WAY, TiltFacts, TiltFormat
from funpipe.space.series import tilt_series
from funpipe.space.transfer import TiltSeries

__all__ = ["TILTS", "holds_many", "merged", "read_listed_tilts", "read_tilts"]

Array = NDArray[np.float64]

TILTS = Table(
    {
        "angles": "funpipe.io.imod_tilts:ANGLES",
        "transforms": "funpipe.io.imod_tilts:TRANSFORMS",
        "defocus": "funpipe.io.imod_tilts:DEFOCUS",
        "mdoc": "funpipe.io.serialem:FORMAT",
        "aln": "funpipe.io.aretomo:FORMAT",
        "ctf": "funpipe.io.ctffind:FORMAT",
        "xml": "funpipe.io.warp_tilts:FORMAT",
        "star": "funpipe.io.relion_tilts:FORMAT",
        "stack": "funpipe.io.tilt_stacks:FORMAT",
    }
)
"""Formats, the record of each as "module:name"."""

_HEAD = 2**14  # bytes
_NEAR = 0.45  # of a step: how far an angle may be from the one it is, less an offset
_LEAST = 0.5  # degrees, likewise
_OFFSET = 25.0  # degrees that all angles of a file may be apart from another's


def read_tilts(
    *paths: str | os.PathLike[str], axis: Literal["y", "x"] = "y", **over: Any
) -> TiltSeries:
    """Read what programs wrote of a tilt series, in one file or several.

    Parameters
    ----------
    *paths : path-like
        Files of one tilt series: IMOD's ``.tlt``, ``.rawtlt``, ``.xf`` and
        ``.defocus``, SerialEM's ``.mdoc``, AreTomo's ``.aln`` and ``_CTF.txt``, Warp's
        ``.xml``, RELION's STAR file of a tilt series, the output of CTFFIND and Gctf
        (extra ``tilts``); and the stack, of which only the number of images is asked,
        so that files of another one are found out. What an earlier one says wins over
        a later one; angles as they were aligned win over those of the stage.
    axis : {"y", "x"}
        What the tomogram's tilt axis is along.
    **over
        Arguments of `tilt_series`, such as ``hand``, ``phase_flipped`` or ``dose``:
        they win over the files.

    Returns
    -------
    TiltSeries
        With the tilts in the order of the file that says the angles. A phase shift
        that changes from tilt to tilt is its mean.

    Raises
    ------
    OSError
        If a file cannot be read.
    ImportError
        If a library is missing: the extra ``tilts`` has them.
    ValueError
        If a file is not known, is damaged, or is of other tilts than another.

    Notes
    -----
    Images are the same that have the same place in the stack or, where two files say
    angles, the nearest angles, but for one offset. Angles and hands are those of a
    tomogram with the axes of RELION's, Warp's, AreTomo's ``-FlipVol 1`` or IMOD's
    ``trimvol -rx``; of one that mirrors these (``trimvol -yz``) they are the negative:
    pass ``angles``. Where no file says the hand it is −1: RELION's usual rlnTomoHand,
    and what IMOD's ctfphaseflip assumes. The modules of the formats say where each
    convention stands.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name, text in (("a.tlt", "-3 0 3"), ("a.xf", "1 0 0 1 0 0 " * 3)):
    ...         n = len(text.split()) // 3
    ...         rows = np.array(text.split()).reshape(3, n)
    ...         np.savetxt(f"{folder}/{name}", rows, fmt="%s")
    ...     read_tilts(f"{folder}/a.tlt", f"{folder}/a.xf", defocus=3.0)
    tilt_series((-3.0, 0.0, 3.0), 'y', defocus=(3.0, 3.0, 3.0))
    """
    if not paths:
        fail("paths", "one or more files of a tilt series", paths)
    return merged([_facts(check.path("paths", each)) for each in paths], axis, over)


def holds_many(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file names many tomograms, each with its tilt series."""
    from funpipe.io.relion_tomograms import holds_tomograms

    with open_unpacked(path) as file:
        star = TILTS["star"].recognises(
            file.read(_HEAD), os.path.basename(os.fspath(path)).lower()
        )
    return bool(star and holds_tomograms(path))


def read_listed_tilts(
    path: str | os.PathLike[str], **over: Any
) -> dict[str, TiltSeries]:
    """Read the tilt series of all tomograms of RELION's tomograms file, by name.

    Parameters
    ----------
    path : path-like
        See `funpipe.io.relion_tilts.listed_tomograms`.
    **over
        Arguments of `tilt_series` that win over the file.
    """
    from funpipe.io.relion_tilts import listed_tomograms

    found = listed_tomograms(path)
    return {name: merged([each.tilts], "y", over) for name, each in found.items()}


def _facts(path: str) -> TiltFacts:
    """Read a file by the first format that recognises it."""
    with open_unpacked(path) as file:
        head = file.read(_HEAD)
    if not head.strip():
        raise FileError(path, " is empty")
    name = os.path.basename(path).lower()
    for each in TILTS.values():
        known: TiltFormat = each
        if known.recognises(head, name):
            return known.read(path)
    titles = ", ".join(each.title for each in TILTS.values())
    raise FileError(
        path, f" is of no format that tells of a tilt series; there are {titles}"
    )


def merged(
    several: Sequence[TiltFacts], axis: Literal["y", "x"], over: Mapping[str, Any]
) -> TiltSeries:
    """Return the tilt series that several files tell of.

    Parameters
    ----------
    several : sequence of TiltFacts
        What each says; an earlier one wins.
    axis : {"y", "x"}
        See `tilt_series`.
    over : mapping
        Arguments of it that win over all.

    Raises
    ------
    ValueError
        If none says the angles, or two are of other tilts.
    """
    main = _main(several, over)
    options: dict[str, Any] = {}
    sources: dict[str, TiltFacts] = {"angles": main}
    for each in reversed(several):
        options.update(each.settings)
        sources.update(dict.fromkeys(each.settings, each))
    for name in ("dose", "defocus", "phase_shift"):
        found = next((one for one in several if getattr(one, name) is not None), None)
        if found is not None and name not in over:
            options[name] = _of_tilts(main, found, getattr(found, name))
            sources[name] = found
    for each in several:  # also those that say no more than that they are others
        _of_tilts(main, each, np.zeros(each.count))
        if each.rank == BY_THE_WAY and each is not main and _inverted(main, each):
            options.setdefault("hand", 1)
    if "defocus" in sources:
        pair = options["defocus"]
        options["defocus"] = pair.mean(axis=1)
        if "astigmatism" not in over:
            stigma = _astigmatism(main, several, sources["defocus"], pair, axis)
            options["astigmatism"] = stigma
            sources["astigmatism"] = sources["defocus"]
    if "phase_shift" in sources:
        options["phase_shift"] = float(np.mean(options["phase_shift"]))
    options.update({"angles": main.angles, **over})
    if len(np.atleast_1d(options["angles"])) != main.count:
        raise ValueError(
            f"angles must be one for each of the {main.count} tilts of {main.path}, "
            f"not {describe(over['angles'])}"
        )
    try:
        return tilt_series(axis=axis, **options)
    except WrongError as error:
        name = error.name.partition("[")[0]
        if name in over or name not in sources:
            raise
        raise FileError(sources[name].path, ": ", *error.parts) from None


def _main(several: Sequence[TiltFacts], over: Mapping[str, Any]) -> TiltFacts:
    """Return who says the angles, the nearest to the tomogram's."""
    found = [each for each in several if each.angles is not None]
    if not found and "angles" in over:
        angles = np.asarray(tilt_series(over["angles"]).angles)
        return TiltFacts("angles", angles=angles)
    if not found:
        raise FileError(
            ", ".join(each.path for each in several),
            ": no file says the tilt angles: give also a .tlt, .rawtlt, .aln, .mdoc or "
            ".xml, or angles=...",
        )
    main = min(found, key=_rank)
    by_view = np.array_equal(
        np.arange(main.count), [] if main.views is None else main.views
    )
    if main.rank == BY_THE_WAY and not by_view:
        raise FileError(
            main.path, " says angles of ranges of views only: give also a .tlt"
        )
    return main


def _rank(facts: TiltFacts) -> int:
    return facts.rank


def _of_tilts(main: TiltFacts, other: TiltFacts, values: Array) -> Array:
    """Return values, of another file's images, for the tilts of the main one."""
    if other is main:
        return values
    n = main.count
    views = np.arange(n, dtype=float) if main.views is None else main.views
    total = main.total or n
    if other.rank == BY_THE_WAY and other.views is not None:
        return _between(main, other, values, views, total)
    m = other.count
    if other.angles is None:
        if m == n:
            return values
        if m != total:
            also = "" if total == n else f", or {total} with those left out"
            raise FileError(
                other.path,
                f" is of {m} images, but must be of {n}{also}, as {main.path} is",
            )
        return values[views.astype(int)]
    return values[_nearest(main, other)]


def _between(
    main: TiltFacts, other: TiltFacts, values: Array, views: Array, total: int
) -> Array:
    """Return values at views, interpolated between the middles of ranges."""
    known, angles = other.views, other.angles
    if known is None or angles is None:
        return values
    if known.max() > total - 1:
        raise FileError(
            other.path,
            f" is of view {known.max() + 1:g}, but {main.path} has only {total}",
        )
    if not _inverted(main, other):
        _check_apart(main, other, _by_the_way(main, other))
    if values.ndim == 1:
        return np.interp(views, known, values)
    columns = [np.interp(views, known, each) for each in values.T]
    return np.stack(columns, axis=1)


def _by_the_way(main: TiltFacts, other: TiltFacts, sign: int = 1) -> Array:
    """Return how far angles that name views are from those of the main file."""
    views = np.arange(main.count) if main.views is None else main.views
    known, angles = np.asarray(other.views), sign * np.asarray(other.angles)
    inside = (views >= known.min()) & (views <= known.max())
    ours = np.asarray(main.angles)
    return (np.interp(views, known, angles) - ours)[inside]


def _inverted(main: TiltFacts, other: TiltFacts) -> bool:
    """Tell whether angles that name views are the negative of the main file's."""
    same, turned = (_by_the_way(main, other, sign) for sign in (1, -1))
    ours = np.asarray(main.angles)
    return bool(len(same) > 1 and not _fits(same, ours) and _fits(turned, ours))


def _nearest(main: TiltFacts, other: TiltFacts) -> NDArray[np.intp]:
    """Return which of another file's images have the main one's angles.

    All may be apart by one offset, as those of a lamella are; of those that fit the
    smallest is taken.
    """
    ours = np.asarray(main.angles) - main.offset
    theirs = np.asarray(other.angles) - other.offset
    order = np.argsort(theirs, kind="stable")
    ranks = np.argsort(np.argsort(ours, kind="stable"), kind="stable")
    if len(theirs) < len(ours):
        raise FileError(
            other.path,
            f" is of {len(theirs)} tilts, but must be of {len(ours)}, as {main.path} "
            "is",
        )
    if len(ours) == len(theirs):
        chosen = order[ranks]
        _check_apart(main, other, theirs[chosen] - ours)
        return chosen
    offsets = sorted(theirs - ours[np.argmin(ours)], key=abs)
    for offset in [0.0, *offsets]:
        chosen = np.abs(theirs - (ours + offset)[:, None]).argmin(axis=1)
        apart = theirs[chosen] - ours
        same = len(set(chosen.tolist())) == len(ours)
        if same and abs(offset) <= _OFFSET and _fits(apart, ours):
            return chosen
    raise FileError(
        other.path,
        f" is of {len(theirs)} tilts, among which are not the {len(ours)} that "
        f"{main.path} is of",
    )


def _fits(apart: Array, angles: Array) -> bool:
    if not len(apart):
        return True
    steps = np.diff(np.sort(angles))
    step = float(np.median(steps)) if len(steps) else 0.0
    near = max(_LEAST, _NEAR * step)
    middle = float(np.median(apart))
    return bool(abs(middle) <= _OFFSET and np.abs(apart - middle).max() <= near)


def _check_apart(main: TiltFacts, other: TiltFacts, apart: Array) -> None:
    """Refuse angles that are other ones than the main file's."""
    if not _fits(apart, np.asarray(main.angles)):
        worst = np.abs(apart - np.median(apart)).max()
        raise FileError(
            other.path,
            f" is of other tilts than {main.path}: angles are up to {worst:.3g} "
            "degrees apart",
        )


def _astigmatism(
    main: TiltFacts,
    several: Sequence[TiltFacts],
    source: TiltFacts,
    pair: Array,
    axis: str,
) -> Array | None:
    """Return differences of defoci and the first's azimuths in the tomogram, (n, 2)."""
    difference = pair[:, 0] - pair[:, 1]
    if source.azimuth is None or not difference.any():
        return None
    turner = next((each for each in several if each.turn is not None), None)
    if turner is None or turner.turn is None:
        warn(
            f"{source.path}: astigmatism is left out, for no file says how images were "
            "turned before they became the tomogram: give also the .xf, .aln or .mdoc"
        )
        return None
    azimuth = _directions(main, source) + _of_tilts(main, turner, turner.turn)
    if axis == "x":
        azimuth = azimuth + 90
    return np.stack([difference, (azimuth + 90) % 180 - 90], axis=1)


def _directions(main: TiltFacts, source: TiltFacts) -> Array:
    """Return azimuths of axes, which come round at 180 degrees, for the main tilts."""
    double = np.radians(2 * np.asarray(source.azimuth))
    around = np.stack([np.cos(double), np.sin(double)], axis=1)
    cosine, sine = _of_tilts(main, source, around).T
    return np.degrees(np.arctan2(sine, cosine)) / 2
