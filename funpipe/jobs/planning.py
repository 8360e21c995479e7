"""The arguments of an alignment, checked before any work starts."""

from __future__ import annotations

from typing import Any, NamedTuple

from funpipe.base.arguments import Image
from funpipe.base.molecules import Molecules
from funpipe.boxes.opening import (
    Source,
    check_fits,
    check_some,
    common_scale,
    open_tomograms,
)
from funpipe.jobs.preparing import Prepared, masked_templates, prepare_all, reach
from funpipe.jobs.searching import Sampling, Search, sampling
from funpipe.space.crops import Support, support_of

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
    templates: Image
    """Masked, as they are matched, (m, z, y, x)."""

    @property
    def box(self) -> tuple[int, int, int]:
        """Voxels of a box, z, y, x."""
        z, y, x = self.templates.shape[1:]
        return z, y, x

    @property
    def support(self) -> Support:
        """What of a subtomogram counts."""
        return support_of(self.templates, self.sampling.window)

    @property
    def radius(self) -> float:
        """How far templates reach from the centre of their boxes, in voxels."""
        return reach(self.templates)


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
    templates = masked_templates(prepared)
    planned = Plan(sources, empty, search, where, prepared, templates)
    check_fits(sources, planned.box)
    check_some(particles)
    return planned
