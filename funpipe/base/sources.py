"""Files as they are read: ordinary ones, of bounded size, also unpacked."""

from __future__ import annotations

import bz2
import errno
import gzip
import os
import stat
import zlib
from pathlib import Path
from typing import IO, Any

from funpipe.base.errors import FileError

__all__ = ["LARGEST_LIST", "check_source", "open_unpacked", "read_bytes"]

LARGEST_LIST = 2**30
"""Bytes of the largest particle list or structure that is read: millions of rows."""

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
            content = file.read(most + 1)
    except (EOFError, zlib.error, OSError) as error:
        if getattr(error, "errno", None) is not None:
            raise  # the system's own word; damaged packing has no number
        raise FileError(name, f" cannot be unpacked: {error}") from None
    if len(content) > most:
        raise FileError(name, f" holds more than {most} bytes: too many to read")
    return content


def open_unpacked(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open an ordinary file for reading, through its packing where it has one."""
    check_source(path)
    opener = _PACKED.get(Path(path).suffix.lower(), open)
    opened: IO[bytes] = opener(path, "rb")
    return opened
