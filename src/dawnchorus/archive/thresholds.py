"""Filtering of rows by minimum scores; a model may have one for each of thousands of classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dawnchorus.archive.runs import StoredRun

COLUMNS = ("run", "scientific_name", "score")
"""Columns that `select_rows` needs."""


def lowest_score(runs: Sequence[StoredRun], min_score: float) -> float:
    """Return the lowest of `min_score` and all minimum scores per class of the runs' models."""
    return min([min_score, *(value for each in runs for value in each.run.thresholds.values())])


def select_rows(
    batches: pa.RecordBatchReader, runs: Sequence[StoredRun], min_score: float, *, columns: Sequence[str]
) -> pa.RecordBatchReader:
    """Return a reader of the rows that reach the minimum score of their species; `batches` is read lazily.

    Args:
        batches: rows with the columns `run`, `scientific_name` and `score`, and those in `columns`.
        runs: the runs whose models have minimum scores for some species (`ArchiveRun.thresholds`), which are used
            for these species be they higher or lower than `min_score`.
        min_score: minimum score of all other species, and of other runs.
        columns: names of the columns to return.
    """
    schema = pa.schema([batches.schema.field(name) for name in columns])
    return pa.RecordBatchReader.from_batches(schema, _select(batches, runs, min_score, schema.names))


def _select(
    batches: pa.RecordBatchReader, runs: Sequence[StoredRun], min_score: float, columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    values = {
        each.id: (
            pa.array(list(each.run.thresholds), pa.string()),
            np.array([*each.run.thresholds.values(), min_score], np.float32),
        )
        for each in runs
    }
    for batch in batches:
        smallest = np.full(len(batch), min_score, np.float32)
        for run, (names, scores) in values.items():
            # A name that is not in the set has no index: it takes the last score.
            index = pc.fill_null(pc.index_in(batch["scientific_name"], value_set=names), len(names))
            smallest = np.where(pc.equal(batch["run"], run).to_numpy(zero_copy_only=False), scores[index], smallest)
        yield batch.filter(pa.array(batch["score"].to_numpy() >= smallest)).select(columns)
