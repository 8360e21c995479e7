"""The command line: ``align``, ``search``, ``convert``, ``inspect`` and ``demo``.

Errors are one line on stderr, with exit status 2, and nothing half-written is left.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from funpipe.base.errors import WrongError
from funpipe.base.molecules import Molecules
from funpipe.base.wording import printable
from funpipe.faces.command_lists import (
    format_written,
    in_nm,
    model_of,
    read_list,
    rehearse,
    write_list,
)
from funpipe.faces.command_options import PROGRAM, parser
from funpipe.faces.command_search import searched
from funpipe.faces.command_tilts import tilted
from funpipe.faces.command_values import max_shift, pipeline, rotations, templates
from funpipe.faces.demo import demo
from funpipe.faces.inspect_file import inspect_file
from funpipe.io.particles import format_of
from funpipe.io.tomogram_files import tomogram_files
from funpipe.io.volumes import open_volume
from funpipe.jobs.aligning import ALIGNED, align

__all__ = ["main"]


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
    if isinstance(error, WrongError) and all(map(_of_tomogram, notes)):
        error = error.by(_SPOKEN)  # what a stage lacks is said by no option
    texts = [str(error) or type(error).__name__, *notes]
    if isinstance(error, MemoryError):
        texts.insert(0, "out of memory:")
    return printable(" ".join(" ".join(texts).split()))


def _of_tomogram(note: str) -> bool:
    return note.startswith("in the tomogram ")


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
    "spacing": "--spacing",
    "distance": "--distance",
    "count": "--count",
    "threshold": "--threshold",
    "background": "--background",
    "tophat": "--tophat",
    "false_discovery_rate": "--false-discovery-rate",
    "false_alarms": "--false-alarms",
    "region": "--region",
    "record": "--record",
    "maps": "--maps",
    "checkpoint": "--checkpoint",
}


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
    source = format_of(options.particles, options.format)
    target = format_written(options, source)
    molecules = read_list(options, source, target)
    tomogram = _tomogram(options, molecules)
    scale = None
    if in_nm(source) and not in_nm(target):
        scale = _scale_of(tomogram, options.scale)
    tomogram, tilt = tilted(tomogram, molecules, options)
    model = model_of(options.particles, source)
    nothing = dict.fromkeys(ALIGNED, np.zeros(len(molecules)))
    rehearse(molecules.with_features(**nothing), options, target, model, scale)
    aligned = align(
        tomogram,
        molecules,
        template=templates(options.template),
        mask=None if options.mask is None else pipeline("--mask", options.mask),
        scale=options.scale,
        max_shifts=max_shift(options.max_shift),
        rotations=rotations(options.rotations),
        tilt=tilt,
        resolution=options.resolution,
        symmetry=options.symmetry,
        whiten=options.whiten,
        estimate=options.estimate,
        prior=options.prior,
        checkpoint=options.checkpoint,
        progress=not options.no_progress,
    )
    write_list(aligned, options, options.out, target, model, scale)
    score, shift, angle = (
        np.median(aligned.features[name]) for name in ("score", "shift", "angle")
    )
    print(
        f"{len(aligned)} particles aligned; in the median the score is {score:.3f}, "
        f"moved by {shift:.2f} nm, turned by {angle:.1f} degrees; written to "
        f"{options.out}"
    )


def _search(options: argparse.Namespace) -> None:
    print(searched(options))


def _convert(options: argparse.Namespace) -> None:
    source = format_of(options.particles, options.format)
    target = format_written(options, source)
    molecules = read_list(options, source, target)
    model = model_of(options.particles, source)
    write_list(molecules, options, options.out, target, model)
    print(f"{len(molecules)} particles, {source} to {target}: {options.out}")


def _inspect(options: argparse.Namespace) -> None:
    print(inspect_file(options.file, scale=options.scale, tomogram=options.tomogram))


def _demo(options: argparse.Namespace) -> None:
    demo(options.out)


_COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "align": _align,
    "search": _search,
    "convert": _convert,
    "inspect": _inspect,
    "demo": _demo,
}


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


def _some(names: list[str]) -> str:
    shown = ", ".join(map(str, names[:3]))
    return shown if len(names) <= 3 else f"{shown}, ..."
