"""What a report says: its sections, from what was worked out of a result."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from funpipe.algebra.pipeline import ImageConverter, ImageProvider
from funpipe.base.arguments import Image
from funpipe.base.molecules import Molecules
from funpipe.base.wording import fail
from funpipe.boxes.opening import Tomogram
from funpipe.faces import pages, plots
from funpipe.faces.pages import Figure, Section
from funpipe.jobs.correlating import FSC, ConicalFSC
from funpipe.jobs.findings import Finding
from funpipe.jobs.iterating import Iteration
from funpipe.jobs.preparing import prepare_all

__all__ = ["Given", "Told", "fullest", "sections"]


class Given(NamedTuple):
    """The arguments, as they are or checked."""

    template: Any
    mask: Any
    tomogram: Any
    average: Any
    null: Any
    scale: float | None
    tilt: Any
    symmetry: str
    near: float | None
    parameters: Mapping[str, Any]
    tomogram_feature: str


class Told(NamedTuple):
    """All that the page is made from."""

    molecules: Molecules
    iterations: list[Iteration]
    given: Given
    scale: float | None
    map: Image | None
    curve: FSC | None
    cones: ConicalFSC | None
    findings: list[Finding]


def fullest(molecules: Molecules, given: Given) -> tuple[Any, Molecules, float | None]:
    """Return the tomogram that has the most particles, these, and its scale."""
    tomogram, scale = given.tomogram, given.scale
    if not isinstance(tomogram, Mapping):
        return tomogram, molecules, scale
    feature = given.tomogram_feature
    if feature not in molecules.features:
        raise ValueError(f"molecules have no feature {feature!r} to tell tomograms by")
    names = molecules.features[feature].astype(str)
    counts = {str(each): int((names == str(each)).sum()) for each in tomogram}
    if not any(counts.values()):
        fail("tomogram", f"of those that the feature {feature!r} names", tomogram)
    name = max(counts, key=lambda each: counts[each])
    chosen = next(tomogram[each] for each in tomogram if str(each) == name)
    return chosen, molecules[names == name], scale


def sections(told: Told) -> Iterator[Section]:
    """Yield the sections of the page, those that there is something to say in."""
    yield Section("Summary", facts=dict(_summary(told)))
    yield Section(
        "What to distrust",
        findings=[(each.name, _figure(each), each.advice) for each in told.findings],
        text=""
        if told.findings
        else "Nothing of what is looked for was found, which "
        "does not make the result true.",
    )
    if pictures := [*_of_maps(told), *_of_particles(told)]:
        yield Section("Pictures", figures=pictures)
    if pipelines := dict(_pipelines(told.given)):
        yield Section("Pipelines", pipelines=pipelines, figures=[*_of_pipelines(told)])
    if told.iterations:
        yield Section("Iterations", table=_rows(told.iterations))
    if told.given.parameters:
        shown = {name: _shown(each) for name, each in told.given.parameters.items()}
        yield Section("Parameters", facts=shown)
    yield Section("Versions", facts=pages.versions())


def _figure(finding: Finding) -> str:
    """Return a figure as people read it: counts whole, parts by three digits."""
    whole = float(finding.figure).is_integer() and abs(finding.figure) >= 1
    return f"{finding.figure:.0f}" if whole else f"{finding.figure:.3g}"


def _summary(told: Told) -> Iterator[tuple[str, str]]:
    features = told.molecules.features
    yield "particles", str(len(told.molecules))
    names = features.get(told.given.tomogram_feature)
    if names is not None:
        yield "tomograms", str(len(np.unique(names)))
    if told.iterations:
        found = told.iterations[-1].resolution
        yield "resolution", f"{found:.3g} nm" if np.isfinite(found) else "none"
    if told.curve is not None:
        for at in (0.143, 0.5):
            yield f"resolution at FSC {at:g}", _resolution(told.curve, at)
    for name, title, unit in _FEATURES:
        values = features.get(name)
        if values is not None and values.dtype.kind in "iuf":
            known = values[np.isfinite(values)]
            if len(known):
                yield f"{title}, median", f"{np.median(known):.3g}{unit}"
    if told.scale is not None:
        yield "scale", f"{told.scale:.4g} nm per voxel"


_FEATURES = (
    ("score", "score", ""),
    ("shift", "shift", " nm"),
    ("shift_error", "stated error of shifts", " nm"),
    ("angle", "angle", "°"),
    ("angle_error", "stated error of angles", "°"),
)


def _resolution(curve: FSC, at: float) -> str:
    found = curve.resolution(at)
    if not np.isfinite(found):
        return "none"
    if (curve.corrected >= at).all():
        return f"{found:.3g} nm or finer: the last shell"
    finest, coarsest = curve.resolution_range(at)
    end = f"{coarsest:.3g}" if np.isfinite(coarsest) else "∞"
    return f"{found:.3g} nm (95 %: {finest:.3g} to {end})"


def _of_maps(told: Told) -> Iterator[Figure]:
    if told.map is not None and told.scale is not None:
        ax = plots.slices(told.map, scale=told.scale)
        yield pages.figure(
            ax.figure, "The map: slices through the centre across z, y and x."
        )
    if told.curve is not None:
        ax = plots.fsc(told.curve, cones=told.cones)
        caption = (
            "Fourier shell correlation of the halves, corrected for the mask, with its "
            "band; behind it that of cones of 20° along directions."
        )
        if told.cones is not None:
            caption += f" Anisotropy {told.cones.anisotropy():.2f}."
        yield pages.figure(ax.figure, caption)


def _of_particles(told: Told) -> Iterator[Figure]:
    molecules, given = told.molecules, told.given
    yield pages.figure(
        plots.orientations(molecules, symmetry=given.symmetry).figure,
        "From where particles were seen at no tilt, in their own frame, on half a "
        "sphere; equal areas are equal.",
    )
    if "score" in molecules.features:
        yield pages.figure(
            plots.scores(molecules, null=given.null).figure,
            "How scores are spread. Two hills are often particles and what is none.",
        )
    if {"shift", "angle"} <= set(molecules.features):
        yield pages.figure(
            plots.moves(molecules).figure,
            "How far the last alignment moved and turned particles, with the errors "
            "that it states.",
        )
    if told.iterations:
        yield pages.figure(
            plots.iterations(told.iterations),
            "Resolution, and how far particles moved and turned, by iteration.",
        )
    if given.tomogram is not None:
        tomogram, some, scale = fullest(molecules, given)
        if scale is None and not _path(tomogram):  # an array, which has none
            scale = told.scale
        color = "score" if "score" in some.features else None
        size = None
        if told.map is not None and told.scale is not None:
            size = 0.7 * min(told.map.shape) * told.scale
        ax = plots.picks(tomogram, some, scale=scale, color=color, diameter=size)
        name = f" {Path(_path(tomogram)).name}" if _path(tomogram) else ""
        yield pages.figure(ax.figure, f"Particles over a slice of the tomogram{name}.")


def _path(tomogram: Any) -> str:
    """Return the path of a tomogram in a file, or nothing."""
    array = tomogram.array if isinstance(tomogram, Tomogram) else tomogram
    return os.fspath(array) if isinstance(array, str | os.PathLike) else ""


def _of_pipelines(told: Told) -> Iterator[Figure]:
    """Draw the template under the mask, and pipelines stage by stage."""
    template, mask, scale = told.given.template, told.given.mask, told.scale
    if template is None or scale is None:
        return
    prepared = prepare_all(template, mask, scale)
    for i, (image, under) in enumerate(zip(*prepared, strict=True)):
        which = f" {i}" if len(prepared.template) > 1 else ""
        outline = ", and where the mask is ½" if mask is not None else ""
        ax = plots.masked(image, mask=under if mask is not None else None, scale=scale)
        yield pages.figure(ax.figure, f"The template{which}{outline}.")
    if isinstance(template, ImageProvider) and len(prepared.template) == 1:
        yield pages.figure(
            plots.stages(template, scale=scale),
            "The template after every stage, in the order they run.",
            wide=True,
        )
        if isinstance(mask, ImageConverter) and mask.parts:
            yield pages.figure(
                plots.stages(mask, scale=scale, image=prepared.template[0]),
                "The mask after every stage, from the template on.",
                wide=True,
            )


def _pipelines(given: Given) -> Iterator[tuple[str, Any]]:
    """Yield each pipeline among the arguments, by its name."""
    for name, value in (("template", given.template), ("mask", given.mask)):
        several = value if isinstance(value, list | tuple) else [value]
        for i, each in enumerate(several):
            if isinstance(each, ImageProvider | ImageConverter):
                yield (f"{name}[{i}]" if len(several) > 1 else name), each
    for name, each in given.parameters.items():
        if isinstance(each, ImageProvider | ImageConverter):
            yield name, each


_LONGEST = 300  # characters of a value


def _shown(value: Any) -> str:
    if isinstance(value, str):
        text = value
    elif isinstance(value, np.ndarray):
        text = f"array({' x '.join(map(str, value.shape))} {value.dtype})"
    else:
        try:
            text = repr(value)
        except Exception:  # of a broken object
            text = f"an object of type {type(value).__name__}"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _rows(iterations: list[Iteration]) -> list[list[str]]:
    """Return a table of iterations, its head first."""
    head = ["iteration", "particles", "resolution (nm)", "moved (nm)", "turned (°)"]
    rows = [
        [
            str(each.number),
            str(each.averaged),
            f"{each.resolution:.3g}",
            f"{each.shift:.3g}",
            f"{each.angle:.3g}",
            f"{each.seconds:.3g}",
        ]
        for each in iterations
    ]
    return [[*head, "time (s)"], *rows]
