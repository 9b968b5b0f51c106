"""Detections of a recording as NumPy columns; `Detection` objects are created on access."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from dawnchorus.formats.columns import COLUMNS, DETECTION_COLUMNS, Column
from dawnchorus.types import Detection, Provenance, RecordingMetadata, RecordingTable

Values = npt.NDArray[Any]

_DTYPES: dict[str, tuple[npt.DTypeLike, Any]] = {
    "category": (object, ""),
    "float64": (np.float64, np.nan),
    "float32": (np.float64, np.nan),
    "int16": (np.int16, 0),
    "bool": (np.int8, -1),
}
"""NumPy type and value for None, by type of column; channels count from 1, and flags are 0 or 1."""

_BY_NAME = {column.name: column for column in DETECTION_COLUMNS}
_IN_ORDER = [field.name for field in fields(Detection)]


class DetectionColumns(Sequence[Detection]):
    """Detections of a recording as NumPy columns; indexing creates a `Detection`.

    Args:
        columns: arrays [n_detections] by field of `Detection`, with unknown values as in the result of `column`. All
            values are unknown in columns that are left out; `start_s` is required.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, columns: Mapping[str, Values]) -> None:
        n = len(columns["start_s"])
        self._columns = {
            name: np.asarray(columns[name], _DTYPES[column.type][0]) if name in columns else _empty(column, n)
            for name, column in _BY_NAME.items()
        }

    @classmethod
    def from_detections(cls, detections: Sequence[Detection]) -> DetectionColumns:
        """Convert a sequence of detections to columns; `DetectionColumns` are returned unchanged."""
        if isinstance(detections, DetectionColumns):
            return detections
        return cls({name: _read(column, detections) for name, column in _BY_NAME.items()})

    @classmethod
    def concatenate(cls, parts: Sequence[DetectionColumns]) -> DetectionColumns:
        """Concatenate the detections of several objects, in order."""
        return cls(
            {
                name: np.concatenate([_empty(column, 0), *(part.column(name) for part in parts)])
                for name, column in _BY_NAME.items()
            }
        )

    def column(self, name: str) -> Values:
        """Return the values [n_detections] of a column, a field of `Detection`; `is_null` has the mask of unknown ones.

        Numbers are float64, with NaN for unknown; texts are objects, with ""; channels int16, with 0; flags (0 or 1)
        int8, with -1.
        """
        return self._columns[name]

    def is_null(self, name: str) -> npt.NDArray[np.bool_]:
        """Return the mask [n_detections] of unknown values in a column."""
        column, values = _BY_NAME[name], self._columns[name]
        if column.is_required:
            return np.zeros(len(self), bool)
        return np.asarray(np.isnan(values) if values.dtype == np.float64 else values == _DTYPES[column.type][1])

    def select(self, rows: Values) -> DetectionColumns:
        """Return the detections that a mask [n_detections] or indices select; indices also give the order."""
        return DetectionColumns({name: values[rows] for name, values in self._columns.items()})

    def to_lists(self) -> dict[str, list[Any]]:
        """Return the values of all columns as lists by column name; None for unknown values."""
        return {name: self.to_list(name) for name in _BY_NAME}

    def to_list(self, name: str) -> list[Any]:
        """Return the values of a column, a field of `Detection`, as a list; None for unknown values."""
        column, values = _BY_NAME[name], self._columns[name]
        is_null = self.is_null(name)
        if is_null.all():
            return [None] * len(self)
        plain: list[Any] = (values.astype(bool) if column.type == "bool" else values).tolist()
        if is_null.any():
            for k in np.flatnonzero(is_null).tolist():
                plain[k] = None
        return plain

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return a dict by column name for each detection; None for unknown values."""
        return [dict(zip(_BY_NAME, values, strict=True)) for values in self.rows(*_BY_NAME)]

    def rows(self, *names: str) -> Iterator[tuple[Any, ...]]:
        """Yield a tuple of the values of the named columns for each detection; None for unknown values."""
        return zip(*map(self.to_list, names), strict=True)

    def __len__(self) -> int:
        return len(self._columns["start_s"])

    def __iter__(self) -> Iterator[Detection]:
        return map(Detection, *(self.to_list(name) for name in _IN_ORDER))

    @overload
    def __getitem__(self, index: int) -> Detection: ...
    @overload
    def __getitem__(self, index: slice) -> DetectionColumns: ...
    def __getitem__(self, index: int | slice) -> Detection | DetectionColumns:
        if isinstance(index, slice):
            return DetectionColumns({name: values[index] for name, values in self._columns.items()})
        k = range(len(self))[index]
        return next(iter(self[k : k + 1]))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and list(self) == list(other)

    def __repr__(self) -> str:
        return f"<DetectionColumns: {len(self)} detections>"


def _empty(column: Column, n: int) -> Values:
    dtype, null = _DTYPES[column.type]
    return np.full(n, null, dtype)


def _read(column: Column, detections: Sequence[Detection]) -> Values:
    dtype, null = _DTYPES[column.type]
    values = (getattr(detection, column.name) for detection in detections)
    return np.array([null if value is None else value for value in values], dtype)


def iterate_rows(table: RecordingTable, provenance: Provenance) -> Iterator[dict[str, Any]]:
    """Yield a dict with the values of all `COLUMNS` by name for each detection, in order; None for unknown values."""
    lists = DetectionColumns.from_detections(table.detections).to_lists()
    lists["start_time"] = start_times(table, lists["start_s"])
    fixed = fixed_values(table, provenance)
    names = [column.name for column in COLUMNS]
    for values in zip(*lists.values(), strict=True):
        row = fixed | dict(zip(lists, values, strict=True))
        yield {name: row[name] for name in names}


def start_times(table: RecordingTable, starts_s: Iterable[float]) -> list[str | None]:
    """Return the clock times of moments in a recording, in ISO 8601; None for each if the recording's start is unknown.

    `starts_s` are the moments, in seconds from the start of the recording.
    """
    times = (table.clock_time(start_s) for start_s in starts_s)
    return [None if time is None else time.isoformat(timespec="milliseconds") for time in times]


def fixed_values(table: RecordingTable, provenance: Provenance) -> dict[str, Any]:
    """Return the values, by column name, that are equal for all detections of a recording.

    These are the columns whose `Column.source` is "recording", "metadata" or "run".
    """
    owners = {"recording": table, "metadata": table.metadata, "run": provenance}
    return {column.name: getattr(owners[column.source], column.name) for column in COLUMNS if column.source in owners}


Metadata = Mapping[str, tuple[RecordingMetadata, int | None]]
"""Metadata (location and time) and week (1 to 48; None if unknown) of each recording, by the recording's name."""

METADATA_COLUMNS = ("recording", "start_s", "start_time", "latitude", "longitude", "week")
"""Columns that `first_metadata` reads, in this order."""


def first_metadata(rows: Iterable[Sequence[Any]]) -> Metadata:
    """Return (metadata, week) by name of the recording, taken from the first row of each recording.

    `rows` are detections as (recording, start_s, start_time, latitude, longitude, week), see `METADATA_COLUMNS`;
    `start_time` is the clock time of the detection in ISO 8601, from which `start_s` is subtracted to get the start of
    the recording. All but the first two may be None.

    Raises:
        ValueError: a time is not in ISO 8601, or another value is not a number.
    """
    metadata: dict[str, tuple[RecordingMetadata, int | None]] = {}
    for recording, start_s, time, latitude, longitude, week in rows:
        if recording not in metadata:
            start = None if time is None else datetime.fromisoformat(str(time)) - timedelta(seconds=start_s)
            north, east = (None if degrees is None else float(degrees) for degrees in (latitude, longitude))
            metadata[recording] = RecordingMetadata(start, north, east), None if week is None else int(week)
    return metadata
