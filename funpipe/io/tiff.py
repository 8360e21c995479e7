"""TIFF volumes through tifffile, with ImageJ's metadata."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import BufferingHandler
from typing import Any

from funpipe.io.extras import require
from funpipe.io.voxels import Volume, isotropic, nm_per

__all__ = ["open_tiff"]


def open_tiff(name: str) -> Volume:
    """Open a TIFF file, memory-mapped where it can be; its pages lie along z."""
    tifffile = require("tifffile", "tiff", "to read TIFF")
    try:
        with _errors_raised(), tifffile.TiffFile(name) as file:
            if file.series[0].axes.endswith("S"):
                raise ValueError("its pixels are colours, not numbers")
            array = _array(tifffile, file, name)
            size = _voxel_size(file)
    except Exception as error:  # tifffile meets damage with errors of many kinds
        raise ValueError(f"{name} is not a readable TIFF file: {error}") from None
    return Volume(array, *isotropic(size))


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


def _array(tifffile: Any, file: Any, name: str) -> Any:
    try:
        return tifffile.memmap(name, mode="r")
    except ValueError:  # compressed, tiled, in pieces
        return file.asarray()


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
