"""Image providers and converters under the name that they have in acryo, ``pipe``.

For people who come from acryo: its document "Piping Images to the Loader" imports from
``acryo.pipe``, and runs with ``funpipe`` in place of ``acryo``. All names are those of
`funpipe` itself; some mean something else than acryo's of the same name, see
``notebooks/05_coming_from_acryo.ipynb``.

Examples
--------
>>> from funpipe import pipe
>>> from funpipe.pipe import from_file, soft_otsu
>>> pipe.gaussian_filter(2.0) @ from_file("path/to/template.mrc")
gaussian_filter(2.0) @ from_file('path/to/template.mrc')
>>> soft_otsu(sigma=2.0, radius=1.0)
soft_otsu(2.0)
"""

from __future__ import annotations

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
from funpipe.stages import converters, masks, physics, providers

# F403 warns of names from an unknown list: each module has its __all__.
from funpipe.stages.converters import *  # noqa: F403
from funpipe.stages.masks import *  # noqa: F403
from funpipe.stages.physics import *  # noqa: F403
from funpipe.stages.providers import *  # noqa: F403

__all__ = [
    "ImageConverter",
    "ImageProvider",
    "compose",
    "converter_function",
    "derived_function",
    "identity",
    "lift",
    "provider_function",
]
__all__ += providers.__all__
__all__ += converters.__all__
__all__ += masks.__all__
__all__ += physics.__all__


def __dir__() -> list[str]:
    """Return what is meant for users."""
    return sorted(__all__)
