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

# Image providers.
from funpipe.stages.providers import (
    from_array,
    from_arrays,
    from_atoms,
    from_file,
    from_files,
    from_gaussian,
    from_structure,
)

# Image converters: filters and geometry.
from funpipe.stages.converters import (
    bandpass_filter,
    center_by_mass,
    crop_or_pad,
    gaussian_filter,
    highpass_filter,
    invert,
    lowpass_filter,
    normalize,
    rotate,
    shift,
    symmetrize,
)

# Image converters: masks.
from funpipe.stages.masks import (
    closing,
    cosine_edge,
    cylinder,
    dilation,
    gaussian_smooth,
    soft_otsu,
    sphere,
    threshold,
    threshold_otsu,
)

# Particles, and what is done with them.
from funpipe.jobs.aligning import align, align_subtomograms, apply_alignment
from funpipe.jobs.averaging import average
from funpipe.space.fourier import dual_axis, single_axis
from funpipe.io.particles import read_molecules, write_molecules
from funpipe.io.volumes import write_volume
from funpipe.faces.loader import SubtomogramLoader
from funpipe.base.molecules import Molecules
from funpipe.jobs.posing import Alignment
from funpipe.jobs.preparing import prepare
from funpipe.jobs.checking import Finding, check
from funpipe.boxes.cutting import subtomograms
from funpipe.boxes.opening import Tomogram

# Modules that are of use by themselves.
from funpipe import io as io, pipe as pipe, simulate as simulate
from funpipe.faces import plots as plot  # noqa: F401

__version__ = "0.1.0"

__all__ = [
    "Alignment",
    "Finding",
    "ImageConverter",
    "ImageProvider",
    "Molecules",
    "SubtomogramLoader",
    "Tomogram",
    "align",
    "align_subtomograms",
    "apply_alignment",
    "average",
    "bandpass_filter",
    "center_by_mass",
    "check",
    "closing",
    "compose",
    "converter_function",
    "cosine_edge",
    "crop_or_pad",
    "cylinder",
    "derived_function",
    "dilation",
    "dual_axis",
    "from_array",
    "from_arrays",
    "from_atoms",
    "from_file",
    "from_files",
    "from_gaussian",
    "from_structure",
    "gaussian_filter",
    "gaussian_smooth",
    "highpass_filter",
    "identity",
    "invert",
    "lift",
    "lowpass_filter",
    "normalize",
    "prepare",
    "provider_function",
    "read_molecules",
    "rotate",
    "shift",
    "single_axis",
    "soft_otsu",
    "sphere",
    "subtomograms",
    "symmetrize",
    "threshold",
    "threshold_otsu",
    "write_molecules",
    "write_volume",
]


def __dir__() -> list[str]:
    """Return what is meant for users: the folders' names are not."""
    return sorted([*__all__, "__version__", "io", "pipe", "plot", "simulate"])
