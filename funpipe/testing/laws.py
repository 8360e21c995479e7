"""The laws that every pipeline keeps, each a function that finds where one does not.

A law takes a `Trial` and gives one `Complaint` after another, none where the pipeline
keeps it. Its name says what the pipeline does.
"""

from __future__ import annotations

import copy
import operator
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import combinations
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

import funpipe as fp
from funpipe.base.wording import describe
from funpipe.testing.figures import allowance, figures, has_surfaces
from funpipe.testing.trials import (
    SCALES,
    Complaint,
    Trial,
    calls,
    calls_at_one_scale,
    changes,
    converter_trial,
    differs,
    provider_trial,
    reached_stages,
    several,
)

__all__ = ["CONVERTER_LAWS", "PROVIDER_LAWS", "check_converter", "check_provider"]

Array: TypeAlias = NDArray[Any]
Law: TypeAlias = Callable[[Trial], Iterator[Complaint]]


def check_provider(
    p: fp.ImageProvider,
    scales: Iterable[float] = SCALES,
    *,
    names: Mapping[str, Any] | None = None,
    across_scales: bool = True,
) -> None:
    """Put a provider under the laws of the algebra.

    Parameters
    ----------
    p : ImageProvider
        For instance what a function under `funpipe.provider_function` returns.
    scales : iterable of float
        Two or more, in nm per voxel. The images should show their details at each.
    names : mapping, optional
        What the pipeline's ``repr`` may name beside the public names of funpipe and
        numpy and its own stage functions: the classes of its arguments.
    across_scales : bool
        False leaves out the law `means_the_same_object_at_every_scale`, for stages that
        mean voxels on purpose.

    Raises
    ------
    AssertionError
        If it breaks a law; it says which, the pipeline, the scale and the figures.
    TypeError, ValueError
        If it is not a provider, or the scales are not two numbers above 0.

    Examples
    --------
    >>> check_provider(fp.from_gaussian((12.0, 12.0, 12.0), sigma=2.0))
    >>> @fp.provider_function
    ... def cube(scale, side):
    ...     return np.full((side, side, side), 1.0)
    >>> check_provider(cube(8))
    Traceback (most recent call last):
    ...
    AssertionError: cube(8) breaks the law survives_pickling: ...
    """
    _check(provider_trial(p, scales, names), PROVIDER_LAWS, across_scales)


def check_converter(
    f: fp.ImageConverter,
    images: Iterable[Any] | None = None,
    scales: Iterable[float] = SCALES,
    *,
    names: Mapping[str, Any] | None = None,
    across_scales: bool = True,
) -> None:
    """Put a converter under the laws of the algebra.

    Parameters
    ----------
    f : ImageConverter
        For instance what a function under `funpipe.converter_function` returns.
    images : iterable of ImageProvider or (z, y, x) array, optional
        What it converts; an array is taken to have the first of the scales, and is
        resampled to the others. By default a smooth object of values from 0 to about
        1, off the centre of a box of 12 x 11 x 12.5 nm.
    scales : iterable of float
        Two or more, in nm per voxel, as in `check_provider`.
    names, across_scales
        As in `check_provider`.

    Raises
    ------
    AssertionError
        If it breaks a law; it says which, the pipeline, the scale and the figures.
    TypeError, ValueError
        If it is not a converter, the images are none, or the scales are not two numbers
        above 0.

    Examples
    --------
    >>> check_converter(fp.soft_otsu(sigma=1.0, radius=2.0))
    >>> check_converter(fp.gaussian_filter(2.0) @ fp.threshold(5.0) / 0)
    Traceback (most recent call last):
    ...
    AssertionError: (gaussian_filter(2.0) @ threshold(5.0)) / 0 breaks the law
    gives_finite_images at 0.4 nm per voxel: 26040 of 26040 voxels are not finite
    """
    _check(converter_trial(f, images, scales, names), CONVERTER_LAWS, across_scales)


