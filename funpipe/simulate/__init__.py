"""Simulated particles and tomograms whose truth is known exactly.

- `images`: molecules, as sums of blobs or maps, and their images
- `boxes`: particles; `bounds`: how well their poses can be known
- `tomograms`: copies of a molecule in a tomogram; `crowds`: what else is in it
- `drawing`: the copies drawn, in any executor
- `projecting`: the images of a tilt series
- `seen`: what a tilt leaves of images, and coloured noise
"""

from __future__ import annotations

from funpipe.simulate.bounds import pose_bound
from funpipe.simulate.boxes import Particles, particles
from funpipe.simulate.images import (
    Blobs,
    asymmetric_molecule,
    blob_image,
    blob_spectrum,
    map_image,
)
from funpipe.simulate.projecting import projections
from funpipe.simulate.tomograms import perturbed, tomogram

__all__ = [
    "Blobs",
    "Particles",
    "asymmetric_molecule",
    "blob_image",
    "blob_spectrum",
    "map_image",
    "particles",
    "perturbed",
    "pose_bound",
    "projections",
    "tomogram",
]
