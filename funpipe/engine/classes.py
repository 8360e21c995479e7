"""Classes of particles at poses that are known: references, evidence, where to start.

A particle of class k is, at its waves (`funpipe.engine.data`),

    F = a · T_k + noise,    T_k = T + Δ_k,

T the average of all, Δ_k by how much the class differs, 0 outside the mask of what may
differ. With weights W, each shell's over the noise there, ln of the likelihood of each
class is that of `funpipe.engine.posterior`, at one pose.

*No particle is compared with itself.* An average of few noisy particles is like each of
them by its own noise: by as much as the average has numbers that are fitted, over its
particles, which soon is more than what classes differ by, and then nothing moves any
more. So particles are dealt into folds, and those of a fold are compared with what the
others say (cross-validation).

*References.* T is the mean of all by Wiener's filter, S / (Q + σ² / τ²), S = Σ W F and
Q = Σ W; σ² is the noise's power in a shell, and τ² the signal's, by how much more
power S has than noise gives it. Δ_k is that of a signal of β τ².

*Without references* classes are where the particles' differences from the average
scatter the most: D = W (F − a T), the missing wedge of each taken out of the average
before, each shell by τ / σ², which is the best for a signal of the power τ² much below
the noise's. D_i · D_j shows no noise where i ≠ j; the leading eigenvectors of that
matrix, its diagonal left out, are clustered.

Sources: maximum likelihood by expectation maximisation over classes, S. Scheres,
J. Mol. Biol. 415, 406, 2012; differences corrected for the missing wedge,
J. Heumann, A. Hoenger, D. Mastronarde, J. Struct. Biol. 175, 288, 2011; the diagonal
left out, A. Zhang, T. Cai, Y. Wu, Ann. Stat. 50, 53, 2022.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.engine.amplitude import LADDER
from funpipe.engine.data import waves_of
from funpipe.engine.posterior import log_likelihood
from funpipe.engine.shells import each_shell, per_shell, shells_of
from funpipe.space.crops import Crops, Support, window_power
from funpipe.space.fourier import half_ball
from funpipe.space.geometry import centre
from funpipe.space.tilts import Tilt

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = [
    "FOLDS",
    "Lattice",
    "Measured",
    "Spectrum",
    "Sums",
    "class_sums",
    "evidence",
    "lattice_of",
    "masked_waves",
    "measured_waves",
    "part_of_average",
    "probabilities",
    "references",
    "scaled",
    "scattered",
    "spectrum_of",
    "to_image",
    "to_waves",
]

Array: TypeAlias = NDArray[Any]

FOLDS = 5
"""Of particles. More: averages of nearly all of them, and as many more to be made."""
_DIFFER = 0.2  # β
_TINY = 1e-30
_BLOCK = 2**25  # bytes of particles' waves that are worked on at a time


class Lattice(NamedTuple):
    """The waves of boxes inside a resolution."""

    waves: NDArray[np.int64]
    """(N, 3), whole periods a box, in the order of rising |k|."""
    support: Support
    """What of a subtomogram counts; its periods are the box."""
    edges: NDArray[np.intp]
    """(S + 1,), shells of |k|."""
    compiled: bool
    """Whether what takes the most time is compiled."""

    @property
    def k(self) -> NDArray[np.float32]:
        """(N, 3), periods per voxel."""
        return (self.waves / np.array(self.support.box)).astype(np.float32)


class Measured(NamedTuple):
    """What n particles are at N waves."""

    WF: NDArray[np.complex64]
    """(n, N), their weighted transforms, in their own frames."""
    W: NDArray[np.float32]
    """(n, N), how far each wave was measured, 1 at the most."""
    power: NDArray[np.float64]
    """(n, S), Σ W |F|² by shells."""
    counts: NDArray[np.float64]
    """(n, S), how many waves were measured."""
    each: NDArray[np.float64]
    """(n,), how many independent waves each is, 1 or less."""

    def take(self, chosen: Any) -> Measured:
        """Return some of them."""
        return Measured(*(each[chosen] for each in self))


class Sums(NamedTuple):
    """Sums over particles of some weight, of any leading shape."""

    S: NDArray[np.complex128]
    """(..., N), Σ W F."""
    Q: NDArray[np.float64]
    """(..., N), Σ W."""


class Spectrum(NamedTuple):
    """The power of noise and of signal at each wave."""

    noise: NDArray[np.float64]
    """(N,), σ²."""
    signal: NDArray[np.float64]
    """(N,), τ²."""


def lattice_of(support: Support, finest: float, *, compiled: bool) -> Lattice:
    """Return the waves of a support's box with periods of so many voxels or more."""
    box = support.box
    waves = half_ball(box, finest)
    k = waves / np.array(box)
    order = np.argsort(np.square(k).sum(axis=1), kind="stable")
    edges = shells_of(k[order], float(max(box))).edges
    return Lattice(waves[order], support, edges, compiled)


