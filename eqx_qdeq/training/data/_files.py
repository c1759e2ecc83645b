"""Files of arrays, looked at before they are read.

A header may say anything: that 10¹² numbers follow, or pickled objects, which may run code. Who
believes it makes room for the first and runs the second. And a few kilobytes of zeros, packed
twice, are gigabytes.
"""

import collections
import gzip
import math
import zipfile
from collections.abc import Sequence
from io import BufferedIOBase
from pathlib import Path
from typing import cast

import numpy as np

from ..._checks import short
from ._arrays import DataError

# What packing gains at most on real data, by far; and what may be packed tighter, being small.
_MOST_PACKED, _SMALL = 200, 2**24


def _check_packed(size: int, packed: int, name: str) -> None:
    if size > max(_SMALL, _MOST_PACKED * packed):
        raise DataError(
            f"{name} would become {size} bytes of {packed}, more than packing gains on data; if "
            "they are meant, store them as they are."
        )


# --- NumPy's ----------------------------------------------------------------------------------


def read_array(file: BufferedIOBase, available: int) -> np.ndarray:
    """The array that begins here, of at most `available` bytes; read-only.

    **Raises:** `ValueError` for anything else.
    """
    try:
        shape, by_column, dtype = _read_header(file)
    # NumPy evaluates it as a Python literal, and one from a stranger makes the parser raise what it
    # likes: SyntaxError, RecursionError, MemoryError, TokenError, …
    except Exception as error:
        raise ValueError(f"it has no header of a NumPy array ({type(error).__name__})") from error
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not read: they may run code")
    size = math.prod(shape) * dtype.itemsize
    # Of an array without numbers, no axis is bounded by the numbers that there are.
    if not all(type(n) is int and 0 <= n < 2**31 for n in shape) or size > available:
        text = str(shape) if all(abs(n) < 10**20 for n in shape) else "of astronomic numbers"
        raise ValueError(
            f"it says that its shape is {text[:60]}, more than fits into {available} bytes"
        )
    content = file.read(size)
    if len(content) < size:
        raise ValueError(f"it is cut off: {len(content)} bytes are there, {size} belong to it")
    try:
        return np.ndarray(shape, dtype, content, order="F" if by_column else "C")
    except (ValueError, TypeError) as error:  # too many axes
        raise ValueError(f"it is no array: {error}") from error


def _read_header(file: BufferedIOBase) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)  # pyright: ignore[reportArgumentType]
    # (Version 3 is that of structures whose fields have names beyond Latin.)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    return readers[version](file)  # pyright: ignore[reportArgumentType]


def read_npz(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays of these names in an archive as `numpy.savez` and `savez_compressed` write it.

    **Raises:** [`eqx_qdeq.training.DataError`][] that names the file and the array.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            present = collections.Counter(info.filename.removesuffix(".npy") for info in infos)
            by_name = {info.filename: info for info in infos}
            missing = ", ".join(name for name in names if f"{name}.npy" not in by_name)
            if missing:
                there = ", ".join(present)
                raise DataError(
                    f"'{path}' lacks {missing}; it has {short(there, 200)}. It must have all of "
                    f"{tuple(names)}."
                )
            # All sizes before the first array.
            for name in names:
                if present[name] > 1:  # readers differ in which one counts
                    raise DataError(f"'{path}' has {name} more than once.")
                _check_member(by_name[f"{name}.npy"], f"'{path}': {name}")
            return {name: _read_member(archive, by_name[f"{name}.npy"]) for name in names}
    except DataError:
        raise
    # A damaged or odd archive makes zipfile raise what it likes: BadZipFile, zlib.error, EOFError,
    # NotImplementedError, RuntimeError, struct.error, …
    except Exception as error:
        text = short(str(error) or type(error).__name__, 200)
        raise DataError(f"'{path}' is not a readable .npz file: {text}") from error


def _check_member(info: zipfile.ZipInfo, name: str) -> None:
    if info.flag_bits & 1:
        raise DataError(f"{name} is encrypted.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"{name} is packed as NumPy does not; write it with numpy.savez.")
    _check_packed(info.file_size, info.compress_size, name)


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(info) as file:
        try:
            array = read_array(cast(BufferedIOBase, file), info.file_size)
        except ValueError as error:
            raise ValueError(f"{info.filename}: {error}") from error
        # To the end, where the checksum is compared.
        if file.read(1):
            raise ValueError(f"{info.filename} has bytes behind its array")
    return array


# --- MNIST's ----------------------------------------------------------------------------------


def read_idx(path: Path, n_axes: int) -> np.ndarray:
    """The bytes in an IDX file, plain or as .gz: four bytes that say what it holds, the lengths of
    the axes in four bytes each, and the array.

    **Raises:** [`eqx_qdeq.training.DataError`][] that names the file.
    """
    start = 4 + 4 * n_axes
    packed = path.suffix == ".gz"
    try:
        length = path.stat().st_size
        with gzip.open(path) if packed else path.open("rb") as file:
            header = file.read(start)
            # Two zeros, 8 for bytes, and the number of axes.
            if len(header) < start or header[:4] != bytes([0, 0, 8, n_axes]):
                raise DataError(f"'{path}' is no IDX file of bytes with {n_axes} axes.")
            shape = tuple(int(n) for n in np.frombuffer(header[4:], ">u4"))
            size = math.prod(shape)
            if packed:
                _check_packed(size, length, f"'{path}'")
            elif start + size != length:
                raise DataError(
                    f"'{path}' says that its shape is {shape}, {start + size} bytes with the "
                    f"header, and has {length}; use another copy."
                )
            content = file.read(size + 1)
    except DataError:
        raise
    except Exception as error:  # OSError, EOFError, zlib.error, and of odd lengths ValueError
        raise DataError(f"'{path}' cannot be read: {short(error)}; use another copy.") from error
    if len(content) != size:
        what = "is cut off" if len(content) < size else "has bytes behind its end"
        raise DataError(f"'{path}' {what}: its shape is {shape}; use another copy.")
    return np.frombuffer(content, np.uint8).reshape(shape)
