"""Tables of the server's database, for SQLAlchemy; every change needs a migration (`migrations/versions`)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    TypeDecorator,
    select,
    text,
    union_all,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from dawnchorus.server.state.clock import now

ACTIVE_STATUSES = ("queued", "running")
"""Values of `Job.status` for jobs that have not ended."""

Verdict = Literal["correct", "incorrect", "relabeled", "several", "unsure", "none"]
"""Verdict of a reviewer on the species of a detection.

- "correct": the detected species is audible.
- "incorrect": the detected species is not audible; the reviewer does not say which one is.
- "relabeled": another species is audible, which the reviewer names.
- "several": several species are audible.
- "unsure": the reviewer cannot tell.
- "none": no bird is audible.
"""

REJECTED: tuple[Verdict, ...] = ("incorrect", "none")
"""Verdicts that reject a detection, which is then left out of tables and counts."""


class UtcTime(TypeDecorator[datetime]):
    """Column type of points in time: `datetime` with a time zone in Python, UTC without a zone in the database."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert a `datetime` with a time zone to UTC without a zone; None stays None.

        A time that UTC moves out of the years 1 to 9999 keeps the hour of its own time zone.
        """
        del dialect
        if value is None:
            return None
        try:
            return value.astimezone(UTC).replace(tzinfo=None)
        except (OverflowError, ValueError):  # the first and the last day of the calendar, in another zone
            return value.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return a `datetime` of the database with the time zone UTC; None stays None."""
        del dialect
        return None if value is None else value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    """Base class of all tables, with the naming of constraints and indexes, and the column type of each Python type."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own
        datetime: UtcTime,
        float: Double,  # by itself only since SQLAlchemy 2.1
        dict[str, Any]: JSON,
        list[Any]: JSON,
    }


class Recording(Base):
    """A stored recording, or an upload that could not be identified and whose audio is not stored (`error` is set)."""

    __tablename__ = "recordings"
    __table_args__ = (Index("ix_recordings_added_at", "added_at", "sha256", unique=True),)
    """Index in the order of lists. It is unique, so that SQLite does not sort the results of joins again."""

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Hash of the audio file, which is the id of the recording and the key of the file in the store."""
    name: Mapped[str] = mapped_column(String(255))
    """Client's name of the file."""
    n_bytes: Mapped[int] = mapped_column(BigInteger)
    """Size of the audio file."""
    duration_s: Mapped[float | None]
    """Length in seconds; None if the recording could not be identified."""
    rate_hz: Mapped[int | None]
    """Sample rate; None if the recording could not be identified."""
    recorded_at: Mapped[str | None] = mapped_column(String(40))
    """Start of the recording by the recorder's clock, ISO 8601, with its UTC offset if known; None if unknown."""
    latitude: Mapped[float | None]
    """Latitude in degrees, from the request or the file; None if unknown."""
    longitude: Mapped[float | None]
    """Longitude in degrees, from the request or the file; None if unknown."""
    added_at: Mapped[datetime] = mapped_column(default=now)
    """Time of the first upload."""
    site: Mapped[str | None] = mapped_column(String(255), index=True)
    """Name of the recording site, from the request or the file name; None if unknown."""
    error: Mapped[str | None] = mapped_column(Text)
    """Reason why the recording could not be identified; None if it was identified."""
    latest_identification: Mapped[int | None]
    """Id of the latest identification, whose detections lists and counts use; None if the recording was not identified.

    The column is no foreign key, since the table of identifications has a foreign key to this table.
    """
    n_detections: Mapped[int] = mapped_column(default=0, server_default="0")
    """Number of detections in the latest identification, including those that reviewers rejected."""
    best_score: Mapped[float | None]
    """Highest score in the latest identification, also of rejected detections; None without detections."""


AUTOINCREMENT = {"sqlite_autoincrement": True}
"""Table option for SQLite, so that ids of deleted rows are not used again."""


