"""Immutable data classes shared between packages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any, Literal

Channel = Literal["mean", "left", "right", "best"]
"""Mono signal of a recording: the mean of all channels, the first, the second, or the best channel.

The best channel is the one whose frequency bands vary most over time (`audio.channels`).
"""

ChannelSource = Channel | int
"""Source of a mono signal: a `Channel`, or the number of a channel, from 1."""

ChannelOption = Literal[Channel, "each"]
"""Option for recordings with several channels: one mono signal, or "each" channel separately."""


@dataclass(frozen=True)
class RecordingMetadata:
    """Location and time of a recording; None for each value that is not known.

    Attributes:
        start_time: clock time of the first sample; without `tzinfo`, in the recorder's local time.
        latitude: in degrees north.
        longitude: in degrees east.
        recorder: name or serial number of the recorder.
        source: source of the time or, without a time, of the other values, for example "guano" or "file name".
        conflict: warning that names sources whose values contradict each other.
        unread: warning that names times and locations in the sources that could not be parsed.
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
        """Day of the recording if its time of day is not known, else None; always None in this class.

        `identification.input_tables.DatedMetadata` overrides the property.
        """
        return None


@dataclass(frozen=True)
class AudioInfo:
    """Properties in an audio file's header.

    Attributes:
        container: name of the file format as the decoder gives it, such as "WAV".
        codec: name of the encoding as the decoder gives it, such as "PCM_16".
        rate_hz: sample rate in Hz.
        n_channels: number of channels.
        n_frames: number of samples per channel, which may differ from the number of samples that are decoded; None if
            the header does not have it.
    """

    container: str
    codec: str
    rate_hz: int
    n_channels: int
    n_frames: int | None

    @property
    def duration_s(self) -> float | None:
        """Duration in seconds according to the header; None if the header does not have the number of samples."""
        return None if self.n_frames is None else self.n_frames / self.rate_hz


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment of a recording; its start and end are in seconds from the start of the recording."""

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
        kind: "species", or "sound" for other classes (an engine, a human voice).
        score: the model's score, from 0 to 1; 1 for an annotation without a score.
        in_range: True if the range model expects the species at the location and in the week of the recording, False if
            not; None if that is unknown.
        low_hz: lowest frequency of the sound in Hz; None if it is not annotated.
        high_hz: highest frequency of the sound in Hz; None if it is not annotated.
        probability: calibrated probability that the species is present; None without a calibration.
        human_voice: True if the segment contains human speech, False if not; None if speech detection was off.
        channel: number of the channel, from 1; None if one mono signal of the recording was scored.
        verdict: review by a person: "correct", "relabeled", "several" (several species) or "unsure"; None if the
            detection was not reviewed.
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
"""Review of an annotation by a person: "" for correct or without a review, "rejected" for wrong, "unverified" for not
confirmed yet."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A row of a table of annotations, as written by Raven, Audacity or a detector."""

    line: int
    """Number of the row's line in the file, from 1."""
    detection: Detection | None
    """Annotated segment and species; None if the row only records that the recording was annotated, or has a
    `problem`."""
    recording: str | None = None
    """Name or path of the recording; None if the row does not name the recording."""
    is_within_file: bool = True
    """True if the times start at 0 in each recording; False if they may continue from recording to recording, as in
    Raven tables without a file offset."""
    selection: str | None = None
    """Number of the selection in Raven, which writes one row per view of the selection; None without a number."""
    view: str | None = None
    """Name of the view in Raven, such as "Spectrogram 1"; None without a name."""
    problem: str = ""
    """Reason why the row could not be read; empty for a readable row."""
    is_scored: bool = False
    """True if the row has the score of a model; False if it has no score."""
    review: Review = ""
    """Review of the annotation by a person, in a column such as `Reject` or `Verified`: "" for correct or without a
    review, "rejected" for wrong, "unverified" for not confirmed yet."""
    folder: str | None = None
    """Folder or site in a separate column, which distinguishes recordings of the same name; None without one."""


@dataclass(frozen=True)
class RecordingTable:
    """All detections of one recording, ordered by start, then by falling score.

    Attributes:
        recording: path of the recording, as it is written in tables.
        duration_s: length of the recording in seconds.
        rate_hz: sample rate of the recording in Hz.
        metadata: location and time of the recording.
        week: week of BirdNET's year of 48 weeks (four in each month), from 1; None if it is unknown, or if the run used
            no week.
        detections: the detections. In results of `identify`, a sequence that makes each `Detection` on access
            (`formats.detection_columns`).
        speech: segments of human speech; empty if speech detection was off.
        is_silenced: True if `speech` must be silenced in clips and blank in plots of the recording.
        channel: mono signal that was scored, for detections whose `channel` is None: "mean" of all channels, "left",
            "right", "best" (the channel whose frequency bands vary most), or the number of a channel, from 1.
        n_channels: number of channels that were scored separately; None if one mono signal was scored.
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
        """Return one table for each channel, in order, or only this table if channels were not scored separately.

        A channel without detections has a table as well.
        """
        if self.n_channels is None:
            return (self,)
        return tuple(
            replace(self, channel=number, detections=tuple(d for d in self.detections if d.channel == number))
            for number in range(1, self.n_channels + 1)
        )

    @property
    def silenced(self) -> tuple[Segment, ...]:
        """Segments to silence in clips and to leave blank in plots: `speech` if `is_silenced`, else none."""
        return self.speech if self.is_silenced else ()

    def clock_time(self, start_s: float) -> datetime | None:
        """Return the clock time `start_s` seconds after the recording's start; None if the start time is unknown."""
        start = self.metadata.start_time
        return None if start is None else start + timedelta(seconds=start_s)


@dataclass(frozen=True)
class Provenance:
    """Model, software and options that produced the rows of a table.

    Attributes:
        model: name of the model.
        model_version: version of the model.
        bundle_id: digest of the files of the model's bundle.
        software: name and version of the program.
        parameters: options of the identification run by name (`identification.options.Options`), and facts on the rows
            such as `range_filter` (True if it was used) and `annotated` (True if the rows are annotations by people).
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
        done: finished work, counted in `unit`.
        total: all work of the stage, counted in `unit`.
        unit: plural noun for the counted things, for example "recordings".
        metrics: further numbers by name, which depend on the operation, such as "loss" in training.
        left_s: estimated seconds until the end of the stage; None if unknown.
    """

    stage: str
    done: float
    total: float
    unit: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    left_s: float | None = None


Report = Callable[[Progress], None]
"""Callback of long operations, called with their progress in the thread that called the operation."""


def ignore_progress(_progress: Progress) -> None:
    """Do nothing; the default callback for callers that do not show progress."""
