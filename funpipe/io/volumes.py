"""Volumes in files of all formats: `open_volume`, `read_volume`, `write_volume`."""

from __future__ import annotations

import os
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np

from funpipe.base.sources import check_source
from funpipe.base.wording import describe
from funpipe.io.mrc import ENDINGS, PACKED, write_volume
from funpipe.io.voxels import Volume, no_volume, read_block

__all__ = [
    "Volume",
    "open_volume",
    "read_volume",
    "volume_stem",
    "write_mrc",
    "write_volume",
]

write_mrc = write_volume

_FILES = {  # imported where they are used
    **dict.fromkeys(ENDINGS, "mrc:open_mrc"),
    **dict.fromkeys((".tif", ".tiff"), "tiff:open_tiff"),
    ".em": "em:open_em",
    **dict.fromkeys((".hdf", ".h5", ".hdf5"), "hdf5:open_hdf5"),
}


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
        if not _is_volume(path):
            wanted = "a path or a 3-D array of real numbers"
            raise TypeError(f"path must be {wanted}, not {describe(path)}")
        return Volume(path, None, "an array has no voxel size")
    name = os.fspath(path)
    suffixes = [each.lower() for each in Path(name).suffixes]
    if Path(name).is_dir() and (
        suffixes[-1:] == [".zarr"] or _is_zarr_group(Path(name))
    ):
        from funpipe.io.ome_zarr import open_ome_zarr

        volume = open_ome_zarr(name, at)
    else:
        volume = _open_file(name, suffixes)
    if not _is_volume(volume.array):
        no_volume(name, volume.array.shape, volume.array.dtype)
    return volume


def read_volume(path: Any, *, at: float | None = None) -> Volume:
    """Read a whole volume as float32; see `open_volume`."""
    volume = open_volume(path, at=at)
    where = os.fspath(path) if isinstance(path, str | os.PathLike) else "the array"
    whole = read_block(volume.array, (0, 0, 0), volume.array.shape)
    with np.errstate(over="ignore", invalid="ignore"):
        array = np.ascontiguousarray(whole, dtype=np.float32)
    if not np.isfinite(array).all():
        if np.isfinite(whole).all():
            raise ValueError(f"{where} must be within what float32 holds, up to 3.4e38")
        raise ValueError(f"{where} must be finite, but holds NaN or infinity")
    return volume._replace(array=array)


def volume_stem(name: str) -> str | None:
    """Return a volume's file name without its ending; None if it is no volume's.

    Examples
    --------
    >>> volume_stem("TS_01_13.5Apx.mrc.gz"), volume_stem("notes.txt")
    ('TS_01_13.5Apx', None)
    """
    path = Path(name)
    if path.suffix.lower() in PACKED and Path(path.stem).suffix.lower() in ENDINGS:
        return Path(path.stem).stem
    return path.stem if path.suffix.lower() in (*_FILES, ".zarr") else None


def _open_file(name: str, suffixes: list[str]) -> Volume:
    check_source(name)
    packed = bool(suffixes) and suffixes[-1] in PACKED
    ending = (suffixes[-2:-1] if packed else suffixes[-1:]) or [""]
    if ending[0] not in _FILES or (packed and ending[0] not in ENDINGS):
        stack = "; .mrcs is a stack of 2-D images, not a volume"
        raise ValueError(
            f"{name}: unknown ending; a volume is one of {' '.join(_FILES)} .zarr, "
            f"MRC also with .gz or .bz2{stack if ending[0] == '.mrcs' else ''}"
        )
    opened: Volume = resolve_name(f"funpipe.io.{_FILES[ending[0]]}")(name)
    return opened


def _is_zarr_group(folder: Path) -> bool:
    return any((folder / each).exists() for each in ("zarr.json", ".zgroup"))


def _is_volume(array: Any) -> bool:
    """Tell whether something is a 3-D array-like of real numbers, with voxels."""
    shape, dtype = getattr(array, "shape", ()), getattr(array, "dtype", None)
    return (
        hasattr(array, "__getitem__")
        and len(shape) == 3
        and 0 not in shape
        and dtype is not None
        and np.dtype(dtype).kind in "biuf"
    )