def measured_waves(
    crops: Crops, orientations: Rotation, tilt: Tilt, lattice: Lattice
) -> Measured:
    """Return what particles are at the waves of a lattice."""
    data = waves_of(
        *(crops, orientations, tilt, lattice.k, lattice.support),
        compiled=lattice.compiled,
    )
    F, W = data.F, data.W
    of_window = window_power(crops, lattice.support) / np.prod(lattice.support.box)
    return Measured(
        W * F,
        W,
        per_shell(W * (F.real**2 + F.imag**2), lattice.edges).astype(np.float64),
        per_shell((W > 0).astype(np.float64), lattice.edges),
        np.minimum(of_window, 1.0).astype(np.float64),
    )


# Sums, and what follows from them.


def class_sums(data: Measured, weights: Array) -> Sums:
    """Return the sums over particles weighted by (n, ...)."""
    columns = weights.reshape(len(weights), -1)
    N = data.W.shape[1]
    S, Q = (
        np.zeros((columns.shape[1], N), np.complex128),
        np.zeros((columns.shape[1], N)),
    )
    for some in _blocks(data):
        by = columns[some].T.astype(np.float32)
        S += by @ data.WF[some]
        Q += by @ data.W[some]
    shape = *weights.shape[1:], N
    return Sums(S.reshape(shape), Q.reshape(shape))


