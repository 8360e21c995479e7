"""One tomogram or many: which particles lie in which, what all have in common.

A `Tomogram` is what is given, a `Source` what has been opened, a `Piece` what is cut.
Of many, a file is opened for its header and when it is cut, not in between, so that
there may be more tomograms than a process can hold open.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from funpipe.base.caller import warn
from funpipe.base.molecules import Molecules
from funpipe.base.wording import describe, listed
from funpipe.boxes.cutting import (
    Source,
    Tomogram,
    check_inside,
    check_some,
    count_leaving,
    cut,
    open_tomogram,
    own_scale,
    parts,
)
from funpipe.space.fourier import Tilt, as_tilt

__all__ = [
    "Piece",
    "boxes_of",
    "check_shares",
    "common_scale",
    "pieces",
    "shares_of",
    "warn_of_empty",
]

_SAME_SCALE = 1e-3  # of the scale; headers hold single precision


class Piece(NamedTuple):
    """Some particles of one tomogram."""

    indices: NDArray[np.intp]
    """Which particles."""
    boxes: NDArray[np.float32]
    """Their subtomograms."""
    tilt: Tilt
    """What their tilt series measured."""


def shares_of(
    tomogram: Any, molecules: Molecules, scale: float | None, tilt: Tilt, feature: str
) -> tuple[list[Source], list[str]]:
    """Return each tomogram with its particles, and the names of those without.

    Parameters
    ----------
    tomogram : array-like, path, Tomogram, or mapping from names to such
        The tomogram, or all of them.
    molecules : Molecules
        The particles.
    scale : float or None
        nm per voxel of all that do not say their own.
    tilt : callable
        Weights of all that do not say their own.
    feature : str
        The feature that names each particle's tomogram, where there is a mapping.

    Raises
    ------
    TypeError, ValueError, OSError
        If a tomogram is no such thing or cannot be opened, the feature or a tomogram
        that it names is missing, or scales differ.
    """
    _check_feature(feature)
    if not isinstance(tomogram, Mapping):
        source = open_tomogram(tomogram, scale)
        everything = np.arange(len(molecules))
        return [source._replace(tilt=_own_tilt(tomogram, tilt), indices=everything)], []
    check_some(molecules)
    named = _by_text(tomogram)
    names = _names(molecules, feature)
    _check_names(named, names, feature)
    shares = []
    for name, each in named.items():
        indices = np.flatnonzero(names == name)
        with _in_tomogram(name):
            own_scale(each, scale)
            own = _own_tilt(each, tilt)
            if indices.size:
                source = open_tomogram(each, scale)
                array = each.array if isinstance(each, Tomogram) else each
                shares.append(
                    source._replace(array=array, tilt=own, indices=indices, name=name)
                )
    _check_scales(shares)
    return shares, [name for name in named if name not in names]


def common_scale(shares: list[Source]) -> float:
    """Return the scale that templates are made at."""
    return shares[0].scale


def check_shares(
    shares: list[Source],
    molecules: Molecules,
    box: tuple[int, int, int],
    radius: float = math.inf,
) -> int:
    """Refuse particles outside their tomograms; return how many boxes leave them.

    Parameters
    ----------
    shares : list of Source
        The tomograms and their particles.
    molecules : Molecules
        All particles.
    box : (int, int, int)
        Voxels of a box.
    radius : float
        Voxels; what of a box lies further from its centre may be outside.
    """
    leaving = 0
    for share in shares:
        with _in_tomogram(share.name):
            check_inside(share, molecules, box, share.indices)
        leaving += count_leaving(share, molecules[share.indices], box, radius)
    return leaving


def pieces(
    shares: list[Source],
    molecules: Molecules,
    box: tuple[int, int, int],
    *,
    levelled: bool = False,
) -> Iterator[Piece]:
    """Cut all particles' boxes, some at a time, tomogram by tomogram.

    ``levelled`` boxes are each of a level and a scale of their own, see `cut`.
    """
    for share in shares:
        with _in_tomogram(share.name):
            source = share.opened()
        for part in parts(share.indices):
            with _in_tomogram(share.name):
                boxes = cut(source, molecules, box, part, levelled=levelled)
            yield Piece(part, boxes, share.tilt)


def boxes_of(
    shares: list[Source],
    molecules: Molecules,
    box: tuple[int, int, int],
    chosen: NDArray[np.intp],
) -> NDArray[np.float32]:
    """Cut the levelled boxes of some particles, in rising order of their numbers."""
    some = [
        share._replace(indices=np.intersect1d(share.indices, chosen))
        for share in shares
    ]
    some = [each for each in some if each.indices.size]
    found = list(pieces(some, molecules, box, levelled=True))
    order = np.argsort(np.concatenate([each.indices for each in found]))
    return np.concatenate([each.boxes for each in found])[order]


def warn_of_empty(names: list[str]) -> None:
    """Warn, once for all of them, of tomograms without particles."""
    if names:
        warn(f"no particles lie in {len(names)} of the tomograms: {listed(names)}")


def _own_tilt(tomogram: Any, tilt: Tilt) -> Tilt:
    """Return the tilt that a tomogram has of its own, or else that of all."""
    if isinstance(tomogram, Tomogram) and tomogram.tilt is not None:
        return as_tilt("tilt", tomogram.tilt)
    return tilt


def _by_text(tomograms: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a mapping by the text of its names: numbers are names too."""
    if not tomograms:
        raise ValueError("tomogram must name one tomogram or more, not none")
    named = {str(name): each for name, each in tomograms.items()}
    if len(named) < len(tomograms):
        raise ValueError(
            "tomogram must have names that differ as text, not "
            f"{describe(list(tomograms))}"
        )
    return named


def _check_feature(feature: Any) -> None:
    if not isinstance(feature, str):
        raise TypeError(f"tomogram_feature must be a name, not {describe(feature)}")


def _names(molecules: Molecules, feature: str) -> NDArray[np.str_]:
    if feature not in molecules.features:
        known = listed(molecules.features, 20) or "none"
        raise ValueError(
            f"molecules have no feature {feature!r} that says which of the tomograms "
            f"each lies in (tomogram_feature=...); their features are {known}"
        )
    return np.array([str(each) for each in molecules.features[feature].tolist()])


def _check_names(named: dict[str, Any], names: NDArray[np.str_], feature: str) -> None:
    missing = sorted(set(names.tolist()) - set(named))
    if missing:
        count = int(np.isin(names, missing).sum())
        raise ValueError(
            f"tomogram lacks {listed(missing)}, where molecules.features[{feature!r}] "
            f"puts {count} of {len(names)} particles; it has {listed(list(named))}"
        )


def _check_scales(shares: list[Source]) -> None:
    first, *others = shares
    for other in others:
        if abs(other.scale / first.scale - 1) > _SAME_SCALE:
            raise ValueError(
                "tomogram must have one scale, for templates are made for one: "
                f"{first.name!r} has {first.scale:.6g} nm per voxel, "
                f"but {other.name!r} {other.scale:.6g}"
            )


@contextmanager
def _in_tomogram(name: str | None) -> Iterator[None]:
    """Say in errors in which of the tomograms they arose."""
    try:
        yield
    except Exception as error:
        if name is not None:
            error.add_note(f"in the tomogram {name!r}")
        raise
