"""Tomograms that a program's list names, each with its scale and its tilt series."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from funpipe.base import arguments as check
from funpipe.base.errors import FileError
from funpipe.base.wording import quoted
from funpipe.boxes.opening import Tomogram
from funpipe.io.tilts import merged
from funpipe.io.tomogram_files import tomogram_files
from funpipe.io.volumes import open_volume

if TYPE_CHECKING:
    from funpipe.io.relion_tilts import ListedTomogram

__all__ = ["read_tomograms"]

_SAME = 0.01  # of a scale
_ROUNDED = 2.0  # voxels that a volume may be larger or smaller by


def read_tomograms(
    path: str | os.PathLike[str],
    *,
    folder: str | os.PathLike[str] | None = None,
    **over: Any,
) -> dict[str, Tomogram]:
    r"""Read RELION's tomograms file: each tomogram with its scale and tilt series.

    Parameters
    ----------
    path : path-like
        ``tomograms.star`` of RELION 5, or 4 (extra ``tilts``). Files that it names are
        looked for from the folders above it; names that lead out of these, absolute
        ones or with ``..``, are followed. They are read, and nothing is written there.
    folder : path-like, optional
        Where the volumes are; None: those that the file names, the reconstruction, or
        else the denoised one, or else the first half.
    **over
        Arguments of `tilt_series` that win over the file, such as ``corrected``, which
        the file does not say: RELION 5 reconstructs with a Wiener filter unless it is
        told otherwise.

    Returns
    -------
    dict from str to Tomogram
        By rlnTomoName, which particles have as their feature ``tomogram``. The scale is
        nm per voxel of the volume, with its binning.

    Raises
    ------
    OSError
        If a file that is named cannot be found or read.
    ValueError
        If one is damaged, or a volume has another size or scale than the file says.

    Notes
    -----
    rlnTomoYTilt is the tilt and rlnTomoHand the hand as `tilt_series` means them, see
    `funpipe.io.relion_tilts`.

    Examples
    --------
    >>> import tempfile
    >>> from funpipe.io.mrc import write_volume
    >>> titles = ["rlnTomoName", "rlnTomoSizeX", "rlnTomoSizeY", "rlnTomoSizeZ"]
    >>> titles += ["rlnTomoTiltSeriesPixelSize", "rlnTomoHand"]
    >>> loop = "loop_\n_" + "\n_".join(titles)
    >>> tilts = "data_TS_01\nloop_\n_rlnTomoYTilt\n-30\n0\n30\n"
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_volume(f"{folder}/TS_01.mrc", np.zeros((5, 10, 10)), 0.8)
    ...     with open(f"{folder}/tomograms.star", "w") as file:
    ...         print("data_global", loop, "TS_01 40 40 20 2.0 1", tilts, sep="\n",
    ...               file=file)
    ...     found = read_tomograms(f"{folder}/tomograms.star", folder=folder)
    >>> found["TS_01"].tilt
    tilt_series((-30.0, 0.0, 30.0), 'y', hand=1)
    >>> f"{found['TS_01'].scale:.3g} nm per voxel"
    '0.8 nm per voxel'
    """
    from funpipe.io.relion_tilts import find_named, listed_tomograms

    name = check.path("path", path)
    where = None if folder is None else check.path("folder", folder)
    found = listed_tomograms(name)
    names = {each: each.removesuffix(".tomostar") for each in found}
    files = {} if where is None else tomogram_files(where, names.values())
    tomograms = {}
    for each, known in found.items():
        if where is not None:
            volume = str(files[names[each]])
        elif known.volume is None:
            raise FileError(
                name,
                f" names no volume of {quoted(each)}: pass folder=... where they are",
            )
        else:
            volume = find_named(name, known.volume, "volume")
        scale = _scale(name, each, volume, known)
        tilt = merged([known.tilts], "y", over)
        tomograms[each] = Tomogram(volume, scale, tilt)
    return tomograms


def _scale(name: str, which: str, volume: str, known: ListedTomogram) -> float:
    """Return nm per voxel, and refuse a volume that is not the one listed."""
    opened = open_volume(volume)
    size, pixel = np.array(known.info.shape, float), known.info.scale
    if pixel is None:
        return opened.scale_or(None, volume)
    scale = opened.scale
    if known.binning is not None and volume.endswith(str(known.volume)):
        scale = pixel * known.binning
        if opened.scale is not None and abs(opened.scale / scale - 1) > _SAME:
            raise FileError(
                volume,
                f" has {opened.scale:.6g} nm per voxel, but {name} says {scale:.6g} of "
                f"{quoted(which)} (binning {known.binning:g})",
            )
    if scale is None:
        scale = float(np.median(size * pixel / opened.array.shape))
    wanted = size * pixel / scale
    if (np.abs(np.array(opened.array.shape) - wanted) > _ROUNDED).any():
        voxels = tuple(round(each) for each in wanted)
        raise FileError(
            volume,
            f" is of {tuple(opened.array.shape)} voxels (z, y, x), but {name} says "
            f"{voxels} of {quoted(which)}, at {scale:.6g} nm per voxel",
        )
    return scale
