"""MRC files, their headers by mrcfile: modes 0, 1, 2, 6 and 12, plain or packed."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from funpipe.base.arguments import as_array, positive, vector
from funpipe.base.arguments import path as as_path
from funpipe.base.caller import warn
from funpipe.base.errors import FileError
from funpipe.base.extras import in_one_line
from funpipe.base.sources import open_unpacked, state_of
from funpipe.base.whole import replacing
from funpipe.base.wording import fail
from funpipe.io.formats import VolumeFormat
from funpipe.io.packed import (
    BEYOND,
    DAMAGE,
    Layout,
    odd_size,
    packed_array,
    unpacked_parts,
)
from funpipe.io.rows import stored_array
from funpipe.io.voxels import Lazy, Volume, check_claim, isotropic, no_volume

__all__ = ["ENDINGS", "PACKED", "VOLUME", "open_mrc", "write_volume"]

ENDINGS = (".mrc", ".map", ".rec", ".ccp4", ".st")
PACKED = (".gz", ".bz2")

_HEADER = 1024
_SMALL = 2**26  # bytes that are unpacked when a file is opened
_LABEL, _LABELS = 80, 10
_MARK = "funpipe: "
_MOST = float(np.finfo(np.float32).max)
_IMOD_STAMP = 1146047817
"""In bytes 152 to 155 of the header: IMOD wrote it, and its flags follow."""


def open_mrc(name: str, *, images: bool = False) -> Volume:
    """Open an MRC file; of one that is not packed, or large, only the header is read.

    One that breaks the rules is read as well as it can be, with a warning that says
    what was wrong. Extended headers are passed over. Bytes (mode 0) are signed, but
    unsigned where IMOD says so in its header.

    Parameters
    ----------
    name : str
        The file.
    images : bool
        Whether to take what it holds for images, whose number is then the first axis.
    """
    troubles: list[str] = []
    with open_unpacked(name) as file:
        with _named(name, troubles):
            header = _header(file.read(_HEADER), troubles)
            shape, dtype, offset = _layout(header)
        if images:
            shape = (math.prod(shape[:-2]), *shape[-2:])
        if len(shape) != 3 or dtype.kind not in "iuf":
            no_volume(name, shape, dtype)
        # The header says which of x (1), y (2) and z (3) each axis of the file is.
        says = [int(header.maps), int(header.mapr), int(header.mapc)]
        regular = sorted(says) == [1, 2, 3]
        z, y, x = (says.index(each) if regular else 3 - each for each in (3, 2, 1))
        lengths = shape[0], shape[1], shape[2]
        path, state = os.path.abspath(name), state_of(name)
        layout = Layout(path, "MRC", state, lengths, dtype, offset, (z, y, x))
        packed = Path(name).suffix.lower() in PACKED
        if packed:
            check_claim(name, layout.end, state.size)
        with _named(name, troubles):
            array = _array(file, layout, packed, troubles)
    if troubles:
        warn(
            f"{name} breaks the rules of MRC: {'; '.join(dict.fromkeys(troubles))}; it "
            "was read all the same"
        )
    return Volume(array, *isotropic(_voxel_size(header)), _source(header))


def _array(
    file: IO[bytes], layout: Layout, packed: bool, troubles: list[str]
) -> NDArray[Any] | Lazy:
    """Return the data: where they lie, or unpacked, those of large files later."""
    if not packed:
        _check_size(layout.state.size, layout.end, troubles)
        path, _, _, shape, dtype, offset, axes = layout
        return stored_array(path, shape, dtype, offset, axes)
    if layout.end > _SMALL:
        return packed_array(layout)
    content, size = _unpacked(file, layout.offset, layout.end)
    _check_size(size, layout.end, troubles)
    array = np.frombuffer(content, layout.dtype).reshape(layout.shape)
    array = array.transpose(layout.axes)
    array.flags.writeable = False
    return array


def write_volume(
    path: str | os.PathLike[str],
    image: Any,
    scale: float,
    *,
    origin: Any = (0.0, 0.0, 0.0),
    source: Any = None,
) -> None:
    """Write an image as MRC, float32, whole or not at all.

    Parameters
    ----------
    path : path-like
        Where to; an existing file is replaced. ``.gz`` and ``.bz2`` are compressed.
    image : (z, y, x) array, or ImageProvider
        The image, or a pipeline that is called with the scale.
    scale : float
        nm per voxel; the header gets it in Å.
    origin : (float, float, float)
        Where the first voxel lies, in nm, z, y, x; the header gets it in Å.
    source : ImageProvider, ImageConverter or str, optional
        The pipeline that made the image; by default ``image`` if it is one. Its
        source text goes into the labels, and `funpipe.io.volumes.open_volume` gives
        it back. The labels hold 711 characters; a longer text is cut, and ends in
        "...".

    Raises
    ------
    TypeError, ValueError
        If it is no volume, or could not be read back: voxels, the box or its origin
        are not finite, or beyond what the format holds, float32 in Å.

    Examples
    --------
    >>> import tempfile
    >>> import funpipe as fp
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "blob.mrc")
    >>> write_volume(path, fp.gaussian_filter(0.5) @ fp.from_gaussian(4.0), 0.5)
    >>> open_mrc(path).source
    'gaussian_filter(0.5) @ from_gaussian((4.0, 4.0, 4.0))'
    >>> folder.cleanup()
    """
    import mrcfile

    scale = positive("scale", scale)
    _check_length("scale", scale)
    origin = vector("origin", origin)
    for each in origin:
        if abs(10 * each) > _MOST:
            fail("origin", f"lengths up to {_MOST / 10:.3g} nm, for MRC", origin)
    name = Path(as_path("path", path))
    ending = Path(name.stem if name.suffix.lower() in PACKED else name).suffix
    if ending.lower() not in ENDINGS:
        raise FileError(
            name,
            f": what is written is MRC, so its name must end in one of "
            f"{' '.join(ENDINGS)}, each maybe with .gz or .bz2",
        )
    wanted = "a 3-D array of real numbers, or an ImageProvider"
    if _is_pipeline(image):
        source = image if source is None else source
        image = image(scale)
    if not (source is None or isinstance(source, str) or _is_pipeline(source)):
        fail("source", "a pipeline, its text, or None", source)
    if np.ma.is_masked(image):
        raise ValueError("image has masked voxels; fill them, as in image.filled(0)")
    array = as_array("image", wanted, image)
    if array.ndim != 3 or array.size == 0:
        raise ValueError(f"image must be 3-D, not of shape {array.shape}")
    if array.dtype.kind not in "biuf":
        fail("image", wanted, image)
    _check_length("scale", scale, max(array.shape))
    with np.errstate(over="ignore", invalid="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise ValueError(
            "image must be finite and within what float32 holds, up to "
            f"{_MOST:.3g}, for MRC"
        )
    packing = {".gz": "gzip", ".bz2": "bzip2"}.get(Path(path).suffix.lower())
    with (
        replacing(path) as partial,
        mrcfile.new(partial, compression=packing, overwrite=True) as file,
    ):
        with np.errstate(over="ignore", invalid="ignore"):
            file.set_data(array)
        if not np.isfinite(file.header.rms):
            file.header.rms = -1.0  # the format's word for one that is not known
        file.voxel_size = 10 * scale
        for axis, length in zip("zyx", origin, strict=True):
            file.header.origin[axis] = 10 * length
        if source is not None:
            _put_source(file.header, str(source))


def _is_pipeline(value: Any) -> bool:
    """Tell a pipeline by what it has: files know nothing of the algebra."""
    return callable(value) and hasattr(value, "parts")


def _check_length(name: str, scale: float, voxels: int = 1) -> None:
    """Refuse a scale with which a cell of so many voxels is no float32 in Å."""
    least, most = float(np.finfo(np.float32).tiny) / 10, _MOST / 10 / voxels
    if not least <= scale <= most:
        wanted = f"a number from {least:.3g} to {most:.3g} nm, which MRC can hold"
        fail(name, wanted, scale)


def _put_source(header: Any, text: str) -> None:
    """Put a text into the labels after the first, 80 characters each."""
    text = _MARK + text.encode("ascii", "backslashreplace").decode()
    room = (_LABELS - 1) * _LABEL
    if len(text) > room:
        text = text[: room - 3] + "..."
    pieces = re.findall(rf".{{1,{_LABEL}}}", text.replace("\n", " "))
    for i, piece in enumerate(pieces, start=1):
        header.label[i] = piece.ljust(_LABEL).encode()
    header.nlabl = 1 + len(pieces)


def _source(header: Any) -> str | None:
    """Return the text that `_put_source` put into the labels."""
    labels = [
        bytes(each).decode("ascii", "replace").ljust(_LABEL) for each in header.label
    ]
    labels = labels[: max(0, min(int(header.nlabl), _LABELS))]
    for i, each in enumerate(labels):
        if each.startswith(_MARK):
            return "".join(labels[i:])[len(_MARK) :].rstrip(" \0")
    return None


@contextmanager
def _named(name: str, troubles: list[str]) -> Iterator[None]:
    """Name the file in errors, and the first reason why it is no MRC file."""
    try:
        yield
    except DAMAGE as error:
        if getattr(error, "errno", None) is not None:
            raise  # the system's own word; damaged packing has no number
        reason = troubles[0] if troubles else in_one_line(error)
        raise ValueError(f"{name} is not a readable MRC file: {reason}") from None


def _header(raw: bytes, troubles: list[str]) -> Any:
    """Return a header as mrcfile has it, in its own byte order; add what is wrong."""
    from mrcfile.dtypes import HEADER_DTYPE
    from mrcfile.utils import byte_order_from_machine_stamp

    if len(raw) < _HEADER:
        raise ValueError(f"{len(raw)} bytes, but a header has {_HEADER}")
    found = np.frombuffer(raw, HEADER_DTYPE).reshape(()).view(np.recarray).copy()
    if bytes(found.map)[:3] != b"MAP":
        troubles.append("Map ID string not found")
    order = "<"
    try:
        order = byte_order_from_machine_stamp(found.machst)
    except ValueError as error:
        troubles.append(f"no machine stamp of either byte order ({error})")
    orders = (order, ">" if order == "<" else "<")
    header, turned = (found.view(found.dtype.newbyteorder(each)) for each in orders)
    if _has_mode(header) or not _has_mode(turned):
        return header  # of an unknown mode, what asks for its type says so
    troubles.append("Machine stamp of the other byte order")
    return turned


def _has_mode(header: Any) -> bool:
    from mrcfile.utils import dtype_from_mode

    try:
        dtype_from_mode(header.mode)
    except ValueError:
        return False
    return True


def _layout(header: Any) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Return the shape and type of the data, and where they begin."""
    from mrcfile.utils import data_dtype_from_header, data_shape_from_header

    dtype = data_dtype_from_header(header)
    if dtype.itemsize == 1 and _unsigned(header):
        dtype = np.dtype(np.uint8)
    shape = tuple(map(int, data_shape_from_header(header)))
    extended = int(header.nsymbt)
    if min(shape) < 1:
        raise ValueError(f"its header says {' x '.join(map(str, shape))} voxels")
    if extended < 0:
        raise ValueError(f"its header says {extended} bytes of extended header")
    return shape, dtype, _HEADER + extended


