"""Pipelines from source text: what they print comes back, nothing else runs."""

from __future__ import annotations

import builtins
import operator
import os
import re
import subprocess

import hypothesis.strategies as st
import pytest
from hypothesis import given

import funpipe as fp
from funpipe.stages.parsing import parse_pipeline
from funpipe.testing.strategies import BOX, distances, files, lengths, stages, vectors

# Pipelines without arrays and without lifted functions: those have no source text
# among calls, numbers and operators.
numbers = st.one_of(
    st.sampled_from([-1.0, 0.0, 0.5, 1]), st.floats(-2, 2), st.booleans()
)
OPERATORS = [
    *(operator.add, operator.sub, operator.mul, operator.truediv, operator.pow),
    *(operator.and_, operator.or_),
    *(operator.lt, operator.le, operator.gt, operator.ge),
]
signs = st.sampled_from([operator.neg, operator.invert])
operators = st.sampled_from(OPERATORS)
sources = st.one_of(
    st.builds(fp.from_gaussian, st.just(BOX), lengths, vectors),
    st.builds(fp.from_file, files),
    st.builds(fp.from_structure, files, lengths, vectors),
    st.builds(fp.from_files, st.lists(files, min_size=1, max_size=2)),
)


def nested(inner):
    return st.one_of(
        st.builds(lambda sign, p: sign(p), signs, inner),
        st.builds(lambda f, p, q: f(p, q), operators, inner, inner | numbers),
        st.builds(lambda f, p, x: f(x, p), operators, inner, distances),
    )


converters = st.recursive(
    stages | st.just(fp.identity),
    lambda inner: nested(inner) | st.builds(operator.matmul, inner, inner),
    max_leaves=5,
)
providers = st.recursive(
    sources,
    lambda inner: nested(inner) | st.builds(operator.matmul, converters, inner),
    max_leaves=4,
)


@given(converters | providers)
def test_what_a_pipeline_prints_is_parsed_to_an_equal_one(p):
    assert parse_pipeline(repr(p)) == p


@given(converters, providers)
def test_the_parser_agrees_with_python(f, p):
    text = f"compose({f!r}, {p!r}) / 2 < 1.5"
    assert parse_pipeline(text) == eval(text, dict(vars(fp)))


@pytest.mark.parametrize(
    ("text", "pipeline"),
    [
        ("soft_otsu(sigma=2.0, radius=1.0)", fp.soft_otsu(2.0, 1.0)),
        (
            'gaussian_filter(0.5) @ from_file("x.mrc")',
            fp.gaussian_filter(0.5) @ fp.from_file("x.mrc"),
        ),
        ("  identity\n", fp.identity),
        ("compose()", fp.identity),
        ("sphere(2 * 3 - 1)", fp.sphere(5)),
        ("sphere(2**2 / 8)", fp.sphere(0.5)),
        ("threshold(+0.5)", fp.threshold(0.5)),
        ("shift([1, -2, 3.5])", fp.shift((1, -2, 3.5))),
        ("from_file('x.mrc', None)", fp.from_file("x.mrc")),
        ("2 ** identity", 2**fp.identity),
        ("~sphere(1) | 0.5", ~fp.sphere(1) | 0.5),
    ],
)
def test_texts_that_people_write(text, pipeline):
    assert parse_pipeline(text) == pipeline


