"""Arguments of an alignment: what is wrong is said, once, before any work starts."""

from __future__ import annotations

import inspect
import itertools
import warnings

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.base import arguments
from funpipe.engine import costs
from funpipe.jobs.preparing import prepare_all
from funpipe.jobs.searching import Search, sampling, search_for
from funpipe.space.geometry import rotation_grid

RANDOM = np.random.default_rng(0)
BOX = (9, 10, 11)
TEMPLATE = RANDOM.normal(size=BOX).astype(np.float32)
BOXES = RANDOM.normal(size=(2, *BOX)).astype(np.float32)
TOMOGRAM = RANDOM.normal(size=(24, 24, 24)).astype(np.float32)
PICKS = np.array([[10.0, 11.0, 12.0]])
MASK = np.ones(BOX, np.float32)
ALIGN_ONLY = (
    *("refine", "whiten", "estimate", "prior"),
    *("preflight", "checkpoint", "progress"),
)
QUIET = {"scale": 1.0, "progress": False}


def of_boxes(**options):
    options = {"template": TEMPLATE, **QUIET, **options}
    return fp.align_subtomograms(BOXES, **options)


def whole(**options):
    options = {"template": TEMPLATE, "preflight": False, **QUIET, **options}
    return fp.align(TOMOGRAM, PICKS * options["scale"], **options)


def checked(**options):
    """Check what is aligned; `check` has no options that change nothing for it."""
    options = {"template": TEMPLATE, "scale": 1.0, **options}
    given = {name: each for name, each in options.items() if name not in ALIGN_ONLY}
    return fp.check(TOMOGRAM, PICKS * given["scale"], **given)


def by_loader(**options):
    loader = fp.SubtomogramLoader(TOMOGRAM, PICKS, scale=1.0)
    options = {"template": TEMPLATE, "preflight": False, "progress": False, **options}
    return loader.align(**options)


EVERY_WAY = [of_boxes, whole, checked, by_loader]


# Shifts.


@pytest.mark.parametrize("function", [fp.align, fp.align_subtomograms, fp.check])
def test_shifts_that_are_not_given_are_up_to_what_fits(function):
    assert inspect.signature(function).parameters["max_shifts"].default is None


@pytest.mark.parametrize("way", [of_boxes, whole, checked])
@pytest.mark.parametrize("scale", [0.1, 0.25, 1.0])
def test_shifts_that_are_not_given_are_not_complained_about(way, scale):
    way(scale=scale, refine=False)


def search(scale=1.0, max_shifts=None, rotations=None, box=BOX, symmetry="C1"):
    prepared = prepare_all(RANDOM.normal(size=box), None, scale)
    asked = search_for(max_shifts=max_shifts, rotations=rotations, symmetry=symmetry)
    return sampling(asked, prepared, scale)


def test_shifts_are_up_to_1_nm_by_default_or_half_the_box():
    assert search(1.0).window == (1.0, 1.0, 1.0)
    assert search(0.25).window == (4.0, 4.0, 4.0)
    assert search(0.22).window == (4.0, 4.5, pytest.approx(1 / 0.22))
    assert search(0.1).window == (4.0, 4.5, 5.0)
    assert search(0.25, max_shifts=0.5).window == (2.0, 2.0, 2.0)


def test_where_1_nm_fits_it_is_as_if_it_were_given():
    by_default, given = of_boxes(), of_boxes(max_shifts=1.0)
    np.testing.assert_array_equal(by_default.shifts, given.shifts)
    np.testing.assert_array_equal(by_default.scores, given.scores)


def test_only_shifts_that_were_given_are_complained_about():
    full = np.zeros(BOX)
    full[:2, 2:-2, 2:-2] = full[-2:, 2:-2, 2:-2] = 1
    assert checked(template=full) == []
    (finding,) = checked(template=full, max_shifts=1.0)
    assert finding.advice.startswith("max_shifts takes")


# Memory.


@pytest.fixture
def small_machine(monkeypatch):
    monkeypatch.setattr(arguments, "memory", lambda: 8e9)


