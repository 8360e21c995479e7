"""Seeding: particles along filaments and over surfaces, where none were picked."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.algebra.verbs import verb
from funpipe.base import arguments as check
from funpipe.base.molecules import Molecules, as_molecules
from funpipe.base.wording import fail
from funpipe.jobs.covering import MOST, refuse_many, seeds_of
from funpipe.jobs.outlining import FARTHEST, Outline, bounded, outlines
from funpipe.space.curves import Curve

__all__ = ["helix", "lattice"]

Array: TypeAlias = NDArray[Any]

_PARALLEL = 1e-6  # sine of the angle between directions


@verb
def helix(
    molecules: Any,
    *,
    rise: float,
    twist: float = 0.0,
    radius: float = 0.0,
    protofilaments: int = 1,
    starts: float = 0.0,
    start: float = 0.0,
    azimuth: float = 0.0,
    towards: Any = None,
    smoothing: float = 0.0,
    filament: str | None = None,
    tomogram_feature: str = "tomogram",
) -> Molecules:
    """Seed particles along filaments: on their axis, or on a helical lattice about it.

    Parameters
    ----------
    molecules : Molecules, (n, 3) array, or an object with .pos and .rotator
        Points on the axis of each filament, in their order, two or more: a smooth curve
        goes through them. Of an IMOD model, ``read_molecules("tubes.mod", scale=…)``.
    rise : float
        nm along the curve from one particle to the next one of its protofilament.
    twist : float
        Degrees that a protofilament turns about the axis per rise, −360 to 360.
    radius : float
        nm from the axis to the particles; 0: they are on it.
    protofilaments : int
        How many there are, evenly around the axis.
    starts : float
        How many rises a turn around the axis climbs, from each protofilament to the
        next: 3 for the left-handed 3-start helix of a microtubule is −3, and 0 are
        rings.
    start : float
        nm along the curve, where a particle of the first protofilament is.
    azimuth : float
        Degrees about the axis of that particle.
    towards : (float, float, float), optional
        z, y, x: what azimuth 0 points to, as nearly as it can, where the filament
        begins; by default z, or y of a filament that begins along z. From there on
        azimuths go along without a twist of their own.
    smoothing : float
        nm, how far by root mean square the curve may be from the points, as those of a
        hand are; 0: it goes through them.
    filament : str, optional
        The feature that tells filaments apart; by default ``filament``, or else
        ``object`` and ``contour``, as IMOD's models have them, where there are such.
    tomogram_feature : str
        The feature that names each point's tomogram; without a feature "tomogram" all
        lie in one.

    Returns
    -------
    Molecules
        z along the filament, x away from its axis, from the first to the last point.
        They have the features ``filament``, a number from 0 on or what that feature is
        already, ``protofilament``, from 0 on, and ``position_along``, nm on the curve;
        others where they are the same for all points of a filament.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, a filament has not two points, or there would be more
        than ten million particles.

    Notes
    -----
    Positive twists, starts and azimuths are right-handed about the way that a filament
    goes, where x, y, z of the tomogram are right-handed, as a twist of RELION is. A
    particle of protofilament p of N at s on the curve has the azimuth

        azimuth + 360 p / N + twist (s − start) / rise.

    Of an alignment's molecules ``halves(..., together="filament")``, or
    ``"protofilament"``, keeps together what may overlap.

    Examples
    --------
    >>> found = helix([[0, 0, 0], [0, 10, 0]], rise=4.0, radius=2.0, twist=90.0)
    >>> found.positions.round(6) + 0
    array([[ 2.,  0.,  0.],
           [ 0.,  4.,  2.],
           [-2.,  8.,  0.]])
    >>> found.rotations.apply([1, 0, 0]).round(6)[0] + 0  # its z axis
    array([0., 1., 0.])
    """
    given = _Helix(
        check.positive("rise", rise),
        bounded("twist", twist, 360),
        bounded("radius", check.non_negative("radius", radius), FARTHEST),
        check.positive_integer("protofilaments", protofilaments),
        check.number("starts", starts),
        bounded("start", start, FARTHEST),
        check.number("azimuth", azimuth) % 360,
        _direction("towards", towards),
    )
    smoothing = bounded(
        "smoothing", check.non_negative("smoothing", smoothing), FARTHEST
    )
    points = as_molecules("molecules", molecules)
    names = ("filament",), ("object", "contour")
    found, count = [], 0.0
    for each in outlines(points, "filament", filament, names, tomogram_feature):
        curve = each.curve(smoothing)
        count += (curve.length / given.rise + 1) * given.protofilaments
        if not count <= MOST:
            fail("rise", f"so wide that there are {MOST} particles at the most", rise)
        found.append(_along(curve, given, each))
    return Molecules.concat(found, fill=True)


class _Helix(NamedTuple):
    """A helical lattice, its arguments checked."""

    rise: float
    twist: float
    radius: float
    protofilaments: int
    starts: float
    start: float
    azimuth: float
    towards: NDArray[np.float64] | None


def _along(curve: Curve, given: _Helix, part: Outline) -> Molecules:
    """Return a filament's particles, protofilament by protofilament."""
    filaments, number = np.arange(given.protofilaments), given.protofilaments
    climbed = given.starts / number * filaments % 1
    first = (given.start + given.rise * climbed) % given.rise
    first[given.rise - first < 1e-9 * given.rise] = 0
    counts = np.floor((curve.length - first) / given.rise + 1e-9).astype(int) + 1
    p = np.repeat(filaments, counts)
    arc = np.concatenate(
        [one + given.rise * np.arange(n) for one, n in zip(first, counts, strict=True)]
    ).clip(0, curve.length)
    turn = given.twist * (arc - given.start) / given.rise
    points, along = curve.at(arc)
    outwards = curve.outwards(
        arc, _towards(curve, given), given.azimuth + 360 / number * p + turn
    )
    places = part.points[0] + points + given.radius * outwards
    turned = Molecules.from_axes(places, z=along, x=outwards)
    found = part.molecules(places, turned.rotations)
    return found.with_features(protofilament=p, position_along=arc)


