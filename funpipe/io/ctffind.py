"""What CTFFIND, Gctf and AreTomo write of an image's contrast transfer.

A line for each image of the stack, Å: the two defoci, the first's azimuth, from x
towards y, and the phase shift in radians. AreTomo's ``_CTF.txt`` has in a last column
the hand, by which the depth −x tan α of what lies at x from the tilt axis counts
(CGenAvgSpectrum::mScaleTile, CTiltInducedZ of AreTomo3 2.1). Gctf writes a STAR file
like RELION's, see `funpipe.io.relion_tilts`.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from funpipe.base.errors import FileError
from funpipe.base.wording import quoted
from funpipe.io.tilt_facts import (
    TiltFacts,
    TiltFormat,
    in_micrometres,
    table_of,
    text_of,
)

__all__ = ["FORMAT"]

_NUMBER = r"\s*:?\s*([0-9.]+)"
_SETTINGS = {
    "voltage": rf"acceleration voltage{_NUMBER} *keV",
    "spherical_aberration": rf"spherical aberration{_NUMBER} *mm",
    "amplitude_contrast": rf"amplitude contrast{_NUMBER}",
}
_COLUMNS = re.compile(rb"#1 *-? *micrograph number.*?#2 *-? *defocus 1", re.DOTALL)


def _read(path: str) -> TiltFacts:
    """Read lines of contrast transfer."""
    comments = "\n".join(
        each for each in text_of(path).splitlines() if each.lstrip().startswith("#")
    )
    rows = table_of(path)
    if min(map(len, rows)) < 7 or len(set(map(len, rows))) > 1:
        raise FileError(path, " must have as many columns in every line, 7 or more")
    values = np.array(rows)
    views = values[:, 0] - values[:, 0].min()
    order = np.argsort(views, kind="stable")
    if (views[order] != np.arange(len(views))).any():
        raise FileError(path, ": its images are not numbered one by one")
    values = values[order]
    settings = {
        name: _number(path, name, found[1])
        for name, each in _SETTINGS.items()
        if (found := re.search(each, comments))
    }
    return TiltFacts(
        path,
        defocus=in_micrometres(path, values[:, 1:3], "Å"),
        azimuth=values[:, 3],
        phase_shift=np.degrees(values[:, 4]),
        settings={**settings, **_hand(path, comments, values)},
    )


def _number(path: str, name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise FileError(
            path, f": its {name.replace('_', ' ')} is {quoted(text)}, and no number"
        ) from None


def _hand(path: str, comments: str, values: NDArray[np.float64]) -> dict[str, float]:
    """Return the hand where AreTomo says it."""
    found = re.search(r"#(\d{1,9}) *-? *dfHand", comments)
    if not found or int(found[1]) > values.shape[1]:
        return {}
    hands = np.unique(values[:, int(found[1]) - 1])
    if len(hands) > 1 or abs(hands[0]) != 1:
        raise FileError(path, ": dfHand must be 1 or -1, and the same in every line")
    return {"hand": int(hands[0])}


def _is_ctffind(head: bytes, name: str) -> bool:
    return b"CTFFind" in head or _COLUMNS.search(head) is not None


FORMAT = TiltFormat(_read, "CTFFIND's or AreTomo's contrast transfer", _is_ctffind)
