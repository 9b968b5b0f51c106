"""Store of identifications: totals of all identifications, and audio and detections of stored recordings.

An *identification* is the result of a model for a recording. The audio and the detections are stored only if the client
asks for it; without that, an identification is one row with its best detection, for the totals.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from array import array
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import delete, exists, func, insert, select, update
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from dawnchorus.errors import NotFoundError
from dawnchorus.formats.detection_columns import DetectionColumns
from dawnchorus.identification.options import Options, option_specs
from dawnchorus.identification.result import build_provenance, has_range
from dawnchorus.limits import Limits
from dawnchorus.server.detection_counts import CountChange, Counts, add_counts, count_unstored
from dawnchorus.server.detection_reviews import copy_reviews, count_species
from dawnchorus.server.listing import DetectionRecord, read_detections
from dawnchorus.server.recording_values import RecordingValues
from dawnchorus.server.state.blobs import BlobStore
from dawnchorus.server.state.clock import now
from dawnchorus.server.state.database import Database, lock
from dawnchorus.server.state.file_names import find_site
from dawnchorus.server.state.tables import DetectionRow, Identification, LabeledRecording, Recording
from dawnchorus.server.work import IdentifyResult
from dawnchorus.types import ChannelSource, Detection

LOG = logging.getLogger(__name__)

INSERT_ROWS = 1000
"""Maximum number of rows in one INSERT statement."""

N_TOP = 10
"""Number of most frequent species in the totals."""

MAX_PENDING = 100_000
"""Maximum number of identifications in memory while the database cannot be written; the oldest are dropped."""

UNAVAILABLE = (OperationalError, InterfaceError, PoolTimeout)
"""Errors of a database that cannot be reached, is locked or is full; the same statement may succeed later."""


@dataclass(frozen=True)
class StoredResult:
    """Outcome of storing an identification."""

    sha256: str
    """Hash of the audio, the id of the recording."""
    warnings: tuple[str, ...]
    """Warnings of the identification, and one more if the stored name, start time, location or site was replaced."""


class DetectionStore:
    """Thread-safe store of recordings, detections and totals, shared by all servers of the database.

    Args:
        database: database with the recordings, identifications and detections.
        files: store of the audio files.
        limits: limits of the server, of which `page_rows` is used.
    """

    def __init__(self, database: Database, files: BlobStore, limits: Limits) -> None:
        self._database, self._files, self._limits = database, files, limits
        self._pending: list[dict[str, Any]] = []
        """Rows of `Identification` that `flush` writes; `add_to_totals` appends to it from any thread."""
        self._flushing = threading.Lock()

    # ------------------------------------------------------------------ writing

    def add_to_totals(self, result: IdentifyResult, best: Detection | None) -> None:
        """Add an identification to the totals without storing audio and detections; the next `flush` writes the row.

        Args:
            result: the identification.
            best: detection with the highest score; None if there are no detections.
        """
        self._pending.append(_identification_values(result, best, recording=None))

    def flush(self) -> None:
        """Write the identifications that `add_to_totals` added since the last call, in one transaction.

        If the database is not available, the latest `MAX_PENDING` of the identifications stay for the next call. After
        another error of the database, which is logged, the identifications are dropped.

        Raises:
            SQLAlchemyError: the database is not available (one of `UNAVAILABLE`); the next call tries again.
        """
        with self._flushing:
            rows = list(self._pending)
            if not rows:
                return
            try:
                with self._database.write() as session:
                    session.execute(insert(Identification), rows)
                    add_counts(session, _count_unstored(rows))
            except UNAVAILABLE:
                del self._pending[:-MAX_PENDING]
                raise
            except SQLAlchemyError:
                LOG.exception("%d identifications cannot be counted", len(rows))
            del self._pending[: len(rows)]

    def close(self) -> None:
        """Flush; if the database is not available, log as an error how many identifications are lost."""
        try:
            self.flush()
        except UNAVAILABLE as error:
            LOG.error("%d identifications are not counted: %s", len(self._pending), type(error).__name__)

    def store(
        self, result: IdentifyResult, path: Path, *, name: str, options: Options, site: str | None = None
    ) -> StoredResult:
        """Store the audio of a recording and its detections; both are on disk when the function returns.

        If the same audio is stored already, its name, start time, location and site are replaced by those given here
        that are known (`RecordingValues.update`), and the new detections become its latest ones; the earlier ones stay.
        A recording that could not be identified before becomes an identified one.

        Args:
            result: the identification.
            path: audio file, which is copied.
            name: client's name of the file.
            options: options of the identification.
            site: site of the recording; None for the part of `name` before the time, such as SITE7 in
                "SITE7_20260512_040000.wav", if there is one.

        Raises:
            OutputError: the audio cannot be stored: no space, or no permission.
        """
        table, warnings = result.table, result.warnings
        detections = DetectionColumns.from_detections(table.detections)
        values = RecordingValues(name, table.metadata, site)
        with self._files.keep(path) as (session, sha256):
            change = CountChange(session, [sha256])
            recording = session.get(Recording, sha256, with_for_update=True)
            if recording is None or recording.error is not None:
                recording = session.merge(
                    Recording(
                        sha256=sha256,
                        n_bytes=path.stat().st_size,
                        duration_s=table.duration_s,
                        rate_hz=table.rate_hz,
                        error=None,
                        **values.columns,
                    )
                )
                session.flush()
            elif (replaced := values.update(recording)) is not None:
                warnings = (*warnings, replaced)
            best = detections[int(detections.column("score").argmax())] if detections else None
            identification = Identification(
                **_identification_values(result, best, recording=sha256),
                provenance=asdict(build_provenance(result.bundle, options, range_filter=has_range(detections))),
                latitude=table.metadata.latitude,
                longitude=table.metadata.longitude,
                week=table.week,
                warnings=list(warnings),
            )
            session.add(identification)
            session.flush()
            owners = {"identification": identification.id, "recording": sha256, "bundle_id": result.bundle.id}
            inserted = [row | owners for row in detections.to_dicts()]
            for k in range(0, len(inserted), INSERT_ROWS):
                session.execute(insert(DetectionRow), inserted[k : k + INSERT_ROWS])
            recording.latest_identification = identification.id
            recording.n_detections, recording.best_score = len(detections), None if best is None else best.score
            copy_reviews(session, sha256, identification.id)
            count_species(session, recording)
            change.write()
        return StoredResult(sha256, warnings)

    def store_failure(self, path: Path, *, name: str, reason: str, site: str | None = None) -> None:
        """Add a recording that cannot be identified to the list of recordings, without its audio.

        If the same audio was identified before, nothing changes; if it failed before, its name, site and reason are
        replaced.

        Args:
            path: audio file, whose SHA-256 becomes the id of the recording.
            name: client's name of the file.
            reason: reason why the recording cannot be identified.
            site: site of the recording; None for the part of `name` before the time, such as SITE7 in
                "SITE7_20260512_040000.wav", if there is one.
        """
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        with self._database.write() as session:
            lock(session, sha256)
            change = CountChange(session, [sha256])
            known = session.get(Recording, sha256)
            if known is None:
                n_bytes = path.stat().st_size
                session.add(
                    Recording(sha256=sha256, name=name, n_bytes=n_bytes, site=site or find_site(name), error=reason)
                )
            elif known.error is not None:
                known.name, known.site, known.error = name, site or find_site(name), reason
            change.write()

    def delete(self, sha256: str) -> None:
        """Delete a recording with its detections and reviews; see `delete_all`.

        Raises:
            NotFoundError: there is no such recording.
        """
        if not self.delete_all([sha256]):
            raise NotFoundError(f"there is no recording {sha256[:64]}.")

    def delete_all(self, sha256s: Collection[str]) -> list[str]:
        """Delete recordings with their detections and reviews in one transaction.

        Clips of the recordings that became training data stay. Audio files are deleted after the transaction, unless
        training data or a job needs them. Unknown hashes are ignored.

        Args:
            sha256s: SHA-256 hashes of the recordings.

        Returns:
            Hashes of the deleted recordings, sorted.
        """
        with self._database.write() as session:
            listed = select(Recording.sha256).where(Recording.sha256.in_(sha256s)).order_by(Recording.sha256)
            known = list(session.scalars(listed.with_for_update()))
            change = CountChange(session, known)
            ids = select(DetectionRow.id).where(DetectionRow.recording.in_(known))
            session.execute(update(LabeledRecording).where(LabeledRecording.detection.in_(ids)).values(detection=None))
            session.execute(delete(Recording).where(Recording.sha256.in_(known)))
            change.write()
        for sha256 in known:  # after the commit, so that no row lacks its file
            self._files.delete_unused(sha256)
        return known

    # ------------------------------------------------------------------ reading

    def count_recordings(self) -> int:
        """Return the number of listed recordings, including recordings that could not be identified."""
        with self._database.read() as session:
            return session.scalar(select(func.count()).select_from(Recording)) or 0

    def latest_recordings(self, *, limit: int) -> list[Recording]:
        """Return at most `limit` identified recordings, by the time of their first upload, the latest first."""
        latest = (
            select(Recording).where(Recording.error.is_(None)).order_by(Recording.added_at.desc(), Recording.sha256)
        )
        with self._database.read() as session:
            return list(session.scalars(latest.limit(limit)))

    def get_recording(self, sha256: str) -> Recording:
        """Return the recording with this hash, also if it could not be identified.

        Raises:
            NotFoundError: there is no such recording.
        """
        with self._database.read() as session:
            return _get_recording(session, sha256)

    def get(self, detection_id: int) -> tuple[DetectionRow, ChannelSource]:
        """Return the detection with this id, and the channel of the recording that was scored (`scored_channel`).

        Raises:
            NotFoundError: there is no detection with this id.
        """
        with self._database.read() as session:
            row = session.get(DetectionRow, detection_id)
            if row is None:
                raise NotFoundError(f"there is no detection {detection_id}.")
            return row, scored_channel(session, row)

    def latest_identification(self, sha256: str) -> Identification:
        """Return the latest identification of a stored recording.

        Raises:
            NotFoundError: there is no such recording, or it was never identified.
        """
        query = select(Identification).where(Identification.recording == sha256).order_by(Identification.id.desc())
        with self._database.read() as session:
            identification = session.scalars(query.limit(1)).first()
        if identification is None:
            raise NotFoundError(f"there is no recording {sha256[:64]}.")
        return identification

    def is_reviewed(self, identification: int) -> bool:
        """Return True if people reviewed at least one detection of the identification with this id."""
        is_reviewed = exists().where(DetectionRow.identification == identification, DetectionRow.verdict.is_not(None))
        with self._database.read() as session:
            return bool(session.scalar(select(is_reviewed)))

    def latest_options(self, sha256: str) -> Options:
        """Return the options of a recording's latest identification.

        For an identification from before revision 0004 of the database schema, only location and week are known;
        `merge` is True, and the other options have their defaults.

        Raises:
            NotFoundError: there is no such recording, or it was never identified.
        """
        run = self.latest_identification(sha256)
        if run.provenance is None:
            return Options(merge=True, latitude=run.latitude, longitude=run.longitude, week=run.week)
        stored = run.provenance["parameters"]
        return Options.from_fields({name: stored[name] for name in option_specs() if name in stored})

    def iterate_pages(self, sha256: str, *, limit: int) -> Iterator[list[DetectionRecord]]:
        """Yield the detections of a recording's latest identification in lists of at most `Limits.page_rows`, lazily.

        The detections are ordered by start, then by falling score, and include rejected ones.

        Args:
            sha256: hash of the recording; nothing is yielded if there is no such recording.
            limit: maximum number of detections in all lists together.
        """
        latest = select(Recording.latest_identification).where(Recording.sha256 == sha256).scalar_subquery()
        query = (
            select(DetectionRow.id)
            .where(DetectionRow.identification == latest)
            .order_by(DetectionRow.start_s, DetectionRow.score.desc(), DetectionRow.id)
        )
        with self._database.read() as session:
            ids = array("q", session.scalars(query.limit(limit)))
        page_rows = self._limits.page_rows
        for k in range(0, len(ids), page_rows):
            with self._database.read() as session:
                page = read_detections(session, ids[k : k + page_rows])
            yield page

    def totals(self) -> dict[str, Any]:
        """Return totals of the identifications by all servers of the database, as JSON fields.

        Returns:
            `total_predictions` (number of identifications), `average_confidence` (mean of the highest score of each
            identification with a detection, None without any), `sound_seconds` (length of the audio in seconds),
            `species_distribution` (number of identifications by common name of the highest-scoring detection, the
            `N_TOP` most frequent), and `latest` (the last 50 identifications with a detection, the newest first, each
            with `species`, `confidence`, `timestamp` in ISO 8601, and `bundle_id` of the model).
        """
        with suppress(*UNAVAILABLE):  # the next flush repeats it
            self.flush()
        has_species = Identification.species.is_not(None)
        with self._database.read() as session:
            n, mean, audio_s = session.execute(
                select(func.count(), func.avg(Identification.score), func.sum(Identification.duration_s))
            ).one()
            top = session.execute(
                select(Identification.species, func.count())
                .where(has_species)
                .group_by(Identification.species)
                .order_by(func.count().desc(), Identification.species)
                .limit(N_TOP)
            )
            latest = session.scalars(
                select(Identification).where(has_species).order_by(Identification.id.desc()).limit(50)
            )
            return {
                "total_predictions": n,
                "average_confidence": mean,
                "sound_seconds": audio_s or 0.0,
                "species_distribution": {row[0]: row[1] for row in top},
                "latest": [
                    {
                        "species": row.species,
                        "confidence": row.score,
                        "timestamp": row.at.isoformat(timespec="milliseconds"),
                        "bundle_id": row.bundle_id,
                    }
                    for row in latest
                ],
            }


def scored_channel(session: Session, row: DetectionRow) -> ChannelSource:
    """Return the channel that was scored for a detection: its number, from 1, or the identification's `channel` option.

    If the option is not known, "mean" is returned.
    """
    if row.channel is not None:
        return row.channel
    run = session.get_one(Identification, row.identification)
    channel: ChannelSource = (run.provenance or {}).get("parameters", {}).get("channel", "mean")
    return channel


def _get_recording(session: Session, sha256: str, *, for_update: bool = False) -> Recording:
    row = session.get(Recording, sha256, with_for_update=for_update)
    if row is None:
        raise NotFoundError(f"there is no recording {sha256[:64]}.")
    return row


def _identification_values(result: IdentifyResult, best: Detection | None, *, recording: str | None) -> dict[str, Any]:
    return {
        "recording": recording,
        "at": now(),
        "bundle_id": result.bundle.id,
        "duration_s": result.table.duration_s,
        "species": None if best is None else best.common_name,
        "score": None if best is None else best.score,
        "scientific_name": None if best is None else best.scientific_name,
    }


def _count_unstored(rows: Sequence[dict[str, Any]]) -> Counts:
    """Return the counts of `rows`, which are values of new identifications without a stored recording."""
    detected = (row for row in rows if row["scientific_name"] is not None)
    return count_unstored((row["scientific_name"], row["species"], row["score"]) for row in detected)
