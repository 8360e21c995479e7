"""Volumes in files of all formats: `open_volume`, `read_volume`, `write_volume`."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from funpipe.base.errors import ChangedError, FileError
from funpipe.base.sources import check_source
from funpipe.base.wording import describe
from funpipe.io.formats import Table, VolumeFormat
from funpipe.io.mrc import write_volume
from funpipe.io.voxels import Volume, no_volume, read_block

__all__ = [
    "VOLUMES",
    "Volume",
    "is_volume",
    "open_volume",
    "read_volume",
    "volume_stem",
    "write_mrc",
    "write_volume",
]

write_mrc = write_volume

VOLUMES = {
    "mrc": "funpipe.io.mrc:VOLUME",
    "tiff": "funpipe.io.tiff:VOLUME",
    "em": "funpipe.io.em:VOLUME",
    "hdf5": "funpipe.io.hdf5:VOLUME",
    "ome_zarr": "funpipe.io.ome_zarr:VOLUME",
}
"""Where the record of each format is: a new one is a line here, and its module."""

_FORMATS: Mapping[str, VolumeFormat] = Table(VOLUMES)


def open_volume(path: Any, *, at: float | None = None) -> Volume:
    """Open a volume; nothing of it is read yet where the format allows that.

    Parameters
    ----------
    path : path-like, or array-like
        ``.mrc .map .rec .ccp4 .st``, each also with ``.gz`` or ``.bz2``; ``.tif
        .tiff`` (extra ``tiff``); ``.em`` (``em``); ``.hdf .h5 .hdf5`` (``hdf5``);
        ``.zarr``, a folder (``zarr``). Or anything with ``shape``, ``dtype`` and
        slicing, of dask, zarr, h5py or NumPy: it comes back without a scale.
    at : float, optional
        The scale in nm per voxel that the image is wanted at: of an OME-Zarr image
        the coarsest level is opened that is no coarser. By default the finest.

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

    Warns
    -----
    UserWarning
        If an MRC file breaks the rules of its format, but could be read.
    """
    if not isinstance(path, str | os.PathLike):
        if not is_volume(path):
            wanted = "a path or a 3-D array of real numbers"
            raise TypeError(f"path must be {wanted}, not {describe(path)}")
        return Volume(path, None, "an array has no voxel size")
    name = os.fspath(path)
    format = _format(name)
    options = {"at": at} if "at" in format.takes else {}
    volume = format.open(name, **options)
    if not is_volume(volume.array):
        no_volume(name, volume.array.shape, volume.array.dtype)
    return volume


def read_volume(path: Any, *, at: float | None = None) -> Volume:
    """Read a whole volume as float32; see `open_volume`.

    Where others replace its file meanwhile, it is read again, for some seconds.
    """
    volume, whole = _read(path, at)
    where = os.fspath(path) if isinstance(path, str | os.PathLike) else "the array"
    with np.errstate(over="ignore", invalid="ignore"):
        array = np.ascontiguousarray(whole, dtype=np.float32)
    if not _finite(array):
        if _finite(whole):
            raise ValueError(f"{where} must be within what float32 holds, up to 3.4e38")
        raise ValueError(f"{where} must be finite, but holds NaN or infinity")
    return volume._replace(array=array)


_WAIT = 5.0  # seconds for a file to stay as it is


def _read(path: Any, at: float | None) -> tuple[Volume, NDArray[Any]]:
    """Return a volume and all of it, of one file."""
    end = time.monotonic() + _WAIT
    while True:
        try:
            volume = open_volume(path, at=at)
            return volume, read_block(volume.array, (0, 0, 0), volume.array.shape)
        except ChangedError:
            if time.monotonic() > end:
                raise


def _finite(array: NDArray[Any]) -> bool:
    """Tell whether all is finite, plane by plane, so that it takes little memory."""
    return all(np.isfinite(plane).all() for plane in array)


def volume_stem(name: str) -> str | None:
    """Return a volume's file name without its ending; None if it is no volume's.

    Examples
    --------
    >>> volume_stem("TS_01_13.5Apx.mrc.gz"), volume_stem("notes.txt")
    ('TS_01_13.5Apx', None)
    """
    stem, ending, packing = _parts(name)
    known = [each for each in _FORMATS.values() if ending in each.endings]
    if not known or packing not in ("", *known[0].packings):
        return None
    return stem


def _format(name: str) -> VolumeFormat:
    """Return the format of a folder by what is in it, of a file by its ending."""
    if Path(name).is_dir():
        for each in _FORMATS.values():
            if each.holds is not None and each.holds(Path(name)):
                return each
    check_source(name)
    _, ending, packing = _parts(name)
    for each in _FORMATS.values():
        fits = ending in each.endings and packing in ("", *each.packings)
        if fits and each.holds is None:
            return each
    endings = [one for each in _FORMATS.values() for one in each.endings]
    packed = [
        f"{each.title} also with {' or '.join(each.packings)}"
        for each in _FORMATS.values()
        if each.packings
    ]
    stack = "; .mrcs is a stack of 2-D images, not a volume"
    raise FileError(
        name,
        f": unknown ending; a volume is one of {' '.join(endings)}, "
        f"{', '.join(packed)}{stack if ending == '.mrcs' else ''}",
    )


def _parts(name: str) -> tuple[str, str, str]:
    """Return a file's name without endings, its ending, and that of its packing.

    Examples
    --------
    >>> _parts("a/b.mrc.gz"), _parts("c.tif")
    (('b', '.mrc', '.gz'), ('c', '.tif', ''))
    """
    path, packing = Path(name), ""
    packings = {one for each in _FORMATS.values() for one in each.packings}
    if path.suffix.lower() in packings:
        path, packing = Path(path.stem), path.suffix.lower()
    return path.stem, path.suffix.lower(), packing


def is_volume(array: Any) -> bool:
    """Tell whether something is a 3-D array-like of real numbers, with voxels."""
    try:
        shape, kind = tuple(map(int, array.shape)), np.dtype(array.dtype).kind
    except Exception:  # of another library's, or of no array
        return False
    return (
        len(shape) == 3
        and min(shape) > 0
        and kind in "biuf"
        and hasattr(array, "__getitem__")
    )
