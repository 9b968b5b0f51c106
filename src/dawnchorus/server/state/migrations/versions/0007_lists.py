"""New columns, tables and indexes for the lists of recordings and detections."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_FILL = (
    "UPDATE recordings SET latest_identification = "
    "(SELECT max(id) FROM identifications WHERE identifications.recording = recordings.sha256)",
    "INSERT INTO recording_species SELECT d.recording, d.scientific_name, max(d.common_name), count(*), max(d.score), "
    "r.added_at FROM recordings r JOIN detections d ON d.identification = r.latest_identification "
    "GROUP BY d.recording, d.scientific_name, r.added_at",
    "INSERT INTO species SELECT DISTINCT scientific_name, common_name FROM detections",
    "UPDATE recordings SET "
    "n_detections = (SELECT coalesce(sum(n_detections), 0) FROM recording_species WHERE recording = sha256), "
    "best_score = (SELECT max(best_score) FROM recording_species WHERE recording = sha256)",
    "UPDATE reviews SET recording = (SELECT recording FROM detections WHERE detections.id = reviews.detection)",
)


def upgrade() -> None:
    """Add the columns, tables and indexes; the numbers that lists show are computed for existing recordings."""
    op.create_table(
        "recording_species",
        sa.Column("recording", sa.String(64), nullable=False),
        sa.Column("scientific_name", sa.String(255), nullable=False),
        sa.Column("common_name", sa.String(255), nullable=False),
        sa.Column("n_detections", sa.Integer(), nullable=False),
        sa.Column("best_score", sa.Double(), nullable=False),
        sa.Column("added_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["recording"], ["recordings.sha256"], name="fk_recording_species_recording", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("recording", "scientific_name", name="pk_recording_species"),
    )
    op.create_table(
        "species",
        sa.Column("scientific_name", sa.String(255), nullable=False),
        sa.Column("common_name", sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint("scientific_name", "common_name", name="pk_species"),
    )
    for column in (
        sa.Column("site", sa.String(255), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("latest_identification", sa.Integer(), nullable=True),
        sa.Column("n_detections", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("best_score", sa.Double(), nullable=True),
    ):
        op.add_column("recordings", column)
    op.add_column("reviews", sa.Column("recording", sa.String(64), nullable=False, server_default=""))
    op.drop_index("ix_detections_identification", "detections")
    op.create_index("ix_detections_identification", "detections", ["identification", "scientific_name"])
    for statement in _FILL:
        op.execute(statement)
    op.drop_index("ix_recordings_added_at", "recordings")
    op.create_index("ix_recordings_added_at", "recordings", ["added_at", "sha256"], unique=True)
    op.create_index("ix_recordings_site", "recordings", ["site"])
    op.create_index("ix_reviews_recording", "reviews", ["recording"])
    columns = ["scientific_name", "added_at", "recording"]
    op.create_index("ix_recording_species_scientific_name", "recording_species", columns, unique=True)


def downgrade() -> None:
    """Delete the columns, tables and indexes of revision 0007 with their values."""
    op.drop_index("ix_reviews_recording", "reviews")
    op.drop_column("reviews", "recording")
    op.drop_index("ix_recordings_site", "recordings")
    op.drop_index("ix_recordings_added_at", "recordings")
    for name in ("site", "error", "latest_identification", "n_detections", "best_score"):
        op.drop_column("recordings", name)
    op.create_index("ix_recordings_added_at", "recordings", ["added_at"])
    op.drop_index("ix_detections_identification", "detections")
    op.create_index("ix_detections_identification", "detections", ["identification"])
    op.drop_table("species")
    op.drop_table("recording_species")
