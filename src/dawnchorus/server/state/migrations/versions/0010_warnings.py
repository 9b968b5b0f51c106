"""New column for the warnings of stored identifications."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the column `warnings` to the table `identifications`; an empty list in existing rows."""
    op.add_column("identifications", sa.Column("warnings", sa.JSON(), nullable=False, server_default="[]"))


def downgrade() -> None:
    """Delete the column `warnings` with its values."""
    op.drop_column("identifications", "warnings")
