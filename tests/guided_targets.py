"""Everything that parses, as functions of bytes, for `tests/guided_fuzz.py`.

Each target has a file's name, what reads it, and files that are well: those that
other programs wrote, in `tests/data`, and those that the package writes. `outcome`
holds the one property: a file is read, or refused by one clear error that names it,
soon.
"""

from __future__ import annotations

import functools
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import test_damaged_lists as lists
import test_damaged_volumes as volumes
import test_peet as peet
import test_tilt_files as tilts
import test_warp as warp

import funpipe as fp
from funpipe.io.mod import read_contours
from funpipe.io.relion_tomograms import tomogram_infos
from funpipe.io.tilts import read_listed_tilts
from funpipe.stages.parsing import parse_pipeline

DATA = Path(__file__).parent / "data"
SLOWEST = 10.0  # seconds of this process
LONGEST = 900  # characters of an error


class Target(NamedTuple):
    """What is fuzzed."""

    name: str
    """Of the file."""
    read: Callable[[Path], Any]
    seeds: Callable[[Path], list[bytes]]
    """Takes a folder to write in."""
    beside: Callable[[Path], None] = lambda folder: None
    """Makes what has to lie beside the file."""


# Particle lists.


def listed(kind: str, **options: Any) -> Callable[[Path], Any]:
    return functools.partial(fp.read_molecules, format=kind, **options)


def list_target(kind: str) -> Target:
    """Return a format that the package writes, with what others wrote."""
    name = lists.LISTS[kind]
    others = {"stopgap": ["cryocat.star", "stopgap.star"], "dynamo": ["cryocat.tbl"]}
    others |= {"em": ["cryocat.em", "stopgap.em"], "csv": ["poses.csv"]}
    others |= {"mod": ["imod_two_contours.mod", "imod_three_objects.mod"]}

    def seeds(folder: Path) -> list[bytes]:
        written = lists.written(kind, folder / name)
        return [written, *((DATA / each).read_bytes() for each in others.get(kind, []))]

    return Target(name, listed(kind, **lists.options(kind)), seeds)


def texts(*several: str) -> Callable[[Path], list[bytes]]:
    return lambda folder: [each.encode() for each in several]


def guessed(path: Path) -> Any:
    """Read a list of a format that its first bytes tell."""
    return fp.read_molecules(path, scale=0.5)


def peet_model(folder: Path) -> None:
    peet.model(folder / "a.mod", [(1, 2, 3), (4, 5, 6), (7, 8, 9)])


PEET = f"{peet.TITLES}\n{peet.row(1)}\n{peet.row(3, (1, 2, 3), (10, 20, 30))}\n"
SIZES = tilts.TOMOGRAMS.format(hand=1.0)
WHOLE = (1000, 4000, 4000)  # voxels of the tomogram of Warp's picks


def dataset(folder: Path) -> list[bytes]:
    from test_picks import FIELDS
    from test_picks import dataset as old
    from test_picks import stream as new

    return [old(folder, FIELDS).read_bytes(), new()]


TABLE_MAP = "".join(f"{i} TS_{i}\n" for i in range(1, 13))


def table_map(path: Path) -> Any:
    """Read a Dynamo table whose map is the file."""
    return fp.read_molecules(path.with_suffix(".tbl"), scale=0.5)


def table(folder: Path) -> None:
    (folder / "a.tbl").write_bytes((DATA / "cryocat.tbl").read_bytes())


# Volumes and structures.


def volume_target(write: Callable[[Path], Path]) -> Target:
    def seeds(folder: Path) -> list[bytes]:
        return [write(folder).read_bytes()]

    with tempfile.TemporaryDirectory() as folder:
        name = write(Path(folder)).name
    return Target(name, volumes.read, seeds)


def many_mrc(folder: Path) -> list[bytes]:
    """Return MRC files of several modes, byte orders and extended headers."""
    import mrcfile

    found = []
    for i, dtype in enumerate(("i1", "i2", "f4", "u2", "f2")):
        path = folder / f"{i}.mrc"
        with mrcfile.new(path) as file:
            file.set_data(np.arange(24, dtype=dtype).reshape(2, 3, 4))
            file.voxel_size = 5.0
            if i % 2:
                file.set_extended_header(np.zeros(8, "V16"))
        found.append(path.read_bytes())
    swapped = np.frombuffer(found[2], ">i4").copy()
    return [*found, volumes.mrc(folder).read_bytes(), swapped.byteswap().tobytes()]


