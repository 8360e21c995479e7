"""Pictures, through matplotlib (extra ``plot``): all of them are in `funpipe.plot`.

A function that draws into one ``Axes`` takes them by ``ax=`` and returns them; by
default they are new ones, of a figure that no window knows: ``ax.figure`` shows it in a
notebook, ``ax.figure.savefig(path)`` writes it. What has several panels returns its
``Figure``. All wait for their data, as verbs do.

- `panels`: what the others have in common: axes, colours, bars of scale
- `volumes`: `slices`, `masked`, `stages` and `central_slices` of images
- `places`: `picks` in a tomogram
- `grouped`: `classes`
- `curves`: `fsc`, `scores`, `moves`, `iterations`
- `searches`: `search_scores`
- `directions`: `orientations`
"""

from funpipe.faces.plots.curves import fsc, iterations, moves, scores
from funpipe.faces.plots.directions import orientations
from funpipe.faces.plots.grouped import classes
from funpipe.faces.plots.places import picks
from funpipe.faces.plots.searches import search_scores
from funpipe.faces.plots.volumes import (
    central_slices,
    masked,
    slices,
    stages,
)

__all__ = [
    "central_slices",
    "classes",
    "fsc",
    "iterations",
    "masked",
    "moves",
    "orientations",
    "picks",
    "scores",
    "search_scores",
    "slices",
    "stages",
]
