"""funpipe.testing: all stages keep the laws; what breaks one is caught by its name.

The negative controls are stages, each written to break one law. What the library sees
to itself whatever a stage does (that images are float32, say) is broken by a patch.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from images import blob, noise
from stage_examples import STAGES, example

import funpipe as fp
from funpipe.stages import masks
from funpipe.testing import check_converter, check_provider, strategies
from funpipe.testing.laws import CONVERTER_LAWS, PROVIDER_LAWS
from funpipe.testing.trials import converter_trial, provider_trial

ATOM = "ATOM  {0:>5}  CA  ALA A{0:>4}    {1:8.3f}{2:8.3f}{3:8.3f}  1.00  0.00"
MASK = fp.threshold(0.5)


@np.errstate(all="ignore")
def broken(trial, laws):
    """Return the names of the laws that are broken."""
    return {law.__name__ for law in laws if breaks(trial, law)}


def breaks(trial, law):
    try:
        return next(law(trial), None)
    except ValueError:  # what is not finite is no image, and goes no further
        return None


def broken_by(f, **options):
    return broken(converter_trial(f, **options), CONVERTER_LAWS)


def broken_by_provider(p, **options):
    return broken(provider_trial(p, **options), PROVIDER_LAWS)


# The package's own stages keep the laws.


@pytest.fixture(scope="session")
def structure(tmp_path_factory):
    pytest.importorskip("gemmi", reason="gemmi is not installed")
    path = tmp_path_factory.mktemp("structures") / "four.pdb"
    atoms = [(0, 0, 0), (20, 0, 0), (0, 30, 0), (0, 0, 25)]
    lines = [f"{ATOM.format(i, *at)}           C\n" for i, at in enumerate(atoms)]
    path.write_text("".join(lines))
    return str(path)


@pytest.fixture(scope="session")
def map_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("maps") / "blob.mrc"
    fp.write_volume(path, BLOB, 0.5)
    return str(path)


BLOB = blob((24, 25, 26), 0.5, (0.5, -0.3, 0.2), 2.0).astype(np.float32)
ATOMS = noise(0, (20, 3))
PROVIDERS = [
    fp.from_array(BLOB, 0.5),
    fp.from_array(noise(0, (9, 8, 7)), 1.1),
    fp.from_arrays([BLOB, BLOB[::-1]], 0.5),
    fp.from_atoms(ATOMS),
    fp.from_atoms(ATOMS, sigma=1.2),
    fp.from_gaussian(12.0, 2.0, (1.0, 0.0, -0.5)),
]
CONVERTERS = [
    fp.bandpass_filter(3.0, 8.0),
    fp.center_by_mass(),
    fp.closing(1.0) @ MASK,
    fp.closing(-1.0) @ MASK,
    fp.cosine_edge(2.0) @ MASK,
    fp.crop_or_pad(8.0),
    fp.crop_or_pad(14.0),
    fp.ctf_filter(1.5, phase_flipped=False),
    fp.cylinder(2.0, 4.0),
    fp.cylinder(3.0, 5.0, "y"),
    fp.dilation(1.5) @ MASK,
    fp.dilation(-1.0) @ MASK,
    fp.dose_filter(20.0, 200),
    fp.gaussian_filter(1.0),
    fp.gaussian_filter(2.0, "constant"),
    fp.gaussian_smooth(1.0) @ MASK,
    fp.highpass_filter(5.0),
    fp.invert(),
    fp.lowpass_filter(4.0),
    fp.normalize(),
    fp.rotate((30, 20, 10)),
    fp.shift((1.0, 2.0, 0.5)),
    fp.soft_otsu(1.0, 1.0),
    fp.sphere(3.0, (1.0, 0.0, 0.5)),
    fp.symmetrize("C2"),
    MASK,
    fp.threshold(0.2),
    fp.threshold_otsu(),
    fp.wedge_filter(fp.single_axis((-50, 60), "x")),
    fp.wedge_filter(fp.dual_axis()),
    fp.wedge_filter(fp.tilt_series(range(-60, 61, 10), dose=range(13), defocus=2.0)),
]
ELSEWHERE = {  # whose examples are not for these laws: tried by calls written here
    *("from_file", "from_files", "from_structure"),  # files that are not there
    *("bandpass_filter", "from_arrays"),  # 20 nm is more, 4 voxels are less, than a box
}


def shown(function):
    """Return a stage as its docstring calls it; one of masks behind a mask."""
    stage = function(**example(function))
    return stage @ MASK if function.__name__ in masks.__all__ else stage


SHOWN = {name: shown(each) for name, each in STAGES.items() if name not in ELSEWHERE}
SHOWN_CONVERTERS = [p for p in SHOWN.values() if isinstance(p, fp.ImageConverter)]
SHOWN_PROVIDERS = [p for p in SHOWN.values() if isinstance(p, fp.ImageProvider)]
PIPELINES = [
    fp.identity,
    fp.gaussian_filter(0.5) @ fp.soft_otsu(1.0, 1.0),
    fp.sphere(4.0) & ~fp.sphere(2.0),
    2 * fp.identity - fp.gaussian_filter(1.0),
    fp.lift(np.hypot)(fp.identity, fp.from_gaussian((12.0, 11.0, 12.5), 2.0)),
]


@pytest.mark.parametrize("f", [*SHOWN_CONVERTERS, *CONVERTERS, *PIPELINES], ids=str)
def test_the_packages_converters_keep_the_laws(f):
    check_converter(f)


@pytest.mark.parametrize("p", [*SHOWN_PROVIDERS, *PROVIDERS], ids=str)
def test_the_packages_providers_keep_the_laws(p):
    check_provider(p)


def test_a_stage_is_tried_as_its_docstring_calls_it():
    assert example(fp.soft_otsu) == {"sigma": 2.0, "radius": 1.0, "bins": 256}
    assert example(fp.from_array)["img"].shape == (10, 10, 10)
    with pytest.raises(AssertionError, match="of writing has no example that calls it"):
        example(writing)


def test_providers_of_files_keep_the_laws(map_file, structure):
    check_provider(fp.from_file(map_file))
    check_provider(fp.gaussian_smooth(1.0) @ (fp.from_files([map_file] * 2) > 0.5))
    check_provider(fp.from_structure(structure, 4.0))


@settings(max_examples=50)
@given(strategies.converters)
def test_any_converter_keeps_the_laws_of_the_algebra(f):
    box = fp.from_gaussian(strategies.BOX, 1.0)
    check_converter(f, [box], strategies.SCALES, across_scales=False)


@settings(max_examples=50)
@given(strategies.providers | strategies.many_providers)
def test_any_provider_keeps_the_laws_of_the_algebra(p):
    check_provider(p, strategies.SCALES, across_scales=False)


# Stages that break a law.


@fp.converter_function
def writing(image, scale):
    image *= 2
    return image


@fp.converter_function
def logarithm(image, scale):
    return np.log(image - image.min())


COUNT = itertools.count()
FIRST = {}


@fp.converter_function
def counting(image, scale):
    return image + next(COUNT)


@fp.converter_function
def keeping(image, scale):
    return FIRST.setdefault((image.tobytes(), scale), image.copy())


@fp.converter_function
def doubled(image, scale):
    return 2.0 * image.astype(np.float64)


@fp.converter_function
def same(image, scale):
    return image


@fp.converter_function
def times(image, scale, factor):
    return image * factor.value


def closure():
    @fp.converter_function
    def inner(image, scale):
        return image + 1

    return inner()


class Factor:
    """An argument of a stage: a number with an equality and a hash."""

    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        return isinstance(other, Factor) and self.value == other.value

    def __hash__(self):
        return hash(self.value)

    def __repr__(self):
        return f"Factor({self.value})"


class Mutable(Factor):
    __hash__ = None

    def __deepcopy__(self, memo):
        return self


class Misprinted(Factor):
    def __repr__(self):
        return "Factor(3)"


class Miscopied(Factor):
    def __deepcopy__(self, memo):
        return Factor(self.value + 1)


class Mispickled(Factor):
    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        return Factor, (self.value + 1,)


NAMES = {"Factor": Factor}
AGAIN = {
    "gives_the_same_image_again",
    "equals_its_copies",
    "survives_pickling",
    "has_a_repr_that_evaluates_to_it",
    "is_unchanged_by_the_identity",
    "composes",
    "has_pointwise_operators",
    "converts_each_of_many_images",
}


@pytest.mark.parametrize(
    ("f", "laws"),
    [
        (writing(), {"leaves_its_input_unchanged"}),
        (fp.identity + writing() @ fp.invert(), {"leaves_its_input_unchanged"}),
        (fp.identity + writing() @ fp.from_gaussian((12.0, 11.0, 12.5)),
            {"leaves_its_input_unchanged"}),
        (logarithm(), {"gives_finite_images"}),
        (counting(), AGAIN | {"means_the_same_object_at_every_scale"}),
        (closure(), {"survives_pickling"}),
        (times(Misprinted(2)), {"has_a_repr_that_evaluates_to_it"}),
        (times(Miscopied(2)), {"equals_its_copies", "hashes_as_its_copies_do"}),
        (times(Mutable(2)), {"hashes_as_its_copies_do"}),
        (times(Mispickled(2)), {"survives_pickling"}),
    ],
    ids=str,
)  # fmt: skip
def test_a_stage_that_breaks_a_law_is_caught_by_its_name(f, laws):
    assert broken_by(f, names=NAMES) == laws
    first = next(law.__name__ for law in CONVERTER_LAWS if law.__name__ in laws)
    message = f"^{re.escape(str(f))} breaks the law {first}( at 0.4 nm per voxel)?: "
    with pytest.raises(AssertionError, match=message):
        check_converter(f, names=NAMES)


def test_a_stage_after_a_source_that_writes_into_its_input_is_caught():
    p = writing() @ fp.from_gaussian(12.0, 2.0)
    assert broken_by_provider(p) == {"leaves_its_input_unchanged"}


def test_an_error_in_a_stage_says_which_law_was_tried():
    with pytest.raises(AttributeError) as caught:
        check_converter(times(2))
    assert caught.value.__notes__[-1] == (
        "while times(2) was tried for gives_3d_float32_images"
    )


# What the library sees to, broken.


def bare(f, image, scale=1.0):
    """Run the stages of a converter and leave their images as they are."""
    if isinstance(image, list):
        return [bare(f, each, scale) for each in image]
    return reduce(lambda x, stage: stage(x, scale), reversed(f.stages), image)


def backwards(f, image, scale=1.0):
    return reduce(lambda x, stage: stage(x, scale), f.stages, image)


def as_if_of_1_nm(f, image, scale=1.0):
    if isinstance(image, list):
        return [CALL(f, each, 1.0) for each in image]
    return CALL(f, image, scale)


def with_a_zero(f, other):
    return PRODUCT(f, other) + 0.0 if f == fp.identity else PRODUCT(f, other)


def only_itself(f, other):
    return f is other


CALL, PRODUCT = fp.ImageConverter.__call__, fp.ImageConverter.__matmul__


@pytest.mark.parametrize(
    ("method", "patch", "f", "law"),
    [
        ("__call__", bare, doubled(), "gives_3d_float32_images"),
        ("__call__", bare, same(), "gives_images_of_its_callers_own"),
        ("__call__", bare, keeping(), "gives_images_of_its_callers_own"),
        ("__call__", backwards, MASK, "composes"),
        ("__call__", as_if_of_1_nm, fp.gaussian_filter(1.0),
            "converts_each_of_many_images"),
        ("__matmul__", with_a_zero, fp.invert(), "is_unchanged_by_the_identity"),
        ("__rsub__", fp.ImageConverter.__sub__, fp.invert(), "has_pointwise_operators"),
        ("__hash__", id, fp.invert(), "hashes_as_its_copies_do"),
        ("__eq__", only_itself, fp.invert(), "equals_its_copies"),
    ],
)  # fmt: skip
def test_a_library_that_breaks_a_law_is_caught(monkeypatch, method, patch, f, law):
    assert not broken_by(f)
    monkeypatch.setattr(fp.ImageConverter, method, patch)
    with pytest.raises(AssertionError, match=f"breaks the law {law}"):
        check_converter(f)


# Stages that do not know the scale.


@fp.converter_function
def blurred(image, scale, voxels):
    return fp.gaussian_filter(voxels)(image, 1.0)


@fp.converter_function
def grown(image, scale, voxels):
    return fp.dilation(voxels)(image >= 0.5, 1.0)


@fp.converter_function
def moved(image, scale, voxels):
    return np.roll(image, voxels, axis=2)


@fp.converter_function
def cropped(image, scale, voxels):
    return image[:voxels, :voxels, :voxels]


@fp.converter_function
def per_voxel(image, scale):
    return image * scale**3


@fp.provider_function
def box_of_voxels(scale, count):
    return np.ones((count, count, count))


@fp.provider_function
def ball_of_voxels(scale, box, radius):
    n = round(box / scale)
    z, y, x = np.indices((n, n, n)) - (n - 1) / 2
    return z**2 + y**2 + x**2 < radius**2


@fp.provider_function
def many_at_fine_scales(scale):
    return [fp.from_gaussian(12.0, 2.0)(scale)] * round(2 / scale)


MEANING = "means_the_same_object_at_every_scale"


@pytest.mark.parametrize(
    ("f", "figure"),
    [
        (blurred(1.0), "extent"),
        (blurred(2.0), "extent"),
        (grown(2.0), "extent"),
        (grown(-3.0), "extent"),
        (moved(2), "centre of mass"),
        (cropped(10), "box"),
        (per_voxel(), "mean density"),
        (fp.gaussian_smooth(0.5) @ grown(3.0), "mean density"),
    ],
    ids=str,
)
def test_a_converter_that_ignores_the_scale_is_caught(f, figure):
    assert broken_by(f) == {MEANING}
    complaints = list(CONVERTER_LAWS[-1](converter_trial(f)))
    assert any(figure in what for what, _ in complaints)
    check_converter(f, across_scales=False)


@pytest.mark.parametrize(
    ("p", "figure"),
    [
        (box_of_voxels(8), "box"),
        (ball_of_voxels(12.0, 4), "extent"),
        (many_at_fine_scales(), "5 images, and 3 at 0.6"),
        (blurred(1.5) @ fp.from_gaussian(12.0, 1.5), "extent"),
    ],
    ids=str,
)
def test_a_provider_that_ignores_the_scale_is_caught(p, figure):
    assert broken_by_provider(p) == {MEANING}
    with pytest.raises(AssertionError, match=f"breaks the law {MEANING} at 0.4 nm"):
        check_provider(p)
    complaints = list(PROVIDER_LAWS[-1](provider_trial(p)))
    assert any(figure in what for what, _ in complaints)
    check_provider(p, across_scales=False)


# Arguments.


def test_names_say_what_a_repr_means():
    with pytest.raises(AssertionError, match="NameError: name 'Factor' is not defined"):
        check_converter(times(Factor(2)))
    check_converter(times(Factor(2)), names=NAMES)


def test_images_are_arrays_of_the_first_scale_or_providers():
    centred = fp.dilation(1.0)
    off_centre = blob((24, 24, 24), 0.5, (3.5, 0, 0), 1.0)
    scales = (0.5, 0.8)
    check_converter(centred, [off_centre, fp.from_arrays([BLOB, BLOB], 0.5)], scales)
    with pytest.raises(AssertionError, match=r"^moved.* at 0\.5 nm per voxel"):
        check_converter(moved(3), [BLOB], scales)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: check_provider(fp.invert()), TypeError, "p must be an ImageProvider"),
        (lambda: check_converter(fp.dilation), TypeError, "f must be an ImageConv"),
        (lambda: check_converter(fp.invert(), []), TypeError, "images must be one or"),
        (lambda: check_converter(fp.invert(), scales=(1.0, 1.0)), ValueError,
            "scales must be two or more different numbers"),
        (lambda: check_converter(fp.invert(), scales=(1.0, 0)), ValueError,
            r"scales\[1\] must be a number above 0, not 0"),
        (lambda: check_converter(fp.invert(), scales=1), ValueError, "scales must be"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_named(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_the_laws_need_no_hypothesis_and_the_strategies_say_that_they_do():
    code = """
import sys
sys.modules["hypothesis"] = None
import funpipe.testing
try:
    import funpipe.testing.strategies
except ImportError as error:
    print(error)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == (
        "hypothesis is needed for funpipe.testing.strategies: "
        "pip install 'funpipe[testing]'"
    )
