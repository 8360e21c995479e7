"""RELION's STAR files of particles, 3.0 to 5, through starfile.

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

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from funpipe.io.columns import Columns, numbers, replace, same_place, same_turn
from funpipe.io.euler import RELION
from funpipe.io.star import Block, Star, read_star, simple_columns, write_star
from funpipe.molecules import Molecules

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = ["TomogramInfo", "pixel_size", "read", "read_tomograms", "write"]

Array: TypeAlias = NDArray[Any]

_PIXEL = ("rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ")
_CENTRED = tuple(f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ")
_ORIGIN_ANGST = tuple(f"rlnOrigin{axis}Angst" for axis in "XYZ")
_ORIGIN_PIXEL = ("rlnOriginX", "rlnOriginY", "rlnOriginZ")
_ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
_SUB = tuple(f"rlnTomoSubtomogram{angle}" for angle in ("Rot", "Tilt", "Psi"))
_SIZES = ("rlnTomoSizeX", "rlnTomoSizeY", "rlnTomoSizeZ")
_NAMES = ("rlnTomoName", "rlnMicrographName")
_PIXEL_SIZES = (
    "rlnTomoTiltSeriesPixelSize",
    "rlnMicrographPixelSize",
    "rlnMicrographOriginalPixelSize",
    "rlnImagePixelSize",
)
_HELP = (
    "pass tomograms=...: RELION's tomograms file, a shape (z, y, x) in voxels, a "
    "mapping from names to shapes, or 'centred' to count from the centre here too"
)


class TomogramInfo(NamedTuple):
    """What RELION's tomograms file says of a tomogram."""

    shape: tuple[int, int, int]
    """z, y, x, in voxels of the tilt series' pixel size."""
    scale: float | None = None
    """nm per such voxel."""
    hand: float | None = None
    """rlnTomoHand, −1 or 1: which way the defocus changes. No pose depends on it."""


def read_tomograms(path: str | os.PathLike[str]) -> dict[str, TomogramInfo]:
    """Read a RELION 4 or 5 tomograms file: sizes, pixel sizes and hands by name.

    Parameters
    ----------
    path : path-like
        The STAR file (extra ``star``).

    Raises
    ------
    FileNotFoundError, IsADirectoryError, PermissionError, ValueError
        If it cannot be read, or has no column of sizes.
    """
    name = os.fspath(path)
    star = read_star(path)
    blocks = [each for each in star.blocks.values() if _SIZES[0] in each]
    if not blocks:
        raise ValueError(f"{name} has no column {_SIZES[0]!r}: no tomograms file")
    block = simple_columns(name, blocks[0])
    sizes = numbers(name, block, _SIZES)
    if "rlnTomoName" not in block:
        raise ValueError(f"{name} has no column 'rlnTomoName'")
    if (sizes < 1).any():
        raise ValueError(f"{name}: a tomogram's size must be 1 or more")
    pixels = _first(name, block, _PIXEL_SIZES[:1])
    hands = _first(name, block, ("rlnTomoHand",))
    return {
        str(each): TomogramInfo(
            (int(z), int(y), int(x)),
            None if pixels is None else float(pixels[i]) / 10,
            None if hands is None else float(hands[i]),
        )
        for i, (each, (x, y, z)) in enumerate(
            zip(block["rlnTomoName"].tolist(), sizes.tolist(), strict=True)
        )
    }


def pixel_size(path: str, columns: Columns) -> Array | None:
    """Return the size in Å of the voxels that coordinates are counted in, or None.

    The first of: rlnTomoTiltSeriesPixelSize, rlnMicrographPixelSize,
    rlnMicrographOriginalPixelSize, rlnImagePixelSize; rlnDetectorPixelSize (µm) over
    rlnMagnification, as in RELION 3.0; rlnPixelSize.
    """
    found = _first(path, columns, _PIXEL_SIZES)
    detector = ("rlnDetectorPixelSize", "rlnMagnification")
    if found is None and all(each in columns for each in detector):
        size, magnification = numbers(path, columns, detector).T
        if (magnification <= 0).any():
            raise ValueError(f"{path}: rlnMagnification must be above 0")
        found = 1e4 * size / magnification
    if found is None:
        found = _first(path, columns, ("rlnPixelSize",))
    if found is not None and (found <= 0).any():
        raise ValueError(f"{path}: a pixel size must be above 0, not {found.min()}")
    return found


