"""Finished chunks kept in a folder, and taken from there when a job runs again.

A job has a folder of its own, named after all that determines its results: with another
parameter it is another job. In it are files of some chunks each, written whole or not
at all and never changed, so that several runs of one job may write there. A file holds
arrays only, ``.npz`` without pickle, and is called by the hash of its content: one that
is damaged is said, removed, and its chunks are worked on again.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.base.arguments import path as as_path
from funpipe.base.caller import warn
from funpipe.base.digests import digest
from funpipe.base.extras import in_one_line
from funpipe.base.whole import check_room, remove_left, replacing
from funpipe.space.spectra import can_compile

__all__ = ["RESULTS", "Checkpoint", "check_folder", "job_key", "open_checkpoint"]

RESULTS = 6
"""To be raised whenever the results of a job change while its parameters do not."""

_NAME = "chunks-{}.npz"
_REST = 0.5  # seconds between two files, at the least
_MOST = 2**26  # bytes that wait to be written
_KEYS, _SHAPE = "keys", "{}.shape"

Arrays: TypeAlias = Mapping[str, NDArray[Any]]


def job_key(*facts: Any) -> str:
    """Return a hash of what determines results, versions of libraries among it."""
    return digest((RESULTS, np.__version__, scipy.__version__, can_compile(), facts))


def check_folder(name: str, value: Any) -> str | None:
    """Return None, or the path of a folder to write to, that is there or can be made.

    Raises
    ------
    TypeError, ValueError, OSError
        If it is no path, or nothing can be written there.
    """
    if value is None:
        return None
    path = as_path(name, value)
    there = Path(path).absolute()
    while not os.path.lexists(there):
        there = there.parent
    try:
        if not there.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{there} is a file")
        check_room(there)
    except OSError as error:
        reason = error.strerror or in_one_line(error)
        raise type(error)(
            f"{name} must be a folder to write to, not {path}: {reason}"
        ) from None
    return path


@dataclass
class Checkpoint:
    """A job's folder, and the chunks that wait to be written there."""

    folder: Path
    places: dict[str, tuple[Path, int]]
    """In which file each finished chunk is, by its key, and where in it."""
    waiting: dict[str, Arrays] = field(default_factory=dict)
    size: int = 0
    """Bytes of those."""
    written: float = 0.0
    """When the last file was."""
    last: tuple[Path, Arrays] | None = None
    """The file that was read last: the next chunk often is in it, too."""

    def __contains__(self, key: str) -> bool:
        return key in self.places

    def result(self, key: str) -> Arrays:
        """Return a finished chunk's arrays."""
        path, number = self.places[key]
        if self.last is None or self.last[0] != path:
            self.last = path, _read(path)
        return _chunk(self.last[1], number)

    def put(self, key: str, result: Arrays) -> None:
        """Keep a chunk; it is written at once, or with others half a second later."""
        self.waiting[key] = result
        self.size += sum(each.nbytes for each in result.values())
        if time.monotonic() - self.written >= _REST or self.size > _MOST:
            self.write()

    def write(self) -> None:
        """Write what waits."""
        if self.waiting:
            content = io.BytesIO()
            np.savez(content, allow_pickle=False, **_together(self.waiting))
            path = self.folder / _NAME.format(_hash(content.getbuffer()))
            with replacing(path) as partial:
                partial.write_bytes(content.getbuffer())
            self.waiting.clear()
            self.size = 0
        self.written = time.monotonic()


def open_checkpoint(directory: str, name: str, key: str) -> Checkpoint:
    """Make a job's folder, if need be, and find what is finished there.

    Warns
    -----
    UserWarning
        Of each file that is damaged.
    """
    folder = Path(directory, f"{name}-{key[:16]}")
    folder.mkdir(parents=True, exist_ok=True)
    remove_left(directory)
    remove_left(folder)
    places: dict[str, tuple[Path, int]] = {}
    for path in sorted(folder.iterdir()):
        if path.match(_NAME.format("*")):
            for number, each in enumerate(_keys(path)):
                places[each] = path, number
    return Checkpoint(folder, places)


def _keys(path: Path) -> list[str]:
    """Return the keys of the chunks in a file; none of one that is damaged."""
    try:
        return [bytes(each).hex() for each in _read(path)[_KEYS]]
    except FileNotFoundError:  # another run has found it damaged
        return []
    except Exception as error:  # damage has errors of many kinds
        if getattr(error, "errno", None) is not None:
            raise
        path.unlink(missing_ok=True)
        warn(
            f"checkpoint: {path} is damaged ({in_one_line(error)}) and removed; its "
            "chunks are worked on again"
        )
        return []


def _read(path: Path) -> Arrays:
    """Return the arrays of a file, which is never changed, if it is whole."""
    content = path.read_bytes()
    if path.name != _NAME.format(_hash(content)):
        raise ValueError("what it holds is not what its name says")
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _together(chunks: Mapping[str, Arrays]) -> dict[str, Any]:
    """Return the arrays of several chunks, which have the same names, in a row."""
    keys = np.array([list(bytes.fromhex(each)) for each in chunks], np.uint8)
    arrays: dict[str, Any] = {_KEYS: keys}
    several = list(chunks.values())
    for name in several[0]:
        each = [one[name] for one in several]
        arrays[name] = np.concatenate([one.reshape(-1) for one in each])
        arrays[_SHAPE.format(name)] = np.array([one.shape for one in each], np.int64)
    return arrays


def _chunk(arrays: Arrays, number: int) -> Arrays:
    """Return one chunk of those in a row."""
    found = {}
    for name in arrays:
        shapes = arrays.get(_SHAPE.format(name))
        if shapes is not None:
            ends = np.cumsum(shapes.prod(axis=1))
            stop = int(ends[number])
            start = stop - int(shapes[number].prod())
            found[name] = arrays[name][start:stop].reshape(shapes[number])
    return found


def _hash(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
