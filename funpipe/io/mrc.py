"""MRC files through mrcfile: modes 0, 1, 2, 6 and 12, whole or memory-mapped."""

from __future__ import annotations

import math
import mmap
import os
import re
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from funpipe.arguments import fail, positive, vector
from funpipe.io.voxels import Lazy, Volume, isotropic
from funpipe.io.whole import replacing

__all__ = ["ENDINGS", "PACKED", "open_mrc", "write_volume"]

ENDINGS = (".mrc", ".map", ".rec", ".ccp4", ".st")
PACKED = (".gz", ".bz2")

_LARGE = 2**30
_LABEL, _LABELS = 80, 10
_MARK = "funpipe: "
_IMOD_STAMP = 1146047817
"""In bytes 152 to 155 of the header: IMOD wrote it, and its flags follow."""


def open_mrc(name: str) -> Volume:
    """Open an MRC file, memory-mapped where it is not compressed.

    One that breaks the rules is read as well as it can be, with a warning that says
    what was wrong. Extended headers are passed over. Bytes (mode 0) are signed, but
    unsigned where IMOD says so in its header.
    """
    plain = Path(name).suffix.lower() not in PACKED
    header, size, array = _read_warned(name, plain)
    if _unsigned(header) and array.dtype == np.int8:
        array = array.view(np.uint8)
    scale, trouble = isotropic([float(size[each]) / 10 for each in "zyx"])
    if array.ndim == 3:
        # The header says which of x (1), y (2) and z (3) each axis of the file is.
        axes = [int(header.maps), int(header.mapr), int(header.mapc)]
        if sorted(axes) == [1, 2, 3]:
            array = array.transpose([axes.index(each) for each in (3, 2, 1)])
        if plain and array.nbytes >= _LARGE:
            array = Lazy(array)  # what is sliced is copied, and its pages let go
    return Volume(array, scale, trouble, _source(header))


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
    z, y, x = vector("origin", origin)
    name = Path(path)
    ending = Path(name.stem if name.suffix.lower() in PACKED else name).suffix
    if ending.lower() not in ENDINGS:
        raise ValueError(
            f"{name}: what is written is MRC, so its name must end in one of "
            f"{' '.join(ENDINGS)}, each maybe with .gz or .bz2"
        )
    if callable(image):
        source = image if source is None else source
        image = image(scale)
    array = np.asarray(image)
    if array.ndim != 3 or array.size == 0:
        raise ValueError(f"image must be 3-D, not of shape {array.shape}")
    if array.dtype.kind not in "biuf":
        fail("image", "a 3-D array of real numbers", array)
    array = array.astype(np.float32)
    packing = {".gz": "gzip", ".bz2": "bzip2"}.get(Path(path).suffix.lower())
    with (
        replacing(path) as partial,
        mrcfile.new(partial, compression=packing, overwrite=True) as file,
    ):
        file.set_data(array)
        file.voxel_size = 10 * scale
        for axis, length in (("z", z), ("y", y), ("x", x)):
            file.header.origin[axis] = 10 * length
        if source is not None:
            _put_source(file.header, str(source))


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


_DAMAGE = (ValueError, OSError, EOFError, zlib.error, TypeError, OverflowError)


def _read(name: str, plain: bool, *, permissive: bool) -> Any:
    import mrcfile
    from mrcfile.utils import data_dtype_from_header, data_shape_from_header

    reader = mrcfile.mrcfile.MrcFile if plain else mrcfile.open
    with (
        reader(name, header_only=plain, permissive=permissive) as file,
        np.errstate(divide="ignore", invalid="ignore"),  # a cell of 0 samples
    ):
        header, size = file.header.copy(), file.voxel_size.copy()
        array = file.data
    if plain:
        dtype, shape = data_dtype_from_header(header), data_shape_from_header(header)
        offset = 1024 + int(header.nsymbt)
        _check_size(name, offset + math.prod(map(int, shape)) * dtype.itemsize)
        array = np.memmap(name, dtype=dtype, mode="r", offset=offset, shape=shape)
        _read_no_further(array)
    if array is None:
        raise ValueError("its data cannot be read")
    return header, size, array


def _check_size(name: str, expected: int) -> None:
    """Refuse a file that is shorter than its header says; warn of one longer."""
    found = os.stat(name).st_size
    if found < expected:
        raise ValueError(f"{found} bytes, but its header says {expected}")
    if found > expected:
        warnings.warn(
            f"{found} bytes, but its header says {expected}",
            RuntimeWarning,
            stacklevel=2,
        )


def _read_no_further(array: Any) -> None:
    """Have the system read of a large file no more than the pages that are asked for.

    Reading ahead of each row of each block would take many times the memory.
    """
    if array.nbytes >= _LARGE and hasattr(mmap, "MADV_RANDOM"):
        array._mmap.madvise(mmap.MADV_RANDOM)


def _read_warned(name: str, plain: bool) -> Any:
    """Read a file, and warn of the rules that it breaks; else raise the reason."""
    troubles: list[str] = []
    try:
        found = _listening(name, plain, troubles, permissive=False)
    except _DAMAGE as reason:
        try:
            found = _listening(name, plain, troubles, permissive=True)
        except _DAMAGE:
            raise ValueError(f"{name} is not a readable MRC file: {reason}") from None
        troubles = troubles or [str(reason)]
    if troubles:
        warnings.warn(
            f"{name} breaks the rules of MRC: {'; '.join(dict.fromkeys(troubles))}; it "
            "was read all the same",
            stacklevel=5,
        )
    return found


def _listening(name: str, plain: bool, troubles: list[str], *, permissive: bool) -> Any:
    """Read a file, and put down what is warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = _read(name, plain, permissive=permissive)
    troubles.extend(str(each.message) for each in caught)
    return found


def _unsigned(header: Any) -> bool:
    """Tell whether IMOD's flags say that bytes are unsigned: bit 0 of flags not set."""
    extra: NDArray[Any] = np.frombuffer(header.extra2.tobytes(), dtype=np.uint8)
    words = extra[40:48].tobytes()  # extra2 begins at byte 112
    order = ">" if header.mode.dtype.byteorder == ">" else "<"
    stamp, flags = np.frombuffer(words, dtype=f"{order}i4")
    return bool(stamp == _IMOD_STAMP and not flags & 1)