def read(
    path: str | os.PathLike[str], *, scale: float | None = None, tomograms: Any = None
) -> Molecules:
    """Read a list of particles; see the module for where RELION puts them.

    Parameters
    ----------
    path : path-like
        The STAR file (extra ``star``).
    scale : float, optional
        nm per voxel of the coordinates; by default what `pixel_size` finds.
    tomograms : path-like, mapping, (z, y, x) or 'centred', optional
        The sizes of the tomograms, for centred coordinates: RELION's tomograms file,
        `TomogramInfo` or shapes by name, one shape for all; or ``'centred'``, and
        positions are counted from the tomogram's centre.

    Returns
    -------
    Molecules
        Every column comes along as a feature; rlnTomoName, or else
        rlnMicrographName, becomes ``tomogram``. The pixel size comes along too, and
        the tomograms' sizes as rlnTomoSizeX, Y, Z.
    """
    name = os.fspath(path)
    _, block, optics = _particles(name, read_star(path))
    columns = _with_optics(name, block, optics)
    label = next((each for each in _NAMES if each in columns), None)
    count = len(next(iter(columns.values())))
    columns.update(_sizes(name, columns, label, tomograms, count))
    positions, rotations = _poses(name, columns, scale, centred=_is_centred(tomograms))
    if label and "tomogram" not in columns:
        columns = {("tomogram" if k == label else k): v for k, v in columns.items()}
        columns["tomogram"] = columns["tomogram"].astype(str)
    return Molecules(positions, rotations, columns)


def write(
    molecules: Molecules,
    path: str | os.PathLike[str],
    *,
    like: str | os.PathLike[str] | None = None,
    scale: float | None = None,
    tomograms: Any = None,
) -> None:
    """Write a list of particles.

    Parameters
    ----------
    molecules : Molecules
        The particles. Features that hold the columns of a RELION file are written
        as they are where the pose is still what they say. A particle that has moved
        keeps its coordinate and gets a new origin if there are origins; one that has
        turned keeps its rlnTomoSubtomogram angles and gets new rlnAngle ones.
    path : path-like
        Where to; an existing file is replaced, whole or not at all.
    like : path-like, optional
        A RELION file to write one like: its kind of coordinates, its columns in
        their order as far as the molecules have them, its other blocks (optics).
    scale : float, optional
        nm per voxel of the coordinates; by default what the features or ``like`` say.
    tomograms : path-like, mapping, (z, y, x) or 'centred', optional
        As in `read`, for centred coordinates.
    """
    features = dict(molecules.features)
    model = Star({}) if like is None else read_star(like)
    title, block = "particles", Block()
    optics: dict[str, Array] | None = None
    if like is not None:
        title, block, optics = _particles(os.fspath(like), model)
    label = next((each for each in _NAMES if each in block), _NAMES[0])
    columns = {(label if k == "tomogram" else k): v for k, v in features.items()}
    if optics is not None:
        columns.update(_optics_group(columns, block, optics, len(molecules)))
        # What the optics groups of the model say goes before what came along.
        keep = {*block, "rlnOpticsGroup"}
        columns = {k: v for k, v in columns.items() if k in keep or k not in optics}
    known = _with_optics("features", columns, optics)
    known.update(_sizes("features", known, label, tomograms, len(molecules)))
    wanted = _wanted(columns, block, known)
    found = _posed(molecules, columns, known, wanted, scale, _is_centred(tomograms))
    if like is None:
        optics = _new_optics(found, known, scale)
        model = Star({"optics": optics} if optics else {}, None)
        title = "particles" if optics else ""
    come_along = {*_SIZES, *(optics or {})} - {*block, "rlnOpticsGroup"}
    found = {k: v for k, v in found.items() if k not in come_along}
    order = [*(k for k in block if k in found), *(k for k in found if k not in block)]
    blocks = {**model.blocks, title: {name: found[name] for name in order}}
    write_star(path, Star(blocks, model.version))


