"""Copies drawn into a density: their images made in any executor, added in order.

A worker gets the crowd, in which a body that many copies have stands once, and then the
numbers of some copies; what comes back is their images, not the tomogram.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

from funpipe.jobs.running import run
from funpipe.simulate.crowds import Copy, Crowd, overlap
from funpipe.simulate.images import image_of, reach_of
from funpipe.simulate.seen import seen_through
from funpipe.space.geometry import centre
from funpipe.space.optics import NM_PER_UM, phase_rates
from funpipe.space.transfer import TiltSeries

__all__ = ["add_copies", "numbered"]

Array: TypeAlias = NDArray[Any]
Shape: TypeAlias = tuple[int, int, int]
Slices: TypeAlias = tuple[slice, ...]

_TOGETHER = 2**19  # voxels of images that are made as one part, or a single image


def add_copies(
    density: Array, crowd: Crowd, series: TiltSeries | None, executor: Executor | None
) -> None:
    """Add a crowd's copies to a density, in their order; what leaves it is cut off.

    With a series each is what that leaves of it, with the defocus of its place.
    """
    halves = [_half(each, crowd, series) for each in crowd.copies]
    sizes = [math.prod(_box(each)) for each in halves]
    task = partial(_images, crowd=crowd, halves=halves, series=series)
    with closing(run(task, partial(numbered, sizes), executor)) as found:
        for images in found:
            for number, image in images.items():
                there, _ = _lies(crowd.copies[number], halves[number], crowd)
                density[there] += image


def numbered(sizes: Sequence[int], folder: Path | None) -> Iterator[range]:
    """Yield the numbers of images of so many voxels that are made as one part."""
    start, together = 0, 0
    for number, size in enumerate(sizes):
        if together and together + size > _TOGETHER:
            yield range(start, number)
            start, together = number, 0
        together += size
    if together:
        yield range(start, len(sizes))


def _images(
    part: range,
    *,
    crowd: Crowd,
    halves: Sequence[Shape],
    series: TiltSeries | None,
    go_on: Callable[[], None],
) -> dict[int, Array]:
    """Return what of some copies' images lies in the tomogram, by their numbers."""
    found = {}
    for number in part:
        go_on()
        copy, half = crowd.copies[number], halves[number]
        image: Array = _image(copy, crowd.scale)
        if series is not None:
            image = np.pad(image, [(n - len(image) // 2,) * 2 for n in half])
            place = copy.position[None] - centre(crowd.shape) * crowd.scale
            tilt = series.at(place, 2 * reach_of(copy.body))
            image = seen_through(tilt, image, crowd.scale, go_on)
        _, here = _lies(copy, half, crowd)
        found[number] = image[here]
    return found


def _image(copy: Copy, scale: float) -> NDArray[np.float32]:
    """Return a copy's image in a box as large as it, its voxel in the middle."""
    beside = copy.position - np.round(copy.position / scale).astype(int) * scale
    box = _box((_reach(copy, scale),) * 3)
    return image_of(copy.body, box, scale, copy.rotation, beside)


def _lies(copy: Copy, half: Shape, crowd: Crowd) -> tuple[Slices, Slices]:
    """Return where in the tomogram a copy's image lies, and which part of it."""
    voxel = np.round(copy.position / crowd.scale).astype(int)
    return overlap(voxel, half, crowd.shape)


def _box(half: Shape) -> Shape:
    z, y, x = half
    return 2 * z + 1, 2 * y + 1, 2 * x + 1


def _reach(copy: Copy, scale: float) -> int:
    return math.ceil(reach_of(copy.body) / scale)


def _half(copy: Copy, crowd: Crowd, series: TiltSeries | None) -> Shape:
    """Return how far from its voxel a copy's image is cut off, after a series.

    Waves k are moved by the change of χ / 2π with k, λ Δf k − C_s λ³ k³.
    """
    scale, reach = crowd.scale, reach_of(copy.body)
    least = _reach(copy, scale)
    if series is None:
        return least, least, least
    height = float(np.linalg.norm(copy.position - centre(crowd.shape) * scale))
    focus = float(np.abs(np.array(series.defocus)).max()) + height / NM_PER_UM
    if series.astigmatism is not None:
        focus += float(np.abs(np.array(series.astigmatism)[:, 0]).max()) / 2
    per_defocus, fourth, _ = phase_rates(series.lens)
    k = 1 / (2 * scale)
    moved = (per_defocus * focus * k + 2 * abs(fourth) * k**3) / np.pi
    wanted = reach + (series.thickness or 2 * reach) + moved
    z, y, x = (
        _fast(max(least, min(math.ceil(wanted / scale), n // 2))) for n in crowd.shape
    )
    return z, y, x


def _fast(half: int) -> int:
    """Return the next half of which a box of 2 half + 1 is transformed fast."""
    while scipy.fft.next_fast_len(2 * half + 1, real=True) != 2 * half + 1:
        half += 1
    return half
