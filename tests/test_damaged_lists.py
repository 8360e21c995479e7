"""A thousand damaged copies of a list of each format: read, or one clear error."""

import random
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from funpipe import Molecules, read_molecules, write_molecules

for library in ("starfile", "dynamotable", "emfile", "imodmodel", "pyarrow"):
    pytest.importorskip(library, reason=f"{library} is not installed")

COPIES = 1000
SPECIAL = (0, 10, 13, 32, 34, 35, 39, 44, 45, 46, 48, 57, 69, 95, 101, 127, 128, 255)
LISTS = {
    "relion": "a.star",
    "stopgap": "b.star",
    "dynamo": "a.tbl",
    "em": "a.em",
    "mod": "a.mod",
    "portal": "a.ndjson",
    "copick": "a_1_ribosome.json",
    "eman2": "a_info.json",
    "cmm": "a.cmm",
    "csv": "a.csv",
    "parquet": "a.parquet",
}


def options(kind):
    if kind == "cmm":
        return {}
    return {"scale": 0.5} | ({"tomograms": "centred"} if kind == "eman2" else {})


def written(kind, path):
    turns = Rotation.from_euler("zyz", [[10, 20, 30], [0, 90, 5]], degrees=True)
    features = {"score": [0.5, 0.25]}
    if kind not in ("copick", "eman2"):  # whose files are of one tomogram each
        features["tomogram"] = ["1", "2"]
    if kind in ("relion", "portal", "csv", "parquet"):
        features |= {"note": ["a b", ""], "error": [np.nan, 1e-7], "n": [1, -2]}
    molecules = Molecules([[1.5, 2.0, 3.0], [40.0, 5.0, 60.0]], turns, features)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of what holds points
        write_molecules(molecules, path, format=kind, **options(kind))
    return path.read_bytes()


def flipped(content, chance):
    place = chance.randrange(len(content))
    new = content[place] ^ (1 << chance.randrange(8))
    return content[:place] + bytes([new]) + content[place + 1 :]


def overwritten(content, chance):
    place = chance.randrange(len(content))
    new = bytes([chance.choice(SPECIAL)]) * chance.choice([1, 1, 2, 4, 8])
    return content[:place] + new + content[place + len(new) :]


def inserted(content, chance):
    place = chance.randrange(len(content))
    new = bytes(chance.choice(SPECIAL) for _ in range(chance.randrange(1, 9)))
    return content[:place] + new + content[place:]


def cut(content, chance):
    return content[: chance.randrange(len(content))]


def without_a_part(content, chance):
    place = chance.randrange(len(content))
    return content[:place] + content[place + chance.randrange(1, 40) :]


def with_lines_changed(content, chance):
    """Double a line, leave one out, or swap two."""
    lines = content.splitlines(keepends=True)
    one, two = chance.randrange(len(lines)), chance.randrange(len(lines))
    change = chance.randrange(3)
    if change == 0:
        lines.insert(two, lines[one])
    elif change == 1:
        del lines[one]
    else:
        lines[one], lines[two] = lines[two], lines[one]
    return b"".join(lines)


DAMAGE = (flipped, overwritten, inserted, cut, without_a_part, with_lines_changed)


def what_comes_of(path, kind):
    """Read a copy; return what is wrong with the way that it went, or nothing."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = read_molecules(path, **options(kind))
        except (ValueError, OSError) as error:
            text = str(error)
            if path.name not in text or "\n" in text.strip() or len(text) > 600:
                return f"no clear error: {error!r}"
        except BaseException as error:
            return f"another error: {error!r}"
        else:
            if not np.isfinite(found.rotations.as_quat()).all():
                return "rotations that are NaN"
    others = [each for each in caught if not issubclass(each.category, UserWarning)]
    return f"a warning: {others[0].message!r}" if others else ""


@pytest.mark.parametrize("kind", LISTS)
def test_a_damaged_list_is_read_or_gives_one_clear_error(tmp_path, kind):
    path = Path(tmp_path / LISTS[kind])
    content = written(kind, path)
    chance = random.Random(f"{kind} 8")
    wrong = {}
    for copy in range(COPIES):
        damage = DAMAGE[copy % len(DAMAGE)]
        damaged = damage(content, chance)
        path.write_bytes(damaged)
        complaint = what_comes_of(path, kind)
        if complaint:
            wrong[complaint[:60]] = (damage.__name__, complaint, damaged)
    assert not wrong


def test_the_lists_that_are_damaged_are_read_where_they_are_not(tmp_path):
    for kind, name in LISTS.items():
        written(kind, tmp_path / name)
        found = read_molecules(tmp_path / name, **options(kind))
        np.testing.assert_allclose(
            found.positions, [[1.5, 2.0, 3.0], [40.0, 5.0, 60.0]], atol=1e-5
        )
