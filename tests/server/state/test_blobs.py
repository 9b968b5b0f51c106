"""Files by their content, kept while something refers to them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from sqlalchemy import UpdateBase, delete, update
from sqlalchemy.exc import OperationalError
from tests.fixtures.databases import database
from tests.fixtures.server import Serve
from tests.fixtures.stored_files import race_keep_against_sweep

from dawnchorus.errors import BusyError, InputError, NotFoundError, OutputError
from dawnchorus.models.bundle import Bundle
from dawnchorus.server.state.blobs import BlobStore
from dawnchorus.server.state.database import Database
from dawnchorus.server.state.tables import (
    Base,
    CatalogModel,
    Job,
    JobFile,
    LabeledRecording,
    Recording,
    StoredFile,
)

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
            CatalogModel,
            {"bundle_id": "b", "name": "x", "family": "x", "n_classes": 1, "storage_key": HERE, "source": "retrained"},
            delete(CatalogModel),
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

    def full(source: BinaryIO, target: BinaryIO) -> None:
        target.write(source.read(100))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dawnchorus.storage.file_systems.shutil.copyfileobj", full)
    with pytest.raises(OutputError, match="No space left"), files.keep(path):
        pass
    assert not [stored for stored in (tmp_path / "files").rglob("*") if stored.is_file()]


def test_files_that_are_kept_and_swept_at_once_are_there_while_something_refers_to_them(
    tmp_path: Path, state: Database
) -> None:
    """Servers upload, delete and sweep the same two files; the grace period is over at once."""
    race_keep_against_sweep(state, tmp_path)


def test_an_unknown_store_is_refused(tmp_path: Path, state: Database) -> None:
    with pytest.raises(InputError, match="--files"):
        BlobStore(state, "nonsense://x", cache=tmp_path, scratch=tmp_path)


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


def test_what_is_held_is_there(tmp_path: Path) -> None:
    files = BlobStore(database(tmp_path), tmp_path / "files", cache=tmp_path, scratch=tmp_path)
    (tmp_path / "x.bin").write_bytes(b"x")
    with files.keep(tmp_path / "x.bin") as (_, sha256):
        pass
    with files.protect(sha256) as session:
        session.add(Recording(sha256=sha256, name="x", n_bytes=1))
    files.delete_unused(sha256)
    assert files.size(sha256) == 1, "a row refers to it"
    with pytest.raises(NotFoundError, match="not in the store"), files.protect("f" * 64):
        raise AssertionError("the block is not run")
