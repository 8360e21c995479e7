"""Options that commands of the command line have in common, and what these take."""

from __future__ import annotations

import argparse
import math
from typing import Any

from funpipe.io.particles import FORMATS

__all__ = [
    "add_read_list",
    "add_rotations",
    "add_running",
    "add_scale",
    "add_template",
    "add_tilts",
    "add_written_list",
    "finite_number",
    "number_or_mask",
    "voxel_size",
    "whole_number",
]


def add_template(command: argparse.ArgumentParser, which: str) -> None:
    """Add what is looked for; the best of several templates counts at each of which."""
    what = command.add_argument_group("what is looked for")
    what.add_argument(
        "--template",
        required=True,
        action="append",
        metavar="PIPELINE",
        help="volume, structure (.pdb .cif), or pipeline; given several times, each "
        f"{which} gets the one that fits best",
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


def add_rotations(group: Any, default: list[str] | None) -> None:
    """Add rotations."""
    group.add_argument(
        "--rotations",
        nargs="+",
        default=default,
        metavar="DEGREES",
        help="'all'; or MAXIMUM STEP, rotations by up to so much; or three such pairs, "
        f"about z, y and x (default: {' '.join(default or ['none'])})",
    )


def add_tilts(group: Any) -> None:
    """Add what was measured, and how frequencies count."""
    tilts = group.add_mutually_exclusive_group()
    tilts.add_argument(
        "--tilt",
        type=finite_number,
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
        "are of one tilt series; of many tomograms RELION's tomograms.star, or such "
        "files named like their tomograms",
    )
    group.add_argument(
        "--tilt-axis",
        choices=("y", "x"),
        default="y",
        help="what the specimen was tilted about (default: %(default)s)",
    )
    group.add_argument(
        "--whiten", action="store_true", help="weigh frequencies by the noise in them"
    )


def add_scale(group: Any) -> None:
    """Add the scale of the tomograms."""
    group.add_argument(
        "--scale",
        type=voxel_size,
        metavar="NM",
        help="nm per voxel of the tomograms (default: what their headers say)",
    )


def add_running(command: argparse.ArgumentParser) -> None:
    """Add how the work runs."""
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


def add_read_list(group: Any, scale: str) -> None:
    """Add what a particle list that is read does not say."""
    group.set_defaults(scale_option=scale)
    group.add_argument(
        scale,
        dest="list_scale",
        type=voxel_size,
        metavar="NM",
        help="nm per voxel of the list's coordinates (default: what the list says)",
    )
    group.add_argument(
        "--format",
        choices=tuple(FORMATS),
        help="of the list that is read (default: what its content or ending says)",
    )
    group.add_argument(
        "--first",
        **_FIRST,
        help="what a Dynamo, STOPGAP or EM list that is read calls the centre of the "
        "first voxel (default: Dynamo 0.5, the others 1)",
    )


def add_written_list(group: Any) -> None:
    """Add what is to be said of a particle list that is written."""
    group.add_argument(
        "--out-scale",
        type=voxel_size,
        metavar="NM",
        help="nm per voxel of the coordinates written (default: as they are read, or "
        "of the tomograms)",
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
    group.add_argument(
        "--out-first",
        **_FIRST,
        help="what a Dynamo, STOPGAP or EM list that is written calls the centre of "
        "the first voxel (default: Dynamo 0.5, the others 1)",
    )
    group.add_argument(
        "--box",
        nargs=2,
        type=finite_number,
        metavar=("VOXELS", "NM"),
        help="size and scale of the other program's reference: positions are at voxel "
        "n // 2 of it there, and at its centre (n - 1) / 2 here, in csv and parquet",
    )


_FIRST: dict[str, Any] = {"type": float, "choices": (0, 0.5, 1)}
_SMALLEST, _LARGEST = 1e-6, 1e6  # nm per voxel, far beyond any microscope


def voxel_size(text: str) -> float:
    """Return nm per voxel; what no volume could have is a mistake."""
    scale = finite_number(text)
    if not _SMALLEST <= scale <= _LARGEST:
        raise argparse.ArgumentTypeError(
            f"scale must be from {_SMALLEST:g} to {_LARGEST:g} nm per voxel, not {text}"
        )
    return scale


def finite_number(text: str) -> float:
    """Return a number; infinity and NaN are none."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be a finite number, not {text!r}")
    return value


def number_or_mask(text: str) -> float | str:
    """Return a number, or ``mask``."""
    return text if text == "mask" else finite_number(text)


def whole_number(text: str) -> int:
    """Return a whole number."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be a whole number, not {text!r}"
        ) from None


def _sizes(text: str) -> Any:
    """Return the size of all tomograms where a text is one, else the text."""
    sizes = text.split(",")
    three = len(sizes) == 3 and all(each.strip().isdecimal() for each in sizes)
    return tuple(map(int, sizes)) if three else text
