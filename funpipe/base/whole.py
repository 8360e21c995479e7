"""Writing a file whole or not at all.

What is written goes to a file of its own beside the target, under a name that nobody
else has, and then takes the target's place in one step. Its writer holds a lock on it,
which the system takes away when the writer ends, however it ends: a file of such a
name that can be locked is what a killed writer left, and the next one removes it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from funpipe.base.extras import in_one_line

try:
    import fcntl
except ImportError:  # not everywhere
    fcntl = None  # type: ignore[assignment]

__all__ = ["alone", "check_room", "check_target", "remove_left", "replacing", "scratch"]

_PARTIAL = re.compile(r"\.funpipe-[0-9a-f]{16}\.partial(\..*)?", re.DOTALL)
_ENDING = 32
"""Bytes of the longest ending that is kept; writers choose by those they know."""
_OLD = 24 * 3600.0
"""Seconds after which a partial file counts as left, where there are no locks."""


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a path beside the target to write to; it takes the target's place at last.

    If anything fails on the way, the target stays as it was and nothing is left. Of a
    link it is the file behind it that is replaced; one that is there keeps its mode.
    Several may write one target at a time: each writes a file of its own, and the last
    one stays. The content is on the disk before it gets the target's name.

    Raises
    ------
    OSError
        As `check_target` says; also if the system cannot write, for want of room, say:
        with its own word, and the target's name.

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
    remove_left(target.parent)
    partial, lock = _partial(target)
    try:
        with _named(os.fspath(path), partial):
            yield partial
            with open(partial, "r+b") as file:
                os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            shutil.copymode(target, partial)
        if fcntl is None:  # there an open file cannot be renamed
            lock.close()
        partial.replace(target)
    finally:
        lock.close()
        partial.unlink(missing_ok=True)


@contextmanager
def _named(path: str, partial: Path) -> Iterator[None]:
    """Name the target in errors of writing, which know the partial file or none."""
    try:
        yield
    except OSError as error:
        if error.filename not in (None, str(partial)):
            raise  # of another file
        reason = error.strerror or in_one_line(error)
        text = f"{reason}; what was at this place before is there as it was"
        raise OSError(error.errno or errno.EIO, text, path) from error


@contextmanager
def alone(path: str | os.PathLike[str]) -> Iterator[None]:
    """Keep out all others who would replace files in the target's folder together.

    For a list of two files, which take two places in two steps. Where the file system
    has no locks, nobody is kept out.

    Raises
    ------
    TimeoutError
        If another has not ended after a minute.
    """
    try:
        handle = os.open(os.path.dirname(os.path.realpath(path)), os.O_RDONLY)
    except OSError:  # as on Windows; a folder that is not there the writer will say
        yield
        return
    end = time.monotonic() + _WAIT
    try:
        while _locked(handle) is False:
            if time.monotonic() > end:
                raise TimeoutError(
                    f"{os.fspath(path)}: another has been writing there for "
                    f"{_WAIT:.0f} seconds: try again later"
                )
            time.sleep(0.005)
        yield
    finally:
        os.close(handle)


_WAIT = 60.0


@contextmanager
def scratch(parent: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a new folder in another one, and remove it at last, with all in it.

    Those that killed processes have left there are removed first.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as parent, scratch(parent) as folder:
    ...     _ = (folder / "a").write_text("for a while")
    """
    remove_left(parent)
    while True:
        folder = Path(parent, f"funpipe-{secrets.token_hex(8)}")
        folder.mkdir(mode=0o700)
        handle = _open_folder(folder)
        taken = handle is not None and _locked(handle) is False
        if not taken and folder.is_dir():
            break
        _close(handle)  # it was taken for a left one before it could be locked
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _close(handle)


_SCRATCH = re.compile(r"funpipe-[0-9a-f]{16}")


def _open_folder(path: str | os.PathLike[str]) -> int | None:
    """Open a folder to be locked; None where that cannot be, as on Windows."""
    try:
        return os.open(path, os.O_RDONLY | _PLAIN)
    except OSError:
        return None


def _close(handle: int | None) -> None:
    if handle is not None:
        os.close(handle)


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


def check_room(folder: str | os.PathLike[str], size: int = 2**16) -> None:
    """Refuse a folder that a file of some bytes cannot be written to.

    Raises
    ------
    OSError
        The system's own word.
    """
    partial, lock = _partial(Path(folder, "room"))
    try:
        lock.write(bytes(size))
        lock.flush()
        os.fsync(lock.fileno())
    finally:
        with contextlib.suppress(OSError):  # what could not be written before
            lock.close()
        partial.unlink(missing_ok=True)


_EFFECTIVE = os.access in os.supports_effective_ids


def _partial(target: Path) -> tuple[Path, IO[bytes]]:
    """Make an empty file beside the target, of a new name with its ending, locked."""
    fits = len(os.fsencode(target.suffix)) <= _ENDING
    ending = target.suffix if fits else ""
    while True:
        partial = target.with_name(f".funpipe-{secrets.token_hex(8)}.partial{ending}")
        try:
            # Open until the file has its place: what is locked is the open file.
            lock = open(partial, "x+b")  # noqa: SIM115
        except FileExistsError:
            continue
        if _locked(lock.fileno()) is not False and _is(partial, lock.fileno()):
            return partial, lock
        lock.close()  # it was taken for a left one before it could be locked


def remove_left(folder: str | os.PathLike[str]) -> None:
    """Remove the partial files and folders that killed processes left in a folder."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for each in list(entries):
            with contextlib.suppress(OSError):  # a link, another's, or gone
                if _PARTIAL.fullmatch(each.name):
                    _remove_if_left(each.path)
                elif _SCRATCH.fullmatch(each.name):
                    _remove_if_folder_left(each.path)


def _remove_if_folder_left(path: str) -> None:
    handle = os.open(path, os.O_RDONLY | _PLAIN)
    try:
        if os.fstat(handle).st_uid == _user() and _locked(handle):
            shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(handle)


def _remove_if_left(path: str) -> None:
    handle = os.open(path, os.O_RDWR | _PLAIN)
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != _user():
            return
        locked = _locked(handle)
        old = time.time() - found.st_mtime > _OLD
        if locked or (locked is None and old):
            os.unlink(path)
    finally:
        os.close(handle)


_PLAIN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""A link is not followed, and a pipe not waited for."""


def _user() -> int:
    return os.geteuid() if hasattr(os, "geteuid") else 0


def _locked(handle: int) -> bool | None:
    """Lock an open file; False if another has, None if the file system cannot."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is(path: Path, handle: int) -> bool:
    """Tell whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False
