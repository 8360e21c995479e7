"""Image providers, against formulas and real files."""

from __future__ import annotations

import bz2
import gzip
import math
import time

import mrcfile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from images import moments, noise
from real_files import DATA, needs_data

import funpipe as fp
from funpipe.io.structures import read_structure
from funpipe.io.volumes import read_volume, write_mrc
from funpipe.space.fourier import resample
from funpipe.space.geometry import offsets
from funpipe.testing.strategies import seeds, shapes

MAPS = DATA / "maps"
STRUCTURES = DATA / "structures"

scales = st.floats(0.3, 2).map(lambda scale: round(scale, 2))


# Arrays.


@given(seeds, shapes(7), scales, scales)
def test_from_array_is_the_array_resampled(seed, shape, own, scale):
    image = noise(seed, shape)
    expected = resample(image, own, scale)
    result = fp.from_array(image, own)(scale)
    np.testing.assert_allclose(result, expected, atol=1e-5)
    assert result.dtype == np.float32
    assert result.flags.c_contiguous


@given(seeds, shapes(7), scales)
def test_an_image_that_has_the_scale_stays_as_it_is(seed, shape, scale):
    image = noise(seed, shape)
    provider = fp.from_array(image, scale)
    for near in (scale, scale * (1 + 9e-6)):
        result = provider(near)
        np.testing.assert_array_equal(result, image)
        result[...] = 7  # its own: the next call gives the image again
    np.testing.assert_array_equal(provider(scale), image)


@given(seeds, st.floats(1.02, 2))
def test_the_tolerance_says_which_scales_count_as_the_same(seed, scale):
    image = noise(seed, (6, 7, 8))
    np.testing.assert_array_equal(fp.from_array(image, 1, scale)(scale), image)
    resampled = fp.from_array(image, 1.0, 0.01)(scale)
    np.testing.assert_allclose(resampled, resample(image, 1.0, scale), atol=1e-6)
    assert not np.array_equal(resampled, image)


@given(seeds, st.lists(shapes(7), min_size=1, max_size=3), scales, scales)
def test_from_arrays_is_from_array_of_each(seed, each_shape, own, scale):
    images = [noise(seed, shape) for shape in each_shape]
    results = fp.from_arrays(images, own)(scale)
    assert isinstance(results, list)
    for result, image in zip(results, images, strict=True):
        np.testing.assert_array_equal(result, fp.from_array(image, own)(scale))


def test_an_array_that_changes_later_does_not_change_the_provider():
    image = noise(0, (3, 3, 3))
    provider, before = fp.from_array(image), image.copy()
    image[...] = 0
    np.testing.assert_array_equal(provider(1.0), before)


# Gaussians.


@given(
    st.tuples(*[st.floats(1, 6)] * 3),
    st.tuples(*[st.floats(0.3, 3)] * 3),
    st.tuples(*[st.floats(-2, 2)] * 3),
    scales,
)
def test_from_gaussian_is_its_formula_at_every_voxel(shape, sigma, shift, scale):
    image = fp.from_gaussian(shape, sigma, shift)(scale)
    assert image.shape == tuple(max(1, math.floor(n / scale + 0.5)) for n in shape)
    for q in np.ndindex(image.shape):
        nm = (np.array(q) - (np.array(image.shape) - 1) / 2) * scale
        expected = math.exp(-(((nm - shift) / sigma) ** 2).sum() / 2)
        assert image[q] == pytest.approx(expected, abs=1e-6)


@given(st.floats(0.2, 0.7), st.tuples(*[st.floats(-1, 1)] * 3))
@settings(max_examples=50)
def test_from_gaussian_describes_one_object_at_every_scale(scale, shift):
    # At 0.7 voxel and more per sigma its sums are its integrals to 1e-4.
    mass, middle, widths = moments(fp.from_gaussian(12.0, 1.0, shift)(scale), scale)
    assert mass == pytest.approx((2 * math.pi) ** 1.5, rel=1e-3)
    np.testing.assert_allclose(middle, shift, atol=0.01 * scale)
    assert math.hypot(*widths) == pytest.approx(math.sqrt(3), rel=1e-3)


