"""New names of tables, columns and JSON fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

COLUMNS = {
    "models": {"place": "storage_key", "origin": "source"},
    "jobs": {"is_cancelled": "cancel_requested", "owner": "worker_id", "seen_at": "heartbeat_at"},
}

FIELDS = {
    "by_hand": "require_approval",
    "is_better": "meets_promotion_rule",
    "n_kept_back": "n_held_out",
    "n_learned": "n_train_recordings",
    "n_learned_by_active": "n_training_overlap",
    "active_hears": "active_prediction",
    "new_hears": "new_prediction",
    "active_is_right": "active_is_correct",
    "new_is_right": "new_is_correct",
}
"""New name by old name of fields in the parameters, results and reports of retraining jobs."""

INDEXED = ("scientific_name", "sha256")
"""Columns of labeled recordings that have an index."""


def upgrade() -> None:
    """Rename tables, columns and fields to those of revision 0003."""
    _create_labeled_recordings("labeled_recordings")
    _move_rows("lessons", "labeled_recordings")
    _keep_next_id("lessons", "labeled_recordings")
    op.drop_table("lessons")
    _create_split_assignments("split_assignments")
    _move_rows("parts", "split_assignments")
    op.drop_table("parts")
    _create_activations("model_activations")
    _move_rows("activations", "model_activations")
    _keep_next_id("activations", "model_activations")
    op.drop_table("activations")
    for table, names in COLUMNS.items():
        for old, new in names.items():
            op.execute(f"ALTER TABLE {table} RENAME COLUMN {old} TO {new}")
    _rename_fields(FIELDS)


def downgrade() -> None:
    """Rename tables, columns and fields to those of revision 0002."""
    _rename_fields({new: old for old, new in FIELDS.items()})
    for table, names in COLUMNS.items():
        for old, new in names.items():
            op.execute(f"ALTER TABLE {table} RENAME COLUMN {new} TO {old}")
    _create_activations("activations")
    _move_rows("model_activations", "activations")
    _keep_next_id("model_activations", "activations")
    op.drop_table("model_activations")
    _create_split_assignments("parts")
    _move_rows("split_assignments", "parts")
    op.drop_table("split_assignments")
    _create_labeled_recordings("lessons")
    _move_rows("labeled_recordings", "lessons")
    _keep_next_id("labeled_recordings", "lessons")
    op.drop_table("labeled_recordings")


def _create_labeled_recordings(name: str) -> None:
    op.create_table(
        name,
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
        sa.PrimaryKeyConstraint("id", name=f"pk_{name}"),
        sa.UniqueConstraint("detection", name=f"uq_{name}_detection"),
        sqlite_autoincrement=True,
    )
    for column in INDEXED:
        op.create_index(f"ix_{name}_{column}", name, [column])


def _create_split_assignments(name: str) -> None:
    op.create_table(
        name,
        sa.Column("group_name", sa.String(length=255), nullable=False),
        sa.Column("split", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("group_name", name=f"pk_{name}"),
    )


def _create_activations(name: str) -> None:
    op.create_table(
        name,
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("bundle_id", sa.String(length=12), nullable=False),
        sa.Column("why", sa.String(length=255), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["bundle_id"], ["models.bundle_id"], name=f"fk_{name}_bundle_id"),
        sa.PrimaryKeyConstraint("id", name=f"pk_{name}"),
    )


def _move_rows(old: str, new: str) -> None:
    """Copy all rows of the table `old` to the table `new`, which has the same columns."""
    connection = op.get_bind()
    columns = ", ".join(column["name"] for column in sa.inspect(connection).get_columns(old))
    connection.execute(sa.text(f"INSERT INTO {new} ({columns}) SELECT {columns} FROM {old}"))  # noqa: S608 - our names


def _keep_next_id(old: str, new: str) -> None:
    """Continue the ids of the table `old` in the table `new`, so that ids of deleted rows are not used again."""
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        query = "SELECT setval(pg_get_serial_sequence(:new, 'id'), nextval(pg_get_serial_sequence(:old, 'id')), false)"
        connection.execute(sa.text(query), {"new": new, "old": old})
        return
    last = connection.execute(sa.text("SELECT seq FROM sqlite_sequence WHERE name = :old"), {"old": old}).scalar()
    if last is not None:
        connection.execute(sa.text("DELETE FROM sqlite_sequence WHERE name = :new"), {"new": new})
        insert = sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES (:new, :last)")
        connection.execute(insert, {"new": new, "last": last})


def _rename_fields(names: Mapping[str, str]) -> None:
    """Rename the fields in JSON columns of models and of retraining jobs; `names` has new names by old names."""
    models = sa.table("models", sa.column("bundle_id"), sa.column("report", sa.JSON))
    jobs = sa.table(
        "jobs", sa.column("id"), sa.column("kind"), sa.column("parameters", sa.JSON), sa.column("result", sa.JSON)
    )
    connection = op.get_bind()
    for bundle_id, report in connection.execute(sa.select(models.c.bundle_id, models.c.report)).all():
        if report is not None:
            values = {"report": _rename(report, names)}
            connection.execute(sa.update(models).where(models.c.bundle_id == bundle_id).values(values))
    retrainings = sa.select(jobs.c.id, jobs.c.parameters, jobs.c.result).where(jobs.c.kind == "retrain")
    for job_id, parameters, result in connection.execute(retrainings).all():
        values = {"parameters": _rename(parameters, names)}
        if result is not None:
            values["result"] = _rename(result, names)
        connection.execute(sa.update(jobs).where(jobs.c.id == job_id).values(values))


def _rename(value: Any, names: Mapping[str, str]) -> Any:
    """Return a JSON value with its fields renamed at any depth; `names` has new names by old names."""
    if isinstance(value, dict):
        return {names.get(name, name): _rename(each, names) for name, each in value.items()}
    if isinstance(value, list):
        return [_rename(each, names) for each in value]
    return value
