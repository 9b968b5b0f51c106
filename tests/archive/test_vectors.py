"""Embeddings as bytes and back."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from dawnchorus.archive.vectors import encode_vectors, read_vectors
from dawnchorus.errors import FormatError

VECTORS = np.random.default_rng(0).exponential(1, (20, 70)).astype(np.float32)
VECTORS[3], VECTORS[4], VECTORS[5] = 0, 2.5, -VECTORS[6]


def test_half_precision_comes_back_exactly_and_uncopied() -> None:
    column = pa.array(encode_vectors(VECTORS, "embeddings"), pa.binary())
    np.testing.assert_array_equal(read_vectors(column, 70), VECTORS.astype(np.float16))
    assert read_vectors(column.slice(3, 2), 70).base is not None
    np.testing.assert_array_equal(read_vectors(column.slice(3, 2), 70), VECTORS[3:5].astype(np.float16))
    assert read_vectors(column.slice(0, 0), 70).shape == (0, 70)


def test_eight_bits_are_half_a_step_from_the_value() -> None:
    stored = encode_vectors(VECTORS, "embeddings:int8")
    assert {len(each) for each in stored} == {78}
    read = read_vectors(pa.array(stored, pa.binary()), 70).astype(np.float32)
    step = (VECTORS.max(axis=1) - VECTORS.min(axis=1)) / 255
    assert (np.abs(read - VECTORS).max(axis=1) <= step / 2 + 2e-3 * np.abs(VECTORS).max(axis=1)).all()
    np.testing.assert_array_equal(read[3:5], VECTORS[3:5])


def test_both_may_be_in_one_column() -> None:
    stored = [*encode_vectors(VECTORS[:5], "embeddings"), *encode_vectors(VECTORS[5:], "embeddings:int8")]
    read = read_vectors(pa.array(stored, pa.binary()), 70)
    np.testing.assert_array_equal(read[:5], VECTORS[:5].astype(np.float16))
    np.testing.assert_allclose(read[5:], VECTORS[5:], atol=0.03)


def test_other_lengths_are_refused() -> None:
    for stored in ([b"1234"], [None, VECTORS[0].astype("<f2").tobytes()]):
        with pytest.raises(FormatError, match="expected 70 numbers each"):
            read_vectors(pa.array(stored, pa.binary()), 70)
