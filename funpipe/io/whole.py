"""Writing a file whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["check_target", "replacing"]


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a path beside the target to write to; it takes the target's place at last.

    If anything fails on the way, the target stays as it was and nothing is left. Of a
    link it is the file behind it that is replaced; one that is there keeps its mode.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> target = Path(folder.name, "list.txt")
    >>> with replacing(target) as partial:
    ...     _ = partial.write_text("all of it")
    >>> target.read_text(), len(list(target.parent.iterdir()))
    ('all of it', 1)
    >>> folder.cleanup()
    """
    target = Path(os.path.realpath(path))
    check_target(path)
    partial = target.with_name(f".{target.stem}.partial{target.suffix}")
    try:
        yield partial
        if target.exists():
            shutil.copymode(target, partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def check_target(path: str | os.PathLike[str]) -> None:
    """Refuse a path that no file can be written to.

    Raises
    ------
    IsADirectoryError, FileNotFoundError, PermissionError, OSError
        If it is a folder, is in none, may not be written, or is a device.
    """
    name, target = os.fspath(path), Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"{name} is a folder, not a file to write")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{name}: there is no folder {Path(name).parent}")
    if target.exists() and not target.is_file():
        raise OSError(f"{name} is a device or a pipe, not a file to write")
    for each in (target, target.parent):
        if each.exists() and not os.access(each, os.W_OK, effective_ids=_EFFECTIVE):
            raise PermissionError(errno.EACCES, "Permission denied", name)


_EFFECTIVE = os.access in os.supports_effective_ids