def scale_of(path: str | os.PathLike[str]) -> float | None:
    """Return the one scale of a list in nm per voxel, None where it has none or two."""
    name = os.fspath(path)
    _, block, optics = _particles(name, read_star(path))
    sizes = pixel_size(name, _with_optics(name, block, optics))
    if sizes is None or np.ptp(sizes) > 1e-6 * sizes.max():
        return None
    return float(sizes[0]) / 10


def _first(path: str, columns: Columns, names: tuple[str, ...]) -> Array | None:
    for each in names:
        if each in columns:
            return numbers(path, columns, [each])[:, 0]
    return None


def _particles(name: str, star: Star) -> tuple[str, Block, dict[str, Array] | None]:
    """Return the particles' block with its title, and the optics groups."""
    lists = {
        title: block
        for title, block in star.blocks.items()
        if _PIXEL[0] in block or _CENTRED[0] in block
    }
    if not lists:
        raise ValueError(
            f"{name} has no particles: no column {_PIXEL[0]!r} or {_CENTRED[0]!r}"
        )
    title = "particles" if "particles" in lists else next(iter(lists))
    optics = star.blocks.get("optics")
    if optics is not None:
        optics = simple_columns(name, optics)
        if "rlnOpticsGroup" not in optics:
            raise ValueError(f"{name}: the optics table has no column 'rlnOpticsGroup'")
    return title, simple_columns(name, lists[title]), optics


def _with_optics(
    name: str, columns: Mapping[str, Array], optics: Columns | None
) -> dict[str, Array]:
    """Return the columns, and the pixel size that each particle's optics give it."""
    found = dict(columns)
    label = next((each for each in _PIXEL_SIZES if each in (optics or {})), None)
    if optics is None or label is None or label in found:
        return found
    if "rlnOpticsGroup" not in found:
        raise ValueError(f"{name} has no column 'rlnOpticsGroup', but optics groups")
    groups = optics["rlnOpticsGroup"].tolist()
    index = []
    for row, group in enumerate(found["rlnOpticsGroup"].tolist(), start=1):
        if group not in groups:
            raise ValueError(
                f"{name}: row {row} is in the optics group {group}, but there are "
                f"only {groups}"
            )
        index.append(groups.index(group))
    found[label] = optics[label][index]
    return found


def _sizes(
    name: str, columns: Columns, label: str | None, tomograms: Any, count: int
) -> dict[str, Array]:
    """Return each particle's tomogram size as columns, with what tomograms say."""
    if tomograms is None or _is_centred(tomograms):
        return {}
    if isinstance(tomograms, str | os.PathLike):
        tomograms = read_tomograms(tomograms)
    if not isinstance(tomograms, Mapping):
        infos = [_info(tomograms)] * count
    elif label is None or label not in columns:
        raise ValueError(f"{name} has no column 'rlnTomoName': give one shape for all")
    else:
        infos = []
        for row, each in enumerate(columns[label].tolist(), start=1):
            if str(each) not in tomograms:
                raise ValueError(
                    f"{name}: row {row} is in the tomogram {each!r}, but tomograms "
                    f"has only {sorted(map(str, tomograms))}"
                )
            infos.append(_info(tomograms[str(each)]))
    sizes = {
        axis: np.array([each.shape[i] for each in infos], dtype=np.int64)
        for axis, i in zip(_SIZES, (2, 1, 0), strict=True)
    }
    if infos and all(each.scale is not None for each in infos):
        scales = [10 * (each.scale or 0.0) for each in infos]
        if not any(each in columns for each in _PIXEL_SIZES):
            sizes[_PIXEL_SIZES[0]] = np.round(scales, 9)
    return sizes


def _is_centred(tomograms: Any) -> bool:
    return isinstance(tomograms, str) and tomograms == "centred"


def _info(value: Any) -> TomogramInfo:
    if isinstance(value, TomogramInfo):
        return value
    from funpipe.arguments import shape

    return TomogramInfo(shape("tomograms", value))


