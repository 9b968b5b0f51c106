"""Everything that is known of a detection, under the names that our own formats share."""

from __future__ import annotations

from typing import Any

from dawnchorus.types import Detection, Provenance, RecordingTable


def has_channels(provenance: Provenance) -> bool:
    """Return True if each channel was scored by itself, so that every detection has one."""
    return provenance.parameters.get("channel") == "each"


def fields_of(table: RecordingTable, found: Detection, provenance: Provenance) -> dict[str, Any]:
    """Return the row of `found` in the recording of `table`: species, file, time, channel if asked for, provenance."""
    time = table.clock_time(found.start_s)
    channel = {"channel": found.channel} if has_channels(provenance) else {}
    return {
        "recording": table.recording,
        "start_s": found.start_s,
        "end_s": found.end_s,
        "start_time": time and time.isoformat(timespec="milliseconds"),
        "scientific_name": found.scientific_name,
        "common_name": found.common_name,
        "kind": found.kind,
        "score": found.score,
        "probability": found.probability,
        "in_range": found.in_range,
        "human_voice": found.human_voice,
        **channel,
        "latitude": table.origin.latitude,
        "longitude": table.origin.longitude,
        "week": table.week,
        "model": provenance.model,
        "model_version": provenance.model_version,
        "bundle_id": provenance.bundle_id,
        "software": provenance.software,
    }
