"""Every call of the document "Piping Images to the Loader", in its order.

The document is acryo's; its imports and calls stand here as they are written there,
with `funpipe` in place of `acryo`, so that the two can be read side by side. Each test
quotes the sentence that its calls illustrate. A real file lies at the document's
``path/to/template.mrc``: a molecule sampled at 0.18 nm per voxel. Copies of it lie in
a tomogram of 0.27 nm per voxel, and every alignment has to find them.
"""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import scipy

import funpipe as fp
from funpipe.algebra.stage_functions import StageFunction
from funpipe.io.volumes import write_mrc
from funpipe.simulate import asymmetric_molecule, blob_image, tomogram

MOLECULE = asymmetric_molecule(radius=1.3, sigma=0.3)
BOX = 4.32  # nm: 24 voxels of the file, 16 of the tomogram
TRUTH = fp.Molecules([(z, y, 5.2) for z in (2.9, 7.6) for y in (2.8, 7.5)])

# The molecule's image at the tomogram's scale, by formula and not by rescaling.
TEMPLATE = blob_image(MOLECULE, (16, 16, 16), 0.27)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return tomogram(MOLECULE, TRUTH, (40, 40, 40), 0.27, tilt=None, noise=0.1)


@pytest.fixture(scope="module")
def molecules() -> fp.Molecules:
    aside = np.random.default_rng(0).uniform(-0.5, 0.5, (len(TRUTH), 3))
    return fp.Molecules(TRUTH.positions + aside)


@pytest.fixture(autouse=True)
def _file_of_the_document(tmp_path, monkeypatch):
    (tmp_path / "path" / "to").mkdir(parents=True)
    finer = blob_image(MOLECULE, (24, 24, 24), 0.18)
    write_mrc(tmp_path / "path" / "to" / "template.mrc", finer, 0.18)
    monkeypatch.chdir(tmp_path)


def assert_found(aligned: fp.SubtomogramLoader) -> None:
    """Claim that every molecule is where it was put, to a fifth of a voxel."""
    away = aligned.molecules.positions - TRUTH.positions
    assert np.abs(away).max() < 0.2 * 0.27


def test_picks_are_not_found_before_they_are_aligned(image, molecules):
    with pytest.raises(AssertionError):
        assert_found(fp.SubtomogramLoader(image, molecules, scale=0.27))


def test_the_names_of_pipe_are_those_of_funpipe():
    from funpipe import pipe

    assert set(pipe.__all__) == set(dir(pipe)) <= set(fp.__all__)
    assert all(getattr(pipe, each) is getattr(fp, each) for each in pipe.__all__)
    kinds = (StageFunction, fp.ImageConverter)
    stages = {each for each in fp.__all__ if isinstance(getattr(fp, each), kinds)}
    others = {"ImageProvider", "ImageConverter", "compose", "lift"}
    others |= {"provider_function", "converter_function", "derived_function"}
    assert stages | others == set(pipe.__all__)
    composed = pipe.gaussian_filter(2.0) @ pipe.from_file("path/to/template.mrc")
    assert composed(0.27).shape == (16, 16, 16)


# Image Provider


def test_provide_an_image_from_a_file(image, molecules):
    """The most commonly useful image provider is [...] from_file()."""
    from funpipe import SubtomogramLoader
    from funpipe.pipe import from_file

    loader = SubtomogramLoader(image, molecules, scale=0.27)  # create a loader

    aligned = loader.align(
        template=from_file("path/to/template.mrc"),
    )

    assert isinstance(aligned, SubtomogramLoader)
    assert_found(aligned)
    assert len(loader.molecules.features) == 0  # the loader itself is as it was


def test_the_scale_of_the_file_can_be_given(image, molecules):
    """If you want to provide it manually, you can pass the second argument."""
    from funpipe import SubtomogramLoader
    from funpipe.pipe import from_file

    loader = SubtomogramLoader(image, molecules, scale=0.27)

    aligned = loader.align(
        template=from_file("path/to/template.mrc", 0.18),
    )

    assert_found(aligned)
    # It is what counts, and not the metadata:
    assert from_file("path/to/template.mrc", 0.36)(0.27).shape == (32, 32, 32)


