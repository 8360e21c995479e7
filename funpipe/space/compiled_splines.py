"""Cubic splines, compiled by numba (extra ``fast``), see `funpipe.space.splines`.

A spline's coefficients come from two passes of a recursion along each axis, of the pole
√3 − 2 (M. Unser, A. Aldroubi, M. Eden, IEEE Trans. Signal Process. 41, 834, 1993). It
runs along whole planes at once. Beyond its faces the image is mirrored about its first
and its last voxel.
"""

from __future__ import annotations

import math
from functools import partial, reduce
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from funpipe.space.compiled import ORDER, compiled, compiled_within

__all__ = ["prefiltered", "splined"]

_POLE = math.sqrt(3) - 2
_GAIN = (1 - _POLE) * (1 - 1 / _POLE)
_HORIZON = 20  # voxels, of which the last has a part of 4e-12 in the first coefficient


@compiled
def prefiltered(values: Any) -> None:
    """Turn an image, contiguous and of single precision, into its coefficients."""
    size_z, size_y, size_x = values.shape
    _filter_rows(values.reshape(size_z, size_y * size_x))
    turned = np.empty((size_x, size_y), np.float32)
    for z in range(size_z):
        _filter_rows(values[z])
        for y in range(size_y):
            for x in range(size_x):
                turned[x, y] = values[z, y, x]
        _filter_rows(turned)
        for y in range(size_y):
            for x in range(size_x):
                values[z, y, x] = turned[x, y]


@compiled_within
def _filter_rows(rows: Any) -> None:
    """Filter along the first axis of (n, m), in place."""
    count, width = rows.shape
    if count < 2:
        return
    pole, gain = np.float32(_POLE), np.float32(_GAIN)
    first = np.zeros(width, np.float32)
    period = 2 * (count - 1)
    whole = count <= _HORIZON
    for i in range(count if whole else _HORIZON):
        part = _POLE**i
        if whole:
            if 0 < i < count - 1:
                part += _POLE ** (period - i)
            part /= 1 - _POLE**period
        weight = np.float32(part)
        for j in range(width):
            first[j] += weight * rows[i, j]
    for j in range(width):
        rows[0, j] = gain * first[j]
    for i in range(1, count):
        for j in range(width):
            rows[i, j] = gain * rows[i, j] + pole * rows[i - 1, j]
    last = np.float32(_POLE / (_POLE * _POLE - 1))
    for j in range(width):
        rows[count - 1, j] = last * (rows[count - 1, j] + pole * rows[count - 2, j])
    for i in range(count - 2, -1, -1):
        for j in range(width):
            rows[i, j] = pole * (rows[i + 1, j] - rows[i, j])


@compiled
def splined(coefficients: Any, turn: Any, corner: Any, image: Any) -> None:
    """Set an image to a cubic spline at ``corner + turn @ index``.

    As `scipy.ndimage.affine_transform` does, of mode ``mirror`` and without prefilter.
    """
    size_z, size_y, size_x = coefficients.shape
    flat = coefficients.reshape(-1)
    row, out = np.uint64(size_x), np.uint64(size_y * size_x)
    for a in range(image.shape[0]):
        for b in range(image.shape[1]):
            for c in range(image.shape[2]):
                z = corner[0] + turn[0, 0] * a + turn[0, 1] * b + turn[0, 2] * c
                y = corner[1] + turn[1, 0] * a + turn[1, 1] * b + turn[1, 2] * c
                x = corner[2] + turn[2, 0] * a + turn[2, 1] * b + turn[2, 2] * c
                floor_z, floor_y, floor_x = np.floor(z), np.floor(y), np.floor(x)
                i, j, k = int(floor_z) - 1, int(floor_y) - 1, int(floor_x) - 1
                beyond = i + 4 > size_z or j + 4 > size_y or k + 4 > size_x
                if i < 0 or j < 0 or k < 0 or beyond:
                    image[a, b, c] = _mirrored(coefficients, (z, y, x))
                    continue
                # Unsigned, or the index would be looked at for being negative.
                n = np.uint64(i) * out + np.uint64(j) * row + np.uint64(k)
                weights = _weights(z - floor_z), _weights(y - floor_y)
                along = _weights(x - floor_x)
                image[a, b, c] = _weighted(flat, n, (out, row), weights, along)


def _four_by_four(
    context: Any, flat: Any, first: Any, steps: Any, across: Any, along: Any
) -> Any:
    """Compute Σ w_i v_j u_k flat[first + steps · (i, j) + k], each of four terms.

    Four neighbours along k at once, by instructions for vectors: LLVM does not find
    them in the same written as loops.
    """
    return types.float32(flat, first, steps, across, along), _four_at_once


def _four_at_once(context: Any, builder: Any, signature: Any, given: Any) -> Any:
    flat, first, steps, across, along = given
    four, word = ir.VectorType(ir.FloatType(), 4), ir.IntType(32)
    data = context.make_array(signature.args[0])(context, builder, flat).data
    data = builder.ptrtoint(data, first.type)

    def parts(of: Any, *where: int) -> list[Any]:
        return [builder.extract_value(of, (*where, i)) for i in range(4)]

    def weighed(weight: Any, values: Any, so_far: Any) -> Any:
        same = ir.Constant(four, ir.Undefined)
        for i in range(4):
            same = builder.insert_element(same, weight, word(i))
        part = builder.fmul(same, values, flags=ORDER)
        return part if so_far is None else builder.fadd(so_far, part, flags=ORDER)

    whole = None
    for weight in parts(across, 0):
        line, at = None, first
        for part in parts(across, 1):
            place = builder.add(data, builder.shl(at, at.type(2)))  # of four bytes
            values = builder.load(builder.inttoptr(place, four.as_pointer()), align=4)
            line = weighed(part, values, line)
            at = builder.add(at, builder.extract_value(steps, 1))
        whole = weighed(weight, line, whole)
        first = builder.add(first, builder.extract_value(steps, 0))
    terms = [
        builder.fmul(part, builder.extract_element(whole, word(i)), flags=ORDER)
        for i, part in enumerate(parts(along))
    ]
    return reduce(partial(builder.fadd, flags=ORDER), terms)


_weighted: Any = intrinsic(_four_by_four)


@compiled_within
def _weights(t: Any) -> Any:
    """Return what four coefficients around a place count for."""
    t = np.float32(t)
    u = np.float32(1) - t
    sixth, three, four = np.float32(1 / 6), np.float32(3), np.float32(4)
    near = (four - three * t * t * (np.float32(1) + u)) * sixth
    far = (four - three * u * u * (np.float32(1) + t)) * sixth
    return u * u * u * sixth, near, far, t * t * t * sixth


@compiled_within
def _mirrored(coefficients: Any, where: Any) -> Any:
    """Return the spline at a place whose coefficients are partly beyond a face."""
    weights = np.empty((3, 4), np.float32)
    places = np.empty((3, 4), np.intp)
    for axis in range(3):
        first = int(np.floor(where[axis]))
        found = _weights(where[axis] - first)
        size = coefficients.shape[axis]
        for i in range(4):
            weights[axis, i] = found[i]
            place = first - 1 + i
            if place < 0 or place >= size:
                period = max(1, 2 * (size - 1))
                place = abs(place) % period
                place = min(place, period - place) if size > 1 else 0
            places[axis, i] = place
    total = np.float32(0)
    for i in range(4):
        for j in range(4):
            row = coefficients[places[0, i], places[1, j]]
            along = np.float32(0)
            for k in range(4):
                along += weights[2, k] * row[places[2, k]]
            total += weights[0, i] * weights[1, j] * along
    return total
