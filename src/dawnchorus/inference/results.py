"""Results of scoring recordings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dawnchorus.audio.windows import WindowPlan
from dawnchorus.inference.analyses.windows import Table
from dawnchorus.inference.preparation import WHOLE, Kept
from dawnchorus.types import AudioInfo, RecordingMetadata, Segment


@dataclass(frozen=True)
class ScoredChannel:
    """Results of one channel, or of the single signal scored for a recording."""

    tables: Mapping[str, Table]
    """Rows that each analysis computed, by the name that it was requested under."""
    kept: Kept = WHOLE
    """Segments of the recording that the bundle's cleaning keeps, and that windows are cut from."""
    channel: int | None = None
    """Number of the channel, from 1; None for one signal of all channels."""

    @property
    def hits(self) -> Table:
        """Rows of the analysis "hits"."""
        return self.tables["hits"]

    def window_times(self, window: int, plan: WindowPlan, duration_s: float) -> tuple[float, float]:
        """Return start and end of a window in seconds."""
        kept_s = plan.start_s(window)
        start_s = self.kept.start_s(kept_s)
        return start_s, max(min(self.kept.end_s(kept_s + plan.window_s), duration_s), start_s)

    def kept_s(self, duration_s: float) -> float:
        """Return the length in seconds of the audio that windows are cut from."""
        return duration_s if self.kept.is_whole else sum(segment.length_s for segment in self.kept.segments)


@dataclass(frozen=True)
class ScoredRecording:
    """Results of a recording that was scored completely."""

    path: Path
    info: AudioInfo
    metadata: RecordingMetadata
    duration_s: float
    warnings: tuple[str, ...]
    channels: tuple[ScoredChannel, ...]
    """Results of each channel that was scored by itself, in order, or of one signal."""
    speech: tuple[Segment, ...] = ()
    """Segments of human speech in any channel, if speech was looked for."""
    tables: Mapping[str, Table] = field(default_factory=dict)
    """Rows that analyses of the recording's own samples computed, by their names."""

    @property
    def n_hits(self) -> int:
        """Number of hits in all channels."""
        return sum(len(each.hits) for each in self.channels)

    @property
    def kept_s(self) -> tuple[float, ...]:
        """Length in seconds of the audio that windows are cut from, for each of `channels`."""
        return tuple(each.kept_s(self.duration_s) for each in self.channels)


@dataclass(frozen=True)
class FailedRecording:
    """A recording that could not be scored, with the reason."""

    path: Path
    reason: str
