"""The decorators that make plain functions into makers of pipelines."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, Concatenate, NoReturn, ParamSpec

import toolz

from funpipe.algebra.binding import (
    bind,
    defaults,
    own_parameters,
    waiting,
    written_parameters,
)
from funpipe.algebra.currying import Strict
from funpipe.algebra.operators import PointwiseOperators
from funpipe.algebra.pipeline import ImageConverter, ImageProvider
from funpipe.algebra.signatures import Curried
from funpipe.base.arguments import Image
from funpipe.base.wording import describe

__all__ = ["StageFunction", "converter_function", "provider_function"]

P = ParamSpec("P")


class StageFunction(PointwiseOperators, Strict):
    """A stage that waits for arguments; with all that it requires, a pipeline."""

    kind: type[ImageProvider] | type[ImageConverter]

    @toolz.functoolz.instanceproperty
    def __signature__(self) -> inspect.Signature:
        """What the caller still has to give, or may."""
        parameters = own_parameters(self.func, _LEADING[self.kind], checks=False)
        given, rest, by_name = self._given(parameters), [], False
        for name, each in parameters.items():
            if name not in given:
                rest.append(each.replace(kind=each.KEYWORD_ONLY) if by_name else each)
            by_name = by_name or name in self.keywords  # later ones keep their place
        return inspect.Signature(rest, return_annotation=self.kind)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Return a pipeline, or this function with more of its arguments."""
        parameters = own_parameters(self.func, _LEADING[self.kind])
        accepted = self._given(parameters) - kwargs.keys()
        args, kwargs = self.args + args, {**self.keywords, **kwargs}
        values = bind(self.__name__, parameters, args, kwargs, accepted)
        if waiting(parameters, values):
            by_position = [values[name] for name in list(parameters)[: len(args)]]
            by_name = {name: values[name] for name in kwargs}
            return _stage_function(self.func, self.kind, *by_position, **by_name)
        values = {**defaults(self.__name__, parameters), **values}
        stage = toolz.curry(self.func, **{name: values[name] for name in parameters})
        return (
            ImageProvider(stage)
            if self.kind is ImageProvider
            else ImageConverter((stage,))
        )

    def _given(self, parameters: Iterable[str]) -> set[str]:
        return {*list(parameters)[: len(self.args)], *self.keywords}

    def refuse(self, *_: Any) -> NoReturn:
        """Say that this is no pipeline yet, and what it waits for."""
        raise TypeError(
            f"{self.__name__} is not a pipeline yet, but {self._state()}: "
            f"{self.__name__}{self.__signature__}"
        )

    __matmul__ = __rmatmul__ = refuse

    def _pointwise(self, function: Callable[..., Any], *operands: Any) -> NoReturn:
        self.refuse()


_LEADING = {ImageProvider: 1, ImageConverter: 2}


def _stage_function(function: Any, kind: type, /, *args: Any, **kwargs: Any) -> Any:
    if not callable(function) or not hasattr(function, "__name__"):
        raise TypeError(
            f"a stage must be a function with a name, not {describe(function)}"
        )
    written_parameters(function, _LEADING[kind])  # an error where it is no stage
    made = StageFunction(function, *args, **kwargs)
    made.kind = kind
    return made


def provider_function(
    function: Callable[Concatenate[float, P], Any],
) -> Curried[P, ImageProvider]:
    """Make a function ``(scale, ...) -> image`` into a maker of image providers.

    Parameters
    ----------
    function : callable
        Its first parameter is the scale in nm per voxel. The others are given by
        whoever builds the pipeline, all at once or one after another; a parameter
        annotated ``Annotated[type, check]`` has ``check(name, value)`` run on it
        there. It returns a 3-D array (z, y, x), or a list of them.

    Returns
    -------
    callable
        The function of the remaining parameters that returns an `ImageProvider`.

    Raises
    ------
    TypeError
        If the function takes no scale, or has a parameter without a name.

    Examples
    --------
    >>> import numpy as np
    >>> @provider_function
    ... def ramp(scale: float, length: float):
    ...     n = round(length / scale)
    ...     return np.arange(n**3).reshape(n, n, n)
    >>> ramp(2.0)(0.5).shape
    (4, 4, 4)
    >>> ramp
    <ramp, waiting for length>
    """
    return _stage_function(function, ImageProvider)


def converter_function(
    function: Callable[Concatenate[Image, float, P], Any],
) -> Curried[P, ImageConverter]:
    """Make a function ``(image, scale, ...) -> image`` into a maker of converters.

    Parameters
    ----------
    function : callable
        Its first two parameters are the image (float32, axes z, y, x) and the
        scale in nm per voxel. The others are given by whoever builds the pipeline,
        all at once or one after another; a parameter annotated ``Annotated[type,
        check]`` has ``check(name, value)`` run on it there. It returns a 3-D array.

    Returns
    -------
    callable
        The function of the remaining parameters that returns an `ImageConverter`.

    Raises
    ------
    TypeError
        If the function does not take image and scale, or has a parameter without
        a name.

    Examples
    --------
    >>> import numpy as np
    >>> @converter_function
    ... def scaled_by(image, scale, factor, offset=0.0):
    ...     return factor * image + offset
    >>> scaled_by(2.0)(np.ones((2, 2, 2))).max()
    np.float32(2.0)
    >>> scaled_by(2.0) == scaled_by(factor=2.0, offset=0.0)
    True
    """
    return _stage_function(function, ImageConverter)
