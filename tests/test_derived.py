"""Derived stages are the pipelines that they stand for, under names of their own."""

from __future__ import annotations

import inspect
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import funpipe as fp
from funpipe import derived_function, identity
from funpipe.testing.strategies import converters, images, lengths, numbers, pipelines

IMAGE = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)


@derived_function
def shell(radius: float, width: float = 1.0) -> fp.ImageConverter:
    return fp.sphere(radius) & ~fp.sphere(radius - width)


@derived_function
def soft_blob(width: float) -> fp.ImageProvider:
    return fp.gaussian_filter(1.0) @ fp.from_gaussian(8.0, width)


@derived_function
def nothing():
    return identity


@derived_function
def twice(p):
    return p + p


NAMES: dict[str, object] = {}
exec("from numpy import *\nfrom funpipe import *", NAMES)
NAMES |= {"shell": shell, "soft_blob": soft_blob, "nothing": nothing, "twice": twice}

PAIRS = [
    (
        fp.soft_otsu(1, 1),
        fp.gaussian_smooth(1) @ fp.dilation(1) @ fp.threshold_otsu(),
        "soft_otsu()",
    ),
    (fp.soft_otsu(2.0), fp.soft_otsu(2.0, 1.0, 256), "soft_otsu(2.0)"),
    (fp.invert(), -identity, "invert()"),
    (
        fp.highpass_filter(2.0),
        identity - fp.lowpass_filter(2.0),
        "highpass_filter(2.0)",
    ),
    (
        fp.bandpass_filter(1.5, 3.0),
        fp.lowpass_filter(1.5) @ (identity - fp.lowpass_filter(3.0)),
        "bandpass_filter(1.5, 3.0)",
    ),
    (shell(2.0), fp.sphere(2.0) & ~fp.sphere(1.0), "shell(2.0)"),
    (nothing(), identity, "nothing()"),
    (
        twice(fp.dilation(1.0)),
        fp.dilation(1.0) + fp.dilation(1.0),
        "twice(dilation(1.0))",
    ),
    (
        soft_blob(2.0),
        fp.gaussian_filter(1.0) @ fp.from_gaussian(8.0, 2.0),
        "soft_blob(2.0)",
    ),
]


def evaluate(p):
    return p(1.0) if isinstance(p, fp.ImageProvider) else p(IMAGE, 0.7)


@pytest.mark.parametrize("derived, whole, text", PAIRS)
def test_a_derived_stage_is_what_it_stands_for(derived, whole, text):
    assert derived == whole and whole == derived
    assert hash(derived) == hash(whole)
    np.testing.assert_array_equal(evaluate(derived), evaluate(whole))
    assert repr(derived) == text
    assert eval(repr(derived), dict(NAMES)) == whole
    again = pickle.loads(pickle.dumps(derived))
    assert again == derived and repr(again) == text


@pytest.mark.parametrize("derived, whole, text", PAIRS)
def test_it_prints_under_its_name_where_it_stands_whole(derived, whole, text):
    assert repr(fp.normalize() @ derived) == f"normalize() @ {text}"
    assert fp.normalize() @ derived == fp.normalize() @ whole


def test_a_row_that_a_derived_stage_begins_is_equal_to_the_row_it_stands_for():
    derived, whole = shell(2.0), fp.sphere(2.0) & ~fp.sphere(1.0)
    f, p = fp.crop_or_pad(3.0), fp.from_gaussian(8.0, 1.0)
    for row in (lambda q: q & f, lambda q: q & f & p, lambda q: (q | f) & p):
        assert row(derived) == row(whole) and hash(row(derived)) == hash(row(whole))
        assert repr(row(derived)).count("shell(2.0)") == 1
    assert f & derived != f & fp.sphere(2.0) & ~fp.sphere(1.0)


@given(st.sampled_from(PAIRS), converters, pipelines, numbers)
def test_what_is_made_of_equals_is_equal(pair, f, p, a):
    derived, whole, _ = pair
    for made in (
        lambda q: q + a,
        lambda q: q & p,
        lambda q: p - q,
        lambda q: (q & p) & f,
        lambda q: (q - a) - p,
        lambda q: f @ q,
        lambda q: f @ q + q,
        lambda q: q + fp.threshold_otsu(),
    ):
        left, right = made(derived), made(whole)
        assert left == right and hash(left) == hash(right)
        assert eval(repr(left), dict(NAMES)) == left


@given(converters, converters, lengths, lengths)
def test_composition_distributes_from_before_a_derived_stage(f, g, sigma, radius):
    h = fp.soft_otsu(sigma, radius)
    assert f @ h + g @ h == (f + g) @ h
    assert (
        f @ h + g @ fp.threshold_otsu()
        == (f @ fp.gaussian_smooth(sigma) @ fp.dilation(radius) + g)
        @ fp.threshold_otsu()
    )


@given(images)
def test_a_shared_derived_stage_keeps_its_name(image):
    h = fp.soft_otsu(2.0)
    made = fp.normalize() @ h + fp.invert() @ h
    assert repr(made) == "(normalize() + invert()) @ soft_otsu(2.0)"


def test_what_a_derived_function_returns_is_checked():
    @derived_function
    def wrong(a):
        return a

    with pytest.raises(TypeError, match="wrong must return a pipeline, not 1"):
        wrong(1)
    with pytest.raises(TypeError, match=r"soft_otsu: got an unexpected .* 'sgima'"):
        fp.soft_otsu(sgima=1.0)


def test_a_derived_function_is_curried_and_shows_itself():
    assert repr(shell) == "<shell, waiting for radius>"
    assert shell(width=2.0)(3.0) == shell(3.0, 2.0)
    assert "return fp.sphere(radius)" in inspect.getsource(shell)
    assert inspect.signature(shell).return_annotation is fp.ImageConverter
    assert pickle.loads(pickle.dumps(fp.soft_otsu)) is fp.soft_otsu


def test_a_stage_in_a_derived_one_is_named_in_its_error():
    with pytest.raises(ValueError, match=r"radius") as caught:
        twice(fp.closing(1e6))(IMAGE, 1.0)
    assert any("closing(1000000.0)" in each for each in caught.value.__notes__)
