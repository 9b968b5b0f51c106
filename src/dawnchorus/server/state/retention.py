"""References to stored files from recordings, training data, queued jobs and models."""

from __future__ import annotations

from sqlalchemy import and_, exists, select
from sqlalchemy.orm import Session

from dawnchorus.server.state.blobs import BlobStore
from dawnchorus.server.state.database import Database
from dawnchorus.server.state.tables import ACTIVE_STATUSES, Job, LabeledRecording, Model, Recording

_ACTIVE_IDENTIFY = and_(Job.status.in_(ACTIVE_STATUSES), Job.kind == "identify")


def referenced_files(session: Session) -> set[str]:
    """Return the sha256 of all referenced files."""
    sha256s = {
        str(parameters["sha256"]) for parameters in session.scalars(select(Job.parameters).where(_ACTIVE_IDENTIFY))
    }
    for column in (Recording.sha256, LabeledRecording.sha256, Model.storage_key):
        sha256s.update(session.scalars(select(column)))
    return sha256s


def is_referenced(session: Session, sha256: str) -> bool:
    """Return True if a file is referenced."""
    is_job_input = and_(_ACTIVE_IDENTIFY, Job.parameters["sha256"].as_string() == sha256)
    references = (
        Recording.sha256 == sha256,
        LabeledRecording.sha256 == sha256,
        Model.storage_key == sha256,
        is_job_input,
    )
    return any(session.scalar(select(exists().where(reference))) for reference in references)


def delete_if_unreferenced(database: Database, files: BlobStore, sha256: str) -> None:
    """Delete a file without references; a concurrent `put` of the same file is repeated by its `ensure`."""
    with database.write(lock_key=sha256) as session:
        if not is_referenced(session, sha256):
            files.delete(sha256)
