"""Preflight: what looks wrong before particles are aligned."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any

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
from funpipe.space.tilt_series import per_voxel

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
        - ``wrong hand``: by how much its mirror image scores better.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong or two do not go together.

    Notes
    -----
    `align` itself looks for all but the last three, which cost more: up to 32
    particles are aligned to the template, its negative (in the search given, or a
    coarse one over all rotations where that is smaller) and its mirror image (over
    all rotations). These two findings need four particles or more, and rest on a
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
        coarse = coarse_grid(symmetry)
        compared = sample, planned, coarse, executor
        found += _contrast(*compared) or _hand(*compared)
    return found


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


def _contrast(
    sample: list[list[CropPiece]],
    planned: Plan,
    coarse: RotationGrid,
    executor: Executor | None,
) -> list[Finding]:
    grid = planned.sampling.grid
    grid = grid if len(grid.rotations) <= len(coarse.rotations) else coarse
    better = _better(sample, -planned.templates, planned, grid, executor)
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


def _hand(
    sample: list[list[CropPiece]],
    planned: Plan,
    coarse: RotationGrid,
    executor: Executor | None,
) -> list[Finding]:
    mirrored = np.ascontiguousarray(planned.templates[:, ::-1])
    better = _better(sample, mirrored, planned, coarse, executor)
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


def _better(
    sample: list[list[CropPiece]],
    others: NDArray[np.float32],
    planned: Plan,
    grid: RotationGrid,
    executor: Executor | None,
) -> float | None:
    """Return by how much other templates score better; None if that may be chance."""
    with one_thread():
        banks = [_bank(each, planned, grid) for each in (planned.templates, others)]
    scale = common_scale(planned.sources)
    task = partial(_scores, match=planned.search.engine.match, banks=banks, scale=scale)
    ours = gain = np.empty(0)
    for part in sample:
        found = np.concatenate(list(run(task, partial(_pieces, part), executor)), 1)
        ours, gain = np.append(ours, found[0]), np.append(gain, found[1] - found[0])
        if np.ptp(gain) and _chance(-gain) < _MISSED:
            return None
    mean = float(gain.mean())
    if mean <= _MARGIN * max(0.0, float(ours.mean())) or np.ptp(gain) == 0:
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
    banks: list[Any],
    scale: float,
    go_on: Callable[[], None],
) -> NDArray[np.float64]:
    """Return the best scores of some particles by each bank, (banks, n)."""
    _, crops, orientations, tilt = piece
    weights = per_voxel(tilt, scale)
    found = [
        match(crops, orientations, bank=each, tilt=weights, go_on=go_on)
        for each in banks
    ]
    return np.stack([each.scores for each in found])