def test_one_number_is_a_cube_and_a_ball():
    cube = fp.from_gaussian(4.0, 1.5)
    assert cube == fp.from_gaussian((4.0, 4.0, 4.0), (1.5, 1.5, 1.5), (0, 0, 0))


# Atoms.


@st.composite
def some_atoms(draw):
    count = draw(st.integers(1, 20))
    random = np.random.default_rng(draw(seeds))
    spread = draw(st.sampled_from([0.0, 0.5, 2.0]))
    return random.normal(size=(count, 3)) * spread + 5, random.random(count) + 0.1


@given(some_atoms(), scales)
def test_a_histogram_of_atoms_holds_their_whole_weight_in_the_right_voxels(case, scale):
    atoms, weights = case
    image = fp.from_atoms(atoms, weights)(scale)
    assert image.sum() * scale**3 == pytest.approx(weights.sum(), rel=1e-5)
    # Each atom's weight lies in the voxel it lies in.
    size = image.shape[0]
    assert image.shape == (size,) * 3
    expected = np.zeros_like(image)
    for atom, weight in zip(atoms, weights, strict=True):
        voxel = (atom - atoms.mean(axis=0)) / scale + (size - 1) / 2
        if np.abs(voxel - np.floor(voxel) - 0.5).min() < 1e-6:
            return  # on a face between two
        expected[tuple(np.rint(voxel).astype(int))] += weight / scale**3
    np.testing.assert_allclose(image, expected, rtol=1e-5)


@given(some_atoms(), scales, st.floats(0.9, 1.5))
@settings(max_examples=50)
def test_the_density_of_atoms_is_the_sum_of_their_gaussians(case, scale, width):
    # A Gaussian of 0.9 voxel holds 2e-2 of itself at Nyquist: the band limit shows.
    atoms, weights = case
    sigma = width * scale
    image = fp.from_atoms(atoms, weights, sigma=sigma)(scale)
    assert image.sum() * scale**3 == pytest.approx(weights.sum(), rel=1e-5)
    expected = np.zeros(image.shape)
    for atom, weight in zip(atoms - atoms.mean(axis=0), weights, strict=True):
        grid = zip(offsets(image.shape, scale), atom, strict=True)
        squares = sum((axis - position) ** 2 for axis, position in grid)
        expected += weight * np.exp(-squares / (2 * sigma**2))
    expected /= (2 * math.pi) ** 1.5 * sigma**3
    missed = 3 * math.exp(-2 * (math.pi * width / 2) ** 2)
    height = weights.sum() / ((2 * math.pi) ** 1.5 * sigma**3)
    np.testing.assert_allclose(image, expected, atol=(missed + 1e-3) * height)


@given(some_atoms(), scales, st.floats(0.2, 1.5))
@settings(max_examples=50)
def test_the_density_of_atoms_has_their_centre_of_mass_and_extent(case, scale, width):
    atoms, weights = case
    sigma = width * scale
    about = atoms.mean(axis=0)
    image = fp.from_atoms(atoms, weights, sigma=sigma)(scale)
    expected = np.average(atoms, axis=0, weights=weights)
    assert image.sum(dtype=float) * scale**3 == pytest.approx(weights.sum(), rel=1e-5)
    if width >= 1:  # else the band limit's ripples reach the faces
        _, middle, widths = moments(image, scale)
        np.testing.assert_allclose(middle, expected - about, atol=0.01 * scale)
        square = np.average(((atoms - expected) ** 2).sum(1), weights=weights)
        assert math.hypot(*widths) == pytest.approx(
            math.sqrt(square + 3 * sigma**2), rel=5e-3
        )


