"""The demo: the main job from beginning to end, on a simulated tomogram."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from funpipe.align import align
from funpipe.average import average
from funpipe.converters import gaussian_filter
from funpipe.io.extras import require
from funpipe.io.volumes import write_mrc
from funpipe.masks import soft_otsu
from funpipe.molecules import Molecules
from funpipe.plot import central_slices
from funpipe.providers import from_file
from funpipe.simulate import asymmetric_molecule, blob_image, perturbed, tomogram

__all__ = ["demo", "pose_errors"]

_SCALE = 1.0  # nm per voxel of the tomogram; the template file has half of it
_BOX = 28
_TILT = (-60, 60)
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
        rotations=((12, 6),) * 3,
        tilt=_TILT,
    )
    aligned.to_csv(folder / "aligned.csv")
    before, after = (
        average(folder / "tomogram.mrc", each, shape=_BOX, tilt=_TILT)
        for each in (picks, aligned)
    )
    write_mrc(folder / "average.mrc", after, _SCALE)
    figure = central_slices(
        {
            "template": template(_SCALE),
            "average of the picks": before,
            "average after alignment": after,
        },
        _SCALE,
    )
    figure.savefig(folder / "slices.png", dpi=120)

    print(f"{len(truth)} particles aligned to {template} under {mask}")
    for name, molecules in (("before", picks), ("after", aligned)):
        shift, angle = pose_errors(molecules, truth)
        print(
            f"{name:>6}: median error {np.median(shift):.3f} nm, "
            f"{np.median(angle):.2f} degrees"
        )
    print(f"written to {folder}: {', '.join(_FILES)}")


def pose_errors(
    molecules: Molecules, truth: Molecules
) -> tuple[np.ndarray, np.ndarray]:
    """Return how far molecules are from the truth, in nm and in degrees."""
    shift = np.linalg.norm(molecules.positions - truth.positions, axis=1)
    angle = (truth.rotations.inv() * molecules.rotations).magnitude()
    return shift, np.degrees(angle)


def _simulate(folder: Path) -> Molecules:
    """Write a tomogram and a template; return the true poses."""
    from scipy.spatial.transform import Rotation

    random = np.random.default_rng(1)
    grid = np.stack(np.meshgrid([32], range(32, 200, 32), range(32, 200, 32)), -1)
    positions = grid.reshape(-1, 3) + random.uniform(-3, 3, (grid.size // 3, 3))
    truth = Molecules(positions * _SCALE, Rotation.random(len(positions), rng=random))
    blobs = asymmetric_molecule(seed=0)
    template = blob_image(blobs, (2 * _BOX,) * 3, _SCALE / 2)
    write_mrc(folder / "template.mrc", template, _SCALE / 2)
    volume = tomogram(blobs, truth, (64, 224, 224), _SCALE, tilt=_TILT, noise=0.6)
    write_mrc(folder / "tomogram.mrc", volume, _SCALE)
    return truth
