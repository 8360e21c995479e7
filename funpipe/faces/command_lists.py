"""Particle lists on the command line: read, and written where it says."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from funpipe.base.errors import Argument, WrongValueError, moved
from funpipe.base.molecules import Molecules
from funpipe.base.whole import check_target
from funpipe.io.particles import (
    FORMATS,
    files_of,
    format_of,
    format_to_write,
    read_molecules,
    write_molecules,
)

__all__ = ["format_written", "in_nm", "model_of", "read_list", "rehearse", "write_list"]


def read_list(options: argparse.Namespace, source: str, target: str) -> Molecules:
    """Return the particles; refuse options that neither list could take."""
    both = _of_both(options)
    for name in both:
        if name not in FORMATS[source].takes | FORMATS[target].takes:
            text = f" means nothing to lists of format {source!r} and {target!r}"
            raise WrongValueError(Argument(name), text, name=name)
    with _speaking(scale=options.scale_option, first="--first"):
        return read_molecules(
            options.particles,
            format=source,
            scale=options.list_scale,
            first=options.first,
            **_taken_by(source, both),
        )


def rehearse(
    molecules: Molecules,
    options: argparse.Namespace,
    target: str,
    model: str | None,
    scale: float | None,
) -> None:
    """Write particles to a file that is thrown away: what fails, fails now."""
    out = Path(options.out)
    with (
        tempfile.TemporaryDirectory(prefix=".funpipe", dir=out.parent) as folder,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # they are said when it is written
        path = str(Path(folder, out.name))
        places = {path: options.out, str(Path(folder)): str(out.parent)}
        for each in filter(os.path.isfile, files_of(out, target)):
            shutil.copyfile(each, Path(folder, Path(each).name))
        try:
            write_list(molecules, options, path, target, model, scale)
        except WrongValueError as error:
            raise error.moved(places) from None
        except (OSError, ValueError) as error:
            kind = OSError if isinstance(error, OSError) else ValueError
            raise kind(moved(str(error), places)) from None


def write_list(
    molecules: Molecules,
    options: argparse.Namespace,
    path: str,
    target: str,
    model: str | None = None,
    scale: float | None = None,
) -> None:
    """Write particles, like a model and at the scale given where no option says one."""
    if options.out_scale is not None:
        scale = options.out_scale
    elif options.like:
        scale = None  # what that list says
    elif not in_nm(target):
        scale = options.list_scale or scale
    with _speaking(scale="--out-scale", first="--out-first"):
        write_molecules(
            molecules,
            path,
            format=target,
            like=options.like or model,
            scale=scale,
            first=options.out_first,
            **_taken_by(target, _of_both(options)),
        )


def format_written(options: argparse.Namespace, source: str | None = None) -> str:
    """Return the format to write; refuse now a place where nothing can be written."""
    check_target(options.out)
    if options.out_format is not None:
        return str(options.out_format)
    model = format_of(options.like) if options.like else source
    with _speaking(format="--out-format"):
        return format_to_write(options.out, model)


def model_of(path: str, source: str) -> str | None:
    """Return the list that is read, as a model of the one written if it says itself."""
    try:
        return path if format_of(path) == source else None
    except ValueError:
        return None


def in_nm(kind: str) -> bool:
    """Tell whether a format's positions are lengths already."""
    return FORMATS[kind].counts_in == "nm"


@contextmanager
def _speaking(**options: str) -> Iterator[None]:
    """Let the library's errors name arguments by these options."""
    try:
        yield
    except WrongValueError as error:
        raise error.by(options) from None


def _of_both(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options given that the lists read and written share."""
    given = {
        "tomograms": options.tomograms_star,
        "box": None if options.box is None else tuple(options.box),
    }
    return {name: value for name, value in given.items() if value is not None}


def _taken_by(kind: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return those options that a format knows."""
    return {name: each for name, each in given.items() if name in FORMATS[kind].takes}