@given(some_atoms(), st.tuples(*[st.floats(-3, 9)] * 3))
def test_the_center_lies_in_the_middle_of_the_box(case, center):
    atoms, weights = case
    image = fp.from_atoms(atoms, weights, center)(0.5)
    _, middle, _ = moments(image, 0.5)
    expected = np.average(atoms, axis=0, weights=weights) - center
    np.testing.assert_allclose(middle, expected, atol=0.25 + 1e-6)  # half a voxel
    smooth = fp.from_atoms(atoms, weights, center, sigma=0.5)(0.5)
    np.testing.assert_allclose(moments(smooth, 0.5)[1], expected, atol=0.005)


def test_atoms_weigh_1_by_default():
    atoms = noise(0, (9, 3))
    assert fp.from_atoms(atoms)(0.5).sum() * 0.5**3 == pytest.approx(9)
    ones = fp.from_atoms(atoms, np.ones(9), sigma=0.3)
    np.testing.assert_array_equal(fp.from_atoms(atoms, sigma=0.3)(0.5), ones(0.5))


def test_the_box_of_atoms_holds_them_in_every_orientation():
    atoms = np.array([[0.0, 0, 3], [0, 0, -3], [0, 1, 0]])
    turned = atoms @ np.array([[0, 0, 1.0], [0, 1, 0], [-1, 0, 0]])
    image, other = (fp.from_atoms(each)(0.4) for each in (atoms, turned))
    assert image.shape == other.shape == (16,) * 3  # 2 · 3.02 nm by 0.4


# Structures.


@needs_data
def test_pdb_and_mmcif_give_the_same_image():
    pdb, cif = (
        fp.from_structure(STRUCTURES / name, 0.5)(0.2)
        for name in ("1crn.pdb", "1CRN.cif")
    )
    np.testing.assert_allclose(pdb, cif, rtol=1e-5, atol=1e-3)


@needs_data
@pytest.mark.parametrize("resolution, scale", [(0.6, 0.12), (1.0, 0.2), (2.0, 0.35)])
def test_a_structure_is_its_atoms_as_gaussians_of_molmaps_width(resolution, scale):
    path = STRUCTURES / "1crn.pdb"
    atoms = read_structure(path)
    sigma = resolution / (math.pi * math.sqrt(2))
    middle = np.average(atoms.positions, axis=0, weights=atoms.weights)
    image = fp.from_structure(path, resolution)(scale)
    # The formula at some voxels; sigma is 1.1 voxels or more.
    picked = np.random.default_rng(0).integers(0, image.shape[0], (200, 3))
    nm = (picked - (image.shape[0] - 1) / 2) * scale + middle
    squares = ((nm[:, None] - atoms.positions) ** 2).sum(-1)
    density = np.exp(-squares / (2 * sigma**2)) @ atoms.weights
    density /= (2 * math.pi) ** 1.5 * sigma**3
    np.testing.assert_allclose(image[*picked.T], density, atol=5e-3 * image.max())
    # For a whole transform: 1/e of its amplitude is left at 1 / resolution.
    assert math.exp(-2 * (math.pi * sigma / resolution) ** 2) == pytest.approx(
        1 / math.e
    )


@needs_data
def test_a_structure_lies_centred_or_where_asked():
    path = STRUCTURES / "1crn.pdb"
    atoms = read_structure(path)
    middle = np.average(atoms.positions, axis=0, weights=atoms.weights)
    centred, placed = (
        fp.from_structure(path, 1.0, center)(0.3) for center in (None, (0, 0, 0))
    )
    np.testing.assert_allclose(moments(centred, 0.3)[1], 0, atol=0.003)
    np.testing.assert_allclose(moments(placed, 0.3)[1], middle, atol=0.003)


@needs_data
def test_the_proteasome_has_its_sevenfold_axis_where_its_atoms_have_it():
    path = STRUCTURES / "3j9i.pdb"
    atoms = read_structure(path)
    about = atoms.positions - np.average(atoms.positions, axis=0, weights=atoms.weights)
    moments_of_inertia, axes = np.linalg.eigh(about.T @ about)
    axis = axes[:, moments_of_inertia.argmax()]  # the other two are alike
    image = fp.from_structure(path, 2.5)(0.9)

    def likeness(degrees):
        turned = fp.rotate(degrees * axis)(image)
        return np.corrcoef(turned.ravel(), image.ravel())[0, 1]

    assert likeness(360 / 7) > 0.999
    assert likeness(360 / 14) < 0.95


