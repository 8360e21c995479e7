"""What the data themselves say of their noise, and of what they lack of a template.

Of particles at their best poses, D the data moved back onto the template T, all by
shells of |k|:

- The *fall-off* g, shared by the particles of a job: D ≈ a g T with an amplitude a for
  each. It is 1 where the template is like the data, less where they are blurred against
  it, more where it is against them.
- The noise's variance s², what is left of D then. The power of the data is no measure
  of it: where particles are bright it is theirs.

The likelihood's score has the template g T and the weights W / s². That is the score
as it stands of the data F / g with the weights W g² / s².

Noise that depends on the place, as of neighbours beyond the particle's outline, is less
inside it than the power of its waves says. Probes that lie where the template does,
its derivatives at other rotations, tell how much less.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.engine.gauss_newton import Poses, Spectra
from funpipe.engine.shells import each_shell, noise_of, per_shell, shell_edges
from funpipe.engine.spectra import Fields, sample

__all__ = ["Believed", "believe", "believed", "local_noise"]

Array: TypeAlias = NDArray[Any]

_PROBED = 12  # rotations at which the noise is probed
_PRIOR = 4.0  # probes that noise alike everywhere counts for
_FAINTEST = 1e-3  # of the largest fall-off
_TINY = 1e-30


class Believed(NamedTuple):
    """How much of the data to believe, by waves."""

    fall: NDArray[np.float64]
    """(N,), g, its mean weighted by the template's power 1; 0 where there is none."""
    noise: NDArray[np.float64]
    """(N,), s², relative."""


class _Products(NamedTuple):
    """Particles against the template at their poses, (Q, S) but for the first two."""

    T: Array
    D: Array
    norms: Array
    overlaps: Array
    powers: Array
    counts: Array


def believed(poses: Poses, spectra: Spectra, fields: tuple[Fields, ...]) -> Believed:
    """Return the fall-off and the noise of particles at their best poses.

    A hundred particles or two of a job suffice. A shell in which the template is not
    seen above twice its own error has a fall-off of 0.

    Parameters
    ----------
    poses : Poses
        One of each particle.
    spectra : Spectra
        The particles, waves in the order of rising |k|; W what was measured, without
        weights for noise.
    fields : tuple of Fields
        The templates.
    """
    edges = shell_edges(spectra.k)
    found = [_products(part, spectra, fields, edges) for part in _parts(poses)]
    norms, overlaps, powers, counts = (
        np.concatenate(each) for each in list(zip(*found, strict=True))[2:]
    )
    a = overlaps.sum(axis=1) / np.maximum(norms.sum(axis=1), _TINY)
    a = np.maximum(a, 0)[:, None]
    seen = (a**2 * norms).sum(axis=0)
    fall = (a * overlaps).sum(axis=0) / np.maximum(seen, _TINY)
    left = powers - 2 * a * fall * overlaps + (a * fall) ** 2 * norms
    # Each particle counts alike, whatever its own noise is.
    own = np.maximum(noise_of(norms, overlaps, powers, counts).mean(axis=1), _TINY)
    per_number = left / own[:, None] / np.maximum(2 * counts.sum(axis=0), 1)
    noise = np.maximum(per_number.sum(axis=0), _TINY)
    error = np.sqrt(noise * own.mean() / np.maximum(seen, _TINY))
    fall = np.where(fall > 2 * error, fall, 0)
    shell = each_shell(edges)
    return Believed(fall[shell], noise[shell])


def believe(spectra: Spectra, by: Believed) -> Spectra:
    """Return F / g and W g² / s², W at most 1 for each particle.

    Examples
    --------
    >>> one = Spectra(np.zeros((2, 3)), np.ones((1, 2)), np.ones((1, 2)))
    >>> believe(one, Believed(np.array([1, 0.5]), np.array([1, 1]))).W
    array([[1.  , 0.25]], dtype=float32)
    """
    there = by.fall > _FAINTEST * by.fall.max(initial=0)
    fall = np.where(there, by.fall, 1)
    weights = np.where(there, fall**2 / by.noise, 0)
    W = spectra.W * weights
    largest = W.max(axis=1, keepdims=True)
    return Spectra(
        spectra.k,
        (spectra.F / fall).astype(np.complex64),
        (W / np.where(largest > 0, largest, 1)).astype(np.float32),
    )