class Identification(Base):
    """An identification: a model's result for a recording, whose audio and detections are stored only on request."""

    __tablename__ = "identifications"
    __table_args__ = AUTOINCREMENT

    id: Mapped[int] = mapped_column(primary_key=True)
    recording: Mapped[str | None] = mapped_column(ForeignKey("recordings.sha256", ondelete="CASCADE"), index=True)
    """sha256 of the stored recording; None if the recording was not stored."""
    at: Mapped[datetime] = mapped_column(default=now, index=True)
    """Time of the identification."""
    bundle_id: Mapped[str] = mapped_column(String(12))
    """Id of the model's bundle."""
    duration_s: Mapped[float]
    """Length of the recording."""
    species: Mapped[str | None] = mapped_column(String(255), index=True)
    """Common name in the detection with the highest score; None without detections."""
    score: Mapped[float | None]
    """Highest score of a detection; None without detections."""
    provenance: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """Fields of `types.Provenance` by name (model, software and options); None if the recording was not stored, or in
    rows from before revision 0004 of the database."""
    latitude: Mapped[float | None]
    """Latitude that the range filter used: from the request or else the recording's metadata; None if unknown."""
    longitude: Mapped[float | None]
    """Longitude that the range filter used: from the request or else the recording's metadata; None if unknown."""
    week: Mapped[int | None]
    """Week that the range filter used, from 1 to 48; None if unknown."""
    warnings: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")
    """Sentences on faults of the audio and on options without effect; empty in rows from before revision 0010."""
    scientific_name: Mapped[str | None] = mapped_column(String(255))
    """Scientific name in the detection with the highest score; None without detections.

    In rows from before revision 0012: None, or for recordings that were not stored the common name if the scientific
    name is unknown.
    """


class RecordingSpecies(Base):
    """Summary of a species in the latest identification of a recording, so that lists need not count detections."""

    __tablename__ = "recording_species"
    __table_args__ = (
        Index("ix_recording_species_scientific_name", "scientific_name", "added_at", "recording", unique=True),
    )

    recording: Mapped[str] = mapped_column(ForeignKey("recordings.sha256", ondelete="CASCADE"), primary_key=True)
    """sha256 of the recording."""
    scientific_name: Mapped[str] = mapped_column(String(255), primary_key=True)
    common_name: Mapped[str] = mapped_column(String(255))
    n_detections: Mapped[int]
    """Number of detections that were not rejected."""
    best_score: Mapped[float]
    """Highest score of the detections that were not rejected; 0 if all detections were rejected."""
    added_at: Mapped[datetime]
    """Copy of `Recording.added_at`, for an index in the order of lists."""


class Species(Base):
    """A species that was ever detected in a stored recording; a species has a row for each of its common names."""

    __tablename__ = "species"

    scientific_name: Mapped[str] = mapped_column(String(255), primary_key=True)
    common_name: Mapped[str] = mapped_column(String(255), primary_key=True)


class DetectionCount(Base):
    """Counts of recordings and detections of a site, a time span and a species; see `server.detection_counts`."""

    __tablename__ = "detection_counts"

    site: Mapped[str] = mapped_column(String(255), primary_key=True)
    """Name of the site; "" in rows with the sums of all recordings, with or without a site."""
    unit: Mapped[str] = mapped_column(String(8), primary_key=True)
    """Length of the time span: "day", "month", "year", or "undated" for recordings without a start time."""
    start: Mapped[str] = mapped_column(String(10), primary_key=True)
    """First day of the time span by the recorder's clock, ISO 8601; "" if undated."""
    scientific_name: Mapped[str] = mapped_column(String(255), primary_key=True)
    """Scientific name of the species; "" in rows with the sums of all species."""
    common_name: Mapped[str] = mapped_column(String(255))
    """Common name of the species; "" in rows with the sums of all species."""
    totals: Mapped[dict[str, Any]]
    """Numbers by name that are not divided by hour of the day, such as "best:2"; see `detection_counts.Counts`."""
    hours: Mapped[dict[str, Any]]
    """Numbers by name that are divided by hour of the day, such as "detections:05:2"; see `detection_counts.Counts`.

    They are in a column of their own, since few queries need them.
    """


