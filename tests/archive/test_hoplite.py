"""Embeddings to databases of Perch-Hoplite and back."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.fixtures.archives import SOUNDS
from tests.fixtures.disks import small_disk
from tests.fixtures.sounds import tone

from dawnchorus.archive.archive import Archive, create_archive, open_archive
from dawnchorus.archive.maintenance import check_archive
from dawnchorus.errors import FormatError, InputError, MissingExtraError, NotFoundError, OutputError, OutputExistsError
from dawnchorus.identification.archiving import archive_recordings
from dawnchorus.models.bundle import Bundle

pytest.importorskip("usearch", reason="usearch is not installed: pip install 'dawnchorus[hoplite]'")

from dawnchorus.archive.hoplite import export_hoplite, import_hoplite
from dawnchorus.archive.hoplite_files import SQLITE_NAME, HopliteReader


@pytest.fixture(scope="module")
def database(kept: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of the archive's embeddings; tests may only read it."""
    folder = tmp_path_factory.mktemp("hoplite") / "database"
    assert export_hoplite(open_archive(kept), folder) == 12
    return folder


def sorted_rows(archive: Archive) -> list[tuple[object, ...]]:
    """Return what comes back of the embeddings, in order."""
    rows = archive.embeddings().read_all()
    columns = ("recording", "site", "month", "start_s", "end_s", "embedding")
    return sorted(zip(*(rows[name].to_pylist() for name in columns), strict=True))


def test_what_was_exported_comes_back(kept: Path, database: Path, tmp_path: Path) -> None:
    archive = create_archive(tmp_path / "archive")
    result = import_hoplite(database, archive)
    assert (result.n_recordings, result.n_windows, result.n_annotations) == (4, 12, 0)
    original = open_archive(kept)
    assert sorted_rows(archive) == sorted_rows(original)
    assert check_archive(archive).is_whole
    (run,), (first,) = archive.runs(), original.runs()
    assert (run.run.bundle_id, run.run.embedding_dim) == (first.run.bundle_id, 12)
    vector = np.array(original.embeddings().read_all()["embedding"][0].as_py())
    assert archive.search(vector, k=3)["score"].to_pylist() == original.search(vector, k=3)["score"].to_pylist()
    times = {row["start_time"] for row in archive.recordings().read_all().to_pylist()}
    assert "2026-04-30T04:00:00.000" in times


def test_an_import_is_done_once_and_adds_what_is_new(database: Path, tmp_path: Path) -> None:
    archive = create_archive(tmp_path / "archive")
    assert import_hoplite(database, archive).n_windows == 12
    assert import_hoplite(database, archive).n_windows == 0
    assert len(sorted_rows(archive)) == 12


def test_the_layout_is_that_of_perch_hoplite(database: Path) -> None:
    """Read by its own library where that is installed, and else by its tables."""
    with sqlite3.connect(f"file:{database / SQLITE_NAME}?mode=ro", uri=True) as db:
        config = json.loads(db.execute("SELECT value FROM hoplite_metadata WHERE key = 'usearch_config'").fetchone()[0])
        assert (config["embedding_dim"], config["dtype"], config["metric_name"]) == (12, "float16", "IP")
        (blob,) = db.execute("SELECT offsets FROM windows WHERE id = 1").fetchone()
        assert np.frombuffer(blob, "<f8").tolist() == [0.0, 1.0]
        assert sorted(name for (name,) in db.execute("SELECT name FROM deployments")) == ["A", "B"]
    db.close()


def test_metadata_that_is_no_json_is_named(database: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(database, tmp_path / "copy"))
    with closing(sqlite3.connect(copied / SQLITE_NAME)) as db, db:
        db.execute("UPDATE hoplite_metadata SET value = '{'")
    with pytest.raises(FormatError, match=r"metadata: expected JSON"):
        HopliteReader(copied).metadata()


def test_perch_hoplite_reads_and_searches_it(database: Path, kept: Path) -> None:
    library = pytest.importorskip("perch_hoplite.db.sqlite_usearch_impl", reason="perch-hoplite is not installed")
    theirs = library.SQLiteUSearchDB.create(str(database))
    ids = theirs.match_window_ids()
    assert (len(ids), theirs.get_embedding_dim()) == (12, 12)
    window = theirs.get_window(ids[4], include_embedding=True)
    recording = theirs.get_recording(window.recording_id)
    assert Path(recording.filename).name in SOUNDS
    assert theirs.get_deployment(recording.deployment_id).name == Path(recording.filename).name[0]
    stored = open_archive(kept).embeddings().read_all()
    vectors = np.array(stored["embedding"].to_pylist(), np.float32)
    places = list(zip(stored["recording"].to_pylist(), stored["start_s"].to_pylist(), strict=True))
    of_window = vectors[places.index((recording.filename, window.offsets[0]))]
    np.testing.assert_array_equal(np.asarray(window.embedding, np.float32), of_window)
    found = theirs.ui.search(of_window.astype(np.float16), 1)
    best = theirs.get_window(int(found.keys[0]))
    place = (theirs.get_recording(best.recording_id).filename, best.offsets[0])
    assert vectors[places.index(place)] @ of_window == pytest.approx((vectors @ of_window).max(), rel=1e-3)
    theirs.db.close()


