"""TIFF volumes through tifffile, with ImageJ's metadata."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import BufferingHandler
from typing import Any

import numpy as np

from funpipe.base.caller import warn
from funpipe.base.errors import FileError
from funpipe.base.extras import in_one_line, require
from funpipe.io.formats import VolumeFormat
from funpipe.io.rows import stored_array
from funpipe.io.voxels import (
    Volume,
    check_claim,
    isotropic,
    nm_per,
    no_volume,
)

__all__ = ["VOLUME", "open_tiff"]


_MOST_ERRORS = 100


def open_tiff(name: str) -> Volume:
    """Open a TIFF file; its pages lie along z.

    Where they lie in the file one after the other as they are, they are read where
    they are sliced, else at once.
    """
    tifffile = require("tifffile", "tiff", "to read TIFF")
    missing = 0
    try:
        with _errors_raised(), tifffile.TiffFile(name) as file:
            series = file.series[0]
            if series.axes.endswith("S"):
                raise ValueError("its pixels are colours, not numbers")
            volume = len(series.shape) == 3 and series.dtype is not None
            if volume:
                array, missing = _array(file, series, name)
            size = _voxel_size(file)
    except Exception as error:  # tifffile meets damage with errors of many kinds
        raise FileError(
            name, f" is not a readable TIFF file: {in_one_line(error)}"
        ) from None
    if not volume:
        no_volume(name, series.shape, series.dtype)
    if missing:
        warn(f"{name}: {missing} pieces of its pages are not stored, and are read as 0")
    return Volume(array, *isotropic(size))


class _Heard(BufferingHandler):
    """Keeps what is logged, and ends what goes on logging.

    A page list that goes in circles names tens of thousands of pages in a small file.
    """

    def emit(self, record: logging.LogRecord) -> None:
        self.buffer.append(record)
        if len(self.buffer) >= self.capacity:
            raise ValueError(self.buffer[0].getMessage())


@contextmanager
def _errors_raised() -> Iterator[None]:
    """Raise what tifffile only logs, such as that pages are missing at the end."""
    logger, heard = logging.getLogger("tifffile"), _Heard(_MOST_ERRORS)
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
    return series.asarray(), sum(
        not length for page in pages for length in page.databytecounts
    )


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
