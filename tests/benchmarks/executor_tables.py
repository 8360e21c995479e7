"""The figures of executors, see `tables`; they are made by `executors`."""

from __future__ import annotations

from cells import Results, all_rows, section, two, whole


def workers(results: Results) -> str:
    every = all_rows(results, ("executors",))
    handled = {
        row["kind"]: row["ms a chunk"] for row in every if row["part"] == "chunks"
    }
    rows = [
        (
            row["kind"],
            f"{two(row['s, 1 worker'])} s",
            f"{two(row['s, 2 workers'])} s",
            f"{row['gain']:.2f}",
            f"{row['over the best']:.2f}",
            f"{two(handled[row['kind']])} ms" if row["kind"] in handled else "",
        )
        for row in every
        if row["part"] == "workers"
    ]
    titles = ("executor", "one worker", "two workers", "gain", "beside the best")
    titles += ("a chunk of nothing",)
    counts = {row["particles"] for row in every if row["part"] == "workers"}
    name = (
        f"Executors: {', '.join(f'{each:,}' for each in counts)} particles, box of 32"
    )
    return section(name, titles, rows)


def long_runs(results: Results) -> str:
    rows = []
    for row in all_rows(results, ("executors",)):
        if row["part"] == "tasks":
            rows.append(("a task, at most", f"{two(row['kB there, most'])} kB"))
        elif row["part"] == "checkpoint":
            rows.append(("what keeping all chunks adds", f"{row['per cent']:.1f} %"))
        elif row["part"] == "million":
            first = f"{whole(row['particles a second'])} a second"
            again = f"{whole(row['resumed, particles a second'])} taken up again"
            grown = f"{whole(row['memory MB'])} MB more"
            name = f"a million particles, null task, executor {row['kind']}"
            rows.append((name, f"{first}, {again}, {grown}"))
    return section("Long runs", ("", ""), rows)


MAKERS = (workers, long_runs)
