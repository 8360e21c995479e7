"""Search: particles found in whole tomograms by what they look like."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from concurrent.futures import Executor
from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.algebra.verbs import verb
from funpipe.base import arguments as check
from funpipe.base.caller import warn
from funpipe.base.errors import Argument, WrongValueError
from funpipe.base.molecules import Molecules
from funpipe.base.wording import fail
from funpipe.boxes.opening import Source, common_scale, in_tomogram, open_all
from funpipe.boxes.tiles import Scan, scanned
from funpipe.engine.basis import ball_of
from funpipe.jobs.aligning import align
from funpipe.jobs.chance import Null, false_share, null_of, with_random_phases
from funpipe.jobs.clustering import best_apart, near_pairs
from funpipe.jobs.preparing import masked_templates, prepare_all
from funpipe.jobs.regions import Region, region_of
from funpipe.jobs.sweeping import Found, LookedFor, swept
from funpipe.jobs.working import Running, running
from funpipe.space.geometry import (
    RotationGrid,
    rotation_count,
    rotation_grid,
    whole_grid,
)
from funpipe.space.tilts import as_tilt

__all__ = ["FOUND", "search"]

FOUND = (
    *("score", "z_score", "false_discovery_rate", "template"),
    *("shift_error", "angle_error", "converged"),
)
"""The features of picks."""

_FALSE = 0.05  # of picks, where nothing is said
_FINE = 5.0  # periods in a template's diameter, where nothing is said
_WIDEST = 30.0  # degrees between rotations, where nothing is said
_PEAKS = 1000.0  # of white noise, which say how often chance scores how much
_GRID = 0.8  # of a score, what it may be at the nearest of what is tried
_SEED = 1  # of random phases


@verb
def search(
    tomogram: Any,
    *,
    template: Any,
    mask: Any = None,
    scale: float | None = None,
    tilt: Any = None,
    rotations: Any = "all",
    spacing: float | None = None,
    resolution: float | None = None,
    symmetry: str = "C1",
    distance: float | None = None,
    count: int | None = None,
    threshold: float | None = None,
    false_discovery_rate: float | None = None,
    region: Any = None,
    whiten: bool = False,
    exact: bool = False,
    executor: Executor | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Molecules:
    """Find particles in a tomogram, or in many, that look like a template.

    Parameters
    ----------
    tomogram : array-like, path, Tomogram, or mapping from names to such
        Axes z, y, x; of a file some blocks are read at a time.
    template, mask, scale, tilt, symmetry
        See `align`. Of several templates the best one counts at each place.
    rotations : "all", or as in `align`
        The rotations to try.
    spacing : float, optional
        Degrees between them, of all; by default the resolution over the template's
        diameter, in radians (R. A. Crowther et al., Proceedings of the Royal Society A
        317, 319, 1970).
    resolution : float, optional
        The finest period used, in nm; by default a fifth of the template's diameter, or
        two voxels where that is more.
    distance : float, optional
        nm: of picks no farther apart the better one stays; by default the diameter of a
        ball as large as the template.
    count : int, optional
        The most picks of a tomogram: its best.
    threshold : float, optional
        The least score.
    false_discovery_rate : float, optional
        Which part of all picks may be false, 0 to 1: the list is as long as that
        allows, see `funpipe.jobs.chance`. It takes another search, for templates
        with random phases. By default 0.05, where there is no other limit.
    region : optional
        Where to look: an array or a file, 0 outside; one of labels and which of them
        count, ``(labels, 3)``; a slab, ``(lowest, highest)`` in nm along z; an IMOD
        model, the inside of its closed contours; of many tomograms also a mapping.
    whiten : bool
        Whether frequencies count by how little of the tomogram they hold: better where
        noise is not white.
    exact : bool
        Whether nothing that scores enough at a voxel and a rotation may be missed;
        takes some hundred times as long.
    executor, checkpoint, progress
        See `align`; progress is by tiles of the tomogram.

    Returns
    -------
    Molecules
        The picks, the best first, at the optimum of `align` from where they were found,
        with the features ``score``, the correlation as in `align`; ``z_score``, in
        standard deviations of the score of a pose in white noise; where it was
        estimated ``false_discovery_rate``, which part of the picks down to this one are
        false; ``template``, ``shift_error`` (nm), ``angle_error`` (degrees),
        ``converged``, see `align`; and of many tomograms ``tomogram``, its name. All
        that a box about it lies inside of is looked at, no place nearer to the faces.

    Raises
    ------
    TypeError, ValueError
        Before any work starts, if an argument is wrong or two do not go together, or
        the tomogram is not finite where it is looked at.

    Warns
    -----
    UserWarning
        If nothing is found.

    Notes
    -----
    Rotations and places are tried in stages, of which each discards what is unlikely to
    score enough, a true one of the least score once in a thousand times; what is left
    is logged under the name ``funpipe``. With a `tilt_series` places count as at the
    tomogram's middle until they are aligned.

    Examples
    --------
    >>> import funpipe as fp
    >>> blob = fp.from_gaussian((9.0, 9.0, 9.0), sigma=(0.8, 1.2, 1.6))
    >>> there = fp.Molecules([[14.0, 12.0, 14.0], [17.0, 28.0, 22.0]])
    >>> tomogram = fp.simulate.tomogram(blob(1.0), there, (32, 40, 36), 1.0, noise=0.1)
    >>> picks = search(
    ...     tomogram, template=blob, scale=1.0, spacing=30, count=2, progress=False
    ... )
    >>> picks[picks.positions[:, 0].argsort()].positions.round()
    array([[14., 12., 14.],
           [17., 28., 22.]])
    """
    how = running(executor=executor, checkpoint=checkpoint, progress=progress)
    wanted = _wanted(count, threshold, false_discovery_rate, distance)
    group = check.symmetry("symmetry", symmetry)
    fine = check.optional_positive("resolution", resolution)
    sources = open_all(tomogram, scale, as_tilt("tilt", tilt))
    voxel = common_scale(sources)
    prepared = prepare_all(template, mask, voxel)
    templates = masked_templates(prepared)
    support = ball_of(templates)
    finest = _finest(fine, support.radius, voxel)
    grid = _grid(rotations, spacing, group, finest / (2 * support.radius))
    looked = LookedFor(
        templates,
        grid,
        finest,
        support,
        check.flag("whiten", whiten),
        check.flag("exact", exact),
        max(_PEAKS, 2.0 * (wanted.count or 0)),
        None if wanted.threshold is None else _GRID * wanted.threshold,
    )
    _check_cost(looked, spacing, voxel)
    side = int(support.periods[0])
    for source in sources:
        _check_fits(source, side)
    regions = [
        region_of(each, source.shape, source.scale)
        for each, source in zip(_regions(region, sources), sources, strict=True)
    ]
    ready = [
        _ready(source.opened(), where)
        for source, where in zip(sources, regions, strict=True)
    ]
    apart = wanted.distance or _diameter(support.bulk) * voxel
    found = [_peaks(*each, looked, apart, how) for each in ready]
    null = None
    if wanted.false is not None:
        others = looked._replace(
            templates=with_random_phases(prepared, _SEED), exact=False
        )
        of_null = [_peaks(*each, others, apart, how) for each in ready]
        null = _null(found, of_null, [each.scale for each in sources], apart)
    chosen, shares = _chosen(found, null, wanted)
    return _climbed(
        *(sources, found, chosen, shares, looked, wanted, apart),
        {
            "template": template,
            "mask": mask,
            "scale": scale,
            "tilt": tilt,
            "resolution": finest * voxel,
            "whiten": whiten,
            "executor": executor,
            "checkpoint": checkpoint,
            "progress": progress,
        },
        tomogram,
    )


class Wanted(NamedTuple):
    """Which of the peaks are picks."""

    count: int | None
    threshold: float | None
    false: float | None
    distance: float | None


def _wanted(count: Any, threshold: Any, false: Any, distance: Any) -> Wanted:
    if count is not None:
        count = check.positive_integer("count", count)
    if threshold is not None:
        threshold = check.number("threshold", threshold)
        if not 0 < threshold < 1:
            fail("threshold", "a score above 0 and below 1", threshold)
    if false is not None:
        false = check.number("false_discovery_rate", false)
        if not 0 < false < 1:
            fail("false_discovery_rate", "a part above 0 and below 1", false)
    elif count is None and threshold is None:
        false = _FALSE
    return Wanted(
        count, threshold, false, check.optional_positive("distance", distance)
    )


def _finest(resolution: float | None, radius: float, scale: float) -> float:
    """Return the finest period, voxels."""
    if resolution is None:
        return max(2.0, 2 * radius / _FINE)
    if resolution < 2 * scale * (1 - 1e-6):
        fail("resolution", f"{2 * scale:.6g} nm or more, two voxels", resolution)
    if resolution > 2 * radius * scale:
        fail(
            "resolution",
            f"finer than the template of {2 * radius * scale:.3g} nm",
            resolution,
        )
    return resolution / scale


def _grid(rotations: Any, spacing: Any, symmetry: str, angle: float) -> RotationGrid:
    whole = isinstance(rotations, str) and rotations == "all"
    if not whole:
        if spacing is not None:
            raise ValueError(
                "spacing must be None where rotations are not 'all': they have their own"
            )
        rotation_count(rotations)  # for its errors
        return rotation_grid(rotations, symmetry)
    if spacing is None:
        return whole_grid(min(math.degrees(angle), _WIDEST), symmetry)
    apart = check.positive("spacing", spacing)
    if not _FINEST_SPACING <= apart <= _COARSEST_SPACING:
        fail(
            "spacing", f"{_FINEST_SPACING:g} to {_COARSEST_SPACING:g} degrees", spacing
        )
    return whole_grid(apart, symmetry)


_FINEST_SPACING, _COARSEST_SPACING = 1.0, 90.0


def _check_cost(looked: LookedFor, spacing: Any, scale: float) -> None:
    """Refuse what would not fit into memory."""
    side = looked.support.periods[0]
    waves = 2 / 3 * math.pi * (side / looked.finest) ** 3
    rows = len(looked.templates) * len(looked.grid.rotations)
    needed = 24 * waves * rows
    if needed > 0.5 * check.memory():
        raise WrongValueError(
            Argument("resolution"),
            f" must be coarser, or spacing larger: {rows:,} turned templates at "
            f"{waves:,.0f} waves take {needed / 1e9:,.1f} GB, of which there are "
            f"{check.memory() / 1e9:,.0f}; {looked.finest * scale:.3g} nm and "
            f"{looked.grid.spacing or 0:.3g} degrees are too fine for this template",
            name="resolution",
            value=looked.finest * scale,
        )


def _check_fits(source: Source, side: int) -> None:
    if min(source.shape) < side:
        with in_tomogram(source.name):
            raise ValueError(
                f"template must fit into the tomogram of {source.shape} voxels with "
                f"what is seen around it, {side} voxels along each axis at "
                f"{source.scale:.6g} nm per voxel"
            )


def _regions(region: Any, sources: list[Source]) -> list[Any]:
    """Return what is given of each tomogram."""
    if not isinstance(region, Mapping):
        return [region] * len(sources)
    named = {str(name): each for name, each in region.items()}
    there = [each.name for each in sources]
    if wrong := sorted(set(named) - {str(each) for each in there}):
        fail("region", f"of tomograms that there are, {there}", wrong)
    return [named.get(str(name)) for name in there]


def _ready(source: Source, region: Region) -> tuple[Source, Scan, Region]:
    """Look at a tomogram's voxels; refuse what is not finite where it is searched."""
    with in_tomogram(source.name):
        scan = scanned(source)
        if scan.bad is not None:
            low, high = scan.bad
            inside = region.block(tuple(low), tuple(high + 1))
            block = np.asarray(source.array[tuple(map(slice, low, high + 1))])
            if (inside & ~np.isfinite(block)).any():
                z, y, x = (f"{a} to {b}" for a, b in zip(low, high, strict=True))
                raise ValueError(
                    f"tomogram must be finite, but has NaN or infinity in {scan.count:,} "
                    f"voxels at z {z}, y {y}, x {x}: leave them out by region"
                )
    return source, scan, region


