"""What a pipeline is tried with, how, and what there is to complain of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

import funpipe as fp
from funpipe.base.arguments import positive
from funpipe.base.wording import fail

__all__ = [
    "SCALES",
    "Complaint",
    "Trial",
    "calls",
    "calls_at_one_scale",
    "changes",
    "converter_trial",
    "differs",
    "provider_trial",
    "reached_stages",
    "several",
]

Array: TypeAlias = NDArray[Any]

SCALES = (0.4, 0.6, 1.0)  # nm per voxel: far apart, and to no whole ratio


class Trial(NamedTuple):
    """A pipeline, and what it is tried with.

    The images are providers, for a converter to convert; a provider takes none. The
    names are those that the pipeline's source text may use.
    """

    pipeline: Any
    images: tuple[fp.ImageProvider, ...]
    scales: tuple[float, ...]
    names: Mapping[str, Any]


class Complaint(NamedTuple):
    """How a pipeline breaks a law, and at which scale, if at one."""

    what: str
    scale: float | None = None


def provider_trial(
    p: Any, scales: Any = SCALES, names: Mapping[str, Any] | None = None
) -> Trial:
    """Return what `check_provider` tries, each argument checked."""
    if not isinstance(p, fp.ImageProvider):
        fail("p", "an ImageProvider", p)
    return Trial(p, (), _scales(scales), _names(p, names))


def converter_trial(
    f: Any,
    images: Any = None,
    scales: Any = SCALES,
    names: Mapping[str, Any] | None = None,
) -> Trial:
    """Return what `check_converter` tries, each argument checked."""
    if not isinstance(f, fp.ImageConverter):
        fail("f", "an ImageConverter", f)
    at = _scales(scales)
    sources = (_BLOBS,) if images is None else _sources(images, at[0])
    return Trial(f, sources, at, _names(f, names))


_BOX = (12.0, 11.0, 12.5)  # nm
_BLOBS = fp.from_gaussian(_BOX, (1.6, 2.0, 1.8), (0.4, -0.3, 0.5)) + (
    0.5 * fp.from_gaussian(_BOX, 1.5, (-1.5, 1.0, -1.0))
)


def _scales(value: Any) -> tuple[float, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        fail("scales", "two or more numbers above 0", value)
    scales = tuple(positive(f"scales[{i}]", each) for i, each in enumerate(value))
    if len(set(scales)) < 2:
        fail("scales", "two or more different numbers above 0", scales)
    return scales


def _sources(images: Any, scale: float) -> tuple[fp.ImageProvider, ...]:
    if isinstance(images, np.ndarray | fp.ImageProvider):
        images = [images]
    sources = tuple(
        each if isinstance(each, fp.ImageProvider) else fp.from_array(each, scale)
        for each in images
    )
    if not sources:
        fail("images", "one or more providers or arrays", images)
    return sources


def _names(pipeline: Any, names: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the names that a pipeline's source text may use."""
    return {
        **{name: getattr(np, name) for name in np.__all__},
        **{name: getattr(fp, name) for name in fp.__all__},
        **_own_names(pipeline),
        **(names or {}),
    }


_MAKERS: tuple[Any, ...] = (
    fp.derived_function,
    fp.provider_function,
    fp.converter_function,
)


def _own_names(value: Any) -> dict[str, Any]:
    """Return the functions in a pipeline by their names, stages as makers of such."""
    if isinstance(value, tuple):
        return {k: v for each in value for k, v in _own_names(each).items()}
    if callable(value) and hasattr(value, "__name__"):
        return {value.__name__: value}
    if not isinstance(value, fp.ImageProvider | fp.ImageConverter):
        return {}
    found: dict[str, Any] = {}
    for stage in value.parts:
        found |= _own_names(tuple(stage.keywords.values()))
    for stage in value.parts:
        found[stage.func.__name__] = _MAKERS[stage.leading](stage.func)
    return found


# How it is tried.


def calls(trial: Trial) -> list[tuple[Any, ...]]:
    """Return the arguments of all calls, the scale at the end."""
    if isinstance(trial.pipeline, fp.ImageProvider):
        return [(scale,) for scale in trial.scales]
    return [
        (image, scale)
        for scale in trial.scales
        for source in trial.images
        for image in several(source(scale))
    ]


def calls_at_one_scale(trial: Trial) -> list[tuple[Any, ...]]:
    """Return those calls at the middle one of the scales."""
    middle = sorted(trial.scales)[len(trial.scales) // 2]
    return calls(trial._replace(scales=(middle,)))


def several(result: Any) -> list[Any]:
    """Return an image, or several, as a list."""
    return result if isinstance(result, list) else [result]


def reached_stages(pipeline: Any, *call: Any) -> Iterator[tuple[Any, Array, float]]:
    """Give all stages of a pipeline but sources, with the image that reaches each."""
    scale = call[-1]
    if isinstance(pipeline, fp.ImageProvider):
        images = several(fp.ImageProvider(pipeline.source)(scale))
        yield from _reached_in_operands(pipeline.source, scale)
    else:
        images = [np.array(call[0], np.float32)]
    for stage in reversed(pipeline.stages):
        for image in images:
            yield stage, image, scale
            yield from _reached_in_operands(stage, image, scale)
        one = fp.ImageConverter((stage,))
        images = [one(image, scale) for image in images]


def _reached_in_operands(stage: Any, *call: Any) -> Iterator[tuple[Any, Array, float]]:
    for value in stage.keywords.values():
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, fp.ImageConverter):
                yield from reached_stages(each, *call)
            elif isinstance(each, fp.ImageProvider):
                yield from reached_stages(each, call[-1])


def differs(found: Any, expected: Any, scale: float, name: str) -> Iterator[Complaint]:
    """Complain of images that are not those expected, bit for bit."""
    left, right = several(found), several(expected)
    if len(left) != len(right):
        yield Complaint(f"{name} gives {len(left)} images, not {len(right)}", scale)
        return
    for one, other in zip(left, right, strict=True):
        other = np.asarray(other, np.float32)
        if one.shape != other.shape:
            yield Complaint(
                f"{name} has the shape {one.shape}, not {other.shape}", scale
            )
        elif not np.array_equal(one, other, equal_nan=True):
            yield Complaint(f"{name} differs in {changes(one, other)}", scale)


def changes(one: Array, other: Array) -> str:
    """Say in how many voxels two images of one shape differ, and how much."""
    changed = (one != other) & ~(np.isnan(one) & np.isnan(other))
    most = np.abs(np.float64(one[changed]) - other[changed]).max()
    return f"{changed.sum()} of {one.size} voxels, by up to {most:.3g}"
