"""State of a server: whole or not at all, brought up to date with a backup, shared or refused."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from filelock import FileLock
from sqlalchemy import UpdateBase, create_engine, delete, text, update
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect
from sqlalchemy.exc import OperationalError
from tests.fixtures.server import Serve
from tests.fixtures.stored_files import race_keep_against_sweep
from tests.fixtures.waiting import wait_for

from dawnchorus.errors import BusyError, InputError, MissingExtraError, OutputError
from dawnchorus.models.bundle import Bundle
from dawnchorus.server.listing import DetectionQuery, RecordingQuery, find_detections, find_recordings
from dawnchorus.server.service import open_service
from dawnchorus.server.settings import Settings
from dawnchorus.server.state.blobs import BlobStore
from dawnchorus.server.state.database import MIGRATIONS, Database, alembic_config
from dawnchorus.server.state.tables import (
    Base,
    DetectionRow,
    Identification,
    Job,
    JobFile,
    LabeledRecording,
    Model,
    ModelActivation,
    Recording,
    Review,
    SplitAssignment,
    StoredFile,
    UtcTime,
)


def database(folder: Path, *, migrations: Path = MIGRATIONS) -> Database:
    return Database(f"sqlite:///{folder / 'state.db'}", migrations=migrations)


def test_migrations_make_the_tables_that_the_code_has(tmp_path: Path) -> None:
    db = database(tmp_path)
    with db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert not compare_metadata(context, Base.metadata)
    with db.engine.begin() as connection:
        command.downgrade(alembic_config(connection), "base")
        names = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars().all()
    assert set(names) <= {"alembic_version", "sqlite_sequence"}
    db.close()


def schema(path: Path) -> dict[str, list[object]]:
    """Return columns, keys and indexes of every table, as SQLite tells them."""
    columns_by_table: dict[str, list[object]] = {}
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
        for name, sql in tables:
            if name in ("alembic_version", "sqlite_sequence"):
                continue
            columns = [row[1:4] + row[5:] for row in connection.execute(f"PRAGMA table_info({name})")]
            keys = [row[2:] for row in connection.execute(f"PRAGMA foreign_key_list({name})")]
            indexes = sorted(row[1:] for row in connection.execute(f"PRAGMA index_list({name})"))
            of_indexes = [connection.execute(f"PRAGMA index_info({index[0]})").fetchall() for index in indexes]
            columns_by_table[name] = [columns, sorted(keys), indexes, of_indexes, "AUTOINCREMENT" in sql]
        columns_by_table["where"] = connection.execute(
            "SELECT sql FROM sqlite_master WHERE sql LIKE '%WHERE%'"
        ).fetchall()
    return columns_by_table


def test_migrated_tables_equal_those_of_the_code_column_by_column(tmp_path: Path) -> None:
    database(tmp_path).close()
    engine = create_engine(f"sqlite:///{tmp_path / 'declared.db'}")
    Base.metadata.create_all(engine)
    engine.dispose()
    assert schema(tmp_path / "state.db") == schema(tmp_path / "declared.db")


def test_sqlite_is_set_up_for_several_writers_and_power_cuts(tmp_path: Path) -> None:
    db = database(tmp_path)
    expected = {"journal_mode": "wal", "synchronous": 2, "busy_timeout": 20_000, "foreign_keys": 1}
    for open_session in (db.read, db.write):
        with open_session() as session:
            assert {name: session.scalar(text(f"PRAGMA {name}")) for name in expected} == expected
    with db.read(), db.write():
        pass  # a reader keeps no writer waiting
    db.close()


def test_opening_again_makes_no_backup(tmp_path: Path) -> None:
    for _ in range(2):
        database(tmp_path).close()
    assert not list(tmp_path.glob("*.backup"))


def test_moments_are_kept_in_utc_whatever_their_zone() -> None:
    column, dialect = UtcTime(), sqlite_dialect()
    noon = datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    kept = column.process_bind_param(noon, dialect)
    assert kept == datetime(2026, 5, 1, 10)
    assert column.process_result_value(kept, dialect) == noon
    assert column.process_bind_param(None, dialect) is None
    assert column.process_result_value(None, dialect) is None
    first = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))
    assert column.process_bind_param(first, dialect) == datetime(1, 1, 1)


def test_new_job_waits_and_has_not_been_tried(tmp_path: Path) -> None:
    db = database(tmp_path)
    with db.write() as session:
        session.add(Job(id="a", kind="identify", parameters={}))
    with db.read() as session:
        job = session.get_one(Job, "a")
    values = (job.status, job.stage, job.progress, job.attempts, job.cancel_requested, job.worker_id)
    assert values == ("queued", "waiting", 0.0, 0, False, None)
    assert abs(job.created_at - datetime.now(UTC)) < timedelta(hours=1)
    db.close()


HERE = "the sha256"


def expire_all(state: Database) -> None:
    """Make the grace period of all files end."""
    with state.write() as session:
        session.execute(update(StoredFile).values(kept_at=datetime(2026, 1, 1, tzinfo=UTC)))


@pytest.mark.parametrize(
    ("kind", "row", "ending"),
    [
        (Recording, {"sha256": HERE, "name": "x", "n_bytes": 1}, delete(Recording)),
        (
            LabeledRecording,
            {"sha256": HERE, "name": "x", "n_bytes": 1, "duration_s": 1.0, "rate_hz": 1, "source": "upload"},
            delete(LabeledRecording),
        ),
        (
            Model,
            {"bundle_id": "b", "name": "x", "family": "x", "n_classes": 1, "storage_key": HERE, "source": "retrained"},
            delete(Model),
        ),
        (Job, {"id": "j", "kind": "identify", "parameters": {}}, update(Job).values(status="done")),
        (Job, {"id": "j", "kind": "retrain", "parameters": {}, "status": "running"}, delete(Job)),
    ],
    ids=["recording", "labeled recording", "model", "job that ends", "job that is deleted"],
)
def test_files_stay_while_something_refers_to_them(
    kind: type[Base], row: dict[str, Any], ending: UpdateBase, tmp_path: Path
) -> None:
    state = database(tmp_path)
    files = BlobStore(state, tmp_path / "files", cache=tmp_path, scratch=tmp_path)
    (tmp_path / "x.bin").write_bytes(b"x")
    with files.keep(tmp_path / "x.bin") as (session, sha256):
        values = {name: sha256 if value == HERE else value for name, value in row.items()}
        session.add(kind(**values))
        if kind is Job:
            session.add(JobFile(job="j", sha256=sha256))
    expire_all(state)
    files.sweep()
    files.delete_unused(sha256)
    assert files.local(sha256).read_bytes() == b"x"
    with state.write() as session:
        session.execute(ending)
    files.sweep()
    assert files.size(sha256) is None
    with state.read() as session:
        assert not session.query(StoredFile).count()
        assert not session.query(JobFile).count()
    state.close()


def test_tables_of_a_newer_version_are_left_alone(tmp_path: Path) -> None:
    database(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = (tmp_path / "state.db").read_bytes()
    with pytest.raises(InputError, match="revision 9999.*Update dawnchorus"):
        database(tmp_path)
    assert (tmp_path / "state.db").read_bytes() == before


NEXT = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "9999", "{head}"


def upgrade():
    op.create_table("newer", sa.Column("id", sa.Integer(), primary_key=True))
    {then}
"""


