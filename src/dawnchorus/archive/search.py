"""Search for windows whose embeddings are similar to a given vector."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pa_dataset

from dawnchorus.archive.row_filter import DetectedSpecies, RowFilter, find_windows, shift_clock
from dawnchorus.archive.runs import StoredRun
from dawnchorus.archive.schemas import RECORDINGS
from dawnchorus.archive.sign_index import Block, SignIndex, Words, normalize
from dawnchorus.arrays import FloatArray
from dawnchorus.cores import usable_cores
from dawnchorus.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from dawnchorus.archive.archive import Archive, Names, Time
    from dawnchorus.archive.delta import ArchiveTable

SHORTLIST_SHARE = 0.01
"""Share of all windows whose embeddings are compared exactly; `bench/search.py` measures the resulting recall."""

SHORTLIST_PER_HIT = 20
"""Minimum number of exactly compared windows per requested hit."""

MAX_VECTORS = 32
"""Maximum number of query vectors in a search."""

SPECIES_MIN_SCORE = 0.25
"""Minimum score of the species that are named in a hit."""

BLOCKS_AT_A_TIME = 64

HIT_SCHEMA = pa.schema(
    [
        ("rank", pa.int32()),
        ("score", pa.float32()),
        ("recording", pa.string()),
        ("channel", pa.int16()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("start_time", pa.string()),
        ("site", pa.string()),
        ("species", pa.string()),
        ("human_voice", pa.bool_()),
        ("path", pa.binary()),
        ("duration_s", pa.float64()),
        ("recording_id", pa.int64()),
    ]
)
"""Columns of hits.

