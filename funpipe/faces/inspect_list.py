"""What a particle list holds, and what is odd about it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from funpipe.base.errors import MissingError
from funpipe.base.molecules import Molecules
from funpipe.io.particles import FORMATS, read_molecules
from funpipe.io.relion_poses import PIXEL_SIZES, SIZES
from funpipe.io.volumes import open_volume, volume_stem

__all__ = ["Seen", "by", "particles"]

_NEAR = 0.1  # nm: particles as near as this are one, picked twice
_FARTHEST = 1e100  # beyond which no square is a number
_MANY = 10  # particles of a tomogram, which then fill some of it
_WIDE, _DEEP = 2000.0, 1000.0  # nm: more than tomograms are
_NARROW, _FLAT = 100.0, 20.0  # nm: less than many particles are spread over
_FILLED = 0.25  # of a tomogram, likewise
_PARTS = "of the tomogram's size"
_SIZES = (*SIZES, PIXEL_SIZES[0])


class Seen(NamedTuple):
    """What a file is, what it holds, and what is odd about it."""

    kind: str
    facts: dict[str, str]
    odd: list[str]


class _Known(NamedTuple):
    """Particles in nm, or in what the list alone allows."""

    molecules: Molecules
    unit: str = "nm"
    centred: bool = False
    """Whether positions count from the tomogram's centre."""


def particles(name: str, kind: str, scale: float | None, tomogram: Any) -> Seen:
    """Say what a list of a format holds; its particles may be in a tomogram."""
    odd: list[str] = []
    known = _read(name, kind, scale, tomogram, odd)
    molecules, unit = known.molecules, known.unit
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
        odd += _odd_places(known)
        if unit in ("nm", "voxels"):
            odd += _odd_spans(known)
            if tomogram is not None:
                odd += _odd_in(known, tomogram, facts)
    else:
        odd.append("there are no particles")
    for title, values in features.items():
        if title != "tomogram":
            facts[f"column {title}"] = _column(values)
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                bad = int((~np.isfinite(values)).sum())
                odd.append(f"column {title} has {bad} values NaN or infinite")
    return Seen(f"a particle list ({kind})", facts, odd)


def _read(
    name: str, kind: str, scale: float | None, tomogram: Any, odd: list[str]
) -> _Known:
    """Return the particles; for what the list does not say something stands in."""
    options: dict[str, Any] = {} if scale is None else {"scale": scale}
    unit, centred = "nm", False
    while True:
        try:
            molecules = read_molecules(name, **options)
        except MissingError as error:
            if error.name in options:
                raise
            if error.name == "tomograms" and FORMATS[kind].counts_in == "parts":
                options["tomograms"] = tomogram or (1, 1, 1)
                if tomogram is not None:
                    continue
                options["scale"], unit = 1.0, _PARTS
            elif error.name == "tomograms":
                options["tomograms"], centred = "centred", True
            elif error.name == "scale":
                options["scale"], unit = 1.0, "voxels"
            else:
                raise
            odd.append(f"{error.reason}: give {error.name} where it is read")
        else:
            if unit == _PARTS:  # of a size that stands in
                molecules = Molecules(
                    molecules.positions,
                    molecules.rotations,
                    {k: v for k, v in molecules.features.items() if k not in _SIZES},
                )
            return _Known(molecules, unit, centred)


def by(sizes: Iterable[float]) -> str:
    """Return sizes along the axes as a text."""
    return " x ".join(f"{each:.5g}" for each in sizes)


# Where they are.


def _ranges(positions: NDArray[Any], unit: str) -> str:
    low, high = positions.min(axis=0), positions.max(axis=0)
    each = zip("zyx", low, high, strict=True)
    texts = (f"{axis} {a:.5g} to {b:.5g}" for axis, a, b in each)
    return f"{', '.join(texts)} {unit}"


def _groups(molecules: Molecules) -> list[NDArray[Any]]:
    """Return the positions of each tomogram."""
    tomograms = molecules.features.get("tomogram", np.zeros(len(molecules)))
    return [molecules.positions[tomograms == each] for each in np.unique(tomograms)]


