"""New tables of the files in the file store, and of the files that jobs need."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_JOBS = sa.table("jobs", sa.column("id"), sa.column("kind"), sa.column("status"), sa.column("parameters", sa.JSON()))


def upgrade() -> None:
    """Create the tables `stored_files` and `job_files`, with rows for the files that the database refers to.

    `stored_files` gets the files of recordings, training data, retrained models, and queued or running jobs;
    `job_files` gets the files that these jobs need.
    """
    job_files = op.create_table(
        "job_files",
        sa.Column("job", sa.String(32), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name="fk_job_files_job", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job", "sha256", name="pk_job_files"),
    )
    op.create_index("ix_job_files_sha256", "job_files", ["sha256"])
    op.create_table(
        "stored_files",
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("kept_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_stored_files"),
    )
    connection = op.get_bind()
    active = sa.select(_JOBS).where(_JOBS.c.status.in_(("queued", "running")))
    for job in connection.execute(active).all():
        if job.kind == "identify":
            connection.execute(sa.insert(job_files).values(job=job.id, sha256=job.parameters["sha256"]))
        else:
            needed = sa.text("INSERT INTO job_files SELECT DISTINCT :job, sha256 FROM labeled_recordings")
            connection.execute(needed.bindparams(job=job.id))
    kept = sa.text(
        "INSERT INTO stored_files SELECT sha256, :kept_at FROM (SELECT sha256 FROM recordings "
        "UNION SELECT sha256 FROM labeled_recordings UNION SELECT sha256 FROM job_files "
        "UNION SELECT storage_key FROM models WHERE source = 'retrained') AS needed"
    )
    kept_at = sa.bindparam("kept_at", datetime.now(UTC).replace(tzinfo=None), sa.DateTime())
    connection.execute(kept.bindparams(kept_at))


def downgrade() -> None:
    """Delete the tables `stored_files` and `job_files` with their rows; the files themselves stay."""
    op.drop_table("stored_files")
    op.drop_table("job_files")
