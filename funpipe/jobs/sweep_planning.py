"""The arguments of a search, checked before any work starts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from funpipe.base import arguments as check
from funpipe.base.errors import Argument, WrongValueError
from funpipe.base.wording import fail, listed
from funpipe.boxes.opening import (
    Source,
    check_fits,
    common_scale,
    in_tomogram,
    open_all,
)
from funpipe.boxes.region import Region
from funpipe.boxes.tiles import scanned
from funpipe.engine.basis import ball_of
from funpipe.jobs.backgrounds import Background, background_of
from funpipe.jobs.choosing import Wanted
from funpipe.jobs.findings import seen_of_templates, warn_of_findings
from funpipe.jobs.looking import LookedFor, Place
from funpipe.jobs.preparing import Prepared, masked_templates, prepare_all
from funpipe.jobs.regions import region_of
from funpipe.jobs.working import Running
from funpipe.space.geometry import RotationGrid, rotation_grid, whole_grid
from funpipe.space.tilts import Tilt

__all__ = ["Given", "looked_for"]

_FINE = 5.0  # periods in a template's diameter, where nothing is said
_WIDEST = 30.0  # degrees between rotations, where nothing is said
_SPACINGS = 1.0, 90.0  # degrees, the least and the most
_PEAKS = 600.0  # of white noise, which say how often chance scores how much
_MORE = 2.0  # times as many as are wanted, likewise
_GRID = 0.8  # of a score, what it may be at the nearest of what is tried

_NO_IMAGES = np.zeros((0, 0, 0, 0), np.float32)


class Given(NamedTuple):
    """The arguments of a search that its alignment takes too, checked."""

    tomogram: Any
    template: Any
    mask: Any
    stated: float | None
    """The scale, as given."""
    tilt: Tilt
    rotations: Any
    region: Any
    how: Running
    scale: float = 0.0
    """nm per voxel."""
    prepared: Prepared = Prepared(_NO_IMAGES, _NO_IMAGES)
    places: tuple[Place, ...] = ()


def looked_for(
    given: Given,
    asked: Wanted,
    *,
    spacing: Any,
    resolution: Any,
    symmetry: str,
    whiten: bool,
    exact: bool,
    maps: bool,
    background: Background | None = None,
    tophat: float | None = None,
) -> tuple[LookedFor, Given]:
    """Check the arguments of `search`, and make of them what it works with."""
    fine = check.optional_positive("resolution", resolution)
    sources = open_all(given.tomogram, given.stated, given.tilt)
    voxel = common_scale(sources)
    prepared = prepare_all(given.template, given.mask, voxel)
    templates = masked_templates(prepared)
    support = ball_of(templates)
    finest = _finest(fine, support.radius, voxel)
    grid = _grid(given.rotations, spacing, symmetry, finest / (2 * support.radius))
    side = int(support.periods[0])
    count = len(templates) * len(grid.rotations) * (1 if background is None else 2)
    _check_cost(count, side, finest, grid, voxel)
    check_fits(sources, support.box)
    warn_of_findings(seen_of_templates(sources, prepared))
    places = tuple(
        _place(source, region_of(each, source.shape, voxel))
        for each, source in zip(_regions(given.region, sources), sources, strict=True)
    )
    looked = LookedFor(
        templates,
        grid,
        finest,
        support,
        whiten,
        exact,
        maps,
        _PEAKS if asked.by_chance or not asked.most else _MORE * asked.most,
        None if asked.threshold is None else _GRID * asked.threshold,
    )
    if background is not None:
        other = background_of(background.which, templates, symmetry)
        looked = looked._replace(background=other, how=background.how)
    if tophat is not None:
        reach = max(max(each.shape) for each in sources) * voxel
        if tophat > reach:
            wanted = f"{reach:.6g} nm or less, as far as a tomogram reaches"
            fail("tophat", wanted, tophat)
        looked = looked._replace(tophat=tophat / voxel)
    return looked, given._replace(scale=voxel, prepared=prepared, places=places)


def _finest(resolution: float | None, radius: float, scale: float) -> float:
    """Return the finest period, voxels."""
    if resolution is None:
        return max(2.0, 2 * radius / _FINE)
    if resolution < 2 * scale * (1 - 1e-6):
        fail("resolution", f"{2 * scale:.6g} nm or more, two voxels", resolution)
    if resolution > 2 * radius * scale:
        wanted = f"{2 * radius * scale:.3g} nm or less, as far as the template reaches"
        fail("resolution", wanted, resolution)
    return resolution / scale


def _grid(rotations: Any, spacing: Any, symmetry: str, angle: float) -> RotationGrid:
    """Return the rotations; without a spacing those of all are an angle apart."""
    if not (isinstance(rotations, str) and rotations == "all"):
        if spacing is not None:
            wanted = "None where rotations are not 'all': those have their own"
            fail("spacing", wanted, spacing)
        return rotation_grid(rotations, symmetry)
    if spacing is None:
        return whole_grid(min(math.degrees(angle), _WIDEST), symmetry)
    apart = check.positive("spacing", spacing)
    if not _SPACINGS[0] <= apart <= _SPACINGS[1]:
        fail("spacing", "from {:g} to {:g} degrees".format(*_SPACINGS), spacing)
    return whole_grid(apart, symmetry)


def _check_cost(
    rows: int, side: int, finest: float, grid: RotationGrid, scale: float
) -> None:
    """Refuse what would not fit into memory."""
    waves = 2 / 3 * math.pi * (side / finest) ** 3
    needed, there = 24 * waves * rows, check.memory()
    if needed > there / 2:
        raise WrongValueError(
            Argument("resolution"),
            f" must be coarser, or spacing larger: {rows:,} turned templates at "
            f"{waves:,.0f} waves take {needed / 1e9:,.1f} GB, and there are "
            f"{there / 2e9:,.0f} to spare; {finest * scale:.3g} nm and "
            f"{grid.spacing or 0:.3g} degrees are too fine for this template",
            name="resolution",
            value=finest * scale,
        )


def _regions(region: Any, sources: list[Source]) -> list[Any]:
    """Return what is given of each tomogram."""
    if not isinstance(region, Mapping):
        return [region] * len(sources)
    named = {str(name): each for name, each in region.items()}
    there = [each.name for each in sources if each.name is not None]
    if wrong := sorted(set(named) - set(there)):
        raise ValueError(
            f"region names {listed(wrong)}, of which there is no tomogram; there is "
            f"{listed(there) or 'but one, without a name'}"
        )
    return [named.get(str(each.name)) for each in sources]


def _place(source: Source, region: Region) -> Place:
    """Look at a tomogram's voxels; refuse what is not finite where it is searched."""
    with in_tomogram(source.name):
        opened = source.opened()
        region.count()  # for its errors
        scan = scanned(opened)
        if scan.bad is not None:
            low, high = scan.bad
            block = np.asarray(opened.array[tuple(map(slice, low, high + 1))])
            inside = region.block(tuple(low.tolist()), tuple((high + 1).tolist()))
            if (inside & ~np.isfinite(block)).any():
                z, y, x = (f"{a} to {b}" for a, b in zip(low, high, strict=True))
                raise ValueError(
                    "tomogram must be finite, but has NaN or infinity in "
                    f"{scan.bad_voxels:,} voxels at z {z}, y {y}, x {x}: leave them "
                    "out by region"
                )
    return Place(source, scan, region)