def _poses(
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
    if _CENTRED[0] not in columns or (
        _PIXEL[0] in columns and not centred and _SIZES[0] not in columns
    ):
        voxels = numbers(name, columns, _PIXEL)
        return voxels[:, ::-1] * _scale(name, columns, scale)
    return numbers(name, columns, _CENTRED)[:, ::-1] / 10 + _middle(
        name, columns, scale, centred
    )


def _middle(name: str, columns: Columns, scale: float | None, centred: bool) -> Any:
    """Return size / 2 of each particle's tomogram in nm, zyx."""
    if centred:
        return 0.0
    if _SIZES[0] not in columns:
        raise ValueError(
            f"{name}: coordinates are counted from the tomogram's centre; {_HELP}"
        )
    sizes = numbers(name, columns, _SIZES)[:, ::-1]
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
    images = _first(name, columns, ("rlnPixelSize",))
    if images is not None:
        return images[:, None] / 10
    return _scale(name, columns, scale)


def _optics_group(
    columns: Columns, block: Columns, optics: Columns, count: int
) -> dict[str, Array]:
    """Return an optics group for each particle that comes without one."""
    if "rlnOpticsGroup" in columns:
        return {}
    label = next((each for each in _NAMES if each in columns), "")
    groups = optics["rlnOpticsGroup"]
    if len(groups) == 1:
        return {"rlnOpticsGroup": np.repeat(groups, count)}
    if label in block and "rlnOpticsGroup" in block:
        pairs = set(
            zip(block[label].tolist(), block["rlnOpticsGroup"].tolist(), strict=True)
        )
        known = dict(pairs)
        names = columns[label].tolist()
        if len(known) == len(pairs) and all(each in known for each in names):
            return {"rlnOpticsGroup": np.array([known[each] for each in names])}
    raise ValueError(
        "molecules have no feature 'rlnOpticsGroup', and the file to write one like "
        f"has {len(groups)} optics groups: add it with molecules.with_features"
    )


def _wanted(columns: Columns, block: Columns, known: Columns) -> list[str]:
    """Return the columns of the pose that the file is to have."""
    source = block or columns
    kinds = (_PIXEL, _CENTRED, _ORIGIN_ANGST, _ORIGIN_PIXEL, _SUB, _ANGLES)
    wanted = [name for kind in kinds if kind[0] in source for name in kind]
    if not any(name in source for name in (_PIXEL[0], _CENTRED[0])):
        wanted += _CENTRED if _SIZES[0] in known else _PIXEL
    if _ANGLES[0] not in wanted:
        wanted += _ANGLES
    return wanted


def _posed(
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
        places, rotations = _poses(name, sources, scale, centred=centred)
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
    if _PIXEL[0] in wanted:
        voxels = positions / _scale(name, known, scale)
        replace(found, _PIXEL, voxels[:, ::-1], moved)
    if _CENTRED[0] in wanted:
        offsets = positions - _middle(name, known, scale, centred)
        replace(found, _CENTRED, 10 * offsets[:, ::-1], moved)


def _is_pose(name: str) -> bool:
    kinds = (_PIXEL, _CENTRED, _ORIGIN_ANGST, _ORIGIN_PIXEL, _SUB, _ANGLES)
    return any(name in kind for kind in kinds)


def _new_optics(
    columns: dict[str, Array], known: Columns, scale: float | None
) -> Block | None:
    """Return optics groups that say the pixel size; None where the particles do."""
    if "rlnDetectorPixelSize" in columns or (
        "rlnPixelSize" in columns and "rlnOpticsGroup" not in columns
    ):
        return None
    count = len(next(iter(columns.values())))
    columns.setdefault("rlnOpticsGroup", np.ones(count, dtype=np.int64))
    groups, at = np.unique(columns["rlnOpticsGroup"], return_index=True)
    sizes = (
        pixel_size("features", known) if scale is None else np.full(count, scale * 10)
    )
    optics: Block = {
        "rlnOpticsGroup": groups,
        "rlnOpticsGroupName": np.array([f"opticsGroup{each}" for each in groups]),
    }
    if sizes is not None:
        for group in groups:
            of_group = sizes[columns["rlnOpticsGroup"] == group]
            if np.ptp(of_group) > 1e-6 * of_group.max():
                raise ValueError(f"the optics group {group} has several pixel sizes")
        optics["rlnTomoTiltSeriesPixelSize"] = np.round(sizes[at], 9)
    return optics
