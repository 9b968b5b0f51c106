"""The columns of a detection: one schema for tables, JSON, HTTP replies, the server's database and the docs.

A new column needs one line here, a field of `Detection` or of another source, and a migration of the server's database.
Readers need only required columns, so a table written before a column was added stays readable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dawnchorus.types import Provenance

ColumnType = Literal["category", "string", "float64", "float32", "int16", "int8", "bool"]
"""Type of the values; a category is a string with few different values."""

Source = Literal["detection", "recording", "metadata", "clock", "run"]
"""Object that has the value.

`detection` is the `Detection`, `recording` its `RecordingTable`, `metadata` that table's metadata, `clock` its clock,
and `run` the `Provenance` of the run.
"""


@dataclass(frozen=True)
class Column:
    """Definition of a column."""

    name: str
    """Name of the column, and of the attribute of the source that has the value."""
    type: ColumnType
    """Type of the values: "string", "category" (a string with few different values), "float64", "float32", "int16",
    "int8" or "bool".
    """
    source: Source
    """Object that has the value: the `Detection` ("detection"), its `RecordingTable` ("recording"), the metadata
    ("metadata") or clock times ("clock") of that table, or the `Provenance` ("run")."""
    meaning: str
    """Description for users."""
    decimals: int | None = None
    """Number of decimals in JSON; None for full precision."""
    is_required: bool = False
    """True if every row must have a value."""


COLUMNS = (
    Column("recording", "category", "recording", "path of the recording, as given", is_required=True),
    Column("start_s", "float64", "detection", "start in the recording, in seconds", 3, is_required=True),
    Column("end_s", "float64", "detection", "end in the recording, in seconds", 3, is_required=True),
    Column("start_time", "string", "clock", "start by the recorder's clock, ISO 8601, with its zone if known"),
    Column("scientific_name", "category", "detection", "scientific name of the class", is_required=True),
    Column("common_name", "category", "detection", "common name of the class", is_required=True),
    Column("kind", "category", "detection", "`species`, or `sound`: an engine, a human voice", is_required=True),
    Column("score", "float32", "detection", "score of the model, 0 to 1", 4, is_required=True),
    Column("probability", "float32", "detection", "probability of presence, 0 to 1, of a calibrated model", 4),
    Column("in_range", "bool", "detection", "true if the species is expected at this location and week"),
    Column("human_voice", "bool", "detection", "true if it contains human speech"),
    Column("channel", "int16", "detection", "number of the channel, from 1, if channels were scored separately"),
    Column("low_hz", "float64", "detection", "lowest frequency in hertz, if annotated", 1),
    Column("high_hz", "float64", "detection", "highest frequency in hertz, if annotated", 1),
    Column("verdict", "category", "detection", "verdict of a person: `correct`, `relabeled`, `several` or `unsure`"),
    Column("latitude", "float64", "metadata", "degrees north"),
    Column("longitude", "float64", "metadata", "degrees east"),
    Column("week", "int8", "recording", "week of the year of 48 weeks, four in a month"),
    Column("model", "category", "run", "name of the model", is_required=True),
    Column("model_version", "category", "run", "version of the model", is_required=True),
    Column("bundle_id", "category", "run", "first 12 digits of the sha256 of the model's graph", is_required=True),
    Column("software", "category", "run", "program that made the row, with its version", is_required=True),
)

DETECTION_COLUMNS = tuple(column for column in COLUMNS if column.source == "detection")
"""Columns whose values are fields of a `Detection`."""

_JSON_TYPES: dict[ColumnType, str] = {
    "category": "string",
    "string": "string",
    "float64": "number",
    "float32": "number",
    "int16": "integer",
    "int8": "integer",
    "bool": "boolean",
}

_DECIMALS = {column.name: column.decimals for column in COLUMNS if column.decimals is not None}


def has_channels(provenance: Provenance) -> bool:
    """Return True if each channel was scored separately, so that detections have a channel."""
    return provenance.parameters.get("channel") == "each"


def is_annotated(provenance: Provenance) -> bool:
    """Return True if the rows are annotations by people, whose score is always 1."""
    return provenance.parameters.get("annotated") is True


def has_kinds(provenance: Provenance) -> bool:
    """Return True if some classes have another kind ("species" or "sound") than `taxonomy.labels.kind_of` infers.

    It infers the kind from the name of the class.
    """
    return provenance.parameters.get("kinds") is True


def has_verdicts(provenance: Provenance) -> bool:
    """Return True if people reviewed some of the detections."""
    return provenance.parameters.get("reviewed") is True


def detection_values(source: object) -> dict[str, Any]:
    """Return the values of the `DETECTION_COLUMNS` by name, from a `source` with the attributes of `Detection`."""
    return {column.name: getattr(source, column.name) for column in DETECTION_COLUMNS}


def round_values(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a row, values by column name, with numbers rounded to `Column.decimals`.

    None, and values of other keys than names of columns, stay unchanged.
    """
    return {
        name: round(value, _DECIMALS[name]) if name in _DECIMALS and value is not None else value
        for name, value in row.items()
    }


def build_json_schema() -> dict[str, Any]:
    """Return the JSON Schema of one detection: an object that must have all `COLUMNS`; optional ones may be null."""
    properties = {
        column.name: {
            "type": _JSON_TYPES[column.type] if column.is_required else [_JSON_TYPES[column.type], "null"],
            "description": column.meaning,
        }
        for column in COLUMNS
    }
    return {"type": "object", "required": list(properties), "properties": properties}
