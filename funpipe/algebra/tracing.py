"""What becomes of an image on its way through a pipeline."""

from __future__ import annotations

from typing import Any

from funpipe.algebra.pipeline import ImageConverter, ImageProvider
from funpipe.algebra.stage_functions import StageFunction
from funpipe.algebra.verbs import verb
from funpipe.base.arguments import Image, positive
from funpipe.base.wording import fail

__all__ = ["stage_images"]


@verb
def stage_images(pipeline: Any, scale: float, *, image: Any = None) -> dict[str, Image]:
    """Return a pipeline's image after every stage, by the stage's source text.

    Parameters
    ----------
    pipeline : ImageProvider or ImageConverter
        What is looked at.
    scale : float
        In nm per voxel.
    image : (z, y, x) array, optional
        What a converter is applied to.

    Returns
    -------
    dict from str to (z, y, x) array of float32
        In the order in which the stages run, of a provider its source first: the last
        is what the pipeline gives. Of providers of many images each is a list. The text
        of a stage that is there again has the number of times behind it, as in
        ``gaussian_filter(0.5) (2)``.

    Raises
    ------
    TypeError, ValueError
        If it is no pipeline, a converter has no image or a provider one, or a stage
        fails.

    Examples
    --------
    >>> import funpipe as fp
    >>> mask = fp.dilation(1.0) @ fp.sphere(1.5) @ fp.from_gaussian(8.0)
    >>> for text, made in stage_images(mask, scale=1.0).items():
    ...     print(text, made.sum().round(1))
    from_gaussian((8.0, 8.0, 8.0)) 15.7
    sphere(1.5) 8.0
    dilation(1.0) 32.0
    """
    if isinstance(pipeline, StageFunction):
        pipeline.refuse()
    if not isinstance(pipeline, ImageProvider | ImageConverter):
        fail("pipeline", "an ImageProvider or an ImageConverter", pipeline)
    is_provider = isinstance(pipeline, ImageProvider)
    if is_provider and image is not None:
        raise ValueError("image must be left out: a provider is given none")
    if not is_provider and image is None:
        raise TypeError("image must be given: a converter is applied to one")
    scale = positive("scale", scale)
    found: dict[str, Image] = {}
    made = image if is_provider else ImageConverter()(image, scale)  # checked
    for stage in reversed(pipeline.parts):
        source = is_provider and not found
        one: Any = ImageProvider(stage) if source else ImageConverter((stage,))
        made = one._run(scale) if source else one._run(made, scale)
        found[_new(stage.text(shorten=True).text, found)] = made
    return found


def _new(text: str, known: dict[str, Image]) -> str:
    """Return a text that is not known, with a number behind it if it was."""
    count, found = 1, text
    while found in known:
        count += 1
        found = f"{text} ({count})"
    return found