def _blocks(data: Measured) -> Iterator[slice]:
    count, N = data.W.shape
    size = max(1, _BLOCK // (12 * N))
    return (slice(i, i + size) for i in range(0, count, size))


def spectrum_of(data: Measured, whole: Sums, edges: Array) -> Spectrum:
    """Return the power of noise and signal by shells, from the sums over all.

    Of E |S|² = τ² Q² + σ² Q, and of Σ W |F − S / Q|², which has the number of all waves
    less those that were fitted times σ².
    """
    S2, Q = np.square(np.abs(whole.S)), whole.Q
    fitted = per_shell((Q > 0).astype(float), edges)
    explained = per_shell(S2 / np.maximum(Q, _TINY), edges)
    left = np.maximum(data.power.sum(axis=0) - explained, 0)
    noise = left / np.maximum(data.counts.sum(axis=0) - fitted, 1)
    level = noise.max(initial=0) * 1e-6 or 1.0  # of shells without noise
    noise = np.maximum(noise, level)
    more = per_shell(S2, edges) - noise * per_shell(Q, edges)
    signal = np.maximum(more, 0) / np.maximum(per_shell(Q**2, edges), _TINY)
    shell = each_shell(edges)
    return Spectrum(noise[shell], signal[shell])


def references(
    classes: Sums, whole: Sums, spectrum: Spectrum, lattice: Lattice, mask: Any
) -> NDArray[np.complex128]:
    """Return T_k, (..., K, N), of sums (..., K, N) by class and (..., N) of all.

    ``mask``, (z, y, x) or None, is what may differ.
    """
    over = spectrum.noise / np.maximum(spectrum.signal, _TINY)
    mean = whole.S / np.maximum(whole.Q, _TINY)
    average = whole.S / (whole.Q + over)
    apart = classes.S - classes.Q * mean[..., None, :]
    apart = apart / (classes.Q + over / _DIFFER)
    if mask is not None:
        apart = masked_waves(apart, mask, lattice)
    return np.asarray(average[..., None, :] + apart)


def scaled(
    templates: Array, classes: Sums, spectrum: Spectrum, edges: Array
) -> NDArray[np.complex128]:
    """Return templates (K, N) in the grey scale of data, by sums (K, N) by class.

    Each at the amplitude that leaves the least of its class, and all with the data's
    fall-off, one number a shell.
    """
    overlap = (np.conj(templates) * classes.S).real
    norm = classes.Q * np.square(np.abs(templates))
    b = (overlap / spectrum.noise).sum(axis=1) / np.maximum(
        (norm / spectrum.noise).sum(axis=1), _TINY
    )
    b = np.maximum(b, 0)
    of_all, norms = per_shell(b @ overlap, edges), per_shell(b**2 @ norm, edges)
    fall = np.maximum(of_all, 0) / np.maximum(norms, _TINY)
    return np.asarray(templates * b[:, None] * fall[each_shell(edges)])


def part_of_average(
    templates: Array, whole: Sums, spectrum: Spectrum, lattice: Lattice, mask: Any
) -> Array:
    """Return templates (K, N) in the average of all, where the mask lets them."""
    if mask is None:
        return templates
    over = spectrum.noise / np.maximum(spectrum.signal, _TINY)
    average = whole.S / (whole.Q + over)
    return average + masked_waves(templates - average, mask, lattice)


def evidence(
    data: Measured,
    T: Array,
    fold: Array,
    spectrum: Spectrum,
    lattice: Lattice,
) -> NDArray[np.float64]:
    """Return ln of the likelihood of each class, (n, K, J), at `LADDER`'s amplitudes.

    Parameters
    ----------
    data : Measured
        n particles.
    T : (folds, K, N) array
        References, for the particles of each fold.
    fold : (n,) array
        Which those are.
    """
    n, K = len(data.W), T.shape[1]
    weight = 1 / spectrum.noise
    by_shell = weight[lattice.edges[:-1]]
    x, g = np.zeros((2, n, K))
    left = (np.conj(T) * weight).astype(np.complex64)
    power = (np.square(np.abs(T)) * weight).astype(np.float32)
    for some in _blocks(data):
        of_fold = fold[some]
        for each in np.unique(of_fold):
            rows = np.flatnonzero(of_fold == each) + some.start
            x[rows] = (data.WF[rows] @ left[each].T).real
            g[rows] = data.W[rows] @ power[each].T
    P, N = data.power @ by_shell, 2 * data.counts.sum(axis=1)
    by = data.each[:, None]
    size = float(np.mean(power.sum(axis=-1, dtype=np.float64))) * float(by.mean())
    amplitudes = LADDER / np.sqrt(max(size, _TINY))
    found, _ = log_likelihood(
        (x * by)[..., None],
        (g * by)[..., None],
        (P * data.each)[:, None, None],
        np.maximum(N * data.each, 8.0)[:, None, None],
        amplitudes,
    )
    found[P <= 0] = np.nan
    return np.asarray(found)


def probabilities(log_evidence: Array, shares: Array) -> NDArray[np.float64]:
    """Return how likely each particle is of each class, (n, K).

    Parameters
    ----------
    log_evidence : (n, K) array
        ln of the likelihood of each; NaN of particles of which nothing is known.
    shares : (K,) array
        Of the particles that are of each.

    Examples
    --------
    >>> probabilities(np.array([[0.0, np.log(3)]]), np.array([0.5, 0.5]))
    array([[0.25, 0.75]])
    """
    with np.errstate(divide="ignore"):
        logs = np.nan_to_num(log_evidence) + np.log(shares)
    return np.asarray(
        np.exp(logs - scipy.special.logsumexp(logs, axis=1, keepdims=True))
    )


# Masks.


def to_image(values: Array, lattice: Lattice) -> NDArray[np.float64]:
    """Return (..., z, y, x) of waves (..., N): real images about their box's centre."""
    box = lattice.support.box
    z, y, x = (lattice.waves % np.array(box)).T
    shifted = values * np.conj(_phases(lattice))
    grid = np.zeros((*values.shape[:-1], *box[:2], box[2] // 2 + 1), np.complex128)
    flat = lattice.waves[:, 2] == 0
    mirrored = (-lattice.waves[flat]) % np.array(box)
    grid[..., z, y, x] = shifted
    grid[..., mirrored[:, 0], mirrored[:, 1], 0] = np.conj(shifted[..., flat])
    return np.asarray(scipy.fft.irfftn(grid, s=box, axes=(-3, -2, -1)))


def to_waves(images: Array, lattice: Lattice) -> NDArray[np.complex128]:
    """Return the waves (..., N) of images (..., z, y, x) about their centre."""
    z, y, x = (lattice.waves % np.array(lattice.support.box)).T
    grid = scipy.fft.rfftn(images, axes=(-3, -2, -1))
    return np.asarray(grid[..., z, y, x] * _phases(lattice))


def masked_waves(values: Array, mask: Array, lattice: Lattice) -> Array:
    """Return the waves of the images of waves, under a mask."""
    return to_waves(to_image(values, lattice) * mask, lattice)


def _phases(lattice: Lattice) -> NDArray[np.complex128]:
    """Return exp(2πi k·c), c the centre of the box."""
    box = lattice.support.box
    return np.exp(2j * np.pi * (lattice.waves / np.array(box) @ centre(box)))


# Where to start without references.


def scattered(
    data: Measured,
    whole: Sums,
    spectrum: Spectrum,
    lattice: Lattice,
    mask: Any,
    count: int,
) -> NDArray[np.float64]:
    """Return particles' places along what they scatter most by, (n, count).

    Parameters
    ----------
    data : Measured
        The n particles.
    whole : Sums
        Over all particles.
    mask : (z, y, x) array or None
        What may differ.
    count : int
        Of directions.
    """
    over = spectrum.noise / np.maximum(spectrum.signal, _TINY)
    T = whole.S / (whole.Q + over)
    weight = 1 / spectrum.noise
    factor = np.sqrt(spectrum.signal) * weight
    inside = None if mask is None else mask > 0.01 * mask.max()
    parts = []
    for some in _blocks(data):
        WF, W = data.WF[some], data.W[some]
        x = (WF @ (np.conj(T) * weight)).real
        g = W @ (np.square(np.abs(T)) * weight)
        amplitude = x / np.maximum(g, _TINY)
        apart = (WF - amplitude[:, None] * W * T) * factor
        if inside is None:
            parts.append(apart.astype(np.complex64).view(np.float32))
        else:
            image = to_image(apart, lattice) * mask
            parts.append(image[:, inside].astype(np.float32))
    apart = np.concatenate(parts)
    products = (apart @ apart.T).astype(np.float64)
    np.fill_diagonal(products, 0)
    n = len(products)
    some_of = [max(0, n - count), n - 1]
    values, vectors = scipy.linalg.eigh(products, subset_by_index=some_of)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0)))[:, ::-1]
