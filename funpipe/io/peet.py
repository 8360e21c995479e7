"""PEET's motive lists: rotations and shifts for the points of an IMOD model.

A list is text, 20 numbers a particle, separated by commas, below a line of titles; its
model lies beside it. A particle is at the model's point with the number pIndex, counted
from 1, + (xOffset, yOffset, zOffset), in pixels of the tomogram; EulerZ(1), EulerX(2),
EulerZ(3) turn the reference about the fixed axes z, x, z of the tomogram, in that order
(man page alignSubset of PEET 1.18). TEMPy's ``PEETMotiveList.py``, cylindra's
``ext/imod`` and TomoNet's ``util/geometry.py`` make the same rotation of them. What a
model calls the first voxel stands in `funpipe.io.mod`.

PEET names lists ``OUTPUT_MOTL_Tom1_Iter2.csv``, and the models of its tomograms in a
parameter file ``.prm`` with that OUTPUT as ``fnOutput``. Else the model of
``NAME_MOTL.csv``, ``NAME_initMOTL.csv`` or ``NAME_MOTL_Tom1_Iter2.csv`` is
``NAME.mod``. A list that is written says for which points it is: its model is replaced
after it, and no other is taken for it, however the writer ended.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from funpipe.base.errors import Argument, FileError, WrongValueError
from funpipe.base.euler import STOPGAP
from funpipe.base.molecules import Molecules
from funpipe.base.sources import check_source, read_bytes
from funpipe.base.texts import typed
from funpipe.base.whole import alone, check_target, replacing
from funpipe.io import mod
from funpipe.io.columns import PixelList
from funpipe.io.formats import Format, only_one, warn_of_left_out

__all__ = ["FORMAT", "model_beside", "read", "recognises", "scale_of", "write"]

_TITLES = (
    "CCC,reserved,reserved,pIndex,wedgeWT,adjCCC,NA,NA,NA,NA,xOffset,yOffset,zOffset,"
    "NA,NA,oldClass,EulerZ(1),EulerZ(3),EulerX(2),class"
)
_COLUMNS = tuple(
    f"{title}_{number}" if title in ("reserved", "NA") else title
    for number, title in enumerate(_TITLES.split(","), start=1)
)
"""Those without a meaning have their number behind them."""
_POINT = ("model_x", "model_y", "model_z")
_LIST = PixelList(
    coordinates=_POINT,
    shifts=("xOffset", "yOffset", "zOffset"),
    angles=("EulerZ(1)", "EulerX(2)", "EulerZ(3)"),
    euler=STOPGAP,
    tomogram="tomogram number",
    first=tuple(mod.FIRST.tolist()),
)
_NAME = re.compile(r"(?P<base>.+?)_?(?:init)?MOTL(?:_Tom(?P<tomogram>[0-9]+))?.*")
_MADE = "CREATED WITH funpipe for points "


def recognises(head: bytes) -> bool:
    """Tell whether a file begins as a motive list of PEET does."""
    return re.match(rb"\s*CCC\s*,\s*reserved\s*,", head) is not None


def read(path: str | os.PathLike[str], *, scale: float | None = None) -> Molecules:
    """Read a motive list and its model; columns are features under their titles.

    Parameters
    ----------
    path : path-like
        The list; the model (extra ``imod``) lies beside it. Object and contour of a
        point are features, and its coordinates are model_x, model_y and model_z.
    scale : float, optional
        nm per voxel of the tomogram; by default the pixel size in the model's header.
    """
    name = os.fspath(path)
    made_for, columns = _columns(name)
    model = _model_of(name)
    points, parts, known = mod.read_points(model)
    if made_for is not None and made_for != _digest(points):
        raise WrongValueError(
            f"{model} has other points than those that {name} was written with: one "
            f"was replaced without the other; to take them nonetheless, take "
            f"'{_MADE}{made_for}' out of the list's first line",
            where=name,
        )
    which = _which(name, model, columns["pIndex"], len(points)) - 1
    columns |= dict(zip(_POINT, points[which].T, strict=True))
    columns |= {title: values[which] for title, values in parts.items()}
    scale = mod.scale_needed(model, known if scale is None else scale)
    return _LIST.molecules(name, columns, scale)


def write(
    molecules: Molecules, path: str | os.PathLike[str], *, scale: float | None = None
) -> None:
    """Write a motive list and, beside it, the model of its points.

    Parameters
    ----------
    molecules : Molecules
        The particles of one tomogram. They come back in the order of their objects
        and contours. Of the features the list has those with its columns' titles, and
        ``score`` as CCC and adjCCC.
    path : path-like
        Where to, ending in ``.csv``; the model goes to ``NAME.mod`` for
        ``NAME_MOTL.csv``. A list that is there is replaced with its model.
    scale : float
        nm per voxel of the tomogram; the model's header gets it.

    Raises
    ------
    ValueError
        If the particles are of several tomograms, something is no number, or it would
        replace a model that is not that of the list.

    Warns
    -----
    UserWarning
        Of the features that a list has no place for.
    """
    name = os.fspath(path)
    _check_ending(name)
    if scale is None:
        pass_scale = (": pass ", Argument("scale", "..."), " in nm per voxel")
        raise FileError(name, *pass_scale, name="scale")
    if "tomogram" in molecules.features:
        only_one(name, "tomogram", molecules.features["tomogram"])
    parts = {each: mod.indices(molecules, each) for each in ("object", "contour")}
    order = np.lexsort((parts["contour"], parts["object"]))
    columns, _ = _LIST.columns(molecules[order], scale)
    points = np.stack([columns[each] for each in _POINT], axis=1).astype(float)
    objects, contours = (parts[each][order] for each in ("object", "contour"))
    model = mod.made(points, objects, contours, scale)
    left = _LIST.left_out(molecules, {*_COLUMNS, *_POINT, *parts, "score"})
    if "tomogram" in molecules.features:
        left.append("tomogram")
    rows = zip(*_texts(columns, len(molecules)), strict=True)
    lines = [f"{_TITLES},{_MADE}{_digest(points)}", *(",".join(each) for each in rows)]
    with alone(path), replacing(_target_model(name)) as partial:
        mod.put(model, partial)
        with replacing(path) as partial_list:
            partial_list.write_text("\n".join(lines) + "\n", encoding="ascii")
    warn_of_left_out(left, (), "a motive list of PEET")


def scale_of(path: str | os.PathLike[str]) -> float | None:
    """Return the scale of a list's model in nm per voxel, None if it does not say."""
    return mod.scale_of(_model_of(os.fspath(path)))


