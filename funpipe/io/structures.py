"""Atomic structures: PDB and mmCIF through gemmi. Å become nm here."""

from __future__ import annotations

import gzip
import os
import zlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from funpipe.io.extras import require

__all__ = ["Atoms", "read_structure"]

_DAMAGE = (ValueError, RuntimeError, OSError, LookupError, EOFError, zlib.error)


class Atoms(NamedTuple):
    """Atoms of a structure."""

    positions: NDArray[np.float64]
    """(n, 3), nm, in z, y, x order."""
    weights: NDArray[np.float64]
    """(n,), atomic number times occupancy."""


def read_structure(path: str | os.PathLike[str]) -> Atoms:
    """Read the atoms of the first model of a PDB or mmCIF file, waters left out.

    Parameters
    ----------
    path : path-like
        ``.pdb .ent .cif .mmcif``, each also with ``.gz`` (extra ``structures``).

    Returns
    -------
    Atoms
        Positions in nm and weights.

    Raises
    ------
    FileNotFoundError, PermissionError
        If there is no such file, or it may not be read.
    ValueError
        If it is not a structure, or holds no atoms, or only unoccupied ones.
    """
    gemmi = require("gemmi", "structures", "to read atomic structures")
    name = os.fspath(path)
    with open(name, "rb"):  # the system's own word where it cannot be read
        pass
    try:
        if name.lower().endswith(".gz"):  # gemmi takes a part of one for the whole
            with gzip.open(name) as file:
                file.read()
        structure = gemmi.read_structure(name)
    except _DAMAGE as error:
        raise ValueError(f"{name} is not a readable structure: {error}") from None
    structure.remove_waters()
    atoms = list(structure[0].all()) if len(structure) else []
    if not atoms:
        raise ValueError(f"{name} holds no atoms")
    found = np.array(
        [
            (p.z, p.y, p.x, site.atom.element.atomic_number * site.atom.occ)
            for site in atoms
            for p in [site.atom.pos]
        ]
    )
    if found[:, 3].sum() <= 0:
        raise ValueError(f"{name} holds no atoms with an occupancy above 0")
    return Atoms(found[:, :3] / 10, found[:, 3])
