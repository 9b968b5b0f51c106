"""Tables of the database; every change needs a migration (`migrations/versions`)."""

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

Verdict = Literal["correct", "incorrect", "relabeled", "several", "unsure", "none"]
"""A person's answer to a detection: of this species, not of it, of another one, of several, not clear, no bird."""

REJECTED: tuple[Verdict, ...] = ("incorrect", "none")
"""Verdicts that leave a detection without a species."""


class UtcTime(TypeDecorator[datetime]):
    """A point in time, stored in UTC without a zone."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to the database's value."""
        del dialect
        if value is None:
            return None
        try:
            return value.astimezone(UTC).replace(tzinfo=None)
        except (OverflowError, ValueError):  # the first and the last day of the calendar, in another zone
            return value.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert from the database's value."""
        del dialect
        return None if value is None else value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    """Base class of all tables."""

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
    """A stored recording, or one that could not be identified, of which there is no audio."""

    __tablename__ = "recordings"
    __table_args__ = (Index("ix_recordings_added_at", "added_at", "sha256", unique=True),)
    """Lists have this order; it is unique, so that the database need not sort what it joins."""

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
    """The client's name of the file."""
    n_bytes: Mapped[int] = mapped_column(BigInteger)
    duration_s: Mapped[float | None]
    rate_hz: Mapped[int | None]
    recorded_at: Mapped[str | None] = mapped_column(String(40))
    """By the recorder's clock, ISO 8601."""
    latitude: Mapped[float | None]
    longitude: Mapped[float | None]
    added_at: Mapped[datetime] = mapped_column(default=now)
    site: Mapped[str | None] = mapped_column(String(255), index=True)
    error: Mapped[str | None] = mapped_column(Text)
    """Reason why it could not be identified."""
    latest_identification: Mapped[int | None]
    """Id of the identification whose detections count; no foreign key, since that table refers to this one."""
    n_detections: Mapped[int] = mapped_column(default=0, server_default="0")
    best_score: Mapped[float | None]
    """Number of detections and highest score of the latest identification."""


AUTOINCREMENT = {"sqlite_autoincrement": True}
"""Table option of SQLite: ids of deleted rows are not reused."""


class Identification(Base):
    """The identification of a recording, whose audio is stored only on request."""

    __tablename__ = "identifications"
    __table_args__ = AUTOINCREMENT

    id: Mapped[int] = mapped_column(primary_key=True)
    recording: Mapped[str | None] = mapped_column(ForeignKey("recordings.sha256", ondelete="CASCADE"), index=True)
    at: Mapped[datetime] = mapped_column(default=now, index=True)
    bundle_id: Mapped[str] = mapped_column(String(12))
    duration_s: Mapped[float]
    species: Mapped[str | None] = mapped_column(String(255), index=True)
    """The common name of the best detection."""
    score: Mapped[float | None]
    provenance: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """Model, software and options of the rows of a stored recording; None if a version before 0004 wrote them."""
    latitude: Mapped[float | None]
    """Latitude that this identification used: that of the request, or else that in the recording's metadata."""
    longitude: Mapped[float | None]
    """Longitude that it used, as the latitude."""
    week: Mapped[int | None]
    warnings: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")
    """Sentences on the audio and on parameters without effect; empty if a version before 0010 wrote the row."""
    scientific_name: Mapped[str | None] = mapped_column(String(255))
    """Name of the best detection; before 0012 None, or the common name if nothing is stored and no other is known."""


class RecordingSpecies(Base):
    """A species in the latest identification of a recording, so that lists need not count detections."""

    __tablename__ = "recording_species"
    __table_args__ = (
        Index("ix_recording_species_scientific_name", "scientific_name", "added_at", "recording", unique=True),
    )

    recording: Mapped[str] = mapped_column(ForeignKey("recordings.sha256", ondelete="CASCADE"), primary_key=True)
    scientific_name: Mapped[str] = mapped_column(String(255), primary_key=True)
    common_name: Mapped[str] = mapped_column(String(255))
    n_detections: Mapped[int]
    best_score: Mapped[float]
    added_at: Mapped[datetime]
    """Copy of the recording's, for the order of lists."""


class Species(Base):
    """A species that was detected in some stored recording, under one of its common names."""

    __tablename__ = "species"

    scientific_name: Mapped[str] = mapped_column(String(255), primary_key=True)
    common_name: Mapped[str] = mapped_column(String(255), primary_key=True)


