"""Run by Alembic: migrations on the connection that `database` gives."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context

from dawnchorus.server.state.tables import Base, UtcTime


def _render_item(kind: str, value: Any, _context: Any) -> str | Literal[False]:
    """Render a column type without reference to code that may change after the migration."""
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
