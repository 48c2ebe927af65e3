"""numpy arrays as Arrow columns and back, without a copy.

pyarrow's own ways (``pyarrow.array``, ``to_numpy``) first import pandas where it is installed, to see whether
they were given any of it: a second in which the collector's event loop stands still.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["column", "lists", "mask", "numbers", "optional", "ranks", "texts"]

_TYPES: dict[str, pa.DataType] = {"int32": pa.int32(), "int64": pa.int64(), "float64": pa.float64()}


def column(values: npt.NDArray[Any], *, present: npt.NDArray[np.bool_] | None = None) -> pa.Array[Any]:
    """Numbers as an Arrow array over the same memory; ``present`` is False where it is null."""
    validity = None if present is None else _bits(present)
    return pa.Array.from_buffers(_TYPES[values.dtype.name], len(values), [validity, _buffer(values)])


def optional(values: Sequence[int | None], *, scale: int = 1) -> pa.Array[Any]:
    """Whole numbers, some of which are absent, as an Arrow array; of floats where they are divided by a scale."""
    present = np.array([value is not None for value in values], np.bool_)
    held = np.array([value or 0 for value in values], np.int64)
    return column(held if scale == 1 else held / scale, present=None if present.all() else present)


def mask(values: npt.NDArray[np.bool_]) -> pa.Array[Any]:
    """Truth values as an Arrow array."""
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, _bits(values)])


def lists(offsets: npt.NDArray[np.int32], values: npt.NDArray[np.float64]) -> pa.Array[Any]:
    """Lists of numbers; ``offsets`` has one entry more than there are lists."""
    kind = pa.list_(pa.float64())
    return pa.Array.from_buffers(kind, len(offsets) - 1, [None, _buffer(offsets)], children=[column(values)])


def texts(words: Sequence[str | None]) -> pa.Array[Any]:
    """Texts, or nulls."""
    encoded = [b"" if word is None else word.encode() for word in words]
    offsets = np.zeros(len(words) + 1, np.int32)
    np.cumsum(np.fromiter(map(len, encoded), np.int32, len(words)), out=offsets[1:])
    present = np.fromiter((word is not None for word in words), np.bool_, len(words))
    validity = None if present.all() else _bits(present)
    joined = pa.py_buffer(b"".join(encoded))
    return pa.Array.from_buffers(pa.string(), len(words), [validity, _buffer(offsets), joined])


def numbers(values: pa.Array[Any]) -> npt.NDArray[Any]:
    """The numbers of an Arrow array that has no nulls."""
    dtype = np.dtype(str(values.type).replace("double", "float64"))
    held = values.buffers()[1]
    if held is None or not len(values):
        return np.empty(0, dtype)
    return np.frombuffer(memoryview(held), dtype, len(values), values.offset * dtype.itemsize)


def ranks(chunks: pa.ChunkedArray[Any]) -> npt.NDArray[Any]:
    """Integers that sort as the column's values do."""
    values = chunks.combine_chunks()
    if not pa.types.is_string(values.type):
        return numbers(values)
    encoded = values.dictionary_encode()
    # Arrow sorts the texts: it leaves the interpreter to the event loop meanwhile.
    by_rank = numbers(pc.sort_indices(encoded.dictionary))
    rank = np.empty(len(by_rank), np.int64)
    rank[by_rank] = np.arange(len(by_rank))
    ranks: npt.NDArray[Any] = rank[numbers(encoded.indices)]
    return ranks


def _buffer(values: npt.NDArray[Any]) -> pa.Buffer:
    return pa.py_buffer(memoryview(np.ascontiguousarray(values)))  # type: ignore[arg-type]  # numpy speaks the protocol


def _bits(values: npt.NDArray[np.bool_]) -> pa.Buffer:
    return _buffer(np.packbits(values, bitorder="little"))
