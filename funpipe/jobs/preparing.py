"""Templates and masks, of whatever kind they are given, resolved to arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from funpipe.algebra.pipeline import ImageConverter, ImageProvider
from funpipe.algebra.stage_functions import StageFunction
from funpipe.base import arguments as check
from funpipe.base.arguments import Image
from funpipe.base.caller import warn
from funpipe.base.threads import one_thread
from funpipe.base.wording import fail, refuse_path
from funpipe.engine.bank import masked
from funpipe.jobs.halving import WHY_APART, Halves
from funpipe.space.geometry import centre
from funpipe.space.precision import levelled_values

__all__ = [
    "Prepared",
    "mask_for",
    "masked_templates",
    "prepare",
    "prepare_all",
    "reach",
]

_SEEN = 0.01  # of the masked template's largest value


class Prepared(NamedTuple):
    """The template and the mask that an alignment uses, at its scale."""

    template: Image
    """(z, y, x), or (m, z, y, x) for several templates."""
    mask: Image
    """Of the same shape, from 0 to 1; all 1 where no mask is given."""


def prepare(template: Any, mask: Any = None, scale: float = 1.0) -> Prepared:
    """Return the very template and mask that `align` uses at a scale.

    Parameters
    ----------
    template, mask
        See `align`.
    scale : float
        nm per voxel.

    Returns
    -------
    Prepared
        ``template`` and ``mask``, each (z, y, x) float32, or (m, z, y, x) for
        several templates. An array of double precision whose level or scale float32
        cannot hold has another one, which changes no pose.

    Raises
    ------
    TypeError, ValueError
        If one is no template or mask, their shapes differ, the mask is empty, or
        the template constant under it.

    Warns
    -----
    UserWarning
        If the mask goes beyond 0 to 1: it is clipped.

    Examples
    --------
    >>> import funpipe as fp
    >>> blob = fp.from_gaussian((8.0, 8.0, 8.0), sigma=1.0)
    >>> template, mask = prepare(blob, fp.soft_otsu(0.5, 0.5), scale=1.0)
    >>> template.shape, mask.shape
    ((8, 8, 8), (8, 8, 8))
    """
    prepared = prepare_all(template, mask, check.positive("scale", scale))
    if len(prepared.template) == 1:
        return Prepared(prepared.template[0], prepared.mask[0])
    return prepared


def prepare_all(
    template: Any, mask: Any, scale: float, name: str = "template"
) -> Prepared:
    """Return templates and masks at a scale, (m, z, y, x) also for one.

    Errors call the template by its name.
    """
    with one_thread():
        return _prepare_all(template, mask, scale, name)


def _prepare_all(template: Any, mask: Any, scale: float, name: str) -> Prepared:
    templates = _template_images(template, scale, name)
    masks = _clipped(_mask_images(mask, templates, scale))
    for image, under in zip(templates, masks, strict=True):
        if image.shape != templates[0].shape:
            raise ValueError(
                f"{name}: several must have one shape, not "
                f"{templates[0].shape} and {image.shape}"
            )
        _check_mask(under, image.shape, "template's")
        inside = image[under > 0]
        if np.ptp(inside) <= 1e-6 * np.abs(inside).max():
            raise ValueError(
                f"{name} must vary under its mask, but is constant there: "
                "there is nothing to align to"
            )
    return Prepared(np.stack(templates), np.stack(masks))


def mask_for(mask: Any, image: Image, scale: float, name: str = "mask") -> Image:
    """Return a mask for maps at a scale; a converter is applied to an image of them.

    Errors call it by its name.

    Raises
    ------
    TypeError, ValueError
        If it is no mask, or several, has another shape, or is empty.
    """
    with one_thread():
        found = _clipped(_mask_images(mask, [image], scale, name), name)[0]
    _check_mask(found, image.shape, "maps'", name)
    return found


def _check_mask(
    mask: Image, shape: tuple[int, ...], whose: str, name: str = "mask"
) -> None:
    if mask.shape != shape:
        raise ValueError(
            f"{name} must have the {whose} shape {shape}, not {mask.shape}"
        )
    if not (mask > 0).any():
        raise ValueError(f"{name} must be above 0 somewhere, but is empty")


def masked_templates(prepared: Prepared) -> Image:
    """Return templates under their masks, as they are matched, (m, z, y, x)."""
    return np.stack([masked(*pair) for pair in zip(*prepared, strict=True)])


def reach(templates: Image) -> float:
    """Return how far masked templates reach from their boxes' centre, in voxels.

    Examples
    --------
    >>> ball = np.zeros((1, 9, 9, 9), np.float32); ball[:, 3:6, 3:6, 3:6] = 1
    >>> round(reach(ball), 3)  # a cube of 3 voxels: half its diagonal
    1.732
    """
    return max(map(_reach, templates))


def _reach(template: Image) -> float:
    image = np.abs(template)
    where = np.argwhere(image > _SEEN * image.max()) - centre(image.shape)
    return float(np.linalg.norm(where, axis=1).max())


_WANTED = {
    "template": "a provider, a 3-D array, or several of them",
    "mask": "a converter, a provider, a 3-D array, or None",
}


def _template_images(template: Any, scale: float, name: str) -> list[Image]:
    images = _images(name, template, scale)
    if not images:
        fail(name, _WANTED["template"], template)
    return images


def _held(image: Any) -> Any:
    """Return an array of double precision as single precision can hold it."""
    if not check.is_image(image) or image.dtype.itemsize < 8:
        return image
    return levelled_values(image).values if np.isfinite(image).all() else image


def _mask_images(
    mask: Any, templates: list[Image], scale: float, name: str = "mask"
) -> list[Image]:
    if mask is None:
        return [np.ones_like(each) for each in templates]
    if isinstance(mask, ImageConverter):
        return [mask(each, scale) for each in templates]
    images = _images(name, mask, scale)
    if not images:
        fail(name, _WANTED["mask"], mask)
    if len(images) == 1:
        images = images * len(templates)
    if len(images) != len(templates):
        raise ValueError(
            f"{name} must be one, or {len(templates)}, one for each template, "
            f"not {len(images)}"
        )
    return images


_ROUNDING = 1e-3  # of a mask, which filters and files leave


def _clipped(masks: list[Image], name: str = "mask") -> list[Image]:
    """Return masks from 0 to 1; warn, once, of what was beyond more than rounding."""
    low = min(float(each.min()) for each in masks)
    high = max(float(each.max()) for each in masks)
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        warn(
            f"{name} goes from {low:.4g} to {high:.4g}, where it should from 0 to 1: "
            "what is beyond is taken for 0 or 1"
        )
    return [np.clip(each, 0, 1) for each in masks]


def _images(name: str, value: Any, scale: float) -> list[Image] | None:
    """Return the images of a provider, an array, or several; None for other things."""
    if isinstance(value, StageFunction):
        try:
            value.refuse()
        except TypeError as error:
            error.add_note(f"in {name}")
            raise
    wanted = _WANTED["mask" if "mask" in name else "template"]
    refuse_path(name, wanted, value, "from_file")
    if isinstance(value, Halves):
        fail(name, wanted, value, WHY_APART)
    if isinstance(value, ImageProvider):
        given: Any = value(scale)
        images = given if isinstance(given, list) else [given]
        return [check.image(name, each) for each in images]
    if isinstance(value, np.ndarray) and value.ndim == 3:
        level_counts = "mask" in name
        return [check.image(name, value if level_counts else _held(value))]
    if isinstance(value, list | tuple) or (
        isinstance(value, np.ndarray) and value.ndim > 3
    ):
        if name.count("[") > 1:  # lists in lists, which may hold themselves
            return None
        found = [_images(f"{name}[{i}]", each, scale) for i, each in enumerate(value)]
        if all(each is not None for each in found):
            return [image for each in found if each is not None for image in each]
    return None
