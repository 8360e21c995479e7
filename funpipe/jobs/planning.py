"""The arguments of an alignment, checked before any work starts."""

from __future__ import annotations

from typing import Any, NamedTuple

from funpipe.base.molecules import Molecules
from funpipe.boxes.opening import (
    Source,
    check_fits,
    check_some,
    common_scale,
    open_tomograms,
)
from funpipe.jobs.preparing import Prepared, prepare_all
from funpipe.jobs.searching import Sampling, Search, sampling

__all__ = ["Plan", "plan"]


class Plan(NamedTuple):
    """The arguments of an alignment, checked, before any tomogram is read."""

    sources: list[Source]
    """The tomograms and their particles."""
    empty: list[str]
    """Names of tomograms without particles."""
    search: Search
    sampling: Sampling
    prepared: Prepared

    @property
    def box(self) -> tuple[int, int, int]:
        """Voxels of a box, z, y, x."""
        z, y, x = self.prepared.template.shape[1:]
        return z, y, x


def plan(
    tomogram: Any,
    particles: Molecules,
    search: Search,
    *,
    template: Any,
    mask: Any,
    scale: float | None,
    tomogram_feature: str,
) -> Plan:
    """Check the arguments of `align`, and make of them what it works with."""
    sources, empty = open_tomograms(
        tomogram, particles, scale, search.tilt, tomogram_feature
    )
    voxel = common_scale(sources)
    prepared = prepare_all(template, mask, voxel)
    where = sampling(search, prepared, voxel)
    planned = Plan(sources, empty, search, where, prepared)
    check_fits(sources, planned.box)
    check_some(particles)
    return planned
