"""How fast and how exact the alignment is, beside acryo and against the bound.

    python -m pip install -e '.[bench]' && python tests/benchmarks/benchmark.py

All programs get the same arrays, in alternation, with two threads each. Particles
are sums of Gaussians, so that their truth has no interpolation error. Noise is in
units of the template's standard deviation inside its mask. RELION 3.1 joins in at
box 32 where ``relion_refine`` is installed (Debian: ``apt-get install relion``).
"""

from __future__ import annotations

import os

for name in ("OPENBLAS", "OMP", "MKL", "NUMEXPR"):
    os.environ.setdefault(f"{name}_NUM_THREADS", "2")

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from relion import relion_aligned

import funpipe as fp
from funpipe.engine import matching
from funpipe.engine.bank import masked, template_bank
from funpipe.engine.gauss_newton import Spectra
from funpipe.io.volumes import write_mrc
from funpipe.simulate import (
    asymmetric_molecule,
    blob_image,
    particles,
    perturbed,
    pose_bound,
    tomogram,
)
from funpipe.space.fourier import no_tilt
from funpipe.space.geometry import rotation_grid

TILT = (-60, 60)
GRID = ((12, 4),) * 3
WINDOW = 3.0
RESOLUTION = 4.0
RADIUS = {24: 7.0, 32: 9.0, 48: 14.0}
RELION_PARTICLES = 200  # at most; its start takes about 1 s of processor time
RELION_ORDERS = {"relion": 3, "finer relion": 4}  # steps of 3.75 and 1.875 degrees
RELION_NOISE = (0.0, 1.0, 3.0)


def molecule(box, seed):
    return asymmetric_molecule(seed, radius=RADIUS[box], sigma=1.5, count=32)


def made(box, seed, count, noise, **options):
    """Return template, mask, particles and the noise's standard deviation."""
    blobs = molecule(box, seed)
    shape = (box,) * 3
    template = blob_image(blobs, shape, 1.0)
    mask = fp.soft_otsu(sigma=1.0, radius=4.0)(template)
    sigma = noise * float(template[mask > 0.5].std())
    options = {"angle": 10.0, "shift": 2.0, "tilt": TILT, "seed": seed, **options}
    return (
        template,
        mask,
        particles(blobs, shape, 1.0, count, noise=sigma, **options),
        sigma,
    )


def aligned(template, mask, them, **options):
    settings = {
        "template": template,
        "mask": mask,
        "scale": 1.0,
        "max_shifts": WINDOW,
        "rotations": GRID,
        "tilt": TILT,
        "orientations": them.orientations,
        "resolution": RESOLUTION,
        "progress": False,
    }
    return fp.align_subtomograms(them.boxes, **{**settings, **options})


def acryo_aligned(template, mask, them, count):
    """Return acryo's seconds a particle among ``count``, its rotations and shifts."""
    from acryo.alignment import ZNCCAlignment
    from acryo.tilt import single_axis
    from scipy.spatial.transform import Rotation

    model = ZNCCAlignment.with_params(
        rotations=GRID, cutoff=1 / RESOLUTION, tilt=single_axis(TILT)
    )(template, mask)
    seconds, found = zip(
        *(
            timed(model.align, box, (WINDOW,) * 3, quaternion=orientation.as_quat())
            for box, orientation in zip(them.boxes, them.orientations, strict=True)
        ),
        strict=True,
    )
    # The first builds the turned templates, which then serve all particles.
    each = float(np.median(seconds[1:]))
    return (
        each + max(0.0, seconds[0] - each) / count,
        Rotation.from_quat([one.quat for one in found]),
        np.array([one.shift for one in found]),
    )


def relion_found(box, order, template, mask, them):
    """Return RELION's seconds and processor seconds a particle, and its errors."""
    few = first(them, RELION_PARTICLES)
    found = relion_aligned(
        template,
        mask,
        few,
        tilt=TILT,
        resolution=RESOLUTION,
        window=WINDOW,
        diameter=2 * RADIUS[box] + 8,
        order=order,
    )
    count = len(few.boxes)
    return (
        found.seconds / count,
        found.cpu_seconds / count,
        *errors(found.rotations, found.shifts, few),
    )


