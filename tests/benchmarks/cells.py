"""Cells and tables of Markdown, of the rows of results."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
from results import Result

Results = dict[str, Result]


def all_rows(results: Results, parts: tuple[str, ...]) -> list[dict[str, Any]]:
    return [row for part in parts if part in results for row in results[part].rows]


def mean(result: Result, name: str) -> float | None:
    values = result.column(name)
    return float(np.mean(values)) if values else None


def two(value: float | None) -> str:
    """Return a number of two digits, without an exponent."""
    if value is None:
        return ""
    digits = 1 - int(np.floor(np.log10(abs(value)))) if value else 0
    return f"{round(value, digits):.{max(0, digits)}f}"


def whole(value: float | None) -> str:
    """Return a large number of two digits, thousands apart."""
    if value is None:
        return ""
    return two(value) if value < 10 else f"{int(float(f'{value:.2g}')):,}"


def pair(row: dict[str, Any], angle: str, distance: str) -> str:
    return f"{two(row[angle])}°, {two(row[distance])}" if angle in row else ""


def section(title: str, titles: tuple[str, ...], rows: list[Any]) -> str:
    if not rows:
        return ""
    lines = [titles, ("---",) * len(titles), *rows]
    table = "\n".join("| " + " | ".join(map(str, each)) + " |" for each in lines)
    return f"## {title}\n\n{table}"


def wrapped(text: str) -> str:
    return textwrap.fill(text, 88, break_long_words=False, break_on_hyphens=False)
