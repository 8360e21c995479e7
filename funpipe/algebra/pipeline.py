"""The algebra: image providers, image converters, and how they compose.

A *provider* is a function ``scale -> image``, a *converter* a function
``(image, scale) -> image``. Both are values that hold a flat tuple of *stages*,
outermost first, each a plain function with its parameters bound by
`toolz.curry`, which knows what it is equal to and how it prints. To call one binds
the scale into every stage and runs `toolz.compose` over the one-argument functions
that result: the scale is an environment that all stages read, and composition is
toolz's.

Because the tuple is flat and the identity is the empty tuple, the laws of a
monoid hold under ``==`` and not only after evaluation. Pointwise operations
(``p + q``, ``f & ~g``, ``lift(numpy.hypot)(p, q)``) factor out the stages that
their operands share, so that ``f @ h + g @ h == (f + g) @ h`` holds too, and
``h`` runs once.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, Protocol, TypeAlias, cast, overload

import numpy as np
import toolz

from funpipe.algebra.binding import freeze
from funpipe.algebra.diagram import as_html
from funpipe.algebra.mistakes import (
    refuse_as_image,
    refuse_before,
    refuse_behind_converter,
    refuse_behind_provider,
    refuse_named,
    saying_numerics,
)
from funpipe.algebra.operators import FOLDED, Fold, PointwiseOperators
from funpipe.algebra.source_text import Text
from funpipe.algebra.stages import (
    Operation,
    SourceOperation,
    Stage,
    atoms,
    chain_text,
    split,
)
from funpipe.base.arguments import (
    Image,
    as_array,
    as_float32,
    is_image,
    number,
    positive,
)
from funpipe.base.wording import describe

__all__ = [
    "ImageConverter",
    "ImageProvider",
    "compose",
    "identity",
    "lift",
]

Constant: TypeAlias = float | np.ndarray[Any, Any]
Operand: TypeAlias = "ImageProvider | ImageConverter | Constant"


class _Pipeline(PointwiseOperators):
    """What providers and converters share: they are values, and have operators."""

    @property
    def parts(self) -> tuple[Stage, ...]:
        """All stages, the one that runs last at the front, a source at the end."""
        raise TypeError("a pipeline is an ImageProvider or an ImageConverter")

    def _run(self, *leading: Any) -> Any:
        raise TypeError("a pipeline is an ImageProvider or an ImageConverter")

    def _content(self) -> tuple[Any, ...]:
        return tuple(each.content() for each in atoms(self.parts))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Pipeline) or type(self) is not type(other):
            return NotImplemented
        return self._content() == other._content()

    def __hash__(self) -> int:
        return hash((type(self), self._content()))

    def _pointwise(self, function: Callable[..., Any], *operands: Any) -> Any:
        if all(map(_is_operand, operands)):
            return _pointwise(function, *operands)
        return NotImplemented

    def __bool__(self) -> bool:
        raise TypeError(
            "a pipeline is neither true nor false: combine comparisons with & and |, "
            "as in (0 < p) & (p < 1)"
        )

    def __rmatmul__(self, other: Any) -> Any:
        refuse_before(other, self)

    def __repr__(self) -> str:
        return chain_text(self.parts, shorten=False).text

    def __str__(self) -> str:
        return chain_text(self.parts, shorten=True).text

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))

    def _repr_html_(self) -> str:
        is_provider = isinstance(self, ImageProvider)
        return as_html(self.parts, "scale" if is_provider else "image, scale")


@dataclass(frozen=True, eq=False, repr=False)
class ImageProvider(_Pipeline):
    """A function ``scale -> image``: a source, and the stages after it.

    Made by calling a provider function such as `from_file`, or by composing a
    converter with a provider. Equal when its parts are equal, hashable,
    picklable; its ``repr`` is source text that evaluates to an equal provider.

    Parameters
    ----------
    source : Stage
        A function of the scale with its other parameters bound.
    stages : tuple of Stage
        Functions of image and scale with their other parameters bound, the one
        that runs last at the front.

    Examples
    --------
    >>> import funpipe as fp
    >>> ball = fp.from_gaussian((8.0, 8.0, 8.0), sigma=1.5)
    >>> ball(0.5).shape, ball(1.0).shape
    ((16, 16, 16), (8, 8, 8))
    """

    source: Stage
    stages: tuple[Stage, ...] = ()

    @property
    def parts(self) -> tuple[Stage, ...]:
        """All stages, the one that runs last at the front, a source at the end."""
        return (*self.stages, self.source)

    def __call__(self, scale: float) -> Image:
        """Return the image at a scale in nm per voxel: float32, axes z, y, x.

        A provider of many images (`from_files`, `from_arrays`) returns a list.
        """
        scale = positive("scale", scale)
        return self._run(scale)

    def _run(self, *leading: Any) -> Image:
        """Run the stages; an image is ignored."""
        scale = leading[-1]
        return _composed(self.stages, scale)(_run_source(self.source, scale))

    def __matmul__(self, other: Any) -> Any:
        if _answers(other):
            return NotImplemented
        is_converter = isinstance(other, ImageConverter)
        refuse_behind_provider(self, other, is_converter=is_converter)


@dataclass(frozen=True, eq=False, repr=False)
class ImageConverter(_Pipeline):
    """A function ``(image, scale) -> image``: a flat tuple of stages.

    Made by calling a converter function such as `gaussian_filter`, or by
    composing converters. The empty tuple is the `identity`. Equal when its
    stages are equal, hashable, picklable; its ``repr`` is source text that
    evaluates to an equal converter.

    Parameters
    ----------
    stages : tuple of Stage
        Functions of image and scale with their other parameters bound, the one
        that runs last at the front.

    Examples
    --------
    >>> import funpipe as fp
    >>> smooth_mask = fp.gaussian_filter(2.0) @ fp.soft_otsu(sigma=2.0, radius=1.0)
    >>> smooth_mask(np.zeros((4, 4, 4))).dtype
    dtype('float32')
    >>> smooth_mask
    gaussian_filter(2.0) @ soft_otsu(2.0)
    """

    stages: tuple[Stage, ...] = ()

    @property
    def parts(self) -> tuple[Stage, ...]:
        """All stages, the one that runs last at the front, a source at the end."""
        return self.stages

    def __call__(self, image: Any, scale: float = 1.0) -> Image:
        """Return the converted image; ``scale`` in nm per voxel.

        The input, which must be finite, is left as it is. A list of images gives a
        list of images.
        """
        scale = positive("scale", scale)
        if isinstance(image, list | tuple) and not any(
            isinstance(each, list | tuple) for each in image
        ):
            return cast("Image", [self(each, scale) for each in image])
        if isinstance(image, _Pipeline):
            word = "provider" if isinstance(image, ImageProvider) else "converter"
            refuse_as_image(self, image, word)
        array = as_array("image", "a 3-D array of real numbers", image)
        if not is_image(array):
            raise TypeError(
                f"{self} converts a 3-D numeric array, not {describe(image)}"
            )
        return self._run(as_float32("image", array), scale)

    def _run(self, image: Image, scale: float) -> Image:
        """Run the stages, also on NaN that arose on the way."""
        return _composed(self.stages, scale)(image.copy())

    @overload
    def __matmul__(self, other: ImageConverter) -> ImageConverter: ...
    @overload
    def __matmul__(self, other: ImageProvider) -> ImageProvider: ...
    def __matmul__(self, other: Any) -> Any:
        if isinstance(other, ImageProvider):
            return ImageProvider(other.source, self.stages + other.stages)
        if isinstance(other, ImageConverter):
            return ImageConverter(self.stages + other.stages)
        if _answers(other):
            return NotImplemented
        refuse_behind_converter(self, other)

    @overload
    def compose(self, other: ImageConverter) -> ImageConverter: ...
    @overload
    def compose(self, other: ImageProvider) -> ImageProvider: ...
    def compose(self, other: Any) -> Any:
        """Return ``self @ other``: the pipeline that runs ``other`` first."""
        return self @ other


def _answers(other: Any) -> bool:
    """Tell whether another kind of operand has its own word on ``pipeline @ other``.

    A stage function says what it waits for.
    """
    return hasattr(type(other), "__rmatmul__") and not isinstance(
        other, _Pipeline | np.ndarray
    )


identity = ImageConverter()


# Mypy does not see that `*pipelines` takes the unpacked tuple of the second, too.
@overload
def compose(*pipelines: ImageConverter) -> ImageConverter: ...
@overload
def compose(
    *pipelines: *tuple[*tuple[ImageConverter, ...], ImageProvider],
) -> ImageProvider: ...
# To mypy no parameters take a tuple that is unpacked before its last one.
def compose(*pipelines: Any) -> Any:  # type: ignore[misc]
    """Compose pipelines: the last runs first, as in ``compose(f, g, p) == f @ g @ p``.

    Parameters
    ----------
    *pipelines : ImageConverter or ImageProvider
        Converters; the last may be a provider. None at all give the `identity`.

    Returns
    -------
    ImageProvider or ImageConverter
        A provider if the last is one, else a converter.

    Raises
    ------
    TypeError
        If something else than a pipeline is given, or a provider before the end.

    Examples
    --------
    >>> import funpipe as fp
    >>> compose(fp.normalize(), fp.gaussian_filter(0.5), fp.from_gaussian(8.0))
    normalize() @ gaussian_filter(0.5) @ from_gaussian((8.0, 8.0, 8.0))
    >>> compose() == identity
    True
    """
    return reduce(operator.matmul, pipelines, identity)


class Lifted(Protocol):
    """A function of pipelines, of which one converter makes the result a converter."""

    # Only providers and constants: the second overload takes them too, and a converter.
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, *operands: ImageProvider | Constant
    ) -> ImageProvider: ...
    @overload
    def __call__(self, *operands: Operand) -> ImageConverter: ...


def lift(function: Callable[..., Any]) -> Lifted:
    """Make a function of images into the same function of pipelines, pointwise.

    ``lift(function)(p, q)(scale)`` is ``function(p(scale), q(scale))``, and for
    converters ``lift(function)(f, g)(image, scale)`` is ``function(f(image, scale),
    g(image, scale))``. Numbers and arrays among the arguments stay as they are; a
    provider beside a converter acts as a converter that ignores its image.

    Parameters
    ----------
    function : callable
        A function of arrays that returns a 3-D array, importable by its name if
        the pipeline is to be pickled.

    Returns
    -------
    callable
        The function of pipelines.

    Examples
    --------
    >>> import funpipe as fp
    >>> p, q = fp.from_gaussian(4.0, 1.0), fp.from_gaussian(4.0, 2.0)
    >>> np.array_equal(lift(np.hypot)(p, q)(0.5), np.hypot(p(0.5), q(0.5)))
    True
    """
    if not callable(function):
        raise TypeError(f"function must be callable, not {describe(function)}")
    if isinstance(function, PointwiseOperators):
        raise TypeError(f"function must be one of arrays, not {describe(function)}")
    return partial(_lifted, function)


def _lifted(function: Callable[..., Any], /, *operands: Any, **named: Any) -> Any:
    if named:
        refuse_named(function, named)
    return _pointwise(function, *operands)


# How a pipeline runs.


def _composed(stages: Sequence[Stage], scale: float) -> Callable[[Any], Any]:
    return toolz.compose(*[partial(_run_stage, stage, scale) for stage in stages])


def _run_stage(stage: Stage, scale: float, image: Any) -> Any:
    if isinstance(image, list):
        return [_run_stage(stage, scale, each) for each in image]
    return _checked(stage, _call(stage, image, scale))


def _run_source(source: Stage, scale: float) -> Any:
    result = _call(source, scale)
    if isinstance(result, list | tuple) and result:
        return [_checked(source, each) for each in result]
    return _checked(source, result)


def _call(stage: Stage, *leading: Any) -> Any:
    try:
        with saying_numerics(partial(_text, stage)):
            return stage.run(*leading)
    except Exception as error:
        error.add_note(f"in the stage {_text(stage)}")
        raise


def _text(stage: Stage) -> Text:
    return stage.text(shorten=True)


def _checked(stage: Stage, result: Any) -> Image:
    if not is_image(result):
        raise TypeError(
            f"{_text(stage)} must return a 3-D numeric array, not {describe(result)}"
        )
    # A copy: a stage may return what it was given, or keeps.
    with saying_numerics(partial(_text, stage)):
        return np.array(result, dtype=np.float32, order="C")


# Pointwise operations.


def _is_operand(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biuf"
    return isinstance(
        value, _Pipeline | int | float | np.integer | np.floating | np.bool_
    )


def _pointwise(function: Callable[..., Any], *operands: Any) -> Any:
    for operand in operands:
        if not _is_operand(operand):
            raise TypeError(
                "a pointwise operation takes pipelines, numbers and arrays, "
                f"not {describe(operand)}"
            )
    operands = tuple(map(_constant, operands))
    kinds = {type(each) for each in operands if isinstance(each, _Pipeline)}
    if not kinds:
        raise TypeError("a pointwise operation needs a pipeline among its operands")
    kind = ImageConverter if ImageConverter in kinds else ImageProvider
    chains = [each.parts for each in operands if isinstance(each, kind)]
    count = _shared(list(map(atoms, chains)))
    if kind is ImageProvider and not count:
        bound = _folded(function, operands)
        return ImageProvider(SourceOperation(evaluate_source, **bound))
    heads = tuple(
        ImageConverter(split(each.parts, count)[0]) if isinstance(each, kind) else each
        for each in operands
    )
    outer = Operation(evaluate, **_folded(function, heads))
    _, shared = split(chains[0], count)
    if kind is ImageProvider:
        return ImageProvider(shared[-1], (outer, *shared[:-1]))
    return ImageConverter((outer, *shared))


def _folded(function: Callable[..., Any], operands: tuple[Any, ...]) -> dict[str, Any]:
    """Return an operation's arguments: ``(p + q) + r`` is one sum of three.

    So a sum of thousands is no deeper than one of two.
    """
    first = operands[0]
    if function in FOLDED and len(operands) == 2 and isinstance(first, _Pipeline):
        match first.parts:
            case [Operation(function=inner, operands=others)] if (
                len(others) == 2 and inner == function
            ) or inner == Fold(function):
                return {"function": Fold(function), "operands": (*others, operands[1])}
    return {"function": function, "operands": operands}


def _constant(operand: Any) -> Any:
    if isinstance(operand, np.ndarray):
        with saying_numerics(partial(describe, operand)):
            return freeze(operand.astype(np.float32))
    if isinstance(operand, int):
        number("a number beside a pipeline", int(operand))  # that it has a float
    return freeze(operand)


def _shared(chains: Sequence[tuple[Stage, ...]]) -> int:
    """Return how many innermost stages all chains have in common."""
    count = 0
    for stages in zip(*map(reversed, chains), strict=False):
        first, *others = stages
        if any(each.func != first.func for each in others):
            break  # before contents, of which a sum of thousands has many
        if any(each.content() != first.content() for each in others):
            break
        count += 1
    return count


def evaluate(
    image: Image,
    scale: float,
    function: Callable[..., Any],
    operands: tuple[Operand, ...],
) -> Any:
    """Apply a function pointwise to converters; providers ignore the image."""
    return function(
        *(
            each._run(image, scale) if isinstance(each, _Pipeline) else each
            for each in operands
        )
    )


def evaluate_source(
    scale: float, function: Callable[..., Any], operands: tuple[Operand, ...]
) -> Any:
    """Apply a function pointwise to providers; to each image if they give many."""
    values: list[Any] = [
        each(scale) if isinstance(each, ImageProvider) else each for each in operands
    ]
    counts = {len(each) for each in values if isinstance(each, list)}
    if not counts:
        return function(*values)
    if len(counts) > 1:
        raise ValueError(f"providers of {sorted(counts)} images do not go together")
    return [
        function(*(each[i] if isinstance(each, list) else each for each in values))
        for i in range(counts.pop())
    ]
