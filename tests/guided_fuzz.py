"""Fuzzing of everything that parses, guided by coverage.

    python -m pip install atheris
    python tests/guided_fuzz.py all 300     # each target for 300 seconds
    python tests/guided_fuzz.py mod 3600    # one of them
    python tests/guided_fuzz.py replay      # all that is kept, and unguided damage
    python tests/guided_fuzz.py replay --copies 1000 --seed 7   # more of that

What is found is printed and written to ``tests/data/fuzzed/<target>``, each complaint
once; it stays there when it is mended, as a small file that ``replay`` reads, and so
does every run of the tests. Files that reach new code are kept in a folder
(``--corpus``, ``.fuzz`` here), from which a later run goes on; ``keep`` takes the
small ones into ``tests/data/fuzzed/corpus.zip``, which is replayed too.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import pkgutil
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path

FUZZED = Path(__file__).parent / "data" / "fuzzed"
CORPUS = FUZZED / "corpus.zip"
MEMORY = 8 * 2**30  # bytes of address space; no file here is larger than some kB
LARGEST = 16_384  # bytes of an input
DAMAGED = 150  # copies of each target's seeds, on a replay

# What is looked into, beside the package's own readers: libraries of formats.
LIBRARIES = ("emfile", "imodmodel", "mdocfile", "alnfile", "dynamotable", "mrcfile")
OWN = ("funpipe.io", "funpipe.base", "funpipe.stages.parsing")


def instrumented() -> None:
    """Import what is looked into, so that it tells which lines run."""
    import atheris

    with atheris.instrument_imports(include=[*LIBRARIES, *OWN]):
        for library in LIBRARIES:
            importlib.import_module(library)
        for name in ("funpipe.io", "funpipe.base"):
            package = importlib.import_module(name)
            for each in pkgutil.iter_modules(package.__path__, f"{name}."):
                importlib.import_module(each.name)
        importlib.import_module("funpipe.stages.parsing")


def guided(name: str, seconds: int, corpus: Path) -> None:
    """Fuzz one target; the process ends with it."""
    import atheris

    instrumented()
    from guided_targets import TARGETS, outcome, prepared

    target, seen, count = TARGETS[name], Counter(), Counter()
    folder = Path(tempfile.mkdtemp(prefix="funpipe-fuzz-", dir=shared_memory()))
    started, own = folder / "seeds", corpus / name
    for each in (started, own):
        each.mkdir(parents=True, exist_ok=True)
    for i, content in enumerate([*seeds_of(name, folder), *kept(name).values()]):
        (started / str(i)).write_bytes(content)
    path = prepared(target, folder)

    def one(content: bytes) -> None:
        count["read"] += 1
        kind, said = outcome(target, path, content)
        if said and not seen[pattern := f"{kind}: {pattern_of(said)}"]:
            seen[pattern] += 1
            put(name, kind, content)
            text = f"\nFOUND {name}: {kind}: {said[:400]}"
            print(text, file=sys.stderr, flush=True)

    options = [f"-max_total_time={seconds}", f"-max_len={LARGEST}", "-timeout=120"]
    options += ["-rss_limit_mb=0", "-print_final_stats=1", "-verbosity=1"]
    artifacts = f"-artifact_prefix={folder}/"
    atheris.Setup([sys.argv[0], *options, artifacts, str(own), str(started)], one)
    limit_memory()
    atheris.Fuzz()


def shared_memory() -> str | None:
    return "/dev/shm" if os.path.isdir("/dev/shm") else None


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def seeds_of(name: str, folder: Path) -> list[bytes]:
    """Return files of a target that are well."""
    from guided_targets import TARGETS

    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    return TARGETS[name].seeds(scratch)


def pattern_of(said: str) -> str:
    """Return a complaint without what is of one file only."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|[0-9]+|/\S*", "…", said)[:60]


def put(name: str, kind: str, content: bytes) -> None:
    """Keep what is found."""
    where = FUZZED / name.replace(" ", "_")
    where.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(content).hexdigest()[:8]
    (where / f"{kind}_{digest}").write_bytes(content)


