"""The laws of the algebra, each for arbitrary pipelines of the package's own stages.

`agree` checks a law twice: the two sides are equal as values, and they evaluate to the
same image, bit for bit. `same_images` checks it by evaluation only.
"""

from __future__ import annotations

import copy
import inspect
import operator
import pickle
from functools import reduce

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from images import blob, moments

import funpipe as fp
from funpipe import compose, identity, lift
from funpipe.testing.strategies import (
    BOX,
    SHAPE,
    TAME,
    WILD,
    binary_operations,
    converters,
    crisp_masks,
    distances,
    images,
    inputs,
    lengths,
    many_providers,
    many_sources,
    masks,
    modes,
    numbers,
    one_image,
    orders,
    pipelines,
    providers,
    scales,
    small_arrays,
    sources,
    stages,
    unary_operations,
    vectors,
)

NAMES: dict[str, object] = {}
exec("from numpy import *\nfrom funpipe import *", NAMES)


def evaluate(pipeline, image, scale):
    with np.errstate(all="ignore"):  # a pipeline may divide by zero
        if isinstance(pipeline, fp.ImageProvider):
            return pipeline(scale)
        if isinstance(pipeline, fp.ImageConverter):
            return pipeline(image, scale)
        return pipeline  # a number


def same(left, right) -> bool:
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return left.dtype == right.dtype and np.array_equal(left, right, equal_nan=True)


def same_images(left, right, image, scale) -> bool:
    return same(evaluate(left, image, scale), evaluate(right, image, scale))


def agree(left, right, image, scale) -> bool:
    return (
        left == right
        and hash(left) == hash(right)
        and same_images(left, right, image, scale)
    )


# 1. Pipelines are a monoid, which acts on providers.


@given(converters, converters, pipelines, inputs)
def test_composition_is_associative(f, g, h, at):
    assert agree((f @ g) @ h, f @ (g @ h), *at)


@given(pipelines, inputs)
def test_the_identity_changes_nothing(p, at):
    assert agree(identity @ p, p, *at)
    if isinstance(p, fp.ImageConverter):
        assert agree(p @ identity, p, *at)


@given(inputs)
def test_the_identity_returns_the_image(at):
    assert same(identity(*at), at[0].astype(np.float32))


# 2. What composition means.


@given(converters, converters, inputs)
def test_a_composition_runs_the_right_one_first(f, g, at):
    assert same((f @ g)(*at), f(g(*at), at[1]))


@given(converters, providers, scales)
def test_a_converter_after_a_provider_converts_its_image(f, p, s):
    assert same((f @ p)(s), f(p(s), s))


@given(st.lists(converters, max_size=3), providers | many_providers, inputs)
def test_compose_is_the_product(fs, p, at):
    product = reduce(operator.matmul, fs, identity)
    assert agree(compose(*fs), product, *at)
    assert compose(*fs, p) == product @ p
    assert reduce(fp.ImageConverter.compose, [*fs, p], identity) == product @ p


# 3. Operations are pointwise.


@given(binary_operations, one_image, one_image | numbers, inputs)
def test_an_operation_is_pointwise(operation, p, q, at):
    on_pipelines, on_images = operation
    left, right = evaluate(p, *at), evaluate(q, *at)
    with np.errstate(all="ignore"):
        there, back = on_images(left, right), on_images(right, left)
    assert same(evaluate(on_pipelines(p, q), *at), np.float32(there))
    assert same(evaluate(on_pipelines(q, p), *at), np.float32(back))


@given(binary_operations, stages, sources, inputs)
def test_a_provider_beside_a_converter_ignores_its_image(operation, f, p, at):
    on_pipelines, on_images = operation
    converted, provided = f(*at), p(at[1])
    with np.errstate(all="ignore"):
        left = np.float32(on_images(converted, provided))
        right = np.float32(on_images(provided, converted))
    assert same(evaluate(on_pipelines(f, p), *at), left)
    assert same(evaluate(on_pipelines(p, f), *at), right)


@given(st.builds(fp.from_array, images) | st.just(identity), numbers | images, images)
def test_every_operator_takes_numbers_and_arrays_on_either_side(p, a, x):
    value = np.float32(a) if isinstance(a, np.ndarray) else a
    image = evaluate(p, x, 1.0)
    for on_pipelines, on_images in TAME + WILD:
        with np.errstate(all="ignore"):
            there, back = on_images(image, value), on_images(value, image)
        assert same(evaluate(on_pipelines(p, a), x, 1.0), np.float32(there))
        assert same(evaluate(on_pipelines(a, p), x, 1.0), np.float32(back))


@given(unary_operations, one_image, inputs)
def test_an_operation_on_one_pipeline_is_pointwise(operation, p, at):
    on_pipelines, on_images = operation
    assert same(evaluate(on_pipelines(p), *at), on_images(evaluate(p, *at)))


