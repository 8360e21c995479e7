"""What the engine's search trades: one value, each part with what it buys."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["SETTINGS", "Settings"]


class Settings(NamedTuple):
    """How a search is done, and how far its poses are followed."""

    batch_bytes: float = 48e6
    """Of the largest arrays of a batch. More: larger products, which are faster until
    they leave the processor's cache; and more memory in each process."""
    bank_bytes: float = 150e6
    """Of the turned templates of a search that is refined. Less: a wide search starts
    at a lower resolution, where more of its candidates have to be followed."""
    kernel_error: float = 1e-2
    """Of exp(2πi k·t), root mean square. Less: a kernel of a higher rank, and a search
    that is slower in proportion; scores after refinement do not have this error."""
    candidates: int = 4
    """Poses of a particle that climb, at the most. More: fewer best poses missed
    in noise, and more time for refinement."""
    in_reach: float = 0.85
    """Of the best score: whether a pose of the search may still win. Less: likewise."""
    wide_candidates: int = 16
    """As ``candidates``, after a search at low resolution, which tells less apart."""
    wide_in_reach: float = 0.6
    """As ``in_reach``, likewise."""
    coarse: float = 0.3
    """Of the waves, the longest: those of the first climb. Fewer: a faster climb from
    further away, that tells less which candidate is the best."""
    coarse_steps: int = 4
    """The most steps of the first climb."""
    contending: float = 0.95
    """Of the best score: whether a pose may still win after that climb. Less: more
    poses climb over all waves."""
    steps: int = 10
    """The most steps of the climb over all waves; most poses need three or four."""
    apart: float = 1.8
    """Spacings within which rotations are neighbours, of which only the best is a
    candidate. More: fewer candidates that climb to one and the same pose; two real
    maxima that are near may become one."""
    phase: float = 0.8
    """Rad that half a spacing of rotations may turn the template's rim. More: a search
    on a coarse grid uses waves that its grid is too coarse for."""
    rounding: float = 1e-10
    """Of a power spectrum's mean: what single precision leaves of none. It tells blank
    boxes and waves without noise; nothing is traded."""


SETTINGS = Settings()
"""Those of the package's own engine."""
