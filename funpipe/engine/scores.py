"""The scores of all poses of a search, none left out and none refined."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.engine.bank import Bank
from funpipe.engine.data import Whole
from funpipe.engine.gauss_newton import Spectra

__all__ = ["all_scores"]

Array: TypeAlias = NDArray[Any]

_TINY = 1e-30


def all_scores(
    data: Spectra, whole: Whole, bank: Bank, go_on: Callable[[], None]
) -> NDArray[np.float32]:
    """Return the scores of n particles, (n, m · r, S), see `funpipe.engine.matching`.

    Parameters
    ----------
    data, whole
        The particles.
    bank : Bank
        Of a search that is not refined: it has all waves, rotations and shifts.
    go_on : callable
        Called before each particle.
    """
    phases = 2 * np.pi * (bank.k.astype(np.float64) @ bank.shifts.T)
    # Re of a product: real parts less imaginary parts, side by side.
    waves = np.stack([np.cos(phases), -np.sin(phases)], axis=1)
    waves = waves.reshape(-1, len(bank.shifts)).astype(np.float32)
    norms = np.sqrt((data.W @ bank.power.T) * whole.power[:, None])
    found = np.empty((len(data.F), len(bank.spectra), len(bank.shifts)), np.float32)
    for i, into in enumerate(found):
        go_on()
        turned = np.conj(bank.spectra) * (data.W[i] * data.F[i])
        np.matmul(turned.view(np.float32), waves, out=into)
    found /= np.maximum(norms, _TINY)[..., None].astype(np.float32)
    found[whole.blank] = 0
    return np.clip(found, -1, 1, out=found)
