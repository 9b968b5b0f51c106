"""Runs of an archive: what decided its results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from dawnchorus.archive.schemas import RUNS, SCHEMAS

RUN_DIGITS = 12


@dataclass(frozen=True, kw_only=True)
class ArchiveRun:
    """A model with the settings that decide its results.

    Attributes:
        model: name of the model.
        model_version: version of the model.
        bundle_id: first 12 digits of the sha256 of the model's graph.
        software: program that made the rows, with its version.
        sample_rate_hz: sample rate of the windows.
        window_s: length of a window in seconds.
        overlap_s: seconds that neighboring windows share.
        min_score: smallest score that is kept.
        top: largest number of detections that are kept of a window.
        embedding_dim: length of the embeddings; None where none are kept.
        analyses: names of the analyses of the recordings' own samples.
        thresholds: the model's own smallest scores, by scientific name; they apply when detections are read.
        parameters: other settings by name.
    """

    model: str
    model_version: str
    bundle_id: str
    software: str
    sample_rate_hz: int
    window_s: float
    overlap_s: float
    min_score: float
    top: int
    embedding_dim: int | None = None
    analyses: tuple[str, ...] = ()
    thresholds: Mapping[str, float] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """First 12 digits of the sha256 of all fields: equal settings are one run, whoever starts it."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:RUN_DIGITS]

    def to_rows(self) -> pa.Table:
        """Return the row of the table of runs."""
        row = {
            **asdict(self),
            "run": self.id,
            "analyses": json.dumps(self.analyses),
            "thresholds": json.dumps(dict(self.thresholds), ensure_ascii=False),
            "parameters": json.dumps(dict(self.parameters), ensure_ascii=False),
        }
        return pa.Table.from_pylist([row], schema=SCHEMAS[RUNS])


@dataclass(frozen=True)
class StoredRun:
    """A run that an archive has.

    Attributes:
        id: its name in queries.
        run: model and settings; a field that an older version did not write has its default.
    """

    id: str
    run: ArchiveRun

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> StoredRun:
        """Read a row of the table of runs."""
        fields = {name: value for name, value in row.items() if name != "run" and value is not None}
        for name in ("analyses", "thresholds", "parameters"):
            fields[name] = json.loads(fields.get(name) or "{}")
        fields["analyses"] = tuple(fields["analyses"])
        known = ArchiveRun.__dataclass_fields__
        return cls(row["run"], ArchiveRun(**{name: value for name, value in fields.items() if name in known}))
