"""What numba compiles does what NumPy and SciPy do, and what is done without it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.engine import gauss_newton
from funpipe.engine.bank import template_bank
from funpipe.engine.gauss_newton import Poses, Spectra
from funpipe.engine.matching import match
from funpipe.engine.shells import shell_edges
from funpipe.engine.spectra import sample, template_fields
from funpipe.simulate import asymmetric_molecule, blob_image, particles
from funpipe.space.crops import Crops, Support, spectra, whole_box, whole_boxes
from funpipe.space.fourier import half_ball
from funpipe.space.geometry import rotation_grid
from funpipe.space.spectra import can_compile, fine_grid, quadrants
from funpipe.space.tilts import no_tilt

needs_numba = pytest.mark.skipif(not can_compile(), reason="numba is not installed")

SHAPE = (13, 12, 11)
TEMPLATE = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
FIELDS = template_fields(TEMPLATE, 0.4)
COMPILED = FIELDS._replace(compiled=True)
K = half_ball(SHAPE, 2.6) / np.array(SHAPE)
K = K[np.argsort((K**2).sum(axis=1), kind="stable")].astype(np.float32)


@given(
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    counts=st.tuples(*[st.integers(1, 4)] * 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_quadrants_are_sums_over_voxels(shape, counts, seed):
    random = np.random.default_rng(seed)
    images = random.standard_normal((2, *shape))
    axes = [random.random(count) for count in counts]
    q = np.moveaxis(np.indices(shape), 0, -1) - (np.array(shape) - 1) / 2
    found = [each.copy() for each in quadrants(images, shape, axes)]
    for y, x in np.ndindex(2, 2):
        signs = np.array([1, 1 - 2 * y, 1 - 2 * x])
        k = np.stack(np.meshgrid(*axes, indexing="ij"), -1) * signs
        waves = np.exp(-2j * np.pi * np.tensordot(k, q, axes=(3, 3)))
        for image, each in zip(images, found, strict=True):
            expected = np.tensordot(waves, image, axes=3)
            np.testing.assert_allclose(each[y, x], expected, atol=2e-5)


def test_a_grid_holds_its_finest_frequency_between_two_points():
    for finest in (0.1, 0.25, 0.49, 1 / 3):
        for axis in fine_grid((20, 33, 47), finest).axes():
            assert axis[-2] >= finest


@needs_numba
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 4))
def test_a_field_is_the_same_compiled(seed, count):
    points = np.random.default_rng(seed).uniform(-0.39, 0.39, (50, 3))
    expected = sample(points.astype(np.float32), FIELDS, count)
    found = sample(points.astype(np.float32), COMPILED, count)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@needs_numba
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -1e9, 0.5, -0.5])
def test_no_point_is_sampled_outside_the_grid(value):
    points = np.zeros((7, 3), np.float32)
    points[3] = value
    found = sample(points, COMPILED)
    assert np.isfinite(found[[0, 1, 2, 4, 5, 6]]).all()
    assert np.isfinite(value) or not np.isfinite(found[3]).any()


@needs_numba
def test_crops_have_the_same_spectra_compiled():
    random = np.random.default_rng(2)
    turns = Rotation.random(3, rng=3).as_matrix()
    values = random.standard_normal((3, 15, 15, 15)).astype(np.float32)
    crops = Crops(values, random.uniform(-0.5, 0.5, (3, 3)), turns)
    support = Support((12.0,) * 3, 4.0, (12,) * 3)
    expected = spectra(crops, K, support)
    found = spectra(crops, K, support, compiled=True)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@needs_numba
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 5))
def test_the_products_of_poses_are_the_same_compiled(seed, count):
    random = np.random.default_rng(seed)
    parts = random.standard_normal((2, 2, len(K))).astype(np.float32)
    W = random.random((2, len(K))).astype(np.float32) * (random.random(len(K)) < 0.7)
    data = Spectra(K, parts[0] + 1j * parts[1], W)
    edges = shell_edges(K)
    poses = Poses(
        random.integers(0, 2, count),
        np.zeros(count, int),
        Rotation.random(count, rng=seed).as_matrix(),
        random.uniform(-3, 3, (count, 3)),
        np.zeros(count),
    )
    expected, found = (
        gauss_newton._gram(poses, gauss_newton._Data(data, field, edges, W))
        for field in (FIELDS, COMPILED)
    )
    own = np.sqrt(np.einsum("qsii->qsi", expected[..., :8]))
    other = np.concatenate([own, 4 * own[..., 7:].repeat(3, -1)], -1)
    bound = 1e-5 * own[..., :, None] * other[..., None, :] + 1e-20
    assert (np.abs(found - expected) <= bound).all()


@needs_numba
@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    box=st.tuples(*[st.integers(1, 5)] * 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_spline_is_that_of_scipy_also_beyond_the_block(shape, box, seed):
    from funpipe.space.compiled_splines import splined

    random = np.random.default_rng(seed)
    values = random.standard_normal(shape).astype(np.float32)
    turn = Rotation.random(rng=seed).as_matrix()
    corner = random.uniform(-6, 12, 3)
    found, expected = np.empty((2, *box), np.float32)
    splined(values, turn, corner, found)
    scipy.ndimage.affine_transform(
        values,
        turn,
        corner,
        output_shape=box,
        output=expected,
        order=3,
        mode="mirror",
        prefilter=False,
    )
    np.testing.assert_allclose(found, expected, atol=2e-6)


@needs_numba
@given(
    shape=st.tuples(*[st.integers(1, 40)] * 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_spline_coefficients_are_those_of_scipy(shape, seed):
    from funpipe.space.compiled_splines import prefiltered

    values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    expected = scipy.ndimage.spline_filter(values, 3, output=np.float64, mode="mirror")
    prefiltered(values)
    np.testing.assert_allclose(values, expected, atol=2e-6 * np.abs(expected).max())


BLOBS = asymmetric_molecule(3, radius=6.0, sigma=1.5, count=20)
BOX = (20, 20, 20)


def bank(**options):
    image = blob_image(BLOBS, BOX, 1.0)[None]
    grid = rotation_grid(((12, 6),) * 3)
    return template_bank(
        image, grid, (2.0,) * 3, 2.5, support=whole_box(BOX), **options
    )


KERNELS = """
import hashlib
import numpy as np
from funpipe.space.compiled import transferred
from funpipe.space.compiled_splines import prefiltered, splined
random = np.random.default_rng(0)
values = random.standard_normal((24, 24, 24)).astype(np.float32)
prefiltered(values)
turn = np.linalg.qr(random.standard_normal((3, 3)))[0]
image = np.zeros((40, 40, 40), np.float32)  # partly beyond the faces
splined(values, turn, np.array([12.0, 11.0, 3.0]) - turn @ np.full(3, 20.0), image)
angles = np.radians(np.linspace(-60, 60, 31))
rest = [random.random(31) for _ in range(4)]
tilts = np.stack([np.sin(angles), np.cos(angles), *rest], axis=1)
k = random.standard_normal((3, 5, 4000)).astype(np.float32)
found = np.zeros(k.shape[1:])
rates = np.array([1.0, 7.0, -0.1, 0.07, 1.0])
transferred(k, random.random((5, 31)), tilts, rates, 0.05, found)
for each in (values, image, found):
    print(hashlib.sha256(each.tobytes()).hexdigest())
