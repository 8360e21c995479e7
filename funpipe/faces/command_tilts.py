"""What the command line is told of the tilts of one tomogram, or of many."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from funpipe.base.errors import FileError
from funpipe.base.molecules import Molecules
from funpipe.base.wording import listed
from funpipe.boxes.opening import Tomogram
from funpipe.io.tilts import holds_many, read_listed_tilts, read_tilts
from funpipe.space.tilts import single_axis

__all__ = ["tilted"]


def tilted(
    tomogram: Any, molecules: Molecules, options: argparse.Namespace
) -> tuple[Any, Any]:
    """Return the tomogram, or tomograms with a tilt series each, and the tilt of all.

    Parameters
    ----------
    tomogram : path, or dict from names to paths
        One, or many.
    molecules : Molecules
        Their feature ``tomogram`` names the one of each.
    options : argparse.Namespace
        With ``tilt``, ``tilts`` and ``tilt_axis``.
    """
    files = options.tilts
    if not files:
        of_all = options.tilt and single_axis(tuple(options.tilt), options.tilt_axis)
        return tomogram, of_all
    names = np.unique(molecules.features.get("tomogram", np.array([], str))).tolist()
    if len(files) == 1 and holds_many(files[0]):
        series = read_listed_tilts(files[0])
        if not names and len(series) == 1:
            names = list(series)
        missing = [each for each in map(str, names) if each not in series]
        if missing or not names:
            raise FileError(
                files[0],
                f" has the tilt series of {listed(series)}, but the particles are in "
                f"{listed(missing) or 'one that their list does not name'}",
            )
        if not isinstance(tomogram, dict):
            return tomogram, series[str(names[0])]
        each_its = {
            name: Tomogram(path, tilt=series[str(name)])
            for name, path in tomogram.items()
        }
        return each_its, None
    if isinstance(tomogram, dict):
        raise ValueError(
            f"--tilts {files[0]} is of one tilt series, but {options.particles} has "
            f"particles of {len(tomogram)} tomograms: give RELION's tomograms.star"
        )
    return tomogram, read_tilts(*files, axis=options.tilt_axis)