def _check_size(found: int, expected: int, troubles: list[str]) -> None:
    """Refuse a file that is shorter than its header says; note one that is longer."""
    odd = odd_size(found, expected)
    if odd is not None:
        troubles.append(odd)


def _unpacked(file: IO[bytes], offset: int, end: int) -> tuple[bytearray, int]:
    """Return the data of a packed file after its header, and how long it is in all.

    It is unpacked in parts, so that a file that is shorter than it says takes no more
    memory than it has; what follows the data is counted up to a bound.
    """
    before = sum(map(len, unpacked_parts(file, offset - _HEADER)))
    content = bytearray()
    for part in unpacked_parts(file, end - offset):
        content += part
    beyond = sum(map(len, unpacked_parts(file, BEYOND)))
    return content, _HEADER + before + len(content) + beyond


def _voxel_size(header: Any) -> list[float]:
    """Return nm per voxel along z, y, x; 0 where the header gives none."""
    cell = [(float(header.cella[axis]), int(header[f"m{axis}"])) for axis in "zyx"]
    single = [
        np.float32(length / samples) if samples else 0.0 for length, samples in cell
    ]
    return [float(each) / 10 for each in single]


def _unsigned(header: Any) -> bool:
    """Tell whether IMOD's flags say that bytes are unsigned: bit 0 of flags not set."""
    extra: NDArray[Any] = np.frombuffer(header.extra2.tobytes(), dtype=np.uint8)
    words = extra[40:48].tobytes()  # extra2 begins at byte 112
    order = ">" if header.mode.dtype.byteorder == ">" else "<"
    stamp, flags = np.frombuffer(words, dtype=f"{order}i4")
    return bool(stamp == _IMOD_STAMP and not flags & 1)


VOLUME = VolumeFormat(open_mrc, ENDINGS, "MRC", PACKED)
