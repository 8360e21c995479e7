"""The READMEs' figures, made of the results: `--table` writes them, a test compares."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import executor_tables
import numpy as np
import search_tables
from cells import Results, all_rows, mean, pair, section, two, whole, wrapped
from results import read_results

HERE = Path(__file__).resolve().parent
README = HERE / "README.md"
FRONT = HERE.parents[1] / "README.md"
FIGURES = re.compile(
    r"(?<=<!-- figures -->\n).*?(?=<!-- end of figures -->)", re.DOTALL
)
SPEED = re.compile(r"(?<=## How fast\n\n).*?(?=\n\n## )", re.DOTALL)

JOBS = ("job-32", "job-32-4", "job-48", "job-64", "job-96-4")
ENGINES = ("engine-32", "engine-48")
BOUNDS = {"bound-chosen": "chosen on", "bound-held-out": "held out"}
WEAK = "weak-"  # what those parts' names start with


def write_tables(results: Path, readme: Path = README, front: Path = FRONT) -> None:
    """Write what the results say into both READMEs."""
    there = read_results(results)
    for path, updated in ((readme, with_figures), (front, with_speed)):
        text = path.read_text(encoding="utf-8")
        path.write_text(updated(text, there), encoding="utf-8")


def with_figures(text: str, results: Results) -> str:
    """Return the benchmarks' README with the figures of the results."""
    if not FIGURES.search(text):
        raise ValueError("README.md has no place between <!-- figures --> marks")
    return FIGURES.sub(lambda _: figures(results), text)


def with_speed(text: str, results: Results) -> str:
    """Return the front README with the line of speed of the results, if they say."""
    line = speed(results)
    return SPEED.sub(lambda _: line, text) if line else text


def figures(results: Results) -> str:
    """Return all figures as Markdown: of each group of parts what there is."""
    makers = (
        jobs,
        engines,
        bounds,
        weak,
        windows,
        tilts,
        tilt_averages,
        refining,
        honesty,
        sorted_classes,
        *search_tables.MAKERS,
        clean,
        other,
        many,
        scale,
        *executor_tables.MAKERS,
        microtubule,
        ran,
    )
    blocks = [block for maker in makers if (block := maker(results))]
    return "\n".join(["", *(f"{block}\n" for block in blocks)] if blocks else ["\n"])


def speed(results: Results) -> str:
    """Return the front README's paragraph, or nothing where a part is missing."""
    if "engine-32" not in results:
        return ""
    result = results["engine-32"]
    times, acryo = mean(result, "acryo / funpipe"), result.conditions["acryo"]
    text = (
        f"{two(mean(result, 'ms'))} ms a particle in a box of 32 on two processors "
        "(343 rotations, ±3 voxels, noise as strong as the template), with a median "
        f"error of {two(mean(result, 'median angle'))}°"
    )
    if times:
        text += f"; acryo {acryo} takes {whole(times)} times as long, with "
        text += f"{two(mean(result, 'acryo median angle'))}°"
    if "job-32" in results:
        job = results["job-32"]
        text += (
            f". From a tomogram's file to aligned molecules {two(mean(job, 'ms'))} ms"
        )
        if times := mean(job, "acryo / funpipe"):
            text += f", acryo's loader {whole(times)} times as long"
    text += "; all with the extra `fast`. "
    text += "[More figures, and their conditions](tests/benchmarks/README.md)."
    return wrapped(text)


# The groups.


def jobs(results: Results) -> str:
    rows = [
        (
            f"{row['box']}, {resolution(row)}",
            row["particles"],
            f"{two(row['ms'])} ms",
            whole(row.get("acryo / funpipe")),
            f"{two(row['rms angle'])}°, {two(row['rms distance'])} voxel",
            f"{whole(row['memory MB'])} of {whole(row['tomogram MB'])} MB",
        )
        for row in all_rows(results, JOBS)
    ]
    titles = ("box, resolution", "particles", "each", "acryo's loader, times as long")
    titles += ("RMS error", "memory, of a tomogram")
    return section("From a tomogram's file to aligned molecules", titles, rows)


def resolution(row: dict[str, Any]) -> str:
    return "default" if row["resolution"] == 2 else f"{row['resolution']:g} voxels"


