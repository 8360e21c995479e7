"""The products of `funpipe.engine.gauss_newton`, compiled by numba (extra ``fast``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from funpipe.space.compiled import compiled

__all__ = ["products"]

_TOGETHER = 128  # waves whose sums are taken in single precision
_NONE = np.float32(0)
_TURN = np.float32(2 * np.pi)


@compiled
def products(
    T: Any, D: Any, W: Any, particle: Any, k: Any, edges: Any, gram: Any
) -> None:
    """Add to ``gram`` the products of its rows and columns, shell by shell.

    Parameters
    ----------
    T : (Q, N, 8) array of float32
        Real and imaginary parts of T, ∂T/∂ω_z, ∂T/∂ω_y, ∂T/∂ω_x.
    D : (Q, N, 2) array of float32
        Likewise.
    W : (n, N) array of float32
        Weights of particles.
    particle : (Q,) array
        Which of them each is.
    k : (N, 3) array of float32
        The waves.
    edges : (S + 1,) array
        The first wave of each shell, and the end of the last.
    gram : (Q, S, 8, 11) array of float64
        Of T, ∂T/∂ω, −2πi k T and D with the same and −2πi k D.
    """
    real = np.empty((11, _TOGETHER), np.float32)
    imaginary = np.empty((11, _TOGETHER), np.float32)
    weighted = np.empty((2, 8, _TOGETHER), np.float32)
    for q in range(len(T)):
        for s in range(len(edges) - 1):
            for start in range(edges[s], edges[s + 1], _TOGETHER):
                count = min(_TOGETHER, edges[s + 1] - start)
                for n in range(count):
                    for j in range(4):
                        real[j, n] = T[q, start + n, 2 * j]
                        imaginary[j, n] = T[q, start + n, 2 * j + 1]
                    real[7, n], imaginary[7, n] = D[q, start + n]
                for j in range(3):
                    for n in range(count):
                        rate = _TURN * k[start + n, j]
                        real[4 + j, n] = rate * imaginary[0, n]
                        imaginary[4 + j, n] = -rate * real[0, n]
                        real[8 + j, n] = rate * imaginary[7, n]
                        imaginary[8 + j, n] = -rate * real[7, n]
                for i in range(8):
                    for n in range(count):
                        w = W[particle[q], start + n]
                        weighted[0, i, n] = w * real[i, n]
                        weighted[1, i, n] = w * imaginary[i, n]
                for i in range(8):
                    for j in range(i, 11):
                        total = _NONE
                        for n in range(count):
                            total += weighted[0, i, n] * real[j, n]
                            total += weighted[1, i, n] * imaginary[j, n]
                        gram[q, s, i, j] += total
            for i in range(8):
                for j in range(i):
                    gram[q, s, i, j] = gram[q, s, j, i]