@given(stages, stages, inputs)
def test_a_lifted_function_of_three_is_pointwise(f, g, at):
    lifted = lift(np.clip)(f @ lift(np.where)(f < g, f, g), -1, g + 2)
    y = np.where(f(*at) < g(*at), f(*at), g(*at))
    assert same(lifted(*at), np.clip(f(y, at[1]), -1, g(*at) + 2))


@given(binary_operations, stages, stages | numbers | sources, inputs)
def test_an_operation_is_its_function_lifted(operation, p, q, at):
    on_pipelines, on_images = operation
    assert same_images(on_pipelines(p, q), lift(on_images)(p, q), *at)


# Masks are an algebra: bounded, distributive, with an involution (De Morgan's).


@given(masks, masks, inputs)
def test_and_and_or_are_commutative(f, g, at):
    assert same_images(f & g, g & f, *at)
    assert same_images(f | g, g | f, *at)


@given(masks, masks, masks, inputs)
def test_and_and_or_are_associative(f, g, h, at):
    assert same_images((f & g) & h, f & (g & h), *at)
    assert same_images((f | g) | h, f | (g | h), *at)


@given(masks, masks, inputs)
def test_and_and_or_absorb_each_other(f, g, at):
    assert same_images(f & (f | g), f, *at)
    assert same_images(f | (f & g), f, *at)


@given(masks, inputs)
def test_and_and_or_are_idempotent(f, at):
    assert same_images(f & f, f, *at)
    assert same_images(f | f, f, *at)


@given(masks, masks, masks, inputs)
def test_and_and_or_distribute_over_each_other(f, g, h, at):
    assert same_images(f & (g | h), (f & g) | (f & h), *at)
    assert same_images(f | (g & h), (f | g) & (f | h), *at)


@given(masks, inputs)
def test_0_and_1_are_the_bounds_of_masks(f, at):
    assert same_images(f | 0, f, *at)
    assert same_images(f & 1, f, *at)
    assert not (f & 0)(*at).any()
    assert (f | 1)(*at).all()


@given(masks, masks, inputs)
def test_de_morgan(f, g, at):
    assert same_images(~(f & g), ~f | ~g, *at)
    assert same_images(~(f | g), ~f & ~g, *at)


@given(masks, inputs)
def test_the_complement_of_the_complement_is_the_mask(f, at):
    assert np.allclose((~~f)(*at), f(*at), rtol=0, atol=1e-7)  # 1 - (1 - x)


@given(crisp_masks, inputs)
def test_a_crisp_mask_and_its_complement_part_the_box(f, at):
    assert not (f & ~f)(*at).any()
    assert (f | ~f)(*at).all()


@given(stages, stages, inputs)
def test_less_is_the_complement_of_at_least(f, g, at):
    assert same_images(f < g, ~(f >= g), *at)
    assert same_images(f < g, g > f, *at)


# 4. Composition from the right distributes over operations.


@given(
    binary_operations,
    converters,
    converters | numbers | small_arrays | sources,
    pipelines,
    inputs,
)
def test_composition_distributes_over_operations(operation, f, g, h, at):
    function, _ = operation
    then = g @ h if isinstance(g, fp.ImageConverter) else g
    left, right = function(f, g) @ h, function(f @ h, then)
    if isinstance(g, fp.ImageProvider) and isinstance(h, fp.ImageProvider):
        assert same_images(left, right, *at)  # no value apart: g knows no image
    else:
        assert agree(left, right, *at)
    assert same_images(function(g, f) @ h, function(then, f @ h), *at)


@given(unary_operations, converters, stages | sources, inputs)
def test_composition_distributes_over_operations_on_one(operation, f, h, at):
    function, _ = operation
    assert agree(function(f) @ h, function(f @ h), *at)


@given(stages, stages, stages, converters | providers, inputs)
def test_composition_distributes_over_lifted_functions(f, g, k, h, at):
    where = lift(np.where)
    assert agree(where(f, g, k) @ h, where(f @ h, g @ h, k @ h), *at)


# 5. Currying.

CALLS = st.one_of(
    st.tuples(st.just(fp.bandpass_filter), st.tuples(lengths, lengths)),
    st.tuples(st.just(fp.cylinder), st.tuples(lengths, lengths, st.just("y"), vectors)),
    st.tuples(st.just(fp.dilation), st.tuples(distances)),
    st.tuples(st.just(fp.from_array), st.tuples(images, lengths)),
    st.tuples(st.just(fp.from_gaussian), st.tuples(vectors.map(np.abs), lengths)),
    st.tuples(st.just(fp.gaussian_filter), st.tuples(lengths, modes, distances)),
    st.tuples(st.just(fp.shift), st.tuples(vectors, orders, modes, distances)),
    st.tuples(st.just(fp.soft_otsu), st.tuples(lengths, distances, st.integers(1, 9))),
)
TWO_LENGTHS = st.sampled_from([fp.bandpass_filter, fp.cylinder])


