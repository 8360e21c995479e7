"""Volumes: MRC through mrcfile, TIFF through tifffile. Å become nm here."""

from __future__ import annotations

import math
import os
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from funpipe.arguments import describe, is_image, optional_positive
from funpipe.io.extras import require

__all__ = ["Volume", "open_volume", "read_volume", "write_mrc"]

_MRC = (".mrc", ".map", ".rec", ".ccp4", ".st")
_TIFF = (".tif", ".tiff")
_PACKED = (".gz", ".bz2")
_NM_PER_UNIT = {
    "nm": 1.0,
    "nanometer": 1.0,
    "µm": 1e3,
    "um": 1e3,
    "\\u00B5m": 1e3,
    "micron": 1e3,
    "Å": 0.1,
    "A": 0.1,
    "angstrom": 0.1,
    "\\u00C5": 0.1,
    "mm": 1e6,
    "cm": 1e7,
    "inch": 2.54e7,
}


class Volume(NamedTuple):
    """A 3-D array in z, y, x order, maybe still on disk, and its scale."""

    array: NDArray[Any]
    scale: float | None
    """nm per voxel; None where the file does not say."""
    trouble: str | None = None
    """Why the file's own scale is no use."""

    def scale_or(self, scale: float | None, path: str) -> float:
        """Return the scale given, or the file's own, or say what to pass."""
        if scale is not None:
            return scale
        if self.scale is None:
            raise ValueError(f"{path}: {self.trouble}; pass scale=... in nm per voxel")
        return self.scale


def open_volume(path: str | os.PathLike[str]) -> Volume:
    """Open a volume; plain MRC files and TIFFs are memory-mapped where they can be.

    Parameters
    ----------
    path : path-like
        ``.mrc .map .rec .ccp4 .st``, each also with ``.gz`` or ``.bz2``, or
        ``.tif .tiff`` (extra ``tiff``).

    Returns
    -------
    Volume
        The array in z, y, x order and its scale in nm per voxel.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, PermissionError
        If there is no such file, or it may not be read.
    ValueError
        If the format is unknown, the file is damaged, or it is no 3-D volume.
    """
    name = os.fspath(path)
    with open(name, "rb"):  # the system's own word where it cannot be read
        pass
    suffixes = [each.lower() for each in Path(name).suffixes]
    packed = suffixes[-1:] and suffixes[-1] in _PACKED
    ending = (suffixes[-2:-1] if packed else suffixes[-1:]) or [""]
    if ending[0] in _MRC:
        volume = _open_mrc(name)
    elif ending[0] in _TIFF and not packed:
        volume = _open_tiff(name)
    else:
        raise ValueError(
            f"{name}: unknown ending; a volume is one of {' '.join(_MRC + _TIFF)}, "
            "MRC also with .gz or .bz2"
        )
    if not is_image(volume.array):
        raise ValueError(
            f"{name} must hold a 3-D volume of real numbers, not "
            f"{describe(np.asarray(volume.array))}"
        )
    return volume


def read_volume(path: str | os.PathLike[str]) -> Volume:
    """Read a whole volume as float32; see `open_volume`."""
    volume = open_volume(path)
    array = np.array(volume.array, dtype=np.float32, order="C")
    if not np.isfinite(array).all():
        raise ValueError(f"{os.fspath(path)} must be finite, but holds NaN or infinity")
    return volume._replace(array=array)


def write_mrc(path: str | os.PathLike[str], image: NDArray[Any], scale: float) -> None:
    """Write an image as MRC, float32, whole or not at all.

    Parameters
    ----------
    path : path-like
        Where to; an existing file is replaced.
    image : (z, y, x) array
        The image.
    scale : float
        nm per voxel; the header gets it in Å.
    """
    import mrcfile

    target = Path(path)
    partial = target.with_name(f".{target.name}.partial")
    try:
        with mrcfile.new(partial, overwrite=True) as file:
            file.set_data(np.asarray(image, dtype=np.float32))
            file.voxel_size = 10 * scale
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _open_mrc(name: str) -> Volume:
    import mrcfile
    from mrcfile.utils import data_dtype_from_header, data_shape_from_header

    plain = Path(name).suffix.lower() not in _PACKED
    reader = mrcfile.mrcfile.MrcFile if plain else mrcfile.open
    try:
        with (
            reader(name, header_only=plain) as file,
            np.errstate(divide="ignore", invalid="ignore"),  # a cell of 0 samples
        ):
            header, size = file.header.copy(), file.voxel_size.copy()
            array = file.data
        if plain:
            array = np.memmap(
                name,
                dtype=data_dtype_from_header(header),
                mode="r",
                offset=1024 + int(header.nsymbt),
                shape=data_shape_from_header(header),
            )
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{name} is not a readable MRC file: {error}") from None
    if array.ndim != 3:
        return Volume(array, None)
    # The header says which of x (1), y (2) and z (3) each axis of the file is.
    axes = [int(header.maps), int(header.mapr), int(header.mapc)]
    if sorted(axes) == [1, 2, 3]:
        array = array.transpose([axes.index(each) for each in (3, 2, 1)])
    return Volume(array, *_isotropic([float(size[each]) / 10 for each in "zyx"]))


def _open_tiff(name: str) -> Volume:
    tifffile = require("tifffile", "tiff", "to read TIFF")
    try:
        with tifffile.TiffFile(name) as file:
            if file.series[0].axes.endswith("S"):
                raise ValueError("its pixels are colours, not numbers")
            array = _tiff_array(tifffile, file, name)
            size = _tiff_voxel_size(file)
    except Exception as error:  # tifffile meets damage with errors of many kinds
        raise ValueError(f"{name} is not a readable TIFF file: {error}") from None
    return Volume(array, *_isotropic(size))


def _tiff_array(tifffile: Any, file: Any, name: str) -> NDArray[Any]:
    try:
        return tifffile.memmap(name, mode="r")
    except ValueError:  # compressed, tiled, in pieces
        return file.asarray()


def _tiff_voxel_size(file: Any) -> list[float]:
    """Return the voxel size in nm along z, y, x; 0 where the file does not say.

    XResolution and YResolution are pixels per unit, a fraction (numerator,
    denominator); ImageJ names the unit, and the spacing along z, in its own tag.
    """
    imagej = file.imagej_metadata or {}
    tags = file.pages[0].tags
    unit = str(imagej.get("unit", "")).strip()
    if not unit and "ResolutionUnit" in tags:
        unit = {2: "inch", 3: "cm"}.get(int(tags["ResolutionUnit"].value), "")
    nm = _NM_PER_UNIT.get(unit, 0.0)
    sizes = []
    for tag in ("YResolution", "XResolution"):
        pixels, units = tags[tag].value if tag in tags else (0, 1)
        sizes.append(nm * units / pixels if pixels else 0.0)
    return [nm * float(imagej.get("spacing", 0.0)), *sizes]


def _isotropic(size: list[float]) -> tuple[float | None, str | None]:
    """Return the one voxel size of three, or None and why there is none."""
    if not all(math.isfinite(each) and each > 0 for each in size):
        return None, "the header gives no voxel size"
    if max(size) - min(size) > 1e-3 * max(size):
        z, y, x = (f"{10 * each:.4g}" for each in size)
        return None, f"the voxel is anisotropic, {z} x {y} x {x} Å (z, y, x)"
    return optional_positive("scale", sum(size) / 3), None
