"""Database connections and migrations: SQLite in the server's data folder, or PostgreSQL for several servers."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, func, make_url, select, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError
from sqlalchemy.orm import Session

from dawnchorus.errors import InputError, MissingExtraError, OutputError

LOG = logging.getLogger(__name__)

FILE_NAME = "state.db"
"""Name of the SQLite file in the server's data folder."""

MIGRATIONS = Path(__file__).parent / "migrations"
"""Folder of Alembic's migration scripts."""

LOCK = 0xDA3
"""Key of the advisory lock of PostgreSQL that prevents concurrent migrations."""

CONNECT_TIMEOUT_S = 10
"""Timeout for connecting to PostgreSQL, and for waiting for a free connection of the pool."""


class Database:
    """Connection pool of a database, with sessions for reading and for writing.

    On construction, the tables are created or migrated to the latest revision. An SQLite file is copied to
    `NAME.REVISION.backup` next to it before a migration.

    Args:
        url: SQLAlchemy URL of the database.
        migrations: folder of Alembic's migration scripts.

    Raises:
        InputError: the URL is invalid, or the tables have a revision that is not in `migrations`, since a newer version
            of this program has migrated them.
        MissingExtraError: the driver of the URL is not installed.
        OutputError: the database cannot be reached or written.
    """

    def __init__(self, url: str | URL, *, migrations: Path = MIGRATIONS) -> None:
        try:
            self.engine = _engine(url)
        except (ArgumentError, NoSuchModuleError) as error:
            raise InputError(
                "--database: expected a URL such as postgresql+psycopg://USER@HOST/NAME; this one cannot be read."
            ) from error
        except ModuleNotFoundError as error:
            raise MissingExtraError(error.name or "psycopg", extra="postgresql", purpose="This database") from error
        self._writing = self.engine.execution_options(dawnchorus_write=True)
        try:
            _upgrade(self.engine, migrations)
        except OperationalError as error:
            raise OutputError(
                f"{self.engine.url!r}: the database cannot be used ({str(error.orig).strip()}). Check that it runs, "
                f"its rights, and free space."
            ) from error

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session for reading during the `with` block."""
        with Session(self.engine) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a session for a write transaction, which is committed at the end of the `with` block.

        If the block raises, the transaction is rolled back. On SQLite, other writers wait until the end. Objects stay
        readable after the commit.
        """
        with Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def lock(session: Session, key: str) -> None:
    """Acquire the lock `key` (any text) of the database, and hold it until the end of the transaction.

    The call waits while another transaction holds the lock. On SQLite nothing is done, since write transactions exclude
    each other.
    """
    if session.get_bind().dialect.name == "postgresql":  # SQLite has one writer at a time
        session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(key, 0))))


def _engine(url: str | URL) -> Engine:
    parsed_url = make_url(url)
    is_sqlite = parsed_url.get_backend_name() == "sqlite"
    engine = create_engine(
        parsed_url,
        pool_pre_ping=not is_sqlite,
        pool_size=8,
        max_overflow=16,
        pool_timeout=CONNECT_TIMEOUT_S,
        connect_args={} if is_sqlite else {"connect_timeout": CONNECT_TIMEOUT_S},
    )
    if is_sqlite:
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _start_transaction)
    return engine


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # transactions start explicitly, in _start_transaction
    for setting in ("journal_mode = WAL", "synchronous = FULL", "busy_timeout = 20000", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {setting}")


def _start_transaction(connection: Connection) -> None:
    # A reader that becomes a writer fails if another wrote in between; a writer waits at the start instead.
    is_writer = connection.get_execution_options().get("dawnchorus_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writer else "BEGIN")


def alembic_config(connection: Connection | None = None, *, migrations: Path = MIGRATIONS) -> Config:
    """Return the configuration of Alembic's commands.

    Args:
        connection: connection on which migrations run; None for commands that need no database.
        migrations: folder of the migration scripts.
    """
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    return config


def _upgrade(engine: Engine, migrations: Path) -> None:
    with engine.execution_options(dawnchorus_write=True).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
        config = alembic_config(connection, migrations=migrations)
        current = MigrationContext.configure(connection).get_current_revision()
        known = _revisions(migrations)
        if current is not None and current not in known:
            raise InputError(
                f"{engine.url!r}: its tables are of revision {current}, which this version of dawnchorus does "
                f"not know. Update dawnchorus, or give another folder or database. Nothing was changed."
            )
        if current == known[0]:
            return
        if current is not None:
            LOG.warning(
                "The database is of revision %s and is upgraded to %s now, which takes minutes if it has millions of "
                "detections. A server that is stopped meanwhile begins again at its next start.",
                current,
                known[0],
            )
        if current is not None and engine.url.database and engine.dialect.name == "sqlite":
            _back_up(Path(engine.url.database), current)
        command.upgrade(config, "head")


@cache
def _revisions(migrations: Path) -> tuple[str, ...]:
    """Return the ids of the revisions in a folder, the newest first; cached, since Alembic imports all scripts."""
    script = ScriptDirectory.from_config(alembic_config(migrations=migrations))
    return tuple(revision.revision for revision in script.walk_revisions())


def _back_up(path: Path, revision: str) -> None:
    copy = path.with_name(f"{path.name}.{revision}.backup")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
