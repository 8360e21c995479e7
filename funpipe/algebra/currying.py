"""Strict currying: what stage functions and verbs share.

`toolz.curry` takes whatever it is given and waits on; here a wrong or surplus
argument is an error where it is written, and what waits says for what.
"""

from __future__ import annotations

import inspect
from typing import Any

import toolz

from funpipe.algebra.binding import content, waiting

__all__ = ["Strict"]


class Strict(toolz.curry):
    """A curried function that binds its arguments by name when they are given."""

    def __getattr__(self, name: str) -> Any:
        """Return the plain function as ``__wrapped__``, whose source `inspect` shows.

        Of the instances alone, or `inspect` would unwrap the class.
        """
        if name == "__wrapped__":
            return self.func
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"<{self.__name__}, {self._state()}>"

    __str__ = __repr__  # toolz.curry has a __str__ of its own

    def _state(self) -> str:
        names = waiting(inspect.signature(self).parameters, {})
        return f"waiting for {', '.join(names) or 'its call'}"

    def _content(self) -> Any:
        return (self.func, content(self.args), content(self.keywords))

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return bool(self._content() == other._content())

    def __ne__(self, other: object) -> bool:  # toolz.curry has one of its own
        return not self == other

    def __hash__(self) -> int:
        return hash(self._content())