class DetectionRow(Base):
    """A detection in a stored recording: the columns of detection tables (`formats.columns`) and its review."""

    __tablename__ = "detections"
    __table_args__ = (
        Index("ix_detections_identification", "identification", "scientific_name"),
        Index("ix_detections_start_s", "identification", "start_s", "end_s"),
        AUTOINCREMENT,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    identification: Mapped[int] = mapped_column(ForeignKey("identifications.id", ondelete="CASCADE"))
    """Id of the identification in which the species was detected."""
    recording: Mapped[str] = mapped_column(ForeignKey("recordings.sha256", ondelete="CASCADE"), index=True)
    """sha256 of the recording."""
    start_s: Mapped[float]
    """Start of the detection, in seconds from the start of the recording."""
    end_s: Mapped[float]
    """End of the detection, in seconds from the start of the recording."""
    scientific_name: Mapped[str] = mapped_column(String(255), index=True)
    """Scientific name of the species by the reviewer if the detection was relabeled, else by the model."""
    common_name: Mapped[str] = mapped_column(String(255))
    """Common name of the species by the reviewer if the detection was relabeled, else by the model."""
    score: Mapped[float] = mapped_column(index=True)
    """Score of the model's species, 0 to 1."""
    probability: Mapped[float | None]
    """Calibrated probability of the model's species; None without a calibration."""
    in_range: Mapped[bool | None]
    """True if the range model expects the model's species at this location and week; None if that is unknown."""
    bundle_id: Mapped[str] = mapped_column(String(12))
    """Id of the model's bundle."""
    channel: Mapped[int | None]
    """Number of the channel, from 1; None if one mono signal of the recording was scored."""
    kind: Mapped[str] = mapped_column(String(16), server_default="species")
    """Kind of the class: "species", or "sound" (an engine, a human voice)."""
    human_voice: Mapped[bool | None]
    """True if the segment contains human speech; None if speech detection was off."""
    low_hz: Mapped[float | None]
    """Lowest frequency of the sound; None if not annotated."""
    high_hz: Mapped[float | None]
    """Highest frequency of the sound; None if not annotated."""
    verdict: Mapped[str | None] = mapped_column(String(16))
    """Copy of `Review.verdict` for filters, counts and tables; None without a review."""
    model_scientific_name: Mapped[str | None] = mapped_column(String(255))
    """Scientific name of the model's species if the detection was relabeled, else None."""
    model_common_name: Mapped[str | None] = mapped_column(String(255))
    """Common name of the model's species if the detection was relabeled, else None."""

    @property
    def is_unexpected(self) -> bool:
        """True if the range model does not expect the species at this location and week.

        False if that is unknown, and for relabeled detections, since `in_range` is about the model's species.
        """
        return self.in_range is False and self.model_scientific_name is None


class Review(Base):
    """The review of a detection: the latest answer of a person that was not undone."""

    __tablename__ = "reviews"

    detection: Mapped[int] = mapped_column(ForeignKey("detections.id", ondelete="CASCADE"), primary_key=True)
    """Id of the detection."""
    verdict: Mapped[str] = mapped_column(String(16))
    """Verdict (`Verdict`): "correct", "incorrect", "relabeled", "several", "unsure" or "none"."""
    scientific_name: Mapped[str | None] = mapped_column(String(255))
    """Scientific name of the correct species, for the verdict "relabeled" only."""
    common_name: Mapped[str | None] = mapped_column(String(255))
    """Common name of the correct species, for the verdict "relabeled" only."""
    at: Mapped[datetime] = mapped_column(default=now)
    """Time of the review."""
    recording: Mapped[str] = mapped_column(String(64), server_default="", index=True)
    """sha256 of the detection's recording, for counts."""
    answer: Mapped[int | None]
    """Id of the row of `ReviewAnswer` with the same content; None for reviews from before revision 0011."""


class ReviewAnswer(Base):
    """An entry in the history of a detection's review: a person's answer, or the deletion of the review."""

    __tablename__ = "review_answers"
    __table_args__ = (Index("ix_review_answers_reviewer", "reviewer", "id"), AUTOINCREMENT)

    id: Mapped[int] = mapped_column(primary_key=True)
    detection: Mapped[int] = mapped_column(ForeignKey("detections.id", ondelete="CASCADE"), index=True)
    """Id of the detection."""
    reviewer: Mapped[str | None] = mapped_column(String(32))
    """Random id of the browser that sent the answer, which is never shown; None for other programs."""
    verdict: Mapped[str | None] = mapped_column(String(16))
    """Verdict of the answer, with the values of `Review.verdict`; None if the person deleted the review."""
    scientific_name: Mapped[str | None] = mapped_column(String(255))
    """Scientific name of the correct species, for the verdict "relabeled" only."""
    common_name: Mapped[str | None] = mapped_column(String(255))
    """Common name of the correct species, for the verdict "relabeled" only."""
    previous: Mapped[int | None]
    """Id of the answer that was valid before this one, and is valid again if this one is undone; None for the first."""
    is_undone: Mapped[bool] = mapped_column(default=False)
    """True if the person undid the answer."""
    at: Mapped[datetime] = mapped_column(default=now)
    """Time of the answer."""


class LabeledRecording(Base):
    """An item of the training data: an uploaded labeled recording, or the clip of a reviewed detection."""

    __tablename__ = "labeled_recordings"
    __table_args__ = AUTOINCREMENT

    id: Mapped[int] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    """Hash of the audio file, and key of the file in the store."""
    name: Mapped[str] = mapped_column(String(255))
    """Client's name of the file; of a clip, the recording's name with the start of the detection."""
    n_bytes: Mapped[int] = mapped_column(BigInteger)
    """Size of the audio file."""
    duration_s: Mapped[float]
    """Length of the audio."""
    rate_hz: Mapped[int]
    """Sample rate of the audio."""
    scientific_name: Mapped[str | None] = mapped_column(String(255), index=True)
    """Scientific name of the species; None for a recording without birds, or for which only `absent` is known."""
    common_name: Mapped[str | None] = mapped_column(String(255))
    """Common name of the species; None if `scientific_name` is None."""
    absent: Mapped[str | None] = mapped_column(String(255))
    """Scientific name of a species that is not in the recording, such as a species that a reviewer rejected; None if
    the label names none."""
    group: Mapped[str | None] = mapped_column("group_name", String(255))
    """Key of the recording's group, sha256 of the uploaded or reviewed recording; recordings of a group are always in
    the same split."""
    source: Mapped[str] = mapped_column(String(255))
    """Source of the label: "upload" or "review"."""
    detection: Mapped[int | None] = mapped_column(unique=True)
    """Id of the reviewed detection, for the source "review", else None; a later review of the detection replaces the
    row."""
    added_at: Mapped[datetime] = mapped_column(default=now)
    """Time at which the row was added."""


class SplitAssignment(Base):
    """The split of a group of labeled recordings, see `LabeledRecording.group`.

    The row stays if the recordings are deleted, so that a recording on which a model was tested and that is uploaded
    again is not used for training.
    """

    __tablename__ = "split_assignments"

    group: Mapped[str] = mapped_column("group_name", String(255), primary_key=True)
    """Key of the group, `LabeledRecording.group`."""
    split: Mapped[str] = mapped_column(String(16))
    """Split of the group: "train" or "test"."""


class CatalogModel(Base):
    """A model of the catalog, which can be activated."""

    __tablename__ = "models"

    bundle_id: Mapped[str] = mapped_column(String(12), primary_key=True)
    """Id of the model's bundle."""
    name: Mapped[str] = mapped_column(String(255))
    """Name of the model."""
    family: Mapped[str] = mapped_column(String(64))
    """Name of the model family (kind of network) that the bundle states."""
    n_classes: Mapped[int]
    """Number of classes that the model scores."""
    storage_key: Mapped[str] = mapped_column(Text)
    """Location of the bundle: name or folder for the source "given", else sha256 of the zipped bundle in the store."""
    source: Mapped[str] = mapped_column(String(16))
    """Source of the model: "given" in a server's settings, or "retrained" by a job."""
    job: Mapped[str | None] = mapped_column(String(32))
    """Id of the retraining job; None for the source "given"."""
    report: Mapped[dict[str, Any] | None]
    """Comparison of a retrained model with the model that was active; None for the source "given".

    The keys are `meets_promotion_rule`, `reasons` and `report`, with the values of
    `retraining_messages.RetrainOutcome`.
    """
    added_at: Mapped[datetime] = mapped_column(default=now)
    """Time at which the model was added to the catalog."""


class ModelActivation(Base):
    """An entry in the history of activations; the model of the last row is the active model."""

    __tablename__ = "model_activations"

    id: Mapped[int] = mapped_column(primary_key=True)
    bundle_id: Mapped[str] = mapped_column(ForeignKey("models.bundle_id"))
    """Id of the activated model's bundle."""
    reason: Mapped[str] = mapped_column(String(255))
    """Reason of the activation, which the models page shows."""
    at: Mapped[datetime] = mapped_column(default=now)
    """Time of the activation."""


class Job(Base):
    """A background job, which survives a restart of the server."""

    __tablename__ = "jobs"
    __table_args__ = (
        # At most one retraining is queued or running, across all servers.
        Index(
            "uq_jobs_one_retraining",
            "kind",
            unique=True,
            sqlite_where=text("kind = 'retrain' AND status IN ('queued', 'running')"),
            postgresql_where=text("kind = 'retrain' AND status IN ('queued', 'running')"),
        ),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), index=True)
    """Kind of the job: "identify" or "retrain"."""
    status: Mapped[str] = mapped_column(String(16), default="queued", index=True)
    """Status of the job: "queued", "running", "done", "failed" or "cancelled"."""
    stage: Mapped[str] = mapped_column(String(64), default="waiting")
    """Stage of the work in one or two words, for the user."""
    progress: Mapped[float] = mapped_column(default=0.0)
    """Progress of the job, 0 to 1."""
    parameters: Mapped[dict[str, Any]]
    """Arguments of the job by name.

    For "identify": `sha256`, `name`, `options` and `site`; for "retrain": `overrides` and `require_approval`.
    """
    result: Mapped[dict[str, Any] | None]
    """Values of the result by name; None unless the job is done.

    For "identify": `recording` (sha256), `n_detections`, `duration_s`, `bundle_id`, `warnings` and `notes`; for
    "retrain": `bundle_id` of the new model, `is_promoted` (True if the model was activated), `meets_promotion_rule`,
    `reasons` and `report`.
    """
    error: Mapped[str | None] = mapped_column(Text)
    """Reason why the job failed; None unless the job failed."""
    attempts: Mapped[int] = mapped_column(default=0)
    """Number of times that a server started the job, without starts after which the server itself returned the job to
    the queue (at its shutdown)."""
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    """True if a client requested the cancellation."""
    worker_id: Mapped[str | None] = mapped_column(String(64))
    """Id of the server that runs the job, or ran it to its end; None while the job is queued."""
    heartbeat_at: Mapped[datetime | None]
    """Time of the last heartbeat of the server that runs the job; None before the job is first started."""
    created_at: Mapped[datetime] = mapped_column(default=now, index=True)
    """Time at which the job was added to the queue."""
    started_at: Mapped[datetime | None]
    """Time at which a server first started the job; None before."""
    ended_at: Mapped[datetime | None]
    """Time at which the job was done, failed or cancelled; None before."""