def _diameter(voxels: int) -> float:
    return 2 * (3 * max(voxels, 1) / (4 * math.pi)) ** (1 / 3)


def _peaks(
    source: Source,
    scan: Scan,
    region: Region,
    looked: LookedFor,
    apart: float,
    how: Running,
) -> Found:
    """Return the peaks of a tomogram that are so far apart, the best first."""
    found = swept(source, scan, looked, region, how)
    one = np.zeros(len(found.scores), np.intp)
    pairs = near_pairs(found.where * source.scale, one, apart)
    kept = found.take(best_apart(found.scores, pairs))
    return kept.take(np.argsort(-kept.scores, kind="stable"))


def _null(
    found: list[Found], of_null: list[Found], scales: list[float], apart: float
) -> Null:
    """Return the null of a search, without its peaks where particles are likely.

    There the tomogram is not as elsewhere, and no pick is false.
    """
    scores = -np.sort(-np.concatenate([each.scores for each in found]))
    least = max(each.least for each in (*found, *of_null))
    left = of_null
    for _ in range(2):
        null = null_of(
            np.concatenate([each.scores for each in left]), least, found[0].numbers
        ).scaled_to(scores)
        likely = scores[false_share(scores, null) <= _LIKELY]
        limit = likely[-1] if len(likely) else np.inf
        left = [
            theirs.take(_away(theirs, mine.take(mine.scores >= limit), apart / scale))
            for theirs, mine, scale in zip(of_null, found, scales, strict=True)
        ]
    return null


