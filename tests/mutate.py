"""Mutation testing of the algebra, the space and the engine, with cosmic-ray's mutants.

    python -m pip install cosmic-ray==8.7.0 coverage
    python tests/mutate.py map algebra                 # which test runs which line
    python tests/mutate.py run algebra --sample 200    # or without: all of them
    python tests/mutate.py report                      # the table of all that was run

A mutant is a module with one operator, number, name of an exception or loop changed. It
runs in a fork of a process that has imported all libraries, on the module's doctests
and the tests that run the line that is changed, the fastest first, until one fails. A
sample is drawn by a seed, so that a larger one contains it. What is not noticed stands
with its reason in ``tests/mutants/survivors.csv``; ``.mutants`` keeps what was run.

Not mutated: annotations, and ``signatures.py``, which type checkers alone read;
``compiled*.py``, which numba compiles and `tests/test_compiled.py` holds against the
same in NumPy; and docstrings.
"""

from __future__ import annotations

import argparse
import ast
import csv
import importlib.util
import itertools
import json
import math
import os
import random
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / ".mutants"
SURVIVORS = Path(__file__).parent / "mutants" / "survivors.csv"
EXAMPLES = 25  # that hypothesis draws, of 200 on CI
MEMORY = 8 * 2**30  # bytes of address space of a mutant
LONGEST = 30.0  # seconds of all tests of a mutant, where nothing is mutated
SLOWEST = 20.0  # of one of them
FLOORS = {  # the tests from which those that run a line are taken
    "algebra": "derived diagram errors face laws parsing pipeline spec stage_images "
    "verbs",
    "space": "check_tilts contours cropping crops curves euler fourier fsc geometry "
    "optics physics precision regions rotation_grids seeding shells spectra surfaces "
    "symmetry tilt_changes tilt_series transfer views",
    "engine": "amplitude bank basis classify climb costs coverage engine_seam estimate "
    "integrals matching matching_parts posterior posterior_parts preflight prior "
    "rescoring robust_engine scoring search search_background steps sweep tophat "
    "weighing",
}


class Mutant(NamedTuple):
    """A change of one place in a module."""

    module: str
    """The file, from the root on."""
    operator: str
    occurrence: int
    line: int
    column: int

    @property
    def name(self) -> str:
        """Return what tells it from all others of this version."""
        short = self.operator.removeprefix("core/")
        return f"{self.module}:{self.line}:{self.column} {short} {self.occurrence}"


# Which there are.


def modules(floor: str) -> list[Path]:
    """Return the files of a floor that are mutated."""
    found = sorted((ROOT / "funpipe" / floor).glob("*.py"))
    unread = ("__init__", "compiled", "compiled_splines", "signatures")
    return [each for each in found if each.stem not in unread]


def mutants(path: Path) -> Iterator[Mutant]:
    """Yield the mutants of a module."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    source = path.read_text(encoding="utf-8")
    tree, unread = get_ast(source), list(unread_of(source))
    for name in sorted(operator_names()):
        operator = get_operator(name)
        if operator.arguments():
            continue
        places = [
            (node, start)
            for node in ast_nodes(tree)
            for start, _ in operator().mutation_positions(node)
        ]
        for occurrence, (node, (line, column)) in enumerate(places):
            read = not any(low <= (line, column) < high for low, high in unread)
            if read and not is_marker(node):
                where = str(path.relative_to(ROOT))
                yield Mutant(where, name, occurrence, line, column)


def is_marker(node: Any) -> bool:
    """Tell whether a * or / is one of a signature or a call, and no operator."""
    signature = ("parameters", "param", "lambdef", "arglist", "argument", "trailer")
    return node.type == "operator" and node.parent.type in signature


def unread_of(source: str) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Yield where annotations are, from a line and column to another."""
    for node in ast.walk(ast.parse(source)):
        fields = ("annotation", "returns")
        for each in filter(None, (getattr(node, field, None) for field in fields)):
            end = each.end_lineno, each.end_col_offset
            yield (each.lineno, each.col_offset), end
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield (node.lineno, 0), (node.body[-1].end_lineno + 1, 0)


