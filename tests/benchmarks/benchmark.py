"""How fast and how exact the alignment is, beside acryo and against the bound.

    python -m pip install -e '.[bench]'
    python tests/benchmarks/benchmark.py --only engine-32,job-32
    python tests/benchmarks/benchmark.py --table

Each part takes less than five minutes on two idle processors, but for ``average-many``,
a quarter of an hour, and searches of crowds for the 30S and beside peers, up to ten
minutes. It prints its figures and keeps them as ``results/PART.csv``; ``--table``
writes them into the READMEs. All
programs get the same data, with two threads each. Particles are sums of Gaussians, so
that their truth has no interpolation error. Noise is in units of the template's
standard deviation inside its mask. RELION 3.1 joins in where ``relion_refine`` is
installed (Debian: ``apt-get install relion``), pytme where ``--pytme PYTHON`` names a
Python that has it (``pip install pytme``, in an environment of its own).
"""

from __future__ import annotations

import os

for name in ("OPENBLAS", "OMP", "MKL", "NUMEXPR"):
    os.environ.setdefault(f"{name}_NUM_THREADS", "2")

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from conditions import conditions_of_run
from parts import PARTS, Size
from results import RESULTS, Result, write_result
from tables import write_tables


def show(result):
    print(f"\n{result.part}")
    names = list(dict.fromkeys(name for row in result.rows for name in row))
    for name in names:
        cells = [row.get(name) for row in result.rows]
        texts = (
            f"{each:.4g}" if isinstance(each, float) else str(each) for each in cells
        )
        print(f"  {name:>28}", *(f"{text:>14}" for text in texts))
    for name, value in result.conditions.items():
        print(f"    {name}: {value}")
    sys.stdout.flush()


def names_of_parts(text):
    names = text.split(",")
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"{', '.join(unknown)}: no such part; there are {', '.join(PARTS)}"
        )
    return names


def main(words=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", type=names_of_parts, default=list(PARTS), help="NAME[,NAME]"
    )
    parser.add_argument("--tiny", action="store_true", help="a few particles, no file")
    parser.add_argument("--alone", action="store_true", help="leave the peers out")
    parser.add_argument("--pytme", metavar="PYTHON", help="that has pytme: it runs too")
    parser.add_argument("--table", action="store_true", help="write the READMEs' part")
    parser.add_argument("--results", type=Path, default=RESULTS, help="their folder")
    given = parser.parse_args(words)
    if given.table:
        write_tables(given.results)
        return
    size = Size(tiny=given.tiny, peers=not given.alone, pytme=given.pytme)
    for part in given.only:
        with conditions_of_run() as conditions:
            rows = PARTS[part](size)
        result = Result(part, dict(conditions), rows)
        show(result)
        if not given.tiny:
            write_result(given.results, result)


if __name__ == "__main__":
    main()
