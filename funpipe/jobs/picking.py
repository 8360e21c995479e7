"""Search: particles found in whole tomograms by what they look like."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import Executor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from funpipe.algebra.verbs import verb
from funpipe.base import arguments as check
from funpipe.base.caller import warn
from funpipe.base.molecules import Molecules
from funpipe.base.wording import fail
from funpipe.boxes.chunks import check_unchanged
from funpipe.boxes.opening import Tomogram
from funpipe.boxes.tiles import Filled, ball_diameter
from funpipe.jobs.aligning import apply_alignment
from funpipe.jobs.backgrounds import check_background
from funpipe.jobs.choosing import (
    Chosen,
    Wanted,
    best_picks,
    chosen,
    of_all,
    wanted,
)
from funpipe.jobs.looking import LookedFor
from funpipe.jobs.nulls import compared, in_noise
from funpipe.jobs.odds import Odds
from funpipe.jobs.planning import plan
from funpipe.jobs.posing import find_planned
from funpipe.jobs.recording import SearchRecord, check_record, write_record
from funpipe.jobs.score_maps import maps_folder, write_maps
from funpipe.jobs.searching import search_for
from funpipe.jobs.spacing import Apart, peaks_apart
from funpipe.jobs.sweep_planning import Given, looked_for
from funpipe.jobs.sweeping import Found, swept
from funpipe.jobs.working import memory_for, running
from funpipe.space.tilts import as_tilt

__all__ = ["PICKED", "search"]

PICKED = (
    *("score", "z_score", "false_discovery_rate", "log_odds", "false_alarms"),
    *("template", "shift_error", "angle_error", "converged"),
)
"""The features of picks."""


@verb
@memory_for("search", "a coarser resolution, a wider spacing or a smaller template")
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
    distance: float | str | None = None,
    count: int | None = None,
    threshold: float | None = None,
    false_discovery_rate: float | None = None,
    false_alarms: float | None = None,
    region: Any = None,
    background: str | tuple[str, str] | None = None,
    tophat: float | None = None,
    whiten: bool = False,
    exact: bool = False,
    record: str | os.PathLike[str] | None = None,
    maps: str | os.PathLike[str] | bool | None = None,
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
    distance : float or "mask", optional
        nm: of picks no farther apart the better one stays; by default the diameter of a
        ball as large as the template. "mask": no second pick's centre is inside the
        mask as it is turned at a better one, for long particles that lie side by side.
    count : int, optional
        The most picks of a tomogram: its best.
    threshold : float, optional
        The least score.
    false_discovery_rate : float, optional
        Which part of all picks may be false, 0 to 1: the list is as long as that
        allows, see `funpipe.jobs.odds`. It takes one more search, for the template's
        mirror image, or noise that is like it where that fits it, see
        `funpipe.jobs.chance`; where particles are so faint that those fit them nearly
        as well, few picks or none are left. By default 0.05, where there is no other
        limit.
    false_alarms : float, optional
        How many picks of a tomogram may be of noise, up to 100: down to the score that
        so many peaks have in noise with the tomogram's power. It takes one more
        search, in that. Other molecules are no noise, and no part of these.
    region : optional
        Where to look: an array or a file, 0 outside; one of labels and which of them
        count, ``(labels, 3)``; a slab, ``(lowest, highest)`` in nm along z; an IMOD
        model, the inside of its closed contours; of many tomograms also a mapping.
    background : {"mirrored", "random"}, or one of them and a way, optional
        What scores are corrected by: the template's mirror image, or noise like it, see
        `funpipe.jobs.chance`. Half of what it scores above noise at a place, the best
        of all its rotations, is subtracted from the template's score there and from
        those of the null; or, as ``("mirrored", "divided")``, they are divided by a
        fourth root of it, see `funpipe.engine.background`. It is for what fits any
        template of a size, as membranes and gold may; the mirror image of a molecule
        that has no hand fits that as well, and takes off its scores.
    tophat : float, optional
        nm: how far a score stays high along a line of this length is taken off it, see
        `funpipe.engine.tophat`. It is for membranes and edges; lines have to be longer
        than the template's diameter, as far as one particle fits.
    whiten : bool
        Whether frequencies count by how little of the tomogram they hold: better where
        noise is not white.
    exact : bool
        Whether nothing that scores enough at a voxel and a rotation may be missed;
        takes some ten times as long.
    record : path, optional
        A file, ``.json``, that is written: what was searched, what each stage left, and
        the scores of all peaks; `funpipe.plot.search_scores` draws it.
    maps : path or bool, optional
        A folder, there or not yet, for ``score.mrc``, the best score at each place,
        ``orientation.mrc``, the number of its rotation, and ``orientations.csv`` with
        those; of many tomograms a folder in it for each. True: ``TS_01_search`` in the
        working directory for ``TS_01.mrc``, ``tomogram_search`` for an array,
        ``tomograms_search`` for many. All rotations are then tried at all places, which
        takes some times as long; scores are those before anything is taken off.
    executor, checkpoint, progress
        See `align`; progress is by tiles of the tomogram.

    Returns
    -------
    Molecules
        The picks, the best first, at the optimum of `align` from where they were found,
        with the features ``score``, the correlation as in `align`; ``z_score``, in
        standard deviations of the score of a pose in white noise; where it was
        estimated ``false_discovery_rate``, which part of the picks down to this one are
        false, and ``log_odds``, ln of the odds that this one is a particle, see
        `funpipe.jobs.odds`; where it was asked for ``false_alarms``, how many peaks
        noise has in its tomogram that score as much; ``template``, ``shift_error``
        (nm), ``angle_error`` (degrees), ``converged``, see `align`; with a background
        ``background``, what was taken off the score, and likewise ``tophat``; and of
        many tomograms ``tomogram``, its name.

    Raises
    ------
    TypeError, ValueError
        Before any work starts, if an argument is wrong or two do not go together, or
        the tomogram is not finite where it is looked at.

    Warns
    -----
    UserWarning
        If nothing is found, or the template's mirror image rather than the template.

    Notes
    -----
    Rotations and places are tried in stages, see `funpipe.engine.sweep`. Each discards
    what is unlikely to score enough: of poses with a score that white noise has some
    hundred times in a tomogram one in a thousand, and of better ones fewer. What
    is left is logged under the name ``funpipe``.

    With a `tilt_series` places count as at the tomogram's middle until they are
    aligned. Places within the template's radius of a bead of gold are left out.

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
    asked = wanted(count, threshold, false_discovery_rate, distance, false_alarms)
    if asked.by_mask and mask is None:
        fail("distance", "a number above 0 or None where there is no mask", distance)
    by = check_background(background)
    line = check.optional_positive("tophat", tophat)
    if line is not None and exact:
        raise ValueError("tophat must be None with exact=True, which keeps no map")
    written = Written(check_record(record), maps_folder(maps, tomogram))
    tilts = as_tilt("tilt", tilt)
    looked, given = looked_for(
        Given(tomogram, template, mask, scale, tilts, rotations, region, how),
        asked,
        spacing=spacing,
        resolution=resolution,
        symmetry=check.symmetry("symmetry", symmetry),
        whiten=check.flag("whiten", whiten),
        exact=check.flag("exact", exact),
        maps=written.maps is not None,
        background=by,
        tophat=line,
    )
    voxel = given.scale
    apart = _apart(asked, looked, given)
    found = [
        peaks_apart(swept(each, looked, how), apart, looked.grid)
        for each in given.places
    ]
    null, odds = None, None
    if asked.false is not None:
        near = min(apart.distance, ball_diameter(looked.support.bulk))
        found, null, odds = compared(
            found, looked, given.places, how, symmetry, apart, near
        )
    noise = None
    if asked.alarms is not None:
        noise = in_noise(looked, given.places, how, apart)
    some = chosen(found, odds, noise, asked)
    check_unchanged(each.source for each in given.places)
    if written.maps is not None:
        names = [each.source.name for each in given.places]
        whole = [each.map for each in found]
        write_maps(written.maps, names, whole, looked.grid, voxel)
    if written.record is not None:
        chance = noise if null is None else null
        said = _record(given, looked, asked, apart, symmetry, found, some, chance, odds)
        if by is not None:
            said = said._replace(background=by.which, how=by.how)
        said = said._replace(tophat=line)
        write_record(said, written.record)
    picks = _aligned(given, looked, found, some)
    check_unchanged(each.source for each in given.places)
    picks = picks[_inside(picks, given)]
    if asked.false is None:
        picks = _without(picks, ("false_discovery_rate", "log_odds"))
    if asked.alarms is None:
        picks = _without(picks, ("false_alarms",))
    picks = best_picks(picks, apart, voxel, asked)
    if asked.false is not None:
        # Of a list as long as that: aligned, peaks are in another order.
        share = np.sort(picks.features["false_discovery_rate"])
        picks = picks.with_features(false_discovery_rate=share)
    if not len(picks):
        warn(f"search found nothing: {_why(asked)}")
    return picks


def _why(asked: Wanted) -> str:
    """Say why there are no picks."""
    if not asked.by_chance:
        return "no peak is above the threshold"
    reasons, others = [], "count, threshold or false_alarms"
    if asked.false is not None:
        part = f"a part of more than {asked.false:g}"
        reasons.append(f"of any picks {part} is expected to be false")
    if asked.alarms is not None:
        reasons.append(f"noise has more than {asked.alarms:g} that score as much")
        others = "count or threshold"
    return f"{', or '.join(reasons)}; {others} alone give the best all the same"


def _apart(asked: Wanted, looked: LookedFor, given: Given) -> Apart:
    """Return how far peaks are apart."""
    if asked.by_mask:
        return Apart(ball_diameter(looked.support.bulk) / 2, given.prepared.mask)
    if asked.distance is None:
        return Apart(ball_diameter(looked.support.bulk))
    return Apart(asked.distance / given.scale)


class Written(NamedTuple):
    """What is written beside the picks."""

    record: str | None
    maps: str | None


def max_shift(radius: float) -> float:
    """Return how far picks may move as they are aligned, in voxels.

    Examples
    --------
    >>> max_shift(10.0), max_shift(4.0)
    (1.5, 1.0)
    """
    return min(1.5, radius / 4)


def _aligned(
    given: Given, looked: LookedFor, found: list[Found], some: list[Chosen]
) -> Molecules:
    """Return picks at the optimum of their poses, with their features."""
    from scipy.spatial.transform import Rotation

    sources = [each.source for each in given.places]
    sizes = [len(each.false) for each in some]
    rows = np.concatenate([each.found.rows for each in some])
    where = np.concatenate([each.found.where for each in some]) * given.scale
    names: dict[str, NDArray[Any]] = {}
    if isinstance(given.tomogram, Mapping):
        names["tomogram"] = np.repeat([str(each.name) for each in sources], sizes)
    if not len(where):
        nothing = dict.fromkeys((*PICKED, *some[0].found.less), np.zeros(0))
        return Molecules(np.zeros((0, 3)), None, {**names, **nothing})
    turns = looked.grid.rotations.as_quat()[rows % len(looked.grid.rotations)]
    around = looked.grid.spacing or 0.0
    particles = Molecules(where, Rotation.from_quat(turns), names)
    planned = plan(
        _filled(given),
        particles,
        search_for(
            max_shifts=max_shift(looked.support.radius) * given.scale,
            rotations=(around, around / 2) if around else None,
            tilt=given.tilt,
            resolution=looked.finest * given.scale,
            whiten=looked.whiten,
            estimate="mode",
        ),
        template=given.template,
        mask=given.mask,
        scale=given.stated,
        tomogram_feature="tomogram",
    )
    aligned = apply_alignment(particles, find_planned(planned, given.how))
    score = aligned.features["score"]
    less = {
        name: np.concatenate([each.found.less[name] for each in some])
        for name in some[0].found.less
    }
    score = score - sum(less.values())
    table = {
        **names,
        "score": score,
        "z_score": score * np.sqrt(np.repeat([each.numbers for each in found], sizes)),
        "false_discovery_rate": np.concatenate([each.false for each in some]),
        "log_odds": np.concatenate([each.odds for each in some]),
        "false_alarms": np.concatenate([each.alarms for each in some]),
        **{name: aligned.features[name] for name in PICKED[5:]},
        **less,
    }
    return Molecules(aligned.positions, aligned.rotations, table)


def _filled(given: Given) -> Any:
    """Return the tomograms, with a number in place of what is not finite."""
    if all(each.scan.bad is None for each in given.places):
        return given.tomogram
    found = {}
    for source, scan, _ in given.places:
        array = source.array if scan.bad is None else source.opened().array
        array = array if scan.bad is None else Filled(array, scan.mean)
        found[str(source.name)] = Tomogram(array, source.scale, source.tilt)
    many = isinstance(given.tomogram, Mapping)
    return found if many else next(iter(found.values()))


def _inside(picks: Molecules, given: Given) -> NDArray[np.bool_]:
    """Tell which picks are still in the region, and in the tomogram."""
    voxels = np.rint(picks.positions / given.scale).astype(int)
    names = picks.features.get("tomogram", np.full(len(picks), "None"))
    regions = {str(each.source.name): each.region for each in given.places}
    found = [
        regions[str(name)].block(tuple(voxel), tuple(voxel + 1)).all()
        for name, voxel in zip(names, voxels, strict=True)
    ]
    return np.array(found, bool)


def _without(picks: Molecules, names: tuple[str, ...]) -> Molecules:
    rest = {key: each for key, each in picks.features.items() if key not in names}
    return Molecules(picks.positions, picks.rotations, rest)


def _record(
    given: Given,
    looked: LookedFor,
    asked: Wanted,
    apart: Apart,
    symmetry: str,
    found: list[Found],
    some: list[Chosen],
    null: list[Found] | None,
    odds: Odds | None,
) -> SearchRecord:
    sources = [each.source for each in given.places]
    scores, false = of_all(found, odds)
    picked = np.concatenate([each.found.scores for each in some]).astype(float)
    return SearchRecord(
        tuple(each.name or each.path or "" for each in sources),
        tuple(each.shape for each in sources),
        tuple(each.region.describe() for each in given.places),
        given.scale,
        looked.finest * given.scale,
        looked.grid.spacing,
        len(looked.grid.rotations),
        len(looked.templates),
        symmetry,
        looked.whiten,
        looked.exact,
        max(each.functions for each in found),
        None if apart.masks is not None else apart.distance * given.scale,
        tuple(each.counts for each in found),
        max(each.least for each in found),
        scores,
        -np.sort(-picked),
        false,
        None if null is None else of_all(null, None)[0],
        false_discovery_rate=asked.false,
        false_alarms=asked.alarms,
    )
