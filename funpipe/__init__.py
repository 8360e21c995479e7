"""Template and mask pipelines for cryo-ET subtomogram alignment, and alignment."""

# The algebra.
from funpipe.pipeline import ImageConverter, ImageProvider, compose, identity, lift
from funpipe.stage_functions import converter_function, provider_function

# Image providers.
from funpipe.providers import (
    from_array,
    from_arrays,
    from_atoms,
    from_file,
    from_files,
    from_gaussian,
    from_structure,
)

# Image converters: filters and geometry.
from funpipe.converters import (
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
from funpipe.masks import (
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
from funpipe.align import (
    Alignment,
    align,
    align_subtomograms,
    apply_alignment,
)
from funpipe.average import average
from funpipe.fourier import dual_axis, single_axis
from funpipe.io.particles import read_molecules, write_molecules
from funpipe.io.volumes import write_volume
from funpipe.loader import SubtomogramLoader
from funpipe.molecules import Molecules
from funpipe.preparing import prepare
from funpipe.preflight import Finding, check
from funpipe.subtomograms import Tomogram, subtomograms

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
