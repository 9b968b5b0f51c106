"""New column for the warnings of stored identifications."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Upgrade to this revision; the warnings of older identifications are not known."""
    op.add_column("identifications", sa.Column("warnings", sa.JSON(), nullable=False, server_default="[]"))


def downgrade() -> None:
    """Downgrade from this revision."""
    op.drop_column("identifications", "warnings")