# What two sources describe at three scales.


def at_common_sampling(image, scale, size):
    """Return an image without what is finer than 4 nm, at 1.4 nm, in a given box."""
    low = fp.crop_or_pad(size) @ fp.gaussian_filter(1.0) @ fp.from_array(image, scale)
    return low(1.4)


def check_same(images, size):
    views = [at_common_sampling(images[scale], scale, size) for scale in images]
    assert np.corrcoef([view.ravel() for view in views]).min() > 0.9999


@needs_data
def test_a_ribosomal_structure_is_one_object_at_three_scales():
    # The density's integrals follow from the atoms. A Gaussian's sums over voxels are
    # its integrals, and the box holds all but 6e-5 of it, so that only float32 and
    # the ripples at the faces are left: 1e-5 of the mass, 1e-4 nm.
    path = STRUCTURES / "4v4r_30S.pdb"
    provider = fp.from_structure(path)
    images = {}
    for scale in (0.6, 1.0, 1.4):
        start = time.process_time()
        images[scale] = provider(scale)
        assert time.process_time() - start < 20  # about 3 s of two cores
    atoms = read_structure(path)
    middle = np.average(atoms.positions, axis=0, weights=atoms.weights)
    squares = ((atoms.positions - middle) ** 2).sum(axis=1)
    sigma = 1.0 / (math.pi * math.sqrt(2))
    extent = math.sqrt(np.average(squares, weights=atoms.weights) + 3 * sigma**2)
    for scale, image in images.items():
        mass, centre_of_mass, widths = moments(image, scale)
        assert mass == pytest.approx(atoms.weights.sum(), rel=1e-5)
        np.testing.assert_allclose(centre_of_mass, 0, atol=1e-3)
        assert math.hypot(*widths) == pytest.approx(extent, rel=1e-4)
    check_same(images, 28.0)


@needs_data
def test_a_map_is_one_object_at_three_scales():
    # The box of 36.48 nm becomes 36.6, 36.0 and 36.4: up to 0.24 nm of its faces,
    # where the map is 0 but for its ripples, come or go. The map's negative surround
    # outweighs the particle, so that its total is a small difference: 1 % of it, and
    # 0.01 voxel.
    path = MAPS / "emd_1832.map"
    own = read_volume(path)
    mass, middle, widths = moments(own.array, own.scale)
    provider = fp.from_file(path)
    images = {scale: provider(scale) for scale in (0.6, 1.0, 1.4)}
    for scale, image in images.items():
        found = moments(image, scale)
        assert found[0] == pytest.approx(mass, rel=0.01)
        np.testing.assert_allclose(found[1], middle, atol=0.01 * scale)
        assert found.extent == pytest.approx(math.hypot(*widths), rel=2e-3)
    check_same({own.scale: own.array, **images}, 33.6)


# Files.