def mutated(mutant: Mutant) -> str:
    """Return the source of a mutant."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    source = (ROOT / mutant.module).read_text(encoding="utf-8")
    return mutate_code(source, get_operator(mutant.operator)(), mutant.occurrence)


# Which tests run which lines.


class Quick:
    """A plugin of pytest that has hypothesis draw few examples, the same each time."""

    def pytest_sessionstart(self, session: Any) -> None:
        from hypothesis import settings

        known = settings.get_profile("laws")  # from conftest.py, which runs before
        settings.register_profile("mutants", known, max_examples=EXAMPLES)
        settings.load_profile("mutants")


class Times:
    """A plugin of pytest that keeps how long tests and imports take, and their lines.

    Which test runs is told to coverage here: by itself it looks for functions that are
    named as tests are, and takes all that hypothesis runs for one of its own.
    """

    def __init__(self, watched: Any) -> None:
        self.watched = watched
        self.seconds: Counter[str] = Counter()
        self.files: Counter[str] = Counter()
        self.failed: list[str] = []
        self.begun = 0.0

    def pytest_collectstart(self, collector: Any) -> None:
        self.begun = time.perf_counter()

    def pytest_collectreport(self, report: Any) -> None:
        if report.nodeid.endswith(".py"):
            self.files[report.nodeid] += time.perf_counter() - self.begun

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.watched.switch_context(nodeid.partition("[")[0])

    def pytest_runtest_logfinish(self) -> None:
        self.watched.switch_context("")

    def pytest_runtest_logreport(self, report: Any) -> None:
        name = report.nodeid.partition("[")[0]
        self.seconds[name] += report.duration
        if report.failed:
            self.failed.append(name)


def mapped(floor: str, only: list[str]) -> None:
    """Run the tests of a floor, and keep which of them run which lines.

    Of some files alone what they run is added to what was kept.
    """
    import coverage
    import pytest

    data = str(KEPT / f"{floor}.coverage")
    KEPT.mkdir(exist_ok=True)
    source = [str(ROOT / "funpipe" / floor)]
    watched = coverage.Coverage(data, source=source, config_file=False)
    times = Times(watched)
    files = [f"tests/test_{each}.py" for each in only or FLOORS[floor].split()]
    files = [each for each in files if (ROOT / each).exists()]
    watched.start()
    pytest.main([*files, *QUIET], [times, Quick()])
    watched.stop()
    watched.save()
    found, tests = watched.get_data(), {}
    for path in found.measured_files():
        lines: dict[str, list[str]] = {}
        for line, contexts in found.contexts_by_lineno(path).items():
            lines[str(line)] = sorted(each for each in contexts if each)
        tests[str(Path(path).relative_to(ROOT))] = lines
    kept = {"tests": tests, "seconds": times.seconds, "failed": times.failed}
    kept["files"] = times.files
    if only:
        kept = added(json.loads((KEPT / f"{floor}.json").read_text()), kept, files)
    (KEPT / f"{floor}.json").write_text(json.dumps(kept))
    print(f"{floor}: {len(times.seconds)} tests, {len(times.failed)} failed")


def added(old: dict[str, Any], new: dict[str, Any], files: list[str]) -> dict[str, Any]:
    """Return what was kept with that of some files in the place of what it had."""

    def others(tests: Iterable[str]) -> list[str]:
        return [each for each in tests if each.partition("::")[0] not in files]

    tests: dict[str, dict[str, list[str]]] = {}
    for path in {*old["tests"], *new["tests"]}:
        one, two = old["tests"].get(path, {}), new["tests"].get(path, {})
        lines = {*one, *two}
        tests[path] = {
            line: others(one.get(line, [])) + two.get(line, []) for line in lines
        }
    seconds = {each: old["seconds"][each] for each in others(old["seconds"])}
    failed = others(old["failed"]) + new["failed"]
    return {
        "tests": tests,
        "seconds": {**seconds, **new["seconds"]},
        "failed": failed,
        "files": {**old["files"], **new["files"]},
    }


def chosen(mutant: Mutant, kept: dict[str, Any]) -> list[str]:
    """Return the tests of a mutant, the fastest first.

    Those of a line that runs on import are those of all lines of the module.
    """
    lines, seconds = kept["tests"].get(mutant.module, {}), kept["seconds"]
    there = lines.get(str(mutant.line)) or {
        test for tests in lines.values() for test in tests
    }
    found, total = [], 0.0
    for test in sorted(there, key=lambda each: seconds[each]):
        total += seconds[test]
        if test not in kept["failed"] and seconds[test] <= SLOWEST and total <= LONGEST:
            found.append(test)
    return found


def by_file(
    modules: list[str], tests: list[str], kept: dict[str, Any]
) -> list[list[str]]:
    """Return tests file by file, those first that take the least, imported and run.

    The doctests of modules go with the first: alone they would lack conftest.py.
    """
    groups: dict[str, list[str]] = {}
    for test in tests:
        groups.setdefault(test.partition("::")[0], []).append(test)

    def lasting(file: str) -> float:
        seconds = sum(kept["seconds"][each] for each in groups[file])
        return float(kept["files"].get(file, 1.0) + seconds)

    first, *others = [groups[file] for file in sorted(groups, key=lasting)]
    return [[*modules, *first], *others]


# Running them.

# Tests are imported again in each fork, hypothesis is not: pytest cannot rewrite it.
QUIET = ["-q", "--no-header", "-p", "no:cacheprovider", "--assert=plain"]
QUIET += ["--doctest-modules"]


class Finder:
    """Imports one module from another source than its file's."""

    def __init__(self, name: str, path: Path, source: str) -> None:
        self.name, self.path, self.source = name, path, source

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Return how the module is imported, None for all others."""
        if name != self.name:
            return None
        return importlib.util.spec_from_file_location(name, self.path, loader=self)

    def create_module(self, spec: Any) -> None:
        """Leave it to Python to make the module."""

    def exec_module(self, module: Any) -> None:
        """Run the source."""
        exec(compile(self.source, self.path, "exec"), module.__dict__)


def preload(floor: str) -> None:
    """Import all that the package and its tests import, and forget those two."""
    import hypothesis.strategies  # noqa: F401
    import pytest  # noqa: F401

    import funpipe  # noqa: F401

    for path in (ROOT / "tests").glob("test_*.py"):
        if path.stem.removeprefix("test_") in FLOORS[floor].split():
            importlib.import_module(path.stem)
    ours = {each.stem for each in (ROOT / "tests").glob("*.py")}
    for name in list(sys.modules):
        if name.partition(".")[0] in {"funpipe", *ours} and name != "__main__":
            del sys.modules[name]


def is_one(mutant: Mutant) -> bool:
    """Tell whether a mutant is other code than the module's, and Python at all.

    A / among parameters is no division, a * is no product, and overloads are types.
    """
    before = (ROOT / mutant.module).read_text(encoding="utf-8")
    try:
        return run_of(mutated(mutant)) != run_of(before)
    except SyntaxError:
        return False


def run_of(source: str) -> str:
    """Return what a module does, without functions that a later one replaces."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            last = {getattr(each, "name", each): each for each in body}
            node.body = [each for each in body if each in last.values()]
    return ast.dump(tree)