`rank` counts from 1, `score` is the cosine similarity, `start_s`, `end_s` and `start_time` are those of the window,
`species` are the scientific names detected in it, joined by "; ", `human_voice` tells of speech within
`row_filter.VOICE_MARGIN_S` of it, and all others are those of the recording.
"""


def embedding_runs(
    archive: Archive, runs: Sequence[StoredRun], *, dim: int | None = None, bundle_id: str | None = None
) -> list[StoredRun]:
    """Return those of `runs` that have the required embeddings, which must be of one model.

    Args:
        archive: the archive, for error messages.
        runs: the runs to choose from.
        dim: required length of the embeddings; None for any.
        bundle_id: required id of the model that computed them; None for any.

    Raises:
        NotFoundError: none of `runs` has embeddings.
        InputError: none of them has the required embeddings, or those that have are of several models.
    """
    kept = [each for each in runs if each.run.embedding_dim]
    if not kept:
        raise NotFoundError(
            "embeddings: none are kept. Identify with --keep embeddings.", subject=archive.location.root
        )
    fitting = [
        each for each in kept if dim in (None, each.run.embedding_dim) and bundle_id in (None, each.run.bundle_id)
    ]
    models = {each.run.bundle_id: f"{each.run.model} ({each.run.bundle_id}, {each.run.embedding_dim})" for each in kept}
    if not fitting:
        described = f"{dim} numbers" if bundle_id is None else f"{dim} numbers of the bundle {bundle_id}"
        raise InputError(
            f"expected an embedding of a model whose embeddings are kept: {', '.join(models.values())}; got one of "
            f"{described}. Choose that model (--model)."
        )
    if len({each.run.bundle_id for each in fitting}) > 1:
        raise InputError(
            f"embeddings of several models are kept: {', '.join(models.values())}. Name the runs of one of them."
        )
    return fitting


def search_archive(
    archive: Archive,
    vectors: npt.ArrayLike,
    *,
    k: int,
    species: Names | None = None,
    sites: Names | None = None,
    since: Time | None = None,
    until: Time | None = None,
    runs: Names | None = None,
    bundle_id: str | None = None,
    exact: bool = False,
    workers: int | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> pa.Table:
    """Find the windows whose embeddings are most similar to `vectors`; see `Archive.search` for arguments and result.

    Raises:
        NotFoundError: there is no run with one of these ids, or none of the runs has embeddings.
        InputError: a vector of another shape, with values that are not finite, or with a length or `bundle_id` that no
            stored embeddings have; stored embeddings of several models fit the vector; `k` below 1; an unknown species;
            or a time in another format.
        OutputError: the derived files cannot be written.
        StoreError, FormatError: see `delta.ArchiveTable.reading`.
    """
    if k < 1:
        raise InputError(f"k: expected a whole number, 1 or more, got {k!r}.")
    queries = _as_queries(vectors)
    known = archive.find_runs(runs)
    every = known if runs is None else archive.find_runs(None)
    chosen = embedding_runs(archive, known, dim=queries.shape[1], bundle_id=bundle_id)
    run = chosen[0].run
    n_workers = usable_cores() if workers is None else workers
    index = SignIndex(
        archive.location,
        bundle_id=run.bundle_id,
        runs=[each.id for each in every if each.run.bundle_id == run.bundle_id and each.run.embedding_dim],
        dim=queries.shape[1],
        cache=None if cache is None else Path(cache),
        workers=n_workers,
    )
    blocks = index.open()
    # After the files, for a unit that ends meanwhile may have none of its rows in them.
    recordings = archive.table(RECORDINGS)
    rows = find_windows(
        archive,
        recordings,
        [each.id for each in chosen],
        species=species,
        sites=sites,
        since=since,
        until=until,
        min_score=SPECIES_MIN_SCORE,
    )
    with ThreadPoolExecutor(n_workers) as pool:
        scan = _Scan(blocks, rows, queries, pool)
        hits = scan.score(scan.all_rows() if exact else scan.shortlist(index.space.signs(queries), k=k), k=k)
    return _describe(archive, recordings, blocks, hits, k=k)


def _as_queries(vectors: npt.ArrayLike) -> FloatArray:
    """Return vectors as an array [vectors, dim], normalized to length 1.

    Raises:
        InputError: the array has another shape, or numbers that are not finite.
    """
    try:
        given = np.asarray(vectors, np.float32)
    except (TypeError, ValueError):
        raise InputError(f"vector: expected an array [dim], got {type(vectors).__name__}.") from None
    queries = given[np.newaxis] if given.ndim == 1 else given
    if queries.ndim != 2 or not queries.size or len(queries) > MAX_VECTORS:
        raise InputError(
            f"vector: expected an array [dim], or [vectors, dim] of at most {MAX_VECTORS}, got the shape {given.shape}."
        )
    if not np.isfinite(queries).all():
        raise InputError("vector: expected finite numbers, got NaN or infinity.")
    return normalize(queries)


# ---------------------------------------------------------------------- scan


@dataclass(frozen=True)
class _Rows:
    """Rows of a block, by index, with a value for each: Hamming distance or score."""

    block: int
    rows: npt.NDArray[np.intp]
    values: npt.NDArray[Any]

    def select(self, is_kept: npt.NDArray[np.bool_]) -> _Rows:
        """Return the rows selected by a mask."""
        return _Rows(self.block, self.rows[is_kept], self.values[is_kept])


class _Scan:
    """Pass over the rows that meet the filter, block by block; only the shortlist grows with their number."""

    def __init__(self, blocks: Sequence[Block], rows: RowFilter, queries: FloatArray, pool: ThreadPoolExecutor) -> None:
        self._blocks, self._filter, self._queries, self._pool = blocks, rows, queries, pool

    def all_rows(self) -> Iterator[_Rows]:
        """Yield all rows that meet the filter, with unused values."""
        for number, block in enumerate(self._blocks):
            rows = self._filter.rows(block)
            yield _Rows(number, rows, rows)

    def shortlist(self, words: Words, *, k: int) -> list[_Rows]:
        """Return the rows whose signs differ least from those of any query."""
        n_rows = sum(map(len, self._blocks))
        n_wanted = max(SHORTLIST_PER_HIT * k, math.ceil(SHORTLIST_SHARE * n_rows))
        queries = np.stack(words, axis=1)
        shortlist = _Shortlist(n_wanted, n_bits=64 * queries.shape[1])
        numbers = range(len(self._blocks))
        for first in range(0, len(self._blocks), BLOCKS_AT_A_TIME):
            some = numbers[first : first + BLOCKS_AT_A_TIME]
            for each in self._pool.map(self._measure, some, [queries] * len(some)):
                shortlist.add(each)
        return shortlist.finish()

    def _measure(self, number: int, queries: npt.NDArray[np.uint64]) -> _Rows:
        """Return the rows of a block that meet the filter, with their minimum distance from any query.

        `queries` are words of signs [vectors, words].
        """
        block = self._blocks[number]
        rows = self._filter.rows(block)
        if not len(rows):
            return _Rows(number, rows, np.zeros(0, np.uint16))
        words = block.words
        distances = hamming(words, queries[0])
        for query in queries[1:]:
            np.minimum(distances, hamming(words, query), out=distances)
        return _Rows(number, rows, distances if len(rows) == len(block) else distances[rows])

    def score(self, parts: Iterable[_Rows], *, k: int) -> list[_Rows]:
        """Return the best `k` rows (more if scores are equal), with their scores."""
        best = _Best(k)
        waiting = iter(parts)
        while some := [each for _, each in zip(range(BLOCKS_AT_A_TIME), waiting, strict=False)]:
            for each in self._pool.map(self._compare, some):
                best.add(each)
        return best.finish()

    def _compare(self, part: _Rows) -> _Rows:
        """Return rows with their maximum score over the queries."""
        vectors = self._blocks[part.block].vectors[part.rows].astype(np.float32)
        return _Rows(part.block, part.rows, (normalize(vectors) @ self._queries.T).max(axis=1))


class _Shortlist:
    """Collection of the `n_wanted` rows with the smallest distances among all that are added."""

    def __init__(self, n_wanted: int, *, n_bits: int) -> None:
        self._n_wanted, self._cutoff = n_wanted, n_bits
        self._counts = np.zeros(n_bits + 1, np.int64)
        self._parts: list[_Rows] = []
        self._n_kept = 0

    def add(self, part: _Rows) -> None:
        """Add rows; rows that cannot be in the shortlist any more are dropped."""
        self._counts += np.bincount(part.values, minlength=len(self._counts))
        enough = int(np.searchsorted(np.cumsum(self._counts), self._n_wanted))
        self._cutoff = min(self._cutoff, enough)
        self._keep(part)
        if self._n_kept > 4 * self._n_wanted:
            self._prune()

    def finish(self) -> list[_Rows]:
        """Return the shortlist, including all rows that have its largest distance."""
        self._prune()
        return self._parts

    def _keep(self, part: _Rows) -> None:
        near = part.select(part.values <= self._cutoff)
        if len(near.rows):
            self._parts.append(near)
            self._n_kept += len(near.rows)

    def _prune(self) -> None:
        parts, self._parts, self._n_kept = self._parts, [], 0
        for part in parts:
            self._keep(part)


class _Best:
    """Collection of the `k` rows with the highest scores among all that are added."""

    def __init__(self, k: int) -> None:
        self._k, self._lowest = k, -np.inf
        self._parts: list[_Rows] = []
        self._n_kept = 0

    def add(self, part: _Rows) -> None:
        """Add rows; rows that cannot be among the best are dropped."""
        high = part.select(part.values >= self._lowest)
        if not len(high.rows):
            return
        self._parts.append(high)
        self._n_kept += len(high.rows)
        if self._n_kept > 16 * self._k:
            self._prune()

    def finish(self) -> list[_Rows]:
        """Return the best rows in no order, including all rows that have the score at rank `k`."""
        self._prune()
        return self._parts

    def _prune(self) -> None:
        if self._n_kept > self._k:
            values = np.concatenate([part.values for part in self._parts])
            self._lowest = np.partition(values, -self._k)[-self._k]
        parts = [part.select(part.values >= self._lowest) for part in self._parts]
        self._parts = [part for part in parts if len(part.rows)]
        self._n_kept = sum(len(part.rows) for part in self._parts)


# ---------------------------------------------------------------------- signs

_BYTE_COUNTS = np.array([bin(value).count("1") for value in range(256)], np.uint8)


def count_bits(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    """Return the number of 1 bits in each of the 64-bit words [n] as an array [n]."""
    counts: npt.NDArray[np.uint8]
    if hasattr(np, "bitwise_count"):  # from NumPy 2.0 on
        counts = np.bitwise_count(words)
    else:
        counts = _BYTE_COUNTS[words.view(np.uint8).reshape(-1, 8)].sum(axis=1, dtype=np.uint8)
    return counts


def hamming(words: Words, query: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint16]:
    """Return for each row the number of signs in which its embedding differs from a query, as an array [rows].

    Signs are bits of 64-bit words; see `sign_index`. `words` are those of the rows, one array [rows] for every 64
    signs, and `query` those of the query [words].
    """
    distances = np.zeros(len(words[0]), np.uint16)
    for word, given in zip(words, query, strict=True):
        distances += count_bits(np.bitwise_xor(word, given))
    return distances


# ---------------------------------------------------------------------- results


def _describe(
    archive: Archive, table: ArchiveTable, blocks: Sequence[Block], hits: Sequence[_Rows], *, k: int
) -> pa.Table:
    """Return the best `k` hits by descending score, with their recordings and the species detected in the windows."""
    if not hits:
        return HIT_SCHEMA.empty_table()
    columns = ["recording_id", "channel", "start_s", "end_s"]
    batches = [blocks[part.block].batch.select(columns).take(pa.array(part.rows)) for part in hits]
    scores = np.concatenate([part.values for part in hits]).astype(np.float32)
    rows = pa.Table.from_batches(batches).append_column("score", pa.array(scores)).sort_by(_ORDER).slice(0, k)
    is_hit = pa_dataset.field("recording_id").isin(pc.unique(rows["recording_id"]))
    recordings = table.read(["recording_id", *_OF_RECORDING], is_hit).to_pylist()
    recording_by_id = {each["recording_id"]: each for each in recordings}
    detected = DetectedSpecies(archive, table, [each["path"] for each in recordings], min_score=SPECIES_MIN_SCORE)
    listed = []
    for rank, row in enumerate(rows.to_pylist(), start=1):
        recording = recording_by_id[row["recording_id"]]
        window = (recording["path"], row["start_s"], row["end_s"])
        listed.append(
            {
                **recording,
                **row,
                "rank": rank,
                "start_time": shift_clock(recording["start_time"], row["start_s"]),
                "species": "; ".join(detected.names(*window)),
                "human_voice": detected.has_voice(*window),
            }
        )
    return pa.Table.from_pylist(listed, schema=HIT_SCHEMA)


_OF_RECORDING = ("recording", "path", "site", "start_time", "duration_s")

_ORDER = [("score", "descending"), ("recording_id", "ascending"), ("start_s", "ascending"), ("channel", "ascending")]
