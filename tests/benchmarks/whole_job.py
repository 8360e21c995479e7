"""The job by path, by funpipe and by acryo's loader: from a file to its result.

    python whole_job.py PROGRAM FOLDER COUNT OPTIONS

runs one of `PROGRAMS` on the first picks of a folder that `write_job` filled, and
prints its seconds and the most MB of memory that its process had. Options are JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

TILT = (-60, 60)
PICKED = (1.5, 8.0)  # voxels along each axis and degrees that picks are off by


def write_job(folder: Path, box: int, side: int, repeats: int, noise: float) -> int:
    """Write a tomogram of side³ molecules, a template and picks; return how many.

    Each molecule is picked ``repeats`` times, each time off by something else, so that
    few molecules in a tomogram of a moderate size make many particles.
    """
    import numpy as np
    import scipy
    from molecules import blobs_of
    from scipy.spatial.transform import Rotation

    import funpipe as fp
    from funpipe.io.volumes import write_mrc
    from funpipe.simulate import blob_image, perturbed, tomogram

    spacing = box + 2
    axis = spacing * (np.arange(side) + 0.75)
    positions = np.stack(np.meshgrid(axis, axis, axis), -1).reshape(-1, 3)
    truth = fp.Molecules(positions, Rotation.random(len(positions), rng=0))
    blobs = blobs_of("simulated 0", box)
    template = blob_image(blobs, (box,) * 3, 1.0)
    mask = fp.soft_otsu(1.0, 4.0)(template)
    shape = (scipy.fft.next_fast_len(int(spacing * (side + 0.5)), real=True),) * 3
    sigma = noise * float(template[mask > 0.5].std())
    volume = tomogram(blobs, truth, shape, 1.0, tilt=TILT, noise=sigma)
    write_mrc(folder / "tomogram.mrc", volume, 1.0)
    write_mrc(folder / "template.mrc", template, 1.0)
    truths = fp.Molecules.concat([truth] * repeats)
    truths.to_csv(folder / "truth.csv")
    perturbed(truths, *PICKED).to_csv(folder / "picks.csv")
    return len(truths)


def funpipe_aligned(folder: Path, count: int, **options: Any) -> float:
    import funpipe as fp

    picks = fp.Molecules.from_csv(folder / "picks.csv")[:count]
    start = time.perf_counter()
    found = fp.align(
        folder / "tomogram.mrc",
        picks,
        template=fp.from_file(folder / "template.mrc"),
        mask=fp.soft_otsu(1.0, 4.0),
        max_shifts=3.0,
        tilt=TILT,
        progress=False,
        **options,
    )
    seconds = time.perf_counter() - start
    found.to_csv(folder / "aligned.csv")
    return seconds


def funpipe_averaged(
    folder: Path, count: int, *, shape: int, wedge: bool = True
) -> float:
    import funpipe as fp

    picks = fp.Molecules.from_csv(folder / "picks.csv")[:count]
    start = time.perf_counter()
    tilt = TILT if wedge else None
    fp.average(folder / "tomogram.mrc", picks, shape=shape, tilt=tilt)
    return time.perf_counter() - start


def funpipe_searched(folder: Path, count: int, **options: Any) -> float:
    import funpipe as fp

    start = time.perf_counter()
    found = fp.search(
        folder / "tomogram.mrc",
        template=fp.from_file(folder / "template.mrc"),
        mask=fp.from_file(folder / "mask.mrc"),
        tilt=TILT,
        rotations="all",
        count=count,
        record=folder / "record.json",
        progress=False,
        **options,
    )
    seconds = time.perf_counter() - start
    found.to_csv(folder / "found.csv")
    return seconds


def funpipe_cut(folder: Path, count: int, *, shape: int) -> float:
    import funpipe as fp

    picks = fp.Molecules.from_csv(folder / "picks.csv")[:count]
    start = time.perf_counter()
    fp.subtomograms(folder / "tomogram.mrc", picks, shape=shape)
    return time.perf_counter() - start


def acryo_loader(folder: Path, count: int) -> Any:
    import mrcfile
    from acryo import Molecules, SubtomogramLoader

    picks = Molecules.from_csv(folder / "picks.csv").subset(slice(0, count))
    image = mrcfile.open(folder / "tomogram.mrc").data
    return SubtomogramLoader(image, picks, scale=1.0)


def acryo_aligned(folder: Path, count: int, **options: Any) -> float:
    from acryo.alignment import ZNCCAlignment
    from acryo.pipe import from_file, soft_otsu
    from acryo.tilt import single_axis

    resolution = options.pop("resolution", None)
    start = time.perf_counter()
    acryo_loader(folder, count).align(
        template=from_file(folder / "template.mrc"),
        mask=soft_otsu(1.0, 4.0),
        max_shifts=3.0,
        alignment_model=ZNCCAlignment,
        tilt=single_axis(TILT),
        **({"cutoff": 1 / resolution} if resolution else {}),
        **options,
    )
    return time.perf_counter() - start


def acryo_averaged(folder: Path, count: int, *, shape: int) -> float:
    start = time.perf_counter()
    acryo_loader(folder, count).average((shape,) * 3)
    return time.perf_counter() - start


def idle(folder: Path, count: int) -> float:
    """Do nothing but import: for the memory that this takes."""
    import scipy.fft
    import scipy.ndimage
    import scipy.spatial  # noqa: F401

    import funpipe  # noqa: F401

    return 0.0


PROGRAMS = {
    each.__name__: each
    for each in (
        *(funpipe_aligned, funpipe_averaged, funpipe_cut, funpipe_searched),
        *(acryo_aligned, acryo_averaged),
        idle,
    )
}


def run_job(
    program: str, folder: Path, count: int, **options: Any
) -> tuple[float, float]:
    """Return the seconds and MB of a program in a process of its own."""
    words = [program, str(folder), str(count), json.dumps(options)]
    done = subprocess.run(
        [sys.executable, __file__, *words], capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}\n{done.stderr}")
    seconds, kilobytes = done.stdout.split()[-2:]
    return float(seconds), float(kilobytes) / 1024


def main() -> None:
    program, folder, count, options = sys.argv[1:]
    seconds = PROGRAMS[program](Path(folder), int(count), **json.loads(options))
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    print(seconds, status.split("VmHWM:")[1].split()[0])


if __name__ == "__main__":
    main()