_LIKELY = 0.2  # of picks, the part that may be false where null peaks are left out


def _away(some: Found, others: Found, apart: float) -> NDArray[np.bool_]:
    if not len(others.where) or not len(some.where):
        return np.ones(len(some.where), bool)
    distance, _ = scipy.spatial.KDTree(others.where).query(some.where)
    return np.asarray(distance > apart)


def _chosen(
    found: list[Found], null: Null | None, wanted: Wanted
) -> tuple[list[NDArray[np.intp]], list[NDArray[np.float64]]]:
    """Return which peaks of each tomogram go on, and which share of them is false."""
    scores = np.concatenate([each.scores for each in found])
    owner = np.repeat(np.arange(len(found)), [len(each.scores) for each in found])
    share = np.full(len(scores), np.nan)
    if null is not None:
        order = np.argsort(-scores, kind="stable")
        share[order] = false_share(scores[order], null)
    kept = np.ones(len(scores), bool) if wanted.false is None else share <= wanted.false
    first = np.searchsorted(owner, np.arange(len(found)))
    chosen, shares = [], []
    for i, each in enumerate(found):
        mine = np.arange(len(each.scores))
        some = mine[kept[first[i] + mine]]
        some = some[: None if wanted.count is None else _MORE * wanted.count]
        chosen.append(some)
        shares.append(share[first[i] + some])
    return chosen, shares


