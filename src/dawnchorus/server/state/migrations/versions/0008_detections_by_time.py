"""New index for the detections of a recording in a range of time."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create the index `ix_detections_start_s`."""
    op.create_index("ix_detections_start_s", "detections", ["identification", "start_s", "end_s"])


def downgrade() -> None:
    """Delete the index `ix_detections_start_s`."""
    op.drop_index("ix_detections_start_s", "detections")
