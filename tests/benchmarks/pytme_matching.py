"""Matching by pytme, in a Python of its own.

    PYTHON pytme_matching.py FOLDER THREADS

reads ``given.npz`` of a folder, matches, writes ``found.npz``, and prints pytme's
version, its seconds and the most KiB of memory that one of its processes had; what it
reads and imports is not in the seconds. Work is cut as its own ``match_template`` cuts
it, for so many processes, and options are the defaults there: the correlation
coefficient under a mask that is a ball, and templates turned by cubic splines.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SCORE = "FLCSphericalMask"


class Found(NamedTuple):
    best: np.ndarray
    """(z, y, x), the best score of all rotations."""
    rotation: np.ndarray
    """(z, y, x), which."""
    seconds: float
    memory: float
    """MB."""
    version: str


def pytme_matched(
    python: str,
    tomogram: np.ndarray,
    template: np.ndarray,
    mask: np.ndarray,
    matrices: np.ndarray,
    left: Any = None,
    *,
    threads: int = 2,
) -> Found:
    """Match a template in a tomogram.

    Parameters
    ----------
    python : str
        The interpreter that pytme is installed for.
    tomogram, template, mask : (z, y, x) array
        The template and its mask of one shape, odd along each axis, so that pytme's
        centre is theirs.
    matrices : (r, 3, 3) array
        On zyx vectors, from the template to the tomogram; pytme has their inverses.
    left : (z, y, x) array, optional
        What turned templates' waves are multiplied by, as ``numpy.fft.fftn`` lays
        them out.
    threads : int
        Processes.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        one = np.ones(template.shape, np.float32)
        np.savez(
            folder / "given.npz",
            tomogram=tomogram.astype(np.float32),
            template=template.astype(np.float32),
            mask=mask.astype(np.float32),
            matrices=matrices.swapaxes(1, 2).astype(np.float32),
            left=one if left is None else left.astype(np.float32),
        )
        words = [python, __file__, str(folder), str(threads)]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}\n{done.stdout}{done.stderr}")
        version, seconds, kilobytes = done.stdout.split()[-3:]
        found = np.load(folder / "found.npz")
        best, rotation = found["best"], found["rotation"]
    return Found(best, rotation, float(seconds), float(kilobytes) / 1024, version)


def main() -> None:
    folder, threads = Path(sys.argv[1]), int(sys.argv[2])
    from importlib.metadata import version

    from tme.analyzer import MaxScoreOverRotations
    from tme.backends import backend
    from tme.filters import Compose
    from tme.filters.compose import ComposableFilter
    from tme.matching_data import MatchingData
    from tme.matching_exhaustive import MATCHING_EXHAUSTIVE_REGISTER, match_exhaustive

    backend.change_backend("numpyfftw", device="cpu")

    class Left(ComposableFilter):
        def _evaluate(self, shape: Any, **kwargs: Any) -> dict[str, Any]:
            return {"data": given["left"], "shape": shape}

    given = dict(np.load(folder / "given.npz"))
    start = time.perf_counter()
    data = MatchingData(
        target=given["tomogram"],
        template=given["template"],
        template_mask=given["mask"],
        rotations=given["matrices"],
    )
    data.set_matching_dimension()
    data.template_filter = Compose([Left()])
    splits, schedule = data.computation_schedule(
        matching_method=SCORE,
        analyzer_method="MaxScoreOverRotations",
        split_only_outer=False,
        pad_fourier=False,
        pad_target_edges=True,
        max_workers=threads,
        mode="uniform",
    )
    setup, score = MATCHING_EXHAUSTIVE_REGISTER[SCORE]
    found = match_exhaustive(
        matching_data=data,
        job_schedule=schedule,
        matching_score=score,
        matching_setup=setup,
        callback_class=MaxScoreOverRotations,
        callback_class_args={},
        target_splits=splits,
        pad_target_edges=len(splits) > 1,
        interpolation_order=3,
    )
    seconds = time.perf_counter() - start
    scores, _, which, matrices = found[:4]
    known = {each.tobytes(): i for i, each in enumerate(given["matrices"])}
    order = np.zeros(max(matrices) + 1, int)
    for i, matrix in matrices.items():
        order[i] = known[np.asarray(matrix, np.float32).tobytes()]
    np.savez(folder / "found.npz", best=scores, rotation=order[np.asarray(which)])
    who = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    largest = max(resource.getrusage(each).ru_maxrss for each in who)
    print(version("pytme"), seconds, largest)


if __name__ == "__main__":
    main()