def zarr_image(folder: Path) -> None:
    volumes.ome_zarr_2(folder)


def zarr_read(path: Path) -> Any:
    """Read an image whose description is the file."""
    (path.parent / "a.zarr" / ".zattrs").write_bytes(path.read_bytes())
    return volumes.read(path.parent / "a.zarr")


def zarr_array(path: Path) -> Any:
    """Read an image whose array's description is the file."""
    (path.parent / "a.zarr" / "0" / ".zarray").write_bytes(path.read_bytes())
    return volumes.read(path.parent / "a.zarr")


def zarr_seeds(name: str) -> Callable[[Path], list[bytes]]:
    return lambda folder: [(volumes.ome_zarr_2(folder) / name).read_bytes()]


# Tilt series.


def from_data(*names: str) -> Callable[[Path], list[bytes]]:
    return lambda folder: [(DATA / "tilts" / each).read_bytes() for each in names]


def with_angles(path: Path) -> Any:
    return fp.read_tilts(path.with_name("angles.tlt"), path)


def angles(count: int) -> Callable[[Path], None]:
    def written(folder: Path) -> None:
        several = 3.0 * np.arange(count) - 3 * (count // 2)
        np.savetxt(folder / "angles.tlt", several, fmt="%g")

    return written


three_angles = angles(3)


XF = "1 0 0 1 0 0\n0.9 -0.1 0.1 0.9 3.5 -2\n1 0 0 1 0 1e-3\n"
DEFOCI = (
    "1 1 -3.0 -3.0 3083 2\n2\t2\t0.0\t0.0\t3084\n3 3 3.0 3.0 3147\n",
    "37 0 0 0 0 3\n1 3 -3 3 3000 2800 25.0 90.0 0.17\n",
    "15 0 0. 0. 0 3\n1 1 -3 -3 3000 2800 .5 1.5\n2 3 0 3 3000 2800 .5 1.5\n",
)
GCTF = """
data_

loop_
_rlnMicrographName #1
_rlnDefocusU #2
_rlnDefocusV #3
_rlnDefocusAngle #4
_rlnVoltage #5
a.mrc.01 35268.359375 35036.406250 21.260185 300.0
a.mrc.02 34332.652344 35647.824219 10.495987 300.0
a.mrc.03 33858.722656 33047.644531 82.230835 300.0
"""
TOMOSTAR = """
data_

loop_
_wrpMovieName #1
_wrpAngleTilt #2
_wrpAxisAngle #3
_wrpDose #4
a.tif 10.0 -85.6 6.0
b.tif -10.0 -85.6 3.0
"""


def tomograms(path: Path) -> Any:
    return fp.read_tomograms(path)


def project(folder: Path) -> None:
    """Write what a tomograms file names."""
    job = folder / "Tomograms" / "job006"
    for name in ("TS_01", "TS_03"):
        text = tilts.RELION_5.replace("TS_01", name)
        tilts.written(job, f"tilt_series/{name}.star", text)
        (job / "tomograms").mkdir(exist_ok=True)
        path = job / "tomograms" / f"rec_{name}.mrc"
        tilts.write_volume(path, (27, 41, 54), 1.0)


# Pipelines.


def pipeline(path: Path) -> Any:
    """Parse a text; what it prints has to be parsed to an equal pipeline."""
    text = path.read_bytes().decode("utf-8", "replace")
    try:
        found = parse_pipeline(text)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path.name}: {error}") from None
    if parse_pipeline(repr(found)) != found:
        raise AssertionError(f"{text!r} is printed as {found!r}")
    return ()


PIPELINES = (
    "gaussian_filter(0.5) @ from_file('ribosome.mrc')",
    "soft_otsu(sigma=2.0, radius=1.0)",
    "cosine_edge(1.0) @ (sphere(6.0) & (~sphere(3.0)))",
    "compose(normalize(), invert()) / 2 - -1e-3 < 0.5",
    "wedge_filter(tilt_series((-30, 0, 30), 'x', defocus=2.0)) @ sphere(3)",
    "from_gaussian((8, 8.0, 8), sigma=1.5, shift=[0, 1, -2]) ** 2",
    "2 * identity >= from_files(['a.mrc', 'b.mrc'])",
    "symmetrize('C4') @ crop_or_pad((3, 4, 5)) @ from_structure('a.pdb', 1.0)",
)

