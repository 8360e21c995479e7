"""A result as one page: whole, by itself, safe, and with what there is to say."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
import toolz
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe import Iteration

pytest.importorskip("matplotlib", reason="the extra plot is not installed")

from matplotlib.image import imread

RNG = np.random.default_rng(0)
BLOB = fp.from_gaussian((8.0, 8.0, 8.0), sigma=(0.8, 1.0, 1.5))
MASK = fp.soft_otsu(0.5, 0.5)
SIGNAL = 30 * fp.gaussian_filter(0.5)(BLOB(0.5), 0.5)
MAPS = fp.Halves(*(SIGNAL + RNG.normal(size=(2, 16, 16, 16))), 0.5)
VOLUME = RNG.normal(size=(20, 24, 30)).astype(np.float32)
MOLECULES = fp.Molecules(
    [[5.0, 5, 5], [5, 5, 5.2], [4, 9, 14]],
    Rotation.random(3, rng=0),
    {
        "score": [0.5, 0.4, 0.3],
        "shift": [0.5, 1.0, 0.2],
        "angle": [5.0, 2.0, 1.0],
        "tomogram": ["TS_1", "TS_1", "TS_2"],
        "half": [1, 2, 1],
    },
)


def iteration(number, **features):
    molecules = MOLECULES.with_features(aligned_half=[1, 2, 1], **features)
    curve = fp.fsc(MAPS.first, MAPS.second, scale=0.5)
    return Iteration(
        *(number, molecules, MAPS, SIGNAL, curve, curve.resolution()),
        *(0.3 / number, 2.0, 3, 1.5),
    )


class Page(HTMLParser):
    """A page as it is read: headings, texts by section, pictures, all elements."""

    def __init__(self, path) -> None:
        super().__init__(convert_charrefs=True)
        self.tags, self.texts, self.open, self.heading = [], {}, [], ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.heading = data
        elif data.strip():
            self.texts.setdefault(self.heading, []).append(data.strip())

    def captions(self):
        return [each["alt"] for tag, each in self.tags if tag == "img"]

    def facts(self, heading):
        texts = self.texts[heading]
        return dict(zip(texts[::2], texts[1::2], strict=True))


def page(tmp_path, result, **options) -> Page:
    path = tmp_path / "a.html"
    assert fp.report(result, path, **options) == path
    assert list(tmp_path.iterdir()) == [path]
    return Page(path)


def test_particles_farther_apart_than_squares_can_be_are_refused(tmp_path):
    far = fp.Molecules([[1e200, 0.0, 0.0], [0.0, 0.0, 0.0]])
    with pytest.raises(ValueError, match="molecules must be particles less than"):
        fp.report(far, tmp_path / "report.html", near=1.0)


def test_molecules_alone_make_a_page(tmp_path):
    found = page(tmp_path, MOLECULES, near=0.5)
    assert list(found.texts) == [
        *("", "Summary", "What to distrust", "Pictures", "Versions")
    ]
    assert found.facts("Summary") == {
        "particles": "3",
        "tomograms": "2",
        "score, median": "0.4",
        "shift, median": "0.5 nm",
        "angle, median": "2°",
    }
    doubts = found.texts["What to distrust"]
    assert doubts[:2] == ["template bias", "3"]
    assert doubts[3:5] == ["duplicates", "1"]
    assert "distinct(molecules, distance=0.5)" in doubts[5]
    assert len(found.captions()) == 3
    assert found.facts("Versions")["funpipe"] == fp.__version__
    assert {"numpy", "scipy", "python"} <= set(found.facts("Versions"))


def test_all_that_is_given_is_on_the_page(tmp_path):
    template = fp.gaussian_filter(0.5) @ BLOB
    found = page(
        tmp_path,
        MOLECULES,
        template=template,
        mask=MASK,
        average=MAPS,
        tomogram={"TS_1": VOLUME, "TS_2": VOLUME},
        null=[0.1, 0.2, 0.05],
        parameters={"rotations": (12, 6), "prepare": fp.invert(), "big": VOLUME},
        title="A study",
    )
    assert found.texts[""] == ["A study", "A study"][:1] + found.texts[""][1:]
    said = " ".join(found.captions())
    for each in ("The map", "Fourier shell", "The template,", "after every stage"):
        assert each in said
    assert len(found.captions()) == 9
    pipelines = found.texts["Pipelines"]
    for each in (template, MASK, fp.invert()):
        assert repr(each) in pipelines
    assert found.facts("Parameters") == {
        "rotations": "(12, 6)",
        "prepare": "invert()",
        "big": "array(20 x 24 x 30 float32)",
    }
    curve = fp.fsc(
        MAPS.first, MAPS.second, mask=fp.prepare(template, MASK, 0.5).mask, scale=0.5
    )
    resolution = found.facts("Summary")["resolution at FSC 0.5"]
    assert resolution.startswith(f"{curve.resolution(0.5):.3g} nm")
    assert found.facts("Summary")["scale"] == "0.5 nm per voxel"


def test_iterations_bring_their_maps_and_their_table(tmp_path):
    several = (iteration(i, shift_error=[0.2] * 3) for i in (1, 2))
    found = page(tmp_path, several)
    assert any("by iteration" in each for each in found.captions())
    assert found.texts["Iterations"][:6] == [
        *("iteration", "particles", "resolution (nm)", "moved (nm)", "turned (°)"),
        "time (s)",
    ]
    rows = np.reshape(found.texts["Iterations"], (3, 6))
    assert rows[1:, [0, 1, 3, 5]].tolist() == [
        ["1", "3", "0.3", "1.5"],
        ["2", "3", "0.15", "1.5"],
    ]
    assert "template bias" not in found.texts["What to distrust"]
    said = iteration(2).resolution
    assert found.facts("Summary")["resolution"] == f"{said:.3g} nm"
    assert "still moving" not in found.texts["What to distrust"]
    first = page(tmp_path, iteration(1, shift_error=[0.2] * 3))
    assert "still moving" in first.texts["What to distrust"]


def test_where_nothing_is_found_that_is_said_to_prove_nothing(tmp_path):
    found = page(tmp_path, fp.Molecules([[1.0, 2, 3]]))
    (said,) = found.texts["What to distrust"]
    assert "does not make the result true" in said


def test_the_page_needs_no_other_file_and_no_script(tmp_path):
    found = page(tmp_path, MOLECULES, average=MAPS, template=BLOB, mask=MASK)
    policy = next(each["content"] for _, each in found.tags if "http-equiv" in each)
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    for tag, attributes in found.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base")
        assert not any(each.startswith("on") for each in attributes)
        for name in ("src", "href"):
            assert attributes.get(name, "data:").startswith("data:")
    for tag, attributes in found.tags:
        if tag == "img":
            kind, data = attributes["src"].split(",")
            assert kind == "data:image/png;base64"
            assert imread(BytesIO(base64.b64decode(data))).shape[0] > 300
            assert attributes["alt"]
    assert "url(" not in found.source and "http" not in re.sub(
        "http-equiv", "", found.source
    )


EVIL = '</code><script>alert("x")</script>\ud800'


def test_what_people_name_is_text_and_no_elements(tmp_path):
    found = page(
        tmp_path,
        MOLECULES,
        title=EVIL,
        parameters={EVIL: EVIL, "broken": Broken()},
        template=[BLOB, fp.invert() @ BLOB],
        scale=1.0,
    )
    assert "script" not in {tag for tag, _ in found.tags}
    assert EVIL.replace("\ud800", "?") in found.facts("Parameters")
    assert found.facts("Parameters")["broken"] == "an object of type Broken"


class Broken:
    def __repr__(self):
        raise RuntimeError("broken")


def test_a_report_waits_for_its_result_in_a_pipe(tmp_path):
    path = tmp_path / "b.html"
    assert toolz.pipe(MOLECULES, fp.report(path=path, near=0.5)) == path
    assert path.read_text().startswith("<!DOCTYPE html>")


def test_a_page_that_fails_leaves_the_old_one(tmp_path):
    path = tmp_path / "a.html"
    path.write_text("old")
    with pytest.raises(FileNotFoundError):
        fp.report(MOLECULES, path, template=fp.from_file("missing.mrc"), scale=1.0)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_page_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    def full(_):
        raise OSError("no space left")

    path = tmp_path / "a.html"
    path.write_text("old")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space left"):
        fp.report(MOLECULES, path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_path_is_checked_before_work(tmp_path):
    with pytest.raises(IsADirectoryError):
        fp.report(MOLECULES, tmp_path, template=fp.from_file("missing.mrc"))


@pytest.mark.parametrize(
    ("result", "options", "text"),
    [
        (1, {}, "result must be Molecules, an Iteration of refine, or several"),
        ([], {}, "result must be Molecules, an Iteration of refine, or several"),
        ([MOLECULES], {}, "result must be Molecules, an Iteration of refine"),
        (MOLECULES[:0], {}, "result must be one particle or more, not none"),
        (MOLECULES, {"template": BLOB}, "scale must be given, in nm per voxel"),
        (MOLECULES, {"average": 1, "scale": 1.0}, "average must be a 3-D array"),
        (MOLECULES, {"scale": -1}, "scale must be a number above 0, or None"),
        (MOLECULES, {"near": 0}, "near must be a number above 0, or None"),
        (MOLECULES, {"tilt": (9, 1)}, "tilt must be None, two angles"),
        (MOLECULES, {"symmetry": "X"}, "symmetry must be a symmetry"),
        (MOLECULES, {"parameters": [1]}, "parameters must be None, or a mapping"),
        (MOLECULES, {"parameters": {1: 2}}, "parameters must be None, or a mapping"),
        (MOLECULES, {"title": 1}, "title must be a text"),
        (MOLECULES, {"null": "x"}, "null must be Molecules, or one number"),
        (MOLECULES, {"mask": 1, "average": MAPS}, "mask must be a converter"),
        (
            MOLECULES,
            {"tomogram": {"TS_9": VOLUME}, "scale": 1.0},
            "tomogram must be of those that the feature 'tomogram' names",
        ),
        (MOLECULES, {"tomogram_feature": "none"}, "tomogram_feature must be a feature"),
        (iteration(1), {"average": MAPS}, "average must be left out"),
    ],
)
def test_what_is_wrong_is_one_clear_error(tmp_path, result, options, text):
    with pytest.raises((TypeError, ValueError), match=text):
        fp.report(result, tmp_path / "a.html", **options)
    assert list(tmp_path.iterdir()) == []
