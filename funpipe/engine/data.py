"""What particles are at the waves of a search, and how far each wave is believed.

A tilt series leaves of a wave the part H, real and of either sign, and there is noise
of the power N:

    F(k) = a · T_R(k) · H(k) · exp(−2πi k·t) + noise,

so that the likelihood knows F through Σ H conj(T) F / N and Σ H² |T|² / N. With F / H
in the place of F and W = H² / N these are Σ W conj(T) F and Σ W |T|², as where H is 1:
what follows need not know of H. Σ W |F|² is Σ |F|² / N then as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.engine.bank import Bank
from funpipe.engine.gauss_newton import Spectra
from funpipe.engine.settings import SETTINGS
from funpipe.engine.shells import per_shell
from funpipe.space.crops import Crops, Support, lattice, lattice_power, spectra
from funpipe.space.tilts import Tilt
from funpipe.space.transfer import measured, transfer_of

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = ["Sampled", "Whole", "sampled", "seen_by", "waves_of"]

Array: TypeAlias = NDArray[Any]


class Whole(NamedTuple):
    """What particles have at all waves of the resolution."""

    power: NDArray[np.float64]
    """(n,), Σ W |F|²."""
    blank: NDArray[np.bool_]
    """(n,), whether there is nothing in the box at the waves that count."""


def seen_by(
    boxes: Crops, orientations: Rotation, tilt: Tilt, bank: Bank
) -> tuple[Spectra, Whole]:
    """Return F and W at the bank's waves, and what all waves hold.

    W is at most 1 where a tilt leaves all of a wave or nothing.
    """
    turns = orientations.as_matrix()
    F = spectra(boxes, bank.k, bank.support, compiled=bank.compiled)
    vectors = np.einsum("nij,kj->ink", turns, bank.k)
    done = transfer_of(tilt, vectors)
    W = _over_noise(done.weight, vectors, bank)
    largest = W.max(axis=1, keepdims=True)
    largest[largest <= 0] = 1
    F, W = _undone(F, W / largest, done.amplitude, bank.power.mean(axis=0))
    k = lattice(boxes.values.shape[1:], bank.finest).T
    to_tomogram = turns @ boxes.turns.swapaxes(1, 2)
    if np.abs(to_tomogram - np.eye(3)).max() > 1e-9:
        k = np.einsum("nij,jk->ink", to_tomogram, k)
    weights = _over_noise(measured(tilt, k), k, bank)
    of_all = lattice_power(boxes, weights, bank.finest, bank.support)
    of_all = of_all / largest[:, 0]
    blank = of_all <= SETTINGS.rounding * k.shape[-1] * np.prod(bank.support.box)
    data = Spectra(bank.k, F, W.astype(np.float32))
    return data, Whole(of_all, blank)


def _undone(
    F: Array, W: Array, H: Array | None, power: Array
) -> tuple[NDArray[np.complex64], Array]:
    """Return F / H and W H²: data as if H were 1, and how far to believe them.

    H is brought to a mean square of 1 under the template's power at the first waves, so
    that a particle is as strong as one without it.
    """
    if H is None:
        return F, W
    first = W[:, : len(power)] * power
    square = (first * np.square(H[:, : len(power)])).sum(axis=1, keepdims=True)
    mean = square / np.maximum(first.sum(axis=1, keepdims=True), 1e-30)
    mean[mean <= 0] = 1
    H = H / np.sqrt(mean)
    return (F / H).astype(np.complex64), W * np.square(H)


def _over_noise(W: Array, vectors: Array, bank: Bank) -> Array:
    """Return weights over the noise's power, at vectors (3, ...)."""
    return W if bank.noise is None else W * bank.noise.weights(vectors)


class Sampled(NamedTuple):
    """What a sample's particles are."""

    data: Spectra
    """With W at most 1 for each, where a tilt leaves all of a wave or nothing."""
    power: Array
    """Σ |F|² by shells, for each wave that was measured."""


def sampled(
    crops: Crops,
    orientations: Rotation,
    tilt: Tilt,
    bank: Bank,
    k: Array,
    edges: Array,
) -> Sampled:
    """Return a sample's particles at waves k, (N, 3), in shells with these edges."""
    vectors = np.einsum("nij,kj->ink", orientations.as_matrix(), k)
    F = spectra(crops, k, bank.support, compiled=bank.compiled)
    done = transfer_of(tilt, vectors)
    weight = _at_most_1(done.weight)
    power = _shell_power(F, weight, edges)
    F, W = _undone(F, weight, done.amplitude, np.ones(len(k)))
    return Sampled(Spectra(k, F, W.astype(np.float32)), power)


def waves_of(
    crops: Crops,
    orientations: Rotation,
    tilt: Tilt,
    k: Array,
    support: Support,
    *,
    compiled: bool = False,
) -> Spectra:
    """Return F and W of particles at any waves k, (N, 3), W at most 1 for each."""
    vectors = np.einsum("nij,kj->ink", orientations.as_matrix(), k)
    F = spectra(crops, k, support, compiled=compiled)
    done = transfer_of(tilt, vectors)
    F, W = _undone(F, _at_most_1(done.weight), done.amplitude, np.ones(len(k)))
    return Spectra(k, F, W.astype(np.float32))


def _at_most_1(W: Array) -> NDArray[np.float32]:
    largest = W.max(axis=1, keepdims=True)
    return (W / np.where(largest > 0, largest, 1)).astype(np.float32)


def _shell_power(F: Array, W: Array, edges: Array) -> NDArray[np.float64]:
    """Return the particles' power by shells, summed up."""
    power = per_shell(W * (F.real**2 + F.imag**2), edges)
    counted = per_shell(W, edges).astype(np.float64)
    return np.asarray((power / np.maximum(counted, 1e-30)).sum(axis=0))