def verdict(mutant: Mutant | None, groups: list[list[str]], seconds: float) -> str:
    """Run tests in a fork, group by group; return killed, timeout or survived."""
    child = os.fork()
    if not child:
        code = 3
        try:
            quiet = os.open(os.devnull, os.O_RDWR)
            for each in (1, 2):
                os.dup2(quiet, each)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            if mutant is not None:
                path = ROOT / mutant.module
                name = mutant.module.removesuffix(".py").replace("/", ".")
                sys.meta_path.insert(0, Finder(name, path, mutated(mutant)))
            import pytest

            for tests in groups:
                code = int(pytest.main([*tests, *QUIET, "-x"], [Quick()]))
                if code:
                    break
        except BaseException:
            code = 1
        finally:
            os._exit(code)
    spent, before = 0.0, time.monotonic()
    while spent < seconds:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "survived" if status == 0 else "killed"
        time.sleep(0.02)
        now = time.monotonic()
        spent += min(now - before, 1.0)  # and not what both were stopped for
        before = now
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "timeout"


def run(floor: str, sample: int | None, seed: int, minutes: float) -> None:
    """Run mutants that were not run yet, of the sample or all."""
    kept = json.loads((KEPT / f"{floor}.json").read_text())
    preload(floor)
    everyone = [each for path in modules(floor) for each in mutants(path)]
    random.Random(seed).shuffle(everyone)
    done = {each["mutant"] for each in results(floor)}
    several = list(itertools.islice(filter(is_one, everyone), sample))
    check_unmutated(several, kept)
    begin = time.monotonic()
    with open(KEPT / f"{floor}.jsonl", "a") as file:
        for mutant in several:
            if mutant.name in done:
                continue
            if time.monotonic() - begin > 60 * minutes:
                break
            tests = chosen(mutant, kept)
            baseline = sum(kept["seconds"][each] for each in tests)
            found = "untested"
            if tests:
                groups = by_file([mutant.module], tests, kept)
                found = verdict(mutant, groups, 60 + 5 * baseline)
            row = {"mutant": mutant.name, "verdict": found, "tests": len(tests)}
            file.write(json.dumps({**row, "of": len(everyone)}) + "\n")
            file.flush()
            if found in ("survived", "untested"):
                print(f"{found}: {mutant.name}", flush=True)