def model_beside(path: str | os.PathLike[str]) -> str:
    """Return the path of the model that is written with a list.

    Examples
    --------
    >>> model_beside("a_MOTL.csv")
    'a.mod'
    """
    found = _NAME.fullmatch(Path(path).stem)
    base = found["base"] if found else Path(path).stem
    return str(Path(path).with_name(f"{base}.mod"))


FORMAT = Format(
    read,
    write,
    ("_motl.csv",),
    frozenset({"scale"}),
    recognises,
    title="motive lists of PEET",
    scale_of=scale_of,
    beside=model_beside,
    keeps_scale="list",
)


def _columns(name: str) -> tuple[str | None, dict[str, NDArray[Any]]]:
    """Return for which points a list says that it was written, and its columns."""
    try:
        text = read_bytes(name).decode("ascii")
    except UnicodeDecodeError:
        raise FileError(name, " is no motive list of PEET: it is not text") from None
    lines = text.split("\n")
    titled = recognises(lines[0].encode())
    made_for = re.search(rf"{_MADE}([0-9a-f]+)", lines[0]) if titled else None
    rows: list[list[str]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or (titled and number == 1):
            continue
        row = [each.strip() for each in line.split(",", len(_COLUMNS) + 1)]
        if row[-1] == "" and len(row) > len(_COLUMNS):
            row.pop()
        if len(row) != len(_COLUMNS):
            raise FileError(
                name,
                f", line {number}: {len(row)} values, not {len(_COLUMNS)}: no "
                "motive list of PEET, or a damaged one",
            )
        rows.append(row)
    if not rows:
        raise FileError(name, " holds no particles")
    columns = {
        title: typed(list(texts))
        for title, texts in zip(_COLUMNS, zip(*rows, strict=True), strict=True)
    }
    return made_for and made_for[1], columns


def _which(
    name: str, model: str, numbers: NDArray[Any], count: int
) -> NDArray[np.int64]:
    """Return which of the model's points the particles are, from 1."""
    whole = numbers.dtype.kind in "if" and (numbers == np.round(numbers)).all()
    good = numbers if whole else np.zeros(len(numbers))
    bad = np.flatnonzero((good < 1) | (good > count))
    if bad.size:
        row = int(bad[0])
        raise FileError(
            name,
            f": column 'pIndex', row {row + 1}: {numbers.tolist()[row]!r} is "
            f"none of the {count} points in {model}",
        )
    return good.astype(np.int64)


def _model_of(name: str) -> str:
    """Return the path of a list's model."""
    path = Path(name)
    found = _NAME.fullmatch(path.stem)
    base = found["base"] if found else path.stem
    tomogram = _tomogram(name)
    for each in sorted(path.parent.glob("*.prm")):
        models = _models(each, base)
        if 1 <= tomogram <= len(models):
            model = str(path.parent / models[tomogram - 1])
            check_source(model)
            return model
    model = str(path.with_name(f"{base}.mod"))
    if tomogram == 1 and os.path.exists(model):
        return model
    raise FileError(
        name,
        f": the model with its points is not there: put it beside the list (or a "
        f"link to it) as {base}.mod, or the .prm that names it, with fnOutput = "
        f"'{base}'"
        if tomogram == 1
        else f": beside it is no .prm with fnOutput = '{base}' that names the "
        f"model of tomogram {tomogram}",
    )


def _models(path: Path, output: str) -> list[str]:
    """Return the models that a parameter file names, if it is that of the output."""
    if not path.is_file():
        return []
    text = read_bytes(path, 2**24).decode("utf-8", "replace")
    named = re.search(r"(?m)^\s*fnOutput\s*=\s*['\"]([^'\"\n]*)", text)
    models = re.search(r"(?m)^\s*fnModParticle\s*=\s*\{([^}]*)\}", text)
    if not named or not models or named[1] != output:
        return []
    return re.findall(r"['\"]([^'\"\n]+)['\"]", models[1])


def _check_ending(name: str) -> None:
    if not name.lower().endswith(".csv"):
        raise FileError(name, ": the name of a motive list of PEET ends in .csv")


def _target_model(name: str) -> str:
    """Return where the model of a list goes; refuse to replace another's."""
    check_target(name)
    model = model_beside(name)
    try:
        found = _model_of(name)
    except (OSError, ValueError):  # there is none
        found = None
    if found not in (None, model) or _tomogram(name) != 1:
        raise FileError(
            name,
            " is the name of a list of PEET's own, whose model a .prm names: "
            "write NAME_MOTL.csv, whose model is NAME.mod",
        )
    if os.path.lexists(model) and not os.path.exists(name):
        raise ValueError(
            f"{model} is there without {name}, and the list's points would replace "
            "it: give the list another name"
        )
    return model


def _tomogram(name: str) -> int:
    """Return the number of the tomogram in a list's name, 1 where there is none."""
    found = _NAME.fullmatch(Path(name).stem)
    return int(found["tomogram"] or 1) if found else 1


def _digest(points: NDArray[np.float64]) -> str:
    """Return what tells points of a model from others."""
    return hashlib.sha256(points.astype(">f4").tobytes()).hexdigest()[:16]


def _texts(columns: dict[str, NDArray[Any]], count: int) -> list[list[str]]:
    """Return the texts of the 20 columns."""
    if "score" in columns:
        columns = {**columns, "CCC": columns["score"], "adjCCC": columns["score"]}
    ones = np.ones(count, dtype=int)
    fresh = {"CCC": ones, "wedgeWT": ones, **columns, "pIndex": np.arange(1, count + 1)}
    fresh.setdefault("adjCCC", fresh["CCC"])
    empty = np.zeros(count, dtype=int)
    return [_numbers(each, fresh.get(each, empty)) for each in _COLUMNS]


def _numbers(name: str, values: NDArray[Any]) -> list[str]:
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{name}: a motive list of PEET holds numbers only")
    if values.dtype.kind == "b":
        values = values.astype(int)
    return ["NaN" if each != each else repr(each) for each in values.tolist()]
