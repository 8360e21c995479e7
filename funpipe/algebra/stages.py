"""The stages of a pipeline, which know what they are equal to and how they print.

Each is a plain function with its parameters but the leading ones, image and scale,
bound by `toolz.curry`. A pointwise operation holds the pipelines that it acts on, a
derived stage the pipeline that it stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import toolz

from funpipe.algebra.binding import content, defaults, own_parameters
from funpipe.algebra.operators import FOLDED, Fold, PointwiseOperators
from funpipe.algebra.source_text import (
    Text,
    call_text,
    composed_text,
    function_text,
    value_text,
)

__all__ = [
    "Derived",
    "Operation",
    "SourceOperation",
    "SourceStage",
    "Stage",
    "atoms",
    "chain_text",
    "split",
]

_IDENTITY_TEXT = composed_text([])


class Stage(toolz.curry):
    """A function of image and scale, its other parameters bound by name."""

    leading = 2

    @property
    def is_unary(self) -> bool:
        """Whether it is an operation on one pipeline, the identity."""
        return False

    def run(self, *leading: Any) -> Any:
        """Return what it gives for an image and a scale, or for a scale."""
        # Not self(*leading): toolz.curry would take some TypeErrors that the function
        # itself raises for missing arguments, and return another curry.
        return self.func(*leading, **self.keywords)

    def atoms(self) -> tuple[Stage, ...]:
        """Return the stages that it consists of, the one that runs last at the front.

        What has the same atoms is equal.
        """
        return (self,)

    def content(self) -> tuple[Any, ...]:
        """Return what is equal for atoms that are equal."""
        return (self.func, content(tuple(self.keywords.values())))

    def text(self, *, shorten: bool, inner: Text = _IDENTITY_TEXT) -> Text:
        """Return its source text; ``inner`` stands for the identity in an operation."""
        name = self.func.__name__
        parameters = own_parameters(self.func, self.leading)
        return call_text(
            name,
            parameters,
            self.keywords,
            defaults(name, parameters),
            shorten=shorten,
        )


class SourceStage(Stage):
    """A function of the scale."""

    leading = 1


class Derived(Stage):
    """A function that returned a pipeline: it is that, under the function's name."""

    leading = 0
    pipeline: Any

    def run(self, *leading: Any) -> Any:
        """Run the pipeline that it stands for."""
        return self.pipeline._run(*leading)

    __call__ = run

    def atoms(self) -> tuple[Stage, ...]:
        """Return those of its pipeline."""
        return atoms(self.pipeline.parts)


class Operation(Stage):
    """A function applied pointwise to what its operands give."""

    @property
    def function(self) -> Callable[..., Any]:
        """What is applied."""
        return self.keywords["function"]

    @property
    def operands(self) -> tuple[Any, ...]:
        """Pipelines, numbers and arrays."""
        return self.keywords["operands"]

    def content(self) -> tuple[Any, ...]:
        """Return what is equal for atoms that are equal: the operation as one row."""
        return (self.func, content(_row(self.function, self.operands)))

    @property
    def is_unary(self) -> bool:
        """Whether its one pipeline is the identity."""
        given = [each for each in self.operands if _is_pipeline(each)]
        return len(given) == 1 and _is_identity(given[0])

    def text(self, *, shorten: bool, inner: Text = _IDENTITY_TEXT) -> Text:
        """Return its source text; ``inner`` stands for the identity."""
        operands = [
            inner if _is_identity(each) else _operand_text(each, shorten=shorten)
            for each in self.operands
        ]
        return function_text(self.function, operands)


class SourceOperation(Operation):
    """A function applied pointwise to what providers give."""

    leading = 1
    is_unary = False


def atoms(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Return the stages that these consist of."""
    return tuple(atom for each in stages for atom in each.atoms())


def split(
    stages: Sequence[Stage], count: int
) -> tuple[tuple[Stage, ...], tuple[Stage, ...]]:
    """Return two parts of some stages, the second of so many atoms.

    A derived stage that lies in both gives its atoms to either.
    """
    first, second = list(stages), []
    while count:
        last = first.pop()
        within = last.atoms()
        if len(within) <= count:
            second.append(last)
            count -= len(within)
        else:
            first.extend(within)
    return tuple(first), tuple(reversed(second))


def chain_text(stages: Sequence[Stage], *, shorten: bool) -> Text:
    """Return the source text of stages that are composed."""
    chain: list[Text] = []
    for stage in reversed(stages):
        if chain and stage.is_unary:
            # (identity + 1) @ f @ g prints as (f @ g) + 1, which it was made from
            chain = [stage.text(shorten=shorten, inner=composed_text(chain))]
        else:
            chain.insert(0, stage.text(shorten=shorten))
    return composed_text(chain)


def _row(
    function: Callable[..., Any], operands: tuple[Any, ...]
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Return ``d + r`` as ``p + q + r`` where ``d`` is derived and stands for p + q."""
    between = function.function if isinstance(function, Fold) else function
    if between not in FOLDED or not _is_pipeline(operands[0]):
        return function, operands
    match atoms(operands[0].parts):
        case [Operation() as inner]:
            found, first = _row(inner.function, inner.operands)
            if found in (between, Fold(between)):
                return Fold(between), (*first, *operands[1:])
    return function, operands


def _is_pipeline(value: Any) -> bool:
    return isinstance(value, PointwiseOperators)


def _is_identity(value: Any) -> bool:
    return _is_pipeline(value) and not atoms(value.parts)


def _operand_text(operand: Any, *, shorten: bool) -> Text:
    if _is_pipeline(operand):
        return chain_text(operand.parts, shorten=shorten)
    text = value_text(operand, shorten=shorten)
    return Text(text, is_atom=not text.startswith("-"))
