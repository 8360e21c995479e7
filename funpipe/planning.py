"""The arguments of an alignment, checked before any work starts."""

from __future__ import annotations

from typing import Any, NamedTuple

from funpipe import arguments as check
from funpipe.findings import (
    Finding,
    doubles,
    off_centre,
    reach,
    scales,
    small_box,
    tight_mask,
)
from funpipe.fourier import Tilt, as_tilt
from funpipe.geometry import RotationGrid, rotation_grid
from funpipe.molecules import Molecules, as_molecules
from funpipe.preparing import Prepared, prepare_all
from funpipe.subtomograms import check_some
from funpipe.tomograms import Share, common_scale, shares_of

__all__ = ["Plan", "Search", "check_window", "plan", "search_for"]


class Search(NamedTuple):
    """Where and how a pose is looked for, in voxels."""

    window: tuple[float, float, float]
    grid: RotationGrid
    tilt: Tilt
    finest: float
    refined: bool
    whitened: bool


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
        return [
            *scales(self.shares),
            *tight_mask(template, mask),
            *small_box(template, mask, self.search.window),
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
    tomogram_feature: str,
) -> Plan:
    """Check the arguments of `align`, and make of them what it works with."""
    particles = as_molecules("molecules", molecules)
    shares, empty = shares_of(tomogram, particles, scale, tilt, tomogram_feature)
    voxel = common_scale(shares)
    search = search_for(
        voxel, max_shifts, rotations, symmetry, tilt, resolution, refine, whiten
    )
    prepared = prepare_all(template, mask, voxel)
    box = prepared.template.shape[1:]
    check_window(search, box)
    _check_fits(shares, box)
    check_some(particles)
    return Plan(particles, shares, empty, search, prepared)


def search_for(
    scale: float,
    max_shifts: Any,
    rotations: Any,
    symmetry: str,
    tilt: Any,
    resolution: float | None,
    refine: bool,
    whiten: bool,
) -> Search:
    """Check where a pose is to be looked for, given in nm, and return it in voxels."""
    z, y, x = check.non_negative_vector("max_shifts", max_shifts)
    finest = check.optional_positive("resolution", resolution) or 2 * scale
    if finest < 2 * scale * (1 - 1e-6):
        raise ValueError(
            f"resolution must be {2 * scale:.6g} nm or more, two voxels, not {finest}"
        )
    return Search(
        (z / scale, y / scale, x / scale),
        rotation_grid(rotations, check.symmetry("symmetry", symmetry)),
        as_tilt("tilt", tilt),
        finest / scale,
        refine,
        whiten,
    )


def check_window(search: Search, box: tuple[int, ...]) -> None:
    """Refuse shifts by more than half the box, and a period longer than it."""
    if search.finest > max(box):
        raise ValueError(
            f"resolution must be finer than the box of {max(box)} voxels, "
            f"not {search.finest:.6g} voxels"
        )
    for axis, limit, size in zip("zyx", search.window, box, strict=True):
        if limit > (size - 1) / 2:
            raise ValueError(
                f"max_shifts must stay within half the box, {(size - 1) / 2:g} voxels "
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
