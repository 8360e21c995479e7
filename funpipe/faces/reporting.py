"""A result as one page: what came out, how, and what of it to distrust."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from funpipe.algebra.verbs import verb
from funpipe.base import arguments as check
from funpipe.base.arguments import Image
from funpipe.base.extras import require
from funpipe.base.molecules import Molecules, as_molecules
from funpipe.base.whole import check_target, replacing
from funpipe.base.wording import fail
from funpipe.boxes.opening import open_tomogram
from funpipe.faces.pages import page
from funpipe.faces.telling import Given, Told, fullest, sections
from funpipe.jobs.correlating import conical_fsc, fsc
from funpipe.jobs.doubts import Seen, distrusted
from funpipe.jobs.halving import Halves
from funpipe.jobs.iterating import Iteration
from funpipe.jobs.preparing import mask_for, prepare_all
from funpipe.space.tilts import as_tilt

__all__ = ["report"]


@verb
def report(
    result: Any,
    path: str | os.PathLike[str] = "report.html",
    *,
    template: Any = None,
    mask: Any = None,
    tomogram: Any = None,
    average: Any = None,
    null: Any = None,
    scale: float | None = None,
    tilt: Any = None,
    symmetry: str = "C1",
    near: float | None = None,
    parameters: Mapping[str, Any] | None = None,
    title: str = "funpipe report",
    tomogram_feature: str = "tomogram",
) -> Path:
    """Write a page about a result: pictures, figures, and what to distrust.

    Parameters
    ----------
    result : Molecules, Iteration, or iterable of Iteration
        Of `align`, or of `refine`, whose iterations bring their maps with them; the
        last one is what the page is about.
    path : path-like
        Where to; an existing file is replaced, whole or not at all.
    template, mask
        What was aligned to, as in `align`: drawn with all their stages, and printed as
        source text.
    tomogram : array-like, path, Tomogram, or mapping from names to such
        For particles over a slice; of several the one with the most particles.
    average : (z, y, x) array, or Halves
        Of molecules: their average. With `Halves`, as of `half_averages`, the FSC is
        drawn too, under the mask.
    null : Molecules or (m,) array, optional
        Scores of where no particle is, see `funpipe.plot.scores`.
    scale : float, optional
        nm per voxel of template and average; by default what halves, iterations or the
        tomogram say.
    tilt : see `align`
        What the tilt series measured, to tell which directions are covered; by default
        only views are looked at.
    symmetry : str
        Of the particles.
    near : float, optional
        nm: particles no farther apart count as duplicates; by default a quarter of the
        average's or template's shortest side, or else 1.
    parameters : mapping from str, optional
        What else was chosen, printed by name.
    title : str
        Of the page.
    tomogram_feature : str
        The feature that names each particle's tomogram.

    Returns
    -------
    pathlib.Path
        Of the page. It is one file that needs no other, no server and no script.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    OSError
        If it cannot be written there.
    TypeError, ValueError
        If the result is none, or an argument is wrong.

    Notes
    -----
    What to distrust are findings of `funpipe.jobs.doubts`, each with its figure and
    what to do: preferred orientation, a resolution that differs by direction, an FSC
    that does not fall to zero, duplicates, poses at the search's limits or not
    converged, noise among particles, and particles that were all aligned to one
    template. That there is none does not make a result true.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> picks = Molecules([[0.0, 0.0, 0.0], [0.0, 0.0, 0.1]])
    >>> picks = picks.with_features(score=[0.5, 0.4])
    >>> page = report(picks, Path(folder.name, "report.html")).read_text()
    >>> "duplicates" in page, "<script" in page
    (True, False)
    >>> folder.cleanup()
    """
    target = Path(check.path("path", path))
    check_target(target)
    require("matplotlib", "plot", "to draw")
    told = _told(
        *_result(result),
        Given(
            template,
            mask,
            tomogram,
            average,
            null,
            check.optional_positive("scale", scale),
            tilt,
            check.symmetry("symmetry", symmetry),
            check.optional_positive("near", near),
            _parameters(parameters),
            tomogram_feature,
        ),
    )
    if not isinstance(title, str):
        fail("title", "a text", title)
    written = page(title, list(sections(told)))
    with replacing(target) as partial:
        partial.write_text(written, encoding="utf-8")
    return target


_RESULT = "Molecules, an Iteration of refine, or several of these"


def _result(value: Any) -> tuple[Molecules, list[Iteration]]:
    """Return the particles, and the iterations that they came from."""
    if isinstance(value, Iteration):
        return value.molecules, [value]
    if isinstance(value, Molecules) or check.has(value, "pos", "rotator"):
        found = as_molecules("result", value)
    else:
        several = check.elements("result", _RESULT, value)
        if several and all(isinstance(each, Iteration) for each in several):
            return several[-1].molecules, several
        fail("result", _RESULT, value)
    if len(found) == 0:
        raise ValueError("result must be one particle or more, not none")
    return found, []


def _parameters(value: Any) -> Mapping[str, Any]:
    wanted = "None, or a mapping from names to values"
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(
        isinstance(each, str) for each in value
    ):
        fail("parameters", wanted, value)
    return value


def _told(molecules: Molecules, iterations: list[Iteration], given: Given) -> Told:
    """Work out what the page says."""
    scale, maps = _scale(molecules, iterations, given), _maps(iterations, given)
    curve = cones = None
    whole: Image | None = None
    if isinstance(maps, Halves):
        whole = iterations[-1].map if iterations else _mean(maps)
        mask = _mask(given, whole, maps.scale)
        of_both: dict[str, Any] = {"mask": mask, "scale": maps.scale}
        curve = (
            iterations[-1].fsc
            if iterations
            else fsc(maps.first, maps.second, **of_both)
        )
        cones = conical_fsc(maps.first, maps.second, **of_both)
    elif maps is not None:
        whole = maps
    seen = Seen(
        molecules,
        curve,
        cones,
        given.symmetry,
        None if given.tilt is None else as_tilt("tilt", given.tilt),
        given.near or _near(whole, scale),
        given.tomogram_feature,
        iterations[-1].shift if iterations else None,
        iterations[-1].resolution if iterations else None,
    )
    findings = distrusted(seen)
    return Told(molecules, iterations, given, scale, whole, curve, cones, findings)


def _mean(maps: Halves) -> Image:
    return check.image("average", (maps.first + maps.second) / 2)


def _maps(iterations: list[Iteration], given: Given) -> Halves | Image | None:
    if iterations:
        if given.average is not None:
            raise ValueError("average must be left out: iterations have their maps")
        return iterations[-1].maps
    if given.average is None or isinstance(given.average, Halves):
        return given.average
    return check.image("average", given.average)


def _scale(
    molecules: Molecules, iterations: list[Iteration], given: Given
) -> float | None:
    """Return the scale of images; None where there are none."""
    if iterations:
        return iterations[-1].maps.scale
    if isinstance(given.average, Halves):
        return given.average.scale
    if given.scale is not None:
        return given.scale
    if given.tomogram is not None:
        return open_tomogram(*fullest(molecules, given)).scale
    if given.average is None and given.template is None:
        return None
    raise ValueError("scale must be given, in nm per voxel: nothing else says it")


def _mask(given: Given, whole: Image, scale: float) -> Image | None:
    """Return the mask for maps: a converter is applied to the template."""
    if given.mask is None:
        return None
    if given.template is None:
        return mask_for(given.mask, whole, scale)
    masks = prepare_all(given.template, given.mask, scale).mask
    return mask_for(masks.max(axis=0), whole, scale)


def _near(whole: Image | None, scale: float | None) -> float:
    if whole is None or scale is None:
        return 1.0
    return min(whole.shape) * scale / 4
