"""What can be asked for on the command line: commands and their options."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NoReturn

from funpipe.base.wording import printable
from funpipe.engine.background import CORRECTIONS
from funpipe.faces.command_groups import (
    add_read_list,
    add_rotations,
    add_running,
    add_scale,
    add_template,
    add_tilts,
    add_written_list,
    finite_number,
    number_or_mask,
    voxel_size,
    whole_number,
)
from funpipe.io.particles import FORMATS
from funpipe.jobs.backgrounds import BACKGROUNDS
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
_SEARCHES = """\
examples:
  python -m funpipe search TS_01.mrc TS_02.mrc \\
      --template 'gaussian_filter(0.5) @ from_file("ribosome.mrc")' \\
      --mask 'soft_otsu(sigma=2.0, radius=1.0)' --tilts tomograms.star \\
      --false-discovery-rate 0.05 --record searched.json --out picks.star
  python -m funpipe search TS_01.mrc --template map.mrc --tilt -60 60 \\
      --region cells.mrc 2 3 --count 500 --out picks.star"""


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
_SEARCH: dict[str, Any] = {
    "help": "find particles in whole tomograms by a template",
    "description": "Find the particles in whole tomograms that look like a template,\n"
    "and write a list of them with their poses, the best first.\n\n" + _PIPELINE,
    "epilog": _SEARCHES,
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
        ("search", _add_search, _SEARCH),
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
    add_template(command, "particle")
    search = command.add_argument_group("the search")
    search.add_argument(
        "--max-shift",
        type=finite_number,
        nargs="+",
        metavar="NM",
        help="largest shift, nm: one number, or three along z, y, x of the particle "
        "(default: 1, or half the box)",
    )
    add_rotations(search, None)
    search.add_argument(
        "--resolution",
        type=finite_number,
        metavar="NM",
        help="finest period that is used, nm (default: two voxels)",
    )
    add_tilts(search)
    search.add_argument(
        "--estimate",
        choices=ESTIMATES,
        default="mean",
        help="of a pose whose signal is weak: the mean of all that may be true, or the "
        "best one (default: %(default)s)",
    )
    search.add_argument(
        "--prior",
        type=finite_number,
        nargs=2,
        metavar=("NM", "DEGREES"),
        help="how near to their poses particles are thought to be: the standard "
        "deviations of shift and rotation along each axis (default: nothing is known)",
    )
    files = command.add_argument_group("what the files do not say")
    add_scale(files)
    add_read_list(files, "--list-scale")
    add_written_list(files)
    add_running(command)


def _add_search(command: _Parser) -> None:
    command.add_argument(
        "tomograms",
        nargs="+",
        metavar="TOMOGRAM",
        help="volume; picks go by its file's name; or RELION's tomograms.star, which "
        "names volumes and tells of their tilts",
    )
    command.add_argument(
        "--out", required=True, metavar="FILE", help="picks; its ending says how"
    )
    add_template(command, "place")
    search = command.add_argument_group("the search")
    add_rotations(search, ["all"])
    search.add_argument(
        "--spacing",
        type=finite_number,
        metavar="DEGREES",
        help="between rotations, of all (default: the resolution over the template's "
        "diameter)",
    )
    search.add_argument(
        "--resolution",
        type=finite_number,
        metavar="NM",
        help="finest period that is used, nm (default: a fifth of the template's "
        "diameter, or two voxels)",
    )
    add_tilts(search)
    search.add_argument(
        "--region",
        nargs="+",
        metavar="WHERE",
        help="where to look: LOWEST HIGHEST, nm of z; or a volume that is 0 outside, "
        "an IMOD model with closed contours, or a folder of volumes named like "
        "the tomograms; of volumes maybe with the LABELS in them that count, FILE 2 3",
    )
    search.add_argument(
        "--background",
        nargs="+",
        choices=(*BACKGROUNDS, *CORRECTIONS),
        help="what scores are corrected by: half of what the template's mirror image, "
        "or noise of its own power and extent, scores at a place is subtracted, or "
        "they are divided by its fourth root: mirrored, or mirrored divided",
    )
    search.add_argument(
        "--tophat",
        type=finite_number,
        metavar="NM",
        help="how far scores stay high along lines of this length, longer than the "
        "template's diameter, is taken off",
    )
    search.add_argument(
        "--exact",
        action="store_true",
        help="leave out nothing that may score enough; some ten times as long",
    )
    picks = command.add_argument_group("which places are picks")
    picks.add_argument(
        "--false-discovery-rate",
        type=finite_number,
        metavar="PART",
        help="part of all picks that may be false, 0 to 1 (default: 0.05, where there "
        "is no other limit)",
    )
    picks.add_argument(
        "--false-alarms",
        type=finite_number,
        metavar="N",
        help="picks of a tomogram that may be of noise, other molecules not counted",
    )
    picks.add_argument(
        "--threshold",
        type=finite_number,
        metavar="SCORE",
        help="the least score, 0 to 1",
    )
    picks.add_argument(
        "--count", type=whole_number, metavar="N", help="the most picks of a tomogram"
    )
    picks.add_argument(
        "--distance",
        type=number_or_mask,
        metavar="NM",
        help="picks are farther apart, nm (default: the template's diameter); or mask: "
        "no pick is inside the mask as it is turned at a better one",
    )
    more = command.add_argument_group("what else is written")
    more.add_argument(
        "--record",
        metavar="FILE",
        help="what was searched and how scores are spread, as .json",
    )
    more.add_argument(
        "--maps",
        nargs="?",
        const=True,
        metavar="DIR",
        help="folder for the scores and orientations of all places, as .mrc (without "
        "one: tomograms_search)",
    )
    files = command.add_argument_group("what the files do not say")
    add_scale(files)
    files.set_defaults(list_scale=None)
    add_written_list(files)
    add_running(command)


def _add_convert(command: _Parser) -> None:
    command.add_argument("particles", metavar="IN", help="particle list")
    command.add_argument("out", metavar="OUT", help="where to")
    add_read_list(command, "--scale")
    add_written_list(command)


def _add_inspect(command: _Parser) -> None:
    command.add_argument("file", metavar="FILE", help="of any format that is read")
    command.add_argument(
        "--scale",
        type=voxel_size,
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
