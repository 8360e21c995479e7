"""What can be asked for on the command line: commands and their options."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any, NoReturn

from funpipe.base.wording import printable
from funpipe.io.particles import FORMATS
from funpipe.jobs.searching import ESTIMATES

__all__ = ["PROGRAM", "parser"]

PROGRAM = "python -m funpipe"
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


class _Parser(argparse.ArgumentParser):
    """A parser that says an error in one line."""

    def error(self, message: str) -> NoReturn:
        said = printable(" ".join(message.split()))
        self.exit(2, f"{self.prog}: {said} (--help lists the options)\n")


_ALIGN: dict[str, Any] = {
    "help": "align the particles of a list to a template",
    "description": "Align the particles of a list to a template, and write the list\n"
    "with their new poses.\n\n" + _PIPELINE,
    "epilog": _EXAMPLES,
}
_CONVERT: dict[str, Any] = {
    "help": "turn a particle list into one of another program",
}
_INSPECT: dict[str, Any] = {
    "help": "say what a particle list or a volume holds",
    "description": "Say what a particle list, a volume, or a structure holds: shape,\n"
    "scale, columns, counts, and what is odd about it.",
}
_DEMO: dict[str, Any] = {
    "help": "simulate a tomogram, align its particles, average them",
    "description": "Simulate a tomogram of 30S ribosomal subunits (PDB 4V4R) with a\n"
    "missing wedge and noise, align perturbed picks to a template read from a file,\n"
    "average them, and draw them before and after.",
}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; ``command`` is what was asked for."""
    whole = _Parser(
        prog=PROGRAM,
        description="Subtomogram alignment with templates and masks that are "
        "functions of the scale.",
        epilog="COMMAND --help says all of a command.",
        allow_abbrev=False,
    )
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, add, texts in (
        ("align", _add_align, _ALIGN),
        ("convert", _add_convert, {**_CONVERT, "description": _lists()}),
        ("inspect", _add_inspect, _INSPECT),
        ("demo", _add_demo, _DEMO),
    ):
        command = commands.add_parser(
            name,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **texts,
        )
        add(command)
    return whole


def _lists() -> str:
    """Say what is converted, a line for each format that says what it is."""
    rows = [(" ".join(each.endings), each.title) for each in FORMATS.values()]
    return "Turn a particle list into one of another program.\n\n" + "\n".join(
        f"  {endings:<16} {title}" for endings, title in rows if title
    )


def _add_align(command: _Parser) -> None:
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
        type=_finite,
        nargs="+",
        metavar="NM",
        help="largest shift, nm: one number, or three along z, y, x of the particle "
        "(default: 1, or half the box)",
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
        type=_finite,
        metavar="NM",
        help="finest period that is used, nm (default: two voxels)",
    )
    tilts = search.add_mutually_exclusive_group()
    tilts.add_argument(
        "--tilt",
        type=_finite,
        nargs=2,
        metavar=("LOWEST", "HIGHEST"),
        help="range of the tilt series, degrees (default: nothing is missing)",
    )
    tilts.add_argument(
        "--tilts",
        action="append",
        metavar="FILE",
        help="what a program wrote of the tilt series, with dose and defocus: .tlt, "
        ".xf, .defocus, .mdoc, .aln, _CTF.txt, .xml, .star; given several times, they "
        "are of one tilt series; of many tomograms RELION's tomograms.star",
    )
    search.add_argument(
        "--tilt-axis",
        choices=("y", "x"),
        default="y",
        help="what the specimen was tilted about (default: %(default)s)",
    )
    search.add_argument(
        "--whiten", action="store_true", help="weigh frequencies by the noise in them"
    )
    search.add_argument(
        "--estimate",
        choices=ESTIMATES,
        default="mean",
        help="of a pose whose signal is weak: the mean of all that may be true, or the "
        "best one (default: %(default)s)",
    )
    files = command.add_argument_group("what the files do not say")
    files.add_argument(
        "--scale",
        type=_scale,
        metavar="NM",
        help="nm per voxel of the tomograms (default: what their headers say)",
    )
    _add_list_options(files, "--list-scale")
    running = command.add_argument_group("how it runs")
    running.add_argument(
        "--checkpoint",
        metavar="DIR",
        help="folder where what is finished is kept; the same command finds it there "
        "and goes on",
    )
    running.add_argument(
        "--no-progress", action="store_true", help="show no progress bar"
    )


