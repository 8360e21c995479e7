"""The image after every stage is that of the pipeline up to there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import funpipe as fp

BLOB = fp.from_gaussian((4.0, 5.0, 6.0), sigma=(0.8, 1.0, 1.5))
IMAGE = BLOB(0.5)
CONVERTERS = [
    fp.gaussian_filter(0.5),
    fp.threshold(0.2),
    fp.soft_otsu(0.5, 0.5),
    fp.identity + 1,
    fp.sphere(1.0) & ~fp.threshold(0.5),
]
chains = st.lists(st.sampled_from(CONVERTERS), min_size=1, max_size=4)


@given(chains, st.sampled_from([0.5, 1.0]))
def test_each_image_is_that_of_the_pipeline_up_to_there(chain, scale):
    converter = fp.compose(*chain)
    of_provider = fp.stage_images(converter @ BLOB, scale)
    of_converter = fp.stage_images(converter, scale, image=IMAGE)
    expected, others = [BLOB(scale)], []
    image = IMAGE
    for each in reversed(chain):  # a naive loop
        expected.append(each(expected[-1], scale))
        image = each(image, scale)
        others.append(image)
    for found, wanted in ((of_provider, expected), (of_converter, others)):
        assert len(found) == len(wanted)
        for one, other in zip(found.values(), wanted, strict=True):
            np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(
        [*of_provider.values()][-1], (converter @ BLOB)(scale)
    )


def test_the_texts_are_the_stages_own():
    pipeline = fp.gaussian_filter(0.5) @ fp.invert() @ fp.gaussian_filter(0.5) @ BLOB
    assert list(fp.stage_images(pipeline, 1.0)) == [
        "from_gaussian((4.0, 5.0, 6.0), (0.8, 1.0, 1.5))",
        "gaussian_filter(0.5)",
        "invert()",
        "gaussian_filter(0.5) (2)",
    ]


def test_of_many_images_each_is_a_list():
    pipeline = fp.invert() @ fp.from_arrays([IMAGE, 2 * IMAGE], 0.5)
    first, last = fp.stage_images(pipeline, 0.5).values()
    np.testing.assert_array_equal(last[1], -first[1])
    assert len(first) == len(last) == 2


def test_nothing_is_changed_or_shared():
    before = IMAGE.copy()
    kept = fp.converter_function(same)() @ fp.converter_function(same)()
    first, second = fp.stage_images(kept, 0.5, image=IMAGE).values()
    first[:] = 7
    np.testing.assert_array_equal(second, before)
    np.testing.assert_array_equal(IMAGE, before)


def same(image, scale):
    return image


def test_it_waits_for_the_scale():
    assert len(fp.stage_images(BLOB)(0.5)) == 1


def test_nan_that_arises_on_the_way_is_passed_on():
    clean = fp.lift(np.nan_to_num)(fp.identity) @ (fp.identity / (fp.identity * 0))
    with np.errstate(all="ignore"):
        found = [*fp.stage_images(clean, 0.5, image=IMAGE).values()]
    assert not np.isfinite(found[0]).all() and np.isfinite(found[1]).all()


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: fp.stage_images(fp.invert(), 1.0), "image must be given"),
        (lambda: fp.stage_images(BLOB, 1.0, image=IMAGE), "image must be left out"),
        (lambda: fp.stage_images(BLOB, 0.0), "scale must be a number above 0"),
        (lambda: fp.stage_images(IMAGE, 1.0), "pipeline must be an ImageProvider"),
        (lambda: fp.stage_images(fp.dilation, 1.0), "dilation is not a pipeline yet"),
        (lambda: fp.stage_images(fp.invert(), 1.0, image=1), "converts a 3-D numeric"),
        (
            lambda: fp.stage_images(fp.identity, 1.0, image=IMAGE * np.nan),
            "image must be finite",
        ),
    ],
)
def test_what_is_wrong_is_said(call, text):
    with pytest.raises((TypeError, ValueError), match=text):
        call()


def test_a_stage_that_fails_is_named():
    pipeline = fp.gaussian_filter(0.5) @ fp.from_file("missing.mrc")
    with pytest.raises(FileNotFoundError) as caught:
        fp.stage_images(pipeline, 1.0)
    assert "in the stage from_file('missing.mrc')" in caught.value.__notes__
