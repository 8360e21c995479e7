"""TIFF volumes through tifffile, with ImageJ's metadata."""

from __future__ import annotations

import logging
import math
import os
import struct
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from logging.handlers import BufferingHandler
from typing import Any

import numpy as np
from numpy.typing import NDArray

from funpipe.base.caller import warn
from funpipe.base.errors import FileError
from funpipe.base.extras import in_one_line, require
from funpipe.base.sources import State, state_of
from funpipe.io.formats import VolumeFormat
from funpipe.io.packed import Packed
from funpipe.io.rows import stored_array
from funpipe.io.voxels import (
    Box,
    Volume,
    check_claim,
    isotropic,
    nm_per,
    no_volume,
)

__all__ = ["VOLUME", "open_tiff"]


def open_tiff(name: str) -> Volume:
    """Open a TIFF file; its pages lie along z.

    Where they lie in the file one after the other as they are, they are read where
    they are sliced. Packed pages are unpacked one by one where whole ones are asked
    for, and all of them, once, where parts are.
    """
    tifffile = require("tifffile", "tiff", "to read TIFF")
    missing = 0
    with _damage_named(name), tifffile.TiffFile(name) as file:
        _check_chain(name, file.byteorder, big=file.is_bigtiff)
        series = file.series[0]
        if series.axes.endswith("S"):
            raise ValueError("its pixels are colours, not numbers")
        volume = len(series.shape) == 3 and series.dtype is not None
        if volume:
            array, missing = _array(file, series, name)
        size = _voxel_size(file)
    if not volume:
        no_volume(name, series.shape, series.dtype)
    if missing:
        warn(f"{name}: {missing} pieces of its pages are not stored, and are read as 0")
    return Volume(array, *isotropic(size))


def _check_chain(name: str, order: str, *, big: bool) -> None:
    """Refuse pages of which a later one leads to an earlier one.

    Each says where in the file the next one is, and tifffile would follow for ever.
    """
    where, count, tag = ("Q", "Q", 20) if big else ("L", "H", 12)
    size = os.stat(name).st_size
    with open(name, "rb") as file:

        def number(kind: str) -> int:
            content = file.read(struct.calcsize(f"={kind}"))
            return int(struct.unpack(f"{order}{kind}", content)[0])

        file.seek(8 if big else 4)
        page, seen = number(where), set[int]()
        with suppress(struct.error):  # at the end, of which tifffile tells
            while 0 < page < size:
                if page in seen:
                    raise ValueError(f"page {len(seen)} leads to an earlier one")
                seen.add(page)
                file.seek(page)
                file.seek(tag * number(count), os.SEEK_CUR)
                page = number(where)


@contextmanager
def _damage_named(name: str) -> Iterator[None]:
    """Name the file in errors, of which tifffile has many kinds for damage."""
    try:
        with _errors_raised():
            yield
    except (FileError, MemoryError):
        raise
    except Exception as error:
        raise FileError(
            name, f" is not a readable TIFF file: {in_one_line(error)}"
        ) from None


@contextmanager
def _errors_raised() -> Iterator[None]:
    """Raise what tifffile only logs, such as that pages are missing at the end."""
    logger, heard = logging.getLogger("tifffile"), BufferingHandler(1000)
    heard.setLevel(logging.ERROR)
    logger.addHandler(heard)
    propagated, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.propagate = propagated
        logger.removeHandler(heard)
    if heard.buffer:
        raise ValueError(heard.buffer[0].getMessage())


def _array(file: Any, series: Any, name: str) -> tuple[Any, int]:
    """Return the pages, and how many pieces of them the file leaves out."""
    dtype = np.dtype(series.dtype).newbyteorder(file.byteorder)
    count = math.prod(map(int, series.shape)) * dtype.itemsize
    size = os.stat(name).st_size
    if series.dataoffset is not None:
        if series.dataoffset + count > size:
            raise ValueError(
                f"{size} bytes, but its header says {series.dataoffset + count}"
            )
        return stored_array(name, series.shape, dtype, series.dataoffset), 0
    check_claim("it", count, size)
    pages = list(series.pages)
    if None in pages:
        raise ValueError(f"its page {pages.index(None)} is missing")
    missing = sum(not length for page in pages for length in page.databytecounts)
    if [page.shape for page in pages] != [series.shape[1:]] * series.shape[0]:
        return series.asarray(), missing
    z, y, x = map(int, series.shape)
    reader = _Pages(name, state_of(name), (z, y, x), np.dtype(series.dtype))
    reader.read(slice(0, 1))  # damage that all pages have is told here
    return Packed((z, y, x), reader.dtype, reader, name), missing


@dataclass(eq=False)
class _Pages:
    """What reads boxes of packed pages, for one thread at a time."""

    path: str
    state: State
    """The file's, when it was opened."""
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    file: Any = None
    whole: NDArray[Any] | None = None
    """All of it, once it is needed."""
    lock: Any = field(default_factory=threading.Lock, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Pages, (self.path, self.state, self.shape, self.dtype)

    def __call__(self, box: Box) -> NDArray[Any]:
        pages, *rest = box
        flat = rest == [slice(0, side) for side in self.shape[1:]]
        with self.lock:
            if self.whole is None and flat:
                return self.read(pages)
            if self.whole is None:
                self.whole = self.read(slice(0, self.shape[0]))
            return self.whole[box].copy()

    def read(self, some: slice) -> NDArray[Any]:
        """Unpack pages."""
        block = np.empty((some.stop - some.start, *self.shape[1:]), self.dtype)
        with _damage_named(self.path), self.state.unchanged(self.path):
            if self.file is None:
                tifffile = require("tifffile", "tiff", "to read TIFF")
                self.file = tifffile.TiffFile(self.path)
                weakref.finalize(self, self.file.close)
            for number in range(some.start, some.stop):
                page = self.file.series[0].pages[number].asarray()
                block[number - some.start] = page
        return block


def _voxel_size(file: Any) -> list[float]:
    """Return the voxel size in nm along z, y, x; 0 where the file does not say.

    XResolution and YResolution are pixels per unit, a fraction (numerator,
    denominator); ImageJ names the unit, and the spacing along z, in its own tag.
    """
    imagej = file.imagej_metadata or {}
    tags = file.pages[0].tags
    unit = str(imagej.get("unit", "")).strip()
    if not unit and "ResolutionUnit" in tags:
        unit = {2: "inch", 3: "cm"}.get(int(tags["ResolutionUnit"].value), "")
    nm = nm_per(unit)
    sizes = []
    for tag in ("YResolution", "XResolution"):
        pixels, units = tags[tag].value if tag in tags else (0, 1)
        sizes.append(nm * units / pixels if pixels else 0.0)
    return [nm * float(imagej.get("spacing", 0.0)), *sizes]


VOLUME = VolumeFormat(open_tiff, (".tif", ".tiff"), "TIFF")
