"""The arguments of an alignment, checked before any work starts."""

from __future__ import annotations

from typing import Any, NamedTuple

from funpipe.base import arguments as check
from funpipe.base.molecules import Molecules, as_molecules
from funpipe.boxes.cutting import check_some
from funpipe.boxes.tomograms import Share, common_scale, shares_of
from funpipe.engine.costs import Cost, check_cost
from funpipe.engine.matching import ENGINE
from funpipe.engine.seam import Engine, check_engine
from funpipe.jobs.findings import (
    Finding,
    doubles,
    off_centre,
    reach,
    scales,
    small_box,
    tight_mask,
)
from funpipe.jobs.preparing import Prepared, prepare_all
from funpipe.space.fourier import Tilt, as_tilt
from funpipe.space.geometry import RotationGrid, rotation_count, rotation_grid
from funpipe.space.symmetry import symmetry_group

__all__ = ["Asked", "Plan", "Search", "asked_for", "plan", "search_for"]


class Asked(NamedTuple):
    """What a search is asked for, checked as far as no template is needed."""

    shifts: tuple[float, float, float] | None
    """Voxels; None where none are given."""
    rotations: Any
    """As given, and such as `rotation_grid` takes."""
    symmetry: str
    tilt: Tilt
    finest: float
    refined: bool
    whitened: bool
    engine: Engine
    scale: float
    """nm per voxel."""


class Search(NamedTuple):
    """Where and how a pose is looked for, in voxels."""

    window: tuple[float, float, float]
    grid: RotationGrid
    tilt: Tilt
    finest: float
    refined: bool
    whitened: bool
    engine: Engine
    by_default: bool = False
    """Whether the window is that of nothing given."""


class Plan(NamedTuple):
    """The arguments of an alignment, checked, before any tomogram is read."""

    particles: Molecules
    shares: list[Share]
    """The tomograms and their particles."""
    empty: list[str]
    """Names of tomograms without particles."""
    search: Search
    prepared: Prepared

    def radius(self) -> float:
        """Return how far masked templates reach from their centre, in voxels."""
        return max(map(reach, *self.prepared))

    def findings(self) -> list[Finding]:
        """Return what looks wrong and costs little to find."""
        template, mask = self.prepared
        by_default = self.search.by_default  # nobody is blamed for what nobody said
        return [
            *scales(self.shares),
            *tight_mask(template, mask),
            *([] if by_default else small_box(template, mask, self.search.window)),
            *off_centre(template, mask, common_scale(self.shares)),
            *doubles(self.shares, self.particles),
        ]


def plan(
    tomogram: Any,
    molecules: Any,
    *,
    template: Any,
    mask: Any,
    scale: float | None,
    max_shifts: Any,
    rotations: Any,
    tilt: Any,
    resolution: float | None,
    symmetry: str,
    refine: bool,
    whiten: bool,
    engine: Engine,
    tomogram_feature: str,
) -> Plan:
    """Check the arguments of `align`, and make of them what it works with."""
    particles = as_molecules("molecules", molecules)
    shares, empty = shares_of(tomogram, particles, scale, tilt, tomogram_feature)
    voxel = common_scale(shares)
    asked = asked_for(
        *(voxel, max_shifts, rotations, symmetry, tilt, resolution),
        *(refine, whiten, engine),
    )
    prepared = prepare_all(template, mask, voxel)
    search = search_for(asked, prepared)
    _check_fits(shares, prepared.template.shape[1:])
    check_some(particles)
    return Plan(particles, shares, empty, search, prepared)


def asked_for(
    scale: float,
    max_shifts: Any,
    rotations: Any,
    symmetry: str,
    tilt: Any,
    resolution: float | None,
    refine: bool,
    whiten: bool,
    engine: Engine = ENGINE,
) -> Asked:
    """Check where a pose is to be looked for, given in nm."""
    shifts = None
    if max_shifts is not None:
        z, y, x = check.non_negative_vector("max_shifts", max_shifts)
        shifts = (z / scale, y / scale, x / scale)
    finest = check.optional_positive("resolution", resolution) or 2 * scale
    if finest < 2 * scale * (1 - 1e-6):
        raise ValueError(
            f"resolution must be {2 * scale:.6g} nm or more, two voxels, not {finest}"
        )
    rotation_count(rotations)  # for its errors
    engine = check_engine("engine", engine)
    whiten = check.flag("whiten", whiten)
    if whiten and engine.whiten is None:
        raise ValueError("whiten must be False: the engine given cannot whiten")
    return Asked(
        shifts,
        rotations,
        check.symmetry("symmetry", symmetry),
        as_tilt("tilt", tilt),
        finest / scale,
        check.flag("refine", refine),
        whiten,
        engine,
        scale,
    )


def search_for(asked: Asked, prepared: Prepared) -> Search:
    """Return the search that is asked for, for these templates.

    Raises
    ------
    ValueError
        If shifts go beyond half the box, the resolution is coarser than it or no wave
        fits into it, or the search would take more memory than there is.
    """
    box = prepared.template.shape[1:]
    _check_box(asked.finest, box)
    room = [(size - 1) / 2 for size in box]
    z, y, x = asked.shifts or (min(_SHIFT / asked.scale, half) for half in room)
    _check_window((z, y, x), room)
    cost = Cost(prepared.template.shape, (z, y, x), asked.finest, asked.refined)
    many = rotation_count(asked.rotations)
    group = len(symmetry_group(asked.symmetry))
    check_cost(cost, asked.rotations, max(1.0, many / group), built=many)
    grid = rotation_grid(asked.rotations, asked.symmetry)
    check_cost(cost, asked.rotations, len(grid.rotations))
    return Search(
        (z, y, x),
        grid,
        asked.tilt,
        asked.finest,
        asked.refined,
        asked.whitened,
        asked.engine,
        by_default=asked.shifts is None,
    )


_SHIFT = 1.0  # nm, the largest of those tried where nothing is said


def _check_box(finest: float, box: tuple[int, ...]) -> None:
    if max(box) < 3:
        raise ValueError(
            "template must have 3 voxels or more along an axis, or no wave fits "
            f"between them, not {box}"
        )
    if finest > max(box):
        raise ValueError(
            f"resolution must be finer than the box of {max(box)} voxels, "
            f"not {finest:.6g} voxels"
        )


def _check_window(window: tuple[float, float, float], room: list[float]) -> None:
    for axis, limit, half in zip("zyx", window, room, strict=True):
        if limit > half:
            raise ValueError(
                f"max_shifts must stay within half the box, {half:g} voxels "
                f"along {axis}, not {limit:.6g}"
            )


def _check_fits(shares: list[Share], box: tuple[int, ...]) -> None:
    for share in shares:
        if any(inner > outer for inner, outer in zip(box, share.shape, strict=True)):
            which = "the tomogram" if share.name is None else f"{share.name!r}"
            raise ValueError(
                f"template must fit into {which} of {share.shape} voxels, but is "
                f"{box} at {share.scale:.6g} nm per voxel"
            )
