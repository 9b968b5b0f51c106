"""Results of scoring recordings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dawnchorus.audio.windows import WindowPlan
from dawnchorus.inference.analyses.windows import Table
from dawnchorus.inference.preparation import WHOLE, KeptSegments
from dawnchorus.types import AudioInfo, RecordingMetadata, Segment


@dataclass(frozen=True)
class ScoredChannel:
    """Results of one channel, or of the mono signal of a recording."""

    tables: Mapping[str, Table]
    """Table of each window analysis, by its name in the scoring plan."""
    kept: KeptSegments = WHOLE
    """Segments of the recording that remained after cleaning, from which windows were cut."""
    channel: int | None = None
    """Number of the channel, from 1; None if all channels were mixed or one was selected by name."""

    @property
    def hits(self) -> Table:
        """Table of the analysis "hits", which the scoring plan must have."""
        return self.tables["hits"]

    def window_times(self, window: int, plan: WindowPlan, duration_s: float) -> tuple[float, float]:
        """Return start and end of a window in the recording, in seconds; the end is at most `duration_s`.

        If segments were removed, a window that spans a removed segment is longer than the plan's windows.

        Args:
            window: number of the window in the signal, from 0.
            plan: length and spacing of the windows.
            duration_s: length of the recording in seconds.
        """
        kept_s = plan.start_s(window)
        start_s = self.kept.start_s(kept_s)
        return start_s, max(min(self.kept.end_s(kept_s + plan.window_s), duration_s), start_s)

    def kept_s(self, duration_s: float) -> float:
        """Return the length in seconds of the audio from which windows were cut.

        `duration_s` is the length of the recording, including removed segments.
        """
        return duration_s if self.kept.is_whole else sum(segment.length_s for segment in self.kept.segments)


@dataclass(frozen=True)
class ScoredRecording:
    """Results of a recording that was scored completely."""

    path: Path
    """Path of the recording."""
    info: AudioInfo
    """Properties in the file's header."""
    metadata: RecordingMetadata
    """Location and time of the file."""
    duration_s: float
    """True length of the recording in seconds, including removed segments."""
    warnings: tuple[str, ...]
    """Problems of the recording, such as truncated audio."""
    channels: tuple[ScoredChannel, ...]
    """Results of each channel in order, if channels were scored separately; else of the one signal."""
    speech: tuple[Segment, ...] = ()
    """Segments with human speech in any channel, if speech detection was requested."""
    tables: Mapping[str, Table] = field(default_factory=dict)
    """Table of each sample analysis, by name."""

    @property
    def n_hits(self) -> int:
        """Number of hits in all channels."""
        return sum(len(each.hits) for each in self.channels)

    @property
    def kept_s(self) -> tuple[float, ...]:
        """Length in seconds of the audio from which windows were cut, for each of `channels`."""
        return tuple(each.kept_s(self.duration_s) for each in self.channels)


@dataclass(frozen=True)
class FailedRecording:
    """A recording that could not be scored."""

    path: Path
    """Path of the recording."""
    reason: str
    """Sentence on why it could not be scored."""
