"""Pictures of curves and of how numbers are spread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from funpipe.algebra.verbs import verb
from funpipe.base import arguments as check
from funpipe.base.arguments import has
from funpipe.base.molecules import Molecules, as_molecules
from funpipe.base.wording import fail, listed, quoted
from funpipe.faces.plots.panels import (
    BLUE,
    GREY,
    LIGHT,
    RED,
    add_legend,
    axes_of,
    new_figure,
)
from funpipe.jobs.correlating import FSC, ConicalFSC

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["fsc", "iterations", "moves", "scores"]


@verb
def fsc(
    curve: Any,
    *,
    cones: Any = None,
    thresholds: Sequence[float] = (0.143, 0.5),
    level: float = 0.95,
    ax: Axes | None = None,
) -> Axes:
    """Draw a Fourier shell correlation with its band and where it falls.

    Parameters
    ----------
    curve : FSC
        Of `funpipe.fsc`, or the ``fsc`` of a refinement's iteration.
    cones : ConicalFSC, optional
        Of `conical_fsc`: the curves along its directions are drawn behind.
    thresholds : sequence of float
        Drawn as lines, each with the resolution there in the legend.
    level : float
        Of the band, see `FSC.band`.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        The corrected curve with its band; where there was a mask also those without
        it, under it, and of random phases.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If it is no such curve, or a threshold or the level is not above 0 and below 1.

    Examples
    --------
    >>> import funpipe as fp
    >>> a, b = np.random.default_rng(0).normal(size=(2, 16, 16, 16))
    >>> ax = fsc(fp.fsc(a, a + b, scale=0.5))
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('spatial frequency (1/nm)', 'Fourier shell correlation')
    """
    if not isinstance(curve, FSC):
        fail("curve", "an FSC, as of funpipe.fsc", curve)
    if cones is not None and not isinstance(cones, ConicalFSC):
        fail("cones", "None, or a ConicalFSC", cones)
    ats = _parts("thresholds", thresholds)
    found = [
        (at, curve.resolution(at), curve.resolution_range(at, level)) for at in ats
    ]
    low, high = curve.band(level)
    ax = axes_of(ax)
    k = curve.frequency
    if cones is not None:
        ax.plot(cones.frequency, cones.corrected.T, color=LIGHT, lw=0.4, alpha=0.5)
        ax.plot([], [], color=LIGHT, lw=1, label=f"{len(cones.directions)} directions")
    ax.fill_between(
        k, low, high, color=BLUE, alpha=0.2, lw=0, label=f"{level:.0%} band"
    )
    if curve.randomised.any():
        style: Any = {"color": GREY, "lw": 1}
        ax.plot(k, curve.fsc, ls="--", label="under the mask", **style)
        ax.plot(k, curve.randomised, ls=":", label="phases random", **style)
    if not np.array_equal(curve.unmasked, curve.fsc):
        ax.plot(k, curve.unmasked, color=RED, lw=1, label="without a mask")
    ax.plot(k, curve.corrected, color=BLUE, lw=1.8, label="FSC")
    for at, resolution, between in found:
        if (curve.corrected >= at).all():
            label = f"{at:g}: above it up to the last shell, {1 / k[-1]:.3g} nm"
        elif np.isinf(resolution):
            label = f"{at:g}: below it from the first shell on"
        else:
            label = f"{at:g}: {resolution:.3g} nm ({_range(between)})"
            ax.plot(1 / resolution, at, marker="o", ms=4, color="black")
        ax.axhline(at, color="black", lw=0.7, ls=":")
        ax.plot([], [], color="black", lw=0.7, ls=":", label=label)
    ax.axhline(0, color="black", lw=0.5)
    ax.set_xlim(0, k[-1])
    ax.set_ylim(min(-0.1, float(np.nanmin(low[len(low) // 8 :])) - 0.02), 1.02)
    ax.set_xlabel("spatial frequency (1/nm)")
    ax.set_ylabel("Fourier shell correlation")
    add_legend(ax)
    return ax


def _parts(name: str, values: Any) -> list[float]:
    """Return numbers above 0 and below 1."""
    wanted = "numbers above 0 and below 1"
    found = []
    for i, each in enumerate(check.elements(name, wanted, values)):
        found.append(check.positive(f"{name}[{i}]", each))
        if found[-1] >= 1:
            fail(f"{name}[{i}]", "above 0 and below 1", each)
    return found


def _range(between: tuple[float, float]) -> str:
    finest, coarsest = (f"{each:.3g}" for each in between)
    return f"{finest} to {coarsest if np.isfinite(between[1]) else '∞'}"


@verb
def scores(
    molecules: Any,
    *,
    null: Any = None,
    feature: str = "score",
    ax: Axes | None = None,
) -> Axes:
    """Draw how scores are spread, beside those of noise if they are known.

    Parameters
    ----------
    molecules : Molecules, or (n,) array
        Particles with scores, or the scores.
    null : Molecules, or (m,) array, optional
        Those of where no particle is, as of picks at random places: drawn as if they
        were as many.
    feature : str
        The feature of molecules that is drawn.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        A histogram; the median is a line.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If there are no scores, or they are no numbers.

    Examples
    --------
    >>> ax = scores(np.array([0.2, 0.4, 0.5]), null=np.array([0.1, 0.1]))
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('score, a correlation', 'particles')
    """
    values = _numbers("molecules", molecules, feature)
    others = None if null is None else _numbers("null", null, feature)
    every = values if others is None else np.concatenate([values, others])
    edges = np.histogram_bin_edges(every, bins=int(np.clip(len(every) / 8, 10, 60)))
    ax = axes_of(ax)
    ax.hist(
        values, edges.tolist(), color=BLUE, alpha=0.8, label=f"{len(values)} particles"
    )
    if others is not None:
        heights, _ = np.histogram(others, edges)
        ax.stairs(
            heights * len(values) / len(others),
            edges,
            color=RED,
            lw=1.5,
            label=f"null: {len(others)}, as if as many",
        )
    middle = float(np.median(values))
    ax.axvline(middle, color="black", lw=0.8, ls="--", label=f"median {middle:.3g}")
    ax.set_xlabel("score, a correlation" if feature == "score" else feature)
    ax.set_ylabel("particles")
    ax.margins(y=0.12)
    add_legend(ax)
    return ax


def _numbers(name: str, value: Any, feature: str) -> NDArray[np.float64]:
    """Return the finite values of a feature, or those that are given."""
    if isinstance(value, Molecules) or has(value, "pos", "rotator"):
        values = _feature(name, as_molecules(name, value), feature)
    else:
        wanted = "Molecules, or one number for each particle"
        values = check.as_array(name, wanted, value)
        if values.ndim != 1 or values.dtype.kind not in "biuf":
            fail(name, wanted, value)
        values = values.astype(np.float64)
    values = values[np.isfinite(values)]
    if len(values) == 0:
        raise ValueError(f"{name} must have one finite score or more, not none")
    return values


def _feature(name: str, molecules: Molecules, feature: str) -> NDArray[np.float64]:
    if not isinstance(feature, str):
        fail("feature", "the name of a feature", feature)
    values = molecules.features.get(feature)
    if values is None or values.dtype.kind == "U":
        there = listed(molecules.features) or "none"
        raise ValueError(
            f"{name} must have numbers as the feature {quoted(feature)}; the features "
            f"are {there}"
        )
    return values.astype(np.float64)


_MOST_BARS = 200  # particles


@verb
def moves(molecules: Any, *, ax: Axes | None = None) -> Axes:
    """Draw how far an alignment has moved and turned particles, and the errors of that.

    Parameters
    ----------
    molecules : Molecules
        With the features of `align`.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        A point for each particle, its shift in nm along, its angle in degrees up, with
        stated errors as bars: of each of up to 200 particles, of more the medians, at
        the medians. Particles at a limit of the search have another colour.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If there are no particles, or no shifts and angles.

    Examples
    --------
    >>> found = {"shift": [1.0, 2.0], "angle": [5.0, 3.0]}
    >>> ax = moves(Molecules(np.zeros((2, 3)), features=found))
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('shift (nm)', 'angle (degrees)')
    """
    particles = as_molecules("molecules", molecules)
    if len(particles) == 0:
        raise ValueError("molecules must be one particle or more, not none")
    shift, angle = (_feature("molecules", particles, x) for x in ("shift", "angle"))
    errors = [
        particles.features.get(each, np.full(len(particles), np.nan))
        for each in ("shift_error", "angle_error")
    ]
    known = np.isfinite(errors).all(axis=0)
    limit = particles.features.get("at_limit", np.zeros(len(particles))).astype(bool)
    ax = axes_of(ax)
    strength = float(np.clip(100 / len(particles), 0.15, 0.8))
    for some, colour, name in ((~limit, BLUE, ""), (limit, RED, " at a limit")):
        if some.any():
            count = int(some.sum())
            label = f"{count} particle{'s' * (count != 1)}{name}"
            ax.scatter(
                shift[some],
                angle[some],
                s=12,
                color=colour,
                alpha=strength,
                linewidths=0,
                label=label,
            )
    _add_errors(ax, shift[known], angle[known], *(each[known] for each in errors))
    ax.set_xlabel("shift (nm)")
    ax.set_ylabel("angle (degrees)")
    ax.set_xlim(left=min(0.0, float(shift.min())))
    ax.set_ylim(bottom=min(0.0, float(angle.min())))
    add_legend(ax)
    return ax


def _add_errors(
    ax: Axes, shift: Any, angle: Any, shift_error: Any, angle_error: Any
) -> None:
    if not len(shift):
        return
    every = (shift, angle, shift_error, angle_error)
    x, y, across, up = map(np.median, every)
    label = f"stated errors, median {across:.2g} nm, {up:.2g}°"
    style: dict[str, Any] = {"fmt": "none", "ecolor": GREY}
    if len(shift) <= _MOST_BARS:
        ax.errorbar(shift, angle, angle_error, shift_error, lw=0.5, zorder=1, **style)
        ax.plot([], [], color=GREY, lw=0.8, label=label)
    else:
        style["ecolor"] = "black"
        ax.errorbar(x, y, up, across, lw=1.5, capsize=3, label=label, **style)


@verb
def iterations(several: Any) -> Figure:
    """Draw how a refinement goes on.

    Parameters
    ----------
    several : iterable of Iteration
        What `refine` yields.

    Returns
    -------
    matplotlib.figure.Figure
        By the iteration's number: the resolution in nm, how far particles moved in nm,
        and how far they turned in degrees, both as root mean squares; under these
        the errors that are stated, as medians, for to fall below those is to stand
        still.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If there is none, or they are no iterations.
    """
    wanted = "the iterations of refine"
    found = check.elements("several", wanted, several)
    parts = ("number", "resolution", "shift", "angle", "molecules")
    if not found or not all(has(each, *parts) for each in found):
        fail("several", f"one or more of {wanted}", several)
    figure = new_figure(5.0, 5.6)
    panels = figure.subplots(3, 1, sharex=True)
    number = np.array([each.number for each in found])
    for panel, (name, label, error) in zip(panels, _ROWS, strict=True):
        values = np.array([getattr(each, name) for each in found], float)
        values[~np.isfinite(values)] = np.nan
        panel.plot(number, values, marker="o", ms=4, color=BLUE)
        errors = [_median_error(each.molecules, error) for each in found]
        if np.isfinite(errors).any():
            panel.plot(
                number, errors, color=GREY, ls="--", label="stated error, median"
            )
            add_legend(panel)
        panel.set_ylabel(label)
        panel.set_ylim(bottom=0)
        panel.margins(y=0.15)
    panels[-1].set_xlabel("iteration")
    panels[-1].set_xticks(number)
    figure.align_ylabels(panels)
    return figure


_ROWS = (
    ("resolution", "resolution (nm)", ""),
    ("shift", "moved (nm)", "shift_error"),
    ("angle", "turned (degrees)", "angle_error"),
)


def _median_error(molecules: Molecules, feature: str) -> float:
    values = molecules.features.get(feature)
    if values is None or not np.isfinite(values).any():
        return np.nan
    return float(np.median(values[np.isfinite(values)]))
