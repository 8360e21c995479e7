"""From what is given as a tomogram, or as many, to what is open, with its checks.

A `Tomogram` is what is given; a `Source` is open and knows which particles lie in it;
a `funpipe.boxes.cutting.Piece` is what is cut. Of many, a file is opened for its header
and when it is cut, not in between, so that there may be more tomograms than a process
can hold open.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from funpipe.base import arguments as check
from funpipe.base.caller import warn
from funpipe.base.digests import file_state, unchanged
from funpipe.base.errors import Argument, WrongValueError
from funpipe.base.molecules import Molecules
from funpipe.base.sources import State, state_of
from funpipe.base.wording import describe, listed
from funpipe.io.volumes import is_volume, open_volume
from funpipe.space.geometry import centre, turned_grid
from funpipe.space.tilts import Tilt, as_tilt, no_tilt

__all__ = [
    "Source",
    "Tomogram",
    "check_fits",
    "check_inside",
    "check_some",
    "common_scale",
    "in_tomogram",
    "open_all",
    "open_tomogram",
    "open_tomograms",
    "some_of",
    "warn_of_empty",
    "warn_of_leaving",
]

_SAME_SCALE = 1e-3  # of the scale; headers hold single precision


class Tomogram(NamedTuple):
    """A tomogram with what is its own: one of many that are aligned together.

    Examples
    --------
    >>> Tomogram("TS_01.mrc", tilt=(-60, 54))
    Tomogram(array='TS_01.mrc', scale=None, tilt=(-60, 54))
    """

    array: Any
    """Array-like with axes z, y, x, or path."""
    scale: float | None = None
    """nm per voxel, over what is said of all; None: that, or else the file's."""
    tilt: Any = None
    """What its tilt series measured, see `align`; likewise."""


class Source(NamedTuple):
    """A tomogram that has been opened, and the particles that lie in it."""

    array: Any
    """Has ``shape``, ``dtype`` and slicing; axes z, y, x. Or a path, of one of many,
    which is opened anew when it is cut."""
    scale: float
    """nm per voxel."""
    shape: tuple[int, ...]
    """Voxels along z, y, x."""
    stated: float | None
    """The scale in its file's header, where it has one."""
    tilt: Tilt
    """What its tilt series measured."""
    molecules: Molecules
    """Its particles."""
    indices: NDArray[np.intp]
    """Which of all the particles they are."""
    name: str | None = None
    """Of the tomogram; None where there is but one."""
    path: str | None = None
    """Of its file, where it is given by that."""
    known: str | None = None
    """What that was like when it was opened first, see `file_state`."""

    def opened(self) -> Source:
        """Return it with its array open; refuse a file that is another one by now."""
        if not isinstance(self.array, str):
            return self
        return self._replace(array=_opened(self.array, self.scale, self.known))

    def reopened(self) -> Source:
        """Return it open in a process that may have opened it for other particles."""
        if not isinstance(self.array, str):
            return self
        state = state_of(self.array)
        return self._replace(array=_reopened(self.array, self.scale, self.known, state))

    def take(self, places: NDArray[np.intp]) -> Source:
        """Return it with some of its particles, by their places among its own."""
        return self._replace(
            molecules=self.molecules[places], indices=self.indices[places]
        )

    def centres(self) -> NDArray[np.float64]:
        """Return where its particles are, in voxels, (n, 3); beyond floats infinity."""
        with np.errstate(over="ignore"):
            return self.molecules.positions / self.scale

    def places(self) -> NDArray[np.float64]:
        """Return where its particles are from its own centre, nm, (n, 3)."""
        return np.asarray(self.molecules.positions - centre(self.shape) * self.scale)

    def half_extents(self, box: tuple[int, ...]) -> NDArray[np.float64]:
        """Return how far turned boxes reach along z, y, x, in voxels, (n, 3)."""
        turns = self.molecules.rotations.as_matrix()
        return np.asarray(np.abs(turns) @ centre(box))

    def leaving(
        self, box: tuple[int, ...], radius: float = math.inf
    ) -> NDArray[np.bool_]:
        """Tell which boxes leave the tomogram within a radius of their centres.

        Its voxels reach half a voxel out.
        """
        reach = np.minimum(self.half_extents(box), radius)
        middle, limits = self.centres(), np.array(self.shape) - 0.5
        out = (middle - reach < -0.5) | (middle + reach > limits)
        return np.asarray(out.any(axis=1))

    def inside(self, box: tuple[int, ...], place: int) -> NDArray[np.bool_]:
        """Tell which voxels of one particle's box lie in the tomogram, (z, y, x)."""
        where = turned_grid(box, self.molecules.rotations[place])
        middle = self.molecules.positions[place] / self.scale
        where += middle.reshape(3, 1, 1, 1)
        limits = np.array(self.shape).reshape(3, 1, 1, 1) - 0.5
        return np.asarray(((where >= -0.5) & (where <= limits)).all(axis=0))

    def wholly_outside(self, box: tuple[int, ...]) -> NDArray[np.bool_]:
        """Tell which boxes lie wholly outside the tomogram."""
        reach, middle = self.half_extents(box), self.centres()
        limits = np.array(self.shape) - 0.5
        beyond = (middle + reach < -0.5) | (middle - reach > limits)
        out = np.asarray(beyond.any(axis=1))
        for i in np.flatnonzero(~out & self.leaving(box)):
            out[i] = not self.inside(box, int(i)).any()
        return out