@pytest.mark.parametrize("way", EVERY_WAY)
def test_a_search_too_large_for_memory_is_refused_before_it_is_built(
    way, small_machine, monkeypatch
):
    monkeypatch.setattr("funpipe.jobs.searching.rotation_grid", None)
    with pytest.raises(ValueError) as error:
        way(rotations=((180, 1),) * 3)
    text = str(error.value)
    assert text.startswith("rotations must fit into memory: 47,045,881 of them")
    assert "27 shifts take up to " in text and "GB, of which there are 8;" in text
    assert "take a coarser step first, such as ((180, 3), (180, 3), (180, 3))" in text


@pytest.mark.parametrize("rotations", [((180, 3),) * 3, (180, 3)])
def test_what_is_suggested_is_not_refused(rotations, small_machine, monkeypatch):
    monkeypatch.setattr("funpipe.jobs.searching.rotation_grid", lambda *_: fine)
    fine = rotation_grid((12, 6))
    search(rotations=rotations)


@pytest.mark.parametrize("step", [1e-3, 1e-9, 1e-300, 5e-324])
def test_the_smallest_steps_are_refused_too(step, small_machine):
    for rotations in ((10, step), ((10, step),) * 3):
        with pytest.raises(ValueError, match=r"^rotations must fit into memory: "):
            search(rotations=rotations)


def test_symmetry_does_not_help_what_is_too_large_to_build(small_machine):
    with pytest.raises(ValueError, match=r"^rotations must fit into memory: "):
        search(rotations=((180, 1),) * 3, symmetry="D360")


def test_where_shifts_take_the_memory_that_is_said(monkeypatch):
    cost = costs.Cost((1, 300, 300, 300), (100.0,) * 3, 2.0, True)
    monkeypatch.setattr(arguments, "memory", lambda: 64e9)
    with pytest.raises(ValueError, match=r"8,120,601 shifts .* a smaller max_shifts"):
        costs.check_cost(cost, None, 1)


def test_usual_searches_are_not_refused(monkeypatch):
    monkeypatch.setattr(arguments, "memory", lambda: 8e9)
    for box, window, finest in itertools.product((32, 64, 96), (3.0, 5.0), (2.0, 4.0)):
        cost = costs.Cost((2, box, box, box), (window,) * 3, finest, True)
        for rotations in (1, 343, 8595):
            costs.check_cost(cost, None, rotations)


# Boxes of few voxels.


@pytest.mark.parametrize("box", list(itertools.product((1, 2), repeat=3)))
@pytest.mark.parametrize("rotations", [None, (12, 6)])
def test_a_box_into_which_no_wave_fits_is_refused(box, rotations):
    template = np.arange(np.prod(box), dtype=float).reshape(box)
    text = "template must (have 3 voxels or more along an axis|vary under its mask)"
    with pytest.raises(ValueError, match=text):
        fp.align_subtomograms(
            template[None], template=template, rotations=rotations, **QUIET
        )
    with pytest.raises(ValueError, match=text):
        fp.align(TOMOGRAM, PICKS, template=template, rotations=rotations, **QUIET)


@pytest.mark.parametrize("box", [(3, 3, 3), (1, 1, 3), (3, 2, 1), (4, 4, 4)])
def test_a_box_of_3_voxels_is_aligned(box):
    template = np.random.default_rng(3).normal(size=box)
    (score,) = fp.align_subtomograms(template[None], template=template, **QUIET).scores
    assert score == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("box", [(1, 4, 2), (4, 1, 3), (4, 3, 1), (1, 4, 4)])
def test_a_flat_box_is_aligned_though_some_turns_change_nothing(box):
    random = np.random.default_rng(0)
    template, boxes = random.normal(size=box), random.normal(size=(2, *box))
    found = fp.align_subtomograms(boxes, template=template, rotations=(12, 6), **QUIET)
    assert (np.abs(found.scores) <= 1).all()
    assert np.degrees(found.rotations.magnitude()).max() <= 12 + 1e-6


# Masks.


