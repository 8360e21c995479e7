"""Warp's .xml of a tilt series.

Warp puts what lies at x, z of the volume at the depth x sin θ + z cos θ in a tilt, with
θ the sum of Angles and LevelAngleY, and its defocus to that of GridCTF and the depth
(TiltSeries.cs, GetPositionInAllTilts; warpylib's positions.py): so α is −θ, and the
hand is 1; where AreAnglesInverted it subtracts the depth, and the hand is −1. Numbers
that Warp itself printed for 27 places and 41 tilts agree, see the tests. Defoci are µm,
GridCTFDefocusDelta is the larger less the smaller one, phase shifts are in π, Dose is
e/Å² before the tilt. An azimuth in the volume is AxisAngle less than in the image. A
grid over the image counts by its mean, tilts that are not used are left out.

Entities are refused where they are declared: a few lines of them could fill the memory.
"""

from __future__ import annotations

from typing import Any, NoReturn
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from funpipe.base.caller import warn
from funpipe.base.errors import FileError
from funpipe.io.tilt_facts import (
    ALIGNED,
    TiltFacts,
    TiltFormat,
    in_micrometres,
    text_of,
)

__all__ = ["FORMAT", "warn_of_other_axis"]

_OTHER = 2.0  # degrees about another axis that are worth a word
_SETTINGS = {
    "Voltage": "voltage",
    "Cs": "spherical_aberration",
    "Amplitude": "amplitude_contrast",
}


def _read(path: str) -> TiltFacts:
    """Read the .xml of a tilt series."""
    root = _parsed(path)
    if root.tag != "TiltSeries" or root.find("Angles") is None:
        raise FileError(
            path,
            f" holds <{root.tag}>, and not <TiltSeries> with <Angles>: no tilt series "
            "of Warp's",
        )
    angles = _column(path, root, "Angles")
    count = len(angles)
    used = _used(path, root, count)
    warn_of_other_axis(path, _attribute(path, root, "LevelAngleX"))
    level = _attribute(path, root, "LevelAngleY")
    theta = angles + level
    inverted = root.get("AreAnglesInverted", "False").strip().lower() == "true"
    defocus = _grid(path, root, "GridCTF", count)
    columns: dict[str, Any] = {}
    if defocus is not None and defocus.any():
        difference = _grid(path, root, "GridCTFDefocusDelta", count)
        half = np.zeros(count) if difference is None else difference / 2
        both = np.stack([defocus + half, defocus - half], axis=1)
        columns["defocus"] = in_micrometres(path, both[used], "µm")
        azimuth = _grid(path, root, "GridCTFDefocusAngle", count)
        columns["azimuth"] = None if azimuth is None else azimuth[used]
    for name, tag, unit in (("dose", "Dose", 1), ("turn", "AxisAngle", -1)):
        if root.find(tag) is not None:
            columns[name] = unit * _column(path, root, tag, count)[used]
    phase = _grid(path, root, "GridCTFPhase", count)
    return TiltFacts(
        path,
        angles=np.round(-theta[used], 6),
        rank=ALIGNED,
        offset=-level,
        phase_shift=None if phase is None else 180 * phase[used],
        views=used.astype(float),
        total=count,
        settings={"hand": -1 if inverted else 1, **_settings(path, root)},
        **columns,
    )


def warn_of_other_axis(path: str, tilt: float) -> None:
    """Warn of a tilt about a third axis, which is left out, in degrees."""
    if abs(tilt) > _OTHER:
        warn(
            f"{path}: the specimen was also tilted by {tilt:.1f} degrees across the "
            "tilt axis, which is left out"
        )


class _Refusing(ElementTree.TreeBuilder):
    """Builds a tree, and is told of a document type before anything else."""

    def doctype(self, *_: Any) -> NoReturn:
        """Refuse a document type: with one, entities can be declared."""
        raise _DoctypeError


class _DoctypeError(Exception):
    pass


def _parsed(path: str) -> ElementTree.Element:
    text = text_of(path)
    declaration = text.find("?>") + 2 if text.lstrip().startswith("<?xml") else 0
    parser = ElementTree.XMLParser(target=_Refusing())
    try:
        parser.feed(text[declaration:])
        return parser.close()
    except _DoctypeError:
        raise FileError(
            path, " declares a document type, which no file of Warp's does"
        ) from None
    except (ElementTree.ParseError, expat.ExpatError) as error:
        raise FileError(path, f" is not a readable .xml file: {error}") from None


def _numbers(path: str, what: str, texts: list[str]) -> NDArray[np.float64]:
    try:
        found = np.array([float(each) for each in texts])
    except ValueError:
        found = np.array([np.nan])
    if not np.isfinite(found).all():
        raise FileError(path, f": {what} is not of finite numbers")
    return found


def _column(
    path: str, root: ElementTree.Element, tag: str, count: int | None = None
) -> NDArray[np.float64]:
    """Return what an element has, a line for each tilt."""
    found = _numbers(path, f"<{tag}>", (root.findtext(tag) or "").split())
    if len(found) != (count or len(found)) or not len(found):
        raise FileError(
            path, f": <{tag}> is of {len(found)} tilts, <Angles> of {count}"
        )
    return found


def _used(path: str, root: ElementTree.Element, count: int) -> NDArray[np.intp]:
    texts = (root.findtext("UseTilt") or "True " * count).split()
    if len(texts) != count:
        raise FileError(
            path, f": <UseTilt> is of {len(texts)} tilts, <Angles> of {count}"
        )
    used = np.flatnonzero([each.lower() == "true" for each in texts])
    if not len(used):
        raise FileError(path, " uses no tilt")
    return used


def _attribute(path: str, root: ElementTree.Element, name: str) -> float:
    return float(_numbers(path, name, [root.get(name) or "0"])[0])


def _grid(
    path: str, root: ElementTree.Element, tag: str, count: int
) -> NDArray[np.float64] | None:
    """Return a grid's mean over the image at each tilt."""
    element = root.find(tag)
    if element is None:
        return None
    nodes = list(element.iter("Node"))
    z = _numbers(path, f"<{tag}>", [each.get("Z") or "0" for each in nodes])
    values = _numbers(path, f"<{tag}>", [each.get("Value") or "" for each in nodes])
    if not len(values):
        return None
    layers = np.unique(z)
    means = np.array([values[z == each].mean() for each in layers])
    if len(means) == 1:
        return np.full(count, means[0])
    if len(means) != count:
        raise FileError(
            path, f": <{tag}> is of {len(means)} tilts, <Angles> of {count}"
        )
    return means


def _settings(path: str, root: ElementTree.Element) -> dict[str, float]:
    found = {each.get("Name"): each.get("Value") for each in root.findall("CTF/Param")}
    return {
        name: float(_numbers(path, f"{theirs} of <CTF>", [str(found[theirs])])[0])
        for theirs, name in _SETTINGS.items()
        if theirs in found
    }


def _is_xml(head: bytes, name: str) -> bool:
    return b"<TiltSeries" in head or name.endswith(".xml")


FORMAT = TiltFormat(_read, "Warp's .xml", _is_xml)