def _add_convert(command: _Parser) -> None:
    command.add_argument("particles", metavar="IN", help="particle list")
    command.add_argument("out", metavar="OUT", help="where to")
    _add_list_options(command, "--scale")


def _add_list_options(group: Any, scale: str) -> None:
    """Add what a particle list does not say, of the one read and the one written."""
    group.set_defaults(scale_option=scale)
    group.add_argument(
        scale,
        dest="list_scale",
        type=_scale,
        metavar="NM",
        help="nm per voxel of the list's coordinates (default: what the list says)",
    )
    group.add_argument(
        "--out-scale",
        type=_scale,
        metavar="NM",
        help="nm per voxel of the coordinates written (default: as they are read, or "
        "of the tomograms)",
    )
    group.add_argument(
        "--format",
        choices=tuple(FORMATS),
        help="of the list that is read (default: what its content or ending says)",
    )
    group.add_argument(
        "--out-format",
        choices=tuple(FORMATS),
        help="of the list that is written (default: what its ending says)",
    )
    group.add_argument(
        "--like",
        metavar="FILE",
        help="list to write one like: its columns and their order, its optics groups, "
        "its scale (default: the one that is read)",
    )
    group.add_argument(
        "--tomograms-star",
        type=_sizes,
        metavar="FILE",
        help="RELION's tomograms file, for coordinates that are counted from the "
        "tomogram's centre (RELION 5, EMAN2) or are parts of its size (Warp's picks); "
        "or the tomogram itself; or its size in the list's voxels, as Z,Y,X; or "
        "'centred', to count from the centre here too",
    )
    first: dict[str, Any] = {"type": float, "choices": (0, 0.5, 1)}
    group.add_argument(
        "--first",
        **first,
        help="what a Dynamo, STOPGAP or EM list that is read calls the centre of the "
        "first voxel (default: Dynamo 0.5, the others 1)",
    )
    group.add_argument(
        "--out-first", **first, help="likewise of the list that is written"
    )
    group.add_argument(
        "--box",
        nargs=2,
        type=_finite,
        metavar=("VOXELS", "NM"),
        help="size and scale of the other program's reference: positions are at voxel "
        "n // 2 of it there, and at its centre (n - 1) / 2 here, in csv and parquet",
    )


_SMALLEST, _LARGEST = 1e-6, 1e6  # nm per voxel, far beyond any microscope


def _scale(text: str) -> float:
    """Return nm per voxel; what no volume could have is a mistake."""
    scale = _finite(text)
    if not _SMALLEST <= scale <= _LARGEST:
        raise argparse.ArgumentTypeError(
            f"scale must be from {_SMALLEST:g} to {_LARGEST:g} nm per voxel, not {text}"
        )
    return scale


def _finite(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be a finite number, not {text!r}")
    return value


def _sizes(text: str) -> Any:
    """Return the size of all tomograms where a text is one, else the text."""
    sizes = text.split(",")
    three = len(sizes) == 3 and all(each.strip().isdecimal() for each in sizes)
    return tuple(map(int, sizes)) if three else text


def _add_inspect(command: _Parser) -> None:
    command.add_argument("file", metavar="FILE", help="of any format that is read")
    command.add_argument(
        "--scale",
        type=_scale,
        metavar="NM",
        help="nm per voxel, where the file does not say it",
    )
    command.add_argument(
        "--tomogram",
        metavar="VOLUME",
        help="what the particles of a list are in: are they?",
    )


def _add_demo(command: _Parser) -> None:
    command.add_argument(
        "--out",
        type=Path,
        default=Path("funpipe_demo"),
        metavar="DIR",
        help="where the files go (default: %(default)s)",
    )
