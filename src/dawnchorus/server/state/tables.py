"""The tables of the database. A change here needs a migration beside it (`migrations/versions`)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

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
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from dawnchorus.server.state.clock import now
from dawnchorus.types import ChannelSource

ACTIVE_STATUSES = ("queued", "running")


class UtcTime(TypeDecorator[datetime]):
    """A moment, kept in UTC by databases that know no time zones."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database."""
        del dialect
        if value is None:
            return None
        try:
            return value.astimezone(UTC).replace(tzinfo=None)
        except (OverflowError, ValueError):  # the first and the last day of all, in another zone
            return value.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From the database."""
        del dialect
        return None if value is None else value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    """Of all tables."""

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
    """A sound that is kept."""

    __tablename__ = "recordings"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
    """As its sender called it."""
    n_bytes: Mapped[int] = mapped_column(BigInteger)
    duration_s: Mapped[float | None]
    rate_hz: Mapped[int | None]
    recorded_at: Mapped[str | None] = mapped_column(String(40))
    """By the recorder's clock, ISO 8601."""
    latitude: Mapped[float | None]
    longitude: Mapped[float | None]
    added_at: Mapped[datetime] = mapped_column(default=now, index=True)


NEVER_AGAIN = {"sqlite_autoincrement": True}
"""Numbers of rows that were removed are not given to others."""


class Identification(Base):
    """A recording that was listened to; the sound itself is kept only where that was asked for."""

    __tablename__ = "identifications"
    __table_args__ = NEVER_AGAIN

    id: Mapped[int] = mapped_column(primary_key=True)
    recording: Mapped[str | None] = mapped_column(ForeignKey("recordings.sha256", ondelete="CASCADE"), index=True)
    at: Mapped[datetime] = mapped_column(default=now, index=True)
    bundle_id: Mapped[str] = mapped_column(String(12))
    duration_s: Mapped[float]
    species: Mapped[str | None] = mapped_column(String(255), index=True)
    """The common name of the best detection."""
    score: Mapped[float | None]


class DetectionRow(Base):
    """A species in a stretch of a kept recording."""

    __tablename__ = "detections"
    __table_args__ = NEVER_AGAIN

    id: Mapped[int] = mapped_column(primary_key=True)
    identification: Mapped[int] = mapped_column(ForeignKey("identifications.id", ondelete="CASCADE"), index=True)
    recording: Mapped[str] = mapped_column(ForeignKey("recordings.sha256", ondelete="CASCADE"), index=True)
    start_s: Mapped[float]
    end_s: Mapped[float]
    scientific_name: Mapped[str] = mapped_column(String(255), index=True)
    common_name: Mapped[str] = mapped_column(String(255))
    score: Mapped[float] = mapped_column(index=True)
    probability: Mapped[float | None]
    in_range: Mapped[bool | None]
    bundle_id: Mapped[str] = mapped_column(String(12))
    channel: Mapped[int | None]
    """Number of the channel, from 1; None where one signal was scored for all channels."""

    @property
    def source(self) -> ChannelSource:
        """Signal that the detection is in."""
        return "mean" if self.channel is None else self.channel


class Review(Base):
    """A person's review of a detection."""

    __tablename__ = "reviews"

    detection: Mapped[int] = mapped_column(ForeignKey("detections.id", ondelete="CASCADE"), primary_key=True)
    verdict: Mapped[str] = mapped_column(String(8))
    """"right", "wrong" or "other"."""
    scientific_name: Mapped[str | None] = mapped_column(String(255))
    """The right species, for "other"."""
    common_name: Mapped[str | None] = mapped_column(String(255))
    at: Mapped[datetime] = mapped_column(default=now)


class Lesson(Base):
    """A sound that a model is to learn from: a whole labelled recording, or a stretch that was reviewed."""

    __tablename__ = "lessons"
    __table_args__ = NEVER_AGAIN

    id: Mapped[int] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    name: Mapped[str] = mapped_column(String(255))
    n_bytes: Mapped[int] = mapped_column(BigInteger)
    duration_s: Mapped[float]
    rate_hz: Mapped[int]
    scientific_name: Mapped[str | None] = mapped_column(String(255), index=True)
    """None: a sound in which a species is not (`absent`), or none is."""
    common_name: Mapped[str | None] = mapped_column(String(255))
    absent: Mapped[str | None] = mapped_column(String(255))
    group: Mapped[str | None] = mapped_column("group_name", String(255))
    """Lessons of one group stay in one part of the split."""
    source: Mapped[str] = mapped_column(String(255))
    """Origin: the upload, or the review."""
    detection: Mapped[int | None] = mapped_column(unique=True)
    """Of the review; a later review of the same detection replaces it."""
    added_at: Mapped[datetime] = mapped_column(default=now)


class Part(Base):
    """The part of the split of a group of lessons.

    It stays the same even if its lessons are taken back and come again: later models are not trained on recordings that
    a model was tested on.
    """

    __tablename__ = "parts"

    group: Mapped[str] = mapped_column("group_name", String(255), primary_key=True)
    split: Mapped[str] = mapped_column(String(16))


class Model(Base):
    """A bundle that can be activated."""

    __tablename__ = "models"

    bundle_id: Mapped[str] = mapped_column(String(12), primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
    family: Mapped[str] = mapped_column(String(64))
    n_classes: Mapped[int]
    place: Mapped[str] = mapped_column(Text)
    """The bundle's folder: of a retrained one below the server's data folder, so that the folder can be moved."""
    origin: Mapped[str] = mapped_column(String(16))
    """"given" at the start of a server, or "retrained"."""
    job: Mapped[str | None] = mapped_column(String(32))
    report: Mapped[dict[str, Any] | None]
    """Report of its comparison with the active model."""
    added_at: Mapped[datetime] = mapped_column(default=now)


class Activation(Base):
    """A model's start of service; the last row is of the active one."""

    __tablename__ = "activations"

    id: Mapped[int] = mapped_column(primary_key=True)
    bundle_id: Mapped[str] = mapped_column(ForeignKey("models.bundle_id"))
    why: Mapped[str] = mapped_column(String(255))
    at: Mapped[datetime] = mapped_column(default=now)


class Job(Base):
    """Work that outlives its request, and its server."""

    __tablename__ = "jobs"
    __table_args__ = (
        # Of retrainings, one at a time, whichever server it is asked of.
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
    is_cancelled: Mapped[bool] = mapped_column(default=False)
    """Somebody asked for it to end."""
    owner: Mapped[str | None] = mapped_column(String(64))
    """The server that works on it."""
    seen_at: Mapped[datetime | None]
    """Time of the owner's last heartbeat."""
    created_at: Mapped[datetime] = mapped_column(default=now, index=True)
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class JobEvent(Base):
    """An event of a job; a listener that reconnects asks from its number on."""

    __tablename__ = "job_events"
    __table_args__ = NEVER_AGAIN

    id: Mapped[int] = mapped_column(primary_key=True)
    job: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    at: Mapped[datetime] = mapped_column(default=now)
    data: Mapped[dict[str, Any]]
