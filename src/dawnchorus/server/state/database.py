"""The database: SQLite in the server's folder, or PostgreSQL for several servers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, func, make_url, select, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError
from sqlalchemy.orm import Session

from dawnchorus.errors import InputError, MissingExtraError, OutputError

FILE_NAME = "state.db"

MIGRATIONS = Path(__file__).parent / "migrations"

LOCK = 0xDA3
"""PostgreSQL's advisory lock that migrations hold."""

WAIT_S = 10
"""For a connection to a database, or one that is not in use."""


class Database:
    """Sessions to read in and to write in; a block that ends well is committed."""

    def __init__(self, url: str | URL) -> None:
        """Connect, and bring the tables up to date; what SQLite's file was before is kept beside it.

        Raises:
            InputError: an address that is none, or tables of a newer version of this program.
            MissingExtraError: the driver that the address names is not installed.
            OutputError: the database cannot be reached or written.
        """
        try:
            self.engine = _engine(url)
        except (ArgumentError, NoSuchModuleError) as error:
            raise InputError(
                "--database: expected an address such as postgresql+psycopg://USER@HOST/NAME; this one cannot be read."
            ) from error
        except ModuleNotFoundError as error:
            raise MissingExtraError(error.name or "psycopg", extra="postgresql", purpose="This database") from error
        self._writing = self.engine.execution_options(dawnchorus_write=True)
        try:
            _upgrade(self.engine)
        except OperationalError as error:
            raise OutputError(
                f"{self.engine.url!r}: the database cannot be used ({str(error.orig).strip()}). Check that it runs, "
                f"its rights, and free space."
            ) from error

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session for reading."""
        with Session(self.engine) as session:
            yield session

    @contextmanager
    def write(self, *, about: str | None = None) -> Iterator[Session]:
        """Open a session whose changes are atomic; of those `about` the same, one at a time."""
        with Session(self._writing, expire_on_commit=False) as session, session.begin():
            if about is not None and self.engine.dialect.name == "postgresql":  # SQLite's writers are one at a time
                session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(about, 0))))
            yield session

    def close(self) -> None:
        """Give back all connections."""
        self.engine.dispose()


def _engine(url: str | URL) -> Engine:
    address = make_url(url)
    is_sqlite = address.get_backend_name() == "sqlite"
    engine = create_engine(
        address,
        pool_pre_ping=not is_sqlite,
        pool_size=8,
        max_overflow=16,
        pool_timeout=WAIT_S,
        connect_args={} if is_sqlite else {"connect_timeout": WAIT_S},
    )
    if is_sqlite:
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where we say so
    for setting in ("journal_mode = WAL", "synchronous = FULL", "busy_timeout = 20000", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {setting}")


def _begin_sqlite(connection: Connection) -> None:
    # A reader that turns writer would fail where another wrote meanwhile; a writer waits at the start instead.
    is_writer = connection.get_execution_options().get("dawnchorus_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writer else "BEGIN")


def alembic_config(connection: Connection | None = None) -> Config:
    """For Alembic's commands."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def _upgrade(engine: Engine) -> None:
    with engine.execution_options(dawnchorus_write=True).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
        config = alembic_config(connection)
        script = ScriptDirectory.from_config(config)
        here = MigrationContext.configure(connection).get_current_revision()
        known = {revision.revision for revision in script.walk_revisions()}
        if here is not None and here not in known:
            raise InputError(
                f"{engine.url!r}: its tables are of revision {here}, which this version of dawnchorus does "
                f"not know. Update dawnchorus, or give another folder or database. Nothing was changed."
            )
        if here == script.get_current_head():
            return
        if here is not None and engine.url.database and engine.dialect.name == "sqlite":
            _back_up(Path(engine.url.database), here)
        command.upgrade(config, "head")


def _back_up(path: Path, revision: str) -> None:
    copy = path.with_name(f"{path.name}.{revision}.backup")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
