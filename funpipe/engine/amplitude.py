"""The amplitude that a job's particles share, and how many places hold one.

Empirical Bayes, from the evidence of `funpipe.engine.posterior`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.engine.posterior import Cells, Modes, Products, posterior

__all__ = ["Signal", "fitted", "log_odds"]

Array: TypeAlias = NDArray[Any]

_TINY = 1e-30
_RUNGS = 10  # amplitudes tried first
_PRECISE = 0.01  # of an amplitude
_EM_STEPS = 30


class Signal(NamedTuple):
    """What the particles of a job have in common."""

    amplitudes: NDArray[np.float64]
    """(m,), ρ = a / s of each template."""
    share: float
    """Of the places that hold a particle."""


def log_odds(log_evidence: Array, share: float) -> NDArray[np.float64]:
    """Return ln of the odds that a place holds a particle, of any template.

    Parameters
    ----------
    log_evidence : (n, m) array
        Of each template, against noise alone; each is as likely before.
    share : float
        Of all places that hold a particle.

    Examples
    --------
    >>> log_odds(np.array([[0.0, 0.0], [2.0, -np.inf]]), 0.5).round(2)
    array([0.  , 1.31])
    """
    prior = math.log(share) - math.log1p(-share)
    return _log_mean(log_evidence) + prior


def _log_mean(values: Array) -> Array:
    top = np.max(values, axis=-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(values - top).mean(axis=-1)) + top[..., 0]


def fitted(
    products: Products, cells: Cells, units: Any, modes: Modes | None = None
) -> Signal:
    """Estimate the amplitude of a job's particles, and how many places hold one.

    Both maximise Π (share · mean of L over window and templates + 1 − share), the
    likelihood of all particles together: empirical Bayes (B. Efron, Large-Scale
    Inference, 2010, ch. 1), the share by expectation maximisation.

    Parameters
    ----------
    products, cells, modes
        As for `posterior`, of some dozens of particles evenly spread over the job.
    units : (m,) array
        The templates' amplitudes up to a common factor; 1 / √(Σ |T|²), so that all
        are as strong, where nothing else is known.

    Returns
    -------
    Signal
    """
    unit = np.asarray(units, dtype=np.float64)
    strengths = _strengths(products, unit)
    ladder = np.geomspace(
        0.3 * np.quantile(strengths, 0.1), 1.1 * strengths.max(), _RUNGS
    )
    fits = [_misfit(math.log(each), products, cells, unit, modes) for each in ladder]
    best = int(np.argmin(fits))
    low, high = np.log(ladder[[max(best - 1, 0), min(best + 1, _RUNGS - 1)]])
    found = scipy.optimize.minimize_scalar(
        _misfit,
        bounds=(low, high),
        args=(products, cells, unit, modes),
        method="bounded",
        options={"xatol": _PRECISE},
    )
    amplitudes = math.exp(found.x) * unit
    evidence = posterior(products, cells, amplitudes, modes).log_evidence
    return Signal(amplitudes, _share(_log_mean(evidence)))


def _strengths(products: Products, unit: Array) -> NDArray[np.float64]:
    """Return the amplitude at each particle's best pose, in units (n,)."""
    n, m = len(products.P), len(unit)
    x = products.x.max(axis=0).reshape(n, m, -1)
    g = np.maximum(products.g.reshape(x.shape), _TINY)
    P = np.maximum(products.P, _TINY)
    scores = x / np.sqrt(g * P[:, None, None])
    at = scores.reshape(n, -1).argmax(axis=1)
    each = np.arange(n)
    score = np.clip(scores.reshape(n, -1)[each, at], 0.01, 0.999)
    norm = np.sqrt(g).reshape(n, -1)[each, at] * unit[at // x.shape[2]]
    return np.asarray(score * np.sqrt(products.N / (1 - score**2)) / norm)


def _misfit(
    logarithm: float, products: Products, cells: Cells, unit: Array, modes: Modes | None
) -> float:
    """Return −ln of the likelihood of all particles at an amplitude."""
    found = posterior(products, cells, math.exp(logarithm) * unit, modes)
    evidence = _log_mean(found.log_evidence)
    share = _share(evidence)
    return -float(np.logaddexp(math.log(share) + evidence, math.log1p(-share)).sum())


def _share(evidence: Array) -> float:
    """Return the share of places that hold a particle, never quite 0 or 1."""
    share = 0.5
    for _ in range(_EM_STEPS):
        odds = evidence + math.log(share) - math.log1p(-share)
        share = float((scipy.special.expit(odds).sum() + 0.5) / (len(odds) + 1))
    return share
