"""The stack of a tilt series itself, which says how many images there are."""

from __future__ import annotations

from funpipe.io.tilt_facts import TiltFacts, TiltFormat
from funpipe.io.volumes import open_volume, volume_stem

__all__ = ["FORMAT"]


def _read(path: str) -> TiltFacts:
    """Read how many images a stack has."""
    return TiltFacts(path, total=int(open_volume(path).array.shape[0]))


def _is_stack(head: bytes, name: str) -> bool:
    return volume_stem(name) is not None


FORMAT = TiltFormat(_read, "the stack (.st, .mrc, .tif)", _is_stack)
