"""Pictures of what a search saw."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from funpipe.algebra.verbs import verb
from funpipe.base import arguments as check
from funpipe.base.wording import fail
from funpipe.faces.plots.panels import BLUE, LIGHT, RED, add_legend, axes_of
from funpipe.jobs.recording import SearchRecord, read_record

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["search_scores"]

_FEWEST = 0.4  # peaks of a bar, at the lower end of the picture
_ROOM = 5.0  # times as high as the highest bar, for the legend
_BARS = 10, 80  # at least, and at most


@verb
def search_scores(record: Any, *, ax: Axes | None = None) -> Axes:
    """Draw how the scores of a search are spread, and how many chance explains.

    Parameters
    ----------
    record : SearchRecord, or path
        Of `search`, what it writes where ``record`` says.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        A histogram of all peaks, as they were before they were aligned, those darker
        that were taken. Where the false discovery rate was estimated also of the null's
        peaks, see `funpipe.jobs.chance`, with how many of the search's own are expected
        to be false, in each bar and among those taken; at a place where both have a
        peak the higher one counts alone.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    OSError
        If the file cannot be read.
    TypeError, ValueError
        If it is no such record, or there was no peak.

    Examples
    --------
    >>> import os, tempfile, funpipe as fp
    >>> blob = fp.from_gaussian((9.0, 9.0, 9.0), sigma=(0.8, 1.2, 1.6))
    >>> there = fp.Molecules([[14.0, 12.0, 14.0], [17.0, 28.0, 22.0]])
    >>> volume = fp.simulate.tomogram(blob(1.0), there, (32, 40, 36), 1.0, noise=0.1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "searched.json")
    ...     picks = fp.search(
    ...         volume, template=blob, scale=1.0, spacing=30, count=2, record=path,
    ...         progress=False,
    ...     )
    ...     ax = search_scores(path)
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('score, a correlation', 'peaks')
    """
    found = record
    if isinstance(record, str | os.PathLike):
        found = read_record(check.path("record", record))
    if not isinstance(found, SearchRecord):
        fail("record", "a SearchRecord, or the path of one that search wrote", record)
    every = found.scores
    if found.null is not None:
        every = np.concatenate([every, found.null])
    if not len(every):
        raise ValueError("record must have one peak or more, not none")
    edges = _edges(every)
    ax = axes_of(ax, 6.0, 3.8)
    every_count, picked_count = (
        np.histogram(each, edges)[0] for each in (found.scores, found.picked)
    )
    label = f"{len(found.scores):,} peaks"
    ax.stairs(
        *(every_count, edges),
        baseline=picked_count,
        fill=True,
        color=LIGHT,
        label=label,
    )
    if len(found.picked):
        label = _said(found)
        ax.stairs(picked_count, edges, fill=True, color=BLUE, label=label)
        ax.axvline(found.threshold, color="black", lw=0.8, ls="--")
    if found.null is not None:
        label = f"null: {len(found.null):,} peaks"
        counts = np.histogram(found.null, edges)[0]
        ax.stairs(counts, edges, color=RED, lw=1.3, label=label)
    if found.false is not None:
        expected = np.histogram(found.scores, edges, weights=found.false)[0]
        middle = (edges[1:] + edges[:-1]) / 2
        ax.plot(middle, expected, color=RED, lw=1.5, ls=":", label="expected, false")
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set_ylim(_FEWEST, _ROOM * ax.dataLim.y1)
    ax.set_xlabel("score, a correlation")
    ax.set_ylabel("peaks")
    ax.margins(x=0.02)
    add_legend(ax, "upper right")
    return ax


def _edges(scores: NDArray[Any]) -> NDArray[Any]:
    """Return where bars end: finer than for one bell, for the tail of some peaks."""
    bars = int(np.clip(4 * len(scores) ** (1 / 3), *_BARS))
    return np.histogram_bin_edges(scores, bars)


def _said(record: SearchRecord) -> str:
    """Say how many peaks were taken, and which part of them is false."""
    taken = len(record.picked)
    text = f"{taken:,} taken, of {record.threshold:.3g} or more"
    if record.false is None:
        return text
    false = float(record.false[record.scores >= record.threshold].mean())
    return f"{text}; {100 * false:.2g} % expected to be false"
