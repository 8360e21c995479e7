"""Poses of boxes, found part by part, here or by an executor.

A bounded number of parts is cut, waits and runs at a time, see `running`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import toolz
from numpy.typing import NDArray

from funpipe.base.caller import warn
from funpipe.boxes.cropping import CropPiece
from funpipe.engine.amplitude import over_ladder
from funpipe.engine.seam import Match
from funpipe.jobs.running import run
from funpipe.jobs.searching import Sampling, Search
from funpipe.space.crops import Support
from funpipe.space.fourier import per_voxel

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = ["Alignment", "find_poses"]

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
    work: Iterable[CropPiece],
    some_of: Callable[[NDArray[np.intp]], Iterable[CropPiece]],
    count: int,
    *,
    search: Search,
    sampling: Sampling,
    templates: NDArray[np.float32],
    support: Support,
    scale: float,
    executor: Executor | None,
    progress: bool,
) -> Alignment:
    """Find the poses of boxes that are cut when their turn comes.

    Parameters
    ----------
    work : iterable of CropPiece
        All boxes, each once.
    some_of : callable
        Returns those of some particles, given their numbers in rising order;
        noise is estimated from those.
    count : int
        How many boxes there are.
    search, sampling
        Where poses are looked for, and how.
    templates : (m, z, y, x) array
        What is looked for, masked.
    support : Support
        What of a box counts.
    scale : float
        nm per voxel.
    executor, progress
        See `funpipe.align`.

    Returns
    -------
    Alignment
        In the order of the particles' numbers.

    Warns
    -----
    UserWarning
        If there is nothing in some of the boxes.
    """
    work = toolz.peek(work)[1]  # what cannot be cut is said before anything is matched
    engine, (window, grid, finest) = search.engine, sampling
    bank = engine.prepare(
        templates, grid, window, finest, support=support, refined=search.refine
    )
    if search.whiten and engine.whiten is not None:
        chosen = np.unique(np.linspace(0, count - 1, _NOISE_SAMPLE).astype(np.intp))
        sample = [
            (crops, orientations, per_voxel(tilt, scale))
            for _, crops, orientations, tilt in some_of(chosen)
        ]
        bank = engine.whiten(bank, sample)
    if search.estimate == "mean" and engine.weigh is not None:
        bank = engine.weigh(bank)
    task = partial(_match_task, match=engine.match, bank=bank, scale=scale)
    with closing(run(task, ((each,) for each in work), executor)) as running:
        done = list(_with_bar(running, count, progress))
    indices, matches = zip(*done, strict=True)
    found = Match.concat(matches)
    blank = int(found.blank.sum())
    if blank:
        warn(
            f"{blank} of {count} boxes hold nothing, or nothing that was measured: "
            "those particles stay where they are, with a score of 0"
        )
    found = found.take(np.argsort(np.concatenate(indices), kind="stable"))
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


_Done: TypeAlias = tuple[NDArray[np.intp], Match]


def _match_task(
    piece: CropPiece,
    *,
    match: Callable[..., Match],
    bank: Any,
    scale: float,
    go_on: Callable[[], None],
) -> _Done:
    """Return which particles a piece holds, and their poses."""
    indices, crops, orientations, tilt = piece
    weights = per_voxel(tilt, scale)
    found = match(crops, orientations, bank=bank, tilt=weights, go_on=go_on)
    if len(found.scores) != len(indices):
        raise ValueError(
            f"engine must match each box: {len(found.scores)} poses of {len(indices)}"
        )
    return indices, found


def _with_bar(found: Iterable[_Done], count: int, progress: bool) -> Iterator[_Done]:
    from tqdm import tqdm

    with tqdm(total=count, unit="particle", disable=not progress) as bar:
        for indices, each in found:
            bar.update(len(indices))
            yield indices, each
