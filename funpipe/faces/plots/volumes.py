"""Pictures of volumes."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from funpipe.algebra.pipeline import ImageProvider
from funpipe.algebra.tracing import stage_images
from funpipe.algebra.verbs import verb
from funpipe.base import arguments as check
from funpipe.base.arguments import Image
from funpipe.base.extras import require
from funpipe.base.wording import describe, fail
from funpipe.faces.plots.panels import RED, add_scale_bar, axes_of, new_figure
from funpipe.jobs.preparing import prepare

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["central_slices", "masked", "slices", "stages"]


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
    if not images:
        raise ValueError("images must be one volume or more, not none")
    rows = {title: _central_planes(title, image) for title, image in images.items()}
    every = np.concatenate([plane.ravel() for row in rows.values() for plane in row])
    if columns:
        figure = new_figure(2.5 * len(rows), 7.2)
        axes = figure.subplots(3, len(rows), squeeze=False).T
    else:
        figure = new_figure(7.5, 2.5 * len(rows) + 0.3)
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


# One picture of an image.

_GAP = 0.04  # of the longest side, between slices
_LONGEST_TITLE = 34  # characters of a line


class _Slice(NamedTuple):
    plane: NDArray[Any]
    extent: tuple[float, float, float, float]
    """Left, right, bottom, top, nm."""
    axes: tuple[str, str]
    """Which axis goes up, and which along."""


@verb
def slices(
    image: Any,
    scale: float = 1.0,
    *,
    at: Any = (0.0, 0.0, 0.0),
    ax: Axes | None = None,
) -> Axes:
    """Draw the slices across z, y and x of an image, with a bar of scale.

    Parameters
    ----------
    image : (z, y, x) array, or ImageProvider
        The image; a provider's at the scale.
    scale : float
        nm per voxel.
    at : (float, float, float)
        The point in nm, z, y, x from the box's centre, through which they go.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        In nm: across z with x along and y up, to its right across x with z along, below
        across y with z up; all of one grey scale.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If it is no image, or the point is outside.

    Examples
    --------
    >>> import funpipe as fp
    >>> ax = slices(fp.from_gaussian((4.0, 6.0, 8.0)), scale=0.5)
    >>> ax.images[0].get_extent()
    [-4.0, 4.0, -3.0, 3.0]
    """
    voxel = check.positive("scale", scale)
    array = _one_image("image", image, voxel)
    return _drawn(_sliced(array, voxel, at), axes_of(ax, 4.2, 4.2))


@verb
def masked(
    template: Any, scale: float = 1.0, *, mask: Any, ax: Axes | None = None
) -> Axes:
    """Draw a template with the contour of its mask.

    Parameters
    ----------
    template : ImageProvider, or (z, y, x) array
        One, see `align`.
    scale : float
        nm per voxel.
    mask : ImageConverter, ImageProvider, (z, y, x) array, or None
        See `align`.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        As of `slices`, through the centre. The line is where the mask is ½.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        As of `prepare`, or if there are several templates.

    Examples
    --------
    >>> import funpipe as fp
    >>> ax = masked(fp.from_gaussian(8.0), mask=fp.sphere(3.0), scale=0.5)
    >>> len(ax.collections)
    3
    """
    prepared = prepare(template, mask, scale)
    if prepared.template.ndim != 3:
        count = len(prepared.template)
        raise ValueError(f"template must be one, not {count}: draw each by itself")
    voxel = check.positive("scale", scale)
    ax = _drawn(_sliced(prepared.template, voxel, (0, 0, 0)), axes_of(ax, 4.2, 4.2))
    for each in _sliced(prepared.mask, voxel, (0, 0, 0)):
        if each.plane.min() < 0.5 < each.plane.max():
            left, right, bottom, top = each.extent
            height, width = each.plane.shape
            x = left + (np.arange(width) + 0.5) * (right - left) / width
            y = bottom + (np.arange(height) + 0.5) * (top - bottom) / height
            ax.contour(x, y, each.plane, levels=[0.5], colors=[RED], linewidths=1.2)
    return ax


@verb
def stages(
    pipeline: Any, scale: float = 1.0, *, image: Any = None, columns: int = 3
) -> Figure:
    """Draw a pipeline's image after every stage.

    Parameters
    ----------
    pipeline : ImageProvider or ImageConverter
        Of one image.
    scale : float
        nm per voxel.
    image : (z, y, x) array, optional
        What a converter is applied to.
    columns : int
        How many stand beside each other.

    Returns
    -------
    matplotlib.figure.Figure
        A panel as of `slices` for each stage in the order they run, under its source
        text; of a converter the image comes first.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        As of `stage_images`, or if the pipeline is one of many images or has no stages.

    Examples
    --------
    >>> import funpipe as fp
    >>> figure = stages(fp.sphere(2.0) @ fp.from_gaussian(8.0), scale=0.5)
    >>> [each.get_title() for each in figure.axes]
    ['from_gaussian((8.0, 8.0, 8.0))', 'sphere(2.0)']
    """
    across = check.positive_integer("columns", columns)
    made = stage_images(pipeline, scale, image=image)
    if not made:
        raise ValueError("pipeline must have a stage, but is the identity")
    if image is not None:
        made = {"image": image, **made}
    across = min(across, len(made))
    down = -(-len(made) // across)
    figure = new_figure(3.2 * across, 3.4 * down)
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for panel, (text, each) in zip(panels, made.items(), strict=False):
        array = _one_image("pipeline", each, scale)
        _drawn(_sliced(array, check.positive("scale", scale), (0, 0, 0)), panel)
        title = "\n".join(_lines(text))
        panel.set_title(title, fontsize="small", family="monospace")
    for panel in panels[len(made) :]:
        panel.remove()
    return figure


def _lines(text: str) -> list[str]:
    """Break a source text into lines, behind spaces, commas or slashes if it can."""
    lines = [""]
    for part in re.findall(r"[^ ,/]*[ ,/]+|[^ ,/]+", text):
        for piece in textwrap.wrap(part, _LONGEST_TITLE, drop_whitespace=False):
            if len(lines[-1]) + len(piece) > _LONGEST_TITLE:
                lines.append("")
            lines[-1] += piece
    return [each.strip() for each in lines if each]


def _one_image(name: str, image: Any, scale: float) -> Image:
    if isinstance(image, ImageProvider):
        image = image(scale)
    if isinstance(image, list):
        fail(name, "of one image", image)
    return check.image(name, image)


def _sliced(image: Image, scale: float, at: Any) -> list[_Slice]:
    """Return the three slices, and where they lie beside each other."""
    point = np.array(check.vector("at", at))
    shape = np.array(image.shape)
    voxel = np.floor((point / scale + shape / 2) + 1e-9).astype(int)
    if (voxel < 0).any() or (voxel >= shape).any():
        half = " x ".join(f"{each:g}" for each in shape * scale / 2)
        fail("at", f"within {half} nm (z, y, x) of the box's centre", at)
    depth, height, width = (float(each) for each in shape * scale)
    gap = _GAP * max(depth, height, width)
    across_z, across_y, across_x = (
        np.take(image, voxel[axis], axis) for axis in range(3)
    )
    x = (-width / 2, width / 2)
    y = (-height / 2, height / 2)
    right = (width / 2 + gap, width / 2 + gap + depth)
    below = (-height / 2 - gap - depth, -height / 2 - gap)
    return [
        _Slice(across_z, (*x, *y), ("y", "x")),
        _Slice(across_x.T, (*right, *y), ("y", "z")),
        _Slice(across_y, (*x, *below), ("z", "x")),
    ]


def _drawn(several: list[_Slice], ax: Axes) -> Axes:
    every = np.concatenate([each.plane.ravel() for each in several])
    low, high = np.percentile(every, (0.2, 99.8))
    for each in several:
        ax.imshow(
            each.plane.astype(np.float64),  # whose range float32 may not hold
            cmap="gray",
            interpolation="nearest",
            origin="lower",
            extent=each.extent,
            vmin=low,
            vmax=high,
        )
        _name_axes(ax, each)
    ax.set_xlim(several[0].extent[0], several[1].extent[1])
    ax.set_ylim(several[2].extent[2], several[0].extent[3])
    left, right, bottom, _ = several[0].extent
    add_scale_bar(ax, right, bottom, right - left)
    ax.set_axis_off()
    return ax


def _name_axes(ax: Axes, shown: _Slice) -> None:
    from matplotlib import patheffects

    left, right, bottom, top = shown.extent
    up, along = shown.axes
    margin = 0.03 * (right - left)
    ax.text(
        left + margin,
        top - 0.03 * (top - bottom),
        f"{up}↑ {along}→",
        color="white",
        ha="left",
        va="top",
        fontsize="x-small",
        path_effects=[patheffects.withStroke(linewidth=2, foreground="black")],
    )