@lru_cache(maxsize=2)
def _reopened(path: str, scale: float, known: str | None, state: State) -> Any:
    """Return the array of a file, which is opened anew when its state is another."""
    return _opened(path, scale, known)


def _opened(path: str, scale: float, known: str | None) -> Any:
    with unchanged(path, known):
        return open_volume(path, at=scale).array


# Opening.


def open_tomogram(
    tomogram: Any,
    molecules: Molecules,
    scale: float | None = None,
    tilt: Tilt = no_tilt,
) -> Source:
    """Open one tomogram that holds all particles, nothing of it read yet.

    Parameters
    ----------
    tomogram : array-like, path, or Tomogram
        3-D, or a file that `funpipe.io.volumes.open_volume` opens.
    molecules : Molecules
        The particles.
    scale : float, optional
        nm per voxel; by default what the file's header says. A `Tomogram`'s own wins.
        Of an OME-Zarr image the level of that scale is opened.
    tilt : callable
        Weights of what its tilt series measured; a `Tomogram`'s own win.

    Raises
    ------
    TypeError, ValueError
        If it is not 3-D and numeric, or the scale is neither given nor known.
    """
    given = _given(tomogram, _checked_scale(scale), tilt)
    return _open(given, molecules)


def open_tomograms(
    tomogram: Any, molecules: Molecules, scale: float | None, tilt: Tilt, feature: str
) -> tuple[list[Source], list[str]]:
    """Open each tomogram that has particles; return also the names of those without.

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
        return [open_tomogram(tomogram, molecules, scale, tilt)], []
    check_some(molecules)
    named = _by_text(tomogram)
    names = _names(molecules, feature)
    _check_names(named, names, feature)
    scale = _checked_scale(scale)
    sources = []
    for name, each in named.items():
        indices = np.flatnonzero(names == name)
        with in_tomogram(name):
            given = _given(each, scale, tilt)
            if indices.size:
                source = _open(given, molecules[indices])
                closed = source._replace(array=given.array, indices=indices, name=name)
                sources.append(closed)
    _check_scales(sources)
    return sources, [name for name in named if name not in names]


def open_all(tomogram: Any, scale: float | None, tilt: Tilt) -> list[Source]:
    """Open a tomogram, or all of a mapping, before there are particles.

    Parameters
    ----------
    tomogram, scale, tilt
        See `open_tomograms`; of many, files stay closed until they are read.
    """
    nothing = Molecules(np.zeros((0, 3)))
    if not isinstance(tomogram, Mapping):
        return [open_tomogram(tomogram, nothing, scale, tilt)]
    scale = _checked_scale(scale)
    sources = []
    for name, each in _by_text(tomogram).items():
        with in_tomogram(name):
            given = _given(each, scale, tilt)
            source = _open(given, nothing)
        sources.append(source._replace(array=given.array, name=name))
    _check_scales(sources)
    return sources


def common_scale(sources: list[Source]) -> float:
    """Return the scale that templates are made at."""
    return sources[0].scale


def some_of(sources: list[Source], chosen: NDArray[np.intp]) -> list[Source]:
    """Return the tomograms of some particles, by their numbers among all."""
    some = [
        each.take(np.flatnonzero(np.isin(each.indices, chosen))) for each in sources
    ]
    return [each for each in some if each.indices.size]


@contextmanager
def in_tomogram(name: str | None) -> Iterator[None]:
    """Say in errors in which of the tomograms they arose."""
    try:
        yield
    except Exception as error:
        if name is not None:
            error.add_note(f"in the tomogram {name!r}")
        raise


def _checked_scale(scale: float | None) -> float | None:
    return None if scale is None else check.positive("scale", scale)


def _given(tomogram: Any, scale: float | None, tilt: Tilt) -> Tomogram:
    """Return a tomogram with its own scale and tilt, checked, or else those of all."""
    array = tomogram
    if isinstance(tomogram, Tomogram):
        array = tomogram.array
        if tomogram.tilt is not None:
            tilt = as_tilt("tilt", tomogram.tilt)
        if tomogram.scale is not None:
            scale = check.positive("scale of a Tomogram", tomogram.scale)
    if isinstance(array, str | os.PathLike):
        array = check.path("tomogram", array)
    return Tomogram(array, scale, tilt)


def _open(given: Tomogram, molecules: Molecules) -> Source:
    """Open a tomogram whose path, scale and tilt are checked."""
    array, scale, tilt = given
    stated = known = None
    if isinstance(array, str):
        known = file_state(array)
        volume = open_volume(array, at=scale)
        scale, stated = volume.scale_or(scale, array), volume.scale
        array = volume.array
    elif not is_volume(array):
        wanted = "a path or a 3-D array of real numbers"
        raise TypeError(f"tomogram must be {wanted}, not {describe(array)}")
    elif check.is_masked(array):
        raise ValueError(
            "tomogram must have no masked values: fill them, as with array.filled(0)"
        )
    if scale is None:
        text = " must be given, in nm per voxel: an array has none"
        raise WrongValueError(Argument("scale"), text, name="scale")
    shape = tuple(map(int, array.shape))
    everything = np.arange(len(molecules))
    path = given.array if isinstance(given.array, str) else None
    source = Source(array, scale, shape, stated, tilt, molecules, everything)
    return source._replace(path=path, known=known)


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


def _check_scales(sources: list[Source]) -> None:
    first, *others = sources
    for other in others:
        if abs(other.scale / first.scale - 1) > _SAME_SCALE:
            raise ValueError(
                "tomogram must have one scale, for templates are made for one: "
                f"{first.name!r} has {first.scale:.6g} nm per voxel, "
                f"but {other.name!r} {other.scale:.6g}"
            )


# What does not go together with boxes of a shape.


def check_some(molecules: Molecules) -> None:
    """Refuse an empty set."""
    if len(molecules) == 0:
        raise ValueError("molecules must be one particle or more, not none")


def check_fits(sources: list[Source], box: tuple[int, ...]) -> None:
    """Refuse a template that is larger than a tomogram."""
    for source in sources:
        if any(inner > outer for inner, outer in zip(box, source.shape, strict=True)):
            which = "the tomogram" if source.name is None else f"{source.name!r}"
            raise ValueError(
                f"template must fit into {which} of {source.shape} voxels, but is "
                f"{box} at {source.scale:.6g} nm per voxel"
            )


def check_inside(
    sources: list[Source], box: tuple[int, ...], radius: float = math.inf
) -> int:
    """Refuse particles outside their tomograms; return how many boxes leave them.

    Parameters
    ----------
    sources : list of Source
        The tomograms and their particles.
    box : (int, int, int)
        Voxels of a box.
    radius : float
        Voxels; what of a box lies further from its centre may be outside.
    """
    leaving = 0
    for source in sources:
        outside = np.flatnonzero(source.wholly_outside(box))
        if outside.size:
            with in_tomogram(source.name):
                _refuse_outside(source, int(outside[0]))
        leaving += int(source.leaving(box, radius).sum())
    return leaving


def _refuse_outside(source: Source, place: int) -> NoReturn:
    z, y, x = source.molecules.positions[place]
    nz, ny, nx = (np.array(source.shape) - 1) * source.scale
    raise ValueError(
        f"molecules[{source.indices[place]}] at ({z:.6g}, {y:.6g}, {x:.6g}) nm lies "
        "wholly outside the tomogram, which spans 0 to "
        f"({nz:.6g}, {ny:.6g}, {nx:.6g}) nm"
    )


def warn_of_leaving(leaving: int, count: int) -> None:
    """Warn, once for all of them, of boxes that leave the tomogram."""
    if leaving:
        warn(
            f"{leaving} of {count} boxes leave the tomogram; what lies "
            "outside is filled with the mean of the rest of the box"
        )


def warn_of_empty(names: list[str]) -> None:
    """Warn, once for all of them, of tomograms without particles."""
    if names:
        warn(f"no particles lie in {len(names)} of the tomograms: {listed(names)}")
