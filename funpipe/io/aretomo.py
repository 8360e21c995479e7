"""AreTomo's .aln: tilt angles as they were aligned, and how images are turned.

TILT, with AlphaOffset in it, is taken as it is: RELION 5 writes it into rlnTomoYTilt,
and ROT into rlnTomoZRot (align_tilt_series/aretomo/utils.py). So an azimuth in the
tomogram is ROT less than in the image, which AreTomo turns by −ROT (CSaveXF.cpp). Dark
images, which have their places in the stack from 0 (CDarkFrames.cpp), are left out; a
``_CTF.txt`` has a line for these too, see `funpipe.io.ctffind`.
"""

from __future__ import annotations

import numpy as np

from funpipe.base.errors import FileError
from funpipe.base.extras import in_one_line, require
from funpipe.io.tilt_facts import ALIGNED, TiltFacts, TiltFormat, text_of

__all__ = ["FORMAT"]


def _read(path: str) -> TiltFacts:
    """Read an .aln (extra ``tilts``: alnfile)."""
    library = require("alnfile.data_model", "tilts", "to read .aln files")
    text = text_of(path)
    try:
        found = library.AlnData.from_string(text)
    except Exception as error:
        raise FileError(
            path, f" is not a readable .aln file: {in_one_line(error)}"
        ) from None
    rows = found.GlobalAlignments
    angles = np.array([each.tilt for each in rows], float)
    turn = -np.array([each.rot for each in rows], float)
    if not len(angles) or not np.isfinite([angles, turn]).all():
        raise FileError(path, " has no aligned images, or angles that are not finite")
    total = int(found.RawSize[2])
    dark = {each.section_idx for each in found.DarkFrames}
    views = np.array([i for i in range(total) if i not in dark], float)
    if len(views) != len(angles):
        raise FileError(
            path,
            f" has {len(angles)} aligned images, but {total} less {len(dark)} dark "
            "ones are in the stack: is it cut short?",
        )
    return TiltFacts(
        path,
        angles=angles,
        rank=ALIGNED,
        offset=float(found.AlphaOffset or 0),
        turn=turn,
        views=views,
        total=total,
    )


def _is_aln(head: bytes, name: str) -> bool:
    return b"# AreTomo Alignment" in head[:200] or name.endswith(".aln")


FORMAT = TiltFormat(_read, "AreTomo's .aln", _is_aln)
