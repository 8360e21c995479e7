"""Points and oriented points of the CryoET Data Portal: a JSON object a line.

Locations are in voxels of the tomogram, its first voxel's centre at 0;
xyz_rotation_matrix takes (x, y, z) vectors of the reference to the tomogram. So do
copick 1.31 and zarr-particle-tools 1.0.1 take them, the latter to RELION's angles.
"""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from funpipe.base.errors import Argument, FileError, WrongValueError
from funpipe.base.euler import from_xyz, to_xyz
from funpipe.base.molecules import Molecules
from funpipe.base.sources import read_bytes
from funpipe.base.texts import MOST_COLUMNS, check_unique, text_array
from funpipe.base.whole import replacing
from funpipe.base.wording import describe, quoted
from funpipe.io.columns import needed_scale
from funpipe.io.formats import Format
from funpipe.io.json_values import finite_numbers, parsed, rotation_matrix

__all__ = ["FORMAT", "read", "recognises", "write"]

_POSE = ("location", "xyz_rotation_matrix")
_KINDS = ("a truth value", "a number", "a text")


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
    fields = dict.fromkeys(key for _, row in rows for key in row)
    features = {field: _feature(field, rows) for field in fields if field not in _POSE}
    return Molecules(positions, rotations, features)


def write(
    molecules: Molecules, path: str | os.PathLike[str], *, scale: float | None = None
) -> None:
    """Write oriented points; points, and others, where the feature ``type`` says so.

    Parameters
    ----------
    molecules : Molecules
        The particles; features go out as fields, NaN as null.
    path : path-like
        Where to; an existing file is replaced, whole or not at all.
    scale : float
        nm per voxel of the tomogram.
    """
    scale = needed_scale(os.fspath(path), scale)
    columns = {name: _fields(name, x) for name, x in molecules.features.items()}
    for name in _POSE:
        if name in columns:
            raise ValueError(
                f"the feature {name!r} has the name of a point's own field"
            )
    kinds = columns.pop("type", ["orientedPoint"] * len(molecules))
    with np.errstate(over="ignore"):
        voxels = np.round(molecules.positions / scale, 9) + 0.0
    if not np.isfinite(voxels).all():
        told = (Argument("scale", f"{scale}"), ": positions in voxels of that are not")
        raise WrongValueError(*told, " finite", name="scale", value=scale)
    matrices = np.round(to_xyz(molecules.rotations), 15) + 0.0
    turned = molecules.rotations.magnitude() >= 1e-12
    lines = []
    for i, (z, y, x) in enumerate(voxels.tolist()):
        kind = "orientedPoint" if turned[i] and kinds[i] == "point" else kinds[i]
        row: dict[str, Any] = {"type": kind, "location": {"x": x, "y": y, "z": z}}
        if turned[i] or kind == "orientedPoint":
            row["xyz_rotation_matrix"] = matrices[i].tolist()
        row |= {name: values[i] for name, values in columns.items()}
        lines.append(json.dumps(row))
    with replacing(path) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _fields(name: str, values: NDArray[Any]) -> list[Any]:
    """Return a feature's values as JSON can hold them: NaN is null there."""
    title = f"the feature {quoted(name)}"
    if values.dtype.kind == "f":
        if np.isinf(values).any():
            raise ValueError(f"{title} is inf: JSON cannot hold that")
        if values.dtype.itemsize > 8:
            raise ValueError(f"{title} is {values.dtype}: JSON cannot hold that")
        return [each if each == each else None for each in values.tolist()]
    return values.tolist()


def _feature(field: str, rows: list[tuple[str, dict[str, Any]]]) -> NDArray[Any]:
    """Return a field's values, all of one kind; null is NaN, or "" among texts."""
    kinds = [_kind(row.get(field)) for _, row in rows]
    wanted = next((each for each in kinds if each), "a number")
    for (where, row), kind in zip(rows, kinds, strict=True):
        missing = not kind and (field not in row or wanted == "a truth value")
        if missing or kind not in ("", wanted) or wanted not in _KINDS:
            raise FileError(
                where,
                f": {quoted(field)} must be a number, truth value or text, of "
                f"one kind in all lines, not {describe(row.get(field))}",
            )
    values = [row[field] for _, row in rows]
    if wanted == "a text":
        try:
            return text_array([each or "" for each in values])
        except ValueError as error:
            raise FileError(rows[0][0], f": {quoted(field)}: {error}") from None
    if wanted == "a truth value":
        return np.array(values, dtype=bool)
    whole = all(isinstance(each, int) for each in values)
    types: Any = (np.int64, np.uint64) if whole else (np.float64,)
    for each in types:
        try:
            array = np.array([np.nan if x is None else x for x in values], dtype=each)
        except OverflowError:
            continue
        if whole or not _rounded(values):
            return array
    largest = max((each for each in values if isinstance(each, int)), key=abs)
    raise FileError(
        rows[values.index(largest)][0],
        f": {quoted(field)} must be a number that 64 "
        f"bits hold, not {describe(largest)}",
    )


def _rounded(values: list[Any]) -> bool:
    """Tell whether whole numbers alone have digits that a float would lose."""
    known = [each for each in values if each is not None]
    return all(isinstance(each, int) for each in known) and any(
        int(float(each)) != each for each in known
    )


def _kind(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "a truth value"
    if isinstance(value, int | float):
        return "a number"
    return "a text" if isinstance(value, str) else "another thing"


def _rows(name: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the objects, each with where it stands."""
    try:
        lines = read_bytes(name).decode("utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise FileError(name, " is not readable ndjson: it is not text") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        where = f"{name}, line {number}"
        if not line.strip():
            continue
        row = parsed(where, line)
        if not isinstance(row, dict):
            raise FileError(where, " must be a JSON object")
        if len(row) > MOST_COLUMNS:
            check_unique(where, list(row))
        rows.append((where, row))
    if not rows:
        raise FileError(name, " is empty")
    return rows


def _location(where: str, row: dict[str, Any]) -> list[float]:
    place = row.get("location")
    if not isinstance(place, dict):
        raise FileError(
            where, f": location must be an object of x, y, z, not {describe(place)}"
        )
    return finite_numbers(f"{where}: location", [place.get(x) for x in "zyx"], 3)


def _matrix(where: str, row: dict[str, Any]) -> Any:
    """Return a proper rotation's matrix; a plain point has the identity."""
    if "xyz_rotation_matrix" not in row:
        return np.eye(3)
    return rotation_matrix(f"{where}: xyz_rotation_matrix", row["xyz_rotation_matrix"])


def recognises(head: bytes) -> bool:
    """Tell whether a file begins with an object that has a location."""
    return head.lstrip().startswith(b"{") and b'"location"' in head


FORMAT = Format(
    read,
    write,
    (".ndjson", ".jsonl"),
    frozenset({"scale"}),
    recognises,
    "CryoET Data Portal",
)
