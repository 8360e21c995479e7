"""The demo: the main job from beginning to end, on a real structure in noise.

The structure is the 30S ribosomal subunit of PDB entry 4V4R; the README beside its
map in the folder ``data`` says where it is from.
"""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np

from funpipe.align import align
from funpipe.arguments import Image
from funpipe.average import average
from funpipe.converters import gaussian_filter
from funpipe.io.extras import require
from funpipe.io.volumes import read_volume, write_mrc
from funpipe.masks import soft_otsu
from funpipe.molecules import Molecules
from funpipe.plot import central_slices
from funpipe.providers import from_file
from funpipe.shells import fourier_shell_correlation, resolution_at
from funpipe.simulate import perturbed, tomogram
from funpipe.subtomograms import subtomograms

__all__ = ["demo", "pose_errors"]

_SCALE = 0.7  # nm per voxel of the tomogram; the template file has another
_BOX = 40
_TILT = (-60, 60)
_FINEST = 3.0  # nm; what is finer has no part in the alignment
_SIDE = 7  # rows, and particles in each
_NOISE = 80.0  # the structure's densest voxel is 100
_FILES = (
    "tomogram.mrc",
    "template.mrc",
    "picks.csv",
    "aligned.csv",
    "average.mrc",
    "slices.png",
)


def demo(folder: Path) -> None:
    """Simulate, align and average; write the files into a folder, print the errors.

    Parameters
    ----------
    folder : Path
        Made if it is not there. It gets ``tomogram.mrc``, ``template.mrc``,
        ``picks.csv``, ``aligned.csv``, ``average.mrc`` and ``slices.png``.
    """
    require("matplotlib", "plot", "to draw the demo's picture")
    folder.mkdir(parents=True, exist_ok=True)
    truth = _simulate(folder)
    picks = perturbed(truth, shift=2.0, angle=15.0, seed=2)
    picks.to_csv(folder / "picks.csv")

    template = gaussian_filter(0.5) @ from_file(folder / "template.mrc")
    mask = soft_otsu(sigma=2.0, radius=1.0)
    aligned = align(
        folder / "tomogram.mrc",
        picks,
        template=template,
        mask=mask,
        max_shifts=4.0,
        rotations=(15, 5),
        tilt=_TILT,
        resolution=_FINEST,
    )
    aligned.to_csv(folder / "aligned.csv")
    after = _average(folder, aligned)
    write_mrc(folder / "average.mrc", after, _SCALE)

    halves = {"before": _halves(folder, picks), "after": _halves(folder, aligned)}
    figure = central_slices(
        {
            "one particle": subtomograms(
                folder / "tomogram.mrc", picks[:1], shape=_BOX
            )[0],
            f"average of picks, {halves['before']:.1f} nm": _average(folder, picks),
            f"after alignment, {halves['after']:.1f} nm": after,
            "template": template(_SCALE),
        },
        _SCALE,
        columns=True,
    )
    figure.savefig(folder / "slices.png", dpi=80)

    print(f"{len(truth)} particles aligned to {template} under {mask}")
    for name, molecules in (("before", picks), ("after", aligned)):
        shift, angle = pose_errors(molecules, truth)
        print(
            f"{name:>6}: median error {np.median(shift):.3f} nm, "
            f"{np.median(angle):.2f} degrees, resolution {halves[name]:.2f} nm"
        )
    print(f"written to {folder}: {', '.join(_FILES)}")


def pose_errors(
    molecules: Molecules, truth: Molecules
) -> tuple[np.ndarray, np.ndarray]:
    """Return how far molecules are from the truth, in nm and in degrees."""
    shift = np.linalg.norm(molecules.positions - truth.positions, axis=1)
    angle = (truth.rotations.inv() * molecules.rotations).magnitude()
    return shift, np.degrees(angle)


def _average(folder: Path, molecules: Molecules) -> Image:
    return average(folder / "tomogram.mrc", molecules, shape=_BOX, tilt=_TILT)


def _halves(folder: Path, molecules: Molecules) -> float:
    """Return the resolution of the averages of even and odd particles."""
    even, odd = (_average(folder, molecules[i::2]) for i in (0, 1))
    return resolution_at(*fourier_shell_correlation(even, odd, _SCALE))


def _structure() -> Any:
    with as_file(files("funpipe") / "data" / "30S_4v4r.mrc.gz") as path:
        return read_volume(path)


def _simulate(folder: Path) -> Molecules:
    """Write a tomogram and a template; return the true poses."""
    from scipy.spatial.transform import Rotation

    structure = _structure()
    write_mrc(folder / "template.mrc", structure.array, structure.scale)
    random = np.random.default_rng(1)
    gap, margin = 30.8, 28.0
    rows = margin + gap * np.arange(_SIDE)
    grid = np.stack(np.meshgrid([margin], rows, rows), -1).reshape(-1, 3)
    positions = grid + random.uniform(-1.5, 1.5, grid.shape)
    truth = Molecules(positions, Rotation.random(len(positions), rng=random))
    side = round((2 * margin + gap * (_SIDE - 1)) / _SCALE)
    shape = (round(2 * margin / _SCALE), side, side)
    molecule = from_file(folder / "template.mrc")
    volume = tomogram(molecule, truth, shape, _SCALE, tilt=_TILT, noise=_NOISE)
    write_mrc(folder / "tomogram.mrc", volume, _SCALE)
    return truth