def first(them, count):
    """Return the first particles."""
    return type(them)(*(each[:count] for each in them))


def errors(rotations, shifts, them):
    angles = np.degrees((them.rotations.inv() * rotations).magnitude())
    return angles, np.linalg.norm(shifts - them.shifts, axis=1)


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


def timed(function, *args, **options):
    start = time.perf_counter()
    result = function(*args, **options)
    return time.perf_counter() - start, result


def local_search(box, count, rounds, peer, relion=False):
    """Time per particle and errors of the local search, at four noise levels."""
    rows = []
    for noise in (0.0, 1.0, 3.0, 6.0):
        ours, theirs, angles, distances, peer_angles, peer_distances = (
            [] for _ in range(6)
        )
        bounds = ([], [])
        ratios = ([], [])
        relions = {name: [] for name in RELION_ORDERS}
        for seed in range(rounds):
            template, mask, them, sigma = made(box, seed, count, noise)
            seconds, found = timed(aligned, template, mask, them)
            ours.append(seconds / count)
            angle, distance = errors(found.rotations, found.shifts, them)
            angles.extend(angle)
            distances.extend(distance)
            ratios[0].append(rms(angle) / rms(found.angle_errors))
            ratios[1].append(rms(distance) / rms(found.shift_errors))
            if noise:
                bound = pose_bound(
                    molecule(box, seed),
                    them,
                    1.0,
                    resolution=RESOLUTION,
                    noise=sigma,
                    tilt=TILT,
                )
                for each, one in zip(bounds, bound, strict=True):
                    each.extend(one)
            if peer:
                few = first(them, peer)
                seconds, rotations, shifts = acryo_aligned(template, mask, few, count)
                theirs.append(seconds)
                angle, distance = errors(rotations, shifts, few)
                peer_angles.extend(angle)
                peer_distances.extend(distance)
            if relion and noise in RELION_NOISE:
                for name, order in RELION_ORDERS.items():
                    relions[name].append(relion_found(box, order, template, mask, them))
        row = {
            "box": box,
            "noise": noise,
            "ms": 1e3 * float(np.median(ours)),
            "median angle": float(np.median(angles)),
            "median distance": float(np.median(distances)),
        }
        if noise:
            row |= {
                "angle / bound": rms(angles) / rms(bounds[0]),
                "distance / bound": rms(distances) / rms(bounds[1]),
                "angle / predicted": float(np.mean(ratios[0])),
                "distance / predicted": float(np.mean(ratios[1])),
            }
        if peer:
            row |= {
                "times faster": float(np.median(theirs) / np.median(ours)),
                "acryo ms": 1e3 * float(np.median(theirs)),
                "acryo median angle": float(np.median(peer_angles)),
                "acryo median distance": float(np.median(peer_distances)),
            }
        if relion and noise in RELION_NOISE:
            for name, runs in relions.items():
                theirs, cpu, angles, distances = zip(*runs, strict=True)
                row |= {
                    f"times faster than {name}": float(
                        np.median(theirs) / np.median(ours)
                    ),
                    f"{name} ms": 1e3 * float(np.median(theirs)),
                    f"{name} cpu ms": 1e3 * float(np.median(cpu)),
                    f"{name} median angle": float(np.median(angles)),
                    f"{name} median distance": float(np.median(distances)),
                }
        rows.append(row)
    return rows


