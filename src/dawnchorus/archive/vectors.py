"""Embeddings as they are stored, and as arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dawnchorus.archive.rows import EMBEDDING_TYPE
from dawnchorus.errors import FormatError

HalfArray = npt.NDArray[np.float16]


def read_vectors(column: pa.BinaryArray, dim: int) -> HalfArray:
    """Return stored embeddings as an array [rows, dim], without a copy of the values.

    Raises:
        FormatError: one has another length.
    """
    if not len(column):
        return np.zeros((0, dim), EMBEDDING_TYPE)
    _, ends, content = column.buffers()
    ends = np.frombuffer(ends, np.int32)[column.offset : column.offset + len(column) + 1]
    n_bytes = dim * EMBEDDING_TYPE.itemsize
    if column.null_count or not (np.diff(ends) == n_bytes).all():
        raise FormatError(
            f"embeddings: expected {n_bytes} bytes each ({dim} numbers of float16), got others. The files were changed "
            f"or are damaged."
        )
    values = np.frombuffer(content, EMBEDDING_TYPE, count=len(column) * dim, offset=int(ends[0]))
    return values.reshape(len(column), dim)
