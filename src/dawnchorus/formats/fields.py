"""Everything that is known of a detection, under the names that our own formats share."""

from __future__ import annotations

from typing import Any

from dawnchorus.types import Detection, Provenance, RecordingTable


def has_channels(provenance: Provenance) -> bool:
    """Return True if each channel was scored by itself, so that every detection has one."""
    return provenance.parameters.get("channel") == "each"


def build_row(table: RecordingTable, detection: Detection, provenance: Provenance) -> dict[str, Any]:
    """Return the row of `detection` in the recording of `table`: file, times, species, scores, provenance."""
    time = table.clock_time(detection.start_s)
    channel = {"channel": detection.channel} if has_channels(provenance) else {}
    return {
        "recording": table.recording,
        "start_s": detection.start_s,
        "end_s": detection.end_s,
        "start_time": time and time.isoformat(timespec="milliseconds"),
        "scientific_name": detection.scientific_name,
        "common_name": detection.common_name,
        "kind": detection.kind,
        "score": detection.score,
        "probability": detection.probability,
        "in_range": detection.in_range,
        "human_voice": detection.human_voice,
        **channel,
        "latitude": table.metadata.latitude,
        "longitude": table.metadata.longitude,
        "week": table.week,
        "model": provenance.model,
        "model_version": provenance.model_version,
        "bundle_id": provenance.bundle_id,
        "software": provenance.software,
    }
