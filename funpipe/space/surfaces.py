"""Surfaces: points spread over them, and the directions away from them.

Vectors are z, y, x.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

__all__ = [
    "cloud_normals",
    "on_sphere",
    "on_triangles",
    "sphere_through",
    "spread",
    "triangle_normals",
]

Array: TypeAlias = NDArray[Any]

_AROUND = 12  # points that say how a surface lies
_LINE = 0.05  # of their spread: what is narrower is no surface


def on_sphere(count: int) -> NDArray[np.float64]:
    """Return directions spread evenly over a sphere, (count, 3), of length 1.

    They lie on Fibonacci's spiral (R. Swinbank and R. J. Purser, Q. J. R. Meteorol.
    Soc. 132, 1769, 2006).

    Examples
    --------
    >>> on_sphere(4)[:, 0]  # z
    array([ 0.75,  0.25, -0.25, -0.75])
    """
    height = 1 - (2 * np.arange(count) + 1) / count
    angle = np.pi * (1 + math.sqrt(5)) * np.arange(count)
    across = np.sqrt(1 - height**2)
    return np.stack([height, across * np.sin(angle), across * np.cos(angle)], axis=1)


def sphere_through(points: Array) -> tuple[NDArray[np.float64], float]:
    """Return the centre and radius of the sphere that fits points by least squares.

    It is |p|² = 2 p·c + (r² − |c|²), linear in c and r² − |c|². Of points in a plane it
    is no sphere: the radius is NaN.

    Examples
    --------
    >>> corners = np.array([[0.0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 2]])
    >>> centre, radius = sphere_through(corners)
    >>> centre.round(6), round(radius, 6)
    (array([1., 1., 1.]), 1.732051)
    """
    middle = points.mean(axis=0)
    rest = points - middle
    matrix = np.column_stack([2 * rest, np.ones(len(rest))])
    found, _, rank, _ = np.linalg.lstsq(matrix, (rest**2).sum(axis=1), rcond=1e-6)
    radius = math.sqrt(found[3] + found[:3] @ found[:3]) if rank == 4 else math.nan
    return middle + found[:3], radius


def triangle_normals(corners: Array) -> NDArray[np.float64]:
    """Return normals of triangles (m, 3, 3), as long as twice their areas, (m, 3).

    They point to where corners go round counter-clockwise in x, y, z.
    """
    a, b, c = np.moveaxis(corners, 1, 0)
    return np.asarray(-np.cross(b - a, c - a))


def on_triangles(corners: Array, step: float) -> tuple[Array, NDArray[np.intp]]:
    """Return points that cover triangles, a step or less apart, and whose they are."""
    edges = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)
    counts = np.maximum(1, np.ceil(edges / step)).astype(int)
    points, owner = [], []
    for count in np.unique(counts):
        some = np.flatnonzero(counts == count)
        i, j = np.mgrid[: count + 1, : count + 1].reshape(2, -1)
        inside = i + j <= count
        parts = np.stack([i, j, count - i - j])[:, inside] / count
        points.append(np.einsum("kp,mkc->mpc", parts, corners[some]).reshape(-1, 3))
        owner.append(np.repeat(some, inside.sum()))
    return np.concatenate(points), np.concatenate(owner)


def spread(points: Array, spacing: float) -> NDArray[np.intp]:
    """Return which of points stay so that no two are nearer than a spacing.

    The first stays, then, by their distance from it, each that is not too near to one
    that stays: of the others each is nearer than the spacing to one.

    Examples
    --------
    >>> spread(np.array([[0.0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 0, 5]]), 2.0)
    array([0, 2, 3])
    """
    tree = scipy.spatial.KDTree(points)
    away = np.linalg.norm(points - points[0], axis=1)
    open_ = np.ones(len(points), bool)
    kept = []
    for i in np.lexsort([np.arange(len(points)), away.round(9)]):
        if open_[i]:
            kept.append(i)
            near = np.array(tree.query_ball_point(points[i], spacing))
            distance = np.linalg.norm(points[near] - points[i], axis=1)
            open_[near[distance < spacing * (1 - 1e-9)]] = False
    return np.sort(np.array(kept, np.intp))


def cloud_normals(points: Array) -> NDArray[np.float64]:
    """Return normals of a surface at points that lie on it, (n, 3), all to one side.

    At each it is the direction across which the twelve nearest points vary least.
    Neighbours have theirs to one side, from the point on that is farthest from the
    middle of all, whose normal points away from there. Where points lie on a line the
    normal is NaN.
    """
    count = min(_AROUND, len(points))
    near = scipy.spatial.KDTree(points).query(points, k=count)[1].reshape(-1, count)
    around = points[near] - points[near].mean(axis=1, keepdims=True)
    _, sizes, axes = np.linalg.svd(around, full_matrices=False)
    normals = axes[:, -1].copy()
    if count < 3:
        return np.full_like(points, np.nan)
    normals[sizes[:, 1] < _LINE * sizes[:, 0]] = np.nan
    away = points - points.mean(axis=0)
    first = int(np.argmax((away**2).sum(axis=1)))
    rows = np.repeat(np.arange(len(points)), count)
    unlike = 1 - np.abs((normals[rows] * normals[near.ravel()]).sum(axis=1))
    graph = scipy.sparse.coo_array(
        (np.nan_to_num(unlike, nan=1.0) + 1e-6, (rows, near.ravel())),
        shape=(len(points),) * 2,
    )
    tree = scipy.sparse.csgraph.minimum_spanning_tree(graph.tocsr())
    for start in _one_of_each(tree, first):
        normals[start] *= np.sign(normals[start] @ away[start]) or 1.0
        order, before = scipy.sparse.csgraph.breadth_first_order(
            tree, start, directed=False
        )
        for i in order[1:]:
            if normals[i] @ normals[before[i]] < 0:
                normals[i] *= -1
    return np.asarray(normals)


def _one_of_each(tree: Any, first: int) -> list[int]:
    """Return a point of each connected part of a graph, one of them the first."""
    _, part = scipy.sparse.csgraph.connected_components(tree, directed=False)
    starts = np.unique(part, return_index=True)[1]
    starts[part[first]] = first
    return [int(each) for each in starts]
