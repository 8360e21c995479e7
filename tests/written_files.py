"""Files that tests of several modules read, written as other programs write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

TOMOGRAMS_STAR = """
data_global

loop_
_rlnTomoName #1
_rlnTomoTiltSeriesPixelSize #2
_rlnTomoSizeX #3
_rlnTomoSizeY #4
_rlnTomoSizeZ #5
"""
"""RELION's tomograms file before its rows: a name, Å per pixel, and the size."""


def hdf5(folder: Path, image: np.ndarray, **options: Any) -> Path:
    """Write an image as EMAN2 does, of 5 Å per voxel; options are those of h5py."""
    h5py = pytest.importorskip("h5py", reason="the extra hdf5 is not installed")
    with h5py.File(folder / "a.hdf", "w") as file:
        group = file.create_group("MDF/images/0")
        group.create_dataset("image", data=image, **options)
        group.attrs.update({f"EMAN.apix_{axis}": 5.0 for axis in "xyz"})
    return folder / "a.hdf"


def ome_zarr(
    folder: Path, image: np.ndarray, chunks: tuple[int, ...], version: str = "0.5"
) -> Path:
    """Write an image as OME-Zarr of a version, in chunks, of 5 Å per voxel."""
    zarr = pytest.importorskip("zarr", reason="the extra zarr is not installed")
    form = 3 if version == "0.5" else 2
    group = zarr.open_group(folder / "a.zarr", mode="w", zarr_format=form)
    group.create_array("0", data=image, chunks=chunks)
    transforms = [{"type": "scale", "scale": [5.0] * 3}]
    axes = [{"name": each, "type": "space", "unit": "angstrom"} for each in "zyx"]
    datasets = [{"path": "0", "coordinateTransformations": transforms}]
    images = [{"version": version, "axes": axes, "datasets": datasets}]
    if form == 3:
        group.attrs["ome"] = {"version": version, "multiscales": images}
    else:
        group.attrs["multiscales"] = images
    return folder / "a.zarr"
