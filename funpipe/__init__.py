"""Template and mask pipelines for cryo-ET subtomogram alignment, and alignment."""

# The algebra.
from funpipe.algebra.pipeline import (
    ImageConverter,
    ImageProvider,
    compose,
    identity,
    lift,
)
from funpipe.algebra.stage_functions import (
    converter_function,
    derived_function,
    provider_function,
)
from funpipe.algebra.tracing import stage_images

# All stages. F403 warns of names from an unknown list: each module has its __all__,
# which says what is public.
from funpipe.stages import converters, masks, physics, providers
from funpipe.stages.converters import *  # noqa: F403
from funpipe.stages.masks import *  # noqa: F403
from funpipe.stages.physics import *  # noqa: F403
from funpipe.stages.providers import *  # noqa: F403

# Particles, and what is done with them.
from funpipe.jobs.aligning import align, align_subtomograms, apply_alignment
from funpipe.jobs.averaging import average, half_averages
from funpipe.jobs.classifying import Classification, classify
from funpipe.jobs.correlating import (
    FSC,
    ConicalFSC,
    conical_fsc,
    fsc,
    local_resolution,
)
from funpipe.jobs.halving import Halves, halves
from funpipe.space.series import tilt_series
from funpipe.space.tilts import dual_axis, single_axis
from funpipe.io.particles import read_molecules, write_molecules
from funpipe.io.tilts import read_tilts
from funpipe.io.volumes import write_volume
from funpipe.faces.loader import SubtomogramLoader
from funpipe.faces.reporting import report
from funpipe.base.molecules import Molecules
from funpipe.jobs.posing import Alignment
from funpipe.jobs.preparing import prepare
from funpipe.jobs.iterating import Iteration
from funpipe.jobs.refining import refine
from funpipe.jobs.scoring import Landscape, landscape, score
from funpipe.jobs.sets import (
    distinct,
    neighbours,
    random_rotations,
    symmetry_expand,
)
from funpipe.jobs.seeding import helix, lattice
from funpipe.jobs.picking import search
from funpipe.jobs.subtracting import subtract
from funpipe.jobs.checking import Finding, check
from funpipe.boxes.cutting import subtomograms
from funpipe.boxes.listed import read_tomograms
from funpipe.boxes.opening import Tomogram

# Modules that are of use by themselves.
from funpipe import io as io, pipe as pipe, simulate as simulate
from funpipe.faces import plots as plot  # noqa: F401 (fp.plot; `import *` leaves it)

__version__ = "0.1.0"

__all__ = [
    "FSC",
    "Alignment",
    "Classification",
    "ConicalFSC",
    "Finding",
    "Halves",
    "ImageConverter",
    "ImageProvider",
    "Iteration",
    "Landscape",
    "Molecules",
    "SubtomogramLoader",
    "Tomogram",
    "align",
    "align_subtomograms",
    "apply_alignment",
    "average",
    "check",
    "classify",
    "compose",
    "conical_fsc",
    "converter_function",
    "derived_function",
    "distinct",
    "dual_axis",
    "fsc",
    "half_averages",
    "halves",
    "helix",
    "identity",
    "landscape",
    "lattice",
    "lift",
    "local_resolution",
    "neighbours",
    "prepare",
    "provider_function",
    "random_rotations",
    "read_molecules",
    "read_tilts",
    "read_tomograms",
    "refine",
    "report",
    "score",
    "search",
    "single_axis",
    "stage_images",
    "subtomograms",
    "subtract",
    "symmetry_expand",
    "tilt_series",
    "write_molecules",
    "write_volume",
]
__all__ += providers.__all__
__all__ += converters.__all__
__all__ += masks.__all__
__all__ += physics.__all__


def __dir__() -> list[str]:
    """Return what is meant for users: the folders' names are not."""
    return sorted([*__all__, "__version__", "io", "pipe", "plot", "simulate"])