def add_next_revision(folder: Path, *, then: str) -> Path:
    """Copy the migrations to `folder`, with one that this version does not have."""
    shutil.copytree(MIGRATIONS, folder)
    head = ScriptDirectory.from_config(alembic_config()).get_current_head()
    (folder / "versions" / "9999_next.py").write_text(NEXT.format(head=head, then=then))
    return folder


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def test_older_database_is_migrated_and_backed_up(tmp_path: Path) -> None:
    db = database(tmp_path)
    with db.write() as session:
        session.add(Recording(sha256="x" * 64, name="kept", n_bytes=1))
    db.close()
    database(tmp_path, migrations=add_next_revision(tmp_path / "migrations", then="pass")).close()
    (backup,) = tmp_path.glob("state.db.*.backup")
    for path in (tmp_path / "state.db", backup):
        assert rows(path, "SELECT name FROM recordings") == [("kept",)]
    newer = "SELECT name FROM sqlite_master WHERE name = 'newer'"
    assert rows(tmp_path / "state.db", newer)
    assert not rows(backup, newer)


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    database(tmp_path).close()
    migrations = add_next_revision(tmp_path / "migrations", then="1 / 0")
    with pytest.raises(ZeroDivisionError):
        database(tmp_path, migrations=migrations)
    assert not rows(tmp_path / "state.db", "SELECT name FROM sqlite_master WHERE name = 'newer'")
    assert rows(tmp_path / "state.db", "SELECT version_num FROM alembic_version") != [("9999",)]