def _towards(curve: Curve, given: _Helix) -> NDArray[np.float64]:
    if given.towards is None:
        return curve.side()
    along = curve.at(np.zeros(1))[1][0]
    if np.linalg.norm(np.cross(given.towards, along)) < _PARALLEL:
        fail("towards", "across a filament where it begins", tuple(given.towards))
    return given.towards


def _direction(name: str, value: Any) -> NDArray[np.float64] | None:
    if value is None:
        return None
    found = np.array(check.vector(name, value))
    size = np.abs(found).max()
    if size == 0:
        fail(name, "a vector z, y, x that has a length", value)
    return np.asarray(found / size / np.linalg.norm(found / size))


@verb
def lattice(
    molecules: Any,
    *,
    spacing: float,
    kind: str = "points",
    radius: float | None = None,
    faces: Any = None,
    surface: str | None = None,
    tomogram_feature: str = "tomogram",
) -> Molecules:
    """Seed particles over surfaces, each with its z axis away from the surface.

    Parameters
    ----------
    molecules : Molecules, (n, 3) array, or an object with .pos and .rotator
        Points of each surface; of an IMOD model,
        ``read_molecules("membranes.mod", scale=…)``.
    spacing : float
        nm between neighbours.
    kind : str
        What surface it is: ``"points"``, that on which the points lie, denser than the
        spacing, and some of them are taken; ``"hull"``, the convex hull of four points
        or more; ``"sphere"``, the one that fits four points or more best, or with a
        radius one about each point; ``"tube"``, of a radius about a smooth curve
        through the points; ``"triangles"``, of which the points are the corners.
    radius : float, optional
        nm, of spheres and tubes.
    faces : (m, 3) array of int, optional
        Of triangles, the numbers of their corners from 0, counter-clockwise seen from
        outside where x, y, z are right-handed.
    surface : str, optional
        The feature that tells surfaces apart; by default ``surface``, or else
        ``object``, as IMOD's models have it, and of tubes ``contour`` too.
    tomogram_feature : str
        The feature that names each point's tomogram; without a feature "tomogram" all
        lie in one.

    Returns
    -------
    Molecules
        z away from the surface, outwards of hulls, spheres, tubes and triangles; of
        points to one side, away from their middle where they are farthest from it.
        About that axis spheres, hulls, points and triangles say nothing: particles are
        turned from the tomogram's z there and no further; of tubes y goes along them.
        They have the feature ``surface``, a number from 0 on or what that feature is
        already, and others where they are the same for all points of a surface.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, points do not make such a surface, or there would be
        more than ten million points.

    Notes
    -----
    On spheres particles lie on Fibonacci's spiral, one to spacing², on tubes in rows
    along them. Elsewhere no two are nearer than the spacing, and no place on the
    surface (of points: no point) is farther from all than that; distances are those
    through space.

    Examples
    --------
    >>> found = lattice([[50.0, 50.0, 50.0]], kind="sphere", radius=20.0, spacing=8.0)
    >>> found
    Molecules(79 particles, features: surface)
    >>> away = found.positions - 50.0
    >>> bool(np.allclose(found.rotations.apply([20.0, 0, 0]), away))
    True
    """
    apart = check.positive("spacing", spacing)
    seeds = seeds_of(kind, check.optional_positive("radius", radius), faces)
    points = as_molecules("molecules", molecules)
    ways = ("surface",), ("object", "contour") if kind == "tube" else ("object",)
    alone = kind == "sphere" and radius is not None
    found, count = [], 0
    for each in outlines(points, "surface", surface, ways, tomogram_feature, alone):
        found.append(seeds(each, apart))
        count += len(found[-1])
        if count > MOST:
            refuse_many(spacing)
    return Molecules.concat(found, fill=True)
