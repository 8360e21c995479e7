"""Chunks: some particles of a tomogram each, which any process can cut and work on.

How particles are divided depends on nothing but their number and the size of their
boxes, so that results do not depend on where they are found. A chunk is a `Source` of
its particles alone, without their features, and small: its tomogram goes along as where
it lies. Boxes are cut where the chunk is worked on.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import pickle
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from funpipe.base.digests import array_digest, check_state, digest
from funpipe.base.molecules import Molecules
from funpipe.boxes.opening import Source, in_tomogram
from funpipe.io.packed import Packed
from funpipe.io.rows import mapped_array, saved_array
from funpipe.io.voxels import Lazy

__all__ = [
    "Chunk",
    "check_unchanged",
    "chunk_keys",
    "chunk_size",
    "chunks",
    "opened",
    "parts",
    "stays",
]

_MOST, _FEWEST = 64, 8  # particles that are worked on together
_MANY = 2**13  # particles, of which twice as many are
_BYTES = 2**26  # of their boxes, where these are large
_SMALL = 2**16  # bytes of what goes along with each chunk


class Chunk(NamedTuple):
    """Some particles of a tomogram, by their places among its own."""

    source: Source
    places: NDArray[np.intp]

    @property
    def indices(self) -> NDArray[np.intp]:
        """Which of all the particles they are."""
        return self.source.indices[self.places]


def chunk_size(box: tuple[int, ...], count: int = 0) -> int:
    """Return how many particles are worked on together, of boxes of some voxels.

    Of a count of many particles it is more: less time between them, and still enough
    for all who work.

    Examples
    --------
    >>> chunk_size((32, 32, 32)), chunk_size((96, 96, 96)), chunk_size((300, 300, 300))
    (64, 18, 8)
    >>> chunk_size((32, 32, 32), count=10_000)
    128
    """
    most = _MOST if count < _MANY else 2 * _MOST
    return max(_FEWEST, min(most, _BYTES // (4 * math.prod(box))))


def parts(count: int, size: int) -> list[NDArray[np.intp]]:
    """Cut the numbers up to a count into parts that are worked on together."""
    return np.array_split(np.arange(count), max(1, math.ceil(count / size)))


def chunks(sources: Iterable[Source], size: int) -> list[Chunk]:
    """Divide all particles, tomogram by tomogram.

    Parameters
    ----------
    sources : iterable of Source
        The tomograms and their particles.
    size : int
        How many particles a chunk has at the most.
    """
    return [
        Chunk(source, places)
        for source in sources
        for places in parts(len(source.indices), size)
    ]


def opened(some: Iterable[Chunk], folder: Path | None = None) -> Iterator[Source]:
    """Yield chunks that can be cut, each as a tomogram with its particles alone.

    Parameters
    ----------
    some : iterable of Chunk
        Those of a tomogram in a row.
    folder : path or None
        Where arrays become files for those that do not share this memory; None for
        those that do: they get the arrays themselves.

    Yields
    ------
    Source
        For others it pickles to little, unless it `stays`: where the array can go there
        neither by a file nor by itself.
    """
    for _, several in itertools.groupby(some, _tomogram):
        first, *rest = several
        source = first.source
        with in_tomogram(source.name):
            ready = _here(source) if folder is None else _elsewhere(source, folder)
        bare = Molecules(source.molecules.positions, source.molecules.rotations)
        ready = ready._replace(molecules=bare)
        for each in (first, *rest):
            yield ready.take(each.places)


def chunk_keys(some: Iterable[Chunk]) -> list[str]:
    """Return a hash of what each chunk is cut from, and where.

    Of a file it is which one it was when it was opened, its size and time; of an array
    its content.
    """
    found = []
    for _, several in itertools.groupby(some, _tomogram):
        first, *rest = several
        source = first.source
        identity = _identity(source)
        quaternions = source.molecules.rotations.as_quat()
        poses = np.hstack([source.molecules.positions, quaternions])
        for each in (first, *rest):
            content = identity.encode() + poses[each.places].tobytes()
            found.append(hashlib.sha256(content).hexdigest())
    return found


def _identity(source: Source) -> str:
    if source.path is not None:
        which = os.path.realpath(source.path), source.known
        return digest((which, source.scale, source.tilt))
    return digest((array_digest(source.array), source.scale, source.tilt))


def check_unchanged(sources: Iterable[Source]) -> None:
    """Refuse tomograms whose files are others than when they were opened first.

    Raises
    ------
    ChangedError
        If one was replaced or written to.
    OSError
        If one is gone.
    """
    for each in sources:
        with in_tomogram(each.name):
            if each.path is not None:
                check_state(each.path, each.known)


def stays(source: Source) -> bool:
    """Tell whether a chunk for others has to be cut here all the same."""
    return isinstance(source.array, _InTurn)


def _tomogram(chunk: Chunk) -> int:
    return id(chunk.source)


@dataclass(frozen=True)
class _InTurn:
    """An array-like of which nobody knows whether several may read it at a time."""

    array: Any
    lock: Any

    @property
    def shape(self) -> Any:
        return self.array.shape

    @property
    def dtype(self) -> Any:
        return self.array.dtype

    def __getitem__(self, where: Any) -> Any:
        with self.lock:
            return np.asanyarray(self.array[where])


def _here(source: Source) -> Source:
    """Return an open tomogram that threads can share."""
    source = source.opened()
    if isinstance(source.array, np.ndarray | Lazy):
        return source
    return source._replace(array=_InTurn(source.array, threading.Lock()))


def _elsewhere(source: Source, folder: Path) -> Source:
    """Return a tomogram that other processes can open, or that stays here."""
    array = source.array
    if isinstance(array, Packed):  # each process unpacks it for itself
        return source._replace(array=array.path)
    if isinstance(array, str | Lazy):
        return source
    if source.path is not None:  # likewise
        return source._replace(array=source.path)
    if isinstance(array, np.ndarray):
        stored = mapped_array(array) or saved_array(folder / f"{id(array):x}", array)
        return source._replace(array=stored)
    return source if _is_small(array) else _here(source)


def _is_small(array: Any) -> bool:
    try:
        return len(pickle.dumps(array)) <= _SMALL
    except Exception:  # of another library's object
        return False
