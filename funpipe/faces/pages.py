"""A page of HTML in one file: no script, nothing that is loaded from elsewhere."""

from __future__ import annotations

import base64
import html
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
import scipy

from funpipe.base.extras import require

__all__ = ["Figure", "Section", "figure", "page", "versions"]

_DOTS = 130  # per inch


class Figure(NamedTuple):
    """A picture and what it shows."""

    png: bytes
    caption: str
    wide: bool = False
    """Whether it goes over the whole width."""


class Section(NamedTuple):
    """A part of a page; what is empty is left out."""

    title: str
    text: str = ""
    facts: Mapping[str, str] = {}
    """Values by their names."""
    findings: Sequence[tuple[str, str, str]] = ()
    """Names, figures and advice."""
    figures: Sequence[Figure] = ()
    pipelines: Mapping[str, Any] = {}
    """By their names."""
    table: Sequence[Sequence[str]] = ()
    """Rows, the head first."""


def figure(drawn: Any, caption: str, *, wide: bool = False) -> Figure:
    """Return a matplotlib figure as a picture with a caption."""
    file = BytesIO()
    drawn.savefig(file, format="png", dpi=_DOTS, facecolor="white")
    return Figure(file.getvalue(), caption, wide)


def versions() -> dict[str, str]:
    """Return the versions of what made a result."""
    return {
        # Not imported, for this floor is below it: it is there when this runs.
        "funpipe": sys.modules["funpipe"].__version__,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "matplotlib": require("matplotlib", "plot", "to draw").__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def page(title: str, sections: Iterable[Section]) -> str:
    """Return a page; all texts are escaped.

    Examples
    --------
    >>> "<h2>A &amp; B</h2>" in page("a title", [Section("A & B", text="text")])
    True
    """
    body = "\n".join(map(_section, sections))
    return _PAGE.format(title=_text(title), style=_STYLE, body=body)


def _section(section: Section) -> str:
    parts = [f"<h2>{_text(section.title)}</h2>"]
    if section.text:
        parts.append(f"<p>{_text(section.text)}</p>")
    if section.facts:
        rows = (_fact(*each) for each in section.facts.items())
        parts.append(f"<dl>{''.join(rows)}</dl>")
    if section.findings:
        found = "".join(_finding(*each) for each in section.findings)
        parts.append(f'<ul class="findings">{found}</ul>')
    for name, pipeline in section.pipelines.items():
        parts.append(_pipeline(name, pipeline))
    if section.figures:
        drawn = "".join(map(_figure, section.figures))
        parts.append(f'<div class="figures">{drawn}</div>')
    if section.table:
        parts.append(_table(section.table))
    return f"<section>{''.join(parts)}</section>"


def _fact(name: str, value: str) -> str:
    return f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>"


def _finding(name: str, number: str, advice: str) -> str:
    return (
        f"<li><strong>{_text(name)}</strong> <b>{_text(number)}</b> "
        f"<span>{_text(advice)}</span></li>"
    )


def _figure(shown: Figure) -> str:
    caption, data = _text(shown.caption), base64.b64encode(shown.png).decode()
    wide = ' class="wide"' if shown.wide else ""
    return (
        f'<figure{wide}><img alt="{caption}" src="data:image/png;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _pipeline(name: str, pipeline: Any) -> str:
    """Return a pipeline's source text, and its diagram folded away."""
    return (
        f"<h3>{_text(name)}</h3><pre><code>{_text(_source(pipeline))}</code></pre>"
        f"<details><summary>stage by stage</summary>{pipeline._repr_html_()}</details>"
    )


_LONGEST = 5000  # characters of source text


def _source(pipeline: Any) -> str:
    """Return the source text; large arrays are only named where it would be long."""
    text = repr(pipeline)
    return text if len(text) <= _LONGEST else str(pipeline)


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *others = rows
    shown = "".join(_row("td", each) for each in others)
    inner = f"<thead>{_row('th', head)}</thead><tbody>{shown}</tbody>"
    return f'<div class="scroll"><table>{inner}</table></div>'


def _row(tag: str, cells: Iterable[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{_text(each)}</{tag}>' for each in cells)}</tr>"


def _text(text: str) -> str:
    return html.escape(text.encode(errors="replace").decode())


_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" \
content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""

_STYLE = """
:root { color-scheme: light dark; --line: rgba(128, 128, 128, 0.35); }
body { margin: 0; font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 76rem; margin: 0 auto; padding: 1rem; box-sizing: border-box; }
h1 { font-size: 1.6rem; margin: 0.5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2rem 0 0.75rem; padding-bottom: 0.25rem;
  border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1rem 0 0.25rem; overflow-wrap: anywhere; }
dl { display: grid; gap: 0.5rem; margin: 0;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 13rem), 1fr)); }
dl div { border: 1px solid var(--line); border-radius: 6px; padding: 0.4rem 0.7rem; }
dt { font-size: 0.8rem; opacity: 0.75; overflow-wrap: anywhere; }
dd { margin: 0; font-weight: 600; overflow-wrap: anywhere; }
.findings { list-style: none; margin: 0; padding: 0; display: grid; gap: 0.5rem; }
.findings li { border-left: 4px solid #c8452f; padding: 0.2rem 0.8rem; }
.findings b { font-variant-numeric: tabular-nums; border: 1px solid var(--line);
  border-radius: 4px; padding: 0 0.4rem; margin: 0 0.2rem; }
.findings span { display: block; }
.figures { display: grid; gap: 1rem; margin-top: 1rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); }
figure { margin: 0; border: 1px solid var(--line); border-radius: 6px;
  overflow: hidden; }
figure.wide { grid-column: 1 / -1; overflow-x: auto; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figure:not(.wide) img { width: 100%; }
figure.wide img { max-width: max(100%, 38rem); }
figure.wide figcaption { position: sticky; left: 0; }
figure { background: white; }
figcaption { font-size: 0.85rem; padding: 0.5rem 0.7rem; background: Canvas;
  border-top: 1px solid var(--line); }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; padding: 0.6rem;
  border: 1px solid var(--line); border-radius: 6px; font-size: 0.85rem; }
summary { cursor: pointer; margin: 0.3rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: 0.25rem 0.8rem;
  text-align: right; white-space: nowrap; }
"""
