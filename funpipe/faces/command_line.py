"""The command line: ``align``, ``convert``, ``inspect`` and ``demo``.

Errors are one line on stderr, with exit status 2, and nothing half-written is left.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from funpipe.base.errors import Argument, WrongError, WrongValueError, moved
from funpipe.base.molecules import Molecules
from funpipe.base.whole import check_target
from funpipe.base.wording import printable
from funpipe.faces.command_options import PROGRAM, parser
from funpipe.faces.command_tilts import tilted
from funpipe.faces.demo import demo
from funpipe.faces.inspect_file import inspect_file
from funpipe.io.particles import (
    FORMATS,
    files_of,
    format_of,
    format_to_write,
    read_molecules,
    write_molecules,
)
from funpipe.io.tomogram_files import tomogram_files
from funpipe.io.volumes import open_volume
from funpipe.jobs.aligning import ALIGNED, align
from funpipe.stages.parsing import parse_pipeline
from funpipe.stages.providers import from_file, from_structure

__all__ = ["main"]

_STRUCTURES = (".pdb", ".ent", ".cif", ".mmcif")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status.

    Parameters
    ----------
    arguments : list of str, optional
        By default those that the program was called with.

    Returns
    -------
    int
        0, or 2 after an error; it is one line on stderr.
    """
    given = sys.argv[1:] if arguments is None else arguments
    asked = parser()
    try:
        if not given:
            asked.exit(2, asked.format_usage())
        options = asked.parse_args(given)
    except SystemExit as done:
        return int(done.code or 0)
    name = f"{PROGRAM} {options.command}"
    try:
        with _spoken_warnings(name):
            _COMMANDS[options.command](options)
        sys.stdout.flush()
    except BrokenPipeError:  # as before `head`: nobody reads on
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        return 0
    except (ImportError, OSError, TypeError, ValueError, MemoryError) as error:
        print(f"{name}: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        how = " ".join(["interrupted", *getattr(interrupt, "__notes__", [])])
        print(f"{name}: {printable(how)}", file=sys.stderr)
        return 130
    return 0


# What is said.


def _one_line(error: BaseException) -> str:
    """Return an error and its notes as one line, with this program's own options."""
    notes = getattr(error, "__notes__", [])
    if isinstance(error, WrongError) and not notes:
        error = error.by(_SPOKEN)  # what a stage lacks is said by no option
    texts = [str(error) or type(error).__name__, *notes]
    if isinstance(error, MemoryError):
        texts.insert(0, "out of memory:")
    return printable(" ".join(" ".join(texts).split()))


_SPOKEN = {  # arguments in the library's errors, and the options that give them
    "scale": "--scale",
    "tomograms": "--tomograms-star",
    "format": "--format",
    "box": "--box",
    "first": "--first",
    "like": "--like",
    "max_shifts": "--max-shift",
    "rotations": "--rotations",
    "tilt_range": "--tilt",
    "resolution": "--resolution",
    "symmetry": "--symmetry",
    "checkpoint": "--checkpoint",
}


@contextmanager
def _speaking(**options: str) -> Iterator[None]:
    """Let the library's errors name arguments by these options."""
    try:
        yield
    except WrongValueError as error:
        raise error.by(options) from None


@contextmanager
def _spoken_warnings(name: str) -> Iterator[None]:
    """Print what the library warns of, a line each; of other things be silent."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        text = printable(" ".join(str(message).split()))
        print(f"{name}: warning: {text}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield


# What is done.


def _align(options: argparse.Namespace) -> None:
    source, target = _formats(options)
    molecules = _read(options, source, target)
    tomogram = _tomogram(options, molecules)
    scale = None
    if _in_nm(source) and not _in_nm(target):
        scale = _scale_of(tomogram, options.scale)
    tomogram, tilt = tilted(tomogram, molecules, options)
    _rehearse(molecules, options, source, target, scale)
    aligned = align(
        tomogram,
        molecules,
        template=_only([_pipeline("--template", each) for each in options.template]),
        mask=None if options.mask is None else _pipeline("--mask", options.mask),
        scale=options.scale,
        max_shifts=_max_shift(options.max_shift),
        rotations=_rotations(options.rotations),
        tilt=tilt,
        resolution=options.resolution,
        symmetry=options.symmetry,
        whiten=options.whiten,
        estimate=options.estimate,
        checkpoint=options.checkpoint,
        progress=not options.no_progress,
    )
    _write(aligned, options, options.out, source, target, scale)
    score, shift, angle = (
        np.median(aligned.features[name]) for name in ("score", "shift", "angle")
    )
    print(
        f"{len(aligned)} particles aligned; in the median the score is {score:.3f}, "
        f"moved by {shift:.2f} nm, turned by {angle:.1f} degrees; written to "
        f"{options.out}"
    )


def _convert(options: argparse.Namespace) -> None:
    source, target = _formats(options)
    molecules = _read(options, source, target)
    _write(molecules, options, options.out, source, target)
    print(f"{len(molecules)} particles, {source} to {target}: {options.out}")


def _inspect(options: argparse.Namespace) -> None:
    print(inspect_file(options.file, scale=options.scale, tomogram=options.tomogram))


def _demo(options: argparse.Namespace) -> None:
    demo(options.out)


_COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "align": _align,
    "convert": _convert,
    "inspect": _inspect,
    "demo": _demo,
}


def _read(options: argparse.Namespace, source: str, target: str) -> Molecules:
    """Return the particles; refuse options that neither list could take."""
    both = _of_both(options)
    for name, value in both.items():
        known = FORMATS[source].takes | FORMATS[target].takes
        if value is not None and name not in known:
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


def _rehearse(
    molecules: Molecules,
    options: argparse.Namespace,
    source: str,
    target: str,
    scale: float | None,
) -> None:
    """Write the particles to a file that is thrown away: what fails, fails now."""
    found = dict.fromkeys(ALIGNED, np.zeros(len(molecules)))
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
            _write(
                molecules.with_features(**found), options, path, source, target, scale
            )
        except WrongValueError as error:
            raise error.moved(places) from None
        except (OSError, ValueError) as error:
            kind = OSError if isinstance(error, OSError) else ValueError
            raise kind(moved(str(error), places)) from None


def _write(
    molecules: Molecules,
    options: argparse.Namespace,
    path: str,
    source: str,
    target: str,
    scale: float | None = None,
) -> None:
    """Write the particles, at the scale given where no option says one."""
    if options.out_scale is not None:
        scale = options.out_scale
    elif options.like:
        scale = None  # what that list says
    elif not _in_nm(target):
        scale = options.list_scale or scale
    with _speaking(scale="--out-scale", first="--out-first"):
        write_molecules(
            molecules,
            path,
            format=target,
            like=options.like or _model(options.particles, source),
            scale=scale,
            first=options.out_first,
            **_taken_by(target, _of_both(options)),
        )


def _in_nm(kind: str) -> bool:
    """Tell whether a format's positions are lengths already."""
    return FORMATS[kind].counts_in == "nm"


def _of_both(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options that the lists read and written share."""
    return {
        "tomograms": options.tomograms_star,
        "box": None if options.box is None else tuple(options.box),
    }


def _formats(options: argparse.Namespace) -> tuple[str, str]:
    """Return the formats to read and to write; refuse now what could not be written."""
    source = format_of(options.particles, options.format)
    check_target(options.out)
    if options.out_format is not None:
        return source, options.out_format
    model = format_of(options.like) if options.like else source
    with _speaking(format="--out-format"):
        return source, format_to_write(options.out, model)


def _taken_by(kind: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return those options that were given and that a format knows."""
    return {
        name: value
        for name, value in given.items()
        if value is not None and name in FORMATS[kind].takes
    }


def _model(path: str, source: str) -> str | None:
    """Return the list that is read, as a model of the one written if it says itself."""
    try:
        return path if format_of(path) == source else None
    except ValueError:
        return None


def _scale_of(tomogram: Any, given: float | None) -> float:
    first = next(iter(tomogram.values())) if isinstance(tomogram, dict) else tomogram
    return given or open_volume(first).scale_or(None, str(first))


def _tomogram(options: argparse.Namespace, molecules: Molecules) -> Any:
    """Return the path of the one tomogram, or those of several by their names."""
    names = sorted(set(molecules.features.get("tomogram", np.array([])).tolist()))
    if options.tomogram is not None:
        if len(names) > 1:
            raise ValueError(
                f"{options.particles} has particles of {len(names)} tomograms, "
                f"{_some(names)}: give their folder by --tomograms"
            )
        return options.tomogram
    files = tomogram_files(options.tomograms, names)
    return next(iter(files.values())) if len(files) == 1 else files


def _pipeline(option: str, text: str) -> Any:
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


def _max_shift(numbers: list[float] | None) -> Any:
    if numbers is None:
        return None
    if len(numbers) not in (1, 3):
        raise ValueError(
            f"--max-shift must be one number or three, in nm, not {len(numbers)}"
        )
    return _only(numbers)


def _rotations(texts: list[str] | None) -> Any:
    if texts is None or texts == ["none"]:
        return None
    if texts == ["all"]:
        return "all"
    try:
        numbers = [float(each) for each in texts]
    except ValueError:
        numbers = []
    if len(numbers) not in (2, 6):
        raise ValueError(
            "--rotations must be 'all', MAXIMUM STEP, or three such pairs, in "
            f"degrees, not {' '.join(texts)!r}"
        )
    pairs = tuple(zip(numbers[::2], numbers[1::2], strict=True))
    return _only(pairs)


def _only(several: Any) -> Any:
    """Return the one element there is, or all."""
    return several[0] if len(several) == 1 else several


def _some(names: list[str]) -> str:
    shown = ", ".join(map(str, names[:3]))
    return shown if len(names) <= 3 else f"{shown}, ..."
