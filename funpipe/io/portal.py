"""Points and oriented points of the CryoET Data Portal: a JSON object a line.

Locations are in voxels of the tomogram, its first voxel's centre at 0;
xyz_rotation_matrix takes (x, y, z) vectors of the reference to the tomogram.
"""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from funpipe.io.columns import needed_scale
from funpipe.io.euler import from_xyz, to_xyz
from funpipe.io.whole import replacing
from funpipe.molecules import Molecules

__all__ = ["read", "write"]

_OWN = ("type", "location", "xyz_rotation_matrix")


def read(path: str | os.PathLike[str], *, scale: float | None = None) -> Molecules:
    """Read points; their other fields (type, instance_id, …) come along as features.

    Parameters
    ----------
    path : path-like
        The ndjson file.
    scale : float
        nm per voxel of the tomogram; the file does not say.
    """
    name = os.fspath(path)
    rows = _rows(name)
    scale = needed_scale(name, scale)
    positions = np.array([_location(*each) for each in rows]) * scale
    oriented = ["xyz_rotation_matrix" in row for _, row in rows]
    rotations = None
    if any(oriented):
        rotations = from_xyz([_matrix(*each) for each in rows])
    features: dict[str, Any] = {}
    for field in dict.fromkeys(key for _, row in rows for key in row):
        if field in ("location", "xyz_rotation_matrix"):
            continue
        for where, row in rows:
            if not isinstance(row.get(field), bool | int | float | str):
                raise ValueError(
                    f"{where}: {field!r} must be a number, truth value or text, as in "
                    f"the other lines, not {row.get(field)!r}"
                )
        features[field] = np.array([row[field] for _, row in rows])
    return Molecules(positions, rotations, features)


def write(
    molecules: Molecules, path: str | os.PathLike[str], *, scale: float | None = None
) -> None:
    """Write oriented points, or points where the feature ``type`` says so.

    Parameters
    ----------
    molecules : Molecules
        The particles; features go out as fields.
    path : path-like
        Where to; an existing file is replaced, whole or not at all.
    scale : float
        nm per voxel of the tomogram.
    """
    scale = needed_scale(os.fspath(path), scale)
    voxels = np.round(molecules.positions / scale, 9) + 0.0
    matrices = np.round(to_xyz(molecules.rotations), 15) + 0.0
    columns = {name: each.tolist() for name, each in molecules.features.items()}
    kinds = columns.pop("type", ["orientedPoint"] * len(molecules))
    straight = molecules.rotations.magnitude() < 1e-12
    lines = []
    for i, (z, y, x) in enumerate(voxels.tolist()):
        row: dict[str, Any] = {"type": kinds[i], "location": {"x": x, "y": y, "z": z}}
        if kinds[i] == "orientedPoint" or not straight[i]:
            row["type"] = "orientedPoint"
            row["xyz_rotation_matrix"] = matrices[i].tolist()
        row.update({name: values[i] for name, values in columns.items()})
        try:
            lines.append(json.dumps(row, allow_nan=False))
        except ValueError:
            raise ValueError(f"row {i + 1}: JSON cannot hold NaN or infinity") from None
    with replacing(path) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _rows(name: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the objects, each with where it stands."""
    with open(name, encoding="utf-8") as file:
        try:
            lines = file.read().splitlines()
        except UnicodeDecodeError:
            raise ValueError(f"{name} is not readable ndjson: it is not text") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        where = f"{name}, line {number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_once)
        except ValueError as error:
            raise ValueError(f"{where} is not readable JSON: {error}") from None
        if not isinstance(row, dict):
            raise ValueError(f"{where} must be a JSON object")
        rows.append((where, row))
    if not rows:
        raise ValueError(f"{name} is empty")
    return rows


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [each for each, _ in pairs]
        twice = next(each for each in names if names.count(each) > 1)
        raise ValueError(f"the field {twice!r} is there twice")
    return found


def _location(where: str, row: dict[str, Any]) -> list[float]:
    place = row.get("location")
    if not isinstance(place, dict):
        raise ValueError(f"{where}: location must be an object of x, y, z, not {place}")
    return _numbers(f"{where}: location", [place.get(axis) for axis in "zyx"], 3)


def _matrix(where: str, row: dict[str, Any]) -> Any:
    """Return a proper rotation's matrix; a plain point has the identity."""
    if "xyz_rotation_matrix" not in row:
        return np.eye(3)
    where = f"{where}: xyz_rotation_matrix"
    rows = row["xyz_rotation_matrix"]
    flat = [each for one in rows for each in one] if _nested(rows) else []
    matrix = np.reshape(_numbers(where, flat, 9), (3, 3))
    if np.abs(matrix @ matrix.T - np.eye(3)).max() > 1e-3 or np.linalg.det(matrix) < 0:
        raise ValueError(f"{where} is not a rotation: {rows}")
    return matrix


def _nested(rows: Any) -> bool:
    return isinstance(rows, list) and all(isinstance(each, list) for each in rows)


def _numbers(where: str, values: list[Any], count: int) -> list[float]:
    real = [
        isinstance(each, int | float)
        and not isinstance(each, bool)
        and np.isfinite(each)
        for each in values
    ]
    if len(values) != count or not all(real):
        raise ValueError(f"{where} must be {count} finite numbers, not {values}")
    return [float(each) for each in values]
