"""What a file holds, in a few lines: a particle list, a volume, a structure."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from funpipe.base import arguments as check
from funpipe.base.errors import FileError
from funpipe.base.sources import check_source
from funpipe.base.wording import fail, printable
from funpipe.faces.inspect_list import Seen, by, particles
from funpipe.io.mrc import open_mrc
from funpipe.io.particles import format_of, lists_known
from funpipe.io.relion_tomograms import holds_tomograms, tomogram_infos
from funpipe.io.structures import read_structure
from funpipe.io.volumes import Volume, open_volume, volume_stem

__all__ = ["inspect_file"]

_STRUCTURES = (".pdb", ".ent", ".cif", ".mmcif")
_SLAB = 2**21  # voxels that are read at a time
_SAMPLED = 2**28  # voxels above which only some slices are looked at
_PLAUSIBLE = (0.02, 10.0)  # nm per voxel
_SCALES = (1e-3, 1e3)  # nm per voxel, of whatever can be looked at
_STACK = ".mrcs"


def inspect_file(
    path: str | os.PathLike[str],
    *,
    scale: float | None = None,
    tomogram: str | os.PathLike[str] | None = None,
) -> str:
    """Say what a particle list, a volume or a structure holds.

    Parameters
    ----------
    path : path-like
        What `funpipe.io.volumes.open_volume`, `read_molecules` or
        `funpipe.from_structure` read, RELION's tomograms file, or a stack of images.
    scale : float, optional
        nm per voxel, where the file does not say it.
    tomogram : path-like, optional
        The volume that a list's particles are in: whether they are is said too.

    Returns
    -------
    str
        Lines: what it is; shape or count, scale, ranges, columns; what is odd. Control
        characters are escaped.

    Raises
    ------
    OSError, ImportError, ValueError
        If it cannot be read, as the readers say, or the scale is none of a voxel.

    Examples
    --------
    >>> import tempfile
    >>> from funpipe import Molecules
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
    name = check.path("path", path)
    if scale is not None:
        scale = check.positive("scale", scale)
        if not _SCALES[0] <= scale <= _SCALES[1]:
            wanted = f"a number of nm per voxel, {_SCALES[0]:g} to {_SCALES[1]:g}"
            fail("scale", wanted, scale)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        seen = _seen(name, scale, tomogram)
    seen.odd.extend(" ".join(str(each.message).split()) for each in caught)
    rows = [*seen.facts.items(), *(("odd", each) for each in seen.odd)]
    width = max(len(key) for key, _ in rows)
    lines = [f"  {key:<{width}}  {text}" for key, text in rows]
    if not seen.odd:
        lines.append("  nothing odd")
    return "\n".join(map(printable, [f"{name}: {seen.kind}", *lines]))


def _seen(name: str, scale: float | None, tomogram: Any) -> Seen:
    seen = _other(name, scale)
    if seen is None:
        return particles(name, format_of(name), scale, tomogram)
    if tomogram is not None:
        raise ValueError(
            f"{name} is {seen.kind}, but only a particle list is compared with a "
            "tomogram"
        )
    return seen


def _other(name: str, scale: float | None) -> Seen | None:
    """Return what is seen in a file that is no particle list."""
    path = Path(name)
    packed = path.with_suffix("") if path.suffix == ".gz" else path
    if packed.suffix.lower() in _STRUCTURES:
        return _structure(name)
    if path.suffix.lower() == _STACK:
        return _stack(name, scale)
    if path.is_dir() or (volume_stem(path.name) and not _is_motive_list(name)):
        return _volume(name, scale)
    try:
        kind = format_of(name)
    except ValueError:
        said = ": unknown ending, neither of a volume nor of a structure; "
        raise FileError(name, said, *lists_known()) from None
    return _tomograms(name) if kind == "relion" and holds_tomograms(name) else None


# Volumes and structures.


def _is_motive_list(name: str) -> bool:
    """Tell whether an EM file is a table of 20 numbers a particle."""
    if Path(name).suffix.lower() != ".em":
        return False
    z, _, x = open_volume(name).array.shape
    return z == 1 and x == 20


def _volume(name: str, scale: float | None) -> Seen:
    volume = open_volume(name)
    shape = volume.array.shape
    kind = np.dtype(volume.array.dtype).name
    facts = {"shape": f"{by(shape)} voxels (z, y, x), {kind}"}
    return _image("a volume", volume, facts, scale)


def _stack(name: str, scale: float | None) -> Seen:
    """Say what is in a stack of 2-D images, which is no volume."""
    check_source(name)
    volume = open_mrc(name, images=True)
    count, *size = volume.array.shape
    facts = {"images": f"{count} of {by(size)} pixels (y, x), {volume.array.dtype}"}
    return _image("a stack of 2-D images", volume, facts, scale)


def _image(
    kind: str, volume: Volume, facts: dict[str, str], scale: float | None
) -> Seen:
    odd: list[str] = []
    known = scale or volume.scale
    if known is None:
        facts["scale"] = "unknown"
        odd.append(f"{volume.trouble}: give the scale where it is used")
    else:
        facts["scale"] = f"{known:.6g} nm per voxel"
        if "shape" in facts:
            facts["size"] = f"{by(known * n for n in volume.array.shape)} nm"
        if not _PLAUSIBLE[0] <= known <= _PLAUSIBLE[1]:
            odd.append(f"a scale of {known:.4g} nm per voxel is not one of cryo-ET")
    _values(volume.array, facts, odd)
    if volume.source:
        facts["made by"] = volume.source
    return Seen(kind, facts, odd)


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


def _structure(name: str) -> Seen:
    atoms = read_structure(name)
    size = np.ptp(atoms.positions, axis=0)
    return Seen(
        "an atomic structure",
        {"atoms": f"{len(atoms.weights)}, without waters", "size": f"{by(size)} nm"},
        [],
    )


def _tomograms(name: str) -> Seen:
    found = tomogram_infos(name)
    facts = {"tomograms": str(len(found))}
    for each, info in found.items():
        scale = "" if info.scale is None else f", {info.scale:.6g} nm per voxel"
        hand = "" if info.hand is None else f", hand {info.hand:+.0f}"
        facts[each] = f"{by(info.shape)} voxels (z, y, x){scale}{hand}"
    odd = [
        f"{len(group)} tomograms of hand {hand:+.0f}, the others not"
        for hand in (-1.0,)
        if 0 < len(group := [i for i in found.values() if i.hand == hand]) < len(found)
    ]
    return Seen("RELION's tomograms file", facts, odd)
