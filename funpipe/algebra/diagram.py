"""A pipeline as a diagram in HTML, as notebooks show it.

Stages are boxes in the order in which they run, from the top down. All that a box
says is escaped; the styles stand with the elements, and take the page's own colours, so
that it looks the same wherever it stands, light or dark.
"""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from numbers import Number
from types import MappingProxyType
from typing import Any

import numpy as np

from funpipe.algebra.binding import content, defaults, own_parameters
from funpipe.algebra.operators import PointwiseOperators
from funpipe.algebra.source_text import sign, value_text
from funpipe.algebra.stages import Derived, Operation, SourceOperation, Stage

__all__ = ["as_html", "units"]

_MOST = 8  # operands beside each other
_DEEPEST = 6  # boxes in boxes
_LONGEST = 120  # characters of a value

_LINE = "1px solid rgba(128, 128, 128, 0.6)"
_BOX = (
    f"border:{_LINE};border-radius:6px;padding:4px 10px;margin:0;max-width:100%;"
    "box-sizing:border-box;overflow-wrap:anywhere;"
    "background:rgba(128, 128, 128, 0.1)"
)
_END = f"{_BOX};border-style:dashed;border-radius:14px;background:none;opacity:0.75"
_COLUMN = (
    "display:flex;flex-direction:column;align-items:center;max-width:100%;"
    "list-style:none;margin:0;padding:0"
)
_ROW = (
    "display:flex;flex-wrap:wrap;align-items:center;justify-content:center;"
    "gap:6px;margin-top:4px"
)
_WHOLE = (
    "display:inline-block;max-width:100%;box-sizing:border-box;padding:4px;"
    "font-family:sans-serif;font-size:13px;line-height:1.35;text-align:center"
)
_ARROW = '<div aria-hidden="true" style="line-height:1;opacity:0.6">↓</div>'


def as_html(stages: Sequence[Stage], begin: str) -> str:
    """Return the diagram of stages, the one that runs last at the front.

    Parameters
    ----------
    stages : sequence of Stage
        What a pipeline consists of.
    begin : str
        What the first one is given.

    Examples
    --------
    >>> import funpipe as fp
    >>> from re import sub
    >>> html = as_html(fp.dilation(0.5).parts, "image, scale")
    >>> " ".join(sub("<[^>]*>", " ", html).split())
    'image, scale ↓ dilation radius = 0.5 nm ↓ image'
    """
    ends = (f'<div style="{_END}">{_text(each)}</div>' for each in (begin, "image"))
    rows = [next(ends), *(_box(each, 0) for each in reversed(stages)), next(ends)]
    return f'<div class="funpipe-pipeline" style="{_WHOLE}">{_column(rows)}</div>'


def _column(rows: Sequence[str]) -> str:
    inner = _ARROW.join(f'<div style="max-width:100%">{each}</div>' for each in rows)
    return f'<div style="{_COLUMN}">{inner}</div>'


def _box(stage: Stage, depth: int) -> str:
    """Return a stage's box; an operation's and a derived one's have others in them."""
    if isinstance(stage, Operation):
        inner = _operation(stage, depth)
    else:
        name = f"<b>{_text(stage.func.__name__)}</b>"
        inner = name + "".join(_arguments(stage)) + _derived(stage, depth)
    return f'<div style="{_BOX}">{inner}</div>'


def _operation(stage: Operation, depth: int) -> str:
    name = f"<b>{_text(sign(stage.function))}</b>"
    if depth >= _DEEPEST:
        return _text(stage.text(shorten=True).text)
    shown = stage.operands[:_MOST]
    source = isinstance(stage, SourceOperation)
    boxes = [_operand(each, depth + 1, source=source) for each in shown]
    if more := len(stage.operands) - len(shown):
        boxes.append(f"<span>and {more} more</span>")
    return f'{name}<div style="{_ROW}">{"".join(boxes)}</div>'


def _operand(value: Any, depth: int, *, source: bool) -> str:
    """Return what is operated on: a pipeline, the image as it comes, or a value."""
    if not isinstance(value, PointwiseOperators):
        return f'<div style="{_END}">{_text(value_text(value, shorten=True))}</div>'
    stages: Sequence[Stage] = getattr(value, "parts", ())
    if not stages and not source:
        return f'<div style="{_END}">image</div>'
    return _column([_box(each, depth) for each in reversed(stages)])


def _derived(stage: Stage, depth: int) -> str:
    """Return what a derived stage stands for, folded away."""
    if not isinstance(stage, Derived) or depth >= _DEEPEST:
        return ""
    inner = _column([_box(each, depth + 1) for each in reversed(stage.pipeline.parts)])
    told = '<summary style="cursor:pointer;opacity:0.75">made of</summary>'
    return f'<details style="margin-top:2px">{told}{inner}</details>'


def _arguments(stage: Stage) -> Iterator[str]:
    """Yield a line for each argument; one that is the default is paler."""
    parameters = own_parameters(stage.func, stage.leading)
    usual = defaults(stage.func.__name__, parameters)
    known = units(stage.func)
    for name in parameters:
        value = stage.keywords[name]
        is_usual = name in usual and content(value) == content(usual[name])
        unit = f" {known[name]}" if name in known and _is_numeric(value) else ""
        shown = value_text(value, shorten=True)
        if len(shown) > _LONGEST:
            shown = f"{shown[: _LONGEST - 1]}…"
        style = ' style="opacity:0.65"' if is_usual else ""
        yield f"<div{style}>{_text(f'{name} = {shown}{unit}')}</div>"


def _is_numeric(value: Any) -> bool:
    if isinstance(value, tuple):
        return bool(value) and all(map(_is_numeric, value))
    return isinstance(value, Number | np.ndarray) and not isinstance(value, bool)


def _text(text: str) -> str:
    return html.escape(text.encode(errors="replace").decode())


_UNIT = re.compile(
    r"(?:^|\bin\s+|,\s)(nm per voxel|1/nm|nm|µm|mm|kV|degrees|e/Å²)(?![/\w³²])",
    re.IGNORECASE,
)
_ENTRY = re.compile(
    r"^(?P<names>\w+(?:, \w+)*) : .*\n(?P<text>(?:(?: +.*)?\n)+)", re.MULTILINE
)


@lru_cache(maxsize=256)
def units(function: Callable[..., Any]) -> Mapping[str, str]:
    """Return the units of a function's parameters, as its docstring says them.

    That is where the first sentence about one begins with a unit, or says ``in nm``.

    Examples
    --------
    >>> def blur(image, scale, sigma, order):
    ...     '''Blur.
    ...
    ...     Parameters
    ...     ----------
    ...     sigma : float
    ...         How far, in nm.
    ...     order : int
    ...         How often.
    ...     '''
    >>> dict(units(blur))
    {'sigma': 'nm'}
    """
    text = inspect.getdoc(function) or ""
    _, _, section = text.partition("\nParameters\n----------\n")
    section = re.split(r"\n\n\w[\w ]*\n-{3,}\n", section)[0]
    found: dict[str, str] = {}
    for entry in _ENTRY.finditer(f"{section}\n"):
        said = " ".join(entry["text"].split())
        if unit := _UNIT.search(re.split(r"\. [A-Z]", said)[0]):
            found |= dict.fromkeys(entry["names"].split(", "), unit[1])
    return MappingProxyType(found)
