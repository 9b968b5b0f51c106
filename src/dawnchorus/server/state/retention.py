"""Files that the store must have: sounds that are kept, learned from or listened to later, and models."""

from __future__ import annotations

from sqlalchemy import and_, exists, select
from sqlalchemy.orm import Session

from dawnchorus.server.state.blobs import FileStore
from dawnchorus.server.state.database import Database
from dawnchorus.server.state.tables import ACTIVE_STATUSES, Job, Lesson, Model, Recording

_WAITING = and_(Job.status.in_(ACTIVE_STATUSES), Job.kind == "identify")


def needed_files(session: Session) -> set[str]:
    """Return the sha256 of all of them."""
    found: set[str] = set()
    for column in (Recording.sha256, Lesson.sha256, Model.place):
        found.update(session.scalars(select(column)))
    return found | {str(parameters["sha256"]) for parameters in session.scalars(select(Job.parameters).where(_WAITING))}


def is_needed(session: Session, sha256: str) -> bool:
    """Return True if a file is one of them."""
    waits = and_(_WAITING, Job.parameters["sha256"].as_string() == sha256)
    reasons = (Recording.sha256 == sha256, Lesson.sha256 == sha256, Model.place == sha256, waits)
    return any(session.scalar(select(exists().where(reason))) for reason in reasons)


def drop_unneeded(database: Database, files: FileStore, sha256: str) -> None:
    """Remove a file that nothing needs; who puts the same at this moment sees that it is gone, and puts it again."""
    with database.write(about=sha256) as session:
        if not is_needed(session, sha256):
            files.drop(sha256)
