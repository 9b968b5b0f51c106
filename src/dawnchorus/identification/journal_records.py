"""Encoding of recordings' results for the journal: a summary in JSON, and hits as bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dawnchorus.audio.metadata import metadata_from_json, metadata_to_json
from dawnchorus.identification.output_paths import printable
from dawnchorus.inference.analyses.hits import HIT
from dawnchorus.inference.preparation import KeptSegments
from dawnchorus.inference.results import ScoredChannel, ScoredRecording
from dawnchorus.types import AudioInfo, RecordingMetadata, Segment


@dataclass(frozen=True)
class RecordingSummary:
    """Summary of a scored recording, without its hits."""

    path: Path
    """Path of the recording, as given to `decode_summary`."""
    metadata: RecordingMetadata
    """Location and time of the file, without those that the user gave."""
    warnings: tuple[str, ...]
    """Problems of the recording, such as truncated audio."""
    speech_s: float
    """Seconds of human speech; 0 if speech detection was off."""
    kept_s: tuple[float, ...]
    """Length in seconds of the audio from which windows were cut, for each scored signal."""
    duration_s: float
    """Duration of the recording in seconds, including audio that was left out."""


def encode_recording(scored: ScoredRecording) -> tuple[str, bytes]:
    """Return the summary of a result in JSON, and the bytes of the hits (dtype `HIT`) of all channels in order.

    The summary has the keys `info`, `metadata`, `warnings`, `speech`, and `channels`, or for a mono signal `kept` if
    parts of it were left out; path and duration are not in it.
    """
    summary = {
        "info": asdict(scored.info),
        "metadata": metadata_to_json(scored.metadata),
        "warnings": [printable(warning) for warning in scored.warnings],
        "speech": [(segment.start_s, segment.end_s) for segment in scored.speech],
        **_encode_channels(scored.channels),
    }
    return json.dumps(summary), b"".join(each.hits.tobytes() for each in scored.channels)


def decode_recording(path: Path, duration_s: float, summary: str, hits: bytes) -> ScoredRecording:
    """Return a recording's result, without the tables of its analyses; `encode_recording` made `summary` and `hits`."""
    fields = json.loads(summary)
    return ScoredRecording(
        path=path,
        info=AudioInfo(**fields["info"]),
        metadata=_decode_metadata(fields),
        duration_s=duration_s,
        warnings=tuple(fields["warnings"]),
        channels=_decode_channels(fields, hits),
        speech=tuple(Segment(*times) for times in fields.get("speech", ())),
    )


def decode_summary(path: Path, duration_s: float, summary: str) -> RecordingSummary:
    """Return a recording's summary without reading its hits; `encode_recording` made the JSON text `summary`.

    `duration_s` is the length of the recording in seconds.
    """
    fields = json.loads(summary)
    speech_s = sum(end - start for start, end in fields.get("speech", ()))
    kept_s = tuple(each.kept_s(duration_s) for each in _decode_channels(fields, b""))
    return RecordingSummary(path, _decode_metadata(fields), tuple(fields["warnings"]), speech_s, kept_s, duration_s)


def _decode_metadata(fields: dict[str, Any]) -> RecordingMetadata:
    """Return the recording's metadata, whose field was called "origin" before 2026-12."""
    return metadata_from_json(fields["metadata"] if "metadata" in fields else fields["origin"])


def _encode_channels(channels: Sequence[ScoredChannel]) -> dict[str, Any]:
    """Return the fields with the channels, or, for the mono signal, only with the remaining segments."""
    if len(channels) == 1 and channels[0].channel is None:
        return _encode_kept(channels[0].kept)
    return {
        "channels": [
            {"channel": each.channel, "n_hits": len(each.hits), **_encode_kept(each.kept)} for each in channels
        ]
    }


def _decode_channels(fields: dict[str, Any], hits: bytes) -> tuple[ScoredChannel, ...]:
    rest = np.frombuffer(hits, HIT)
    if "channels" not in fields:
        return (ScoredChannel({"hits": rest}, _decode_kept(fields)),)
    channels = []
    for each in fields["channels"]:
        channels.append(ScoredChannel({"hits": rest[: each["n_hits"]]}, _decode_kept(each), each["channel"]))
        rest = rest[each["n_hits"] :]
    return tuple(channels)


def _encode_kept(kept: KeptSegments) -> dict[str, Any]:
    return {} if kept.is_whole else {"kept": [(segment.start_s, segment.end_s) for segment in kept.segments]}


def _decode_kept(fields: dict[str, Any]) -> KeptSegments:
    return KeptSegments(tuple(Segment(*times) for times in fields.get("kept", ())), is_whole="kept" not in fields)
