"""Pictures of directions on a sphere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from funpipe.algebra.verbs import verb
from funpipe.base import arguments as check
from funpipe.base.molecules import as_molecules
from funpipe.faces.plots.panels import BLUE, GREY, add_colours, axes_of
from funpipe.space.views import view_directions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Patch

__all__ = ["orientations"]

_MOST_POINTS = 1000
_BEYOND = 0.4  # of z, what lies beyond the rim
_CIRCLES = (30, 60)  # degrees from the middle


@verb
def orientations(
    molecules: Any, *, symmetry: str = "C1", ax: Axes | None = None
) -> Axes:
    """Draw from where particles are seen, on half a sphere.

    Parameters
    ----------
    molecules : Molecules, or object with .pos and .rotator
        The particles.
    symmetry : str
        Of the template: each view counts from all directions that look the same.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        The beam's direction in each particle's own frame, see
        `funpipe.space.views.view_directions`, in Lambert's projection of equal areas,
        so that even views look even: z in the middle, the equator at the rim, x to the
        right and y up. Opposite directions are one view. Points of up to 1000 views,
        of more how many there are in each hexagon.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If there are no particles, or no such group.

    Examples
    --------
    >>> ax = orientations(np.zeros((1, 3)))  # not turned: seen along z
    >>> np.asarray(ax.collections[0].get_offsets()).tolist()
    [[0.0, 0.0]]
    """
    particles = as_molecules("molecules", molecules)
    group = check.symmetry("symmetry", symmetry)
    if len(particles) == 0:
        raise ValueError("molecules must be one particle or more, not none")
    views = view_directions(particles.rotations, group)
    ax = axes_of(ax, 4.6, 4.2)
    if len(views) <= _MOST_POINTS:
        x, y = _projected(views).T
        strength = float(np.clip(60 / len(views), 0.25, 0.9))
        ax.scatter(x, y, s=14, color=BLUE, alpha=strength, linewidths=0)
        _add_net(ax, GREY)
    else:
        # The same from behind, so that hexagons on the rim are as full as others.
        both = np.concatenate([views, -views])
        x, y = _projected(both[both[:, 0] > -_BEYOND]).T
        extent = (-1.2, 1.2, -1.2, 1.2)
        shown = ax.hexbin(x, y, gridsize=28, extent=extent, mincnt=1, cmap="viridis")
        shown.set_clip_path(_add_net(ax, "white"))
        add_colours(ax, shown, "views")
    ax.set_title(_title(len(particles), group), fontsize="medium")
    return ax


def _title(count: int, symmetry: str) -> str:
    of = "" if symmetry == "C1" else f", {symmetry}"
    return f"views of {count} particle{'s' * (count != 1)}{of}"


def _projected(views: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return x and y of directions, those with z ≥ 0 in a disc of radius 1, (n, 2)."""
    z, y, x = views.T
    across = np.hypot(y, x)
    radius = np.sqrt(np.clip(1 - z, 0, None))
    stretch = np.divide(radius, across, out=np.zeros_like(z), where=across > 0)
    return np.column_stack([x * stretch, y * stretch])


def _add_net(ax: Axes, colour: str) -> Patch:
    """Add circles and axes, those within the rim in a colour; return the rim."""
    from matplotlib.patches import Circle

    rim = Circle((0, 0), 1, fill=False, edgecolor=GREY, lw=1.2)
    ax.add_patch(rim)
    style: Any = {"color": colour, "fontsize": "x-small"}
    for degrees in _CIRCLES:
        radius = float(np.sqrt(1 - np.cos(np.radians(degrees))))
        ax.add_patch(
            Circle((0, 0), radius, fill=False, edgecolor=colour, lw=0.8, ls=":")
        )
        at = radius * np.cos(np.pi / 4)
        ax.text(at, -at, f"{degrees}°", va="top", **style)
    ax.text(0.72, -0.76, "90°", color=GREY, fontsize="x-small", va="top")
    ax.plot(0, 0, marker="+", color=colour, ms=8)
    ax.text(0.03, 0.03, "z", **style)
    for name, x, y in (("x", 1.07, 0.0), ("y", 0.0, 1.08)):
        ax.text(x, y, name, ha="center", va="center", color=GREY)
    ax.set_xlim(-1.15, 1.15)
    ax.set_ylim(-1.15, 1.15)
    ax.set_aspect("equal")
    ax.set_axis_off()
    return rim
