"""The decorators that make plain functions into makers of pipelines."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, Concatenate, NoReturn, ParamSpec, TypeVar, get_type_hints

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
from funpipe.algebra.stages import Derived, SourceStage, Stage
from funpipe.base.arguments import Image
from funpipe.base.wording import describe

__all__ = [
    "StageFunction",
    "converter_function",
    "derived_function",
    "provider_function",
]

P = ParamSpec("P")
Pipeline = TypeVar("Pipeline", bound=ImageProvider | ImageConverter)


class StageFunction(PointwiseOperators, Strict):
    """A stage that waits for arguments; with all that it requires, a pipeline."""

    leading = 0
    """How many parameters of the function the pipeline fills in: image and scale."""

    def returns(self) -> Any:
        """Return what it is annotated with as what it returns."""
        return inspect.Signature.empty

    def made(self, values: dict[str, Any]) -> Any:
        """Return the pipeline of these arguments."""
        raise TypeError("a stage function makes providers or converters, or derives")

    @toolz.functoolz.instanceproperty
    def __signature__(self) -> inspect.Signature:
        """What the caller still has to give, or may."""
        parameters = own_parameters(self.func, self.leading, checks=False)
        given, rest, by_name = self._given(parameters), [], False
        for name, each in parameters.items():
            if name not in given:
                rest.append(each.replace(kind=each.KEYWORD_ONLY) if by_name else each)
            by_name = by_name or name in self.keywords  # later ones keep their place
        return inspect.Signature(rest, return_annotation=self.returns())

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Return a pipeline, or this function with more of its arguments."""
        parameters = own_parameters(self.func, self.leading)
        accepted = self._given(parameters) - kwargs.keys()
        args, kwargs = self.args + args, {**self.keywords, **kwargs}
        values = bind(self.__name__, parameters, args, kwargs, accepted)
        if waiting(parameters, values):
            by_position = [values[name] for name in list(parameters)[: len(args)]]
            by_name = {name: values[name] for name in kwargs}
            return type(self)(self.func, *by_position, **by_name)
        values = {**defaults(self.__name__, parameters), **values}
        return self.made({name: values[name] for name in parameters})

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


class ProviderFunction(StageFunction):
    """A stage function that waits for arguments of a provider."""

    leading = 1

    def returns(self) -> Any:
        """Return the class of providers."""
        return ImageProvider

    def made(self, values: dict[str, Any]) -> ImageProvider:
        """Return the provider of these arguments."""
        return ImageProvider(SourceStage(self.func, **values))


class ConverterFunction(StageFunction):
    """A stage function that waits for arguments of a converter."""

    leading = 2

    def returns(self) -> Any:
        """Return the class of converters."""
        return ImageConverter

    def made(self, values: dict[str, Any]) -> ImageConverter:
        """Return the converter of these arguments."""
        return ImageConverter((Stage(self.func, **values),))


class DerivedFunction(StageFunction):
    """A stage function that waits for arguments of a function of pipelines."""

    def returns(self) -> Any:
        """Return what the function says."""
        try:
            return get_type_hints(self.func).get("return", inspect.Signature.empty)
        except Exception:  # annotations that only a type checker can resolve
            return inspect.signature(self.func).return_annotation

    def made(self, values: dict[str, Any]) -> ImageProvider | ImageConverter:
        """Return the pipeline of these arguments, under the function's name."""
        pipeline = self.func(**values)
        if not isinstance(pipeline, ImageProvider | ImageConverter):
            raise TypeError(
                f"{self.__name__} must return a pipeline, not {describe(pipeline)}"
            )
        stage = Derived(self.func, **values)
        stage.pipeline = pipeline
        if isinstance(pipeline, ImageProvider):
            return ImageProvider(stage)
        return ImageConverter((stage,))


def _stage_function(kind: type[StageFunction], function: Any) -> Any:
    if not callable(function) or not hasattr(function, "__name__"):
        raise TypeError(
            f"a stage must be a function with a name, not {describe(function)}"
        )
    written_parameters(function, kind.leading)  # an error where it is no stage
    return kind(function)


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
    return _stage_function(ProviderFunction, function)


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
    return _stage_function(ConverterFunction, function)


def derived_function(function: Callable[P, Pipeline]) -> Curried[P, Pipeline]:
    """Make a function that returns a pipeline into a stage function.

    Parameters
    ----------
    function : callable
        It puts a pipeline together out of others. Its parameters are given by whoever
        builds the pipeline, as those of `converter_function`, checks included.

    Returns
    -------
    callable
        The function, curried: its pipelines are equal to those that it puts together,
        and print under its own name.

    Raises
    ------
    TypeError
        If the function has a parameter without a name; when called, if it does not
        return a pipeline.

    Examples
    --------
    >>> import funpipe as fp
    >>> @derived_function
    ... def shell(radius: float, width: float):
    ...     return fp.sphere(radius) & ~fp.sphere(radius - width)
    >>> shell(5.0, width=2.0) @ fp.from_gaussian(12.0)
    shell(5.0, 2.0) @ from_gaussian((12.0, 12.0, 12.0))
    >>> shell(5.0, 2.0) == fp.sphere(5.0) & ~fp.sphere(3.0)
    True
    """
    return _stage_function(DerivedFunction, function)
