"""What looks wrong in an alignment's arguments, though it could be done.

Each function here looks at arrays and returns findings, or none. All are cheap beside
an alignment; `funpipe.jobs.checking` adds those that read the tomogram.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import scipy

from funpipe.base.arguments import Image
from funpipe.base.caller import warn
from funpipe.base.molecules import Molecules
from funpipe.boxes.opening import Source, common_scale
from funpipe.jobs.planning import Plan
from funpipe.jobs.preparing import Prepared, masked_templates
from funpipe.space.geometry import centre

__all__ = ["Finding", "seen"]

_SCALES_APART = 0.01  # of the scale: pixel sizes are rounded, and calibrated
_CUT = 0.3  # of the template's variance
_OFF = 1 / 8  # of the box
_LOST = 0.05  # of the masked template's variance
_DOUBLE = 1.0  # voxels
_DOUBLE_ANGLE = 5.0  # degrees


class Finding(NamedTuple):
    """Something that looks wrong.

    Examples
    --------
    >>> print(Finding("particles doubled", 3, "drop one of each pair"))
    particles doubled (3): drop one of each pair
    """

    name: str
    """What it is."""
    figure: float
    """How much of it; the advice says of what."""
    advice: str
    """What to do, in a line."""

    def __str__(self) -> str:
        return f"{self.name} ({self.figure:.3g}): {self.advice}"


def seen(planned: Plan) -> list[Finding]:
    """Return what looks wrong and costs little to find."""
    by_default = planned.search.max_shifts is None  # nobody is blamed for it
    templates = planned.templates
    return [
        *seen_of_templates(planned.sources, planned.prepared),
        *([] if by_default else _small_box(templates, planned.sampling.window)),
        *_doubles(planned.sources),
    ]


def seen_of_templates(sources: list[Source], prepared: Prepared) -> list[Finding]:
    """Return what looks wrong in tomograms' scales, templates and masks."""
    return [
        *_scales(sources),
        *_tight_mask(*prepared),
        *_off_centre(masked_templates(prepared), common_scale(sources)),
    ]


def warn_of_findings(findings: list[Finding]) -> None:
    """Warn of findings, all at once."""
    if findings:
        listed = "\n".join(f"- {each}" for each in findings)
        warn(f"preflight, see funpipe.check:\n{listed}")


def _scales(sources: list[Source]) -> list[Finding]:
    """Find a scale that is not the one in the tomogram's file."""
    apart = [
        abs(math.log(each.scale / each.stated)) if each.stated else 0.0
        for each in sources
    ]
    worst = sources[int(np.argmax(apart))]
    if worst.stated is None or max(apart) <= math.log1p(_SCALES_APART):
        return []
    which = "the tomogram's file" if worst.name is None else f"{worst.name!r}"
    return [
        Finding(
            "scale contradicts header",
            worst.scale / worst.stated,
            f"scale is {worst.scale:.6g} nm per voxel, {which} says "
            f"{worst.stated:.6g}: leave scale out, or mend the file's header",
        )
    ]


def _tight_mask(templates: Image, masks: Image) -> list[Finding]:
    """Find a mask that cuts off much of its template."""
    cut = max(_outside(*pair) for pair in zip(templates, masks, strict=True))
    if cut <= _CUT:
        return []
    return [
        Finding(
            "mask cuts template",
            cut,
            f"{cut:.0%} of the template's variance lies outside the mask: make the "
            "mask wider, or see that both have the same centre",
        )
    ]


def _outside(template: Image, mask: Image) -> float:
    """Return the part of a template's power, above the level at its faces, unmasked."""
    inner = np.zeros(template.shape, bool)
    inner[1:-1, 1:-1, 1:-1] = True
    faces = template[~inner]
    power = np.square(template.astype(np.float64) - np.median(faces))
    return float((power * (1 - np.clip(mask, 0, 1)) ** 2).sum() / power.sum())


def _small_box(templates: Image, window: tuple[float, float, float]) -> list[Finding]:
    """Find a box that the masked template leaves when it is shifted."""
    lost = max(_shifted_out(each, window) for each in templates)
    if lost <= _LOST:
        return []
    return [
        Finding(
            "box too small",
            lost,
            f"max_shifts takes {lost:.0%} of the masked template's variance out of the "
            "box: make the box larger, the mask tighter or max_shifts smaller",
        )
    ]


def _shifted_out(image: Image, window: tuple[float, float, float]) -> float:
    """Return the largest part of an image's power that a shift takes out of its box."""
    power = np.square(image.astype(np.float64))
    parts = [0.0]
    for axis, shift in enumerate(window):
        others = tuple(i for i in range(3) if i != axis)
        profile = power.sum(axis=others) / power.sum()
        beyond = math.floor(shift + 1e-6)  # voxels whose centres leave the box
        parts += [profile[:beyond].sum(), profile[len(profile) - beyond :].sum()]
    return float(max(parts))


def _off_centre(templates: Image, scale: float) -> list[Finding]:
    """Find a template whose weight lies far from the centre that it is turned about."""
    worst, where = 0.0, np.zeros(3)
    for template in templates:
        power = np.square(template.astype(np.float64))
        middle = np.array(scipy.ndimage.center_of_mass(power)) - centre(power.shape)
        part = np.abs(middle / np.array(power.shape)).max()
        if part > worst:
            worst, where = float(part), middle * scale
    if worst <= _OFF:
        return []
    z, y, x = (f"{each:.3g}" for each in where)
    return [
        Finding(
            "template off centre",
            float(np.linalg.norm(where)),
            f"the template lies ({z}, {y}, {x}) nm from the centre of its box, about "
            "which it is turned: center_by_mass() or shift(...) puts it there",
        )
    ]


def _doubles(sources: list[Source]) -> list[Finding]:
    """Find particles that are nearly another one."""
    count = sum(_doubled(each.molecules, each.scale) for each in sources)
    total = sum(len(each.molecules) for each in sources)
    if not count:
        return []
    return [
        Finding(
            "particles doubled",
            count,
            f"{count} of {total} particles lie within {_DOUBLE:g} voxel and "
            f"{_DOUBLE_ANGLE:g} degrees of another: keep one of each",
        )
    ]


def _doubled(molecules: Molecules, scale: float) -> int:
    """Return how many have another within a voxel and some degrees, in quadrature."""
    if len(molecules) < 2:
        return 0
    # Quaternions of rotations an angle φ apart are 2 sin(φ / 4) apart, up to sign.
    unit = 2 * math.sin(math.radians(_DOUBLE_ANGLE) / 4)
    places = molecules.positions / (_DOUBLE * scale)
    turns = molecules.rotations.as_quat() / unit
    here, there = np.hstack([places, turns]), np.hstack([places, -turns])
    tree = scipy.spatial.KDTree(np.concatenate([here, there]))
    distance, _ = tree.query(here, k=2, distance_upper_bound=1.0)
    return int(np.isfinite(distance[:, 1]).sum())