class DetectionCount(Base):
    """Counts of recordings and detections at a site, in a time and of a species; see `server.detection_counts`."""

    __tablename__ = "detection_counts"

    site: Mapped[str] = mapped_column(String(255), primary_key=True)
    """"" for all sites, also recordings without one."""
    unit: Mapped[str] = mapped_column(String(8), primary_key=True)
    """"day", "month", "year" or, for recordings without a start time, "undated"."""
    start: Mapped[str] = mapped_column(String(10), primary_key=True)
    """First day by the recorder's clock, ISO 8601; "" if undated."""
    scientific_name: Mapped[str] = mapped_column(String(255), primary_key=True)
    """"" for all species."""
    common_name: Mapped[str] = mapped_column(String(255))
    totals: Mapped[dict[str, Any]]
    hours: Mapped[dict[str, Any]]
    """Numbers by name; those by hour of the day are apart, since most readers need only the others."""


class DetectionRow(Base):
    """A detection in a stored recording: the columns of `formats.columns`, and the rows that it belongs to."""

    __tablename__ = "detections"
    __table_args__ = (
        Index("ix_detections_identification", "identification", "scientific_name"),
        Index("ix_detections_start_s", "identification", "start_s", "end_s"),
        AUTOINCREMENT,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    identification: Mapped[int] = mapped_column(ForeignKey("identifications.id", ondelete="CASCADE"))
    recording: Mapped[str] = mapped_column(ForeignKey("recordings.sha256", ondelete="CASCADE"), index=True)
    start_s: Mapped[float]
    end_s: Mapped[float]
    scientific_name: Mapped[str] = mapped_column(String(255), index=True)
    common_name: Mapped[str] = mapped_column(String(255))
    """The species that people gave it, otherwise the model's."""
    score: Mapped[float] = mapped_column(index=True)
    probability: Mapped[float | None]
    in_range: Mapped[bool | None]
    bundle_id: Mapped[str] = mapped_column(String(12))
    channel: Mapped[int | None]
    """Number of the channel, from 1; None if one signal was scored for all channels."""
    kind: Mapped[str] = mapped_column(String(16), server_default="species")
    human_voice: Mapped[bool | None]
    low_hz: Mapped[float | None]
    high_hz: Mapped[float | None]
    verdict: Mapped[str | None] = mapped_column(String(16))
    """Verdict of its review, for filters, counts and tables."""
    model_scientific_name: Mapped[str | None] = mapped_column(String(255))
    model_common_name: Mapped[str | None] = mapped_column(String(255))
    """The model's species, if people gave it another one."""

    @property
    def is_unexpected(self) -> bool:
        """True if the range model does not expect the species there in that week; it knows only the model's."""
        return self.in_range is False and self.model_scientific_name is None


class Review(Base):
    """A person's review of a detection."""

    __tablename__ = "reviews"

    detection: Mapped[int] = mapped_column(ForeignKey("detections.id", ondelete="CASCADE"), primary_key=True)
    verdict: Mapped[str] = mapped_column(String(16))
    """One of `Verdict`."""
    scientific_name: Mapped[str | None] = mapped_column(String(255))
    """The correct species, for "relabeled"."""
    common_name: Mapped[str | None] = mapped_column(String(255))
    at: Mapped[datetime] = mapped_column(default=now)
    recording: Mapped[str] = mapped_column(String(64), server_default="", index=True)
    """Recording of the detection, for counts."""
    answer: Mapped[int | None]
    """Id of the answer that it was made by."""


class ReviewAnswer(Base):
    """An answer of a person to a detection: its review is the last one that was not taken back."""

    __tablename__ = "review_answers"
    __table_args__ = (Index("ix_review_answers_reviewer", "reviewer", "id"), AUTOINCREMENT)

    id: Mapped[int] = mapped_column(primary_key=True)
    detection: Mapped[int] = mapped_column(ForeignKey("detections.id", ondelete="CASCADE"), index=True)
    reviewer: Mapped[str | None] = mapped_column(String(32))
    """Id of the browser that it came from, which is never shown; None of other programs."""
    verdict: Mapped[str | None] = mapped_column(String(16))
    """Verdict of the answer; None if it deleted the answer before."""
    scientific_name: Mapped[str | None] = mapped_column(String(255))
    common_name: Mapped[str | None] = mapped_column(String(255))
    """The correct species, for "relabeled"."""
    previous: Mapped[int | None]
    """Id of the answer that counted before, which counts again when this one is taken back."""
    is_undone: Mapped[bool] = mapped_column(default=False)
    at: Mapped[datetime] = mapped_column(default=now)


class LabeledRecording(Base):
    """A recording of the training data: an uploaded labeled recording, or the clip of a reviewed detection."""

    __tablename__ = "labeled_recordings"
    __table_args__ = AUTOINCREMENT

    id: Mapped[int] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    name: Mapped[str] = mapped_column(String(255))
    n_bytes: Mapped[int] = mapped_column(BigInteger)
    duration_s: Mapped[float]
    rate_hz: Mapped[int]
    scientific_name: Mapped[str | None] = mapped_column(String(255), index=True)
    """Species of the recording; None without any species, or without the species `absent`."""
    common_name: Mapped[str | None] = mapped_column(String(255))
    absent: Mapped[str | None] = mapped_column(String(255))
    group: Mapped[str | None] = mapped_column("group_name", String(255))
    """Key of recordings that stay in one split."""
    source: Mapped[str] = mapped_column(String(255))
    """"upload" or "review"."""
    detection: Mapped[int | None] = mapped_column(unique=True)
    """Reviewed detection; a later review of it replaces this row."""
    added_at: Mapped[datetime] = mapped_column(default=now)


class SplitAssignment(Base):
    """The split of a group of labeled recordings.

    It stays even if the recordings are deleted and uploaded again: later models are not trained on recordings that a
    model was tested on.
    """

    __tablename__ = "split_assignments"

    group: Mapped[str] = mapped_column("group_name", String(255), primary_key=True)
    split: Mapped[str] = mapped_column(String(16))


class Model(Base):
    """A bundle that can be activated."""

    __tablename__ = "models"

    bundle_id: Mapped[str] = mapped_column(String(12), primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
    family: Mapped[str] = mapped_column(String(64))
    n_classes: Mapped[int]
    storage_key: Mapped[str] = mapped_column(Text)
    """Name or folder of a given bundle; sha256 of a retrained bundle's zip in the file store."""
    source: Mapped[str] = mapped_column(String(16))
    """"given" at the start of a server, or "retrained"."""
    job: Mapped[str | None] = mapped_column(String(32))
    report: Mapped[dict[str, Any] | None]
    """Report of the comparison with the model that was active."""
    added_at: Mapped[datetime] = mapped_column(default=now)


class ModelActivation(Base):
    """An activation of a model; the last row belongs to the active one."""

    __tablename__ = "model_activations"

    id: Mapped[int] = mapped_column(primary_key=True)
    bundle_id: Mapped[str] = mapped_column(ForeignKey("models.bundle_id"))
    reason: Mapped[str] = mapped_column(String(255))
    at: Mapped[datetime] = mapped_column(default=now)


class Job(Base):
    """A background job; survives a server restart."""

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
    """"identify" or "retrain"."""
    status: Mapped[str] = mapped_column(String(16), default="queued", index=True)
    """"queued", "running", "done", "failed" or "cancelled"."""
    stage: Mapped[str] = mapped_column(String(64), default="waiting")
    progress: Mapped[float] = mapped_column(default=0.0)
    parameters: Mapped[dict[str, Any]]
    result: Mapped[dict[str, Any] | None]
    error: Mapped[str | None] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(default=0)
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    """True if cancellation was requested."""
    worker_id: Mapped[str | None] = mapped_column(String(64))
    """Id of the server that runs it."""
    heartbeat_at: Mapped[datetime | None]
    """Time of that server's last heartbeat."""
    created_at: Mapped[datetime] = mapped_column(default=now, index=True)
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class JobFile(Base):
    """A file that a job needs until it ends."""

    __tablename__ = "job_files"

    job: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True, index=True)


class JobEvent(Base):
    """An event of a job; a client that reconnects resumes after the last id that it received."""

    __tablename__ = "job_events"
    __table_args__ = AUTOINCREMENT

    id: Mapped[int] = mapped_column(primary_key=True)
    job: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    at: Mapped[datetime] = mapped_column(default=now)
    data: Mapped[dict[str, Any]]


class StoredFile(Base):
    """A file of the file store; its row is written before the file, and deleted after it."""

    __tablename__ = "stored_files"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    kept_at: Mapped[datetime]
    """Time of the last upload of it."""


class EndedSession(Base):
    """A session that ended by logging out, kept for as long as its cookie would be valid."""

    __tablename__ = "ended_sessions"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    ended_at: Mapped[datetime]


FILE_REFERENCES = union_all(
    select(Recording.sha256.label("sha256")).where(Recording.error.is_(None)),
    select(LabeledRecording.sha256),
    select(Model.storage_key).where(Model.source == "retrained"),
    select(JobFile.sha256).join(Job, Job.id == JobFile.job).where(Job.status.in_(ACTIVE_STATUSES)),
).subquery("file_references")
"""Files of the store that something refers to, in a column `sha256`."""
