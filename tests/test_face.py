"""Mistakes of people who try things: one error each, which says what to write."""

from __future__ import annotations

import functools
import itertools
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import toolz
from hypothesis import given
from hypothesis import strategies as st

import funpipe as fp
from funpipe import Molecules, SubtomogramLoader, Tomogram
from funpipe.base import arguments
from funpipe.base.wording import fail, printable
from funpipe.io.volumes import write_mrc
from funpipe.stages.parsing import parse_pipeline

BLOB = fp.from_gaussian((8.0, 8.0, 8.0), sigma=(0.5, 1.0, 1.5))
VOLUME = np.random.default_rng(0).normal(size=(24, 24, 24)).astype(np.float32)
PICKS = Molecules([[10.0, 10.0, 10.0], [12.0, 12.0, 12.0]])
NAMED = PICKS.with_features(tomogram=["a", "b"])
OUTSIDE = Molecules([[10.0, 10.0, 10.0], [1.0, 12.0, 12.0]])
CHECKED = {"template": BLOB, "scale": 1.0}
OPTIONS = {**CHECKED, "progress": False}
BOXES = np.stack([BLOB(1.0)] * 2)


# Paths where what is in the file is wanted.


def using_template(value):
    return {
        "align": lambda: fp.align(VOLUME, PICKS, template=value, scale=1.0),
        "check": lambda: fp.check(VOLUME, PICKS, template=value, scale=1.0),
        "prepare": lambda: fp.prepare(value),
        "boxes": lambda: fp.align_subtomograms(BOXES, template=value, scale=1.0),
        "loader": lambda: SubtomogramLoader(VOLUME, PICKS, 1.0).align(value),
        "several": lambda: fp.prepare([BLOB, value]),
    }


def using_mask(value):
    return {
        "align": lambda: fp.align(VOLUME, PICKS, mask=value, **OPTIONS),
        "check": lambda: fp.check(VOLUME, PICKS, mask=value, **CHECKED),
        "prepare": lambda: fp.prepare(BLOB, value),
        "boxes": lambda: fp.align_subtomograms(BOXES, mask=value, **OPTIONS),
        "loader": lambda: SubtomogramLoader(VOLUME, PICKS, 1.0).align(BLOB, value),
    }


def using_molecules(value):
    return {
        "align": lambda: fp.align(VOLUME, value, **OPTIONS),
        "check": lambda: fp.check(VOLUME, value, **CHECKED),
        "average": lambda: fp.average(VOLUME, value, shape=4, scale=1.0),
        "subtomograms": lambda: fp.subtomograms(VOLUME, value, shape=4, scale=1.0),
        "loader": lambda: SubtomogramLoader(VOLUME, value, 1.0),
        "write": lambda: fp.write_molecules(value, "picks.csv"),
        "apply": lambda: fp.apply_alignment(
            value, fp.align_subtomograms(BOXES, **OPTIONS)
        ),
    }


PATHS = {
    "template": (using_template, "ribosome.mrc", "from_file"),
    "mask": (using_mask, "m.mrc", "from_file"),
    "molecules": (using_molecules, "picks.csv", "read_molecules"),
}


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize(
    ("name", "verb"),
    [(name, verb) for name, (using, *_) in PATHS.items() for verb in using("")],
)
def test_a_path_is_refused_with_what_reads_it(name, verb, kind):
    using, path, reader = PATHS[name]
    text = rf"{name}(\[1\])? must be .*: write {reader}\('{path}'\)"
    with pytest.raises((TypeError, ValueError), match=text):
        using(kind(path))[verb]()


# A tomogram's own scale and tilt.


def cut_at(scale):
    return fp.subtomograms(VOLUME, PICKS[:1], shape=4, scale=scale)


ONE = PICKS[:1].with_features(tomogram=["a"])


