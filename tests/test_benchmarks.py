"""The benchmark runs without acryo, and the READMEs say what its results say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from funpipe.simulate import asymmetric_molecule, blob_image, blob_spectrum
from funpipe.space.crops import Crops, Support, spectra
from funpipe.space.fourier import half_ball
from funpipe.space.tilts import as_tilt

BENCHMARKS = Path(__file__).resolve().parent / "benchmarks"
sys.path.append(str(BENCHMARKS))

import molecules
from exhaustive import exhaustive
from parts import PARTS, Size
from results import RESULTS, Result, read_results, write_result
from tables import FRONT, README, figures, speed, with_figures, with_speed

NEEDS = {
    "bound-chosen": "gemmi",
    "bound-held-out": "gemmi",
    **dict.fromkeys(("tilts-1", "tilts-0.5", "tilts-average"), "gemmi"),
    **{
        f"weak-{noise}-{name}": "gemmi" for noise in (6, 10) for name in ("30S", "3j9i")
    },
    **{each: "gemmi" for each in PARTS if each.startswith("search-")},
    "microtubule": "tifffile",
}
OTHERS = {"acryo", "relion", "pytme"}
# A program, or real data.
NEED_MORE = (
    "relion",
    "microtubule",
    *(each for each in PARTS if each.startswith(("weak-", "tilts-", "search-"))),
)

OF_A_STRUCTURE = ("classes", "refine", "refine-honest")


@pytest.mark.parametrize("part", PARTS)
def test_a_part_runs_with_few_particles_and_without_acryo(part):
    if part in NEEDS:
        pytest.importorskip(NEEDS[part])
    if part in OF_A_STRUCTURE and not molecules.available(("30S",)):
        pytest.skip("the files of structures are not here")
    rows = PARTS[part](Size(tiny=True, peers=False))
    if part not in NEED_MORE:
        assert rows
    names = {name for row in rows for name in row}
    assert not [name for name in names if set(name.split()) & OTHERS]
    for row in rows:
        assert row.get("ms", 1) > 0
        assert row.get("s", 1) > 0


def test_the_readmes_say_what_the_results_say():
    there = read_results(RESULTS)
    assert {"engine-32", "job-32"} <= there.keys()
    for path, updated in ((README, with_figures), (FRONT, with_speed)):
        text = path.read_text(encoding="utf-8")
        assert text == updated(text, there), "run benchmark.py --table"


MADE = Result(
    "engine-32",
    {
        **dict.fromkeys(("date", "funpipe", "numpy", "scipy", "python"), "1"),
        **dict.fromkeys(("processor", "cores", "threads"), "2"),
        "acryo": "0.9.1",
        **{
            f"{x} {y}": "3"
            for x in ("load", "sgemm GFLOP/s")
            for y in ("before", "after")
        },
        **dict.fromkeys(("wall seconds", "processor seconds"), "4"),
    },
    [
        {
            "box": 32,
            "molecule": "simulated 0",
            "ms": ms,
            "acryo / funpipe": 4000.0,
            "acryo median angle": 2.2,
            "acryo median distance": 0.1,
            "median angle": 0.61,
            "median distance": 0.05,
            "angle / bound": 1.0,
            "distance / bound": 1.0,
            "share of sgemm": 0.5,
        }
        for ms in (3.0, 4.0)
    ],
)


def test_results_are_read_as_they_were_written(tmp_path):
    write_result(tmp_path, MADE)
    assert read_results(tmp_path) == {"engine-32": MADE}


def test_figures_of_the_readmes_are_those_of_the_rows(tmp_path):
    results = {"engine-32": MADE}
    assert speed(results).startswith("3.5 ms a particle in a box of 32")
    assert "acryo 0.9.1 takes 4,000 times" in " ".join(speed(results).split())
    table = figures(results)
    for cell in ("| 3.0 ms |", "| 4.0 ms |", "| 4,000 |", "| 0.61°, 0.050 voxel |"):
        assert cell in table
    text = "## How fast\n\nold\n\n## Extras\n"
    assert (
        with_speed(text, results) == f"## How fast\n\n{speed(results)}\n\n## Extras\n"
    )
    marked = "a\n<!-- figures -->\nold\n<!-- end of figures -->\nb"
    once = with_figures(marked, results)
    assert with_figures(once, results) == once
    assert "old" not in once
    with pytest.raises(ValueError, match="no place"):
        with_figures("a", results)


def test_a_part_that_is_none_is_named_beside_those_there_are():
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "benchmark.py", "--only", "engine-33"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(BENCHMARKS.parents[1])},
    )
    assert done.returncode == 2
    assert "engine-33: no such part; there are job-32" in done.stderr


def test_brute_force_scores_as_the_score_is_defined():
    random = np.random.default_rng(0)
    tomogram = random.standard_normal((24, 22, 26)).astype(np.float32)
    blobs = asymmetric_molecule(0, radius=2.0)
    template = blob_image(blobs, (16,) * 3, 1.0)
    support = Support((15.0,) * 3, 5.0, (16,) * 3)
    rotations = Rotation.random(3, rng=1)
    wedge = as_tilt("tilt", (-50, 50))
    found = exhaustive(
        tomogram, template, rotations, support, 3.5, left=wedge, measured=wedge
    )
    k = half_ball((15,) * 3, 3.5) / 15.0
    W = wedge(k.T)
    T = np.stack([blob_spectrum(blobs, k, 1.0, each) for each in rotations])
    for place in ((7, 7, 7), (12, 10, 15), (16, 14, 18)):
        z, y, x = (slice(each - 7, each + 8) for each in place)
        crop = Crops(tomogram[z, y, x][None], np.zeros((1, 3)), np.eye(3)[None])
        F = spectra(crop, k, support)[0]
        scores = (W * T.conj() * F).sum(axis=1).real
        scores /= np.sqrt((W * np.abs(T) ** 2).sum(axis=1) * (W * np.abs(F) ** 2).sum())
        assert found.rotation[place] == scores.argmax()
        np.testing.assert_allclose(found.best[place], scores.max(), rtol=2e-3)
    assert (found.best[:7] == -1).all()
