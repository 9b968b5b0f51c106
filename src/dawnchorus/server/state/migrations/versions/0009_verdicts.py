"""New values of verdicts, and a new name of the column for the reason of an activation."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

VERDICTS = {"right": "correct", "wrong": "incorrect", "other": "relabeled"}


def upgrade() -> None:
    """Rename the verdicts right, wrong and other to correct, incorrect and relabeled, and the column `why` to `reason`.

    The column is in the table `model_activations`.
    """
    _set_verdict_length(16, was=8)
    _rename_verdicts(VERDICTS)
    op.execute("ALTER TABLE model_activations RENAME COLUMN why TO reason")


def downgrade() -> None:
    """Rename the verdicts and the column back to those of revision 0008."""
    op.execute("ALTER TABLE model_activations RENAME COLUMN reason TO why")
    _rename_verdicts({new: old for old, new in VERDICTS.items()})
    _set_verdict_length(8, was=16)


def _set_verdict_length(length: int, *, was: int) -> None:
    with op.batch_alter_table("reviews") as reviews:
        reviews.alter_column("verdict", existing_type=sa.String(was), type_=sa.String(length), existing_nullable=False)


def _rename_verdicts(names: dict[str, str]) -> None:
    reviews = sa.table("reviews", sa.column("verdict"))
    for old, new in names.items():
        op.execute(reviews.update().where(reviews.c.verdict == old).values(verdict=new))
