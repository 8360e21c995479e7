"""Poses of boxes, found chunk by chunk, here or by an executor."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from funpipe.base.caller import warn
from funpipe.base.threads import one_thread
from funpipe.boxes.cropping import Boxes, CropPiece, cropped_boxes
from funpipe.boxes.opening import common_scale
from funpipe.engine.amplitude import over_ladder
from funpipe.engine.seam import Match
from funpipe.jobs.planning import Plan
from funpipe.jobs.running import Task
from funpipe.jobs.searching import Sampling, Search
from funpipe.jobs.working import Job, Result, Running, results
from funpipe.space.crops import Support
from funpipe.space.transfer import per_voxel

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = ["Alignment", "find_planned", "find_poses"]

_NOISE_SAMPLE = 64  # particles, evenly spread, that the noise is estimated from


def _unknown() -> NDArray[np.float64]:
    return np.zeros(0)


_SHAPES: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("log_odds", "mode_weight", "template_probability"), ()),
    "log_evidence": (1,),
}


@dataclass(frozen=True, eq=False)
class Alignment:
    """Where the template lies in each of n boxes.

    Template point q lies in box i at ``R_i @ (q − c) + c + t_i / scale``.
    """

    rotations: Rotation
    """n rotations, template to box, on zyx vectors."""
    shifts: NDArray[np.float64]
    """(n, 3), nm, z, y, x."""
    scores: NDArray[np.float64]
    """(n,), the normalised correlation, −1 to 1."""
    templates: NDArray[np.int64]
    """(n,), which template fits best."""
    shift_errors: NDArray[np.float64]
    """(n,), nm, the root of the expected squared distance; NaN without refinement."""
    angle_errors: NDArray[np.float64]
    """(n,), degrees, likewise, 180 where nothing is known; NaN also where rotations
    were not searched."""
    at_limit: NDArray[np.bool_]
    """(n,), whether shift or rotation ended on a limit of the search."""
    converged: NDArray[np.bool_]
    """(n,), whether another step of the refinement would gain nothing against the
    noise; False without refinement."""
    log_odds: NDArray[np.float64] = field(default_factory=_unknown)
    """(n,), ln of the odds that there is a particle, of any template, to there being
    noise alone; the particles' amplitude and how many of the boxes hold one are
    estimated from all boxes. NaN where the engine does not say."""
    mode_weight: NDArray[np.float64] = field(default_factory=_unknown)
    """(n,), the probability of the poses around the best; NaN likewise."""
    template_probability: NDArray[np.float64] = field(default_factory=_unknown)
    """(n,), that it is this template if it is one of them; NaN likewise."""
    log_evidence: NDArray[np.float64] = field(default_factory=_unknown)
    """(n, m), ln of the likelihood of each template, averaged over all poses that
    were searched, against noise alone; NaN likewise."""

    def __post_init__(self) -> None:
        n = len(self.scores)
        for name, shape in _SHAPES.items():
            if len(getattr(self, name)) != n:
                object.__setattr__(self, name, np.full((n, *shape), np.nan))

    def __len__(self) -> int:
        return len(self.scores)


def find_poses(
    boxes: Boxes,
    *,
    search: Search,
    sampling: Sampling,
    templates: NDArray[np.float32],
    support: Support,
    scale: float,
    how: Running,
) -> Alignment:
    """Find the poses of boxes that are cut when their turn comes.

    Parameters
    ----------
    boxes : Boxes
        All of them, and some of them: noise is estimated from those.
    search, sampling
        Where poses are looked for, and how.
    templates : (m, z, y, x) array
        What is looked for, masked.
    support : Support
        What of a box counts.
    scale : float
        nm per voxel.
    how : Running
        Where, and what is kept and shown of it.

    Returns
    -------
    Alignment
        In the order of the particles' numbers.

    Warns
    -----
    UserWarning
        If there is nothing in some of the boxes.
    """
    looked_for = LookedFor(search, sampling, templates, support, scale)
    job = Job(
        "align",
        boxes.chunks,
        boxes.parts,
        partial(_task, boxes, looked_for),
        boxes.cut,
        partial(_facts, boxes, looked_for),
        apart=boxes.apart,
    )
    with closing(results(job, how)) as found:
        matches = [_as_match(each) for each in found]
    indices = np.concatenate([each.indices for each in boxes.chunks])
    return _alignment(
        Match.concat(matches).take(np.argsort(indices, kind="stable")), scale
    )


def find_planned(planned: Plan, how: Running) -> Alignment:
    """Find the poses of the particles of tomograms, as planned; see `find_poses`."""
    return find_poses(
        cropped_boxes(planned.sources, planned.support),
        search=planned.search,
        sampling=planned.sampling,
        templates=planned.templates,
        support=planned.support,
        scale=common_scale(planned.sources),
        how=how,
    )


class LookedFor(NamedTuple):
    """All of a search that does not depend on the particles."""

    search: Search
    sampling: Sampling
    templates: NDArray[np.float32]
    support: Support
    scale: float


def _facts(boxes: Boxes, looked_for: LookedFor) -> tuple[Any, list[str]]:
    """Return what determines poses: also the other particles, if they say the noise."""
    keys = boxes.keys()
    return (looked_for, keys if looked_for.search.whiten else None), keys


def _task(boxes: Boxes, looked_for: LookedFor) -> Task:
    """Return what matches the boxes of a part."""
    search, (window, grid, finest), templates, support, scale = looked_for
    engine = search.engine
    with one_thread():
        bank = engine.prepare(
            templates, grid, window, finest, support=support, refined=search.refine
        )
        if search.whiten and engine.whiten is not None:
            count = sum(len(each.indices) for each in boxes.chunks)
            chosen = np.unique(np.linspace(0, count - 1, _NOISE_SAMPLE).astype(np.intp))
            sample = [
                (crops, orientations, per_voxel(tilt, scale))
                for _, crops, orientations, tilt in boxes.some_of(chosen)
            ]
            bank = engine.whiten(bank, sample)
        if search.estimate == "mean" and engine.weigh is not None:
            bank = engine.weigh(bank, **_prior(search, scale))
    return partial(_match, cut=boxes.cut, match=engine.match, bank=bank, scale=scale)


def _prior(search: Search, scale: float) -> dict[str, tuple[float, float]]:
    """Return the prior of a search as engines take it, if there is one."""
    if search.prior is None:
        return {}
    move, turn = (math.inf if each is None else each for each in search.prior)
    return {"prior": (move / scale, math.radians(turn))}


def _match(
    part: Any,
    *,
    cut: Callable[[Any], CropPiece],
    match: Callable[..., Match],
    bank: Any,
    scale: float,
    go_on: Callable[[], None],
) -> Result:
    """Return the poses of a part's boxes."""
    indices, crops, orientations, tilt = cut(part)
    go_on()
    weights = per_voxel(tilt, scale)
    found = match(crops, orientations, bank=bank, tilt=weights, go_on=go_on)
    if len(found.scores) != len(indices):
        raise ValueError(
            f"engine must match each box: {len(found.scores)} poses of {len(indices)}"
        )
    return _as_arrays(found)