def engines(results: Results) -> str:
    rows = [
        (
            f"{row['box']}, {row['molecule']}",
            f"{two(row['ms'])} ms",
            whole(row.get("acryo / funpipe")),
            f"{two(row['median angle'])}°, {two(row['median distance'])} voxel",
            pair(row, "acryo median angle", "acryo median distance"),
            f"{row['angle / bound']:.2f}, {row['distance / bound']:.2f}",
            f"{100 * row['share of sgemm']:.0f} %",
        )
        for row in all_rows(results, ENGINES)
    ]
    titles = ("box, molecule", "each", "acryo's ZNCC, times as long", "median error")
    titles += ("that of acryo", "RMS error / bound", "the search's share of sgemm")
    return section("The engine alone, on arrays, to 4 voxels", titles, rows)


def bounds(results: Results) -> str:
    rows = []
    for part, kind in BOUNDS.items():
        ours = all_rows(results, (part,))
        for name in dict.fromkeys(row["molecule"] for row in ours):
            mine = [row for row in ours if row["molecule"] == name]
            rows.append((f"{name} ({kind})", *cells_of_bounds(mine)))
        if ours:
            rows.append((f"mean, {kind}", *cells_of_bounds(ours)))
    titles = (
        "",
        *(f"{each}, noise {n}" for n in (1, 3) for each in ("angle", "shift")),
    )
    titles += ("angle / stated", "shift / stated")
    return section("RMS error / Cramér–Rao bound", titles, rows)


def cells_of_bounds(rows: list[dict[str, Any]]) -> list[str]:
    cells = []
    for noise in (1, 3):
        for key in ("angle / bound", "distance / bound"):
            values = [row[key] for row in rows if row["noise"] == noise]
            cells.append(f"{np.mean(values):.2f}" if values else "")
    stated = ("angle / stated", "distance / stated")
    return cells + [f"{np.mean([row[key] for row in rows]):.2f}" for key in stated]


def weak(results: Results) -> str:
    rows = [
        (
            f"{row['molecule']}, {row['noise']:g}",
            pair(row, "rms angle", "rms distance"),
            pair(row, "bound angle", "bound distance"),
            pair(row, "same rms angle", "same rms distance"),
            pair(row, "acryo rms angle", "acryo rms distance"),
            pair(row, "relion rms angle", "relion rms distance"),
        )
        for row in all_rows(results, tuple(e for e in results if e.startswith(WEAK)))
    ]
    titles = ("molecule, noise", "funpipe", "bound", "funpipe, of acryo's particles")
    titles += ("acryo", "RELION")
    return section("RMS error where the signal is weak, box of 32", titles, rows)


def windows(results: Results) -> str:
    others = tuple(each for each in results if each.startswith(WEAK))
    relion = {(e["molecule"], e["noise"]): e for e in all_rows(results, others)}
    rows = [
        (
            f"{row['molecule']}, {row['noise']:g}",
            pair(row, "start rms angle", "start rms distance"),
            pair(row, "12 rms angle", "12 rms distance"),
            pair(row, "10 rms angle", "10 rms distance"),
            pair(row, "prior rms angle", "prior rms distance"),
            f"{row['prior angle / stated']:.2f}, {row['prior distance / stated']:.2f}",
            pair(
                relion.get((row["molecule"], row["noise"]), {}),
                "relion rms angle",
                "relion rms distance",
            ),
        )
        for row in all_rows(results, ("windows",))
    ]
    titles = ("molecule, noise", "where they start", "up to 12°", "up to 10°")
    titles += ("with RELION's prior", "RMS error / stated", "RELION")
    return section("The same, by what is known before", titles, rows)


def tilts(results: Results) -> str:
    rows = [
        (
            f"{row['scale']:g} nm, {row['phases']}, {row['noise']:g}",
            pair(row, "rms angle", "rms distance"),
            pair(row, "wedge rms angle", "wedge rms distance"),
            f"{row['score']:.3f}, {row['wedge score']:.3f}",
            f"{row['angle / bound']:.2f}, {row['distance / bound']:.2f}",
            f"{row['angle / stated']:.2f}, {row['distance / stated']:.2f}",
            f"{row['time / wedge']:.2f}",
        )
        for row in all_rows(results, ("tilts-1", "tilts-0.5"))
    ]
    titles = ("a voxel, phases, noise", "with the tilt series", "with a plain wedge")
    titles += ("scores of both", "RMS error / bound", "RMS error / stated")
    titles += ("time / that of the wedge",)
    return section("A tilt series' dose and contrast transfer, the 30S", titles, rows)


