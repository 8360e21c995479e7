"""Errors that carry what they are about, for those who would say it in other words.

What is done about an error goes by these facts, never by its text: the command line
names its own options for arguments, a reader adds the file where it is not said yet,
what looks into files gives what is missing.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias, TypeVar

__all__ = [
    "Argument",
    "ChangedError",
    "FileError",
    "MissingError",
    "Part",
    "WrongError",
    "WrongTypeError",
    "WrongValueError",
    "moved",
]

Self = TypeVar("Self", bound="WrongError")


class Argument(NamedTuple):
    """An argument in the text of an error, maybe with what it is given.

    Examples
    --------
    >>> str(Argument("scale")), str(Argument("scale", "...")), str(Argument("box", "2"))
    ('scale', 'scale=...', 'box=2')
    >>> Argument("scale", "...").by({"scale": "--scale"})
    '--scale'
    >>> Argument("scale", "0.5").by({"scale": "--scale"})
    '--scale 0.5'
    """

    name: str
    given: str = ""

    def __str__(self) -> str:
        return f"{self.name}={self.given}" if self.given else self.name

    def by(self, options: Mapping[str, str]) -> str | Argument:
        """Return the option that gives it, as it is written there; else itself."""
        if self.name not in options:
            return self
        given = "" if self.given == "..." else f" {self.given}"
        return f"{options[self.name]}{given.rstrip()}"


Part: TypeAlias = str | Argument


class WrongError(Exception):
    """What is wrong with an argument or a file.

    Parameters
    ----------
    *parts : str or Argument
        The text of the error in pieces, those that name arguments apart.
    name : str
        The argument.
    wanted : str
        What it must be.
    value : object
        What it is. Pickles and copies keep numbers and texts, of other values None.
    where : str
        The file that it is about, or a place in it.

    Examples
    --------
    >>> error = WrongValueError("pass ", Argument("scale", "..."), name="scale")
    >>> print(error.by({"scale": "--scale"}))
    pass --scale
    >>> print(error.within("a.em"))
    a.em: pass scale=...
    """

    def __init__(
        self,
        *parts: Part,
        name: str = "",
        wanted: str = "",
        value: object = None,
        where: str = "",
    ) -> None:
        super().__init__("".join(map(str, parts)))
        self.parts = parts
        self.name, self.wanted, self.value, self.where = name, wanted, value, where

    def __str__(self) -> str:
        return "".join(map(str, self.parts))

    def __reduce__(self) -> tuple[Any, ...]:
        made = (_blank, (type(self), self.args))
        return (*made, {**self.__dict__, "value": _plain(self.value)})

    def by(self: Self, options: Mapping[str, str]) -> Self:
        """Return this error with the options named that give its arguments."""
        return self._of(
            each.by(options) if isinstance(each, Argument) else each
            for each in self.parts
        )

    def within(self: Self, path: str) -> Self:
        """Return this error as one of a file; itself where it is one already."""
        if self.where.startswith(path):
            return self
        found = self._of((f"{path}: ", *self.parts))
        found.where = path
        return found

    def moved(self: Self, places: Mapping[str, str]) -> Self:
        """Return this error with files named by where they will be."""
        return self._of(
            moved(each, places) if isinstance(each, str) else each
            for each in self.parts
        )

    def _of(self: Self, parts: Any) -> Self:
        found = copy.copy(self)
        found.parts, found.value = tuple(parts), self.value
        return found


class WrongValueError(WrongError, ValueError):
    """A value of the right kind is wrong."""


class WrongTypeError(WrongError, TypeError):
    """A value is of a wrong kind."""


class FileError(WrongValueError):
    """Something is wrong with a file; the text begins with where.

    Examples
    --------
    >>> print(FileError("a.em", " holds no particles"))
    a.em holds no particles
    """

    def __init__(
        self, where: str | os.PathLike[str], *parts: Part, **facts: Any
    ) -> None:
        name = os.fspath(where)
        super().__init__(name, *parts, where=name, **facts)


class ChangedError(FileError):
    """A file is another one by now than it was when it was opened.

    Examples
    --------
    >>> print(ChangedError("a.mrc", "it had 4 bytes, and has 2"))
    a.mrc has changed since it was opened: it had 4 bytes, and has 2; call again when it
    stays as it is
    """

    def __init__(self, where: str | os.PathLike[str], said: str) -> None:
        text = f" has changed since it was opened: {said}; call again when it stays"
        super().__init__(where, f"{text} as it is")


class MissingError(FileError):
    """What is read does not say something that has to be given: by which argument.

    Attributes
    ----------
    where : str
        What was read.
    reason : str
        Why it is not enough.
    name : str
        The argument to pass.
    wanted : str
        What it takes.

    Examples
    --------
    >>> print(MissingError("a.em", "it counts in voxels", "scale", "in nm per voxel"))
    a.em: it counts in voxels; pass scale=... in nm per voxel
    """

    def __init__(
        self, where: str, reason: str, name: str, wanted: str, *more: Part
    ) -> None:
        argument = Argument(name, "...")
        super().__init__(where, f": {reason}; pass ", argument, f" {wanted}", *more)
        self.reason, self.name = reason, name
        self.wanted = "".join(map(str, (wanted, *more)))


def moved(text: str, places: Mapping[str, str]) -> str:
    """Return a text with files named by where they will be.

    Examples
    --------
    >>> moved("scratch/a.tbl is a folder", {"scratch": "out"})
    'out/a.tbl is a folder'
    """
    for before, after in places.items():
        text = text.replace(before, after)
    return text


def _blank(kind: type[WrongError], args: tuple[Any, ...]) -> WrongError:
    """Return an error to be filled: its facts are set after it is made."""
    found = kind.__new__(kind)
    found.args = args
    return found


def _plain(value: object) -> object:
    """Return a value that surely pickles, or None for another one."""
    return value if isinstance(value, str | bytes | int | float | complex) else None
