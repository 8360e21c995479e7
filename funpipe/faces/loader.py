"""Tomograms and their molecules as one record, for scripts written that way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from funpipe.base.arguments import Image
from funpipe.base.molecules import Molecules, as_molecules
from funpipe.boxes.opening import common_scale, open_tomograms
from funpipe.jobs.aligning import align
from funpipe.jobs.averaging import average
from funpipe.space.tilts import as_tilt

__all__ = ["SubtomogramLoader"]


@dataclass(frozen=True, eq=False)
class SubtomogramLoader:
    """A tomogram, or many, with molecules and a scale.

    Parameters
    ----------
    image : array-like, path, Tomogram, or mapping from names to such
        The tomogram, axes z, y, x, or all of them; see `align`.
    molecules : Molecules, (n, 3) array, or object with .pos and .rotator
        Where the particles are, in nm, and how they are turned.
    scale : float, optional
        nm per voxel; by default what the tomogram's file says. A `Tomogram`'s own
        wins.
    tilt : None, (float, float), or tilt weights
        What the tilt series measured, for both `align` and `average`.
    tomogram_feature : str
        The feature of the molecules that names each one's tomogram, where there is a
        mapping.

    Raises
    ------
    TypeError, ValueError, OSError
        If an argument is wrong, a file cannot be opened, or a tomogram is missing.

    Examples
    --------
    >>> import numpy as np
    >>> loader = SubtomogramLoader(np.zeros((8, 8, 8)), np.ones((2, 3)), scale=0.27)
    >>> loader
    SubtomogramLoader(8 x 8 x 8 voxels of 0.27 nm, Molecules(2 particles))
    """

    image: Any
    molecules: Molecules
    scale: float | None = None
    tilt: Any = None
    tomogram_feature: str = "tomogram"
    _shown: str = field(init=False)

    if TYPE_CHECKING:  # what may be given is more than what is kept

        def __init__(
            self,
            image: Any,
            molecules: Any,
            scale: float | None = None,
            tilt: Any = None,
            tomogram_feature: str = "tomogram",
        ) -> None: ...

    def __post_init__(self) -> None:
        molecules = as_molecules("molecules", self.molecules)
        sources, _ = open_tomograms(
            *(self.image, molecules, self.scale),
            *(as_tilt("tilt", self.tilt), self.tomogram_feature),
        )
        scale = common_scale(sources)
        shown = f"{len(sources)} tomogram{'s' * (len(sources) != 1)}"
        if not isinstance(self.image, Mapping):  # of many each keeps its header's
            object.__setattr__(self, "scale", scale)
            shown = " x ".join(map(str, sources[0].shape)) + " voxels"
        object.__setattr__(self, "molecules", molecules)
        object.__setattr__(self, "_shown", f"{shown} of {scale:g} nm")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._shown}, {self.molecules})"

    def align(
        self, template: Any, mask: Any = None, **options: Any
    ) -> SubtomogramLoader:
        """Return a loader whose molecules are aligned; see `funpipe.align`.

        Parameters
        ----------
        template, mask, **options
            As of `funpipe.align`, tomogram, molecules and scale left out; the
            loader's own tilt and tomogram_feature unless others are given.
        """
        options = {**self._own(), **options}
        aligned = align(
            self.image,
            self.molecules,
            template=template,
            mask=mask,
            scale=self.scale,
            **options,
        )
        return replace(self, molecules=aligned)

    def average(self, shape: Any, **options: Any) -> Image:
        """Return the mean of the particles; see `funpipe.average`.

        Parameters
        ----------
        shape, **options
            As of `funpipe.average`; the loader's own tilt and tomogram_feature
            unless others are given.
        """
        options = {**self._own(), **options}
        return average(
            self.image, self.molecules, shape=shape, scale=self.scale, **options
        )

    def _own(self) -> dict[str, Any]:
        """Return what is said to `align` and `average` unless they are told else."""
        return {"tilt": self.tilt, "tomogram_feature": self.tomogram_feature}
