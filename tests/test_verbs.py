"""Verbs wait for their data, say for what, and take what they are given strictly."""

from __future__ import annotations

import inspect
import pickle
import pydoc
import warnings

import numpy as np
import pytest
import toolz

import funpipe as fp
from funpipe.algebra.verbs import Verb, verb

BLOB = fp.from_gaussian((8.0, 8.0, 8.0), sigma=(0.8, 1.0, 1.4))
MASK = fp.sphere(3.0)
PICKS = np.array([[9.0, 9.0, 10.0]])
VERBS = [
    *(fp.align, fp.align_subtomograms, fp.average, fp.check),
    *(fp.half_averages, fp.halves, fp.fsc, fp.conical_fsc, fp.local_resolution),
    *(fp.distinct, fp.neighbours, fp.random_rotations, fp.symmetry_expand),
    *(fp.refine, fp.search),
    *(fp.classify, fp.landscape, fp.score),
    *(fp.stage_images, fp.report),
    *(getattr(fp.plot, each) for each in fp.plot.__all__ if each != "central_slices"),
    *(fp.helix, fp.lattice, fp.subtract),
]
QUIET = {"scale": 1.0, "progress": False}


@pytest.fixture(name="tomogram")
def _tomogram():
    tomogram = np.zeros((20, 20, 20))
    tomogram[6:14, 6:14, 6:14] = BLOB(1.0)
    return tomogram


@verb
def moved(origin, points, *, by, sign=1):
    """Move points."""
    return [origin + sign * by * each for each in points]


def test_all_verbs_are_curried():
    assert all(isinstance(each, Verb) for each in VERBS)


@pytest.mark.parametrize(
    "waiting, text",
    [
        (fp.align, "<align, waiting for tomogram, molecules, template>"),
        (fp.align("t.mrc", template=BLOB), "<align, waiting for molecules>"),
        (fp.align(template=BLOB), "<align, waiting for tomogram, molecules>"),
        (fp.average("t.mrc", shape=28), "<average, waiting for molecules>"),
        (fp.check, "<check, waiting for tomogram, molecules, template>"),
        (
            fp.align_subtomograms(template=BLOB, scale=1.0),
            "<align_subtomograms, waiting for boxes>",
        ),
    ],
)
def test_a_verb_says_what_it_waits_for(waiting, text):
    assert repr(waiting) == str(waiting) == text


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda: fp.align(np.zeros((20,) * 3), PICKS, scale=1.0), "template"),
        (lambda: fp.align("t.mrc")(PICKS), "template"),
        (lambda: fp.align(molecules=PICKS, template=BLOB), "tomogram"),
        (lambda: fp.average("t.mrc", PICKS), "shape"),
        (lambda: fp.check("t.mrc", PICKS), "template"),
        (lambda: fp.align_subtomograms(np.zeros((1, 8, 8, 8)), scale=1.0), "template"),
    ],
)
def test_with_its_data_a_verb_names_what_else_is_missing(call, name):
    with pytest.raises(TypeError, match=f"^[a-z_]+: {name} must be given; it takes"):
        call()


@pytest.mark.parametrize("function", VERBS)
def test_a_wrong_keyword_fails_where_it_is_written(function):
    name = function.__name__
    wrong = rf"{name}: got an unexpected keyword argument 'tempalte'; it takes \("
    with pytest.raises(TypeError, match=wrong):
        function(tempalte=BLOB)


def test_a_surplus_argument_is_an_error():
    with pytest.raises(TypeError, match=r"surplus argument 1; it takes \("):
        fp.align("t.mrc", PICKS, 1, template=BLOB)
    with pytest.raises(TypeError, match="multiple values for argument 'tomogram'"):
        fp.align("t.mrc", tomogram="t.mrc")


def test_arguments_come_in_any_order(tomogram):
    at_once = fp.align(tomogram, PICKS, template=BLOB, mask=MASK, **QUIET)
    for waiting in (
        fp.align(template=BLOB, mask=MASK)(tomogram, **QUIET),
        fp.align(tomogram)(template=BLOB, mask=MASK, **QUIET),
        fp.align(tomogram=tomogram)(template=BLOB, mask=MASK, **QUIET),
        fp.align(tomogram, mask=None)(template=BLOB, mask=MASK, **QUIET),
    ):
        assert waiting(PICKS) == at_once


def test_a_study_is_a_pipe(tmp_path, tomogram):
    path = tmp_path / "tomo.mrc"
    fp.write_volume(path, tomogram.astype(np.float32), scale=1.0)

    def best(molecules):
        return molecules[molecules.features["score"] > 0.5]

    mean = toolz.pipe(
        PICKS,
        fp.align(path, template=BLOB, mask=MASK, max_shifts=2, progress=False),
        best,
        fp.average(path, shape=8),
    )
    assert np.corrcoef(mean.ravel(), BLOB(1.0).ravel())[0, 1] > 0.99


def test_a_verb_gets_what_was_given_and_not_a_copy():
    big = np.zeros(3)
    assert verb(lambda tomogram, points: tomogram)(big)([]) is big


def test_an_error_of_the_function_itself_is_no_curry():
    with pytest.raises(TypeError, match="unsupported operand"):
        moved(0.0, [None], by=2.0)


@pytest.mark.parametrize("function", VERBS)
def test_inspect_and_help_see_the_plain_function(function):
    plain = function.__wrapped__
    assert inspect.isfunction(plain)
    assert inspect.signature(function) == inspect.signature(plain)
    assert inspect.getsource(function) == inspect.getsource(plain)
    assert f"def {function.__name__}(" in inspect.getsource(function)
    text = pydoc.plain(pydoc.render_doc(function))
    first = str(inspect.signature(plain)).partition(":")[0]
    assert f"{function.__name__}{first}" in text.replace("\n    ", "")
    assert inspect.getdoc(plain).partition("\n")[0] in text


def test_the_source_of_a_stage_function_is_shown():
    assert "def dilation(" in inspect.getsource(fp.dilation)
    assert not hasattr(type(fp.dilation), "__wrapped__")


def test_the_signature_of_what_waits_is_what_is_left():
    assert str(inspect.signature(moved(1.0, by=2.0))) == "(points, *, sign=1)"


@pytest.mark.parametrize("function", VERBS)
def test_verbs_are_pickled_by_name(function):
    assert pickle.loads(pickle.dumps(function)) is function


def test_waiting_verbs_compare_by_content_and_are_pickled():
    one, other = (fp.align(np.zeros((4,) * 3), template=BLOB) for _ in range(2))
    assert one == other == fp.align(template=BLOB, tomogram=np.zeros((4,) * 3))
    assert hash(one) == hash(other)
    assert one != fp.align(np.ones((4,) * 3), template=BLOB)
    assert one != fp.align and fp.align != fp.check and one != 1
    again = pickle.loads(pickle.dumps(one))
    assert again == one and repr(again) == repr(one)


def test_a_warning_is_blamed_on_the_line_of_the_call(tomogram):
    waiting = fp.align(tomogram, template=BLOB, preflight=False, **QUIET)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        toolz.pipe(np.array([[1.0, 9.0, 9.0]]), waiting)
    assert {each.filename for each in found} == {__file__}


def test_a_verb_must_take_its_data_by_position():
    with pytest.raises(TypeError, match="must take its data by position"):
        verb(lambda *, points: points)