@np.errstate(all="ignore")  # what comes of it, a law sees
def _check(trial: Trial, laws: Iterable[Law], across_scales: bool) -> None:
    for law in laws:
        if across_scales or law is not means_the_same_object_at_every_scale:
            _check_law(trial, law)


def _check_law(trial: Trial, law: Law) -> None:
    try:
        complaint = next(law(trial), None)
    except Exception as error:
        error.add_note(f"while {trial.pipeline} was tried for {law.__name__}")
        raise
    if complaint is not None:
        what, scale = complaint
        at = "" if scale is None else f" at {scale} nm per voxel"
        raise AssertionError(
            f"{trial.pipeline} breaks the law {law.__name__}{at}: {what}"
        )


# What an image is.


def gives_3d_float32_images(trial: Trial) -> Iterator[Complaint]:
    """Every image is a 3-D, C-contiguous array of float32."""
    for call in calls(trial):
        for image in several(trial.pipeline(*call)):
            if not isinstance(image, np.ndarray) or image.ndim != 3:
                yield Complaint(f"it gives {describe(image)}", call[-1])
            elif image.dtype != np.float32:
                yield Complaint(f"it gives numbers of type {image.dtype}", call[-1])
            elif not image.flags.c_contiguous:
                yield Complaint("its image is not C-contiguous", call[-1])


def gives_finite_images(trial: Trial) -> Iterator[Complaint]:
    """No image has NaN or infinity in it."""
    for call in calls(trial):
        for image in several(trial.pipeline(*call)):
            bad = np.count_nonzero(~np.isfinite(image))
            if bad:
                what = f"{bad} of {image.size} voxels are not finite"
                yield Complaint(what, call[-1])


# Purity.


def leaves_its_input_unchanged(trial: Trial) -> Iterator[Complaint]:
    """Neither a pipeline nor a stage in it writes into the image that it is given."""
    for call in calls(trial):
        *images, scale = call
        for image in images:
            yield from _written(trial.pipeline, "its input", image, scale)
        for stage, image, scale in reached_stages(trial.pipeline, *call):
            name = f"what {stage.func.__name__} is given"
            yield from _written(stage, name, image, scale)


def _written(
    function: Callable[..., Any], name: str, image: Array, scale: float
) -> Iterator[Complaint]:
    given = image.copy()
    function(given, scale)
    if not np.array_equal(given, image, equal_nan=True):
        yield Complaint(f"{name} changes in {changes(given, image)}", scale)


def gives_the_same_image_again(trial: Trial) -> Iterator[Complaint]:
    """A pipeline gives the same image each time, whatever it is called with between."""
    before = [trial.pipeline(*call) for call in calls(trial)]
    for call, first in zip(calls(trial), before, strict=True):
        again = trial.pipeline(*call)
        yield from differs(again, first, call[-1], "a second image")


def gives_images_of_its_callers_own(trial: Trial) -> Iterator[Complaint]:
    """An image shares no memory with the input, nor with that of another call."""
    for call in calls(trial):
        *inputs, scale = call
        first, second = (several(trial.pipeline(*call)) for _ in range(2))
        if any(np.shares_memory(x, y) for x in first for y in inputs):
            yield Complaint("its image shares memory with its input", scale)
        if any(np.shares_memory(x, y) for x in first for y in second):
            yield Complaint("the images of two calls share memory", scale)


# A pipeline is a value.


def equals_its_copies(trial: Trial) -> Iterator[Complaint]:
    """A copy is equal to the pipeline, and gives the same images."""
    yield from _unequal(trial, copy.copy(trial.pipeline), "a copy")
    yield from _unequal(trial, copy.deepcopy(trial.pipeline), "a deep copy")


def hashes_as_its_copies_do(trial: Trial) -> Iterator[Complaint]:
    """A pipeline and its copies are the same key of a dictionary."""
    p = trial.pipeline
    try:
        hashes = {hash(p), hash(copy.copy(p)), hash(copy.deepcopy(p))}
    except TypeError as error:
        yield Complaint(f"TypeError: {error}")
        return
    if len(hashes) > 1:
        yield Complaint("a copy has another hash")


