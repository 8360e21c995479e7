"""What to distrust in a result: findings, each with its figure and what to do.

Each function here looks at particles or at a curve, and returns findings, or none.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from funpipe.base.molecules import Molecules
from funpipe.jobs.clustering import near_pairs, tomogram_numbers
from funpipe.jobs.correlating import FSC, ConicalFSC
from funpipe.jobs.findings import Finding
from funpipe.jobs.halving import ALIGNED, HALF
from funpipe.space.shells import hemisphere
from funpipe.space.tilts import Tilt
from funpipe.space.transfer import measured
from funpipe.space.views import (
    second_moment,
    unseen,
    unseen_by_chance,
    view_directions,
)

__all__ = ["Seen", "coverage", "distrusted"]

_FEW = 30  # views, of which one can say little
_WITHIN = 20.0  # degrees, as of cones
_UNSEEN = 0.05  # of the sphere
_FLAT = 0.15  # the smallest of the moment's eigenvalues, ⅓ where views are even
_UNCOVERED = 0.5  # of the mean over directions
_SURE = 4.5  # deviations below the mean that the least of so many are not by chance
_ANISOTROPIC = 0.2  # the deviation of resolved frequencies over directions
_MANY = 0.05  # of the particles
_THRESHOLD = 0.143
_LAST = 4  # shells
_LINES = 500
_FREQUENCY = 0.1  # 1/nm
_AT_A_TIME = 2**10  # particles
_ENOUGH = 5000  # particles, for what is covered, a mean


class Seen(NamedTuple):
    """A result, as far as it is known."""

    molecules: Molecules
    curve: FSC | None = None
    """Of halves."""
    cones: ConicalFSC | None = None
    symmetry: str = "C1"
    tilt: Tilt | None = None
    """What tilt series measured; None where that is not known."""
    near: float = 1.0
    """nm: particles no farther apart count as one."""
    tomogram_feature: str = "tomogram"
    moved: float | None = None
    """nm, the root mean square of how far the last iteration moved particles."""
    resolution: float | None = None
    """nm, of a refinement; None where the curve alone says it."""


def distrusted(seen: Seen) -> list[Finding]:
    """Return what to distrust in a result.

    Examples
    --------
    >>> picks = Molecules([[0.0, 0.0, 0.0], [0.0, 0.0, 0.1], [0.0, 0.0, 9.0]])
    >>> for each in distrusted(Seen(picks, near=0.5)):
    ...     print(each.name, each.figure)
    duplicates 1
    """
    return [
        *_template_bias(seen),
        *_duplicates(seen),
        *_never_falls(seen.curve, seen.resolution),
        *_directions(seen),
        *_anisotropy(seen.cones),
        *_limits(seen.molecules),
        *_unfinished(seen.molecules),
        *_moving(seen),
        *_noise(seen.molecules),
    ]


# Which template they were aligned to.


def _template_bias(seen: Seen) -> list[Finding]:
    """Find particles that were all aligned to one template."""
    features = seen.molecules.features
    if "score" not in features or ALIGNED in features:
        return []
    shares = ""
    if seen.curve is not None or HALF in features:
        shares = "; halves that were aligned to one template agree by it alone"
    return [
        Finding(
            "template bias",
            len(seen.molecules),
            "particles, all of them, were aligned to one template, which noise alone "
            f"would give back{shares}: believe nothing that is finer than the "
            "resolution of the search, or align each half to its own reference, as "
            "refine does",
        )
    ]


def _duplicates(seen: Seen) -> list[Finding]:
    """Find pairs that are nearly at one place; worse, one in each half."""
    tomograms = tomogram_numbers(seen.molecules, seen.tomogram_feature)
    pairs = near_pairs(seen.molecules.positions, tomograms, seen.near)
    if not len(pairs):
        return []
    advice = f"of {seen.near:g} nm or nearer"
    half = seen.molecules.features.get(HALF)
    torn = 0 if half is None else int((half[pairs[:, 0]] != half[pairs[:, 1]]).sum())
    if torn:
        advice += (
            f", {torn} of them with one in each half, which then agree by its noise: "
            "draw halves anew with within= before aligning"
        )
    return [
        Finding(
            "duplicates",
            len(pairs),
            f"pairs {advice}: keep the better one of each, distinct(molecules, "
            f"distance={seen.near:g})",
        )
    ]


# How far halves agree.


def _never_falls(curve: FSC | None, resolution: float | None) -> list[Finding]:
    """Find a curve that does not fall to zero, or rises again."""
    if curve is None:
        return []
    if resolution is None:
        resolution = curve.resolution(_THRESHOLD)
    found = curve.corrected
    ends = max(2, min(_LAST, len(found) // 4))
    last = float(found[-ends:].mean())
    finest = 1 / curve.frequency[-1]
    if not np.isfinite(resolution):
        return [
            Finding(
                "halves do not agree",
                float(found[0]),
                "the FSC is below 0.143 from the first shell on: there is no common "
                "signal; look at picks, template and scale",
            )
        ]
    if last > _THRESHOLD:
        return [
            Finding(
                "FSC does not fall to zero",
                last,
                f"is the mean of its last {ends} shells, up to "
                f"{finest:.3g} nm: the voxels are the limit, so average with smaller "
                "ones; if it stays so, halves share noise: look for duplicates, a "
                "mask with hard edges, or halves that were aligned to one template",
            )
        ]
    low, _ = curve.band()
    fallen = int(np.flatnonzero(found < _THRESHOLD)[0])
    again = np.flatnonzero(low[fallen:] > _THRESHOLD)
    if not again.size:
        return []
    at = fallen + int(again[0])
    return [
        Finding(
            "FSC rises again",
            float(found[at]),
            f"at {1 / curve.frequency[at]:.3g} nm, behind where it fell below 0.143, "
            "and not by chance: look for duplicates, artefacts of the box's edges, or "
            "the mask",
        )
    ]


def _anisotropy(cones: ConicalFSC | None) -> list[Finding]:
    """Find a resolution that differs by direction."""
    if cones is None:
        return []
    resolutions = cones.resolutions()
    if not np.isfinite(resolutions).any():
        return []
    found = cones.anisotropy()
    if found <= _ANISOTROPIC:
        return []
    known = resolutions[np.isfinite(resolutions)]
    blind = len(resolutions) - len(known)
    none = f", in {blind} of {len(resolutions)} directions none" if blind else ""
    return [
        Finding(
            "resolution differs by direction",
            found,
            "is the deviation of the frequencies where the FSC of cones falls to 0.5, "
            f"over their mean: {known.min():.3g} to {known.max():.3g} nm{none}. State "
            "the coarsest, and add other views",
        )
    ]


# From where particles were seen.


def _directions(seen: Seen) -> list[Finding]:
    """Find directions that were hardly seen, or, if tilts are known, not measured."""
    rotations = seen.molecules.rotations
    if len(seen.molecules) < _FEW:
        return []
    if seen.tilt is not None:
        covered = coverage(seen.molecules, seen.tilt, seen.symmetry)
        mean = float(covered.mean())
        if mean == 0:
            return []
        least = float(covered.min()) / mean
        by_chance = 1 - _SURE * np.sqrt((1 - min(mean, 1)) / mean / len(rotations))
        if least >= min(_UNCOVERED, by_chance):
            return []
        return [
            Finding(
                "preferred orientation",
                least,
                "of the waves along the least covered direction were measured, where 1 "
                "is the mean over directions: the map is smeared along it; add other "
                "views, or drop some of those that there are many of",
            )
        ]
    views = view_directions(rotations, seen.symmetry)
    part, moment = unseen(views, _WITHIN), second_moment(views)
    chance = unseen_by_chance(len(views), _WITHIN)
    if part <= _UNSEEN + 3 * chance and moment[0] >= _FLAT:
        return []
    a, b, c = moment
    return [
        Finding(
            "preferred orientation",
            part,
            f"of the sphere has no view within {_WITHIN:g} degrees, where even views "
            f"leave {chance:.2g}; their second moments are {a:.2f}, {b:.2f} and "
            f"{c:.2f}, where even ones have 0.33 each: look at the conical FSC, and "
            "add other views. Views all around one axis, as of filaments, do measure "
            "all directions",
        )
    ]


def coverage(
    molecules: Molecules, tilt: Tilt, symmetry: str = "C1"
) -> NDArray[np.float64]:
    """Return how much of the waves along directions of the template was measured.

    Of each of 500 directions over half a sphere that is the mean, over particles, of
    what their tilt series measured of the wave along it. Of very many particles some
    thousands are looked at, evenly in their order.

    Examples
    --------
    >>> from funpipe import single_axis
    >>> one = Molecules(np.zeros((1, 3)))
    >>> coverage(one, single_axis((-60, 60))).mean().round(2)
    np.float64(0.67)
    """
    covered = np.zeros(_LINES)
    of_group = _directions_alike(symmetry)
    every = molecules.rotations[:: -(-len(molecules) // _ENOUGH)]
    for start in range(0, len(every), _AT_A_TIME):
        turns = every[start : start + _AT_A_TIME].as_matrix()
        for lines in of_group:
            waves = _FREQUENCY * np.einsum("nij,mj->inm", turns, lines)
            covered += measured(tilt, waves).sum(axis=0)
    return covered / (len(every) * len(of_group))


def _directions_alike(symmetry: str) -> list[NDArray[np.float64]]:
    from funpipe.space.symmetry import symmetry_group

    lines = hemisphere(_LINES)
    return [each.apply(lines) for each in symmetry_group(symmetry)]


# What the alignment says of itself.


def _limits(molecules: Molecules) -> list[Finding]:
    part = _share(molecules, "at_limit")
    if part <= _MANY:
        return []
    return [
        Finding(
            "poses at limits",
            part,
            "of the particles ended on a limit of the search: give larger max_shifts "
            "or rotations, or, if they stay there, take them for no particles",
        )
    ]


def _unfinished(molecules: Molecules) -> list[Finding]:
    if "converged" not in molecules.features:
        return []
    part = 1 - _share(molecules, "converged")
    if part <= _MANY:
        return []
    return [
        Finding(
            "not converged",
            part,
            "of the particles are not at an optimum, or were not refined: their poses "
            "and stated errors are those of the grid; align again from where they are",
        )
    ]


def _moving(seen: Seen) -> list[Finding]:
    """Find a refinement that ended before particles stood still."""
    errors = seen.molecules.features.get("shift_error")
    if seen.moved is None or errors is None or not np.isfinite(errors).any():
        return []
    error = float(np.median(errors[np.isfinite(errors)]))
    if seen.moved <= error:
        return []
    return [
        Finding(
            "still moving",
            seen.moved,
            "nm, by how much the last iteration moved particles, which is more than "
            f"the {error:.2g} nm that their errors are: give more iterations",
        )
    ]


def _noise(molecules: Molecules) -> list[Finding]:
    odds = molecules.features.get("log_odds")
    if odds is None or not np.isfinite(odds).any():
        return []
    part = float(np.mean(odds[np.isfinite(odds)] < 0))
    if part <= _MANY:
        return []
    return [
        Finding(
            "noise among particles",
            part,
            "of the particles are more likely noise than one (log_odds below 0): leave "
            "them out, molecules[molecules.features['log_odds'] > 0]",
        )
    ]


def _share(molecules: Molecules, feature: str) -> float:
    values: Any = molecules.features.get(feature)
    if values is None or not len(values) or values.dtype.kind == "U":
        return 0.0
    return float(np.mean(values.astype(float) == 1))
