"""SerialEM's .mdoc of a tilt series: angles as the stage was set, and doses.

A section is an image, with ExposureDose in e/Å², 0 where it was not calibrated;
PriorRecordDose is what the specimen had received before. Where that is missing, the
doses of images that DateTime puts before are summed; without times, of those that stand
before. The title says the tilt axis's angle φ, from the image's y to the axis,
counterclockwise: an image is turned by −φ when it is aligned (IMOD's transforms).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from funpipe.base.errors import FileError
from funpipe.base.extras import in_one_line, require
from funpipe.io.tilt_facts import AS_SET, TiltFacts, TiltFormat, text_of

__all__ = ["FORMAT"]

_AXIS = re.compile(r"[Tt]ilt axis angle\s*=\s*([-+]?\d+(?:\.\d*)?)")
_TIMES = ("%d-%b-%y %H:%M:%S", "%d-%b-%Y %H:%M:%S", "%Y-%b-%d %H:%M:%S")


def _read(path: str) -> TiltFacts:
    """Read an .mdoc (extra ``tilts``: mdocfile)."""
    library = require("mdocfile.data_models", "tilts", "to read .mdoc files")
    text = text_of(path)
    try:
        with _quiet():
            mdoc = library.Mdoc.from_string(text)
    except Exception as error:
        raise FileError(
            path, f" is not a readable .mdoc file: {in_one_line(error)}"
        ) from None
    sections = [each for each in mdoc.section_data if each.TiltAngle is not None]
    if not sections or len(sections) < len(mdoc.section_data):
        raise FileError(path, ": not every section has a TiltAngle: no tilt series")
    angles = np.array([each.TiltAngle for each in sections], float)
    if not np.isfinite(angles).all():
        raise FileError(path, ": a TiltAngle is not a finite number")
    turns = [-float(each) for each in _AXIS.findall("\n".join(mdoc.titles))]
    voltage = mdoc.global_data.Voltage or sections[0].Voltage
    return TiltFacts(
        path,
        angles=angles,
        rank=AS_SET,
        dose=_dose(path, sections),
        turn=np.full(len(angles), turns[0]) if turns else None,
        settings={"voltage": float(voltage)} if voltage else {},
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Let mdocfile not print of each field that it does not know."""
    logger = logging.getLogger("mdocfile")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _dose(path: str, sections: list[Any]) -> NDArray[np.float64] | None:
    """Return the dose before each image, or None where none is known."""
    own = np.array([each.ExposureDose or 0 for each in sections], float)
    prior = [each.PriorRecordDose for each in sections]
    if None not in prior and any(prior):
        return _checked(path, np.array(prior, float))
    if not own.any():
        return None
    before = np.empty(len(own))
    order = _order(sections)
    before[order] = np.cumsum(own[order]) - own[order]
    return _checked(path, before)


def _checked(path: str, dose: NDArray[np.float64]) -> NDArray[np.float64]:
    if not np.isfinite(dose).all() or (dose < -1e-6).any():
        raise FileError(path, ": a dose is negative, or not a finite number")
    return np.maximum(dose, 0)


def _order(sections: list[Any]) -> NDArray[np.intp]:
    """Return the order in which images were taken."""
    times = [_time(each.DateTime) for each in sections]
    if any(each is None for each in times):
        return np.arange(len(sections))
    return np.argsort([each.timestamp() for each in times if each], kind="stable")


def _time(text: str | None) -> datetime | None:
    for each in _TIMES:
        try:
            return datetime.strptime(" ".join((text or "").split()), each)
        except ValueError:
            continue
    return None


def _is_mdoc(head: bytes, name: str) -> bool:
    sections = re.search(rb"(?m)^\[(ZValue|FrameSet) *=", head) is not None
    return sections or name.endswith(".mdoc")


FORMAT = TiltFormat(_read, "SerialEM's .mdoc", _is_mdoc)
