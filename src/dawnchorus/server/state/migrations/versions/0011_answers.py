"""New table of reviewers' answers, which can be undone, and new columns for the species of relabeled detections."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

_UPGRADE = (
    "INSERT INTO review_answers (detection, verdict, scientific_name, common_name, is_undone, at) "
    "SELECT detection, verdict, scientific_name, common_name, {false}, at FROM reviews ORDER BY at, detection",
    "UPDATE reviews SET answer = (SELECT id FROM review_answers WHERE review_answers.detection = reviews.detection)",
    "UPDATE detections SET verdict = (SELECT verdict FROM reviews WHERE reviews.detection = detections.id) "
    "WHERE id IN (SELECT detection FROM reviews)",
    "UPDATE detections SET model_scientific_name = scientific_name, model_common_name = common_name, "
    "scientific_name = (SELECT scientific_name FROM reviews WHERE reviews.detection = detections.id), "
    "common_name = (SELECT common_name FROM reviews WHERE reviews.detection = detections.id) "
    "WHERE id IN (SELECT detection FROM reviews WHERE verdict = 'relabeled' "
    "AND scientific_name IS NOT NULL AND common_name IS NOT NULL)",
    "INSERT INTO species SELECT DISTINCT scientific_name, common_name FROM detections "
    "WHERE model_scientific_name IS NOT NULL AND NOT EXISTS (SELECT 1 FROM species WHERE "
    "species.scientific_name = detections.scientific_name AND species.common_name = detections.common_name)",
)

_DOWNGRADE = (
    "UPDATE detections SET scientific_name = model_scientific_name, common_name = model_common_name "
    "WHERE model_scientific_name IS NOT NULL",
    "DELETE FROM labeled_recordings WHERE detection IN "
    "(SELECT detection FROM reviews WHERE verdict IN ('several', 'unsure', 'none'))",
    "DELETE FROM reviews WHERE verdict IN ('several', 'unsure', 'none')",
)

_COUNT = (
    "DELETE FROM recording_species WHERE recording IN (SELECT recording FROM reviews)",
    "INSERT INTO recording_species SELECT d.recording, d.scientific_name, max(d.common_name), {n}, {best}, r.added_at "
    "FROM recordings r JOIN detections d ON d.identification = r.latest_identification "
    "WHERE r.sha256 IN (SELECT recording FROM reviews) GROUP BY d.recording, d.scientific_name, r.added_at",
)
"""SQL statements that compute the species counts of recordings with reviews again."""

_IS_COUNTED = "d.verdict IS NULL OR d.verdict NOT IN ('incorrect', 'none')"


def upgrade() -> None:
    """Create the table `review_answers`, and add the new columns to the tables `reviews` and `detections`.

    Each existing review becomes an answer. Detections get the verdict of their review, and relabeled detections the
    reviewer's species; the species counts of their recordings are computed again.
    """
    op.create_table(
        "review_answers",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("detection", sa.Integer(), nullable=False),
        sa.Column("reviewer", sa.String(32), nullable=True),
        sa.Column("verdict", sa.String(16), nullable=True),
        sa.Column("scientific_name", sa.String(255), nullable=True),
        sa.Column("common_name", sa.String(255), nullable=True),
        sa.Column("previous", sa.Integer(), nullable=True),
        sa.Column("is_undone", sa.Boolean(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["detection"], ["detections.id"], name="fk_review_answers_detection", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_review_answers"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_review_answers_detection", "review_answers", ["detection"])
    op.create_index("ix_review_answers_reviewer", "review_answers", ["reviewer", "id"])
    op.add_column("reviews", sa.Column("answer", sa.Integer(), nullable=True))
    for column in (
        sa.Column("verdict", sa.String(16), nullable=True),
        sa.Column("model_scientific_name", sa.String(255), nullable=True),
        sa.Column("model_common_name", sa.String(255), nullable=True),
    ):
        op.add_column("detections", column)
    false = "0" if op.get_bind().dialect.name == "sqlite" else "false"
    for statement in _UPGRADE:
        op.execute(statement.format(false=false))
    _count_species(
        n=f"count(CASE WHEN {_IS_COUNTED} THEN 1 END)",
        best=f"coalesce(max(CASE WHEN {_IS_COUNTED} THEN d.score END), 0.0)",
    )


def downgrade() -> None:
    """Delete the table and the columns of revision 0011; relabeled detections get the species of the model again.

    Reviews with the verdicts "several", "unsure" and "none", which revision 0010 lacks, are deleted with their clips in
    the training data.
    """
    op.execute(_DOWNGRADE[0])
    _count_species(n="count(*)", best="max(d.score)")
    for statement in _DOWNGRADE[1:]:
        op.execute(statement)
    for name in ("model_common_name", "model_scientific_name", "verdict"):
        op.drop_column("detections", name)
    op.drop_column("reviews", "answer")
    op.drop_table("review_answers")


def _count_species(*, n: str, best: str) -> None:
    for statement in _COUNT:
        op.execute(statement.format(n=n, best=best))