def arithmetic_rate(box, count):
    """Return the search's share of the rate of one large product of matrices."""
    template, mask, them, _ = made(box, 0, count, 1.0)
    bank = template_bank(
        masked(template, mask)[None],
        rotation_grid(GRID),
        (WINDOW,) * 3,
        RESOLUTION,
    )
    F = matching._box_spectra(them.boxes, bank)
    k = (bank.waves / box).astype(np.float32)
    W = np.ones(F.shape, np.float32)
    size = matching._batch_size(bank)
    n, c, r, s = bank.searched, len(bank.U), len(bank.spectra), len(bank.shifts)
    flops = count * (2 * c * 2 * n * r + 2 * c * r * s + 2 * n * r)
    large = np.random.default_rng(0).standard_normal((3000, 3000), dtype=np.float32)

    def search():
        for i in range(0, count, size):
            part = slice(i, i + size)
            matching._search(Spectra(k, F[part], W[part]), bank)

    shares = []
    search(), large @ large
    for _ in range(5):
        seconds, _ = timed(search)
        peak, _ = timed(np.matmul, large, large)
        shares.append((flops / seconds) / (2 * 3000**3 / peak))
    return {
        "box": box,
        "rank of the kernel": c,
        "search GFLOP/s": flops / seconds / 1e9,
        "share of sgemm": float(np.median(shares)),
    }


def one_particle(box, most=50.0):
    """Return the processor time of a search for one particle's shift alone."""
    template, mask, them, _ = made(box, 0, 1, 0.0)
    bank = matching.template_bank(
        matching.masked(template, mask)[None],
        rotation_grid(None),
        (WINDOW,) * 3,
        RESOLUTION,
    )
    took = []
    for _ in range(5):
        start = time.process_time()
        matching.match(them.boxes, them.orientations, bank=bank, tilt=no_tilt)
        took.append(1e3 * (time.process_time() - start))
    if min(took) > most:
        sys.exit(f"one particle's shift takes {min(took):.3g} ms, not {most} or less")
    return {"box": box, "ms": min(took)}


def all_rotations(box, count):
    template, mask, them, _ = made(box, 0, count, 1.0, angle=180.0)
    seconds, found = timed(aligned, template, mask, them, rotations="all")
    angles, _ = errors(found.rotations, found.shifts, them)
    return {
        "box": box,
        "ms": 1e3 * seconds / count,
        "within 10 degrees": float(np.mean(angles < 10)),
        "median angle": float(np.median(angles)),
    }


def whitening(box, count):
    template, mask, them, _ = made(box, 0, count, 3.0, falling=1.5)
    plain = aligned(template, mask, them)
    white = aligned(template, mask, them, whiten=True)
    (a, d), (wa, wd) = (
        errors(each.rotations, each.shifts, them) for each in (plain, white)
    )
    return {
        "box": box,
        "angle, whitened / not": rms(wa) / rms(a),
        "distance, whitened / not": rms(wd) / rms(d),
    }


def write_job(folder, side):
    """Write a tomogram of side³ particles, a template and picks; return how many."""
    from scipy.spatial.transform import Rotation

    spacing = 34
    axis = spacing * (np.arange(side) + 0.75)
    positions = np.stack(np.meshgrid(axis, axis, axis), -1).reshape(-1, 3)
    truth = fp.Molecules(positions, Rotation.random(len(positions), rng=0))
    blobs = molecule(32, 0)
    template = blob_image(blobs, (32,) * 3, 1.0)
    shape = (int(spacing * (side + 0.5)),) * 3
    volume = tomogram(blobs, truth, shape, 1.0, tilt=TILT, noise=float(template.std()))
    write_mrc(folder / "tomogram.mrc", volume, 1.0)
    write_mrc(folder / "template.mrc", template, 1.0)
    perturbed(truth, 1.5, 8.0).to_csv(folder / "picks.csv")
    return len(truth)