def survives_pickling(trial: Trial) -> Iterator[Complaint]:
    """What comes back from a pickle is equal, and gives the same images."""
    try:
        back = pickle.loads(pickle.dumps(trial.pipeline))
    except Exception as error:
        yield Complaint(f"{type(error).__name__}: {error}")
        return
    yield from _unequal(trial, back, "what comes back")


def has_a_repr_that_evaluates_to_it(trial: Trial) -> Iterator[Complaint]:
    """The ``repr`` is source text of an equal pipeline."""
    try:
        back = eval(repr(trial.pipeline), dict(trial.names))
    except Exception as error:
        yield Complaint(f"{type(error).__name__}: {error}")
        return
    yield from _unequal(trial, back, "what its repr evaluates to")


def _unequal(trial: Trial, other: Any, name: str) -> Iterator[Complaint]:
    if other != trial.pipeline:
        yield Complaint(f"{name} is not equal to it")
    else:
        for call in calls_at_one_scale(trial):
            expected = trial.pipeline(*call)
            yield from differs(other(*call), expected, call[-1], name)


# The algebra.


def is_unchanged_by_the_identity(trial: Trial) -> Iterator[Complaint]:
    """``identity @ p == p``, and ``f @ identity == f``."""
    yield from _unequal(trial, fp.identity @ trial.pipeline, "identity @ it")
    if isinstance(trial.pipeline, fp.ImageConverter):
        yield from _unequal(trial, trial.pipeline @ fp.identity, "it @ identity")


def composes(trial: Trial) -> Iterator[Complaint]:
    """``(g @ p)(s) == g(p(s), s)``, and composition is associative."""
    p, g, h = trial.pipeline, fp.gaussian_filter(0.5), fp.invert()
    if not (g @ h) @ p == g @ (h @ p) == fp.compose(g, h, p):
        yield Complaint(f"({g} @ {h}) @ it is not {g} @ ({h} @ it)")
    for call in calls_at_one_scale(trial):
        *images, scale = call
        after = g(p(*call), scale)
        yield from differs((g @ p)(*call), after, scale, f"{g} @ it")
        for image in images:
            then = p(g(image, scale), scale)
            yield from differs((p @ g)(*call), then, scale, f"it @ {g}")
            twice = p(p(*call), scale)
            yield from differs((p @ p)(*call), twice, scale, "it @ it")


_OPERATIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "it + it": (operator.add, np.add),
    "it * it": (operator.mul, np.multiply),
    "it & it": (operator.and_, np.minimum),
    "it | it": (operator.or_, np.maximum),
    "it <= it": (operator.le, np.less_equal),
}


def has_pointwise_operators(trial: Trial) -> Iterator[Complaint]:
    """``(p + q)(s) == p(s) + q(s)``: so for other operators, and for numbers."""
    p = trial.pipeline
    for call in calls_at_one_scale(trial):
        images = several(p(*call))
        expected = {
            name: (on_pipelines(p, p), [on_images(each, each) for each in images])
            for name, (on_pipelines, on_images) in _OPERATIONS.items()
        } | {
            "2 - it": (2 - p, [2 - each for each in images]),
            "it / 2": (p / 2, [each / 2 for each in images]),
            "~it": (~p, [1 - each for each in images]),
            "it > 0.5": (p > 0.5, [each > 0.5 for each in images]),
        }
        for name, (pipeline, results) in expected.items():
            yield from differs(pipeline(*call), results, call[-1], name)


def converts_each_of_many_images(trial: Trial) -> Iterator[Complaint]:
    """Of a list of images a converter makes the list of converted images."""
    f = trial.pipeline
    images, (scale, *_) = zip(*calls_at_one_scale(trial), strict=True)
    xs = [*images, *(each[::-1] for each in images)]
    expected = [f(each, scale) for each in xs]
    yield from differs(f(xs, scale), expected, scale, "of a list, it")
    many = f @ fp.from_arrays(xs, scale)
    yield from differs(many(scale), expected, scale, "it @ from_arrays")


