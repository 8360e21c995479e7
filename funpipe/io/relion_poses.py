"""The poses that the columns of RELION's particle lists say, and columns for poses.

Where RELION puts a particle
    coordinate · pixel size − A_sub @ origin, from voxel 0 of the tomogram, whose
    centre is at 0 there as it is here. Centred coordinates (RELION 5) are counted
    from size / 2 of the tomogram, half a voxel beyond its geometric centre
    (size − 1) / 2. Origins are in pixels in 3.0 and in Å from 3.1.
How it is turned
    A = A_sub @ A_part, of rlnTomoSubtomogramRot/Tilt/Psi and rlnAngleRot/Tilt/Psi.
Which point of the reference that is
    Voxel n // 2 of its box: for even n half a voxel beyond the centre (n − 1) / 2
    that a template has here, along each axis of the reference. ``box`` of
    `funpipe.io.particles.read_molecules` converts the one into the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.io.columns import Columns, numbers, replace, same_place, same_turn
from funpipe.io.euler import RELION
from funpipe.molecules import Molecules

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = [
    "CENTRED",
    "PIXEL",
    "PIXEL_SIZES",
    "SIZES",
    "first_of",
    "pixel_size",
    "posed",
    "poses",
    "rescaled",
    "wanted_columns",
    "with_pixel_size",
]

Array: TypeAlias = NDArray[Any]

PIXEL = ("rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ")
CENTRED = tuple(f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ")
_ORIGIN_ANGST = tuple(f"rlnOrigin{axis}Angst" for axis in "XYZ")
_ORIGIN_PIXEL = ("rlnOriginX", "rlnOriginY", "rlnOriginZ")
_ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
_SUB = tuple(f"rlnTomoSubtomogram{angle}" for angle in ("Rot", "Tilt", "Psi"))
SIZES = ("rlnTomoSizeX", "rlnTomoSizeY", "rlnTomoSizeZ")
PIXEL_SIZES = (
    "rlnTomoTiltSeriesPixelSize",
    "rlnMicrographPixelSize",
    "rlnMicrographOriginalPixelSize",
    "rlnImagePixelSize",
)
_APART = 0.01  # of a pixel size: they are rounded, and calibrated
_HELP = (
    "pass tomograms=...: RELION's tomograms file, a shape (z, y, x) in voxels, a "
    "mapping from names to shapes, or 'centred' to count from the centre here too"
)


def pixel_size(path: str, columns: Columns) -> Array | None:
    """Return the size in Å of the voxels that coordinates are counted in, or None.

    The first of: rlnTomoTiltSeriesPixelSize, rlnMicrographPixelSize,
    rlnMicrographOriginalPixelSize, rlnImagePixelSize; rlnDetectorPixelSize (µm) over
    rlnMagnification, as in RELION 3.0; rlnPixelSize.
    """
    found = first_of(path, columns, PIXEL_SIZES)
    detector = ("rlnDetectorPixelSize", "rlnMagnification")
    if found is None and all(each in columns for each in detector):
        size, magnification = numbers(path, columns, detector).T
        if (magnification <= 0).any():
            raise ValueError(f"{path}: rlnMagnification must be above 0")
        found = 1e4 * size / magnification
    if found is None:
        found = first_of(path, columns, ("rlnPixelSize",))
    if found is not None and (found <= 0).any():
        raise ValueError(f"{path}: a pixel size must be above 0, not {found.min()}")
    return found


def with_pixel_size(columns: Columns, scale: float) -> dict[str, Array]:
    """Return the columns with the pixel size, as `pixel_size` finds it, from nm."""
    label = next((each for each in PIXEL_SIZES if each in columns), PIXEL_SIZES[0])
    count = len(next(iter(columns.values()), ()))
    return {**columns, label: np.full(count, round(10 * scale, 9))}


def rescaled(columns: Columns, scale: float, positions: Array) -> dict[str, Array]:
    """Return the columns with coordinates in voxels of another scale, nm.

    They stay as they are if positions in nm say that they are so already: that is what
    comes of reading a list whose pixel size is wrong.
    """
    found, name = dict(columns), "features"
    stated = pixel_size(name, columns)
    if stated is None or any(each not in columns for each in PIXEL):
        return found
    voxels = numbers(name, columns, PIXEL)
    factors = stated[:, None] / (10 * scale)
    apart = [
        np.median(np.abs(each[:, ::-1] * scale - positions))
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
        raise ValueError(
            f"{name}: coordinates are counted from the tomogram's centre; {_HELP}"
        )
    stated = pixel_size(name, columns)
    if scale is not None and stated is not None:
        worst = stated[np.argmax(np.abs(stated - 10 * scale))]
        if abs(worst - 10 * scale) > _APART * worst:
            raise ValueError(
                f"{name}: scale={scale:g} nm contradicts the pixel size {worst:g} Å; "
                "coordinates from a tomogram's centre are in Å, and its size in voxels "
                "of that size: leave scale out"
            )
    sizes = numbers(name, columns, SIZES)[:, ::-1]
    return sizes / 2 * _scale(name, columns, scale)


def _scale(name: str, columns: Columns, scale: float | None) -> Any:
    """Return nm per voxel, one for all, or for each particle as (n, 1)."""
    if scale is not None:
        return scale
    sizes = pixel_size(name, columns)
    if sizes is None:
        raise ValueError(
            f"{name}: coordinates are in voxels, and no column says of what size; "
            "pass scale=... in nm per voxel"
        )
    return sizes[:, None] / 10


def _rotations(name: str, columns: Columns) -> tuple[Rotation, Rotation]:
    from scipy.spatial.transform import Rotation

    count = len(next(iter(columns.values()), ()))
    sub, part = (
        RELION.rotations(numbers(name, columns, names))
        if any(each in columns for each in names)
        else Rotation.identity(count)
        for names in (_SUB, _ANGLES)
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
    kinds = (PIXEL, CENTRED, _ORIGIN_ANGST, _ORIGIN_PIXEL, _SUB, _ANGLES)
    wanted = [name for kind in kinds if kind[0] in source for name in kind]
    if not any(name in source for name in (PIXEL[0], CENTRED[0])):
        wanted += CENTRED if SIZES[0] in known else PIXEL
    if _ANGLES[0] not in wanted:
        wanted += _ANGLES
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
    found = {k: v for k, v in columns.items() if k in wanted or not _is_pose(k)}
    sources = {k: v for k, v in known.items() if k in wanted or not _is_pose(k)}
    whole = all(each in sources for each in wanted)
    moved = turned = np.ones(count, dtype=bool)
    sub = Rotation.identity(count)
    if whole:
        places, rotations = poses(name, sources, scale, centred=centred)
        moved = ~same_place(places, molecules.positions)
        turned = ~same_turn(rotations, molecules.rotations)
        sub, _ = _rotations(name, sources)
    else:
        found = {k: v for k, v in found.items() if not _is_pose(k)}
    part = sub.inv() * molecules.rotations
    replace(found, _ANGLES, RELION.angles(part), turned)
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


def _is_pose(name: str) -> bool:
    kinds = (PIXEL, CENTRED, _ORIGIN_ANGST, _ORIGIN_PIXEL, _SUB, _ANGLES)
    return any(name in kind for kind in kinds)


def first_of(path: str, columns: Columns, names: tuple[str, ...]) -> Array | None:
    """Return the numbers of the first of several columns that is there."""
    for each in names:
        if each in columns:
            return numbers(path, columns, [each])[:, 0]
    return None