def _odd_places(known: _Known) -> list[str]:
    from scipy.spatial import cKDTree

    odd, twice = [], 0
    for positions in _groups(known.molecules):
        positions = positions[(np.abs(positions) < _FARTHEST).all(axis=1)]
        pairs = cKDTree(positions).query_pairs(_NEAR, output_type="ndarray")
        twice += len(np.unique(pairs[:, 1])) if len(pairs) else 0
    if twice and known.unit in ("nm", "voxels"):
        odd.append(f"{_count(twice)} within {_NEAR} {known.unit} of another")
    below = int((known.molecules.positions < -0.5).any(axis=1).sum())
    if below and not known.centred:
        odd.append(f"{_count(below)} before the tomogram's first voxel")
    return odd


def _odd_spans(known: _Known) -> list[str]:
    """Say where positions are spread over more or less than tomograms are large."""
    positions = known.molecules.positions
    if len(positions) > 1 and positions.min() >= 0 and 0 < positions.max() <= 1:
        return [
            f"all positions are below 1 {known.unit}: are they parts of a tomogram's "
            "size?"
        ]
    if known.unit != "nm":
        return []
    groups = _groups(known.molecules)
    spans = np.array([np.ptp(each, axis=0) for each in groups])
    deep, wide = spans[:, 0].max(), spans[:, 1:].max()
    if not known.centred:
        deep, wide = max(deep, positions[:, 0].max()), max(wide, positions[:, 1:].max())
    if wide > _WIDE or deep > _DEEP:
        return [
            f"positions are {wide:.4g} nm wide and {deep:.4g} nm deep: more than a "
            "tomogram; is the scale right?"
        ]
    spans = spans[[len(each) >= _MANY for each in groups]]
    if not len(spans):
        return []
    deep, wide = spans[:, 0].max(), spans[:, 1:].max()
    if 0 < wide < _NARROW or 0 < deep < _FLAT:
        return [
            f"positions are spread over {wide:.4g} nm, and {deep:.4g} nm deep: less "
            "than a tomogram; is the scale right?"
        ]
    return []


def _odd_in(known: _Known, tomogram: Any, facts: dict[str, str]) -> list[str]:
    """Say where positions do not go together with the tomogram."""
    volume = open_volume(tomogram)
    name = Path(tomogram).name
    scale = volume.scale if known.unit == "nm" else 1.0
    if scale is None:
        return [f"{name}: {volume.trouble}, so that positions cannot be compared"]
    size = np.array(volume.array.shape) * scale
    facts["in"] = f"{name}, {by(size)} {known.unit}"
    positions = _inside(known.molecules, name)
    if positions is None:
        return [f"the list names several tomograms, but none that {name} holds"]
    if known.centred:
        positions = positions + size / 2
    low, high = -scale / 2, size - scale / 2
    outside = np.any((positions < low) | (positions > high), axis=1)
    if outside.any():
        count = f"{int(outside.sum())} of {outside.size} particles"
        return [f"{count} outside {name}: is the scale right?"]
    filled = np.ptp(positions, axis=0) / size
    if len(positions) >= _MANY and filled.max() < _FILLED:
        return [f"positions fill only {by(filled)} of {name}: is the scale right?"]
    return []


def _inside(molecules: Molecules, name: str) -> NDArray[Any] | None:
    """Return the positions of those that are in the tomogram by its file's name."""
    names = molecules.features.get("tomogram")
    if names is None or len(np.unique(names)) == 1:
        return molecules.positions
    stem = volume_stem(name) or name
    stems = {each: Path(each).stem for each in np.unique(names).tolist()}
    held = [each for each in stems if each in stem or stems[each] in stem]
    if not held:
        return None
    longest = max(held, key=len)  # TS_10, where TS_1 is there too
    return molecules.positions[names == longest]


def _count(n: int) -> str:
    return f"{n} particle{'s' * (n != 1)}"


# What else is known of them.


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
