"""The code of the README and of docstrings, laid out for type checkers."""

from __future__ import annotations

import ast
import doctest
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"


def blocks(language: str) -> list[str]:
    """Return the README's blocks of code in a language, in their order."""
    text = README.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def docstrings(source: str) -> Iterator[str]:
    """Give all docstrings of a module's source."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, kinds) and (text := ast.get_docstring(node)):
            yield text


def as_functions(source: str) -> str:
    """Return a module's examples as one function for each docstring that has some.

    What they show to be an error is left out.
    """
    made = []
    for text in docstrings(source):
        examples = doctest.DocTestParser().get_examples(text)
        shown = [each.source for each in examples if each.exc_msg is None]
        if shown:
            body = textwrap.indent("".join(shown), "    ")
            made.append(f"def example_{len(made)}() -> None:\n{body}")
    return "\n\n".join(made)