# Physical meaning.


def means_the_same_object_at_every_scale(trial: Trial) -> Iterator[Complaint]:
    """Box, mean density, centre and extent in nm are the same at every scale."""
    for image in trial.images or (None,):
        p = trial.pipeline if image is None else trial.pipeline @ image
        sampled = [(scale, several(p(scale))) for scale in trial.scales]
        sharp = _makes_surfaces(trial.pipeline, image, max(trial.scales))
        for (s, first), (t, second) in combinations(sampled, 2):
            if len(first) != len(second):
                yield Complaint(f"{len(first)} images, and {len(second)} at {t}", s)
            for one, other in zip(first, second, strict=False):
                yield from _strays(one, s, other, t, sharp)


def _strays(
    one: Array, s: float, other: Array, t: float, sharp: bool
) -> Iterator[Complaint]:
    """Complain where two samplings are not of one object."""
    first, second = np.multiply(one.shape, s), np.multiply(other.shape, t)
    if np.abs(first - second).max() > s + t:  # each in whole voxels, up or down
        yield Complaint(f"its box is {_nm(first)}, and {_nm(second)} at {t}", s)
        return
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return  # which is another law's
    box = np.minimum(first, second)
    a, b = figures(one, s, box), figures(other, t, box)
    sharp = sharp or has_surfaces(one) or has_surfaces(other)
    allowed = allowance(a, b, (s, t), sharp)
    may = f"the sampling of its {'surfaces' if sharp else 'smooth density'} allows"
    if abs(a.density - b.density) > allowed.density:
        yield Complaint(
            f"its mean density is {a.density:.4g}, and {b.density:.4g} at {t}; {may} "
            f"{allowed.density:.2g}",
            s,
        )
    if np.abs(a.centre - b.centre).max() > allowed.centre:
        yield Complaint(
            f"its centre of mass is at {_nm(a.centre)} from the box's, and at "
            f"{_nm(b.centre)} at {t}; {may} {allowed.centre:.2g} nm",
            s,
        )
    if abs(a.extent - b.extent) > allowed.extent:
        yield Complaint(
            f"its extent is {a.extent:.3f} nm, and {b.extent:.3f} nm at {t}; {may} "
            f"{allowed.extent:.2g} nm",
            s,
        )


def _makes_surfaces(pipeline: Any, image: Any, scale: float) -> bool:
    """Tell whether what converts an image may place surfaces in it.

    That is, whether it is anything but affine, as filters and movements are. Masks are
    put together voxel by voxel, also where their edges are made soft afterwards.
    """
    f = fp.ImageConverter(pipeline.stages)
    if f == fp.identity:
        return False
    source = fp.ImageProvider(pipeline.source) if image is None else image
    x = several(source(scale))[0]
    y = np.ascontiguousarray(x[::-1, ::-1, ::-1])
    left, right, middle = (f(each, scale) for each in (x, y, (x + y) / 2))
    slack = 1e-3 * float(np.ptp(middle))
    constant = np.allclose(left, right, rtol=0, atol=slack)
    return constant or not np.allclose(middle, (left + right) / 2, rtol=0, atol=slack)


def _nm(vector: Array) -> str:
    return f"({', '.join(f'{each:.3f}' for each in vector)}) nm"


PROVIDER_LAWS: tuple[Law, ...] = (
    gives_3d_float32_images,
    gives_finite_images,
    leaves_its_input_unchanged,
    gives_the_same_image_again,
    gives_images_of_its_callers_own,
    equals_its_copies,
    hashes_as_its_copies_do,
    survives_pickling,
    has_a_repr_that_evaluates_to_it,
    is_unchanged_by_the_identity,
    composes,
    has_pointwise_operators,
    means_the_same_object_at_every_scale,
)
CONVERTER_LAWS: tuple[Law, ...] = (
    *PROVIDER_LAWS[:-1],
    converts_each_of_many_images,
    PROVIDER_LAWS[-1],
)
