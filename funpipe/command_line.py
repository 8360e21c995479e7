"""The command line: ``align``, ``convert``, ``inspect`` and ``demo``.

Errors are one line on stderr, with exit status 2, and nothing half-written is left.
"""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from funpipe.align import align
from funpipe.demo import demo
from funpipe.fourier import single_axis
from funpipe.inspect_file import inspect_file
from funpipe.io.particles import (
    FORMATS,
    format_of,
    format_to_write,
    read_molecules,
    write_molecules,
)
from funpipe.io.tomogram_files import tomogram_files
from funpipe.io.volumes import open_volume
from funpipe.molecules import Molecules
from funpipe.parsing import parse_pipeline
from funpipe.providers import from_file, from_structure

__all__ = ["main"]

_PROGRAM = "python -m funpipe"
_STRUCTURES = (".pdb", ".ent", ".cif", ".mmcif")
_PIPELINE = """\
A template or a mask is a file or the source text of a pipeline, such as
  'gaussian_filter(0.5) @ from_file("ribosome.mrc")'   a template
  'soft_otsu(sigma=2.0, radius=1.0)'                   a mask made of the template
in quotes against the shell. Lengths are nm, angles degrees, and the stages are
those of the package; nothing else in such a text runs."""
_EXAMPLES = """\
examples:
  python -m funpipe align picks.star --tomogram TS_01.mrc \\
      --template 'gaussian_filter(0.5) @ from_file("ribosome.mrc")' \\
      --mask 'soft_otsu(sigma=2.0, radius=1.0)' --max-shift 4 \\
      --rotations 12 6 --tilt -60 60 --out aligned.star
  python -m funpipe align run_data.star --tomograms rec/ \\
      --tomograms-star tomograms.star --template map.mrc --mask mask.mrc \\
      --rotations all --symmetry D7 --out aligned.star"""


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
    parser = _parser()
    try:
        if not given:
            parser.exit(2, parser.format_usage())
        options = parser.parse_args(given)
    except SystemExit as done:
        return int(done.code or 0)
    name = f"{_PROGRAM} {options.command}"
    try:
        with _spoken_warnings(name):
            options.run(options)
    except (ImportError, OSError, TypeError, ValueError, MemoryError) as error:
        print(f"{name}: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130
    return 0


# What is said.


class _Parser(argparse.ArgumentParser):
    """A parser that says an error in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (--help lists the options)\n")


def _one_line(error: BaseException) -> str:
    """Return an error and its notes as one line, with this program's own options."""
    texts = [str(error) or type(error).__name__, *getattr(error, "__notes__", [])]
    if isinstance(error, MemoryError):
        texts.insert(0, "out of memory:")
    text = " ".join(" ".join(texts).split())
    # What a stage lacks is said in its own text, not by an option.
    return text if hasattr(error, "__notes__") else _translated(text, _SPOKEN)


_SPOKEN = {  # arguments in the library's errors, and the options that give them
    "scale": "--scale",
    "tomograms": "--tomograms-star",
    "format": "--format",
}


@contextmanager
def _speaking(**options: str) -> Iterator[None]:
    """Let the library's errors name arguments by these options."""
    try:
        yield
    except ValueError as error:
        raise ValueError(_translated(str(error), options)) from None


def _translated(text: str, options: Mapping[str, str]) -> str:
    for name, option in options.items():
        text = re.sub(rf"(?<![\w-]){name}=\.\.\.", option, text)
        text = re.sub(rf"(?<![\w-]){name}=(?=\S)", f"{option} ", text)
    return text


@contextmanager
def _spoken_warnings(name: str) -> Iterator[None]:
    """Print what the library warns of, a line each; of other things be silent."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        text = " ".join(str(message).split())
        print(f"{name}: warning: {text}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield


# What can be asked for.


def _parser() -> _Parser:
    parser = _Parser(
        prog=_PROGRAM,
        description="Subtomogram alignment with templates and masks that are "
        "functions of the scale.",
        epilog="COMMAND --help says all of a command.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[Any], None], **texts: Any) -> _Parser:
        command: _Parser = commands.add_parser(
            name,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **texts,
        )
        command.set_defaults(run=run)
        return command

    _add_align(add)
    _add_convert(add)
    _add_inspect(add)
    command = add(
        "demo",
        lambda options: demo(options.out),
        help="simulate a tomogram, align its particles, average them",
        description="Simulate a tomogram with a missing wedge and noise, align\n"
        "perturbed picks to a template read from a file, and average them.",
    )
    command.add_argument(
        "--out",
        type=Path,
        default=Path("funpipe_demo"),
        metavar="DIR",
        help="where the files go (default: %(default)s)",
    )
    return parser


def _add_align(add: Callable[..., _Parser]) -> None:
    command = add(
        "align",
        _align,
        help="align the particles of a list to a template",
        description="Align the particles of a list to a template, and write the list\n"
        "with their new poses.\n\n" + _PIPELINE,
        epilog=_EXAMPLES,
    )
    command.add_argument("particles", metavar="PARTICLES", help="particle list")
    where = command.add_mutually_exclusive_group(required=True)
    where.add_argument("--tomogram", metavar="FILE", help="the tomogram they are in")
    where.add_argument(
        "--tomograms",
        metavar="DIR",
        help="folder of tomograms; the list says which one each particle is in, and a "
        "file is the one named so, or the only one whose name holds that name",
    )
    command.add_argument(
        "--out", required=True, metavar="FILE", help="aligned list; its ending says how"
    )
    what = command.add_argument_group("what is looked for")
    what.add_argument(
        "--template",
        required=True,
        action="append",
        metavar="PIPELINE",
        help="volume, structure (.pdb .cif), or pipeline; given several times, each "
        "particle gets the one that fits best",
    )
    what.add_argument(
        "--mask",
        metavar="PIPELINE",
        help="volume, or pipeline; a converter is applied to the template (default: "
        "no mask)",
    )
    what.add_argument(
        "--symmetry",
        default="C1",
        metavar="GROUP",
        help="of the template: C1, C2, ... D2, ... T, O, I (default: %(default)s)",
    )
    search = command.add_argument_group("the search")
    search.add_argument(
        "--max-shift",
        type=float,
        nargs="+",
        default=[1.0],
        metavar="NM",
        help="largest shift, nm: one number, or three along z, y, x of the particle "
        "(default: 1)",
    )
    search.add_argument(
        "--rotations",
        nargs="+",
        metavar="DEGREES",
        help="'all'; or MAXIMUM STEP, rotations by up to so much; or three such pairs, "
        "about z, y and x (default: none)",
    )
    search.add_argument(
        "--resolution",
        type=float,
        metavar="NM",
        help="finest period that is used, nm (default: two voxels)",
    )
    search.add_argument(
        "--tilt",
        type=float,
        nargs=2,
        metavar=("LOWEST", "HIGHEST"),
        help="range of the tilt series, degrees (default: nothing is missing)",
    )
    search.add_argument(
        "--tilt-axis", choices=("y", "x"), default="y", help="(default: %(default)s)"
    )
    search.add_argument(
        "--whiten", action="store_true", help="weigh frequencies by the noise in them"
    )
    files = command.add_argument_group("what the files do not say")
    files.add_argument(
        "--scale",
        type=float,
        metavar="NM",
        help="nm per voxel of the tomograms (default: what their headers say)",
    )
    _add_list_options(files, "--list-scale")
    files.add_argument(
        "--no-progress", action="store_true", help="show no progress bar"
    )


def _add_list_options(parser: Any, scale: str) -> None:
    parser.add_argument(
        scale,
        dest="list_scale",
        type=float,
        metavar="NM",
        help="nm per voxel of the list's coordinates (default: what the list says)",
    )
    parser.add_argument(
        "--tomograms-star",
        metavar="FILE",
        help="RELION's tomograms file, for coordinates that are counted from the "
        "tomogram's centre; or 'centred', to count so here too",
    )
    parser.add_argument(
        "--format",
        choices=tuple(FORMATS),
        help="of the list that is read (default: what its content or ending says)",
    )
    parser.add_argument(
        "--out-format",
        choices=tuple(FORMATS),
        help="of the list that is written (default: what its ending says)",
    )


def _add_convert(add: Callable[..., _Parser]) -> None:
    command = add(
        "convert",
        _convert,
        help="turn a particle list into one of another program",
        description="Turn a particle list into one of another program.\n\n"
        "  .star     RELION 3.0 to 5; STOPGAP with --out-format stopgap\n"
        "  .tbl      Dynamo\n"
        "  .em       EM motive list\n"
        "  .ndjson   CryoET Data Portal\n"
        "  .mod      IMOD, PEET\n"
        "  .csv .parquet   acryo, cylindra, or plain, in nm",
    )
    command.add_argument("source", metavar="IN", help="particle list")
    command.add_argument("out", metavar="OUT", help="where to")
    _add_list_options(command, "--scale")
    command.add_argument(
        "--out-scale",
        type=float,
        metavar="NM",
        help="nm per voxel of the coordinates written (default: as they are read)",
    )
    command.add_argument(
        "--like",
        metavar="FILE",
        help="list to write one like: its columns and their order, its optics groups, "
        "its scale (default: IN)",
    )
    command.add_argument(
        "--first",
        type=int,
        choices=(0, 1),
        default=0,
        help="what Dynamo, STOPGAP and EM lists call the first voxel (default: 0)",
    )
    command.add_argument(
        "--box",
        nargs=2,
        type=float,
        metavar=("VOXELS", "NM"),
        help="size and scale of the other program's reference: positions are at voxel "
        "n // 2 of it there, and at its centre (n - 1) / 2 in csv and parquet",
    )


def _add_inspect(add: Callable[..., _Parser]) -> None:
    command = add(
        "inspect",
        lambda options: print(inspect_file(options.file, scale=options.scale)),
        help="say what a particle list or a volume holds",
        description="Say what a particle list, a volume, or a structure holds: shape,\n"
        "scale, columns, counts, and what is odd about it.",
    )
    command.add_argument("file", metavar="FILE", help="of any format that is read")
    command.add_argument(
        "--scale",
        type=float,
        metavar="NM",
        help="nm per voxel, where the file does not say it",
    )


# What is done.


def _align(options: argparse.Namespace) -> None:
    source, target = _formats(options.particles, options)
    with _speaking(scale="--list-scale"):
        molecules = read_molecules(
            options.particles,
            format=source,
            scale=options.list_scale,
            tomograms=options.tomograms_star,
        )
    tomogram = _tomogram(options, molecules)
    aligned = align(
        tomogram,
        molecules,
        template=_only([_pipeline("--template", each) for each in options.template]),
        mask=None if options.mask is None else _pipeline("--mask", options.mask),
        scale=options.scale,
        max_shifts=_max_shift(options.max_shift),
        rotations=_rotations(options.rotations),
        tilt=options.tilt and single_axis(tuple(options.tilt), options.tilt_axis),
        resolution=options.resolution,
        symmetry=options.symmetry,
        whiten=options.whiten,
        progress=not options.no_progress,
    )
    scale = options.list_scale
    if scale is None and source in _IN_NM and target not in _IN_NM:
        scale = _scale_of(tomogram, options.scale)
    with _speaking(scale="--list-scale"):
        write_molecules(
            aligned,
            options.out,
            format=target,
            like=_model(options.particles, options),
            scale=scale,
            **_taken_by(target, tomograms=options.tomograms_star),
        )
    score, shift, angle = (
        np.median(aligned.features[name]) for name in ("score", "shift", "angle")
    )
    print(
        f"{len(aligned)} particles aligned; in the median the score is {score:.3f}, "
        f"moved by {shift:.2f} nm, turned by {angle:.1f} degrees; written to "
        f"{options.out}"
    )


def _convert(options: argparse.Namespace) -> None:
    source, target = _formats(options.source, options)
    given = {
        "tomograms": options.tomograms_star,
        "first": options.first or None,
        "box": None if options.box is None else tuple(options.box),
    }
    for name, value in given.items():
        if (
            value is not None
            and name not in FORMATS[source].takes | FORMATS[target].takes
        ):
            raise ValueError(
                f"{_SPOKEN.get(name, f'--{name}')} means nothing to lists of format "
                f"{source!r} and {target!r}"
            )
    molecules = read_molecules(
        options.source,
        format=source,
        scale=options.list_scale,
        **_taken_by(source, **given),
    )
    scale = options.out_scale
    if scale is None and target not in _IN_NM and not options.like:
        scale = options.list_scale
    with _speaking(scale="--out-scale"):
        write_molecules(
            molecules,
            options.out,
            format=target,
            like=options.like or _model(options.source, options),
            scale=scale,
            **_taken_by(target, **given),
        )
    print(f"{len(molecules)} particles, {source} to {target}: {options.out}")


_IN_NM = ("csv", "parquet")  # formats whose positions are in nm, without a scale


def _formats(path: str, options: argparse.Namespace) -> tuple[str, str]:
    """Return the formats to read and to write; refuse now what could not be written."""
    source = format_of(path, options.format)
    target = Path(options.out)
    if target.is_dir():
        raise IsADirectoryError(f"{target} is a folder, not a file to write")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{target}: there is no folder {target.parent}")
    if options.out_format is not None:
        return source, options.out_format
    like = getattr(options, "like", None)
    model = format_of(like) if like else source
    with _speaking(format="--out-format"):
        return source, format_to_write(options.out, model)


def _taken_by(kind: str, **given: Any) -> dict[str, Any]:
    """Return those options that were given and that a format knows."""
    return {
        name: value
        for name, value in given.items()
        if value is not None and name in FORMATS[kind].takes
    }


def _model(path: str, options: argparse.Namespace) -> str | None:
    """Return the list that is read, as the model of the one that is written."""
    return path if options.format is None else None


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


def _max_shift(numbers: list[float]) -> Any:
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
