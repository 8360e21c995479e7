"""Pictures of where particles are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from funpipe.algebra.verbs import verb
from funpipe.base import arguments as check
from funpipe.base.molecules import Molecules, as_molecules
from funpipe.base.wording import fail, listed
from funpipe.boxes.opening import open_tomogram
from funpipe.faces.plots.panels import RED, add_colours, axes_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import EllipseCollection

__all__ = ["picks"]

_BRIGHTEST = 3e38
_PIXELS = 1024  # of the longest side of a picture
_THICK = 10.0  # nm


@verb
def picks(
    tomogram: Any,
    molecules: Any,
    *,
    scale: float | None = None,
    z: float | None = None,
    thickness: float = _THICK,
    diameter: float | None = None,
    color: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw particles over a slice of their tomogram.

    Parameters
    ----------
    tomogram : array-like, path, or Tomogram
        One tomogram, axes z, y, x; of a file only the slice is read.
    molecules : Molecules, (n, 3) array, or object with .pos and .rotator
        The particles in it.
    scale : float, optional
        nm per voxel; by default what the tomogram's file says.
    z : float, optional
        The height of the slice's middle, nm; by default the particles' median.
    thickness : float
        Of the slice, over which the tomogram is averaged, nm: particles within it are
        drawn.
    diameter : float, optional
        Of a particle, nm: the circles', and where the slice reaches into a particle
        whose centre is beyond, it is drawn thin, as large as it is cut. By default
        circles are a 25th of the longest side.
    color : str, optional
        A feature of numbers that says the circles' colour, on one scale for all slices.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        In nm, x along and y up.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If an argument is wrong, or the slice outside the tomogram.

    Examples
    --------
    >>> ax = picks(np.zeros((20, 30, 40)), np.array([[10, 15, 20.0]]), scale=1.0)
    >>> ax.get_xlabel(), np.shape(ax.collections[0].get_offsets())
    ('x (nm)', (1, 2))
    """
    particles = as_molecules("molecules", molecules)
    source = open_tomogram(tomogram, particles, scale).opened()
    depth = source.shape[0] * source.scale
    positions = particles.positions
    middle = (
        (float(np.median(positions[:, 0])) if len(positions) else depth / 2)
        if z is None
        else check.number("z", z)
    )
    half = check.positive("thickness", thickness) / 2
    size = check.optional_positive("diameter", diameter)
    values = None if color is None else _feature(particles, color)
    image = _slab(source, middle, half)
    ax = axes_of(ax, 6.0, 5.0)
    height, width = np.array(source.shape[1:]) * source.scale
    image = np.clip(image, -_BRIGHTEST, _BRIGHTEST)  # NaN stays, and is left white
    finite = image[np.isfinite(image)]
    low, high = np.percentile(finite, (0.5, 99.5)) if finite.size else (0.0, 1.0)
    edge = -source.scale / 2
    ax.imshow(
        image,
        cmap="gray",
        origin="lower",
        extent=(edge, edge + width, edge, edge + height),
        vmin=low,
        vmax=high,
    )
    beyond = np.maximum(np.abs(positions[:, 0] - middle) - half, 0)
    inside = beyond == 0
    sizes = np.full(len(positions), size or max(height, width) / 25)
    circles = _circle(ax, positions, sizes, values, inside)
    if size is not None:
        cut = np.sqrt(np.maximum(size**2 - 4 * beyond**2, 0))
        _circle(ax, positions, cut, values, ~inside & (cut > 0), 0.6)
    if values is not None and inside.any():
        add_colours(ax, circles, str(color))
    ax.set_xlabel("x (nm)")
    ax.set_ylabel("y (nm)")
    ax.set_title(
        f"z = {middle:.4g} ± {half:.3g} nm: {int(inside.sum())} of {len(particles)} "
        "particles",
        fontsize="medium",
    )
    return ax


def _feature(molecules: Molecules, name: str) -> NDArray[np.float64]:
    if not isinstance(name, str) or name not in molecules.features:
        there = listed(molecules.features) or "none"
        fail("color", f"a feature that there is, {there}", name)
    values = molecules.features[name]
    if values.dtype.kind == "U":
        fail("color", "a feature of numbers, not texts", name)
    return values.astype(np.float64)


def _circle(
    ax: Axes,
    positions: NDArray[Any],
    diameters: NDArray[Any],
    values: NDArray[Any] | None,
    some: NDArray[np.bool_],
    width: float = 1.4,
) -> EllipseCollection:
    """Add circles around some of the positions, in the colours that all have."""
    from matplotlib.collections import EllipseCollection

    circles = EllipseCollection(
        diameters[some],
        diameters[some],
        np.zeros(some.sum()),
        units="xy",
        offsets=positions[some, :0:-1].reshape(-1, 2),
        offset_transform=ax.transData,
        facecolors="none",
        edgecolors=RED if values is None else None,  # where None is, values say
        linewidths=width,
    )
    if values is not None:
        known = values[np.isfinite(values)]
        circles.set_array(values[some])
        circles.set_cmap("autumn_r")  # none of it is grey
        if len(known):
            circles.set_clim(known.min(), known.max())
    ax.add_collection(circles, autolim=False)
    return circles


def _slab(source: Any, middle: float, half: float) -> NDArray[np.float64]:
    """Return the mean of the sections within some nm of a height, read one by one."""
    centres = np.arange(source.shape[0]) * source.scale
    chosen = np.flatnonzero(np.abs(centres - middle) <= max(half, source.scale / 2))
    if not len(chosen):
        last = centres[-1]
        fail("z", f"a height in the tomogram, 0 to {last:g} nm", middle)
    step = -(-max(source.shape[1:]) // _PIXELS)
    with np.errstate(all="ignore"):  # what a picture cannot hold is left white
        total = sum(_coarser(np.asarray(source.array[int(i)]), step) for i in chosen)
        return np.asarray(total / len(chosen), np.float64)


def _coarser(image: NDArray[Any], step: int) -> NDArray[Any]:
    """Return the means of squares of pixels; what is left at the ends is left out."""
    height, width = (max(n // step, 1) for n in image.shape)
    step_y, step_x = min(step, image.shape[0]), min(step, image.shape[1])
    whole = image[: height * step_y, : width * step_x]
    exact = np.result_type(whole.dtype, np.float32)
    squares = whole.reshape(height, step_y, width, step_x)
    return squares.mean(axis=(1, 3), dtype=exact)
