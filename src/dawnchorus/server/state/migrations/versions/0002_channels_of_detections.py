"""New column for the channel of a detection."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column `channel` to the table `detections`; NULL in existing rows."""
    op.add_column("detections", sa.Column("channel", sa.Integer(), nullable=True))


def downgrade() -> None:
    """Delete the column `channel` with its values."""
    op.drop_column("detections", "channel")
