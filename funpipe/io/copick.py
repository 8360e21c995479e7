"""Picks of copick: a JSON file for each object, run, user and session.

A file's fields are those of the models ``CopickPicksFile`` and ``CopickPoint`` in
``copick/models.py`` (copick 1.31). There, and in ``CopickPicks.full_positions``, a
particle's centre is its ``location`` in Å plus the translation of its
``transformation_``, a 4 x 4 matrix that takes (x, y, z) vectors of the object to the
tomogram. ``CopickPicksFileCDP`` (``copick/impl/cryoet_data_portal.py``) makes both of
the CryoET Data Portal's points: so the centre of the first voxel is at 0, and
rotations are those of ``xyz_rotation_matrix``. Where ``trust_orientation`` is false,
rotations are to be ignored. A null of ``instance_id`` or ``score`` means 0 or 1, as in
``CopickPicks.instance_ids`` and ``scores``. A file is called ``user_session_object``
(``copick/impl/filesystem.py``).
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from funpipe.base.errors import FileError
from funpipe.base.euler import from_xyz, to_xyz
from funpipe.base.molecules import Molecules
from funpipe.base.wording import describe
from funpipe.io.formats import Format, only_one, warn_of_left_out
from funpipe.io.json_values import (
    finite_numbers,
    read_json,
    rotation_matrix,
    write_json,
)

__all__ = ["FORMAT", "read", "recognises", "scale_of", "write"]

_OBJECT = "pickable_object_name"
_TEXTS = (_OBJECT, "user_id", "session_id")
_KEPT = (*_TEXTS, "voxel_spacing", "trust_orientation", "instance_id", "score")


def recognises(head: bytes) -> bool:
    """Tell whether a file begins as copick's picks do."""
    return head.lstrip().startswith(b"{") and b'"pickable_object_name"' in head


def read(path: str | os.PathLike[str], *, scale: float | None = None) -> Molecules:
    """Read the picks of one object.

    Parameters
    ----------
    path : path-like
        The JSON file. Its object is the feature ``pickable_object_name`` and its run
        is ``tomogram``; `Molecules.concat` joins the picks of several objects.
    scale : float, optional
        nm per voxel of the tomogram, in place of ``voxel_spacing``. Positions do not
        depend on it: copick counts in Å.
    """
    name = os.fspath(path)
    picks = read_json(path)
    if _OBJECT not in picks:
        raise FileError(name, f" has no field {_OBJECT!r}: these are no copick picks")
    unit = picks.get("unit", "angstrom")
    if unit != "angstrom":
        raise FileError(name, f": the unit must be 'angstrom', not {describe(unit)}")
    points = picks.get("points")
    if not isinstance(points, list) or not points:
        raise FileError(name, " holds no points")
    poses = [_pose(f"{name}, point {i}", each) for i, each in enumerate(points, 1)]
    trusted = _optional(name, picks, "trust_orientation", bool, True)
    features: dict[str, Any] = {
        each: _optional(name, picks, each, str, "") for each in _TEXTS
    }
    run = _optional(name, picks, "run_name", str, "")
    if run:
        features["tomogram"] = run
    spacing = _optional(name, picks, "voxel_spacing", float, 0.0)
    if scale is not None or spacing > 0:
        features["voxel_spacing"] = spacing if scale is None else 10 * scale
    features["trust_orientation"] = trusted
    columns = {key: np.full(len(points), value) for key, value in features.items()}
    columns["instance_id"] = _column(name, points, "instance_id", int, 0)
    columns["score"] = _column(name, points, "score", float, 1.0)
    return Molecules(
        np.array([place for place, _ in poses])[:, ::-1] / 10,
        from_xyz([turn for _, turn in poses]) if trusted else None,
        columns,
    )


def write(
    molecules: Molecules,
    path: str | os.PathLike[str],
    *,
    scale: float | None = None,
    like: str | os.PathLike[str] | None = None,
) -> None:
    """Write the picks of one object.

    Parameters
    ----------
    molecules : Molecules
        The particles. What the file says of all of them comes from the features of
        its own names (from ``class_name`` too the object's, from ``tomogram`` the
        run's), from ``like``, or from the file's name, ``user_session_object.json``.
        Of other features ``instance_id`` and ``score`` go out.
    path : path-like
        Where to; an existing file is replaced, whole or not at all.
    scale : float, optional
        nm per voxel of the tomogram, for ``voxel_spacing``.
    like : path-like, optional
        Picks whose object, user, session, run and voxel spacing are these ones' too.

    Raises
    ------
    ValueError
        If the particles are of several objects, runs, users or sessions.
    """
    name, features = os.fspath(path), molecules.features
    said: dict[str, Any] = dict.fromkeys((*_TEXTS, "run_name", "voxel_spacing"))
    said |= _said_by_name(name)
    if like is not None:
        said |= {key: read_json(like).get(key) for key in said}
    sources = {each: each for each in (*_TEXTS, "voxel_spacing")}
    sources |= {"run_name": "tomogram"}
    if _OBJECT not in features:
        sources[_OBJECT] = "class_name"
    for key, source in sources.items():
        if source in features:
            value = only_one(name, source, features[source])
            said[key] = value if key == "voxel_spacing" else str(value)
    if scale is not None:
        said["voxel_spacing"] = float(f"{10 * scale:.12g}")
    elif said["voxel_spacing"] is not None:
        finite_numbers(f"{name}: voxel_spacing", [said["voxel_spacing"]], 1)
    turned = molecules.rotations.magnitude() >= 1e-12
    known = features.get("trust_orientation", turned)
    trusted = turned.any() or (known.dtype.kind == "b" and known.any())
    warn_of_left_out(features, (*_KEPT, *sources.values()), "copick picks")
    scores = features.get("score", np.ones(len(molecules)))
    identities = features.get("instance_id", np.zeros(len(molecules), dtype=int))
    write_json(
        path,
        {key: said[key] for key in _TEXTS}
        | {"run_name": said["run_name"], "voxel_spacing": said["voxel_spacing"]}
        | {"unit": "angstrom", "points": _points(molecules, identities, scores)}
        | {"trust_orientation": bool(trusted)},
    )