"""


@needs_numba
def test_what_comes_from_disk_has_the_bits_of_what_was_compiled_now(tmp_path):
    variables = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    variables["PYTHONPATH"] = str(Path(fp.__file__).parents[1])
    run = [sys.executable, "-c", KERNELS]
    now, kept = (subprocess.check_output(run, env=variables) for _ in range(2))
    assert list(tmp_path.rglob("*.nbc")), "nothing is kept"
    assert now == kept


@needs_numba
def test_poses_are_the_same_compiled():
    made = particles(BLOBS, BOX, 1.0, 12, noise=0.02, shift=1.0, seed=4)
    crops = whole_boxes(made.boxes)
    identity = Rotation.identity(12)
    plain, fast = (
        match(crops, identity, bank=bank(compiled=each), tilt=no_tilt)
        for each in (False, True)
    )
    turn = (plain.rotations.inv() * fast.rotations).magnitude()
    assert np.degrees(turn).max() < 0.01
    np.testing.assert_allclose(fast.shifts, plain.shifts, atol=1e-3)
    np.testing.assert_allclose(fast.scores, plain.scores, atol=1e-5)


def test_what_is_there_is_used():
    assert bank().compiled == can_compile()


def test_without_numba_a_bank_for_it_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    for module in ("funpipe.space.compiled", "funpipe.engine.compiled"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(ImportError, match=r"numba is .* 'funpipe\[fast\]'"):
        sample(K, COMPILED)


def test_without_numba_poses_are_found_all_the_same(monkeypatch):
    monkeypatch.setattr("funpipe.engine.bank.can_compile", lambda: False)
    image = blob_image(BLOBS, BOX, 1.0)
    found = fp.align_subtomograms(
        image[None], template=image, scale=1.0, progress=False
    )
    assert found.scores[0] > 0.99
