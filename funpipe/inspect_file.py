"""What a file holds, in a few lines: a particle list, a volume, a structure."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from funpipe.io.particles import format_of, known_lists, read_molecules
from funpipe.io.relion_tomograms import read_tomograms
from funpipe.io.structures import read_structure
from funpipe.io.volumes import open_volume, volume_stem
from funpipe.molecules import Molecules

__all__ = ["inspect_file"]

_STRUCTURES = (".pdb", ".ent", ".cif", ".mmcif")
_SLAB = 2**24  # voxels that are read at a time
_SAMPLED = 2**28  # voxels above which only some slices are looked at
_PLAUSIBLE = (0.02, 10.0)  # nm per voxel
_NEAR = 0.1  # nm: particles as near as this are one, picked twice


class _Seen(NamedTuple):
    """What a file is, what it holds, and what is odd about it."""

    kind: str
    facts: dict[str, str]
    odd: list[str]


def inspect_file(path: str | os.PathLike[str], *, scale: float | None = None) -> str:
    """Say what a particle list, a volume or a structure holds.

    Parameters
    ----------
    path : path-like
        What `funpipe.io.volumes.open_volume`, `read_molecules` or
        `funpipe.from_structure` read, or RELION's tomograms file.
    scale : float, optional
        nm per voxel, where the file does not say it.

    Returns
    -------
    str
        Lines: what it is; shape or count, scale, ranges, columns; what is odd.

    Raises
    ------
    OSError, ImportError, ValueError
        If it cannot be read, as the readers say.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "picks.csv")
    ...     Molecules(np.zeros((2, 3))).to_csv(path)
    ...     print(inspect_file(path).split(": ", 1)[1])
    a particle list (csv)
      particles  2
      positions  z 0 to 0, y 0 to 0, x 0 to 0 nm
      rotations  none: all the identity
      odd        1 particle within 0.1 nm of another
    """
    name = os.fspath(path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        seen = _seen(name, scale)
    seen.odd.extend(" ".join(str(each.message).split()) for each in caught)
    rows = [*seen.facts.items(), *(("odd", each) for each in seen.odd)]
    width = max(len(key) for key, _ in rows)
    lines = [f"  {key:<{width}}  {text}" for key, text in rows]
    if not seen.odd:
        lines.append("  nothing odd")
    return "\n".join([f"{name}: {seen.kind}", *lines])


def _seen(name: str, scale: float | None) -> _Seen:
    path = Path(name)
    packed = path.with_suffix("") if path.suffix == ".gz" else path
    if packed.suffix.lower() in _STRUCTURES:
        return _structure(name)
    if path.is_dir() or (volume_stem(path.name) and not _is_motive_list(name)):
        return _volume(name, scale)
    try:
        kind = format_of(name)
    except ValueError:
        raise ValueError(
            f"{name}: unknown ending, neither of a volume nor of a structure; "
            f"{known_lists()}"
        ) from None
    if kind == "relion":
        try:
            return _tomograms(name)
        except ValueError:
            pass  # no tomograms file, so a list
    return _particles(name, kind, scale)


# Volumes and structures.


def _is_motive_list(name: str) -> bool:
    """Tell whether an EM file is a table of 20 numbers a particle."""
    if Path(name).suffix.lower() != ".em":
        return False
    z, _, x = open_volume(name).array.shape
    return z == 1 and x == 20


def _volume(name: str, scale: float | None) -> _Seen:
    volume = open_volume(name)
    shape, odd = volume.array.shape, []
    facts = {
        "shape": f"{_by(shape)} voxels (z, y, x), {np.dtype(volume.array.dtype).name}"
    }
    known = scale or volume.scale
    if known is None:
        facts["scale"] = "unknown"
        odd.append(f"{volume.trouble}: give the scale where it is used")
    else:
        facts["scale"] = f"{known:.6g} nm per voxel"
        facts["size"] = f"{_by(known * n for n in shape)} nm"
        if not _PLAUSIBLE[0] <= known <= _PLAUSIBLE[1]:
            odd.append(f"a scale of {known:.4g} nm per voxel is not one of cryo-ET")
    _values(volume.array, facts, odd)
    if volume.source:
        facts["made by"] = volume.source
    return _Seen("a volume", facts, odd)


def _values(array: Any, facts: dict[str, str], odd: list[str]) -> None:
    """Add range, mean and deviation, read slab by slab, or of some slices."""
    depth, height, width = array.shape
    chosen = np.arange(depth)
    if array.shape[0] * height * width > _SAMPLED:
        chosen = np.unique(np.linspace(0, depth - 1, 16).astype(int))
    step = max(1, _SLAB // (height * width)) if len(chosen) == depth else 1
    low, high, total, squares, count, bad = np.inf, -np.inf, 0.0, 0.0, 0, 0
    first = None
    for start in chosen[::step]:
        slab = np.asarray(array[int(start) : int(start) + step], np.float64)
        finite = slab[np.isfinite(slab)]
        bad += slab.size - finite.size
        if not finite.size:
            continue
        low, high = min(low, finite.min()), max(high, finite.max())
        first = finite[0] if first is None else first
        total += (finite - first).sum()  # from a value of its own, for the digits
        squares += ((finite - first) ** 2).sum()
        count += finite.size
    if bad:
        odd.append(f"{bad} voxels are NaN or infinite")
    if first is None:
        return
    mean = total / count
    deviation = np.sqrt(max(squares / count - mean**2, 0.0))
    slices = "" if len(chosen) == depth else f" (of {len(chosen)} slices along z)"
    facts["values"] = (
        f"{low:.4g} to {high:.4g}, mean {mean + first:.4g}, standard deviation "
        f"{deviation:.4g}{slices}"
    )
    if low == high:
        odd.append("all voxels are the same: there is nothing in it")


def _structure(name: str) -> _Seen:
    atoms = read_structure(name)
    size = np.ptp(atoms.positions, axis=0)
    return _Seen(
        "an atomic structure",
        {"atoms": f"{len(atoms.weights)}, without waters", "size": f"{_by(size)} nm"},
        [],
    )


def _by(sizes: Iterable[float]) -> str:
    return " x ".join(f"{each:.5g}" for each in sizes)


# Particle lists.


def _tomograms(name: str) -> _Seen:
    found = read_tomograms(name)
    facts = {"tomograms": str(len(found))}
    for each, info in found.items():
        scale = "" if info.scale is None else f", {info.scale:.6g} nm per voxel"
        hand = "" if info.hand is None else f", hand {info.hand:+.0f}"
        facts[each] = f"{_by(info.shape)} voxels (z, y, x){scale}{hand}"
    odd = [
        f"{len(group)} tomograms of hand {hand:+.0f}, the others not"
        for hand in (-1.0,)
        if 0 < len(group := [i for i in found.values() if i.hand == hand]) < len(found)
    ]
    return _Seen("RELION's tomograms file", facts, odd)


def _particles(name: str, kind: str, scale: float | None) -> _Seen:
    odd: list[str] = []
    molecules, unit = _read(name, scale, odd)
    facts = {"particles": str(len(molecules))}
    features = dict(molecules.features)
    if "tomogram" in features:
        names, counts = np.unique(features["tomogram"], return_counts=True)
        facts["tomograms"] = f"{len(names)}: {_counted(names, counts)}"
    if len(molecules):
        facts["positions"] = _ranges(molecules.positions, unit)
        angles = np.degrees(molecules.rotations.magnitude())
        facts["rotations"] = (
            f"by {angles.min():.4g} to {angles.max():.4g} degrees"
            if angles.max() > 1e-6
            else "none: all the identity"
        )
        _odd_places(molecules, unit, odd)
    else:
        odd.append("there are no particles")
    for title, values in features.items():
        if title != "tomogram":
            facts[f"column {title}"] = _column(values)
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                bad = int((~np.isfinite(values)).sum())
                odd.append(f"column {title} has {bad} values NaN or infinite")
    return _Seen(f"a particle list ({kind})", facts, odd)


def _read(name: str, scale: float | None, odd: list[str]) -> tuple[Molecules, str]:
    """Return molecules in nm, or in what the list alone allows."""
    options: dict[str, Any] = {} if scale is None else {"scale": scale}
    unit = "nm"
    while True:
        try:
            return read_molecules(name, **options), unit
        except ValueError as error:
            if "tomograms=" in str(error) and "tomograms" not in options:
                options["tomograms"] = "centred"
                odd.append(
                    "positions are counted from the tomogram's centre: a reader needs "
                    "the tomograms file or their sizes"
                )
            elif "scale=" in str(error) and "scale" not in options:
                options["scale"] = 1.0
                unit = "voxels"
                odd.append("no voxel size in the list: give the scale of its voxels")
            else:
                raise


def _ranges(positions: NDArray[Any], unit: str) -> str:
    low, high = positions.min(axis=0), positions.max(axis=0)
    each = zip("zyx", low, high, strict=True)
    texts = (f"{axis} {a:.5g} to {b:.5g}" for axis, a, b in each)
    return f"{', '.join(texts)} {unit}"


def _odd_places(molecules: Molecules, unit: str, odd: list[str]) -> None:
    from scipy.spatial import cKDTree

    tomograms = molecules.features.get("tomogram", np.zeros(len(molecules)))
    twice = 0
    for each in np.unique(tomograms):
        positions = molecules.positions[tomograms == each]
        pairs = cKDTree(positions).query_pairs(_NEAR, output_type="ndarray")
        twice += len(np.unique(pairs[:, 1])) if len(pairs) else 0
    if twice:
        odd.append(f"{_count(twice)} within {_NEAR} {unit} of another")
    below = int((molecules.positions < -0.5).any(axis=1).sum())
    centred = any("tomogram's centre" in each for each in odd)
    if below and not centred:
        odd.append(f"{_count(below)} before the tomogram's first voxel")


def _count(n: int) -> str:
    return f"{n} particle{'s' * (n != 1)}"


def _column(values: NDArray[Any]) -> str:
    """Say a column's type, and its values or their range."""
    known = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    different, counts = np.unique(known, return_counts=True)
    kind = {"b": "truth values", "i": "whole numbers", "u": "whole numbers"}.get(
        values.dtype.kind, "numbers" if values.dtype.kind == "f" else "texts"
    )
    if not len(different):
        return f"{kind}, none known" if len(values) else kind
    if len(different) == 1:
        return f"{kind}, all {_text(different[0])}"
    if len(different) <= 6 and counts.max() > 1:
        return f"{kind}: {_counted(different, counts)}"
    if values.dtype.kind in "iuf":
        return f"{kind}, {_text(different[0])} to {_text(different[-1])}"
    return f"{kind}, {len(different)} different, such as {_text(different[0])}"


def _counted(values: NDArray[Any], counts: NDArray[Any]) -> str:
    pairs = list(zip(values.tolist(), counts.tolist(), strict=True))
    shown = [f"{_text(value)} ({count})" for value, count in pairs[:6]]
    return ", ".join(shown) + (", ..." if len(pairs) > 6 else "")


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float | np.floating) else str(value)
