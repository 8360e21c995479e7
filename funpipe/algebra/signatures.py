"""What type checkers see of a curried function: all of its call, or a part of it.

A part given by position leaves a function of the rest, with its types. A part given by
name they cannot tell from a misspelt whole: that has no type here, though it runs.
"""

from __future__ import annotations

from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeVar, overload

__all__ = ["Curried", "CurriedVerb"]

P = ParamSpec("P")
Rest = ParamSpec("Rest")
First = TypeVar("First")
Second = TypeVar("Second")
Third = TypeVar("Third")
Made = TypeVar("Made", covariant=True)
Same = TypeVar("Same")


class Curried(Protocol[P, Made]):
    """A function of parameters P that waits while it lacks those it requires."""

    # The first overload is the one for a whole call; that the others overlap with it,
    # where all parameters have defaults, is meant.
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, *args: P.args, **kwargs: P.kwargs
    ) -> Made: ...
    @overload
    def __call__(self) -> Self: ...  # type: ignore[overload-cannot-match]
    @overload
    def __call__(
        self: Curried[Concatenate[First, Rest], Same], first: First, /
    ) -> Curried[Rest, Same]: ...
    @overload
    def __call__(
        self: Curried[Concatenate[First, Second, Rest], Same],
        first: First,
        second: Second,
        /,
    ) -> Curried[Rest, Same]: ...
    @overload
    def __call__(
        self: Curried[Concatenate[First, Second, Third, Rest], Same],
        first: First,
        second: Second,
        third: Third,
        /,
    ) -> Curried[Rest, Same]: ...


class CurriedVerb(Protocol[P, Made]):
    """A verb, whose options go by name: the plain function, or one that still waits."""

    __name__: str
    __qualname__: str

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Made: ...
    @overload
    def __call__(self, *args: Any, **kwargs: Any) -> CurriedVerb[..., Made]: ...