JOB = """
import sys, time
from pathlib import Path
import funpipe as fp
folder = Path(sys.argv[1])
picks = fp.Molecules.from_csv(folder / "picks.csv")[: int(sys.argv[2])]
start = time.perf_counter()
fp.align(
    folder / "tomogram.mrc", picks, template=fp.from_file(folder / "template.mrc"),
    mask=fp.soft_otsu(1.0, 4.0), max_shifts=3.0, rotations=((12, 4),) * 3,
    tilt=(-60, 60), resolution=4.0, progress=False,
)
seconds = time.perf_counter() - start
print(seconds, Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""

IDLE = """
from pathlib import Path
import funpipe, mrcfile, scipy.fft, scipy.ndimage, scipy.sparse, scipy.spatial
print(0, Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""

PEER_JOB = """
import sys, time
from pathlib import Path
import mrcfile, numpy as np, polars
from acryo import Molecules, SubtomogramLoader
from acryo.alignment import ZNCCAlignment
from acryo.pipe import from_file, soft_otsu
from acryo.tilt import single_axis
folder = Path(sys.argv[1])
start = time.perf_counter()
picks = Molecules.from_csv(folder / "picks.csv").subset(slice(0, int(sys.argv[2])))
image = mrcfile.open(folder / "tomogram.mrc").data
loader = SubtomogramLoader(image, picks, scale=1.0)
loader.align(
    template=from_file(folder / "template.mrc"), mask=soft_otsu(1.0, 4.0),
    max_shifts=3.0, rotations=((12, 4),) * 3, cutoff=0.25,
    alignment_model=ZNCCAlignment, tilt=single_axis((-60, 60)),
)
print(time.perf_counter() - start, 0)
"""


def run_job(source, folder, count):
    done = subprocess.run(
        [sys.executable, "-c", source, str(folder), str(count)],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, kilobytes = done.stdout.split()[-2:]
    return float(seconds), float(kilobytes) / 1024


def whole_job(peer):
    """Time and memory of the job by path: tomogram file to aligned molecules."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = write_job(folder, 6)
        size = (folder / "tomogram.mrc").stat().st_size / 2**20
        _, base = run_job(IDLE, folder, 0)
        seconds, memory = run_job(JOB, folder, count)
        _, fewer = run_job(JOB, folder, count // 4)
        row = {
            "particles": count,
            "ms": 1e3 * seconds / count,
            "tomogram MB": size,
            "memory MB": memory,
            "memory MB with a quarter of the particles": fewer,
            "memory MB of the imports": base,
        }
        if peer:
            few, more = peer, 3 * peer
            of_few, of_more = (run_job(PEER_JOB, folder, n)[0] for n in (few, more))
            each = (of_more - of_few) / (more - few)
            row["acryo ms"] = 1e3 * (each + max(0.0, of_few - few * each) / count)
            row["times faster"] = row["acryo ms"] / row["ms"]
        return row


def show(title, rows):
    print(f"\n{title}")
    names = list(dict.fromkeys(name for row in rows for name in row))
    for name in names:
        cells = [row.get(name) for row in rows]
        print(
            f"  {name:>42}",
            *(f"{'' if c is None else format(c, '.4g'):>10}" for c in cells),
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--particles", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=2, help="molecules")
    parser.add_argument(
        "--peer", type=int, default=4, help="particles for acryo: it takes seconds each"
    )
    parser.add_argument("--json", type=Path, help="where the figures go as JSON")
    parser.add_argument("--alone", action="store_true", help="leave the peers out")
    given = parser.parse_args()
    peer = 0 if given.alone else given.peer
    aligned(*made(32, 0, 64, 1.0)[:3])  # so that nothing is loaded while timed
    results = {}
    for box in (32, 48):
        relion = peer and box == 32 and shutil.which("relion_refine") is not None
        rows = local_search(box, given.particles, given.rounds, peer, relion)
        results[f"local search, box {box}"] = rows
        show(f"local search, box {box}", rows)
    for title, function, arguments in (
        ("arithmetic rate", arithmetic_rate, [(32, 64), (48, 64)]),
        ("one particle, shifts", one_particle, [(24,)]),
        ("all rotations", all_rotations, [(32, given.particles)]),
        ("falling noise", whitening, [(32, given.particles)]),
        ("whole job by path", whole_job, [(peer,)]),
    ):
        results[title] = [function(*each) for each in arguments]
        show(title, results[title])
    if given.json:
        given.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