def test_a_database_of_perch_hoplite_is_imported(tmp_path: Path) -> None:
    library = pytest.importorskip("perch_hoplite.db.sqlite_usearch_impl", reason="perch-hoplite is not installed")
    folder = tmp_path / "theirs"
    theirs = library.SQLiteUSearchDB.create(str(folder), library.get_default_usearch_config(8))
    vectors = np.random.default_rng(0).random((6, 8)).astype(np.float16)
    for number, name in enumerate(("north", "south")):
        deployment = theirs.insert_deployment(name, "survey", 52.5, 13.4)
        recording = theirs.insert_recording(f"{name}/20260501_040000.wav", None, deployment)
        for k in range(3):
            theirs.insert_window(recording, [5.0 * k, 5.0 * k + 5.0], vectors[3 * number + k])
    theirs.commit()
    theirs.db.close()
    model = {"model": "perch", "model_version": "8", "bundle_id": "f" * 12, "sample_rate_hz": 32_000}
    archive = create_archive(tmp_path / "archive")
    result = import_hoplite(folder, archive, model={**model, "window_s": 5.0, "embedding_dim": 8}, audio=tmp_path)
    assert (result.n_recordings, result.n_windows) == (2, 6)
    hits = archive.search(vectors[4], k=1).to_pylist()
    assert (hits[0]["site"], hits[0]["start_s"]) == ("south", 5.0)
    assert hits[0]["path"].decode() == str(tmp_path / "south" / "20260501_040000.wav")


def test_wrong_requests_say_what_to_do(database: Path, kept: Path, tmp_path: Path) -> None:
    archive = create_archive(tmp_path / "archive")
    with pytest.raises(NotFoundError, match="it is no database of Perch-Hoplite: there is no hoplite.sqlite"):
        import_hoplite(tmp_path, archive)
    with pytest.raises(OutputExistsError, match="exists already"):
        export_hoplite(open_archive(kept), database)
    model = {"model": "perch", "model_version": "8", "bundle_id": "f" * 12, "sample_rate_hz": 32_000}
    with pytest.raises(InputError, match=r"expected embeddings of perch \(8 numbers\), got those of 12"):
        import_hoplite(database, archive, model={**model, "window_s": 1.0, "embedding_dim": 8})
    with pytest.raises(InputError, match=r"expected windows of perch \(5 s\), got some of 1 s"):
        import_hoplite(database, archive, model={**model, "window_s": 5.0, "embedding_dim": 12})
    with pytest.raises(NotFoundError, match="embeddings: none are kept"):
        export_hoplite(archive, tmp_path / "none")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for path in database.iterdir():
        (damaged / path.name).write_bytes(path.read_bytes()[:50])
    with pytest.raises(FormatError, match="expected the tables of perch-hoplite"):
        import_hoplite(damaged, archive)


def test_recordings_shorter_than_a_window_come_back(band_bundle: Bundle, tmp_path: Path) -> None:
    for name, seconds in (("a.wav", 0.6), ("b.wav", 2.5)):
        soundfile.write(tmp_path / name, tone(1_000, seconds=seconds), 16_000)
    settings = {"model": band_bundle.folder, "keep": ["embeddings"], "workers": 1}
    kept = archive_recordings(tmp_path, tmp_path / "kept", **settings).archive  # type: ignore[arg-type]
    n_windows = export_hoplite(kept, tmp_path / "database")
    archive = create_archive(tmp_path / "archive")
    assert import_hoplite(tmp_path / "database", archive).n_windows == n_windows
    assert sorted_rows(archive) == sorted_rows(kept)


@pytest.mark.parametrize("size", ["16k", "80k", "100k"], ids=["tables", "rows", "index"])
def test_a_full_disk_is_named_and_leaves_nothing(kept: Path, tmp_path: Path, size: str) -> None:
    with small_disk(tmp_path / "disk", size) as disk:
        with pytest.raises(OutputError, match=r"database: cannot be written \(.*Check free space"):
            export_hoplite(open_archive(kept), disk / "database")
        assert list(disk.iterdir()) == []


def test_a_missing_library_is_named(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "usearch.index", None)
    with pytest.raises(MissingExtraError, match=r"dawnchorus\[hoplite\]"):
        export_hoplite(open_archive(kept), tmp_path / "out")


def test_imported_embeddings_hide_no_detections(copied: Archive, database: Path) -> None:
    """The recordings are the same, and the later run has embeddings only."""
    before = copied.detections().read_all().num_rows
    (first,) = copied.runs()
    paths = {row["recording"]: row["path"] for row in copied.recordings().read_all().to_pylist()}
    assert {Path(name) for name in paths} == {Path(path.decode()) for path in paths.values()}
    result = import_hoplite(database, copied, audio=Path("/"))
    assert copied.detections().read_all().num_rows == before
    assert copied.detections(runs=[first.id, result.run]).read_all().num_rows == before
    assert copied.embeddings().read_all().num_rows == 12
