"""The command line: ``python -m funpipe demo``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from funpipe.demo import demo


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m funpipe", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser(
        "demo",
        help="simulate a tomogram, align its particles, average them",
        description="Simulate a tomogram with a missing wedge and noise, align "
        "perturbed picks to a template read from a file, and average them.",
    )
    command.add_argument(
        "--out",
        type=Path,
        default=Path("funpipe_demo"),
        metavar="DIR",
        help="where the files go (default: %(default)s)",
    )
    given = parser.parse_args(arguments)
    try:
        demo(given.out)
    except (ImportError, OSError) as error:
        print(f"python -m funpipe demo: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
