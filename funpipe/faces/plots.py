"""Pictures of volumes, through matplotlib (extra ``plot``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from funpipe.base.extras import require
from funpipe.base.wording import describe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["central_slices"]


def central_slices(
    images: Mapping[str, NDArray[Any]],
    scale: float = 1.0,
    *,
    shared: bool = False,
    columns: bool = False,
) -> Figure:
    """Draw the central slices of volumes, a row or a column each.

    Parameters
    ----------
    images : mapping from str to (z, y, x) array
        Volumes by their titles.
    scale : float
        nm per voxel, for the axes, whose 0 is the centre of the box.
    shared : bool
        Whether all have one grey scale, or each its own.
    columns : bool
        Whether each has a column, or a row.

    Returns
    -------
    matplotlib.figure.Figure
        Along each row, or down each column, are the slices across z, y and x that
        hold the centre of the box, or in an even box the voxels next after it.

    Raises
    ------
    ValueError
        If there is no image, or one is not 3-D.

    Examples
    --------
    >>> figure = central_slices({"a ball": np.ones((4, 4, 4))}, scale=0.5)
    >>> len(figure.axes)
    3
    """
    require("matplotlib", "plot", "to draw")
    from matplotlib.figure import Figure

    if not images:
        raise ValueError("images must be one volume or more, not none")
    rows = {title: _central_planes(title, image) for title, image in images.items()}
    every = np.concatenate([plane.ravel() for row in rows.values() for plane in row])
    if columns:
        figure = Figure(figsize=(2.5 * len(rows), 7.2), layout="constrained")
        axes = figure.subplots(3, len(rows), squeeze=False).T
    else:
        figure = Figure(figsize=(7.5, 2.5 * len(rows) + 0.3), layout="constrained")
        axes = figure.subplots(len(rows), 3, squeeze=False)
    for panels, (title, planes) in zip(axes, rows.items(), strict=True):
        own = every if shared else np.concatenate([each.ravel() for each in planes])
        low, high = np.percentile(own, (0.2, 99.8))
        for panel, plane, names in zip(panels, planes, _AXES, strict=True):
            up, along = names
            height, width = np.array(plane.shape) * scale / 2
            panel.imshow(
                plane,
                cmap="gray",
                interpolation="nearest",
                origin="lower",
                extent=(-width, width, -height, height),
                vmin=low,
                vmax=high,
            )
            panel.set_xlabel(f"{along} (nm)")
            if not columns or panel in axes[0]:
                panel.set_ylabel(f"{up} (nm)")
        panels[0 if columns else 1].set_title(title)
    return figure


_AXES = (
    ("y", "x"),
    ("z", "x"),
    ("z", "y"),
)  # up and along, in the slices across z, y and x


def _central_planes(title: str, image: NDArray[Any]) -> list[NDArray[Any]]:
    if np.ndim(image) != 3:
        raise ValueError(
            f"images[{title!r}] must be a 3-D array, not {describe(image)}"
        )
    return [np.take(image, n // 2, axis) for axis, n in enumerate(image.shape)]
