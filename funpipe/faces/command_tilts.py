"""What the command line is told of the tilts of one tomogram, or of many."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from funpipe.base.errors import FileError
from funpipe.base.molecules import Molecules
from funpipe.base.wording import listed
from funpipe.boxes.opening import Tomogram
from funpipe.io.tilts import holds_many, read_listed_tilts, read_tilts
from funpipe.io.tomogram_files import alike
from funpipe.space.tilts import single_axis

__all__ = ["tilted", "tilted_files"]


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
        return tomogram, _of_all(options)
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
    if not isinstance(tomogram, dict):
        return tomogram, read_tilts(*files, axis=options.tilt_axis)
    several = f"{options.particles} has particles of {len(tomogram)} tomograms"
    return _each_with_its_own(tomogram, files, options.tilt_axis, several), None


def tilted_files(
    tomograms: Mapping[str, Any], options: argparse.Namespace
) -> tuple[dict[str, Any], Any]:
    """Return tomograms that are searched, each with its tilts, and the tilt of all.

    Parameters
    ----------
    tomograms : dict from names to paths or Tomograms
        By their files' names. Where RELION's tomograms file tells of the tilts, they
        get its names.
    options : argparse.Namespace
        With ``tilt``, ``tilts`` and ``tilt_axis``.
    """
    files = options.tilts
    known = any(isinstance(each, Tomogram) for each in tomograms.values())
    if known and (files or options.tilt):
        option = "--tilts" if files else "--tilt"
        raise ValueError(
            f"{option} must be left out: {options.tomograms[0]} tells of the tilts"
        )
    if not files:
        return dict(tomograms), _of_all(options)
    if len(files) == 1 and holds_many(files[0]):
        series = read_listed_tilts(files[0])
        found: dict[str, Any] = {}
        for name, path in tomograms.items():
            there = alike(
                name, {each.removesuffix(".tomostar"): each for each in series}
            )
            if len(there) != 1 or there[0] in found:
                raise FileError(
                    files[0],
                    f" has the tilt series of {listed(series)}, of which "
                    f"{listed(there) or 'none'} could be that of {path}",
                )
            found[there[0]] = Tomogram(path, tilt=series[there[0]])
        return found, None
    if len(tomograms) == 1:
        return dict(tomograms), read_tilts(*files, axis=options.tilt_axis)
    several = f"there are {len(tomograms)} tomograms"
    return _each_with_its_own(tomograms, files, options.tilt_axis, several), None


def _of_all(options: argparse.Namespace) -> Any:
    return options.tilt and single_axis(tuple(options.tilt), options.tilt_axis)


def _each_with_its_own(
    tomograms: Mapping[str, Any], files: list[str], axis: Any, several: str
) -> dict[str, Any]:
    """Return tomograms with the tilt series whose files have the tomogram's name."""
    instead = "give RELION's tomograms.star, or files of each, named like it"
    names = {name: name for name in tomograms}
    its_own: dict[str, list[str]] = {name: [] for name in tomograms}
    for file in files:
        fitting = alike(os.path.basename(file).partition(".")[0], names)
        if len(fitting) != 1:
            raise ValueError(
                f"--tilts {file} is of one tilt series, but {several}, and its name is "
                f"that of {listed(fitting) or 'none'}: {instead}"
            )
        its_own[fitting[0]].append(file)
    without = [name for name, some in its_own.items() if not some]
    if without:
        raise ValueError(
            f"--tilts {files[0]} is of one tilt series, but {several}, also "
            f"{listed(without)}: {instead}"
        )
    return {
        name: Tomogram(path, tilt=read_tilts(*its_own[name], axis=axis))
        for name, path in tomograms.items()
    }
