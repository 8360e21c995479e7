"""Points for ChimeraX: the text of its markers and arrows, in Å, x before y and z."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

import funpipe as fp
from funpipe.io.particles import format_of

PICKS = fp.Molecules([[1.0, 2.0, 3.5], [0.0, 0.0, 0.25]])

# Written by Goddard's ChimeraX, ticket 2648 of its tracker, attachment test.cmm; the
# second marker with a note and a link, as Chimera's Volume Tracer writes those.
CHIMERAX = """<marker_set name="markers">
<marker id="1" x="-26.133" y="1.7291" z="114.69" r="1" g="1" b="0" radius="1"/>
<marker id="2" x="-0.2414" y="13.392" z="114.91" r="1" g="1" b="0" radius="2" note="a"/>
<link id1="1" id2="2" r="1" g="1" b="0" radius="0.5"/>
</marker_set>
"""


def rows_of(path: Path, directive: str) -> np.ndarray:
    lines = path.read_text().splitlines()
    found = [each.split()[1:] for each in lines if each.split()[0] == directive]
    return np.array(found, dtype=float)


def test_markers_are_in_angstrom_x_first(tmp_path):
    fp.write_molecules(PICKS, tmp_path / "a.cmm")
    assert (tmp_path / "a.cmm").read_text() == (
        '<marker_set name="funpipe">\n'
        '<marker id="1" x="35.0000" y="20.0000" z="10.0000" r="1" g="1" b="0" '
        'radius="20"/>\n'
        '<marker id="2" x="2.5000" y="0.0000" z="0.0000" r="1" g="1" b="0" '
        'radius="20"/>\n'
        "</marker_set>\n"
    )


def test_markers_of_chimerax_are_read(tmp_path):
    path = tmp_path / "a.cmm"
    path.write_text(CHIMERAX)
    found = fp.read_molecules(path)
    expected = [[11.469, 0.17291, -2.6133], [11.491, 1.3392, -0.02414]]
    np.testing.assert_allclose(found.positions, expected)
    np.testing.assert_allclose(found.features["radius"], [0.1, 0.2])
    assert found.features["note"].tolist() == ["", "a"]
    (tmp_path / "a.txt").write_text(CHIMERAX)
    assert format_of(tmp_path / "a.txt") == "cmm"


texts = st.text(st.characters(codec="utf-8"), max_size=6).filter(
    lambda each: not each.endswith("\0")
)


@given(texts)
def test_markers_come_back_with_radius_and_note(tmp_path_factory, note):
    path = tmp_path_factory.mktemp("markers") / "a.cmm"
    written = PICKS.with_features(radius=[0.5, 1.25], note=["<&\"'>\n", note])
    fp.write_molecules(written, path)
    found = fp.read_molecules(path)
    np.testing.assert_allclose(found.positions, PICKS.positions, atol=1e-5)
    np.testing.assert_allclose(found.features["radius"], [0.5, 1.25])
    allowed = (each >= " " or each in "\t\n\r" for each in note)
    if all(allowed) and not {"\ufffe", "\uffff"} & set(note):
        assert found.features["note"].tolist() == ["<&\"'>\n", note]


def test_what_markers_cannot_hold_is_said(tmp_path):
    turned = PICKS.rotate(Rotation.from_rotvec([0, 0, 1]), frame="particle")
    lost = "left out are rotations, score"
    with pytest.warns(UserWarning, match=lost) as caught:
        fp.write_molecules(turned.with_features(score=[1, 2]), tmp_path / "a.cmm")
    assert [each.filename for each in caught] == [__file__]


@pytest.mark.parametrize("ending", [".bild", ".bld"])
def test_arrows_go_from_each_particle_along_its_own_z(tmp_path, ending):
    turns = Rotation.random(5, rng=0)
    places = np.random.default_rng(1).uniform(0, 50, (5, 3))
    path = tmp_path / f"a{ending}"
    fp.write_molecules(fp.Molecules(places, turns), path)
    balls, arrows = rows_of(path, ".sphere"), rows_of(path, ".arrow")
    for place, turn, ball, arrow in zip(places, turns, balls, arrows, strict=True):
        z, y, x = 10 * place
        np.testing.assert_allclose(ball, [x, y, z, 20.0], atol=1e-4)
        np.testing.assert_allclose(arrow[:3], [x, y, z], atol=1e-4)
        ahead = turn.apply([1.0, 0.0, 0.0])  # of (z, y, x)
        np.testing.assert_allclose(arrow[3:6] - arrow[:3], 100 * ahead[::-1], atol=3e-4)
    kinds = {each.split()[0] for each in path.read_text().splitlines()}
    assert kinds == {".comment", ".color", ".sphere", ".arrow"}


def test_arrows_are_for_looking_at_and_not_read(tmp_path):
    fp.write_molecules(PICKS, tmp_path / "a.bild")
    with pytest.raises(
        ValueError, match=r"a\.bild: BILD files are shapes .* only writ"
    ):
        fp.read_molecules(tmp_path / "a.bild")


@pytest.mark.parametrize("name", ["a.cmm", "a.bild"])
def test_a_scale_means_nothing_to_what_is_in_angstrom(tmp_path, name):
    with pytest.raises(ValueError, match=r"scale=.* means nothing"):
        fp.write_molecules(PICKS, tmp_path / name, scale=1.0)
    assert list(tmp_path.iterdir()) == []


BOMB = '<!DOCTYPE a [<!ENTITY b "bb">]><marker_set><marker note="&b;"/></marker_set>'
DAMAGED = {
    "cut": (CHIMERAX[:150], "is no readable marker file"),
    "empty": ("<marker_set/>", "holds no markers"),
    "no x": (
        CHIMERAX.replace('x="-0.2414"', ""),
        "marker 2: x must be a finite number",
    ),
    "no number": (CHIMERAX.replace("114.69", "nan"), "marker 1: z must be a finite"),
    "entities": (BOMB, "defines entities of its own"),
    "latin": (b"<marker_set>\xff", "it is not text"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_marker_file_is_one_clear_error(tmp_path, kind):
    content, said = DAMAGED[kind]
    raw = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "a.cmm").write_bytes(raw)
    with pytest.raises(ValueError, match=rf"a\.cmm.* {said}"):
        fp.read_molecules(tmp_path / "a.cmm")
