"""The laws of pipelines, for anybody's stages.

- `laws`: `check_provider` and `check_converter`, and each law by its name
- `trials`: what a pipeline is tried with, and how
- `figures`: the figures of an image in nm, and how well its sampling knows them
- `strategies`: hypothesis strategies for images, stages and pipelines (the extra
  ``testing``; import it by its name)
"""

from funpipe.testing.laws import check_converter, check_provider

__all__ = ["check_converter", "check_provider"]
