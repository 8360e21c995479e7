"""The demo: the main job from beginning to end, on a real structure in noise.

The structure is the 30S ribosomal subunit of PDB entry 4V4R; the README beside its
map in the folder ``data`` says where it is from.
"""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import NamedTuple

import numpy as np

from funpipe.base.arguments import Image
from funpipe.base.extras import require
from funpipe.base.molecules import Molecules
from funpipe.base.whole import replacing
from funpipe.boxes.cutting import subtomograms
from funpipe.faces.plots import central_slices
from funpipe.io.volumes import read_volume, write_mrc
from funpipe.jobs.aligning import align
from funpipe.jobs.averaging import average
from funpipe.simulate import perturbed, tomogram
from funpipe.space.shells import fourier_shell_correlation, resolution_at
from funpipe.stages.converters import gaussian_filter, lowpass_filter
from funpipe.stages.masks import soft_otsu
from funpipe.stages.providers import from_file

__all__ = ["demo", "pose_errors"]

_SCALE = 0.7  # nm per voxel of the tomogram; the template file has another
_BOX = 40
_TILT = (-60, 60)
_NOISE = 3.4  # times the structure's standard deviation under its mask
_SIDE = 7  # rows, and particles in each
_FINEST = 3.0  # nm; what is finer has no part in the alignment
_MASK = soft_otsu(sigma=2.0, radius=1.0)
_STRUCTURE = "the 30S ribosomal subunit (PDB 4V4R)"
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
    aligned = align(
        folder / "tomogram.mrc",
        picks,
        template=template,
        mask=_MASK,
        max_shifts=4.0,
        rotations=(15, 5),
        tilt=_TILT,
        resolution=_FINEST,
    )
    aligned.to_csv(folder / "aligned.csv")
    before, after = (_averaged(folder, each) for each in (picks, aligned))
    write_mrc(folder / "average.mrc", after.image, _SCALE)
    _draw(folder, picks, before, after, template(_SCALE))

    print(
        f"{len(truth)} particles of {_STRUCTURE}, noise {_NOISE} times its standard "
        f"deviation\naligned to {template} under {_MASK}, by what is coarser than "
        f"{_FINEST} nm"
    )
    for name, molecules in (("before", picks), ("after", aligned)):
        shift, angle = pose_errors(molecules, truth)
        print(
            f"{name:>6}: median error {np.median(shift):.3f} nm, "
            f"{np.median(angle):.2f} degrees"
        )
    known = fourier_shell_correlation(after.image, _true_map(folder), _SCALE)
    print(
        f"resolution of the average: {before.resolution:.2f} nm before, "
        f"{after.resolution:.2f} nm after\n"
        "  where the Fourier shell correlation of the averages of even and odd\n"
        "  particles falls below 0.143. No gold standard: both halves were aligned to\n"
        f"  one template, though to nothing in it finer than {_FINEST} nm. That of\n"
        "  the whole average with the true map, known in a simulation alone, falls\n"
        f"  below 0.5 at {resolution_at(*known, 0.5):.2f} nm."
    )
    print(f"written to {folder}: {', '.join(_FILES)}")


def pose_errors(
    molecules: Molecules, truth: Molecules
) -> tuple[np.ndarray, np.ndarray]:
    """Return how far molecules are from the truth, in nm and in degrees."""
    shift = np.linalg.norm(molecules.positions - truth.positions, axis=1)
    angle = (truth.rotations.inv() * molecules.rotations).magnitude()
    return shift, np.degrees(angle)


class _Averaged(NamedTuple):
    """An average, and how well its halves agree."""

    image: Image
    resolution: float
    """nm, of the averages of even and odd particles."""


def _averaged(folder: Path, molecules: Molecules) -> _Averaged:
    whole, even, odd = (
        average(folder / "tomogram.mrc", each, shape=_BOX, tilt=_TILT)
        for each in (molecules, molecules[::2], molecules[1::2])
    )
    curve = fourier_shell_correlation(even, odd, _SCALE)
    return _Averaged(whole, resolution_at(*curve))


def _draw(
    folder: Path, picks: Molecules, before: _Averaged, after: _Averaged, template: Image
) -> None:
    """Draw a particle, both averages to their resolutions, and the template."""
    particle = subtomograms(folder / "tomogram.mrc", picks[:1], shape=_BOX)[0]
    images = {"one particle": particle}
    for title, each in (("average of picks", before), ("after alignment", after)):
        filtered = lowpass_filter(each.resolution, order=4)(each.image, _SCALE)
        images[f"{title}: {each.resolution:.1f} nm"] = filtered
    images["template"] = template
    figure = central_slices(images, _SCALE, columns=True)
    figure.suptitle(f"{len(picks)} particles of {_STRUCTURE}")
    with replacing(folder / "slices.png") as partial:
        figure.savefig(partial, dpi=90)


def _true_map(folder: Path) -> Image:
    return from_file(folder / "template.mrc")(_SCALE)


def _simulate(folder: Path) -> Molecules:
    """Write a tomogram and a template; return the true poses."""
    from scipy.spatial.transform import Rotation

    with as_file(files("funpipe") / "data" / "30S_4v4r.mrc.gz") as path:
        structure = read_volume(path)
    write_mrc(folder / "template.mrc", structure.array, structure.scale_or(None, ""))
    random = np.random.default_rng(1)
    gap, margin = 30.8, 28.0  # nm
    rows = margin + gap * np.arange(_SIDE)
    grid = np.stack(np.meshgrid([margin], rows, rows), -1).reshape(-1, 3)
    positions = grid + random.uniform(-1.5, 1.5, grid.shape)
    truth = Molecules(positions, Rotation.random(len(positions), rng=random))
    wide = round((2 * margin + gap * (_SIDE - 1)) / _SCALE)
    molecule = _true_map(folder)
    deviation = molecule[_MASK(molecule, _SCALE) > 0.5].std()
    volume = tomogram(
        molecule,
        truth,
        (round(2 * margin / _SCALE), wide, wide),
        _SCALE,
        tilt=_TILT,
        noise=_NOISE * deviation,
    )
    write_mrc(folder / "tomogram.mrc", volume, _SCALE)
    return truth