def test_a_provider_takes_a_scale_and_returns_an_image():
    """An image provider is a function that takes a float [...], returns an image."""
    from funpipe.pipe import from_file

    provider = from_file("path/to/template.mrc")
    type(provider(0.27))  # -> numpy.ndarray

    assert type(provider(0.27)) is np.ndarray
    np.testing.assert_allclose(provider(0.27), TEMPLATE, atol=0.01 * TEMPLATE.max())
    given = from_file("path/to/template.mrc", 0.18)  # the header's is a float32
    np.testing.assert_allclose(provider(0.27), given(0.27), atol=1e-5)


def test_provide_an_image_from_an_array(image, molecules):
    """The input array will be properly rescaled considering the scale argument.

    (The name `scale` fails in acryo 0.9.1.)
    """
    from funpipe import SubtomogramLoader
    from funpipe.pipe import from_array

    loader = SubtomogramLoader(image, molecules, scale=0.27)

    arr = np.zeros((10, 10, 10))
    empty = from_array(arr, scale=0.18)

    np.testing.assert_array_equal(empty(0.27), np.zeros((7, 7, 7)))
    # The document's array stands for an image: to nothing nothing can be aligned.
    with pytest.raises(ValueError, match="template must vary under its mask"):
        loader.align(template=empty)

    arr = blob_image(MOLECULE, (24, 24, 24), 0.18)
    aligned = loader.align(
        template=from_array(arr, scale=0.18),
    )

    assert_found(aligned)


# Image Converter


def test_a_mask_is_generated_from_the_template(image, molecules):
    """Mask images will be generated from the template image using the converter."""
    from funpipe import SubtomogramLoader
    from funpipe.pipe import from_file, soft_otsu

    loader = SubtomogramLoader(image, molecules, scale=0.27)  # create a loader

    aligned = loader.align(
        template=from_file("path/to/template.mrc"),
        mask=soft_otsu(sigma=2.0, radius=1.0),
    )

    assert_found(aligned)


def test_what_is_actually_happening(image, molecules):
    """Images are generated inside the alignment method."""
    from funpipe import SubtomogramLoader
    from funpipe.pipe import from_file, soft_otsu

    # created by user
    reader_function = from_file("path/to/template.mrc")
    soft_otsu_function = soft_otsu(sigma=2.0, radius=1.0)

    # images are generated inside the alignment method
    template = reader_function(0.27)
    mask = soft_otsu_function(template, 0.27)

    assert mask.shape == template.shape == (16, 16, 16)
    assert 0 <= mask.min() < mask.max() == 1
    used = fp.prepare(reader_function, soft_otsu_function, 0.27)
    np.testing.assert_array_equal(used.template, template)
    np.testing.assert_array_equal(used.mask, mask)
    loader = SubtomogramLoader(image, molecules, scale=0.27)
    by_pipelines = loader.align(template=reader_function, mask=soft_otsu_function)
    by_arrays = loader.align(template=template, mask=mask)
    np.testing.assert_array_equal(
        by_pipelines.molecules.positions, by_arrays.molecules.positions
    )


# Custom Pipelines


def test_custom_pipelines(image, molecules):
    """To define custom pipelines, you can use decorators [...]."""
    from funpipe import SubtomogramLoader
    from funpipe.pipe import converter_function, provider_function

    # the first argument of a provider function must be a float
    @provider_function
    def my_provider_function(scale: float, arg0, arg1=0):
        assert scale == 0.27
        n = round(arg0 / scale)
        image = blob_image(MOLECULE, (n, n, n), scale) + arg1
        return image

    # the first and the second argument of a converter function must be
    # an array and a float respectively
    @converter_function
    def my_converter_function(image: np.ndarray, scale: float, arg0, arg1=0):
        assert image.shape == (16, 16, 16)
        assert scale == 0.27
        image = fp.sphere(arg0 / 2)(image, scale) + arg1
        return image

    arg0 = BOX

    loader = SubtomogramLoader(image, molecules, scale=0.27)  # create a loader

    aligned = loader.align(
        template=my_provider_function(arg0, arg1=0),
        mask=my_converter_function(arg0, arg1=0),
    )

    assert_found(aligned)


