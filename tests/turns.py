"""Rotations of other programs, by their own formulas: nothing of funpipe's in them.

Each function takes angles in degrees to the matrix on xyz vectors that takes the
reference to the tomogram; angles may be arrays of one shape.
"""

from __future__ import annotations

import numpy as np


def about_z(angle):
    c, s, o, one = _entries(angle)
    return _matrix((c, -s, o), (s, c, o), (o, o, one))


def about_x(angle):
    c, s, o, one = _entries(angle)
    return _matrix((one, o, o), (o, c, -s), (o, s, c))


def relion(rot, tilt, psi):
    """As in RELION's Euler_angles2matrix (src/euler.cpp), entry by entry."""
    ca, sa, _, _ = _entries(rot)
    cb, sb, _, _ = _entries(tilt)
    cg, sg, _, _ = _entries(psi)
    return _matrix(
        (cg * cb * ca - sg * sa, cg * cb * sa + sg * ca, -cg * sb),
        (-sg * cb * ca - cg * sa, -sg * cb * sa + cg * ca, sg * sb),
        (sb * ca, sb * sa, cb),
    )


def stopgap(phi, theta, psi):
    """As EM motive lists too: about z, then about the fixed x, then about z."""
    return about_z(psi) @ about_x(theta) @ about_z(phi)


def dynamo(tdrot, tilt, narot):
    """The three turns take the particle to the template: A is their inverse."""
    return np.swapaxes(about_z(narot) @ about_x(tilt) @ about_z(tdrot), -1, -2)


def _entries(angle):
    radians = np.radians(np.asarray(angle, dtype=float))
    zero = np.zeros_like(radians)
    return np.cos(radians), np.sin(radians), zero, zero + 1


def _matrix(*rows):
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
