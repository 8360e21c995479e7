"""Ways in which a file of a checkpoint can be damaged."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np


def cut(path: Path) -> None:
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size // 2)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    """Turn over one bit, anywhere."""
    content = bytearray(path.read_bytes())
    place = random.Random(path.name).randrange(len(content))
    content[place] ^= 1 << (place % 8)
    path.write_bytes(content)


def forge(path: Path) -> None:
    """Put a file of another kind in the place."""
    np.savez(path.with_name("x.npz"), indices=np.arange(3))
    path.with_name("x.npz").replace(path)


DAMAGES = (cut, empty, flip, forge)
