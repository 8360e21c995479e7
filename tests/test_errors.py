"""Errors carry what they are about, and pickles and copies of them do too."""

from __future__ import annotations

import ast
import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import funpipe as fp
from funpipe.base.arguments import positive, positive_integer
from funpipe.base.errors import (
    Argument,
    FileError,
    MissingError,
    WrongError,
    WrongTypeError,
    WrongValueError,
)
from funpipe.faces.command_line import main

FACTS = ("name", "wanted", "value", "where", "parts")


def caught(function, *given) -> WrongError:
    with pytest.raises(WrongError) as found:
        function(*given)
    return found.value


def test_an_error_of_an_argument_carries_its_name_what_is_wanted_and_what_is():
    error = caught(positive, "scale", -1)
    assert (error.name, error.wanted, error.value) == ("scale", "a number above 0", -1)
    assert str(error) == "scale must be a number above 0, not -1"
    assert isinstance(error, ValueError)
    assert isinstance(caught(positive, "scale", None), TypeError)


ERRORS = [
    WrongValueError("a", Argument("b", "1"), name="b", wanted="c", value=2, where="d"),
    WrongTypeError(Argument("b"), " must", name="b", value="text"),
    FileError("a.em", ", line 2: ", Argument("b", "..."), name="b"),
    MissingError("a.em", "it is", "scale", "in ", Argument("nm"), " per voxel"),
    MissingError("a.em", "it is", "scale", "in nm").within("b.star"),
]


@pytest.mark.parametrize("error", ERRORS, ids=str)
@pytest.mark.parametrize("again", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy])
def test_pickles_and_copies_carry_it_too(error, again):
    found = again(error)
    assert type(found) is type(error)
    assert (str(found), found.args) == (str(error), error.args)
    assert [getattr(found, each) for each in FACTS] == [
        getattr(error, each) for each in FACTS
    ]


def test_a_value_that_does_not_pickle_is_left_out_of_a_pickle():
    error = caught(positive, "scale", lambda: None)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.name, again.value) == (str(error), "scale", None)


def test_an_error_comes_back_from_another_process():
    with ProcessPoolExecutor(1) as pool:
        error = caught(pool.submit(positive, "scale", 0).result)
    assert (error.name, error.value) == ("scale", 0)


def test_an_error_names_options_where_it_names_arguments_and_nowhere_else():
    error = WrongValueError("scale=1 is text, ", Argument("scale", "1"), " is not")
    assert str(error.by({"scale": "--scale"})) == "scale=1 is text, --scale 1 is not"
    error = caught(positive_integer, "box[0]", 0)
    assert str(error.by({"box": "--box"})).startswith("--box[0] must be a whole")
    assert str(error.by({"scale": "--scale"})) == str(error)


def test_a_file_is_named_once_and_what_is_missing_stays_known():
    error = MissingError("a.mod", "it has none", "scale", "in nm per voxel")
    found = error.within("a.csv")
    assert str(found) == f"a.csv: {error}"
    assert (type(found), found.reason, found.name) == (
        MissingError,
        "it has none",
        "scale",
    )
    assert found.within("a.csv") is found


def test_an_error_of_a_list_carries_the_file(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("x,y\n1,2\n")
    error = caught(fp.read_molecules, path)
    assert (error.where, str(error).count(str(path))) == (str(path), 1)


def test_a_name_in_what_was_given_is_no_option(tmp_path, monkeypatch, capsys):
    """A file may be called as an argument is written."""
    monkeypatch.chdir(tmp_path)
    Path("scale=2.csv").write_text("x,y\n1,2\n")
    assert main(["convert", "scale=2.csv", "b.csv"]) == 2
    said = capsys.readouterr().err
    assert "scale=2.csv has no column 'z'" in said
    assert "--scale" not in said


def asks_texts(tree: ast.AST) -> list[int]:
    """Return the lines that decide by the text of an error."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.If | ast.IfExp | ast.While)
        and any(
            isinstance(each, ast.Call)
            and getattr(each.func, "id", "") == "str"
            and getattr(each.args[0], "id", "") in ("error", "problem", "exception")
            for each in ast.walk(node.test)
        )
    ]


def test_no_control_flow_reads_the_text_of_an_error():
    assert asks_texts(ast.parse("if name in str(error): pass")) == [1]
    root = Path(fp.__file__).parent
    found = {
        path.name: asks_texts(ast.parse(path.read_text(encoding="utf-8")))
        for path in sorted(root.rglob("*.py"))
    }
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_arrays_stay_with_the_error_itself():
    value = np.zeros((2, 2))
    assert caught(positive, "scale", value).value is value