@pytest.mark.parametrize(
    "cut",
    [
        lambda own, of_all: fp.subtomograms(own, ONE, shape=4, scale=of_all)[0],
        lambda own, of_all: fp.average(own, ONE, shape=4, scale=of_all),
        lambda own, of_all: fp.average({"a": own}, ONE, shape=4, scale=of_all),
        lambda own, of_all: SubtomogramLoader(own, ONE, of_all).average(4),
        lambda own, of_all: SubtomogramLoader({"a": own}, ONE, of_all).average(4),
    ],
)
def test_a_tomograms_own_scale_wins_and_is_checked(cut):
    expected = cut_at(0.8)[0]
    np.testing.assert_array_equal(cut(Tomogram(VOLUME, scale=0.8), 0.6), expected)
    np.testing.assert_array_equal(cut(Tomogram(VOLUME), 0.8), expected)
    for bad in (-1, 0, "x"):
        with pytest.raises(ValueError, match="scale of a Tomogram must be"):
            cut(Tomogram(VOLUME, scale=bad), 0.8)


def test_a_tomograms_own_scale_is_the_one_of_its_templates():
    own, at = Tomogram(VOLUME, scale=0.8), {**OPTIONS, "preflight": False}
    expected = fp.align(VOLUME, PICKS, **{**at, "scale": 0.8})
    assert fp.align(own, PICKS, **{**at, "scale": 0.5}) == expected
    found = {each.name for each in fp.check(own, PICKS, **{**CHECKED, "scale": 0.5})}
    assert found == {
        each.name for each in fp.check(VOLUME, PICKS, **{**CHECKED, "scale": 0.8})
    }


@pytest.mark.parametrize("own", [{"scale": -1}, {"tilt": "x"}])
def test_what_a_tomogram_without_particles_says_is_checked_too(own):
    tomograms = {"a": VOLUME, "b": VOLUME, "c": Tomogram(VOLUME, **own)}
    with pytest.raises((TypeError, ValueError), match=f"{next(iter(own))} .*must be"):
        fp.align(tomograms, NAMED, **OPTIONS)


# The loader.


@pytest.mark.parametrize("tilt", ["x", (9, 1), 5, object()])
def test_a_loader_refuses_a_tilt_when_it_is_made(tilt):
    with pytest.raises((TypeError, ValueError), match="tilt must be"):
        SubtomogramLoader(VOLUME, PICKS, 1.0, tilt)
    with pytest.raises((TypeError, ValueError), match="tilt must be"):
        SubtomogramLoader(Tomogram(VOLUME, tilt=tilt), PICKS, 1.0)


def test_a_loader_takes_a_mapping_of_tomograms_as_align_does():
    tomograms = {"a": VOLUME, "b": Tomogram(VOLUME[::-1].copy(), tilt=(-50, 50))}
    loader = SubtomogramLoader(tomograms, NAMED, 1.0, tilt=(-60, 60))
    assert repr(loader) == (
        "SubtomogramLoader(2 tomograms of 1 nm, "
        "Molecules(2 particles, features: tomogram))"
    )
    options = {"template": BLOB, "progress": False, "preflight": False}
    given = {"scale": 1.0, "tilt": (-60, 60)}
    aligned = loader.align(**options)
    assert aligned.molecules == fp.align(tomograms, NAMED, **given, **options)
    np.testing.assert_array_equal(
        loader.average(6), fp.average(tomograms, NAMED, shape=6, **given)
    )


def test_a_loader_takes_the_feature_that_names_tomograms():
    other = PICKS.with_features(series=["a", "b"])
    tomograms = {"a": VOLUME, "b": VOLUME}
    with pytest.raises(ValueError, match="molecules have no feature 'tomogram'"):
        SubtomogramLoader(tomograms, other, 1.0)
    loader = SubtomogramLoader(tomograms, other, 1.0, tomogram_feature="series")
    found = loader.align(BLOB, progress=False, preflight=False)
    assert len(found.molecules) == len(loader.molecules) == 2
    assert found.average(6).shape == (6, 6, 6)


def test_a_loaders_repr_opens_no_file(tmp_path):
    path = tmp_path / "a.mrc"
    write_mrc(path, VOLUME, 1.0)
    loader = SubtomogramLoader(path, PICKS)
    path.unlink()
    assert "24 x 24 x 24 voxels of 1 nm" in repr(loader)


# Warnings.

