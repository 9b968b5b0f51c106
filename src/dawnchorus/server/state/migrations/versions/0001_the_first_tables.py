"""First tables: jobs, recordings, detections, reviews, training data and models."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables of revision 0001 in an empty database."""
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("stage", sa.String(length=64), nullable=False),
        sa.Column("progress", sa.Double(), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("is_cancelled", sa.Boolean(), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=True),
        sa.Column("seen_at", sa.DateTime(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=True),
        sa.Column("ended_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_jobs_created_at"), ["created_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_jobs_kind"), ["kind"], unique=False)
        batch_op.create_index(batch_op.f("ix_jobs_status"), ["status"], unique=False)
        batch_op.create_index(
            "uq_jobs_one_retraining",
            ["kind"],
            unique=True,
            sqlite_where=sa.text("kind = 'retrain' AND status IN ('queued', 'running')"),
            postgresql_where=sa.text("kind = 'retrain' AND status IN ('queued', 'running')"),
        )

    op.create_table(
        "lessons",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("n_bytes", sa.BigInteger(), nullable=False),
        sa.Column("duration_s", sa.Double(), nullable=False),
        sa.Column("rate_hz", sa.Integer(), nullable=False),
        sa.Column("scientific_name", sa.String(length=255), nullable=True),
        sa.Column("common_name", sa.String(length=255), nullable=True),
        sa.Column("absent", sa.String(length=255), nullable=True),
        sa.Column("group_name", sa.String(length=255), nullable=True),
        sa.Column("source", sa.String(length=255), nullable=False),
        sa.Column("detection", sa.Integer(), nullable=True),
        sa.Column("added_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lessons")),
        sa.UniqueConstraint("detection", name=op.f("uq_lessons_detection")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("lessons", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_lessons_scientific_name"), ["scientific_name"], unique=False)
        batch_op.create_index(batch_op.f("ix_lessons_sha256"), ["sha256"], unique=False)

    op.create_table(
        "models",
        sa.Column("bundle_id", sa.String(length=12), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("family", sa.String(length=64), nullable=False),
        sa.Column("n_classes", sa.Integer(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("origin", sa.String(length=16), nullable=False),
        sa.Column("job", sa.String(length=32), nullable=True),
        sa.Column("report", sa.JSON(), nullable=True),
        sa.Column("added_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("bundle_id", name=op.f("pk_models")),
    )
    op.create_table(
        "parts",
        sa.Column("group_name", sa.String(length=255), nullable=False),
        sa.Column("split", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("group_name", name=op.f("pk_parts")),
    )
    op.create_table(
        "recordings",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("n_bytes", sa.BigInteger(), nullable=False),
        sa.Column("duration_s", sa.Double(), nullable=True),
        sa.Column("rate_hz", sa.Integer(), nullable=True),
        sa.Column("recorded_at", sa.String(length=40), nullable=True),
        sa.Column("latitude", sa.Double(), nullable=True),
        sa.Column("longitude", sa.Double(), nullable=True),
        sa.Column("added_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_recordings")),
    )
    with op.batch_alter_table("recordings", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_recordings_added_at"), ["added_at"], unique=False)

    op.create_table(
        "activations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("bundle_id", sa.String(length=12), nullable=False),
        sa.Column("why", sa.String(length=255), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["bundle_id"], ["models.bundle_id"], name=op.f("fk_activations_bundle_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_activations")),
    )
    op.create_table(
        "identifications",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("recording", sa.String(length=64), nullable=True),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("bundle_id", sa.String(length=12), nullable=False),
        sa.Column("duration_s", sa.Double(), nullable=False),
        sa.Column("species", sa.String(length=255), nullable=True),
        sa.Column("score", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["recording"], ["recordings.sha256"], name=op.f("fk_identifications_recording"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identifications")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("identifications", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_identifications_at"), ["at"], unique=False)
        batch_op.create_index(batch_op.f("ix_identifications_recording"), ["recording"], unique=False)
        batch_op.create_index(batch_op.f("ix_identifications_species"), ["species"], unique=False)

    op.create_table(
        "job_events",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("job", sa.String(length=32), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name=op.f("fk_job_events_job"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_events")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("job_events", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_job_events_job"), ["job"], unique=False)

    op.create_table(
        "detections",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("identification", sa.Integer(), nullable=False),
        sa.Column("recording", sa.String(length=64), nullable=False),
        sa.Column("start_s", sa.Double(), nullable=False),
        sa.Column("end_s", sa.Double(), nullable=False),
        sa.Column("scientific_name", sa.String(length=255), nullable=False),
        sa.Column("common_name", sa.String(length=255), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("probability", sa.Double(), nullable=True),
        sa.Column("in_range", sa.Boolean(), nullable=True),
        sa.Column("bundle_id", sa.String(length=12), nullable=False),
        sa.ForeignKeyConstraint(
            ["identification"], ["identifications.id"], name=op.f("fk_detections_identification"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["recording"], ["recordings.sha256"], name=op.f("fk_detections_recording"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_detections")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("detections", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_detections_identification"), ["identification"], unique=False)
        batch_op.create_index(batch_op.f("ix_detections_recording"), ["recording"], unique=False)
        batch_op.create_index(batch_op.f("ix_detections_scientific_name"), ["scientific_name"], unique=False)
        batch_op.create_index(batch_op.f("ix_detections_score"), ["score"], unique=False)

    op.create_table(
        "reviews",
        sa.Column("detection", sa.Integer(), nullable=False),
        sa.Column("verdict", sa.String(length=8), nullable=False),
        sa.Column("scientific_name", sa.String(length=255), nullable=True),
        sa.Column("common_name", sa.String(length=255), nullable=True),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["detection"], ["detections.id"], name=op.f("fk_reviews_detection"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("detection", name=op.f("pk_reviews")),
    )


def downgrade() -> None:
    """Delete all tables with their data."""
    op.drop_table("reviews")
    with op.batch_alter_table("detections", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_detections_score"))
        batch_op.drop_index(batch_op.f("ix_detections_scientific_name"))
        batch_op.drop_index(batch_op.f("ix_detections_recording"))
        batch_op.drop_index(batch_op.f("ix_detections_identification"))

    op.drop_table("detections")
    with op.batch_alter_table("job_events", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_job_events_job"))

    op.drop_table("job_events")
    with op.batch_alter_table("identifications", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_identifications_species"))
        batch_op.drop_index(batch_op.f("ix_identifications_recording"))
        batch_op.drop_index(batch_op.f("ix_identifications_at"))

    op.drop_table("identifications")
    op.drop_table("activations")
    with op.batch_alter_table("recordings", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_recordings_added_at"))

    op.drop_table("recordings")
    op.drop_table("parts")
    op.drop_table("models")
    with op.batch_alter_table("lessons", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_lessons_sha256"))
        batch_op.drop_index(batch_op.f("ix_lessons_scientific_name"))

    op.drop_table("lessons")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_jobs_one_retraining",
            sqlite_where=sa.text("kind = 'retrain' AND status IN ('queued', 'running')"),
            postgresql_where=sa.text("kind = 'retrain' AND status IN ('queued', 'running')"),
        )
        batch_op.drop_index(batch_op.f("ix_jobs_status"))
        batch_op.drop_index(batch_op.f("ix_jobs_kind"))
        batch_op.drop_index(batch_op.f("ix_jobs_created_at"))

    op.drop_table("jobs")
