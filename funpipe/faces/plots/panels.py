"""What pictures have in common: axes, colours, bars of scale."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from funpipe.base.extras import require
from funpipe.base.wording import fail

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "BLUE",
    "GREY",
    "LIGHT",
    "RED",
    "add_colours",
    "add_legend",
    "add_scale_bar",
    "axes_of",
    "new_figure",
]

BLUE, RED, GREY, LIGHT = "#1b5e9b", "#c8452f", "#6b6b6b", "#9ec3e6"


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, inches wide and high, that nothing else knows of.

    Raises
    ------
    ImportError
        If matplotlib is not installed; it names the extra.
    """
    require("matplotlib", "plot", "to draw")
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def axes_of(ax: Any, width: float = 5.0, height: float = 3.6) -> Axes:
    """Return the axes that are given, or new ones.

    Raises
    ------
    ImportError
        If matplotlib is not installed; it names the extra.
    TypeError
        If they are no axes.
    """
    if ax is None:
        return new_figure(width, height).subplots()
    require("matplotlib", "plot", "to draw")
    from matplotlib.axes import Axes

    if not isinstance(ax, Axes):
        fail("ax", "None, or matplotlib's Axes", ax)
    return ax


def add_colours(ax: Axes, shown: Any, label: str) -> None:
    """Add a bar that says what colours mean."""
    figure: Any = ax.get_figure()
    figure.colorbar(shown, ax=ax, label=label, shrink=0.75)


def add_legend(ax: Axes, where: Literal["best", "upper right"] = "best") -> None:
    """Add a legend, small, that curves behind it shine through."""
    legend = ax.legend(loc=where, fontsize="x-small", framealpha=0.75, edgecolor="none")
    for each in legend.legend_handles:
        if each is not None and hasattr(each, "get_sizes"):  # points, however faint
            each.set_alpha(1.0)


def add_scale_bar(ax: Axes, right: float, bottom: float, width: float) -> None:
    """Add a bar of a round length, with its nm, into a corner of a picture.

    Parameters
    ----------
    ax : Axes
        Of a picture in nm.
    right, bottom : float
        Where the picture's lower right corner is, nm.
    width : float
        Of the picture, nm.
    """
    from matplotlib import patheffects

    length, margin = _round_length(width / 3), width / 20
    ends = (right - margin - length, right - margin)
    at = bottom + margin
    bar = ax.plot(ends, (at, at), color="white", lw=3, solid_capstyle="butt")
    text = ax.text(
        sum(ends) / 2,
        at + margin / 2,
        f"{length:g} nm",
        color="white",
        ha="center",
        va="bottom",
        fontsize="small",
    )
    for each in (*bar, text):
        each.set_path_effects([patheffects.withStroke(linewidth=4, foreground="black")])
    text.set_path_effects([patheffects.withStroke(linewidth=2, foreground="black")])


def _round_length(most: float) -> float:
    """Return the longest of 1, 2 and 5 times a power of ten up to a length."""
    power = 10.0 ** math.floor(math.log10(most))
    return max(each * power for each in (1, 2, 5) if each * power <= most * (1 + 1e-9))