TWO = Molecules(OUTSIDE.positions, None, {"tomogram": ["a", "a"]})
SEVERAL = {"a": VOLUME, "b": VOLUME}
CALLS = {
    "align": lambda: fp.align(VOLUME, OUTSIDE, **OPTIONS),
    "align curried": lambda: fp.align(**OPTIONS)(VOLUME, OUTSIDE),
    "align curried twice": lambda: fp.align(template=BLOB, progress=False)(scale=1.0)(
        VOLUME, OUTSIDE
    ),
    "align in a pipe": lambda: toolz.pipe(OUTSIDE, fp.align(**OPTIONS)(VOLUME), len),
    "align by partial": functools.partial(fp.align, VOLUME, OUTSIDE, **OPTIONS),
    "align of many": lambda: fp.align(SEVERAL, TWO, **OPTIONS),
    "average": lambda: fp.average(VOLUME, OUTSIDE, shape=8, scale=1.0),
    "average of many": lambda: fp.average(SEVERAL, TWO, shape=8, scale=1.0),
    "subtomograms": lambda: fp.subtomograms(VOLUME, OUTSIDE, shape=8, scale=1.0),
    "loader.align": lambda: SubtomogramLoader(VOLUME, OUTSIDE, 1.0).align(
        BLOB, progress=False
    ),
    "loader.average": lambda: SubtomogramLoader(VOLUME, OUTSIDE, 1.0).average(8),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_warning_is_blamed_on_the_line_that_called(name):
    with pytest.warns(UserWarning) as caught:
        CALLS[name]()
    assert {each.filename for each in caught} == {__file__}
    assert any("leave the tomogram" in str(each.message) for each in caught)


def test_a_second_call_on_another_line_warns_again():
    loader = SubtomogramLoader(VOLUME, OUTSIDE, 1.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            loader.average(8)
        loader.average(8)
    assert len(caught) == 2


def test_a_file_that_breaks_rules_is_blamed_on_the_line_that_opened_it(tmp_path):
    path = tmp_path / "longer.mrc"
    write_mrc(path, VOLUME, 1.0)
    with path.open("ab") as file:
        file.write(b"more")
    for call in (
        lambda: SubtomogramLoader(path, PICKS),
        lambda: fp.from_file(path)(1.0),
        lambda: (fp.invert() @ fp.from_file(path))(1.0),
        lambda: fp.average(path, PICKS, shape=4),
    ):
        with pytest.warns(UserWarning, match="breaks the rules of MRC") as caught:
            call()
        assert {each.filename for each in caught} == {__file__}


# Pipelines that are put together the wrong way.

BLUR = fp.gaussian_filter(1.5)
MISTAKES = [
    (lambda: BLUR @ VOLUME, r"write gaussian_filter\(1.5\) @ from_array\(array, scale"),
    (lambda: BLOB @ BLUR, r"write gaussian_filter\(1.5\) @ from_gaussian"),
    (lambda: BLUR(BLOB), r"write gaussian_filter\(1.5\) @ from_gaussian"),
    (lambda: BLUR(BLUR), r"write gaussian_filter\(1.5\) @ gaussian_filter\(1.5\)"),
    (lambda: BLUR @ "a.mrc", r"write gaussian_filter\(1.5\) @ from_file\('a.mrc'\)"),
    (lambda: BLUR @ np.sqrt, "make a stage by converter_function"),
    (lambda: np.sqrt @ BLUR, "make a stage by converter_function"),
    (lambda: fp.compose(BLUR, VOLUME), r"@ from_array\(array, scale\)"),
    (lambda: fp.lift(np.clip)(BLOB, a_min=0), r"def bound\(image\): return clip\(im"),
    (lambda: fp.lift(BLUR), "function must be one of arrays, not gaussian_filter"),
    (lambda: BLOB + 10**400, "a number beside a pipeline must be a finite number"),
]


@pytest.mark.parametrize("number", range(len(MISTAKES)))
def test_a_pipeline_put_together_wrongly_says_what_to_write(number):
    call, text = MISTAKES[number]
    with pytest.raises((TypeError, ValueError), match=text):
        call()


def test_what_numpy_warns_of_is_said_on_the_callers_line():
    with pytest.warns(UserWarning, match="divide by zero; there may be NaN") as caught:
        assert np.isinf(((BLOB + 1) / 0)(1.0)).all()
    assert [each.filename for each in caught] == [__file__]
    with np.errstate(divide="ignore"):
        (BLOB / 0)(1.0)
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        (BLOB / 0)(1.0)


def test_an_image_is_finite_but_nan_on_the_way_is_not_refused():
    image = BLOB(1.0)
    image[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="image must be finite"):
        BLUR(image)
    clean = fp.lift(np.nan_to_num)(fp.identity / (fp.identity - fp.identity))
    with np.errstate(all="ignore"):
        assert np.isfinite(clean(BLOB(1.0) + 1)).all()


@pytest.mark.parametrize(
    "text",
    [
        "-" * 9000 + "identity",
        "(" * 9000,
        "[" * 400 + "]" * 400,
        "~" * 500 + "identity",
    ],
)
def test_a_text_that_is_nested_too_deep_has_a_reason(text):
    with pytest.raises(ValueError, match="a pipeline's text") as caught:
        parse_pipeline(text)
    assert not str(caught.value).rstrip().endswith(":")


@pytest.mark.parametrize("found", [None, 1, PICKS, (1, 2)])
def test_what_is_no_alignment_is_refused(found):
    with pytest.raises((TypeError, ValueError), match="found must be an Alignment"):
        fp.apply_alignment(PICKS, found)


# Arguments of all kinds: each check refuses in its own words whatever it is given.


class Broken:
    """An object whose every part raises."""

    def __getattr__(self, name):
        raise RuntimeError("broken")

    def _raise(self, *_):
        raise RuntimeError("broken")

    __len__ = __iter__ = __repr__ = __float__ = __index__ = __bool__ = _raise
    __array__ = __fspath__ = __eq__ = __getitem__ = _raise
    __hash__ = None


class Pretending:
    """An object that does not say what it is."""

    @property
    def __class__(self):
        raise RuntimeError("broken")


ENDLESS: list = []
ENDLESS.append(ENDLESS)
DEEP: list = []
for _ in range(5000):
    DEEP = [DEEP]
ODD = [
    10**400,
    -(10**5000),
    Fraction(10**400, 3),
    ENDLESS,
    DEEP,
    [[1], [2, 3]],
    [1, [2, 3], 4],
    {},
    {1, 2, 3},
    Broken(),
    [Broken()] * 3,
    object(),
    "a\x1b[31mb",
    b"abc",
    "\ud800",
    "a\0b",
    1j,
    np.ma.masked,
    np.ma.masked_array([1.0, 2.0, 3.0], [True, False, False]),
    np.array([None, None, None]),
    np.array([b"1", b"2", b"3"]),
    np.zeros((0, 3, 2)),
    np.array([1e300, np.nan, 1]),
    np.datetime64("2020-01-01"),
    (i for i in range(3)),
    itertools.count(),
    float("nan"),
    type,
]
CHECKS = [
    arguments.number,
    arguments.positive,
    arguments.non_negative,
    arguments.optional_positive,
    arguments.whole_number,
    arguments.positive_integer,
    arguments.spline_order,
    arguments.vector,
    arguments.positive_vector,
    arguments.non_negative_vector,
    arguments.shape,
    arguments.flag,
    arguments.executor,
    arguments.image,
    arguments.images,
    arguments.points,
    arguments.optional_vector,
    arguments.optional_weights,
    arguments.paths,
    arguments.symmetry,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda each: each.__name__)
def test_every_check_names_the_argument_whatever_it_is_given(check):
    for each in ODD:
        with pytest.raises((TypeError, ValueError)) as caught:
            check("the argument", each)
        text = str(caught.value)
        assert text.startswith("the argument")
        assert len(text) < 500
        assert text.isprintable()


NO_PATHS = [b"a", "", "a\0b", "\ud800", Broken(), ENDLESS, 5]


@pytest.mark.parametrize("number", range(len(NO_PATHS)))
def test_what_is_no_path_is_refused_by_its_name(number):
    value = NO_PATHS[number]
    for call in (
        lambda: fp.from_file(value),
        lambda: fp.read_molecules(value),
        lambda: fp.write_molecules(PICKS, value),
        lambda: fp.write_volume(value, VOLUME, 1.0),
        lambda: Molecules.from_csv(value),
        lambda: PICKS.to_csv(value),
    ):
        with pytest.raises((TypeError, ValueError), match="path must be a path"):
            call()


def test_an_object_that_does_not_say_what_it_is_is_still_an_error():
    with pytest.raises(TypeError, match=r"^name must be a thing, not "):
        fail("name", "a thing", Pretending())


@given(st.text())
def test_an_escaped_text_is_printable(text):
    assert printable(text).isprintable()