@given(TWO_LENGTHS, lengths, lengths, inputs)
def test_arguments_come_together_or_one_by_one(make, a, b, at):
    last = list(inspect.signature(make).parameters)[1]
    assert agree(make(a)(b), make(a, b), *at)
    assert agree(make(a, **{last: b}), make(a, b), *at)
    assert agree(make(**{last: b})(a), make(a, b), *at)


@given(CALLS, st.data())
def test_arguments_come_by_position_or_by_name_in_any_order(call, data):
    make, args = call
    assume(np.all(np.asarray(args[0]) != 0))
    whole = make(*args)
    by_name = dict(zip(inspect.signature(make).parameters, args, strict=False))
    shuffled = dict(data.draw(st.permutations(list(by_name.items()))))
    assert agree(make(**shuffled), whole, np.ones(SHAPE), 1.0)
    count = data.draw(st.integers(0, len(args)))
    rest = dict(list(by_name.items())[count:])
    assert agree(make(*args[:count], **rest), whole, np.ones(SHAPE), 1.0)


@given(CALLS, st.data())
def test_a_stage_waits_until_it_has_what_it_requires(call, data):
    make, args = call
    assume(np.all(np.asarray(args[0]) != 0))
    parameters = inspect.signature(make).parameters
    required = [n for n, each in parameters.items() if each.default is each.empty]
    assume(required)
    by_name = dict(zip(parameters, args, strict=False))
    missing = data.draw(st.sampled_from(required))
    waiting = make(**{n: value for n, value in by_name.items() if n != missing})
    assert f"waiting for {missing}" in repr(waiting)
    assert next(iter(inspect.signature(waiting).parameters)) == missing
    with pytest.raises(TypeError, match=f"{make.__name__} .* waiting for {missing}"):
        identity @ waiting
    assert waiting(**{missing: by_name[missing]}) == make(*args)


# 6. Many images.


@given(converters, many_providers, scales)
def test_a_converter_applies_to_each_of_many_images(f, p, s):
    assert same((f @ p)(s), [f(each, s) for each in p(s)])


@given(many_providers, scales)
def test_there_are_as_many_images_as_the_source_has(p, s):
    assert len(p(s)) == len(fp.ImageProvider(p.source)(s))


@given(converters, st.lists(images, max_size=3))
def test_a_converter_applies_to_each_image_of_a_list(f, xs):
    assert same(f(xs, 1.0), [f(each, 1.0) for each in xs])


@given(binary_operations, many_providers, sources | numbers, scales)
def test_an_operation_with_one_image_applies_to_each_of_many(operation, p, q, s):
    on_pipelines, on_images = operation
    one = q(s) if isinstance(q, fp.ImageProvider) else q
    with np.errstate(all="ignore"):
        expected = [np.float32(on_images(each, one)) for each in p(s)]
    assert same(evaluate(on_pipelines(p, q), None, s), expected)


@given(binary_operations, many_sources, many_sources, scales)
def test_an_operation_on_many_images_pairs_them(operation, p, q, s):
    on_pipelines, on_images = operation
    left, right = p(s), q(s)
    if len(left) != len(right):
        with pytest.raises(ValueError, match="images do not go together"):
            on_pipelines(p, q)(s)
        return
    with np.errstate(all="ignore"):
        expected = [
            np.float32(on_images(*each)) for each in zip(left, right, strict=True)
        ]
    assert same(evaluate(on_pipelines(p, q), None, s), expected)


# 7. A pipeline is a value.


@given(pipelines, inputs)
def test_the_repr_evaluates_to_an_equal_pipeline(p, at):
    assert agree(eval(repr(p), dict(NAMES)), p, *at)


@given(pipelines, inputs)
def test_a_pickle_is_equal(p, at):
    assert agree(pickle.loads(pickle.dumps(p)), p, *at)


@given(pipelines)
def test_copies_are_equal(p):
    assert copy.copy(p) == copy.deepcopy(p) == p


@given(pipelines)
def test_an_equal_pipeline_is_the_same_key_of_a_dictionary(p):
    assert {p: "found"}[pickle.loads(pickle.dumps(p))] == "found"


@given(stages, stages, pipelines, numbers, numbers)
def test_pipelines_of_different_parts_differ(f, g, p, a, b):
    assert (f @ p == g @ p) == (f == g)
    assert f == g or repr(f) != repr(g)
    assert f @ p != p
    assert (p + a == p + b) == (a == b)
    assert p + a != a + p


