"""The operators of pipelines: each acts pointwise, on the images that they give.

``&``, ``|`` and ``~`` are minimum, maximum and complement, so that masks form an
algebra; comparisons give masks of 0 and 1. ``==`` is not among them: it compares
the pipelines themselves.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np

from funpipe.base.arguments import Image

if TYPE_CHECKING:
    from funpipe.algebra.pipeline import ImageConverter

__all__ = ["FOLDED", "Fold", "PointwiseOperators", "complement"]


def complement(image: Image) -> Image:
    """Return 1 − image: the complement of a mask."""
    return 1 - image


FOLDED = frozenset(
    {
        *(operator.add, operator.sub, operator.mul, operator.truediv),
        *(np.minimum, np.maximum),
    }
)
"""Operators that are written in a row without parentheses, the left one first."""


@dataclass(frozen=True)
class Fold:
    """An operator between each two operands in a row: ``a + b + c`` as one sum."""

    function: Callable[..., Any]

    def __call__(self, *operands: Any) -> Any:
        """Apply it from left to right."""
        return reduce(self.function, operands)


class PointwiseOperators:
    """Turns every operator into a call of ``_pointwise(function, *operands)``."""

    __array_ufunc__ = None  # so that ``ndarray + pipeline`` asks the pipeline

    def _pointwise(self, function: Callable[..., Any], *operands: Any) -> Any:
        return NotImplemented

    @overload
    def __add__(self, other: ImageConverter) -> ImageConverter: ...
    @overload
    def __add__(self, other: Any) -> Self: ...
    def __add__(self, other: Any) -> Any:
        return self._pointwise(operator.add, self, other)

    @overload
    def __radd__(self, other: ImageConverter) -> ImageConverter: ...
    @overload
    def __radd__(self, other: Any) -> Self: ...
    def __radd__(self, other: Any) -> Any:
        return self._pointwise(operator.add, other, self)

    @overload
    def __sub__(self, other: ImageConverter) -> ImageConverter: ...
    @overload
    def __sub__(self, other: Any) -> Self: ...
    def __sub__(self, other: Any) -> Any:
        return self._pointwise(operator.sub, self, other)

    @overload
    def __rsub__(self, other: ImageConverter) -> ImageConverter: ...
    @overload
    def __rsub__(self, other: Any) -> Self: ...
    def __rsub__(self, other: Any) -> Any:
        return self._pointwise(operator.sub, other, self)

    @overload
    def __mul__(self, other: ImageConverter) -> ImageConverter: ...
    @overload
    def __mul__(self, other: Any) -> Self: ...
    def __mul__(self, other: Any) -> Any:
        return self._pointwise(operator.mul, self, other)

    @overload
    def __rmul__(self, other: ImageConverter) -> ImageConverter: ...
    @overload
    def __rmul__(self, other: Any) -> Self: ...
    def __rmul__(self, other: Any) -> Any:
        return self._pointwise(operator.mul, other, self)

    @overload
    def __truediv__(self, other: ImageConverter) -> ImageConverter: ...
    @overload
    def __truediv__(self, other: Any) -> Self: ...
    def __truediv__(self, other: Any) -> Any:
        return self._pointwise(operator.truediv, self, other)

    @overload
    def __rtruediv__(self, other: ImageConverter) -> ImageConverter: ...
    @overload
    def __rtruediv__(self, other: Any) -> Self: ...
    def __rtruediv__(self, other: Any) -> Any:
        return self._pointwise(operator.truediv, other, self)

    @overload
    def __pow__(self, other: ImageConverter) -> ImageConverter: ...
    @overload
    def __pow__(self, other: Any) -> Self: ...
    def __pow__(self, other: Any) -> Any:
        return self._pointwise(operator.pow, self, other)

    @overload
    def __rpow__(self, other: ImageConverter) -> ImageConverter: ...
    @overload
    def __rpow__(self, other: Any) -> Self: ...
    def __rpow__(self, other: Any) -> Any:
        return self._pointwise(operator.pow, other, self)

    @overload
    def __and__(self, other: ImageConverter) -> ImageConverter: ...
    @overload
    def __and__(self, other: Any) -> Self: ...
    def __and__(self, other: Any) -> Any:
        return self._pointwise(np.minimum, self, other)

    @overload
    def __rand__(self, other: ImageConverter) -> ImageConverter: ...
    @overload
    def __rand__(self, other: Any) -> Self: ...
    def __rand__(self, other: Any) -> Any:
        return self._pointwise(np.minimum, other, self)

    @overload
    def __or__(self, other: ImageConverter) -> ImageConverter: ...
    @overload
    def __or__(self, other: Any) -> Self: ...
    def __or__(self, other: Any) -> Any:
        return self._pointwise(np.maximum, self, other)

    @overload
    def __ror__(self, other: ImageConverter) -> ImageConverter: ...
    @overload
    def __ror__(self, other: Any) -> Self: ...
    def __ror__(self, other: Any) -> Any:
        return self._pointwise(np.maximum, other, self)

    @overload
    def __lt__(self, other: ImageConverter) -> ImageConverter: ...
    @overload
    def __lt__(self, other: Any) -> Self: ...
    def __lt__(self, other: Any) -> Any:
        return self._pointwise(operator.lt, self, other)

    @overload
    def __le__(self, other: ImageConverter) -> ImageConverter: ...
    @overload
    def __le__(self, other: Any) -> Self: ...
    def __le__(self, other: Any) -> Any:
        return self._pointwise(operator.le, self, other)

    @overload
    def __gt__(self, other: ImageConverter) -> ImageConverter: ...
    @overload
    def __gt__(self, other: Any) -> Self: ...
    def __gt__(self, other: Any) -> Any:
        return self._pointwise(operator.gt, self, other)

    @overload
    def __ge__(self, other: ImageConverter) -> ImageConverter: ...
    @overload
    def __ge__(self, other: Any) -> Self: ...
    def __ge__(self, other: Any) -> Any:
        return self._pointwise(operator.ge, self, other)

    def __neg__(self) -> Self:
        return self._pointwise(operator.neg, self)

    def __abs__(self) -> Self:
        return self._pointwise(np.absolute, self)

    def __invert__(self) -> Self:
        return self._pointwise(complement, self)
