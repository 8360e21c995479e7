"""Where and how poses are looked for: one value, made of the options of a search.

`Search` is what a user asks for, in nm and degrees, and needs neither a tomogram nor a
template; `Sampling` is that at a scale and for the boxes of templates, in voxels.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from funpipe.base import arguments as check
from funpipe.base.errors import Argument, WrongValueError
from funpipe.base.wording import fail
from funpipe.engine.costs import Cost, check_cost
from funpipe.engine.matching import ENGINE
from funpipe.engine.seam import Engine, check_engine
from funpipe.jobs.preparing import Prepared
from funpipe.space.geometry import RotationGrid, rotation_count, rotation_grid
from funpipe.space.symmetry import symmetry_group
from funpipe.space.tilts import Tilt, as_tilt

__all__ = ["ESTIMATES", "SHIFT", "Sampling", "Search", "sampling", "search_for"]


ESTIMATES = "mean", "mode"
"""Of a pose: the expected one, or the best."""


class Search(NamedTuple):
    """Where and how poses are looked for, as asked; see `funpipe.align`."""

    max_shifts: tuple[float, float, float] | None
    """nm, z, y, x; None where none are given."""
    rotations: Any
    """As given, and such as `rotation_grid` takes."""
    tilt: Tilt
    """Of tomograms that have none of their own."""
    resolution: float | None
    """nm; None for two voxels."""
    symmetry: str
    refine: bool
    whiten: bool
    engine: Engine
    estimate: str = "mean"
    """Of a pose: ``mean`` or ``mode``."""
    prior: tuple[float | None, float | None] | None = None
    """nm and degrees."""


class Sampling(NamedTuple):
    """Where a search tries poses, in voxels."""

    window: tuple[float, float, float]
    """The largest shifts."""
    grid: RotationGrid
    finest: float
    """The shortest period."""


def search_for(
    *,
    max_shifts: Any = None,
    rotations: Any = None,
    tilt: Any = None,
    resolution: Any = None,
    symmetry: Any = "C1",
    refine: Any = True,
    whiten: Any = False,
    engine: Any = ENGINE,
    estimate: Any = "mean",
    prior: Any = None,
) -> Search:
    """Check the options of a search, and make one value of them."""
    shifts = None
    if max_shifts is not None:
        shifts = check.non_negative_vector("max_shifts", max_shifts)
    rotation_count(rotations)  # for its errors
    if not (isinstance(estimate, str) and estimate in ESTIMATES):
        fail("estimate", " or ".join(map(repr, ESTIMATES)), estimate)
    search = Search(
        shifts,
        rotations,
        as_tilt("tilt", tilt),
        check.optional_positive("resolution", resolution),
        check.symmetry("symmetry", symmetry),
        check.flag("refine", refine),
        check.flag("whiten", whiten),
        check_engine("engine", engine),
        estimate,
        _prior(prior),
    )
    if search.whiten and search.engine.whiten is None:
        raise ValueError("whiten must be False: the engine given cannot whiten")
    if search.prior is not None:
        _check_weighs(search)
    return search


def _prior(value: Any) -> tuple[float | None, float | None] | None:
    if value is None:
        return None
    wanted = "None or two numbers (nm, degrees), each above 0 or None"
    both = check.elements("prior", wanted, value)
    if len(both) != 2:
        fail("prior", wanted, value)
    shift, turn = (
        check.optional_positive(f"prior[{i}]", each) for i, each in enumerate(both)
    )
    return shift, turn


def _check_weighs(search: Search) -> None:
    """Refuse a prior where poses are not weighed."""
    if search.estimate != "mean":
        raise ValueError(f"prior must be None with estimate={search.estimate!r}")
    if not search.refine:
        raise ValueError("prior must be None with refine=False")
    if search.engine.weigh is None:
        raise ValueError("prior must be None: the engine given weighs no poses")


def sampling(search: Search, prepared: Prepared, scale: float) -> Sampling:
    """Return where poses are tried for these templates.

    Parameters
    ----------
    search : Search
        What is asked for.
    prepared : Prepared
        The templates and their masks.
    scale : float
        Theirs, nm per voxel.

    Raises
    ------
    ValueError
        If shifts go beyond half the box, the resolution is coarser than it or finer
        than two voxels or no wave fits into it, or the search would take more memory
        than there is.
    """
    box = prepared.template.shape[1:]
    finest = _finest(search.resolution, scale)
    _check_box(finest, box)
    room = [(size - 1) / 2 for size in box]
    if search.max_shifts is None:
        z, y, x = (min(SHIFT / scale, half) for half in room)
    else:
        z, y, x = (each / scale for each in search.max_shifts)
    _check_window((z, y, x), room)
    cost = Cost(prepared.template.shape, (z, y, x), finest, search.refine)
    many = rotation_count(search.rotations)
    group = len(symmetry_group(search.symmetry))
    check_cost(cost, search.rotations, max(1.0, many / group), built=many)
    grid = rotation_grid(search.rotations, search.symmetry)
    check_cost(cost, search.rotations, len(grid.rotations))
    return Sampling((z, y, x), grid, finest)


SHIFT = 1.0
"""nm, the largest of those tried where nothing is said."""


def _finest(resolution: float | None, scale: float) -> float:
    """Return the shortest period in voxels."""
    finest = resolution or 2 * scale
    if finest < 2 * scale * (1 - 1e-6):
        fail("resolution", f"{2 * scale:.6g} nm or more, two voxels", finest)
    return finest / scale


def _check_box(finest: float, box: tuple[int, ...]) -> None:
    if max(box) < 3:
        raise ValueError(
            "template must have 3 voxels or more along an axis, or no wave fits "
            f"between them, not {box}"
        )
    if finest > max(box):
        text = f" must be finer than the box of {max(box)} voxels, not {finest:.6g}"
        raise WrongValueError(
            Argument("resolution"), text, " voxels", name="resolution"
        )


def _check_window(window: tuple[float, float, float], room: list[float]) -> None:
    for axis, limit, half in zip("zyx", window, room, strict=True):
        if limit > half:
            raise WrongValueError(
                Argument("max_shifts"),
                f" must stay within half the box, {half:g} voxels along {axis}, not "
                f"{limit:.6g}",
                name="max_shifts",
                value=limit,
            )
