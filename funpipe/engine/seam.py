"""What an engine is: two functions, by which poses are found; write one of your own.

`align`, `align_subtomograms` and `check` know nothing of how poses are found. They
call the functions of an `Engine`, by default `funpipe.engine.matching.ENGINE`, and
take another by ``align(..., engine=Engine(prepare, match))``. Both are pure functions
of a module (no lambdas, no closures), since an executor pickles them, and so is what
``prepare`` returns, the *bank*: of whatever kind, made once, read by all processes.

``prepare(templates, grid, window, finest, *, support, refined) -> bank``
    All of a search that does not depend on the particles.

    - templates: (m, z, y, x) float32, under their masks, as ``masked`` leaves them;
      m ≥ 1, of any scale and level.
    - grid: `funpipe.space.geometry.RotationGrid`. Its ``rotations``, r of them, take
      the template to the box, on zyx vectors; of rotations that symmetry makes alike
      only one is among them. ``spacing`` is in degrees, ``limit`` the largest angle
      that refined poses may have.
    - window: (float, float, float), the largest shifts along z, y, x, in voxels.
    - finest: float, the finest period that counts, in voxels, 2 or more; waves that
      are shorter have no part in the score.
    - support: `funpipe.space.crops.Support`, what of a box counts.
    - refined: whether poses go on from the grid to the continuous optimum. An engine
      that cannot may leave it.

``match(crops, orientations, *, bank, tilt, go_on) -> Match``
    The best pose of each box; a box's pose does not depend on what else is asked.

    - crops: `funpipe.space.crops.Crops` of n ≥ 1 subtomograms, as they lie in their
      tomogram, each of a level and a scale of its own. ``boxes_of(crops, shape)``
      turns them into their particles' frames, (n, z, y, x); ``spectra(crops, k,
      support)`` gives their Fourier transforms in those frames without a turn.
    - orientations: a `Rotation` of length n, particle frame to tomogram, on zyx
      vectors.
    - bank: what ``prepare`` returned.
    - tilt: function of frequency vectors (3, ...), z, y, x, in the tomogram's frame
      and in periods per voxel, whatever `align` was given, whose vectors are in 1/nm;
      it returns weights of shape (...), 0 or more: W at k in the box's frame is
      ``tilt(O @ k)``. Of a tilt series it is a `funpipe.space.transfer.Placed`: it
      takes the vectors of all n particles at once, (3, n, ...), and returns H², and its
      ``amplitudes`` H, what is left of each wave.
    - go_on: function without arguments, to be called about once a second; it raises
      when the work is called off, and that must go through.

    `Match` says what is found: template point q lies in box i at
    ``R_i @ (q − c) + c + t_i``, c = (n − 1) / 2 and t in voxels. A score is the one at
    the top of `funpipe.engine.matching`, so that scores of engines can be compared.

``whiten(bank, sample) -> bank``
    Optional: the bank with what the data say of their noise. Without it ``whiten=True``
    is refused.

    - bank: what ``prepare`` returned.
    - sample: a list of (crops, orientations, tilt), each as ``match`` takes them: a
      hundred particles or so, evenly spread over all; those of a tomogram, with its
      tilt, may come in several parts.

``weigh(bank, prior=(σ, τ)) -> bank``
    Optional: the bank by which ``match`` returns posterior means instead of the best
    poses, and the evidence. Without it poses are the engine's own whatever
    ``estimate`` says. Only where there is one it is given a ``prior``: the standard
    deviations of shift and rotation about no shift and no turn, along each axis, in
    voxels and rad, infinite where nothing is known.

What memory a search takes is estimated, and refused where there is too little, as for
the package's own engine.

Examples
--------
An engine that finds everything where it is:

>>> import numpy as np
>>> from scipy.spatial.transform import Rotation
>>> from funpipe.space.crops import boxes_of
>>> def prepare(templates, grid, window, finest, *, support, refined):
...     return templates / np.linalg.norm(templates)
>>> def match(crops, orientations, *, bank, tilt, go_on):
...     go_on()
...     boxes = boxes_of(crops, bank.shape[1:])
...     n = len(boxes)
...     none, unknown = np.zeros(n, bool), np.full(n, np.nan)
...     norms = np.sqrt(np.square(boxes).sum(axis=(1, 2, 3)))
...     scores = (boxes * bank[0]).sum(axis=(1, 2, 3)) / norms
...     return Match(
...         *(Rotation.identity(n), np.zeros((n, 3)), scores, np.zeros(n, int)),
...         *(unknown, unknown, none, none, none),
...     )
>>> import funpipe as fp
>>> box = fp.from_gaussian((8.0, 8.0, 8.0), sigma=1.0)(1.0)
>>> found = fp.align_subtomograms(
...     [box, -box],
...     template=box,
...     scale=1.0,
...     progress=False,
...     engine=Engine(prepare, match),
... )
>>> found.scores.round(1)
array([ 1., -1.], dtype=float32)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from funpipe.base.wording import fail

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = ["Engine", "Match", "check_engine"]


class Match(NamedTuple):
    """The best pose of each of n boxes."""

    rotations: Rotation
    """n, template to box."""
    shifts: NDArray[np.float64]
    """(n, 3), voxels, z, y, x."""
    scores: NDArray[np.float64]
    """(n,), from −1 to 1."""
    templates: NDArray[np.int64]
    """(n,), which of the templates."""
    shift_errors: NDArray[np.float64]
    """(n,), voxels: the root of the expected squared distance from the truth; half
    the box's diagonal at the most, where it is not known; NaN if not estimated."""
    angle_errors: NDArray[np.float64]
    """(n,), degrees: the root of the expected squared angle from the truth; 180 where
    it is not known; NaN if not estimated."""
    at_limit: NDArray[np.bool_]
    """(n,), whether the pose ended on a limit of the search."""
    converged: NDArray[np.bool_]
    """(n,), whether another step would gain nothing against the noise; a pose that is
    not to be refined has not."""
    blank: NDArray[np.bool_]
    """(n,), whether there is nothing in the box, or nothing of it measured; its pose
    is the one it had, its score 0."""
    log_evidence: NDArray[np.float64] | None = None
    """(n, m, J), ln of the likelihood of each template, averaged over the window,
    against noise alone, at J amplitudes that are the same for all boxes, in the ratios
    of `funpipe.engine.amplitude.LADDER`; None where the engine does not know it."""
    mode_weight: NDArray[np.float64] | None = None
    """(n,), the probability of the poses around the best; None likewise."""

    @staticmethod
    def concat(several: Sequence[Match]) -> Match:
        """Return several in a row."""
        from scipy.spatial.transform import Rotation

        rotations, *others = zip(*several, strict=True)
        values: list[Any] = [
            None if each[0] is None else np.concatenate(each) for each in others
        ]
        return Match(
            Rotation.from_quat(np.concatenate([each.as_quat() for each in rotations])),
            *values,
        )

    def take(self, chosen: NDArray[Any]) -> Match:
        """Return some of them."""
        return Match._make(None if each is None else each[chosen] for each in self)


class Engine(NamedTuple):
    """How poses are found: pure functions, see `funpipe.engine.seam`."""

    prepare: Callable[..., Any]
    """``prepare(templates, grid, window, finest, *, support, refined) -> bank``."""
    match: Callable[..., Match]
    """``match(crops, orientations, *, bank, tilt, go_on) -> Match``."""
    whiten: Callable[..., Any] | None = None
    """``whiten(bank, sample) -> bank``; None where it cannot."""
    weigh: Callable[..., Any] | None = None
    """``weigh(bank, prior=...) -> bank``; None where poses are what they are."""


def check_engine(name: str, engine: Any) -> Engine:
    """Return an engine, or refuse what is none."""
    wanted = "a funpipe.engine.Engine of functions prepare and match"
    if not isinstance(engine, Engine):
        fail(name, wanted, engine)
    prepare, match, *others = engine
    if not (callable(prepare) and callable(match)):
        fail(name, wanted, engine)
    for option, each in zip(Engine._fields[2:], others, strict=True):
        if not (each is None or callable(each)):
            fail(name, f"{wanted}, {option} a function or None", engine)
    return engine
