"""What the texts of the command line's options mean: pipelines, rotations, regions."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from funpipe.io.tomogram_files import tomogram_files
from funpipe.io.volumes import volume_stem
from funpipe.stages.parsing import parse_pipeline
from funpipe.stages.providers import from_file, from_structure

__all__ = ["max_shift", "only", "pipeline", "region", "rotations", "templates"]

_STRUCTURES = (".pdb", ".ent", ".cif", ".mmcif")


def pipeline(option: str, text: str) -> Any:
    """Return what a file provides, or what a pipeline's source text says."""
    path = Path(text)
    try:
        there = path.exists()
    except (OSError, ValueError):  # too long for a path, or with a null
        there = False
    if there:
        stem = path.with_suffix("") if path.suffix == ".gz" else path
        is_structure = stem.suffix.lower() in _STRUCTURES
        return from_structure(text) if is_structure else from_file(text)
    try:
        return parse_pipeline(text)
    except (TypeError, ValueError) as error:
        if re.fullmatch(r"[^()@]*\.\w+|[^()@\s]*/[^()@\s]*", text):
            raise FileNotFoundError(f"{option}: there is no file {text!r}") from None
        raise ValueError(f"{option}: {error}") from None


def templates(texts: list[str]) -> Any:
    """Return the template, or all of several."""
    return only([pipeline("--template", each) for each in texts])


def max_shift(numbers: list[float] | None) -> Any:
    """Return the largest shift, along one axis or each."""
    if numbers is None:
        return None
    if len(numbers) not in (1, 3):
        raise ValueError(
            f"--max-shift must be one number or three, in nm, not {len(numbers)}"
        )
    return only(numbers)


def rotations(texts: list[str] | None) -> Any:
    """Return rotations as `align` takes them.

    Examples
    --------
    >>> rotations(["12", "6"]), rotations(["all"]), rotations(["none"])
    ((12.0, 6.0), 'all', None)
    """
    if texts is None or texts == ["none"]:
        return None
    if texts == ["all"]:
        return "all"
    numbers = _numbers(texts)
    if len(numbers) not in (2, 6):
        raise ValueError(
            "--rotations must be 'all', MAXIMUM STEP, or three such pairs, in "
            f"degrees, not {' '.join(texts)!r}"
        )
    pairs = tuple(zip(numbers[::2], numbers[1::2], strict=True))
    return only(pairs)


def region(texts: list[str] | None, names: Iterable[str]) -> Any:
    """Return a region as `search` takes it, of tomograms of these names.

    Examples
    --------
    >>> region(["20", "80.5"], ["TS_01"]), region(["cell.mrc", "2"], ["TS_01"])
    ((20.0, 80.5), ('cell.mrc', 2))
    """
    if texts is None:
        return None
    path, *labels = texts
    if len(texts) == 2 and len(slab := _numbers(texts)) == 2:
        return tuple(slab)
    if not all(re.fullmatch(r"[+-]?\d{1,15}", each) for each in labels):
        raise ValueError(
            "--region must be a FILE or folder, one with the LABELS in it that count, "
            f"or LOWEST HIGHEST, in nm along z, not {' '.join(texts)!r}"
        )
    whole = [int(each) for each in labels]
    if not Path(path).is_dir() or volume_stem(
        Path(path).name
    ):  # OME-Zarr's are folders
        return (path, only(whole)) if whole else path
    files = {name: str(each) for name, each in tomogram_files(path, names).items()}
    return {
        name: (each, only(whole)) if whole else each for name, each in files.items()
    }


def only(several: Any) -> Any:
    """Return the one element there is, or all."""
    return several[0] if len(several) == 1 else several


def _numbers(texts: list[str]) -> list[float]:
    """Return finite numbers, or none where one of the texts is another thing."""
    try:
        found = [float(each) for each in texts]
    except ValueError:
        return []
    return found if all(map(math.isfinite, found)) else []
