"""The poses that the columns of RELION's particle lists say, and columns for poses.

Where RELION puts a particle
    coordinate · pixel size − A_sub @ origin, from voxel 0 of the tomogram, whose
    centre is at 0 there as it is here. Centred coordinates (RELION 5) are counted
    from size / 2 of the tomogram, half a voxel beyond its geometric centre
    (size − 1) / 2. Origins are in pixels in 3.0 and in Å from 3.1.
How it is turned
    A = A_sub @ A_part, of rlnTomoSubtomogramRot/Tilt/Psi and rlnAngleRot/Tilt/Psi.
In voxels of which size coordinates are
    RELION 4 and 5 count in pixels of the tilt series (rlnTomoTiltSeriesPixelSize),
    also where the images are coarser (rlnImagePixelSize). Warp 2 writes image series
    (``ts_export_particles --2d``) with both sizes, but divides positions in Å by that
    of the images: ``BinnedPixelSizeMean`` in WarpLib/TiltSeries/
    TiltSeries.ReconstructParticleSeries.cs, while the optics table in WarpTools/
    Commands/Tiltseries/ExportParticlesTiltseries.cs says the tilt series' size too
    (github.com/warpem/warp). See `size_label` for how such a list is known.
Which point of the reference that is
    Voxel n // 2 of its box: for even n half a voxel beyond the centre (n − 1) / 2
    that a template has here, along each axis of the reference. ``box`` of
    `funpipe.io.particles.read_molecules` converts the one into the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.base.errors import Argument, FileError, MissingError
from funpipe.base.euler import RELION
from funpipe.base.molecules import Molecules
from funpipe.io.columns import Columns, numbers, replace, same_place, same_turn

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = [
    "ANGLES",
    "APART",
    "CENTRED",
    "NAMES",
    "PIXEL",
    "PIXEL_SIZES",
    "SIZES",
    "STACKS",
    "first_of",
    "is_pose",
    "pixel_size",
    "posed",
    "poses",
    "rescaled",
    "size_label",
    "wanted_columns",
    "with_pixel_size",
]

Array: TypeAlias = NDArray[Any]

PIXEL = ("rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ")
CENTRED = tuple(f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ")
_ORIGIN_ANGST = tuple(f"rlnOrigin{axis}Angst" for axis in "XYZ")
_ORIGIN_PIXEL = ("rlnOriginX", "rlnOriginY", "rlnOriginZ")
ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
_SUB = tuple(f"rlnTomoSubtomogram{angle}" for angle in ("Rot", "Tilt", "Psi"))
SIZES = ("rlnTomoSizeX", "rlnTomoSizeY", "rlnTomoSizeZ")
PIXEL_SIZES = (
    "rlnTomoTiltSeriesPixelSize",
    "rlnMicrographPixelSize",
    "rlnMicrographOriginalPixelSize",
    "rlnImagePixelSize",
)
NAMES = ("rlnTomoName", "rlnMicrographName")
_NAMED = (*NAMES, "tomogram")
STACKS = "rlnTomoSubTomosAre2DStacks"
APART = 0.01  # of a pixel size: they are rounded, and calibrated
_HELP = (
    "as RELION's tomograms file, a shape (z, y, x) in voxels, a mapping from names to "
    "shapes, or 'centred' to count from the centre here too"
)


def size_label(path: str, columns: Columns, scale: float | None = None) -> str | None:
    """Return the column that says in voxels of which size coordinates are, or None.

    It is the first that is there of `PIXEL_SIZES`; but that of the images, of a list of
    Warp's: image series, the two sizes unequal, no coordinates from the tomogram's
    centre, and tomograms that are all called ``*.tomostar``.

    Parameters
    ----------
    path : str
        The file, for errors.
    columns : mapping from str to (n,) array
        The particles' columns with those of their optics groups; STACKS is there if
        the list has it, for each particle.
    scale : float, optional
        nm per voxel as given: where the columns do not tell, the one that is nearest.

    Raises
    ------
    MissingError
        If it could be the size of the tilt series' pixels or that of the images'.
    """
    there = [each for each in PIXEL_SIZES if each in columns]
    series, images = PIXEL_SIZES[0], PIXEL_SIZES[-1]
    if {series, images} - set(there) or CENTRED[0] in columns or not _series(columns):
        return next(iter(there), None)
    sizes = numbers(path, columns, (series, images))
    if (np.abs(sizes[:, 0] - sizes[:, 1]) <= APART * sizes[:, 0]).all():
        return series
    names = next((columns[each] for each in _NAMED if each in columns), None)
    if names is not None and all(
        str(each).endswith(".tomostar") for each in names.tolist()
    ):
        return images
    if scale is not None:
        apart = np.abs(np.median(sizes, axis=0) - 10 * scale)
        return images if apart[1] < apart[0] else series
    first, second = sizes[np.argmax(np.abs(sizes[:, 0] - sizes[:, 1]))] / 10
    raise MissingError(
        path,
        "coordinates of image series are in pixels of the tilt series by RELION, in "
        "those of the images by Warp, and which wrote this list cannot be told",
        "scale",
        f"in nm per voxel: {first:g} for the tilt series', {second:g} for the images'",
    )


def _series(columns: Columns) -> bool:
    """Tell whether particles are series of 2-D images rather than volumes."""
    marks = {STACKS: ("1", "1.0"), "rlnImageDimensionality": ("2", "2.0")}
    for name, values in marks.items():
        if name in columns:
            return bool(np.isin(columns[name].astype(str), values).any())
    return "rlnTomoVisibleFrames" in columns


def pixel_size(path: str, columns: Columns, scale: float | None = None) -> Array | None:
    """Return the size in Å of the voxels that coordinates are counted in, or None.

    The first of: what the column that `size_label` finds says; rlnDetectorPixelSize
    (µm) over rlnMagnification, as in RELION 3.0; rlnPixelSize.
    """
    label = size_label(path, columns, scale)
    found = None if label is None else numbers(path, columns, [label])[:, 0]
    detector = ("rlnDetectorPixelSize", "rlnMagnification")
    if found is None and all(each in columns for each in detector):
        size, magnification = numbers(path, columns, detector).T
        if (magnification <= 0).any():
            raise FileError(path, ": rlnMagnification must be above 0")
        found = 1e4 * size / magnification
    if found is None:
        found = first_of(path, columns, ("rlnPixelSize",))
    if found is not None and (found <= 0).any():
        raise FileError(path, f": a pixel size must be above 0, not {found.min()}")
    return found


def with_pixel_size(
    columns: Columns, scale: float, label: str | None
) -> dict[str, Array]:
    """Return the columns with a pixel size, in the column of the label, from nm."""
    label = label or PIXEL_SIZES[0]
    count = len(next(iter(columns.values()), ()))
    return {**columns, label: np.full(count, round(10 * scale, 9))}


def rescaled(
    columns: Columns, before: Any, after: Any, positions: Array
) -> dict[str, Array]:
    """Return the columns with coordinates in voxels of another size than before, Å.

    They stay as they are if positions in nm say that they are so already: that is what
    comes of reading a list whose pixel size is wrong.
    """
    found, name = dict(columns), "features"
    if any(each not in columns for each in PIXEL):
        return found
    voxels = numbers(name, columns, PIXEL)
    size, factors = np.reshape(after, (-1, 1)), np.reshape(before / after, (-1, 1))
    apart = [
        np.median(np.abs(each[:, ::-1] * size / 10 - positions))
        for each in (voxels, voxels * factors)
    ]
    if apart[1] < apart[0]:
        found.update(zip(PIXEL, (voxels * factors).round(6).T, strict=True))
        if "rlnPixelSize" not in columns and _ORIGIN_PIXEL[0] in columns:
            origins = numbers(name, columns, _ORIGIN_PIXEL) * factors
            found.update(zip(_ORIGIN_PIXEL, origins.round(6).T, strict=True))
    return found


def poses(
    name: str, columns: Columns, scale: float | None, *, centred: bool = False
) -> tuple[Array, Rotation]:
    """Return positions in nm, zyx, and rotations, as the columns say."""
    sub, part = _rotations(name, columns)
    origins = _origins(name, columns, scale)
    places = _places(name, columns, scale, centred) - sub.apply(origins)
    return places, sub * part


def _places(
    name: str, columns: Columns, scale: float | None, centred: bool
) -> NDArray[np.float64]:
    """Return the coordinates alone as positions in nm, zyx."""
    if CENTRED[0] not in columns or (
        PIXEL[0] in columns and not centred and SIZES[0] not in columns
    ):
        voxels = numbers(name, columns, PIXEL)
        return voxels[:, ::-1] * _scale(name, columns, scale)
    return numbers(name, columns, CENTRED)[:, ::-1] / 10 + _middle(
        name, columns, scale, centred
    )


def _middle(name: str, columns: Columns, scale: float | None, centred: bool) -> Any:
    """Return size / 2 of each particle's tomogram in nm, zyx."""
    if centred:
        return 0.0
    if SIZES[0] not in columns:
        reason = "coordinates are counted from the tomogram's centre"
        raise MissingError(name, reason, "tomograms", _HELP)
    stated = pixel_size(name, columns, scale)
    if scale is not None and stated is not None:
        worst = stated[np.argmax(np.abs(stated - 10 * scale))]
        if abs(worst - 10 * scale) > APART * worst:
            raise FileError(
                name,
                ": ",
                Argument("scale", f"{scale:g}"),
                f" nm contradicts the pixel size {worst:g} Å; coordinates from a "
                "tomogram's centre are in Å, and its size in voxels of that size: "
                "leave scale out",
                name="scale",
                value=scale,
            )
    sizes = numbers(name, columns, SIZES)[:, ::-1]
    return sizes / 2 * _scale(name, columns, scale)


