"""Simulated tomograms: copies of a molecule, and what else is in the ice."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.base import arguments as check
from funpipe.base.molecules import Molecules
from funpipe.base.wording import fail
from funpipe.jobs.working import memory_for
from funpipe.simulate.crowds import (
    Copy,
    Crowd,
    Sheet,
    add_sheet,
    beads_among,
    cut_out,
    densest,
    neighbours_among,
    sheets,
)
from funpipe.simulate.drawing import add_copies
from funpipe.simulate.images import Ball, drawn, reach_of
from funpipe.simulate.seen import colour, seen_through
from funpipe.space.fourier import fourier_vectors
from funpipe.space.geometry import centre
from funpipe.space.tilts import Tilt, as_tilt
from funpipe.space.transfer import TiltSeries

__all__ = ["perturbed", "tomogram"]

Array: TypeAlias = NDArray[Any]
Shape: TypeAlias = tuple[int, int, int]

_SLAB = 2**22  # voxels


@memory_for("tomogram", "a smaller shape")
def tomogram(
    molecule: Any,
    molecules: Molecules,
    shape: tuple[int, int, int],
    scale: float,
    *,
    tilt: Any = (-60, 60),
    noise: float = 1.0,
    falling: float = 0.0,
    neighbours: int = 0,
    membranes: int = 0,
    beads: int = 0,
    bead_radius: float = 5.0,
    bead_contrast: float = 10.0,
    seed: int = 0,
    out: Any = None,
    executor: Executor | None = None,
) -> Any:
    """Make a tomogram of copies of a molecule.

    Parameters
    ----------
    molecule : Blobs, (z, y, x) array at this scale, or provider
        The molecule; a map is turned as in `map_image`.
    molecules : Molecules
        Where its copies are, nm, and how they are turned.
    shape : (int, int, int)
        Voxels along z, y, x.
    scale : float
        nm per voxel.
    tilt : None, (float, float), tilt weights, or tilt_series
        What the tilt series measures of all but the noise; see `align`. Of a
        `tilt_series` with contrast transfer each copy has the defocus of its place, and
        the molecule's size as its extent.
    noise : float
        Standard deviation of the noise.
    falling : float
        The noise's amplitude falls with |k| to this power; 0 is white.
    neighbours : int
        How many other molecules there are, as large and as strong, each of another
        kind. They lie at random, and do not touch the copies or each other.
    membranes : int
        How many membranes: pieces of spheres of 40 to 150 nm through random points, of
        two leaflets 4 nm apart, half as dense as the molecule where that is densest.
        They end where a molecule or bead is.
    beads : int
        How many beads of gold, which touch nothing else.
    bead_radius : float
        nm.
    bead_contrast : float
        A bead's density, in units of the molecule's largest.
    seed : int
        Of the random numbers; the same gives the same tomogram. What is added by one
        option changes nothing of the noise.
    out : array-like, optional
        Of the tomogram's shape, of floating-point numbers, such as the data of an MRC
        file in ``mrcfile.new_mmap``. It is filled some sections at a time, with the
        very numbers that a new array would get, and returned.
    executor : concurrent.futures.Executor, optional
        Where copies are drawn, and multiplied by their H; see `align`. The tomogram is
        the same whatever it is.

    Returns
    -------
    (z, y, x) array of float32
        Or ``out``.

    Raises
    ------
    TypeError, ValueError
        If the molecule is none, there is no room for what is to be added, or ``out`` is
        of another shape or of whole numbers.

    Notes
    -----
    A copy with its own defocus is multiplied by its H in a box that reaches farther
    than the copy by its extent and by λ Δf k at Nyquist's frequency k, though no larger
    than the tomogram where the copy is not; what is spread beyond is left out, at 3 µm
    and 0.5 or 1 nm a voxel 0.4 % of an image's largest voxel at the most, 1.7 % in the
    root mean square. A membrane has the defocus of its point throughout. White noise is
    drawn some sections at a time, whatever ``out`` is; coloured noise and all densities
    are in memory as a whole.

    Examples
    --------
    >>> import funpipe as fp
    >>> one = fp.Molecules([[8.0, 8.0, 8.0]])
    >>> ball = fp.from_gaussian(8.0, 1.0)  # with any converters before it
    >>> tomogram(ball, one, (16, 16, 16), 1.0, noise=0.1).shape
    (16, 16, 16)

    Straight to a file:

    >>> import mrcfile, tempfile
    >>> path = f"{tempfile.mkdtemp()}/tomogram.mrc"
    >>> series = fp.tilt_series(range(-60, 61, 3), defocus=3.0)
    >>> with mrcfile.new_mmap(path, (16, 16, 16), mrc_mode=2) as file:
    ...     _ = tomogram(ball, one, (16, 16, 16), 1.0, tilt=series, out=file.data)
    ...     file.voxel_size = 10.0  # Å
    ...     file.update_header_stats()
    """
    executor = check.executor("executor", executor)
    body = drawn("molecule", molecule, scale)
    weights = as_tilt("tilt", tilt)
    falling = check.number("falling", falling)
    bead = Ball(
        check.positive("bead_radius", bead_radius),
        check.number("bead_contrast", bead_contrast),
    )
    counts = [
        check.whole_number("neighbours", neighbours),
        check.whole_number("membranes", membranes),
        check.whole_number("beads", beads),
    ]
    shape = check.shape("shape", shape)
    if out is not None:
        _check_out(out, shape)
    poses = zip(molecules.positions, molecules.rotations, strict=True)
    crowd = Crowd(shape, scale, tuple(Copy(body, *each) for each in poses))
    spread: tuple[Sheet, ...] = ()
    if any(counts):
        one, another, third = map(
            np.random.default_rng, np.random.SeedSequence(seed).spawn(3)
        )
        crowd = neighbours_among(crowd, body, counts[0], one)
        bead = bead._replace(density=bead.density * densest(body, scale))
        crowd = beads_among(crowd, bead, counts[2], third)
        spread = sheets(crowd, body, counts[1], another)
    if isinstance(weights, TiltSeries) and weights.transfers:
        measured = _each_seen(crowd, spread, weights, 2 * reach_of(body), executor)
    else:
        measured = _all_seen(crowd, spread, weights, 2 * reach_of(body), executor)
    return _noisy(measured, scale, noise, falling, seed, out)


def _check_out(out: Any, shape: Shape) -> None:
    wanted = f"an array-like of floating-point numbers, of shape {shape}"
    if not check.has(out, "shape", "dtype", "__setitem__"):
        fail("out", wanted, out)
    if tuple(out.shape) != shape or np.dtype(out.dtype).kind != "f":
        fail("out", wanted, out)
    if isinstance(out, np.ndarray) and not out.flags.writeable:
        raise ValueError("out must be an array that can be written to")


def _all_seen(
    crowd: Crowd,
    spread: Sequence[Sheet],
    tilt: Tilt,
    extent: float,
    executor: Executor | None,
) -> NDArray[np.float64]:
    """Return what a tilt that is the same everywhere leaves of all there is."""
    density = np.zeros(crowd.shape, np.float32)
    add_copies(density, crowd, None, executor)
    _add_sheets(density, spread, crowd)
    if isinstance(tilt, TiltSeries):
        tilt = tilt.at(np.zeros((1, 3)), extent)
    return seen_through(tilt, density, crowd.scale)


def _each_seen(
    crowd: Crowd,
    spread: Sequence[Sheet],
    series: TiltSeries,
    extent: float,
    executor: Executor | None,
) -> NDArray[np.float64]:
    """Return what a tilt series leaves of each body, and of each membrane."""
    found = np.zeros(crowd.shape)
    add_copies(found, crowd, series, executor)
    middle = centre(crowd.shape) * crowd.scale
    for sheet in spread:
        density = np.zeros(crowd.shape, np.float32)
        _add_sheets(density, [sheet], crowd)
        seen = series.at(sheet.point[None] - middle, extent)
        found += seen_through(seen, density, crowd.scale)
    return found


def _add_sheets(density: Array, spread: Sequence[Sheet], crowd: Crowd) -> None:
    if spread:
        clear = cut_out(crowd)
        for each in spread:
            add_sheet(density, each, crowd.scale, clear)


def _noisy(
    measured: Array, scale: float, noise: float, falling: float, seed: int, out: Any
) -> Any:
    """Put a density and noise into ``out``, or a new array, some sections at a time.

    The white noise that is drawn in parts is that which is drawn at once.
    """
    random, shape = np.random.default_rng(seed), measured.shape
    if out is None:
        out = np.empty(shape, np.float32)
    if falling:
        waves = scipy.fft.rfftn(random.standard_normal(shape))
        waves *= noise * colour(fourier_vectors(shape, scale), falling)
        measured = measured + scipy.fft.irfftn(waves, s=shape)
    step = max(1, _SLAB // (shape[1] * shape[2]))
    for start in range(0, shape[0], step):
        some = slice(start, min(start + step, shape[0]))
        slab = measured[some]
        if not falling:
            slab = slab + noise * random.standard_normal(slab.shape)
        out[some] = slab.astype(np.float32)
    return out


def perturbed(
    molecules: Molecules, shift: float, angle: float, seed: int = 0
) -> Molecules:
    """Return molecules moved and turned at random.

    Parameters
    ----------
    molecules : Molecules
        The truth.
    shift : float
        Each coordinate moves by up to so many nm either way.
    angle : float
        Each is turned by up to so many degrees about a random axis.
    seed : int
        Of the random numbers.
    """
    from scipy.spatial.transform import Rotation

    random = np.random.default_rng(seed)
    axes = random.normal(size=(len(molecules), 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    angles = random.uniform(0, angle, (len(molecules), 1))
    turned = molecules.rotations * Rotation.from_rotvec(axes * angles, degrees=True)
    moved = molecules.positions + random.uniform(-shift, shift, (len(molecules), 3))
    return Molecules(moved, turned, molecules.features)