def kept(name: str) -> dict[str, bytes]:
    """Return a target's findings, and its corpus, by their names."""
    where = FUZZED / name.replace(" ", "_")
    found = {f"{where.name}/{p.name}": p.read_bytes() for p in sorted(where.glob("*"))}
    if CORPUS.exists():
        with zipfile.ZipFile(CORPUS) as file:
            for each in file.namelist():
                if each.startswith(f"{where.name}/"):
                    found[f"corpus.zip/{each}"] = file.read(each)
    return found


def replayed(name: str, copies: int, seed: int) -> tuple[Counter[str], dict[str, str]]:
    """Read what is kept and damaged copies; return counts, and complaints by file."""
    from guided_targets import READ, REFUSED, TARGETS, outcome, prepared
    from test_damaged_lists import DAMAGE

    target, count, wrong = TARGETS[name], Counter(), {}
    with tempfile.TemporaryDirectory(dir=shared_memory()) as each:
        folder = Path(each)
        seeds, chance = seeds_of(name, folder), random.Random(f"{name} {seed}")
        path = prepared(target, folder)
        for i, content in enumerate(seeds):
            if (found := outcome(target, path, content))[0] not in (READ, REFUSED):
                wrong[f"{name}: seed {i}"] = ": ".join(found)
        several = kept(name)
        count["kept"] = len(several)
        for i in range(copies):
            damage = DAMAGE[i % len(DAMAGE)]
            content = damage(seeds[i // len(DAMAGE) % len(seeds)], chance)
            several[f"{name}: {damage.__name__} {seed} {i}"] = content
        for where, content in several.items():
            kind, said = outcome(target, path, content)
            count[kind] += 1
            if kind not in (READ, REFUSED):
                wrong[where] = f"{kind}: {said}"
    return count, wrong


def replay(names: list[str], copies: int, seed: int) -> int:
    """Replay all; print what is wrong as JSON, and return how many things are."""
    limit_memory()
    total, wrong = Counter(), {}
    for name in names:
        print(name, file=sys.stderr, flush=True)  # the last, if it is a crash
        count, found = replayed(name, copies, seed)
        total += count
        wrong |= found
    print(json.dumps({"count": total, "wrong": wrong}, indent=1))
    return len(wrong)


def keep(names: list[str], corpus: Path, most: int, largest: int) -> None:
    """Put small files of a corpus, each of which reached new code, into the zip."""
    stamp = (2020, 1, 1, 0, 0, 0)
    with zipfile.ZipFile(CORPUS, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for name in names:
            files = sorted((corpus / name).glob("*"), key=lambda p: p.stat().st_size)
            small = [each for each in files if each.stat().st_size <= largest]
            for each in small[:: max(1, -(-len(small) // most))]:
                where = f"{name.replace(' ', '_')}/{each.name[:12]}"
                file.writestr(zipfile.ZipInfo(where, stamp), each.read_bytes(), 8)


def run_all(names: list[str], seconds: int, corpus: Path) -> None:
    """Fuzz one target after the other, each in a process of its own."""
    for name in names:
        begin = time.monotonic()
        command = [sys.executable, __file__, name, str(seconds), "--corpus", corpus]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        lines = done.stderr.splitlines()
        runs = [each for each in lines if "number_of_executed_units" in each]
        reached = [each for each in lines if " cov: " in each][-1:]
        for each in lines:
            if each.startswith("FOUND"):
                print(each, flush=True)
        told = re.findall(r"cov: \d+ ft: \d+ corp: \d+", " ".join(reached))
        count = runs[0].split()[-1] if runs else "?"
        took = time.monotonic() - begin
        print(f"{name}: {count} files in {took:.0f} s, {told}, rc {done.returncode}")
        if done.returncode or not runs:
            print(*lines[-15:], sep="\n")
        sys.stdout.flush()


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", help="a target, all, replay or keep")
    parser.add_argument("seconds", type=int, nargs="?", default=60)
    parser.add_argument("--corpus", type=Path, default=Path(".fuzz"))
    parser.add_argument("--only", nargs="*", help="of these targets, not of all")
    parser.add_argument("--copies", type=int, default=DAMAGED)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    if given.target not in ("all", "replay", "keep"):
        guided(given.target, given.seconds, given.corpus)
    from guided_targets import TARGETS

    names = given.only or list(TARGETS)
    if given.target == "all":
        run_all(names, given.seconds, given.corpus)
    if given.target == "keep":
        keep(names, given.corpus, 25, 3000)
    if given.target == "replay":
        return min(replay(names, given.copies, given.seed), 1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
