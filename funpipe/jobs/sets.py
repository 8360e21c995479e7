"""Sets of particles made from others: fewer, more, or with what is around each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.algebra.verbs import verb
from funpipe.base import arguments as check
from funpipe.base.molecules import Molecules, as_molecules
from funpipe.base.wording import fail, listed
from funpipe.jobs.clustering import (
    best_apart,
    check_apart,
    near_pairs,
    of_each,
    tomogram_numbers,
)
from funpipe.space.symmetry import symmetry_group

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = ["distinct", "neighbours", "random_rotations", "symmetry_expand"]

Array: TypeAlias = NDArray[Any]


@verb
def distinct(
    molecules: Any,
    *,
    distance: float,
    score: str = "score",
    tomogram_feature: str = "tomogram",
) -> Molecules:
    """Return the particles without those too near to a better one.

    The best one stays, those near to it go, then the best of the rest stays, and so on:
    of those that stay no two of one tomogram are as near, and each that goes is near to
    a better one that stays.

    Parameters
    ----------
    molecules : Molecules, or an object with .pos and .rotator
        The particles.
    distance : float
        In nm: particles no farther apart are too near.
    score : str
        The feature that says which is better, the higher; NaN is the worst, and of
        equal ones the first is better.
    tomogram_feature : str
        The feature that names each particle's tomogram; without a feature "tomogram"
        all lie in one.

    Returns
    -------
    Molecules
        In the order they have.

    Raises
    ------
    TypeError, ValueError
        If the distance is not above 0, or there are no such features.

    Examples
    --------
    >>> picks = Molecules([[0, 0, 0], [0, 0, 1], [0, 0, 2]])
    >>> distinct(picks.with_features(score=[1, 2, 3]), distance=1.5).positions
    array([[0., 0., 0.],
           [0., 0., 2.]])
    """
    particles = as_molecules("molecules", molecules)
    reach = check.positive("distance", distance)
    values = _scores(particles, score)
    tomograms = tomogram_numbers(particles, tomogram_feature)
    pairs = near_pairs(particles.positions, tomograms, reach)
    return particles[best_apart(values, pairs)]


def _scores(molecules: Molecules, name: Any) -> Array:
    if not isinstance(name, str) or name not in molecules.features:
        there = listed(molecules.features) or "none"
        fail("score", f"a feature that there is, {there}", name)
    values = molecules.features[name]
    if values.dtype.kind == "U":
        fail("score", "a feature of numbers, not texts", name)
    return values.astype(np.float64)


@verb
def symmetry_expand(molecules: Any, symmetry: str = "C1") -> Molecules:
    """Return each particle turned by every rotation of a group, about its own axes.

    A template of that symmetry looks the same in each; of a part of it that has none,
    each copy is another one.

    Parameters
    ----------
    molecules : Molecules, (n, 3) array, or an object with .pos and .rotator
        The particles, turned so that the group's axis is the template's z.
    symmetry : str
        C1, C2, …, D1, D2, …, T, O or I, about z as `symmetrize` has it.

    Returns
    -------
    Molecules
        The copies of the first particle, then those of the next, each with its
        features and ``copy_of``, the number of the particle from 0, or what that
        feature is already. Copies of one particle belong into one half, also once they
        are moved: ``halves(..., together="copy_of")``.

    Raises
    ------
    TypeError, ValueError
        If there is no such group.

    Examples
    --------
    >>> picks = Molecules([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    >>> symmetry_expand(picks, "C3")
    Molecules(6 particles, features: copy_of)
    """
    particles = as_molecules("molecules", molecules)
    group = symmetry_group(check.symmetry("symmetry", symmetry))
    of = np.repeat(np.arange(len(particles)), len(group))
    copies = particles[of]
    if len(copies):
        copies = copies.rotate(_tiled(group, len(particles)), frame="particle")
    return copies.with_features(copy_of=copies.features.get("copy_of", of))


def _tiled(group: Rotation, times: int) -> Rotation:
    return group[np.tile(np.arange(len(group)), times)]


@verb
def random_rotations(molecules: Any, *, about: Any = None, seed: int = 0) -> Molecules:
    """Turn each particle at random, all ways alike or about an axis of its own.

    To begin a refinement without what orientations may have brought along: without any,
    or with the one thing that is known, as that particles stand on a membrane.

    Parameters
    ----------
    molecules : Molecules, (n, 3) array, or an object with .pos and .rotator
        The particles.
    about : (float, float, float), optional
        The axis, z, y, x of each particle's frame; of any length. By default rotations
        are uniform over all there are.
    seed : int
        Another one turns otherwise.

    Returns
    -------
    Molecules
        At their places, with their features.

    Raises
    ------
    TypeError, ValueError
        If the axis is no direction, or the seed no whole number.

    Examples
    --------
    >>> standing = Molecules(np.zeros((3, 3)))
    >>> turned = random_rotations(standing, about=(1, 0, 0))
    >>> turned.rotations.apply([1.0, 0.0, 0.0]).round(6)  # z stays where it was
    array([[1., 0., 0.],
           [1., 0., 0.],
           [1., 0., 0.]])
    """
    particles = as_molecules("molecules", molecules)
    random = np.random.default_rng(check.whole_number("seed", seed))
    axis = None if about is None else np.array(check.direction("about", about))
    if len(particles) == 0:
        return particles
    if axis is None:
        # Normal in four dimensions they are uniform on its sphere.
        turns = scipy.spatial.transform.Rotation.from_quat(
            random.normal(size=(len(particles), 4))
        )
    else:
        angles = random.uniform(-np.pi, np.pi, len(particles))
        turns = scipy.spatial.transform.Rotation.from_rotvec(angles[:, None] * axis)
    return particles.rotate(turns, frame="particle")


@verb
def neighbours(
    molecules: Any, *, symmetry: str = "C1", tomogram_feature: str = "tomogram"
) -> Molecules:
    """Return the particles with how far the nearest other one is, and how turned.

    Parameters
    ----------
    molecules : Molecules, (n, 3) array, or an object with .pos and .rotator
        The particles.
    symmetry : str
        The template's, see `symmetry_expand`: of rotations that look the same the
        smallest counts.
    tomogram_feature : str
        The feature that names each particle's tomogram; without a feature "tomogram"
        all lie in one.

    Returns
    -------
    Molecules
        With the features ``neighbour_distance``, in nm, and ``neighbour_angle``, in
        degrees, of the rotation that takes one to the other; NaN where a tomogram has
        no other particle. Of several as near, one is taken.

    Raises
    ------
    TypeError, ValueError
        If there is no such group or feature.

    Examples
    --------
    >>> found = neighbours(np.array([[0.0, 0, 0], [0, 0, 1], [0, 0, 3]]))
    >>> found.features["neighbour_distance"]
    array([1., 1., 2.])
    """
    particles = as_molecules("molecules", molecules)
    group = symmetry_group(check.symmetry("symmetry", symmetry))
    tomograms = tomogram_numbers(particles, tomogram_feature)
    check_apart(particles.positions)
    distance, angle = np.full((2, len(particles)), np.nan)
    for some in of_each(tomograms):
        if len(some) > 1:
            places = particles.positions[some]
            away, nearest = scipy.spatial.KDTree(places).query(places, k=2)
            # Of particles at one place the tree may name another one first.
            own = nearest[:, 0] == np.arange(len(some))
            other = some[np.where(own, nearest[:, 1], nearest[:, 0])]
            distance[some] = np.where(own, away[:, 1], away[:, 0])
            angle[some] = _angles(particles, some, other, group)
    return particles.with_features(neighbour_distance=distance, neighbour_angle=angle)


def _angles(molecules: Molecules, one: Array, other: Array, group: Rotation) -> Array:
    """Return the smallest angle in degrees between particles in pairs, up to a group.

    Of g⁻¹ R⁻¹ R' h the angle is that of R⁻¹ R' h g⁻¹: one of the group is enough.
    """
    between = molecules.rotations[one].inv() * molecules.rotations[other]
    several = [(between * each).magnitude() for each in group]
    return np.asarray(np.degrees(np.min(several, axis=0)))
