"""Hypothesis strategies for scales, images, stages and arbitrary pipelines of them.

All providers give the same box of 3 x 4 x 5 nm and all converters keep its shape, so
that any of them go together. At the scales drawn here a box has 3 to 7 voxels a side.

Pipelines are made of the package's own stages; `converters_of` and `providers_of` make
them of others. The extra ``testing`` brings hypothesis.

Examples
--------
A law of one's own, for all pipelines that contain one's own stage:

>>> from hypothesis import given
>>> own = st.builds(fp.cosine_edge, lengths)
>>> @given(converters_of(own), inputs)
... def test_nothing_is_below_0(f, at):
...     image, scale = at
...     assert (abs(f)(image, scale) >= 0).all()
>>> test_nothing_is_below_0()
"""

from __future__ import annotations

import atexit
import functools
import math
import operator
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import mrcfile
import numpy as np
from numpy.typing import NDArray

import funpipe as fp
from funpipe.base.extras import require

# Before the import below, whose own error would not name the extra.
require("hypothesis", "testing", "for funpipe.testing.strategies")

from hypothesis import strategies as st  # noqa: E402

__all__ = [
    "BOX",
    "SCALES",
    "SHAPE",
    "TAME",
    "UNARY",
    "WILD",
    "binary_operations",
    "contrasts",
    "converters",
    "converters_of",
    "crisp_masks",
    "distances",
    "files",
    "filters",
    "images",
    "inputs",
    "lengths",
    "many_providers",
    "many_sources",
    "masks",
    "modes",
    "movements",
    "numbers",
    "one_image",
    "operands",
    "orders",
    "physics",
    "pipelines",
    "providers",
    "providers_of",
    "scales",
    "seeds",
    "shapes",
    "small_arrays",
    "soft_masks",
    "sources",
    "stages",
    "unary_operations",
    "vectors",
]

Array: TypeAlias = NDArray[Any]
Strategy: TypeAlias = st.SearchStrategy[Any]
Converters: TypeAlias = st.SearchStrategy[fp.ImageConverter]
Providers: TypeAlias = st.SearchStrategy[fp.ImageProvider]
Function: TypeAlias = Callable[..., Any]

SCALES = (1.0, 0.9, 0.8, 0.75)  # nm per voxel
BOX = (3.0, 4.0, 5.0)  # nm
SHAPE = (3, 4, 5)  # its voxels at 1 nm

scales = st.sampled_from(SCALES)
numbers: Strategy = st.one_of(
    st.sampled_from([-1.0, 0.0, 0.5, 1.0]),
    st.integers(-2, 2),
    st.floats(-2, 2, width=32),
    st.floats(-2, 2, width=32).map(np.float32),
    st.booleans(),
)
lengths = st.floats(0.25, 3).map(lambda x: round(x, 2))  # nm
distances = st.floats(-2, 2).map(lambda x: round(x, 2))  # nm, either way
vectors = st.tuples(distances, distances, distances)
orders = st.sampled_from([0, 1, 3])
modes = st.sampled_from(["reflect", "constant", "nearest", "mirror", "wrap"])
seeds = st.integers(0, 2**32 - 1)


def shapes(most: int) -> st.SearchStrategy[tuple[int, int, int]]:
    """Return a strategy for boxes of 1 to ``most`` voxels a side.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(shapes(3), lambda shape: sum(shape) > 8)
    (3, 3, 3)
    """
    sizes = st.integers(1, most)
    return st.tuples(sizes, sizes, sizes)


# Arrays.


def _array(seed: int, kind: str, shape: tuple[int, ...] = SHAPE) -> Array:
    random = np.random.default_rng(seed)
    if kind == "noise":
        return random.normal(size=shape)
    if kind == "counts":
        return random.integers(-3, 4, shape)
    if kind == "mask":
        return random.random(shape) < 0.4
    return np.full(shape, seed % 5, np.float32)