@given(pipelines, inputs)
def test_calling_twice_gives_the_same_image_and_changes_no_input(p, at):
    before = at[0].copy()
    first = evaluate(p, *at)
    assert same(evaluate(p, *at), first)
    assert np.array_equal(at[0], before)


@given(pipelines | st.just(identity), inputs)
def test_an_image_is_new_and_its_callers_own(p, at):
    at = (np.float32(at[0]), at[1])
    first, second = evaluate(p, *at), evaluate(p, *at)
    one, two = (each if isinstance(each, list) else [each] for each in (first, second))
    for image, again in zip(one, two, strict=True):
        assert not np.shares_memory(image, at[0])
        assert not np.shares_memory(image, again)
        assert image.dtype == np.float32
        assert image.flags.c_contiguous
        image[...] = 7  # what the caller does with it does not come back
    assert same(evaluate(p, *at), second)


# 8. A pipeline means the same object at every scale.


SMALL = st.floats(-0.4, 0.4)  # nm
SHIFTS = st.tuples(SMALL, SMALL, SMALL)
WIDTHS = st.floats(0.7, 0.9)  # nm: over one voxel, and under a quarter of the box
FINE = st.floats(0.35, 0.6)  # nm per voxel
SAMPLED = st.builds(blob, st.just((16, 16, 16)), st.just(0.5), SHIFTS, WIDTHS)

BLOBS = st.one_of(
    st.builds(fp.from_gaussian, st.just(8.0), WIDTHS, SHIFTS),
    st.builds(fp.from_array, SAMPLED, st.just(0.5)),
    st.builds(
        lambda sigma, at: (
            fp.crop_or_pad(8.0) @ fp.from_atoms([at], center=(0, 0, 0), sigma=sigma)
        ),
        WIDTHS,
        SHIFTS,
    ),
)
SMOOTH = st.one_of(
    st.just(identity),
    st.builds(fp.gaussian_filter, st.floats(0, 0.5)),
    st.builds(fp.shift, SHIFTS, st.integers(3, 5)),
    st.builds(fp.rotate, st.tuples(*[st.floats(-60, 60)] * 3)),
    st.builds(lambda part: 1 + part * identity, st.floats(0.5, 2)).map(
        lambda f: f - 1  # arithmetic is pointwise at every scale
    ),
)
# Bodies, and how well their surface is known, in voxels.
FINER = st.floats(0.25, 0.4)  # nm per voxel
SHARP = st.one_of(
    st.builds(fp.sphere, st.floats(1.5, 3), SHIFTS),
    st.builds(fp.threshold, st.floats(0.02, 0.05)),
)
GROWN = st.one_of(
    st.builds(fp.threshold_otsu),
    st.builds(fp.cylinder, st.floats(1.5, 3), st.floats(3, 6)),
    st.builds(lambda r: fp.dilation(r) @ fp.threshold_otsu(), st.floats(0.5, 1.5)),
    st.builds(lambda r: fp.dilation(-r) @ fp.sphere(2.5), st.floats(0.5, 1)),
    st.builds(fp.soft_otsu, st.floats(0.3, 0.6), st.floats(0.5, 1)),
)
BODIES = st.tuples(SHARP, st.just(0.2)) | st.tuples(GROWN, st.just(0.75))


@given(BLOBS, SMOOTH, SMOOTH, FINE, FINE)
def test_a_pipeline_describes_the_same_object_at_two_scales(p, f, g, s, t):
    one, other = moments((f @ g @ p)(s), s), moments((f @ g @ p)(t), t)
    assert other.mass == pytest.approx(one.mass, rel=0.02)
    assert other.centre == pytest.approx(one.centre, abs=0.05 * max(s, t))
    assert other.extent == pytest.approx(one.extent, rel=0.02)


@given(BLOBS, BODIES, FINER, FINER)
def test_a_mask_describes_the_same_body_at_two_scales(p, body, s, t):
    f, slack = body
    one, other = moments((f @ p)(s), s), moments((f @ p)(t), t)
    radius, radius_2 = np.cbrt([one.mass, other.mass]) / np.cbrt(4 / 3 * np.pi)
    assert radius_2 == pytest.approx(radius, abs=slack * (s + t))
    assert other.centre == pytest.approx(one.centre, abs=0.2 * (s + t))
    assert other.extent == pytest.approx(one.extent, abs=slack * (s + t))


@given(images, scales, stages)
def test_an_image_at_its_own_scale_is_not_resampled(x, s, f):
    assert same(fp.from_array(x, s)(s), x.astype(np.float32))
    assert same((f @ fp.from_array(x, s))(s), f(x, s))


@given(providers | many_providers, scales)
def test_the_box_has_the_same_size_at_every_scale(p, s):
    found = p(s)
    for image in found if isinstance(found, list) else [found]:
        assert np.abs(np.multiply(image.shape, s) - BOX).max() <= s / 2 + 1e-9
