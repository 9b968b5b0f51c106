"""Runs of an archive: a model, and the settings that determine results."""

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
    """A model with the settings that determine results.

    Attributes:
        model: name of the model.
        model_version: version of the model.
        bundle_id: id of the model: the first 12 hexadecimal digits of the sha256 of its graph.
        software: name and version of the program that computed the results.
        sample_rate_hz: sample rate of the windows.
        window_s: length of a window in seconds.
        overlap_s: seconds that neighboring windows share.
        min_score: minimum score of stored detections.
        top: maximum number of stored detections in a window; None for no limit, 0 in an import of embeddings alone.
        embedding_dim: length of the stored embeddings; None if none are stored.
        analyses: names of the analyses of the recordings' original samples.
        thresholds: the model's own minimum scores by scientific name; they apply when detections are read with a
            minimum score.
        parameters: other settings by name: the options that determine rows, `activation`, and, where they apply,
            `cleaning`, `embeddings` ("int8"), `metadata` (a digest of given times and locations), `embeddings_of` (id
            of the run whose embeddings were scored) and `imported` ("perch-hoplite").
    """

    model: str
    model_version: str
    bundle_id: str
    software: str
    sample_rate_hz: int
    window_s: float
    overlap_s: float
    min_score: float
    top: int | None
    embedding_dim: int | None = None
    analyses: tuple[str, ...] = ()
    thresholds: Mapping[str, float] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """First 12 hexadecimal digits of the sha256 of all fields, so that equal settings are the same run."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:RUN_DIGITS]

    def to_rows(self) -> pa.Table:
        """Return an Arrow table with the run as its only row, with the columns of the table `runs`."""
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
    """A run that an archive contains.

    Attributes:
        id: id of the run, its name in queries.
        run: model and settings; a field that an older version did not write has its default.
    """

    id: str
    run: ArchiveRun

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> StoredRun:
        """Return the run in a row of the table `runs`, values by column; columns of later versions are ignored."""
        fields = {name: value for name, value in row.items() if name != "run" and value is not None}
        for name in ("analyses", "thresholds", "parameters"):
            fields[name] = json.loads(fields.get(name) or "{}")
        fields["analyses"] = tuple(fields["analyses"])
        known = ArchiveRun.__dataclass_fields__
        return cls(row["run"], ArchiveRun(**{name: value for name, value in fields.items() if name in known}))