def tilt_averages(results: Results) -> str:
    rows = [
        (
            f"{row['defocus']}, {row['weights']}",
            row["particles"],
            f"{row['mean FSC, 0.3 to 0.55 1/nm']:.2f}",
            f"{row['lowest there']:.2f}",
            f"{row['nm at an FSC of 0.5']:.2f} nm",
        )
        for row in all_rows(results, ("tilts-average",))
    ]
    titles = ("defocus, average by", "particles", "mean FSC, 0.3 to 0.55 1/nm")
    titles += ("lowest there", "FSC falls below 0.5 at")
    return section("Averages of a signed contrast transfer", titles, rows)


def clean(results: Results) -> str:
    rows = [
        (
            f"{row['molecule']}, {row['mask reach']:g} voxels",
            *(
                f"{row[f'{of}rms angle']:.2g}°, {row[f'{of}rms distance']:.2g}"
                for of in ("", "same ", "exact ")
            ),
        )
        for row in all_rows(results, ("clean",))
    ]
    titles = ("molecule, mask beyond its outline", "RMS error", "of the first few")
    titles += ("of those, the score's own maximum",)
    return section("Without noise, box of 32", titles, rows)


def other(results: Results) -> str:
    rows = []
    for row in all_rows(results, ("all-32",)):
        found = f"{100 * row['within 10 degrees']:.0f} % within 10°"
        name = f'`rotations="all"`, {row["molecule"]}'
        rows.append((name, *time_cells(row, "acryo"), found))
    for row in all_rows(results, ("average-32",)):
        rows.append(("`average` with a wedge", *time_cells(row, "acryo"), ""))
    for row in all_rows(results, ("shift-48",)):
        text = f"one particle's shift, ±{row['window']:g} voxels, box of {row['box']}"
        prepared = f"and {two(row['ms of preparation'])} ms of preparation"
        rows.append((text, *time_cells(row, "acryo"), prepared))
    for row in all_rows(results, ("relion",)):
        theirs = f"RELION {two(row['relion rms angle'])}°, "
        theirs += f"funpipe {two(row['rms angle'])}°"
        name = f"RELION's local search, steps of {row['step']:g}°"
        rows.append((name, *time_cells(row, "relion"), theirs))
    for row in all_rows(results, ("falling",)):
        ratio = f"{row['angle, whitened / not']:.2f} (angle), "
        ratio += f"{row['distance, whitened / not']:.2f} (shift)"
        name = f"`whiten=True` in noise that falls, {row['molecule']}"
        rows.append((name, "", "", f"errors times {ratio}"))
    titles = ("", "funpipe, each", "the other, times as long", "")
    return section("Other tasks, box of 32", titles, rows)


def refining(results: Results) -> str:
    rows = [
        (
            row["from"],
            f"{row['noise']:g}",
            f"{row['iterations']:g}, {whole(row['s'])} s",
            f"{row['truth']:.3g} nm, {row['at true poses']:.3g} at the true poses",
            pair(row, "rms angle", "rms distance"),
        )
        for row in all_rows(results, ("refine",))
    ]
    titles = ("refined from", "noise", "iterations", "0.5 to the truth", "RMS error")
    return section("Refinement of 300 ribosomes, 1 nm a voxel", titles, rows)


def honesty(results: Results) -> str:
    rows = [
        (
            row["case"],
            f"{row['runs']:g}",
            two(row["truth / reported, median"]),
            two(row["largest"]),
            f"{100 * row['more than 1.05']:.0f} %",
            f"{100 * row['truth in the band of 95 %']:.0f} %",
            two(row.get("with the twins torn apart, median")),
        )
        for row in all_rows(results, ("refine-honest",))
        if row.get("largest") is not None
    ]
    titles = ("100 particles", "runs", "truth / reported, median", "largest")
    titles += ("above 1.05", "truth in the 95 % band", "twins in both halves")
    return section("What refinement reports, every iteration", titles, rows)


