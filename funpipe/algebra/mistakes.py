"""What is said of pipelines: what to write instead, and what became of numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any, NoReturn

import numpy as np

from funpipe.base.caller import warn
from funpipe.base.wording import describe

__all__ = [
    "refuse_as_image",
    "refuse_before",
    "refuse_behind_converter",
    "refuse_behind_provider",
    "refuse_named",
    "saying_numerics",
]

_LONGEST = 60  # characters of a pipeline that is worth repeating


def refuse_behind_converter(converter: object, given: Any) -> NoReturn:
    """Say what to write instead of ``converter @ given``."""
    text = _shown(converter, "converter")
    if isinstance(given, np.ndarray):
        advice = f"write {text} @ from_array(array, scale), or {text}(array, scale)"
    elif isinstance(given, str | PurePath):
        advice = f"write {text} @ from_file({describe(str(given))})"
    else:
        advice = _STAGE
    raise TypeError(
        f"{_unsupported(converter, given)}: a converter composes with converters and "
        f"providers, not with {describe(given)}; {advice}"
    )


def refuse_behind_provider(
    provider: object, given: object, *, is_converter: bool
) -> NoReturn:
    """Say what to write instead of ``provider @ given``."""
    advice = "it stands last"
    if is_converter:
        left, right = _shown(given, "converter"), _shown(provider, "provider")
        advice = f"write {left} @ {right}"
    raise TypeError(
        f"{_unsupported(provider, given)}: a provider takes no image, so that nothing "
        f"can run before it; {advice}"
    )


def refuse_before(given: object, pipeline: object) -> NoReturn:
    """Say what to write instead of ``given @ pipeline``."""
    raise TypeError(
        f"{_unsupported(given, pipeline)}: before {_shown(pipeline, 'a pipeline')} "
        f"stands a converter, not {describe(given)}; {_STAGE}"
    )


def refuse_as_image(converter: object, given: object, word: str) -> NoReturn:
    """Say what to write instead of ``converter(provider or converter)``."""
    text = _shown(converter, "converter")
    raise TypeError(
        f"{text} converts a 3-D numeric array, not a {word}: write "
        f"{text} @ {_shown(given, word)}"
    )


def refuse_named(function: Any, names: Iterable[str]) -> NoReturn:
    """Say what to write instead of ``lift(function)(pipeline, name=value)``."""
    name = getattr(function, "__name__", "function")
    given = ", ".join(names)
    raise TypeError(
        f"lift({name}) takes pipelines, numbers and arrays by position, and nothing by "
        f"name, but was given {given}: lift a function of your own that binds it, such "
        f"as def bound(image): return {name}(image, {given}=...)"
    )


@contextmanager
def saying_numerics(text: Callable[[], object]) -> Iterator[None]:
    """Warn of what NumPy would warn of, as a division by 0, on the caller's line.

    What `numpy.errstate` says holds: what it ignores or raises is not warned of.
    """
    found: list[str] = []

    def put_down(kind: str, _: int) -> None:
        found.append(kind)

    warned: Any = {key: "call" for key, how in np.geterr().items() if how == "warn"}
    with np.errstate(call=put_down, **warned):
        yield
    if found:
        kinds = ", ".join(dict.fromkeys(found))
        warn(f"{text()}: {kinds}; there may be NaN or infinity in the image")


_STAGE = "of a function make a stage by converter_function or provider_function"


def _unsupported(left: object, right: object) -> str:
    """Return what Python says of operands."""
    kinds = " and ".join(repr(type(each).__name__) for each in (left, right))
    return f"unsupported operand type(s) for @: {kinds}"


def _shown(pipeline: object, word: str) -> str:
    """Return a pipeline's text, or a word for one that is long."""
    try:
        text = str(pipeline)
    except RecursionError:
        return word
    if len(text) > _LONGEST:
        return word
    return f"({text})" if " " in text and "@" in text else text
