"""Boxes of EMAN2: the files ``info/NAME_info.json`` of tomograms.

``boxes_3d`` holds x, y, z, method, score and class of each box, of which the last
three may be missing, and ``class_list`` the name and the size of each class's boxes.
With ``apix_unbin``, the Å of an unbinned voxel, coordinates are in such voxels from
voxel n // 2 of the tomogram, whatever its binning; without it, as up to 2018, in voxels
of the tomogram from its first. So ``e2spt_boxer22.py`` reads and writes them, and
``e2spt_extract.py`` cuts by them (https://github.com/cryoem/eman2). Info files hold no
rotations, and other programs keep what else they know of a tomogram in them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from funpipe.base.caller import warn
from funpipe.base.errors import FileError, MissingError
from funpipe.base.molecules import Molecules
from funpipe.base.wording import describe
from funpipe.io.columns import needed_scale
from funpipe.io.formats import Format, only_one, warn_of_left_out
from funpipe.io.json_values import finite_numbers, read_json, write_json
from funpipe.io.relion_poses import PIXEL_SIZES, SIZES
from funpipe.io.relion_tomograms import is_centred, sizes_of

__all__ = ["FORMAT", "read", "recognises", "scale_of", "write"]

_BOX = ("manual", 0.0, 0)
"""Method, score and class where a box does not say them."""
_BOX_SIZE = 64
"""Voxels, of a class that is not in the list of classes."""
_MOST = 2**31
_KEPT = ("method", "score", "class", "class_name", "boxsize", "apix_unbin", "tomogram")


def recognises(head: bytes) -> bool:
    """Tell whether a file begins as an info file with boxes in 3-D does."""
    return head.lstrip().startswith(b"{") and b'"boxes_3d"' in head


def read(
    path: str | os.PathLike[str], *, scale: float | None = None, tomograms: Any = None
) -> Molecules:
    """Read boxes; their classes are the features ``class`` and ``class_name``.

    Parameters
    ----------
    path : path-like
        The info file. What stands before ``_info`` in its name is ``tomogram``.
    scale : float, optional
        nm per voxel of the coordinates, by default what ``apix_unbin`` says.
    tomograms : path-like, mapping, (z, y, x) or 'centred', optional
        The tomogram's size, where there is ``apix_unbin``: its shape in voxels of that
        size; a mapping from names to shapes, or to `TomogramInfo` with a shape and the
        scale that it is counted in; RELION's tomograms file; or ``'centred'``, and
        positions are counted from the tomogram's voxel n // 2.
    """
    name = os.fspath(path)
    info = read_json(path)
    boxes = info.get("boxes_3d")
    if not isinstance(boxes, list) or not boxes:
        raise FileError(name, " holds no boxes_3d: there are no boxes")
    rows = [_row(f"{name}, box {i}", each) for i, each in enumerate(boxes, 1)]
    places = np.array([row[:3] for row in rows])[:, ::-1]
    columns: dict[str, Any] = {
        "method": np.array([row[3] for row in rows], dtype=str),
        "score": np.array([row[4] for row in rows], dtype=float),
        "class": np.array([row[5] for row in rows], dtype=np.int64),
    }
    classes = _classes(name, info.get("class_list"))
    found = [classes.get(each, _class(each)) for each in columns["class"].tolist()]
    columns["class_name"] = np.array([each for each, _ in found], dtype=str)
    columns["boxsize"] = np.array([size for _, size in found], dtype=np.int64)
    tomogram = _tomogram(name)
    unbinned = _unbinned(name, info)
    if unbinned is None:
        places = places * needed_scale(name, scale)
    else:
        if scale is None:
            scale = unbinned
        columns["apix_unbin"] = np.full(len(rows), float(f"{10 * scale:.12g}"))
        places = places * scale + _middle(name, tomogram, tomograms, scale)
    columns["tomogram"] = np.full(len(rows), tomogram)
    return Molecules(places, None, columns)


def write(
    molecules: Molecules,
    path: str | os.PathLike[str],
    *,
    scale: float | None = None,
    tomograms: Any = None,
    like: str | os.PathLike[str] | None = None,
) -> None:
    """Write boxes, in unbinned voxels from the tomogram's voxel n // 2.

    Parameters
    ----------
    molecules : Molecules
        The particles of one tomogram. Of the features ``method``, ``score``, ``class``,
        ``class_name`` (or the objects of copick) and ``boxsize`` go out.
    path : path-like
        Where to, ending in ``.json``; an existing file is replaced, whole or not at
        all.
    scale : float, optional
        nm per unbinned voxel; by default what the feature ``apix_unbin`` (Å) says, or
        ``like``.
    tomograms : path-like, mapping, (z, y, x) or 'centred'
        The tomogram's size, as in `read`.
    like : path-like, optional
        An info file, of which all but the boxes and their classes stays.

    Warns
    -----
    UserWarning
        If a particle is turned: info files hold no rotations.
    """
    name, features = os.fspath(path), molecules.features
    if not name.endswith(".json"):
        raise FileError(name, ": an info file's name ends in .json")
    content = {} if like is None else read_json(like)
    if scale is None and "apix_unbin" in features:
        apix = only_one(name, "apix_unbin", features["apix_unbin"])
        scale = finite_numbers("apix_unbin", [apix], 1)[0] / 10
    if scale is None:
        scale = needed_scale(name, _unbinned(name, content))
    tomogram = _tomogram(name)
    if "tomogram" in features:
        tomogram = str(only_one(name, "tomogram", features["tomogram"]))
    middle = _middle(name, tomogram, tomograms, scale)
    with np.errstate(all="ignore"):
        places = np.round((molecules.positions - middle) / scale, 6)[:, ::-1] + 0.0
    if not np.isfinite(places).all():
        raise FileError(name, f": positions in voxels of {scale} nm are not finite")
    count = len(molecules)
    numbers, classes = _numbered(name, features, count)
    methods = features.get("method", np.full(count, "funpipe")).tolist()
    scores = features.get("score", np.zeros(count))
    if scores.dtype.kind not in "iuf" or np.isinf(scores).any():
        raise ValueError("score must be finite numbers in an EMAN2 info file")
    scores = np.nan_to_num(scores.astype(float)).tolist()
    kept = (*_KEPT, "pickable_object_name") if "class_name" not in features else _KEPT
    warn_of_left_out(features, kept, "an EMAN2 info file")
    if (molecules.rotations.magnitude() > 0).any():
        warn("an EMAN2 info file holds no rotations: they are left out")
    boxes = zip(*places.T.tolist(), map(str, methods), scores, numbers, strict=True)
    content["apix_unbin"] = float(f"{10 * scale:.12g}")
    content["boxes_3d"] = [list(each) for each in boxes]
    content["class_list"] = classes
    write_json(path, content)


def scale_of(path: str | os.PathLike[str]) -> float | None:
    """Return nm per unbinned voxel, None where a file does not say."""
    return _unbinned(os.fspath(path), read_json(path))


def _numbered(
    name: str, features: Mapping[str, NDArray[Any]], count: int
) -> tuple[list[int], dict[str, Any]]:
    """Return each particle's class, and the list of classes."""
    names = features.get("class_name", features.get("pickable_object_name"))
    titles = [_class(0)[0]] * count if names is None else list(map(str, names.tolist()))
    known = {each: i for i, each in enumerate(dict.fromkeys(titles))}
    found = [known[each] for each in titles]
    if "class" in features:
        found = _whole(name, "class", features["class"])
        titles = titles if names is not None else [_class(each)[0] for each in found]
    sizes = _whole(name, "boxsize", features.get("boxsize", np.full(count, _BOX_SIZE)))
    classes: dict[str, Any] = {}
    for number, title, size in zip(found, titles, sizes, strict=True):
        said = {"name": title, "boxsize": size}
        if classes.setdefault(str(number), said) != said:
            raise FileError(
                name,
                f": class {number} has one class_name and boxsize in an info "
                f"file, not {classes[str(number)]} and {said}",
            )
    return found, classes


