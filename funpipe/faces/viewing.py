"""Volumes and particles in napari (extra ``napari``): a reader, and a sample.

The manifest ``napari.yaml`` beside the package names them. Layers are in nm, z, y, x,
with the centre of a volume's first voxel at 0: particles lie where they are in their
tomogram.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from funpipe.base.molecules import Molecules
from funpipe.io.particles import read_molecules
from funpipe.io.volumes import open_volume, volume_stem

__all__ = ["layers", "reader_of", "sample"]

Layer: TypeAlias = tuple[Any, dict[str, Any], str]

_ARROW = 10.0  # nm


def reader_of(path: str | Sequence[str]) -> Callable[[Any], list[Layer]] | None:
    """Return what reads a file; None for several files as one stack.

    Examples
    --------
    >>> reader_of("tomogram.mrc") is layers, reader_of(["a.mrc", "b.mrc"]) is None
    (True, True)
    """
    return layers if isinstance(path, str) else None


def layers(path: str) -> list[Layer]:
    """Return a file as layers: a volume as an image, a list as points and arrows.

    Parameters
    ----------
    path : str
        A volume, or a particle list that says its scale.

    Returns
    -------
    list of (data, options, kind)
        As napari takes them.

    Raises
    ------
    OSError, ImportError, ValueError
        If it cannot be read, see `read_molecules` and
        `funpipe.io.volumes.open_volume`.
    """
    if volume_stem(Path(path).name):
        return _of_volume(path)
    return of_molecules(read_molecules(path), Path(path).stem)


def _of_volume(path: str) -> list[Layer]:
    volume = open_volume(path)
    scale = volume.scale or 1.0
    options = {"name": volume_stem(Path(path).name), "scale": (scale,) * 3}
    return [(np.asarray(volume.array), options, "image")]


def of_molecules(molecules: Molecules, name: str) -> list[Layer]:
    """Return particles as points, with their features, and their z axes as arrows."""
    positions = np.array(molecules.positions)
    along = molecules.rotations.apply([1.0, 0.0, 0.0]).reshape(-1, 3)
    features = {each: np.array(x) for each, x in molecules.features.items()}
    points = {"name": name, "size": _ARROW / 2, "features": features}
    arrows = {
        "name": f"{name}: z axes",
        "edge_width": _ARROW / 10,
        "vector_style": "arrow",
    }
    directions = np.stack([positions, _ARROW * along], axis=1)
    return [(positions, points, "points"), (directions, arrows, "vectors")]


def sample() -> list[Layer]:
    """Return the map of the demo: the 30S ribosomal subunit of PDB entry 4V4R."""
    with as_file(files("funpipe") / "data" / "30S_4v4r.mrc.gz") as path:
        found = _of_volume(str(path))
    return [
        (np.array(data), {**options, "name": "30S"}, kind)
        for data, options, kind in found
    ]
