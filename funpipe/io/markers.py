"""Points for ChimeraX: marker sets, and arrows to look at.

Both count in Å, x, y, z. ChimeraX puts the centre of a volume's first voxel at the
origin of its header, which is 0 in tomograms as most programs, and funpipe, write them:
points then lie in the tomogram where the particles are.

- ``.cmm`` is XML: a ``marker_set`` of ``marker`` elements, each with an id, x, y, z, a
  colour r, g, b from 0 to 1, a radius and maybe a note (ChimeraX's User Guide, "Marker
  Placement"; what it and Chimera's Volume Tracer write). Markers hold no rotation.
- ``.bild`` is text, a directive a line: ``.color r g b``, ``.sphere x y z r``,
  ``.arrow x1 y1 z1 x2 y2 z2 r1 r2`` (User Guide, "BILD Format"). It is for looking at:
  what particles it shows is not read from it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any, NoReturn
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from funpipe.base.caller import warn
from funpipe.base.errors import FileError
from funpipe.base.molecules import Molecules
from funpipe.base.sources import read_bytes
from funpipe.base.texts import text_array
from funpipe.base.whole import replacing
from funpipe.base.wording import describe
from funpipe.io.formats import Format

__all__ = [
    "BILD",
    "CMM",
    "read_bild",
    "read_cmm",
    "recognises_cmm",
    "write_bild",
    "write_cmm",
]

_ANGSTROM = 10.0  # in a nm
_LARGEST = 2**27
"""Bytes of the largest document, which takes some ten times as much in memory."""
_RADIUS = 2.0  # nm, of markers where no feature says so
_ARROW = 10.0  # nm
_YELLOW, _BLUE = (1.0, 1.0, 0.0), (0.2, 0.6, 1.0)


def read_cmm(path: str | os.PathLike[str]) -> Molecules:
    """Read the markers of a file, of all its sets; links are left out.

    Parameters
    ----------
    path : path-like
        The marker file.

    Returns
    -------
    Molecules
        Not turned, with the features ``radius`` in nm, and ``note`` where there is one.
    """
    name = os.fspath(path)
    found = [each.attrib for each in _parsed(name).iter("marker")]
    if not found:
        raise FileError(name, " holds no markers")
    numbers = [
        [_number(name, i, each, key) for key in ("z", "y", "x", "radius")]
        for i, each in enumerate(found)
    ]
    *axes, radii = (np.array(each) / _ANGSTROM for each in zip(*numbers, strict=True))
    features: dict[str, Any] = {"radius": radii}
    notes = [each.get("note", "") for each in found]
    if any(notes):
        try:
            features["note"] = text_array(notes)
        except ValueError as error:
            raise FileError(name, f": note: {error}") from None
    return Molecules(np.column_stack(axes), None, features)


def _parsed(name: str) -> Any:
    """Return the elements of a document, of which no part is defined elsewhere."""
    from xml.etree import ElementTree

    content = read_bytes(name, _LARGEST)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FileError(name, " is no readable marker file: it is not text") from None
    if re.search(r"<!\s*(DOCTYPE|ENTITY)", text):
        raise FileError(name, " is no marker file: it defines entities of its own")
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise FileError(name, f" is no readable marker file: {error}") from None
    except ValueError as error:  # an encoding that there is none
        raise FileError(name, f" is no readable marker file: {error}") from None


def _number(name: str, place: int, marker: dict[str, str], key: str) -> float:
    text = marker.get(key, "1" if key == "radius" else "")
    try:
        found = float(text)
    except ValueError:
        found = np.nan
    if not np.isfinite(found):
        where = f"{name}, marker {place + 1}"
        raise FileError(where, f": {key} must be a finite number, not {describe(text)}")
    return found


def write_cmm(molecules: Molecules, path: str | os.PathLike[str]) -> None:
    """Write a set of markers, with the features ``radius`` (nm) and ``note``.

    Parameters
    ----------
    molecules : Molecules
        The particles.
    path : path-like
        Where to; an existing file is replaced, whole or not at all.

    Warns
    -----
    UserWarning
        If a particle is turned, or has other features: markers are points.
    """
    turned = bool((molecules.rotations.magnitude() > 0).any())
    lost = ["rotations"] if turned else []
    lost += [each for each in molecules.features if each not in ("radius", "note")]
    if lost:
        warn(f"ChimeraX's markers are points: left out are {', '.join(lost)}")
    with replacing(path) as partial:
        text = "\n".join(['<marker_set name="funpipe">', *_markers(molecules)])
        partial.write_text(f"{text}\n</marker_set>\n", encoding="utf-8")


def _markers(molecules: Molecules) -> Iterator[str]:
    radii = _radii(molecules)
    notes = molecules.features.get("note")
    colour = " ".join(f'{k}="{v:g}"' for k, v in zip("rgb", _YELLOW, strict=True))
    for i, (x, y, z) in enumerate(_xyz(molecules.positions).tolist()):
        note = "" if notes is None or not notes[i] else f" note={_quoted(notes[i])}"
        yield (
            f'<marker id="{i + 1}" x="{x:.4f}" y="{y:.4f}" z="{z:.4f}" {colour} '
            f'radius="{radii[i]:.6g}"{note}/>'
        )


_UNWRITABLE = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _quoted(value: Any) -> str:
    """Return a text as an attribute, without characters that XML has not."""
    text = _UNWRITABLE.sub("\ufffd", str(value))
    return quoteattr(text, {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"})


def _radii(molecules: Molecules) -> NDArray[np.float64]:
    """Return radii in Å: what a feature says, where it says something."""
    given = molecules.features.get("radius")
    usual = np.full(len(molecules), _RADIUS * _ANGSTROM)
    if given is None or given.dtype.kind not in "iuf":
        return usual
    with np.errstate(over="ignore"):
        own = given.astype(np.float64) * _ANGSTROM
    return np.where(np.isfinite(own) & (own > 0), own, usual)


def write_bild(molecules: Molecules, path: str | os.PathLike[str]) -> None:
    """Write a ball for each particle, and an arrow of 10 nm along its z axis.

    Parameters
    ----------
    molecules : Molecules
        The particles; of their features ``radius``, nm, is that of the balls.
    path : path-like
        Where to; an existing file is replaced, whole or not at all.
    """
    starts = _xyz(molecules.positions)
    along = molecules.rotations.apply([1.0, 0.0, 0.0]).reshape(-1, 3)
    ends = starts + _ARROW * _ANGSTROM * along[:, ::-1]
    radii = _radii(molecules)
    thin = _ARROW * _ANGSTROM / 20
    lines = [
        f".comment {len(molecules)} particles of funpipe; arrows are their z axes",
        _colour(_YELLOW),
        *(f".sphere {_row(at)} {r:.6g}" for at, r in zip(starts, radii, strict=True)),
        _colour(_BLUE),
        *(
            f".arrow {_row(start)} {_row(end)} {thin:g} {2.5 * thin:g}"
            for start, end in zip(starts, ends, strict=True)
        ),
    ]
    with replacing(path) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_bild(path: str | os.PathLike[str]) -> NoReturn:
    """Refuse to read: shapes do not say which particles they were drawn for."""
    raise FileError(
        os.fspath(path),
        ": BILD files are shapes to look at in ChimeraX, and are only written: read "
        "the list that they were drawn from",
    )


def _colour(colour: tuple[float, float, float]) -> str:
    return f".color {' '.join(f'{each:g}' for each in colour)}"


def _row(point: NDArray[np.float64]) -> str:
    return " ".join(f"{each:.4f}" for each in point)


def _xyz(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return positions as x, y, z in Å."""
    with np.errstate(over="ignore"):
        found = positions[:, ::-1] * _ANGSTROM + 0.0
    if not np.isfinite(found).all():
        raise ValueError("positions in Å must be finite")
    return np.asarray(found)


def recognises_cmm(head: bytes) -> bool:
    """Tell whether a file begins as marker sets do."""
    return head.lstrip().startswith(b"<") and b"<marker" in head


CMM = Format(
    read_cmm,
    write_cmm,
    (".cmm",),
    frozenset(),
    recognises_cmm,
    "markers of ChimeraX",
    counts_in="nm",
)

BILD = Format(
    read_bild,
    write_bild,
    (".bild", ".bld"),
    frozenset(),
    title="arrows for ChimeraX, written only",
    counts_in="nm",
)
