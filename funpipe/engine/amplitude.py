"""The amplitude that a job's particles share, and how many places hold one.

Empirical Bayes, from the evidence of `funpipe.engine.posterior`.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.engine.cells import Cells
from funpipe.engine.posterior import Modes, Products, posterior

__all__ = ["LADDER", "Found", "Signal", "fitted", "log_odds", "over_ladder"]

Array: TypeAlias = NDArray[Any]

_TINY = 1e-30
_RUNGS = 10  # amplitudes tried first
_PRECISE = 0.01  # of an amplitude
_EM_STEPS = 30


_RATIO = 1.35
LADDER = 2 * _RATIO ** np.arange(14.0)
"""Of amplitudes: in how many standard deviations of the noise a particle of which all
is measured is seen, to 99."""


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


class Found(NamedTuple):
    """What n places hold, by what all of them have in common."""

    log_odds: NDArray[np.float64]
    """(n,), ln of the odds that it is a particle, of any template."""
    log_evidence: NDArray[np.float64]
    """(n, m), of each template, at the amplitude of all."""
    probability: NDArray[np.float64]
    """(n,), that a particle is of the template given."""


def over_ladder(log_evidence: Array, templates: Array) -> Found:
    """Return what places hold, their amplitude and the share of particles estimated.

    As `fitted` does, between the amplitudes at which the evidence is known. By how much
    those of particles scatter is estimated too, see `_SCATTERS`.

    Parameters
    ----------
    log_evidence : (n, m, J) array
        At amplitudes in the ratios of `LADDER`; NaN of places that hold nothing, for
        which all is NaN.
    templates : (n,) array
        Which template each is taken for.

    Examples
    --------
    >>> evidence = np.array([[[1.0, 2.0]], [[-1.0, -3.0]], [[3.0, 9.0]]])
    >>> found = over_ladder(evidence, np.zeros(3, int))
    >>> found.log_odds.round(1), found.probability
    (array([ 2.5, -2.5,  9.5]), array([1., 1., 1.]))
    """
    known = np.asarray(~np.isnan(log_evidence).any(axis=(1, 2)))
    some = np.maximum(log_evidence[known], _LOWEST)
    spread = _spread(some) if known.any() else _Spread(0.0, 0.0)
    evidence = np.full(log_evidence.shape[:2], np.nan)
    evidence[known] = _spread_over(some, spread)
    odds, chance = np.full((2, len(known)), np.nan)
    _, count, _ = log_evidence.shape
    odds[known] = log_odds(evidence[known], _share(_log_mean(evidence[known])))
    own = np.take_along_axis(evidence, templates[:, None], axis=1)[:, 0]
    chance[known] = np.exp(own - _log_mean(evidence) - math.log(count))[known]
    return Found(odds, evidence, chance)


_SCATTERS = 0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6
"""Of ln of particles' amplitudes, that are tried: of equal ones a place with a faint
signal is empty, of ones that scatter it may hold a faint particle."""
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(9)
_LOWEST = -1e6  # of ln L: where no mode was followed
_FINER = 0.5, 0.25, 0.125, 0.125  # of a step between two amplitudes
_MOST = 2000  # places, evenly spread, that the spread is estimated from


class _Spread(NamedTuple):
    """The amplitudes of particles: normal in their logarithm."""

    step: float
    """The middle, as a place between those of the ladder."""
    scatter: float


def _spread(values: Array) -> _Spread:
    """Return the spread by which all places together are the most likely.

    By its middle and its width in turns, ever finer.
    """
    some = values[:: 1 + (len(values) - 1) // _MOST]
    last = values.shape[-1] - 1
    likelihood = partial(_likelihood, some)
    found, near = _Spread(0.0, _SCATTERS[4]), np.arange(last + 1.0)
    for fineness in _FINER:
        steps = [found._replace(step=float(each)) for each in np.clip(near, 0, last)]
        found = max(steps, key=likelihood)
        found = max((found._replace(scatter=e) for e in _SCATTERS), key=likelihood)
        near = found.step + np.linspace(-2, 2, 9) * fineness
    return found


def _likelihood(values: Array, spread: _Spread) -> float:
    return _fit(_log_mean(_spread_over(values, spread)))


def _spread_over(values: Array, spread: _Spread) -> Array:
    """Return the evidence (n, m), from that at the ladder's amplitudes."""
    last = values.shape[-1] - 1
    steps = spread.step + spread.scatter / math.log(_RATIO) * _NODES
    terms = np.stack([_between(values, np.clip(each, 0, last)) for each in steps], -1)
    return np.asarray(
        scipy.special.logsumexp(terms, axis=-1, b=_WEIGHTS / _WEIGHTS.sum())
    )


def _between(values: Array, step: float) -> Array:
    """Return values between those of the ladder, by the parabola through three.

    It is one in the amplitude, as ln L of a pose is.
    """
    count = min(3, values.shape[-1])
    first = min(max(round(step) - 1, 0), values.shape[-1] - count)
    nodes = _RATIO ** np.arange(first, first + count)
    at = _RATIO**step
    total = np.zeros(values.shape[:-1])
    for i, node in enumerate(nodes):  # Lagrange's formula
        others = np.delete(nodes, i)
        part = float(np.prod((at - others) / (node - others)))
        total += part * values[..., first + i]
    return total


def _fit(evidence: Array) -> float:
    """Return ln of the likelihood of all places together, of the best share."""
    share = _share(evidence)
    return float(np.logaddexp(math.log(share) + evidence, math.log1p(-share)).sum())


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
    return -_fit(_log_mean(found.log_evidence))


def _share(evidence: Array) -> float:
    """Return the share of places that hold a particle, never quite 0 or 1."""
    share = 0.5
    for _ in range(_EM_STEPS):
        odds = evidence + math.log(share) - math.log1p(-share)
        share = float((scipy.special.expit(odds).sum() + 0.5) / (len(odds) + 1))
    return share
