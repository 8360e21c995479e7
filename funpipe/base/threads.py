"""One thread of BLAS: workers do not fight for processors, and sums are the same.

In what order BLAS adds depends on how many threads it uses, and with that the last
digits of sums. Where ``threadpoolctl`` is installed (extra ``fast``), it is told to use
one while there is work; otherwise the number is the machine's, as of OMP_NUM_THREADS.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

__all__ = ["can_limit", "one_thread"]

_LOCK = threading.Lock()
_INSIDE: list[Any] = []
"""One for each who is inside, the first of them what is to be undone: the number of
threads belongs to the process, and the last one who leaves gives it back."""


@lru_cache(maxsize=1)
def can_limit() -> bool:
    """Tell whether BLAS can be told how many threads to use."""
    return importlib.util.find_spec("threadpoolctl") is not None


@contextmanager
def one_thread() -> Iterator[None]:
    """Let BLAS use one thread meanwhile; several may be inside, also of one another.

    Examples
    --------
    >>> with one_thread(), one_thread():
    ...     pass
    """
    if not can_limit():
        yield
        return
    with _LOCK:
        limits = {"limits": 1, "user_api": "blas"}
        _INSIDE.append(None if _INSIDE else _controller().limit(**limits))
    try:
        yield
    finally:
        with _LOCK:
            last = _INSIDE.pop()
            if last is not None:
                last.restore_original_limits()


@lru_cache(maxsize=1)
def _controller() -> Any:
    """Return what knows the libraries of BLAS, those of NumPy and SciPy loaded."""
    import scipy.linalg  # noqa: F401, has its own
    import threadpoolctl

    return threadpoolctl.ThreadpoolController()