def test_a_mask_beyond_0_to_1_is_clipped_with_one_warning_that_gives_its_range():
    wild = np.where(np.indices(BOX)[0] > 4, 3.5, -0.25)
    with pytest.warns(UserWarning) as warned:
        template, mask = fp.prepare(TEMPLATE, wild)
    (warning,) = warned
    assert str(warning.message).startswith("mask goes from -0.25 to 3.5, where it ")
    assert warning.filename == __file__
    np.testing.assert_array_equal(mask, np.clip(wild, 0, 1))
    np.testing.assert_array_equal(template, TEMPLATE)
    assert wild.max() == 3.5


@pytest.mark.parametrize("way", EVERY_WAY)
def test_with_a_mask_beyond_0_to_1_it_is_as_with_the_clipped_one(way):
    wild = np.where(np.indices(BOX)[0] > 2, 3.5, -0.25)
    with pytest.warns(UserWarning, match="mask goes from") as warned:
        found = way(mask=wild)
    assert [each.filename for each in warned] == [__file__]
    clipped = way(mask=np.clip(wild, 0, 1))
    if way is of_boxes:
        np.testing.assert_array_equal(found.scores, clipped.scores)
    elif way is by_loader:
        assert found.molecules == clipped.molecules
    else:
        assert found == clipped


def test_of_several_masks_beyond_it_is_said_once():
    with pytest.warns(UserWarning) as warned:
        fp.prepare([TEMPLATE] * 2, [MASK * 2, MASK * np.linspace(-0.8, 1, 11)])
    (warning,) = warned
    assert "mask goes from -0.8 to 2," in str(warning.message)


def test_a_mask_rounded_beyond_0_to_1_is_clipped_in_silence():
    rounded = np.where(np.indices(BOX)[0] > 4, 1.0009, -0.0009)
    mask = fp.prepare(TEMPLATE, rounded).mask
    assert mask.min() == 0 and mask.max() == 1


def test_a_mask_below_0_everywhere_is_empty():
    with (
        pytest.warns(UserWarning, match="mask goes from -1 to -1"),
        pytest.raises(ValueError, match="mask must be above 0 somewhere"),
    ):
        fp.prepare(TEMPLATE, -MASK)


# Masked arrays.


def masked_array(array):
    array = np.ma.array(array, mask=np.zeros(np.shape(array), bool))
    array[(0,) * array.ndim] = np.ma.masked
    return array


MASKED = {
    "template": lambda: of_boxes(template=masked_array(TEMPLATE)),
    "mask": lambda: of_boxes(mask=masked_array(MASK)),
    "boxes": lambda: fp.align_subtomograms(
        masked_array(BOXES), template=TEMPLATE, **QUIET
    ),
    "tomogram": lambda: fp.align(
        masked_array(TOMOGRAM), PICKS, template=TEMPLATE, **QUIET
    ),
    "positions": lambda: fp.Molecules(masked_array(PICKS)),
    "molecules": lambda: fp.average(TOMOGRAM, masked_array(PICKS), shape=4, scale=1),
    "img": lambda: fp.from_array(masked_array(TEMPLATE)),
    r"imgs\[0\]": lambda: fp.from_arrays([masked_array(TEMPLATE)]),
    "atoms": lambda: fp.from_atoms(masked_array(PICKS), sigma=1.0),
}


@pytest.mark.parametrize("name", MASKED)
def test_masked_values_are_not_taken_for_values(name):
    with pytest.raises(ValueError, match=rf"{name}\S* must have no masked values"):
        MASKED[name]()


def test_a_masked_array_in_which_nothing_is_masked_is_an_array():
    bare = np.ma.array(TEMPLATE)
    np.testing.assert_array_equal(fp.prepare(bare, np.ma.array(MASK)).template, bare)


# Tilts.


def negative(vectors):
    return np.where(vectors[0] > vectors[1], -0.5, 1.0)


def unknown(vectors):
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.abs(vectors[0] / vectors[2])  # NaN and infinity on two planes


def flat(vectors):
    return np.ones(vectors[0].size)


def one(vectors):
    return 1.0


def complex_weights(vectors):
    return np.ones(vectors.shape[1:]) * 1j


def nothing(vectors):
    return None


def ragged(vectors):
    return [[1.0, 2.0], [3.0]]


def broken(vectors):
    raise KeyError("no such angle")


