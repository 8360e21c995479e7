"""Atomic structures: PDB and mmCIF through gemmi. Å become nm here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from funpipe.base.errors import FileError
from funpipe.base.extras import in_one_line, require
from funpipe.base.sources import check_source, read_bytes

__all__ = ["Atoms", "read_structure"]

_DAMAGE = (ValueError, RuntimeError, OSError, LookupError)
LARGEST = 2**30
"""Bytes of the largest structure, unpacked: some ten million atoms."""
_FARTHEST = 1e6  # Å from the origin: 100 µm
_PDB, _MMCIF = (".pdb", ".ent"), (".cif", ".mmcif")


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
    check_source(path)
    try:
        structure = _parsed(gemmi, name, read_bytes(path, LARGEST))
    except _DAMAGE as error:
        if getattr(error, "errno", None) is not None:
            raise  # the system's own word
        reason = in_one_line(error).removeprefix(f"{name} ")
        raise FileError(name, f" is not a readable structure: {reason}") from None
    structure.remove_waters()
    atoms = list(structure[0].all()) if len(structure) else []
    if not atoms:
        raise FileError(name, " holds no atoms")
    found = np.array(
        [
            (p.z, p.y, p.x, site.atom.element.atomic_number * site.atom.occ)
            for site in atoms
            for p in [site.atom.pos]
        ]
    )
    if not (np.abs(found[:, :3]) <= _FARTHEST).all():
        raise FileError(name, f" has atoms beyond {_FARTHEST / 10:.0f} nm")
    if not np.isfinite(found[:, 3]).all():
        raise FileError(name, " has atoms whose occupancy is no number")
    if found[:, 3].sum() <= 0:
        raise FileError(name, " holds no atoms with an occupancy above 0")
    return Atoms(found[:, :3] / 10, found[:, 3])


def _parsed(gemmi: Any, name: str, content: bytes) -> Any:
    """Return a structure from the content of a file of this name."""
    plain = Path(name.lower().removesuffix(".gz")).suffix
    if plain in _PDB:
        return gemmi.read_pdb_string(content)
    if plain not in _MMCIF:
        known = " ".join((*_PDB, *_MMCIF))
        raise ValueError(f"its ending is none of {known}, each maybe with .gz")
    blocks = gemmi.cif.read_string(content)
    if not len(blocks):
        raise ValueError("it has no data block")
    return gemmi.make_structure_from_block(blocks[0])