class JobFile(Base):
    """A file in the store that a job needs until the job ends."""

    __tablename__ = "job_files"

    job: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    """Id of the job."""
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True, index=True)
    """Key of the file in the store."""


class JobEvent(Base):
    """An event of a job; a client that reconnects requests the events after the last id that it received."""

    __tablename__ = "job_events"
    __table_args__ = AUTOINCREMENT

    id: Mapped[int] = mapped_column(primary_key=True)
    job: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    """Id of the job."""
    at: Mapped[datetime] = mapped_column(default=now)
    """Time of the event."""
    data: Mapped[dict[str, Any]]
    """Values of `status`, `stage`, `progress` and `error` of the job at this time, by name.

    For a retraining also the fields of its `retraining_messages.RetrainEvent` that are not None.
    """


class StoredFile(Base):
    """A file of the file store; the row is written before the file, and deleted after the file."""

    __tablename__ = "stored_files"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Hash of the file, and its key in the store."""
    kept_at: Mapped[datetime]
    """Time at which the file was last written to the store, or would have been if it had not been there already."""


class EndedSession(Base):
    """A login session that the user ended; the row stays until the session's cookie would have expired."""

    __tablename__ = "ended_sessions"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    """Id of the session, `BrowserSession.id`."""
    ended_at: Mapped[datetime]
    """Time at which the user ended the session."""


FILE_REFERENCES = union_all(
    select(Recording.sha256.label("sha256")).where(Recording.error.is_(None)),
    select(LabeledRecording.sha256),
    select(CatalogModel.storage_key).where(CatalogModel.source == "retrained"),
    select(JobFile.sha256).join(Job, Job.id == JobFile.job).where(Job.status.in_(ACTIVE_STATUSES)),
).subquery("file_references")
"""Subquery with the column `sha256`: files of the store that must not be deleted.

These are the files of recordings, training data, retrained models, and jobs that have not ended.
"""
