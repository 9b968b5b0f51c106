"""Immutable data classes shared between packages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any, Literal

Channel = Literal["mean", "left", "right", "best"]
"""The mean of all channels, the first, the second, or the one with the clearest sound."""

ChannelSource = Channel | int
"""Source of a mono signal; a number is that of one channel, from 1."""

ChannelOption = Literal[Channel, "each"]
"""One signal of each recording, or each channel by itself."""


@dataclass(frozen=True)
class RecordingMetadata:
    """Location and time of a recording, as far as they are known.

    Attributes:
        start_time: clock time of the first sample; without a time zone, in the recorder's local time.
        latitude: in degrees north.
        longitude: in degrees east.
        recorder: name or serial number of the recorder.
        source: what was read, for example "guano" or "file name".
        conflict: a sentence on sources that contradict each other.
        unread: a sentence on times and locations that sources have, but that are not understood.
    """

    start_time: datetime | None = None
    latitude: float | None = None
    longitude: float | None = None
    recorder: str | None = None
    source: str | None = None
    conflict: str | None = None
    unread: str | None = None

    @property
    def day(self) -> date | None:
        """Day of a recording of which only that is known; None of others."""
        return None


@dataclass(frozen=True)
class AudioInfo:
    """Properties in an audio file's header.

    `n_frames` is the header's promise, counted per channel; None where the format makes none. It may be wrong: only
    decoding tells.
    """

    container: str
    codec: str
    rate_hz: int
    n_channels: int
    n_frames: int | None

    @property
    def duration_s(self) -> float | None:
        """Duration in seconds according to the header."""
        return None if self.n_frames is None else self.n_frames / self.rate_hz


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment of a recording in seconds."""

    start_s: float
    end_s: float

    @property
    def length_s(self) -> float:
        """Length in seconds."""
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True)
class Detection:
    """A species in a window, or in an event merged from several windows.

    Attributes:
        start_s: start in seconds from the start of the recording.
        end_s: end in seconds from the start of the recording.
        scientific_name: for example "Parus major".
        common_name: for example "Great Tit".
        kind: "species", or "sound" (an engine, a human voice).
        score: the model's score, from 0 to 1.
        in_range: True if the range model expects the species at this location and week; None where that is unknown.
        low_hz: lowest frequency of the sound, if annotated.
        high_hz: highest frequency of the sound, if annotated.
        probability: calibrated probability that the species is present; None without a calibration.
        human_voice: True if it contains human speech; None if speech detection was off.
        channel: number of the channel, from 1; None where one signal was scored for all channels.
        verdict: verdict of a person: "correct", "relabeled", "several" or "unsure"; None without one.
    """

    start_s: float
    end_s: float
    scientific_name: str
    common_name: str
    kind: str
    score: float
    in_range: bool | None = None
    low_hz: float | None = None
    high_hz: float | None = None
    probability: float | None = None
    human_voice: bool | None = None
    channel: int | None = None
    verdict: str | None = None


Review = Literal["", "rejected", "unverified"]
"""Verdict of a person on a mark: "" for none or right, "rejected" for wrong, "unverified" for not confirmed yet."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A row of a table of annotations."""

    line: int
    detection: Detection | None
    """Detection in the row; None if the row only records that the recording was annotated."""
    recording: str | None = None
    """Name or path of the recording, where the row has one."""
    is_within_file: bool = True
    """False where the times may count on from recording to recording, as Raven's do without a file offset."""
    selection: str | None = None
    """Raven's number of the selection, which has a row for each view."""
    view: str | None = None
    problem: str = ""
    """Reason why the row could not be read; empty for one that could."""
    is_scored: bool = False
    """True if the row has the score of a model."""
    review: Review = ""
    """Verdict on the mark in a column such as `Reject` or `Verified`."""
    folder: str | None = None
    """Folder or site in a separate column, which distinguishes recordings of the same name."""


@dataclass(frozen=True)
class RecordingTable:
    """All detections of one recording, ordered by start, then by falling score.

    Attributes:
        recording: name of the recording: its path, as in tables.
        duration_s: length of the recording in seconds.
        rate_hz: sample rate of the recording.
        metadata: location and time of the recording.
        week: week of the 48-week year (four in a month); None where it is unknown.
        detections: the detections; of a run, views on columns (`formats.detection_columns`).
        speech: segments of human speech, if speech was looked for.
        is_silenced: True if `speech` must be neither audible nor visible in anything made of the recording.
        channel: channel of the detections in a recording with several; their own `channel` takes precedence.
        n_channels: number of channels that were scored by themselves; None where one signal was scored.
    """

    recording: str
    duration_s: float
    rate_hz: int
    metadata: RecordingMetadata
    week: int | None
    detections: Sequence[Detection]
    speech: tuple[Segment, ...] = ()
    is_silenced: bool = False
    channel: ChannelSource = "mean"
    n_channels: int | None = None

    def by_channel(self) -> tuple[RecordingTable, ...]:
        """Split the table by channel; a list of this table if channels were not scored separately."""
        if self.n_channels is None:
            return (self,)
        return tuple(
            replace(self, channel=number, detections=tuple(d for d in self.detections if d.channel == number))
            for number in range(1, self.n_channels + 1)
        )

    @property
    def silenced(self) -> tuple[Segment, ...]:
        """Segments to silence in clips and plots."""
        return self.speech if self.is_silenced else ()

    def clock_time(self, start_s: float) -> datetime | None:
        """Return the clock time of `start_s`."""
        start = self.metadata.start_time
        return None if start is None else start + timedelta(seconds=start_s)


@dataclass(frozen=True)
class Provenance:
    """Model, software and options that made the rows of a table.

    Attributes:
        model: name of the model.
        model_version: version of the model.
        bundle_id: digest of the bundle's files.
        software: name and version of the program.
        parameters: options of the run by name.
    """

    model: str
    model_version: str
    bundle_id: str
    software: str
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Progress:
    """Progress of a long operation.

    Attributes:
        stage: current stage in one or two words, for example "preparing".
        done: number of units that are done.
        total: number of units in all.
        unit: the things that are counted, for example "recordings".
        metrics: further numbers by name.
        left_s: seconds that are left; None where that is unknown.
    """

    stage: str
    done: float
    total: float
    unit: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    left_s: float | None = None


Report = Callable[[Progress], None]
"""A function that long work calls with its progress, from the thread of its caller."""


def ignore_progress(_progress: Progress) -> None:
    """Ignore the progress."""