_MORE = 2  # times as many as are wanted climb: their order may change


def _climbed(
    sources: list[Source],
    found: list[Found],
    chosen: list[NDArray[np.intp]],
    shares: list[NDArray[np.float64]],
    looked: LookedFor,
    wanted: Wanted,
    apart: float,
    options: dict[str, Any],
    tomogram: Any,
) -> Molecules:
    """Return picks at the optimum of their poses, the best first."""
    from scipy.spatial.transform import Rotation

    voxel = common_scale(sources)
    r = len(looked.grid.rotations)
    picks = [each.take(some) for each, some in zip(found, chosen, strict=True)]
    rows = np.concatenate([each.rows for each in picks])
    where = np.concatenate([each.where for each in picks]) * voxel
    features: dict[str, Any] = {}
    if len(sources) > 1 or sources[0].name is not None:
        names = [str(each.name) for each in sources]
        features["tomogram"] = np.repeat(names, [len(each.rows) for each in picks])
    share = np.concatenate(shares)
    if not len(rows):
        warn("search found nothing: no peak is above the threshold")
        none = {name: np.zeros(0) for name in FOUND}
        return Molecules(where.reshape(0, 3), None, {**features, **none})
    turns = Rotation.from_quat(looked.grid.rotations.as_quat()[rows % r])
    around = looked.grid.spacing or 0.0
    aligned = align(
        tomogram,
        Molecules(where, turns, {**features, "_share": share}),
        max_shifts=min(1.5, looked.support.radius / 4) * voxel,
        rotations=(around, around / 2) if around else None,
        estimate="mode",
        preflight=False,
        **options,
    )
    kept = aligned.features
    score = kept["score"]
    numbers = found[0].numbers
    table = {
        "score": score,
        "z_score": score * math.sqrt(numbers),
        "false_discovery_rate": kept["_share"],
        **{name: kept[name] for name in FOUND[3:]},
    }
    if wanted.false is None:
        del table["false_discovery_rate"]
    if "tomogram" in features:
        table = {"tomogram": kept["tomogram"], **table}
    result = Molecules(aligned.positions, aligned.rotations, table)
    return _best_of(result, wanted, apart, sources)


def _best_of(
    picks: Molecules, wanted: Wanted, apart: float, sources: list[Source]
) -> Molecules:
    """Return picks in falling order that are apart, and as many as are wanted."""
    score = picks.features["score"]
    names = picks.features.get("tomogram", np.zeros(len(picks)))
    owner = np.unique(names, return_inverse=True)[1]
    pairs = near_pairs(picks.positions, owner, apart)
    order = best_apart(score, pairs)
    order = order[np.argsort(-score[order], kind="stable")]
    if wanted.threshold is not None:
        order = order[score[order] >= wanted.threshold]
    if wanted.count is not None:
        rank = np.zeros(len(order), np.intp)
        for each in np.unique(owner):
            mine = owner[order] == each
            rank[mine] = np.arange(mine.sum())
        order = order[rank < wanted.count]
    if not len(order):
        warn("search found nothing: no peak is above the threshold")
    return picks[order]
