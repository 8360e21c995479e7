"""Preflight: what looks wrong before particles are aligned."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.algebra.verbs import verb
from funpipe.base.arguments import executor as as_executor
from funpipe.base.molecules import as_molecules
from funpipe.base.threads import one_thread
from funpipe.boxes.cropping import CropPiece, crop_pieces
from funpipe.boxes.opening import common_scale, some_of
from funpipe.engine.matching import ENGINE
from funpipe.engine.seam import Engine, Match
from funpipe.jobs.findings import Finding, seen
from funpipe.jobs.planning import Plan, plan
from funpipe.jobs.running import run
from funpipe.jobs.searching import search_for
from funpipe.space.geometry import RotationGrid, coarse_grid
from funpipe.space.tilts import Tilt
from funpipe.space.transfer import (
    about_other_axis,
    of_other_focus,
    of_other_hand,
    per_voxel,
)

__all__ = ["Finding", "check"]

_SAMPLE = 32  # particles that are aligned
_FIRST = 8  # of them, which often say that there is nothing to find
_TOGETHER = 8  # that one processor aligns in a row
_FEWEST = 4  # of which nothing can be said
_CHANCE = 1e-4  # of a finding where scores differ by chance alone
_MISSED = 1e-3  # of the first saying that there is none where scores do not differ
_MARGIN = 0.05  # of the score that another template must be better by


@verb
def check(
    tomogram: Any,
    molecules: Any,
    *,
    template: Any,
    mask: Any = None,
    scale: float | None = None,
    max_shifts: Any = None,
    rotations: Any = None,
    tilt: Any = None,
    resolution: float | None = None,
    symmetry: str = "C1",
    tomogram_feature: str = "tomogram",
    engine: Engine = ENGINE,
    executor: Executor | None = None,
) -> list[Finding]:
    """Tell what looks wrong before particles are aligned.

    Parameters
    ----------
    tomogram, molecules, template, mask, scale, max_shifts, rotations, tilt
        See `align`.
    resolution, symmetry, tomogram_feature, engine, executor
        See `align`.

    Returns
    -------
    list of Finding
        Each has a ``name``, a ``figure`` and one line of ``advice``:

        - ``scale contradicts header``: the scale over the one in the file;
        - ``mask cuts template``: the part of its variance outside the mask;
        - ``box too small``: the part of its variance, under the mask, that the largest
          shift takes out of the box;
        - ``template off centre``: nm from the centre of the box;
        - ``particles doubled``: how many are nearly another one;
        - ``particles outside``: how many boxes leave the tomogram;
        - ``opposite contrast``: by how much the template's negative scores better;
        - ``wrong hand``: by how much its mirror image scores better;
        - ``wrong tilt axis``: by how much the other axis does;
        - ``wrong hand of tilts``, ``wrong sign of defocus``: by how much the other one
          of a `tilt_series` does.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong or two do not go together.

    Notes
    -----
    `align` itself looks for all but the last six, which cost more: up to 32 particles
    are aligned to the template, its negative (in the search given, or a coarse one over
    all rotations where that is smaller) and its mirror image (over all rotations), and
    with the other tilts. These findings need four particles or more, and rest on a
    t-test of the differences of scores, at one in ten thousand. Where the first eight
    score clearly worse, at one in a thousand, the others are not aligned.

    Examples
    --------
    >>> import funpipe as fp
    >>> blob = fp.from_gaussian((8.0, 8.0, 8.0), sigma=(0.5, 1.0, 1.5))
    >>> tomogram = np.zeros((20, 20, 20)); tomogram[6:14, 6:14, 6:14] = blob(1.0)
    >>> picks = np.array([[9.0, 9.0, 10.0], [9.0, 9.0, 10.1]])
    >>> for finding in check(tomogram, picks, template=blob, scale=1.0):
    ...     print(finding.name, finding.figure)
    particles doubled 2
    """
    executor = as_executor("executor", executor)
    search = search_for(
        max_shifts=max_shifts,
        rotations=rotations,
        tilt=tilt,
        resolution=resolution,
        symmetry=symmetry,
        engine=engine,
    )
    planned = plan(
        tomogram,
        as_molecules("molecules", molecules),
        search,
        template=template,
        mask=mask,
        scale=scale,
        tomogram_feature=tomogram_feature,
    )
    found = seen(planned)
    leaving, inside = _outside(planned)
    found += leaving
    sample = _sample(planned, inside)
    if sum(len(each.indices) for part in sample for each in part) >= _FEWEST:
        compared = _Compared(sample, planned, coarse_grid(symmetry), executor)
        found += _contrast(compared) or _hand(compared)
        found += _tilts(compared)
    return found


class _Compared(NamedTuple):
    """What others are compared with, and how."""

    sample: list[list[CropPiece]]
    """Particles: a few, then the rest."""
    planned: Plan
    coarse: RotationGrid
    """All rotations."""
    executor: Executor | None

    def grid(self) -> RotationGrid:
        """Return the search that was given, or the coarse one where that is smaller."""
        given = self.planned.sampling.grid
        fewer = len(given.rotations) <= len(self.coarse.rotations)
        return given if fewer else self.coarse


def _outside(planned: Plan) -> tuple[list[Finding], NDArray[np.intp]]:
    """Find boxes that leave their tomograms; return which are not wholly outside."""
    box, radius = planned.box, planned.radius
    leaving = sum(int(each.leaving(box, radius).sum()) for each in planned.sources)
    inside = [each.indices[~each.wholly_outside(box)] for each in planned.sources]
    rest = np.sort(np.concatenate(inside))
    if not leaving:
        return [], rest
    count = sum(len(each.indices) for each in planned.sources)
    finding = Finding(
        "particles outside",
        leaving,
        f"{leaving} of {count} boxes leave the tomogram within the template's reach, "
        f"{count - len(rest)} wholly: drop them, and see that positions are in nm, z, "
        "y, x, at the right scale",
    )
    return [finding], rest


def _sample(planned: Plan, inside: NDArray[np.intp]) -> list[list[CropPiece]]:
    """Cut the boxes of some particles, evenly spread over the list: a few, the rest."""
    chosen = inside
    if len(inside) > _SAMPLE:
        chosen = inside[np.linspace(0, len(inside) - 1, _SAMPLE).astype(np.intp)]
    few = chosen[:: max(1, len(chosen) // _FIRST)]
    parts = few, np.setdiff1d(chosen, few)
    return [
        list(crop_pieces(some_of(planned.sources, each), planned.support, _TOGETHER))
        for each in parts
        if len(each)
    ]


def _contrast(compared: _Compared) -> list[Finding]:
    negative = -compared.planned.templates
    better = _better(compared, negative, _as_given, compared.grid(), _MARGIN)
    if better is None:
        return []
    return [
        Finding(
            "opposite contrast",
            better,
            f"the template's negative scores {better:.3g} higher: invert() the "
            "template, or change the sign of the tomogram",
        )
    ]


def _hand(compared: _Compared) -> list[Finding]:
    mirrored = np.ascontiguousarray(compared.planned.templates[:, ::-1])
    better = _better(compared, mirrored, _as_given, compared.coarse, _MARGIN)
    if better is None:
        return []
    return [
        Finding(
            "wrong hand",
            better,
            f"the template's mirror image scores {better:.3g} higher: one of template "
            "and tomogram has the wrong hand; mirror it (image[::-1])",
        )
    ]


def _tilts(compared: _Compared) -> list[Finding]:
    """Find which tilts fit better than those that are given."""
    given = [each.tilt for each in compared.planned.sources]
    found = []
    for name, (other, advice) in _OTHER_TILTS.items():
        if all(other(each) is each for each in given):
            continue
        ours = compared.planned.templates
        better = _better(compared, ours, other, compared.grid(), 0.0)
        if better is not None:
            text = f"{advice[0]} scores {better:.3g} higher: {advice[1]}"
            found.append(Finding(name, better, text))
    return found


def _as_given(tilt: Tilt) -> Tilt:
    return tilt


_OTHER_TILTS: dict[str, tuple[Callable[[Tilt], Tilt], tuple[str, str]]] = {
    "wrong tilt axis": (
        about_other_axis,
        ("a tilt axis turned by 90 degrees", "exchange axis='y' and axis='x' of tilt"),
    ),
    "wrong hand of tilts": (
        of_other_hand,
        (
            "a tilt series of the other hand",
            "exchange hand=-1 and hand=1",
        ),
    ),
    "wrong sign of defocus": (
        of_other_focus,
        ("defocus of the other sign", "it is more than 0 under focus"),
    ),
}


def _better(
    compared: _Compared,
    templates: NDArray[np.float32],
    change: Callable[[Tilt], Tilt],
    grid: RotationGrid,
    margin: float,
) -> float | None:
    """Return by how much others score better; None if that may be chance.

    Others are these templates and the tilts with a change; they are better by more than
    a margin, as a part of the score.
    """
    planned = compared.planned
    with one_thread():
        ours = other = _bank(planned.templates, planned, grid)
        if templates is not planned.templates:
            other = _bank(templates, planned, grid)
    trials = [(ours, _as_given), (other, change)]
    match, scale = planned.search.engine.match, common_scale(planned.sources)
    task = partial(_scores, match=match, trials=trials, scale=scale)
    scores = gain = np.empty(0)
    for part in compared.sample:
        runs = run(task, partial(_pieces, part), compared.executor)
        found = np.concatenate(list(runs), 1)
        scores, gain = np.append(scores, found[0]), np.append(gain, found[1] - found[0])
        if np.ptp(gain) and _chance(-gain) < _MISSED:
            return None
    mean = float(gain.mean())
    if mean <= margin * max(0.0, float(scores.mean())) or np.ptp(gain) == 0:
        return None
    return mean if _chance(gain) < _CHANCE else None


def _chance(gain: NDArray[np.float64]) -> float:
    """Return how often a mean is as high by chance, by a t-test."""
    t = gain.mean() / (gain.std(ddof=1) / np.sqrt(len(gain)))
    return float(scipy.special.stdtr(len(gain) - 1, -t))


def _bank(templates: NDArray[np.float32], planned: Plan, grid: RotationGrid) -> Any:
    """Prepare the search of a grid for some templates."""
    window, _, finest = planned.sampling
    prepare, support = planned.search.engine.prepare, planned.support
    return prepare(templates, grid, window, finest, support=support, refined=True)


def _pieces(part: list[CropPiece], folder: Path | None) -> list[CropPiece]:
    return part


def _scores(
    piece: CropPiece,
    *,
    match: Callable[..., Match],
    trials: list[tuple[Any, Callable[[Tilt], Tilt]]],
    scale: float,
    go_on: Callable[[], None],
) -> NDArray[np.float64]:
    """Return the best scores of some particles, each bank with its tilt, (2, n)."""
    _, crops, orientations, tilt = piece
    found = [
        match(
            crops,
            orientations,
            bank=bank,
            tilt=per_voxel(change(tilt), scale),
            go_on=go_on,
        )
        for bank, change in trials
    ]
    return np.stack([each.scores for each in found])
