"""Pictures of volumes, through matplotlib (extra ``plot``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from funpipe.io.extras import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["central_slices"]


def central_slices(
    images: Mapping[str, NDArray[Any]], scale: float = 1.0, *, shared: bool = False
) -> Figure:
    """Draw the central slices of volumes, a row each.

    Parameters
    ----------
    images : mapping from str to (z, y, x) array
        Volumes and their titles.
    scale : float
        nm per voxel, for the axes.
    shared : bool
        Whether all have one grey scale, or each its own.

    Returns
    -------
    matplotlib.figure.Figure
        Columns are the slices across z, y and x through the centre of the box.
    """
    require("matplotlib", "plot", "to draw")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 2.5 * len(images) + 0.4), layout="constrained")
    axes = figure.subplots(len(images), 3, squeeze=False)
    every = np.concatenate([np.ravel(each) for each in images.values()])
    for row, (title, image) in zip(axes, images.items(), strict=True):
        limits = np.percentile(every if shared else image, (0.5, 99.5))
        for axis, (panel, names) in enumerate(
            zip(row, ("yx", "zx", "zy"), strict=True)
        ):
            plane = np.take(image, image.shape[axis] // 2, axis)
            height, width = np.array(plane.shape) * scale / 2
            panel.imshow(
                plane,
                cmap="gray",
                origin="lower",
                extent=(-width, width, -height, height),
                vmin=limits[0],
                vmax=limits[1],
            )
            panel.set(xlabel=f"{names[1]} (nm)", ylabel=f"{names[0]} (nm)")
        row[1].set_title(title)
    return figure
