"""New columns for all values of detections, and for provenance, location and week of identifications."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the new columns to the tables `detections` and `identifications`.

    Existing identifications get the latitude and longitude of their recordings; the other columns have their defaults.
    """
    op.add_column("detections", sa.Column("kind", sa.String(length=16), nullable=False, server_default="species"))
    op.add_column("detections", sa.Column("human_voice", sa.Boolean(), nullable=True))
    op.add_column("detections", sa.Column("low_hz", sa.Double(), nullable=True))
    op.add_column("detections", sa.Column("high_hz", sa.Double(), nullable=True))
    op.add_column("identifications", sa.Column("provenance", sa.JSON(), nullable=True))
    op.add_column("identifications", sa.Column("latitude", sa.Double(), nullable=True))
    op.add_column("identifications", sa.Column("longitude", sa.Double(), nullable=True))
    op.add_column("identifications", sa.Column("week", sa.Integer(), nullable=True))
    for name in ("latitude", "longitude"):
        op.execute(
            f"UPDATE identifications SET {name} = "  # noqa: S608 - our names
            f"(SELECT {name} FROM recordings WHERE recordings.sha256 = identifications.recording)"
        )


def downgrade() -> None:
    """Delete the columns of revision 0004 with their values."""
    for name in ("kind", "human_voice", "low_hz", "high_hz"):
        op.drop_column("detections", name)
    for name in ("provenance", "latitude", "longitude", "week"):
        op.drop_column("identifications", name)