def local_noise(
    poses: Poses, spectra: Spectra, fields: tuple[Fields, ...]
) -> NDArray[np.float64]:
    """Return the noise's variance where the template lies, against that of its waves.

    Of what the best amplitude of each shell leaves of the data, products with the
    template's derivatives at some fixed rotations are taken. Their squares are
    compared with what noise of the same spectrum, alike everywhere, would give.

    Parameters
    ----------
    poses : Poses
        The best.
    spectra : Spectra
        The particles, waves in the order of rising |k|.
    fields : tuple of Fields
        The templates.

    Returns
    -------
    (Q, 2) array
        Factors of the variances of `funpipe.engine.gauss_newton.climb`, of rotations
        and of shifts. Each comes from few numbers: alone it is good to a quarter, the
        mean over particles to much better. They tell correlated waves as well: to
        climbs they take the place of its ``correlation``.
    """
    edges = shell_edges(spectra.k)
    factors = np.ones((len(poses.particle), 2))
    for template in np.unique(poses.template):
        probes = _probes(fields[template], spectra.k)
        which = np.flatnonzero(poses.template == template)
        for part in np.array_split(which, 1 + (len(which) - 1) // 32):
            some = _products(poses.take(part), spectra, fields, edges)
            ratio = _probed(some, spectra.W[poses.particle[part]], probes, edges)
            for i, each in enumerate(np.split(ratio, 2, axis=1)):
                total = np.where(np.isfinite(each), each, 1).sum(axis=1) + _PRIOR
                factors[part, i] = total / (each.shape[1] + _PRIOR)
    return factors


def _parts(poses: Poses) -> list[Poses]:
    """Return poses of one template each, a few at a time."""
    return [
        poses.take(part)
        for template in np.unique(poses.template)
        for which in [np.flatnonzero(poses.template == template)]
        for part in np.array_split(which, 1 + (len(which) - 1) // 32)
    ]


def _products(
    poses: Poses, spectra: Spectra, fields: tuple[Fields, ...], edges: Array
) -> _Products:
    """Return particles against one template."""
    k, W = spectra.k, spectra.W[poses.particle]
    T = sample(np.matmul(k, poses.R), fields[poses.template[0]], 1)
    T = T.reshape(len(W), -1)
    turn = np.exp(2j * np.pi * (poses.t @ k.T)).astype(np.complex64)
    D = spectra.F[poses.particle] * turn
    return _Products(
        T,
        D,
        per_shell(W * _square(T), edges).astype(np.float64),
        per_shell(W * (T.real * D.real + T.imag * D.imag), edges).astype(np.float64),
        per_shell(W * _square(D), edges).astype(np.float64),
        per_shell((W > 0).astype(np.int64), edges),
    )


def _square(values: Array) -> Array:
    return values.real**2 + values.imag**2


def _probes(field: Fields, k: Array) -> NDArray[np.complex64]:
    """Return the template's derivatives by rotation, then by shift, (6 r, N)."""
    from scipy.spatial.transform import Rotation

    turned = [
        sample(np.matmul(k, each.astype(np.float32)), field).T
        for each in Rotation.random(_PROBED, rng=0).as_matrix()
    ]
    by_turn = np.concatenate([each[1:] for each in turned])
    by_shift = np.concatenate([each[:1] * (-2j * np.pi * k.T) for each in turned])
    return np.concatenate([by_turn, by_shift]).astype(np.complex64)


def _probed(some: _Products, W: Array, probes: Array, edges: Array) -> Array:
    """Return squares of products with probes against those expected, (Q, 6 r)."""
    noise = noise_of(some.norms, some.overlaps, some.powers, some.counts)
    shell = each_shell(edges)
    b = some.overlaps / np.maximum(some.norms, _TINY)
    left = (W * (some.D - b[:, shell] * some.T)).astype(np.complex64)
    products = _real(left) @ _real(probes).T
    expected = (W * noise[:, shell]) @ _square(probes).T
    weighted = (W * some.T).astype(np.complex64)
    for i in range(len(edges) - 1):  # what lies along T was fitted
        part = slice(edges[i], edges[i + 1])
        along = _real(weighted[:, part]) @ _real(probes[:, part]).T
        expected -= (
            noise[:, i, None] * along**2 / np.maximum(some.norms[:, i, None], _TINY)
        )
    return products.astype(np.float64) ** 2 / np.maximum(expected, _TINY)


def _real(values: Array) -> Array:
    """Return real and imaginary parts side by side."""
    return np.ascontiguousarray(values).view(np.float32)
