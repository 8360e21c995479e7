"""Simulated particles: subtomograms of a molecule at poses that are known."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.base import arguments as check
from funpipe.jobs.running import run
from funpipe.jobs.working import memory_for
from funpipe.simulate.drawing import numbered
from funpipe.simulate.images import Body, drawn, image_of
from funpipe.simulate.seen import colour, left, seen_at
from funpipe.space.fourier import fourier_vectors
from funpipe.space.tilts import Tilt, as_tilt
from funpipe.space.transfer import taken

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = ["Particles", "particles"]


class Particles(NamedTuple):
    """Simulated subtomograms and their truth."""

    boxes: NDArray[np.float32]
    """(n, z, y, x)."""
    orientations: Rotation
    """n, from the particles' frames to the tomogram's."""
    rotations: Rotation
    """n, template to box."""
    shifts: NDArray[np.float64]
    """(n, 3), nm, z, y, x."""


@memory_for("particles", "a smaller shape or count")
def particles(
    molecule: Any,
    shape: tuple[int, int, int],
    scale: float,
    count: int,
    *,
    angle: float = 10.0,
    shift: float = 2.0,
    tilt: Any = (-60, 60),
    places: Any = None,
    noise: float = 0.0,
    falling: float = 0.0,
    seed: int = 0,
    executor: Executor | None = None,
) -> Particles:
    """Make subtomograms at random poses, with a missing wedge and noise.

    Parameters
    ----------
    molecule : Blobs, (z, y, x) array at this scale, or provider
        What is in them; a map is turned as in `map_image`.
    shape : (int, int, int)
        Voxels of a box along z, y, x.
    scale : float
        nm per voxel.
    count : int
        How many.
    angle : float
        Each is turned by up to so many degrees about a random axis; 180 makes all
        orientations equally likely.
    shift : float
        Each coordinate is moved by up to so many nm either way.
    tilt : None, (float, float), tilt weights, or tilt_series
        What the tilt series measures; see `align`. Particles lie in it at random. Of a
        `tilt_series` what it leaves of each wave, H, is signed; boxes are their extent.
    places : (n, 3) array, optional
        Where the particles are, nm from the tomogram's centre, z, y, x, so that a
        `tilt_series` has the defocus that is there. None: all at the centre.
    noise : float
        Standard deviation of the noise.
    falling : float
        The noise's amplitude falls with |k| to this power; 0 is white.
    seed : int
        Of the random numbers.
    executor : concurrent.futures.Executor, optional
        Where images are made, and multiplied by their H; see `align`. The particles are
        the same whatever it is.

    Raises
    ------
    TypeError, ValueError
        If the molecule is none, or places are not as many as particles.

    Examples
    --------
    >>> import funpipe as fp
    >>> from funpipe.simulate import asymmetric_molecule
    >>> series = fp.tilt_series(range(-60, 61, 3), defocus=3.0)
    >>> made = particles(asymmetric_molecule(), (16, 16, 16), 1.2, 2, tilt=series)
    >>> made.boxes.shape
    (2, 16, 16, 16)
    """
    from scipy.spatial.transform import Rotation

    executor = check.executor("executor", executor)
    body = drawn("molecule", molecule, scale)
    random = np.random.default_rng(seed)
    axes = random.normal(size=(count, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    angles = random.uniform(0, angle, (count, 1))
    rotations = Rotation.from_rotvec(axes * angles, degrees=True)
    if angle >= 180:
        rotations = Rotation.random(count, rng=random)
    shifts = random.uniform(-shift, shift, (count, 3))
    orientations = Rotation.random(count, rng=random)
    seen = seen_at(as_tilt("tilt", tilt), places, count, min(shape) * scale)
    shades = colour(fourier_vectors(shape, scale), falling)
    boxes = np.empty((count, *shape), np.float32)
    poses = _Poses(rotations, shifts, orientations)
    task = partial(_waves, body=body, poses=poses, shape=shape, scale=scale, tilt=seen)
    parts = partial(numbered, [math.prod(shape)] * count)
    with closing(run(task, parts, executor)) as found:
        for i, waves in itertools.chain.from_iterable(map(dict.items, found)):
            grains = random.standard_normal(shape)  # in the order of the particles
            noisy = waves + noise * shades * scipy.fft.rfftn(grains)
            boxes[i] = scipy.fft.irfftn(noisy, s=shape)
    return Particles(boxes, orientations, rotations, shifts)


class _Poses(NamedTuple):
    """See `Particles`."""

    rotations: Rotation
    shifts: NDArray[np.float64]
    orientations: Rotation


def _waves(
    part: range,
    *,
    body: Body,
    poses: _Poses,
    shape: tuple[int, int, int],
    scale: float,
    tilt: Tilt,
    go_on: Callable[[], None],
) -> dict[int, NDArray[np.complex128]]:
    """Return what a tilt leaves of some particles' waves, by their numbers."""
    found = {}
    k = fourier_vectors(shape, scale)
    for i in part:
        go_on()
        image = image_of(body, shape, scale, poses.rotations[i], poses.shifts[i])
        turned = np.tensordot(poses.orientations[i].as_matrix(), k, axes=1)
        found[i] = left(taken(tilt, [i]), turned, go_on) * scipy.fft.rfftn(image)
    return found