def _scale(name: str, columns: Columns, scale: float | None) -> Any:
    """Return nm per voxel, one for all, or for each particle as (n, 1)."""
    if scale is not None:
        return scale
    sizes = pixel_size(name, columns)
    if sizes is None:
        reason = "coordinates are in voxels, and no column says of what size"
        raise MissingError(name, reason, "scale", "in nm per voxel")
    return sizes[:, None] / 10


def _rotations(name: str, columns: Columns) -> tuple[Rotation, Rotation]:
    from scipy.spatial.transform import Rotation

    count = len(next(iter(columns.values()), ()))
    sub, part = (
        RELION.rotations(numbers(name, columns, names))
        if any(each in columns for each in names)
        else Rotation.identity(count)
        for names in (_SUB, ANGLES)
    )
    return sub, part


def _origins(name: str, columns: Columns, scale: float | None) -> NDArray[np.float64]:
    """Return the origins in nm, zyx."""
    if any(each in columns for each in _ORIGIN_ANGST):
        return numbers(name, columns, _ORIGIN_ANGST)[:, ::-1] / 10
    if any(each in columns for each in _ORIGIN_PIXEL):
        voxels = numbers(name, columns, _ORIGIN_PIXEL)[:, ::-1]
        return voxels * _origin_scale(name, columns, scale)
    return np.zeros((len(next(iter(columns.values()), ())), 3))


