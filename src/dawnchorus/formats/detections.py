"""Detections in memory, with readers of data frames and of other libraries' objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from dawnchorus.errors import InputError
from dawnchorus.formats.data_frames import is_pandas, read_crowsetta, read_frame_metadata, read_frame_run, read_pandas
from dawnchorus.formats.detection_columns import DetectionColumns, Metadata
from dawnchorus.formats.exports import DetectionExports
from dawnchorus.taxonomy.labels import kind_of
from dawnchorus.types import Detection, Provenance, RecordingMetadata, RecordingTable

if TYPE_CHECKING:
    import pandas as pd

UNKNOWN_RATE_HZ = 0
"""Sample rate of a recording that is known only from a table."""


class Detections(DetectionExports):
    """Sequence of `RecordingTable` in memory, with conversions to other libraries and files.

    Args:
        recordings: one table or several, a `Run`, or other `Detections`.
        provenance: model, software and options that made the rows; default: that of a `Run` or `Detections`. Tables
            get one without a model, with only the parameters that columns with values imply: `in_range` implies a range
            filter, `human_voice` the option `speech="flag"`, `channel` the option `channel="each"`, `verdict` a review
            by people, and `kind` unusual kinds of classes (`columns.has_kinds`).

    Raises:
        InputError: `recordings` is something else than tables.
    """

    def __init__(
        self,
        recordings: DetectionExports | Iterable[RecordingTable] | RecordingTable,
        provenance: Provenance | None = None,
    ) -> None:
        if isinstance(recordings, DetectionExports):
            provenance = provenance or recordings.provenance
            recordings = recordings.tables()
        self._recordings = _check_tables(recordings)
        self._provenance = provenance or _guess_provenance(self._recordings)

    @classmethod
    def from_rows(
        cls,
        rows: Iterable[tuple[str, Detection]],
        *,
        metadata: Metadata = MappingProxyType({}),
        provenance: Provenance | None = None,
    ) -> Detections:
        """Group rows of (recording, detection) by recording, in the order of first appearance.

        Args:
            rows: pairs of a recording's name and a detection. The duration of a recording, which is not known, becomes
                the latest end of its detections.
            metadata: by name of the recording, its location and time, and its week (1 to 48; None if unknown).
            provenance: model, software and options that made the rows; None for one without a model, with the
                parameters that the columns with values imply (see the class).
        """
        by_recording: dict[str, list[Detection]] = {}
        for recording, detection in rows:
            by_recording.setdefault(recording, []).append(detection)
        tables = []
        for recording, detections in by_recording.items():
            own, week = metadata.get(recording, (RecordingMetadata(), None))
            duration_s = max(detection.end_s for detection in detections)
            tables.append(RecordingTable(recording, duration_s, UNKNOWN_RATE_HZ, own, week, tuple(detections)))
        return cls(tables, provenance)

    @classmethod
    def from_pandas(cls, frame: pd.DataFrame, *, recording: str | None = None) -> Detections:
        """Convert a pandas data frame of detections, annotations or scores.

        Its columns may be named as by `to_pandas`, birdnet, OpenSoundscape, crowsetta or scikit-maad (regions of
        interest). Of a frame of `to_pandas`, all columns are read. Without a column of scores, all scores are 1. In
        OpenSoundscape's wide score tables, with one column per class, each cell that is neither empty nor 0 becomes a
        detection. A label such as `Parus major_Great Tit` is split into scientific and common name, any other text
        becomes both (`taxonomy.labels.parse_label`). A name in a column of common names takes precedence over the
        common name in the label.

        Args:
            frame: one row for each detection, region or window.
            recording: name of the recording, for frames without a column for it, or rows in which that is empty.

        Raises:
            InputError: `frame` is not a pandas data frame.
            FormatError: a column for recording, start, end or label is missing, a column appears twice, or a value is
                missing or impossible, such as a logit in place of a score. The message names row and column.
        """
        rows = list(read_pandas(frame, recording=recording))
        made = cls.from_rows(rows, metadata=read_frame_metadata(frame))
        return cls(made, replace(made.provenance, **read_frame_run(frame)))

    @classmethod
    def from_crowsetta(cls, annotations: Iterable[Any]) -> Detections:
        """Convert the segments or boxes of crowsetta's `Annotation` objects to detections.

        Each detection gets the score 1; boxes keep their frequencies. The recording is the annotation's `notated_path`.
        A label such as `Parus major_Great Tit` is split into scientific and common name; see
        `taxonomy.labels.parse_label` for others.

        Raises:
            InputError: an object is not an annotation, does not name its recording, or has an impossible time.
        """
        return cls.from_rows(read_crowsetta(annotations))

    @property
    def provenance(self) -> Provenance:
        """Model, software and options that made the rows; names and versions that are unknown are ""."""
        return self._provenance

    def tables(self) -> Iterator[RecordingTable]:
        """Yield the table of each recording, in order.

        They are the given tables or, if rows were read or converted, one table for each recording that has a row.
        """
        return iter(self._recordings)

    def __iter__(self) -> Iterator[RecordingTable]:
        return iter(self._recordings)

    def __len__(self) -> int:
        return len(self._recordings)

    def __getitem__(self, index: int) -> RecordingTable:
        return self._recordings[index]

    def __repr__(self) -> str:
        return f"<Detections: {self._headline(self.summary())}>"


def _check_tables(recordings: object) -> tuple[RecordingTable, ...]:
    """Return the tables of recordings as a tuple, also for a single table.

    Raises:
        InputError: `recordings` is not a table or several.
    """
    if hasattr(recordings, "columns"):  # of pandas, polars or Arrow: a sequence of names of columns
        kind = type(recordings).__name__
        convert = "frame" if is_pandas(recordings) else "frame.to_pandas()"
        raise InputError(
            f"detections: expected a Run, Detections, or RecordingTable objects in a list, got a {kind}. Convert it "
            f"with Detections.from_pandas({convert})."
        )
    tables: tuple[Any, ...] = tuple(recordings) if isinstance(recordings, Iterable) else (recordings,)
    for table in tables:
        if not isinstance(table, RecordingTable):
            raise InputError(
                f"detections: expected a Run, Detections, a data frame of pandas, or RecordingTable objects in a list, "
                f"got {type(table).__name__}."
            )
    return tables


def _guess_provenance(tables: Iterable[RecordingTable]) -> Provenance:
    """Return a provenance without a model, with the options that the columns with values imply."""
    parts = [DetectionColumns.from_detections(table.detections) for table in tables]
    implied: dict[str, dict[str, Any]] = {
        "in_range": {"range_filter": True},
        "human_voice": {"speech": "flag"},
        "channel": {"channel": "each"},
        "verdict": {"reviewed": True},
    }
    parameters: dict[str, Any] = {}
    for name, parameter in implied.items():
        if not all(part.is_null(name).all() for part in parts):
            parameters |= parameter
    classes = {pair for part in parts for pair in part.rows("scientific_name", "kind")}
    if any(kind != kind_of(name) for name, kind in classes):
        parameters["kinds"] = True
    return Provenance(model="", model_version="", bundle_id="", software="", parameters=parameters)
