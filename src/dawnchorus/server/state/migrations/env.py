"""Script that Alembic runs for migrations, on the connection from `database.alembic_config`."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context

from dawnchorus.server.state.tables import Base, UtcTime


def _render_item(kind: str, value: Any, _context: Any) -> str | Literal[False]:
    """Return the Python code of a column type in generated migrations, or False for Alembic's default.

    The type `UtcTime` is rendered as its database type, since its code may change after the migration.
    """
    return "sa.DateTime()" if kind == "type" and isinstance(value, UtcTime) else False


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    render_as_batch=True,
    render_item=_render_item,
    compare_type=False,
)
context.run_migrations()
