"""A pipeline in a notebook: boxes in the order they run, everything escaped."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
import pytest
from stage_examples import STAGES

import funpipe as fp
from funpipe.algebra.diagram import units

VOID = {"br", "hr", "img", "meta"}


class Reader(HTMLParser):
    """Reads a diagram: its texts in order, its elements, and whether they nest."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.texts, self.tags, self.open = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip() and data != "↓":
            self.texts.append(data.strip())


def read(pipeline) -> Reader:
    reader = Reader()
    reader.feed(pipeline._repr_html_())
    reader.close()
    assert reader.open == []
    return reader


def test_boxes_stand_in_the_order_they_run():
    blob = fp.from_gaussian((8.0, 8.0, 8.0), sigma=1.5)
    pipeline = fp.dilation(-0.5) @ fp.threshold(0.5) @ blob
    assert read(pipeline).texts == [
        *("scale", "from_gaussian"),
        *("shape = (8.0, 8.0, 8.0) nm", "sigma = (1.5, 1.5, 1.5) nm"),
        "shift = (0.0, 0.0, 0.0) nm",
        *("threshold", "level = 0.5"),
        *("dilation", "radius = -0.5 nm", "image"),
    ]
    assert read(fp.dilation(1.0)).texts[0] == "image, scale"
    assert read(fp.identity).texts == ["image, scale", "image"]


def test_an_argument_that_is_the_default_is_paler():
    html = fp.gaussian_filter(0.5)._repr_html_()
    assert "<div>sigma = 0.5 nm</div>" in html
    assert '<div style="opacity:0.65">cval = 0.0</div>' in html


def test_an_operation_has_its_operands_in_it():
    masks = fp.threshold(0.5) & fp.sphere(2.0) & ~fp.cylinder(1.0, 4.0)
    texts = read(masks).texts
    own = ("&", "threshold", "sphere", "cylinder", "~", "image", "image, scale")
    assert [each for each in texts if each in own] == [
        *("image, scale", "&", "threshold", "sphere", "cylinder", "~", "image", "image")
    ]
    halved = read(fp.dilation(1.0) / 2).texts
    assert halved[:3] == ["image, scale", "dilation", "radius = 1.0 nm"]
    assert halved[3:] == ["/", "image", "2", "image"]
    assert "lift(hypot)" in read(fp.lift(np.hypot)(masks, 2.0)).texts


def test_a_derived_stage_holds_what_it_stands_for_folded_away():
    reader = read(fp.soft_otsu(2.0, 1.0))
    assert "details" in [tag for tag, _ in reader.tags]
    assert [each for each in reader.texts if "_" in each or each == "dilation"] == [
        *("soft_otsu", "threshold_otsu", "dilation", "gaussian_smooth")
    ]


@fp.provider_function
def evil(scale, text: str):
    return np.ones((2, 2, 2))


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "'&lt;"]
)
def test_what_arguments_say_is_text_and_no_elements(text):
    pipeline = evil(text) + fp.from_file(f"{text}.mrc")
    reader = read(pipeline)
    assert {tag for tag, _ in reader.tags} <= {"div", "b", "span", "details", "summary"}
    for _, attributes in reader.tags:
        assert set(attributes) <= {"class", "style", "aria-hidden"}
    assert f"text = {text!r}" in reader.texts


def test_a_function_of_any_name_is_text():
    def named(image, scale):
        return image

    named.__name__ = "<script>"
    assert "&lt;script&gt;" in fp.converter_function(named)()._repr_html_()


def test_what_is_long_is_cut():
    many = sum([fp.sphere(float(i + 1)) for i in range(300)])
    assert "and 292 more" in read(many).texts
    assert len(many._repr_html_()) < 10_000
    assert max(map(len, read(evil("x" * 10_000)).texts)) < 200
    big = read(fp.from_array(np.zeros((64, 64, 64)), 0.5)).texts
    assert "img = array(64 x 64 x 64 float32)" in big


def test_a_pipeline_that_nests_deeply_ends_in_text():
    nested = fp.sphere(9.0)
    for i in range(9):
        nested = fp.sphere(9.0 - i) / nested
    reader = read(nested)
    assert reader.texts.count("/") == 6
    assert reader.texts[-2].startswith("sphere(7.0) / (sphere(8.0) / (")


def test_styles_take_the_pages_own_colours():
    html = (fp.soft_otsu() @ fp.from_gaussian(8.0))._repr_html_()
    assert "#" not in html and "white" not in html and "black" not in html
    assert "<style" not in html and "http" not in html


def test_the_source_text_stays_what_it_was():
    pipeline = fp.gaussian_filter(0.5) @ fp.from_gaussian(8.0)
    assert eval(repr(pipeline), vars(fp)) == pipeline


UNITS = {  # as the docstrings say them
    "from_array": {"scale": "nm per voxel"},
    "from_arrays": {"scale": "nm per voxel"},
    "from_atoms": dict.fromkeys(["atoms", "center", "sigma"], "nm"),
    "from_file": {"scale": "nm per voxel"},
    "from_files": {"scale": "nm per voxel"},
    "from_gaussian": dict.fromkeys(["shape", "sigma", "shift"], "nm"),
    "from_structure": dict.fromkeys(["resolution", "center"], "nm"),
    "bandpass_filter": dict.fromkeys(["longest", "shortest"], "nm"),
    "crop_or_pad": {"shape": "nm"},
    "gaussian_filter": {"sigma": "nm"},
    "highpass_filter": {"cutoff": "nm"},
    "lowpass_filter": {"cutoff": "nm"},
    "rotate": {"rotation": "degrees"},
    "shift": {"shift": "nm"},
    "closing": {"radius": "nm"},
    "cosine_edge": {"width": "nm"},
    "cylinder": dict.fromkeys(["radius", "height", "shift"], "nm"),
    "dilation": {"radius": "nm"},
    "gaussian_smooth": {"sigma": "nm"},
    "soft_otsu": dict.fromkeys(["sigma", "radius"], "nm"),
    "sphere": dict.fromkeys(["radius", "shift"], "nm"),
    "ctf_filter": {
        "defocus": "µm",
        "voltage": "kV",
        "spherical_aberration": "mm",
        "phase_shift": "degrees",
    },
    "dose_filter": {"dose": "e/Å²", "voltage": "kV"},
    "wedge_filter": {"tilt": "degrees"},
}


@pytest.mark.parametrize("name", STAGES)
def test_units_are_those_of_the_docstring(name):
    assert dict(units(STAGES[name].func)) == UNITS.get(name, {})


def test_what_is_no_number_has_no_unit():
    tilt = fp.single_axis((-60, 60))
    assert f"tilt = {tilt!r}" in read(fp.wedge_filter(tilt)).texts
    assert "sigma = None" in read(fp.from_atoms(np.zeros((1, 3)))).texts


def test_a_long_value_has_so_many_characters_and_an_ellipsis():
    assert f"text = '{'x' * 118}…" in read(evil("x" * 10_000)).texts


def test_derived_stages_are_folded_out_six_deep():
    inner = fp.invert()
    for _ in range(9):

        def deeper(made=inner):
            return made

        inner = fp.derived_function(deeper)()
    assert [tag for tag, _ in read(inner).tags].count("details") == 6
