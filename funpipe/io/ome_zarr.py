"""OME-Zarr volumes, 0.4 and 0.5, through zarr 3."""

from __future__ import annotations

import math
from typing import Any

from funpipe.io.extras import require
from funpipe.io.voxels import Lazy, Volume, isotropic, nm_per

__all__ = ["open_ome_zarr"]


def open_ome_zarr(name: str, at: float | None = None) -> Volume:
    """Open a level of an OME-Zarr image; it is read only where it is sliced.

    Parameters
    ----------
    name : str
        The folder.
    at : float, optional
        The scale that the image is wanted at, nm per voxel: the coarsest level that
        is no coarser is opened. By default, and where all are, the finest.
    """
    zarr = require("zarr", "zarr", "to read OME-Zarr")
    try:
        group = zarr.open_group(name, mode="r")
        attributes = dict(group.attrs)
        images = attributes.get("ome", attributes).get("multiscales")
        if not images:
            raise ValueError("it has no multiscales")
        levels = [
            _level(group, each, images[0]) for each in images[0].get("datasets", [])
        ]
        if not levels:
            raise ValueError("its multiscales have no datasets")
    except Exception as error:  # zarr meets damage with errors of many kinds
        raise ValueError(f"{name} is not a readable OME-Zarr image: {error}") from None
    levels.sort(key=lambda each: -math.prod(each.array.shape))
    fine = [
        each
        for each in levels
        if at is not None and each.scale is not None and each.scale <= at * (1 + 1e-3)
    ]
    return max(fine, key=lambda each: each.scale or 0.0) if fine else levels[0]


def _level(group: Any, dataset: dict[str, Any], image: dict[str, Any]) -> Volume:
    if dataset["path"] not in group:
        raise ValueError(f"its level {dataset['path']!r} is missing")
    array = group[dataset["path"]]
    before = array.shape[:-3]
    if array.ndim < 3 or any(each != 1 for each in before):
        raise ValueError(
            f"{dataset['path']} must hold one 3-D volume, but has the shape "
            f"{tuple(array.shape)}"
        )
    size = [1.0] * array.ndim
    for source in (dataset, image):
        for each in source.get("coordinateTransformations", []):
            if each.get("type") == "scale":
                if len(each["scale"]) != array.ndim:
                    raise ValueError(
                        f"its scale {each['scale']} is not of {array.ndim} axes"
                    )
                size = [a * b for a, b in zip(size, each["scale"], strict=True)]
    axes = image.get("axes") or []
    units = [each.get("unit", "") if isinstance(each, dict) else "" for each in axes]
    units = ([""] * array.ndim + units)[-array.ndim :]
    names = [each.get("name") if isinstance(each, dict) else each for each in axes]
    if names and names[-3:] != ["z", "y", "x"]:
        raise ValueError(f"its axes must end in z, y, x, not {names}")
    nm = [length * nm_per(unit) for length, unit in zip(size, units, strict=True)]
    return Volume(Lazy(array), *isotropic(nm[-3:], "multiscales"))