@needs_data
@pytest.mark.parametrize(
    "name, scale",
    [
        ("beta-tubulin.mrc", 0.5144),
        ("EMD-3197.map", 1.14),
        ("emd_3197.map.gz", 1.14),
        ("emd_1832.map", 0.57),
    ],
)
def test_every_real_map_is_given_at_its_own_scale_and_at_others(name, scale):
    provider = fp.from_file(MAPS / name)
    with mrcfile.open(MAPS / name) as file:
        data = file.data.copy()
    np.testing.assert_array_equal(provider(scale), data)
    twice = provider(2 * scale)
    assert twice.shape == tuple(n // 2 for n in data.shape)
    assert twice.mean() == pytest.approx(data.mean(), abs=1e-4 * float(data.std()))
    np.testing.assert_allclose(twice, resample(data, 1.0, 2.0), atol=1e-4 * data.std())


@needs_data
def test_an_anisotropic_map_is_refused_unless_a_scale_is_given():
    path = MAPS / "EMD-3001.map"
    message = r"EMD-3001\.map: the voxel is anisotropic, 0\.4587 x .* pass scale=\.\.\."
    with pytest.raises(ValueError, match=message):
        fp.from_file(path)(0.04)
    assert fp.from_file(path, 0.04)(0.04).shape == (73, 25, 43)


@needs_data
def test_the_real_tomogram_is_given_at_its_scale():
    pytest.importorskip("tifffile")
    provider = fp.from_file(DATA / "tomograms" / "13pf_MT.tif")
    assert provider(1.052).shape == (36, 206, 94)
    assert provider(2.104).shape == (18, 103, 47)


@pytest.mark.parametrize("ending", ["mrc", "map", "rec", "ccp4", "st"])
@pytest.mark.parametrize("packing", ["", ".gz", ".bz2"])
def test_every_kind_of_mrc_is_given(tmp_path, ending, packing):
    image = noise(1, (4, 5, 6))
    plain, path = tmp_path / "plain.mrc", tmp_path / f"a.{ending}{packing}"
    write_mrc(plain, image, 0.3)
    pack = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress}[packing]
    path.write_bytes(pack(plain.read_bytes()))
    np.testing.assert_array_equal(fp.from_file(path)(0.3), image)
    expected = resample(image, 0.3, 0.6)
    np.testing.assert_allclose(fp.from_file(str(path))(0.6), expected, atol=1e-5)


def test_a_scale_that_is_given_overrides_the_headers(tmp_path):
    image = noise(2, (4, 6, 8))
    write_mrc(tmp_path / "a.mrc", image, 0.3)
    np.testing.assert_array_equal(fp.from_file(tmp_path / "a.mrc", 0.5)(0.5), image)
    expected = resample(image, 0.5, 1.0)
    result = fp.from_file(tmp_path / "a.mrc", scale=0.5)(1.0)
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_a_header_scale_of_0_is_refused_unless_a_scale_is_given(tmp_path):
    path = tmp_path / "a.mrc"
    with mrcfile.new(path) as file:
        file.set_data(noise(3, (4, 4, 4)))
        file.voxel_size = 0
    message = r"a\.mrc: the header gives no voxel size; pass scale=\.\.\. in nm per vox"
    with pytest.raises(ValueError, match=message):
        fp.from_file(path)(1.0)
    assert fp.from_file(path, 0.5)(1.0).shape == (2, 2, 2)


def test_from_files_is_from_file_of_each(tmp_path):
    paths = [tmp_path / f"{name}.mrc" for name in "ab"]
    for seed, path in enumerate(paths):
        write_mrc(path, noise(seed, (4, 5, 6 + seed)), 0.3 + 0.1 * seed)
    for images, provider in [
        (fp.from_files(paths)(0.6), fp.from_file),
        (fp.from_files(paths, 0.5)(0.6), lambda path: fp.from_file(path, 0.5)),
    ]:
        for image, path in zip(images, paths, strict=True):
            np.testing.assert_array_equal(image, provider(path)(0.6))


def test_a_provider_of_a_file_reads_it_when_it_is_called(tmp_path):
    path = tmp_path / "later.mrc"
    provider = fp.from_file(path)
    with pytest.raises(FileNotFoundError, match=r"later\.mrc"):
        provider(0.5)
    image = noise(4, (3, 3, 3))
    write_mrc(path, image, 0.5)
    np.testing.assert_array_equal(provider(0.5), image)


@pytest.mark.parametrize("make", [fp.from_file, fp.from_structure])
def test_an_error_about_a_file_says_which_and_in_which_stage(tmp_path, make):
    for name in ("a.mrc", "a.pdb"):
        (tmp_path / name).write_bytes(b"garbage")
        with pytest.raises(ValueError, match=name) as caught:
            make(tmp_path / name)(1.0)
        assert make.__name__ in "".join(caught.value.__notes__)


# Wrong arguments.


