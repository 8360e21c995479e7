"""Files as they are read: ordinary ones, of bounded size, also unpacked, unchanged."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from funpipe.base.errors import ChangedError, FileError

__all__ = [
    "LARGEST_LIST",
    "State",
    "check_source",
    "open_unpacked",
    "read_bytes",
    "state_of",
]

LARGEST_LIST = 2**30
"""Bytes of the largest particle list or structure that is read: millions of rows."""

_PART = 2**20  # bytes that are read at a time

_PACKED: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open}


def check_source(path: str | os.PathLike[str]) -> None:
    """Refuse a path that no file can be read from, without opening it.

    Parameters
    ----------
    path : path-like
        To open a pipe would wait for a writer, and a device may have no end.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, PermissionError, OSError
        If there is nothing, or a folder, a pipe or a device, or it may not be read.

    Examples
    --------
    >>> check_source(os.devnull)
    Traceback (most recent call last):
    ...
    OSError: /dev/null is a device or a pipe, not a file to read
    """
    name = os.fspath(path)
    mode = os.stat(name).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "Is a directory", name)
    if not stat.S_ISREG(mode):
        raise OSError(f"{name} is a device or a pipe, not a file to read")
    with open(name, "rb"):  # the system's own word where it cannot be read
        pass


def read_bytes(path: str | os.PathLike[str], most: int = LARGEST_LIST) -> bytes:
    """Return all bytes of a file; those that ``.gz`` or ``.bz2`` pack are unpacked.

    Parameters
    ----------
    path : path-like
        An ordinary file.
    most : int
        Bytes beyond which it is refused.

    Raises
    ------
    OSError
        As `check_source` says.
    ValueError
        If it holds more, or cannot be unpacked.
    """
    name = os.fspath(path)
    check_source(path)
    if os.stat(name).st_size > most:
        raise FileError(name, f" holds more than {most} bytes: too many to read")
    try:
        with open_unpacked(path) as file:
            content = _read(file, most + 1)
    except (EOFError, zlib.error, OSError) as error:
        if getattr(error, "errno", None) is not None:
            raise  # the system's own word; damaged packing has no number
        raise FileError(name, f" cannot be unpacked: {error}") from None
    if len(content) > most:
        raise FileError(name, f" holds more than {most} bytes: too many to read")
    return content


def _read(file: IO[bytes], most: int) -> bytes:
    """Read up to so many bytes; memory is taken for those that are there alone."""
    content = io.BytesIO()
    while part := file.read(min(_PART, most - content.tell())):
        content.write(part)
    return content.getvalue()


class State(NamedTuple):
    """What is another one once a file has been written to or replaced."""

    size: int
    """Bytes."""
    time: int | None
    """Nanoseconds, when it was last written to; None where that does not count."""

    def check(self, path: str, found: os.stat_result) -> None:
        """Refuse a file that is another one by what is found of it now.

        Raises
        ------
        ChangedError
            With what has changed.
        """
        now = _state(found)
        if now.size != self.size:
            said = f"it had {self.size} bytes, and has {now.size}"
        elif self.time not in (None, now.time):
            said = "it was replaced or written to"
        else:
            return
        raise ChangedError(path, said)

    @contextmanager
    def unchanged(self, path: str) -> Iterator[None]:
        """Refuse a file that is another one before or after what is done with it."""
        self.check(path, os.stat(path))
        yield
        self.check(path, os.stat(path))


def state_of(path: str | os.PathLike[str]) -> State:
    """Return the state of a file.

    Examples
    --------
    >>> state_of(__file__) == state_of(__file__)
    True
    """
    return _state(os.stat(path))


def _state(found: os.stat_result) -> State:
    return State(found.st_size, found.st_mtime_ns)


def open_unpacked(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open an ordinary file for reading, through its packing where it has one."""
    check_source(path)
    opener = _PACKED.get(Path(path).suffix.lower(), open)
    opened: IO[bytes] = opener(path, "rb")
    return opened
