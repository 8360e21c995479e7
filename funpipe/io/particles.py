"""Particle lists in and out, of whatever program: `read_molecules`, `write_molecules`.

Which point of a reference a list's position means
    RELION, Dynamo, STOPGAP and EM motive lists mean voxel n // 2 of the box. The
    centre of a template here is (n − 1) / 2: the same for odd n; for even n half a
    voxel before it, along each axis of the reference. Positions come in as the lists
    have them. That is all there is to it for averages made here; who goes on with
    the *map* of such a program as template passes ``box=(n, scale)`` both ways, and
    positions are moved by R @ ((n − 1) / 2 − n // 2) · scale when they are read, and
    back when they are written.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from funpipe.base import arguments as check
from funpipe.base.errors import (
    Argument,
    FileError,
    Part,
    WrongTypeError,
    WrongValueError,
)
from funpipe.base.molecules import Molecules, as_molecules
from funpipe.base.sources import check_source
from funpipe.base.wording import fail
from funpipe.io.formats import HEAD, Format, Table

__all__ = [
    "FORMATS",
    "LISTS",
    "files_of",
    "format_of",
    "format_to_write",
    "known_lists",
    "lists_known",
    "read_molecules",
    "write_molecules",
]


_SIZES = ("apix", "apix_unbin", "voxel_spacing")
"""Features of lists that say the size of their voxels in Å."""
_NONE = np.zeros(1)

LISTS = {
    "relion": "funpipe.io.relion:FORMAT",
    "stopgap": "funpipe.io.stopgap:FORMAT",
    "m": "funpipe.io.m_species:FORMAT",
    "warp": "funpipe.io.warp:FORMAT",
    "dynamo": "funpipe.io.dynamo:FORMAT",
    "em": "funpipe.io.em:FORMAT",
    "portal": "funpipe.io.portal:FORMAT",
    "copick": "funpipe.io.copick:FORMAT",
    "eman2": "funpipe.io.eman2:FORMAT",
    "cryosparc": "funpipe.io.cryosparc:FORMAT",
    "peet": "funpipe.io.peet:FORMAT",
    "mod": "funpipe.io.mod:FORMAT",
    "cmm": "funpipe.io.markers:CMM",
    "bild": "funpipe.io.markers:BILD",
    "csv": "funpipe.io.tables:CSV",
    "parquet": "funpipe.io.tables:PARQUET",
}
"""Where the record of each format is: a new one is a line here, and its module."""

FORMATS: Mapping[str, Format] = Table(LISTS)


def read_molecules(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    scale: float | None = None,
    tomograms: Any = None,
    first: float | None = None,
    box: tuple[int, float] | None = None,
) -> Molecules:
    """Read a particle list.

    Parameters
    ----------
    path : path-like
        RELION 3.0 to 5, Warp, M or STOPGAP ``.star`` (extra ``star``), Dynamo ``.tbl``
        (``dynamo``), EM motive list ``.em`` (``em``), CryoET Data Portal
        ``.ndjson``, copick ``.json``, EMAN2 ``_info.json``, PEET ``_MOTL.csv`` beside
        its model and IMOD ``.mod`` (``imod``), ChimeraX's markers ``.cmm``, acryo,
        cylindra or plain ``.csv``, ``.parquet`` (``parquet``). cryoSPARC's ``.cs`` hold
        no particles of tomograms, and ``.bild`` only shapes, which an error says.
    format : str, optional
        ``relion stopgap m warp dynamo em portal copick eman2 cryosparc peet mod cmm
        bild csv parquet``; by default what the content, or else the ending, says.
    scale : float, optional
        nm per voxel of the coordinates, where the file does not say it, or wrongly.
    tomograms : path-like, mapping, (z, y, x) or 'centred', optional
        For the centred coordinates of RELION 5 and EMAN2, and the picks of Warp, which
        are parts of the tomogram's size: RELION's tomograms file, a volume, shapes in
        voxels or volumes by tomogram, or one shape; ``'centred'`` counts from the
        tomogram's centre.
    first : float, optional
        What a Dynamo, STOPGAP or EM list calls the centre of the first voxel: 0, 0.5
        or 1. By default what those programs do: Dynamo 0.5, the others 1.
    box : (int, float), optional
        Voxels along the box of the program's reference and its scale in nm: puts
        positions at the box's centre (n − 1) / 2 rather than at voxel n // 2.

    Returns
    -------
    Molecules
        Positions in nm from the centre of the tomogram's first voxel, z, y, x. All
        columns come along as features; the tomogram's name is ``tomogram``.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, PermissionError
        If there is no such file, or it may not be read.
    ImportError
        If the format needs a library that is not there; it names the extra.
    ValueError
        If the file is damaged or of an unknown format, or something has to be given.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "picks.ndjson")
    >>> with open(path, "w") as file:
    ...     _ = file.write('{"type": "point", "location": {"x": 1, "y": 2, "z": 3}}')
    >>> read_molecules(path, scale=0.5).positions
    array([[1.5, 1. , 0.5]])
    >>> folder.cleanup()
    """
    name = check.path("path", path)
    kind = format_of(name, format)
    options = _options(kind, scale=scale, tomograms=tomograms, first=first, box=box)
    middle = _centre_offset(options.pop("box", None))
    try:
        with np.errstate(all="ignore"):  # what is not finite is refused
            molecules = FORMATS[kind].read(name, **options)
    except WrongValueError as error:
        raise error.within(name) from None
    except WrongTypeError as error:
        facts = {"name": error.name, "wanted": error.wanted, "value": error.value}
        raise FileError(name, ": ", *error.parts, **facts) from None
    except (TypeError, ValueError) as error:
        raise FileError(name, f": {error}") from None
    return _moved(molecules, middle)


def write_molecules(
    molecules: Any,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    like: str | os.PathLike[str] | None = None,
    scale: float | None = None,
    tomograms: Any = None,
    first: float | None = None,
    box: tuple[int, float] | None = None,
) -> None:
    """Write a particle list, whole or not at all.

    Parameters
    ----------
    molecules : Molecules, (n, 3) array, or object with .pos and .rotator
        The particles. Features that came out of a file of the same format go into
        it under their own names, unchanged where the pose is.
    path : path-like
        Where to; an existing file is replaced. See `read_molecules` for the formats;
        ``.bild`` are balls and arrows along z to look at in ChimeraX.
    format : str, optional
        By default what the ending says, and for ``.star`` and ``.json`` what ``like``
        is.
    like : path-like, optional
        A list to write one like: in STAR files its columns' kind and order and its
        other blocks (optics groups), in JSON what is not of single particles; the
        scale from a list of any format.
    scale : float, optional
        nm per voxel of the coordinates; by default what the features or ``like`` say.
    tomograms : path-like, mapping, (z, y, x) or 'centred', optional
        As in `read_molecules`.
    first : float, optional
        As in `read_molecules`.
    box : (int, float), optional
        As in `read_molecules`.

    Raises
    ------
    OSError
        If it cannot be written there.
    ImportError
        If the format needs a library that is not there; it names the extra.
    ValueError
        If the format is unknown, cannot hold something, or something has to be given.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "picks.ndjson")
    >>> write_molecules([[1.5, 1.0, 0.5]], path, scale=0.5)
    >>> read_molecules(path, scale=0.5)
    Molecules(1 particle, features: type)
    >>> folder.cleanup()
    """
    particles = as_molecules("molecules", molecules)
    if len(particles) == 0:
        raise ValueError("molecules must be one particle or more, not none")
    name = check.path("path", path)
    model = None if like is None else _kind(check.path("like", like))
    kind = _chosen(format) if format is not None else _by_ending(name, model)
    options = _options(kind, scale=scale, tomograms=tomograms, first=first, box=box)
    if "like" in FORMATS[kind].takes and model == kind:
        options["like"] = like
    if "scale" in FORMATS[kind].takes and FORMATS[kind].counts_in != "nm":
        options.setdefault("scale", _known_scale(kind, particles, like, model))
    middle = _centre_offset(options.pop("box", None))
    FORMATS[kind].write(_moved(particles, -middle), name, **options)


def format_of(path: str | os.PathLike[str], format: str | None = None) -> str:
    """Return the format of a list: what it is told to be, or else what it looks like.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, PermissionError
        If there is no such file, or it may not be read.
    ValueError
        If the format is unknown.
    """
    name = check.path("path", path)
    check_source(name)
    return _chosen(format) if format is not None else _kind(name)


def format_to_write(path: str | os.PathLike[str], model: str | None = None) -> str:
    """Return the format that a file's ending says; of STAR files, the model's.

    Examples
    --------
    >>> format_to_write("list.tbl"), format_to_write("list.star", "stopgap")
    ('dynamo', 'stopgap')
    """
    return _by_ending(check.path("path", path), model)


def files_of(path: str | os.PathLike[str], format: str) -> list[str]:
    """Return the paths of a list's files: its own, and maybe one beside it.

    Examples
    --------
    >>> files_of("a.star", "relion"), files_of("a.tbl", "dynamo")
    (['a.star'], ['a.tbl', 'a.doc'])
    """
    name, beside = os.fspath(path), FORMATS[format].beside
    return [name] if beside is None else [name, beside(name)]


def known_lists() -> str:
    """Say which files are particle lists, in a few words.

    Examples
    --------
    >>> known_lists()[:53]
    'a particle list is one of .star .tbl .em .ndjson .jso'
    """
    return "".join(map(str, lists_known()))


def lists_known() -> tuple[Part, ...]:
    """Return what `known_lists` says, as parts of an error."""
    endings = dict.fromkeys(one for each in FORMATS.values() for one in each.endings)
    return (
        f"a particle list is one of {' '.join(endings)}, or of what ",
        Argument("format", "..."),
        f" says: {' '.join(FORMATS)}",
    )


def _chosen(format: str) -> str:
    if not isinstance(format, str) or format not in FORMATS:
        fail("format", f"one of {' '.join(FORMATS)}", format)
    return format


def _kind(name: str) -> str:
    """Tell the format of a file by its content, or else by its ending."""
    check_source(name)
    with open(name, "rb") as file:
        start = file.read(HEAD)
    for kind in reversed(list(FORMATS)):
        recognises = FORMATS[kind].recognises
        if recognises is not None and recognises(start):
            return kind
    return _by_ending(name)


def _by_ending(name: str, model: str | None = None) -> str:
    """Return the format that a name's ending says; of several with it, the model's."""
    lower = Path(name).name.lower()
    found = [
        (len(ending), kind)
        for kind, each in FORMATS.items()
        for ending in each.endings
        if lower.endswith(ending)
    ]
    if not found:
        stack = "; .mrcs is a stack of 2-D images" if lower.endswith(".mrcs") else ""
        raise FileError(name, ": unknown ending; ", *lists_known(), stack)
    longest = max(found)[0]
    kinds = [kind for length, kind in found if length == longest]
    return model if model in kinds else kinds[0]


def _options(kind: str, **given: Any) -> dict[str, Any]:
    """Return the options that were given, checked; refuse what means nothing here."""
    if given["scale"] is not None:
        given["scale"] = check.positive("scale", given["scale"])
    first = given["first"]
    if first is not None and (
        isinstance(first, bool)
        or not isinstance(first, Real)
        or first not in (0, 0.5, 1)
    ):
        fail("first", "0, 0.5 or 1", first)
    options = {name: value for name, value in given.items() if value is not None}
    for name in options:
        if name not in FORMATS[kind].takes:
            text = f" means nothing to a list of format {kind!r}"
            raise WrongValueError(Argument(name, "..."), text, name=name)
    return options


def _known_scale(
    kind: str, molecules: Molecules, like: Any, model: str | None
) -> float | None:
    """Return the scale that ``like`` says, or else the features."""
    from funpipe.io.relion_poses import pixel_size

    keeps = FORMATS[kind].keeps_scale
    if kind == model and keeps == "particle":
        return None  # it is with the optics groups
    says = None if model is None else FORMATS[model].scale_of
    if says is not None and (model != kind or keeps == "list"):
        found = says(like)
        if found is not None:
            return found
    sizes = pixel_size("features", molecules.features)
    if sizes is None:
        named = (molecules.features.get(each) for each in _SIZES)
        sizes = next((np.asarray(each) for each in named if each is not None), _NONE)
    elif keeps == "particle":
        return None  # they have it
    if sizes.dtype.kind not in "if" or sizes.min() <= 0 or np.ptp(sizes) > 1e-6:
        return None
    return float(sizes[0]) / 10


def _centre_offset(box: Any) -> float:
    """Return how far a box's centre is from voxel n // 2, in nm along each axis."""
    if box is None:
        return 0.0
    try:
        voxels, scale = box
    except (TypeError, ValueError):
        fail("box", "a pair (voxels, scale in nm)", box)
    voxels = check.positive_integer("box[0]", voxels)
    return ((voxels - 1) / 2 - voxels // 2) * check.positive("box[1]", scale)


def _moved(molecules: Molecules, offset: float) -> Molecules:
    """Return molecules moved by the offset along each axis of the reference."""
    if offset == 0:
        return molecules
    positions = molecules.positions + molecules.rotations.apply([offset] * 3)
    return Molecules(positions, molecules.rotations, molecules.features)
