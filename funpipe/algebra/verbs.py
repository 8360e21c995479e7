"""The decorator of verbs: functions that take their data last, and wait for them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import toolz

from funpipe.algebra.binding import named, waiting, written_parameters
from funpipe.algebra.currying import Strict
from funpipe.algebra.signatures import CurriedVerb

__all__ = ["Verb", "verb"]

P = ParamSpec("P")
Result = TypeVar("Result")


class Verb(Strict):
    """A function that waits for its data, the last argument that goes by position."""

    @toolz.functoolz.instanceproperty
    def __signature__(self) -> inspect.Signature:
        """What the caller still has to give, or may."""
        signature = inspect.signature(self.func)
        rest = [
            each
            for name, each in signature.parameters.items()
            if name not in self.keywords
        ]
        return signature.replace(parameters=rest)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Return the result, or, while the data are missing, a function of the rest."""
        parameters = {each.name: each for each in written_parameters(self.func, 0)}
        data = [name for name, each in parameters.items() if _is_data(each)][-1]
        open_ = {
            name: each
            for name, each in parameters.items()
            if name not in self.keywords or name in kwargs
        }
        values = {**self.keywords, **named(self.__name__, open_, args, kwargs)}
        if data not in values:
            return type(self)(self.func, **values)
        if missing := waiting(parameters, values):
            raise TypeError(
                f"{self.__name__}: {' and '.join(missing)} must be given; it takes "
                f"({', '.join(parameters)})"
            )
        return self.func(**values)


def _is_data(parameter: inspect.Parameter) -> bool:
    return (
        parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        and parameter.default is parameter.empty
    )


def verb(function: Callable[P, Result]) -> CurriedVerb[P, Result]:
    """Curry a function whose data come last, for chains such as `toolz.pipe`.

    Parameters
    ----------
    function : callable
        Its data are the last parameter that goes by position and is required. Other
        arguments may be given before them, all at once or one after another.

    Returns
    -------
    callable
        The function; while its data are missing it returns one of what is missing.

    Raises
    ------
    TypeError
        When called, if an argument is wrong or surplus, at once; if another one than
        the data is missing, when the data are there.

    Examples
    --------
    >>> import toolz
    >>> @verb
    ... def shares(total, parts, *, digits):
    ...     return [round(part / total, digits) for part in parts]
    >>> toolz.pipe([1.0, 2.0], shares(3.0, digits=2), sum)
    1.0
    >>> shares(digits=2)
    <shares, waiting for total, parts>
    >>> shares(3.0, [1.0, 2.0])
    Traceback (most recent call last):
    ...
    TypeError: shares: digits must be given; it takes (total, parts, digits)
    """
    if not any(map(_is_data, written_parameters(function, 0))):
        raise TypeError(f"{function.__name__} must take its data by position")
    return cast("CurriedVerb[P, Result]", Verb(function))
