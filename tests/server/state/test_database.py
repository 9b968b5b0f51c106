"""State of a server: whole or not at all, brought up to date with a backup, shared or refused."""

from __future__ import annotations

import shutil
import sqlite3
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text
from tests.fixtures.databases import database

from dawnchorus.errors import InputError, MissingExtraError, OutputError
from dawnchorus.server.detection_reviews import count_species, set_verdict
from dawnchorus.server.listing import DetectionQuery, RecordingQuery, find_detections, find_recordings
from dawnchorus.server.state.database import MIGRATIONS, Database, alembic_config
from dawnchorus.server.state.tables import (
    Base,
    CatalogModel,
    DetectionRow,
    Identification,
    Job,
    JobFile,
    LabeledRecording,
    ModelActivation,
    Recording,
    Review,
    SplitAssignment,
    StoredFile,
)
from dawnchorus.taxonomy.labels import Label


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


def test_older_database_is_migrated_and_backed_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    db = database(tmp_path)
    with db.write() as session:
        session.add(Recording(sha256="x" * 64, name="kept", n_bytes=1))
    db.close()
    assert not caplog.messages
    database(tmp_path, migrations=add_next_revision(tmp_path / "migrations", then="pass")).close()
    assert "is upgraded to 9999 now" in caplog.messages[0]
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
def test_an_invalid_url(url: str) -> None:
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


def test_reviews_are_the_same_after_a_revision_back_and_forth(tmp_path: Path) -> None:
    """Of revision 0010, species and counts are those of the model."""
    db = database(tmp_path)
    sha256 = "a" * 64
    with db.write() as session:
        session.add(Recording(sha256=sha256, name="a.wav", n_bytes=1, n_detections=4, best_score=0.9))
        session.flush()
        session.add(Identification(id=1, recording=sha256, bundle_id="b", duration_s=9.0))
        session.flush()
        recording = session.get_one(Recording, sha256)
        recording.latest_identification = 1
        names = {"scientific_name": "Avis Wren", "common_name": "Wren"}
        owners = {"identification": 1, "recording": sha256, "bundle_id": "b"}
        for k in range(4):
            session.add(DetectionRow(**owners, **names, start_s=k, end_s=k + 3.0, score=0.9 - k / 10))
        session.flush()
        first, second, third, _ = session.query(DetectionRow).order_by(DetectionRow.id)
        set_verdict(first, "relabeled", Label("Avis Robin", "Robin"))
        robin = {"scientific_name": "Avis Robin", "common_name": "Robin"}
        session.add(Review(detection=first.id, recording=sha256, verdict="relabeled", **robin))
        for row, verdict in ((second, "incorrect"), (third, "unsure")):
            set_verdict(row, verdict)
            session.add(Review(detection=row.id, recording=sha256, verdict=verdict))
        count_species(session, recording)
    db.close()
    counted = "SELECT common_name, n_detections, best_score FROM recording_species ORDER BY common_name"
    corrected = [("Robin", 1, 0.9), ("Wren", 2, 0.7)]
    assert rows(tmp_path / "state.db", counted) == corrected
    with db.engine.begin() as connection:
        command.downgrade(alembic_config(connection), "0010")
    db.close()
    assert rows(tmp_path / "state.db", counted) == [("Wren", 4, 0.9)]
    assert rows(tmp_path / "state.db", "SELECT verdict FROM reviews ORDER BY detection") == [
        ("relabeled",),
        ("incorrect",),
    ]
    database(tmp_path).close()
    assert rows(tmp_path / "state.db", counted) == corrected
    shown = "SELECT common_name, model_common_name, verdict FROM detections ORDER BY id"
    assert rows(tmp_path / "state.db", shown)[:3] == [
        ("Robin", "Wren", "relabeled"),
        ("Wren", None, "incorrect"),
        ("Wren", None, None),
    ]
    answers = "SELECT verdict, reviewer FROM review_answers a JOIN reviews r ON r.answer = a.id ORDER BY a.detection"
    assert rows(tmp_path / "state.db", answers.replace("verdict", "a.verdict", 1)) == [
        ("relabeled", None),
        ("incorrect", None),
    ]


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
        given, retrained = session.query(CatalogModel).order_by(CatalogModel.bundle_id)
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