TARGETS = {
    **{kind: list_target(kind) for kind in lists.LISTS},
    "m": Target("a.star", listed("m"), texts(warp.SPECIES)),
    "warp": Target(
        "a.star",
        listed("warp", scale=0.15, tomograms=WHOLE),
        texts(warp.PICKS),
    ),
    "relion series": Target("a.star", guessed, texts(warp.SERIES)),
    "relion centred": Target(
        "a.star", listed("relion", tomograms="centred"), texts(warp.CENTRED)
    ),
    "peet": Target("a_MOTL.csv", listed("peet", scale=0.5), texts(PEET), peet_model),
    "cryosparc": Target("a.cs", listed("cryosparc"), dataset),
    "table map": Target("a.doc", table_map, texts(TABLE_MAP), table),
    "contours": Target(
        "a.mod",
        lambda path: read_contours(str(path)),
        lambda folder: list_target("mod").seeds(folder)[1:],
    ),
    "tomogram sizes": Target("a.star", tomogram_infos, texts(SIZES, warp.SETTINGS)),
    **{
        each.__name__: volume_target(each)
        for each in volumes.WRITERS
        if each not in (volumes.ome_zarr_2, volumes.ome_zarr_3, volumes.mrc)
    },
    "mrc": Target("a.mrc", volumes.read, many_mrc),
    "zarr attributes": Target(".zattrs", zarr_read, zarr_seeds(".zattrs"), zarr_image),
    "zarr array": Target(".zarray", zarr_array, zarr_seeds("0/.zarray"), zarr_image),
    "angles": Target("a.tlt", fp.read_tilts, from_data("TS_001.tlt", "TS_001.rawtlt")),
    "transforms": Target("a.xf", with_angles, texts(XF), three_angles),
    "defocus": Target("a.defocus", with_angles, texts(*DEFOCI), three_angles),
    "ctffind": Target("a.txt", with_angles, texts(tilts.CTFFIND), three_angles),
    "aretomo ctf": Target(
        "a_CTF.txt", with_angles, from_data("aretomo3_CTF.txt"), angles(31)
    ),
    "gctf": Target("a.star", with_angles, texts(GCTF), three_angles),
    "mdoc": Target("a.mdoc", fp.read_tilts, from_data("TS_01.mrc.mdoc")),
    "aln": Target(
        "a.aln", fp.read_tilts, from_data("dark_images.aln", "global_no_local.aln")
    ),
    "xml": Target("a.xml", fp.read_tilts, from_data("warp_TS_1.xml")),
    "tilt star": Target("a.star", fp.read_tilts, texts(tilts.RELION_5, TOMOSTAR)),
    "tomograms": Target("a.star", tomograms, texts(SIZES), project),
    "relion 4 tomograms": Target(
        "a.star", read_listed_tilts, from_data("relion4_tomograms.star")
    ),
    "pipeline": Target("text", pipeline, texts(*PIPELINES)),
}


def prepared(target: Target, folder: Path) -> Path:
    """Make what lies beside the file; return the file's path."""
    target.beside(folder)
    return folder / target.name


class Hang(BaseException):
    """Reading takes too long."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise `Hang` after a time of this process; what is compiled may not notice."""

    def stop(*_: Any) -> None:
        raise Hang

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


READ, REFUSED = "read", "refused"  # all other outcomes are findings


def outcome(target: Target, path: Path, content: bytes) -> tuple[str, str]:
    """Read a file of a content; return what comes of it, and what is wrong there."""
    path.write_bytes(content)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with within(SLOWEST):
                found = target.read(path)
        except (ValueError, OSError) as error:
            return unclear(str(error), path) or (REFUSED, "")
        except Hang:
            return "hang", f"more than {SLOWEST:g} s"
        except MemoryError:
            return "memory", "more than there is"
        except BaseException as error:
            return "crash", repr(error)
    for each in caught:
        if not issubclass(each.category, UserWarning):
            return "warning", f"{each.category.__name__}: {each.message}"
    return ("NaN", "in poses") if poses_are_nan(found) else (READ, "")


def unclear(text: str, path: Path) -> tuple[str, str] | None:
    """Return what is wrong with an error's text, or None."""
    named = path.name in text or f"{path.parent}/" in text
    if not named:
        return "unnamed", text
    if "\n" in text.strip() or len(text) > LONGEST or not text.isprintable():
        return "unclear", repr(text)
    return None


def poses_are_nan(found: Any) -> bool:
    return isinstance(found, fp.Molecules) and not (
        np.isfinite(found.rotations.as_quat()).all()
        and np.isfinite(found.positions).all()
    )
