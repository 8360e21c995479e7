"""The command ``search``: picks of whole tomograms."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from funpipe.base.molecules import Molecules
from funpipe.boxes.listed import read_tomograms
from funpipe.boxes.opening import open_all
from funpipe.faces.command_lists import format_written, in_nm, rehearse, write_list
from funpipe.faces.command_tilts import tilted_files
from funpipe.faces.command_values import (
    only,
    pipeline,
    region,
    rotations,
    templates,
)
from funpipe.io.volumes import volume_stem
from funpipe.jobs.picking import PICKED, search
from funpipe.space.tilts import no_tilt

__all__ = ["searched"]


def searched(options: argparse.Namespace) -> str:
    """Search, write the picks, and return what there is to say of them."""
    target = format_written(options)
    tomograms, tilt = tilted_files(_named(options.tomograms), options)
    scale = None
    sources = open_all(tomograms, options.scale, no_tilt)
    if not in_nm(target):
        scale = sources[0].scale
    _rehearse(options, target, [str(each.name) for each in sources], scale)
    asked = options.background
    picks = search(
        tomograms,
        template=templates(options.template),
        mask=None if options.mask is None else pipeline("--mask", options.mask),
        scale=options.scale,
        tilt=tilt,
        rotations=rotations(options.rotations),
        spacing=options.spacing,
        resolution=options.resolution,
        symmetry=options.symmetry,
        distance=options.distance,
        count=options.count,
        threshold=options.threshold,
        false_discovery_rate=options.false_discovery_rate,
        false_alarms=options.false_alarms,
        region=region(options.region, tomograms),
        background=None if asked is None else only(asked),
        tophat=options.tophat,
        whiten=options.whiten,
        exact=options.exact,
        record=options.record,
        maps=options.maps,
        checkpoint=options.checkpoint,
        progress=not options.no_progress,
    )
    if not len(picks):
        return f"0 particles found; {options.out} is not written"
    write_list(picks, options, options.out, target, scale=scale)
    return f"{_told(picks)}; written to {options.out}"


def _named(paths: list[str]) -> Mapping[str, Any]:
    """Return tomograms by their files' names, or those that RELION's file names."""
    if len(paths) == 1 and Path(paths[0]).suffix.lower() == ".star":
        return read_tomograms(paths[0])
    named: dict[str, str] = {}
    for path in paths:
        name = volume_stem(Path(path).name) or Path(path).name
        if name in named:
            raise ValueError(
                f"tomograms must have names that differ, but {named[name]} and {path} "
                f"are both {name!r}"
            )
        named[name] = path
    return named


def _rehearse(
    options: argparse.Namespace, target: str, names: list[str], scale: float | None
) -> None:
    """Write picks of nothing, which are thrown away: what fails, fails now."""
    nothing = np.zeros(len(names))
    asked = {"background": options.background, "tophat": options.tophat}
    told = (*PICKED, *(name for name, each in asked.items() if each is not None))
    features: dict[str, Any] = {**dict.fromkeys(told, nothing), "tomogram": names}
    some = Molecules(np.zeros((len(names), 3)), features=features)
    rehearse(some, options, target, None, scale)


def _told(picks: Molecules) -> str:
    """Say how many picks there are, and of which scores."""
    score = picks.features["score"]
    share = picks.features.get("false_discovery_rate")
    count = len(np.unique(picks.features["tomogram"]))
    where = f"{count} tomogram{'s' * (count > 1)}"
    text = (
        f"{len(picks)} particle{'s' * (len(picks) > 1)} found in {where}; "
        f"scores from {score.max():.3f} to {score.min():.3f}"
    )
    if share is not None:
        text += f"; {share.max():.2g} of them are expected to be false"
    alarms = picks.features.get("false_alarms")
    if alarms is not None:
        text += f"; noise has {alarms.max():.2g} in each that score as much"
    return text
