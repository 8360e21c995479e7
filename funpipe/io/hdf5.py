"""HDF5 volumes, as EMAN2 writes them, through h5py."""

from __future__ import annotations

from typing import Any

from funpipe.io.extras import require
from funpipe.io.voxels import Lazy, Volume, isotropic

__all__ = ["open_hdf5"]


def open_hdf5(name: str) -> Volume:
    """Open the one volume of an HDF5 file; it is read only where it is sliced.

    EMAN2's is MDF/images/0/image, with the voxel size in Å in the attributes
    EMAN.apix_x, _y, _z of its group, and, where its numbers were packed into few
    bits, what they stand for in EMAN.stored_renderbits, _rendermin, _rendermax.
    """
    h5py = require("h5py", "hdf5", "to read HDF5")
    try:
        file = h5py.File(name, "r")
        found: list[Any] = []
        file.visititems(lambda _, each: _collect(found, each, h5py))
    except (OSError, RuntimeError, KeyError) as error:
        raise ValueError(f"{name} is not a readable HDF5 file: {error}") from None
    if len(found) != 1:
        names = ", ".join(each.name for each in found) or "none"
        raise ValueError(f"{name} must hold one 3-D volume, but holds {names}")
    data = found[0]
    attributes = {**data.parent.attrs, **data.attrs}
    size = [float(attributes.get(f"EMAN.apix_{axis}", 0.0)) / 10 for axis in "zyx"]
    return Volume(_unpacked(data, attributes), *isotropic(size))


def _collect(found: list[Any], each: Any, h5py: Any) -> None:
    if (
        isinstance(each, h5py.Dataset)
        and each.ndim == 3
        and each.dtype.kind in "biuf"
        and each.size
    ):
        found.append(each)


def _unpacked(data: Any, attributes: dict[str, Any]) -> Lazy:
    bits = int(attributes.get("EMAN.stored_renderbits", 0))
    low = float(attributes.get("EMAN.stored_rendermin", 0.0))
    high = float(attributes.get("EMAN.stored_rendermax", 0.0))
    if bits <= 0 or high <= low:
        return Lazy(data)
    return Lazy(data, (high - low) / (2**bits - 1), low)