def check_unmutated(several: list[Mutant], kept: dict[str, Any]) -> None:
    """Refuse to go on where tests fail of what is not mutated, of the first few."""
    some = several[:60]
    tests = sorted({test for each in some for test in chosen(each, kept)})
    modules = sorted({each.module for each in some})
    if verdict(None, by_file(modules, tests, kept), 1200) != "survived":
        sys.exit("the tests fail where nothing is mutated")


def again(floor: str) -> None:
    """Run those once more that were not noticed, on the tests as they are now."""
    rows, kept = results(floor), json.loads((KEPT / f"{floor}.json").read_text())
    preload(floor)
    there = {each.name: each for path in modules(floor) for each in mutants(path)}
    for row in rows:
        if row["verdict"] in ("survived", "untested") and row["mutant"] in there:
            mutant = there[row["mutant"]]
            tests = chosen(mutant, kept)
            row["verdict"] = "untested"
            if tests:
                groups = by_file([mutant.module], tests, kept)
                row["verdict"] = verdict(mutant, groups, 600)
            print(f"{row['verdict']}: {row['mutant']}", flush=True)
    text = "".join(json.dumps(each) + "\n" for each in rows)
    (KEPT / f"{floor}.jsonl").write_text(text)


def results(floor: str) -> list[dict[str, Any]]:
    """Return what was run."""
    path = KEPT / f"{floor}.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    found = {row["mutant"]: row for row in map(json.loads, lines)}
    return list(found.values())


# What came of it.


def wilson(part: int, count: int) -> tuple[float, float]:
    """Return the interval of 95 % of a rate, E. B. Wilson's."""
    z, rate = 1.96, part / count
    middle = rate + z * z / (2 * count)
    half = z * math.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return (middle - half) / scale, (middle + half) / scale


def report() -> None:
    """Print how many of each floor were noticed, and what was not, with reasons."""
    reasons = {}
    if SURVIVORS.exists():
        with open(SURVIVORS, newline="") as file:
            reasons = {each["mutant"]: each["reason"] for each in csv.DictReader(file)}
    for floor in FLOORS:
        rows = results(floor)
        if not rows:
            continue
        count = Counter(each["verdict"] for each in rows)
        killed = count["killed"] + count["timeout"]
        low, high = wilson(killed, len(rows))
        print(
            f"{floor}: {killed} of {len(rows)}, {killed / len(rows):.1%}, are noticed "
            f"(95 %: {low:.1%} to {high:.1%}); of {rows[-1]['of']}: {dict(count)}"
        )
        for each in rows:
            if each["verdict"] in ("survived", "untested"):
                print(f"  {each['mutant']}: {reasons.get(each['mutant'], '?')}")


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["map", "run", "again", "report", "count"])
    parser.add_argument("floor", nargs="*", help="algebra, space, engine")
    parser.add_argument(
        "--only", nargs="+", default=[], help="test files to map anew: climb, costs"
    )
    parser.add_argument("--sample", type=int, help="how many; all where not said")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=math.inf)
    given = parser.parse_args()
    os.chdir(ROOT)
    os.environ["CI"] = "1"  # hypothesis draws the same each time
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    sys.setrecursionlimit(10_000)  # of parsers
    for floor in given.floor or FLOORS:
        if given.what == "map":
            mapped(floor, given.only)
        elif given.what == "run":
            run(floor, given.sample, given.seed, given.minutes)
        elif given.what == "again":
            again(floor)
        elif given.what == "count":
            print(floor, sum(1 for path in modules(floor) for _ in mutants(path)))
    if given.what == "report":
        report()


if __name__ == "__main__":
    main()
