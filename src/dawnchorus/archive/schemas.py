"""Tables of an archive and their columns."""

from __future__ import annotations

import pyarrow as pa

from dawnchorus.archive.vectors import LAYOUT
from dawnchorus.formats.columns import COLUMNS, ColumnType

VERSION = 1
"""Version of the archive's layout, in `archive.json`; newer versions are refused, older ones can be read."""

RECORDINGS = "recordings"
DETECTIONS = "detections"
EMBEDDINGS = "embeddings"
RUNS = "runs"
CLASSES = "classes"
MANIFEST = "manifest"
ANALYSIS_PREFIX = "analysis_"
"""Prefix of the table of an analysis, such as `analysis_health`."""

UNKNOWN_MONTH = "unknown"
"""Value of the column `month` for recordings without a start time."""

_TYPES: dict[ColumnType, pa.DataType] = {
    "category": pa.string(),
    "string": pa.string(),
    "float64": pa.float64(),
    "float32": pa.float32(),
    "int16": pa.int16(),
    "int8": pa.int8(),
    "bool": pa.bool_(),
}

ORIGIN = (
    ("recording_id", pa.int64()),
    ("run", pa.string()),
    ("unit", pa.string()),
    ("attempt", pa.string()),
    ("site", pa.string()),
    ("month", pa.string()),
)
"""Columns of all tables of results.

They are the number of the recording in its manifest, the run, the unit (a batch of recordings that are committed
together), the attempt (one worker's try at the unit), the site, and the month of the recording, which is the partition.
"""

_EMBEDDING = pa.field("embedding", pa.binary(), metadata={"layout": LAYOUT})

SCHEMAS = {
    RECORDINGS: pa.schema(
        [
            ("recording", pa.string()),
            ("path", pa.binary()),
            ("status", pa.string()),
            ("reason", pa.string()),
            ("warnings", pa.string()),
            ("duration_s", pa.float64()),
            ("sample_rate_hz", pa.int32()),
            ("n_channels", pa.int16()),
            ("start_time", pa.string()),
            ("zone", pa.string()),
            ("latitude", pa.float64()),
            ("longitude", pa.float64()),
            ("week", pa.int8()),
            ("recorder", pa.string()),
            ("metadata_source", pa.string()),
            ("speech_s", pa.float64()),
            ("n_detections", pa.int64()),
            ("n_bytes", pa.int64()),
            ("version", pa.string()),
            *ORIGIN,
        ]
    ),
    DETECTIONS: pa.schema([*((column.name, _TYPES[column.type]) for column in COLUMNS), *ORIGIN]),
    EMBEDDINGS: pa.schema(
        [
            pa.field("recording", pa.string()),
            pa.field("channel", pa.int16()),
            pa.field("start_s", pa.float64()),
            pa.field("end_s", pa.float64()),
            _EMBEDDING,
            *(pa.field(name, kind) for name, kind in ORIGIN),
        ]
    ),
    RUNS: pa.schema(
        [
            ("run", pa.string()),
            ("model", pa.string()),
            ("model_version", pa.string()),
            ("bundle_id", pa.string()),
            ("software", pa.string()),
            ("sample_rate_hz", pa.int32()),
            ("window_s", pa.float64()),
            ("overlap_s", pa.float64()),
            ("min_score", pa.float64()),
            ("top", pa.int32()),
            ("embedding_dim", pa.int32()),
            ("analyses", pa.string()),
            ("thresholds", pa.string()),
            ("parameters", pa.string()),
        ]
    ),
    CLASSES: pa.schema(
        [
            ("run", pa.string()),
            ("index", pa.int32()),
            ("scientific_name", pa.string()),
            ("common_name", pa.string()),
            ("kind", pa.string()),
        ]
    ),
    MANIFEST: pa.schema(
        [
            ("recording_id", pa.int64()),
            ("unit", pa.string()),
            ("recording", pa.string()),
            ("path", pa.binary()),
            ("n_bytes", pa.int64()),
            ("version", pa.string()),
            ("run", pa.string()),
            ("source", pa.string()),
            ("manifest", pa.int32()),
        ]
    ),
}
"""Columns by table; tables of analyses have further columns."""

PARTITIONS: dict[str, tuple[str, ...]] = {RUNS: (), CLASSES: (), MANIFEST: ("run", "source", "manifest")}
"""Partition columns of tables that are not partitioned by month."""

RESULTS = (DETECTIONS, EMBEDDINGS)
"""Tables of results, apart from analyses. The table of recordings decides which of their rows are current."""


def partition_columns(table: str) -> tuple[str, ...]:
    """Return the names of the partition columns of the table with the name `table`; empty without partitions."""
    return PARTITIONS.get(table, ("month",))
