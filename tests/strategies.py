"""Hypothesis strategies for arbitrary pipelines made of the package's own stages.

All providers give the same box of 3 x 4 x 5 nm and all converters keep its shape, so
that any of them go together. At the scales drawn here a box has 3 to 7 voxels a side.
"""

from __future__ import annotations

import atexit
import functools
import math
import operator
import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

import funpipe as fp
from funpipe.io.volumes import write_mrc

SCALES = (1.0, 0.9, 0.8, 0.75)  # nm per voxel
BOX = (3.0, 4.0, 5.0)  # nm
SHAPE = (3, 4, 5)  # its voxels at 1 nm

scales = st.sampled_from(SCALES)
numbers = st.one_of(
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


# Arrays.


def _array(seed: int, kind: str, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    random = np.random.default_rng(seed)
    if kind == "noise":
        return random.normal(size=shape)
    if kind == "counts":
        return random.integers(-3, 4, shape)
    if kind == "mask":
        return random.random(shape) < 0.4
    return np.full(shape, seed % 5, np.float32)


seeds = st.integers(0, 2**16)
kinds = st.sampled_from(["noise", "counts", "mask", "constant"])
images = st.builds(_array, seeds, kinds)
inputs = st.builds(  # of a converter: an image of the box, and its scale
    lambda seed, kind, scale: (
        _array(seed, kind, tuple(math.floor(n / scale + 0.5) for n in BOX)),
        scale,
    ),
    seeds,
    kinds,
    scales,
)
small_arrays = st.builds(_array, seeds, kinds, st.sampled_from([(), (1, 1, 1)]))


@functools.cache
def _file(seed: int) -> str:
    """Write one of a few files; the same seed gives the same file."""
    path = _folder() / f"{seed}.mrc"
    write_mrc(path, np.asarray(_array(seed, "noise"), np.float32), 1.0)
    return str(path)


@functools.cache
def _folder() -> Path:
    folder = tempfile.mkdtemp(prefix="funpipe-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


files = st.integers(0, 3).map(_file)


# Providers.


def _atoms(seed: int, sigma: float | None, weighted: bool) -> fp.ImageProvider:
    random = np.random.default_rng(seed)
    weights = random.random(4) if weighted else None
    atoms = fp.from_atoms(random.normal(size=(4, 3)), weights, sigma=sigma)
    return fp.crop_or_pad(BOX) @ atoms


sources = st.one_of(
    st.builds(fp.from_array, images),
    st.builds(fp.from_array, images, scale=st.just(1), tol=st.just(1e-3)),
    st.builds(fp.from_gaussian, st.just(BOX), lengths, vectors),
    st.builds(_atoms, seeds, st.none() | lengths, st.booleans()),
    st.builds(fp.from_file, files),
)
lists_of_images = st.lists(images, min_size=1, max_size=3)
many_sources = st.one_of(
    st.builds(fp.from_arrays, lists_of_images),
    st.builds(fp.from_files, st.lists(files, min_size=1, max_size=2)),
)


# Converters.


def _centred_ball(radius: float, shift: tuple[float, ...]) -> fp.ImageConverter:
    return fp.center_by_mass() @ fp.sphere(radius, shift) + 0.5


filters = st.one_of(
    st.builds(fp.gaussian_filter, lengths, modes, distances),
    st.builds(fp.lowpass_filter, lengths, st.integers(1, 4)),
    st.builds(fp.highpass_filter, lengths, st.integers(1, 4)),
    st.builds(fp.bandpass_filter, lengths, lengths),
)
movements = st.one_of(
    st.builds(fp.shift, vectors, orders, modes, distances),
    st.builds(fp.rotate, vectors.map(lambda v: tuple(90 * x for x in v)), orders),
    st.builds(fp.symmetrize, st.sampled_from(["C1", "C3", "D2"])),
    st.builds(fp.crop_or_pad, st.just(BOX)),
)
contrasts = st.one_of(st.builds(fp.normalize), st.builds(fp.invert))
balls = st.builds(_centred_ball, st.floats(1, 3), st.just((0.25, 0.5, 0.0)))
crisp_masks = st.one_of(
    st.builds(fp.threshold, distances),
    st.builds(fp.threshold_otsu, st.integers(2, 256)),
    st.builds(fp.dilation, distances),
    st.builds(fp.closing, distances),
    st.builds(fp.sphere, lengths, vectors),
    st.builds(fp.cylinder, lengths, lengths, st.sampled_from(["z", "y", "x"])),
)
soft_masks = st.one_of(
    st.builds(fp.gaussian_smooth, lengths),
    st.builds(fp.cosine_edge, lengths),
    st.builds(fp.soft_otsu, lengths, distances),
)
stages = st.one_of(filters, movements, contrasts, balls, crisp_masks, soft_masks)


# Pointwise combinations, and all of these nested.

# Each beside what it does to two images.
TAME = [
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
WILD = [(operator.truediv, np.true_divide), (operator.pow, np.power)]
UNARY = [
    (operator.neg, np.negative),
    (operator.abs, np.abs),
    (operator.invert, lambda image: np.float32(1) - image),
    (fp.lift(np.tanh), np.tanh),
]
binary_operations = st.sampled_from(TAME + WILD)  # wild: NaN and infinity may come out
unary_operations = st.sampled_from(UNARY)
_binary = st.sampled_from([function for function, _ in TAME])
_unary = st.sampled_from([function for function, _ in UNARY])


def _combine(function, left, right, swap):
    return function(right, left) if swap else function(left, right)


def _combinations(pipelines, others):
    return st.one_of(
        st.builds(lambda function, p: function(p), _unary, pipelines),
        st.builds(_combine, _binary, pipelines, others, st.booleans()),
    )


def _nested_converters(inner):
    return st.one_of(
        st.builds(operator.matmul, inner, inner),
        _combinations(inner, inner | numbers | small_arrays | sources),
    )


def _nested_providers(inner):
    return st.one_of(
        st.builds(operator.matmul, converters, inner),
        _combinations(inner, inner | numbers | small_arrays),
    )


converters = st.recursive(
    st.one_of(stages, st.just(fp.identity)), _nested_converters, max_leaves=3
)
providers = st.recursive(sources, _nested_providers, max_leaves=3)
many_providers = st.recursive(
    many_sources,
    lambda inner: st.one_of(
        st.builds(operator.matmul, converters, inner),
        _combinations(inner, numbers | sources),
    ),
    max_leaves=2,
)
one_image = converters | providers
pipelines = st.one_of(providers, converters, many_providers)
masks = st.one_of(  # from 0 to 1, as converters
    crisp_masks, soft_masks, st.builds(operator.and_, crisp_masks, soft_masks)
)
