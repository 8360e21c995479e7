"""Results as CSV files, one a part: conditions as ``# name: value``, then the rows."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any, NamedTuple

RESULTS = Path(__file__).resolve().parent / "results"


class Result(NamedTuple):
    part: str
    conditions: dict[str, str]
    rows: list[dict[str, Any]]

    def column(self, name: str, **where: Any) -> list[Any]:
        """Return a column's values in those rows that have others as given."""
        return [
            row[name]
            for row in self.rows
            if name in row and all(row.get(key) == each for key, each in where.items())
        ]


def write_result(folder: Path, result: Result) -> None:
    """Write a part's result; of a part without rows, none."""
    if not result.rows:
        return
    folder.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    for name, value in result.conditions.items():
        text.write(f"# {name}: {value}\n")
    names = dict.fromkeys(name for row in result.rows for name in row)
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {key: _text(value) for key, value in row.items()} for row in result.rows
    )
    (folder / f"{result.part}.csv").write_text(text.getvalue(), encoding="utf-8")


def read_results(folder: Path) -> dict[str, Result]:
    """Return the results that are there, by part."""
    return {path.stem: read_result(path) for path in sorted(folder.glob("*.csv"))}


def read_result(path: Path) -> Result:
    lines = path.read_text(encoding="utf-8").splitlines()
    said = [line for line in lines if line.startswith("# ")]
    conditions = dict(line[2:].split(": ", 1) for line in said)
    rows = [
        {key: _value(text) for key, text in row.items() if text != ""}
        for row in csv.DictReader(lines[len(said) :])
    ]
    return Result(path.stem, conditions, rows)


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _value(text: str) -> Any:
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
