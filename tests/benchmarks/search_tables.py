"""The figures of `search`, see `tables`."""

from __future__ import annotations

from typing import Any

from cells import Results, all_rows, section, two, whole

CROWD = "search-crowd-"  # what the names of those parts start with


def speed(results: Results) -> str:
    rows = []
    for row in all_rows(results, ("search-rate", "search-pytme")):
        counted = row["voxels"] * row["rotations"] / row["s"]
        rows.append(
            (
                f"{row['shape']}{', and false ones told' if row.get('null') else ''}",
                f"{row['rotations']:,}",
                f"{two(row['s'])} s",
                f"{two(1e-9 * counted)} · 10⁹",
                f"{100 * row['found']:.0f} %",
                memory(row),
                of_both(row),
                f"{100 * row['pytme found']:.0f} %" if "pytme found" in row else "",
            )
        )
    titles = ("voxels", "rotations", "time", "voxels × rotations / s", "copies found")
    titles += ("memory, of a tomogram", "pytme, times as long (twice)")
    titles += ("its copies found",)
    return section("Searching a tomogram for the 30S, noise 3", titles, rows)


def of_both(row: dict[str, Any]) -> str:
    """Return how long pytme takes, beside a first and a second search."""
    keys = ("pytme / funpipe", "pytme / funpipe again")
    return ", ".join(whole(row[key]) for key in keys if key in row)


def memory(row: dict[str, Any]) -> str:
    if "memory MB" not in row:
        return ""
    return f"{whole(row['memory MB'])} of {whole(row['tomogram MB'])} MB"


def growth(results: Results) -> str:
    rows = [
        (
            row["changed"],
            row["shape"],
            f"{row['rotations']:,}",
            f"{row['resolution']:g} voxels",
            row.get("functions", ""),
            f"{two(row['s'])} s",
            memory(row),
            f"{100 * row['found']:.0f} %",
        )
        for row in all_rows(results, ("search-growth",))
    ]
    titles = ("changed", "voxels", "rotations", "resolution", "functions", "time")
    titles += ("memory, of a tomogram", "copies found")
    return section("How a search grows", titles, rows)


def same(results: Results) -> str:
    rows = [
        (
            f"{row['molecule']}{', exact' if row['exact'] else ''}",
            *(
                f"{100 * row[key]:.1f} %"
                for key in ("found", "found, of copies", "found, of others")
            ),
            f"{100 * row['as high within 1 %']:.1f} %",
            f"{100 * row['copies among the first']:.0f} %",
            f"{100 * row['exhaustive copies among the first']:.0f} %",
            f"{two(row['s'])} s",
            f"{whole(row['exhaustive s'])} s",
        )
        for row in all_rows(results, ("search-same",))
    ]
    titles = ("", "peaks found", "of copies", "of noise, no shoulders of higher ones")
    titles += ("scores within 1 %", "copies among as many first", "by brute force")
    titles += ("time", "of brute force")
    name = "The 200 highest peaks of brute force, 128³ voxels"
    return section(name, titles, rows)


def crowd(results: Results) -> str:
    crowds = tuple(part for part in results if part.startswith(CROWD))
    rows = [
        (
            f"{row['molecule']}, {row['noise']:g}",
            row["copies"],
            *(f"{row[key]:.2f}" for key in ("F1", "precision", "recall")),
            *(told(row, rate) for rate in (0.01, 0.05, 0.1)),
            errors(row),
            f"{two(row['s'])} s",
        )
        for row in all_rows(results, crowds)
    ]
    titles = (
        "template, noise",
        "copies",
        "best F1",
        "precision",
        "recall",
    )
    titles += tuple(f"said to be {n} % false: are, and recall" for n in (1, 5, 10))
    titles += ("error", "time each")
    name = "Crowded tomograms of 128 x 256 x 256 voxels: five kinds, membranes, gold"
    return section(name, titles, rows)


def alone(results: Results) -> str:
    rows = [
        (
            f"{row['noise']:g}",
            *(f"{row[key]:.2f}" for key in ("F1", "precision", "recall")),
            told(row, 0.05),
            *(
                f"{row[f'false of {most}']:.1f}, {row[f'recall of {most}']:.2f}"
                for most in (1, 10, 100)
            ),
        )
        for row in all_rows(results, ("search-told",))
    ]
    titles = ("noise", "best F1", "precision", "recall")
    titles += ("said to be 5 % false: are, and recall",)
    titles += tuple(
        f"where noise has {most}: false of a tomogram, and recall"
        for most in (1, 10, 100)
    )
    return section("100 of the 30S in 128 x 256 x 256 voxels of noise", titles, rows)


def told(row: dict[str, Any], rate: float) -> str:
    share = f"{100 * row[f'false at {rate}']:.1f} % of {row[f'picks at {rate}']}"
    return f"{share}, {row[f'recall at {rate}']:.2f}"


def errors(row: dict[str, Any]) -> str:
    if "rms voxels" not in row:
        return ""
    text = f"{two(row['rms voxels'])} voxel"
    if "median degrees" in row:
        text = f"{two(row['median degrees'])}°, {text}"
    return text


def peers(results: Results) -> str:
    rows = [
        (
            row["program"],
            *(f"{row[key]:.2f}" for key in ("F1", "precision", "recall")),
            errors(row),
            f"{two(row['s'])} s",
        )
        for row in all_rows(results, ("search-peers",))
    ]
    titles = ("", "best F1", "precision", "recall", "error", "time each")
    name = "Crowded tomograms of 64 x 160 x 160 voxels: the 30S, noise 6"
    return section(name, titles, rows)


MAKERS = (speed, growth, same, crowd, alone, peers)
