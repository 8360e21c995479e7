"""A small job that any executor can run, also as a program of its own.

``python pooled_job.py FOLDER KIND OUT`` runs every verb in an executor of a kind and
saves what comes out; with a fourth argument, a folder of checkpoints, an alignment, or
with a fifth another one of those that work for long.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.io.volumes import read_volume
from funpipe.jobs import working
from funpipe.simulate import asymmetric_molecule, blob_image, perturbed, tomogram

SCALE = 1.0
BOX = (16, 16, 16)
COUNT = 96
TILTS = {
    "TS_01": (-60, 60),
    "TS_02": (-50, 56),
    "TS_03": (-54, 54),
    "TS_04": (-60, 50),
}
"""What each tilt series measured, degrees."""


def make(folder: Path, count: int = COUNT) -> None:
    """Write four tomograms, picks in each, and two templates that are nearly the same.

    The second template differs from the first by some last digits, so that which one
    fits a particle better is a matter of rounding: a result that is the same again is
    the same in every bit of the scores.
    """
    random = np.random.default_rng(3)
    molecule = asymmetric_molecule(count=10, radius=4.0, sigma=1.0)
    names = np.repeat(list(TILTS), [count * part // 12 for part in (4, 4, 3, 1)])
    picks = []
    for i, name in enumerate(TILTS):
        n = int((names == name).sum())
        side = int(np.ceil(np.sqrt(n)))
        places = np.stack(np.meshgrid([16], *[16.0 + 14.0 * np.arange(side)] * 2), -1)
        at = places.reshape(-1, 3)[:n] + random.uniform(-0.5, 0.5, (n, 3))
        truth = fp.Molecules(at, Rotation.random(n, rng=random))
        shape = (32, *[32 + 14 * (side - 1)] * 2)
        volume = tomogram(molecule, truth, shape, SCALE, noise=0.5, seed=i)
        fp.write_volume(folder / f"{name}.mrc", volume, scale=SCALE)
        picks.append(perturbed(truth, shift=1.0, angle=8.0, seed=i))
    mixed = random.permutation(len(names))  # tomograms take turns in the list
    fp.Molecules.concat(picks).with_features(tomogram=names)[mixed].to_csv(
        folder / "picks.csv"
    )
    template = blob_image(molecule, BOX, SCALE).astype(np.float32)
    nearly = template * (1 + random.uniform(-3e-7, 3e-7, BOX).astype(np.float32))
    np.save(folder / "templates.npy", np.stack([template, nearly]))


def given(folder: Path, *, arrays: bool = False) -> tuple:
    """Return tomograms, by path or as arrays, and particles."""
    source = (lambda path: read_volume(path)[0]) if arrays else (lambda path: path)
    tomograms = {
        name: fp.Tomogram(source(str(folder / f"{name}.mrc")), scale=SCALE, tilt=tilt)
        for name, tilt in TILTS.items()
    }
    return tomograms, fp.Molecules.from_csv(folder / "picks.csv")


def search(folder: Path) -> dict:
    """Return what is looked for."""
    return {
        "template": list(np.load(folder / "templates.npy")),
        "mask": fp.soft_otsu(1.0, 1.0),
        "max_shifts": 2.0,
        "rotations": (12, 6),
        "resolution": 4.0,
        "preflight": False,
    }


def aligned(
    folder: Path, executor: Executor | None = None, *, arrays: bool = False, **options
) -> fp.Molecules:
    """Run the job."""
    options = {"progress": False, **search(folder), **options}
    return fp.align(*given(folder, arrays=arrays), executor=executor, **options)


def bits(found: fp.Molecules) -> dict[str, np.ndarray]:
    """Return a result as arrays, which are compared bit by bit."""
    features = {f"feature {name}": each for name, each in found.features.items()}
    return {
        "positions": found.positions,
        "rotations": found.rotations.as_quat(),
        **features,
    }


def align(folder: Path, executor: Executor | None) -> dict[str, np.ndarray]:
    """Align particles of files."""
    return bits(aligned(folder, executor))


def align_arrays(folder: Path, executor: Executor | None) -> dict[str, np.ndarray]:
    """Align particles of arrays, frequencies weighted by what a sample says."""
    return bits(aligned(folder, executor, arrays=True, whiten=True, estimate="mode"))


def align_subtomograms(
    folder: Path, executor: Executor | None
) -> dict[str, np.ndarray]:
    """Align boxes that have been cut before."""
    tomograms, picks = given(folder)
    picks = picks[picks.features["tomogram"] == "TS_01"]
    boxes = fp.subtomograms(tomograms["TS_01"], picks, shape=BOX)
    found = fp.align_subtomograms(
        np.concatenate([boxes, 2 * boxes, boxes[:8]]),  # more than one chunk
        **{name: each for name, each in search(folder).items() if name != "preflight"},
        scale=SCALE,
        tilt=(-60, 60),
        orientations=Rotation.concatenate(
            [picks.rotations, picks.rotations, picks.rotations[:8]]
        ),
        executor=executor,
        progress=False,
    )
    turned = {"rotations": found.rotations.as_quat()}
    return {name: getattr(found, name) for name in found.__dataclass_fields__} | turned


def average(folder: Path, executor: Executor | None) -> dict[str, np.ndarray]:
    """Average with the wedge of each tomogram."""
    options = {"shape": BOX, "executor": executor, "progress": False}
    return {"average": fp.average(*given(folder), **options)}


def plain_average(folder: Path, executor: Executor | None) -> dict[str, np.ndarray]:
    """Average boxes of arrays as they are."""
    tomograms, picks = given(folder, arrays=True)
    tomograms = {name: each._replace(tilt=None) for name, each in tomograms.items()}
    options = {"shape": BOX, "executor": executor, "progress": False}
    return {"average": fp.average(tomograms, picks, **options)}


def check(folder: Path, executor: Executor | None) -> dict[str, np.ndarray]:
    """Look for what may be wrong; one template, and one that is dark."""
    options = {**search(folder), "executor": executor}
    del options["preflight"]
    options["template"] = -options["template"][0]
    found = fp.check(*given(folder), **options)
    return {each.name: np.array(each.figure) for each in found}


def simulate(folder: Path, executor: Executor | None) -> dict[str, np.ndarray]:
    """Simulate what is in a crowd, each copy with the defocus of its place; or none."""
    molecule = asymmetric_molecule(count=10, radius=4.0, sigma=1.0)
    picks = fp.Molecules.from_csv(folder / "picks.csv")
    picks = picks[picks.features["tomogram"] == "TS_01"]
    shape = np.ceil(picks.positions.max(axis=0) + 16).astype(int).tolist()
    series = fp.tilt_series(range(-60, 61, 6), defocus=3.0, phase_flipped=False)
    options = {"neighbours": 2, "membranes": 1, "beads": 2, "executor": executor}
    return {
        name: tomogram(molecule, picks, shape, SCALE, tilt=tilt, seed=1, **options)
        for name, tilt in (("seen", series), ("plain", (-60, 60)))
    }


VERBS = {
    each.__name__: each
    for each in (
        *(align, align_arrays, align_subtomograms, average, plain_average),
        *(check, simulate),
    )
}
"""What works long, each a function of a folder and an executor that returns arrays."""


def align_long(
    folder: Path, executor: Executor | None, checkpoint: Path | None
) -> dict[str, np.ndarray]:
    """Align, chunks kept."""
    return bits(aligned(folder, executor, checkpoint=checkpoint))


def refine_long(
    folder: Path, executor: Executor | None, checkpoint: Path | None
) -> dict[str, np.ndarray]:
    """Refine, two iterations, chunks kept; return all that each of them gives."""
    options = {**search(folder), "start": 4.0, "iterations": 2, "progress": False}
    del options["preflight"]
    options["template"] = options["template"][0]
    steps = fp.refine(
        *given(folder), executor=executor, checkpoint=checkpoint, **options
    )
    return {
        f"{each.number} {name}": array
        for each in steps
        for name, array in {
            **bits(each.molecules),
            "first": each.maps.first,
            "second": each.maps.second,
            "map": each.map,
            "fsc": each.fsc.fsc,
        }.items()
    }


def search_long(
    folder: Path, executor: Executor | None, checkpoint: Path | None
) -> dict[str, np.ndarray]:
    """Search two of the tomograms, tiles kept."""
    tomograms, _ = given(folder)
    options = {"resolution": 4.0, "spacing": 30.0, "count": 20, "progress": False}
    found = fp.search(
        {name: tomograms[name] for name in list(TILTS)[2:]},
        template=search(folder)["template"][0],
        executor=executor,
        checkpoint=checkpoint,
        **options,
    )
    return bits(found)


LONG = {"align": align_long, "refine": refine_long, "search": search_long}
"""What works for long and goes on where it was, each a function of a folder, an
executor and a folder of checkpoints that returns arrays."""


def save(path: str | Path, found: dict[str, np.ndarray]) -> None:
    """Save a result as it is, to the last bit, or not at all."""
    part = Path(f"{path}.part.npz")
    np.savez(part, **found)
    os.replace(part, path)


def saved(path: str | Path) -> dict[str, np.ndarray]:
    """Return what was saved."""
    with np.load(path) as file:
        return dict(file)


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    """Compare two results bit by bit."""
    assert one.keys() == other.keys()
    assert one
    different = {
        name: f"{(each != other[name]).sum()} of {each.size}"
        for name, each in one.items()
        if each.dtype != other[name].dtype or each.tobytes() != other[name].tobytes()
    }
    assert not different


def _spawned(workers: int) -> Executor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context)


def _loky(workers: int) -> Executor:
    from loky import ProcessPoolExecutor as Loky

    return Loky(workers)


@contextlib.contextmanager
def _dask(workers: int) -> Iterator[Executor]:
    import dask
    from distributed import Client, LocalCluster

    trimming = "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_"
    with (
        dask.config.set({trimming: None}),  # which doubles the time of a worker
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",  # any free one: others may have a cluster too
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client.get_executor()


def _mpi(workers: int) -> Executor:
    from mpi4py.futures import MPIPoolExecutor

    return MPIPoolExecutor()  # as many as mpirun has started


def _executorlib(workers: int) -> Executor:
    from executorlib import SingleNodeExecutor

    return SingleNodeExecutor(max_workers=workers, block_allocation=True)


@contextlib.contextmanager
def _apart(workers: int) -> Iterator[None]:
    """Have every job of files be a long one, for which processes start."""
    long, working._LONG = working._LONG, 1
    try:
        yield None
    finally:
        working._LONG = long


POOLS = {
    "none": lambda workers: contextlib.nullcontext(),
    "apart": _apart,
    "threads": ThreadPoolExecutor,
    "processes": _spawned,
    "loky": _loky,
    "dask": _dask,
    "mpi": _mpi,
    "executorlib": _executorlib,
}
"""How each kind of executor is made, given a number of workers."""

_LIBRARIES = {
    "apart": "loky",
    "loky": "loky",
    "dask": "distributed",
    "mpi": "mpi4py",
    "executorlib": "executorlib",
}

_MPI = {  # Open MPI in a container and on few processors; others do not read these
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_MCA_hwloc_base_binding_policy": "none",
    "OMPI_MCA_btl_vader_single_copy_mechanism": "none",
}


def has(kind: str) -> bool:
    """Tell whether what a kind of executor needs is there."""
    library = _LIBRARIES.get(kind)
    installed = library is None or importlib.util.find_spec(library) is not None
    return installed and (kind != "mpi" or shutil.which("mpirun") is not None)


def command_of(kind: str, script: str, *words: object, ranks: int = 3) -> list[str]:
    """Return the command that runs a script, of MPI one process and the workers."""
    mpi = kind == "mpi"
    return [
        *(["mpirun", "-n", str(ranks)] if mpi else []),
        sys.executable,
        *(["-m", "mpi4py.futures"] if mpi else []),
        script,
        *map(str, words),
    ]


def variables_of(kind: str) -> dict[str, str]:
    """Return the environment of such a command, which finds the package."""
    places = [str(Path(fp.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    found = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    return {**_MPI, **found} if kind == "mpi" else found


def main(
    folder: str,
    kind: str,
    out: str,
    checkpoint: str | None = None,
    verb: str = "align",
) -> None:
    """Run all verbs, or, with a checkpoint, one of the long ones; save what it gives.

    It says when it starts, and how many seconds it has taken.
    """
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    path = Path(folder)
    print("starts", flush=True)
    begun = time.perf_counter()
    with POOLS[kind](2) as pool:
        if checkpoint is None:
            found = {
                f"{name}: {part}": each
                for name, verb in VERBS.items()
                for part, each in verb(path, pool).items()
            }
        else:
            found = LONG[verb](path, pool, Path(checkpoint))
    print(time.perf_counter() - begun, flush=True)
    save(out, found)


if __name__ == "__main__":
    main(*sys.argv[1:])