def scale_of(path: str | os.PathLike[str]) -> float | None:
    """Return the tomogram's scale in nm per voxel, None where picks do not say."""
    name = os.fspath(path)
    spacing = float(_optional(name, read_json(path), "voxel_spacing", float, 0.0))
    return spacing / 10 if spacing > 0 else None


def _said_by_name(name: str) -> dict[str, str]:
    """Return user, session and object as a file is called in a copick project."""
    stem = Path(name).stem
    parts = re.fullmatch(r"([^_]+)_([^_]+)_(.+)", stem)
    user, session, picked = parts.groups() if parts else ("funpipe", "0", stem)
    return {"user_id": user, "session_id": session, _OBJECT: picked}


def _points(
    molecules: Molecules, identities: NDArray[Any], scores: NDArray[Any]
) -> list[dict[str, Any]]:
    if identities.dtype.kind not in "iu" or identities.max() >= 2**63:
        raise ValueError("instance_id must be whole numbers in copick's picks")
    if scores.dtype.kind not in "iuf" or np.isinf(scores).any():
        raise ValueError("score must be finite numbers, or NaN, in copick's picks")
    with np.errstate(over="ignore"):
        places = np.round(10 * molecules.positions[:, ::-1], 9) + 0.0
    if not np.isfinite(places).all():
        raise ValueError("molecules: positions in Å are not finite")
    matrices = np.zeros((len(molecules), 4, 4))
    matrices[:, :3, :3] = np.round(to_xyz(molecules.rotations), 15) + 0.0
    matrices[:, 3, 3] = 1.0
    return [
        {
            "location": dict(zip("xyz", place, strict=True)),
            "transformation_": matrix,
            "instance_id": identity,
            "score": None if score != score else float(score),
        }
        for place, matrix, identity, score in zip(
            places.tolist(),
            matrices.tolist(),
            identities.tolist(),
            scores.tolist(),
            strict=True,
        )
    ]


def _pose(where: str, point: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return a particle's x, y, z in Å and its matrix on (x, y, z) vectors."""
    if not isinstance(point, dict) or not isinstance(point.get("location"), dict):
        raise FileError(where, ": location must be an object of x, y, z")
    place = [point["location"].get(axis) for axis in "xyz"]
    position = np.array(finite_numbers(f"{where}: location", place, 3))
    rows = point.get("transformation_")
    if rows is None:
        return position, np.eye(3)
    where = f"{where}: transformation_"
    if not isinstance(rows, list) or len(rows) != 4:
        raise FileError(where, f" must be 4 rows of 4 numbers, not {describe(rows)}")
    matrix = np.array([finite_numbers(where, row, 4) for row in rows])
    if not np.allclose(matrix[3], (0, 0, 0, 1)):
        raise FileError(
            where, f": the last row must be 0, 0, 0, 1, not {describe(rows[3])}"
        )
    turn = rotation_matrix(where, matrix[:3, :3].tolist())
    return position + matrix[:3, 3], turn


def _column(
    name: str, points: list[Any], key: str, kind: type, default: Any
) -> NDArray[Any]:
    return np.array(
        [
            _optional(f"{name}, point {i}", each, key, kind, default)
            for i, each in enumerate(points, 1)
        ]
    )


def _optional(
    where: str, said: dict[str, Any], key: str, kind: type, other: Any
) -> Any:
    """Return a field of one kind, or the other value where it is absent or null."""
    value = said.get(key)
    if value is None:
        return other
    if kind is float and isinstance(value, int | float):
        return finite_numbers(f"{where}: {key}", [value], 1)[0]
    fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if not fits or (kind is int and not -(2**63) <= value < 2**63):
        raise FileError(where, f": {key} must be of the kind {kind.__name__}")
    return value


FORMAT = Format(
    read,
    write,
    (".json",),
    frozenset({"scale", "like"}),
    recognises,
    "copick picks",
    scale_of,
)
