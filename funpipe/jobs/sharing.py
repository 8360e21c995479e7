"""What goes to a worker in another process, and what the worker does with it.

A task, with all that its parts have in common, goes to a file of the run's folder once,
under the hash of its content: each process reads it once, whatever run it is of. So do
parts that are large, for a worker that dies, as of a terminal's Ctrl-C, while a large
argument is on its way to it would leave the pool waiting for ever. A worker that does
not see the folder, as in a cluster without a shared one, says what it misses, and gets
that along with the part.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import pickle
import sys
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from funpipe.base.threads import one_thread

__all__ = [
    "Missing",
    "Parcel",
    "call_off",
    "go_on",
    "is_process_pool",
    "parcel",
    "work_there",
]

_CALLED_OFF = "called_off"
_SMALL = 2**14  # bytes, that a pipe holds


@dataclass(frozen=True)
class Parcel:
    """A value for another process, in a file or at hand."""

    key: str
    """Its content's hash."""
    path: str = field(compare=False)
    """Its file."""
    content: bytes | None = field(default=None, compare=False, repr=False)
    """It, pickled; None where it is in the file."""

    @property
    def size(self) -> int:
        """Bytes."""
        return os.path.getsize(self.path) if self.content is None else len(self.content)

    def remove(self) -> None:
        """Remove its file."""
        if self.content is None:
            Path(self.path).unlink(missing_ok=True)

    def at_hand(self) -> Parcel:
        """Return it with its content."""
        if self.content is not None:
            return self
        return replace(self, content=Path(self.path).read_bytes())


class Missing(NamedTuple):
    """What a worker says that does not see a file of the run's folder."""

    path: str


def parcel(value: Any, path: Path, executor: Executor, most: int = _SMALL) -> Parcel:
    """Pack a value as the executor would; what is larger than the most in a file."""
    content = _pickled(value, executor)
    key = hashlib.sha256(content).hexdigest()
    if len(content) <= most:
        return Parcel(key, str(path), content)
    path.write_bytes(content)
    return Parcel(key, str(path))


def _pickled(value: Any, executor: Executor) -> bytes:
    """Pickle a value; what a script itself defines by its code, where that is needed.

    A pool of processes runs the script again instead. For others there is cloudpickle,
    which their libraries bring.
    """
    try:
        content = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        plain = b"__main__" not in content
    except (pickle.PicklingError, AttributeError, TypeError):  # a lambda, say
        plain, content = False, b""
    if plain or is_process_pool(executor):
        return content or pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    try:
        found: bytes = importlib.import_module("cloudpickle").dumps(value)
    except ImportError:
        return content or pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    return found


def is_process_pool(executor: Executor) -> bool:
    """Tell whether it is one of `concurrent.futures`, which is imported with that."""
    module = sys.modules.get("concurrent.futures.process")
    return module is not None and isinstance(executor, module.ProcessPoolExecutor)


def _unpacked(parcel: Parcel) -> Any:
    return pickle.loads(parcel.at_hand().content or b"")


_known = lru_cache(maxsize=2)(_unpacked)
_seen = lru_cache(maxsize=2)(os.path.isdir)
"""As at a run's first part: one that is gone since then is of a run that has ended."""


def work_there(task: Parcel, part: Parcel, folder: str) -> Any:
    """Work on a part, in a worker; return what comes out, or what is missing."""
    sees = _seen(folder)
    check = partial(_go_on_while, folder) if sees else go_on
    check()  # before what may be large is read
    try:
        function: Callable[..., Any] = _known(task)
        given = _unpacked(part)
        with one_thread():
            return function(given, go_on=check)
    except FileNotFoundError as error:
        missing = str(error.filename)
        if sees or not missing.startswith(folder):
            raise
        return Missing(missing)


def go_on() -> None:
    """Go on: nobody calls this work off."""


def call_off(folder: str | Path) -> None:
    """Call the work of a folder off, for all who see it."""
    Path(folder, _CALLED_OFF).touch()


def _go_on_while(folder: str) -> None:
    """Raise once the work of a folder is called off, or the folder is gone."""
    off = os.path.exists(os.path.join(folder, _CALLED_OFF))
    if off or not os.path.isdir(folder):
        raise CancelledError("the work was called off")
