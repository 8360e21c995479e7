"""A tomogram and its molecules as one record, for scripts written that way."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from funpipe.align import align
from funpipe.arguments import Image
from funpipe.average import average
from funpipe.molecules import Molecules, as_molecules
from funpipe.subtomograms import open_tomogram

__all__ = ["SubtomogramLoader"]


@dataclass(frozen=True, eq=False)
class SubtomogramLoader:
    """A tomogram, its molecules and its scale.

    Parameters
    ----------
    image : array-like, or path
        The tomogram, axes z, y, x.
    molecules : Molecules, (n, 3) array, or object with .pos and .rotator
        Where the particles are, in nm, and how they are turned.
    scale : float, optional
        nm per voxel; by default what the tomogram's file says.
    tilt : None, (float, float), or tilt weights
        What the tilt series measured, for both `align` and `average`.

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

    def __post_init__(self) -> None:
        source = open_tomogram(self.image, self.scale)
        object.__setattr__(self, "scale", source.scale)
        molecules = as_molecules("molecules", self.molecules)
        object.__setattr__(self, "molecules", molecules)

    def __repr__(self) -> str:
        size = " x ".join(map(str, open_tomogram(self.image, self.scale).array.shape))
        return (
            f"{type(self).__name__}({size} voxels of {self.scale:g} nm, "
            f"{self.molecules})"
        )

    def align(
        self, template: Any, mask: Any = None, **options: Any
    ) -> SubtomogramLoader:
        """Return a loader whose molecules are aligned; see `funpipe.align`.

        Parameters
        ----------
        template, mask, **options
            As of `funpipe.align`, tomogram, molecules and scale left out; the
            loader's own tilt unless another is given.
        """
        options = {"tilt": self.tilt, **options}
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
            As of `funpipe.average`; the loader's own tilt unless another is given.
        """
        options = {"tilt": self.tilt, **options}
        return average(
            self.image, self.molecules, shape=shape, scale=self.scale, **options
        )
