"""Pictures of classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from funpipe.algebra.verbs import verb
from funpipe.base import arguments as check
from funpipe.base.molecules import Molecules, as_molecules
from funpipe.base.wording import fail, listed
from funpipe.faces.plots.panels import new_figure
from funpipe.faces.plots.volumes import slices

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["classes"]


@verb
def classes(
    molecules: Any,
    *,
    maps: Any,
    scale: float = 1.0,
    feature: str = "class",
    columns: int = 4,
) -> Figure:
    """Draw the averages of classes, with how many particles each has.

    Parameters
    ----------
    molecules : Molecules
        With their classes as a feature of whole numbers from 0 on. Features
        ``class_probability_0``, …, where there are such, say how sure that is.
    maps : (k, z, y, x) array, or several (z, y, x) arrays
        The averages, of class 0, 1, ….
    scale : float
        nm per voxel.
    feature : str
        The feature that says the class.
    columns : int
        How many stand beside each other.

    Returns
    -------
    matplotlib.figure.Figure
        A panel as of `slices` for each class, under its number, its particles, their
        part of all, and the mean probability that they are of it.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If there is no such feature, or a class without a map.

    Examples
    --------
    >>> sorted_out = Molecules(np.zeros((4, 3)), features={"class": [0, 1, 1, 1]})
    >>> figure = classes(sorted_out, maps=np.zeros((2, 4, 4, 4)))
    >>> [each.get_title() for each in figure.axes]
    ['class 0: 1 (25 %)', 'class 1: 3 (75 %)']
    """
    particles = as_molecules("molecules", molecules)
    images = check.images("maps", maps)
    of = _classes(particles, feature, len(images))
    across = min(check.positive_integer("columns", columns), len(images))
    down = -(-len(images) // across)
    figure = new_figure(3.2 * across, 3.4 * down)
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for k, (panel, image) in enumerate(zip(panels, images, strict=False)):
        slices(image, scale=scale, ax=panel)
        panel.set_title(_title(particles, of == k, k), fontsize="small")
    for panel in panels[len(images) :]:
        panel.remove()
    return figure


def _classes(molecules: Molecules, feature: Any, count: int) -> Any:
    """Return the class of each particle, of which each has a map."""
    if not isinstance(feature, str) or feature not in molecules.features:
        there = listed(molecules.features) or "none"
        fail("feature", f"a feature that there is, {there}", feature)
    of = molecules.features[feature]
    known = of.dtype.kind in "iuf" and bool(np.isin(of, np.arange(count)).all())
    if not known:
        raise ValueError(
            f"molecules.features[{feature!r}] must be whole numbers from 0 to "
            f"{count - 1}, as there are {count} maps"
        )
    return of


def _title(molecules: Molecules, own: Any, k: int) -> str:
    count = int(own.sum())
    text = f"class {k}: {count} ({count / max(len(own), 1):.0%})".replace("%", " %")
    sure = molecules.features.get(f"class_probability_{k}")
    if sure is None or count == 0:
        return text
    return f"{text}\nmean probability {np.mean(sure[own]):.2f}"
