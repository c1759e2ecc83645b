"""Arrays in NumPy's format, looked at before they are read.

A header may say anything: that 10¹² numbers follow, or pickled objects, which may run code. NumPy
would make room for the first and, if allowed, run the second.
"""

import math
from io import BufferedIOBase

import numpy as np


def read_array(file: BufferedIOBase, available: int) -> np.ndarray:
    """The array that begins here, of at most `available` bytes with its header; read-only.

    **Raises:** `ValueError` for anything else.
    """
    start = file.tell()
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
    if len(content) < size or file.tell() - start > available:
        raise ValueError(f"it is cut off: {len(content)} bytes are there, {size} belong to it")
    try:
        return np.ndarray(shape, dtype, content, order="F" if by_column else "C")
    except (ValueError, TypeError) as error:  # too many axes
        raise ValueError(f"it is no array: {error}") from error


def _read_header(file: BufferedIOBase) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    # (Version 3 is that of structures whose fields have names beyond Latin.)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    return readers[version](file)
