"""Encoding of embeddings as bytes, in half precision or 8 bits, and decoding to arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dawnchorus.errors import FormatError

HalfArray = npt.NDArray[np.float16]

EmbeddingEncoding = Literal["embeddings", "embeddings:int8"]
"""Name of the window analysis that computes embeddings, which determines their encoding in a table."""

_HALF = np.dtype("<f2")
_LIMITS = np.dtype("<f4")

LAYOUT = "float16, little-endian, one after the other; or lowest value and step as float32, and uint8 for each number"
"""Description of the encoding, stored with the column; a value in 8 bits is `lowest + step * number`."""


def encode_vectors(vectors: npt.NDArray[np.float32], encoding: EmbeddingEncoding) -> list[bytes]:
    """Encode embeddings [rows, dim], each as a bytes object: "embeddings" as float16, "embeddings:int8" in 8 bits.

    See `LAYOUT`; in 8 bits, each embedding has a scale of its own.
    """
    return _ENCODERS[encoding](vectors)


def _encode_half(vectors: npt.NDArray[np.float32]) -> list[bytes]:
    return [vector.tobytes() for vector in vectors.astype(_HALF)]


def _encode_bytes(vectors: npt.NDArray[np.float32]) -> list[bytes]:
    """Return for each vector its minimum and step, followed by its values in 256 steps.

    BirdNET's embeddings are never negative, so that steps from the minimum are half as wide as signed steps.
    """
    lowest = vectors.min(axis=1, keepdims=True).astype(_LIMITS)
    step = ((vectors.max(axis=1, keepdims=True) - lowest) / 255).astype(_LIMITS)
    numbers = np.round((vectors - lowest) / np.where(step > 0, step, 1)).clip(0, 255).astype(np.uint8)
    rows = zip(np.hstack([lowest, step]).astype(_LIMITS), numbers, strict=True)
    return [limits.tobytes() + own.tobytes() for limits, own in rows]


_ENCODERS: dict[EmbeddingEncoding, Callable[[npt.NDArray[np.float32]], list[bytes]]] = {
    "embeddings": _encode_half,
    "embeddings:int8": _encode_bytes,
}


def read_vectors(column: pa.BinaryArray, dim: int) -> HalfArray:
    """Decode a column of embeddings to an array [rows, dim]; the encoding of each row is known by its length.

    If all rows are float16, the array is a view of the column's memory. `dim` is the number of values of an embedding,
    that of the model (`Model.embedding_dim`).

    Raises:
        FormatError: an embedding is null, or has not the length of `dim` values in float16 or in 8 bits.
    """
    if not len(column):
        return np.zeros((0, dim), _HALF)
    _, ends, content = column.buffers()
    ends = np.frombuffer(ends, np.int32)[column.offset : column.offset + len(column) + 1]
    lengths = np.diff(ends)
    is_half, is_bytes = lengths == dim * _HALF.itemsize, lengths == dim + 2 * _LIMITS.itemsize
    if column.null_count or not (is_half | is_bytes).all():
        raise FormatError(
            f"embeddings: expected {dim} numbers each, as float16 or in 8 bits, got rows of other lengths. The files "
            f"were changed or are damaged."
        )
    if is_half.all():
        values = np.frombuffer(content, _HALF, count=len(column) * dim, offset=int(ends[0]))
        return values.reshape(len(column), dim)
    vectors = np.empty((len(column), dim), _HALF)
    for row, (start, half) in enumerate(zip(ends.tolist(), is_half.tolist(), strict=False)):
        if half:
            vectors[row] = np.frombuffer(content, _HALF, count=dim, offset=start)
        else:
            lowest, step = np.frombuffer(content, _LIMITS, count=2, offset=start)
            vectors[row] = lowest + step * np.frombuffer(content, np.uint8, count=dim, offset=start + 8)
    return vectors