def test_the_decorators_are_similar_to_curry():
    """You can create a pipeline by calling these [...] without the first argument(s).

    These decorators are similar to toolz.curry().
    """
    from funpipe.pipe import converter_function, provider_function

    @provider_function
    def my_provider_function(scale: float, arg0, arg1=0):
        return np.full((2, 2, 2), scale * arg0 + arg1)

    @converter_function
    def my_converter_function(image: np.ndarray, scale: float, arg0, arg1=0):
        return image * scale * arg0 + arg1

    provider = my_provider_function(3.0, arg1=1)
    converter = my_converter_function(3.0, arg1=1)

    np.testing.assert_allclose(provider(0.5), np.full((2, 2, 2), 2.5))
    np.testing.assert_allclose(converter(provider(0.5), 2.0), np.full((2, 2, 2), 16.0))
    for make in (my_provider_function, my_converter_function):
        assert list(inspect.signature(make).parameters) == ["arg0", "arg1"]
        assert make(arg1=1)(3.0) == make(3.0, arg1=1) == make(arg0=3.0, arg1=1)
        assert make(3.0) == make(3.0, arg1=0) != make(3.0, arg1=1)


# Composing Pipelines


def test_a_converter_at_a_provider_is_a_provider():
    """Functions will be called in "reading image -> filtering" order.

    (`gaussian_filter` by position fails in acryo 0.9.1.)
    """
    from funpipe.pipe import from_file, gaussian_filter

    # `converter * provider` is a provider
    # Functions will be called in "reading image -> filtering" order
    composed = gaussian_filter(2.0) @ from_file("path/to/template.mrc")
    composed(0.27)  # -> numpy.ndarray

    assert isinstance(composed, fp.ImageProvider)
    assert type(composed(0.27)) is np.ndarray
    read = from_file("path/to/template.mrc")(0.27)
    expected = scipy.ndimage.gaussian_filter(read, 2.0 / 0.27)  # 2 nm in voxels
    np.testing.assert_allclose(composed(0.27), expected, atol=1e-4 * read.max())
    assert gaussian_filter(2.0) == gaussian_filter(sigma=2.0)


def test_a_converter_at_a_converter_is_a_converter():
    """Functions will be called in "soft Otsu -> filtering" order.

    (A converter called without a scale fails in acryo 0.9.1; here it is 1.0 nm.)
    """
    from funpipe.pipe import gaussian_filter, soft_otsu

    # `converter * converter` is a converter
    # Functions will be called in "soft Otsu -> filtering" order
    composed = gaussian_filter(2.0) @ soft_otsu(sigma=2.0, radius=1.0)
    composed(np.zeros((4, 4, 4)))  # -> numpy.ndarray

    assert isinstance(composed, fp.ImageConverter)
    nothing = composed(np.zeros((4, 4, 4)))
    assert type(nothing) is np.ndarray
    np.testing.assert_array_equal(nothing, np.zeros((4, 4, 4)))
    mask = soft_otsu(sigma=2.0, radius=1.0)(TEMPLATE, 1.0)
    expected = scipy.ndimage.gaussian_filter(mask, 2.0)
    np.testing.assert_allclose(composed(TEMPLATE), expected, atol=1e-3)
    np.testing.assert_array_equal(composed(TEMPLATE), composed(TEMPLATE, 1.0))
    assert not np.allclose(composed(TEMPLATE), composed(TEMPLATE, 0.27), atol=0.01)


def test_the_method_compose_is_the_operator():
    """Pipelines can be composed by @ or compose()."""
    from funpipe.pipe import from_file, gaussian_filter, soft_otsu

    f, g = gaussian_filter(2.0), soft_otsu(sigma=2.0, radius=1.0)
    p = from_file("path/to/template.mrc")

    assert f.compose(p) == f @ p
    assert f.compose(g) == f @ g
    assert f.compose(g).compose(p) == fp.compose(f, g, p) == f @ g @ p
    assert f.compose(g) != g.compose(f)
    np.testing.assert_array_equal(f.compose(g).compose(p)(0.27), (f @ (g @ p))(0.27))