_kinds = st.sampled_from(["noise", "counts", "mask", "constant"])
images = st.builds(_array, seeds, _kinds)
inputs = st.builds(  # of a converter: an image of the box, and its scale
    lambda seed, kind, scale: (
        _array(seed, kind, tuple(math.floor(n / scale + 0.5) for n in BOX)),
        scale,
    ),
    seeds,
    _kinds,
    scales,
)
small_arrays = st.builds(_array, seeds, _kinds, st.sampled_from([(), (1, 1, 1)]))


@functools.cache
def _file(seed: int) -> str:
    """Write one of a few files; the same seed gives the same file."""
    path = _folder() / f"{seed}.mrc"
    image = _array(seed, "noise").astype(np.float32)
    mrcfile.write(path, image, voxel_size=10.0)  # Å
    return str(path)


@functools.cache
def _folder() -> Path:
    folder = tempfile.mkdtemp(prefix="funpipe-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


files = st.integers(0, 3).map(_file)  # paths, to MRC files of 1 nm per voxel


# Stages.


def _atoms(seed: int, sigma: float | None, weighted: bool) -> fp.ImageProvider:
    random = np.random.default_rng(seed)
    weights = random.random(4) if weighted else None
    atoms = fp.from_atoms(random.normal(size=(4, 3)), weights, sigma=sigma)
    return fp.crop_or_pad(BOX) @ atoms


def _centred_ball(radius: float, shift: tuple[float, ...]) -> fp.ImageConverter:
    return fp.center_by_mass() @ fp.sphere(radius, shift) + 0.5


def _quarters(vector: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(90 * each for each in vector)


sources: Providers = st.one_of(
    st.builds(fp.from_array, images),
    st.builds(fp.from_array, images, scale=st.just(1), tol=st.just(1e-3)),
    st.builds(fp.from_gaussian, st.just(BOX), lengths, vectors),
    st.builds(_atoms, seeds, st.none() | lengths, st.booleans()),
    st.builds(fp.from_file, files),
)
many_sources: Providers = st.one_of(
    st.builds(fp.from_arrays, st.lists(images, min_size=1, max_size=3)),
    st.builds(fp.from_files, st.lists(files, min_size=1, max_size=2)),
)
filters: Converters = st.one_of(
    st.builds(fp.gaussian_filter, lengths, modes, distances),
    st.builds(fp.lowpass_filter, lengths, st.integers(1, 4)),
    st.builds(fp.highpass_filter, lengths, st.integers(1, 4)),
    st.builds(fp.bandpass_filter, lengths, lengths),
)
tilts: Strategy = st.one_of(
    st.sampled_from([(-60, 60), (-40.0, 50.5)]),
    st.builds(fp.single_axis, st.just((-60, 45)), st.sampled_from(["y", "x"])),
    st.builds(fp.dual_axis),
    st.builds(fp.tilt_series, st.just((-60, 0, 60)), defocus=st.none() | lengths),
)
physics: Converters = st.one_of(
    st.builds(fp.ctf_filter, distances, phase_flipped=st.booleans()),
    st.builds(fp.dose_filter, lengths),
    st.builds(fp.wedge_filter, tilts),
)
movements: Converters = st.one_of(
    st.builds(fp.shift, vectors, orders, modes, distances),
    st.builds(fp.rotate, vectors.map(_quarters), orders),
    st.builds(fp.symmetrize, st.sampled_from(["C1", "C3", "D2"])),
    st.builds(fp.crop_or_pad, st.just(BOX)),
    st.builds(_centred_ball, st.floats(1, 3), st.just((0.25, 0.5, 0.0))),
)
contrasts: Converters = st.builds(fp.normalize) | st.builds(fp.invert)
crisp_masks: Converters = st.one_of(
    st.builds(fp.threshold, distances),
    st.builds(fp.threshold_otsu, st.integers(2, 256)),
    st.builds(fp.dilation, distances),
    st.builds(fp.closing, distances),
    st.builds(fp.sphere, lengths, vectors),
    st.builds(fp.cylinder, lengths, lengths, st.sampled_from(["z", "y", "x"])),
)
soft_masks: Converters = st.one_of(
    st.builds(fp.gaussian_smooth, lengths),
    st.builds(fp.cosine_edge, lengths),
    st.builds(fp.soft_otsu, lengths, distances),
)
stages: Converters = st.one_of(
    filters, physics, movements, contrasts, crisp_masks, soft_masks
)


# Pointwise operations, each beside what it does to images.

TAME: list[tuple[Function, Function]] = [
    (operator.add, np.add),
    (operator.sub, np.subtract),
    (operator.mul, np.multiply),
    (operator.and_, np.minimum),
    (operator.or_, np.maximum),
    (operator.lt, np.less),
    (operator.le, np.less_equal),
    (operator.gt, np.greater),
    (operator.ge, np.greater_equal),
    (fp.lift(np.hypot), np.hypot),
    (fp.lift(np.minimum), np.minimum),
]
WILD: list[tuple[Function, Function]] = [  # NaN and infinity may come out
    (operator.truediv, np.true_divide),
    (operator.pow, np.power),
]
UNARY: list[tuple[Function, Function]] = [
    (operator.neg, np.negative),
    (operator.abs, np.abs),
    (operator.invert, lambda image: np.float32(1) - image),
    (fp.lift(np.tanh), np.tanh),
]
binary_operations = st.sampled_from(TAME + WILD)
unary_operations = st.sampled_from(UNARY)
operands: Strategy = st.one_of(numbers, small_arrays, sources)  # beside a converter


# Pipelines.


def _binary(operation: Any, left: Any, right: Any, swap: bool) -> Any:
    function, _ = operation
    return function(right, left) if swap else function(left, right)


def _unary(operation: Any, pipeline: Any) -> Any:
    function, _ = operation
    return function(pipeline)


def _combined(pipelines: Strategy, others: Strategy) -> Strategy:
    binary = st.sampled_from(TAME)
    return st.one_of(
        st.builds(_unary, unary_operations, pipelines),
        st.builds(_binary, binary, pipelines, others, st.booleans()),
    )


def converters_of(stages: Strategy) -> Converters:
    """Return a strategy for converters: stages composed and combined, nested.

    Parameters
    ----------
    stages : strategy for ImageConverter
        They keep the shape of a box.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(converters_of(st.builds(fp.dilation, lengths)), lambda f: f != fp.identity)
    dilation(1.0)
    """
    return st.recursive(
        stages | st.just(fp.identity),
        lambda inner: st.one_of(
            st.builds(operator.matmul, inner, inner),
            _combined(inner, inner | operands),
        ),
        max_leaves=3,
    )


def providers_of(sources: Strategy, stages: Strategy = stages) -> Providers:
    """Return a strategy for providers: stages after sources, and combined, nested.

    Parameters
    ----------
    sources : strategy for ImageProvider
        They give one image, of one shape at each scale.
    stages : strategy for ImageConverter
        They keep the shape of a box.

    Examples
    --------
    >>> blobs = st.builds(fp.from_gaussian, st.just(BOX), lengths)
    >>> from hypothesis import find
    >>> find(providers_of(blobs), lambda p: True)
    from_gaussian((3.0, 4.0, 5.0))
    """
    after = converters_of(stages)
    return st.recursive(
        sources,
        lambda inner: st.one_of(
            st.builds(operator.matmul, after, inner),
            _combined(inner, inner | numbers | small_arrays),
        ),
        max_leaves=3,
    )


converters = converters_of(stages)
providers = providers_of(sources)
many_providers: Providers = st.recursive(
    many_sources,
    lambda inner: st.one_of(
        st.builds(operator.matmul, converters, inner),
        _combined(inner, numbers | sources),
    ),
    max_leaves=2,
)
one_image: Strategy = converters | providers
pipelines: Strategy = st.one_of(providers, converters, many_providers)
masks: Converters = st.one_of(  # from 0 to 1
    crisp_masks, soft_masks, st.builds(operator.and_, crisp_masks, soft_masks)
)
