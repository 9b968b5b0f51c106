"""Conversion of a recording's results to Arrow tables, the rows of an archive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PurePath
from typing import Any

import numpy as np
import pyarrow as pa

from dawnchorus.archive.manifest import Entry
from dawnchorus.archive.schemas import DETECTIONS, EMBEDDINGS, ORIGIN, RECORDINGS, SCHEMAS, UNKNOWN_MONTH
from dawnchorus.archive.selection import DONE, FAILED
from dawnchorus.archive.vectors import EmbeddingEncoding, encode_vectors
from dawnchorus.audio.file_names import read_name, text_before_time
from dawnchorus.audio.sample_analyses import RESERVED_COLUMNS, Table
from dawnchorus.audio.windows import WindowPlan
from dawnchorus.formats.parquet import open_batches
from dawnchorus.inference.results import ScoredRecording
from dawnchorus.types import Provenance, RecordingTable


@dataclass(frozen=True)
class SharedValues:
    """Values that all rows of one recording have in common.

    Attributes:
        entry: the recording in its manifest.
        run: id of the run.
        attempt: name of the worker's attempt at the recording's unit, a batch of recordings.
    """

    entry: Entry
    run: str
    attempt: str

    def columns(self, start_time: datetime | None) -> dict[str, Any]:
        """Return the values of the columns in `schemas.ORIGIN` by name.

        `start_time` is that of the recording, from which the month is taken, such as "2024-06"; None if it is unknown,
        for the month "unknown".
        """
        return {
            "recording_id": self.entry.recording_id,
            "run": self.run,
            "unit": self.entry.unit,
            "attempt": self.attempt,
            "site": find_site(PurePath(self.entry.file.name)),
            "month": UNKNOWN_MONTH if start_time is None else f"{start_time:%Y-%m}",
        }


def find_site(path: PurePath) -> str:
    """Return the site of a recording: the part of its file name before the time, else the name of its folder.

    The site of `north/SITE1_20240601_013005.wav` is "SITE1"; that of `north/20240601_013005.wav`, and of a file without
    a time in its name, is "north". Empty if there is neither.
    """
    return text_before_time(path.name).strip(" _-.,()[]") or path.parent.name


def failure_row(shared: SharedValues, reason: str) -> dict[str, Any]:
    """Return the row of a recording that could not be scored, by column of the table of recordings (`SCHEMAS`).

    `reason` is a sentence for the user. The row's start time is that in the file name, if there is one.
    """
    file = shared.entry.file
    named = read_name(PurePath(file.name))
    start_time = None if named is None else named.start_time
    return {
        "recording": file.name,
        "path": file.path,
        "status": FAILED,
        "reason": reason,
        "n_bytes": file.n_bytes,
        "version": file.version,
        **_time_columns(start_time),
        **shared.columns(start_time),
    }


def recording_row(
    shared: SharedValues, scored: ScoredRecording, table: RecordingTable, *, speech_s: float | None
) -> dict[str, Any]:
    """Return the row of a recording that was scored, by column of the table of recordings (`SCHEMAS`).

    `table` has the recording's metadata and detections. `speech_s` is the number of seconds with speech; None if speech
    detection was not requested.
    """
    metadata, file = table.metadata, shared.entry.file
    return {
        "recording": table.recording,
        "path": file.path,
        "status": DONE,
        "warnings": "\n".join(scored.warnings) or None,
        "duration_s": scored.duration_s,
        "sample_rate_hz": scored.info.rate_hz,
        "n_channels": scored.info.n_channels,
        **_time_columns(metadata.start_time),
        "latitude": metadata.latitude,
        "longitude": metadata.longitude,
        "week": table.week,
        "recorder": metadata.recorder,
        "metadata_source": metadata.source,
        "speech_s": speech_s,
        "n_detections": len(table.detections),
        "n_bytes": file.n_bytes,
        "version": file.version,
        **shared.columns(metadata.start_time),
    }


def _time_columns(start_time: datetime | None) -> dict[str, Any]:
    if start_time is None:
        return {"start_time": None, "zone": None}
    zone = f"{start_time:%z}"
    return {
        "start_time": start_time.isoformat(timespec="milliseconds"),
        "zone": f"{zone[:3]}:{zone[3:5]}" if zone else None,
    }


def recording_rows(rows: list[dict[str, Any]]) -> pa.Table:
    """Return rows of the table of recordings, made by `recording_row` and `failure_row`, as an Arrow table."""
    return pa.Table.from_pylist(rows, schema=SCHEMAS[RECORDINGS])


def detection_rows(shared: SharedValues, table: RecordingTable, provenance: Provenance) -> pa.Table:
    """Return one row per detection, with the columns of the table of detections (`SCHEMAS`).

    `table` has the detections of the recording, and `provenance` the model and options that made them.
    """
    rows = open_batches([table], provenance).read_all().replace_schema_metadata(None)
    schema = SCHEMAS[DETECTIONS]
    names = [name for name in schema.names if name in rows.schema.names]
    rows = rows.select(names).cast(pa.schema([schema.field(name) for name in names]))
    return _with_shared(rows, shared, table.metadata.start_time)


def embedding_rows(
    shared: SharedValues,
    scored: ScoredRecording,
    table: RecordingTable,
    plan: WindowPlan,
    *,
    encoding: EmbeddingEncoding = "embeddings",
) -> pa.Table:
    """Return one row per window and channel, with the columns of the table of embeddings (`SCHEMAS`).

    Args:
        shared: values that all rows have in common.
        scored: the recording's result, with embeddings of each channel as the analysis `encoding`.
        table: table of the recording, for its name and time.
        plan: length and spacing of the windows.
        encoding: "embeddings" to store float16, "embeddings:int8" to store 8 bits for each value.
    """
    parts = []
    for channel in scored.channels:
        vectors = channel.tables[encoding]["embedding"]
        times = [channel.window_times(window, plan, scored.duration_s) for window in range(len(vectors))]
        starts_s, ends_s = np.array(times, np.float64).reshape(-1, 2).T
        columns = {
            "recording": pa.array([table.recording] * len(vectors), pa.string()),
            "channel": pa.array([channel.channel] * len(vectors), pa.int16()),
            "start_s": pa.array(starts_s),
            "end_s": pa.array(ends_s),
            "embedding": pa.array(encode_vectors(vectors, encoding), pa.binary()),
        }
        parts.append(pa.table(columns, schema=pa.schema([SCHEMAS[EMBEDDINGS].field(name) for name in columns])))
    return _with_shared(pa.concat_tables(parts), shared, table.metadata.start_time)


def analysis_rows(shared: SharedValues, rows: Table, table: RecordingTable) -> pa.Table:
    """Return the rows of an analysis as Arrow table; `recording`, `start_time` and the columns in `ORIGIN` are added.

    `start_time` is the clock time of the row's `start_s`, or, without such a column, of the recording's start; null if
    the recording's start is unknown. `rows` are those of the analysis, and `table` is the table of the recording, for
    its name and time.
    """
    start = table.metadata.start_time
    names = rows.dtype.names or ()
    starts_s = rows["start_s"].tolist() if "start_s" in names else [0.0] * len(rows)
    times = [None if start is None else (start + timedelta(seconds=each)).isoformat() for each in starts_s]
    recording, time = RESERVED_COLUMNS
    columns: Mapping[str, pa.Array] = {
        recording: pa.array([table.recording] * len(rows), pa.string()),
        time: pa.array(times, pa.string()),
        **{name: _to_arrow(rows[name]) for name in names},
    }
    return _with_shared(pa.table(columns), shared, start)


def _to_arrow(values: np.ndarray[Any, Any]) -> pa.Array:
    """Convert a column of an analysis to Arrow.

    Integers become int64 and other numbers float64, in all recordings alike.
    """
    wide = {"b": pa.bool_(), "i": pa.int64(), "u": pa.int64(), "f": pa.float64(), "U": pa.string()}
    kind = wide.get(values.dtype.kind)
    if kind is None:
        return pa.array([str(value) for value in values.tolist()], pa.string())
    for _ in range(values.ndim - 1):
        kind = pa.list_(kind)
    return pa.array(values.tolist(), kind)


def _with_shared(rows: pa.Table, shared: SharedValues, start_time: datetime | None) -> pa.Table:
    values = shared.columns(start_time)
    for name, kind in ORIGIN:
        rows = rows.append_column(pa.field(name, kind), pa.repeat(pa.scalar(values[name], kind), len(rows)))
    return rows