HOSTILE = {  # the text, and the piece that the error names
    "__import__('os').system('touch hostile')": "__import__('os').system(",
    "open('hostile', 'w')": "open",
    "eval('1')": "eval",
    "exec('import os')": "exec",
    "lift(print)(identity)": "lift(print)",
    "lift": "lift",
    "provider_function(print)": "provider_function",
    "identity.compose(identity)": "identity.compose",
    "identity.stages": "identity.stages",
    "sphere.func.__globals__": "sphere.func.__globals__",
    "sphere(1).__class__.__mro__": "__mro__",
    "().__class__.__bases__[0].__subclasses__()": "__subclasses__()",
    "(identity, 1)[0]": "(identity, 1)[0]",
    "[f for f in (identity,)]": "[f for f in (identity,)]",
    "{f for f in ()}": "{f for f in ()}",
    "{f: 1 for f in ()}": "{f: 1 for f in ()}",
    "compose(f for f in ())": "(f for f in ())",
    "(lambda: identity)()": "(lambda: identity)()",
    "compose(lambda: 1)": "lambda: 1",
    "from_file(f'{open}')": "f'{open}'",
    "from_file(x := 'a.mrc')": "x := 'a.mrc'",
    "identity if True else identity": "identity if True else identity",
    "sphere(1) and sphere(2)": "sphere(1) and sphere(2)",
    "not identity": "not identity",
    "compose(*(identity,))": "*(identity,)",
    "sphere(**{'radius': 1})": "sphere(**{",
    "compose({'a': 1})": "{'a': 1}",
    "compose({1})": "{1}",
    "sphere(__class__=1)": "__class__",
    "sphere(b'1')": "b'1'",
    "sphere(1j)": "1j",
    "sphere(...)": "...",
    "sphere(1e999)": "1e309",
    "sphere(9**9**9)": "9 ** 9 ** 9",
    "sphere(2**1000)": "2 ** 1000",
    "sphere((-8)**0.5)": "(-8) ** 0.5",
    "sphere(1e300**2)": "1e+300 ** 2",
    "sphere(1e300*1e300)": "1e+300 * 1e+300",
    "sphere(9007199254740993)": "9007199254740993",
    "sphere(1/0)": "1 / 0",
    "sphere(0**-1)": "0 ** ",
    "from_file('a'*999999999)": "'a' * 999999999",
    "shift((1,)*999999999)": "(1,) * 999999999",
    "shift((1, 2) + (3,))": "(1, 2) + (3,)",
    "identity + 'a'": "identity + 'a'",
    "'%s' % identity": "'%s' % identity",
    "identity @ 2": "identity @ 2",
    "from_gaussian(8) @ identity": "from_gaussian(8) @ identity",
    "sphere(~1)": "~1",
    "sphere(1 | 2)": "1 | 2",
    "sphere(1 < 2)": "1 < 2",
    "sphere(1 << 99999)": "1 << 99999",
    "identity // 2": "identity // 2",
    "identity == identity": "identity == identity",
    "identity is identity": "identity is identity",
    "0 < identity < 1": "0 < identity < 1",
    "await_": "await_",
    "fp.sphere(1)": "fp.sphere(1)",
    "sphere(1)(2)": "sphere(1)(2)",
    "identity(1)": "identity(1)",
    "numpy": "numpy",
    "__builtins__": "__builtins__",
    "Molecules": "Molecules",
    "import os": "import os",
    "x = identity": "x = identity",
    "identity; identity": "identity; identity",
    "identity\nidentity": "identity",
    "": "''",
    "#": "#",
    "identity\0": "identity",
    "(" * 300 + "identity" + ")" * 300: "((((",
    "~" * 300 + "identity": "~~~~",
    "-" * 9000 + "1": "----",
    " @ ".join(["identity"] * 200): "identity @ identity",
    "1" * 5000: "1111",
    "sphere(1) + " * 2000 + "1": "10000 characters",
    "1.5": "1.5",
    "'x.mrc'": "x.mrc",
    "(identity, identity)": "(identity, identity)",
    "None": "None",
}


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:40] or "nothing")
def test_everything_else_is_refused_by_its_piece(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def never(*_, **__):
        raise AssertionError("this must not run")

    with monkeypatch.context() as patch:
        for module, name in [(builtins, "eval"), (os, "system"), (subprocess, "run")]:
            patch.setattr(module, name, never)
        with pytest.raises(ValueError) as caught:
            parse_pipeline(text)
    assert HOSTILE[text] in str(caught.value)
    assert len(str(caught.value)) < 900
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("dilation(radus=1.0)", "unexpected keyword argument 'radus'"),
        ("gaussian_filter(-1)", "sigma must be a number of 0 or more, not -1"),
        ("dilation", "waiting for radius"),
        ("dilation @ identity", "waiting for radius"),
        ("dilation() & identity", "waiting for radius"),
        ("identity + soft_otsu", "waiting for"),
        ("compose(sphere(1), 2)", "unsupported operand"),
        ("compose(a=1)", "unexpected keyword argument 'a'"),
    ],
)
def test_a_stages_own_error_comes_through(text, match):
    with pytest.raises((TypeError, ValueError), match=match):
        parse_pipeline(text)


def test_nothing_is_read_when_a_text_is_parsed():
    assert parse_pipeline("from_file('no such file.mrc')") == fp.from_file(
        "no such file.mrc"
    )


def test_a_text_must_be_a_text():
    with pytest.raises(TypeError, match="must be a str"):
        parse_pipeline(fp.identity)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tilt_series((0, 30))", "must give a pipeline, but 'tilt_series"),
        ("single_axis() + 1", "the operator needs a pipeline beside it"),
        ("sphere(3.0) * dual_axis()", "an operator takes pipelines and numbers"),
        ("wedge_filter(tilt_series((0, 300)))", "angles must be degrees from"),
    ],
)
def test_tilts_are_arguments_and_no_pipelines(text, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        parse_pipeline(text)


def test_a_tilt_series_is_an_argument():
    text = "wedge_filter(tilt_series((-30, 0, 30), 'x', defocus=2.0)) @ sphere(3)"
    series = fp.tilt_series((-30, 0, 30), "x", defocus=2.0)
    assert parse_pipeline(text) == fp.wedge_filter(series) @ fp.sphere(3)