def _as_arrays(match: Match) -> Result:
    values = match._replace(rotations=match.rotations.as_quat())._asdict()
    return {name: np.asarray(each) for name, each in values.items() if each is not None}


def _as_match(arrays: Result) -> Match:
    from scipy.spatial.transform import Rotation

    rotations = Rotation.from_quat(arrays["rotations"])
    return Match(**{**arrays, "rotations": rotations})


def _alignment(found: Match, scale: float) -> Alignment:
    """Return poses, in voxels, as an alignment; what one says of all is estimated."""
    count = len(found.scores)
    blank = int(found.blank.sum())
    if blank:
        warn(
            f"{blank} of {count} boxes hold nothing, or nothing that was measured: "
            "those particles stay where they are, with a score of 0"
        )
    known: dict[str, NDArray[np.float64]] = {}
    if found.log_evidence is not None:
        of_all = over_ladder(found.log_evidence, found.templates)
        known = {
            "log_odds": of_all.log_odds,
            "template_probability": of_all.probability,
            "log_evidence": of_all.log_evidence,
        }
    if found.mode_weight is not None:
        known["mode_weight"] = found.mode_weight
    return Alignment(
        found.rotations,
        found.shifts * scale,
        found.scores,
        found.templates,
        found.shift_errors * scale,
        found.angle_errors,
        found.at_limit,
        found.converged,
        **known,
    )
