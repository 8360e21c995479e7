"""The arguments of an alignment, checked before any work starts."""

from __future__ import annotations

from typing import Any, NamedTuple

from funpipe.base.molecules import Molecules, as_molecules
from funpipe.boxes.cutting import Source, check_some
from funpipe.boxes.tomograms import common_scale, shares_of
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
from funpipe.jobs.searching import Sampling, Search, sampling

__all__ = ["Plan", "plan"]


class Plan(NamedTuple):
    """The arguments of an alignment, checked, before any tomogram is read."""

    particles: Molecules
    shares: list[Source]
    """The tomograms and their particles."""
    empty: list[str]
    """Names of tomograms without particles."""
    search: Search
    sampling: Sampling
    prepared: Prepared

    def radius(self) -> float:
        """Return how far masked templates reach from their centre, in voxels."""
        return max(map(reach, *self.prepared))

    def findings(self) -> list[Finding]:
        """Return what looks wrong and costs little to find."""
        template, mask = self.prepared
        by_default = (
            self.search.max_shifts is None
        )  # nobody is blamed for what nobody said
        return [
            *scales(self.shares),
            *tight_mask(template, mask),
            *([] if by_default else small_box(template, mask, self.sampling.window)),
            *off_centre(template, mask, common_scale(self.shares)),
            *doubles(self.shares, self.particles),
        ]


def plan(
    tomogram: Any,
    molecules: Any,
    search: Search,
    *,
    template: Any,
    mask: Any,
    scale: float | None,
    tomogram_feature: str,
) -> Plan:
    """Check the arguments of `align`, and make of them what it works with."""
    particles = as_molecules("molecules", molecules)
    shares, empty = shares_of(tomogram, particles, scale, search.tilt, tomogram_feature)
    voxel = common_scale(shares)
    prepared = prepare_all(template, mask, voxel)
    where = sampling(search, prepared, voxel)
    _check_fits(shares, prepared.template.shape[1:])
    check_some(particles)
    return Plan(particles, shares, empty, search, where, prepared)


def _check_fits(shares: list[Source], box: tuple[int, ...]) -> None:
    for share in shares:
        if any(inner > outer for inner, outer in zip(box, share.shape, strict=True)):
            which = "the tomogram" if share.name is None else f"{share.name!r}"
            raise ValueError(
                f"template must fit into {which} of {share.shape} voxels, but is "
                f"{box} at {share.scale:.6g} nm per voxel"
            )
