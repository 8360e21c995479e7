"""Shells of |k|, over which noise and the template's share of the data change slowly.

Waves are in the order of rising |k|, so that a shell is a slice of them.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Shells", "each_shell", "noise_of", "per_shell", "shell_edges", "shells_of"]

Array: TypeAlias = NDArray[Any]

_THICKNESS = 0.02  # of a shell, periods per voxel
_FEWEST = 24  # waves of a shell
_PRIOR = 4.0  # numbers that the noise of all shells counts for beside a shell's own
_POSE = 6  # numbers of a pose, fitted to all shells
_TINY = 1e-30


def shell_edges(k: Array, *, fewest: int = _FEWEST) -> NDArray[np.intp]:
    """Return where shells of waves begin and end.

    Parameters
    ----------
    k : (N, 3) array
        Frequencies in the order of rising |k|, periods per voxel.
    fewest : int
        Waves of a shell; of the last there may be fewer.

    Returns
    -------
    (S + 1,) array of int
        Shell i holds the waves ``edges[i] : edges[i + 1]``. Which waves are in it
        does not depend on how far the others go.

    Examples
    --------
    >>> shell_edges(np.linspace(0.0, 0.1, 101)[:, None] * [1, 0, 0])
    array([  0,  41,  81, 101])
    """
    length = np.sqrt(np.square(k, dtype=np.float64).sum(axis=1))
    count = math.ceil(length.max(initial=0) / _THICKNESS)
    edges = [0]
    for each in np.searchsorted(length, _THICKNESS * np.arange(1, count), "right"):
        if each - edges[-1] >= fewest:
            edges.append(int(each))
    if edges[-1] == len(k):
        edges.pop()
    return np.array([*edges, len(k)])


class Shells(NamedTuple):
    """S shells as thick as waves are apart, about whole multiples of that."""

    edges: NDArray[np.intp]
    """(S + 1,), as of `shell_edges`."""
    length: NDArray[np.float64]
    """(S,), the mean |k| of each, periods per voxel."""
    ends: NDArray[np.float64]
    """(S,), the largest |k| of each."""

    def at(self, length: Array) -> NDArray[np.intp]:
        """Return the shell of any |k|."""
        return np.searchsorted(self.ends[:-1], length)


def shells_of(k: Array, period: float) -> Shells:
    """Return the shells of waves, 1 / period thick, in voxels.

    Parameters
    ----------
    k : (N, 3) array
        Frequencies in the order of rising |k|, periods per voxel.
    period : float
        Voxels.

    Examples
    --------
    >>> shells = shells_of(np.array([[1.0, 0, 0], [1, 1, 0], [2, 0, 0]]) / 8, 8.0)
    >>> shells.edges, shells.length.round(3), shells.ends
    (array([0, 2, 3]), array([0.151, 0.25 ]), array([0.1875, 0.3125]))
    """
    length = np.sqrt(np.square(k, dtype=np.float64).sum(axis=1))
    shell = np.round(length * period)
    edges = np.flatnonzero(np.diff(shell, prepend=-1, append=np.inf))
    means = per_shell(length, edges) / np.diff(edges)
    return Shells(edges, means, (shell[edges[:-1]] + 0.5) / period)


def per_shell(values: Array, edges: Array) -> Array:
    """Return the sums over shells of the last axis."""
    return np.add.reduceat(values, edges[:-1], axis=-1)


def each_shell(edges: Array) -> NDArray[np.intp]:
    """Return the shell of each wave, (N,)."""
    return np.repeat(np.arange(len(edges) - 1), np.diff(edges))


def noise_of(
    norms: Array, overlaps: Array, powers: Array, waves: Array
) -> NDArray[np.float64]:
    """Return the noise's variance by shells, from what one amplitude a shell leaves.

    With Σ over a shell, Σ W |D − b T|² is least at b = Σ W Re conj(T) D / Σ W |T|²,
    where it is Σ W |D|² − b² Σ W |T|²: of the number n of real parts less what was
    fitted times the variance. A template that is too sharp or too blurred for the
    data leaves no more than a right one. Shells of few waves lean on all of them,
    as if there were a few more numbers of the variance of the whole.

    Parameters
    ----------
    norms, overlaps, powers : (Q, S) arrays
        Σ W |T|², Σ W Re conj(T) D and Σ W |D|², by shells.
    waves : (Q, S) array
        How many waves of each count.

    Returns
    -------
    (Q, S) array
        The variance of each real part of √W times the data.

    Examples
    --------
    >>> noise_of(*np.array([[[10.0]], [[10.0]], [[60.0]], [[28.5]]]))
    array([[1.]])
    """
    left = np.maximum(powers - overlaps**2 / np.maximum(norms, _TINY), 0)
    part = waves / np.maximum(waves.sum(axis=1, keepdims=True), 1)
    numbers = np.maximum(2 * waves - 1 - _POSE * part, 0)
    # The sum of what is left over the numbers that it stands for.
    whole = left.sum(axis=1) / np.maximum(numbers.sum(axis=1), 1)
    return np.asarray((left + _PRIOR * whole[:, None]) / (numbers + _PRIOR))
