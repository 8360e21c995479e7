"""What the engine's search trades: one value, each part with what it buys."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["SETTINGS", "SWEEP", "Settings", "Sweep"]


class Settings(NamedTuple):
    """How a search is done, and how far its poses are followed."""

    batch_bytes: float = 48e6
    """Of the largest arrays of a batch. More: larger products, which are faster until
    they leave the processor's cache; and more memory in each process."""
    bank_bytes: float = 150e6
    """Of the turned templates of a search that is refined. Less: a wide search takes
    fewer waves, and more of its poses have to be followed."""
    kernel_error: float = 2e-2
    """Of exp(2πi k·t), root mean square. Less: a kernel of a higher rank, and a search
    that is slower in proportion; scores after refinement do not have this error."""
    products: float = 2e7
    """Complex products that the search of a particle may take. More: a search by more
    waves, which leaves fewer poses to climb from."""
    between: float = 0.12
    """Of the score, what it may lose at the poses that are tried beside a truth that is
    furthest from them: in rotation, and as much in shift. More: fewer poses to try,
    more that must be followed, and longer climbs."""
    alike: float = 1.5
    """Of the distance of poses that are tried: rotations nearer than that are
    neighbours, of which only the best is followed. More: fewer candidates that climb
    to one and the same pose; two real maxima that are near may become one."""
    information: float = 0.999
    """Of what the template's waves say of the pose, Σ |∂F/∂pose|²: what the last climb
    takes along. Less: a shorter climb, and a larger error."""
    widening: float = 3.0
    """Times as many waves in each climb as in the one before, at the most. More: fewer
    climbs; from further away, which may end in another maximum."""
    missed: float = 3.1
    """Standard deviations: a pose is followed while its score with all waves, given
    that with some, may be the best by so many. 3.1: of bests that are among the poses
    tried one in a thousand is lost; what lies between those, and beyond `candidates`,
    is not counted in that, and is more where the signal is weak."""
    candidates: int = 16
    """Poses of a particle that climb, at the most."""
    first_steps: int = 4
    """The most steps of climbs before the last."""
    steps: int = 10
    """The most steps of the last climb; most poses need three or four."""
    sure: float = 2.0
    """Standard deviations by which a score must be above what noise gives, so that
    nothing else is weighed. More: more posterior means, which take longer."""
    alone: float = 8.0
    """Of ln L, how far below the best others must be, likewise."""
    narrow: float = 0.4
    """Of half the window, the most that the errors may be, likewise."""
    weighed: float = 2**18
    """Poses of a template that are weighed where the signal is weak, at the most; twice
    as many where they are those of the search. More: means of wider searches are of a
    finer grid; weak particles, of which most places of false picks are, take longer."""
    rounding: float = 1e-10
    """Of a power spectrum's mean: what single precision leaves of none. It tells blank
    boxes and waves without noise; nothing is traded."""


SETTINGS = Settings()
"""Those of the package's own engine."""


class Sweep(NamedTuple):
    """How a whole tomogram is searched."""

    part: float = 0.98
    """Of the turned templates' power, what the functions that are correlated hold.
    More: more correlations, and limits that discard more."""
    exact_part: float = 0.998
    """The same where nothing may be missed, and what is left out has to be bounded."""
    aliased: float = 0.03
    """Of the power of what is correlated, what may lie beyond the waves of the places
    that are looked at. More: fewer places, and scores at them that are less exact."""
    functions: int = 1000
    """The most of them."""
    powers: int = 2
    """How often random sums of templates are sharpened to singular vectors. More: as
    much power in fewer functions."""
    coarser: float = 3.0
    """Of the spacing of rotations, that of those that are tried first. More: fewer of
    them, and more places at which all are tried."""
    around: float = 1.5
    """Of the spacing of rotations, how far those lie that are scored again around the
    best."""
    nearly: float = 0.7
    """Of the highest score around a place, what its own may be so that it is followed.
    Less: more places to score in full, and fewer peaks beside a higher one are lost."""
    missed: float = 1e-3
    """The chance that each limit discards a pose of the least score in white noise.
    Less: more places are followed."""
    brighter: float = 0.75
    """Of limits by rotations, what is left of them where all peaks above a score are
    asked for: beside what is brighter than noise, as membranes and other copies are,
    scores fall off sooner. Less: more places are followed."""


SWEEP = Sweep()
"""Those of the package's own search."""