@pytest.mark.parametrize("url", ["nonsense", "nonsense://x", "postgresql+nothing://x"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(InputError, match="expected a URL such as"):
        Database(url)


def test_a_database_that_cannot_be_reached_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be used") as error:
        Database("postgresql+psycopg://dawn:secret@127.0.0.1:1/dawn")
    assert "secret" not in str(error.value)
    with pytest.raises(OutputError, match="cannot be used"):
        Database(f"sqlite:///{tmp_path / 'no' / 'such' / 'folder' / 'state.db'}")


def test_a_missing_driver_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"psycopg.*dawnchorus\[postgresql\]"):
        Database("postgresql+psycopg://dawn@127.0.0.1:1/dawn")


def test_writers_wait_for_each_other(tmp_path: Path) -> None:
    db = database(tmp_path)

    def write(k: int) -> None:
        for n in range(20):
            with db.write() as session:
                known = session.query(Recording).count()
                session.add(Recording(sha256=f"{k:032d}{n:032d}", name=str(known), n_bytes=1))

    threads = [threading.Thread(target=write, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with db.read() as session:
        assert sorted(int(row.name) for row in session.query(Recording)) == list(range(160))
    db.close()


def test_a_block_that_fails_changes_nothing(tmp_path: Path) -> None:
    db = database(tmp_path)
    with pytest.raises(ZeroDivisionError), db.write() as session:
        session.add(Recording(sha256="x" * 64, name="x", n_bytes=1))
        session.flush()
        raise ZeroDivisionError
    with db.read() as session:
        assert session.query(Recording).count() == 0
    db.close()


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Database]:
    opened = database(tmp_path)
    yield opened
    opened.close()


@pytest.mark.parametrize("root", ["folder", "memory://dawn"])
def test_files_are_kept_by_their_content(root: str, tmp_path: Path, state: Database) -> None:
    files = BlobStore(state, tmp_path / root if "://" not in root else root, cache=tmp_path / "cache", scratch=tmp_path)
    path = tmp_path / "x.bin"
    path.write_bytes(bytes(range(256)) * 8192)
    for _ in range(2):
        with files.keep(path) as (_session, sha256):
            assert files.size(sha256) == 1 << 21
    assert files.local(sha256).read_bytes() == path.read_bytes()
    assert not list(tmp_path.rglob("*.part"))
    if "://" in root:
        assert files.local(sha256) == tmp_path / "cache" / sha256
    files.sweep()
    assert files.size(sha256), "it is in its grace period"
    files.delete_unused(sha256)
    assert files.size(sha256) is None
    assert not (tmp_path / "cache" / sha256).exists()
    files.delete_unused(sha256)
    with pytest.raises(InputError, match="not in the store"):
        files.local(sha256)


def test_a_file_whose_rows_are_refused_does_not_stay(tmp_path: Path, state: Database) -> None:
    files = BlobStore(state, tmp_path / "files", cache=tmp_path / "cache", scratch=tmp_path)
    (tmp_path / "x.bin").write_bytes(b"x")
    with pytest.raises(BusyError), files.keep(tmp_path / "x.bin") as (session, sha256):
        session.add(Recording(sha256=sha256, name="x", n_bytes=1))
        raise BusyError("the queue is full")
    assert files.size(sha256) is None
    with state.read() as session:
        assert not session.query(Recording).count()


def test_a_store_that_is_full_keeps_nothing_that_looks_whole(
    tmp_path: Path, state: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = BlobStore(state, tmp_path / "files", cache=tmp_path / "cache", scratch=tmp_path)
    path = tmp_path / "x.bin"
    path.write_bytes(bytes(1000))

    def full(_self: object, source: str, target: str, **_: object) -> None:
        Path(target).write_bytes(Path(source).read_bytes()[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fsspec.implementations.local.LocalFileSystem.put_file", full)
    with pytest.raises(OutputError, match="No space left"), files.keep(path):
        pass
    assert not [stored for stored in (tmp_path / "files").rglob("*") if stored.is_file()]


def test_files_that_are_kept_and_swept_at_once_are_there_while_something_refers_to_them(
    tmp_path: Path, state: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Servers upload, delete and sweep the same two files; the grace period is over at once."""
    race_keep_against_sweep(state, tmp_path, monkeypatch)


def test_an_unknown_store_is_refused(tmp_path: Path, state: Database) -> None:
    with pytest.raises(InputError, match="--files"):
        BlobStore(state, "nonsense://x", cache=tmp_path, scratch=tmp_path)


def test_a_second_server_does_not_share_a_folder(level_bundle: Bundle, serve: Serve, tmp_path: Path) -> None:
    serve(model=level_bundle.folder)
    with (
        pytest.raises(BusyError, match="another server uses this folder"),
        open_service(Settings(data=tmp_path / "server", model=level_bundle.folder)),
    ):
        pass


def test_leftovers_of_a_killed_server_are_removed(level_bundle: Bundle, tmp_path: Path) -> None:
    left = tmp_path / "server" / "spool-abc"
    left.mkdir(parents=True)
    (left / "upload-1").write_bytes(b"x")
    left.with_suffix(".lock").touch()
    of_another = tmp_path / "server" / "spool-def"
    of_another.mkdir()
    with (
        FileLock(of_another.with_suffix(".lock")),
        open_service(Settings(data=tmp_path / "server", model=level_bundle.folder)),
    ):
        assert not left.exists()
        assert of_another.exists()
    assert not list((tmp_path / "server").glob("spool-abc*"))


def test_parts_that_were_cut_off_long_ago_go_and_those_that_are_being_written_stay(
    tmp_path: Path, state: Database
) -> None:
    files = BlobStore(state, tmp_path / "files", cache=tmp_path / "cache", scratch=tmp_path)
    path = tmp_path / "x.bin"
    path.write_bytes(b"x")
    with files.keep(path) as (_session, sha256):
        whole = files.local(sha256)
    parts = [whole.parent / f"{whole.name}.{digit * 32}.part" for digit in "12"]
    for part in parts:
        part.write_bytes(b"x")
    os.utime(parts[0], (0, 0))
    os.utime(whole, (0, 0))
    files.sweep()
    assert [path.exists() for path in (whole, *parts)] == [True, False, True]
    assert {path.name for path in (tmp_path / "files").iterdir()} == {whole.parent.name}, "no file for the time stays"
    files.store_now = lambda: datetime.fromtimestamp(0, UTC)  # type: ignore[method-assign] - its clock is far behind
    files.sweep()
    assert parts[1].exists()


def test_audio_is_kept_when_its_deletion_cannot_be_recorded(
    level_bundle: Bundle, serve: Serve, tone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(model=level_bundle.folder)
    client.post("/api/v1/identify?store=true", content=tone.read_bytes())
    (recording,) = client.get("/api/v1/recordings").json()["recordings"]
    whole = Database.write

    @contextmanager
    def failing(self: Database, **options: Any) -> Iterator[Any]:
        with whole(self, **options) as session:
            yield session
            session.flush()
            raise OperationalError("COMMIT", {}, Exception("disk full"))

    with monkeypatch.context() as patch:
        patch.setattr(Database, "write", failing)
        assert client.delete(f"/api/v1/recordings/{recording['sha256']}").status_code == 503
    assert client.get(recording["audio"]).content == tone.read_bytes()
    assert client.delete(f"/api/v1/recordings/{recording['sha256']}").status_code == 204
    assert client.get(recording["audio"]).status_code == 404


def test_what_ended_jobs_have_left_is_cleared(level_bundle: Bundle, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "server", model=level_bundle.folder)
    with open_service(settings) as service:
        ended, waiting = service.jobs.add("retrain", {"overrides": [], "require_approval": False}), "f" * 32
        service.jobs.cancel(ended.id)
    folder = tmp_path / "server" / "retraining"
    for job_id in (ended.id, waiting):
        (folder / job_id / "runs").mkdir(parents=True)
        (folder / job_id / "log.txt").write_text("x")
    (folder / "sounds-of-all").mkdir()
    with open_service(settings):
        wait_for(
            lambda: (
                sorted(name for _, folders, files in os.walk(folder) for name in (*folders, *files))
                == sorted([ended.id, "log.txt", "sounds-of-all"])
            )
        )


def test_a_sweep_leaves_files_of_others(tmp_path: Path, state: Database) -> None:
    """A folder of music, and the files of a server with another database."""
    files = BlobStore(state, tmp_path, cache=tmp_path / "cache", scratch=tmp_path)
    others = [tmp_path / "Music" / "dear.wav", tmp_path / "ab" / f"ab{'0' * 62}"]
    part = tmp_path / "ab" / f"ab{'0' * 62}.{'1' * 32}.part"
    for path in (*others, part):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
        os.utime(path, (0, 0))
    files.sweep()
    assert all(path.exists() for path in others)
    assert not part.exists()


def test_database_of_revision_0002_opens(tmp_path: Path) -> None:
    """A database written before the tables and fields were renamed, as a dump of SQLite."""
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        connection.executescript(Path(__file__).with_name("revision_0002.sql").read_text("utf-8"))
    state = database(tmp_path)
    with state.write() as session:
        reviewed, uploaded = session.query(LabeledRecording).order_by(LabeledRecording.id)
        assert (reviewed.source, reviewed.detection, uploaded.name) == ("review", 1, "tit.wav")
        assert session.get_one(SplitAssignment, uploaded.group).split == "test"
        activation = session.query(ModelActivation).one()
        assert (activation.bundle_id, activation.reason) == ("0123456789ab", "the server was started with it")
        assert session.query(Review).one().verdict == "correct"
        given, retrained = session.query(Model).order_by(Model.bundle_id)
        assert (given.storage_key, given.source, given.report) == ("level", "given", None)
        assert retrained.report is not None
        assert retrained.report["meets_promotion_rule"] is False
        report = retrained.report["report"]
        assert (report["n_held_out"], report["species"][0]["n_train_recordings"]) == (2, 6)
        assert report["recordings"][0]["new_prediction"] == {"species": "Great Tit", "score": 0.9}
        done, queued, running = session.query(Job).order_by(Job.id)
        assert done.result == {"bundle_id": "ba9876543210", "is_promoted": False, **retrained.report}
        assert queued.parameters == {"overrides": [], "require_approval": True}
        assert (running.worker_id, running.cancel_requested) == ("old-server", True)
        assert running.parameters["options"] == {"channel": "each"}
        (detection,) = session.query(DetectionRow)
        assert (detection.kind, detection.channel, detection.human_voice) == ("species", 2, None)
        stored, counted = session.query(Identification).order_by(Identification.id)
        assert (stored.provenance, stored.latitude, stored.longitude, stored.week) == (None, 52.5, 13.4, None)
        assert counted.latitude is None
        needed = {(row.job[0], row.sha256[0]) for row in session.query(JobFile)}
        assert needed == {("2", "b"), ("2", "c"), ("3", "a")}, "of the jobs that have not ended"
        assert {row.sha256 for row in session.query(StoredFile)} == {digit * 64 for digit in "abcd"}
    (listed,) = find_recordings(state, RecordingQuery(species="tit"), limit=9).rows
    assert (listed.recording.n_detections, listed.recording.best_score, listed.n_reviewed) == (1, 0.8, 1)
    assert find_detections(state, DetectionQuery(reviewed=True), limit=9).total == 1
    state.close()
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        last_id = "SELECT seq FROM sqlite_sequence WHERE name = 'labeled_recordings'"
        assert connection.execute(last_id).fetchall() == [(5,)], "ids of deleted rows are not reused"
    assert rows(tmp_path / "state.db.0002.backup", "SELECT count(*) FROM lessons") == [(2,)]