@pytest.mark.parametrize(
    "tilt", [negative, unknown, flat, one, complex_weights, nothing, ragged, broken]
)
@pytest.mark.parametrize("way", EVERY_WAY)
def test_weights_that_are_none_are_refused_before_work_starts(way, tilt):
    with pytest.raises((ValueError, TypeError, KeyError)) as error:
        way(tilt=tilt)
    assert "tilt" in "\n".join(
        [str(error.value), *getattr(error.value, "__notes__", ())]
    )
    assert not isinstance(error.value, IndexError)


def late(vectors):
    """Return good weights for a few vectors, and bad ones for many."""
    return np.full(vectors.shape[1:], 1.0 if vectors[0].size < 200 else np.nan)


def test_average_refuses_weights_that_are_bad_later():
    with pytest.raises(ValueError, match=r"tilt must give weights .*, not nan"):
        fp.average(TOMOGRAM, PICKS, shape=12, scale=1.0, tilt=late)


@pytest.mark.parametrize(
    "tilt",
    [
        ((1, 2), (3,)),
        [[-60], [60, 1]],
        (-60, None),
        (None, None),
        np.zeros((2, 2)),
        np.array(["a", "b"]),
        ("-60", "60"),
        "ab",
        b"ab",
        (-60, float("nan")),
        (True, 60),
        {1: 2, 3: 4},
        {-60, 60},
        60,
    ],
)
@pytest.mark.parametrize("way", [of_boxes, checked])
def test_what_is_no_range_of_tilts_is_named(way, tilt):
    with pytest.raises(
        (ValueError, TypeError), match=r"^tilt must be None, two angles"
    ):
        way(tilt=tilt)


# Flags, symmetries.


@pytest.mark.parametrize("value", ["no", 1, 0, None, np.ones(2, bool), "True", 0.0])
@pytest.mark.parametrize("name", ["refine", "whiten"])
@pytest.mark.parametrize("way", [of_boxes, whole, by_loader])
def test_flags_are_true_or_false(way, name, value):
    with pytest.raises((ValueError, TypeError), match=f"{name} must be True or False"):
        way(**{name: value})


def test_flags_of_numpy_are_flags():
    given = of_boxes(refine=np.False_, whiten=np.True_)
    assert (given.scores == of_boxes(refine=False, whiten=True).scores).all()


@pytest.mark.parametrize("name", ALIGN_ONLY)
def test_check_has_no_options_that_change_nothing_for_it(name):
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
        fp.check(TOMOGRAM, PICKS, template=TEMPLATE, scale=1.0, **{name: True})


def test_check_has_the_options_of_align_that_say_what_is_searched():
    of_align = inspect.signature(fp.align).parameters
    of_check = inspect.signature(fp.check).parameters
    assert [each for each in of_align if each not in ALIGN_ONLY] == list(of_check)
    for name in set(of_check) - {"tomogram", "molecules", "template"}:
        assert of_align[name] == of_check[name]


def test_a_search_is_one_value_with_the_defaults_of_align():
    names = set(inspect.signature(search_for).parameters)
    assert names == set(Search._fields)
    for verb in (fp.align, fp.align_subtomograms):
        given = inspect.signature(verb).parameters
        assert search_for(**{each: given[each].default for each in names}) == (
            search_for()
        )


@pytest.mark.parametrize(
    "value", ["C999999", "D361", "C0", "C01", "C", "c2", "C2 ", "C²", "X", "", 2, None]
)
def test_a_symmetry_has_a_bound_that_is_said(value):
    text = "symmetry must be a symmetry 'C1' to 'C360', 'D1' to 'D360', 'T', 'O' or 'I'"
    for ask in (lambda: fp.symmetrize(value), lambda: of_boxes(symmetry=value)):
        with pytest.raises((ValueError, TypeError), match=text):
            ask()


def test_the_highest_symmetries_are_symmetries():
    assert repr(fp.symmetrize("C360")) == "symmetrize('C360')"
    assert len(search(symmetry="D360", rotations=(3, 1)).grid.rotations) < 123


def test_all_of_these_are_quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        of_boxes(rotations=Rotation.identity(2), symmetry="C2", tilt=(-60, 60))