@pytest.mark.parametrize(
    "make, name",
    [
        (lambda: fp.from_file(3), "from_file: path"),
        (lambda: fp.from_file(""), "from_file: path"),
        (lambda: fp.from_file("a.mrc", 0), "from_file: scale"),
        (lambda: fp.from_file("a.mrc", -0.5), "from_file: scale"),
        (lambda: fp.from_file("a.mrc", "0.5"), "from_file: scale"),
        (lambda: fp.from_file("a.mrc", True), "from_file: scale"),
        (lambda: fp.from_file("a.mrc", 1, -1), "from_file: tol"),
        (lambda: fp.from_files("a.mrc"), "from_files: path"),
        (lambda: fp.from_files([]), "from_files: path"),
        (lambda: fp.from_files(["a.mrc", 3]), r"from_files: path\[1\]"),
        (lambda: fp.from_files(["a.mrc"], math.inf), "from_files: scale"),
        (lambda: fp.from_array(np.zeros((3, 3))), "from_array: img"),
        (lambda: fp.from_array("abc"), "from_array: img"),
        (lambda: fp.from_array(np.zeros((3, 3, 3), complex)), "from_array: img"),
        (lambda: fp.from_array(np.zeros((3, 0, 3))), "from_array: img"),
        (lambda: fp.from_array([[[1], [2, 3]]]), "from_array: img"),
        (lambda: fp.from_array(np.full((2, 2, 2), np.nan)), "from_array: img"),
        (lambda: fp.from_array(np.zeros((3, 3, 3)), 0), "from_array: scale"),
        (lambda: fp.from_array(np.zeros((3, 3, 3)), tol=None), "from_array: tol"),
        (lambda: fp.from_arrays([]), "from_arrays: imgs"),
        (lambda: fp.from_arrays([np.zeros(3)]), r"from_arrays: imgs\[0\]"),
        (lambda: fp.from_arrays([np.zeros((3, 3, 3))], -1), "from_arrays: scale"),
        (lambda: fp.from_gaussian(0), "from_gaussian: shape"),
        (lambda: fp.from_gaussian((1, 2)), "from_gaussian: shape"),
        (lambda: fp.from_gaussian(4, 0), "from_gaussian: sigma"),
        (lambda: fp.from_gaussian(4, (1, 1, -1)), "from_gaussian: sigma"),
        (lambda: fp.from_gaussian(4, 1, (0, 0)), "from_gaussian: shift"),
        (lambda: fp.from_gaussian(4, 1, (0, 0, math.nan)), "from_gaussian: shift"),
        (lambda: fp.from_atoms(np.zeros((3, 2))), "from_atoms: atoms"),
        (lambda: fp.from_atoms(np.zeros((0, 3))), "from_atoms: atoms"),
        (lambda: fp.from_atoms([[1, 2, 3], [1, 2]]), "from_atoms: atoms"),
        (lambda: fp.from_atoms([[1, 2, math.nan]]), r"from_atoms: atoms\[0\]"),
        (lambda: fp.from_atoms(np.zeros((2, 3)), "ab"), "from_atoms: weights"),
        (lambda: fp.from_atoms(np.zeros((2, 3)), [1, math.inf]), "from_atoms: weights"),
        (lambda: fp.from_atoms(np.zeros((2, 3)), [1])(1.0), "from_atoms: weights"),
        (lambda: fp.from_atoms(np.zeros((2, 3)), center=(1, 2)), "from_atoms: center"),
        (lambda: fp.from_atoms(np.zeros((2, 3)), sigma=0), "from_atoms: sigma"),
        (lambda: fp.from_structure(None), "from_structure: path"),
        (lambda: fp.from_structure("a.pdb", 0), "from_structure: resolution"),
        (lambda: fp.from_structure("a.pdb", 1, "origin"), "from_structure: center"),
    ],
)
def test_a_wrong_argument_is_named_with_its_stage(make, name):
    with pytest.raises((TypeError, ValueError), match=f"^{name} must be .*, not "):
        make()
