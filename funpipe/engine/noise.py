"""What the data themselves say of their noise, and of what they lack of a template.

Of particles at their best poses, D the data moved back onto the template T, all by
shells of |k|:

- The *fall-off* g, shared by the particles of a job: D ≈ a g T with an amplitude a for
  each. It is 1 where the template is like the data, less where they are blurred against
  it, more where it is against them.
- The noise's variance s², what is left of D then. The power of the data is no measure
  of it: where particles are bright it is theirs.

The likelihood's score has the template g T and the weights W / s².

Noise that depends on the place, as of neighbours beyond the particle's outline, is less
inside it than the power of its waves says. Probes that lie where the template does,
its derivatives at other rotations, tell how much less.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.engine.gauss_newton import Poses, Spectra
from funpipe.engine.settings import SETTINGS
from funpipe.engine.shells import Shells, each_shell, noise_of, per_shell, shell_edges
from funpipe.engine.spectra import Fields, sample

__all__ = ["Noise", "Sums", "believed", "local_noise", "sums"]

Array: TypeAlias = NDArray[Any]

_PROBED = 12  # rotations at which the noise is probed
_PRIOR = 4.0  # probes that noise alike everywhere counts for
_USUAL = 0.5  # by how much fall-offs may well be other than 1
_LEAST = 1e-4  # of the data's power, what the model may always lack
_TINY = 1e-30


class Noise(NamedTuple):
    """The noise's power by frequency, and the data's fall-off against the template."""

    shells: Shells
    """S of them."""
    power: NDArray[np.float64]
    """(S,), s², relative; 0 where there is none."""
    fall: NDArray[np.float64]
    """(S,), g; its mean, weighted by the template's power, is 1."""

    def weights(self, k: Array) -> NDArray[np.float64]:
        """Return 1 over the power at vectors (3, ...); 0 where there is no noise.

        Examples
        --------
        >>> from funpipe.engine.shells import shells_of
        >>> shells = shells_of(np.array([[1, 0, 0], [2, 0, 0], [3, 0, 0]]) / 8, 8.0)
        >>> noise = Noise(shells, np.array([4.0, 1.0, 0.0]), np.ones(3))
        >>> noise.weights(np.array([[1.0, 1.5, 2.0, 2.6], [0] * 4, [0] * 4]) / 8)
        array([0.25, 0.5 , 1.  , 0.  ])
        """
        length = np.sqrt(np.square(k).sum(axis=0))
        there = self.power > SETTINGS.rounding * self.power.mean()
        if not there.any():
            return np.zeros(length.shape)
        logs = np.interp(length, self.shells.length[there], np.log(self.power[there]))
        return np.where(there[self.shells.at(length)], np.exp(-logs), 0)

    def fall_off(self, k: Array) -> NDArray[np.float64]:
        """Return g at vectors (3, ...)."""
        length = np.sqrt(np.square(k).sum(axis=0))
        return np.interp(length, self.shells.length, self.fall)


class Sums(NamedTuple):
    """Particles against the template at their poses, by shells, (Q, S)."""

    norms: NDArray[np.float64]
    """Σ W |T|²."""
    overlaps: NDArray[np.float64]
    """Σ W Re conj(T) D."""
    powers: NDArray[np.float64]
    """Σ W |D|²."""
    counts: NDArray[np.int64]
    """How many waves count."""


class _Products(NamedTuple):
    """Particles against the template at their poses, T and D (Q, N)."""

    T: Array
    D: Array
    sums: Sums


def sums(
    poses: Poses, spectra: Spectra, fields: tuple[Fields, ...], edges: Array
) -> Sums:
    """Return how particles compare with the template.

    Parameters
    ----------
    poses : Poses
        One of each particle.
    spectra : Spectra
        The particles, waves in the order of rising |k|; W what was measured, without
        weights for noise.
    fields : tuple of Fields
        The templates.
    edges : (S + 1,) array of int
        Shell i holds the waves ``edges[i] : edges[i + 1]``.
    """
    found = [_products(part, spectra, fields, edges).sums for part in _parts(poses)]
    return Sums._make(map(np.concatenate, zip(*found, strict=True)))


def believed(measured: Sums, shells: Shells) -> Noise:
    """Return the noise and the fall-off of particles at their best poses.

    A hundred particles or two of a job suffice. What few of them say of a shell's
    fall-off is weighed against its being near 1.

    Parameters
    ----------
    measured : Sums
        Of the particles, one pose each.
    shells : Shells
        By which they are.
    """
    norms, overlaps, powers, counts = measured
    power = powers.sum(axis=0) / np.maximum(counts.sum(axis=0), 1)
    lacked = power <= SETTINGS.rounding * power.mean()
    norms, overlaps = (np.where(lacked, 0, each) for each in (norms, overlaps))
    a = overlaps.sum(axis=1) / np.maximum(norms.sum(axis=1), _TINY)
    a = np.maximum(a, 0)[:, None]
    seen = (a**2 * norms).sum(axis=0)
    fall = (a * overlaps).sum(axis=0) / np.maximum(seen, _TINY)
    left = powers - 2 * a * fall * overlaps + (a * fall) ** 2 * norms
    left = np.maximum(left, _LEAST * powers)
    # Each particle counts alike, whatever its own noise is.
    own = np.maximum(noise_of(norms, overlaps, powers, counts).mean(axis=1), _TINY)
    numbers = np.maximum(2 * counts.sum(axis=0), 1)
    noise = (left / own[:, None]).sum(axis=0) / numbers
    error = noise * own.mean() / np.maximum(seen, _TINY)  # squared
    usual = error / (error + _USUAL**2)
    fall = np.where(lacked, 1, np.maximum((1 - usual) * fall + usual, 0))
    noise = np.where(lacked, 0, noise)
    return Noise(shells, noise / max(noise.mean(), _TINY), fall)


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
    by_shells = Sums(
        per_shell(W * _square(T), edges).astype(np.float64),
        per_shell(W * (T.real * D.real + T.imag * D.imag), edges).astype(np.float64),
        per_shell(W * _square(D), edges).astype(np.float64),
        per_shell((W > 0).astype(np.int64), edges),
    )
    return _Products(T, D, by_shells)


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
    norms, overlaps, _, _ = some.sums
    noise = noise_of(*some.sums)
    shell = each_shell(edges)
    b = overlaps / np.maximum(norms, _TINY)
    left = (W * (some.D - b[:, shell] * some.T)).astype(np.complex64)
    products = _real(left) @ _real(probes).T
    expected = (W * noise[:, shell]) @ _square(probes).T
    weighted = (W * some.T).astype(np.complex64)
    for i in range(len(edges) - 1):  # what lies along T was fitted
        part = slice(edges[i], edges[i + 1])
        along = _real(weighted[:, part]) @ _real(probes[:, part]).T
        expected -= noise[:, i, None] * along**2 / np.maximum(norms[:, i, None], _TINY)
    return products.astype(np.float64) ** 2 / np.maximum(expected, _TINY)


def _real(values: Array) -> Array:
    """Return real and imaginary parts side by side."""
    return np.ascontiguousarray(values).view(np.float32)