def _whole(path: str, name: str, values: NDArray[Any]) -> list[int]:
    least = 1 if name == "boxsize" else -_MOST
    if values.dtype.kind not in "iu" or values.min() < least or values.max() > _MOST:
        raise FileError(
            path,
            f": {name} must be whole numbers from {least} to {_MOST}: leave the "
            f"feature {name!r} out, or number it so",
        )
    found: list[int] = values.tolist()
    return found


def _middle(name: str, tomogram: str, tomograms: Any, scale: float) -> Any:
    """Return where voxel n // 2 of the tomogram is, in nm, zyx."""
    if is_centred(tomograms):
        return 0.0
    columns = {"tomogram": np.array([tomogram])}
    sizes = sizes_of(name, columns, "tomogram", tomograms, 1)
    if not sizes:
        raise MissingError(
            name,
            "coordinates are counted from the tomogram's centre",
            "tomograms",
            "as its shape (z, y, x) in unbinned voxels, a mapping from its name, "
            f"{tomogram!r}, or 'centred' to count from the centre here too",
        )
    voxels = np.array([int(sizes[each][0]) // 2 for each in reversed(SIZES)])
    pixel = sizes.get(PIXEL_SIZES[0])
    return voxels * (scale if pixel is None else float(pixel[0]) / 10)


def _unbinned(name: str, info: dict[str, Any]) -> float | None:
    """Return nm per unbinned voxel, or None where the file is of before 2018."""
    value = info.get("apix_unbin")
    if value is None:
        return None
    try:
        apix = float(value)
    except (TypeError, ValueError, OverflowError):
        apix = 0.0
    if isinstance(value, bool) or not 0 < apix < np.inf:
        raise FileError(
            name, f": apix_unbin must be a number above 0, not {describe(value)}"
        )
    return apix / 10


def _tomogram(name: str) -> str:
    return Path(name).stem.removesuffix("_info")


def _row(where: str, box: Any) -> tuple[Any, ...]:
    """Return x, y, z, method, score and class of a box."""
    if not isinstance(box, list) or not 3 <= len(box) <= 16:
        raise FileError(
            where, f" must be x, y, z, method, score and class, not {describe(box)}"
        )
    said = box[3:6]
    method, *rest = said + list(_BOX[len(said) :])
    x, y, z, score, number = finite_numbers(where, box[:3] + rest, 5)
    if not isinstance(method, str) or not number.is_integer() or abs(number) > _MOST:
        raise FileError(where, ": method must be a text and class a whole number")
    return x, y, z, method, score, int(number)


def _class(number: int) -> tuple[str, int]:
    return f"particles_{number:02d}", _BOX_SIZE


def _classes(name: str, listed: Any) -> dict[int, tuple[str, int]]:
    """Return name and box size of each class by number."""
    found = {}
    for key, value in (listed if isinstance(listed, dict) else {}).items():
        said = value if isinstance(value, dict) else {"name": value}
        where = f"{name}: class_list, class {describe(key)}"
        size = finite_numbers(where, [said.get("boxsize", _BOX_SIZE)], 1)[0]
        if not re.fullmatch(r"-?\d{1,10}", key) or not 1 <= size <= _MOST:
            raise FileError(where, " must be a number, with a boxsize of 1 or more")
        title = said.get("name")
        found[int(key)] = (_class(int(key))[0] if title is None else str(title), size)
    return {key: (title, int(size)) for key, (title, size) in found.items()}


FORMAT = Format(
    read,
    write,
    ("_info.json",),
    frozenset({"scale", "tomograms", "like"}),
    recognises,
    "EMAN2 boxes",
    scale_of,
)