def sorted_classes(results: Results) -> str:
    rows = [
        (
            row["start"],
            f"{row['seed']:g}",
            f"{100 * row['right']:.1f} %",
            f"{100 * row['expected']:.1f} %",
            two(row["apart, by bins"]),
        )
        for row in all_rows(results, ("classes",))
    ]
    titles = ("200 + 200 of the 30S, noise 3", "tomogram", "right", "expected")
    titles += ("apart, by bins",)
    return section("Classes: with and without a tenth of the mass", titles, rows)


def many(results: Results) -> str:
    rows = [
        (
            "with a wedge" if row["wedge"] else "plain",
            f"{row['particles']:,}",
            f"{two(row['ms'])} ms",
            f"{two(row['ms of cutting'])} ms",
            f"{whole(row['memory MB'])} of {whole(row['tomogram MB'])} MB",
        )
        for row in all_rows(results, ("average-many",))
    ]
    titles = ("average", "particles", "each", "each, to be cut only")
    titles += ("memory, of a tomogram",)
    return section("Averages of many particles, box of 32", titles, rows)


def scale(results: Results) -> str:
    rows = []
    for row in all_rows(results, ("scale",)):
        kind, checks = f"box of {row['box']}, ±{row['window']:g} voxels", "s" in row
        kind += f", resolution {resolution(row)}, {row['rotations']} rotations"
        if row.get("templates", 1) > 1:
            kind += f", {row['templates']} templates, each particle "
            kind += f"{row['times one template']:.1f} times one"
        seconds = two(row["s"] if checks else row["s of preparation"])
        name = f"`check`, {kind}" if checks else kind
        rows.append((name, f"{seconds} s", f"{whole(row['memory MB'])} MB"))
    titles = ("preparation", "of a processor", "memory beyond the imports")
    return section("What preparing takes", titles, rows)


def time_cells(row: dict[str, Any], other: str) -> tuple[str, str]:
    return f"{two(row['ms'])} ms", whole(row.get(f"{other} / funpipe"))


def microtubule(results: Results) -> str:
    rows = [
        (
            "with `whiten`" if row["whiten"] else "without `whiten`",
            f"{row['windows nm']} nm, {row['degrees']}°",
            row["patches"],
            f"{100 * row['differ']:.1f} %",
            f"{100 * row['differ along one']:.1f} %",
            f"{100 * row['differ inside']:.1f} %",
            f"{100 * row['at a limit']:.0f} %",
            f"{two(row['median nm apart'])} nm, {two(row['median degrees apart'])}°",
        )
        for row in all_rows(results, ("microtubule",))
    ]
    titles = ("", "windows", "patches", "differ", "were errors of one direction")
    titles += ("differ, none at a limit",)
    titles += ("at a limit", "median distance of the two")
    return section("A real microtubule, aligned twice", titles, rows)


def ran(results: Results) -> str:
    rows = []
    for part, result in results.items():
        said = result.conditions
        pairs = ("load", "sgemm GFLOP/s")
        rows.append(
            (
                *(f"`{part}`", said["date"], f"{said['funpipe']}"),
                *(f"{said[f'{x} before']}, {said[f'{x} after']}" for x in pairs),
                f"{said['wall seconds']}, {said['processor seconds']}",
            )
        )
    titles = ("part", "date", "funpipe", "load before, after")
    titles += ("sgemm GFLOP/s before, after", "seconds, of processors")
    block = section("What was run, and what ran beside it", titles, rows)
    return f"{block}\n\n{machines(results)}" if rows else ""


def machines(results: Results) -> str:
    """Say on what, each machine once."""
    said = dict.fromkeys(
        f"{c['processor']}, {c['cores']} cores, {c['threads']} threads; Python "
        f"{c['python']}, NumPy {c['numpy']}, SciPy {c['scipy']}, acryo {c['acryo']}"
        for c in (result.conditions for result in results.values())
    )
    return wrapped(f"On {'; and '.join(said)}.")