def _origin_scale(name: str, columns: Columns, scale: float | None) -> Any:
    """Return nm per pixel of the images that origins of RELION 3.0 are counted in."""
    images = first_of(name, columns, ("rlnPixelSize",))
    if images is not None:
        return images[:, None] / 10
    return _scale(name, columns, scale)


def wanted_columns(columns: Columns, block: Columns, known: Columns) -> list[str]:
    """Return the columns of the pose that the file is to have."""
    source = block or columns
    kinds = (PIXEL, CENTRED, _ORIGIN_ANGST, _ORIGIN_PIXEL, _SUB, ANGLES)
    wanted = [name for kind in kinds if kind[0] in source for name in kind]
    if not any(name in source for name in (PIXEL[0], CENTRED[0])):
        wanted += CENTRED if SIZES[0] in known else PIXEL
    if ANGLES[0] not in wanted:
        wanted += ANGLES
    return wanted


def posed(
    molecules: Molecules,
    columns: dict[str, Array],
    known: dict[str, Array],
    wanted: list[str],
    scale: float | None,
    centred: bool,
) -> dict[str, Array]:
    """Return the columns with the molecules' poses in them."""
    from scipy.spatial.transform import Rotation

    name = "features"
    count = len(molecules)
    if not known:
        known = {"": np.zeros(count)}
    found = {k: v for k, v in columns.items() if k in wanted or not is_pose(k)}
    sources = {k: v for k, v in known.items() if k in wanted or not is_pose(k)}
    whole = all(each in sources for each in wanted)
    moved = turned = np.ones(count, dtype=bool)
    sub = Rotation.identity(count)
    if whole:
        places, rotations = poses(name, sources, scale, centred=centred)
        moved = ~same_place(places, molecules.positions)
        turned = ~same_turn(rotations, molecules.rotations)
        sub, _ = _rotations(name, sources)
    else:
        found = {k: v for k, v in found.items() if not is_pose(k)}
    part = sub.inv() * molecules.rotations
    replace(found, ANGLES, RELION.angles(part), turned)
    origins: Array = np.zeros((count, 3))
    angst, pixel = _ORIGIN_ANGST[0] in wanted, _ORIGIN_PIXEL[0] in wanted
    if whole and (angst or pixel):
        places = _places(name, sources, scale, centred)
        origins = sub.inv().apply(places - molecules.positions)
    else:
        _put_places(found, molecules.positions, known, wanted, scale, centred, moved)
    if angst:
        replace(found, _ORIGIN_ANGST, 10 * origins[:, ::-1], moved)
    if pixel:
        voxels = origins / _origin_scale(name, known, scale)
        replace(found, _ORIGIN_PIXEL, voxels[:, ::-1], moved)
    if _SUB[0] in wanted and not whole:
        replace(found, _SUB, np.zeros((count, 3)), turned)
    return found


def _put_places(
    found: dict[str, Array],
    positions: Array,
    known: Columns,
    wanted: list[str],
    scale: float | None,
    centred: bool,
    moved: Array,
) -> None:
    name = "molecules"
    if PIXEL[0] in wanted:
        voxels = positions / _scale(name, known, scale)
        replace(found, PIXEL, voxels[:, ::-1], moved)
    if CENTRED[0] in wanted:
        offsets = positions - _middle(name, known, scale, centred)
        replace(found, CENTRED, 10 * offsets[:, ::-1], moved)


def is_pose(name: str) -> bool:
    """Tell whether a column says something of a pose."""
    kinds = (PIXEL, CENTRED, _ORIGIN_ANGST, _ORIGIN_PIXEL, _SUB, ANGLES)
    return any(name in kind for kind in kinds)


def first_of(path: str, columns: Columns, names: tuple[str, ...]) -> Array | None:
    """Return the numbers of the first of several columns that is there."""
    for each in names:
        if each in columns:
            return numbers(path, columns, [each])[:, 0]
    return None
