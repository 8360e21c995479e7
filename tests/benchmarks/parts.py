"""The parts of the benchmark: functions of a size that return rows of figures.

Beside every time stands a ratio: what acryo takes in the same run over it, or, where
acryo has nothing of the kind, what one product of matrices takes. Errors stand beside
the Cramér–Rao bound, or beside those of the other programs on the same particles.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import classes
import crowding
import molecules
import numpy as np
import refining
import scenes
import search_tables
import searching
import tilts
from molecules import TILT, made
from programs import (
    GRID,
    RESOLUTION,
    WINDOW,
    acryo_errors,
    acryo_poses,
    against_bound,
    against_stated,
    aligned,
    each_of_many,
    errors,
    first,
    named,
    relion_found,
    rms,
    sgemm_rate,
    summary,
    timed,
)
from relion import SPREAD
from scale import CASES, of_cases
from tops import exact_tops
from whole_job import run_job, write_job

import funpipe as fp
from funpipe.engine import matching
from funpipe.engine.bank import Bank, masked, template_bank
from funpipe.engine.gauss_newton import Spectra
from funpipe.space.crops import spectra, whole_box, whole_boxes
from funpipe.space.geometry import rotation_grid
from funpipe.space.tilts import no_tilt

SMALLEST = 24  # voxels of the box of a tiny run
FEW_TURNS = ((12, 12),) * 3  # 27 of the 343 rotations
WEAK = ("simulated 11", "30S", "3j9i", "beta-tubulin")


class Size(NamedTuple):
    """How much is run."""

    tiny: bool = False
    """Whether a few particles in small boxes do: to see that a part runs."""
    peers: bool = True
    """Whether acryo, and RELION where it is installed, run too."""
    pytme: str | None = None
    """The Python that pytme is installed for, if any: it runs too."""

    def count(self, full: int) -> int:
        return min(full, 3) if self.tiny else full

    def box(self, full: int) -> int:
        return SMALLEST if self.tiny else full

    @property
    def turns(self) -> Any:
        return FEW_TURNS if self.tiny else GRID

    def names(self, full: tuple[str, ...]) -> tuple[str, ...]:
        return molecules.available(full[:1] if self.tiny else full)

    @property
    def relion(self) -> bool:
        return self.peers and shutil.which("relion_refine") is not None


# From a file to aligned molecules.


def job(
    size: Size,
    *,
    box: int,
    side: int,
    repeats: int,
    resolution: float | None = None,
    all_of_acryos: bool = True,
) -> list[dict[str, Any]]:
    """Align by path; acryo's loader on the same file, its rotations if slow fewer."""
    box = size.box(box)
    options = {"rotations": size.turns}
    if resolution:
        options["resolution"] = resolution
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = write_job(folder, box, size.count(side), size.count(repeats), 1.0)
        fewer = max(1, count // 4)
        of_fewer, little = run_job("funpipe_aligned", folder, fewer, **options)
        seconds, memory = run_job("funpipe_aligned", folder, count, **options)
        truth = fp.Molecules.from_csv(folder / "truth.csv")
        found = fp.Molecules.from_csv(folder / "aligned.csv")
        angles = np.degrees((truth.rotations.inv() * found.rotations).magnitude())
        away = np.linalg.norm(found.positions - truth.positions, axis=1)
        row = {
            "box": box,
            "resolution": resolution or 2.0,
            "particles": count,
            "ms": 1e3 * seconds / count,
            "ms without the start": 1e3 * (seconds - of_fewer) / max(1, count - fewer),
            "rms angle": rms(angles),
            "rms distance": rms(away),
            "angle / stated": rms(angles) / rms(found.features["angle_error"]),
            "distance / stated": rms(away) / rms(found.features["shift_error"]),
            "tomogram MB": (folder / "tomogram.mrc").stat().st_size / 2**20,
            "memory MB": memory,
            "memory MB of a quarter": little,
            "memory MB of the imports": run_job("idle", folder, 0)[1],
        }
        if not size.peers:
            return [row]
        turns = GRID if all_of_acryos else FEW_TURNS
        options["rotations"] = turns
        part = len(rotation_grid(GRID).rotations) / len(rotation_grid(turns).rotations)
        one, three = (run_job("acryo_aligned", folder, n, **options)[0] for n in (1, 3))
        each = part * (three - one) / 2
        theirs = 1e3 * (each + max(0.0, part * one - each) / count)
        row |= {
            "acryo particles": 3,
            "acryo rotations": len(rotation_grid(turns).rotations),
        }
        return [row | {"acryo ms": theirs, "acryo / funpipe": theirs / row["ms"]}]


def averaging(size: Size, *, box: int, side: int, repeats: int) -> list[dict[str, Any]]:
    """Average by path with a wedge; acryo's loader, whose average knows no wedge."""
    box = size.box(box)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = write_job(folder, box, size.count(side), size.count(repeats), 1.0)
        seconds, memory = run_job("funpipe_averaged", folder, count, shape=box)
        row = {
            "box": box,
            "particles": count,
            "ms": 1e3 * seconds / count,
            "memory MB": memory,
        }
        if size.peers:
            theirs, _ = run_job("acryo_averaged", folder, count, shape=box)
            row |= {
                "acryo ms": 1e3 * theirs / count,
                "acryo / funpipe": theirs / seconds,
            }
        return [row]


def averaging_many(size: Size, *, box: int, side: int, repeats: int) -> list[Any]:
    """Average many particles by path; beside it what cutting them takes.

    All boxes at once need more memory than there is: fewer are cut alone.
    """
    box = size.box(box)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = write_job(folder, box, size.count(side), size.count(repeats), 1.0)
        fewer = min(count, 4096)
        run_job("funpipe_cut", folder, min(count, 256), shape=box)  # reads the file
        cut, _ = run_job("funpipe_cut", folder, fewer, shape=box)
        rows = []
        for wedge in (False, True):
            options = {"shape": box, "wedge": wedge}
            seconds, memory = run_job("funpipe_averaged", folder, count, **options)
            each, alone = 1e3 * seconds / count, 1e3 * cut / fewer
            rows.append(
                {
                    "box": box,
                    "particles": count,
                    "wedge": wedge,
                    "ms": each,
                    "ms of cutting": alone,
                    "average / cutting": each / alone,
                    "tomogram MB": (folder / "tomogram.mrc").stat().st_size / 2**20,
                    "memory MB": memory,
                    "memory MB of the imports": run_job("idle", folder, 0)[1],
                }
            )
        return rows


# The engine alone, on arrays.


def engine(size: Size, *, box: int, acryos: int) -> list[dict[str, Any]]:
    """Align arrays at a resolution of 4 voxels; acryo the first few of them."""
    rows, run = [], partial(aligned, rotations=size.turns)
    for seed, name in enumerate(size.names(("simulated 0", "simulated 1"))):
        case = made(name, size.box(box), noise=1.0, count=size.count(200), seed=seed)
        count = len(case.particles.boxes)
        run(case._replace(particles=first(case.particles, 8)))  # loads what it does
        seconds, found = min((timed(run, case) for _ in range(2)), key=_seconds)
        row = {
            "box": len(case.template),
            "molecule": name,
            "noise": 1.0,
            "particles": count,
            "ms": 1e3 * seconds / count,
        }
        if size.peers:
            few = case._replace(particles=first(case.particles, acryos))
            took, quaternions, shifts = acryo_poses(few)
            theirs = each_of_many(took, count)
            row |= {
                "acryo particles": len(took),
                "acryo / funpipe": theirs * count / seconds,
                "acryo ms": 1e3 * theirs,
                **named("acryo", summary(_errors(quaternions, shifts, few))),
            }
        row |= {"share of sgemm": search_share(case, size.turns)}
        row |= against_bound(case, found, RESOLUTION)
        rows.append(row)
    return rows


def _seconds(run: tuple[float, Any]) -> float:
    return run[0]


def _errors(quaternions: np.ndarray, shifts: np.ndarray, case: molecules.Made) -> Any:
    from scipy.spatial.transform import Rotation

    return errors(Rotation.from_quat(quaternions), shifts, case.particles)


def search_share(case: molecules.Made, turns: Any) -> float:
    """Return the search's share of the rate of one large product of matrices."""
    bank = bank_of(case, rotation_grid(turns), WINDOW)
    F = spectra(whole_boxes(case.particles.boxes[:64]), bank.k, bank.support)
    data = Spectra(bank.k, F, np.ones(F.shape, np.float32))
    waves, part = bank.stages[0]
    freedom = np.full(len(F), 2.0)  # of a wave: its real and its imaginary part
    size = matching._batch_size(bank)
    c, r, s = len(bank.U), len(bank.spectra), len(bank.shifts)
    flops = len(F) * (2 * c * 2 * waves * r + 2 * c * r * s + 2 * waves * r)

    def search() -> None:
        for i in range(0, len(F), size):
            some = slice(i, i + size)
            few = Spectra(bank.k, data.F[some], data.W[some]).first(waves)
            matching._search(few, part, freedom[some], bank)

    search()
    shares = []
    for _ in range(3):
        seconds, _ = timed(search)
        shares.append(1e-9 * flops / seconds / sgemm_rate())
    return float(np.median(shares))


def bank_of(case: molecules.Made, grid: Any, window: float) -> Bank:
    """Prepare the search that arrays get, at a resolution of 4 voxels."""
    return template_bank(
        masked(case.template, case.mask)[None],
        grid,
        (window,) * 3,
        RESOLUTION,
        support=whole_box(case.template.shape),
    )


def all_rotations(size: Size, *, box: int) -> list[dict[str, Any]]:
    """Align from unknown orientations; acryo's time is that of as many rotations."""
    rows = []
    for name in size.names(("simulated 0", "30S")):
        case = made(
            name, size.box(box), noise=1.0, count=size.count(200), seed=5, angle=180.0
        )
        count = len(case.particles.boxes)
        seconds, found = timed(
            aligned, case, rotations=size.turns if size.tiny else "all"
        )
        ours = errors(found.rotations, found.shifts, case.particles)
        row = {
            "box": len(case.template),
            "molecule": name,
            "particles": count,
            "ms": 1e3 * seconds / count,
            "within 10 degrees": float(np.mean(ours.angles < 10)),
            "median angle": float(np.median(ours.angles)),
            "median distance": float(np.median(ours.distances)),
        }
        if size.peers:
            few = case._replace(particles=first(case.particles, 4))
            took, _, _ = acryo_poses(few, FEW_TURNS)
            many = len(rotation_grid("all").rotations)
            part = many / len(rotation_grid(FEW_TURNS).rotations)
            theirs = part * each_of_many(took, count)
            row |= {
                "rotations": many,
                "acryo particles": len(took),
                "acryo ms": 1e3 * theirs,
                "acryo / funpipe": theirs * count / seconds,
            }
        rows.append(row)
    return rows


def shifts_alone(size: Size, *, box: int, window: float) -> list[dict[str, Any]]:
    """Find one particle's shift, in processor time, beside acryo's."""
    case = made("simulated 0", size.box(box), noise=0.0, count=1)
    window = min(window, len(case.template) / 4)
    grid = rotation_grid(None)
    took = []
    for _ in range(3):
        start = time.process_time()
        bank = bank_of(case, grid, window)
        there = time.process_time()
        matching.match(
            whole_boxes(case.particles.boxes),
            case.particles.orientations,
            bank=bank,
            tilt=no_tilt,
        )
        took.append((there - start, time.process_time() - there))
    prepared, matched = np.min(took, axis=0)
    row = {
        "box": len(case.template),
        "window": window,
        "ms": 1e3 * matched,
        "ms of preparation": 1e3 * prepared,
    }
    if size.peers:
        start = time.process_time()
        acryo_poses(case, None, window)
        theirs = time.process_time() - start
        row |= {"acryo ms": 1e3 * theirs, "acryo / funpipe": theirs / sum(took[-1])}
    return [row]


def scale(size: Size) -> list[dict[str, Any]]:
    """Prepare searches that are large in one way or another, and check picks."""
    cases = CASES
    if size.tiny:
        box, few = size.box(0), size.turns
        cases = tuple(e._replace(box=box, rotations=few, window=2.0) for e in CASES)
    return of_cases(cases, size.box(48), size.turns)


# Errors.


def bound(size: Size, *, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Align particles of some molecules at moderate noise, beside the bound.

    Of 600 an RMS error is known to 2 or 3 %; of the 200 of before it was to 4 or 5.
    """
    rows = []
    for number, name in enumerate(size.names(names)):
        for noise in (1.0, 3.0):
            count = size.count(600)
            case = made(name, size.box(32), noise=noise, count=count, seed=10 + number)
            found = aligned(case, rotations=size.turns)
            rows.append(
                {"box": len(case.template), "molecule": name, "noise": noise}
                | {"particles": count}
                | against_bound(case, found, RESOLUTION)
            )
    return rows


def weak(size: Size, *, noise: float, name: str) -> list[dict[str, Any]]:
    """Align particles of weak signal; acryo the first few of them, RELION all."""
    if not molecules.available((name,)):
        return []
    count, few = size.count(200), size.count(20)
    seed = 20 + WEAK.index(name)
    case = made(name, size.box(32), noise=noise, count=count, seed=seed)
    found = aligned(case, rotations=size.turns)
    row = {"box": len(case.template), "molecule": name, "noise": noise}
    row |= {"particles": count} | against_bound(case, found, RESOLUTION)
    if size.peers:
        ours = errors(found.rotations, found.shifts, case.particles)
        same = type(ours)(*(each[:few] for each in ours))
        row |= {"same particles": few} | named("same", summary(same))
        row |= named("acryo", summary(acryo_errors(case, few)))
    if size.relion:
        row |= {"relion particles": count}
        row |= named("relion", relion_found(case, count, 4))
    return [row]


def windows(size: Size) -> list[dict[str, Any]]:
    """Align particles of weak signal within other windows, told by their largest angle.

    And with RELION's prior. Beside it what they would be off by where they start: what
    a window says is a prior.
    """
    rows = []
    several = size.names(WEAK)
    for noise, name in itertools.product((6, 10), several):
        case = made(
            name,
            size.box(32),
            noise=noise,
            count=size.count(200),
            seed=20 + WEAK.index(name),
        )
        true = case.particles
        row = {"molecule": name, "noise": noise, "particles": len(true.boxes)}
        row["start rms angle"] = rms(np.degrees(true.rotations.magnitude()))
        row["start rms distance"] = rms(np.linalg.norm(true.shifts, axis=1))
        ways = {most: {"rotations": (most, 4)} for most in (12, 10)}
        ways |= {"prior": {"rotations": size.turns, "prior": SPREAD}}
        for way, options in ways.items():
            found = aligned(case, **options)
            ours = errors(found.rotations, found.shifts, true)
            row |= named(str(way), {**summary(ours), **against_stated(ours, found)})
        rows.append(row)
    return rows


def clean(size: Size) -> list[dict[str, Any]]:
    """Align particles without noise, under a wide mask and a close one.

    Beside it where the score of the first few is at its highest, evaluated exactly.
    """
    rows = []
    for reach in (4.0, 2.0):
        for name in size.names(("simulated 0", "30S", "simulated 11", "3j9i")):
            count = size.count(100)
            case = made(name, size.box(32), noise=0.0, count=count, reach=reach)
            found = aligned(case, rotations=size.turns)
            ours = errors(found.rotations, found.shifts, case.particles)
            row = {"box": len(case.template), "molecule": name, "mask reach": reach}
            row |= {"particles": count} | summary(ours)
            few = size.count(8)
            same = type(ours)(*(each[:few] for each in ours))
            row |= {"same particles": few} | named("same", summary(same))
            exactly = exact_tops(case, few, RESOLUTION, TILT)
            rows.append(row | named("exact", summary(exactly)))
    return rows


def falling(size: Size) -> list[dict[str, Any]]:
    """Align in noise that falls with |k|, with `whiten` and without."""
    rows, run = [], partial(aligned, rotations=size.turns)
    for name in size.names(("simulated 11", "3j9i")):
        count = size.count(200)
        case = made(name, size.box(32), noise=3.0, count=count, seed=40, falling=1.5)
        plain, white = (
            errors(found.rotations, found.shifts, case.particles)
            for found in (run(case), run(case, whiten=True))
        )
        rows.append(
            {
                "box": len(case.template),
                "molecule": name,
                "particles": count,
                "angle, whitened / not": rms(white.angles) / rms(plain.angles),
                "distance, whitened / not": rms(white.distances) / rms(plain.distances),
            }
        )
    return rows


def relion(size: Size) -> list[dict[str, Any]]:
    """Align by RELION's local search, at two steps of its angles."""
    if not size.relion:
        return []
    rows = []
    case = made("simulated 0", size.box(32), noise=1.0, count=size.count(200))
    seconds, found = timed(aligned, case, rotations=size.turns)
    ours = summary(errors(found.rotations, found.shifts, case.particles))
    for order, step in ((3, 3.75), (4, 1.875)):
        count = size.count(100)
        theirs = relion_found(case, count, order)
        ms = 1e3 * seconds / len(case.particles.boxes)
        rows.append(
            {"box": len(case.template), "step": step, "ms": ms}
            | {"particles": len(case.particles.boxes), "relion particles": count}
            | {"relion / funpipe": theirs["ms"] / ms}
            | ours
            | named("relion", theirs)
        )
    return rows


# Real data.


def microtubule(size: Size) -> list[dict[str, Any]]:
    """Align patches of a microtubule twice: how far apart do the two poses end?

    The narrow search starts near the lattice, the wide one further off, each from a
    start of its own; both windows hold the site. The subunits lie up to 1.5 nm and 10°
    off the lattice, which was found later, so that there are pairs of windows that hold
    them too. With variances s² of both poses, as stated, Σ |Δ|² / (s² / 3) over shift
    and angle is χ² of 6 degrees of freedom were the poses of different data, and as
    uncertain in all directions; were they uncertain in one alone, as filaments nearly
    are along their axes, a third of that would be χ² of 2. Of the same data both are
    less. A patch differs where that is above what one in a hundred would reach.
    """
    import scipy
    from microtubule import (
        MASK,
        RESOLUTION,
        TILT,
        TOMOGRAM,
        Tube,
        lattice_of,
        sites,
        template,
        wall_of,
    )

    from funpipe.simulate import perturbed

    if not TOMOGRAM.exists():
        return []
    tube = Tube()
    lattice = lattice_of(wall_of(tube))
    true = sites(tube, lattice)
    true = true[: size.count(len(true))]
    rows = []
    pairs = (
        ((0.8, 1.6), ((6, 2), (14, 4))),
        ((1.6, 2.0), ((6, 2), (14, 4))),
        ((1.6, 2.0), ((12, 2), (16, 4))),
    )
    for whiten, (windows, turns) in itertools.product((False, True), pairs):
        found, took = [], []
        for (shift, angle), window, rotations in zip(
            ((0.3, 2.0), (0.9, 6.0)), windows, turns, strict=True
        ):
            seconds, each = timed(
                fp.align,
                TOMOGRAM,
                perturbed(true, shift, angle, seed=int(10 * shift)),
                template=template(lattice.period),
                mask=MASK,
                max_shifts=window,
                rotations=rotations,
                tilt=TILT,
                resolution=RESOLUTION,
                whiten=whiten,
                progress=False,
            )
            found.append(each)
            took.append(seconds)
        near, wide = found
        inside = ~(near.features["at_limit"] | wide.features["at_limit"])
        apart = np.degrees((near.rotations.inv() * wide.rotations).magnitude())
        away = np.linalg.norm(near.positions - wide.positions, axis=1)
        chi2 = 3 * sum(
            difference**2 / (near.features[key] ** 2 + wide.features[key] ** 2)
            for difference, key in ((away, "shift_error"), (apart, "angle_error"))
        )
        differ = chi2 > scipy.stats.chi2.ppf(0.99, 6)
        of_one = chi2 / 3 > scipy.stats.chi2.ppf(0.99, 2)
        rows.append(
            {
                "whiten": whiten,
                "windows nm": "{}, {}".format(*windows),
                "degrees": ", ".join(str(most) for most, _ in turns),
                "patches": len(true),
                "differ": float(differ.mean()),
                "differ along one": float(of_one.mean()),
                "differ inside": float(differ[inside].mean()) if inside.any() else 0.0,
                "at a limit": float(1 - inside.mean()),
                "median nm apart": float(np.median(away)),
                "median degrees apart": float(np.median(apart)),
                "stated nm": rms(wide.features["shift_error"]),
                "stated degrees": rms(wide.features["angle_error"]),
                "ms": 1e3 * took[1] / len(true),
                "wide / narrow": took[1] / took[0],
            }
        )
    return rows


PARTS = {
    "job-32": partial(job, box=32, side=8, repeats=2),
    "job-32-4": partial(job, box=32, side=8, repeats=2, resolution=4.0),
    "job-48": partial(job, box=48, side=6, repeats=2),
    "job-64": partial(job, box=64, side=4, repeats=4, all_of_acryos=False),
    "job-96-4": partial(
        job, box=96, side=3, repeats=6, resolution=4.0, all_of_acryos=False
    ),
    "engine-32": partial(engine, box=32, acryos=6),
    "engine-48": partial(engine, box=48, acryos=4),
    "all-32": partial(all_rotations, box=32),
    "average-32": partial(averaging, box=32, side=8, repeats=2),
    "average-many": partial(averaging_many, box=32, side=8, repeats=196),
    "shift-48": partial(shifts_alone, box=48, window=8.0),
    "scale": scale,
    "bound-chosen": partial(bound, names=molecules.CHOSEN),
    "bound-held-out": partial(bound, names=molecules.HELD_OUT),
    **{
        f"weak-{noise}-{name.replace(' ', '-')}": partial(weak, noise=noise, name=name)
        for noise in (6, 10)
        for name in WEAK
    },
    "tilts-1": partial(tilts.poses, scale=1.0),
    "tilts-0.5": partial(tilts.poses, scale=0.5),
    "tilts-average": tilts.averages,
    "classes": partial(classes.sorting, names=("30S",)),
    "refine": refining.reach,
    "refine-honest": refining.honest,
    "search-rate": searching.rate,
    "search-growth": searching.growth,
    "search-pytme": searching.beside_pytme,
    "search-same": searching.same,
    **{
        f"{search_tables.CROWD}{name}-{noise}": partial(
            crowding.crowd, name=name, noise=noise
        )
        for name in scenes.TEMPLATES
        for noise in (3, 6)
    },
    "search-told": crowding.told,
    "search-peers": crowding.peers,
    "windows": windows,
    "clean": clean,
    "falling": falling,
    "relion": relion,
    "microtubule": microtubule,
}
