"""Arguments of `read_molecules` and `write_molecules`: what is wrong is named."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funpipe import Molecules, read_molecules, write_molecules
from funpipe.io.particles import format_of

pytest.importorskip("starfile", reason="starfile is not installed")

STAR = """data_stopgap_motivelist

loop_
_orig_x
_orig_y
_orig_z
_x_shift
_y_shift
_z_shift
_phi
_psi
_the
_tomo_num
10 19 28 1 2 3 60 -140 40 7
"""
INFO = '{"apix_unbin": 2.5, "boxes_3d": [[1, 2, 3]]}'

plain = st.sampled_from(
    [
        np.zeros(3),
        np.zeros((2, 2)),
        np.array([1.0, np.nan]),
        np.array("em"),
        np.array([None, "a"], dtype=object),
        np.array(["em", "csv"]),
        float("nan"),
        float("inf"),
        -1,
        0.25,
        1j,
        True,
        "",
        "no such thing",
        b"em",
        b"",
        object(),
        len,
        {},
        {"a": 1},
        set(),
        range(3),
        slice(None),
        Ellipsis,
        NotImplemented,
        int,
    ]
)
junk = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("lists")
    (path / "stopgap.star").write_text(STAR)
    (path / "a_info.json").write_text(INFO)
    return path


# Which list an argument means something to, and what else it has to be given.
LISTS = {
    "path": ("stopgap.star", {"scale": 1.0}),
    "format": ("stopgap.star", {"scale": 1.0}),
    "first": ("stopgap.star", {"scale": 1.0}),
    "box": ("stopgap.star", {"scale": 1.0}),
    "scale": ("stopgap.star", {}),
    "tomograms": ("a_info.json", {}),
    "like": ("stopgap.star", {"scale": 1.0}),
}


def named(call, name):
    """Run a call; of an error check that it is one that names the argument."""
    try:
        call()
    except (TypeError, ValueError, OSError) as error:
        said = str(error)
        for own in (
            "ambiguous",
            "unhashable",
            "truth value",
            "unpack",
            "object is not",
        ):
            assert own not in said
        assert "\n" not in said
        if not isinstance(error, OSError):  # the system's own word names the path
            assert name in said


@settings(max_examples=60)
@given(value=junk)
@pytest.mark.parametrize("name", [n for n in LISTS if n != "like"])
def test_a_wrong_argument_of_read_molecules_is_named(folder, name, value):
    source, others = LISTS[name]
    options = {"path": folder / source, **others, name: value}
    named(lambda: read_molecules(options.pop("path"), **options), name)


@settings(max_examples=60)
@given(value=junk)
@pytest.mark.parametrize("name", LISTS)
def test_a_wrong_argument_of_write_molecules_is_named(folder, name, value):
    _, others = LISTS[name]
    target = "new_info.json" if name == "tomograms" else "new.star"
    options = {"path": folder / target, "format": "stopgap", "scale": 1.0}
    if name == "tomograms":
        options["format"] = "eman2"
    options |= {**others, name: value}
    if name == "path" and isinstance(value, str) and value:
        return  # that could be written
    one = Molecules(np.ones((1, 3)))
    named(lambda: write_molecules(one, options.pop("path"), **options), name)


def test_a_format_in_a_list_is_no_format(folder):
    for value in (["em"], np.array(["em", "csv"]), {"em"}, np.array("em")):
        with pytest.raises((TypeError, ValueError), match="format must be one of rel"):
            read_molecules(folder / "stopgap.star", format=value)
        with pytest.raises((TypeError, ValueError), match="format must be one of rel"):
            write_molecules(np.ones((1, 3)), folder / "a.em", format=value)


def test_the_first_voxel_may_be_any_number_that_is_one_of_the_three(folder):
    found = [
        read_molecules(folder / "stopgap.star", scale=1.0, first=each).positions
        for each in (1, 1.0, np.int64(1), np.float32(1))
    ]
    assert all(np.array_equal(each, found[0]) for each in found)
    with pytest.raises((TypeError, ValueError), match=r"first must be 0, 0\.5 or 1"):
        read_molecules(folder / "stopgap.star", scale=1.0, first=np.ones(2))


@pytest.mark.parametrize("look", [read_molecules, format_of])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path, look):
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(OSError, match=r"a\.csv is a device or a pipe"):
        look(tmp_path / "a.csv")
    with pytest.raises(OSError, match=r"a\.csv is a device or a pipe"):
        write_molecules(np.ones((1, 3)), tmp_path / "b.csv", like=tmp_path / "a.csv")
