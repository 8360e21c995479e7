"""Which file in a folder is the tomogram of which name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from funpipe.io.volumes import volume_stem

__all__ = ["alike", "tomogram_files"]


def tomogram_files(
    folder: str | os.PathLike[str], names: Iterable[str]
) -> dict[str, Path]:
    """Find the files of tomograms by their names.

    Parameters
    ----------
    folder : path-like
        Where the volumes are.
    names : iterable of str
        The tomograms' names; of a path the last part counts, without its ending.
        A volume of just this name is taken, or else the only one whose name holds it,
        with no letter or digit right before or after: ``TS_1`` is in
        ``rec_TS_1_half1``, but not in ``TS_10``. Without names, the one volume there.

    Returns
    -------
    dict from str to Path
        The file of each name.

    Raises
    ------
    OSError
        If there is no such folder.
    ValueError
        If a name has no file or several, or two names have the same.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("rec_TS_1.mrc", "TS_10.mrc", "notes.txt"):
    ...         Path(folder, name).touch()
    ...     found = tomogram_files(folder, ["TS_1", "TS_10"])
    >>> {name: path.name for name, path in found.items()}
    {'TS_1': 'rec_TS_1.mrc', 'TS_10': 'TS_10.mrc'}
    """
    where = os.fspath(folder)
    volumes = {
        each: stem
        for each in sorted(Path(where).iterdir())
        if not each.name.startswith(".") and (stem := volume_stem(each.name))
    }
    if not volumes:
        raise ValueError(f"{where} holds no volume")
    wanted = list(names)
    if not wanted:
        if len(volumes) > 1:
            raise ValueError(
                f"the particles say no tomogram (no feature 'tomogram'), and {where} "
                f"holds {len(volumes)}: {_list(volumes)}"
            )
        return {next(iter(volumes.values())): next(iter(volumes))}
    found = {name: _file(where, name, volumes) for name in wanted}
    for name, path in found.items():
        others = [each for each in found if found[each] == path and each != name]
        if others:
            raise ValueError(
                f"the tomograms {name!r} and {others[0]!r} are both {path.name} in "
                f"{where}"
            )
    return found


def alike(name: str, others: Mapping[str, str]) -> list[str]:
    """Return which of others a name may mean: one, where it is clear.

    Others go by names. It is the one of just this name, or else the one of the longest
    name in this, or else all whose names hold this one; each with no letter or digit
    right before or after.

    Examples
    --------
    >>> alike("TS_1_half1", {"TS_1": "a", "TS_10": "b"}), alike("x", {"TS_1": "a"})
    (['a'], [])
    """
    if name in others:
        return [others[name]]
    held = sorted((each for each in others if _holds(name, each)), key=len)[-1:]
    found = held or [each for each in others if _holds(each, name)]
    return [others[each] for each in found]


def _holds(longer: str, shorter: str) -> bool:
    """Tell whether a name holds another one that stands alone in it."""
    alone = rf"(?<![0-9A-Za-z]){re.escape(shorter)}(?![0-9A-Za-z])"
    return re.search(alone, longer) is not None


def _file(where: str, name: str, volumes: dict[Path, str]) -> Path:
    last = re.split(r"[/\\]", name)[-1]
    stem = volume_stem(last) or last
    same = [path for path, each in volumes.items() if each == stem]
    found = same or [path for path, each in volumes.items() if _holds(each, stem)]
    if not found:
        raise ValueError(f"the tomogram {name!r} has no file in {where}")
    if len(found) > 1:
        raise ValueError(
            f"the tomogram {name!r} could be {len(found)} files in {where}: "
            f"{_list(found)}"
        )
    return found[0]


def _list(paths: Iterable[Path]) -> str:
    names = [each.name for each in paths]
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
